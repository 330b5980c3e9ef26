//! The time column: from a field as it was written to a millisecond, floored to the query granularity.
//!
//! This is the only transform there is so far. Expressions and filters join it here; they run on batches, while the
//! time must be known row by row, because a row without one is refused and must leave no trace in the columns.

use freshet_segment::time::{Granularity, Interval, Timestamp};

use crate::error::shorten;
use crate::spec::{GranularitySpec, TimeFormat, TimeSpec};

/// Computes the time of rows.
#[derive(Debug, Clone)]
pub struct TimeColumn {
    format: TimeFormat,
    missing_value: Option<Timestamp>,
    granularity: Granularity,
    /// The bucket of the last row: the next one is mostly in it too.
    last_bucket: Option<Interval>,
}

impl TimeColumn {
    /// Times as `spec` says, floored to the query granularity.
    pub fn new(spec: &TimeSpec, granularity: &GranularitySpec) -> Self {
        Self {
            format: spec.format,
            missing_value: spec.missing_value,
            // `all` within a segment is the segment's own start, as in Druid.
            granularity: match granularity.query {
                Granularity::All => granularity.segment,
                other => other,
            },
            last_bucket: None,
        }
    }

    /// The time of a row whose field is null or absent.
    ///
    /// # Errors
    /// The reason, when no value was given for such rows.
    pub fn missing(&mut self) -> Result<i64, String> {
        match self.missing_value {
            Some(t) => self.accept(t.as_millis()),
            None => Err("the row has no time".to_owned()),
        }
    }

    /// The time written as text.
    ///
    /// # Errors
    /// The reason, naming the format.
    pub fn read_text(&mut self, text: &str) -> Result<i64, String> {
        let text = text.trim();
        let is_digits = || {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
        };
        match self.format {
            TimeFormat::Iso => self.read_iso(text),
            TimeFormat::Auto if !is_digits() => self.read_iso(text),
            _ => {
                if let Ok(n) = text.parse::<i64>() {
                    return self.read_long(n);
                }
                match text.parse::<f64>() {
                    Ok(n) if n.is_finite() => self.read_double(n),
                    _ => Err(format!("{:?} is not a time in format `{}`", shorten(text), self.format.name())),
                }
            }
        }
    }

    /// The time written as a whole number.
    ///
    /// # Errors
    /// The reason, naming the format.
    pub fn read_long(&mut self, n: i64) -> Result<i64, String> {
        let millis = match self.format {
            TimeFormat::Auto | TimeFormat::Millis => Some(n),
            TimeFormat::Posix => n.checked_mul(1000),
            TimeFormat::Micro => Some(n.div_euclid(1_000)),
            TimeFormat::Nano => Some(n.div_euclid(1_000_000)),
            TimeFormat::Iso => return Err(format!("{n} is a number, and format `iso` asks for text")),
        };
        match millis {
            Some(millis) => self.accept(millis),
            None => Err(format!("{n} seconds lie outside the years -5000 to 5000")),
        }
    }

    /// The time written as a number with a fraction, or beyond 64 bits.
    ///
    /// # Errors
    /// The reason, naming the format.
    pub fn read_double(&mut self, n: f64) -> Result<i64, String> {
        let millis = match self.format {
            TimeFormat::Auto | TimeFormat::Millis => n,
            TimeFormat::Posix => n * 1e3,
            TimeFormat::Micro => n / 1e3,
            TimeFormat::Nano => n / 1e6,
            TimeFormat::Iso => return Err(format!("{n} is a number, and format `iso` asks for text")),
        };
        // The cast of a float saturates, so a value out of range is refused below.
        self.accept(millis.floor() as i64)
    }

    fn read_iso(&mut self, text: &str) -> Result<i64, String> {
        match Timestamp::parse(text) {
            Ok(t) => self.accept(t.as_millis()),
            Err(_) => Err(format!("{:?} is not a time in format `{}`", shorten(text), self.format.name())),
        }
    }

