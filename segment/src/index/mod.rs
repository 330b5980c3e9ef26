//! Predicate → [`Selection`], from whichever indexes a chunk has.
//!
//! A [`Filter`] is a predicate made ready for one segment: each condition on a text column is evaluated once per
//! dictionary value and becomes a set of codes. A chunk then answers from zones (no row is looked at), from postings (rare
//! codes), or by a scan of codes and numbers. A column whose stored type is not the reading's is read, cast, and compared
//! row by row: slow, right, and rare, because it lasts only until the chunk is sealed with the wider schema.

pub(crate) mod postings;
mod scan;
mod sealed;
pub(crate) mod zones;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Float32Type, Float64Type, Int64Type, TimestampMillisecondType};

use self::scan::Mask;
use self::zones::Verdict;
use crate::error::{Result, SegmentError};
use crate::growing::{Chunk, ChunkColumn, CodeSet, GrowingSnapshot};
use crate::predicate::{CompareOp, Predicate, Value, reference};
use crate::schema::{Column, ColumnType, TIME_COLUMN, TableSchema};
use crate::selection::{Part, Selection};
use crate::time::Timestamp;
use crate::timeline::Unit;

/// A predicate made ready for one segment.
#[derive(Debug)]
pub struct Filter {
    root: Node,
}

#[derive(Debug)]
enum Node {
    True,
    False,
    /// One condition on one column.
    Leaf(Leaf),
    And(Vec<Node>),
    Or(Vec<Node>),
}

#[derive(Debug)]
struct Leaf {
    column: Column,
    /// The condition itself, for numbers and for the row-wise path.
    condition: Predicate,
    /// Codes that fit, where the segment has a dictionary of the column.
    codes: Option<CodeSet>,
    /// Of a sealed segment, for each row group whether it may hold a row that fits; empty when nothing is known.
    groups: Vec<bool>,
}

/// What a segment's dictionary or filters know of a condition.
#[derive(Debug, Default)]
struct Looked {
    codes: Option<CodeSet>,
    groups: Vec<bool>,
}

/// Looks a condition on a column up in a segment.
type Look<'a> = dyn Fn(&Column, &Predicate) -> Result<Looked> + 'a;

impl Filter {
    pub(crate) fn of_growing(predicate: &Predicate, schema: &TableSchema, segment: &GrowingSnapshot) -> Result<Self> {
        let look = |column: &Column, condition: &Predicate| {
            let dictionary = segment.dictionary(&column.name);
            let codes = dictionary.map(|d| d.matching(|value| wants_text(condition, value)));
            Ok(Looked { codes, groups: Vec::new() })
        };
        Ok(Self { root: Node::new(predicate, schema, &look)? })
    }

    /// The rows of `unit`, one of the segment's, that the predicate wants.
    ///
    /// # Errors
    /// As [`Unit::read`].
    pub fn select_unit(&self, unit: &Unit) -> Result<Selection> {
        match unit {
            Unit::Growing(chunk) => self.select(chunk),
            Unit::Sealed(unit) => sealed::select(&self.root, unit),
        }
    }

    /// The rows of `chunk`, one of the segment's, that the predicate wants.
    ///
    /// # Errors
    /// As [`Chunk::read`].
    pub fn select(&self, chunk: &Chunk) -> Result<Selection> {
        let mask = self.root.evaluate(chunk)?;
        Ok(mask.into_selection(chunk.rows()))
    }
}

impl Node {
    fn new(predicate: &Predicate, schema: &TableSchema, look: &Look<'_>) -> Result<Self> {
        let nodes = |parts: &[Predicate]| parts.iter().map(|p| Self::new(p, schema, look)).collect::<Result<Vec<_>>>();
        let column = match predicate {
            Predicate::True => return Ok(Self::True),
            Predicate::False => return Ok(Self::False),
            Predicate::And(parts) => return nodes(parts).map(Self::And),
            Predicate::Or(parts) => return nodes(parts).map(Self::Or),
            Predicate::Compare { column, .. }
            | Predicate::In { column, .. }
            | Predicate::IsNull { column, .. }
            | Predicate::Matches { column, .. } => column,
        };
        // A column the table lacks is null in every row.
        let Some(column) = schema.column(column) else {
            return Ok(if let Predicate::IsNull { negated: false, .. } = predicate { Self::True } else { Self::False });
        };
        check_kinds(predicate, column)?;
        let Looked { codes, groups } = match predicate {
            Predicate::IsNull { .. } => Looked::default(),
            condition => look(column, condition)?,
        };
        Ok(Self::Leaf(Leaf { column: column.clone(), condition: predicate.clone(), codes, groups }))
    }

    fn evaluate(&self, chunk: &Chunk) -> Result<Mask> {
        Ok(match self {
            Self::True => Mask::All,
            Self::False => Mask::None,
            Self::Leaf(leaf) => leaf.evaluate(chunk)?,
            Self::And(parts) => {
                let mut mask = Mask::All;
                for part in parts {
                    mask = mask.and(part.evaluate(chunk)?);
                    if let Mask::None = mask {
                        break;
                    }
                }
                mask
            }
            Self::Or(parts) => {
                let mut mask = Mask::None;
                for part in parts {
                    mask = mask.or(part.evaluate(chunk)?);
                    if let Mask::All = mask {
                        break;
                    }
                }
                mask
            }
        })
    }
}

