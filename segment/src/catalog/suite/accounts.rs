//! Counts, dead letters, the time column of pushes, and commits that are forgotten.

use super::*;

pub(super) async fn all(subject: &Subject<'_>) {
    counts_move_with_the_checkpoint(subject).await;
    letters_are_kept_up_to_a_bound_and_all_are_counted(subject).await;
    a_time_column_is_chosen_once(subject).await;
    old_commits_are_forgotten_and_nothing_that_is_needed(subject).await;
}

fn counts(stored: u64, rejected: u64) -> Counts {
    Counts { read: stored + rejected, stored, rejected, bytes: 10 * stored, ..Counts::default() }
}

fn row(partition: i32, counts: Counts) -> AccountRow {
    AccountRow { stream: "push".into(), partition, counts }
}

pub(crate) fn letter(offset: i64, raw: &[u8]) -> DeadLetter {
    DeadLetter {
        time: Timestamp::from_millis(7),
        stream: "push".into(),
        partition: 0,
        offset,
        row: 3,
        at: (offset % 2 == 0).then(|| "field `a`".to_owned()),
        reason: "not a number".to_owned(),
        hint: None,
        row_stored: false,
        raw: raw.to_vec().into(),
    }
}

async fn counts_move_with_the_checkpoint(subject: &Subject<'_>) {
    let catalog = subject.catalog;
    let bench = Bench::new(catalog, "counted").await;
    assert_eq!(catalog.accounts(bench.table.id).await.expect("read"), []);
    catalog.start_checkpoints(bench.table.id, &bench.lease, &[range(1, 0, 0)]).await.expect("started");
    let said = |counts| Accounting { counts, ..Accounting::default() };
    let first = Publication {
        accounting: said(vec![row(0, counts(4, 1)), row(1, counts(1, 0))]),
        ..bench.publication(0, 5, vec![])
    };
    let first = Publication { ranges: vec![range(0, 0, 5), range(1, 0, 1)], ..first };
    let commit = catalog.publish(first.clone()).await.expect("published");
    // An answer that was lost is asked for again: it counts once.
    assert_eq!(catalog.publish(first.clone()).await.expect("the same"), commit);
    let changed = Publication { accounting: said(vec![row(0, counts(5, 0))]), ..first };
    assert_eq!(catalog.publish(changed).await.expect_err("another content").kind(), ErrorKind::Invalid);
    let next = Publication { accounting: said(vec![row(0, counts(2, 3))]), ..bench.publication(5, 6, vec![]) };
    // What is refused counts nothing.
    let late = Publication { ranges: vec![range(0, 4, 6)], ..next.clone() };
    assert_eq!(catalog.publish(late).await.expect_err("the checkpoint has moved").kind(), ErrorKind::Conflict);
    let unbalanced = Counts { read: 9, ..counts(2, 3) };
    let lost = Publication { accounting: said(vec![row(0, unbalanced)]), id: request(), ..next.clone() };
    assert_eq!(catalog.publish(lost).await.expect_err("rows are unaccounted for").kind(), ErrorKind::Invalid);
    catalog.publish(next).await.expect("published");
    let expected = [row(0, counts(6, 4)), row(1, counts(1, 0))];
    assert_eq!(catalog.accounts(bench.table.id).await.expect("read"), expected);
    // What is read again is counted again.
    catalog.reset_offsets(bench.table.id, "push", &bench.lease, None).await.expect("reset");
    assert_eq!(catalog.accounts(bench.table.id).await.expect("read"), expected);
    bench.is_sound().await;
    catalog.drop_table(bench.table.id).await.expect("dropped");
    assert_eq!(catalog.accounts(bench.table.id).await.expect("read"), []);
}

async fn letters_are_kept_up_to_a_bound_and_all_are_counted(subject: &Subject<'_>) {
    let catalog = subject.catalog;
    let bench = Bench::new(catalog, "letters").await;
    assert_eq!(catalog.dead_letters(bench.table.id, 10).await.expect("read"), DeadLetters::default());
    let publish = async |from: i64, letters: Vec<DeadLetter>, unlisted: u64, bytes_max: usize| {
        let accounting = Accounting {
            letters,
            letters_unlisted: unlisted,
            letters_max: 5,
            letters_bytes_max: bytes_max,
            ..Accounting::default()
        };
        let publication = Publication { accounting, ..bench.publication(from, from + 1, vec![]) };
        catalog.publish(publication).await.expect("published");
        let kept = catalog.dead_letters(bench.table.id, 100).await.expect("read");
        assert_eq!(kept.kept, kept.letters.len() as u64);
        bench.is_sound().await;
        (kept.total, kept.letters.iter().map(|letter| letter.offset).collect::<Vec<_>>())
    };
    let some = |offsets: std::ops::Range<i64>| offsets.map(|n| letter(n, b"raw")).collect::<Vec<_>>();
    assert_eq!(publish(0, some(0..3), 0, 1 << 20).await, (3, vec![2, 1, 0]));
    let two = catalog.dead_letters(bench.table.id, 2).await.expect("read");
    assert_eq!((two.total, two.kept, two.letters), (3, 3, vec![letter(2, b"raw"), letter(1, b"raw")]));
    assert_eq!(publish(1, some(3..7), 4, 1 << 20).await, (11, vec![6, 5, 4, 3, 2]), "the oldest are gone");
    assert_eq!(
        publish(2, some(10..30), 0, 1 << 20).await,
        (31, vec![29, 28, 27, 26, 25]),
        "more than are kept at once"
    );
    let large: Vec<DeadLetter> = (40..43).map(|n| letter(n, &[0xff; 3_000])).collect();
    let newest = large[2].clone();
    assert_eq!(publish(3, large, 0, 7_000).await, (34, vec![42, 41]), "bytes bound them, too");
    assert_eq!(catalog.dead_letters(bench.table.id, 1).await.expect("read").letters, [newest], "bytes as they were");
    assert_eq!(publish(4, vec![], 2, 7_000).await, (36, vec![42, 41]));
    catalog.drop_table(bench.table.id).await.expect("dropped");
    assert_eq!(catalog.dead_letters(bench.table.id, 10).await.expect("read"), DeadLetters::default());
}

