//! Date-time patterns as Joda writes them, for TIME_FORMAT and TIME_PARSE.
//!
//! Taken: `G` apart, all letters of Joda's DateTimeFormat that dashboards use: year `y Y x`, month `M`, day `d`, day of
//! year `D`, week `w`, weekday `e E`, half day `a`, hours `H k K h`, minute `m`, second `s`, fraction `S`, zone `z Z`,
//! and quoted text. Another letter is an error that names it. Names are English.

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike, Weekday};
use freshet_segment::time::{Timestamp, Zone};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Text(String),
    Field(char, usize),
}

impl Pattern {
    /// Reads a pattern; the error says which letter has no meaning.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let chars: Vec<char> = pattern.chars().collect();
        let mut items = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            let c = chars[at];
            if c == '\'' {
                let mut text = String::new();
                at += 1;
                if chars.get(at) == Some(&'\'') {
                    text.push('\'');
                    at += 1;
                } else {
                    loop {
                        match chars.get(at) {
                            None => return Err(format!("pattern `{pattern}` has an open quote")),
                            Some('\'') if chars.get(at + 1) == Some(&'\'') => {
                                text.push('\'');
                                at += 2;
                            }
                            Some('\'') => {
                                at += 1;
                                break;
                            }
                            Some(other) => {
                                text.push(*other);
                                at += 1;
                            }
                        }
                    }
                }
                items.push(Item::Text(text));
            } else if c.is_ascii_alphabetic() {
                if !"yYxMdDwEeaHkKhmsSzZ".contains(c) {
                    return Err(format!("letter `{c}` of pattern `{pattern}` is not supported"));
                }
                let from = at;
                while chars.get(at) == Some(&c) {
                    at += 1;
                }
                items.push(Item::Field(c, at - from));
            } else {
                items.push(Item::Text(c.to_string()));
                at += 1;
            }
        }
        Ok(Self { items })
    }

    /// The text of an instant; nothing outside the years that have a calendar.
    pub(super) fn format(&self, t: Timestamp, zone: &Zone) -> Option<String> {
        let offset_ms = zone.offset_ms_at(t);
        let local = local(t, offset_ms)?;
        let mut out = String::new();
        for item in &self.items {
            match item {
                Item::Text(text) => out.push_str(text),
                Item::Field(letter, width) => format_field(&mut out, *letter, *width, &local, zone, offset_ms),
            }
        }
        Some(out)
    }

    /// The instant that `text` names; nothing when it does not fit. What the pattern leaves out is 1970-01-01 00:00 local.
    pub(super) fn parse(&self, text: &str, zone: &Zone) -> Option<Timestamp> {
        let mut fields = Fields::default();
        let mut rest = text;
        for (index, item) in self.items.iter().enumerate() {
            match item {
                Item::Text(wanted) => rest = rest.strip_prefix(wanted.as_str())?,
                Item::Field(letter, width) => {
                    // Digits of the next field follow without a sign between: take exactly the pattern's width.
                    let tight =
                        matches!(self.items.get(index + 1), Some(Item::Field(next, _)) if !"aEzZ".contains(*next));
                    rest = fields.read(*letter, *width, tight, rest)?;
                }
            }
        }
        if rest.is_empty() { fields.instant(zone) } else { None }
    }
}

/// Local calendar time.
pub(super) fn local(t: Timestamp, offset_ms: i64) -> Option<NaiveDateTime> {
    chrono::DateTime::from_timestamp_millis(t.as_millis().checked_add(offset_ms)?).map(|d| d.naive_utc())
}

