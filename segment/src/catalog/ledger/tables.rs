//! Tables, their schemas and numbers, and supervisors.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::books::{Books, Value};
use super::super::entries::{
    CheckpointEntry, DedupEntry, DedupOrderEntry, Entry, RangeEntry, SegmentEntry, SupervisorEntry, TableEntry,
};
use super::super::rows::{CommitCause, SupervisorRow, TableRow};
use super::{Ledger, TABLE, table_key};
use crate::error::{Result, SegmentError};
use crate::id::{TableId, TableName};
use crate::schema::{Column, ColumnRole, Observed, TableSchema};

/// A schema as a row keeps it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSchema {
    version: u64,
    columns: Vec<StoredColumn>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredColumn {
    name: String,
    #[serde(rename = "type")]
    column_type: String,
    role: String,
    multi_value: bool,
}

fn role_name(role: ColumnRole) -> &'static str {
    match role {
        ColumnRole::Time => "time",
        ColumnRole::Dimension => "dimension",
        ColumnRole::Metric => "metric",
    }
}

fn schema_text(schema: &TableSchema) -> String {
    let columns = schema.columns().iter().map(|column| StoredColumn {
        name: column.name.to_string(),
        column_type: column.column_type.name().to_owned(),
        role: role_name(column.role).to_owned(),
        multi_value: column.multi_value,
    });
    let stored = StoredSchema { version: schema.version(), columns: columns.collect() };
    serde_json::to_string(&stored).expect("texts, numbers and flags are always JSON")
}

fn schema_read(table: &TableName, text: &str) -> Result<TableSchema> {
    let bad = |reason: String| SegmentError::corrupt(format!("the schema of table `{table}` in the catalog"), reason);
    let stored: StoredSchema = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    let mut columns = Vec::with_capacity(stored.columns.len());
    for column in stored.columns {
        let role = [ColumnRole::Time, ColumnRole::Dimension, ColumnRole::Metric]
            .into_iter()
            .find(|role| role_name(*role) == column.role)
            .ok_or_else(|| bad(format!("`{}` is no role of a column", column.role)))?;
        let column_type = column.column_type.parse().map_err(|error: SegmentError| bad(error.to_string()))?;
        columns.push(Column { name: column.name.into(), column_type, role, multi_value: column.multi_value });
    }
    TableSchema::restore(stored.version, columns).map_err(|error| bad(error.to_string()))
}

pub(super) fn table_row(entry: TableEntry) -> Result<TableRow> {
    let schema = Arc::new(schema_read(&entry.name, &entry.schema)?);
    Ok(TableRow { id: entry.id, name: entry.name, schema })
}

impl<B: Books> Ledger<B> {
    /// A table that was not dropped.
    pub(super) async fn live_table(&mut self, id: TableId) -> Result<TableEntry> {
        let found: Option<TableEntry> = self.get_sure(&[table_key(id)]).await?;
        found
            .filter(|entry| entry.dropped_at.is_none())
            .ok_or_else(|| SegmentError::NotFound { what: "table number", name: id.to_string() })
    }

