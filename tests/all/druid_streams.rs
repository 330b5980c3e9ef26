//! How an answer comes: its context, its limits, its end (contract 1.5 to 1.8; bounds on work).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use freshet_tests::cluster::{Answer, Server, Setup, shared, unique};
use freshet_tests::wait;
use serde_json::{Value, json};

/// Rows of [`wide`].
const WIDE_ROWS: i64 = 1_000;

/// A thousand rows with a text of a hundred characters: crossed with itself, a million.
fn wide(server: &Server) -> String {
    let table = unique("wide");
    let rows: String = (0..WIDE_ROWS).map(|n| format!("{{\"ts\":{n},\"n\":{n},\"t\":\"{n:0>100}\"}}\n")).collect();
    assert_eq!(server.push_lines(&table, rows), u64::try_from(WIDE_ROWS).unwrap());
    table
}

fn shared_wide() -> &'static str {
    static TABLE: OnceLock<String> = OnceLock::new();
    TABLE.get_or_init(|| wide(shared()))
}

/// A query that no deadline of a test outlives.
fn endless(table: &str) -> String {
    format!(
        "SELECT SUM((a.n * 7 + b.n * 5 + c.n * 3 + d.n) % 11) FROM {table} a, {table} b, {table} c, {table} d WHERE a.n + b.n <> c.n + d.n"
    )
}

/// Rows without end, the first of them at once.
fn endless_rows(table: &str) -> String {
    format!("SELECT a.t, b.t AS u, c.n FROM {table} a, {table} b, {table} c")
}

fn ask(body: &Value) -> Answer {
    shared().sql_request(body)
}

#[track_caller]
fn text(query: &str, context: Value) -> String {
    let answer = ask(&json!({"query": query, "context": context}));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.text()
}

/// An error's body without the id of its request.
fn body_of(answer: &Answer) -> Value {
    let mut body = answer.json();
    assert_eq!(body["requestId"].as_str(), answer.header("x-request-id"), "{body}");
    body.as_object_mut().unwrap().shift_remove("requestId");
    body
}

