//! A changed byte is found, or it changes nothing: every answer is the one of before, or an error.

use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::catalog::accounting::*;
use crate::catalog::rows::*;
use crate::catalog::suite::{day, schema};
use crate::id::TableId;

/// A catalog with something in every relation.
async fn filled(path: &Path) {
    let clock = manual();
    let catalog = SqliteCatalog::open(path, Arc::clone(&clock) as _).await.expect("opened");
    let bench = Bench::new(&*catalog, "t").await;
    let key = |text: &str| DedupKey {
        key: text.into(),
        body_sha256: [7; 32],
        answer: "{\"rows\":3}".to_owned(),
        at: Timestamp::from_millis(10),
    };
    for n in 0..6 {
        let mut publication = bench.publication(n * 3, n * 3 + 3, vec![bench.segment(n, 3, 5).await]);
        publication.id = PublishId(n.cast_unsigned().into());
        publication.dedup = vec![key(&format!("key-{n}"))];
        let counts = Counts { read: 4, stored: 3, rejected: 1, ..Counts::default() };
        publication.accounting.counts = vec![AccountRow { stream: "push".into(), partition: 0, counts }];
        publication.accounting.letters = vec![suite::accounts::letter(n, b"a row")];
        catalog.publish(publication).await.expect("published");
    }
    catalog.drop_interval(bench.table.id, day(0), None).await.expect("dropped");
    catalog.reset_offsets(bench.table.id, "push", &bench.lease, Some(&[(4, 4)])).await.expect("set");
    catalog.create_table(&suite::name("other"), schema()).await.expect("made");
    catalog.set_push_time(bench.table.id, "when").await.expect("chosen");
    let (id, spec) = ("s".to_owned(), "{\"a\":1}".to_owned());
    let row = SupervisorRow { id, table: suite::name("t"), spec, suspended: false };
    catalog.put_supervisor(row).await.expect("stored");
    let (stream, reason, at) = ("push".into(), "lost".to_owned(), Timestamp::from_millis(5));
    let gap = DataGap { table: bench.table.id, stream, partition: 0, from: 1, to: 2, reason, at };
    catalog.record_gap(gap).await.expect("noted");
    catalog.close().await;
}

/// Everything one can ask, as texts; an error is one with its kind.
async fn answers(catalog: &dyn Catalog) -> Vec<Result<String>> {
    macro_rules! texts {
        ($($call:expr),* $(,)?) => { vec![$($call.await.map(|answer| format!("{answer:?}"))),*] };
    }
    let t = TableId(1);
    let tables = catalog.tables().await.map(|all| {
        let rows = all.iter().map(|row| format!("{} {} {:?}", row.id, row.name, row.schema.columns()));
        rows.collect::<Vec<_>>()
    });
    let mut all = texts![
        async { tables },
        catalog.supervisors(),
        catalog.checkpoints(t, "push"),
        catalog.reading(t),
        catalog.segments(t, None),
        catalog.segments(t, Some(2)),
        catalog.reading(TableId(2)),
        catalog.last_commit(),
        catalog.commits_since(0, 100),
        catalog.commits_since(3, 2),
        catalog.publication(PublishId(2)),
        catalog.dedup_since(t, Timestamp::from_millis(0), 100),
        catalog.data_gaps(None),
        catalog.accounts(t),
        catalog.dead_letters(t, 100),
        catalog.dead_letters(TableId(2), 100),
        catalog.push_time(t),
        catalog.unnamed(&["t/day=3/0.idx".to_owned()]),
        catalog.log_entries(0, 100),
        catalog.export(),
    ];
    // A key is looked up alone; what is lost there is seen by who reads all keys, as a starting node does.
    if let (Ok(key), Some(Ok(_))) = (catalog.dedup(t, "key-3").await, all.get(11)) {
        all.push(Ok(format!("{key:?}")));
    }
    all
}

/// Opens, asks, compares. Gives whether something was found by the asking; what was, the check finds too, and with `sure`
/// it must find something in any case.
async fn found_or_harmless(path: &Path, expected: &[String], what: &str, sure: bool) -> bool {
    let catalog = match SqliteCatalog::open(path, manual()).await {
        Ok(catalog) => catalog,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid), "{what}: {error}");
            return true;
        }
    };
    let mut found = false;
    for (answer, expected) in answers(&*catalog).await.into_iter().zip(expected) {
        match answer {
            Ok(text) => assert_eq!(&text, expected, "{what}: a wrong answer"),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Corrupt), "{what}: {error:?}");
                found = true;
            }
        }
    }
    if found || sure {
        let said = catalog.check().await;
        assert!(said.is_err() || said.is_ok_and(|findings| !findings.is_empty()), "{what}: the check saw nothing");
    }
    catalog.close().await;
    found
}

async fn expected(path: &Path) -> Vec<String> {
    let catalog = SqliteCatalog::open(path, manual()).await.expect("opened");
    let expected = answers(&*catalog).await.into_iter().map(|text| text.expect("sound")).collect();
    catalog.close().await;
    expected
}

