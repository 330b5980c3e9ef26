//! `sys`: segments, lost ranges and rejected rows as tables.
//!
//! `sys.segments` is what the query's own reading shows, so it fits the tables it is joined with. The other two are values that
//! the server hands in when a query asks for them ([`SystemSource`]): this crate knows neither catalog nor ingestion.

use std::fmt::Debug;

use async_trait::async_trait;
use freshet_segment::error::SegmentError;
use freshet_segment::schema::{ColumnRole, TableSchema};
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::{Reading, SegmentEntry, TableView};

use super::{Cell, Rows};

/// The schema of these tables.
pub(crate) const SYS: &str = "sys";
/// Their names.
pub(crate) const SYS_NAMES: [&str; 3] = ["data_gaps", "dead_letters", "segments"];

/// What the tables of `sys` tell beyond a reading.
#[async_trait]
pub trait SystemSource: Send + Sync + Debug {
    /// Ranges of streams that were lost before they could be read.
    ///
    /// # Errors
    /// Of whoever keeps them.
    async fn data_gaps(&self) -> Result<Vec<DataGapRow>, SegmentError>;

    /// Rejected rows that are kept, of all tables.
    fn dead_letters(&self) -> Vec<DeadLetterRow>;
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

pub(super) const SEGMENTS: &[&str] = &[
    "segment_id",
    "datasource",
    "start",
    "end",
    "size",
    "version",
    "partition_num",
    "num_replicas",
    "num_rows",
    "is_active",
    "is_published",
    "is_available",
    "is_realtime",
    "is_overshadowed",
    "shard_spec",
    "dimensions",
    "metrics",
    "last_compaction_state",
    "replication_factor",
];
pub(super) const SEGMENTS_LONGS: &[&str] = &[
    "size",
    "partition_num",
    "num_replicas",
    "num_rows",
    "is_active",
    "is_published",
    "is_available",
    "is_realtime",
    "is_overshadowed",
    "replication_factor",
];
pub(super) const DATA_GAPS: &[&str] =
    &["datasource", "stream", "partition", "from_offset", "to_offset", "reason", "found_at"];
pub(super) const DATA_GAPS_LONGS: &[&str] = &["partition", "from_offset", "to_offset"];
pub(super) const DEAD_LETTERS: &[&str] =
    &["datasource", "refused_at", "source", "position", "place", "reason", "hint", "row_stored", "raw"];
pub(super) const DEAD_LETTERS_LONGS: &[&str] = &["row_stored"];

/// One row a visible segment. A growing segment has no file yet, so its size is 0, as in Druid.
pub(super) fn segments(reading: &Reading) -> Rows {
    let mut cells = Vec::new();
    for view in reading.tables() {
        let names = |wanted: ColumnRole| names(&view.schema, wanted);
        let (dimensions, metrics) = (names(ColumnRole::Dimension), names(ColumnRole::Metric));
        cells.extend(view.segments().map(|entry| segment(&view, entry, &dimensions, &metrics)));
    }
    Rows { names: SEGMENTS, longs: SEGMENTS_LONGS, cells }
}

fn segment(view: &TableView, entry: &SegmentEntry, dimensions: &str, metrics: &str) -> Vec<Cell> {
    let long = |value: u64| Cell::Long(i64::try_from(value).ok());
    let flag = |value: bool| Cell::Long(Some(i64::from(value)));
    let sealed = entry.segment.is_sealed();
    vec![
        Cell::Text(Some(entry.id.to_string())),
        view.name.as_str().into(),
        Cell::Text(Some(entry.id.interval.start().to_iso())),
        Cell::Text(Some(entry.id.interval.end().to_iso())),
        long(entry.segment.stored_bytes()),
        entry.id.version.as_str().into(),
        long(u64::from(entry.id.number)),
        long(1),
        long(entry.segment.rows() as u64),
        flag(true),
        flag(sealed),
        flag(true),
        flag(!sealed),
        flag(false),
        Cell::Text(None),
        dimensions.into(),
        metrics.into(),
        Cell::Text(None),
        long(1),
    ]
}

/// Names of the columns of a role, as a JSON array.
fn names(schema: &TableSchema, role: ColumnRole) -> String {
    let names: Vec<&str> = schema.columns().iter().filter(|c| c.role == role).map(|c| &*c.name).collect();
    serde_json::Value::from(names).to_string()
}

pub(super) fn data_gaps(gaps: Vec<DataGapRow>) -> Rows {
    let cells = gaps
        .into_iter()
        .map(|gap| {
            vec![
                Cell::Text(Some(gap.table)),
                Cell::Text(Some(gap.stream)),
                Cell::Long(Some(i64::from(gap.partition))),
                Cell::Long(Some(gap.from)),
                Cell::Long(Some(gap.to)),
                Cell::Text(Some(gap.reason)),
                Cell::Text(Some(gap.at.to_iso())),
            ]
        })
        .collect();
    Rows { names: DATA_GAPS, longs: DATA_GAPS_LONGS, cells }
}

pub(super) fn dead_letters(letters: Vec<DeadLetterRow>) -> Rows {
    let cells = letters
        .into_iter()
        .map(|letter| {
            vec![
                Cell::Text(Some(letter.table)),
                Cell::Text(Some(letter.at.to_iso())),
                Cell::Text(Some(letter.source)),
                Cell::Text(Some(letter.position)),
                Cell::Text(letter.place),
                Cell::Text(Some(letter.reason)),
                Cell::Text(letter.hint),
                Cell::Long(Some(i64::from(letter.row_stored))),
                Cell::Text(Some(letter.raw)),
            ]
        })
        .collect();
    Rows { names: DEAD_LETTERS, longs: DEAD_LETTERS_LONGS, cells }
}
