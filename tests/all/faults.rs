//! Faults of what Freshet stands on: networks that cut and stall, a broker and a deep storage that go away, files that are missing or
//! damaged. What was acknowledged stays, an answer is whole or it is an error that names what is missing, and work goes on by itself.
//!
//! Counts and seeds as in `crash`: `FRESHET_TEST_SCALE`, `FRESHET_TEST_SEED`, `make soak`, docs/soak.md.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freshet_tests::cluster::{Server, Setup, unique};
use freshet_tests::events::Random;
use freshet_tests::ledger::{Ledger, Pairs, Pusher, produce, pushers, while_pushing};
use freshet_tests::proxy::{HTTP_503, Mode, Proxy, Side};
use freshet_tests::services::{self, Kafka};
use freshet_tests::{scale, wait};
use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};

use crate::kafka::{events_spec, submit};

const SEAL_OFTEN: [&str; 4] = ["--seal-rows-max", "2000", "--seal-age-ms-max", "300"];
/// How soon work goes on after an outage (P9).
const RESUMED_WITHIN: Duration = Duration::from_secs(30);

fn pause(random: &mut Random, from_ms: u64, to_ms: u64) {
    // Not a wait for something: how long a fault lasts is the random input of these tests.
    std::thread::sleep(Duration::from_millis(from_ms + random.below(to_ms - from_ms)));
}

fn publish(server: &Server, table: &str) -> freshet_tests::cluster::Answer {
    server.post(&format!("/api/v1/tables/{table}/publish"), &json!({}))
}

fn files(server: &Server, table: &str) -> Vec<Value> {
    let listed = server.get(&format!("/api/v1/tables/{table}/files")).expect(200);
    listed["files"].as_array().unwrap_or_else(|| panic!("a list of files: {listed}")).clone()
}

// --- T6: a push whose answer is lost -----------------------------------------------------------------------------------------------

#[test]
fn a_push_sent_again_is_stored_once() {
    let retries = scale::count("retries", 200, 5000);
    let seed = scale::seed("a_push_sent_again");
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let proxy = Proxy::start(&server.address());
    let (table, ledger) = (unique("again"), Ledger::new());
    let mut sources = pushers(&ledger, &proxy.address(), &table, 4, seed, 0);
    sources[0].push();
    let mut random = Random::new(seed);
    proxy.choose(move || match random.below(6) {
        0 => Mode::Pass,
        1 => Mode::CutAfter(Side::Client, random.below(3000)),
        2 => Mode::CutAfter(Side::Server, 1 + random.below(200)),
        _ => Mode::SwallowAnswers,
    });
    let mut random = Random::new(seed ^ 1);
    let done = while_pushing(&mut sources, || {
        let mut kills = 0;
        wait::until_within(Duration::from_secs(7200), "enough retries", || {
            let faults = proxy.faults();
            // A key outlives the process: some of the retries meet another one.
            if faults / 50 > kills {
                kills += 1;
                server.kill();
                server.restart();
            }
            if faults >= retries { Ok(()) } else { Err(format!("{faults} faults")) }
        });
        pause(&mut random, 0, 100);
        proxy.set(Mode::Pass);
    });
    assert!(done.retries > 0, "{done:?}");
    ledger.check_whole(&server, &table);
    server.kill();
    server.restart();
    ledger.check_whole(&server, &table);
}

#[test]
fn a_key_is_one_body_and_one_answer() {
    let server = Setup::default().start();
    let table = unique("key");
    let push = |server: &Server, key: &str, rows: Value| {
        let request = server.client().post(server.url(&format!("/api/v1/push/{table}")));
        server.send(request.header("Idempotency-Key", key).json(&rows))
    };
    let rows = json!([{"time": 0, "n": 1}, {"time": 1, "n": 2}]);
    let first = push(&server, "a", rows.clone());
    let _ = first.expect(200);
    assert_eq!(push(&server, "a", rows.clone()).json(), first.json(), "a retry gets the first answer");
    let _ = push(&server, "a", json!([{"time": 0, "n": 9}])).expect_error(422);
    server.kill();
    server.restart();
    assert_eq!(push(&server, "a", rows.clone()).json(), first.json(), "from the journal");
    let _ = push(&server, "a", json!([{"time": 0, "n": 9}])).expect_error(422);
    let _ = publish(&server, &table).expect(200);
    server.kill();
    server.restart();
    assert_eq!(push(&server, "a", rows.clone()).json(), first.json(), "from the catalog");
    let _ = push(&server, "a", json!([{"time": 0, "n": 9}])).expect_error(422);
    assert_eq!(server.rows(&format!("SELECT COUNT(*), SUM(n) FROM {table}")), json!([[2, 3]]));
    // Another key is another push, whatever is in it.
    let _ = push(&server, "b", rows).expect(200);
    assert_eq!(server.rows(&format!("SELECT COUNT(*), SUM(n) FROM {table}")), json!([[4, 6]]));
}

