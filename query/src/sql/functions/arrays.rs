//! Functions of arrays.
//!
//! Elements are compared as the rows of Arrow's row format, so any type works and null equals null. What a function picks from its
//! arguments is a list of places, gathered once per batch.

use std::slice::from_ref;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StringViewBuilder, UInt64Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result as DfResult, exec_err, plan_err};
use datafusion::logical_expr::ColumnarValue;

use super::{
    Definition, boolean_type, count_between, is_text, long_argument, long_type, longs, mistyped, regex_argument,
    text_argument, text_type, texts, time, timestamp_type,
};
use crate::columns::type_name;

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("ARRAY_LENGTH", one_array, long_type, length),
    Definition::generic("ARRAY_OFFSET", array_and_place, item_of, at),
    Definition::generic("ARRAY_ORDINAL", array_and_place, item_of, at),
    Definition::new("ARRAY_OFFSET_OF", array_and_item, long_type, place_of),
    Definition::new("ARRAY_ORDINAL_OF", array_and_item, long_type, place_of),
    Definition::new("ARRAY_CONTAINS", array_and_any, boolean_type, contains),
    Definition::new("ARRAY_OVERLAP", two_arrays, boolean_type, contains),
    Definition::new("SCALAR_IN_ARRAY", item_and_array, boolean_type, scalar_in),
    Definition::generic("ARRAY_APPEND", array_and_item, first_type, append),
    Definition::generic("ARRAY_PREPEND", item_and_array, second_type, append),
    Definition::generic("ARRAY_CONCAT", two_arrays, first_type, concat),
    Definition::generic("ARRAY_SLICE", slice_types, first_type, slice),
    Definition::new("ARRAY_TO_STRING", array_and_text, text_type, to_string),
    Definition::new("STRING_TO_ARRAY", two_texts, texts_type, split),
    // Behind MV_FILTER_ONLY and MV_FILTER_NONE.
    Definition::generic("__ARRAY_KEEP", two_arrays, first_type, filter),
    Definition::generic("__ARRAY_DROP", two_arrays, first_type, filter),
];

/// The field of a list's elements; always this one, so that lists of different makes are the same type.
fn item_field(item: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(item, true))
}

pub(super) fn list_of(item: DataType) -> DataType {
    DataType::List(item_field(item))
}

/// ARRAY of VARCHAR.
pub(super) fn texts_type() -> DataType {
    list_of(DataType::Utf8View)
}

fn first_type(types: &[DataType]) -> DataType {
    types.first().cloned().unwrap_or(DataType::Null)
}

fn second_type(types: &[DataType]) -> DataType {
    types.get(1).cloned().unwrap_or(DataType::Null)
}

fn item_of(types: &[DataType]) -> DataType {
    match types.first() {
        Some(DataType::List(item)) => item.data_type().clone(),
        _ => DataType::Null,
    }
}

/// The element type of an array argument.
fn element(name: &str, types: &[DataType], index: usize) -> DfResult<DataType> {
    match types.get(index) {
        Some(DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) => {
            Ok(item.data_type().clone())
        }
        Some(DataType::Null) => Ok(DataType::Null),
        Some(given) => mistyped(name, index + 1, "an ARRAY", given),
        None => plan_err!("argument {} of {name} is missing", index + 1),
    }
}

/// The type in which elements of both can be compared.
fn common(name: &str, a: &DataType, b: &DataType) -> DfResult<DataType> {
    Ok(match (a, b) {
        (DataType::Null, DataType::Null) => DataType::Utf8View,
        (DataType::Null, other) | (other, DataType::Null) => common(name, other, other)?,
        (a, b) if is_text(a) && is_text(b) => DataType::Utf8View,
        (a, b) if a.is_integer() && b.is_integer() => DataType::Int64,
        (a, b) if a.is_numeric() && b.is_numeric() => DataType::Float64,
        (DataType::Timestamp(..), DataType::Timestamp(..)) => timestamp_type(),
        (a, b) if (is_text(a) && b.is_numeric()) || (a.is_numeric() && is_text(b)) => DataType::Utf8View,
        (DataType::List(_), DataType::List(_)) => {
            list_of(common(name, &element(name, from_ref(a), 0)?, &element(name, from_ref(b), 0)?)?)
        }
        (a, b) if a == b => a.clone(),
        (a, b) => return plan_err!("{name}: a {} and a {} cannot be compared", type_name(a), type_name(b)),
    })
}

