//! The pass that turns Druid's expressions into ones DataFusion plans.
//!
//! It works on the syntax tree, before names have types. What depends on the zone or on the query's start becomes an
//! explicit argument here, so nothing below needs to know either. Types are guessed in one case only: a text literal
//! compared with something that is surely a time (`__time`, or a time function) is read as an instant.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, CeilFloorKind, DataType, DateTimeField, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident, ObjectName, Query, Select, Spanned, Value,
    VisitorMut,
};
use freshet_segment::time::{Interval, Period, Timestamp, Zone};

use crate::error::{QueryError, Result};
use crate::request::Parameter;
use crate::sql::aggregates;
use crate::sql::dialect::position_of_span;
use crate::sql::functions;
use crate::sql::literals::{
    as_text, binary, call, date, field_name, function, instant, nested, null, number, parameter, read_instant,
    read_interval, text, unit_period, unit_span,
};
use crate::sql::membership;
use crate::sql::multi_value;
use crate::sql::names;

/// Constants of one query that the pass writes into the tree.
#[derive(Debug)]
pub(crate) struct Rewriter<'a> {
    /// `sqlTimeZone`.
    pub(crate) zone: &'a Zone,
    /// The query's start.
    pub(crate) now: Timestamp,
    /// Values of `$1`, `$2`, ...
    pub(crate) parameters: &'a [Parameter],
    /// Subqueries that are asked more than once, so far.
    pub(crate) copies: usize,
}

