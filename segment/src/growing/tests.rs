use super::*;
use crate::id::{SegmentId, Version};
use crate::predicate::{CompareOp, Predicate, StringPattern, Value, reference};
use crate::schema::{Column, ColumnRole, ColumnType};
use crate::selection::{Part, Selection};
use crate::time::Granularity;
use arrow::array::{Float64Array, Int64Array, StringArray, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{Float64Type, Int64Type};
use proptest::prelude::*;

/// A row of the model: what was appended, in the narrow types it came with.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) time: i64,
    pub(crate) long: Option<i64>,
    pub(crate) double: Option<f64>,
    pub(crate) text: Option<String>,
    pub(crate) rare: Option<String>,
    /// Comes as LONG in early batches and as STRING later.
    pub(crate) widening: Option<i64>,
}

pub(crate) fn rows(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Row>> {
    let row = (
        0i64..2_000,
        prop::option::weighted(0.8, -5i64..5),
        prop::option::weighted(0.8, prop_oneof![Just(0.0), Just(-0.0), Just(1.5), Just(f64::MAX), -3.0..3.0]),
        prop::option::weighted(0.9, "[ab%_]{0,2}"),
        prop::option::weighted(0.1, "[a-f]{13,15}"),
        prop::option::weighted(0.7, 8i64..12),
    );
    let row =
        row.prop_map(|(time, long, double, text, rare, widening)| Row { time, long, double, text, rare, widening });
    prop::collection::vec(row, count)
}

pub(crate) fn predicate() -> impl Strategy<Value = Predicate> {
    let op = prop_oneof![
        Just(CompareOp::Eq),
        Just(CompareOp::Ne),
        Just(CompareOp::Lt),
        Just(CompareOp::Le),
        Just(CompareOp::Gt),
        Just(CompareOp::Ge)
    ];
    let text = |name: &'static str, strategy: BoxedStrategy<String>| {
        (op_strategy(), strategy).prop_map(move |(op, v)| Predicate::Compare {
            column: Arc::from(name),
            op,
            value: Value::String(Arc::from(v)),
        })
    };
    let leaf = prop_oneof![
        (op, 0i64..2_000).prop_map(|(op, t)| Predicate::Compare {
            column: Arc::from(TIME_COLUMN),
            op,
            value: Value::Timestamp(Timestamp::from_millis(t)),
        }),
        (op_strategy(), -6i64..6).prop_map(|(op, v)| Predicate::Compare {
            column: Arc::from("long"),
            op,
            value: Value::Long(v),
        }),
        (op_strategy(), prop_oneof![Just(0.0), Just(1.5), -3.0..3.0]).prop_map(|(op, v)| Predicate::Compare {
            column: Arc::from("double"),
            op,
            value: Value::Double(v),
        }),
        text("text", "[ab]{0,2}".boxed()),
        text("widening", "(8|9|10|11|x)".boxed()),
        (prop::collection::vec("[ab]{0,2}", 0..4), any::<bool>()).prop_map(|(values, negated)| Predicate::In {
            column: Arc::from("text"),
            values: values.into_iter().map(|v| Value::String(Arc::from(v))).collect(),
            negated,
        }),
        (prop::collection::vec(-6i64..6, 0..4), any::<bool>()).prop_map(|(values, negated)| Predicate::In {
            column: Arc::from("long"),
            values: values.into_iter().map(Value::Long).collect(),
            negated,
        }),
        (prop::sample::select(vec!["long", "double", "text", "rare", "widening", "nosuch"]), any::<bool>())
            .prop_map(|(column, negated)| Predicate::IsNull { column: Arc::from(column), negated }),
        (
            prop::sample::select(vec!["a%", "%b", "_", "%", "a\\%"]),
            any::<bool>(),
            prop::sample::select(vec!["text", "rare"])
        )
            .prop_map(|(like, negated, column)| Predicate::Matches {
                column: Arc::from(column),
                pattern: StringPattern::like(like, Some('\\'), false).expect("a pattern"),
                negated,
            }),
        Just(Predicate::True),
        Just(Predicate::False),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Predicate::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Predicate::Or),
            inner.prop_map(Predicate::negate),
        ]
    })
}

fn op_strategy() -> impl Strategy<Value = CompareOp> {
    prop::sample::select(vec![CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge])
}

pub(crate) fn value(row: &Row, column: &str) -> Option<Value> {
    match column {
        TIME_COLUMN => Some(Value::Timestamp(Timestamp::from_millis(row.time))),
        "long" => row.long.map(Value::Long),
        "double" => row.double.map(Value::Double),
        "text" => row.text.as_deref().map(|s| Value::String(Arc::from(s))),
        "rare" => row.rare.as_deref().map(|s| Value::String(Arc::from(s))),
        "widening" => row.widening.map(|n| Value::String(Arc::from(n.to_string()))),
        _ => None,
    }
}

fn schema(widening: ColumnType) -> TableSchema {
    let dimension = Column::dimension;
    TableSchema::new(vec![
        dimension("long", ColumnType::Long),
        dimension("double", ColumnType::Double),
        dimension("text", ColumnType::String),
        dimension("rare", ColumnType::String),
        dimension("widening", widening),
    ])
    .expect("a schema")
}

