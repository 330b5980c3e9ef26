//! The process as a whole: flags, signals, guards against foreign pages, health, metrics, the page's files, sub-commands.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use freshet_tests::cluster::{self, Server, command, shared, unique};
use freshet_tests::wait;
use serde_json::{Value, json};

/// Runs `freshet` to its end, which has to come by itself.
#[track_caller]
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir(std::env::temp_dir());
    for (name, value) in variables {
        command.env(name, value);
    }
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("freshet {arguments:?} did not end by itself: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(arguments, variables);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{arguments:?} was taken: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

// --- configuration --------------------------------------------------------------------------------------------------------

#[test]
fn an_address_other_than_loopback_is_refused() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8888"] {
        let text = refused(&["--listen", listen], &[]);
        assert!(
            text.contains(listen) && text.contains("login") && text.contains("127.0.0.1"),
            "says why, and what to do: {text}"
        );
    }
}

#[test]
fn unknown_flags_are_refused_and_the_nearest_is_named() {
    let text = refused(&["--lisen", "127.0.0.1:0"], &[]);
    assert!(text.contains("--listen"), "{text}");
    let text = refused(&["--data-dirr", "x"], &[]);
    assert!(text.contains("--data-dir"), "{text}");
}

#[test]
fn unknown_variables_are_refused_and_the_nearest_is_named() {
    let text = refused(&[], &[("FRESHET_LISEN", "127.0.0.1:0")]);
    assert!(text.contains("FRESHET_LISTEN"), "{text}");
}

#[test]
fn unknown_keys_of_the_file_are_refused_and_the_nearest_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("freshet.toml");
    std::fs::write(&file, "lisen = \"127.0.0.1:0\"\n").unwrap();
    let text = refused(&["--config", file.to_str().unwrap()], &[]);
    assert!(text.contains("lisen") && text.contains("listen"), "{text}");
    std::fs::write(&file, "listen = [broken\n").unwrap();
    let text = refused(&["--config", file.to_str().unwrap()], &[]);
    assert!(text.contains("freshet.toml"), "names the file: {text}");
    let text = refused(&["--config", folder.path().join("absent.toml").to_str().unwrap()], &[]);
    assert!(text.contains("absent.toml"), "{text}");
}

#[test]
fn bad_values_are_refused() {
    for arguments in
        [["--listen", "nonsense"], ["--listen", "127.0.0.1:99999"], ["--seed", "1x"], ["--data-dir", "/proc/none"]]
    {
        let text = refused(&arguments, &[]);
        assert!(
            text.contains(arguments[0].trim_start_matches('-')) || text.contains(arguments[1]),
            "{arguments:?}: {text}"
        );
    }
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let text = refused(&["--listen", &address, "--data-dir", folder.path().to_str().unwrap()], &[]);
    assert!(text.contains(&address), "{text}");
}

