//! Druid's SQL endpoint, byte for byte where clients depend on bytes.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use freshet_tests::cluster::{Answer, shared, unique};
use freshet_tests::{events, wait};
use serde_json::{Value, json};

/// One small table for all tests of this module that only read.
fn table() -> &'static str {
    static TABLE: OnceLock<String> = OnceLock::new();
    TABLE.get_or_init(|| {
        let table = unique("formats");
        shared().push(
            &table,
            &[
                json!({"ts": "2026-01-01T00:00:00.001Z", "name": "plain", "n": 1, "x": 1.0}),
                json!({"ts": "2026-01-01T00:00:00.002Z", "name": "a,b \"c\"", "n": 9_007_199_254_740_993_i64, "x": 0.1}),
                json!({"ts": "2026-01-01T00:00:00.003Z", "name": null, "n": null, "x": null}),
                json!({"ts": "2026-01-01T00:00:00.004Z", "name": "", "n": -5, "x": 1e300}),
                json!({"ts": "2026-01-01T00:00:00.005Z", "name": "Zürich 東京 😀\nline", "n": 0, "x": -0.5}),
            ],
        );
        table
    })
}

fn ask(body: Value) -> Answer {
    shared().sql_request(&body)
}

/// The body of a query in a format, which must be answered with 200.
#[track_caller]
fn text(query: &str, format: &str, extra: Value) -> String {
    let mut body = json!({"query": query, "resultFormat": format});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let answer = ask(body);
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.text()
}

#[track_caller]
fn refused(query: &str) -> (String, Value) {
    let answer = ask(json!({"query": query}));
    let message = answer.expect_error(400);
    let body = answer.json();
    assert_eq!(body["error"], "druidException", "{body}");
    assert_eq!(body["category"], "INVALID_INPUT", "{body}");
    assert!(body["errorCode"].is_string() && body["persona"].is_string(), "{body}");
    (message, body)
}

// --- 1.3: the bytes -------------------------------------------------------------------------------------------------------

/// The table of section 1.3: COUNT(*) is a LONG and BIGINT in Druid.
#[test]
fn five_formats_byte_for_byte() {
    let t = table();
    let one = format!("SELECT COUNT(*) AS a FROM {t} WHERE n = 1");
    let none = format!("SELECT n AS a FROM {t} WHERE n = 424242");
    let all = json!({"header": true, "typesHeader": true, "sqlTypesHeader": true});
    for (format, empty, plain, headed) in [
        ("object", "[]\n", "[{\"a\":1}]\n", "[{\"a\":{\"type\":\"LONG\",\"sqlType\":\"BIGINT\"}},{\"a\":1}]\n"),
        ("array", "[]\n", "[[1]]\n", "[[\"a\"],[\"LONG\"],[\"BIGINT\"],[1]]\n"),
        ("objectLines", "\n\n", "{\"a\":1}\n\n", "{\"a\":{\"type\":\"LONG\",\"sqlType\":\"BIGINT\"}}\n{\"a\":1}\n\n"),
        ("arrayLines", "\n\n", "[1]\n\n", "[\"a\"]\n[\"LONG\"]\n[\"BIGINT\"]\n[1]\n\n"),
        ("csv", "\n", "1\n\n", "a\nLONG\nBIGINT\n1\n\n"),
    ] {
        assert_eq!(text(&none, format, json!({})), empty, "{format}, no row");
        assert_eq!(text(&one, format, json!({})), plain, "{format}");
        assert_eq!(text(&one, format, all.clone()), headed, "{format}, all headers");
    }
}

