//! Runs `tests/slt/**/*.slt` over the HTTP endpoint of a running server. A file fills its tables by push.
//!
//! Two kinds of statement come before the queries of a file, both as sqllogictest's `statement ok`:
//!
//! - `PUSH table` with one JSON object on each following line: one push. Several pushes of one table are several batches.
//! - `SET sqlTimeZone 'zone'` and other context keys, for all that follows.
//!
//! Each file runs three times: with its rows growing, sealed, and half of each push sealed and half growing.
//!
//! `${table}` in a file is a name of its own, so that files run at the same time and again; `${wikipedia}` is a table of the tutorial's
//! edits, which all files of a form share. A NULL prints as `NULL`, an empty string as `(empty)`, a double keeps its decimal point.
//!
//! Some files are written by the programs in `tests/slt/made_by`, which compute their expectations.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use freshet_tests::cluster::{Server, shared, unique};
use freshet_tests::services;
use serde_json::{Map, Value, json};
use sqllogictest::{DB, DBOutput, DefaultColumnType, Record, Runner};

use crate::known_answers;

/// What becomes of the rows that a file pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Growing,
    Sealed,
    /// The first half of each push.
    Mixed,
}

struct Door {
    server: &'static Server,
    context: Map<String, Value>,
    form: Form,
}

impl Door {
    fn push(&self, table: &str, rows: &str) -> u64 {
        let lines: Vec<&str> = rows.lines().collect();
        let sealed = match self.form {
            Form::Growing => 0,
            Form::Sealed => lines.len(),
            Form::Mixed => lines.len() / 2,
        };
        let (sealed, growing) = lines.split_at(sealed);
        let mut count = 0;
        if !sealed.is_empty() {
            count += self.server.push_lines(table, sealed.join("\n"));
            self.server.publish(table);
        }
        if !growing.is_empty() {
            count += self.server.push_lines(table, growing.join("\n"));
        }
        count
    }
}

#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl DB for Door {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, text: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("PUSH ") {
            let (table, rows) = rest.split_once('\n').ok_or_else(|| Refused("PUSH without rows".to_owned()))?;
            let count = self.push(table.trim(), rows);
            return Ok(DBOutput::StatementComplete(count));
        }
        if let Some(rest) = text.strip_prefix("SET ") {
            let (key, value) = rest.split_once(' ').ok_or_else(|| Refused("SET without a value".to_owned()))?;
            let value = value.trim().trim_matches('\'');
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            self.context.insert(key.to_owned(), value);
            return Ok(DBOutput::StatementComplete(0));
        }
        let answer = self.server.sql_request(&json!({
            "query": text, "resultFormat": "array", "context": self.context,
            "header": true, "typesHeader": true, "sqlTypesHeader": true
        }));
        if answer.status != 200 {
            return Err(Refused(answer.expect_error(answer.status)));
        }
        // Text of numbers as it came: through a float, digits would be lost.
        let mut rows: Vec<Vec<Box<serde_json::value::RawValue>>> =
            serde_json::from_slice(&answer.bytes).map_err(|error| Refused(format!("{error}: {}", answer.text())))?;
        let data = rows.split_off(3);
        let types = rows[2]
            .iter()
            .map(|name| match name.get().trim_matches('"') {
                "BIGINT" | "INTEGER" => DefaultColumnType::Integer,
                "DOUBLE" | "FLOAT" => DefaultColumnType::FloatingPoint,
                _ => DefaultColumnType::Text,
            })
            .collect();
        let rows = data.iter().map(|row| row.iter().map(|value| show(value.get())).collect()).collect();
        Ok(DBOutput::Rows { types, rows })
    }

    fn engine_name(&self) -> &'static str {
        "freshet"
    }
}

fn show(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::Null) => "NULL".to_owned(),
        Ok(Value::String(text)) if text.is_empty() => "(empty)".to_owned(),
        Ok(Value::String(text)) => text,
        _ => json.to_owned(),
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

/// The table of edits in a form.
fn wikipedia(form: Form) -> &'static str {
    static TABLES: [OnceLock<String>; 3] = [const { OnceLock::new() }; 3];
    let index = [Form::Growing, Form::Sealed, Form::Mixed].iter().position(|&f| f == form).unwrap();
    TABLES[index].get_or_init(|| {
        let edits = known_answers::edits();
        let sealed = [0, edits.len(), edits.len() / 2][index];
        known_answers::load(shared(), &edits, sealed)
    })
}

/// Runs every record of a file, so that one failure does not hide the others. Gives the number of queries and the failures.
fn run_file(path: &Path, form: Form) -> (usize, Vec<String>) {
    let table = unique("slt");
    let mut text = std::fs::read_to_string(path).unwrap().replace("${table}", &table);
    if text.contains("${wikipedia}") {
        text = text.replace("${wikipedia}", wikipedia(form));
    }
    let copy = tempfile::Builder::new().suffix(".slt").tempfile().unwrap();
    std::fs::write(copy.path(), text).unwrap();
    let mut runner = Runner::new(|| async move { Ok(Door { server: shared(), context: Map::new(), form }) });
    // Column types are compared, not only counted.
    runner.with_column_validator(sqllogictest::strict_column_validator);
    let records = sqllogictest::parse_file(copy.path()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = path.strip_prefix(services::checkout()).unwrap().display().to_string();
    let mut failures = Vec::new();
    let queries = records.iter().filter(|record| matches!(record, Record::Query { .. })).count();
    for record in records {
        if let Err(error) = runner.run(record) {
            let text = error.to_string().replace(&copy.path().display().to_string(), &name);
            failures.push(format!("{form:?}: {text}"));
        }
    }
    (queries, failures)
}

#[test]
fn every_file_holds_on_growing_rows() {
    every_file_holds(Form::Growing);
}

#[test]
fn every_file_holds_on_sealed_rows() {
    every_file_holds(Form::Sealed);
}

#[test]
fn every_file_holds_on_rows_of_both_kinds() {
    every_file_holds(Form::Mixed);
}

#[test]
fn written_files_are_what_their_programs_write() {
    let Some(python) = services::python() else { return };
    for program in ["times.py", "superset.py"] {
        let path = services::checkout().join("tests/slt/made_by").join(program);
        let output = Command::new(&python).arg(path).arg("--check").output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn every_file_holds(form: Form) {
    let mut found = Vec::new();
    files(&services::checkout().join("tests/slt"), &mut found);
    assert!(found.len() >= 10, "the files are there: {found:?}");
    let only = std::env::var("FRESHET_TEST_SLT").unwrap_or_default();
    let found: Vec<_> = found.into_iter().filter(|path| path.to_string_lossy().contains(&only)).collect();
    let mut failures = Vec::new();
    for path in &found {
        let (queries, failed) = run_file(path, form);
        assert!(queries > 0, "{} asks nothing", path.display());
        failures.extend(failed);
    }
    assert!(failures.is_empty(), "{} failures\n\n{}", failures.len(), failures.join("\n\n"));
}
