//! See `freshet_fuzz::journal`.
#![no_main]

freshet_fuzz::target!(journal);
