//! Copies of the catalog: the nightly export, the log of commits, and the way back from both.
//!
//! Everything is lines of JSON, so that a damaged line is one line and a person can read it:
//!
//! ```text
//!   {"freshet_catalog":2}                              an export begins
//!   {"row":["segments",1,17,"wiki_…",…],"sum":…}        one row, with the hash it has in the catalog
//!   {"end":…}                                          and ends with the count of its rows
//!   {"log":42,"rows":[["commits",42,…],…],"sum":…}      what one commit wrote, as it was then
//! ```
//!
//! A log entry is made inside the transaction of its commit and waits in the outbox until somebody says it is stored; a
//! crash between the two loses none. It holds the rows the commit wrote and its table's row, so it can be put on top of
//! any older state. Rows of the outbox and guards are not copied: they are made again. Dead letters
//! are not either, only how many there were: a copy is what is needed to answer queries again, and the letters of a broken
//! producer would be the most of it.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::books::{Books, Record, Relation, Scan, Value, first_8};
use super::super::entries::{
    Cell, Counter, Entry, GuardRow, LeaseEntry, LetterEntry, OutboxEntry, PushTimeEntry, RELATIONS, SegmentEntry,
    TableEntry,
};
use super::super::rows::LogEntry;
use super::{COMMIT, GUARD, Ledger, TABLE, table_key, typed};
use crate::error::{Result, SegmentError};
use crate::id::TableId;
use sha2::{Digest, Sha256};

/// Version of the lines.
const COPY_VERSION: u64 = 2;
/// How far a rebuilt catalog's epochs are ahead of those of its copy.
const EPOCHS_SKIPPED: u64 = 1 << 20;
/// Findings of a check that an error names.
const FINDINGS_NAMED: usize = 5;

/// Whether a relation's rows are part of copies.
pub(super) fn is_copied(relation: &Relation) -> bool {
    [GuardRow::RELATION, OutboxEntry::RELATION, LetterEntry::RELATION]
        .iter()
        .all(|left_out| left_out.name != relation.name)
}

fn row_json(relation: &Relation, record: &Record) -> Json {
    let values = record.values.iter().map(|value| match value {
        Value::Null => Json::Null,
        Value::Int(int) => json!(int),
        Value::Text(text) => json!(text),
    });
    Json::Array(std::iter::once(json!(relation.name)).chain(values).collect())
}

fn row_read(json: &Json) -> Option<(&'static Relation, Record)> {
    let (name, values) = json.as_array()?.split_first()?;
    let relation = RELATIONS.iter().copied().find(|relation| Some(relation.name) == name.as_str())?;
    let values: Option<Vec<Value>> = values
        .iter()
        .map(|value| match value {
            Json::Null => Some(Value::Null),
            Json::Number(number) => number.as_i64().map(Value::Int),
            Json::String(text) => Some(Value::Text(text.clone())),
            Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
        })
        .collect();
    let values = values.filter(|values| values.len() == relation.columns.len() && is_copied(relation))?;
    Some((relation, Record::new(relation, values)))
}

