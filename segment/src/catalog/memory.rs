//! A catalog that lives as long as its process.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::books::{Access, Books, Record, Relation, Scan, Store, Value};
use super::ledger::founding;
use crate::clock::{Clock, SystemClock};
use crate::error::Result;

/// Relation and key.
type Place = (&'static str, Vec<Value>);
/// Rows of all relations.
type Rows = BTreeMap<Place, Record>;

/// The catalog in memory; gone with the process. Leases run by the clock's monotonic time.
#[derive(Debug)]
pub struct MemoryCatalog {
    rows: Arc<Mutex<Rows>>,
    clock: Arc<dyn Clock>,
}

impl MemoryCatalog {
    /// An empty catalog on the machine's clocks.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// An empty catalog on a given clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let rows = founding().into_iter().map(|(relation, row)| ((relation.name, row.key(relation).to_vec()), row));
        Self { rows: Arc::new(Mutex::new(rows.collect())), clock }
    }
}

impl Default for MemoryCatalog {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryCatalog {
    type Books = MemoryBooks;

    async fn begin(&self, _access: Access) -> Result<MemoryBooks> {
        let rows = Arc::clone(&self.rows).lock_owned().await;
        Ok(MemoryBooks { rows, before: Vec::new(), clock: Arc::clone(&self.clock) })
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// A transaction: the rows, locked, and what each changed one was before.
#[derive(Debug)]
pub(crate) struct MemoryBooks {
    rows: OwnedMutexGuard<Rows>,
    before: Vec<(Place, Option<Record>)>,
    clock: Arc<dyn Clock>,
}

impl Drop for MemoryBooks {
    fn drop(&mut self) {
        while let Some((key, row)) = self.before.pop() {
            match row {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }
}

impl MemoryBooks {
    fn prefixed<'a>(
        &'a self,
        relation: &'static Relation,
        prefix: &'a [Value],
    ) -> impl Iterator<Item = (&'a Place, &'a Record)> {
        self.rows
            .range((relation.name, prefix.to_vec())..)
            .take_while(move |((name, key), _)| *name == relation.name && key.starts_with(prefix))
    }
}

#[async_trait]
impl Books for MemoryBooks {
    async fn get(&mut self, relation: &'static Relation, key: &[Value]) -> Result<Option<Record>> {
        Ok(self.rows.get(&(relation.name, key.to_vec())).cloned())
    }

    async fn scan(&mut self, relation: &'static Relation, scan: Scan) -> Result<Vec<Record>> {
        let next = scan.prefix.len();
        let wanted = self
            .prefixed(relation, &scan.prefix)
            .filter(|((_, key), _)| scan.from.as_ref().is_none_or(|from| key.get(next).is_some_and(|at| at >= from)))
            .map(|(_, row)| row);
        let limit = scan.limit.unwrap_or(usize::MAX);
        if scan.reverse {
            let all: Vec<&Record> = wanted.collect();
            return Ok(all.into_iter().rev().take(limit).cloned().collect());
        }
        Ok(wanted.take(limit).cloned().collect())
    }

    async fn count(&mut self, relation: &'static Relation, prefix: &[Value]) -> Result<u64> {
        Ok(self.prefixed(relation, prefix).fold(0, |count, _| count + 1))
    }

    async fn put(&mut self, relation: &'static Relation, rows: Vec<Record>) -> Result<()> {
        for row in rows {
            let key = (relation.name, row.key(relation).to_vec());
            let old = self.rows.insert(key.clone(), row);
            self.before.push((key, old));
        }
        Ok(())
    }

    async fn remove(&mut self, relation: &'static Relation, prefix: &[Value]) -> Result<()> {
        let keys: Vec<_> = self.prefixed(relation, prefix).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let old = self.rows.remove(&key);
            self.before.push((key, old));
        }
        Ok(())
    }

    async fn lease_now(&mut self) -> Result<i64> {
        Ok(i64::try_from(self.clock.monotonic().as_millis()).unwrap_or(i64::MAX))
    }

    async fn audit(&mut self, _relations: &[&'static Relation]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn commit(mut self) -> Result<()> {
        self.before.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::catalog::suite::{self, Subject};
    use crate::clock::ManualClock;
    use crate::time::Timestamp;

    #[tokio::test]
    async fn keeps_what_a_catalog_owes() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let catalog = super::MemoryCatalog::with_clock(Arc::clone(&clock) as _);
        let empty = super::MemoryCatalog::with_clock(Arc::clone(&clock) as _);
        suite::run(&Subject { catalog: &catalog, empty: &empty, clock: &clock, lease_time_is_manual: true }).await;
    }
}
