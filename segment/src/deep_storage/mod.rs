//! Deep storage: where the files of sealed segments are kept for good.
//!
//! ```text
//! <table>/day=<UTC day of the start, or all>/<segment id>-<attempt>.{parquet,idx,json}
//! ```
//! A name is used once: each attempt has a random number in it, and every file is made create-only. The JSON comes last, so
//! a segment whose JSON is there is whole; what is official is in the catalog alone.

mod cache;
mod copies;
mod folder;
mod object;
pub mod paths;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::memory::InMemory;
use object_store::{ObjectStore, RetryConfig};
use tokio::runtime::{Handle, RuntimeFlavor};

use self::copies::Copies;
pub(crate) use self::copies::{Room, now_ms};
use self::folder::Folder;
use self::object::Objects;
use crate::catalog::{NewSegment, StoredFile};
use crate::error::{Result, SegmentError};
use crate::failpoint;
use crate::sealed::{Sealed, SealedSegment};
use crate::time::Timestamp;

/// Times that a request which may be repeated is repeated.
const RETRIES_MAX: usize = 5;
/// How long requests are repeated: an outage beyond that is the caller's to wait for.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

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
    copies: Copies,
}

#[derive(Debug)]
enum Place {
    Folder(Arc<Folder>),
    Objects(Arc<Objects>),
}

/// An S3 bucket, or one of a server that speaks S3.
#[derive(Clone)]
pub struct S3Config {
    /// Address of the server; Amazon's own for the region when there is none.
    pub endpoint: Option<String>,
    /// The bucket; it has to be there.
    pub bucket: String,
    /// Folder in the bucket; may be empty.
    pub prefix: String,
    /// The region.
    pub region: String,
    /// Whether the server may be asked without TLS.
    pub allow_http: bool,
    /// Key and secret; from the environment or the machine's role when there are none.
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl DeepStorage {
    /// A folder of this machine, made when it is not there. What is written is synced, file and folder.
    ///
    /// # Errors
    /// `Unavailable` when the folder cannot be made.
    pub fn folder(path: impl Into<PathBuf>, handle: Handle) -> Result<Arc<Self>> {
        Ok(Self::of(Place::Folder(Arc::new(Folder::open(path.into())?)), handle))
    }

    /// Any object store, below a folder of it. What is uploaded is read back and compared.
    ///
    /// # Errors
    /// `Invalid` when the prefix is no path.
    pub fn object_store(store: Arc<dyn ObjectStore>, prefix: &str, handle: Handle) -> Result<Arc<Self>> {
        let objects = Objects::new(store, prefix, false)?;
        Ok(Self::of(Place::Objects(Arc::new(objects)), handle))
    }

    /// A bucket. Uploads carry a SHA-256 that the server compares; small files are created conditionally.
    ///
    /// # Errors
    /// `Invalid` when the configuration does not make a client.
    pub fn s3(config: &S3Config, handle: Handle) -> Result<Arc<Self>> {
        let mut builder = match &config.credentials {
            Some((key, secret)) => AmazonS3Builder::new().with_access_key_id(key).with_secret_access_key(secret),
            None => AmazonS3Builder::from_env(),
        };
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        let store = builder
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_allow_http(config.allow_http)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retry)
            .build()
            .map_err(|e| SegmentError::invalid("deep storage", e.to_string()))?;
        let objects = Objects::new(Arc::new(store), &config.prefix, true)?;
        Ok(Self::of(Place::Objects(Arc::new(objects)), handle))
    }

    fn of(place: Place, handle: Handle) -> Arc<Self> {
        Arc::new(Self { place, handle, copies: Copies::default() })
    }

    /// Sets how many bytes the local copies of remote files may take; without it they are not bounded.
    pub fn limit_copies(&self, bytes_max: u64) {
        self.copies.limit(bytes_max);
    }

    /// Deletes copies that are too many; gives of how many segments. Those that a query holds stay.
    ///
    /// # Errors
    /// None but that of a failpoint.
    pub fn trim_copies(&self, cache: &Path) -> Result<u64> {
        if self.is_local() { Ok(0) } else { self.copies.trim(cache) }
    }

    /// Of how many segments copies were deleted to make room.
    pub fn copies_evicted(&self) -> u64 {
        self.copies.evicted()
    }

