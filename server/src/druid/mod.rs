//! Druid's JSON: its words and shapes stop here.

mod input_format;
pub mod json;
pub mod shown;
pub mod spec;
pub mod task;
