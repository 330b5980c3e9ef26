//! Functions of numbers.
//!
//! What has no real answer is NaN or infinite, as in Java, and never an error: one odd row must not end a query. Rounding works on
//! the digits that a double is written with, so ROUND(2.675, 2) is 2.68.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result as DfResult, exec_err};
use datafusion::logical_expr::ColumnarValue;

use super::{Definition, count_between, is_text, long_argument, longs, mistyped};

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::generic("ABS", number, first, absolute),
    Definition::generic("ROUND", number_and_digits, first, round),
    Definition::generic("TRUNC", number_and_digits, first, round),
    Definition::generic("CEIL", number, first, whole),
    Definition::generic("FLOOR", number, first, whole),
    Definition::new("SQRT", one_double, double_type, unary),
    Definition::new("EXP", one_double, double_type, unary),
    Definition::new("LN", one_double, double_type, unary),
    Definition::new("LOG10", one_double, double_type, unary),
    Definition::new("SIN", one_double, double_type, unary),
    Definition::new("COS", one_double, double_type, unary),
    Definition::new("TAN", one_double, double_type, unary),
    Definition::new("COT", one_double, double_type, unary),
    Definition::new("ASIN", one_double, double_type, unary),
    Definition::new("ACOS", one_double, double_type, unary),
    Definition::new("ATAN", one_double, double_type, unary),
    Definition::new("DEGREES", one_double, double_type, unary),
    Definition::new("RADIANS", one_double, double_type, unary),
    Definition::new("POWER", two_doubles, double_type, binary),
    Definition::new("ATAN2", two_doubles, double_type, binary),
];

fn double_type() -> DataType {
    DataType::Float64
}

fn first(types: &[DataType]) -> DataType {
    types.first().cloned().unwrap_or(DataType::Float64)
}

/// Whole numbers stay whole; all others are doubles.
fn number_type(name: &str, types: &[DataType], index: usize) -> DfResult<DataType> {
    match types.get(index) {
        Some(integer) if integer.is_integer() => Ok(DataType::Int64),
        Some(other) if other.is_numeric() || other.is_null() || is_text(other) => Ok(DataType::Float64),
        Some(other) => mistyped(name, index + 1, "a number", other),
        None => exec_err!("argument {} of {name} is missing", index + 1),
    }
}

fn number(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1)?;
    Ok(vec![number_type(name, types, 0)?])
}

fn number_and_digits(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 2)?;
    let mut out = vec![number_type(name, types, 0)?];
    if types.len() > 1 {
        out.push(long_argument(name, types, 1)?);
    }
    Ok(out)
}

fn one_double(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    number(name, types).map(|_| vec![DataType::Float64])
}

fn two_doubles(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    number_type(name, types, 0)?;
    number_type(name, types, 1)?;
    Ok(vec![DataType::Float64, DataType::Float64])
}

