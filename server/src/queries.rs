//! The way from a door to the engine: a place, the compute runtime, a bounded channel back.
//!
//! ```text
//! door (I/O runtime)          compute runtime
//!   open ── place? ──spawn──▶ Engine::run ─▶ batches ─▶ Encoder ─▶ chunks of ~64 KiB
//!   Answer { columns, info, chunks } ◀── head ──┘                     │
//!        chunks ◀──────────── channel of 4 ───────────────────────────┘
//! ```
//!
//! Encoding happens beside the query, not on the two threads that serve sockets. The head is sent only when the first batch is
//! there, so a query that fails at once still gets a status of its own. A query can be cancelled from the moment it arrives, and
//! its deadline counts from then. Dropping the [`Answer`] stops it; so does a reader that takes nothing for a minute. The channel
//! ends with an explicit mark: a task that died never looks like a result that is complete.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use freshet_query::error::QueryError;
use freshet_query::{Missing, OutputColumn, ResultStream};
use freshet_query::{QueryRequest, ReadingInfo};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::http::encode::{Encoder, Shape, unwritable};
use crate::http::reply::Problem;
use crate::node::Node;

/// Chunks between the query and the socket: with the socket's own buffer well below 4 MiB a connection.
const CHUNKS_MAX: usize = 4;
/// A chunk is sent when it has this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Rows encoded between two looks at the chunk's size.
const ROWS_AT_ONCE: usize = 1_024;
/// Queries that may wait for each one that may run.
const WAITING_PER_PLACE: usize = 8;

/// Places for running queries, and the queue before them.
#[derive(Debug)]
pub struct Places {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    arrivals: Arc<Mutex<Arrivals>>,
}

/// Queries that have not given their first row yet, by number.
#[derive(Debug, Default)]
struct Arrivals {
    next: u64,
    queries: HashMap<u64, (String, CancellationToken)>,
}

/// A query from its arrival to its first row. The engine knows it only once it has a place.
struct Arrival {
    number: u64,
    token: CancellationToken,
    all: Arc<Mutex<Arrivals>>,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.all.lock().queries.remove(&self.number);
    }
}

impl Places {
    /// `running_max` at a time, eight times as many waiting.
    #[must_use]
    pub fn new(running_max: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running_max)),
            waiting: AtomicUsize::new(0),
            waiting_max: running_max.saturating_mul(WAITING_PER_PLACE),
            arrivals: Arc::default(),
        }
    }

    fn arrive(&self, query_id: &str) -> Arrival {
        let mut arrivals = self.arrivals.lock();
        let (number, token) = (arrivals.next, CancellationToken::new());
        arrivals.next += 1;
        arrivals.queries.insert(number, (query_id.to_owned(), token.clone()));
        Arrival { number, token, all: Arc::clone(&self.arrivals) }
    }

    fn cancel(&self, query_id: &str) -> usize {
        let arrivals = self.arrivals.lock();
        let found = arrivals.queries.values().filter(|(id, _)| id == query_id);
        found.map(|(_, token)| token.cancel()).count()
    }

    /// Waits for a place, or says at once that the queue is full.
    async fn take(&self) -> Result<OwnedSemaphorePermit, Problem> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.waiting_max {
            return Err(Problem::busy(format!("{before} queries are waiting for a place already"))
                .hint("ask again in a moment, or raise queries_running_max"));
        }
        let acquired = Arc::clone(&self.running).acquire_owned().await;
        acquired.map_err(|_| Problem::unavailable("the server is shutting down"))
    }
}

enum Chunk {
    Data(Bytes),
    Failed(Box<QueryError>),
    End,
}

struct Head {
    columns: Vec<OutputColumn>,
    info: ReadingInfo,
    missing: Vec<Missing>,
}

/// A running query: what it gives, and its encoded rows as they come. Dropping it stops the query.
pub struct Answer {
    /// Output columns in order.
    pub columns: Vec<OutputColumn>,
    /// What was read.
    pub info: ReadingInfo,
    /// What it lacks, where the query allows that.
    pub missing: Vec<Missing>,
    chunks: mpsc::Receiver<Chunk>,
}

