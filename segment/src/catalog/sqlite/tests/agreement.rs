//! Random requests against SQLite and memory: each answer must be the same, refusals included, and so must be what is left.
//!
//! The rules are shared; what can differ is how a store orders, counts, keeps and rolls back. Requests are drawn so that
//! most are accepted: they continue from what the catalog in memory shows.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::catalog::MemoryCatalog;
use crate::catalog::accounting::*;
use crate::catalog::rows::*;
use crate::catalog::suite::{DAY, LONG, day, name, range, schema};
use crate::clock::Clock;
use crate::id::{SegmentId, TableId, Version};
use crate::schema::{ColumnRole, ColumnType, Observed, TableSchema};
use crate::time::Interval;

#[derive(Debug, Clone)]
enum Op {
    Create,
    Drop,
    Widen(u8),
    Seize,
    Release,
    Start(i32, i64),
    Reset(Option<(i32, i64)>),
    Publish { partition: i32, shift: i64, length: i64, days: Vec<i64>, key: Option<u8>, again: bool },
    Compact(usize, bool),
    Replace(usize, i64),
    DropInterval(i64, i64),
    Undo(usize),
    Prune(i64, usize),
    Gap(i32, i64),
    Delete,
    Later(u64),
    LogStored(u64),
    Forget(u64, usize),
    Look(u64),
}

fn op() -> impl Strategy<Value = (bool, Op)> {
    let shift = prop_oneof![9 => Just(0_i64), 1 => -3..3_i64];
    let days = prop::collection::vec(0..4_i64, 0..3);
    let publish = (0..2_i32, shift, 0..9_i64, days, prop::option::of(0..6_u8), prop::bool::weighted(0.1));
    let op = prop_oneof![
        2 => Just(Op::Create),
        1 => Just(Op::Drop),
        1 => (0..4_u8).prop_map(Op::Widen),
        1 => Just(Op::Seize),
        1 => Just(Op::Release),
        3 => (0..2_i32, 0..5_i64).prop_map(|(partition, at)| Op::Start(partition, at)),
        1 => prop::option::of((0..2_i32, 0..5_i64)).prop_map(Op::Reset),
        12 => publish.prop_map(|(partition, shift, length, days, key, again)| {
            Op::Publish { partition, shift, length, days, key, again }
        }),
        3 => (2..4_usize, prop::bool::weighted(0.8)).prop_map(|(count, right)| Op::Compact(count, right)),
        2 => (0..3_usize, 0..4_i64).prop_map(|(which, day)| Op::Replace(which, day)),
        1 => (0..4_i64, 1..3_i64).prop_map(|(day, days)| Op::DropInterval(day, days)),
        2 => (0..4_usize).prop_map(Op::Undo),
        1 => (0..2_000_i64, 0..4_usize).prop_map(|(before, keep)| Op::Prune(before, keep)),
        1 => (0..2_i32, 0..5_i64).prop_map(|(partition, from)| Op::Gap(partition, from)),
        2 => Just(Op::Delete),
        2 => (1..400_u64).prop_map(Op::Later),
        1 => (0..100_000_000_u64, 1..9_usize).prop_map(|(later, limit)| Op::Forget(later, limit)),
        1 => (0..20_u64).prop_map(Op::LogStored),
        2 => (0..20_u64).prop_map(Op::Look),
    ];
    (any::<bool>(), op)
}

/// An answer as text; of an error its kind and text.
fn said<T: Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{}: {error}", error.kind()),
    }
}

struct Pair {
    memory: MemoryCatalog,
    sqlite: Arc<SqliteCatalog>,
    clock: Arc<ManualClock>,
    /// Of two names: the table's number and its lease.
    tables: [(TableId, LeaseRef); 2],
    requests: u128,
    last: Option<Publication>,
}

