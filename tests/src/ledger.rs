//! The ledger: pairs of rows that add up to nothing, a file that records which were acknowledged, and the question whether a table
//! holds exactly them.
//!
//! A source writes rows `(source, id, amount, pair)`, numbered from 0 without a gap. Rows 2k and 2k+1 are a pair: `+x` and `-x`. Pairs
//! stay together in one batch, and a source has one batch on its way at a time, which it repeats until it is acknowledged. The two
//! rows of a pair lie in different intervals as often as not. So whatever happens in between, for each source:
//!
//! ```text
//! ids in the table = 0 .. n, each once     acknowledged <= n <= sent      sum of amounts = 0
//! ```
//!
//! A lost row is a gap or a small n, a row stored twice is an id seen twice, half a batch is a sum that is not 0. What was acknowledged
//! is in a file that is synced before the source goes on, so that not even the end of the test's own machine could make it forget.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Server;
use crate::events::{Random, START_MS};
use crate::services::Topic;

/// How long a batch is repeated before the test gives up. Longer than any outage a test makes.
const ACK_DEADLINE: Duration = Duration::from_secs(180);
/// Rows lie in this much event time: several intervals of a day.
const SPREAD_MS: u64 = 3 * 24 * 3_600_000;
const PAIRS_MAX: u64 = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// Some pairs of one source, sent and acknowledged together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Source that made it.
    pub source: String,
    /// Id of its first row.
    pub first: u64,
    /// Its rows, ids ascending.
    pub rows: Vec<Value>,
}

impl Batch {
    /// The id after its last row.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + u64::try_from(self.rows.len()).expect("a batch is small")
    }

    /// The idempotency key it is pushed under.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}-{}", self.source, self.first)
    }

    /// One record for each row.
    #[must_use]
    pub fn records(&self) -> Vec<String> {
        self.rows.iter().map(Value::to_string).collect()
    }
}

/// Makes the pairs of one source.
#[derive(Debug)]
pub struct Pairs {
    source: String,
    random: Random,
    next: u64,
    text_bytes: usize,
}

impl Pairs {
    /// Pairs of `source` for this seed.
    #[must_use]
    pub fn new(source: &str, seed: u64) -> Self {
        Self { source: source.to_owned(), random: Random::new(seed), next: 0, text_bytes: 0 }
    }

    /// Gives each row a text of this size that does not pack: for tests that want bytes.
    #[must_use]
    pub fn with_text(mut self, bytes: usize) -> Self {
        self.text_bytes = bytes;
        self
    }

    /// The next batch, of 1 to 20 pairs.
    pub fn batch(&mut self) -> Batch {
        let pairs = 1 + self.random.below(PAIRS_MAX);
        self.batch_of(pairs)
    }

    /// The next batch, of so many pairs.
    pub fn batch_of(&mut self, pairs: u64) -> Batch {
        let first = self.next;
        let mut rows = Vec::new();
        for _ in 0..pairs {
            let amount = 1 + i64::try_from(self.random.below(1_000_000)).expect("below a million");
            for amount in [amount, -amount] {
                let time = START_MS + i64::try_from(self.random.below(SPREAD_MS)).expect("a few days");
                let mut row = json!({
                    "time": time, "source": self.source, "id": self.next, "amount": amount, "pair": self.next / 2,
                });
                if self.text_bytes > 0 {
                    let mut text = String::new();
                    while text.len() < self.text_bytes {
                        text.push_str(&format!("{:016x}", self.random.next_u64()));
                    }
                    row["text"] = Value::String(text);
                }
                rows.push(row);
                self.next += 1;
            }
        }
        Batch { source: self.source.clone(), first, rows }
    }
}

