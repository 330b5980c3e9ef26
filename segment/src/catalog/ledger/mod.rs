//! The rules of the catalog, once for every store.
//!
//! Each call of [`Catalog`] is one transaction over [`Books`]; a rule that is broken returns before the commit, and the
//! store forgets what was done so far. Typed rows come from `entries`; here they are guarded: each change of a guarded
//! relation moves a count and a sum of hashes in a row of its own, at the end of the transaction, and a full reading of a
//! scope is compared with it. So a row that a damaged page has lost is found although it has no hash left to be wrong.
//! The guards' rows are guarded in turn by one counter.
//!
//! Every commit also leaves a line in the outbox: the rows it wrote, as they were then. See `copies`.

mod accounts;
mod audit;
mod commits;
mod copies;
mod keys;
mod leases;
mod offsets;
mod tables;
mod upkeep;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Catalog;
use super::accounting::{AccountRow, DeadLetters};
use super::books::{Access, Books, Guard, Record, Relation, Scan, Store, Value, name_of};
use super::entries::{Cell, Counter, Entry, GuardRow};
use super::rows::{
    Checkpoint, Commit, DataGap, DedupKey, Lease, LeaseRef, LogEntry, Publication, PublishId, Replacement, SegmentRow,
    StreamRange, SupervisorRow, TableReading, TableRow,
};
use crate::clock::Clock;
use crate::error::{Result, SegmentError};
use crate::failpoint;
use crate::id::{SegmentId, TableId, TableName};
use crate::schema::{Observed, TableSchema};
use crate::time::{Interval, Timestamp};

/// Counter of the last commit.
const COMMIT: &str = "commit";
/// Counter of the last table number given away.
const TABLE: &str = "table";
/// Sum over the guards' rows.
const GUARD: &str = "guard";
/// Counter of the last commit that was forgotten; not there before the first.
const PRUNED: &str = "pruned";