#[test]
fn settings_come_from_file_variable_and_flag_in_this_order() {
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<u16> = (0..2).map(|_| cluster::free_port()).collect();
    let file = folder.path().join("freshet.toml");
    std::fs::write(&file, format!("listen = \"127.0.0.1:{}\"\nseed = 5\n", ports[0])).unwrap();
    let data = folder.path().join("data");
    let start = |variables: &[(&str, String)]| {
        let mut command = command(&["--config", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]);
        for (name, value) in variables {
            command.env(name, value);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let answers = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/status/health");
        wait::until("an answer", || reqwest::blocking::get(&url).map(drop).map_err(|error| error.to_string()));
    };
    for (variables, port) in
        [(vec![], ports[0]), (vec![("FRESHET_LISTEN", format!("127.0.0.1:{}", ports[1]))], ports[1])]
    {
        let mut child = start(&variables);
        freshet_tests::reaper::kill_at_exit(child.id(), &data.to_string_lossy());
        answers(port);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn two_servers_do_not_share_a_data_folder() {
    let first = Server::start(&[]);
    let listen = format!("127.0.0.1:{}", cluster::free_port());
    let text = refused(&["--listen", &listen, "--data-dir", first.data_dir().to_str().unwrap()], &[]);
    assert!(text.contains("data") || text.contains("lock"), "{text}");
    assert_eq!(first.get("/status/health").text().trim(), "true");
}

#[test]
fn version_help_and_start_say_what_there_is() {
    let version = run(&["version"], &[]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).contains("0.1.0"));
    let help = String::from_utf8_lossy(&run(&["--help"], &[]).stdout).into_owned();
    for word in [
        "--data-dir",
        "--listen",
        "--config",
        "--demo",
        "--seed",
        "--deep-storage",
        "sql",
        "push",
        "files",
        "journal",
        "catalog",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
    let server = Server::start(&[]);
    // It answers before it has said all of it.
    wait::until("the lines at the start", || {
        let log = server.log();
        let told = log.contains(&server.address()) && log.contains("survive a restart");
        if told { Ok(()) } else { Err(format!("where it listens, and what survives, in: {log}")) }
    });
}

// --- sub-commands ----------------------------------------------------------------------------------------------------------

#[test]
fn the_sql_and_push_commands_work_against_a_running_server() {
    let (server, table) = (shared(), unique("cli"));
    let folder = tempfile::tempdir().unwrap();
    let url = server.url("");
    let file = folder.path().join("rows.ndjson");
    std::fs::write(&file, "{\"ts\":1,\"name\":\"a,b\",\"n\":1}\n{\"ts\":2,\"name\":null,\"n\":2}\n").unwrap();
    let pushed = run(&["push", &table, file.to_str().unwrap(), "--url", &url], &[]);
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(b"{\"ts\":3,\"name\":\"packed\",\"n\":3}\n").unwrap();
    let file = folder.path().join("rows.ndjson.gz");
    std::fs::write(&file, packed.finish().unwrap()).unwrap();
    let pushed = run(&["push", &table, file.to_str().unwrap(), "--url", &url], &[]);
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));

    let sql = |format: &[&str], query: &str| {
        let output = run(&[&["sql", query, "--url", &url], format].concat(), &[]);
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let query = format!("SELECT name, SUM(n) AS total FROM {table} GROUP BY name ORDER BY total");
    let csv = sql(&["--format", "csv"], &query);
    assert!(csv.contains("name,total") && csv.contains("\"a,b\",1") && csv.contains("packed,3"), "{csv}");
    let rows: Value = serde_json::from_str(&sql(&["--format", "json"], &query)).unwrap();
    assert_eq!(rows[2]["total"], 3, "{rows}");
    let shown = sql(&[], &query);
    assert!(shown.contains("total") && shown.contains("packed"), "{shown}");

    let text = refused(&["sql", "SELECT nope", "--url", &url], &[]);
    assert!(text.contains("nope"), "{text}");
    let text = refused(&["sql", "SELECT 1", "--url", "http://127.0.0.1:1"], &[]);
    assert!(text.contains("127.0.0.1:1"), "says whom it could not reach: {text}");
    let text = refused(&["push", &table, "/no/such/file", "--url", &url], &[]);
    assert!(text.contains("/no/such/file"), "{text}");
    let text = refused(&["sqll", "SELECT 1"], &[]);
    assert!(text.contains("sql"), "{text}");
}

// --- signals ------------------------------------------------------------------------------------------------------------------

#[test]
fn sigterm_lets_a_running_query_end_and_refuses_new_work() {
    let (server, table) = (Server::start(&[]), unique("drain"));
    let rows: String = (0..3000).map(|n| format!("{{\"ts\":{n},\"n\":{n}}}\n")).collect();
    assert_eq!(server.push_lines(&table, rows), 3000);
    // Nine million pairs: some time on any machine, far below the deadline of the drain.
    let query = format!("SELECT SUM(a.n % 7), COUNT(*) FROM {table} a, {table} b WHERE a.n + b.n >= 0");
    let expected = server.rows(&query);
    assert_eq!(expected[0][1], 9_000_000);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| server.try_rows(&query));
        wait::until("the query to have begun", || {
            if running.is_finished() || server.get("/metrics").status == 200 { Ok(()) } else { Err(String::new()) }
        });
        std::thread::sleep(Duration::from_millis(30));
        let status = server.terminate();
        assert!(status.success(), "a clean end: {status}; log:\n{}", server.log());
        assert_eq!(running.join().unwrap().as_ref(), Ok(&expected), "what had begun was answered");
    });
    assert!(server.try_rows("SELECT 1").is_err(), "it is gone");
    server.restart();
    assert_eq!(server.rows("SELECT 1"), json!([[1]]), "and starts again on its folder");
}