/// What was sent and what was acknowledged.
#[derive(Debug)]
pub struct Ledger {
    /// The id after the last row that may have left the source.
    sent: Mutex<BTreeMap<String, u64>>,
    acks: Mutex<File>,
    path: PathBuf,
    _folder: TempDir,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("freshet-ledger-").tempdir().expect("a temporary folder");
        let path = folder.path().join("acks");
        let acks = File::options().create_new(true).append(true).open(&path).expect("the folder is new");
        Self { sent: Mutex::default(), acks: Mutex::new(acks), path, _folder: folder }
    }

    /// Before a batch is sent for the first time.
    pub fn send(&self, batch: &Batch) {
        let mut sent = self.sent.lock().expect("nothing panics while holding what was sent");
        let before = sent.insert(batch.source.clone(), batch.end());
        assert_eq!(before.unwrap_or(0), batch.first, "a source sends its rows in order");
    }

    /// After a batch was acknowledged.
    pub fn acknowledge(&self, batch: &Batch) {
        let mut acks = self.acks.lock().expect("nothing panics while holding the file");
        writeln!(acks, "{} {}", batch.source, batch.end()).expect("the ledger can be written");
        acks.sync_data().expect("the ledger can be synced");
    }

    /// For each source, the id after the last acknowledged row; read from the file.
    #[must_use]
    pub fn acknowledged(&self) -> BTreeMap<String, u64> {
        let text = std::fs::read_to_string(&self.path).expect("the ledger can be read");
        let mut acknowledged = BTreeMap::new();
        for line in text.split_inclusive('\n') {
            // Another thread may be in the middle of a line: that one is not acknowledged yet.
            let Some((source, end)) = line.strip_suffix('\n').and_then(|line| line.split_once(' ')) else { break };
            acknowledged.insert(source.to_owned(), end.parse().expect("the ledger holds numbers"));
        }
        acknowledged
    }

    /// For each source, the id after the last row that may be in the table.
    #[must_use]
    pub fn sent(&self) -> BTreeMap<String, u64> {
        self.sent.lock().expect("nothing panics while holding what was sent").clone()
    }

    /// Rows that were acknowledged.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.acknowledged().values().sum()
    }

    /// Checks a table while sources still write: all that is acknowledged is there, nothing that was not sent, nothing twice, no half
    /// pair. Waits while the table is recovered.
    #[track_caller]
    pub fn check(&self, server: &Server, table: &str) {
        let least = self.acknowledged();
        let stored = stored(server, table);
        let most = self.sent();
        if let Err(found) = compare(&stored, &least, &most) {
            panic!("{table}: {found}");
        }
        no_id_twice(server, table);
    }

    /// Checks a table after its sources have ended: all that was sent was acknowledged, and is there.
    #[track_caller]
    pub fn check_whole(&self, server: &Server, table: &str) {
        assert_eq!(self.acknowledged(), self.sent(), "every source repeats its batch until it is acknowledged");
        self.check(server, table);
    }

    /// Waits until a table that is behind its source, as one that reads from Kafka, holds all that was acknowledged; checks it on the
    /// way and at the end.
    #[track_caller]
    pub fn wait_and_check_whole(&self, server: &Server, table: &str) {
        let sent = self.sent();
        let nothing: BTreeMap<String, u64> = BTreeMap::new();
        crate::wait::until_within(ACK_DEADLINE, &format!("all acknowledged rows in {table}"), || {
            let stored = stored(server, table);
            if let Err(found) = compare(&stored, &nothing, &sent) {
                panic!("{table}: {found}");
            }
            compare(&stored, &sent, &sent)
        });
        self.check_whole(server, table);
    }
}

/// What a table says about one source.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    rows: u64,
    first: u64,
    last: u64,
    ids: u64,
    amount: i64,
}

/// One query, and so one reading, over all sources.
#[track_caller]
fn stored(server: &Server, table: &str) -> BTreeMap<String, Stored> {
    let rows = server.rows_when_served(&format!(
        "SELECT source, COUNT(*), MIN(id), MAX(id), SUM(id), SUM(amount) FROM \"{table}\" GROUP BY source ORDER BY source"
    ));
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("not a count: {rows}"));
    rows.as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            let source = row[0].as_str().unwrap_or("(no source)").to_owned();
            let amount = row[5].as_i64().unwrap_or_else(|| panic!("not a sum: {rows}"));
            let stored = Stored {
                rows: number(&row[1]),
                first: number(&row[2]),
                last: number(&row[3]),
                ids: number(&row[4]),
                amount,
            };
            (source, stored)
        })
        .collect()
}

#[track_caller]
fn no_id_twice(server: &Server, table: &str) {
    let doubled = server.rows_when_served(&format!(
        "SELECT source, id, COUNT(*) FROM \"{table}\" GROUP BY source, id HAVING COUNT(*) > 1 ORDER BY source, id LIMIT 5"
    ));
    assert_eq!(doubled, json!([]), "{table}: ids that are there twice (source, id, times)");
}

