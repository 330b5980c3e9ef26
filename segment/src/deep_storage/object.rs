//! Deep storage in an object store: S3 and what speaks its language, or memory for tests.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::io::AsyncReadExt;

use super::ObjectMeta;
use crate::catalog::StoredFile;
use crate::disk::io_error;
use crate::error::{Result, SegmentError};
use crate::sealed::sha256_of;
use crate::time::Timestamp;

/// Files up to this size go up in one request, which can be told to create only.
const ONE_REQUEST_BYTES: u64 = 64 << 20;
/// Bytes of a part of a larger one.
const PART_BYTES: usize = 16 << 20;

/// A store and the folder in it that is ours.
#[derive(Debug)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Whether the store compares a checksum of what it gets; one that does not is read back.
    checks_uploads: bool,
}

impl Objects {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: &str, checks_uploads: bool) -> Result<Self> {
        let prefix = Path::parse(prefix).map_err(|e| SegmentError::invalid("deep storage prefix", e.to_string()))?;
        Ok(Self { store, prefix, checks_uploads })
    }

    fn path(&self, path: &str) -> Result<Path> {
        let path = path.trim_end_matches('/');
        let whole = match (self.prefix.as_ref(), path) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}/{path}"),
        };
        // Parsed and not built from parts: these would be encoded a second time.
        Path::parse(whole).map_err(|e| SegmentError::invalid("deep storage path", e.to_string()))
    }

    /// Uploads a file: create-only when it goes in one request, else under a name that nobody else has.
    pub(super) async fn put(&self, from: &FilePath, file: &StoredFile) -> Result<()> {
        let to = self.path(&file.path)?;
        let taken = if file.bytes <= ONE_REQUEST_BYTES {
            let bytes = tokio::fs::read(from).await.map_err(|e| io_error("reading", from, e))?;
            let create = PutOptions::from(PutMode::Create);
            match self.store.put_opts(&to, PutPayload::from(bytes), create).await {
                Ok(_) => false,
                // Our own request may have been done and its answer lost: the content tells.
                Err(Error::AlreadyExists { .. }) => true,
                Err(error) => return Err(failed(&file.path, error)),
            }
        } else {
            let upload = self.store.put_multipart(&to).await.map_err(|e| failed(&file.path, e))?;
            self.put_parts(upload, from, &file.path).await?;
            false
        };
        if !taken && self.checks_uploads {
            return Ok(());
        }
        if sha256_of(&self.fetch(&file.path).await?) == file.sha256 {
            return Ok(());
        }
        if taken {
            return Err(SegmentError::Exists { what: "file", name: file.path.clone() });
        }
        Err(SegmentError::corrupt(format!("file `{}`", file.path), "what was read back is not what was uploaded"))
    }

    /// Makes an object of these bytes; the same ones under the same name are the same request, done before.
    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<()> {
        let create = PutOptions::from(PutMode::Create);
        match self.store.put_opts(&self.path(path)?, PutPayload::from(bytes.clone()), create).await {
            Ok(_) if self.checks_uploads => return Ok(()),
            Ok(_) | Err(Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(failed(path, error)),
        }
        if self.fetch(path).await? == bytes {
            return Ok(());
        }
        Err(SegmentError::Exists { what: "file", name: path.to_owned() })
    }

    async fn put_parts(&self, mut upload: Box<dyn MultipartUpload>, from: &FilePath, path: &str) -> Result<()> {
        let sent = self.send_parts(&mut *upload, from, path).await;
        if sent.is_err() {
            // Parts that are left behind cost until the store's own rule removes them; the first error is the one to tell.
            if let Err(error) = upload.abort().await {
                tracing::warn!(path, %error, "parts of a failed upload could not be removed");
            }
        }
        sent
    }

    async fn send_parts(&self, upload: &mut dyn MultipartUpload, from: &FilePath, path: &str) -> Result<()> {
        let reading = |e| io_error("reading", from, e);
        let mut file = tokio::fs::File::open(from).await.map_err(reading)?;
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            let mut window = (&mut file).take(PART_BYTES as u64);
            if window.read_to_end(&mut part).await.map_err(reading)? == 0 {
                break;
            }
            upload.put_part(PutPayload::from(part)).await.map_err(|e| failed(path, e))?;
        }
        upload.complete().await.map_err(|e| failed(path, e))?;
        Ok(())
    }

    pub(super) async fn fetch(&self, path: &str) -> Result<Bytes> {
        let answer = self.store.get(&self.path(path)?).await.map_err(|e| failed(path, e))?;
        answer.bytes().await.map_err(|e| failed(path, e))
    }

    pub(super) async fn get_range(&self, path: &str, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64).ok_or_else(|| too_short(path))?;
        let bytes = self.store.get_range(&self.path(path)?, start..end).await.map_err(|e| failed(path, e))?;
        if bytes.len() == length { Ok(bytes) } else { Err(too_short(path)) }
    }

    pub(super) async fn head(&self, path: &str) -> Result<Option<ObjectMeta>> {
        match self.store.head(&self.path(path)?).await {
            Ok(meta) => Ok(Some(described(path.to_owned(), &meta))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(path, error)),
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let folder = self.path(prefix)?;
        let found: Vec<_> = self.store.list(Some(&folder)).try_collect().await.map_err(|e| failed(prefix, e))?;
        let ours = |meta: &object_store::ObjectMeta| {
            let path = meta.location.as_ref();
            let below = match self.prefix.as_ref() {
                "" => Some(path),
                prefix => path.strip_prefix(prefix)?.strip_prefix('/'),
            };
            below.map(|path| described(path.to_owned(), meta))
        };
        let mut found: Vec<ObjectMeta> = found.iter().filter_map(ours).collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        match self.store.delete(&self.path(path)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(path, error)),
        }
    }
}

fn described(path: String, meta: &object_store::ObjectMeta) -> ObjectMeta {
    ObjectMeta { path, bytes: meta.size, modified: Timestamp::from_millis(meta.last_modified.timestamp_millis()) }
}

fn too_short(path: &str) -> SegmentError {
    SegmentError::corrupt(format!("file `{path}`"), "it ends too early")
}

fn failed(path: &str, error: Error) -> SegmentError {
    match error {
        Error::NotFound { .. } => SegmentError::NotFound { what: "file", name: path.to_owned() },
        Error::AlreadyExists { .. } => SegmentError::Exists { what: "file", name: path.to_owned() },
        other => SegmentError::unavailable("deep storage", format!("`{path}`: {other}")),
    }
}
