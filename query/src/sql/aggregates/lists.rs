//! ARRAY_AGG, ARRAY_CONCAT_AGG and STRING_AGG: all values of a group, up to a size.
//!
//! Values and the keys they are ordered by are kept as Arrow's rows, whose bytes compare as the values do: one code
//! serves every type, DISTINCT is a sorted set, and partial answers merge in any order. The dialect writes each call
//! as `(x, size, options, separator, key, ..)`: with its ordering in plain arguments the planner has no sort to place.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringViewArray, StringViewBuilder, new_empty_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result as DfResult, exec_err, internal_err, plan_err};

use super::groups::{Aggregator, Gather, Rows};
use super::input::{Call, plain};
use crate::columns::type_name;
use crate::error::QueryError;

/// Bytes a group may gather where the call names no limit.
pub(super) const SIZE: i64 = 1024;
/// Arguments before the keys.
const FIXED: usize = 4;

/// The type of a gathered value.
fn element(name: &str, data_type: &DataType) -> DfResult<DataType> {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => plan_err!("{name} takes no sketches"),
        DataType::Boolean | DataType::Float32 | DataType::Int32 => Ok(data_type.clone()),
        other => Ok(plain(other).unwrap_or_else(|| other.clone())),
    }
}

fn with_literals(value: DataType, types: &[DataType]) -> Vec<DataType> {
    let literals = [value, DataType::Int64, DataType::Utf8, DataType::Utf8];
    literals.into_iter().chain(types.iter().skip(FIXED).cloned()).collect()
}

pub(super) fn coerce_array(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    match types.first() {
        Some(first) if types.len() >= FIXED => Ok(with_literals(element(name, first)?, types)),
        _ => internal_err!("{name} was written with {} arguments", types.len()),
    }
}

pub(super) fn coerce_concat(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    match types.first() {
        Some(DataType::List(item)) => {
            let item = Field::new_list_field(element(name, item.data_type())?, true);
            Ok(with_literals(DataType::List(Arc::new(item)), types))
        }
        Some(DataType::Null) => Ok(with_literals(DataType::new_list(DataType::Null, true), types)),
        Some(other) => plan_err!("{name} takes arrays, not {}", type_name(other)),
        None => plan_err!("{name} takes a column"),
    }
}

pub(super) fn coerce_string(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    match types.first() {
        Some(first) if matches!(plain(first), Some(DataType::Utf8View | DataType::Null)) => {
            Ok(with_literals(DataType::Utf8View, types))
        }
        Some(other) => plan_err!("{name} takes texts, not {}", type_name(other)),
        None => plan_err!("{name} takes a column"),
    }
}

/// A list of what the first argument holds.
pub(super) fn returns_list(fields: &[FieldRef]) -> DataType {
    let item = fields.first().map_or(DataType::Null, |f| f.data_type().clone());
    DataType::new_list(item, true)
}

pub(super) fn array(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    let value = call.field(0)?.data_type().clone();
    Ok(Box::new(Listing::new(call, value, Shape::Values)?))
}

pub(super) fn concat(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    let DataType::List(item) = call.field(0)?.data_type() else {
        return internal_err!("{} was planned over no array", call.name);
    };
    Ok(Box::new(Listing::new(call, item.data_type().clone(), Shape::Items)?))
}

pub(super) fn string(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    let separator = call.text(3)?.unwrap_or_default();
    Ok(Box::new(Listing::new(call, DataType::Utf8View, Shape::Text { separator })?))
}

/// What is gathered and given.
#[derive(Debug)]
enum Shape {
    /// Each value, nulls too.
    Values,
    /// The items of each array.
    Items,
    /// Texts, joined; nulls are left out.
    Text { separator: String },
}

/// `-` or `d` for DISTINCT, then two letters for each ordering: `a` or `d`, and `f` or `l` for where nulls go.
fn parse_options(options: &str) -> (bool, Vec<SortOptions>) {
    let mut letters = options.bytes();
    let distinct = letters.next() == Some(b'd');
    let mut orderings = Vec::new();
    while let (Some(direction), Some(nulls)) = (letters.next(), letters.next()) {
        orderings.push(SortOptions { descending: direction == b'd', nulls_first: nulls == b'f' });
    }
    (distinct, orderings)
}

#[derive(Debug)]
struct Listing {
    name: &'static str,
    shape: Shape,
    distinct: bool,
    size: usize,
    values: RowConverter,
    keys: Option<RowConverter>,
    value_type: DataType,
}

