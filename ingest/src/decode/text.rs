//! Rows as lines of text: comma- or tab-separated fields, a pattern with groups, or one column a line.
//!
//! What a bad line costs: itself. Only an opened quote that nothing closes takes the rest of its record along, because
//! after it nothing can be told apart. A line without any character is no row.
//!
//! What a field becomes: text; a list of texts when it holds the list delimiter; a number when the format asks for that
//! and it reads as one. A field that is empty and not in quotes is null, as Druid's reader has it; `""` is empty text.

use std::sync::Arc;

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};
use freshet_segment::number::write_double;
use regex::Regex;

use super::nested::quote;
use super::rows::{NO_SLOT, SlotId};
use super::{At, Decoder, RECORD_BYTES_MAX, Rows};
use crate::error::{IngestError, Result, shorten};

/// Most columns a header may name.
const HEADER_COLUMNS_MAX: usize = 10_000;
/// What separates the values of a field where a spec says nothing else.
pub const LIST_DELIMITER: &str = "\u{1}";

/// Lines of separated fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelimitedFormat {
    /// What stands between two fields; with `quotes` one byte of ASCII.
    pub delimiter: String,
    /// Whether a field may stand in double quotes, as in RFC 4180; then it may hold delimiters and line breaks.
    pub quotes: bool,
    /// Names of the fields; without them the first line of each record names them.
    pub columns: Option<Arc<[String]>>,
    /// Lines at the beginning of each record that are no rows; before the header, if there is one.
    pub skip_rows: usize,
    /// What separates the values of one field.
    pub list_delimiter: String,
    /// Whether fields that read as numbers are numbers.
    pub numbers: bool,
}

impl DelimitedFormat {
    /// RFC 4180, with a header when no columns are named.
    pub fn csv(columns: Option<Vec<String>>) -> Self {
        Self {
            delimiter: ",".to_owned(),
            quotes: true,
            columns: columns.map(Into::into),
            skip_rows: 0,
            list_delimiter: LIST_DELIMITER.to_owned(),
            numbers: false,
        }
    }

    /// Tabs between fields, and no quotes.
    pub fn tsv(columns: Option<Vec<String>>) -> Self {
        Self { delimiter: "\t".to_owned(), quotes: false, ..Self::csv(columns) }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: String, key: &str, hint: &str| {
            let at = Some(format!("/spec/ioConfig/inputFormat/{key}"));
            Err(IngestError::Invalid { what, at, hint: Some(hint.to_owned()) })
        };
        let ascii = self.delimiter.len() == 1 && self.delimiter.is_ascii() && !"\"\r\n".contains(&self.delimiter);
        if self.delimiter.is_empty() || self.delimiter.contains(['\r', '\n']) || (self.quotes && !ascii) {
            let what = format!("delimiter {:?} cannot separate fields", self.delimiter);
            return refuse(what, "delimiter", "take one character, such as \"\\t\" or \"|\"");
        }
        if self.list_delimiter.is_empty() || self.list_delimiter == self.delimiter {
            let what = format!("listDelimiter {:?} cannot separate values", self.list_delimiter);
            return refuse(what, "listDelimiter", "take a text other than the delimiter");
        }
        check_columns(self.columns.as_deref())
    }
}

fn check_columns(columns: Option<&[String]>) -> Result<()> {
    let Some(columns) = columns else { return Ok(()) };
    let said = match columns.iter().enumerate().find(|(n, name)| columns[..*n].contains(name)) {
        _ if columns.is_empty() => Some("no columns are named".to_owned()),
        Some((_, name)) => Some(format!("column `{}` is named twice", shorten(name))),
        None => columns.iter().any(String::is_empty).then(|| "a column has no name".to_owned()),
    };
    match said {
        None => Ok(()),
        Some(what) => Err(IngestError::Invalid {
            what,
            at: Some("/spec/ioConfig/inputFormat/columns".to_owned()),
            hint: Some("name each field once, in the order of the lines".to_owned()),
        }),
    }
}