#[test]
fn header_rows_by_flag() {
    let t = table();
    let none = format!("SELECT n AS a, name AS b FROM {t} WHERE n = 424242");
    let header = json!({"header": true});
    assert_eq!(text(&none, "object", header.clone()), "[{\"a\":null,\"b\":null}]\n");
    assert_eq!(text(&none, "array", header.clone()), "[[\"a\",\"b\"]]\n");
    assert_eq!(text(&none, "objectLines", header.clone()), "{\"a\":null,\"b\":null}\n\n");
    assert_eq!(text(&none, "arrayLines", header.clone()), "[\"a\",\"b\"]\n\n");
    assert_eq!(text(&none, "csv", header), "a,b\n\n");
    let types = json!({"header": true, "typesHeader": true});
    assert_eq!(text(&none, "object", types.clone()), "[{\"a\":{\"type\":\"LONG\"},\"b\":{\"type\":\"STRING\"}}]\n");
    assert_eq!(text(&none, "array", types), "[[\"a\",\"b\"],[\"LONG\",\"STRING\"]]\n");
    let sql_types = json!({"header": true, "sqlTypesHeader": true});
    assert_eq!(
        text(&none, "object", sql_types.clone()),
        "[{\"a\":{\"sqlType\":\"BIGINT\"},\"b\":{\"sqlType\":\"VARCHAR\"}}]\n"
    );
    assert_eq!(text(&none, "csv", sql_types), "a,b\nBIGINT,VARCHAR\n\n");
}

#[test]
fn native_and_sql_types_of_columns_and_expressions() {
    let t = table();
    let query =
        format!("SELECT __time, name, n, x, n > 0 AS b, COUNT(*) OVER () AS c, 1 AS i, 'x' AS s FROM {t} LIMIT 0");
    let seen = text(&query, "array", json!({"header": true, "typesHeader": true, "sqlTypesHeader": true}));
    let rows: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(rows[0], json!(["__time", "name", "n", "x", "b", "c", "i", "s"]));
    assert_eq!(rows[1], json!(["LONG", "STRING", "LONG", "DOUBLE", "LONG", "LONG", "LONG", "STRING"]));
    let sql = &rows[2];
    assert_eq!(sql[0], "TIMESTAMP");
    assert_eq!(sql[1], "VARCHAR");
    assert_eq!(sql[2], "BIGINT");
    assert_eq!(sql[3], "DOUBLE");
    assert_eq!(sql[4], "BOOLEAN");
    assert_eq!(sql[5], "BIGINT");
    assert!(sql[6] == "INTEGER" || sql[6] == "BIGINT", "{sql}");
    assert!(sql[7] == "CHAR" || sql[7] == "VARCHAR", "{sql}");
}

#[test]
fn values_are_rendered_as_clients_parse_them() {
    let t = table();
    let query = format!("SELECT __time, name, n, x, n > 0 AS b FROM {t} ORDER BY __time");
    assert_eq!(
        text(&query, "objectLines", json!({})),
        concat!(
            "{\"__time\":\"2026-01-01T00:00:00.001Z\",\"name\":\"plain\",\"n\":1,\"x\":1.0,\"b\":true}\n",
            "{\"__time\":\"2026-01-01T00:00:00.002Z\",\"name\":\"a,b \\\"c\\\"\",\"n\":9007199254740993,\"x\":0.1,\"b\":true}\n",
            "{\"__time\":\"2026-01-01T00:00:00.003Z\",\"name\":null,\"n\":null,\"x\":null,\"b\":null}\n",
            "{\"__time\":\"2026-01-01T00:00:00.004Z\",\"name\":\"\",\"n\":-5,\"x\":1.0E300,\"b\":false}\n",
            "{\"__time\":\"2026-01-01T00:00:00.005Z\",\"name\":\"Zürich 東京 😀\\nline\",\"n\":0,\"x\":-0.5,\"b\":false}\n",
            "\n"
        )
    );
}

#[test]
fn csv_quotes_only_where_it_must() {
    let t = table();
    assert_eq!(
        text(&format!("SELECT name, n, x FROM {t} ORDER BY __time"), "csv", json!({})),
        "plain,1,1.0\n\"a,b \"\"c\"\"\",9007199254740993,0.1\n,,\n,-5,1.0E300\n\"Zürich 東京 😀\nline\",0,-0.5\n\n"
    );
    assert_eq!(
        text(&format!("SELECT name FROM {t} WHERE name IS NULL OR name = '' ORDER BY __time"), "csv", json!({})),
        "\"\"\n\"\"\n\n",
        "a row whose only field is empty is not mistaken for the end"
    );
}

