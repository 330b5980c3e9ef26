use std::sync::Arc;

use freshet_segment::catalog::{Catalog, CommitCause, MemoryCatalog, PublishId, Replacement};
use freshet_segment::clock::SystemClock;
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::disk::Disk;
use freshet_segment::schema::ColumnType;
use freshet_segment::timeline::Timeline;

use super::*;
use crate::decode::testing::{declared, discovered};
use crate::decode::text::DelimitedFormat;
use crate::{IngestOptions, Limits, SealOptions, Storage};

struct Bench {
    ingest: Arc<Ingest>,
    catalog: Arc<MemoryCatalog>,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(memory_bytes_max: usize) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let deep = DeepStorage::folder(folder.path().join("deep"), runtime.handle().clone()).expect("storage");
        let catalog = Arc::new(MemoryCatalog::new());
        let ingest = Ingest::new(IngestOptions {
            catalog: Arc::clone(&catalog) as _,
            timeline: Arc::new(Timeline::new()),
            clock: Arc::new(SystemClock::new()),
            runtime: runtime.handle().clone(),
            memory_bytes_max,
            storage: Storage { deep, disk: Disk::Real, folder: folder.path().to_owned(), node_id: "one".to_owned() },
            seal: SealOptions::default(),
            limits: Limits::default(),
        });
        Self { ingest, catalog, runtime, folder }
    }

    fn file(&self, name: &str, text: &str) -> BatchInput {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        BatchInput::File(path)
    }
}

fn spec(inputs: Vec<BatchInput>, decoder: DecoderSpec) -> BatchSpec {
    BatchSpec {
        table: "t".parse().expect("a name"),
        inputs,
        decoder,
        time: TimeSpec::auto("ts"),
        dimensions: discovered(),
        granularity: GranularitySpec::default(),
        intervals: Vec::new(),
        tuning: TuningSpec::default(),
    }
}

fn csv() -> DecoderSpec {
    DecoderSpec::Delimited(DelimitedFormat::csv(None))
}

const DAY: i64 = 86_400_000;

#[test]
fn all_rows_of_all_inputs_are_stored_and_none_is_visible() {
    let bench = Bench::new(64 << 20);
    let a = bench.file("a.csv", &format!("ts,n\n0,1\n{DAY},2\nx,3\n"));
    let b = bench.file("b.csv", &format!("n,ts\n4,5\n5,{DAY}"));
    let inline = BatchInput::Inline(Bytes::from("ts,n\n7,6"));
    let progress = BatchProgress::default();
    let loaded = bench.ingest.load(&spec(vec![a, b, inline], csv()), &progress).expect("loaded");
    let counts = progress.counts();
    assert_eq!((counts.read, counts.stored, counts.rejected), (6, 5, 1));
    assert!(counts.is_balanced());
    assert_eq!(loaded.segments.iter().map(|s| s.rows).sum::<u64>(), 5);
    assert_eq!((loaded.segments.len(), loaded.intervals.len()), (2, 2));
    let letters = progress.letters();
    assert_eq!((letters.len(), letters[0].at.as_deref()), (1, Some("field `ts`")));
    let reading = bench.runtime.block_on(bench.catalog.reading(loaded.table)).expect("read");
    assert_eq!(reading.segments.len(), 0);
    let replacement = Replacement {
        id: PublishId(1),
        table: loaded.table,
        lease: None,
        close: Vec::new(),
        open: loaded.segments,
        cause: CommitCause::Replace,
    };
    bench.runtime.block_on(bench.catalog.replace(replacement)).expect("appended");
    assert_eq!(bench.ingest.node.budget.usage().used, 0, "nothing stays in memory");
}

#[test]
fn memory_is_bounded_whatever_the_size_of_the_input() {
    let bench = Bench::new(8 << 20);
    let mut text = String::from("ts,name,n\n");
    for n in 0..200_000 {
        text.push_str(&format!("{},name {n} that is nowhere else,{n}\n", n % (3 * DAY)));
    }
    let file = bench.file("big.csv", &text);
    let progress = BatchProgress::default();
    let loaded = bench.ingest.load(&spec(vec![file], csv()), &progress).expect("loaded");
    assert!(loaded.segments.len() > 1, "it was sealed in between");
    assert_eq!(loaded.segments.iter().map(|s| s.rows).sum::<u64>(), 200_000);
    assert_eq!(progress.counts().stored, 200_000, "the header of the file counts for each of its pieces");
    assert_eq!(bench.ingest.node.budget.usage().used, 0);
}

#[test]
fn rows_outside_the_intervals_are_left_out_and_counted() {
    let bench = Bench::new(64 << 20);
    let text = format!("{{\"ts\":0,\"n\":1}}\n{{\"ts\":{DAY},\"n\":2}}\n{{\"ts\":{},\"n\":3}}\n", DAY + 5);
    let mut spec = spec(vec![BatchInput::Inline(Bytes::from(text))], DecoderSpec::Json);
    spec.intervals = vec!["1970-01-02/1970-01-02T00:00:00.005".parse().expect("an interval")];
    spec.dimensions = declared(&[("n", ColumnType::Long)]);
    let progress = BatchProgress::default();
    let loaded = bench.ingest.load(&spec, &progress).expect("loaded");
    let counts = progress.counts();
    assert_eq!((counts.read, counts.stored, counts.late), (3, 1, 2));
    assert_eq!(loaded.segments.iter().map(|s| s.rows).sum::<u64>(), 1);
}

#[test]
fn a_load_ends_at_too_many_bad_rows_at_a_missing_file_and_when_it_is_told_to() {
    let bench = Bench::new(64 << 20);
    let rows = || BatchInput::Inline(Bytes::from("{\"ts\":0}\nbad\n{\"no\":1}\n{\"ts\":1}"));
    let mut bears_one = spec(vec![rows()], DecoderSpec::Json);
    bears_one.tuning.max_parse_exceptions = Some(1);
    let error = bench.ingest.load(&bears_one, &BatchProgress::default()).expect_err("two are bad");
    assert!(error.to_string().contains("maxParseExceptions"), "{error}");
    bears_one.tuning.max_parse_exceptions = Some(2);
    bench.ingest.load(&bears_one, &BatchProgress::default()).expect("two are borne");
    let gone = spec(vec![BatchInput::File(bench.folder.path().join("gone"))], DecoderSpec::Json);
    let error = bench.ingest.load(&gone, &BatchProgress::default()).expect_err("there is no file");
    assert!(error.to_string().contains("cannot be opened"), "{error}");
    let progress = BatchProgress::default();
    progress.stop();
    let error = bench.ingest.load(&spec(vec![rows()], DecoderSpec::Json), &progress).expect_err("stopped");
    assert!(error.to_string().contains("shut down"), "{error}");
    assert_eq!(bench.ingest.node.budget.usage().used, 0);
}