/// One transaction, and what it has changed so far.
#[derive(Debug)]
pub(crate) struct Ledger<B> {
    books: B,
    clock: Arc<dyn Clock>,
    /// Changes of guards: rows and sum, by relation and scope.
    moved: BTreeMap<(&'static str, String), (u64, u64)>,
    /// Rows written, for the outbox.
    written: Vec<(&'static Relation, Record)>,
}

/// The rows that an empty catalog begins with.
pub(crate) fn founding() -> Vec<(&'static Relation, Record)> {
    [COMMIT, TABLE, GUARD]
        .map(|name| Counter { name: name.to_owned(), value: 0 })
        .map(|counter| (Counter::RELATION, Record::new(Counter::RELATION, counter.values())))
        .to_vec()
}

/// Looks whether the rows everything else is compared with are there: the counters, and the guards as a whole.
pub(crate) async fn check_foundation<S: Store>(store: &S) -> Result<()> {
    let mut ledger = Ledger::open(store, Access::Read).await?;
    ledger.counter(COMMIT).await?;
    ledger.counter(TABLE).await?;
    if ledger.guard_total().await? != ledger.counter(GUARD).await? {
        let reason = "one is gone or from another time: rebuild the catalog from its nightly copy";
        return Err(SegmentError::corrupt("the guards of the catalog", reason));
    }
    Ok(())
}

fn typed<E: Entry>(record: Record) -> Result<E> {
    let name = name_of(E::RELATION, record.key(E::RELATION));
    E::from_values(record.values)
        .ok_or_else(|| SegmentError::corrupt(name, "a value is not of the sort its column holds"))
}

/// The scope of a guard that a row counts in.
fn scope_of(relation: &Relation, values: &[Value]) -> Option<String> {
    match relation.guard {
        Guard::None => None,
        Guard::Whole => Some(String::new()),
        Guard::First => values.first().map(Value::to_string),
    }
}

impl<B: Books> Ledger<B> {
    async fn open<S: Store<Books = B>>(store: &S, access: Access) -> Result<Self> {
        let books = store.begin(access).await?;
        if access == Access::Write {
            failpoint!("catalog.begun")?;
        }
        Ok(Self { books, clock: Arc::clone(store.clock()), moved: BTreeMap::new(), written: Vec::new() })
    }

    async fn finish(mut self) -> Result<()> {
        self.flush_guards().await?;
        failpoint!("catalog.before_commit")?;
        self.books.commit().await?;
        // It is done, whatever happens from here on.
        failpoint!("catalog.committed").map_err(|error| SegmentError::Unavailable {
            what: "the catalog".to_owned(),
            reason: error.to_string(),
            outcome_unknown: true,
        })
    }

    /// Writes the guards of what has changed.
    async fn flush_guards(&mut self) -> Result<()> {
        let moved = std::mem::take(&mut self.moved);
        let mut total = 0_u64;
        for ((relation, scope), (rows, sum)) in moved {
            let key = [Value::Text(relation.to_owned()), Value::Text(scope.clone())];
            let old = self.books.get(GuardRow::RELATION, &key).await?;
            let mut guard = match old {
                Some(record) => {
                    total = total.wrapping_sub(record.sum);
                    typed::<GuardRow>(record)?
                }
                None => GuardRow { relation: relation.to_owned(), scope, rows: 0, sum: 0 },
            };
            guard.rows = guard.rows.wrapping_add(rows);
            guard.sum = guard.sum.wrapping_add(sum);
            let record = Record::new(GuardRow::RELATION, guard.values());
            total = total.wrapping_add(record.sum);
            self.books.put(GuardRow::RELATION, vec![record]).await?;
        }
        if total != 0 {
            let value = self.counter(GUARD).await?.wrapping_add(total);
            self.set_counter(GUARD, value).await?;
        }
        Ok(())
    }

    /// The sum over the guards' rows.
    async fn guard_total(&mut self) -> Result<u64> {
        let guards = self.books.scan(GuardRow::RELATION, Scan::default()).await?;
        Ok(guards.iter().fold(0, |sum, guard| sum.wrapping_add(guard.sum)))
    }

    async fn get<E: Entry>(&mut self, key: &[Value]) -> Result<Option<E>> {
        self.books.get(E::RELATION, key).await?.map(typed).transpose()
    }

    /// As `get`; that there is none is said only after the whole scope was compared with its guard. For a scope of the
    /// whole relation, and where a wrong "none" would do harm.
    async fn get_sure<E: Entry>(&mut self, key: &[Value]) -> Result<Option<E>> {
        let found = self.get(key).await?;
        if found.is_none() {
            self.guarded(E::RELATION, None).await?;
        }
        Ok(found)
    }

    async fn scan<E: Entry>(&mut self, scan: Scan) -> Result<Vec<E>> {
        self.books.scan(E::RELATION, scan).await?.into_iter().map(typed).collect()
    }

    /// All rows of a scope of a guarded relation, compared with the guard.
    async fn guarded(&mut self, relation: &'static Relation, scope: Option<Value>) -> Result<Vec<Record>> {
        let scope_text = scope.as_ref().map(Value::to_string).unwrap_or_default();
        let records = self.books.scan(relation, Scan::of(scope.into_iter().collect())).await?;
        let key = [Value::Text(relation.name.to_owned()), Value::Text(scope_text.clone())];
        let guard: Option<GuardRow> = self.get(&key).await?;
        let (mut rows, mut sum) = guard.map_or((0, 0), |guard| (guard.rows, guard.sum));
        // What this transaction has changed is not in the guard yet.
        if let Some((rows_moved, sum_moved)) = self.moved.get(&(relation.name, scope_text.clone())) {
            rows = rows.wrapping_add(*rows_moved);
            sum = sum.wrapping_add(*sum_moved);
        }
        let found = records.iter().fold((0_u64, 0_u64), |(n, sum), r| (n + 1, sum.wrapping_add(r.sum)));
        if found == (rows, sum) {
            return Ok(records);
        }
        let of = if scope_text.is_empty() { String::new() } else { format!(" of table {scope_text}") };
        let reason = format!(
            "{} rows are there, {rows} with other hashes were written: rebuild the catalog from its nightly copy",
            found.0
        );
        Err(SegmentError::corrupt(format!("the catalog's `{}`{of}", relation.name), reason))
    }

    /// All entries of a scope, compared with the guard.
    async fn book<E: Entry>(&mut self, scope: Option<Value>) -> Result<Vec<E>> {
        self.guarded(E::RELATION, scope).await?.into_iter().map(typed).collect()
    }

    async fn put<E: Entry>(&mut self, entry: &E) -> Result<()> {
        self.put_record(E::RELATION, Record::new(E::RELATION, entry.values())).await
    }

    async fn put_record(&mut self, relation: &'static Relation, record: Record) -> Result<()> {
        if let Some(scope) = scope_of(relation, &record.values) {
            let old = self.books.get(relation, record.key(relation)).await?;
            let (rows, sum) = self.moved.entry((relation.name, scope)).or_default();
            match old {
                Some(old) => *sum = sum.wrapping_sub(old.sum),
                None => *rows = rows.wrapping_add(1),
            }
            *sum = sum.wrapping_add(record.sum);
        }
        self.written.push((relation, record.clone()));
        failpoint!("catalog.statement")?;
        self.books.put(relation, vec![record]).await
    }

    /// Stores many entries of an unguarded relation at once.
    async fn put_all<E: Entry>(&mut self, entries: impl Iterator<Item = E>) -> Result<()> {
        let records: Vec<_> = entries.map(|entry| Record::new(E::RELATION, entry.values())).collect();
        if copies::is_copied(E::RELATION) {
            self.written.extend(records.iter().map(|record| (E::RELATION, record.clone())));
        }
        self.books.put(E::RELATION, records).await
    }

    /// Removes the rows whose key begins so.
    async fn remove<E: Entry>(&mut self, prefix: &[Value]) -> Result<()> {
        if E::RELATION.guard != Guard::None {
            for old in self.books.scan(E::RELATION, Scan::of(prefix.to_vec())).await? {
                let Some(scope) = scope_of(E::RELATION, &old.values) else { continue };
                let (rows, sum) = self.moved.entry((E::RELATION.name, scope)).or_default();
                *rows = rows.wrapping_sub(1);
                *sum = sum.wrapping_sub(old.sum);
            }
        }
        self.books.remove(E::RELATION, prefix).await
    }

    async fn counter(&mut self, name: &str) -> Result<u64> {
        let found: Option<Counter> = self.get(&[Value::Text(name.to_owned())]).await?;
        found
            .map(|counter| counter.value)
            .ok_or_else(|| SegmentError::corrupt(format!("the catalog's counter `{name}`"), "it is gone"))
    }

    /// The last commit that was forgotten.
    async fn pruned(&mut self) -> Result<u64> {
        let found: Option<Counter> = self.get(&[Value::Text(PRUNED.to_owned())]).await?;
        Ok(found.map_or(0, |counter| counter.value))
    }

    async fn set_counter(&mut self, name: &str, value: u64) -> Result<()> {
        self.put(&Counter { name: name.to_owned(), value }).await
    }
}

/// One transaction that looks.
macro_rules! read {
    ($store:ident, $call:ident($($argument:expr),*)) => {{
        let mut ledger = Ledger::open($store, Access::Read).await?;
        ledger.$call($($argument),*).await
    }};
}

/// One transaction that changes.
macro_rules! write {
    ($store:ident, $call:ident($($argument:expr),*)) => {{
        let mut ledger = Ledger::open($store, Access::Write).await?;
        let answer = ledger.$call($($argument),*).await?;
        ledger.finish().await?;
        Ok(answer)
    }};
}

#[async_trait]
impl<S: Store> Catalog for S {
    async fn create_table(&self, name: &TableName, schema: TableSchema) -> Result<TableRow> {
        write!(self, create_table(name, schema))
    }
    async fn table(&self, name: &str) -> Result<Option<TableRow>> {
        read!(self, table_named(name))
    }
    async fn tables(&self) -> Result<Vec<TableRow>> {
        read!(self, tables())
    }
    async fn drop_table(&self, id: TableId) -> Result<()> {
        write!(self, drop_table(id))
    }
    async fn widen_schema(&self, id: TableId, observed: &[Observed]) -> Result<Arc<TableSchema>> {
        write!(self, widen_schema(id, observed))
    }
    async fn lease_numbers(&self, id: TableId, count: u32) -> Result<Range<u32>> {
        write!(self, lease_numbers(id, count))
    }
    async fn put_supervisor(&self, row: SupervisorRow) -> Result<()> {
        write!(self, put_supervisor(row))
    }
    async fn supervisors(&self) -> Result<Vec<SupervisorRow>> {
        read!(self, supervisors())
    }
    async fn delete_supervisor(&self, id: &str) -> Result<()> {
        write!(self, delete_supervisor(id))
    }
    async fn acquire_lease(&self, group: &str, owner: &str, ttl: Duration) -> Result<Lease> {
        write!(self, acquire_lease(group, owner, ttl))
    }
    async fn seize_lease(&self, group: &str, owner: &str, ttl: Duration) -> Result<Lease> {
        write!(self, seize_lease(group, owner, ttl))
    }
    async fn renew_lease(&self, lease: &LeaseRef, ttl: Duration) -> Result<()> {
        write!(self, renew_lease(lease, ttl))
    }
    async fn release_lease(&self, lease: &LeaseRef) -> Result<()> {
        write!(self, release_lease(lease))
    }
    async fn start_checkpoints(&self, table: TableId, lease: &LeaseRef, at: &[StreamRange]) -> Result<Vec<Checkpoint>> {
        write!(self, start_checkpoints(table, lease, at))
    }
    async fn checkpoints(&self, table: TableId, stream: &str) -> Result<Vec<Checkpoint>> {
        read!(self, checkpoints(table, stream))
    }
    async fn reset_offsets(
        &self,
        table: TableId,
        stream: &str,
        lease: &LeaseRef,
        to: Option<&[(i32, i64)]>,
    ) -> Result<()> {
        write!(self, reset_offsets(table, stream, lease, to))
    }
    async fn publish(&self, publication: Publication) -> Result<Commit> {
        write!(self, publish(publication))
    }
    async fn publication(&self, id: PublishId) -> Result<Option<Commit>> {
        read!(self, publication_sure(id))
    }
    async fn replace(&self, replacement: Replacement) -> Result<Commit> {
        write!(self, replace(replacement))
    }
    async fn drop_interval(&self, table: TableId, interval: Interval, lease: Option<&LeaseRef>) -> Result<Commit> {
        write!(self, drop_interval(table, interval, lease))
    }
    async fn undo(&self, publish: PublishId, new_ids: &[(SegmentId, SegmentId)]) -> Result<Commit> {
        write!(self, undo(publish, new_ids))
    }
    async fn last_commit(&self) -> Result<u64> {
        read!(self, counter(COMMIT))
    }
    async fn commits_since(&self, seq: u64, limit: usize) -> Result<Vec<Commit>> {
        read!(self, commits_since(seq, limit))
    }
    async fn reading(&self, table: TableId) -> Result<TableReading> {
        read!(self, reading(table))
    }
    async fn segments(&self, table: TableId, at: Option<u64>) -> Result<Vec<SegmentRow>> {
        read!(self, segments(table, at))
    }
    async fn dedup(&self, table: TableId, key: &str) -> Result<Option<DedupKey>> {
        read!(self, dedup(table, key))
    }
    async fn dedup_since(&self, table: TableId, since: Timestamp, limit: usize) -> Result<Vec<DedupKey>> {
        read!(self, dedup_since(table, since, limit))
    }
    async fn prune_dedup(&self, table: TableId, before: Timestamp, keep_max: usize) -> Result<u64> {
        write!(self, prune_dedup(table, before, keep_max))
    }
    async fn record_gap(&self, gap: DataGap) -> Result<()> {
        write!(self, record_gap(gap))
    }
    async fn data_gaps(&self, table: Option<TableId>) -> Result<Vec<DataGap>> {
        read!(self, data_gaps(table))
    }
    async fn accounts(&self, table: TableId) -> Result<Vec<AccountRow>> {
        read!(self, accounts(table))
    }
    async fn dead_letters(&self, table: TableId, limit: usize) -> Result<DeadLetters> {
        read!(self, dead_letters(table, limit))
    }
    async fn push_time(&self, table: TableId) -> Result<Option<String>> {
        read!(self, push_time(table))
    }
    async fn set_push_time(&self, table: TableId, field: &str) -> Result<String> {
        write!(self, set_push_time(table, field))
    }
    async fn prune_commits(&self, before: Timestamp, limit: usize) -> Result<u64> {
        write!(self, prune_commits(before, limit))
    }
    async fn segments_to_delete(&self, closed_before: Timestamp) -> Result<Vec<SegmentRow>> {
        write!(self, segments_to_delete(closed_before))
    }
    async fn segments_deleted(&self, table: TableId, ids: &[SegmentId]) -> Result<()> {
        write!(self, segments_deleted(table, ids))
    }
    async fn unnamed(&self, paths: &[String]) -> Result<Vec<String>> {
        read!(self, unnamed(paths))
    }
    async fn check(&self) -> Result<Vec<String>> {
        read!(self, check())
    }
    async fn export(&self) -> Result<Vec<u8>> {
        read!(self, export())
    }
    async fn log_entries(&self, after: u64, limit: usize) -> Result<Vec<LogEntry>> {
        read!(self, log_entries(after, limit))
    }
    async fn log_stored(&self, through: u64) -> Result<()> {
        write!(self, log_stored(through))
    }
    async fn rebuild(&self, copy: &[u8]) -> Result<()> {
        write!(self, rebuild(copy))
    }
}

/// A key of a table and more columns.
fn table_key(table: TableId) -> Value {
    table.to_value()
}
