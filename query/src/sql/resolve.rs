//! Says early, with a place and a near name, which tables and functions do not exist; and puts places and hints to
//! what the planner finds out later about columns.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query, Spanned, TableFactor, Visit, Visitor};

use crate::error::{Position, QueryError, Result};
use crate::sql::aggregates;
use crate::sql::dialect::position_of_span;
use crate::sql::system;

/// Most tables, each mention counted, after WITH is written out.
const RELATIONS_MAX: u64 = 128;

/// What names can mean.
pub(crate) struct Scope<'a> {
    /// Tables of the default schema.
    pub(crate) tables: &'a [String],
    /// Whether a function of this lower-case name exists.
    pub(crate) functions: &'a dyn Fn(&str) -> bool,
    /// All function names, for hints.
    pub(crate) function_names: &'a dyn Fn() -> Vec<String>,
}

impl Scope<'_> {
    /// Checks every table and function of a query; gives the default schema's tables it reads.
    ///
    /// # Errors
    /// `Invalid` with the place of the first name that means nothing.
    pub(crate) fn check(&self, query: &Query) -> Result<Vec<String>> {
        let mut names = CommonTables::default();
        let _ = query.visit(&mut names);
        let weight = weigh(query, &HashMap::new());
        if weight > RELATIONS_MAX {
            return Err(QueryError::invalid(format!(
                "the query mentions more than {RELATIONS_MAX} tables once WITH is written out"
            ))
            .with_hint(Some("split it into several queries".to_owned())));
        }
        let mut check = Check { scope: self, common: names.names, found: BTreeSet::new() };
        match query.visit(&mut check) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(check.found.into_iter().collect()),
        }
    }
}

/// Names that WITH defines anywhere. Whether one is visible where it is used is the planner's business.
#[derive(Default)]
struct CommonTables {
    names: HashSet<String>,
}

impl Visitor for CommonTables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.names.extend(with.cte_tables.iter().map(|c| c.alias.name.value.clone()));
        }
        ControlFlow::Continue(())
    }
}

struct Check<'a> {
    scope: &'a Scope<'a>,
    common: HashSet<String>,
    found: BTreeSet<String>,
}

impl Visitor for Check<'_> {
    type Break = QueryError;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<QueryError> {
        let message = match factor {
            TableFactor::Table { name, args: None, .. } => return self.relation(name),
            TableFactor::Table { name, .. } => format!("Table function '{name}' is not supported"),
            TableFactor::TableFunction { expr, .. } => {
                let text = expr.to_string();
                let name = text.split('(').next().unwrap_or_default().to_owned();
                format!("Table function '{name}' is not supported")
            }
            _ => return ControlFlow::Continue(()),
        };
        ControlFlow::Break(QueryError::at(message, position_of_span(factor.span())))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = function.name.to_string();
        let plain = name.trim_matches('"').to_ascii_lowercase();
        if (self.scope.functions)(&plain) && !plain.starts_with("__") {
            return ControlFlow::Continue(());
        }
        let names = (self.scope.function_names)();
        let near = nearest(&name.to_ascii_uppercase(), names.iter().map(String::as_str));
        let message = format!("No match found for function {}", name.to_ascii_uppercase());
        ControlFlow::Break(QueryError::at(message, position_of_span(function.name.span())).with_hint(Some(
            match near {
                Some(near) => format!("did you mean {near}?"),
                None => "INFORMATION_SCHEMA.ROUTINES lists the functions there are".to_owned(),
            },
        )))
    }
}

