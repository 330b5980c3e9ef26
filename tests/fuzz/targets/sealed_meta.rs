//! See `freshet_fuzz::sealed_meta`.
#![no_main]

freshet_fuzz::target!(sealed_meta);
