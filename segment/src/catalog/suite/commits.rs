//! Publishing, replacing, dropping, undoing, and what readings see of it.

use super::*;
use crate::error::SegmentError;

pub(super) async fn all(subject: &Subject<'_>) {
    a_publication_opens_segments_and_moves_the_checkpoint(subject.catalog).await;
    a_request_asked_again_gets_its_first_commit(subject.catalog).await;
    names_are_opened_once(subject.catalog).await;
    idempotency_keys_come_with_a_publication(subject.catalog).await;
    a_replacement_is_one_step(subject.catalog).await;
    a_compaction_must_keep_every_row(subject.catalog).await;
    an_interval_is_dropped_whole(subject.catalog).await;
    an_undo_opens_the_files_again(subject).await;
    a_drop_is_undone_once(subject).await;
}

fn replacement(bench: &Bench<'_>, close: &[&NewSegment], open: Vec<NewSegment>, cause: CommitCause) -> Replacement {
    let close = close.iter().map(|segment| segment.id.clone()).collect();
    Replacement { id: request(), table: bench.table.id, lease: Some(bench.lease.clone()), close, open, cause }
}

async fn a_publication_opens_segments_and_moves_the_checkpoint(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "published").await;
    let before = catalog.last_commit().await.expect("read");
    let (a, b) = (bench.segment(0, 5, 50).await, bench.segment(1, 7, u64::MAX).await);
    let publication = bench.publication(0, 12, vec![a.clone(), b.clone()]);
    let commit = catalog.publish(publication.clone()).await.expect("published");
    assert_eq!((commit.seq, commit.publish, commit.table), (before + 1, publication.id, bench.table.id));
    assert_eq!((commit.cause, commit.closed.len()), (CommitCause::Publish, 0));
    assert_eq!(commit.opened, [a.id.clone(), b.id.clone()]);
    let reading = catalog.reading(bench.table.id).await.expect("read");
    assert_eq!(reading.commit_seq, commit.seq);
    let kept: Vec<&NewSegment> = reading.segments.iter().map(|row| &row.segment).collect();
    assert_eq!(kept, [&a, &b], "every field comes back");
    let row = &reading.segments[0];
    assert_eq!((row.visible_from, row.visible_until, row.closed_at), (commit.seq, u64::MAX, None));
    assert_eq!((row.table, row.publish), (bench.table.id, publication.id));
    assert_ne!(reading.segments[0].row_sum, reading.segments[1].row_sum);
    assert_eq!(bench.next(0).await, Some(12));
    assert_eq!(catalog.commits_since(before, 10).await.expect("read"), vec![commit.clone()]);
    assert!(catalog.commits_since(commit.seq, 10).await.expect("read").is_empty());
    assert!(catalog.segments(bench.table.id, Some(before)).await.expect("read").is_empty(), "not before its commit");
    let nothing = Publication { ranges: vec![], ..bench.publication(0, 0, vec![]) };
    assert_eq!(catalog.publish(nothing).await.expect_err("nothing").kind(), ErrorKind::Invalid);
    // A range without an offset moves nothing, and can be said again.
    let empty = bench.publication(12, 12, vec![]);
    catalog.publish(empty).await.expect("nothing new");
    bench.publish(12, 13, &[]).await;
    bench.is_sound().await;
}

async fn a_request_asked_again_gets_its_first_commit(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "again").await;
    let publication = bench.publication(0, 5, vec![bench.segment(0, 5, 50).await]);
    assert_eq!(catalog.publication(publication.id).await.expect("read"), None);
    let first = catalog.publish(publication.clone()).await.expect("published");
    assert_eq!(catalog.publication(publication.id).await.expect("read"), Some(first.clone()));
    bench.publish(5, 6, &[]).await;
    catalog.seize_lease(&bench.lease.group, "two", LONG).await.expect("taken");
    let again = catalog.publish(publication.clone()).await.expect("the same request, also from a fenced owner");
    assert_eq!(again, first);
    let mut other = publication.clone();
    other.segments[0].rows = 6;
    assert_eq!(catalog.publish(other).await.expect_err("other content").kind(), ErrorKind::Invalid);
    let rows = catalog.segments(bench.table.id, None).await.expect("read");
    assert_eq!(rows.len(), 1);
    assert_eq!(bench.next(0).await, Some(6));
}

