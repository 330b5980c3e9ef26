//! The nightly copy, the log, and the way back.

use serde_json::Value as Json;

use super::*;
use crate::catalog::books::{Record, Value};
use crate::catalog::entries::RELATIONS;

pub(super) async fn all(subject: &Subject<'_>) {
    let (catalog, empty) = (subject.catalog, subject.empty);
    let bench = Bench::new(catalog, "copied").await;
    let (a, b) = (bench.segment(0, 5, 50).await, bench.segment(0, 7, 70).await);
    bench.publish(0, 5, &[&a]).await;
    let night = catalog.export().await.expect("copied");
    let at_night = catalog.last_commit().await.expect("read");

    let key = DedupKey { key: "k".into(), body_sha256: [1; 32], answer: "{}".into(), at: Timestamp::from_millis(5) };
    let counts = Counts { read: 8, stored: 7, rejected: 1, ..Counts::default() };
    let accounting = Accounting {
        counts: vec![AccountRow { stream: "push".into(), partition: 0, counts }],
        letters: vec![super::accounts::letter(6, b"\xff")],
        ..Accounting::default()
    };
    let keyed = Publication { dedup: vec![key.clone()], accounting, ..bench.publication(5, 12, vec![b.clone()]) };
    catalog.set_push_time(bench.table.id, "when").await.expect("chosen");
    catalog.publish(keyed).await.expect("published");
    let c = bench.segment(0, 12, 120).await;
    let compact = Replacement {
        id: request(),
        table: bench.table.id,
        lease: None,
        close: vec![a.id.clone(), b.id.clone()],
        open: vec![c.clone()],
        cause: CommitCause::Compact,
    };
    catalog.replace(compact).await.expect("compacted");
    let young = Bench::new(catalog, "made_later").await;
    let d = young.segment(3, 1, 1).await;
    young.publish(0, 1, &[&d]).await;
    let gone = Bench::new(catalog, "made_and_dropped").await;
    gone.publish(0, 1, &[&gone.segment(3, 1, 1).await]).await;
    catalog.drop_table(gone.table.id).await.expect("dropped");

    let log = catalog.log_entries(at_night, 100).await.expect("read");
    assert_eq!(
        log.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        (at_night + 1..=at_night + 5).collect::<Vec<_>>()
    );
    let mut copy = night.clone();
    // In any order, and one of them twice.
    for entry in log.iter().rev().chain(&log[..1]) {
        assert_eq!(entry.bytes.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        copy.extend(&entry.bytes);
    }
    damaged_copies_are_refused(empty, &night, &log).await;
    rows_that_mean_nothing_are_refused(empty, &night).await;
    empty.rebuild(&copy).await.expect("rebuilt");
    assert_eq!(empty.check().await.expect("checked"), Vec::<String>::new());
    for table in catalog.tables().await.expect("read") {
        let same = empty.table(table.name.as_str()).await.expect("read").expect("there");
        assert_eq!((same.id, same.schema.columns()), (table.id, table.schema.columns()));
        let (mut was, is) =
            (catalog.reading(table.id).await.expect("read"), empty.reading(table.id).await.expect("read"));
        was.segments.iter_mut().zip(&is.segments).for_each(|(was, is)| assert_eq!(was.row_sum, is.row_sum));
        assert_eq!(was, is, "{}", table.name);
        let was = catalog.checkpoints(table.id, "push").await.expect("read");
        assert_eq!(was, empty.checkpoints(table.id, "push").await.expect("read"), "{}", table.name);
    }
    let commits = catalog.commits_since(at_night, 1_000).await.expect("read");
    assert_eq!((commits.len(), &commits), (5, &empty.commits_since(at_night, 1_000).await.expect("read")));
    assert_eq!(empty.push_time(bench.table.id).await.expect("read").as_deref(), Some("when"));
    let accounts = empty.accounts(bench.table.id).await.expect("read");
    assert_eq!(accounts, catalog.accounts(bench.table.id).await.expect("read"));
    assert_eq!(accounts[0].counts, counts);
    let letters = empty.dead_letters(bench.table.id, 10).await.expect("read");
    assert_eq!((letters.total, letters.kept, letters.letters.len()), (1, 0, 0), "a copy knows how many there were");
    assert_eq!(empty.dedup(bench.table.id, "k").await.expect("read"), Some(key));
    assert_eq!(empty.supervisors().await.expect("read"), catalog.supervisors().await.expect("read"));
    assert_eq!(empty.data_gaps(None).await.expect("read"), catalog.data_gaps(None).await.expect("read"));

    // A writer of the former catalog is fenced; numbers go on where they were.
    let late = empty.publish(bench.publication(12, 13, vec![])).await.expect_err("an epoch of the former catalog");
    assert_eq!(late.kind(), ErrorKind::Conflict);
    let seized = empty.seize_lease(&bench.lease.group, "one", LONG).await.expect("taken");
    assert!(seized.epoch > bench.lease.epoch + 1_000);
    let next = Bench { catalog: empty, lease: seized.reference(), table: bench.table.clone() };
    let e = next.segment(0, 1, 1).await;
    assert!(e.id.number > c.id.number);
    next.publish(12, 13, &[&e]).await;
    assert_eq!(next.open_ids().await, [c.id, e.id]);
    let made = empty.create_table(&name("made_after"), schema()).await.expect("made");
    assert!(made.id > gone.table.id, "a table's number is never given twice");
    next.is_sound().await;
    assert_eq!(empty.rebuild(&copy).await.expect_err("not empty").kind(), ErrorKind::Conflict);

    catalog.log_stored(at_night + 2).await.expect("noted");
    let left = catalog.log_entries(0, 100).await.expect("read");
    assert_eq!(left, log[2..]);
}

async fn damaged_copies_are_refused(empty: &dyn Catalog, night: &[u8], log: &[LogEntry]) {
    let joined = |parts: &[&[u8]]| parts.concat();
    let middle = night.len() / 2;
    let mut flipped = night.to_vec();
    let digit = flipped.iter().rposition(|byte| *byte == b'7').expect("a 7 somewhere");
    flipped[digit] = b'8';
    let cut = &night[..night.iter().rposition(|byte| *byte == b'{').expect("a last line")];
    let bad = [
        joined(&[night, &log[1].bytes]),
        joined(&[night, night]),
        joined(&[cut]),
        joined(&[&night[..middle]]),
        flipped,
        joined(&[night, b"{}\n"]),
        joined(&[b"\xff\xfe\n"]),
    ];
    for copy in bad {
        let error = empty.rebuild(&copy).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!((empty.tables().await.expect("read").len(), empty.last_commit().await.expect("read")), (0, 0));
    }
}

/// As somebody would write them by hand: their hashes are right.
async fn rows_that_mean_nothing_are_refused(empty: &dyn Catalog, night: &[u8]) {
    let changes = [
        ("tables", 2, Value::Text("{}".to_owned())),
        ("tables", 1, Value::Text("a/b".to_owned())),
        ("leases", 3, Value::Text("soon".to_owned())),
        ("checkpoints", 2, Value::Int(1 << 40)),
    ];
    for (name, column, wrong) in changes {
        let mut changed = false;
        let lines = night.split_inclusive(|byte| *byte == b'\n').map(|line| {
            let json: Json = serde_json::from_slice(line).expect("its own line");
            let row = json.get("row").and_then(Json::as_array).filter(|row| row[0] == name);
            let Some(row) = row.filter(|_| !std::mem::replace(&mut changed, true)) else { return line.to_vec() };
            let mut row = row.clone();
            row[column + 1] = match &wrong {
                Value::Text(text) => Json::from(text.as_str()),
                Value::Int(int) => Json::from(*int),
                Value::Null => Json::Null,
            };
            let values = row[1..].iter().map(|value| match value {
                Json::String(text) => Value::Text(text.clone()),
                Json::Null => Value::Null,
                number => Value::Int(number.as_i64().expect("an integer")),
            });
            let relation = RELATIONS.iter().find(|relation| relation.name == name).expect("one of them");
            let sum = Record::new(relation, values.collect()).sum;
            format!("{}\n", serde_json::json!({ "row": row, "sum": sum })).into_bytes()
        });
        let copy = lines.collect::<Vec<_>>().concat();
        assert!(copy != night, "{name} has no row");
        let error = empty.rebuild(&copy).await.expect_err("it means nothing");
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("cat"), "{error}");
        assert_eq!((empty.tables().await.expect("read").len(), empty.last_commit().await.expect("read")), (0, 0));
    }
}
