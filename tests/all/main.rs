//! One binary for all integration tests: each module is one door of the server, asked from the outside.
//!
//! Most tests share one server process and keep apart by names of their own (`cluster::unique`); they wait with a deadline and
//! never sleep and hope. Expectations come from the oracle, from the contract, or were worked out by hand; none is computed by the
//! code under test.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod accounts;
mod batch;
mod care;
mod clients;
mod crash;
mod differential;
mod druid_http;
mod druid_streams;
mod druid_system;
mod druid_values;
mod durable;
mod faults;
mod files;
mod kafka;
mod known_answers;
mod live;
mod push;
mod server;
mod slt;
mod steps;
mod streams;
