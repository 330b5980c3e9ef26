//! The supervisor's thread: one step again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use freshet_segment::catalog::{DataGap, StreamRange};
use freshet_segment::error::SegmentError;
use freshet_segment::failpoint;
use freshet_segment::time::Timestamp;

use super::status::{DetailedState, State};
use super::{Supervisor, TaskView};
use crate::appender::Appender;
use crate::sealing::Writer;
use crate::source::{Bounds, Offset, Source, SourceError, StreamPartition};
use crate::spec::{KafkaSpec, OnDataLoss, SourceSpec, SupervisorSpec};
use crate::task::{Ended, Stop, StreamTask, TaskLink, panic_text, spawn};
use freshet_segment::error::chain;

/// Longest time between two looks at the stream: a new stream partition is found within it.
const PERIOD_MAX: Duration = Duration::from_secs(30);
/// How often lag and tasks are looked at, whatever the period.
const WATCH: Duration = Duration::from_secs(2);
/// First and longest wait after a failed step.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Why a step was not taken.
#[derive(Debug)]
enum Trouble {
    /// The stream is away.
    Stream(SourceError),
    /// Something here is: the catalog, a lease, a thread.
    Here(String),
    /// The topic is not the one whose offsets are known.
    OtherTopic(String),
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self::Stream(error)
    }
}

impl From<SegmentError> for Trouble {
    fn from(error: SegmentError) -> Self {
        Self::Here(chain(&error))
    }
}

struct RunningTask {
    id: String,
    started: Timestamp,
    starting: BTreeMap<i32, i64>,
    partitions: BTreeSet<StreamPartition>,
    link: Arc<TaskLink>,
    thread: Option<JoinHandle<Ended>>,
}

/// The supervisor's thread.
pub(super) struct Watch {
    supervisor: Arc<Supervisor>,
    spec: Arc<SupervisorSpec>,
    stop: Arc<Stop>,
    source: Option<Box<dyn Source>>,
    tasks: BTreeMap<usize, RunningTask>,
    connected: bool,
    /// Stream partitions that rest, and why.
    resting: BTreeMap<StreamPartition, String>,
    /// Lost ranges that the catalog knows.
    noted: BTreeSet<(StreamPartition, Offset)>,
    /// Which incarnation of the topic this is.
    topic_id: Arc<str>,
    /// Whether the topic was compared with the catalog's.
    identified: bool,
    /// Whether another writer may have counted rows of the stream.
    overtaken: bool,
    /// Age at which rows are sealed because of the topic's retention.
    age_max: Duration,
    /// Ends the tasks of the moment.
    tasks_stop: Arc<Stop>,
    /// Those that looked out of range once: a leader that has just changed may be behind for a moment.
    suspects: BTreeSet<StreamPartition>,
    /// Tasks that gave up, and why.
    failed: BTreeMap<usize, String>,
}

impl Watch {
    pub(super) fn new(supervisor: Arc<Supervisor>, stop: Arc<Stop>) -> Self {
        Self {
            spec: supervisor.spec(),
            supervisor,
            stop,
            source: None,
            tasks: BTreeMap::new(),
            connected: false,
            resting: BTreeMap::new(),
            noted: BTreeSet::new(),
            topic_id: Arc::from(""),
            identified: false,
            overtaken: true,
            age_max: Duration::MAX,
            tasks_stop: Arc::default(),
            suspects: BTreeSet::new(),
            failed: BTreeMap::new(),
        }
    }

    fn kafka(&self) -> &KafkaSpec {
        let SourceSpec::Kafka(kafka) = &self.spec.source;
        kafka
    }

    pub(super) fn run(mut self) {
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
                    let (state, message) = match error {
                        Trouble::Here(why) => (DetailedState::WaitingForCatalog, why),
                        Trouble::OtherTopic(why) => (DetailedState::OffsetsLost, why),
                        Trouble::Stream(error) if self.connected => {
                            (DetailedState::LostContactWithStream, error.to_string())
                        }
                        Trouble::Stream(error) => (DetailedState::UnableToConnectToStream, error.to_string()),
                    };
                    self.supervisor.note_error(&message, state != DetailedState::WaitingForCatalog);
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
        // Each task finishes the batch it has; what they hold is published.
        self.end_tasks();
        self.supervisor.freeze_writers();
        self.supervisor.observed.lock().tasks.clear();
    }

    fn end_tasks(&mut self) {
        self.tasks_stop.set();
        let numbers: Vec<usize> = self.tasks.keys().copied().collect();
        for number in numbers {
            if let Some(task) = self.tasks.get_mut(&number) {
                let thread = task.thread.take();
                let ended = thread.map(JoinHandle::join);
                self.keep_writer(number, ended);
            }
        }
        self.tasks.clear();
        self.tasks_stop = Arc::default();
    }

