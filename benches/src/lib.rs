//! Benches of Freshet, and the seeded data they share. Claims and figures are in `REPORT.md`.

pub mod data;
