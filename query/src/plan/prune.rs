//! Which segments a predicate can touch at all: the interval it leaves on `__time` against each segment's rows.

use freshet_segment::id::SegmentId;
use freshet_segment::predicate::Predicate;
use freshet_segment::timeline::{TableView, may_hold};

/// Segments of a view that may hold wanted rows, in the view's order, and the units in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Their ids.
    pub(crate) segments: Vec<SegmentId>,
    /// How many units they have, by what is known without opening them: the number of pieces that threads can share.
    pub(crate) units: usize,
}

/// Leaves out what cannot hold a wanted row. Never too much: bounds are hulls.
pub(crate) fn prune(view: &TableView, predicate: &Predicate) -> Pruned {
    let Some(bounds) = predicate.time_bounds() else { return Pruned::default() };
    let mut pruned = Pruned::default();
    for entry in view.segments().filter(|e| may_hold(e.segment.time_range(), bounds)) {
        pruned.segments.push(entry.id.clone());
        pruned.units += entry.segment.unit_count();
    }
    pruned
}
