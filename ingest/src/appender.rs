//! The second half of every task: decoded rows → segments → the timeline.
//!
//! An [`Appender`] owns the growing segments of one task, one for each interval that received rows, and nobody else
//! writes them. A batch goes all the way or not at all:
//!
//! ```text
//! widen the schema ─ lease numbers ─▶ append to segments ─▶ one publish ─▶ freshness
//!  (may fail: nothing has happened)    (must not fail)       (one swap)
//! ```
//! Whatever can fail for reasons outside stands before the first append. If an append fails nevertheless, the segments
//! it touched are given up: the timeline keeps their last published snapshot, which has no row of this batch, and the
//! next batch opens new ones. So a batch can be tried again without counting a row twice.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use freshet_segment::growing::{GrowingSegment, GrowingSnapshot};
use freshet_segment::id::{SegmentId, Version};
use freshet_segment::schema::TableSchema;
use freshet_segment::time::{Granularity, Interval, Timestamp};
use freshet_segment::timeline::Visible;

use crate::decode::Rows;
use crate::error::{ErrorKind, Result};
use crate::routing::route;
use crate::tables::{Node, Table};

/// Partition numbers leased at once, so that a new interval needs no round trip to the catalog.
const NUMBERS_LEASED: u32 = 16;
/// Rows of a segment before the next is opened.
const ROWS_PER_SEGMENT_MAX: u32 = 5_000_000;
/// Values (rows times columns) of one Arrow batch: a body of many sparse columns must not become gigabytes of nulls.
const VALUES_PER_BATCH_MAX: usize = 4 << 20;
/// What an open segment takes beside its rows, so that many small ones fill the budget too.
const SEGMENT_OVERHEAD_BYTES: usize = 4 << 10;

struct Open {
    segment: GrowingSegment,
}

/// A segment's rows as the timeline shows them.
struct Shown {
    snapshot: Arc<GrowingSnapshot>,
    /// Bytes counted against the budget.
    counted: usize,
}

/// What an appender holds that is not frozen yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsealed {
    pub(crate) rows: u64,
    pub(crate) bytes: usize,
    /// The last end of their intervals.
    pub(crate) last_end: Option<Timestamp>,
    /// Whether a segment has reached its number of rows.
    pub(crate) has_full: bool,
}

/// Writes one task's rows into one table.
pub(crate) struct Appender {
    node: Arc<Node>,
    table: Arc<Table>,
    granularity: Granularity,
    rows_per_segment_max: u32,
    open: HashMap<Interval, Open>,
    /// Segments that became full within the batch at hand: published with it, and then no longer written.
    filled: Vec<Open>,
    /// All segments that the timeline shows and that are not frozen, those included that are no longer written.
    shown: HashMap<SegmentId, Shown>,
    has_full: bool,
    numbers: Range<u32>,
}

