//! The events of the demo stream: a web shop, seen from its request log.
//!
//! Everything follows from the seed and the start: event *n* of seed *s* started at *t* is the same in every run, however the
//! stream is cut into batches. There is something to find. Traffic breathes with the day and the week; countries have their own
//! hours and favourite channels; and every ten minutes, for ninety seconds, one page is slow for one country and sometimes fails.
//! One event in a hundred is late, one in a thousand cannot be read: so the panels for late and bad rows are not empty either.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One event in so many is late, by up to [`LATE_MS_MAX`].
const LATE_ONE_IN: u32 = 100;
const LATE_MS_MAX: i64 = 120_000;
/// One event in so many cannot be read.
const BROKEN_ONE_IN: u32 = 1_000;
/// The incident: how often it begins, how long it lasts, how much slower the page gets.
const INCIDENT_EVERY_MS: i64 = 600_000;
const INCIDENT_MS: i64 = 90_000;
const INCIDENT_SLOWER: f64 = 9.0;
/// Where it happens.
const INCIDENT_COUNTRY: &str = "DE";
const INCIDENT_PAGE: &str = "/checkout";
/// Visitors.
const USERS: u32 = 50_000;
const DAY_MS: i64 = 86_400_000;

/// Country, share of traffic, hours ahead of UTC, latency of the way there in ms, cities with their shares.
type Country = (&'static str, u32, i64, f64, &'static [(&'static str, u32)]);

const COUNTRIES: [Country; 12] = [
    ("US", 26, -6, 70.0, &[("New York", 5), ("Chicago", 3), ("Los Angeles", 4), ("Seattle", 2), ("Austin", 2)]),
    ("DE", 17, 1, 18.0, &[("Berlin", 4), ("Hamburg", 2), ("München", 3), ("Köln", 2), ("Leipzig", 1)]),
    ("FR", 10, 1, 22.0, &[("Paris", 6), ("Lyon", 2), ("Marseille", 2), ("Nantes", 1)]),
    ("GB", 10, 0, 25.0, &[("London", 6), ("Manchester", 2), ("Glasgow", 1)]),
    ("JP", 8, 9, 120.0, &[("東京", 5), ("大阪", 3), ("京都", 1)]),
    ("BR", 7, -3, 95.0, &[("São Paulo", 5), ("Rio de Janeiro", 3), ("Brasília", 1)]),
    ("IN", 7, 5, 110.0, &[("Mumbai", 3), ("Bengaluru", 3), ("Delhi", 3)]),
    ("CH", 5, 1, 15.0, &[("Zürich", 4), ("Genève", 2), ("Basel", 1), ("Bern", 1)]),
    ("ES", 4, 1, 30.0, &[("Madrid", 3), ("Barcelona", 3), ("Valencia", 1)]),
    ("PL", 3, 1, 28.0, &[("Warszawa", 3), ("Kraków", 2), ("Gdańsk", 1)]),
    ("AU", 2, 10, 140.0, &[("Sydney", 3), ("Melbourne", 2)]),
    ("ZA", 1, 2, 130.0, &[("Cape Town", 1), ("Johannesburg", 1)]),
];
/// Page, share, work of the server in ms, bytes.
const PAGES: [(&str, u32, f64, f64); 10] = [
    ("/", 24, 20.0, 42_000.0),
    ("/search", 20, 65.0, 61_000.0),
    ("/product", 26, 30.0, 88_000.0),
    ("/category", 12, 35.0, 70_000.0),
    ("/cart", 7, 28.0, 24_000.0),
    ("/checkout", 4, 80.0, 19_000.0),
    ("/login", 3, 45.0, 9_000.0),
    ("/account", 2, 40.0, 21_000.0),
    ("/help", 1, 15.0, 30_000.0),
    ("/api/stock", 1, 8.0, 1_200.0),
];
const CHANNELS: [(&str, u32); 6] =
    [("organic", 34), ("direct", 24), ("ads", 18), ("social", 12), ("email", 8), ("referral", 4)];
const DEVICES: [(&str, u32); 3] = [("mobile", 58), ("desktop", 36), ("tablet", 6)];
const CAMPAIGNS: [(&str, u32); 5] =
    [("spring-sale", 4), ("new-arrivals", 3), ("free-shipping", 2), ("loyalty", 2), ("retarget-7d", 1)];

/// One event, not yet written.
struct Event {
    time: i64,
    country: &'static Country,
    city: &'static str,
    page: &'static (&'static str, u32, f64, f64),
    channel: &'static str,
    device: &'static str,
    browser: &'static str,
    campaign: &'static str,
    status: u16,
    user: u32,
    latency_ms: f64,
    bytes: i64,
    revenue: f64,
}

/// Makes events in order of their time.
#[derive(Debug)]
pub struct Events {
    random: StdRng,
    /// Time of the next event, in ms with a fraction.
    next: f64,
}

impl Events {
    /// The stream of `seed` that begins at `start_ms`.
    #[must_use]
    pub fn new(seed: u64, start_ms: i64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), next: start_ms as f64 }
    }

    /// Time before which all events are made.
    #[must_use]
    pub fn made_until(&self) -> i64 {
        self.next as i64
    }

    /// Goes on at `ms` if that is later: what lies between is never made.
    pub fn skip_to(&mut self, ms: i64) {
        self.next = self.next.max(ms as f64);
    }

    /// Appends the events before `until_ms` as NDJSON, `count_max` at most, and says how many. `rate` is per second, averaged
    /// over a week.
    pub fn write(&mut self, until_ms: i64, rate: u32, count_max: usize, out: &mut String) -> usize {
        let mut count = 0;
        while count < count_max && self.next < until_ms as f64 && rate > 0 {
            let time = self.next as i64;
            let event = self.event(time);
            if self.random.random_ratio(1, BROKEN_ONE_IN) {
                self.broken(&event, out);
            } else {
                event.write(out);
            }
            count += 1;
            self.next += 1_000.0 / (f64::from(rate) * shape(time));
        }
        count
    }

    fn event(&mut self, now: i64) -> Event {
        let random = &mut self.random;
        let late = random.random_ratio(1, LATE_ONE_IN);
        let time = if late { now - random.random_range(5_000..LATE_MS_MAX) } else { now };
        let country = pick_by(random, &COUNTRIES, |country| share_now(country, now));
        let page = pick_by(random, &PAGES, |page| f64::from(page.1));
        let city = pick(random, country.4);
        let channel = pick(random, &CHANNELS);
        let device = pick(random, &DEVICES);
        let browser = match device {
            "desktop" => pick(random, &[("Chrome", 60), ("Firefox", 16), ("Edge", 14), ("Safari", 10)]),
            _ => pick(random, &[("Safari", 46), ("Chrome", 44), ("Samsung", 7), ("Firefox", 3)]),
        };
        // Always there, so that the table's columns are the same whatever the first events are.
        let campaign = if matches!(channel, "ads" | "email" | "social") { pick(random, &CAMPAIGNS) } else { "none" };
        // A few visitors come often, most seldom.
        let uniform: f64 = random.random();
        let user = (f64::from(USERS) * uniform * uniform * uniform) as u32;
        let slow = is_incident(now) && country.0 == INCIDENT_COUNTRY && page.0 == INCIDENT_PAGE;
        // The sum of three uniforms in place of a bell, then a long tail.
        let bell: f64 = (0..3).map(|_| random.random::<f64>()).sum::<f64>() / 3.0;
        let tail: f64 = if random.random_ratio(1, 40) { random.random_range(2.0..6.0) } else { 1.0 };
        let mobile = if device == "mobile" { 1.35 } else { 1.0 };
        let latency = (page.2 * (0.4 + 1.2 * bell) + country.3) * tail * mobile;
        let latency_ms = if slow { latency * INCIDENT_SLOWER } else { latency };
        let failed = random.random_ratio(if slow { 25 } else { 1 }, 150);
        let status = if failed {
            503
        } else {
            *pick_by(random, &[200_u16, 304, 404, 302], |status| match status {
                200 => 90.0,
                304 => 6.0,
                404 => 2.5,
                _ => 1.5,
            })
        };
        let bytes = if status == 200 { (page.3 * (0.5 + random.random::<f64>())) as i64 } else { 420 };
        let bought = page.0 == "/checkout" && status == 200 && random.random_ratio(7, 10);
        let revenue = if bought { (random.random_range(8.0..240.0_f64) * 100.0).round() / 100.0 } else { 0.0 };
        Event {
            time,
            country,
            city,
            page,
            channel,
            device,
            browser,
            campaign,
            status,
            user,
            latency_ms: (latency_ms * 100.0).round() / 100.0,
            bytes,
            revenue,
        }
    }

    /// The same event as a client with a defect would send it.
    fn broken(&mut self, event: &Event, out: &mut String) {
        let start = out.len();
        event.write(out);
        match self.random.random_range(0..3) {
            // Cut in the middle.
            0 => {
                let keep = out[start..].char_indices().nth(60).map_or(out.len(), |(at, _)| start + at);
                out.truncate(keep);
                out.push('\n');
            }
            // Without its time.
            1 => {
                out.truncate(start);
                let _ = writeln!(out, "{{\"country\":\"{}\",\"page\":\"{}\"}}", event.country.0, event.page.0);
            }
            // With a time that is none.
            _ => {
                out.truncate(start);
                let _ = writeln!(out, "{{\"timestamp\":\"yesterday\",\"page\":\"{}\"}}", event.page.0);
            }
        }
    }
}