impl Answer {
    /// The next piece of the body; `None` after the last one.
    ///
    /// # Errors
    /// The query's failure, or a 500 when its task died.
    pub async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        match self.chunks.recv().await {
            Some(Chunk::Data(bytes)) => Some(Ok(bytes)),
            Some(Chunk::Failed(error)) => Some(Err(Problem::from(*error))),
            Some(Chunk::End) => None,
            None => Some(Err(died())),
        }
    }

    /// The pieces as a stream that ends after the first failure.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Problem>> + Send + 'static {
        futures::stream::unfold(Some(self), |answer| async {
            let mut answer = answer?;
            match answer.next().await {
                Some(Ok(bytes)) => Some((Ok(bytes), Some(answer))),
                Some(Err(problem)) => Some((Err(problem), None)),
                None => None,
            }
        })
        // A layer that packs the body asks again after the end.
        .fuse()
    }

    /// All pieces in one, refusing more than `bytes_max`.
    ///
    /// # Errors
    /// The query's failure, or the limit.
    pub async fn collect(mut self, bytes_max: usize) -> Result<Bytes, Problem> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if all.len() + piece.len() > bytes_max {
                return Err(Problem::invalid(format!("the result is larger than {bytes_max} bytes"))
                    .hint("group to fewer rows, choose larger buckets, or add a LIMIT"));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }
}

/// Ends all queries of this id, those that wait for a place too; says how many were found.
pub fn cancel(node: &Node, query_id: &str) -> usize {
    node.places.cancel(query_id) + node.engine.cancel(query_id)
}

/// Waits for a place, and takes the time that it took off the query's own.
async fn admit(node: &Node, arrival: &Arrival, request: &mut QueryRequest) -> Result<OwnedSemaphorePermit, Problem> {
    let began = Instant::now();
    let timeout = request.options.timeout;
    let passed = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let permit = tokio::select! {
        biased;
        permit = node.places.take() => permit.inspect_err(|_| {
            node.telemetry.queries_refused.fetch_add(1, Ordering::Relaxed);
        })?,
        () = arrival.token.cancelled() => return Err(QueryError::Cancelled.into()),
        () = passed => return Err(QueryError::Timeout { after: timeout.unwrap_or_default() }.into()),
    };
    let waited = began.elapsed();
    // One that did not wait keeps its time to the millisecond, because an error names it.
    if waited > Duration::from_millis(1) {
        request.options.timeout = timeout.map(|timeout| timeout.saturating_sub(waited));
    }
    Ok(permit)
}

/// Runs one query and encodes its rows into `shape`.
///
/// # Errors
/// Everything that fails before the first byte.
pub async fn open(node: &Arc<Node>, mut request: QueryRequest, shape: Shape) -> Result<Answer, Problem> {
    let started = Instant::now();
    let arrival = node.places.arrive(&request.query_id);
    let permit = admit(node, &arrival, &mut request).await?;
    let (head_sender, head) = oneshot::channel();
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let task = {
        let node = Arc::clone(node);
        async move {
            let _permit = permit;
            let outcome = drive(&node, request, shape, arrival, head_sender, &sender).await;
            if outcome == Outcome::Failed {
                node.telemetry.queries_failed.fetch_add(1, Ordering::Relaxed);
            }
            node.telemetry.queries.record(started.elapsed());
        }
    };
    node.work.spawn_on(task, &node.compute);
    match head.await {
        Ok(Ok(Head { columns, info, missing })) => Ok(Answer { columns, info, missing, chunks }),
        Ok(Err(error)) => Err(Problem::from(error)),
        Err(_) => Err(died()),
    }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Complete,
    Failed,
}

