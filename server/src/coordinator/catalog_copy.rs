//! The catalog beside the data, so that it can be made again from deep storage alone.
//!
//! ```text
//! _catalog/log/<commit>-<attempt>.json          one entry of the commit log, soon after the commit
//! _catalog/export/<commit>-<millis>-<attempt>.jsonl   everything, each night; entries up to <commit> are in it
//! ```
//! Nothing is overwritten: a write that was cut off leaves an object that [`rebuild`] passes over, and the entry is stored
//! again under another attempt. Entries are stored before the copy that holds them, and go when the oldest copy kept holds
//! them. After each copy the catalog itself forgets commits that are some days old and stored here.
//!
//! A catalog that knows less than what is stored here is not the one the data belongs to (an empty one, after the first was
//! lost). Then nothing is stored, and the cleanup deletes no object for being unnamed: to this catalog all of them are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use freshet_segment::catalog::{Catalog, LogEntry};
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::error::{ErrorKind, SegmentError};
use freshet_segment::failpoint;
use freshet_segment::sealed::AttemptId;
use freshet_segment::time::Timestamp;

use super::{Coordinator, Report, Result};

/// Folder of everything here.
const FOLDER: &str = "_catalog/";
const LOG: &str = "_catalog/log";
const EXPORT: &str = "_catalog/export";
/// Entries stored in one step.
const ENTRIES_STEP: usize = 256;
/// Commits forgotten in one transaction: writers wait for it.
const COMMITS_STEP: usize = 1_000;

/// What the copier remembers between its runs.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What was stored before this process; read once.
    stored: Option<Stored>,
    /// When to export next (monotonic).
    export_due: Duration,
    /// Whether what is stored belongs to another catalog.
    foreign: bool,
}

impl Known {
    /// Whether an object that the catalog does not name is one too many. Not known before the first run.
    pub(super) fn is_ours(&self) -> bool {
        self.stored.is_some() && !self.foreign
    }
}

/// Names below the folder.
#[derive(Debug, Default, Clone)]
struct Stored {
    /// Paths by commit, oldest first; several where a write was cut off.
    log: BTreeMap<u64, Vec<String>>,
    /// Commit, time and path, oldest first.
    exports: BTreeSet<(u64, i64, String)>,
}

impl Stored {
    async fn read(storage: &DeepStorage) -> Result<Self> {
        let mut stored = Self::default();
        for object in storage.list(LOG).await? {
            if let Some(seq) = numbers(&object.path, LOG).first() {
                stored.log.entry(*seq).or_default().push(object.path);
            }
        }
        for object in storage.list(EXPORT).await? {
            if let [seq, millis, ..] = numbers(&object.path, EXPORT)[..] {
                stored.exports.insert((seq, i64::try_from(millis).unwrap_or(i64::MAX), object.path));
            }
        }
        Ok(stored)
    }

    fn last_export(&self) -> Option<(u64, i64)> {
        self.exports.last().map(|(seq, millis, _)| (*seq, *millis))
    }

    fn last_commit(&self) -> u64 {
        let log = self.log.keys().next_back().copied().unwrap_or(0);
        self.last_export().map_or(log, |(seq, _)| log.max(seq))
    }
}

/// The numbers that a name begins with.
fn numbers(path: &str, folder: &str) -> Vec<u64> {
    let name = path.strip_prefix(folder).unwrap_or_default().trim_start_matches('/');
    name.split('-').map_while(|part| part.parse().ok()).take(2).collect()
}

impl Coordinator {
    /// Stores the log's new entries, and a whole copy when one is due, or `now`.
    pub(super) fn copy_catalog(&self, now: bool) -> Result<Report> {
        let stored = self.copying.lock().stored.clone();
        let mut stored = match stored {
            Some(stored) => stored,
            None => self.look()?,
        };
        let done = self.block_on(self.copy(&mut stored, now));
        self.copying.lock().stored = Some(stored);
        done
    }

