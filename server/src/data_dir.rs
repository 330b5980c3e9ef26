//! The data directory: its lock, what it holds, and its name.
//!
//! ```text
//! freshet.lock   held for the life of the process       journal/<table number>/   pushed rows that are not sealed yet
//! format         version of this layout                 staging/                  segments being written; emptied at each start
//! node_id        names the directory for ever           local/                    copies of files of a remote deep storage
//! catalog.db     what is official                       deep/                     sealed segments, unless they are elsewhere
//! ```
//! Two processes in one directory would destroy each other's files, so the lock comes before everything else, also for the
//! subcommands that work on a directory without a server. The version and the name are small texts that stand twice in their
//! file: a changed byte in them must not look like another directory.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use freshet_segment::disk::Disk;

use crate::error::ServerError;

/// Version of the layout that this build reads and writes.
const FORMAT: u32 = 1;

/// A data directory, locked.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    node_id: String,
    // The lock ends with the file's handle.
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is missing, takes its lock, and gives it its name the first time.
    ///
    /// # Errors
    /// [`ServerError::Locked`] when another process has it; [`ServerError::Path`] when it cannot be made or written;
    /// [`ServerError::Config`] when a newer version wrote it, or when its version or name is damaged.
    pub fn open(path: &Path) -> Result<Self, ServerError> {
        std::fs::create_dir_all(path).map_err(failed("cannot make the data directory", path))?;
        let path =
            std::path::absolute(path).map_err(failed("cannot tell the absolute path of the data directory", path))?;
        let lock = lock(&path)?;
        let format = remembered(&path, "format", || FORMAT.to_string())?;
        match format.parse::<u32>() {
            Ok(FORMAT) => {}
            Ok(newer) if newer > FORMAT => {
                return Err(ServerError::Config(format!(
                    "the data directory {} was written by a newer version (format {newer}, this one knows {FORMAT}): take that version",
                    path.display()
                )));
            }
            _ => return Err(damaged(&path.join("format"))),
        }
        let node_id = remembered(&path, "node_id", || uuid::Uuid::new_v4().simple().to_string())?;
        if node_id.len() != 32 || !node_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(damaged(&path.join("node_id")));
        }
        Ok(Self { path, node_id, _lock: lock })
    }

    /// As [`Self::open`], for a directory that a server has used: a mistyped name makes no new one.
    ///
    /// # Errors
    /// As [`Self::open`], and [`ServerError::Config`] when there is no such directory.
    pub fn open_used(path: &Path) -> Result<Self, ServerError> {
        if !path.join("format").exists() {
            return Err(ServerError::Config(format!(
                "{} is no data directory of freshet: name the one that the server is started with",
                path.display()
            )));
        }
        Self::open(path)
    }

    /// Where it is, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name: 32 hexadecimal digits, drawn when it was made.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// The catalog's file.
    #[must_use]
    pub fn catalog(&self) -> PathBuf {
        self.path.join("catalog.db")
    }

    /// The file of a catalog that is being made again.
    #[must_use]
    pub fn new_catalog(&self) -> PathBuf {
        self.path.join("catalog.db.new")
    }

    /// Half of the room on the disk, what the local copies take now included.
    #[must_use]
    pub fn room_for_copies(&self) -> u64 {
        let entries = std::fs::read_dir(self.local()).into_iter().flatten().flatten();
        let taken: u64 = entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum();
        // Where the disk does not tell, it is not this that can keep it from filling up.
        Disk::Real.available_bytes(&self.path).map_or(u64::MAX, |free| (free.saturating_add(taken)) / 2)
    }

    /// The folder of all journals.
    #[must_use]
    pub fn journals(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The folder in which files are written before they are stored.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }

    /// The folder of local copies of files that are elsewhere.
    #[must_use]
    pub fn local(&self) -> PathBuf {
        self.path.join("local")
    }

    /// Removes what a process that ended in the middle of a seal has left behind; nothing needs it.
    ///
    /// # Errors
    /// [`ServerError::Path`].
    pub fn empty_staging(&self) -> Result<(), ServerError> {
        let staging = self.staging();
        match std::fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("cannot empty", &staging)(error));
            }
            _ => {}
        }
        std::fs::create_dir_all(&staging).map_err(failed("cannot make", &staging))
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ServerError + use<> {
    let path = path.to_owned();
    move |source| ServerError::Path { what, path, source }
}

fn damaged(path: &Path) -> ServerError {
    ServerError::Config(format!(
        "{} is damaged: it should hold one line twice; put back the file from a copy of the data directory",
        path.display()
    ))
}

