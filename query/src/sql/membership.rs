//! `x IN (SELECT ..)` with three answers.
//!
//! It is TRUE where the value is found; else UNKNOWN where `x` or a value of the subquery is null, and FALSE without any of these or
//! where the subquery gives nothing. DataFusion has that right for `IN` and `NOT IN` that stand alone between the ANDs of a WHERE.
//! Inside OR, NOT, CASE or IS it only knows found and not found. There this pass asks for the rest itself.
//!
//! Where UNKNOWN means the same as FALSE, below ANDs and ORs alone, `IN` stays as it is.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, TableFactor, UnaryOperator, Value,
    VisitMut, VisitorMut, helpers::attached_token::AttachedToken, visit_expressions,
};
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::{QueryError, Result};
use crate::sql::dialect::DruidDialect;
use crate::sql::literals::{binary, nested, null};

/// Most subqueries of one text that are asked more than once: each level of nesting multiplies them.
const COPIES_MAX: usize = 48;

/// Brings the IN of a SELECT's WHERE and HAVING into forms that DataFusion answers right; `copies` counts over all of a text.
///
/// # Errors
/// `Invalid` when a text nests so many that it would become too large.
pub(super) fn settle(select: &mut Select, copies: &mut usize) -> Result<()> {
    let mut pass = Pass { copies, depth: 0 };
    for condition in [&mut select.selection, &mut select.having].into_iter().flatten() {
        pass.holds(condition, true);
    }
    if *copies > COPIES_MAX {
        return Err(QueryError::invalid("the query nests too many IN (SELECT ..) inside NOT, OR and CASE")
            .with_hint(Some("write some of them as joins".to_owned())));
    }
    Ok(())
}

struct Pass<'a> {
    copies: &'a mut usize,
    /// How many queries deep the walk of [`VisitorMut`] is.
    depth: usize,
}

impl Pass<'_> {
    /// A condition of which only TRUE counts; `alone` between ANDs.
    fn holds(&mut self, condition: &mut Expr, alone: bool) {
        if let Expr::UnaryOp { op: UnaryOperator::Not, expr } = condition
            && let Expr::InSubquery { expr, subquery, negated } = bare(expr)
        {
            *condition = Expr::InSubquery { expr: expr.clone(), subquery: subquery.clone(), negated: !negated };
        }
        match condition {
            Expr::Nested(inner) => self.holds(inner, alone),
            Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
                let alone = alone && *op == BinaryOperator::And;
                self.holds(left, alone);
                self.holds(right, alone);
            }
            Expr::InSubquery { negated: false, .. } => {}
            Expr::InSubquery { expr, subquery, negated: true } => {
                if !(alone && names_a_column(expr)) {
                    *condition = self.surely_not_in(expr, subquery);
                }
            }
            other => {
                // All three answers may matter.
                let _ = VisitMut::visit(other, self);
            }
        }
    }

    /// TRUE exactly where NOT IN is.
    fn surely_not_in(&mut self, value: &Expr, subquery: &Query) -> Expr {
        *self.copies += 1;
        let is_in =
            Expr::InSubquery { expr: Box::new(value.clone()), subquery: Box::new(subquery.clone()), negated: false };
        let known = Expr::IsNotNull(Box::new(nested(value.clone())));
        let and = |left, right| binary(left, BinaryOperator::And, right);
        let differs = and(and(known, not(is_in)), not(gives_null(subquery)));
        nested(binary(not(exists(subquery.clone())), BinaryOperator::Or, nested(differs)))
    }

    /// IN or NOT IN with its three answers.
    fn answers(&mut self, value: &Expr, subquery: &Query, negated: bool) -> Expr {
        *self.copies += 1;
        let is_in =
            Expr::InSubquery { expr: Box::new(value.clone()), subquery: Box::new(subquery.clone()), negated: false };
        let when = |condition, result| CaseWhen { condition, result };
        let unknown =
            nested(binary(Expr::IsNull(Box::new(nested(value.clone()))), BinaryOperator::Or, gives_null(subquery)));
        Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![
                when(is_in, boolean(!negated)),
                when(not(exists(subquery.clone())), boolean(negated)),
                when(unknown, null()),
            ],
            else_result: Some(Box::new(boolean(negated))),
        }
    }
}

impl VisitorMut for Pass<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // What a subquery asks itself is settled when the walk over its own SELECT comes there.
        if self.depth == 0
            && let Expr::InSubquery { expr: value, subquery, negated } = expr
        {
            *expr = self.answers(value, subquery, *negated);
        }
        ControlFlow::Continue(())
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => bare(inner),
        other => other,
    }
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(nested(expr)) }
}

fn boolean(value: bool) -> Expr {
    Expr::Value(Value::Boolean(value).with_empty_span())
}

fn exists(subquery: Query) -> Expr {
    Expr::Exists { subquery: Box::new(subquery), negated: false }
}

fn names_a_column(expr: &Expr) -> bool {
    visit_expressions(expr, |expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// Whether a subquery of one column gives a null.
fn gives_null(subquery: &Query) -> Expr {
    let mut probe = subquery.clone();
    if let Some((select, value)) = plain(&mut probe) {
        let is_null = Expr::IsNull(Box::new(nested(value)));
        select.selection = Some(match select.selection.take() {
            Some(condition) => binary(nested(condition), BinaryOperator::And, is_null),
            None => is_null,
        });
        return exists(probe);
    }
    exists(around(subquery))
}

/// A query that is one SELECT of one column and keeps its rows apart, so that its WHERE can ask for more.
fn plain(query: &mut Query) -> Option<(&mut Select, Expr)> {
    let ordinary = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let grouped =
        !matches!(&select.group_by, GroupByExpr::Expressions(keys, more) if keys.is_empty() && more.is_empty());
    if !ordinary || grouped || select.having.is_some() || select.qualify.is_some() {
        return None;
    }
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] = select.projection.as_slice()
    else {
        return None;
    };
    // A function may be an aggregate, and a subquery is no cheaper here.
    let calls = visit_expressions(value, |expr| match expr {
        Expr::Function(_) | Expr::Subquery(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if calls.is_break() {
        return None;
    }
    let value = value.clone();
    Some((select, value))
}

/// Any subquery of one column as a table, and its nulls.
fn around(subquery: &Query) -> Query {
    let outer = "SELECT 1 FROM (SELECT 1) AS \"in$\"(\"value$\") WHERE \"value$\" IS NULL";
    let mut outer = Parser::new(&DruidDialect)
        .try_with_sql(outer)
        .and_then(|mut parser| parser.parse_query())
        .expect("a constant text that parses");
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(TableFactor::Derived { subquery: inner, .. }) =
            select.from.first_mut().map(|from| &mut from.relation)
    {
        **inner = subquery.clone();
    }
    *outer
}
