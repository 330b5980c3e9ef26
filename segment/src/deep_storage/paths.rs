//! How files are named.

use chrono::Datelike;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::id::{SegmentId, TableName};
use crate::sealed::{AttemptId, FileKind, hash_text};
use crate::time::{Granularity, Interval};

/// What stands in a name as it is; the rest is written as `%` and two digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// Longest encoded name of a folder or a segment id: file systems take 255 bytes with attempt and ending.
const NAME_BYTES_MAX: usize = 200;

/// The path of a file: `<table>/day=<UTC day of the start, or all>/<segment id>-<attempt>.<ending>`.
pub fn of(table: &TableName, interval: Interval, id: &SegmentId, attempt: AttemptId, kind: FileKind) -> String {
    format!("{}/{}", folder_of(table, interval), file_name(id, attempt, kind))
}

/// The folder of a table; all its files are below it.
pub fn table_folder(table: &TableName) -> String {
    encoded(table.as_str())
}

fn folder_of(table: &TableName, interval: Interval) -> String {
    let start = interval.start();
    let day = if interval == Granularity::All.bucket(start) {
        "all".to_owned()
    } else {
        // Years beyond four digits and before zero have a sign, as in ISO 8601.
        match chrono::DateTime::from_timestamp_millis(start.as_millis()) {
            Some(t) if (0..=9999).contains(&t.year()) => {
                format!("{:04}-{:02}-{:02}", t.year(), t.month(), t.day())
            }
            Some(t) => format!("{:+05}-{:02}-{:02}", t.year(), t.month(), t.day()),
            None => "all".to_owned(),
        }
    };
    format!("{}/day={}", table_folder(table), utf8_percent_encode(&day, ENCODED))
}

/// The last part of a path.
pub fn file_name(id: &SegmentId, attempt: AttemptId, kind: FileKind) -> String {
    format!("{}-{attempt}.{}", encoded(&id.to_string()), kind.extension())
}

/// Percent-encoded; what would be too long for a file system is cut and gets a hash of the whole.
fn encoded(name: &str) -> String {
    let full = utf8_percent_encode(name, ENCODED).to_string();
    if full.len() <= NAME_BYTES_MAX {
        return full;
    }
    let hash = format!("~{:016x}", hash_text(name));
    let end: String = full.chars().take(NAME_BYTES_MAX - hash.len()).collect();
    // A half of an encoded character is not left behind.
    let cut = end.char_indices().rev().take(2).find(|(_, c)| *c == '%').map_or(end.len(), |(at, _)| at);
    format!("{}{hash}", end.get(..cut).unwrap_or(&end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Version;
    use crate::time::Timestamp;

    fn path(table: &str, interval: &str) -> String {
        let table: TableName = table.parse().expect("a name");
        let interval: Interval = interval.parse().expect("an interval");
        let version = Version::at(Timestamp::parse("2026-11-20T10:00:00.000Z").expect("a time"));
        let id = SegmentId { table: table.clone(), interval, version, number: 7 };
        of(&table, interval, &id, AttemptId(0xab), FileKind::Index)
    }

    #[test]
    fn a_path_names_table_day_segment_and_attempt() {
        assert_eq!(
            path("web shop", "2015-09-12T00:00:00.000Z/2015-09-13T00:00:00.000Z"),
            "web%20shop/day=2015-09-12/web%20shop_2015-09-12T00%3A00%3A00.000Z_2015-09-13T00%3A00%3A00.000Z_\
             2026-11-20T10%3A00%3A00.000Z_7-000000000000000000000000000000ab.idx"
        );
        let eternity = Interval::ETERNITY.to_string();
        assert!(path("t", &eternity).starts_with("t/day=all/"), "{}", path("t", &eternity));
        assert!(path("t", "-4999-01-01T00:00:00.000Z/-4998-01-01T00:00:00.000Z").starts_with("t/day=-4999-01-01/t_"));
    }

    #[test]
    fn no_part_of_a_path_is_too_long_for_a_file_system() {
        let day = "2015-09-12T00:00:00.000Z/2015-09-13T00:00:00.000Z";
        let long = path(&"日".repeat(85), day);
        assert!(long.split('/').all(|part| part.len() <= 255), "{long}");
        let other = path(&format!("{}月", "日".repeat(84)), day);
        assert_ne!(long.split('/').next(), other.split('/').next());
        assert!(object_store::path::Path::parse(&long).is_ok(), "{long}");
    }
}
