//! See `freshet_fuzz::sealed_parquet`.
#![no_main]

freshet_fuzz::target!(sealed_parquet);
