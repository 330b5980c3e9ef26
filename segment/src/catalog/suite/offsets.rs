//! Checkpoints and lost ranges.

use super::*;
use crate::error::SegmentError;

pub(super) async fn all(subject: &Subject<'_>) {
    a_checkpoint_starts_once(subject.catalog).await;
    a_checkpoint_moves_only_from_where_it_stands(subject.catalog).await;
    a_reset_begins_a_generation(subject.catalog).await;
    lost_ranges_are_kept(subject.catalog).await;
}

async fn a_checkpoint_starts_once(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "starts").await;
    bench.publish(0, 10, &[]).await;
    let topic = |partition, at| StreamRange { topic_id: "T1".into(), ..range(partition, at, at) };
    let named = catalog.start_checkpoints(bench.table.id, &bench.lease, &[topic(1, 50), range(0, 99, 99)]).await;
    let named = named.expect("started");
    let nexts: Vec<_> = named.iter().map(|c| (c.partition, c.next, &*c.topic_id, c.generation)).collect();
    assert_eq!(nexts, [(1, 50, "T1", 0), (0, 10, "", 0)], "one that is there stays");
    let all = catalog.checkpoints(bench.table.id, "push").await.expect("read");
    assert_eq!(all.iter().map(|c| c.partition).collect::<Vec<_>>(), [0, 1]);
    assert!(catalog.checkpoints(bench.table.id, "pus").await.expect("read").is_empty());
    let wide = catalog.start_checkpoints(bench.table.id, &bench.lease, &[range(2, 0, 5)]).await.expect_err("a range");
    assert_eq!(wide.kind(), ErrorKind::Invalid);
}

async fn a_checkpoint_moves_only_from_where_it_stands(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "moves").await;
    bench.publish(0, 10, &[]).await;
    let moved = |error: SegmentError| match error {
        SegmentError::Moved { wanted, found, .. } => (wanted, found),
        other => panic!("{other:?}"),
    };
    for (from, found) in [(0, Some(10)), (9, Some(10)), (11, Some(10))] {
        let error = catalog.publish(bench.publication(from, 20, vec![])).await.expect_err("stands elsewhere");
        assert_eq!(moved(error), (from, found));
    }
    let mut other = bench.publication(10, 20, vec![bench.segment(0, 1, 1).await]);
    other.ranges.push(range(7, 0, 5));
    assert_eq!(moved(catalog.publish(other).await.expect_err("never started")), (0, None));
    assert_eq!((bench.next(0).await, bench.open_ids().await.len()), (Some(10), 0), "all or nothing");

    let mut named = bench.publication(10, 20, vec![]);
    named.ranges[0].topic_id = "T1".into();
    catalog.publish(named.clone()).await.expect("the topic becomes known");
    named.id = request();
    (named.ranges[0].from, named.ranges[0].to, named.ranges[0].topic_id) = (20, 30, "T2".into());
    assert_eq!(moved(catalog.publish(named.clone()).await.expect_err("another topic")), (20, None));
    named.ranges[0].topic_id = "".into();
    catalog.publish(named).await.expect("an unknown topic is not another");
    let checkpoints = catalog.checkpoints(bench.table.id, "push").await.expect("read");
    assert_eq!((&*checkpoints[0].topic_id, checkpoints[0].next), ("T1", 30));

    for (from, to) in [(40, 30), (-1, 5)] {
        let bad = catalog.publish(bench.publication(from, to, vec![])).await.expect_err("no range");
        assert_eq!(bad.kind(), ErrorKind::Invalid);
    }
    let mut twice = bench.publication(30, 31, vec![]);
    twice.ranges.push(range(0, 31, 32));
    assert_eq!(catalog.publish(twice).await.expect_err("twice").kind(), ErrorKind::Invalid);
    bench.is_sound().await;
}

async fn a_reset_begins_a_generation(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "reset").await;
    let (id, lease) = (bench.table.id, &bench.lease);
    bench.publish(0, 10, &[]).await;
    catalog.reset_offsets(id, "push", lease, Some(&[(0, 0), (3, 7)])).await.expect("set");
    bench.publish(0, 10, &[]).await;
    let all = catalog.checkpoints(id, "push").await.expect("read");
    let seen: Vec<_> = all.iter().map(|c| (c.partition, c.next, c.generation)).collect();
    assert_eq!(seen, [(0, 10, 1), (3, 7, 0)], "the same range, published again on purpose");
    catalog.reset_offsets(id, "push", lease, None).await.expect("removed");
    assert!(catalog.checkpoints(id, "push").await.expect("read").is_empty());
    let gone = catalog.publish(bench.publication(10, 11, vec![])).await.expect_err("removed");
    assert!(matches!(gone, SegmentError::Moved { found: None, .. }), "{gone:?}");
    let again = catalog.start_checkpoints(id, lease, &[range(0, 0, 0)]).await.expect("started");
    assert_eq!((again[0].next, again[0].generation), (0, 2));
    bench.publish(0, 10, &[]).await;
    for bad in [&[(0, 1), (0, 2)][..], &[(0, -1)]] {
        let error = catalog.reset_offsets(id, "push", lease, Some(bad)).await.expect_err("twice, or below 0");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    bench.is_sound().await;
}

async fn lost_ranges_are_kept(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "gaps").await;
    let gap = DataGap {
        table: bench.table.id,
        stream: "push".into(),
        partition: 0,
        from: 5,
        to: 9,
        reason: "retention".into(),
        at: Timestamp::from_millis(1),
    };
    catalog.record_gap(gap.clone()).await.expect("noted");
    catalog.record_gap(gap.clone()).await.expect("noted again");
    assert_eq!(catalog.data_gaps(Some(bench.table.id)).await.expect("read"), vec![gap.clone()]);
    assert_eq!(catalog.data_gaps(None).await.expect("read"), vec![gap.clone()]);
    assert!(catalog.data_gaps(Some(crate::id::TableId(9_999))).await.expect("read").is_empty());
    let empty = catalog.record_gap(DataGap { to: 5, ..gap }).await.expect_err("empty");
    assert_eq!(empty.kind(), ErrorKind::Invalid);
}
