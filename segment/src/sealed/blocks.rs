//! A file of a segment, read so that no byte reaches a decoder before the checksum of its block matched.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::meta::FileMeta;
use crate::error::{ErrorKind, Result, SegmentError};

/// Bytes that share a checksum.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// An open file and the checksums of its blocks. A block is checked before its first bytes are given, then never again.
#[derive(Debug)]
pub(super) struct CheckedFile {
    file: File,
    name: String,
    bytes: u64,
    blocks: Vec<u32>,
    checked: Vec<AtomicU64>,
    /// 0, or 1 after a block was damaged, or 2 after the system failed to read: what a decoder's failure came from.
    trouble: AtomicU8,
}

impl CheckedFile {
    /// Opens a file whose length and checksums are known.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be opened, `Corrupt` when it has another length.
    pub(super) fn open(path: &Path, name: &str, meta: &FileMeta) -> Result<Self> {
        let doing = |source| SegmentError::Io { doing: "open", path: name.to_owned(), source };
        let file = File::open(path).map_err(doing)?;
        let bytes = file.metadata().map_err(doing)?.len();
        if bytes != meta.bytes {
            return Err(SegmentError::corrupt(
                format!("file `{name}`"),
                format!("it has {bytes} bytes and was written with {}", meta.bytes),
            ));
        }
        let blocks = meta.blocks.clone();
        if blocks.len() as u64 != bytes.div_ceil(BLOCK_BYTES as u64) {
            return Err(SegmentError::corrupt(format!("file `{name}`"), "it has another number of blocks"));
        }
        let checked = (0..blocks.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { file, name: name.to_owned(), bytes, blocks, checked, trouble: AtomicU8::new(0) })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The bytes from `start` on.
    ///
    /// # Errors
    /// `Corrupt` when they reach past the end or their block's checksum does not match; `Unavailable` when the system
    /// cannot read them.
    pub(super) fn read(&self, start: u64, length: usize) -> Result<Bytes> {
        self.read_checked(start, length).inspect_err(|error| {
            let code = if error.kind() == ErrorKind::Corrupt { 1 } else { 2 };
            self.trouble.store(code, Ordering::Release);
        })
    }

    fn read_checked(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.bytes).ok_or_else(|| {
            let reason = format!("{length} bytes at {start} reach past its end at {}", self.bytes);
            SegmentError::corrupt(format!("file `{}`", self.name), reason)
        })?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let block_bytes = BLOCK_BYTES as u64;
        for block in start / block_bytes..end.div_ceil(block_bytes) {
            self.check(block)?;
        }
        self.pread(start, length)
    }

    fn check(&self, block: u64) -> Result<()> {
        let index = usize::try_from(block).unwrap_or(usize::MAX);
        let (Some(word), Some(expected)) = (self.checked.get(index / 64), self.blocks.get(index)) else {
            return Err(SegmentError::corrupt(format!("file `{}`", self.name), format!("it has no block {block}")));
        };
        let bit = 1u64 << (index % 64);
        if word.load(Ordering::Acquire) & bit != 0 {
            return Ok(());
        }
        let from = block * BLOCK_BYTES as u64;
        let length = usize::try_from((self.bytes - from).min(BLOCK_BYTES as u64)).unwrap_or(BLOCK_BYTES);
        let found = crc32c::crc32c(&self.pread(from, length)?);
        if found != *expected {
            return Err(SegmentError::corrupt(
                format!("file `{}`", self.name),
                format!("the checksum of the block at byte {from} is {found:08x} and should be {expected:08x}"),
            ));
        }
        word.fetch_or(bit, Ordering::AcqRel);
        Ok(())
    }

    fn pread(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => SegmentError::corrupt(
                format!("file `{}`", self.name),
                format!("it ends before byte {start} + {length}"),
            ),
            _ => SegmentError::Io { doing: "read", path: self.name.clone(), source },
        })?;
        Ok(Bytes::from(buffer))
    }

    /// What a decoder's failure on this file means: its bytes matched their checksums unless reading them failed.
    pub(super) fn failure(&self, reason: impl Into<String>) -> SegmentError {
        let what = format!("file `{}`", self.name);
        match self.trouble.load(Ordering::Acquire) {
            2 => SegmentError::unavailable(what, reason),
            _ => SegmentError::corrupt(what, reason),
        }
    }
}

/// The file as Parquet's reader takes it.
#[derive(Debug, Clone)]
pub(super) struct Chunks(pub(super) Arc<CheckedFile>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.bytes
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(Box::new(From { file: Arc::clone(&self.0), at: start, ready: Bytes::new() }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.0.read(start, length).map_err(|e| ParquetError::External(Box::new(e)))
    }
}

/// Reads on from a place in steps, for headers of unknown length.
struct From {
    file: Arc<CheckedFile>,
    at: u64,
    ready: Bytes,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const STEP: u64 = 4096;
        if self.ready.is_empty() {
            let length = usize::try_from(STEP.min(self.file.bytes.saturating_sub(self.at))).unwrap_or(0);
            self.ready = self.file.read(self.at, length).map_err(io::Error::other)?;
            self.at += length as u64;
        }
        let length = buffer.len().min(self.ready.len());
        self.ready.split_to(length).copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
