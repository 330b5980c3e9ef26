//! The care of what is stored: one [`Coordinator`] a node, on one thread of its own.
//!
//! | duty | what it does | how often |
//! |---|---|---|
//! | `compact` | small and late segments of one interval become one | while there is something to merge |
//! | `cleanup` | files that nothing names or reads any more go, late | every ten minutes |
//! | `scrub` | every byte of every segment is read again and compared | each segment within seven days |
//! | `catalog-copy` | the commit log, and each night the whole catalog, stand beside the data; old commits are forgotten | every five seconds |
//!
//! Duties take turns, so they never work against each other and never take more than a part of one core: between two pieces
//! of work the thread rests for a multiple of what the last one took. Each can be asked to run now. Dropping an interval and
//! taking a commit back are requests, not duties; they share with compaction the one way in which a commit is made and shown
//! ([`settle`]).

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use freshet_segment::catalog::Catalog;
use freshet_segment::clock::Clock;
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::error::{SegmentError, chain};
use freshet_segment::id::TableId;
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::Timeline;
use parking_lot::{Condvar, Mutex};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::telemetry::label;

mod catalog_copy;
mod cleanup;
mod compact;
mod plan;
mod removal;
mod scrub;
mod settle;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use catalog_copy::{Rebuilt, rebuild};
pub use removal::Dropped;

type Result<T, E = SegmentError> = std::result::Result<T, E>;

/// Longest sleep of the thread: how late it may find that it is asked to stop.
const NAP: Duration = Duration::from_secs(1);
/// For each second of work in the background so many seconds of rest: at most a quarter of a core.
const REST: u32 = 3;
/// Longest rest between two pieces of work.
const REST_MAX: Duration = Duration::from_secs(60);

/// Numbers of the duties. The defaults are the promises of the documentation; tests take smaller ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long files stay after the last row naming them was closed, and objects that no row ever named.
    pub delete_after: Duration,
    /// How long idempotency keys are kept at least.
    pub keys_kept: Duration,
    /// How many idempotency keys of a table are kept beyond that time.
    pub keys_max: usize,
    /// Segments with so many rows are left alone by compaction.
    pub merge_rows_target: u64,
    /// Most rows of a merge.
    pub merge_rows_max: u64,
    /// Most bytes in deep storage that a merge reads.
    pub merge_bytes_max: u64,
    /// Least segments of a merge while their interval may still be written.
    pub merge_segments_min: usize,
    /// How long after its end an interval counts as written.
    pub settled_after: Duration,
    /// Each segment is verified within this time.
    pub scrub_within: Duration,
    /// How often the whole catalog is copied.
    pub export_every: Duration,
    /// How many whole copies are kept.
    pub exports_kept: usize,
    /// How long the catalog remembers commits. Never less than what can be undone.
    pub commits_kept: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            delete_after: DAY,
            keys_kept: DAY,
            keys_max: 1_000_000,
            merge_rows_target: 2_000_000,
            merge_rows_max: 5_000_000,
            merge_bytes_max: 1 << 30,
            merge_segments_min: 4,
            settled_after: Duration::from_secs(600),
            scrub_within: 7 * DAY,
            export_every: DAY,
            exports_kept: 7,
            commits_kept: 3 * DAY,
        }
    }
}

/// What a [`Coordinator`] is made of.
#[derive(Debug, Clone)]
pub struct CoordinatorOptions {
    /// What is official.
    pub catalog: Arc<dyn Catalog>,
    /// What is visible.
    pub timeline: Arc<Timeline>,
    /// Where the files are.
    pub storage: Arc<DeepStorage>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Runs the calls of catalog and storage for the thread.
    pub runtime: Handle,
    /// Folder in which files are written before they are stored.
    pub staging: PathBuf,
    /// Folder of local copies of remote files.
    pub local: PathBuf,
    /// Numbers.
    pub settings: Settings,
}

/// A duty. Its place in [`Duty::ALL`] is its place on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// Merges segments.
    Compact,
    /// Deletes files, late.
    Cleanup,
    /// Verifies files.
    Scrub,
    /// Stores the commit log and copies of the catalog.
    CatalogCopy,
}

impl Duty {
    /// All of them, the most frequent ones last: what is short does not wait behind what is long for more than one turn.
    pub const ALL: [Self; 4] = [Self::Compact, Self::Cleanup, Self::Scrub, Self::CatalogCopy];