fn one_array(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1)?;
    let item = element(name, types, 0)?;
    Ok(vec![list_of(common(name, &item, &item)?)])
}

fn two_arrays(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    let item = common(name, &element(name, types, 0)?, &element(name, types, 1)?)?;
    Ok(vec![list_of(item.clone()), list_of(item)])
}

fn array_and_item(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    let item = common(name, &element(name, types, 0)?, &types[1])?;
    Ok(vec![list_of(item.clone()), item])
}

fn item_and_array(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    let item = common(name, &element(name, types, 1)?, &types[0])?;
    Ok(vec![item.clone(), list_of(item)])
}

fn array_and_any(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    match types.get(1) {
        Some(DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)) => two_arrays(name, types),
        _ => array_and_item(name, types),
    }
}

fn array_and_place(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    Ok([one_array(name, &types[..1])?, vec![long_argument(name, types, 1)?]].concat())
}

fn slice_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 3)?;
    let mut out = one_array(name, &types[..1])?;
    for index in 1..types.len() {
        out.push(long_argument(name, types, index)?);
    }
    Ok(out)
}

fn array_and_text(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    Ok([one_array(name, &types[..1])?, vec![text_argument(name, types, 1)?]].concat())
}

fn two_texts(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    Ok(vec![text_argument(name, types, 0)?, text_argument(name, types, 1)?])
}

/// Argument `index` as an array of any type.
fn array(args: &[ColumnarValue], index: usize, rows: usize) -> DfResult<ArrayRef> {
    match args.get(index) {
        Some(arg) => Ok(arg.clone().into_array(rows)?),
        None => exec_err!("argument {} is missing", index + 1),
    }
}

/// Argument `index` as lists.
pub(super) fn lists(args: &[ColumnarValue], index: usize, rows: usize) -> DfResult<ListArray> {
    let array = array(args, index, rows)?;
    match array.as_list_opt::<i32>() {
        Some(lists) => Ok(lists.clone()),
        None => exec_err!("argument {} is not an array", index + 1),
    }
}

/// First and last place of a row's elements among all elements; nothing for a null row.
fn bounds(lists: &ListArray, row: usize) -> Option<(usize, usize)> {
    if lists.is_null(row) {
        return None;
    }
    let offsets = lists.offsets();
    Some((usize::try_from(offsets[row]).ok()?, usize::try_from(offsets[row + 1]).ok()?))
}

/// Values of two columns in a form that compares.
fn comparable(a: &ArrayRef, b: &ArrayRef) -> DfResult<(Rows, Rows)> {
    let converter = RowConverter::new(vec![SortField::new(a.data_type().clone())])?;
    Ok((converter.convert_columns(&[Arc::clone(a)])?, converter.convert_columns(&[Arc::clone(b)])?))
}

/// Lists under construction: places in one of several sources.
#[derive(Default)]
pub(super) struct Picked {
    lengths: Vec<usize>,
    valid: Vec<bool>,
    places: Vec<(usize, usize)>,
}

impl Picked {
    /// Ends a row with these elements; nothing is a null row.
    pub(super) fn row(&mut self, places: Option<impl IntoIterator<Item = (usize, usize)>>) -> DfResult<()> {
        let before = self.places.len();
        self.valid.push(places.is_some());
        self.places.extend(places.into_iter().flatten());
        self.lengths.push(self.places.len() - before);
        if i32::try_from(self.places.len()).is_err() {
            return exec_err!("the arrays of a batch have more than {} elements", i32::MAX);
        }
        Ok(())
    }

    pub(super) fn finish(self, sources: &[&dyn Array]) -> DfResult<ArrayRef> {
        let values = interleave(sources, &self.places)?;
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let field = item_field(values.data_type().clone());
        Ok(Arc::new(ListArray::try_new(field, offsets, values, Some(NullBuffer::from(self.valid)))?))
    }
}

