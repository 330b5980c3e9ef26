//! Sealed segments: rows in files that never change.
//!
//! ```text
//! snapshots ─▶ Sealing ─▶ staging: .parquet .idx .json ─▶ DeepStorage ─▶ SealedSegment ─▶ units ─▶ pages
//!               sorted, checked by reading back             json last      opened on first use
//! ```
//! The Parquet file is plain: standard types, sorted by time, so that any other engine reads it. The index file beside it
//! answers filters without it; the JSON holds the schema and the checksum of each megabyte. No byte reaches a decoder
//! before its checksum matched, and a decoder that panics nevertheless is `Corrupt` like any other damage.

mod blocks;
mod content;
mod format;
mod index;
mod meta;
mod opened;
mod order;
mod postings;
mod unit;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

pub use meta::FORMAT;
pub use unit::SealedUnit;
pub(crate) use writer::check_hash;
pub use writer::{FileKind, Layout, LocalFile, Sealed, Sealing};

pub(crate) use self::opened::Opened as OpenSegment;
use self::opened::{Opened, Paths};
pub(crate) use self::postings::Found;
use crate::catalog::{NewSegment, SegmentFiles, StoredFile};
use crate::deep_storage::{self, DeepStorage};
use crate::error::{ErrorKind, Result, SegmentError};
use crate::id::SegmentId;
use crate::index::Filter;
use crate::predicate::Predicate;
use crate::schema::TableSchema;
use crate::time::{Interval, Timestamp};

/// Most rows of a unit, and how many it has unless a test asks for fewer.
pub const UNIT_ROWS: u32 = 65_536;
/// How long a failure to open is repeated before the files are tried again.
const FAILURE_KEPT: Duration = Duration::from_secs(5);

/// Number of one attempt to write a segment's files: random, part of their names, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u128);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for AttemptId {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        u128::from_str_radix(s, 16)
            .ok()
            .filter(|_| s.len() == 32)
            .map(Self)
            .ok_or_else(|| SegmentError::invalid("attempt id", format!("`{s}` is not 32 hexadecimal digits")))
    }
}

/// Rows in files; opened when they are first asked for.
pub struct SealedSegment {
    me: Weak<Self>,
    row: NewSegment,
    storage: Arc<DeepStorage>,
    cache: PathBuf,
    opened: ArcSwapOption<Opened>,
    /// One opens, the others wait for it: they need the same files. Holds the last failure and when it was.
    opening: Mutex<Option<(Instant, ErrorKind, String)>>,
    /// When it was last asked for, see `deep_storage::copies`.
    used_ms: AtomicU64,
}

impl fmt::Debug for SealedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSegment({}, {} rows)", self.row.id, self.row.rows)
    }
}

