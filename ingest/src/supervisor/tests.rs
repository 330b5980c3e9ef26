//! Supervisors against a stream that does what a test says, and against librdkafka's mock brokers for the client itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use freshet_segment::catalog::{
    AccountRow, Catalog, Checkpoint, Commit, DataGap, DeadLetters, DedupKey, Lease, LeaseRef, LogEntry, MemoryCatalog,
    Publication, PublishId, Replacement, SegmentRow, StreamRange, SupervisorRow, TableReading, TableRow,
};
use freshet_segment::error::{ErrorKind, SegmentError};
use freshet_segment::id::{SegmentId, TableId, TableName};
use freshet_segment::schema::{ColumnType, Observed as Seen, TableSchema};
use freshet_segment::time::Interval;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::*;
use crate::ingest::tests::{column, options, request, rows};
use crate::ingest::{Ingest, IngestOptions};
use crate::source::{Bounds, RawBatch, Source, SourceError};
use crate::spec::{
    AcceptedTime, DecoderSpec, DimensionSpec, DimensionsSpec, Discovery, GranularitySpec, KafkaSpec, TimeSpec,
    TuningSpec,
};

fn spec(id: &str, kafka: KafkaSpec) -> SupervisorSpec {
    SupervisorSpec {
        id: id.to_owned(),
        table: id.parse().expect("a name"),
        source: SourceSpec::Kafka(KafkaSpec {
            period: Duration::from_millis(50),
            poll_timeout: Duration::from_millis(20),
            ..kafka
        }),
        decoder: DecoderSpec::Json,
        time: TimeSpec::auto("ts"),
        dimensions: DimensionsSpec::discovered(),
        granularity: GranularitySpec::default(),
        accepted: AcceptedTime::default(),
        tuning: TuningSpec::default(),
        suspended: false,
        document: Arc::from("{}"),
        without_effect: Vec::new(),
    }
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Each of `0..total` exactly once.
#[track_caller]
pub(crate) fn assert_each_once(ingest: &Ingest, table: &str, total: usize) {
    let values = column(ingest, table, "n");
    let distinct: BTreeSet<&String> = values.iter().collect();
    assert_eq!((values.len(), distinct.len()), (total, total), "rows and distinct rows");
}

// ---- a stream that does what the test says

#[derive(Default)]
struct Log {
    low: i64,
    records: Vec<Option<Vec<u8>>>,
}

#[derive(Default)]
pub(crate) struct FakeStream {
    logs: Mutex<BTreeMap<i32, Log>>,
    down: AtomicBool,
    opened: AtomicUsize,
    panics: AtomicUsize,
    /// How many records before an assigned position come again, as from a client that owes better.
    redelivers: AtomicUsize,
    /// Which incarnation of the topic this is; nothing when the brokers cannot tell.
    pub(crate) id: Mutex<Option<String>>,
}

impl FakeStream {
    pub(crate) fn with(partitions: i32) -> Arc<Self> {
        let stream = Self::default();
        for p in 0..partitions {
            stream.logs.lock().insert(p, Log::default());
        }
        Arc::new(stream)
    }

    pub(crate) fn send(&self, partition: i32, record: impl Into<Vec<u8>>) {
        self.logs.lock().entry(partition).or_default().records.push(Some(record.into()));
    }

    /// Sends what is no row; gives its place.
    pub(crate) fn send_bad(&self, partition: i32) -> (i32, i64) {
        let at = self.logs.lock().entry(partition).or_default().records.len() as i64;
        self.send(partition, format!("no row at {at}"));
        (partition, at)
    }

    pub(crate) fn numbers(&self, partitions: i32, range: std::ops::Range<usize>) {
        for n in range {
            self.send(n as i32 % partitions, format!("{{\"ts\":{n},\"n\":{n}}}"));
        }
    }

    fn open(self: &Arc<Self>) -> OpenSource {
        let stream = Arc::clone(self);
        Arc::new(move |_| {
            stream.opened.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(FakeSource { stream: Arc::clone(&stream), positions: BTreeMap::new() }))
        })
    }
}

struct FakeSource {
    stream: Arc<FakeStream>,
    positions: BTreeMap<i32, i64>,
}

impl FakeSource {
    fn check(&self) -> Result<(), SourceError> {
        if self.stream.down.load(Ordering::SeqCst) {
            return Err(SourceError::Lost("the brokers are away".to_owned()));
        }
        Ok(())
    }
}

impl Source for FakeSource {
    fn partitions(&mut self) -> Result<Vec<StreamPartition>, SourceError> {
        self.check()?;
        Ok(self.stream.logs.lock().keys().map(|p| StreamPartition(*p)).collect())
    }

    fn stream_id(&mut self) -> Result<Option<String>, SourceError> {
        self.check()?;
        Ok(self.stream.id.lock().clone())
    }

    fn retention(&mut self) -> Result<Option<Duration>, SourceError> {
        self.check()?;
        Ok(None)
    }

