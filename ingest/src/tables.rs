//! The tables this node writes: what all tasks of one table share.
//!
//! A table is made in the catalog first and on the timeline second, one at a time, so two clients that push to the
//! same new name meet here and write the same table. Dropping runs the other way round: out of the catalog, then out of
//! sight, then its memory is given back and tasks that waited for it go on.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use freshet_segment::catalog::{Catalog, TableRow};
use freshet_segment::clock::Clock;
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::disk::Disk;
use freshet_segment::error::ErrorKind;
use freshet_segment::failpoint;
use freshet_segment::id::{TableId, TableName};
use freshet_segment::schema::{Observed, TableSchema};
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::{TableTimeline, Timeline, Unready, Visible};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::counts::Accounts;
use crate::error::{IngestError, Result};
use crate::leases::Leases;
use crate::memory::{MemoryBudget, TableMemory};
use crate::publishing::Publisher;
use crate::sealing::SealOptions;
use crate::source::push::PushTask;

/// Where rows are kept beyond memory.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Sealed segments.
    pub deep: Arc<DeepStorage>,
    /// File calls of journals.
    pub disk: Disk,
    /// The data folder: journals, staging and local copies stand below it.
    pub folder: PathBuf,
    /// Names the data folder for ever.
    pub node_id: String,
}

impl Storage {
    pub(crate) fn staging(&self) -> PathBuf {
        self.folder.join("staging")
    }

    pub(crate) fn local(&self) -> PathBuf {
        self.folder.join("local")
    }

    pub(crate) fn journals(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// Removes the journal of a table that is gone.
    pub(crate) fn remove_journal(&self, table: TableId) {
        let folder = self.journal(table);
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // It takes room and is never read: the next start tries again.
            Err(error) => tracing::warn!(%table, %error, "the journal of a dropped table could not be removed"),
        }
    }

    /// The journal of what is pushed into a table.
    pub(crate) fn journal(&self, table: TableId) -> PathBuf {
        self.journals().join(table.to_string())
    }
}

/// What every task needs from its node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) storage: Storage,
    pub(crate) seal: SealOptions,
    pub(crate) leases: Arc<Leases>,
    /// Held while one segment is written: sorting takes memory, and a core.
    pub(crate) seal_turn: Mutex<()>,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) letters_max: usize,
    pub(crate) letters_bytes_max: usize,
    /// Threads of ingestion that ended by a defect.
    pub(crate) panics: AtomicU64,
}

/// A table and what is kept about it while this process lives.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) id: TableId,
    pub(crate) name: TableName,
    pub(crate) timeline: Arc<TableTimeline>,
    pub(crate) memory: TableMemory,
    /// What became of the rows that were read for it.
    pub(crate) accounts: Accounts,
    /// The field that held the time of the first push, so that later pushes need not say it again. As the catalog has it.
    time_field: Mutex<Option<String>>,
    pub(crate) push: Mutex<Option<PushTask>>,
    /// One opener of the push task at a time.
    pub(crate) push_turn: Semaphore,
    /// Who publishes each stream of the table.
    publishers: Mutex<BTreeMap<Arc<str>, Arc<Publisher>>>,
    /// Streams that are not back where they were before the last start, and why.
    unready: Mutex<BTreeMap<Arc<str>, Unready>>,
    schema: Mutex<Arc<TableSchema>>,
}

impl Table {
    /// The schema as this node last saw it; the catalog's is at least as wide.
    pub(crate) fn schema(&self) -> Arc<TableSchema> {
        Arc::clone(&self.schema.lock())
    }

    /// Adds columns before there is a row with them, and shows them.
    pub(crate) async fn declare(&self, node: &Node, columns: &[Observed]) -> Result<()> {
        if self.schema().widen(columns)?.is_none() {
            return Ok(());
        }
        let wider = node.catalog.widen_schema(self.id, columns).await?;
        self.learn(&wider);
        // No row changed, so nothing at or after any time did.
        self.timeline.publish(Vec::new(), Visible { schema: wider, min_changed: Timestamp::MAX, produced_max: None });
        Ok(())
    }

