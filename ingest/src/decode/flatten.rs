//! JSON rows whose columns are picked out of nested values: Druid's `flattenSpec`.
//!
//! A record is read into a tree, which costs several times what plain JSON does, so only specs that name fields pay it.
//! A named field holds what its path finds; a path that can find several values gives a list of them. Root fields that
//! no path names are columns too, where discovery is on: scalars and lists of scalars, and nested values only when the
//! spec lists the column, because their parts are what the paths are for.
//!
//! Paths are JSONPath (RFC 9535), of which Druid's usual forms `$.a.b`, `$.a[0]`, `$['a']`, `$..a` and `$.a[*].b` are part.

use std::sync::Arc;

use serde_json::Value;
use serde_json_path::JsonPath;

use super::json::{JsonDecoder, position, syntax_reason};
use super::{At, Decoder, RECORD_BYTES_MAX, Rows};
use crate::error::{IngestError, Result, shorten};

/// Most fields of one spec: each is a walk through each row.
const FIELDS_MAX: usize = 1_000;

/// Which columns are picked out of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct FlattenSpec {
    /// Whether root fields become columns by themselves.
    discovery: bool,
    fields: Arc<[FlattenField]>,
}

/// A column and where its value stands.
#[derive(Debug, Clone, PartialEq)]
pub struct FlattenField {
    name: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// A field of the row itself, by its whole name.
    Root(String),
    /// Names from the outside in.
    Tree(Vec<String>),
    /// What a path finds; `single` when it cannot find more than one value.
    Path { path: JsonPath, single: bool },
}

impl FlattenField {
    /// The root field `field`.
    pub fn root(name: &str, field: &str) -> Self {
        Self { name: name.to_owned(), place: Place::Root(field.to_owned()) }
    }

    /// The value below these names, from the outside in.
    pub fn tree(name: &str, nodes: Vec<String>) -> Self {
        Self { name: name.to_owned(), place: Place::Tree(nodes) }
    }

    /// What a JSONPath finds.
    ///
    /// # Errors
    /// The reason when the text is no path.
    pub fn path(name: &str, path: &str) -> Result<Self, String> {
        let path = JsonPath::parse(path).map_err(|error| error.to_string())?;
        let single = is_single(&path.to_string());
        Ok(Self { name: name.to_owned(), place: Place::Path { path, single } })
    }

    fn find(&self, row: &Value) -> Option<Value> {
        match &self.place {
            Place::Root(field) => row.get(field).cloned(),
            Place::Tree(nodes) => nodes.iter().try_fold(row, |value, node| value.get(node)).cloned(),
            Place::Path { path, single: true } => path.query(row).first().cloned(),
            Place::Path { path, single: false } => Some(path.query(row).all().into_iter().cloned().collect()),
        }
    }
}

/// Whether a path in its normal form has names and indices only.
fn is_single(path: &str) -> bool {
    let mut quote = None;
    let mut escaped = false;
    let mut previous = ' ';
    for c in path.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if matches!(c, '*' | '?' | ':' | ',') || (c == '.' && previous == '.') => return false,
            None => {}
        }
        previous = c;
    }
    true
}

impl FlattenSpec {
    /// These fields, and with `discovery` the root fields beside them.
    ///
    /// # Errors
    /// `Invalid` when a name is empty or stands twice, or nothing would be read.
    pub fn new(discovery: bool, fields: Vec<FlattenField>) -> Result<Self> {
        let names = |n: usize| fields.iter().take(n).map(|field| &field.name);
        let said = match fields.iter().enumerate().find(|(n, f)| f.name.is_empty() || names(*n).any(|o| *o == f.name)) {
            Some((_, field)) if field.name.is_empty() => Some("a field has no name".to_owned()),
            Some((_, field)) => Some(format!("field `{}` is named twice", shorten(&field.name))),
            None if fields.len() > FIELDS_MAX => {
                Some(format!("{} fields are named; at most {FIELDS_MAX} are taken", fields.len()))
            }
            None if fields.is_empty() && !discovery => {
                Some("without fields and without field discovery nothing would be read".to_owned())
            }
            None => None,
        };
        match said {
            None => Ok(Self { discovery, fields: fields.into() }),
            Some(what) => Err(IngestError::Invalid {
                what,
                at: Some("/spec/ioConfig/inputFormat/flattenSpec/fields".to_owned()),
                hint: Some("give each field a name of its own".to_owned()),
            }),
        }
    }

