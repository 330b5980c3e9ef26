//! `FROM t CROSS JOIN UNNEST(list of t) AS u(x)`: each row of `t` beside each element of its own list.
//!
//! The planner makes it a join with a subquery that refers to the left side, which nothing below can run. Here it becomes what it
//! is: the left side with one more column, unnested. A row whose list is null or empty gives no row, with LEFT JOIN one with null.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, NullHandling, Result as DfResult, ScalarValue, UnnestOptions, plan_err};
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder};

/// Rewrites all such joins of a plan.
pub(crate) fn flatten(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut changed = false;
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => match list_of(&join)? {
            Some(list) => {
                changed = true;
                beside(&join, list).map(Transformed::yes)
            }
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        node => Ok(Transformed::no(node)),
    })?;
    if !changed {
        return Ok(plan.data);
    }
    // What stands above was planned on the join's schema.
    let plan = plan.data.transform_up_with_subqueries(|node| node.recompute_schema().map(Transformed::yes))?;
    Ok(plan.data)
}

/// The list that the right side of a join unnests, in terms of the left side; nothing for any other join.
fn list_of(join: &Join) -> DfResult<Option<Expr>> {
    let right = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
        other => other,
    };
    let LogicalPlan::Subquery(subquery) = right else { return Ok(None) };
    let (mut node, mut unnests) = (subquery.subquery.as_ref(), false);
    let list = loop {
        match node {
            LogicalPlan::Projection(projection) => match (projection.input.as_ref(), projection.expr.as_slice()) {
                (LogicalPlan::EmptyRelation(_), [list]) => break list.clone().unalias(),
                (LogicalPlan::EmptyRelation(_), _) => {
                    return plan_err!("UNNEST of columns of another table takes one array");
                }
                (input, _) => node = input,
            },
            LogicalPlan::Unnest(unnest) => {
                unnests = true;
                node = unnest.input.as_ref();
            }
            LogicalPlan::SubqueryAlias(alias) => node = alias.input.as_ref(),
            _ => return Ok(None),
        }
    };
    if !unnests {
        return Ok(None);
    }
    let schema = join.left.schema();
    let list = list.transform(|expr| {
        Ok(match expr {
            Expr::OuterReferenceColumn(_, column) if schema.has_column(&column) => {
                Transformed::yes(Expr::Column(column))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(Some(list.data))
}

fn beside(join: &Join, list: Expr) -> DfResult<LogicalPlan> {
    let null_handling = match join.join_type {
        JoinType::Inner => NullHandling::Drop,
        JoinType::Left => NullHandling::PreserveAndExpandEmpty,
        _ => return plan_err!("UNNEST of columns of another table takes CROSS JOIN or LEFT JOIN"),
    };
    let condition = join.filter.clone().filter(|f| !matches!(f, Expr::Literal(ScalarValue::Boolean(Some(true)), _)));
    if join.join_type == JoinType::Left && (condition.is_some() || !join.on.is_empty()) {
        return plan_err!("LEFT JOIN UNNEST takes ON TRUE and no other condition");
    }
    let left = join.left.schema();
    let (qualifier, field) = join.right.schema().qualified_field(0);
    let name = (0..).map(|n| format!("__unnest{n}")).find(|n| left.fields_with_unqualified_name(n).is_empty());
    let name = name.unwrap_or_default();
    let columns: Vec<Expr> = left.columns().into_iter().map(Expr::Column).collect();
    let options = UnnestOptions { null_handling, recursions: Vec::new() };
    let element = Expr::Column(Column::from_name(&name)).alias_qualified(qualifier.cloned(), field.name());
    let mut plan = LogicalPlanBuilder::new_from_arc(Arc::clone(&join.left))
        .project(columns.iter().cloned().chain([list.alias(&name)]))?
        .unnest_column_with_options(Column::from_name(&name), options)?
        .project(columns.into_iter().chain([element]))?;
    for (a, b) in join.on.clone() {
        plan = plan.filter(a.eq(b))?;
    }
    if let Some(condition) = condition {
        plan = plan.filter(condition)?;
    }
    plan.build()
}
