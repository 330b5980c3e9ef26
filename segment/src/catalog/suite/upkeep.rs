//! Which files may go.

use super::*;

pub(super) async fn all(subject: &Subject<'_>) {
    files_go_when_every_row_that_names_them_is_old(subject).await;
    a_dropped_table_goes_with_its_last_file(subject).await;
}

fn ids(rows: &[SegmentRow], bench: &Bench<'_>) -> Vec<SegmentId> {
    rows.iter().filter(|row| row.table == bench.table.id).map(|row| row.segment.id.clone()).collect()
}

async fn files_go_when_every_row_that_names_them_is_old(subject: &Subject<'_>) {
    use crate::clock::Clock as _;
    let catalog = subject.catalog;
    let bench = Bench::new(catalog, "deleted").await;
    let (a, b, c) = (bench.segment(0, 5, 50).await, bench.segment(0, 7, 70).await, bench.segment(0, 9, 90).await);
    bench.publish(0, 12, &[&a, &b, &c]).await;
    let drop = |close: &[&NewSegment]| Replacement {
        id: request(),
        table: bench.table.id,
        lease: None,
        close: close.iter().map(|segment| segment.id.clone()).collect(),
        open: vec![],
        cause: CommitCause::Drop,
    };
    let (first, second) = (drop(&[&a]), drop(&[&b]));
    catalog.replace(first.clone()).await.expect("dropped");
    catalog.replace(second.clone()).await.expect("dropped");
    subject.clock.advance(Duration::from_secs(60));
    let a_again = bench.segment(0, 0, 0).await.id;
    catalog.undo(first.id, &[(a.id.clone(), a_again.clone())]).await.expect("undone");

    let now = subject.clock.now();
    let rows = catalog.segments_to_delete(Timestamp::from_millis(now.as_millis() - 60_000)).await.expect("asked");
    assert_eq!(ids(&rows, &bench), [], "closed at that instant is not before it");
    let rows = catalog.segments_to_delete(now).await.expect("asked");
    assert_eq!(ids(&rows, &bench), std::slice::from_ref(&b.id), "an open row names the files of the other");
    let kept = catalog.segments(bench.table.id, None).await.expect("read");
    let row = kept.iter().find(|row| row.segment.id == b.id).expect("still there");
    assert!(rows.contains(row), "with the hash it has now");
    let late = catalog.undo(second.id, &[(b.id.clone(), bench.segment(0, 0, 0).await.id)]).await.expect_err("too late");
    assert_eq!(late.kind(), ErrorKind::Conflict, "its files may be gone");

    let not_named =
        catalog.segments_deleted(bench.table.id, std::slice::from_ref(&a.id)).await.expect_err("its files are there");
    assert_eq!(not_named.kind(), ErrorKind::Invalid);
    let b_paths: Vec<String> = b.files.each().iter().map(|file| file.path.clone()).collect();
    let mut asked = b_paths.clone();
    asked.extend([c.files.meta.path.clone(), a.files.index.path.clone(), "never/was".to_owned()]);
    assert_eq!(catalog.unnamed(&asked).await.expect("asked"), ["never/was"]);
    catalog.segments_deleted(bench.table.id, std::slice::from_ref(&b.id)).await.expect("forgotten");
    catalog.segments_deleted(bench.table.id, std::slice::from_ref(&b.id)).await.expect("forgotten already");
    asked.truncate(4);
    assert_eq!(catalog.unnamed(&asked).await.expect("asked"), b_paths);
    let left = catalog.segments(bench.table.id, None).await.expect("read");
    assert_eq!(left.len(), 3);
    bench.is_sound().await;

    // The row opened again is closed, and both that name its files are old.
    let close = Replacement { close: vec![a_again.clone()], ..drop(&[]) };
    catalog.replace(close).await.expect("dropped");
    subject.clock.advance(Duration::from_secs(60));
    let rows = catalog.segments_to_delete(subject.clock.now()).await.expect("asked");
    assert_eq!(ids(&rows, &bench), [a.id.clone(), a_again.clone()]);
    catalog.segments_deleted(bench.table.id, &[a.id, a_again]).await.expect("forgotten");
    assert_eq!(bench.open_ids().await, [c.id]);
    bench.is_sound().await;
}

async fn a_dropped_table_goes_with_its_last_file(subject: &Subject<'_>) {
    use crate::clock::Clock as _;
    let catalog = subject.catalog;
    let bench = Bench::new(catalog, "emptied").await;
    let (a, b) = (bench.segment(0, 5, 50).await, bench.segment(1, 7, 70).await);
    bench.publish(0, 12, &[&a, &b]).await;
    catalog.drop_table(bench.table.id).await.expect("dropped");
    subject.clock.advance(Duration::from_secs(1));
    let again = Bench::new(catalog, "emptied").await;
    let c = again.segment(0, 1, 1).await;
    again.publish(0, 1, &[&c]).await;
    let rows = catalog.segments_to_delete(subject.clock.now()).await.expect("asked");
    assert_eq!(ids(&rows, &bench), [a.id.clone(), b.id.clone()]);
    assert_eq!(ids(&rows, &again), []);
    catalog.segments_deleted(bench.table.id, &[a.id, b.id]).await.expect("forgotten");
    assert!(catalog.segments(bench.table.id, None).await.expect("read").is_empty());
    assert_eq!(again.open_ids().await, [c.id], "a table of the same name is another");
    bench.is_sound().await;
}
