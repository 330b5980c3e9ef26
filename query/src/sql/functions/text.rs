//! Functions of text.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringViewArray, StringViewBuilder};
use arrow::datatypes::DataType;
use base64_lite::decode;
use datafusion::common::{DataFusionError, Result as DfResult, exec_err};
use datafusion::logical_expr::ColumnarValue;

use super::{Definition, count_between, literal, texts};

fn text_type() -> DataType {
    DataType::Utf8View
}

fn boolean_type() -> DataType {
    DataType::Boolean
}

fn long_type() -> DataType {
    DataType::Int64
}

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "CONTAINS_STRING",
        coerce: two_texts,
        returns: boolean_type,
        date: false,
        identity: false,
        invoke: contains,
    },
    Definition {
        name: "ICONTAINS_STRING",
        coerce: two_texts,
        returns: boolean_type,
        date: false,
        identity: false,
        invoke: contains,
    },
    Definition {
        name: "REGEXP_EXTRACT",
        coerce: regexp_extract_types,
        returns: text_type,
        date: false,
        identity: false,
        invoke: regexp_extract,
    },
    Definition {
        name: "REGEXP_LIKE",
        coerce: two_texts,
        returns: boolean_type,
        date: false,
        identity: false,
        invoke: regexp_like,
    },
    Definition {
        name: "REGEXP_REPLACE",
        coerce: three_texts,
        returns: text_type,
        date: false,
        identity: false,
        invoke: regexp_replace,
    },
    Definition {
        name: "PARSE_LONG",
        coerce: parse_long_types,
        returns: long_type,
        date: false,
        identity: false,
        invoke: parse_long,
    },
    Definition {
        name: "DECODE_BASE64_UTF8",
        coerce: one_text,
        returns: text_type,
        date: false,
        identity: false,
        invoke: decode_base64,
    },
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

/// The literal pattern, compiled; nothing when it is null.
fn pattern(name: &str, args: &[ColumnarValue]) -> DfResult<Option<regex::Regex>> {
    literal(name, args, 1)?
        .map(|p| {
            regex::Regex::new(&p)
                .map_err(|e| DataFusionError::Execution(format!("{name}: `{p}` is not a regular expression: {e}")))
        })
        .transpose()
}

fn regexp_like(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let pattern = pattern(name, args)?;
    let out: BooleanArray = texts(args, 0, rows)?.iter().map(|v| Some(pattern.as_ref()?.is_match(v?))).collect();
    Ok(Arc::new(out))
}

fn regexp_extract(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let pattern = pattern(name, args)?;
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
    let pattern = pattern(name, args)?;
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
