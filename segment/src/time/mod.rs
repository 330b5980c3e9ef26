//! Event time: instants, half-open intervals, and the calendar arithmetic that cuts them into buckets.
//!
//! Everything is milliseconds since 1970-01-01T00:00:00Z in an `i64`; storage and arithmetic are in UTC. A zone is
//! an explicit argument wherever local midnight matters, because the same process answers people in many zones.
//! Years -5000 to 5000 must work: Druid's clients use them as open ends of an interval.

mod period;
mod zone;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

pub use period::{Granularity, Period};
pub use zone::Zone;

use crate::error::{Result, SegmentError};

/// An instant in UTC milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Start of the year -5000, the earliest instant that text may name.
    pub const MIN: Self = Self(-219_951_936_000_000);
    /// Start of the year 5001, one past the latest.
    pub const MAX: Self = Self(95_649_120_000_000);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads ISO 8601 text: a date, or a date and a time split by `T` or one space, with an optional fraction and an
    /// optional zone (`Z`, `+02:00`, `-0800`). Text without a zone is UTC.
    ///
    /// # Errors
    /// `Invalid` when the text has another form or names a day that does not exist.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_in(text, &Zone::Utc)
    }

    /// As [`parse`](Self::parse); text without a zone is local time of `zone`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_in(text: &str, zone: &Zone) -> Result<Self> {
        parse_iso(text, zone).ok_or_else(|| {
            SegmentError::invalid(
                "timestamp",
                format!("`{}` is not ISO 8601 such as 2015-09-12T00:46:58.771Z", shorten(text)),
            )
        })
    }

    /// `2015-09-12T00:46:58.771Z`.
    pub fn to_iso(self) -> String {
        self.to_iso_in(&Zone::Utc)
    }

    /// ISO text with milliseconds and the zone's offset: `Z` for UTC, else `-07:00`.
    pub fn to_iso_in(self, zone: &Zone) -> String {
        let offset_ms = zone.offset_ms_at(self);
        let Some(local) = naive(self.0.saturating_add(offset_ms)) else {
            return format!("{}ms", self.0);
        };
        let mut out = String::with_capacity(30);
        let year = local.year();
        if (0..=9999).contains(&year) {
            out.push_str(&format!("{year:04}"));
        } else {
            out.push_str(&format!("{}{:04}", if year < 0 { "-" } else { "+" }, year.unsigned_abs()));
        }
        out.push_str(&format!(
            "-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}",
            local.month(),
            local.day(),
            local.hour(),
            local.minute(),
            local.second(),
            local.and_utc().timestamp_subsec_millis()
        ));
        if zone.is_utc() {
            out.push('Z');
        } else {
            let minutes = (offset_ms / 60_000).abs();
            out.push(if offset_ms < 0 { '-' } else { '+' });
            out.push_str(&format!("{:02}:{:02}", minutes / 60, minutes % 60));
        }
        out
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_iso())
    }
}

impl FromStr for Timestamp {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        Self::parse(s)
    }
}

/// Half-open range `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    start: Timestamp,
    end: Timestamp,
}

impl Interval {
    /// All of time that text can name.
    pub const ETERNITY: Self = Self { start: Timestamp::MIN, end: Timestamp::MAX };

    /// An interval that is not empty.
    ///
    /// # Errors
    /// `Invalid` when `start >= end`.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self> {
        if start >= end {
            return Err(SegmentError::invalid("interval", format!("start {start} is not before end {end}")));
        }
        Ok(Self { start, end })
    }

    /// First instant inside.
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// First instant after.
    pub const fn end(&self) -> Timestamp {
        self.end
    }

    /// Whether `t` lies inside.
    pub fn contains(&self, t: Timestamp) -> bool {
        self.start <= t && t < self.end
    }

    /// Whether both have an instant in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The part both have, or nothing.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end)).ok()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.end)
    }
}

