//! A process that publishes and compacts is killed at each step of a commit, again and again over the same file. What is
//! left are whole commits: the checkpoint stands at the end of the ranges, and the open segments hold exactly the rows
//! up to it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

use super::*;
use crate::catalog::rows::*;
use crate::catalog::suite::LONG;

const FILE: &str = "FRESHET_TEST_CATALOG";
/// Rows of one publication.
const ROWS: i64 = 3;

/// Runs one of the tests below, which are ignored otherwise, in a process of its own.
fn child(test: &str, file: &Path, failpoints: &str) -> Output {
    let test = format!("catalog::sqlite::tests::kill::{test}");
    Command::new(std::env::current_exe().expect("the system knows this executable"))
        .args([test.as_str(), "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .env("FRESHET_FAILPOINTS", failpoints)
        .output()
        .expect("started")
}

fn file() -> PathBuf {
    PathBuf::from(std::env::var(FILE).expect("only the parent runs this"))
}

/// Opens the catalog as a starting node does: a lease with a new epoch, the checkpoint made if it is missing.
async fn bench(catalog: &SqliteCatalog) -> Bench<'_> {
    let table = match catalog.table("killed").await.expect("read") {
        Some(table) => table,
        None => catalog.create_table(&suite::name("killed"), suite::schema()).await.expect("made"),
    };
    let lease = catalog.seize_lease("push/killed", "node", LONG).await.expect("taken").reference();
    catalog.start_checkpoints(table.id, &lease, &[suite::range(0, 0, 0)]).await.expect("started");
    Bench { catalog, table, lease }
}

/// Merges the two oldest open segments.
async fn compact(bench: &Bench<'_>) {
    let open = bench.catalog.reading(bench.table.id).await.expect("read").segments;
    let [a, b, ..] = open.as_slice() else { return };
    let sum = a.segment.content_sum.wrapping_add(b.segment.content_sum);
    let merged = bench.segment(0, a.segment.rows + b.segment.rows, sum).await;
    let replacement = Replacement {
        id: PublishId(rand::random()),
        table: bench.table.id,
        lease: Some(bench.lease.clone()),
        close: vec![a.segment.id.clone(), b.segment.id.clone()],
        open: vec![merged],
        cause: CommitCause::Compact,
    };
    bench.catalog.replace(replacement).await.expect("compacted");
}

#[tokio::test]
#[ignore = "run by the test that kills it"]
async fn publishes_until_it_is_killed() {
    let catalog = SqliteCatalog::open(&file(), manual()).await.expect("opened");
    let bench = bench(&catalog).await;
    for round in 0..4 {
        let from = bench.next(0).await.expect("started");
        let mut segment = bench.segment(0, 3, u64::try_from(from).expect("not below 0") + 1).await;
        // Another process wrote the others: names must differ between processes, too.
        for file in [&mut segment.files.parquet, &mut segment.files.index, &mut segment.files.meta] {
            file.path = format!("{}-{:016x}", file.path, rand::random::<u64>());
        }
        let publication = bench.publication(from, from + ROWS, vec![segment]);
        bench.catalog.publish(Publication { id: PublishId(rand::random()), ..publication }).await.expect("published");
        println!("\nacked {}", from + ROWS);
        if round % 2 == 1 {
            compact(&bench).await;
        }
    }
}

#[tokio::test]
async fn a_kill_at_any_step_leaves_whole_commits() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let (mut kills, mut acked) = (0, 0);
    let places = ["begun", "statement", "before_commit", "committed"];
    // Passes of one run: about 20 transactions, with up to 30 statements each.
    let passes: [&[u32]; 4] = [&[1, 5, 8], &[2, 9, 23, 41, 59, 70], &[1, 4, 6, 7, 10], &[1, 4, 6, 7, 10]];
    for (place, passes) in places.into_iter().zip(passes) {
        for pass in passes {
            let ran = child("publishes_until_it_is_killed", &path, &format!("catalog.{place}=exit@{pass}"));
            let killed = ran.status.signal() == Some(9);
            assert!(killed || ran.status.success(), "{place}@{pass}: {}", String::from_utf8_lossy(&ran.stderr));
            kills += u32::from(killed);
            let text = String::from_utf8_lossy(&ran.stdout);
            let last = text.lines().filter_map(|line| line.strip_prefix("acked ")?.parse::<i64>().ok()).max();
            acked = last.map_or(acked, |last| last.max(acked));
            whole(&path, acked).await;
        }
    }
    assert!(kills >= 15, "the failpoints must be passed: {kills}");
    assert!(acked >= 10 * ROWS, "and work be done between: {acked}");
}