impl SealedSegment {
    /// A segment that is not opened yet. Files of a remote storage are fetched into `cache` when they are needed.
    pub fn lazy(row: NewSegment, storage: Arc<DeepStorage>, cache: &Path) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            row,
            storage,
            cache: cache.to_owned(),
            opened: ArcSwapOption::empty(),
            opening: Mutex::new(None),
            used_ms: AtomicU64::new(0),
        })
    }

    /// When it was last asked for.
    pub(crate) fn last_used(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// Lets go of its files, unless somebody holds them. Whoever asks for them next opens them again.
    pub(crate) fn close(&self) -> bool {
        // One that is being opened needs what it has fetched.
        let Some(_opening) = self.opening.try_lock() else { return false };
        let Some(opened) = self.opened.swap(None) else { return true };
        // Nobody else can come by it now: there is no way to it but through the lock above.
        if Arc::strong_count(&opened) == 1 {
            return true;
        }
        self.opened.store(Some(opened));
        false
    }

    /// Its identity.
    pub fn id(&self) -> &SegmentId {
        &self.row.id
    }

    /// What the catalog knows of it.
    pub fn row(&self) -> &NewSegment {
        &self.row
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        usize::try_from(self.row.rows).unwrap_or(usize::MAX)
    }

    /// First and last event time; `None` without rows.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        (self.row.rows > 0).then_some(self.row.time_range)
    }

    /// Bytes of memory it holds while it is open.
    pub fn bytes(&self) -> usize {
        self.opened.load().as_ref().map_or(0, |opened| opened.bytes())
    }

    /// Bytes in deep storage.
    pub fn stored_bytes(&self) -> u64 {
        let SegmentFiles { parquet, index, meta } = &self.row.files;
        parquet.bytes + index.bytes + meta.bytes
    }

    /// How many pieces it has, by its number of rows.
    pub fn unit_count(&self) -> usize {
        usize::try_from(self.row.rows.div_ceil(u64::from(UNIT_ROWS))).unwrap_or(usize::MAX)
    }

    /// The units that may hold rows of `bounds`, in order. Opens the files, which blocks.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`, naming the segment.
    pub fn units(&self, bounds: Option<Interval>) -> Result<Vec<SealedUnit>> {
        let opened = self.open()?;
        let may_hold = |index: &usize| {
            let times = opened.index.units.get(*index).map(|unit| (unit.min_time, unit.max_time));
            bounds.is_none_or(|b| crate::timeline::may_hold(times, b))
        };
        let numbers = (0..opened.index.units.len()).filter(may_hold);
        Ok(numbers.map(|number| SealedUnit::new(Arc::clone(&opened), number)).collect())
    }

    /// As [`VisibleSegment::filter`](crate::timeline::VisibleSegment::filter).
    ///
    /// # Errors
    /// As [`VisibleSegment::filter`](crate::timeline::VisibleSegment::filter).
    pub fn filter(&self, predicate: &Predicate, schema: &TableSchema) -> Result<Filter> {
        Filter::of_sealed(predicate, schema, &*self.open()?)
    }

    /// Number of distinct values of a text column, none of other columns; `None` where the files cannot be read.
    pub fn cardinality(&self, column: &str) -> Option<usize> {
        self.open().ok()?.cardinality(column)
    }

    /// The schema it was written with. Opens the files, which blocks.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`, naming the segment.
    pub fn schema(&self) -> Result<TableSchema> {
        Ok(self.open()?.schema.clone())
    }

    /// Reads every byte of its files where they are kept and compares their hashes; then, where that is this machine, every
    /// row, and compares the content sum. Blocks.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`, naming the segment.
    pub fn verify(&self) -> Result<()> {
        let named = |error| SegmentError::unreadable(&self.row.id, error);
        for file in self.row.files.each() {
            self.storage.check(file, &self.cache).map_err(named)?;
        }
        if !self.storage.is_local() {
            return Ok(());
        }
        let paths = self.paths().map_err(named)?;
        let opened = Arc::new(Opened::open(&self.row, &paths).map_err(named)?);
        writer::check_rows(&opened).map_err(named)
    }

    fn open(&self) -> Result<Arc<Opened>> {
        if !self.storage.is_local() {
            self.used_ms.store(deep_storage::now_ms(), Ordering::Relaxed);
        }
        if let Some(opened) = self.opened.load_full().filter(|o| !o.is_damaged()) {
            return Ok(opened);
        }
        let mut last_failure = self.opening.lock();
        match self.opened.load_full() {
            // Damage that was found while reading: a copy of what is elsewhere is fetched again.
            Some(opened) if opened.is_damaged() && self.forget() => self.opened.store(None),
            Some(opened) => return Ok(opened),
            None => {}
        }
        let segment = || self.row.id.to_string();
        if let Some((at, kind, reason)) = &*last_failure
            && at.elapsed() < FAILURE_KEPT
        {
            return Err(SegmentError::Unreadable { segment: segment(), kind: *kind, reason: reason.clone() });
        }
        let open = || {
            // Held while the files are fetched. The lock above keeps them from being evicted before they are open.
            let _room = match self.me.upgrade() {
                Some(me) => self.storage.room(&me, &self.cache)?,
                None => None,
            };
            self.paths().and_then(|paths| Opened::open(&self.row, &paths))
        };
        let opened = match open() {
            Err(error) if error.kind() == ErrorKind::Corrupt && self.forget() => open(),
            opened => opened,
        };
        match opened {
            Ok(opened) => {
                let opened = Arc::new(opened);
                self.opened.store(Some(Arc::clone(&opened)));
                *last_failure = None;
                Ok(opened)
            }
            Err(error) => {
                let error = SegmentError::unreadable(&self.row.id, error);
                if let SegmentError::Unreadable { kind, reason, .. } = &error {
                    *last_failure = Some((Instant::now(), *kind, reason.clone()));
                }
                Err(error)
            }
        }
    }

    /// Gives up local copies that may be damaged. Says whether there is a good copy to go back to.
    fn forget(&self) -> bool {
        self.row.files.each().into_iter().filter(|file| self.storage.forget(file, &self.cache)).count() > 0
    }

    /// Where its files lie on this machine; fetched when the storage is elsewhere.
    fn paths(&self) -> Result<Paths> {
        let SegmentFiles { parquet, index, meta } = &self.row.files;
        let local = |file: &StoredFile| self.storage.local(file, &self.cache);
        Ok(Paths { meta: local(meta)?, index: local(index)?, parquet: local(parquet)? })
    }
}

/// Hash of bytes.
pub(crate) fn sha256_of(bytes: &[u8]) -> [u8; 32] {
    meta::Sums::of(bytes).1
}

/// Hash of bytes as they go by.
#[derive(Debug, Default)]
pub(crate) struct Hashing(meta::Sums);

impl Hashing {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.add(bytes);
    }

    pub(crate) fn sha256(self) -> [u8; 32] {
        self.0.finish().1
    }
}

/// A stable hash of a text, for names.
pub(crate) fn hash_text(text: &str) -> u64 {
    content::hash_bytes(text.as_bytes(), 0)
}

#[cfg(test)]
mod tests;
