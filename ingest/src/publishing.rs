//! Frozen rows → deep storage → one catalog transaction → the timeline.
//!
//! ```text
//! task ──freeze──▶ queue of one stream ──▶ write, verify ──▶ upload ──▶ publish ──▶ hand over ──▶ cut the journal
//!                  (in order, one at a time)                            (official)  (one swap)
//! ```
//! A [`Publisher`] belongs to one stream of one table and outlives the tasks that feed it, so a suspension, a new spec
//! or a task that dies loses nothing that was frozen. Its queue is worked in order, because each publication begins
//! where the one before ended. What fails for reasons outside is tried again for as long as it takes; files that are
//! stored already are not stored again, and the publication keeps its id, so a transaction whose outcome was lost is
//! found and not repeated. When another writer has moved the checkpoint, or taken the lease, everything that waits here
//! is given up: those rows are the other's, and reading starts again from the catalog.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use freshet_segment::catalog::{Commit, DedupKey, Publication, PublishId, StreamRange};
use freshet_segment::deep_storage::StoredSegment;
use freshet_segment::disk::Disk;
use freshet_segment::error::{SegmentError, chain};
use freshet_segment::failpoint;
use freshet_segment::growing::GrowingSnapshot;
use freshet_segment::id::SegmentId;
use freshet_segment::journal::Journal;
use freshet_segment::sealed::{AttemptId, Layout, SealedSegment, Sealing};
use freshet_segment::timeline::{Changed, HandOver, SegmentEntry, VISIBLE_FOREVER, VisibleSegment};
use parking_lot::{Condvar, Mutex};

use crate::counts::PendingId;
use crate::error::{IngestError, Result};
use crate::tables::{Node, Table};
use crate::task::{panic_text, spawn};

/// First and longest wait before a failed step is taken again.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Rows that no longer grow: all that a task held at one moment, and the positions they cover.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// The publication they become.
    pub(crate) id: PublishId,
    /// Their segments, as the timeline shows them.
    pub(crate) snapshots: Vec<Arc<GrowingSnapshot>>,
    /// Bytes counted against the budget.
    pub(crate) counted: usize,
    /// The positions they cover.
    pub(crate) ranges: Vec<StreamRange>,
    /// Keys of the pushes among them.
    pub(crate) dedup: Vec<DedupKey>,
    /// What became of the rows read there.
    pub(crate) pending: PendingId,
    /// The journal that holds them, and up to where it may be cut.
    pub(crate) cut: Option<(Arc<Journal>, i64)>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Frozen>,
    /// Whether a thread works on the queue.
    running: bool,
    queued: u64,
    done: u64,
    stuck: Option<String>,
    lost: Option<String>,
    stopping: bool,
}

