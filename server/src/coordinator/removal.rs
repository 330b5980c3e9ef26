//! Dropping an interval, putting a load in its place, and taking a commit back.
//!
//! All name exactly the segments they read: rows that come while a drop runs stay, and a segment that another commit closes
//! first makes the answer `Conflict`, upon which the caller starts again from a new reading.

use std::sync::Arc;

use freshet_segment::catalog::{Commit, CommitCause, NewSegment, PublishId, Replacement};
use freshet_segment::error::SegmentError;
use freshet_segment::failpoint;
use freshet_segment::id::{SegmentId, Version};
use freshet_segment::time::{Interval, Timestamp};
use freshet_segment::timeline::{Changed, TableTimeline, TableView};

use super::settle::{Shown, sealed_of};
use super::{Coordinator, Result};

/// What was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The commit; nothing when the interval held no published rows.
    pub commit: Option<Commit>,
    /// Rows that are gone.
    pub rows: u64,
}

impl Coordinator {
    fn table(&self, name: &str) -> Result<Arc<TableTimeline>> {
        let table = self.parts.timeline.table(name);
        table.ok_or_else(|| SegmentError::NotFound { what: "table", name: name.to_owned() })
    }

    /// Takes the published rows of an interval away. What the table's tasks hold has to be published before.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when a segment reaches over the interval's border; `Conflict` when one was replaced meanwhile:
    /// start again.
    pub async fn drop_interval(&self, table: &str, interval: Interval) -> Result<Dropped> {
        let table = self.table(table)?;
        let view = table.view();
        let inside = inside(&view, &[interval])?;
        if inside.is_empty() {
            return Ok(Dropped { commit: None, rows: 0 });
        }
        failpoint!("drop.begin")?;
        let replacement = Replacement {
            id: PublishId(rand::random()),
            table: view.table_id,
            lease: None,
            close: inside.iter().map(|shown| shown.id.clone()).collect(),
            open: Vec::new(),
            cause: CommitCause::Drop,
        };
        let from = earliest(inside.iter().map(|shown| shown.segment.time_range()));
        let commit = self.replace(&table, replacement, from).await?;
        failpoint!("drop.committed")?;
        let rows = inside.iter().map(|shown| shown.segment.rows() as u64).sum();
        tracing::info!(table = %view.name, %interval, segments = inside.len(), rows, commit = commit.seq, "dropped");
        Ok(Dropped { commit: Some(commit), rows })
    }

    /// Opens segments that a load has stored, in place of the published rows of `replaced`. What the table's tasks hold has to
    /// be published before.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when a segment reaches over the border of an interval; `Conflict` when one was replaced
    /// meanwhile: start again.
    pub async fn load(&self, table: &str, segments: &[NewSegment], replaced: &[Interval]) -> Result<()> {
        let table = self.table(table)?;
        let view = table.view();
        let closed = inside(&view, replaced)?;
        if closed.is_empty() && segments.is_empty() {
            return Ok(());
        }
        let replacement = Replacement {
            id: PublishId(rand::random()),
            table: view.table_id,
            lease: None,
            close: closed.iter().map(|shown| shown.id.clone()).collect(),
            open: segments.to_vec(),
            cause: CommitCause::Replace,
        };
        let new = segments.iter().map(|segment| Some(segment.time_range));
        let from = earliest(closed.iter().map(|shown| shown.segment.time_range()).chain(new));
        let rows: u64 = segments.iter().map(|segment| segment.rows).sum();
        let commit = self.replace(&table, replacement, from).await?;
        tracing::info!(table = %view.name, closed = closed.len(), opened = segments.len(), rows, commit = commit.seq, "loaded");
        Ok(())
    }

    /// Takes a commit of the last day back: what it closed is visible again, under new ids, and what it opened is not.
    ///
    /// # Errors
    /// `NotFound` for a commit that this table does not have; `Invalid` for one older than a day, or one by which rows of a
    /// stream became official; `Conflict` when what it opened was replaced since, or files of what it closed are gone.
    pub async fn undo(&self, table: &str, publish: PublishId) -> Result<Commit> {
        let table = self.table(table)?;
        let view = table.view();
        let catalog = &self.parts.catalog;
        let known = catalog.publication(publish).await?.filter(|commit| commit.table == view.table_id);
        let undone =
            known.ok_or_else(|| SegmentError::NotFound { what: "commit of this table", name: publish.to_string() })?;
        if undone.cause == CommitCause::Publish {
            let reason = "rows of a stream became official by it; drop their interval instead";
            return Err(SegmentError::invalid("undo", reason));
        }
        let count = u32::try_from(undone.closed.len())
            .map_err(|_| SegmentError::invalid("undo", "it closed too many segments"))?;
        let numbers = if count == 0 { 0..0 } else { catalog.lease_numbers(view.table_id, count).await? };
        let version = Version::at(self.parts.clock.now());
        let renamed = |(old, number): (&SegmentId, u32)| {
            (old.clone(), SegmentId { version: version.clone(), number, ..old.clone() })
        };
        let new_ids: Vec<(SegmentId, SegmentId)> = undone.closed.iter().zip(numbers).map(renamed).collect();
        failpoint!("undo.begin")?;
        let commit = self.take_back(&table, publish, &new_ids, Changed::Everything).await?;
        tracing::info!(table = %view.name, undone = undone.seq, commit = commit.seq, "a commit was taken back");
        Ok(commit)
    }
}

/// The sealed segments of these intervals.
fn inside(view: &TableView, intervals: &[Interval]) -> Result<Vec<Shown>> {
    let mut found = Vec::new();
    for shown in sealed_of(view) {
        let Some(touched) = intervals.iter().find(|interval| shown.id.interval.overlaps(interval)) else { continue };
        if !intervals.iter().any(|interval| shown.id.interval.intersect(interval) == Some(shown.id.interval)) {
            let reason = format!(
                "segment `{}` holds rows of {} and reaches over the border of {touched}: widen the interval",
                shown.id, shown.id.interval
            );
            return Err(SegmentError::invalid("interval", reason));
        }
        found.push(shown);
    }
    Ok(found)
}

fn earliest(times: impl Iterator<Item = Option<(Timestamp, Timestamp)>>) -> Changed {
    times.flatten().map(|(min, _)| min).min().map_or(Changed::Nothing, Changed::From)
}