impl VisitorMut for Rewriter<'_> {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryError> {
        flow(names::shape_query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<QueryError> {
        flow(names::name_items(select).and_then(|()| membership::settle(select, &mut self.copies)))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<QueryError> {
        rebalance(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<QueryError> {
        flow(self.expression(expr))
    }
}

fn flow(result: Result<()>) -> ControlFlow<QueryError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl Rewriter<'_> {
    fn zone_text(&self) -> Expr {
        text(self.zone.to_string())
    }

    /// Rewrites one node whose children are done.
    fn expression(&self, expr: &mut Expr) -> Result<()> {
        let taken = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
        *expr = self.rewritten(taken)?;
        Ok(())
    }

    fn rewritten(&self, expr: Expr) -> Result<Expr> {
        Ok(match expr {
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => self.placeholder(name, value.span)?,
                Value::UnicodeStringLiteral(t) => text(t.clone()),
                _ => Expr::Value(value),
            },
            Expr::TypedString(typed) => {
                let span = typed.value.span;
                let Some(literal) = typed.value.value.clone().into_string() else {
                    return Ok(Expr::TypedString(typed));
                };
                match typed.data_type {
                    DataType::Timestamp(..) | DataType::Datetime(_) => {
                        instant(read_instant(&literal, self.zone, span)?)
                    }
                    DataType::Date => date(read_instant(&literal, self.zone, span)?, self.zone),
                    _ => Expr::TypedString(typed),
                }
            }
            Expr::Floor { expr, field } => self.bucket("TIME_FLOOR", *expr, field)?,
            Expr::Ceil { expr, field } => self.bucket("TIME_CEIL", *expr, field)?,
            Expr::Extract { field, expr, .. } => {
                if let Err(wrong) = functions::check_unit(field_name(&field).trim_matches('\'')) {
                    return Err(QueryError::at(format!("EXTRACT: {wrong}"), position_of_span(expr.span())));
                }
                call("TIME_EXTRACT", vec![*expr, text(field_name(&field).trim_matches('\'')), self.zone_text()])
            }
            Expr::Cast { expr, data_type, array, format, .. } => self.cast(*expr, data_type, array, format),
            Expr::BinaryOp { left, op, right } => self.binary_op(*left, op, *right)?,
            Expr::Between { expr, negated, low, high } if is_time(&expr) => Expr::Between {
                low: Box::new(self.as_instant(*low)?),
                high: Box::new(self.as_instant(*high)?),
                expr,
                negated,
            },
            Expr::InList { expr, list, negated } if is_time(&expr) => Expr::InList {
                list: list.into_iter().map(|e| self.as_instant(e)).collect::<Result<_>>()?,
                expr,
                negated,
            },
            Expr::Like { negated, any, expr, pattern, escape_char } => {
                let (pattern, escape_char) = like_pattern(*pattern, escape_char)?;
                Expr::Like { negated, any, expr, pattern: Box::new(pattern), escape_char }
            }
            Expr::ILike { negated, any, expr, pattern, escape_char } => {
                let (pattern, escape_char) = like_pattern(*pattern, escape_char)?;
                Expr::ILike { negated, any, expr, pattern: Box::new(pattern), escape_char }
            }
            Expr::Function(function) => self.function(function)?,
            // The planner reads the elements of a literal array without the query around it.
            Expr::Array(array) if !array.elem.is_empty() => call("make_array", array.elem),
            // The one function that is written without brackets and that the parser does not know.
            Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("PI") => {
                call("PI", Vec::new())
            }
            other => other,
        })
    }

    fn placeholder(&self, name: &str, span: datafusion::sql::sqlparser::tokenizer::Span) -> Result<Expr> {
        let index = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).and_then(|n| n.checked_sub(1));
        let Some((index, value)) = index.and_then(|i| Some((i, self.parameters.get(i)?))) else {
            return Err(QueryError::at(
                format!(
                    "parameter {} has no value: {} were given",
                    name.trim_start_matches('$'),
                    self.parameters.len()
                ),
                position_of_span(span),
            ));
        };
        parameter(index, value, self.zone)
    }

    /// FLOOR and CEIL, of a number or `TO` a unit of time.
    fn bucket(&self, name: &str, expr: Expr, field: CeilFloorKind) -> Result<Expr> {
        let unit = match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {
                return Ok(if name == "TIME_FLOOR" {
                    Expr::Floor { expr: Box::new(expr), field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) }
                } else {
                    Expr::Ceil { expr: Box::new(expr), field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) }
                });
            }
            CeilFloorKind::DateTimeField(unit) => field_name(&unit),
            CeilFloorKind::Scale(_) => {
                return Err(QueryError::at("FLOOR and CEIL take one number", position_of_span(expr.span()))
                    .with_hint(Some("use TRUNCATE(x, digits) or ROUND(x, digits)".to_owned())));
            }
        };
        let period = unit_period(&unit).ok_or_else(|| {
            QueryError::at(format!("`{unit}` is no unit of time for FLOOR or CEIL"), position_of_span(expr.span()))
                .with_hint(Some("units are SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR".to_owned()))
        })?;
        Ok(call(name, vec![expr, text(period), null(), self.zone_text()]))
    }

    /// CAST never fails at run time: what does not fit becomes null. Times go through functions that know the zone.
    fn cast(
        &self,
        expr: Expr,
        data_type: DataType,
        array: bool,
        format: Option<datafusion::sql::sqlparser::ast::CastFormat>,
    ) -> Expr {
        let data_type = match data_type {
            DataType::Timestamp(..) | DataType::Datetime(_) => {
                return call("__TO_TIMESTAMP", vec![expr, self.zone_text()]);
            }
            DataType::Date => return call("__TO_DATE", vec![expr, self.zone_text()]),
            DataType::Varchar(_)
            | DataType::Char(_)
            | DataType::CharVarying(_)
            | DataType::CharacterVarying(_)
            | DataType::Character(_)
            | DataType::Nvarchar(_)
            | DataType::Text
            | DataType::String(_) => {
                return if matches!(&expr, Expr::Function(f) if single_name(&f.name) == Some("__TO_DATE")) {
                    call("TIME_FORMAT", vec![expr, text("yyyy-MM-dd"), self.zone_text()])
                } else {
                    call("__TO_VARCHAR", vec![expr, self.zone_text()])
                };
            }
            DataType::Int(_)
            | DataType::Integer(_)
            | DataType::BigInt(_)
            | DataType::SmallInt(_)
            | DataType::TinyInt(_) => {
                return call("__TO_BIGINT", vec![expr]);
            }
            DataType::Decimal(_)
            | DataType::Numeric(_)
            | DataType::Dec(_)
            | DataType::Double(_)
            | DataType::DoublePrecision => DataType::Double(ExactNumberInfo::None),
            DataType::Float(_) | DataType::Real => DataType::Real,
            other => other,
        };
        Expr::Cast { kind: CastKind::TryCast, expr: Box::new(expr), data_type, array, format }
    }

    fn binary_op(&self, left: Expr, op: BinaryOperator, right: Expr) -> Result<Expr> {
        match (&op, &left, &right) {
            (BinaryOperator::Plus, Expr::Interval(interval), _) => {
                self.shift(right, read_interval(interval)?.period(), 1)
            }
            (BinaryOperator::Plus, _, Expr::Interval(interval)) => {
                self.shift(left, read_interval(interval)?.period(), 1)
            }
            (BinaryOperator::Minus, _, Expr::Interval(interval)) => {
                self.shift(left, read_interval(interval)?.period(), -1)
            }
            (
                BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq,
                ..,
            ) => {
                let (left, right) = match (is_time(&left), is_time(&right)) {
                    (true, _) => (left, self.as_instant(right)?),
                    (_, true) => (self.as_instant(left)?, right),
                    _ => (left, right),
                };
                Ok(binary(left, op, right))
            }
            // As CONCAT: numbers and times are written as CAST writes them.
            (BinaryOperator::StringConcat, ..) => Ok(binary(self.as_varchar(left), op, self.as_varchar(right))),
            _ => Ok(binary(left, op, right)),
        }
    }

    /// A text, whatever it was before.
    fn as_varchar(&self, expr: Expr) -> Expr {
        let is_text = match &expr {
            Expr::Function(f) => single_name(&f.name) == Some("__TO_VARCHAR"),
            Expr::BinaryOp { op: BinaryOperator::StringConcat, .. } => true,
            other => as_text(other).is_some(),
        };
        if is_text { expr } else { call("__TO_VARCHAR", vec![expr, self.zone_text()]) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands beside branches that can fail")]
    fn shift(&self, time: Expr, period: String, step: i64) -> Result<Expr> {
        Ok(call("TIME_SHIFT", vec![time, text(period), number(step), self.zone_text()]))
    }

    /// A text literal as an instant; anything else as it is.
    fn as_instant(&self, expr: Expr) -> Result<Expr> {
        match as_text(&expr) {
            Some((literal, span)) => Ok(instant(read_instant(literal, self.zone, span)?)),
            None => Ok(expr),
        }
    }

    fn function(&self, mut f: Function) -> Result<Expr> {
        let Some(name) = single_name(&f.name) else { return Ok(Expr::Function(f)) };
        let span = f.name.span();
        let name = name.to_ascii_uppercase();
        let wrong = |signature: &str| {
            Err(QueryError::at(format!("wrong arguments for {name}"), position_of_span(span))
                .with_hint(Some(format!("its form is {signature}"))))
        };
        match name.as_str() {
            "CURRENT_TIMESTAMP" | "LOCALTIMESTAMP" | "NOW" => return Ok(instant(self.now)),
            "CURRENT_DATE" => return Ok(date(self.now, self.zone)),
            _ => {}
        }
        let Some(args) = plain_args(&f) else {
            if aggregates::takes_plain(&name) {
                return wrong(&format!("{name}(x), with neither * nor names of arguments"));
            }
            return Ok(Expr::Function(f));
        };
        check_literals(&name, &args)?;
        if aggregates::rewrite(&mut f, &name, args.clone(), &self.zone_text())? {
            return Ok(Expr::Function(f));
        }
        let count = args.len();
        let args = |positions: std::ops::Range<usize>| args[positions].to_vec();
        Ok(match name.as_str() {
            "TIME_FLOOR" | "TIME_CEIL" => match count {
                2 => call(&name, [args(0..2), vec![null(), self.zone_text()]].concat()),
                3 => call(&name, [args(0..3), vec![self.zone_text()]].concat()),
                4 => Expr::Function(f),
                _ => return wrong(&format!("{name}(timestamp, period [, origin [, timezone]])")),
            },
            "TIME_SHIFT" => match count {
                3 => call(&name, [args(0..3), vec![self.zone_text()]].concat()),
                4 => Expr::Function(f),
                _ => return wrong("TIME_SHIFT(timestamp, period, step [, timezone])"),
            },
            "TIME_EXTRACT" => match count {
                2 => call(&name, [args(0..2), vec![self.zone_text()]].concat()),
                3 => Expr::Function(f),
                _ => return wrong("TIME_EXTRACT(timestamp, unit [, timezone])"),
            },
            "TIME_PARSE" | "TIME_FORMAT" => match count {
                1 => call(&name, [args(0..1), vec![null(), self.zone_text()]].concat()),
                2 => call(&name, [args(0..2), vec![self.zone_text()]].concat()),
                3 => Expr::Function(f),
                _ => return wrong(&format!("{name}(value [, pattern [, timezone]])")),
            },
            "TIME_IN_INTERVAL" => {
                let Some([time, interval]) = exactly(&args(0..count)) else {
                    return wrong("TIME_IN_INTERVAL(timestamp, 'start/end')");
                };
                let Some((literal, span)) = as_text(&interval) else {
                    return wrong("TIME_IN_INTERVAL(timestamp, 'start/end') with a literal interval");
                };
                let interval = self.interval(literal, span)?;
                nested(binary(
                    binary(time.clone(), BinaryOperator::GtEq, instant(interval.start())),
                    BinaryOperator::And,
                    binary(time, BinaryOperator::Lt, instant(interval.end())),
                ))
            }
            "TIMESTAMPADD" => {
                let Some([unit, step, time]) = exactly(&args(0..count)) else {
                    return wrong("TIMESTAMPADD(unit, count, timestamp)");
                };
                let unit = unit_name(&unit);
                let Some(amount) = unit.as_deref().and_then(unit_span) else {
                    return wrong(
                        "TIMESTAMPADD(unit, count, timestamp) with one of SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR",
                    );
                };
                call("TIME_SHIFT", vec![time, text(amount.period()), step, self.zone_text()])
            }
            "TIMESTAMPDIFF" => {
                let Some([unit, from, to]) = exactly(&args(0..count)) else {
                    return wrong("TIMESTAMPDIFF(unit, from, to)");
                };
                let Some(unit) = unit_name(&unit).filter(|u| unit_span(u).is_some()) else {
                    return wrong(
                        "TIMESTAMPDIFF(unit, from, to) with one of SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR",
                    );
                };
                call(&name, vec![text(unit), self.as_instant(from)?, self.as_instant(to)?, self.zone_text()])
            }
            "DATE_TRUNC" => {
                let Some([unit, time]) = exactly(&args(0..count)) else {
                    return wrong("DATE_TRUNC('unit', timestamp)");
                };
                let Some((unit, span)) = as_text(&unit) else { return wrong("DATE_TRUNC('unit', timestamp)") };
                if unit.to_ascii_uppercase().starts_with("MILLISECOND") {
                    return Ok(time);
                }
                let Some(period) = unit_period(unit) else {
                    return Err(QueryError::at(format!("`{unit}` is no unit of DATE_TRUNC"), position_of_span(span)));
                };
                call("TIME_FLOOR", vec![time, text(period), null(), self.zone_text()])
            }
            "MOD" | "TEXTCAT" => {
                let Some([a, b]) = exactly(&args(0..count)) else { return wrong(&format!("{name}(x, y)")) };
                if name == "MOD" {
                    nested(binary(nested(a), BinaryOperator::Modulo, nested(b)))
                } else {
                    nested(binary(self.as_varchar(a), BinaryOperator::StringConcat, self.as_varchar(b)))
                }
            }
            "POSITION" => match count {
                2 => call("STRPOS", vec![args(1..2).remove(0), args(0..1).remove(0)]),
                _ => call("__POSITION", args(0..count)),
            },
            "JSON_VALUE" => match returning(&mut f) {
                Some(data_type) => self.cast(Expr::Function(f), data_type, false, None),
                None => Expr::Function(f),
            },
            "DIV" => {
                let Some([a, b]) = exactly(&args(0..count)) else { return wrong("DIV(x, y)") };
                nested(binary(call("__TO_BIGINT", vec![a]), BinaryOperator::Divide, call("__TO_BIGINT", vec![b])))
            }
            "SAFE_DIVIDE" => {
                let Some([a, b]) = exactly(&args(0..count)) else { return wrong("SAFE_DIVIDE(x, y)") };
                nested(binary(nested(a), BinaryOperator::Divide, call("NULLIF", vec![b, number(0)])))
            }
            "CONCAT" if count > 0 => {
                let mut parts = args(0..count).into_iter().map(|a| self.as_varchar(a));
                let first = parts.next().unwrap_or_else(null);
                nested(parts.fold(first, |left, right| binary(left, BinaryOperator::StringConcat, right)))
            }
            // DataFusion's own makes a text of a time.
            "NVL" => {
                set_name(&mut f, "COALESCE");
                Expr::Function(f)
            }
            "TRUNCATE" => {
                set_name(&mut f, "TRUNC");
                Expr::Function(f)
            }
            "STRLEN" | "CHAR_LENGTH" | "CHARACTER_LENGTH" => {
                set_name(&mut f, "LENGTH");
                Expr::Function(f)
            }
            "CEILING" => {
                set_name(&mut f, "CEIL");
                Expr::Function(f)
            }
            _ => match multi_value::rewritten(&name, &args(0..count), position_of_span(span))? {
                Some(expr) => expr,
                None => Expr::Function(f),
            },
        })
    }

    fn interval(&self, literal: &str, span: datafusion::sql::sqlparser::tokenizer::Span) -> Result<Interval> {
        let at = |text: &str| Timestamp::parse_in(text, self.zone).ok();
        let parts = literal.split_once('/').and_then(|(a, b)| {
            let (start, end) = match (a.parse::<Period>(), b.parse::<Period>()) {
                (Ok(period), _) => (period.add(at(b)?, -1, self.zone), at(b)?),
                (_, Ok(period)) => (at(a)?, period.add(at(a)?, 1, self.zone)),
                _ => (at(a)?, at(b)?),
            };
            Interval::new(start, end).ok()
        });
        parts.ok_or_else(|| {
            QueryError::at(
                format!("`{literal}` is not an interval start/end with start before end"),
                position_of_span(span),
            )
        })
    }
}

/// Refuses literal periods, units, patterns, paths and zones that mean nothing, here where their place is still known.
fn check_literals(name: &str, args: &[Expr]) -> Result<()> {
    for (index, arg) in args.iter().enumerate() {
        let Some((literal, span)) = as_text(arg) else { continue };
        let wrong = match (name, index) {
            ("TIME_FLOOR" | "TIME_CEIL" | "TIME_SHIFT", 3) | ("TIME_EXTRACT" | "TIME_PARSE" | "TIME_FORMAT", 2) => {
                literal.parse::<Zone>().err().map(|e| e.to_string())
            }
            ("TIME_FLOOR" | "TIME_CEIL" | "TIME_SHIFT", 1) => literal.parse::<Period>().err().map(|e| e.to_string()),
            ("TIME_EXTRACT", 1) => functions::check_unit(literal).err(),
            ("TIME_PARSE" | "TIME_FORMAT", 1) => functions::check_pattern(literal).err(),
            ("JSON_VALUE" | "JSON_QUERY" | "JSON_QUERY_ARRAY" | "JSON_KEYS", 1) => functions::check_path(literal).err(),
            ("STRING_FORMAT", 0) => functions::check_format(literal).err(),
            (
                "REGEXP_LIKE" | "REGEXP_EXTRACT" | "REGEXP_REPLACE" | "STRING_TO_ARRAY" | "STRING_TO_MV"
                | "MV_FILTER_REGEX",
                1,
            ) => functions::check_regex(literal).err(),
            ("IPV4_MATCH" | "IPV6_MATCH", 1) => functions::check_subnet(name, literal).err(),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(QueryError::at(format!("{name}: {wrong}"), position_of_span(span)));
        }
    }
    Ok(())
}

/// Whether the expression is surely a time.
fn is_time(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(name) => name.value == "__time",
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|p| p.value == "__time"),
        Expr::Nested(inner) => is_time(inner),
        Expr::Function(f) => single_name(&f.name).is_some_and(|name| {
            matches!(
                name.to_ascii_uppercase().as_str(),
                "TIME_FLOOR"
                    | "TIME_CEIL"
                    | "TIME_SHIFT"
                    | "TIME_PARSE"
                    | "MILLIS_TO_TIMESTAMP"
                    | "__TO_TIMESTAMP"
                    | "__TO_DATE"
            )
        }),
        _ => false,
    }
}

