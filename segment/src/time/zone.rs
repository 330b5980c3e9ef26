//! Time zones: UTC, a fixed offset, or a named zone of the tz database.

use std::fmt;
use std::str::FromStr;

use chrono::{FixedOffset, LocalResult, Offset, TimeZone};

use super::{Timestamp, naive, shorten};
use crate::error::{Result, SegmentError};

/// A zone in which local midnight, weeks and months are reckoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Zone {
    /// Coordinated Universal Time.
    Utc,
    /// A zone of the tz database, with its changes of offset.
    Named(chrono_tz::Tz),
    /// One offset for ever.
    Fixed(FixedOffset),
}

impl Zone {
    /// Whether local time is UTC at every instant.
    pub fn is_utc(&self) -> bool {
        match self {
            Self::Utc => true,
            Self::Fixed(offset) => offset.local_minus_utc() == 0,
            Self::Named(_) => false,
        }
    }

    /// Local minus UTC at `t`, in milliseconds.
    pub fn offset_ms_at(&self, t: Timestamp) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Fixed(offset) => i64::from(offset.local_minus_utc()) * 1000,
            Self::Named(tz) => match naive(t.as_millis()) {
                Some(utc) => i64::from(tz.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * 1000,
                None => 0,
            },
        }
    }

    /// The instant whose local clock shows `local_ms` (milliseconds since 1970-01-01 local). Of two such instants the
    /// earlier is taken; a local time that a change of clocks skips becomes the same distance after the change.
    pub fn to_utc_ms(&self, local_ms: i64) -> i64 {
        match self {
            Self::Utc => local_ms,
            Self::Fixed(offset) => local_ms - i64::from(offset.local_minus_utc()) * 1000,
            Self::Named(tz) => {
                let Some(local) = naive(local_ms) else { return local_ms };
                match tz.offset_from_local_datetime(&local) {
                    LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => {
                        local_ms - i64::from(offset.fix().local_minus_utc()) * 1000
                    }
                    // In a gap the offset before the change maps the local time past it.
                    LocalResult::None => local_ms - self.offset_ms_at(Timestamp::from_millis(local_ms - 86_400_000)),
                }
            }
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utc => f.write_str("UTC"),
            Self::Named(tz) => f.write_str(tz.name()),
            Self::Fixed(offset) => write!(f, "{offset}"),
        }
    }
}

impl FromStr for Zone {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        if matches!(s, "UTC" | "Etc/UTC" | "Z" | "GMT" | "Etc/GMT") {
            return Ok(Self::Utc);
        }
        if s.starts_with(['+', '-']) {
            if let Some(offset) = fixed(s) {
                return Ok(Self::Fixed(offset));
            }
        } else if let Ok(tz) = s.parse::<chrono_tz::Tz>() {
            return Ok(Self::Named(tz));
        }
        Err(SegmentError::invalid(
            "time zone",
            format!("`{}` is neither a name such as America/Los_Angeles nor an offset such as -08:00", shorten(s)),
        ))
    }
}

fn fixed(s: &str) -> Option<FixedOffset> {
    let (sign, digits) = if let Some(rest) = s.strip_prefix('-') { (-1, rest) } else { (1, s.strip_prefix('+')?) };
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 if digits.is_ascii() => digits.split_at(2),
        5 => digits.split_once(':')?,
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if !(0..=18).contains(&hours) || !(0..=59).contains(&minutes) {
        return None;
    }
    FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))
}
