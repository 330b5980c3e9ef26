//! A small sealed segment, and everything that can be asked of it: what the three targets of its files share.
//!
//! An input is the content of one file. First it stands where the good file stood: damage, which a checksum of the catalog
//! finds. Then the checksums are made to match, so that the readers below them see it.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use freshet_segment::catalog::NewSegment;
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::growing::GrowingSegment;
use freshet_segment::id::{SegmentId, TableName, Version};
use freshet_segment::predicate::{CompareOp, Predicate, Value};
use freshet_segment::schema::{Column, ColumnType, TIME_COLUMN, TableSchema};
use freshet_segment::sealed::{AttemptId, Layout, SealedSegment, Sealing};
use freshet_segment::time::{Granularity, Timestamp};
use freshet_segment::timeline::VisibleSegment;
use freshet_segment::{ErrorKind, Result};
use serde_json::Value as Json;
use sha2::Digest;
use tokio::runtime::Runtime;

/// Which file an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum File {
    Parquet,
    Index,
    Meta,
}

const ROWS: i64 = 60;
const LAYOUT: Layout = Layout { unit_rows: 16, units_per_group: 2, page_rows: 8, zstd_level: 3, bloom_values_min: 8 };

struct Source {
    /// Kept: without it the folder goes.
    _folder: tempfile::TempDir,
    _runtime: Runtime,
    storage: Arc<DeepStorage>,
    deep: PathBuf,
    schema: Arc<TableSchema>,
    row: NewSegment,
    /// Parquet, index, meta.
    files: [Vec<u8>; 3],
    answer: String,
}

static SOURCE: LazyLock<Source> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a folder for the files");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let (deep, staging) = (folder.path().join("deep"), folder.path().join("staging"));
    std::fs::create_dir(&staging).expect("a folder");
    let storage = DeepStorage::folder(&deep, runtime.handle().clone()).expect("a folder");
    let schema = Arc::new(schema());
    let sources = [growing(&schema)];
    let sealing = Sealing {
        id: id(),
        sources: &sources,
        schema: Arc::clone(&schema),
        cluster_by: vec![Arc::from("text")],
        attempt: AttemptId(7),
        layout: LAYOUT,
    };
    let sealed = sealing.write(&staging).expect("sealed");
    let stored = runtime.block_on(storage.put(&sealed)).expect("stored");
    let row = stored.new_segment().clone();
    let files = row.files.each().map(|file| std::fs::read(deep.join(&file.path)).expect("stored"));
    let segment = SealedSegment::lazy(row.clone(), Arc::clone(&storage), &folder.path().join("cache"));
    let answer = ask(&segment, &schema).expect("the source itself");
    Source { _folder: folder, _runtime: runtime, storage, deep, schema, row, files, answer }
});

fn id() -> SegmentId {
    let t = Timestamp::from_millis(0);
    let table: TableName = "t".parse().expect("a name");
    SegmentId { table, interval: Granularity::All.bucket(t), version: Version::at(t), number: 1 }
}

fn schema() -> TableSchema {
    let columns = [
        ("long", ColumnType::Long),
        ("double", ColumnType::Double),
        ("text", ColumnType::String),
        ("near_unique", ColumnType::String),
        ("json", ColumnType::Json),
    ];
    TableSchema::new(columns.map(|(name, kind)| Column::dimension(name, kind)).to_vec()).expect("a schema")
}

fn growing(schema: &Arc<TableSchema>) -> VisibleSegment {
    let mut segment = GrowingSegment::new(id(), Arc::clone(schema));
    let texts =
        |some: &dyn Fn(i64) -> Option<String>| -> ArrayRef { Arc::new((0..ROWS).map(some).collect::<StringArray>()) };
    let columns: [(&str, ArrayRef); 6] = [
        (
            TIME_COLUMN,
            Arc::new(TimestampMillisecondArray::from_iter_values((0..ROWS).map(|n| n / 3)).with_timezone("UTC")),
        ),
        ("long", Arc::new((0..ROWS).map(|n| (n % 7 != 0).then_some(n * n)).collect::<Int64Array>())),
        ("double", Arc::new((0..ROWS).map(|n| Some(n as f64 / 4.0)).collect::<Float64Array>())),
        ("text", texts(&|n| (n % 5 > 0).then(|| format!("value {}", n % 11)))),
        ("near_unique", texts(&|n| Some(format!("{n:03}")))),
        ("json", texts(&|n| (n % 4 == 0).then(|| format!("{{\"n\":{n}}}")))),
    ];
    let rows: Vec<u32> = (0..60).collect();
    segment.append(&RecordBatch::try_from_iter(columns).expect("a batch"), &rows).expect("it fits");
    VisibleSegment::Growing(segment.snapshot())
}