fn batch(rows: &[Row], widened: bool) -> RecordBatch {
    let widening: ArrayRef = if widened {
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.widening.map(|n| n.to_string()))))
    } else {
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.widening)))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            TIME_COLUMN,
            Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|r| r.time)).with_timezone("UTC")),
        ),
        ("rare", Arc::new(StringViewArray::from_iter(rows.iter().map(|r| r.rare.as_deref())))),
        ("long", Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.long)))),
        ("double", Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.double)))),
        ("text", Arc::new(StringArray::from_iter(rows.iter().map(|r| r.text.as_deref())))),
        ("widening", widening),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, n != TIME_COLUMN)))
        .expect("a batch")
}

fn segment(schema: TableSchema) -> GrowingSegment {
    let t = Timestamp::from_millis(0);
    let table = "t".parse().expect("a name");
    let id = SegmentId { table, interval: Granularity::DAY.bucket(t), version: Version::at(t), number: 1 };
    GrowingSegment::new(id, Arc::new(schema))
}

fn all(rows: &[Row]) -> Vec<u32> {
    (0..u32::try_from(rows.len()).expect("few")).collect()
}

/// Narrow batches, then the widened schema and batches of it: closed and open chunks of both types.
pub(crate) fn grow(narrow: &[Row], wide: &[Row], step: usize) -> (GrowingSegment, TableSchema) {
    let mut growing = segment(schema(ColumnType::Long));
    for part in narrow.chunks(step) {
        growing.append(&batch(part, false), &all(part)).expect("fits");
    }
    let seen = Observed {
        name: Arc::from("widening"),
        column_type: ColumnType::String,
        role: ColumnRole::Dimension,
        multi_value: false,
    };
    let wider = schema(ColumnType::Long).widen(&[seen]).expect("fits").expect("wider");
    growing.adopt_schema(Arc::new(wider.clone()));
    for part in wide.chunks(step) {
        growing.append(&batch(part, true), &all(part)).expect("fits");
    }
    (growing, wider)
}