    /// Makes room for the copies of a segment that is about to be opened.
    pub(crate) fn room(&self, segment: &Arc<SealedSegment>, cache: &Path) -> Result<Option<Room<'_>>> {
        if self.is_local() { Ok(None) } else { self.copies.room(cache, segment).map(Some) }
    }

    /// A store in memory, for tests.
    pub fn memory(handle: Handle) -> Arc<Self> {
        Self::object_store(Arc::new(InMemory::new()), "", handle).expect("the empty prefix is a path")
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
            Place::Objects(objects) => objects.put(from, file).await,
        }
    }

    /// Makes a file of these bytes; another one of the name must not be there.
    ///
    /// # Errors
    /// `Conflict` when the name is taken; `Unavailable` or `Exhausted`.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, path) = (Arc::clone(folder), path.to_owned());
                let create = move || match folder.create(&path, &mut &*bytes) {
                    Err(SegmentError::Exists { .. }) if folder.fetch(&path).is_ok_and(|found| found == bytes) => Ok(()),
                    done => done,
                };
                self.blocking(create).await
            }
            Place::Objects(objects) => objects.create(path, bytes).await,
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
            Place::Objects(objects) => objects.fetch(path).await,
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
            Place::Objects(objects) => objects.get_range(path, start, length).await,
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
            Place::Objects(objects) => objects.head(path).await,
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
            Place::Objects(objects) => objects.list(prefix).await,
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
            Place::Objects(objects) => objects.delete(path).await,
        }
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let joined = self.handle.spawn_blocking(work).await;
        joined.unwrap_or_else(|e| Err(SegmentError::unavailable("deep storage", e.to_string())))
    }

    /// Where a file lies on this machine; fetched into `cache` when it is elsewhere. Blocks.
    pub(crate) fn local(&self, file: &StoredFile, cache: &Path) -> Result<PathBuf> {
        match &self.place {
            Place::Folder(folder) => Ok(folder.place(&file.path)),
            Place::Objects(objects) => {
                cache::local(cache, file, |start, length| self.range(objects, file, start, length))
            }
        }
    }

    /// Reads a file where it is kept and compares its hash; of a file that is elsewhere also the local copy, if there is
    /// one, which is given up when it is another one. Blocks.
    ///
    /// # Errors
    /// `Corrupt` or `NotFound` when the file is not what was written; `Unavailable`.
    pub(crate) fn check(&self, file: &StoredFile, cache: &Path) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => crate::sealed::check_hash(&folder.place(&file.path), file),
            Place::Objects(objects) => {
                cache::check(cache, file);
                cache::read(file, |start, length| self.range(objects, file, start, length), |_| Ok(()))
            }
        }
    }

    /// Whether files are on this machine in the first place.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.place, Place::Folder(_))
    }

    fn range(&self, objects: &Arc<Objects>, file: &StoredFile, start: u64, length: usize) -> Result<Bytes> {
        let (objects, path) = (Arc::clone(objects), file.path.clone());
        self.wait(async move { objects.get_range(&path, start, length).await })
    }

    /// Gives up the local copy of a damaged file. Says whether there is another copy to go back to.
    pub(crate) fn forget(&self, file: &StoredFile, cache: &Path) -> bool {
        match &self.place {
            Place::Folder(_) => false,
            Place::Objects(_) => {
                cache::forget(cache, file);
                true
            }
        }
    }

    /// Waits for work of the storage on a thread that may block. The work runs on the storage's own runtime; a worker of
    /// a runtime that waits here hands its other tasks on, so that one runtime may be both.
    ///
    /// # Errors
    /// As the work; `Unavailable` when the runtime is shutting down.
    pub fn wait<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let (send, receive) = sync_channel(1);
        self.handle.spawn(async move {
            // Nobody waits any more when the waiting thread is gone.
            let _ = send.send(work.await);
        });
        let receive = || {
            let ended = |_| Err(SegmentError::unavailable("deep storage", "its runtime is shutting down"));
            receive.recv().unwrap_or_else(ended)
        };
        match Handle::try_current() {
            Ok(here) if here.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(receive),
            _ => receive(),
        }
    }
}

#[cfg(test)]
mod tests;
