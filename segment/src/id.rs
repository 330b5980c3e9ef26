//! Names: of tables, of versions, of segments, and their text forms.
//!
//! A segment keeps its id from its first row to deep storage. The text is Druid's
//! (`table_start_end_version_num`) and is read from the right, because table names may hold `_` themselves.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Result, SegmentError};
use crate::time::{Interval, Timestamp};

/// Longest table name in bytes: it becomes part of object names, which stores bound.
const TABLE_NAME_BYTES_MAX: usize = 255;

/// A table's name: not empty, no `/`, no leading `.`, no control character, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName(Arc<str>);

impl TableName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TableName {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        let reason = if s.is_empty() || s.trim() != s {
            "it is empty, or begins or ends with white space"
        } else if s.starts_with('.') {
            "it begins with a dot"
        } else if s.contains(['/', '\\']) || s.chars().any(char::is_control) {
            "it holds a slash, a backslash or a control character"
        } else if s.len() > TABLE_NAME_BYTES_MAX {
            "it is longer than 255 bytes"
        } else {
            return Ok(Self(Arc::from(s)));
        };
        Err(SegmentError::invalid("table name", format!("`{}` cannot be used: {reason}", crate::time::shorten(s))))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for TableName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A table's number in the catalog. A dropped name made again is another table, with another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u64);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Label in a segment id: when the segment was made. It orders nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Arc<str>);

impl Version {
    /// The label of a segment made at `t`.
    pub fn at(t: Timestamp) -> Self {
        Self(Arc::from(t.to_iso()))
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Identity of a segment: unique in its table by its number alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The table's name.
    pub table: TableName,
    /// The interval whose rows it holds.
    pub interval: Interval,
    /// When it was made.
    pub version: Version,
    /// Partition number, from 1, unique in the table.
    pub number: u32,
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}_{}_{}_{}_{}",
            self.table,
            self.interval.start(),
            self.interval.end(),
            self.version.as_str(),
            self.number
        )
    }
}

impl FromStr for SegmentId {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        let bad = || {
            SegmentError::invalid(
                "segment id",
                format!("`{}` is not of the form table_start_end_version_number", crate::time::shorten(s)),
            )
        };
        let mut parts = s.rsplitn(5, '_');
        let mut next = || parts.next().ok_or_else(bad);
        let (number, version, end, start, table) = (next()?, next()?, next()?, next()?, next()?);
        Ok(Self {
            table: table.parse()?,
            interval: Interval::new(Timestamp::parse(start)?, Timestamp::parse(end)?)?,
            version: Version(Arc::from(Timestamp::parse(version)?.to_iso())),
            number: number.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_id_is_read_from_the_right() {
        let text = "web_shop_2_2015-09-12T00:00:00.000Z_2015-09-13T00:00:00.000Z_2026-11-20T10:00:00.000Z_17";
        let id: SegmentId = text.parse().expect("a valid id");
        assert_eq!((id.table.as_str(), id.number), ("web_shop_2", 17));
        assert_eq!(id.to_string(), text);
        for bad in [
            "",
            "a_b_c",
            &text.replace("_17", "_0"),
            &text.replace("_17", ""),
            &text.replace("2015-09-13", "2015-09-11"),
        ] {
            assert!(bad.parse::<SegmentId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn table_names_that_would_break_a_path_are_refused() {
        for good in ["demo", "web shop", "a.b", "日本語", "_x"] {
            assert!(good.parse::<TableName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".x", "a/b", "a\\b", "a\nb", " a", "a ", &"x".repeat(256)] {
            assert!(bad.parse::<TableName>().is_err(), "{bad:?}");
        }
    }
}
