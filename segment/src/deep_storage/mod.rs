//! Deep storage: where the files of sealed segments are kept for good.
//!
//! ```text
//! <table>/day=<UTC day of the start, or all>/<segment id>-<attempt>.{parquet,idx,json}
//! ```
//! A name is used once: each attempt has a random number in it, and every file is made create-only. The JSON comes last, so
//! a segment whose JSON is there is whole; what is official is in the catalog alone.

mod folder;
pub mod paths;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use self::folder::Folder;
use crate::catalog::{NewSegment, StoredFile};
use crate::error::{Result, SegmentError};
use crate::failpoint;
use crate::sealed::Sealed;
use crate::time::Timestamp;

/// What deep storage tells of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its path below the root.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written, by the storage's clock.
    pub modified: Timestamp,
}

/// A segment whose files are in deep storage, each looked at after it was written. Only such a one can be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSegment {
    segment: NewSegment,
}

impl StoredSegment {
    /// What the catalog is told of it.
    pub fn new_segment(&self) -> &NewSegment {
        &self.segment
    }
}

/// Files by path; written once, never changed.
#[derive(Debug)]
pub struct DeepStorage {
    place: Place,
    handle: Handle,
}

#[derive(Debug)]
enum Place {
    Folder(Arc<Folder>),
}

impl DeepStorage {
    /// A folder of this machine, made when it is not there. What is written is synced, file and folder.
    ///
    /// # Errors
    /// `Unavailable` when the folder cannot be made.
    pub fn folder(path: impl Into<PathBuf>, handle: Handle) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { place: Place::Folder(Arc::new(Folder::open(path.into())?)), handle }))
    }

    /// Uploads the files of a sealed segment: rows, index, then the JSON; each is looked at afterwards.
    ///
    /// # Errors
    /// `Unavailable` or `Exhausted` when the storage does not take a file; `Conflict` when a name is taken. The attempt is
    /// lost then: files of it may be left behind, nothing names them.
    pub async fn put(&self, sealed: &Sealed) -> Result<StoredSegment> {
        let segment = sealed.new_segment();
        let [parquet, index, meta] = &sealed.files;
        failpoint!("upload.begin")?;
        self.put_file(&parquet.path, &segment.files.parquet).await?;
        failpoint!("upload.parquet")?;
        self.put_file(&index.path, &segment.files.index).await?;
        failpoint!("upload.index")?;
        self.put_file(&meta.path, &segment.files.meta).await?;
        failpoint!("upload.meta")?;
        for file in segment.files.each() {
            let found = self.head(&file.path).await?.map(|meta| meta.bytes);
            if found != Some(file.bytes) {
                return Err(SegmentError::unavailable(
                    "deep storage",
                    format!("`{}` has {found:?} bytes after an upload of {}", file.path, file.bytes),
                ));
            }
        }
        failpoint!("upload.headed")?;
        Ok(StoredSegment { segment })
    }

    async fn put_file(&self, from: &Path, file: &StoredFile) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, from, file) = (Arc::clone(folder), from.to_owned(), file.clone());
                self.blocking(move || folder.put(&from, &file)).await
            }
        }
    }

    /// A file, whole.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub async fn fetch(&self, path: &str) -> Result<Bytes> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, path) = (Arc::clone(folder), path.to_owned());
                self.blocking(move || folder.fetch(&path)).await
            }
        }
    }

    /// Bytes of a file.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`; `Corrupt` when it ends before.
    pub async fn get_range(&self, path: &str, start: u64, length: usize) -> Result<Bytes> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, path) = (Arc::clone(folder), path.to_owned());
                self.blocking(move || folder.get_range(&path, start, length)).await
            }
        }
    }

    /// What is known of a file; `None` when it is not there.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn head(&self, path: &str) -> Result<Option<ObjectMeta>> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, path) = (Arc::clone(folder), path.to_owned());
                self.blocking(move || folder.head(&path)).await
            }
        }
    }

    /// All files below a folder, by path; of everything with an empty one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, prefix) = (Arc::clone(folder), prefix.to_owned());
                self.blocking(move || folder.list(&prefix)).await
            }
        }
    }

    /// Removes a file; one that is not there is removed already.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete(&self, path: &str) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, path) = (Arc::clone(folder), path.to_owned());
                self.blocking(move || folder.delete(&path)).await
            }
        }
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let joined = self.handle.spawn_blocking(work).await;
        joined.unwrap_or_else(|e| Err(SegmentError::unavailable("deep storage", e.to_string())))
    }

    /// Where a file lies on this machine. Blocks.
    #[expect(clippy::unnecessary_wraps, reason = "other places than a folder have to fetch it first")]
    pub(crate) fn local(&self, file: &StoredFile, _: &Path) -> Result<PathBuf> {
        match &self.place {
            Place::Folder(folder) => Ok(folder.place(&file.path)),
        }
    }
}
