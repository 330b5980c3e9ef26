//! Columns of a batch in cells, before and after their type is known.
//!
//! A cell keeps what the record said; [`Cells::array`] writes the cells of a range of rows in the type of the table's
//! column. Every cell can be written in every type that is at least as wide as what was observed, and the texts are the
//! same that the segment's own casts give, so it does not matter in which batch a column widened.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, StringBuilder, TimestampMillisecondArray};
use freshet_segment::number::{write_double, write_float};
use freshet_segment::schema::{Column, ColumnRole, ColumnType, Observed};
use freshet_segment::time::Timestamp;

use super::nested::quote;
use crate::error::{IngestError, Result};

/// How values of a field are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Ignore,
    Typed(ColumnType),
    Discover,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Span {
    pub(super) fn of(self, text: &str) -> &str {
        let start = self.start as usize;
        &text[start..start + self.len as usize]
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell {
    Long(i64),
    Double(f64),
    /// A whole number beyond 64 bits, by its digits.
    Digits(Span),
    Text(Span),
    /// A JSON array of strings and nulls.
    Texts {
        span: Span,
        single: bool,
    },
    Json(Span),
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    pub(super) rule: Rule,
    pub(super) is_time: bool,
    pub(super) rows: Vec<u32>,
    pub(super) cells: Vec<Cell>,
    pub(super) text: String,
    /// Where the error of its value lies, if the row being read has one.
    pub(super) failed: Option<usize>,
}

impl Slot {
    pub(super) fn push(&mut self, row: u32, cell: Cell) {
        self.rows.push(row);
        self.cells.push(cell);
    }

    /// Takes back what `row` put here, if anything.
    pub(super) fn pop(&mut self, row: u32) {
        if self.rows.last() != Some(&row) {
            return;
        }
        self.rows.pop();
        if let Some(Cell::Digits(span) | Cell::Text(span) | Cell::Texts { span, .. } | Cell::Json(span)) =
            self.cells.pop()
        {
            self.text.truncate(span.start as usize);
        }
    }

    pub(super) fn span_from(&self, start: usize) -> Span {
        // A batch is far below 4 GiB: records are at most 10 MiB and bodies 64 MiB.
        Span { start: start as u32, len: (self.text.len() - start) as u32 }
    }

    pub(super) fn observed(&self) -> Option<Observed> {
        if self.cells.is_empty() {
            return None;
        }
        let mut multi_value = false;
        let mut seen: Option<ColumnType> = None;
        for cell in &self.cells {
            let cell_type = match cell {
                Cell::Long(_) => ColumnType::Long,
                Cell::Double(_) | Cell::Digits(_) => ColumnType::Double,
                Cell::Text(_) => ColumnType::String,
                Cell::Texts { single, .. } => {
                    multi_value |= !single;
                    ColumnType::String
                }
                Cell::Json(_) => ColumnType::Json,
            };
            seen = Some(seen.map_or(cell_type, |seen| seen.widen(cell_type)));
        }
        let column_type = match self.rule {
            Rule::Typed(declared) => declared,
            _ => seen?,
        };
        let multi_value = multi_value && column_type != ColumnType::Json;
        Some(Observed { name: Arc::clone(&self.name), column_type, role: ColumnRole::Dimension, multi_value })
    }
}

/// The cells of a column that lie in one range of rows.
pub(super) struct Cells<'a> {
    pub(super) slot: &'a Slot,
    pub(super) rows: &'a [u32],
    pub(super) cells: &'a [Cell],
    pub(super) first: usize,
    pub(super) len: usize,
}

impl Cells<'_> {
    pub(super) fn array(&self, column: &Column) -> Result<ArrayRef> {
        Ok(match column.column_type {
            ColumnType::Long => Arc::new(Int64Array::from(self.numbers(column, whole)?)),
            ColumnType::Timestamp => {
                Arc::new(TimestampMillisecondArray::from(self.numbers(column, whole)?).with_timezone("UTC"))
            }
            ColumnType::Double => Arc::new(Float64Array::from(self.numbers(column, real)?)),
            ColumnType::Float => {
                Arc::new(Float32Array::from(self.numbers(column, |cell, text| real(cell, text).map(|n| n as f32))?))
            }
            ColumnType::String => self.texts(column, write_as_text)?,
            ColumnType::Json => self.texts(column, write_as_json)?,
        })
    }

    pub(super) fn numbers<T: Copy>(
        &self,
        column: &Column,
        read: impl Fn(Cell, &str) -> Option<T>,
    ) -> Result<Vec<Option<T>>> {
        let mut out = vec![None; self.len];
        for (row, cell) in self.rows.iter().zip(self.cells) {
            let n = read(*cell, &self.slot.text).ok_or_else(|| narrower(column))?;
            out[*row as usize - self.first] = Some(n);
        }
        Ok(out)
    }

    pub(super) fn texts(&self, column: &Column, write: fn(Cell, &Slot, &mut String) -> bool) -> Result<ArrayRef> {
        let mut out = StringBuilder::with_capacity(self.len, self.slot.text.len());
        let mut text = String::new();
        let mut next = self.first;
        for (row, cell) in self.rows.iter().zip(self.cells) {
            let row = *row as usize;
            if row > next {
                out.append_nulls(row - next);
            }
            next = row + 1;
            if let Cell::Text(span) = cell
                && column.column_type == ColumnType::String
            {
                out.append_value(span.of(&self.slot.text));
                continue;
            }
            text.clear();
            if write(*cell, self.slot, &mut text) {
                out.append_value(&text);
            } else {
                out.append_null();
            }
        }
        out.append_nulls(self.first + self.len - next);
        let array = out.finish();
        debug_assert_eq!(array.value_offsets().len(), self.len + 1, "each row has its text or null");
        Ok(Arc::new(array))
    }
}

