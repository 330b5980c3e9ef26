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

use arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringBuilder, TimestampMillisecondArray,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Field, Schema};
use freshet_segment::number::{write_double, write_float};
use freshet_segment::schema::{COLUMN_COUNT_MAX, Column, ColumnRole, ColumnType, Observed, TIME_COLUMN, TableSchema};
use freshet_segment::time::Timestamp;
use serde_json::value::RawValue;

use super::nested::{Compactor, NestedError, quote, string_array, unescape};
use crate::error::{IngestError, Result};
use crate::spec::{DimensionsSpec, Discovery, TimeFormat, TimeSpec};
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Ignore,
    Typed(ColumnType),
    Discover,
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
    /// The field.
    pub field: String,
    /// Why.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn of(self, text: &str) -> &str {
        let start = self.start as usize;
        &text[start..start + self.len as usize]
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cell {
    Long(i64),
    Double(f64),
    /// A whole number beyond 64 bits, by its digits.
    Digits(Span),
    Text(Span),
    /// A JSON array of strings and nulls.
    Texts {
        span: Span,
        single: bool,
    },
    Json(Span),
}

#[derive(Debug)]
struct Slot {
    name: Arc<str>,
    rule: Rule,
    is_time: bool,
    rows: Vec<u32>,
    cells: Vec<Cell>,
    text: String,
}

impl Slot {
    fn push(&mut self, row: u32, cell: Cell) {
        self.rows.push(row);
        self.cells.push(cell);
    }

    /// Takes back what `row` put here, if anything.
    fn pop(&mut self, row: u32) {
        if self.rows.last() != Some(&row) {
            return;
        }
        self.rows.pop();
        if let Some(Cell::Digits(span) | Cell::Text(span) | Cell::Texts { span, .. } | Cell::Json(span)) =
            self.cells.pop()
        {
            self.text.truncate(span.start as usize);
        }
    }

    fn span_from(&self, start: usize) -> Span {
        // A batch is far below 4 GiB: records are at most 10 MiB and bodies 64 MiB.
        Span { start: start as u32, len: (self.text.len() - start) as u32 }
    }

