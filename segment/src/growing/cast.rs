//! A column in another type than it was written with: text of numbers, numbers as doubles, anything as JSON text.
//!
//! Schemas only widen, so only widening casts exist; each is total and a null stays a null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimestampMillisecondType};

use crate::error::{Result, SegmentError};
use crate::number::{write_double, write_float};
use crate::schema::ColumnType;
use crate::time::Timestamp;

/// Casts a column of `from` (in the Arrow type of its batch) to the Arrow type of `to`. `multi_value` says that the
/// texts of a `String` column may be JSON arrays.
///
/// # Errors
/// `Invalid` for a narrowing, which no schema asks for.
pub(crate) fn cast_column(
    name: &str,
    array: &ArrayRef,
    from: ColumnType,
    multi_value: bool,
    to: ColumnType,
) -> Result<ArrayRef> {
    use ColumnType::{Double, Float, Json, Long, String, Timestamp};
    let narrowing =
        || SegmentError::invalid("column cast", format!("column `{name}` of type {from} cannot be read as {to}"));
    Ok(match (from, to) {
        (a, b) if a == b && *array.data_type() == b.arrow_type() => Arc::clone(array),
        (a, b) if a == b => kernel(name, array, &b.arrow_type())?,
        (Long | Float, Double) | (Long | Double, Float) => kernel(name, array, &to.arrow_type())?,
        (Long | Double | Float | Timestamp, String) => texts(array, false),
        (Long | Double | Float | Timestamp, Json) => texts(array, true),
        (Json, String) => kernel(name, array, &DataType::Utf8View)?,
        (String, Json) => quoted(array, multi_value),
        _ => return Err(narrowing()),
    })
}

fn kernel(name: &str, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast(array, to).map_err(|source| SegmentError::Arrow { column: name.to_owned(), source })
}

fn texts(array: &ArrayRef, json: bool) -> ArrayRef {
    let mut out = StringViewBuilder::with_capacity(array.len());
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
            continue;
        }
        text.clear();
        match array.data_type() {
            DataType::Int64 => text.push_str(&array.as_primitive::<Int64Type>().value(row).to_string()),
            DataType::Float64 => write_double(array.as_primitive::<Float64Type>().value(row), &mut text),
            DataType::Float32 => write_float(array.as_primitive::<Float32Type>().value(row), &mut text),
            _ => {
                let millis = array.as_primitive::<TimestampMillisecondType>().value(row);
                text.push_str(&Timestamp::from_millis(millis).to_iso());
                if json {
                    text = format!("\"{text}\"");
                }
            }
        }
        out.append_value(&text);
    }
    Arc::new(out.finish())
}

fn quoted(array: &ArrayRef, multi_value: bool) -> ArrayRef {
    let mut out = StringViewBuilder::with_capacity(array.len());
    each_text(array, |value| match value {
        None => out.append_null(),
        Some(v) if multi_value && v.starts_with('[') && serde_json::from_str::<Vec<String>>(v).is_ok() => {
            out.append_value(v);
        }
        Some(v) => out.append_value(serde_json::Value::from(v).to_string()),
    });
    Arc::new(out.finish())
}

/// Calls `f` for each row of a text column, whichever of Arrow's two text types it has.
pub(crate) fn each_text(array: &ArrayRef, mut f: impl FnMut(Option<&str>)) {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().for_each(&mut f),
        _ => array.as_string_view().iter().for_each(&mut f),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float32Array, Float64Array, StringArray, TimestampMillisecondArray};

    fn cast_text(array: ArrayRef, from: ColumnType, to: ColumnType) -> Vec<Option<String>> {
        let out = cast_column("c", &array, from, true, to).expect("a widening");
        let mut texts = Vec::new();
        each_text(&out, |t| texts.push(t.map(str::to_owned)));
        texts
    }

    #[test]
    fn numbers_become_their_text_and_text_becomes_json() {
        let doubles: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(1e10)]));
        assert_eq!(
            cast_text(doubles, ColumnType::Double, ColumnType::String),
            vec![Some("1.0".to_owned()), None, Some("1.0E10".to_owned())]
        );
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![0]).with_timezone("UTC"));
        assert_eq!(
            cast_text(times, ColumnType::Timestamp, ColumnType::Json),
            vec![Some("\"1970-01-01T00:00:00.000Z\"".to_owned())]
        );
        let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("a\"b"), None, Some("[\"x\",\"y\"]")]));
        assert_eq!(
            cast_text(strings, ColumnType::String, ColumnType::Json),
            vec![Some("\"a\\\"b\"".to_owned()), None, Some("[\"x\",\"y\"]".to_owned())]
        );
        let floats: ArrayRef = Arc::new(Float32Array::from(vec![0.1f32]));
        assert_eq!(cast_text(floats, ColumnType::Float, ColumnType::String), vec![Some("0.1".to_owned())]);
    }

    #[test]
    fn a_narrowing_is_refused() {
        let strings: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
        assert!(cast_column("c", &strings, ColumnType::String, false, ColumnType::Long).is_err());
    }
}
