//! Who follows what: equal subscriptions share one runner, whatever the number of browsers.
//!
//! A runner is found and joined, or found idle and removed, under one lock: so nobody joins a runner that is about to end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame::Frame;
use super::runner;
use super::template::Wanted;
use crate::node::Node;

/// Frames that a client may leave unacknowledged.
const UNACKNOWLEDGED_MAX: usize = 2;
/// Subscribers on their way to a runner.
const JOINS_MAX: usize = 64;

/// What can be followed.
#[derive(Debug, Clone)]
pub enum Subject {
    /// The list of tables.
    Tables,
    /// A query.
    Query(Wanted),
}

impl Subject {
    fn key(&self) -> &str {
        match self {
            Self::Tables => "tables",
            Self::Query(wanted) => &wanted.key,
        }
    }
}

/// Frames of one subscription that are not acknowledged yet.
#[derive(Debug, Default)]
pub struct Window(Mutex<VecDeque<u64>>);

impl Window {
    /// Whether another frame may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.lock().len() < UNACKNOWLEDGED_MAX
    }

    /// Takes back everything up to `seq`.
    pub fn acknowledge(&self, seq: u64) {
        self.0.lock().retain(|sent| *sent > seq);
    }

    fn sent(&self, seq: u64) {
        self.0.lock().push_back(seq);
    }
}

/// One subscription as its runner sees it.
#[derive(Debug)]
pub struct Subscriber {
    /// The client's number.
    pub id: u32,
    /// To its socket.
    pub frames: mpsc::Sender<Frame>,
    /// What it has not acknowledged.
    pub window: Arc<Window>,
    /// Cancelled by either side.
    pub ended: CancellationToken,
}

impl Subscriber {
    /// Whether a frame can be sent now. A full socket counts as unacknowledged.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.window.is_open() && self.frames.capacity() > 0
    }

    /// Whether either side has ended it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.is_cancelled() || self.frames.is_closed()
    }

    /// Sends a frame that has to be acknowledged; false when the socket is full.
    #[must_use]
    pub fn send(&self, mut frame: Frame) -> bool {
        frame.id = self.id;
        let seq = frame.seq;
        // Before the frame goes out, so that its acknowledgement finds it.
        self.window.sent(seq);
        let sent = self.frames.try_send(frame).is_ok();
        if !sent {
            self.window.0.lock().retain(|other| *other != seq);
        }
        sent
    }

    /// Sends a frame that nobody acknowledges.
    pub fn tell(&self, mut frame: Frame) {
        frame.id = self.id;
        // A full socket misses a message that the next success makes obsolete.
        let _full = self.frames.try_send(frame);
    }
}

/// The runners of a node.
#[derive(Debug)]
pub struct Hub {
    /// Ends every runner.
    pub stopping: CancellationToken,
    runners: Mutex<HashMap<String, mpsc::Sender<Subscriber>>>,
}

impl Hub {
    /// A hub without runners.
    #[must_use]
    pub fn new(stopping: CancellationToken) -> Self {
        Self { stopping, runners: Mutex::default() }
    }

    /// Adds a subscriber to the runner of `subject`, and starts one where there is none.
    pub fn join(&self, node: &Arc<Node>, subject: Subject, subscriber: Subscriber) {
        let mut runners = self.runners.lock();
        let subscriber = match runners.get(subject.key()) {
            None => subscriber,
            Some(runner) => match runner.try_send(subscriber) {
                Ok(()) => return,
                // Busy with very many at once: a second runner answers the same.
                Err(mpsc::error::TrySendError::Full(subscriber) | mpsc::error::TrySendError::Closed(subscriber)) => {
                    subscriber
                }
            },
        };
        let (sender, joins) = mpsc::channel(JOINS_MAX);
        // An empty channel takes the first.
        let _taken = sender.try_send(subscriber);
        let key = subject.key().to_owned();
        runners.insert(key.clone(), sender);
        tokio::spawn(runner::run(Arc::clone(node), key, subject, joins));
    }

    /// Removes a runner that nobody follows; gives the subscriber that joined in the last moment, if one did.
    pub fn leave(&self, key: &str, joins: &mut mpsc::Receiver<Subscriber>) -> Option<Subscriber> {
        let mut runners = self.runners.lock();
        if let Ok(subscriber) = joins.try_recv() {
            return Some(subscriber);
        }
        joins.close();
        // A second runner of the same key may stand there; it stays.
        if runners.get(key).is_some_and(mpsc::Sender::is_closed) {
            runners.remove(key);
        }
        None
    }

    /// Runners now; for tests and metrics.
    #[must_use]
    pub fn runner_count(&self) -> usize {
        self.runners.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_frames_are_in_flight_and_no_more() {
        let window = Window::default();
        window.sent(5);
        assert!(window.is_open());
        window.sent(9);
        assert!(!window.is_open());
        window.acknowledge(4);
        assert!(!window.is_open());
        window.acknowledge(5);
        assert!(window.is_open());
        window.sent(11);
        window.acknowledge(11);
        assert!(window.0.lock().is_empty());
    }
}
