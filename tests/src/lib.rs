//! freshet-tests
