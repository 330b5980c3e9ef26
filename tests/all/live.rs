//! The live socket: what a subscription shows equals what SQL answers, whatever was pushed in between.

use std::time::Duration;

use freshet_tests::cluster::{Server, shared, unique};
use freshet_tests::events::{self, Events};
use freshet_tests::live::{ERROR, Frame, Live, SNAPSHOT, STATUS, State};
use freshet_tests::wait;
use serde_json::{Value, json};

/// Fixed range of event time that holds all generated events.
const FROM: &str = "2026-01-01T00:00:00Z";
const TO: &str = "2026-01-02T00:00:00Z";

fn subscription(id: u32, table: &str, sql: &str) -> Value {
    json!({"op": "sub", "id": id, "kind": "query", "table": table, "sql": sql,
        "range": {"from": FROM, "to": TO}, "refreshMs": 100})
}

/// Takes and acknowledges frames until the state equals what SQL answers now.
fn follow(live: &Live, state: &mut State, server: &Server, sql: &str) {
    let expected = || {
        let mut rows: Vec<String> = server.sql(sql).into_iter().map(|row| Value::Array(row).to_string()).collect();
        rows.sort();
        rows
    };
    wait::until("the subscription to show what SQL answers", || {
        while let Some(frame) = live.next_within(Duration::from_millis(150)) {
            take(live, state, &frame);
        }
        let (seen, expected) = (state.sorted(), expected());
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}\nnot {expected:?}")) }
    });
}

fn take(live: &Live, state: &mut State, frame: &Frame) {
    assert_ne!(frame.kind, ERROR, "{}", String::from_utf8_lossy(&frame.payload));
    state.take(frame);
    live.ack(frame);
}

#[test]
fn a_bucketed_subscription_follows_pushes_and_late_rows() {
    let (server, table) = (shared(), unique("live"));
    let mut events = Events::new("live", 1);
    let first: Vec<_> = events.by_ref().take(500).collect();
    server.push_lines(&table, events::lines(&first));

    let live = Live::open(server);
    let mut sub = subscription(
        7,
        &table,
        &format!(
            "SELECT ${{bucket}} AS \"t\", country, COUNT(*) AS events, SUM(amount) AS amount FROM \"{table}\" WHERE ${{time}} GROUP BY 1, 2"
        ),
    );
    sub["bucketMs"] = json!(5000);
    live.send(&sub);
    // The same question over SQL; the socket sends the bucket as epoch milliseconds.
    let sql = format!(
        "SELECT CAST(TIME_FLOOR(__time, 'PT5S') AS BIGINT) AS t, country, COUNT(*), SUM(amount) FROM {table} \
         WHERE __time >= TIMESTAMP '2026-01-01 00:00:00' AND __time < TIMESTAMP '2026-01-02 00:00:00' GROUP BY 1, 2"
    );
    let mut state = State::default();
    let snapshot = live.next();
    assert_eq!((snapshot.kind, snapshot.id), (SNAPSHOT, 7));
    take(&live, &mut state, &snapshot);
    follow(&live, &mut state, server, &sql);

    for _ in 0..10 {
        let batch: Vec<_> = events.by_ref().take(60).collect();
        server.push_lines(&table, events::lines(&batch));
        follow(&live, &mut state, server, &sql);
    }
    assert!(state.deltas > 0, "changes come as deltas, not only as snapshots");

    // Late: into the first bucket, and into one before all others.
    let late = |time: i64| json!({"time": time, "source": "late", "id": 0, "amount": 1_000_000, "country": "CH"});
    server.push(&table, &[late(events::START_MS), late(first[250].time_ms)]);
    follow(&live, &mut state, server, &sql);
    // A new country in an old bucket.
    server.push(&table, &[json!({"time": events::START_MS + 1, "amount": 3, "country": "new"})]);
    follow(&live, &mut state, server, &sql);
    // Outside of the range: nothing of it is shown.
    server.push(&table, &[json!({"time": "2027-01-01T00:00:00Z", "amount": 5, "country": "outside"})]);
    follow(&live, &mut state, server, &sql);
    assert!(!state.sorted().iter().any(|row| row.contains("outside")));
}

