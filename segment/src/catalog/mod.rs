//! The catalog: tables, schemas, numbers, supervisors. What it holds is official.
//!
//! Behind a trait because there are several: in memory for tests and simulation, and databases. What every implementation
//! owes: each call is one transaction; a table's number is never given twice, a dropped name made again gets a new one;
//! leased partition numbers start at 1 and are never given twice within a table; a schema only widens. The tests of
//! `suite` run over each.

mod memory;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

pub use memory::MemoryCatalog;

use crate::error::Result;
use crate::id::{TableId, TableName};
use crate::schema::{Observed, TableSchema};

/// A table.
#[derive(Debug, Clone)]
pub struct TableRow {
    /// Its number.
    pub id: TableId,
    /// Its name.
    pub name: TableName,
    /// Its schema now.
    pub schema: Arc<TableSchema>,
}

/// A supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisorRow {
    /// Its id.
    pub id: String,
    /// The table it writes.
    pub table: TableName,
    /// Its spec, as JSON text.
    pub spec: String,
    /// Whether it is told to pause.
    pub suspended: bool,
}

/// Database of tables and supervisors.
#[async_trait]
pub trait Catalog: Send + Sync + Debug {
    /// Makes a table. `Conflict` when the name is taken.
    async fn create_table(&self, name: &TableName, schema: TableSchema) -> Result<TableRow>;

    /// A table by name.
    async fn table(&self, name: &str) -> Result<Option<TableRow>>;

    /// All tables, by name.
    async fn tables(&self) -> Result<Vec<TableRow>>;

    /// Drops a table. `NotFound` when it is not there.
    async fn drop_table(&self, id: TableId) -> Result<()>;

    /// Widens a table's schema so that it holds what was observed, and gives the schema that does. `NotFound` when the
    /// table was dropped, `Exhausted` past the bound on columns.
    async fn widen_schema(&self, id: TableId, observed: &[Observed]) -> Result<Arc<TableSchema>>;

    /// Gives away `count` partition numbers of a table, for ever.
    async fn lease_numbers(&self, id: TableId, count: u32) -> Result<Range<u32>>;

    /// Stores a supervisor, in place of one with the same id.
    async fn put_supervisor(&self, row: SupervisorRow) -> Result<()>;

    /// All supervisors, by id.
    async fn supervisors(&self) -> Result<Vec<SupervisorRow>>;

    /// Forgets a supervisor. `NotFound` when it is not there.
    async fn delete_supervisor(&self, id: &str) -> Result<()>;
}

#[cfg(test)]
pub(crate) mod suite;
