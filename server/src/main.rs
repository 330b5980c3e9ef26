//! The freshet binary.
fn main() {}
