//! Records of a topic under a spec: `spec u8, u8 | records`, with a byte 1e between two records.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use freshet_ingest::decode::json::JsonDecoder;
use freshet_ingest::decode::{BadField, DecodeRules, Decoder, Rejection, Rows};
use freshet_ingest::spec::{DimensionSpec, DimensionsSpec, Discovery, GranularitySpec, TimeFormat, TimeSpec};
use freshet_ingest::transform::TimeColumn;
use freshet_segment::schema::{ColumnType, TableSchema};
use freshet_segment::time::{Granularity, Timestamp};

use crate::{Target, json};

/// The target.
pub const TARGET: Target = Target { run, seeds, memory: (16 << 20, 1024), foreign_panics: false };

const DECLARED: [(&str, ColumnType); 6] = [
    ("l", ColumnType::Long),
    ("d", ColumnType::Double),
    ("f", ColumnType::Float),
    ("s", ColumnType::String),
    ("t", ColumnType::Timestamp),
    ("j", ColumnType::Json),
];

fn rules(spec: [u8; 2]) -> DecodeRules {
    let discovery = [Discovery::Listed, Discovery::Strings, Discovery::Typed][usize::from(spec[0] % 3)];
    let declared = DECLARED.iter().filter(|_| spec[0] & 4 != 0);
    let dimensions = DimensionsSpec {
        declared: declared.map(|(name, kind)| DimensionSpec { name: (*name).to_owned(), column_type: *kind }).collect(),
        discovery,
        include_all: spec[0] & 8 != 0,
        exclusions: vec!["x".to_owned()],
    };
    let formats =
        [TimeFormat::Auto, TimeFormat::Iso, TimeFormat::Posix, TimeFormat::Millis, TimeFormat::Micro, TimeFormat::Nano];
    let time = TimeSpec {
        column: if spec[0] & 16 != 0 { "ts" } else { "l" }.to_owned(),
        format: formats[usize::from(spec[1] % 6)],
        missing_value: (spec[0] & 32 != 0).then_some(Timestamp::from_millis(5)),
    };
    let query = ["none", "hour", "all", "month"][usize::from(spec[1] / 64)];
    let granularity =
        GranularitySpec { query: query.parse::<Granularity>().expect("a granularity"), ..GranularitySpec::default() };
    let bad_field = if spec[0] & 64 != 0 { BadField::RejectRow } else { BadField::Null };
    let column = TimeColumn::new(&time, &granularity);
    DecodeRules::new(&dimensions, &time, column, bad_field)
}

fn schema_of(rows: &Rows, base: &Arc<TableSchema>) -> TableSchema {
    base.widen(&rows.observed()).expect("what was read fits a table").unwrap_or((**base).clone())
}

fn run(data: &[u8]) {
    let Some((spec, rest)) = data.split_first_chunk::<2>() else { return };
    let records: Vec<&[u8]> = rest.split(|byte| *byte == 0x1e).collect();
    let rules = rules(*spec);
    let base = Arc::new(TableSchema::new(Vec::new()).expect("a schema"));
    let mut rows = Rows::new(rules.clone());
    rows.begin(&base);
    let mut decoder = JsonDecoder::default();
    let decode_all = |decoder: &mut JsonDecoder, rows: &mut Rows| {
        for (number, record) in (0u32..).zip(&records) {
            decoder.decode(number, record, rows);
        }
    };
    decode_all(&mut decoder, &mut rows);
    let schema = schema_of(&rows, &base);
    let batch = rows.batch(&schema, 0..rows.len()).expect("a batch of its own schema");
    assert_eq!(batch.num_rows(), rows.len());
    assert!(rows.records().is_sorted(), "rows are in the order of their records");
    check_counts(&records, &rows);
    check_field_errors(&rows, &batch);
    check_alone(&records, &rules, &rows, &schema);

    // The same batch again, with what the first left in decoder and buffers.
    let (times, refused) = (rows.times().to_vec(), rows.refused());
    let schema = Arc::new(schema);
    rows.begin(&schema);
    decode_all(&mut decoder, &mut rows);
    assert_eq!((rows.times(), rows.refused()), (&*times, refused));
    let again = rows.batch(&schema, 0..rows.len()).expect("a batch of its own schema");
    assert!(json::same(&batch, &again), "a batch depends on the one before");
}

