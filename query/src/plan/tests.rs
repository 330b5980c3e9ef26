//! Pushing a filter down changes where it is answered, never which rows answer it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use freshet_segment::schema::{Column, ColumnType, TableSchema};
use freshet_segment::timeline::Timeline;
use proptest::prelude::*;

use crate::testing::{answer, batch, engine, publish_mixed, timeline};
use crate::{Engine, QueryOptions, QueryRequest};

fn both_ways(engine: &Arc<Engine>, sql: &str) -> (Vec<String>, Vec<String>) {
    let run = |filter_pushdown| {
        let options = QueryOptions { filter_pushdown, ..Default::default() };
        let mut rows = match answer(engine, QueryRequest { options, ..QueryRequest::new("q", sql) }) {
            Ok(answer) => answer.rows,
            Err(error) => panic!("{sql}: {error:?}"),
        };
        rows.sort();
        rows
    };
    (run(true), run(false))
}

fn explain(sql: &str) -> String {
    let request = QueryRequest::new("q", format!("EXPLAIN PLAN FOR {sql}"));
    answer(&engine(timeline()), request).expect(sql).rows.remove(0)
}

#[test]
fn what_segments_can_answer_leaves_the_plan_and_the_rest_stays() {
    for sql in [
        "page = 'Oz'",
        "'Oz' < page",
        "page IN ('Oz', 'Ärger') OR NOT (added BETWEEN 1 AND 9)",
        "city IS NULL AND page LIKE 'O%'",
        "page NOT LIKE '%z' AND city IS DISTINCT FROM 'Rome'",
        "__time >= TIMESTAMP '2015-09-13' AND CAST(__time AS TIMESTAMP) < TIME_PARSE('2015-09-14')",
        "__time > CURRENT_TIMESTAMP - INTERVAL '1' DAY",
        "score > 1.5",
    ] {
        let plan = explain(&format!("SELECT page FROM wiki WHERE {sql}"));
        assert!(plan.contains("predicate=") && !plan.contains("FilterExec"), "{sql}: {plan}");
    }
    for sql in [
        "LENGTH(page) = 2",
        "page = city",
        "added + 1 = 11",
        "score > 0.0",
        "added IN (10, NULL)",
        "UPPER(page) LIKE 'O%'",
    ] {
        let plan = explain(&format!("SELECT page FROM wiki WHERE {sql}"));
        assert!(!plan.contains("predicate=") && plan.contains("FilterExec"), "{sql}: {plan}");
    }
    let plan = explain("SELECT page FROM wiki WHERE city = 'Rome' AND LENGTH(page) = 2");
    assert!(plan.contains("predicate=city = 'Rome'") && plan.contains("FilterExec"), "{plan}");
}

#[test]
fn segments_and_columns_that_are_not_needed_are_not_read() {
    let plan = explain("SELECT page FROM wiki WHERE __time >= TIMESTAMP '2015-09-13'");
    assert!(plan.contains("segments=1, columns=[page]"), "{plan}");
    let plan = explain("SELECT page FROM wiki WHERE __time < TIMESTAMP '2015-09-12' LIMIT 3");
    assert!(plan.contains("segments=0") && plan.contains("limit=3"), "{plan}");
    let plan = explain("SELECT COUNT(*), MAX(__time) FROM wiki");
    assert!(!plan.contains("FragmentExec"), "counted without a look at the rows: {plan}");
    let plan = explain("SELECT COUNT(*) FROM wiki WHERE added > 1");
    assert!(plan.contains("columns=[]"), "{plan}");
}

/// Time, `s`, `n` and `x` of the first half, `x` of the second.
type Row = (i64, Option<String>, Option<i64>, Option<f64>);

/// A table whose second segment knows the columns otherwise than the first: `n` was LONG and is STRING,
/// `x` was LONG and is DOUBLE, `late` came last.
fn mixed(rows: &[Row]) -> Arc<Timeline> {
    let schema = TableSchema::new(vec![
        Column::dimension("s", ColumnType::String),
        Column::dimension("n", ColumnType::String),
        Column::dimension("x", ColumnType::Double),
        Column::dimension("late", ColumnType::Long),
    ]);
    let schema = Arc::new(schema.expect("a schema"));
    let narrow = Arc::new(
        TableSchema::new(vec![
            Column::dimension("s", ColumnType::String),
            Column::dimension("n", ColumnType::Long),
            Column::dimension("x", ColumnType::Long),
        ])
        .expect("a schema"),
    );
    let (old, new) = rows.split_at(rows.len() / 2);
    let time = |rows: &[Row]| rows.iter().map(|r| r.0).collect::<Vec<_>>();
    let text = |rows: &[Row]| -> ArrayRef { Arc::new(rows.iter().map(|r| r.1.as_deref()).collect::<StringArray>()) };
    let long = |rows: &[Row]| -> ArrayRef { Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>()) };
    let first: RecordBatch = batch(&time(old), &[("s", text(old)), ("n", long(old)), ("x", long(old))]);
    let as_text: ArrayRef = Arc::new(new.iter().map(|r| r.2.map(|n| n.to_string())).collect::<StringArray>());
    let doubles: ArrayRef = Arc::new(new.iter().map(|r| r.3).collect::<Float64Array>());
    let second = batch(&time(new), &[("s", text(new)), ("n", as_text), ("x", doubles), ("late", long(new))]);
    let timeline = Timeline::new();
    publish_mixed(&timeline, "mixed", 7, &[(narrow, first), (schema, second)]);
    Arc::new(timeline)
}

