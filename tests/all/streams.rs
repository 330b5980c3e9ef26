//! Kafka under crashes and bad records: each committed record is in the table once, what is lost is said, and each record that was read
//! is accounted for.
//!
//! Counts and seeds as in `crash`: `FRESHET_TEST_SCALE`, `FRESHET_TEST_SEED`, `make soak`, docs/soak.md.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use freshet_segment::failpoint;
use freshet_tests::cluster::{Server, Setup, unique};
use freshet_tests::events::{Random, START_MS};
use freshet_tests::ledger::{Ledger, Pairs, produce};
use freshet_tests::services::{self, Kafka, Topic};
use freshet_tests::{scale, wait};
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::faults::spec_for_pairs;
use crate::kafka::{events_spec, submit};

const SEAL_OFTEN: [&str; 4] = ["--seal-rows-max", "200", "--seal-age-ms-max", "300"];
const PARTITIONS: u64 = 3;

fn status(server: &Server, id: &str) -> Value {
    server.get(&format!("/druid/indexer/v1/supervisor/{id}/status")).expect(200)["payload"].clone()
}

fn ask_to_publish(server: &Server, table: &str) {
    let path = server.url(&format!("/api/v1/tables/{table}/publish?timeoutMs=500"));
    let _ = server.try_send(server.client().post(path).json(&json!({})));
}

// --- T1: kills ---------------------------------------------------------------------------------------------------------------------

/// Writes some batches, each into the stream partition of its source.
fn write(ledger: &Ledger, topic: &Topic, sources: &mut [Pairs], random: &mut Random, batches: u64) {
    for _ in 0..batches {
        let n = random.below(PARTITIONS);
        produce(ledger, topic, i32::try_from(n).unwrap(), &mut sources[usize::try_from(n).unwrap()], false);
    }
}

/// Writes some records that are no rows, each another one.
fn write_bad(topic: &Topic, random: &mut Random, bad: &mut BTreeSet<String>) {
    for _ in 0..random.below(5) {
        let text = format!("no row {}", bad.len());
        topic.send(i32::try_from(random.below(PARTITIONS)).unwrap(), [&text]);
        bad.insert(text);
    }
}

/// Each record that was read is counted once, as what it is; per task and for all of them, and each bad one is a letter.
fn check_account(server: &Server, table: &str, bad: &BTreeSet<String>) {
    let stored = server.rows_when_served(&format!("SELECT COUNT(*) FROM \"{table}\""))[0][0].as_u64().unwrap();
    let rejected = bad.len() as u64;
    let of = |counts: &Value| {
        let parts = ["stored", "filtered", "rejected", "late", "duplicate"].map(|of| counts[of].as_u64().unwrap());
        assert_eq!(counts["read"], json!(parts.iter().sum::<u64>()), "{counts}");
        (parts[0], parts[2])
    };
    // Bad records at the end of the topic may be read after the last good one.
    wait::until("all records to be accounted for", || {
        let status = status(server, table);
        let seen = of(&status["counts"]);
        assert!(seen.0 <= stored && seen.1 <= rejected, "more than there are: {status}");
        let tasks = status["activeTasks"].as_array().unwrap().iter().map(|task| of(&task["counts"]));
        let sum = tasks.fold((0, 0), |sum, task| (sum.0 + task.0, sum.1 + task.1));
        if [seen, sum] == [(stored, rejected); 2] { Ok(()) } else { Err(status.to_string()) }
    });
    let letters = server.sql(&format!("SELECT raw, position FROM sys.dead_letters WHERE datasource = '{table}'"));
    let raw: BTreeSet<String> = letters.iter().map(|letter| letter[0].as_str().unwrap().to_owned()).collect();
    assert_eq!((letters.len(), &raw), (bad.len(), bad));
    let shown = server.get(&format!("/api/v1/tables/{table}")).expect(200);
    assert_eq!((of(&shown["counts"]), &shown["push"]), ((stored, rejected), &Value::Null), "{shown}");
}

/// Where a process dies: at each place that a stream passes on its way into sealed files, or at a moment of its own.
fn deaths(random: &mut Random, kills: u64) -> Vec<Option<String>> {
    let rooms = ["stream.", "publish."];
    let of_streams = failpoint::names().iter().filter(|name| rooms.iter().any(|room| name.starts_with(room)));
    let mut deaths: Vec<_> = of_streams.map(|name| Some(format!("{name}=exit@1"))).collect();
    deaths.extend((0..kills).map(|_| match random.below(3) {
        0 => Some(format!("catalog.statement=exit@{}", 1 + random.below(40))),
        _ => None,
    }));
    deaths
}

