//! Comparisons of texts with numbers and times: a text that is none compares as null, and ends no query.
//!
//! The planner brings both sides to one type with a cast that fails on the first odd row. Written casts are lenient already.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, TryCast};
use datafusion::optimizer::AnalyzerRule;

/// Makes the casts that the planner added around texts lenient; runs after it added them.
#[derive(Debug)]
pub(crate) struct LenientComparisons;

impl AnalyzerRule for LenientComparisons {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| {
            let schema = merge_schema(&node.inputs());
            node.map_expressions(|expr| expr.transform_up(|e| Ok(lenient(e, &schema))))
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        "lenient_comparisons"
    }
}

fn lenient(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let mut changed = false;
    let mut side = |expr: Box<Expr>| {
        let (expr, did) = try_cast(*expr, schema);
        changed |= did;
        Box::new(expr)
    };
    let expr = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            Expr::BinaryExpr(BinaryExpr { left: side(left), op, right: side(right) })
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            Expr::Between(Between { expr: side(expr), negated, low: side(low), high: side(high) })
        }
        Expr::InList(mut list) => {
            list.expr = side(list.expr);
            list.list = list.list.into_iter().map(|e| *side(Box::new(e))).collect();
            Expr::InList(list)
        }
        other => other,
    };
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

fn try_cast(expr: Expr, schema: &DFSchema) -> (Expr, bool) {
    match expr {
        Expr::Cast(cast) if is_text(&cast.expr, schema) && !is_text_type(cast.field.data_type()) => {
            (Expr::TryCast(TryCast::new_from_field(cast.expr, cast.field)), true)
        }
        other => (other, false),
    }
}

fn is_text(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|t| is_text_type(&t))
}

fn is_text_type(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}
