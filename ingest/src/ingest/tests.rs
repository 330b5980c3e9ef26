//! The whole way in, against the memory catalog: what is pushed is what a reading shows.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use freshet_segment::catalog::MemoryCatalog;
use freshet_segment::clock::ManualClock;
use freshet_segment::deep_storage::DeepStorage;
use freshet_segment::disk::Disk;
use freshet_segment::schema::TIME_COLUMN;
use freshet_segment::selection::Part;
use freshet_segment::time::Timestamp;

use super::*;
use crate::counts::Counts;
use crate::decode::Rows;
use crate::source::push::{Acknowledge, Body, OnError, PushHeader, PushReply, PushRequest};

pub(crate) const NOW: i64 = 1_442_018_818_771;

thread_local! {
    /// Folders of the tests that run on this thread; they go with it.
    static FOLDERS: std::cell::RefCell<Vec<tempfile::TempDir>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A folder that lives as long as the test.
pub(crate) fn folder() -> std::path::PathBuf {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    FOLDERS.with(|folders| folders.borrow_mut().push(folder));
    path
}

pub(crate) fn storage() -> Storage {
    let folder = folder();
    let deep = DeepStorage::folder(folder.join("deep"), tokio::runtime::Handle::current()).expect("a folder");
    Storage { deep, disk: Disk::Real, folder, node_id: "node-of-the-test".to_owned() }
}

pub(crate) fn options(memory_bytes_max: usize) -> IngestOptions {
    IngestOptions {
        storage: storage(),
        seal: SealOptions::default(),
        catalog: Arc::new(MemoryCatalog::new()),
        timeline: Arc::new(Timeline::new()),
        clock: Arc::new(ManualClock::new(Timestamp::from_millis(NOW))),
        runtime: tokio::runtime::Handle::current(),
        memory_bytes_max,
        limits: Limits::default(),
    }
}

pub(crate) fn ingest() -> Arc<Ingest> {
    Ingest::new(options(256 << 20))
}

pub(crate) fn request(table: &str, body: impl Into<bytes::Bytes>) -> PushRequest {
    PushRequest {
        table: table.parse().expect("a name"),
        body: body.into(),
        on_error: OnError::Reject,
        time_column: None,
        received: Timestamp::from_millis(NOW),
        key: None,
        acknowledge: Acknowledge::Journal,
    }
}

/// The texts of a column over all visible segments, sorted; nulls as `-`.
pub(crate) fn column(ingest: &Ingest, table: &str, name: &str) -> Vec<String> {
    let view = ingest.node.timeline.reading().table(table).expect("the table is there");
    let column = view.schema.column(name).unwrap_or_else(|| panic!("no column {name}")).clone();
    let mut out = Vec::new();
    for entry in view.segments() {
        for unit in entry.segment.units(None).expect("the segment opens") {
            let array = unit.read(&column, &Part::Run(0..unit.rows())).expect("readable");
            if name == TIME_COLUMN {
                let times = array.as_primitive::<arrow::datatypes::TimestampMillisecondType>();
                for t in times.values() {
                    assert!(
                        entry.id.interval.contains(Timestamp::from_millis(*t)),
                        "row outside its segment's interval"
                    );
                    out.push(t.to_string());
                }
                continue;
            }
            let array = cast(&array, &DataType::Utf8).expect("text");
            out.extend(array.as_string::<i32>().iter().map(|v| v.unwrap_or("-").to_owned()));
        }
    }
    out.sort();
    out
}

pub(crate) fn rows(ingest: &Ingest, table: &str) -> u64 {
    ingest.node.timeline.reading().table(table).map_or(0, |view| view.rows())
}

fn types(ingest: &Ingest, table: &str) -> BTreeMap<String, String> {
    let view = ingest.node.timeline.reading().table(table).expect("the table is there");
    let name =
        |c: &freshet_segment::schema::Column| format!("{}{}", c.column_type, if c.multi_value { "*" } else { "" });
    view.schema.columns().iter().map(|c| (c.name.to_string(), name(c))).collect()
}

#[tokio::test]
async fn a_pushed_row_is_there_for_the_next_reading() {
    let ingest = ingest();
    let body = "{\"time\":\"2015-09-12T00:46:58.771Z\",\"page\":\"Main\",\"added\":5}\n{\"time\":1442018818772,\"page\":\"Other\"}\n";
    let reply = ingest.push(request("wiki", body)).await.expect("stored");
    assert_eq!(reply, PushReply { accepted: 2, ..PushReply::default() });
    assert_eq!(column(&ingest, "wiki", "page"), ["Main", "Other"]);
    assert_eq!(column(&ingest, "wiki", "added"), ["-", "5"]);
    assert_eq!(types(&ingest, "wiki")["added"], "LONG");
    assert!(!types(&ingest, "wiki").contains_key("time"), "the time field is the time column");

    // The next body goes on with the same time field, widens the schema, and lands in another day.
    let body = r#"[{"time":1442105218771,"added":1.5,"ts":1,"tags":["a","b"],"geo":{"lat":1.0}}]"#;
    ingest.push(request("wiki", body)).await.expect("stored");
    assert_eq!(column(&ingest, "wiki", "added"), ["-", "1.5", "5.0"]);
    let types = types(&ingest, "wiki");
    assert_eq!(
        (&*types["added"], &*types["tags"], &*types["geo"], &*types["ts"]),
        ("DOUBLE", "STRING*", "JSON", "LONG")
    );
    column(&ingest, "wiki", TIME_COLUMN);
    let view = ingest.node.timeline.reading().table("wiki").expect("there");
    let numbers: Vec<u32> = view.segments().map(|e| e.id.number).collect();
    assert_eq!(numbers, [1, 2], "one segment a day, numbered from 1");
    assert_eq!(view.produced_max, Some(Timestamp::from_millis(NOW)));
    let counts = ingest.table_counts("wiki");
    assert_eq!((counts.read, counts.stored, counts.rejected), (3, 3, 0));
    let monotonic = ingest.node.clock.monotonic();
    assert_eq!(ingest.node.timeline.table("wiki").expect("there").freshness().summary(monotonic).count, 3);
}

#[tokio::test]
async fn a_body_with_a_bad_row_stores_nothing_or_all_others() {
    let ingest = ingest();
    let body = "{\"ts\":1,\"v\":1}\n{\"ts\":\"soon\",\"v\":2}\n{\"ts\":3,\"v\":\n{\"ts\":4,\"v\":4}";
    let error = ingest.push(request("t", body)).await.expect_err("two rows are bad");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.at().as_deref(), Some("row 1, field `ts`"));
    assert!(error.hint().unwrap_or_default().contains("onError=skip"));
    assert!(ingest.node.timeline.table("t").is_none(), "a refused body makes no table");
    assert_eq!(ingest.table_counts("t"), Counts::default());

    let skip = PushRequest { on_error: OnError::Skip, ..request("t", body) };
    let reply = ingest.push(skip).await.expect("the good rows");
    assert_eq!((reply.accepted, reply.rejected_count), (2, 2));
    let listed: Vec<_> = reply.rejected.iter().map(|r| (r.row, r.at.as_deref(), r.raw.as_str())).collect();
    assert_eq!(
        listed,
        [(1, Some("field `ts`"), "{\"ts\":\"soon\",\"v\":2}"), (2, Some("line 3, column 12"), "{\"ts\":3,\"v\":")]
    );
    assert_eq!(column(&ingest, "t", "v"), ["1", "4"]);
    let counts = ingest.table_counts("t");
    assert!(counts.is_balanced());
    assert_eq!((counts.read, counts.stored, counts.rejected), (4, 2, 2));
    let letters = ingest.dead_letters("t", 10).await.expect("read");
    assert_eq!(
        (letters.total, letters.letters[0].row, letters.letters[0].raw_text().as_str()),
        (2, 2, "{\"ts\":3,\"v\":")
    );
    let status = ingest.push_status("t").expect("pushed");
    assert_eq!((status.counts, status.unpublished, status.time_column.as_deref()), (counts, counts, Some("ts")));
    assert_eq!(ingest.push_status("nothing"), None);

    // A refused body leaves the rows, the schema and the counts of a table as they are.
    let error = ingest.push(request("t", "[{\"ts\":5,\"v\":\"text\",\"new\":1},{\"v\":6}]")).await;
    assert!(error.is_err());
    assert_eq!(types(&ingest, "t")["v"], "LONG");
    assert_eq!((rows(&ingest, "t"), ingest.table_counts("t")), (2, counts));
}

