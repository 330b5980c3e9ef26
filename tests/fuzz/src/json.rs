//! Rows as another reader of JSON has them: values in a tree, compared with what came out of columns.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use freshet_segment::schema::{ColumnType, TableSchema};
use serde::Deserialize;
use serde_json::Value;

/// The values in a record, one behind the other; nothing when the tree's reader gives up on one of them.
pub(crate) fn values(record: &[u8]) -> Option<Vec<Value>> {
    let mut json = serde_json::Deserializer::from_slice(record);
    let mut values = Vec::new();
    while json.end().is_err() {
        values.push(Value::deserialize(&mut json).ok()?);
    }
    Some(values)
}

/// A batch's column by its name.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    batch.column_by_name(name)
}

/// Whether two batches hold the same columns, in whatever order.
pub(crate) fn same(a: &RecordBatch, b: &RecordBatch) -> bool {
    let schema = a.schema();
    a.num_columns() == b.num_columns()
        && schema.fields().iter().zip(a.columns()).all(|(field, array)| column(b, field.name()) == Some(array))
}

/// Compares a row of a batch with the object it came from. `left_out`: fields that no plain column is made of.
pub(crate) fn check_row(batch: &RecordBatch, schema: &TableSchema, row: usize, object: &Value, left_out: &[&str]) {
    let object = object.as_object().expect("a stored row is an object");
    for (name, value) in object {
        if left_out.contains(&name.as_str()) {
            continue;
        }
        let wanted = schema.column(name);
        let array = column(batch, name);
        if value.is_null() || single(value) == Some(None) && wanted.is_none_or(|c| c.column_type == ColumnType::String)
        {
            assert!(array.is_none_or(|array| array.is_null(row)), "{name} is null");
            continue;
        }
        let (Some(wanted), Some(array)) = (wanted, array) else { panic!("{name} is missing: {value}") };
        assert!(array.is_valid(row), "{name} is lost: {value}");
        match (array.data_type(), wanted.column_type) {
            (DataType::Int64, _) => {
                let found = array.as_primitive::<Int64Type>().value(row);
                assert!(
                    number(value) == Some(found as f64) && value.as_i64().is_none_or(|n| n == found),
                    "{name}: {value} is {found}"
                );
            }
            (DataType::Float64, _) => {
                let found = array.as_primitive::<Float64Type>().value(row);
                assert!(number(value).is_some_and(|n| is_near(n, found)), "{name}: {value} is {found}");
            }
            (DataType::Utf8, ColumnType::Json) => {
                let found: Value = serde_json::from_str(text(array, row)).expect("a JSON column holds JSON");
                assert!(is_same(value, &found), "{name}: {value} is {found}");
            }
            (DataType::Utf8, _) => check_text(name, value, text(array, row)),
            other => panic!("{name} has the type {other:?}"),
        }
    }
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let is_there = object.contains_key(field.name()) || left_out.contains(&field.name().as_str());
        assert!(is_there || array.is_null(row), "{} was made up", field.name());
    }
}

fn text(array: &ArrayRef, row: usize) -> &str {
    array.as_string::<i32>().value(row)
}

/// The one text or null of an array that holds nothing else.
fn single(value: &Value) -> Option<Option<&str>> {
    match value.as_array().map(Vec::as_slice) {
        Some([Value::String(text)]) => Some(Some(text)),
        Some([Value::Null]) => Some(None),
        _ => None,
    }
}

fn check_text(name: &str, value: &Value, found: &str) {
    let is_same = match value {
        Value::String(text) => text == found,
        Value::Bool(flag) => found == if *flag { "1" } else { "0" },
        Value::Number(number) => match number.as_i64() {
            Some(n) => found == n.to_string(),
            None => found.parse().is_ok_and(|found| number.as_f64().is_some_and(|n| is_near(n, found))),
        },
        Value::Array(_) if single(value).is_some() => single(value) == Some(Some(found)),
        _ => serde_json::from_str::<Value>(found).is_ok_and(|found| self::is_same(value, &found)),
    };
    assert!(is_same, "{name}: {value} is {found:?}");
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        _ => value.as_f64(),
    }
}

/// Equal but for the last digits, which two readers round differently.
fn is_near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= a.abs() * 4.0 * f64::EPSILON || (a - b).abs() <= f64::MIN_POSITIVE
}

fn is_same(value: &Value, found: &Value) -> bool {
    match (value, found) {
        (Value::Bool(_), Value::Number(n)) => number(value) == n.as_f64(),
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| is_near(a, b))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
        }
        _ => value == found,
    }
}