    /// Its name in paths, answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Cleanup => "cleanup",
            Self::Scrub => "scrub",
            Self::CatalogCopy => "catalog-copy",
        }
    }

    /// The duty of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|duty| duty.name() == name)
    }

    /// Time from the end of a run to the next one.
    #[must_use]
    pub fn period(self) -> Duration {
        Duration::from_secs(match self {
            Self::Compact => 10,
            Self::Cleanup => 600,
            Self::Scrub => 3_600,
            Self::CatalogCopy => 5,
        })
    }
}

/// What a run of a duty did.
#[derive(Debug, Default)]
struct Report {
    /// Numbers and names for people.
    facts: Map<String, Value>,
    /// When to run again, if not after the period.
    again_after: Option<Duration>,
}

impl Report {
    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct LastRun {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What it did, or why it failed.
    pub outcome: Result<Map<String, Value>, String>,
}

impl LastRun {
    /// As answers show it.
    pub(crate) fn json(&self) -> Value {
        let (done, error) = match &self.outcome {
            Ok(facts) => (json!(facts), Value::Null),
            Err(error) => (Value::Null, json!(error)),
        };
        json!({
            "at": self.at.to_iso(),
            "tookMs": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "result": done,
            "error": error,
        })
    }
}

#[derive(Debug, Default)]
struct Standing {
    /// Monotonic time of the next run.
    due: Duration,
    running: bool,
    runs: u64,
    failures: u64,
    last: Option<LastRun>,
    /// Who asked for a run that has not begun.
    asked: Vec<oneshot::Sender<LastRun>>,
}

#[derive(Debug, Default)]
struct Board {
    duties: BTreeMap<Duty, Standing>,
    stopping: bool,
}

/// Takes care of what is stored.
#[derive(Debug)]
pub struct Coordinator {
    parts: CoordinatorOptions,
    board: Mutex<Board>,
    woken: Condvar,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Held from a commit to its hand-over.
    turn: tokio::sync::Mutex<()>,
    /// Tables on which a commit's outcome is not known yet.
    unsettled: Mutex<BTreeSet<TableId>>,
    compaction: Mutex<compact::Known>,
    cleaning: Mutex<cleanup::Known>,
    scrubbing: Mutex<scrub::Known>,
    copying: Mutex<catalog_copy::Known>,
}

impl Coordinator {
    /// A coordinator at rest.
    #[must_use]
    pub fn new(options: CoordinatorOptions) -> Arc<Self> {
        let now = options.clock.monotonic();
        // A start has other things to do first.
        let standing = |duty: Duty| (duty, Standing { due: now + duty.period(), ..Standing::default() });
        Arc::new(Self {
            parts: options,
            board: Mutex::new(Board { duties: Duty::ALL.into_iter().map(standing).collect(), stopping: false }),
            woken: Condvar::new(),
            thread: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
            unsettled: Mutex::default(),
            compaction: Mutex::default(),
            cleaning: Mutex::default(),
            scrubbing: Mutex::default(),
            copying: Mutex::default(),
        })
    }

    /// Starts its thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let coordinator = Arc::clone(self);
        let thread = std::thread::Builder::new().name("freshet-care".to_owned()).spawn(move || coordinator.work())?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Asks the thread to end after the piece of work it is at.
    pub fn ask_to_stop(&self) {
        self.board.lock().stopping = true;
        self.woken.notify_all();
    }

    /// Waits for the thread; blocks. What it was at is dropped or done as a whole.
    pub fn join(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A panic was counted where it happened.
            let _ended = thread.join();
        }
    }

    /// Asks for a run of a duty, which does all there is to do; the receiver gets what came of it.
    #[must_use]
    pub fn run_now(&self, duty: Duty) -> oneshot::Receiver<LastRun> {
        let (sender, receiver) = oneshot::channel();
        if let Some(standing) = self.board.lock().duties.get_mut(&duty) {
            standing.asked.push(sender);
        }
        self.woken.notify_all();
        receiver
    }

    fn is_stopping(&self) -> bool {
        self.board.lock().stopping
    }

    fn work(&self) {
        loop {
            let duty = {
                let mut board = self.board.lock();
                if board.stopping {
                    return;
                }
                let now = self.parts.clock.monotonic();
                let next = board
                    .duties
                    .iter()
                    .filter(|(_, standing)| standing.due <= now || !standing.asked.is_empty())
                    // What was asked for goes first; of the rest what has waited longest.
                    .min_by_key(|(_, standing)| (standing.asked.is_empty(), standing.due))
                    .map(|(duty, _)| *duty);
                if next.is_none() {
                    let first = board.duties.values().map(|standing| standing.due).min().unwrap_or(now);
                    self.woken.wait_for(&mut board, first.saturating_sub(now).clamp(Duration::from_millis(1), NAP));
                }
                next
            };
            if let Some(duty) = duty {
                self.perform(duty);
            }
        }
    }