impl Check<'_> {
    fn relation(&mut self, name: &ObjectName) -> ControlFlow<QueryError> {
        let parts: Vec<&str> = name.0.iter().filter_map(|p| p.as_ident().map(|i| i.value.as_str())).collect();
        let position = position_of_span(name.span());
        let (schema, table) = match parts.as_slice() {
            [table] if self.common.contains(*table) => return ControlFlow::Continue(()),
            [table] => (system::DEFAULT_SCHEMA, *table),
            [schema, table] => (*schema, *table),
            [catalog, schema, table] if *catalog == system::CATALOG => (*schema, *table),
            _ => {
                let error = QueryError::at(format!("Object '{name}' not found"), position);
                return ControlFlow::Break(error.with_hint(Some("tables are named table or schema.table".to_owned())));
            }
        };
        let known: Vec<&str> = match schema {
            system::DEFAULT_SCHEMA => self.scope.tables.iter().map(String::as_str).collect(),
            system::INFORMATION_SCHEMA => system::TABLE_NAMES.to_vec(),
            system::SYS => system::SYS_NAMES.to_vec(),
            "lookup" => Vec::new(),
            _ => {
                let schemas = [system::DEFAULT_SCHEMA, system::INFORMATION_SCHEMA, system::SYS];
                let near = nearest(schema, schemas.into_iter());
                let error = QueryError::at(format!("Object '{schema}' not found"), position);
                return ControlFlow::Break(error.with_hint(near.map(|n| format!("did you mean {n}?"))));
            }
        };
        if known.contains(&table) {
            if schema == system::DEFAULT_SCHEMA {
                self.found.insert(table.to_owned());
            }
            return ControlFlow::Continue(());
        }
        let within = if schema == system::DEFAULT_SCHEMA { String::new() } else { format!(" within '{schema}'") };
        let hint = match nearest(table, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if known.is_empty() => "there is no table yet: push rows or start a supervisor".to_owned(),
            None => format!("tables there are: {}", known.iter().take(5).copied().collect::<Vec<_>>().join(", ")),
        };
        ControlFlow::Break(
            QueryError::at(format!("Object '{table}' not found{within}"), position).with_hint(Some(hint)),
        )
    }
}

/// How many tables a query mentions once each WITH is written out where it is used: WITH can double at each step.
fn weigh(query: &Query, outer: &HashMap<String, u64>) -> u64 {
    let mut known = outer.clone();
    if let Some(with) = &query.with {
        for table in &with.cte_tables {
            let weight = weigh(&table.query, &known);
            known.insert(table.alias.name.value.clone(), weight.max(1));
        }
    }
    let mut sum = Weight { known: &known, sum: 0, depth: 0 };
    let _ = query.body.visit(&mut sum);
    let _ = query.order_by.visit(&mut sum);
    sum.sum
}

struct Weight<'a> {
    known: &'a HashMap<String, u64>,
    sum: u64,
    depth: usize,
}

impl Visitor for Weight<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        // A nested query with its own WITH is weighed by itself; its tables are then not counted again.
        if self.depth == 0 && query.with.is_some() {
            self.sum = self.sum.saturating_add(weigh(query, self.known));
        }
        self.depth += usize::from(query.with.is_some());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.depth -= usize::from(query.with.is_some());
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        if self.depth == 0 {
            let weight = super::rewrite::single_name(name).and_then(|n| self.known.get(n)).copied().unwrap_or(1);
            self.sum = self.sum.saturating_add(weight);
        }
        ControlFlow::Continue(())
    }
}

/// Turns a planner's failure into one with a place and a hint, where it tells enough.
pub(crate) fn planning_error(error: DataFusionError) -> QueryError {
    let diagnosed = error.diagnostic().and_then(|d| d.span).map(|s| Position {
        line: s.start.line,
        column: s.start.column,
        end_line: s.end.line,
        end_column: s.end.column.saturating_sub(1).max(1),
    });
    match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => match schema_error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                return unknown_column(field, valid_fields, diagnosed);
            }
            SchemaError::AmbiguousReference { field } => {
                let position = place_of(field).or(diagnosed);
                let hint = match field.name.as_str() {
                    "__time" => TIME_HINT,
                    _ => "write the table's name or alias in front of it",
                };
                return QueryError::at(format!("Column '{}' is ambiguous", field.name), position)
                    .with_hint(Some(hint.to_owned()));
            }
            _ => {}
        },
        DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) => {
            return QueryError::at(readable(text), diagnosed);
        }
        _ => {}
    }
    QueryError::from_datafusion(error)
}

