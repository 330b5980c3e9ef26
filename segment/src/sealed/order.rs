//! The rows of several units in the order they are sealed in, and their values in that order.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::interleave;
use arrow::datatypes::TimestampMillisecondType;
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::{Result, SegmentError};
use crate::schema::{Column, TableSchema};
use crate::selection::Part;
use crate::timeline::Unit;

/// A row: its time, its unit, its place in it.
type Place = (i64, u32, u32);

/// All rows of the sources, sorted.
pub(super) struct Order {
    units: Vec<Unit>,
    places: Vec<Place>,
}

impl Order {
    /// By time, then by the columns of `cluster_by`, then as the sources have them.
    pub(super) fn new(units: Vec<Unit>, schema: &TableSchema, cluster_by: &[Arc<str>]) -> Result<Self> {
        let time = &schema.columns()[0];
        let mut places: Vec<Place> = Vec::new();
        for (number, unit) in units.iter().enumerate() {
            let number = u32::try_from(number).map_err(|_| too_many())?;
            let times = unit.read(time, &Part::Run(0..unit.rows()))?;
            let times = times.as_primitive::<TimestampMillisecondType>();
            if times.null_count() > 0 {
                return Err(SegmentError::corrupt("time column", "it holds a null"));
            }
            places.extend(times.values().iter().zip(0u32..).map(|(time, row)| (*time, number, row)));
        }
        let keys = cluster_keys(&units, schema, cluster_by)?;
        if keys.is_empty() {
            places.sort_unstable();
        } else {
            let key = |place: &Place| keys[place.1 as usize].row(place.2 as usize);
            places.sort_unstable_by(|a, b| match a.0.cmp(&b.0) {
                Ordering::Equal => key(a).cmp(&key(b)).then_with(|| a.cmp(b)),
                order => order,
            });
        }
        units.iter().for_each(forget);
        Ok(Self { units, places })
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> u64 {
        self.places.len() as u64
    }

    /// Slices of at most so many rows.
    pub(super) fn slices(&self, rows: u32) -> impl Iterator<Item = Slice<'_>> {
        self.places.chunks(rows as usize).map(|places| Slice::new(&self.units, places))
    }
}

/// One slice of the order.
pub(super) struct Slice<'a> {
    units: &'a [Unit],
    places: &'a [Place],
    /// The units it has rows of, and which rows, in the slice's order.
    parts: Vec<(u32, Vec<u32>)>,
    /// For each row its part and its place there.
    from: Vec<(usize, usize)>,
}

impl<'a> Slice<'a> {
    fn new(units: &'a [Unit], places: &'a [Place]) -> Self {
        let mut parts: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut part_of: Vec<Option<usize>> = vec![None; units.len()];
        let mut from = Vec::with_capacity(places.len());
        for (_, unit, row) in places {
            let part = *part_of[*unit as usize].get_or_insert_with(|| {
                parts.push((*unit, Vec::new()));
                parts.len() - 1
            });
            from.push((part, parts[part].1.len()));
            parts[part].1.push(*row);
        }
        // What the slice before needed and this one does not is given back.
        units.iter().zip(&part_of).filter(|(_, part)| part.is_none()).for_each(|(unit, _)| forget(unit));
        Self { units, places, parts, from }
    }

    pub(super) fn rows(&self) -> usize {
        self.places.len()
    }

    /// First and last time.
    pub(super) fn times(&self) -> Option<(i64, i64)> {
        Some((self.places.first()?.0, self.places.last()?.0))
    }

    /// The values of a column, cast to its type.
    pub(super) fn read(&self, column: &Column) -> Result<ArrayRef> {
        let arrays: Vec<ArrayRef> = self
            .parts
            .iter()
            .map(|(unit, rows)| self.units[*unit as usize].read(column, &Part::Rows(rows)))
            .collect::<Result<_>>()?;
        if let [one] = arrays.as_slice() {
            return Ok(Arc::clone(one));
        }
        let arrays: Vec<&dyn Array> = arrays.iter().map(|a| &**a).collect();
        interleave(&arrays, &self.from)
            .map_err(|source| SegmentError::Arrow { column: column.name.to_string(), source })
    }
}

/// Of each unit the sort keys of its rows; empty when there is nothing to sort by.
fn cluster_keys(units: &[Unit], schema: &TableSchema, cluster_by: &[Arc<str>]) -> Result<Vec<Rows>> {
    let columns: Vec<&Column> = cluster_by.iter().filter_map(|name| schema.column(name)).collect();
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |source| SegmentError::Arrow { column: cluster_by.join(", "), source };
    let fields = columns.iter().map(|c| SortField::new(c.column_type.arrow_type())).collect();
    let converter = RowConverter::new(fields).map_err(failed)?;
    let keys_of = |unit: &Unit| {
        let arrays: Vec<ArrayRef> =
            columns.iter().map(|column| unit.read(column, &Part::Run(0..unit.rows()))).collect::<Result<_>>()?;
        converter.convert_columns(&arrays).map_err(failed)
    };
    units.iter().map(keys_of).collect()
}

fn forget(unit: &Unit) {
    if let Unit::Sealed(unit) = unit {
        unit.forget();
    }
}

fn too_many() -> SegmentError {
    SegmentError::Full { what: "sealing", limit: u64::from(u32::MAX), cure: "seal fewer segments at once" }
}
