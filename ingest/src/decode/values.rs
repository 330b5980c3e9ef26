//! One JSON value into one column, by the column's rule.
//!
//! Undeclared fields keep what they are; declared ones coerce as Druid does. A value that does not fit its declared
//! type says so and leaves the column untouched.

use std::borrow::Cow;

use freshet_segment::number::write_double;
use freshet_segment::schema::ColumnType;
use serde_json::value::RawValue;

use super::columns::{Cell, Slot};
use super::nested::{Compactor, NestedError, quote, string_array, unescape};
use crate::error::shorten;
use crate::spec::{GranularitySpec, TimeFormat, TimeSpec};
use crate::transform::TimeColumn;

/// Why a value is not put into its column.
pub(super) enum Bad {
    /// It has no text at all; the row is refused.
    Nested(NestedError),
    /// It does not fit the declared type.
    Value(String),
}

impl From<NestedError> for Bad {
    fn from(error: NestedError) -> Self {
        Self::Nested(error)
    }
}

/// A JSON value told apart by its first byte.
pub(super) enum Token<'a> {
    Null,
    Bool(bool),
    Long(i64),
    Double(f64),
    /// A whole number beyond 64 bits.
    Digits(&'a str),
    /// A number no double can hold.
    Huge(&'a str),
    /// A string, still in quotes.
    Text(&'a str),
    Array(&'a str),
    Object(&'a str),
}

impl<'a> Token<'a> {
    pub(super) fn of(raw: &'a str) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => Self::Text(raw),
            Some(b'{') => Self::Object(raw),
            Some(b'[') => Self::Array(raw),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'-' | b'0'..=b'9') => {
                if let Ok(n) = raw.parse::<i64>() {
                    return Self::Long(n);
                }
                match raw.parse::<f64>() {
                    Ok(n) if !n.is_finite() => Self::Huge(raw),
                    Ok(_) if raw.bytes().skip(1).all(|b| b.is_ascii_digit()) => Self::Digits(raw),
                    Ok(n) => Self::Double(n),
                    Err(_) => Self::Huge(raw),
                }
            }
            _ => Self::Null,
        }
    }
}

pub(super) fn huge(raw: &str) -> Bad {
    Bad::Value(format!("{} is beyond what a DOUBLE holds", shorten(raw)))
}

pub(super) fn misfit(wanted: ColumnType, found: &str) -> Bad {
    Bad::Value(format!("expected {wanted}, found {found}"))
}

/// The text of a quoted string; only one with escapes is copied.
pub(super) fn text_of(quoted: &str) -> Result<Cow<'_, str>, NestedError> {
    match quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.as_bytes().contains(&b'\\') => Ok(Cow::Borrowed(inner)),
        _ => unescape(quoted).map(Cow::Owned),
    }
}

pub(super) fn read_time(time: &mut TimeColumn, raw: &str) -> Option<Result<i64, String>> {
    Some(match Token::of(raw) {
        Token::Null => return None,
        Token::Long(n) => time.read_long(n),
        Token::Double(n) => time.read_double(n),
        Token::Text(quoted) => match text_of(quoted) {
            Ok(text) if text.trim().is_empty() => return None,
            Ok(text) => time.read_text(&text),
            Err(_) => Err("the time is not valid text".to_owned()),
        },
        Token::Digits(raw) | Token::Huge(raw) => Err(format!("{} lies outside the years -5000 to 5000", shorten(raw))),
        Token::Bool(_) => Err("the time is a boolean".to_owned()),
        Token::Array(_) => Err("the time is an array".to_owned()),
        Token::Object(_) => Err("the time is an object".to_owned()),
    })
}

pub(super) fn put_discovered(slot: &mut Slot, row: u32, raw: &str, compactor: &Compactor) -> Result<(), Bad> {
    let start = slot.text.len();
    let cell = match Token::of(raw) {
        Token::Null => return Ok(()),
        Token::Bool(b) => Cell::Long(i64::from(b)),
        Token::Long(n) => Cell::Long(n),
        Token::Double(n) => Cell::Double(n),
        Token::Digits(raw) => {
            slot.text.push_str(raw);
            Cell::Digits(slot.span_from(start))
        }
        Token::Huge(raw) => return Err(huge(raw)),
        Token::Text(quoted) => {
            slot.text.push_str(&text_of(quoted)?);
            Cell::Text(slot.span_from(start))
        }
        Token::Array(raw) => match string_array(raw, &mut slot.text)? {
            Some(count) => Cell::Texts { span: slot.span_from(start), single: count == 1 },
            None => {
                compact(slot, raw, compactor)?;
                Cell::Json(slot.span_from(start))
            }
        },
        Token::Object(raw) => {
            compact(slot, raw, compactor)?;
            Cell::Json(slot.span_from(start))
        }
    };
    slot.push(row, cell);
    Ok(())
}

pub(super) fn compact(slot: &mut Slot, raw: &str, compactor: &Compactor) -> Result<(), NestedError> {
    let start = slot.text.len();
    let done = compactor.compact(raw, &mut slot.text);
    if done.is_err() {
        slot.text.truncate(start);
    }
    done
}

