//! Seeded batches of events with known cardinalities.
//!
//! The shape is that of a web shop with devices: eight dimensions from 2 to 100,000 values, a user id, six metrics. Values
//! are drawn by a power law, so a few are common and most are rare, as in real event streams.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use freshet_segment::growing::GrowingSegment;
use freshet_segment::id::{SegmentId, Version};
use freshet_segment::schema::{Observed, TableSchema};
use freshet_segment::time::{Granularity, Timestamp};

/// Rows of a batch: what a decoder hands on.
pub const BATCH_ROWS: usize = 8_192;
/// 2026-01-01T00:00:00Z, the first event.
pub const START_MS: i64 = 1_767_225_600_000;

/// Name, number of values and skew of each text dimension.
const DIMENSIONS: [(&str, u64, f64); 9] = [
    ("platform", 2, 2.0),
    ("event", 12, 2.0),
    ("browser", 48, 2.0),
    ("country", 240, 3.0),
    ("campaign", 400, 2.0),
    ("page", 5_000, 3.0),
    ("sku", 20_000, 2.5),
    ("device", 100_000, 1.5),
    ("user", 5_000_000, 1.6),
];

/// A small generator with good bits (splitmix64), so that a bench needs nothing but its seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly in `[0, 1)`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Below `size`, small numbers more often the larger `skew` is.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "below size"
    )]
    pub fn power(&mut self, size: u64, skew: f64) -> u64 {
        ((self.unit().powf(skew) * size as f64) as u64).min(size - 1)
    }
}

/// Batch number `index` of the stream of `seed`: [`BATCH_ROWS`] rows, 1,000 events a second of event time.
pub fn batch(seed: u64, index: u64) -> RecordBatch {
    let mut random = Random::new(seed ^ index.wrapping_mul(0x2545_F491_4F6C_DD1D));
    let first = START_MS + i64::try_from(index * BATCH_ROWS as u64).unwrap_or(0);
    let times = (0..BATCH_ROWS).map(|i| first + i64::try_from(i).unwrap_or(0));
    let mut columns: Vec<(&str, ArrayRef)> =
        vec![("__time", Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC")))];
    for (name, size, skew) in DIMENSIONS {
        let values = (0..BATCH_ROWS).map(|_| format!("{name}-{}", random.power(size, skew)));
        columns.push((name, Arc::new(StringArray::from_iter_values(values))));
    }
    for name in ["bytes", "quantity", "battery"] {
        let values = (0..BATCH_ROWS).map(|_| i64::try_from(random.power(100_000, 2.0)).unwrap_or(0));
        columns.push((name, Arc::new(Int64Array::from_iter_values(values))));
    }
    for name in ["latency", "price", "temperature"] {
        let values = (0..BATCH_ROWS).map(|_| (random.unit() * 1e5).round() / 1e3);
        columns.push((name, Arc::new(Float64Array::from_iter_values(values))));
    }
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

/// The schema that holds the batches.
pub fn schema() -> Arc<TableSchema> {
    let batch = batch(0, 0);
    let seen: Result<Vec<Observed>, _> = batch.schema().fields().iter().map(|f| Observed::from_field(f)).collect();
    let empty = TableSchema::new(vec![]).expect("the time column alone");
    let wide = empty.widen(&seen.expect("known types")).expect("few columns").expect("new columns");
    Arc::new(wide)
}

/// An empty growing segment for the batches.
pub fn segment() -> GrowingSegment {
    let start = Timestamp::from_millis(START_MS);
    let table = "events".parse().expect("a good name");
    let id = SegmentId { table, interval: Granularity::DAY.bucket(start), version: Version::at(start), number: 1 };
    GrowingSegment::new(id, schema())
}

/// A growing segment of `batches` batches.
pub fn grown(seed: u64, batches: u64) -> GrowingSegment {
    let mut segment = segment();
    let rows: Vec<u32> = (0..u32::try_from(BATCH_ROWS).unwrap_or(0)).collect();
    for index in 0..batches {
        segment.append(&batch(seed, index), &rows).expect("fits its schema");
    }
    segment
}
