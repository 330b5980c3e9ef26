//! Local copies of files that are elsewhere: fetched once, verified, kept until they are found damaged or room is needed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::catalog::StoredFile;
use crate::disk::{Disk, io_error};
use crate::error::{Result, SegmentError};
use crate::failpoint;
use crate::sealed::Hashing;

/// How the ending of a file begins that is being fetched.
pub(super) const PART: &str = ".part-";
/// Bytes fetched by one request.
const STEP_BYTES: u64 = 8 << 20;

/// Where the copy of a file lies: names are unique without their folders, because of the attempt in them.
fn place(cache: &Path, file: &StoredFile) -> PathBuf {
    cache.join(file.path.rsplit('/').next().unwrap_or(&file.path))
}

/// The copy of a file; made by `get` when it is not there. A copy of the right length is taken as it is, because
/// the checksums of its blocks are still to be looked at before anything is decoded.
pub(super) fn local(cache: &Path, file: &StoredFile, get: impl Fn(u64, usize) -> Result<Bytes>) -> Result<PathBuf> {
    let copy = place(cache, file);
    if std::fs::metadata(&copy).is_ok_and(|meta| meta.len() == file.bytes) {
        return Ok(copy);
    }
    // Two readers may fetch the same file: each into a name of its own, and the last rename wins with equal bytes.
    static TURN: AtomicU64 = AtomicU64::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let part = copy.with_extension(format!("{}{}-{turn}", &PART[1..], std::process::id()));
    Disk::Real.create_dir_all(cache)?;
    let fetched = fetch(&part, file, get).and_then(|()| {
        failpoint!("copies.fetched")?;
        Disk::Real.rename(&part, &copy)?;
        Disk::Real.sync_folder(cache)
    });
    if fetched.is_err() {
        // What is left of a failed fetch is of no use; that it may not be there at all is fine.
        let _ = std::fs::remove_file(&part);
    }
    fetched.map(|()| copy)
}

fn fetch(part: &Path, file: &StoredFile, get: impl Fn(u64, usize) -> Result<Bytes>) -> Result<()> {
    let mut out = Disk::Real.create_new(part)?;
    read(file, get, |bytes| out.write_all(bytes).map_err(|e| io_error("writing", part, e)))?;
    out.sync_data()
}

/// Reads a file in steps and compares its hash.
pub(super) fn read(
    file: &StoredFile,
    get: impl Fn(u64, usize) -> Result<Bytes>,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut hashing = Hashing::default();
    let mut at = 0;
    while at < file.bytes {
        let length = usize::try_from((file.bytes - at).min(STEP_BYTES)).unwrap_or(usize::MAX);
        let bytes = get(at, length)?;
        hashing.add(&bytes);
        take(&bytes)?;
        at += length as u64;
    }
    if hashing.sha256() != file.sha256 {
        return Err(SegmentError::corrupt(format!("file `{}`", file.path), "its hash is not the one in the catalog"));
    }
    Ok(())
}

/// Removes the copy of a file if there is one that is not what it should be.
pub(super) fn check(cache: &Path, file: &StoredFile) {
    let copy = place(cache, file);
    if copy.exists() && crate::sealed::check_hash(&copy, file).is_err() {
        tracing::warn!(path = file.path, "a local copy is damaged and fetched again");
        forget(cache, file);
    }
}

/// Removes a copy, so that the next use fetches it again.
pub(super) fn forget(cache: &Path, file: &StoredFile) {
    let copy = place(cache, file);
    if let Err(error) = std::fs::remove_file(&copy)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = file.path, %error, "a damaged local copy could not be removed");
    }
}
