//! Functions of JSON.
//!
//! A JSON value is a text whose field is marked so. Texts without the mark are taken as JSON when they hold an object or an array,
//! and as a JSON string otherwise, so that paths work on columns that came as plain text.

mod path;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringViewBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type, TimestampMillisecondType};
use datafusion::common::{DataFusionError, Result as DfResult, exec_err, plan_err};
use path::Path;
use serde_json::{Map, Value};

use super::arrays::texts_type;
use super::{Call, Definition, Shown, count_between, is_text, literal, text_type};
use crate::columns::{JSON_ITEMS, STORED_TYPE_KEY};

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::of_fields("JSON_VALUE", value_and_path, text_type, json_value),
    Definition::of_fields("JSON_QUERY", value_and_path, text_type, json_query).shown(Shown::Json),
    Definition::of_fields("JSON_QUERY_ARRAY", value_and_path, texts_type, json_query_array).shown(Shown::JsonItems),
    Definition::of_fields("JSON_KEYS", value_and_path, texts_type, json_keys),
    Definition::of_fields("JSON_PATHS", one_value, texts_type, json_paths),
    Definition::of_fields("JSON_OBJECT", pairs, text_type, json_object).shown(Shown::Json),
    Definition::of_fields("JSON_MERGE", values, text_type, json_merge).shown(Shown::Json),
    Definition::of_fields("PARSE_JSON", one_value, text_type, parse_json).shown(Shown::Json),
    Definition::of_fields("TRY_PARSE_JSON", one_value, text_type, parse_json).shown(Shown::Json),
    Definition::of_fields("TO_JSON_STRING", one_value, text_type, to_json_string),
];

const ARGUMENTS_MAX: usize = 1000;

/// What marks a field as JSON.
pub(super) fn mark() -> HashMap<String, String> {
    [(STORED_TYPE_KEY.to_owned(), "JSON".to_owned())].into()
}

/// Whether a path of these functions has a meaning.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    Path::parse(path).map(|_| ())
}

/// What marks a field as an array of JSON. The items carry no mark: a literal array would lose it.
pub(super) fn items_mark() -> HashMap<String, String> {
    [(STORED_TYPE_KEY.to_owned(), JSON_ITEMS.to_owned())].into()
}

/// An array as text.
pub(super) fn list_text(array: &ArrayRef, row: usize) -> Option<String> {
    (!array.is_null(row)).then(|| cell_of(array, row, false).to_string())
}

fn plain(given: &DataType) -> DataType {
    match given {
        text if is_text(text) => DataType::Utf8View,
        DataType::Boolean | DataType::Null | DataType::List(_) | DataType::Timestamp(..) | DataType::Float32 => {
            given.clone()
        }
        integer if integer.is_integer() => DataType::Int64,
        number if number.is_numeric() => DataType::Float64,
        _ => DataType::Utf8View,
    }
}

fn one_value(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1)?;
    Ok(types.iter().map(plain).collect())
}

fn values(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, ARGUMENTS_MAX)?;
    Ok(types.iter().map(plain).collect())
}

fn value_and_path(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    Ok(vec![plain(&types[0]), DataType::Utf8])
}

fn pairs(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    if !types.len().is_multiple_of(2) || types.len() > ARGUMENTS_MAX {
        return plan_err!("{name} takes keys with their values: {name}(KEY 'name' VALUE value, ..)");
    }
    Ok(types.iter().enumerate().map(|(i, t)| if i % 2 == 0 { DataType::Utf8View } else { plain(t) }).collect())
}

/// An argument, and whether it is JSON.
struct Column {
    array: ArrayRef,
    is_json: bool,
    /// Whether its elements are.
    has_json: bool,
}

impl Call<'_> {
    fn column(&self, index: usize) -> DfResult<Column> {
        let Some(arg) = self.args.get(index) else { return exec_err!("argument {} is missing", index + 1) };
        let mark = self.fields.get(index).and_then(|f| f.metadata().get(STORED_TYPE_KEY)).map(String::as_str);
        let (is_json, has_json) = (mark == Some("JSON"), mark == Some(JSON_ITEMS));
        Ok(Column { array: arg.clone().into_array(self.rows)?, is_json, has_json })
    }

    fn path(&self) -> DfResult<Option<Path>> {
        literal(self.name, self.args, 1)?
            .map(|p| Path::parse(&p).map_err(|e| DataFusionError::Execution(format!("{}: {e}", self.name))))
            .transpose()
    }
}

impl Column {
    /// The cell as a JSON value: a text as a string, unless it is marked.
    fn cell(&self, row: usize) -> Value {
        if self.is_json {
            return text_at(&self.array, row).map_or(Value::Null, |t| serde_json::from_str(t).unwrap_or(Value::Null));
        }
        cell_of(&self.array, row, self.has_json)
    }

    /// As [`cell`](Self::cell), but a text without the mark may be JSON as well. Null is nothing.
    fn document(&self, row: usize) -> Option<Value> {
        let value = self.cell(row);
        match value {
            Value::Null => None,
            Value::String(text) if !self.is_json => {
                let parsed =
                    text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str(&text).ok()).flatten();
                Some(parsed.unwrap_or(Value::String(text)))
            }
            value => Some(value),
        }
    }
}

fn text_at(array: &ArrayRef, row: usize) -> Option<&str> {
    let texts = array.as_string_view_opt()?;
    texts.is_valid(row).then(|| texts.value(row))
}

