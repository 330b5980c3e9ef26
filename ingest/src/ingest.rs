//! The front of this crate: one [`Ingest`] a node, which owns its tables, supervisors and push tasks.
//!
//! Requests that change a supervisor take turns, so two clients that post, suspend and terminate the same one at once
//! see one order. Looking at things never waits for a turn.

mod pushing;

pub use pushing::PushStatus;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use freshet_segment::catalog::{Catalog, SupervisorRow};
use freshet_segment::clock::Clock;
use freshet_segment::error::ErrorKind;
use freshet_segment::failpoint;
use freshet_segment::id::TableName;
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::Timeline;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::counts::Counts;
use crate::dead_letter::{DeadLetters, LETTERS_BYTES_MAX, LETTERS_MAX};
use crate::error::{IngestError, Result};
use crate::leases::Leases;
use crate::memory::{MemoryBudget, MemoryUse};
use crate::publishing::Publisher;
use crate::recovery::Positions;
use crate::sealing::SealOptions;
use crate::source::kafka::KafkaSource;
use crate::source::push::{Job, PushTask};
use crate::source::{Source, SourceError};
use crate::spec::{SourceSpec, SupervisorSpec};
use crate::supervisor::{KeptOffsets, Supervisor, SupervisorStatus, SupervisorView};
use crate::tables::{Node, Storage, Tables};

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
    /// Where rows are kept beyond memory.
    pub storage: Storage,
    /// When they are sealed.
    pub seal: SealOptions,
    /// Further bounds.
    pub limits: Limits,
}

/// A task that takes the pushes into one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushTaskView {
    /// The table.
    pub table: TableName,
    /// When it began: with the first push since this process started, or with the replay of its journal.
    pub started: Timestamp,
}

/// How long a caller waits for rows to be published.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(60);

/// How often letters are looked for again while a publication is between the catalog and memory, and how long apart.
const LETTER_LOOKS_MAX: u32 = 100;
const LETTER_LOOK: Duration = Duration::from_millis(10);

/// Makes a client of a supervisor's stream.
pub(crate) type OpenSource = Arc<dyn Fn(&SupervisorSpec) -> Result<Box<dyn Source>, SourceError> + Send + Sync>;

