//! Names of output columns, limits in one form, and the hidden keys that break ties.
//!
//! DataFusion wants each output column to have another name; Druid does not, and calls unnamed expressions `EXPR$n`.
//! Inside a query names are made unique; at the top the names asked for are kept beside the plan's and given back.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, GroupByExpr, Ident, LimitClause, Offset, OffsetRows, OrderByExpr, OrderByKind, OrderByOptions,
    Query, Select, SelectItem, SetExpr, UnaryOperator, Value, visit_expressions,
};

use crate::columns::SqlType;
use crate::error::{QueryError, Result};
use crate::request::Parameter;
use crate::sql::dialect::position_of_span;
use crate::sql::literals::number;

/// What a column of the plan is called in the answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OutputName {
    /// This.
    Given(String),
    /// `EXPR$` and its position in the answer.
    Position,
}

/// Names and literal types of the answer's columns, by the plan's names. What is missing keeps the plan's name.
#[derive(Debug, Default)]
pub(crate) struct OutputNames {
    names: HashMap<String, OutputName>,
    literals: HashMap<String, SqlType>,
}

impl OutputNames {
    /// The answer's name for column `index`, called `plan_name` in the plan.
    pub(crate) fn name(&self, plan_name: &str, index: usize) -> String {
        match self.names.get(plan_name) {
            Some(OutputName::Given(name)) => name.clone(),
            Some(OutputName::Position) => format!("EXPR${index}"),
            None => plan_name.to_owned(),
        }
    }

    /// The SQL type of a bare literal in the SELECT list.
    pub(crate) fn literal(&self, plan_name: &str) -> Option<SqlType> {
        self.literals.get(plan_name).copied()
    }
}

/// Gives the outermost SELECT list unique names and remembers the asked ones.
pub(crate) fn name_output(query: &mut Query, parameters: &[Parameter]) -> OutputNames {
    let mut out = OutputNames::default();
    let shadowing = hide_shadowing(query);
    let Some(select) = first_select(&mut query.body) else { return out };
    let wildcard = has_wildcard(select);
    let mut used = HashSet::new();
    for (index, item) in select.projection.iter_mut().enumerate() {
        let literal = item_expr(item).and_then(|expr| literal_type(expr, parameters));
        let asked = match item {
            SelectItem::UnnamedExpr(expr) => column_name(expr).map(str::to_owned),
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            _ => continue,
        };
        let plan_name = match asked {
            // Beside a wildcard a name may come twice, unseen here.
            Some(name) if wildcard || used.contains(&name) => {
                let hidden =
                    (0..).map(|n| format!("{name}$dup{}", index + n)).find(|h| !used.contains(h)).unwrap_or_default();
                out.names.insert(hidden.clone(), OutputName::Given(name));
                set_alias(item, &hidden);
                hidden
            }
            Some(name) => {
                if let Some(given) = shadowing.get(&name) {
                    out.names.insert(name.clone(), OutputName::Given(given.clone()));
                }
                name
            }
            None => {
                let name = format!("EXPR${index}");
                set_alias(item, &name);
                if wildcard {
                    out.names.insert(name.clone(), OutputName::Position);
                }
                name
            }
        };
        if let Some(literal) = literal {
            out.literals.insert(plan_name.clone(), literal);
        }
        used.insert(plan_name);
    }
    out
}

/// `SELECT UPPER(t.city) AS city FROM t ORDER BY t.city` sorts by the column, and DataFusion cannot tell it from the alias. Such an
/// alias gets another name inside the plan; gives the asked name of each.
fn hide_shadowing(query: &mut Query) -> HashMap<String, String> {
    let mut hidden = HashMap::new();
    let SetExpr::Select(select) = query.body.as_mut() else { return hidden };
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|o| &mut o.kind) else { return hidden };
    if has_wildcard(select) {
        return hidden;
    }
    let mut columns = HashSet::new();
    keys.iter().for_each(|key| qualified_columns(&key.expr, &mut columns));
    // Ties are broken by group keys, which are sort keys too.
    if let GroupByExpr::Expressions(groups, _) = &select.group_by {
        groups.iter().for_each(|group| qualified_columns(group, &mut columns));
    }
    let mut named_in_having = HashSet::new();
    select.having.iter().for_each(|having| bare_names(having, &mut named_in_having));
    for index in 0..select.projection.len() {
        let Some(SelectItem::ExprWithAlias { expr, alias }) = select.projection.get(index) else { continue };
        let name = alias.value.clone();
        if column_name(expr) == Some(&name) || !columns.contains(&name) || named_in_having.contains(&name) {
            continue;
        }
        let inside = format!("{name}$own{index}");
        for key in keys.iter_mut() {
            if matches!(&key.expr, Expr::Identifier(bare) if bare.value == name)
                && let Ok(ordinal) = i64::try_from(index + 1)
            {
                key.expr = number(ordinal);
            }
        }
        if let Some(item) = select.projection.get_mut(index) {
            set_alias(item, &inside);
        }
        hidden.insert(inside, name);
    }
    hidden
}