fn length(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let lists = lists(args, 0, rows)?;
    let out: Int64Array =
        (0..rows).map(|row| bounds(&lists, row).and_then(|(from, to)| i64::try_from(to - from).ok())).collect();
    Ok(Arc::new(out))
}

/// ARRAY_OFFSET and ARRAY_ORDINAL: the element at a place, counted from 0 or 1.
fn at(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let first = i64::from(name == "ARRAY_ORDINAL");
    let (lists, places) = (lists(args, 0, rows)?, longs(args, 1, rows)?);
    let picked: UInt64Array = (0..rows)
        .map(|row| {
            let (from, to) = bounds(&lists, row)?;
            let place = places.is_valid(row).then(|| places.value(row).checked_sub(first)).flatten()?;
            let at = from.checked_add(usize::try_from(place).ok()?)?;
            (at < to).then(|| u64::try_from(at).ok()).flatten()
        })
        .collect();
    Ok(take(lists.values(), &picked, None)?)
}

/// ARRAY_OFFSET_OF and ARRAY_ORDINAL_OF: the first place of an element.
fn place_of(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let first = usize::from(name == "ARRAY_ORDINAL_OF");
    let (lists, wanted) = (lists(args, 0, rows)?, array(args, 1, rows)?);
    let (items, wanted) = comparable(lists.values(), &wanted)?;
    let out: Int64Array = (0..rows)
        .map(|row| {
            let (from, to) = bounds(&lists, row)?;
            let place = (from..to).position(|i| items.row(i) == wanted.row(row))?;
            i64::try_from(place + first).ok()
        })
        .collect();
    Ok(Arc::new(out))
}

/// ARRAY_CONTAINS (all of the second) and ARRAY_OVERLAP (any of it).
fn contains(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let (haystack, needles) = (lists(args, 0, rows)?, array(args, 1, rows)?);
    let Some(needles) = needles.as_list_opt::<i32>() else {
        return one_in(&haystack, &needles, rows);
    };
    let (items, wanted) = comparable(haystack.values(), needles.values())?;
    let out: BooleanArray = (0..rows)
        .map(|row| {
            let ((from, to), (first, last)) = (bounds(&haystack, row)?, bounds(needles, row)?);
            let has = |w: usize| (from..to).any(|i| items.row(i) == wanted.row(w));
            Some(if name == "ARRAY_OVERLAP" { (first..last).any(has) } else { (first..last).all(has) })
        })
        .collect();
    Ok(Arc::new(out))
}

/// Whether the element of each row is in its list.
fn one_in(lists: &ListArray, wanted: &ArrayRef, rows: usize) -> DfResult<ArrayRef> {
    let (items, wanted) = comparable(lists.values(), wanted)?;
    let out: BooleanArray = (0..rows)
        .map(|row| {
            let (from, to) = bounds(lists, row)?;
            Some((from..to).any(|i| items.row(i) == wanted.row(row)))
        })
        .collect();
    Ok(Arc::new(out))
}

fn scalar_in(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    one_in(&lists(args, 1, rows)?, &array(args, 0, rows)?, rows)
}

/// ARRAY_APPEND and ARRAY_PREPEND.
fn append(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let before = name == "ARRAY_PREPEND";
    let (list_at, item_at) = if before { (1, 0) } else { (0, 1) };
    let (lists, items) = (lists(args, list_at, rows)?, array(args, item_at, rows)?);
    let mut out = Picked::default();
    for row in 0..rows {
        out.row(bounds(&lists, row).map(|(from, to)| {
            let item = |here: bool| here.then_some((1, row));
            item(before).into_iter().chain((from..to).map(|i| (0, i))).chain(item(!before))
        }))?;
    }
    out.finish(&[lists.values().as_ref(), items.as_ref()])
}

