//! Row sets as 64-bit words, and the loops that fill them.

use roaring::RoaringBitmap;

use super::long_comparison;
use crate::growing::{Numbers, Plain};
use crate::predicate::{CompareOp, Predicate, Value, reference};
use crate::selection::Selection;
use arrow::datatypes::ArrowNativeType;

/// Rows of one chunk while a filter is evaluated: a word for 64 rows; bits behind the last row are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mask {
    None,
    All,
    Words(Vec<u64>),
}

impl Mask {
    /// The rows for which `wanted` holds.
    pub(super) fn collect(rows: usize, wanted: impl Fn(usize) -> bool) -> Self {
        let mut words = vec![0u64; rows.div_ceil(64)];
        for (index, word) in words.iter_mut().enumerate() {
            let from = index * 64;
            for bit in 0..(rows - from).min(64) {
                *word |= u64::from(wanted(from + bit)) << bit;
            }
        }
        Self::Words(words)
    }

    pub(super) fn of_rows(bitmap: &RoaringBitmap, rows: usize) -> Self {
        let mut words = vec![0u64; rows.div_ceil(64)];
        for row in bitmap {
            words[row as usize / 64] |= 1 << (row % 64);
        }
        Self::Words(words)
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::All, mask) | (mask, Self::All) => mask,
            (Self::Words(mut a), Self::Words(b)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a &= b);
                if a.iter().all(|w| *w == 0) { Self::None } else { Self::Words(a) }
            }
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::None, mask) | (mask, Self::None) => mask,
            (Self::Words(mut a), Self::Words(b)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
                Self::Words(a)
            }
        }
    }

    pub(super) fn into_selection(self, rows: u32) -> Selection {
        let words = match self {
            Self::None => return Selection::none(),
            Self::All => return Selection::All(rows),
            Self::Words(words) => words,
        };
        let count: u32 = words.iter().map(|w| w.count_ones()).sum();
        if count == rows {
            return Selection::All(rows);
        }
        let mut ids = Vec::with_capacity(count as usize);
        let mut base = 0u32;
        for mut word in words {
            while word != 0 {
                ids.push(base + word.trailing_zeros());
                word &= word - 1;
            }
            base += 64;
        }
        Selection::Rows(ids)
    }
}

/// Integers and instants: the plain comparison in a tight loop, the rest by [`numbers`].
pub(super) fn longs(condition: &Predicate, column: &Numbers<i64>, value: impl Fn(i64) -> Value) -> Mask {
    let Some((op, literal)) = long_comparison(condition) else { return numbers(condition, column, value) };
    let values = &*column.values;
    let mask = match op {
        CompareOp::Eq => Mask::collect(values.len(), |row| values[row] == literal),
        CompareOp::Ne => Mask::collect(values.len(), |row| values[row] != literal),
        CompareOp::Lt => Mask::collect(values.len(), |row| values[row] < literal),
        CompareOp::Le => Mask::collect(values.len(), |row| values[row] <= literal),
        CompareOp::Gt => Mask::collect(values.len(), |row| values[row] > literal),
        CompareOp::Ge => Mask::collect(values.len(), |row| values[row] >= literal),
    };
    match &column.valid {
        None => mask,
        Some(valid) => mask.and(Mask::collect(values.len(), |row| valid[row] == 1)),
    }
}

/// Any condition on any numbers.
pub(super) fn numbers<T: Plain + ArrowNativeType>(
    condition: &Predicate,
    column: &Numbers<T>,
    value: impl Fn(T) -> Value,
) -> Mask {
    Mask::collect(column.values.len(), |row| {
        column.is_valid(row) && reference::wants(condition, &|_| Some(value(column.values[row])))
    })
}
