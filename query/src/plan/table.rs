//! A table as DataFusion sees it: the schema of one reading, filters that segments answer exactly, and a scan that
//! becomes a [`Fragment`].

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use freshet_segment::id::SegmentId;
use freshet_segment::predicate::Predicate;
use freshet_segment::timeline::TableView;

use crate::context::{LeftOut, QueryContext};
use crate::fragment::{Fragment, FragmentExec};
use crate::plan::prune::Pruned;
use crate::plan::{prune, pushdown};
use crate::request::Missing;

/// One table of one query.
#[derive(Debug)]
pub(crate) struct FreshetTable {
    view: Arc<TableView>,
    pushdown: bool,
}

impl FreshetTable {
    /// The table as `view` shows it.
    pub(crate) fn new(view: Arc<TableView>, pushdown: bool) -> Self {
        Self { view, pushdown }
    }
}

#[async_trait]
impl TableProvider for FreshetTable {
    fn schema(&self) -> SchemaRef {
        self.view.schema.arrow_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                if self.pushdown && pushdown::translate(filter, &self.view.schema).is_some() {
                    TableProviderFilterPushDown::Exact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let schema = &self.view.schema;
        let mut predicate = Predicate::True;
        for filter in filters {
            // Only filters that translate were accepted above.
            let Some(part) = pushdown::translate(filter, schema) else {
                return datafusion::common::internal_err!("filter `{filter}` was taken and has no predicate");
            };
            predicate = predicate.and(part);
        }
        let all = schema.columns();
        let columns = match projection {
            Some(indexes) => indexes.iter().filter_map(|i| all.get(*i)).cloned().collect(),
            None => all.to_vec(),
        };
        let mut pruned = prune::prune(&self.view, &predicate);
        let query = state.config().get_extension::<QueryContext>();
        let whole = match query.as_ref().and_then(|query| query.partial()) {
            Some(left_out) => leave_out(&self.view, &mut pruned, &predicate, left_out),
            None => true,
        };
        let partitions = state.config().target_partitions().min(pruned.units).max(1);
        let fragment = Fragment {
            table: self.view.name.clone(),
            table_id: self.view.table_id,
            commit_seq: self.view.commit_seq,
            segments: pruned.segments,
            columns,
            predicate,
            limit,
        };
        Ok(Arc::new(FragmentExec::new(fragment, &self.view, whole, partitions)))
    }
}

/// Takes out the segments that cannot be read, where a partial answer will do; says whether none had to go. It opens files,
/// which blocks: planning has a thread of its own.
fn leave_out(view: &TableView, pruned: &mut Pruned, predicate: &Predicate, left_out: &LeftOut) -> bool {
    let bounds = predicate.time_bounds();
    let wanted: HashSet<&SegmentId> = pruned.segments.iter().collect();
    let gone: HashSet<SegmentId> = view
        .segments()
        .filter(|entry| wanted.contains(&entry.id) && entry.segment.is_sealed())
        .filter(|entry| left_out.has_segment(&entry.id) || entry.segment.units(bounds).is_err())
        .map(|entry| entry.id.clone())
        .collect();
    for id in &gone {
        left_out.add(Missing::Segment(id.clone()));
    }
    pruned.segments.retain(|id| !gone.contains(id));
    gone.is_empty()
}