#[tokio::test]
async fn the_time_column_is_asked_for_found_or_refused() {
    let ingest = ingest();
    let error = ingest.push(request("t", r#"{"when":1,"v":2}"#)).await.expect_err("no time");
    assert!(error.to_string().contains("`when`, `v`"), "{error}");
    let asked = PushRequest { time_column: Some("when".to_owned()), ..request("t", r#"{"when":1,"v":2,"ts":9}"#) };
    ingest.push(asked).await.expect("named");
    ingest.push(request("t", r#"{"when":2,"v":3}"#)).await.expect("remembered");
    assert_eq!(column(&ingest, "t", TIME_COLUMN).len(), 2);
    assert_eq!(column(&ingest, "t", "ts"), ["-", "9"]);
    ingest.push(request("u", r#"{"__time":"2015-09-12","timestamp":"x"}"#)).await.expect("__time goes first");
    assert_eq!(column(&ingest, "u", "timestamp"), ["x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_push_to_one_new_table_at_once_all_get_their_rows_in() {
    let ingest = ingest();
    let pushes: Vec<_> = (0..16)
        .map(|n| {
            let ingest = Arc::clone(&ingest);
            let body = format!("[{{\"ts\":{n},\"c{}\":{n},\"n\":{n}}},{{\"ts\":{n}}}]", n % 4);
            tokio::spawn(async move { ingest.push(request("new", body)).await })
        })
        .collect();
    for push in pushes {
        assert_eq!(push.await.expect("no panic").expect("stored").accepted, 2);
    }
    assert_eq!(rows(&ingest, "new"), 32);
    let values: Vec<String> = column(&ingest, "new", "n").into_iter().filter(|v| v != "-").collect();
    assert_eq!(values.len(), 16);
    assert_eq!(types(&ingest, "new").len(), 6);
    assert_eq!(ingest.table_counts("new").stored, 32);
    assert_eq!(ingest.node.catalog.tables().await.expect("tables").len(), 1);
}

#[tokio::test]
async fn a_full_memory_that_cannot_be_sealed_refuses_pushes_until_a_table_is_dropped() {
    let options = options(300_000);
    // A file where the folder for staging should be: nothing can be sealed.
    std::fs::write(options.storage.folder.join("staging"), "in the way").expect("written");
    let ingest = Ingest::new(options);
    let body = |n: u32| {
        (0..2_000).map(|i| format!("{{\"ts\":{i},\"id\":\"{n}-{i}-some-longer-text\"}}\n")).collect::<String>()
    };
    let mut stored = 0;
    let refused = loop {
        match ingest.push(request("big", body(stored))).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the budget never filled");
    };
    assert_eq!((refused.kind(), refused.retry_after().is_some()), (ErrorKind::Exhausted, true));
    assert_eq!(rows(&ingest, "big"), u64::from(stored) * 2_000, "what was accepted is there");
    assert!(ingest.memory().used >= 300_000);
    assert_eq!(ingest.table_counts("big").stored, u64::from(stored) * 2_000);
    ingest.drop_table("big").await.expect("dropped");
    assert_eq!(ingest.memory().used, 0);
    assert!(ingest.node.timeline.table("big").is_none());
    ingest.push(request("big", body(0))).await.expect("there is room again");
    assert_eq!(rows(&ingest, "big"), 2_000, "a table made again is another table");
    assert_eq!(ingest.drop_table("none").await.expect_err("not there").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn many_sparse_columns_do_not_make_a_wide_batch_and_segments_roll_over() {
    let ingest = ingest();
    let body: String = (0..3_000).map(|n| format!("{{\"ts\":{n},\"c{n}\":{n},\"k\":{n}}}\n")).collect();
    ingest.push(request("sparse", body)).await.expect("stored");
    assert_eq!(rows(&ingest, "sparse"), 3_000);
    let mut expected: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    expected.sort();
    assert_eq!(column(&ingest, "sparse", "k"), expected);
    assert_eq!(column(&ingest, "sparse", "c2999").iter().filter(|v| *v == "2999").count(), 1);

    let table = ingest.tables.get("sparse").expect("there");
    let mut appender = crate::appender::Appender::new(
        Arc::clone(&ingest.node),
        table,
        freshet_segment::time::Granularity::All,
        Some(1_000),
    );
    let node = Arc::clone(&ingest.node);
    let header = PushHeader::new("ts", &[], OnError::Reject, Timestamp::from_millis(NOW));
    std::thread::spawn(move || {
        let mut rows = Rows::new(header.rules().expect("rules"));
        let body: String = (0..700).map(|n| format!("{{\"ts\":{n},\"k\":-1}}\n")).collect();
        let records = Body::read(body.as_bytes()).expect("a body");
        for _ in 0..4 {
            rows.begin(&appender.table().schema());
            PushHeader::decode(body.as_bytes(), &records, &mut rows);
            appender.append(&rows, |_| node.clock.now()).expect("stored");
        }
    })
    .join()
    .expect("no panic");
    let view = ingest.node.timeline.reading().table("sparse").expect("there");
    let full: Vec<usize> = view.segments().skip(1).map(|e| e.segment.rows()).collect();
    assert_eq!(full, [700, 700, 700, 700], "a segment takes a part whole or the next one does");
    assert_eq!(view.rows(), 3_000 + 2_800);
}

#[tokio::test]
async fn stopping_finishes_what_was_accepted_and_refuses_the_rest() {
    let ingest = ingest();
    ingest.push(request("t", r#"{"ts":1}"#)).await.expect("stored");
    ingest.shutdown(Duration::from_secs(10)).await;
    let error = ingest.push(request("t", r#"{"ts":2}"#)).await.expect_err("stopping");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(rows(&ingest, "t"), 1);
}
