//! See `freshet_fuzz::catalog`.
#![no_main]

freshet_fuzz::target!(catalog);