// --- T7: each row is counted once at every moment ----------------------------------------------------------------------------------

#[test]
fn sums_hold_at_every_moment_of_a_hand_off() {
    let seconds = scale::count("seconds of questions", 20, 3600);
    let seed = scale::seed("sums_hold");
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let (table, ledger) = (unique("moments"), Ledger::new());
    let mut sources = pushers(&ledger, &server.address(), &table, 2, seed, 0);
    sources[0].push();
    let query = format!("SELECT SUM(amount), COUNT(*) FROM \"{table}\"");
    // The largest count that any answer has shown: no question asked after it may see less.
    let (most, asked, over) = (AtomicI64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let ask = || {
        let next = || !over.load(Ordering::Relaxed);
        while next() {
            let began = Instant::now();
            let before = most.load(Ordering::SeqCst);
            let rows = server.rows(&query);
            let count = rows[0][1].as_i64().unwrap();
            assert_eq!(rows[0][0], 0, "{rows}");
            assert!(count % 2 == 0 && count >= before, "{count} rows, after an answer of {before}");
            most.fetch_max(count, Ordering::SeqCst);
            asked.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20).saturating_sub(began.elapsed()));
        }
    };
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let mut random = Random::new(seed);
    while_pushing(&mut sources, || {
        std::thread::scope(|scope| {
            let end = Over(&over);
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(seconds) && clients.iter().all(|client| !client.is_finished()) {
                let _ = publish(&server, &table).expect(200);
                pause(&mut random, 1, 400);
            }
            drop(end);
            for client in clients {
                client.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
            }
        });
    });
    println!("{} questions, {} rows, {} sealed files", asked.into_inner(), ledger.rows(), files(&server, &table).len());
    ledger.check_whole(&server, &table);
}

// --- T8: a sealed file that is not there -------------------------------------------------------------------------------------------

#[test]
fn a_missing_file_is_named_by_every_query_that_needs_it() {
    let hidden_at_most = scale::count("segments with a file hidden", 1, 100);
    let (server, table, ledger) = (Setup::default().start(), unique("missing"), Ledger::new());
    let seed = scale::seed("a_missing_file");
    let mut source = Pusher::new(&ledger, Pairs::new("s", seed), &server.address(), &table);
    for _ in 0..30 {
        source.push();
    }
    let _ = publish(&server, &table).expect(200);
    ledger.check_whole(&server, &table);
    let files = files(&server, &table);
    assert!(files.len() > 1, "the rest of a partial answer is in others: {files:?}");
    let all: u64 = files.iter().map(|file| file["rows"].as_u64().unwrap()).sum();
    for file in files.iter().take(usize::try_from(hidden_at_most).unwrap()) {
        let parquet = PathBuf::from(file["path"].as_str().unwrap());
        let segment = file["segment"].as_str().unwrap();
        for extension in ["parquet", "idx"] {
            let path = parquet.with_extension(extension);
            let hidden = path.with_extension("hidden");
            // A file that is open stays readable; another process has not opened it.
            server.kill();
            std::fs::rename(&path, &hidden).unwrap();
            server.restart();
            // Ready it is: what can be served is, and what cannot is said by each answer.
            server.wait_until_ready();
            for query in [
                format!("SELECT COUNT(*), SUM(amount) FROM \"{table}\""),
                format!("SELECT source, MAX(id) FROM \"{table}\" GROUP BY source"),
                format!("SELECT id FROM \"{table}\" ORDER BY id LIMIT 3"),
            ] {
                let ask = |partial: bool| {
                    let context = json!({"allowPartial": partial});
                    server.sql_request(&json!({"query": query, "resultFormat": "array", "context": context}))
                };
                let answer = ask(false);
                // A count alone may be answered by what the catalog knows; whoever needs the file says so.
                let message = answer.expect_error(503);
                assert!(message.contains(segment), "{query} names {segment}: {message}");
                // Who asks for what there is gets it, and the list of what there is not.
                let partial = ask(true);
                let rows = partial.expect(200);
                let marked: Value = serde_json::from_str(partial.header("x-freshet-partial").unwrap()).unwrap();
                assert_eq!(marked["segments"], json!([segment]), "{query}");
                if query.contains("COUNT") {
                    assert_eq!(rows[0][0], json!(all - file["rows"].as_u64().unwrap()), "{query}");
                }
            }
            std::fs::rename(&hidden, &path).unwrap();
            wait::until_within(RESUMED_WITHIN, "the table to be whole again", || {
                server.try_rows(&format!("SELECT SUM(id), SUM(amount) FROM \"{table}\"")).map(|_| ())
            });
            ledger.check_whole(&server, &table);
        }
    }
    server.assert_no_panics();
}

