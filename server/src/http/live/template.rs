//! What a client wants to follow: SQL with macros, a range that may be relative, buckets.
//!
//! Macros are expanded to text that the server makes from numbers and names of its own; values of the client stay bound
//! parameters. The start of a bucketed range is floored to its bucket, so that the first bucket is whole: later deltas replace
//! whole buckets only, and a first bucket that shrinks with every tick would never be corrected.

use std::time::Duration;

use freshet_query::{Parameter, QueryOptions, QueryRequest};
use freshet_segment::time::{Period, Timestamp, Zone};
use serde::Deserialize;
use serde_json::Value;

use crate::http::body::SQL_BYTES_MAX;
use crate::http::reply::Problem;
use crate::http::sql::read_parameter;
use crate::nearest::did_you_mean;

const REFRESH_MS_DEFAULT: u64 = 1_000;
const REFRESH_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;
/// Ten years: a longer bucket is a mistake in a unit.
const BUCKET_MS: std::ops::RangeInclusive<i64> = 1..=315_360_000_000;
const DAY_MS: i64 = 86_400_000;
const MACROS: [&str; 2] = ["time", "bucket"];

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// So many milliseconds before now.
    Ago(i64),
    /// An instant.
    At(Timestamp),
}

/// A query to follow, checked.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The table whose changes cause an evaluation.
    pub table: String,
    sql: String,
    parameters: Vec<Parameter>,
    from: Bound,
    to: Bound,
    bucket: Option<Period>,
    zone: Zone,
    zone_name: String,
    /// How often it is looked at.
    pub refresh: Duration,
    /// Equal for equal wishes.
    pub key: String,
}

