//! What the tests across Freshet's doors stand on: real services, real `freshet` processes, and events whose sums are known.
//!
//! - [`cluster`] starts, kills and asks `freshet` processes, from the outside only: by flags, signals and HTTP.
//! - [`services`] starts real Apache Kafka, or says loudly that it could not.
//! - [`events`] makes seeded events and keeps the oracle: what the table must answer, computed without Freshet.
//! - [`live`] speaks the live socket.
//!
//! Nothing here knows how the server works inside. Whatever is asked of it is asked as a user would ask.
//!
//! A failing expectation ends the test by a panic, as everywhere in tests.
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod cluster;
pub mod events;
pub mod live;
pub mod reaper;
pub mod services;
pub mod wait;
