//! A bound on the local copies of remote files: those of the segment that was not asked for the longest go first.
//!
//! ```text
//! open ─▶ room for its files? ─▶ evict others, oldest use first ─▶ fetch ─▶ open
//! ```
//! A segment whose files a query holds is never evicted, nor is one that is being opened; when everything is held the copies
//! take more than the bound until it is not. Copies that no segment of this process has opened yet count by when they were
//! fetched. The order comes from the wall clock: a wrong one costs a fetch.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::error::Result;
use crate::failpoint;
use crate::sealed::SealedSegment;

/// The copies of one storage.
#[derive(Debug)]
pub(super) struct Copies {
    bytes_max: AtomicU64,
    /// Segments that were opened, or are being opened.
    opened: Mutex<Vec<Weak<SealedSegment>>>,
    /// Bytes that are being fetched.
    coming: AtomicU64,
    evicted: AtomicU64,
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            bytes_max: AtomicU64::new(u64::MAX),
            opened: Mutex::default(),
            coming: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        }
    }
}

/// Room that was made; given back when the files are there.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    copies: &'a Copies,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.copies.coming.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Milliseconds since 1970, for the order of uses alone.
pub(crate) fn now_ms() -> u64 {
    ms_of(SystemTime::now())
}

fn ms_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// Files that go together.
#[derive(Default)]
struct Candidate {
    used: u64,
    bytes: u64,
    names: Vec<String>,
    segments: Vec<Arc<SealedSegment>>,
}

impl Copies {
    pub(super) fn limit(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Release);
    }

    /// Segments whose copies were deleted to make room, since this process began.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Acquire)
    }

    /// Makes room for the files of a segment that is about to be opened.
    pub(super) fn room(&self, cache: &Path, segment: &Arc<SealedSegment>) -> Result<Room<'_>> {
        let names = segment.row().files.each().map(|file| (name_of(&file.path).to_owned(), file.bytes));
        let missing = names.iter().filter(|(name, _)| !cache.join(name).exists());
        let bytes = missing.map(|(_, bytes)| *bytes).sum();
        {
            let mut opened = self.opened.lock();
            opened.retain(|other| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(segment)));
            opened.push(Arc::downgrade(segment));
        }
        self.coming.fetch_add(bytes, Ordering::AcqRel);
        let room = Room { copies: self, bytes };
        self.trim(cache)?;
        Ok(room)
    }

    /// Evicts until the copies and what is coming fit.
    pub(super) fn trim(&self, cache: &Path) -> Result<u64> {
        let bytes_max = self.bytes_max.load(Ordering::Acquire);
        if bytes_max == u64::MAX {
            return Ok(0);
        }
        let files = list(cache);
        let mut total = files.values().map(|(bytes, _)| bytes).sum::<u64>() + self.coming.load(Ordering::Acquire);
        if total <= bytes_max {
            return Ok(0);
        }
        let mut evicted = 0;
        for candidate in self.candidates(files) {
            if total <= bytes_max {
                return Ok(evicted);
            }
            failpoint!("copies.evict")?;
            if candidate.segments.iter().all(|segment| segment.close()) {
                for name in &candidate.names {
                    // Gone already, or made again when it is needed.
                    let _ = std::fs::remove_file(cache.join(name));
                }
                total = total.saturating_sub(candidate.bytes);
                evicted += 1;
                self.evicted.fetch_add(1, Ordering::AcqRel);
            }
        }
        if total > bytes_max {
            tracing::debug!(total, bytes_max, "local copies take more than they may: queries hold them");
        }
        Ok(evicted)
    }

    /// What may go, the longest unused first. Several segments may share files, after an undo.
    fn candidates(&self, files: HashMap<String, (u64, u64)>) -> Vec<Candidate> {
        let segments: Vec<Arc<SealedSegment>> = self.opened.lock().iter().filter_map(Weak::upgrade).collect();
        let mut groups: BTreeMap<String, Candidate> = BTreeMap::new();
        for (name, (bytes, fetched)) in files {
            let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem).to_owned();
            let group = groups.entry(stem).or_default();
            group.bytes += bytes;
            group.used = group.used.max(fetched);
            group.names.push(name);
        }
        for segment in segments {
            let name = name_of(&segment.row().files.parquet.path);
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            if let Some(group) = groups.get_mut(stem) {
                group.used = group.used.max(segment.last_used());
                group.segments.push(segment);
            }
        }
        let mut all: Vec<Candidate> = groups.into_values().collect();
        all.sort_by_key(|candidate| candidate.used);
        all
    }
}

/// The last part of a path: names are unique without their folders.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Copies that are whole: name, bytes and when it was fetched. None where there is no folder.
fn list(cache: &Path) -> HashMap<String, (u64, u64)> {
    let Ok(entries) = std::fs::read_dir(cache) else { return HashMap::new() };
    let whole = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let fetched = meta.modified().map_or(0, ms_of);
        (!name.contains(super::cache::PART)).then_some((name, (meta.len(), fetched)))
    });
    whole.collect()
}
