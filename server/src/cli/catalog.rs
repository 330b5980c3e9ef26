//! `freshet catalog`: is it sound, a copy of it, and making it again from a copy.
//!
//! All hold the directory's lock. `check` asks the catalog to look at itself, then looks for every file that an open segment names:
//! is it there, has it the right length and, with `--deep`, the right bytes. `rebuild` makes a new catalog file beside the old one,
//! which keeps its data under another name.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use freshet_segment::catalog::{Catalog as _, SqliteCatalog, StoredFile};
use freshet_segment::clock::{Clock, SystemClock};
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::error::SegmentError;
use freshet_segment::failpoint;
use sha2::{Digest as _, Sha256};

use super::offline;
use crate::config::{Config, DeepPlace, Flags, process_environment};
use crate::coordinator;
use crate::data_dir::DataDir;
use crate::error::ServerError;
use crate::storage;

/// Bytes of a file that are hashed at a time.
const PIECE_BYTES: usize = 8 << 20;
/// Findings that are printed; the rest is counted.
const PRINTED_MAX: usize = 100;

/// The subcommands of `freshet catalog`.
#[derive(Debug, Subcommand)]
pub(super) enum Catalog {
    /// Looks for anything that is not as it must be, in the catalog and in deep storage
    Check {
        #[command(flatten)]
        place: Place,
        /// Read every file and compare its checksum
        #[arg(long)]
        deep: bool,
    },
    /// Writes everything as lines of JSON
    Export {
        #[command(flatten)]
        place: Place,
        /// Where to; the standard output when absent
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Makes the catalog again from an export, or from the copies in deep storage; the old one is kept under another name
    Rebuild {
        #[command(flatten)]
        place: Place,
        /// An export, with any log entries after it; - is the standard input. Without it: the newest copy in deep storage that
        /// can be used, and the log after it
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
}

/// Which data directory, and where its files are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Configuration file of the server (TOML); its settings say where deep storage is
    #[arg(long, value_name = "FILE", env = "FRESHET_CONFIG")]
    config: Option<PathBuf>,
    /// Data directory of a server that does not run
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where sealed segments are kept: a folder, or s3://bucket/prefix [default: deep in the data directory]
    #[arg(long, value_name = "PLACE")]
    deep_storage: Option<String>,
    /// Address of an S3 service other than Amazon's
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<String>,
}

impl Place {
    fn config(&self) -> Result<Config, ServerError> {
        let flags = Flags {
            data_dir: self.data_dir.clone(),
            deep_storage: self.deep_storage.clone(),
            s3_endpoint: self.s3_endpoint.clone(),
            ..Flags::default()
        };
        Config::load(self.config.as_deref(), process_environment(), &flags)
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn unreadable(source: SegmentError) -> ServerError {
    ServerError::Storage { what: "the catalog cannot be read", source }
}

impl Catalog {
    pub(super) fn run(&self) -> Result<(), ServerError> {
        match self {
            Self::Check { place, deep } => {
                let config = place.config()?;
                let data = DataDir::open_used(&config.data_dir)?;
                offline::block_on(check(&config, &data, *deep))
            }
            Self::Export { place, out } => {
                let data = DataDir::open_used(&place.config()?.data_dir)?;
                let copy = offline::block_on(async {
                    let catalog = storage::open_catalog(&data, &clock()).await?;
                    let copy = catalog.export().await.map_err(unreadable);
                    catalog.close().await;
                    copy
                })?;
                write(out.as_deref(), &copy)
            }
            Self::Rebuild { place, from } => {
                let config = place.config()?;
                match from {
                    Some(from) => {
                        let data = DataDir::open_used(&config.data_dir)?;
                        rebuild(&data, &Copies::Given(read(from)?))
                    }
                    // The whole directory may be lost: what is needed is elsewhere.
                    None => rebuild(&DataDir::open(&config.data_dir)?, &Copies::DeepStorage(config.deep_place()?)),
                }
            }
        }
    }
}

async fn check(config: &Config, data: &DataDir, deep: bool) -> Result<(), ServerError> {
    let catalog = storage::open_catalog(data, &clock()).await?;
    let mut findings = catalog.check().await.map_err(unreadable)?;
    let storage = storage::open_deep(&config.deep_place()?, tokio::runtime::Handle::current())?;
    let (mut segments, mut files, mut bytes) = (0_u64, 0_u64, 0_u64);
    for table in catalog.tables().await.map_err(unreadable)? {
        for row in catalog.reading(table.id).await.map_err(unreadable)?.segments {
            segments += 1;
            for file in row.segment.files.each() {
                files += 1;
                bytes += file.bytes;
                if let Some(wrong) = look(&storage, file, deep).await {
                    findings.push(format!("segment {}: {wrong}", row.segment.id));
                }
            }
        }
    }
    catalog.close().await;
    let how = if deep { "read and compared" } else { "there with the right length" };
    println!("{segments} segments, {files} files, {bytes} bytes looked at ({how} unless listed)");
    for finding in findings.iter().take(PRINTED_MAX) {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(ServerError::Client(format!("{count} findings"))),
    }
}

/// What is wrong with a file.
async fn look(storage: &DeepStorage, file: &StoredFile, deep: bool) -> Option<String> {
    match storage.head(&file.path).await {
        Ok(Some(found)) if found.bytes == file.bytes => {}
        Ok(Some(found)) => return Some(format!("{} has {} bytes, not {}", file.path, found.bytes, file.bytes)),
        Ok(None) => return Some(format!("{} is missing", file.path)),
        Err(error) => return Some(format!("{} cannot be looked at: {error}", file.path)),
    }
    if !deep {
        return None;
    }
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < file.bytes {
        let length = usize::try_from(file.bytes - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
        match storage.get_range(&file.path, at, length).await {
            Ok(piece) => {
                hash.update(&piece);
                at += length as u64;
            }
            Err(error) => return Some(format!("{} cannot be read: {error}", file.path)),
        }
    }
    let same = hash.finalize().as_slice() == file.sha256;
    (!same).then(|| format!("{} is damaged: its bytes do not have the checksum that was published", file.path))
}

/// What a catalog is made from.
enum Copies {
    /// An export.
    Given(Vec<u8>),
    /// What the server has stored beside the data.
    DeepStorage(DeepPlace),
}

impl Copies {
    async fn fill(&self, catalog: &SqliteCatalog) -> freshet_segment::Result<()> {
        match self {
            Self::Given(copy) => catalog.rebuild(copy).await,
            Self::DeepStorage(place) => {
                let storage = storage::open_deep(place, tokio::runtime::Handle::current());
                let storage = storage.map_err(|error| SegmentError::unavailable("deep storage", error.chain()))?;
                let rebuilt = coordinator::rebuild(&storage, catalog).await?;
                for passed_over in &rebuilt.passed_over {
                    println!("passed over: {passed_over}");
                }
                let from = rebuilt.export.as_deref().unwrap_or("nothing but the log");
                println!("made from {from} and {} log entries", rebuilt.entries);
                Ok(())
            }
        }
    }
}

/// A new catalog under a name aside, filled and checked, takes the old one's place.
fn rebuild(data: &DataDir, copies: &Copies) -> Result<(), ServerError> {
    let path = data.catalog();
    let aside = data.new_catalog();
    remove(&aside)?;
    let checked = offline::block_on(async {
        let catalog = storage::open_catalog_at(&aside, &clock()).await?;
        let failed = |source| ServerError::Storage { what: "the catalog cannot be made from this copy", source };
        copies.fill(&catalog).await.map_err(failed)?;
        failpoint!("rebuild.filled").map_err(failed)?;
        let tables = catalog.tables().await.map_err(unreadable)?.len();
        let commit = catalog.last_commit().await.map_err(unreadable)?;
        // Closed its log is in the file, so the file alone can be moved.
        catalog.close().await;
        Ok((tables, commit))
    });
    let (tables, commit) = checked.inspect_err(|_| {
        // It is of no use, and the next attempt removes it first.
        let _left_over = remove(&aside);
    })?;
    let kept = free_name(&path)?;
    let had_one = path.exists();
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::Path { what, path, source }
    };
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (with_suffix(&path, suffix), with_suffix(&kept, suffix));
        if from.exists() {
            std::fs::rename(&from, &to).map_err(failed("cannot set aside", &from))?;
        }
    }
    // From here until the new one is in place there is none: a start meanwhile finds this one aside, and refuses.
    let stopped = |source| ServerError::Storage { what: "the catalog was not put in place", source };
    failpoint!("rebuild.aside").map_err(stopped)?;
    std::fs::rename(&aside, &path).map_err(failed("cannot put in place", &aside))?;
    failpoint!("rebuild.placed").map_err(stopped)?;
    let synced = std::fs::File::open(data.path()).and_then(|folder| folder.sync_all());
    synced.map_err(failed("cannot sync", data.path()))?;
    let old = if had_one { format!("the old one is {}", kept.display()) } else { "there was no old one".to_owned() };
    println!("the catalog is made again: {tables} tables, up to commit {commit}; {old}");
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(path: &Path) -> Result<(), ServerError> {
    for suffix in ["", "-wal", "-shm"] {
        let path = with_suffix(path, suffix);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ServerError::Path { what: "cannot remove", path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// `catalog.db.old-1`, or the first number that is free.
fn free_name(path: &Path) -> Result<PathBuf, ServerError> {
    let mut names = (1..10_000).map(|number| with_suffix(path, &format!(".old-{number}")));
    names.find(|name| !name.exists()).ok_or_else(|| {
        ServerError::Config(format!("there are ten thousand old catalogs beside {}: remove some", path.display()))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ServerError> {
    let mut copy = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut copy)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut copy))
    };
    read.map_err(|source| ServerError::Path { what: "cannot read", path: path.to_owned(), source })?;
    Ok(copy)
}

/// Whole or not at all: written aside, synced, renamed.
fn write(out: Option<&Path>, copy: &[u8]) -> Result<(), ServerError> {
    let Some(path) = out else {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(copy).and_then(|()| stdout.flush());
        return written.map_err(|error| ServerError::Client(format!("the copy could not be written: {error}")));
    };
    let aside = with_suffix(path, ".new");
    let written = std::fs::File::create(&aside)
        .and_then(|mut file| file.write_all(copy).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&aside, path));
    written.map_err(|source| ServerError::Path { what: "cannot write", path: path.to_owned(), source })
}
