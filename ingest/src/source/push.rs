//! Rows that are pushed: a body is read on the caller's thread and stored by the table's one push task.
//!
//! ```text
//! caller: body ─▶ records ─▶ Rows ──bounded channel──▶ push task: journal, sync, append, swap ──▶ caller: answer
//! ```
//! The answer comes after the journal is synced and after the swap, so a row that was acknowledged survives a crash and
//! the sender's next query sees it. Batches are stored whole or not at all; with `onError=skip` the refused rows are
//! left out and listed. The reader of a body is lenient about its shape (an array, one object, one object a line) and
//! strict about what is in it.

mod record;
mod task;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use freshet_segment::id::TableName;
use freshet_segment::time::Timestamp;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

pub use self::record::PushHeader;
pub(crate) use self::task::{Job, PARTITION, PUSH_STREAMS, PushTask, StoreJob, group, stream};
use crate::counts::{Account, Counts};
use crate::dead_letter::{DeadLetter, RAW_BYTES_MAX, RejectedRow, quote};
use crate::decode::json::{each_element, position, syntax_reason};
use crate::decode::{Rejection, Rows};
use crate::error::{IngestError, Result, shorten};

/// Longest body, decompressed.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Most records of a body.
pub const RECORDS_MAX: usize = 2_000_000;
/// Refused rows that an answer lists; the rest is counted.
pub const REJECTED_LISTED_MAX: usize = 1_000;
/// Longest idempotency key.
pub const KEY_BYTES_MAX: usize = 255;
/// Fields that hold the time when the sender does not say which does, the first that is there.
pub const TIME_FIELDS: [&str; 5] = ["__time", "timestamp", "time", "ts", "@timestamp"];
/// Records looked at for the time field.
const RECORDS_PEEKED: usize = 100;
/// Names of fields that a refusal lists.
const NAMES_SHOWN_MAX: usize = 20;

/// What happens to a body with bad rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Nothing of it is stored.
    #[default]
    Reject,
    /// The bad rows are left out and listed.
    Skip,
}

/// When a push is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledge {
    /// Once its rows are visible, before they are safe: a crash within some milliseconds loses them.
    Memory,
    /// Once they are in the synced journal, and visible.
    #[default]
    Journal,
    /// Once they are published to deep storage.
    Published,
}

/// A body to store.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The table; made when it is not there.
    pub table: TableName,
    /// JSON: an object, an array of objects, or one object a line.
    pub body: Bytes,
    /// What happens to bad rows.
    pub on_error: OnError,
    /// The field that holds the time; without it the usual names are tried.
    pub time_column: Option<String>,
    /// When the request came in.
    pub received: Timestamp,
    /// Names this push among retries of it.
    pub key: Option<String>,
    /// When it is answered.
    pub acknowledge: Acknowledge,
}

/// What became of a body. It is kept beside an idempotency key, so that a retry gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PushReply {
    /// Rows stored, and visible to the next query.
    pub accepted: u64,
    /// Rows refused.
    pub rejected_count: u64,
    /// The first thousand of them.
    pub rejected: Vec<RejectedRow>,
}

/// The records of a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    /// Where in the body each one is, and the line at which it begins (from 0).
    pub records: Vec<(Range<usize>, u64)>,
}

impl Body {
    /// Finds the records of a body.
    ///
    /// # Errors
    /// `Invalid` when it is empty, too long, or its shape is broken so that no record can be told apart.
    pub fn read(body: &[u8]) -> Result<Self> {
        if body.len() > BODY_BYTES_MAX {
            return Err(IngestError::invalid_with(
                format!("the body has {} bytes; at most {BODY_BYTES_MAX} are taken", body.len()),
                "push it in parts",
            ));
        }
        let begin = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let first = body[begin..].iter().find(|b| !b.is_ascii_whitespace());
        let records = match first {
            None => {
                return Err(IngestError::invalid_with(
                    "the body is empty",
                    "send a JSON object, an array of objects, or one object a line",
                ));
            }
            Some(b'[') => Self::of_array(&body[begin..], begin)?,
            Some(_) => Self::of_lines(body, begin)?,
        };
        if records.len() > RECORDS_MAX {
            return Err(IngestError::invalid_with(
                format!("the body has more than {RECORDS_MAX} records, which is how many are taken"),
                "push it in parts",
            ));
        }
        Ok(Self { records })
    }

