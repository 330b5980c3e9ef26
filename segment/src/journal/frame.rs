//! The bytes of a journal file.
//!
//! ```text
//! 0     header, 48 bytes          512   the same header again        1024  frames, then zeros up to the allotted length
//!
//! header   "FRSHJRNL" | version u16 | flags u16 | allotted u64 | stream u64 | first u64 | salt u64 | CRC32C u32
//! frame    length of body u32 | type u8 | number u64 | body | CRC32C u32 over salt, length, type, number and body
//! record   type 1, its number;  body: at i64 | key length u16 | key, hash 32 (with a key) | answer length u32 | answer | payload
//! mark     type 2, number n, no body: everything below n was durable before this was written
//! gap      type 3, number n; body: to u64: the records n up to to were lost, and a repair was told to go on
//! ```
//! All numbers are little-endian. The salt is a random number of the file: without it a payload could hold the bytes of a
//! frame, and pass for one where damage is looked for. The header stands twice, in two blocks of the disk, because a file
//! without its salt is lost whole.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{NewRecord, Record, RecordKey};
use crate::error::{Result, SegmentError};
use crate::time::Timestamp;

/// Where the first frame begins.
pub(super) const DATA_START: usize = 1024;
const SECOND_HEADER: usize = 512;
const HEADER_BYTES: usize = 48;
const MAGIC: &[u8; 8] = b"FRSHJRNL";
const VERSION: u16 = 1;
/// Bytes of a frame around its body.
pub(super) const FRAME_BYTES: usize = 4 + 1 + 8 + 4;
/// Longest body. A batch is at most 64 MiB; what is longer than this in a file is damage.
pub(super) const BODY_BYTES_MAX: usize = 256 << 20;
const RECORD: u8 = 1;
const MARK: u8 = 2;
const GAP: u8 = 3;

/// What a file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the file from its first moment on: a shorter one was cut.
    pub(super) allotted: u64,
    /// Hash of the stream's name.
    pub(super) stream: u64,
    /// Number of its first record; everything below was durable when the file was made.
    pub(super) first: i64,
    /// Goes into each checksum of this file.
    pub(super) salt: u64,
}

impl Header {
    fn encode_one(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&0u16.to_le_bytes());
        bytes.extend_from_slice(&self.allotted.to_le_bytes());
        bytes.extend_from_slice(&self.stream.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The first [`DATA_START`] bytes of a file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_one();
        bytes.resize(SECOND_HEADER, 0);
        bytes.extend(self.encode_one());
        bytes.resize(DATA_START, 0);
        bytes
    }

    /// Reads whichever of the two is whole.
    pub(super) fn decode(bytes: &[u8], what: &str) -> Result<Self> {
        let first = Self::decode_one(bytes, 0);
        match first.or_else(|| Self::decode_one(bytes, SECOND_HEADER)) {
            Some((VERSION, header)) => Ok(header),
            Some((version, _)) => Err(SegmentError::invalid(
                "journal file",
                format!("{what} has format version {version}, this Freshet reads {VERSION}: use the newer Freshet"),
            )),
            None => Err(SegmentError::corrupt(what, "both headers of the file are wrong, at byte 0 and byte 512")),
        }
    }