async fn a_time_column_is_chosen_once(subject: &Subject<'_>) {
    let catalog = subject.catalog;
    let bench = Bench::new(catalog, "timed").await;
    assert_eq!(catalog.push_time(bench.table.id).await.expect("read"), None);
    assert_eq!(catalog.set_push_time(bench.table.id, "when").await.expect("chosen"), "when");
    assert_eq!(catalog.set_push_time(bench.table.id, "ts").await.expect("chosen before"), "when");
    assert_eq!(catalog.push_time(bench.table.id).await.expect("read").as_deref(), Some("when"));
    bench.is_sound().await;
    catalog.drop_table(bench.table.id).await.expect("dropped");
    assert_eq!(catalog.push_time(bench.table.id).await.expect("read"), None);
    assert_eq!(catalog.set_push_time(bench.table.id, "ts").await.expect_err("gone").kind(), ErrorKind::NotFound);
}

async fn old_commits_are_forgotten_and_nothing_that_is_needed(subject: &Subject<'_>) {
    use crate::clock::Clock as _;
    let catalog = subject.catalog;
    let bench = Bench::new(catalog, "forgotten").await;
    let start = catalog.last_commit().await.expect("read");
    let mut segments = Vec::new();
    for n in 0..4 {
        let segment = bench.segment(n, 1, 1).await;
        bench.publish(n, n + 1, &[&segment]).await;
        segments.push(segment);
    }
    let drop = Replacement {
        id: request(),
        table: bench.table.id,
        lease: None,
        close: vec![segments[0].id.clone()],
        open: vec![],
        cause: CommitCause::Drop,
    };
    let dropped = catalog.replace(drop.clone()).await.expect("dropped");
    let later = Timestamp::from_millis(subject.clock.now().as_millis() + 10 * 86_400_000);
    assert_eq!(catalog.prune_commits(later, 100).await.expect("asked"), 0, "a day has not passed");
    subject.clock.advance(DAY + Duration::from_secs(1));
    assert_eq!(catalog.prune_commits(later, 100).await.expect("asked"), 0, "no log entry is stored");
    catalog.log_stored(start + 2).await.expect("noted");
    let young = bench.segment(9, 1, 1).await;
    let last = bench.publish(4, 5, &[&young]).await;
    // In steps, up to the first entry that is not stored.
    let mut forgotten = 0;
    loop {
        match catalog.prune_commits(later, 3).await.expect("asked") {
            0 => break,
            n => forgotten += n,
        }
        bench.is_sound().await;
    }
    assert_eq!(forgotten, start + 2);
    catalog.log_stored(last.seq).await.expect("noted");
    assert_eq!(catalog.prune_commits(later, 100).await.expect("asked"), 3, "the young one stays");
    bench.is_sound().await;
    assert_eq!(catalog.commits_since(dropped.seq, 10).await.expect("read"), std::slice::from_ref(&last));
    assert_eq!(catalog.commits_since(start, 10).await.expect_err("forgotten").kind(), ErrorKind::NotFound);
    assert_eq!(catalog.publication(dropped.publish).await.expect("read"), None);
    assert_eq!(catalog.publication(last.publish).await.expect("read"), Some(last.clone()));
    // A request that comes again although it was done finds that things have moved.
    let again = Publication { ranges: vec![range(0, 3, 4)], ..bench.publication(3, 4, vec![]) };
    assert_eq!(catalog.publish(again).await.expect_err("moved").kind(), ErrorKind::Conflict);
    assert_eq!(catalog.replace(drop).await.expect_err("closed").kind(), ErrorKind::Conflict);
    let undone = catalog.undo(dropped.publish, &[]).await.expect_err("forgotten");
    assert_eq!(undone.kind(), ErrorKind::NotFound);
    // Everything else is as it was, and goes on.
    assert_eq!((bench.open_ids().await.len(), bench.next(0).await), (4, Some(5)));
    bench.publish(5, 6, &[]).await;
    subject.clock.advance(DAY + Duration::from_secs(1));
    assert!(
        catalog.segments_to_delete(subject.clock.now()).await.expect("asked").iter().any(|r| r.segment == segments[0])
    );
    catalog.segments_deleted(bench.table.id, &[segments[0].id.clone()]).await.expect("forgotten");
    catalog.log_stored(last.seq + 1).await.expect("noted");
    assert!(catalog.prune_commits(later, 100).await.expect("asked") > 0);
    bench.is_sound().await;
    bench.publish(6, 7, &[&bench.segment(9, 1, 1).await]).await;
    bench.is_sound().await;
}