fn format_field(out: &mut String, letter: char, width: usize, t: &NaiveDateTime, zone: &Zone, offset_ms: i64) {
    let mut padded = |value: i64| {
        if value < 0 {
            out.push('-');
        }
        out.push_str(&format!("{:0width$}", value.unsigned_abs()));
    };
    let year = |value: i32| if width == 2 { i64::from(value.rem_euclid(100)) } else { i64::from(value) };
    match letter {
        'y' | 'Y' => padded(year(t.year())),
        'x' => padded(year(t.iso_week().year())),
        'M' if width >= 3 => out.push_str(name(&MONTHS, t.month0() as usize, width)),
        'M' => padded(i64::from(t.month())),
        'd' => padded(i64::from(t.day())),
        'D' => padded(i64::from(t.ordinal())),
        'w' => padded(i64::from(t.iso_week().week())),
        'e' => padded(i64::from(t.weekday().number_from_monday())),
        'E' => out.push_str(name(&DAYS, t.weekday().num_days_from_monday() as usize, width)),
        'a' => out.push_str(if t.hour() < 12 { "AM" } else { "PM" }),
        'H' => padded(i64::from(t.hour())),
        'k' => padded(if t.hour() == 0 { 24 } else { i64::from(t.hour()) }),
        'K' => padded(i64::from(t.hour() % 12)),
        'h' => padded(i64::from(t.hour12().1)),
        'm' => padded(i64::from(t.minute())),
        's' => padded(i64::from(t.second())),
        'S' => {
            let millis = format!("{:03}", t.and_utc().timestamp_subsec_millis());
            out.extend(millis.chars().chain(std::iter::repeat('0')).take(width));
        }
        'Z' if width >= 3 => out.push_str(&zone.to_string()),
        'z' => out.push_str(&zone.to_string()),
        _ => {
            let minutes = (offset_ms / 60_000).abs();
            let sign = if offset_ms < 0 { '-' } else { '+' };
            let colon = if width == 2 { ":" } else { "" };
            out.push_str(&format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60));
        }
    }
}

fn name<'a>(names: &'a [&'a str], index: usize, width: usize) -> &'a str {
    let full = names.get(index).copied().unwrap_or_default();
    if width >= 4 { full } else { full.get(..3).unwrap_or(full) }
}

#[derive(Default)]
struct Fields {
    year: Option<i64>,
    week_year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    week: Option<i64>,
    weekday: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    millis: i64,
    zone: Option<Zone>,
}

impl Fields {
    fn read<'a>(&mut self, letter: char, width: usize, tight: bool, text: &'a str) -> Option<&'a str> {
        let number = |least: usize, most: usize| {
            let most = if tight { width } else { most };
            let negative = letter != 'S' && text.starts_with('-') && matches!(letter, 'y' | 'Y' | 'x');
            let digits = text.get(usize::from(negative)..)?;
            let end = digits.bytes().take(most).take_while(u8::is_ascii_digit).count();
            if end < least {
                return None;
            }
            let value: i64 = digits.get(..end)?.parse().ok()?;
            Some((if negative { -value } else { value }, digits.get(end..)?))
        };
        let rest;
        match letter {
            'y' | 'Y' | 'x' => {
                let (value, after) = number(1, if width == 2 { 2 } else { 9 })?;
                // Two digits are the century around 2000, as Joda's pivot.
                let value = if width == 2 { if value < 70 { 2000 + value } else { 1900 + value } } else { value };
                if letter == 'x' {
                    self.week_year = Some(value)
                } else {
                    self.year = Some(value)
                }
                rest = after;
            }
            'M' if width >= 3 => {
                let (index, after) = read_name(&MONTHS, text)?;
                self.month = Some(index + 1);
                rest = after;
            }
            'E' => {
                let (index, after) = read_name(&DAYS, text)?;
                self.weekday = Some(index + 1);
                rest = after;
            }
            'a' => {
                let half = text.get(..2)?;
                self.afternoon = Some(if half.eq_ignore_ascii_case("PM") {
                    true
                } else if half.eq_ignore_ascii_case("AM") {
                    false
                } else {
                    return None;
                });
                rest = text.get(2..)?;
            }
            'S' => {
                let end = text.bytes().take(if tight { width } else { 9 }).take_while(u8::is_ascii_digit).count();
                if end == 0 {
                    return None;
                }
                let digits: String = text.chars().take(end).chain(std::iter::repeat('0')).take(3).collect();
                self.millis = digits.parse().ok()?;
                rest = text.get(end..)?;
            }
            'Z' | 'z' => {
                let end = text.find([' ', ')', ']']).unwrap_or(text.len());
                let (zone, after) = text.split_at(end);
                self.zone = Some(zone.parse().ok()?);
                rest = after;
            }
            _ => {
                let (value, after) = number(1, if letter == 'D' { 3 } else { 2 })?;
                match letter {
                    'M' => self.month = Some(value),
                    'd' => self.day = Some(value),
                    'D' => self.day_of_year = Some(value),
                    'w' => self.week = Some(value),
                    'e' => self.weekday = Some(value),
                    'H' => self.hour = Some(value),
                    'k' => self.hour = Some(value % 24),
                    'K' | 'h' => self.half_hour = Some(value % 12),
                    'm' => self.minute = value,
                    _ => self.second = value,
                }
                rest = after;
            }
        }
        Some(rest)
    }

    fn instant(&self, zone: &Zone) -> Option<Timestamp> {
        let year = i32::try_from(self.year.unwrap_or(1970)).ok()?;
        let part = |value: Option<i64>| u32::try_from(value.unwrap_or(1)).ok();
        let date = if self.week.is_some() || self.week_year.is_some() {
            let year = i32::try_from(self.week_year.or(self.year).unwrap_or(1970)).ok()?;
            let weekday = Weekday::try_from(u8::try_from(self.weekday.unwrap_or(1) - 1).ok()?).ok()?;
            NaiveDate::from_isoywd_opt(year, part(self.week)?, weekday)?
        } else if let Some(day) = self.day_of_year {
            NaiveDate::from_yo_opt(year, u32::try_from(day).ok()?)?
        } else {
            NaiveDate::from_ymd_opt(year, part(self.month)?, part(self.day)?)?
        };
        let hour = match (self.hour, self.half_hour) {
            (Some(hour), _) => hour,
            (None, Some(half)) => half + if self.afternoon == Some(true) { 12 } else { 0 },
            (None, None) => 0,
        };
        let time = date.and_hms_milli_opt(
            u32::try_from(hour).ok()?,
            u32::try_from(self.minute).ok()?,
            u32::try_from(self.second).ok()?,
            u32::try_from(self.millis).ok()?,
        )?;
        let local_ms = time.and_utc().timestamp_millis();
        Some(Timestamp::from_millis(self.zone.as_ref().unwrap_or(zone).to_utc_ms(local_ms)))
    }
}

