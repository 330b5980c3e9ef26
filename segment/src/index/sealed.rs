//! Predicate → [`Selection`] of a sealed unit: zones and bloom filters first, then postings, then only the columns of the
//! filter, and of them only the pages in which a row can still be wanted.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimestampMillisecondType};

use super::scan::Mask;
use super::zones::Verdict;
use super::{Filter, Leaf, Looked, Node, long_comparison, value_at, wants_text};
use crate::error::Result;
use crate::predicate::{CompareOp, Predicate, Value, reference};
use crate::schema::{Column, TableSchema};
use crate::sealed::{Found, OpenSegment, SealedUnit};
use crate::selection::{Part, Selection};
use crate::time::Timestamp;

impl Filter {
    pub(crate) fn of_sealed(predicate: &Predicate, schema: &TableSchema, segment: &OpenSegment) -> Result<Self> {
        let look = |column: &Column, condition: &Predicate| {
            if !column.column_type.is_text() {
                return Ok(Looked::default());
            }
            if let Some(codes) = segment.matching(column, &|value| wants_text(condition, value))? {
                return Ok(Looked { codes: Some(codes), groups: Vec::new() });
            }
            let groups = match texts(condition) {
                Some(texts) => segment.groups_with(column, &texts)?,
                None => None,
            };
            Ok(Looked { codes: None, groups: groups.unwrap_or_default() })
        };
        Ok(Self { root: Node::new(predicate, schema, &look)? })
    }
}

/// The texts one of which a row must hold, where the condition says so.
fn texts(condition: &Predicate) -> Option<Vec<&str>> {
    fn text(value: &Value) -> Option<&str> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
    match condition {
        Predicate::Compare { op: CompareOp::Eq, value, .. } => Some(vec![text(value)?]),
        Predicate::In { values, negated: false, .. } => values.iter().map(text).collect(),
        _ => None,
    }
}

pub(super) fn select(root: &Node, unit: &SealedUnit) -> Result<Selection> {
    let selection = root.of_unit(unit, u64::MAX)?.into_selection(unit.rows());
    unit.want(&selection);
    Ok(selection)
}

impl Node {
    /// The rows that fit, among those in these pages (a bit each); what it says of other pages means nothing.
    fn of_unit(&self, unit: &SealedUnit, pages: u64) -> Result<Mask> {
        Ok(match self {
            Self::True => Mask::All,
            Self::False => Mask::None,
            Self::Leaf(leaf) => match leaf.by_index(unit)? {
                Some(mask) => mask,
                None => leaf.by_pages(unit, pages)?,
            },
            Self::And(parts) => {
                // What the index answers costs nothing and leaves fewer pages to the rest.
                let (mut mask, mut slow) = (Mask::All, Vec::new());
                for part in parts {
                    match part.by_index(unit)? {
                        Some(quick) => mask = mask.and(quick),
                        None => slow.push(part),
                    }
                    if let Mask::None = mask {
                        return Ok(mask);
                    }
                }
                for part in slow {
                    let left = pages & mask.pages(unit.page_rows());
                    if left == 0 {
                        return Ok(Mask::None);
                    }
                    mask = mask.and(part.of_unit(unit, left)?);
                }
                mask
            }
            Self::Or(parts) => {
                let mut mask = Mask::None;
                for part in parts {
                    mask = mask.or(part.of_unit(unit, pages)?);
                    if let Mask::All = mask {
                        break;
                    }
                }
                mask
            }
        })
    }

    fn by_index(&self, unit: &SealedUnit) -> Result<Option<Mask>> {
        match self {
            Self::True => Ok(Some(Mask::All)),
            Self::False => Ok(Some(Mask::None)),
            Self::Leaf(leaf) => leaf.by_index(unit),
            Self::And(_) | Self::Or(_) => Ok(None),
        }
    }
}

impl Leaf {
    /// The answer where no page is needed for it.
    fn by_index(&self, unit: &SealedUnit) -> Result<Option<Mask>> {
        if let Some(mask) = self.by_zones(unit) {
            return Ok(Some(mask));
        }
        let stored = unit.schema().index_of(&self.column.name);
        let (Some(codes), Some(index)) = (&self.codes, stored) else { return Ok(None) };
        if codes.count() == 0 {
            return Ok(Some(Mask::None));
        }
        let rows = unit.rows() as usize;
        Ok(match unit.find(index, codes)? {
            Found::None => Some(Mask::None),
            Found::All => Some(Mask::All),
            Found::Rows(ids) => Some(Mask::of_ids(&ids, rows)),
            Found::AllBut(ids) => Some(Mask::of_ids(&ids, rows).not(rows)),
            Found::Some => None,
        })
    }