    // Each of these stops gathering once there are more records than are taken: a body of nothing but commas or line feeds
    // would need many times its own length.

    fn of_array(body: &[u8], begin: usize) -> Result<Vec<(Range<usize>, u64)>> {
        let mut records = Vec::new();
        let base = body.as_ptr() as usize;
        let mut line = 0;
        let mut counted_to = 0;
        each_element(body, |element| {
            if records.len() > RECORDS_MAX {
                return;
            }
            // An element is a part of the body, so its address tells its place.
            let start = element.as_ptr() as usize - base;
            line += body[counted_to..start].iter().filter(|b| **b == b'\n').count() as u64;
            counted_to = start;
            records.push((begin + start..begin + start + element.len(), line));
        })
        .map_err(|error| broken(&error))?;
        Ok(records)
    }

    fn of_lines(body: &[u8], begin: usize) -> Result<Vec<(Range<usize>, u64)>> {
        let mut lines = Vec::new();
        let mut start = begin;
        for (number, line) in (0u64..).zip(body[begin..].split(|b| *b == b'\n')) {
            let range = start..start + line.len();
            start = range.end + 1;
            if !line.iter().all(u8::is_ascii_whitespace) {
                lines.push((range, number));
            }
            if lines.len() > RECORDS_MAX {
                return Ok(lines);
            }
        }
        let is_whole = |range: &Range<usize>| serde_json::from_slice::<IgnoredAny>(&body[range.clone()]).is_ok();
        if lines.len() == 1 || lines.first().is_some_and(|(range, _)| is_whole(range)) {
            return Ok(lines);
        }
        // Objects over several lines, or a bad first line.
        let mut values = serde_json::Deserializer::from_slice(&body[begin..]).into_iter::<IgnoredAny>();
        let mut records = Vec::new();
        let mut line = 0;
        loop {
            let from = begin + values.byte_offset();
            let skipped = body[from..].iter().take_while(|b| b.is_ascii_whitespace());
            let blank = skipped.clone().count();
            line += skipped.filter(|b| **b == b'\n').count() as u64;
            match values.next() {
                None => return Ok(records),
                Some(Ok(_)) => {
                    let range = from + blank..begin + values.byte_offset();
                    let end = range.clone();
                    records.push((range, line));
                    if records.len() > RECORDS_MAX {
                        return Ok(records);
                    }
                    line += body[end].iter().filter(|b| **b == b'\n').count() as u64;
                }
                Some(Err(_)) if lines.iter().any(|(range, _)| is_whole(range)) => return Ok(lines),
                Some(Err(error)) => return Err(broken(&error)),
            }
        }
    }
}

fn broken(error: &serde_json::Error) -> IngestError {
    IngestError::Invalid {
        what: syntax_reason(error),
        at: position(error).text(0),
        hint: Some("send a JSON object, an array of objects, or one object a line, in UTF-8".to_owned()),
    }
}

/// Finds the field that holds the time.
///
/// # Errors
/// `Invalid`, naming the fields that are there.
pub fn find_time_field(body: &[u8], records: &[(Range<usize>, u64)]) -> Result<String> {
    let mut seen = FieldNames::default();
    for (range, _) in records.iter().take(RECORDS_PEEKED) {
        seen.read(&body[range.clone()]);
        if let Some((name, _)) = TIME_FIELDS.iter().zip(seen.time_fields).find(|(_, is_there)| *is_there) {
            return Ok((*name).to_owned());
        }
    }
    let seen = seen.names;
    let shown: Vec<String> = seen.iter().take(NAMES_SHOWN_MAX).map(|name| format!("`{}`", shorten(name))).collect();
    let more = if seen.len() > NAMES_SHOWN_MAX { " and more" } else { "" };
    let what = if seen.is_empty() {
        "no field holds the time, because the rows have no fields".to_owned()
    } else {
        format!("no field holds the time; the rows have {}{more}", shown.join(", "))
    };
    Err(IngestError::invalid_with(
        what,
        format!("name it with ?timestampColumn=FIELD, or call it one of {}", TIME_FIELDS.join(", ")),
    ))
}

