//! Cleanup: what nothing names and nobody reads goes, last and late.
//!
//! ```text
//! keys        older than a day, beyond a million a table
//! segments    closed for a day ─▶ in no view and no running query ─▶ files deleted ─▶ forgotten by the catalog
//! orphans     listed ─▶ a day old ─▶ of no segment that is about to be published ─▶ the catalog names none ─▶ deleted
//! staging     a day old;   local copies of remote files that nobody reads
//! ```
//! Only names that an attempt gives are orphans: other objects in the folder or bucket are somebody's.
//!
//! The catalog never opens a segment again once it has answered that its files may go, so nothing can come back between
//! the answer and the deletion.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use freshet_segment::catalog::SegmentRow;
use freshet_segment::deep_storage::paths;
use freshet_segment::error::SegmentError;
use freshet_segment::failpoint;
use freshet_segment::sealed::{AttemptId, FileKind};
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::VisibleSegment;

use super::{Coordinator, Report, Result};

/// Listing everything costs: once in so long, and when asked.
const LIST_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// Least age of a staging file that goes: writing one takes minutes.
const STAGING_KEPT: Duration = Duration::from_secs(60 * 60);

/// What the cleanup remembers between its runs.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// When deep storage was last listed (monotonic).
    listed: Option<Duration>,
    /// Files deleted since this process began.
    pub(super) deleted: u64,
    /// Segments whose files may go as soon as no query reads them.
    pub(super) pinned: u64,
}

impl Coordinator {
    /// Deletes what may be deleted now; lists deep storage when it is time for that, or `all`.
    pub(super) fn cleanup(&self, all: bool) -> Result<Report> {
        let now = self.parts.clock.now();
        let keys = self.prune_keys(now)?;
        let (segments, pinned) = self.delete_closed(now)?;
        self.cleaning.lock().pinned = pinned;
        let mut report = Report::default().with("keys", keys).with("segments", segments).with("pinned", pinned);
        let monotonic = self.parts.clock.monotonic();
        let listed = self.cleaning.lock().listed;
        if all || listed.is_none_or(|at| monotonic.saturating_sub(at) >= LIST_EVERY) {
            report = report.with("orphans", self.delete_orphans(now)?);
            self.cleaning.lock().listed = Some(monotonic);
        }
        let none = HashSet::new();
        let staging = delete_old_files(&self.parts.staging, self.parts.settings.delete_after.max(STAGING_KEPT), &none)?;
        // Copies are made again when they are needed.
        let in_use = self.in_use();
        let name = |path: &String| path.rsplit('/').next().map(str::to_owned);
        let in_use: HashSet<String> = in_use.iter().filter_map(name).collect();
        let copies = delete_old_files(&self.parts.local, STAGING_KEPT, &in_use)?;
        let evicted = self.parts.storage.trim_copies(&self.parts.local)?;
        Ok(report.with("staging", staging).with("copies", copies).with("evicted", evicted))
    }

    fn prune_keys(&self, now: Timestamp) -> Result<u64> {
        let settings = &self.parts.settings;
        let before = earlier(now, settings.keys_kept);
        self.block_on(async {
            let mut pruned = 0;
            for table in self.parts.catalog.tables().await? {
                pruned += self.parts.catalog.prune_dedup(table.id, before, settings.keys_max).await?;
            }
            Ok(pruned)
        })
    }

    /// Deletes the files of segments that were closed long ago. Gives how many, and how many wait for a query.
    fn delete_closed(&self, now: Timestamp) -> Result<(u64, u64)> {
        let closed_before = earlier(now, self.parts.settings.delete_after);
        let rows = self.block_on(self.parts.catalog.segments_to_delete(closed_before))?;
        // A segment that is in no view now comes into none later, so this look is enough for all of them.
        let in_use = self.in_use();
        let (mut deleted, mut pinned) = (0, 0);
        for row in rows {
            if self.is_stopping() {
                break;
            }
            if row.segment.files.each().iter().any(|file| in_use.contains(&file.path)) {
                pinned += 1;
                continue;
            }
            self.delete_segment(&row)?;
            deleted += 1;
        }
        Ok((deleted, pinned))
    }

    fn delete_segment(&self, row: &SegmentRow) -> Result<()> {
        failpoint!("cleanup.begin")?;
        // The JSON first: where it is, the segment is whole.
        let [parquet, index, meta] = row.segment.files.each();
        for file in [meta, index, parquet] {
            self.delete(&file.path)?;
            failpoint!("cleanup.deleted")?;
        }
        self.block_on(self.parts.catalog.segments_deleted(row.table, std::slice::from_ref(&row.segment.id)))?;
        failpoint!("cleanup.forgotten")
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.block_on(self.parts.storage.delete(path))?;
        self.cleaning.lock().deleted += 1;
        Ok(())
    }