    /// The publisher of a stream, made when it is not there.
    pub(crate) fn publisher(self: &Arc<Self>, node: &Arc<Node>, stream: &Arc<str>, group: &Arc<str>) -> Arc<Publisher> {
        let mut publishers = self.publishers.lock();
        let made = || Publisher::new(Arc::clone(node), Arc::clone(self), Arc::clone(group));
        Arc::clone(publishers.entry(Arc::clone(stream)).or_insert_with(made))
    }

    /// The publisher of a stream, if there is one.
    pub(crate) fn known_publisher(&self, stream: &str) -> Option<Arc<Publisher>> {
        self.publishers.lock().get(stream).cloned()
    }

    /// Lets go of all publishers; they hold the table, and it them.
    pub(crate) fn close_publishers(&self) -> Vec<Arc<Publisher>> {
        std::mem::take(&mut *self.publishers.lock()).into_values().collect()
    }

    /// All publishers of the table.
    pub(crate) fn publishers(&self) -> Vec<Arc<Publisher>> {
        self.publishers.lock().values().cloned().collect()
    }

    /// Queries of the table are refused until each stream named here is back.
    pub(crate) fn unready(&self, stream: &Arc<str>, why: &str) {
        self.set_unready(stream, Unready { why: Arc::from(why), passes: true });
    }

    /// As [`Self::unready`], for what does not pass by itself.
    pub(crate) fn stuck(&self, stream: &Arc<str>, why: &str) {
        self.set_unready(stream, Unready { why: Arc::from(why), passes: false });
    }

    fn set_unready(&self, stream: &Arc<str>, why: Unready) {
        let mut unready = self.unready.lock();
        unready.insert(Arc::clone(stream), why);
        self.timeline.set_unready(first(&unready));
    }

    /// Whether a stream is not back yet, and may come back by itself.
    pub(crate) fn waits_for(&self, stream: &str) -> bool {
        self.unready.lock().get(stream).is_some_and(|unready| unready.passes)
    }

    /// Why a stream is not back yet.
    pub(crate) fn unready_because(&self, stream: &str) -> Option<String> {
        self.unready.lock().get(stream).map(|unready| unready.why.to_string())
    }

    /// A stream is back where it was.
    pub(crate) fn recovered(&self, stream: &str) {
        let mut unready = self.unready.lock();
        if unready.remove(stream).is_some() {
            self.timeline.set_unready(first(&unready));
        }
    }

    /// The field that holds the time of pushed rows, once one was chosen.
    pub(crate) fn time_field(&self) -> Option<String> {
        self.time_field.lock().clone()
    }

    /// Chooses it for good, unless one was chosen.
    pub(crate) async fn choose_time_field(&self, node: &Node, field: &str) -> Result<()> {
        if self.time_field.lock().is_none() {
            let standing = node.catalog.set_push_time(self.id, field).await?;
            *self.time_field.lock() = Some(standing);
        }
        Ok(())
    }

    fn learn(&self, wider: &Arc<TableSchema>) {
        let mut schema = self.schema.lock();
        if wider.version() > schema.version() {
            *schema = Arc::clone(wider);
        }
    }

    /// A schema that holds what was observed; the catalog is asked only when the known one does not.
    pub(crate) fn widen(&self, node: &Node, observed: &[Observed]) -> Result<Arc<TableSchema>> {
        let known = self.schema();
        if known.widen(observed)?.is_none() {
            return Ok(known);
        }
        let wider = node.runtime.block_on(node.catalog.widen_schema(self.id, observed))?;
        self.learn(&wider);
        Ok(wider)
    }
}

/// What is said of a table: first what does not pass by itself.
fn first(unready: &BTreeMap<Arc<str>, Unready>) -> Option<Unready> {
    unready.values().min_by_key(|one| one.passes).cloned()
}

/// All tables of this node.
#[derive(Debug)]
pub(crate) struct Tables {
    node: Arc<Node>,
    by_name: Mutex<HashMap<TableName, Arc<Table>>>,
    /// One maker or dropper at a time: a permit may be held across the catalog's answer, a lock may not.
    turn: Semaphore,
}