    fn bounds(&mut self, partition: StreamPartition) -> Result<Bounds, SourceError> {
        self.check()?;
        let logs = self.stream.logs.lock();
        let log = &logs[&partition.0];
        Ok(Bounds { low: log.low, high: log.records.len() as i64 })
    }

    fn assign(&mut self, positions: &[(StreamPartition, Offset)]) -> Result<(), SourceError> {
        self.check()?;
        let again = self.stream.redelivers.load(Ordering::SeqCst) as i64;
        self.positions = positions.iter().map(|(p, at)| (p.0, (*at - again).max(0))).collect();
        Ok(())
    }

    fn poll(&mut self, batch: &mut RawBatch, timeout: Duration) -> Result<(), SourceError> {
        self.check()?;
        if self.stream.panics.load(Ordering::SeqCst) > 0 && !self.positions.is_empty() {
            self.stream.panics.fetch_sub(1, Ordering::SeqCst);
            panic!("a defect of the test's source");
        }
        let logs = self.stream.logs.lock();
        for (partition, position) in &mut self.positions {
            let log = &logs[partition];
            if *position < log.low {
                return Err(SourceError::OutOfRange(format!("partition {partition}")));
            }
            // Small polls, so that a test's records come in many batches.
            for _ in 0..7 {
                let Some(record) = usize::try_from(*position).ok().and_then(|at| log.records.get(at)) else { break };
                let payload = record.as_deref();
                batch.push(StreamPartition(*partition), *position, Some(Timestamp::from_millis(0)), payload);
                *position += 1;
            }
        }
        drop(logs);
        if batch.records().is_empty() {
            std::thread::sleep(timeout.min(Duration::from_millis(5)));
        }
        Ok(())
    }
}

pub(crate) fn fake(stream: &Arc<FakeStream>, options: IngestOptions) -> Arc<Ingest> {
    Ingest::with_source(options, stream.open())
}