    /// Takes back what a task had stored; gives the panic that ended it.
    fn keep_writer(&self, number: usize, ended: Option<std::thread::Result<Ended>>) -> Option<String> {
        match ended? {
            Ok((writer, result)) => {
                self.supervisor.writers.lock().insert(number, writer);
                result.err().map(|panic| panic_text(&*panic))
            }
            Err(panic) => Some(panic_text(&*panic)),
        }
    }

    /// Another writer has published this stream: what is here is given up, and reading begins at the checkpoint.
    fn give_way(&mut self, why: &str) {
        self.supervisor.note_error(why, false);
        self.end_tasks();
        for writer in self.supervisor.writers.lock().values_mut() {
            writer.discard();
        }
        self.supervisor.publisher.discard();
        self.supervisor.offsets.forget();
        self.overtaken = true;
        self.resting.clear();
        self.suspects.clear();
    }

    fn step(&mut self) -> Result<(), Trouble> {
        if let Some(why) = self.supervisor.publisher.lost() {
            self.give_way(&why);
        }
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
    fn look(&mut self, source: &mut dyn Source) -> Result<(), Trouble> {
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
        if !self.topic_id.is_empty()
            && let Some(found) = source.stream_id()?
            && *found != *self.topic_id
        {
            self.end_tasks();
            return Err(self.other_topic(&self.topic_id, &found));
        }
        self.begin(source, &bounds)?;
        for (partition, bounds) in &bounds {
            let Some(position) = positions.get(partition) else { continue };
            let lost = if *position < bounds.low {
                self.note_gap(*partition, *position, bounds.low)?;
                if self.kafka().on_data_loss == OnDataLoss::Skip {
                    self.skip(*partition, bounds.low);
                    continue;
                }
                Some(format!(
                    "offset {position} of {partition} of topic `{}` is gone, the oldest kept is {}: {} records are lost. \
                     Raise the topic's retention; say onDataLoss: skip to go on behind them, or reset supervisor [{}] to read \
                     again from where its spec says",
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

    /// Where each stream partition begins: at its checkpoint, and one is written for those that have none.
    fn begin(&mut self, source: &mut dyn Source, bounds: &BTreeMap<StreamPartition, Bounds>) -> Result<(), Trouble> {
        let offsets = &self.supervisor.offsets;
        let known = offsets.all();
        if self.identified && bounds.keys().all(|partition| known.contains_key(partition)) {
            return Ok(());
        }
        let (node, table) = (&self.supervisor.node, &self.supervisor.table);
        let topic_id: Arc<str> = Arc::from(source.stream_id()?.unwrap_or_default());
        let checkpoints = node.runtime.block_on(async {
            let lease = node.leases.hold(self.supervisor.publisher.group()).await?;
            let there = node.catalog.checkpoints(table.id, &offsets.stream).await?;
            let at_latest = there.is_empty() && known.is_empty() && !self.kafka().use_earliest_offset;
            let begins: Vec<StreamRange> = bounds
                .iter()
                .map(|(partition, bounds)| {
                    let at = if at_latest { bounds.high } else { bounds.low };
                    let (stream, topic_id) = (Arc::clone(&offsets.stream), Arc::clone(&topic_id));
                    StreamRange { stream, partition: partition.0, topic_id, from: at, to: at }
                })
                .collect();
            let started = node.catalog.start_checkpoints(table.id, &lease, &begins).await;
            node.leases.heed(self.supervisor.publisher.group(), started)
        })?;
        let other =
            checkpoints.iter().find(|c| !c.topic_id.is_empty() && !topic_id.is_empty() && c.topic_id != topic_id);
        if let Some(other) = other {
            return Err(self.other_topic(&other.topic_id, &topic_id));
        }
        // What waits to be published would be counted twice when its commit is already made.
        if self.overtaken && self.supervisor.publisher.pending() == 0 {
            let accounts = node.runtime.block_on(node.catalog.accounts(table.id))?;
            table.accounts.load(&offsets.stream, accounts);
            self.overtaken = false;
        }
        failpoint!("stream.begun")?;
        self.warn_without_id(&topic_id);
        self.topic_id = topic_id;
        self.identified = true;
        // Sealed well before the topic forgets them, rows can be read again after any crash.
        self.age_max = source.retention()?.map_or(Duration::MAX, |retention| retention / 4);
        offsets.begin(checkpoints.into_iter().map(|c| (StreamPartition(c.partition), c.next)));
        Ok(())
    }

    /// Without an id, a topic that is deleted and made again is told from the old one by its offsets alone.
    fn warn_without_id(&self, topic_id: &str) {
        let topic = &self.kafka().topic;
        let warning = topic_id.is_empty().then(|| {
            format!(
                "the brokers tell no id of topic `{topic}`: it is read, and if it is deleted and made again this is noticed only \
                 while it is shorter than what was read. Brokers of Kafka 2.8 and newer tell it; with others reset supervisor \
                 [{}] when the topic is made again",
                self.spec.id
            )
        });
        let before = std::mem::replace(&mut self.supervisor.observed.lock().warning, warning.clone());
        if let Some(warning) = warning.filter(|warning| before.as_ref() != Some(warning)) {
            tracing::warn!(supervisor = %self.spec.id, "{warning}");
        }
    }

    fn other_topic(&self, known: &str, found: &str) -> Trouble {
        Trouble::OtherTopic(format!(
            "topic `{}` was deleted and made again (its id was {known}, now it is {found}): its offsets mean other records. \
             Reset supervisor [{}] to read it from where its spec says",
            self.kafka().topic,
            self.spec.id
        ))
    }

    /// Writes a lost range to the catalog, once.
    fn note_gap(&mut self, partition: StreamPartition, from: Offset, to: Offset) -> Result<(), Trouble> {
        if self.noted.contains(&(partition, to)) {
            return Ok(());
        }
        let supervisor = &self.supervisor;
        let gap = DataGap {
            table: supervisor.table.id,
            stream: Arc::clone(&supervisor.offsets.stream),
            partition: partition.0,
            from,
            to,
            reason: format!("the oldest record that topic `{}` still holds is {to}", self.kafka().topic),
            at: supervisor.node.clock.now(),
        };
        supervisor.node.runtime.block_on(supervisor.node.catalog.record_gap(gap))?;
        self.noted.insert((partition, to));
        Ok(())
    }

    /// Tells the task of a stream partition to go on behind what is lost.
    fn skip(&mut self, partition: StreamPartition, to: Offset) {
        self.suspects.remove(&partition);
        self.resting.remove(&partition);
        if let Some(task) = self.tasks.values().find(|task| task.partitions.contains(&partition)) {
            task.link.skip.lock().insert(partition, to);
            *task.link.assignment.lock() = Some(task.partitions.iter().copied().collect());
        }
    }

    /// Gives each task its share, and starts those that are missing.
    fn tend_tasks(&mut self) -> Result<(), Trouble> {
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
        if let Some(panic) = self.keep_writer(number, task.thread.map(JoinHandle::join)) {
            self.supervisor.node.panics.fetch_add(1, Ordering::Relaxed);
            let message = format!("task {} stopped by a defect and is started again: {panic}", task.id);
            self.supervisor.note_error(&message, false);
        } else if let Some(why) = task.link.failure.lock().take() {
            let message = format!("task {} gave up: {why}", task.id);
            self.supervisor.note_error(&message, false);
            self.failed.insert(number, message);
        }
    }

    fn start_task(&mut self, number: usize, share: BTreeSet<StreamPartition>) -> Result<(), Trouble> {
        let supervisor = &self.supervisor;
        let partitions: Vec<StreamPartition> = share.iter().copied().collect();
        let link = Arc::new(TaskLink::default());
        *link.assignment.lock() = Some(partitions.clone());
        let source = (supervisor.open_source)(&self.spec)?;
        let task = StreamTask {
            node: Arc::clone(&supervisor.node),
            spec: Arc::clone(&self.spec),
            source,
            writer: self.writer(number),
            offsets: Arc::clone(&supervisor.offsets),
            link: Arc::clone(&link),
            stop: Arc::clone(&self.tasks_stop),
        };
        let id = format!("index_kafka_{}_{number}", self.spec.id);
        let thread = spawn(format!("task {number} {}", self.spec.id), move || task.run())
            .map_err(|error| Trouble::Here(error.to_string()))?;
        let starting = supervisor.offsets.of(&partitions).into_iter().map(|(p, at)| (p.0, at)).collect();
        let started = supervisor.node.clock.now();
        self.tasks.insert(number, RunningTask { id, started, starting, partitions: share, link, thread: Some(thread) });
        Ok(())
    }

    /// The writer of task `number`: the one that its last thread gave back, or a new one.
    fn writer(&self, number: usize) -> Writer {
        let supervisor = &self.supervisor;
        let kept = supervisor.writers.lock().remove(&number);
        let mut writer = kept.unwrap_or_else(|| {
            let (node, table) = (Arc::clone(&supervisor.node), Arc::clone(&supervisor.table));
            let rows_max = self.spec.tuning.max_rows_per_segment;
            let appender = Appender::new(Arc::clone(&node), table, self.spec.granularity.segment, rows_max);
            Writer::new(node, appender, Arc::clone(&supervisor.publisher), Arc::clone(&supervisor.offsets.stream))
        });
        writer.limit_age(self.kafka().task_duration.min(self.age_max));
        writer.identify(Arc::clone(&self.topic_id));
        writer
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
