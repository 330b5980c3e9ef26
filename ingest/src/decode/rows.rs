//! Rows of a batch, held column by column until their types are known.
//!
//! A column is a list of cells, each with its row: absent fields cost nothing, and a refused row is taken back by
//! popping the cells it added. Texts of a column lie behind one another in one buffer. A cell keeps what the record
//! said (a whole number, a fraction, text, an array of texts, nested JSON); the type of the column is decided once,
//! over the batch and the table's schema, and only then are cells written to Arrow.
//!
//! A declared column coerces cell by cell as Druid does; a value that does not fit becomes null and is counted, or
//! refuses its row where the table says so ([`BadField`]).

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMillisecondArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Field, Schema};
use freshet_segment::schema::{COLUMN_COUNT_MAX, Column, ColumnType, Observed, TIME_COLUMN, TableSchema};

use super::DEPTH_MAX;
use super::columns::{Cells, Rule, Slot};
use super::nested::{Compactor, NestedError};
use super::values::{Bad, put_discovered, put_double, put_json, put_long, put_text, put_timestamp, read_time};
use crate::error::{IngestError, Result, shorten};
use crate::spec::{DimensionsSpec, Discovery, TimeSpec};
use crate::transform::TimeColumn;

/// Slots beyond those of the table that may pile up from refused rows before they are forgotten.
const STALE_SLOTS_MAX: usize = 1_000;
/// Rejections of one batch that are kept with their reason; the rest is counted.
const REJECTIONS_MAX: usize = 10_000;

/// What happens when a value does not fit a declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadField {
    /// The field becomes null, is counted and listed.
    Null,
    /// The row is refused.
    RejectRow,
}

/// Which fields become columns of which type, and where the time is.
#[derive(Debug, Clone)]
pub struct DecodeRules {
    declared: HashMap<String, ColumnType>,
    undeclared: Discovery,
    exclusions: HashSet<String>,
    time_column: String,
    time: TimeColumn,
    bad_field: BadField,
}

impl DecodeRules {
    /// The rules of a spec.
    pub fn new(dimensions: &DimensionsSpec, time: &TimeSpec, time_column: TimeColumn, bad_field: BadField) -> Self {
        Self {
            declared: dimensions.declared.iter().map(|d| (d.name.clone(), d.column_type)).collect(),
            undeclared: dimensions.undeclared(),
            exclusions: dimensions.exclusions.iter().cloned().collect(),
            time_column: time.column.clone(),
            time: time_column,
            bad_field,
        }
    }

    fn rule(&self, name: &str) -> Rule {
        match self.declared.get(name) {
            Some(column_type) => Rule::Typed(*column_type),
            None if name == self.time_column || name == TIME_COLUMN || self.exclusions.contains(name) => Rule::Ignore,
            None => match self.undeclared {
                Discovery::Listed => Rule::Ignore,
                Discovery::Strings => Rule::Typed(ColumnType::String),
                Discovery::Typed => Rule::Discover,
            },
        }
    }
}

/// Where in a row something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The row as a whole.
    Row,
    /// A position in the record's text.
    Position {
        /// From 1.
        line: u64,
        /// In bytes, from 1.
        column: u64,
    },
    /// A field.
    Field(String),
}

impl At {
    /// For people; nothing for the row as a whole. `first_line` is the line at which the record begins, from 0.
    pub fn text(&self, first_line: u64) -> Option<String> {
        match self {
            Self::Row => None,
            Self::Position { line, column } => Some(format!("line {}, column {column}", first_line + line)),
            Self::Field(name) => Some(format!("field `{name}`")),
        }
    }
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The record it came from.
    pub record: u32,
    /// Its number among all rows of the batch, good or bad, from 0.
    pub row: u64,
    /// Its number among the rows of its record, from 0.
    pub row_in_record: u64,
    /// Where in the row.
    pub at: At,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A field of a stored row that became null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The record it came from.
    pub record: u32,
    /// Its number among all rows of the batch, good or bad, from 0.
    pub row: u64,
    /// Its number among the rows of its record, from 0.
    pub row_in_record: u64,
    /// The field.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// Number of a column within [`Rows`].
pub(super) type SlotId = u32;
/// A field that no column is made of.
pub(super) const NO_SLOT: SlotId = SlotId::MAX;

/// A batch of rows on its way from records to Arrow.
pub struct Rows {
    rules: DecodeRules,
    slots: Vec<Slot>,
    by_name: HashMap<Arc<str>, SlotId>,
    schema: Option<Arc<TableSchema>>,
    /// How many columns the table may still get.
    columns_left: usize,
    compactor: Compactor,

