//! Small constructors of syntax trees, and what literals mean: instants in the query's zone, intervals, parameters.

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, Interval, ObjectName, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use freshet_segment::time::{Timestamp, Zone};

use crate::error::{QueryError, Result};
use crate::request::{Parameter, ParameterValue};
use crate::sql::dialect::position_of_span;

/// `NAME(args..)`.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(function(name, args))
}

/// As [`call`], still open to changes.
pub(super) fn function(name: &str, args: Vec<Expr>) -> Function {
    Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

pub(super) fn text(value: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.into()).with_empty_span())
}

pub(super) fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

pub(super) fn number(value: i64) -> Expr {
    let literal = Expr::Value(Value::Number(value.unsigned_abs().to_string(), false).with_empty_span());
    if value < 0 { Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(literal) } } else { literal }
}

pub(super) fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// A literal instant; the planner folds it into a constant.
pub(super) fn instant(at: Timestamp) -> Expr {
    call("MILLIS_TO_TIMESTAMP", vec![number(at.as_millis())])
}

/// The date on which `at` falls in `zone`.
pub(super) fn date(at: Timestamp, zone: &Zone) -> Expr {
    call("__TO_DATE", vec![instant(at), text(zone.to_string())])
}

/// The text of a single-quoted literal.
pub(super) fn as_text(expr: &Expr) -> Option<(&str, Span)> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::UnicodeStringLiteral(text) => Some((text, value.span)),
            _ => None,
        },
        Expr::Nested(inner) => as_text(inner),
        _ => None,
    }
}

/// Reads the text of a TIMESTAMP or DATE literal in `zone`.
pub(super) fn read_instant(text: &str, zone: &Zone, span: Span) -> Result<Timestamp> {
    Timestamp::parse_in(text, zone).map_err(|_| {
        QueryError::at(format!("Illegal TIMESTAMP literal '{text}'"), position_of_span(span))
            .with_hint(Some("write 2015-09-12, 2015-09-12 00:46:58.771 or 2015-09-12T00:46:58.771Z".to_owned()))
    })
}

/// An interval as a period for TIME_SHIFT: months follow the calendar, days and less are exact time, as in Druid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) months: i64,
    pub(super) millis: i64,
}

impl Amount {
    /// ISO text of one step.
    pub(super) fn period(self) -> String {
        match (self.months, self.millis) {
            (months, 0) if months != 0 => format!("P{months}M"),
            (0, millis) => format!("PT{}S", decimal_seconds(millis)),
            (months, millis) => format!("P{months}MT{}S", decimal_seconds(millis)),
        }
    }
}

fn decimal_seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let (whole, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:03}") }
}

/// Length of one unit.
pub(super) fn unit_span(unit: &str) -> Option<Amount> {
    let unit = unit.to_ascii_uppercase();
    let unit = unit.strip_prefix("SQL_TSI_").unwrap_or(&unit);
    let months = |months| Some(Amount { months, millis: 0 });
    let millis = |millis| Some(Amount { months: 0, millis });
    match unit {
        "MILLISECOND" | "MILLISECONDS" => millis(1),
        "SECOND" | "SECONDS" => millis(1000),
        "MINUTE" | "MINUTES" => millis(60_000),
        "HOUR" | "HOURS" => millis(3_600_000),
        "DAY" | "DAYS" => millis(86_400_000),
        "WEEK" | "WEEKS" => millis(7 * 86_400_000),
        "MONTH" | "MONTHS" => months(1),
        "QUARTER" | "QUARTERS" => months(3),
        "YEAR" | "YEARS" => months(12),
        _ => None,
    }
}

/// Bucket period of a unit, as FLOOR .. TO and DATE_TRUNC name it. Days and longer follow the calendar here.
pub(super) fn unit_period(unit: &str) -> Option<&'static str> {
    let unit = unit.to_ascii_uppercase();
    let singular = unit.strip_suffix('S').unwrap_or(&unit);
    Some(match singular {
        "SECOND" => "PT1S",
        "MINUTE" => "PT1M",
        "HOUR" => "PT1H",
        "DAY" => "P1D",
        "WEEK" => "P1W",
        "MONTH" => "P1M",
        "QUARTER" => "P3M",
        "YEAR" => "P1Y",
        "DECADE" => "P10Y",
        _ => match unit.as_str() {
            "CENTURY" => "P100Y",
            "MILLENNIUM" => "P1000Y",
            _ => return None,
        },
    })
}

