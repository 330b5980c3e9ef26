//! Sealed segments: Parquet, an index file and a description, written once and never changed.