    times: Vec<i64>,
    records: Vec<u32>,
    /// Rows whose time lies outside are left out.
    accepted: Option<Range<i64>>,
    late_rows: u64,
    refused_rows: u64,
    rejections: Vec<Rejection>,
    field_errors: Vec<FieldError>,
    rows_with_errors: u64,

    /// The record being read, and the number of its first row.
    record_begin: Option<(u32, u64)>,

    // The row being read.
    time: Option<Result<i64, String>>,
    touched: Vec<SlotId>,
    refusal: Option<(At, String, Option<String>)>,
    field_errors_before: usize,
}

impl Rows {
    /// Empty rows under `rules`.
    pub fn new(rules: DecodeRules) -> Self {
        Self {
            rules,
            slots: Vec::new(),
            by_name: HashMap::new(),
            schema: None,
            columns_left: COLUMN_COUNT_MAX,
            compactor: Compactor::default(),
            times: Vec::new(),
            records: Vec::new(),
            accepted: None,
            late_rows: 0,
            refused_rows: 0,
            rejections: Vec::new(),
            field_errors: Vec::new(),
            rows_with_errors: 0,
            record_begin: None,
            time: None,
            touched: Vec::new(),
            refusal: None,
            field_errors_before: 0,
        }
    }

    /// Forgets all rows and makes ready for a batch into a table of this schema; buffers are kept.
    pub fn begin(&mut self, schema: &Arc<TableSchema>) {
        for slot in &mut self.slots {
            slot.rows.clear();
            slot.cells.clear();
            slot.text.clear();
        }
        let is_new = |slot: &&Slot| slot.rule != Rule::Ignore && schema.index_of(&slot.name).is_none();
        let mut new = self.slots.iter().filter(is_new).count();
        if new > STALE_SLOTS_MAX {
            self.slots.clear();
            self.by_name.clear();
            new = 0;
        }
        self.schema = Some(Arc::clone(schema));
        self.columns_left = COLUMN_COUNT_MAX.saturating_sub(schema.columns().len() + new);
        self.times.clear();
        self.records.clear();
        self.late_rows = 0;
        self.refused_rows = 0;
        self.rejections.clear();
        self.field_errors.clear();
        self.rows_with_errors = 0;
        self.record_begin = None;
        self.touched.clear();
        self.time = None;
        self.refusal = None;
        self.field_errors_before = 0;
    }

    /// From now on, leaves out rows whose time lies outside of these milliseconds; with none, all are taken.
    pub fn accept(&mut self, millis: Option<Range<i64>>) {
        self.accepted = millis;
    }

    /// How many rows lay outside the accepted time.
    pub fn late(&self) -> u64 {
        self.late_rows
    }

    /// Finished rows.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether no row is finished.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The time of each finished row, in milliseconds.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// The record each finished row came from.
    pub fn records(&self) -> &[u32] {
        &self.records
    }

    /// How many rows were refused.
    pub fn refused(&self) -> u64 {
        self.refused_rows
    }

    /// The refused rows, the first ten thousand of them.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Fields of finished rows that became null, the first ten thousand of them.
    pub fn field_errors(&self) -> &[FieldError] {
        &self.field_errors
    }

    /// How many finished rows have such a field.
    pub fn rows_with_errors(&self) -> u64 {
        self.rows_with_errors
    }

    fn row(&self) -> u32 {
        // Bounded with the bytes of a batch.
        self.times.len() as u32
    }

    fn ordinal(&self) -> u64 {
        self.times.len() as u64 + self.refused_rows + self.late_rows
    }

    /// Number of the row being read among those of its record.
    fn row_in_record(&self, record: u32) -> u64 {
        match self.record_begin {
            Some((current, begin)) if current == record => self.ordinal() - begin,
            _ => 0,
        }
    }

    /// The slot of a field, and whether its value is wanted at all.
    pub(super) fn slot(&mut self, name: &str) -> SlotId {
        match self.by_name.get(name) {
            Some(slot) => *slot,
            None => self.new_slot(name),
        }
    }

