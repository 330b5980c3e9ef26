//! The catalog: tables, schemas, numbers, supervisors, leases, checkpoints, sealed segments. What it holds is official.
//!
//! Exactly-once rests on one transaction: [`Catalog::publish`] moves the checkpoints of a task and opens the segments
//! that hold the rows between, or does nothing. Two tasks on one stream partition, a woken owner, a repeated request are
//! all refused there, whatever they believe.
//!
//! ```text
//!   publish ─┐                          ┌─ reading(table)       open segments at the last commit
//!   replace ─┼─► ledger: the rules ─► books: rows of relations, in one transaction
//!   undo    ─┘   (once, for all)        ├─ memory   for tests and simulation; gone with the process
//!                                       └─ sqlite   one file; every row carries its hash
//! ```
//!
//! The rules are written once, over the few row operations a store gives; a store knows nothing of leases or
//! checkpoints. What every implementation owes: each call is one transaction, seen whole or not at all; commits are
//! numbered 1, 2, 3, … over all tables; a table's number is never given twice, a dropped name made again gets a new one;
//! leased partition numbers start at 1 and are never given twice within a table; a schema only widens; a name in deep
//! storage is opened once, and again only by an undo. The tests of `suite` run over each.
//!
//! A call that fails with `Unavailable` and `outcome_unknown` may have been done: ask [`Catalog::publication`] before
//! anything else. No order and no fence here comes from a wall clock: commits order, epochs fence. Lease expiry is by
//! the monotonic clock, or the database's own.

mod accounting;
mod books;
mod entries;
mod ledger;
mod memory;
mod rows;
mod sqlite;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use accounting::{AccountRow, Accounting, Counts, DeadLetter, DeadLetters, LETTERS_BYTES_MAX, LETTERS_MAX};
pub use memory::MemoryCatalog;
pub use rows::{
    Checkpoint, Commit, CommitCause, DataGap, DedupKey, Lease, LeaseRef, LogEntry, NewSegment, Publication, PublishId,
    Replacement, SegmentFiles, SegmentRow, StoredFile, StreamRange, SupervisorRow, TableReading, TableRow,
};
pub use sqlite::SqliteCatalog;

use crate::error::Result;
use crate::id::{SegmentId, TableId, TableName};
use crate::schema::{Observed, TableSchema};
use crate::time::{Interval, Timestamp};

/// Database of what is official.
///
/// Besides the errors named at each call, any call may fail with `Unavailable` (the store is away) or `Corrupt` (a row is
/// not what was written).
#[async_trait]
pub trait Catalog: Send + Sync + Debug {
    // ---- tables and supervisors

    /// Makes a table. `Conflict` when the name is taken.
    async fn create_table(&self, name: &TableName, schema: TableSchema) -> Result<TableRow>;

    /// A table by name.
    async fn table(&self, name: &str) -> Result<Option<TableRow>>;

    /// All tables, by name.
    async fn tables(&self) -> Result<Vec<TableRow>>;

    /// Drops a table: its segments are closed in one commit, and their rows stay until their files are deleted. Its
    /// checkpoints, idempotency keys, counts and dead letters go at once. `NotFound` when it is not there.
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

    // ---- leases

    /// Takes a group's lease. An owner that still holds it keeps its epoch and gets more time; anyone else gets the next
    /// epoch once the time of the last owner is over. `Conflict` (`Exists`) while another owner's runs.
    async fn acquire_lease(&self, group: &str, owner: &str, ttl: Duration) -> Result<Lease>;

    /// Takes a group's lease whoever holds it, and always raises the epoch: for the start of a node whose former process
    /// is known to be gone, and for an operator.
    async fn seize_lease(&self, group: &str, owner: &str, ttl: Duration) -> Result<Lease>;

    /// Gives a lease more time, also one whose time is over if nobody else took it. `Fenced` when somebody did.
    async fn renew_lease(&self, lease: &LeaseRef, ttl: Duration) -> Result<()>;

    /// Lets a lease go. The epoch is raised: nothing sent before under this lease is accepted after. `Fenced` when it was
    /// taken over or let go already.
    async fn release_lease(&self, lease: &LeaseRef) -> Result<()>;

