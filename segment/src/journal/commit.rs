//! Group commit: the queue of appends and the thread that writes them.
//!
//! A group is synced at once when nobody else is expected; what is appended during the sync is the next group. Only when the
//! last group had more records than wait now does the thread give them a few milliseconds: with many clients that answer in
//! lockstep, half of the syncs would otherwise serve one record each.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::scan::{self, Loaded};
use super::ticket::{Failed, Promise};
use super::writer::{Numbered, Writer};
use super::{Damage, FileInfo, JournalOptions, JournalStatus, NewRecord, Ticket, frame};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::{ErrorKind, Result, SegmentError};

#[derive(Debug)]
struct Group {
    promise: Arc<Promise>,
    records: Vec<Numbered>,
    bytes: usize,
    since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct State {
    queue: VecDeque<Group>,
    queued_bytes: usize,
    pub(super) next: i64,
    pub(super) synced: i64,
    pub(super) damage: Option<Damage>,
    pub(super) files: Vec<FileInfo>,
    poisoned: Option<Arc<str>>,
    stopped: bool,
    groups: u64,
    /// Records of the last group.
    last_group: usize,
    mark_wanted: bool,
    /// The thread has nothing to do.
    idle: bool,
}

/// What the handle and the thread share. Locks are taken in the order writer, state.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) disk: Disk,
    pub(super) folder: PathBuf,
    pub(super) stream: u64,
    pub(super) options: JournalOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) writer: Mutex<Writer>,
    pub(super) state: Mutex<State>,
    pub(super) work: Condvar,
}

impl Shared {
    pub(super) fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Ticket>> {
        let bytes: usize = records.iter().map(frame::record_bytes).sum();
        let at = self.clock.now();
        let mut state = self.state.lock();
        self.refuse(&state)?;
        if state.queued_bytes > 0 && state.queued_bytes + bytes > self.options.queue_bytes_max {
            let limit = self.options.queue_bytes_max as u64;
            return Err(SegmentError::Full {
                what: "the journal's queue",
                limit,
                cure: "send slower, or use a faster disk",
            });
        }
        // A catalog that was changed by hand can name such a checkpoint; nothing else comes this far.
        if i64::try_from(records.len()).ok().and_then(|count| state.next.checked_add(count)).is_none() {
            let reason = format!("there are none behind {}: look at the checkpoint in the catalog", state.next);
            return Err(SegmentError::invalid("numbers of a journal", reason));
        }
        state.queued_bytes += bytes;
        let tickets = records.into_iter().map(|record| {
            let number = state.next;
            state.next += 1;
            let promise = state.enqueue(Numbered { number, at, record }, self.options.group_bytes);
            Ticket { number, promise, waker: None }
        });
        let tickets = tickets.collect();
        drop(state);
        self.work.notify_one();
        Ok(tickets)
    }

    fn refuse(&self, state: &State) -> Result<()> {
        if let Some(damage) = &state.damage {
            return Err(damage.error());
        }
        if let Some(reason) = &state.poisoned {
            let reason = format!("it is closed after a failure until it is opened again: {reason}");
            return Err(SegmentError::unavailable(format!("journal `{}`", self.name), reason));
        }
        if state.stopped {
            return Err(SegmentError::unavailable(format!("journal `{}`", self.name), "it is closed"));
        }
        Ok(())
    }

    /// The thread's life.
    pub(super) fn run(&self) {
        while let Some(group) = self.next_group() {
            let durable = group.records.first().map_or(0, |one| one.number);
            let written = catch_unwind(AssertUnwindSafe(|| self.writer.lock().write_group(durable, &group.records)));
            let written = written.unwrap_or_else(|_| {
                // The half-done file is not used again.
                self.writer.lock().current = None;
                Err(SegmentError::unavailable(format!("journal `{}`", self.name), "writing has panicked"))
            });
            let file = self.writer.lock().current_file();
            match written {
                Ok(()) => self.succeeded(group, file),
                Err(failed) => self.failed(group, file, &failed),
            }
        }
    }

    /// Waits for a group that is worth a sync; nothing when the journal is closed and all is written.
    fn next_group(&self) -> Option<Group> {
        let mut state = self.state.lock();
        loop {
            let Some(front) = state.queue.front() else {
                if state.stopped {
                    return None;
                }
                if std::mem::take(&mut state.mark_wanted) {
                    let durable = state.synced;
                    MutexGuard::unlocked(&mut state, || self.writer.lock().write_mark(durable));
                } else {
                    state.idle = true;
                    self.work.wait(&mut state);
                    state.idle = false;
                }
                continue;
            };
            let more = !state.stopped && state.queue.len() == 1 && front.records.len() < state.last_group;
            let left = self.options.group_wait.saturating_sub(front.since.elapsed());
            if !more || front.bytes >= self.options.group_bytes || left.is_zero() {
                let group = state.queue.pop_front()?;
                state.queued_bytes = state.queued_bytes.saturating_sub(group.bytes);
                return Some(group);
            }
            self.work.wait_for(&mut state, left);
        }
    }

