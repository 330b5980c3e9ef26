//! Rows into a growing segment: dictionaries, codes, numbers, postings of closed chunks; and what a snapshot costs.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use freshet_benches::data::{BATCH_ROWS, batch, grown, segment};

fn append(c: &mut Criterion) {
    let batches: Vec<_> = (0..32).map(|i| batch(1, i)).collect();
    let rows: Vec<u32> = (0..u32::try_from(BATCH_ROWS).unwrap_or(0)).collect();
    let mut group = c.benchmark_group("append");
    group.measurement_time(Duration::from_secs(10)).sample_size(10);
    group.throughput(Throughput::Elements((batches.len() * BATCH_ROWS) as u64));
    group.bench_function("262144 rows, 9 dimensions, 6 metrics", |b| {
        b.iter_batched(
            segment,
            |mut segment| {
                for batch in &batches {
                    segment.append(batch, &rows).expect("fits");
                }
                segment
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();

    let mut segment = grown(1, 32);
    println!("bytes a row in memory: {:.1}", segment.bytes() as f64 / segment.rows() as f64);
    c.bench_function("snapshot of 262144 rows", |b| b.iter(|| black_box(segment.snapshot())));
}

criterion_group!(benches, append);
criterion_main!(benches);
