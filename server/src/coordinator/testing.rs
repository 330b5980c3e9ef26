//! A node's storage side for tests: a catalog in memory, deep storage in a folder, a timeline, and rows with known sums.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::Int64Type;
use freshet_segment::catalog::{
    Catalog, DedupKey, LeaseRef, MemoryCatalog, Publication, PublishId, StreamRange, TableRow,
};
use freshet_segment::clock::{Clock, ManualClock};
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::growing::GrowingSegment;
use freshet_segment::id::{SegmentId, Version};
use freshet_segment::schema::{Column, ColumnRole, ColumnType, Observed, TableSchema};
use freshet_segment::sealed::{AttemptId, Layout, SealedSegment, Sealing};
use freshet_segment::selection::Part;
use freshet_segment::time::{Granularity, Timestamp};
use freshet_segment::timeline::{
    Changed, HandOver, Reading, SegmentEntry, TableTimeline, Timeline, VISIBLE_FOREVER, Visible, VisibleSegment,
};
use tokio::runtime::Runtime;

use super::{Coordinator, CoordinatorOptions, Duty, LastRun, Settings};

pub(super) const DAY_MS: i64 = 86_400_000;
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Everything that a coordinator stands on.
pub(super) struct Place {
    pub(super) folder: tempfile::TempDir,
    pub(super) runtime: Runtime,
    pub(super) clock: Arc<ManualClock>,
    pub(super) catalog: Arc<MemoryCatalog>,
    pub(super) timeline: Arc<Timeline>,
    pub(super) storage: Arc<DeepStorage>,
    pub(super) coordinator: Arc<Coordinator>,
}

/// A table of [`Place`] and its writer.
pub(super) struct Written {
    pub(super) row: TableRow,
    pub(super) timeline: Arc<TableTimeline>,
    lease: LeaseRef,
    next: AtomicI64,
}

impl Place {
    pub(super) fn new(settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Files have the machine's time, so the clock begins there.
        let now = freshet_segment::clock::SystemClock::new().now();
        let clock = Arc::new(ManualClock::new(now));
        let catalog = Arc::new(MemoryCatalog::with_clock(Arc::clone(&clock) as Arc<dyn Clock>));
        let timeline = Arc::new(Timeline::new());
        let storage = DeepStorage::folder(folder.path().join("deep"), runtime.handle().clone()).unwrap();
        std::fs::create_dir(folder.path().join("staging")).unwrap();
        let coordinator = Coordinator::new(CoordinatorOptions {
            catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
            timeline: Arc::clone(&timeline),
            storage: Arc::clone(&storage),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            runtime: runtime.handle().clone(),
            staging: folder.path().join("staging"),
            local: folder.path().join("local"),
            settings,
        });
        Self { folder, runtime, clock, catalog, timeline, storage, coordinator }
    }

    pub(super) fn table(&self, name: &str) -> Written {
        let schema = TableSchema::new(vec![Column::dimension("n", ColumnType::Long)]).unwrap();
        self.runtime.block_on(async {
            let row = self.catalog.create_table(&name.parse().unwrap(), schema).await.unwrap();
            let timeline = self.timeline.create_table(row.id, &row.name, Arc::clone(&row.schema));
            let group = format!("push/{}", row.id);
            let lease = self.catalog.acquire_lease(&group, "test", 365 * DAY).await.unwrap().reference();
            self.catalog.start_checkpoints(row.id, &lease, &[range(0, 0)]).await.unwrap();
            Written { row, timeline, lease, next: AtomicI64::new(0) }
        })
    }

    /// Seals rows of one day and publishes them; `day` counts from now.
    pub(super) fn publish(&self, table: &Written, day: i64, numbers: &[i64]) -> SegmentId {
        self.publish_with(table, day, numbers, &table.row.schema, Vec::new())
    }

    pub(super) fn publish_with(
        &self,
        table: &Written,
        day: i64,
        numbers: &[i64],
        schema: &Arc<TableSchema>,
        dedup: Vec<DedupKey>,
    ) -> SegmentId {
        let (id, growing) = self.grow(table, day, numbers, schema);
        let sources = [growing];
        let sealing = Sealing {
            id: id.clone(),
            sources: &sources,
            schema: Arc::clone(schema),
            cluster_by: Vec::new(),
            attempt: AttemptId(rand::random()),
            layout: Layout::default(),
        };
        let sealed = sealing.write(&self.folder.path().join("staging")).unwrap();
        let stored = self.runtime.block_on(self.storage.put(&sealed)).unwrap();
        sealed.files.iter().for_each(|file| std::fs::remove_file(&file.path).unwrap());
        let from = table.next.fetch_add(1, Ordering::SeqCst);
        let publication = Publication {
            id: PublishId(rand::random()),
            table: table.row.id,
            lease: table.lease.clone(),
            ranges: vec![range(from, from + 1)],
            segments: vec![stored.new_segment().clone()],
            dedup,
            accounting: Default::default(),
        };
        let commit = self.runtime.block_on(self.catalog.publish(publication)).unwrap();
        let local = self.folder.path().join("local");
        let sealed = SealedSegment::lazy(stored.new_segment().clone(), Arc::clone(&self.storage), &local);
        table.timeline.hand_over(HandOver {
            close: Vec::new(),
            open: vec![SegmentEntry {
                id: id.clone(),
                visible_from: commit.seq,
                visible_until: VISIBLE_FOREVER,
                segment: VisibleSegment::Sealed(sealed),
            }],
            commit_seq: commit.seq,
            schema: None,
            changed: Changed::Nothing,
        });
        self.timeline.advance(commit.seq);
        id
    }