/// Writes the fields of a line into their columns.
#[derive(Debug)]
struct Fields {
    list_delimiter: String,
    numbers: bool,
    scratch: String,
}

impl Fields {
    fn new(list_delimiter: &str, numbers: bool) -> Self {
        Self { list_delimiter: list_delimiter.to_owned(), numbers, scratch: String::new() }
    }

    fn put(&mut self, rows: &mut Rows, slot: SlotId, text: &str, quoted: bool) {
        if slot == NO_SLOT || (text.is_empty() && !quoted) {
            return;
        }
        self.scratch.clear();
        if text.contains(&self.list_delimiter) {
            for (n, item) in text.split(&self.list_delimiter).enumerate() {
                self.scratch.push(if n == 0 { '[' } else { ',' });
                quote(item, &mut self.scratch);
            }
            self.scratch.push(']');
        } else if !(self.numbers && !quoted && self.number(text)) {
            quote(text, &mut self.scratch);
        }
        rows.value(slot, &self.scratch);
    }

    fn number(&mut self, text: &str) -> bool {
        let text = text.trim();
        if let Ok(n) = text.parse::<i64>() {
            self.scratch.push_str(&n.to_string());
            return true;
        }
        // `inf` and `nan` are numbers to Rust and names to people.
        match text.parse::<f64>() {
            Ok(n) if n.is_finite() => write_double(n, &mut self.scratch),
            _ => return false,
        }
        true
    }
}

fn too_long(record: u32, payload: &[u8], rows: &mut Rows) -> bool {
    let long = payload.len() > RECORD_BYTES_MAX;
    if long {
        let reason = format!("the record has {} bytes; at most {RECORD_BYTES_MAX} are read", payload.len());
        rows.refuse(At::Row, reason, Some("send smaller records".to_owned()));
        rows.end_row(record);
    }
    long
}

fn line(number: u64) -> At {
    At::Position { line: number, column: 1 }
}

fn not_utf8(rows: &mut Rows, number: u64) {
    let hint = "write the record in UTF-8".to_owned();
    rows.refuse(line(number), "the line is not UTF-8 text".to_owned(), Some(hint));
}

fn nothing(record: u32, rows: &mut Rows) {
    rows.refuse(At::Row, "the record is empty".to_owned(), Some("send one line a row".to_owned()));
    rows.end_row(record);
}

/// Decoder of separated fields.
#[derive(Debug)]
pub struct DelimitedDecoder {
    format: DelimitedFormat,
    fields: Fields,
    /// Found in a header; kept for the lines of one record.
    header: Vec<String>,
    slots: Vec<SlotId>,
    /// Whether the next record is the rest of the last one.
    resumed: bool,
}

/// One field as it was read: its text within the row's buffer, and whether it stood in quotes.
#[derive(Debug, Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    quoted: bool,
}

/// One row of a record.
#[derive(Debug, Default)]
struct Row {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    /// The line it begins on, from 1.
    line: u64,
    /// Whether a quote was opened and not closed.
    open: bool,
}

impl Row {
    fn clear(&mut self, line: u64) {
        self.bytes.clear();
        self.fields.clear();
        self.line = line;
        self.open = false;
    }

    /// A line without any character.
    fn is_blank(&self) -> bool {
        self.bytes.is_empty() && self.fields.iter().all(|field| !field.quoted) && self.fields.len() <= 1
    }

    fn texts(&self) -> Option<impl Iterator<Item = (&str, bool)>> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        Some(self.fields.iter().map(move |field| (text.get(field.start..field.end).unwrap_or_default(), field.quoted)))
    }
}

impl DelimitedDecoder {
    /// Reads lines of this format.
    pub fn new(format: DelimitedFormat) -> Self {
        let fields = Fields::new(&format.list_delimiter, format.numbers);
        Self { format, fields, header: Vec::new(), slots: Vec::new(), resumed: false }
    }