/// Everything that brings rows into this node.
pub struct Ingest {
    pub(crate) node: Arc<Node>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) supervisors: Mutex<BTreeMap<String, Arc<Supervisor>>>,
    /// Where each supervisor stands, also after it was terminated: posted again it goes on from here.
    offsets: Mutex<HashMap<String, Arc<KeptOffsets>>>,
    open_source: OpenSource,
    pub(crate) positions: Positions,
    turn: Semaphore,
    pub(crate) stopping: AtomicBool,
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
        let leases = Arc::new(Leases::new(Arc::clone(&options.catalog), &options.storage.node_id));
        leases.keep(&options.runtime);
        let node = Arc::new(Node {
            leases,
            storage: options.storage,
            seal: options.seal,
            seal_turn: Mutex::new(()),
            catalog: options.catalog,
            timeline: options.timeline,
            clock: options.clock,
            runtime: options.runtime,
            budget: MemoryBudget::new(options.memory_bytes_max),
            letters_max: options.limits.letters_max,
            letters_bytes_max: options.limits.letters_bytes_max,
            panics: AtomicU64::new(0),
        });
        let ingest = Arc::new(Self {
            tables: Arc::new(Tables::new(Arc::clone(&node))),
            positions: Positions::new(&node),
            node,
            supervisors: Mutex::default(),
            offsets: Mutex::default(),
            open_source,
            turn: Semaphore::new(1),
            stopping: AtomicBool::new(false),
        });
        ingest.watch_positions();
        ingest
    }

    /// Creates a supervisor, or replaces the one with the same id; it goes on from the offsets that one reached.
    ///
    /// # Errors
    /// `Invalid` for a spec that does not fit together, `Unavailable` while stopping, or of the catalog.
    pub async fn submit(&self, spec: SupervisorSpec) -> Result<()> {
        spec.check()?;
        let _turn = self.take_turn().await?;
        self.refuse_while_stopping()?;
        let columns = spec.dimensions.declared_columns();
        let table = self.tables.open_or_create(&spec.table, &columns).await?;
        table.declare(&self.node, &columns).await?;
        failpoint!("spec.declared")?;
        self.put_row(&spec).await?;
        failpoint!("spec.stored")?;
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
    pub(crate) fn kept_offsets(&self, spec: &SupervisorSpec) -> Arc<KeptOffsets> {
        let SourceSpec::Kafka(kafka) = &spec.source;
        let mut offsets = self.offsets.lock();
        match offsets.get(&spec.id) {
            Some(kept) if kept.topic == kafka.topic && kept.table == spec.table => Arc::clone(kept),
            _ => {
                let kept = Arc::new(KeptOffsets::new(&spec.id, kafka.topic.clone(), spec.table.clone()));
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
        let suspended = SupervisorSpec { suspended: true, ..SupervisorSpec::clone(&supervisor.spec()) };
        let stored = match failpoint!("spec.suspended") {
            Ok(()) => self.put_row(&suspended).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = stored {
            // It would run again after a start, so it runs on.
            supervisor.start()?;
            return Err(error);
        }
        supervisor.set_suspended(true);
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
        let resumed = SupervisorSpec { suspended: false, ..SupervisorSpec::clone(&supervisor.spec()) };
        self.put_row(&resumed).await?;
        failpoint!("spec.resumed")?;
        supervisor.set_suspended(false);
        supervisor.start()?;
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
        let deleted = match failpoint!("spec.terminated") {
            Ok(()) => self.node.catalog.delete_supervisor(id).await,
            Err(error) => Err(error),
        };
        match deleted {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                // It would be back after a start, so it stays.
                if !supervisor.is_suspended() {
                    supervisor.start()?;
                }
                Err(error.into())
            }
            _ => {
                self.supervisors.lock().remove(id);
                Ok(())
            }
        }
    }

    /// Forgets a supervisor's offsets, so that it begins again as its spec says. What it has read is published first.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` when what it has read cannot be published now: it goes on as before.
    pub async fn reset(&self, id: &str) -> Result<()> {
        let _turn = self.take_turn().await?;
        let supervisor = self.find(id)?;
        stop(&supervisor).await?;
        let reset = match published(vec![Arc::clone(supervisor.publisher())], PUBLISH_TIMEOUT).await {
            Ok(()) => self.forget_offsets(&supervisor).await,
            Err(error) => Err(error),
        };
        let started = if supervisor.is_suspended() { Ok(()) } else { supervisor.start() };
        reset.and(started)
    }

    async fn forget_offsets(&self, supervisor: &Supervisor) -> Result<()> {
        failpoint!("reset.published")?;
        let lease = self.node.leases.hold(supervisor.publisher().group()).await?;
        let (table, stream) = (supervisor.table().id, &supervisor.offsets().stream);
        let reset = self.node.catalog.reset_offsets(table, stream, &lease, None).await;
        self.node.leases.heed(supervisor.publisher().group(), reset)?;
        supervisor.offsets().forget();
        Ok(failpoint!("reset.done")?)
    }

    /// Publishes everything that a table holds at this moment, and waits until it is published.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` when it takes longer than `timeout`: it is published later.
    pub async fn publish(&self, table: &str, timeout: Duration) -> Result<()> {
        let name: TableName = table.parse().map_err(|_| IngestError::TableNotFound { table: table.to_owned() })?;
        let not_found = || IngestError::TableNotFound { table: table.to_owned() };
        let table = self.tables.open(&name).await?.ok_or_else(not_found)?;
        let jobs = table.push.lock().as_ref().map(|task| task.jobs.clone());
        if let Some(jobs) = jobs {
            let (reply, answer) = oneshot::channel();
            if jobs.send(Job::Freeze(reply)).await.is_ok()
                && let Ok(frozen) = answer.await
            {
                frozen?;
            }
        }
        let supervisors: Vec<_> = self.supervisors.lock().values().cloned().collect();
        let filling: Vec<_> = supervisors.into_iter().filter(|s| s.table().id == table.id).collect();
        let frozen = tokio::task::spawn_blocking(move || filling.iter().for_each(|s| s.freeze(timeout)));
        frozen.await.map_err(|error| IngestError::internal(format!("a freeze did not end: {error}")))?;
        published(table.publishers(), timeout).await
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

    /// Frees the offsets that are kept of supervisors, for a start that takes them from the catalog.
    pub(crate) fn kept(&self) -> Vec<(String, Arc<KeptOffsets>)> {
        self.offsets.lock().iter().map(|(id, kept)| (id.clone(), Arc::clone(kept))).collect()
    }

    /// The newest refused rows of a table, at most `limit`; none for a table that nobody wrote. What is published comes from
    /// the catalog, the rest from memory.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn dead_letters(&self, table: &str, limit: usize) -> Result<DeadLetters> {
        let Some(table) = self.tables.get(table) else { return Ok(DeadLetters::default()) };
        let limit = limit.min(self.node.letters_max);
        let mut looks = 0;
        loop {
            let waiting = table.accounts.letters(limit);
            let rest = limit.saturating_sub(waiting.letters.len());
            let kept = self.node.catalog.dead_letters(table.id, rest).await?;
            // In the moment after a publication both have its letters, or neither.
            if !table.accounts.is_still(waiting.moment) && looks < LETTER_LOOKS_MAX {
                looks += 1;
                tokio::time::sleep(LETTER_LOOK).await;
                continue;
            }
            let mut bytes = 0;
            let mut letters = waiting.letters;
            letters.extend(kept.letters);
            letters.retain(|letter| {
                bytes += letter.bytes();
                bytes <= self.node.letters_bytes_max
            });
            let all = (kept.kept + waiting.kept).min(self.node.letters_max as u64);
            return Ok(DeadLetters { total: kept.total + waiting.total, kept: all, letters });
        }
    }

    /// The push tasks that run, by table.
    pub fn push_tasks(&self) -> Vec<PushTaskView> {
        let tables = self.tables.all();
        let running = tables.iter().filter_map(|table| {
            let started = table.push.lock().as_ref().filter(|task| !task.thread.is_finished())?.started;
            Some(PushTaskView { table: table.name.clone(), started })
        });
        running.collect()
    }

    /// What became of all rows read for a table since it was made.
    pub fn table_counts(&self, table: &str) -> Counts {
        self.tables.get(table).map(|table| table.accounts.total()).unwrap_or_default()
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
        let tables = self.tables.all();
        let pushes: Vec<_> = tables.iter().filter_map(|table| table.push.lock().take()).collect();
        let node = Arc::clone(&self.node);
        let finished = tokio::task::spawn_blocking(move || {
            let end = std::time::Instant::now() + deadline;
            for PushTask { jobs, thread, .. } in pushes {
                drop(jobs);
                let _ = thread.join();
            }
            for supervisor in &supervisors {
                supervisor.join();
            }
            // What was pushed stays in the journal; what was read from streams is published, or read again.
            for publisher in supervisors.iter().map(|supervisor| supervisor.publisher()) {
                let left = end.saturating_duration_since(std::time::Instant::now());
                if let Err(error) = publisher.wait(publisher.newest(), left) {
                    tracing::warn!(%error, "rows are read again at the next start");
                }
            }
            for publisher in tables.iter().flat_map(|table| table.publishers()) {
                publisher.stop();
            }
        });
        if tokio::time::timeout(deadline, finished).await.is_err() {
            tracing::warn!(
                ?deadline,
                "ingestion did not stop in time; what is not published is read again at the next start"
            );
        }
        self.positions.write(self);
        node.leases.release_all().await;
    }

    /// Ends all threads without publishing what is not on its way yet, as the end of a process does. Blocks.
    #[cfg(test)]
    pub(crate) fn crash(&self) {
        self.stopping.store(true, Ordering::Release);
        let tables = self.tables.all();
        for publisher in tables.iter().flat_map(|table| table.publishers()) {
            publisher.stop();
        }
        for supervisor in self.supervisors.lock().values() {
            supervisor.ask_to_stop();
            supervisor.join();
        }
        for table in tables {
            let push = table.push.lock().take();
            if let Some(PushTask { jobs, thread, .. }) = push {
                drop(jobs);
                let _ = thread.join();
            }
            while table.publishers().iter().any(|publisher| publisher.is_running()) {
                std::thread::sleep(Duration::from_millis(1));
            }
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
            for publisher in table.close_publishers() {
                publisher.stop();
            }
        }
        for supervisor in self.supervisors.lock().values() {
            supervisor.ask_to_stop();
        }
    }
}

/// Waits until all that is queued now is published.
async fn published(publishers: Vec<Arc<Publisher>>, timeout: Duration) -> Result<()> {
    let places: Vec<_> = publishers.into_iter().map(|p| (p.newest(), p)).collect();
    let waited = tokio::task::spawn_blocking(move || {
        let end = std::time::Instant::now() + timeout;
        places
            .into_iter()
            .try_for_each(|(place, p)| p.wait(place, end.saturating_duration_since(std::time::Instant::now())))
    });
    waited.await.map_err(|error| IngestError::internal(format!("a wait did not end: {error}")))?
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