impl Listing {
    fn new(call: &Call<'_>, value_type: DataType, shape: Shape) -> DfResult<Self> {
        let size = call.integer(1, SIZE, 1..=i64::from(i32::MAX), "the size")?;
        let (distinct, orderings) = parse_options(&call.text(2)?.unwrap_or_default());
        let ordered = call.args.expr_fields.get(FIXED..).unwrap_or_default();
        let keys: Vec<_> = ordered
            .iter()
            .zip(&orderings)
            .map(|(field, ordering)| SortField::new_with_options(field.data_type().clone(), *ordering))
            .collect();
        // A set is ordered by its values, in the direction that was asked for.
        let own = if distinct { orderings.first().copied().unwrap_or_default() } else { SortOptions::default() };
        Ok(Self {
            name: call.name,
            shape,
            distinct,
            size: usize::try_from(size).expect("the range was checked"),
            values: RowConverter::new(vec![SortField::new_with_options(value_type.clone(), own)])?,
            keys: if keys.is_empty() { None } else { Some(RowConverter::new(keys)?) },
            value_type,
        })
    }

    fn add(&self, state: &mut Gathered, key: &[u8], value: &[u8], cost: u32) -> DfResult<()> {
        if self.distinct {
            if state.set.contains_key(value) {
                return Ok(());
            }
            state.set.insert(value.into(), cost);
        } else {
            state.list.push(Entry { key: key.into(), value: value.into(), cost });
        }
        state.held += key.len() + value.len();
        state.cost += cost as usize;
        // The last separator is not written.
        let spared = if let Shape::Text { separator } = &self.shape { separator.len() } else { 0 };
        if state.cost - spared > self.size {
            let message = format!(
                "{} gathered more than {} bytes in one group: name a larger size as its last argument, or gather fewer rows",
                self.name, self.size
            );
            return Err(QueryError::Exhausted { message }.into_datafusion());
        }
        Ok(())
    }

    /// The entries of a group in the order of the answer.
    fn ordered<'s>(&self, state: &'s Gathered) -> Vec<&'s [u8]> {
        if self.distinct {
            return state.set.keys().map(AsRef::as_ref).collect();
        }
        let mut entries: Vec<&Entry> = state.list.iter().collect();
        match (&self.keys, &self.shape) {
            (None, _) => {}
            // The items of one array stay in their order.
            (Some(_), Shape::Items) => entries.sort_by(|a, b| a.key.cmp(&b.key)),
            (Some(_), _) => entries.sort_by(|a, b| (&a.key, &a.value).cmp(&(&b.key, &b.value))),
        }
        entries.into_iter().map(|e| e.value.as_ref()).collect()
    }

    /// Values of many groups as one array, and how many each group has.
    fn decode(&self, states: &[Gathered]) -> DfResult<(ArrayRef, Vec<usize>)> {
        let groups: Vec<Vec<&[u8]>> = states.iter().map(|state| self.ordered(state)).collect();
        let parser = self.values.parser();
        let rows = groups.iter().flatten().map(|bytes| parser.parse(bytes));
        let values = match self.values.convert_rows(rows)?.pop() {
            Some(values) => values,
            None => new_empty_array(&self.value_type),
        };
        Ok((values, groups.iter().map(Vec::len).collect()))
    }
}

/// What a value counts against the size: a text its bytes, and what Druid writes around each.
fn cost(shape: &Shape, values: &dyn Array, texts: Option<&StringViewArray>, row: usize, bytes: usize) -> u32 {
    let cost = match (shape, texts) {
        (Shape::Text { separator }, Some(texts)) => texts.value(row).len() + separator.len(),
        (_, Some(texts)) => 4 + if texts.is_null(row) { 0 } else { texts.value(row).len() },
        (_, None) if values.data_type().is_nested() => bytes,
        (_, None) if values.is_null(row) => 1,
        (_, None) => 9,
    };
    u32::try_from(cost).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    value: Box<[u8]>,
    cost: u32,
}

/// What one group has gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Whether there was a row at all: without one the answer is null and not empty.
    any: bool,
    list: Vec<Entry>,
    set: BTreeMap<Box<[u8]>, u32>,
    /// Bytes of all keys and values.
    held: usize,
    cost: usize,
}

impl Gather for Listing {
    type State = Gathered;

    fn empty(&self) -> Gathered {
        Gathered::default()
    }

