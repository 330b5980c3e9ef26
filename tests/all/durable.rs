//! What survives, as a user asks for it: pushes through a kill, retries with a key, sealed files, and a table that says that it is not
//! back yet. The faults at every single step are in `crash` and `faults`.

use std::path::PathBuf;

use freshet_tests::cluster::{Answer, Server, Setup, command, unique};
use freshet_tests::events::{Events, Oracle, lines};
use freshet_tests::wait;
use serde_json::{Value, json};

/// Leaves everything in memory and in the journal.
const SEAL_NEVER: [&str; 6] =
    ["--seal-rows-max", "1000000000", "--seal-age-ms-max", "86400000", "--seal-bytes-max", "100000000000"];

fn push_with_key(server: &Server, table: &str, key: &str, body: &Value) -> Answer {
    let request = server.client().post(server.url(&format!("/api/v1/push/{table}")));
    server.send(request.header("Idempotency-Key", key).json(body))
}

fn publish(server: &Server, table: &str) -> Value {
    server.post(&format!("/api/v1/tables/{table}/publish"), &json!({})).expect(200)
}

fn files(server: &Server, table: &str) -> Vec<Value> {
    let listed = server.get(&format!("/api/v1/tables/{table}/files")).expect(200);
    listed["files"].as_array().unwrap().clone()
}

fn until_served(server: &Server, table: &str) {
    let _ = server.rows_when_served(&format!("SELECT COUNT(*) FROM \"{table}\""));
}