/// Publishes what the tasks of one stream freeze.
#[derive(Debug)]
pub(crate) struct Publisher {
    node: Arc<Node>,
    table: Arc<Table>,
    group: Arc<str>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Publisher {
    pub(crate) fn new(node: Arc<Node>, table: Arc<Table>, group: Arc<str>) -> Arc<Self> {
        Arc::new(Self { node, table, group, queue: Mutex::default(), changed: Condvar::new() })
    }

    /// The lease under which it publishes.
    pub(crate) fn group(&self) -> &Arc<str> {
        &self.group
    }

    /// Takes frozen rows; gives their place in the queue, for [`Self::wait`].
    pub(crate) fn queue(self: &Arc<Self>, frozen: Frozen) -> Result<u64> {
        let mut queue = self.queue.lock();
        queue.waiting.push_back(frozen);
        queue.queued += 1;
        let place = queue.queued;
        if !queue.running && !queue.stopping {
            queue.running = true;
            let publisher = Arc::clone(self);
            let started = spawn(format!("publish {}", self.table.name), move || publisher.run());
            if started.is_err() {
                queue.running = false;
            }
            started?;
        }
        Ok(place)
    }

    /// How many freezes are not published.
    pub(crate) fn pending(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// The place of the newest freeze.
    pub(crate) fn newest(&self) -> u64 {
        self.queue.lock().queued
    }

    /// Why the first freeze of the queue is not published yet, once a step has failed.
    pub(crate) fn stuck(&self) -> Option<String> {
        self.queue.lock().stuck.clone()
    }

    /// Why another writer's state stands in the way; cleared by [`Self::discard`].
    pub(crate) fn lost(&self) -> Option<String> {
        self.queue.lock().lost.clone()
    }

    /// Waits until everything up to `place` is published. A step that waits to be taken again is taken now.
    ///
    /// # Errors
    /// `Unavailable` when it is not by then, or was given up.
    pub(crate) fn wait(&self, place: u64, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        self.changed.notify_all();
        let mut queue = self.queue.lock();
        loop {
            if queue.done >= place {
                return Ok(());
            }
            let why = queue.lost.clone();
            if why.is_some() || self.changed.wait_until(&mut queue, deadline).timed_out() {
                let why = why.or_else(|| queue.stuck.clone()).unwrap_or_else(|| "it takes longer".to_owned());
                return Err(IngestError::Unavailable {
                    what: format!("rows of table `{}` are not published yet: {why}", self.table.name),
                    hint: Some("they are kept and published as soon as that works; ask again".to_owned()),
                });
            }
        }
    }

    /// Gives up everything that waits: takes it out of sight and gives its memory back.
    pub(crate) fn discard(&self) {
        let given_up: Vec<Frozen> = {
            let mut queue = self.queue.lock();
            let all: Vec<Frozen> = queue.waiting.drain(..).collect();
            queue.done = queue.queued;
            queue.lost = None;
            queue.stuck = None;
            all
        };
        self.changed.notify_all();
        let ids: Vec<SegmentId> = given_up.iter().flat_map(|f| f.snapshots.iter().map(|s| s.id().clone())).collect();
        if !ids.is_empty() {
            tracing::warn!(table = %self.table.name, segments = ids.len(), "rows that another writer owns are given up");
            self.table.timeline.remove(&ids);
        }
        for frozen in given_up {
            self.table.accounts.give_up(frozen.pending);
            self.table.memory.resize(frozen.counted, 0);
        }
    }

    /// No step is tried again from here on.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub(crate) fn is_running(&self) -> bool {
        self.queue.lock().running
    }

    /// Whether what waits is left to the next start.
    pub(crate) fn is_stopping(&self) -> bool {
        self.queue.lock().stopping
    }

    fn run(self: Arc<Self>) {
        let mut wait = RETRY_MIN;
        let mut progress = Progress::default();
        loop {
            // The first of the queue stays in it until it is published: whoever counts what is pending counts it.
            let work = {
                let mut queue = self.queue.lock();
                let first = queue.waiting.front().map(Work::of);
                if first.is_none() || queue.stopping && queue.stuck.is_some() || queue.lost.is_some() {
                    queue.running = false;
                    return;
                }
                first
            };
            let Some(work) = work else { return };
            if progress.id != Some(work.id) {
                progress = Progress { id: Some(work.id), ..Progress::default() };
            }
            match self.attempt(&work, &mut progress) {
                Ok(()) => {
                    wait = RETRY_MIN;
                    let mut queue = self.queue.lock();
                    // A discard may have emptied the queue meanwhile.
                    if queue.waiting.front().is_some_and(|first| first.id == work.id) {
                        queue.waiting.pop_front();
                        queue.done += 1;
                    }
                    queue.stuck = None;
                    drop(queue);
                    self.changed.notify_all();
                }
                Err(Failure::Lost(error)) => {
                    tracing::error!(table = %self.table.name, group = %self.group, %error, "another writer publishes this stream");
                    self.node.leases.forget(&self.group);
                    let mut queue = self.queue.lock();
                    queue.lost = Some(error.to_string());
                    queue.running = false;
                    drop(queue);
                    self.changed.notify_all();
                    return;
                }
                Err(Failure::Dropped) => {
                    tracing::info!(table = %self.table.name, "rows of a dropped table are let go");
                    self.discard();
                }
                Err(Failure::Again(error)) => {
                    let cause = chain(&error);
                    let mut queue = self.queue.lock();
                    if queue.stuck.as_ref() != Some(&cause) {
                        tracing::warn!(table = %self.table.name, cause, "rows could not be published; trying again");
                    }
                    queue.stuck = Some(cause);
                    self.changed.notify_all();
                    if !queue.stopping {
                        self.changed.wait_for(&mut queue, jittered(wait));
                    }
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// A defect costs this attempt. Without another one the queue would stand still until the process ends.
    fn attempt(&self, work: &Work, progress: &mut Progress) -> Result<(), Failure> {
        let attempt = catch_unwind(AssertUnwindSafe(|| self.publish(work, progress)));
        attempt.unwrap_or_else(|panic| {
            self.node.panics.fetch_add(1, Ordering::Relaxed);
            let reason = format!("it stopped by a defect: {}", panic_text(&*panic));
            Err(Failure::Again(SegmentError::unavailable("publishing", reason)))
        })
    }

    fn publish(&self, work: &Work, progress: &mut Progress) -> Result<(), Failure> {
        failpoint!("publish.begin")?;
        for snapshot in work.snapshots.iter().skip(progress.stored.len()) {
            let stored = seal_and_store(&self.node, &self.table, snapshot)?;
            progress.stored.push(stored);
            failpoint!("publish.stored")?;
        }
        let commit = match &progress.commit {
            Some(commit) => commit.clone(),
            None => {
                let commit = self.commit(work, &progress.stored).map_err(Failure::of_commit)?;
                progress.commit = Some(commit.clone());
                commit
            }
        };
        failpoint!("publish.committed")?;
        if !progress.handed_over {
            self.hand_over(work, &progress.stored, &commit);
            progress.handed_over = true;
        }
        failpoint!("publish.handed_over")?;
        if let Some((journal, to)) = &work.cut {
            journal.cut(*to)?;
        }
        failpoint!("publish.cut")?;
        tracing::info!(
            table = %self.table.name,
            segments = progress.stored.len(),
            rows = work.snapshots.iter().map(|s| s.rows()).sum::<usize>(),
            commit = commit.seq,
            "published"
        );
        Ok(())
    }

    /// The one transaction that makes rows official.
    fn commit(&self, work: &Work, stored: &[StoredSegment]) -> Result<Commit, SegmentError> {
        self.node.runtime.block_on(async {
            let catalog = &self.node.catalog;
            // A commit whose answer was lost is looked up, never just repeated.
            if let Some(commit) = catalog.publication(work.id).await? {
                return Ok(commit);
            }
            let lease = self.node.leases.hold(&self.group).await?;
            let publication = Publication {
                id: work.id,
                table: self.table.id,
                lease,
                ranges: work.ranges.clone(),
                segments: stored.iter().map(|stored| stored.new_segment().clone()).collect(),
                dedup: work.dedup.clone(),
                accounting: self.table.accounts.accounting(work.pending),
            };
            self.table.accounts.committing(work.pending);
            catalog.publish(publication).await
        })
    }

    /// Memory goes, files come: in one swap, so no reading sees both or neither.
    fn hand_over(&self, work: &Work, stored: &[StoredSegment], commit: &Commit) {
        let entries = stored
            .iter()
            .map(|stored| SegmentEntry {
                id: stored.new_segment().id.clone(),
                visible_from: commit.seq,
                visible_until: VISIBLE_FOREVER,
                segment: VisibleSegment::Sealed(SealedSegment::lazy(
                    stored.new_segment().clone(),
                    Arc::clone(&self.node.storage.deep),
                    &self.node.storage.local(),
                )),
            })
            .collect();
        self.table.timeline.hand_over(HandOver {
            close: Vec::new(),
            open: entries,
            commit_seq: commit.seq,
            schema: None,
            changed: Changed::Nothing,
        });
        self.node.timeline.advance(commit.seq);
        self.table.accounts.published(work.pending);
        self.table.memory.resize(work.counted, 0);
    }
}

/// Writes one segment to staging, verifies it and stores it.
pub(crate) fn seal_and_store(
    node: &Node,
    table: &Table,
    snapshot: &Arc<GrowingSnapshot>,
) -> Result<StoredSegment, SegmentError> {
    // One seal at a time: sorting and writing take memory and a core each.
    let _turn = node.seal_turn.lock();
    let staging = node.storage.staging();
    // Staging is never read after a crash, so it is on the real disk also where journals are not.
    Disk::Real.create_dir_all(&staging)?;
    let sources = [VisibleSegment::Growing(Arc::clone(snapshot))];
    let sealing = Sealing {
        id: snapshot.id().clone(),
        sources: &sources,
        schema: table.schema(),
        cluster_by: Vec::new(),
        attempt: AttemptId(rand::random()),
        layout: Layout::default(),
    };
    let sealed = sealing.write(&staging)?;
    failpoint!("publish.sealed")?;
    let stored = node.runtime.block_on(node.storage.deep.put(&sealed));
    for file in &sealed.files {
        // What is left is removed at the next start.
        let _gone = std::fs::remove_file(&file.path);
    }
    stored
}

/// Why a publication was not made.
enum Failure {
    /// For a reason that may pass.
    Again(SegmentError),
    /// Another writer has the lease or has moved the checkpoint.
    Lost(SegmentError),
    /// The catalog no longer has the table.
    Dropped,
}

impl From<SegmentError> for Failure {
    fn from(error: SegmentError) -> Self {
        Self::Again(error)
    }
}

impl Failure {
    /// Only the catalog can say that a table or a lease is gone; storage that lacks a file or a bucket says nothing of the
    /// kind.
    fn of_commit(error: SegmentError) -> Self {
        match error {
            SegmentError::Fenced { .. } | SegmentError::Moved { .. } => Self::Lost(error),
            SegmentError::NotFound { .. } => Self::Dropped,
            error => Self::Again(error),
        }
    }
}

/// What the thread needs of the first freeze in the queue.
struct Work {
    id: PublishId,
    snapshots: Vec<Arc<GrowingSnapshot>>,
    counted: usize,
    ranges: Vec<StreamRange>,
    dedup: Vec<DedupKey>,
    pending: PendingId,
    cut: Option<(Arc<Journal>, i64)>,
}

impl Work {
    fn of(frozen: &Frozen) -> Self {
        Self {
            id: frozen.id,
            snapshots: frozen.snapshots.clone(),
            counted: frozen.counted,
            ranges: frozen.ranges.clone(),
            dedup: frozen.dedup.clone(),
            pending: frozen.pending,
            cut: frozen.cut.clone(),
        }
    }
}

/// How far the first freeze of the queue has come; kept over failed steps.
#[derive(Default)]
struct Progress {
    id: Option<PublishId>,
    stored: Vec<StoredSegment>,
    commit: Option<Commit>,
    handed_over: bool,
}

/// Between three quarters of `wait` and all of it, so that many writers do not come back at once.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + 0.25 * rand::random::<f64>())
}