/// Asks both the same and compares. Gives what memory says.
macro_rules! both {
    ($pair:expr, $call:ident($($argument:expr),*)) => {{
        let memory = $pair.memory.$call($($argument),*).await;
        let text = said($pair.sqlite.$call($($argument),*).await);
        match memory {
            Ok(value) => {
                assert_eq!(text, format!("{value:?}"), stringify!($call));
                Some(value)
            }
            Err(error) => {
                assert_eq!(text, format!("{}: {error}", error.kind()), stringify!($call));
                None
            }
        }
    }};
}

/// Asks both the same, for the comparison alone.
macro_rules! same {
    ($($asked:tt)*) => {{
        both!($($asked)*);
    }};
}

impl Pair {
    fn request(&mut self) -> PublishId {
        self.requests += 1;
        PublishId(self.requests)
    }

    async fn segment(&mut self, table: usize, day_number: i64, rows: u64, sum: u64) -> NewSegment {
        let number = both!(self, lease_numbers(self.tables[table].0, 1)).map_or(1, |numbers| numbers.start);
        suite::segment(&name(["x", "y"][table]), day_number, number, rows, sum)
    }

    async fn open(&self, table: usize) -> Vec<SegmentRow> {
        both!(self, reading(self.tables[table].0)).map_or_else(Vec::new, |reading| reading.segments)
    }

