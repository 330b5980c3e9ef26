//! The values that go into the catalog and come out of it.
//!
//! Plain values with public fields: whoever holds one holds a copy, and the catalog has moved on meanwhile. What must not
//! move under a writer is therefore said in the request itself (`from`, the epoch, the ids to close) and compared inside
//! the transaction.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::accounting::Accounting;
use crate::error::{Result, SegmentError};
use crate::id::{SegmentId, TableId, TableName};
use crate::schema::TableSchema;
use crate::time::Timestamp;

/// A table.
#[derive(Debug, Clone)]
pub struct TableRow {
    /// Its number.
    pub id: TableId,
    /// Its name.
    pub name: TableName,
    /// Its schema now.
    pub schema: Arc<TableSchema>,
}

/// A supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisorRow {
    /// Its id.
    pub id: String,
    /// The table it writes.
    pub table: TableName,
    /// Its spec, as JSON text.
    pub spec: String,
    /// Whether it is told to pause.
    pub suspended: bool,
}

/// Names one request that ends in a commit: drawn at random by who asks, so that an unknown outcome can be looked up.
/// Its text is 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishId(pub u128);

impl fmt::Display for PublishId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for PublishId {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        let plain = s.len() == 32 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        u128::from_str_radix(s, 16).ok().filter(|_| plain).map(Self).ok_or_else(|| {
            SegmentError::invalid(
                "publish id",
                format!("`{}` is not 32 small hexadecimal digits", crate::time::shorten(s)),
            )
        })
    }
}

/// Offsets `[from, to)` of one stream partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRange {
    /// The stream, a text chosen by ingestion.
    pub stream: Arc<str>,
    /// The stream partition's number.
    pub partition: i32,
    /// The topic's id, so that a topic made again is not taken for the old one; empty when unknown.
    pub topic_id: Arc<str>,
    /// First offset inside.
    pub from: i64,
    /// First offset after.
    pub to: i64,
}

/// Where a stream partition stands: everything before `next` is in published segments, or was counted as left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The stream.
    pub stream: Arc<str>,
    /// The stream partition's number.
    pub partition: i32,
    /// The topic's id; empty when unknown.
    pub topic_id: Arc<str>,
    /// The next offset to read.
    pub next: i64,
    /// Raised by each reset of offsets, so that a range may be read again on purpose, and only then.
    pub generation: u64,
}

/// The right to write for a group, as a writer shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRef {
    /// The group: `supervisor/<id>`, `push/<table number>`.
    pub group: Arc<str>,
    /// The epoch in which the writer took it.
    pub epoch: u64,
}

/// A lease just taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The group.
    pub group: Arc<str>,
    /// Who holds it.
    pub owner: String,
    /// Rises with every change of hands.
    pub epoch: u64,
    /// Time left; after it another owner may take the group over, and until that happens the epoch still counts.
    pub expires_in: Duration,
}

impl Lease {
    /// What requests show.
    pub fn reference(&self) -> LeaseRef {
        LeaseRef { group: Arc::clone(&self.group), epoch: self.epoch }
    }
}

/// An object in deep storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name below the root of deep storage.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
}

/// The files of a sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFiles {
    /// The rows.
    pub parquet: StoredFile,
    /// Zones, dictionaries, postings.
    pub index: StoredFile,
    /// The description of the other two, uploaded last.
    pub meta: StoredFile,
}

impl SegmentFiles {
    /// All three.
    pub fn each(&self) -> [&StoredFile; 3] {
        [&self.parquet, &self.index, &self.meta]
    }
}

/// A sealed segment that is in deep storage and in no catalog yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSegment {
    /// Its id since its first row.
    pub id: SegmentId,
    /// Its rows.
    pub rows: u64,
    /// Its earliest and its latest time.
    pub time_range: (Timestamp, Timestamp),
    /// The version of the table's schema it was written with.
    pub schema_version: u64,
    /// The version of its file format.
    pub format: u16,
    /// Its files.
    pub files: SegmentFiles,
    /// Order-free sum over hashes of its rows: equal rows have equal sums, and sums add up (wrapping) when segments are
    /// merged.
    pub content_sum: u64,
}

/// A sealed segment as the catalog keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// What it is.
    pub segment: NewSegment,
    /// Its table.
    pub table: TableId,
    /// The request that opened it.
    pub publish: PublishId,
    /// First commit at which it is visible.
    pub visible_from: u64,
    /// First commit at which it no longer is; `u64::MAX` while it is open.
    pub visible_until: u64,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Hash kept in the row and checked whenever the row is read.
    pub row_sum: u64,
}