#[test]
fn numbers_that_are_not_numbers_are_strings() {
    let t = table();
    let query = format!("SELECT x / 0.0 AS p, -x / 0.0 AS m, (x - x) / 0.0 AS n FROM {t} WHERE n = 1");
    assert_eq!(text(&query, "array", json!({})), "[[\"Infinity\",\"-Infinity\",\"NaN\"]]\n");
}

#[test]
fn names_of_columns() {
    let t = table();
    assert_eq!(
        text(&format!("SELECT n + 1, name, COUNT(*) FROM {t} WHERE n = 1 GROUP BY n, name"), "object", json!({})),
        "[{\"EXPR$0\":2,\"name\":\"plain\",\"EXPR$2\":1}]\n"
    );
    let twice = text(&format!("SELECT n AS a, n AS a FROM {t} WHERE n = 1"), "array", json!({"header": true}));
    assert_eq!(twice, "[[\"a\",\"a\"],[1,1]]\n", "duplicate names do not fail");
    assert_eq!(
        text(&format!("SELECT n AS a, n AS a FROM {t} WHERE n = 1"), "object", json!({})),
        "[{\"a\":1,\"a\":1}]\n"
    );
    assert_eq!(text("SELECT 1 AS \"Größe \"\"x\"\"\"", "object", json!({})), "[{\"Größe \\\"x\\\"\":1}]\n");
}

#[test]
fn select_star_begins_with_time_and_keeps_the_order_of_ingestion() {
    let t = table();
    let rows = text(&format!("SELECT * FROM {t} LIMIT 1"), "arrayLines", json!({"header": true}));
    assert!(rows.starts_with("[\"__time\",\"name\",\"n\",\"x\"]\n"), "{rows}");
}

#[test]
fn the_format_defaults_to_object_and_is_matched_in_any_case() {
    assert_eq!(ask(json!({"query": "SELECT 1 AS a"})).text(), "[{\"a\":1}]\n");
    assert_eq!(ask(json!({"query": "SELECT 1 AS a;", "resultFormat": "ARRAYLINES"})).text(), "[1]\n\n");
    assert_eq!(
        ask(json!({"query": "SELECT 1 AS a", "somethingNew": {"x": 1}, "context": {"unknownKey": [1]}})).text(),
        "[{\"a\":1}]\n",
        "unknown fields and context keys are ignored"
    );
}

// --- 1.5: headers -------------------------------------------------------------------------------------------------------------

#[test]
fn headers_of_answers_and_errors() {
    let answer = ask(json!({"query": "SELECT 1", "context": {"sqlQueryId": "my-id"}}));
    assert!(answer.header("content-type").is_some_and(|t| t.starts_with("application/json")));
    assert_eq!(answer.header("x-druid-sql-query-id"), Some("my-id"));
    assert_eq!(answer.header("x-druid-sql-header-included"), None);
    let answer = ask(json!({"query": "SELECT 1", "header": true}));
    assert_eq!(answer.header("x-druid-sql-header-included"), Some("yes"));
    assert!(answer.header("x-druid-sql-query-id").is_some_and(|id| id.len() >= 32), "a fresh id");
    let answer = ask(json!({"query": "SELECT nope FROM nowhere", "context": {"sqlQueryId": "bad-id"}}));
    assert_eq!((answer.status, answer.header("x-druid-sql-query-id")), (400, Some("bad-id")));
    let answer = ask(json!({"query": "SELECT 1", "resultFormat": "csv"}));
    assert!(answer.header("content-type").is_some_and(|t| t.starts_with("text/csv")), "{:?}", answer.headers);
}

#[test]
fn both_spellings_of_the_path_and_a_query_string_work_without_redirect() {
    for path in ["/druid/v2/sql", "/druid/v2/sql/", "/druid/v2/sql?pretty", "/druid/v2/sql/?capabilities"] {
        let answer = shared().post(path, &json!({"query": "SELECT 1 AS a"}));
        assert_eq!((answer.status, answer.text().as_str()), (200, "[{\"a\":1}]\n"), "{path}");
    }
    let _ = shared().get("/druid/v2/sql").expect_error(405);
    let _ = shared().get("/druid/v2/nothing").expect_error(404);
}

// --- 1.7: errors ----------------------------------------------------------------------------------------------------------------