/// The columns that an expression names together with their table.
fn qualified_columns(expr: &Expr, found: &mut HashSet<String>) {
    let _: ControlFlow<()> = visit_expressions(expr, |expr| {
        if let Expr::CompoundIdentifier(parts) = expr {
            found.extend(parts.last().map(|part| part.value.clone()));
        }
        ControlFlow::Continue(())
    });
}

fn bare_names(expr: &Expr, found: &mut HashSet<String>) {
    let _: ControlFlow<()> = visit_expressions(expr, |expr| {
        if let Expr::Identifier(name) = expr {
            found.insert(name.value.clone());
        }
        ControlFlow::Continue(())
    });
}

/// Names the unnamed items of any SELECT, and numbers those that come twice.
pub(super) fn name_items(select: &mut Select) -> Result<()> {
    if let Some(into) = &select.into {
        return Err(QueryError::invalid(format!("`{into}` is not supported: queries only read")));
    }
    let mut used: HashSet<String> = HashSet::new();
    for (index, item) in select.projection.iter_mut().enumerate() {
        let asked = match item {
            SelectItem::UnnamedExpr(expr) => column_name(expr).map(str::to_owned),
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            _ => continue,
        };
        let name = match asked {
            Some(name) if used.contains(&name) => {
                let other = (0..).map(|n| format!("{name}{n}")).find(|o| !used.contains(o)).unwrap_or_default();
                set_alias(item, &other);
                other
            }
            Some(name) => name,
            None => {
                let name = format!("EXPR${index}");
                set_alias(item, &name);
                name
            }
        };
        used.insert(name);
    }
    Ok(())
}

/// Brings FETCH into LIMIT's form and adds the keys that break ties, at every level.
pub(super) fn shape_query(query: &mut Query) -> Result<()> {
    refuse_clauses(query)?;
    if let Some(fetch) = query.fetch.take() {
        if fetch.with_ties || fetch.percent {
            return Err(QueryError::invalid("FETCH takes a number of rows, without PERCENT or WITH TIES"));
        }
        let limit = Some(fetch.quantity.unwrap_or_else(|| number(1)));
        match &mut query.limit_clause {
            None => query.limit_clause = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: Vec::new() }),
            Some(LimitClause::LimitOffset { limit: old @ None, .. }) => *old = limit,
            Some(_) => return Err(QueryError::invalid("a query has LIMIT or FETCH, not both")),
        }
    }
    if let Some(LimitClause::OffsetCommaLimit { offset, limit }) = &query.limit_clause {
        query.limit_clause = Some(LimitClause::LimitOffset {
            limit: Some(limit.clone()),
            offset: Some(Offset { value: offset.clone(), rows: OffsetRows::None }),
            limit_by: Vec::new(),
        });
    }
    let SetExpr::Select(select) = query.body.as_ref() else { return Ok(()) };
    let Some(order_by) = &mut query.order_by else { return Ok(()) };
    let OrderByKind::Expressions(keys) = &mut order_by.kind else { return Ok(()) };
    // Written out a second time, `SUM(n)` beside `SUM(n) AS n` would be the sum of the sum.
    for key in keys.iter_mut().filter(|_| !has_wildcard(select)) {
        if !matches!(key.expr, Expr::Value(_) | Expr::Identifier(_))
            && let Some(index) = select.projection.iter().position(|item| item_expr(item) == Some(&key.expr))
            && let Ok(ordinal) = i64::try_from(index + 1)
        {
            key.expr = number(ordinal);
        }
    }
    for key in tie_breakers(select, keys) {
        let options = OrderByOptions { asc: None, nulls_first: None };
        keys.push(OrderByExpr { expr: key, options, with_fill: None });
    }
    Ok(())
}

