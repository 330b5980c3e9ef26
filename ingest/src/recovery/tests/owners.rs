//! Two nodes with one task group, one catalog and one deep storage: whoever does not have the lease publishes nothing.

use std::sync::Arc;
use std::time::Duration;

use freshet_segment::catalog::{Catalog as _, SqliteCatalog};
use freshet_segment::clock::SystemClock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{end, next_life};
use crate::ingest::tests::{folder, options, rows};
use crate::ingest::{Ingest, IngestOptions};
use crate::sealing::SealOptions;
use crate::supervisor::tests::{FakeStream, assert_each_once, eventually, fake, fake_spec};

const NODES: [&str; 2] = ["a", "b"];

fn node(options: &IngestOptions, name: &str) -> IngestOptions {
    let mut options = next_life(options);
    options.storage.folder = folder();
    options.storage.node_id = name.to_owned();
    options
}

/// The lease goes to and fro while both read the stream and believe that it is theirs, as after a process stood still. Every
/// record ends up published once.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_the_one_with_the_stale_epoch_is_refused() {
    for seed in 1..=4 {
        let mut rng = StdRng::seed_from_u64(seed);
        let catalog =
            SqliteCatalog::open(&folder().join("catalog.db"), Arc::new(SystemClock::new())).await.expect("a catalog");
        let seal = SealOptions { rows_max: 30, ..SealOptions::default() };
        let shared = IngestOptions { catalog: Arc::clone(&catalog) as _, seal, ..options(256 << 20) };
        let stream = FakeStream::with(2);
        let mut sent = 0;
        let owners: Vec<Arc<Ingest>> = NODES.iter().map(|name| fake(&stream, node(&shared, name))).collect();
        for round in 0..6 {
            let owner = rng.random_range(0..2);
            let group = "supervisor/t";
            catalog.seize_lease(group, NODES[owner], Duration::from_secs(60)).await.expect("seized");
            if round < 2 {
                // The second one starts when the first has published already.
                owners[owner].submit(fake_spec("t")).await.expect("accepted");
            }
            let more = rng.random_range(20..120);
            stream.numbers(2, sent..sent + more);
            sent += more;
            tokio::time::sleep(Duration::from_millis(rng.random_range(20..150))).await;
        }
        let last = rng.random_range(0..2);
        catalog.seize_lease("supervisor/t", NODES[last], Duration::from_secs(60)).await.expect("seized");
        end(Arc::clone(&owners[1 - last])).await;
        let owner = &owners[last];
        owner.submit(fake_spec("t")).await.expect("accepted");
        let checkpointed = || async {
            let _later = owner.publish("t", Duration::from_millis(500)).await;
            let table = catalog.table("t").await.expect("catalog").expect("the table").id;
            let checkpoints = catalog.checkpoints(table, "kafka:t:topic").await.expect("catalog");
            checkpoints.iter().map(|c| c.next).sum::<i64>()
        };
        let begun = std::time::Instant::now();
        while checkpointed().await < sent as i64 {
            assert!(begun.elapsed() < Duration::from_secs(90), "seed {seed}: the owner of the lease does not get on");
        }
        end(Arc::clone(owner)).await;

        let reader = fake(&stream, node(&shared, NODES[last]));
        reader.recover().await.expect("recovered");
        eventually("the published rows", || rows(&reader, "t") == sent as u64).await;
        assert_each_once(&reader, "t", sent);
        let counts = reader.table_counts("t");
        assert_eq!((counts.read, counts.stored), (sent as u64, sent as u64), "seed {seed}");
        assert_eq!(catalog.check().await.expect("checked"), Vec::<String>::new(), "seed {seed}");
        end(reader).await;
    }
}
