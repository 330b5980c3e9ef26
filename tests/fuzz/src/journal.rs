//! Journal files of any content.
//!
//! ```text
//! flags u8 | checkpoint u64 | files: length u16, header 48, frames
//! flags    1: checksums as they are, not made to match    2: files end where their bytes do
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freshet_segment::clock::ManualClock;
use freshet_segment::disk::{Disk, SimulatedDisk};
use freshet_segment::journal::repair::{examine, repair};
use freshet_segment::journal::{Damage, Gap, Journal, JournalOptions, NewRecord, Opened, Record, RecordKey};
use freshet_segment::time::Timestamp;
use freshet_segment::{ErrorKind, Result, SegmentError};
use sha2::Digest;

use crate::Target;

/// The target.
pub const TARGET: Target = Target { run, seeds, memory: (64 << 20, 64), foreign_panics: false };

const HEADER_BYTES: usize = 48;
const SECOND_HEADER: usize = 512;
const DATA_START: usize = 1024;
/// Files are made as long as their header says, up to this.
const LENGTH_MAX: u64 = 64 << 10;
const STREAM: &str = "push";

pub(crate) fn folder() -> PathBuf {
    PathBuf::from("/data/push")
}

pub(crate) fn options(checkpoint: i64) -> JournalOptions {
    JournalOptions {
        checkpoint,
        file_bytes: 4 << 10,
        group_wait: Duration::ZERO,
        salt: 0x0123_4567_89ab_cdef,
        ..JournalOptions::default()
    }
}

pub(crate) fn open(disk: &Disk, checkpoint: i64) -> Result<(Journal, Opened)> {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_442_018_818_771)));
    Journal::open(disk.clone(), &folder(), STREAM, options(checkpoint), clock)
}

pub(crate) fn record(payload: &str) -> NewRecord {
    NewRecord { payload: Bytes::from(payload.to_owned()), key: None, answer: String::new() }
}

/// Puts a file onto a disk, durably.
pub(crate) fn place(disk: &Disk, path: &Path, bytes: &[u8], length: u64) {
    let file = disk.create_new(path).expect("a new name");
    file.set_len(length).expect("room");
    file.write_at(bytes, 0).expect("room");
    file.sync_data().expect("a disk without faults");
}

/// The records that a replay shows, and how it ends.
pub(crate) fn replayed(journal: &Journal, from: i64) -> (Vec<Record>, Option<SegmentError>) {
    let replay = match journal.replay(from) {
        Ok(replay) => replay,
        Err(failed) => return (Vec::new(), Some(failed)),
    };
    let mut records = Vec::new();
    for record in replay {
        match record {
            Ok(record) => records.push(record),
            Err(failed) => return (records, Some(failed)),
        }
    }
    (records, None)
}

pub(crate) fn path_of(first: i64) -> PathBuf {
    folder().join(format!("{first:020}.jrnl"))
}

fn run(data: &[u8]) {
    let Some(input) = Input::read(data) else { return };
    let disk = Disk::Simulated(SimulatedDisk::new());
    disk.create_dir_all(&folder()).expect("a folder");
    for file in &input.files {
        let path = path_of(file.first);
        if !disk.exists(&path).expect("a disk without faults") {
            place(&disk, &path, &file.bytes, file.length);
        }
    }
    disk.sync_folder(&folder()).expect("a disk without faults");
    let checkpoint = input.checkpoint;
    let examined = examine(&disk, &folder(), checkpoint);
    let (journal, opened) = match open(&disk, checkpoint) {
        Ok(opened) => opened,
        Err(failed) => {
            assert_eq!(failed.kind(), ErrorKind::Invalid, "only a newer format is not opened: {failed}");
            assert!(examined.is_err(), "examine reads what open refuses: {failed}");
            return;
        }
    };
    match &opened.damage {
        None => {
            let report = examined.expect("what was opened can be examined");
            assert_eq!(report.damage, [], "examine finds what open does not");
            whole(&disk, &journal, &opened, checkpoint);
            drop(journal);
            let report = repair(&disk, &folder(), STREAM, checkpoint, 7).expect("a sound journal");
            assert_eq!(report.damage, [], "a sound journal is left alone");
        }
        Some(damage) => {
            let kept = refuses(&journal, damage, checkpoint);
            drop(journal);
            let Ok(report) = examined else { return };
            let place = |damage: &Damage| (damage.file.clone(), damage.at, damage.number);
            assert_eq!(report.damage.first().map(place), Some(place(damage)), "open and examine disagree");
            mended(&disk, &kept, checkpoint);
        }
    }
}

