//! Who may write: this node's leases, and their renewal.
//!
//! Each group of tasks has one lease in the catalog, and each publication carries its epoch; a writer that was replaced
//! while it slept is refused. Renewing keeps others from taking over a group that is alive. Nothing here is needed for
//! safety: that rests on the epoch in the publish transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freshet_segment::catalog::{Catalog, LeaseRef};
use freshet_segment::error::SegmentError;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// How long a lease lasts without renewal.
const LEASE: Duration = Duration::from_secs(30);
/// How often leases are renewed.
const RENEWAL: Duration = Duration::from_secs(10);

/// The leases of this process.
#[derive(Debug)]
pub(crate) struct Leases {
    catalog: Arc<dyn Catalog>,
    /// Names the data folder, which one living process has.
    node: String,
    held: Mutex<HashMap<Arc<str>, LeaseRef>>,
    /// One asks at a time: two that seize the same lease would shut each other out.
    turn: Semaphore,
    /// This process ends: what is still on its way must not take back what was given up.
    closed: AtomicBool,
}

impl Leases {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, node: &str) -> Self {
        Self {
            catalog,
            node: node.to_owned(),
            held: Mutex::default(),
            turn: Semaphore::new(1),
            closed: AtomicBool::new(false),
        }
    }

    /// The lease of `group`, acquired now when it is not held.
    ///
    /// # Errors
    /// `Conflict` while another node holds it, or of the catalog.
    pub(crate) async fn hold(&self, group: &Arc<str>) -> Result<LeaseRef, SegmentError> {
        let known = || self.held.lock().get(group).cloned();
        if let Some(lease) = known() {
            return Ok(lease);
        }
        // Never closed.
        let _turn = self.turn.acquire().await;
        if let Some(lease) = known() {
            return Ok(lease);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(SegmentError::unavailable("a lease", "this server is stopping"));
        }
        // Refused while another node holds it. Our own may be of an earlier life of this node: the lock of the data folder
        // says that it has ended, and a new epoch shuts out whatever of it is still on its way.
        self.catalog.acquire_lease(group, &self.node, LEASE).await?;
        let lease = self.catalog.seize_lease(group, &self.node, LEASE).await?;
        let held = LeaseRef { group: Arc::clone(group), epoch: lease.epoch };
        self.held.lock().insert(Arc::clone(group), held.clone());
        Ok(held)
    }

    /// Notes it when `result` says that the lease of `group` was lost.
    pub(crate) fn heed<T>(&self, group: &Arc<str>, result: Result<T, SegmentError>) -> Result<T, SegmentError> {
        if let Err(SegmentError::Fenced { .. }) = &result {
            self.forget(group);
        }
        result
    }

    /// The lease of `group` was lost: the next call of [`Self::hold`] asks for a new one.
    pub(crate) fn forget(&self, group: &Arc<str>) {
        self.held.lock().remove(group);
    }

    async fn renew(&self) {
        let held: Vec<LeaseRef> = self.held.lock().values().cloned().collect();
        for lease in held {
            match self.catalog.renew_lease(&lease, LEASE).await {
                Ok(()) => {}
                // The publisher finds out by itself, and gives up what is not its own any more.
                Err(error @ SegmentError::Fenced { .. }) => {
                    tracing::warn!(group = %lease.group, %error, "a lease was lost");
                }
                Err(error) => tracing::warn!(group = %lease.group, %error, "a lease could not be renewed"),
            }
        }
    }

    /// Lets others take over at once.
    pub(crate) async fn release_all(&self) {
        self.closed.store(true, Ordering::Release);
        let _turn = self.turn.acquire().await;
        let held: Vec<LeaseRef> = self.held.lock().drain().map(|(_, lease)| lease).collect();
        for lease in held {
            if let Err(error) = self.catalog.release_lease(&lease).await {
                tracing::debug!(group = %lease.group, %error, "a lease was not released; it expires");
            }
        }
    }

    /// Renews until nobody else holds the leases.
    pub(crate) fn keep(self: &Arc<Self>, runtime: &tokio::runtime::Handle) {
        let leases = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                let Some(leases) = leases.upgrade() else { return };
                leases.renew().await;
            }
        });
    }
}
