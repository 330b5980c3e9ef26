//! What the crate's tests stand on: small growing tables, and answers as text.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use freshet_segment::clock::ManualClock;
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::growing::GrowingSegment;
use freshet_segment::id::{SegmentId, TableId, TableName, Version};
use freshet_segment::schema::{Column, ColumnType, TableSchema};
use freshet_segment::sealed::{AttemptId, Layout, SealedSegment, Sealing};
use freshet_segment::time::{Granularity, Timestamp};
use freshet_segment::timeline::{Changed, HandOver, SegmentEntry, Timeline, Visible, VisibleSegment};
use futures::TryStreamExt;

use crate::{Engine, EngineOptions, Missing, OutputColumn, QueryError, QueryRequest};

pub(crate) const NOW: &str = "2015-09-14T00:00:00.000Z";

/// One row of the small Wikipedia table.
pub(crate) type Edit = (&'static str, Option<&'static str>, Option<&'static str>, Option<i64>, Option<f64>);

/// Time, page, city, added, score.
pub(crate) const EDITS: [Edit; 8] = [
    ("2015-09-12T00:46:58.771Z", Some("Talk:Oz"), Some("Rome"), Some(10), Some(0.5)),
    ("2015-09-12T00:59:00.000Z", Some("Oz"), None, Some(0), Some(1.5)),
    ("2015-09-12T01:00:00.000Z", Some("Oz"), Some("Oslo"), Some(-5), None),
    ("2015-09-12T07:30:00.000Z", Some("100%_a\\b"), Some(""), None, Some(2.0)),
    ("2015-09-12T13:00:00.000Z", None, Some("Rome"), Some(40), Some(-1.0)),
    ("2015-09-13T00:00:00.000Z", Some("Ärger"), Some("rome"), Some(7), Some(3.25)),
    ("2015-09-13T05:00:00.000Z", Some("Oz"), Some("Rome"), Some(10), Some(0.5)),
    ("2015-09-13T23:59:59.999Z", Some("日本語"), None, Some(10), None),
];

/// Adds rows to a table of a timeline: one growing segment a batch.
pub(crate) fn publish(timeline: &Timeline, table: &str, id: u64, schema: Arc<TableSchema>, batches: &[RecordBatch]) {
    let name: TableName = table.parse().expect("a name");
    timeline.create_table(TableId(id), &name, Arc::clone(&schema));
    let batches: Vec<_> = batches.iter().map(|b| (Arc::clone(&schema), b.clone())).collect();
    publish_mixed(timeline, table, id, &batches);
}

/// As [`publish`]; each segment with the schema it was written with, the last one the widest.
pub(crate) fn publish_mixed(timeline: &Timeline, table: &str, id: u64, batches: &[(Arc<TableSchema>, RecordBatch)]) {
    let name: TableName = table.parse().expect("a name");
    for (index, (schema, batch)) in batches.iter().enumerate() {
        let widest = Arc::clone(&batches[batches.len() - 1].0);
        let entry = timeline.create_table(TableId(id), &name, Arc::clone(&widest));
        let at = Timestamp::from_millis(0);
        let number = u32::try_from(index + 1).expect("few");
        let interval = Granularity::All.bucket(at);
        let id = SegmentId { table: name.clone(), interval, version: Version::at(at), number };
        let mut segment = GrowingSegment::new(id, Arc::clone(schema));
        let rows: Vec<u32> = (0..u32::try_from(batch.num_rows()).expect("few")).collect();
        segment.append(batch, &rows).expect("fits");
        let produced_max = Some(Timestamp::from_millis(1_000));
        entry.publish(vec![segment.snapshot()], Visible { schema: widest, min_changed: at, produced_max });
    }
}

pub(crate) fn times(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn edits(rows: &[Edit]) -> RecordBatch {
    let time = |r: &Edit| Timestamp::parse(r.0).expect("a time").as_millis();
    RecordBatch::try_from_iter_with_nullable([
        ("__time", times(rows.iter().map(time)), false),
        ("page", Arc::new(rows.iter().map(|r| r.1).collect::<StringArray>()) as ArrayRef, true),
        ("city", Arc::new(rows.iter().map(|r| r.2).collect::<StringArray>()) as ArrayRef, true),
        ("added", Arc::new(rows.iter().map(|r| r.3).collect::<Int64Array>()) as ArrayRef, true),
        ("score", Arc::new(rows.iter().map(|r| r.4).collect::<Float64Array>()) as ArrayRef, true),
    ])
    .expect("a batch")
}

/// A timeline with `wiki` (the rows above in two segments) and `empty`.
pub(crate) fn timeline() -> Arc<Timeline> {
    let timeline = Timeline::new();
    let schema = TableSchema::new(vec![
        Column::dimension("page", ColumnType::String),
        Column::dimension("city", ColumnType::String),
        Column::dimension("added", ColumnType::Long),
        Column::dimension("score", ColumnType::Double),
    ]);
    let schema = Arc::new(schema.expect("a schema"));
    publish(&timeline, "wiki", 1, Arc::clone(&schema), &[edits(&EDITS[..5]), edits(&EDITS[5..])]);
    publish(&timeline, "empty", 2, schema, &[]);
    Arc::new(timeline)
}

/// A table of `rows` rows, one a second, with a number `n` from 0.
pub(crate) fn numbers(rows: i64) -> Arc<Timeline> {
    let timeline = Timeline::new();
    let schema = Arc::new(TableSchema::new(vec![Column::dimension("n", ColumnType::Long)]).expect("a schema"));
    let batch = RecordBatch::try_from_iter([
        ("__time", times((0..rows).map(|n| n * 1000))),
        ("n", Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef),
    ])
    .expect("a batch");
    publish(&timeline, "numbers", 1, schema, &[batch]);
    Arc::new(timeline)
}

/// Which of a table's segments are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Growing,
    Sealed,
    /// Every other one.
    Mixed,
}

pub(crate) const FORMS: [Form; 3] = [Form::Growing, Form::Sealed, Form::Mixed];

/// Puts files in `folder` in the place of the table's growing segments, as a commit does.
pub(crate) fn seal(timeline: &Timeline, table: &str, form: Form, folder: &Path) {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"));
    let storage = DeepStorage::folder(folder.join("deep"), runtime.handle().clone()).expect("a folder");
    let staging = folder.join("staging");
    std::fs::create_dir_all(&staging).expect("a folder");
    let table = timeline.table(table).expect("the table");
    let view = table.view();
    let chosen = view.segments().enumerate().filter(|(index, _)| match form {
        Form::Growing => false,
        Form::Sealed => true,
        Form::Mixed => index % 2 == 1,
    });
    let mut open = Vec::new();
    let commit_seq = view.commit_seq + 1;
    for (index, entry) in chosen {
        let sealing = Sealing {
            id: entry.id.clone(),
            sources: std::slice::from_ref(&entry.segment),
            schema: Arc::clone(&view.schema),
            cluster_by: Vec::new(),
            attempt: AttemptId(index as u128 + 1),
            // Small enough that a few thousand rows are several units and pages.
            layout: Layout { unit_rows: 4_096, page_rows: 1_024, ..Layout::default() },
        };
        let sealed = sealing.write(&staging).expect("sealed");
        let stored = runtime.block_on(storage.put(&sealed)).expect("stored");
        let segment = SealedSegment::lazy(stored.new_segment().clone(), Arc::clone(&storage), &folder.join("cache"));
        open.push(SegmentEntry { segment: VisibleSegment::Sealed(segment), visible_from: commit_seq, ..entry.clone() });
    }
    table.hand_over(HandOver { close: Vec::new(), open, commit_seq, schema: None, changed: Changed::Nothing });
    timeline.advance(commit_seq);
    assert_eq!(table.view().rows(), view.rows(), "each row is there once");
}

pub(crate) fn engine(timeline: Arc<Timeline>) -> Arc<Engine> {
    let clock = Arc::new(ManualClock::new(Timestamp::parse(NOW).expect("a time")));
    Engine::new(EngineOptions { timeline, clock, memory_bytes_max: 64 << 20, threads: 2, system: None })
        .expect("an engine")
}

/// An answer: columns, and rows as text with `|` between cells.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) columns: Vec<OutputColumn>,
    pub(crate) rows: Vec<String>,
    pub(crate) missing: Vec<Missing>,
}