// --- T9: damage --------------------------------------------------------------------------------------------------------------------

/// All files below a folder that may hold data, sorted.
fn data_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(data_files(&path));
        } else if std::fs::metadata(&path).is_ok_and(|of| of.len() > 0) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").args(["-a".as_ref(), from.as_os_str(), to.as_os_str()]).status().unwrap().success());
}

/// What one damaged file did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    AtStart,
    ByQuery,
    Harmless,
    TornTail,
}

#[test]
fn a_changed_byte_is_found_or_harmless() {
    let flips = scale::count("damaged files", 60, 10_000);
    let seed = scale::seed("a_changed_byte");
    let mut random = Random::new(seed);
    let folder = tempfile::Builder::new().prefix("freshet-damage-").tempdir().unwrap();
    let (data, good) = (folder.path().join("data"), folder.path().join("good"));
    let (sealed, mixed) = (unique("sealed"), unique("mixed"));
    let ledgers = [Ledger::new(), Ledger::new()];
    {
        let server = Setup::default().data_dir(&data).start();
        for (table, ledger, batches) in [(&sealed, &ledgers[0], 40), (&mixed, &ledgers[1], 20)] {
            let mut source = Pusher::new(ledger, Pairs::new("s", seed), &server.address(), table);
            for _ in 0..batches {
                source.push();
            }
            let _ = publish(&server, table).expect(200);
        }
        // The rest of this table is in the journal alone.
        let mut pairs = Pairs::new("t", seed ^ 1);
        let mut source = Pusher::new(&ledgers[1], Pairs::new("unused", 0), &server.address(), &mixed);
        for _ in 0..20 {
            let batch = pairs.batch();
            source.push_batch(&batch);
        }
        for (table, ledger) in [(&sealed, &ledgers[0]), (&mixed, &ledgers[1])] {
            ledger.check_whole(&server, table);
        }
        server.kill();
    }
    copy(&data, &good);
    let query = |table: &str| {
        format!(
            "SELECT source, COUNT(*), MIN(id), MAX(id), SUM(id), SUM(amount) FROM \"{table}\" GROUP BY source ORDER BY source"
        )
    };
    let expected = {
        let server = Setup::default().data_dir(&data).start();
        [&sealed, &mixed].map(|table| server.rows_when_served(&query(table)))
    };

    let mut counts = std::collections::BTreeMap::new();
    for flip in 0..flips {
        copy(&good, &data);
        let files = data_files(&data);
        let path = &files[usize::try_from(random.below(files.len() as u64)).unwrap()];
        let mut bytes = std::fs::read(path).unwrap();
        let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        let what = if random.below(5) == 0 {
            bytes.truncate(at);
            format!("cut at {at}")
        } else {
            let bit = random.below(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at}")
        };
        std::fs::write(path, bytes).unwrap();
        let name = path.strip_prefix(&data).unwrap().display().to_string();
        let found = look(&data, [&sealed, &mixed].map(|table| (table.as_str(), query(table))), &expected)
            .unwrap_or_else(|wrong| panic!("flip {flip} of seed {seed}: {name}, {what}: {wrong}"));
        let kind = path.extension().map_or_else(|| name.clone(), |extension| extension.to_string_lossy().into_owned());
        *counts.entry((kind, found)).or_insert(0) += 1;
    }
    println!("{counts:#?}");
}

/// Starts a server over damaged files and asks every table; an error is a wrong answer.
fn look(data: &Path, tables: [(&str, String); 2], expected: &[Value; 2]) -> Result<Found, String> {
    let server = match Setup::default().data_dir(data).try_start() {
        Ok(server) => server,
        Err(reason) if reason.contains("panicked at") => return Err(reason),
        Err(_) => return Ok(Found::AtStart),
    };
    let mut found = Found::Harmless;
    for ((table, query), expected) in tables.iter().zip(expected) {
        let answer = wait::until("an answer", || {
            let request = server.client().post(server.url("/druid/v2/sql"));
            let answer = server.try_send(request.json(&json!({"query": query, "resultFormat": "array"})))?;
            if answer.status == 503 && answer.json()["errorCode"] == "RECOVERING" {
                return Err(answer.text());
            }
            Ok(answer)
        });
        if answer.status != 200 {
            let _ = answer.expect_error(answer.status);
            found = Found::ByQuery;
        } else if answer.json() != *expected {
            // The last group of records may be damaged or never have been written: nothing behind it can tell. It says that it cut.
            if server.log().contains("torn") {
                found = Found::TornTail;
                continue;
            }
            return Err(format!("{table} answers {}, not {expected}\n{}", answer.text(), server.log_end()));
        }
    }
    Ok(found)
}