/// Everything that is asked of a segment, as text.
fn ask(segment: &Arc<SealedSegment>, schema: &TableSchema) -> Result<String> {
    let visible = VisibleSegment::Sealed(Arc::clone(segment));
    let compare = |column: &str, op, value| Predicate::Compare { column: Arc::from(column), op, value };
    let text = |s: &str| Value::String(Arc::from(s));
    let wanted = [
        Predicate::True,
        compare("long", CompareOp::Gt, Value::Long(900)),
        compare("double", CompareOp::Lt, Value::Long(3)),
        compare("text", CompareOp::Eq, text("value 7")),
        compare("text", CompareOp::Ne, text("value 7")),
        compare("near_unique", CompareOp::Eq, text("031")),
        Predicate::IsNull { column: Arc::from("json"), negated: false },
        compare(TIME_COLUMN, CompareOp::Ge, Value::Timestamp(Timestamp::from_millis(15))),
    ];
    let mut answer = format!("{:?} {:?}", visible.cardinality("text"), segment.schema()?.columns());
    let mut rows = 0;
    // What a filter leaves is read in two columns: one with postings, one with zones.
    let (all, some) =
        (schema.columns(), ["long", "text"].map(|name| schema.column(name).expect("it has them").clone()));
    for (number, wanted) in wanted.iter().enumerate() {
        let filter = visible.filter(wanted, schema)?;
        for unit in visible.units(None)? {
            if number == 0 {
                rows += u64::from(unit.rows());
            }
            let selection = filter.select_unit(&unit)?;
            assert!(selection.len() <= unit.rows() as usize, "more rows are selected than there are");
            for part in selection.parts(7) {
                for column in if number == 0 { all } else { &some[..] } {
                    let array = unit.read(column, &part)?;
                    assert_eq!(array.len(), part.len(), "as many values as were asked for");
                    assert_eq!(*array.data_type(), column.column_type.arrow_type(), "of the type of the reading");
                    show(&array, &mut answer);
                }
            }
        }
    }
    assert_eq!(rows, segment.row().rows, "as many rows as the catalog says");
    Ok(answer)
}

fn show(array: &ArrayRef, out: &mut String) {
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
    use std::fmt::Write;
    out.extend((0..array.len()).map(|row| if array.is_null(row) { '-' } else { '+' }));
    for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
        let _ = match array.data_type() {
            arrow::datatypes::DataType::Int64 => write!(out, "{},", array.as_primitive::<Int64Type>().value(row)),
            arrow::datatypes::DataType::Float64 => {
                write!(out, "{:x},", array.as_primitive::<Float64Type>().value(row).to_bits())
            }
            arrow::datatypes::DataType::Timestamp(..) => {
                write!(out, "{},", array.as_primitive::<TimestampMillisecondType>().value(row))
            }
            _ => write!(out, "{:?},", array.as_string_view().value(row)),
        };
    }
}

/// One run of a target.
pub(crate) fn run(file: File, data: &[u8]) {
    let source = &*SOURCE;
    let mut row = source.row.clone();
    // Names of their own: the good files stay.
    row.files.parquet.path.push_str(".bad");
    row.files.index.path.push_str(".bad");
    row.files.meta.path.push_str(".bad");
    let mut files = source.files.clone();
    files[file as usize] = data.to_vec();
    match answer(source, &row, &files) {
        Ok(answer) => assert!(answer == source.answer, "damage gave another answer"),
        Err(kind) => assert_eq!(kind, ErrorKind::Corrupt),
    }
    match_sums(file, &mut row, &mut files);
    if let Err(kind) = answer(source, &row, &files) {
        assert_eq!(kind, ErrorKind::Corrupt);
    }
}