    /// What is stored before the first run, and when the next whole copy is due.
    fn look(&self) -> Result<Stored> {
        let stored = self.block_on(Stored::read(&self.parts.storage))?;
        let every = self.parts.settings.export_every;
        let due = stored.last_export().map_or(Duration::ZERO, |(_, millis)| {
            let age = self.parts.clock.now().as_millis().saturating_sub(millis);
            every.saturating_sub(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
        });
        self.copying.lock().export_due = self.parts.clock.monotonic() + due;
        Ok(stored)
    }

    async fn copy(&self, stored: &mut Stored, now: bool) -> Result<Report> {
        let last = self.parts.catalog.last_commit().await?;
        let behind = stored.last_commit();
        if last < behind {
            return self.refuse_foreign(format!("it ends at commit {last}, and commit {behind} is stored"));
        }
        let entries = self.store_log(stored).await?;
        self.copying.lock().foreign = false;
        let monotonic = self.parts.clock.monotonic();
        let due = now || self.copying.lock().export_due <= monotonic;
        let report = Report::default().with("entries", entries);
        if !due {
            return Ok(report);
        }
        // What is committed from here on is in the log after this number, whether it is in the copy or not.
        let bytes = self.export(stored).await?;
        failpoint!("copy.exported")?;
        self.copying.lock().export_due = monotonic + self.parts.settings.export_every;
        let removed = self.trim(stored).await?;
        let pruned = self.prune_commits().await?;
        Ok(report.with("exported", bytes).with("removed", removed).with("pruned", pruned))
    }

    fn refuse_foreign<T>(&self, why: String) -> Result<T> {
        self.copying.lock().foreign = true;
        let reason = format!(
            "{why}: the data belongs to another catalog. Put that one back, or make it again with `freshet catalog rebuild`"
        );
        Err(SegmentError::corrupt("the catalog, or the folder it was started with,", reason))
    }

    async fn store_log(&self, stored: &mut Stored) -> Result<usize> {
        let catalog = &self.parts.catalog;
        let exported = stored.last_export().map_or(0, |(seq, _)| seq);
        let mut count = 0;
        loop {
            let entries = catalog.log_entries(0, ENTRIES_STEP).await?;
            let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok(count) };
            for entry in &entries {
                if entry.seq <= exported {
                    let why = format!("commit {} was never stored, and a copy holds commit {exported}", entry.seq);
                    return self.refuse_foreign(why);
                }
                if !self.is_stored(stored, entry).await? {
                    let path = format!("{LOG}/{:020}-{}.json", entry.seq, AttemptId(rand::random()));
                    failpoint!("copy.entry")?;
                    self.parts.storage.create(&path, Bytes::from(entry.bytes.clone())).await?;
                    stored.log.entry(entry.seq).or_default().push(path);
                }
                count += 1;
            }
            failpoint!("copy.stored")?;
            catalog.log_stored(last).await?;
        }
    }

    /// Lets the catalog forget commits that nothing can need any more.
    async fn prune_commits(&self) -> Result<u64> {
        let kept_ms = i64::try_from(self.parts.settings.commits_kept.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(self.parts.clock.now().as_millis().saturating_sub(kept_ms));
        let mut pruned = 0;
        loop {
            let step = self.parts.catalog.prune_commits(before, COMMITS_STEP).await?;
            failpoint!("copy.pruned")?;
            pruned += step;
            if step < COMMITS_STEP as u64 || self.is_stopping() {
                return Ok(pruned);
            }
        }
    }

    /// Whether an entry is there, from a run whose end was not noted.
    async fn is_stored(&self, stored: &Stored, entry: &LogEntry) -> Result<bool> {
        for path in stored.log.get(&entry.seq).map_or(&[][..], Vec::as_slice) {
            let bytes = self.parts.storage.fetch(path).await?;
            if bytes == entry.bytes {
                return Ok(true);
            }
            if is_whole(&bytes) {
                return self.refuse_foreign(format!("commit {} is another one than `{path}` holds", entry.seq));
            }
        }
        Ok(false)
    }

    async fn export(&self, stored: &mut Stored) -> Result<usize> {
        let seq = stored.last_commit();
        let bytes = self.parts.catalog.export().await?;
        let (length, millis) = (bytes.len(), self.parts.clock.now().as_millis().max(0));
        let path = format!("{EXPORT}/{seq:020}-{millis}-{}.jsonl", AttemptId(rand::random()));
        failpoint!("copy.export")?;
        self.parts.storage.create(&path, Bytes::from(bytes)).await?;
        stored.exports.insert((seq, millis, path));
        Ok(length)
    }

    /// Removes old copies, and entries that each copy kept holds.
    async fn trim(&self, stored: &mut Stored) -> Result<u64> {
        let mut removed = 0;
        while stored.exports.len() > self.parts.settings.exports_kept.max(1) {
            let Some((.., path)) = stored.exports.first() else { break };
            self.parts.storage.delete(path).await?;
            stored.exports.pop_first();
            removed += 1;
        }
        let held = stored.exports.first().map_or(0, |(seq, ..)| *seq);
        while let Some((seq, paths)) = stored.log.first_key_value().map(|(seq, paths)| (*seq, paths.clone())) {
            if seq > held {
                break;
            }
            for path in &paths {
                self.parts.storage.delete(path).await?;
                removed += 1;
            }
            stored.log.remove(&seq);
        }
        Ok(removed)
    }
}

/// Whether an entry was written to its end.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.strip_suffix(b"\n").is_some_and(|line| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok())
}

