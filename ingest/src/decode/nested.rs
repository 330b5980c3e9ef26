//! Canonical text of nested JSON: no white space, one way to write a string, the last of several equal keys.
//!
//! Keys keep the order of their first appearance, and numbers the digits they came with, so nothing a client sent is
//! rounded or moved about. One pass over the bytes does it; only an object that may hold a key twice takes the slow
//! way. The input is JSON that serde_json has accepted already, so this code looks for structure, not for errors.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::DEPTH_MAX;

/// Why nested JSON is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NestedError {
    /// Deeper than [`DEPTH_MAX`].
    TooDeep,
    /// A string that no text can hold, such as half of a surrogate pair.
    BadString(String),
}

/// Up to this many keys are compared one by one; beyond, a set holds their hashes.
const KEYS_SCANNED_MAX: usize = 16;

/// Keys seen in one open object, as hashes: an equal hash only means that the slow way has to look.
#[derive(Default)]
struct Keys {
    few: Vec<u64>,
    many: HashSet<u64>,
}

impl Keys {
    fn insert(&mut self, hash: u64) -> bool {
        if self.few.len() < KEYS_SCANNED_MAX {
            let new = !self.few.contains(&hash);
            self.few.push(hash);
            return new;
        }
        if self.many.is_empty() {
            self.many.extend(self.few.iter().copied());
        }
        self.many.insert(hash)
    }
}

/// Compacts nested JSON.
#[derive(Default)]
pub(super) struct Compactor {
    hashes: RandomState,
}

impl Compactor {
    /// Appends the canonical text of `raw`, an object or array that stands inside a row.
    pub(super) fn compact(&self, raw: &str, out: &mut String) -> Result<(), NestedError> {
        let from = out.len();
        if self.compact_in_one_pass(raw, out)? {
            return Ok(());
        }
        out.truncate(from);
        compact_by_value(raw, out, 1)
    }

    /// False: some object seems to hold a key twice.
    fn compact_in_one_pass(&self, raw: &str, out: &mut String) -> Result<bool, NestedError> {
        let bytes = raw.as_bytes();
        // An open object holds its keys, an open array nothing.
        let mut open: Vec<Option<Keys>> = Vec::new();
        let mut key_next = false;
        let mut at = 0;
        while at < bytes.len() {
            let from = at;
            match bytes[at] {
                b' ' | b'\n' | b'\r' | b'\t' => at += 1,
                b'"' => {
                    at = string_end(bytes, at);
                    let text_from = out.len();
                    write_string(&raw[from..at], out)?;
                    if key_next {
                        key_next = false;
                        let hash = self.hashes.hash_one(&out.as_bytes()[text_from..]);
                        if let Some(Some(keys)) = open.last_mut()
                            && !keys.insert(hash)
                        {
                            return Ok(false);
                        }
                    }
                }
                b @ (b'{' | b'[') => {
                    key_next = b == b'{';
                    open.push(key_next.then(Keys::default));
                    // The row around it is the first level.
                    if open.len() + 1 > DEPTH_MAX {
                        return Err(NestedError::TooDeep);
                    }
                    out.push(char::from(b));
                    at += 1;
                }
                b @ (b'}' | b']' | b',' | b':') => {
                    if b == b',' {
                        key_next = matches!(open.last(), Some(Some(_)));
                    } else if b != b':' {
                        open.pop();
                        key_next = false;
                    }
                    out.push(char::from(b));
                    at += 1;
                }
                _ => {
                    while at < bytes.len() && !matches!(bytes[at], b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']') {
                        at += 1;
                    }
                    out.push_str(&raw[from..at]);
                }
            }
        }
        Ok(true)
    }
}

/// Position after the string that opens at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Appends a JSON string in the one way to write it.
fn write_string(quoted: &str, out: &mut String) -> Result<(), NestedError> {
    if quoted.as_bytes().contains(&b'\\') {
        let text = unescape(quoted)?;
        quote(&text, out);
    } else {
        out.push_str(quoted);
    }
    Ok(())
}

/// The text of a JSON string.
pub(super) fn unescape(quoted: &str) -> Result<String, NestedError> {
    serde_json::from_str(quoted).map_err(|_| {
        NestedError::BadString(
            "a text has an escape that stands for no character, such as half of a surrogate pair".to_owned(),
        )
    })
}

/// Appends `text` as a JSON string.
pub(super) fn quote(text: &str, out: &mut String) {
    // Text always has a JSON form; the empty string stands for a case that cannot be.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}

/// The slow way: value by value, so that the last of several equal keys can win.
fn compact_by_value(raw: &str, out: &mut String, depth: usize) -> Result<(), NestedError> {
    let bad = |error: serde_json::Error| NestedError::BadString(error.to_string());
    let nested = matches!(raw.as_bytes().first(), Some(b'{' | b'['));
    if nested && depth + 1 > DEPTH_MAX {
        return Err(NestedError::TooDeep);
    }
    match raw.as_bytes().first() {
        Some(b'{') => {
            let Entries(entries) = serde_json::from_str(raw).map_err(bad)?;
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                quote(key, out);
                out.push(':');
                compact_by_value(value.get(), out, depth + 1)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(bad)?;
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                compact_by_value(item.get(), out, depth + 1)?;
            }
            out.push(']');
        }
        Some(b'"') => write_string(raw, out)?,
        _ => out.push_str(raw),
    }
    Ok(())
}