    /// The names of the columns, from the spec or the record's first row. False: the record has no rows to read.
    fn name_columns(&mut self, record: u32, next: &mut impl FnMut(&mut Row) -> bool, rows: &mut Rows) -> bool {
        let mut row = Row::default();
        self.slots.clear();
        if std::mem::take(&mut self.resumed) {
            let names = self.format.columns.as_deref().unwrap_or(&self.header);
            self.slots.extend(names.iter().map(|name| rows.slot(name)));
            if self.slots.is_empty() {
                let hint = Some("correct the first line".to_owned());
                rows.refuse(At::Row, "nothing can be read: the header was refused".to_owned(), hint);
                rows.end_row(record);
            }
            return !self.slots.is_empty();
        }
        for _ in 0..self.format.skip_rows {
            if !next(&mut row) {
                return false;
            }
        }
        if let Some(columns) = &self.format.columns {
            self.slots.extend(columns.iter().map(|name| rows.slot(name)));
            return true;
        }
        self.header.clear();
        loop {
            if !next(&mut row) {
                return false;
            }
            if !row.is_blank() {
                break;
            }
        }
        match read_header(&row) {
            Ok(names) => self.header = names,
            Err(reason) => {
                let hint = "begin the record with a line that names each field once".to_owned();
                rows.refuse(line(row.line), reason, Some(hint));
                rows.end_row(record);
                return false;
            }
        }
        self.slots.extend(self.header.iter().map(|name| rows.slot(name)));
        true
    }

    fn row(&mut self, record: u32, row: &Row, rows: &mut Rows) {
        if row.is_blank() {
            return;
        }
        match row.texts() {
            None => not_utf8(rows, row.line),
            Some(_) if row.open => {
                let hint = "close the quote; write a quote inside a field twice".to_owned();
                rows.refuse(line(row.line), "a quote is opened and never closed".to_owned(), Some(hint));
            }
            // As Druid's: fields behind the last named one have no column.
            Some(texts) => {
                for ((text, quoted), slot) in texts.zip(&self.slots) {
                    self.fields.put(rows, *slot, text, quoted);
                }
            }
        }
        rows.end_row(record);
    }
}

fn read_header(row: &Row) -> Result<Vec<String>, String> {
    if row.open {
        return Err("a quote of the header is never closed".to_owned());
    }
    let texts = row.texts().ok_or("the header is not UTF-8 text")?;
    let mut names: Vec<String> = Vec::new();
    for (index, (text, _)) in texts.enumerate() {
        let text = text.trim_start_matches('\u{feff}');
        let name = if text.is_empty() { format!("column_{}", index + 1) } else { text.to_owned() };
        if names.contains(&name) {
            return Err(format!("the header names `{}` twice", shorten(&name)));
        }
        names.push(name);
        if names.len() > HEADER_COLUMNS_MAX {
            return Err(format!("the header names more than {HEADER_COLUMNS_MAX} columns"));
        }
    }
    Ok(names)
}

impl Decoder for DelimitedDecoder {
    fn decode(&mut self, record: u32, payload: &[u8], rows: &mut Rows) {
        if too_long(record, payload, rows) {
            return;
        }
        if payload.iter().all(|b| matches!(b, b'\r' | b'\n')) {
            return nothing(record, rows);
        }
        let mut reader = if self.format.quotes {
            let delimiter = self.format.delimiter.bytes().next().unwrap_or(b',');
            Lines::Quoted(Box::new(QuotedLines::new(payload, delimiter)))
        } else {
            Lines::Plain(PlainLines { rest: payload, line: 1, delimiter: self.format.delimiter.clone() })
        };
        let mut next = |row: &mut Row| reader.next(row);
        if !self.name_columns(record, &mut next, rows) {
            return;
        }
        let mut row = Row::default();
        while next(&mut row) {
            self.row(record, &row, rows);
        }
    }

    fn resume(&mut self) {
        self.resumed = true;
    }
}

