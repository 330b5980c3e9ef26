//! An open segment: its files checked as far as they were read, its schema, its index, the map of its Parquet file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::PageIndexPolicy;

use super::blocks::{CheckedFile, Chunks};
use super::index::SegmentIndex;
use super::meta::{FORMAT, Meta, Sums};
use crate::catalog::{NewSegment, StoredFile};
use crate::error::{ErrorKind, Result, SegmentError};
use crate::growing::CodeSet;
use crate::id::SegmentId;
use crate::schema::{Column, TableSchema};

/// Where the three files of a segment lie on this machine.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) parquet: std::path::PathBuf,
    pub(super) index: std::path::PathBuf,
    pub(super) meta: std::path::PathBuf,
}

/// A segment whose files are open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(super) id: SegmentId,
    pub(super) schema: TableSchema,
    pub(super) rows: u64,
    pub(super) unit_rows: u32,
    pub(super) page_rows: u32,
    group_rows: u64,
    pub(super) content_sum: u64,
    pub(super) index: SegmentIndex,
    parquet: Arc<CheckedFile>,
    columns: ArrowReaderMetadata,
    damaged: AtomicBool,
}

impl Opened {
    /// Opens the files and checks that they are those of `row`.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`; the caller names the segment.
    pub(super) fn open(row: &NewSegment, paths: &Paths) -> Result<Self> {
        guarded(|| Self::open_files(row, paths))
    }

    fn open_files(row: &NewSegment, paths: &Paths) -> Result<Self> {
        if row.format != FORMAT {
            let reason = format!("it has format {} and this build reads {FORMAT}", row.format);
            return Err(SegmentError::corrupt("catalog row", reason));
        }
        let meta = read_meta(row, &paths.meta)?;
        let bad = |reason: String| SegmentError::corrupt(format!("file `{}`", row.files.meta.path), reason);
        let content_sum = meta.content_sum().ok_or_else(|| bad("its content sum is no number".to_owned()))?;
        let same = meta.rows == row.rows && content_sum == row.content_sum && meta.time_range() == row.time_range;
        if !same || meta.schema.version != row.schema_version || meta.attempt().is_none() {
            return Err(bad("it tells of other rows than the catalog".to_owned()));
        }
        for (file, told) in [(&row.files.parquet, &meta.parquet), (&row.files.index, &meta.index)] {
            if file.bytes != told.bytes || super::meta::hex(&file.sha256) != told.sha256 {
                return Err(bad(format!("it tells of another file than `{}`", file.path)));
            }
        }
        let good = meta.page_rows > 0
            && meta.unit_rows.is_multiple_of(meta.page_rows)
            && (1..=super::UNIT_ROWS).contains(&meta.unit_rows)
            && meta.unit_rows / meta.page_rows <= 64
            && meta.units_per_group > 0;
        if !good {
            return Err(bad("its numbers of rows do not fit each other".to_owned()));
        }
        let schema = meta.schema.clone().read().map_err(|e| bad(e.to_string()))?;
        let parquet = Arc::new(CheckedFile::open(&paths.parquet, &row.files.parquet.path, &meta.parquet)?);
        let index = CheckedFile::open(&paths.index, &row.files.index.path, &meta.index)?;
        let units = usize::try_from(meta.rows.div_ceil(u64::from(meta.unit_rows)))
            .map_err(|_| bad("it has too many rows".to_owned()))?;
        let opened = Self {
            id: row.id.clone(),
            rows: meta.rows,
            unit_rows: meta.unit_rows,
            page_rows: meta.page_rows,
            group_rows: u64::from(meta.unit_rows) * u64::from(meta.units_per_group),
            content_sum,
            index: SegmentIndex::open(index, &schema, units)?,
            columns: arrow_metadata(&parquet, &schema)?,
            parquet,
            schema,
            damaged: AtomicBool::new(false),
        };
        opened.check_groups()?;
        Ok(opened)
    }

    /// Units are found by arithmetic, so the row groups must be as long as the arithmetic says.
    fn check_groups(&self) -> Result<()> {
        let mut rest = self.rows;
        for group in self.columns.metadata().row_groups() {
            let expected = rest.min(self.group_rows);
            if u64::try_from(group.num_rows()).ok() != Some(expected) {
                return Err(self.parquet.failure("its row groups are not as long as they should be"));
            }
            rest -= expected;
        }
        if rest > 0 {
            return Err(self.parquet.failure("rows are missing at its end"));
        }
        Ok(())
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.columns.metadata().memory_size() + self.index.bytes()
    }

    /// Number of distinct values of a text column, none of other columns.
    pub(super) fn cardinality(&self, column: &str) -> Option<usize> {
        match self.schema.index_of(column) {
            Some(index) => self.index.distinct(index),
            None => Some(0),
        }
    }

    /// The codes of a column that fit, where the index has its dictionary and the column is stored as the reading has it.
    pub(crate) fn matching(&self, column: &Column, wanted: &dyn Fn(&str) -> bool) -> Result<Option<CodeSet>> {
        let Some(index) = self.stored(column) else { return Ok(None) };
        self.named(guarded(|| self.index.matching(index, wanted)))
    }

