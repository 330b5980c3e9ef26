//! Keeps one table filled from one stream: finds stream partitions, divides them among tasks, watches both.
//!
//! A supervisor is a thread that takes the same step again and again: which stream partitions are there, how far do
//! they reach, does each task have its share, is each task alive. A step that fails because the stream is away says so
//! in the state, with the cause and the time of the next try, and is simply taken again; so an outage needs nobody.
//!
//! Where to read is decided here and nowhere else: at the catalog's checkpoint. At the first sight of a topic its stream
//! partitions begin at the earliest or at the latest record, as the spec says; one that appears later begins at its
//! earliest; both are written to the catalog before the first fetch. A position that the stream no longer holds is never
//! moved unless the spec says `onDataLoss: skip`: that stream partition rests, the range that is lost is noted in the
//! catalog, the state says why, and the others go on. A topic that was deleted and made again is another topic: it is
//! not read.

mod offsets;
mod status;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use freshet_segment::time::Timestamp;
use parking_lot::Mutex;

pub(crate) use offsets::{KeptOffsets, stream_name, supervisor_group};
pub use status::{DetailedState, RecentError, State, SupervisorStatus, SupervisorView, TaskStatus};
use watch::Watch;

use crate::counts::Counts;
use crate::error::Result;
use crate::ingest::OpenSource;
use crate::publishing::Publisher;
use crate::sealing::Writer;
use crate::source::{Offset, StreamPartition};
use crate::spec::{SourceSpec, SupervisorSpec};
use crate::tables::{Node, Table};
use crate::task::{Stop, TaskLink, spawn};

/// Errors that a status lists.
const ERRORS_KEPT: usize = 10;

/// What the supervisor's thread writes and everybody may look at.
struct Observed {
    detailed: DetailedState,
    cause: Option<String>,
    next_retry: Option<Timestamp>,
    latest: BTreeMap<StreamPartition, Offset>,
    latest_at: Option<Timestamp>,
    errors: VecDeque<RecentError>,
    /// What is to be known of the topic although it is read.
    warning: Option<String>,
    tasks: Vec<TaskView>,
}

struct TaskView {
    id: String,
    started: Timestamp,
    starting: BTreeMap<i32, i64>,
    partitions: BTreeSet<StreamPartition>,
    link: Arc<TaskLink>,
}

/// A supervisor.
pub(crate) struct Supervisor {
    node: Arc<Node>,
    table: Arc<Table>,
    spec: Mutex<Arc<SupervisorSpec>>,
    offsets: Arc<KeptOffsets>,
    open_source: OpenSource,
    suspended: AtomicBool,
    publisher: Arc<Publisher>,
    /// What tasks that have ended had stored and not frozen, by task number.
    writers: Mutex<BTreeMap<usize, Writer>>,
    observed: Mutex<Observed>,
    run: Mutex<Option<(Arc<Stop>, JoinHandle<()>)>>,
}

impl Supervisor {
    pub(crate) fn new(
        node: Arc<Node>,
        table: Arc<Table>,
        spec: Arc<SupervisorSpec>,
        offsets: Arc<KeptOffsets>,
        open_source: OpenSource,
    ) -> Arc<Self> {
        let suspended = spec.suspended;
        let group = supervisor_group(&spec.id);
        let publisher = table.publisher(&node, &offsets.stream, &group);
        Arc::new(Self {
            publisher,
            writers: Mutex::default(),
            node,
            table,
            spec: Mutex::new(spec),
            offsets,
            open_source,
            suspended: AtomicBool::new(suspended),
            observed: Mutex::new(Observed {
                detailed: DetailedState::Plain(if suspended { State::Suspended } else { State::Pending }),
                cause: None,
                next_retry: None,
                latest: BTreeMap::new(),
                latest_at: None,
                errors: VecDeque::new(),
                warning: None,
                tasks: Vec::new(),
            }),
            run: Mutex::new(None),
        })
    }

    pub(crate) fn spec(&self) -> Arc<SupervisorSpec> {
        Arc::clone(&self.spec.lock())
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    pub(crate) fn set_suspended(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Release);
        {
            let mut spec = self.spec.lock();
            *spec = Arc::new(SupervisorSpec { suspended, ..SupervisorSpec::clone(&spec) });
        }
        let state = if suspended { State::Suspended } else { State::Pending };
        self.show(DetailedState::Plain(state), None, None);
    }