async fn names_are_opened_once(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "names").await;
    let first = bench.segment(0, 1, 1).await;
    bench.publish(0, 1, &[&first]).await;
    let last = catalog.last_commit().await.expect("read");
    let exists = async |segment: NewSegment| {
        let error = catalog.publish(bench.publication(1, 2, vec![segment])).await.expect_err("named already");
        assert!(matches!(error, SegmentError::Exists { .. }), "{error:?}");
    };
    let mut same_file = bench.segment(0, 1, 1).await;
    same_file.files.index.path = first.files.index.path.clone();
    exists(same_file).await;
    let mut same_id = bench.segment(0, 1, 1).await;
    same_id.id = first.id.clone();
    exists(same_id).await;
    let twice = bench.segment(0, 1, 1).await;
    let error = catalog.publish(bench.publication(1, 2, vec![twice.clone(), twice])).await.expect_err("twice");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let stranger = segment(&name("another"), 0, 77, 1, 1);
    let error = catalog.publish(bench.publication(1, 2, vec![stranger])).await.expect_err("another table");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!((bench.next(0).await, catalog.last_commit().await.expect("read")), (Some(1), last));
    bench.is_sound().await;
}

async fn idempotency_keys_come_with_a_publication(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "keys").await;
    let id = bench.table.id;
    let key = |text: &str, at| DedupKey {
        key: text.into(),
        body_sha256: [9; 32],
        answer: format!("{{\"stored\":\"{text}\"}}"),
        at: Timestamp::from_millis(at),
    };
    let keys = [key("b", 20), key("a", 10), key("c", 30), key("d", 40)];
    catalog.publish(Publication { dedup: keys.to_vec(), ..bench.publication(0, 4, vec![]) }).await.expect("published");
    let refused = Publication { dedup: vec![key("e", 50)], ..bench.publication(0, 4, vec![]) };
    catalog.publish(refused).await.expect_err("moved");
    assert_eq!(catalog.dedup(id, "a").await.expect("read"), Some(key("a", 10)));
    assert_eq!(catalog.dedup(id, "e").await.expect("read"), None, "with the rows or not at all");
    let texts = async |since, limit| -> Vec<String> {
        let keys = catalog.dedup_since(id, Timestamp::from_millis(since), limit).await.expect("read");
        keys.iter().map(|key| key.key.to_string()).collect()
    };
    assert_eq!(texts(20, 10).await, ["b", "c", "d"]);
    assert_eq!(texts(0, 2).await, ["c", "d"], "the youngest");
    // A key stored again is as young as its last answer.
    catalog.publish(Publication { dedup: vec![key("a", 60)], ..bench.publication(4, 5, vec![]) }).await.expect("again");
    let at = Timestamp::from_millis;
    assert_eq!(catalog.prune_dedup(id, at(35), 4).await.expect("pruned"), 0, "as many as may stay");
    assert_eq!(catalog.prune_dedup(id, at(35), 3).await.expect("pruned"), 1);
    assert_eq!(texts(0, 10).await, ["c", "d", "a"]);
    assert_eq!(catalog.prune_dedup(id, at(35), 0).await.expect("pruned"), 1, "never one that is young");
    assert_eq!(texts(0, 10).await, ["d", "a"]);
    bench.is_sound().await;
}

