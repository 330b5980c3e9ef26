//! A push on its caller's thread: read, claim its key, hand it to the table's push task, wait for the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use freshet_segment::failpoint;
use freshet_segment::id::TableName;
use freshet_segment::journal::{Begin, Claim, IdempotencyWindow};
use freshet_segment::time::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::{Ingest, PUBLISH_TIMEOUT};
use crate::counts::Counts;
use crate::decode::Rows;
use crate::error::{IngestError, Result, shorten};
use crate::source::push::{
    Acknowledge, Body, Job, KEY_BYTES_MAX, OnError, PUSH_STREAMS, PushHeader, PushReply, PushRequest, PushTask,
    StoreJob, account_of, find_time_field, rejected_rows, stream,
};
use crate::spec::DimensionSpec;
use crate::tables::Table;
use crate::task::panic_text;

/// How long a retry waits for the push it repeats.
const KEY_WAIT: Duration = Duration::from_secs(10);

impl Ingest {
    /// Stores the rows of a body. Call it where computing is allowed: the body is read on the caller's thread.
    ///
    /// # Errors
    /// `Invalid` when the body, or with [`OnError::Reject`] any row of it, cannot be read; `Exhausted` when memory is
    /// used up; `Unavailable` while stopping; or of the catalog. Nothing is stored then.
    pub async fn push(&self, request: PushRequest) -> Result<PushReply> {
        self.refuse_while_stopping()?;
        let room = self.node.budget.reserve(request.body.len())?;
        let body = Body::read(&request.body)?;
        let opened = self.tables.open(&request.table).await?;
        let time_field = match self.time_field(&request, opened.as_deref()) {
            Some(field) => field,
            None => find_time_field(&request.body, &body.records)?,
        };
        let declared = self.declared(&request.table);
        let mut header = PushHeader::new(&time_field, &declared, request.on_error, request.received);
        let mut rows = Rows::new(header.rules()?);
        if let Some(table) = &opened {
            rows.begin(&table.schema());
        }
        PushHeader::decode(&request.body, &body, &mut rows);
        let read = rows.len() as u64 + rows.refused();
        let reply = PushReply {
            accepted: rows.len() as u64,
            rejected_count: rows.refused(),
            rejected: rejected_rows(&request.body, &body.records, &rows),
        };
        if request.on_error == OnError::Reject && rows.refused() > 0 {
            return Err(IngestError::RowsRejected { read, rejected: reply.rejected_count, rows: reply.rejected });
        }
        let table = match opened {
            Some(table) => table,
            // A body without a good row makes no table.
            None if rows.is_empty() => return Ok(reply),
            None => self.tables.open_or_create(&request.table, &rows.observed()).await?,
        };
        if !rows.is_empty() {
            table.choose_time_field(&self.node, &time_field).await?;
            failpoint!("push.time_chosen")?;
        }
        let (jobs, window) = self.push_task(&table).await?;
        let key = match &request.key {
            None => None,
            Some(key) => match claim(&window, key, &request.body, request.received).await? {
                Claimed::Fresh(claim, hash) => Some((Arc::from(key.as_str()), hash, claim)),
                Claimed::Before(reply) => return Ok(reply),
            },
        };
        header.accepted = rows.len() as u64;
        let record = header.record(&request.body)?;
        let answer = serde_json::to_string(&reply).map_err(|e| IngestError::internal(format!("answer: {e}")))?;
        let account = account_of(&stream(&self.node), &request.body, &body, &rows, request.received);
        let (send, stored) = oneshot::channel();
        let durable = request.acknowledge != Acknowledge::Memory;
        let received = request.received;
        let job = StoreJob { rows, received, account, room, record, answer, key, durable, reply: send };
        let gone = || IngestError::Unavailable {
            what: format!("table `{}` was dropped, or the server is stopping", request.table),
            hint: Some("push the body again".to_owned()),
        };
        jobs.send(Job::Store(Box::new(job))).await.map_err(|_| gone())?;
        drop(jobs);
        stored.await.map_err(|_| gone())??;
        if request.acknowledge == Acknowledge::Published {
            self.publish(request.table.as_str(), PUBLISH_TIMEOUT).await?;
        }
        Ok(reply)
    }

