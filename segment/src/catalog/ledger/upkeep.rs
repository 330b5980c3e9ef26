//! Which files may be deleted.
//!
//! Deleting is the one deed here that nothing can take back, so every row it rests on is compared with its guard: a lost
//! row that named a file would make a living object look like an orphan.

use std::collections::{BTreeMap, BTreeSet};

use super::super::books::{Books, Record, Scan};
use super::super::entries::{Cell, ClosedEntry, Entry, FileEntry, SegmentEntry, TableEntry};
use super::super::rows::SegmentRow;
use super::commits::segment_key;
use super::{Ledger, table_key};
use crate::error::{Result, SegmentError};
use crate::id::{SegmentId, TableId};
use crate::time::Timestamp;

impl<B: Books> Ledger<B> {
    pub(super) async fn segments_to_delete(&mut self, closed_before: Timestamp) -> Result<Vec<SegmentRow>> {
        let closed: Vec<ClosedEntry> = self.book(None).await?;
        let late: Vec<(TableId, u32)> =
            closed.iter().filter(|c| c.closed_at < closed_before).map(|c| (c.table, c.number)).collect();
        let old: BTreeSet<(TableId, u32)> = late.into_iter().collect();
        if old.is_empty() {
            return Ok(Vec::new());
        }
        let mut names: BTreeMap<String, Vec<(TableId, u32)>> = BTreeMap::new();
        for file in self.book::<FileEntry>(None).await? {
            names.entry(file.path).or_default().push((file.table, file.number));
        }
        let mut rows = Vec::new();
        for (table, number) in &old {
            let key = [table_key(*table), number.to_value()];
            let found: Option<SegmentEntry> = self.get(&key).await?;
            let lost =
                || SegmentError::corrupt(format!("segment {number} of table {table} in the catalog"), "it is gone");
            let mut entry = found.ok_or_else(lost)?;
            // A file is free when every row that names it was closed long enough ago.
            let free = |path: &&String| names.get(*path).is_some_and(|by| by.iter().all(|who| old.contains(who)));
            if entry.visible_until.is_none() || !entry.paths().iter().all(free) {
                continue;
            }
            if !entry.condemned {
                entry.condemned = true;
                self.put(&entry).await?;
            }
            let sum = Record::new(SegmentEntry::RELATION, entry.values()).sum;
            rows.push(entry.into_row(sum));
        }
        Ok(rows)
    }

    pub(super) async fn segments_deleted(&mut self, table: TableId, ids: &[SegmentId]) -> Result<()> {
        for id in ids {
            let found: Option<SegmentEntry> = self.get(&segment_key(table, id)).await?;
            let Some(entry) = found.filter(|entry| entry.id == *id) else { continue };
            let Some(closed_at) = entry.closed_at.filter(|_| entry.condemned) else {
                let reason = format!("`{id}` was not named as one whose files may go");
                return Err(SegmentError::invalid("deleted segment", reason));
            };
            for path in entry.paths() {
                self.remove::<FileEntry>(&[path.to_value(), table_key(table), entry.number.to_value()]).await?;
            }
            self.remove::<ClosedEntry>(&[closed_at.to_value(), table_key(table), entry.number.to_value()]).await?;
            self.remove::<SegmentEntry>(&segment_key(table, id)).await?;
        }
        self.forget_empty(table).await
    }

    /// Forgets a dropped table that has no segment left.
    pub(super) async fn forget_empty(&mut self, table: TableId) -> Result<()> {
        let entry: Option<TableEntry> = self.get(&[table_key(table)]).await?;
        let left = Scan { limit: Some(1), ..Scan::of(vec![table_key(table)]) };
        if entry.is_some_and(|entry| entry.dropped_at.is_some()) && self.scan::<SegmentEntry>(left).await?.is_empty() {
            self.remove::<TableEntry>(&[table_key(table)]).await?;
        }
        Ok(())
    }

    pub(super) async fn unnamed(&mut self, paths: &[String]) -> Result<Vec<String>> {
        let files: Vec<FileEntry> = self.book(None).await?;
        let named: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        Ok(paths.iter().filter(|path| !named.contains(path.as_str())).cloned().collect())
    }
}
