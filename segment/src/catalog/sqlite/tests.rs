//! The suite over SQLite, agreement with the catalog in memory, versions, and damage.

mod agreement;
mod damage;
mod kill;

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::catalog::suite::{self, Bench, Subject};
use crate::catalog::{Catalog, SupervisorRow};
use crate::clock::ManualClock;
use crate::error::ErrorKind;
use crate::time::Timestamp;

fn manual() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)))
}

async fn opened(folder: &TempDir, name: &str) -> Arc<SqliteCatalog> {
    SqliteCatalog::open(&folder.path().join(name), manual()).await.expect("opened")
}

async fn run_sql(path: &Path, sql: String) {
    let mut connection =
        SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.expect("connected");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("run");
    connection.close().await.expect("closed");
}

#[tokio::test]
async fn keeps_what_a_catalog_owes() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = manual();
    let catalog = SqliteCatalog::open(&folder.path().join("a.db"), Arc::clone(&clock) as _).await.expect("opened");
    let empty = SqliteCatalog::open(&folder.path().join("b.db"), Arc::clone(&clock) as _).await.expect("opened");
    suite::run(&Subject { catalog: &*catalog, empty: &*empty, clock: &clock, lease_time_is_manual: false }).await;
}

#[tokio::test]
async fn what_was_committed_is_there_when_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = opened(&folder, "c.db").await;
    let bench = Bench::new(&*catalog, "kept").await;
    let segment = bench.segment(0, 3, 30).await;
    let commit = bench.publish(0, 3, &[&segment]).await;
    let (reading, copy) =
        (catalog.reading(bench.table.id).await.expect("read"), catalog.export().await.expect("copied"));
    catalog.close().await;
    let closed = catalog.last_commit().await.expect_err("closed");
    assert_eq!(closed.kind(), ErrorKind::Unavailable);
    let again = opened(&folder, "c.db").await;
    assert_eq!(again.last_commit().await.expect("read"), commit.seq);
    assert_eq!(again.reading(bench.table.id).await.expect("read"), reading);
    assert_eq!(again.export().await.expect("copied"), copy);
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&again.writer).await.expect("asked");
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&again.writer).await.expect("asked");
    assert_eq!((journal.as_str(), synchronous), ("wal", 2));
}

#[tokio::test]
async fn a_call_given_up_half_way_leaves_nothing_and_blocks_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = opened(&folder, "d.db").await;
    let bench = Bench::new(&*catalog, "given_up").await;
    for polls in 0..40 {
        let publication = bench.publication(0, 1, vec![suite::segment(&bench.table.name, 0, 1, 1, 1)]);
        let mut call = Box::pin(catalog.publish(publication));
        let mut done = false;
        for _ in 0..polls {
            done = done || futures::poll!(&mut call).is_ready();
            tokio::task::yield_now().await;
            if done {
                break;
            }
        }
        drop(call);
        if done {
            break;
        }
        let next = bench.next(0).await;
        let open = bench.open_ids().await.len();
        // A commit that was under way when its caller left may be whole; half of it is never there.
        assert!((next, open) == (Some(0), 0) || (next, open) == (Some(1), 1), "{next:?} {open}");
        if open == 1 {
            break;
        }
    }
    bench.is_sound().await;
}