    async fn step(&mut self, table: usize, op: Op) {
        let (id, lease) = self.tables[table].clone();
        match op {
            Op::Create => {
                let name = name(["x", "y"][table]);
                let made =
                    (self.memory.create_table(&name, schema()).await, self.sqlite.create_table(&name, schema()).await);
                if let (Ok(a), Ok(b)) = &made {
                    assert_eq!(a.id, b.id);
                    self.tables[table].0 = a.id;
                }
                assert_eq!(made.0.map(drop).map_err(|e| e.kind()).err(), made.1.map(drop).map_err(|e| e.kind()).err());
            }
            Op::Drop => same!(self, drop_table(id)),
            Op::Widen(column) => {
                let seen = Observed {
                    name: format!("c{column}").into(),
                    column_type: if column % 2 == 0 { ColumnType::Long } else { ColumnType::String },
                    role: ColumnRole::Dimension,
                    multi_value: false,
                };
                // Compared by hand: the text of a schema lists its names in no order.
                let columns = |answer: Result<Arc<TableSchema>>| said(answer.map(|schema| schema.columns().to_vec()));
                let seen = std::slice::from_ref(&seen);
                let memory = columns(self.memory.widen_schema(id, seen).await);
                assert_eq!(memory, columns(self.sqlite.widen_schema(id, seen).await));
            }
            Op::Seize => {
                let group = format!("g{table}");
                if let Some(lease) = both!(self, seize_lease(&group, "one", LONG)) {
                    self.tables[table].1 = lease.reference();
                }
            }
            Op::Release => same!(self, release_lease(&lease)),
            Op::Start(partition, at) => {
                same!(self, start_checkpoints(id, &lease, &[range(partition, at, at)]));
            }
            Op::Reset(to) => {
                let to: Option<Vec<(i32, i64)>> = to.map(|to| vec![to]);
                same!(self, reset_offsets(id, "push", &lease, to.as_deref()));
            }
            Op::Publish { partition, shift, length, days, key, again } => {
                if let Some(last) = self.last.clone().filter(|_| again) {
                    same!(self, publish(last.clone()));
                    return;
                }
                let all = both!(self, checkpoints(id, "push")).unwrap_or_default();
                let next = all.iter().find(|c| c.partition == partition).map_or(0, |c| c.next);
                let from = next + shift;
                let mut segments = Vec::new();
                for day_number in days {
                    segments
                        .push(self.segment(table, day_number, 5, u64::try_from(self.requests).expect("few") + 3).await);
                }
                let dedup = key.into_iter().map(|key| DedupKey {
                    key: format!("k{key}").into(),
                    body_sha256: [key; 32],
                    answer: "{}".to_owned(),
                    at: self.clock.now(),
                });
                let dedup = dedup.collect();
                let ranges = vec![range(partition, from, from + length)];
                let accounting = self.accounting(partition, length);
                let id_of = self.request();
                let publication = Publication { id: id_of, table: id, lease, ranges, segments, dedup, accounting };
                same!(self, publish(publication.clone()));
                self.last = Some(publication);
            }
            Op::Compact(count, right) => {
                let open = self.open(table).await;
                let close: Vec<&SegmentRow> = open.iter().take(count).collect();
                let rows = close.iter().map(|row| row.segment.rows).sum::<u64>();
                let sum = close.iter().fold(0_u64, |sum, row| sum.wrapping_add(row.segment.content_sum));
                let close = close.iter().map(|row| row.segment.id.clone()).collect();
                let segment = self.segment(table, 0, rows, if right { sum } else { sum + 1 }).await;
                self.replace(table, close, vec![segment], CommitCause::Compact).await;
            }
            Op::Replace(which, day_number) => {
                let rows = both!(self, segments(id, None)).unwrap_or_default();
                let close = rows.iter().rev().nth(which).map(|row| row.segment.id.clone()).into_iter().collect();
                let segment = self.segment(table, day_number, 4, 4).await;
                self.replace(table, close, vec![segment], CommitCause::Replace).await;
            }
            Op::DropInterval(first, days) => {
                let interval = Interval::new(day(first).start(), day(first + days - 1).end()).expect("an interval");
                same!(self, drop_interval(id, interval, Some(&lease)));
            }
            Op::Undo(back) => self.undo(back).await,
            Op::Prune(before, keep) => {
                let before = Timestamp::from_millis(1_000_000 + before);
                same!(self, prune_dedup(id, before, keep));
            }
            Op::Gap(partition, from) => {
                let (stream, reason) = ("push".into(), "lost".to_owned());
                let gap = DataGap { table: id, stream, partition, from, to: from + 2, reason, at: self.clock.now() };
                same!(self, record_gap(gap.clone()));
            }
            Op::Delete => {
                let rows = both!(self, segments_to_delete(self.clock.now())).unwrap_or_default();
                for row in rows.iter().take(3) {
                    same!(self, segments_deleted(row.table, std::slice::from_ref(&row.segment.id)));
                }
            }
            Op::Later(ms) => self.clock.advance(std::time::Duration::from_millis(ms)),
            Op::Forget(later, limit) => {
                self.clock.advance(std::time::Duration::from_millis(later));
                let stored = both!(self, last_commit()).unwrap_or_default().saturating_sub(1);
                same!(self, log_stored(stored));
                same!(self, prune_commits(self.clock.now(), limit));
            }
            Op::LogStored(through) => same!(self, log_stored(through)),
            Op::Look(seq) => self.look(seq).await,
        }
    }

    /// One letter a record, of which two fit.
    fn accounting(&self, partition: i32, length: i64) -> Accounting {
        let rejected = u64::try_from(length).unwrap_or(0);
        let counts = Counts { read: rejected + 2, stored: 2, rejected, ..Counts::default() };
        let letters = (0..length).map(|n| suite::accounts::letter(n, &self.requests.to_le_bytes()));
        let counts = vec![AccountRow { stream: "push".into(), partition, counts }];
        Accounting { counts, letters: letters.collect(), letters_max: 2, ..Accounting::default() }
    }

    async fn replace(&mut self, table: usize, close: Vec<SegmentId>, open: Vec<NewSegment>, cause: CommitCause) {
        let id = self.request();
        let replacement = Replacement { id, table: self.tables[table].0, lease: None, close, open, cause };
        same!(self, replace(replacement.clone()));
    }

