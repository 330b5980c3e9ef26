//! Bodies of pushes: `flags u8 | body`.
//!
//! Flags: 1 a table is there whose columns are narrower, 2 a column is declared, 4 the time field is named, 8 the bytes are a record
//! of the journal.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use freshet_ingest::decode::Rows;
use freshet_ingest::source::push::{Body, OnError, PushHeader, find_time_field, rejected_rows};
use freshet_ingest::spec::DimensionSpec;
use freshet_ingest::{ErrorKind, IngestError};
use freshet_segment::schema::{Column, ColumnType, TIME_COLUMN, TableSchema};
use freshet_segment::time::Timestamp;

use crate::{Target, json};

/// The target.
pub const TARGET: Target = Target { run, seeds, memory: (16 << 20, 512), foreign_panics: false };

const DECLARED: &str = "declared";

fn run(data: &[u8]) {
    let Some((flags, body)) = data.split_first() else { return };
    let is = |flag: u8| flags & flag != 0;
    if is(8) {
        return read_record(body);
    }
    let read = match Body::read(body) {
        Ok(read) => read,
        Err(refused) => {
            assert!(refused.hint().is_some(), "a refusal says what to do: {refused}");
            return assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        }
    };
    check_places(body, &read);
    let time_field = match find_time_field(body, &read.records) {
        Ok(field) if !is(4) => field,
        Err(refused) if !is(4) => return assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}"),
        _ => "when".to_owned(),
    };
    let declared = is(2).then(|| DimensionSpec { name: DECLARED.to_owned(), column_type: ColumnType::Double });
    let mut header = PushHeader::new(&time_field, declared.as_slice(), OnError::Skip, Timestamp::from_millis(7));
    let columns = [("n", ColumnType::Long), ("s", ColumnType::String), ("j", ColumnType::Json)];
    let columns = columns.map(|(name, kind)| Column::dimension(name, kind)).to_vec();
    let base = Arc::new(TableSchema::new(if is(1) { columns } else { Vec::new() }).expect("a schema"));
    let mut rows = Rows::new(header.rules().expect("known types"));
    rows.begin(&base);
    PushHeader::decode(body, &read, &mut rows);

    let schema = base.widen(&rows.observed()).expect("what was read fits a table").unwrap_or((*base).clone());
    let batch = rows.batch(&schema, 0..rows.len()).expect("a batch of its own schema");
    assert_eq!((batch.num_rows(), rows.records().len()), (rows.len(), rows.len()));
    let rejected = rejected_rows(body, &read.records, &rows);
    assert_eq!(rejected.len() as u64, rows.refused().min(1_000), "each refused row is listed");
    check_values(body, &read, &rows, &batch, &schema, &[time_field.as_str(), TIME_COLUMN, DECLARED]);

    header.accepted = rows.len() as u64;
    let record = header.record(body).expect("a header has a JSON form");
    let (again, rest) = PushHeader::read(&record).expect("its own record");
    assert_eq!((&again, &rest[..]), (&header, body));
    let mut replayed = Rows::new(again.rules().expect("known types"));
    PushHeader::decode(&rest, &Body::read(&rest).expect("it was read before"), &mut replayed);
    assert_eq!((replayed.times(), replayed.refused()), (rows.times(), rows.refused()));
    let again = replayed.batch(&schema, 0..replayed.len()).expect("a batch of its own schema");
    assert!(json::same(&batch, &again), "a replay gives other values");
}

/// Records lie in the body, in order, and begin at the lines they are said to.
fn check_places(body: &[u8], read: &Body) {
    let (mut end, mut lines, mut counted) = (0, 0, 0);
    for (range, line) in &read.records {
        assert!(end <= range.start && range.start <= range.end && range.end <= body.len(), "{range:?} behind {end}");
        end = range.end;
        lines += body[counted..range.start].iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = range.start;
        assert_eq!(*line, lines, "the line of {range:?}");
    }
}

/// Rows are as many, and hold what, another reader finds.
fn check_values(body: &[u8], read: &Body, rows: &Rows, batch: &RecordBatch, schema: &TableSchema, left_out: &[&str]) {
    let objects: Option<Vec<_>> = read.records.iter().map(|(range, _)| json::values(&body[range.clone()])).collect();
    let Some(objects) = objects else { return };
    let objects: Vec<_> = objects.into_iter().flatten().collect();
    assert_eq!(rows.len() as u64 + rows.refused(), objects.len() as u64, "each value is stored or refused");
    if rows.rejections().len() as u64 != rows.refused() {
        return;
    }
    let refused: HashSet<u64> = rows.rejections().iter().map(|rejection| rejection.row).collect();
    let stored = (0u64..).zip(&objects).filter(|(number, _)| !refused.contains(number));
    for (row, (_, object)) in stored.enumerate() {
        json::check_row(batch, schema, row, object, left_out);
        if let Some(millis) = object.get(left_out[0]).and_then(serde_json::Value::as_i64) {
            assert_eq!(rows.times().get(row), Some(&millis), "the time of row {row}");
        }
    }
}

/// A record of the journal of any content.
fn read_record(record: &[u8]) {
    let record = Bytes::copy_from_slice(record);
    let Ok((header, body)) = PushHeader::read(&record) else { return };
    let Ok(rules) = header.rules() else { return };
    let Ok(read) = Body::read(&body) else { return };
    check_places(&body, &read);
    let mut rows = Rows::new(rules);
    PushHeader::decode(&body, &read, &mut rows);
    let base = TableSchema::new(Vec::new()).expect("a schema");
    let schema = base.widen(&rows.observed()).expect("what was read fits a table").unwrap_or(base);
    let built: Result<RecordBatch, IngestError> = rows.batch(&schema, 0..rows.len());
    assert_eq!(built.expect("a batch of its own schema").num_rows(), rows.len());
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let with = |flags: u8, body: &str| [&[flags], body.as_bytes()].concat();
    let lines =
        "{\"ts\":1,\"n\":1,\"s\":\"a\"}\n\n{\"ts\":\"2015-09-12T00:46:58.771Z\",\"n\":2.5,\"j\":{\"a\":[1,null]}}\r\n";
    let array = " [ {\"time\":1442018818771,\"s\":[\"a\",\"b\"]},\n{\"time\":2,\"s\":[\"\\u00e9\"],\"n\":-0.5e-3},\n5, {\"time\":null}]";
    let one =
        "\u{feff}{\n \"@timestamp\": 7,\n \"a\": true, \"a\": \"twice\", \"b\": 123456789012345678901234567890\n}\n";
    let broken = "{\"__time\":1,\"x\":\"\\ud83d\\ude00\"}\n{\"__time\":\n{\"__time\":2,\"x\":[]}{\"__time\":3} x";
    let nested = "{\"when\":1,\"j\":{\"k\":1,\"k\":{\"l\":[[[\"m\"]]]}},\"declared\":\"1.5\",\"n\":1e300}";
    let header = "{\"version\":1,\"time\":\"ts\",\"declared\":[[\"n\",\"DOUBLE\"]],\"skip\":true,\"received\":7,\"accepted\":2}\n";
    vec![
        ("lines", with(0, lines)),
        ("lines_into_a_table", with(1, lines)),
        ("array", with(0, array)),
        ("one", with(2, one)),
        ("broken", with(0, broken)),
        ("nested", with(7, nested)),
        ("record", with(8, &format!("{header}{lines}"))),
    ]
}
