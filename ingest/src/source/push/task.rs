//! The thread that stores what is pushed into one table: journal first, then memory, then the answer.
//!
//! Bodies that wait together are journaled together, so one sync of the disk serves all of them. When a sync fails
//! nobody knows what reached the disk: the senders get an error, the journal is read again, and what is found there is
//! stored after all, because the next start would find it too. Until that has worked pushes are refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use freshet_segment::catalog::{DedupKey, StreamRange};
use freshet_segment::error::SegmentError;
use freshet_segment::failpoint;
use freshet_segment::id::TableId;
use freshet_segment::journal::{
    Claim, IdempotencyWindow, Journal, JournalOptions, NewRecord, Record, RecordKey, StoredKey, Ticket,
};
use freshet_segment::time::{Granularity, Timestamp};
use tokio::sync::{mpsc, oneshot};

use super::{Body, PushHeader, account_of};
use crate::appender::Appender;
use crate::counts::Account;
use crate::decode::Rows;
use crate::error::{ErrorKind, IngestError, Result};
use crate::memory::Reservation;
use crate::sealing::Writer;
use crate::tables::{Node, Table};
use freshet_segment::error::chain;

/// Bodies that wait for a table's push task. Each may be 64 MiB; the memory budget bounds their sum.
const JOBS_WAITING_MAX: usize = 64;
/// Bodies that are journaled before the first of them is waited for: their rows are in memory already.
const TOGETHER_MAX: usize = 64;
/// How long an idle task waits before it looks whether its rows should be sealed.
const IDLE: Duration = Duration::from_millis(500);
/// First and longest wait before a step that failed is taken again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Keys of published pushes that are known again after a start.
const KEYS_RESTORED_MAX: usize = 1_000_000;
/// The journal is one stream partition.
pub(crate) const PARTITION: i32 = 0;

/// Work for the push task.
#[derive(Debug)]
pub(crate) enum Job {
    /// A body to store.
    Store(Box<StoreJob>),
    /// Publish what is there: answered with its place in the publisher's queue, once it is frozen.
    Freeze(oneshot::Sender<Result<Option<u64>>>),
}

/// Rows on their way to the push task.
#[derive(Debug)]
pub(crate) struct StoreJob {
    pub(crate) rows: Rows,
    pub(crate) received: Timestamp,
    /// What becomes of its rows, without its number in the journal.
    pub(crate) account: Account,
    pub(crate) room: Reservation,
    /// What the journal keeps.
    pub(crate) record: Bytes,
    /// The answer, for retries.
    pub(crate) answer: String,
    pub(crate) key: Option<(Arc<str>, [u8; 32], Claim)>,
    /// Whether the answer waits for the disk.
    pub(crate) durable: bool,
    pub(crate) reply: oneshot::Sender<Result<()>>,
}

/// The thread that stores what is pushed into one table, and what its callers share.
#[derive(Debug)]
pub(crate) struct PushTask {
    pub(crate) started: Timestamp,
    pub(crate) jobs: mpsc::Sender<Job>,
    pub(crate) thread: JoinHandle<()>,
    pub(crate) window: IdempotencyWindow,
}

/// How the names of streams of pushes begin.
pub(crate) const PUSH_STREAMS: &str = "push/";

/// The stream name of pushes at a node.
pub(crate) fn stream(node: &Node) -> Arc<str> {
    Arc::from(format!("{PUSH_STREAMS}{}", node.storage.node_id))
}

/// Who writes the journal of a table at a node.
pub(crate) fn group(node: &Node, table: TableId) -> Arc<str> {
    Arc::from(format!("{}/{table}", stream(node)))
}