impl Event {
    fn write(&self, out: &mut String) {
        let _ = write!(
            out,
            "{{\"timestamp\":{},\"channel\":\"{}\",\"country\":\"{}\",\"city\":\"{}\",\"page\":\"{}\",\"device\":\"{}\",\
             \"browser\":\"{}\",",
            self.time, self.channel, self.country.0, self.city, self.page.0, self.device, self.browser
        );
        let _ = writeln!(
            out,
            "\"campaign\":\"{}\",\"status\":\"{}\",\"user_id\":\"u{:05}\",\"latency_ms\":{:?},\"bytes\":{},\"revenue\":{:?}}}",
            self.campaign, self.status, self.user, self.latency_ms, self.bytes, self.revenue
        );
    }
}

/// Whether the incident is on.
#[must_use]
pub fn is_incident(ms: i64) -> bool {
    ms.rem_euclid(INCIDENT_EVERY_MS) < INCIDENT_MS
}

/// How much traffic there is, relative to the average: more by day than by night, less on weekends, and a little unrest.
fn shape(ms: i64) -> f64 {
    let of_day = ms.rem_euclid(DAY_MS) as f64 / DAY_MS as f64;
    let day = 1.0 - 0.3 * (TAU * (of_day - 0.08)).cos();
    // 1970-01-01 was a Thursday.
    let weekday = (ms.div_euclid(DAY_MS) + 3).rem_euclid(7);
    let week = if weekday >= 5 { 0.82 } else { 1.07 };
    let minutes = ms as f64 / 60_000.0;
    let unrest = 1.0 + 0.08 * (TAU * minutes / 7.0).sin() + 0.05 * (TAU * minutes / 1.9).sin();
    day * week * unrest
}

