//! Columns of an open chunk, while rows arrive.
//!
//! A column takes no memory until its first value: a wide, sparse table would otherwise pay eight bytes for each null.
//! Numbers have one validity byte a row, and only once a null came; text is codes of the segment's dictionary.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int64Type, TimestampMillisecondType};

use super::buffer::{AppendBuffer, Plain};
use super::chunk::{ChunkColumn, Numbers};
use super::dictionary::{Dictionary, DictionaryView};
use crate::error::Result;
use crate::schema::ColumnType;

/// Numbers of one type, with validity once a null came.
pub(super) struct NumberColumn<T: Plain> {
    values: AppendBuffer<T>,
    valid: Option<AppendBuffer<u8>>,
}

impl<T: Plain + Default> NumberColumn<T> {
    fn nulls(rows: usize, limit: usize) -> Self {
        let mut values = AppendBuffer::with_capacity(64.min(limit));
        values.reserve(rows + 1, limit);
        values.extend_repeat(T::default(), rows);
        let valid = (rows > 0).then(|| {
            let mut valid = AppendBuffer::with_capacity(rows + 1);
            valid.extend_repeat(0u8, rows);
            valid
        });
        Self { values, valid }
    }

    fn append<A: ArrowPrimitiveType<Native = T>>(&mut self, array: &PrimitiveArray<A>, rows: &[u32], limit: usize) {
        let before = self.values.len();
        self.values.reserve(rows.len(), limit);
        if array.null_count() == 0 {
            for row in rows {
                self.values.push(array.value(*row as usize));
            }
            if let Some(valid) = &mut self.valid {
                valid.extend_repeat(1, rows.len());
            }
            return;
        }
        let valid = self.valid.get_or_insert_with(|| {
            let mut valid = AppendBuffer::with_capacity(before + rows.len());
            valid.extend_repeat(1, before);
            valid
        });
        valid.reserve(rows.len(), limit);
        for row in rows {
            let row = *row as usize;
            let is_valid = array.is_valid(row);
            valid.push(u8::from(is_valid));
            self.values.push(if is_valid { array.value(row) } else { T::default() });
        }
    }

    fn append_nulls(&mut self, count: usize, limit: usize) {
        let before = self.values.len();
        self.values.reserve(count, limit);
        self.values.extend_repeat(T::default(), count);
        let valid = self.valid.get_or_insert_with(|| {
            let mut valid = AppendBuffer::with_capacity(before + count);
            valid.extend_repeat(1, before);
            valid
        });
        valid.extend_repeat(0, count);
    }

    fn view(&self) -> Numbers<T> {
        Numbers { values: self.values.slice(), valid: self.valid.as_ref().map(AppendBuffer::slice) }
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.valid.as_ref().map_or(0, AppendBuffer::bytes)
    }
}

/// One column of the open chunk.
pub(super) enum OpenColumn {
    /// No value came yet.
    Absent,
    Long(NumberColumn<i64>),
    Double(NumberColumn<f64>),
    Float(NumberColumn<f32>),
    /// Codes of the dictionary of the column's name.
    Text(AppendBuffer<u32>),
}

impl OpenColumn {
    /// Makes a column that holds `rows` nulls.
    fn with_nulls(column_type: ColumnType, rows: usize, limit: usize) -> Self {
        match column_type {
            ColumnType::Long | ColumnType::Timestamp => Self::Long(NumberColumn::nulls(rows, limit)),
            ColumnType::Double => Self::Double(NumberColumn::nulls(rows, limit)),
            ColumnType::Float => Self::Float(NumberColumn::nulls(rows, limit)),
            ColumnType::String | ColumnType::Json => {
                let mut codes = AppendBuffer::with_capacity(64.min(limit));
                codes.reserve(rows + 1, limit);
                codes.extend_repeat(0, rows);
                Self::Text(codes)
            }
        }
    }

    /// Appends these rows of an array that is already of the column's type. `before` is the chunk's row count so far;
    /// `limit` the most rows the chunk will hold.
    ///
    /// # Errors
    /// `Full` when the dictionary can take no more values; rows may then be half appended, so the caller gives up the
    /// segment's task.
    pub(super) fn append(
        &mut self,
        column_type: ColumnType,
        array: &ArrayRef,
        rows: &[u32],
        before: usize,
        limit: usize,
        dictionary: Option<&mut Dictionary>,
    ) -> Result<()> {
        if let Self::Absent = self {
            if array.null_count() == array.len() {
                return Ok(());
            }
            *self = Self::with_nulls(column_type, before, limit);
        }
        match (self, array.data_type()) {
            (Self::Long(column), DataType::Int64) => column.append(array.as_primitive::<Int64Type>(), rows, limit),
            (Self::Long(column), _) => column.append(array.as_primitive::<TimestampMillisecondType>(), rows, limit),
            (Self::Double(column), _) => column.append(array.as_primitive::<Float64Type>(), rows, limit),
            (Self::Float(column), _) => column.append(array.as_primitive::<Float32Type>(), rows, limit),
            (Self::Text(codes), DataType::Utf8) => {
                let array = array.as_string::<i32>();
                append_text(codes, dictionary, rows, limit, |row| array.is_valid(row).then(|| array.value(row)))?;
            }
            (Self::Text(codes), _) => {
                let array = array.as_string_view();
                append_text(codes, dictionary, rows, limit, |row| array.is_valid(row).then(|| array.value(row)))?;
            }
            (Self::Absent, _) => {}
        }
        Ok(())
    }

    /// Appends nulls for a column that a batch does not have.
    pub(super) fn append_nulls(&mut self, count: usize, limit: usize) {
        match self {
            Self::Absent => {}
            Self::Long(column) => column.append_nulls(count, limit),
            Self::Double(column) => column.append_nulls(count, limit),
            Self::Float(column) => column.append_nulls(count, limit),
            Self::Text(codes) => {
                codes.reserve(count, limit);
                codes.extend_repeat(0, count);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Long(column) => column.bytes(),
            Self::Double(column) => column.bytes(),
            Self::Float(column) => column.bytes(),
            Self::Text(codes) => codes.bytes(),
        }
    }

    /// What readers get of it.
    pub(super) fn view(&self, name: &str, dictionaries: &HashMap<Arc<str>, Arc<DictionaryView>>) -> ChunkColumn {
        match self {
            Self::Absent => ChunkColumn::Absent,
            Self::Long(column) => ChunkColumn::Long(column.view()),
            Self::Double(column) => ChunkColumn::Double(column.view()),
            Self::Float(column) => ChunkColumn::Float(column.view()),
            Self::Text(codes) => match dictionaries.get(name) {
                Some(dictionary) => ChunkColumn::Text { codes: codes.slice(), dictionary: Arc::clone(dictionary) },
                None => ChunkColumn::Absent,
            },
        }
    }
}

fn append_text<'a>(
    codes: &mut AppendBuffer<u32>,
    dictionary: Option<&mut Dictionary>,
    rows: &[u32],
    limit: usize,
    text: impl Fn(usize) -> Option<&'a str>,
) -> Result<()> {
    let dictionary = dictionary.expect("a text column is appended with its dictionary");
    codes.reserve(rows.len(), limit);
    for row in rows {
        let code = match text(*row as usize) {
            Some(value) => dictionary.code(value)?,
            None => 0,
        };
        codes.push(code);
    }
    Ok(())
}
