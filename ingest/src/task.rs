//! The run loop of one task of a stream: poll, decode, append, remember the offsets.
//!
//! A task has its own thread, its own client, its own decoder and its own growing segments; it shares nothing on the
//! way. Its offsets move only after the batch they belong to is stored, under one lock with nothing in between that can
//! fail, so wherever a task ends (suspended, panicked, replaced) the next one goes on exactly there. What it has stored
//! and not published is its [`Writer`], which it gives back when it ends, however it ends.
//!
//! A batch that cannot be stored, because the catalog is away, is tried again until it can or the task is told to stop;
//! the source is not polled meanwhile. At the memory limit the source is not polled either. What the client has fetched
//! already stays in its own bounded queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freshet_segment::failpoint;
use parking_lot::{Condvar, Mutex};

use crate::counts::{Account, Counts};
use crate::dead_letter::{DeadLetter, quote};
use crate::decode::{BadField, DecodeRules, Decoder, Rows};
use crate::error::{IngestError, Result};
use crate::sealing::Writer;
use crate::source::{Offset, RawBatch, RawRecord, Source, SourceError, StreamPartition};
use crate::spec::{SupervisorSpec, TuningSpec};
use crate::supervisor::KeptOffsets;
use crate::tables::Node;
use crate::transform::TimeColumn;

/// How long a paused task waits before it looks again whether it should stop.
const PAUSE: Duration = Duration::from_millis(200);
/// First and longest wait before a batch that could not be stored is tried again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Tells threads to end, and wakes those that wait.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn set(&self) {
        *self.set.lock() = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock()
    }

    /// Waits for the end, at most `timeout`; says whether it has come.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut set = self.set.lock();
        if !*set {
            self.changed.wait_for(&mut set, timeout);
        }
        *set
    }
}

/// What a task and its supervisor tell each other.
#[derive(Debug, Default)]
pub(crate) struct TaskLink {
    /// Stream partitions to read from now on; taken by the task.
    pub(crate) assignment: Mutex<Option<Vec<StreamPartition>>>,
    /// The newest trouble of the source; taken by the supervisor.
    pub(crate) trouble: Mutex<Option<SourceError>>,
    /// Why the task gave up for good.
    pub(crate) failure: Mutex<Option<String>>,
    /// Whether it waits for memory.
    pub(crate) paused: AtomicBool,
    /// Why its last batch is not stored yet.
    pub(crate) stuck: Mutex<Option<String>>,
    /// Positions to go on from although what lies before them was not read; taken by the task.
    pub(crate) skip: Mutex<BTreeMap<StreamPartition, Offset>>,
    /// Whether somebody wants what is stored to be published now; cleared by the task once it is frozen.
    pub(crate) freeze: AtomicBool,
}

/// What a task's thread gives back: its writer, and the panic that ended it, if one did.
pub(crate) type Ended = (Writer, std::thread::Result<()>);

/// One task of a stream.
pub(crate) struct StreamTask {
    pub(crate) node: Arc<Node>,
    pub(crate) spec: Arc<SupervisorSpec>,
    pub(crate) source: Box<dyn Source>,
    pub(crate) writer: Writer,
    pub(crate) offsets: Arc<KeptOffsets>,
    pub(crate) link: Arc<TaskLink>,
    pub(crate) stop: Arc<Stop>,
}