fn refuse_clauses(query: &Query) -> Result<()> {
    let refused = if !query.locks.is_empty() {
        "FOR UPDATE and FOR SHARE"
    } else if query.for_clause.is_some() {
        "FOR XML and FOR JSON"
    } else if !query.pipe_operators.is_empty() {
        "pipe operators"
    } else if query.with.as_ref().is_some_and(|w| w.recursive) {
        "WITH RECURSIVE"
    } else if matches!(
        query.body.as_ref(),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    ) {
        "statements that change rows"
    } else {
        return Ok(());
    };
    let position = query.with.as_ref().and_then(|w| position_of_span(w.with_token.0.span));
    Err(QueryError::at(format!("{refused} are not supported"), position))
}

/// Group keys that the ORDER BY does not mention: equal rows come out in ascending order of these, as Druid's do.
fn tie_breakers(select: &Select, order: &[OrderByExpr]) -> Vec<Expr> {
    let GroupByExpr::Expressions(groups, modifiers) = &select.group_by else { return Vec::new() };
    let sets = groups.iter().any(|g| matches!(g, Expr::GroupingSets(_) | Expr::Rollup(_) | Expr::Cube(_)));
    if !modifiers.is_empty() || sets || select.distinct.is_some() || has_wildcard(select) {
        return Vec::new();
    }
    let ordered: Vec<Key> = order.iter().map(|o| key_of(&o.expr, select)).collect();
    let mut added = Vec::new();
    groups
        .iter()
        .filter_map(|group| {
            let key = key_of(group, select);
            if ordered.contains(&key) || added.contains(&key) {
                return None;
            }
            let expr = match &key {
                Key::Item(index) => number(i64::try_from(*index + 1).ok()?),
                Key::Other(expr) => Expr::clone(expr),
            };
            added.push(key);
            Some(expr)
        })
        .collect()
}

/// What a GROUP BY or ORDER BY key means: an item of the SELECT list, by ordinal, alias or equality, or itself.
#[derive(PartialEq)]
enum Key {
    Item(usize),
    Other(Box<Expr>),
}

fn key_of(expr: &Expr, select: &Select) -> Key {
    if let Expr::Value(value) = expr
        && let Value::Number(n, _) = &value.value
        && let Some(index) = n.parse::<usize>().ok().and_then(|n| n.checked_sub(1))
        && index < select.projection.len()
    {
        return Key::Item(index);
    }
    let found = select.projection.iter().position(|item| {
        let alias = match item {
            SelectItem::ExprWithAlias { alias, .. } => matches!(expr, Expr::Identifier(i) if i.value == alias.value),
            _ => false,
        };
        alias || item_expr(item) == Some(expr)
    });
    found.map_or_else(|| Key::Other(Box::new(expr.clone())), Key::Item)
}

fn first_select(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&mut query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

fn has_wildcard(select: &Select) -> bool {
    select.projection.iter().any(|i| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)))
}

fn item_expr(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

fn column_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.as_str()),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

fn set_alias(item: &mut SelectItem, name: &str) {
    let expr = match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
        _ => return,
    };
    *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
}

fn literal_type(expr: &Expr, parameters: &[Parameter]) -> Option<SqlType> {
    match expr {
        Expr::Nested(inner) => literal_type(inner, parameters),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => {
            literal_type(expr, parameters).filter(|t| matches!(t, SqlType::Integer | SqlType::Decimal))
        }
        Expr::Value(value) => match &value.value {
            Value::Number(n, _) if n.contains(['e', 'E']) => None,
            Value::Number(n, _) if n.contains('.') => Some(SqlType::Decimal),
            Value::Number(n, _) => n.parse::<i32>().ok().map(|_| SqlType::Integer),
            Value::Placeholder(name) => {
                let index = name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)?;
                let sql_type = parameters.get(index)?.sql_type.to_ascii_uppercase();
                matches!(sql_type.as_str(), "INTEGER" | "SMALLINT" | "TINYINT").then_some(SqlType::Integer)
            }
            Value::SingleQuotedString(_) | Value::UnicodeStringLiteral(_) => Some(SqlType::Char),
            Value::Null => Some(SqlType::Null),
            _ => None,
        },
        Expr::Cast { data_type: DataType::Int(_) | DataType::Integer(_), .. } => Some(SqlType::Integer),
        _ => None,
    }
}