    /// Whether it asks for nothing that plain JSON rows do not have.
    pub fn is_plain(&self) -> bool {
        self.discovery && self.fields.is_empty()
    }
}

/// Decoder of JSON objects with picked columns.
#[derive(Debug)]
pub struct FlattenDecoder {
    spec: FlattenSpec,
    scratch: Vec<u8>,
}

impl FlattenDecoder {
    /// Picks as `spec` says.
    pub fn new(spec: FlattenSpec) -> Self {
        Self { spec, scratch: Vec::new() }
    }

    /// The decoder for `spec`: the quick one where nothing is picked.
    pub fn boxed(spec: Option<FlattenSpec>) -> Box<dyn Decoder> {
        match spec {
            Some(spec) if !spec.is_plain() => Box::new(Self::new(spec)),
            _ => Box::new(JsonDecoder::default()),
        }
    }

    /// Puts the columns of one row.
    pub(super) fn row(&mut self, row: &Value, rows: &mut Rows) {
        let Value::Object(members) = row else {
            let found = match row {
                Value::Null => "null",
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::String(_) => "a string",
                _ => "an array",
            };
            let hint = "a row is an object: {\"name\": value, ..}".to_owned();
            rows.refuse(At::Row, format!("expected a JSON object, found {found}"), Some(hint));
            return;
        };
        let fields = Arc::clone(&self.spec.fields);
        for (name, value) in members {
            // The time is found without being named.
            let found = self.spec.discovery && (is_flat(value) || rows.is_declared(name)) || name == rows.time_column();
            if found && fields.iter().all(|field| field.name != *name) {
                self.put(name, value, rows);
            }
        }
        for field in fields.iter() {
            match field.find(row) {
                Some(Value::Array(items)) if items.is_empty() => {}
                Some(value) => self.put(&field.name, &value, rows),
                None => {}
            }
        }
    }

    fn put(&mut self, name: &str, value: &Value, rows: &mut Rows) {
        let slot = rows.slot(name);
        self.scratch.clear();
        // A tree that was read can be written.
        if serde_json::to_writer(&mut self.scratch, value).is_ok() {
            rows.value(slot, std::str::from_utf8(&self.scratch).unwrap_or("null"));
        }
    }
}

/// A scalar, or a list of scalars.
fn is_flat(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(items) => items.iter().all(|item| !item.is_array() && !item.is_object()),
        _ => true,
    }
}

impl Decoder for FlattenDecoder {
    fn decode(&mut self, record: u32, payload: &[u8], rows: &mut Rows) {
        if payload.len() > RECORD_BYTES_MAX {
            let reason = format!("the record has {} bytes; at most {RECORD_BYTES_MAX} are read", payload.len());
            rows.refuse(At::Row, reason, Some("send smaller records".to_owned()));
            rows.end_row(record);
            return;
        }
        let mut found = false;
        for row in serde_json::Deserializer::from_slice(payload).into_iter::<Value>() {
            found = true;
            match row {
                Ok(row) => self.row(&row, rows),
                Err(error) => {
                    let hint = "send one JSON object a record, in UTF-8".to_owned();
                    rows.refuse_over(position(&error), syntax_reason(&error), Some(hint));
                    rows.end_row(record);
                    return;
                }
            }
            rows.end_row(record);
        }
        if !found {
            rows.refuse(At::Row, "the record is empty".to_owned(), Some("send a JSON object".to_owned()));
            rows.end_row(record);
        }
    }
}

#[cfg(test)]
mod tests;