/// Runs a subcommand to its end: whether it went well, and all it said.
fn run(arguments: &[&str]) -> (bool, String) {
    let output = command(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

#[test]
fn what_was_pushed_is_there_after_a_kill_sealed_or_not() {
    let (server, table) = (Setup::default().flags(&SEAL_NEVER).start(), unique("kept"));
    let events: Vec<_> = Events::new("kept", 5).take(6_000).collect();
    let (first, rest) = events.split_at(4_000);
    let mut oracle = Oracle::default();
    server.push_lines(&table, lines(first));
    oracle.add(first);
    let published = publish(&server, &table);
    assert_eq!(published["rows"], 4_000, "{published}");
    server.push_lines(&table, lines(rest));
    oracle.add(rest);
    oracle.check(&server, &table);
    for _ in 0..2 {
        server.kill();
        server.restart();
        until_served(&server, &table);
        oracle.check(&server, &table);
        let shown = server.get(&format!("/api/v1/tables/{table}")).expect(200);
        assert_eq!(
            (&shown["rows"], &shown["sealedRows"], &shown["growingRows"]),
            (&json!(6_000), &json!(4_000), &json!(2_000))
        );
        assert!(shown["storedBytes"].as_u64().unwrap() > 0, "{shown}");
        assert_eq!((&shown["recovering"], &shown["sources"]), (&Value::Null, &json!(["push"])));
    }
    // A clean end is no other than a kill.
    assert!(server.terminate().success());
    server.restart();
    until_served(&server, &table);
    oracle.check(&server, &table);
    // Its number goes on: what is pushed now is not taken for something older.
    server.push(&table, &[json!({"time": "2026-01-01T00:00:00Z"})]);
    assert_eq!(server.count(&table), 6_001);
    server.assert_no_panics();
}

#[test]
fn a_retry_with_the_same_key_is_stored_once_and_gets_the_first_answer() {
    let (server, table) = (Setup::default().flags(&SEAL_NEVER).start(), unique("keys"));
    let body = json!([{"ts": 1, "n": 1}, {"ts": 2, "n": 2}]);
    let first = push_with_key(&server, &table, "a", &body).expect(200);
    assert_eq!(first["accepted"], 2);
    assert_eq!(push_with_key(&server, &table, "a", &body).expect(200), first);
    let reused = push_with_key(&server, &table, "a", &json!([{"ts": 3}]));
    assert!(reused.expect_error(422).contains("`a`"), "{}", reused.text());
    assert_eq!(push_with_key(&server, &table, "b", &body).expect(200)["accepted"], 2);
    assert_eq!(server.count(&table), 4);
    // From the journal, then from the catalog.
    for seal in [false, true] {
        if seal {
            publish(&server, &table);
        }
        server.kill();
        server.restart();
        until_served(&server, &table);
        assert_eq!(push_with_key(&server, &table, "a", &body).expect(200), first, "sealed: {seal}");
        let _ = push_with_key(&server, &table, "a", &json!([{"ts": 3}])).expect_error(422);
        assert_eq!(server.count(&table), 4, "sealed: {seal}");
    }
    let _ = push_with_key(&server, &table, &"x".repeat(256), &body).expect_error(400);
}

#[test]
fn the_moment_of_the_answer_can_be_chosen() {
    let (server, table) = (Setup::default().flags(&SEAL_NEVER).start(), unique("acks"));
    let push = |query: &str| {
        server.post(&format!("/api/v1/push/{table}?{query}"), &json!({"ts": "2026-01-01T00:00:00Z", "n": 1}))
    };
    for query in ["ack=journal&wait=visible", "ack=memory"] {
        assert_eq!(push(query).expect(200)["accepted"], 1, "{query}");
        assert!(files(&server, &table).is_empty(), "{query}");
    }
    assert_eq!(push("wait=published").expect(200)["accepted"], 1);
    let rows: u64 = files(&server, &table).iter().map(|file| file["rows"].as_u64().unwrap()).sum();
    assert_eq!((rows, server.count(&table)), (3, 3), "what came before is published with it");
    let _ = push("ack=memory&wait=published").expect_error(400);
    let _ = push("ack=disk").expect_error(400);
}

#[test]
fn sealed_files_are_listed_where_they_are() {
    let (server, table) = (Setup::default().start(), unique("listed"));
    let events: Vec<_> = Events::new("listed", 9).take(3_000).collect();
    server.push_lines(&table, lines(&events));
    assert!(files(&server, &table).is_empty());
    let published = publish(&server, &table);
    let listed = files(&server, &table);
    assert_eq!(published["published"].as_array().unwrap().len(), listed.len(), "{published}");
    assert_eq!(publish(&server, &table)["rows"], 0, "nothing is left to publish");
    let mut rows = 0;
    for file in &listed {
        let path = PathBuf::from(file["path"].as_str().unwrap());
        assert!(path.is_absolute(), "{file}");
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(file["bytes"], json!(bytes.len()));
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{file}");
        let output = std::process::Command::new("sha256sum").arg(&path).output().unwrap();
        let sum = String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap().to_owned();
        assert_eq!(file["sha256"], json!(sum));
        rows += file["rows"].as_u64().unwrap();
    }
    assert_eq!(rows, 3_000);
    let url = format!("http://{}", server.address());
    let (ok, said) = run(&["files", &table, "--url", &url]);
    let paths: Vec<&str> = said.lines().collect();
    assert!(ok, "{said}");
    assert_eq!(paths, listed.iter().map(|file| file["path"].as_str().unwrap()).collect::<Vec<_>>());
    let (ok, said) = run(&["files", "no_such_table", "--url", &url]);
    assert!(!ok && said.contains("no_such_table"), "{said}");
    // Segments are a table too, and what they say agrees.
    assert_eq!(
        server.rows(&format!(
            "SELECT SUM(num_rows), MIN(is_published), MAX(is_realtime), COUNT(*) FROM sys.segments WHERE datasource = '{table}'"
        )),
        json!([[3_000, 1, 0, listed.len()]])
    );
}

#[test]
fn a_segment_that_cannot_be_read_is_named_or_listed_as_missing() {
    let (server, table) = (Setup::default().flags(&SEAL_NEVER).start(), unique("partial"));
    // Two days are two segments.
    server
        .push(&table, &[json!({"ts": "2026-01-01T00:00:00Z", "n": 1}), json!({"ts": "2026-01-02T00:00:00Z", "n": 2})]);
    publish(&server, &table);
    server.push(&table, &[json!({"ts": "2026-01-02T01:00:00Z", "n": 4})]);
    let listed = files(&server, &table);
    assert_eq!(listed.len(), 2, "{listed:?}");
    server.kill();
    let hidden = &listed[0];
    let (segment, path) = (hidden["segment"].as_str().unwrap(), PathBuf::from(hidden["path"].as_str().unwrap()));
    std::fs::rename(&path, path.with_extension("hidden")).unwrap();
    server.restart();
    until_served(&server, &table);
    let ask = |sql: &str, partial: bool| {
        server.sql_request(&json!({"query": sql, "resultFormat": "array", "context": {"allowPartial": partial}}))
    };
    let sum = format!("SELECT SUM(n) FROM {table}");
    let refused = ask(&sum, false);
    let message = refused.expect_error(503);
    assert!(message.contains(segment), "{message}");
    assert!(!refused.text().contains(".parquet"), "no path leaves the server: {}", refused.text());
    assert!(refused.header("retry-after").is_some());
    for sql in
        [sum.clone(), format!("SELECT n FROM {table} ORDER BY n DESC LIMIT 9"), format!("SELECT COUNT(*) FROM {table}")]
    {
        let partial = ask(&sql, true);
        assert_eq!(partial.status, 200, "{}", partial.text());
        let list: Value = serde_json::from_str(partial.header("x-freshet-partial").unwrap()).unwrap();
        assert_eq!(list["segments"], json!([segment]), "{sql}");
        let druids: Value = serde_json::from_str(partial.header("x-druid-response-context").unwrap()).unwrap();
        assert_eq!(druids["missingSegments"].as_array().unwrap().len(), 1, "{druids}");
    }
    let lost: i64 = if hidden["interval"].as_str().unwrap().starts_with("2026-01-01") { 1 } else { 2 };
    assert_eq!(ask(&sum, true).expect(200), json!([[7 - lost]]));
    // What does not need it is answered, and unmarked.
    let day = if lost == 1 { 2 } else { 1 };
    let other =
        format!("{sum} WHERE __time >= TIMESTAMP '2026-01-0{day}' AND __time < TIMESTAMP '2026-01-0{}'", day + 1);
    let whole = ask(&other, true);
    assert_eq!((whole.status, whole.header("x-freshet-partial")), (200, None), "{}", whole.text());
    std::fs::rename(path.with_extension("hidden"), &path).unwrap();
    wait::until("the table to be whole again", || match ask(&sum, false) {
        answer if answer.status == 200 => {
            assert_eq!(answer.json(), json!([[7]]));
            Ok(())
        }
        answer => Err(answer.text()),
    });
}

#[test]
fn a_start_is_live_at_once_and_ready_when_all_is_back() {
    let (server, table) = (Setup::default().flags(&SEAL_NEVER).start(), unique("ready"));
    let events: Vec<_> = Events::new("ready", 3).take(40_000).collect();
    for part in events.chunks(10_000) {
        server.push_lines(&table, lines(part));
    }
    let count = format!("SELECT COUNT(*) FROM {table}");
    for _ in 0..2 {
        server.kill();
        server.spawn_again(&[]);
        let mut live_first = false;
        wait::until("the server to be ready", || {
            let live = server.try_send(server.client().get(server.url("/health/live")))?;
            assert_eq!(live.expect(200)["live"], true);
            let answer = server.try_send(
                server
                    .client()
                    .post(server.url("/druid/v2/sql"))
                    .json(&json!({"query": count, "resultFormat": "array"})),
            )?;
            match answer.status {
                200 => assert_eq!(answer.json(), json!([[40_000]]), "whole or no answer"),
                503 => {
                    live_first = true;
                    assert_eq!(answer.json()["errorCode"], "RECOVERING", "{}", answer.text());
                    assert!(answer.header("retry-after").is_some());
                }
                _ => panic!("{}: {}", answer.status, answer.text()),
            }
            let ready = server.try_send(server.client().get(server.url("/health/ready")))?;
            if ready.status == 200 { Ok(()) } else { Err(ready.text()) }
        });
        println!("seen while it was recovering: {live_first}");
        assert_eq!(server.count(&table), 40_000, "ready means that queries are answered");
        assert_eq!(server.get(&format!("/health/ready?table={table}")).status, 200);
    }
}

#[test]
fn the_demo_goes_on_after_a_restart() {
    let server = Server::start(&["--demo", "--demo-rate", "20"]);
    let filled = |server: &Server| {
        wait::until("the history to be there", || {
            let state = server.get("/api/v1/demo").expect(200);
            if state["backfilled"] == true { Ok(()) } else { Err(state.to_string()) }
        });
    };
    filled(&server);
    server.kill();
    server.restart();
    filled(&server);
    until_served(&server, "demo");
    // Twice the history would be twice the rows of a minute that lies well within it.
    let per_minute = server.sql(
        "SELECT TIME_FLOOR(__time, 'PT1M') AS m, COUNT(*) AS n FROM demo \
         WHERE __time < CURRENT_TIMESTAMP - INTERVAL '5' MINUTE GROUP BY 1 ORDER BY 2 DESC LIMIT 1",
    );
    let most = per_minute[0][1].as_i64().unwrap();
    assert!(most < 20 * 60 * 3 / 2, "{per_minute:?}");
    server.assert_no_panics();
}

#[test]
fn a_supervisor_is_there_after_a_restart() {
    let (server, table) = (Setup::default().start(), unique("sup"));
    let spec = json!({"type": "kafka", "spec": {
        "dataSchema": {"dataSource": table, "granularitySpec": {"rollup": false}},
        "ioConfig": {"topic": "nothing", "inputFormat": {"type": "json"}, "onDataLoss": "skip",
            "consumerProperties": {"bootstrap.servers": "127.0.0.1:1", "sasl.password": "canary"}},
    }});
    let path = format!("/druid/indexer/v1/supervisor/{table}");
    let _ = server.post("/druid/indexer/v1/supervisor", &spec).expect(200);
    let _ = server.post(&format!("{path}/suspend"), &json!({})).expect(200);
    server.kill();
    server.restart();
    assert_eq!(server.get("/druid/indexer/v1/supervisor").expect(200), json!([table]));
    let kept = server.get(&path).expect(200);
    assert_eq!((&kept["suspended"], &kept["spec"]["ioConfig"]["onDataLoss"]), (&json!(true), &json!("skip")));
    assert!(!kept.to_string().contains("canary"), "{kept}");
    let _ = server.post(&format!("{path}/terminate"), &json!({})).expect(200);
    server.kill();
    server.restart();
    assert_eq!(server.get("/druid/indexer/v1/supervisor").expect(200), json!([]));
}

#[test]
fn the_catalog_is_checked_copied_and_made_again() {
    let (server, table) = (Setup::default().flags(&SEAL_NEVER).start(), unique("catalog"));
    let events: Vec<_> = Events::new("catalog", 1).take(2_000).collect();
    server.push_lines(&table, lines(&events));
    publish(&server, &table);
    let data = server.data_dir();
    let data = data.to_str().unwrap();
    for offline in [&["catalog", "check"][..], &["catalog", "export"], &["journal", "examine"]] {
        let (ok, said) = run(&[offline, &["--data-dir", data]].concat());
        assert!(!ok && said.contains("in use by another freshet"), "{offline:?}: {said}");
    }
    assert!(server.terminate().success());
    let (ok, said) = run(&["catalog", "check", "--data-dir", data, "--deep"]);
    assert!(ok, "{said}");
    let (ok, said) = run(&["journal", "examine", "--data-dir", data, "--table", &table]);
    assert!(ok && said.contains(&table), "{said}");
    let copy = server.data_dir().join("copy.jsonl");
    let (ok, said) = run(&["catalog", "export", "--data-dir", data, "--out", copy.to_str().unwrap()]);
    assert!(ok, "{said}");
    std::fs::remove_file(server.data_dir().join("catalog.db")).unwrap();
    let (ok, said) = run(&["catalog", "rebuild", "--data-dir", data, "--from", copy.to_str().unwrap()]);
    assert!(ok, "{said}");
    server.restart();
    until_served(&server, &table);
    Oracle::of(&events).check(&server, &table);

    // One damaged and one missing file are found by name.
    let listed = files(&server, &table);
    let path = PathBuf::from(listed[0]["path"].as_str().unwrap());
    assert!(server.terminate().success());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let (ok, said) = run(&["catalog", "check", "--data-dir", data]);
    assert!(ok, "lengths are right: {said}");
    let (ok, said) = run(&["catalog", "check", "--data-dir", data, "--deep"]);
    assert!(!ok && said.contains(name) && said.contains("damaged"), "{said}");
    std::fs::remove_file(&path).unwrap();
    let (ok, said) = run(&["catalog", "check", "--data-dir", data]);
    assert!(!ok && said.contains(name) && said.contains("missing"), "{said}");
    let (ok, said) = run(&["catalog", "check", "--data-dir", "/no/such/folder"]);
    assert!(!ok && said.contains("no data directory"), "{said}");
}