    fn new_slot(&mut self, name: &str) -> SlotId {
        let rule = self.rules.rule(name);
        let is_time = name == self.rules.time_column;
        if rule == Rule::Ignore && !is_time {
            return NO_SLOT;
        }
        if name.is_empty() {
            self.refuse(At::Row, "a field has no name".to_owned(), Some("name every field".to_owned()));
            return NO_SLOT;
        }
        let is_new = rule != Rule::Ignore && self.schema.as_ref().is_none_or(|schema| schema.index_of(name).is_none());
        if is_new && self.columns_left == 0 {
            let reason = format!(
                "field `{}` would be one column too many: a table has at most {COLUMN_COUNT_MAX}",
                shorten(name)
            );
            let hint = "list the wanted dimensions in the spec, or nest rare fields in one object";
            self.refuse(At::Field(shorten(name)), reason, Some(hint.to_owned()));
            return NO_SLOT;
        }
        self.columns_left -= usize::from(is_new);
        let id = self.slots.len() as SlotId;
        let name: Arc<str> = Arc::from(name);
        self.by_name.insert(Arc::clone(&name), id);
        let (rows, cells, text) = (Vec::new(), Vec::new(), String::new());
        self.slots.push(Slot { name, rule, is_time, rows, cells, text, failed: None });
        id
    }

    /// Whether the spec lists the column.
    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.rules.declared.contains_key(name)
    }

    /// The field that holds the time.
    pub(super) fn time_column(&self) -> &str {
        &self.rules.time_column
    }

    pub(super) fn is_named(&self, slot: SlotId, name: &str) -> bool {
        self.slots.get(slot as usize).is_some_and(|slot| &*slot.name == name)
    }

    /// A value as its JSON text, without white space around it.
    pub(super) fn value(&mut self, slot: SlotId, raw: &str) {
        let Some(held) = self.slots.get_mut(slot as usize) else { return };
        let row = self.times.len() as u32;
        if held.rows.last() == Some(&row) {
            held.pop(row);
        } else {
            self.touched.push(slot);
        }
        // An earlier value of the same key does not count, so neither does what was wrong with it.
        let earlier = held.failed.take().filter(|at| *at >= self.field_errors_before);
        if let Some(at) = earlier
            && self.field_errors.get(at).is_some_and(|error| *error.field == *held.name)
        {
            self.field_errors.swap_remove(at);
            let moved = self.field_errors.get(at).and_then(|error| self.by_name.get(&*error.field));
            if let Some(moved) = moved.and_then(|slot| self.slots.get_mut(*slot as usize)) {
                moved.failed = Some(at);
            }
        }
        let Some(held) = self.slots.get_mut(slot as usize) else { return };
        if held.is_time {
            self.time = read_time(&mut self.rules.time, raw);
        }
        let held = &mut self.slots[slot as usize];
        let put = match held.rule {
            Rule::Ignore => Ok(()),
            Rule::Discover => put_discovered(held, row, raw, &self.compactor),
            Rule::Typed(ColumnType::String) => put_text(held, row, raw, &self.compactor),
            Rule::Typed(ColumnType::Json) => put_json(held, row, raw, &self.compactor),
            Rule::Typed(ColumnType::Timestamp) => put_timestamp(held, row, raw),
            Rule::Typed(ColumnType::Long) => put_long(held, row, raw),
            Rule::Typed(ColumnType::Double | ColumnType::Float) => put_double(held, row, raw),
        };
        match put {
            Ok(()) => {}
            Err(Bad::Nested(error)) => {
                let name = held.name.to_string();
                let (reason, hint) = match error {
                    NestedError::TooDeep => (
                        format!("the value is nested deeper than {} levels", DEPTH_MAX),
                        "flatten it before it is sent".to_owned(),
                    ),
                    NestedError::BadString(why) => (why, "send valid UTF-8 and whole surrogate pairs".to_owned()),
                };
                self.refuse(At::Field(name), reason, Some(hint));
            }
            Err(Bad::Value(reason)) => {
                let name = held.name.to_string();
                match self.rules.bad_field {
                    BadField::RejectRow => {
                        let hint = "send a value of that type, or leave the field out".to_owned();
                        self.refuse(At::Field(name), reason, Some(hint));
                    }
                    BadField::Null => {
                        held.failed = Some(self.field_errors.len());
                        // The record is known at the end of the row.
                        let (record, row, row_in_record) = (0, self.ordinal(), 0);
                        self.field_errors.push(FieldError { record, row, row_in_record, field: name, reason });
                    }
                }
            }
        }
    }

    /// Marks the row being read as refused; the first reason stands.
    pub(super) fn refuse(&mut self, at: At, reason: String, hint: Option<String>) {
        self.refusal.get_or_insert((at, reason, hint));
    }

