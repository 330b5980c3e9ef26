//! The rows of the catalog's relations, typed. The order of fields is the order of columns; the first ones are the key.
//!
//! Numbers that use all 64 bits (sums, epochs) are kept by their bits in a signed integer; hashes and ids are texts, so
//! that a database's own shell shows them as errors and logs do.

use std::sync::Arc;

use bytes::Bytes;

use super::accounting::{AccountRow, Counts, DeadLetter};
use super::books::{Guard, Relation, Value};
use super::rows::{
    Commit, CommitCause, DataGap, DedupKey, NewSegment, PublishId, SegmentFiles, SegmentRow, StoredFile, SupervisorRow,
};
use crate::id::{SegmentId, TableId, TableName};
use crate::time::Timestamp;

/// A value that is one column.
pub(crate) trait Cell: Sized {
    fn to_value(&self) -> Value;
    fn from_value(value: Value) -> Option<Self>;
}

/// A row of one relation.
pub(crate) trait Entry: Sized + Send + Sync {
    const RELATION: &'static Relation;
    fn values(&self) -> Vec<Value>;
    fn from_values(values: Vec<Value>) -> Option<Self>;
}

macro_rules! cells {
    ($($type:ty: |$to:ident| $value:expr, |$from:ident| $back:expr;)*) => {$(
        impl Cell for $type {
            fn to_value(&self) -> Value {
                let $to = self;
                $value
            }
            fn from_value(value: Value) -> Option<Self> {
                let $from = value;
                $back
            }
        }
    )*};
}

fn int(value: Value) -> Option<i64> {
    if let Value::Int(int) = value { Some(int) } else { None }
}

fn text(value: Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

cells! {
    i64: |v| Value::Int(*v), |v| int(v);
    u64: |v| Value::Int(v.cast_signed()), |v| int(v).map(i64::cast_unsigned);
    i32: |v| Value::Int(i64::from(*v)), |v| int(v)?.try_into().ok();
    u32: |v| Value::Int(i64::from(*v)), |v| int(v)?.try_into().ok();
    u16: |v| Value::Int(i64::from(*v)), |v| int(v)?.try_into().ok();
    bool: |v| Value::Int(i64::from(*v)), |v| match int(v)? { 0 => Some(false), 1 => Some(true), _ => None };
    String: |v| Value::Text(v.clone()), |v| text(v);
    Arc<str>: |v| Value::Text(v.to_string()), |v| text(v).map(Arc::from);
    Timestamp: |v| Value::Int(v.as_millis()), |v| int(v).map(Self::from_millis);
    TableId: |v| v.0.to_value(), |v| u64::from_value(v).map(Self);
    TableName: |v| Value::Text(v.to_string()), |v| text(v)?.parse().ok();
    SegmentId: |v| Value::Text(v.to_string()), |v| text(v)?.parse().ok();
    PublishId: |v| Value::Text(v.to_string()), |v| text(v)?.parse().ok();
    CommitCause: |v| Value::Text(v.name().to_owned()), |v| text(v)?.parse().ok();
    [u8; 32]: |v| Value::Text(hex(v)), |v| unhex(&text(v)?)?.try_into().ok();
    Bytes: |v| Value::Text(bytes_text(v)), |v| bytes_read(&text(v)?);
    Vec<SegmentId>: |v| Value::Text(ids_text(v)), |v| ids_read(&text(v)?);
}

impl<T: Cell> Cell for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_value)
    }
    fn from_value(value: Value) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

/// Small hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    if rest.is_empty() { bytes } else { None }
}

/// Bytes as a text that a person can read if they are one: `=` and the text, or `x` and digits.
fn bytes_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        // A database's shell ends a text at its first zero.
        Ok(text) if !bytes.contains(&0) => format!("={text}"),
        _ => format!("x{}", hex(bytes)),
    }
}

