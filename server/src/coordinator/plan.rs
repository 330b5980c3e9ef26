//! Which segments to merge.
//!
//! Segments of one interval are ordered by size and cut into runs: a segment joins the run before it when it is at most so
//! many times as large as all of the run together. So small ones are merged with small ones, and a row is written again only
//! when its segment has grown by a fixed part: the number of times is logarithmic in the size. In an interval that may still
//! be written a run has to be long; in one that is over, two are enough.

use std::collections::BTreeMap;
use std::time::Duration;

use freshet_segment::time::{Interval, Timestamp};

use super::Settings;

/// Most segments of a merge: each is an open file.
const SEGMENTS_MAX: usize = 64;
/// How much larger than its run the next segment may be, while the interval may be written, and after.
const GROWTH: (u64, u64) = (2, 4);

/// A segment that could be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) interval: Interval,
    /// Segments of one class have the same types in the columns they share.
    pub(super) class: usize,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// The places, in `candidates`, of the segments to merge now; none when nothing is worth it.
pub(super) fn choose(candidates: &[Candidate], settings: &Settings, now: Timestamp) -> Option<Vec<usize>> {
    let mut groups: BTreeMap<(Interval, usize), Vec<usize>> = BTreeMap::new();
    for (place, candidate) in candidates.iter().enumerate() {
        if candidate.rows < settings.merge_rows_target && candidate.bytes < settings.merge_bytes_max {
            groups.entry((candidate.interval, candidate.class)).or_default().push(place);
        }
    }
    let size = |place: &usize| candidates.get(*place).map_or((0, 0), |c| (c.rows, c.bytes));
    groups
        .into_iter()
        .flat_map(|((interval, _), mut places)| {
            places.sort_by_key(|place| (size(place), *place));
            let settled = is_settled(interval, settings.settled_after, now);
            let least = if settled { 2 } else { settings.merge_segments_min };
            let growth = if settled { GROWTH.1 } else { GROWTH.0 };
            runs(places, size, growth, settings).into_iter().filter(move |run| run.len() >= least.max(2))
        })
        // Most segments fewer for least rows written.
        .max_by_key(|run| (run.len(), u64::MAX - run.iter().map(|place| size(place).0).sum::<u64>()))
}

fn runs(places: Vec<usize>, size: impl Fn(&usize) -> (u64, u64), growth: u64, settings: &Settings) -> Vec<Vec<usize>> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut sum = (0u64, 0u64);
    for place in places {
        let (rows, bytes) = size(&place);
        match runs.last_mut() {
            Some(run)
                if rows <= sum.0.saturating_mul(growth)
                    && sum.0.saturating_add(rows) <= settings.merge_rows_max
                    && sum.1.saturating_add(bytes) <= settings.merge_bytes_max
                    && run.len() < SEGMENTS_MAX =>
            {
                run.push(place);
                sum = (sum.0 + rows, sum.1 + bytes);
            }
            _ => {
                runs.push(vec![place]);
                sum = (rows, bytes);
            }
        }
    }
    runs
}

fn is_settled(interval: Interval, after: Duration, now: Timestamp) -> bool {
    let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    interval.end().as_millis().saturating_add(after) <= now.as_millis()
}

#[cfg(test)]
mod tests {
    use freshet_segment::time::Granularity;
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn day(number: i64) -> Interval {
        Granularity::DAY.bucket(Timestamp::from_millis(number * DAY_MS))
    }

    fn settings() -> Settings {
        Settings { merge_rows_target: 1_000, merge_rows_max: 2_500, ..Settings::default() }
    }

    fn of(interval: Interval, rows: &[u64]) -> Vec<Candidate> {
        rows.iter().map(|rows| Candidate { interval, class: 0, rows: *rows, bytes: rows * 10 }).collect()
    }

    fn chosen(candidates: &[Candidate], now_day: i64) -> Option<Vec<u64>> {
        let now = Timestamp::from_millis(now_day * DAY_MS + DAY_MS / 2);
        let places = choose(candidates, &settings(), now)?;
        Some(places.into_iter().map(|place| candidates[place].rows).collect())
    }

    #[test]
    fn an_interval_that_may_be_written_waits_for_four() {
        assert_eq!(chosen(&of(day(7), &[10, 10, 10]), 7), None);
        assert_eq!(chosen(&of(day(7), &[10, 11, 9, 10]), 7), Some(vec![9, 10, 10, 11]));
        assert_eq!(chosen(&of(day(7), &[10, 10]), 8), Some(vec![10, 10]), "its day is over");
    }

    #[test]
    fn a_large_segment_is_not_written_again_for_a_small_one() {
        assert_eq!(chosen(&of(day(0), &[900, 10]), 5), None);
        assert_eq!(chosen(&of(day(0), &[900, 10, 10]), 5), Some(vec![10, 10]));
        assert_eq!(chosen(&of(day(0), &[900, 240]), 5), Some(vec![240, 900]));
    }

    #[test]
    fn a_merge_is_bounded_and_large_ones_are_left_alone() {
        assert_eq!(chosen(&of(day(0), &[999, 999, 999, 999]), 5), Some(vec![999, 999]));
        assert_eq!(chosen(&of(day(0), &[1_000, 1_000, 5_000]), 5), None);
        let many = of(day(0), &[1; 200]);
        assert_eq!(chosen(&many, 5).map(|run| run.len()), Some(SEGMENTS_MAX));
    }

    #[test]
    fn intervals_and_classes_are_never_mixed() {
        let mut two = of(day(0), &[10]);
        two.extend(of(day(1), &[10]));
        assert_eq!(chosen(&two, 5), None);
        let mut classes = of(day(0), &[10, 10]);
        classes[1].class = 1;
        assert_eq!(chosen(&classes, 5), None);
    }

    proptest! {
        #[test]
        fn merging_ends_and_writes_each_row_few_times(rows in prop::collection::vec(1u64..900, 1..120), settled: bool) {
            let mut segments = of(day(0), &rows);
            let total: u64 = rows.iter().sum();
            let mut written = 0u64;
            let now = Timestamp::from_millis(if settled { 9 } else { 0 } * DAY_MS);
            let mut merges = 0;
            while let Some(places) = choose(&segments, &settings(), now) {
                let sum: u64 = places.iter().map(|place| segments[*place].rows).sum();
                let least = if settled { 2 } else { 4 };
                prop_assert!(sum <= settings().merge_rows_max && places.len() >= least);
                written += sum;
                let kept = segments.iter().enumerate().filter(|(place, _)| !places.contains(place));
                let mut next: Vec<Candidate> = kept.map(|(_, candidate)| *candidate).collect();
                next.extend(of(day(0), &[sum]));
                segments = next;
                merges += 1;
                prop_assert!(merges < 200);
            }
            prop_assert_eq!(segments.iter().map(|c| c.rows).sum::<u64>(), total);
            // Each time its segment grows by a quarter at least: from 1 to 2,500 rows in at most 36 steps.
            prop_assert!(written <= total * 36, "{} rows written for {}", written, total);
        }
    }
}
