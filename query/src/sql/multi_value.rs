//! The MV_ functions in terms of the ARRAY_ ones: the way into an array, the work, and the way back.

use datafusion::sql::sqlparser::ast::Expr;

use crate::error::{Position, QueryError, Result};
use crate::sql::literals::{call, text};

/// The plain form of an MV_ function, if `name` is one.
///
/// # Errors
/// `Invalid` when the number of arguments is wrong.
pub(super) fn rewritten(name: &str, args: &[Expr], position: Option<Position>) -> Result<Option<Expr>> {
    let Some((to, signature)) = (match name {
        "MV_LENGTH" => Some(("ARRAY_LENGTH", "MV_LENGTH(values)")),
        "MV_OFFSET" => Some(("ARRAY_OFFSET", "MV_OFFSET(values, index)")),
        "MV_ORDINAL" => Some(("ARRAY_ORDINAL", "MV_ORDINAL(values, index)")),
        "MV_OFFSET_OF" => Some(("ARRAY_OFFSET_OF", "MV_OFFSET_OF(values, value)")),
        "MV_ORDINAL_OF" => Some(("ARRAY_ORDINAL_OF", "MV_ORDINAL_OF(values, value)")),
        "MV_CONTAINS" => Some(("ARRAY_CONTAINS", "MV_CONTAINS(values, value or array)")),
        "MV_OVERLAP" => Some(("ARRAY_OVERLAP", "MV_OVERLAP(values, array)")),
        "MV_TO_STRING" => Some(("ARRAY_TO_STRING", "MV_TO_STRING(values, separator)")),
        "MV_APPEND" => Some(("ARRAY_APPEND", "MV_APPEND(values, value)")),
        "MV_PREPEND" => Some(("ARRAY_PREPEND", "MV_PREPEND(value, values)")),
        "MV_CONCAT" => Some(("ARRAY_CONCAT", "MV_CONCAT(values, values)")),
        "MV_SLICE" => Some(("ARRAY_SLICE", "MV_SLICE(values, start [, end])")),
        "STRING_TO_MV" => Some(("STRING_TO_ARRAY", "STRING_TO_MV(text, pattern)")),
        "MV_FILTER_ONLY" => Some(("__ARRAY_KEEP", "MV_FILTER_ONLY(values, array)")),
        "MV_FILTER_NONE" => Some(("__ARRAY_DROP", "MV_FILTER_NONE(values, array)")),
        "MV_FILTER_REGEX" => Some(("__ARRAY_MATCHING", "MV_FILTER_REGEX(values, pattern)")),
        "MV_FILTER_PREFIX" => Some(("__ARRAY_STARTING", "MV_FILTER_PREFIX(values, prefix)")),
        _ => None,
    }) else {
        return Ok(None);
    };
    let expected = match name {
        "MV_LENGTH" => 1..=1,
        "MV_SLICE" => 2..=3,
        _ => 2..=2,
    };
    if !expected.contains(&args.len()) {
        return Err(QueryError::at(format!("wrong arguments for {name}"), position)
            .with_hint(Some(format!("its form is {signature}"))));
    }
    let mut args = args.to_vec();
    let array = |arg: &mut Expr| *arg = call("MV_TO_ARRAY", vec![arg.clone()]);
    match (name, args.as_mut_slice()) {
        ("STRING_TO_MV", _) => {}
        ("MV_PREPEND", [_, values]) => array(values),
        ("MV_CONCAT", [a, b]) => {
            array(a);
            array(b);
        }
        (_, [values, ..]) => array(values),
        _ => {}
    }
    let done = call(to, args);
    Ok(Some(match name {
        "MV_APPEND" | "MV_PREPEND" | "MV_CONCAT" | "MV_SLICE" | "STRING_TO_MV" => call("ARRAY_TO_MV", vec![done]),
        // Nothing left is null.
        _ if name.starts_with("MV_FILTER") => call("NULLIF", vec![call("ARRAY_TO_MV", vec![done]), text("[]")]),
        _ => done,
    }))
}