impl Tables {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, by_name: Mutex::default(), turn: Semaphore::new(1) }
    }

    /// A table that this node has opened already.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Table>> {
        let name: TableName = name.parse().ok()?;
        self.by_name.lock().get(&name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Table>> {
        self.by_name.lock().values().cloned().collect()
    }

    /// A table if the catalog has it.
    pub(crate) async fn open(&self, name: &TableName) -> Result<Option<Arc<Table>>> {
        if let Some(table) = self.get(name.as_str()) {
            return Ok(Some(table));
        }
        let _turn = self.take_turn().await?;
        if let Some(table) = self.get(name.as_str()) {
            return Ok(Some(table));
        }
        match self.node.catalog.table(name.as_str()).await? {
            Some(row) => Ok(Some(self.enter(row).await?)),
            None => Ok(None),
        }
    }

    /// A table, made with these columns when the catalog does not have it.
    pub(crate) async fn open_or_create(&self, name: &TableName, columns: &[Observed]) -> Result<Arc<Table>> {
        if let Some(table) = self.get(name.as_str()) {
            return Ok(table);
        }
        let _turn = self.take_turn().await?;
        if let Some(table) = self.get(name.as_str()) {
            return Ok(table);
        }
        if let Some(row) = self.node.catalog.table(name.as_str()).await? {
            return self.enter(row).await;
        }
        let empty = TableSchema::new(Vec::new())?;
        let schema = empty.widen(columns)?.unwrap_or(empty);
        match self.node.catalog.create_table(name, schema).await {
            Ok(row) => {
                failpoint!("table.made")?;
                self.enter(row).await
            }
            // Another node was faster: its table is the one.
            Err(error) if error.kind() == ErrorKind::Conflict => match self.node.catalog.table(name.as_str()).await? {
                Some(row) => self.enter(row).await,
                None => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// A table that the catalog has just given.
    pub(crate) async fn enter_known(&self, row: TableRow) -> Result<Arc<Table>> {
        let _turn = self.take_turn().await?;
        if let Some(table) = self.get(row.name.as_str()) {
            return Ok(table);
        }
        self.enter(row).await
    }

    async fn enter(&self, row: TableRow) -> Result<Arc<Table>> {
        let catalog = &self.node.catalog;
        let (rows, time_field) = (catalog.accounts(row.id).await?, catalog.push_time(row.id).await?);
        let timeline = self.node.timeline.create_table(row.id, &row.name, Arc::clone(&row.schema));
        let table = Arc::new(Table {
            id: row.id,
            name: row.name.clone(),
            timeline,
            memory: TableMemory::new(Arc::clone(&self.node.budget)),
            accounts: Accounts::new(rows, self.node.letters_max, self.node.letters_bytes_max),
            time_field: Mutex::new(time_field),
            push: Mutex::new(None),
            push_turn: Semaphore::new(1),
            publishers: Mutex::default(),
            unready: Mutex::default(),
            schema: Mutex::new(row.schema),
        });
        self.by_name.lock().insert(row.name, Arc::clone(&table));
        Ok(table)
    }

    /// Drops a table for all. Its push task ends by itself when its last sender goes.
    pub(crate) async fn drop_table(&self, name: &TableName) -> Result<()> {
        let _turn = self.take_turn().await?;
        let Some(row) = self.node.catalog.table(name.as_str()).await? else {
            return Err(IngestError::TableNotFound { table: name.to_string() });
        };
        failpoint!("table.drop")?;
        self.node.catalog.drop_table(row.id).await?;
        // It is done, whatever happens from here on: what is left is taken away by the next start.
        let late = failpoint!("table.dropped");
        self.node.timeline.drop_table(name);
        let table = self.by_name.lock().remove(name);
        if let Some(table) = table {
            let push = table.push.lock().take();
            if let Some(push) = push {
                push.abandon();
            }
            for publisher in table.close_publishers() {
                publisher.discard();
            }
            let late = late.and_then(|()| failpoint!("table.unpublished"));
            self.node.storage.remove_journal(table.id);
            table.memory.release_all();
            late?;
        }
        Ok(())
    }

    async fn take_turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        self.turn.acquire().await.map_err(|_| IngestError::internal("the turn of table makers was closed"))
    }
}
