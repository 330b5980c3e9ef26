//! What became of each row: `read = stored + filtered + rejected + late + duplicate`, exactly, at every moment.
//!
//! Counts and dead letters go the way of the rows they speak of:
//!
//! ```text
//! batch stored ─▶ pending: one entry a writer ──freeze──▶ with the frozen rows ──publish──▶ official, in the catalog
//!                     └───────────── given up with its rows, which are read again ─────────────┘
//! ```
//! The catalog adds them in the transaction that moves the checkpoint over their records. So after a crash it has the counts
//! of exactly the records up to the checkpoint, and what is replayed from there is counted as it is replayed. Nothing is
//! counted twice, nothing is left out, and there is nothing to note in a journal: a record of it is the body as it came, bad
//! rows included, and reading it again refuses the same rows. A push that is refused whole is not read: its sender was told
//! and has it still.
//!
//! All numbers of a table stand under one lock and each change of them is balanced, so nobody ever reads a sum that does
//! not hold. `duplicate` stays zero until there is a dedup key.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub use freshet_segment::catalog::Counts;
use freshet_segment::catalog::{AccountRow, Accounting, DeadLetter};
use parking_lot::Mutex;

/// What became of the rows of a batch, by stream partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) counts: BTreeMap<i32, Counts>,
    /// The rows and fields that were refused, oldest first.
    pub(crate) letters: Vec<DeadLetter>,
    /// Letters beyond those listed.
    pub(crate) letters_unlisted: u64,
}

/// Names what one writer has stored since its last freeze.
pub(crate) type PendingId = u64;

#[derive(Debug)]
struct Pending {
    stream: Arc<str>,
    counts: BTreeMap<i32, Counts>,
    letters: VecDeque<DeadLetter>,
    letters_bytes: usize,
    letters_unlisted: u64,
}

impl Pending {
    fn letters_total(&self) -> u64 {
        self.letters.len() as u64 + self.letters_unlisted
    }
}

#[derive(Debug, Default)]
struct Books {
    /// As the catalog has it.
    official: BTreeMap<(Arc<str>, i32), Counts>,
    pending: BTreeMap<PendingId, Pending>,
    /// Those of them that the catalog may have already.
    committing: BTreeSet<PendingId>,
    /// How many were published.
    published: u64,
    next: PendingId,
}

/// Letters that are not in the catalog yet.
#[derive(Debug, Default)]
pub(crate) struct WaitingLetters {
    /// Changes when letters go to the catalog; nothing while some may be in both places.
    pub(crate) moment: Option<u64>,
    /// How many are not published.
    pub(crate) total: u64,
    /// How many of them are kept.
    pub(crate) kept: u64,
    /// As many of them as were asked for, newest first.
    pub(crate) letters: Vec<DeadLetter>,
}

/// The accounts of one table.
#[derive(Debug)]
pub(crate) struct Accounts {
    books: Mutex<Books>,
    letters_max: usize,
    letters_bytes_max: usize,
}

impl Accounts {
    /// Accounts that begin with what the catalog has.
    pub(crate) fn new(rows: Vec<AccountRow>, letters_max: usize, letters_bytes_max: usize) -> Self {
        let official = rows.into_iter().map(|row| ((row.stream, row.partition), row.counts)).collect();
        let books = Mutex::new(Books { official, ..Books::default() });
        Self { books, letters_max, letters_bytes_max }
    }

    /// A name for what a writer stores from now on.
    pub(crate) fn begin(&self) -> PendingId {
        let mut books = self.books.lock();
        books.next += 1;
        books.next
    }

    /// A batch is stored.
    pub(crate) fn add(&self, id: PendingId, stream: &Arc<str>, account: Account) {
        debug_assert!(account.counts.values().all(Counts::is_balanced), "a row is unaccounted for: {account:?}");
        let mut books = self.books.lock();
        let pending = books.pending.entry(id).or_insert_with(|| Pending {
            stream: Arc::clone(stream),
            counts: BTreeMap::new(),
            letters: VecDeque::new(),
            letters_bytes: 0,
            letters_unlisted: 0,
        });
        for (partition, counts) in account.counts {
            *pending.counts.entry(partition).or_default() += counts;
        }
        pending.letters_unlisted += account.letters_unlisted;
        for letter in account.letters {
            pending.letters_bytes += letter.bytes();
            pending.letters.push_back(letter);
            while pending.letters.len() > self.letters_max || pending.letters_bytes > self.letters_bytes_max {
                let Some(oldest) = pending.letters.pop_front() else { break };
                pending.letters_bytes -= oldest.bytes();
                pending.letters_unlisted += 1;
            }
        }
    }

