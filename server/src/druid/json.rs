//! Typed reading of JSON documents in which every key counts.
//!
//! serde's derive cannot say where in a document something is wrong, nor that a key stands twice; for a spec that decides how
//! months of data are kept both matter. So a document is read into a [`Json`] that keeps all keys, and taken apart by a
//! [`Reader`], which knows its JSON pointer, remembers which keys were asked for, and refuses the rest with the nearest known one.

use std::cell::RefCell;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::http::reply::Problem;
use crate::nearest::did_you_mean;

/// Deepest nesting of a document.
const DEPTH_MAX: usize = 64;

/// A JSON value; objects keep the order and every occurrence of their keys.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a document and refuses keys that stand twice.
    ///
    /// # Errors
    /// 400 with line and column, or with the pointer of the second key.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let document: Self = serde_json::from_slice(bytes).map_err(|error| crate::http::body::json_problem(&error))?;
        document.check("", 1)?;
        Ok(document)
    }

    fn check(&self, pointer: &str, depth: usize) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err(Problem::invalid(format!("the document is nested deeper than {DEPTH_MAX} levels")).at(pointer));
        }
        match self {
            Self::Object(members) => {
                for (index, (key, value)) in members.iter().enumerate() {
                    let at = child(pointer, key);
                    if members.iter().take(index).any(|(earlier, _)| earlier == key) {
                        return Err(Problem::invalid(format!("key \"{key}\" stands twice in one object"))
                            .at(at)
                            .hint("keep one of the two"));
                    }
                    value.check(&at, depth + 1)?;
                }
                Ok(())
            }
            Self::Array(items) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| item.check(&format!("{pointer}/{index}"), depth + 1)),
            _ => Ok(()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// A reader over an object.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn reader(&self, pointer: &str) -> Result<Reader<'_>, Problem> {
        match self {
            Self::Object(members) => {
                Ok(Reader { pointer: pointer.to_owned(), members, known: RefCell::default(), read: RefCell::default() })
            }
            other => Err(wrong(pointer, other, "an object")),
        }
    }

    /// The text of a string.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn text(&self, pointer: &str) -> Result<&str, Problem> {
        match self {
            Self::String(text) => Ok(text),
            other => Err(wrong(pointer, other, "a string")),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::String(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Json::Array(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = members.next_entry()? {
                    all.push(member);
                }
                Ok(Json::Object(all))
            }
        }
        deserializer.deserialize_any(Reading)
    }
}

/// One object being taken apart. Ask for every key, then call [`finish`](Self::finish).
pub struct Reader<'a> {
    pointer: String,
    members: &'a [(String, Json)],
    known: RefCell<Vec<&'static str>>,
    read: RefCell<Vec<&'a str>>,
}

impl<'a> Reader<'a> {
    /// Pointer of a member.
    #[must_use]
    pub fn at(&self, key: &str) -> String {
        child(&self.pointer, key)
    }

    /// A member's value; `null` counts as absent.
    pub fn value(&self, key: &'static str) -> Option<&'a Json> {
        self.known.borrow_mut().push(key);
        let (name, value) = self.members.iter().find(|(name, _)| name == key)?;
        self.read.borrow_mut().push(name);
        (*value != Json::Null).then_some(value)
    }

    /// A string.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>, Problem> {
        self.value(key).map(|value| value.text(&self.at(key))).transpose()
    }

    /// A string that must be there and not be empty.
    ///
    /// # Errors
    /// 400 when it is absent, empty or something else.
    pub fn required_text(&self, key: &'static str, example: &str) -> Result<&'a str, Problem> {
        self.text(key)?.filter(|text| !text.is_empty()).ok_or_else(|| {
            Problem::invalid(format!("{key} is missing"))
                .at(self.at(key))
                .hint(format!("set it, for example {example}"))
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn bool(&self, key: &'static str) -> Result<Option<bool>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(&self.at(key), other, "true or false")),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// 400 when it is out of them or something else.
    pub fn number(&self, key: &'static str, bounds: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        match value {
            Json::Number(number) => match number.as_u64().filter(|number| bounds.contains(number)) {
                Some(number) => Ok(Some(number)),
                None => Err(Problem::invalid(format!("{key} is {number}, but {wanted} is needed")).at(self.at(key))),
            },
            other => Err(wrong(&self.at(key), other, &wanted)),
        }
    }

    /// An array.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn array(&self, key: &'static str) -> Result<Option<&'a [Json]>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Json::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong(&self.at(key), other, "an array")),
        }
    }

    /// An object.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn object(&self, key: &'static str) -> Result<Option<Reader<'a>>, Problem> {
        self.value(key).map(|value| value.reader(&self.at(key))).transpose()
    }

    /// An object that must be there.
    ///
    /// # Errors
    /// 400 when it is absent or something else.
    pub fn required_object(&self, key: &'static str) -> Result<Reader<'a>, Problem> {
        self.object(key)?.ok_or_else(|| Problem::invalid(format!("{key} is missing")).at(self.at(key)))
    }

    /// All members, for objects whose keys are data.
    #[must_use]
    pub fn members(&self) -> &'a [(String, Json)] {
        self.members
    }

    /// Takes keys that change nothing here, and says which of them were set.
    pub fn without_effect(&self, keys: &[&'static str], set: &mut Vec<String>) {
        for key in keys {
            if self.value(key).is_some() {
                set.push(self.at(key));
            }
        }
    }

    /// Refuses a key of a feature that is not there yet, unless its value asks for nothing (`[]`, `{}`, `false`).
    ///
    /// # Errors
    /// 400 naming the feature and what to do.
    pub fn not_yet(&self, key: &'static str, cure: &str) -> Result<(), Problem> {
        let asks = match self.value(key) {
            None | Some(Json::Bool(false)) => false,
            Some(Json::Array(items)) => !items.is_empty(),
            Some(Json::Object(members)) => !members.is_empty(),
            Some(_) => true,
        };
        if asks {
            return Err(Problem::invalid(format!("{key} is not supported yet")).at(self.at(key)).hint(cure.to_owned()));
        }
        Ok(())
    }

    /// Refuses every key that nobody asked for.
    ///
    /// # Errors
    /// 400 with the nearest known key.
    pub fn finish(self) -> Result<(), Problem> {
        let read = self.read.borrow();
        let known = self.known.borrow();
        for (name, _) in self.members {
            if !read.contains(&name.as_str()) {
                let near = did_you_mean(name, known.iter().copied());
                return Err(Problem::invalid(format!("key \"{name}\" is not known here{near}"))
                    .at(self.at(name))
                    .hint("remove it, or correct its name"));
            }
        }
        Ok(())
    }
}

fn wrong(pointer: &str, value: &Json, wanted: &str) -> Problem {
    Problem::invalid(format!("{} is {}, but {wanted} is needed", last(pointer), value.kind())).at(pointer)
}

fn last(pointer: &str) -> &str {
    match pointer.rsplit('/').next() {
        Some("") | None => "the document",
        Some(name) => name,
    }
}

/// RFC 6901: `~` and `/` are escaped.
fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}