impl Appender {
    pub(crate) fn new(node: Arc<Node>, table: Arc<Table>, granularity: Granularity, rows_max: Option<u32>) -> Self {
        Self {
            node,
            table,
            granularity,
            rows_per_segment_max: rows_max.unwrap_or(ROWS_PER_SEGMENT_MAX).max(1),
            open: HashMap::new(),
            filled: Vec::new(),
            shown: HashMap::new(),
            has_full: false,
            numbers: 0..0,
        }
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Stores rows and makes them visible. `produced` says of each record when it was produced or received.
    ///
    /// # Errors
    /// Of the catalog, or `Exhausted` when the table cannot hold the columns: nothing is stored, and the same rows may
    /// be given again.
    pub(crate) fn append(&mut self, rows: &Rows, produced: impl Fn(u32) -> Timestamp) -> Result<()> {
        if !rows.is_empty() {
            let schema = self.table.widen(&self.node, &rows.observed())?;
            let touched = match self.append_rows(rows, &schema) {
                // A dictionary is full: the segments are given up, and new ones have room.
                Err(error) if error.kind() == ErrorKind::Exhausted => self.append_rows(rows, &schema),
                done => done,
            }?;
            self.publish(rows, schema, &touched, &produced);
        }
        Ok(())
    }

    /// Appends all rows or none; says which intervals they are in.
    fn append_rows(&mut self, rows: &Rows, schema: &Arc<TableSchema>) -> Result<HashSet<Interval>> {
        let slices = self.slices(rows, schema)?;
        let mut touched = HashSet::new();
        match self.append_slices(rows, schema, &slices, &mut touched) {
            Ok(()) => Ok(touched),
            Err(error) => {
                for interval in touched {
                    self.open.remove(&interval);
                }
                self.filled.clear();
                Err(error)
            }
        }
    }

    /// Cuts the rows into batches, routes each, and leases the numbers that all together need.
    fn slices(&mut self, rows: &Rows, schema: &TableSchema) -> Result<Vec<Slice>> {
        let rows_max = (VALUES_PER_BATCH_MAX / schema.columns().len().max(1)).max(256);
        let mut slices = Vec::new();
        let mut planned: HashMap<Interval, usize> = HashMap::new();
        let mut segments_wanted = 0u32;
        let mut start = 0;
        while start < rows.len() {
            let range = start..rows.len().min(start + rows_max);
            start = range.end;
            let parts = route(&rows.times()[range.clone()], &self.granularity);
            for part in &parts {
                let filled = planned.entry(part.interval).or_insert_with(|| {
                    self.open.get(&part.interval).map_or(usize::MAX / 2, |open| open.segment.rows())
                });
                if *filled + part.rows.len() > self.rows_per_segment_max as usize {
                    segments_wanted += 1;
                    *filled = 0;
                }
                *filled += part.rows.len();
            }
            slices.push(Slice { range, parts });
        }
        while self.numbers.len() < segments_wanted as usize {
            let count = segments_wanted.max(NUMBERS_LEASED);
            // What is left of the old block is given up: numbers need not be dense.
            self.numbers = self.node.runtime.block_on(self.node.catalog.lease_numbers(self.table.id, count))?;
        }
        Ok(slices)
    }

    fn append_slices(
        &mut self,
        rows: &Rows,
        schema: &Arc<TableSchema>,
        slices: &[Slice],
        touched: &mut HashSet<Interval>,
    ) -> Result<()> {
        for slice in slices {
            let batch = rows.batch(schema, slice.range.clone())?;
            for part in &slice.parts {
                let full = self
                    .open
                    .get(&part.interval)
                    .is_none_or(|open| open.segment.rows() + part.rows.len() > self.rows_per_segment_max as usize);
                if full {
                    self.roll_over(part.interval, schema, touched)?;
                }
                touched.insert(part.interval);
                if let Some(open) = self.open.get_mut(&part.interval) {
                    open.segment.adopt_schema(Arc::clone(schema));
                    open.segment.append(&batch, &part.rows)?;
                }
            }
        }
        Ok(())
    }

    /// Opens the next segment of an interval.
    fn roll_over(&mut self, interval: Interval, schema: &Arc<TableSchema>, touched: &HashSet<Interval>) -> Result<()> {
        let number = match self.numbers.next() {
            Some(number) => number,
            None => {
                self.numbers =
                    self.node.runtime.block_on(self.node.catalog.lease_numbers(self.table.id, NUMBERS_LEASED))?;
                self.numbers
                    .next()
                    .ok_or_else(|| crate::error::IngestError::internal("the catalog leased no number"))?
            }
        };
        let id =
            SegmentId { table: self.table.name.clone(), interval, version: Version::at(self.node.clock.now()), number };
        let segment = GrowingSegment::new(id, Arc::clone(schema));
        let full = self.open.insert(interval, Open { segment });
        self.has_full |= full.is_some();
        self.filled.extend(full.filter(|_| touched.contains(&interval)));
        Ok(())
    }

    fn snapshot(&mut self, open: &mut Open) -> Arc<GrowingSnapshot> {
        let bytes = open.segment.bytes() + SEGMENT_OVERHEAD_BYTES;
        let snapshot = open.segment.snapshot();
        let shown = Shown { snapshot: Arc::clone(&snapshot), counted: bytes };
        let before = self.shown.insert(snapshot.id().clone(), shown).map_or(0, |before| before.counted);
        self.table.memory.resize(before, bytes);
        snapshot
    }

    /// What is not frozen yet.
    pub(crate) fn unsealed(&self) -> Unsealed {
        Unsealed {
            rows: self.shown.values().map(|shown| shown.snapshot.rows() as u64).sum(),
            bytes: self.shown.values().map(|shown| shown.counted).sum(),
            last_end: self.shown.keys().map(|id| id.interval.end()).max(),
            has_full: self.has_full,
        }
    }

    /// Ends all growing segments: what the timeline shows of them, and the bytes counted for them.
    pub(crate) fn freeze(&mut self) -> (Vec<Arc<GrowingSnapshot>>, usize) {
        self.open.clear();
        self.has_full = false;
        let shown: Vec<Shown> = std::mem::take(&mut self.shown).into_values().collect();
        let counted = shown.iter().map(|s| s.counted).sum();
        let mut snapshots: Vec<_> = shown.into_iter().map(|s| s.snapshot).collect();
        snapshots.sort_by(|a, b| a.id().cmp(b.id()));
        (snapshots, counted)
    }

    /// Takes everything that is not frozen out of sight and gives its memory back.
    pub(crate) fn discard(&mut self) {
        let (snapshots, counted) = self.freeze();
        let ids: Vec<SegmentId> = snapshots.iter().map(|s| s.id().clone()).collect();
        self.table.timeline.remove(&ids);
        self.table.memory.resize(counted, 0);
    }

    /// After a thread that ended in the middle: its segments may hold rows that were never shown, so they are no longer
    /// written. What is shown of them stays.
    pub(crate) fn close_open(&mut self) {
        self.open.clear();
        self.filled.clear();
    }

    fn publish(
        &mut self,
        rows: &Rows,
        schema: Arc<TableSchema>,
        touched: &HashSet<Interval>,
        produced: &impl Fn(u32) -> Timestamp,
    ) {
        let mut snapshots = Vec::with_capacity(touched.len() + self.filled.len());
        let mut filled = std::mem::take(&mut self.filled);
        let open = touched.iter().map(|interval| self.open.remove_entry(interval)).collect::<Vec<_>>();
        for part in filled.iter_mut() {
            snapshots.push(self.snapshot(part));
        }
        for (interval, mut part) in open.into_iter().flatten() {
            snapshots.push(self.snapshot(&mut part));
            self.open.insert(interval, part);
        }
        // Rows of one record follow one another, and records of one poll often share their millisecond.
        let mut ages: Vec<(Timestamp, u64)> = Vec::new();
        let now = self.node.clock.now();
        for record in rows.records() {
            // A producer whose clock is ahead did not produce in the future.
            let t = produced(*record).min(now);
            match ages.last_mut() {
                Some((last, count)) if *last == t => *count += 1,
                _ => ages.push((t, 1)),
            }
        }
        let min_changed = rows.times().iter().copied().min().map_or(Timestamp::MIN, Timestamp::from_millis);
        let produced_max = ages.iter().map(|(t, _)| *t).max();
        self.table.timeline.publish(snapshots, Visible { schema, min_changed, produced_max });
        let (now, monotonic) = (self.node.clock.now(), self.node.clock.monotonic());
        for (t, count) in ages {
            self.table.timeline.freshness().record(t, now, monotonic, count);
        }
    }
}

/// Rows of one Arrow batch, and where they go.
struct Slice {
    range: Range<usize>,
    parts: Vec<crate::routing::Part>,
}
