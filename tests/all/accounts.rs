//! What became of each row that was pushed, through kills: the counts, the dead letters and the choice of the time column are those of
//! the rows that are there, exactly, before and after. The same for a topic is in `streams`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use freshet_segment::failpoint;
use freshet_tests::cluster::{Server, Setup, unique};
use freshet_tests::events::Random;
use freshet_tests::{scale, wait};
use serde_json::{Value, json};

const SEAL_OFTEN: [&str; 4] = ["--seal-rows-max", "150", "--seal-age-ms-max", "300"];

/// The five parts of `read`, and `read`.
fn balanced(counts: &Value) -> (u64, u64, u64) {
    let of = |name: &str| counts[name].as_u64().unwrap_or_else(|| panic!("no {name} in {counts}"));
    let parts = ["stored", "filtered", "rejected", "late", "duplicate"].map(of);
    assert_eq!(of("read"), parts.iter().sum::<u64>(), "{counts}");
    (of("read"), of("stored"), of("rejected"))
}

/// Pushes bodies of good and bad rows, each under a key and again until it is acknowledged.
struct Source {
    table: String,
    random: Random,
    bodies: u64,
    good: u64,
    /// What each bad row says.
    bad: BTreeSet<String>,
    waiting: Option<String>,
}

impl Source {
    fn new(table: &str, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { table: table.to_owned(), random, bodies: 0, good: 0, bad: BTreeSet::new(), waiting: None }
    }

    fn make(&mut self) -> String {
        let mut body = String::new();
        for _ in 0..1 + self.random.below(30) {
            if self.random.below(5) == 0 {
                let row = format!("no row {}", self.bad.len());
                body.push_str(&format!("{row}\n"));
                self.bad.insert(row);
            } else {
                body.push_str(&format!("{{\"when\": {}, \"ts\": 0, \"n\": {}}}\n", 31_536_000_000_i64, self.good));
                self.good += 1;
            }
        }
        body
    }

    /// One body, or the one before again. Whether it was acknowledged.
    fn push(&mut self, server: &Server) -> bool {
        let body = self.waiting.take().unwrap_or_else(|| self.make());
        // Only the first one says which field holds the time.
        let named = if self.bodies == 0 { "&timestampColumn=when" } else { "" };
        let url = server.url(&format!("/api/v1/push/{}?onError=skip{named}", self.table));
        let request = server.client().post(url).header("content-type", "application/x-ndjson");
        let request = request.header("idempotency-key", format!("{}-{}", self.table, self.bodies)).body(body.clone());
        let answer = server.try_send(request);
        match answer {
            Ok(answer) if answer.status == 200 => {
                self.bodies += 1;
                true
            }
            Ok(answer) if answer.status != 503 && answer.status != 409 => panic!("{}", answer.text()),
            _ => {
                self.waiting = Some(body);
                false
            }
        }
    }

    fn push_until_taken(&mut self, server: &Server) {
        wait::until("a push to be taken", || if self.push(server) { Ok(()) } else { Err("refused".to_owned()) });
    }

    /// All that was made was acknowledged: each row is there once, is counted once, or is a letter once.
    fn check(&self, server: &Server) {
        assert!(self.waiting.is_none());
        let (good, bad) = (self.good, self.bad.len() as u64);
        let query = format!("SELECT COUNT(*), COUNT(DISTINCT n), MIN(__time), MAX(__time) FROM \"{}\"", self.table);
        let rows = server.rows_when_served(&query);
        let time = "1971-01-01T00:00:00.000Z";
        assert_eq!(rows, json!([[good, good, time, time]]), "the time is in the field that the first push named");
        let shown = server.get(&format!("/api/v1/tables/{}", self.table)).expect(200);
        assert_eq!(balanced(&shown["counts"]), (good + bad, good, bad), "{shown}");
        assert_eq!(balanced(&shown["push"]["counts"]), (good + bad, good, bad), "{shown}");
        assert_eq!(shown["push"]["timeColumn"], "when", "{shown}");
        let letters = server.get(&format!("/api/v1/tables/{}/dead-letters?limit=10000", self.table)).expect(200);
        assert_eq!((&letters["total"], &letters["kept"]), (&json!(bad), &json!(bad)));
        let texts =
            server.sql(&format!("SELECT raw, position FROM sys.dead_letters WHERE datasource = '{}'", self.table));
        let raw: BTreeSet<String> = texts.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect();
        let places: BTreeSet<&str> = texts.iter().map(|row| row[1].as_str().unwrap()).collect();
        assert_eq!((texts.len(), places.len()), (self.bad.len(), self.bad.len()), "each once, each at its place");
        assert_eq!(raw, self.bad);
    }
}