fn concat(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let (a, b) = (lists(args, 0, rows)?, lists(args, 1, rows)?);
    let mut out = Picked::default();
    for row in 0..rows {
        let places = bounds(&a, row).zip(bounds(&b, row));
        out.row(places.map(|((f, t), (g, u))| (f..t).map(|i| (0, i)).chain((g..u).map(|i| (1, i)))))?;
    }
    out.finish(&[a.values().as_ref(), b.values().as_ref()])
}

/// Elements from the first place up to and without the second, both from 0; null when the first is none.
fn slice(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let (lists, starts) = (lists(args, 0, rows)?, longs(args, 1, rows)?);
    let ends = args.get(2).map(|_| longs(args, 2, rows)).transpose()?;
    let mut out = Picked::default();
    for row in 0..rows {
        let places = bounds(&lists, row).and_then(|(from, to)| {
            let start = usize::try_from(starts.is_valid(row).then(|| starts.value(row))?).ok()?;
            let end = match &ends {
                None => to - from,
                Some(ends) => usize::try_from(ends.is_valid(row).then(|| ends.value(row))?).ok()?,
            };
            (start <= to - from && start <= end).then(|| (from + start, to.min(from.saturating_add(end))))
        });
        out.row(places.map(|(from, to)| (from..to).map(|i| (0, i))))?;
    }
    out.finish(&[lists.values().as_ref()])
}

/// `__ARRAY_KEEP` and `__ARRAY_DROP`: elements that are in the second array, or not.
fn filter(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let keep = name == "__ARRAY_KEEP";
    let (lists, wanted) = (lists(args, 0, rows)?, lists(args, 1, rows)?);
    let (items, named) = comparable(lists.values(), wanted.values())?;
    let mut out = Picked::default();
    for row in 0..rows {
        let places = bounds(&lists, row).zip(bounds(&wanted, row));
        out.row(places.map(|((from, to), (first, last))| {
            let in_list = |i: usize| (first..last).any(|w| items.row(i) == named.row(w));
            (from..to).filter(move |i| in_list(*i) == keep).map(|i| (0, i)).collect::<Vec<_>>()
        }))?;
    }
    out.finish(&[lists.values().as_ref()])
}

/// Null elements are written `null`.
fn to_string(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let (lists, separators) = (lists(args, 0, rows)?, texts(args, 1, rows)?);
    let items = time::plain_text(lists.values())?;
    let items = items.as_string_view();
    let mut out = StringViewBuilder::with_capacity(rows);
    let mut line = String::new();
    for row in 0..rows {
        let Some(((from, to), separator)) =
            bounds(&lists, row).zip(separators.is_valid(row).then(|| separators.value(row)))
        else {
            out.append_null();
            continue;
        };
        line.clear();
        for i in from..to {
            if i > from {
                line.push_str(separator);
            }
            line.push_str(if items.is_valid(i) { items.value(i) } else { "null" });
        }
        out.append_value(&line);
    }
    Ok(Arc::new(out.finish()))
}

/// Splits at a regular expression; empty parts at the end are dropped, as Java's split drops them.
fn split(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let pattern = regex_argument(name, args, 1)?;
    let mut parts = StringViewBuilder::new();
    let (mut lengths, mut valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for text in &texts(args, 0, rows)? {
        let Some((text, pattern)) = text.zip(pattern.as_ref()) else {
            lengths.push(0);
            valid.push(false);
            continue;
        };
        let found = split_text(text, pattern);
        found.iter().for_each(|part| parts.append_value(part));
        lengths.push(found.len());
        valid.push(true);
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    let values = Arc::new(parts.finish());
    Ok(Arc::new(ListArray::try_new(item_field(DataType::Utf8View), offsets, values, Some(NullBuffer::from(valid)))?))
}

fn split_text<'a>(text: &'a str, pattern: &regex::Regex) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for found in pattern.find_iter(text) {
        // A match of nothing at the beginning splits nothing off.
        if found.end() == 0 || (found.is_empty() && found.start() == text.len()) {
            continue;
        }
        parts.push(&text[from..found.start()]);
        from = found.end();
    }
    if from == 0 {
        return vec![text];
    }
    parts.push(&text[from..]);
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}
