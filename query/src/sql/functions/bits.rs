//! Functions of bits.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;

use super::{Definition, count_between, long_argument, long_type, longs};

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("BITWISE_COMPLEMENT", one_long, long_type, complement),
    Definition::new("BITWISE_CONVERT_DOUBLE_TO_LONG_BITS", one_double, long_type, to_bits),
    Definition::new("BITWISE_CONVERT_LONG_BITS_TO_DOUBLE", one_long, double_type, from_bits),
    Definition::new("BITWISE_AND", two_longs, long_type, combine),
    Definition::new("BITWISE_OR", two_longs, long_type, combine),
    Definition::new("BITWISE_XOR", two_longs, long_type, combine),
    Definition::new("BITWISE_SHIFT_LEFT", two_longs, long_type, combine),
    Definition::new("BITWISE_SHIFT_RIGHT", two_longs, long_type, combine),
];

fn double_type() -> DataType {
    DataType::Float64
}

fn one_long(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1)?;
    Ok(vec![long_argument(name, types, 0)?])
}

fn two_longs(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    Ok(vec![long_argument(name, types, 0)?, long_argument(name, types, 1)?])
}

fn one_double(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    one_long(name, types).map(|_| vec![DataType::Float64])
}

fn complement(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let out: Int64Array = longs(args, 0, rows)?.iter().map(|n| n.map(|n| !n)).collect();
    Ok(Arc::new(out))
}

/// Shifts take the low six bits of the count, as Java's do.
fn combine(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let shift = |by: i64| u32::try_from(by & 63).unwrap_or(0);
    let (a, b) = (longs(args, 0, rows)?, longs(args, 1, rows)?);
    let out: Int64Array = a
        .iter()
        .zip(b.iter())
        .map(|(a, b)| {
            let (a, b) = (a?, b?);
            Some(match name {
                "BITWISE_AND" => a & b,
                "BITWISE_OR" => a | b,
                "BITWISE_XOR" => a ^ b,
                "BITWISE_SHIFT_LEFT" => a.wrapping_shl(shift(b)),
                _ => a.wrapping_shr(shift(b)),
            })
        })
        .collect();
    Ok(Arc::new(out))
}

fn to_bits(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some(arg) = args.first() else { return Ok(Arc::new(Int64Array::new_null(rows))) };
    let doubles = arg.clone().into_array(rows)?;
    let out: Int64Array =
        doubles.as_primitive::<Float64Type>().iter().map(|x| x.map(|x| x.to_bits().cast_signed())).collect();
    Ok(Arc::new(out))
}

fn from_bits(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let out: Float64Array =
        longs(args, 0, rows)?.iter().map(|n| n.map(|n| f64::from_bits(n.cast_unsigned()))).collect();
    Ok(Arc::new(out))
}
