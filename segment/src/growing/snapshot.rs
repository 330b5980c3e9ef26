//! What a query holds of a growing segment.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Chunk, DictionaryView};
use crate::error::Result;
use crate::id::SegmentId;
use crate::index::Filter;
use crate::predicate::Predicate;
use crate::schema::TableSchema;
use crate::time::Timestamp;

/// An immutable view of a growing segment: the rows it had when the view was taken.
#[derive(Debug)]
pub struct GrowingSnapshot {
    id: SegmentId,
    chunks: Vec<Arc<Chunk>>,
    dictionaries: HashMap<Arc<str>, Arc<DictionaryView>>,
    rows: usize,
    bytes: usize,
    time_range: Option<(Timestamp, Timestamp)>,
}

impl GrowingSnapshot {
    pub(super) fn new(
        id: SegmentId,
        chunks: Vec<Arc<Chunk>>,
        dictionaries: HashMap<Arc<str>, Arc<DictionaryView>>,
        rows: usize,
        bytes: usize,
    ) -> Self {
        let time_range =
            chunks.iter().filter_map(|c| c.time_range()).reduce(|(a, b), (min, max)| (a.min(min), b.max(max)));
        debug_assert_eq!(chunks.iter().map(|c| c.rows() as usize).sum::<usize>(), rows);
        Self { id, chunks, dictionaries, rows, bytes, time_range }
    }

    /// The segment's identity.
    pub fn id(&self) -> &SegmentId {
        &self.id
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory the segment held when the view was taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// First and last event time; `None` without rows.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        self.time_range
    }

    /// Its chunks, oldest first: the unit that one thread reads.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Number of distinct values of a text column; `None` for numbers and unknown columns.
    pub fn cardinality(&self, column: &str) -> Option<usize> {
        self.dictionaries.get(column).map(|d| d.len() - 1)
    }

    pub(crate) fn dictionary(&self, column: &str) -> Option<&Arc<DictionaryView>> {
        self.dictionaries.get(column)
    }

    /// Prepares a predicate for this segment: its literals are looked up here once, for all chunks. `schema` is the
    /// reading's, in whose types the predicate's literals are.
    ///
    /// # Errors
    /// `Invalid` when a literal is of another kind than its column.
    pub fn filter(&self, predicate: &Predicate, schema: &TableSchema) -> Result<Filter> {
        Filter::of_growing(predicate, schema, self)
    }
}
