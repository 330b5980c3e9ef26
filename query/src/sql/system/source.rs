//! What the server hands in for the tables of `sys`, as plain values.

use std::fmt::Debug;

use async_trait::async_trait;
use freshet_segment::error::SegmentError;
use freshet_segment::time::Timestamp;

/// What the tables of `sys` tell beyond a reading.
#[async_trait]
pub trait SystemSource: Send + Sync + Debug {
    /// Ranges of streams that were lost before they could be read.
    ///
    /// # Errors
    /// Of whoever keeps them.
    async fn data_gaps(&self) -> Result<Vec<DataGapRow>, SegmentError>;

    /// Rejected rows that are kept, of all tables.
    ///
    /// # Errors
    /// Of whoever keeps them.
    async fn dead_letters(&self) -> Result<Vec<DeadLetterRow>, SegmentError>;

    /// The processes that hold segments.
    fn servers(&self) -> Vec<ServerRow>;

    /// What takes rows in now.
    fn tasks(&self) -> Vec<TaskRow>;

    /// All supervisors, also those that did not come back.
    fn supervisors(&self) -> Vec<SupervisorRow>;
}

/// A process, as `sys.servers` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRow {
    /// Its address.
    pub host: String,
    /// The port of its HTTP listener.
    pub port: u16,
    /// What it is, in Druid's words.
    pub server_type: String,
    /// Its tier.
    pub tier: String,
    /// Bytes of sealed segments it serves.
    pub used_bytes: u64,
    /// How many it may hold; 0 when nothing bounds them.
    pub bytes_max: u64,
    /// Whether it leads, where it can.
    pub is_leader: Option<bool>,
    /// When it started.
    pub started: Timestamp,
    /// Its version.
    pub version: String,
    /// Threads that compute.
    pub processors: u64,
    /// Memory it was given.
    pub memory_bytes: u64,
}

impl ServerRow {
    /// `host:port`, by which other tables name it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// A running ingestion task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Its id.
    pub id: String,
    /// What it belongs to.
    pub group: String,
    /// `index_kafka` or `push`.
    pub kind: String,
    /// The table it writes.
    pub table: String,
    /// When it began.
    pub created: Timestamp,
    /// Where it runs.
    pub host: String,
    /// The port of the HTTP listener there.
    pub port: u16,
}

/// A supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisorRow {
    /// Its id.
    pub id: String,
    /// The table it fills.
    pub table: String,
    /// `RUNNING`, `SUSPENDED`, ...
    pub state: String,
    /// What exactly it is doing.
    pub detailed_state: String,
    /// Whether nobody needs to look.
    pub healthy: bool,
    /// `kafka`.
    pub kind: String,
    /// The stream it reads.
    pub source: String,
    /// Whether it is told to pause.
    pub suspended: bool,
    /// Its spec as JSON text, without secrets.
    pub spec: String,
}

/// A range of a stream partition that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataGapRow {
    /// The table; its number when it was dropped since.
    pub table: String,
    /// The stream.
    pub stream: String,
    /// The stream partition.
    pub partition: i32,
    /// First offset lost.
    pub from: i64,
    /// First offset after.
    pub to: i64,
    /// Why.
    pub reason: String,
    /// When it was found.
    pub at: Timestamp,
}

/// A row, or a field of one, that could not be taken as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// The table it was meant for.
    pub table: String,
    /// When it was refused.
    pub at: Timestamp,
    /// Who sent it: `push` or `kafka:<supervisor>`.
    pub source: String,
    /// Where in the source it stands.
    pub position: String,
    /// Where in the row: a field, or a line and column.
    pub place: Option<String>,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the row was stored, with the bad field as null.
    pub row_stored: bool,
    /// The record as text.
    pub raw: String,
}