#[test]
fn after_kill_9_it_starts_again_on_its_folder() {
    let server = Server::start(&[]);
    server.push("t", &[json!({"ts": 1})]);
    server.kill();
    server.restart();
    assert_eq!(server.rows("SELECT 1"), json!([[1]]));
}

#[test]
fn sigint_ends_it_as_well() {
    let server = Server::start(&[]);
    server.signal("INT");
    wait::until("the end", || server.try_rows("SELECT 1").err().map(drop).ok_or_else(|| "it runs".to_owned()));
}

// --- guards ------------------------------------------------------------------------------------------------------------------

#[test]
fn a_foreign_page_cannot_change_anything() {
    let (server, table) = (shared(), unique("guard"));
    let path = server.url(&format!("/api/v1/push/{table}"));
    let request = || server.client().post(&path).header("Content-Type", "application/json").body("{\"ts\":1}");
    for (name, value) in
        [("Origin", "http://evil.example"), ("Origin", "null"), ("Host", "evil.example"), ("Host", "evil.example:8888")]
    {
        let answer = server.send(request().header(name, value));
        assert!(
            answer.status == 403 || answer.status == 400 || answer.status == 421,
            "{name}: {value}: {}",
            answer.status
        );
        let _ = answer.expect_error(answer.status);
    }
    let answer = server.send(server.client().get(server.url("/api/v1/tables")).header("Host", "evil.example"));
    assert!(answer.status >= 400, "a rebound name does not even read: {}", answer.status);
    assert_eq!(server.get(&format!("/api/v1/tables/{table}")).status, 404, "nothing was stored");
    let own = format!("http://{}", server.address());
    assert_eq!(server.send(request().header("Origin", own)).expect(200)["accepted"], 1, "the own page may");
    let port = server.address().split(':').nth(1).unwrap().to_owned();
    assert_eq!(server.send(request().header("Host", format!("localhost:{port}"))).expect(200)["accepted"], 1);
}

#[test]
fn state_changing_calls_need_a_json_content_type() {
    let server = shared();
    for path in ["/api/v1/demo", "/druid/indexer/v1/supervisor", "/druid/v2/sql/x/y"] {
        let answer = server.post_bytes(path, "text/plain", "{}");
        assert!(answer.status == 415 || answer.status == 404, "{path}: {}", answer.status);
    }
}

#[test]
fn wrong_paths_and_methods_have_the_errors_body() {
    let server = shared();
    for path in
        ["/api/v1/nothing", "/api/v2/tables", "/druid/nothing", "/druid/v2/sql/a/b", "/api/v1/tables/nobody/columns"]
    {
        let _ = server.get(path).expect_error(404);
    }
    let _ = server.post("/api/v1/tables", &json!({})).expect_error(405);
    let _ = server.delete("/api/v1/capabilities").expect_error(405);
    let _ = server.post("/status", &json!({})).expect_error(405);
    for path in ["/api/v1/tables/..%2f..%2fetc", "/api/v1/tables/a%00b", "/ui/..%2f..%2fetc/passwd", "/api//v1/tables"]
    {
        let answer = server.get(path);
        assert!((400..500).contains(&answer.status) || path.starts_with("/ui/"), "{path}: {}", answer.status);
        assert!(!answer.text().contains("root:"), "{path}");
    }
}

#[test]
fn requests_that_are_no_http_are_answered_or_closed() {
    let server = shared();
    let huge = format!("GET /status HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    for request in [
        "\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET /status HTTP/1.1\r\n\r\n".to_owned(),
        "POST /druid/v2/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello".to_owned(),
        "POST /druid/v2/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "POST /druid/v2/sql HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nZZ\r\n".to_owned(),
        huge,
    ] {
        let answer = server.raw(request.as_bytes());
        let first = answer.lines().next().unwrap_or_default();
        assert!(!first.contains(" 200") && !first.contains(" 500"), "{:.60}: {first}", request);
    }
    assert_eq!(server.get("/status/health").text().trim(), "true");
    server.assert_no_panics();
}

