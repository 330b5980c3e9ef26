//! [`Engine::run`]: the one door through which every protocol gets its answers.
//!
//! ```text
//! text ─▶ planning thread (large stack, limits checked) ─▶ plan ─▶ task on the compute runtime ─▶ 4 batches ─▶ caller
//!             │ one reading, one clock look                        │ deadline, cancellation, memory share
//! ```
//! The stream that comes back owns the query: dropping it ends all of its work. A stream ends well only with the query's
//! own end mark; a task that vanishes is an error, never a short answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionState;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::optimizer::Analyzer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use freshet_segment::clock::Clock;
use freshet_segment::error::SegmentError;
use freshet_segment::id::SegmentId;
use freshet_segment::time::{Timestamp, Zone};
use freshet_segment::timeline::{Reading, Timeline, Unready};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::columns::{OutputColumn, check_shown};
use crate::context::{Deadline, LeftOut, QueryContext};
use crate::error::{QueryError, Result};
use crate::plan::grouping_sets::{GuardGroupingSets, ProjectGroupingKeys};
use crate::plan::interrupt::make_interruptible;
use crate::plan::lenient::LenientComparisons;
use crate::plan::one_zero::OneZero;
use crate::plan::order_check;
use crate::plan::unnest;
use crate::request::{Missing, QueryOptions, QueryRequest, ReadingInfo, RunningQuery};
use crate::sql;
use crate::sql::aggregates;
use crate::sql::functions::{self, catalogue};
use crate::sql::resolve::{Calls, Scope, planning_error};
use crate::sql::system::{CATALOG, DEFAULT_SCHEMA, QueryCatalog, SystemSource};
use crate::stream::{Message, ResultStream};

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// Batches between the query and its reader: enough to keep both busy, few enough to stop a query nobody reads.
const CHANNEL_BATCHES: usize = 4;
/// Stack of a planning thread. Only touched pages cost memory; the planner recurses as deep as the limits let it.
const PLANNING_STACK_BYTES: usize = 64 << 20;
/// Most bytes that all queries together may spill to disk.
const SPILL_BYTES_MAX: u64 = 16 << 30;

/// What an engine needs.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Where tables are.
    pub timeline: Arc<Timeline>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Memory that all queries share for sorting, grouping and joining.
    pub memory_bytes_max: usize,
    /// How many threads one query may use.
    pub threads: usize,
    /// What the tables of `sys` tell that no reading shows; without it those tables are empty.
    pub system: Option<Arc<dyn SystemSource>>,
}

/// Plans and runs queries.
#[derive(Debug)]
pub struct Engine {
    timeline: Arc<Timeline>,
    clock: Arc<dyn Clock>,
    base: SessionState,
    system: Option<Arc<dyn SystemSource>>,
    planning: Arc<Semaphore>,
    running: Arc<Mutex<Running>>,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    queries: HashMap<u64, (RunningQuery, CancellationToken)>,
}

/// A query's place in the list of running ones; it leaves the list with this.
#[derive(Debug)]
struct Registration {
    number: u64,
    running: Arc<Mutex<Running>>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.running.lock().queries.remove(&self.number);
    }
}

/// What is planned: the request, and what stays the same when it is planned once more.
#[derive(Debug, Clone)]
struct Job {
    request: QueryRequest,
    started: Timestamp,
    deadline: Option<Deadline>,
    token: CancellationToken,
    reading: Reading,
    left_out: Arc<LeftOut>,
}

/// What planning gives.
struct Planned {
    plan: Option<Arc<dyn ExecutionPlan>>,
    /// The answer itself, where nothing has to run.
    rows: Option<RecordBatch>,
    task: Arc<TaskContext>,
    query: Arc<QueryContext>,
    columns: Vec<OutputColumn>,
    schema: SchemaRef,
    reading: ReadingInfo,
    settings: sql::Settings,
    calls: Calls,
}

