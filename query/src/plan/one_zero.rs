//! Keeps the negative zero out of answers.
//!
//! Arrow orders doubles by their bits: -0.0 is smaller than 0.0, another group, and not equal to it. SQL knows one zero, so
//! `ROUND(x) = 0` would miss -0.3, and `SAFE_DIVIDE(y, -x)` divide by what is not NULL. What can make a -0.0 of other numbers is
//! therefore followed by `+ 0.0`, which changes nothing else.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

/// Rewrites a plan whose types are settled.
#[derive(Debug)]
pub(crate) struct OneZero;

impl AnalyzerRule for OneZero {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let rewritten = expr.transform_up(|expr| Ok(without_negative_zero(expr, &schema)))?;
                Ok(rewritten.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "one_zero"
    }
}

fn without_negative_zero(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match &expr {
        Expr::Literal(ScalarValue::Float64(Some(zero)), _) if *zero == 0.0 => {
            return Transformed::yes(Expr::Literal(ScalarValue::Float64(Some(0.0)), None));
        }
        Expr::Literal(ScalarValue::Float32(Some(zero)), _) if *zero == 0.0 => {
            return Transformed::yes(Expr::Literal(ScalarValue::Float32(Some(0.0)), None));
        }
        _ => {}
    }
    if !may_make_one(&expr) {
        return Transformed::no(expr);
    }
    let zero = match expr.get_type(schema) {
        Ok(data_type) if data_type.is_floating() => match ScalarValue::new_zero(&data_type) {
            Ok(zero) => Expr::Literal(zero, None),
            Err(_) => return Transformed::no(expr),
        },
        _ => return Transformed::no(expr),
    };
    Transformed::yes(match expr {
        Expr::Negative(inner) => zero - *inner,
        other => other + zero,
    })
}

/// Whether numbers other than -0.0 may give it. A sum does not: 0.0 + -0.0 is 0.0.
fn may_make_one(expr: &Expr) -> bool {
    match expr {
        Expr::Negative(_) => true,
        Expr::BinaryExpr(BinaryExpr { op, .. }) => {
            matches!(op, Operator::Multiply | Operator::Divide | Operator::Modulo)
        }
        Expr::ScalarFunction(ScalarFunction { func, .. }) => matches!(func.name(), "round" | "ceil" | "trunc"),
        _ => false,
    }
}
