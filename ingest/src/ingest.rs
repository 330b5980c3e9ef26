//! The front of this crate: one [`Ingest`] a node, which owns its tables, supervisors and push tasks.
//!
//! Requests that change a supervisor take turns, so two clients that post, suspend and terminate the same one at once
//! see one order. Looking at things never waits for a turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use freshet_segment::catalog::{Catalog, SupervisorRow};
use freshet_segment::clock::Clock;
use freshet_segment::error::ErrorKind;
use freshet_segment::id::TableName;
use freshet_segment::schema::{ColumnRole, Observed};
use freshet_segment::timeline::Timeline;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::appender::Accompanying;
use crate::counts::Counts;
use crate::dead_letter::{DeadLetter, DeadLetters, LETTERS_BYTES_MAX, LETTERS_MAX, Origin, quote};
use crate::decode::json::JsonDecoder;
use crate::decode::{BadField, DecodeRules, Decoder, Rows};
use crate::error::{IngestError, Result};
use crate::memory::{MemoryBudget, MemoryUse};
use crate::source::kafka::KafkaSource;
use crate::source::push::{Body, Job, OnError, PushReply, PushRequest, PushTask, find_time_field, rejected_rows};
use crate::source::{Source, SourceError};
use crate::spec::{DimensionsSpec, GranularitySpec, SourceSpec, SupervisorSpec, TimeSpec};
use crate::supervisor::{KeptOffsets, Supervisor, SupervisorStatus, SupervisorView};
use crate::tables::{Node, Table, Tables};
use crate::task::panic_text;
use crate::transform::TimeColumn;

/// Bounds that configuration may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Dead letters kept a table.
    pub letters_max: usize,
    /// Their bytes a table.
    pub letters_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { letters_max: LETTERS_MAX, letters_bytes_max: LETTERS_BYTES_MAX }
    }
}

/// What an [`Ingest`] is made of.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Tables, schemas, numbers, supervisors.
    pub catalog: Arc<dyn Catalog>,
    /// Where rows become visible.
    pub timeline: Arc<Timeline>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Runs the catalog's calls for task threads.
    pub runtime: tokio::runtime::Handle,
    /// Memory of rows that are not sealed.
    pub memory_bytes_max: usize,
    /// Further bounds.
    pub limits: Limits,
}

/// Makes a client of a supervisor's stream.
pub(crate) type OpenSource = Arc<dyn Fn(&SupervisorSpec) -> Result<Box<dyn Source>, SourceError> + Send + Sync>;

/// Everything that brings rows into this node.
pub struct Ingest {
    node: Arc<Node>,
    tables: Arc<Tables>,
    supervisors: Mutex<BTreeMap<String, Arc<Supervisor>>>,
    /// Where each supervisor stands, also after it was terminated: posted again it goes on from here.
    offsets: Mutex<HashMap<String, Arc<KeptOffsets>>>,
    open_source: OpenSource,
    turn: Semaphore,
    stopping: AtomicBool,
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").field("supervisors", &self.supervisor_ids()).finish_non_exhaustive()
    }
}

impl Ingest {
    /// An ingest without tables or supervisors.
    pub fn new(options: IngestOptions) -> Arc<Self> {
        Self::with_source(
            options,
            Arc::new(|spec| match &spec.source {
                SourceSpec::Kafka(kafka) => Ok(Box::new(KafkaSource::new(&spec.id, kafka)?)),
            }),
        )
    }

    pub(crate) fn with_source(options: IngestOptions, open_source: OpenSource) -> Arc<Self> {
        let node = Arc::new(Node {
            catalog: options.catalog,
            timeline: options.timeline,
            clock: options.clock,
            runtime: options.runtime,
            budget: MemoryBudget::new(options.memory_bytes_max),
            letters_max: options.limits.letters_max,
            letters_bytes_max: options.limits.letters_bytes_max,
            panics: AtomicU64::new(0),
        });
        Arc::new(Self {
            tables: Arc::new(Tables::new(Arc::clone(&node))),
            node,
            supervisors: Mutex::default(),
            offsets: Mutex::default(),
            open_source,
            turn: Semaphore::new(1),
            stopping: AtomicBool::new(false),
        })
    }

