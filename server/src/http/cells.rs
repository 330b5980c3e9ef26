//! One column of a batch, downcast once, and its cells as text.
//!
//! Doubles follow Java's `Double.toString`: the shortest digits that read back as the same number, plain between 10⁻³ and 10⁷,
//! else with an exponent, always with a decimal. NaN and the infinities are strings in JSON, as Jackson writes them.

use std::io::Write as _;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeListArray, LargeListArray, LargeStringArray,
    ListArray, PrimitiveArray, StringArray, StringViewArray,
};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType, UInt64Type,
};
use arrow::error::ArrowError;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use freshet_segment::time::{Timestamp, Zone};

/// How a backslash inside a JSON string is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// `\\`.
    Plain,
    /// `\u005c`: in `object` rows, for a client that mistakes `\\"` for an escaped quote.
    Object,
}

/// A column ready to be written.
pub enum Cells<'a> {
    /// All null.
    Null,
    /// Booleans.
    Bool(&'a BooleanArray),
    /// Any signed or smaller unsigned integer.
    Long(PrimitiveArray<Int64Type>),
    /// The one integer that does not fit.
    Unsigned(&'a PrimitiveArray<UInt64Type>),
    /// 32-bit floats, which have their own shortest digits.
    Float(&'a PrimitiveArray<Float32Type>),
    /// Doubles and decimals.
    Double(PrimitiveArray<Float64Type>),
    /// Instants; dates as their midnight.
    Time(PrimitiveArray<TimestampMillisecondType>),
    /// Text.
    Utf8(&'a StringArray),
    /// Text with 64-bit offsets.
    LargeUtf8(&'a LargeStringArray),
    /// Text as views.
    View(&'a StringViewArray),
    /// Text made by a cast, for types that have no form of their own.
    Cast(StringArray),
    /// Lists.
    List(&'a ListArray),
    /// Lists with 64-bit offsets.
    LargeList(&'a LargeListArray),
    /// Lists of one length.
    FixedList(&'a FixedSizeListArray),
    /// Lists whose elements are JSON texts, each row as one JSON text.
    JsonList(StringArray),
}

/// Whether cells of a type have a text. What is left out (structs, maps, intervals, times of day) SQL cannot return in Druid.
#[must_use]
pub fn can_write(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            can_write(item.data_type())
        }
        DataType::Dictionary(_, value) => !value.is_nested() && can_write(value),
        DataType::Null
        | DataType::Boolean
        | DataType::Timestamp(..)
        | DataType::Date32
        | DataType::Date64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary => true,
        other => other.is_numeric(),
    }
}

impl<'a> Cells<'a> {
    /// Downcasts a column of an answer, which may be marked as an array of JSON.
    ///
    /// # Errors
    /// When it is of a type that has no text form.
    pub fn of(column: &'a ArrayRef, field: &Field) -> Result<Self, ArrowError> {
        match (field.metadata().get("freshet.type").map(String::as_str), column.as_list_opt::<i32>()) {
            (Some("JSON ARRAY"), Some(lists)) => Ok(Self::JsonList(json_lists(lists)?)),
            _ => Self::new(column),
        }
    }

    /// Downcasts a column.
    ///
    /// # Errors
    /// When it is of a type that [`can_write`] refuses.
    pub fn new(column: &'a ArrayRef) -> Result<Self, ArrowError> {
        let to = |wanted: &DataType| arrow::compute::cast(column, wanted);
        Ok(match column.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(column.as_boolean()),
            DataType::Int64 => Self::Long(column.as_primitive::<Int64Type>().clone()),
            DataType::UInt64 => Self::Unsigned(column.as_primitive()),
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => Self::Long(to(&DataType::Int64)?.as_primitive::<Int64Type>().clone()),
            DataType::Float32 => Self::Float(column.as_primitive()),
            DataType::Float64 => Self::Double(column.as_primitive::<Float64Type>().clone()),
            DataType::Float16 | DataType::Decimal128(..) | DataType::Decimal256(..) => {
                Self::Double(to(&DataType::Float64)?.as_primitive::<Float64Type>().clone())
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Self::Time(column.as_primitive::<TimestampMillisecondType>().clone())
            }
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                let millis = to(&DataType::Timestamp(TimeUnit::Millisecond, None))?;
                Self::Time(millis.as_primitive::<TimestampMillisecondType>().clone())
            }
            DataType::Utf8 => Self::Utf8(column.as_string()),
            DataType::LargeUtf8 => Self::LargeUtf8(column.as_string()),
            DataType::Utf8View => Self::View(column.as_string_view()),
            DataType::List(_) => Self::List(column.as_list()),
            DataType::LargeList(_) => Self::LargeList(column.as_list()),
            DataType::FixedSizeList(..) => Self::FixedList(column.as_fixed_size_list()),
            DataType::Binary => Self::Cast(quoted_base64(column.as_binary())),
            _ => Self::Cast(to(&DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(array) => array.is_null(row),
            Self::Long(array) => array.is_null(row),
            Self::Unsigned(array) => array.is_null(row),
            Self::Float(array) => array.is_null(row),
            Self::Double(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
            Self::Utf8(array) => array.is_null(row),
            Self::LargeUtf8(array) => array.is_null(row),
            Self::View(array) => array.is_null(row),
            Self::Cast(array) => array.is_null(row),
            Self::List(array) => array.is_null(row),
            Self::LargeList(array) => array.is_null(row),
            Self::FixedList(array) => array.is_null(row),
            Self::JsonList(array) => array.is_null(row),
        }
    }

    fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Utf8(array) => Some(array.value(row)),
            Self::LargeUtf8(array) => Some(array.value(row)),
            Self::View(array) => Some(array.value(row)),
            Self::Cast(array) => Some(array.value(row)),
            _ => None,
        }
    }

    fn list(&self, row: usize) -> Option<ArrayRef> {
        match self {
            Self::List(array) => Some(array.value(row)),
            Self::LargeList(array) => Some(array.value(row)),
            Self::FixedList(array) => Some(array.value(row)),
            _ => None,
        }
    }

    /// Writes a cell as a JSON value.
    pub fn write_json(&self, out: &mut Vec<u8>, row: usize, text: Text, zone: &Zone, stringify_arrays: bool) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        if let Some(value) = self.text(row) {
            write_string(out, value, text);
            return;
        }
        if let Self::JsonList(array) = self {
            if stringify_arrays {
                write_string(out, array.value(row), text);
            } else {
                out.extend_from_slice(array.value(row).as_bytes());
            }
            return;
        }
        if let Some(items) = self.list(row) {
            if stringify_arrays {
                let mut inner = Vec::new();
                write_list(&mut inner, &items, Text::Plain, zone);
                write_string(out, &String::from_utf8_lossy(&inner), text);
            } else {
                write_list(out, &items, text, zone);
            }
            return;
        }
        let quoted = match self {
            Self::Double(array) => !array.value(row).is_finite(),
            Self::Float(array) => !array.value(row).is_finite(),
            Self::Time(_) => true,
            _ => false,
        };
        if quoted {
            out.push(b'"');
        }
        self.write_bare(out, row, zone);
        if quoted {
            out.push(b'"');
        }
    }

    /// Writes a cell as a field of csv. Null and the empty string both print nothing.
    pub fn write_csv(&self, out: &mut Vec<u8>, row: usize, zone: &Zone) {
        if self.is_null(row) {
            return;
        }
        if let Some(value) = self.text(row) {
            write_csv_text(out, value);
        } else if let Self::JsonList(array) = self {
            write_csv_text(out, array.value(row));
        } else if self.list(row).is_some() {
            let mut text = Vec::new();
            self.write_text(&mut text, row, zone);
            write_csv_text(out, &String::from_utf8_lossy(&text));
        } else {
            self.write_bare(out, row, zone);
        }
    }

    /// Writes a cell's text without quotes or escapes; lists as JSON; nothing for null.
    pub fn write_text(&self, out: &mut Vec<u8>, row: usize, zone: &Zone) {
        if self.is_null(row) {
            return;
        }
        if let Some(value) = self.text(row) {
            out.extend_from_slice(value.as_bytes());
        } else if let Self::JsonList(array) = self {
            out.extend_from_slice(array.value(row).as_bytes());
        } else if let Some(items) = self.list(row) {
            write_list(out, &items, Text::Plain, zone);
        } else {
            self.write_bare(out, row, zone);
        }
    }

    /// Numbers, booleans and times, not null.
    fn write_bare(&self, out: &mut Vec<u8>, row: usize, zone: &Zone) {
        match self {
            Self::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Self::Long(array) => put(out, format_args!("{}", array.value(row))),
            Self::Unsigned(array) => put(out, format_args!("{}", array.value(row))),
            Self::Float(array) => write_float(out, array.value(row)),
            Self::Double(array) => write_double(out, array.value(row)),
            Self::Time(array) => write_time(out, array.value(row), zone),
            _ => {}
        }
    }
}

/// A sketch in an answer is the JSON text of its bytes: base64 between quotes.
fn quoted_base64(sketches: &BinaryArray) -> StringArray {
    sketches.iter().map(|bytes| bytes.map(|bytes| format!("\"{}\"", BASE64_STANDARD.encode(bytes)))).collect()
}

fn json_lists(lists: &ListArray) -> Result<StringArray, ArrowError> {
    let rows = lists.iter().map(|items| {
        let Some(items) = items else { return Ok(None) };
        let items = arrow::compute::cast(&items, &DataType::Utf8View)?;
        let items: Vec<&str> = items.as_string_view().iter().map(|item| item.unwrap_or("null")).collect();
        Ok(Some(format!("[{}]", items.join(","))))
    });
    rows.collect()
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A Vec takes every byte.
    let _never = out.write_fmt(text);
}

fn write_list(out: &mut Vec<u8>, items: &ArrayRef, text: Text, zone: &Zone) {
    out.push(b'[');
    if let Ok(cells) = Cells::new(items) {
        for row in 0..items.len() {
            if row > 0 {
                out.push(b',');
            }
            cells.write_json(out, row, text, zone, false);
        }
    }
    out.push(b']');
}

/// Writes a JSON string.
pub fn write_string(out: &mut Vec<u8>, value: &str, text: Text) {
    out.push(b'"');
    let bytes = value.as_bytes();
    let mut clean_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[clean_from..at]);
        clean_from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' if text == Text::Object => out.extend_from_slice(b"\\u005c"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => put(out, format_args!("\\u{control:04x}")),
        }
    }
    out.extend_from_slice(&bytes[clean_from..]);
    out.push(b'"');
}

/// Writes a text field of csv.
pub fn write_csv_text(out: &mut Vec<u8>, value: &str) {
    if value.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        out.push(b'"');
        for byte in value.bytes() {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(value.as_bytes());
    }
}

/// Writes a double as Java does.
pub fn write_double(out: &mut Vec<u8>, value: f64) {
    // Java takes the nearest of two digits where one digit would do; that differs only near the smallest double.
    if value != 0.0
        && value.abs() < 1e-300
        && format!("{value:e}").trim_start_matches('-').as_bytes().get(1) == Some(&b'e')
    {
        let two = format!("{value:.1e}");
        if two.parse() == Ok(value) {
            write_java(out, false, false, value < 0.0, false, format_args!("{two}"));
            return;
        }
    }
    write_java(
        out,
        value.is_nan(),
        value.is_infinite(),
        value.is_sign_negative(),
        value == 0.0,
        format_args!("{value:e}"),
    );
}

/// Writes a float as Java does.
pub fn write_float(out: &mut Vec<u8>, value: f32) {
    if value != 0.0
        && value.abs() < 1e-38
        && format!("{value:e}").trim_start_matches('-').as_bytes().get(1) == Some(&b'e')
    {
        let two = format!("{value:.1e}");
        if two.parse() == Ok(value) {
            write_java(out, false, false, value < 0.0, false, format_args!("{two}"));
            return;
        }
    }
    write_java(
        out,
        value.is_nan(),
        value.is_infinite(),
        value.is_sign_negative(),
        value == 0.0,
        format_args!("{value:e}"),
    );
}

/// `scientific` is Rust's `{:e}`: shortest digits, `-d.ddde-x`.
fn write_java(
    out: &mut Vec<u8>,
    nan: bool,
    infinite: bool,
    negative: bool,
    zero: bool,
    scientific: std::fmt::Arguments<'_>,
) {
    if nan {
        out.extend_from_slice(b"NaN");
        return;
    }
    if negative {
        out.push(b'-');
    }
    if infinite {
        out.extend_from_slice(b"Infinity");
        return;
    }
    if zero {
        out.extend_from_slice(b"0.0");
        return;
    }
    // Sign, 17 digits, point, `e`, sign and 3 digits: 24 bytes.
    let mut buffer = [0_u8; 32];
    let mut rest = &mut buffer[..];
    if rest.write_fmt(scientific).is_err() {
        return;
    }
    let free = rest.len();
    let written = &buffer[..buffer.len() - free];
    let mut digits = [0_u8; 20];
    let mut count = 0;
    let mut exponent = 0_i32;
    let mut exponent_negative = false;
    let mut in_exponent = false;
    for byte in written {
        match byte {
            b'e' => in_exponent = true,
            b'-' if in_exponent => exponent_negative = true,
            b'0'..=b'9' if in_exponent => exponent = exponent * 10 + i32::from(byte - b'0'),
            b'0'..=b'9' if count < digits.len() => {
                digits[count] = *byte;
                count += 1;
            }
            _ => {}
        }
    }
    if exponent_negative {
        exponent = -exponent;
    }
    let digits = &digits[..count];
    if (-3..7).contains(&exponent) {
        if exponent < 0 {
            out.extend_from_slice(b"0.");
            for _ in 0..(-exponent - 1) {
                out.push(b'0');
            }
            out.extend_from_slice(digits);
            return;
        }
        let whole = usize::try_from(exponent).unwrap_or(0) + 1;
        for at in 0..whole {
            out.push(digits.get(at).copied().unwrap_or(b'0'));
        }
        out.push(b'.');
        out.extend_from_slice(digits.get(whole..).filter(|rest| !rest.is_empty()).unwrap_or(b"0"));
        return;
    }
    out.extend_from_slice(&digits[..1]);
    out.push(b'.');
    out.extend_from_slice(digits.get(1..).filter(|rest| !rest.is_empty()).unwrap_or(b"0"));
    put(out, format_args!("E{exponent}"));
}

/// Writes an instant as ISO text with milliseconds: `Z` in UTC, a numeric offset elsewhere. The civil date is Howard Hinnant's
/// `civil_from_days`.
pub fn write_time(out: &mut Vec<u8>, millis: i64, zone: &Zone) {
    let offset = if zone.is_utc() { 0 } else { zone.offset_ms_at(Timestamp::from_millis(millis)) };
    let local = millis.saturating_add(offset);
    let (days, of_day) = (local.div_euclid(86_400_000), local.rem_euclid(86_400_000));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_march + 2) / 5 + 1;
    let month = if month_of_march < 10 { month_of_march + 3 } else { month_of_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second, milli) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60, of_day % 1_000);
    if year < 0 {
        put(out, format_args!("-{:04}", -year));
    } else {
        put(out, format_args!("{year:04}"));
    }
    put(out, format_args!("-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}"));
    if zone.is_utc() {
        out.push(b'Z');
    } else {
        let seconds = offset.abs() / 1_000;
        let sign = if offset < 0 { '-' } else { '+' };
        put(out, format_args!("{sign}{:02}:{:02}", seconds / 3_600, seconds / 60 % 60));
        // Before zones were agreed on, places had times to the second.
        if seconds % 60 != 0 {
            put(out, format_args!(":{:02}", seconds % 60));
        }
    }
}