    /// Shows rows of one day that are not published.
    pub(super) fn grow(
        &self,
        table: &Written,
        day: i64,
        numbers: &[i64],
        schema: &Arc<TableSchema>,
    ) -> (SegmentId, VisibleSegment) {
        let start = (self.clock.now().as_millis() / DAY_MS + day) * DAY_MS;
        let number = self.runtime.block_on(self.catalog.lease_numbers(table.row.id, 1)).unwrap().start;
        let interval = Granularity::DAY.bucket(Timestamp::from_millis(start));
        let version = Version::at(self.clock.now());
        let id = SegmentId { table: table.row.name.clone(), interval, version, number };
        let mut growing = GrowingSegment::new(id.clone(), Arc::clone(schema));
        let times = (0..).map(|place: i64| start + place % DAY_MS).take(numbers.len());
        let columns: [(&str, ArrayRef); 2] = [
            ("__time", Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))),
            ("n", Arc::new(Int64Array::from(numbers.to_vec()))),
        ];
        let rows: Vec<u32> = (0..u32::try_from(numbers.len()).unwrap()).collect();
        growing.append(&RecordBatch::try_from_iter(columns).unwrap(), &rows).unwrap();
        let snapshot = growing.snapshot();
        let visible =
            Visible { schema: Arc::clone(schema), min_changed: Timestamp::from_millis(start), produced_max: None };
        table.timeline.publish(vec![Arc::clone(&snapshot)], visible);
        (id, VisibleSegment::Growing(snapshot))
    }

    /// The schema after a column became wider, or came.
    pub(super) fn widen(&self, table: &Written, column: &str, column_type: ColumnType) -> Arc<TableSchema> {
        let seen = Observed { name: Arc::from(column), column_type, role: ColumnRole::Dimension, multi_value: false };
        self.runtime.block_on(self.catalog.widen_schema(table.row.id, &[seen])).unwrap()
    }

    /// Runs a duty as if it had been asked for.
    pub(super) fn run(&self, duty: Duty) -> serde_json::Map<String, serde_json::Value> {
        let run = self.try_run(duty);
        run.outcome.unwrap_or_else(|error| panic!("{}: {error}", duty.name()))
    }

    pub(super) fn try_run(&self, duty: Duty) -> LastRun {
        let _answer = self.coordinator.run_now(duty);
        self.coordinator.perform(duty)
    }

    /// Paths of all files of segments in deep storage.
    pub(super) fn files(&self) -> Vec<String> {
        let objects = self.runtime.block_on(self.storage.list("")).unwrap();
        objects.into_iter().map(|object| object.path).filter(|path| !path.starts_with("_catalog/")).collect()
    }

    /// Paths that the open rows of a table name, sorted.
    pub(super) fn open_files(&self, table: &Written) -> Vec<String> {
        let reading = self.runtime.block_on(self.catalog.reading(table.row.id)).unwrap();
        let rows = reading.segments.iter();
        let mut paths: Vec<String> =
            rows.flat_map(|row| row.segment.files.each().map(|file| file.path.clone())).collect();
        paths.sort();
        paths
    }
}

fn range(from: i64, to: i64) -> StreamRange {
    StreamRange { stream: Arc::from("push"), partition: 0, topic_id: Arc::from(""), from, to }
}

/// Rows of a table as a reading sees it: each number, how many times.
pub(super) fn numbers(reading: &Reading, table: &str) -> BTreeMap<i64, u32> {
    let view = reading.table(table).unwrap();
    let column = Column::dimension("n", ColumnType::Long);
    let mut counts = BTreeMap::new();
    for entry in view.segments() {
        for unit in entry.segment.units(None).unwrap() {
            let array = unit.read(&column, &Part::Run(0..unit.rows())).unwrap();
            for value in array.as_primitive::<Int64Type>().values() {
                *counts.entry(*value).or_default() += 1;
            }
        }
    }
    counts
}

/// Rows and sum of a table as a reading sees it.
pub(super) fn total(reading: &Reading, table: &str) -> (u64, i64) {
    let counts = numbers(reading, table);
    counts.iter().fold((0, 0), |(rows, sum), (n, count)| (rows + u64::from(*count), sum + n * i64::from(*count)))
}
