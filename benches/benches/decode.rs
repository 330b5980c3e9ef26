//! Events a second and core: JSON bytes to Arrow columns, and on into a growing segment.
//!
//! The events have the shape of a web shop's tracking: 20 top-level fields, about 630 bytes, with a free text, a list of
//! tags and a nested object. Claim: 300,000 events a second from Kafka to queryable, so decoding and appending together
//! must stay below 3.3 us an event.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use freshet_ingest::decode::json::JsonDecoder;
use freshet_ingest::decode::{BadField, DecodeRules, Decoder, Rows};
use freshet_ingest::spec::{DimensionsSpec, GranularitySpec, TimeSpec};
use freshet_ingest::transform::TimeColumn;
use freshet_segment::growing::GrowingSegment;
use freshet_segment::id::{SegmentId, Version};
use freshet_segment::schema::TableSchema;
use freshet_segment::time::{Granularity, Timestamp};

const EVENTS: usize = 8_192;
const NAMES: [&str; 8] = ["view", "click", "scroll", "purchase", "heartbeat", "error", "search", "signup"];
const WORDS: &str = "sensor reading accepted by gateway after retry; cache miss on edge node, request routed to the nearest \
                     region and completed within budget while background";

/// A small generator with a fixed seed: the same events in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn events() -> Vec<String> {
    let mut dice = Dice(7);
    (0..EVENTS)
        .map(|n| {
            let mut out = String::with_capacity(700);
            let d = &mut dice;
            write!(
                out,
                r#"{{"ts":{},"event":"{}","platform":"{}","country":"C{}","browser":"Chrome {}","page":"/shop/category-{}/page-{}.html","campaign":"cmp-{:05}","sku":"SKU-{:06}","device_id":"dev-{:08x}","user_id":"u{:016x}","session":{},"latency_ms":{}.{:03},"bytes":{},"price":{}.{:02},"quantity":{},"temperature":{}.{},"success":{},"message":"{WORDS} #{}","tags":["t{}","t{}"],"geo":{{"lat":{}.{},"lon":-{}.{},"accuracy":{{"m":{},"source":"gps"}},"city":"city-{}","battery":{}}}}}"#,
                1_767_225_600_000u64 + n as u64 / 50,
                NAMES[d.roll(8) as usize],
                ["web", "device"][d.roll(2) as usize],
                d.roll(240),
                100 + d.roll(12),
                d.roll(50),
                d.roll(5_000),
                d.roll(400),
                d.roll(20_000),
                d.roll(100_000),
                d.roll(5_000_000),
                d.roll(1 << 31) << 29,
                d.roll(300),
                d.roll(1_000),
                200 + d.roll(2_000_000),
                d.roll(90),
                d.roll(100),
                1 + d.roll(8),
                d.roll(40),
                d.roll(100),
                d.roll(100) < 97,
                d.roll(1_000),
                d.roll(40),
                d.roll(40),
                d.roll(70),
                d.roll(99_999),
                d.roll(180),
                d.roll(99_999),
                1 + d.roll(60),
                d.roll(1_700),
                d.roll(101),
            )
            .expect("writing to a string");
            out
        })
        .collect()
}

fn rows() -> Rows {
    let time = TimeSpec::auto("ts");
    let column = TimeColumn::new(&time, &GranularitySpec::default());
    Rows::new(DecodeRules::new(&DimensionsSpec::discovered(), &time, column, BadField::Null))
}

fn decode(decoder: &mut JsonDecoder, rows: &mut Rows, schema: &Arc<TableSchema>, events: &[String]) {
    rows.begin(schema);
    for (number, event) in (0u32..).zip(events) {
        decoder.decode(number, event.as_bytes(), rows);
    }
    assert_eq!(rows.len(), events.len());
}

fn benches(c: &mut Criterion) {
    let events = events();
    let empty = Arc::new(TableSchema::new(Vec::new()).expect("a schema"));
    let (mut decoder, mut rows) = (JsonDecoder::default(), rows());
    decode(&mut decoder, &mut rows, &empty, &events);
    let schema = Arc::new(empty.widen(&rows.observed()).expect("widens").expect("wider"));

    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("json to cells", |b| {
        b.iter(|| decode(&mut decoder, &mut rows, &schema, black_box(&events)));
    });
    group.bench_function("cells to arrow", |b| {
        b.iter(|| {
            black_box(rows.observed());
            rows.batch(&schema, 0..rows.len()).expect("a batch")
        });
    });
    let all: Vec<u32> = (0..EVENTS as u32).collect();
    let id = SegmentId {
        table: "events".parse().expect("a name"),
        interval: Granularity::DAY.bucket(Timestamp::from_millis(1_767_225_600_000)),
        version: Version::at(Timestamp::from_millis(0)),
        number: 1,
    };
    group.bench_function("json to a growing segment", |b| {
        b.iter_batched_ref(
            || GrowingSegment::new(id.clone(), Arc::clone(&schema)),
            |segment| {
                decode(&mut decoder, &mut rows, &schema, black_box(&events));
                let batch = rows.batch(&schema, 0..rows.len()).expect("a batch");
                segment.append(&batch, &all).expect("appended");
                segment.snapshot()
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(decoding, benches);
criterion_main!(decoding);
