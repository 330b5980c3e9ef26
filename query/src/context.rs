//! What belongs to one query from its first moment to its last: its name, its reading, its deadline, its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use freshet_segment::id::SegmentId;
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::Reading;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{QueryError, Result};
use crate::request::Missing;

/// Shared by all operators of a query; the session carries it as an extension.
#[derive(Debug)]
pub(crate) struct QueryContext {
    reading: Reading,
    started: Timestamp,
    cancellation: CancellationToken,
    deadline: Option<Deadline>,
    partial: Option<Arc<LeftOut>>,
}

/// What a query that allows a partial answer goes without. It grows while the query is planned, and when a segment turns out
/// to be unreadable before the first row was given.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(Mutex<BTreeSet<Missing>>);

impl LeftOut {
    /// Says whether it was not left out before.
    pub(crate) fn add(&self, missing: Missing) -> bool {
        self.0.lock().insert(missing)
    }

    pub(crate) fn has_segment(&self, id: &SegmentId) -> bool {
        self.0.lock().contains(&Missing::Segment(id.clone()))
    }

    pub(crate) fn all(&self) -> Vec<Missing> {
        self.0.lock().iter().cloned().collect()
    }
}

/// A moment, and how long it was away at the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    /// The moment.
    pub(crate) at: Instant,
    /// The time given.
    pub(crate) after: Duration,
}

impl Deadline {
    /// So long from now.
    pub(crate) fn after(after: Duration) -> Self {
        // Longer than a century is no deadline that anyone could wait for.
        const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
        Self { at: Instant::now() + after.min(LONGEST), after }
    }
}

impl QueryContext {
    /// The context of a query that starts at `started` over `reading`.
    pub(crate) fn new(
        reading: Reading,
        started: Timestamp,
        cancellation: CancellationToken,
        deadline: Option<Deadline>,
        partial: Option<Arc<LeftOut>>,
    ) -> Self {
        Self { reading, started, cancellation, deadline, partial }
    }

    /// What it goes without; `None` when it must not go without anything.
    pub(crate) fn partial(&self) -> Option<&Arc<LeftOut>> {
        self.partial.as_ref()
    }

    /// What it sees.
    pub(crate) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// CURRENT_TIMESTAMP.
    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// Tripped when it shall end.
    pub(crate) fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Whether it may go on.
    ///
    /// # Errors
    /// `Timeout` past the deadline, `Cancelled` after a cancel.
    pub(crate) fn check(&self) -> Result<()> {
        match self.deadline {
            Some(deadline) if deadline.at <= Instant::now() => Err(QueryError::Timeout { after: deadline.after }),
            _ if self.cancellation.is_cancelled() => Err(QueryError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Returns when the deadline passes; never without one.
    pub(crate) async fn deadline_passed(&self) -> Duration {
        match self.deadline {
            Some(deadline) => {
                tokio::time::sleep_until(deadline.at).await;
                deadline.after
            }
            None => std::future::pending().await,
        }
    }
}