    fn accept(&mut self, millis: i64) -> Result<i64, String> {
        let t = Timestamp::from_millis(millis);
        if t < Timestamp::MIN || t >= Timestamp::MAX {
            return Err(format!("{millis} ms lie outside the years -5000 to 5000"));
        }
        match self.granularity {
            Granularity::None => Ok(millis),
            Granularity::All => Ok(self.granularity.floor(t).as_millis()),
            Granularity::Period(..) => {
                if let Some(bucket) = self.last_bucket.filter(|bucket| bucket.contains(t)) {
                    return Ok(bucket.start().as_millis());
                }
                let bucket = self.granularity.bucket(t);
                self.last_bucket = Some(bucket);
                Ok(bucket.start().as_millis())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(format: TimeFormat) -> TimeColumn {
        let spec = TimeSpec { column: "t".to_owned(), format, missing_value: None };
        TimeColumn::new(&spec, &GranularitySpec::default())
    }

    const T: i64 = 1_442_018_818_771;

    #[test]
    fn each_format_reads_its_own_way_of_writing() {
        let iso = [
            "2015-09-12T00:46:58.771Z",
            "2015-09-12 00:46:58.771",
            "2015-09-12T02:46:58.771+02:00",
            " 2015-09-12T00:46:58.771 ",
        ];
        for text in iso {
            assert_eq!(column(TimeFormat::Auto).read_text(text), Ok(T), "{text}");
            assert_eq!(column(TimeFormat::Iso).read_text(text), Ok(T), "{text}");
        }
        assert_eq!(column(TimeFormat::Auto).read_text("1442018818771"), Ok(T));
        assert_eq!(column(TimeFormat::Auto).read_text("-1"), Ok(-1));
        assert_eq!(column(TimeFormat::Auto).read_long(T), Ok(T));
        assert_eq!(column(TimeFormat::Millis).read_text("1442018818771"), Ok(T));
        assert_eq!(column(TimeFormat::Posix).read_long(1_442_018_818), Ok(1_442_018_818_000));
        assert_eq!(column(TimeFormat::Posix).read_double(1_442_018_818.771), Ok(T));
        assert_eq!(column(TimeFormat::Posix).read_text("1442018818.5"), Ok(1_442_018_818_500));
        assert_eq!(column(TimeFormat::Micro).read_long(T * 1000 + 999), Ok(T));
        assert_eq!(column(TimeFormat::Nano).read_long(-1), Ok(-1));
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_format() {
        for (format, text) in [
            (TimeFormat::Auto, "yesterday"),
            (TimeFormat::Auto, ""),
            (TimeFormat::Auto, "2015-13-01"),
            (TimeFormat::Iso, "1442018818771"),
            (TimeFormat::Millis, "2015-09-12"),
            (TimeFormat::Posix, "nan"),
        ] {
            let reason = column(format).read_text(text).expect_err(text);
            assert!(reason.contains(format.name()), "{reason}");
        }
        assert!(column(TimeFormat::Iso).read_long(5).is_err());
        assert!(column(TimeFormat::Posix).read_long(i64::MAX).is_err());
        assert!(column(TimeFormat::Auto).read_long(i64::MIN).is_err());
        assert!(column(TimeFormat::Auto).read_double(1e300).is_err());
        assert!(column(TimeFormat::Auto).missing().is_err());
    }

    #[test]
    fn the_years_minus_5000_to_5000_are_taken_and_no_more() {
        let mut auto = column(TimeFormat::Auto);
        assert_eq!(auto.read_text("-5000-01-01T00:00:00Z"), Ok(Timestamp::MIN.as_millis()));
        assert_eq!(auto.read_text("5000-12-31T23:59:59.999Z"), Ok(Timestamp::MAX.as_millis() - 1));
        assert!(auto.read_long(Timestamp::MAX.as_millis()).is_err());
        assert!(auto.read_long(Timestamp::MIN.as_millis() - 1).is_err());
    }

    #[test]
    fn the_query_granularity_floors_and_a_missing_time_has_its_value() {
        let granularity =
            GranularitySpec { query: "hour".parse().expect("a granularity"), ..GranularitySpec::default() };
        let spec = TimeSpec { missing_value: Some(Timestamp::from_millis(T)), ..TimeSpec::auto("t") };
        let mut time = TimeColumn::new(&spec, &granularity);
        let floor = T - T % 3_600_000;
        assert_eq!(time.read_long(T), Ok(floor));
        assert_eq!(time.read_long(T + 1), Ok(floor));
        assert_eq!(time.read_long(floor - 1), Ok(floor - 3_600_000));
        assert_eq!(time.missing(), Ok(floor));
        let all = GranularitySpec { query: Granularity::All, ..GranularitySpec::default() };
        assert_eq!(TimeColumn::new(&TimeSpec::auto("t"), &all).read_long(T), Ok(T - T % 86_400_000));
    }
}
