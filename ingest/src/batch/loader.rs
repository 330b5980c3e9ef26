//! One load from its first byte to its last stored segment.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

use freshet_segment::catalog::NewSegment;
use freshet_segment::growing::GrowingSegment;
use freshet_segment::id::{SegmentId, Version};
use freshet_segment::schema::TableSchema;
use freshet_segment::time::Interval;

use super::pieces::{Pieces, records};
use super::{BatchInput, BatchProgress, BatchSpec, LETTERS_MAX, Loaded};
use crate::counts::Counts;
use crate::dead_letter::{DeadLetter, quote};
use crate::decode::{BadField, DecodeRules, Decoder, Rows};
use crate::error::{IngestError, Result};
use crate::ingest::Ingest;
use crate::publishing::seal_and_store;
use crate::routing::route;
use crate::tables::{Node, Table};
use crate::task::too_bad;
use crate::transform::TimeColumn;

/// Rows of a segment before the next is begun.
const ROWS_PER_SEGMENT_MAX: usize = 5_000_000;
/// The share of the budget that one load may fill before it seals.
const MEMORY_SHARE: usize = 4;
/// Numbers of segments leased at once.
const NUMBERS_LEASED: u32 = 64;

pub(super) fn load(ingest: &Arc<Ingest>, spec: &BatchSpec, progress: &BatchProgress) -> Result<Loaded> {
    let columns = spec.dimensions.declared_columns();
    let node = Arc::clone(&ingest.node);
    let table = node.runtime.block_on(async {
        let table = ingest.tables.open_or_create(&spec.table, &columns).await?;
        table.declare(&node, &columns).await?;
        Ok::<_, IngestError>(table)
    })?;
    let mut loader = Loader {
        node,
        table,
        spec,
        progress,
        growing: HashMap::new(),
        counted: 0,
        stored: Vec::new(),
        intervals: BTreeSet::new(),
        numbers: 0..0,
    };
    let done = loader.run();
    loader.table.memory.resize(loader.counted, 0);
    done?;
    Ok(Loaded { table: loader.table.id, segments: loader.stored, intervals: loader.intervals.into_iter().collect() })
}

struct Loader<'a> {
    node: Arc<Node>,
    table: Arc<Table>,
    spec: &'a BatchSpec,
    progress: &'a BatchProgress,
    growing: HashMap<Interval, GrowingSegment>,
    /// Bytes of the growing segments that the budget knows of.
    counted: usize,
    stored: Vec<NewSegment>,
    intervals: BTreeSet<Interval>,
    numbers: Range<u32>,
}

