//! The frame of an own file: header, sections, and a footer that names them.
//!
//! ```text
//! FRSH IDX_ version flags │ section … section │ count (name, offset, length, CRC32C)… │ footer offset, CRC32C, FRSH
//! ```
//! Little-endian. A reader that meets another version says which one it met and which one it knows.

use std::collections::HashMap;
use std::io::{self, Write};

use bytes::{Buf, Bytes};

use super::blocks::CheckedFile;
use crate::error::{Result, SegmentError};

const MAGIC: &[u8; 4] = b"FRSH";
const KIND: &[u8; 4] = b"IDX ";
const VERSION: u16 = 1;
const HEADER_BYTES: u64 = 12;
const TAIL_BYTES: u64 = 16;

/// Writes sections one after the other.
pub(super) struct SectionWriter<W: Write> {
    out: W,
    at: u64,
    sections: Vec<(String, u64, u64, u32)>,
}

impl<W: Write> SectionWriter<W> {
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(KIND)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&0u16.to_le_bytes())?;
        Ok(Self { out, at: HEADER_BYTES, sections: Vec::new() })
    }

    pub(super) fn section(&mut self, name: String, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.sections.push((name, self.at, bytes.len() as u64, crc32c::crc32c(bytes)));
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes the footer and gives the writer back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        let mut footer = Vec::new();
        let count = u32::try_from(self.sections.len()).map_err(io::Error::other)?;
        footer.extend(count.to_le_bytes());
        for (name, offset, length, crc) in &self.sections {
            let name_bytes = u16::try_from(name.len()).map_err(io::Error::other)?;
            footer.extend(name_bytes.to_le_bytes());
            footer.extend(name.as_bytes());
            footer.extend(offset.to_le_bytes());
            footer.extend(length.to_le_bytes());
            footer.extend(crc.to_le_bytes());
        }
        self.out.write_all(&footer)?;
        self.out.write_all(&self.at.to_le_bytes())?;
        self.out.write_all(&crc32c::crc32c(&footer).to_le_bytes())?;
        self.out.write_all(MAGIC)?;
        Ok(self.out)
    }
}

/// Where the sections of an open file are.
#[derive(Debug)]
pub(super) struct Sections {
    by_name: HashMap<String, (u64, usize, u32)>,
}

impl Sections {
    /// Reads header and footer.
    ///
    /// # Errors
    /// `Corrupt` when they are not what a writer writes; as [`CheckedFile::read`].
    pub(super) fn open(file: &CheckedFile) -> Result<Self> {
        let bad = |reason: &str| SegmentError::corrupt(format!("file `{}`", file.name()), reason);
        let length = file.bytes();
        if length < HEADER_BYTES + TAIL_BYTES {
            return Err(bad("it is shorter than a header and a footer"));
        }
        let mut header = Cursor::new(file.read(0, 12)?);
        if header.take(4)? != MAGIC.as_slice() || header.take(4)? != KIND.as_slice() {
            return Err(bad("it does not begin as an index file does"));
        }
        let version = header.u16()?;
        if version != VERSION {
            return Err(bad(&format!("it has version {version} and this build reads {VERSION}")));
        }
        let tail_at = length - TAIL_BYTES;
        let mut tail = Cursor::new(file.read(tail_at, 16)?);
        let (footer_at, crc) = (tail.u64()?, tail.u32()?);
        let footer_bytes = tail_at.checked_sub(footer_at).and_then(|n| usize::try_from(n).ok());
        let Some(footer_bytes) = footer_bytes.filter(|_| footer_at >= HEADER_BYTES) else {
            return Err(bad("its footer lies outside of it"));
        };
        let footer = file.read(footer_at, footer_bytes)?;
        if crc32c::crc32c(&footer) != crc || tail.take(4)? != MAGIC.as_slice() {
            return Err(bad("the checksum of its footer does not match"));
        }
        let mut footer = Cursor::new(footer);
        let count = footer.u32()?;
        let mut by_name = HashMap::new();
        for _ in 0..count {
            let name_bytes = usize::from(footer.u16()?);
            let name = footer.text(name_bytes)?;
            let (offset, bytes, crc) = (footer.u64()?, footer.u64()?, footer.u32()?);
            let end = offset.checked_add(bytes).filter(|end| *end <= footer_at && offset >= HEADER_BYTES);
            let (Some(_), Ok(bytes)) = (end, usize::try_from(bytes)) else {
                return Err(bad("a section lies outside of it"));
            };
            by_name.insert(name, (offset, bytes, crc));
        }
        Ok(Self { by_name })
    }

    /// The bytes of a section, their checksum matched; `None` when there is no such section.
    pub(super) fn read(&self, file: &CheckedFile, name: &str) -> Result<Option<Bytes>> {
        let Some((offset, length, crc)) = self.by_name.get(name).copied() else { return Ok(None) };
        let bytes = file.read(offset, length)?;
        if crc32c::crc32c(&bytes) != crc {
            let reason = format!("the checksum of section `{name}` does not match");
            return Err(SegmentError::corrupt(format!("file `{}`", file.name()), reason));
        }
        Ok(Some(bytes))
    }

    /// A part of a section, `None` when there is no such section. The checksums of its blocks match; that of the section is
    /// not asked for.
    pub(super) fn range(&self, file: &CheckedFile, name: &str, start: u64, length: usize) -> Result<Option<Bytes>> {
        let Some((offset, whole, _)) = self.by_name.get(name).copied() else { return Ok(None) };
        let end = start.checked_add(length as u64).filter(|end| *end <= whole as u64);
        match end.and_then(|_| offset.checked_add(start)) {
            Some(from) => file.read(from, length).map(Some),
            None => {
                let reason = format!("a part of section `{name}` lies outside of it");
                Err(SegmentError::corrupt(format!("file `{}`", file.name()), reason))
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_name.keys().map(|name| name.len() + 64).sum()
    }
}

/// Reads numbers and texts one after the other; past the end is `Corrupt`, never a panic.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    bytes: Bytes,
}

impl Cursor {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<Bytes> {
        if length > self.bytes.len() {
            return Err(short());
        }
        Ok(self.bytes.split_to(length))
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.bytes.try_get_u8().map_err(|_| short())
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.bytes.try_get_u16_le().map_err(|_| short())
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.bytes.try_get_u32_le().map_err(|_| short())
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.bytes.try_get_u64_le().map_err(|_| short())
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        self.bytes.try_get_i64_le().map_err(|_| short())
    }

    pub(super) fn text(&mut self, length: usize) -> Result<String> {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    /// A number in groups of seven bits, least first.
    pub(super) fn varint(&mut self) -> Result<u32> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| damaged("a number is too large"));
            }
        }
        Err(damaged("a number is too large"))
    }

    /// As [`varint`](Self::varint), for a length in memory.
    pub(super) fn length(&mut self) -> Result<usize> {
        Ok(self.varint()? as usize)
    }
}

/// Writes a number in groups of seven bits, least first.
pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits fit") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits fit"));
}

fn short() -> SegmentError {
    damaged("it ends too early")
}

pub(super) fn damaged(reason: &str) -> SegmentError {
    SegmentError::corrupt("index file", reason)
}
