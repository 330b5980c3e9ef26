//! Functions of text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringViewArray, StringViewBuilder};
use arrow::datatypes::DataType;
use base64_lite::decode;
use datafusion::common::{DataFusionError, Result as DfResult, exec_err};
use datafusion::logical_expr::ColumnarValue;

use super::{
    Definition, boolean_type, count_between, literal, long_argument, long_type, longs, regex_argument, text_type, texts,
};

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("__POSITION", position_types, long_type, position),
    Definition::new("REPEAT", repeat_types, text_type, repeat),
    Definition::new("LPAD", pad_types, text_type, pad),
    Definition::new("RPAD", pad_types, text_type, pad),
    Definition::new("CONTAINS_STRING", two_texts, boolean_type, contains),
    Definition::new("ICONTAINS_STRING", two_texts, boolean_type, contains),
    Definition::new("REGEXP_EXTRACT", regexp_extract_types, text_type, regexp_extract),
    Definition::new("REGEXP_LIKE", two_texts, boolean_type, regexp_like),
    Definition::new("REGEXP_REPLACE", three_texts, text_type, regexp_replace),
    Definition::new("PARSE_LONG", parse_long_types, long_type, parse_long),
    Definition::new("DECODE_BASE64_UTF8", one_text, text_type, decode_base64),
];

fn all_text(types: &[DataType]) -> Vec<DataType> {
    types.iter().map(|_| DataType::Utf8View).collect()
}

fn one_text(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1).map(|()| all_text(types))
}

fn two_texts(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2).map(|()| all_text(types))
}

fn three_texts(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 3, 3).map(|()| all_text(types))
}

fn regexp_extract_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 3)?;
    let mut out = all_text(types);
    out.iter_mut().skip(2).for_each(|t| *t = DataType::Int64);
    Ok(out)
}

fn parse_long_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 2)?;
    let mut out = all_text(types);
    out.iter_mut().skip(1).for_each(|t| *t = DataType::Int64);
    Ok(out)
}

fn position_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 3, 3)?;
    Ok(vec![DataType::Utf8View, DataType::Utf8View, DataType::Int64])
}

fn repeat_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    Ok(vec![DataType::Utf8View, long_argument(name, types, 1)?])
}

fn pad_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 3)?;
    let mut out = vec![DataType::Utf8View, long_argument(name, types, 1)?];
    out.resize(types.len(), DataType::Utf8View);
    Ok(out)
}

/// Longest text of one row, and of one batch, that a function makes out of nothing: a query may not fill memory with blanks.
const MADE_BYTES_MAX: usize = 1 << 20;
const MADE_BYTES_MAX_OF_BATCH: usize = 256 << 20;

fn made(name: &str, total: &mut usize, bytes: Option<usize>) -> DfResult<()> {
    let bytes = bytes.unwrap_or(usize::MAX);
    *total = total.saturating_add(bytes);
    if bytes > MADE_BYTES_MAX || *total > MADE_BYTES_MAX_OF_BATCH {
        return exec_err!("{name}: a text would become longer than {MADE_BYTES_MAX} bytes");
    }
    Ok(())
}

fn repeat(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let (values, counts) = (texts(args, 0, rows)?, longs(args, 1, rows)?);
    let mut out = StringViewBuilder::with_capacity(rows);
    let mut total = 0;
    for (value, count) in values.iter().zip(counts.iter()) {
        let Some((value, count)) = value.zip(count) else {
            out.append_null();
            continue;
        };
        let count = if value.is_empty() { 0 } else { usize::try_from(count.max(0)).unwrap_or(usize::MAX) };
        made(name, &mut total, value.len().checked_mul(count))?;
        out.append_value(value.repeat(count));
    }
    Ok(Arc::new(out.finish()))
}

/// LPAD and RPAD: filled up, or cut, to so many code points. With nothing to fill with the text stays short.
fn pad(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let (values, lengths) = (texts(args, 0, rows)?, longs(args, 1, rows)?);
    let fills = args.get(2).map(|_| texts(args, 2, rows)).transpose()?;
    let mut out = StringViewBuilder::with_capacity(rows);
    let mut total = 0;
    for row in 0..rows {
        let fill = match &fills {
            None => Some(" "),
            Some(fills) => fills.is_valid(row).then(|| fills.value(row)),
        };
        let length = lengths.is_valid(row).then(|| lengths.value(row));
        let (Some(fill), Some(length), true) = (fill, length, values.is_valid(row)) else {
            out.append_null();
            continue;
        };
        let value = values.value(row);
        let length = usize::try_from(length.max(0)).unwrap_or(usize::MAX);
        let has = value.chars().count();
        if has >= length {
            out.append_value(value.chars().take(length).collect::<String>());
            continue;
        }
        let wanted = if fill.is_empty() { 0 } else { length - has };
        made(name, &mut total, wanted.checked_mul(4))?;
        let fill: String = fill.chars().cycle().take(wanted).collect();
        out.append_value(if name == "LPAD" { fill + value } else { format!("{value}{fill}") });
    }
    Ok(Arc::new(out.finish()))
}

