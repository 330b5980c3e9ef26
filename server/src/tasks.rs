//! Batch tasks: a queue, one task at work at a time, and what became of each.
//!
//! ```text
//! posted ─▶ PENDING ─▶ RUNNING: load (stored, not visible) ─▶ one commit ─▶ SUCCESS
//!                         └─ shut down, or an error ─▶ FAILED, and nothing of it is visible
//! ```
//! A task that takes the place of rows has the table's streams publish what they hold first, and then names the segments
//! it closes. When another commit closes one of them before, it looks again; the load itself is not repeated. Rows that
//! come meanwhile are in segments that it did not name, and stay.
//!
//! Tasks are kept in memory: after a start none is known, and one that was at work has left nothing that is visible.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freshet_ingest::batch::{BatchProgress, Loaded};
use freshet_segment::catalog::NewSegment;
use freshet_segment::error::ErrorKind;
use freshet_segment::time::{Interval, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::druid::task::TaskSpec;
use crate::http::reply::Problem;
use crate::node::Node;

/// Ended tasks that are remembered.
const ENDED_MAX: usize = 1_000;
/// Tasks that may wait.
const WAITING_MAX: usize = 1_000;
/// How long a table's streams may take to publish what they hold.
const PUBLISH_WAIT: Duration = Duration::from_secs(60);
/// How often the segments to close are named anew.
const ATTEMPTS_MAX: u32 = 10;

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits for its turn.
    Pending,
    /// It is at work.
    Running,
    /// Its rows are visible.
    Success,
    /// It ended without a trace, and why.
    Failed(String),
}

impl State {
    /// Druid's name of it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Pending | Self::Running => "RUNNING",
            Self::Success => "SUCCESS",
            Self::Failed(_) => "FAILED",
        }
    }

    /// Whether it will not change any more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Success | Self::Failed(_))
    }
}

/// One task.
#[derive(Debug)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// What it was asked to do.
    pub spec: TaskSpec,
    /// When it was posted.
    pub created: Timestamp,
    /// What it has read so far.
    pub progress: BatchProgress,
    state: Mutex<(State, Option<Timestamp>)>,
}

impl Task {
    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.lock().0.clone()
    }

    /// Milliseconds from its posting to its end; -1 before.
    #[must_use]
    pub fn duration_ms(&self) -> i64 {
        self.state.lock().1.map_or(-1, |ended| ended.as_millis().saturating_sub(self.created.as_millis()).max(0))
    }

    fn set(&self, state: State, ended: Option<Timestamp>) {
        *self.state.lock() = (state, ended);
    }
}

/// All tasks of this process.
#[derive(Debug)]
pub struct Tasks {
    all: Mutex<BTreeMap<String, Arc<Task>>>,
    turn: Semaphore,
}

impl Default for Tasks {
    fn default() -> Self {
        // Loads share the memory for new rows and the cores: one after the other is as fast, and fairer to queries.
        Self { all: Mutex::default(), turn: Semaphore::new(1) }
    }
}

impl Tasks {
    /// The tasks, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Task>> {
        let mut all: Vec<Arc<Task>> = self.all.lock().values().cloned().collect();
        all.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        all
    }

    /// One task.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Task>> {
        self.all.lock().get(id).cloned()
    }

    /// Ends all tasks, for a server that stops.
    pub fn stop(&self) {
        self.turn.close();
        self.all.lock().values().for_each(|task| task.progress.stop());
    }

    fn enter(&self, task: &Arc<Task>) -> Result<(), Problem> {
        let mut all = self.all.lock();
        if all.contains_key(&task.id) {
            return Err(Problem::invalid(format!("task [{}] already exists", task.id))
                .at("/id")
                .hint("leave the id out, or take another"));
        }
        let waiting = all.values().filter(|task| !task.state().is_ended()).count();
        if waiting >= WAITING_MAX {
            return Err(Problem::unavailable(format!("{waiting} tasks wait already")).hint("post it again later"));
        }
        let mut ended: Vec<Arc<Task>> = all.values().filter(|task| task.state().is_ended()).cloned().collect();
        ended.sort_by_key(|task| task.created);
        for old in ended.iter().take((ended.len() + 1).saturating_sub(ENDED_MAX)) {
            all.remove(&old.id);
        }
        all.insert(task.id.clone(), Arc::clone(task));
        Ok(())
    }
}

/// Takes a task and begins with it when its turn comes; gives it back at once.
///
/// # Errors
/// 400 when the id is taken; 503 when too many wait, or the server stops.
pub fn submit(node: &Arc<Node>, spec: TaskSpec) -> Result<Arc<Task>, Problem> {
    if node.stopping.is_cancelled() {
        return Err(Problem::unavailable("the server is stopping"));
    }
    let created = node.clock.now();
    let id = spec.id.clone().unwrap_or_else(|| name(&spec, created));
    let state = Mutex::new((State::Pending, None));
    let task = Arc::new(Task { id, spec, created, progress: BatchProgress::default(), state });
    node.tasks.enter(&task)?;
    let (node_of_task, of_task) = (Arc::clone(node), Arc::clone(&task));
    node.work.spawn(async move { run(node_of_task, of_task).await });
    Ok(task)
}

/// As Druid names tasks: kind, table, eight letters, time.
fn name(spec: &TaskSpec, created: Timestamp) -> String {
    let letters: String = (0..8).map(|_| char::from(b'a' + rand::random_range(0..26))).collect();
    format!("{}_{}_{letters}_{}", spec.kind, spec.batch.table, created.to_iso())
}

async fn run(node: Arc<Node>, task: Arc<Task>) {
    let done = work(&node, &task).await;
    let ended = Some(node.clock.now());
    match done {
        Ok(()) => {
            let counts = task.progress.counts();
            tracing::info!(task = task.id, read = counts.read, stored = counts.stored, "a batch task succeeded");
            task.set(State::Success, ended);
        }
        Err(problem) => {
            tracing::warn!(task = task.id, reason = problem.message, "a batch task failed");
            task.set(State::Failed(problem.message.clone()), ended);
        }
    }
}

async fn work(node: &Arc<Node>, task: &Arc<Task>) -> Result<(), Problem> {
    let stopped = || Problem::conflict("the task was shut down");
    let _turn = node.tasks.turn.acquire().await.map_err(|_| stopped())?;
    if task.progress.is_stopped() {
        return Err(stopped());
    }
    task.set(State::Running, None);
    let loaded = {
        let (node, task) = (Arc::clone(node), Arc::clone(task));
        tokio::task::spawn_blocking(move || node.ingest.load(&task.spec.batch, &task.progress)).await
    };
    let loaded = loaded.map_err(|_| Problem::internal("the load stopped by a defect; the log says where"))??;
    if task.progress.is_stopped() {
        return Err(stopped());
    }
    commit(node, task, &loaded).await
}

/// Makes a load visible.
async fn commit(node: &Arc<Node>, task: &Task, loaded: &Loaded) -> Result<(), Problem> {
    let table = task.spec.batch.table.as_str();
    let replaced: Vec<Interval> = match task.spec.append {
        true => Vec::new(),
        false => loaded.intervals.iter().chain(&task.spec.drop).copied().collect(),
    };
    let segments: &[NewSegment] = &loaded.segments;
    let mut attempt = 1;
    loop {
        if !replaced.is_empty() {
            node.ingest.publish(table, PUBLISH_WAIT).await?;
        }
        match node.coordinator.load(table, segments, &replaced).await {
            Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS_MAX => {
                tracing::info!(task = task.id, %error, "segments were replaced meanwhile; they are named anew");
                attempt += 1;
            }
            done => return Ok(done?),
        }
    }
}
