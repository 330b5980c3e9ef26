//! What a supervisor shows of itself: plain values, copied out at the moment of the question.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freshet_segment::id::TableName;
use freshet_segment::time::Timestamp;

use crate::counts::Counts;
use crate::spec::SupervisorSpec;

/// State of a supervisor, in the few values that monitoring knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Created, not yet started.
    Pending,
    /// Reading.
    Running,
    /// Told to pause.
    Suspended,
    /// Ending.
    Stopping,
    /// The stream cannot be read.
    UnhealthySupervisor,
    /// A task gave up.
    UnhealthyTasks,
}

impl State {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Suspended => "SUSPENDED",
            Self::Stopping => "STOPPING",
            Self::UnhealthySupervisor => "UNHEALTHY_SUPERVISOR",
            Self::UnhealthyTasks => "UNHEALTHY_TASKS",
        }
    }
}

/// What exactly a supervisor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailedState {
    /// As the state says.
    Plain(State),
    /// Asking the stream for the first time.
    ConnectingToStream,
    /// The stream never answered.
    UnableToConnectToStream,
    /// The stream answered once and no longer does.
    LostContactWithStream,
    /// Some position is no longer in its stream partition.
    OffsetsLost,
    /// The memory for new rows is used up; reading goes on when there is room.
    WaitingForMemory,
    /// A batch cannot be stored for now.
    WaitingForCatalog,
    /// Rows are stored and cannot be published for now.
    WaitingToPublish,
}

impl DetailedState {
    /// The name on the wire; those that Druid does not know are named in its style.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain(state) => state.name(),
            Self::ConnectingToStream => "CONNECTING_TO_STREAM",
            Self::UnableToConnectToStream => "UNABLE_TO_CONNECT_TO_STREAM",
            Self::LostContactWithStream => "LOST_CONTACT_WITH_STREAM",
            Self::OffsetsLost => "OFFSETS_LOST",
            Self::WaitingForMemory => "WAITING_FOR_MEMORY",
            Self::WaitingForCatalog => "WAITING_FOR_CATALOG",
            Self::WaitingToPublish => "WAITING_TO_PUBLISH",
        }
    }

    pub(super) fn state(self) -> State {
        match self {
            Self::Plain(state) => state,
            Self::ConnectingToStream | Self::WaitingForMemory | Self::WaitingForCatalog | Self::WaitingToPublish => {
                State::Running
            }
            Self::UnableToConnectToStream | Self::LostContactWithStream | Self::OffsetsLost => {
                State::UnhealthySupervisor
            }
        }
    }
}

/// A supervisor as lists show it.
#[derive(Debug, Clone)]
pub struct SupervisorView {
    /// Its spec.
    pub spec: Arc<SupervisorSpec>,
    /// Its state.
    pub state: State,
    /// What exactly it is doing.
    pub detailed_state: DetailedState,
    /// Whether nobody needs to look.
    pub healthy: bool,
    /// Whether it is told to pause.
    pub suspended: bool,
}

/// Something that went wrong and may be over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentError {
    /// When it was last seen.
    pub time: Timestamp,
    /// What it was.
    pub message: String,
    /// Whether the stream, rather than this server, is to blame.
    pub stream: bool,
}

/// A task as a status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStatus {
    /// Its id.
    pub id: String,
    /// When it started.
    pub started: Timestamp,
    /// Where its stream partitions began.
    pub starting_offsets: BTreeMap<i32, i64>,
    /// The next offsets it reads.
    pub current_offsets: BTreeMap<i32, i64>,
    /// Records behind the end of each.
    pub lag: BTreeMap<i32, i64>,
    /// Whether it waits for memory.
    pub paused: bool,
    /// What became of all rows of its stream partitions.
    pub counts: Counts,
}

/// Everything about a supervisor.
#[derive(Debug, Clone)]
pub struct SupervisorStatus {
    /// Its id.
    pub id: String,
    /// The table it writes.
    pub table: TableName,
    /// The topic.
    pub stream: String,
    /// Its state.
    pub state: State,
    /// What exactly it is doing.
    pub detailed_state: DetailedState,
    /// Why it is not simply running.
    pub cause: Option<String>,
    /// When it tries again, if it waits to.
    pub next_retry: Option<Timestamp>,
    /// Whether nobody needs to look.
    pub healthy: bool,
    /// Whether it is told to pause.
    pub suspended: bool,
    /// How many stream partitions there are.
    pub partitions: usize,
    /// Reading time of a task, as the spec says.
    pub task_duration: Duration,
    /// Tasks that run.
    pub tasks: Vec<TaskStatus>,
    /// The next offset to read of each stream partition.
    pub current_offsets: BTreeMap<i32, i64>,
    /// One past the newest record of each stream partition, as last seen.
    pub latest_offsets: BTreeMap<i32, i64>,
    /// Records behind the end of each stream partition.
    pub lag: BTreeMap<i32, i64>,
    /// Their sum.
    pub aggregate_lag: i64,
    /// When the latest offsets were asked for.
    pub offsets_last_updated: Option<Timestamp>,
    /// What is not as it should be, and not in the way of reading.
    pub warnings: Vec<String>,
    /// What went wrong lately, newest first.
    pub recent_errors: Vec<RecentError>,
    /// What became of the rows read since the table was made, by whichever task; what was read again after a reset counts
    /// again.
    pub counts: Counts,
}