/// Whether what is stored lies between what has to be there and what may be there, without a gap and without half a pair.
fn compare(
    stored: &BTreeMap<String, Stored>,
    least: &BTreeMap<String, u64>,
    most: &BTreeMap<String, u64>,
) -> Result<(), String> {
    for (source, of) in stored {
        let Some(&most) = most.get(source) else { return Err(format!("{source} sent nothing, and has {of:?}")) };
        let n = of.rows;
        if (of.first, of.last + 1) != (0, n) || of.ids != n * (n - 1) / 2 {
            return Err(format!("{source}: {of:?} are not the ids from 0 to {n}, each once"));
        }
        if of.amount != 0 {
            return Err(format!("{source}: the sum of {n} rows is {}, so half a batch is there", of.amount));
        }
        if n > most {
            return Err(format!("{source}: {n} rows, but only {most} were sent"));
        }
    }
    for (source, &least) in least {
        let rows = stored.get(source).map_or(0, |of| of.rows);
        if rows < least {
            return Err(format!("{source}: {rows} rows, but {least} were acknowledged"));
        }
    }
    Ok(())
}

/// What a source has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Batches that were acknowledged.
    pub batches: u64,
    /// Times that a batch was sent again.
    pub retries: u64,
}

/// Pushes batches over HTTP as a careful client does: each under a key of its own, again until it is acknowledged.
#[derive(Debug)]
pub struct Pusher<'a> {
    ledger: &'a Ledger,
    pairs: Pairs,
    url: String,
    client: Client,
    give_up: Option<&'a AtomicBool>,
}

impl<'a> Pusher<'a> {
    /// A client of the server, or of the proxy before it, at `host:port`.
    #[must_use]
    pub fn new(ledger: &'a Ledger, pairs: Pairs, address: &str, table: &str) -> Self {
        let client = Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client without special settings");
        Self { ledger, pairs, url: format!("http://{address}/api/v1/push/{table}"), client, give_up: None }
    }

    /// Pushes the next batch; gives how often it had to be sent again.
    #[track_caller]
    pub fn push(&mut self) -> u64 {
        let batch = self.pairs.batch();
        self.push_batch(&batch)
    }

    /// Pushes this batch of its source.
    #[track_caller]
    pub fn push_batch(&mut self, batch: &Batch) -> u64 {
        self.ledger.send(batch);
        let began = Instant::now();
        let mut retries = 0;
        loop {
            match self.attempt(batch) {
                Ok(()) => {
                    self.ledger.acknowledge(batch);
                    return retries;
                }
                Err(seen) => {
                    if self.give_up.is_some_and(|give_up| give_up.load(Ordering::Relaxed)) {
                        return retries;
                    }
                    assert!(began.elapsed() < ACK_DEADLINE, "{} was not acknowledged; at last: {seen}", batch.key());
                }
            }
            retries += 1;
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends it once. An error is one after which a client tries again.
    fn attempt(&self, batch: &Batch) -> Result<(), String> {
        let request = self
            .client
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", batch.key())
            .body(Value::Array(batch.rows.clone()).to_string());
        let answer = request.send().map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        let text = answer.text().map_err(|error| format!("{status}, then {error:?}"))?;
        match status {
            200 => {
                let reply: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                // The answer to a retry is the first one, so it counts the rows too.
                assert_eq!((&reply["accepted"], &reply["rejected"]), (&json!(batch.rows.len()), &json!(0)), "{text}");
                Ok(())
            }
            409 | 429 | 500..=599 => Err(format!("{status}: {text}")),
            _ => panic!("{} got an answer that no retry can change: {status}: {text}", batch.key()),
        }
    }

    fn run_until(&mut self, stop: &AtomicBool) -> Done {
        let mut done = Done::default();
        while !stop.load(Ordering::Relaxed) {
            done.retries += self.push();
            done.batches += 1;
        }
        done
    }
}

/// Runs `faults` while sources push; each ends with its last batch acknowledged. Sources are named `s0`, `s1`, and so on, and go on
/// where `pushers` left them. Gives what they did.
///
/// # Panics
/// When `faults` or a source does.
pub fn while_pushing(pushers: &mut [Pusher<'_>], faults: impl FnOnce()) -> Done {
    struct Stop<'a> {
        stop: &'a AtomicBool,
        give_up: &'a AtomicBool,
    }
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
            // A failed test does not wait for acknowledgements of a server that may be dead.
            self.give_up.store(std::thread::panicking(), Ordering::Relaxed);
        }
    }
    let (stop, give_up) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut done = Done::default();
    std::thread::scope(|scope| {
        let stop_at_end = Stop { stop: &stop, give_up: &give_up };
        let sources: Vec<_> = pushers
            .iter_mut()
            .map(|pusher| {
                let (stop, give_up) = (&stop, &give_up);
                let mut own = Pusher {
                    ledger: pusher.ledger,
                    pairs: std::mem::replace(&mut pusher.pairs, Pairs::new("", 0)),
                    url: pusher.url.clone(),
                    client: pusher.client.clone(),
                    give_up: Some(give_up),
                };
                scope.spawn(move || {
                    let done = own.run_until(stop);
                    pusher.pairs = own.pairs;
                    done
                })
            })
            .collect();
        faults();
        drop(stop_at_end);
        for source in sources {
            let of = source.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
            done.batches += of.batches;
            done.retries += of.retries;
        }
    });
    println!("{} batches acknowledged, {} retries", done.batches, done.retries);
    done
}