/// A month or weekday, in full or its first three letters, in any case.
fn read_name<'a>(names: &[&str], text: &'a str) -> Option<(i64, &'a str)> {
    for length in [None, Some(3)] {
        for (index, name) in names.iter().enumerate() {
            let name = length.map_or(*name, |l| name.get(..l).unwrap_or(name));
            if let Some(head) = text.get(..name.len())
                && head.eq_ignore_ascii_case(name)
            {
                return Some((i64::try_from(index).ok()?, &text[name.len()..]));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        name.parse().expect("a zone")
    }

    #[test]
    fn common_patterns_print_and_read_back() {
        let t = Timestamp::parse("2015-09-12T14:06:58.071Z").expect("an instant");
        let print =
            |pattern: &str, zone: &Zone| Pattern::new(pattern).expect("a pattern").format(t, zone).expect("a year");
        assert_eq!(print("yyyy-MM-dd HH:mm:ss.SSS", &Zone::Utc), "2015-09-12 14:06:58.071");
        assert_eq!(print("dd/MM/yy hh:mm a", &Zone::Utc), "12/09/15 02:06 PM");
        assert_eq!(print("EEE, d MMM yyyy", &Zone::Utc), "Sat, 12 Sep 2015");
        assert_eq!(print("EEEE 'o''clock' H", &zone("America/Los_Angeles")), "Saturday o'clock 7");
        assert_eq!(print("xxxx-'W'ww-e ZZ", &zone("America/Los_Angeles")), "2015-W37-6 -07:00");
        for pattern in
            ["yyyy-MM-dd'T'HH:mm:ss.SSSZ", "yyyyMMddHHmmssSSS", "MMMM d, yyyy h:mm:ss.SSS a", "yyyy-DDD HH:mm:ss.SSS"]
        {
            let compiled = Pattern::new(pattern).expect("a pattern");
            let text = compiled.format(t, &Zone::Utc).expect("a year");
            assert_eq!(compiled.parse(&text, &Zone::Utc), Some(t), "{pattern}: {text}");
        }
    }

    #[test]
    fn text_that_does_not_fit_is_nothing_and_bad_patterns_say_why() {
        let pattern = Pattern::new("yyyy-MM-dd").expect("a pattern");
        for bad in ["", "2015-13-01", "2015-02-30", "2015-09-12x", "12.9.2015", "2015-09"] {
            assert_eq!(pattern.parse(bad, &Zone::Utc), None, "{bad}");
        }
        assert!(Pattern::new("yyyy-QQ").expect_err("Q is unknown").contains("`Q`"));
        assert!(Pattern::new("yyyy 'open").expect_err("no end").contains("quote"));
    }
}