impl Engine {
    /// An engine over a timeline.
    ///
    /// # Errors
    /// `Internal` when the place for spilled rows cannot be made.
    pub fn new(options: EngineOptions) -> Result<Arc<Self>> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_bytes_max)))
            .with_max_temp_directory_size(SPILL_BYTES_MAX)
            .build_arc()
            .map_err(QueryError::from_datafusion)?;
        let mut config = SessionConfig::new()
            .with_batch_size(BATCH_ROWS)
            .with_target_partitions(options.threads.max(1))
            .with_information_schema(false)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
            .with_repartition_aggregations(false);
        let tuning = config.options_mut();
        tuning.sql_parser.enable_ident_normalization = false;
        tuning.sql_parser.collect_spans = true;
        tuning.sql_parser.default_null_ordering = "nulls_min".to_owned();
        tuning.optimizer.enable_dynamic_filter_pushdown = false;
        // `a IS NOT TRUE` can be null in physical plans alone, and grouping by it would be refused for that.
        tuning.execution.skip_physical_aggregate_schema_check = true;
        let mut analyzer = Analyzer::new().rules;
        analyzer.insert(0, Arc::new(ProjectGroupingKeys));
        analyzer.push(Arc::new(OneZero));
        let mut rules = PhysicalOptimizer::new().rules;
        rules.insert(0, Arc::new(GuardGroupingSets));
        for rule in rules.iter_mut().filter(|rule| rule.name() == order_check::STANDS_FOR) {
            *rule = Arc::new(order_check::CheckOrders);
        }
        let mut base = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_analyzer_rules(analyzer)
            .with_physical_optimizer_rules(rules)
            .build();
        for function in functions::all().into_iter().chain(aggregates::sketch_functions()) {
            FunctionRegistry::register_udf(&mut base, function).map_err(QueryError::from_datafusion)?;
        }
        base.add_analyzer_rule(Arc::new(LenientComparisons));
        for aggregate in aggregates::all() {
            FunctionRegistry::register_udaf(&mut base, aggregate).map_err(QueryError::from_datafusion)?;
        }
        Ok(Arc::new(Self {
            timeline: options.timeline,
            clock: options.clock,
            base,
            system: options.system,
            planning: Arc::new(Semaphore::new(options.threads.max(1) * 2)),
            running: Arc::default(),
        }))
    }

    /// Plans a query and starts it. Call it on the compute runtime; the query runs there.
    ///
    /// # Errors
    /// `Invalid` with a place in the text where there is one; `Cancelled`; `Exhausted`; `Internal`. What happens later
    /// comes out of the stream.
    pub async fn run(self: &Arc<Self>, request: QueryRequest) -> Result<ResultStream> {
        let started = self.clock.now();
        let token = CancellationToken::new();
        let registration = self.register(&request, started, token.clone());
        // Whatever ends this call ends the query, until the stream takes over.
        let guard = token.clone().drop_guard();
        let timeout = request.options.timeout;
        let deadline = timeout.map(Deadline::after);
        let reading = self.timeline.reading();
        let left_out = Arc::new(LeftOut::default());
        let job = Job { request, started, deadline, token: token.clone(), reading, left_out: Arc::clone(&left_out) };
        let planned = self.plan_on_thread(job.clone());
        let planned = tokio::select! {
            biased;
            () = token.cancelled() => return Err(QueryError::Cancelled),
            after = passed(deadline) => return Err(QueryError::Timeout { after }),
            planned = planned => planned?,
        };
        let (sender, receiver) = mpsc::channel(CHANNEL_BATCHES);
        let columns = planned.columns.clone();
        let (schema, reading, settings) =
            (Arc::clone(&planned.schema), planned.reading.clone(), planned.settings.clone());
        tokio::spawn(supervise(Arc::clone(self), job, planned, sender, registration));
        Ok(ResultStream::new(columns, schema, reading, settings, left_out, receiver, guard))
    }

    /// Ends all queries of this id; says how many.
    pub fn cancel(&self, query_id: &str) -> usize {
        let running = self.running.lock();
        let found = running.queries.values().filter(|(q, _)| q.query_id == query_id);
        found.map(|(_, token)| token.cancel()).count()
    }

    /// The queries that run now, oldest first.
    pub fn running(&self) -> Vec<RunningQuery> {
        let running = self.running.lock();
        let mut queries: Vec<_> = running.queries.iter().collect();
        queries.sort_by_key(|(number, _)| **number);
        queries.into_iter().map(|(_, (query, _))| query.clone()).collect()
    }

    fn register(&self, request: &QueryRequest, started: Timestamp, token: CancellationToken) -> Registration {
        let query = RunningQuery { query_id: request.query_id.clone(), sql: request.sql.clone(), started };
        let mut running = self.running.lock();
        let number = running.next;
        running.next += 1;
        running.queries.insert(number, (query, token));
        Registration { number, running: Arc::clone(&self.running) }
    }

    /// Parsing and planning recurse; a thread with room for it does them. A stack that ends cannot be caught.
    async fn plan_on_thread(self: &Arc<Self>, job: Job) -> Result<Planned> {
        let permit =
            Arc::clone(&self.planning).acquire_owned().await.map_err(|_| QueryError::internal("planning is closed"))?;
        let engine = Arc::clone(self);
        let handle = tokio::runtime::Handle::current();
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name("freshet-plan".to_owned())
            .stack_size(PLANNING_STACK_BYTES)
            .spawn(move || {
                let planned = handle.block_on(engine.plan(job));
                drop(permit);
                // The caller may have gone away meanwhile.
                let _ = sender.send(planned);
            })
            .map_err(|e| QueryError::Exhausted { message: format!("no thread to plan the query on: {e}") })?;
        receiver.await.map_err(|_| QueryError::internal("planning ended without a plan"))?
    }

    async fn plan(&self, job: Job) -> Result<Planned> {
        let Job { request, started, deadline, token, reading, left_out } = job;
        let mut options = request.options;
        let parsed = sql::parse(&request.sql)?;
        let settings = parsed.settings.clone();
        let deadline = apply_settings(&settings, &mut options)?.map(Deadline::after).or(deadline);
        let partial = options.allow_partial.then_some(left_out);
        let tables: Vec<String> = reading.table_names().map(ToString::to_string).collect();
        let scope = Scope {
            tables: &tables,
            functions: &|name| catalogue::find(name).is_some(),
            function_names: &|| catalogue::all().map(|f| f.name.to_owned()).collect(),
        };
        let prepared = sql::prepare(parsed, &scope, &options.zone, started, &request.parameters)?;
        if !prepared.explain {
            check_recovered(&reading, &prepared.tables, partial.as_deref())?;
        }
        let query = Arc::new(QueryContext::new(reading.clone(), started, token, deadline, partial));
        let mut state = self.base.clone();
        state.register_catalog_list(QueryCatalog::list(reading.clone(), self.system.clone(), options.filter_pushdown));
        state.config_mut().set_extension(Arc::clone(&query));

        let statement = Statement::Statement(Box::new(SqlStatement::Query(prepared.query)));
        let planning_error = |error| planning_error(error, &prepared.calls);
        let plan = state.statement_to_plan(statement).await.map_err(planning_error)?;
        let mut plan = unnest::flatten(plan).map_err(planning_error)?;
        if let Some(limit) = options.outer_limit.filter(|_| !prepared.explain) {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            plan = LogicalPlanBuilder::from(plan)
                .limit(0, Some(limit))
                .and_then(LogicalPlanBuilder::build)
                .map_err(planning_error)?;
        }
        let names: Vec<String> = plan.schema().fields().iter().map(|f| f.name().clone()).collect();
        let physical = state.create_physical_plan(&plan).await.map_err(planning_error)?;
        let physical = make_interruptible(physical, &query).map_err(planning_error)?;
        let fields = physical.schema();
        for (index, (name, field)) in names.iter().zip(fields.fields()).enumerate() {
            check_shown(&prepared.output.name(name, index), field)?;
        }
        let columns: Vec<OutputColumn> = names
            .iter()
            .zip(fields.fields())
            .enumerate()
            .map(|(index, (name, field))| {
                OutputColumn::new(prepared.output.name(name, index), field, prepared.output.literal(name))
            })
            .collect();
        let views = prepared.tables.iter().filter_map(|t| reading.table(t));
        let mut info = ReadingInfo { at: query.started(), produced_max: None, tables: Vec::new() };
        for view in views {
            info.produced_max = info.produced_max.max(view.produced_max);
            info.tables.push((view.name.to_string(), view.seq));
        }
        let task = state.task_ctx();
        if prepared.explain {
            let rows = explain(&physical, &columns, &prepared.tables)?;
            let schema = rows.schema();
            let columns = schema.fields().iter().map(|f| OutputColumn::new(f.name().clone(), f, None)).collect();
            return Ok(Planned {
                plan: None,
                rows: Some(rows),
                task,
                query,
                columns,
                schema,
                reading: info,
                settings,
                calls: prepared.calls,
            });
        }
        let schema = Arc::new(Schema::new(
            fields
                .fields()
                .iter()
                .zip(&columns)
                .map(|(f, c)| f.as_ref().clone().with_name(&c.name))
                .collect::<Vec<_>>(),
        ));
        Ok(Planned {
            plan: Some(physical),
            rows: None,
            task,
            query,
            columns,
            schema,
            reading: info,
            settings,
            calls: prepared.calls,
        })
    }
}

