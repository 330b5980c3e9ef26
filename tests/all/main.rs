//! One binary for all integration tests: each module is one door of the server, asked from the outside.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]
