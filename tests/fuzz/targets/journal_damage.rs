//! See `freshet_fuzz::journal_damage`.
#![no_main]

freshet_fuzz::target!(journal_damage);