impl SegmentRow {
    /// Whether no commit has closed it.
    pub fn is_open(&self) -> bool {
        self.visible_until == u64::MAX
    }

    /// Whether a reading at `seq` sees it.
    pub fn is_visible(&self, seq: u64) -> bool {
        self.visible_from <= seq && seq < self.visible_until
    }
}

/// An idempotency key and the answer its push got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupKey {
    /// The key.
    pub key: Arc<str>,
    /// SHA-256 of the body it came with.
    pub body_sha256: [u8; 32],
    /// The answer, as JSON text.
    pub answer: String,
    /// When it was answered.
    pub at: Timestamp,
}

/// Everything that becomes official together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Names this request.
    pub id: PublishId,
    /// The table.
    pub table: TableId,
    /// The writer's lease.
    pub lease: LeaseRef,
    /// The offsets whose rows are in the segments, one range a stream partition.
    pub ranges: Vec<StreamRange>,
    /// The segments; none when every record of the ranges was left out.
    pub segments: Vec<NewSegment>,
    /// Idempotency keys of the pushes inside the ranges.
    pub dedup: Vec<DedupKey>,
    /// What became of the rows inside the ranges.
    pub accounting: Accounting,
}

/// Why a commit was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitCause {
    /// Rows of a stream became official.
    Publish,
    /// The same rows in other segments.
    Compact,
    /// Other rows for the same interval.
    Replace,
    /// Rows were removed: an interval, or the whole table.
    Drop,
    /// An earlier commit was taken back.
    Undo,
}

impl CommitCause {
    /// The name used in rows and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Compact => "compact",
            Self::Replace => "replace",
            Self::Drop => "drop",
            Self::Undo => "undo",
        }
    }
}

impl FromStr for CommitCause {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        [Self::Publish, Self::Compact, Self::Replace, Self::Drop, Self::Undo]
            .into_iter()
            .find(|cause| cause.name() == s)
            .ok_or_else(|| SegmentError::invalid("cause of a commit", format!("`{}`", crate::time::shorten(s))))
    }
}

/// A step of the catalog: what it opened and closed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its place: 1, 2, 3, … over all tables.
    pub seq: u64,
    /// The request it came from; for drops and undos made up by the catalog.
    pub publish: PublishId,
    /// The table.
    pub table: TableId,
    /// When, by the wall clock: for people.
    pub at: Timestamp,
    /// Why.
    pub cause: CommitCause,
    /// Segments visible from here on.
    pub opened: Vec<SegmentId>,
    /// Segments no longer visible from here on.
    pub closed: Vec<SegmentId>,
}

/// Segments in place of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Names this request.
    pub id: PublishId,
    /// The table.
    pub table: TableId,
    /// The lease it is done under, if it is.
    pub lease: Option<LeaseRef>,
    /// Segments that must be open, and are then closed.
    pub close: Vec<SegmentId>,
    /// Segments that are opened.
    pub open: Vec<NewSegment>,
    /// `Compact`, `Replace` or `Drop`.
    pub cause: CommitCause,
}

/// Offsets `[from, to)` that were lost before they could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataGap {
    /// The table.
    pub table: TableId,
    /// The stream.
    pub stream: Arc<str>,
    /// The stream partition's number.
    pub partition: i32,
    /// First offset lost.
    pub from: i64,
    /// First offset after.
    pub to: i64,
    /// Why, for people.
    pub reason: String,
    /// When it was found.
    pub at: Timestamp,
}

/// The open segments of a table at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReading {
    /// The last commit it includes.
    pub commit_seq: u64,
    /// The segments, by their number.
    pub segments: Vec<SegmentRow>,
}

/// A commit as an object that is stored beside the data, so that the catalog can be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The commit.
    pub seq: u64,
    /// One line of JSON with its own hash, ended by a line feed.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_id_is_32_digits() {
        let id = PublishId(0xab);
        assert_eq!(id.to_string(), "000000000000000000000000000000ab");
        assert_eq!(id.to_string().parse::<PublishId>().expect("its own text"), id);
        for bad in ["", "ab", "000000000000000000000000000000AB", "+00000000000000000000000000000ab"] {
            assert!(bad.parse::<PublishId>().is_err(), "{bad}");
        }
    }
}