/// A range in milliseconds, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First instant inside.
    pub from: Timestamp,
    /// First instant after.
    pub to: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Message {
    #[serde(rename = "kind")]
    _kind: String,
    table: String,
    sql: String,
    #[serde(default)]
    params: Vec<MessageParameter>,
    range: MessageRange,
    bucket_ms: Option<i64>,
    refresh_ms: Option<u64>,
    time_zone: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageParameter {
    #[serde(rename = "type")]
    sql_type: String,
    #[serde(default)]
    value: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageRange {
    from: String,
    to: String,
}

impl Wanted {
    /// Reads the rest of a `sub` message.
    ///
    /// # Errors
    /// 400 with the place in the message.
    pub fn parse(message: Value) -> Result<Self, Problem> {
        let key = message.to_string();
        let message: Message = serde_json::from_value(message)
            .map_err(|error| Problem::json(format!("the subscription cannot be read: {error}"), None))?;
        let sql = message.sql.trim().trim_end_matches(';').to_owned();
        if sql.is_empty() || sql.len() > SQL_BYTES_MAX {
            return Err(Problem::invalid(format!("sql has {} bytes, but 1 to {SQL_BYTES_MAX} are needed", sql.len()))
                .at("/sql"));
        }
        let from = bound(&message.range.from, "/range/from")?;
        let to = bound(&message.range.to, "/range/to")?;
        let zone_name = message.time_zone.unwrap_or_else(|| "UTC".to_owned());
        let zone: Zone = zone_name.parse().map_err(|error| Problem::from_segment(error).at("/timeZone"))?;
        let bucket = message.bucket_ms.map(bucket_period).transpose()?;
        let refresh_ms = message.refresh_ms.unwrap_or(REFRESH_MS_DEFAULT);
        if !REFRESH_MS.contains(&refresh_ms) {
            return Err(Problem::invalid(format!(
                "refreshMs is {refresh_ms}, but {} to {} are possible",
                REFRESH_MS.start(),
                REFRESH_MS.end()
            ))
            .at("/refreshMs"));
        }
        let parameters = message
            .params
            .into_iter()
            .enumerate()
            .map(|(index, parameter)| read_parameter(&parameter.sql_type, parameter.value, &format!("/params/{index}")))
            .collect::<Result<_, _>>()?;
        let wanted = Self {
            table: message.table,
            sql,
            parameters,
            from,
            to,
            bucket,
            zone,
            zone_name,
            refresh: Duration::from_millis(refresh_ms),
            key,
        };
        wanted.check_macros()?;
        let now = Timestamp::from_millis(0);
        let range = wanted.range(now);
        if matches!((from, to), (Bound::Ago(_), Bound::Ago(_)) | (Bound::At(_), Bound::At(_))) && range.from >= range.to
        {
            return Err(Problem::invalid("the range ends before it begins").at("/range"));
        }
        Ok(wanted)
    }

    /// Whether rows come in time buckets, of which deltas replace some.
    #[must_use]
    pub fn is_bucketed(&self) -> bool {
        self.bucket.is_some()
    }

    /// Whether the range moves with the clock.
    #[must_use]
    pub fn is_relative(&self) -> bool {
        matches!(self.from, Bound::Ago(_)) || matches!(self.to, Bound::Ago(_))
    }

    /// The range now, its start floored to the bucket.
    #[must_use]
    pub fn range(&self, now: Timestamp) -> Range {
        let resolve = |bound| match bound {
            Bound::Ago(ms) => Timestamp::from_millis(now.as_millis().saturating_sub(ms)),
            Bound::At(at) => at,
        };
        Range { from: self.floor(resolve(self.from)), to: resolve(self.to) }
    }

    /// The start of the bucket of `t`, or `t` itself without buckets.
    #[must_use]
    pub fn floor(&self, t: Timestamp) -> Timestamp {
        match &self.bucket {
            Some(period) => period.floor(t, self.bucket_zone(period), None),
            None => t,
        }
    }

    /// Buckets of a day or more begin at local midnight; shorter ones are the same everywhere.
    fn bucket_zone(&self, period: &Period) -> &Zone {
        if period.days > 0 || period.months > 0 { &self.zone } else { &Zone::Utc }
    }

    /// The query over `range`.
    #[must_use]
    pub fn request(&self, range: Range, timeout: Duration) -> QueryRequest {
        let time = format!("(\"__time\" >= {} AND \"__time\" < {})", instant(range.from), instant(range.to));
        let mut sql = self.sql.replace("${time}", &time);
        if let Some(period) = &self.bucket {
            // The zone is always said: otherwise it would be the query's. A name that has parsed as a zone holds letters,
            // digits and `/_+-:` only.
            let zone = if self.bucket_zone(period).is_utc() { "UTC" } else { self.zone_name.as_str() };
            let floor = format!("TIME_FLOOR(\"__time\", '{}', NULL, '{zone}')", period_text(period));
            sql = sql.replace("${bucket}", &floor);
        }
        QueryRequest {
            query_id: format!("live-{}", uuid::Uuid::new_v4()),
            sql,
            parameters: self.parameters.clone(),
            options: QueryOptions { zone: self.zone, timeout: Some(timeout), ..QueryOptions::default() },
        }
    }

    fn check_macros(&self) -> Result<(), Problem> {
        let mut rest = self.sql.as_str();
        while let Some(start) = rest.find("${") {
            let after = rest.get(start + 2..).unwrap_or_default();
            let name = after.split('}').next().unwrap_or_default();
            if !MACROS.contains(&name) {
                let shown: String = name.chars().take(40).collect();
                return Err(Problem::invalid(format!(
                    "macro ${{{shown}}} is not known{}",
                    did_you_mean(&shown, MACROS)
                ))
                .at("/sql")
                .hint("the macros are ${time} and ${bucket}"));
            }
            rest = after;
        }
        let has = |name: &str| self.sql.contains(&format!("${{{name}}}"));
        if has("bucket") && !self.is_bucketed() {
            return Err(Problem::invalid("sql has ${bucket}, but bucketMs is missing").at("/bucketMs"));
        }
        if self.is_bucketed() && !(has("bucket") && has("time")) {
            return Err(Problem::invalid(
                "with bucketMs the sql needs ${bucket} as its column \"t\", and ${time} in its WHERE",
            )
            .at("/sql"));
        }
        Ok(())
    }
}

/// An instant that means the same in every zone.
fn instant(t: Timestamp) -> String {
    format!("MILLIS_TO_TIMESTAMP({})", t.as_millis())
}

/// `now`, `now-15m`, an ISO instant, or epoch milliseconds.
fn bound(text: &str, at: &str) -> Result<Bound, Problem> {
    let text = text.trim();
    let wrong = || {
        let shown: String = text.chars().take(60).collect();
        Problem::invalid(format!("{shown:?} is not a time"))
            .at(at)
            .hint("take now, now-15m (s m h d w), an instant such as 2026-03-02T10:00:00Z, or epoch milliseconds")
    };
    if let Some(rest) = text.strip_prefix("now") {
        if rest.is_empty() {
            return Ok(Bound::Ago(0));
        }
        let rest = rest.strip_prefix('-').ok_or_else(wrong)?;
        let unit = rest.chars().next_back().ok_or_else(wrong)?;
        let number = rest.strip_suffix(unit).unwrap_or_default();
        let unit_ms = match unit {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => DAY_MS,
            'w' => 7 * DAY_MS,
            _ => return Err(wrong()),
        };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let ms = number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit_ms)).ok_or_else(wrong)?;
        return Ok(Bound::Ago(ms));
    }
    if let Ok(ms) = text.parse::<i64>() {
        let at_ms = Timestamp::from_millis(ms);
        return if (Timestamp::MIN..=Timestamp::MAX).contains(&at_ms) { Ok(Bound::At(at_ms)) } else { Err(wrong()) };
    }
    Timestamp::parse(text).map(Bound::At).map_err(|_| wrong())
}

