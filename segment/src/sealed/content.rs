//! The content sum: a number that two sets of rows share when they are the same rows.
//!
//! Each value that is not null is hashed with its column's name and the kind of its type; the hashes of a row are added and
//! stirred once more, and the rows' numbers are added. So the sum knows no order of rows, columns that are null
//! everywhere do not count, and the sum of a merge is the sum of its sources' sums. Written into files and the catalog: the
//! function never changes.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimestampMillisecondType};

const K: [u64; 4] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0x8cb9_2ba7_2f3d_8dd7, 0xaaaa_aaaa_5555_5557];

/// Multiplies to 128 bits and folds: each bit of the input reaches each bit of the output.
fn stir(value: u64, key: u64) -> u64 {
    let product = u128::from(value ^ key) * u128::from(K[0]);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    let folded = (product as u64) ^ ((product >> 64) as u64);
    folded.wrapping_add(key.rotate_left(23))
}

pub(super) fn hash_bytes(bytes: &[u8], key: u64) -> u64 {
    let mut hash = key ^ (bytes.len() as u64).wrapping_mul(K[1]);
    for word in bytes.chunks(8) {
        let mut padded = [0u8; 8];
        padded[..word.len()].copy_from_slice(word);
        hash = stir(u64::from_le_bytes(padded) ^ hash.rotate_left(29), K[2]).wrapping_mul(K[3]);
    }
    stir(hash, K[1])
}

/// Adds up the rows of one batch, column by column.
#[derive(Debug)]
pub(super) struct RowSums {
    rows: Vec<u64>,
}

impl RowSums {
    pub(super) fn new(rows: usize) -> Self {
        Self { rows: vec![0; rows] }
    }

    /// Takes in a column, in the Arrow type of its column type.
    pub(super) fn add(&mut self, name: &str, array: &ArrayRef) {
        debug_assert_eq!(array.len(), self.rows.len());
        match array.data_type() {
            DataType::Int64 => self.numbers(array.as_primitive::<Int64Type>(), key(name, 1), |v| v.cast_unsigned()),
            DataType::Float64 => self.numbers(array.as_primitive::<Float64Type>(), key(name, 2), f64::to_bits),
            DataType::Float32 => {
                self.numbers(array.as_primitive::<Float32Type>(), key(name, 3), |v| u64::from(v.to_bits()));
            }
            DataType::Utf8View => {
                let key = key(name, 4);
                for (sum, text) in self.rows.iter_mut().zip(array.as_string_view().iter()) {
                    if let Some(text) = text {
                        *sum = sum.wrapping_add(hash_bytes(text.as_bytes(), key));
                    }
                }
            }
            _ => {
                let times = array.as_primitive::<TimestampMillisecondType>();
                self.numbers(times, key(name, 5), |v| v.cast_unsigned());
            }
        }
    }

    fn numbers<T: ArrowPrimitiveType>(&mut self, array: &PrimitiveArray<T>, key: u64, bits: impl Fn(T::Native) -> u64) {
        for (row, sum) in self.rows.iter_mut().enumerate() {
            if array.is_valid(row) {
                *sum = sum.wrapping_add(stir(stir(bits(array.value(row)), key), K[2]));
            }
        }
    }

    /// The sum of the batch's rows.
    pub(super) fn finish(self) -> u64 {
        self.rows.into_iter().fold(0, |all, row| all.wrapping_add(stir(stir(row, K[3]), K[1])))
    }
}

fn key(name: &str, kind: u64) -> u64 {
    hash_bytes(name.as_bytes(), K[3].wrapping_mul(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};
    use std::sync::Arc;

    fn sum(columns: &[(&str, ArrayRef)]) -> u64 {
        let mut sums = RowSums::new(columns[0].1.len());
        columns.iter().for_each(|(name, array)| sums.add(name, array));
        sums.finish()
    }

    fn longs(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(values))
    }

    #[test]
    fn the_sum_is_of_rows_in_any_order_and_adds_up() {
        let all = sum(&[("a", longs(&[Some(1), None, Some(3)])), ("b", texts(&["x", "", "z"]))]);
        let turned = sum(&[("b", texts(&["z", "x", ""])), ("a", longs(&[Some(3), Some(1), None]))]);
        assert_eq!(all, turned);
        let parts = [
            sum(&[("a", longs(&[Some(1)])), ("b", texts(&["x"]))]),
            sum(&[("a", longs(&[None, Some(3)])), ("b", texts(&["", "z"]))]),
        ];
        assert_eq!(all, parts[0].wrapping_add(parts[1]));
        assert_eq!(sum(&[("a", longs(&[Some(1)])), ("new", longs(&[None]))]), sum(&[("a", longs(&[Some(1)]))]));
    }

    #[test]
    fn a_value_in_another_row_or_column_is_another_sum() {
        let base = sum(&[("a", longs(&[Some(1), Some(2)])), ("b", longs(&[Some(5), Some(6)]))]);
        let swapped = sum(&[("a", longs(&[Some(1), Some(2)])), ("b", longs(&[Some(6), Some(5)]))]);
        let renamed = sum(&[("b", longs(&[Some(1), Some(2)])), ("a", longs(&[Some(5), Some(6)]))]);
        let nulled = sum(&[("a", longs(&[Some(1), Some(2)])), ("b", longs(&[Some(5), None]))]);
        assert!(base != swapped && base != renamed && base != nulled && swapped != renamed);
        assert_ne!(sum(&[("a", longs(&[Some(0)]))]), sum(&[("a", longs(&[None]))]));
        assert_ne!(sum(&[("a", texts(&[""]))]), sum(&[("a", longs(&[None]))]));
        assert_ne!(sum(&[("a", texts(&["ab\0"]))]), sum(&[("a", texts(&["ab"]))]));
    }
}
