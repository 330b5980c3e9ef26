//! The one hand that writes: files are made whole, groups are written and synced, and a file that failed is left behind.
//!
//! A file is written under another name, synced, and renamed: a journal file has its header and its length from its first
//! moment. A new file begins at the number up to which all is durable, and so overrules what an older file holds from
//! there on. That is how a torn tail, the group of a failed sync and what a full disk cut short are dropped: nothing is ever
//! cut from a file, and no bytes that may or may not be on the disk are trusted.

use std::path::PathBuf;

use super::frame::{self, DATA_START, FRAME_BYTES, Header};
use super::scan::{self, NEW_SUFFIX, file_path};
use super::{FileInfo, NewRecord};
use crate::disk::{Disk, DiskFile};
use crate::error::{Result, SegmentError};
use crate::failpoint;
use crate::time::Timestamp;

/// A record with its number.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) number: i64,
    pub(super) at: Timestamp,
    pub(super) record: NewRecord,
}

#[derive(Debug)]
pub(super) struct Current {
    pub(super) file: DiskFile,
    pub(super) header: Header,
    /// Where the next frame goes.
    pub(super) used: u64,
    /// The highest mark in it; -1 when there is surely none behind `used`.
    pub(super) marked: i64,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) disk: Disk,
    pub(super) folder: PathBuf,
    pub(super) stream: u64,
    pub(super) file_bytes: u64,
    pub(super) salt: u64,
    /// Nothing after a failure: the next group makes a file.
    pub(super) current: Option<Current>,
}

impl Writer {
    /// Writes records and makes them durable. The first of them has the number `durable`, below which all is durable.
    pub(super) fn write_group(&mut self, durable: i64, group: &[Numbered]) -> Result<()> {
        let written = self.try_group(durable, group);
        if let Err(failed) = &written {
            self.leave(failed);
        }
        written
    }

    fn try_group(&mut self, durable: i64, group: &[Numbered]) -> Result<()> {
        let bytes: usize = group.iter().map(|one| frame::record_bytes(&one.record)).sum();
        let needed = (bytes + FRAME_BYTES) as u64;
        let fits = |current: &Current| current.used + needed <= current.header.allotted;
        if !self.current.as_ref().is_some_and(fits) {
            self.start_file(durable, &[], needed)?;
        }
        let Some(current) = &mut self.current else {
            return Err(SegmentError::unavailable("journal", "it has no file to write to"));
        };
        let mut buffer = Vec::with_capacity(bytes + FRAME_BYTES);
        if current.marked < durable {
            frame::put_mark(&mut buffer, current.header.salt, durable);
        }
        for one in group {
            frame::put_record(&mut buffer, current.header.salt, one.number, one.at, &one.record);
        }
        failpoint!("journal.write")?;
        current.file.write_at(&buffer, current.used)?;
        failpoint!("journal.before_sync")?;
        current.file.sync_data()?;
        failpoint!("journal.synced")?;
        current.used += buffer.len() as u64;
        current.marked = current.marked.max(durable);
        Ok(())
    }

    /// Says in the file that all below `durable` is durable, without a sync: it only helps to tell damage from a torn tail.
    /// A failure is left to the next group, which writes over it.
    pub(super) fn write_mark(&mut self, durable: i64) {
        let Some(current) = &mut self.current else { return };
        if current.marked >= durable || current.used + FRAME_BYTES as u64 > current.header.allotted {
            return;
        }
        let mut buffer = Vec::with_capacity(FRAME_BYTES);
        frame::put_mark(&mut buffer, current.header.salt, durable);
        if current.file.write_at(&buffer, current.used).is_ok() {
            current.used += buffer.len() as u64;
            current.marked = durable;
        }
    }

    /// Makes the marks durable too, so that a folder at rest is proved whole.
    pub(super) fn finish(&mut self, durable: i64) -> Result<()> {
        self.write_mark(durable);
        match self.current.take() {
            Some(current) => current.file.sync_data(),
            None => Ok(()),
        }
    }

    /// Begins a file at `first`, with these frames' bodies already in it, and room for `needed` bytes more.
    pub(super) fn start_file(&mut self, first: i64, carried: &[(i64, &[u8])], needed: u64) -> Result<()> {
        self.current = None;
        let carried_bytes: usize = carried.iter().map(|(_, body)| body.len() + FRAME_BYTES).sum();
        // Two marks fit besides: the one at a group's head and the one behind it.
        let least = (DATA_START + carried_bytes + 2 * FRAME_BYTES) as u64 + needed;
        self.salt = next_salt(self.salt);
        let header = Header { allotted: self.file_bytes.max(least), stream: self.stream, first, salt: self.salt };
        let mut bytes = header.encode();
        for (number, body) in carried {
            frame::put_body(&mut bytes, header.salt, *number, body);
        }
        let file = place_file(&self.disk, &self.folder, first, &bytes, header.allotted)?;
        failpoint!("journal.rolled")?;
        let used = bytes.len() as u64;
        self.current = Some(Current { file, header, used, marked: first });
        Ok(())
    }

    /// The file being written, for the list of files.
    pub(super) fn current_file(&self) -> Option<FileInfo> {
        self.current.as_ref().map(|current| FileInfo { first: current.header.first, used: current.used })
    }

    /// Leaves the file behind: the next group begins a new one, which overrules what this one holds of the failed group. Until
    /// then, a full disk has told the waiters that nothing is stored, so the head of the group is taken out, as well as can
    /// be: nothing behind a bad place is read. Not by cutting the file, which would be short if the process ended meanwhile,
    /// and a short file is a damaged one.
    fn leave(&mut self, failed: &SegmentError) {
        let Some(current) = self.current.take() else { return };
        if failed.kind() == crate::ErrorKind::Exhausted {
            let emptied =
                current.file.write_at(&[0; FRAME_BYTES], current.used).and_then(|()| current.file.sync_data());
            if let Err(failed) = emptied {
                tracing::debug!(error = %failed, "what a full disk cut short is still in the file it was written to");
            }
        }
    }
}

/// Puts a whole, durable file in its place. A file of that name, in which nothing was durable, is replaced.
pub(super) fn place_file(
    disk: &Disk,
    folder: &std::path::Path,
    first: i64,
    bytes: &[u8],
    allotted: u64,
) -> Result<DiskFile> {
    let path = file_path(folder, first);
    let new = folder.join(format!("{first:020}{NEW_SUFFIX}"));
    if disk.exists(&new)? {
        disk.remove(&new)?;
    }
    let file = disk.create_new(&new)?;
    let placed = (file.set_len(allotted))
        .and_then(|()| file.write_at(bytes, 0))
        .and_then(|()| file.sync_data())
        .and_then(|()| disk.rename(&new, &path))
        .and_then(|()| disk.sync_folder(folder));
    if let Err(failed) = placed {
        // Only tidiness: what is left is removed when the journal is opened.
        let _ = disk.remove(&new);
        return Err(failed);
    }
    Ok(file)
}

/// Another number for each file. It need not be hard to guess in itself: the first one is random.
fn next_salt(salt: u64) -> u64 {
    scan::stream_hash(&format!("{salt:x}"))
}