/// Keys in the order of their first appearance with their last values.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries: Vec<(String, &RawValue)> = Vec::new();
                let mut places = std::collections::HashMap::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    match places.get(&key) {
                        Some(&place) => {
                            let entry: &mut (String, &RawValue) = &mut entries[place];
                            entry.1 = value;
                        }
                        None => {
                            places.insert(key.clone(), entries.len());
                            entries.push((key, value));
                        }
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Appends an array that holds only strings and nulls as canonical text and says how many; nothing is appended for any
/// other array.
pub(super) fn string_array(raw: &str, out: &mut String) -> Result<Option<usize>, NestedError> {
    let bytes = raw.as_bytes();
    let from = out.len();
    let mut count = 0;
    let mut at = 1;
    out.push('[');
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            b',' => {
                out.push(',');
                at += 1;
            }
            b']' => {
                out.push(']');
                return Ok(Some(count));
            }
            b'"' => {
                let end = string_end(bytes, at);
                write_string(&raw[at..end], out)?;
                at = end;
                count += 1;
            }
            b'n' => {
                out.push_str("null");
                at += 4;
                count += 1;
            }
            _ => break,
        }
    }
    out.truncate(from);
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(raw: &str) -> Result<String, NestedError> {
        // Everything given here is JSON.
        let _: serde_json::Value = serde_json::from_str(raw).expect("the test's own input");
        let mut out = String::new();
        Compactor::default().compact(raw, &mut out).map(|()| out)
    }

    #[test]
    fn canonical_text_has_no_spaces_and_one_way_to_write_a_string() {
        for (raw, text) in [
            ("{ \"b\" : 1 , \"a\" : [ 1.50, -0, 1e5 ] }", r#"{"b":1,"a":[1.50,-0,1e5]}"#),
            (r#"{"\u0061":"\u00e9\/\n, {x}"}"#, r#"{"a":"é/\n, {x}"}"#),
            ("[true,false,null,{}]", "[true,false,null,{}]"),
            (r#"{"n":12345678901234567890123.25}"#, r#"{"n":12345678901234567890123.25}"#),
            (r#"{"a":"]}\"{["}"#, r#"{"a":"]}\"{["}"#),
        ] {
            assert_eq!(compact(raw).as_deref(), Ok(text));
        }
    }

    #[test]
    fn the_last_of_equal_keys_wins_at_every_depth() {
        assert_eq!(compact(r#"{"a":1,"b":2,"a":{"x":1,"\u0078":2}}"#).as_deref(), Ok(r#"{"a":{"x":2},"b":2}"#));
        assert_eq!(compact(r#"[{"a":1},{"a":2}]"#).as_deref(), Ok(r#"[{"a":1},{"a":2}]"#), "equal keys of two objects");
        assert_eq!(compact(r#"{"a":"a","b":{"a":1}}"#).as_deref(), Ok(r#"{"a":"a","b":{"a":1}}"#));
        let many: Vec<String> = (0..100).map(|n| format!("\"k{n}\":{n}")).collect();
        let twice = format!("{{{},\"k50\":\"last\"}}", many.join(","));
        assert!(compact(&twice).expect("fits").contains("\"k50\":\"last\",\"k51\""));
    }

    #[test]
    fn depth_is_limited_on_both_ways() {
        let nest = |depth: usize, core: &str| format!("{}{core}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(compact(&nest(DEPTH_MAX - 1, "1")).is_ok());
        assert_eq!(compact(&nest(DEPTH_MAX, "1")), Err(NestedError::TooDeep));
        assert!(compact(&nest(DEPTH_MAX - 2, r#"{"a":1,"a":2}"#)).is_ok());
        assert_eq!(compact(&nest(DEPTH_MAX - 2, r#"{"a":1,"a":[]}"#)), Err(NestedError::TooDeep));
    }

    #[test]
    fn arrays_of_strings_are_told_from_others() {
        let read = |raw: &str| {
            let mut out = String::new();
            string_array(raw, &mut out).map(|count| (count, out))
        };
        assert_eq!(read(r#"[ "a" , "b\u0062", null ]"#), Ok((Some(3), r#"["a","bb",null]"#.to_owned())));
        assert_eq!(read("[]"), Ok((Some(0), "[]".to_owned())));
        assert_eq!(read(r#"["a",1]"#), Ok((None, String::new())));
        assert_eq!(read(r#"[["a"]]"#), Ok((None, String::new())));
        assert!(read(r#"["\ud800"]"#).is_err());
    }
}
