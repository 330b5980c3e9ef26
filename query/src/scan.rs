//! Selection → batches: what the streams of one execution do.
//!
//! A unit of work is one chunk of a growing segment, or as many rows of a sealed one. A stream takes the next unit, lets the
//! segment's filter select its rows, and reads the wanted columns 8,192 selected rows at a time. Segments are opened, and filters
//! prepared, once an execution, by whichever stream gets there first. The query's cancellation is looked at before each
//! batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;
use freshet_segment::error::SegmentError;
use freshet_segment::index::Filter;
use freshet_segment::predicate::Predicate;
use freshet_segment::schema::TableSchema;
use freshet_segment::selection::{Part, Selection};
use freshet_segment::time::Interval;
use freshet_segment::timeline::{Unit, VisibleSegment};
use parking_lot::Mutex;

use crate::context::QueryContext;
use crate::error::{QueryError, Result};
use crate::fragment::Fragment;

/// One run of a fragment, shared by its streams.
#[derive(Debug)]
pub(crate) struct Execution {
    fragment: Arc<Fragment>,
    schema: Arc<TableSchema>,
    bounds: Option<Interval>,
    /// In the order of the view.
    segments: Vec<Prepared>,
    /// The first segment that may have units nobody has taken.
    next_segment: AtomicUsize,
    rows_given: AtomicUsize,
    query: Arc<QueryContext>,
}

/// A segment of the run.
#[derive(Debug)]
struct Prepared {
    segment: VisibleSegment,
    /// Held while the segment is opened and its filter made: whoever else wants its units has to wait for just that.
    ready: Mutex<Option<Arc<Ready>>>,
    next_unit: AtomicUsize,
}

/// The units of a segment that may hold wanted rows, and what selects these.
#[derive(Debug)]
struct Ready {
    units: Vec<Unit>,
    /// Nothing where every row is wanted.
    filter: Option<Filter>,
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
        let mut entries = view.segments();
        for id in &fragment.segments {
            // Ids come in the view's order, so one walk finds them all.
            let Some(entry) = entries.find(|e| e.id == *id) else {
                return Err(QueryError::internal(format!("segment {id} is not in the reading")));
            };
            segments.push(Prepared {
                segment: entry.segment.clone(),
                ready: Mutex::new(None),
                next_unit: AtomicUsize::new(0),
            });
        }
        Ok(Self {
            fragment,
            schema: Arc::clone(&view.schema),
            bounds,
            segments,
            next_segment: AtomicUsize::new(0),
            rows_given: AtomicUsize::new(0),
            query,
        })
    }

    /// The next unit nobody has taken, and its wanted rows.
    fn take(&self) -> Result<Option<(Unit, Selection)>> {
        let Some(bounds) = self.bounds else { return Ok(None) };
        let mut index = self.next_segment.load(Ordering::Relaxed);
        while let Some(prepared) = self.segments.get(index) {
            let ready = self.prepare(prepared, bounds)?;
            let unit = prepared.next_unit.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = ready.units.get(unit) else {
                index += 1;
                self.next_segment.fetch_max(index, Ordering::Relaxed);
                // Opening the next one may take long.
                self.query.check()?;
                continue;
            };
            // A clone keeps what it decodes to itself: it goes when this stream is done with the unit.
            let unit = unit.clone();
            let selection = match &ready.filter {
                None => Selection::All(unit.rows()),
                Some(filter) => filter.select_unit(&unit).map_err(QueryError::Segment)?,
            };
            return Ok(Some((unit, selection)));
        }
        Ok(None)
    }

    /// Opens a segment and makes its filter, the first time. Reads files of a sealed one: blocking work, done here because
    /// streams run on compute threads.
    fn prepare(&self, prepared: &Prepared, bounds: Interval) -> Result<Arc<Ready>> {
        let mut slot = prepared.ready.lock();
        if let Some(ready) = &*slot {
            return Ok(Arc::clone(ready));
        }
        let units = prepared.segment.units(Some(bounds)).map_err(QueryError::Segment)?;
        let filter = match &self.fragment.predicate {
            Predicate::True => None,
            predicate => {
                let filter = prepared.segment.filter(predicate, &self.schema);
                Some(filter.map_err(|error| match error {
                    SegmentError::Invalid { .. } => {
                        QueryError::internal(format!("filter of {}: {error}", self.fragment.table))
                    }
                    unreadable => QueryError::Segment(unreadable),
                })?)
            }
        };
        let ready = Arc::new(Ready { units, filter });
        *slot = Some(Arc::clone(&ready));
        Ok(ready)
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
    current: Option<(Unit, Selection)>,
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
            if let Some((unit, selection)) = &self.current {
                let rows = self.batch_rows.min(selection.len().saturating_sub(self.at));
                let to = self.at + if rows == 0 { 0 } else { self.execution.claim(rows) };
                if self.at < to {
                    let part = part(selection, self.at, to);
                    let batch = self.read(unit, &part)?;
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

    fn read(&self, unit: &Unit, part: &Part<'_>) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = self
            .execution
            .fragment
            .columns
            .iter()
            .map(|column| unit.read(column, part))
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
        #[expect(clippy::cast_possible_truncation, reason = "positions are below the u32 row count of a unit")]
        Selection::All(_) => Part::Run(from as u32..to as u32),
        Selection::Rows(rows) => Part::Rows(&rows[from..to]),
    }
}
