//! How long a start after a crash takes: a process pushes until its journal has so many MiB and ends without warning, the
//! next one reads them back until the table is served again.
//!
//! `FRESHET_BENCH_MIB` says how many (default 256; a GiB is what the promise speaks of). Segments that became full meanwhile
//! are published and cut off the journal, so what is read back is measured by what the journal holds at the end.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_ingest::source::push::{Acknowledge, OnError, PushRequest};
use freshet_ingest::{Ingest, IngestOptions, Limits, SealOptions, Storage};
use freshet_segment::catalog::SqliteCatalog;
use freshet_segment::clock::{Clock, SystemClock};
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::disk::Disk;
use freshet_segment::timeline::Timeline;
use tokio::runtime::Runtime;

/// Set for the process that writes.
const FOLDER: &str = "FRESHET_BENCH_FOLDER";
const ROWS_PER_PUSH: u64 = 10_000;
/// What 24 GB of memory give by default.
const MEMORY_BYTES: usize = 7 << 30;

async fn open(folder: &Path, seal: SealOptions, runtime: &Runtime) -> (Arc<Ingest>, Arc<Timeline>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let catalog = SqliteCatalog::open(&folder.join("catalog.db"), Arc::clone(&clock)).await.expect("a catalog");
    let timeline = Arc::new(Timeline::new());
    let deep = DeepStorage::folder(folder.join("deep"), runtime.handle().clone()).expect("storage");
    let ingest = Ingest::new(IngestOptions {
        catalog,
        timeline: Arc::clone(&timeline),
        clock,
        runtime: runtime.handle().clone(),
        memory_bytes_max: MEMORY_BYTES,
        storage: Storage { deep, disk: Disk::Real, folder: folder.to_owned(), node_id: "bench".to_owned() },
        seal,
        limits: Limits::default(),
    });
    (ingest, timeline)
}

/// About 110 bytes a row.
fn body(push: u64) -> String {
    let mut body = String::with_capacity(1 << 20);
    for n in push * ROWS_PER_PUSH..(push + 1) * ROWS_PER_PUSH {
        let (country, page) = (n % 190, n.wrapping_mul(2_654_435_761) % 5_000);
        body.push_str(&format!(
            "{{\"ts\":{},\"id\":{n},\"country\":\"country {country}\",\"page\":\"/page/{page}\",\"latency\":{}.5,\"bytes\":{}}}\n",
            1_767_225_600_000 + n,
            n % 977,
            n % 65_537
        ));
    }
    body
}

/// Never returns: the process ends in the middle of things.
fn write(folder: &Path, bytes: u64) -> ! {
    let runtime = Runtime::new().expect("a runtime");
    let never = SealOptions {
        rows_max: u64::MAX,
        bytes_max: usize::MAX,
        age_max: Duration::from_secs(86_400),
        grace: Duration::from_secs(86_400 * 365 * 100),
    };
    runtime.block_on(async {
        let (ingest, _) = open(folder, never, &runtime).await;
        let (mut written, mut push) = (0, 0);
        while written < bytes {
            let body = body(push);
            written += body.len() as u64;
            push += 1;
            let request = PushRequest {
                table: "t".parse().expect("a name"),
                body: body.into(),
                on_error: OnError::Reject,
                time_column: None,
                received: SystemClock::new().now(),
                key: None,
                acknowledge: Acknowledge::Journal,
            };
            ingest.push(request).await.expect("stored");
        }
    });
    std::process::abort()
}

fn bytes_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| match entry.metadata().expect("a file") {
            file if file.is_dir() => bytes_of(&entry.path()),
            file => file.len(),
        })
        .sum()
}

fn main() {
    let mib: u64 = std::env::var("FRESHET_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(256);
    if let Some(folder) = std::env::var_os(FOLDER) {
        write(Path::new(&folder), mib << 20);
    }
    // `cargo test` runs benches too, to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::env::current_exe().expect("a program");
    let ended = Command::new(program).env(FOLDER, folder.path()).status().expect("started");
    assert!(!ended.success(), "it ends by a signal");
    let journal = bytes_of(&folder.path().join("journal"));
    let runtime = Runtime::new().expect("a runtime");
    let begun = Instant::now();
    runtime.block_on(async {
        let (ingest, timeline) = open(folder.path(), SealOptions::default(), &runtime).await;
        let recovered = ingest.recover().await.expect("recovered");
        println!("catalog and journal opened after {:?}: {recovered:?}", begun.elapsed());
        while timeline.reading().table("t").is_none_or(|table| table.unready.is_some()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = begun.elapsed();
        let rows = timeline.reading().table("t").map_or(0, |table| table.rows());
        let per_gib = took.as_secs_f64() * f64::from(1 << 30) / journal as f64;
        let mib = journal >> 20;
        println!(
            "a table of {rows} rows, {mib} MiB of them in the journal, is served after {took:?}: {per_gib:.1} s a GiB"
        );
    });
    // What it publishes meanwhile is not measured.
    std::process::exit(0);
}