fn bytes_read(text: &str) -> Option<Bytes> {
    match text.strip_prefix('=') {
        Some(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        None => unhex(text.strip_prefix('x')?).map(Bytes::from),
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Ids as a JSON array.
fn ids_text(ids: &[SegmentId]) -> String {
    serde_json::Value::from(ids.iter().map(SegmentId::to_string).collect::<Vec<_>>()).to_string()
}

fn ids_read(text: &str) -> Option<Vec<SegmentId>> {
    let ids: Vec<String> = serde_json::from_str(text).ok()?;
    ids.iter().map(|id| id.parse().ok()).collect()
}

macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident = $relation:literal key $key:literal guard $guard:ident
        { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq)]
            pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: $type),* }

            impl Entry for $name {
                const RELATION: &'static Relation = &Relation {
                    name: $relation,
                    columns: &[$(stringify!($field)),*],
                    key: $key,
                    guard: Guard::$guard,
                };
                fn values(&self) -> Vec<Value> {
                    vec![$(self.$field.to_value()),*]
                }
                fn from_values(values: Vec<Value>) -> Option<Self> {
                    let mut values = values.into_iter();
                    let entry = Self { $($field: Cell::from_value(values.next()?)?),* };
                    values.next().is_none().then_some(entry)
                }
            }
        )*

        /// Every relation, in the order a copy lists them.
        pub(crate) const RELATIONS: &[&Relation] = &[$($name::RELATION),*];
    };
}

entries! {
    /// A number of the whole catalog: `commit`, `table`, `guard`.
    Counter = "counters" key 1 guard None { name: String, value: u64 }

    /// How many rows a guarded relation has in a scope, and the wrapping sum of their hashes.
    GuardRow = "guards" key 2 guard None { relation: String, scope: String, rows: u64, sum: u64 }

    /// A table; kept after it was dropped until its last segment is gone.
    TableEntry = "tables" key 1 guard Whole {
        id: TableId,
        name: TableName,
        /// JSON, see `ledger::tables`.
        schema: String,
        next_number: u32,
        dropped_at: Option<Timestamp>,
    }

    /// A supervisor.
    SupervisorEntry = "supervisors" key 1 guard Whole { id: String, table: TableName, spec: String, suspended: bool }

    /// A lease. The row stays when nobody holds it: its epoch must never fall.
    LeaseEntry = "leases" key 1 guard Whole {
        group: Arc<str>,
        epoch: u64,
        owner: Option<String>,
        /// By the clock leases run by.
        expires: i64,
    }

    /// A checkpoint; without `next` it was removed, and its generation is remembered.
    CheckpointEntry = "checkpoints" key 3 guard First {
        table: TableId,
        stream: Arc<str>,
        partition: i32,
        topic_id: Arc<str>,
        next: Option<i64>,
        generation: u64,
    }

    /// A published range.
    RangeEntry = "stream_ranges" key 5 guard First {
        table: TableId,
        stream: Arc<str>,
        partition: i32,
        generation: u64,
        from: i64,
        to: i64,
        topic_id: Arc<str>,
        publish: PublishId,
    }

    /// A commit.
    CommitEntry = "commits" key 1 guard Whole {
        seq: u64,
        publish: PublishId,
        table: TableId,
        at: Timestamp,
        cause: CommitCause,
        opened: Vec<SegmentId>,
        closed: Vec<SegmentId>,
    }

    /// Which commit a request became, and a hash of what it asked for.
    PublicationEntry = "publications" key 1 guard Whole { publish: PublishId, seq: u64, content: [u8; 32] }

    /// A sealed segment.
    SegmentEntry = "segments" key 2 guard First {
        table: TableId,
        number: u32,
        id: SegmentId,
        rows: u64,
        time_min: Timestamp,
        time_max: Timestamp,
        schema_version: u64,
        format: u16,
        content_sum: u64,
        parquet_path: String,
        parquet_bytes: u64,
        parquet_sha256: [u8; 32],
        index_path: String,
        index_bytes: u64,
        index_sha256: [u8; 32],
        meta_path: String,
        meta_bytes: u64,
        meta_sha256: [u8; 32],
        publish: PublishId,
        visible_from: u64,
        visible_until: Option<u64>,
        closed_at: Option<Timestamp>,
        /// Named by `segments_to_delete`: its files may be gone at any moment.
        condemned: bool,
    }

    /// A path, and a segment that names it.
    FileEntry = "segment_files" key 3 guard Whole { path: String, table: TableId, number: u32 }

    /// Closed segments in the order they were closed.
    ClosedEntry = "closed_segments" key 3 guard Whole { closed_at: Timestamp, table: TableId, number: u32 }

    /// An idempotency key.
    DedupEntry = "dedup_keys" key 2 guard None {
        table: TableId,
        key: Arc<str>,
        body_sha256: [u8; 32],
        answer: String,
        at: Timestamp,
    }

    /// Idempotency keys in the order they were answered.
    DedupOrderEntry = "dedup_order" key 3 guard None { table: TableId, at: Timestamp, key: Arc<str> }

    /// A lost range.
    GapEntry = "data_gaps" key 4 guard Whole {
        table: TableId,
        stream: Arc<str>,
        partition: i32,
        from: i64,
        to: i64,
        reason: String,
        at: Timestamp,
    }

    /// What became of the rows read from a stream partition up to its checkpoint.
    AccountEntry = "accounts" key 3 guard First {
        table: TableId,
        stream: Arc<str>,
        partition: i32,
        read: u64,
        stored: u64,
        filtered: u64,
        rejected: u64,
        late: u64,
        duplicate: u64,
        processed_with_error: u64,
        bytes: u64,
    }

    /// How many dead letters a table ever had, and how many are kept, with their bytes.
    LetterSumEntry = "letter_sums" key 1 guard Whole { table: TableId, total: u64, kept: u64, bytes: u64 }

    /// A dead letter. One whose row a damaged page has lost is missed by the sums, and by nobody else.
    LetterEntry = "dead_letters" key 2 guard None {
        table: TableId,
        number: u64,
        time: Timestamp,
        stream: Arc<str>,
        partition: i32,
        offset: i64,
        row: u64,
        place: Option<String>,
        reason: String,
        hint: Option<String>,
        row_stored: bool,
        raw: Bytes,
    }

    /// The field that holds the time of rows pushed into a table.
    PushTimeEntry = "push_times" key 1 guard Whole { table: TableId, field: String }

    /// A log entry that is not known to be stored elsewhere.
    OutboxEntry = "outbox" key 1 guard Whole { seq: u64, line: String }
}

