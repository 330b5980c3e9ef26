//! Says early, with a place and a near name, which tables and functions do not exist; and puts places and hints to
//! what the planner finds out later about columns.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArguments, JoinConstraint, JoinOperator, ObjectName, Query, Select, Spanned, TableFactor,
    Visit, Visitor,
};

use crate::error::{Position, QueryError, Result};
use crate::sql::dialect::position_of_span;
use crate::sql::system;
use crate::sql::wording;

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

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        match check_from(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = function.name.to_string();
        let plain = name.trim_matches('"').to_ascii_lowercase();
        if (self.scope.functions)(&plain) {
            return ControlFlow::Continue(());
        }
        if plain == "lookup" {
            return ControlFlow::Break(no_lookup(function));
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

/// There is no lookup yet, and so none of this name.
fn no_lookup(function: &Function) -> QueryError {
    let args = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    let name = args.get(1).map_or_else(|| "?".to_owned(), |a| a.to_string().trim_matches('\'').to_owned());
    QueryError::at(format!("Lookup [{name}] not found"), position_of_span(function.name.span()))
        .with_hint(Some("there are no lookups: join a table that holds the values, or write CASE".to_owned()))
}

/// Refuses NATURAL joins, and a table that stands twice in one FROM without names to tell them apart.
fn check_from(select: &Select) -> Result<()> {
    let mut seen = HashSet::new();
    for table in &select.from {
        for join in &table.joins {
            if let Some(JoinConstraint::Natural) = constraint(&join.join_operator) {
                return Err(QueryError::at("NATURAL JOIN is not supported", position_of_span(join.relation.span()))
                    .with_hint(Some(
                        "name the columns: JOIN .. USING (column), or JOIN .. ON a.column = b.column".to_owned(),
                    )));
            }
        }
        for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|j| &j.relation)) {
            let TableFactor::Table { name, alias, args: None, .. } = factor else { continue };
            let called = alias.as_ref().map_or_else(
                || name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.clone()),
                |a| Some(a.name.value.clone()),
            );
            if let Some(called) = called
                && !seen.insert(called.clone())
            {
                return Err(QueryError::at(
                    format!("two tables in FROM are called '{called}'"),
                    position_of_span(factor.span()),
                )
                .with_hint(Some(format!("give one of them another name: {name} AS other"))));
            }
        }
    }
    Ok(())
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::FullOuter(c)
        | JoinOperator::CrossJoin(c) => Some(c),
        _ => None,
    }
}

/// Where a query calls which function, in the order of the text.
#[derive(Debug, Default)]
pub(crate) struct Calls(Vec<(String, Position)>);

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some(position) = position_of_span(function.name.span())
        {
            self.0.push((function.name.to_string().to_ascii_uppercase(), position));
        }
        ControlFlow::Continue(())
    }
}

/// The calls of a query as it was written.
pub(crate) fn calls(query: &Query) -> Calls {
    let mut calls = Calls::default();
    let _ = query.visit(&mut calls);
    calls
}

impl Calls {
    /// The place of the one call that a message can mean.
    fn place(&self, message: &str) -> Option<Position> {
        let upper = message.to_ascii_uppercase();
        let words: HashSet<&str> = upper.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
        let mut meant = self.0.iter().filter(|(name, _)| words.contains(name.as_str()));
        let (_, position) = meant.next()?;
        meant.next().is_none().then_some(*position)
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
pub(crate) fn planning_error(error: DataFusionError, calls: &Calls) -> QueryError {
    let diagnosed = error.diagnostic().and_then(|d| d.span).map(|s| Position {
        line: s.start.line,
        column: s.start.column,
        end_line: s.end.line,
        end_column: s.end.column.saturating_sub(1).max(1),
    });
    if let DataFusionError::SchemaError(schema_error, _) = error.find_root() {
        match schema_error.as_ref() {
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
        }
    }
    let error = QueryError::from_datafusion(error);
    // What has its place or its hint is one of ours that passed through; what happens at run time is worded already.
    let QueryError::Invalid { message, position: None, hint: None } = &error else { return error };
    let place = diagnosed.or_else(|| calls.place(message));
    let wording = wording::of(message);
    // Where a function of ours stands for another, only its own name is in the query.
    let place = place.or_else(|| calls.place(&wording.message));
    QueryError::at(wording.message, place).with_hint(wording.hint)
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

/// The candidate closest to `wanted`, if one is close.
pub(crate) fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wanted.to_lowercase();
    candidates
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, c)| *distance <= (wanted.chars().count().max(c.chars().count()) / 3).max(1))
        .map(|(_, c)| c)
}