impl StreamTask {
    /// Runs until it is told to stop, bears no more bad rows, or meets a defect.
    pub(crate) fn run(mut self) -> Ended {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.read()));
        if ended.is_err() {
            self.writer.appender.close_open();
        }
        (self.writer, ended)
    }

    fn read(&mut self) {
        let spec = Arc::clone(&self.spec);
        let time = TimeColumn::new(&spec.time, &spec.granularity);
        let mut rows = Rows::new(DecodeRules::new(&spec.dimensions, &spec.time, time, BadField::Null));
        let mut decoder = spec.decoder.decoder();
        let crate::spec::SourceSpec::Kafka(kafka) = &spec.source;
        let timeout = kafka.poll_timeout.clamp(Duration::from_millis(1), Duration::from_secs(1));
        let mut batch = RawBatch::default();
        let mut bad_rows = 0;
        while !self.stop.is_set() {
            self.freeze_if_due();
            if self.node.budget.is_full() {
                self.link.paused.store(true, Ordering::Release);
                self.node.budget.wait_for_room(PAUSE);
                continue;
            }
            self.link.paused.store(false, Ordering::Release);
            let assignment = self.link.assignment.lock().take();
            self.skip();
            if let Some(partitions) = assignment {
                let positions = self.offsets.of(&partitions);
                let assigned = failpoint!("stream.assigned")
                    .map_err(|error| SourceError::Lost(error.to_string()))
                    .and_then(|()| self.source.assign(&positions));
                if let Err(error) = assigned {
                    *self.link.trouble.lock() = Some(error);
                    *self.link.assignment.lock() = Some(partitions);
                    self.stop.wait(RETRY_MIN);
                    continue;
                }
            }
            batch.clear();
            let polled = self.source.poll(&mut batch, timeout);
            if let Err(error) = polled {
                *self.link.trouble.lock() = Some(error);
            }
            if batch.records().is_empty() {
                self.reach(&batch);
                continue;
            }
            match self.store(&batch, &mut rows, decoder.as_mut()) {
                Some(bad) => bad_rows += bad,
                None => return,
            }
            self.reach(&batch);
            if let Some(reason) = too_bad(&spec.tuning, bad_rows) {
                *self.link.failure.lock() = Some(reason);
                return;
            }
        }
    }

    fn freeze_if_due(&mut self) {
        let asked = self.link.freeze.load(Ordering::Acquire);
        let reason = self.writer.due();
        if !asked && reason.is_none() {
            return;
        }
        tracing::debug!(supervisor = %self.spec.id, ?reason, asked, "rows are frozen to be published");
        let frozen = failpoint!("stream.freeze").map_err(IngestError::from).and_then(|()| self.writer.freeze(None));
        if let Err(error) = frozen {
            *self.link.stuck.lock() = Some(error.to_string());
        }
        // Only now: whoever asked looks for what is queued once this is false.
        self.link.freeze.store(false, Ordering::Release);
    }

    /// What lies before the marks at a partition's end is no record: the position goes over it.
    fn reach(&mut self, batch: &RawBatch) {
        if !batch.reached().is_empty() {
            self.go_to(batch.reached().iter().copied());
        }
    }

    /// Moves positions without rows; never back.
    fn go_to(&mut self, targets: impl Iterator<Item = (StreamPartition, Offset)>) {
        let positions = self.offsets.all();
        for (partition, to) in targets {
            if let Some(from) = positions.get(&partition).filter(|from| **from < to) {
                self.writer.stored(partition.0, *from, to);
                self.offsets.advance(&BTreeMap::from([(partition, to)]));
            }
        }
    }

    /// Goes on behind records that are lost, as the supervisor was told to.
    fn skip(&mut self) {
        let skips = std::mem::take(&mut *self.link.skip.lock());
        if !skips.is_empty() {
            self.go_to(skips.into_iter());
        }
    }

    /// Stores a batch, however long it takes. Says how many rows were bad; nothing when told to stop before it was done.
    fn store(&mut self, batch: &RawBatch, rows: &mut Rows, decoder: &mut dyn Decoder) -> Option<u64> {
        let mut next = BTreeMap::new();
        let positions = self.offsets.all();
        let fresh: Vec<&RawRecord> = {
            // What lies before our position was stored already: a client may deliver it again after a new assignment.
            let mut expected: BTreeMap<StreamPartition, Offset> = positions.clone();
            let is_fresh = |record: &&RawRecord| {
                let at = expected.entry(record.partition).or_insert(record.offset);
                let fresh = record.offset >= *at;
                if fresh {
                    *at = record.offset + 1;
                    next.insert(record.partition, *at);
                }
                fresh
            };
            batch.records().iter().filter(is_fresh).collect()
        };
        let mut wait = RETRY_MIN;
        loop {
            let counts = self.decode(batch, &fresh, rows, decoder);
            let account = self.account(batch, &fresh, rows, counts);
            let bad = rows.refused() + rows.rows_with_errors();
            let received = self.node.clock.now();
            let produced = |record: u32| fresh.get(record as usize).and_then(|r| r.produced).unwrap_or(received);
            let stored = failpoint!("stream.polled")
                .map_err(IngestError::from)
                .and_then(|()| self.writer.appender.append(rows, produced));
            match stored {
                Ok(()) => {
                    self.writer.account(account);
                    for (partition, to) in &next {
                        let from = positions.get(partition).unwrap_or(to);
                        self.writer.stored(partition.0, *from, *to);
                    }
                    self.offsets.advance(&next);
                    // Rows, counts and positions agree from here on: there is nothing that an error could undo.
                    *self.link.stuck.lock() = failpoint!("stream.stored").err().map(|error| error.to_string());
                    return Some(bad);
                }
                Err(error) => {
                    tracing::warn!(supervisor = %self.spec.id, %error, "a batch could not be stored; trying again");
                    *self.link.stuck.lock() = Some(error.to_string());
                }
            }
            if self.stop.wait(wait) {
                return None;
            }
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Reads the records; says what becomes of their rows once they are stored.
    fn decode(
        &self,
        batch: &RawBatch,
        fresh: &[&RawRecord],
        rows: &mut Rows,
        decoder: &mut dyn Decoder,
    ) -> BTreeMap<i32, Counts> {
        rows.begin(&self.writer.appender.table().schema());
        rows.accept(self.spec.accepted.at(self.node.clock.now()));
        let seen = |rows: &Rows| (rows.len() as u64, rows.refused(), rows.rows_with_errors(), rows.late());
        let mut counts: BTreeMap<i32, Counts> = BTreeMap::new();
        for (number, record) in (0u32..).zip(fresh) {
            let of = counts.entry(record.partition.0).or_default();
            let Some(payload) = batch.payload(record) else {
                of.read += 1;
                of.filtered += 1;
                continue;
            };
            let before = seen(rows);
            decoder.decode(number, payload, rows);
            let after = seen(rows);
            let (stored, rejected, late) = (after.0 - before.0, after.1 - before.1, after.3 - before.3);
            *of += Counts {
                read: stored + rejected + late,
                stored,
                rejected,
                late,
                processed_with_error: after.2 - before.2,
                bytes: payload.len() as u64,
                ..Counts::default()
            };
        }
        counts
    }

    fn account(&self, batch: &RawBatch, fresh: &[&RawRecord], rows: &Rows, counts: BTreeMap<i32, Counts>) -> Account {
        let now = self.node.clock.now();
        let letter = |record: u32, row: u64, at, reason: &str, hint: Option<String>, row_stored| {
            let record = fresh.get(record as usize);
            DeadLetter {
                time: now,
                stream: Arc::clone(&self.offsets.stream),
                partition: record.map_or(-1, |record| record.partition.0),
                offset: record.map_or(-1, |record| record.offset),
                row,
                at,
                reason: reason.to_owned(),
                hint,
                row_stored,
                raw: quote(record.and_then(|record| batch.payload(record)).unwrap_or_default()),
            }
        };
        let mut letters: Vec<DeadLetter> = Vec::new();
        for r in rows.rejections() {
            letters.push(letter(r.record, r.row_in_record, r.at.text(0), &r.reason, r.hint.clone(), false));
        }
        for e in rows.field_errors() {
            let hint = Some("declare a wider type for the dimension, or correct the producer".to_owned());
            letters.push(letter(
                e.record,
                e.row_in_record,
                Some(format!("field `{}`", e.field)),
                &e.reason,
                hint,
                true,
            ));
        }
        Account { counts, letters_unlisted: rows.refused() - rows.rejections().len() as u64, letters }
    }
}

pub(crate) fn too_bad(tuning: &TuningSpec, bad_rows: u64) -> Option<String> {
    if tuning.report_parse_exceptions && bad_rows > 0 {
        return Some("a row could not be read, and reportParseExceptions asks to stop at the first".to_owned());
    }
    let max = tuning.max_parse_exceptions?;
    (bad_rows > max).then(|| format!("{bad_rows} rows could not be read, more than maxParseExceptions = {max}"))
}

/// The result of a task's thread, in words.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

/// Starts a named thread.
pub(crate) fn spawn<T: Send + 'static>(
    name: String,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|error| crate::error::IngestError::internal(format!("no thread for ingestion: {error}")))
}