fn bucket_period(ms: i64) -> Result<Period, Problem> {
    if !BUCKET_MS.contains(&ms) {
        return Err(Problem::invalid(format!(
            "bucketMs is {ms}, but {} to {} are possible",
            BUCKET_MS.start(),
            BUCKET_MS.end()
        ))
        .at("/bucketMs"));
    }
    Ok(if ms % DAY_MS == 0 {
        Period { months: 0, days: i32::try_from(ms / DAY_MS).unwrap_or(i32::MAX), millis: 0 }
    } else {
        Period { months: 0, days: 0, millis: ms }
    })
}

/// ISO 8601. Seven days are a week, which begins on Monday.
fn period_text(period: &Period) -> String {
    match (period.days, period.millis) {
        (7, 0) => "P1W".to_owned(),
        (days, 0) => format!("P{days}D"),
        (_, ms) if ms % 3_600_000 == 0 => format!("PT{}H", ms / 3_600_000),
        (_, ms) if ms % 60_000 == 0 => format!("PT{}M", ms / 60_000),
        (_, ms) if ms % 1_000 == 0 => format!("PT{}S", ms / 1_000),
        (_, ms) => format!("PT{}.{:03}S", ms / 1_000, ms % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message() -> Value {
        json!({
            "kind": "query", "table": "demo",
            "sql": "SELECT ${bucket} AS \"t\", COUNT(*) AS \"n\" FROM \"demo\" WHERE ${time} AND \"country\" = ? GROUP BY 1;",
            "params": [{"type": "VARCHAR", "value": "DE' OR 1=1"}],
            "range": {"from": "now-15m", "to": "now"}, "bucketMs": 5000, "refreshMs": 250, "timeZone": "Europe/Zurich",
        })
    }

    fn parse(pointer: &str, value: Value) -> Result<Wanted, Problem> {
        let mut message = message();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        message.pointer_mut(parent).unwrap()[key] = value;
        Wanted::parse(message)
    }

    #[test]
    fn macros_become_numbers_and_values_stay_parameters() {
        let wanted = Wanted::parse(message()).unwrap();
        let now = Timestamp::from_millis(1_000_000_007);
        let range = wanted.range(now);
        assert_eq!((range.from.as_millis(), range.to.as_millis()), (999_100_000, 1_000_000_007));
        let request = wanted.request(range, Duration::from_secs(1));
        assert_eq!(
            request.sql,
            "SELECT TIME_FLOOR(\"__time\", 'PT5S', NULL, 'UTC') AS \"t\", COUNT(*) AS \"n\" FROM \"demo\" WHERE (\"__time\" >= \
             MILLIS_TO_TIMESTAMP(999100000) AND \"__time\" < MILLIS_TO_TIMESTAMP(1000000007)) AND \"country\" = ? GROUP BY 1"
        );
        assert_eq!(request.parameters.len(), 1);
        assert_eq!(wanted.refresh, Duration::from_millis(250));
    }

    #[test]
    fn days_are_floored_in_the_zone_and_hours_are_not() {
        let day = parse("/bucketMs", json!(86_400_000)).unwrap();
        let at = Timestamp::parse("2026-07-01T12:00:00Z").unwrap();
        assert_eq!(day.floor(at).to_iso(), "2026-06-30T22:00:00.000Z");
        assert!(
            day.request(day.range(at), Duration::ZERO)
                .sql
                .contains("TIME_FLOOR(\"__time\", 'P1D', NULL, 'Europe/Zurich')")
        );
        let hours = parse("/bucketMs", json!(21_600_000)).unwrap();
        assert_eq!(hours.floor(at).to_iso(), "2026-07-01T12:00:00.000Z");
        assert!(
            hours.request(hours.range(at), Duration::ZERO).sql.contains("TIME_FLOOR(\"__time\", 'PT6H', NULL, 'UTC')")
        );
    }

    #[test]
    fn bounds_are_relative_or_instants() {
        for (text, bound_) in [
            ("now", Bound::Ago(0)),
            ("now-90s", Bound::Ago(90_000)),
            ("now-2w", Bound::Ago(14 * DAY_MS)),
            ("1000", Bound::At(Timestamp::from_millis(1000))),
            ("2015-09-12T00:46:58.771Z", Bound::At(Timestamp::from_millis(1_442_018_818_771))),
        ] {
            assert_eq!(bound(text, "").unwrap(), bound_, "{text}");
        }
        for text in [
            "now-",
            "now-5",
            "now-m",
            "now-1y",
            "now-+5m",
            "now+5m",
            "nowish",
            "",
            "99999999999999999999",
            "now-9999999999999999w",
        ] {
            assert!(bound(text, "").is_err(), "{text}");
        }
    }

    #[test]
    fn wrong_wishes_say_where() {
        for (pointer, value, at) in [
            ("/sql", json!("SELECT ${tiem}"), "/sql"),
            ("/sql", json!("SELECT COUNT(*) FROM demo WHERE ${time}"), "/sql"),
            ("/sql", json!(" ; "), "/sql"),
            ("/bucketMs", Value::Null, "/bucketMs"),
            ("/bucketMs", json!(0), "/bucketMs"),
            ("/refreshMs", json!(5), "/refreshMs"),
            ("/range/from", json!("yesterday"), "/range/from"),
            ("/range/from", json!("now-0s"), "/range"),
            ("/timeZone", json!("Mars/Base"), "/timeZone"),
            ("/params", json!([{"type": "VARCHAR", "value": []}]), "/params/0/value"),
        ] {
            let problem = parse(pointer, value.clone()).expect_err(&format!("{pointer} {value}"));
            assert_eq!(problem.at.as_deref(), Some(at), "{pointer} {value}: {}", problem.message);
        }
        let problem = parse("/bucketms", json!(5)).unwrap_err();
        assert!(problem.message.contains("bucketms"), "{}", problem.message);
    }

    #[test]
    fn periods_are_iso() {
        for (ms, text) in [
            (250, "PT0.250S"),
            (5_000, "PT5S"),
            (300_000, "PT5M"),
            (7_200_000, "PT2H"),
            (DAY_MS, "P1D"),
            (7 * DAY_MS, "P1W"),
        ] {
            let period = bucket_period(ms).unwrap();
            assert_eq!(period_text(&period), text);
            let parsed: Period = text.parse().unwrap();
            let at = Timestamp::parse("2026-03-05T13:37:42.123Z").unwrap();
            assert_eq!(parsed.floor(at, &Zone::Utc, None), period.floor(at, &Zone::Utc, None), "{text}");
        }
    }
}