// --- health, metrics, capabilities --------------------------------------------------------------------------------------------

#[test]
fn health_and_capabilities() {
    let server = shared();
    assert_eq!(server.get("/health/live").expect(200)["live"], true);
    assert_eq!(server.get("/health/ready").status, 200);
    let capabilities = server.get("/api/v1/capabilities").expect(200);
    assert_eq!(capabilities["product"], "freshet");
    assert_eq!(capabilities["listen"], json!(server.address()));
    assert_eq!((&capabilities["durable"], &capabilities["notices"]), (&json!(true), &json!([])));
    for feature in ["demo", "push", "kafka", "live"] {
        assert_eq!(capabilities["features"][feature], true, "{feature}");
    }
}

#[test]
fn metrics_hold_freshness_and_are_well_formed() {
    let (server, table) = (shared(), unique("metrics"));
    server.push(&table, &[json!({"ts": 1}), json!({"ts": 2})]);
    let answer = server.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|t| t.starts_with("text/plain")));
    let text = answer.text();
    let mine: Vec<&str> = text.lines().filter(|l| l.contains("freshness") && l.contains(&table)).collect();
    assert!(mine.iter().any(|l| l.contains("_bucket{")), "a histogram of freshness for {table}:\n{text}");
    let count = mine.iter().find(|l| l.contains("_count{")).unwrap_or_else(|| panic!("{mine:?}"));
    assert!(count.ends_with(" 2"), "{count}");
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let shown = server.get(&format!("/api/v1/tables/{table}")).expect(200);
    assert_eq!((&shown["rows"], &shown["freshness"]["count"]), (&json!(2), &json!(2)), "{shown}");
}

#[test]
fn tables_are_described() {
    let (server, table) = (shared(), unique("described"));
    server.push(
        &table,
        &[
            json!({"ts": "2026-01-01T00:00:00Z", "name": "a", "n": 1}),
            json!({"ts": "2026-01-01T00:00:05Z", "name": "b", "n": 2}),
        ],
    );
    let one = server.get(&format!("/api/v1/tables/{table}")).expect(200);
    assert_eq!(one["rows"], 2);
    assert_eq!(
        (&one["minTime"], &one["maxTime"]),
        (&json!("2026-01-01T00:00:00.000Z"), &json!("2026-01-01T00:00:05.000Z"))
    );
    assert_eq!(one["sources"], json!(["push"]));
    assert!(one["bytes"].as_u64().unwrap() > 0 && one["segments"].as_u64().unwrap() > 0);
    let list = server.get("/api/v1/tables").expect(200);
    assert!(list["tables"].as_array().unwrap().iter().any(|t| t["name"] == json!(table)));
    let columns = server.get(&format!("/api/v1/tables/{table}/columns")).expect(200);
    let names: Vec<_> = columns["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["__time", "name", "n"]);
    assert_eq!(columns["columns"][1]["cardinality"], 2, "{columns}");
    let before = one["seq"].as_u64().unwrap();
    server.push(&table, &[json!({"ts": 1})]);
    assert!(server.get(&format!("/api/v1/tables/{table}")).expect(200)["seq"].as_u64().unwrap() > before);
}

// --- the page, the demo -------------------------------------------------------------------------------------------------------

#[test]
fn the_page_is_served_with_its_policy() {
    let server = shared();
    for path in ["/", "/unified-console.html"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("location")), (302, Some("/ui/")), "{path}");
    }
    let page = server.get("/ui/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").is_some_and(|t| t.starts_with("text/html")));
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    // But for the nonce, which is another each time.
    let plain = |text: String| {
        let (before, rest) = text.split_once("nonce=\"").expect("the page has a nonce");
        let (nonce, after) = rest.split_once('"').expect("the page has a nonce");
        assert!(nonce.len() >= 16, "{nonce}");
        format!("{before}{after}")
    };
    let inner = server.get("/ui/explore/some/table");
    assert_eq!(plain(inner.text()), plain(page.text()), "paths of the page are the page");
    for link in page.text().split('"').filter(|part| part.contains("assets/")) {
        let path =
            if link.starts_with('/') { link.to_owned() } else { format!("/ui/{}", link.trim_start_matches("./")) };
        assert_eq!(server.get(&path).status, 200, "{link}");
    }
    assert!(
        server.get("/ui/assets/none.js").status == 404 || server.get("/ui/assets/none.js").text().contains("<html")
    );
}

