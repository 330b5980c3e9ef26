//! ISO 8601 periods and the buckets they cut time into.
//!
//! Floors follow Joda's period granularity as Druid uses it: months, quarters and years start on the first; weeks start
//! on Monday; multiples are counted from 1970-01-01 local (weeks from Monday 1970-01-05) unless an origin says
//! otherwise; a day is a local day, 23 or 25 hours long when clocks change.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Months, NaiveDateTime};

use super::{Interval, Timestamp, Zone, naive, shorten};
use crate::error::{Result, SegmentError};

const DAY_MS: i64 = 86_400_000;
/// Monday 1970-01-05, from which weeks are counted.
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// A calendar period: months and days follow the calendar of a zone, milliseconds do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    /// Calendar months; a year is twelve.
    pub months: i32,
    /// Calendar days; a week is seven.
    pub days: i32,
    /// Exact time.
    pub millis: i64,
}

impl Period {
    /// A period of exact time.
    pub const fn of_millis(millis: i64) -> Self {
        Self { months: 0, days: 0, millis }
    }

    /// A period of calendar days.
    pub const fn of_days(days: i32) -> Self {
        Self { months: 0, days, millis: 0 }
    }

    /// A period of calendar months.
    pub const fn of_months(months: i32) -> Self {
        Self { months, days: 0, millis: 0 }
    }

    /// Start of the bucket that holds `t`. `origin` is an instant at which some bucket starts.
    ///
    /// A period that mixes months with days or time has no fixed grid; it is stepped from the origin.
    pub fn floor(&self, t: Timestamp, zone: &Zone, origin: Option<Timestamp>) -> Timestamp {
        let local = |t: Timestamp| t.as_millis().saturating_add(zone.offset_ms_at(t));
        match (self.months, self.days, self.millis) {
            (months, 0, 0) if months > 0 => {
                let Some(now) = naive(local(t)) else { return t };
                let start = origin.and_then(|o| naive(local(o)));
                Timestamp::from_millis(zone.to_utc_ms(floor_months(now, months, start)))
            }
            (0, days, 0) if days > 0 => {
                let width = i64::from(days) * DAY_MS;
                let base = match origin {
                    Some(o) => local(o),
                    None if days % 7 == 0 => FIRST_MONDAY_MS,
                    None => 0,
                };
                let floored = base + (local(t) - base).div_euclid(width) * width;
                Timestamp::from_millis(zone.to_utc_ms(floored))
            }
            (0, 0, millis) if millis > 0 => floor_millis(t, millis, zone, origin),
            _ => self.floor_stepping(t, zone, origin),
        }
    }

    /// End of the bucket that holds `t`; `t` itself when it is a bucket's start.
    pub fn ceil(&self, t: Timestamp, zone: &Zone, origin: Option<Timestamp>) -> Timestamp {
        let floor = self.floor(t, zone, origin);
        if floor == t { t } else { self.add(floor, 1, zone) }
    }

    /// `t` moved by `count` periods on the calendar of `zone`; a day that the target month lacks becomes its last.
    pub fn add(&self, t: Timestamp, count: i64, zone: &Zone) -> Timestamp {
        let mut out = t.as_millis();
        if self.months != 0 || self.days != 0 {
            let local = out.saturating_add(zone.offset_ms_at(t));
            let moved = naive(local).and_then(|local| add_months(local, i64::from(self.months).checked_mul(count)?));
            let Some(moved) = moved else { return t };
            let days = i64::from(self.days).saturating_mul(count).saturating_mul(DAY_MS);
            out = zone.to_utc_ms(moved.and_utc().timestamp_millis().saturating_add(days));
        }
        Timestamp::from_millis(out.saturating_add(self.millis.saturating_mul(count)))
    }

    fn floor_stepping(&self, t: Timestamp, zone: &Zone, origin: Option<Timestamp>) -> Timestamp {
        let origin = origin.unwrap_or(Timestamp::from_millis(0));
        let length = i64::from(self.months) * 30 * DAY_MS + i64::from(self.days) * DAY_MS + self.millis;
        if length <= 0 {
            return t;
        }
        let mut count = (t.as_millis() - origin.as_millis()).div_euclid(length);
        while self.add(origin, count, zone) > t {
            count -= 1;
        }
        while self.add(origin, count + 1, zone) <= t {
            count += 1;
        }
        self.add(origin, count, zone)
    }
}

/// Exact lengths that divide a day follow the local clock, so that six-hour buckets start at local midnight; within the
/// hour a change of clocks repeats, instants stay apart because only the whole-minute part of the offset is used.
fn floor_millis(t: Timestamp, millis: i64, zone: &Zone, origin: Option<Timestamp>) -> Timestamp {
    let at = t.as_millis();
    if let Some(origin) = origin {
        return Timestamp::from_millis(origin.as_millis() + (at - origin.as_millis()).div_euclid(millis) * millis);
    }
    let offset = zone.offset_ms_at(t);
    Timestamp::from_millis((at + offset).div_euclid(millis) * millis - offset)
}

fn floor_months(local: NaiveDateTime, months: i32, origin: Option<NaiveDateTime>) -> i64 {
    let index = |d: NaiveDateTime| i64::from(d.year()) * 12 + i64::from(d.month0());
    let months = i64::from(months);
    match origin {
        None => {
            let base = 1970 * 12;
            let floored = base + (index(local) - base).div_euclid(months) * months;
            month_start_ms(floored)
        }
        Some(origin) => {
            let mut steps = (index(local) - index(origin)).div_euclid(months);
            let mut start = add_months(origin, steps * months).unwrap_or(local);
            if start > local {
                steps -= 1;
                start = add_months(origin, steps * months).unwrap_or(local);
            }
            start.and_utc().timestamp_millis()
        }
    }
}