impl Answer {
    pub(crate) fn types(&self) -> Vec<String> {
        self.columns.iter().map(|c| format!("{}:{}/{}", c.name, c.native_type, c.sql_type)).collect()
    }
}

/// Runs a request to its end.
pub(crate) fn answer(engine: &Arc<Engine>, request: QueryRequest) -> Result<Answer, QueryError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut stream = engine.run(request).await?;
        let columns = stream.columns().to_vec();
        let batches: Vec<RecordBatch> = (&mut stream).try_collect().await?;
        let missing = stream.missing();
        let options = FormatOptions::default().with_null("null");
        let mut rows = Vec::new();
        for batch in &batches {
            let formatters: Vec<_> =
                batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).expect("a formatter")).collect();
            for row in 0..batch.num_rows() {
                let cells: Vec<String> = formatters.iter().map(|f| f.value(row).to_string()).collect();
                rows.push(cells.join("|"));
            }
        }
        Ok(Answer { columns, rows, missing })
    })
}

/// The rows of a query over the small tables.
pub(crate) fn rows(sql: &str) -> Vec<String> {
    match answer(&engine(timeline()), QueryRequest::new("test", sql)) {
        Ok(answer) => answer.rows,
        Err(error) => panic!("{sql}: {error:?}"),
    }
}

/// The failure of a query over the small tables.
pub(crate) fn failure(sql: &str) -> QueryError {
    match answer(&engine(timeline()), QueryRequest::new("test", sql)) {
        Ok(answer) => panic!("{sql}: {answer:?}"),
        Err(error) => error,
    }
}

/// A batch of a growing table with these columns; missing ones are null.
pub(crate) fn batch(times_ms: &[i64], columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let mut fields =
        vec![Field::new("__time", DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC"))), false)];
    let mut arrays = vec![times(times_ms.iter().copied())];
    for (name, array) in columns {
        fields.push(Field::new(*name, array.data_type().clone(), true));
        arrays.push(Arc::clone(array));
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(times_ms.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).expect("a batch")
}
