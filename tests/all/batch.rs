//! Batch tasks as Druid's users post them: the tutorial's file, appends and replacements while rows stream in, files that may
//! not be read, and a task that is shut down.

use std::path::{Path, PathBuf};

use freshet_tests::cluster::{Server, Setup, unique};
use freshet_tests::wait;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn server_that_reads(folder: &Path) -> Server {
    Setup::default().flags(&["--input-dir", folder.to_str().unwrap()]).start()
}

/// The public tutorial's task.
fn tutorial(table: &str) -> Value {
    let strings = [
        "channel",
        "cityName",
        "comment",
        "countryIsoCode",
        "countryName",
        "isAnonymous",
        "isMinor",
        "isNew",
        "isRobot",
        "isUnpatrolled",
        "metroCode",
        "namespace",
        "page",
        "regionIsoCode",
        "regionName",
        "user",
    ];
    let longs = ["added", "deleted", "delta"].map(|name| json!({"name": name, "type": "long"}));
    let dimensions: Vec<Value> = strings.into_iter().map(|name| json!(name)).chain(longs).collect();
    json!({
        "type": "index_parallel",
        "spec": {
            "dataSchema": {
                "dataSource": table,
                "timestampSpec": {"column": "time", "format": "iso"},
                "dimensionsSpec": {"dimensions": dimensions},
                "metricsSpec": [],
                "granularitySpec": {
                    "type": "uniform", "segmentGranularity": "day", "queryGranularity": "none",
                    "intervals": ["2015-09-12/2015-09-13"], "rollup": false
                }
            },
            "ioConfig": {
                "type": "index_parallel",
                "inputSource": {"type": "local", "baseDir": fixtures(), "filter": "wikiticker-2015-09-12-sampled.json.gz"},
                "inputFormat": {"type": "json"},
                "appendToExisting": false
            },
            "tuningConfig": {
                "type": "index_parallel", "maxRowsPerSegment": 5_000_000, "maxRowsInMemory": 25_000
            }
        }
    })
}

/// A task of these lines of CSV: `ts,source,n`.
fn inline(table: &str, rows: &str, append: bool) -> Value {
    json!({
        "type": "index_parallel",
        "spec": {
            "dataSchema": {
                "dataSource": table,
                "timestampSpec": {"column": "ts"},
                "dimensionsSpec": {"dimensions": ["source", {"name": "n", "type": "long"}]},
                "granularitySpec": {"segmentGranularity": "day", "rollup": false}
            },
            "ioConfig": {
                "type": "index_parallel",
                "inputSource": {"type": "inline", "data": rows},
                "inputFormat": {"type": "csv", "columns": ["ts", "source", "n"]},
                "appendToExisting": append
            }
        }
    })
}

fn post(server: &Server, spec: &Value) -> String {
    let answer = server.post("/druid/indexer/v1/task", spec).expect(200);
    answer["task"].as_str().unwrap().to_owned()
}

fn status(server: &Server, task: &str) -> Value {
    server.get(&format!("/druid/indexer/v1/task/{task}/status")).expect(200)["status"].take()
}

/// The status of a task at its end.
fn ended(server: &Server, task: &str) -> Value {
    wait::until("a task ends", || {
        let status = status(server, task);
        if status["statusCode"] == "RUNNING" { Err(status.to_string()) } else { Ok(status) }
    })
}

fn succeed(server: &Server, spec: &Value) -> String {
    let task = post(server, spec);
    let status = ended(server, &task);
    assert_eq!(status["statusCode"], "SUCCESS", "{status}");
    task
}

