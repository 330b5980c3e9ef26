//! A fragment: the part of a plan that runs where segments are. A plain value, and the plan's leaf that runs it.
//!
//! The leaf finds the segments by their ids in the reading that the session carries, so the same plan runs on whichever
//! node holds them. A segment that the reading lacks fails the query: an answer is never partial in silence.
//!
//! The streams of one execution share the work: each takes the next chunk from a counter when it is done with the last.
//! The counter belongs to the execution, not to the plan, because a plan may be executed again.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Result as DfResult, ScalarValue, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use freshet_segment::id::{SegmentId, TableId, TableName};
use freshet_segment::predicate::Predicate;
use freshet_segment::schema::{Column, TIME_COLUMN};
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::TableView;
use parking_lot::Mutex;

use crate::context::QueryContext;
use crate::scan::{Execution, ScanIterator};

/// What one node reads for one scan of one query.
#[derive(Debug, Clone)]
pub(crate) struct Fragment {
    /// The table's name, under which the reading finds it.
    pub(crate) table: TableName,
    /// Its number: a table dropped and made again is another one.
    pub(crate) table_id: TableId,
    /// The commit number of the reading.
    pub(crate) commit_seq: u64,
    /// The segments to read.
    pub(crate) segments: Vec<SegmentId>,
    /// The columns to give, in this order and in these types.
    pub(crate) columns: Vec<Column>,
    /// The rows to give.
    pub(crate) predicate: Predicate,
    /// How many rows are enough.
    pub(crate) limit: Option<usize>,
}

/// The plan's leaf.
#[derive(Debug)]
pub(crate) struct FragmentExec {
    fragment: Arc<Fragment>,
    properties: Arc<PlanProperties>,
    /// Rows and first and last time when every row is wanted: exact.
    known: Option<(usize, Option<(Timestamp, Timestamp)>)>,
    running: Mutex<Option<Running>>,
}

/// The execution that streams join until one of them would join twice.
#[derive(Debug)]
struct Running {
    joined: Vec<bool>,
    execution: Arc<Execution>,
}

impl FragmentExec {
    /// A leaf of so many streams; `whole` says that no wanted segment of the view was left out.
    pub(crate) fn new(fragment: Fragment, view: &TableView, whole: bool, partitions: usize) -> Self {
        let known = (whole && matches!(fragment.predicate, Predicate::True) && fragment.limit.is_none())
            .then(|| usize::try_from(view.rows()).ok())
            .flatten()
            .map(|rows| (rows, view.time_range()));
        let schema: SchemaRef = Arc::new(Schema::new(fragment.columns.iter().map(Column::field).collect::<Vec<_>>()));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { fragment: Arc::new(fragment), properties: Arc::new(properties), known, running: Mutex::new(None) }
    }

    /// The execution that stream `partition` belongs to: the one under way, or a new one when it joined that already.
    fn join(&self, partition: usize, context: &TaskContext) -> DfResult<Arc<Execution>> {
        let Some(query) = context.session_config().get_extension::<QueryContext>() else {
            return internal_err!("the session of a fragment carries no reading");
        };
        let mut running = self.running.lock();
        if let Some(Running { joined, execution }) = running.as_mut()
            && let Some(slot) = joined.get_mut(partition)
            && !*slot
        {
            *slot = true;
            return Ok(Arc::clone(execution));
        }
        let execution = Arc::new(
            Execution::new(Arc::clone(&self.fragment), query).map_err(crate::error::QueryError::into_datafusion)?,
        );
        let mut joined = vec![false; self.properties.partitioning.partition_count()];
        if let Some(slot) = joined.get_mut(partition) {
            *slot = true;
        }
        *running = Some(Running { joined, execution: Arc::clone(&execution) });
        Ok(execution)
    }
}

impl DisplayAs for FragmentExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.fragment.columns.iter().map(|c| &*c.name).collect();
        write!(
            f,
            "FragmentExec: table={}, segments={}, columns=[{}]",
            self.fragment.table,
            self.fragment.segments.len(),
            columns.join(", ")
        )?;
        if !matches!(self.fragment.predicate, Predicate::True) {
            write!(f, ", predicate={}", Shown(&self.fragment.predicate))?;
        }
        if let Some(limit) = self.fragment.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for FragmentExec {
    fn name(&self) -> &'static str {
        "FragmentExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let execution = self.join(partition, &context)?;
        let rows = ScanIterator::new(execution, self.schema(), context.session_config().batch_size());
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), futures::stream::iter(rows))))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> DfResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if let (Some((rows, times)), None) = (&self.known, args.partition()) {
            statistics.num_rows = Precision::Exact(*rows);
            let time = self.fragment.columns.iter().position(|c| &*c.name == TIME_COLUMN);
            if let (Some(index), Some((min, max))) = (time, times)
                && let Some(slot) = statistics.column_statistics.get_mut(index)
            {
                let scalar =
                    |t: &Timestamp| ScalarValue::TimestampMillisecond(Some(t.as_millis()), Some(Arc::from("UTC")));
                *slot = ColumnStatistics {
                    null_count: Precision::Exact(0),
                    min_value: Precision::Exact(scalar(min)),
                    max_value: Precision::Exact(scalar(max)),
                    ..ColumnStatistics::new_unknown()
                };
            }
        }
        Ok(Arc::new(statistics))
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut fragment = Fragment::clone(&self.fragment);
        fragment.limit = match (fragment.limit, limit) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Some(Arc::new(Self {
            fragment: Arc::new(fragment),
            properties: Arc::clone(&self.properties),
            known: None,
            running: Mutex::new(None),
        }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fragment.limit
    }
}

/// A predicate as people read it.
struct Shown<'a>(&'a Predicate);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use freshet_segment::predicate::{CompareOp, Value};
        let value = |v: &Value| match v {
            Value::Long(n) => n.to_string(),
            Value::Double(n) => format!("{n:?}"),
            Value::String(s) => format!("'{s}'"),
            Value::Timestamp(t) => t.to_iso(),
        };
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Predicate], word: &str| {
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Predicate::And(_) | Predicate::Or(_) => write!(f, "({})", Shown(part))?,
                    _ => write!(f, "{}", Shown(part))?,
                }
            }
            Ok(())
        };
        match self.0 {
            Predicate::True => f.write_str("true"),
            Predicate::False => f.write_str("false"),
            Predicate::Compare { column, op, value: v } => {
                let op = match op {
                    CompareOp::Eq => "=",
                    CompareOp::Ne => "<>",
                    CompareOp::Lt => "<",
                    CompareOp::Le => "<=",
                    CompareOp::Gt => ">",
                    CompareOp::Ge => ">=",
                };
                write!(f, "{column} {op} {}", value(v))
            }
            Predicate::In { column, values, negated } => {
                let shown: Vec<_> = values.iter().take(10).map(value).collect();
                let more = if values.len() > shown.len() { ", .." } else { "" };
                write!(f, "{column} {}IN ({}{more})", if *negated { "NOT " } else { "" }, shown.join(", "))
            }
            Predicate::IsNull { column, negated } => {
                write!(f, "{column} IS {}NULL", if *negated { "NOT " } else { "" })
            }
            Predicate::Matches { column, pattern, negated } => {
                write!(f, "{column} {}LIKE '{}'", if *negated { "NOT " } else { "" }, pattern.text())
            }
            Predicate::And(parts) => list(f, parts, "AND"),
            Predicate::Or(parts) => list(f, parts, "OR"),
        }
    }
}
