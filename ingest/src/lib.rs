//! How rows come into Freshet: sources, decoders, supervisors and tasks.

pub mod counts;
pub mod dead_letter;
pub mod decode;
pub mod error;
pub mod memory;
pub mod spec;
pub mod transform;
