//! A segment as a reading shows it, in whichever form its rows are, and the pieces of it that threads read.

use std::sync::Arc;

use arrow::array::ArrayRef;

use crate::error::Result;
use crate::growing::{Chunk, GrowingSnapshot};
use crate::index::Filter;
use crate::predicate::Predicate;
use crate::schema::{Column, TableSchema};
use crate::sealed::{SealedSegment, SealedUnit};
use crate::selection::Part;
use crate::time::{Interval, Timestamp};

/// The rows of a segment, in whichever form they are.
#[derive(Debug, Clone)]
pub enum VisibleSegment {
    /// In memory and still appended to.
    Growing(Arc<GrowingSnapshot>),
    /// In files that never change.
    Sealed(Arc<SealedSegment>),
}

impl VisibleSegment {
    /// How many rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Growing(snapshot) => snapshot.rows(),
            Self::Sealed(segment) => segment.rows(),
        }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Growing(snapshot) => snapshot.bytes(),
            Self::Sealed(segment) => segment.bytes(),
        }
    }

    /// Bytes in deep storage; none of a growing segment.
    pub fn stored_bytes(&self) -> u64 {
        match self {
            Self::Growing(_) => 0,
            Self::Sealed(segment) => segment.stored_bytes(),
        }
    }

    /// First and last event time; `None` without rows.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        match self {
            Self::Growing(snapshot) => snapshot.time_range(),
            Self::Sealed(segment) => segment.time_range(),
        }
    }

    /// Whether its rows are in files.
    pub fn is_sealed(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    /// How many pieces threads can share, without opening anything: an estimate for planning, because a
    /// sealed segment's own number may differ.
    pub fn unit_count(&self) -> usize {
        match self {
            Self::Growing(snapshot) => snapshot.chunks().len(),
            Self::Sealed(segment) => segment.unit_count(),
        }
    }

    /// The pieces that may hold rows of `bounds`, in the segment's order; all without bounds. Opens a sealed segment, which
    /// blocks: call it on a thread that may.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`, naming the segment, when its files cannot be read.
    pub fn units(&self, bounds: Option<Interval>) -> Result<Vec<Unit>> {
        match self {
            Self::Growing(snapshot) => Ok(snapshot
                .chunks()
                .iter()
                .filter(|chunk| bounds.is_none_or(|b| may_hold(chunk.time_range(), b)))
                .map(|chunk| Unit::Growing(Arc::clone(chunk)))
                .collect()),
            Self::Sealed(segment) => Ok(segment.units(bounds)?.into_iter().map(Unit::Sealed).collect()),
        }
    }

    /// Prepares a predicate for this segment: its literals are looked up here once, for all units. `schema` is the
    /// reading's, in whose types the predicate's literals are. Opens a sealed segment, which blocks.
    ///
    /// # Errors
    /// `Invalid` when a literal is of another kind than its column; `Unavailable` or `Corrupt` when a sealed segment
    /// cannot be read.
    pub fn filter(&self, predicate: &Predicate, schema: &TableSchema) -> Result<Filter> {
        match self {
            Self::Growing(snapshot) => snapshot.filter(predicate, schema),
            Self::Sealed(segment) => segment.filter(predicate, schema),
        }
    }

    /// Number of distinct values of a text column; `None` for numbers, for columns it lacks, and where a sealed
    /// segment cannot be read. Opens a sealed segment, which blocks.
    pub fn cardinality(&self, column: &str) -> Option<usize> {
        match self {
            Self::Growing(snapshot) => snapshot.cardinality(column),
            Self::Sealed(segment) => segment.cardinality(column),
        }
    }
}

/// Whether rows between these times, both included, can lie in `bounds`.
pub fn may_hold(times: Option<(Timestamp, Timestamp)>, bounds: Interval) -> bool {
    // The last instant that an i64 can hold has nothing after it: bounds that end there take it in.
    times
        .is_some_and(|(min, max)| (min < bounds.end() || bounds.end().as_millis() == i64::MAX) && bounds.start() <= max)
}

/// A piece of a segment that one thread reads: at most 65,536 rows.
#[derive(Debug, Clone)]
pub enum Unit {
    /// A chunk in memory.
    Growing(Arc<Chunk>),
    /// Neighbouring rows of a file. A clone shares nothing that was decoded.
    Sealed(SealedUnit),
}

impl Unit {
    /// How many rows it has.
    pub fn rows(&self) -> u32 {
        match self {
            Self::Growing(chunk) => chunk.rows(),
            Self::Sealed(unit) => unit.rows(),
        }
    }

    /// First and last event time; `None` without rows.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        match self {
            Self::Growing(chunk) => chunk.time_range(),
            Self::Sealed(unit) => unit.time_range(),
        }
    }

    /// The rows of a part, in its order, as an array of `wanted`'s Arrow type; null where the unit lacks the column. Of a
    /// sealed unit only the pages that hold these rows are decoded, once in the unit's life.
    ///
    /// # Errors
    /// `Invalid` when the column was written with a type that `wanted` cannot hold: schemas only widen, so this means
    /// a reading's schema older than its segments. `Unavailable` or `Corrupt` when a file cannot be read.
    pub fn read(&self, wanted: &Column, part: &Part<'_>) -> Result<ArrayRef> {
        match self {
            Self::Growing(chunk) => chunk.read(wanted, part),
            Self::Sealed(unit) => unit.read(wanted, part),
        }
    }
}
