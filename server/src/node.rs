//! One process with all its parts, and the two runtimes they run on.
//!
//! Sockets live on the I/O runtime (two threads), queries on the compute runtime (one thread per core): a query that computes
//! for a second must not delay a health check. Planning recurses, so compute threads have a large stack. A [`Node`] is what every
//! handler gets; it owns nothing that a part owns itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use freshet_dashboards::assets::Folder;
use freshet_ingest::{Ingest, IngestOptions, Storage};
use freshet_query::{Engine, EngineOptions, SystemSource};
use freshet_segment::catalog::{Catalog, SqliteCatalog, SupervisorRow};
use freshet_segment::clock::{Clock, SystemClock};
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::disk::Disk;
use freshet_segment::timeline::Timeline;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, DeepPlace, MemoryShares};
use crate::coordinator::{Coordinator, CoordinatorOptions};
use crate::data_dir::DataDir;
use crate::demo::Demo;
use crate::error::ServerError;
use crate::http::live::Hub;
use crate::http::tables::Marks;
use crate::queries::Places;
use crate::storage;
use crate::system::System;
use crate::tasks::Tasks;
use crate::telemetry::Telemetry;

/// Threads that serve sockets.
const IO_THREADS: usize = 2;
/// Planning and type checks recurse with the depth of a query; running out of stack cannot be caught.
const COMPUTE_STACK_BYTES: usize = 16 << 20;
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
    /// What is official: tables, supervisors, sealed segments.
    pub catalog: Arc<dyn Catalog>,
    /// The catalog's file, for the end.
    pub catalog_file: Arc<SqliteCatalog>,
    /// Files of sealed segments.
    pub deep: Arc<DeepStorage>,
    /// Where these files are.
    pub deep_place: DeepPlace,
    /// Supervisors that the catalog keeps and that could not be started again, by id.
    pub stranded: Arc<Mutex<BTreeMap<String, Stranded>>>,
    /// Answers SQL.
    pub engine: Arc<Engine>,
    /// Takes rows.
    pub ingest: Arc<Ingest>,
    /// Batch tasks.
    pub tasks: Tasks,
    /// Takes care of what is stored.
    pub coordinator: Arc<Coordinator>,
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

/// A supervisor that was not started again, and why. It stays in the catalog until it is terminated or posted anew.
#[derive(Debug, Clone)]
pub struct Stranded {
    /// What the catalog keeps of it.
    pub row: SupervisorRow,
    /// Why it does not run.
    pub reason: String,
}

impl Stranded {
    /// Its state, in the words of the supervisors that run.
    pub const STATE: &str = "UNHEALTHY_SUPERVISOR";
    /// What exactly is wrong with it.
    pub const DETAILED_STATE: &str = "NOT_RESTARTED";
}

impl Node {
    /// Opens catalog and deep storage, and puts the parts together. `address` is that of the bound listener. Nothing is
    /// recovered yet: see [`crate::startup`].
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn open(
        config: Config,
        data: &DataDir,
        address: SocketAddr,
        io: Handle,
        compute: Handle,
    ) -> Result<Arc<Self>, ServerError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let timeline = Arc::new(Timeline::new());
        let catalog_file = storage::open_catalog(data, &clock).await?;
        let catalog: Arc<dyn Catalog> = Arc::<SqliteCatalog>::clone(&catalog_file);
        let deep_place = config.deep_place()?;
        let deep = storage::open_deep(&deep_place, io.clone())?;
        deep.limit_copies(config.local_bytes_max.unwrap_or_else(|| data.room_for_copies()));
        let memory = config.memory();
        let bytes = |share: u64| usize::try_from(share).unwrap_or(usize::MAX);
        let ingest = Ingest::new(IngestOptions {
            catalog: Arc::clone(&catalog),
            timeline: Arc::clone(&timeline),
            clock: Arc::clone(&clock),
            runtime: io.clone(),
            memory_bytes_max: bytes(memory.unsealed),
            storage: Storage {
                deep: Arc::clone(&deep),
                disk: Disk::Real,
                folder: data.path().to_owned(),
                node_id: data.node_id().to_owned(),
            },
            seal: config.seal(),
            limits: freshet_ingest::Limits::default(),
        });
        let coordinator = Coordinator::new(CoordinatorOptions {
            catalog: Arc::clone(&catalog),
            timeline: Arc::clone(&timeline),
            storage: Arc::clone(&deep),
            clock: Arc::clone(&clock),
            runtime: io,
            staging: data.staging(),
            local: data.local(),
            settings: config.care(),
        });
        let stranded = Arc::<Mutex<_>>::default();
        let system: Arc<dyn SystemSource> = Arc::new(System {
            catalog: Arc::clone(&catalog),
            timeline: Arc::clone(&timeline),
            ingest: Arc::clone(&ingest),
            stranded: Arc::clone(&stranded),
            address,
            started: clock.now(),
            processors: config.threads(),
            memory_bytes: memory.total,
        });
        let engine = Engine::new(EngineOptions {
            timeline: Arc::clone(&timeline),
            clock: Arc::clone(&clock),
            memory_bytes_max: bytes(memory.queries),
            threads: config.threads(),
            system: Some(system),
        })
        .map_err(|error| ServerError::Start { what: "the query engine", reason: error.to_string() })?;
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
            tasks: Tasks::default(),
            telemetry: Telemetry::default(),
            work: TaskTracker::new(),
            config,
            address,
            memory,
            clock,
            timeline,
            catalog,
            catalog_file,
            deep,
            deep_place,
            stranded,
            engine,
            ingest,
            coordinator,
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