/// What the file holds is whole commits, and none that was answered is missing.
async fn whole(path: &Path, acked: i64) {
    let catalog = SqliteCatalog::open(path, manual()).await.expect("opened after a kill");
    assert_eq!(catalog.check().await.expect("checked"), Vec::<String>::new());
    let Some(table) = catalog.table("killed").await.expect("read") else {
        assert_eq!(acked, 0);
        return catalog.close().await;
    };
    let next = catalog.checkpoints(table.id, "push").await.expect("read").first().map_or(0, |c| c.next);
    assert!(next >= acked && next % ROWS == 0, "checkpoint {next}, acked {acked}");
    let ranges: Vec<(i64, i64)> = sqlx::query_as("SELECT \"from\", \"to\" FROM stream_ranges ORDER BY 1")
        .fetch_all(&catalog.readers)
        .await
        .expect("read");
    let expected: Vec<(i64, i64)> = (0..next / ROWS).map(|n| (n * ROWS, n * ROWS + ROWS)).collect();
    assert_eq!(ranges, expected);
    let open = catalog.reading(table.id).await.expect("read").segments;
    assert_eq!(open.iter().map(|row| row.segment.rows).sum::<u64>(), next.cast_unsigned());
    let sums: i64 = expected.iter().map(|(from, _)| from + 1).sum();
    let found = open.iter().fold(0_u64, |sum, row| sum.wrapping_add(row.segment.content_sum));
    assert_eq!(found, sums.cast_unsigned(), "each publication's rows once");
    catalog.close().await;
}

#[tokio::test]
#[ignore = "run by the test that arms the failpoint"]
async fn asks_when_the_outcome_is_unknown() {
    let catalog = SqliteCatalog::open(&file(), manual()).await.expect("opened");
    let bench = bench(&catalog).await;
    let publication = bench.publication(0, 3, vec![bench.segment(0, 3, 1).await]);
    let error = catalog.publish(publication.clone()).await.expect_err("the failpoint is armed");
    let SegmentError::Unavailable { outcome_unknown: true, .. } = error else { panic!("{error:?}") };
    let commit = catalog.publication(publication.id).await.expect("read").expect("it was made");
    assert_eq!(catalog.publish(publication).await.expect("the same request"), commit);
    assert_eq!((bench.next(0).await, bench.open_ids().await), (Some(3), commit.opened));
}

#[tokio::test]
#[ignore = "run by the test that arms the failpoint"]
async fn tries_again_when_nothing_was_done() {
    let catalog = SqliteCatalog::open(&file(), manual()).await.expect("opened");
    let bench = bench(&catalog).await;
    let publication = bench.publication(0, 3, vec![bench.segment(0, 3, 1).await]);
    let error = catalog.publish(publication.clone()).await.expect_err("the failpoint is armed");
    assert!(!matches!(error, SegmentError::Unavailable { outcome_unknown: true, .. }), "{error:?}");
    assert_eq!(catalog.publication(publication.id).await.expect("read"), None);
    assert_eq!((bench.next(0).await, bench.open_ids().await), (Some(0), vec![]));
    let commit = catalog.publish(publication).await.expect("nothing is in the way");
    assert_eq!(bench.open_ids().await, commit.opened);
}

/// A new catalog passes five writes before its first publication: table, lease, checkpoint, number — and then it.
#[test]
fn an_error_at_a_failpoint_says_whether_it_may_have_been_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = [
        ("asks_when_the_outcome_is_unknown", "catalog.committed=error@5"),
        ("tries_again_when_nothing_was_done", "catalog.before_commit=error@5"),
        ("tries_again_when_nothing_was_done", "catalog.begun=error@5"),
    ];
    for (n, (test, failpoint)) in runs.into_iter().enumerate() {
        let ran = child(test, &folder.path().join(format!("{n}.db")), failpoint);
        assert!(ran.status.success(), "{failpoint}: {}", String::from_utf8_lossy(&ran.stdout));
    }
}
