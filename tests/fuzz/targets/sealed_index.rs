//! See `freshet_fuzz::sealed_index`.
#![no_main]

freshet_fuzz::target!(sealed_index);