    /// What a publication says of its rows.
    pub(crate) fn accounting(&self, id: PendingId) -> Accounting {
        let books = self.books.lock();
        let bounds = Accounting {
            letters_max: self.letters_max,
            letters_bytes_max: self.letters_bytes_max,
            ..Accounting::default()
        };
        let Some(pending) = books.pending.get(&id) else { return bounds };
        let row = |(partition, counts): (&i32, &Counts)| AccountRow {
            stream: Arc::clone(&pending.stream),
            partition: *partition,
            counts: *counts,
        };
        Accounting {
            counts: pending.counts.iter().map(row).collect(),
            letters: pending.letters.iter().cloned().collect(),
            letters_unlisted: pending.letters_unlisted,
            ..bounds
        }
    }

    /// The catalog is asked to publish them.
    pub(crate) fn committing(&self, id: PendingId) {
        self.books.lock().committing.insert(id);
    }

    /// The catalog has them now.
    pub(crate) fn published(&self, id: PendingId) {
        let mut books = self.books.lock();
        books.committing.remove(&id);
        books.published += 1;
        let Some(pending) = books.pending.remove(&id) else { return };
        for (partition, counts) in pending.counts {
            *books.official.entry((Arc::clone(&pending.stream), partition)).or_default() += counts;
        }
    }

    /// Their rows are no longer here: whoever reads them again counts them again.
    pub(crate) fn give_up(&self, id: PendingId) {
        let mut books = self.books.lock();
        books.committing.remove(&id);
        books.pending.remove(&id);
    }

    /// Another writer has published a stream: the catalog knows better. Call it while nothing of the stream is on its way.
    pub(crate) fn load(&self, stream: &Arc<str>, rows: Vec<AccountRow>) {
        let mut books = self.books.lock();
        books.official.retain(|(of, _), _| of != stream);
        let rows = rows.into_iter().filter(|row| row.stream == *stream);
        books.official.extend(rows.map(|row| ((row.stream, row.partition), row.counts)));
    }

    /// What became of all rows of the table.
    pub(crate) fn total(&self) -> Counts {
        self.sum(|_| true, true)
    }

    /// What became of the rows of streams whose names pass.
    pub(crate) fn sum(&self, wanted: impl Fn(&str) -> bool, with_official: bool) -> Counts {
        let books = self.books.lock();
        let official = books.official.iter().filter(|((stream, _), _)| with_official && wanted(stream));
        let pending = books.pending.values().filter(|pending| wanted(&pending.stream));
        let mut sum = Counts::default();
        official.map(|(_, counts)| counts).chain(pending.flat_map(|p| p.counts.values())).for_each(|c| sum += *c);
        sum
    }

    /// What became of the rows of a stream, by stream partition.
    pub(crate) fn of_stream(&self, stream: &str) -> BTreeMap<i32, Counts> {
        let books = self.books.lock();
        let official = books.official.iter().filter(|((of, _), _)| &**of == stream);
        let mut all: BTreeMap<i32, Counts> = official.map(|((_, partition), counts)| (*partition, *counts)).collect();
        for pending in books.pending.values().filter(|pending| &*pending.stream == stream) {
            for (partition, counts) in &pending.counts {
                *all.entry(*partition).or_default() += *counts;
            }
        }
        all
    }

    /// Whether no letter has gone to the catalog since this moment, nor is about to.
    pub(crate) fn is_still(&self, moment: Option<u64>) -> bool {
        let books = self.books.lock();
        moment == Some(books.published) && books.committing.is_empty()
    }

