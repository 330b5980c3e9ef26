//! From a data folder back to what was served before: sealed segments, journals, and where streams had been read to.
//!
//! ```text
//! catalog ─▶ sealed segments on the timeline ─▶ journals replayed ─▶ streams read from their checkpoints
//! ```
//! A table whose journal is being replayed, or whose stream is not back at the offset it had shown, is marked as not
//! ready: a smaller count is worse than no answer. The offsets shown are written down each second, best effort; nothing
//! but this mark depends on them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use freshet_segment::catalog::TableRow;
use freshet_segment::failpoint;
use freshet_segment::id::TableId;
use freshet_segment::sealed::SealedSegment;
use freshet_segment::timeline::{Changed, HandOver, SegmentEntry, VisibleSegment};
use futures::StreamExt as _;
use parking_lot::Mutex;

use crate::error::{ErrorKind, Result};
use crate::ingest::Ingest;
use crate::source::StreamPartition;
use crate::source::push::group as push_group;
use crate::spec::{SourceSpec, SupervisorSpec};
use crate::supervisor::{stream_name, supervisor_group};
use crate::tables::{Node, Table};
use freshet_segment::error::chain;

/// How often positions are written down.
const EVERY: Duration = Duration::from_secs(1);
/// Journals that are replayed at a time; the next one begins as soon as one is done.
const REPLAYS_MAX: usize = 4;
/// How often a replay is looked at, and after how many looks one that failed is tried again.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS_BEFORE_RETRY: u32 = 100;
/// How long a table waits for its stream to be back.
const RECOVERY_WAIT: Duration = Duration::from_secs(60);

/// What a start has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Tables.
    pub tables: usize,
    /// Sealed segments.
    pub segments: usize,
    /// Their rows.
    pub rows: u64,
    /// Journals that are being replayed.
    pub journals: usize,
}

/// By stream.
type Waiting = HashMap<Arc<str>, (Arc<Table>, Duration)>;
type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// Where streams had been read to, in a small file.
#[derive(Debug)]
pub(crate) struct Positions {
    file: PathBuf,
    written: Mutex<Offsets>,
    /// Tables that wait for a stream, until when (monotonic).
    waiting: Mutex<Waiting>,
}

impl Positions {
    pub(crate) fn new(node: &Node) -> Self {
        let file = node.storage.folder.join("positions.json");
        Self { file, written: Mutex::default(), waiting: Mutex::default() }
    }

    fn read(&self) -> Offsets {
        let Ok(bytes) = std::fs::read(&self.file) else { return Offsets::new() };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "the noted positions cannot be read; tables are served without waiting for them");
            Offsets::new()
        })
    }

    /// Notes where streams stand, when that has changed.
    pub(crate) fn write(&self, ingest: &Ingest) {
        let now: Offsets = ingest
            .kept()
            .into_iter()
            .map(|(_, kept)| {
                let at = kept.all().into_iter().map(|(partition, offset)| (partition.0, offset)).collect();
                (kept.stream.to_string(), at)
            })
            .collect();
        let mut written = self.written.lock();
        if *written == now {
            return;
        }
        let temporary = self.file.with_extension("json.new");
        let done = serde_json::to_vec(&now)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&temporary, bytes))
            .and_then(|()| std::fs::rename(&temporary, &self.file));
        match done {
            Ok(()) => *written = now,
            Err(error) => tracing::debug!(%error, "positions were not noted"),
        }
    }

    /// Tables whose streams are back, or have had their time, are served.
    fn settle(&self, ingest: &Ingest) {
        let now = ingest.node.clock.monotonic();
        let kept: HashMap<Arc<str>, _> =
            ingest.kept().into_iter().map(|(_, kept)| (Arc::clone(&kept.stream), kept)).collect();
        self.waiting.lock().retain(|stream, (table, until)| {
            let back = kept.get(stream).is_none_or(|kept| kept.is_back());
            let over = now >= *until;
            if over && !back {
                tracing::warn!(table = %table.name, stream = %stream, "the stream is not back where it was; its table is served");
            }
            if back || over {
                table.recovered(stream);
            }
            !(back || over)
        });
    }
}