#[test]
fn a_kill_while_a_topic_is_read_gives_each_record_once() {
    let kills = scale::count("further kills while a topic is read", 6, 500);
    let seed = scale::seed("a_kill_while_a_topic_is_read");
    let Some(kafka) = services::kafka() else { return };
    let mut random = Random::new(seed);
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let (table, name, ledger) = (unique("reading"), unique("reading"), Ledger::new());
    kafka.create_topic(&name, i32::try_from(PARTITIONS).unwrap());
    submit(&server, &spec_for_pairs(kafka.address(), &name, &table), &table);
    let topic = kafka.topic(&name);
    let mut sources: Vec<_> = (0..PARTITIONS).map(|n| Pairs::new(&format!("p{n}"), seed + n)).collect();
    let mut bad = BTreeSet::new();
    write(&ledger, &topic, &mut sources, &mut random, 20);
    write_bad(&topic, &mut random, &mut bad);
    ledger.wait_and_check_whole(&server, &table);
    check_account(&server, &table, &bad);
    let mut missed = Vec::new();
    for death in deaths(&mut random, kills) {
        server.kill();
        write(&ledger, &topic, &mut sources, &mut random, 10);
        let armed: Vec<_> = death.iter().map(|point| ("FRESHET_FAILPOINTS", point.as_str())).collect();
        let mut reached = server.try_restart(&armed).is_err();
        let began = Instant::now();
        let patience = match &death {
            Some(_) => Duration::from_secs(10),
            None => Duration::from_millis(random.below(4000)),
        };
        while !reached && began.elapsed() < patience {
            write(&ledger, &topic, &mut sources, &mut random, 1);
            write_bad(&topic, &mut random, &mut bad);
            ask_to_publish(&server, &table);
            reached = server.ended().is_some();
        }
        if let Some(point) = death.filter(|point| !reached && !point.starts_with("catalog.")) {
            missed.push(point);
        }
        server.kill();
        server.restart();
        ledger.wait_and_check_whole(&server, &table);
        check_account(&server, &table, &bad);
    }
    assert!(missed.is_empty(), "named places that this test does not reach: {missed:?}");
    // A start after a clean end finds the same.
    server.terminate();
    server.restart();
    ledger.wait_and_check_whole(&server, &table);
    check_account(&server, &table, &bad);
}

/// One error, and one defect, at each of these places: the same process goes on.
#[test]
fn an_error_or_a_panic_while_a_topic_is_read_gives_each_record_once() {
    let seed = scale::seed("an_error_or_a_panic_while_a_topic_is_read");
    let Some(kafka) = services::kafka() else { return };
    let mut random = Random::new(seed);
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let (table, name, ledger) = (unique("trouble"), unique("trouble"), Ledger::new());
    kafka.create_topic(&name, i32::try_from(PARTITIONS).unwrap());
    submit(&server, &spec_for_pairs(kafka.address(), &name, &table), &table);
    let topic = kafka.topic(&name);
    let mut sources: Vec<_> = (0..PARTITIONS).map(|n| Pairs::new(&format!("p{n}"), seed + n)).collect();
    for deed in ["error", "panic"] {
        // One run for all places: a supervisor that begins waits for the brokers.
        let places =
            failpoint::names().iter().filter(|name| name.starts_with("stream.") || name.starts_with("publish."));
        let armed: Vec<_> = places.map(|name| format!("{name}={deed}@{}", 1 + random.below(3))).collect();
        println!("{armed:?}");
        server.kill();
        server.try_restart(&[("FRESHET_FAILPOINTS", &armed.join(";"))]).unwrap_or_else(|reason| panic!("{reason}"));
        for _ in 0..4 {
            write(&ledger, &topic, &mut sources, &mut random, 30);
            ledger.wait_and_check_whole(&server, &table);
        }
    }
    server.kill();
    server.restart();
    ledger.wait_and_check_whole(&server, &table);
}

// --- T4: records that are gone, a topic that is another one ------------------------------------------------------------------------

fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka.address()).create().unwrap()
}

fn rows(source: &str, ids: std::ops::Range<i64>) -> Vec<String> {
    ids.map(|id| json!({"time": START_MS + id, "source": source, "id": id, "amount": 1}).to_string()).collect()
}