fn texts() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        4 => prop::sample::select(vec!["", "a", "ab", "b%", "a_b", "A", "é", "日本", "a\\b", "10", "9"]).prop_map(|s| Some(s.to_owned())),
    ]
}

fn conditions() -> impl Strategy<Value = String> {
    let op = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]);
    let text = prop::sample::select(vec!["''", "'a'", "'ab'", "'b%'", "'é'", "'10'", "'9'", "'zz'", "NULL"]);
    let number = prop::sample::select(vec!["-3", "0", "1", "2", "7", "2.5", "-1.5", "NULL"]);
    let pattern =
        prop::sample::select(vec!["'a%'", "'%b'", "'%'", "'_'", "'a!_%' ESCAPE '!'", "'%\\%'", "'a'", "''", "'%本'"]);
    let leaf = prop_oneof![
        (prop::sample::select(vec!["s", "n"]), op.clone(), text.clone()).prop_map(|(c, o, v)| format!("{c} {o} {v}")),
        (prop::sample::select(vec!["x", "late"]), op.clone(), number.clone())
            .prop_map(|(c, o, v)| format!("{c} {o} {v}")),
        (number.clone(), op.clone()).prop_map(|(v, o)| format!("{v} {o} x")),
        (op, -2i64..12).prop_map(|(o, t)| format!("__time {o} MILLIS_TO_TIMESTAMP({t})")),
        (0i64..6, 0i64..6)
            .prop_map(|(a, b)| format!("__time BETWEEN MILLIS_TO_TIMESTAMP({a}) AND MILLIS_TO_TIMESTAMP({b})")),
        (prop::sample::select(vec!["s", "n"]), any::<bool>(), prop::collection::vec(text, 1..4))
            .prop_map(|(c, not, v)| format!("{c} {}IN ({})", if not { "NOT " } else { "" }, v.join(", "))),
        (any::<bool>(), prop::collection::vec(number, 1..4)).prop_map(|(not, v)| format!(
            "x {}IN ({})",
            if not { "NOT " } else { "" },
            v.join(", ")
        )),
        (prop::sample::select(vec!["s", "n"]), any::<bool>(), pattern)
            .prop_map(|(c, not, p)| format!("{c} {}LIKE {p}", if not { "NOT " } else { "" })),
        (prop::sample::select(vec!["s", "n", "x", "late"]), any::<bool>())
            .prop_map(|(c, not)| format!("{c} IS {}NULL", if not { "NOT " } else { "" })),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Each case asks many conditions of one random table, with and without pushdown.
    #[test]
    fn pushed_filters_select_the_same_rows(
        rows in prop::collection::vec(
            (0i64..10, texts(), prop::option::weighted(0.8, -3i64..12), prop::option::weighted(0.8, prop::sample::select(vec![-1.5, 1.0, 2.5, 7.0, 1e300]))),
            0..40,
        ),
        conditions in prop::collection::vec(conditions(), 12),
    ) {
        let engine = engine(mixed(&rows));
        for condition in conditions {
            let (pushed, residual) = both_ways(&engine, &format!("SELECT __time, s, n, x, late FROM mixed WHERE {condition}"));
            prop_assert_eq!(pushed, residual, "{}", condition);
        }
    }
}

#[test]
fn a_dropped_column_of_an_older_segment_is_null() {
    let rows: Vec<_> = (0..6).map(|i| (i, Some(format!("t{i}")), Some(i), Some(0.5))).collect();
    let engine = engine(mixed(&rows));
    let (pushed, residual) = both_ways(&engine, "SELECT n, x FROM mixed WHERE late IS NULL AND n <> '1'");
    assert_eq!(pushed, ["0|0.0", "2|2.0"]);
    assert_eq!(pushed, residual);
}
