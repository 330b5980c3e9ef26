//! The durable log of sources that cannot be read again: pushes are appended here before they are acknowledged.
//!
//! A journal is one folder, written by one [`Journal`]. A record gets a number; the number is the offset of the stream
//! partition, so the checkpoint in the catalog says from which record on the journal has to be replayed.
//!
//! ```text
//! append ──► queue ──► one thread: write, sync, settle ──► tickets kept        00000000000000000000.jrnl
//!   ▲                     │ while it syncs, the next group gathers             00000000000000004711.jrnl   ◄── written now
//!   └── ticket            ▼                                                    00000000000000000000.jrnl.damaged
//!                     a file ends where the next one begins
//! ```
//!
//! Invariants:
//! - A ticket is kept only after a sync that began after its record was written. One sync serves all that waited.
//! - Numbers are dense. A refused number was never acknowledged and is given again.
//! - A file is not changed after a later one began; a file begins at the number below which all is durable, and overrules
//!   what an older one holds from there on. So nothing is ever cut out of a file, and what a failed sync left in the system's
//!   cache is never taken for stored.
//! - After each sync a mark says how far all is durable. That tells damage from a torn tail, as `scan.rs` says.
//!
//! ```
//! use std::sync::Arc;
//! use freshet_segment::{clock::SystemClock, disk::Disk, journal::*};
//! # fn main() -> freshet_segment::Result<()> {
//! # let temp = tempfile::tempdir().expect("a folder for the example");
//! # let folder = temp.path().join("journal");
//! let options = JournalOptions { checkpoint: 0, ..JournalOptions::default() };
//! let (journal, opened) = Journal::open(Disk::Real, &folder, "push", options, Arc::new(SystemClock::new()))?;
//! assert_eq!(opened.next, 0);
//! let ticket = journal.append(NewRecord { payload: "rows".into(), key: None, answer: r#"{"rows":1}"#.into() })?;
//! let number = ticket.number();
//! ticket.wait()?; // durable: now apply, then acknowledge
//! let kept = journal.replay(0)?.collect::<freshet_segment::Result<Vec<_>>>()?;
//! assert_eq!((kept[0].number, &kept[0].payload[..]), (number, &b"rows"[..]));
//! # Ok(()) }
//! ```

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::{Result, SegmentError};
use crate::failpoint;
use crate::time::Timestamp;

mod commit;
mod frame;
mod idempotency;
mod open;
pub mod repair;
mod replay;
mod scan;
mod ticket;
mod writer;

pub use idempotency::{Begin, Claim, IdempotencyWindow, StoredKey, WindowLimits};
pub use replay::Replay;
pub use ticket::Ticket;

/// The idempotency key of a push, and what it was sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordKey {
    /// As the client sent it: 1 to 65,535 bytes.
    pub key: Arc<str>,
    /// Hash of the body: the same key with another body is refused.
    pub body_sha256: [u8; 32],
}

/// What is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The batch, in a form that replay understands. At most 256 MiB together with key and answer.
    pub payload: Bytes,
    /// Its idempotency key, if it came with one.
    pub key: Option<RecordKey>,
    /// The answer that a retry gets, as JSON.
    pub answer: String,
}

/// What was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number, the offset of the stream partition.
    pub number: i64,
    /// When it was appended, by the wall clock: for the window of keys, never for order.
    pub at: Timestamp,
    /// As appended.
    pub payload: Bytes,
    /// As appended.
    pub key: Option<RecordKey>,
    /// As appended.
    pub answer: String,
}

/// How a journal works.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Records below this number are published: files that hold only such are removed when the journal is opened.
    pub checkpoint: i64,
    /// Length of a file. It is allotted as a hole, so a small journal takes little room.
    pub file_bytes: u64,
    /// A group is closed at this size; a larger record is a group of its own.
    pub group_bytes: usize,
    /// Longest time that a group gathers while nothing is being synced. An append that is alone does not wait at all.
    pub group_wait: Duration,
    /// Appends that wait for a sync hold at most this many bytes; more are refused.
    pub queue_bytes_max: usize,
    /// Begin of the salts of this journal's files: a random number, so that no payload can pass for a frame.
    pub salt: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self {
            checkpoint: 0,
            file_bytes: 64 << 20,
            group_bytes: 1 << 20,
            group_wait: Duration::from_millis(5),
            queue_bytes_max: 256 << 20,
            salt: RandomState::new().hash_one(0),
        }
    }
}

/// A place at which a journal is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Folder and name of the file.
    pub file: String,
    /// The byte from which on it is wrong.
    pub at: u64,
    /// The first record that cannot be read.
    pub number: i64,
    /// What is wrong.
    pub reason: String,
}

impl Damage {
    /// The failure of reading there.
    pub fn error(&self) -> SegmentError {
        let (at, number, reason) = (self.at, self.number, &self.reason);
        let reason =
            format!("{reason} (byte {at}, record {number}): the table is read-only until the journal is repaired");
        SegmentError::corrupt(self.file.clone(), reason)
    }
}

