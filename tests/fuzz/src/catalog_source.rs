//! A catalog in which something has happened, and the copies that are made of it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use freshet_segment::Result;
use freshet_segment::catalog::{
    AccountRow, Accounting, Catalog, CommitCause, Counts, DataGap, DeadLetter, DedupKey, MemoryCatalog, NewSegment,
    Publication, PublishId, Replacement, SegmentFiles, StoredFile, StreamRange, SupervisorRow,
};
use freshet_segment::clock::ManualClock;
use freshet_segment::id::{SegmentId, TableId, Version};
use freshet_segment::schema::{Column, ColumnType, TableSchema};
use freshet_segment::time::{Granularity, Timestamp};
use tokio::runtime::Runtime;

const LONG: Duration = Duration::from_secs(600);

/// A copy: lines of an export, and the log entries of later commits.
pub(crate) struct Copy {
    pub(crate) export: Vec<u8>,
    pub(crate) log: Vec<Vec<u8>>,
}

impl Copy {
    /// The export, and the first so many log entries.
    pub(crate) fn with_log(&self, entries: usize) -> Vec<u8> {
        [&self.export].into_iter().chain(self.log.iter().take(entries)).flatten().copied().collect()
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// An empty catalog on a clock that stands.
pub(crate) fn empty() -> MemoryCatalog {
    MemoryCatalog::with_clock(Arc::new(ManualClock::new(Timestamp::from_millis(1_442_018_818_771))))
}

fn schema() -> TableSchema {
    TableSchema::new(vec![Column::dimension("a", ColumnType::Long)]).expect("a schema")
}

fn range(from: i64, to: i64) -> StreamRange {
    StreamRange { stream: "push/one".into(), partition: 0, topic_id: "".into(), from, to }
}

fn segment(table: &str, number: u32, rows: u64) -> NewSegment {
    let interval = Granularity::DAY.bucket(Timestamp::from_millis(0));
    let table = table.parse().expect("a name");
    let id = SegmentId { table, interval, version: Version::at(interval.start()), number };
    let file = |kind: &str| StoredFile { path: format!("{id}.{kind}"), bytes: rows * 10, sha256: [7; 32] };
    let files = SegmentFiles { parquet: file("parquet"), index: file("idx"), meta: file("json") };
    let time_range = (interval.start(), interval.start());
    NewSegment { id, rows, time_range, schema_version: 1, format: 1, files, content_sum: rows * 100 }
}

/// Some rows, one of them refused.
fn accounting(offset: i64) -> Accounting {
    let counts = Counts { read: 3, stored: 2, rejected: 1, ..Counts::default() };
    let letter = DeadLetter {
        time: Timestamp::from_millis(5),
        stream: "push".into(),
        partition: 0,
        offset,
        row: 1,
        at: None,
        reason: "no row".to_owned(),
        hint: None,
        row_stored: false,
        raw: vec![0xff].into(),
    };
    let counts = vec![AccountRow { stream: "push".into(), partition: 0, counts }];
    Accounting { counts, letters: vec![letter], ..Accounting::default() }
}

/// A catalog's life: before the night the export has it, after that the log.
pub(crate) async fn copy() -> Copy {
    let catalog = empty();
    let table = catalog.create_table(&"t".parse().expect("a name"), schema()).await.expect("made");
    let group = format!("push/one/{}", table.id);
    let lease = catalog.seize_lease(&group, "one", LONG).await.expect("taken").reference();
    catalog.start_checkpoints(table.id, &lease, &[range(0, 0)]).await.expect("started");
    let supervisor =
        SupervisorRow { id: "s".into(), table: table.name.clone(), spec: "{}".to_owned(), suspended: false };
    catalog.put_supervisor(supervisor).await.expect("put");
    let gap = DataGap {
        table: table.id,
        stream: "kafka:s:topic".into(),
        partition: 1,
        from: 3,
        to: 5,
        reason: "it was deleted".to_owned(),
        at: Timestamp::from_millis(9),
    };
    catalog.record_gap(gap).await.expect("noted");
    let publish = |id: u128, from: i64, to: i64, segments: Vec<NewSegment>| Publication {
        id: PublishId(id),
        table: table.id,
        lease: lease.clone(),
        ranges: vec![range(from, to)],
        segments,
        dedup: vec![DedupKey {
            key: format!("key {id}").into(),
            body_sha256: [1; 32],
            answer: "{}".to_owned(),
            at: Timestamp::from_millis(5),
        }],
        accounting: accounting(from),
    };
    let numbers = catalog.lease_numbers(table.id, 3).await.expect("numbers");
    let [a, b, c] = [0, 1, 2].map(|at| segment("t", numbers.start + at, [5, 7, 12][at as usize]));
    catalog.publish(publish(1, 0, 5, vec![a.clone()])).await.expect("published");
    let export = catalog.export().await.expect("copied");
    let night = catalog.last_commit().await.expect("read");

    catalog.publish(publish(2, 5, 12, vec![b.clone()])).await.expect("published");
    let compaction = Replacement {
        id: PublishId(3),
        table: table.id,
        lease: None,
        close: vec![a.id, b.id],
        open: vec![c],
        cause: CommitCause::Compact,
    };
    catalog.replace(compaction).await.expect("compacted");
    let gone = catalog.create_table(&"gone".parse().expect("a name"), schema()).await.expect("made");
    catalog.drop_table(gone.id).await.expect("dropped");
    let log = catalog.log_entries(night, 100).await.expect("read");
    Copy { export, log: log.into_iter().map(|entry| entry.bytes).collect() }
}

/// Everything that can be read of a catalog but its leases, as text.
pub(crate) async fn state(catalog: &MemoryCatalog) -> Result<String> {
    let mut text = String::new();
    let mut say = |what: &dyn std::fmt::Debug| {
        let _ = writeln!(text, "{what:?}");
    };
    say(&catalog.supervisors().await?);
    say(&catalog.commits_since(0, 1_000_000).await?);
    say(&catalog.data_gaps(None).await?);
    for table in catalog.tables().await? {
        say(&(table.id, &table.name, table.schema.version(), table.schema.columns()));
        say(&catalog.reading(table.id).await?);
        say(&catalog.segments(table.id, None).await?);
        say(&catalog.checkpoints(table.id, "push/one").await?);
        say(&catalog.dedup_since(table.id, Timestamp::MIN, 1_000_000).await?);
    }
    for commit in catalog.commits_since(0, 1_000_000).await? {
        say(&catalog.publication(commit.publish).await?);
    }
    Ok(text)
}

/// The number that the next table gets.
pub(crate) async fn next_table(catalog: &MemoryCatalog) -> Result<TableId> {
    let name = "made after all others".parse().expect("a name");
    Ok(catalog.create_table(&name, schema()).await?.id)
}
