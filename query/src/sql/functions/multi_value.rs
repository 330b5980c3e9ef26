//! Multi-value texts: a VARCHAR that is a JSON array of strings holds several values, any other holds one.
//!
//! The dialect writes MV_LENGTH(x) as ARRAY_LENGTH(MV_TO_ARRAY(x)), and so on; only the way into arrays and back is here.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringViewBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result as DfResult, plan_err};
use datafusion::logical_expr::ColumnarValue;

use super::arrays::{Picked, lists, texts_type};
use super::{Definition, compiled, count_between, literal, mistyped, text_argument, text_type, texts, time};

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("MV_TO_ARRAY", one_text, texts_type, to_array),
    Definition::new("ARRAY_TO_MV", one_array, text_type, from_array),
    // Behind MV_FILTER_REGEX and MV_FILTER_PREFIX.
    Definition::new("__ARRAY_MATCHING", texts_and_text, texts_type, matching),
    Definition::new("__ARRAY_STARTING", texts_and_text, texts_type, matching),
];

fn one_text(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1)?;
    Ok(vec![text_argument(name, types, 0)?])
}

fn one_array(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1)?;
    match &types[0] {
        DataType::List(_) => Ok(types.to_vec()),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Ok(vec![DataType::List(Arc::clone(item))]),
        DataType::Null => Ok(vec![texts_type()]),
        given => mistyped(name, 1, "an ARRAY", given),
    }
}

fn texts_and_text(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let [DataType::List(_), _] = types else { return plan_err!("{name} takes an array and a text") };
    Ok(vec![texts_type(), text_argument(name, types, 1)?])
}

/// The values of a text, when it holds several or none.
fn values(text: &str) -> Option<Vec<Option<String>>> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn to_array(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let mut items = StringViewBuilder::with_capacity(rows);
    let (mut lengths, mut valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for text in &texts(args, 0, rows)? {
        valid.push(text.is_some());
        match text.map(|t| (t, values(t))) {
            None => lengths.push(0),
            Some((_, Some(several))) => {
                lengths.push(several.len());
                several.into_iter().for_each(|value| items.append_option(value));
            }
            Some((one, None)) => {
                lengths.push(1);
                items.append_value(one);
            }
        }
    }
    let item = Arc::new(Field::new_list_field(DataType::Utf8View, true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(items.finish()), Some(NullBuffer::from(valid)))?))
}

/// One value is written plain, unless it would then be read as several.
fn from_array(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let lists = lists(args, 0, rows)?;
    let mut out = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        if lists.is_null(row) {
            out.append_null();
            continue;
        }
        let items = time::plain_text(&lists.value(row))?;
        let items: Vec<Option<&str>> = items.as_string_view().iter().collect();
        match items.as_slice() {
            [None] => out.append_null(),
            [Some(one)] if values(one).is_none() => out.append_value(one),
            several => {
                let text = serde_json::to_string(several).map_err(|e| DataFusionError::Execution(e.to_string()))?;
                out.append_value(text);
            }
        }
    }
    Ok(Arc::new(out.finish()))
}

/// `__ARRAY_MATCHING` and `__ARRAY_STARTING`: elements that match a pattern, or begin with a text.
fn matching(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let lists = lists(args, 0, rows)?;
    let pattern = literal(name, args, 1)?
        .map(|p| {
            let p = if name == "__ARRAY_STARTING" { format!("^{}", regex::escape(&p)) } else { p };
            compiled(&p).map_err(DataFusionError::Execution)
        })
        .transpose()?;
    let items = lists.values().as_string_view();
    let mut out = Picked::default();
    for row in 0..rows {
        let places = pattern.as_ref().filter(|_| lists.is_valid(row)).map(|pattern| {
            let from = usize::try_from(lists.offsets()[row]).unwrap_or(0);
            let to = usize::try_from(lists.offsets()[row + 1]).unwrap_or(0);
            (from..to)
                .filter(|i| items.is_valid(*i) && pattern.is_match(items.value(*i)))
                .map(|i| (0, i))
                .collect::<Vec<_>>()
        });
        out.row(places)?;
    }
    out.finish(&[lists.values().as_ref()])
}
