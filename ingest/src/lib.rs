//! How rows come into Freshet: sources, decoders, supervisors and tasks.
//!
//! ```text
//! Kafka ─ source::kafka ─ RawBatch ─┐
//!                                   ├─ decode ─ transform ─ Rows ─ task: routing, growing segments ─ timeline
//! HTTP ── source::push ── body ─────┘     └─ dead_letter  (push: journal first)   └─ memory, counts     │
//!                                                                                                       │
//!                          deep storage, catalog, sealed segments on the timeline ◀─ publishing ◀─ sealing
//! ```
//!
//! What this crate promises: a row is visible to queries as soon as its batch is swapped in; each committed record of a
//! topic is stored once, through crashes, suspensions, outages and replaced specs, because its segments and the position
//! it came from are published in one transaction; a push is stored whole or not at all, and survives a crash from its
//! acknowledgement on; and `read = stored + filtered + rejected + late + duplicate` holds exactly.
//!
//! | module | what |
//! |---|---|
//! | [`Ingest`] | the front: supervisors, pushes, tables |
//! | [`batch`] | files into sealed segments, all of them or none |
//! | [`spec`] | what a supervisor is asked to do |
//! | [`source`] | Kafka and push |
//! | [`decode`], [`transform`] | bytes to columns; the time column |
//! | [`routing`] | rows to intervals |
//! | `sealing`, `publishing`, `leases` | when rows stop growing; how they become official; who may write |
//! | `recovery` | from a data folder back to what was served before |
//! | [`dead_letter`], [`counts`], [`memory`] | refused rows; what became of each row; the budget |
//!
//! ```
//! use std::sync::Arc;
//! use freshet_ingest::{Ingest, IngestOptions, Limits, SealOptions, Storage};
//! use freshet_ingest::source::push::{Acknowledge, OnError, PushRequest};
//! use freshet_segment::{catalog::MemoryCatalog, clock::SystemClock, deep_storage::DeepStorage, disk::Disk};
//! use freshet_segment::{time::Timestamp, timeline::Timeline};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = tokio::runtime::Runtime::new()?;
//! let timeline = Arc::new(Timeline::new());
//! let folder = tempfile::tempdir()?;
//! let storage = Storage {
//!     deep: DeepStorage::folder(folder.path().join("deep"), runtime.handle().clone())?,
//!     disk: Disk::Real,
//!     folder: folder.path().to_owned(),
//!     node_id: "one".to_owned(),
//! };
//! let ingest = Ingest::new(IngestOptions {
//!     catalog: Arc::new(MemoryCatalog::new()),
//!     timeline: timeline.clone(),
//!     clock: Arc::new(SystemClock::new()),
//!     runtime: runtime.handle().clone(),
//!     memory_bytes_max: 64 << 20,
//!     storage,
//!     seal: SealOptions::default(),
//!     limits: Limits::default(),
//! });
//! let reply = runtime.block_on(ingest.push(PushRequest {
//!     table: "clicks".parse()?,
//!     body: r#"[{"ts":"2015-09-12T00:46:58.771Z","page":"Main"}]"#.into(),
//!     on_error: OnError::Reject,
//!     time_column: None,
//!     received: Timestamp::from_millis(0),
//!     key: None,
//!     acknowledge: Acknowledge::Journal,
//! }))?;
//! assert_eq!(reply.accepted, 1);
//! assert_eq!(timeline.reading().table("clicks").map(|t| t.rows()), Some(1));
//! # Ok(()) }
//! ```

mod appender;
pub mod batch;
pub mod counts;
pub mod dead_letter;
pub mod decode;
pub mod error;
mod ingest;
mod leases;
pub mod memory;
mod publishing;
mod recovery;
pub mod routing;
mod sealing;
pub mod source;
pub mod spec;
pub mod supervisor;
mod tables;
mod task;
pub mod transform;

pub use error::{ErrorKind, IngestError, Result};
pub use ingest::{Ingest, IngestOptions, Limits, PushStatus, PushTaskView};
pub use sealing::SealOptions;
pub use tables::Storage;
