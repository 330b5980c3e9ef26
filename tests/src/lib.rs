//! What the tests across Freshet's doors stand on: real services, real `freshet` processes, and events whose sums are known.
//!
//! - [`cluster`] starts, kills and asks `freshet` processes, from the outside only: by flags, signals and HTTP.
//! - [`services`] starts real Apache Kafka and an S3 server, or says loudly that it could not.
//! - [`proxy`] stands before any of them and makes the faults of a network.
//! - [`events`] makes seeded events and keeps the oracle: what the table must answer, computed without Freshet.
//! - [`ledger`] writes pairs that add up to nothing and records what was acknowledged, through kills and faults.
//! - [`scale`] says how often the slow tests do what they do, and with which seed.
//! - [`live`] speaks the live socket.
//!
//! Nothing here knows how the server works inside. Whatever is asked of it is asked as a user would ask.
//!
//! A failing expectation ends the test by a panic, as everywhere in tests.
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod cluster;
pub mod events;
pub mod ledger;
pub mod live;
pub mod proxy;
pub mod reaper;
pub mod scale;
pub mod services;
pub mod wait;
