//! Leases: who may write for a group, told by an epoch.
//!
//! The time of a lease only says when another owner may take over; whether a write is accepted is told by the epoch
//! alone, inside the same transaction. So a clock that is wrong, or an owner that was stopped and woke up, costs a
//! takeover and never a row.

use std::sync::Arc;
use std::time::Duration;

use super::super::books::Books;
use super::super::entries::{Cell, LeaseEntry};
use super::super::rows::{Lease, LeaseRef};
use super::Ledger;
use crate::error::{Result, SegmentError};

impl<B: Books> Ledger<B> {
    /// Refuses a writer whose epoch is not the group's.
    pub(super) async fn fence(&mut self, lease: &LeaseRef) -> Result<()> {
        self.held(lease).await.map(drop)
    }

    /// Notes the lease among what the transaction wrote, so that its log entry carries the epoch.
    pub(super) async fn touch_lease(&mut self, lease: &LeaseRef) -> Result<()> {
        let entry = self.held(lease).await?;
        self.put(&entry).await
    }

    async fn held(&mut self, lease: &LeaseRef) -> Result<LeaseEntry> {
        let found: Option<LeaseEntry> = self.get(&[lease.group.to_value()]).await?;
        let current = found.as_ref().map_or(0, |entry| entry.epoch);
        found.filter(|entry| entry.epoch == lease.epoch).ok_or_else(|| SegmentError::Fenced {
            group: lease.group.to_string(),
            held: lease.epoch,
            current,
        })
    }

    pub(super) async fn acquire_lease(&mut self, group: &str, owner: &str, ttl: Duration) -> Result<Lease> {
        let now = self.books.lease_now().await?;
        let old = self.last_lease(group).await?;
        if let Some(old) = &old
            && let Some(holder) = &old.owner
            && old.expires > now
        {
            if holder != owner {
                let name = format!("{group}, held by {holder} for {} ms more", old.expires.saturating_sub(now));
                return Err(SegmentError::Exists { what: "lease", name });
            }
            return self.give_lease(group, owner, old.epoch, ttl).await;
        }
        self.give_lease(group, owner, next_epoch(old), ttl).await
    }

    pub(super) async fn seize_lease(&mut self, group: &str, owner: &str, ttl: Duration) -> Result<Lease> {
        let old = self.last_lease(group).await?;
        self.give_lease(group, owner, next_epoch(old), ttl).await
    }

    pub(super) async fn renew_lease(&mut self, lease: &LeaseRef, ttl: Duration) -> Result<()> {
        let mut entry = self.held(lease).await?;
        entry.expires = expiry(self.books.lease_now().await?, ttl);
        self.put(&entry).await
    }

    pub(super) async fn release_lease(&mut self, lease: &LeaseRef) -> Result<()> {
        let entry = self.held(lease).await?;
        let epoch = entry.epoch.saturating_add(1);
        self.put(&LeaseEntry { epoch, owner: None, expires: 0, ..entry }).await
    }

    /// The group's row. Every lease is read and compared with the guard, for an epoch that began again at 1 because its
    /// row was lost would let an old writer in.
    async fn last_lease(&mut self, group: &str) -> Result<Option<LeaseEntry>> {
        let all: Vec<LeaseEntry> = self.book(None).await?;
        Ok(all.into_iter().find(|entry| &*entry.group == group))
    }

    async fn give_lease(&mut self, group: &str, owner: &str, epoch: u64, ttl: Duration) -> Result<Lease> {
        let expires = expiry(self.books.lease_now().await?, ttl);
        let group: Arc<str> = Arc::from(group);
        self.put(&LeaseEntry { group: Arc::clone(&group), epoch, owner: Some(owner.to_owned()), expires }).await?;
        Ok(Lease { group, owner: owner.to_owned(), epoch, expires_in: ttl })
    }
}

fn next_epoch(old: Option<LeaseEntry>) -> u64 {
    old.map_or(0, |old| old.epoch).saturating_add(1)
}

fn expiry(now: i64, ttl: Duration) -> i64 {
    now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX))
}