fn answer(source: &Source, row: &NewSegment, files: &[Vec<u8>; 3]) -> Result<String, ErrorKind> {
    for (file, bytes) in row.files.each().into_iter().zip(files) {
        std::fs::write(source.deep.join(&file.path), bytes).expect("room for the files");
    }
    let segment = SealedSegment::lazy(row.clone(), Arc::clone(&source.storage), &source.deep.join("cache"));
    ask(&segment, &source.schema).map_err(|error| {
        assert!(error.to_string().contains(&row.id.to_string()), "an error names the segment: {error}");
        error.kind()
    })
}

/// Makes the chain of checksums hold: catalog's row, meta, file.
fn match_sums(file: File, row: &mut NewSegment, files: &mut [Vec<u8>; 3]) {
    let hash = |bytes: &[u8]| <[u8; 32]>::from(sha2::Sha256::digest(bytes));
    let hex = |hash: &[u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if file == File::Meta {
        adopt(row, &files[2]);
    } else {
        let mut meta: Json = serde_json::from_slice(&files[2]).expect("the source's own");
        if file == File::Index {
            match_index_sums(&mut files[1]);
        }
        let (bytes, stored, key) = match file {
            File::Parquet => (&files[0], &mut row.files.parquet, "parquet"),
            _ => (&files[1], &mut row.files.index, "index"),
        };
        (stored.bytes, stored.sha256) = (bytes.len() as u64, hash(bytes));
        let blocks: Vec<u32> = bytes.chunks(1 << 20).map(crc32c::crc32c).collect();
        meta[key] = serde_json::json!({ "bytes": bytes.len(), "sha256": hex(&stored.sha256), "blocks": blocks });
        files[2] = serde_json::to_vec(&meta).expect("JSON");
    }
    (row.files.meta.bytes, row.files.meta.sha256) = (files[2].len() as u64, hash(&files[2]));
}

/// The index file has checksums of its own: of each section in the footer, of the footer behind it.
fn match_index_sums(file: &mut [u8]) -> Option<()> {
    let number = |bytes: &[u8]| bytes.first_chunk().and_then(|bytes| usize::try_from(u64::from_le_bytes(*bytes)).ok());
    let tail_at = file.len().checked_sub(16)?;
    let footer_at = number(&file[tail_at..]).filter(|at| *at <= tail_at)?;
    let (sections, rest) = file.split_at_mut(footer_at);
    let (footer, tail) = rest.split_at_mut(tail_at - footer_at);
    let mut at = 4;
    while let Some(length) = footer.get(at..).and_then(<[u8]>::first_chunk) {
        at += 2 + usize::from(u16::from_le_bytes(*length));
        let Some(place) = footer.get_mut(at..at + 20) else { break };
        at += 20;
        let (start, length) = (number(place)?, number(&place[8..])?);
        if let Some(section) = start.checked_add(length).and_then(|end| sections.get(start..end)) {
            place[16..].copy_from_slice(&crc32c::crc32c(section).to_le_bytes());
        }
    }
    tail[8..12].copy_from_slice(&crc32c::crc32c(footer).to_le_bytes());
    Some(())
}

/// The catalog's row says what the meta says, so that what lies behind their comparison is reached.
fn adopt(row: &mut NewSegment, meta: &[u8]) {
    let Ok(meta) = serde_json::from_slice::<Json>(meta) else { return };
    let number = |key: &str| meta.get(key).and_then(Json::as_u64);
    let time = |key: &str| meta.get(key).and_then(Json::as_i64).map(Timestamp::from_millis);
    // A catalog with a segment of more rows than fit its file is none.
    row.rows = number("rows").filter(|rows| *rows <= 1 << 20).unwrap_or(row.rows);
    row.time_range = (time("minTime").unwrap_or(row.time_range.0), time("maxTime").unwrap_or(row.time_range.1));
    if let Some(sum) = meta.get("contentSum").and_then(Json::as_str) {
        row.content_sum = u64::from_str_radix(sum, 16).unwrap_or(row.content_sum);
    }
    if let Some(version) = meta.get("schema").and_then(|schema| schema.get("version")).and_then(Json::as_u64) {
        row.schema_version = version;
    }
}

/// The good file.
pub(crate) fn good(file: File) -> Vec<u8> {
    SOURCE.files[file as usize].clone()
}
