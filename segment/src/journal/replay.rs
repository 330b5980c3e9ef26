//! Reading the records back, file by file.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::scan::{self, Loaded};
use super::{Damage, Record, frame};
use crate::disk::{Disk, shown};
use crate::error::{Result, SegmentError};

/// The durable records from a number on. One file is in memory at a time; payloads share its memory.
#[derive(Debug)]
pub struct Replay {
    disk: Disk,
    folder: PathBuf,
    stream: u64,
    from: i64,
    /// Each file's first number and the number at which it ends.
    files: VecDeque<(i64, i64)>,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    loaded: Loaded,
    records: std::vec::IntoIter<(i64, Range<usize>, u64)>,
    damage: Option<Damage>,
}

impl Replay {
    pub(super) fn new(disk: &Disk, folder: &Path, stream: u64, from: i64, end: i64) -> Result<Self> {
        let numbers = scan::file_numbers(disk, folder)?;
        if let Some(first) = numbers.first().filter(|first| from < **first && from < end) {
            let reason = format!("record {from} was cut, the oldest kept is {first}");
            return Err(SegmentError::invalid("replay", reason));
        }
        let ends = numbers.iter().skip(1).copied().chain(std::iter::once(i64::MAX));
        let files = numbers.iter().copied().zip(ends.map(|next| next.min(end)));
        let files = files.filter(|(first, limit)| *limit > from && first < limit).collect();
        Ok(Self { disk: disk.clone(), folder: folder.to_owned(), stream, from, files, open: None })
    }

    fn open_next(&mut self) -> Option<Result<()>> {
        let (first, limit) = self.files.pop_front()?;
        Some(Loaded::read(&self.disk, &self.folder, first, Some(self.stream)).map(|loaded| {
            let walk = loaded.walk(Some(limit));
            self.open = Some(OpenFile { loaded, records: walk.records.into_iter(), damage: walk.damage });
        }))
    }

    fn fail(&mut self, failed: SegmentError) -> Option<Result<Record>> {
        self.files.clear();
        self.open = None;
        Some(Err(failed))
    }
}

impl Iterator for Replay {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_next()? {
                    Ok(()) => continue,
                    Err(failed) => return self.fail(failed),
                }
            };
            match open.records.next() {
                Some((number, _, _)) if number < self.from => {}
                Some((number, body, _)) => match frame::decode_record(&open.loaded.bytes, number, body.clone()) {
                    Some(record) => return Some(Ok(record)),
                    None => {
                        let what = shown(&scan::file_path(&self.folder, open.loaded.header.first));
                        let reason = format!("the body of record {number} at byte {} is not one", body.start);
                        return self.fail(SegmentError::corrupt(what, reason));
                    }
                },
                None => match open.damage.take() {
                    Some(damage) => return self.fail(damage.error()),
                    None => self.open = None,
                },
            }
        }
    }
}

impl FusedIterator for Replay {}
