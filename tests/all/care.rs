//! The care of what is stored, as an operator sees it: segments merged, an interval dropped and taken back, files that go late,
//! damage found and named, and a catalog made again from deep storage alone.

use std::path::PathBuf;

use freshet_segment::failpoint;
use freshet_tests::cluster::{Server, Setup, command, unique};
use freshet_tests::{services, wait};
use serde_json::{Value, json};

/// Rows are sealed when a test says so.
const SEAL_NEVER: [&str; 6] =
    ["--seal-rows-max", "1000000000", "--seal-age-ms-max", "86400000", "--seal-bytes-max", "100000000000"];

/// How the names of the care's own failpoints begin; `crash` leaves them to this module, because pushing alone reaches none.
pub(crate) const CARE: [&str; 5] = ["compact.", "drop.", "undo.", "cleanup.", "copy."];

/// Pushes the rows `from..to` of a day of January 2026, and publishes them.
fn publish(server: &Server, table: &str, day: u32, from: i64, to: i64) {
    let rows: Vec<Value> =
        (from..to).map(|n| json!({"ts": format!("2026-01-{day:02}T00:{:02}:00Z", n % 60), "n": n})).collect();
    server.push(table, &rows);
    let _ = server.post(&format!("/api/v1/tables/{table}/publish"), &json!({})).expect(200);
}

fn run(server: &Server, duty: &str) -> Value {
    let ran = server.post(&format!("/api/v1/duties/{duty}/run"), &json!({})).expect(200);
    assert_eq!((&ran["name"], &ran["error"]), (&json!(duty), &Value::Null), "{ran}");
    ran["result"].clone()
}

fn total(server: &Server, table: &str) -> Value {
    server.rows(&format!("SELECT COUNT(*), SUM(n) FROM \"{table}\""))
}

fn files(server: &Server, table: &str) -> Vec<PathBuf> {
    let listed = server.get(&format!("/api/v1/tables/{table}/files")).expect(200);
    let path = |file: &Value| PathBuf::from(file["path"].as_str().unwrap());
    listed["files"].as_array().unwrap().iter().map(path).collect()
}

/// Parquet files below a folder.
fn parquet(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: PathBuf| match path.is_dir() {
        true => parquet(&path),
        false => usize::from(path.extension().is_some_and(|ending| ending == "parquet")),
    };
    entries.map(count).sum()
}

#[test]
fn segments_are_merged_dropped_and_taken_back_and_their_files_go_late() {
    let flags = [&SEAL_NEVER[..], &["--delete-after-ms", "1"]].concat();
    let (server, table) = (Setup::default().flags(&flags).start(), unique("care"));
    for part in 0..5 {
        publish(&server, &table, 1, part * 100, (part + 1) * 100);
    }
    publish(&server, &table, 2, 1_000, 1_100);
    let all = json!([[600, 499 * 250 + 1_049 * 100 + 50]]);
    assert_eq!(total(&server, &table), all);
    run(&server, "compact");
    assert_eq!((total(&server, &table), files(&server, &table).len()), (all.clone(), 2));

    let path = format!("/api/v1/tables/{table}?interval=2026-01-01/2026-01-02");
    let dropped = server.delete(&path).expect(200);
    assert_eq!((&dropped["rows"], &dropped["segments"]), (&json!(500), &json!(1)), "{dropped}");
    assert_eq!(total(&server, &table), json!([[100, 1_049 * 100 + 50]]));
    let again = server.delete(&path).expect(200);
    assert_eq!((&again["rows"], &again["publish"]), (&json!(0), &Value::Null), "{again}");
    let half = server.delete(&format!("/api/v1/tables/{table}?interval=2026-01-02/2026-01-02T12:00:00Z"));
    assert!(half.expect_error(400).contains("widen the interval"), "{}", half.text());
    let mistyped = server.delete(&format!("/api/v1/tables/{table}?intervall=2026-01-01/2026-01-02"));
    assert!(mistyped.expect_error(400).contains("intervall"), "{}", mistyped.text());

    let undo = format!("/api/v1/tables/{table}/undo");
    let undone = server.post(&undo, &json!({"publish": dropped["publish"]})).expect(200);
    assert_eq!((&undone["opened"], total(&server, &table)), (&json!(1), all.clone()), "{undone}");
    let _ = server.post(&undo, &json!({"publish": "00"})).expect_error(400);
    let _ = server.post(&undo, &json!({"publish": "00000000000000000000000000000001"})).expect_error(404);

    // The five merged ones go; the two that are open stay, one of them under its second name.
    let deep = server.data_dir().join("deep");
    wait::until_equal("segments in deep storage", &2, || {
        run(&server, "cleanup");
        parquet(&deep)
    });
    assert_eq!(total(&server, &table), all);
    server.restart_after_kill();
    assert_eq!(total(&server, &table), all);
    let duties = server.get("/api/v1/duties").expect(200);
    let names: Vec<&str> = duties["duties"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["compact", "cleanup", "scrub", "catalog-copy"]);
    assert!(server.get("/metrics").text().contains("\nfreshet_scrub_damaged 0\n"));
    let unknown = server.post("/api/v1/duties/compcat/run", &json!({}));
    assert!(unknown.expect_error(404).contains("compact"), "{}", unknown.text());
    server.assert_no_panics();
}