async fn a_replacement_is_one_step(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "replaced").await;
    let (a, b) = (bench.segment(0, 5, 50).await, bench.segment(0, 7, 70).await);
    let opened = bench.publish(0, 12, &[&a, &b]).await;
    let c = bench.segment(0, 1, 1).await;
    let wanted = replacement(&bench, &[&a], vec![c.clone()], CommitCause::Replace);
    let commit = catalog.replace(wanted.clone()).await.expect("replaced");
    assert_eq!((&commit.opened, &commit.closed), (&vec![c.id.clone()], &vec![a.id.clone()]));
    assert_eq!(bench.open_ids().await, [b.id.clone(), c.id.clone()]);
    let at = async |seq| -> Vec<SegmentId> {
        let rows = catalog.segments(bench.table.id, Some(seq)).await.expect("read");
        rows.into_iter().map(|row| row.segment.id).collect()
    };
    assert_eq!(at(opened.seq).await, [a.id.clone(), b.id.clone()], "a reading of then sees what was then");
    assert_eq!(at(commit.seq).await, [b.id.clone(), c.id.clone()]);
    assert_eq!(catalog.replace(wanted.clone()).await.expect("asked again"), commit);

    let stale = replacement(&bench, &[&a], vec![bench.segment(0, 1, 1).await], CommitCause::Replace);
    let stale = catalog.replace(stale).await.expect_err("closed already");
    assert!(matches!(stale, SegmentError::Changed { .. }), "{stale:?}");
    let invalid = [
        replacement(&bench, &[&b, &b], vec![], CommitCause::Drop),
        replacement(&bench, &[], vec![], CommitCause::Drop),
        replacement(&bench, &[&b], vec![], CommitCause::Publish),
    ];
    for request in invalid {
        assert_eq!(catalog.replace(request).await.expect_err("no sense").kind(), ErrorKind::Invalid);
    }
    let mut fenced = replacement(&bench, &[&b], vec![], CommitCause::Drop);
    fenced.lease = Some(LeaseRef { epoch: bench.lease.epoch + 1, ..bench.lease.clone() });
    let fenced = catalog.replace(fenced).await.expect_err("no such epoch");
    assert!(matches!(fenced, SegmentError::Fenced { .. }), "{fenced:?}");
    assert_eq!(bench.open_ids().await.len(), 2);
    bench.is_sound().await;
}

async fn a_compaction_must_keep_every_row(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "compacted").await;
    let (a, b) = (bench.segment(0, 5, u64::MAX).await, bench.segment(0, 7, 3).await);
    bench.publish(0, 12, &[&a, &b]).await;
    // The sums wrap: u64::MAX + 3 is 2.
    for (rows, sum) in [(11, 2), (12, 1)] {
        let bad = bench.segment(0, rows, sum).await;
        let bad = replacement(&bench, &[&a, &b], vec![bad], CommitCause::Compact);
        assert_eq!(catalog.replace(bad).await.expect_err("other rows").kind(), ErrorKind::Corrupt);
    }
    assert_eq!(bench.open_ids().await, [a.id.clone(), b.id.clone()]);
    let good = bench.segment(0, 12, 2).await;
    let commit = replacement(&bench, &[&a, &b], vec![good.clone()], CommitCause::Compact);
    catalog.replace(commit).await.expect("the same rows");
    assert_eq!(bench.open_ids().await, [good.id]);
}

async fn an_interval_is_dropped_whole(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "cut").await;
    let (a, b, c) = (bench.segment(0, 1, 1).await, bench.segment(1, 1, 1).await, bench.segment(2, 1, 1).await);
    bench.publish(0, 3, &[&a, &b, &c]).await;
    let noon = Timestamp::from_millis(day(1).start().as_millis() + 43_200_000);
    let half = Interval::new(day(0).start(), noon).expect("an interval");
    let over = catalog.drop_interval(bench.table.id, half, None).await.expect_err("over the border");
    assert_eq!(over.kind(), ErrorKind::Invalid);
    assert!(over.to_string().contains(&b.id.to_string()), "{over}");
    let two = Interval::new(day(0).start(), day(1).end()).expect("an interval");
    let commit = catalog.drop_interval(bench.table.id, two, Some(&bench.lease)).await.expect("dropped");
    assert_eq!((commit.cause, &commit.closed), (CommitCause::Drop, &vec![a.id, b.id]));
    assert_eq!(bench.open_ids().await, [c.id]);
    let empty = catalog.drop_interval(bench.table.id, two, None).await.expect("nothing there");
    assert_eq!((empty.seq, empty.closed.len()), (commit.seq + 1, 0));
    assert_ne!(empty.publish, commit.publish);
}