/// At any moment.
fn look(server: &Server, table: &str) {
    let path = server.url(&format!("/api/v1/tables/{table}"));
    if let Ok(answer) = server.try_send(server.client().get(path))
        && answer.status == 200
    {
        let shown = answer.json();
        balanced(&shown["counts"]);
        if !shown["push"].is_null() {
            balanced(&shown["push"]["counts"]);
            balanced(&shown["push"]["unpublished"]);
        }
    }
}

/// Places between a row that is taken and a row that is official, and moments in between.
fn deaths(random: &mut Random, kills: u64) -> Vec<Option<String>> {
    let rooms = ["push.", "journal.", "publish.", "catalog."];
    let reached = |name: &&&str| rooms.iter().any(|room| name.starts_with(room));
    // A second file of the journal is the matter of `crash`.
    let named =
        failpoint::names().iter().filter(reached).filter(|name| !["journal.rolled", "journal.cut_one"].contains(name));
    let mut deaths: Vec<Option<String>> =
        named.map(|name| Some(format!("{name}=exit@{}", 1 + random.below(3)))).collect();
    deaths.extend((0..3).map(|_| Some(format!("catalog.statement=exit@{}", 1 + random.below(40)))));
    deaths.extend((0..kills).map(|_| None));
    deaths
}

#[test]
fn what_became_of_pushed_rows_is_exact_through_kills() {
    let kills = scale::count("random kills while rows are counted", 6, 300);
    let seed = scale::seed("what_became_of_pushed_rows");
    let mut random = Random::new(seed);
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let mut source = Source::new(&unique("counted"), seed);
    let table = source.table.clone();
    source.push_until_taken(&server);
    source.check(&server);
    for death in deaths(&mut random, kills) {
        server.kill();
        let armed: Vec<_> = death.iter().map(|point| ("FRESHET_FAILPOINTS", point.as_str())).collect();
        let started = server.try_restart(&armed).is_ok();
        let began = Instant::now();
        let patience = match &death {
            Some(_) => Duration::from_secs(6),
            None => Duration::from_millis(random.below(1_500)),
        };
        while started && server.ended().is_none() && began.elapsed() < patience {
            let _ = source.push(&server);
            look(&server, &table);
            if random.below(4) == 0 {
                let path = server.url(&format!("/api/v1/tables/{table}/publish?timeoutMs=200"));
                let _ = server.try_send(server.client().post(path).json(&json!({})));
            }
        }
        server.kill();
        server.restart();
        if source.waiting.is_some() {
            source.push_until_taken(&server);
        }
        println!("{death:?}: {} good and {} bad rows", source.good, source.bad.len());
        source.check(&server);
    }
    // Published to the end, the catalog alone knows it, and after a clean end as well.
    server.publish(&table);
    let shown = server.get(&format!("/api/v1/tables/{table}")).expect(200);
    assert_eq!(balanced(&shown["push"]["unpublished"]), (0, 0, 0), "{shown}");
    for _ in 0..2 {
        source.check(&server);
        server.terminate();
        server.restart();
        server.wait_until_ready();
    }
    source.check(&server);
    server.assert_no_panics();
}
