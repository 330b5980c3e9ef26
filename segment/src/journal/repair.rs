//! What to do about damage: look at it, then go on without the records that cannot be read.
//!
//! A repair writes each damaged file anew from the records that are whole. Where records are missing it puts a gap, which
//! says that someone decided to go on without them; the journal reports gaps when it is opened. The damaged file is kept
//! beside it under a name ending in `.damaged`, and is never read again. Both are durable before the damaged file is replaced,
//! in one step, so a repair that is interrupted can be run again.
//!
//! Nobody may have the journal open meanwhile.

use std::path::Path;

use super::frame::{self, DATA_START, Found, Frame, Header};
use super::scan::{self, Loaded, Walk, file_path};
use super::writer::place_file;
use super::{Damage, Gap};
use crate::disk::{Disk, shown};
use crate::error::{Result, SegmentError};
use crate::failpoint;

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Folder and name.
    pub name: String,
    /// Number of its first record.
    pub first: i64,
    /// Number behind its last record that can be read.
    pub next: i64,
    /// Records that can be read.
    pub records: u64,
    /// Bytes of a torn tail.
    pub torn_bytes: u64,
    /// Its first damaged place.
    pub damage: Option<Damage>,
}

/// What is known of a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Its files, in order.
    pub files: Vec<FileReport>,
    /// The first damaged place of each damaged file.
    pub damage: Vec<Damage>,
    /// Records from the checkpoint on that a repair would give up, or has given up.
    pub lost: Vec<Gap>,
}

/// Looks at a journal and changes nothing. Records below the checkpoint are published, so nothing that is wrong with them
/// counts as lost.
///
/// # Errors
/// `Unavailable` when a file cannot be read, `Invalid` for one of a newer format.
pub fn examine(disk: &Disk, folder: &Path, checkpoint: i64) -> Result<Report> {
    let mut report = Report::default();
    for_each_file(disk, folder, checkpoint, |file| {
        report.lost.extend(lost_from(&file.salvage.gaps(), checkpoint));
        report.damage.extend(file.damage.clone());
        report.files.push(FileReport {
            name: shown(&file_path(folder, file.first)),
            first: file.first,
            next: file.salvage.next,
            records: file.salvage.records(),
            torn_bytes: file.torn_bytes,
            damage: file.damage,
        });
        Ok(())
    })?;
    Ok(report)
}

/// Writes the damaged files of a journal anew without what cannot be read, and tells what that was. When the last file was
/// cut, nobody knows how many records it lost at its end: numbers go on behind what is left. A sound journal stays as it is. `salt` is a random number, as in [`JournalOptions`](super::JournalOptions).
///
/// # Errors
/// As [`examine`]; `Corrupt` when the last file cannot be read at all: then nobody knows how many records it held.
pub fn repair(disk: &Disk, folder: &Path, stream: &str, checkpoint: i64, salt: u64) -> Result<Report> {
    let before = examine(disk, folder, checkpoint)?;
    let stream = scan::stream_hash(stream);
    let mut salt = salt;
    for_each_file(disk, folder, checkpoint, |file| {
        let Some(damage) = &file.damage else { return Ok(()) };
        if file.last && file.loaded.is_none() {
            let reason = "nothing in the last file can be read: move it away by hand to go on without its records";
            return Err(SegmentError::corrupt(damage.file.clone(), reason));
        }
        salt = salt.wrapping_add(1).rotate_left(17);
        if disk.exists(&file_path(folder, file.first))? {
            keep_aside(disk, folder, file.first)?;
        }
        failpoint!("repair.kept")?;
        let header = Header { allotted: 0, stream, first: file.first, salt };
        let (bytes, allotted) = file.rewritten(header);
        place_file(disk, folder, file.first, &bytes, allotted)?;
        failpoint!("repair.placed")
    })?;
    Ok(before)
}

struct Examined {
    first: i64,
    last: bool,
    /// Nothing when its header cannot be read, or when the file is not there.
    loaded: Option<Loaded>,
    damage: Option<Damage>,
    torn_bytes: u64,
    salvage: Salvage,
}

/// Visits each file that holds records from the checkpoint on; one that is missing at the beginning too, as a damaged one.
fn for_each_file(
    disk: &Disk,
    folder: &Path,
    checkpoint: i64,
    mut visit: impl FnMut(Examined) -> Result<()>,
) -> Result<()> {
    let numbers = scan::file_numbers(disk, folder)?;
    let next_of = |at: usize| numbers.get(at + 1).copied();
    if let Some(first) = numbers.first().copied().filter(|first| *first > checkpoint) {
        let (file, reason) =
            (shown(&file_path(folder, first)), "the records before the first file are missing".to_owned());
        let damage = Some(Damage { file, at: 0, number: checkpoint, reason });
        let salvage = Salvage::nothing(checkpoint, Some(first));
        visit(Examined { first: checkpoint, last: false, loaded: None, damage, torn_bytes: 0, salvage })?;
    }
    for (at, first) in numbers.iter().copied().enumerate() {
        let limit = next_of(at);
        if limit.is_some_and(|limit| limit <= checkpoint) {
            continue;
        }
        let last = limit.is_none();
        match Loaded::read(disk, folder, first, None) {
            Ok(loaded) => {
                let walk = loaded.walk(limit);
                let salvage = Salvage::of(&loaded, limit);
                let (damage, torn_bytes) = (walk.damage, walk.torn_bytes);
                visit(Examined { first, last, loaded: Some(loaded), damage, torn_bytes, salvage })?;
            }
            Err(SegmentError::Corrupt { what, reason }) => {
                let damage = Some(Damage { file: what, at: 0, number: first, reason });
                let salvage = Salvage::nothing(first, limit);
                visit(Examined { first, last, loaded: None, damage, torn_bytes: 0, salvage })?;
            }
            Err(failed) => return Err(failed),
        }
    }
    Ok(())
}

