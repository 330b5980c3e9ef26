//! Keeps what is known of the rows before GROUPING SETS, ROLLUP and CUBE from being believed of the rows after them.
//!
//! A grouping set puts nulls where its key is left out. So two keys that were equal in every row (after a join on them) are not equal
//! any more, a key that was a constant takes two values, one that came in order does not, and a group is not known by its keys
//! alone. DataFusion carries all four over and drops sort keys, or gives a group twice. [`ForgetFacts`] stands between, below and
//! above such an aggregation: it hands rows on and tells nothing about them. [`ProjectGroupingKeys`] mends another matter of the same sets.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result as DfResult, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};

/// Puts the keys of grouping sets that are more than columns into a projection below.
///
/// When DataFusion coerces or simplifies such a key it gives the whole set an alias, and then finds its parts no more. So this comes
/// first of all.
#[derive(Debug)]
pub(crate) struct ProjectGroupingKeys;

impl AnalyzerRule for ProjectGroupingKeys {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(project_keys).data()
    }

    fn name(&self) -> &'static str {
        "project_grouping_keys"
    }
}

fn project_keys(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
    let sets = match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(sets)] => sets.clone(),
        _ => return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate))),
    };
    let mut computed: Vec<Expr> = Vec::new();
    for key in sets.distinct_expr() {
        if !matches!(key, Expr::Column(_) | Expr::OuterReferenceColumn(..)) && !computed.contains(key) {
            computed.push(key.clone());
        }
    }
    if computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    // Under the name that the aggregation would give it, so that nothing above notices.
    let column = |key: Expr| {
        if computed.contains(&key) { Expr::Column(Column::new_unqualified(key.schema_name().to_string())) } else { key }
    };
    let columns = |keys: Vec<Expr>| keys.into_iter().map(column).collect::<Vec<_>>();
    let sets = match sets {
        GroupingSet::Rollup(keys) => GroupingSet::Rollup(columns(keys)),
        GroupingSet::Cube(keys) => GroupingSet::Cube(columns(keys)),
        GroupingSet::GroupingSets(sets) => GroupingSet::GroupingSets(sets.into_iter().map(columns).collect()),
    };
    // GROUPING names keys too.
    let marks = |expr: Expr| match expr {
        Expr::AggregateFunction(mut function) if function.func.name() == "grouping" => {
            function.params.args = columns(std::mem::take(&mut function.params.args));
            Transformed::yes(Expr::AggregateFunction(function))
        }
        other => Transformed::no(other),
    };
    let marked = aggregate.aggr_expr.into_iter().map(|expr| expr.transform_up(|expr| Ok(marks(expr))).data());
    let marked = marked.collect::<DfResult<Vec<_>>>()?;
    let kept = aggregate.input.schema().columns().into_iter().map(Expr::Column);
    let keys = computed.iter().map(|key| key.clone().alias(key.schema_name().to_string()));
    let input = LogicalPlanBuilder::from(Arc::unwrap_or_clone(aggregate.input))
        .project(kept.chain(keys).collect::<Vec<_>>())?;
    let aggregate = Aggregate::try_new(Arc::new(input.build()?), vec![Expr::GroupingSet(sets)], marked)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

/// Puts [`ForgetFacts`] around every aggregation with grouping sets. Runs before the rules that use such facts.
#[derive(Debug)]
pub(crate) struct GuardGroupingSets;

impl PhysicalOptimizerRule for GuardGroupingSets {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let input = match node.downcast_ref::<AggregateExec>() {
                Some(aggregate) if aggregate.group_expr().has_grouping_set() => Arc::clone(aggregate.input()),
                _ => return Ok(Transformed::no(node)),
            };
            let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            let guarded = node.replace_children(vec![Arc::new(ForgetFacts::new(input))], anew)?;
            Ok(Transformed::yes(Arc::new(ForgetFacts::new(guarded))))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "guard_grouping_sets"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Rows as they come, of which neither order nor equal columns nor keys are known.
#[derive(Debug)]
struct ForgetFacts {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl ForgetFacts {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ForgetFacts {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForgetFacts")
    }
}

impl ExecutionPlan for ForgetFacts {
    fn name(&self) -> &'static str {
        "ForgetFacts"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input))),
            _ => internal_err!("ForgetFacts has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