enum Lines<'a> {
    Quoted(Box<QuotedLines<'a>>),
    Plain(PlainLines<'a>),
}

impl Lines<'_> {
    fn next(&mut self, row: &mut Row) -> bool {
        match self {
            Self::Quoted(lines) => lines.next(row),
            Self::Plain(lines) => lines.next(row),
        }
    }
}

/// Lines of which fields are cut by the delimiter alone.
struct PlainLines<'a> {
    rest: &'a [u8],
    line: u64,
    delimiter: String,
}

impl PlainLines<'_> {
    fn next(&mut self, row: &mut Row) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        row.clear(self.line);
        self.line += 1;
        let (bytes, rest) = cut_line(self.rest);
        self.rest = rest;
        row.bytes.extend_from_slice(bytes);
        let delimiter = self.delimiter.as_bytes();
        let mut start = 0;
        let mut at = 0;
        while at < bytes.len() {
            if bytes.get(at..).is_some_and(|rest| rest.starts_with(delimiter)) {
                row.fields.push(Field { start, end: at, quoted: false });
                at += delimiter.len();
                start = at;
            } else {
                at += 1;
            }
        }
        row.fields.push(Field { start, end: bytes.len(), quoted: false });
        true
    }
}

/// The first line without its end, and what follows.
fn cut_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match bytes.iter().position(|b| *b == b'\n') {
        Some(end) => (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default()),
        None => (bytes, &[][..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

/// Rows by RFC 4180.
struct QuotedLines<'a> {
    reader: Reader,
    rest: &'a [u8],
    line: u64,
}

impl<'a> QuotedLines<'a> {
    fn new(payload: &'a [u8], delimiter: u8) -> Self {
        Self { reader: ReaderBuilder::new().delimiter(delimiter).build(), rest: payload, line: 1 }
    }

    fn next(&mut self, row: &mut Row) -> bool {
        // The reader passes over line ends by itself, so the line counted is the one of the first character.
        let blank = self.rest.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let (skipped, rest) = self.rest.split_at(blank);
        self.line += newlines(skipped);
        self.rest = rest;
        if self.rest.is_empty() {
            return false;
        }
        row.clear(self.line);
        let mut output = [0_u8; 1024];
        loop {
            let begun = self.rest;
            let start = row.bytes.len();
            let quoted = begun.first() == Some(&b'"');
            let ended = loop {
                let (result, read, written) = self.reader.read_field(self.rest, &mut output);
                self.rest = self.rest.get(read..).unwrap_or_default();
                row.bytes.extend_from_slice(output.get(..written).unwrap_or_default());
                match result {
                    ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                    ReadFieldResult::Field { record_end } => break record_end,
                    ReadFieldResult::End => break true,
                }
            };
            let raw = begun.get(..begun.len() - self.rest.len()).unwrap_or_default();
            self.line += newlines(raw);
            row.fields.push(Field { start, end: row.bytes.len(), quoted });
            row.open |= quoted && !closes(raw);
            if ended {
                return true;
            }
        }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// Whether the quote that `raw` begins with is closed in it: quotes come in pairs.
fn closes(raw: &[u8]) -> bool {
    raw.iter().filter(|b| **b == b'"').count().is_multiple_of(2)
}

/// Lines that a pattern takes apart.
#[derive(Debug, Clone)]
pub struct RegexFormat {
    pattern: Regex,
    columns: Arc<[String]>,
    list_delimiter: String,
}

impl PartialEq for RegexFormat {
    fn eq(&self, other: &Self) -> bool {
        let same = (&self.columns, &self.list_delimiter) == (&other.columns, &other.list_delimiter);
        same && self.pattern.as_str() == other.pattern.as_str()
    }
}

impl RegexFormat {
    /// Group n of `pattern` is field n of `columns`; without `columns` the groups' names are, and a group without one is
    /// `column_n`.
    ///
    /// # Errors
    /// `Invalid` when the pattern is none, has no groups, or fewer than there are columns.
    pub fn new(pattern: &str, columns: Option<Vec<String>>, list_delimiter: Option<&str>) -> Result<Self> {
        let refuse = |what: String, key: &str, hint: &str| {
            let at = Some(format!("/spec/ioConfig/inputFormat/{key}"));
            Err(IngestError::Invalid { what, at, hint: Some(hint.to_owned()) })
        };
        let compiled = match regex::RegexBuilder::new(pattern).size_limit(1 << 20).build() {
            Ok(compiled) => compiled,
            Err(error) => {
                let hint = "look-around and references to groups are not taken";
                return refuse(format!("the pattern cannot be used: {error}"), "pattern", hint);
            }
        };
        let groups = compiled.captures_len() - 1;
        let names = compiled.capture_names().skip(1).enumerate();
        let named = || names.map(|(n, name)| name.map_or_else(|| format!("column_{}", n + 1), str::to_owned)).collect();
        let columns: Vec<String> = columns.unwrap_or_else(named);
        if groups == 0 || columns.len() > groups {
            let what = format!("the pattern has {groups} groups for {} columns", columns.len());
            return refuse(what, "pattern", "put what each column holds in parentheses");
        }
        check_columns(Some(&columns))?;
        let list_delimiter = list_delimiter.unwrap_or(LIST_DELIMITER).to_owned();
        if list_delimiter.is_empty() {
            return refuse("an empty listDelimiter separates nothing".to_owned(), "listDelimiter", "leave it out");
        }
        Ok(Self { pattern: compiled, columns: columns.into(), list_delimiter })
    }
}

/// Decoder of lines that a pattern takes apart.
#[derive(Debug)]
pub struct RegexDecoder {
    format: RegexFormat,
    fields: Fields,
}

impl RegexDecoder {
    /// Reads lines of this format.
    pub fn new(format: RegexFormat) -> Self {
        let fields = Fields::new(&format.list_delimiter, false);
        Self { format, fields }
    }
}

impl Decoder for RegexDecoder {
    fn decode(&mut self, record: u32, payload: &[u8], rows: &mut Rows) {
        each_line(record, payload, rows, |number, text, rows| match self.format.pattern.captures(text) {
            None => {
                let reason = format!("{:?} does not match the pattern", shorten(text));
                rows.refuse(line(number), reason, Some("widen the pattern, or mend the line".to_owned()));
            }
            Some(groups) => {
                for (name, group) in self.format.columns.iter().zip(groups.iter().skip(1)) {
                    let slot = rows.slot(name);
                    if let Some(group) = group {
                        self.fields.put(rows, slot, group.as_str(), true);
                    }
                }
            }
        });
    }
}

/// Gives each line that is text, with its number from 1, to `read`, and ends its row.
fn each_line(record: u32, payload: &[u8], rows: &mut Rows, mut read: impl FnMut(u64, &str, &mut Rows)) {
    if too_long(record, payload, rows) {
        return;
    }
    let mut found = false;
    let (mut rest, mut number) = (payload, 0);
    while !rest.is_empty() {
        let (bytes, after) = cut_line(rest);
        rest = after;
        number += 1;
        if bytes.is_empty() {
            continue;
        }
        found = true;
        match std::str::from_utf8(bytes) {
            Err(_) => not_utf8(rows, number),
            Ok(text) => read(number, text, rows),
        }
        rows.end_row(record);
    }
    if !found {
        nothing(record, rows);
    }
}

/// Decoder of lines that are one column, `line`.
#[derive(Debug, Default)]
pub struct LineDecoder {
    scratch: String,
}

impl Decoder for LineDecoder {
    fn decode(&mut self, record: u32, payload: &[u8], rows: &mut Rows) {
        each_line(record, payload, rows, |_, text, rows| {
            self.scratch.clear();
            quote(text, &mut self.scratch);
            let slot = rows.slot("line");
            rows.value(slot, &self.scratch);
        });
    }
}

#[cfg(test)]
mod tests;
