//! One process with all its parts, and the two runtimes they run on.
//!
//! Sockets live on the I/O runtime (two threads), queries on the compute runtime (one thread per core): a query that computes
//! for a second must not delay a health check. Planning recurses, so compute threads have a large stack. A [`Node`] is what every
//! handler gets; it owns nothing that a part owns itself.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use freshet_dashboards::assets::Folder;
use freshet_ingest::{Ingest, IngestOptions, SealOptions, Storage};
use freshet_query::{Engine, EngineOptions};
use freshet_segment::catalog::{Catalog, MemoryCatalog};
use freshet_segment::clock::{Clock, SystemClock};
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::disk::Disk;
use freshet_segment::timeline::Timeline;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, MemoryShares};
use crate::demo::Demo;
use crate::error::ServerError;
use crate::http::live::Hub;
use crate::http::tables::Marks;
use crate::queries::Places;
use crate::telemetry::Telemetry;

/// Threads that serve sockets.
const IO_THREADS: usize = 2;
/// Planning and type checks recurse with the depth of a query; running out of stack cannot be caught.
const COMPUTE_STACK_BYTES: usize = 16 << 20;
/// What every answer to "what is lost at a restart?" says.
pub const NOTICE_MEMORY: &str = "Rows live in memory only: a restart empties every table. Kafka tables fill again when their \
                                 spec is posted again; pushed rows are gone.";

/// The roles of this process.
pub const ROLES: [&str; 4] = ["broker", "historical", "ingester", "coordinator"];

/// Everything a handler needs.
pub struct Node {
    /// The settings.
    pub config: Config,
    /// Where the listener is bound; the port that was asked for may have been 0.
    pub address: SocketAddr,
    /// The shares of the memory.
    pub memory: MemoryShares,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// What is visible.
    pub timeline: Arc<Timeline>,
    /// What is known of tables and supervisors.
    pub catalog: Arc<dyn Catalog>,
    /// Answers SQL.
    pub engine: Arc<Engine>,
    /// Takes rows.
    pub ingest: Arc<Ingest>,
    /// Where queries run.
    pub compute: Handle,
    /// Places for queries.
    pub places: Places,
    /// What this node counts itself.
    pub telemetry: Telemetry,
    /// Live subscriptions.
    pub live: Hub,
    /// The demo stream.
    pub demo: Demo,
    /// What looks at tables remember.
    pub marks: Marks,
    /// The page from disk, with `--ui-dir`.
    pub ui: Option<Folder>,
    /// Cancelled when no new work is taken any more.
    pub stopping: CancellationToken,
    /// Accepted work that a stop waits for.
    pub work: TaskTracker,
}

impl Node {
    /// Puts the parts together. `address` is that of the bound listener.
    ///
    /// # Errors
    /// When a part does not start.
    pub fn new(config: Config, address: SocketAddr, io: Handle, compute: Handle) -> Result<Arc<Self>, ServerError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let timeline = Arc::new(Timeline::new());
        let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new());
        let memory = config.memory();
        let bytes = |share: u64| usize::try_from(share).unwrap_or(usize::MAX);
        let engine = Engine::new(EngineOptions {
            timeline: Arc::clone(&timeline),
            clock: Arc::clone(&clock),
            memory_bytes_max: bytes(memory.queries),
            threads: config.threads(),
            system: None,
        })
        .map_err(|error| ServerError::Start { what: "the query engine", reason: error.to_string() })?;
        let deep = DeepStorage::folder(config.data_dir.join("deep"), io.clone())
            .map_err(|error| ServerError::Start { what: "deep storage", reason: error.to_string() })?;
        let storage = Storage {
            deep,
            disk: Disk::Real,
            folder: config.data_dir.clone(),
            node_id: uuid::Uuid::new_v4().to_string(),
        };
        let ingest = Ingest::new(IngestOptions {
            storage,
            seal: SealOptions::default(),
            catalog: Arc::clone(&catalog),
            timeline: Arc::clone(&timeline),
            clock: Arc::clone(&clock),
            runtime: io,
            memory_bytes_max: bytes(memory.unsealed),
            limits: freshet_ingest::Limits::default(),
        });
        let ui = config.ui_dir.as_ref().map(Folder::open).transpose().map_err(|source| ServerError::Path {
            what: "cannot serve the page from",
            path: config.ui_dir.clone().unwrap_or_default(),
            source,
        })?;
        let stopping = CancellationToken::new();
        Ok(Arc::new(Self {
            places: Places::new(config.queries_running_max()),
            live: Hub::new(stopping.child_token()),
            demo: Demo::new(address, Arc::clone(&clock), config.demo_rate, config.seed),
            marks: Marks::default(),
            telemetry: Telemetry::default(),
            work: TaskTracker::new(),
            config,
            address,
            memory,
            clock,
            timeline,
            catalog,
            engine,
            ingest,
            compute,
            ui,
            stopping,
        }))
    }
}

/// The two runtimes. They end with the process, or when this is dropped outside of them.
pub struct Runtimes {
    /// Sockets, timers, sources' control.
    pub io: Runtime,
    /// Queries.
    pub compute: Runtime,
}

impl Runtimes {
    /// Starts both.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(threads: usize) -> Result<Self, ServerError> {
        let failed = |what| move |error: std::io::Error| ServerError::Start { what, reason: error.to_string() };
        let io = Builder::new_multi_thread()
            .worker_threads(IO_THREADS)
            .thread_name("freshet-io")
            .enable_all()
            .build()
            .map_err(failed("the I/O threads"))?;
        let compute = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("freshet-compute")
            .thread_stack_size(COMPUTE_STACK_BYTES)
            .enable_all()
            .build()
            .map_err(failed("the compute threads"))?;
        Ok(Self { io, compute })
    }
}

/// The data directory, held for the life of the process: two processes in one folder would destroy each other's files.
#[derive(Debug)]
pub struct DataDir {
    // The lock ends with the file's handle.
    _lock: File,
}

impl DataDir {
    /// Makes the folder where it is missing, and takes its lock.
    ///
    /// # Errors
    /// [`ServerError::Locked`] when another process has it; [`ServerError::Path`] when it cannot be made or written.
    pub fn open(path: &Path) -> Result<Self, ServerError> {
        let failed = |what| {
            let path = path.to_owned();
            move |source| ServerError::Path { what, path, source }
        };
        std::fs::create_dir_all(path).map_err(failed("cannot make the data directory"))?;
        let mut lock = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path.join("freshet.lock"))
            .map_err(failed("cannot write into the data directory"))?;
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
            Err(TryLockError::Error(source)) => return Err(failed("cannot lock the data directory")(source)),
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .and_then(|()| lock.flush());
        written.map_err(failed("cannot write into the data directory"))?;
        Ok(Self { _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_owner() {
        let path = std::env::temp_dir().join(format!("freshet-lock-{}", uuid::Uuid::new_v4()));
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(matches!(error, ServerError::Locked { .. }));
        let text = error.to_string();
        assert!(text.contains(&format!("(process {})", std::process::id())) && text.contains("--data-dir"), "{text}");
        drop(first);
        let again = DataDir::open(&path);
        assert!(again.is_ok(), "{again:?}");
        drop(again);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_data_directory_that_is_a_file_is_refused_by_name() {
        let path = std::env::temp_dir().join(format!("freshet-file-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, "x").unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(error.chain().contains(&*path.to_string_lossy()), "{}", error.chain());
        std::fs::remove_file(&path).unwrap();
    }
}
