//! Idempotency keys of published pushes.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::books::{Books, Scan, Value};
use super::super::entries::{Cell, DedupEntry, DedupOrderEntry, Entry};
use super::super::rows::DedupKey;
use super::{Ledger, table_key};
use crate::error::{Result, SegmentError};
use crate::id::TableId;
use crate::time::Timestamp;

/// Keys looked at in one step of pruning; bounds memory, not the work.
const PRUNE_STEP: usize = 4_096;

fn lost_key(order: &DedupOrderEntry) -> SegmentError {
    let what = format!("the catalog's `{}` of table {}", DedupEntry::RELATION.name, order.table);
    SegmentError::corrupt(what, "a key is lost")
}

impl<B: Books> Ledger<B> {
    pub(super) async fn put_keys(&mut self, table: TableId, keys: Vec<DedupKey>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let order = keys.iter().map(|key| DedupOrderEntry { table, at: key.at, key: Arc::clone(&key.key) });
        self.put_all(order).await?;
        let entries = keys.into_iter().map(|DedupKey { key, body_sha256, answer, at }| DedupEntry {
            table,
            key,
            body_sha256,
            answer,
            at,
        });
        self.put_all(entries).await
    }

    pub(super) async fn dedup(&mut self, table: TableId, key: &str) -> Result<Option<DedupKey>> {
        let found: Option<DedupEntry> = self.get(&[table_key(table), Value::Text(key.to_owned())]).await?;
        Ok(found.map(DedupKey::from))
    }

    /// The key an order row stands for; nothing when the key was stored again later.
    async fn ordered_key(&mut self, order: &DedupOrderEntry) -> Result<Option<DedupEntry>> {
        let found: Option<DedupEntry> = self.get(&[table_key(order.table), order.key.to_value()]).await?;
        let found = found.ok_or_else(|| lost_key(order))?;
        Ok(Some(found).filter(|entry| entry.at == order.at))
    }

    /// Read from the keys themselves: one pass, where the order's rows would ask for each key. The order then tells
    /// whether one is lost, so who asks this at its start need not fear that [`dedup`](Self::dedup) forgets.
    pub(super) async fn dedup_since(
        &mut self,
        table: TableId,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<DedupKey>> {
        let mut keys: Vec<DedupEntry> = self.scan(Scan::of(vec![table_key(table)])).await?;
        let answered: HashMap<&str, Timestamp> = keys.iter().map(|entry| (&*entry.key, entry.at)).collect();
        let order: Vec<DedupOrderEntry> = self.scan(Scan::of(vec![table_key(table)])).await?;
        // A key stored again is younger than its first row in the order.
        let known = |order: &DedupOrderEntry| answered.get(&*order.key).is_some_and(|at| *at >= order.at);
        if let Some(lost) = order.iter().find(|order| !known(order)) {
            return Err(lost_key(lost));
        }
        keys.retain(|entry| entry.at >= since);
        keys.sort_unstable_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        let surplus = keys.len().saturating_sub(limit);
        Ok(keys.into_iter().skip(surplus).map(DedupKey::from).collect())
    }

    pub(super) async fn prune_dedup(&mut self, table: TableId, before: Timestamp, keep_max: usize) -> Result<u64> {
        let prefix = [table_key(table)];
        let keep = u64::try_from(keep_max).unwrap_or(u64::MAX);
        let mut surplus = self.books.count(DedupEntry::RELATION, &prefix).await?.saturating_sub(keep);
        let mut removed = 0;
        while surplus > 0 {
            let scan = Scan { limit: Some(PRUNE_STEP), ..Scan::of(prefix.to_vec()) };
            let oldest: Vec<DedupOrderEntry> = self.scan(scan).await?;
            let old = oldest.iter().take_while(|order| order.at < before).count();
            for order in oldest.iter().take(old) {
                if surplus == 0 {
                    return Ok(removed);
                }
                self.remove::<DedupOrderEntry>(&[table_key(table), order.at.to_value(), order.key.to_value()]).await?;
                if self.ordered_key(order).await?.is_some() {
                    self.remove::<DedupEntry>(&[table_key(table), order.key.to_value()]).await?;
                    surplus -= 1;
                    removed += 1;
                }
            }
            if old < PRUNE_STEP {
                break;
            }
        }
        Ok(removed)
    }
}
