//! How long records take from being produced (or received) to being queryable.
//!
//! Two histograms take turns, thirty seconds each, so a summary covers the last half to full minute and an old hiccup
//! does not colour it for ever. Fixed cumulative buckets beside them count everything, for scrapers.

use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::time::Timestamp;

/// Upper bounds in milliseconds of the cumulative buckets.
pub const BUCKETS_MS: [u64; 14] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 60_000, 3_600_000, 86_400_000];
const TURN: Duration = Duration::from_secs(30);
/// Older records than this (ten days) count as this old.
const AGE_MS_MAX: u64 = 864_000_000;

/// Freshness of the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FreshnessSummary {
    /// Half of the rows were queryable within this many milliseconds.
    pub p50_ms: u64,
    /// 99 of 100 rows were.
    pub p99_ms: u64,
    /// Rows measured.
    pub count: u64,
    /// Rows that became queryable a second.
    pub rows_per_second: f64,
}

/// Everything since the start, for scrapers.
#[derive(Debug, Clone, Default)]
pub struct FreshnessTotals {
    /// Rows at most [`BUCKETS_MS`] old, cumulative, in the same order.
    pub buckets: [u64; BUCKETS_MS.len()],
    /// All rows.
    pub count: u64,
    /// Sum of their ages.
    pub sum_ms: u64,
}

#[derive(Debug)]
struct State {
    current: Histogram<u64>,
    previous: Histogram<u64>,
    turn_started: Option<Duration>,
    previous_length: Duration,
    totals: FreshnessTotals,
    last_visible: Option<Timestamp>,
}

/// Measure of one table.
#[derive(Debug)]
pub struct Freshness {
    state: Mutex<State>,
}

impl Default for Freshness {
    fn default() -> Self {
        Self::new()
    }
}

impl Freshness {
    /// Nothing measured yet.
    pub fn new() -> Self {
        let histogram =
            || Histogram::new_with_max(AGE_MS_MAX, 2).expect("two significant digits up to ten days are in range");
        Self {
            state: Mutex::new(State {
                current: histogram(),
                previous: histogram(),
                turn_started: None,
                previous_length: Duration::ZERO,
                totals: FreshnessTotals::default(),
                last_visible: None,
            }),
        }
    }

    /// Takes in `rows` rows produced at `produced` that are queryable at `now`; `monotonic` is the clock's. A producer
    /// whose clock is ahead counts as zero.
    pub fn record(&self, produced: Timestamp, now: Timestamp, monotonic: Duration, rows: u64) {
        let age = u64::try_from(now.as_millis().saturating_sub(produced.as_millis())).unwrap_or(0).min(AGE_MS_MAX);
        let mut state = self.state.lock();
        state.turn(monotonic);
        state.current.saturating_record_n(age, rows);
        for (bound, count) in BUCKETS_MS.iter().zip(&mut state.totals.buckets) {
            *count += if age <= *bound { rows } else { 0 };
        }
        state.last_visible = state.last_visible.max(Some(now));
        state.totals.count += rows;
        state.totals.sum_ms = state.totals.sum_ms.saturating_add(age.saturating_mul(rows));
    }

    /// The last half to full minute.
    pub fn summary(&self, monotonic: Duration) -> FreshnessSummary {
        let mut state = self.state.lock();
        state.turn(monotonic);
        let mut both = state.current.clone();
        if both.add(&state.previous).is_err() || both.is_empty() {
            return FreshnessSummary::default();
        }
        let elapsed =
            state.turn_started.map_or(Duration::ZERO, |s| monotonic.saturating_sub(s)) + state.previous_length;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rows_per_second = both.len() as f64 / elapsed.as_secs_f64().max(1.0);
        FreshnessSummary {
            p50_ms: both.value_at_quantile(0.5),
            p99_ms: both.value_at_quantile(0.99),
            count: both.len(),
            rows_per_second,
        }
    }

    /// When rows last became queryable.
    pub fn last_visible(&self) -> Option<Timestamp> {
        self.state.lock().last_visible
    }

    /// Everything since the start.
    pub fn totals(&self) -> FreshnessTotals {
        self.state.lock().totals.clone()
    }
}

impl State {
    fn turn(&mut self, monotonic: Duration) {
        let started = *self.turn_started.get_or_insert(monotonic);
        let elapsed = monotonic.saturating_sub(started);
        if elapsed < TURN {
            return;
        }
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.reset();
        self.previous_length = TURN;
        self.turn_started = Some(started + TURN);
        if elapsed >= TURN * 2 {
            // Nothing was measured for a whole turn: what is there is too old.
            self.previous.reset();
            self.previous_length = Duration::ZERO;
            self.turn_started = Some(monotonic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn quantiles_cover_the_last_minute_and_no_more() {
        let freshness = Freshness::new();
        let second = Duration::from_secs;
        freshness.record(at(0), at(10), second(0), 98);
        freshness.record(at(0), at(4_000), second(1), 2);
        let summary = freshness.summary(second(2));
        assert_eq!((summary.p50_ms, summary.count), (10, 100));
        assert!((3_900..=4_100).contains(&summary.p99_ms), "{summary:?}");
        assert_eq!(freshness.summary(second(45)).count, 100, "still within the minute");
        assert_eq!(freshness.summary(second(200)), FreshnessSummary::default());
        assert_eq!(freshness.totals().count, 100);
        assert_eq!(freshness.totals().buckets[3], 98);
        assert_eq!(freshness.last_visible(), Some(at(4_000)), "whatever the age of the measure");
    }

    #[test]
    fn a_producer_ahead_of_time_counts_as_zero() {
        let freshness = Freshness::new();
        freshness.record(at(1_000), at(10), Duration::ZERO, 1);
        assert_eq!(freshness.summary(Duration::ZERO).p99_ms, 0);
    }
}