    /// Files that views show, or that a query still holds.
    fn in_use(&self) -> HashSet<String> {
        let held = self.parts.timeline.sealed_in_use();
        held.iter().flat_map(|segment| segment.row().files.each().map(|file| file.path.clone())).collect()
    }

    /// Deletes old objects that no row names: left behind by attempts that came to nothing.
    fn delete_orphans(&self, now: Timestamp) -> Result<u64> {
        if !self.copying.lock().is_ours() {
            // To a catalog that was lost and begun anew every object is an orphan.
            tracing::info!("objects that no row names are left alone: the stored log of commits was not compared yet");
            return Ok(0);
        }
        let before = earlier(now, self.parts.settings.delete_after);
        let objects = self.block_on(self.parts.storage.list(""))?;
        let mut old: Vec<String> = objects
            .into_iter()
            .filter(|object| object.modified < before && is_attempt(&object.path))
            .map(|object| object.path)
            .collect();
        // Looked at before the catalog is asked: rows that are not handed over here yet may be published in between.
        let waiting = self.waiting();
        let in_use = self.in_use();
        old.retain(|path| !in_use.contains(path) && !attempt_of(path).is_some_and(|of| waiting.contains(of)));
        if old.is_empty() {
            return Ok(0);
        }
        let orphans = self.block_on(self.parts.catalog.unnamed(&old))?;
        for path in &orphans {
            failpoint!("cleanup.orphan")?;
            self.delete(path)?;
        }
        if !orphans.is_empty() {
            tracing::info!(objects = orphans.len(), "deleted objects that no row names");
        }
        Ok(orphans.len() as u64)
    }

    /// Where the files of segments lie, less attempt and ending, that may be stored and are not published: a publication that
    /// is stuck keeps what it has stored, for as long as it takes.
    fn waiting(&self) -> HashSet<String> {
        let views = self.parts.timeline.tables().into_iter().map(|table| table.view());
        let growing = |view: std::sync::Arc<freshet_segment::timeline::TableView>| {
            let entries = view.segments().filter(|entry| matches!(entry.segment, VisibleSegment::Growing(_)));
            entries.map(|entry| entry.id.clone()).collect::<Vec<_>>()
        };
        let place = |id: freshet_segment::id::SegmentId| {
            let path = paths::of(&id.table, id.interval, &id, AttemptId(0), FileKind::Meta);
            attempt_of(&path).map(str::to_owned)
        };
        views.flat_map(growing).filter_map(place).collect()
    }
}

/// Whether a name is one that only an attempt to write a segment gives. Whatever else lies in a bucket is not ours to delete.
fn is_attempt(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let [_, day, name] = parts[..] else { return false };
    let kinds = [FileKind::Parquet, FileKind::Index, FileKind::Meta].map(FileKind::extension);
    let Some((name, ending)) = name.rsplit_once('.') else { return false };
    let attempt = name.rsplit_once('-').map_or("", |(_, attempt)| attempt);
    day.starts_with("day=") && kinds.contains(&ending) && attempt.parse::<AttemptId>().is_ok()
}

/// A path of a segment's file without `-<attempt>.<ending>`.
fn attempt_of(path: &str) -> Option<&str> {
    path.rsplit_once('-').map(|(of, _)| of)
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(by))
}

/// Deletes files of a folder that nobody has written for so long, but for those named. A folder that is not there holds none.
fn delete_old_files(folder: &Path, kept: Duration, but_for: &HashSet<String>) -> Result<u64> {
    let failed = |doing| {
        let path = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        move |source| SegmentError::Io { doing, path, source }
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed("list")(error)),
    };
    let mut deleted = 0;
    for entry in entries {
        let entry = entry.map_err(failed("list"))?;
        // Gone since the folder was read, or of a kind that has no time: not ours to delete.
        let Ok(meta) = entry.metadata() else { continue };
        let Ok(modified) = meta.modified() else { continue };
        let age = SystemTime::now().duration_since(modified).unwrap_or_default();
        let named = entry.file_name().to_str().is_some_and(|name| but_for.contains(name));
        if meta.is_file() && age >= kept && !named && std::fs::remove_file(entry.path()).is_ok() {
            deleted += 1;
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_attempts_are_ours_to_delete() {
        let hex = "0123456789abcdef0123456789abcdef";
        for ending in ["parquet", "idx", "json"] {
            assert!(is_attempt(&format!("t/day=2026-01-01/t_1-{hex}.{ending}")));
        }
        for other in [
            format!("t/day=2026-01-01/t_1-{hex}.csv"),
            format!("t/2026/t_1-{hex}.json"),
            format!("day=2026-01-01/t_1-{hex}.json"),
            format!("a/t/day=2026-01-01/t_1-{hex}.json"),
            "t/day=2026-01-01/t_1-12.json".to_owned(),
            "t/day=2026-01-01/report.parquet".to_owned(),
            "_catalog/log/00000000000000000001-0123456789abcdef0123456789abcdef.json".to_owned(),
        ] {
            assert!(!is_attempt(&other), "{other}");
        }
    }
}