fn lock(path: &Path) -> Result<File, ServerError> {
    let mut lock = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(path.join("freshet.lock"))
        .map_err(failed("cannot write into the data directory", path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message: who holds it may not be readable.
            let _unknown = lock.read_to_string(&mut holder);
            let holder = holder.trim();
            let by = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
            return Err(ServerError::Locked { path: path.to_owned(), by });
        }
        Err(TryLockError::Error(source)) => return Err(failed("cannot lock the data directory", path)(source)),
    }
    let written = lock
        .set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .and_then(|()| lock.flush());
    written.map_err(failed("cannot write into the data directory", path))?;
    Ok(lock)
}

/// The text in a file of the directory, which is written the first time: aside, synced, renamed, and the folder synced.
fn remembered(folder: &Path, name: &str, make: impl FnOnce() -> String) -> Result<String, ServerError> {
    let path = folder.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let line = text.lines().next().unwrap_or_default().to_owned();
            return if text == twice(&line) { Ok(line) } else { Err(damaged(&path)) };
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("cannot read", &path)(error)),
    }
    let line = make();
    let aside = folder.join(format!("{name}.new"));
    let written = File::create(&aside)
        .and_then(|mut file| file.write_all(twice(&line).as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&aside, &path))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(failed("cannot write", &path))?;
    Ok(line)
}

fn twice(line: &str) -> String {
    format!("{line}\n{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("freshet-data-{}", uuid::Uuid::new_v4())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_data_directory_has_one_owner() {
        let folder = Folder::new();
        let first = DataDir::open(&folder.0).unwrap();
        let error = DataDir::open(&folder.0).unwrap_err();
        assert!(matches!(error, ServerError::Locked { .. }));
        let text = error.to_string();
        assert!(text.contains(&format!("(process {})", std::process::id())) && text.contains("--data-dir"), "{text}");
        drop(first);
        let again = DataDir::open(&folder.0);
        assert!(again.is_ok(), "{again:?}");
    }

    #[test]
    fn a_data_directory_that_is_a_file_is_refused_by_name() {
        let folder = Folder::new();
        std::fs::write(&folder.0, "x").unwrap();
        let error = DataDir::open(&folder.0).unwrap_err();
        assert!(error.chain().contains(&*folder.0.to_string_lossy()), "{}", error.chain());
        std::fs::remove_file(&folder.0).unwrap();
    }

    #[test]
    fn a_data_directory_keeps_its_name_and_others_have_another() {
        let (folder, other) = (Folder::new(), Folder::new());
        let name = DataDir::open(&folder.0).unwrap().node_id().to_owned();
        assert_eq!(DataDir::open(&folder.0).unwrap().node_id(), name);
        assert_ne!(DataDir::open(&other.0).unwrap().node_id(), name);
        assert_eq!(name.len(), 32);
    }

    #[test]
    fn every_changed_bit_of_its_name_and_version_is_found() {
        let folder = Folder::new();
        drop(DataDir::open(&folder.0).unwrap());
        for name in ["node_id", "format"] {
            let path = folder.0.join(name);
            let good = std::fs::read(&path).unwrap();
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &bad).unwrap();
                let error = DataDir::open(&folder.0).expect_err("damage").to_string();
                assert!(error.contains("is damaged") && error.contains(name), "bit {bit}: {error}");
            }
            std::fs::write(&path, &good[..good.len() / 2]).unwrap();
            assert!(DataDir::open(&folder.0).is_err(), "{name} cut short");
            std::fs::write(&path, &good).unwrap();
        }
        assert!(DataDir::open(&folder.0).is_ok());
    }

    #[test]
    fn a_newer_layout_and_a_mistyped_folder_are_refused() {
        let folder = Folder::new();
        let error = DataDir::open_used(&folder.0).unwrap_err().to_string();
        assert!(error.contains("no data directory") && !folder.0.exists(), "{error}");
        drop(DataDir::open(&folder.0).unwrap());
        std::fs::write(folder.0.join("format"), "2\n2\n").unwrap();
        let error = DataDir::open_used(&folder.0).unwrap_err().to_string();
        assert!(error.contains("newer version"), "{error}");
    }

    #[test]
    fn staging_is_emptied() {
        let folder = Folder::new();
        let data = DataDir::open(&folder.0).unwrap();
        data.empty_staging().unwrap();
        std::fs::write(data.path().join("staging/left.parquet"), "x").unwrap();
        data.empty_staging().unwrap();
        assert_eq!(std::fs::read_dir(data.path().join("staging")).unwrap().count(), 0);
    }
}