pub(super) fn narrower(column: &Column) -> IngestError {
    IngestError::internal(format!("column `{}` holds values that are wider than {}", column.name, column.column_type))
}

pub(super) fn whole(cell: Cell, _: &str) -> Option<i64> {
    match cell {
        Cell::Long(n) => Some(n),
        _ => None,
    }
}

pub(super) fn real(cell: Cell, text: &str) -> Option<f64> {
    match cell {
        Cell::Long(n) => Some(n as f64),
        Cell::Double(n) => Some(n),
        Cell::Digits(span) => span.of(text).parse().ok(),
        _ => None,
    }
}

/// False for null.
pub(super) fn write_as_text(cell: Cell, slot: &Slot, out: &mut String) -> bool {
    match cell {
        Cell::Long(millis) if slot.rule == Rule::Typed(ColumnType::Timestamp) => {
            out.push_str(&Timestamp::from_millis(millis).to_iso());
        }
        Cell::Long(n) => out.push_str(&n.to_string()),
        Cell::Double(n) => write_real(n, slot, out),
        Cell::Texts { span, single: true } => {
            // One value is that value; an array of one null is null.
            let items: Vec<Option<String>> = serde_json::from_str(span.of(&slot.text)).unwrap_or_default();
            match items.into_iter().next().flatten() {
                Some(text) => out.push_str(&text),
                None => return false,
            }
        }
        Cell::Digits(span) | Cell::Text(span) | Cell::Texts { span, .. } | Cell::Json(span) => {
            out.push_str(span.of(&slot.text));
        }
    }
    true
}

pub(super) fn write_as_json(cell: Cell, slot: &Slot, out: &mut String) -> bool {
    match cell {
        Cell::Long(millis) if slot.rule == Rule::Typed(ColumnType::Timestamp) => {
            quote(&Timestamp::from_millis(millis).to_iso(), out);
        }
        Cell::Long(n) => out.push_str(&n.to_string()),
        Cell::Double(n) => write_real(n, slot, out),
        Cell::Text(span) => quote(span.of(&slot.text), out),
        Cell::Digits(span) | Cell::Texts { span, .. } | Cell::Json(span) => out.push_str(span.of(&slot.text)),
    }
    true
}

pub(super) fn write_real(n: f64, slot: &Slot, out: &mut String) {
    if slot.rule == Rule::Typed(ColumnType::Float) {
        write_float(n as f32, out);
    } else {
        write_double(n, out);
    }
}
