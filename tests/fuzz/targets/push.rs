//! See `freshet_fuzz::push`.
#![no_main]

freshet_fuzz::target!(push);
