use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMillisecondArray};
use freshet_query::ReadingInfo;
use freshet_query::{NativeType, OutputColumn, SqlType};
use freshet_segment::clock::{Clock as _, ManualClock};
use freshet_segment::growing::GrowingSegment;
use freshet_segment::id::{SegmentId, TableId, TableName, Version};
use freshet_segment::schema::TableSchema;
use freshet_segment::time::Granularity;
use freshet_segment::timeline::{Timeline, Visible};
use serde_json::json;

use super::*;
use crate::http::encode::Encoder;

const T0: i64 = 1_772_445_600_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(T0 + ms)
}

/// A table whose rows are only times, and a clock that stands still.
struct Table {
    timeline: Timeline,
    schema: Arc<TableSchema>,
    segment: GrowingSegment,
    clock: ManualClock,
}

impl Table {
    fn new() -> Self {
        let name: TableName = "t".parse().unwrap();
        let schema = Arc::new(TableSchema::new(Vec::new()).unwrap());
        let timeline = Timeline::new();
        timeline.create_table(TableId(1), &name, Arc::clone(&schema));
        let id =
            SegmentId { table: name, interval: Granularity::DAY.bucket(at(0)), version: Version::at(at(0)), number: 1 };
        let segment = GrowingSegment::new(id, Arc::clone(&schema));
        let clock = ManualClock::new(at(0));
        Self { timeline, schema, segment, clock }
    }

    fn push(&mut self, times: &[i64]) {
        let millis: Vec<i64> = times.iter().map(|ms| T0 + ms).collect();
        let array: ArrayRef = Arc::new(TimestampMillisecondArray::from(millis).with_timezone("UTC"));
        let rows: Vec<u32> = (0..times.len() as u32).collect();
        self.segment.append(&RecordBatch::try_from_iter([("__time", array)]).unwrap(), &rows).unwrap();
        let visible = Visible {
            schema: Arc::clone(&self.schema),
            min_changed: at(*times.iter().min().unwrap()),
            produced_max: None,
        };
        self.timeline.table("t").unwrap().publish(vec![self.segment.snapshot()], visible);
    }

    fn look(&self, track: &mut Track, wanted: &Wanted) -> Seen {
        let view = self.timeline.table("t").map(|table| table.view());
        track.look(wanted, view.as_deref(), self.clock.now())
    }
}

fn wanted(bucket_ms: Option<i64>, from: &str, to: &str) -> Wanted {
    let sql = if bucket_ms.is_some() {
        "SELECT ${bucket} AS t FROM t WHERE ${time}"
    } else {
        "SELECT 1 FROM t WHERE ${time}"
    };
    let message =
        json!({"kind": "query", "table": "t", "sql": sql, "bucketMs": bucket_ms, "range": {"from": from, "to": to}});
    Wanted::parse(message).unwrap()
}

#[test]
fn a_change_is_seen_once_and_from_its_first_row() {
    let mut table = Table::new();
    let wanted = wanted(Some(5_000), "now-15m", "now");
    let mut track = Track::default();
    table.push(&[-60_000]);
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Everything));
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Nothing));
    table.push(&[-10_000, -20_000]);
    table.push(&[-15_000]);
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::From(at(-20_000))));
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Nothing));
    // The clock alone changes nothing for buckets.
    table.clock.advance(Duration::from_secs(30));
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Nothing));
}

#[test]
fn rows_ahead_of_the_clock_come_when_it_reaches_them() {
    let mut table = Table::new();
    let wanted = wanted(Some(1_000), "now-1m", "now");
    let mut track = Track::default();
    table.push(&[-1_000]);
    table.look(&mut track, &wanted);
    table.push(&[2_500]);
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Nothing), "it is not in the range yet");
    table.clock.advance(Duration::from_secs(3));
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::From(at(0))));
    table.clock.advance(Duration::from_secs(3));
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Nothing));
}

#[test]
fn sums_are_looked_at_again_while_rows_leave_the_range() {
    let mut table = Table::new();
    let wanted = wanted(None, "now-10s", "now");
    let mut track = Track::default();
    table.push(&[-5_000]);
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Everything));
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Nothing), "the clock stands");
    table.clock.advance(Duration::from_secs(4));
    assert_eq!(table.look(&mut track, &wanted), Seen::Moved);
    table.clock.advance(Duration::from_secs(4));
    assert_eq!(table.look(&mut track, &wanted), Seen::Moved, "the row left in this step");
    table.clock.advance(Duration::from_secs(4));
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Nothing), "nothing is left to leave");
    table.push(&[11_000]);
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Everything), "without buckets there are no deltas");
}

#[test]
fn a_table_that_goes_and_comes_is_begun_again() {
    let mut table = Table::new();
    let wanted = wanted(Some(5_000), "now-15m", "now");
    let mut track = Track::default();
    table.push(&[-1_000]);
    table.look(&mut track, &wanted);
    let name: TableName = "t".parse().unwrap();
    table.timeline.drop_table(&name);
    assert_eq!(table.look(&mut track, &wanted), Seen::Missing);
    table.timeline.create_table(TableId(2), &name, Arc::clone(&table.schema));
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Everything));
    // Dropped and made again between two looks.
    table.timeline.drop_table(&name);
    table.timeline.create_table(TableId(3), &name, Arc::clone(&table.schema));
    assert_eq!(table.look(&mut track, &wanted), Seen::Lack(Need::Everything));
}

#[test]
fn needs_add_up() {
    assert_eq!(Need::From(at(5)).and(Need::From(at(3))), Need::From(at(3)));
    assert_eq!(Need::Nothing.and(Need::From(at(3))), Need::From(at(3)));
    assert_eq!(Need::From(at(3)).and(Need::Everything), Need::Everything);
    assert_eq!(Need::Nothing.and(Need::Nothing), Need::Nothing);
}

#[test]
fn the_schema_message_is_cut_off_and_the_rows_are_compared() {
    let columns = [OutputColumn { name: "n".to_owned(), native_type: NativeType::Long, sql_type: SqlType::Bigint }];
    let info = ReadingInfo { at: at(0), produced_max: None, tables: Vec::new() };
    let stream = |to: &str, value: i64| {
        let shape = Shape { metadata: vec![("rangeTo".to_owned(), to.to_owned())], ..Shape::plain(Format::Arrow) };
        let mut encoder = Encoder::new(shape, &columns, &info).unwrap();
        let array: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![value]));
        encoder.push(&RecordBatch::try_from_iter([("n", array)]).unwrap()).unwrap();
        encoder.finish().unwrap();
        let bytes = encoder.take();
        bytes.slice(schema_bytes(&bytes)..)
    };
    assert_eq!(stream("1", 7), stream("1000000", 7));
    assert_ne!(stream("1", 7), stream("1", 8));
    assert!(!stream("1", 7).is_empty());
}