/// `INTERVAL '1' DAY`, `'1 02:03' DAY TO MINUTE`, `'1-2' YEAR TO MONTH`.
pub(super) fn read_interval(interval: &Interval) -> Result<Amount> {
    let bad = |why: &str| {
        QueryError::invalid(format!("interval `{interval}` {why}")).with_hint(Some(
            "write INTERVAL '1' DAY, INTERVAL '1 02:03' DAY TO MINUTE or INTERVAL '1-2' YEAR TO MONTH".to_owned(),
        ))
    };
    let (value, _) = match interval.value.as_ref() {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(s) => (s.clone(), v.span),
            Value::Number(n, _) => (n.clone(), v.span),
            _ => return Err(bad("has no literal value")),
        },
        _ => return Err(bad("has no literal value")),
    };
    let Some(leading) = &interval.leading_field else { return Err(bad("names no unit")) };
    let leading = field_name(leading);
    let (negative, magnitude) = match value.trim().strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value.trim().trim_start_matches('+')),
    };
    let mut span = match &interval.last_field {
        None => scaled(magnitude, &leading).ok_or_else(|| bad("is not a number of its unit"))?,
        Some(last) => compound(magnitude, &leading, &field_name(last)).ok_or_else(|| bad("does not fit its units"))?,
    };
    if negative {
        span = Amount { months: -span.months, millis: -span.millis };
    }
    Ok(span)
}

/// The name of a unit as written.
pub(super) fn field_name(field: &DateTimeField) -> String {
    field.to_string().to_ascii_uppercase()
}

fn scaled(value: &str, unit: &str) -> Option<Amount> {
    let one = unit_span(unit)?;
    if let Ok(n) = value.parse::<i64>() {
        return Some(Amount { months: one.months.checked_mul(n)?, millis: one.millis.checked_mul(n)? });
    }
    let n: f64 = value.parse().ok()?;
    if one.months != 0 || !n.is_finite() || n.abs() > 1e9 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "both factors are bounded")]
    let millis = (n * one.millis as f64).round() as i64;
    Some(Amount { months: 0, millis })
}

/// Parts are split by `-`, blank, or `:`; each is one unit smaller than the one before.
fn compound(value: &str, leading: &str, last: &str) -> Option<Amount> {
    const YEARS: [&str; 2] = ["YEAR", "MONTH"];
    const DAYS: [&str; 4] = ["DAY", "HOUR", "MINUTE", "SECOND"];
    let units: &[&str] = if YEARS.contains(&leading) { &YEARS } else { &DAYS };
    let from = units.iter().position(|u| *u == leading)?;
    let to = units.iter().position(|u| *u == last)?;
    let parts: Vec<_> = value.split(['-', ' ', ':']).collect();
    if from > to || parts.len() != to - from + 1 {
        return None;
    }
    parts.iter().zip(&units[from..=to]).try_fold(Amount { months: 0, millis: 0 }, |sum, (part, unit)| {
        let part = scaled(part, unit)?;
        Some(Amount { months: sum.months.checked_add(part.months)?, millis: sum.millis.checked_add(part.millis)? })
    })
}

/// `ARRAY[..]` of plain values.
fn array(values: &[ParameterValue]) -> Expr {
    let element = |value: &ParameterValue| match value {
        ParameterValue::Null => null(),
        ParameterValue::Bool(b) => Expr::Value(Value::Boolean(*b).with_empty_span()),
        ParameterValue::Long(n) => number(*n),
        // A number in the tree has no sign.
        ParameterValue::Double(n) => {
            let literal = Expr::Value(Value::Number(format!("{:e}", n.abs()), false).with_empty_span());
            if n.is_sign_negative() {
                Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(literal) }
            } else {
                literal
            }
        }
        ParameterValue::String(s) => text(s.clone()),
        ParameterValue::Array(values) => array(values),
    };
    Expr::Array(Array { elem: values.iter().map(element).collect(), named: true })
}

