//! See `freshet_fuzz::records`.
#![no_main]

freshet_fuzz::target!(records);
