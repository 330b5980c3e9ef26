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

    /// Rows in any order.
    pub(super) fn of_ids(ids: &[u32], rows: usize) -> Self {
        let mut words = vec![0u64; rows.div_ceil(64)];
        for row in ids {
            if let Some(word) = words.get_mut(*row as usize / 64) {
                *word |= 1 << (row % 64);
            }
        }
        Self::Words(words)
    }

    /// The other rows.
    pub(super) fn not(self, rows: usize) -> Self {
        match self {
            Self::None => Self::All,
            Self::All => Self::None,
            Self::Words(mut words) => {
                words.iter_mut().for_each(|word| *word = !*word);
                if let (Some(last), 1..) = (words.last_mut(), rows % 64) {
                    *last &= (1 << (rows % 64)) - 1;
                }
                Self::Words(words)
            }
        }
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

    /// The pages of so many rows in which some row is set, a bit each; there are at most 64.
    pub(super) fn pages(&self, page_rows: u32) -> u64 {
        let words = match self {
            Self::None => return 0,
            Self::All => return u64::MAX,
            Self::Words(words) => words,
        };
        let page_rows = page_rows.max(1) as usize;
        let mut pages = 0u64;
        for (index, word) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
            // A page may begin inside of a word: from the first to the last set bit covers all it can touch.
            let first = index * 64 + word.trailing_zeros() as usize;
            let last = index * 64 + 63 - word.leading_zeros() as usize;
            for page in first / page_rows..=last / page_rows {
                pages |= 1u64.checked_shl(u32::try_from(page).unwrap_or(u32::MAX)).unwrap_or(0);
            }
        }
        pages
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