#[test]
fn an_unknown_column_is_named_with_its_position() {
    let (message, body) = refused(&format!("SELECT\n  nope\nFROM {}", table()));
    assert!(message.contains("nope"), "{message}");
    assert_eq!(body["context"]["sourceType"], "sql", "{body}");
    assert_eq!(
        (&body["context"]["line"], &body["context"]["column"]),
        (&json!("2"), &json!("3")),
        "1-based, as text: {body}"
    );
}

#[test]
fn an_unknown_table_is_named_with_its_position() {
    let (message, body) = refused("SELECT 1 FROM nowhere_to_be_found");
    assert!(message.contains("nowhere_to_be_found"), "{message}");
    assert_eq!((&body["context"]["line"], &body["context"]["column"]), (&json!("1"), &json!("15")), "{body}");
}

#[test]
fn a_nearly_right_name_gets_a_hint() {
    let (message, body) = refused(&format!("SELECT nam FROM {}", table()));
    let hint = format!("{message} {}", body["hint"]);
    assert!(hint.contains("name"), "{hint}");
    let (message, body) = refused(&format!("SELECT 1 FROM {}x", table()));
    let hint = format!("{message} {}", body["hint"]);
    assert!(hint.contains(table()), "{hint}");
}

#[test]
fn broken_syntax_is_refused_with_a_position() {
    for (query, line, column) in [
        ("SELEC 1", "1", "1"),
        ("SELECT 1 FROM", "1", ""),
        ("SELECT (1", "1", ""),
        ("SELECT 1,\n  , 2", "2", "3"),
        ("", "", ""),
    ] {
        let (_, body) = refused(query);
        if !line.is_empty() {
            assert_eq!(body["context"]["line"], json!(line), "{query}: {body}");
        }
        if !column.is_empty() {
            assert_eq!(body["context"]["column"], json!(column), "{query}: {body}");
        }
    }
}

#[test]
fn what_druid_refuses_is_refused() {
    let t = table();
    for query in [
        &format!("DELETE FROM {t}"),
        &format!("UPDATE {t} SET n = 1"),
        &format!("DROP TABLE {t}"),
        "CREATE TABLE x (a BIGINT)",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SELECT 1; SELECT 2",
        "SHOW TABLES",
        "SET x = 1",
        "SELECT * FROM '/etc/passwd'",
        "SELECT NO_SUCH_FUNCTION(1)",
        "SELECT UPPER(1, 2, 3)",
        &format!("SELECT name + 1 FROM {t} WHERE SUM(n) > 1"),
        &format!("SELECT name, COUNT(*) FROM {t}"),
    ] {
        let _ = refused(query);
    }
    shared().assert_no_panics();
    assert_eq!(shared().count(t), 5);
}

