//! Makes joins stop when they are told to.
//!
//! A join can turn few rows into very many, or work through very many and give none. The first kind gets a node above
//! that lets other tasks of the thread run; the second, the nested-loop join, never leaves its loop, so its condition
//! itself looks at the query's deadline and cancellation each time it is evaluated.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};

use crate::context::QueryContext;

/// The plan with every join interruptible by `query`.
pub(crate) fn make_interruptible(
    plan: Arc<dyn ExecutionPlan>,
    query: &Arc<QueryContext>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let filter = join.filter().map(|filter| {
                let condition = Interruptible { inner: Arc::clone(filter.expression()), query: Arc::clone(query) };
                JoinFilter::new(Arc::new(condition), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
            });
            let guarded = NestedLoopJoinExec::try_new(
                Arc::clone(join.left()),
                Arc::clone(join.right()),
                filter,
                join.join_type(),
                join.projection().as_ref().map(|p| p.to_vec()),
            )?;
            return Ok(Transformed::yes(yielding(Arc::new(guarded))));
        }
        if node.is::<CrossJoinExec>() || node.is::<HashJoinExec>() || node.is::<SortMergeJoinExec>() {
            return Ok(Transformed::yes(yielding(node)));
        }
        Ok(Transformed::no(node))
    })
    .data()
}

fn yielding(node: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(CooperativeExec::new(node))
}

/// A condition that fails when its query shall end.
#[derive(Debug)]
struct Interruptible {
    inner: Arc<dyn PhysicalExpr>,
    query: Arc<QueryContext>,
}

impl PartialEq for Interruptible {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner) && Arc::ptr_eq(&self.query, &other.query)
    }
}

impl Eq for Interruptible {}

impl Hash for Interruptible {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Interruptible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Interruptible {
    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        self.query.check().map_err(crate::error::QueryError::into_datafusion)?;
        self.inner.evaluate(batch)
    }

    fn return_field(&self, input_schema: &Schema) -> DfResult<FieldRef> {
        self.inner.return_field(input_schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> DfResult<Arc<dyn PhysicalExpr>> {
        let Some(inner) = children.pop() else { return Ok(self) };
        Ok(Arc::new(Self { inner, query: Arc::clone(&self.query) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
