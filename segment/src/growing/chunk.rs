//! A chunk: up to 65,536 rows of a growing segment, as readers see them.
//!
//! A chunk knows the schema it was written with and is asked for a column in the type its reader wants. A closed chunk
//! also has postings and zones; the open one is scanned.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, Float32Array, Float64Array, Int64Array, PrimitiveArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;

use super::buffer::{Plain, Slice};
use super::cast::cast_column;
use super::dictionary::DictionaryView;
use crate::error::{Result, SegmentError};
use crate::index::postings::Postings;
use crate::index::zones::Zone;
use crate::schema::{Column, ColumnType, TableSchema};
use crate::selection::Part;
use crate::time::Timestamp;

/// Most rows of a chunk.
pub const CHUNK_ROWS: usize = 65_536;

/// Numbers of one column, with a validity byte a row where some row is null.
#[derive(Debug, Clone)]
pub(crate) struct Numbers<T: Plain> {
    pub(crate) values: Slice<T>,
    pub(crate) valid: Option<Slice<u8>>,
}

impl<T: Plain + ArrowNativeType> Numbers<T> {
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|v| v[row] == 1)
    }

    fn array<A: ArrowPrimitiveType<Native = T>>(&self, part: &Part<'_>) -> PrimitiveArray<A> {
        match part {
            Part::Run(run) => {
                let (from, to) = (run.start as usize, run.end as usize);
                let nulls = self.valid.as_ref().and_then(|v| nulls(to - from, |i| v[from + i] == 1));
                PrimitiveArray::new(self.values.to_scalars(from, to - from), nulls)
            }
            Part::Rows(rows) => {
                let values: Vec<T> = rows.iter().map(|r| self.values[*r as usize]).collect();
                let nulls = self.valid.as_ref().and_then(|v| nulls(rows.len(), |i| v[rows[i] as usize] == 1));
                PrimitiveArray::new(ScalarBuffer::from(values), nulls)
            }
        }
    }
}

fn nulls(len: usize, valid: impl FnMut(usize) -> bool) -> Option<NullBuffer> {
    Some(NullBuffer::new(BooleanBuffer::collect_bool(len, valid))).filter(|n| n.null_count() > 0)
}

/// One column of a chunk.
#[derive(Debug, Clone)]
pub(crate) enum ChunkColumn {
    /// Null in every row.
    Absent,
    Long(Numbers<i64>),
    Double(Numbers<f64>),
    Float(Numbers<f32>),
    Text {
        codes: Slice<u32>,
        dictionary: Arc<DictionaryView>,
    },
}

impl ChunkColumn {
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Absent => true,
            Self::Long(numbers) => !numbers.is_valid(row),
            Self::Double(numbers) => !numbers.is_valid(row),
            Self::Float(numbers) => !numbers.is_valid(row),
            Self::Text { codes, .. } => codes[row] == 0,
        }
    }
}

/// What an index of a closed chunk knows of one column.
#[derive(Debug, Default)]
pub(crate) struct ColumnIndex {
    pub(crate) postings: Option<Postings>,
    pub(crate) zone: Option<Zone>,
}

/// Rows of one growing segment; immutable.
#[derive(Debug)]
pub struct Chunk {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) rows: u32,
    pub(crate) columns: Vec<ChunkColumn>,
    pub(crate) time_range: Option<(Timestamp, Timestamp)>,
    /// One a column; empty for the open chunk.
    pub(crate) indexes: Vec<ColumnIndex>,
    pub(crate) bytes: usize,
}

impl Chunk {
    /// How many rows it has.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// First and last event time; `None` without rows.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        self.time_range
    }

    /// Whether no row will be added any more; such a chunk has postings and zones.
    pub fn is_closed(&self) -> bool {
        !self.indexes.is_empty()
    }

    /// A column by name, with the type it was written with.
    pub(crate) fn stored(&self, name: &str) -> Option<(&Column, &ChunkColumn)> {
        self.schema.index_of(name).map(|i| (&self.schema.columns()[i], &self.columns[i]))
    }

    pub(crate) fn index(&self, name: &str) -> Option<&ColumnIndex> {
        self.schema.index_of(name).and_then(|i| self.indexes.get(i))
    }

    /// The rows of a part, in its order, as an array of `wanted`'s Arrow type; null where the chunk lacks the column.
    /// A run of numbers is lent, not copied.
    ///
    /// # Errors
    /// `Invalid` when the column was written with a type that `wanted` cannot hold: schemas only widen, so this means
    /// a reading's schema older than its segments.
    pub fn read(&self, wanted: &Column, part: &Part<'_>) -> Result<ArrayRef> {
        let Some((stored, column)) = self.stored(&wanted.name) else {
            return Ok(new_null_array(&wanted.column_type.arrow_type(), part.len()));
        };
        let array: ArrayRef = match column {
            ChunkColumn::Absent => return Ok(new_null_array(&wanted.column_type.arrow_type(), part.len())),
            ChunkColumn::Long(numbers) if stored.column_type == ColumnType::Timestamp => {
                let times: TimestampMillisecondArray = numbers.array(part);
                Arc::new(times.with_timezone("UTC"))
            }
            ChunkColumn::Long(numbers) => Arc::<Int64Array>::new(numbers.array(part)),
            ChunkColumn::Double(numbers) => Arc::<Float64Array>::new(numbers.array(part)),
            ChunkColumn::Float(numbers) => Arc::<Float32Array>::new(numbers.array(part)),
            ChunkColumn::Text { codes, dictionary } => Arc::new(match part {
                Part::Run(run) => dictionary.gather(codes[run.start as usize..run.end as usize].iter().copied()),
                Part::Rows(rows) => dictionary.gather(rows.iter().map(|r| codes[*r as usize])),
            }),
        };
        debug_assert_eq!(array.len(), part.len());
        cast_column(&wanted.name, &array, stored.column_type, stored.multi_value, wanted.column_type)
    }

    /// Codes and dictionary of a text column, for operators that work on codes. `None` when it is not text here.
    pub fn codes(&self, name: &str) -> Option<(&[u32], &DictionaryView)> {
        match self.stored(name)?.1 {
            ChunkColumn::Text { codes, dictionary } => Some((codes, dictionary)),
            _ => None,
        }
    }

    /// Event times of all rows.
    ///
    /// # Errors
    /// `Invalid` when the chunk has no time column, which no appended chunk lacks.
    pub fn times(&self) -> Result<&[i64]> {
        match self.columns.first() {
            Some(ChunkColumn::Long(numbers)) => Ok(&numbers.values),
            _ => Err(SegmentError::invalid("chunk", "it has no time column")),
        }
    }
}