async fn drive(
    node: &Node,
    request: QueryRequest,
    shape: Shape,
    arrival: Arrival,
    mut head: oneshot::Sender<Result<Head, QueryError>>,
    chunks: &mpsc::Sender<Chunk>,
) -> Outcome {
    let began = tokio::select! {
        began = begin(node, request) => began,
        () = arrival.token.cancelled() => Err(QueryError::Cancelled),
        () = head.closed() => return Outcome::Failed,
    };
    drop(arrival);
    let (mut stream, first) = match began {
        Ok(began) => began,
        Err(error) => {
            // Nobody is left to tell when the door is gone.
            let _gone = head.send(Err(error));
            return Outcome::Failed;
        }
    };
    let columns = stream.columns().to_vec();
    let info = stream.reading_info().clone();
    // Complete, because the first batch is there.
    let missing = stream.missing();
    let mut encoder = match Encoder::new(shape, &columns, &info) {
        Ok(encoder) => encoder,
        Err(error) => {
            let _gone = head.send(Err(encoding(&error)));
            return Outcome::Failed;
        }
    };
    if head.send(Ok(Head { columns, info, missing })).is_err() {
        return Outcome::Failed;
    }
    let mut next = first;
    while let Some(batch) = next {
        let outcome = match batch {
            Ok(batch) => send_batch(node, &mut encoder, &batch, chunks).await,
            Err(error) => Err(Some(error)),
        };
        if let Err(failure) = outcome {
            if let Some(error) = failure {
                tracing::info!(%error, "a query failed after its first rows");
                let _gone = chunks.send_timeout(Chunk::Failed(Box::new(error)), node.config.reader_stall()).await;
            }
            return Outcome::Failed;
        }
        next = tokio::select! {
            next = stream.next() => next,
            () = chunks.closed() => return Outcome::Failed,
        };
    }
    if encoder.finish().is_err() || send(node, &mut encoder, chunks).await.is_err() {
        return Outcome::Failed;
    }
    match chunks.send_timeout(Chunk::End, node.config.reader_stall()).await {
        Ok(()) => Outcome::Complete,
        Err(_) => Outcome::Failed,
    }
}

type Began = (ResultStream, Option<Result<arrow::array::RecordBatch, QueryError>>);

/// Plans, and waits for the first batch, the end or the failure, whichever comes first.
async fn begin(node: &Node, request: QueryRequest) -> Result<Began, QueryError> {
    let mut stream = node.engine.run(request).await?;
    // Nothing of it has run yet.
    if let Some(error) = unwritable(&stream) {
        return Err(error);
    }
    match stream.next().await {
        Some(Err(error)) => Err(error),
        first => Ok((stream, first)),
    }
}

/// Encodes one batch; `Err(None)` when the reader is gone.
async fn send_batch(
    node: &Node,
    encoder: &mut Encoder,
    batch: &arrow::array::RecordBatch,
    chunks: &mpsc::Sender<Chunk>,
) -> Result<(), Option<QueryError>> {
    let mut from = 0;
    while from < batch.num_rows() {
        let rows = ROWS_AT_ONCE.min(batch.num_rows() - from);
        encoder.push(&batch.slice(from, rows)).map_err(|error| Some(encoding(&error)))?;
        from += rows;
        if encoder.len() >= CHUNK_BYTES {
            send(node, encoder, chunks).await.map_err(|()| None)?;
        }
    }
    Ok(())
}

async fn send(node: &Node, encoder: &mut Encoder, chunks: &mpsc::Sender<Chunk>) -> Result<(), ()> {
    let bytes = encoder.take();
    if bytes.is_empty() {
        return Ok(());
    }
    node.telemetry.result_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    chunks.send_timeout(Chunk::Data(bytes), node.config.reader_stall()).await.map_err(|_| ())
}

fn encoding(error: &arrow::error::ArrowError) -> QueryError {
    QueryError::Internal { message: format!("the result cannot be written: {error}") }
}

fn died() -> Problem {
    Problem::internal("the query ended without an answer; the log says where")
        .hint("this is a defect of Freshet: please report it with the request's id")
}