/// What holds for a journal without damage: it is replayed whole, and goes on.
fn whole(disk: &Disk, journal: &Journal, opened: &Opened, checkpoint: i64) {
    let (records, failed) = replayed(journal, checkpoint);
    if let Some(failed) = failed {
        // Its frames are whole and what is in one of them is no record: nothing that chance does.
        assert_eq!(failed.kind(), ErrorKind::Corrupt, "{failed}");
        return;
    }
    assert_eq!(records.len() as u64, opened.records, "a replay shows what was counted");
    let mut next = checkpoint;
    let mut gaps = opened.gaps.iter().map(|gap| Gap { from: gap.from.max(checkpoint), to: gap.to }).peekable();
    for record in &records {
        while let Some(gap) = gaps.next_if(|gap| gap.from == next) {
            next = gap.to;
        }
        assert_eq!(record.number, next, "numbers are dense but for gaps");
        next += 1;
    }
    for gap in gaps {
        assert_eq!(gap.from, next, "a gap lies between records");
        next = gap.to;
    }
    assert_eq!(opened.next, next, "the next number is the one behind the last");
    let status = journal.status();
    assert_eq!((status.next, status.synced, &status.damaged), (next, next, &None));

    let more = NewRecord {
        payload: Bytes::from_static(b"more"),
        key: Some(RecordKey { key: "key".into(), body_sha256: [7; 32] }),
        answer: "{}".to_owned(),
    };
    let ticket = journal.append(more).expect("a sound journal takes records");
    assert_eq!(ticket.number(), next);
    ticket.wait().expect("a disk without faults");
    journal.close().expect("a disk without faults");
    let (again, reopened) = open(disk, checkpoint).expect("it was open before");
    assert_eq!((reopened.damage, reopened.next), (None, next + 1));
    let (mut after, failed) = replayed(&again, checkpoint);
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(after.pop().map(|record| (record.number, record.payload)), Some((next, Bytes::from_static(b"more"))));
    assert_eq!(after, records, "what was there is there");
}

/// What holds for a damaged journal; gives the records before the damage.
fn refuses(journal: &Journal, damage: &Damage, checkpoint: i64) -> Vec<Record> {
    let (records, failed) = replayed(journal, checkpoint);
    let failed = failed.unwrap_or_else(|| panic!("a replay from {checkpoint} passes over {damage:?}"));
    assert!(matches!(failed.kind(), ErrorKind::Corrupt | ErrorKind::Invalid), "{failed}");
    assert!(records.iter().all(|record| record.number < damage.number), "a replay ends at the damage");
    assert_eq!(journal.append(record("more")).map(drop).map_err(|e| e.kind()), Err(ErrorKind::Corrupt));
    assert_eq!(journal.cut(checkpoint).map_err(|e| e.kind()), Err(ErrorKind::Corrupt));
    assert!(journal.status().damaged.is_some());
    records
}

/// What holds after a repair: what could be read before can be read, and what is kept can be.
fn mended(disk: &Disk, kept: &[Record], checkpoint: i64) {
    let report = match repair(disk, &folder(), STREAM, checkpoint, 7) {
        Ok(report) => report,
        Err(failed) => {
            assert!(failed.to_string().contains("nothing in the last file can be read"), "{failed}");
            return;
        }
    };
    let (journal, opened) = open(disk, checkpoint).expect("a repaired journal");
    assert_eq!(opened.damage, None, "a repaired journal is sound");
    let gaps: Vec<Gap> = opened.gaps.iter().map(|gap| Gap { from: gap.from.max(checkpoint), to: gap.to }).collect();
    assert_eq!(gaps, report.lost, "what is gone is what was said");
    let readable: u64 = report.files.iter().map(|file| file.records).sum();
    assert!(opened.records <= readable, "{} records of {readable}", opened.records);
    let (records, failed) = replayed(&journal, checkpoint);
    if failed.is_none() {
        assert_eq!(records.get(..kept.len()), Some(kept), "a repair keeps what could be read");
    }
    whole(disk, &journal, &opened, checkpoint);
}

struct Input {
    checkpoint: i64,
    files: Vec<File>,
}

struct File {
    first: i64,
    bytes: Vec<u8>,
    length: u64,
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*head)
}

impl Input {
    fn read(mut data: &[u8]) -> Option<Self> {
        let [flags] = take(&mut data)?;
        // The last number of all is no place to go on from.
        let checkpoint = i64::try_from(u64::from_le_bytes(take(&mut data)?)).ok().filter(|at| *at < i64::MAX)?;
        let mut files = Vec::new();
        while files.len() < 4
            && let Some(length) = take(&mut data)
        {
            let length = usize::from(u16::from_le_bytes(length)).min(data.len());
            let (compact, rest) = data.split_at(length);
            data = rest;
            files.extend(File::read(compact, flags));
        }
        Some(Self { checkpoint, files })
    }
}

