//! What every catalog owes, as tests over any of them.

pub(crate) mod accounts;
mod commits;
mod copies;
mod leases;
mod offsets;
mod tables;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Catalog;
use super::accounting::*;
use super::rows::*;
use crate::clock::ManualClock;
use crate::error::ErrorKind;
use crate::id::{SegmentId, TableName, Version};
use crate::schema::{Column, ColumnType, TableSchema};
use crate::time::{Granularity, Interval, Timestamp};

/// A catalog under test.
pub(crate) struct Subject<'a> {
    pub(crate) catalog: &'a dyn Catalog,
    /// An empty one of the same sort.
    pub(crate) empty: &'a dyn Catalog,
    pub(crate) clock: &'a ManualClock,
    /// Whether leases run by `clock`, too; else real time passes.
    pub(crate) lease_time_is_manual: bool,
}

pub(crate) async fn run(subject: &Subject<'_>) {
    tables::all(subject).await;
    leases::all(subject).await;
    offsets::all(subject).await;
    commits::all(subject).await;
    accounts::all(subject).await;
    upkeep::all(subject).await;
    // Last: it copies all that the others have left.
    copies::all(subject).await;
}

pub(crate) const LONG: Duration = Duration::from_secs(600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn name(text: &str) -> TableName {
    text.parse().expect("a good name")
}

pub(crate) fn schema() -> TableSchema {
    TableSchema::new(vec![Column::dimension("a", ColumnType::Long)]).expect("a schema")
}

/// The interval of day `n` since 1970.
pub(crate) fn day(n: i64) -> Interval {
    Granularity::DAY.bucket(Timestamp::from_millis(n * 86_400_000))
}

pub(crate) fn range(partition: i32, from: i64, to: i64) -> StreamRange {
    StreamRange { stream: "push".into(), partition, topic_id: "".into(), from, to }
}

/// A fresh request id.
pub(crate) fn request() -> PublishId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    PublishId(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 64 | 7)
}

/// A segment with files of its own.
pub(crate) fn segment(table: &TableName, day_number: i64, number: u32, rows: u64, content_sum: u64) -> NewSegment {
    static ATTEMPT: AtomicU32 = AtomicU32::new(0);
    let interval = day(day_number);
    let id = SegmentId { table: table.clone(), interval, version: Version::at(interval.start()), number };
    let attempt = ATTEMPT.fetch_add(1, Ordering::Relaxed);
    let file = |kind: &str| StoredFile {
        path: format!("{table}/day={day_number}/{number}-{attempt:08x}.{kind}"),
        bytes: rows * 10 + 1,
        sha256: [u8::try_from(number % 256).expect("below 256"); 32],
    };
    NewSegment {
        id,
        rows,
        time_range: (interval.start(), Timestamp::from_millis(interval.end().as_millis() - 1)),
        schema_version: 1,
        format: 1,
        files: SegmentFiles { parquet: file("parquet"), index: file("idx"), meta: file("json") },
        content_sum,
    }
}

/// A table with a lease and one stream partition that starts at 0.
pub(crate) struct Bench<'a> {
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) table: TableRow,
    pub(crate) lease: LeaseRef,
}

impl<'a> Bench<'a> {
    pub(crate) async fn new(catalog: &'a dyn Catalog, text: &str) -> Self {
        let table = catalog.create_table(&name(text), schema()).await.expect("made");
        let lease = catalog.seize_lease(&format!("push/{}", table.id), "one", LONG).await.expect("taken").reference();
        catalog.start_checkpoints(table.id, &lease, &[range(0, 0, 0)]).await.expect("started");
        Self { catalog, table, lease }
    }

    /// A segment with the next number.
    pub(crate) async fn segment(&self, day_number: i64, rows: u64, content_sum: u64) -> NewSegment {
        let number = self.catalog.lease_numbers(self.table.id, 1).await.expect("a number").start;
        segment(&self.table.name, day_number, number, rows, content_sum)
    }

    pub(crate) fn publication(&self, from: i64, to: i64, segments: Vec<NewSegment>) -> Publication {
        Publication {
            id: request(),
            table: self.table.id,
            lease: self.lease.clone(),
            ranges: vec![range(0, from, to)],
            segments,
            dedup: vec![],
            accounting: Accounting::default(),
        }
    }

    pub(crate) async fn publish(&self, from: i64, to: i64, segments: &[&NewSegment]) -> Commit {
        let segments = segments.iter().map(|segment| (*segment).clone()).collect();
        self.catalog.publish(self.publication(from, to, segments)).await.expect("published")
    }

    pub(crate) async fn open_ids(&self) -> Vec<SegmentId> {
        let reading = self.catalog.reading(self.table.id).await.expect("read");
        reading.segments.into_iter().map(|row| row.segment.id).collect()
    }

    pub(crate) async fn next(&self, partition: i32) -> Option<i64> {
        let all = self.catalog.checkpoints(self.table.id, "push").await.expect("read");
        all.into_iter().find(|checkpoint| checkpoint.partition == partition).map(|checkpoint| checkpoint.next)
    }

    /// The catalog passes its own check.
    pub(crate) async fn is_sound(&self) {
        assert_eq!(self.catalog.check().await.expect("checked"), Vec::<String>::new());
    }
}

/// Polls until it holds.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "never came: {what}");
        tokio::task::yield_now().await;
    }
}