fn line(json: &Json) -> Vec<u8> {
    let mut bytes = json.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn hash_of(seq: u64, rows: &Json) -> u64 {
    first_8(&Sha256::digest(format!("{seq} {rows}")))
}

/// What a copy holds: the rows of the export, and those of each log entry.
#[derive(Default)]
struct Copy {
    rows: Vec<(&'static Relation, Record)>,
    log: BTreeMap<u64, Vec<(&'static Relation, Record)>>,
}

impl Copy {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut copy = Self::default();
        let mut open = false;
        for (number, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if text.is_empty() {
                continue;
            }
            let read = copy.read_line(text, &mut open);
            read.map_err(|reason| SegmentError::corrupt(format!("line {} of the catalog's copy", number + 1), reason))?;
        }
        if open {
            return Err(SegmentError::corrupt("the catalog's copy", "it has no last line: it was cut off"));
        }
        Ok(copy)
    }

    fn read_line(&mut self, text: &[u8], open: &mut bool) -> Result<(), String> {
        let json: Json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let number = |key: &str| json.get(key).and_then(Json::as_u64);
        if let Some(version) = number("freshet_catalog") {
            if version > COPY_VERSION {
                return Err(format!("it has version {version}, this server reads up to {COPY_VERSION}"));
            }
            if *open || !self.rows.is_empty() {
                return Err("a second export begins".to_owned());
            }
            *open = true;
        } else if let Some(row) = json.get("row") {
            let (relation, record) = row_read(row).filter(|_| *open).ok_or("it is no row of the catalog")?;
            if number("sum") != Some(record.sum) {
                return Err("its hash is another".to_owned());
            }
            self.rows.push((relation, record));
        } else if let Some(end) = number("end") {
            if !*open || u64::try_from(self.rows.len()) != Ok(end) {
                return Err(format!("{end} rows were copied, {} are there", self.rows.len()));
            }
            *open = false;
        } else if let (Some(seq), Some(rows)) = (number("log"), json.get("rows")) {
            if number("sum") != Some(hash_of(seq, rows)) {
                return Err("its hash is another".to_owned());
            }
            let read: Option<Vec<_>> = rows.as_array().and_then(|rows| rows.iter().map(row_read).collect());
            self.log.insert(seq, read.ok_or("it holds what is no row of the catalog")?);
        } else {
            return Err("it is neither a row nor a log entry".to_owned());
        }
        Ok(())
    }
}

impl<B: Books> Ledger<B> {
    pub(super) async fn export(&mut self) -> Result<Vec<u8>> {
        // A copy of damage would take the place of a good one.
        self.must_pass("the catalog").await?;
        let mut bytes = line(&json!({ "freshet_catalog": COPY_VERSION }));
        let mut count = 0_u64;
        for relation in RELATIONS.iter().copied().filter(|relation| is_copied(relation)) {
            let records = self.books.scan(relation, Scan::default()).await?;
            for record in records {
                if relation.name == Counter::RELATION.name && record.values.first() == Some(&Value::Text(GUARD.into()))
                {
                    continue;
                }
                bytes.extend(line(&json!({ "row": row_json(relation, &record), "sum": record.sum })));
                count += 1;
            }
        }
        bytes.extend(line(&json!({ "end": count })));
        Ok(bytes)
    }

    /// Leaves what the transaction wrote in the outbox.
    pub(super) async fn write_log(&mut self, seq: u64, table: TableId) -> Result<()> {
        let mut rows: BTreeMap<(&str, Vec<Value>), (&'static Relation, Record)> = BTreeMap::new();
        if let Some(record) = self.books.get(TableEntry::RELATION, &[table_key(table)]).await? {
            self.written.push((TableEntry::RELATION, record));
        }
        // Set outside of any commit, so each takes it along.
        if let Some(record) = self.books.get(PushTimeEntry::RELATION, &[table_key(table)]).await? {
            self.written.push((PushTimeEntry::RELATION, record));
        }
        for (relation, record) in self.written.drain(..) {
            if is_copied(relation) && relation.name != Counter::RELATION.name {
                rows.insert((relation.name, record.key(relation).to_vec()), (relation, record));
            }
        }
        let rows = Json::Array(rows.values().map(|(relation, record)| row_json(relation, record)).collect());
        let entry = line(&json!({ "log": seq, "sum": hash_of(seq, &rows), "rows": rows }));
        let line = String::from_utf8(entry).map_err(|_| SegmentError::invalid("log entry", "it is not UTF-8"))?;
        self.put(&OutboxEntry { seq, line }).await
    }

    pub(super) async fn log_entries(&mut self, after: u64, limit: usize) -> Result<Vec<LogEntry>> {
        let from = Some(after.saturating_add(1).to_value());
        let waiting: Vec<OutboxEntry> = self.scan(Scan { from, limit: Some(limit), ..Scan::default() }).await?;
        // What waits has no hole and ends with the last commit: entries are forgotten from the first on, up to one. So how
        // many there are, which their guard knows, says where they begin.
        let guard = [Value::Text(OutboxEntry::RELATION.name.to_owned()), Value::Text(String::new())];
        let count = self.get::<GuardRow>(&guard).await?.map_or(0, |guard| guard.rows);
        let last = self.counter(COMMIT).await?;
        let first = last.saturating_sub(count).max(after).saturating_add(1);
        if !waiting.iter().map(|entry| entry.seq).eq((first..=last).take(limit)) {
            return Err(SegmentError::corrupt("the catalog's `outbox`", format!("an entry after {after} is gone")));
        }
        Ok(waiting.into_iter().map(|entry| LogEntry { seq: entry.seq, bytes: entry.line.into_bytes() }).collect())
    }

    pub(super) async fn log_stored(&mut self, through: u64) -> Result<()> {
        let waiting = self.books.scan(OutboxEntry::RELATION, Scan::default()).await?;
        for record in waiting {
            let key = record.key(OutboxEntry::RELATION).to_vec();
            if typed::<OutboxEntry>(record)?.seq <= through {
                self.remove::<OutboxEntry>(&key).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn rebuild(&mut self, copy: &[u8]) -> Result<()> {
        for relation in RELATIONS.iter().copied().filter(|relation| relation.name != Counter::RELATION.name) {
            if self.books.count(relation, &[]).await? > 0 {
                let name = "it holds rows: rebuild into a new one".to_owned();
                return Err(SegmentError::Exists { what: "catalog", name });
            }
        }
        let Copy { rows, log } = Copy::read(copy)?;
        for (relation, record) in rows {
            self.put_record(relation, record).await?;
        }
        let mut last = self.counter(COMMIT).await?;
        for (seq, rows) in log {
            if seq <= last {
                continue;
            }
            if seq != last + 1 {
                let reason = format!("after commit {last} comes {seq}: log entries are missing");
                return Err(SegmentError::corrupt("the catalog's copy", reason));
            }
            for (relation, record) in rows {
                self.put_record(relation, record).await?;
            }
            last = seq;
        }
        self.settle(last).await?;
        self.flush_guards().await?;
        self.must_pass("the rebuilt catalog").await
    }

    async fn must_pass(&mut self, what: &str) -> Result<()> {
        let findings = self.check().await?;
        if findings.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = findings.into_iter().take(FINDINGS_NAMED).collect();
        Err(SegmentError::corrupt(what, named.join("; ")))
    }

    /// Puts right what log entries do not say: counters, epochs, and what went with dropped tables.
    async fn settle(&mut self, last: u64) -> Result<()> {
        self.set_counter(COMMIT, last).await?;
        let tables: Vec<TableEntry> = self.book(None).await?;
        let highest = tables.iter().map(|table| table.id.0).max().unwrap_or(0);
        let given = self.counter(TABLE).await?.max(highest);
        self.set_counter(TABLE, given).await?;
        for table in tables {
            let mut largest = 0;
            for segment in self.book::<SegmentEntry>(Some(table_key(table.id))).await? {
                largest = largest.max(segment.number);
            }
            if table.dropped_at.is_some() {
                self.forget_positions(table.id).await?;
                self.forget_empty(table.id).await?;
            } else if table.next_number <= largest {
                self.put(&TableEntry { next_number: largest.saturating_add(1), ..table }).await?;
            }
        }
        self.settle_letters().await?;
        for lease in self.book::<LeaseEntry>(None).await? {
            let epoch = lease.epoch.saturating_add(EPOCHS_SKIPPED);
            self.put(&LeaseEntry { epoch, owner: None, expires: 0, ..lease }).await?;
        }
        Ok(())
    }
}
