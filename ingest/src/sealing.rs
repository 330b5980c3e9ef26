//! When rows stop growing, and what is remembered of them until they are published.
//!
//! A [`Writer`] is the part of a task that outlives its thread: the growing segments, the positions that their rows came
//! from, what became of the rows read there, and when the oldest came. Freezing takes all of it at once, because the rows of one range of positions lie in
//! several intervals and are published together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freshet_segment::catalog::{DedupKey, PublishId, StreamRange};
use freshet_segment::growing::GrowingSnapshot;
use freshet_segment::journal::Journal;
use freshet_segment::time::Timestamp;

use crate::appender::Appender;
use crate::counts::{Account, PendingId};
use crate::error::Result;
use crate::publishing::{Frozen, Publisher};
use crate::source::Offset;
use crate::tables::Node;

/// Freezes of one stream that may wait to be published; more only when memory runs out.
const PENDING_MAX: usize = 2;

/// When growing segments are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealOptions {
    /// Rows of one task.
    pub rows_max: u64,
    /// Bytes of memory of one task.
    pub bytes_max: usize,
    /// Age of a task's oldest unpublished row.
    pub age_max: Duration,
    /// How long after the end of its interval a segment waits for late rows.
    pub grace: Duration,
}

impl Default for SealOptions {
    fn default() -> Self {
        Self {
            rows_max: 3_000_000,
            bytes_max: 512 << 20,
            age_max: Duration::from_secs(600),
            grace: Duration::from_secs(300),
        }
    }
}

/// Why rows are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Rows,
    Bytes,
    Age,
    IntervalEnded,
    Memory,
}

/// What one task has stored and not yet published.
pub(crate) struct Writer {
    node: Arc<Node>,
    pub(crate) appender: Appender,
    pub(crate) publisher: Arc<Publisher>,
    options: SealOptions,
    stream: Arc<str>,
    topic_id: Arc<str>,
    /// Where each stream partition stood before its first unpublished position, and where it stands.
    positions: BTreeMap<i32, (Offset, Offset)>,
    dedup: Vec<DedupKey>,
    /// What became of the rows of these positions.
    pending: PendingId,
    /// Monotonic time of the oldest unpublished position.
    since: Option<Duration>,
}

impl Writer {
    pub(crate) fn new(node: Arc<Node>, appender: Appender, publisher: Arc<Publisher>, stream: Arc<str>) -> Self {
        let options = node.seal;
        let pending = appender.table().accounts.begin();
        Self {
            pending,
            node,
            appender,
            publisher,
            options,
            stream,
            topic_id: Arc::from(""),
            positions: BTreeMap::new(),
            dedup: Vec::new(),
            since: None,
        }
    }

    /// Seals at the latest when the oldest row is this old.
    pub(crate) fn limit_age(&mut self, age_max: Duration) {
        self.options.age_max = self.node.seal.age_max.min(age_max);
    }

    /// Which incarnation of the stream the positions are of.
    pub(crate) fn identify(&mut self, topic_id: Arc<str>) {
        self.topic_id = topic_id;
    }

    /// The rows between these positions are in the appender.
    pub(crate) fn stored(&mut self, partition: i32, from: Offset, to: Offset) {
        if from < to {
            self.positions.entry(partition).or_insert((from, to)).1 = to;
            self.since.get_or_insert_with(|| self.node.clock.monotonic());
        }
    }

    /// What became of the rows read there; nothing that can fail may stand between this and [`Self::stored`].
    pub(crate) fn account(&self, account: Account) {
        self.appender.table().accounts.add(self.pending, &self.stream, account);
    }

    /// A keyed push is among them.
    pub(crate) fn keyed(&mut self, key: DedupKey) {
        self.dedup.push(key);
    }

    /// Whether it is time to freeze.
    pub(crate) fn due(&self) -> Option<Reason> {
        let since = self.since?;
        let unsealed = self.appender.unsealed();
        let memory = self.node.budget.usage();
        // A quarter of the budget stays free for what comes while the first freeze is written.
        let short = memory.used >= memory.max / 4 * 3 && unsealed.bytes >= memory.max / 16;
        if short && self.publisher.pending() <= PENDING_MAX {
            return Some(Reason::Memory);
        }
        if self.publisher.pending() >= PENDING_MAX {
            return None;
        }
        let age = self.node.clock.monotonic().saturating_sub(since);
        let ended = || {
            let grace = i64::try_from(self.options.grace.as_millis()).unwrap_or(i64::MAX);
            let border = Timestamp::from_millis(self.node.clock.now().as_millis().saturating_sub(grace));
            age >= self.options.grace && unsealed.last_end.is_some_and(|end| end <= border)
        };
        if unsealed.rows >= self.options.rows_max || unsealed.has_full {
            Some(Reason::Rows)
        } else if unsealed.bytes >= self.options.bytes_max {
            Some(Reason::Bytes)
        } else if age >= self.options.age_max {
            Some(Reason::Age)
        } else {
            ended().then_some(Reason::IntervalEnded)
        }
    }

    /// Hands everything over to be published. `journal` is where its positions are kept until then. Gives the place in
    /// the publisher's queue; nothing when there was nothing.
    ///
    /// # Errors
    /// When the system gives no thread: everything waits in the queue.
    pub(crate) fn freeze(&mut self, journal: Option<&Arc<Journal>>) -> Result<Option<u64>> {
        if self.since.take().is_none() {
            return Ok(None);
        }
        let (snapshots, counted): (Vec<Arc<GrowingSnapshot>>, usize) = self.appender.freeze();
        let positions = std::mem::take(&mut self.positions);
        let cut =
            journal.and_then(|journal| positions.values().map(|(_, to)| *to).max().map(|to| (Arc::clone(journal), to)));
        let ranges = positions
            .into_iter()
            .map(|(partition, (from, to))| StreamRange {
                stream: Arc::clone(&self.stream),
                partition,
                topic_id: Arc::clone(&self.topic_id),
                from,
                to,
            })
            .collect();
        let dedup = std::mem::take(&mut self.dedup);
        let pending = std::mem::replace(&mut self.pending, self.appender.table().accounts.begin());
        let frozen = Frozen { id: PublishId(rand::random()), snapshots, counted, ranges, dedup, pending, cut };
        self.publisher.queue(frozen).map(Some)
    }

    /// Gives up what is not frozen: another writer owns it.
    pub(crate) fn discard(&mut self) {
        self.since = None;
        self.positions.clear();
        self.dedup.clear();
        self.appender.table().accounts.give_up(self.pending);
        self.appender.discard();
    }
}