#[test]
fn the_tutorials_file_is_loaded_and_loaded_again_in_its_own_place() {
    let (server, table) = (server_that_reads(&fixtures()), unique("wiki"));
    let totals = format!("SELECT COUNT(*), SUM(added), SUM(deleted), SUM(delta) FROM \"{table}\"");
    let known = json!([[39_244, 9_385_573, 394_298, 8_991_275]]);
    let task = succeed(&server, &tutorial(&table));
    assert!(task.starts_with(&format!("index_parallel_{table}_")), "{task}");
    assert_eq!(server.rows(&totals), known);
    let report = server.get(&format!("/druid/indexer/v1/task/{task}/reports")).expect(200);
    let payload = &report["ingestionStatsAndErrors"]["payload"];
    assert_eq!(payload["rowStats"]["buildSegments"]["processed"], 39_244, "{report}");
    assert_eq!(payload["ingestionState"], "COMPLETED");
    let whole = server.get(&format!("/druid/indexer/v1/task/{task}")).expect(200);
    assert_eq!(whole["payload"], tutorial(&table));
    succeed(&server, &tutorial(&table));
    assert_eq!(server.rows(&totals), known, "the second load took the place of the first");
    server.kill();
    server.restart();
    assert_eq!(server.rows_when_served(&totals), known);
    let _ = server.get(&format!("/druid/indexer/v1/task/{task}/status")).expect_error(404);
    server.assert_no_panics();
}

#[test]
fn appends_add_and_replacements_take_whole_days_while_rows_stream_in() {
    let (server, table) = (Server::start(&[]), unique("days"));
    let rows = |day: u32, source: &str, count: i64| -> String {
        (0..count).map(|n| format!("2026-01-{day:02}T00:00:0{}Z,{source},{n}\n", n % 10)).collect()
    };
    let by_source = || server.rows(&format!("SELECT source, COUNT(*), SUM(n) FROM \"{table}\" GROUP BY 1 ORDER BY 1"));
    succeed(&server, &inline(&table, &(rows(1, "a", 10) + &rows(2, "a", 10)), true));
    server.push_lines(&table, "{\"time\":\"2026-01-01T05:00:00Z\",\"source\":\"pushed\",\"n\":1}\n".to_owned());
    succeed(&server, &inline(&table, &rows(1, "b", 5), true));
    assert_eq!(by_source(), json!([["a", 20, 90], ["b", 5, 10], ["pushed", 1, 1]]));
    // The first day goes with all that it held, rows in memory included; the second stays.
    succeed(&server, &inline(&table, &rows(1, "c", 3), false));
    assert_eq!(by_source(), json!([["a", 10, 45], ["c", 3, 3]]));
    // Rows that come while replacements run stay: each of these days is replaced again and again.
    let pushed = std::thread::scope(|scope| {
        let pusher = scope.spawn(|| {
            let row = |n: u32| format!("{{\"time\":\"2026-01-03T00:00:00Z\",\"source\":\"live\",\"n\":{n}}}\n");
            (0..60).map(|n| server.push_lines(&table, row(n))).sum::<u64>()
        });
        for n in 0..5 {
            succeed(&server, &inline(&table, &rows(1, &format!("r{n}"), 2), false));
        }
        pusher.join().unwrap()
    });
    assert_eq!(pushed, 60);
    assert_eq!(by_source(), json!([["a", 10, 45], ["live", 60, 1_770], ["r4", 2, 1]]));
    server.assert_no_panics();
}

#[test]
fn an_interval_is_emptied_only_when_that_is_asked_for() {
    let (server, table) = (Server::start(&[]), unique("drop"));
    let days = "2026-01-01,a,1\n2026-01-02,a,2\n2026-01-03,a,4\n";
    succeed(&server, &inline(&table, days, true));
    let sum = || server.rows(&format!("SELECT SUM(n) FROM \"{table}\""));
    let mut spec = inline(&table, "2026-01-01,b,10\n2026-01-03,b,20\n", false);
    spec["spec"]["dataSchema"]["granularitySpec"]["intervals"] = json!(["2026-01-01/2026-01-03"]);
    let task = succeed(&server, &spec);
    assert_eq!(sum(), json!([[16]]), "the row outside the interval is left out, the day without rows stays");
    let report = server.get(&format!("/druid/indexer/v1/task/{task}/reports")).expect(200);
    let counted = &report["ingestionStatsAndErrors"]["payload"]["rowStats"]["buildSegments"];
    assert_eq!((&counted["processed"], &counted["thrownAway"]), (&json!(1), &json!(1)), "{report}");
    spec["spec"]["ioConfig"]["dropExisting"] = json!(true);
    succeed(&server, &spec);
    assert_eq!(sum(), json!([[14]]), "the day without rows is empty");
}

