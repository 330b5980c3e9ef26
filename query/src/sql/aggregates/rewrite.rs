//! What the dialect writes in the place of Druid's aggregate calls.
//!
//! DISTINCT and ORDER BY of the lists become plain arguments, EARLIEST and LATEST get their time column, and names that
//! DataFusion uses for other things get two underscores.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArgumentClause, FunctionArguments, Ident, OrderByExpr, Spanned,
    visit_expressions,
};

use super::DEFINITIONS;
use super::lists::SIZE;
use crate::error::{QueryError, Result};
use crate::sql::dialect::position_of_span;
use crate::sql::literals::{as_text, call, number, text};
use crate::sql::rewrite::{replace, set_name};

/// Rewrites a call of an aggregate of ours, given its upper-case name and plain arguments; says whether it was one.
pub(crate) fn rewrite(f: &mut Function, name: &str, args: Vec<Expr>, zone: &Expr) -> Result<bool> {
    match name {
        "APPROX_COUNT_DISTINCT"
        | "APPROX_COUNT_DISTINCT_BUILTIN"
        | "APPROX_COUNT_DISTINCT_DS_HLL"
        | "APPROX_COUNT_DISTINCT_DS_THETA"
        | "DS_HLL"
        | "DS_THETA" => {
            // A value counts once in any case.
            take_distinct(f);
            let most = if name.ends_with("_HLL") { 3 } else { 2 };
            let most = if matches!(name, "APPROX_COUNT_DISTINCT" | "APPROX_COUNT_DISTINCT_BUILTIN") { 1 } else { most };
            check_count(f, name, args.len(), 1, most)?;
        }
        "EARLIEST" | "LATEST" => {
            take_distinct(f);
            check_count(f, name, args.len(), 1, 2)?;
            let time = time_beside(&args[0], f);
            let mut args = args;
            args.insert(1, time);
            replace(f, &format!("__{name}"), args);
        }
        "EARLIEST_BY" | "LATEST_BY" => {
            take_distinct(f);
            check_count(f, name, args.len(), 2, 3)?;
            replace(f, &format!("__{}", name.trim_end_matches("_BY")), args);
        }
        "ANY_VALUE" => {
            take_distinct(f);
            check_count(f, name, args.len(), 1, 3)?;
            set_name(f, "__ANY_VALUE");
        }
        "STDDEV" | "STDDEV_SAMP" | "STDDEV_POP" | "VARIANCE" | "VAR_SAMP" | "VAR_POP" => {
            refuse_distinct(f, name)?;
            check_count(f, name, args.len(), 1, 1)?;
            set_name(
                f,
                match name {
                    "STDDEV" | "STDDEV_SAMP" => "__STDDEV_SAMP",
                    "STDDEV_POP" => "__STDDEV_POP",
                    "VAR_POP" => "__VAR_POP",
                    _ => "__VAR_SAMP",
                },
            );
        }
        "APPROX_QUANTILE" | "APPROX_QUANTILE_DS" | "TDIGEST_QUANTILE" => {
            refuse_distinct(f, name)?;
            check_count(f, name, args.len(), 2, 3)?;
        }
        "DS_QUANTILES_SKETCH" | "TDIGEST_GENERATE_SKETCH" => {
            refuse_distinct(f, name)?;
            check_count(f, name, args.len(), 1, 2)?;
        }
        "APPROX_QUANTILE_FIXED_BUCKETS" => {
            refuse_distinct(f, name)?;
            check_count(f, name, args.len(), 5, 6)?;
        }
        "BIT_AND" | "BIT_OR" | "BIT_XOR" => {
            check_count(f, name, args.len(), 1, 1)?;
            return Ok(false);
        }
        "ARRAY_AGG" | "ARRAY_CONCAT_AGG" => {
            check_count(f, name, args.len(), 1, 2)?;
            let mut args = args.into_iter();
            let (Some(value), size) = (args.next(), args.next()) else { return Ok(false) };
            listing(f, name, value, size, text(""))?;
        }
        "STRING_AGG" | "LISTAGG" => {
            check_count(f, name, args.len(), 1, 3)?;
            let mut args = args.into_iter();
            let (Some(value), separator, size) = (args.next(), args.next(), args.next()) else { return Ok(false) };
            let separator = separator.unwrap_or_else(|| text(","));
            if as_text(&separator).is_none() {
                let at = position_of_span(separator.span());
                return Err(QueryError::at(format!("the separator of {name} must be a literal text"), at));
            }
            listing(f, "STRING_AGG", value, size, separator)?;
            to_text(f, zone);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Whether this is an aggregate of ours, which takes neither `*` nor named arguments.
pub(crate) fn takes_plain(name: &str) -> bool {
    let plain = DEFINITIONS.iter().any(|d| d.shown == name);
    plain || matches!(name, "EARLIEST_BY" | "LATEST_BY" | "LISTAGG" | "STDDEV" | "VARIANCE")
}

fn check_count(f: &Function, name: &str, count: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    let takes = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let at = position_of_span(f.name.span());
    Err(QueryError::at(format!("wrong arguments for {name}"), at)
        .with_hint(Some(format!("it takes {takes} and was given {count}"))))
}

fn take_distinct(f: &mut Function) -> bool {
    match &mut f.args {
        FunctionArguments::List(list) => list.duplicate_treatment.take() == Some(DuplicateTreatment::Distinct),
        _ => false,
    }
}

fn refuse_distinct(f: &mut Function, name: &str) -> Result<()> {
    if !take_distinct(f) {
        return Ok(());
    }
    let at = position_of_span(f.name.span());
    Err(QueryError::at(format!("{name} takes no DISTINCT"), at)
        .with_hint(Some("group by the column in a subquery first".to_owned())))
}

/// `__time` of the table that the value comes from.
fn time_beside(value: &Expr, f: &Function) -> Expr {
    let time = Ident { value: "__time".to_owned(), quote_style: None, span: f.name.span() };
    let named = visit_expressions(value, |part| match part {
        Expr::CompoundIdentifier(parts) => ControlFlow::Break(parts.clone()),
        _ => ControlFlow::Continue(()),
    });
    match named {
        ControlFlow::Break(mut parts) => {
            parts.pop();
            parts.push(time);
            Expr::CompoundIdentifier(parts)
        }
        ControlFlow::Continue(()) => Expr::Identifier(time),
    }
}

/// Writes `__NAME(value, size, options, separator, key, ..)`.
fn listing(f: &mut Function, name: &str, value: Expr, size: Option<Expr>, separator: Expr) -> Result<()> {
    let distinct = take_distinct(f);
    let order = take_order(f);
    let mut options = String::from(if distinct { "d" } else { "-" });
    let mut keys = Vec::new();
    for OrderByExpr { expr, options: asked, .. } in order {
        let ascending = asked.asc != Some(false);
        options.push(if ascending { 'a' } else { 'd' });
        options.push(if asked.nulls_first.unwrap_or(ascending) { 'f' } else { 'l' });
        if !distinct {
            keys.push(expr);
        } else if expr != value || options.len() > 3 {
            let at = position_of_span(expr.span());
            return Err(QueryError::at(format!("with DISTINCT {name} is ordered by its value alone"), at));
        }
    }
    let size = size.unwrap_or_else(|| number(SIZE));
    replace(f, &format!("__{name}"), [vec![value, size, text(options), separator], keys].concat());
    Ok(())
}

/// The keys of `ORDER BY` between the brackets, or of `WITHIN GROUP`.
fn take_order(f: &mut Function) -> Vec<OrderByExpr> {
    let mut order = std::mem::take(&mut f.within_group);
    if let FunctionArguments::List(list) = &mut f.args {
        list.clauses.retain_mut(|clause| match clause {
            FunctionArgumentClause::OrderBy(keys) => {
                order.append(keys);
                false
            }
            _ => true,
        });
    }
    order
}

/// The first argument as a text.
fn to_text(f: &mut Function, zone: &Expr) {
    use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr};
    let FunctionArguments::List(list) = &mut f.args else { return };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(value))) = list.args.first_mut() {
        *value = call("__TO_VARCHAR", vec![value.clone(), zone.clone()]);
    }
}