    /// Creates a supervisor, or replaces the one with the same id; it goes on from the offsets that one reached.
    ///
    /// # Errors
    /// `Invalid` for a spec that does not fit together, `Unavailable` while stopping, or of the catalog.
    pub async fn submit(&self, spec: SupervisorSpec) -> Result<()> {
        spec.check()?;
        let _turn = self.take_turn().await?;
        self.refuse_while_stopping()?;
        let columns: Vec<Observed> = spec
            .dimensions
            .declared
            .iter()
            .map(|dimension| Observed {
                name: Arc::from(dimension.name.as_str()),
                column_type: dimension.column_type,
                role: ColumnRole::Dimension,
                multi_value: false,
            })
            .collect();
        let table = self.tables.open_or_create(&spec.table, &columns).await?;
        table.declare(&self.node, &columns).await?;
        self.put_row(&spec).await?;
        let old = self.supervisors.lock().get(&spec.id).cloned();
        if let Some(old) = old {
            stop(&old).await?;
        }
        let kept = self.kept_offsets(&spec);
        let suspended = spec.suspended;
        let id = spec.id.clone();
        let supervisor =
            Supervisor::new(Arc::clone(&self.node), table, Arc::new(spec), kept, Arc::clone(&self.open_source));
        self.supervisors.lock().insert(id, Arc::clone(&supervisor));
        if suspended { Ok(()) } else { supervisor.start() }
    }

    /// The offsets of an earlier supervisor of this id on the same topic, or none yet.
    fn kept_offsets(&self, spec: &SupervisorSpec) -> Arc<KeptOffsets> {
        let SourceSpec::Kafka(kafka) = &spec.source;
        let mut offsets = self.offsets.lock();
        match offsets.get(&spec.id) {
            Some(kept) if kept.stream == kafka.topic && kept.table == spec.table => Arc::clone(kept),
            _ => {
                let kept = Arc::new(KeptOffsets::new(kafka.topic.clone(), spec.table.clone()));
                offsets.insert(spec.id.clone(), Arc::clone(&kept));
                kept
            }
        }
    }

    async fn put_row(&self, spec: &SupervisorSpec) -> Result<()> {
        let row = SupervisorRow {
            id: spec.id.clone(),
            table: spec.table.clone(),
            spec: spec.document.to_string(),
            suspended: spec.suspended,
        };
        Ok(self.node.catalog.put_supervisor(row).await?)
    }

    /// Ids of all supervisors, sorted.
    pub fn supervisor_ids(&self) -> Vec<String> {
        self.supervisors.lock().keys().cloned().collect()
    }

