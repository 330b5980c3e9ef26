//! The tables this node writes: what all tasks of one table share.
//!
//! A table is made in the catalog first and on the timeline second, one at a time, so two clients that push to the
//! same new name meet here and write the same table. Dropping runs the other way round: out of the catalog, then out of
//! sight, then its memory is given back and tasks that waited for it go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use freshet_segment::catalog::{Catalog, TableRow};
use freshet_segment::clock::Clock;
use freshet_segment::error::ErrorKind;
use freshet_segment::id::{TableId, TableName};
use freshet_segment::schema::{Observed, TableSchema};
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::{TableTimeline, Timeline, Visible};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::counts::SharedCounts;
use crate::dead_letter::DeadLetterStore;
use crate::error::{IngestError, Result};
use crate::memory::{MemoryBudget, TableMemory};
use crate::source::push::PushTask;

/// What every task needs from its node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) catalog: Arc<dyn Catalog>,
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
    pub(crate) letters: DeadLetterStore,
    pub(crate) counts: SharedCounts,
    /// The field that held the time of the first push, so that later pushes need not say it again.
    pub(crate) time_field: Mutex<Option<String>>,
    pub(crate) push: Mutex<Option<PushTask>>,
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
        Ok(self.node.catalog.table(name.as_str()).await?.map(|row| self.enter(row)))
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
            return Ok(self.enter(row));
        }
        let empty = TableSchema::new(Vec::new())?;
        let schema = empty.widen(columns)?.unwrap_or(empty);
        match self.node.catalog.create_table(name, schema).await {
            Ok(row) => Ok(self.enter(row)),
            // Another node was faster: its table is the one.
            Err(error) if error.kind() == ErrorKind::Conflict => match self.node.catalog.table(name.as_str()).await? {
                Some(row) => Ok(self.enter(row)),
                None => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn enter(&self, row: TableRow) -> Arc<Table> {
        let timeline = self.node.timeline.create_table(row.id, &row.name, Arc::clone(&row.schema));
        let table = Arc::new(Table {
            id: row.id,
            name: row.name.clone(),
            timeline,
            memory: TableMemory::new(Arc::clone(&self.node.budget)),
            letters: DeadLetterStore::new(self.node.letters_max, self.node.letters_bytes_max),
            counts: SharedCounts::default(),
            time_field: Mutex::new(None),
            push: Mutex::new(None),
            schema: Mutex::new(row.schema),
        });
        self.by_name.lock().insert(row.name, Arc::clone(&table));
        table
    }

    /// Drops a table for all. Its push task ends by itself when its last sender goes.
    pub(crate) async fn drop_table(&self, name: &TableName) -> Result<()> {
        let _turn = self.take_turn().await?;
        let Some(row) = self.node.catalog.table(name.as_str()).await? else {
            return Err(IngestError::TableNotFound { table: name.to_string() });
        };
        self.node.catalog.drop_table(row.id).await?;
        self.node.timeline.drop_table(name);
        let table = self.by_name.lock().remove(name);
        if let Some(table) = table {
            let push = table.push.lock().take();
            drop(push);
            table.memory.release_all();
        }
        Ok(())
    }

    async fn take_turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        self.turn.acquire().await.map_err(|_| IngestError::internal("the turn of table makers was closed"))
    }
}