    fn decode_one(bytes: &[u8], at: usize) -> Option<(u16, Self)> {
        let sum = u32::from_le_bytes(take(bytes, at + HEADER_BYTES - 4)?);
        if bytes.get(at..at + 8)? != MAGIC || crc32c::crc32c(bytes.get(at..at + HEADER_BYTES - 4)?) != sum {
            return None;
        }
        let version = u16::from_le_bytes(take(bytes, at + 8)?);
        let [allotted, stream, first, salt] =
            [12, 20, 28, 36].map(|from| take(bytes, at + from).map(u64::from_le_bytes));
        let header = Self { allotted: allotted?, stream: stream?, first: i64::try_from(first?).ok()?, salt: salt? };
        Some((version, header))
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// One frame, its body as a place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Record { number: i64, body: Range<usize> },
    Mark { durable: i64 },
    Gap { from: i64, to: i64 },
}

impl Frame {
    /// What of it counts in a file that a later one takes over from at the record `limit`: a gap ends there.
    pub(super) fn within(self, limit: Option<i64>) -> Self {
        match (self, limit) {
            (Self::Gap { from, to }, Some(limit)) => Self::Gap { from, to: to.min(limit) },
            (frame, _) => frame,
        }
    }
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole frame, and where the next one begins.
    Frame(Frame, usize),
    /// Nothing was written here.
    End,
    /// Something that is no frame.
    Bad,
}

/// What stands at `at`.
pub(super) fn read(bytes: &[u8], at: usize, salt: u64) -> Found {
    match read_frame(bytes, at, salt) {
        Some((frame, end)) => Found::Frame(frame, end),
        None if bytes.get(at..).is_none_or(|rest| rest.iter().all(|b| *b == 0)) => Found::End,
        None => Found::Bad,
    }
}

/// The frame at `at` and its end, when it is whole.
pub(super) fn read_frame(bytes: &[u8], at: usize, salt: u64) -> Option<(Frame, usize)> {
    let length = usize::try_from(u32::from_le_bytes(take(bytes, at)?)).ok()?;
    let [sort] = take(bytes, at + 4)?;
    // Cheap refusals first: a search for frames asks this at every byte.
    if !(RECORD..=GAP).contains(&sort) || length > BODY_BYTES_MAX {
        return None;
    }
    let number = i64::try_from(u64::from_le_bytes(take(bytes, at + 5)?)).ok()?;
    let body = at + 13..at + 13 + length;
    let sum = u32::from_le_bytes(take(bytes, body.end)?);
    if checksum(salt, bytes.get(at..body.end)?) != sum {
        return None;
    }
    let end = body.end + 4;
    match sort {
        // Behind the last number there is none to go on with.
        RECORD if number < i64::MAX => Some((Frame::Record { number, body }, end)),
        MARK if length == 0 => Some((Frame::Mark { durable: number }, end)),
        GAP if length == 8 => {
            let to = i64::try_from(u64::from_le_bytes(take(bytes, body.start)?)).ok().filter(|to| *to > number)?;
            Some((Frame::Gap { from: number, to }, end))
        }
        _ => None,
    }
}

/// The number of the record or gap at `at`, if it is one of these: cheap enough to be asked at every byte of a file, because what a
/// payload holds is hardly ever one of the numbers that are missing, and only then is its checksum computed.
pub(super) fn read_one_of(bytes: &[u8], at: usize, salt: u64, numbers: &Range<i64>) -> Option<i64> {
    let number = i64::try_from(u64::from_le_bytes(take(bytes, at + 5)?)).ok()?;
    if !numbers.contains(&number) {
        return None;
    }
    match read_frame(bytes, at, salt)?.0 {
        Frame::Mark { .. } => None,
        Frame::Record { .. } | Frame::Gap { .. } => Some(number),
    }
}

/// The mark at `at`, if one is there: cheap enough to be asked at every byte of a file.
pub(super) fn read_mark(bytes: &[u8], at: usize, salt: u64) -> Option<i64> {
    let head: [u8; 5] = take(bytes, at)?;
    if head != [0, 0, 0, 0, MARK] {
        return None;
    }
    match read_frame(bytes, at, salt)? {
        (Frame::Mark { durable }, _) => Some(durable),
        _ => None,
    }
}

fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

fn frame(into: &mut Vec<u8>, salt: u64, sort: u8, number: i64, body: impl FnOnce(&mut Vec<u8>)) {
    let at = into.len();
    into.extend_from_slice(&[0; 4]);
    into.push(sort);
    into.extend_from_slice(&number.to_le_bytes());
    body(into);
    let length =
        u32::try_from(into.len() - at - 13).expect("a body is checked against BODY_BYTES_MAX when it comes in");
    into[at..at + 4].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(salt, &into[at..]);
    into.extend_from_slice(&sum.to_le_bytes());
}

/// Appends a mark.
pub(super) fn put_mark(into: &mut Vec<u8>, salt: u64, durable: i64) {
    frame(into, salt, MARK, durable, |_| {});
}

/// Appends the statement that records are lost.
pub(super) fn put_gap(into: &mut Vec<u8>, salt: u64, from: i64, to: i64) {
    frame(into, salt, GAP, from, |into| into.extend_from_slice(&to.to_le_bytes()));
}

/// Appends a record whose body is at hand.
pub(super) fn put_body(into: &mut Vec<u8>, salt: u64, number: i64, body: &[u8]) {
    frame(into, salt, RECORD, number, |into| into.extend_from_slice(body));
}

/// Appends a record.
pub(super) fn put_record(into: &mut Vec<u8>, salt: u64, number: i64, at: Timestamp, record: &NewRecord) {
    frame(into, salt, RECORD, number, |into| {
        into.extend_from_slice(&at.as_millis().to_le_bytes());
        let key_length = record.key.as_ref().map_or(0, |key| key.key.len());
        let key_length = u16::try_from(key_length).expect("a key is checked when it comes in");
        into.extend_from_slice(&key_length.to_le_bytes());
        if let Some(key) = &record.key {
            into.extend_from_slice(key.key.as_bytes());
            into.extend_from_slice(&key.body_sha256);
        }
        let answer_length = u32::try_from(record.answer.len()).expect("a body is checked when it comes in");
        into.extend_from_slice(&answer_length.to_le_bytes());
        into.extend_from_slice(record.answer.as_bytes());
        into.extend_from_slice(&record.payload);
    });
}

/// Bytes that a record takes in a file.
pub(super) fn record_bytes(record: &NewRecord) -> usize {
    let key = record.key.as_ref().map_or(0, |key| key.key.len() + 32);
    FRAME_BYTES + 8 + 2 + key + 4 + record.answer.len() + record.payload.len()
}

/// Whether a record can be written at all.
pub(super) fn check_record(record: &NewRecord) -> Result<()> {
    if let Some(key) = &record.key
        && (key.key.is_empty() || u16::try_from(key.key.len()).is_err())
    {
        return Err(SegmentError::invalid("idempotency key", "a key has 1 to 65535 bytes"));
    }
    if record_bytes(record) > BODY_BYTES_MAX {
        let reason = format!("a record has at most {BODY_BYTES_MAX} bytes: send less at a time");
        return Err(SegmentError::invalid("journal record", reason));
    }
    Ok(())
}

/// The record in a frame's body; nothing when the body is not one.
pub(super) fn decode_record(file: &Bytes, number: i64, body: Range<usize>) -> Option<Record> {
    let bytes = file.get(..body.end)?;
    let mut at = body.start;
    let mut next = |length: usize| {
        let part = at..at.checked_add(length)?;
        at = part.end;
        bytes.get(part)
    };
    let time = Timestamp::from_millis(i64::from_le_bytes(next(8)?.try_into().ok()?));
    let key = match usize::from(u16::from_le_bytes(next(2)?.try_into().ok()?)) {
        0 => None,
        length => {
            let key: Arc<str> = std::str::from_utf8(next(length)?).ok()?.into();
            Some(RecordKey { key, body_sha256: next(32)?.try_into().ok()? })
        }
    };
    let length = usize::try_from(u32::from_le_bytes(next(4)?.try_into().ok()?)).ok()?;
    let answer = std::str::from_utf8(next(length)?).ok()?.to_owned();
    Some(Record { number, at: time, payload: file.slice(at..body.end), key, answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> NewRecord {
        let key = Some(RecordKey { key: "k-1".into(), body_sha256: [7; 32] });
        NewRecord { payload: Bytes::from_static(b"rows"), key, answer: "{\"rows\":1}".into() }
    }

    #[test]
    fn frames_are_read_as_written() {
        let mut bytes = Vec::new();
        put_mark(&mut bytes, 5, 9);
        put_record(&mut bytes, 5, 9, Timestamp::from_millis(-3), &record());
        put_gap(&mut bytes, 5, 10, 12);
        assert_eq!(bytes.len(), 2 * FRAME_BYTES + 8 + record_bytes(&record()));
        let Found::Frame(Frame::Mark { durable: 9 }, at) = read(&bytes, 0, 5) else { panic!() };
        let Found::Frame(Frame::Record { number: 9, body }, at) = read(&bytes, at, 5) else { panic!() };
        let Found::Frame(Frame::Gap { from: 10, to: 12 }, at) = read(&bytes, at, 5) else { panic!() };
        assert_eq!(read(&bytes, at, 5), Found::End);
        assert_eq!(read(&bytes, 0, 6), Found::Bad, "another file's salt");
        let found = decode_record(&Bytes::from(bytes), 9, body).unwrap();
        assert_eq!((found.number, found.at.as_millis(), &found.payload[..]), (9, -3, &b"rows"[..]));
        assert_eq!((found.key, found.answer), (record().key, record().answer));
    }

    #[test]
    fn there_is_no_record_behind_the_last_number() {
        let mut bytes = Vec::new();
        for number in [i64::MAX - 1, i64::MAX] {
            bytes.clear();
            put_record(&mut bytes, 5, number, Timestamp::from_millis(1), &record());
            assert_eq!(read_frame(&bytes, 0, 5).is_some(), number < i64::MAX);
        }
    }

    #[test]
    fn a_search_finds_the_numbers_it_asks_for() {
        let mut bytes = vec![1; 40];
        put_mark(&mut bytes, 5, 9);
        put_record(&mut bytes, 5, 9, Timestamp::from_millis(1), &record());
        let at = bytes.len();
        put_gap(&mut bytes, 5, 10, 12);
        let search = |numbers: Range<i64>| (0..bytes.len()).find_map(|at| read_one_of(&bytes, at, 5, &numbers));
        assert_eq!((search(9..10), search(3..12), search(0..9), search(12..99)), (Some(9), Some(9), None, None));
        assert_eq!(read_one_of(&bytes, at, 5, &(10..11)), Some(10));
        assert_eq!(read_one_of(&bytes, at, 6, &(10..11)), None, "another file's salt");
    }

    #[test]
    fn a_flipped_bit_is_no_frame() {
        let mut bytes = Vec::new();
        put_record(&mut bytes, 5, 9, Timestamp::from_millis(1), &record());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped, 0, 5), Found::Bad, "bit {bit}");
        }
    }

    #[test]
    fn one_header_is_enough() {
        let header = Header { allotted: 4096, stream: 1, first: 7, salt: 3 };
        let bytes = header.encode();
        assert_eq!(bytes.len(), DATA_START);
        for at in 0..DATA_START {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(Header::decode(&damaged, "x").unwrap(), header);
        }
        let mut damaged = bytes.clone();
        damaged[3] ^= 1;
        damaged[515] ^= 1;
        assert_eq!(Header::decode(&damaged, "x").unwrap_err().kind(), crate::ErrorKind::Corrupt);
    }
}
