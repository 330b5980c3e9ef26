//! The promise that an append gives: it is kept, or refused, when the group of the record was synced.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use crate::error::{Result, SegmentError};

/// Why a group was not stored; every waiter gets one made of it.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) journal: Arc<str>,
    pub(super) reason: Arc<str>,
    /// The disk is full: room helps, and nothing of the group is kept.
    pub(super) full: bool,
}

impl Failed {
    pub(super) fn error(&self) -> SegmentError {
        if self.full {
            let source = io::Error::new(io::ErrorKind::StorageFull, self.reason.to_string());
            return SegmentError::Io { doing: "appending to journal", path: self.journal.to_string(), source };
        }
        SegmentError::Unavailable { what: self.what(), reason: self.reason.to_string(), outcome_unknown: true }
    }

    pub(super) fn what(&self) -> String {
        format!("journal `{}`", self.journal)
    }
}

#[derive(Debug, Default)]
struct Outcome {
    result: Option<Result<(), Failed>>,
    wakers: Vec<Waker>,
}

/// What the tickets of one group share.
#[derive(Debug, Default)]
pub(super) struct Promise {
    outcome: Mutex<Outcome>,
    kept: Condvar,
}

impl Promise {
    pub(super) fn settle(&self, result: Result<(), Failed>) {
        let wakers = {
            let mut outcome = self.outcome.lock();
            if outcome.result.is_some() {
                return;
            }
            outcome.result = Some(result);
            std::mem::take(&mut outcome.wakers)
        };
        self.kept.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A record that is on its way to the disk. Wait for it with [`wait`](Self::wait) on a thread, or `.await` it; dropping it
/// changes nothing for the record.
#[derive(Debug)]
#[must_use = "a record is stored only when its ticket says so"]
pub struct Ticket {
    pub(super) number: i64,
    pub(super) promise: Arc<Promise>,
    /// Where this ticket's waker stands among its group's.
    pub(super) waker: Option<usize>,
}

impl Ticket {
    /// The record's number. It counts only once the ticket is kept: a refused number is given again.
    pub fn number(&self) -> i64 {
        self.number
    }

    /// Blocks until the record is durable.
    ///
    /// # Errors
    /// `Exhausted` when the disk is full: the record is not stored. `Unavailable` with `outcome_unknown` when a write or a
    /// sync failed: the record may come back if the process ends before [`reopen`](super::Journal::reopen), and will not after it.
    pub fn wait(self) -> Result<()> {
        let mut outcome = self.promise.outcome.lock();
        loop {
            if let Some(result) = &outcome.result {
                return result.clone().map_err(|failed| failed.error());
            }
            self.promise.kept.wait(&mut outcome);
        }
    }
}

/// As [`Ticket::wait`], for async callers. Cancel-safe.
impl Future for Ticket {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let promise = Arc::clone(&self.promise);
        let mut outcome = promise.outcome.lock();
        if let Some(result) = &outcome.result {
            return Poll::Ready(result.clone().map_err(|failed| failed.error()));
        }
        match self.waker.and_then(|at| outcome.wakers.get_mut(at)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                self.waker = Some(outcome.wakers.len());
                outcome.wakers.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}