fn counts(server: &Server, table: &str) -> Value {
    server.rows_when_served(&format!(
        "SELECT source, COUNT(*), MIN(id), MAX(id) FROM \"{table}\" GROUP BY source ORDER BY source"
    ))
}

fn wait_for_counts(server: &Server, table: &str, expected: &Value) {
    wait::until(&format!("{expected}"), || {
        let seen = counts(server, table);
        if seen == *expected { Ok(()) } else { Err(format!("{seen}; {}", status(server, table))) }
    });
}

/// A table of two stream partitions of 100 and 200 records, all published; its server is dead.
fn dead_server(kafka: &Kafka, name: &str, skip: bool) -> (Server, String) {
    let (server, table) = (Setup::default().start(), unique(name));
    kafka.create_topic(&table, 2);
    let topic = kafka.topic(&table);
    topic.send(0, rows("a", 0..100));
    topic.send(1, rows("b", 0..200));
    let mut spec = events_spec(kafka.address(), &table, &table);
    if skip {
        spec["spec"]["ioConfig"]["onDataLoss"] = json!("skip");
    }
    submit(&server, &spec, &table);
    wait_for_counts(&server, &table, &json!([["a", 100, 0, 99], ["b", 200, 0, 199]]));
    server.publish(&table);
    server.kill();
    (server, table)
}

#[test]
fn records_that_went_while_it_was_dead_are_a_gap_that_is_told() {
    let Some(kafka) = services::kafka() else { return };
    for skip in [false, true] {
        let (server, table) = dead_server(kafka, "gap", skip);
        let topic = kafka.topic(&table);
        topic.send(0, rows("a", 100..110));
        topic.send(1, rows("b", 200..250));
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&table, 1, Offset::Offset(230)).unwrap();
        let deleted = block_on(admin(kafka).delete_records(&before, &AdminOptions::new())).unwrap();
        assert_eq!(deleted.find_partition(&table, 1).unwrap().offset(), Offset::Offset(230));
        server.restart();
        // The other one goes on in any case.
        let of_b = if skip { json!(["b", 220, 0, 249]) } else { json!(["b", 200, 0, 199]) };
        wait_for_counts(&server, &table, &json!([["a", 110, 0, 109], of_b]));
        let gaps = format!(
            "SELECT \"partition\", from_offset, to_offset, reason FROM sys.data_gaps WHERE datasource = '{table}'"
        );
        let told = wait::until("the gap to be told", || {
            let told = server.rows(&gaps);
            if told.as_array().unwrap().is_empty() { Err(status(&server, &table).to_string()) } else { Ok(told) }
        });
        assert_eq!((&told[0][0], &told[0][1], &told[0][2]), (&json!(1), &json!(200), &json!(230)), "{told}");
        assert!(told[0][3].as_str().unwrap().contains(&table), "{told}");
        if !skip {
            wait::until("the state to say so", || {
                let status = status(&server, &table);
                let cause = status["cause"].as_str().unwrap_or_default();
                if cause.contains("30 records are lost") { Ok(()) } else { Err(status.to_string()) }
            });
        }
        // It is noted once, however often it is met.
        server.kill();
        server.restart();
        wait_for_counts(&server, &table, &json!([["a", 110, 0, 109], of_b]));
        wait::until("the supervisor to have looked", || {
            let status = status(&server, &table);
            if status["latestOffsets"]["1"] == 250 { Ok(()) } else { Err(status.to_string()) }
        });
        assert_eq!(server.rows(&gaps), told);
        server.assert_no_panics();
    }
}

