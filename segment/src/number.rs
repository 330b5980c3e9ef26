//! Numbers as text, the way Druid's clients know them: a whole double keeps its `.0`, large and small ones take an
//! exponent (`1.0E10`), and the digits are the fewest that read back as the same number.

use std::fmt::Write;

/// Appends a double; NaN and the infinities as `NaN`, `Infinity`, `-Infinity`.
pub fn write_double(value: f64, out: &mut String) {
    write_float_text(value, value.abs(), format_args!("{value:?}"), format_args!("{value:e}"), out);
}

/// Appends a 32-bit float, by its own shortest digits.
pub fn write_float(value: f32, out: &mut String) {
    write_float_text(
        f64::from(value),
        f64::from(value.abs()),
        format_args!("{value:?}"),
        format_args!("{value:e}"),
        out,
    );
}

fn write_float_text(
    value: f64,
    size: f64,
    plain: std::fmt::Arguments<'_>,
    scientific: std::fmt::Arguments<'_>,
    out: &mut String,
) {
    // Writing into a String cannot fail.
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if size == 0.0 || (1e-3..1e7).contains(&size) {
        let _ = out.write_fmt(plain);
    } else {
        let from = out.len();
        let _ = out.write_fmt(scientific);
        let text = out.split_off(from);
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        out.push_str(digits);
        if !digits.contains('.') {
            out.push_str(".0");
        }
        out.push('E');
        out.push_str(exponent);
    }
}

/// A double as text.
pub fn double_text(value: f64) -> String {
    let mut out = String::new();
    write_double(value, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_as_java_prints_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (239.159_438_385_485_69, "239.15943838548569"),
            (1e10, "1.0E10"),
            (1.234e-5, "1.234E-5"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (0.001, "0.001"),
            (-123_456_789.5, "-1.234567895E8"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double_text(value), text);
        }
        let mut out = String::new();
        write_float(0.1, &mut out);
        write_float(1.5e8, &mut out);
        assert_eq!(out, "0.11.5E8");
    }
}
