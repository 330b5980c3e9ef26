//! Who may write.

use super::*;
use crate::error::SegmentError;

const SHORT: Duration = Duration::from_millis(20);

pub(super) async fn all(subject: &Subject<'_>) {
    an_owner_keeps_its_epoch_and_another_waits(subject).await;
    a_seized_lease_fences_the_former_owner(subject.catalog).await;
    a_lease_let_go_is_not_written_under(subject.catalog).await;
}

async fn an_owner_keeps_its_epoch_and_another_waits(subject: &Subject<'_>) {
    let catalog = subject.catalog;
    let first = catalog.acquire_lease("g", "one", LONG).await.expect("free");
    assert_eq!((first.epoch, first.owner.as_str()), (1, "one"));
    let again = catalog.acquire_lease("g", "one", SHORT).await.expect("its own");
    assert_eq!(again.epoch, 1, "who still holds it keeps the epoch");
    catalog.renew_lease(&first.reference(), LONG).await.expect("more time");
    let other = catalog.acquire_lease("g", "two", LONG).await.expect_err("held");
    assert!(matches!(other, SegmentError::Exists { .. }), "{other}");
    catalog.renew_lease(&first.reference(), SHORT).await.expect("less time");
    if subject.lease_time_is_manual {
        let early = catalog.acquire_lease("g", "two", LONG).await.expect_err("held");
        assert_eq!(early.kind(), ErrorKind::Conflict);
        subject.clock.advance(SHORT);
    }
    let taken = until("the end of the lease", || async { catalog.acquire_lease("g", "two", LONG).await.ok() }).await;
    assert_eq!((taken.epoch, taken.owner.as_str()), (2, "two"));
    let late = catalog.renew_lease(&first.reference(), LONG).await.expect_err("taken over");
    assert!(matches!(late, SegmentError::Fenced { held: 1, current: 2, .. }), "{late:?}");
}

async fn a_seized_lease_fences_the_former_owner(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "fenced").await;
    let segment = bench.segment(0, 1, 1).await;
    let seized = catalog.seize_lease(&bench.lease.group, "one", LONG).await.expect("taken");
    assert_eq!(seized.epoch, bench.lease.epoch + 1, "also by the same owner");
    let calls = [
        catalog.publish(bench.publication(0, 1, vec![segment.clone()])).await.map(drop),
        catalog.start_checkpoints(bench.table.id, &bench.lease, &[range(9, 0, 0)]).await.map(drop),
        catalog.reset_offsets(bench.table.id, "push", &bench.lease, None).await,
        catalog.drop_interval(bench.table.id, day(0), Some(&bench.lease)).await.map(drop),
    ];
    for call in calls {
        let error = call.expect_err("an old epoch");
        assert!(matches!(error, SegmentError::Fenced { .. }), "{error:?}");
    }
    assert_eq!((bench.open_ids().await, bench.next(0).await, bench.next(9).await), (vec![], Some(0), None));
    let never = LeaseRef { group: "nobody's".into(), epoch: 1 };
    let never = catalog.renew_lease(&never, LONG).await.expect_err("never given");
    assert!(matches!(never, SegmentError::Fenced { current: 0, .. }), "{never:?}");
    let now = Bench { lease: seized.reference(), ..bench };
    now.publish(0, 1, &[&segment]).await;
}

async fn a_lease_let_go_is_not_written_under(catalog: &dyn Catalog) {
    let bench = Bench::new(catalog, "let_go").await;
    catalog.release_lease(&bench.lease).await.expect("let go");
    let late = catalog.publish(bench.publication(0, 1, vec![])).await.expect_err("let go");
    assert!(matches!(late, SegmentError::Fenced { .. }), "{late:?}");
    let next = catalog.acquire_lease(&bench.lease.group, "two", LONG).await.expect("free at once");
    assert!(next.epoch > bench.lease.epoch);
    assert_eq!(catalog.release_lease(&bench.lease).await.expect_err("twice").kind(), ErrorKind::Conflict);
}