    async fn undo(&mut self, back: usize) {
        let last = both!(self, last_commit()).unwrap_or_default();
        let commits = both!(self, commits_since(last.saturating_sub(4), 10_000)).unwrap_or_default();
        let Some(commit) = commits.iter().rev().nth(back) else { return };
        let mut pairs = Vec::new();
        for old in &commit.closed {
            let number = both!(self, lease_numbers(commit.table, 1)).map_or(1, |numbers| numbers.start);
            let version = Version::at(Timestamp::from_millis(5));
            pairs.push((old.clone(), SegmentId { number, version, ..old.clone() }));
        }
        same!(self, undo(commit.publish, &pairs));
    }

    /// Asks everything that only looks.
    async fn look(&self, seq: u64) {
        for (id, _) in &self.tables {
            same!(self, segments(*id, Some(seq)));
            same!(self, segments(*id, None));
            same!(self, data_gaps(Some(*id)));
            same!(self, checkpoints(*id, "push"));
            same!(self, dedup(*id, "k1"));
            same!(self, accounts(*id));
            same!(self, dead_letters(*id, 3));
            same!(self, dedup_since(*id, Timestamp::from_millis(1_000_100), 2));
        }
        same!(self, commits_since(seq, 3));
        // Their lines hold leases, which run by different clocks.
        let numbers = |log: Vec<LogEntry>| log.iter().map(|entry| entry.seq).collect::<Vec<_>>();
        let memory = said(self.memory.log_entries(seq, 3).await.map(numbers));
        assert_eq!(memory, said(self.sqlite.log_entries(seq, 3).await.map(numbers)));
        same!(self, publication(PublishId(u128::from(seq))));
        same!(self, unnamed(&["x/day=0/1-00000000.idx".to_owned()]));
    }
}

/// The lines of a copy but those of leases, which run by different clocks, and of letters, which a copy does not hold.
fn lines(copy: &[u8]) -> Vec<String> {
    let text = String::from_utf8(copy.to_vec()).expect("text");
    text.lines()
        .filter(|line| !line.contains("[\"leases\"") && !line.contains("[\"letter_sums\""))
        .map(str::to_owned)
        .collect()
}

async fn agree(ops: Vec<(bool, Op)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = manual();
    let sqlite = SqliteCatalog::open(&folder.path().join("a.db"), Arc::clone(&clock) as _).await.expect("opened");
    let memory = MemoryCatalog::with_clock(Arc::clone(&clock) as _);
    let nobody = |group: &str| (TableId(0), LeaseRef { group: group.into(), epoch: 0 });
    let mut pair = Pair { memory, sqlite, clock, tables: [nobody("g0"), nobody("g1")], requests: 0, last: None };
    for table in [0, 1] {
        for op in [Op::Create, Op::Seize, Op::Start(0, 0)] {
            pair.step(table, op).await;
        }
    }
    for (second, op) in ops {
        pair.step(usize::from(second), op).await;
    }
    pair.look(2).await;
    let (a, b) = (pair.memory.export().await.expect("copied"), pair.sqlite.export().await.expect("copied"));
    assert_eq!(lines(&a), lines(&b));
    assert_eq!(pair.memory.check().await.expect("checked"), Vec::<String>::new());
    assert_eq!(pair.sqlite.check().await.expect("checked"), Vec::<String>::new());
    // And what a copy of one makes of the other.
    let rebuilt = MemoryCatalog::with_clock(Arc::clone(&pair.clock) as _);
    rebuilt.rebuild(&b).await.expect("rebuilt");
    assert_eq!(lines(&rebuilt.export().await.expect("copied")), lines(&b));
    pair.clock.advance(DAY);
    assert_eq!(rebuilt.last_commit().await.expect("read"), pair.sqlite.last_commit().await.expect("read"));
    pair.sqlite.close().await;
}

fn cases() -> u32 {
    std::env::var("FRESHET_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn memory_and_sqlite_answer_alike(ops in prop::collection::vec(op(), 20..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(agree(ops));
    }
}
