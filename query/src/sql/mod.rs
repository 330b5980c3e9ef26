//! Druid's SQL on DataFusion's parser and planner.
//!
//! ```text
//! text ─ dialect: tokens, limits, SET, EXPLAIN, parse ─▶ syntax tree
//!      ─ resolve: tables and functions exist          ─▶ errors with places and near names
//!      ─ names, rewrite: Druid's forms                ─▶ syntax tree that DataFusion plans
//! ```
//! Nothing here reads data; [`system`], [`functions`] and [`aggregates`] are what the planned query then finds.

pub(crate) mod aggregates;
mod calls;
pub(crate) mod dialect;
pub(crate) mod functions;
mod literals;
mod membership;
mod multi_value;
pub(crate) mod names;
pub(crate) mod resolve;
mod rewrite;
pub(crate) mod system;
pub(crate) mod wording;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, VisitMut};
use freshet_segment::time::{Timestamp, Zone};

use crate::error::{QueryError, Result};
use crate::request::Parameter;
use crate::sql::names::OutputNames;
use crate::sql::resolve::Scope;

/// A query ready to be planned.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Whether only its plan is asked for.
    pub(crate) explain: bool,
    /// The rewritten query.
    pub(crate) query: Box<Query>,
    /// Names of the answer's columns.
    pub(crate) output: OutputNames,
    /// Tables of the default schema that it reads, sorted.
    pub(crate) tables: Vec<String>,
    /// Where it calls which function.
    pub(crate) calls: resolve::Calls,
}

/// Context keys of the leading `SET` statements, which decide about the zone before the rest is understood.
pub(crate) fn parse(sql: &str) -> Result<dialect::Parsed> {
    dialect::parse(sql)
}

/// The context keys that a text's leading `SET` statements name, with their values as text; the last of each counts. They win
/// over those of the request, so a protocol asks for them before it reads its own.
///
/// # Errors
/// `Invalid` with a position.
pub fn settings(sql: &str) -> Result<Settings> {
    dialect::settings(sql)
}

/// Resolves and rewrites a parsed query.
pub(crate) fn prepare(
    parsed: dialect::Parsed,
    scope: &Scope<'_>,
    zone: &Zone,
    now: Timestamp,
    parameters: &[Parameter],
) -> Result<Prepared> {
    if parsed.parameters != parameters.len() {
        return Err(QueryError::invalid(format!(
            "the query has {} parameters and {} values were given",
            parsed.parameters,
            parameters.len()
        )));
    }
    let mut query = parsed.query;
    calls::unnest_tables(&mut query);
    let tables = scope.check(&query)?;
    let calls = resolve::calls(&query);
    let output = names::name_output(&mut query, parameters);
    let mut rewriter = rewrite::Rewriter { zone, now, parameters, copies: 0 };
    if let ControlFlow::Break(error) = query.visit(&mut rewriter) {
        return Err(error);
    }
    Ok(Prepared { explain: parsed.explain, query, output, tables, calls })
}

/// Settings as plain values.
pub(crate) type Settings = BTreeMap<String, String>;

#[cfg(test)]
mod answers;
#[cfg(test)]
mod tests;