impl FromStr for Interval {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        let (start, end) = s.split_once('/').ok_or_else(|| {
            SegmentError::invalid("interval", format!("`{}` is not of the form start/end", shorten(s)))
        })?;
        Self::new(Timestamp::parse(start)?, Timestamp::parse(end)?)
    }
}

pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Local date and time of a count of milliseconds, or nothing outside chrono's years.
pub(crate) fn naive(millis: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(millis).map(|t| t.naive_utc())
}

fn digits(bytes: &[u8], at: &mut usize, least: usize, most: usize) -> Option<i64> {
    let from = *at;
    let mut value = 0i64;
    while *at < bytes.len() && *at - from < most && bytes[*at].is_ascii_digit() {
        value = value * 10 + i64::from(bytes[*at] - b'0');
        *at += 1;
    }
    (*at - from >= least).then_some(value)
}

fn eat(bytes: &[u8], at: &mut usize, wanted: u8) -> bool {
    let hit = bytes.get(*at) == Some(&wanted);
    *at += usize::from(hit);
    hit
}

/// A hand-written reader: it is on the path of every event, and chrono's formats are several times slower.
fn parse_iso(text: &str, zone: &Zone) -> Option<Timestamp> {
    let bytes = text.trim_matches(' ').as_bytes();
    let mut at = 0;
    let negative = eat(bytes, &mut at, b'-');
    let plus = !negative && eat(bytes, &mut at, b'+');
    let year = digits(bytes, &mut at, 4, if negative || plus { 6 } else { 4 })?;
    let year = if negative { -year } else { year };
    let (mut month, mut day) = (1, 1);
    if eat(bytes, &mut at, b'-') {
        month = digits(bytes, &mut at, 1, 2)?;
        if eat(bytes, &mut at, b'-') {
            day = digits(bytes, &mut at, 1, 2)?;
        }
    } else if !negative && !plus && at < bytes.len() {
        return None;
    }
    let date =
        NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?;
    let mut time_ms = 0i64;
    if at < bytes.len() && (eat(bytes, &mut at, b'T') || eat(bytes, &mut at, b't') || eat(bytes, &mut at, b' ')) {
        let hour = digits(bytes, &mut at, 1, 2)?;
        let mut rest = [0i64; 2];
        for part in &mut rest {
            if eat(bytes, &mut at, b':') {
                *part = digits(bytes, &mut at, 2, 2)?;
            }
        }
        let mut millis = 0;
        if eat(bytes, &mut at, b'.') || eat(bytes, &mut at, b',') {
            let from = at;
            millis = digits(bytes, &mut at, 1, 3)?;
            millis *= 10i64.pow(3 - u32::try_from(at - from).ok()?);
            while at < bytes.len() && bytes[at].is_ascii_digit() {
                at += 1;
            }
        }
        // 24:00 is the next midnight; a leap second counts as the next second.
        let in_range = hour < 24 || (hour == 24 && rest == [0, 0] && millis == 0);
        if !in_range || rest[0] > 59 || rest[1] > 60 {
            return None;
        }
        time_ms = ((hour * 60 + rest[0]) * 60 + rest[1]) * 1000 + millis;
    }
    let local_ms = date.and_time(NaiveTime::MIN).and_utc().timestamp_millis().checked_add(time_ms)?;
    if at == bytes.len() {
        return Some(Timestamp(zone.to_utc_ms(local_ms)));
    }
    if bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    if (eat(bytes, &mut at, b'Z') || eat(bytes, &mut at, b'z')) && at == bytes.len() {
        return Some(Timestamp(local_ms));
    }
    let sign = match bytes.get(at) {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return None,
    };
    at += 1;
    let hours = digits(bytes, &mut at, 2, 2)?;
    eat(bytes, &mut at, b':');
    let minutes = if at < bytes.len() { digits(bytes, &mut at, 2, 2)? } else { 0 };
    if at != bytes.len() || hours > 18 || minutes > 59 {
        return None;
    }
    Some(Timestamp(local_ms - sign * (hours * 60 + minutes) * 60_000))
}

#[cfg(test)]
mod tests;
