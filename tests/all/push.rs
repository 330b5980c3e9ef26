//! HTTP push: what is taken, what is refused and how, and that the next query sees it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use freshet_tests::cluster::{Server, shared, unique};
use freshet_tests::events::{self, Events, Oracle};
use serde_json::{Value, json};

fn path(table: &str) -> String {
    format!("/api/v1/push/{table}")
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A refused push must leave no trace: no table when there was none.
#[track_caller]
fn assert_no_table(server: &Server, table: &str) {
    let answer = server.get(&format!("/api/v1/tables/{table}"));
    assert_eq!(answer.status, 404, "{}", answer.text());
}

#[test]
fn one_json_object_makes_a_table_and_is_there_in_the_next_query() {
    let (server, table) = (shared(), unique("one"));
    let body = json!({"time": "2026-01-02T03:04:05.678Z", "page": "Zürich", "added": 12, "ratio": 0.5, "robot": true});
    let reply = server.post(&path(&table), &body).expect(200);
    assert_eq!(reply["table"], json!(table));
    assert_eq!(reply["accepted"], 1);
    assert_eq!(reply["rejected"], 0);
    assert_eq!(
        server.rows(&format!("SELECT __time, page, added, ratio, robot FROM {table}")),
        json!([["2026-01-02T03:04:05.678Z", "Zürich", 12, 0.5, 1]]),
        "booleans found by discovery are LONG 0/1"
    );
}

#[test]
fn the_time_column_is_found_by_its_usual_names_and_by_parameter() {
    let server = shared();
    for name in ["__time", "timestamp", "time", "ts", "@timestamp"] {
        let table = unique("timename");
        server.push(&table, &[json!({name: "2026-01-01T00:00:00Z", "n": 1})]);
        assert_eq!(
            server.rows(&format!("SELECT __time, n FROM {table}")),
            json!([["2026-01-01T00:00:00.000Z", 1]]),
            "{name}"
        );
    }
    let table = unique("timename");
    let reply =
        server.post(&format!("{}?timestampColumn=when", path(&table)), &json!({"when": 1_767_225_600_123_i64, "n": 2}));
    assert_eq!(reply.expect(200)["accepted"], 1);
    assert_eq!(server.rows(&format!("SELECT __time, n FROM {table}")), json!([["2026-01-01T00:00:00.123Z", 2]]));
}

#[test]
fn without_a_time_column_the_push_is_refused_and_the_fields_seen_are_named() {
    let (server, table) = (shared(), unique("notime"));
    let message = server.post(&path(&table), &json!({"pagename": "x", "zeitpunkt": "2026-01-01"})).expect_error(400);
    assert!(message.contains("pagename") && message.contains("zeitpunkt"), "names the fields seen: {message}");
    assert_no_table(server, &table);
}

#[test]
fn arrays_ndjson_and_several_objects_in_a_json_body_are_the_same_rows() {
    let server = shared();
    let rows: Vec<Value> = (0..5).map(|n| json!({"ts": events::START_MS + n, "n": n})).collect();
    let array = serde_json::to_string_pretty(&rows).unwrap();
    let lines: String = rows.iter().map(|row| format!("{row}\r\n\n")).collect();
    let glued: String = rows.iter().map(Value::to_string).collect::<Vec<_>>().join(" ");
    for (content_type, body) in
        [("application/json", array), ("application/x-ndjson", lines.clone()), ("application/json", glued)]
    {
        let table = unique("shape");
        let reply = server.post_bytes(&path(&table), content_type, body).expect(200);
        assert_eq!(reply["accepted"], 5, "{content_type}: {reply}");
        assert_eq!(server.rows(&format!("SELECT COUNT(*), SUM(n) FROM {table}")), json!([[5, 10]]), "{content_type}");
    }
}

#[test]
fn a_charset_in_the_content_type_does_not_matter() {
    let (server, table) = (shared(), unique("charset"));
    let reply = server.post_bytes(&path(&table), "application/json; charset=utf-8", r#"{"ts":0,"n":1}"#).expect(200);
    assert_eq!(reply["accepted"], 1);
}

#[test]
fn gzip_bodies_are_unpacked_and_broken_ones_refused() {
    let (server, table) = (shared(), unique("gzip"));
    let events: Vec<_> = Events::new("gzip", 11).take(3000).collect();
    let send = |body: Vec<u8>| {
        let request = server.client().post(server.url(&path(&table)));
        server
            .send(request.header("Content-Type", "application/x-ndjson").header("Content-Encoding", "gzip").body(body))
    };
    let packed = gzip(events::lines(&events).as_bytes());
    let mut cut = packed.clone();
    cut.truncate(packed.len() / 2);
    let _ = send(cut).expect_error(400);
    let _ = send(b"this is not gzip".to_vec()).expect_error(400);
    assert_no_table(server, &table);
    assert_eq!(send(packed).expect(200)["accepted"], 3000);
    Oracle::of(&events).check(server, &table);
}

#[test]
fn an_unknown_content_encoding_is_refused() {
    let (server, table) = (shared(), unique("encoding"));
    let request = server.client().post(server.url(&path(&table)));
    let answer = server.send(
        request
            .header("Content-Type", "application/json")
            .header("Content-Encoding", "lzma")
            .body(r#"{"ts":0}"#.to_owned()),
    );
    let _ = answer.expect_error(415);
    assert_no_table(server, &table);
}

#[test]
fn a_bad_row_refuses_the_whole_batch_and_is_named() {
    let (server, table) = (shared(), unique("whole"));
    server.push(&table, &[json!({"ts": 1, "n": 1})]);
    for bad in [r#"{"ts":"not a time","n":9}"#, r#"{"n":9}"#, r#"{"ts":4,"n":"#, r#"[1,2]"#, "42"] {
        let body = format!("{{\"ts\":2,\"n\":2}}\n{{\"ts\":3,\"n\":3}}\n{bad}\n");
        let answer = server.post_bytes(&path(&table), "application/x-ndjson", body);
        let _ = answer.expect_error(400);
        let at = answer.json()["at"].as_str().unwrap_or_default().to_owned();
        assert!(at.contains("row 3"), "names the row, counted from 1 as lines are: {}", answer.text());
    }
    assert_eq!(
        server.rows(&format!("SELECT COUNT(*), SUM(n) FROM {table}")),
        json!([[1, 1]]),
        "nothing of them was stored"
    );
}

#[test]
fn on_error_skip_keeps_the_good_rows_and_lists_the_bad_ones() {
    let (server, table) = (shared(), unique("skip"));
    let body = "{\"ts\":1,\"n\":1}\n{\"ts\":\"never\",\"n\":2}\n{\"ts\":3,\"n\":4}\n{oops\n{\"ts\":5,\"n\":8}\n";
    let reply = server.post_bytes(&format!("{}?onError=skip", path(&table)), "application/x-ndjson", body).expect(200);
    assert_eq!(reply["accepted"], 3, "{reply}");
    assert_eq!(reply["rejected"], 2, "{reply}");
    let errors = reply["errors"].as_array().unwrap();
    let rows: Vec<_> = errors.iter().map(|error| error["row"].as_u64().unwrap()).collect();
    assert_eq!(rows, [2, 4], "counted from 1 as lines are: {reply}");
    for error in errors {
        assert!(error["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{error}");
    }
    assert_eq!(server.rows(&format!("SELECT COUNT(*), SUM(n) FROM {table}")), json!([[3, 13]]));

    let letters = server.get(&format!("/api/v1/tables/{table}/dead-letters?limit=10")).expect(200);
    assert_eq!(letters["total"], 2, "{letters}");
    let raw: Vec<_> =
        letters["letters"].as_array().unwrap().iter().map(|l| l["raw"].as_str().unwrap().to_owned()).collect();
    assert!(raw.iter().any(|raw| raw.contains("never")) && raw.iter().any(|raw| raw.contains("{oops")), "{letters}");
    assert_eq!(server.get(&format!("/api/v1/tables/{table}")).expect(200)["rejected"], 2);
}

#[test]
fn an_unknown_value_of_on_error_is_refused() {
    let (server, table) = (shared(), unique("onerror"));
    let message = server.post(&format!("{}?onError=skipp", path(&table)), &json!({"ts": 1})).expect_error(400);
    assert!(message.contains("skip"), "names what is known: {message}");
    assert_no_table(server, &table);
}

#[test]
fn types_widen_and_earlier_values_stay() {
    let (server, table) = (shared(), unique("widen"));
    server.push(&table, &[json!({"ts": 1, "v": 1}), json!({"ts": 2, "v": 2})]);
    assert_eq!(server.rows(&format!("SELECT SUM(v) FROM {table}")), json!([[3]]));
    server.push(&table, &[json!({"ts": 3, "v": 0.5})]);
    assert_eq!(
        server.rows(&format!("SELECT v FROM {table} ORDER BY __time")),
        json!([[1.0], [2.0], [0.5]]),
        "LONG to DOUBLE"
    );
    assert_eq!(server.rows(&format!("SELECT SUM(v) FROM {table}")), json!([[3.5]]));
    server.push(&table, &[json!({"ts": 4, "v": "many"}), json!({"ts": 5, "w": "new column"})]);
    let columns = server.get(&format!("/api/v1/tables/{table}/columns")).expect(200);
    let of = |name: &str| {
        let columns = columns["columns"].as_array().unwrap();
        columns.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("{name} in {columns:?}"))["type"].clone()
    };
    assert_eq!(of("v"), "STRING");
    assert_eq!(of("w"), "STRING");
    assert_eq!(
        server.rows(&format!("SELECT v, w FROM {table} WHERE v = 'many' OR w IS NOT NULL ORDER BY __time")),
        json!([["many", null], [null, "new column"]])
    );
    assert_eq!(server.rows(&format!("SELECT COUNT(*), COUNT(v), COUNT(w) FROM {table}")), json!([[5, 4, 1]]));
}

#[test]
fn a_column_that_widens_within_one_push_takes_the_widest() {
    let (server, table) = (shared(), unique("widen1"));
    server.push(&table, &[json!({"ts": 1, "v": 7}), json!({"ts": 2, "v": 7.25}), json!({"ts": 3, "v": null})]);
    assert_eq!(server.rows(&format!("SELECT v FROM {table} ORDER BY __time")), json!([[7.0], [7.25], [null]]));
}

#[test]
fn text_of_all_scripts_comes_back_byte_for_byte() {
    let (server, table) = (shared(), unique("script"));
    let texts = [
        "東京 / 北京 / 서울",
        "😀👩‍👩‍👧‍👦🇨🇭",
        "e\u{301} is not é",
        "עברית ← → العربية",
        "\u{0}\u{1}\u{7f}",
        "quote \" backslash \\ slash / tab \t line\nfeed",
        "",
        " leading and trailing ",
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 beyond the first plane",
    ];
    let rows: Vec<Value> = texts.iter().enumerate().map(|(n, text)| json!({"ts": n, "text": text})).collect();
    server.push(&table, &rows);
    let expected: Vec<Value> = texts.iter().map(|text| json!([text])).collect();
    assert_eq!(server.rows(&format!("SELECT text FROM {table} ORDER BY __time")), Value::Array(expected));
    assert_eq!(
        server.rows(&format!("SELECT COUNT(*) FROM {table} WHERE text = '東京 / 北京 / 서울'")),
        json!([[1]]),
        "a filter finds it too"
    );
    // Escapes in JSON mean the same text.
    let _ =
        server.post_bytes(&path(&table), "application/json", r#"{"ts":100,"text":"\ud83d\ude00\u00e9"}"#).expect(200);
    assert_eq!(server.rows(&format!("SELECT COUNT(*) FROM {table} WHERE text = '😀é'")), json!([[1]]));
}

#[test]
fn column_names_of_all_scripts_and_signs_work_in_quotes() {
    let (server, table) = (shared(), unique("names"));
    server.push(&table, &[json!({"ts": 1, "Größe": 1, "select": 2, "a b": 3, "日付": 4, "A": 5, "a": 6})]);
    assert_eq!(
        server.rows(&format!(r#"SELECT "Größe", "select", "a b", "日付", "A", "a" FROM {table}"#)),
        json!([[1, 2, 3, 4, 5, 6]]),
        "names are case-sensitive and never folded"
    );
}

#[test]
fn numbers_keep_all_their_digits() {
    let (server, table) = (shared(), unique("digits"));
    server.push(
        &table,
        &[
            json!({"ts": 1, "l": i64::MAX, "d": 1e300}),
            json!({"ts": 2, "l": i64::MIN, "d": -5e-324}),
            json!({"ts": 3, "l": 9_007_199_254_740_993_i64, "d": 0.1}),
        ],
    );
    let answer =
        server.sql_request(&json!({"query": format!("SELECT l FROM {table} ORDER BY __time"), "resultFormat": "csv"}));
    assert_eq!(answer.text(), "9223372036854775807\n-9223372036854775808\n9007199254740993\n\n");
    assert_eq!(server.rows(&format!("SELECT d FROM {table} ORDER BY __time")), json!([[1e300], [-5e-324], [0.1]]));
}

#[test]
fn times_of_many_forms_are_read_and_late_ones_kept() {
    let (server, table) = (shared(), unique("times"));
    for (time, expected) in [
        (json!("2026-01-01T00:00:00Z"), "2026-01-01T00:00:00.000Z"),
        (json!("2026-01-01T01:00:00.5+01:00"), "2026-01-01T00:00:00.500Z"),
        (json!("2026-01-01 00:00:01"), "2026-01-01T00:00:01.000Z"),
        (json!("2026-01-01"), "2026-01-01T00:00:00.000Z"),
        (json!(1_767_225_602_000_i64), "2026-01-01T00:00:02.000Z"),
        (json!("1969-12-31T23:59:59.999Z"), "1969-12-31T23:59:59.999Z"),
        (json!("0001-01-01T00:00:00Z"), "0001-01-01T00:00:00.000Z"),
    ] {
        let n = unique("n");
        server.push(&table, &[json!({"time": time, "n": n})]);
        assert_eq!(server.rows(&format!("SELECT __time FROM {table} WHERE n = '{n}'")), json!([[expected]]), "{time}");
    }
    assert_eq!(server.count(&table), 7);
}

#[test]
fn nested_values_are_kept_as_text() {
    let (server, table) = (shared(), unique("nested"));
    server.push(&table, &[json!({"ts": 1, "tags": ["a", "b"], "o": {"k": [1, {"x": null}]}})]);
    let rows = server.rows(&format!("SELECT tags, o FROM {table}"));
    let text = |value: &Value| serde_json::from_str::<Value>(value.as_str().unwrap()).unwrap();
    assert_eq!(text(&rows[0][0]), json!(["a", "b"]));
    assert_eq!(text(&rows[0][1]), json!({"k": [1, {"x": null}]}));
}

#[test]
fn concurrent_pushes_sum_up_exactly() {
    const WRITERS: u64 = 8;
    const BATCHES: usize = 15;
    const ROWS: usize = 40;
    let (server, table) = (shared(), unique("many"));
    let (before, after) = (std::sync::Barrier::new(WRITERS as usize), unique("seen"));
    let sent: Vec<events::Event> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (table, before) = (&table, &before);
                scope.spawn(move || {
                    let mut events = Events::new(&format!("writer-{writer}"), 100 + writer);
                    let mut sent: Vec<events::Event> = Vec::new();
                    before.wait();
                    for _ in 0..BATCHES {
                        let batch: Vec<_> = events.by_ref().take(ROWS).collect();
                        assert_eq!(server.push_lines(table, events::lines(&batch)), ROWS as u64);
                        sent.extend(batch);
                        // Visible to the next query: one's own rows are all there after the answer.
                        let own =
                            server.rows(&format!("SELECT COUNT(*) FROM {table} WHERE source = 'writer-{writer}'"));
                        assert_eq!(own, json!([[sent.len()]]), "{after}", after = "own rows after the answer");
                    }
                    sent
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    drop(after);
    assert_eq!(sent.len(), 8 * BATCHES * ROWS);
    Oracle::of(&sent).check(server, &table);
}

#[test]
fn concurrent_pushes_that_make_one_table_all_count() {
    let (server, table) = (shared(), unique("race"));
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let table = &table;
            // Each brings a column of its own, so that schemas race as well.
            scope.spawn(move || server.push(table, &[json!({"ts": writer, "n": 1, format!("c{writer}"): writer})]));
        }
    });
    let sums: Vec<String> = (0..8).map(|writer| format!("SUM(c{writer})")).collect();
    assert_eq!(
        server.rows(&format!("SELECT SUM(n), {} FROM {table}", sums.join(", "))),
        json!([[8, 0, 1, 2, 3, 4, 5, 6, 7]])
    );
}

#[test]
fn an_empty_push_stores_nothing_and_says_so() {
    let (server, table) = (shared(), unique("empty"));
    for (content_type, body) in
        [("application/json", "[]"), ("application/x-ndjson", ""), ("application/x-ndjson", "\n\n")]
    {
        let answer = server.post_bytes(&path(&table), content_type, body);
        match answer.status {
            200 => assert_eq!(answer.json()["accepted"], 0, "{body:?}"),
            _ => drop(answer.expect_error(400)),
        }
    }
    assert_eq!(server.count(&table), 0);
}

#[test]
fn wrong_doors_have_their_answers() {
    let (server, table) = (shared(), unique("doors"));
    let _ = server.post_bytes(&path(&table), "text/plain", r#"{"ts":1}"#).expect_error(415);
    let _ = server.post_bytes(&path(&table), "application/x-www-form-urlencoded", "a=b").expect_error(415);
    let request = server.client().post(server.url(&path(&table))).body(r#"{"ts":1}"#.to_owned());
    let _ = server.send(request).expect_error(415);
    let _ = server.get(&path(&table)).expect_error(405);
    let _ = server.send(server.client().put(server.url(&path(&table))).json(&json!({"ts": 1}))).expect_error(405);
    let _ = server.post("/api/v1/push/", &json!({"ts": 1})).expect_error(404);
    let _ = server.post("/api/v1/pusch/x", &json!({"ts": 1})).expect_error(404);
    assert_no_table(server, &table);
}

#[test]
fn names_that_cannot_be_a_table_are_refused() {
    let server = shared();
    for name in ["%00", "a%2Fb", "..%2F..%2Fetc", "%20", &"x".repeat(5000)] {
        let answer = server.post(&path(name), &json!({"ts": 1}));
        assert!((400..=414).contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
        let _ = answer.expect_error(answer.status);
    }
}

#[test]
fn a_body_above_the_limit_is_refused_with_413() {
    let (server, table) = (shared(), unique("large"));
    // 64 MiB is the limit of a body.
    let row = format!("{{\"ts\":1,\"text\":\"{}\"}}\n", "x".repeat(1 << 20));
    let body = row.repeat(66);
    let request = server.client().post(server.url(&path(&table))).header("Content-Type", "application/x-ndjson");
    server.expect_too_large(request.body(body));
    assert_no_table(server, &table);
    assert_eq!(server.get("/status/health").text().trim(), "true");
}

#[test]
fn a_body_that_unpacks_to_too_much_is_refused() {
    let (server, table) = (shared(), unique("bomb"));
    // 300 MiB of spaces, 1000 times smaller when packed.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..300 {
        encoder.write_all(&chunk).unwrap();
    }
    let body = encoder.finish().unwrap();
    let request = server.client().post(server.url(&path(&table)));
    let answer = server
        .send(request.header("Content-Type", "application/x-ndjson").header("Content-Encoding", "gzip").body(body));
    let _ = answer.expect_error(413);
    assert_no_table(server, &table);
}

#[test]
fn a_huge_record_is_refused_and_a_large_one_kept() {
    let (server, table) = (shared(), unique("huge"));
    // 10 MiB is the limit of a record.
    let large = "y".repeat(4 << 20);
    server.push(&table, &[json!({"ts": 1, "text": large})]);
    assert_eq!(server.rows(&format!("SELECT LENGTH(text) FROM {table}")), json!([[4 << 20]]));
    let huge = format!("{{\"ts\":2,\"text\":\"{}\"}}", "z".repeat(11 << 20));
    let answer = server.post_bytes(&path(&table), "application/json", huge.clone());
    assert!(answer.status == 400 || answer.status == 413, "{} {}", answer.status, answer.text());
    let _ = answer.expect_error(answer.status);
    // It costs itself, not its batch, where skipping was asked for.
    let body = format!("{{\"ts\":3,\"text\":\"a\"}}\n{huge}\n{{\"ts\":4,\"text\":\"b\"}}\n");
    let reply = server.post_bytes(&format!("{}?onError=skip", path(&table)), "application/x-ndjson", body).expect(200);
    assert_eq!((&reply["accepted"], &reply["rejected"]), (&json!(2), &json!(1)), "{}", reply["errors"]);
    assert_eq!(server.count(&table), 3);
}

#[test]
fn deep_json_is_refused_and_does_not_hurt() {
    let (server, table) = (shared(), unique("deep"));
    for depth in [65, 1000, 200_000] {
        let body = format!("{{\"ts\":1,\"v\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        let _ = server.post_bytes(&path(&table), "application/json", body).expect_error(400);
        let body = format!("{{\"ts\":1,\"v\":{}", "{\"a\":".repeat(depth));
        let _ = server.post_bytes(&path(&table), "application/json", body).expect_error(400);
    }
    assert_no_table(server, &table);
    let body = format!("{{\"ts\":1,\"v\":{}1{}}}", "[".repeat(60), "]".repeat(60));
    assert_eq!(server.post_bytes(&path(&table), "application/json", body).expect(200)["accepted"], 1);
    server.assert_no_panics();
}

#[test]
fn garbage_bytes_are_refused_and_do_not_hurt() {
    let (server, table) = (shared(), unique("garbage"));
    let mut random = events::Random::new(4711);
    let valid = br#"{"ts":"2026-01-01T00:00:00Z","text":"abc","n":12.5,"list":[1,2,{"k":null}]}"#;
    let mut accepted = 0;
    for round in 0..200_u64 {
        let body: Vec<u8> = if round % 2 == 0 {
            (0..random.below(300)).map(|_| random.next_u64().to_le_bytes()[0]).collect()
        } else {
            // A valid record with three bytes changed.
            let mut bytes = valid.to_vec();
            for _ in 0..3 {
                let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
                bytes[at] = random.next_u64().to_le_bytes()[0];
            }
            bytes
        };
        let answer = server.post_bytes(&path(&table), "application/json", body.clone());
        match answer.status {
            200 => accepted += answer.json()["accepted"].as_i64().unwrap(),
            400 => drop(answer.expect_error(400)),
            other => panic!("round {round}: {other} {} for {:?}", answer.text(), String::from_utf8_lossy(&body)),
        }
    }
    assert_eq!(server.count(&table), accepted, "what was said to be accepted is there");
    let broken = b"{\"ts\":1,\"text\":\"\xff\xfe\"}".to_vec();
    let _ = server.post_bytes(&path(&table), "application/json", broken).expect_error(400);
    server.assert_no_panics();
}

#[test]
fn a_row_with_very_many_columns_is_refused() {
    let (server, table) = (shared(), unique("wide"));
    let mut row = json!({"ts": 1});
    for n in 0..10_050 {
        row[format!("c{n}")] = json!(n);
    }
    let _ = server.post(&path(&table), &row).expect_error(400);
    server.assert_no_panics();
}

#[test]
fn a_table_can_be_dropped_and_made_again() {
    let (server, table) = (shared(), unique("drop"));
    server.push(&table, &[json!({"ts": 1, "v": "text"})]);
    let reply = server.delete(&format!("/api/v1/tables/{table}")).expect(200);
    assert_eq!(reply, json!({"table": table, "dropped": true}));
    assert_no_table(server, &table);
    let _ = server.sql_request(&json!({"query": format!("SELECT 1 FROM {table}")})).expect_error(400);
    let _ = server.delete(&format!("/api/v1/tables/{table}")).expect_error(404);
    server.push(&table, &[json!({"ts": 1, "v": 5})]);
    assert_eq!(server.rows(&format!("SELECT SUM(v) FROM {table}")), json!([[5]]), "another table with another schema");
}