    /// The letters that are not published.
    pub(crate) fn letters(&self, limit: usize) -> WaitingLetters {
        let books = self.books.lock();
        let pending = || books.pending.values();
        let mut letters: Vec<DeadLetter> =
            pending().flat_map(|p| p.letters.iter().rev().take(limit)).cloned().collect();
        letters.sort_by_key(|letter| std::cmp::Reverse(letter.time));
        letters.truncate(limit);
        WaitingLetters {
            moment: books.committing.is_empty().then_some(books.published),
            total: pending().map(Pending::letters_total).sum(),
            kept: pending().map(|p| p.letters.len() as u64).sum(),
            letters,
        }
    }
}

#[cfg(test)]
mod tests {
    use freshet_segment::time::Timestamp;

    use super::*;

    fn stream(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn account(partition: i32, stored: u64, letters: std::ops::Range<i64>) -> Account {
        let letters: Vec<DeadLetter> = letters
            .map(|offset| DeadLetter {
                time: Timestamp::from_millis(offset),
                stream: stream("a"),
                partition,
                offset,
                row: 0,
                at: None,
                reason: "r".to_owned(),
                hint: None,
                row_stored: false,
                raw: vec![b'y'; 1_000].into(),
            })
            .collect();
        let rejected = letters.len() as u64;
        let counts = Counts { read: stored + rejected, stored, rejected, ..Counts::default() };
        Account { counts: BTreeMap::from([(partition, counts)]), letters, letters_unlisted: 0 }
    }

    #[test]
    fn counts_stay_whole_on_their_way_into_the_catalog() {
        let (a, b) = (stream("a"), stream("b"));
        let known = Counts { read: 7, stored: 7, ..Counts::default() };
        let accounts =
            Accounts::new(vec![AccountRow { stream: Arc::clone(&a), partition: 0, counts: known }], 100, 1 << 20);
        let (one, two) = (accounts.begin(), accounts.begin());
        accounts.add(one, &a, account(0, 3, 0..1));
        accounts.add(one, &a, account(1, 5, 0..0));
        accounts.add(two, &b, account(0, 10, 1..3));
        assert_eq!((accounts.total().read, accounts.total().stored, accounts.total().rejected), (28, 25, 3));
        let by_partition: Vec<u64> = accounts.of_stream("a").values().map(|counts| counts.stored).collect();
        assert_eq!(by_partition, [10, 5]);
        assert_eq!(accounts.sum(|name| name == "a", false).stored, 8, "of these the catalog knows nothing");
        let said = accounts.accounting(one);
        assert_eq!((said.counts.len(), said.letters.len()), (2, 1));
        let (before, moment) = (accounts.total(), accounts.letters(9).moment);
        assert!(accounts.is_still(moment) && moment.is_some());
        accounts.committing(one);
        assert_eq!((accounts.is_still(moment), accounts.letters(9).moment), (false, None));
        accounts.published(one);
        accounts.published(one);
        assert!(!accounts.is_still(moment) && accounts.is_still(accounts.letters(9).moment));
        assert_eq!((accounts.total(), accounts.sum(|name| name == "a", false)), (before, Counts::default()));
        assert_eq!(accounts.letters(9).total, 2);
        accounts.give_up(two);
        assert_eq!((accounts.total().stored, accounts.letters(9).total), (15, 0));
        // Another writer has published three rows more.
        let rows = vec![AccountRow { stream: Arc::clone(&a), partition: 0, counts: known }];
        accounts.load(&a, rows);
        assert_eq!(accounts.total(), known);
    }

    #[test]
    fn the_oldest_letters_leave_first_and_stay_counted() {
        let accounts = Accounts::new(Vec::new(), 3, 1 << 20);
        let id = accounts.begin();
        accounts.add(id, &stream("a"), account(0, 0, 0..10));
        let seen = accounts.letters(2);
        assert_eq!((seen.total, seen.kept), (10, 3));
        assert_eq!(seen.letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [9, 8]);
        let said = accounts.accounting(id);
        assert_eq!((said.letters.len(), said.letters_unlisted, said.counts[0].counts.rejected), (3, 7, 10));
        let few_bytes = Accounts::new(Vec::new(), 1_000, 5_000);
        let id = few_bytes.begin();
        few_bytes.add(id, &stream("a"), account(0, 0, 0..50));
        let seen = few_bytes.letters(usize::MAX);
        assert_eq!((seen.total, seen.kept), (50, 4));
    }
}
