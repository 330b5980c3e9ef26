//! Batch loads: files and inline text into sealed segments, which one commit makes visible.
//!
//! ```text
//! inputs ─ pieces ─ decode ─▶ growing segments, which nobody sees ─ full or memory short ─▶ sealed, stored
//!                                                                     end of the input ─▶ the segments, for one commit
//! ```
//! A load makes no commit itself: whoever asked for it opens the segments, and closes those they take the place of, in one
//! transaction of the catalog. So readers see all of a load or nothing, and a load that fails leaves objects behind that
//! nothing names and the cleanup removes.

mod loader;
mod pieces;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use freshet_segment::catalog::NewSegment;
use freshet_segment::id::{TableId, TableName};
use freshet_segment::time::Interval;
use parking_lot::Mutex;

use crate::counts::Counts;
use crate::dead_letter::DeadLetter;
use crate::error::Result;
use crate::ingest::Ingest;
use crate::spec::{DecoderSpec, DimensionsSpec, GranularitySpec, TimeSpec, TuningSpec};

/// Refused rows that a load keeps for its report.
const LETTERS_MAX: usize = 100;

/// What a batch load is asked to do.
#[derive(Debug, Clone)]
pub struct BatchSpec {
    /// The table it fills.
    pub table: TableName,
    /// Where its rows are.
    pub inputs: Vec<BatchInput>,
    /// How their bytes become rows.
    pub decoder: DecoderSpec,
    /// Where a row's time stands.
    pub time: TimeSpec,
    /// Which fields become columns.
    pub dimensions: DimensionsSpec,
    /// Size of time buckets.
    pub granularity: GranularitySpec,
    /// Rows outside are left out and counted as late; with none, all are taken.
    pub intervals: Vec<Interval>,
    /// What happens on bad rows.
    pub tuning: TuningSpec,
}

/// A text to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchInput {
    /// The text itself.
    Inline(Bytes),
    /// A file of this machine; `.gz` and `.zst` are unpacked.
    File(PathBuf),
}

/// What others see of a load while it runs, and how they end it.
#[derive(Debug, Default)]
pub struct BatchProgress {
    counts: Mutex<Counts>,
    letters: Mutex<Vec<DeadLetter>>,
    stopped: AtomicBool,
}

impl BatchProgress {
    /// What became of the rows so far.
    pub fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// The first refused rows.
    pub fn letters(&self) -> Vec<DeadLetter> {
        self.letters.lock().clone()
    }

    /// Asks the load to end without a result.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether it was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// A load that is stored and not visible.
#[derive(Debug)]
pub struct Loaded {
    /// The table.
    pub table: TableId,
    /// Its segments; none when no row was taken.
    pub segments: Vec<NewSegment>,
    /// The intervals that received rows, sorted.
    pub intervals: Vec<Interval>,
}

impl Ingest {
    /// Reads all inputs into sealed segments. Blocks; memory is bounded by a share of the node's budget, whatever the size
    /// of the input. The table is made when it is not there.
    ///
    /// # Errors
    /// `Invalid` for a spec that does not fit together, an input that cannot be read, or more bad rows than it bears;
    /// `Conflict` when it was stopped; of storage and catalog.
    pub fn load(self: &Arc<Self>, spec: &BatchSpec, progress: &BatchProgress) -> Result<Loaded> {
        spec.decoder.check()?;
        loader::load(self, spec, progress)
    }
}

#[cfg(test)]
mod tests;