impl Leaf {
    fn evaluate(&self, chunk: &Chunk) -> Result<Mask> {
        let rows = chunk.rows() as usize;
        let stored = chunk.stored(&self.column.name);
        let (stored_type, column) = match stored {
            None | Some((_, ChunkColumn::Absent)) => {
                let all = matches!(self.condition, Predicate::IsNull { negated: false, .. });
                return Ok(if all { Mask::All } else { Mask::None });
            }
            Some((stored, column)) => (stored.column_type, column),
        };
        if let Predicate::IsNull { negated, .. } = &self.condition {
            return Ok(Mask::collect(rows, |row| column.is_null(row) != *negated));
        }
        if stored_type != self.column.column_type {
            let array = chunk.read(&self.column, &Part::Run(0..chunk.rows()))?;
            return Ok(Mask::collect(rows, |row| reference::wants(&self.condition, &|_| value_at(&array, row))));
        }
        if let Some(verdict) = self.verdict(chunk) {
            return Ok(verdict);
        }
        Ok(match column {
            ChunkColumn::Text { codes, .. } => self.text(chunk, codes, rows),
            ChunkColumn::Long(numbers) if stored_type == ColumnType::Timestamp => {
                scan::longs(&self.condition, numbers, |v| Value::Timestamp(Timestamp::from_millis(v)))
            }
            ChunkColumn::Long(numbers) => scan::longs(&self.condition, numbers, Value::Long),
            ChunkColumn::Double(numbers) => scan::numbers(&self.condition, numbers, Value::Double),
            ChunkColumn::Float(numbers) => scan::numbers(&self.condition, numbers, |v| Value::Double(f64::from(v))),
            ChunkColumn::Absent => Mask::None,
        })
    }

    /// What zones and the chunk's time range say without looking at a row.
    fn verdict(&self, chunk: &Chunk) -> Option<Mask> {
        let Predicate::Compare { op, value, .. } = &self.condition else { return None };
        let verdict = match (&*self.column.name, value, chunk.time_range()) {
            (TIME_COLUMN, Value::Timestamp(_), Some((min, max))) => {
                zones::Zone::Long { min: min.as_millis(), max: max.as_millis(), nulls: false }.verdict(*op, value)
            }
            _ => chunk.index(&self.column.name)?.zone?.verdict(*op, value),
        };
        match verdict {
            Verdict::None => Some(Mask::None),
            Verdict::All => Some(Mask::All),
            Verdict::Some => None,
        }
    }

    fn text(&self, chunk: &Chunk, codes: &[u32], rows: usize) -> Mask {
        let Some(set) = &self.codes else { return Mask::None };
        if set.count() == 0 {
            return Mask::None;
        }
        if let Some(postings) = chunk.index(&self.column.name).and_then(|i| i.postings.as_ref()) {
            // A bitmap wins below a thirtieth of the rows, and only while the set itself is small to walk.
            let budget = rows as u64 / 30;
            let mut wanted = 0;
            let rare = |code| {
                wanted += postings.count(code);
                wanted <= budget
            };
            if set.count() <= 1024 && set.iter().all(rare) {
                return Mask::of_rows(&postings.union(set.iter()), rows);
            }
        }
        Mask::collect(rows, |row| set.contains(codes[row]))
    }
}

fn wants_text(condition: &Predicate, value: &str) -> bool {
    match condition {
        // The common cases without making a value of the text.
        Predicate::Compare { op, value: Value::String(literal), .. } => {
            op.accepts(value.as_bytes().cmp(literal.as_bytes()))
        }
        Predicate::In { values, negated, .. } => {
            values.iter().any(|v| matches!(v, Value::String(s) if **s == *value)) != *negated
        }
        Predicate::Matches { pattern, negated, .. } => pattern.matches(value) != *negated,
        _ => false,
    }
}

/// Refuses a comparison of text with a number and the like: it would silently select nothing.
fn check_kinds(condition: &Predicate, column: &Column) -> Result<()> {
    let fits = |value: &Value| {
        matches!(
            (column.column_type, value),
            (ColumnType::String | ColumnType::Json, Value::String(_))
                | (ColumnType::Timestamp, Value::Timestamp(_))
                | (ColumnType::Long | ColumnType::Double | ColumnType::Float, Value::Long(_) | Value::Double(_))
        )
    };
    let good = match condition {
        Predicate::Compare { value, .. } => fits(value),
        Predicate::In { values, .. } => values.iter().all(fits),
        Predicate::Matches { .. } => column.column_type.is_text(),
        _ => true,
    };
    if good {
        return Ok(());
    }
    Err(SegmentError::invalid(
        "predicate",
        format!("column `{}` of type {} is compared with a literal of another kind", column.name, column.column_type),
    ))
}

fn value_at(array: &ArrayRef, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    use arrow::datatypes::DataType;
    Some(match array.data_type() {
        DataType::Int64 => Value::Long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => Value::Double(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Utf8View => Value::String(Arc::from(array.as_string_view().value(row))),
        _ => Value::Timestamp(Timestamp::from_millis(array.as_primitive::<TimestampMillisecondType>().value(row))),
    })
}

/// Operator and literal where the condition is a plain comparison with an integer or an instant.
pub(crate) fn long_comparison(condition: &Predicate) -> Option<(CompareOp, i64)> {
    match condition {
        Predicate::Compare { op, value: Value::Long(v), .. } => Some((*op, *v)),
        Predicate::Compare { op, value: Value::Timestamp(t), .. } => Some((*op, t.as_millis())),
        _ => None,
    }
}