fn seed() -> u64 {
    let seed = std::env::var("FRESHET_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("FRESHET_SEED={seed}");
    seed
}

fn cases() -> usize {
    std::env::var("FRESHET_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(120)
}

#[tokio::test]
async fn a_flipped_bit_of_the_file_is_found_or_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("whole.db");
    filled(&path).await;
    let expected = expected(&path).await;
    let whole = std::fs::read(&path).expect("read");
    assert!(!path.with_extension("db-wal").exists(), "closed means folded in");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed());
    // Most of a young file is empty pages: three of four flips go where something is.
    let full: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut found = 0;
    for n in 0..cases() {
        let at =
            if n % 4 == 0 { random.random_range(0..whole.len()) } else { full[random.random_range(0..full.len())] };
        let bit = random.random_range(0..8);
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << bit;
        let path = folder.path().join(format!("{n}.db"));
        std::fs::write(&path, bytes).expect("written");
        found += usize::from(found_or_harmless(&path, &expected, &format!("bit {bit} of byte {at}"), false).await);
    }
    assert!(found * 4 > cases(), "most flips where something is are found: {found} of {}", cases());
}

#[tokio::test]
async fn a_damaged_write_ahead_log_gives_whole_commits() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("running.db");
    let catalog = SqliteCatalog::open(&path, manual()).await.expect("opened");
    let bench = Bench::new(&*catalog, "t").await;
    let wal = folder.path().join("running.db-wal");
    let started = std::fs::metadata(&wal).expect("there").len();
    let mut states = vec![catalog.export().await.expect("copied")];
    for n in 0..4 {
        let segment = suite::segment(&bench.table.name, 0, u32::try_from(n).expect("few") + 1, 3, 3);
        bench.publish(n * 3, n * 3 + 3, &[&segment]).await;
        states.push(catalog.export().await.expect("copied"));
    }
    // Copied as a power cut would leave them, while the catalog is open.
    let (file, log) = (std::fs::read(&path).expect("read"), std::fs::read(&wal).expect("read"));
    let mut random = rand::rngs::StdRng::seed_from_u64(seed());
    for n in 0..cases() / 4 {
        let at = random.random_range(usize::try_from(started).expect("short")..log.len());
        let copy = folder.path().join(format!("{n}.db"));
        let mut bytes = log.clone();
        if n % 2 == 0 {
            bytes[at] ^= 1 << random.random_range(0..8)
        } else {
            bytes.truncate(at)
        }
        std::fs::write(&copy, &file).expect("written");
        std::fs::write(folder.path().join(format!("{n}.db-wal")), bytes).expect("written");
        let again = SqliteCatalog::open(&copy, manual()).await.expect("an earlier state is a state");
        let state = again.export().await.expect("copied");
        assert!(states.contains(&state), "byte {at} of the log: half a commit");
        assert_eq!(again.check().await.expect("checked"), Vec::<String>::new());
        again.close().await;
    }
    catalog.close().await;
}

#[tokio::test]
async fn a_row_changed_or_removed_by_hand_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("whole.db");
    filled(&path).await;
    let expected = expected(&path).await;
    let mut changed = 0;
    for relation in crate::catalog::entries::RELATIONS {
        let name = relation.name;
        let mut deeds: Vec<String> =
            relation.columns.iter().chain(&["row_sum"]).map(|column| change(name, column)).collect();
        deeds.push(format!("DELETE FROM \"{name}\" WHERE {}", one(name)));
        // The first and the last leave no hole that their neighbours would show.
        let key = &relation.columns[..relation.key];
        for order in ["ASC", "DESC"] {
            let order: Vec<String> = key.iter().map(|column| format!("\"{column}\" {order}")).collect();
            let row = format!("SELECT row_sum FROM \"{name}\" ORDER BY {} LIMIT 1", order.join(", "));
            deeds.push(format!("DELETE FROM \"{name}\" WHERE row_sum = ({row})"));
        }
        for deed in deeds {
            let copy = folder.path().join(format!("{changed}.db"));
            std::fs::copy(&path, &copy).expect("copied");
            run_sql(&copy, format!("PRAGMA foreign_keys = 0; PRAGMA ignore_check_constraints = 1; {deed}")).await;
            // Whatever reads it or not: the check finds every one.
            found_or_harmless(&copy, &expected, &deed, true).await;
            changed += 1;
        }
    }
    assert!(changed > 100, "{changed}");
}

/// The middle row of a table.
fn one(table: &str) -> String {
    let middle = format!("LIMIT 1 OFFSET (SELECT count(*) / 2 FROM \"{table}\")");
    format!("row_sum = (SELECT row_sum FROM \"{table}\" ORDER BY 1 {middle})")
}

fn change(table: &str, column: &str) -> String {
    format!(
        "UPDATE \"{table}\" SET \"{column}\" = CASE typeof(\"{column}\") WHEN 'integer' THEN \"{column}\" + 1000 \
         WHEN 'text' THEN \"{column}\" || '0' ELSE 1 END WHERE {}",
        one(table)
    )
}