/// POSITION(wanted IN text FROM start): in code points, from 1; 0 is nowhere.
fn position(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let (wanted, values, starts) = (texts(args, 0, rows)?, texts(args, 1, rows)?, longs(args, 2, rows)?);
    let out: Int64Array = wanted
        .iter()
        .zip(values.iter())
        .zip(starts.iter())
        .map(|((wanted, value), start)| {
            let (wanted, value) = (wanted?, value?);
            let skipped = usize::try_from(start?.saturating_sub(1)).unwrap_or(0);
            let Some(from) = value.char_indices().map(|(at, _)| at).chain([value.len()]).nth(skipped) else {
                return Some(0);
            };
            let found = value[from..].find(wanted).map(|at| value[..from + at].chars().count() + 1);
            i64::try_from(found.unwrap_or(0)).ok()
        })
        .collect();
    Ok(Arc::new(out))
}

fn contains(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let ignore_case = name.starts_with('I');
    let fold = |t: &str| if ignore_case { t.to_lowercase() } else { t.to_owned() };
    let values = texts(args, 0, rows)?;
    let wanted = texts(args, 1, rows)?;
    let constant =
        matches!(args.get(1), Some(ColumnarValue::Scalar(_))).then(|| wanted.iter().next().flatten().map(fold));
    let out: BooleanArray = values
        .iter()
        .zip(wanted.iter())
        .map(|(value, wanted)| match &constant {
            Some(wanted) => Some(has(value?, wanted.as_deref()?, ignore_case)),
            None => Some(has(value?, &fold(wanted?), ignore_case)),
        })
        .collect();
    Ok(Arc::new(out))
}

fn has(value: &str, wanted: &str, ignore_case: bool) -> bool {
    if ignore_case { value.to_lowercase().contains(wanted) } else { value.contains(wanted) }
}

fn regexp_like(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let pattern = regex_argument(name, args, 1)?;
    let out: BooleanArray = texts(args, 0, rows)?.iter().map(|v| Some(pattern.as_ref()?.is_match(v?))).collect();
    Ok(Arc::new(out))
}

fn regexp_extract(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let pattern = regex_argument(name, args, 1)?;
    let group = match args.get(2) {
        None => 0,
        Some(ColumnarValue::Scalar(datafusion::common::ScalarValue::Int64(Some(n)))) if *n >= 0 => {
            usize::try_from(*n).unwrap_or(usize::MAX)
        }
        Some(_) => return exec_err!("argument 3 of {name} must be a literal number from 0"),
    };
    let values = texts(args, 0, rows)?;
    let out: StringViewArray =
        values.iter().map(|v| pattern.as_ref()?.captures(v?)?.get(group).map(|m| m.as_str())).collect();
    Ok(Arc::new(out))
}

fn regexp_replace(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let pattern = regex_argument(name, args, 1)?;
    let values = texts(args, 0, rows)?;
    // Java's `$1` ends at the first letter; braces keep the regex crate from reading `$1x` as a name.
    let digits = regex::Regex::new(r"\$(\d+)").map_err(|e| DataFusionError::Execution(e.to_string()))?;
    let with = literal(name, args, 2)?.map(|w| digits.replace_all(&w, "$${${1}}").into_owned());
    let mut out = StringViewBuilder::with_capacity(rows);
    for value in &values {
        match (value, &pattern, &with) {
            (Some(value), Some(pattern), Some(with)) => out.append_value(pattern.replace_all(value, with.as_str())),
            _ => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn parse_long(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let radix = match args.get(1) {
        None => 10,
        Some(ColumnarValue::Scalar(datafusion::common::ScalarValue::Int64(Some(n)))) if (2..=36).contains(n) => {
            u32::try_from(*n).unwrap_or(10)
        }
        Some(_) => return exec_err!("argument 2 of {name} must be a literal number from 2 to 36"),
    };
    let out: Int64Array = texts(args, 0, rows)?.iter().map(|v| i64::from_str_radix(v?, radix).ok()).collect();
    Ok(Arc::new(out))
}

fn decode_base64(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let mut out = StringViewBuilder::with_capacity(rows);
    for value in &texts(args, 0, rows)? {
        out.append_option(value.and_then(decode).and_then(|bytes| String::from_utf8(bytes).ok()));
    }
    Ok(Arc::new(out.finish()))
}

mod base64_lite {
    /// Standard alphabet, padding optional; nothing for any other character.
    pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
        let text = text.trim_end_matches('=');
        let mut out = Vec::with_capacity(text.len() * 3 / 4);
        let (mut bits, mut count) = (0u32, 0);
        for byte in text.bytes() {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            bits = (bits << 6) | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                out.push(u8::try_from((bits >> count) & 0xff).ok()?);
            }
        }
        (count < 6).then_some(out)
    }
}