#[test]
fn a_subscription_without_buckets_sends_whole_results() {
    let (server, table) = (shared(), unique("live"));
    server.push(&table, &[json!({"ts": events::START_MS, "page": "a", "n": 1})]);
    let live = Live::open(server);
    let mut sub = subscription(
        1,
        &table,
        &format!(
            "SELECT page, SUM(n) AS n FROM {table} WHERE ${{time}} AND page <> ? GROUP BY page ORDER BY n DESC LIMIT 3"
        ),
    );
    sub["params"] = json!([{"type": "VARCHAR", "value": "hidden"}]);
    live.send(&sub);
    let sql = format!("SELECT page, SUM(n) FROM {table} WHERE page <> 'hidden' GROUP BY page ORDER BY 2 DESC LIMIT 3");
    let mut state = State::default();
    follow(&live, &mut state, server, &sql);
    for (page, n) in [("b", 5), ("hidden", 100), ("c", 3), ("a", 9), ("d", 4)] {
        server.push(&table, &[json!({"ts": events::START_MS + n, "page": page, "n": n})]);
        follow(&live, &mut state, server, &sql);
    }
    assert_eq!(state.deltas, 0);
    assert_eq!(state.rows, [[json!("a"), json!(10)], [json!("b"), json!(5)], [json!("d"), json!(4)]]);
}

