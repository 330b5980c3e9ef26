//! Keeps one table filled from one stream: finds stream partitions, divides them among tasks, watches both.
//!
//! A supervisor is a thread that takes the same step again and again: which stream partitions are there, how far do
//! they reach, does each task have its share, is each task alive. A step that fails because the stream is away says so
//! in the state, with the cause and the time of the next try, and is simply taken again; so an outage needs nobody.
//!
//! Where to read is decided here and nowhere else. At the first sight of a topic its stream partitions begin at the
//! earliest or at the latest record, as the spec says; one that appears later begins at its earliest. A position that
//! the stream no longer holds is never moved: that stream partition rests, the state says why, and the others go on.

mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use freshet_segment::id::TableName;
use freshet_segment::time::Timestamp;
use parking_lot::Mutex;

pub use status::{DetailedState, RecentError, State, SupervisorStatus, SupervisorView, TaskStatus};

use crate::appender::Appender;
use crate::counts::SharedCounts;
use crate::error::Result;
use crate::ingest::OpenSource;
use crate::source::{Bounds, Offset, Source, SourceError, StreamPartition};
use crate::spec::{KafkaSpec, SourceSpec, SupervisorSpec};
use crate::tables::{Node, Table};
use crate::task::{Stop, StreamTask, TaskLink, panic_text, spawn};

/// Longest time between two looks at the stream: a new stream partition is found within it.
const PERIOD_MAX: Duration = Duration::from_secs(30);
/// How often lag and tasks are looked at, whatever the period.
const WATCH: Duration = Duration::from_secs(2);
/// First and longest wait after a failed step.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Errors that a status lists.
const ERRORS_KEPT: usize = 10;

/// The next offset of each stream partition of a topic; outlives supervisors.
#[derive(Debug)]
pub(crate) struct KeptOffsets {
    pub(crate) stream: String,
    pub(crate) table: TableName,
    next: Mutex<BTreeMap<StreamPartition, Offset>>,
}

impl KeptOffsets {
    pub(crate) fn new(stream: String, table: TableName) -> Self {
        Self { stream, table, next: Mutex::default() }
    }

    pub(crate) fn all(&self) -> BTreeMap<StreamPartition, Offset> {
        self.next.lock().clone()
    }

    pub(crate) fn of(&self, partitions: &[StreamPartition]) -> Vec<(StreamPartition, Offset)> {
        let next = self.next.lock();
        partitions.iter().filter_map(|p| next.get(p).map(|offset| (*p, *offset))).collect()
    }

    /// A batch is stored: its offsets move together.
    pub(crate) fn advance(&self, to: &BTreeMap<StreamPartition, Offset>) {
        let mut next = self.next.lock();
        for (partition, offset) in to {
            let at = next.entry(*partition).or_insert(*offset);
            debug_assert!(*at <= *offset, "{partition} went back from {at} to {offset}");
            *at = *offset;
        }
    }

    /// All before these positions is stored; some may have passed them already.
    pub(crate) fn reach(&self, positions: &[(StreamPartition, Offset)]) {
        let mut next = self.next.lock();
        for (partition, offset) in positions {
            next.entry(*partition).and_modify(|at| *at = (*at).max(*offset));
        }
    }

    fn begin(&self, at: impl IntoIterator<Item = (StreamPartition, Offset)>) {
        let mut next = self.next.lock();
        for (partition, offset) in at {
            next.entry(partition).or_insert(offset);
        }
    }

    fn forget(&self) {
        self.next.lock().clear();
    }
}

struct RunningTask {
    id: String,
    started: Timestamp,
    starting: BTreeMap<i32, i64>,
    partitions: BTreeSet<StreamPartition>,
    link: Arc<TaskLink>,
    thread: Option<JoinHandle<()>>,
}

