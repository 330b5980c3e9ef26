//! Rejected rows, with the reason, the position and what to do.
//!
//! A poison row costs itself and nothing else, so it must be findable afterwards: each table keeps its newest letters,
//! at most 100,000 or 64 MiB, the oldest leaving first. What left is counted, so `total` stays the truth even when the
//! list is short. Letters live in memory, as the rows beside them do.

use std::collections::VecDeque;

use bytes::Bytes;
use freshet_segment::time::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Most letters a table keeps.
pub const LETTERS_MAX: usize = 100_000;
/// Most bytes the letters of a table take.
pub const LETTERS_BYTES_MAX: usize = 64 << 20;
/// How much of a record a letter quotes.
pub const RAW_BYTES_MAX: usize = 4 << 10;

/// A row of a push that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Its number in the body, from 0.
    pub row: u64,
    /// Where in the row: a field, or a line and column.
    pub at: Option<String>,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The row as it came, cut at 4 KiB.
    pub raw: String,
}

/// Where a letter's record came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A record of a stream partition.
    Stream {
        /// The stream partition.
        partition: i32,
        /// The record's offset in it.
        offset: i64,
    },
    /// A body that was pushed.
    Push,
}

/// A row, or a field of a stored row, that could not be taken as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// When it was refused.
    pub time: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// Number of the row in its record or body, from 0.
    pub row: u64,
    /// Where in the row: a field, or a line and column.
    pub at: Option<String>,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the row itself was stored, with the bad field as null.
    pub row_stored: bool,
    /// The record as it came, cut at 4 KiB.
    pub raw: Bytes,
}

impl DeadLetter {
    /// The record as text; bytes that are not UTF-8 show as replacement characters.
    pub fn raw_text(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.raw.len()
            + self.reason.len()
            + self.at.as_ref().map_or(0, String::len)
            + self.hint.as_ref().map_or(0, String::len)
    }
}

/// The letters of a table, newest first.
#[derive(Debug, Clone, Default)]
pub struct DeadLetters {
    /// All that were ever written.
    pub total: u64,
    /// Those still kept; the difference has been dropped.
    pub kept: u64,
    /// As many of the kept ones as were asked for.
    pub letters: Vec<DeadLetter>,
}

/// The first bytes of a record, copied: a letter must not keep a whole batch alive.
pub(crate) fn quote(raw: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&raw[..raw.len().min(RAW_BYTES_MAX)])
}

#[derive(Debug)]
pub(crate) struct DeadLetterStore {
    kept: Mutex<Kept>,
    letters_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    letters: VecDeque<DeadLetter>,
    bytes: usize,
    total: u64,
}

impl DeadLetterStore {
    pub(crate) fn new(letters_max: usize, bytes_max: usize) -> Self {
        Self { kept: Mutex::default(), letters_max, bytes_max }
    }

    /// Takes letters in, and lets the oldest go.
    pub(crate) fn add(&self, letters: impl IntoIterator<Item = DeadLetter>) {
        let mut kept = self.kept.lock();
        for letter in letters {
            kept.total += 1;
            kept.bytes += letter.bytes();
            kept.letters.push_back(letter);
            while kept.letters.len() > self.letters_max || kept.bytes > self.bytes_max {
                let Some(oldest) = kept.letters.pop_front() else { break };
                kept.bytes -= oldest.bytes();
            }
        }
    }

    /// Counts letters of which only the number is known.
    pub(crate) fn add_unlisted(&self, count: u64) {
        self.kept.lock().total += count;
    }

    pub(crate) fn newest(&self, limit: usize) -> DeadLetters {
        let kept = self.kept.lock();
        DeadLetters {
            total: kept.total,
            kept: kept.letters.len() as u64,
            letters: kept.letters.iter().rev().take(limit).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(offset: i64, raw: &[u8]) -> DeadLetter {
        DeadLetter {
            time: Timestamp::from_millis(0),
            origin: Origin::Stream { partition: 0, offset },
            row: 0,
            at: None,
            reason: "r".to_owned(),
            hint: None,
            row_stored: false,
            raw: quote(raw),
        }
    }

    #[test]
    fn the_oldest_letters_leave_first_and_stay_counted() {
        let store = DeadLetterStore::new(3, 1 << 20);
        store.add((0..10).map(|n| letter(n, b"x")));
        let seen = store.newest(2);
        assert_eq!((seen.total, seen.kept), (10, 3));
        let offsets: Vec<_> = seen.letters.iter().map(|l| l.origin.clone()).collect();
        assert_eq!(offsets, [9, 8].map(|offset| Origin::Stream { partition: 0, offset }));
    }

    #[test]
    fn bytes_bound_the_letters_too_and_a_record_is_cut() {
        let store = DeadLetterStore::new(LETTERS_MAX, 20_000);
        store.add((0..50).map(|n| letter(n, &[b'y'; 10_000])));
        let seen = store.newest(usize::MAX);
        assert_eq!(seen.total, 50);
        assert!((1..5).contains(&seen.kept), "{}", seen.kept);
        assert_eq!(seen.letters[0].raw.len(), RAW_BYTES_MAX);
        assert!(store.kept.lock().bytes <= 20_000);
    }
}
