//! The rows against the engine.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMillisecondType};
use freshet_segment::schema::{Column, ColumnType, TableSchema};
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::Timeline;
use futures::TryStreamExt;

use super::{Family, FunctionDoc, SAMPLE, all};
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

/// A cell as the server writes it into JSON, arrays as arrays.
fn json(array: &dyn Array, row: usize) -> serde_json::Value {
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
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| json(&items, i)).collect()
        }
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            let texts = arrow::compute::cast(array, &DataType::Utf8).expect("text");
            json!(texts.as_string::<i32>().value(row))
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
        let cells = batches.iter().flat_map(|b| (0..b.num_rows()).map(|row| json(b.column(0), row).to_string()));
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