/// A cell as a JSON value; `is_json` says whether texts in it are JSON.
fn cell_of(array: &ArrayRef, row: usize, is_json: bool) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let double = |x: f64| match serde_json::Number::from_f64(x) {
        Some(number) => Value::Number(number),
        // As the server writes them.
        None => Value::String(if x.is_nan() {
            "NaN".to_owned()
        } else {
            format!("{}Infinity", if x < 0.0 { "-" } else { "" })
        }),
    };
    match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int64 => Value::from(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => double(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Timestamp(..) => {
            array.as_primitive_opt::<TimestampMillisecondType>().map_or(Value::Null, |t| Value::from(t.value(row)))
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| cell_of(&items, i, is_json)).collect()
        }
        _ => {
            let text = arrow::compute::cast(&array.slice(row, 1), &DataType::Utf8View);
            let Some(text) = text.ok().and_then(|t| text_at(&t, 0).map(str::to_owned)) else { return Value::Null };
            if is_json { serde_json::from_str(&text).unwrap_or(Value::Null) } else { Value::String(text) }
        }
    }
}

/// One text a row, or null.
fn written(rows: usize, mut cell: impl FnMut(usize) -> DfResult<Option<String>>) -> DfResult<ArrayRef> {
    let mut out = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        out.append_option(cell(row)?);
    }
    Ok(Arc::new(out.finish()))
}

/// One list of texts a row, or null.
fn listed(rows: usize, cell: impl Fn(usize) -> Option<Vec<String>>) -> DfResult<ArrayRef> {
    let mut items = StringViewBuilder::new();
    let (mut lengths, mut valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for row in 0..rows {
        let cell = cell(row);
        valid.push(cell.is_some());
        lengths.push(cell.as_ref().map_or(0, Vec::len));
        cell.into_iter().flatten().for_each(|text| items.append_value(text));
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    let item = Arc::new(Field::new_list_field(DataType::Utf8View, true));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(items.finish()), Some(NullBuffer::from(valid)))?))
}

/// A plain value as text; nothing for objects and arrays.
fn json_value(call: &Call<'_>) -> DfResult<ArrayRef> {
    let (column, path) = (call.column(0)?, call.path()?);
    written(call.rows, |row| {
        let Some((document, path)) = column.document(row).zip(path.as_ref()) else { return Ok(None) };
        Ok(match path.find(&document) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(Value::Bool(b)) => Some(b.to_string()),
            _ => None,
        })
    })
}

fn json_query(call: &Call<'_>) -> DfResult<ArrayRef> {
    let (column, path) = (call.column(0)?, call.path()?);
    written(call.rows, |row| {
        let Some((document, path)) = column.document(row).zip(path.as_ref()) else { return Ok(None) };
        Ok(path.find(&document).filter(|v| !v.is_null()).map(Value::to_string))
    })
}

fn json_query_array(call: &Call<'_>) -> DfResult<ArrayRef> {
    let (column, path) = (call.column(0)?, call.path()?);
    listed(call.rows, |row| {
        let document = column.document(row)?;
        Some(match path.as_ref()?.find(&document)? {
            Value::Null => return None,
            Value::Array(items) => items.iter().map(Value::to_string).collect(),
            one => vec![one.to_string()],
        })
    })
}

fn json_keys(call: &Call<'_>) -> DfResult<ArrayRef> {
    let (column, path) = (call.column(0)?, call.path()?);
    listed(call.rows, |row| {
        let document = column.document(row)?;
        match path.as_ref()?.find(&document)? {
            Value::Object(map) => Some(map.keys().cloned().collect()),
            Value::Array(items) => Some((0..items.len()).map(|i| i.to_string()).collect()),
            _ => None,
        }
    })
}

fn json_paths(call: &Call<'_>) -> DfResult<ArrayRef> {
    let column = call.column(0)?;
    listed(call.rows, |row| Some(path::leaves(&column.document(row)?)))
}

fn json_object(call: &Call<'_>) -> DfResult<ArrayRef> {
    let columns = (0..call.args.len()).map(|i| call.column(i)).collect::<DfResult<Vec<_>>>()?;
    written(call.rows, |row| {
        let mut map = Map::new();
        for pair in columns.chunks_exact(2) {
            let [key, value] = pair else { continue };
            let Some(key) = text_at(&key.array, row) else {
                return exec_err!("{}: a key is null", call.name);
            };
            map.insert(key.to_owned(), value.cell(row));
        }
        Ok(Some(Value::Object(map).to_string()))
    })
}

/// Objects over each other, the last one on top; null when one is no object.
fn json_merge(call: &Call<'_>) -> DfResult<ArrayRef> {
    let columns = (0..call.args.len()).map(|i| call.column(i)).collect::<DfResult<Vec<_>>>()?;
    written(call.rows, |row| {
        let mut merged = Map::new();
        for column in &columns {
            let Some(Value::Object(map)) = column.document(row) else { return Ok(None) };
            merged.extend(map);
        }
        Ok(Some(Value::Object(merged).to_string()))
    })
}

/// PARSE_JSON and TRY_PARSE_JSON.
fn parse_json(call: &Call<'_>) -> DfResult<ArrayRef> {
    let column = call.column(0)?;
    written(call.rows, |row| {
        if column.is_json || column.array.as_string_view_opt().is_none() {
            let value = column.cell(row);
            return Ok((!value.is_null()).then(|| value.to_string()));
        }
        let Some(text) = text_at(&column.array, row) else { return Ok(None) };
        match serde_json::from_str::<Value>(text) {
            Ok(value) => Ok(Some(value.to_string())),
            Err(_) if call.name == "TRY_PARSE_JSON" => Ok(None),
            Err(error) => {
                let shown: String = text.chars().take(60).collect();
                exec_err!("{}: `{shown}` is not JSON: {error}; TRY_PARSE_JSON gives null instead", call.name)
            }
        }
    })
}

fn to_json_string(call: &Call<'_>) -> DfResult<ArrayRef> {
    let column = call.column(0)?;
    written(call.rows, |row| Ok((!column.array.is_null(row)).then(|| column.cell(row).to_string())))
}
