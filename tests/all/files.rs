//! Sealed files are plain Parquet: other programs read them, and find what SQL finds.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use freshet_tests::cluster::{Server, Setup, unique};
use freshet_tests::events::{Events, Oracle, lines};
use freshet_tests::services;
use serde_json::{Value, json};

/// The sealed files of a table.
fn files(server: &Server, table: &str) -> Vec<Value> {
    let listed = server.get(&format!("/api/v1/tables/{table}/files")).expect(200);
    assert_eq!(listed["table"], json!(table));
    assert!(listed["commitSeq"].is_u64(), "{listed}");
    listed["files"].as_array().unwrap_or_else(|| panic!("a list of files: {listed}")).clone()
}

/// What a Python program prints as JSON, given this as its input.
fn ask_python(python: &std::path::Path, input: &Value) -> Value {
    let mut child = Command::new(python)
        .arg(services::checkout().join("tests/services/read_files.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the reader failed, its words are above");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn duckdb_and_pyarrow_read_what_sql_reads() {
    let Some(python) = services::python() else { return };
    let (server, table) = (Setup::default().start(), unique("files"));
    let events: Vec<_> = Events::new("files", 77).take(20_000).collect();
    let mut oracle = Oracle::default();
    for part in events.chunks(7_000) {
        server.push_lines(&table, lines(part));
        oracle.add(part);
        let _ = server.post(&format!("/api/v1/tables/{table}/publish"), &json!({})).expect(200);
    }
    oracle.check(&server, &table);

    let files = files(&server, &table);
    assert!(files.len() > 1, "several files, or adding up proves little: {files:?}");
    for file in &files {
        for field in ["segment", "path", "interval"] {
            assert!(file[field].is_string(), "{field}: {file}");
        }
        let bytes = std::fs::metadata(file["path"].as_str().unwrap()).unwrap().len();
        assert_eq!(file["bytes"], json!(bytes), "{file}");
    }
    let rows: i64 = files.iter().map(|file| file["rows"].as_i64().unwrap()).sum();
    assert_eq!(rows, oracle.all.count, "the list knows the rows");

    let paths: Vec<&Value> = files.iter().map(|file| &file["path"]).collect();
    let times = (events.iter().map(|e| e.time_ms).min(), events.iter().map(|e| e.time_ms).max());
    let by_country: BTreeMap<String, (i64, i64)> = oracle
        .by_country
        .iter()
        .map(|(country, sums)| (country.unwrap_or("(null)").to_owned(), (sums.count, sums.amount)))
        .collect();
    let expected = json!({
        "rows": oracle.all.count,
        "amount": oracle.all.amount,
        "first": times.0,
        "last": times.1,
        "by_country": by_country,
    });
    let read = ask_python(&python, &json!({ "files": paths }));
    assert_eq!(read["duckdb"], expected, "DuckDB");
    assert_eq!(read["pyarrow"], expected, "pyarrow");
}
