//! A catalog that lives as long as its process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Catalog, SupervisorRow, TableRow};
use crate::error::{Result, SegmentError};
use crate::id::{TableId, TableName};
use crate::schema::{Observed, TableSchema};

#[derive(Debug)]
struct Entry {
    row: TableRow,
    next_number: u32,
}

#[derive(Debug, Default)]
struct State {
    next_table: u64,
    tables: BTreeMap<TableName, Entry>,
    supervisors: BTreeMap<String, SupervisorRow>,
}

impl State {
    fn table(&mut self, id: TableId) -> Result<&mut Entry> {
        self.tables
            .values_mut()
            .find(|e| e.row.id == id)
            .ok_or_else(|| SegmentError::NotFound { what: "table number", name: id.to_string() })
    }
}

/// Tables and supervisors in memory; gone with the process.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    state: Mutex<State>,
}

impl MemoryCatalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn create_table(&self, name: &TableName, schema: TableSchema) -> Result<TableRow> {
        let mut state = self.state.lock();
        if state.tables.contains_key(name) {
            return Err(SegmentError::Exists { what: "table", name: name.to_string() });
        }
        state.next_table += 1;
        let row = TableRow { id: TableId(state.next_table), name: name.clone(), schema: Arc::new(schema) };
        state.tables.insert(name.clone(), Entry { row: row.clone(), next_number: 1 });
        Ok(row)
    }

    async fn table(&self, name: &str) -> Result<Option<TableRow>> {
        let Ok(name) = name.parse::<TableName>() else { return Ok(None) };
        Ok(self.state.lock().tables.get(&name).map(|e| e.row.clone()))
    }

    async fn tables(&self) -> Result<Vec<TableRow>> {
        Ok(self.state.lock().tables.values().map(|e| e.row.clone()).collect())
    }

    async fn drop_table(&self, id: TableId) -> Result<()> {
        let mut state = self.state.lock();
        let name = state.table(id)?.row.name.clone();
        state.tables.remove(&name);
        Ok(())
    }

    async fn widen_schema(&self, id: TableId, observed: &[Observed]) -> Result<Arc<TableSchema>> {
        let mut state = self.state.lock();
        let entry = state.table(id)?;
        if let Some(wider) = entry.row.schema.widen(observed)? {
            entry.row.schema = Arc::new(wider);
        }
        Ok(Arc::clone(&entry.row.schema))
    }

    async fn lease_numbers(&self, id: TableId, count: u32) -> Result<Range<u32>> {
        let mut state = self.state.lock();
        let entry = state.table(id)?;
        let start = entry.next_number;
        let end = start.checked_add(count).ok_or(SegmentError::Full {
            what: "numbering of segments",
            limit: u64::from(u32::MAX),
            cure: "make a new table and load the old one's rows into it",
        })?;
        entry.next_number = end;
        Ok(start..end)
    }

    async fn put_supervisor(&self, row: SupervisorRow) -> Result<()> {
        self.state.lock().supervisors.insert(row.id.clone(), row);
        Ok(())
    }

    async fn supervisors(&self) -> Result<Vec<SupervisorRow>> {
        Ok(self.state.lock().supervisors.values().cloned().collect())
    }

    async fn delete_supervisor(&self, id: &str) -> Result<()> {
        match self.state.lock().supervisors.remove(id) {
            Some(_) => Ok(()),
            None => Err(SegmentError::NotFound { what: "supervisor", name: id.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn keeps_what_a_catalog_owes() {
        crate::catalog::suite::run(&super::MemoryCatalog::new());
    }
}
