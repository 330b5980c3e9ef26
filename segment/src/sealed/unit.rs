//! A unit: neighbouring rows of a sealed segment that one thread reads, page by page as they are wanted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{concat, interleave, take};
use parking_lot::Mutex;

use super::index::UnitZones;
use super::opened::{Opened, guarded};
use super::postings::Found;
use crate::error::{Result, SegmentError};
use crate::growing::{CodeSet, cast_column};
use crate::schema::{Column, TableSchema};
use crate::selection::{Part, Selection};
use crate::time::Timestamp;

/// Up to 65,536 neighbouring rows of a sealed segment.
///
/// Decoded pages are kept as long as the unit is, because a reader comes back for the next rows of the same pages.
pub struct SealedUnit {
    opened: Arc<Opened>,
    number: usize,
    rows: u32,
    /// A bit for each page that may hold wanted rows.
    wanted: AtomicU64,
    decoded: Mutex<HashMap<usize, Pages>>,
}

/// Decoded pages of one column.
#[derive(Debug, Clone)]
struct Pages {
    arrays: Vec<Option<ArrayRef>>,
}

impl fmt::Debug for SealedUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedUnit({} of {}, {} rows)", self.number, self.opened.id, self.rows)
    }
}

impl Clone for SealedUnit {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.opened), self.number)
    }
}

impl SealedUnit {
    pub(super) fn new(opened: Arc<Opened>, number: usize) -> Self {
        let unit_rows = u64::from(opened.unit_rows);
        let rows = (opened.rows.saturating_sub(number as u64 * unit_rows)).min(unit_rows);
        let rows = u32::try_from(rows).unwrap_or(0);
        Self { opened, number, rows, wanted: AtomicU64::new(u64::MAX), decoded: Mutex::new(HashMap::new()) }
    }

    /// How many rows it has.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// First and last event time.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        self.zones().map(|zones| (zones.min_time, zones.max_time))
    }

    pub(crate) fn zones(&self) -> Option<&UnitZones> {
        self.opened.index.units.get(self.number)
    }

    pub(crate) fn schema(&self) -> &TableSchema {
        &self.opened.schema
    }

    /// The row group it lies in.
    pub(crate) fn group(&self) -> usize {
        self.opened.group_of(self.number)
    }

    /// What the index says of the rows whose code of this column is in the set.
    pub(crate) fn find(&self, column: usize, codes: &CodeSet) -> Result<Found> {
        let index = &self.opened.index;
        self.opened.named(guarded(|| index.find(column, self.number, codes, self.rows)))
    }

    pub(crate) fn page_rows(&self) -> u32 {
        self.opened.page_rows
    }

    /// Remembers which pages a selection leaves, so that a column's first read beyond one page takes them all at once.
    pub(crate) fn want(&self, selection: &Selection) {
        let pages = match selection {
            Selection::All(_) => u64::MAX,
            Selection::Rows(rows) => rows.iter().fold(0, |pages, row| pages | 1 << (row / self.opened.page_rows)),
        };
        self.wanted.store(pages, Ordering::Relaxed);
    }

    /// As [`Unit::read`](crate::timeline::Unit::read).
    ///
    /// # Errors
    /// As [`Unit::read`](crate::timeline::Unit::read).
    pub fn read(&self, wanted: &Column, part: &Part<'_>) -> Result<ArrayRef> {
        let Some(index) = self.schema().index_of(&wanted.name) else {
            return Ok(new_null_array(&wanted.column_type.arrow_type(), part.len()));
        };
        let Some(stored) = self.schema().columns().get(index) else {
            return Ok(new_null_array(&wanted.column_type.arrow_type(), part.len()));
        };
        if part.is_empty() {
            return Ok(new_null_array(&wanted.column_type.arrow_type(), 0));
        }
        let array = self.gather(index, stored, part)?;
        debug_assert_eq!(array.len(), part.len());
        cast_column(&wanted.name, &array, stored.column_type, stored.multi_value, wanted.column_type)
    }

    fn gather(&self, index: usize, stored: &Column, part: &Part<'_>) -> Result<ArrayRef> {
        let page_rows = self.opened.page_rows;
        let failed = |source| SegmentError::Arrow { column: stored.name.to_string(), source };
        match part {
            Part::Run(run) => {
                let (first, last) = (run.start / page_rows, (run.end - 1) / page_rows);
                let pages = self.pages(index, (first..=last).fold(0, |pages, page| pages | 1 << page))?;
                let mut pieces = Vec::new();
                for (page, array) in (first..=last).zip(&pages) {
                    let from = run.start.max(page * page_rows) - page * page_rows;
                    let to = run.end.min((page + 1) * page_rows) - page * page_rows;
                    pieces.push(array.slice(from as usize, (to - from) as usize));
                }
                match pieces.as_slice() {
                    [one] => Ok(Arc::clone(one)),
                    many => {
                        let many: Vec<&dyn Array> = many.iter().map(|a| &**a).collect();
                        concat(&many).map_err(failed)
                    }
                }
            }
            Part::Rows(rows) => {
                let mask = rows.iter().fold(0u64, |pages, row| pages | 1 << (row / page_rows));
                let pages = self.pages(index, mask)?;
                if let [one] = pages.as_slice() {
                    let rows = UInt32Array::from_iter_values(rows.iter().map(|row| row % page_rows));
                    return take(one, &rows, None).map_err(failed);
                }
                // The place of a page among those that were asked for.
                let place = |page: u32| (mask & ((1u64 << page) - 1)).count_ones() as usize;
                let places: Vec<(usize, usize)> =
                    rows.iter().map(|row| (place(row / page_rows), (row % page_rows) as usize)).collect();
                let pages: Vec<&dyn Array> = pages.iter().map(|a| &**a).collect();
                interleave(&pages, &places).map_err(failed)
            }
        }
    }

    /// The arrays of these pages (a bit each) of a column, in order. A column that is read for the first time gives what is
    /// asked; when its reader comes back for more it will want the rest too, and one pass over the column is cheaper.
    pub(crate) fn pages(&self, column: usize, asked: u64) -> Result<Vec<ArrayRef>> {
        let count = self.rows.div_ceil(self.opened.page_rows);
        let known = self.decoded.lock().get(&column).cloned();
        let again = known.is_some();
        let mut arrays = known.map_or_else(|| vec![None; count as usize], |pages| pages.arrays);
        let has = |arrays: &[Option<ArrayRef>], page: u32| arrays.get(page as usize).is_some_and(Option::is_some);
        let missing: u64 = (0..count).filter(|page| !has(&arrays, *page)).fold(0, |pages, page| pages | 1 << page);
        if asked & missing != 0 {
            let rest = if again { self.wanted.load(Ordering::Relaxed) } else { 0 };
            let pages = (asked | rest) & missing;
            let from = self.number as u64 * u64::from(self.opened.unit_rows);
            let mut decoded = self.opened.decode(column, from, self.rows, pages)?.into_iter();
            for (page, slot) in arrays.iter_mut().enumerate() {
                if pages >> page & 1 == 1 {
                    *slot = decoded.next();
                }
            }
            self.decoded.lock().insert(column, Pages { arrays: arrays.clone() });
        }
        let wanted = arrays.into_iter().enumerate().filter(|(page, _)| asked >> page & 1 == 1);
        wanted
            .map(|(_, array)| array)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| SegmentError::corrupt(format!("segment {}", self.opened.id), "a page is missing"))
    }

    /// Gives up what was decoded.
    pub(super) fn forget(&self) {
        self.decoded.lock().clear();
    }
}