    async fn live_tables(&mut self) -> Result<Vec<TableEntry>> {
        let mut all: Vec<TableEntry> = self.book(None).await?;
        all.retain(|entry| entry.dropped_at.is_none());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    pub(super) async fn create_table(&mut self, name: &TableName, schema: TableSchema) -> Result<TableRow> {
        if self.live_tables().await?.iter().any(|entry| entry.name == *name) {
            return Err(SegmentError::Exists { what: "table", name: name.to_string() });
        }
        let number = self.counter(TABLE).await? + 1;
        self.set_counter(TABLE, number).await?;
        let entry = TableEntry {
            id: TableId(number),
            name: name.clone(),
            schema: schema_text(&schema),
            next_number: 1,
            dropped_at: None,
        };
        self.put(&entry).await?;
        table_row(entry)
    }

    pub(super) async fn table_named(&mut self, name: &str) -> Result<Option<TableRow>> {
        let found = self.live_tables().await?.into_iter().find(|entry| entry.name.as_str() == name);
        found.map(table_row).transpose()
    }

    pub(super) async fn tables(&mut self) -> Result<Vec<TableRow>> {
        self.live_tables().await?.into_iter().map(table_row).collect()
    }

    pub(super) async fn drop_table(&mut self, id: TableId) -> Result<()> {
        let entry = self.live_table(id).await?;
        let open = self.open_entries(id).await?;
        let empty = open.is_empty() && self.guarded(SegmentEntry::RELATION, Some(table_key(id))).await?.is_empty();
        let dropped_at = Some(self.clock.now());
        self.put(&TableEntry { dropped_at, ..entry }).await?;
        self.commit(None, id, CommitCause::Drop, &[], open).await?;
        self.forget_positions(id).await?;
        if empty {
            self.remove::<TableEntry>(&[table_key(id)]).await?;
        }
        Ok(())
    }

    /// Removes what says where a table's streams stand, and what became of their rows.
    pub(super) async fn forget_positions(&mut self, id: TableId) -> Result<()> {
        let prefix = [table_key(id)];
        self.remove::<CheckpointEntry>(&prefix).await?;
        self.remove::<RangeEntry>(&prefix).await?;
        self.remove::<DedupEntry>(&prefix).await?;
        self.remove::<DedupOrderEntry>(&prefix).await?;
        self.forget_accounts(id).await
    }

    /// Dropped tables, by number.
    pub(super) async fn dropped_tables(&mut self) -> Result<BTreeSet<TableId>> {
        let all: Vec<TableEntry> = self.book(None).await?;
        Ok(all.into_iter().filter(|entry| entry.dropped_at.is_some()).map(|entry| entry.id).collect())
    }

    pub(super) async fn widen_schema(&mut self, id: TableId, observed: &[Observed]) -> Result<Arc<TableSchema>> {
        let mut entry = self.live_table(id).await?;
        let schema = schema_read(&entry.name, &entry.schema)?;
        let Some(wider) = schema.widen(observed)? else { return Ok(Arc::new(schema)) };
        entry.schema = schema_text(&wider);
        self.put(&entry).await?;
        Ok(Arc::new(wider))
    }

    pub(super) async fn lease_numbers(&mut self, id: TableId, count: u32) -> Result<Range<u32>> {
        let mut entry = self.live_table(id).await?;
        let start = entry.next_number;
        let end = start.checked_add(count).ok_or(SegmentError::Full {
            what: "numbering of segments",
            limit: u64::from(u32::MAX),
            cure: "make a new table and load the old one's rows into it",
        })?;
        entry.next_number = end;
        self.put(&entry).await?;
        Ok(start..end)
    }

    pub(super) async fn put_supervisor(&mut self, row: SupervisorRow) -> Result<()> {
        self.put(&SupervisorEntry::from(row)).await
    }

    pub(super) async fn supervisors(&mut self) -> Result<Vec<SupervisorRow>> {
        let all: Vec<SupervisorEntry> = self.book(None).await?;
        Ok(all.into_iter().map(SupervisorRow::from).collect())
    }

    pub(super) async fn delete_supervisor(&mut self, id: &str) -> Result<()> {
        let key = [Value::Text(id.to_owned())];
        if self.get::<SupervisorEntry>(&key).await?.is_none() {
            return Err(SegmentError::NotFound { what: "supervisor", name: id.to_owned() });
        }
        self.remove::<SupervisorEntry>(&key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ColumnType;

    #[test]
    fn a_schema_comes_back_as_it_was_kept() {
        let many = Column { multi_value: true, ..Column::dimension("b", ColumnType::String) };
        let metric = Column { role: ColumnRole::Metric, ..Column::dimension("c", ColumnType::Float) };
        let schema = TableSchema::new(vec![Column::dimension("a", ColumnType::Json), many, metric]).expect("a schema");
        let observed = Observed {
            name: "d".into(),
            column_type: ColumnType::Timestamp,
            role: ColumnRole::Dimension,
            multi_value: false,
        };
        let wider = schema.widen(&[observed]).expect("fits").expect("wider");
        let name: TableName = "t".parse().expect("a name");
        let back = schema_read(&name, &schema_text(&wider)).expect("its own text");
        assert_eq!((back.version(), back.columns()), (2, wider.columns()));
        assert!(schema_read(&name, "{\"version\":1,\"columns\":[]}").is_err(), "no time column");
    }
}
