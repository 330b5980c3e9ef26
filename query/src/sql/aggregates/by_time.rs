//! EARLIEST, LATEST and ANY_VALUE.
//!
//! The value of the row with the least, or greatest, time that is not null; a null value in that row counts, as it does
//! in Druid. Rows of one time are told apart by their values, nulls lowest, so that every order of work gives one
//! answer: the least value for EARLIEST and the greatest for LATEST. ANY_VALUE is the least value that is not null.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, StringViewArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result as DfResult, exec_err, plan_err};

use super::groups::{Aggregator, Gather, Rows};
use super::input::{Call, Column, millis, plain};
use crate::columns::type_name;
use crate::sql::functions::timestamp_type;

/// Bytes that a text keeps where the call names no limit.
const TEXT_BYTES: i64 = 1024;

/// The type a value keeps: whole numbers, fractions and times their own, texts as views.
fn kept(name: &str, data_type: &DataType) -> DfResult<DataType> {
    match data_type {
        DataType::Boolean | DataType::Float32 | DataType::Int32 => Ok(data_type.clone()),
        other => match plain(other) {
            Some(plain) => Ok(plain),
            None => plan_err!("{name} takes numbers, texts and times, not {}", type_name(other)),
        },
    }
}

/// `(x, time [, bytes])`.
pub(super) fn coerce_by_time(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let [value, time, bytes @ ..] = types else { return plan_err!("{name} takes a column and a time") };
    if bytes.len() > 1 {
        return plan_err!("{name} was given {} arguments too many", bytes.len() - 1);
    }
    let time = match plain(time) {
        Some(DataType::Int64 | DataType::Timestamp(..) | DataType::Null) => timestamp_type(),
        _ => return plan_err!("the time of {name} must be a TIMESTAMP, not {}", type_name(time)),
    };
    Ok([vec![kept(name, value)?, time], vec![DataType::Int64; bytes.len()]].concat())
}

/// `(x [, bytes [, whole multi-values]])`.
pub(super) fn coerce_any(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let [value, rest @ ..] = types else { return plan_err!("{name} takes a column") };
    if rest.len() > 2 {
        return plan_err!("{name} takes 1 to 3 arguments and was given {}", types.len());
    }
    let literals = [DataType::Int64, DataType::Boolean];
    Ok([vec![kept(name, value)?], literals[..rest.len()].to_vec()].concat())
}

/// Which row's value is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Earliest,
    Latest,
    Any,
}

pub(super) fn earliest(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    pick(call, Wanted::Earliest, 2)
}

pub(super) fn latest(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    pick(call, Wanted::Latest, 2)
}

pub(super) fn any(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    pick(call, Wanted::Any, 1)
}

fn pick(call: &Call<'_>, wanted: Wanted, bytes_at: usize) -> DfResult<Box<dyn Aggregator>> {
    let bytes = call.integer(bytes_at, TEXT_BYTES, 1..=i64::from(i32::MAX), "the number of bytes")?;
    let text_bytes = usize::try_from(bytes).expect("the range was checked");
    Ok(Box::new(Pick { wanted, text_bytes, gives: call.args.return_field.data_type().clone() }))
}

#[derive(Debug)]
struct Pick {
    wanted: Wanted,
    text_bytes: usize,
    gives: DataType,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

impl Value {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Less,
            (_, Self::Null) => Ordering::Greater,
            (Self::Long(a), Self::Long(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            // All values of one call have one type.
            _ => Ordering::Equal,
        }
    }
}

/// The best row so far.
#[derive(Debug)]
pub(super) struct Best {
    at: Option<i64>,
    value: Value,
}

impl Pick {
    /// Whether a row of this time may take the place of the best one: `Equal` leaves it to the values.
    fn by_time(&self, best: &Best, at: i64) -> Ordering {
        let Some(best) = best.at else { return Ordering::Greater };
        match self.wanted {
            Wanted::Earliest => best.cmp(&at),
            Wanted::Latest => at.cmp(&best),
            Wanted::Any => Ordering::Equal,
        }
    }

    fn by_value(&self, best: &Value, value: &Value) -> bool {
        match self.wanted {
            Wanted::Latest => value.compare(best).is_gt(),
            Wanted::Earliest => value.compare(best).is_lt(),
            Wanted::Any => *value != Value::Null && (*best == Value::Null || value.compare(best).is_lt()),
        }
    }

