//! Many short lives of one node, with faults as a seed decides: power losses, failed syncs, a catalog that is away or loses
//! its answers, storage that cannot be written. Production code throughout; the model is a set of numbers.
//!
//! `FRESHET_CASES` sets how many seeds are run, `FRESHET_SEED` the first of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use freshet_segment::catalog::{Catalog as _, Counts};
use freshet_segment::disk::{Disk, SimulatedDisk};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{end, next_life, ready, rows};
use crate::ingest::tests::{column, options, request};
use crate::ingest::{Ingest, IngestOptions};
use crate::sealing::SealOptions;
use crate::source::push::{OnError, PushRequest};
use crate::supervisor::tests::{FakeStream, FlakyCatalog, assert_each_once, eventually, fake, fake_spec};

fn from_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What clients know of their pushes.
#[derive(Default)]
struct Clients {
    next: u64,
    /// Keys, and the numbers pushed with each.
    pushes: BTreeMap<String, Vec<u64>>,
    waiting: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

/// Rows of a push that are none.
fn bad_rows(numbers: &[u64]) -> u64 {
    numbers[0] % 3
}

impl Clients {
    fn begin(&mut self, rows: u64) -> String {
        let key = format!("push {}", self.next);
        self.pushes.insert(key.clone(), (self.next..self.next + rows).collect());
        self.next += rows;
        self.waiting.insert(key.clone());
        key
    }

    async fn send(&mut self, ingest: &Ingest, key: &str) -> bool {
        let numbers = &self.pushes[key];
        let bad = bad_rows(numbers);
        let mut body: String = numbers.iter().map(|n| format!("{{\"ts\":{},\"n\":{n}}}\n", n * 40_000_000)).collect();
        (0..bad).for_each(|_| body.push_str("no row\n"));
        let request = PushRequest { key: Some(key.to_owned()), on_error: OnError::Skip, ..request("p", body) };
        let sent = ingest.push(request).await;
        let taken = sent.is_ok_and(|reply| (reply.accepted, reply.rejected_count) == (numbers.len() as u64, bad));
        if taken {
            self.waiting.remove(key);
            self.acknowledged.insert(key.to_owned());
        }
        taken
    }

    /// Each acknowledged number once, no number twice, none that was never sent.
    async fn check(&self, ingest: &Ingest, seed: u64) {
        let Some(view) = ingest.timeline().reading().table("p") else {
            assert!(self.acknowledged.is_empty(), "seed {seed}: acknowledged rows without a table");
            return;
        };
        let found: Vec<u64> = if view.schema.column("n").is_some() {
            column(ingest, "p", "n").iter().map(|n| n.parse().expect("a number")).collect()
        } else {
            Vec::new()
        };
        let distinct: BTreeSet<u64> = found.iter().copied().collect();
        assert_eq!(found.len(), distinct.len(), "seed {seed}: a pushed row is there twice");
        for key in &self.acknowledged {
            for n in &self.pushes[key] {
                assert!(distinct.contains(n), "seed {seed}: row {n} of `{key}` was acknowledged and is gone");
            }
        }
        assert!(distinct.iter().all(|n| *n < self.next), "seed {seed}: a row that nobody sent");
        let stored = self.pushes.values().filter(|numbers| distinct.contains(&numbers[0]));
        let rejected = stored.map(|numbers| bad_rows(numbers)).sum();
        check_counts(ingest, "p", seed, (found.len() as u64, rejected)).await;
    }
}

/// Rows that were stored and rejected, exactly; and each rejected one among the letters, once.
async fn check_counts(ingest: &Ingest, table: &str, seed: u64, (stored, rejected): (u64, u64)) {
    let expected = Counts { read: stored + rejected, stored, rejected, ..Counts::default() };
    let seen = Counts { bytes: 0, ..ingest.table_counts(table) };
    assert_eq!(seen, expected, "seed {seed}: {table}");
    let letters = ingest.dead_letters(table, usize::MAX).await.expect("read");
    let places: BTreeSet<_> =
        letters.letters.iter().map(|l| (Arc::clone(&l.stream), l.partition, l.offset, l.row)).collect();
    let seen = (letters.total, letters.kept, letters.letters.len() as u64, places.len() as u64);
    assert_eq!(seen, (rejected, rejected, rejected, rejected), "seed {seed}: letters of {table}");
}

struct World {
    seed: u64,
    rng: StdRng,
    disk: SimulatedDisk,
    catalog: Arc<FlakyCatalog>,
    stream: Arc<FakeStream>,
    sent: usize,
    /// Places of records that are no rows.
    bad: BTreeSet<(i32, i64)>,
    clients: Clients,
    options: IngestOptions,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::new();
        let catalog = Arc::new(FlakyCatalog::default());
        let mut options = options(256 << 20);
        options.storage.disk = Disk::Simulated(disk.clone());
        options.catalog = Arc::clone(&catalog) as _;
        options.seal = SealOptions { rows_max: 60, ..SealOptions::default() };
        let stream = FakeStream::with(2);
        let rng = StdRng::seed_from_u64(seed);
        Self { seed, rng, disk, catalog, stream, sent: 0, bad: BTreeSet::new(), clients: Clients::default(), options }
    }

    fn staging(&self) -> &Path {
        &self.options.storage.folder
    }

    fn block_storage(&self, blocked: bool) {
        let deep = self.staging().join("deep");
        let aside = self.staging().join("deep aside");
        let (from, to) = if blocked { (&deep, &aside) } else { (&aside, &deep) };
        if from.exists() && !to.exists() {
            std::fs::rename(from, to).expect("renamed");
        }
    }

