//! The byte budget of rows that are not sealed yet, over all tasks.
//!
//! At the limit a source that can wait is not polled and a push is refused; nothing is dropped. Counted is what growing
//! segments have allocated, and what pushes hold on their way in. One batch may overshoot the limit, because its size
//! in columns is known only once it is there; the source is asked before each batch.
//!
//! While nothing is sealed, rows leave memory only when their table is dropped: then the budget is given back and
//! waiting tasks go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{IngestError, Result};

/// Memory of unsealed rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes in use.
    pub used: usize,
    /// The budget.
    pub max: usize,
}

#[derive(Debug)]
pub(crate) struct MemoryBudget {
    used: AtomicUsize,
    max: usize,
    released: Condvar,
    waiting: Mutex<()>,
}

impl MemoryBudget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max, released: Condvar::new(), waiting: Mutex::new(()) })
    }

    pub(crate) fn usage(&self) -> MemoryUse {
        MemoryUse { used: self.used.load(Ordering::Acquire), max: self.max }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.usage().used >= self.max
    }

    /// Waits for room, at most `timeout`; the caller looks again.
    pub(crate) fn wait_for_room(&self, timeout: Duration) {
        let mut waiting = self.waiting.lock();
        if self.is_full() {
            self.released.wait_for(&mut waiting, timeout);
        }
    }

    /// Room for a push on its way in, given back when the guard is dropped.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reservation> {
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|_| used < self.max)
        });
        match taken {
            Ok(_) => Ok(Reservation { budget: Arc::clone(self), bytes }),
            Err(used) => Err(IngestError::MemoryExhausted { used, max: self.max }),
        }
    }

    fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "more memory given back than taken");
        // The lock orders this after a waiter's look at `used`: without it the waiter could miss the call.
        let _order = self.waiting.lock();
        self.released.notify_all();
    }
}

#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// What the rows of one table take; given back as a whole when the table is dropped.
#[derive(Debug)]
pub(crate) struct TableMemory {
    budget: Arc<MemoryBudget>,
    bytes: Mutex<Option<usize>>,
}

impl TableMemory {
    pub(crate) fn new(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, bytes: Mutex::new(Some(0)) }
    }

    /// A growing segment went from `before` to `after` bytes. Without effect once the table is dropped.
    pub(crate) fn resize(&self, before: usize, after: usize) {
        let mut bytes = self.bytes.lock();
        if let Some(total) = bytes.as_mut() {
            if after >= before {
                *total += after - before;
                self.budget.used.fetch_add(after - before, Ordering::AcqRel);
            } else {
                let less = (before - after).min(*total);
                *total -= less;
                self.budget.release(less);
            }
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.bytes.lock().unwrap_or(0)
    }

    /// The table is gone.
    pub(crate) fn release_all(&self) {
        let bytes = self.bytes.lock().take().unwrap_or(0);
        self.budget.release(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_refuses_and_a_dropped_table_gives_back() {
        let budget = MemoryBudget::new(100);
        let table = TableMemory::new(Arc::clone(&budget));
        table.resize(0, 60);
        let push = budget.reserve(50).expect("one push may overshoot");
        assert_eq!(budget.reserve(1).map(drop).expect_err("full").kind(), crate::error::ErrorKind::Exhausted);
        drop(push);
        assert_eq!(budget.usage().used, 60);
        table.resize(60, 30);
        assert_eq!((budget.usage().used, table.used()), (30, 30));
        table.release_all();
        table.resize(30, 90);
        table.release_all();
        assert_eq!(budget.usage().used, 0, "a task that is late with its count changes nothing");
    }

    #[test]
    fn a_waiter_wakes_when_memory_is_given_back() {
        let budget = MemoryBudget::new(10);
        let table = TableMemory::new(Arc::clone(&budget));
        table.resize(0, 10);
        let waiter = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || {
                while budget.is_full() {
                    budget.wait_for_room(Duration::from_secs(60));
                }
            })
        };
        table.release_all();
        waiter.join().expect("the waiter ends");
    }
}