/// Argument `index` as doubles.
fn doubles(args: &[ColumnarValue], index: usize, rows: usize) -> DfResult<Float64Array> {
    let Some(arg) = args.get(index) else { return exec_err!("argument {} is missing", index + 1) };
    let array = arg.clone().into_array(rows)?;
    Ok(arrow::compute::cast(&array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

fn is_whole(args: &[ColumnarValue]) -> bool {
    args.first().is_some_and(|a| a.data_type() == DataType::Int64)
}

fn absolute(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    if is_whole(args) {
        return Ok(Arc::new(longs(args, 0, rows)?.unary::<_, Int64Type>(i64::wrapping_abs)));
    }
    Ok(Arc::new(doubles(args, 0, rows)?.unary::<_, Float64Type>(f64::abs)))
}

/// CEIL and FLOOR.
fn whole(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    if is_whole(args) {
        return Ok(Arc::new(longs(args, 0, rows)?));
    }
    let function = if name == "CEIL" { f64::ceil } else { f64::floor };
    Ok(Arc::new(doubles(args, 0, rows)?.unary::<_, Float64Type>(function)))
}

fn unary(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let function: fn(f64) -> f64 = match name {
        "SQRT" => f64::sqrt,
        "EXP" => f64::exp,
        "LN" => f64::ln,
        "LOG10" => f64::log10,
        "SIN" => f64::sin,
        "COS" => f64::cos,
        "TAN" => f64::tan,
        "COT" => |x| 1.0 / x.tan(),
        "ASIN" => f64::asin,
        "ACOS" => f64::acos,
        "ATAN" => f64::atan,
        "DEGREES" => f64::to_degrees,
        _ => f64::to_radians,
    };
    Ok(Arc::new(doubles(args, 0, rows)?.unary::<_, Float64Type>(function)))
}

fn binary(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let function = if name == "ATAN2" { f64::atan2 } else { f64::powf };
    let (a, b) = (doubles(args, 0, rows)?, doubles(args, 1, rows)?);
    let out: Float64Array = a.iter().zip(b.iter()).map(|(a, b)| Some(function(a?, b?))).collect();
    Ok(Arc::new(out))
}

/// ROUND and TRUNC.
fn round(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let cut = name == "TRUNC";
    let digits: Int64Array = match args.get(1) {
        None => Int64Array::from_value(0, rows),
        Some(_) => longs(args, 1, rows)?,
    };
    if is_whole(args) {
        let numbers = longs(args, 0, rows)?;
        let out: Int64Array = numbers.iter().zip(digits.iter()).map(|(n, d)| Some(round_long(n?, d?, cut))).collect();
        return Ok(Arc::new(out));
    }
    let numbers = doubles(args, 0, rows)?;
    let out: Float64Array = numbers.iter().zip(digits.iter()).map(|(x, d)| Some(round_double(x?, d?, cut))).collect();
    Ok(Arc::new(out))
}

/// Halves go away from zero; beyond 64 bits the low ones stay, as everywhere.
fn round_long(number: i64, digits: i64, cut: bool) -> i64 {
    if digits >= 0 {
        return number;
    }
    let Some(unit) = u32::try_from(digits.unsigned_abs()).ok().and_then(|d| 10_i128.checked_pow(d)) else { return 0 };
    let number = i128::from(number);
    let half = if cut { 0 } else { number.signum() * (unit / 2) };
    let rounded = (number + half) / unit * unit;
    #[expect(clippy::cast_possible_truncation, reason = "wrapping is meant")]
    {
        rounded as i64
    }
}

fn round_double(number: f64, digits: i64, cut: bool) -> f64 {
    if number.is_nan() {
        return 0.0;
    }
    // `12.5` is 125 · 10⁻¹.
    let text = format!("{:e}", number.abs());
    let Some((mantissa, exponent)) = text.split_once('e') else { return number };
    let fraction = mantissa.split_once('.').map_or(0, |(_, f)| f.len());
    let whole = mantissa.replace('.', "").parse::<u128>();
    let exponent = exponent.parse::<i64>().ok().zip(i64::try_from(fraction).ok()).map(|(e, f)| e - f);
    let (Ok(whole), Some(exponent)) = (whole, exponent) else { return number };
    let dropped = (-digits.clamp(-400, 400)) - exponent;
    if dropped <= 0 {
        return number;
    }
    // A double has 17 digits at most: what drops more than one beyond them leaves nothing.
    let Some(unit) = u32::try_from(dropped).ok().filter(|d| *d <= 30).map(|d| 10_u128.pow(d)) else { return 0.0 };
    let half = if cut { 0 } else { unit / 2 };
    let kept = (whole + half) / unit;
    let rounded = format!("{kept}e{}", exponent + dropped).parse::<f64>().unwrap_or(number);
    // There is no negative zero in decimals.
    if number < 0.0 && kept != 0 { -rounded } else { rounded }
}

/// A double as Java writes it: the shortest digits, with an exponent below 10⁻³ and from 10⁷ on, always with a decimal.
/// `shortest` is the number in Rust's exponent form.
pub(super) fn java_text(number: f64, shortest: &str) -> String {
    if !number.is_finite() {
        return if number.is_nan() { "NaN".to_owned() } else { shortest.replace("inf", "Infinity") };
    }
    let magnitude = number.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        let Ok(exponent) = shortest.split_once('e').map_or("0", |(_, e)| e).parse::<i32>() else {
            return shortest.to_owned();
        };
        let digits = shortest.split_once('e').map_or(shortest, |(m, _)| m).split_once('.').map_or(0, |(_, f)| f.len());
        let places = (i32::try_from(digits).unwrap_or(0) - exponent).max(1);
        let sign = if number.is_sign_negative() { "-" } else { "" };
        return plain_text(sign, shortest, exponent, usize::try_from(places).unwrap_or(1));
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

/// `1.25e-2` as `0.0125`: the digits are kept, so a float keeps its own.
fn plain_text(sign: &str, shortest: &str, exponent: i32, places: usize) -> String {
    let mantissa = shortest.split_once('e').map_or(shortest, |(m, _)| m);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let before = usize::try_from(exponent + 1).unwrap_or(0);
    let padded = if exponent < 0 {
        format!("{}{digits}", "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0)))
    } else {
        format!("{digits:0<width$}", width = before + places)
    };
    let (whole, fraction) = padded.split_at(before.min(padded.len()));
    format!("{sign}{}.{fraction}", if whole.is_empty() { "0" } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_rounded_by_the_digits_they_show() {
        for (number, digits, rounded, cut) in [
            (2.675, 2, 2.68, 2.67),
            (-2.675, 2, -2.68, -2.67),
            (0.5, 0, 1.0, 0.0),
            (-0.4, 0, 0.0, 0.0),
            (34.56, -1, 30.0, 30.0),
            (35.0, -1, 40.0, 30.0),
            (1e300, 2, 1e300, 1e300),
            (1e-300, 2, 0.0, 0.0),
            (1234.5678, 10, 1234.5678, 1234.5678),
            (9.999, 2, 10.0, 9.99),
            (5.0, -1, 10.0, 0.0),
            (5.0, -2, 0.0, 0.0),
            (f64::INFINITY, 1, f64::INFINITY, f64::INFINITY),
            (f64::NAN, 1, 0.0, 0.0),
            (f64::MAX, -308, f64::INFINITY, 1e308),
            (0.0, i64::MIN, 0.0, 0.0),
            (1.5, i64::MAX, 1.5, 1.5),
        ] {
            assert_eq!(round_double(number, digits, false), rounded, "ROUND({number}, {digits})");
            assert_eq!(round_double(number, digits, true), cut, "TRUNC({number}, {digits})");
        }
    }

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.001, "0.001"),
            (0.0012, "0.0012"),
            (0.000_999, "9.99E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (123_456.789, "123456.789"),
            (1e20, "1.0E20"),
            (1.25e-300, "1.25E-300"),
            (100.0, "100.0"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(java_text(number, &format!("{number:e}")), text);
        }
        let float = 0.1_f32;
        assert_eq!(java_text(f64::from(float), &format!("{float:e}")), "0.1");
    }

    #[test]
    fn whole_numbers_are_rounded_before_the_point_only() {
        for (number, digits, rounded, cut) in [
            (15, -1, 20, 10),
            (-15, -1, -20, -10),
            (14, -1, 10, 10),
            (2, -1, 0, 0),
            (7, 3, 7, 7),
            (i64::MAX, 0, i64::MAX, i64::MAX),
            (5, -19, 0, 0),
            (5, i64::MIN, 0, 0),
        ] {
            assert_eq!(
                (round_long(number, digits, false), round_long(number, digits, true)),
                (rounded, cut),
                "{number}"
            );
        }
    }
}
