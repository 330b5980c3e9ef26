//! JSON rows: one object, or several behind one another, in a record.
//!
//! serde_json walks the bytes once and checks them (syntax, UTF-8); each value arrives as a slice of the record and
//! goes straight into its column, so no tree is built. Keys are guessed: events of one producer name their fields in
//! the same order, so the key expected next is compared before any hash is computed.
//!
//! What a bad row costs: an object that is well formed but cannot be stored (no time, too deep, not an object) is
//! refused alone, and the objects behind it in the same record are read. After broken syntax nothing can be told
//! apart any more: the objects before it are kept, and the broken one with all that follows in this record is one
//! refused row. Equal keys: the last one counts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::rows::{NO_SLOT, SlotId};
use super::{At, Decoder, RECORD_BYTES_MAX, Rows};

/// Decoder of JSON objects.
#[derive(Debug, Default)]
pub struct JsonDecoder {
    order: KeyOrder,
}

/// The order in which the last row named its fields.
#[derive(Debug, Default)]
struct KeyOrder {
    slots: Vec<SlotId>,
    next: usize,
}

impl KeyOrder {
    fn slot(&mut self, key: &str, rows: &mut Rows) -> SlotId {
        if let Some(&expected) = self.slots.get(self.next)
            && rows.is_named(expected, key)
        {
            self.next += 1;
            return expected;
        }
        let slot = rows.slot(key);
        if slot == NO_SLOT {
            return slot;
        }
        if self.slots.get(self.next + 1) == Some(&slot) {
            // A field was left out.
            self.next += 2;
        } else {
            self.slots.truncate(self.next);
            self.slots.push(slot);
            self.next += 1;
        }
        slot
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, record: u32, payload: &[u8], rows: &mut Rows) {
        if payload.len() > RECORD_BYTES_MAX {
            let reason = format!("the record has {} bytes; at most {RECORD_BYTES_MAX} are read", payload.len());
            rows.refuse(At::Row, reason, Some("send smaller records".to_owned()));
            rows.end_row(record);
            return;
        }
        let mut json = serde_json::Deserializer::from_slice(payload);
        let mut found = false;
        while json.end().is_err() {
            found = true;
            self.order.next = 0;
            let read = RowSeed { rows: &mut *rows, order: &mut self.order }.deserialize(&mut json);
            if let Err(error) = read {
                rows.refuse_over(position(&error), syntax_reason(&error), syntax_hint(payload));
                rows.end_row(record);
                return;
            }
            rows.end_row(record);
        }
        if !found {
            rows.refuse(At::Row, "the record is empty".to_owned(), Some("send a JSON object".to_owned()));
            rows.end_row(record);
        }
    }
}

/// Where serde_json stopped.
pub(crate) fn position(error: &serde_json::Error) -> At {
    match error.line() {
        0 => At::Row,
        line => At::Position { line: line as u64, column: error.column() as u64 },
    }
}

/// serde_json's message without the position that it appends.
pub(crate) fn syntax_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => format!("not valid JSON: {}", &text[..at]),
        None => format!("not valid JSON: {text}"),
    }
}

fn syntax_hint(payload: &[u8]) -> Option<String> {
    let hint = match payload.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(0) => "the record begins with a zero byte: it may be in a schema registry's format, which is not JSON",
        Some(0x1f) => "the record looks compressed; send plain JSON and leave compression to the client",
        _ => "send one JSON object a record, in UTF-8",
    };
    Some(hint.to_owned())
}

/// Reads one row.
struct RowSeed<'a> {
    rows: &'a mut Rows,
    order: &'a mut KeyOrder,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl RowSeed<'_> {
    fn not_an_object(self, found: &str) {
        let hint = "a row is an object: {\"name\": value, ..}".to_owned();
        self.rows.refuse(At::Row, format!("expected a JSON object, found {found}"), Some(hint));
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(slot) = map.next_key_seed(KeySeed { rows: &mut *self.rows, order: &mut *self.order })? {
            if slot == NO_SLOT {
                map.next_value::<IgnoredAny>()?;
            } else {
                let raw: &'de RawValue = map.next_value()?;
                self.rows.value(slot, raw.get());
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.not_an_object("an array");
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.not_an_object("a boolean");
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.not_an_object("a number");
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.not_an_object("a number");
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.not_an_object("a number");
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.not_an_object("a string");
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.not_an_object("null");
        Ok(())
    }
}

/// Finds the column of the next key.
struct KeySeed<'a> {
    rows: &'a mut Rows,
    order: &'a mut KeyOrder,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = SlotId;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<SlotId, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = SlotId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, key: &str) -> Result<SlotId, E> {
        Ok(self.order.slot(key, self.rows))
    }
}

/// Calls `element` with the text of each element of a JSON array.
///
/// # Errors
/// Where the body stops being a JSON array.
pub(crate) fn each_element(body: &[u8], element: impl FnMut(&str)) -> Result<(), serde_json::Error> {
    struct Elements<F>(F);
    impl<'de, F: FnMut(&str)> Visitor<'de> for Elements<F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of JSON objects")
        }
        fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
            while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                (self.0)(raw.get());
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    json.deserialize_seq(Elements(element))?;
    json.end()
}

#[cfg(test)]
mod tests;