fn place_of(column: &Column) -> Option<Position> {
    column.spans.first().map(|s| Position {
        line: s.start.line,
        column: s.start.column,
        end_line: s.end.line,
        end_column: s.end.column.saturating_sub(1).max(1),
    })
}

fn unknown_column(field: &Column, valid: &[Column], diagnosed: Option<Position>) -> QueryError {
    let near = nearest(&field.name, valid.iter().map(|c| c.name.as_str()));
    let hint = match near {
        _ if field.name == "__time" => Some(TIME_HINT.to_owned()),
        Some(near) => Some(format!("did you mean \"{near}\"?")),
        None if valid.is_empty() => None,
        None => {
            let mut names: Vec<_> = valid.iter().map(|c| c.name.as_str()).collect();
            names.dedup();
            let more = if names.len() > 8 { ", .." } else { "" };
            Some(format!("columns there are: {}{more}", names.into_iter().take(8).collect::<Vec<_>>().join(", ")))
        }
    };
    let place = match &field.relation {
        Some(relation) => format!("table '{}'", relation.table()),
        None => "any table".to_owned(),
    };
    QueryError::at(format!("Column '{}' not found in {place}", field.name), place_of(field).or(diagnosed))
        .with_hint(hint)
}

/// The time column is named by people and by EARLIEST and LATEST.
const TIME_HINT: &str = "write the table in front of it; where there is none, EARLIEST_BY(x, time) and LATEST_BY(x, time) \
                         take another time than __time";

/// The planner's words without its own advice, which speaks of another product's settings, and without its names of types.
fn readable(text: &str) -> String {
    if let Some(column) = ungrouped(text) {
        return format!("Expression '{column}' is not being grouped");
    }
    let line = text.lines().next().unwrap_or_default();
    let line = match line.split_once("user-defined coercion failed with: ") {
        Some((_, own)) => own.split_once(". No function matches").map_or(own, |(own, _)| own),
        None => line,
    };
    let line = ["Error during planning: ", "Execution error: "].iter().fold(line, |line, p| line.trim_start_matches(p));
    let refused = line.split_once("Function '").and_then(|(_, rest)| Some((rest.split_once('\'')?.0, rest)));
    if let Some((name, rest)) = refused
        && rest.contains(", but received String (")
    {
        return format!("{} takes numbers and was given a VARCHAR", name.to_ascii_uppercase());
    }
    if line.starts_with("Aggregate can not be used as a sliding accumulator") {
        let name = line.rsplit(": ").next().and_then(|call| call.split('(').next()).unwrap_or_default();
        let name = aggregates::with_shown_names(name).to_ascii_uppercase();
        return format!(
            "{name} works over a window that begins with UNBOUNDED PRECEDING, and not over one that slides"
        );
    }
    aggregates::with_shown_names(line).replace("DataFusion", "Freshet")
}

/// The column that the planner misses in GROUP BY.
fn ungrouped(text: &str) -> Option<&str> {
    let clauses = ["SELECT", "HAVING", "ORDER BY"];
    let rest = clauses.iter().find_map(|clause| {
        text.strip_prefix("Column in ")?.strip_prefix(clause)?.strip_prefix(" must be in GROUP BY")
    })?;
    let column = rest.split("column \"").nth(1)?.split('"').next()?;
    column.rsplit('.').next()
}

/// The candidate closest to `wanted`, if one is close.
pub(crate) fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wanted.to_lowercase();
    candidates
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, c)| *distance <= (wanted.chars().count().max(c.chars().count()) / 3).max(1))
        .map(|(_, c)| c)
}