/// What a catalog was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The whole copy; nothing when there was only a log.
    pub export: Option<String>,
    /// Log entries after it.
    pub entries: usize,
    /// The last commit.
    pub last_commit: u64,
    /// Newer copies that could not be used, and why.
    pub passed_over: Vec<String>,
}

/// Makes the catalog again in `catalog`, which must be empty, from the newest whole copy in deep storage that can be used,
/// and the log after it.
///
/// # Errors
/// `Exists` when the catalog is not empty; `NotFound` when nothing is stored; `Corrupt` when no copy can be used;
/// `Unavailable`.
pub async fn rebuild(storage: &DeepStorage, catalog: &dyn Catalog) -> Result<Rebuilt> {
    let stored = Stored::read(storage).await?;
    if stored.log.is_empty() && stored.exports.is_empty() {
        return Err(SegmentError::NotFound {
            what: "copy of a catalog in deep storage below",
            name: FOLDER.to_owned(),
        });
    }
    let mut passed_over = Vec::new();
    let exports = stored.exports.iter().rev().map(|(seq, _, path)| (*seq, Some(path)));
    for (seq, export) in exports.chain([(0, None)]) {
        let mut copy = match export {
            Some(path) => storage.fetch(path).await?.to_vec(),
            None => Vec::new(),
        };
        let mut entries = 0;
        for paths in stored.log.range(seq + 1..).map(|(_, paths)| paths) {
            for path in paths {
                let entry = storage.fetch(path).await?;
                if is_whole(&entry) {
                    copy.extend_from_slice(&entry);
                    entries += 1;
                    break;
                }
            }
        }
        match catalog.rebuild(&copy).await {
            Ok(()) => {
                let last_commit = catalog.last_commit().await?;
                return Ok(Rebuilt { export: export.cloned(), entries, last_commit, passed_over });
            }
            Err(error) if error.kind() == ErrorKind::Corrupt || error.kind() == ErrorKind::Invalid => {
                let name = export.map_or("the log alone", String::as_str);
                passed_over.push(format!("{name}: {}", super::chain(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    Err(SegmentError::corrupt("each copy of the catalog", passed_over.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_commit_and_time() {
        let path = "_catalog/export/00000000000000000012-1700000000000-0a0b.jsonl";
        assert_eq!(numbers(path, EXPORT), [12, 1_700_000_000_000]);
        assert!(numbers("_catalog/log/x-1.json", LOG).is_empty());
    }

    #[test]
    fn an_entry_that_was_cut_off_is_told() {
        assert!(is_whole(b"{\"seq\":1}\n"));
        for cut in [&b"{\"seq\":1}"[..], b"{\"seq\n", b"", b"\0\0\0\0\n"] {
            assert!(!is_whole(cut), "{cut:?}");
        }
    }
}
