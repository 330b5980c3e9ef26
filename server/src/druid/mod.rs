//! Druid's JSON: its words and shapes stop here.

pub mod json;
pub mod shown;
pub mod spec;