impl Examined {
    fn rewritten(&self, header: Header) -> (Vec<u8>, u64) {
        let old_bytes = self.loaded.as_ref().map_or(0, |loaded| loaded.bytes.len());
        let header = Header {
            allotted: (old_bytes + DATA_START) as u64 + 64 * (self.salvage.pieces.len() as u64 + 1),
            ..header
        };
        let mut bytes = header.encode();
        for piece in &self.salvage.pieces {
            match piece {
                Frame::Gap { from, to } => frame::put_gap(&mut bytes, header.salt, *from, *to),
                Frame::Record { number, body } => {
                    let body = self.loaded.as_ref().and_then(|loaded| loaded.bytes.get(body.clone()));
                    frame::put_body(&mut bytes, header.salt, *number, body.unwrap_or_default());
                }
                Frame::Mark { .. } => {}
            }
        }
        // The file is synced before it gets its name, so the mark is true by then.
        frame::put_mark(&mut bytes, header.salt, self.salvage.next);
        (bytes, header.allotted)
    }
}

/// The frames that are whole, with gaps between them: numbers are dense again.
struct Salvage {
    pieces: Vec<Frame>,
    next: i64,
}

impl Salvage {
    fn nothing(first: i64, limit: Option<i64>) -> Self {
        let mut salvage = Self { pieces: Vec::new(), next: first };
        salvage.skip_to(limit.unwrap_or(first));
        salvage
    }

    fn of(loaded: &Loaded, limit: Option<i64>) -> Self {
        let mut salvage = Self { pieces: Vec::new(), next: loaded.header.first };
        let mut walk = Walk::empty(loaded.header.first);
        let mut at = DATA_START;
        while limit.is_none_or(|limit| salvage.next < limit) {
            match frame::read(&loaded.bytes, at, loaded.header.salt) {
                Found::End => break,
                Found::Frame(found, end) => {
                    let found = found.within(limit);
                    if walk.take(&found, at, end) {
                        salvage.put(found);
                        at = end;
                        continue;
                    }
                }
                Found::Bad => {}
            }
            // The last file may just be torn here.
            if limit.is_none() && loaded.durable_behind(at, salvage.next).is_none() {
                break;
            }
            let Some((from, number)) = salvage.next_whole(loaded, at + 1, limit) else { break };
            salvage.skip_to(number);
            walk = Walk::empty(number);
            at = from;
        }
        let end = limit.or_else(|| loaded.durable_behind(DATA_START, salvage.next));
        salvage.skip_to(end.unwrap_or(salvage.next));
        salvage
    }

    /// The next record or gap that can be read, from a byte on, and its number.
    fn next_whole(&self, loaded: &Loaded, from: usize, limit: Option<i64>) -> Option<(usize, i64)> {
        // As many records as the file could hold: what claims to be further away is no record of this place.
        let reach = i64::try_from(loaded.bytes.len()).map_or(i64::MAX, |bytes| self.next.saturating_add(bytes));
        let end = limit.unwrap_or(reach);
        let read = |at| frame::read_one_of(&loaded.bytes, at, loaded.header.salt, &(self.next..end));
        (from..loaded.written_end()).find_map(|at| Some((at, read(at)?)))
    }

    fn put(&mut self, found: Frame) {
        match &found {
            Frame::Record { number, .. } => self.next = number + 1,
            Frame::Gap { to, .. } => self.next = *to,
            Frame::Mark { .. } => return,
        }
        self.pieces.push(found);
    }

    fn skip_to(&mut self, number: i64) {
        if number > self.next {
            self.pieces.push(Frame::Gap { from: self.next, to: number });
            self.next = number;
        }
    }

    fn gaps(&self) -> Vec<Gap> {
        let gaps = self.pieces.iter().filter_map(|piece| match piece {
            Frame::Gap { from, to } => Some(Gap { from: *from, to: *to }),
            _ => None,
        });
        gaps.collect()
    }

    fn records(&self) -> u64 {
        self.pieces.iter().filter(|piece| matches!(piece, Frame::Record { .. })).count() as u64
    }
}

fn lost_from(gaps: &[Gap], checkpoint: i64) -> impl Iterator<Item = Gap> {
    let clipped = gaps.iter().map(move |gap| Gap { from: gap.from.max(checkpoint), to: gap.to });
    clipped.filter(|gap| gap.from < gap.to)
}

/// Copies a file to a name of its own, durably.
fn keep_aside(disk: &Disk, folder: &Path, first: i64) -> Result<()> {
    let path = file_path(folder, first);
    let name = |turn: u32| match turn {
        0 => path.with_extension("jrnl.damaged"),
        turn => path.with_extension(format!("jrnl.{turn}.damaged")),
    };
    let mut turn = 0;
    while disk.exists(&name(turn))? {
        turn += 1;
    }
    let bytes = disk.read(&path)?;
    let copy = disk.create_new(&name(turn))?;
    copy.append(&bytes)?;
    copy.sync_data()?;
    disk.sync_folder(folder)
}
