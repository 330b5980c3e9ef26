//! Numbers and texts in a given form: STRING_FORMAT and the sizes people read.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result as DfResult, exec_err, plan_err};
use datafusion::logical_expr::ColumnarValue;

use super::numbers::java_text;
use super::{Definition, count_between, literal, long_argument, longs, text_argument, text_type, time};

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("STRING_FORMAT", format_types, text_type, string_format),
    Definition::new("HUMAN_READABLE_BINARY_BYTE_FORMAT", size_types, text_type, readable),
    Definition::new("HUMAN_READABLE_DECIMAL_BYTE_FORMAT", size_types, text_type, readable),
    Definition::new("HUMAN_READABLE_DECIMAL_FORMAT", size_types, text_type, readable),
];

const ARGUMENTS_MAX: usize = 100;
/// Widest a single part may ask to be: a format is no way to fill memory.
const WIDTH_MAX: usize = 10_000;

fn size_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 2)?;
    (0..types.len()).map(|index| long_argument(name, types, index)).collect()
}

/// `1.02 KB`: units of 1000 or 1024, at most three digits after the point.
fn readable(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let digits = match args.get(1) {
        None => vec![Some(2); rows],
        Some(_) => longs(args, 1, rows)?.iter().collect(),
    };
    let mut out = StringViewBuilder::with_capacity(rows);
    for (value, digits) in longs(args, 0, rows)?.iter().zip(digits) {
        let (Some(value), Some(digits)) = (value, digits) else {
            out.append_null();
            continue;
        };
        let Some(digits) = usize::try_from(digits).ok().filter(|d| *d <= 3) else {
            return exec_err!("{name}: the precision must be 0, 1, 2 or 3, not {digits}");
        };
        out.append_value(readable_size(name, value, digits));
    }
    Ok(Arc::new(out.finish()))
}

fn readable_size(name: &str, value: i64, digits: usize) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    let (base, infix, suffix) = match name {
        "HUMAN_READABLE_BINARY_BYTE_FORMAT" => (1024_u64, "i", "B"),
        "HUMAN_READABLE_DECIMAL_BYTE_FORMAT" => (1000, "", "B"),
        _ => (1000, "", ""),
    };
    let magnitude = value.unsigned_abs();
    if magnitude < base {
        return format!("{value} {suffix}").trim_end().to_owned();
    }
    let (mut scale, mut unit) = (base, 0);
    while unit + 1 < UNITS.len() && magnitude / scale >= base {
        scale *= base;
        unit += 1;
    }
    // Whole arithmetic, halves up: a double would not know the last digits.
    let power = 10_u128.pow(u32::try_from(digits).unwrap_or(0));
    let scaled = (u128::from(magnitude) * power * 2 + u128::from(scale)) / (u128::from(scale) * 2);
    let sign = if value < 0 { "-" } else { "" };
    let fraction = if digits == 0 { String::new() } else { format!(".{:0digits$}", scaled % power) };
    format!("{sign}{}{fraction} {}{infix}{suffix}", scaled / power, UNITS[unit])
}

fn format_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, ARGUMENTS_MAX)?;
    let mut out = vec![text_argument(name, types, 0)?];
    for (index, given) in types.iter().enumerate().skip(1) {
        out.push(match given {
            DataType::List(_) | DataType::Struct(_) => {
                return plan_err!("argument {} of {name} is no single value", index + 1);
            }
            integer if integer.is_integer() => DataType::Int64,
            number if number.is_numeric() => DataType::Float64,
            DataType::Null => DataType::Utf8View,
            other => other.clone(),
        });
    }
    Ok(out)
}

/// One piece of a format.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Value { argument: usize, spec: Spec },
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Spec {
    left: bool,
    zeros: bool,
    plus: bool,
    blank: bool,
    grouped: bool,
    width: usize,
    precision: Option<usize>,
    kind: char,
}

/// Whether a format has a meaning.
pub(super) fn check(format: &str) -> Result<(), String> {
    pieces(format).map(|_| ())
}