/// `count` sources that push into a table, with texts of so many bytes.
#[must_use]
pub fn pushers<'a>(
    ledger: &'a Ledger,
    address: &str,
    table: &str,
    count: u64,
    seed: u64,
    text_bytes: usize,
) -> Vec<Pusher<'a>> {
    (0..count)
        .map(|n| {
            let pairs = Pairs::new(&format!("s{n}"), seed.wrapping_add(n)).with_text(text_bytes);
            Pusher::new(ledger, pairs, address, table)
        })
        .collect()
}

/// Writes the next batch of a source into its stream partition; in a transaction when the topic has them. It returns once Kafka has
/// acknowledged all, which is when the ledger records them.
pub fn produce(ledger: &Ledger, topic: &Topic, partition: i32, pairs: &mut Pairs, transaction: bool) {
    let batch = pairs.batch();
    ledger.send(&batch);
    if transaction {
        topic.send_in_transaction(partition, batch.records(), true);
    } else {
        topic.send(partition, batch.records());
    }
    ledger.acknowledge(&batch);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: u64, first: u64, last: u64, ids: u64, amount: i64) -> BTreeMap<String, Stored> {
        BTreeMap::from([("s".to_owned(), Stored { rows, first, last, ids, amount })])
    }

    fn ends(end: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("s".to_owned(), end)])
    }

    #[test]
    fn pairs_add_up_to_nothing_and_are_numbered_without_a_gap() {
        let mut pairs = Pairs::new("s", 3);
        let mut next = 0;
        for _ in 0..50 {
            let batch = pairs.batch();
            assert_eq!(batch.first, next);
            assert_eq!(batch.rows.iter().map(|row| row["amount"].as_i64().unwrap()).sum::<i64>(), 0);
            for row in &batch.rows {
                assert_eq!(row["id"], json!(next));
                assert_eq!(row["pair"], json!(next / 2));
                next += 1;
            }
            assert_eq!(batch.end(), next);
        }
    }

    #[test]
    fn what_was_acknowledged_is_read_from_the_file() {
        let ledger = Ledger::new();
        let mut pairs = Pairs::new("s", 1);
        let (one, two) = (pairs.batch_of(2), pairs.batch_of(3));
        ledger.send(&one);
        ledger.acknowledge(&one);
        ledger.send(&two);
        assert_eq!((ledger.acknowledged(), ledger.sent()), (ends(4), ends(10)));
        ledger.acknowledge(&two);
        assert_eq!(ledger.acknowledged(), ends(10));
        assert_eq!(ledger.rows(), 10);
    }

    #[test]
    fn exactly_what_was_acknowledged_passes_and_so_does_what_is_on_its_way() {
        assert_eq!(compare(&of(4, 0, 3, 6, 0), &ends(4), &ends(4)), Ok(()));
        assert_eq!(compare(&of(6, 0, 5, 15, 0), &ends(4), &ends(6)), Ok(()));
        assert_eq!(compare(&BTreeMap::new(), &BTreeMap::new(), &ends(6)), Ok(()));
    }

    #[test]
    fn lost_doubled_halved_and_foreign_rows_are_found() {
        let fails =
            |stored: &BTreeMap<String, Stored>, least, most| compare(stored, &ends(least), &ends(most)).unwrap_err();
        assert!(fails(&BTreeMap::new(), 4, 4).contains("4 were acknowledged"));
        assert!(fails(&of(2, 0, 1, 1, 0), 4, 4).contains("4 were acknowledged"));
        assert!(fails(&of(6, 0, 5, 15, 0), 4, 4).contains("only 4 were sent"));
        // 0, 1, 3 with 2 lost; 0, 1, 1, 2 with 1 doubled; 0, 1, 1, 3 with 2 lost and 1 doubled.
        for stored in [of(3, 0, 3, 4, 0), of(4, 0, 2, 4, 0), of(4, 0, 3, 5, 0)] {
            assert!(fails(&stored, 0, 9).contains("each once"));
        }
        assert!(fails(&of(3, 0, 2, 3, 17), 0, 9).contains("half a batch"));
        assert!(compare(&of(2, 0, 1, 1, 0), &BTreeMap::new(), &BTreeMap::new()).unwrap_err().contains("sent nothing"));
    }
}