/// A table that does not show all its rows yet gives no answer, or one that says so.
fn check_recovered(reading: &Reading, tables: &[String], partial: Option<&LeftOut>) -> Result<()> {
    for table in tables {
        let Some(Unready { why, passes }) = reading.table(table).and_then(|view| view.unready.clone()) else {
            continue;
        };
        let table = table.clone();
        match (partial, passes) {
            (Some(left_out), _) => {
                left_out.add(Missing::Rows { table, reason: why.to_string() });
            }
            (None, true) => {
                let hint =
                    format!("{why}; ask again in a moment, or set allowPartial to true for what is there already");
                return Err(QueryError::Recovering { table, hint });
            }
            (None, false) => {
                let hint = format!("{why}; or set allowPartial to true for what is there");
                return Err(QueryError::Incomplete { table, hint });
            }
        }
    }
    Ok(())
}

async fn passed(deadline: Option<Deadline>) -> Duration {
    match deadline {
        Some(deadline) => {
            tokio::time::sleep_until(deadline.at).await;
            deadline.after
        }
        None => std::future::pending().await,
    }
}

/// Takes the keys that change how the query is understood; gives the time-out if one is among them.
fn apply_settings(settings: &sql::Settings, options: &mut QueryOptions) -> Result<Option<Duration>> {
    let number = |key: &str, value: &String| {
        value.parse::<u64>().map_err(|_| QueryError::invalid(format!("SET {key}: `{value}` is not a number from 0")))
    };
    let mut timeout = None;
    for (key, value) in settings {
        match key.as_str() {
            "sqlTimeZone" => {
                options.zone =
                    value.parse::<Zone>().map_err(|e| QueryError::invalid(format!("SET sqlTimeZone: {e}")))?;
            }
            // Zero is Druid's word for none.
            "timeout" => timeout = Some(number(key, value)?).filter(|ms| *ms > 0).map(Duration::from_millis),
            "sqlOuterLimit" => options.outer_limit = Some(number(key, value)?).filter(|limit| *limit > 0),
            "allowPartial" => {
                options.allow_partial = value
                    .parse()
                    .map_err(|_| QueryError::invalid(format!("SET allowPartial: `{value}` is not true or false")))?;
            }
            _ => {}
        }
    }
    Ok(timeout)
}