    fn heal(&self) {
        self.catalog.away.store(false, Ordering::SeqCst);
        self.block_storage(false);
    }

    async fn step(&mut self, ingest: &Arc<Ingest>) {
        match self.rng.random_range(0..12) {
            0..=2 => {
                let more = self.rng.random_range(1..40);
                self.stream.numbers(2, self.sent..self.sent + more);
                self.sent += more;
                for _ in 0..self.rng.random_range(0..3) {
                    self.bad.insert(self.stream.send_bad(self.rng.random_range(0..2)));
                }
            }
            3..=6 => {
                let rows = self.rng.random_range(1..20);
                let key = self.clients.begin(rows);
                let _ = self.clients.send(ingest, &key).await;
            }
            7 => {
                // A retry, of a push that is known to be stored or not.
                let keys: Vec<String> = self.clients.pushes.keys().cloned().collect();
                if let Some(key) = (!keys.is_empty()).then(|| keys[self.rng.random_range(0..keys.len())].clone()) {
                    let _ = self.clients.send(ingest, &key).await;
                }
            }
            8 => {
                let table = if self.rng.random() { "p" } else { "t" };
                let _ = ingest.publish(table, Duration::from_millis(200)).await;
            }
            9 => self.disk.fail_sync_after(self.rng.random_range(0..3)),
            10 => self.catalog.answers_lost.store(self.rng.random_range(1..3), Ordering::SeqCst),
            _ => {
                if self.rng.random() {
                    self.block_storage(true);
                } else {
                    self.heal();
                }
            }
        }
    }

    async fn check_stream(&self, ingest: &Ingest) {
        let (sent, bad) = (self.sent as u64, self.bad.len() as u64);
        let all = format!("seed {}: {sent} rows and {bad} others", self.seed);
        eventually(&all, || ingest.table_counts("t").read >= sent + bad).await;
        check_counts(ingest, "t", self.seed, (sent, bad)).await;
        let letters = ingest.dead_letters("t", usize::MAX).await.expect("read");
        let places: BTreeSet<_> = letters.letters.iter().map(|l| (l.partition, l.offset)).collect();
        assert_eq!(places, self.bad, "seed {}", self.seed);
    }

    async fn live(&mut self) {
        let ingest = fake(&self.stream, next_life(&self.options));
        ingest.recover().await.expect("recovered");
        ingest.restore(fake_spec("t")).await.expect("restored");
        for _ in 0..self.rng.random_range(4..16) {
            self.step(&ingest).await;
        }
        self.heal();
        for key in self.clients.waiting.clone() {
            // Clients send again until they have an answer; some wait for the next life.
            let mut tries = 0;
            while self.rng.random_range(0..10) > 0 && !self.clients.send(&ingest, &key).await {
                tries += 1;
                assert!(tries < 2_000, "seed {}: `{key}` is never taken", self.seed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let sent = self.sent;
        ready(&ingest, "t").await;
        let all = format!("seed {}: {sent} records", self.seed);
        eventually(&all, || rows(&ingest, "t") >= sent as u64).await;
        if sent > 0 {
            assert_each_once(&ingest, "t", sent);
        }
        self.check_stream(&ingest).await;
        if ingest.timeline().reading().table("p").is_some() {
            ready(&ingest, "p").await;
        }
        self.clients.check(&ingest, self.seed).await;
        if self.rng.random_range(0..3) == 0 {
            ingest.shutdown(Duration::from_secs(20)).await;
        } else {
            // Power goes in the middle of what follows.
            self.disk.fail_after(self.rng.random_range(0..12));
            for _ in 0..self.rng.random_range(0..4) {
                let rows = self.rng.random_range(1..20);
                let key = self.clients.begin(rows);
                let _ = self.clients.send(&ingest, &key).await;
            }
            end(ingest).await;
            self.disk.lose_power(self.rng.random());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_with_faults_lose_nothing_and_double_nothing() {
    let first = from_env("FRESHET_SEED", 1);
    for seed in first..first + from_env("FRESHET_CASES", 6) {
        let mut world = World::new(seed);
        for _ in 0..4 {
            world.live().await;
        }
        // The last look is at a node without faults.
        let ingest = fake(&world.stream, next_life(&world.options));
        ingest.recover().await.expect("recovered");
        ingest.restore(fake_spec("t")).await.expect("restored");
        for key in world.clients.waiting.clone() {
            assert!(world.clients.send(&ingest, &key).await, "seed {seed}: `{key}` is not taken");
        }
        let sent = world.sent as u64;
        eventually("all records", || rows(&ingest, "t") >= sent).await;
        if ingest.timeline().reading().table("p").is_some() {
            ready(&ingest, "p").await;
        }
        world.check_stream(&ingest).await;
        world.clients.check(&ingest, seed).await;
        let sealed = super::sealed_rows(&ingest, "t");
        assert!(sent < 200 || sealed > 0, "seed {seed}: nothing of {sent} records was ever sealed");
        assert_eq!(rows(&ingest, "p"), world.clients.next, "seed {seed}: every row that was sent, once");
        // Once all is published the catalog alone says the same.
        for table in ["p", "t"].into_iter().filter(|table| ingest.table_counts(table).read > 0) {
            ingest.publish(table, Duration::from_secs(60)).await.expect("published");
            let id = world.catalog.table(table).await.expect("read").expect("there").id;
            let mut official = Counts::default();
            world.catalog.accounts(id).await.expect("read").into_iter().for_each(|row| official += row.counts);
            assert_eq!(official, ingest.table_counts(table), "seed {seed}: {table}");
        }
        world.check_stream(&ingest).await;
        world.clients.check(&ingest, seed).await;
        end(ingest).await;
    }
}