    // ---- checkpoints

    /// Makes the missing ones of the named checkpoints, at `from` (which equals `to`), before the first fetch. Those that
    /// are there stay as they are. Gives all named, in the order named. `Fenced`, `NotFound` for the table, `Invalid`.
    async fn start_checkpoints(&self, table: TableId, lease: &LeaseRef, at: &[StreamRange]) -> Result<Vec<Checkpoint>>;

    /// The checkpoints of one stream of a table, by stream partition.
    async fn checkpoints(&self, table: TableId, stream: &str) -> Result<Vec<Checkpoint>>;

    /// Sets checkpoints of a stream to given offsets, or removes them all (`None`). The generation of each rises by one
    /// and its topic id is forgotten. `Fenced`, `NotFound` for the table.
    async fn reset_offsets(
        &self,
        table: TableId,
        stream: &str,
        lease: &LeaseRef,
        to: Option<&[(i32, i64)]>,
    ) -> Result<()>;

    // ---- commits

    /// Makes segments and checkpoints official together.
    ///
    /// Asked again with the same id and content it gives the commit of the first time, also after the lease was lost.
    ///
    /// # Errors
    /// `NotFound` for a dropped table; `Fenced` for another epoch; `Moved` when a checkpoint is missing, stands elsewhere
    /// or is of another topic; `Invalid` for a request that breaks a rule, or an id that was used for another one;
    /// `Exists` for a segment or file that is in the catalog already.
    async fn publish(&self, publication: Publication) -> Result<Commit>;

    /// The commit of a request, if it was made: what to ask when an outcome is unknown.
    async fn publication(&self, id: PublishId) -> Result<Option<Commit>>;

    /// Closes segments and opens others in one commit. Asked again, as [`publish`](Self::publish).
    ///
    /// # Errors
    /// As [`publish`](Self::publish); `Changed` when a segment to close is not open; `Corrupt` when a compaction's rows or
    /// sums differ between what is closed and what is opened.
    async fn replace(&self, replacement: Replacement) -> Result<Commit>;

    /// Closes the open segments whose interval lies inside `interval`. The commit is made even when there are none.
    /// `Invalid`, naming it, when a segment's interval reaches over the border.
    async fn drop_interval(&self, table: TableId, interval: Interval, lease: Option<&LeaseRef>) -> Result<Commit>;

    /// Takes a commit of the last day back: closes what it opened and opens the files of what it closed again, under new
    /// ids, given as pairs (old, new) with an equal interval.
    ///
    /// # Errors
    /// `NotFound` for an unknown request or dropped table; `Changed` when something it opened was closed since, or files
    /// of what it closed are being deleted; `Invalid` when it is older than a day or the ids do not fit.
    async fn undo(&self, publish: PublishId, new_ids: &[(SegmentId, SegmentId)]) -> Result<Commit>;

    /// The number of the last commit; 0 before the first.
    async fn last_commit(&self) -> Result<u64>;

    /// Commits after `seq`, in order, at most `limit`. `NotFound` when one of them was forgotten.
    async fn commits_since(&self, seq: u64, limit: usize) -> Result<Vec<Commit>>;

    // ---- segments

    /// The open segments of a table, and the last commit, in one look. `NotFound` for a dropped table.
    async fn reading(&self, table: TableId) -> Result<TableReading>;

    /// The segments of a table visible at a commit; `None`: all rows, also closed ones whose files are not yet deleted,
    /// and those of a dropped table. By number.
    async fn segments(&self, table: TableId, at: Option<u64>) -> Result<Vec<SegmentRow>>;

    // ---- idempotency keys

    /// A key of a table. One whose row a damaged page has lost is not told from one that never was; `dedup_since` is what
    /// finds it.
    async fn dedup(&self, table: TableId, key: &str) -> Result<Option<DedupKey>>;

    /// The youngest `limit` keys answered at `since` or later, oldest first. Reads every key of the table, and finds a lost
    /// one: for the start of a node.
    async fn dedup_since(&self, table: TableId, since: Timestamp, limit: usize) -> Result<Vec<DedupKey>>;

