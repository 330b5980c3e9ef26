//! Growing rows to files and back: sealing with its read-back, what the files take, opening, a filter that the index answers;
//! and the journal's group commit on this machine's disk.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freshet_benches::data::{grown, schema};
use freshet_segment::clock::SystemClock;
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::disk::Disk;
use freshet_segment::journal::{Journal, JournalOptions, NewRecord};
use freshet_segment::predicate::{CompareOp, Predicate, Value};
use freshet_segment::sealed::{AttemptId, Layout, SealedSegment, Sealing};
use freshet_segment::timeline::VisibleSegment;

/// 32 batches of 8,192.
const ROWS: u64 = 262_144;

fn seal(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let storage = DeepStorage::folder(folder.path().join("deep"), runtime.handle().clone()).expect("a folder");
    let snapshot = grown(1, 32).snapshot();
    let id = snapshot.id().clone();
    let sources = [VisibleSegment::Growing(snapshot)];
    let mut attempts = 0;
    let mut write = || {
        attempts += 1;
        let (schema, attempt, layout) = (schema(), AttemptId(attempts), Layout::default());
        Sealing { id: id.clone(), sources: &sources, schema, cluster_by: Vec::new(), attempt, layout }
            .write(folder.path())
            .expect("sealed")
    };
    let mut group = c.benchmark_group("seal");
    group.sample_size(10).measurement_time(Duration::from_secs(20)).throughput(Throughput::Elements(ROWS));
    group.bench_function("write, sync, read back", |b| b.iter(&mut write));
    group.finish();

    let stored = runtime.block_on(storage.put(&write())).expect("stored");
    let row = stored.new_segment().clone();
    let bytes = |n: u64| n as f64 / ROWS as f64;
    println!("bytes a row: Parquet {:.1}, index {:.1}", bytes(row.files.parquet.bytes), bytes(row.files.index.bytes));
    let cache = folder.path().join("cache");
    c.bench_function("open a sealed segment", |b| {
        b.iter(|| SealedSegment::lazy(row.clone(), Arc::clone(&storage), &cache).units(None).expect("it opens").len());
    });
    let sealed = SealedSegment::lazy(row, Arc::clone(&storage), &cache);
    let rare = Predicate::Compare {
        column: Arc::from("page"),
        op: CompareOp::Eq,
        value: Value::String(Arc::from("page-4321")),
    };
    let units = sealed.units(None).expect("it opens");
    let visible = VisibleSegment::Sealed(sealed);
    let schema = schema();
    c.bench_function("filter by a rare value", |b| {
        b.iter(|| {
            let filter = visible.filter(&rare, &schema).expect("a filter");
            let units = units.iter().map(|unit| freshet_segment::timeline::Unit::Sealed(unit.clone()));
            let found: usize = units.map(|unit| filter.select_unit(&unit).expect("selected").len()).sum();
            black_box(found)
        });
    });
}

/// Records of 1 kB, each waited for by its writer.
fn journal(_: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    for writers in [1u32, 16, 64] {
        let place = folder.path().join(writers.to_string());
        let (journal, _) =
            Journal::open(Disk::Real, &place, "bench", JournalOptions::default(), Arc::new(SystemClock::new()))
                .expect("a journal");
        let started = Instant::now();
        let each = 2_000 / writers.min(4);
        std::thread::scope(|scope| {
            for _ in 0..writers {
                scope.spawn(|| {
                    for _ in 0..each {
                        let record = NewRecord { payload: vec![7; 1024].into(), key: None, answer: String::new() };
                        journal.append(record).and_then(freshet_segment::journal::Ticket::wait).expect("durable");
                    }
                });
            }
        });
        let seconds = started.elapsed().as_secs_f64();
        println!("journal, {writers} writers: {:.0} durable records/s", f64::from(writers * each) / seconds);
    }
}

criterion_group!(benches, seal, journal);
criterion_main!(benches);
