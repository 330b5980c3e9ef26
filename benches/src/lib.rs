//! freshet-benches
