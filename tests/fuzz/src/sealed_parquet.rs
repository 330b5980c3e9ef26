//! The parquet file of a sealed segment: an input is its content.

use crate::Target;
use crate::sealed::{File, good};

/// The target.
pub const TARGET: Target = Target { run, seeds, memory: (64 << 20, 64), foreign_panics: true };

fn run(data: &[u8]) {
    crate::sealed::run(File::Parquet, data);
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![("whole", good(File::Parquet))]
}
