//! Growing segments: rows in memory, queryable at once, appended to by one task.
//!
//! ```text
//! batch ─▶ open chunk (append-only buffers) ──full──▶ closed chunk + postings + zones
//!              │ length                                  │ shared as it is
//!              └────────────▶ GrowingSnapshot ◀──────────┘
//! ```
//! A snapshot costs a few pointers a column whatever the number of rows: closed chunks are shared, of the open one only
//! the length is fixed (see `growing::buffer`). Text goes through one dictionary per column and segment. When the table's schema
//! widens, the open chunk is closed early and the next one is written with the new types; readers cast.

mod buffer;
mod cast;
mod chunk;
mod columns;
mod dictionary;
mod snapshot;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;

pub(crate) use buffer::Plain;
pub(crate) use cast::cast_column;
pub use chunk::{CHUNK_ROWS, Chunk};
pub(crate) use chunk::{ChunkColumn, ColumnIndex, Numbers};
pub use dictionary::DictionaryView;
pub(crate) use dictionary::{CodeSet, Dictionary};
pub use snapshot::GrowingSnapshot;

use self::columns::OpenColumn;
use crate::error::{Result, SegmentError};
use crate::id::SegmentId;
use crate::index::postings::Postings;
use crate::index::zones::Zone;
use crate::schema::{Observed, TIME_COLUMN, TableSchema};
use crate::time::Timestamp;

/// What an append added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Rows.
    pub rows: usize,
    /// Bytes of memory by which the segment grew; capacity counts.
    pub bytes: usize,
}

struct OpenChunk {
    schema: Arc<TableSchema>,
    columns: Vec<OpenColumn>,
    rows: usize,
    time_range: Option<(Timestamp, Timestamp)>,
}

impl OpenChunk {
    fn new(schema: Arc<TableSchema>) -> Self {
        let columns = schema.columns().iter().map(|_| OpenColumn::Absent).collect();
        Self { schema, columns, rows: 0, time_range: None }
    }

    fn bytes(&self) -> usize {
        self.columns.iter().map(OpenColumn::bytes).sum()
    }

    fn view(&self, dictionaries: &HashMap<Arc<str>, Arc<DictionaryView>>) -> Chunk {
        let names = self.schema.columns().iter();
        Chunk {
            schema: Arc::clone(&self.schema),
            rows: u32::try_from(self.rows).expect("a chunk has at most 65,536 rows"),
            columns: names.zip(&self.columns).map(|(c, column)| column.view(&c.name, dictionaries)).collect(),
            time_range: self.time_range,
            indexes: Vec::new(),
            bytes: self.bytes(),
        }
    }
}

/// A segment that one task appends to.
pub struct GrowingSegment {
    id: SegmentId,
    schema: Arc<TableSchema>,
    dictionaries: HashMap<Arc<str>, Dictionary>,
    /// Views of the dictionaries as of the last snapshot; one that has not grown since is lent again.
    views: HashMap<Arc<str>, Arc<DictionaryView>>,
    closed: Vec<Arc<Chunk>>,
    open: OpenChunk,
    rows: usize,
}

impl std::fmt::Debug for GrowingSegment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrowingSegment({}, {} rows)", self.id, self.rows)
    }
}

impl GrowingSegment {
    /// An empty segment.
    pub fn new(id: SegmentId, schema: Arc<TableSchema>) -> Self {
        Self {
            id,
            open: OpenChunk::new(Arc::clone(&schema)),
            schema,
            dictionaries: HashMap::new(),
            views: HashMap::new(),
            closed: Vec::new(),
            rows: 0,
        }
    }

    /// Its identity.
    pub fn id(&self) -> &SegmentId {
        &self.id
    }

    /// Rows appended so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory it holds; capacity counts, filled or not.
    pub fn bytes(&self) -> usize {
        self.closed.iter().map(|c| c.bytes).sum::<usize>()
            + self.open.bytes()
            + self.dictionaries.values().map(Dictionary::bytes).sum::<usize>()
    }

    /// Takes on a wider schema of the same table. Rows that are there keep their types; the next row starts a new chunk.
    pub fn adopt_schema(&mut self, schema: Arc<TableSchema>) {
        if schema.version() == self.schema.version() {
            return;
        }
        self.schema = schema;
        if self.open.rows == 0 {
            self.open = OpenChunk::new(Arc::clone(&self.schema));
        } else {
            self.close_chunk();
        }
    }