fn month_start_ms(index: i64) -> i64 {
    let year = i32::try_from(index.div_euclid(12)).unwrap_or(1970);
    let month = u32::try_from(index.rem_euclid(12)).unwrap_or(0) + 1;
    chrono::NaiveDate::from_ymd_opt(year, month, 1)
        .map_or(0, |d| d.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())
}

fn add_months(local: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let count = u32::try_from(months.unsigned_abs()).ok()?;
    if months >= 0 {
        local.checked_add_months(Months::new(count))
    } else {
        local.checked_sub_months(Months::new(count))
    }
}

impl FromStr for Period {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        parse_period(s).ok_or_else(|| {
            SegmentError::invalid(
                "period",
                format!("`{}` is not an ISO 8601 period such as PT5M, P1D, P1W, P3M", shorten(s)),
            )
        })
    }
}

fn parse_period(s: &str) -> Option<Period> {
    let mut rest = s.strip_prefix(['P', 'p'])?;
    let mut period = Period { months: 0, days: 0, millis: 0 };
    let mut in_time = false;
    let mut parts = 0;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(['T', 't']) {
            if in_time || after.is_empty() {
                return None;
            }
            in_time = true;
            rest = after;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-')?;
        let (number, unit) = (&rest[..end], rest[end..].chars().next()?.to_ascii_uppercase());
        rest = &rest[end + 1..];
        parts += 1;
        if unit == 'S' && in_time {
            let seconds: f64 = number.parse().ok()?;
            let millis = (seconds * 1000.0).round();
            if !millis.is_finite() || millis.abs() > 9e15 {
                return None;
            }
            #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
            let millis = millis as i64;
            period.millis = period.millis.checked_add(millis)?;
            continue;
        }
        let n: i32 = number.parse().ok()?;
        match (unit, in_time) {
            ('Y', false) => period.months = period.months.checked_add(n.checked_mul(12)?)?,
            ('M', false) => period.months = period.months.checked_add(n)?,
            ('W', false) => period.days = period.days.checked_add(n.checked_mul(7)?)?,
            ('D', false) => period.days = period.days.checked_add(n)?,
            ('H', true) => period.millis = period.millis.checked_add(i64::from(n) * 3_600_000)?,
            ('M', true) => period.millis = period.millis.checked_add(i64::from(n) * 60_000)?,
            _ => return None,
        }
    }
    (parts > 0).then_some(period)
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        if self.months != 0 {
            if self.months % 12 == 0 { write!(f, "{}Y", self.months / 12)? } else { write!(f, "{}M", self.months)? }
        }
        if self.days != 0 {
            if self.days % 7 == 0 { write!(f, "{}W", self.days / 7)? } else { write!(f, "{}D", self.days)? }
        }
        if self.millis == 0 {
            return if self.months == 0 && self.days == 0 { f.write_str("T0S") } else { Ok(()) };
        }
        f.write_str("T")?;
        match self.millis {
            ms if ms % 3_600_000 == 0 => write!(f, "{}H", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}M", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{}S", ms / 1000),
            ms => write!(f, "{}.{:03}S", ms / 1000, ms % 1000),
        }
    }
}

/// Size of a time bucket, as specs and queries name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// One bucket for all of time.
    All,
    /// No bucketing: each millisecond is its own.
    None,
    /// Buckets of a period in a zone.
    Period(Period, Zone),
}

impl Granularity {
    /// Days of UTC.
    pub const DAY: Self = Self::Period(Period::of_days(1), Zone::Utc);

    /// Start of the bucket that holds `t`; for `All` the start of all time.
    pub fn floor(&self, t: Timestamp) -> Timestamp {
        match self {
            Self::All => Timestamp::MIN.min(t),
            Self::None => t,
            Self::Period(period, zone) => period.floor(t, zone, None),
        }
    }

    /// The bucket that holds `t`.
    pub fn bucket(&self, t: Timestamp) -> Interval {
        let start = self.floor(t);
        let end = match self {
            Self::All => Timestamp::MAX.max(Timestamp::from_millis(t.as_millis().saturating_add(1))),
            Self::None => Timestamp::from_millis(t.as_millis().saturating_add(1)),
            Self::Period(period, zone) => period.add(start, 1, zone),
        };
        // A floor is never after its instant and a period is never empty, so this interval always exists.
        Interval::new(start, end).unwrap_or(Interval::ETERNITY)
    }
}

impl FromStr for Granularity {
    type Err = SegmentError;
    fn from_str(s: &str) -> Result<Self> {
        const MINUTE: i64 = 60_000;
        let period = match s.to_ascii_lowercase().as_str() {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::None),
            "second" => Period::of_millis(1000),
            "minute" => Period::of_millis(MINUTE),
            "five_minute" => Period::of_millis(5 * MINUTE),
            "ten_minute" => Period::of_millis(10 * MINUTE),
            "fifteen_minute" => Period::of_millis(15 * MINUTE),
            "thirty_minute" => Period::of_millis(30 * MINUTE),
            "hour" => Period::of_millis(60 * MINUTE),
            "six_hour" => Period::of_millis(360 * MINUTE),
            "eight_hour" => Period::of_millis(480 * MINUTE),
            "day" => Period::of_days(1),
            "week" => Period::of_days(7),
            "month" => Period::of_months(1),
            "quarter" => Period::of_months(3),
            "year" => Period::of_months(12),
            _ => {
                return Err(SegmentError::invalid(
                    "granularity",
                    format!(
                        "`{}` is none of second, minute, five_minute, ten_minute, fifteen_minute, thirty_minute, hour, \
                         six_hour, eight_hour, day, week, month, quarter, year, all, none",
                        shorten(s)
                    ),
                ));
            }
        };
        Ok(Self::Period(period, Zone::Utc))
    }
}