    fn succeeded(&self, group: Group, file: Option<FileInfo>) {
        {
            let mut state = self.state.lock();
            state.synced = group.records.last().map_or(state.synced, |last| last.number + 1);
            state.groups += 1;
            state.last_group = group.records.len();
            state.mark_wanted = true;
            state.note_file(file);
        }
        group.promise.settle(Ok(()));
    }

    /// The group and all behind it are refused, and their numbers will be given again. Only a full disk needs nobody: the
    /// next append tries again.
    fn failed(&self, group: Group, file: Option<FileInfo>, failed: &SegmentError) {
        let full = failed.kind() == ErrorKind::Exhausted;
        let reason: Arc<str> = with_cause(failed).into();
        let behind = {
            let mut state = self.state.lock();
            state.next = state.synced;
            state.queued_bytes = 0;
            state.last_group = 0;
            state.note_file(file);
            if !full {
                state.poisoned = Some(Arc::clone(&reason));
            }
            std::mem::take(&mut state.queue)
        };
        let failed = Failed { journal: Arc::clone(&self.name), reason, full };
        for group in std::iter::once(group).chain(behind) {
            group.promise.settle(Err(failed.clone()));
        }
    }

    pub(super) fn reopen(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        let synced = {
            let state = self.state.lock();
            if state.damage.is_some() || state.poisoned.is_none() {
                return state.damage.as_ref().map_or(Ok(()), |damage| Err(damage.error()));
            }
            state.synced
        };
        let numbers = scan::file_numbers(&self.disk, &self.folder)?;
        for (at, first) in numbers.iter().enumerate().filter(|(_, first)| **first < synced) {
            let limit = numbers.get(at + 1).map_or(synced, |next| synced.min(*next));
            let walk = Loaded::read(&self.disk, &self.folder, *first, Some(self.stream))?.walk(Some(limit));
            if let Some(damage) = walk.damage {
                return Err(damage.error());
            }
        }
        writer.start_file(synced, &[], 0)?;
        let file = writer.current_file();
        let mut state = self.state.lock();
        state.note_file(file);
        state.poisoned = None;
        Ok(())
    }

    /// Where a replay ends: behind what is durable, or just behind the damage so that it is met.
    /// Where a replay from `from` ends: it must meet the damage, also one that lies before `from`. Then nobody knows whether
    /// there are records behind it.
    pub(super) fn end_of_replay(&self, from: i64) -> i64 {
        let state = self.state.lock();
        state.damage.as_ref().map_or(state.synced, |damage| damage.number.max(from).saturating_add(1))
    }

    pub(super) fn refuse_when_damaged(&self) -> Result<()> {
        self.state.lock().damage.as_ref().map_or(Ok(()), |damage| Err(damage.error()))
    }

    pub(super) fn forget_files(&self, removed: &[i64]) {
        self.state.lock().files.retain(|file| !removed.contains(&file.first));
    }

    pub(super) fn status(&self) -> JournalStatus {
        let state = self.state.lock();
        JournalStatus {
            bytes: state.files.iter().map(|file| file.used).sum(),
            files: state.files.len(),
            next: state.next,
            synced: state.synced,
            groups: state.groups,
            poisoned: state.poisoned.as_ref().map(|reason| reason.to_string()),
            damaged: state.damage.as_ref().map(|damage| damage.error().to_string()),
        }
    }

    /// Waits until the thread has nothing to do, so that a seed gives the same file calls each time.
    #[cfg(test)]
    pub(super) fn quiesce(&self) {
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let state = self.state.lock();
            if state.idle && state.queue.is_empty() {
                return;
            }
            drop(state);
            assert!(Instant::now() < deadline, "the journal's thread does not come to rest");
            std::thread::yield_now();
        }
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.work.notify_all();
    }

    /// After the thread has ended.
    pub(super) fn finish(&self) -> Result<()> {
        let (durable, sound) = {
            let state = self.state.lock();
            (state.synced, state.poisoned.is_none() && state.damage.is_none())
        };
        if sound { self.writer.lock().finish(durable) } else { Ok(()) }
    }
}

impl State {
    fn enqueue(&mut self, one: Numbered, group_bytes: usize) -> Arc<Promise> {
        let bytes = frame::record_bytes(&one.record);
        match self.queue.back_mut() {
            Some(group) if group.bytes + bytes <= group_bytes => {
                group.bytes += bytes;
                group.records.push(one);
                Arc::clone(&group.promise)
            }
            _ => {
                let promise = Arc::new(Promise::default());
                let records = vec![one];
                self.queue.push_back(Group { promise: Arc::clone(&promise), records, bytes, since: Instant::now() });
                promise
            }
        }
    }

    /// Takes the file being written into the list; one that begins where another did has replaced it.
    fn note_file(&mut self, file: Option<FileInfo>) {
        let Some(file) = file else { return };
        self.files.retain(|known| known.first < file.first);
        self.files.push(file);
    }
}

/// An error with what lies below it, for a text that travels without its source.
fn with_cause(failed: &SegmentError) -> String {
    match std::error::Error::source(failed) {
        Some(cause) => format!("{failed}: {cause}"),
        None => failed.to_string(),
    }
}