/// A country's share at this time: people sleep.
fn share_now(country: &Country, ms: i64) -> f64 {
    let hour = (ms.rem_euclid(DAY_MS) as f64 / 3_600_000.0 + country.2 as f64).rem_euclid(24.0);
    let awake = 1.0 - 0.6 * (TAU * (hour - 3.0) / 24.0).cos();
    f64::from(country.1) * awake
}

fn pick(random: &mut StdRng, choices: &'static [(&'static str, u32)]) -> &'static str {
    pick_by(random, choices, |choice| f64::from(choice.1)).0
}

fn pick_by<'a, T>(random: &mut StdRng, choices: &'a [T], weight: impl Fn(&T) -> f64) -> &'a T {
    let total: f64 = choices.iter().map(&weight).sum();
    let mut at = random.random::<f64>() * total;
    for choice in choices {
        at -= weight(choice);
        if at < 0.0 {
            return choice;
        }
    }
    &choices[choices.len() - 1]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::*;

    /// 2026-03-02, a Monday, 10:00 UTC: an incident begins.
    const START: i64 = 1_772_445_600_000;

    fn make(seed: u64, seconds: i64, rate: u32, batch: usize) -> String {
        let mut events = Events::new(seed, START);
        let mut out = String::new();
        while events.write(START + seconds * 1_000, rate, batch, &mut out) > 0 {}
        out
    }

    #[test]
    fn the_seed_decides_and_batches_do_not() {
        let whole = make(1, 20, 200, usize::MAX);
        assert_eq!(whole, make(1, 20, 200, 7));
        assert_ne!(whole, make(2, 20, 200, usize::MAX));
        let lines = whole.lines().count();
        assert!((3_000..7_000).contains(&lines), "{lines} events in 20 s at 200 a second");
    }

    #[test]
    fn late_and_broken_events_have_their_share() {
        let text = make(1, 200, 200, usize::MAX);
        let (mut total, mut late, mut broken) = (0, 0, 0);
        let mut newest = 0;
        for line in text.lines() {
            total += 1;
            let time = serde_json::from_str::<Value>(line).ok().and_then(|event| event["timestamp"].as_i64());
            match time {
                None => broken += 1,
                Some(time) if time < newest - 4_000 => late += 1,
                Some(time) => newest = newest.max(time),
            }
        }
        assert!((total / 2_000..=total / 500).contains(&broken), "{broken} broken of {total}");
        assert!((total / 130..=total / 75).contains(&late), "{late} late of {total}");
    }

    #[test]
    fn the_incident_is_where_and_when_it_should_be() {
        let text = make(3, 600, 100, usize::MAX);
        // (incident page and country, incident time) → latencies.
        let mut sums: HashMap<(bool, bool), (f64, u32)> = HashMap::new();
        let mut users = std::collections::HashSet::new();
        for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let (Some(time), Some(latency)) = (event["timestamp"].as_i64(), event["latency_ms"].as_f64()) else {
                continue;
            };
            users.insert(event["user_id"].as_str().unwrap().to_owned());
            let place = event["page"] == "/checkout" && event["country"] == "DE";
            let sum = sums.entry((place, is_incident(time))).or_default();
            *sum = (sum.0 + latency, sum.1 + 1);
        }
        let mean = |place, time| sums[&(place, time)].0 / f64::from(sums[&(place, time)].1);
        assert!(mean(true, true) > 5.0 * mean(true, false), "{} against {}", mean(true, true), mean(true, false));
        assert!((mean(false, true) / mean(false, false) - 1.0).abs() < 0.1);
        assert!(users.len() > 10_000, "{} users", users.len());
    }

    #[test]
    fn a_week_averages_to_the_rate() {
        let week = 7 * DAY_MS;
        let steps = 7 * 24 * 60;
        let mean = (0..steps).map(|minute| shape(START + minute * 60_000)).sum::<f64>() / steps as f64;
        assert!((mean - 1.0).abs() < 0.01, "{mean} over {week} ms");
    }
}