#[test]
fn bad_rows_are_reported_and_too_many_leave_nothing() {
    let (server, table) = (Server::start(&[]), unique("bad"));
    let rows = "2026-01-01,a,1\nnever,a,2\n2026-01-01,a,3\n";
    let task = succeed(&server, &inline(&table, rows, true));
    let report = server.get(&format!("/druid/indexer/v1/task/{task}/reports")).expect(200);
    let bad = &report["ingestionStatsAndErrors"]["payload"]["unparseableEvents"]["buildSegments"];
    assert_eq!(bad.as_array().unwrap().len(), 1, "{report}");
    assert!(bad[0]["details"][0].as_str().unwrap().contains("never"), "{report}");
    let log = server.get(&format!("/druid/indexer/v1/task/{task}/log")).text();
    assert!(log.contains("3 rows read, 2 stored, 1 rejected") && log.ends_with("SUCCESS\n"), "{log}");
    let mut strict = inline(&table, rows, true);
    strict["spec"]["tuningConfig"] = json!({"type": "index_parallel", "maxParseExceptions": 0});
    let task = post(&server, &strict);
    let status = ended(&server, &task);
    assert_eq!(status["statusCode"], "FAILED", "{status}");
    assert!(status["errorMsg"].as_str().unwrap().contains("maxParseExceptions"), "{status}");
    assert_eq!(server.count(&table), 2);
}

#[test]
fn what_may_not_be_read_is_refused_and_tasks_are_listed_and_shut_down() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), "{\"time\":\"2026-01-01\",\"a\":1}\n").unwrap();
    let (server, table) = (server_that_reads(folder.path()), unique("files"));
    let mut outside = tutorial(&table);
    outside["spec"]["ioConfig"]["inputSource"] = json!({"type": "local", "files": ["/etc/hostname"]});
    let refused = server.post("/druid/indexer/v1/task", &outside).expect_error(400);
    assert!(refused.contains("not in a folder that may be read"), "{refused}");
    let nobody = Server::start(&[]);
    let refused = nobody.post("/druid/indexer/v1/task", &tutorial(&table)).expect_error(400);
    assert!(refused.contains("may read no files"), "{refused}");

    let mut spec = inline(&table, "2026-01-01,a,1\n", true);
    spec["id"] = json!(unique("task"));
    let task = succeed(&server, &spec);
    let _ = server.post("/druid/indexer/v1/task", &spec).expect_error(400);
    let listed = server.get(&format!("/druid/indexer/v1/tasks?state=complete&datasource={table}")).expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!((&listed[0]["id"], &listed[0]["duration"].is_i64()), (&json!(task), &true));
    let known = server.post("/druid/indexer/v1/taskStatus", &json!([task, "none"])).expect(200);
    assert_eq!(known.as_object().unwrap().len(), 1, "{known}");
    let _ = server.get("/druid/indexer/v1/tasks?state=odd").expect_error(400);
    let _ = server.get("/druid/indexer/v1/task/none/status").expect_error(404);

    // One at work and one behind it, both ended before they are done.
    let big: String = (0..200_000).map(|n| format!("2026-01-01T00:00:00Z,source {n},{n}\n")).collect();
    let (first, second) = (post(&server, &inline(&table, &big, true)), post(&server, &inline(&table, &big, true)));
    for task in [&second, &first] {
        let _ = server.post(&format!("/druid/indexer/v1/task/{task}/shutdown"), &json!({})).expect(200);
    }
    for task in [&first, &second] {
        let status = ended(&server, task);
        assert_eq!(status["statusCode"], "FAILED", "{status}");
    }
    assert_eq!(server.count(&table), 1, "nothing of them is visible");
    server.assert_no_panics();
}