#[test]
fn the_demo_fills_its_table_and_stops() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/api/v1/demo").expect(200)["running"], false);
    let state = server.post("/api/v1/demo", &json!({"rate": 500, "seed": 7})).expect(200);
    assert_eq!((&state["running"], &state["rate"], &state["seed"]), (&json!(true), &json!(500), &json!(7)), "{state}");
    wait::until("history and live rows", || {
        let state = server.get("/api/v1/demo").expect(200);
        let rows = server.count("demo");
        if state["backfilled"] == true && rows > 2000 { Ok(()) } else { Err(format!("{state}, {rows} rows")) }
    });
    let first = server.count("demo");
    wait::until("more rows", || {
        let rows = server.count("demo");
        if rows > first + 500 { Ok(()) } else { Err(format!("{rows} rows")) }
    });
    let fresh =
        server.sql("SELECT TIMESTAMPDIFF(SECOND, MAX(__time), CURRENT_TIMESTAMP) FROM demo")[0][0].as_i64().unwrap();
    assert!(fresh.abs() < 60, "the newest row is {fresh} s old");
    assert_eq!(server.post("/api/v1/demo", &json!({"rate": 0})).expect(200)["rate"], 0);
    for bad in [json!({"rate": -1}), json!({"rate": 100_001}), json!({"rate": "many"}), json!({"rat": 5})] {
        let _ = server.post("/api/v1/demo", &bad).expect_error(400);
    }
    assert_eq!(server.delete("/api/v1/demo?drop=true").expect(200)["running"], false);
    assert_eq!(server.get("/api/v1/tables/demo").status, 404);
}

#[test]
fn the_demo_flag_starts_it_and_the_seed_decides_the_events() {
    let history = |seed: &str| {
        let server = Server::start(&["--demo", "--seed", seed, "--demo-rate", "20"]);
        wait::until("the history", || {
            let state = server.get("/api/v1/demo").expect(200);
            if state["backfilled"] == true { Ok(()) } else { Err(state.to_string()) }
        });
        assert_eq!(server.get("/api/v1/demo").expect(200)["seed"].to_string(), seed);
        let columns = server.rows("SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'demo' ORDER BY COLUMN_NAME");
        assert!(columns.as_array().unwrap().len() > 5, "{columns}");
        columns
    };
    assert_eq!(history("3"), history("4"), "another seed gives other events of the same shape");
}

// --- memory -------------------------------------------------------------------------------------------------------------------

#[test]
fn with_little_memory_pushes_are_refused_and_reads_go_on() {
    let server = Server::start(&["--memory-bytes-max", &(128 << 20).to_string()]);
    let mut random = freshet_tests::events::Random::new(17);
    let mut taken = 0_i64;
    let refused = (0..400).find_map(|n| {
        let rows: String = (0..500)
            .map(|i| format!("{{\"ts\":{i},\"text\":\"{:x}-{}\"}}\n", random.next_u64(), "x".repeat(900)))
            .collect();
        let answer = server.post_bytes("/api/v1/push/big", "application/x-ndjson", rows);
        if answer.status == 200 {
            taken += answer.json()["accepted"].as_i64().unwrap();
            None
        } else {
            Some((n, answer))
        }
    });
    let (_, answer) = refused.expect("200 MB of rows do not fit");
    assert!(answer.status == 429 || answer.status == 503, "{}: {}", answer.status, answer.text());
    assert!(answer.header("retry-after").is_some(), "says when to come again");
    let _ = answer.expect_error(answer.status);
    assert_eq!(server.count("big"), taken, "what was accepted is there, the refused batch is not");
    assert_eq!(server.delete("/api/v1/tables/big").expect(200)["dropped"], true);
    wait::until("room again", || {
        let answer = server.post("/api/v1/push/big", &json!({"ts": 1}));
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    server.assert_no_panics();
}