#[test]
fn frames_say_what_they_cover() {
    let (server, table) = (shared(), unique("live"));
    let before = now_ms();
    server.push(&table, &[json!({"ts": events::START_MS, "n": 1})]);
    let live = Live::open(server);
    live.send(&subscription(3, &table, &format!("SELECT COUNT(*) AS n FROM {table} WHERE ${{time}}")));
    let frame = live.next();
    let (metadata, rows) = frame.rows();
    assert_eq!(rows, [[json!(1)]]);
    let number = |name: &str| metadata.get(name).and_then(|text| text.parse::<i64>().ok());
    assert_eq!(number("rangeFrom"), Some(events::START_MS), "{metadata:?}");
    assert_eq!(number("rangeTo"), Some(events::START_MS + 86_400_000), "{metadata:?}");
    assert_eq!(number("rows"), Some(1), "{metadata:?}");
    let produced = number("produced").unwrap();
    assert!(before <= produced && produced <= now_ms(), "{metadata:?}");
    assert!(before <= frame.watermark_ms && frame.watermark_ms <= now_ms() + 1000, "{}", frame.watermark_ms);
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

#[test]
fn a_relative_range_moves_with_the_clock() {
    let (server, table) = (shared(), unique("live"));
    server.push(&table, &[json!({"ts": now_ms(), "n": 1})]);
    let live = Live::open(server);
    let mut sub = subscription(4, &table, &format!("SELECT COUNT(*) AS n FROM {table} WHERE ${{time}}"));
    sub["range"] = json!({"from": "now-4s", "to": "now"});
    live.send(&sub);
    for (expected, why) in [(1, "the row is younger than four seconds"), (0, "by time alone it falls out of the range")]
    {
        wait::until(why, || {
            let Some(frame) = live.next_within(Duration::from_millis(500)) else { return Err("no frame".to_owned()) };
            assert_ne!(frame.kind, ERROR, "{}", String::from_utf8_lossy(&frame.payload));
            live.ack(&frame);
            let (_, rows) = frame.rows();
            if rows == [[json!(expected)]] { Ok(()) } else { Err(format!("{rows:?}")) }
        });
    }
}

#[test]
fn nothing_is_sent_while_nothing_changes() {
    let (server, table) = (shared(), unique("live"));
    server.push(&table, &[json!({"ts": events::START_MS, "n": 1})]);
    let live = Live::open(server);
    live.send(&subscription(5, &table, &format!("SELECT COUNT(*) AS n FROM {table} WHERE ${{time}}")));
    let frame = live.next();
    live.ack(&frame);
    // Pushes into other tables are no change of this one.
    let other = unique("other");
    server.push(&other, &[json!({"ts": events::START_MS, "n": 1})]);
    assert!(live.next_within(Duration::from_secs(2)).is_none(), "a fixed range over a table at rest is silent");
    server.push(&table, &[json!({"ts": events::START_MS, "n": 1})]);
    assert_eq!(live.next().rows().1, [[json!(2)]]);
}

#[test]
fn without_acknowledgement_at_most_two_frames_come_and_then_the_newest() {
    let (server, table) = (shared(), unique("live"));
    server.push(&table, &[json!({"ts": events::START_MS, "n": 1})]);
    let live = Live::open(server);
    live.send(&subscription(6, &table, &format!("SELECT COUNT(*) AS n FROM {table} WHERE ${{time}}")));
    let mut frames = vec![live.next()];
    for n in 2..=30 {
        server.push(&table, &[json!({"ts": events::START_MS, "n": n})]);
        if let Some(frame) = live.next_within(Duration::from_millis(150)) {
            frames.push(frame);
        }
    }
    assert!(frames.len() <= 2, "{} frames without an acknowledgement", frames.len());
    let last = frames.last().unwrap();
    assert_ne!(last.rows().1, [[json!(30)]], "the later ones were held back");
    live.ack(last);
    let newest = wait::until("the newest state", || {
        let frame = live.next_within(Duration::from_secs(5)).ok_or("no frame")?;
        live.ack(&frame);
        if frame.rows().1 == [[json!(30)]] { Ok(frame) } else { Err(format!("{:?}", frame.rows().1)) }
    });
    assert!(newest.seq > last.seq);
}

#[test]
fn unsubscribing_ends_the_frames() {
    let (server, table) = (shared(), unique("live"));
    server.push(&table, &[json!({"ts": events::START_MS, "n": 1})]);
    let live = Live::open(server);
    live.send(&subscription(8, &table, &format!("SELECT COUNT(*) AS n FROM {table} WHERE ${{time}}")));
    live.ack(&live.next());
    live.send(&json!({"op": "unsub", "id": 8}));
    // Another subscription on the same socket shows that the first message was read.
    live.send(&subscription(9, &table, &format!("SELECT SUM(n) AS n FROM {table} WHERE ${{time}}")));
    let frame = live.next();
    assert_eq!(frame.id, 9);
    live.ack(&frame);
    server.push(&table, &[json!({"ts": events::START_MS, "n": 4})]);
    let frame = live.next();
    assert_eq!((frame.id, frame.rows().1), (9, vec![vec![json!(5)]]));
    live.ack(&frame);
    assert!(live.next_within(Duration::from_millis(1500)).is_none(), "nothing more of subscription 8");
}

#[test]
fn tables_are_told_as_the_api_tells_them() {
    let (server, table) = (shared(), unique("live"));
    let live = Live::open(server);
    live.send(&json!({"op": "sub", "id": 2, "kind": "tables"}));
    let rows = |frame: &Frame| {
        assert_eq!((frame.kind, frame.id), (STATUS, 2));
        live.ack(frame);
        let body = frame.json();
        body["tables"].as_array().unwrap().iter().find(|t| t["name"] == json!(table)).map(|t| t["rows"].clone())
    };
    assert_eq!(rows(&live.next()), None, "it is not there yet");
    server.push(&table, &[json!({"ts": 1}), json!({"ts": 2})]);
    wait::until("the new table with its rows", || match rows(&live.next()) {
        Some(rows) if rows == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn bad_subscriptions_get_an_error_frame_and_the_socket_stays() {
    let (server, table) = (shared(), unique("live"));
    server.push(&table, &[json!({"ts": events::START_MS, "n": 1})]);
    let live = Live::open(server);
    let good = format!("SELECT COUNT(*) AS n FROM {table} WHERE ${{time}}");
    let with = |id: u32, change: &dyn Fn(&mut Value)| {
        let mut sub = subscription(id, &table, &good);
        change(&mut sub);
        sub
    };
    let bad: Vec<(u32, Value, &str)> = vec![
        (11, with(11, &|s| s["sql"] = json!(format!("SELECT nope FROM {table} WHERE ${{time}}"))), "nope"),
        (12, with(12, &|s| s["sql"] = json!("SELEC")), ""),
        (13, with(13, &|s| s["range"] = json!({"from": "yesterday", "to": "now"})), "yesterday"),
        (14, with(14, &|s| s["kind"] = json!("qery")), "qery"),
        (15, with(15, &|s| s["refreshMs"] = json!(1)), "refreshMs"),
        (16, with(16, &|s| s["timeZone"] = json!("Mars/Olympus")), "Mars/Olympus"),
        (17, with(17, &|s| drop(s.as_object_mut().unwrap().remove("sql"))), "sql"),
        (18, with(18, &|s| s["sql"] = json!(format!("DROP TABLE {table}"))), ""),
    ];
    for (id, sub, named) in bad {
        live.send(&sub);
        let frame = live.next();
        assert_eq!((frame.kind, frame.id), (ERROR, id), "{sub}");
        let body = frame.json();
        let message = body["errorMessage"].as_str().unwrap_or_else(|| panic!("{body}"));
        assert!(body["error"].is_string() && message.contains(named), "{sub}: {body}");
    }
    for text in ["", "{", "null", "[]", "{\"op\":\"dance\",\"id\":1}", "{\"op\":\"sub\"}", &"[".repeat(100_000)] {
        live.send_text(text);
        assert_eq!(live.next().kind, ERROR, "{text:.60}");
    }
    live.send(&with(30, &|_| {}));
    let frame = live.next();
    assert_eq!((frame.kind, frame.id), (SNAPSHOT, 30));
    server.assert_no_panics();
}

#[test]
fn a_table_that_is_not_there_yet_is_an_error_that_says_so() {
    let (server, table) = (shared(), unique("live"));
    let live = Live::open(server);
    live.send(&subscription(20, &table, &format!("SELECT COUNT(*) AS n FROM {table} WHERE ${{time}}")));
    let frame = live.next();
    assert_eq!(frame.kind, ERROR);
    let body = frame.json();
    assert!(body["errorMessage"].as_str().unwrap().contains(&table), "{body}");
    if body["retry"] == json!(true) {
        server.push(&table, &[json!({"ts": events::START_MS, "n": 1})]);
        wait::until("the subscription to come alive", || {
            let frame = live.next();
            if frame.kind == SNAPSHOT { Ok(()) } else { Err(frame.json().to_string()) }
        });
    }
}

#[test]
fn heartbeats_come_with_the_servers_clock() {
    let live = Live::open(shared());
    let beat = live.heartbeat().expect("one each ten seconds");
    assert_eq!(beat.id, 0);
    assert!((beat.watermark_ms - now_ms()).abs() < 5000, "{}", beat.watermark_ms);
}

#[test]
fn a_page_of_another_host_may_not_connect() {
    let error = Live::connect(shared(), Some("http://evil.example")).map(|_| ()).unwrap_err();
    assert!(error.contains("403") || error.contains("400"), "{error}");
}

#[test]
fn after_a_restart_a_new_socket_shows_what_sql_shows() {
    let (server, table) = (Server::start(&[]), unique("live"));
    let sql = format!("SELECT COUNT(*) AS n FROM {table} WHERE ${{time}}");
    server.push(&table, &[json!({"ts": events::START_MS, "n": 1})]);
    let live = Live::open(&server);
    live.send(&subscription(1, &table, &sql));
    assert_eq!(live.next().rows().1, [[json!(1)]]);
    server.kill();
    server.restart();
    let _ = server.rows_when_served(&format!("SELECT COUNT(*) FROM {table}"));
    server.push(&table, &[json!({"ts": events::START_MS, "n": 2})]);
    let live = Live::open(&server);
    live.send(&subscription(1, &table, &sql));
    let shown = live.next().rows().1;
    assert_eq!(Value::from(shown), json!(server.sql(&format!("SELECT COUNT(*) FROM {table}"))));
}