impl File {
    fn read(compact: &[u8], flags: u8) -> Option<Self> {
        let (header, frames) = compact.split_first_chunk::<HEADER_BYTES>()?;
        let (mut header, mut frames) = (*header, frames.to_vec());
        if flags & 1 == 0 {
            header[..8].copy_from_slice(b"FRSHJRNL");
            header[20..28].copy_from_slice(&stream_hash().to_le_bytes());
            let sum = crc32c::crc32c(&header[..44]);
            header[44..].copy_from_slice(&sum.to_le_bytes());
            let salt = *header[36..].first_chunk()?;
            match_sums(&mut frames, salt);
        }
        let number = |at: usize| header[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let mut bytes = vec![0; DATA_START];
        bytes[..HEADER_BYTES].copy_from_slice(&header);
        bytes[SECOND_HEADER..SECOND_HEADER + HEADER_BYTES].copy_from_slice(&header);
        bytes.extend(frames);
        let allotted = if flags & 2 == 0 { number(12)?.min(LENGTH_MAX) } else { 0 };
        let length = allotted.max(bytes.len() as u64);
        Some(Self { first: i64::try_from(number(28)?).ok()?, bytes, length })
    }

    /// A file of a journal as an input has it.
    fn compact(bytes: &[u8]) -> Vec<u8> {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(DATA_START);
        let mut compact = bytes[..HEADER_BYTES].to_vec();
        compact.extend(&bytes[DATA_START..used]);
        compact
    }
}

fn stream_hash() -> u64 {
    let digest = sha2::Sha256::digest(STREAM);
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Gives each frame the length that fits and the checksum that matches.
fn match_sums(frames: &mut [u8], salt: [u8; 8]) {
    let mut rest = frames;
    while rest.len() >= 17 && rest.iter().any(|byte| *byte != 0) {
        let told = rest.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        let length = told.min(rest.len() - 17);
        rest[..4].copy_from_slice(&u32::try_from(length).expect("an input is short").to_le_bytes());
        let sum = crc32c::crc32c_append(crc32c::crc32c(&salt), &rest[..13 + length]);
        rest[13 + length..17 + length].copy_from_slice(&sum.to_le_bytes());
        rest = &mut rest[17 + length..];
    }
}

/// The files of a journal that was written and closed, by their first numbers; `gaps` records are lost and repaired.
pub(crate) fn written(counts: &[usize], payload_bytes: usize) -> Vec<(i64, Vec<u8>)> {
    let disk = Disk::Simulated(SimulatedDisk::new());
    let (journal, _) = open(&disk, 0).expect("an empty disk");
    let mut number = 0;
    for count in counts {
        let mut tickets = Vec::new();
        for _ in 0..*count {
            let text = format!("{number}:{}", "x".repeat(payload_bytes));
            let key = (number % 2 == 1).then(|| RecordKey { key: format!("k{number}").into(), body_sha256: [9; 32] });
            let new = NewRecord { key, answer: format!("{{\"n\":{number}}}"), ..record(&text) };
            tickets.push(journal.append(new).expect("taken"));
            number += 1;
        }
        tickets.into_iter().for_each(|ticket| ticket.wait().expect("kept"));
    }
    journal.close().expect("closed");
    files_of(&disk)
}

/// The journal files on a disk, in order.
pub(crate) fn files_of(disk: &Disk) -> Vec<(i64, Vec<u8>)> {
    let entries = disk.list(&folder()).expect("a folder");
    let firsts = entries.iter().filter_map(|entry| entry.name.strip_suffix(".jrnl")?.parse().ok());
    let mut files: Vec<(i64, Vec<u8>)> =
        firsts.map(|first| (first, disk.read(&path_of(first)).expect("readable").to_vec())).collect();
    files.sort();
    files
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let input = |flags: u8, checkpoint: u64, files: &[(i64, Vec<u8>)]| {
        let mut input = vec![flags];
        input.extend(checkpoint.to_le_bytes());
        for (_, bytes) in files {
            let compact = File::compact(bytes);
            input.extend(u16::try_from(compact.len()).expect("short").to_le_bytes());
            input.extend(compact);
        }
        input
    };
    let small = written(&[1, 2, 1], 5);
    let several = written(&[3, 3, 3], 900);
    // With a gap: a middle file is gone, and given up.
    let disk = Disk::Simulated(SimulatedDisk::new());
    disk.create_dir_all(&folder()).expect("a folder");
    for (at, (first, bytes)) in several.iter().enumerate() {
        if at != 1 {
            place(&disk, &path_of(*first), bytes, bytes.len() as u64);
        }
    }
    repair(&disk, &folder(), STREAM, 0, 3).expect("repaired");
    vec![
        ("small", input(0, 0, &small)),
        ("small_published", input(0, 3, &small)),
        ("small_as_it_is", input(1, 0, &small)),
        ("small_cut", input(2, 0, &small)),
        ("several", input(0, 2, &several)),
        ("repaired", input(0, 0, &files_of(&disk))),
        ("empty", input(0, 5, &[])),
    ]
}