/// Records that were lost: a repair was told to go on without `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first lost record.
    pub from: i64,
    /// The first record that is there again.
    pub to: i64,
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Number of the next record.
    pub next: i64,
    /// Bytes of a torn tail, which nobody was told to be stored.
    pub torn_bytes: u64,
    /// Records to replay: those from the checkpoint on.
    pub records: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// Records from the checkpoint on that an earlier repair gave up.
    pub gaps: Vec<Gap>,
    /// The first damaged place. The journal is then read-only: appends and cuts are refused, a replay fails there.
    pub damage: Option<Damage>,
}

/// The state of a journal, for gauges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStatus {
    /// Bytes written to its files.
    pub bytes: u64,
    /// Its files.
    pub files: usize,
    /// Number of the next record.
    pub next: i64,
    /// All records below are durable.
    pub synced: i64,
    /// Syncs of groups so far.
    pub groups: u64,
    /// Why appends are refused until [`Journal::reopen`].
    pub poisoned: Option<String>,
    /// Why the journal is read-only.
    pub damaged: Option<String>,
}

/// A file as far as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileInfo {
    first: i64,
    used: u64,
}

/// One open journal: the only writer of its folder, which the lock of the data folder ensures. Shared by reference or `Arc`;
/// dropping it writes and syncs what was appended.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<commit::Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Cuts take turns.
    cutting: Mutex<()>,
}

impl Journal {
    /// Opens a journal, or begins one at the checkpoint. What was whole but not surely durable is made durable first, so
    /// everything that a replay shows has been kept.
    ///
    /// Damage is no error here: see [`Opened::damage`].
    ///
    /// # Errors
    /// `Unavailable` or `Exhausted` when a file call fails; `Invalid` for a file of a newer format.
    pub fn open(
        disk: Disk,
        folder: &Path,
        stream: &str,
        options: JournalOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Opened)> {
        let (shared, opened) = open::open(disk, folder, stream, options, clock)?;
        let shared = Arc::new(shared);
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(|source| SegmentError::Io {
            doing: "starting the thread of",
            path: stream.to_owned(),
            source,
        })?;
        failpoint!("journal.opened")?;
        Ok((Self { shared, thread: Mutex::new(Some(thread)), cutting: Mutex::new(()) }, opened))
    }

    /// Appends a record. The order of appends is the order of numbers. Does not block on the disk; the record is stored when
    /// the ticket is kept.
    ///
    /// # Errors
    /// `Invalid` for a record that is too long or has a wrong key; `Unavailable` after a failed write or sync, until
    /// [`reopen`](Self::reopen), and after [`close`](Self::close); `Exhausted` when too much waits for the disk already;
    /// `Corrupt` when the journal is damaged. Nothing is stored then.
    pub fn append(&self, record: NewRecord) -> Result<Ticket> {
        frame::check_record(&record)?;
        failpoint!("journal.append")?;
        self.shared.append(vec![record])?.pop().ok_or_else(|| SegmentError::invalid("append", "there is no record"))
    }

    /// Appends several records at once, with numbers that follow each other; they share groups as far as they fit.
    ///
    /// # Errors
    /// As [`append`](Self::append); then none of them is stored.
    pub fn append_all(&self, records: Vec<NewRecord>) -> Result<Vec<Ticket>> {
        records.iter().try_for_each(frame::check_record)?;
        self.shared.append(records)
    }

    /// The durable records from a number on, in order. It ends at what is durable now; records appended later are not seen.
    /// A cut below `from` does not disturb it.
    ///
    /// # Errors
    /// `Invalid` when `from` was cut already. The items fail with `Corrupt` at damage, after which there is none.
    pub fn replay(&self, from: i64) -> Result<Replay> {
        let end = self.shared.end_of_replay(from);
        Replay::new(&self.shared.disk, &self.shared.folder, self.shared.stream, from, end)
    }

    /// Removes the files that hold only records below the checkpoint. Called after the checkpoint is in the catalog.
    ///
    /// # Errors
    /// `Unavailable` when a file call fails; calling again is harmless. `Corrupt` when the journal is damaged.
    pub fn cut(&self, checkpoint: i64) -> Result<()> {
        let _turn = self.cutting.lock();
        self.shared.refuse_when_damaged()?;
        failpoint!("journal.before_cut")?;
        let removed = open::remove_below(&self.shared.disk, &self.shared.folder, checkpoint)?;
        self.shared.forget_files(&removed);
        Ok(())
    }

    /// Goes on after a failed write or sync: reads again what is on disk, drops what was not durable, and continues in a new
    /// file. Does nothing when nothing failed.
    ///
    /// # Errors
    /// As [`open`](Self::open), and `Corrupt` when durable records cannot be read; the journal refuses appends as before.
    pub fn reopen(&self) -> Result<()> {
        self.shared.reopen()
    }

    /// Where it stands.
    pub fn status(&self) -> JournalStatus {
        self.shared.status()
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Refuses further appends, writes and syncs what was appended, and ends the thread. Calling it again does nothing.
    ///
    /// # Errors
    /// `Unavailable` when the last sync fails; what tickets say counts.
    pub fn close(&self) -> Result<()> {
        self.shared.stop();
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
        let ended = thread.join();
        self.shared.finish()?;
        ended.map_err(|_| SegmentError::unavailable("journal", "its thread has panicked"))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(failed) = self.close() {
            tracing::warn!(folder = %self.shared.folder.display(), error = %failed, "a journal did not close well");
        }
    }
}

#[cfg(test)]
mod tests;