#[test]
fn bad_requests_are_refused_in_the_same_shape() {
    let post = |content_type: &str, body: &str| shared().post_bytes("/druid/v2/sql", content_type, body.to_owned());
    for body in [
        "",
        "{",
        "[]",
        "\"SELECT 1\"",
        "{\"query\":1}",
        "{}",
        "{\"query\":\"SELECT 1\",\"resultFormat\":\"xml\"}",
        "{\"query\":\"SELECT 1\",\"header\":\"yes please\"}",
        "{\"query\":\"SELECT 1\",\"typesHeader\":true}",
        "{\"query\":\"SELECT 1\",\"sqlTypesHeader\":true}",
        "{\"query\":\"SELECT 1\",\"context\":{\"sqlTimeZone\":\"Mars/Olympus\"}}",
        "{\"query\":\"SELECT 1\",\"context\":{\"timeout\":\"soon\"}}",
        "{\"query\":\"SELECT ?\",\"parameters\":[null]}",
        "{\"query\":\"SELECT ?\",\"parameters\":[{\"type\":\"NONSENSE\",\"value\":1}]}",
        "{\"query\":\"SELECT ?\",\"parameters\":[]}",
    ] {
        let answer = post("application/json", body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        let _ = answer.expect_error(400);
    }
    let _ = post("application/xml", "<q/>").expect_error(415);
}

#[test]
fn endless_and_deep_texts_are_refused_and_do_not_hurt() {
    let t = table();
    let sum = format!("SELECT {}", vec!["1"; 60_000].join("+"));
    let or = format!("SELECT COUNT(*) FROM {t} WHERE {}", vec!["n=1"; 60_000].join(" OR "));
    let nested = format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000));
    let not = format!("SELECT {} TRUE", "NOT ".repeat(50_000));
    let subqueries = format!("{}1{}", "SELECT * FROM (SELECT ".repeat(3000), ")".repeat(3000));
    let case = format!("SELECT {}1{}", "CASE WHEN TRUE THEN ".repeat(5000), " END".repeat(5000));
    let long = format!("SELECT '{}'", "x".repeat(2 << 20));
    for query in [sum, or, nested, not, subqueries, case, long] {
        let began = Instant::now();
        let answer = ask(json!({"query": query}));
        assert!(answer.status == 400 || answer.status == 413, "{}: {:.200}", answer.status, answer.text());
        assert!(answer.text().len() < 10_000, "an error does not repeat a huge text");
        assert!(began.elapsed() < Duration::from_secs(20), "{:.40}… took {:?}", query, began.elapsed());
    }
    shared().assert_no_panics();
    // What people do write is not refused: a list of 2,000 values, thirty terms.
    let list: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    let rows = shared().rows(&format!("SELECT COUNT(*) FROM {t} WHERE n IN ({})", list.join(",")));
    assert_eq!(rows, json!([[2]]));
    let terms: Vec<String> = (0..30).map(|n| format!("n = {n}")).collect();
    assert_eq!(shared().rows(&format!("SELECT COUNT(*) FROM {t} WHERE {}", terms.join(" OR "))), json!([[2]]));
}

// --- parameters, limits, cancel -------------------------------------------------------------------------------------------------

#[test]
fn parameters_are_bound_in_order() {
    let t = table();
    let rows = |query: &str, parameters: Value| {
        ask(json!({"query": query, "resultFormat": "array", "parameters": parameters})).expect(200)
    };
    let by_type = |sql_type: &str, value: Value| json!({"type": sql_type, "value": value});
    assert_eq!(
        rows(
            &format!("SELECT n FROM {t} WHERE name = ? AND n >= ? AND x < ?"),
            json!([by_type("VARCHAR", json!("plain")), by_type("BIGINT", json!(1)), by_type("DOUBLE", json!(2.5))])
        ),
        json!([[1]])
    );
    for value in [json!(events::START_MS + 2), json!("2026-01-01T00:00:00.002Z"), json!("2026-01-01 00:00:00.002")] {
        assert_eq!(
            rows(&format!("SELECT name FROM {t} WHERE __time = ?"), json!([by_type("TIMESTAMP", value.clone())])),
            json!([["a,b \"c\""]]),
            "{value}"
        );
    }
    assert_eq!(
        rows(&format!("SELECT COUNT(*) FROM {t} WHERE name = ?"), json!([by_type("VARCHAR", json!("x' OR '1'='1"))])),
        json!([[0]]),
        "a value is never text of the query"
    );
    assert_eq!(
        rows(
            &format!("SELECT COUNT(*) FROM {t} WHERE name IS NOT DISTINCT FROM ?"),
            json!([by_type("VARCHAR", Value::Null)])
        ),
        json!([[1]])
    );
    assert_eq!(rows("SELECT ? + 1", json!([by_type("BIGINT", json!(41))])), json!([[42]]));
    assert_eq!(rows("SELECT ?", json!([by_type("BOOLEAN", json!(true))])), json!([[true]]));
}

#[test]
fn the_outer_limit_of_the_console_wraps_the_query() {
    let t = table();
    let count = |query: String, limit: Value| {
        let body = json!({"query": query, "resultFormat": "array", "context": {"sqlOuterLimit": limit}});
        ask(body).expect(200).as_array().unwrap().len()
    };
    assert_eq!(count(format!("SELECT * FROM {t}"), json!(2)), 2);
    assert_eq!(count(format!("SELECT * FROM {t} LIMIT 1"), json!(3)), 1);
    assert_eq!(count(format!("SELECT * FROM {t} LIMIT 4 OFFSET 2"), json!(1001)), 3);
}