    /// Runs a duty on this thread, which blocks.
    fn perform(&self, duty: Duty) -> LastRun {
        let asked = {
            let mut board = self.board.lock();
            let standing = board.duties.entry(duty).or_default();
            standing.running = true;
            std::mem::take(&mut standing.asked)
        };
        let (at, began) = (self.parts.clock.now(), self.parts.clock.monotonic());
        let all = !asked.is_empty();
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.block_on(self.settle())?;
            match duty {
                Duty::Compact => self.compact(all),
                Duty::Cleanup => self.cleanup(all),
                Duty::Scrub => self.scrub(all),
                Duty::CatalogCopy => self.copy_catalog(all),
            }
        }));
        let now = self.parts.clock.monotonic();
        let done = done.unwrap_or_else(|_| Err(SegmentError::unavailable(duty.name(), "it ended by a defect")));
        let again_after = done.as_ref().ok().and_then(|report| report.again_after).unwrap_or(duty.period());
        let outcome = done.map(|report| report.facts).map_err(|error| {
            let cause = chain(&error);
            tracing::warn!(duty = duty.name(), cause, "a duty failed");
            cause
        });
        let run = LastRun { at, took: now.saturating_sub(began), outcome };
        let mut board = self.board.lock();
        let standing = board.duties.entry(duty).or_default();
        standing.running = false;
        standing.runs += 1;
        standing.failures += u64::from(run.outcome.is_err());
        standing.due = now + again_after;
        standing.last = Some(run.clone());
        drop(board);
        for asker in asked {
            // Whoever asked may have gone.
            let _gone = asker.send(run.clone());
        }
        run
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.parts.runtime.block_on(work)
    }

    /// Rests after a piece of work, unless someone waits for the rest of it or the process ends.
    fn rest(&self, took: Duration, all: bool) {
        if all {
            std::thread::yield_now();
            return;
        }
        let mut board = self.board.lock();
        if !board.stopping {
            self.woken.wait_for(&mut board, (took * REST).min(REST_MAX));
        }
    }

    /// All duties with their last runs, and what is damaged.
    #[must_use]
    pub fn describe(&self) -> Value {
        let now = self.parts.clock.monotonic();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let board = self.board.lock();
        let duties: Vec<Value> = board
            .duties
            .iter()
            .map(|(duty, standing)| {
                json!({
                    "name": duty.name(),
                    "periodMs": millis(duty.period()),
                    "running": standing.running,
                    "runs": standing.runs,
                    "failures": standing.failures,
                    "nextInMs": millis(standing.due.saturating_sub(now)),
                    "last": standing.last.as_ref().map(LastRun::json),
                })
            })
            .collect();
        drop(board);
        json!({"duties": duties, "damaged": self.damaged()})
    }

    /// Gauges and counters in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        use std::fmt::Write as _;
        let board = self.board.lock();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Standing) -> u64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (duty, standing) in &board.duties {
                let _ = writeln!(out, "{name}{{duty=\"{}\"}} {}", label(duty.name()), value(standing));
            }
        };
        family("freshet_duty_running", "gauge", "Whether a duty is at work.", &|s| u64::from(s.running));
        family("freshet_duty_runs_total", "counter", "Runs that have ended.", &|s| s.runs);
        family("freshet_duty_failures_total", "counter", "Runs that failed.", &|s| s.failures);
        let last = |s: &Standing| s.last.as_ref().map_or(0, |l| u64::try_from(l.at.as_millis() / 1_000).unwrap_or(0));
        family("freshet_duty_last_run_timestamp_seconds", "gauge", "When the last run began.", &last);
        let took = |s: &Standing| s.last.as_ref().map_or(0, |l| u64::try_from(l.took.as_millis()).unwrap_or(u64::MAX));
        family("freshet_duty_last_run_milliseconds", "gauge", "How long it took.", &took);
        drop(board);
        let merged = self.compaction.lock().merged;
        let (deleted, pinned) = {
            let known = self.cleaning.lock();
            (known.deleted, known.pinned)
        };
        for (name, kind, help, value) in [
            ("freshet_scrub_damaged", "gauge", "Segments whose files are not what was written.", self.damaged_count()),
            ("freshet_compact_merged_total", "counter", "Segments that went into merges.", merged),
            ("freshet_cleanup_deleted_total", "counter", "Files deleted.", deleted),
            ("freshet_cleanup_pinned", "gauge", "Closed segments kept for running queries.", pinned),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
    }
}
