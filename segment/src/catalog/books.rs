//! What the ledger asks of a store: relations of rows, ordered by key, in one transaction.
//!
//! Five row operations and no more, so that a store is small enough to be believed, and the rules stand in one place
//! above it. A row is a list of integers and texts; its hash is made here, over the relation's name and every value, kept
//! beside it and compared on every read by the store. A lost row has no hash to compare: for that relations are
//! *guarded*, with the count and the sum of their rows' hashes in a row of their own (see `ledger`).

use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::error::{Result, SegmentError};

/// One value of a row. Ordered as databases order them: nothing, integers, texts by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// Nothing.
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Int(int) => write!(f, "{int}"),
            Self::Text(text) => f.write_str(&crate::time::shorten(text)),
        }
    }
}

/// How far a full reading of rows is checked against their guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Not at all: hashes of rows only.
    None,
    /// All rows of the relation together.
    Whole,
    /// The rows of each value of the first column: of each table.
    First,
}

/// A relation: its name, its columns, of which the first `key` are the key.
#[derive(Debug)]
pub(crate) struct Relation {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
    pub(crate) key: usize,
    pub(crate) guard: Guard,
}

/// A row with its hash.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) values: Vec<Value>,
    pub(crate) sum: u64,
}

impl Record {
    /// A row as it is to be kept.
    pub(crate) fn new(relation: &Relation, values: Vec<Value>) -> Self {
        let sum = sum_of(relation, &values);
        Self { values, sum }
    }

    /// The key of the row.
    pub(crate) fn key(&self, relation: &Relation) -> &[Value] {
        self.values.get(..relation.key).unwrap_or(&self.values)
    }

    /// Itself, if its hash is that of its values.
    pub(crate) fn verified(self, relation: &Relation) -> Result<Self> {
        if self.sum == sum_of(relation, &self.values) {
            return Ok(self);
        }
        let reason = "it does not have the hash it was written with: rebuild the catalog from its nightly copy";
        Err(SegmentError::corrupt(name_of(relation, self.key(relation)), reason))
    }
}

/// A row's name in an error.
pub(crate) fn name_of(relation: &Relation, key: &[Value]) -> String {
    let key = key.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
    format!("row ({key}) of the catalog's `{}`", relation.name)
}

/// The first 8 bytes of a SHA-256 over the relation's name and every value with its sort and length.
fn sum_of(relation: &Relation, values: &[Value]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(relation.name.as_bytes());
    for value in values {
        match value {
            Value::Null => hash.update([0]),
            Value::Int(int) => {
                hash.update([1]);
                hash.update(int.to_le_bytes());
            }
            Value::Text(text) => {
                hash.update([2]);
                hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
    }
    first_8(&hash.finalize())
}

/// The first 8 bytes of a hash as a number.
pub(crate) fn first_8(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Which rows are wanted: those whose key begins with `prefix`, and whose next key column is at least `from`; in the order
/// of their keys, or against it.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) prefix: Vec<Value>,
    pub(crate) from: Option<Value>,
    pub(crate) limit: Option<usize>,
    pub(crate) reverse: bool,
}

impl Scan {
    /// All rows with this beginning of a key.
    pub(crate) fn of(prefix: Vec<Value>) -> Self {
        Self { prefix, ..Self::default() }
    }
}

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Look, at one moment.
    Read,
    /// Change, alone.
    Write,
}

/// A store of relations.
#[async_trait]
pub(crate) trait Store: Send + Sync + Debug {
    /// Its transaction. Dropped without `commit`, nothing of it remains.
    type Books: Books;

    /// Begins a transaction. Of those that write there is one at a time.
    async fn begin(&self, access: Access) -> Result<Self::Books>;

    /// Where the times in rows come from.
    fn clock(&self) -> &Arc<dyn Clock>;
}

/// The rows inside one transaction. Every row given was verified.
#[async_trait]
pub(crate) trait Books: Send {
    /// The row with this key.
    async fn get(&mut self, relation: &'static Relation, key: &[Value]) -> Result<Option<Record>>;

    /// The rows wanted.
    async fn scan(&mut self, relation: &'static Relation, scan: Scan) -> Result<Vec<Record>>;

    /// How many rows have a key that begins so.
    async fn count(&mut self, relation: &'static Relation, prefix: &[Value]) -> Result<u64>;

    /// Stores rows, each in place of one with an equal key.
    async fn put(&mut self, relation: &'static Relation, rows: Vec<Record>) -> Result<()>;

    /// Removes the rows whose key begins so.
    async fn remove(&mut self, relation: &'static Relation, prefix: &[Value]) -> Result<()>;

    /// Milliseconds of the clock leases run by.
    async fn lease_now(&mut self) -> Result<i64>;

    /// What is wrong below the rules: damaged pages, rows whose hash differs.
    async fn audit(&mut self, relations: &[&'static Relation]) -> Result<Vec<String>>;

    /// Makes it so. An error of the commit itself says `outcome_unknown`.
    async fn commit(self) -> Result<()>;
}
