//! Reading a journal folder: what is in each file, and whether a bad place is a torn tail or damage.
//!
//! Blocks of a group that was never synced land on the disk in any order, so after power loss a whole record behind a torn
//! one is nothing strange. A bad place is **damage** when it had been durable, and only these say so:
//! - a mark behind it in the same file that names a higher number;
//! - a later file: it begins at a number below which all was durable when it was made;
//! - a file shorter than it was made: files have their full length, as a hole, from their first moment.
//!
//! All else is a **torn tail**: none of it was ever acknowledged.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::frame::{self, DATA_START, Found, Frame, Header};
use super::{Damage, Gap};
use crate::disk::{Disk, DiskFile, io_error, shown};
use crate::error::{Result, SegmentError};

const SUFFIX: &str = ".jrnl";
/// A file that is not whole yet.
pub(super) const NEW_SUFFIX: &str = ".jrnl.new";
/// Room behind the last byte on disk that is read as zeros: a system may keep the zeros of a checksum as a hole.
const ZEROS: usize = 64;
const PIECE: u64 = 1 << 20;

/// Where the file of a first number lies.
pub(super) fn file_path(folder: &Path, first: i64) -> PathBuf {
    folder.join(format!("{first:020}{SUFFIX}"))
}

/// First numbers of the journal files in a folder, rising.
pub(super) fn file_numbers(disk: &Disk, folder: &Path) -> Result<Vec<i64>> {
    let entries = disk.list(folder)?;
    let mut numbers: Vec<i64> = entries.iter().filter_map(|entry| first_of(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn first_of(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Hash of a stream's name, as the headers hold it.
pub(super) fn stream_hash(stream: &str) -> u64 {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(stream.as_bytes());
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// A file in memory, as far as anything was written to it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) name: String,
    pub(super) header: Header,
    pub(super) bytes: Bytes,
    /// Its length on disk, holes included.
    pub(super) length: u64,
}

impl Loaded {
    /// Reads a file. `stream` is what its header must name; nothing when any will do.
    ///
    /// # Errors
    /// `Corrupt` when its header is wrong or is another file's.
    pub(super) fn read(disk: &Disk, folder: &Path, first: i64, stream: Option<u64>) -> Result<Self> {
        let path = file_path(folder, first);
        let name = shown(&path);
        let file = disk.open(&path)?;
        let length = file.len()?;
        let bytes = used_bytes(&file, length)?;
        let header = Header::decode(&bytes, &name)?;
        if header.first != first {
            return Err(SegmentError::corrupt(name, format!("its header names record {} as its first", header.first)));
        }
        if stream.is_some_and(|stream| stream != header.stream) {
            return Err(SegmentError::corrupt(name, "it belongs to another stream: was a folder moved?"));
        }
        Ok(Self { name, header, bytes, length })
    }

    /// The frames up to the first bad place, or to the record `limit`, where a later file takes over.
    pub(super) fn walk(&self, limit: Option<i64>) -> Walk {
        let mut walk = Walk::empty(self.header.first);
        let mut at = DATA_START;
        let ended = loop {
            if limit.is_some_and(|limit| walk.next >= limit) {
                break Ended::Limit;
            }
            let found = frame::read(&self.bytes, at, self.header.salt);
            let (frame, end) = match found {
                Found::Frame(frame, end) => (frame, end),
                Found::End => break Ended::Clean,
                Found::Bad => break Ended::Bad,
            };
            let frame = frame.within(limit);
            if !walk.take(&frame, at, end) {
                break Ended::Bad;
            }
            at = end;
        };
        walk.end = at;
        self.judge(&mut walk, ended, limit);
        walk
    }

    fn judge(&self, walk: &mut Walk, ended: Ended, limit: Option<i64>) {
        let damage =
            |number: i64, reason: String| Some(Damage { file: self.name.clone(), at: walk.end as u64, number, reason });
        walk.clean = matches!(ended, Ended::Clean);
        if let Some(limit) = limit {
            walk.damage = match ended {
                Ended::Limit => None,
                Ended::Bad => damage(walk.next, format!("a frame is wrong, and all below {limit} was durable")),
                Ended::Clean => damage(walk.next, format!("the records up to {limit} are missing, and were durable")),
            };
            return;
        }
        if self.length < self.header.allotted {
            let reason = format!("the file was cut: it has {} of {} bytes", self.length, self.header.allotted);
            walk.damage = damage(walk.next, reason);
        } else if matches!(ended, Ended::Bad) {
            let rest = self.bytes.get(walk.end..).unwrap_or_default();
            walk.torn_bytes = rest.iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 1);
            if let Some(durable) = self.durable_behind(walk.end, walk.next) {
                walk.damage = damage(
                    walk.next,
                    format!("a frame is wrong, and a mark behind it says that all below {durable} was durable"),
                );
            }
        }
    }

    /// Where the zeros begin that were never written over, to a block: no frame begins behind. A file is mostly these, and a search
    /// for frames looks at every byte.
    pub(super) fn written_end(&self) -> usize {
        const ZEROS: [u8; 4096] = [0; 4096];
        let zeros = self.bytes.rchunks(ZEROS.len()).take_while(|block| ZEROS.starts_with(block));
        self.bytes.len() - zeros.map(<[u8]>::len).sum::<usize>()
    }

    /// The highest mark behind a bad place that names more than `number`.
    pub(super) fn durable_behind(&self, at: usize, number: i64) -> Option<i64> {
        let marks = (at..self.written_end()).filter_map(|at| frame::read_mark(&self.bytes, at, self.header.salt));
        marks.filter(|durable| *durable > number).max()
    }
}

enum Ended {
    Limit,
    Clean,
    Bad,
}

/// What a file holds up to its first bad place.
#[derive(Debug)]
pub(super) struct Walk {
    /// Number that the next record would have.
    pub(super) next: i64,
    /// Everything below is known to be durable.
    pub(super) proved: i64,
    /// Where the good frames end.
    pub(super) end: usize,
    /// Where the last record or gap ends: only marks stand behind it.
    pub(super) records_end: usize,
    /// Whether nothing at all was written behind them.
    pub(super) clean: bool,
    pub(super) torn_bytes: u64,
    pub(super) damage: Option<Damage>,
    pub(super) gaps: Vec<Gap>,
    /// The records: number, body, bytes of the frame.
    pub(super) records: Vec<(i64, std::ops::Range<usize>, u64)>,
}

impl Walk {
    pub(super) fn empty(first: i64) -> Self {
        let (gaps, records) = (Vec::new(), Vec::new());
        Self {
            next: first,
            proved: first,
            end: DATA_START,
            records_end: DATA_START,
            clean: true,
            torn_bytes: 0,
            damage: None,
            gaps,
            records,
        }
    }

    /// Takes a frame in; false when it cannot stand here.
    pub(super) fn take(&mut self, frame: &Frame, at: usize, end: usize) -> bool {
        match frame {
            Frame::Record { number, body } if *number == self.next => {
                self.records.push((*number, body.clone(), (end - at) as u64));
                self.next += 1;
            }
            Frame::Mark { durable } if *durable <= self.next => self.proved = self.proved.max(*durable),
            Frame::Gap { from, to } if *from == self.next => {
                self.gaps.push(Gap { from: *from, to: *to });
                self.next = *to;
            }
            _ => return false,
        }
        if !matches!(frame, Frame::Mark { .. }) {
            self.records_end = end;
        }
        true
    }
}

/// Everything up to the last byte that is no hole, holes as zeros.
fn used_bytes(file: &DiskFile, length: u64) -> Result<Bytes> {
    let too_long = |e| io_error("reading", file.path(), std::io::Error::other(e));
    let size = |n: u64| usize::try_from(n).map_err(too_long);
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(data) = file.next_data(at)? {
        let end = length.min(data.saturating_add(PIECE));
        let from = size(data)?;
        all.resize(size(end)?, 0);
        let Some(into) = all.get_mut(from..) else { break };
        file.read_at(into, data)?;
        at = end;
    }
    let padded = size(length)?.min(all.len() + ZEROS);
    all.resize(padded, 0);
    Ok(Bytes::from(all))
}