/// Names of fields that records have.
#[derive(Default)]
struct FieldNames {
    /// Which of [`TIME_FIELDS`] is among them.
    time_fields: [bool; TIME_FIELDS.len()],
    /// The first [`NAMES_SHOWN_MAX`], and one more if there are more.
    names: Vec<String>,
}

impl FieldNames {
    /// Takes in the names of an object; none of anything else, and those before a fault.
    fn read(&mut self, record: &[u8]) {
        struct Names<'a>(&'a mut FieldNames);
        impl<'de> Visitor<'de> for Names<'_> {
            type Value = ();
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
                while let Some(name) = map.next_key::<String>()? {
                    self.0.take(name);
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(())
            }
        }
        // A broken record is refused later, with its reason.
        let _ = serde_json::Deserializer::from_slice(record).deserialize_map(Names(self));
    }

    fn take(&mut self, name: String) {
        if let Some(place) = TIME_FIELDS.iter().position(|field| *field == name) {
            self.time_fields[place] = true;
        }
        // An object may have a million fields; names are compared with the few that are kept.
        if self.names.len() <= NAMES_SHOWN_MAX && !self.names.contains(&name) {
            self.names.push(name);
        }
    }
}

/// The refused rows of a body, as an answer lists them.
pub fn rejected_rows(body: &[u8], records: &[(Range<usize>, u64)], rows: &Rows) -> Vec<RejectedRow> {
    let listed = rows.rejections().iter().take(REJECTED_LISTED_MAX);
    listed
        .map(|rejection| {
            let (range, line) = records.get(rejection.record as usize).cloned().unwrap_or((0..0, 0));
            let raw = &body[range];
            RejectedRow {
                row: rejection.row,
                at: rejection.at.text(line),
                reason: rejection.reason.clone(),
                hint: rejection.hint.clone(),
                raw: String::from_utf8_lossy(&raw[..raw.len().min(RAW_BYTES_MAX)]).into_owned(),
            }
        })
        .collect()
}

