//! Filters over a growing segment: by postings where a value is rare, by a scan of codes where it is not.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freshet_benches::data::{grown, schema};
use freshet_segment::predicate::{CompareOp, Predicate, StringPattern, Value};

fn equals(column: &str, value: &str) -> Predicate {
    Predicate::Compare { column: Arc::from(column), op: CompareOp::Eq, value: Value::String(Arc::from(value)) }
}

fn scan(c: &mut Criterion) {
    let mut segment = grown(1, 128);
    let snapshot = segment.snapshot();
    let schema = schema();
    let like = |pattern| StringPattern::like(pattern, None, false).expect("a pattern");
    let mut group = c.benchmark_group("filter");
    group.measurement_time(Duration::from_secs(5)).sample_size(20);
    group.throughput(Throughput::Elements(snapshot.rows() as u64));
    for (name, predicate) in [
        ("common value (scan of codes)", equals("event", "event-0")),
        ("rare value (postings)", equals("page", "page-4000")),
        ("value that is not there", equals("page", "nowhere")),
        (
            "range of a metric",
            Predicate::Compare { column: Arc::from("bytes"), op: CompareOp::Lt, value: Value::Long(1_000) },
        ),
        (
            "LIKE over 5,000 values",
            Predicate::Matches { column: Arc::from("page"), pattern: like("%-1%"), negated: false },
        ),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let filter = snapshot.filter(&predicate, &schema).expect("kinds fit");
                let rows: usize = snapshot.chunks().iter().map(|c| filter.select(c).expect("selects").len()).sum();
                black_box(rows)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
