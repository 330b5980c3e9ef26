//! Where records come from.
//!
//! A [`Source`] is a client of one stream. The supervisor holds one to see which stream partitions there are and how
//! far they reach; each task holds one to read its share. Offsets are ours: a source is told where each stream
//! partition begins and never remembers, commits or resets a position itself.

pub mod kafka;
pub mod push;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use freshet_segment::time::Timestamp;

/// Position in a stream partition; as a bound it is the next one to read.
pub type Offset = i64;

/// An ordered sub-stream of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPartition(pub i32);

impl fmt::Display for StreamPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream partition {}", self.0)
    }
}

/// What a stream partition holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Its oldest record.
    pub low: Offset,
    /// One past its newest record.
    pub high: Offset,
}

/// Why a source has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The stream cannot be reached; it is tried again.
    #[error("{0}")]
    Lost(String),
    /// A position is not, or no longer, in its stream partition.
    #[error("a position lies outside its stream partition: {0}")]
    OutOfRange(String),
}

/// A record of a [`RawBatch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Its stream partition.
    pub partition: StreamPartition,
    /// Its position.
    pub offset: Offset,
    /// When it was produced, if the source knows.
    pub produced: Option<Timestamp>,
    /// Its bytes within the batch; a tombstone has none.
    pub payload: Option<Range<usize>>,
}

/// Records as they came, in the order of each stream partition. The buffer is used again for the next batch.
#[derive(Debug, Default)]
pub struct RawBatch {
    bytes: Vec<u8>,
    records: Vec<RawRecord>,
    reached: Vec<(StreamPartition, Offset)>,
}

/// Records of one poll: what the decoder and the columns handle well at once.
pub const BATCH_RECORDS_MAX: usize = 8_192;
/// Bytes of one poll. One record may overshoot.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

impl RawBatch {
    /// Forgets all records and positions.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
        self.reached.clear();
    }

    /// Whether another record should wait for the next batch.
    pub fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS_MAX || self.bytes.len() >= BATCH_BYTES_MAX
    }

    /// Adds a record.
    pub fn push(
        &mut self,
        partition: StreamPartition,
        offset: Offset,
        produced: Option<Timestamp>,
        payload: Option<&[u8]>,
    ) {
        let payload = payload.map(|payload| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(payload);
            start..self.bytes.len()
        });
        self.records.push(RawRecord { partition, offset, produced, payload });
    }

    /// Says that before this position of a stream partition there is nothing to read but the records handed out so far, in
    /// this batch or an earlier one since the assignment. It may lie beyond the last record, where a source keeps
    /// marks of its own there; records of this batch may lie beyond it.
    pub fn reach(&mut self, partition: StreamPartition, offset: Offset) {
        self.reached.push((partition, offset));
    }

    /// The positions of [`Self::reach`]: once all records of the batch are stored, their stream partitions have come at
    /// least this far.
    pub fn reached(&self) -> &[(StreamPartition, Offset)] {
        &self.reached
    }

    /// All records.
    pub fn records(&self) -> &[RawRecord] {
        &self.records
    }

    /// The bytes of a record.
    pub fn payload(&self, record: &RawRecord) -> Option<&[u8]> {
        record.payload.clone().and_then(|range| self.bytes.get(range))
    }

    /// Bytes of all records.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// A client of one stream. Every implementation owes:
/// - records of one stream partition come in order, from the assigned position on, each once per assignment;
/// - a call ends within its time-out, or a few seconds where none is given;
/// - after [`SourceError::Lost`] it goes on by itself where it was, once the stream is back;
/// - nothing is skipped: a position that is gone is [`SourceError::OutOfRange`], never another position.
pub trait Source: Send {
    /// The stream partitions there are now.
    ///
    /// # Errors
    /// `Lost`.
    fn partitions(&mut self) -> Result<Vec<StreamPartition>, SourceError>;

    /// Which stream this is, beyond its name: another one when the stream was deleted and made again. `None` when the source
    /// cannot tell, which says nothing about whether it is the same.
    ///
    /// # Errors
    /// `Lost`.
    fn stream_id(&mut self) -> Result<Option<String>, SourceError>;

    /// How long the stream keeps a record, by its settings a while ago; `None` when it does so for ever or the source
    /// cannot tell. It may keep records for less, as when their bytes are limited too.
    ///
    /// # Errors
    /// `Lost`.
    fn retention(&mut self) -> Result<Option<Duration>, SourceError>;

    /// What a stream partition holds.
    ///
    /// # Errors
    /// `Lost`.
    fn bounds(&mut self, partition: StreamPartition) -> Result<Bounds, SourceError>;

    /// Reads these stream partitions from these positions on, and no others; what was fetched before is forgotten.
    ///
    /// # Errors
    /// `Lost`.
    fn assign(&mut self, positions: &[(StreamPartition, Offset)]) -> Result<(), SourceError>;

    /// Waits up to `timeout` for a first record or a position reached, then adds all that are there until the batch is full.
    /// What was added before an error is good.
    ///
    /// # Errors
    /// `Lost` and `OutOfRange`.
    fn poll(&mut self, batch: &mut RawBatch, timeout: Duration) -> Result<(), SourceError>;
}