impl Ingest {
    /// Puts back what the catalog and the journals hold. Call it once, before anything else. When it returns, every table
    /// shows its sealed segments; journals are opened and replayed in the background while their tables are marked as not
    /// ready, so a long journal holds up no other table.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn recover(self: &Arc<Self>) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        let stream = crate::source::push::stream(&self.node);
        let mut journals = Vec::new();
        let tables = self.node.catalog.tables().await?;
        self.take_leases(&tables).await?;
        failpoint!("recovery.leased")?;
        for row in tables {
            let table = self.tables.enter_known(row).await?;
            let reading = self.node.catalog.reading(table.id).await?;
            recovered.tables += 1;
            recovered.segments += reading.segments.len();
            recovered.rows += reading.segments.iter().map(|row| row.segment.rows).sum::<u64>();
            let storage = &self.node.storage;
            let open = reading
                .segments
                .iter()
                .map(|row| SegmentEntry {
                    id: row.segment.id.clone(),
                    visible_from: row.visible_from,
                    visible_until: row.visible_until,
                    segment: VisibleSegment::Sealed(SealedSegment::lazy(
                        row.segment.clone(),
                        Arc::clone(&storage.deep),
                        &storage.local(),
                    )),
                })
                .collect();
            table.timeline.hand_over(HandOver {
                close: Vec::new(),
                open,
                commit_seq: reading.commit_seq,
                schema: None,
                changed: Changed::Everything,
            });
            self.node.timeline.advance(reading.commit_seq);
            failpoint!("recovery.table")?;
            if self.has_journal(&table)? {
                recovered.journals += 1;
                table.unready(&stream, "pushed rows are read back from the journal");
                journals.push(table);
            }
        }
        self.remove_stale_journals();
        let ingest = Arc::downgrade(self);
        self.node.runtime.spawn(async move {
            let replay = |table| replay(Weak::clone(&ingest), table, Arc::clone(&stream));
            futures::stream::iter(journals).for_each_concurrent(REPLAYS_MAX, replay).await;
        });
        Ok(recovered)
    }

    /// Shuts out whatever is still on its way from an earlier life of this node: what it commits after this is refused, and
    /// what it committed before is in the readings that follow.
    async fn take_leases(&self, tables: &[TableRow]) -> Result<()> {
        let supervisors = self.node.catalog.supervisors().await?;
        let groups = supervisors.iter().map(|row| supervisor_group(&row.id));
        for group in groups.chain(tables.iter().map(|table| push_group(&self.node, table.id))) {
            // One that another node holds is asked for again by who needs it.
            if let Err(error) = self.node.leases.hold(&group).await {
                tracing::warn!(%group, error = chain(&error), "a lease was not taken");
            }
        }
        Ok(())
    }

    fn has_journal(&self, table: &Table) -> Result<bool> {
        let storage = &self.node.storage;
        Ok(storage.disk.exists(&storage.journal(table.id))?)
    }

    /// Journals of tables that were dropped while nobody could remove them.
    fn remove_stale_journals(&self) {
        let known: Vec<String> = self.tables.all().iter().map(|table| table.id.to_string()).collect();
        let Ok(folders) = std::fs::read_dir(self.node.storage.journals()) else { return };
        for name in folders.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            if let (false, Ok(id)) = (known.contains(&name), name.parse()) {
                self.node.storage.remove_journal(TableId(id));
            }
        }
    }

    /// Starts a supervisor that the catalog has kept. Its table is not ready until its stream is back where it was.
    ///
    /// # Errors
    /// As [`Ingest::submit`].
    pub async fn restore(&self, spec: SupervisorSpec) -> Result<()> {
        let SourceSpec::Kafka(kafka) = &spec.source;
        let stream = stream_name(&spec.id, &kafka.topic);
        let noted = self.positions.read().remove(&*stream);
        let (id, name, suspended) = (spec.id.clone(), spec.table.clone(), spec.suspended);
        let table = self.tables.open(&name).await?;
        if let (Some(table), Some(noted), false) = (table, noted, suspended) {
            table.unready(&stream, "records that were read before the last start are read again");
            let until = self.node.clock.monotonic() + RECOVERY_WAIT;
            self.positions.waiting.lock().insert(Arc::clone(&stream), (table, until));
            let awaited = noted.into_iter().map(|(partition, offset)| (StreamPartition(partition), offset)).collect();
            self.kept_offsets(&spec).wait_for(awaited);
        }
        let restored = self.submit(spec).await;
        if restored.is_err() {
            tracing::error!(supervisor = id, "a supervisor was not started again");
        }
        restored
    }

    /// Opens the journals of tables whose push task has ended before its time.
    async fn revive(&self) {
        let stream = crate::source::push::stream(&self.node);
        for table in self.tables.all() {
            let ended = table.push.lock().as_ref().is_some_and(|task| task.thread.is_finished());
            let wanted = ended && table.waits_for(&stream) && !self.stopping.load(Ordering::Acquire);
            if wanted && let Err(error) = self.push_task(&table).await {
                tracing::warn!(table = %table.name, error = chain(&error), "a journal cannot be opened yet");
            }
        }
    }

    /// Writes positions down, and serves tables that are back, as long as this lives.
    pub(crate) fn watch_positions(self: &Arc<Self>) {
        let ingest = Arc::downgrade(self);
        self.node.runtime.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(ingest) = ingest.upgrade() else { return };
                ingest.revive().await;
                ingest.positions.settle(&ingest);
                ingest.positions.write(&ingest);
            }
        });
    }
}

/// Opens a table's journal, which replays it, and tries again what fails for reasons outside, until the table shows all its rows
/// or its files turn out to be damaged.
async fn replay(ingest: Weak<Ingest>, table: Arc<Table>, stream: Arc<str>) {
    while let Some(ingest) = ingest.upgrade() {
        let dropped = !ingest.tables.get(table.name.as_str()).is_some_and(|now| Arc::ptr_eq(&now, &table));
        if dropped || ingest.stopping.load(Ordering::Acquire) {
            return;
        }
        // Does nothing while the journal is being replayed.
        if let Err(error) = ingest.push_task(&table).await {
            let why = chain(&error);
            tracing::error!(table = %table.name, why, "the journal cannot be opened; its table is not served");
            if error.kind() == ErrorKind::Corrupt {
                table.stuck(&stream, &why);
            } else if table.waits_for(&stream) {
                table.unready(&stream, &why);
            }
        }
        drop(ingest);
        let mut looks = 0;
        while looks < LOOKS_BEFORE_RETRY {
            if !table.waits_for(&stream) {
                return;
            }
            tokio::time::sleep(LOOK).await;
            looks += 1;
        }
    }
}

#[cfg(test)]
mod tests;
