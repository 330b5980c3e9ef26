//! Selection → batches: what the streams of one execution do.
//!
//! A unit of work is one chunk. A stream takes the next unit, lets the segment's filter select its rows, and reads the
//! wanted columns 8,192 selected rows at a time. Filters are prepared once a segment, by whichever stream gets there
//! first. The query's cancellation is looked at before each batch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;
use freshet_segment::error::SegmentError;
use freshet_segment::growing::{Chunk, GrowingSnapshot};
use freshet_segment::index::Filter;
use freshet_segment::predicate::Predicate;
use freshet_segment::schema::TableSchema;
use freshet_segment::selection::{Part, Selection};
use freshet_segment::time::{Interval, Timestamp};
use freshet_segment::timeline::VisibleSegment;

use crate::context::QueryContext;
use crate::error::{QueryError, Result};
use crate::fragment::Fragment;

/// Whether rows between these times, both included, can lie in `bounds`.
pub(crate) fn overlaps(times: Option<(Timestamp, Timestamp)>, bounds: Interval) -> bool {
    // The last instant that an i64 can hold has nothing after it: bounds that end there take it in.
    times
        .is_some_and(|(min, max)| (min < bounds.end() || bounds.end().as_millis() == i64::MAX) && bounds.start() <= max)
}

/// How many units a segment makes.
pub(crate) fn chunk_count(segment: &VisibleSegment) -> usize {
    match segment {
        VisibleSegment::Growing(snapshot) => snapshot.chunks().len(),
    }
}

/// One run of a fragment, shared by its streams.
#[derive(Debug)]
pub(crate) struct Execution {
    fragment: Arc<Fragment>,
    schema: Arc<TableSchema>,
    segments: Vec<Prepared>,
    /// (segment, chunk) in the order of the view.
    units: Vec<(usize, usize)>,
    next_unit: AtomicUsize,
    rows_given: AtomicUsize,
    query: Arc<QueryContext>,
}

#[derive(Debug)]
struct Prepared {
    snapshot: Arc<GrowingSnapshot>,
    filter: OnceLock<Result<Filter, SegmentError>>,
}

impl Execution {
    /// Finds the fragment's segments in the query's reading.
    ///
    /// # Errors
    /// `Internal` when one is not there.
    pub(crate) fn new(fragment: Arc<Fragment>, query: Arc<QueryContext>) -> Result<Self> {
        let view = query
            .reading()
            .table(fragment.table.as_str())
            .filter(|v| v.table_id == fragment.table_id && v.commit_seq == fragment.commit_seq)
            .ok_or_else(|| {
                QueryError::internal(format!(
                    "table {} ({}) is not in the reading at {}",
                    fragment.table, fragment.table_id, fragment.commit_seq
                ))
            })?;
        let bounds = fragment.predicate.time_bounds();
        let mut segments = Vec::with_capacity(fragment.segments.len());
        let mut units = Vec::new();
        let mut entries = view.segments();
        for id in &fragment.segments {
            // Ids come in the view's order, so one walk finds them all.
            let Some(entry) = entries.find(|e| e.id == *id) else {
                return Err(QueryError::internal(format!("segment {id} is not in the reading")));
            };
            let VisibleSegment::Growing(snapshot) = &entry.segment;
            for (index, chunk) in snapshot.chunks().iter().enumerate() {
                if bounds.is_some_and(|b| overlaps(chunk.time_range(), b)) {
                    units.push((segments.len(), index));
                }
            }
            segments.push(Prepared { snapshot: Arc::clone(snapshot), filter: OnceLock::new() });
        }
        Ok(Self {
            fragment,
            schema: Arc::clone(&view.schema),
            segments,
            units,
            next_unit: AtomicUsize::new(0),
            rows_given: AtomicUsize::new(0),
            query,
        })
    }

    /// The next chunk nobody has taken, and its wanted rows.
    fn take(&self) -> Result<Option<(Arc<Chunk>, Selection)>> {
        let unit = self.next_unit.fetch_add(1, Ordering::Relaxed);
        let Some((segment, chunk)) = self.units.get(unit) else { return Ok(None) };
        let prepared = &self.segments[*segment];
        let chunk = Arc::clone(&prepared.snapshot.chunks()[*chunk]);
        if matches!(self.fragment.predicate, Predicate::True) {
            let rows = chunk.rows();
            return Ok(Some((chunk, Selection::All(rows))));
        }
        let filter = prepared.filter.get_or_init(|| prepared.snapshot.filter(&self.fragment.predicate, &self.schema));
        let selection = match filter {
            Ok(filter) => filter.select(&chunk).map_err(QueryError::Segment)?,
            Err(error) => return Err(QueryError::internal(format!("filter of {}: {error}", self.fragment.table))),
        };
        Ok(Some((chunk, selection)))
    }

    /// How many of the next `rows` a stream may give. All streams together give exactly as many as the limit allows,
    /// because a plan whose leaf takes a limit has no other node that enforces it.
    fn claim(&self, rows: usize) -> usize {
        let Some(limit) = self.fragment.limit else { return rows };
        let before = self.rows_given.fetch_add(rows, Ordering::Relaxed);
        limit.saturating_sub(before).min(rows)
    }

    /// Whether enough rows were given already.
    fn is_sated(&self) -> bool {
        self.fragment.limit.is_some_and(|limit| self.rows_given.load(Ordering::Relaxed) >= limit)
    }
}

/// The batches of one stream.
#[derive(Debug)]
pub(crate) struct ScanIterator {
    execution: Arc<Execution>,
    schema: SchemaRef,
    batch_rows: usize,
    current: Option<(Arc<Chunk>, Selection)>,
    /// First position in the current selection that was not read.
    at: usize,
}

impl ScanIterator {
    /// Batches of `schema` with at most `batch_rows` rows.
    pub(crate) fn new(execution: Arc<Execution>, schema: SchemaRef, batch_rows: usize) -> Self {
        Self { execution, schema, batch_rows: batch_rows.max(1), current: None, at: 0 }
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.execution.query.check()?;
            if self.execution.is_sated() {
                return Ok(None);
            }
            if let Some((chunk, selection)) = &self.current {
                let rows = self.batch_rows.min(selection.len().saturating_sub(self.at));
                let to = self.at + if rows == 0 { 0 } else { self.execution.claim(rows) };
                if self.at < to {
                    let part = part(selection, self.at, to);
                    let batch = self.read(chunk, &part)?;
                    self.at = to;
                    return Ok(Some(batch));
                }
            }
            self.at = 0;
            self.current = self.execution.take()?;
            if self.current.is_none() {
                return Ok(None);
            }
        }
    }

    fn read(&self, chunk: &Chunk, part: &Part<'_>) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = self
            .execution
            .fragment
            .columns
            .iter()
            .map(|column| chunk.read(column, part))
            .collect::<Result<_, _>>()
            .map_err(QueryError::Segment)?;
        let options = RecordBatchOptions::new().with_row_count(Some(part.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| QueryError::internal(format!("batch of {}: {e}", self.execution.fragment.table)))
    }
}

impl Iterator for ScanIterator {
    type Item = DfResult<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(batch) => batch.map(Ok),
            Err(error) => Some(Err(error.into_datafusion())),
        }
    }
}

fn part(selection: &Selection, from: usize, to: usize) -> Part<'_> {
    match selection {
        #[expect(clippy::cast_possible_truncation, reason = "positions are below the u32 row count of a chunk")]
        Selection::All(_) => Part::Run(from as u32..to as u32),
        Selection::Rows(rows) => Part::Rows(&rows[from..to]),
    }
}
