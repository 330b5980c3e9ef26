//! What became of each row: `read = stored + filtered + rejected + late + duplicate`, exactly, at every moment.
//!
//! A task adds one whole batch under one lock, so nobody ever reads a sum that does not hold. `late` and `duplicate`
//! stand in the equation from the first day; they stay zero until there is a rejection period and a dedup key.

use std::ops::AddAssign;

use parking_lot::Mutex;

/// Rows by what became of them.
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
        self.read == self.stored + self.filtered + self.rejected + self.late + self.duplicate
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.stored += other.stored;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.processed_with_error += other.processed_with_error;
        self.bytes += other.bytes;
    }
}

/// Counts that one owner adds to and many read.
#[derive(Debug, Default)]
pub(crate) struct SharedCounts(Mutex<Counts>);

impl SharedCounts {
    pub(crate) fn add(&self, batch: Counts) {
        debug_assert!(batch.is_balanced(), "a batch leaves a row unaccounted for: {batch:?}");
        *self.0.lock() += batch;
    }

    pub(crate) fn read(&self) -> Counts {
        *self.0.lock()
    }
}
