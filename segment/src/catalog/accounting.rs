//! What became of each row that was read, and the rows that could not be taken.
//!
//! Counts belong to stream partitions and are written by the transaction that moves the checkpoint, for exactly the records
//! it moves over. What was read after the checkpoint is read again after a crash and counted then, so no row is counted twice
//! and none is left out. The letters of these records go the same way.

use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use bytes::Bytes;

use crate::time::Timestamp;

/// Most dead letters a table keeps.
pub const LETTERS_MAX: usize = 100_000;
/// Most bytes the dead letters of a table take.
pub const LETTERS_BYTES_MAX: usize = 64 << 20;
/// What a letter takes beside its texts.
const LETTER_OVERHEAD_BYTES: usize = 96;

/// Rows by what became of them: `read = stored + filtered + rejected + late + duplicate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows taken from the source, good or bad.
    pub read: u64,
    /// Rows that queries see.
    pub stored: u64,
    /// Rows left out on purpose: tombstones of Kafka.
    pub filtered: u64,
    /// Rows that could not be read; they are dead letters.
    pub rejected: u64,
    /// Rows outside the accepted time.
    pub late: u64,
    /// Rows that were stored before.
    pub duplicate: u64,
    /// Of the stored rows, those of which a field became null because its value did not fit its declared type.
    pub processed_with_error: u64,
    /// Bytes taken from the source.
    pub bytes: u64,
}

impl Counts {
    /// Whether each row read is accounted for.
    pub fn is_balanced(&self) -> bool {
        let parts = [self.stored, self.filtered, self.rejected, self.late, self.duplicate];
        parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part)) == Some(self.read)
    }

    fn each(&mut self, other: &Self, of: fn(u64, u64) -> u64) {
        self.read = of(self.read, other.read);
        self.stored = of(self.stored, other.stored);
        self.filtered = of(self.filtered, other.filtered);
        self.rejected = of(self.rejected, other.rejected);
        self.late = of(self.late, other.late);
        self.duplicate = of(self.duplicate, other.duplicate);
        self.processed_with_error = of(self.processed_with_error, other.processed_with_error);
        self.bytes = of(self.bytes, other.bytes);
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.each(&other, u64::saturating_add);
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, other: Self) {
        self.each(&other, u64::saturating_sub);
    }
}

/// Counts of one stream partition of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// The stream.
    pub stream: Arc<str>,
    /// The stream partition's number.
    pub partition: i32,
    /// What became of its rows.
    pub counts: Counts,
}

/// A row, or a field of a stored row, that could not be taken as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// When it was refused.
    pub time: Timestamp,
    /// The stream its record came from.
    pub stream: Arc<str>,
    /// The stream partition.
    pub partition: i32,
    /// The record's offset in it; of a push its number in the journal.
    pub offset: i64,
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
    /// The record as it came, its beginning.
    pub raw: Bytes,
}

impl DeadLetter {
    /// The record as text; bytes that are not UTF-8 show as replacement characters.
    pub fn raw_text(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// What it takes of the bound on bytes.
    pub fn bytes(&self) -> usize {
        let texts = [self.at.as_ref(), self.hint.as_ref(), Some(&self.reason)];
        LETTER_OVERHEAD_BYTES + self.raw.len() + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

/// What a publication says of the rows inside its ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounting {
    /// What to add to the counts of each stream partition.
    pub counts: Vec<AccountRow>,
    /// The letters, oldest first.
    pub letters: Vec<DeadLetter>,
    /// Letters of which only the number is known.
    pub letters_unlisted: u64,
    /// Most letters that the table keeps.
    pub letters_max: usize,
    /// Most bytes of them.
    pub letters_bytes_max: usize,
}

impl Default for Accounting {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            letters: Vec::new(),
            letters_unlisted: 0,
            letters_max: LETTERS_MAX,
            letters_bytes_max: LETTERS_BYTES_MAX,
        }
    }
}

/// The letters of a table, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// All that were ever written.
    pub total: u64,
    /// Those still kept; the difference has been dropped.
    pub kept: u64,
    /// As many of the kept ones as were asked for.
    pub letters: Vec<DeadLetter>,
}
