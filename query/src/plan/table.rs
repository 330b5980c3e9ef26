//! A table as DataFusion sees it: the schema of one reading, filters that segments answer exactly, and a scan that
//! becomes a [`Fragment`].

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use freshet_segment::predicate::Predicate;
use freshet_segment::timeline::TableView;

use crate::fragment::{Fragment, FragmentExec};
use crate::plan::{prune, pushdown};

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
        let pruned = prune::prune(&self.view, &predicate);
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
        Ok(Arc::new(FragmentExec::new(fragment, &self.view, partitions)))
    }
}
