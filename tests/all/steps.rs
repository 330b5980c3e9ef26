//! A kill at each step of what an operator asks for: tables made and dropped, supervisors posted, suspended, resumed, ended and reset,
//! a journal repaired, a catalog made again, local copies fetched and evicted, and the start itself. Afterwards the old state stands or
//! the new one, whole, and asking again brings the new one.
//!
//! The places of pushes are walked in `crash`, those of topics in `streams`, those of the care in `care`.

use std::path::PathBuf;

use freshet_segment::failpoint;
use freshet_tests::cluster::{Server, Setup, command, unique};
use freshet_tests::{services, wait};
use serde_json::{Value, json};

use crate::care::CARE;

/// Rows are sealed when a test says so.
const SEAL_NEVER: [&str; 6] =
    ["--seal-rows-max", "1000000000", "--seal-age-ms-max", "86400000", "--seal-bytes-max", "100000000000"];

/// How the names of the places begin at which this module kills.
pub(crate) const STEPS: [&str; 7] = ["table.", "spec.", "reset.", "recovery.", "repair.", "rebuild.", "copies."];

fn named(room: &str) -> Vec<&'static str> {
    let names: Vec<_> = failpoint::names().iter().copied().filter(|name| name.starts_with(room)).collect();
    assert!(!names.is_empty(), "{room}");
    names
}

#[test]
fn there_are_at_least_sixty_named_places_and_each_belongs_to_a_walk() {
    assert!(failpoint::names().len() >= 60, "{}", failpoint::names().len());
    // What is in none of the others is of pushes; `crash` fails when it does not reach one of them.
    let of_pushes = ["journal.", "catalog.", "seal.", "upload.", "push.", "publish."];
    let walks = [&of_pushes[..], &CARE[..], &STEPS[..], &["stream."]].concat();
    for name in failpoint::names() {
        let walked = walks.iter().filter(|room| name.starts_with(**room)).count();
        assert_eq!(walked, 1, "{name}");
    }
}

fn push(server: &Server, table: &str, from: i64, to: i64) -> Result<(), String> {
    let lines: Vec<String> = (from..to).map(|n| json!({"ts": n, "n": n}).to_string()).collect();
    let url = server.url(&format!("/api/v1/push/{table}"));
    let request = server.client().post(url).header("content-type", "application/x-ndjson");
    let key = format!("{table} {from}");
    let answer = server.try_send(request.header("idempotency-key", key).body(lines.join("\n")))?;
    if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
}

fn push_until_taken(server: &Server, table: &str, from: i64, to: i64) {
    wait::until("a push to be taken", || push(server, table, from, to));
}

fn numbers(server: &Server, table: &str) -> Value {
    server.rows_when_served(&format!("SELECT COUNT(*), SUM(n) FROM \"{table}\""))
}

fn sums(range: std::ops::Range<i64>) -> Value {
    json!([[range.end - range.start, range.sum::<i64>()]])
}

/// Starts with a named place armed; says whether the process has ended there, on the way up or through `deed`.
fn die_at(server: &Server, name: &str, deed: impl Fn(&Server) -> bool) {
    if server.try_restart(&[("FRESHET_FAILPOINTS", &format!("{name}=exit"))]).is_ok() {
        assert!(!deed(server), "{name}: it answers");
        wait::until_equal(&format!("the end at {name}"), &true, || server.ended().is_some());
    }
}

#[test]
fn a_table_is_made_or_not_dropped_or_not() {
    let server = Setup::default().flags(&SEAL_NEVER).start();
    for name in named("table.") {
        let table = unique("tables");
        if name != "table.made" {
            server.push(&table, &[json!({"ts": 1, "n": 1})]);
            server.publish(&table);
            server.push(&table, &[json!({"ts": 2, "n": 2})]);
        }
        server.kill();
        let path = format!("/api/v1/tables/{table}");
        die_at(&server, name, |server| {
            if name == "table.made" {
                return push(server, &table, 0, 10).is_ok();
            }
            server.wait_until_ready();
            server.try_send(server.client().delete(server.url(&path))).is_ok()
        });
        server.restart();
        server.wait_until_ready();
        if name == "table.drop" {
            assert_eq!(numbers(&server, &table), json!([[2, 3]]), "nothing was done");
            let _ = server.delete(&path).expect(200);
        }
        if name != "table.made" {
            let _ = server.get(&path).expect_error(404);
        }
        // One of this name begins empty; what was sent to a table that was just made is sent again.
        push_until_taken(&server, &table, 0, 10);
        assert_eq!(numbers(&server, &table), sums(0..10), "{name}");
        let shown = server.get(&path).expect(200);
        assert_eq!((&shown["counts"]["read"], &shown["counts"]["stored"]), (&json!(10), &json!(10)), "{name}");
        server.kill();
        server.restart();
        server.wait_until_ready();
        assert_eq!(numbers(&server, &table), sums(0..10), "{name}: after one more start");
    }
    check_catalog(&server);
}