/// Each value of a record is a row, stored or refused.
fn check_counts(records: &[&[u8]], rows: &Rows) {
    if rows.rejections().len() as u64 != rows.refused() {
        return;
    }
    for (number, record) in (0u32..).zip(records) {
        let stored = rows.records().iter().filter(|of| **of == number).count();
        let refused = rows.rejections().iter().filter(|rejection| rejection.record == number).count();
        match json::values(record) {
            Some(values) => assert_eq!(stored + refused, values.len().max(1), "rows of record {number}"),
            None => assert!(stored + refused > 0, "record {number} is nowhere"),
        }
    }
}

/// A field that is reported is null in a row that is stored.
fn check_field_errors(rows: &Rows, batch: &RecordBatch) {
    assert!(rows.rows_with_errors() <= rows.len() as u64);
    if rows.rejections().len() as u64 != rows.refused() {
        return;
    }
    let refused: Vec<u64> = rows.rejections().iter().map(|rejection| rejection.row).collect();
    assert!(refused.is_sorted(), "rejections are in order");
    for error in rows.field_errors() {
        let before = refused.partition_point(|row| *row < error.row);
        assert!(refused.get(before) != Some(&error.row), "row {} is refused and stored", error.row);
        let row = usize::try_from(error.row).expect("few") - before;
        assert_eq!(rows.records().get(row), Some(&error.record), "the record of a field's error");
        let array = json::column(batch, &error.field);
        assert!(array.is_none_or(|array| array.is_null(row)), "{} has a value and an error", error.field);
    }
}

/// A record's rows do not depend on its neighbours.
fn check_alone(records: &[&[u8]], rules: &DecodeRules, rows: &Rows, schema: &TableSchema) {
    let reasons = |rejections: &[Rejection], record: u32| -> Vec<_> {
        let of = rejections.iter().filter(|rejection| rejection.record == record);
        of.map(|r| (r.row_in_record, r.at.clone(), r.reason.clone(), r.hint.clone())).collect()
    };
    for (number, record) in (0u32..).zip(records).take(64) {
        let mut alone = Rows::new(rules.clone());
        JsonDecoder::default().decode(0, record, &mut alone);
        let from = rows.records().partition_point(|of| *of < number);
        let to = rows.records().partition_point(|of| *of <= number);
        assert_eq!(rows.times().get(from..to), Some(alone.times()), "times of record {number}");
        if rows.rejections().len() as u64 == rows.refused() {
            assert_eq!(reasons(rows.rejections(), number), reasons(alone.rejections(), 0), "record {number}");
        }
        let there = rows.batch(schema, from..to).expect("a batch of its own schema");
        let here = alone.batch(schema, 0..alone.len()).expect("a batch of a schema that is wide enough");
        assert!(json::same(&there, &here), "record {number} depends on its neighbours");
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let with = |spec: [u8; 2], records: &str| [&spec[..], records.as_bytes()].concat();
    let typed = "{\"ts\":1442018818771,\"l\":1,\"d\":2.5,\"f\":0.1,\"s\":\"a\",\"t\":\"2015-09-12\",\"j\":{\"a\":[1]}}";
    let odd = "{\"ts\":\"1442018818771\",\"l\":\"7.0\",\"d\":\"x\",\"f\":1e40,\"s\":[1,\"b\",null],\"t\":[],\"j\":\"text\",\"x\":1}";
    let more =
        "{\"ts\":\"2015-09-12T00:46:58.771+02:00\",\"new\":1}{\"ts\":2,\"new\":\"text\"} [1] {\"ts\":3,\"new\":{}";
    let all = format!("{typed}\u{1e}{odd}\u{1e}{more}\u{1e}\u{1e}{typed}");
    vec![
        ("declared", with([4 | 16, 0], &all)),
        ("declared_strict", with([4 | 16 | 64, 0], &all)),
        ("strings", with([1 | 16, 64], &all)),
        ("typed", with([2 | 16 | 32, 0], &all)),
        ("typed_time_is_a_column", with([2 | 4, 3], &all)),
        ("posix", with([2 | 8 | 16, 2], "{\"ts\":1442018818.771,\"a\":1}\u{1e}{\"ts\":-1,\"a\":99999999999999999999}")),
        ("nano", with([2 | 16, 5 | 128], "{\"ts\":1442018818771000000,\"a\":[\"one\"]}")),
    ]
}
