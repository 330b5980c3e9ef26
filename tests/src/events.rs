//! Seeded events, and the oracle that knows their sums.
//!
//! The oracle adds up what was sent, in plain Rust over the events themselves. It never asks Freshet, so an answer that agrees
//! with it is right for a reason. The same seed gives the same events; every generator shows its seed in a failing test's output.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::Server;

/// Start of event time of all generators: 2026-01-01T00:00:00Z.
pub const START_MS: i64 = 1_767_225_600_000;

const COUNTRIES: [&str; 6] = ["CH", "DE", "FR", "日本", "Côte d'Ivoire", "🇺🇳"];

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Number in its source, from 0.
    pub id: u64,
    /// Source that made it.
    pub source: String,
    /// Event time in milliseconds.
    pub time_ms: i64,
    /// One of a few, not all of them ASCII; absent in one event of sixteen.
    pub country: Option<&'static str>,
    /// May be negative.
    pub amount: i64,
}

impl Event {
    /// As a JSON object; an absent country is alternately null and missing.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut object = json!({"time": self.time_ms, "source": self.source, "id": self.id, "amount": self.amount});
        match self.country {
            Some(country) => object["country"] = json!(country),
            None if self.id.is_multiple_of(2) => object["country"] = Value::Null,
            None => {}
        }
        object
    }
}

/// Makes the events of one source, a few milliseconds apart, in order of time.
#[derive(Debug)]
pub struct Events {
    source: String,
    random: Random,
    next_id: u64,
    time_ms: i64,
}

impl Events {
    /// Events of `source` for this seed.
    #[must_use]
    pub fn new(source: &str, seed: u64) -> Self {
        println!("events of {source}: seed {seed}");
        Self { source: source.to_owned(), random: Random::new(seed), next_id: 0, time_ms: START_MS }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let country = match self.random.below(16) {
            0 => None,
            n => Some(COUNTRIES[usize::try_from(n).expect("below 16") % COUNTRIES.len()]),
        };
        self.time_ms += i64::try_from(self.random.below(400)).expect("below 400");
        let amount = i64::try_from(self.random.below(20_001)).expect("below 20,001") - 10_000;
        let event = Event { id: self.next_id, source: self.source.clone(), time_ms: self.time_ms, country, amount };
        self.next_id += 1;
        Some(event)
    }
}

/// NDJSON text of events.
#[must_use]
pub fn lines(events: &[Event]) -> String {
    events.iter().map(|event| format!("{}\n", event.json())).collect()
}

/// Count and sum of amounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Number of events.
    pub count: i64,
    /// Sum of their amounts.
    pub amount: i64,
}

impl Sums {
    fn add(&mut self, event: &Event) {
        self.count += 1;
        self.amount += event.amount;
    }
}

/// Knows what a table must answer, from the events that were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oracle {
    /// Over all events.
    pub all: Sums,
    /// For each country, the absent one included.
    pub by_country: BTreeMap<Option<&'static str>, Sums>,
    /// For each source: count, sum, and the sum of ids, which a lost and a doubled row would have to match at once to hide.
    pub by_source: BTreeMap<String, (Sums, i64)>,
    /// For each minute of event time.
    pub by_minute: BTreeMap<i64, Sums>,
}

impl Oracle {
    /// An oracle over these events.
    #[must_use]
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut oracle = Self::default();
        oracle.add(events);
        oracle
    }

    /// Learns of further events.
    pub fn add<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) {
        for event in events {
            self.all.add(event);
            self.by_country.entry(event.country).or_default().add(event);
            let source = self.by_source.entry(event.source.clone()).or_default();
            source.0.add(event);
            source.1 += i64::try_from(event.id).expect("ids are small");
            self.by_minute.entry(event.time_ms.div_euclid(60_000) * 60_000).or_default().add(event);
        }
    }

    /// Waits for the last row, then compares every sum.
    #[track_caller]
    pub fn wait_and_check(&self, server: &Server, table: &str) {
        server.wait_for_rows(table, self.all.count);
        self.check(server, table);
    }

    /// Compares every sum with what the table answers now.
    ///
    /// # Panics
    /// With both, when they differ.
    #[track_caller]
    pub fn check(&self, server: &Server, table: &str) {
        let all = server.rows(&format!("SELECT COUNT(*), SUM(amount) FROM \"{table}\""));
        assert_eq!(all, json!([[self.all.count, self.all.amount]]), "all events");

        let by_country = server
            .rows(&format!("SELECT country, COUNT(*), SUM(amount) FROM \"{table}\" GROUP BY country ORDER BY country"));
        // NULL first, then by bytes: the order of this map.
        let expected: Vec<Value> = self.by_country.iter().map(|(c, s)| json!([c, s.count, s.amount])).collect();
        assert_eq!(by_country, Value::Array(expected), "by country");

        let by_source = server.rows(&format!(
            "SELECT source, COUNT(*), SUM(amount), SUM(id) FROM \"{table}\" GROUP BY source ORDER BY source"
        ));
        let expected: Vec<Value> =
            self.by_source.iter().map(|(name, (s, ids))| json!([name, s.count, s.amount, ids])).collect();
        assert_eq!(by_source, Value::Array(expected), "by source");

        let doubled = server.rows(&format!(
            "SELECT source, id, COUNT(*) FROM \"{table}\" GROUP BY source, id HAVING COUNT(*) > 1 LIMIT 5"
        ));
        assert_eq!(doubled, json!([]), "each event once");

        let by_minute = server.rows(&format!(
            "SELECT CAST(TIME_FLOOR(__time, 'PT1M') AS BIGINT), COUNT(*), SUM(amount) FROM \"{table}\" GROUP BY 1 ORDER BY 1"
        ));
        let expected: Vec<Value> = self.by_minute.iter().map(|(t, s)| json!([t, s.count, s.amount])).collect();
        assert_eq!(by_minute, Value::Array(expected), "by minute");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_seed_others() {
        let take = |seed| Events::new("a", seed).take(100).collect::<Vec<_>>();
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn the_oracle_adds_up_by_every_key() {
        let event = |id, time_ms, country, amount| Event { id, source: "s".to_owned(), time_ms, country, amount };
        let oracle = Oracle::of(&[
            event(0, START_MS, Some("CH"), 5),
            event(1, START_MS + 59_999, None, -7),
            event(2, START_MS + 60_000, Some("CH"), 10),
        ]);
        assert_eq!(oracle.all, Sums { count: 3, amount: 8 });
        assert_eq!(oracle.by_country[&Some("CH")], Sums { count: 2, amount: 15 });
        assert_eq!(oracle.by_country[&None], Sums { count: 1, amount: -7 });
        assert_eq!(oracle.by_source["s"], (Sums { count: 3, amount: 8 }, 3));
        assert_eq!(oracle.by_minute[&START_MS], Sums { count: 2, amount: -2 });
    }
}