impl SegmentEntry {
    pub(crate) fn new(segment: &NewSegment, table: TableId, publish: PublishId, visible_from: u64) -> Self {
        let NewSegment { id, rows, time_range, schema_version, format, files, content_sum } = segment.clone();
        let SegmentFiles { parquet, index, meta } = files;
        Self {
            table,
            number: id.number,
            id,
            rows,
            time_min: time_range.0,
            time_max: time_range.1,
            schema_version,
            format,
            content_sum,
            parquet_path: parquet.path,
            parquet_bytes: parquet.bytes,
            parquet_sha256: parquet.sha256,
            index_path: index.path,
            index_bytes: index.bytes,
            index_sha256: index.sha256,
            meta_path: meta.path,
            meta_bytes: meta.bytes,
            meta_sha256: meta.sha256,
            publish,
            visible_from,
            visible_until: None,
            closed_at: None,
            condemned: false,
        }
    }

    pub(crate) fn paths(&self) -> [&String; 3] {
        [&self.parquet_path, &self.index_path, &self.meta_path]
    }

    /// The row as callers see it, with the hash it is kept with.
    pub(crate) fn into_row(self, row_sum: u64) -> SegmentRow {
        let file = |path, bytes, sha256| StoredFile { path, bytes, sha256 };
        SegmentRow {
            segment: NewSegment {
                id: self.id,
                rows: self.rows,
                time_range: (self.time_min, self.time_max),
                schema_version: self.schema_version,
                format: self.format,
                files: SegmentFiles {
                    parquet: file(self.parquet_path, self.parquet_bytes, self.parquet_sha256),
                    index: file(self.index_path, self.index_bytes, self.index_sha256),
                    meta: file(self.meta_path, self.meta_bytes, self.meta_sha256),
                },
                content_sum: self.content_sum,
            },
            table: self.table,
            publish: self.publish,
            visible_from: self.visible_from,
            visible_until: self.visible_until.unwrap_or(u64::MAX),
            closed_at: self.closed_at,
            row_sum,
        }
    }
}

