//! The rows against the engine.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimestampMillisecondType};
use freshet_segment::schema::{Column, ColumnType, TableSchema};
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::Timeline;
use futures::TryStreamExt;

use super::{Family, FunctionDoc, SAMPLE, all};
use crate::columns::{JSON_ITEMS, STORED_TYPE_KEY};
use crate::testing::{batch, engine, publish};
use crate::{Engine, QueryError, QueryRequest};

fn sample() -> Arc<Engine> {
    let timeline = Timeline::new();
    let schema = TableSchema::new(vec![
        Column::dimension("city", ColumnType::String),
        Column::dimension("n", ColumnType::Long),
        Column::dimension("x", ColumnType::Double),
    ]);
    let times: Vec<i64> = SAMPLE.iter().map(|r| Timestamp::parse(r.0).expect("a time").as_millis()).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("city", Arc::new(SAMPLE.iter().map(|r| r.1).collect::<StringArray>())),
        ("n", Arc::new(SAMPLE.iter().map(|r| r.2).collect::<Int64Array>())),
        ("x", Arc::new(SAMPLE.iter().map(|r| Some(r.3)).collect::<Float64Array>())),
    ];
    publish(&timeline, "t", 1, Arc::new(schema.expect("a schema")), &[batch(&times, &columns)]);
    engine(Arc::new(timeline))
}

/// A cell as JSON: as the server writes it, but arrays and JSON as what they are and not as text.
fn json(array: &dyn Array, field: &Field, row: usize) -> serde_json::Value {
    use serde_json::json;
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return json!(null);
    }
    match array.data_type() {
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(..) => {
            json!(Timestamp::from_millis(array.as_primitive::<TimestampMillisecondType>().value(row)).to_iso())
        }
        DataType::List(item) => {
            let items = array.as_list::<i32>().value(row);
            let mark = field.metadata().get(STORED_TYPE_KEY).filter(|t| *t == JSON_ITEMS).map(|_| "JSON".to_owned());
            let metadata = mark.map(|m| (STORED_TYPE_KEY.to_owned(), m)).into_iter().collect();
            let item = item.as_ref().clone().with_metadata(metadata);
            (0..items.len()).map(|i| json(&items, &item, i)).collect()
        }
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            let texts = arrow::compute::cast(array, &DataType::Utf8).expect("text");
            let text = texts.as_string::<i32>().value(row);
            let is_json = field.metadata().get(STORED_TYPE_KEY).is_some_and(|t| t == "JSON");
            if is_json { serde_json::from_str(text).expect("JSON") } else { json!(text) }
        }
        _ => {
            let numbers = arrow::compute::cast(array, &DataType::Int64).expect("a whole number");
            json!(numbers.as_primitive::<Int64Type>().value(row))
        }
    }
}

fn ask(engine: &Arc<Engine>, sql: &str) -> Result<String, QueryError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let batches: Vec<_> = engine.run(QueryRequest::new("doc", sql)).await?.try_collect().await?;
        let cells = batches
            .iter()
            .flat_map(|b| (0..b.num_rows()).map(|row| json(b.column(0), b.schema().field(0), row).to_string()));
        Ok(cells.collect::<Vec<_>>().join(", "))
    })
}

fn query_of(doc: &FunctionDoc) -> String {
    match doc.family {
        _ if doc.example.starts_with("SELECT ") => doc.example.to_owned(),
        Family::Aggregate | Family::Window => format!("SELECT {} FROM t", doc.example),
        _ => format!("SELECT {}", doc.example),
    }
}

#[test]
fn every_example_gives_its_answer() {
    let engine = sample();
    let wrong: Vec<String> = all()
        .filter_map(|doc| {
            let sql = query_of(doc);
            match ask(&engine, &sql) {
                Ok(answer) if answer == doc.answer => None,
                Ok(answer) => Some(format!("{sql}\n  gives {answer}\n  not   {}", doc.answer)),
                Err(error) => Some(format!("{sql}\n  fails: {error}")),
            }
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rows_are_written_as_readers_need_them() {
    let mut names = HashSet::new();
    for doc in all() {
        assert!(names.insert(doc.name), "{} comes twice", doc.name);
        assert_eq!(doc.name, doc.name.to_ascii_uppercase());
        assert!(doc.signature.lines().all(|form| form.starts_with(doc.name)), "{}: {}", doc.name, doc.signature);
        assert!(doc.meaning.ends_with('.') && !doc.meaning.contains('\n'), "{}: {}", doc.name, doc.meaning);
        assert!(doc.example.contains(doc.name), "{}: {}", doc.name, doc.example);
    }
}

/// What stands before the functions on the page, kept by hand, ends with this line.
const MARK: &str = "<!-- What follows is made from the catalogue of functions by a test, which says how. -->\n";
/// Set it to write the page instead of comparing it.
const WRITE: &str = "FRESHET_WRITE_DOCS";

fn functions_of_the_page() -> String {
    let mut out = String::new();
    let mut section = None;
    for doc in all() {
        if section != Some(doc.family) {
            section = Some(doc.family);
            out.push_str(&format!("\n### {}\n", doc.family.title()));
        }
        let forms: Vec<String> = doc.signature.lines().map(|form| format!("**`{form}`**")).collect();
        out.push_str(&format!("\n{}  \n{}  \n`{}` → `{}`\n", forms.join("  \n"), doc.meaning, doc.example, doc.answer));
    }
    out
}

#[test]
fn the_page_shows_every_function() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sql.md");
    let page = std::fs::read_to_string(path).expect("docs/sql.md");
    let (prose, functions) = page.split_once(MARK).expect("the page has the line that ends its prose");
    let wanted = functions_of_the_page();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, format!("{prose}{MARK}{wanted}")).expect("written");
        return;
    }
    let differs = functions.lines().zip(wanted.lines()).find(|(is, should)| is != should);
    assert!(functions == wanted, "docs/sql.md differs first at {differs:?}: run this test once with {WRITE}=1");
}