    /// The answer where zones or bloom filters alone give it.
    fn by_zones(&self, unit: &SealedUnit) -> Option<Mask> {
        let is_null = match &self.condition {
            Predicate::IsNull { negated, .. } => Some(!negated),
            _ => None,
        };
        let all = |yes: bool| Some(if yes { Mask::All } else { Mask::None });
        let Some(index) = unit.schema().index_of(&self.column.name) else {
            return all(is_null == Some(true));
        };
        let stored = unit.schema().columns().get(index)?;
        let zone = unit.zones()?.columns.get(index)?;
        if zone.nulls == unit.rows() {
            return all(is_null == Some(true));
        }
        if let Some(null_wanted) = is_null {
            return (zone.nulls == 0).then(|| all(!null_wanted)).flatten();
        }
        if stored.column_type != self.column.column_type {
            return None;
        }
        if self.groups.get(unit.group()) == Some(&false) {
            return all(false);
        }
        if let (Predicate::Compare { op, value, .. }, Some(range)) = (&self.condition, zone.zone) {
            match range.verdict(*op, value) {
                Verdict::None => return all(false),
                Verdict::All => return all(true),
                Verdict::Some => {}
            }
        }
        None
    }

    /// The answer from the column's values, page by page.
    fn by_pages(&self, unit: &SealedUnit, pages: u64) -> Result<Mask> {
        let rows = unit.rows();
        let mut words = vec![0u64; rows.div_ceil(64) as usize];
        let page_rows = unit.page_rows();
        for page in (0..rows.div_ceil(page_rows)).filter(|page| pages >> page & 1 == 1) {
            let from = page * page_rows;
            let to = rows.min(from + page_rows);
            let array = unit.read(&self.column, &Part::Run(from..to))?;
            let mut set = |row: usize| {
                let row = from as usize + row;
                if let Some(word) = words.get_mut(row / 64) {
                    *word |= 1 << (row % 64);
                }
            };
            wanted_rows(&self.condition, &array, &mut set);
        }
        Ok(Mask::Words(words))
    }
}

/// Calls `set` for each row that fits.
fn wanted_rows(condition: &Predicate, array: &ArrayRef, set: &mut dyn FnMut(usize)) {
    if let Predicate::IsNull { negated, .. } = condition {
        (0..array.len()).filter(|row| array.is_null(*row) != *negated).for_each(set);
        return;
    }
    let long = Value::Long;
    let time = |v| Value::Timestamp(Timestamp::from_millis(v));
    match array.data_type() {
        DataType::Int64 => longs(condition, array.as_primitive::<Int64Type>(), long, set),
        DataType::Timestamp(..) => longs(condition, array.as_primitive::<TimestampMillisecondType>(), time, set),
        DataType::Float64 => numbers(condition, array.as_primitive::<Float64Type>(), Value::Double, set),
        DataType::Float32 => {
            numbers(condition, array.as_primitive::<Float32Type>(), |v| Value::Double(f64::from(v)), set);
        }
        DataType::Utf8View => {
            // Neighbours are often equal: the last answer is kept.
            let mut last: Option<(&str, bool)> = None;
            for (row, text) in array.as_string_view().iter().enumerate() {
                let Some(text) = text else { continue };
                let wanted = match last {
                    Some((before, wanted)) if before == text => wanted,
                    _ => wants_text(condition, text),
                };
                last = Some((text, wanted));
                if wanted {
                    set(row);
                }
            }
        }
        _ => (0..array.len()).filter(|row| reference::wants(condition, &|_| value_at(array, *row))).for_each(set),
    }
}

fn longs<T: ArrowPrimitiveType<Native = i64>>(
    condition: &Predicate,
    array: &PrimitiveArray<T>,
    value: impl Fn(i64) -> Value,
    set: &mut dyn FnMut(usize),
) {
    let Some((op, literal)) = long_comparison(condition) else { return numbers(condition, array, value, set) };
    let fits = |v: i64| match op {
        CompareOp::Eq => v == literal,
        CompareOp::Ne => v != literal,
        CompareOp::Lt => v < literal,
        CompareOp::Le => v <= literal,
        CompareOp::Gt => v > literal,
        CompareOp::Ge => v >= literal,
    };
    for (row, v) in array.values().iter().enumerate() {
        if fits(*v) && array.is_valid(row) {
            set(row);
        }
    }
}

fn numbers<T: ArrowPrimitiveType>(
    condition: &Predicate,
    array: &PrimitiveArray<T>,
    value: impl Fn(T::Native) -> Value,
    set: &mut dyn FnMut(usize),
) {
    for (row, v) in array.iter().enumerate() {
        if v.is_some_and(|v| reference::wants(condition, &|_| Some(value(v)))) {
            set(row);
        }
    }
}