impl From<SupervisorRow> for SupervisorEntry {
    fn from(row: SupervisorRow) -> Self {
        let SupervisorRow { id, table, spec, suspended } = row;
        Self { id, table, spec, suspended }
    }
}

impl From<SupervisorEntry> for SupervisorRow {
    fn from(entry: SupervisorEntry) -> Self {
        let SupervisorEntry { id, table, spec, suspended } = entry;
        Self { id, table, spec, suspended }
    }
}

impl From<Commit> for CommitEntry {
    fn from(commit: Commit) -> Self {
        let Commit { seq, publish, table, at, cause, opened, closed } = commit;
        Self { seq, publish, table, at, cause, opened, closed }
    }
}

impl From<CommitEntry> for Commit {
    fn from(entry: CommitEntry) -> Self {
        let CommitEntry { seq, publish, table, at, cause, opened, closed } = entry;
        Self { seq, publish, table, at, cause, opened, closed }
    }
}

impl From<DedupEntry> for DedupKey {
    fn from(entry: DedupEntry) -> Self {
        let DedupEntry { key, body_sha256, answer, at, .. } = entry;
        Self { key, body_sha256, answer, at }
    }
}

impl From<DataGap> for GapEntry {
    fn from(gap: DataGap) -> Self {
        let DataGap { table, stream, partition, from, to, reason, at } = gap;
        Self { table, stream, partition, from, to, reason, at }
    }
}

impl From<GapEntry> for DataGap {
    fn from(entry: GapEntry) -> Self {
        let GapEntry { table, stream, partition, from, to, reason, at } = entry;
        Self { table, stream, partition, from, to, reason, at }
    }
}

impl AccountEntry {
    pub(crate) fn new(table: TableId, row: AccountRow) -> Self {
        let AccountRow { stream, partition, counts } = row;
        let Counts { read, stored, filtered, rejected, late, duplicate, processed_with_error, bytes } = counts;
        Self {
            table,
            stream,
            partition,
            read,
            stored,
            filtered,
            rejected,
            late,
            duplicate,
            processed_with_error,
            bytes,
        }
    }
}

impl From<AccountEntry> for AccountRow {
    fn from(entry: AccountEntry) -> Self {
        let AccountEntry { stream, partition, read, stored, filtered, rejected, late, duplicate, .. } = entry;
        let (processed_with_error, bytes) = (entry.processed_with_error, entry.bytes);
        let counts = Counts { read, stored, filtered, rejected, late, duplicate, processed_with_error, bytes };
        Self { stream, partition, counts }
    }
}

impl LetterEntry {
    pub(crate) fn new(table: TableId, number: u64, letter: DeadLetter) -> Self {
        let DeadLetter { time, stream, partition, offset, row, at: place, reason, hint, row_stored, raw } = letter;
        Self { table, number, time, stream, partition, offset, row, place, reason, hint, row_stored, raw }
    }
}

impl From<LetterEntry> for DeadLetter {
    fn from(entry: LetterEntry) -> Self {
        let LetterEntry { time, stream, partition, offset, row, place: at, reason, hint, row_stored, raw, .. } = entry;
        Self { time, stream, partition, offset, row, at, reason, hint, row_stored, raw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were_kept() {
        for bytes in [&b""[..], b"{\"a\":1}", b"=x", "\u{e9}\n".as_bytes(), b"\xff\xfe", b"a\0b"] {
            let bytes = Bytes::copy_from_slice(bytes);
            assert_eq!(Bytes::from_value(bytes.to_value()), Some(bytes));
        }
        assert_eq!(Bytes::from_static(b"{}").to_value(), Value::Text("={}".to_owned()), "a text stays one");
        for bad in ["", "a", "x0", "xg0"] {
            assert_eq!(Bytes::from_value(Value::Text(bad.to_owned())), None, "{bad}");
        }
    }
}