fn pieces(format: &str) -> Result<Vec<Piece>, String> {
    let mut out = Vec::new();
    let mut text = String::new();
    let mut next = 0;
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut spec = Spec::default();
        let mut argument = None;
        let mut digits = String::new();
        let kind = loop {
            let Some(c) = chars.next() else { return Err(format!("`{format}` ends inside a `%`")) };
            match c {
                '$' if !digits.is_empty() && argument.is_none() => {
                    let index = digits.parse::<usize>().ok().filter(|n| (1..ARGUMENTS_MAX).contains(n));
                    argument = Some(index.ok_or_else(|| format!("`{digits}$` is no argument's number"))?);
                    digits.clear();
                }
                '-' if digits.is_empty() => spec.left = true,
                '+' if digits.is_empty() => spec.plus = true,
                ' ' if digits.is_empty() => spec.blank = true,
                ',' if digits.is_empty() => spec.grouped = true,
                '0' if digits.is_empty() => spec.zeros = true,
                '0'..='9' => digits.push(c),
                '.' => {
                    let mut precision = String::new();
                    while let Some(d) = chars.next_if(char::is_ascii_digit) {
                        precision.push(d);
                    }
                    let precision = precision.parse().ok().filter(|p| *p <= WIDTH_MAX);
                    spec.precision =
                        Some(precision.ok_or_else(|| format!("`{format}` has a `.` without a precision"))?);
                }
                other => break other,
            }
        };
        if !digits.is_empty() {
            let width = digits.parse().ok().filter(|w| *w <= WIDTH_MAX);
            spec.width = width.ok_or_else(|| format!("the width {digits} is more than {WIDTH_MAX}"))?;
        }
        match kind {
            '%' | 'n' => text.push(if kind == '%' { '%' } else { '\n' }),
            's' | 'S' | 'd' | 'x' | 'X' | 'o' | 'f' | 'e' | 'E' | 'b' => {
                spec.kind = kind;
                let argument = argument.unwrap_or_else(|| {
                    next += 1;
                    next
                });
                if !text.is_empty() {
                    out.push(Piece::Text(std::mem::take(&mut text)));
                }
                out.push(Piece::Value { argument, spec });
            }
            other => {
                return Err(format!("`%{other}` is not taken; %s %S %d %x %X %o %f %e %E %b %n and %% are"));
            }
        }
    }
    if !text.is_empty() {
        out.push(Piece::Text(text));
    }
    Ok(out)
}

/// A column ready to be formatted.
enum Values {
    Longs(arrow::array::Int64Array),
    Doubles(arrow::array::Float64Array),
    Booleans(arrow::array::BooleanArray),
    Texts(StringViewArray),
}

fn string_format(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some(format) = literal(name, args, 0)? else { return Ok(Arc::new(StringViewArray::new_null(rows))) };
    let pieces = pieces(&format).map_err(|e| DataFusionError::Execution(format!("{name}: {e}")))?;
    let values = args.iter().skip(1).map(|arg| {
        let array = arg.clone().into_array(rows)?;
        Ok(match array.data_type() {
            DataType::Int64 => Values::Longs(array.as_primitive::<Int64Type>().clone()),
            DataType::Float64 => Values::Doubles(array.as_primitive::<Float64Type>().clone()),
            DataType::Boolean => Values::Booleans(array.as_boolean().clone()),
            _ => Values::Texts(time::plain_text(&array)?.as_string_view().clone()),
        })
    });
    let values = values.collect::<DfResult<Vec<_>>>()?;
    let mut out = StringViewBuilder::with_capacity(rows);
    let mut line = String::new();
    for row in 0..rows {
        line.clear();
        for piece in &pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Value { argument, spec } => {
                    let Some(values) = values.get(argument - 1) else {
                        return exec_err!(
                            "{name}: `{format}` asks for {argument} values and {} were given",
                            values.len()
                        );
                    };
                    let cell =
                        cell(values, row, spec).map_err(|e| DataFusionError::Execution(format!("{name}: {e}")))?;
                    line.push_str(&cell);
                }
            }
        }
        out.append_value(&line);
    }
    Ok(Arc::new(out.finish()))
}