fn selected(snapshot: &GrowingSnapshot, predicate: &Predicate, schema: &TableSchema) -> Vec<usize> {
    let filter = snapshot.filter(predicate, schema).expect("kinds fit");
    let mut out = Vec::new();
    let mut base = 0;
    for chunk in snapshot.chunks() {
        match filter.select(chunk).expect("selects") {
            Selection::All(rows) => out.extend(base..base + rows as usize),
            Selection::Rows(rows) => out.extend(rows.iter().map(|r| base + *r as usize)),
        }
        base += chunk.rows() as usize;
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_filtered_scan_equals_the_row_wise_reference(
        narrow in rows(0..150), wide in rows(0..150), step in 1usize..80, wanted in predicate(),
    ) {
        let (mut growing, schema) = grow(&narrow, &wide, step);
        let snapshot = growing.snapshot();
        let model: Vec<Row> = narrow.into_iter().chain(wide).collect();
        let expected: Vec<usize> =
            (0..model.len()).filter(|i| reference::wants(&wanted, &|c| value(&model[*i], c))).collect();
        prop_assert_eq!(selected(&snapshot, &wanted, &schema), expected);
    }

    #[test]
    fn a_snapshot_reads_back_what_was_appended_and_never_changes(
        narrow in rows(1..150), wide in rows(0..150), step in 1usize..80,
    ) {
        let mut growing = segment(schema(ColumnType::Long));
        let schema = schema(ColumnType::Long);
        let mut taken = Vec::new();
        let mut written = 0;
        for part in narrow.chunks(step).chain(wide.chunks(step)) {
            growing.append(&batch(part, false), &all(part)).expect("fits");
            written += part.len();
            taken.push((growing.snapshot(), written));
        }
        let model: Vec<Row> = narrow.into_iter().chain(wide).collect();
        for (snapshot, rows) in taken {
            prop_assert_eq!(snapshot.rows(), rows);
            check_columns(&snapshot, &schema, &model[..rows]);
        }
    }
}

fn check_columns(snapshot: &GrowingSnapshot, schema: &TableSchema, model: &[Row]) {
    let read = |name: &str| -> Vec<ArrayRef> {
        let column = schema.column(name).expect("there");
        snapshot.chunks().iter().map(|c| c.read(column, &Part::Run(0..c.rows())).expect("reads")).collect()
    };
    let longs: Vec<_> =
        read("long").iter().flat_map(|a| a.as_primitive::<Int64Type>().iter().collect::<Vec<_>>()).collect();
    assert!(longs.into_iter().eq(model.iter().map(|r| r.long)));
    let doubles: Vec<_> =
        read("double").iter().flat_map(|a| a.as_primitive::<Float64Type>().iter().collect::<Vec<_>>()).collect();
    assert!(doubles.iter().map(|d| d.map(f64::to_bits)).eq(model.iter().map(|r| r.double.map(f64::to_bits))));
    for (name, get) in [("text", Row::text as fn(&Row) -> Option<&str>), ("rare", Row::rare)] {
        let arrays = read(name);
        let texts: Vec<_> = arrays.iter().flat_map(|a| a.as_string_view().iter()).collect();
        assert!(texts.into_iter().eq(model.iter().map(get)), "{name}");
    }
}

impl Row {
    fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
    fn rare(&self) -> Option<&str> {
        self.rare.as_deref()
    }
}

pub(crate) fn big(rows: usize) -> Vec<Row> {
    let row = |i: i64| Row {
        time: i,
        long: (i % 3 != 0).then_some(i),
        double: Some(i as f64 / 2.0),
        text: Some(format!("v{}", i % 100)),
        rare: (i % 5_000 == 0).then(|| format!("a rather long text {i}")),
        widening: Some(i % 7),
    };
    (0..i64::try_from(rows).expect("few")).map(row).collect()
}

#[test]
fn closed_chunks_answer_from_postings_and_zones_as_a_scan_would() {
    let model = big(CHUNK_ROWS * 2 + 1_000);
    let (mut growing, schema) = grow(&model, &[], 10_000);
    let snapshot = growing.snapshot();
    assert_eq!(snapshot.chunks().iter().map(|c| c.is_closed()).collect::<Vec<_>>(), vec![true, true, true]);
    let has_postings = |name: &str| snapshot.chunks()[0].index(name).is_some_and(|i| i.postings.is_some());
    assert!(has_postings("text") && !has_postings("long"));
    let compare = |column: &str, op, value| Predicate::Compare { column: Arc::from(column), op, value };
    let text = |s: &str| Value::String(Arc::from(s));
    for wanted in [
        compare("text", CompareOp::Eq, text("v7")),
        compare("text", CompareOp::Ne, text("v7")),
        compare("text", CompareOp::Eq, text("none")),
        compare("rare", CompareOp::Ge, text("a")),
        compare("long", CompareOp::Gt, Value::Long(i64::try_from(CHUNK_ROWS).expect("small"))),
        compare("long", CompareOp::Ge, Value::Long(-1)),
        compare("double", CompareOp::Lt, Value::Long(3)),
        compare("widening", CompareOp::Eq, text("3")),
    ] {
        let expected: Vec<usize> =
            (0..model.len()).filter(|i| reference::wants(&wanted, &|c| value(&model[*i], c))).collect();
        assert_eq!(selected(&snapshot, &wanted, &schema), expected, "{wanted:?}");
    }
}

#[test]
fn a_time_filter_skips_chunks_without_looking_at_rows() {
    let model = big(CHUNK_ROWS + 10);
    let (mut growing, schema) = grow(&[], &model, 10_000);
    let snapshot = growing.snapshot();
    let late = Predicate::Compare {
        column: Arc::from(TIME_COLUMN),
        op: CompareOp::Ge,
        value: Value::Timestamp(Timestamp::from_millis(CHUNK_ROWS as i64)),
    };
    let filter = snapshot.filter(&late, &schema).expect("fits");
    let lengths: Vec<usize> = snapshot.chunks().iter().map(|c| filter.select(c).expect("selects").len()).collect();
    assert_eq!(lengths, vec![0, 10]);
    assert_eq!(filter.select(&snapshot.chunks()[1]).expect("selects"), Selection::All(10));
}

#[test]
fn an_absent_column_takes_no_memory() {
    let bare: Vec<Row> = big(1_000).into_iter().map(|r| Row { long: None, double: None, rare: None, ..r }).collect();
    let mut growing = segment(schema(ColumnType::Long));
    growing.append(&batch(&bare, false), &all(&bare)).expect("fits");
    let sparse = growing.bytes();
    let mut full = segment(schema(ColumnType::Long));
    let rows = big(1_000);
    full.append(&batch(&rows, false), &all(&rows)).expect("fits");
    assert!(sparse + 2 * 8 * 1_000 <= full.bytes(), "{sparse} against {}", full.bytes());
}

#[test]
fn batches_that_do_not_fit_are_refused_whole() {
    let mut growing = segment(schema(ColumnType::Long));
    let rows = big(3);
    let good = batch(&rows, false);
    let without_time = good.project(&[1, 2]).expect("a projection");
    assert!(growing.append(&without_time, &[0]).is_err());
    assert!(growing.append(&batch(&rows, true), &[0]).is_err(), "text does not fit a LONG column");
    let unknown = RecordBatch::try_from_iter([
        (TIME_COLUMN, Arc::clone(good.column(0))),
        ("unknown", Arc::clone(good.column(2))),
    ]);
    assert!(growing.append(&unknown.expect("a batch"), &[0]).is_err());
    assert_eq!((growing.rows(), growing.snapshot().chunks().len()), (0, 0));
}

#[test]
fn a_filter_of_the_wrong_kind_is_an_error_and_not_an_empty_answer() {
    let (mut growing, schema) = grow(&big(3), &[], 10);
    let wrong = Predicate::Compare { column: Arc::from("text"), op: CompareOp::Eq, value: Value::Long(1) };
    assert!(growing.snapshot().filter(&wrong, &schema).is_err());
}