    fn time_field(&self, request: &PushRequest, table: Option<&Table>) -> Option<String> {
        let known = || {
            let pushed = table.and_then(Table::time_field);
            pushed.or_else(|| {
                let supervisors = self.supervisors.lock();
                supervisors.values().map(|s| s.spec()).find(|s| s.table == request.table).map(|s| s.time.column.clone())
            })
        };
        request.time_column.clone().or_else(known)
    }

    /// What supervisors of the table declared keeps its type.
    fn declared(&self, table: &TableName) -> Vec<DimensionSpec> {
        let supervisors = self.supervisors.lock();
        let specs = supervisors.values().map(|supervisor| supervisor.spec());
        specs.filter(|spec| spec.table == *table).flat_map(|spec| spec.dimensions.declared.clone()).collect()
    }

    /// How pushes into a table stand; nothing when there never was one.
    pub fn push_status(&self, table: &str) -> Option<PushStatus> {
        let table = self.tables.get(table)?;
        let is_push = |name: &str| name.starts_with(PUSH_STREAMS);
        let counts = table.accounts.sum(is_push, true);
        let time_column = table.time_field();
        if counts == Counts::default() && time_column.is_none() {
            return None;
        }
        let stream = stream(&self.node);
        let publisher = table.known_publisher(&stream);
        Some(PushStatus {
            counts,
            unpublished: table.accounts.sum(is_push, false),
            time_column,
            cause: table.unready_because(&stream).or_else(|| publisher?.stuck()),
        })
    }

    /// The table's push task, started when it is not there.
    pub(crate) async fn push_task(
        &self,
        table: &Arc<Table>,
    ) -> Result<(tokio::sync::mpsc::Sender<Job>, IdempotencyWindow)> {
        let running = || {
            let push = table.push.lock();
            let task = push.as_ref().filter(|task| !task.thread.is_finished());
            task.map(|task| (task.jobs.clone(), task.window.clone()))
        };
        if let Some(task) = running() {
            return Ok(task);
        }
        let _turn = table.push_turn.acquire().await.map_err(|_| IngestError::internal("a turn was closed"))?;
        if let Some(task) = running() {
            return Ok(task);
        }
        self.refuse_while_stopping()?;
        let ended = table.push.lock().take();
        if let Some(Err(panic)) = ended.map(|ended| ended.thread.join()) {
            self.node.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(table = %table.name, why = panic_text(&*panic), "a push task stopped by a defect");
        }
        let task = PushTask::start(&self.node, table).await?;
        let started = (task.jobs.clone(), task.window.clone());
        *table.push.lock() = Some(task);
        Ok(started)
    }
}

/// How pushes into a table stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushStatus {
    /// What became of all pushed rows since the table was made.
    pub counts: Counts,
    /// Those of them that are in the journal and not published yet.
    pub unpublished: Counts,
    /// The field that holds the time when a push does not name one.
    pub time_column: Option<String>,
    /// Why rows are not shown or not published for now.
    pub cause: Option<String>,
}

/// What a key says of a push.
enum Claimed {
    /// It is the first with this key.
    Fresh(Claim, [u8; 32]),
    /// It was stored before; this was its answer.
    Before(PushReply),
}

/// Looks a key up, and waits for a while when a push with the same key is under way.
async fn claim(window: &IdempotencyWindow, key: &str, body: &[u8], now: Timestamp) -> Result<Claimed> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(IngestError::invalid_with(
            format!("the idempotency key has {} bytes", key.len()),
            format!("take 1 to {KEY_BYTES_MAX}, such as a UUID for each body"),
        ));
    }
    let hash: [u8; 32] = Sha256::digest(body).into();
    let begun = tokio::time::Instant::now();
    loop {
        match window.begin(key, hash, now)? {
            Begin::Fresh(claim) => return Ok(Claimed::Fresh(claim, hash)),
            Begin::Stored(answer) => {
                let reply = serde_json::from_str(&answer)
                    .map_err(|e| IngestError::internal(format!("the answer kept for key `{key}`: {e}")))?;
                return Ok(Claimed::Before(reply));
            }
            Begin::KeyReused => return Err(IngestError::key_reused(key)),
            Begin::Running if begun.elapsed() < KEY_WAIT => tokio::time::sleep(Duration::from_millis(20)).await,
            Begin::Running => return Err(IngestError::KeyRunning { key: shorten(key) }),
        }
    }
}