/// Watches over a query: its own end, its deadline, a cancel, whichever is first, becomes the stream's last message.
async fn supervise(
    engine: Arc<Engine>,
    job: Job,
    planned: Planned,
    sender: mpsc::Sender<Result<Message>>,
    registration: Registration,
) {
    let query = Arc::clone(&planned.query);
    let mut work = tokio::spawn(pump(engine, job, planned, sender.clone()));
    let (end, over) = tokio::select! {
        biased;
        end = &mut work => match end {
            Ok(end) => (end, true),
            Err(error) => (Err(QueryError::internal(format!("the query broke off: {error}"))), true),
        },
        () = query.cancellation().cancelled() => (Err(QueryError::Cancelled), false),
        after = query.deadline_passed() => (Err(QueryError::Timeout { after }), false),
    };
    // Ends whatever operators still run, also those that other tasks drive.
    query.cancellation().cancel();
    work.abort();
    // Nobody reads any more when this fails, and then nobody needs the end either.
    let _ = sender.send(end.map(|()| Message::End)).await;
    if !over {
        // Cancelled at its next look; an error here says only that.
        let _ = work.await;
    }
    drop(registration);
}

/// Drives the plan and hands its batches over. Where a partial answer will do and no row was given yet, a segment that turns
/// out to be unreadable is left out, and the query planned again over the same reading.
async fn pump(
    engine: Arc<Engine>,
    job: Job,
    mut planned: Planned,
    sender: mpsc::Sender<Result<Message>>,
) -> Result<()> {
    loop {
        let partial = planned.query.partial().cloned();
        let mut given = false;
        let error = match drive(planned, &sender, &mut given).await {
            Err(QueryError::Segment(error)) if !given => error,
            end => return end,
        };
        let left_out = partial.zip(unreadable(&error)).is_some_and(|(left_out, id)| left_out.add(Missing::Segment(id)));
        if !left_out {
            return Err(QueryError::Segment(error));
        }
        planned = engine.plan_on_thread(job.clone()).await?;
    }
}