impl PushTask {
    /// Opens the journal, replays what is not published, then takes pushes.
    ///
    /// # Errors
    /// Of the catalog and the disk; `Corrupt` when the journal is damaged.
    pub(crate) async fn start(node: &Arc<Node>, table: &Arc<Table>) -> Result<Self> {
        let stream = stream(node);
        let group = group(node, table.id);
        let lease = node.leases.hold(&group).await?;
        let begin =
            StreamRange { stream: Arc::clone(&stream), partition: PARTITION, topic_id: Arc::from(""), from: 0, to: 0 };
        let started = node.catalog.start_checkpoints(table.id, &lease, &[begin]).await;
        let checkpoints = node.leases.heed(&group, started)?;
        let checkpoint = checkpoints
            .iter()
            .find(|c| c.partition == PARTITION)
            .ok_or_else(|| IngestError::internal("the catalog gave no checkpoint for the journal"))?
            .next;
        let now = node.clock.now();
        let window = IdempotencyWindow::default();
        let day_ago = Timestamp::from_millis(now.as_millis().saturating_sub(86_400_000));
        let kept = node.catalog.dedup_since(table.id, day_ago, KEYS_RESTORED_MAX).await?;
        let kept = kept.into_iter();
        window.restore(kept.map(|k| StoredKey { key: k.key, body_sha256: k.body_sha256, answer: k.answer, at: k.at }));
        let journal = {
            let (node, table, stream) = (Arc::clone(node), Arc::clone(table), Arc::clone(&stream));
            let open = move || {
                let folder = node.storage.journal(table.id);
                let options = JournalOptions { checkpoint, ..JournalOptions::default() };
                Journal::open(node.storage.disk.clone(), &folder, &stream, options, Arc::clone(&node.clock))
            };
            let opened = tokio::task::spawn_blocking(open).await;
            let (journal, opened) =
                opened.map_err(|error| IngestError::internal(format!("a journal was not opened: {error}")))??;
            if opened.torn_bytes > 0 {
                tracing::info!(bytes = opened.torn_bytes, "the journal ends in a record that was never acknowledged");
            }
            Arc::new(journal)
        };
        let publisher = table.publisher(node, &stream, &group);
        let appender = Appender::new(Arc::clone(node), Arc::clone(table), Granularity::DAY, None);
        let writer = Writer::new(Arc::clone(node), appender, publisher, Arc::clone(&stream));
        let (jobs, queue) = mpsc::channel(JOBS_WAITING_MAX);
        let keeper = Keeper {
            node: Arc::clone(node),
            table: Arc::clone(table),
            stream,
            writer,
            journal,
            window: window.clone(),
            at: checkpoint,
            survivors: HashMap::new(),
            broken: false,
        };
        let thread = crate::task::spawn(format!("push {}", table.name), move || {
            let mut keeper = keeper;
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| keeper.run(queue)));
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => keeper.give_up(&error),
                Err(panic) => {
                    keeper.give_up(&IngestError::internal("its task stopped by a defect"));
                    std::panic::resume_unwind(panic);
                }
            }
        })?;
        Ok(Self { started: now, jobs, thread, window })
    }

    /// The table is dropped: the thread ends by itself once its last sender has gone.
    pub(crate) fn abandon(self) {
        drop(self.jobs);
    }
}

/// What a replay has found.
#[derive(Debug, Default, Clone, Copy)]
struct Replayed {
    records: u64,
    rows: u64,
    bytes: u64,
}

struct Keeper {
    node: Arc<Node>,
    table: Arc<Table>,
    stream: Arc<str>,
    writer: Writer,
    journal: Arc<Journal>,
    window: IdempotencyWindow,
    /// The first record that is not in the writer.
    at: i64,
    /// Keys of replayed pushes: one of them may be on its way again since before it was replayed.
    survivors: HashMap<Arc<str>, [u8; 32]>,
    /// Whether the journal has to be read again before anything is written.
    broken: bool,
}