impl Loader<'_> {
    fn run(&mut self) -> Result<()> {
        let time = TimeColumn::new(&self.spec.time, &self.spec.granularity);
        let mut rows = Rows::new(DecodeRules::new(&self.spec.dimensions, &self.spec.time, time, BadField::Null));
        for input in &self.spec.inputs {
            // A header belongs to its file.
            let mut decoder = self.spec.decoder.decoder();
            let mut pieces = self.open(input)?;
            let mut first = true;
            while let Some((piece, lines)) = pieces.next()? {
                if self.progress.is_stopped() {
                    return Err(stopped());
                }
                if !first {
                    decoder.resume();
                }
                first = false;
                self.piece(piece, lines, decoder.as_mut(), &mut rows)?;
                self.make_room()?;
            }
        }
        let all: Vec<Interval> = self.growing.keys().copied().collect();
        all.into_iter().try_for_each(|interval| self.seal(interval))
    }

    fn open(&self, input: &BatchInput) -> Result<Pieces> {
        match input {
            BatchInput::Inline(text) => Pieces::new(Cursor::new(text.clone()), "inline data", &self.spec.decoder),
            BatchInput::File(path) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|error| IngestError::Invalid {
                    what: format!("`{name}` cannot be opened: {error}"),
                    at: None,
                    hint: Some("check that the file is there and may be read".to_owned()),
                })?;
                Pieces::new(file, &name, &self.spec.decoder)
            }
        }
    }

    /// Decodes a piece and appends its rows.
    fn piece(&mut self, piece: &[u8], lines: u64, decoder: &mut dyn Decoder, rows: &mut Rows) -> Result<()> {
        let records = records(&self.spec.decoder, piece);
        rows.begin(&self.table.schema());
        for (number, range) in (0u32..).zip(&records) {
            decoder.decode(number, piece.get(range.clone()).unwrap_or_default(), rows);
        }
        let outside = self.append(rows)?;
        let read = rows.len() as u64 + rows.refused() + rows.late();
        let counts = Counts {
            read,
            stored: rows.len() as u64 - outside,
            rejected: rows.refused(),
            late: rows.late() + outside,
            processed_with_error: rows.rows_with_errors(),
            bytes: piece.len() as u64,
            ..Counts::default()
        };
        *self.progress.counts.lock() += counts;
        self.keep_letters(piece, lines, &records, rows);
        let total = self.progress.counts();
        match too_bad(&self.spec.tuning, total.rejected + total.processed_with_error) {
            None => Ok(()),
            Some(what) => {
                let hint =
                    Some("see the rows in the task's report; correct them, or raise maxParseExceptions".to_owned());
                Err(IngestError::Invalid { what, at: None, hint })
            }
        }
    }

    fn keep_letters(&self, piece: &[u8], lines: u64, records: &[Range<usize>], rows: &Rows) {
        let mut letters = self.progress.letters.lock();
        let now = self.node.clock.now();
        for rejection in rows.rejections() {
            if letters.len() >= LETTERS_MAX {
                return;
            }
            let range = records.get(rejection.record as usize).cloned().unwrap_or_default();
            let before = piece.get(..range.start).unwrap_or_default().iter().filter(|b| **b == b'\n').count() as u64;
            letters.push(DeadLetter {
                time: now,
                stream: Arc::from("batch"),
                partition: 0,
                offset: -1,
                row: rejection.row_in_record,
                at: rejection.at.text(lines + before),
                reason: rejection.reason.clone(),
                hint: rejection.hint.clone(),
                row_stored: false,
                raw: quote(piece.get(range).unwrap_or_default()),
            });
        }
    }

    /// Appends rows to their segments; says how many lie outside the wanted intervals.
    fn append(&mut self, rows: &Rows) -> Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        let schema = self.table.widen(&self.node, &rows.observed())?;
        // Few enough values a batch that a piece of many sparse columns does not become gigabytes of nulls.
        let step = ((4 << 20) / schema.columns().len().max(1)).max(256);
        let mut outside = 0;
        let mut start = 0;
        while start < rows.len() {
            let range = start..rows.len().min(start + step);
            start = range.end;
            let batch = rows.batch(&schema, range.clone())?;
            let times = rows.times().get(range).unwrap_or_default();
            for mut part in route(times, &self.spec.granularity.segment) {
                outside += self.leave_out(times, &mut part.rows);
                if part.rows.is_empty() {
                    continue;
                }
                let full = |segment: &GrowingSegment| segment.rows() + part.rows.len() > self.rows_max();
                if self.growing.get(&part.interval).is_some_and(full) {
                    self.seal(part.interval)?;
                }
                let segment = self.segment(part.interval, &schema)?;
                segment.adopt_schema(Arc::clone(&schema));
                segment.append(&batch, &part.rows)?;
            }
        }
        Ok(outside)
    }

    fn leave_out(&self, times: &[i64], rows: &mut Vec<u32>) -> u64 {
        if self.spec.intervals.is_empty() {
            return 0;
        }
        let before = rows.len();
        let wanted = |millis: i64| {
            let t = freshet_segment::time::Timestamp::from_millis(millis);
            self.spec.intervals.iter().any(|interval| interval.contains(t))
        };
        rows.retain(|row| times.get(*row as usize).is_some_and(|millis| wanted(*millis)));
        (before - rows.len()) as u64
    }

    fn rows_max(&self) -> usize {
        self.spec.tuning.max_rows_per_segment.map_or(ROWS_PER_SEGMENT_MAX, |rows| rows as usize).max(1)
    }

    fn segment(&mut self, interval: Interval, schema: &Arc<TableSchema>) -> Result<&mut GrowingSegment> {
        if !self.growing.contains_key(&interval) {
            if self.numbers.is_empty() {
                let leased = self.node.catalog.lease_numbers(self.table.id, NUMBERS_LEASED);
                self.numbers = self.node.runtime.block_on(leased)?;
            }
            let number = self.numbers.next().ok_or_else(|| IngestError::internal("the catalog leased no number"))?;
            let version = Version::at(self.node.clock.now());
            let id = SegmentId { table: self.table.name.clone(), interval, version, number };
            self.growing.insert(interval, GrowingSegment::new(id, Arc::clone(schema)));
        }
        self.growing.get_mut(&interval).ok_or_else(|| IngestError::internal("a segment just made is gone"))
    }

    /// Seals the largest segments until the load's share of memory is half empty again.
    fn make_room(&mut self) -> Result<()> {
        self.count();
        let memory = self.node.budget.usage();
        let share = memory.max / MEMORY_SHARE;
        if self.counted < share && memory.used < memory.max {
            return Ok(());
        }
        while self.counted > share / 2 {
            let largest = self.growing.iter().max_by_key(|(_, segment)| segment.bytes()).map(|(interval, _)| *interval);
            let Some(interval) = largest else { break };
            self.seal(interval)?;
            self.count();
        }
        Ok(())
    }

    /// Tells the budget what the growing segments take.
    fn count(&mut self) {
        let bytes = self.growing.values().map(GrowingSegment::bytes).sum();
        self.table.memory.resize(self.counted, bytes);
        self.counted = bytes;
    }

    fn seal(&mut self, interval: Interval) -> Result<()> {
        let Some(mut segment) = self.growing.remove(&interval) else { return Ok(()) };
        if segment.rows() == 0 {
            return Ok(());
        }
        if self.progress.is_stopped() {
            return Err(stopped());
        }
        let stored = seal_and_store(&self.node, &self.table, &segment.snapshot())?;
        self.stored.push(stored.new_segment().clone());
        self.intervals.insert(interval);
        Ok(())
    }
}

fn stopped() -> IngestError {
    IngestError::Conflict { what: "the task was shut down".to_owned(), hint: None }
}