/// The segment that an error says cannot be read.
fn unreadable(error: &SegmentError) -> Option<SegmentId> {
    match error {
        SegmentError::Unreadable { segment, .. } => segment.parse().ok(),
        _ => None,
    }
}

async fn drive(planned: Planned, sender: &mpsc::Sender<Result<Message>>, given: &mut bool) -> Result<()> {
    let Planned { plan, rows, task, schema, calls, .. } = planned;
    if let Some(rows) = rows {
        let _ = sender.send(Ok(Message::Batch(rows))).await;
    }
    let Some(plan) = plan else { return Ok(()) };
    // Literals of aggregates and frames of windows are looked at only now.
    let mut batches = execute_stream(plan, task).map_err(|e| planning_error(e, &calls))?;
    while let Some(batch) = batches.next().await {
        let batch = rename(&batch.map_err(|e| planning_error(e, &calls))?, &schema)?;
        if batch.num_rows() == 0 {
            continue;
        }
        *given = true;
        if sender.send(Ok(Message::Batch(batch))).await.is_err() {
            // The reader is gone.
            return Err(QueryError::Cancelled);
        }
    }
    Ok(())
}

/// The same columns under the answer's names.
fn rename(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)
        .map_err(|e| QueryError::internal(format!("the answer does not have the planned columns: {e}")))
}

/// The one row of EXPLAIN PLAN FOR: a native scan that carries the plan's text, its tables, and the kind of statement.
fn explain(plan: &Arc<dyn ExecutionPlan>, columns: &[OutputColumn], tables: &[String]) -> Result<RecordBatch> {
    use serde_json::json;
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let signature: Vec<_> =
        columns.iter().map(|c| json!({"name": c.name, "type": c.native_type.to_string()})).collect();
    let mappings: Vec<_> = columns.iter().map(|c| json!({"queryColumn": c.name, "outputColumn": c.name})).collect();
    let source = match tables {
        [table] => json!({"type": "table", "name": table}),
        _ => json!({"type": "inline", "columnNames": [], "rows": []}),
    };
    let query = json!({
        "queryType": "scan",
        "dataSource": source,
        "columns": columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        "plan": text.lines().collect::<Vec<_>>(),
    });
    let plan = json!([{"query": query, "signature": signature, "columnMappings": mappings}]);
    let resources: Vec<_> = tables.iter().map(|t| json!({"name": t, "type": "DATASOURCE"})).collect();
    let cells = [
        ("PLAN", plan.to_string()),
        ("RESOURCES", serde_json::Value::from(resources).to_string()),
        ("ATTRIBUTES", json!({"statementType": "SELECT"}).to_string()),
    ];
    let fields: Vec<_> = cells.iter().map(|(name, _)| Field::new(*name, DataType::Utf8View, false)).collect();
    let arrays =
        cells.iter().map(|(_, text)| Arc::new(StringViewArray::from_iter_values([text])) as ArrayRef).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|e| QueryError::internal(e.to_string()))
}