    fn offer(&self, best: &mut Best, at: i64, value: impl FnOnce() -> Value) {
        match self.by_time(best, at) {
            Ordering::Less => {}
            Ordering::Greater => *best = Best { at: Some(at), value: value() },
            Ordering::Equal => {
                let value = value();
                if self.by_value(&best.value, &value) {
                    *best = Best { at: Some(at), value };
                }
            }
        }
    }
}

/// The start of a text that has at most so many bytes and ends between two characters.
fn truncated(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

impl Gather for Pick {
    type State = Best;

    fn empty(&self) -> Best {
        Best { at: None, value: Value::Null }
    }

    fn update(&self, states: &mut [Best], values: &[ArrayRef], rows: Rows<'_>) -> DfResult<()> {
        let Some(column) = values.first() else { return Ok(()) };
        let column = match column.data_type() {
            DataType::Boolean | DataType::Int32 => cast(column, &DataType::Int64)?,
            DataType::Float32 => cast(column, &DataType::Float64)?,
            _ => Arc::clone(column),
        };
        let times = match (self.wanted, values.get(1)) {
            (Wanted::Any, _) | (_, None) => None,
            (_, Some(times)) => Some(millis(times)),
        };
        // ANY_VALUE has no time: all rows are of one.
        let at = |row: usize| match &times {
            None => Some(0),
            Some(times) => times.is_valid(row).then(|| times.value(row)),
        };
        macro_rules! offer {
            ($values:expr, $make:expr) => {
                rows.each(|row, group| {
                    if let Some(at) = at(row) {
                        let value = || if $values.is_valid(row) { $make($values.value(row)) } else { Value::Null };
                        self.offer(&mut states[group], at, value);
                    }
                    Ok(())
                })
            };
        }
        match Column::new(&column)? {
            Column::Long(values) => offer!(values, Value::Long),
            Column::Double(values) => offer!(values, Value::Double),
            Column::Text(values) => {
                offer!(values, |text: &str| Value::Text(truncated(text, self.text_bytes).into()))
            }
            Column::Null => rows.each(|row, group| {
                if let Some(at) = at(row) {
                    self.offer(&mut states[group], at, || Value::Null);
                }
                Ok(())
            }),
            Column::Sketch(_) => exec_err!("a sketch has no earliest value"),
        }
    }

    fn merge(&self, state: &mut Best, other: &[u8]) -> DfResult<()> {
        let Some((at, value)) = decode(other)? else { return Ok(()) };
        self.offer(state, at, || value);
        Ok(())
    }

    fn encode(&self, state: &Best, out: &mut Vec<u8>) -> DfResult<()> {
        let Some(at) = state.at else { return Ok(()) };
        out.extend(at.to_le_bytes());
        match &state.value {
            Value::Null => out.push(0),
            Value::Long(value) => {
                out.push(1);
                out.extend(value.to_le_bytes());
            }
            Value::Double(value) => {
                out.push(2);
                out.extend(value.to_le_bytes());
            }
            Value::Text(value) => {
                out.push(3);
                out.extend(value.as_bytes());
            }
        }
        Ok(())
    }

    fn evaluate(&self, states: &[Best]) -> DfResult<ArrayRef> {
        let values = states.iter().map(|s| &s.value);
        let array: ArrayRef = match &self.gives {
            DataType::Null => return Ok(new_null_array(&DataType::Null, states.len())),
            DataType::Utf8View => Arc::new(
                values.map(|v| if let Value::Text(text) = v { Some(text) } else { None }).collect::<StringViewArray>(),
            ),
            DataType::Float64 | DataType::Float32 => Arc::new(
                values.map(|v| if let Value::Double(x) = v { Some(*x) } else { None }).collect::<Float64Array>(),
            ),
            _ => Arc::new(values.map(|v| if let Value::Long(n) = v { Some(*n) } else { None }).collect::<Int64Array>()),
        };
        Ok(cast(&array, &self.gives)?)
    }

    fn heap_bytes(&self, state: &Best) -> usize {
        if let Value::Text(text) = &state.value { text.len() } else { 0 }
    }
}

/// What [`Gather::encode`] wrote: nothing, or a time, a tag and a value.
fn decode(bytes: &[u8]) -> DfResult<Option<(i64, Value)>> {
    let Some((at, rest)) = bytes.split_first_chunk::<8>() else {
        return if bytes.is_empty() { Ok(None) } else { exec_err!("a value with its time is cut short") };
    };
    let value = match rest {
        [0] => Value::Null,
        [1, number @ ..] if let Ok(number) = number.try_into() => Value::Long(i64::from_le_bytes(number)),
        [2, number @ ..] if let Ok(number) = number.try_into() => Value::Double(f64::from_le_bytes(number)),
        [3, text @ ..] if let Ok(text) = std::str::from_utf8(text) => Value::Text(text.into()),
        _ => return exec_err!("a value with its time is damaged"),
    };
    Ok(Some((i64::from_le_bytes(*at), value)))
}