fn check_catalog(server: &Server) {
    assert!(server.terminate().success());
    let output = command(&["catalog", "check", "--data-dir", server.data_dir().to_str().unwrap(), "--deep"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A supervisor whose brokers are not there: what is asked of it is between it and the catalog.
fn spec(table: &str, columns: &[&str]) -> Value {
    json!({"type": "kafka", "spec": {
        "dataSchema": {"dataSource": table, "timestampSpec": {"column": "time", "format": "auto"},
            "dimensionsSpec": {"dimensions": columns}, "granularitySpec": {"segmentGranularity": "hour", "rollup": false}},
        "ioConfig": {"topic": table, "inputFormat": {"type": "json"}, "useEarliestOffset": true,
            "consumerProperties": {"bootstrap.servers": "127.0.0.1:1"}},
    }})
}

/// `None` when there is none; else whether it is suspended, and its columns.
fn supervisor(server: &Server, id: &str) -> Option<(bool, Value)> {
    let answer = server.get(&format!("/druid/indexer/v1/supervisor/{id}"));
    if answer.status == 404 {
        return None;
    }
    let shown = answer.expect(200);
    let suspended = shown["suspended"].as_bool().unwrap();
    Some((suspended, shown["spec"]["dataSchema"]["dimensionsSpec"]["dimensions"].clone()))
}

#[test]
fn a_supervisor_is_the_old_one_or_the_new_one() {
    let server = Setup::default().flags(&SEAL_NEVER).start();
    let (old, new) = (json!(["a"]), json!(["a", "b"]));
    for name in named("spec.").into_iter().chain(named("reset.")) {
        println!("{name}");
        let id = unique("steps");
        let path = format!("/druid/indexer/v1/supervisor/{id}");
        let _ = server.post("/druid/indexer/v1/supervisor", &spec(&id, &["a"])).expect(200);
        if name == "spec.resumed" {
            let _ = server.post(&format!("{path}/suspend"), &json!({})).expect(200);
        }
        let before = supervisor(&server, &id).unwrap();
        server.kill();
        let (deed, body) = match name {
            "spec.declared" | "spec.stored" => ("/druid/indexer/v1/supervisor".to_owned(), spec(&id, &["a", "b"])),
            "spec.suspended" => (format!("{path}/suspend"), json!({})),
            "spec.resumed" => (format!("{path}/resume"), json!({})),
            "spec.terminated" => (format!("{path}/terminate"), json!({})),
            _ => (format!("{path}/reset"), json!({})),
        };
        // A start puts supervisors back by the same way, and passes the first two of the places on it.
        let pass = if deed.ends_with("supervisor") { 1 + supervisors(&server) } else { 1 };
        let armed = format!("{name}=exit@{pass}");
        server.try_restart(&[("FRESHET_FAILPOINTS", &armed)]).unwrap();
        let answer = server.try_send(server.client().post(server.url(&deed)).json(&body));
        assert!(answer.is_err(), "{name}: {}", answer.unwrap().text());
        wait::until_equal(&format!("the end at {name}"), &true, || server.ended().is_some());
        server.restart();
        let after = supervisor(&server, &id);
        match name {
            "spec.declared" => assert_eq!(after, Some((false, old.clone()))),
            "spec.stored" => assert_eq!(after, Some((false, new.clone()))),
            "spec.resumed" => assert_eq!((before.0, after), (true, Some((false, old.clone())))),
            _ => assert_eq!(after, Some(before), "{name}: nothing was done"),
        }
        // Asked again it is done.
        let again = server.post(&deed, &body);
        assert!(again.status == 200 || name == "spec.resumed", "{name}: {}", again.text());
        let expected = match name {
            "spec.declared" | "spec.stored" => Some((false, new.clone())),
            "spec.suspended" => Some((true, old.clone())),
            "spec.terminated" => None,
            _ => Some((false, old.clone())),
        };
        assert_eq!(supervisor(&server, &id), expected, "{name}");
        server.kill();
        server.restart();
        assert_eq!(supervisor(&server, &id), expected, "{name}: after one more start");
        if expected.is_some() {
            let _ = server.post(&format!("{path}/terminate"), &json!({})).expect(200);
        }
    }
    check_catalog(&server);
}

/// How many supervisors the dead server's catalog holds: one in this test.
fn supervisors(_server: &Server) -> usize {
    1
}

#[test]
fn a_start_that_is_killed_is_followed_by_one_that_is_whole() {
    let server = Setup::default().flags(&SEAL_NEVER).start();
    let tables = [unique("starts"), unique("starts")];
    for table in &tables {
        push_until_taken(&server, table, 0, 50);
        server.publish(table);
        push_until_taken(&server, table, 50, 80);
    }
    for name in named("recovery.") {
        for pass in 1..=2 {
            server.kill();
            let armed = format!("{name}=exit@{pass}");
            let started = server.try_restart(&[("FRESHET_FAILPOINTS", &armed)]);
            // Tables are taken up one by one, leases once.
            let reached = started.is_err() || server.ended().is_some();
            assert_eq!(reached, pass == 1 || name == "recovery.table", "{armed}");
            server.kill();
            server.restart();
            server.wait_until_ready();
            for table in &tables {
                assert_eq!(numbers(&server, table), sums(0..80), "{armed}");
                let shown = server.get(&format!("/api/v1/tables/{table}")).expect(200);
                assert_eq!((&shown["counts"]["read"], &shown["counts"]["stored"]), (&json!(80), &json!(80)), "{armed}");
            }
        }
    }
    server.assert_no_panics();
}

fn offline(server: &Server, arguments: &[&str], armed: Option<&str>) -> (bool, String) {
    let folder = server.data_dir();
    let all = [arguments, &["--data-dir", folder.to_str().unwrap()]].concat();
    let mut command = command(&all);
    if let Some(name) = armed {
        command.env("FRESHET_FAILPOINTS", format!("{name}=exit"));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

fn journal_file(server: &Server) -> PathBuf {
    let folder = std::fs::read_dir(server.data_dir().join("journal")).unwrap().next().unwrap().unwrap().path();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "jrnl")).collect();
    files.sort();
    files.pop().unwrap()
}

#[test]
fn a_repair_of_a_journal_that_is_killed_can_be_run_again() {
    for name in named("repair.") {
        let (server, table) = (Setup::default().flags(&SEAL_NEVER).start(), unique("repair"));
        for part in 0..3 {
            push_until_taken(&server, &table, part * 10, (part + 1) * 10);
        }
        server.kill();
        let path = journal_file(&server);
        let mut bytes = std::fs::read(&path).unwrap();
        let wanted = b"{\"n\":15,";
        let other = b"\"n\":15}";
        let at = bytes.windows(7).position(|part| part == other || part == &wanted[..7]).expect("the second body");
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        server.restart();
        let refused = wait::until("the damage to be named", || {
            match server.try_rows(&format!("SELECT COUNT(*) FROM \"{table}\"")) {
                Err(text) if text.contains("TABLE_INCOMPLETE") => Ok(text),
                other => Err(format!("{other:?}")),
            }
        });
        assert!(refused.contains("journal"), "{refused}");
        server.kill();
        let (ok, said) = offline(&server, &["journal", "repair"], Some(name));
        assert!(!ok, "{name}: {said}");
        // Cut off it has lost nothing more, and either shows the damage still or is done.
        let (ok, said) = offline(&server, &["journal", "examine"], None);
        assert_eq!(ok, name == "repair.placed", "{name}: {said}");
        let (ok, said) = offline(&server, &["journal", "repair"], None);
        assert!(ok, "{name}: {said}");
        server.restart();
        server.wait_until_ready();
        assert_eq!(
            numbers(&server, &table),
            json!([[20, 45 + 245]]),
            "{name}: the record that was damaged is given up, no other"
        );
        let shown = server.get(&format!("/api/v1/tables/{table}")).expect(200);
        assert_eq!((&shown["counts"]["read"], &shown["counts"]["stored"]), (&json!(20), &json!(20)), "{shown}");
        push_until_taken(&server, &table, 30, 40);
        assert_eq!(numbers(&server, &table)[0][0], 30);
    }
}

#[test]
fn a_catalog_that_is_made_again_is_there_or_its_making_can_be_run_again() {
    for name in named("rebuild.") {
        let (server, table) = (Setup::default().flags(&SEAL_NEVER).start(), unique("rebuild"));
        push_until_taken(&server, &table, 0, 50);
        server.publish(&table);
        let ran = server.post("/api/v1/duties/catalog-copy/run", &json!({})).expect(200);
        assert_eq!(ran["error"], Value::Null, "{ran}");
        server.kill();
        let (ok, said) = offline(&server, &["catalog", "rebuild"], Some(name));
        assert!(!ok, "{name}: {said}");
        let started = server.try_restart(&[]);
        if name == "rebuild.aside" {
            let refused = started.expect_err("there is no catalog");
            assert!(refused.contains("freshet catalog rebuild"), "{refused}");
        } else {
            started.unwrap();
            assert_eq!(numbers(&server, &table), sums(0..50), "{name}");
            server.kill();
        }
        let (ok, said) = offline(&server, &["catalog", "rebuild"], None);
        assert!(ok && said.contains("1 tables"), "{name}: {said}");
        server.restart();
        assert_eq!(numbers(&server, &table), sums(0..50), "{name}");
        check_catalog(&server);
    }
}

#[test]
fn copies_of_remote_files_are_bounded_and_a_kill_among_them_costs_nothing() {
    let Some(s3) = services::s3() else { return };
    let place = format!("s3://{}/{}", s3.bucket(), unique("copies"));
    let endpoint = format!("http://{}", s3.address());
    // Room for two or three of the six segments.
    let bounds = ["--merge-rows-target", "0", "--local-bytes-max", "20000"];
    let remote = ["--deep-storage", &place, "--s3-endpoint", &endpoint];
    let flags = [&SEAL_NEVER[..], &bounds, &remote].concat();
    let setup = Setup::default().flags(&flags).variable("AWS_ACCESS_KEY_ID", "test");
    let server = setup.variable("AWS_SECRET_ACCESS_KEY", "test").start();
    let table = unique("copies");
    let each = 600_i64;
    for day in 0..6_i64 {
        let rows: Vec<Value> = (0..each)
            .map(|n| json!({"ts": day * 86_400_000 + n, "n": day * each + n, "text": format!("{:x}", (n * 7919 + day) % 10_007)}))
            .collect();
        server.push(&table, &rows);
        server.publish(&table);
    }
    let local = server.data_dir().join("local");
    let taken = || -> u64 {
        let files = std::fs::read_dir(&local).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
    };
    let ask_each = |server: &Server| {
        for day in 0..6_i64 {
            let query = format!(
                "SELECT COUNT(*), SUM(n), COUNT(DISTINCT \"text\") FROM \"{table}\" \
                 WHERE __time >= MILLIS_TO_TIMESTAMP({}) AND __time < MILLIS_TO_TIMESTAMP({})",
                day * 86_400_000,
                (day + 1) * 86_400_000
            );
            let rows = server.try_rows(&query)?;
            let first = day * each;
            assert_eq!(rows, json!([[each, (first..first + each).sum::<i64>(), each]]));
        }
        Ok::<(), String>(())
    };
    ask_each(&server).unwrap();
    assert!((1..=20_000).contains(&taken()), "{} bytes of copies", taken());
    // One query over all needs all of them at once.
    assert_eq!(numbers(&server, &table), sums(0..6 * each));
    for name in named("copies.") {
        server.kill();
        server.try_restart(&[("FRESHET_FAILPOINTS", &format!("{name}=exit@2"))]).unwrap();
        server.wait_until_ready();
        assert!(ask_each(&server).is_err(), "{name}");
        wait::until_equal(&format!("the end at {name}"), &true, || server.ended().is_some());
        server.restart();
        server.wait_until_ready();
        ask_each(&server).unwrap();
        assert_eq!(numbers(&server, &table), sums(0..6 * each), "{name}");
    }
    ask_each(&server).unwrap();
    let ran = server.post("/api/v1/duties/cleanup/run", &json!({})).expect(200);
    assert_eq!(ran["error"], Value::Null, "{ran}");
    wait::until("copies to be within their bound", || match taken() {
        taken if taken <= 20_000 => Ok(()),
        taken => Err(format!("{taken}")),
    });
    server.assert_no_panics();
}