pub(super) fn single_name(name: &ObjectName) -> Option<&str> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(|i| i.value.as_str()),
        _ => None,
    }
}

/// The arguments, when all are plain expressions.
fn plain_args(f: &Function) -> Option<Vec<Expr>> {
    match &f.args {
        FunctionArguments::List(list) => list
            .args
            .iter()
            .map(|a| match a {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
                _ => None,
            })
            .collect(),
        FunctionArguments::None => Some(Vec::new()),
        FunctionArguments::Subquery(_) => None,
    }
}

fn exactly<const N: usize>(args: &[Expr]) -> Option<[Expr; N]> {
    args.to_vec().try_into().ok()
}

/// A unit written as a bare word or as a text.
fn unit_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.to_ascii_uppercase()),
        other => as_text(other).map(|(t, _)| t.to_ascii_uppercase()),
    }
}

/// Takes the type that RETURNING names.
fn returning(f: &mut Function) -> Option<DataType> {
    let FunctionArguments::List(list) = &mut f.args else { return None };
    let at = list.clauses.iter().position(|c| matches!(c, FunctionArgumentClause::JsonReturningClause(_)))?;
    match list.clauses.remove(at) {
        FunctionArgumentClause::JsonReturningClause(clause) => Some(clause.data_type),
        _ => None,
    }
}

