//! Which rows of a batch belong to which interval.
//!
//! Events come nearly in order, so a row mostly falls into the interval of the row before it; only the others ask the
//! calendar.

use std::collections::HashMap;

use freshet_segment::time::{Granularity, Interval, Timestamp};

/// Rows of a batch that lie in one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The interval.
    pub interval: Interval,
    /// Row ids within the batch, rising.
    pub rows: Vec<u32>,
}

/// Divides the rows of a batch, given by their times in milliseconds, by the intervals of the segment granularity.
/// Parts come in the order of their first row.
pub fn route(times: &[i64], granularity: &Granularity) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut places: HashMap<Interval, usize> = HashMap::new();
    let mut last = 0;
    for (row, millis) in (0u32..).zip(times) {
        let t = Timestamp::from_millis(*millis);
        if parts.get(last).is_none_or(|part| !part.interval.contains(t)) {
            let interval = granularity.bucket(t);
            last = *places.entry(interval).or_insert_with(|| {
                parts.push(Part { interval, rows: Vec::new() });
                parts.len() - 1
            });
        }
        parts[last].rows.push(row);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    #[test]
    fn each_row_is_in_exactly_the_part_of_its_day() {
        let times = [0, 5, DAY, DAY - 1, -1, 2 * DAY - 1, 6];
        let parts = route(&times, &Granularity::DAY);
        let rows: Vec<_> = parts.iter().map(|part| part.rows.clone()).collect();
        assert_eq!(rows, [vec![0, 1, 3, 6], vec![2, 5], vec![4]]);
        for part in parts {
            for row in part.rows {
                assert!(part.interval.contains(Timestamp::from_millis(times[row as usize])));
            }
        }
    }

    #[test]
    fn all_of_time_is_one_part() {
        let parts = route(&[i64::from(i32::MIN), 0, Timestamp::MAX.as_millis() - 1], &Granularity::All);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].interval, Interval::ETERNITY);
        assert!(route(&[], &Granularity::All).is_empty());
    }

    #[test]
    fn hours_of_a_zone_follow_its_calendar() {
        let days = Granularity::Period(
            freshet_segment::time::Period::of_days(1),
            "America/Los_Angeles".parse().expect("a zone"),
        );
        // 2026-03-08 has 23 hours there.
        let start = Timestamp::parse("2026-03-08T08:00:00Z").expect("a time").as_millis();
        let parts = route(&[start, start + 23 * 3_600_000 - 1, start + 23 * 3_600_000], &days);
        assert_eq!(parts.iter().map(|p| p.rows.len()).collect::<Vec<_>>(), [2, 1]);
    }
}