/// A query that runs for very long: a cross join of a table with itself, over and over. Nothing about it can be answered from
/// metadata.
fn endless() -> String {
    static TABLE: OnceLock<String> = OnceLock::new();
    let t = TABLE.get_or_init(|| {
        let table = unique("endless");
        let rows: String = (0..3000).map(|n| format!("{{\"ts\":{n},\"n\":{n}}}\n")).collect();
        assert_eq!(shared().push_lines(&table, rows), 3000);
        table
    });
    format!(
        "SELECT SUM((a.n * 7 + b.n * 5 + c.n * 3 + d.n) % 11) FROM {t} a, {t} b, {t} c, {t} d WHERE a.n + b.n <> c.n + d.n"
    )
}

#[test]
fn a_timeout_ends_a_query_with_504() {
    let began = Instant::now();
    let answer = ask(json!({"query": endless(), "context": {"timeout": 700}}));
    let _ = answer.expect_error(504);
    let body = answer.json();
    assert_eq!(body["error"], "Query timeout", "{body}");
    assert_eq!(body["category"], "TIMEOUT", "{body}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_query_can_be_cancelled_by_its_id() {
    let id = unique("cancel");
    std::thread::scope(|scope| {
        let query = scope.spawn(|| {
            let began = Instant::now();
            (ask(json!({"query": endless(), "context": {"sqlQueryId": id, "timeout": 60_000}})), began.elapsed())
        });
        wait::until("the query to be known", || {
            let answer = shared().delete(&format!("/druid/v2/sql/{id}"));
            if answer.status == 202 { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
        });
        let cancelled = Instant::now();
        let (answer, _) = query.join().unwrap();
        assert!(cancelled.elapsed() < Duration::from_secs(5), "freed soon after the cancel: {:?}", cancelled.elapsed());
        let _ = answer.expect_error(500);
        let body = answer.json();
        assert_eq!(body["error"], "Query cancelled", "{body}");
        assert_eq!(body["category"], "CANCELED", "{body}");
    });
    let answer = shared().delete(&format!("/druid/v2/sql/{id}"));
    assert_eq!((answer.status, answer.bytes.len()), (404, 0), "unknown or finished: empty");
}

#[test]
fn sql_and_pushes_at_the_same_time_see_whole_batches() {
    let (server, table) = (shared(), unique("whole_batches"));
    // Each batch adds up to zero.
    let batch = |n: i64| -> Vec<Value> {
        (0..10).map(|i| json!({"ts": n, "amount": if i % 2 == 0 { i } else { 1 - i }})).collect()
    };
    assert_eq!(batch(0).iter().map(|row| row["amount"].as_i64().unwrap()).sum::<i64>(), 0);
    server.push(&table, &batch(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (1..120).for_each(|n| server.push(&table, &batch(n))));
        let mut last = 0;
        while !writer.is_finished() {
            let rows = server.sql(&format!("SELECT SUM(amount), COUNT(*) FROM {table}"));
            let (sum, count) = (rows[0][0].as_i64().unwrap(), rows[0][1].as_i64().unwrap());
            assert_eq!((sum, count % 10), (0, 0), "a batch is seen whole or not at all");
            assert!(count >= last, "{count} rows after {last}");
            last = count;
        }
        writer.join().unwrap();
    });
    assert_eq!(server.count(&table), 1200);
}

// --- INFORMATION_SCHEMA -----------------------------------------------------------------------------------------------------------

#[test]
fn information_schema_tells_tables_and_columns() {
    let (server, t) = (shared(), table());
    assert_eq!(
        server.rows("SELECT SCHEMA_NAME FROM INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME IN ('druid', 'INFORMATION_SCHEMA') ORDER BY 1"),
        json!([["INFORMATION_SCHEMA"], ["druid"]])
    );
    assert_eq!(
        server.rows(&format!(
            "SELECT TABLE_CATALOG, TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, IS_JOINABLE, IS_BROADCAST \
             FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_NAME = '{t}'"
        )),
        json!([["druid", "druid", t, "TABLE", "NO", "NO"]])
    );
    assert_eq!(
        server.rows(&format!(
            "SELECT COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, DATA_TYPE, JDBC_TYPE, NUMERIC_PRECISION, DATETIME_PRECISION \
             FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = 'druid' AND TABLE_NAME = '{t}' ORDER BY ORDINAL_POSITION"
        )),
        json!([
            ["__time", 1, "", "NO", "TIMESTAMP", 93, null, 3],
            ["name", 2, "", "YES", "VARCHAR", 12, null, null],
            ["n", 3, "", "YES", "BIGINT", -5, 19, null],
            ["x", 4, "", "YES", "DOUBLE", 8, 15, null]
        ])
    );
    assert_eq!(
        server.rows(&format!(
            "SELECT c.DATA_TYPE, COUNT(*) FROM INFORMATION_SCHEMA.TABLES t JOIN INFORMATION_SCHEMA.COLUMNS c \
             ON t.TABLE_NAME = c.TABLE_NAME AND t.TABLE_SCHEMA = c.TABLE_SCHEMA WHERE t.TABLE_NAME = '{t}' GROUP BY 1 ORDER BY 1"
        )),
        json!([["BIGINT", 1], ["DOUBLE", 1], ["TIMESTAMP", 1], ["VARCHAR", 1]])
    );
}

/// The texts that pydruid's SQLAlchemy dialect sends, as captured (contract 2.2).
#[test]
fn the_queries_of_pydruid_are_answered() {
    let (server, t) = (shared(), table());
    assert_eq!(server.rows("SELECT 1"), json!([[1]]));
    let exists = |name: &str| {
        let query =
            format!("SELECT COUNT(*) > 0 AS exists_ FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_NAME = '{name}'");
        text(&query, "object", json!({}))
    };
    assert_eq!(exists(t), "[{\"exists_\":true}]\n");
    assert_eq!(exists("no such"), "[{\"exists_\":false}]\n");
    let columns = format!(
        "\n            SELECT COLUMN_NAME,\n                   JDBC_TYPE,\n                   IS_NULLABLE,\n                   COLUMN_DEFAULT\n              \
         FROM INFORMATION_SCHEMA.COLUMNS\n             WHERE TABLE_NAME = '{t}' AND TABLE_SCHEMA = 'druid'\n        "
    );
    assert_eq!(server.sql(&columns).len(), 4);
    let compiled = format!(
        "SELECT \"druid\".\"{t}\".\"name\" AS \"name\", count(*) AS \"count\" \nFROM \"druid\".\"{t}\" \
         WHERE \"druid\".\"{t}\".\"n\" > 0 GROUP BY \"druid\".\"{t}\".\"name\" ORDER BY count(*) DESC, \"name\" \n LIMIT 100 OFFSET 1"
    );
    assert_eq!(server.rows(&compiled), json!([["plain", 1]]));
}

#[test]
fn status_and_health_answer_as_druid() {
    let status = shared().get("/status").expect(200);
    assert_eq!(status["version"], "33.0.0");
    assert!(status["modules"].as_array().unwrap().iter().any(|m| m["name"] == "freshet"), "{status}");
    for name in ["maxMemory", "totalMemory", "freeMemory", "usedMemory", "directMemory"] {
        assert!(status["memory"][name].is_i64(), "{name}: {status}");
    }
    assert_eq!(shared().get("/status/health").expect(200), json!(true));
}

#[test]
fn answers_are_packed_when_the_client_takes_gzip() {
    let t = table();
    let body =
        json!({"query": format!("SELECT a.name, b.name AS other FROM {t} a, {t} b, {t} c"), "resultFormat": "array"});
    let plain = reqwest::blocking::Client::builder().no_gzip().no_proxy().build().unwrap();
    let request = |gzip: bool| {
        let mut request = plain.post(shared().url("/druid/v2/sql")).json(&body);
        if gzip {
            request = request.header("Accept-Encoding", "gzip, deflate");
        }
        shared().send(request)
    };
    let (packed, open) = (request(true), request(false));
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(open.header("content-encoding"), None);
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed.bytes.as_slice()), &mut text).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap().as_array().unwrap().len(), 125);
}