    /// Removes keys answered before `before`, oldest first, as long as more than `keep_max` are left. Gives how many.
    async fn prune_dedup(&self, table: TableId, before: Timestamp, keep_max: usize) -> Result<u64>;

    // ---- what became of rows

    /// What became of the rows of each stream partition of a table, up to its checkpoint. Written by
    /// [`publish`](Self::publish); a reset of offsets leaves it, because what is read again is counted again.
    async fn accounts(&self, table: TableId) -> Result<Vec<AccountRow>>;

    /// The dead letters of a table's published records, at most `limit` of the newest.
    async fn dead_letters(&self, table: TableId, limit: usize) -> Result<DeadLetters>;

    /// The field that holds the time of rows pushed into a table, if one was chosen.
    async fn push_time(&self, table: TableId) -> Result<Option<String>>;

    /// Chooses it, unless one was chosen; gives the one that stands. `NotFound` for a dropped table.
    async fn set_push_time(&self, table: TableId, field: &str) -> Result<String>;

    // ---- lost ranges

    /// Notes a lost range, in place of one that begins at the same offset. `Invalid` when it is empty, `NotFound` for a
    /// dropped table.
    async fn record_gap(&self, gap: DataGap) -> Result<()>;

    /// Lost ranges of one table or of all.
    async fn data_gaps(&self, table: Option<TableId>) -> Result<Vec<DataGap>>;

    // ---- upkeep

    /// Segments closed before an instant none of whose files an open row names: their files may go. From this answer on
    /// no undo opens them again. Deleting is the caller's, then [`segments_deleted`](Self::segments_deleted).
    async fn segments_to_delete(&self, closed_before: Timestamp) -> Result<Vec<SegmentRow>>;

    /// Forgets closed segments whose files are gone. `Invalid` for one that `segments_to_delete` did not name; one that is
    /// not there is passed over.
    async fn segments_deleted(&self, table: TableId, ids: &[SegmentId]) -> Result<()>;

    /// Forgets commits made before an instant, from the first on and at most `limit`, and the ranges that only they explain;
    /// gives how many. Left are those that can be undone, those whose log entry is not stored, and all after one of these. A
    /// request that became a forgotten commit is refused when it comes again, because what it builds on has moved.
    async fn prune_commits(&self, before: Timestamp, limit: usize) -> Result<u64>;

    /// Which of these paths no row names, open or closed: objects of dead attempts.
    async fn unnamed(&self, paths: &[String]) -> Result<Vec<String>>;

    /// Looks for anything that is not as it must be, over every row; a text for each finding. Costs a reading of
    /// everything.
    async fn check(&self) -> Result<Vec<String>>;

    /// Everything, as lines of JSON, each with its hash, ended by a line that says how many: the nightly copy. `Corrupt`
    /// when the catalog does not pass [`check`](Self::check): a copy of damage must not take the place of a good one.
    async fn export(&self) -> Result<Vec<u8>>;

    /// Log entries of commits after `after`, in order, at most `limit`; those not yet handed to
    /// [`log_stored`](Self::log_stored).
    async fn log_entries(&self, after: u64, limit: usize) -> Result<Vec<LogEntry>>;

    /// Says that the log entries up to `through` are safe elsewhere; the catalog forgets them. A node that keeps no log
    /// calls it as well, or they pile up.
    async fn log_stored(&self, through: u64) -> Result<()>;

    /// Makes the catalog again in this one, which must be empty: from an [`export`](Self::export), followed by any log
    /// entries in any order. Entries the export holds already are passed over. All epochs are raised by 2^20, so that no
    /// writer of the former catalog is accepted. What only a copy holds and no log entry (supervisors, lost ranges,
    /// checkpoints without a publication) is as it was when the copy was made. Dead letters are in neither: they count as
    /// dropped.
    ///
    /// # Errors
    /// `Exists` when this catalog is not empty; `Corrupt` when a line is damaged, the copy is cut off, an entry is
    /// missing between two, or the result does not pass [`check`](Self::check).
    async fn rebuild(&self, copy: &[u8]) -> Result<()>;
}

#[cfg(test)]
pub(crate) mod suite;