    /// Appends these rows of the batch, in this order. The batch's first column is `__time` without nulls; other columns
    /// are found by name and must fit the segment's schema (see [`TableSchema::widen`]); columns it lacks become null.
    ///
    /// # Errors
    /// `Invalid` when the batch has a column the schema lacks or cannot hold, or a row without time: nothing is appended.
    /// `Full` when a dictionary is full: the segment must be given up, its rows are incomplete.
    pub fn append(&mut self, batch: &RecordBatch, rows: &[u32]) -> Result<Appended> {
        let bytes_before = self.bytes();
        let columns = self.fit(batch)?;
        let times = batch.column(0).as_primitive::<TimestampMillisecondType>();
        let mut rest = rows;
        while !rest.is_empty() {
            let room = CHUNK_ROWS - self.open.rows;
            if room == 0 {
                self.close_chunk();
                continue;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.append_to_open(&columns, times.values(), now)?;
            rest = later;
        }
        self.rows += rows.len();
        Ok(Appended { rows: rows.len(), bytes: self.bytes().saturating_sub(bytes_before) })
    }

    /// For each column of the schema the batch's array, cast to the schema's type.
    fn fit(&self, batch: &RecordBatch) -> Result<Vec<Option<ArrayRef>>> {
        let fields = batch.schema();
        let first = fields.fields().first().map(|f| f.name().as_str());
        if first != Some(TIME_COLUMN) || batch.column(0).null_count() > 0 {
            return Err(SegmentError::invalid("batch", "its first column must be `__time`, without nulls"));
        }
        let mut columns = vec![None; self.schema.columns().len()];
        for (field, array) in fields.fields().iter().zip(batch.columns()) {
            let seen = Observed::from_field(field)?;
            let index = self.schema.index_of(&seen.name).ok_or_else(|| {
                SegmentError::invalid("batch", format!("column `{}` is not in the table's schema", seen.name))
            })?;
            let wanted = &self.schema.columns()[index];
            let stays = seen.column_type == wanted.column_type;
            columns[index] = Some(if stays {
                Arc::clone(array)
            } else {
                cast_column(&seen.name, array, seen.column_type, seen.multi_value, wanted.column_type)?
            });
        }
        if columns[0].as_ref().is_none_or(|c| !matches!(c.data_type(), arrow::datatypes::DataType::Timestamp(..))) {
            return Err(SegmentError::invalid("batch", "`__time` must hold timestamps in milliseconds"));
        }
        Ok(columns)
    }

    fn append_to_open(&mut self, columns: &[Option<ArrayRef>], times: &[i64], rows: &[u32]) -> Result<()> {
        let Self { open, schema, dictionaries, .. } = self;
        let before = open.rows;
        for ((column, open_column), array) in schema.columns().iter().zip(&mut open.columns).zip(columns) {
            let Some(array) = array else {
                open_column.append_nulls(rows.len(), CHUNK_ROWS);
                continue;
            };
            let dictionary = column
                .column_type
                .is_text()
                .then(|| dictionaries.entry(Arc::clone(&column.name)).or_insert_with(Dictionary::new));
            open_column.append(column.column_type, array, rows, before, CHUNK_ROWS, dictionary)?;
        }
        for row in rows {
            let t = Timestamp::from_millis(times[*row as usize]);
            open.time_range = Some(open.time_range.map_or((t, t), |(min, max)| (min.min(t), max.max(t))));
        }
        open.rows += rows.len();
        Ok(())
    }

    fn close_chunk(&mut self) {
        self.refresh_views();
        let mut chunk = self.open.view(&self.views);
        chunk.indexes = chunk
            .columns
            .iter()
            .map(|column| ColumnIndex { postings: Postings::of(column), zone: Zone::of(column) })
            .collect();
        chunk.bytes += chunk.indexes.iter().filter_map(|i| i.postings.as_ref()).map(Postings::bytes).sum::<usize>();
        self.closed.push(Arc::new(chunk));
        self.open = OpenChunk::new(Arc::clone(&self.schema));
    }

    fn refresh_views(&mut self) {
        for (name, dictionary) in &self.dictionaries {
            match self.views.get(name) {
                Some(view) if view.len() == dictionary.len() => {}
                _ => {
                    self.views.insert(Arc::clone(name), Arc::new(dictionary.snapshot()));
                }
            }
        }
    }

    /// What is there now, immutable, for as long as anyone wants it.
    pub fn snapshot(&mut self) -> Arc<GrowingSnapshot> {
        self.refresh_views();
        let mut chunks = self.closed.clone();
        if self.open.rows > 0 {
            chunks.push(Arc::new(self.open.view(&self.views)));
        }
        Arc::new(GrowingSnapshot::new(self.id.clone(), chunks, self.views.clone(), self.rows, self.bytes()))
    }
}

#[cfg(test)]
pub(crate) mod tests;