// --- T12: a deep storage that goes away ----------------------------------------------------------------------------------------------

/// What the tests below stand on: the stand-in for S3 refuses to write over an object, as S3 does.
#[test]
fn the_s3_server_of_the_tests_creates_and_does_not_write_over() {
    let Some(s3) = services::s3() else { return };
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let object = format!("http://{}/{}/{}", s3.address(), s3.bucket(), unique("premise"));
    // It asks who writes, and believes the answer.
    let signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let put = |text: &'static str| {
        let request = client.put(&object).header("Authorization", signed).header("If-None-Match", "*").body(text);
        request.send().unwrap().status().as_u16()
    };
    assert_eq!((put("first"), put("second")), (200, 412));
    let stored = client.get(&object).header("Authorization", signed).send().unwrap().text().unwrap();
    assert_eq!(stored, "first");
}

fn s3_flags(proxy: &Proxy, bucket: &str, prefix: &str) -> Vec<String> {
    ["--deep-storage", &format!("s3://{bucket}/{prefix}"), "--s3-endpoint", &format!("http://{}", proxy.address())]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn a_deep_storage_that_fails_pauses_nothing_but_seals() {
    let faults = scale::count("faults of deep storage", 8, 1000);
    let seed = scale::seed("a_deep_storage_that_fails");
    let Some(s3) = services::s3() else { return };
    let mut random = Random::new(seed);
    let proxy = Proxy::start(s3.address());
    let server = Setup::default()
        .flags(&SEAL_OFTEN)
        .flags(&s3_flags(&proxy, s3.bucket(), &unique("faults")))
        .variable("AWS_ACCESS_KEY_ID", "test")
        .variable("AWS_SECRET_ACCESS_KEY", "testtest")
        .variable("AWS_REGION", "us-east-1")
        .start();
    let (table, ledger) = (unique("s3"), Ledger::new());
    let mut sources = pushers(&ledger, &server.address(), &table, 2, seed, 0);
    sources[0].push();
    while_pushing(&mut sources, || {
        for fault in 0..faults {
            let mode = match random.below(7) {
                0 => Mode::Refuse,
                1 => Mode::Stall,
                2 => Mode::Delay(Duration::from_millis(random.below(300))),
                3 => Mode::SwallowAnswers,
                4 => Mode::CutAfter(Side::Client, random.below(20_000)),
                5 => Mode::CutAfter(Side::Server, random.below(2000)),
                _ => Mode::Answer(HTTP_503),
            };
            let rows = ledger.rows();
            proxy.set(mode);
            pause(&mut random, 100, 2500);
            wait::until("pushes to be acknowledged all the same", || {
                let now = ledger.rows();
                if now > rows { Ok(()) } else { Err(format!("{now} rows under {mode:?}")) }
            });
            if random.below(5) == 0 {
                server.kill();
                proxy.set(Mode::Pass);
                server.restart();
            }
            proxy.set(Mode::Pass);
            wait::until_within(RESUMED_WITHIN, "a seal after the fault", || {
                let answer = publish(&server, &table);
                if answer.status == 200 { Ok(()) } else { Err(format!("{mode:?}: {}", answer.text())) }
            });
            ledger.check(&server, &table);
            if fault % 100 == 99 {
                println!("{} faults, {} rows", fault + 1, ledger.rows());
            }
        }
    });
    ledger.check_whole(&server, &table);
    server.kill();
    server.restart();
    ledger.check_whole(&server, &table);
    server.assert_no_panics();
}

// --- T4: Kafka ------------------------------------------------------------------------------------------------------------------------

pub(crate) fn spec_for_pairs(address: &str, topic: &str, table: &str) -> Value {
    let mut spec = events_spec(address, topic, table);
    // The rows lie in three days: an hour each would be 72 segments a seal.
    spec["spec"]["dataSchema"]["granularitySpec"]["segmentGranularity"] = json!("day");
    spec["spec"]["dataSchema"]["dimensionsSpec"]["dimensions"] = json!([
        "source",
        {"name": "id", "type": "long"},
        {"name": "amount", "type": "long"},
        {"name": "pair", "type": "long"}
    ]);
    spec
}

#[test]
fn a_broker_behind_a_bad_network_gives_each_record_once() {
    let faults = scale::count("faults of the network", 5, 500);
    let seed = scale::seed("a_broker_behind_a_bad_network");
    let Some((kafka, proxy)) = services::kafka_behind_proxy("proxied") else { return };
    let mut random = Random::new(seed);
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let (table, topic, ledger) = (unique("network"), unique("network"), Ledger::new());
    kafka.create_topic(&topic, 3);
    submit(&server, &spec_for_pairs(&proxy.address(), &topic, &table), &table);
    let plain = kafka.topic(&topic);
    let transactions = kafka.transactional_topic(&topic, &topic);
    let mut sources: Vec<_> = (0..3).map(|n| Pairs::new(&format!("p{n}"), seed + n)).collect();
    let mut aborted = Pairs::new("aborted", seed);
    let mut write = |random: &mut Random| {
        for _ in 0..20 {
            let n = random.below(3);
            let (partition, source) = (i32::try_from(n).unwrap(), &mut sources[usize::try_from(n).unwrap()]);
            match random.below(6) {
                // Never sent, as the ledger sees it: a row of it in the table is a failure.
                0 => transactions.send_in_transaction(partition, aborted.batch().records(), false),
                1 => produce(&ledger, &transactions, partition, source, true),
                _ => produce(&ledger, &plain, partition, source, false),
            }
        }
    };
    write(&mut random);
    ledger.wait_and_check_whole(&server, &table);
    for _ in 0..faults {
        let mode = match random.below(6) {
            0 => Mode::Refuse,
            1 => Mode::Stall,
            2 => Mode::Delay(Duration::from_millis(random.below(200))),
            3 => Mode::SwallowAnswers,
            4 => Mode::CutAfter(Side::Client, random.below(2000)),
            _ => Mode::CutAfter(Side::Server, random.below(20_000)),
        };
        println!("{mode:?}");
        proxy.set(mode);
        write(&mut random);
        pause(&mut random, 50, 1500);
        if random.below(4) == 0 {
            server.kill();
            server.restart();
        }
        proxy.set(Mode::Pass);
        ledger.wait_and_check_whole(&server, &table);
    }
    server.kill();
    server.restart();
    ledger.wait_and_check_whole(&server, &table);
    server.assert_no_panics();
}

#[test]
fn brokers_that_go_and_leaders_that_move_give_each_record_once() {
    let faults = scale::count("faults of brokers", 5, 200);
    let seed = scale::seed("brokers_that_go");
    let mut random = Random::new(seed);
    let brokers = MockCluster::new(3).unwrap();
    let kafka = Kafka::at(&brokers.bootstrap_servers());
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let (table, topic, ledger) = (unique("brokers"), unique("brokers"), Ledger::new());
    brokers.create_topic(&topic, 2, 3).unwrap();
    submit(&server, &spec_for_pairs(kafka.address(), &topic, &table), &table);
    let mut sources: Vec<_> = (0..2).map(|n| Pairs::new(&format!("p{n}"), seed + n)).collect();
    let mut write = |random: &mut Random| {
        // A new one each time: what is tested is who reads, and a writer that stays may lose sight of these brokers for minutes.
        let writer = kafka.topic(&topic);
        for _ in 0..10 {
            let n = random.below(2);
            let source = &mut sources[usize::try_from(n).unwrap()];
            produce(&ledger, &writer, i32::try_from(n).unwrap(), source, false);
        }
    };
    write(&mut random);
    ledger.wait_and_check_whole(&server, &table);
    for _ in 0..faults {
        let broker = 1 + i32::try_from(random.below(3)).unwrap();
        match random.below(3) {
            0 => {
                println!("broker {broker} down");
                brokers.broker_down(broker).unwrap();
                pause(&mut random, 50, 1500);
                brokers.broker_up(broker).unwrap();
            }
            1 => {
                println!("partition 0 led by {broker}");
                brokers.partition_leader(&topic, 0, Some(broker)).unwrap();
            }
            _ => {
                println!("broker {broker} slow");
                brokers.broker_round_trip_time(broker, Duration::from_millis(random.below(800))).unwrap();
            }
        }
        write(&mut random);
        if random.below(4) == 0 {
            server.kill();
            server.restart();
        }
        brokers.broker_round_trip_time(broker, Duration::ZERO).unwrap();
        ledger.wait_and_check_whole(&server, &table);
    }
    server.assert_no_panics();
}
