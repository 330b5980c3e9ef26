//! Every file call of journal, staging and local copies.
//!
//! One enum with two variants, so that the code that must survive power loss is the code that runs: [`Disk::Real`] calls the
//! system, [`Disk::Simulated`] (feature `simulation`) keeps files in memory and forgets, when told to, what was never synced.
//!
//! Three rules are kept here, so that no caller can break them:
//! - A name is durable only after its folder was synced: [`Disk::sync_folder`]. Creating folders does it by itself.
//! - A failed sync is final for that file. The system may have dropped the pages and would answer the next sync with
//!   success, so a [`DiskFile`] whose sync failed refuses every further write and sync.
//! - Errors name the file by the last two parts of its path: enough to find it, nothing about the machine.
//!
//! All calls block. They are made from threads that may: the journal's own, or those of sealing.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use crate::error::{Result, SegmentError};

#[cfg(any(test, feature = "simulation"))]
mod simulated;
#[cfg(any(test, feature = "simulation"))]
pub use simulated::SimulatedDisk;

/// Where files live. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub enum Disk {
    /// The system's file systems.
    #[default]
    Real,
    /// Files in memory that know what power loss does.
    #[cfg(any(test, feature = "simulation"))]
    Simulated(SimulatedDisk),
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the folder.
    pub name: String,
    /// Its length in bytes; 0 for a folder.
    pub bytes: u64,
    /// Whether it is a folder.
    pub folder: bool,
}

/// An open file. Reads and writes at a place may run side by side; one owner at a time calls [`append`](Self::append).
#[derive(Debug)]
pub struct DiskFile {
    inner: Inner,
    path: PathBuf,
    sync_failed: AtomicBool,
    appended: AtomicU64,
}

#[derive(Debug)]
enum Inner {
    Real(std::fs::File),
    #[cfg(any(test, feature = "simulation"))]
    Simulated(simulated::Handle),
}

/// The failure of a file call, naming the file by the last two parts of its path.
pub fn io_error(doing: &'static str, path: &Path, source: io::Error) -> SegmentError {
    SegmentError::Io { doing, path: shown(path), source }
}

/// The last two parts of a path, as errors name files.
pub fn shown(path: &Path) -> String {
    let parts: Vec<_> = path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

impl Disk {
    /// Creates a folder and those above it, and makes their names durable.
    ///
    /// # Errors
    /// `Unavailable`, or `Exhausted` when the disk is full; so for every call here.
    pub fn create_dir_all(&self, path: &Path) -> Result<()> {
        match self {
            Self::Real => create_real_folders(path),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.create_dir_all(path).map_err(|e| io_error("creating folder", path, e)),
        }
    }

    /// Creates a file that must not be there yet, for reading and writing. Its name is durable after
    /// [`sync_folder`](Self::sync_folder).
    pub fn create_new(&self, path: &Path) -> Result<DiskFile> {
        let inner = match self {
            Self::Real => {
                std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path).map(Inner::Real)
            }
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.create_new(path).map(Inner::Simulated),
        };
        Ok(DiskFile::new(inner.map_err(|e| io_error("creating", path, e))?, path, 0))
    }

    /// Opens a file for reading only.
    pub fn open(&self, path: &Path) -> Result<DiskFile> {
        let inner = match self {
            Self::Real => std::fs::File::open(path).map(Inner::Real),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.open(path).map(Inner::Simulated),
        };
        Ok(DiskFile::new(inner.map_err(|e| io_error("opening", path, e))?, path, 0))
    }

    /// Opens a file that is there for reading and writing; [`append`](DiskFile::append) goes on at its end.
    pub fn open_write(&self, path: &Path) -> Result<DiskFile> {
        let inner = match self {
            Self::Real => std::fs::OpenOptions::new().read(true).write(true).open(path).map(Inner::Real),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.open(path).map(Inner::Simulated),
        };
        let file = DiskFile::new(inner.map_err(|e| io_error("opening", path, e))?, path, 0);
        file.appended.store(file.len()?, Ordering::Relaxed);
        Ok(file)
    }

    /// A whole file.
    pub fn read(&self, path: &Path) -> Result<Bytes> {
        match self {
            Self::Real => std::fs::read(path).map(Bytes::from).map_err(|e| io_error("reading", path, e)),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(_) => {
                let file = self.open(path)?;
                let bytes = usize::try_from(file.len()?).map_err(|e| io_error("reading", path, io::Error::other(e)))?;
                let mut all = vec![0; bytes];
                file.read_at(&mut all, 0)?;
                Ok(Bytes::from(all))
            }
        }
    }

    /// Whether there is a file or folder of that name.
    pub fn exists(&self, path: &Path) -> Result<bool> {
        match self {
            Self::Real => path.try_exists().map_err(|e| io_error("looking for", path, e)),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.exists(path).map_err(|e| io_error("looking for", path, e)),
        }
    }

    /// Makes the names in a folder durable: what was created, renamed and removed in it.
    pub fn sync_folder(&self, path: &Path) -> Result<()> {
        match self {
            Self::Real => std::fs::File::open(path).and_then(|folder| folder.sync_all()),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.sync_folder(path),
        }
        .map_err(|e| io_error("syncing folder", path, e))
    }

    /// Gives a file another name in the same folder, in one step; a file of that name is replaced.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        match self {
            Self::Real => std::fs::rename(from, to),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.rename(from, to),
        }
        .map_err(|e| io_error("renaming", from, e))
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> Result<()> {
        match self {
            Self::Real => std::fs::remove_file(path),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.remove(path),
        }
        .map_err(|e| io_error("removing", path, e))
    }

    /// The entries of a folder, by name. Names that are not Unicode are left out: Freshet writes none.
    pub fn list(&self, folder: &Path) -> Result<Vec<Entry>> {
        let listed = match self {
            Self::Real => list_real(folder),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => disk.list(folder),
        };
        let mut entries = listed.map_err(|e| io_error("listing", folder, e))?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Bytes that this process may still write below a folder.
    pub fn available_bytes(&self, folder: &Path) -> Result<u64> {
        match self {
            Self::Real => rustix::fs::statvfs(folder)
                .map(|found| found.f_bavail.saturating_mul(found.f_frsize))
                .map_err(|e| io_error("asking for room in", folder, e.into())),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(disk) => Ok(disk.available_bytes()),
        }
    }
}

