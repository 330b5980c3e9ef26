//! See `freshet_fuzz::catalog_damage`.
#![no_main]

freshet_fuzz::target!(catalog_damage);
