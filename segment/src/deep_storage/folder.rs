//! Deep storage in a folder of this machine. `object_store`'s own adapter for local files never syncs; this one does.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::ObjectMeta;
use crate::catalog::StoredFile;
use crate::error::{Result, SegmentError};
use crate::sealed::sha256_of;
use crate::time::Timestamp;

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn open(root: PathBuf) -> Result<Self> {
        let doing = |source| SegmentError::Io { doing: "make folder", path: String::new(), source };
        fs::create_dir_all(&root).map_err(doing)?;
        sync(&root).map_err(doing)?;
        Ok(Self { root })
    }

    /// Where a path lies. Paths are made by `paths::of` alone, and hold neither `..` nor an absolute part.
    pub(super) fn place(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Copies a file to its path: create-only, synced with every folder that was made for it.
    pub(super) fn put(&self, from: &Path, file: &StoredFile) -> Result<()> {
        let doing = |doing| move |source| io_error(doing, &file.path, source);
        let mut source = File::open(from).map_err(doing("read"))?;
        let to = self.place(&file.path);
        match self.create(&file.path, &mut source) {
            // The same content under the same name is the same upload, done before.
            Err(SegmentError::Exists { .. }) if fs::read(&to).is_ok_and(|found| sha256_of(&found) == file.sha256) => {
                File::open(&to).and_then(|target| target.sync_all()).map_err(doing("sync"))?;
                to.parent().map_or(Ok(()), sync).map_err(doing("sync folder of"))
            }
            done => done,
        }
    }

    /// Makes a file of all that `source` gives: create-only, synced with every folder that was made for it.
    pub(super) fn create(&self, path: &str, source: &mut dyn io::Read) -> Result<()> {
        let doing = |doing| move |source| io_error(doing, path, source);
        let to = self.place(path);
        if let Some(folder) = to.parent() {
            self.make_folder(folder).map_err(doing("make folder of"))?;
        }
        let mut target = OpenOptions::new().write(true).create_new(true).open(&to).map_err(doing("create"))?;
        io::copy(source, &mut target).map_err(doing("write"))?;
        target.sync_all().map_err(doing("sync"))?;
        if let Some(folder) = to.parent() {
            sync(folder).map_err(doing("sync folder of"))?;
        }
        Ok(())
    }

    /// Makes the folders that are missing; each is synced together with the one that now names it.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder == self.root || folder.is_dir() {
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            self.make_folder(above)?;
            match fs::create_dir(folder) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            sync(above)?;
        }
        Ok(())
    }

    pub(super) fn fetch(&self, path: &str) -> Result<Bytes> {
        fs::read(self.place(path)).map(Bytes::from).map_err(|e| io_error("read", path, e))
    }

    pub(super) fn get_range(&self, path: &str, start: u64, length: usize) -> Result<Bytes> {
        let file = File::open(self.place(path)).map_err(|e| io_error("read", path, e))?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, start).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => SegmentError::corrupt(format!("file `{path}`"), "it ends too early"),
            _ => io_error("read", path, e),
        })?;
        Ok(Bytes::from(bytes))
    }

    pub(super) fn head(&self, path: &str) -> Result<Option<ObjectMeta>> {
        match fs::metadata(self.place(path)) {
            Ok(meta) => Ok(Some(described(path.to_owned(), &meta))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error("look at", path, e)),
        }
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        let mut folders = vec![prefix.trim_end_matches('/').to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(self.place(&folder)) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(io_error("list", &folder, e)),
            };
            for entry in entries {
                let entry = entry.map_err(|e| io_error("list", &folder, e))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let meta = match entry.metadata() {
                    Ok(meta) => meta,
                    // Deleted since the folder was read.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(io_error("look at", &path, e)),
                };
                if meta.is_dir() {
                    folders.push(path);
                } else {
                    found.push(described(path, &meta));
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    pub(super) fn delete(&self, path: &str) -> Result<()> {
        let place = self.place(path);
        match fs::remove_file(&place) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(io_error("delete", path, e)),
        }
        place.parent().map_or(Ok(()), sync).map_err(|e| io_error("sync folder of", path, e))
    }
}

fn described(path: String, meta: &fs::Metadata) -> ObjectMeta {
    let since = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let millis = since.and_then(|d| i64::try_from(d.as_millis()).ok()).unwrap_or(0);
    ObjectMeta { path, bytes: meta.len(), modified: Timestamp::from_millis(millis) }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn io_error(doing: &'static str, path: &str, source: io::Error) -> SegmentError {
    match source.kind() {
        io::ErrorKind::NotFound => SegmentError::NotFound { what: "file", name: path.to_owned() },
        io::ErrorKind::AlreadyExists => SegmentError::Exists { what: "file", name: path.to_owned() },
        _ => SegmentError::Io { doing, path: path.to_owned(), source },
    }
}