/// The literal that stands for a parameter.
///
/// # Errors
/// `Invalid` when value and type do not fit, naming the parameter by its number.
pub(super) fn parameter(index: usize, parameter: &Parameter, zone: &Zone) -> Result<Expr> {
    let sql_type = parameter.sql_type.to_ascii_uppercase();
    let bad = || {
        QueryError::invalid(format!("parameter {} is not a {sql_type}: {}", index + 1, parameter.value))
            .with_hint(Some("give a value that fits the type, or change the type".to_owned()))
    };
    let cast = |value: Expr, to: &str| -> Expr {
        use datafusion::sql::sqlparser::ast::{CastKind, DataType, ExactNumberInfo};
        let data_type = match to {
            "BIGINT" => DataType::BigInt(None),
            "BOOLEAN" => DataType::Boolean,
            "DOUBLE" => DataType::Double(ExactNumberInfo::None),
            _ => DataType::Varchar(None),
        };
        Expr::Cast { kind: CastKind::Cast, expr: Box::new(value), data_type, array: false, format: None }
    };
    Ok(match (sql_type.as_str(), &parameter.value) {
        ("BOOLEAN", ParameterValue::Null) => cast(null(), "BOOLEAN"),
        ("BIGINT" | "INTEGER" | "SMALLINT" | "TINYINT", ParameterValue::Null) => cast(null(), "BIGINT"),
        ("DOUBLE" | "FLOAT" | "REAL" | "DECIMAL", ParameterValue::Null) => cast(null(), "DOUBLE"),
        ("VARCHAR" | "CHAR", ParameterValue::Null) => cast(null(), "VARCHAR"),
        ("TIMESTAMP", ParameterValue::Null) => call("__TO_TIMESTAMP", vec![null(), text(zone.to_string())]),
        ("DATE", ParameterValue::Null) => call("__TO_DATE", vec![null(), text(zone.to_string())]),
        (_, ParameterValue::Null) => null(),
        ("ARRAY", ParameterValue::Array(values)) => array(values),
        ("VARCHAR" | "CHAR", ParameterValue::String(s)) => text(s.clone()),
        ("VARCHAR" | "CHAR", ParameterValue::Long(n)) => text(n.to_string()),
        ("VARCHAR" | "CHAR", ParameterValue::Double(n)) => text(n.to_string()),
        ("VARCHAR" | "CHAR", ParameterValue::Bool(b)) => text(b.to_string()),
        ("BIGINT" | "INTEGER" | "SMALLINT" | "TINYINT", ParameterValue::Long(n)) => number(*n),
        ("BIGINT" | "INTEGER" | "SMALLINT" | "TINYINT", ParameterValue::String(s)) => {
            number(s.trim().parse().map_err(|_| bad())?)
        }
        ("DOUBLE" | "FLOAT" | "REAL" | "DECIMAL", value) => {
            let n = match value {
                #[expect(clippy::cast_precision_loss, reason = "the caller asked for a double")]
                ParameterValue::Long(n) => *n as f64,
                ParameterValue::Double(n) => *n,
                ParameterValue::String(s) => s.trim().parse().map_err(|_| bad())?,
                _ => return Err(bad()),
            };
            if !n.is_finite() {
                return Err(bad());
            }
            cast(text(format!("{n:?}")), "DOUBLE")
        }
        ("BOOLEAN", ParameterValue::Bool(b)) => Expr::Value(Value::Boolean(*b).with_empty_span()),
        ("BOOLEAN", ParameterValue::String(s)) if s.eq_ignore_ascii_case("true") || s.eq_ignore_ascii_case("false") => {
            Expr::Value(Value::Boolean(s.eq_ignore_ascii_case("true")).with_empty_span())
        }
        ("TIMESTAMP" | "DATE", value) => {
            let at = match value {
                ParameterValue::Long(n) => Timestamp::from_millis(*n),
                ParameterValue::String(s) => match s.trim().parse() {
                    Ok(millis) if s.trim().len() > 4 => Timestamp::from_millis(millis),
                    _ => Timestamp::parse_in(s, zone).map_err(|_| bad())?,
                },
                _ => return Err(bad()),
            };
            if sql_type == "DATE" { date(at, zone) } else { instant(at) }
        }
        ("ARRAY" | "OTHER" | "ANY" | "NULL", _) | ("BIGINT" | "INTEGER" | "SMALLINT" | "TINYINT" | "BOOLEAN", _) => {
            return Err(bad());
        }
        _ => {
            return Err(QueryError::invalid(format!("parameter {} has the unknown type {sql_type}", index + 1))
                .with_hint(Some(
                    "types are VARCHAR, BIGINT, INTEGER, DOUBLE, FLOAT, BOOLEAN, TIMESTAMP, DATE, ARRAY".to_owned(),
                )));
        }
    })
}