fn resident_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn running(server: &Server) -> u64 {
    let metrics = server.get("/metrics").text();
    let line =
        metrics.lines().find(|line| line.starts_with("freshet_queries_running ")).expect("a count of running queries");
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

// --- SET and the context ---------------------------------------------------------------------------------------------------

#[test]
fn set_statements_win_over_the_context_in_all_they_touch() {
    let moment = "SELECT FLOOR(MILLIS_TO_TIMESTAMP(1442018818771) TO DAY) AS d";
    let context = json!({"sqlTimeZone": "America/Los_Angeles", "sqlStringifyArrays": true, "sqlOuterLimit": 5});
    assert_eq!(
        text(&format!("SET sqlTimeZone = 'Asia/Tokyo'; {moment}"), context.clone()),
        "[{\"d\":\"2015-09-12T00:00:00.000+09:00\"}]\n"
    );
    assert_eq!(text(moment, context.clone()), "[{\"d\":\"2015-09-11T00:00:00.000-07:00\"}]\n");
    assert_eq!(text("SET sqlStringifyArrays = FALSE; SELECT ARRAY[1] AS a", context.clone()), "[{\"a\":[1]}]\n");
    let numbers = "SELECT n FROM (VALUES (1), (2), (3)) AS t(n) ORDER BY n DESC";
    assert_eq!(text(&format!("SET sqlOuterLimit = 1; {numbers}"), context.clone()), "[{\"n\":3}]\n");
    assert_eq!(
        text(&format!("SET sqlOuterLimit = 2; SET sqlOuterLimit = 1; -- last wins\n {numbers};"), json!({})),
        "[{\"n\":3}]\n"
    );
    assert_eq!(
        text("SET somethingUnknown = 'x'; SET useApproximateCountDistinct = 'false'; SELECT 1 AS a", json!({})),
        "[{\"a\":1}]\n"
    );
    let id = unique("set");
    let answer =
        ask(&json!({"query": format!("SET sqlQueryId = '{id}'; SELECT 1"), "context": {"sqlQueryId": "other"}}));
    assert_eq!(
        (answer.header("x-druid-sql-query-id"), answer.header("x-druid-query-id")),
        (Some(id.as_str()), Some(id.as_str()))
    );
    let began = Instant::now();
    let answer = ask(
        &json!({"query": format!("SET timeout = 300; {}", endless(shared_wide())), "context": {"timeout": 60_000}}),
    );
    let _ = answer.expect_error(504);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_query_named_by_set_is_cancelled_by_that_name() {
    let id = unique("set_cancel");
    std::thread::scope(|scope| {
        let query =
            scope.spawn(|| ask(&json!({"query": format!("SET sqlQueryId = '{id}'; {}", endless(shared_wide()))})));
        wait::until("the query to be known", || match shared().delete(&format!("/druid/v2/sql/{id}")).status {
            202 => Ok(()),
            other => Err(other.to_string()),
        });
        let _ = query.join().unwrap().expect_error(500);
    });
}

#[test]
fn context_values_of_a_wrong_type_are_the_old_kind_of_error() {
    for (key, value, wanted) in [
        ("timeout", json!("soon"), "a whole number, 0 or more"),
        ("timeout", json!(-1), "a whole number, 0 or more"),
        ("timeout", json!([1]), "a whole number, 0 or more"),
        ("sqlOuterLimit", json!(1.5), "a whole number, 0 or more"),
        ("sqlStringifyArrays", json!("perhaps"), "true or false"),
        ("useApproximateCountDistinct", json!(3), "true or false"),
        ("useApproximateTopN", json!({}), "true or false"),
        ("sqlTimeZone", json!(5), "a text such as \"Europe/Zurich\""),
        ("sqlQueryId", json!(5), "a text"),
    ] {
        let answer = ask(&json!({"query": "SELECT 1", "context": {key: value}}));
        assert_eq!(answer.status, 400, "{key}");
        assert_eq!(
            body_of(&answer),
            json!({
                "error": "Query context parse failed",
                "errorClass": "org.apache.druid.query.BadQueryContextException",
                "errorCode": "legacyQueryException",
                "persona": "OPERATOR",
                "category": "INVALID_INPUT",
                "errorMessage": format!("context key {key} is {value}, but {wanted} is needed"),
                "context": {"errorClass": "org.apache.druid.query.BadQueryContextException", "legacyErrorCode": "Query context parse failed"},
                "at": format!("/context/{key}")
            })
        );
    }
    // What clients do send passes: numbers and flags as text, whole numbers with a point, null for nothing.
    let context = json!({"timeout": "60000", "sqlOuterLimit": 1000.0, "sqlStringifyArrays": "TRUE", "sqlTimeZone": null, "sqlQueryId": null, "priority": {}, "lane": 7});
    assert_eq!(text("SELECT 1 AS a", context), "[{\"a\":1}]\n");
}

#[test]
fn the_outer_limit_changes_nothing_but_the_number_of_rows() {
    let limited = |sql: &str, limit: i64| text(sql, json!({"sqlOuterLimit": limit}));
    let numbers = "(VALUES (1), (2), (3), (4), (5)) AS t(n)";
    assert_eq!(limited(&format!("SELECT n FROM {numbers} ORDER BY n DESC"), 2), "[{\"n\":5},{\"n\":4}]\n");
    assert_eq!(
        limited(&format!("SELECT n FROM {numbers} ORDER BY n LIMIT 1"), 2),
        "[{\"n\":1}]\n",
        "a smaller LIMIT stays"
    );
    assert_eq!(limited(&format!("SELECT n FROM {numbers} ORDER BY n LIMIT 4"), 2), "[{\"n\":1},{\"n\":2}]\n");
    assert_eq!(
        limited(&format!("SELECT n FROM {numbers} ORDER BY n OFFSET 3"), 3),
        "[{\"n\":4},{\"n\":5}]\n",
        "OFFSET is kept"
    );
    assert_eq!(limited(&format!("SELECT n FROM {numbers} ORDER BY n LIMIT 3 OFFSET 1"), 2), "[{\"n\":2},{\"n\":3}]\n");
    assert_eq!(limited("SELECT 1 AS n UNION ALL SELECT 1 UNION ALL SELECT 1", 2), "[{\"n\":1},{\"n\":1}]\n");
    assert_eq!(
        limited(&format!("WITH w AS (SELECT n FROM {numbers}) SELECT COUNT(*) AS c FROM w"), 1),
        "[{\"c\":5}]\n",
        "only the outermost is limited"
    );
    assert!(limited(&format!("EXPLAIN PLAN FOR SELECT n FROM {numbers}"), 1).starts_with("[{\"PLAN\":"));
    assert_eq!(limited(&format!("SELECT n FROM {numbers}"), 0).matches("\"n\"").count(), 5, "0 is none");
}

#[test]
fn bodies_of_other_kinds() {
    let post = |kind: &str, body: &str| shared().post_bytes("/druid/v2/sql", kind, body.to_owned());
    for kind in ["text/plain", "text/plain; charset=UTF-8", "TEXT/PLAIN"] {
        assert_eq!(post(kind, "SELECT 'a+b' || '%41é' AS a").text(), "[{\"a\":\"a+b%41é\"}]\n", "{kind}");
    }
    assert_eq!(post("application/x-www-form-urlencoded", "SELECT+1+%2B+1+AS+a").text(), "[{\"a\":2}]\n");
    assert_eq!(post("application/x-www-form-urlencoded", "SELECT 'é' AS a").text(), "[{\"a\":\"é\"}]\n");
    assert_eq!(post("application/json;charset=UTF-8", "{\"query\":\"SELECT 1 AS a\"}").text(), "[{\"a\":1}]\n");
    for kind in ["application/xml", "text/csv", "application/octet-stream"] {
        assert_eq!(post(kind, "SELECT 1").status, 415, "{kind}");
    }
    let _ = post("text/plain", "  ").expect_error(400);
}

// --- the end of an answer ----------------------------------------------------------------------------------------------------

#[test]
fn timeout_and_cancel_have_druids_bodies() {
    let answer = ask(&json!({"query": endless(shared_wide()), "context": {"timeout": 200}}));
    let class = "org.apache.druid.query.QueryTimeoutException";
    assert_eq!(answer.status, 504);
    assert_eq!(
        body_of(&answer),
        json!({"error": "Query timeout", "errorClass": class, "errorCode": "legacyQueryException", "persona": "OPERATOR", "category": "TIMEOUT",
            "errorMessage": "query did not finish within 200 ms: narrow its time range, or raise `timeout`",
            "context": {"errorClass": class, "legacyErrorCode": "Query timeout"}})
    );
    let id = unique("both");
    let body = json!({"query": endless(shared_wide()), "context": {"sqlQueryId": id}});
    std::thread::scope(|scope| {
        let queries: Vec<_> = (0..2).map(|_| scope.spawn(|| ask(&body))).collect();
        wait::until("both queries to run", || if running(shared()) >= 2 { Ok(()) } else { Err(String::new()) });
        let answer = shared().delete(&format!("/druid/v2/sql/{id}"));
        assert_eq!((answer.status, answer.bytes.len()), (202, 0));
        let class = "org.apache.druid.query.QueryInterruptedException";
        for query in queries {
            let answer = query.join().unwrap();
            assert_eq!(answer.status, 500);
            assert_eq!(answer.header("x-druid-sql-query-id"), Some(id.as_str()));
            assert_eq!(
                body_of(&answer),
                json!({"error": "Query cancelled", "errorClass": class, "errorCode": "legacyQueryException", "persona": "OPERATOR",
                    "category": "CANCELED", "errorMessage": "query was cancelled",
                    "context": {"errorClass": class, "legacyErrorCode": "Query cancelled"}})
            );
        }
    });
    let answer = shared().delete(&format!("/druid/v2/sql/{id}"));
    assert_eq!((answer.status, answer.bytes.len()), (404, 0));
}

/// With one place eight may wait.
#[test]
fn a_full_queue_refuses_and_what_waits_can_be_cancelled_and_times_out() {
    let server = Setup::default().flags(&["--queries-running-max", "1"]).start();
    let table = wide(&server);
    let ask = |id: &str, timeout_ms: u64| {
        server.sql_request(&json!({"query": endless(&table), "context": {"sqlQueryId": id, "timeout": timeout_ms}}))
    };
    let cancel = |id: &str| {
        wait::until("the query to be known", || match server.delete(&format!("/druid/v2/sql/{id}")).status {
            202 => Ok(()),
            other => Err(other.to_string()),
        });
    };
    std::thread::scope(|scope| {
        let occupant = scope.spawn(|| ask("occupant", 0));
        wait::until("the place to be taken", || if running(&server) == 1 { Ok(()) } else { Err(String::new()) });
        let began = Instant::now();
        let late = ask("late", 200);
        assert_eq!(
            (late.status, late.json()["category"].as_str()),
            (504, Some("TIMEOUT")),
            "its time runs while it waits"
        );
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

        let waiting = scope.spawn(|| ask("waiting", 0));
        cancel("waiting");
        let answer = waiting.join().unwrap();
        assert_eq!((answer.status, answer.json()["category"].as_str()), (500, Some("CANCELED")));

        // One more than the queue holds: the first answer is that one's.
        let (send, answers) = std::sync::mpsc::channel();
        for _ in 0..9 {
            let (send, ask) = (send.clone(), &ask);
            scope.spawn(move || send.send(ask("many", 0)).unwrap());
        }
        let refused = answers.recv().unwrap();
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert_eq!(refused.header("retry-after"), Some("1"));
        let class = "org.apache.druid.query.QueryCapacityExceededException";
        assert_eq!(
            body_of(&refused),
            json!({"error": "Query capacity exceeded", "errorClass": class, "errorCode": "legacyQueryException", "persona": "OPERATOR",
                "category": "CAPACITY_EXCEEDED", "errorMessage": "8 queries are waiting for a place already",
                "context": {"errorClass": class, "legacyErrorCode": "Query capacity exceeded"},
                "hint": "ask again in a moment, or raise queries_running_max"})
        );
        cancel("many");
        for _ in 0..8 {
            assert_eq!(answers.recv().unwrap().status, 500, "one cancel ends all of the name");
        }
        cancel("occupant");
        assert_eq!(occupant.join().unwrap().status, 500);
    });
    assert_eq!(server.count(&table), WIDE_ROWS, "the place is free again");
}

/// What fails after the first byte cuts the body short: no error inside a 200, no end mark.
#[test]
fn a_failure_after_the_first_rows_cuts_the_body_short() {
    let t = shared_wide();
    let last = WIDE_ROWS - 1;
    let sql =
        format!("SELECT a.t, 1 / (CASE WHEN a.n = {last} AND b.n = {last} THEN 0 ELSE 1 END) AS x FROM {t} a, {t} b");
    for (format, end) in [("object", "]\n"), ("arrayLines", "\n\n"), ("csv", "\n\n")] {
        let client = reqwest::blocking::Client::builder()
            .no_gzip()
            .no_proxy()
            .timeout(Duration::from_secs(120))
            .build()
            .unwrap();
        let mut answer = client
            .post(shared().url("/druid/v2/sql"))
            .json(&json!({"query": sql, "resultFormat": format}))
            .send()
            .unwrap();
        assert_eq!(answer.status(), 200, "{format}");
        let mut body = Vec::new();
        let ended = answer.read_to_end(&mut body);
        assert!(ended.is_err(), "{format}: the connection breaks off");
        let text = String::from_utf8_lossy(&body);
        assert!(
            body.len() > 1000 && !text.ends_with(end) && !text.contains("division"),
            "{format}: {} bytes",
            body.len()
        );
    }
}

/// A million rows of 230 bytes go by, and the server holds a few of them.
#[test]
fn a_million_rows_stream_in_bounded_memory() {
    const GROWTH_MAX: u64 = 64 << 20;
    let server = Setup::default().start();
    let table = wide(&server);
    // What the first query of a process takes once.
    let _ = server.rows(&format!("SELECT COUNT(*) FROM (SELECT a.*, b.t AS u FROM {table} a, {table} b LIMIT 100000)"));
    let before = resident_bytes(&server);
    let client =
        reqwest::blocking::Client::builder().no_gzip().no_proxy().timeout(Duration::from_secs(300)).build().unwrap();
    let body = json!({"query": format!("SELECT * FROM {table} a CROSS JOIN {table} b"), "resultFormat": "arrayLines"});
    let mut answer = client.post(server.url("/druid/v2/sql")).json(&body).send().unwrap();
    let began = Instant::now();
    let (mut lines, mut bytes, mut most, mut tail) = (0_u64, 0_usize, 0, Vec::new());
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = answer.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        lines += piece[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        bytes += read;
        tail.extend_from_slice(&piece[..read]);
        tail.drain(..tail.len().saturating_sub(8));
        most = most.max(resident_bytes(&server));
        assert!(began.elapsed() < Duration::from_secs(240), "{lines} rows in {:?}", began.elapsed());
    }
    assert!(tail.ends_with(b"]\n\n"), "the end mark is there");
    assert_eq!(lines, 1_000_001);
    assert!(bytes > 200_000_000, "{bytes}");
    assert!(most < before + GROWTH_MAX, "from {} to {} MiB", before >> 20, most >> 20);
}

#[test]
fn a_reader_that_takes_nothing_is_dropped_and_its_query_ends() {
    let server = Setup::default().flags(&["--reader-stall-ms-max", "1500"]).start();
    let table = wide(&server);
    let body = json!({"query": endless_rows(&table)}).to_string();
    let mut socket = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "POST /druid/v2/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body.as_bytes()).unwrap();
    let mut first = [0; 12];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(running(&server), 1);
    let before = resident_bytes(&server);
    wait::until_within(Duration::from_secs(30), "the query to be given up", || {
        assert!(resident_bytes(&server) < before + (64 << 20), "what nobody takes is not kept");
        if running(&server) == 0 { Ok(()) } else { Err("it runs".to_owned()) }
    });
    // What was on its way comes, and then the end or a reset, without the end of the chunks.
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut rest = Vec::new();
    let _broken = socket.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it is not a whole answer");
    assert_eq!(server.count(&table), WIDE_ROWS);
}

#[test]
fn a_client_that_goes_away_frees_its_query() {
    let server = Setup::default().start();
    let table = wide(&server);
    let client = reqwest::blocking::Client::builder().timeout(Duration::from_millis(700)).no_proxy().build().unwrap();
    let answer = client.post(server.url("/druid/v2/sql")).json(&json!({"query": endless(&table)})).send();
    assert!(answer.is_err(), "the client gave up");
    wait::until_within(Duration::from_secs(20), "the query to be gone", || match running(&server) {
        0 => Ok(()),
        queries => Err(format!("{queries} run")),
    });
}

#[test]
fn a_packed_answer_streams_too() {
    let client =
        reqwest::blocking::Client::builder().no_gzip().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    let id = unique("packed");
    let body =
        json!({"query": endless_rows(shared_wide()), "resultFormat": "arrayLines", "context": {"sqlQueryId": id}});
    let answer =
        client.post(shared().url("/druid/v2/sql")).header("Accept-Encoding", "gzip").json(&body).send().unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let mut rows = flate2::read::GzDecoder::new(answer);
    let mut text = vec![0; 100_000];
    rows.read_exact(&mut text).unwrap();
    assert!(text.starts_with(b"[\"0000"), "rows are here while the query runs");
    drop(rows);
    wait::until("the query to be gone with its reader", || {
        match shared().delete(&format!("/druid/v2/sql/{id}")).status {
            404 => Ok(()),
            other => Err(other.to_string()),
        }
    });
}

#[test]
fn headers_of_success_and_failure() {
    for (format, kind) in [
        ("object", "application/json"),
        ("array", "application/json"),
        ("objectLines", "text/plain"),
        ("arrayLines", "text/plain"),
        ("csv", "text/csv"),
    ] {
        let answer = ask(&json!({"query": "SELECT 1", "resultFormat": format, "header": true}));
        assert_eq!(answer.header("content-type"), Some(kind), "{format}");
        assert_eq!(answer.header("x-druid-sql-header-included"), Some("yes"));
        assert_eq!(answer.header("content-encoding"), None, "packed only when asked");
        let id = answer.header("x-druid-sql-query-id").unwrap();
        assert_eq!((id.len(), answer.header("x-druid-query-id")), (36, Some(id)), "a fresh UUID");
    }
    for query in ["SELECT nope", "SELECT", ""] {
        let answer = ask(&json!({"query": query, "header": true, "context": {"sqlQueryId": "named"}}));
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")), "{query}");
        assert_eq!(
            (answer.header("x-druid-sql-query-id"), answer.header("x-druid-query-id")),
            (Some("named"), Some("named"))
        );
        assert_eq!(answer.header("x-druid-sql-header-included"), None);
    }
}
