//! Which idempotency keys were seen, so that a push that is sent again is stored once.
//!
//! ```text
//! begin ──► Fresh(claim) ── journal, apply ── claim.done(answer) ──► stored        begin again: Stored(answer)
//!                        └─ claim dropped: released, as if never begun              while it runs: Running
//! ```
//!
//! A key is kept for at least a day, and the last million at least for longer than that. What can be forgotten goes oldest
//! first when a new one is stored. After a start the window is filled from the catalog and the journal.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Result, SegmentError};
use crate::time::Timestamp;

/// What is kept at least, and the bound above which new keys are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// A key is kept at least this long.
    pub keep: Duration,
    /// And at least so many keys, however old.
    pub keys_min: usize,
    /// Bytes of keys and answers; a key younger than `keep` is not forgotten for them, new ones are refused instead.
    pub bytes_max: usize,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self { keep: Duration::from_secs(24 * 3600), keys_min: 1_000_000, bytes_max: 1 << 30 }
    }
}

/// A key that was stored before the start, from the journal or the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: Arc<str>,
    /// Hash of the body it came with.
    pub body_sha256: [u8; 32],
    /// The first answer.
    pub answer: String,
    /// When it was stored.
    pub at: Timestamp,
}

/// What a push with a key is to do.
#[derive(Debug)]
pub enum Begin {
    /// The key is new: store the push, then call [`Claim::done`].
    Fresh(Claim),
    /// It was stored before: this was the answer.
    Stored(Arc<str>),
    /// The same push is being stored right now.
    Running,
    /// The key was used with another body.
    KeyReused,
}

#[derive(Debug)]
enum State {
    Running,
    Stored { answer: Arc<str>, turn: u64 },
}

#[derive(Debug)]
struct Seen {
    body_sha256: [u8; 32],
    state: State,
}

#[derive(Debug)]
struct Window {
    limits: WindowLimits,
    seen: HashMap<Arc<str>, Seen>,
    /// Stored keys in the order in which they are forgotten. Sorted, and not a queue: a key from an hour in which the clock was
    /// ahead would hold up all behind it.
    order: BTreeMap<(Timestamp, u64), Arc<str>>,
    turns: u64,
    bytes: usize,
}

/// The keys of one table. Cheap to clone: clones share them.
#[derive(Debug, Clone)]
pub struct IdempotencyWindow {
    window: Arc<Mutex<Window>>,
}

/// The right to store the push of one key. Dropped without [`done`](Self::done), the key is free again.
#[derive(Debug)]
#[must_use = "dropping a claim frees its key"]
pub struct Claim {
    window: Arc<Mutex<Window>>,
    key: Arc<str>,
    at: Timestamp,
}

impl Default for IdempotencyWindow {
    fn default() -> Self {
        Self::new(WindowLimits::default())
    }
}

impl IdempotencyWindow {
    /// A window without keys.
    pub fn new(limits: WindowLimits) -> Self {
        let (seen, order) = (HashMap::new(), BTreeMap::new());
        Self { window: Arc::new(Mutex::new(Window { limits, seen, order, turns: 0, bytes: 0 })) }
    }

    /// Begins a push that came with a key.
    ///
    /// # Errors
    /// `Exhausted` when the window is full of keys that may not be forgotten yet.
    pub fn begin(&self, key: &str, body_sha256: [u8; 32], now: Timestamp) -> Result<Begin> {
        let mut window = self.window.lock();
        if let Some(seen) = window.seen.get(key) {
            return Ok(match &seen.state {
                _ if seen.body_sha256 != body_sha256 => Begin::KeyReused,
                State::Running => Begin::Running,
                State::Stored { answer, .. } => Begin::Stored(Arc::clone(answer)),
            });
        }
        window.forget(now);
        if window.bytes >= window.limits.bytes_max {
            let limit = window.limits.bytes_max as u64;
            return Err(SegmentError::Full {
                what: "the window of idempotency keys",
                limit,
                cure: "use shorter keys, or fewer",
            });
        }
        let key: Arc<str> = key.into();
        window.seen.insert(Arc::clone(&key), Seen { body_sha256, state: State::Running });
        Ok(Begin::Fresh(Claim { window: Arc::clone(&self.window), key, at: now }))
    }

    /// Takes in keys that were stored before the start, from the catalog and the journal, in any order. A key that is known
    /// already stays as it is.
    pub fn restore(&self, keys: impl IntoIterator<Item = StoredKey>) {
        // Of a key that is given twice the older one is the first answer.
        let mut keys: Vec<StoredKey> = keys.into_iter().collect();
        keys.sort_by_key(|key| key.at);
        let mut window = self.window.lock();
        for key in keys {
            if !window.seen.contains_key(&key.key) {
                window.store(key.key, key.body_sha256, key.answer.into(), key.at);
            }
        }
    }

    /// Keys that are held, running ones included.
    pub fn len(&self) -> usize {
        self.window.lock().seen.len()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Claim {
    /// The push is stored: from now on the key has this answer.
    pub fn done(self, answer: impl Into<Arc<str>>) {
        let mut window = self.window.lock();
        if let Some(seen) = window.seen.get(&self.key) {
            let body_sha256 = seen.body_sha256;
            window.store(Arc::clone(&self.key), body_sha256, answer.into(), self.at);
        }
    }

    /// The claimed key.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut window = self.window.lock();
        if window.seen.get(&self.key).is_some_and(|seen| matches!(seen.state, State::Running)) {
            window.seen.remove(&self.key);
        }
    }
}

impl Window {
    fn store(&mut self, key: Arc<str>, body_sha256: [u8; 32], answer: Arc<str>, at: Timestamp) {
        self.turns += 1;
        let turn = self.turns;
        self.bytes += cost(&key, &answer);
        self.order.insert((at, turn), Arc::clone(&key));
        self.seen.insert(key, Seen { body_sha256, state: State::Stored { answer, turn } });
    }

    fn forget(&mut self, now: Timestamp) {
        let keep = i64::try_from(self.limits.keep.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.as_millis().saturating_sub(keep);
        while self.order.len() > self.limits.keys_min {
            let Some(first) = self.order.first_entry().filter(|first| first.key().0.as_millis() < oldest) else {
                return;
            };
            let ((_, turn), key) = first.remove_entry();
            if let Some(Seen { state: State::Stored { answer, turn: held }, .. }) = self.seen.get(&key)
                && *held == turn
            {
                self.bytes = self.bytes.saturating_sub(cost(&key, answer));
                self.seen.remove(&key);
            }
        }
    }
}

/// Bytes of a key in the window, with what map and queue need for it.
fn cost(key: &str, answer: &str) -> usize {
    key.len() + answer.len() + 160
}

#[cfg(test)]
mod tests;
