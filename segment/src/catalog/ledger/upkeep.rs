//! Which files may be deleted, and which commits forgotten.
//!
//! Deleting is the one deed here that nothing can take back, so every row it rests on is compared with its guard: a lost
//! row that named a file would make a living object look like an orphan.

use std::collections::{BTreeMap, BTreeSet};

use super::super::books::{Books, Record, Scan};
use super::super::entries::{
    Cell, ClosedEntry, CommitEntry, Entry, FileEntry, OutboxEntry, PublicationEntry, RangeEntry, SegmentEntry,
    TableEntry,
};
use super::super::rows::SegmentRow;
use super::commits::{UNDO_WITHIN_MS, segment_key};
use super::{Ledger, PRUNED, table_key};
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

    /// Forgets commits from the first on, and the ranges that only they explain. Each range that is left still begins where
    /// the one before it ended, and the last one of a stream partition stays: it says why the checkpoint is where it is.
    pub(super) async fn prune_commits(&mut self, before: Timestamp, limit: usize) -> Result<u64> {
        // What can be undone is needed, whoever asks.
        let undoable = Timestamp::from_millis(self.clock.now().as_millis().saturating_sub(UNDO_WITHIN_MS));
        let before = before.min(undoable);
        let pruned = self.pruned().await?;
        let waiting: Vec<OutboxEntry> = self.scan(Scan { limit: Some(1), ..Scan::default() }).await?;
        let stored = waiting.first().map_or(u64::MAX, |entry| entry.seq.saturating_sub(1));
        let scan = Scan { from: Some(pruned.saturating_add(1).to_value()), limit: Some(limit), ..Scan::default() };
        let mut commits: Vec<CommitEntry> = self.scan(scan).await?;
        let old = commits.iter().take_while(|commit| commit.at < before && commit.seq <= stored).count();
        commits.truncate(old);
        for commit in &commits {
            self.remove::<CommitEntry>(&[commit.seq.to_value()]).await?;
            self.remove::<PublicationEntry>(&[commit.publish.to_value()]).await?;
        }
        if let Some(last) = commits.last() {
            self.set_counter(PRUNED, last.seq).await?;
        }
        // Once for all: each time would cost a reading of all ranges.
        if commits.len() < limit {
            self.prune_ranges().await?;
        }
        Ok(u64::try_from(commits.len()).unwrap_or(u64::MAX))
    }

    async fn prune_ranges(&mut self) -> Result<()> {
        for table in self.book::<TableEntry>(None).await? {
            let ranges: Vec<RangeEntry> = self.book(Some(table_key(table.id))).await?;
            for (range, next) in ranges.iter().zip(ranges.iter().skip(1)) {
                let is_last = (&range.stream, range.partition) != (&next.stream, next.partition);
                if is_last || self.get::<PublicationEntry>(&[range.publish.to_value()]).await?.is_some() {
                    continue;
                }
                let values = range.values();
                self.remove::<RangeEntry>(values.get(..RangeEntry::RELATION.key).unwrap_or(&values)).await?;
            }
        }
        Ok(())
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
