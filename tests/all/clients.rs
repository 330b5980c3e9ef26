//! Clients of others, unchanged: pydruid and its SQLAlchemy dialect, as Superset uses them (contract 2.1 to 2.3).

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use freshet_tests::cluster::{Server, shared, unique};
use freshet_tests::services;
use serde_json::{Value, json};

/// The tutorial's edits of one day, pushed into a table of its own.
pub(crate) fn push_wikipedia(server: &Server) -> String {
    let table = unique("wikipedia");
    let mut text = String::new();
    let file = std::fs::File::open(services::fixture("wikiticker-2015-09-12-sampled.json.gz")).unwrap();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    assert_eq!(server.push_lines(&table, text), 39_244);
    table
}

#[test]
fn pydruid_and_sqlalchemy_work_unchanged() {
    let Some(python) = services::python() else { return };
    let (server, odd) = (shared(), unique("odd"));
    let rows = json!([
        {"n": 0, "t": "tail\\", "x": 1.0},
        {"n": 1, "t": "{\"a\":[1,2]}", "x": 0.1},
        {"n": 2, "t": "Zürich 東京 😀\nline\ttab", "x": -1.5},
        {"n": 3, "t": null, "x": null},
        {"n": 4, "t": "", "x": 1e10},
        {"n": 5, "t": "a\\\"b", "x": 1e-5},
        {"n": 6, "t": "}{\\\\", "x": 2.5},
        {"n": 7, "t": "\u{1}\u{2028}", "x": 0.0},
    ]);
    let timed = |row: &Value| {
        let mut row = row.clone();
        row["ts"] = json!("2026-01-01T00:00:00Z");
        row
    };
    let pushed: Vec<Value> = rows.as_array().unwrap().iter().map(timed).collect();
    server.push(&odd, &pushed);
    let (host, port) =
        server.address().rsplit_once(':').map(|(h, p)| (h.to_owned(), p.parse::<u16>().unwrap())).unwrap();
    let input = json!({"host": host, "port": port, "wikipedia": push_wikipedia(server), "odd": odd, "rows": rows});

    let mut child = Command::new(python)
        .arg(services::checkout().join("tests/clients/pydruid_checks.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "a check failed, its words are above");
    let checks: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(checks.len() >= 17, "all checks ran: {checks:?}");
    server.assert_no_panics();
}