    fn update(&self, states: &mut [Gathered], values: &[ArrayRef], rows: Rows<'_>) -> DfResult<()> {
        let Some(column) = values.first() else { return Ok(()) };
        let lists = matches!(self.shape, Shape::Items).then(|| column.as_list::<i32>());
        let items = lists.map_or_else(|| Arc::clone(column), |lists| Arc::clone(lists.values()));
        let encoded = self.values.convert_columns(std::slice::from_ref(&items))?;
        let keys = match &self.keys {
            Some(keys) => Some(keys.convert_columns(values.get(FIXED..).unwrap_or_default())?),
            None => None,
        };
        let texts = (*items.data_type() == DataType::Utf8View).then(|| items.as_string_view());
        let skip_nulls = matches!(self.shape, Shape::Text { .. });
        rows.each(|row, group| {
            let span = match lists {
                None if skip_nulls && items.is_null(row) => return Ok(()),
                None => row..row + 1,
                Some(lists) if lists.is_null(row) => return Ok(()),
                Some(lists) => {
                    let offsets = lists.value_offsets();
                    to_index(offsets[row])..to_index(offsets[row + 1])
                }
            };
            let state = &mut states[group];
            state.any = true;
            for item in span {
                let value = encoded.row(item);
                let cost = cost(&self.shape, &items, texts, item, value.data().len());
                let key = keys.as_ref().map(|keys| keys.row(row));
                self.add(state, key.as_ref().map_or(&[], |k| k.data()), value.data(), cost)?;
            }
            Ok(())
        })
    }

    fn merge(&self, state: &mut Gathered, other: &[u8]) -> DfResult<()> {
        let Some((any, mut rest)) = other.split_first() else { return exec_err!("an empty state of {}", self.name) };
        state.any |= *any == 1;
        while !rest.is_empty() {
            let Some((head, after)) = rest.split_first_chunk::<12>() else {
                return exec_err!("a state of {} is cut short", self.name);
            };
            let ([cost, key, value], []) = head.as_chunks::<4>() else {
                return internal_err!("12 bytes are three numbers");
            };
            let (key, value) = (u32::from_le_bytes(*key) as usize, u32::from_le_bytes(*value) as usize);
            let Some((key, after)) = after.split_at_checked(key) else {
                return exec_err!("a state of {} is cut short", self.name);
            };
            let Some((value, after)) = after.split_at_checked(value) else {
                return exec_err!("a state of {} is cut short", self.name);
            };
            self.add(state, key, value, u32::from_le_bytes(*cost))?;
            rest = after;
        }
        Ok(())
    }

    fn encode(&self, state: &Gathered, out: &mut Vec<u8>) -> DfResult<()> {
        out.push(u8::from(state.any));
        let set = state.set.iter().map(|(value, cost)| (&[][..], value.as_ref(), *cost));
        let list = state.list.iter().map(|e| (e.key.as_ref(), e.value.as_ref(), e.cost));
        for (key, value, cost) in set.chain(list) {
            let (Ok(key_len), Ok(value_len)) = (u32::try_from(key.len()), u32::try_from(value.len())) else {
                return exec_err!("a value of {} is longer than 4 GiB", self.name);
            };
            for number in [cost, key_len, value_len] {
                out.extend(number.to_le_bytes());
            }
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        }
        Ok(())
    }

    fn evaluate(&self, states: &[Gathered]) -> DfResult<ArrayRef> {
        let (values, lengths) = self.decode(states)?;
        if let Shape::Text { separator } = &self.shape {
            let values = values.as_string_view();
            let mut builder = StringViewBuilder::with_capacity(states.len());
            let mut at = 0;
            for (state, length) in states.iter().zip(lengths) {
                let texts: Vec<&str> = (at..at + length).map(|row| values.value(row)).collect();
                builder.append_option(state.any.then(|| texts.join(separator)));
                at += length;
            }
            return Ok(Arc::new(builder.finish()));
        }
        let field = Arc::new(Field::new_list_field(self.value_type.clone(), true));
        let nulls = NullBuffer::from_iter(states.iter().map(|state| state.any));
        Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, Some(nulls))?))
    }

    fn heap_bytes(&self, state: &Gathered) -> usize {
        // A node of the tree holds up to 11 entries and is half full at the least.
        let set = state.set.len() * 2 * (size_of::<Box<[u8]>>() + size_of::<u32>());
        state.held + state.list.capacity() * size_of::<Entry>() + set
    }
}

fn to_index(offset: i32) -> usize {
    usize::try_from(offset).expect("Arrow's offsets are not negative")
}