impl DiskFile {
    fn new(inner: Inner, path: &Path, appended: u64) -> Self {
        let (path, appended) = (path.to_owned(), AtomicU64::new(appended));
        Self { inner, path, sync_failed: AtomicBool::new(false), appended }
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of `bytes` at a place. When it fails, part of them may be written.
    ///
    /// # Errors
    /// `Exhausted` when the disk is full, else `Unavailable`.
    pub fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.writable()?;
        match &self.inner {
            Inner::Real(file) => file.write_all_at(bytes, at),
            #[cfg(any(test, feature = "simulation"))]
            Inner::Simulated(file) => file.write_at(bytes, at),
        }
        .map_err(|e| io_error("writing", &self.path, e))
    }

    /// Writes all of `bytes` behind what was appended before, and tells where they begin.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at); the next append then goes to the same place.
    pub fn append(&self, bytes: &[u8]) -> Result<u64> {
        let at = self.appended.load(Ordering::Relaxed);
        self.write_at(bytes, at)?;
        self.appended.store(at + bytes.len() as u64, Ordering::Relaxed);
        Ok(at)
    }

    /// Fills `into` from a place.
    ///
    /// # Errors
    /// `Unavailable`; also when the file ends before.
    pub fn read_at(&self, into: &mut [u8], at: u64) -> Result<()> {
        match &self.inner {
            Inner::Real(file) => file.read_exact_at(into, at),
            #[cfg(any(test, feature = "simulation"))]
            Inner::Simulated(file) => file.read_at(into, at),
        }
        .map_err(|e| io_error("reading", &self.path, e))
    }

    /// Its length in bytes.
    pub fn len(&self) -> Result<u64> {
        match &self.inner {
            Inner::Real(file) => file.metadata().map(|about| about.len()),
            #[cfg(any(test, feature = "simulation"))]
            Inner::Simulated(file) => file.len(),
        }
        .map_err(|e| io_error("reading the length of", &self.path, e))
    }

    /// Whether it holds no byte.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts it, or makes it longer with zeros that take no room.
    pub fn set_len(&self, bytes: u64) -> Result<()> {
        self.writable()?;
        match &self.inner {
            Inner::Real(file) => file.set_len(bytes),
            #[cfg(any(test, feature = "simulation"))]
            Inner::Simulated(file) => file.set_len(bytes),
        }
        .map_err(|e| io_error("setting the length of", &self.path, e))
    }

    /// Where bytes other than holes go on, from a place; nothing when only holes follow. A system that does not know its
    /// holes answers the place itself.
    pub fn next_data(&self, at: u64) -> Result<Option<u64>> {
        let len = self.len()?;
        if at >= len {
            return Ok(None);
        }
        match &self.inner {
            Inner::Real(file) => match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
                Ok(found) => Ok(Some(found)),
                Err(rustix::io::Errno::NXIO) => Ok(None),
                Err(_) => Ok(Some(at)),
            },
            #[cfg(any(test, feature = "simulation"))]
            Inner::Simulated(_) => Ok(Some(at)),
        }
    }

    /// Makes its bytes and its length durable. When it fails, the file is of no more use for writing.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn sync_data(&self) -> Result<()> {
        self.writable()?;
        let synced = match &self.inner {
            Inner::Real(file) => file.sync_data(),
            #[cfg(any(test, feature = "simulation"))]
            Inner::Simulated(file) => file.sync_data(),
        };
        synced.map_err(|e| {
            self.sync_failed.store(true, Ordering::Release);
            io_error("syncing", &self.path, e)
        })
    }

    fn writable(&self) -> Result<()> {
        if self.sync_failed.load(Ordering::Acquire) {
            let source = io::Error::other("a sync of this file failed before: what it holds is not known");
            return Err(io_error("writing", &self.path, source));
        }
        Ok(())
    }
}

/// Appends, for writers of other crates' formats.
impl io::Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(|e| match e {
            SegmentError::Io { source, .. } => source,
            other => io::Error::other(other),
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn create_real_folders(path: &Path) -> Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.exists()).collect();
    for folder in missing.into_iter().rev() {
        match std::fs::create_dir(folder) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(io_error("creating folder", folder, e)),
        }
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Disk::Real.sync_folder(above)?;
    }
    Ok(())
}

fn list_real(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = match entry.metadata() {
            Ok(about) => about,
            // Removed between the listing and the question.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if let Ok(name) = entry.file_name().into_string() {
            entries.push(Entry { name, bytes: if about.is_dir() { 0 } else { about.len() }, folder: about.is_dir() });
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
