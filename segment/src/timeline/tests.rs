use super::*;
use crate::growing::GrowingSegment;
use crate::id::Version;
use crate::schema::{Column, ColumnType};
use crate::time::Granularity;
use arrow::array::{ArrayRef, RecordBatch, TimestampMillisecondArray};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn schema() -> Arc<TableSchema> {
    Arc::new(TableSchema::new(vec![Column::dimension("a", ColumnType::Long)]).expect("a schema"))
}

fn segment(day: i64, number: u32) -> GrowingSegment {
    let t = at(day * 86_400_000);
    let table = "t".parse().expect("a name");
    let id = SegmentId { table, interval: Granularity::DAY.bucket(t), version: Version::at(t), number };
    GrowingSegment::new(id, schema())
}

fn append(segment: &mut GrowingSegment, times: &[i64]) -> Arc<GrowingSnapshot> {
    let array: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC"));
    let batch = RecordBatch::try_from_iter([("__time", array)]).expect("a batch");
    let rows: Vec<u32> = (0..u32::try_from(times.len()).expect("few")).collect();
    segment.append(&batch, &rows).expect("fits");
    segment.snapshot()
}

fn visible(from: i64) -> Visible {
    Visible { schema: schema(), min_changed: at(from), produced_max: Some(at(from + 1)) }
}

fn table() -> (Timeline, Arc<TableTimeline>) {
    let timeline = Timeline::new();
    let table = timeline.create_table(TableId(1), &"t".parse().expect("a name"), schema());
    (timeline, table)
}

#[test]
fn a_reading_keeps_what_it_first_saw() {
    let (timeline, table) = table();
    let mut growing = segment(0, 1);
    table.publish(vec![append(&mut growing, &[1, 2])], visible(1));
    let reading = timeline.reading();
    let rows = || reading.table("t").map(|t| t.rows());
    assert_eq!(rows(), Some(2));
    table.publish(vec![append(&mut growing, &[3])], visible(3));
    assert_eq!((rows(), timeline.reading().table("t").map(|t| t.rows())), (Some(2), Some(3)));
    assert!(timeline.drop_table(&"t".parse().expect("a name")));
    assert_eq!((rows(), timeline.reading().table("t").is_none()), (Some(2), true));
}

#[test]
fn several_segments_change_in_one_step_and_each_replaces_itself() {
    let (timeline, table) = table();
    let (mut one, mut two) = (segment(0, 1), segment(1, 2));
    let both = vec![append(&mut one, &[1]), append(&mut two, &[86_400_000, 86_400_001])];
    table.publish(both, visible(1));
    table.publish(vec![append(&mut one, &[2, 3])], visible(2));
    let view = timeline.reading().table("t").expect("there");
    assert_eq!((view.rows(), view.segments().count(), view.seq), (5, 2, 2));
    assert_eq!(view.time_range(), Some((at(1), at(86_400_001))));
    let second_day: Interval = Granularity::DAY.bucket(at(86_400_000));
    assert_eq!(view.visible(second_day).map(|e| e.id.number).collect::<Vec<_>>(), vec![2]);
}

#[test]
fn changes_since_a_look_are_never_understated() {
    let (_, table) = table();
    let mut growing = segment(0, 1);
    let mut looks = Vec::new();
    let mut froms = Vec::new();
    for i in 0..500i64 {
        looks.push(table.view().seq);
        let from = (i * 7919) % 1000;
        froms.push(from);
        table.publish(vec![append(&mut growing, &[from])], visible(from));
    }
    let view = table.view();
    assert_eq!(view.changed_since(view.seq), Changed::Nothing);
    for (i, seq) in looks.iter().enumerate() {
        let truth = froms[i..].iter().min().copied().expect("some");
        match view.changed_since(*seq) {
            Changed::From(t) => assert!(t.as_millis() <= truth, "look {i}"),
            other => panic!("look {i}: {other:?}"),
        }
    }
    let last = *froms.last().expect("some");
    assert_eq!(view.changed_since(view.seq - 1), Changed::From(at(last)), "recent changes are exact");
    assert_eq!(view.changed_since(view.seq + 1), Changed::Everything);
}

#[test]
fn a_name_made_again_is_another_table() {
    let (timeline, old) = table();
    let mut growing = segment(0, 1);
    old.publish(vec![append(&mut growing, &[1])], visible(1));
    let name: TableName = "t".parse().expect("a name");
    assert_eq!(timeline.create_table(TableId(1), &name, schema()).view().rows(), 1);
    assert_eq!(timeline.create_table(TableId(2), &name, schema()).view().rows(), 0);
    assert!(timeline.table("no/such").is_none());
}

#[test]
fn a_table_says_when_it_does_not_show_all_its_rows() {
    let timeline = Timeline::new();
    let schema = Arc::new(TableSchema::new(Vec::new()).expect("a schema"));
    let table = timeline.create_table(TableId(1), &"t".parse().expect("a name"), Arc::clone(&schema));
    let why = Unready { why: Arc::from("the journal is replayed"), passes: true };
    table.set_unready(Some(why.clone()));
    table.publish(Vec::new(), Visible { schema, min_changed: Timestamp::MAX, produced_max: None });
    let unready = timeline.reading().table("t").expect("there").unready.clone();
    assert_eq!(unready, Some(why));
    table.set_unready(None);
    assert_eq!(timeline.reading().table("t").expect("there").unready, None);
}

#[test]
fn a_hand_over_swaps_one_copy_for_the_other_in_its_place() {
    let (timeline, table) = table();
    let (mut one, mut two) = (segment(0, 1), segment(1, 2));
    table.publish(vec![append(&mut one, &[1, 2]), append(&mut two, &[86_400_000])], visible(1));
    let before = timeline.reading();
    let held = before.table("t").expect("there");
    // Another snapshot stands for the files: what counts is that it is another copy.
    let copy = held.segments().next().expect("there").clone();
    let opened = SegmentEntry { visible_from: 5, ..copy.clone() };
    let third = SegmentEntry { id: segment(2, 3).id().clone(), visible_from: 5, ..copy };
    table.hand_over(HandOver {
        close: vec![two.id().clone()],
        open: vec![third, opened],
        commit_seq: 5,
        schema: None,
        changed: Changed::Nothing,
    });
    timeline.advance(5);
    timeline.advance(3);
    let after = timeline.reading().table("t").expect("there");
    let shown: Vec<_> = after.segments().map(|e| (e.id.number, e.visible_from)).collect();
    assert_eq!(shown, [(1, 5), (3, 5)]);
    assert_eq!((after.commit_seq, timeline.reading().commit_seq()), (5, 5), "never back");
    assert_eq!(after.changed_since(held.seq), Changed::Nothing, "the same rows");
    assert_eq!((held.rows(), before.table("t").map(|t| t.rows())), (3, Some(3)));

    table.remove(&[one.id().clone()]);
    let view = table.view();
    assert_eq!(view.segments().map(|e| e.id.number).collect::<Vec<_>>(), [3]);
    assert_eq!(view.changed_since(after.seq), Changed::From(at(1)), "rows went away");
}