    /// As [`refuse`](Self::refuse), but this reason stands: broken syntax explains whatever was found before it.
    pub(super) fn refuse_over(&mut self, at: At, reason: String, hint: Option<String>) {
        self.refusal = Some((at, reason, hint));
    }

    /// Ends the row being read: it is finished, or taken back.
    pub(super) fn end_row(&mut self, record: u32) {
        if self.record_begin.is_none_or(|(current, _)| current != record) {
            self.record_begin = Some((record, self.ordinal()));
        }
        if self.refusal.is_none() {
            let time = match self.time.take() {
                Some(time) => time,
                None => self.rules.time.missing(),
            };
            match time {
                Ok(millis) if self.accepted.as_ref().is_some_and(|taken| !taken.contains(&millis)) => {
                    self.take_back_cells();
                    self.late_rows += 1;
                    return;
                }
                Ok(millis) => {
                    if self.field_errors.len() > self.field_errors_before {
                        self.rows_with_errors += 1;
                        let row_in_record = self.row_in_record(record);
                        for error in &mut self.field_errors[self.field_errors_before..] {
                            error.record = record;
                            error.row_in_record = row_in_record;
                        }
                        self.field_errors.truncate(REJECTIONS_MAX);
                        self.field_errors_before = self.field_errors.len();
                    }
                    self.times.push(millis);
                    self.records.push(record);
                    self.touched.clear();
                    return;
                }
                Err(reason) => {
                    let column = self.rules.time_column.clone();
                    let other = match self.rules.bad_field {
                        BadField::Null => "set timestampSpec.missingValue",
                        BadField::RejectRow => "name another field with ?timestampColumn=FIELD",
                    };
                    let hint = format!("put the event's time into `{column}`, or {other}");
                    self.refuse(At::Field(column), reason, Some(hint));
                }
            }
        }
        self.take_back(record);
    }

    fn take_back_cells(&mut self) {
        let row = self.row();
        for slot in self.touched.drain(..) {
            self.slots[slot as usize].pop(row);
        }
        self.field_errors.truncate(self.field_errors_before);
        self.time = None;
    }

    fn take_back(&mut self, record: u32) {
        self.take_back_cells();
        let (at, reason, hint) =
            self.refusal.take().unwrap_or_else(|| (At::Row, "the row was refused".to_owned(), None));
        if self.rejections.len() < REJECTIONS_MAX {
            let (row, row_in_record) = (self.ordinal(), self.row_in_record(record));
            let rejection = Rejection { record, row, row_in_record, at, reason, hint };
            self.rejections.push(rejection);
        }
        self.refused_rows += 1;
    }

    /// Columns of these rows, with their types over the whole batch.
    pub fn observed(&self) -> Vec<Observed> {
        self.slots.iter().filter_map(Slot::observed).collect()
    }

    /// Builds a batch of the rows in `range`, in the types of `schema`, which holds all that was
    /// [`observed`](Self::observed). The first column is `__time`; columns without a value are left out.
    ///
    /// # Errors
    /// `Internal` when `schema` is narrower than the rows.
    pub fn batch(&self, schema: &TableSchema, range: Range<usize>) -> Result<RecordBatch> {
        let len = range.len();
        let mut fields: Vec<Field> = vec![Column::time().field()];
        let times = ScalarBuffer::from(self.times[range.clone()].to_vec());
        let mut arrays: Vec<ArrayRef> =
            vec![Arc::new(TimestampMillisecondArray::new(times, None).with_timezone("UTC"))];
        for slot in &self.slots {
            let from = slot.rows.partition_point(|row| (*row as usize) < range.start);
            let to = slot.rows.partition_point(|row| (*row as usize) < range.end);
            if from == to {
                continue;
            }
            let column = schema.column(&slot.name).ok_or_else(|| {
                IngestError::internal(format!("the schema lacks column `{}` of its batch", slot.name))
            })?;
            let cells =
                Cells { slot, rows: &slot.rows[from..to], cells: &slot.cells[from..to], first: range.start, len };
            let array = cells.array(column)?;
            fields.push(column.field().with_data_type(array.data_type().clone()));
            arrays.push(array);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|error| IngestError::internal(format!("a decoded batch does not fit its schema: {error}")))
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("rows", &self.times.len())
            .field("columns", &self.slots.len())
            .finish_non_exhaustive()
    }
}