#[test]
fn a_topic_that_was_made_again_is_not_read() {
    let Some(kafka) = services::kafka() else { return };
    let (server, table) = dead_server(kafka, "remade", true);
    let deleted = block_on(admin(kafka).delete_topics(&[&table], &AdminOptions::new())).unwrap();
    assert_eq!(deleted, [Ok(table.clone())]);
    wait::until("the topic to be made again", || {
        let new = rdkafka::admin::NewTopic::new(&table, 2, rdkafka::admin::TopicReplication::Fixed(1));
        let made = block_on(admin(kafka).create_topics([&new], &AdminOptions::new())).unwrap();
        if made.iter().all(Result::is_ok) { Ok(()) } else { Err(format!("{made:?}")) }
    });
    // It is longer than the old one: only its id tells.
    let topic = kafka.topic(&table);
    topic.send(0, rows("x", 0..300));
    topic.send(1, rows("x", 300..600));
    server.restart();
    wait::until("the state to say so", || {
        let status = status(&server, &table);
        let cause = status["cause"].as_str().unwrap_or_default();
        if cause.contains("deleted and made again") { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(counts(&server, &table), json!([["a", 100, 0, 99], ["b", 200, 0, 199]]));
    server.assert_no_panics();
}

// --- T10: bad records among good ones ----------------------------------------------------------------------------------------------

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stored,
    Rejected,
}

/// A record that is not as the others: twenty sorts.
fn odd(random: &mut Random, id: i64) -> (Fate, Vec<u8>) {
    let time = START_MS + id;
    let good = json!({"time": time, "source": "odd", "id": id, "amount": 1});
    let with = |field: &str, value: Value| {
        let mut row = good.clone();
        row[field] = value;
        (Fate::Stored, row.to_string().into_bytes())
    };
    let bad = |text: String| (Fate::Rejected, text.into_bytes());
    match random.below(20) {
        0 => bad("not json at all".to_owned()),
        1 => bad(good.to_string()[..20].to_owned()),
        2 => bad(json!({"source": "no time", "id": id}).to_string()),
        3 => bad(json!({"time": "yesterday", "id": id}).to_string()),
        4 => bad(json!({"time": null, "id": id}).to_string()),
        5 => bad(json!({"time": {"of": "day"}, "id": id}).to_string()),
        6 => bad(json!({"time": [time], "id": id}).to_string()),
        7 => bad("42".to_owned()),
        8 => bad("\"a text\"".to_owned()),
        9 => bad("true".to_owned()),
        10 => bad(format!("{{'time': {time}}}")),
        11 => bad(format!("{{time: {time}}}")),
        12 => bad(format!("{{\"time\": {time}, \"id\": NaN}}")),
        13 => bad(format!("{{\"time\": {time}, \"id\": {id},}}")),
        14 => bad(format!("{{\"time\": {time}, \"source\": {}1{}}}", "[".repeat(500), "]".repeat(500))),
        15 => {
            let mut bytes = format!("{{\"time\": {time}, \"source\": \"").into_bytes();
            bytes.extend(b"\xff\xfe\"}");
            (Fate::Rejected, bytes)
        }
        16 => (Fate::Rejected, vec![1; 40]),
        // What changes over the years is no mistake.
        17 => with("a_new_column", json!("text")),
        18 => with("another_new_column", json!(id)),
        _ => with("amount", json!("1")),
    }
}

/// So many records, one in twenty of them odd. Each is `good` or comes with its fate.
fn mixed(random: &mut Random, count: i64) -> Vec<(Fate, Vec<u8>)> {
    let mut one = |id| match random.below(20) {
        0 => odd(random, id),
        _ => {
            let row = json!({"time": START_MS + id, "source": "good", "id": id, "amount": 1});
            (Fate::Stored, row.to_string().into_bytes())
        }
    };
    (0..count).map(&mut one).collect()
}

fn of_fate(records: &[(Fate, Vec<u8>)], fate: Fate) -> u64 {
    records.iter().filter(|(of, _)| *of == fate).count() as u64
}

/// Every refused record is a row of `sys.dead_letters` that says which, why, what to do, and how it read.
fn check_letters(server: &Server, table: &str, expected: &BTreeMap<String, &[u8]>) {
    let query = format!(
        "SELECT position, reason, hint, raw FROM sys.dead_letters WHERE datasource = '{table}' AND row_stored = 0"
    );
    let letters = server.sql(&query);
    assert_eq!(letters.len(), expected.len(), "{:?}", letters.first());
    for letter in &letters {
        let position = letter[0].as_str().unwrap();
        let sent = expected.get(position).unwrap_or_else(|| panic!("nothing bad was sent at {position}: {letter:?}"));
        assert!(letter[1].as_str().is_some_and(|reason| reason.len() > 5), "{letter:?}");
        assert!(letter[2].as_str().is_some_and(|hint| hint.len() > 5), "{letter:?}");
        let raw = letter[3].as_str().unwrap();
        assert!(raw.starts_with(&*String::from_utf8_lossy(&sent[..sent.len().min(10)])), "{letter:?}");
    }
}

#[test]
fn bad_records_of_a_topic_are_counted_and_kept_and_nothing_else_is() {
    let count = scale::count("records, one in twenty odd", 4_000, 400_000);
    let seed = scale::seed("bad_records_of_a_topic");
    let Some(kafka) = services::kafka() else { return };
    let mut random = Random::new(seed);
    let (server, table) = (Setup::default().flags(&SEAL_OFTEN).start(), unique("mix"));
    kafka.create_topic(&table, 1);
    let records = mixed(&mut random, i64::try_from(count).unwrap());
    let topic = kafka.topic(&table);
    topic.send(0, records.iter().map(|(_, bytes)| bytes));
    // They mark a deletion in a compacted topic, and are no rows.
    for key in ["a", "b", "c"] {
        topic.send_tombstone(0, key);
    }
    let mut spec = events_spec(kafka.address(), &table, &table);
    spec["spec"]["dataSchema"]["granularitySpec"]["segmentGranularity"] = json!("day");
    submit(&server, &spec, &table);
    let (stored, rejected) = (of_fate(&records, Fate::Stored), of_fate(&records, Fate::Rejected));
    let counts = wait::until("all to be read", || {
        let status = status(&server, &table);
        let counts = status["counts"].clone();
        let read = ["stored", "filtered", "rejected", "late", "duplicate"].map(|of| counts[of].as_u64().unwrap());
        // At every moment.
        assert_eq!(counts["read"], json!(read.iter().sum::<u64>()), "{counts}");
        if counts["read"] == count + 3 { Ok(counts) } else { Err(status.to_string()) }
    });
    for (of, expected) in [("stored", stored), ("rejected", rejected), ("filtered", 3), ("late", 0), ("duplicate", 0)] {
        assert_eq!(counts[of], json!(expected), "{of}: {counts}");
    }
    assert_eq!(server.rows(&format!("SELECT COUNT(*), SUM(amount) FROM \"{table}\"")), json!([[stored, stored]]));
    let bad: BTreeMap<String, &[u8]> = (0..)
        .zip(&records)
        .filter(|(_, (fate, _))| *fate == Fate::Rejected)
        .map(|(offset, (_, bytes)): (i64, _)| (format!("{table}:0@{offset}"), bytes.as_slice()))
        .collect();
    check_letters(&server, &table, &bad);
    server.assert_no_panics();
}

#[test]
fn bad_rows_of_pushes_are_counted_and_kept_and_nothing_else_is() {
    let count = scale::count("pushed rows, one in twenty odd", 4_000, 400_000);
    let seed = scale::seed("bad_rows_of_pushes");
    let mut random = Random::new(seed);
    let (server, table) = (Setup::default().start(), unique("mix"));
    let records = mixed(&mut random, i64::try_from(count).unwrap());
    let body: Vec<u8> = records.iter().map(|(_, bytes)| bytes.as_slice()).collect::<Vec<_>>().join(&b'\n');
    let path = format!("/api/v1/push/{table}");
    // As a whole it is refused, and nothing of it is stored.
    let _ = server.post_bytes(&path, "application/x-ndjson", body.clone()).expect_error(400);
    assert_eq!(server.count(&table), 0);
    let before = server.rows(&format!("SELECT COUNT(*) FROM sys.dead_letters WHERE datasource = '{table}'"));
    assert_eq!(before, json!([[0]]), "its sender was told and has them still");
    let reply = server.post_bytes(&format!("{path}?onError=skip"), "application/x-ndjson", body).expect(200);
    let (stored, rejected) = (of_fate(&records, Fate::Stored), of_fate(&records, Fate::Rejected));
    assert_eq!((&reply["accepted"], &reply["rejected"]), (&json!(stored), &json!(rejected)), "{reply}");
    assert_eq!(stored + rejected, count);
    let bad: BTreeMap<String, &[u8]> = (1..)
        .zip(&records)
        .filter(|(_, (fate, _))| *fate == Fate::Rejected)
        .map(|(row, (_, bytes)): (i64, _)| (format!("push 0, row {row}"), bytes.as_slice()))
        .collect();
    for _ in 0..2 {
        assert_eq!(
            server.rows(&format!("SELECT COUNT(*), COUNT(DISTINCT id) FROM \"{table}\"")),
            json!([[stored, stored]])
        );
        let shown = server.get(&format!("/api/v1/tables/{table}")).expect(200);
        assert_eq!((&shown["rows"], &shown["rejected"]), (&json!(stored), &json!(rejected)), "{shown}");
        check_letters(&server, &table, &bad);
        // Published or not makes no difference.
        server.publish(&table);
        server.kill();
        server.restart();
        server.wait_until_ready();
    }
    server.assert_no_panics();
}