    fn observed(&self) -> Option<Observed> {
        if self.cells.is_empty() {
            return None;
        }
        let mut multi_value = false;
        let mut seen: Option<ColumnType> = None;
        for cell in &self.cells {
            let cell_type = match cell {
                Cell::Long(_) => ColumnType::Long,
                Cell::Double(_) | Cell::Digits(_) => ColumnType::Double,
                Cell::Text(_) => ColumnType::String,
                Cell::Texts { single, .. } => {
                    multi_value |= !single;
                    ColumnType::String
                }
                Cell::Json(_) => ColumnType::Json,
            };
            seen = Some(seen.map_or(cell_type, |seen| seen.widen(cell_type)));
        }
        let column_type = match self.rule {
            Rule::Typed(declared) => declared,
            _ => seen?,
        };
        let multi_value = multi_value && column_type != ColumnType::Json;
        Some(Observed { name: Arc::clone(&self.name), column_type, role: ColumnRole::Dimension, multi_value })
    }
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
    refused_rows: u64,
    rejections: Vec<Rejection>,
    field_errors: Vec<FieldError>,
    rows_with_errors: u64,

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
            refused_rows: 0,
            rejections: Vec::new(),
            field_errors: Vec::new(),
            rows_with_errors: 0,
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
        self.refused_rows = 0;
        self.rejections.clear();
        self.field_errors.clear();
        self.rows_with_errors = 0;
        self.touched.clear();
        self.time = None;
        self.refusal = None;
        self.field_errors_before = 0;
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
        self.times.len() as u64 + self.refused_rows
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
        self.slots.push(Slot { name, rule, is_time, rows: Vec::new(), cells: Vec::new(), text: String::new() });
        id
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
                        format!("the value is nested deeper than {} levels", super::DEPTH_MAX),
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
                        let (row, record) = (self.ordinal(), 0);
                        self.field_errors.push(FieldError { record, row, field: name, reason });
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
        if self.refusal.is_none() {
            let time = match self.time.take() {
                Some(time) => time,
                None => self.rules.time.missing(),
            };
            match time {
                Ok(millis) => {
                    if self.field_errors.len() > self.field_errors_before {
                        self.rows_with_errors += 1;
                        for error in &mut self.field_errors[self.field_errors_before..] {
                            error.record = record;
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
                    let hint = format!("put the event's time into `{column}`, or set timestampSpec.missingValue");
                    self.refuse(At::Field(column), reason, Some(hint));
                }
            }
        }
        self.take_back(record);
    }

    fn take_back(&mut self, record: u32) {
        let row = self.row();
        for slot in self.touched.drain(..) {
            self.slots[slot as usize].pop(row);
        }
        self.field_errors.truncate(self.field_errors_before);
        self.time = None;
        let (at, reason, hint) =
            self.refusal.take().unwrap_or_else(|| (At::Row, "the row was refused".to_owned(), None));
        if self.rejections.len() < REJECTIONS_MAX {
            let rejection = Rejection { record, row: self.ordinal(), at, reason, hint };
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

/// Why a value is not put into its column.
enum Bad {
    /// It has no text at all; the row is refused.
    Nested(NestedError),
    /// It does not fit the declared type.
    Value(String),
}

impl From<NestedError> for Bad {
    fn from(error: NestedError) -> Self {
        Self::Nested(error)
    }
}

/// A JSON value told apart by its first byte.
enum Token<'a> {
    Null,
    Bool(bool),
    Long(i64),
    Double(f64),
    /// A whole number beyond 64 bits.
    Digits(&'a str),
    /// A number no double can hold.
    Huge(&'a str),
    /// A string, still in quotes.
    Text(&'a str),
    Array(&'a str),
    Object(&'a str),
}

impl<'a> Token<'a> {
    fn of(raw: &'a str) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => Self::Text(raw),
            Some(b'{') => Self::Object(raw),
            Some(b'[') => Self::Array(raw),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'-' | b'0'..=b'9') => {
                if let Ok(n) = raw.parse::<i64>() {
                    return Self::Long(n);
                }
                match raw.parse::<f64>() {
                    Ok(n) if !n.is_finite() => Self::Huge(raw),
                    Ok(_) if raw.bytes().skip(1).all(|b| b.is_ascii_digit()) => Self::Digits(raw),
                    Ok(n) => Self::Double(n),
                    Err(_) => Self::Huge(raw),
                }
            }
            _ => Self::Null,
        }
    }
}

fn huge(raw: &str) -> Bad {
    Bad::Value(format!("{} is beyond what a DOUBLE holds", shorten(raw)))
}

fn misfit(wanted: ColumnType, found: &str) -> Bad {
    Bad::Value(format!("expected {wanted}, found {found}"))
}

/// The text of a quoted string; only one with escapes is copied.
fn text_of(quoted: &str) -> Result<std::borrow::Cow<'_, str>, NestedError> {
    match quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.as_bytes().contains(&b'\\') => Ok(std::borrow::Cow::Borrowed(inner)),
        _ => unescape(quoted).map(std::borrow::Cow::Owned),
    }
}

fn read_time(time: &mut TimeColumn, raw: &str) -> Option<Result<i64, String>> {
    Some(match Token::of(raw) {
        Token::Null => return None,
        Token::Long(n) => time.from_long(n),
        Token::Double(n) => time.from_double(n),
        Token::Text(quoted) => match text_of(quoted) {
            Ok(text) if text.trim().is_empty() => return None,
            Ok(text) => time.from_text(&text),
            Err(_) => Err("the time is not valid text".to_owned()),
        },
        Token::Digits(raw) | Token::Huge(raw) => Err(format!("{} lies outside the years -5000 to 5000", shorten(raw))),
        Token::Bool(_) => Err("the time is a boolean".to_owned()),
        Token::Array(_) => Err("the time is an array".to_owned()),
        Token::Object(_) => Err("the time is an object".to_owned()),
    })
}

fn put_discovered(slot: &mut Slot, row: u32, raw: &str, compactor: &Compactor) -> Result<(), Bad> {
    let start = slot.text.len();
    let cell = match Token::of(raw) {
        Token::Null => return Ok(()),
        Token::Bool(b) => Cell::Long(i64::from(b)),
        Token::Long(n) => Cell::Long(n),
        Token::Double(n) => Cell::Double(n),
        Token::Digits(raw) => {
            slot.text.push_str(raw);
            Cell::Digits(slot.span_from(start))
        }
        Token::Huge(raw) => return Err(huge(raw)),
        Token::Text(quoted) => {
            slot.text.push_str(&text_of(quoted)?);
            Cell::Text(slot.span_from(start))
        }
        Token::Array(raw) => match string_array(raw, &mut slot.text)? {
            Some(count) => Cell::Texts { span: slot.span_from(start), single: count == 1 },
            None => {
                compact(slot, raw, compactor)?;
                Cell::Json(slot.span_from(start))
            }
        },
        Token::Object(raw) => {
            compact(slot, raw, compactor)?;
            Cell::Json(slot.span_from(start))
        }
    };
    slot.push(row, cell);
    Ok(())
}

fn compact(slot: &mut Slot, raw: &str, compactor: &Compactor) -> Result<(), NestedError> {
    let start = slot.text.len();
    let done = compactor.compact(raw, &mut slot.text);
    if done.is_err() {
        slot.text.truncate(start);
    }
    done
}

fn put_text(slot: &mut Slot, row: u32, raw: &str, compactor: &Compactor) -> Result<(), Bad> {
    let start = slot.text.len();
    if let Token::Array(raw) = Token::of(raw) {
        let count = match string_array(raw, &mut slot.text)? {
            Some(count) => count,
            None => {
                let items: Vec<&RawValue> =
                    serde_json::from_str(raw).map_err(|error| NestedError::BadString(error.to_string()))?;
                let mut texts = String::from("[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        texts.push(',');
                    }
                    let mut text = String::new();
                    if write_text(item.get(), &mut text, compactor)? {
                        quote(&text, &mut texts);
                    } else {
                        texts.push_str("null");
                    }
                }
                texts.push(']');
                slot.text.push_str(&texts);
                items.len()
            }
        };
        let span = slot.span_from(start);
        slot.push(row, Cell::Texts { span, single: count == 1 });
        return Ok(());
    }
    let mut text = std::mem::take(&mut slot.text);
    let written = write_text(raw, &mut text, compactor);
    if written.is_err() {
        text.truncate(start);
    }
    slot.text = text;
    if written? {
        let span = slot.span_from(start);
        slot.push(row, Cell::Text(span));
    }
    Ok(())
}

/// Appends any value by its text; false for null.
fn write_text(raw: &str, out: &mut String, compactor: &Compactor) -> Result<bool, NestedError> {
    match Token::of(raw) {
        Token::Null => return Ok(false),
        Token::Bool(b) => out.push_str(if b { "true" } else { "false" }),
        Token::Long(_) | Token::Digits(_) | Token::Huge(_) => out.push_str(raw),
        Token::Double(n) => write_double(n, out),
        Token::Text(quoted) => out.push_str(&text_of(quoted)?),
        Token::Array(raw) | Token::Object(raw) => compactor.compact(raw, out)?,
    }
    Ok(true)
}

fn put_json(slot: &mut Slot, row: u32, raw: &str, compactor: &Compactor) -> Result<(), Bad> {
    let start = slot.text.len();
    match Token::of(raw) {
        Token::Null => return Ok(()),
        Token::Array(raw) | Token::Object(raw) => compact(slot, raw, compactor)?,
        Token::Text(quoted) => {
            let text = text_of(quoted)?;
            quote(&text, &mut slot.text);
        }
        _ => slot.text.push_str(raw),
    }
    let span = slot.span_from(start);
    slot.push(row, Cell::Json(span));
    Ok(())
}

fn put_timestamp(slot: &mut Slot, row: u32, raw: &str) -> Result<(), Bad> {
    let auto = TimeSpec { format: TimeFormat::Auto, ..TimeSpec::auto("") };
    let mut reader = TimeColumn::new(&auto, &crate::spec::GranularitySpec::default());
    match read_time(&mut reader, raw) {
        None => Ok(()),
        Some(Ok(millis)) => {
            slot.push(row, Cell::Long(millis));
            Ok(())
        }
        Some(Err(reason)) => Err(Bad::Value(reason)),
    }
}

fn put_long(slot: &mut Slot, row: u32, raw: &str) -> Result<(), Bad> {
    let n = match Token::of(raw) {
        Token::Null => return Ok(()),
        Token::Bool(b) => i64::from(b),
        Token::Long(n) => n,
        Token::Double(n) => {
            truncated(n).ok_or_else(|| misfit(ColumnType::Long, &format!("{n}, which is beyond 64 bits")))?
        }
        Token::Digits(raw) | Token::Huge(raw) => {
            return Err(misfit(ColumnType::Long, &format!("{}, which is beyond 64 bits", shorten(raw))));
        }
        Token::Text(quoted) => {
            let text = text_of(quoted)?;
            let text = text.trim();
            // As Druid: decimal text counts when nothing would be lost.
            let whole = text
                .parse::<i64>()
                .ok()
                .or_else(|| text.parse::<f64>().ok().filter(|n| n.fract() == 0.0).and_then(truncated));
            whole.ok_or_else(|| misfit(ColumnType::Long, &format!("the text {:?}", shorten(text))))?
        }
        Token::Array(_) => return Err(misfit(ColumnType::Long, "an array")),
        Token::Object(_) => return Err(misfit(ColumnType::Long, "an object")),
    };
    slot.push(row, Cell::Long(n));
    Ok(())
}

fn truncated(n: f64) -> Option<i64> {
    // Both bounds are exact powers of two, so the comparison is exact.
    (n >= -9_223_372_036_854_775_808.0 && n < 9_223_372_036_854_775_808.0).then_some(n as i64)
}

fn put_double(slot: &mut Slot, row: u32, raw: &str) -> Result<(), Bad> {
    let n = match Token::of(raw) {
        Token::Null => return Ok(()),
        Token::Bool(b) => f64::from(u8::from(b)),
        Token::Long(n) => n as f64,
        Token::Double(n) => n,
        Token::Digits(raw) => raw.parse().map_err(|_| huge(raw))?,
        Token::Huge(raw) => return Err(huge(raw)),
        Token::Text(quoted) => {
            let text = text_of(quoted)?;
            match text.trim().parse::<f64>() {
                Ok(n) if n.is_finite() => n,
                _ => return Err(misfit(ColumnType::Double, &format!("the text {:?}", shorten(&text)))),
            }
        }
        Token::Array(_) => return Err(misfit(ColumnType::Double, "an array")),
        Token::Object(_) => return Err(misfit(ColumnType::Double, "an object")),
    };
    slot.push(row, Cell::Double(n));
    Ok(())
}

/// The cells of a column that lie in one range of rows.
struct Cells<'a> {
    slot: &'a Slot,
    rows: &'a [u32],
    cells: &'a [Cell],
    first: usize,
    len: usize,
}

impl Cells<'_> {
    fn array(&self, column: &Column) -> Result<ArrayRef> {
        Ok(match column.column_type {
            ColumnType::Long => Arc::new(Int64Array::from(self.numbers(column, whole)?)),
            ColumnType::Timestamp => {
                Arc::new(TimestampMillisecondArray::from(self.numbers(column, whole)?).with_timezone("UTC"))
            }
            ColumnType::Double => Arc::new(Float64Array::from(self.numbers(column, real)?)),
            ColumnType::Float => {
                Arc::new(Float32Array::from(self.numbers(column, |cell, text| real(cell, text).map(|n| n as f32))?))
            }
            ColumnType::String => self.texts(column, write_as_text)?,
            ColumnType::Json => self.texts(column, write_as_json)?,
        })
    }

    fn numbers<T: Copy>(&self, column: &Column, read: impl Fn(Cell, &str) -> Option<T>) -> Result<Vec<Option<T>>> {
        let mut out = vec![None; self.len];
        for (row, cell) in self.rows.iter().zip(self.cells) {
            let n = read(*cell, &self.slot.text).ok_or_else(|| narrower(column))?;
            out[*row as usize - self.first] = Some(n);
        }
        Ok(out)
    }

    fn texts(&self, column: &Column, write: fn(Cell, &Slot, &mut String) -> bool) -> Result<ArrayRef> {
        let mut out = StringBuilder::with_capacity(self.len, self.slot.text.len());
        let mut text = String::new();
        let mut next = self.first;
        for (row, cell) in self.rows.iter().zip(self.cells) {
            let row = *row as usize;
            if row > next {
                out.append_nulls(row - next);
            }
            next = row + 1;
            if let Cell::Text(span) = cell
                && column.column_type == ColumnType::String
            {
                out.append_value(span.of(&self.slot.text));
                continue;
            }
            text.clear();
            if write(*cell, self.slot, &mut text) {
                out.append_value(&text);
            } else {
                out.append_null();
            }
        }
        out.append_nulls(self.first + self.len - next);
        let array = out.finish();
        debug_assert_eq!(array.value_offsets().len(), self.len + 1, "each row has its text or null");
        Ok(Arc::new(array))
    }
}

fn narrower(column: &Column) -> IngestError {
    IngestError::internal(format!("column `{}` holds values that are wider than {}", column.name, column.column_type))
}

fn whole(cell: Cell, _: &str) -> Option<i64> {
    match cell {
        Cell::Long(n) => Some(n),
        _ => None,
    }
}

fn real(cell: Cell, text: &str) -> Option<f64> {
    match cell {
        Cell::Long(n) => Some(n as f64),
        Cell::Double(n) => Some(n),
        Cell::Digits(span) => span.of(text).parse().ok(),
        _ => None,
    }
}

/// False for null.
fn write_as_text(cell: Cell, slot: &Slot, out: &mut String) -> bool {
    match cell {
        Cell::Long(millis) if slot.rule == Rule::Typed(ColumnType::Timestamp) => {
            out.push_str(&Timestamp::from_millis(millis).to_iso());
        }
        Cell::Long(n) => out.push_str(&n.to_string()),
        Cell::Double(n) => write_real(n, slot, out),
        Cell::Texts { span, single: true } => {
            // One value is that value; an array of one null is null.
            let items: Vec<Option<String>> = serde_json::from_str(span.of(&slot.text)).unwrap_or_default();
            match items.into_iter().next().flatten() {
                Some(text) => out.push_str(&text),
                None => return false,
            }
        }
        Cell::Digits(span) | Cell::Text(span) | Cell::Texts { span, .. } | Cell::Json(span) => {
            out.push_str(span.of(&slot.text));
        }
    }
    true
}

fn write_as_json(cell: Cell, slot: &Slot, out: &mut String) -> bool {
    match cell {
        Cell::Long(millis) if slot.rule == Rule::Typed(ColumnType::Timestamp) => {
            quote(&Timestamp::from_millis(millis).to_iso(), out);
        }
        Cell::Long(n) => out.push_str(&n.to_string()),
        Cell::Double(n) => write_real(n, slot, out),
        Cell::Text(span) => quote(span.of(&slot.text), out),
        Cell::Digits(span) | Cell::Texts { span, .. } | Cell::Json(span) => out.push_str(span.of(&slot.text)),
    }
    true
}

fn write_real(n: f64, slot: &Slot, out: &mut String) {
    if slot.rule == Rule::Typed(ColumnType::Float) {
        write_float(n as f32, out);
    } else {
        write_double(n, out);
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