    /// A supervisor's spec and state.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn supervisor(&self, id: &str) -> Result<SupervisorView> {
        Ok(self.find(id)?.view())
    }

    /// A supervisor's stream partitions, tasks, lag, errors and counts.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn status(&self, id: &str) -> Result<SupervisorStatus> {
        Ok(self.find(id)?.status())
    }

    /// Stops a supervisor's tasks; where they stood is kept.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is suspended already.
    pub async fn suspend(&self, id: &str) -> Result<SupervisorView> {
        let _turn = self.take_turn().await?;
        let supervisor = self.find(id)?;
        if supervisor.is_suspended() {
            return Err(IngestError::conflict(format!("[{id}] is already suspended")));
        }
        stop(&supervisor).await?;
        supervisor.set_suspended(true);
        self.put_row(&supervisor.spec()).await?;
        Ok(supervisor.view())
    }

    /// Starts a suspended supervisor where it stood.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is running.
    pub async fn resume(&self, id: &str) -> Result<SupervisorView> {
        let _turn = self.take_turn().await?;
        self.refuse_while_stopping()?;
        let supervisor = self.find(id)?;
        if !supervisor.is_suspended() {
            return Err(IngestError::conflict(format!("[{id}] is already running")));
        }
        supervisor.set_suspended(false);
        supervisor.start()?;
        self.put_row(&supervisor.spec()).await?;
        Ok(supervisor.view())
    }

    /// Stops a supervisor and forgets it. Its offsets stay: posted again, it goes on from there.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn terminate(&self, id: &str) -> Result<()> {
        let _turn = self.take_turn().await?;
        let supervisor = self.find(id)?;
        stop(&supervisor).await?;
        self.supervisors.lock().remove(id);
        match self.node.catalog.delete_supervisor(id).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Forgets a supervisor's offsets, so that it begins again as its spec says.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn reset(&self, id: &str) -> Result<()> {
        let _turn = self.take_turn().await?;
        let supervisor = self.find(id)?;
        stop(&supervisor).await?;
        supervisor.forget_offsets();
        if supervisor.is_suspended() { Ok(()) } else { supervisor.start() }
    }

    /// Stores the rows of a body. Call it where computing is allowed: the body is read on the caller's thread.
    ///
    /// # Errors
    /// `Invalid` when the body, or with [`OnError::Reject`] any row of it, cannot be read; `Exhausted` when memory is
    /// used up; `Unavailable` while stopping; or of the catalog. Nothing is stored then.
    pub async fn push(&self, request: PushRequest) -> Result<PushReply> {
        self.refuse_while_stopping()?;
        let room = self.node.budget.reserve(request.body.len())?;
        let body = Body::read(&request.body)?;
        let opened = self.tables.open(&request.table).await?;
        let time_field = match self.time_field(&request, opened.as_deref()) {
            Some(field) => field,
            None => find_time_field(&request.body, &body.records)?,
        };
        let mut rows = Rows::new(self.push_rules(&request.table, &time_field));
        if let Some(table) = &opened {
            rows.begin(&table.schema());
        }
        let mut decoder = JsonDecoder::default();
        for (number, (range, _)) in (0u32..).zip(&body.records) {
            decoder.decode(number, &request.body[range.clone()], &mut rows);
        }
        let read = rows.len() as u64 + rows.refused();
        let reply = PushReply {
            accepted: rows.len() as u64,
            rejected_count: rows.refused(),
            rejected: rejected_rows(&request.body, &body.records, &rows),
        };
        if request.on_error == OnError::Reject && rows.refused() > 0 {
            return Err(IngestError::RowsRejected { read, rejected: reply.rejected_count, rows: reply.rejected });
        }
        let table = match opened {
            Some(table) => table,
            // A body without a good row makes no table.
            None if rows.is_empty() => return Ok(reply),
            None => self.tables.open_or_create(&request.table, &rows.observed()).await?,
        };
        table.time_field.lock().get_or_insert(time_field);
        let accompanying = self.accompanying(&request, &body, &rows, read);
        let (answer, stored) = oneshot::channel();
        let job = Job { rows, received: request.received, accompanying, room, reply: answer };
        let gone = || IngestError::Unavailable {
            what: format!("table `{}` was dropped, or the server is stopping", request.table),
            hint: Some("push the body again".to_owned()),
        };
        self.push_jobs(&table)?.send(job).await.map_err(|_| gone())?;
        stored.await.map_err(|_| gone())??;
        Ok(reply)
    }

    fn time_field(&self, request: &PushRequest, table: Option<&Table>) -> Option<String> {
        let known = || {
            let pushed = table.and_then(|table| table.time_field.lock().clone());
            pushed.or_else(|| {
                let supervisors = self.supervisors.lock();
                supervisors.values().map(|s| s.spec()).find(|s| s.table == request.table).map(|s| s.time.column.clone())
            })
        };
        request.time_column.clone().or_else(known)
    }

    /// Every field becomes a column; what a supervisor of the table declared keeps its type, or the row is refused.
    fn push_rules(&self, table: &TableName, time_field: &str) -> DecodeRules {
        let mut dimensions = DimensionsSpec::discovered();
        for supervisor in self.supervisors.lock().values() {
            let spec = supervisor.spec();
            if spec.table == *table {
                dimensions.declared.extend(spec.dimensions.declared.iter().cloned());
            }
        }
        let time = TimeSpec::auto(time_field);
        DecodeRules::new(&dimensions, &time, TimeColumn::new(&time, &GranularitySpec::default()), BadField::RejectRow)
    }

    fn accompanying(&self, request: &PushRequest, body: &Body, rows: &Rows, read: u64) -> Accompanying {
        let now = self.node.clock.now();
        let letters: Vec<DeadLetter> = rows
            .rejections()
            .iter()
            .map(|rejection| {
                let (range, line) = body.records.get(rejection.record as usize).cloned().unwrap_or((0..0, 0));
                DeadLetter {
                    time: now,
                    origin: Origin::Push,
                    row: rejection.row,
                    at: rejection.at.text(line),
                    reason: rejection.reason.clone(),
                    hint: rejection.hint.clone(),
                    row_stored: false,
                    raw: quote(&request.body[range]),
                }
            })
            .collect();
        Accompanying {
            counts: Counts { read, rejected: rows.refused(), bytes: request.body.len() as u64, ..Counts::default() },
            letters_unlisted: rows.refused() - letters.len() as u64,
            letters,
        }
    }

    fn push_jobs(&self, table: &Arc<Table>) -> Result<tokio::sync::mpsc::Sender<Job>> {
        let mut push = table.push.lock();
        if let Some(task) = push.as_ref().filter(|task| !task.thread.is_finished()) {
            return Ok(task.jobs.clone());
        }
        self.refuse_while_stopping()?;
        if let Some(Err(panic)) = push.take().map(|ended| ended.thread.join()) {
            self.node.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(table = %table.name, why = panic_text(&*panic), "a push task stopped by a defect");
        }
        let task = PushTask::start(&self.node, table)?;
        let jobs = task.jobs.clone();
        *push = Some(task);
        Ok(jobs)
    }

    /// Drops a table with all its rows, and gives their memory back.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while a supervisor writes it.
    pub async fn drop_table(&self, name: &str) -> Result<()> {
        let table: TableName = name.parse().map_err(|_| IngestError::TableNotFound { table: name.to_owned() })?;
        let _turn = self.take_turn().await?;
        let writers: Vec<String> = {
            let supervisors = self.supervisors.lock();
            supervisors.iter().filter(|(_, s)| s.spec().table == table).map(|(id, _)| id.clone()).collect()
        };
        if let Some(id) = writers.first() {
            return Err(IngestError::Conflict {
                what: format!("table `{name}` is written by supervisor [{id}]"),
                hint: Some(format!("terminate [{id}] first")),
            });
        }
        self.tables.drop_table(&table).await?;
        // Rows that are gone have to be read again by whoever fills a table of this name anew.
        self.offsets.lock().retain(|_, kept| kept.table != table);
        Ok(())
    }

    /// The newest refused rows of a table, at most `limit`; none for a table that nobody wrote.
    pub fn dead_letters(&self, table: &str, limit: usize) -> DeadLetters {
        self.tables.get(table).map(|table| table.letters.newest(limit)).unwrap_or_default()
    }

    /// What became of all rows sent to a table since this process began.
    pub fn table_counts(&self, table: &str) -> Counts {
        self.tables.get(table).map(|table| table.counts.read()).unwrap_or_default()
    }

    /// Memory of rows that are not sealed.
    pub fn memory(&self) -> MemoryUse {
        self.node.budget.usage()
    }

    /// Memory of one table's rows that are not sealed.
    pub fn table_memory(&self, table: &str) -> usize {
        self.tables.get(table).map_or(0, |table| table.memory.used())
    }

    /// How many threads of ingestion ended by a defect and were replaced, since this process began.
    pub fn panics(&self) -> u64 {
        self.node.panics.load(Ordering::Relaxed)
    }

    /// Stops: no new work is taken, sources are no longer polled, and what was accepted is stored. Returns after
    /// `deadline` at the latest.
    pub async fn shutdown(&self, deadline: Duration) {
        self.stopping.store(true, Ordering::Release);
        let supervisors: Vec<_> = self.supervisors.lock().values().cloned().collect();
        for supervisor in &supervisors {
            supervisor.ask_to_stop();
        }
        let pushes: Vec<_> = self.tables.all().iter().filter_map(|table| table.push.lock().take()).collect();
        let finished = tokio::task::spawn_blocking(move || {
            for PushTask { jobs, thread } in pushes {
                drop(jobs);
                let _ = thread.join();
            }
            for supervisor in supervisors {
                supervisor.join();
            }
        });
        if tokio::time::timeout(deadline, finished).await.is_err() {
            tracing::warn!(?deadline, "ingestion did not stop in time; rows in memory end with the process");
        }
    }

    #[cfg(test)]
    pub(crate) fn timeline(&self) -> &Timeline {
        &self.node.timeline
    }

    fn find(&self, id: &str) -> Result<Arc<Supervisor>> {
        let found = self.supervisors.lock().get(id).cloned();
        found.ok_or_else(|| IngestError::SupervisorNotFound { id: id.to_owned() })
    }

    fn refuse_while_stopping(&self) -> Result<()> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(IngestError::Unavailable {
                what: "the server is stopping".to_owned(),
                hint: Some("try again when it is back".to_owned()),
            });
        }
        Ok(())
    }

    async fn take_turn(&self) -> Result<SemaphorePermit<'_>> {
        self.turn.acquire().await.map_err(|_| IngestError::internal("the turn of supervisor requests was closed"))
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // A push task keeps its table, and the table the task's queue: someone has to let go.
        for table in self.tables.all() {
            drop(table.push.lock().take());
        }
        for supervisor in self.supervisors.lock().values() {
            supervisor.ask_to_stop();
        }
    }
}

/// Stops a supervisor's threads without blocking an I/O thread.
async fn stop(supervisor: &Arc<Supervisor>) -> Result<()> {
    supervisor.ask_to_stop();
    let supervisor = Arc::clone(supervisor);
    tokio::task::spawn_blocking(move || supervisor.join())
        .await
        .map_err(|error| IngestError::internal(format!("a supervisor did not stop: {error}")))
}

#[cfg(test)]
pub(crate) mod tests;