#[test]
fn damage_is_found_by_a_scrub_and_named_by_queries() {
    let (server, table) = (Setup::default().flags(&SEAL_NEVER).start(), unique("scrub"));
    publish(&server, &table, 1, 0, 5_000);
    publish(&server, &table, 2, 5_000, 5_010);
    assert_eq!(run(&server, "scrub")["damaged"], 0);
    let path = files(&server, &table).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(run(&server, "scrub")["damaged"], 1);
    let damaged = server.get("/api/v1/duties").expect(200)["damaged"].clone();
    let segment = damaged[0]["segment"].as_str().unwrap();
    assert!(segment.starts_with(&format!("{table}_2026-01-01")), "{damaged}");
    assert!(server.get("/metrics").text().contains("\nfreshet_scrub_damaged 1\n"));
    // What was read and checked before the damage may be answered from memory; a new process has to read it.
    server.restart_after_kill();
    let failed = server.try_rows(&format!("SELECT SUM(n) FROM \"{table}\"")).unwrap_err();
    assert!(failed.contains(segment), "{failed}");
    let day_two = format!("SELECT COUNT(*) FROM \"{table}\" WHERE __time >= TIMESTAMP '2026-01-02'");
    assert_eq!(server.rows(&day_two), json!([[10]]));
}

#[test]
fn a_lost_data_directory_comes_back_from_deep_storage() {
    let elsewhere = tempfile::tempdir().unwrap();
    let deep = elsewhere.path().join("deep");
    let log = deep.join("_catalog/log");
    lose_and_make_again(&["--deep-storage", deep.to_str().unwrap()], || log_entries(&log));
}

#[test]
fn a_lost_data_directory_comes_back_from_a_bucket() {
    let Some(s3) = services::s3() else { return };
    let (prefix, endpoint) = (unique("lost"), format!("http://{}", s3.address()));
    let place = format!("s3://{}/{prefix}", s3.bucket());
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let list = format!("{endpoint}/{}?list-type=2&prefix={prefix}/_catalog/log/", s3.bucket());
    let signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    lose_and_make_again(&["--deep-storage", &place, "--s3-endpoint", &endpoint], || {
        let listed = client.get(&list).header("Authorization", signed).send().unwrap().text().unwrap();
        listed.matches("<Key>").count()
    });
}