#[tokio::test]
async fn a_newer_or_strange_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    opened(&folder, "e.db").await.close().await;
    let path = folder.path().join("e.db");
    run_sql(&path, "INSERT INTO schema_version (version) VALUES (7)".to_owned()).await;
    let newer = SqliteCatalog::open(&path, manual()).await.expect_err("newer");
    assert_eq!(newer.kind(), ErrorKind::Invalid);
    assert!(newer.to_string().contains("version 7") && newer.to_string().contains("up to 2"), "{newer}");
    let strange = folder.path().join("f.db");
    run_sql(&strange, "CREATE TABLE notes (text TEXT)".to_owned()).await;
    let error = SqliteCatalog::open(&strange, manual()).await.expect_err("another database");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = folder.path().join("g.db");
    std::fs::write(&text, "this is a text, and longer than the head of a database file is".repeat(20))
        .expect("written");
    let error = SqliteCatalog::open(&text, manual()).await.expect_err("no database");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let nowhere = SqliteCatalog::open(&folder.path().join("no/such/folder.db"), manual()).await.expect_err("no folder");
    assert_eq!(nowhere.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_file_of_version_1_is_brought_to_this_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("old.db");
    run_sql(&path, format!("PRAGMA foreign_keys = 0; {}", include_str!("tests/version_1.sql"))).await;
    for _ in 0..2 {
        let catalog = SqliteCatalog::open(&path, manual()).await.expect("opened");
        assert_eq!(catalog.check().await.expect("checked"), Vec::<String>::new());
        let table = catalog.table("clicks").await.expect("read").expect("there");
        let reading = catalog.reading(table.id).await.expect("read");
        let rows: Vec<u64> = reading.segments.iter().map(|row| row.segment.rows).collect();
        assert_eq!((reading.commit_seq, rows), (4, vec![2, 2]), "three published, one of them dropped");
        assert_eq!(catalog.accounts(table.id).await.expect("read"), [], "what was not counted is not known");
        assert_eq!(catalog.dead_letters(table.id, 9).await.expect("read").total, 0);
        let keys = catalog.dedup_since(table.id, Timestamp::MIN, 10).await.expect("read");
        assert_eq!(keys.iter().map(|key| &*key.key).collect::<Vec<_>>(), ["k1", "k2", "k3"]);
        catalog.close().await;
    }
}

#[tokio::test]
async fn two_that_share_a_file_see_each_other_and_one_lease() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (opened(&folder, "h.db").await, opened(&folder, "h.db").await);
    let bench = Bench::new(&*one, "shared").await;
    let first = bench.segment(0, 1, 1).await;
    bench.publish(0, 1, &[&first]).await;
    // The second takes over while the first sleeps; the first wakes up with its old epoch.
    let lease = two.seize_lease(&bench.lease.group, "two", suite::LONG).await.expect("taken").reference();
    let other = Bench { catalog: &*two, table: bench.table.clone(), lease };
    let (mine, yours) = (bench.segment(0, 1, 1).await, other.segment(0, 1, 1).await);
    other.publish(1, 2, &[&yours]).await;
    let woken = one.publish(bench.publication(1, 2, vec![mine])).await.expect_err("an old epoch");
    assert!(matches!(woken, SegmentError::Fenced { .. }), "{woken:?}");
    assert_eq!(bench.open_ids().await, [first.id, yours.id]);
    assert_eq!(bench.next(0).await, Some(2));
    // Both at once, under one lease: one is first, the other finds the checkpoint moved.
    let again = Bench { catalog: &*one, table: bench.table.clone(), lease: other.lease.clone() };
    let (a, b) = (again.segment(0, 1, 1).await, other.segment(0, 1, 1).await);
    let (left, right) =
        tokio::join!(one.publish(again.publication(2, 3, vec![a])), two.publish(other.publication(2, 3, vec![b])));
    let lost = [left, right].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(matches!(lost.as_slice(), [SegmentError::Moved { found: Some(3), .. }]), "{lost:?}");
    assert_eq!(bench.open_ids().await.len(), 3);
    other.is_sound().await;
}

/// SQLite ends a transaction by itself when there is no room; the next one must not meet what is left of it.
#[tokio::test]
async fn a_full_disk_costs_one_transaction_and_not_the_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = opened(&folder, "full.db").await;
    let spec = |id: &str, bytes: usize| SupervisorRow {
        id: id.to_owned(),
        table: "t".parse().expect("a name"),
        spec: "x".repeat(bytes),
        suspended: false,
    };
    // The limit is the connection's own, as is the trouble.
    let limited: i64 =
        sqlx::query_scalar("PRAGMA max_page_count = 1").fetch_one(&catalog.writer).await.expect("no more pages");
    assert!(limited > 1);
    for _ in 0..3 {
        catalog.put_supervisor(spec("before", 10)).await.expect("there is room in the pages there are");
        let full = catalog.put_supervisor(spec("large", 1 << 20)).await.expect_err("full");
        assert_eq!(full.kind(), ErrorKind::Exhausted, "{full}");
        let small = catalog.put_supervisor(spec("small", 10)).await;
        assert!(small.is_ok(), "{small:?}");
        let _: i64 =
            sqlx::query_scalar("PRAGMA max_page_count = 1").fetch_one(&catalog.writer).await.expect("no more pages");
    }
    let kept: Vec<String> = catalog.supervisors().await.expect("read").into_iter().map(|row| row.id).collect();
    assert_eq!(kept, ["before", "small"]);
}