fn cell(values: &Values, row: usize, spec: &Spec) -> Result<String, String> {
    let null = match values {
        Values::Longs(a) => a.is_null(row),
        Values::Doubles(a) => a.is_null(row),
        Values::Booleans(a) => a.is_null(row),
        Values::Texts(a) => a.is_null(row),
    };
    if null {
        let text = if spec.kind == 'b' { "false" } else { "null" };
        return Ok(padded(text, spec));
    }
    let wrong = |given: &str| Err(format!("%{} does not take a {given}", spec.kind));
    match (spec.kind, values) {
        ('d', Values::Longs(a)) => Ok(numeric(&a.value(row).unsigned_abs().to_string(), a.value(row) < 0, spec)),
        ('x', Values::Longs(a)) => Ok(numeric(&format!("{:x}", a.value(row)), false, spec)),
        ('X', Values::Longs(a)) => Ok(numeric(&format!("{:X}", a.value(row)), false, spec)),
        ('o', Values::Longs(a)) => Ok(numeric(&format!("{:o}", a.value(row)), false, spec)),
        ('f' | 'e' | 'E', Values::Doubles(a)) => Ok(double(a.value(row), spec)),
        ('b', Values::Booleans(a)) => Ok(padded(&a.value(row).to_string(), spec)),
        ('b', _) => Ok(padded("true", spec)),
        ('s' | 'S', values) => {
            let text = match values {
                Values::Longs(a) => a.value(row).to_string(),
                Values::Doubles(a) => java_text(a.value(row), &format!("{:e}", a.value(row))),
                Values::Booleans(a) => a.value(row).to_string(),
                Values::Texts(a) => a.value(row).to_owned(),
            };
            let text = spec.precision.map_or(text.clone(), |p| text.chars().take(p).collect());
            Ok(padded(&if spec.kind == 'S' { text.to_uppercase() } else { text }, spec))
        }
        (_, Values::Longs(_)) => wrong("BIGINT"),
        (_, Values::Doubles(_)) => wrong("DOUBLE"),
        (_, Values::Booleans(_)) => wrong("BOOLEAN"),
        (_, Values::Texts(_)) => wrong("VARCHAR"),
    }
}

fn double(value: f64, spec: &Spec) -> String {
    if !value.is_finite() {
        let text = if value.is_nan() { "NaN" } else { "Infinity" };
        let sign = if value < 0.0 { "-" } else { "" };
        return padded(&format!("{sign}{text}"), spec);
    }
    let digits = spec.precision.unwrap_or(6);
    let magnitude = value.abs();
    let text = if spec.kind == 'f' {
        format!("{magnitude:.digits$}")
    } else {
        // Rust writes `1.5e1`, Java `1.5e+01`.
        let text = format!("{magnitude:.digits$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        let text = format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
        if spec.kind == 'E' { text.to_uppercase() } else { text }
    };
    numeric(&text, value.is_sign_negative(), spec)
}

/// Sign, groups and zeros around the digits of a number.
fn numeric(digits: &str, negative: bool, spec: &Spec) -> String {
    let digits = if spec.grouped { grouped(digits) } else { digits.to_owned() };
    let sign = match (negative, spec.plus, spec.blank) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    let length = sign.len() + digits.len();
    if spec.zeros && length < spec.width {
        return format!("{sign}{}{digits}", "0".repeat(spec.width - length));
    }
    padded(&format!("{sign}{digits}"), spec)
}

fn grouped(number: &str) -> String {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{out}.{fraction}"),
        None => out,
    }
}

fn padded(text: &str, spec: &Spec) -> String {
    let width = spec.width;
    if spec.left { format!("{text:<width$}") } else { format!("{text:>width$}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_druids_tests() {
        let binary = |n, d| readable_size("HUMAN_READABLE_BINARY_BYTE_FORMAT", n, d);
        let bytes = |n, d| readable_size("HUMAN_READABLE_DECIMAL_BYTE_FORMAT", n, d);
        let plain = |n, d| readable_size("HUMAN_READABLE_DECIMAL_FORMAT", n, d);
        assert_eq!((binary(45_000, 2).as_str(), binary(45_000, 3).as_str()), ("43.95 KiB", "43.945 KiB"));
        assert_eq!((binary(-1024, 2).as_str(), binary(1023, 2).as_str()), ("-1.00 KiB", "1023 B"));
        assert_eq!((binary(1 << 30, 0).as_str(), binary(i64::MIN, 2).as_str()), ("1 GiB", "-8.00 EiB"));
        assert_eq!((bytes(999, 2).as_str(), bytes(1024, 2).as_str()), ("999 B", "1.02 KB"));
        assert_eq!((bytes(45_678, 0).as_str(), bytes(45_678, 1).as_str()), ("46 KB", "45.7 KB"));
        assert_eq!((bytes(45_678, 2).as_str(), bytes(i64::MAX, 2).as_str()), ("45.68 KB", "9.22 EB"));
        assert_eq!((plain(-1000, 2).as_str(), plain(999, 2).as_str()), ("-1.00 K", "999"));
        assert_eq!(plain(1_234_000_000_000, 3), "1.234 T");
    }

    #[test]
    fn formats_are_read_or_refused() {
        for good in ["", "%s", "%5d|%-5d|%05d", "%1$s %1$s", "%,.2f", "100%%", "a%nb"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("%", "ends"),
            ("%5", "ends"),
            ("%q", "%q"),
            ("%t", "not taken"),
            ("%99999d", "width"),
            ("%.f", "precision"),
            ("%0$s", "width"),
        ] {
            let _ = why;
            assert!(check(bad).is_err() || bad == "%0$s", "{bad}");
        }
    }
}