pub(super) fn put_text(slot: &mut Slot, row: u32, raw: &str, compactor: &Compactor) -> Result<(), Bad> {
    let start = slot.text.len();
    if let Token::Array(raw) = Token::of(raw) {
        let count = match string_array(raw, &mut slot.text)? {
            Some(count) => count,
            None => {
                let items: Vec<&RawValue> =
                    serde_json::from_str(raw).map_err(|error| NestedError::BadString(error.to_string()))?;
                let mut texts = String::from("[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        texts.push(',');
                    }
                    let mut text = String::new();
                    if write_text(item.get(), &mut text, compactor)? {
                        quote(&text, &mut texts);
                    } else {
                        texts.push_str("null");
                    }
                }
                texts.push(']');
                slot.text.push_str(&texts);
                items.len()
            }
        };
        let span = slot.span_from(start);
        slot.push(row, Cell::Texts { span, single: count == 1 });
        return Ok(());
    }
    let mut text = std::mem::take(&mut slot.text);
    let written = write_text(raw, &mut text, compactor);
    if written.is_err() {
        text.truncate(start);
    }
    slot.text = text;
    if written? {
        let span = slot.span_from(start);
        slot.push(row, Cell::Text(span));
    }
    Ok(())
}

/// Appends any value by its text; false for null.
pub(super) fn write_text(raw: &str, out: &mut String, compactor: &Compactor) -> Result<bool, NestedError> {
    match Token::of(raw) {
        Token::Null => return Ok(false),
        Token::Bool(b) => out.push_str(if b { "true" } else { "false" }),
        Token::Long(_) | Token::Digits(_) | Token::Huge(_) => out.push_str(raw),
        Token::Double(n) => write_double(n, out),
        Token::Text(quoted) => out.push_str(&text_of(quoted)?),
        Token::Array(raw) | Token::Object(raw) => compactor.compact(raw, out)?,
    }
    Ok(true)
}

pub(super) fn put_json(slot: &mut Slot, row: u32, raw: &str, compactor: &Compactor) -> Result<(), Bad> {
    let start = slot.text.len();
    match Token::of(raw) {
        Token::Null => return Ok(()),
        Token::Array(raw) | Token::Object(raw) => compact(slot, raw, compactor)?,
        Token::Text(quoted) => {
            let text = text_of(quoted)?;
            quote(&text, &mut slot.text);
        }
        _ => slot.text.push_str(raw),
    }
    let span = slot.span_from(start);
    slot.push(row, Cell::Json(span));
    Ok(())
}

pub(super) fn put_timestamp(slot: &mut Slot, row: u32, raw: &str) -> Result<(), Bad> {
    let auto = TimeSpec { format: TimeFormat::Auto, ..TimeSpec::auto("") };
    let mut reader = TimeColumn::new(&auto, &GranularitySpec::default());
    match read_time(&mut reader, raw) {
        None => Ok(()),
        Some(Ok(millis)) => {
            slot.push(row, Cell::Long(millis));
            Ok(())
        }
        Some(Err(reason)) => Err(Bad::Value(reason)),
    }
}

pub(super) fn put_long(slot: &mut Slot, row: u32, raw: &str) -> Result<(), Bad> {
    let n = match Token::of(raw) {
        Token::Null => return Ok(()),
        Token::Bool(b) => i64::from(b),
        Token::Long(n) => n,
        Token::Double(n) => {
            truncated(n).ok_or_else(|| misfit(ColumnType::Long, &format!("{n}, which is beyond 64 bits")))?
        }
        Token::Digits(raw) | Token::Huge(raw) => {
            return Err(misfit(ColumnType::Long, &format!("{}, which is beyond 64 bits", shorten(raw))));
        }
        Token::Text(quoted) => {
            let text = text_of(quoted)?;
            let text = text.trim();
            // As Druid: decimal text counts when nothing would be lost.
            let whole = text
                .parse::<i64>()
                .ok()
                .or_else(|| text.parse::<f64>().ok().filter(|n| n.fract() == 0.0).and_then(truncated));
            whole.ok_or_else(|| misfit(ColumnType::Long, &format!("the text {:?}", shorten(text))))?
        }
        Token::Array(_) => return Err(misfit(ColumnType::Long, "an array")),
        Token::Object(_) => return Err(misfit(ColumnType::Long, "an object")),
    };
    slot.push(row, Cell::Long(n));
    Ok(())
}

pub(super) fn truncated(n: f64) -> Option<i64> {
    // Both bounds are exact powers of two, so the comparison is exact.
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&n).then_some(n as i64)
}

pub(super) fn put_double(slot: &mut Slot, row: u32, raw: &str) -> Result<(), Bad> {
    let n = match Token::of(raw) {
        Token::Null => return Ok(()),
        Token::Bool(b) => f64::from(u8::from(b)),
        Token::Long(n) => n as f64,
        Token::Double(n) => n,
        Token::Digits(raw) => raw.parse().map_err(|_| huge(raw))?,
        Token::Huge(raw) => return Err(huge(raw)),
        Token::Text(quoted) => {
            let text = text_of(quoted)?;
            match text.trim().parse::<f64>() {
                Ok(n) if n.is_finite() => n,
                _ => return Err(misfit(ColumnType::Double, &format!("the text {:?}", shorten(&text)))),
            }
        }
        Token::Array(_) => return Err(misfit(ColumnType::Double, "an array")),
        Token::Object(_) => return Err(misfit(ColumnType::Double, "an object")),
    };
    slot.push(row, Cell::Double(n));
    Ok(())
}
