//! DataFusion's last check of a plan, without its false alarms.
//!
//! The check asks whether the input of a merge of sorted streams is sorted as the merge needs it. It derives that from what is known
//! of the sort keys, and that derivation fails for `-(a / b)`, `ABS(a % b)` and their like, even where the input says of itself that
//! it is sorted by exactly these keys. That word is taken here.

use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::check_plan_sanity;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// The name of the rule that this one stands for.
pub(crate) const STANDS_FOR: &str = "SanityCheckPlan";

/// Checks that every node gets its input in the order and distribution it needs.
#[derive(Debug)]
pub(crate) struct CheckOrders;

impl PhysicalOptimizerRule for CheckOrders {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.apply(|node| {
            check_plan_sanity(node, &config.optimizer)
                .or_else(|alarm| if merges_what_is_sorted(node.as_ref()) { Ok(()) } else { Err(alarm) })?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        STANDS_FOR
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether a node is a merge whose input names the merge's keys, or more, as its own order.
fn merges_what_is_sorted(node: &dyn ExecutionPlan) -> bool {
    let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() else { return false };
    let known = merge.input().equivalence_properties();
    // What is the same in every row needs no sorting.
    let wanted: Vec<_> = merge.expr().iter().filter(|key| known.is_expr_constant(&key.expr).is_none()).collect();
    known.oeq_class().iter().any(|order| {
        let order: Vec<_> = order.iter().filter(|key| known.is_expr_constant(&key.expr).is_none()).collect();
        order.starts_with(&wanted)
    })
}