pub(crate) fn fake_spec(id: &str) -> SupervisorSpec {
    spec(id, KafkaSpec::new("topic", "fake:9092"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_stored_once_through_suspensions_outages_and_new_specs() {
    let stream = FakeStream::with(3);
    stream.redelivers.store(5, Ordering::SeqCst);
    let ingest = fake(&stream, options(256 << 20));
    stream.numbers(3, 0..300);
    ingest.submit(fake_spec("t")).await.expect("accepted");
    let mut sent = 300;
    for round in 0..6 {
        stream.numbers(3, sent..sent + 200);
        sent += 200;
        match round % 3 {
            0 => {
                ingest.suspend("t").await.expect("suspended");
                assert_eq!(ingest.supervisor("t").expect("there").state, State::Suspended);
                assert_eq!(ingest.suspend("t").await.expect_err("twice").to_string(), "[t] is already suspended");
                let before = rows(&ingest, "t");
                tokio::time::sleep(Duration::from_millis(60)).await;
                assert_eq!(rows(&ingest, "t"), before, "a suspended supervisor reads nothing");
                ingest.resume("t").await.expect("resumed");
                assert_eq!(ingest.resume("t").await.expect_err("twice").to_string(), "[t] is already running");
            }
            1 => {
                stream.down.store(true, Ordering::SeqCst);
                eventually("the outage shows", || {
                    ingest.status("t").expect("there").detailed_state == DetailedState::LostContactWithStream
                })
                .await;
                let status = ingest.status("t").expect("there");
                assert!(!status.healthy && status.next_retry.is_some());
                assert_eq!(status.cause.as_deref(), Some("the brokers are away"));
                stream.down.store(false, Ordering::SeqCst);
            }
            _ => {
                let SourceSpec::Kafka(kafka) = fake_spec("t").source;
                let again = SupervisorSpec {
                    source: SourceSpec::Kafka(KafkaSpec { task_count: 2, ..kafka }),
                    ..fake_spec("t")
                };
                ingest.submit(again).await.expect("replaced");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("all records", || rows(&ingest, "t") >= sent as u64).await;
    assert_each_once(&ingest, "t", sent);
    eventually("running, lag 0", || {
        let status = ingest.status("t").expect("there");
        status.state == State::Running && status.aggregate_lag == 0 && status.tasks.len() == 2
    })
    .await;
    let status = ingest.status("t").expect("there");
    assert!(status.healthy && status.counts.is_balanced());
    assert_eq!(status.latest_offsets.values().sum::<i64>(), sent as i64);
    let shares: Vec<Vec<i32>> = status.tasks.iter().map(|t| t.current_offsets.keys().copied().collect()).collect();
    assert_eq!(shares, [vec![0, 2], vec![1]], "stream partition p belongs to task p mod 2");
    assert_eq!(ingest.table_counts("t").stored, sent as u64);

    let warnings = ingest.status("t").expect("there").warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("no id of topic `topic`"), "{warnings:?}");
    ingest.terminate("t").await.expect("terminated");
    assert_eq!(ingest.status("t").expect_err("gone").to_string(), "[t] does not exist");
    stream.numbers(3, sent..sent + 10);
    ingest.submit(fake_spec("t")).await.expect("posted again");
    eventually("the rest", || rows(&ingest, "t") >= sent as u64 + 10).await;
    assert_each_once(&ingest, "t", sent + 10);
    ingest.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_counts_for_the_first_sight_only_and_later_stream_partitions_begin_at_their_first_record() {
    let stream = FakeStream::with(2);
    let ingest = fake(&stream, options(256 << 20));
    stream.numbers(2, 0..10);
    let SourceSpec::Kafka(kafka) = fake_spec("t").source;
    let latest = SupervisorSpec {
        source: SourceSpec::Kafka(KafkaSpec { use_earliest_offset: false, ..kafka }),
        ..fake_spec("t")
    };
    ingest.submit(latest).await.expect("accepted");
    eventually("running", || ingest.supervisor("t").expect("there").state == State::Running).await;
    assert_eq!(rows(&ingest, "t"), 0);
    // Sent before anyone has seen the new stream partition.
    for n in 100..110 {
        stream.send(2, format!("{{\"ts\":{n},\"n\":{n}}}"));
    }
    stream.send(0, "{\"ts\":1,\"n\":10}");
    eventually("eleven rows", || rows(&ingest, "t") >= 11).await;
    assert_each_once(&ingest, "t", 11);
    assert_eq!(ingest.status("t").expect("there").partitions, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_no_rows_are_counted_and_findable() {
    let stream = FakeStream::with(1);
    let ingest = fake(&stream, options(256 << 20));
    stream.send(0, "{\"ts\":1,\"n\":1,\"l\":\"x\"}");
    stream.send(0, "{\"ts\":2,");
    stream.logs.lock().get_mut(&0).expect("there").records.push(None);
    stream.send(0, "{\"ts\":3,\"n\":2}{\"ts\":4,\"n\":3} nonsense");
    stream.send(0, "");
    stream.send(0, "{\"ts\":5,\"n\":4}");
    let typed = DimensionsSpec {
        declared: vec![DimensionSpec { name: "l".to_owned(), column_type: ColumnType::Long }],
        discovery: Discovery::Typed,
        include_all: true,
        exclusions: Vec::new(),
    };
    ingest.submit(SupervisorSpec { dimensions: typed, ..fake_spec("t") }).await.expect("accepted");
    eventually("all read", || ingest.status("t").expect("there").counts.read == 8).await;
    let counts = ingest.status("t").expect("there").counts;
    assert!(counts.is_balanced());
    assert_eq!((counts.stored, counts.filtered, counts.rejected, counts.processed_with_error), (4, 1, 3, 1));
    assert_eq!(ingest.table_counts("t"), counts);
    assert_each_once(&ingest, "t", 4);
    let letters = ingest.dead_letters("t", 100).await.expect("read");
    assert_eq!((letters.total, letters.kept), (4, 4));
    let mut offsets: Vec<_> = letters.letters.iter().map(|l| (l.offset, l.row_stored, l.raw_text(), l.row)).collect();
    offsets.sort();
    assert_eq!(
        offsets.iter().map(|(at, stored, _, row)| (*at, *stored, *row)).collect::<Vec<_>>(),
        [(0, true, 0), (1, false, 0), (3, false, 2), (4, false, 0)]
    );
    assert_eq!(offsets[1].2, "{\"ts\":2,");
    assert_eq!(ingest.status("t").expect("there").aggregate_lag, 0, "offsets go on over bad records");
    // Published or not makes no difference.
    ingest.publish("t", Duration::from_secs(30)).await.expect("published");
    assert_eq!(ingest.dead_letters("t", 100).await.expect("read"), letters);
    assert_eq!((ingest.table_counts("t"), ingest.status("t").expect("there").counts), (counts, counts));
    let tasks = ingest.status("t").expect("there").tasks;
    assert_eq!(tasks.iter().map(|task| task.counts).collect::<Vec<_>>(), [counts], "one task has read it all");
    let newest = ingest.dead_letters("t", 1).await.expect("read");
    assert_eq!((newest.total, newest.letters.len()), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_gives_up_past_the_bad_rows_it_may_bear() {
    let stream = FakeStream::with(1);
    let ingest = fake(&stream, options(256 << 20));
    let tuning = TuningSpec { max_parse_exceptions: Some(2), ..TuningSpec::default() };
    ingest.submit(SupervisorSpec { tuning, ..fake_spec("t") }).await.expect("accepted");
    for _ in 0..2 {
        stream.send(0, "bad");
    }
    stream.numbers(1, 0..5);
    eventually("five rows", || rows(&ingest, "t") == 5).await;
    assert!(ingest.supervisor("t").expect("there").healthy, "two bad rows are borne");
    stream.send(0, "bad");
    eventually("it gives up", || ingest.supervisor("t").expect("there").state == State::UnhealthyTasks).await;
    let status = ingest.status("t").expect("there");
    assert!(status.cause.as_deref().unwrap_or_default().contains("maxParseExceptions = 2"), "{:?}", status.cause);
    stream.numbers(1, 5..8);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(rows(&ingest, "t"), 5);
    ingest.submit(fake_spec("t")).await.expect("a more patient spec");
    eventually("the rest", || rows(&ingest, "t") >= 8).await;
    assert_each_once(&ingest, "t", 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_offset_stops_its_stream_partition_and_no_other() {
    let stream = FakeStream::with(2);
    let ingest = fake(&stream, options(256 << 20));
    stream.numbers(2, 0..20);
    ingest.submit(fake_spec("t")).await.expect("accepted");
    eventually("twenty", || rows(&ingest, "t") == 20).await;
    ingest.suspend("t").await.expect("suspended");
    stream.numbers(2, 20..40);
    stream.logs.lock().get_mut(&0).expect("there").low = 15;
    ingest.resume("t").await.expect("resumed");
    eventually("the other goes on", || rows(&ingest, "t") == 30).await;
    eventually("it says so", || ingest.status("t").expect("there").detailed_state == DetailedState::OffsetsLost).await;
    let cause = ingest.status("t").expect("there").cause.unwrap_or_default();
    assert!(cause.contains("offset 10 of stream partition 0") && cause.contains("oldest kept is 15"), "{cause}");
    assert_eq!(ingest.status("t").expect("there").current_offsets[&0], 10, "the position is never moved by itself");
    // The records come back, as after a leader that was behind.
    stream.logs.lock().get_mut(&0).expect("there").low = 0;
    eventually("all forty", || rows(&ingest, "t") >= 40).await;
    assert_each_once(&ingest, "t", 40);
    eventually("healthy", || ingest.supervisor("t").expect("there").healthy).await;

    // A topic made anew ends before our position.
    stream.logs.lock().get_mut(&1).expect("there").records.clear();
    eventually("it says so", || ingest.status("t").expect("there").detailed_state == DetailedState::OffsetsLost).await;
    let cause = ingest.status("t").expect("there").cause.unwrap_or_default();
    assert!(cause.contains("made anew"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_memory_limit_polling_rests_until_a_table_is_dropped_and_nothing_is_lost() {
    let stream = FakeStream::with(2);
    let options = options(1_500_000);
    std::fs::write(options.storage.folder.join("staging"), "nothing can be sealed").expect("written");
    let ingest = fake(&stream, options);
    let fill: String =
        (0..2_000).map(|n| format!("{{\"ts\":{n},\"text\":\"{n}-a-text-that-takes-room\"}}\n")).collect();
    let mut pushed = 0;
    while ingest.push(request("filler", fill.clone())).await.is_ok() {
        pushed += 2_000;
        assert!(pushed < 1_000_000);
    }
    ingest.submit(fake_spec("t")).await.expect("accepted");
    stream.numbers(2, 0..500);
    eventually("it says so", || ingest.status("t").expect("there").detailed_state == DetailedState::WaitingForMemory)
        .await;
    let status = ingest.status("t").expect("there");
    assert!(status.healthy && status.state == State::Running && status.tasks[0].paused);
    assert!(status.cause.unwrap_or_default().contains("memory_bytes_max"));
    assert_eq!(rows(&ingest, "t"), 0);
    assert_eq!(ingest.drop_table("t").await.expect_err("written").kind(), ErrorKind::Conflict);
    ingest.drop_table("filler").await.expect("dropped");
    eventually("all records", || rows(&ingest, "t") >= 500).await;
    assert_each_once(&ingest, "t", 500);
    assert_eq!(ingest.status("t").expect("there").state, State::Running);
    assert_eq!(ingest.memory().used, ingest.table_memory("t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_in_a_task_costs_no_row_and_the_task_is_started_again() {
    let stream = FakeStream::with(1);
    let ingest = fake(&stream, options(256 << 20));
    stream.panics.store(2, Ordering::SeqCst);
    stream.numbers(1, 0..50);
    ingest.submit(fake_spec("t")).await.expect("accepted");
    eventually("all records", || rows(&ingest, "t") >= 50).await;
    assert_each_once(&ingest, "t", 50);
    let errors = ingest.status("t").expect("there").recent_errors;
    assert!(errors.iter().any(|e| e.message.contains("a defect of the test's source")), "{errors:?}");
    assert_eq!(ingest.panics(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_and_made_again_is_filled_from_the_beginning() {
    let stream = FakeStream::with(1);
    let ingest = fake(&stream, options(256 << 20));
    stream.numbers(1, 0..20);
    ingest.submit(fake_spec("t")).await.expect("accepted");
    eventually("twenty", || rows(&ingest, "t") == 20).await;
    ingest.terminate("t").await.expect("terminated");
    ingest.drop_table("t").await.expect("dropped");
    ingest.submit(fake_spec("t")).await.expect("posted again");
    eventually("twenty again", || rows(&ingest, "t") >= 20).await;
    assert_each_once(&ingest, "t", 20);
    ingest.reset("t").await.expect("reset");
    eventually("a reset reads again", || rows(&ingest, "t") >= 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_is_not_read_however_long_it_is() {
    let stream = FakeStream::with(1);
    *stream.id.lock() = Some("first".to_owned());
    let ingest = fake(&stream, options(256 << 20));
    stream.numbers(1, 0..20);
    ingest.submit(fake_spec("t")).await.expect("accepted");
    eventually("twenty", || rows(&ingest, "t") == 20).await;
    assert_eq!(ingest.status("t").expect("there").warnings, [""; 0]);
    // Suspended meanwhile, or not.
    for id in ["second", "third"] {
        if id == "second" {
            ingest.suspend("t").await.expect("suspended");
        }
        *stream.id.lock() = Some(id.to_owned());
        if id == "second" {
            stream.numbers(1, 20..60);
            ingest.resume("t").await.expect("resumed");
        }
        let status = || ingest.status("t").expect("there");
        eventually("it says so", || status().detailed_state == DetailedState::OffsetsLost).await;
        let cause = status().cause.unwrap_or_default();
        assert!(cause.contains("made again") && cause.contains(id), "{cause}");
        assert_eq!(rows(&ingest, "t"), 20, "no record of the other topic is stored");
        // The topic of old is back, as after a name that was wrong for a while.
        stream.logs.lock().get_mut(&0).expect("there").records.truncate(20);
        *stream.id.lock() = Some("first".to_owned());
        eventually("healthy", || ingest.supervisor("t").expect("there").healthy).await;
    }
    *stream.id.lock() = Some("fourth".to_owned());
    eventually("it says so", || ingest.status("t").expect("there").detailed_state == DetailedState::OffsetsLost).await;
    ingest.reset("t").await.expect("reset");
    eventually("the new one is read from its first record", || rows(&ingest, "t") == 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_range_is_noted_and_skipped_when_the_spec_says_so() {
    let stream = FakeStream::with(2);
    let options = options(256 << 20);
    let ingest = fake(&stream, options.clone());
    stream.numbers(2, 0..20);
    ingest.submit(fake_spec("t")).await.expect("accepted");
    eventually("twenty", || rows(&ingest, "t") == 20).await;
    ingest.suspend("t").await.expect("suspended");
    stream.numbers(2, 20..60);
    stream.logs.lock().get_mut(&1).expect("there").low = 15;
    ingest.resume("t").await.expect("resumed");
    eventually("it says so", || ingest.status("t").expect("there").detailed_state == DetailedState::OffsetsLost).await;
    let gaps = options.catalog.data_gaps(None).await.expect("the catalog");
    let gaps: Vec<_> = gaps.iter().map(|g| (&*g.stream, g.partition, g.from, g.to)).collect();
    assert_eq!(gaps, [("kafka:t:topic", 1, 10, 15)]);
    assert_eq!(rows(&ingest, "t"), 40, "the other stream partition goes on");

    let SourceSpec::Kafka(kafka) = fake_spec("t").source;
    let skip = KafkaSpec { on_data_loss: crate::spec::OnDataLoss::Skip, ..kafka };
    ingest.submit(SupervisorSpec { source: SourceSpec::Kafka(skip), ..fake_spec("t") }).await.expect("accepted");
    eventually("the rest", || rows(&ingest, "t") == 55).await;
    ingest.publish("t", Duration::from_secs(30)).await.expect("published");
    assert_each_once(&ingest, "t", 55);
    let table = options.catalog.table("t").await.expect("the catalog").expect("there").id;
    let checkpoints = options.catalog.checkpoints(table, "kafka:t:topic").await.expect("the catalog");
    assert_eq!(checkpoints.iter().map(|c| c.next).collect::<Vec<_>>(), [30, 30]);
    assert_eq!(options.catalog.data_gaps(None).await.expect("the catalog").len(), 1, "noted once");
}

/// A catalog that is away when told to.
#[derive(Debug, Default)]
pub(crate) struct FlakyCatalog {
    inner: MemoryCatalog,
    pub(crate) away: AtomicBool,
    /// So many publications are made, and their answers lost.
    pub(crate) answers_lost: AtomicUsize,
}

impl FlakyCatalog {
    fn check(&self) -> freshet_segment::Result<()> {
        if self.away.load(Ordering::SeqCst) {
            return Err(SegmentError::unavailable("the catalog", "told to be away"));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Catalog for FlakyCatalog {
    async fn create_table(&self, name: &TableName, schema: TableSchema) -> freshet_segment::Result<TableRow> {
        self.inner.create_table(name, schema).await
    }
    async fn table(&self, name: &str) -> freshet_segment::Result<Option<TableRow>> {
        self.inner.table(name).await
    }
    async fn tables(&self) -> freshet_segment::Result<Vec<TableRow>> {
        self.inner.tables().await
    }
    async fn drop_table(&self, id: TableId) -> freshet_segment::Result<()> {
        self.inner.drop_table(id).await
    }
    async fn widen_schema(&self, id: TableId, seen: &[Seen]) -> freshet_segment::Result<Arc<TableSchema>> {
        self.check()?;
        self.inner.widen_schema(id, seen).await
    }
    async fn lease_numbers(&self, id: TableId, count: u32) -> freshet_segment::Result<std::ops::Range<u32>> {
        self.check()?;
        self.inner.lease_numbers(id, count).await
    }
    async fn put_supervisor(&self, row: SupervisorRow) -> freshet_segment::Result<()> {
        self.inner.put_supervisor(row).await
    }
    async fn supervisors(&self) -> freshet_segment::Result<Vec<SupervisorRow>> {
        self.inner.supervisors().await
    }
    async fn delete_supervisor(&self, id: &str) -> freshet_segment::Result<()> {
        self.inner.delete_supervisor(id).await
    }
    async fn acquire_lease(&self, group: &str, owner: &str, ttl: Duration) -> freshet_segment::Result<Lease> {
        self.inner.acquire_lease(group, owner, ttl).await
    }
    async fn seize_lease(&self, group: &str, owner: &str, ttl: Duration) -> freshet_segment::Result<Lease> {
        self.inner.seize_lease(group, owner, ttl).await
    }
    async fn renew_lease(&self, lease: &LeaseRef, ttl: Duration) -> freshet_segment::Result<()> {
        self.inner.renew_lease(lease, ttl).await
    }
    async fn release_lease(&self, lease: &LeaseRef) -> freshet_segment::Result<()> {
        self.inner.release_lease(lease).await
    }
    async fn start_checkpoints(
        &self,
        table: TableId,
        lease: &LeaseRef,
        at: &[StreamRange],
    ) -> freshet_segment::Result<Vec<Checkpoint>> {
        self.inner.start_checkpoints(table, lease, at).await
    }
    async fn checkpoints(&self, table: TableId, stream: &str) -> freshet_segment::Result<Vec<Checkpoint>> {
        self.inner.checkpoints(table, stream).await
    }
    async fn reset_offsets(
        &self,
        table: TableId,
        stream: &str,
        lease: &LeaseRef,
        to: Option<&[(i32, i64)]>,
    ) -> freshet_segment::Result<()> {
        self.inner.reset_offsets(table, stream, lease, to).await
    }
    async fn publish(&self, publication: Publication) -> freshet_segment::Result<Commit> {
        self.check()?;
        let commit = self.inner.publish(publication).await?;
        let lost = self.answers_lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if lost.is_ok() {
            let (what, reason) = ("the catalog".to_owned(), "the answer was lost".to_owned());
            return Err(SegmentError::Unavailable { what, reason, outcome_unknown: true });
        }
        Ok(commit)
    }
    async fn publication(&self, id: PublishId) -> freshet_segment::Result<Option<Commit>> {
        self.check()?;
        self.inner.publication(id).await
    }
    async fn replace(&self, replacement: Replacement) -> freshet_segment::Result<Commit> {
        self.inner.replace(replacement).await
    }
    async fn drop_interval(
        &self,
        table: TableId,
        interval: Interval,
        lease: Option<&LeaseRef>,
    ) -> freshet_segment::Result<Commit> {
        self.inner.drop_interval(table, interval, lease).await
    }
    async fn undo(&self, publish: PublishId, ids: &[(SegmentId, SegmentId)]) -> freshet_segment::Result<Commit> {
        self.inner.undo(publish, ids).await
    }
    async fn last_commit(&self) -> freshet_segment::Result<u64> {
        self.inner.last_commit().await
    }
    async fn commits_since(&self, seq: u64, limit: usize) -> freshet_segment::Result<Vec<Commit>> {
        self.inner.commits_since(seq, limit).await
    }
    async fn reading(&self, table: TableId) -> freshet_segment::Result<TableReading> {
        self.inner.reading(table).await
    }
    async fn segments(&self, table: TableId, at: Option<u64>) -> freshet_segment::Result<Vec<SegmentRow>> {
        self.inner.segments(table, at).await
    }
    async fn dedup(&self, table: TableId, key: &str) -> freshet_segment::Result<Option<DedupKey>> {
        self.inner.dedup(table, key).await
    }
    async fn dedup_since(
        &self,
        table: TableId,
        since: Timestamp,
        limit: usize,
    ) -> freshet_segment::Result<Vec<DedupKey>> {
        self.inner.dedup_since(table, since, limit).await
    }
    async fn prune_dedup(&self, table: TableId, before: Timestamp, keep_max: usize) -> freshet_segment::Result<u64> {
        self.inner.prune_dedup(table, before, keep_max).await
    }
    async fn record_gap(&self, gap: DataGap) -> freshet_segment::Result<()> {
        self.inner.record_gap(gap).await
    }
    async fn data_gaps(&self, table: Option<TableId>) -> freshet_segment::Result<Vec<DataGap>> {
        self.inner.data_gaps(table).await
    }
    async fn accounts(&self, table: TableId) -> freshet_segment::Result<Vec<AccountRow>> {
        self.inner.accounts(table).await
    }
    async fn dead_letters(&self, table: TableId, limit: usize) -> freshet_segment::Result<DeadLetters> {
        self.inner.dead_letters(table, limit).await
    }
    async fn push_time(&self, table: TableId) -> freshet_segment::Result<Option<String>> {
        self.inner.push_time(table).await
    }
    async fn set_push_time(&self, table: TableId, field: &str) -> freshet_segment::Result<String> {
        self.check()?;
        self.inner.set_push_time(table, field).await
    }
    async fn prune_commits(&self, before: Timestamp, limit: usize) -> freshet_segment::Result<u64> {
        self.inner.prune_commits(before, limit).await
    }
    async fn segments_to_delete(&self, closed_before: Timestamp) -> freshet_segment::Result<Vec<SegmentRow>> {
        self.inner.segments_to_delete(closed_before).await
    }
    async fn segments_deleted(&self, table: TableId, ids: &[SegmentId]) -> freshet_segment::Result<()> {
        self.inner.segments_deleted(table, ids).await
    }
    async fn unnamed(&self, paths: &[String]) -> freshet_segment::Result<Vec<String>> {
        self.inner.unnamed(paths).await
    }
    async fn check(&self) -> freshet_segment::Result<Vec<String>> {
        self.inner.check().await
    }
    async fn export(&self) -> freshet_segment::Result<Vec<u8>> {
        self.inner.export().await
    }
    async fn log_entries(&self, after: u64, limit: usize) -> freshet_segment::Result<Vec<LogEntry>> {
        self.inner.log_entries(after, limit).await
    }
    async fn log_stored(&self, through: u64) -> freshet_segment::Result<()> {
        self.inner.log_stored(through).await
    }
    async fn rebuild(&self, copy: &[u8]) -> freshet_segment::Result<()> {
        self.inner.rebuild(copy).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_is_away_holds_a_batch_back_and_no_row_is_stored_twice() {
    let catalog = Arc::new(FlakyCatalog::default());
    let stream = FakeStream::with(2);
    let ingest =
        fake(&stream, IngestOptions { catalog: Arc::clone(&catalog) as Arc<dyn Catalog>, ..options(256 << 20) });
    stream.numbers(2, 0..100);
    ingest.submit(fake_spec("t")).await.expect("accepted");
    eventually("a hundred", || rows(&ingest, "t") == 100).await;
    catalog.away.store(true, Ordering::SeqCst);
    stream.send(0, "{\"ts\":100,\"n\":100,\"new\":1}");
    // Another day, so that a number must be leased as well.
    stream.send(1, "{\"ts\":86400000000,\"n\":101}");
    eventually("it says so", || ingest.status("t").expect("there").detailed_state == DetailedState::WaitingForCatalog)
        .await;
    assert_eq!(rows(&ingest, "t"), 100);
    catalog.away.store(false, Ordering::SeqCst);
    eventually("the rest", || rows(&ingest, "t") >= 102).await;
    assert_each_once(&ingest, "t", 102);
    eventually("running", || ingest.status("t").expect("there").detailed_state == DetailedState::Plain(State::Running))
        .await;
    assert!(ingest.status("t").expect("there").counts.is_balanced());
}

// ---- librdkafka's mock brokers

fn producer(cluster: &MockCluster<'_, DefaultProducerContext>) -> ThreadedProducer<DefaultProducerContext> {
    ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("compression.codec", "zstd")
        .set("linger.ms", "1")
        .create()
        .expect("a producer")
}

fn produce(to: &ThreadedProducer<DefaultProducerContext>, topic: &str, partitions: i32, range: std::ops::Range<usize>) {
    for n in range {
        let payload = format!("{{\"ts\":{},\"n\":{n}}}", 1_442_018_818_771i64 + n as i64);
        let partition = n as i32 % partitions;
        to.send(BaseRecord::<str, str>::to(topic).payload(&payload).partition(partition)).expect("queued");
    }
    to.flush(Duration::from_secs(30)).expect("delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_several_partitions_is_read_exactly_once_through_suspension_and_broker_loss() {
    let cluster = MockCluster::new(1).expect("mock brokers");
    cluster.create_topic("events", 3, 1).expect("a topic");
    let to = producer(&cluster);
    produce(&to, "events", 3, 0..3_000);
    let ingest = Ingest::new(options(256 << 20));
    let kafka = KafkaSpec { task_count: 2, ..KafkaSpec::new("events", cluster.bootstrap_servers()) };
    ingest.submit(spec("t", kafka)).await.expect("accepted");
    eventually("three thousand", || rows(&ingest, "t") >= 3_000).await;
    assert_each_once(&ingest, "t", 3_000);

    ingest.suspend("t").await.expect("suspended");
    produce(&to, "events", 3, 3_000..4_000);
    assert_eq!(rows(&ingest, "t"), 3_000);
    ingest.resume("t").await.expect("resumed");
    eventually("four thousand", || rows(&ingest, "t") >= 4_000).await;
    assert_each_once(&ingest, "t", 4_000);

    cluster.broker_down(-1).expect("down");
    eventually("the outage shows", || {
        ingest.status("t").expect("there").detailed_state == DetailedState::LostContactWithStream
    })
    .await;
    let cause = ingest.status("t").expect("there").cause.unwrap_or_default();
    assert!(cause.contains("topic `events` cannot be reached"), "{cause}");
    cluster.broker_up(-1).expect("up");
    produce(&to, "events", 3, 4_000..5_000);
    eventually("five thousand", || rows(&ingest, "t") >= 5_000).await;
    assert_each_once(&ingest, "t", 5_000);
    eventually("running, lag 0", || {
        let status = ingest.status("t").expect("there");
        status.detailed_state == DetailedState::Plain(State::Running) && status.aggregate_lag == 0
    })
    .await;
    let status = ingest.status("t").expect("there");
    assert!(status.counts.is_balanced());
    assert_eq!((status.counts.read, status.counts.stored), (5_000, 5_000));
    assert_eq!(status.latest_offsets.len(), 3);
    assert_eq!(status.latest_offsets.values().sum::<i64>(), 5_000);
    let timeline = timeline_of(&ingest);
    let freshness = timeline.freshness().totals();
    assert_eq!(freshness.count, 5_000, "each row's freshness is measured");
    ingest.shutdown(Duration::from_secs(20)).await;
}

fn timeline_of(ingest: &Ingest) -> Arc<freshet_segment::timeline::TableTimeline> {
    ingest.timeline().table("t").expect("there")
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_columns_are_there_before_their_first_value() {
    let stream = FakeStream::with(1);
    let ingest = fake(&stream, options(256 << 20));
    ingest.submit(fake_spec("t")).await.expect("accepted");
    let dimension = |name: &str, column_type| DimensionSpec { name: name.to_owned(), column_type };
    let dimensions = DimensionsSpec {
        declared: vec![dimension("page", ColumnType::String), dimension("added", ColumnType::Long)],
        ..DimensionsSpec::discovered()
    };
    ingest.submit(SupervisorSpec { dimensions, ..fake_spec("t") }).await.expect("accepted");
    let view = timeline_of(&ingest).view();
    assert_eq!(view.schema.column("added").map(|c| c.column_type), Some(ColumnType::Long));
    // A push may not change the type that the supervisor's spec declared.
    let error = ingest.push(request("t", r#"{"ts":1,"added":"many"}"#)).await.expect_err("declared LONG");
    assert_eq!(error.at().as_deref(), Some("row 0, field `added`"));
    ingest.push(request("t", r#"{"ts":1,"added":"5","undeclared":"x"}"#)).await.expect("fits");
    assert_eq!(column(&ingest, "t", "added"), ["5"]);
}

#[test]
fn an_offset_that_is_not_there_is_an_error_and_never_another_offset() {
    let cluster = MockCluster::new(1).expect("mock brokers");
    cluster.create_topic("events", 2, 1).expect("a topic");
    produce(&producer(&cluster), "events", 1, 0..10);
    let kafka = KafkaSpec::new("events", cluster.bootstrap_servers());
    let mut source = crate::source::kafka::KafkaSource::new("s", &kafka).expect("a client");
    assert_eq!(source.partitions(), Ok(vec![StreamPartition(0), StreamPartition(1)]));
    assert_eq!(source.bounds(StreamPartition(0)), Ok(Bounds { low: 0, high: 10 }));
    let mut batch = RawBatch::default();
    let mut read = |source: &mut crate::source::kafka::KafkaSource, at: i64| {
        source.assign(&[(StreamPartition(0), at)]).expect("assigned");
        batch.clear();
        let start = Instant::now();
        loop {
            source.poll(&mut batch, Duration::from_millis(50))?;
            if !batch.records().is_empty() {
                return Ok(batch.records().iter().map(|r| r.offset).collect::<Vec<_>>());
            }
            assert!(start.elapsed() < Duration::from_secs(30), "neither a record nor an error");
        }
    };
    assert_eq!(read(&mut source, 7).map(|offsets| offsets[0]), Ok(7));
    assert!(matches!(read(&mut source, 1_000), Err(SourceError::OutOfRange(_))));
    assert_eq!(read(&mut source, 3).map(|offsets| offsets[0]), Ok(3), "and it can be assigned anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_never_answer_are_named_with_the_next_try() {
    let ingest = Ingest::new(options(256 << 20));
    ingest.submit(spec("t", KafkaSpec::new("events", "127.0.0.1:1"))).await.expect("accepted");
    eventually("it says so", || {
        ingest.status("t").expect("there").detailed_state == DetailedState::UnableToConnectToStream
    })
    .await;
    let status = ingest.status("t").expect("there");
    assert_eq!((status.state, status.healthy), (State::UnhealthySupervisor, false));
    assert!(status.next_retry.is_some() && !status.recent_errors.is_empty());
    ingest.terminate("t").await.expect("even so it can be terminated");
    assert!(ingest.supervisor_ids().is_empty());
}