    /// For each row group whether it may hold one of the texts, by its bloom filter; `None` where it has none.
    pub(crate) fn groups_with(&self, column: &Column, texts: &[&str]) -> Result<Option<Vec<bool>>> {
        let Some(index) = self.stored(column) else { return Ok(None) };
        let reader = Chunks(Arc::clone(&self.parquet));
        let mut groups = Vec::new();
        for group in self.columns.metadata().row_groups() {
            let chunk = group.column(index);
            if chunk.bloom_filter_offset().is_none() {
                return Ok(None);
            }
            let filter = guarded(|| {
                Sbbf::read_from_column_chunk(chunk, &reader).map_err(|e| self.parquet.failure(e.to_string()))
            });
            let Some(filter) = self.named(filter)? else { return Ok(None) };
            groups.push(texts.iter().any(|text| filter.check(*text)));
        }
        Ok(Some(groups))
    }

    /// The row group of a unit.
    pub(super) fn group_of(&self, unit: usize) -> usize {
        usize::try_from(unit as u64 * u64::from(self.unit_rows) / self.group_rows).unwrap_or(usize::MAX)
    }

    /// The place of a column that is stored with the type the reading has.
    fn stored(&self, column: &Column) -> Option<usize> {
        let index = self.schema.index_of(&column.name)?;
        self.schema.columns().get(index).filter(|c| c.column_type == column.column_type).map(|_| index)
    }

    /// Names the segment in an error, and remembers damage.
    pub(super) fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|e| {
            if e.kind() == ErrorKind::Corrupt {
                self.damaged.store(true, Ordering::Release);
            }
            SegmentError::unreadable(&self.id, e)
        })
    }

    /// Whether some read found damage.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Decodes these pages (a bit each) of one column of a unit that begins at row `from` and has `rows` rows: one array a
    /// page, in order.
    pub(super) fn decode(&self, column: usize, from: u64, rows: u32, pages: u64) -> Result<Vec<ArrayRef>> {
        self.named(guarded(|| self.decode_pages(column, from, rows, pages)))
    }

    fn decode_pages(&self, column: usize, from: u64, rows: u32, pages: u64) -> Result<Vec<ArrayRef>> {
        let failure = |e: &dyn std::fmt::Display| self.parquet.failure(e.to_string());
        let group = usize::try_from(from / self.group_rows).map_err(|e| failure(&e))?;
        let ahead = usize::try_from(from % self.group_rows).map_err(|e| failure(&e))?;
        let mut selectors = vec![RowSelector::skip(ahead)];
        let mut lengths = Vec::new();
        for page in 0..rows.div_ceil(self.page_rows) {
            let length = self.page_rows.min(rows - page * self.page_rows) as usize;
            if pages >> page & 1 == 1 {
                selectors.push(RowSelector::select(length));
                lengths.push(length);
            } else {
                selectors.push(RowSelector::skip(length));
            }
        }
        let mask = ProjectionMask::leaves(self.columns.parquet_schema(), [column]);
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(Chunks(Arc::clone(&self.parquet)), self.columns.clone())
                .with_row_groups(vec![group])
                .with_projection(mask)
                .with_row_selection(RowSelection::from(selectors))
                .with_batch_size(self.page_rows as usize)
                .build()
                .map_err(|e| failure(&e))?;
        let mut arrays = Vec::with_capacity(lengths.len());
        for batch in reader {
            let batch = batch.map_err(|e| failure(&e))?;
            let array = batch.columns().first().cloned().ok_or_else(|| failure(&"a batch has no column"))?;
            arrays.push(array);
        }
        if !arrays.iter().map(|a| a.len()).eq(lengths.iter().copied()) {
            return Err(failure(&"a page has another number of rows than it should"));
        }
        Ok(arrays)
    }
}

fn read_meta(row: &NewSegment, path: &Path) -> Result<Meta> {
    let StoredFile { path: name, bytes, sha256 } = &row.files.meta;
    let found = std::fs::read(path).map_err(|source| SegmentError::Io { doing: "read", path: name.clone(), source })?;
    let (_, hash) = Sums::of(&found);
    if found.len() as u64 != *bytes || hash != *sha256 {
        return Err(SegmentError::corrupt(format!("file `{name}`"), "its hash is not the one in the catalog"));
    }
    Meta::parse(&found, &row.id)
}

fn arrow_metadata(file: &Arc<CheckedFile>, schema: &TableSchema) -> Result<ArrowReaderMetadata> {
    let fields: Vec<Field> = schema
        .columns()
        .iter()
        .map(|c| Field::new(&*c.name, c.column_type.arrow_type(), c.field().is_nullable()))
        .collect();
    let options = ArrowReaderOptions::new()
        .with_schema(Arc::new(Schema::new(fields)))
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Required);
    ArrowReaderMetadata::load(&Chunks(Arc::clone(file)), options).map_err(|e| file.failure(e.to_string()))
}

/// Runs a reader of foreign bytes: libraries may panic on damage that checksums did not find.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(SegmentError::corrupt("segment file", format!("its reader gave up: {}", text.unwrap_or("no reason"))))
    })
}