/// What the supervisor's thread writes and everybody may look at.
struct Observed {
    detailed: DetailedState,
    cause: Option<String>,
    next_retry: Option<Timestamp>,
    latest: BTreeMap<StreamPartition, Offset>,
    latest_at: Option<Timestamp>,
    errors: VecDeque<RecentError>,
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
    counts: Arc<SharedCounts>,
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
        Arc::new(Self {
            node,
            table,
            spec: Mutex::new(spec),
            offsets,
            open_source,
            suspended: AtomicBool::new(suspended),
            counts: Arc::default(),
            observed: Mutex::new(Observed {
                detailed: DetailedState::Plain(if suspended { State::Suspended } else { State::Pending }),
                cause: None,
                next_retry: None,
                latest: BTreeMap::new(),
                latest_at: None,
                errors: VecDeque::new(),
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

    pub(crate) fn forget_offsets(&self) {
        self.offsets.forget();
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
        (observed.detailed, observed.cause.clone())
    }

    pub(crate) fn status(&self) -> SupervisorStatus {
        let view = self.view();
        let (_, cause) = self.detailed();
        let SourceSpec::Kafka(kafka) = &view.spec.source;
        let current = self.offsets.all();
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
            recent_errors: observed.errors.iter().rev().cloned().collect(),
            counts: self.counts.read(),
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

/// The supervisor's thread.
struct Watch {
    supervisor: Arc<Supervisor>,
    spec: Arc<SupervisorSpec>,
    stop: Arc<Stop>,
    source: Option<Box<dyn Source>>,
    tasks: BTreeMap<usize, RunningTask>,
    connected: bool,
    /// Stream partitions that rest, and why.
    resting: BTreeMap<StreamPartition, String>,
    /// Those that looked out of range once: a leader that has just changed may be behind for a moment.
    suspects: BTreeSet<StreamPartition>,
    /// Tasks that gave up, and why.
    failed: BTreeMap<usize, String>,
}

impl Watch {
    fn new(supervisor: Arc<Supervisor>, stop: Arc<Stop>) -> Self {
        Self {
            spec: supervisor.spec(),
            supervisor,
            stop,
            source: None,
            tasks: BTreeMap::new(),
            connected: false,
            resting: BTreeMap::new(),
            suspects: BTreeSet::new(),
            failed: BTreeMap::new(),
        }
    }

    fn kafka(&self) -> &KafkaSpec {
        let SourceSpec::Kafka(kafka) = &self.spec.source;
        kafka
    }

    fn run(mut self) {
        self.supervisor.show(DetailedState::ConnectingToStream, None, None);
        let period = self.kafka().period.clamp(Duration::from_millis(10), PERIOD_MAX).min(WATCH);
        let mut retry = RETRY_MIN;
        while !self.stop.is_set() {
            let wait = match self.step() {
                Ok(()) => {
                    retry = RETRY_MIN;
                    period
                }
                Err(error) => {
                    let wait = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    let message = error.to_string();
                    self.supervisor.note_error(&message, true);
                    let state = if self.connected {
                        DetailedState::LostContactWithStream
                    } else {
                        DetailedState::UnableToConnectToStream
                    };
                    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                    let next =
                        Timestamp::from_millis(self.supervisor.node.clock.now().as_millis().saturating_add(wait_ms));
                    if !self.stop.is_set() {
                        self.supervisor.show(state, Some(message), Some(next));
                    }
                    wait
                }
            };
            self.stop.wait(wait);
        }
        // Tasks share the stop; each finishes the batch it has.
        for task in self.tasks.values_mut() {
            if let Some(thread) = task.thread.take() {
                let _ = thread.join();
            }
        }
        self.supervisor.observed.lock().tasks.clear();
    }

    fn step(&mut self) -> Result<(), SourceError> {
        let mut source = match self.source.take() {
            Some(source) => source,
            None => (self.supervisor.open_source)(&self.spec)?,
        };
        let looked = self.look(source.as_mut());
        self.source = Some(source);
        looked?;
        self.connected = true;
        self.tend_tasks()?;
        self.show();
        Ok(())
    }

    /// Which stream partitions there are, where new ones begin, and which positions are lost.
    fn look(&mut self, source: &mut dyn Source) -> Result<(), SourceError> {
        let offsets = Arc::clone(&self.supervisor.offsets);
        // Positions first: they only grow, so a bound asked for later cannot be behind them.
        let positions = offsets.all();
        let mut bounds: BTreeMap<StreamPartition, Bounds> = BTreeMap::new();
        for partition in source.partitions()? {
            bounds.insert(partition, source.bounds(partition)?);
            if self.stop.is_set() {
                return Ok(());
            }
        }
        let at_latest = positions.is_empty() && !self.kafka().use_earliest_offset;
        offsets.begin(
            bounds.iter().map(|(partition, bounds)| (*partition, if at_latest { bounds.high } else { bounds.low })),
        );
        for (partition, bounds) in &bounds {
            let Some(position) = positions.get(partition) else { continue };
            let lost = if *position < bounds.low {
                Some(format!(
                    "offset {position} of {partition} of topic `{}` is gone, the oldest kept is {}: {} records are lost. \
                     Raise the topic's retention; reset supervisor [{}] to read again from where its spec says",
                    self.kafka().topic,
                    bounds.low,
                    bounds.low - position,
                    self.spec.id
                ))
            } else if *position > bounds.high {
                Some(format!(
                    "offset {position} of {partition} of topic `{}` does not exist, its end is {}: the topic was made anew or \
                     cut. Reset supervisor [{}] to read it from where its spec says",
                    self.kafka().topic,
                    bounds.high,
                    self.spec.id
                ))
            } else {
                None
            };
            match lost {
                None => {
                    self.suspects.remove(partition);
                    self.resting.remove(partition);
                }
                Some(why) if self.resting.contains_key(partition) || !self.suspects.insert(*partition) => {
                    self.supervisor.note_error(&why, true);
                    self.resting.insert(*partition, why);
                }
                Some(_) => {}
            }
        }
        let now = self.supervisor.node.clock.now();
        let mut observed = self.supervisor.observed.lock();
        observed.latest = bounds.iter().map(|(partition, bounds)| (*partition, bounds.high)).collect();
        observed.latest_at = Some(now);
        Ok(())
    }

    /// Gives each task its share, and starts those that are missing.
    fn tend_tasks(&mut self) -> Result<(), SourceError> {
        let task_count = self.kafka().task_count.max(1);
        let mut shares: BTreeMap<usize, BTreeSet<StreamPartition>> = BTreeMap::new();
        for partition in self.supervisor.offsets.all().into_keys() {
            if !self.resting.contains_key(&partition) && !self.suspects.contains(&partition) {
                let number = usize::try_from(partition.0).unwrap_or(0) % task_count;
                shares.entry(number).or_default().insert(partition);
            }
        }
        // A task whose stream partitions all rest stays, with nothing to read.
        for number in self.tasks.keys() {
            shares.entry(*number).or_default();
        }
        for (number, share) in shares {
            if self.stop.is_set() || self.failed.contains_key(&number) {
                continue;
            }
            self.bury(number);
            if self.failed.contains_key(&number) {
                continue;
            }
            match self.tasks.get_mut(&number) {
                Some(task) => {
                    let trouble = task.link.trouble.lock().take();
                    let lost_place = matches!(trouble, Some(SourceError::OutOfRange(_)));
                    if let Some(trouble) = trouble {
                        self.supervisor.note_error(&trouble.to_string(), true);
                    }
                    if task.partitions != share || lost_place {
                        *task.link.assignment.lock() = Some(share.iter().copied().collect());
                        task.partitions = share;
                    }
                }
                None if share.is_empty() => {}
                None => self.start_task(number, share)?,
            }
        }
        Ok(())
    }

    /// Takes away a task whose thread has ended.
    fn bury(&mut self, number: usize) {
        let ended =
            self.tasks.get(&number).is_some_and(|task| task.thread.as_ref().is_none_or(JoinHandle::is_finished));
        if !ended {
            return;
        }
        let Some(task) = self.tasks.remove(&number) else { return };
        if let Some(Err(panic)) = task.thread.map(JoinHandle::join) {
            self.supervisor.node.panics.fetch_add(1, Ordering::Relaxed);
            let message = format!("task {} stopped by a defect and is started again: {}", task.id, panic_text(&*panic));
            self.supervisor.note_error(&message, false);
        } else if let Some(why) = task.link.failure.lock().take() {
            let message = format!("task {} gave up: {why}", task.id);
            self.supervisor.note_error(&message, false);
            self.failed.insert(number, message);
        }
    }

    fn start_task(&mut self, number: usize, share: BTreeSet<StreamPartition>) -> Result<(), SourceError> {
        let supervisor = &self.supervisor;
        let partitions: Vec<StreamPartition> = share.iter().copied().collect();
        let link = Arc::new(TaskLink::default());
        *link.assignment.lock() = Some(partitions.clone());
        let task = StreamTask {
            node: Arc::clone(&supervisor.node),
            spec: Arc::clone(&self.spec),
            source: (supervisor.open_source)(&self.spec)?,
            appender: Appender::new(
                Arc::clone(&supervisor.node),
                Arc::clone(&supervisor.table),
                self.spec.granularity.segment,
                self.spec.tuning.max_rows_per_segment,
            ),
            offsets: Arc::clone(&supervisor.offsets),
            counts: Arc::clone(&supervisor.counts),
            link: Arc::clone(&link),
            stop: Arc::clone(&self.stop),
        };
        let id = format!("index_kafka_{}_{number}", self.spec.id);
        let thread = spawn(format!("task {number} {}", self.spec.id), move || task.run())
            .map_err(|error| SourceError::Lost(error.to_string()))?;
        let starting = supervisor.offsets.of(&partitions).into_iter().map(|(p, at)| (p.0, at)).collect();
        let started = supervisor.node.clock.now();
        self.tasks.insert(number, RunningTask { id, started, starting, partitions: share, link, thread: Some(thread) });
        Ok(())
    }

    fn show(&self) {
        let tasks = self
            .tasks
            .values()
            .map(|task| TaskView {
                id: task.id.clone(),
                started: task.started,
                starting: task.starting.clone(),
                partitions: task.partitions.clone(),
                link: Arc::clone(&task.link),
            })
            .collect();
        self.supervisor.observed.lock().tasks = tasks;
        if self.stop.is_set() {
            return;
        }
        if let Some(why) = self.failed.values().next() {
            self.supervisor.show(DetailedState::Plain(State::UnhealthyTasks), Some(why.clone()), None);
        } else if let Some(why) = self.resting.values().next() {
            self.supervisor.show(DetailedState::OffsetsLost, Some(why.clone()), None);
        } else {
            self.supervisor.show(DetailedState::Plain(State::Running), None, None);
        }
    }
}

#[cfg(test)]
mod tests;