impl Keeper {
    /// Ends when all senders are gone and all that was accepted is stored.
    ///
    /// # Errors
    /// When the journal cannot be replayed.
    fn run(&mut self, mut queue: mpsc::Receiver<Job>) -> Result<()> {
        self.recover()?;
        self.table.recovered(&self.stream);
        loop {
            self.freeze_if_due();
            let first = self.node.runtime.block_on(async { tokio::time::timeout(IDLE, queue.recv()).await });
            match first {
                Err(_idle) => self.mend(),
                Ok(None) => return Ok(()),
                Ok(Some(Job::Freeze(reply))) => {
                    let _ = reply.send(self.freeze());
                }
                Ok(Some(Job::Store(job))) => {
                    let mut together = vec![job];
                    let mut freeze = None;
                    while together.len() < TOGETHER_MAX {
                        match queue.try_recv() {
                            Ok(Job::Store(job)) => together.push(job),
                            Ok(Job::Freeze(reply)) => {
                                freeze = Some(reply);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.store(together);
                    if let Some(reply) = freeze {
                        let _ = reply.send(self.freeze());
                    }
                }
            }
        }
    }

    /// What is in memory and not frozen goes out of sight: the journal has it, and whoever opens it next replays it. What is
    /// frozen is published first, or the next one would begin before it.
    fn give_up(&mut self, error: &IngestError) {
        let why = chain(error);
        tracing::error!(table = %self.table.name, why, "the journal has to be replayed; until then its table is not served");
        // Only what is wrong with the files stays so; everything else is tried again.
        if error.kind() == ErrorKind::Corrupt {
            self.table.stuck(&self.stream, &why);
        } else {
            self.table.unready(&self.stream, &why);
        }
        self.writer.discard();
        let publisher = &self.writer.publisher;
        while publisher.wait(publisher.newest(), IDLE).is_err()
            && publisher.lost().is_none()
            && !publisher.is_stopping()
        {}
    }

    fn freeze_if_due(&mut self) {
        if self.writer.publisher.lost().is_some() {
            // Another process has written this table's journal: nothing here can be trusted to be ours.
            self.table.stuck(&self.stream, "another process took over this node's journal; restart this one");
            self.broken = true;
            return;
        }
        if let Some(reason) = self.writer.due() {
            tracing::debug!(table = %self.table.name, ?reason, "pushed rows are frozen to be published");
            if let Err(error) = self.freeze() {
                tracing::warn!(table = %self.table.name, error = chain(&error), "rows wait to be published");
            }
        }
    }

    fn freeze(&mut self) -> Result<Option<u64>> {
        failpoint!("push.freeze")?;
        self.writer.freeze(Some(&self.journal))
    }

    /// Everything in the journal that is not in the writer goes there.
    fn recover(&mut self) -> Result<Replayed> {
        let started = self.node.clock.monotonic();
        let replayed = self.replay()?;
        if replayed.records > 0 {
            tracing::info!(
                table = %self.table.name,
                records = replayed.records,
                rows = replayed.rows,
                bytes = replayed.bytes,
                seconds = (self.node.clock.monotonic() - started).as_secs_f64(),
                "journal replayed"
            );
        }
        Ok(replayed)
    }

    fn replay(&mut self) -> Result<Replayed> {
        let mut replayed = Replayed::default();
        let records = self.journal.replay(self.at)?;
        for record in records {
            let record = record?;
            if record.number < self.at {
                continue;
            }
            replayed.records += 1;
            replayed.bytes += record.payload.len() as u64;
            replayed.rows += self.replay_record(&record)?;
            self.freeze_if_due();
        }
        Ok(replayed)
    }

    fn replay_record(&mut self, record: &Record) -> Result<u64> {
        let (header, body) = PushHeader::read(&record.payload)?;
        let records = Body::read(&body)?;
        let mut rows = Rows::new(header.rules()?);
        rows.begin(&self.table.schema());
        PushHeader::decode(&body, &records, &mut rows);
        let stored = rows.len() as u64;
        if stored != header.accepted {
            let reason = format!("record {} holds {} rows, {stored} are read", record.number, header.accepted);
            return Err(SegmentError::corrupt(format!("the journal of table `{}`", self.table.name), reason).into());
        }
        let received = header.received();
        if stored > 0 {
            let chosen = self.table.choose_time_field(&self.node, &header.time);
            self.node.runtime.block_on(chosen)?;
        }
        self.apply(&rows, received)?;
        self.stored(record.number, account_of(&self.stream, &body, &records, &rows, received));
        if let Some(RecordKey { key, body_sha256 }) = &record.key {
            let (key, body_sha256, answer) = (Arc::clone(key), *body_sha256, record.answer.clone());
            self.survivors.insert(Arc::clone(&key), body_sha256);
            self.keyed(&key, body_sha256, &answer, received);
            self.window.restore([StoredKey { key, body_sha256, answer, at: received }]);
        }
        Ok(stored)
    }

    fn keyed(&mut self, key: &Arc<str>, body_sha256: [u8; 32], answer: &str, at: Timestamp) {
        self.writer.keyed(DedupKey { key: Arc::clone(key), body_sha256, answer: answer.to_owned(), at });
    }

    /// The rows of a record are in the writer. Nothing here can fail: rows, counts and position move together.
    fn stored(&mut self, number: i64, mut account: Account) {
        account.letters.iter_mut().for_each(|letter| letter.offset = number);
        self.writer.account(account);
        self.writer.stored(PARTITION, self.at, number + 1);
        self.at = number + 1;
    }

    /// Stores rows that are in the journal, however long it takes: their sender may have been told already.
    fn apply(&mut self, rows: &Rows, received: Timestamp) -> Result<()> {
        let mut wait = RETRY_MIN;
        loop {
            match self.writer.appender.append(rows, |_| received) {
                Ok(()) => return Ok(()),
                Err(error) if error.retry_after().is_none() => return Err(error),
                Err(error) => {
                    tracing::warn!(table = %self.table.name, error = chain(&error), "journaled rows wait to be stored");
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// After a failed write or sync: reads the journal again, and stores what has reached the disk after all.
    fn mend(&mut self) {
        if !self.broken || self.writer.publisher.lost().is_some() {
            return;
        }
        let mended = self.journal.reopen().map_err(IngestError::from).and_then(|()| self.replay());
        match mended {
            Ok(replayed) => {
                tracing::info!(table = %self.table.name, records = replayed.records, "the journal is written again");
                self.broken = false;
            }
            Err(error) => {
                tracing::warn!(table = %self.table.name, error = chain(&error), "the journal cannot be written yet");
            }
        }
    }

    #[expect(clippy::vec_box, reason = "as they come out of the queue")]
    fn store(&mut self, jobs: Vec<Box<StoreJob>>) {
        self.mend();
        let mut journaled: Vec<(Box<StoreJob>, Ticket)> = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            match self.journal(&mut job) {
                Ok(Some(ticket)) => journaled.push((job, ticket)),
                Ok(None) => {
                    let _ = job.reply.send(Ok(()));
                }
                Err(error) => {
                    let _ = job.reply.send(Err(error));
                }
            }
        }
        for (job, ticket) in journaled {
            let number = ticket.number();
            let synced = if job.durable && !self.broken { ticket.wait() } else { Ok(()) };
            match synced {
                Ok(()) if !self.broken => self.finish(*job, number),
                // What came before it in the journal is in doubt, so it is too.
                Ok(()) => refuse(*job, &SegmentError::unavailable("the journal", "a write before it failed")),
                Err(error) => {
                    self.broken = true;
                    refuse(*job, &error);
                }
            }
        }
        self.mend();
    }

    /// Writes a body to the journal; nothing when it is there already.
    fn journal(&mut self, job: &mut StoreJob) -> Result<Option<Ticket>> {
        if self.broken {
            return Err(SegmentError::unavailable("the journal", "a write failed, it is being read again").into());
        }
        if let Some((key, hash, _)) = &job.key
            && let Some(stored) = self.survivors.get(key)
        {
            return if stored == hash { Ok(None) } else { Err(IngestError::key_reused(key)) };
        }
        // Whatever can be refused is refused before it is written.
        self.table.widen(&self.node, &job.rows.observed())?;
        failpoint!("push.before_journal")?;
        let record = NewRecord {
            payload: job.record.clone(),
            key: job.key.as_ref().map(|(key, hash, _)| RecordKey { key: Arc::clone(key), body_sha256: *hash }),
            answer: if job.key.is_some() { job.answer.clone() } else { String::new() },
        };
        Ok(Some(self.journal.append(record)?))
    }

    fn finish(&mut self, job: StoreJob, number: i64) {
        let StoreJob { rows, received, account, room, answer, key, reply, .. } = job;
        let stored = failpoint!("push.journaled").map_err(IngestError::from).and_then(|()| self.apply(&rows, received));
        // From here on the rows are counted as the table's.
        drop(room);
        if let Err(error) = stored {
            // It is in the journal and not in memory: only reading the journal again makes the two agree.
            self.broken = true;
            let _ = reply.send(Err(error));
            return;
        }
        self.stored(number, account);
        if let Some((key, hash, claim)) = key {
            self.keyed(&key, hash, &answer, received);
            claim.done(answer);
        }
        // A sender that has gone away does not undo its rows.
        let _ = reply.send(failpoint!("push.applied").map_err(IngestError::from));
    }
}

fn refuse(job: StoreJob, error: &SegmentError) {
    // The whole cause names files: it is for the log.
    tracing::warn!(cause = chain(error), "a push was refused");
    let why = match error.kind() {
        ErrorKind::Exhausted => "the disk is full",
        _ => "the disk does not take them now",
    };
    let error = IngestError::Unavailable {
        what: format!("the rows could not be made safe: {why}"),
        hint: Some("send them again, with the same Idempotency-Key if there was one".to_owned()),
    };
    let _ = job.reply.send(Err(error));
}