async fn an_undo_opens_the_files_again(subject: &Subject<'_>) {
    let catalog = subject.catalog;
    let bench = Bench::new(catalog, "undone").await;
    let (a, b) = (bench.segment(0, 5, 50).await, bench.segment(1, 7, 70).await);
    bench.publish(0, 12, &[&a, &b]).await;
    let c = bench.segment(0, 1, 1).await;
    let wrong = replacement(&bench, &[&a], vec![c.clone()], CommitCause::Replace);
    catalog.replace(wrong.clone()).await.expect("replaced");

    let new = bench.segment(0, 0, 0).await.id;
    let elsewhere = bench.segment(1, 0, 0).await.id;
    for ids in [vec![], vec![(a.id.clone(), elsewhere)], vec![(a.id.clone(), new.clone()), (b.id.clone(), new.clone())]]
    {
        let error = catalog.undo(wrong.id, &ids).await.expect_err("ids that do not fit");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let taken = catalog.undo(wrong.id, &[(a.id.clone(), a.id.clone())]).await.expect_err("an id is used once");
    assert_eq!(taken.kind(), ErrorKind::Conflict);
    assert_eq!(catalog.undo(request(), &[]).await.expect_err("unknown").kind(), ErrorKind::NotFound);

    let commit = catalog.undo(wrong.id, &[(a.id.clone(), new.clone())]).await.expect("undone");
    assert_eq!((commit.cause, &commit.opened, &commit.closed), (CommitCause::Undo, &vec![new.clone()], &vec![c.id]));
    let reading = catalog.reading(bench.table.id).await.expect("read");
    let back = reading.segments.iter().find(|row| row.segment.id == new).expect("open");
    assert_eq!((&back.segment.files, back.segment.rows), (&a.files, 5));
    bench.is_sound().await;
    let twice = catalog.undo(wrong.id, &[(a.id.clone(), new.clone())]).await.expect_err("undone already");
    assert!(matches!(twice, SegmentError::Changed { .. }), "{twice:?}");

    let late = replacement(&bench, &[&b], vec![], CommitCause::Drop);
    catalog.replace(late.clone()).await.expect("dropped");
    subject.clock.advance(DAY + Duration::from_millis(1));
    let newer = bench.segment(1, 0, 0).await.id;
    let error = catalog.undo(late.id, &[(b.id, newer)]).await.expect_err("too late");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

async fn a_drop_is_undone_once(subject: &Subject<'_>) {
    let catalog = subject.catalog;
    let bench = Bench::new(catalog, "dropped twice").await;
    let a = bench.segment(0, 5, 50).await;
    bench.publish(0, 5, &[&a]).await;
    let dropped = replacement(&bench, &[&a], vec![], CommitCause::Drop);
    catalog.replace(dropped.clone()).await.expect("dropped");
    let (first, second) = (bench.segment(0, 0, 0).await.id, bench.segment(0, 0, 0).await.id);
    catalog.undo(dropped.id, &[(a.id.clone(), first)]).await.expect("undone");
    // It opened nothing that would have to be open still, and yet its rows must not come back twice.
    let twice = catalog.undo(dropped.id, &[(a.id.clone(), second)]).await.expect_err("undone already");
    assert!(matches!(twice, SegmentError::Changed { .. }), "{twice:?}");
    let rows: u64 = catalog.reading(bench.table.id).await.expect("read").segments.iter().map(|s| s.segment.rows).sum();
    assert_eq!(rows, 5);
    bench.is_sound().await;
}