/// What becomes of the rows of a body once it is stored. Its number in the journal is not known yet.
pub(crate) fn account_of(stream: &Arc<str>, body: &[u8], records: &Body, rows: &Rows, received: Timestamp) -> Account {
    let letter = |rejection: &Rejection| {
        let (range, line) = records.records.get(rejection.record as usize).cloned().unwrap_or((0..0, 0));
        DeadLetter {
            time: received,
            stream: Arc::clone(stream),
            partition: PARTITION,
            offset: 0,
            row: rejection.row,
            at: rejection.at.text(line),
            reason: rejection.reason.clone(),
            hint: rejection.hint.clone(),
            row_stored: false,
            raw: quote(body.get(range).unwrap_or_default()),
        }
    };
    let letters: Vec<DeadLetter> = rows.rejections().iter().map(letter).collect();
    let (stored, rejected) = (rows.len() as u64, rows.refused());
    let counts = Counts { read: stored + rejected, stored, rejected, bytes: body.len() as u64, ..Counts::default() };
    let letters_unlisted = rejected - letters.len() as u64;
    Account { counts: BTreeMap::from([(PARTITION, counts)]), letters, letters_unlisted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(body: &str) -> Vec<(String, u64)> {
        let read = Body::read(body.as_bytes()).expect(body);
        read.records.into_iter().map(|(range, line)| (body[range].trim().to_owned(), line)).collect()
    }

    fn expect(body: &str, wanted: &[(&str, u64)]) {
        let wanted: Vec<_> = wanted.iter().map(|(text, line)| ((*text).to_owned(), *line)).collect();
        assert_eq!(records(body), wanted, "{body:?}");
    }

    #[test]
    fn a_body_is_an_object_an_array_or_lines() {
        expect("{\"a\":1}", &[("{\"a\":1}", 0)]);
        expect("\u{feff}{\"a\":1}\n", &[("{\"a\":1}", 0)]);
        expect(" [ {\"a\":[1]} ,\n\n{\"b\":\"]\"}, 5]\n", &[("{\"a\":[1]}", 0), ("{\"b\":\"]\"}", 2), ("5", 2)]);
        expect("[]", &[]);
        expect("{\"a\":1}\r\n\n{\"b\":2}\n", &[("{\"a\":1}", 0), ("{\"b\":2}", 2)]);
        expect("\n{\n \"a\":1\n}\n{\"b\":\n2}", &[("{\n \"a\":1\n}", 1), ("{\"b\":\n2}", 4)]);
        expect("{\"a\":1} {\"b\":2}", &[("{\"a\":1} {\"b\":2}", 0)]);
    }

    #[test]
    fn a_bad_line_does_not_hide_the_others() {
        expect("{\"a\":\n{\"b\":2}\nx", &[("{\"a\":", 0), ("{\"b\":2}", 1), ("x", 2)]);
        expect("{\"a\":1}\nx\n{\"b\":2}", &[("{\"a\":1}", 0), ("x", 1), ("{\"b\":2}", 2)]);
    }

    #[test]
    fn a_body_without_shape_is_refused_with_its_place() {
        for (body, at) in [
            ("", None),
            (" \n ", None),
            ("[{\"a\":1},", Some("line 1, column 9")),
            ("[{\"a\":1}\n{\"b\":2}]", Some("line 2, column 1")),
            ("{\n\"a\": 1,\n}", Some("line 3, column 1")),
            ("[{\"a\":1}] trailing", Some("line 1, column 11")),
        ] {
            let error = Body::read(body.as_bytes()).expect_err(body);
            assert_eq!(error.at().as_deref(), at, "{body:?}: {error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn of_too_many_records_no_more_are_gathered_than_are_taken() {
        let many = RECORDS_MAX + 10;
        for body in [format!("[{}0]", "0,".repeat(many)), "0\n".repeat(many), format!("{{\n}}{}", " 0".repeat(many))] {
            let error = Body::read(body.as_bytes()).expect_err("too many");
            assert!(error.to_string().contains("more than 2000000 records"), "{error}");
        }
        assert_eq!(Body::of_lines("0\n".repeat(many).as_bytes(), 0).expect("lines").len(), RECORDS_MAX + 1);
    }

    #[test]
    fn the_time_field_is_found_or_the_fields_are_named() {
        let find = |body: &str| find_time_field(body.as_bytes(), &Body::read(body.as_bytes()).expect("a body").records);
        assert_eq!(find("[{\"ts\":1,\"time\":2}]").as_deref().ok(), Some("time"));
        assert_eq!(find("{\"a\":1}\n{\"@timestamp\":1}").as_deref().ok(), Some("@timestamp"));
        let error = find("[{\"when\":1,\"x\":{}},{\"y\":2}]").expect_err("no time");
        assert!(error.to_string().contains("`when`, `x`, `y`"), "{error}");
        assert!(error.hint().unwrap_or_default().contains("timestampColumn"));
        assert!(find("[]").is_err());
        // Behind many other fields too; a refusal lists a few of them, and cuts those that are long.
        let many: String = (0..5_000).map(|n| format!("\"{}{n}\":{{}},", "x".repeat(300))).collect();
        assert_eq!(find(&format!("{{{many}\"ts\":1}}")).as_deref().ok(), Some("ts"));
        let error = find(&format!("{{{many}\"no\":1}}")).expect_err("no time").to_string();
        assert!(error.ends_with(" and more") && error.len() < 5_000, "{error}");
    }
}