pub(super) fn set_name(f: &mut Function, name: &str) {
    f.name = ObjectName::from(vec![Ident::new(name)]);
}

/// Puts other arguments under another name and keeps FILTER, OVER, DISTINCT and ORDER BY.
pub(super) fn replace(f: &mut Function, name: &str, args: Vec<Expr>) {
    set_name(f, name);
    let FunctionArguments::List(new) = function(name, args).args else { return };
    match &mut f.args {
        FunctionArguments::List(list) => list.args = new.args,
        other => *other = FunctionArguments::List(new),
    }
}

/// Arrow's LIKE always takes a backslash as its escape; in SQL there is none unless ESCAPE names one.
fn like_pattern(
    pattern: Expr,
    escape: Option<datafusion::sql::sqlparser::ast::ValueWithSpan>,
) -> Result<(Expr, Option<datafusion::sql::sqlparser::ast::ValueWithSpan>)> {
    let Some((literal, span)) = as_text(&pattern) else { return Ok((pattern, escape)) };
    let escape = match escape.and_then(|e| e.value.into_string()) {
        None => None,
        Some(e) => match e.chars().collect::<Vec<_>>().as_slice() {
            [one] => Some(*one),
            _ => return Err(QueryError::at("ESCAPE takes one character", position_of_span(span))),
        },
    };
    let mut out = String::with_capacity(literal.len());
    let mut chars = literal.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            let Some(next) = chars.next() else {
                return Err(QueryError::at("the pattern ends in its escape character", position_of_span(span)));
            };
            out.push('\\');
            out.push(next);
        } else {
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
    }
    Ok((Expr::Value(Value::SingleQuotedString(out).with_span(span)), None))
}

/// `((a OR b) OR c) OR d` as `(a OR b) OR (c OR d)`: a long flat chain is a tree as deep as it is long, and evaluation
/// follows it on the thread's stack. Short chains keep their shape.
fn rebalance(expr: &mut Expr) {
    const SPINE_MAX: usize = 32;
    let Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } = expr else { return };
    let op = op.clone();
    let mut length = 0;
    let mut at: &Expr = expr;
    while let Expr::BinaryOp { left, op: o, .. } = at
        && *o == op
    {
        length += 1;
        at = left;
    }
    if length <= SPINE_MAX {
        return;
    }
    let mut operands = Vec::with_capacity(length + 1);
    let mut rest = std::mem::replace(expr, null());
    loop {
        match rest {
            Expr::BinaryOp { left, op: o, right } if o == op => {
                operands.push(*right);
                rest = *left;
            }
            first => {
                operands.push(first);
                break;
            }
        }
    }
    operands.reverse();
    while operands.len() > 1 {
        let mut pairs = Vec::with_capacity(operands.len().div_ceil(2));
        let mut rest = operands.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => binary(left, op.clone(), right),
                None => left,
            });
        }
        operands = pairs;
    }
    *expr = operands.pop().unwrap_or_else(null);
}