fn lose_and_make_again(deep: &[&str], log_entries: impl Fn() -> usize) {
    let flags = [&SEAL_NEVER[..], deep].concat();
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let setup = keys.iter().fold(Setup::default().flags(&flags), |setup, (name, value)| setup.variable(name, value));
    let (server, table) = (setup.start(), unique("lost"));
    publish(&server, &table, 1, 0, 100);
    run(&server, "catalog-copy");
    publish(&server, &table, 2, 100, 200);
    // Nobody has to ask for it.
    wait::until_equal("a stored entry", &true, || log_entries() > 0);
    let expected = total(&server, &table);
    server.kill();
    let data = server.data_dir();
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _absent = std::fs::remove_file(data.join(name));
    }
    std::fs::remove_dir_all(data.join("journal")).unwrap();
    let arguments = [&["catalog", "rebuild", "--data-dir", data.to_str().unwrap()], deep].concat();
    let output = command(&arguments).envs(keys).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 tables, up to commit 2"), "{said}");
    server.restart();
    assert_eq!(server.rows_when_served(&format!("SELECT COUNT(*), SUM(n) FROM \"{table}\"")), expected);
    assert_eq!(expected, json!([[200, 199 * 100]]));
}

/// One round of everything that the coordinator does, until the process ends. Gives the totals that may be there then.
fn care_until_the_end(server: &Server, table: &str, all: &Value, some: &Value) -> Vec<Value> {
    let duty = |name: &str| server.client().post(server.url(&format!("/api/v1/duties/{name}/run"))).json(&json!({}));
    let path = server.url(&format!("/api/v1/tables/{table}"));
    if server.try_send(duty("compact")).is_err() {
        return vec![all.clone()];
    }
    let dropping = server.client().delete(format!("{path}?interval=2026-01-01/2026-01-02"));
    let Ok(dropped) = server.try_send(dropping) else { return vec![all.clone(), some.clone()] };
    let publish = dropped.expect(200)["publish"].clone();
    let undoing = server.client().post(format!("{path}/undo")).json(&json!({"publish": publish}));
    let Ok(undone) = server.try_send(undoing) else { return vec![some.clone(), all.clone()] };
    let _ = undone.expect(200);
    for name in ["catalog-copy", "cleanup"] {
        if server.try_send(duty(name)).is_err() {
            break;
        }
    }
    vec![all.clone()]
}

#[test]
fn a_kill_at_each_step_of_the_care_leaves_every_row_once() {
    let flags = [&SEAL_NEVER[..], &["--delete-after-ms", "1"]].concat();
    let server = Setup::default().flags(&flags).start();
    let deep = server.data_dir().join("deep");
    for name in failpoint::names().iter().filter(|name| CARE.iter().any(|part| name.starts_with(part))) {
        println!("{name}");
        server.kill();
        server.try_restart(&[("FRESHET_MERGE_ROWS_TARGET", "0")]).unwrap();
        server.wait_until_ready();
        let table = unique("steps");
        for part in 0..3 {
            publish(&server, &table, 1, part * 10, (part + 1) * 10);
        }
        publish(&server, &table, 2, 100, 110);
        let (all, some) = (json!([[40, 435 + 1_045]]), json!([[10, 1_045]]));
        assert_eq!(total(&server, &table), all);
        let orphan = deep.join(format!("{table}/day=2026-01-01/{table}_x-{:032x}.idx", 7));
        std::fs::write(&orphan, "left behind").unwrap();
        server.kill();
        server.try_restart(&[("FRESHET_FAILPOINTS", &format!("{name}=exit"))]).unwrap();
        server.wait_until_ready();
        let allowed = care_until_the_end(&server, &table, &all, &some);
        wait::until_equal(&format!("the end at {name}"), &true, || server.ended().is_some());
        server.restart();
        server.wait_until_ready();
        let seen = total(&server, &table);
        assert!(allowed.contains(&seen), "{name}: {seen}, not one of {allowed:?}");
        for duty in ["compact", "catalog-copy", "cleanup", "scrub"] {
            run(&server, duty);
        }
        assert_eq!((total(&server, &table), orphan.exists()), (seen, false), "{name}");
    }
    assert!(server.terminate().success());
    let arguments =
        ["catalog", "check", "--data-dir", server.data_dir().to_str().unwrap(), "--deep"].map(str::to_owned);
    let output = command(&arguments.each_ref().map(String::as_str)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn log_entries(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder).map_or(0, |entries| entries.count())
}

trait AfterKill {
    /// A kill, a start, and every table back.
    fn restart_after_kill(&self);
}

impl AfterKill for Server {
    fn restart_after_kill(&self) {
        self.kill();
        self.restart();
        self.wait_until_ready();
    }
}