    /// The table it fills.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub(crate) fn offsets(&self) -> &Arc<KeptOffsets> {
        &self.offsets
    }

    /// Who publishes its rows.
    pub(crate) fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// Asks the running tasks to freeze what they hold, and waits until they have. Blocks.
    pub(crate) fn freeze(&self, timeout: Duration) {
        let links: Vec<Arc<TaskLink>> = self.observed.lock().tasks.iter().map(|t| Arc::clone(&t.link)).collect();
        for link in &links {
            link.freeze.store(true, Ordering::Release);
        }
        let deadline = std::time::Instant::now() + timeout;
        // A task that has ended meanwhile was frozen by its supervisor.
        while self.run.lock().is_some()
            && links.iter().any(|link| link.freeze.load(Ordering::Acquire))
            && std::time::Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Freezes what ended tasks have left.
    fn freeze_writers(&self) {
        for writer in self.writers.lock().values_mut() {
            if let Err(error) = writer.freeze(None) {
                self.note_error(&error.to_string(), false);
            }
        }
    }

    pub(crate) fn start(self: &Arc<Self>) -> Result<()> {
        let stop = Arc::new(Stop::default());
        let watch = Watch::new(Arc::clone(self), Arc::clone(&stop));
        let thread = spawn(format!("supervisor {}", self.spec().id), move || watch.run())?;
        let before = self.run.lock().replace((stop, thread));
        debug_assert!(before.is_none(), "a supervisor was started twice");
        Ok(())
    }

    pub(crate) fn ask_to_stop(&self) {
        if let Some((stop, _)) = self.run.lock().as_ref() {
            stop.set();
            self.show(DetailedState::Plain(State::Stopping), None, None);
        }
    }

    /// Waits until its threads have ended. Blocks.
    pub(crate) fn join(&self) {
        let run = self.run.lock().take();
        if let Some((stop, thread)) = run {
            stop.set();
            let _ = thread.join();
        }
    }

    pub(crate) fn view(&self) -> SupervisorView {
        let (detailed_state, _) = self.detailed();
        let state = detailed_state.state();
        SupervisorView {
            spec: self.spec(),
            state,
            detailed_state,
            healthy: !matches!(state, State::UnhealthySupervisor | State::UnhealthyTasks),
            suspended: self.is_suspended(),
        }
    }

    /// The state with what the tasks say this very moment.
    fn detailed(&self) -> (DetailedState, Option<String>) {
        let observed = self.observed.lock();
        if observed.detailed != DetailedState::Plain(State::Running) {
            return (observed.detailed, observed.cause.clone());
        }
        if observed.tasks.iter().any(|task| task.link.paused.load(Ordering::Acquire)) {
            let memory = self.node.budget.usage();
            let cause = format!(
                "memory for new rows is used up ({} of {} bytes): reading goes on when a table is dropped, or after a start \
                 with a larger memory_bytes_max",
                memory.used, memory.max
            );
            return (DetailedState::WaitingForMemory, Some(cause));
        }
        if let Some(stuck) = observed.tasks.iter().find_map(|task| task.link.stuck.lock().clone()) {
            return (DetailedState::WaitingForCatalog, Some(stuck));
        }
        if let Some(stuck) = self.publisher.stuck() {
            return (DetailedState::WaitingToPublish, Some(stuck));
        }
        (observed.detailed, observed.cause.clone())
    }

    pub(crate) fn status(&self) -> SupervisorStatus {
        let view = self.view();
        let (_, cause) = self.detailed();
        let SourceSpec::Kafka(kafka) = &view.spec.source;
        let current = self.offsets.all();
        let counts = self.table.accounts.of_stream(&self.offsets.stream);
        let sum = |of: &mut dyn Iterator<Item = &Counts>| {
            let mut sum = Counts::default();
            of.for_each(|counts| sum += *counts);
            sum
        };
        let observed = self.observed.lock();
        // What was read since the latest offsets were asked for shows that there is more.
        let latest: BTreeMap<i32, i64> =
            current.iter().map(|(p, at)| (p.0, observed.latest.get(p).copied().unwrap_or(*at).max(*at))).collect();
        let current: BTreeMap<i32, i64> = current.iter().map(|(p, at)| (p.0, *at)).collect();
        let lag: BTreeMap<i32, i64> =
            latest.iter().map(|(p, high)| (*p, high - current.get(p).unwrap_or(high))).collect();
        let tasks = observed
            .tasks
            .iter()
            .map(|task| {
                let of = |all: &BTreeMap<i32, i64>| {
                    task.partitions.iter().filter_map(|p| all.get(&p.0).map(|n| (p.0, *n))).collect()
                };
                TaskStatus {
                    id: task.id.clone(),
                    started: task.started,
                    starting_offsets: task.starting.clone(),
                    current_offsets: of(&current),
                    lag: of(&lag),
                    paused: task.link.paused.load(Ordering::Acquire),
                    counts: sum(&mut task.partitions.iter().filter_map(|p| counts.get(&p.0))),
                }
            })
            .collect();
        SupervisorStatus {
            id: view.spec.id.clone(),
            table: view.spec.table.clone(),
            stream: kafka.topic.clone(),
            state: view.state,
            detailed_state: view.detailed_state,
            cause,
            next_retry: observed.next_retry,
            healthy: view.healthy,
            suspended: view.suspended,
            partitions: latest.len(),
            task_duration: kafka.task_duration,
            tasks,
            aggregate_lag: lag.values().sum(),
            current_offsets: current,
            latest_offsets: latest,
            lag,
            offsets_last_updated: observed.latest_at,
            warnings: observed.warning.iter().cloned().collect(),
            recent_errors: observed.errors.iter().rev().cloned().collect(),
            counts: sum(&mut counts.values()),
        }
    }

    fn show(&self, detailed: DetailedState, cause: Option<String>, next_retry: Option<Timestamp>) {
        let mut observed = self.observed.lock();
        observed.detailed = detailed;
        observed.cause = cause;
        observed.next_retry = next_retry;
    }

    fn note_error(&self, message: &str, stream: bool) {
        let time = self.node.clock.now();
        let mut observed = self.observed.lock();
        if let Some(last) = observed.errors.back_mut().filter(|last| last.message == message) {
            last.time = time;
            return;
        }
        tracing::warn!(supervisor = %self.spec.lock().id, message, "ingestion has trouble");
        if observed.errors.len() == ERRORS_KEPT {
            observed.errors.pop_front();
        }
        observed.errors.push_back(RecentError { time, message: message.to_owned(), stream });
    }
}

#[cfg(test)]
pub(crate) mod tests;
