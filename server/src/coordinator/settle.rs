//! One way to make a commit and to show it.
//!
//! ```text
//! catalog.replace ──▶ commit ──▶ timeline.hand_over (one swap) ──▶ timeline.advance
//!        └─ outcome unknown ──▶ table noted as unsettled ──▶ the timeline is made like the catalog, before anything else
//! ```
//! The turn is held from a commit to its hand-over, so that no other commit of the coordinator comes between. A commit of
//! ingestion may: it touches other segments, because only segments that the timeline shows as sealed are closed here, and
//! those ingestion has handed over already.

use std::collections::BTreeMap;
use std::sync::Arc;

use freshet_segment::catalog::{Commit, NewSegment, PublishId, Replacement, SegmentRow};
use freshet_segment::error::{ErrorKind, SegmentError};
use freshet_segment::failpoint;
use freshet_segment::id::{SegmentId, TableId};
use freshet_segment::sealed::SealedSegment;
use freshet_segment::timeline::{
    Changed, HandOver, SegmentEntry, TableTimeline, TableView, VISIBLE_FOREVER, VisibleSegment,
};

use super::{Coordinator, Result};

/// A sealed segment of a view.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) id: SegmentId,
    pub(super) segment: Arc<SealedSegment>,
}

/// The sealed segments that a view shows.
pub(super) fn sealed_of(view: &TableView) -> Vec<Shown> {
    let sealed = |entry: &SegmentEntry| match &entry.segment {
        VisibleSegment::Sealed(segment) => Some(Shown { id: entry.id.clone(), segment: Arc::clone(segment) }),
        VisibleSegment::Growing(_) => None,
    };
    view.segments().filter_map(sealed).collect()
}

/// Whether a call may have been done although it failed.
fn is_unknown(error: &SegmentError) -> bool {
    matches!(error, SegmentError::Unavailable { outcome_unknown: true, .. })
}

impl Coordinator {
    /// Makes a commit and shows it. Runs to its end once begun: give it a task of its own where the caller may go away.
    pub(super) async fn replace(
        &self,
        table: &TableTimeline,
        replacement: Replacement,
        changed: Changed,
    ) -> Result<Commit> {
        let (id, opened) = (replacement.id, replacement.open.clone());
        let table_id = replacement.table;
        let _turn = self.turn.lock().await;
        self.settle_all().await?;
        match self.parts.catalog.replace(replacement).await {
            Ok(commit) => {
                self.show(table, &commit, &opened, changed);
                Ok(commit)
            }
            Err(error) if is_unknown(&error) => {
                self.unsettled.lock().insert(table_id);
                self.settle_all().await?;
                self.parts.catalog.publication(id).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`replace`](Self::replace), for taking a commit back: closes what it opened.
    pub(super) async fn take_back(
        &self,
        table: &TableTimeline,
        publish: PublishId,
        new_ids: &[(SegmentId, SegmentId)],
        changed: Changed,
    ) -> Result<Commit> {
        let table_id = table.view().table_id;
        let catalog = &self.parts.catalog;
        let _turn = self.turn.lock().await;
        self.settle_all().await?;
        let before = catalog.last_commit().await?;
        match catalog.undo(publish, new_ids).await {
            Ok(commit) => {
                // From here on the commit is made: what fails now is caught up with before the next one.
                self.unsettled.lock().insert(table_id);
                failpoint!("undo.committed")?;
                let rows = catalog.segments(table_id, Some(commit.seq)).await?;
                let opened: Vec<NewSegment> =
                    rows.into_iter().map(|row| row.segment).filter(|s| commit.opened.contains(&s.id)).collect();
                self.show(table, &commit, &opened, changed);
                self.unsettled.lock().remove(&table_id);
                Ok(commit)
            }
            Err(error) if is_unknown(&error) => {
                self.unsettled.lock().insert(table_id);
                self.settle_all().await?;
                let opened: Vec<&SegmentId> = new_ids.iter().map(|(_, new)| new).collect();
                let since = catalog.commits_since(before, usize::MAX).await?;
                // New ids are given once, so a commit that opened them is this one; without any, what it closed tells.
                let undone = catalog.publication(publish).await?.map(|commit| commit.opened).unwrap_or_default();
                let ours = |c: &Commit| {
                    c.table == table_id && c.opened.iter().eq(opened.iter().copied()) && c.closed == undone
                };
                since.into_iter().find(ours).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    fn show(&self, table: &TableTimeline, commit: &Commit, opened: &[NewSegment], changed: Changed) {
        table.hand_over(HandOver {
            close: commit.closed.clone(),
            open: opened.iter().map(|segment| self.entry(segment, commit.seq)).collect(),
            commit_seq: commit.seq,
            schema: None,
            changed,
        });
        self.parts.timeline.advance(commit.seq);
    }

    fn entry(&self, segment: &NewSegment, visible_from: u64) -> SegmentEntry {
        let sealed = SealedSegment::lazy(segment.clone(), Arc::clone(&self.parts.storage), &self.parts.local);
        SegmentEntry {
            id: segment.id.clone(),
            visible_from,
            visible_until: VISIBLE_FOREVER,
            segment: VisibleSegment::Sealed(sealed),
        }
    }

    /// Makes the timeline like the catalog for every table on which an outcome is not known.
    ///
    /// # Errors
    /// Of the catalog: nothing may be done until this is known, least of all deleting files.
    pub(super) async fn settle(&self) -> Result<()> {
        if self.unsettled.lock().is_empty() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        self.settle_all().await
    }

    async fn settle_all(&self) -> Result<()> {
        let waiting: Vec<TableId> = self.unsettled.lock().iter().copied().collect();
        for id in waiting {
            match self.settle_table(id).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                // A dropped table has nothing to show.
                _ => self.unsettled.lock().remove(&id),
            };
        }
        Ok(())
    }

    async fn settle_table(&self, id: TableId) -> Result<()> {
        let reading = self.parts.catalog.reading(id).await?;
        let Some(table) = self.table_by_id(id) else { return Ok(()) };
        let open: BTreeMap<&SegmentId, &SegmentRow> =
            reading.segments.iter().map(|row| (&row.segment.id, row)).collect();
        let view = table.view();
        // What a later commit opened is not in this reading, and stays.
        let close: Vec<SegmentId> = view
            .segments()
            .filter(|e| e.segment.is_sealed() && e.visible_from <= reading.commit_seq && !open.contains_key(&e.id))
            .map(|e| e.id.clone())
            .collect();
        // A growing segment whose rows are published already is handed over by its publisher.
        let missing = open.values().filter(|row| view.segments().all(|e| e.id != row.segment.id));
        let open: Vec<SegmentEntry> = missing.map(|row| self.entry(&row.segment, row.visible_from)).collect();
        tracing::info!(table = %view.name, closed = close.len(), opened = open.len(), "caught up with the catalog");
        table.hand_over(HandOver {
            close,
            open,
            commit_seq: reading.commit_seq,
            schema: None,
            changed: Changed::Everything,
        });
        self.parts.timeline.advance(reading.commit_seq);
        Ok(())
    }

    fn table_by_id(&self, id: TableId) -> Option<Arc<TableTimeline>> {
        self.parts.timeline.tables().into_iter().find(|table| table.view().table_id == id)
    }
}
