//! Aggregates in queries over the small tables, with answers worked out by hand; and each of them fed in every split.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use freshet_segment::clock::SystemClock;
use freshet_segment::error::ErrorKind;
use proptest::prelude::*;

use crate::sql::functions::timestamp_type;
use crate::testing::{answer, engine, failure, numbers, rows, timeline};
use crate::{Engine, EngineOptions, QueryRequest};

fn types(sql: &str) -> Vec<String> {
    answer(&engine(timeline()), QueryRequest::new("q", sql)).expect("an answer").types()
}

#[test]
fn earliest_and_latest_take_the_row_and_its_null() {
    assert_eq!(
        rows("SELECT EARLIEST(city), LATEST(city), LATEST(score), EARLIEST(added), LATEST(added) FROM wiki"),
        ["Rome|null|null|10|10"]
    );
    assert_eq!(
        rows("SELECT EARLIEST(city) FILTER (WHERE added = 0), LATEST(city) FILTER (WHERE city IS NOT NULL) FROM wiki"),
        ["null|Rome"]
    );
    // Rows whose time is null do not count: page 100%_a\b has no `added`.
    assert_eq!(
        rows(
            "SELECT LATEST_BY(city, MILLIS_TO_TIMESTAMP(added)), EARLIEST_BY(city, MILLIS_TO_TIMESTAMP(added)) \
              FROM wiki WHERE page IS NOT NULL"
        ),
        // Three rows have 10, the most: null, Rome and Rome; the greatest of them is taken.
        ["Rome|Oslo"]
    );
    assert_eq!(
        rows("SELECT page, EARLIEST(city), LATEST(added) FROM wiki GROUP BY page ORDER BY page NULLS LAST"),
        ["100%_a\\b||null", "Oz|null|10", "Talk:Oz|Rome|10", "Ärger|rome|7", "日本語|null|10", "null|Rome|40",]
    );
    assert_eq!(rows("SELECT EARLIEST(page, 4), LATEST(page, 4), LATEST(page, 2) FROM wiki"), ["Talk|日|"]);
    assert_eq!(rows("SELECT LATEST(w.page, 3) FROM wiki w JOIN wiki v ON w.__time = v.__time"), ["日"]);
    assert_eq!(rows("SELECT EARLIEST(added), LATEST(page), ANY_VALUE(city) FROM empty"), ["null|null|null"]);
    assert_eq!(rows("SELECT page, EARLIEST(added) FROM empty GROUP BY page"), Vec::<String>::new());
    assert_eq!(rows("SELECT ANY_VALUE(city), ANY_VALUE(added), ANY_VALUE(page, 3) FROM wiki"), ["|-5|100"]);
    assert_eq!(
        types(
            "SELECT LATEST(__time) a, LATEST(score) b, LATEST(page) c, ANY_VALUE(added) d, EARLIEST(added > 3) e FROM wiki"
        ),
        ["a:LONG/TIMESTAMP", "b:DOUBLE/DOUBLE", "c:STRING/VARCHAR", "d:LONG/BIGINT", "e:LONG/BOOLEAN"]
    );
    assert_eq!(rows("SELECT LATEST(__time), EARLIEST(added > 3) FROM wiki"), ["2015-09-13T23:59:59.999Z|true"]);
}

#[test]
fn earliest_without_a_time_says_what_to_write() {
    let error = failure("SELECT EARLIEST(n) FROM (SELECT added AS n FROM wiki)");
    assert!(error.to_string().contains("__time"), "{error}");
    assert!(error.hint().is_some_and(|h| h.contains("EARLIEST_BY")), "{error:?}");
    assert_eq!(error.position(), Some((1, 8, 1, 15)));
    let error = failure("SELECT EARLIEST(1 + a.added) FROM (SELECT added FROM wiki) a");
    assert!(error.to_string().starts_with("Column '__time' not found in table 'a'"), "{error}");
    assert_eq!(rows("SELECT LATEST(v.added + 1) FROM wiki w JOIN wiki v ON w.__time = v.__time"), ["11"]);
}

#[test]
fn what_is_wrong_is_said_in_sqls_words() {
    for (call, message) in [
        ("STDDEV(page)", "STDDEV_SAMP takes numbers, not VARCHAR"),
        ("SUM(page)", "SUM takes numbers and was given a VARCHAR"),
        ("AVG(page)", "AVG takes numbers and was given a VARCHAR"),
        ("BIT_AND(page)", "BIT_AND takes numbers and was given a VARCHAR"),
        ("LATEST_BY(page, city)", "the time of LATEST must be a TIMESTAMP, not VARCHAR"),
        ("ARRAY_AGG(DS_HLL(added))", "ARRAY_AGG takes no sketches"),
        ("HLL_SKETCH_ESTIMATE(added)", "HLL_SKETCH_ESTIMATE takes sketches of type HLLSketch, not BIGINT"),
        ("LATEST(added) IGNORE NULLS", "[IGNORE | RESPECT] NULLS are not permitted for LATEST"),
        ("EARLIEST(*)", "wrong arguments for EARLIEST (line [1], column [8])"),
        (
            "LATEST(added) OVER (ORDER BY __time ROWS 1 PRECEDING)",
            "LATEST works over a window that begins with UNBOUNDED PRECEDING, and not over one that slides",
        ),
    ] {
        let error = failure(&format!("SELECT {call} FROM wiki"));
        assert_eq!(error.to_string(), message, "{call}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{call}");
    }
}

#[test]
fn lists_keep_nulls_and_texts_do_not() {
    assert_eq!(
        rows(
            "SELECT ARRAY_AGG(city ORDER BY __time), ARRAY_AGG(DISTINCT added), ARRAY_AGG(added ORDER BY added DESC, __time) FROM wiki"
        ),
        ["[Rome, null, Oslo, , Rome, rome, Rome, null]|[null, -5, 0, 7, 10, 40]|[40, 10, 10, 10, 7, 0, -5, null]"]
    );
    assert_eq!(
        rows(
            "SELECT STRING_AGG(city, ', ' ORDER BY __time DESC), STRING_AGG(DISTINCT city, '|'), LISTAGG(added ORDER BY __time) FROM wiki"
        ),
        ["Rome, rome, Rome, , Oslo, Rome||Oslo|Rome|rome|10,0,-5,40,7,10,10"]
    );
    assert_eq!(
        rows("SELECT LISTAGG(city, '+') WITHIN GROUP (ORDER BY added DESC, __time) FROM wiki WHERE city <> ''"),
        ["Rome+Rome+Rome+rome+Oslo"]
    );
    assert_eq!(rows("SELECT STRING_AGG(DISTINCT city, ',' ORDER BY city DESC) FROM wiki"), ["rome,Rome,Oslo,"]);
    assert_eq!(
        rows("SELECT city, STRING_AGG(page, ',' ORDER BY __time) FROM wiki GROUP BY city ORDER BY city"),
        ["null|Oz,日本語", "|100%_a\\b", "Oslo|Oz", "Rome|Talk:Oz,Oz", "rome|Ärger"]
    );
    assert_eq!(
        rows("SELECT STRING_AGG(city, ','), ARRAY_AGG(city) FROM wiki WHERE city IS NULL"),
        ["null|[null, null]"]
    );
    assert_eq!(rows("SELECT STRING_AGG(city, ','), ARRAY_AGG(city) FROM empty"), ["null|null"]);
    assert_eq!(
        rows(
            "SELECT ARRAY_CONCAT_AGG(a ORDER BY t), ARRAY_CONCAT_AGG(DISTINCT a) FROM \
              (SELECT FLOOR(__time TO DAY) AS t, ARRAY_AGG(added ORDER BY __time) AS a FROM wiki GROUP BY 1)"
        ),
        ["[10, 0, -5, null, 40, 7, 10, 10]|[null, -5, 0, 7, 10, 40]"]
    );
    assert_eq!(
        types("SELECT ARRAY_AGG(added) a, ARRAY_AGG(page) b FROM wiki"),
        ["a:ARRAY<LONG>/ARRAY", "b:ARRAY<STRING>/ARRAY"]
    );
}

#[test]
fn lists_end_at_their_size() {
    // 8 numbers cost 9 bytes each and 7 of them are there: 7 * 9 + 1 = 64.
    assert_eq!(rows("SELECT ARRAY_LENGTH(ARRAY_AGG(added, 64)) FROM wiki"), ["8"]);
    let error = failure("SELECT ARRAY_AGG(added, 63) FROM wiki");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.to_string().contains("ARRAY_AGG gathered more than 63 bytes"), "{error}");
    // Rome, Oslo, Rome, rome, Rome and an empty text: 20 bytes and 5 separators of 2.
    assert_eq!(rows("SELECT LENGTH(STRING_AGG(city, '--', 30)) FROM wiki"), ["30"]);
    assert_eq!(failure("SELECT STRING_AGG(city, '--', 29) FROM wiki").kind(), ErrorKind::Exhausted);
    assert_eq!(failure("SELECT page, STRING_AGG(city, '--', 5) FROM wiki GROUP BY page").kind(), ErrorKind::Exhausted);
    assert_eq!(rows("SELECT STRING_AGG(DISTINCT city, '--', 18) FROM wiki WHERE city <> ''"), ["Oslo--Rome--rome"]);
    // Without a size the limit is 1,024.
    let many = |filter: &str| {
        answer(
            &engine(numbers(2000)),
            QueryRequest::new("q", format!("SELECT STRING_AGG(n, '') FROM numbers {filter}")),
        )
    };
    // 0 to 377 are 10 + 90 * 2 + 278 * 3 = 1,024 digits.
    assert!(many("WHERE n <= 377").is_ok());
    assert_eq!(many("WHERE n <= 378").expect_err("too long").kind(), ErrorKind::Exhausted);
}

#[test]
fn one_row_does_not_deviate_and_no_row_gives_null() {
    assert_eq!(
        rows(
            "SELECT STDDEV(added), STDDEV_SAMP(added), STDDEV_POP(added), VARIANCE(added), VAR_SAMP(added), VAR_POP(added) FROM wiki WHERE added = 40"
        ),
        ["0.0|0.0|0.0|0.0|0.0|0.0"]
    );
    assert_eq!(rows("SELECT STDDEV(added), VAR_POP(added) FROM empty"), ["null|null"]);
    // 10, 0, -5, 40: the mean is 11.25 and the squares add up to 1218.75.
    assert_eq!(
        rows(
            "SELECT ROUND(VAR_POP(added), 9), ROUND(VAR_SAMP(added), 9), ROUND(STDDEV_POP(added), 4) FROM wiki \
              WHERE __time < '2015-09-13'"
        ),
        ["304.6875|406.25|17.4553"]
    );
    assert_eq!(
        rows(
            "SELECT VAR_POP(added) FILTER (WHERE added > 1000), VAR_POP(added) FILTER (WHERE city = 'Rome') FROM wiki"
        ),
        ["null|200.0"]
    );
    assert_eq!(
        rows(
            "SELECT n, ROUND(VAR_POP(n) OVER (ORDER BY n ROWS 1 PRECEDING), 9) FROM (VALUES (1), (5), (11)) AS t(n) ORDER BY n"
        ),
        ["1|0.0", "5|4.0", "11|9.0"]
    );
    let error = failure("SELECT STDDEV(page) FROM wiki");
    assert!(error.to_string().contains("STDDEV_SAMP takes numbers"), "{error}");
    assert!(failure("SELECT VAR_POP(DISTINCT added) FROM wiki").to_string().contains("takes no DISTINCT"));
}

#[test]
fn distinct_counts_skip_nulls_and_count_the_empty_text() {
    for name in [
        "APPROX_COUNT_DISTINCT",
        "APPROX_COUNT_DISTINCT_BUILTIN",
        "APPROX_COUNT_DISTINCT_DS_HLL",
        "APPROX_COUNT_DISTINCT_DS_THETA",
    ] {
        assert_eq!(
            rows(&format!(
                "SELECT {name}(city), {name}(added), {name}(score), {name}(__time), {name}(DISTINCT city) FROM wiki"
            )),
            ["4|5|5|8|4"],
            "{name}"
        );
        assert_eq!(rows(&format!("SELECT {name}(city) FROM empty")), ["0"], "{name}");
        assert_eq!(
            rows(&format!("SELECT page, {name}(city) FILTER (WHERE added = 10) FROM wiki GROUP BY page ORDER BY page")),
            ["null|0", "100%_a\\b|0", "Oz|1", "Talk:Oz|1", "Ärger|0", "日本語|0"],
            "{name}"
        );
        assert_eq!(types(&format!("SELECT {name}(city) a FROM wiki")), ["a:LONG/BIGINT"]);
    }
    assert!(failure("SELECT APPROX_COUNT_DISTINCT_DS_HLL(city, 3) FROM wiki").to_string().contains("between 4 and 21"));
    assert!(failure("SELECT DS_HLL(city, 12, 'HLL_5') FROM wiki").to_string().contains("HLL_4, HLL_6 or HLL_8"));
    assert!(failure("SELECT DS_THETA(city, 1000) FROM wiki").to_string().contains("power of two"));
    assert!(failure("SELECT DS_HLL(city, added) FROM wiki").to_string().contains("must be a literal"));
}

#[test]
fn sketches_nest_group_and_merge_again() {
    assert_eq!(
        rows(
            "SELECT HLL_SKETCH_ESTIMATE(DS_HLL(city), true), ROUND(HLL_SKETCH_ESTIMATE(DS_HLL(added, 14, 'HLL_8'))), \
              THETA_SKETCH_ESTIMATE(DS_THETA(city)) FROM wiki"
        ),
        ["4.0|5.0|4.0"]
    );
    assert_eq!(
        rows(
            "SELECT APPROX_COUNT_DISTINCT_DS_HLL(h), HLL_SKETCH_ESTIMATE(DS_HLL(h), true), APPROX_COUNT_DISTINCT_DS_THETA(t), \
              THETA_SKETCH_ESTIMATE(DS_THETA(t)), DS_GET_QUANTILE(DS_QUANTILES_SKETCH(q), 0.5) FROM \
              (SELECT page, DS_HLL(city) AS h, DS_THETA(city) AS t, DS_QUANTILES_SKETCH(added) AS q FROM wiki GROUP BY page)"
        ),
        // Of -5, 0, 7, 10, 10, 10, 40 the fourth.
        ["4|4.0|4|4.0|10.0"]
    );
    assert_eq!(
        rows(
            "SELECT HLL_SKETCH_ESTIMATE(HLL_SKETCH_UNION(a, b), true), HLL_SKETCH_ESTIMATE(HLL_SKETCH_UNION(12, 'HLL_8', a, b, a), true), \
              THETA_SKETCH_ESTIMATE(THETA_SKETCH_UNION(c, d)), THETA_SKETCH_ESTIMATE(THETA_SKETCH_INTERSECT(1024, c, d)), \
              THETA_SKETCH_ESTIMATE(THETA_SKETCH_NOT(c, d)) FROM \
              (SELECT DS_HLL(city) FILTER (WHERE page = 'Oz') AS a, DS_HLL(city) FILTER (WHERE page <> 'Oz') AS b, \
               DS_THETA(city) FILTER (WHERE page = 'Oz') AS c, DS_THETA(city) FILTER (WHERE page <> 'Oz') AS d FROM wiki)"
        ),
        // Oslo and Rome; Rome, an empty text and rome.
        ["4.0|4.0|4.0|1.0|1.0"]
    );
    assert_eq!(
        rows("SELECT THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS(DS_THETA(city), 2) FROM wiki"),
        [r#"{"estimate":4.0,"highBound":4.0,"lowBound":4.0,"numStdDev":2}"#]
    );
    let bounds = rows("SELECT HLL_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS(DS_HLL(city)) FROM wiki").remove(0);
    assert!(bounds.starts_with("[4.0000") && bounds.split(',').count() == 3, "{bounds}");
    let text = rows("SELECT HLL_SKETCH_TO_STRING(DS_HLL(city)) FROM wiki").remove(0);
    assert!(text.contains("Log Config K : 12") && text.contains("HLL_4"), "{text}");
}

#[test]
fn sketches_in_an_answer_know_their_type() {
    assert_eq!(
        types(
            "SELECT DS_HLL(city) a, DS_THETA(city) b, DS_QUANTILES_SKETCH(added) c, TDIGEST_GENERATE_SKETCH(added) d, \
              THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS(DS_THETA(city)) e, DS_GET_QUANTILES(DS_QUANTILES_SKETCH(added), 0.5) f FROM wiki"
        ),
        [
            "a:COMPLEX<HLLSketch>/OTHER",
            "b:COMPLEX<thetaSketch>/OTHER",
            "c:COMPLEX<quantilesDoublesSketch>/OTHER",
            "d:COMPLEX<tDigestSketch>/OTHER",
            "e:COMPLEX<json>/OTHER",
            "f:ARRAY<DOUBLE>/ARRAY"
        ]
    );
    assert_eq!(
        types(
            "SELECT * FROM (SELECT page, DS_HLL(city) AS h FROM wiki GROUP BY page ORDER BY page LIMIT 2) LEFT JOIN (SELECT 1 AS one) ON TRUE"
        ),
        ["page:STRING/VARCHAR", "h:COMPLEX<HLLSketch>/OTHER", "one:LONG/BIGINT"]
    );
    for wrong in [
        "SELECT HLL_SKETCH_ESTIMATE(DS_THETA(city)) FROM wiki",
        "SELECT DS_HLL(s) FROM (SELECT DS_THETA(city) AS s FROM wiki)",
        "SELECT HLL_SKETCH_ESTIMATE(city) FROM wiki",
        "SELECT DS_GET_QUANTILE(DS_HLL(city), 0.5) FROM wiki",
    ] {
        let error = failure(wrong);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}: {error}");
        assert!(error.to_string().contains("takes sketches of type"), "{wrong}: {error}");
    }
}

#[test]
fn quantiles_of_few_values_are_exact() {
    // -5, 0, 7, 10, 10, 10, 40.
    assert_eq!(
        rows(
            "SELECT APPROX_QUANTILE_DS(added, 0.0), APPROX_QUANTILE_DS(added, 0.5, 64), APPROX_QUANTILE(added, 1), \
              TDIGEST_QUANTILE(added, 0.5), APPROX_QUANTILE_DS(added, 0.5) FILTER (WHERE added > 100) FROM wiki"
        ),
        ["-5.0|10.0|40.0|10.0|null"]
    );
    assert_eq!(
        rows(
            "SELECT DS_GET_QUANTILES(q, 0, 0.3, 1), DS_RANK(q, 7), DS_CDF(q, 0, 10), DS_HISTOGRAM(q, 0, 10) FROM \
              (SELECT DS_QUANTILES_SKETCH(added) AS q FROM wiki WHERE city <> 'rome')"
        ),
        // -5, 10, 10, 40 have no value of rank 0.25 below -5; three in four are at most 10.
        ["[-5.0, 10.0, 40.0]|0.25|[0.25, 0.75, 1.0]|[1.0, 2.0, 1.0]"]
    );
    // 0, 7, 10, 10, 10, 40: the third of six is the first of three in the bucket from 8 to 12, a third of the way.
    assert_eq!(
        rows(
            "SELECT ROUND(APPROX_QUANTILE_FIXED_BUCKETS(added, 0.5, 10, 0, 40), 9), \
              APPROX_QUANTILE_FIXED_BUCKETS(added, 0.0, 10, 0, 40, 'clip') FROM wiki"
        ),
        ["9.333333333|0.0"]
    );
    let summary = rows("SELECT DS_QUANTILE_SUMMARY(DS_QUANTILES_SKETCH(added)) FROM wiki").remove(0);
    assert!(summary.contains("N              : 7") && summary.contains("Max Value      : 40.0"), "{summary}");
    for (wrong, why) in [
        ("APPROX_QUANTILE_DS(page, 0.5)", "takes numbers"),
        ("APPROX_QUANTILE_DS(added, 1.5)", "between 0 and 1"),
        ("APPROX_QUANTILE_DS(added, added)", "must be a literal"),
        ("APPROX_QUANTILE_DS(added, 0.5, 100)", "power of two"),
        ("APPROX_QUANTILE_DS(DISTINCT added, 0.5)", "no DISTINCT"),
        ("APPROX_QUANTILE_DS(added)", "wrong arguments"),
        ("DS_CDF(DS_QUANTILES_SKETCH(added), 2, 1)", "grow"),
    ] {
        let error = failure(&format!("SELECT {wrong} FROM wiki"));
        assert!(error.to_string().contains(why), "{wrong}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}: {error}");
    }
}

#[test]
fn what_the_planner_below_gives_is_druids() {
    assert_eq!(
        rows("SELECT COUNT(*), COUNT(city), SUM(added), AVG(added), MIN(page), MAX(__time) FROM empty"),
        ["0|0|null|null|null|null"]
    );
    assert_eq!(rows("SELECT BIT_AND(added), BIT_OR(added), BIT_XOR(added) FROM wiki WHERE added > 0"), ["0|47|37"]);
    assert_eq!(failure("SELECT BIT_AND(page) FROM wiki").kind(), ErrorKind::Invalid);
    assert_eq!(rows("SELECT SUM(9223372036854775807 + 0 * added) FROM wiki WHERE added > 5 AND added < 20"), ["-4"]);
    assert_eq!(types("SELECT AVG(added) a, AVG(score) b FROM wiki"), ["a:DOUBLE/DOUBLE", "b:DOUBLE/DOUBLE"]);
}

#[test]
fn half_a_million_distinct_values_among_a_million() {
    let engine = engine(numbers(1_000_000));
    for (name, bound) in [
        ("APPROX_COUNT_DISTINCT", 0.03),
        ("APPROX_COUNT_DISTINCT_DS_THETA", 0.03),
        ("APPROX_COUNT_DISTINCT_DS_HLL", 0.05),
    ] {
        let request = QueryRequest::new("q", format!("SELECT {name}(n / 2) FROM numbers"));
        let counted: f64 = answer(&engine, request).expect("an answer").rows[0].parse().expect("a number");
        assert!((counted / 500_000.0 - 1.0).abs() < bound, "{name}: {counted}");
    }
}

/// A call of one of ours: columns of these types, then literals.
struct Called {
    udaf: Arc<AggregateUDF>,
    fields: Vec<FieldRef>,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

fn called(name: &str, columns: &[DataType], literals: &[ScalarValue]) -> Called {
    let udaf = super::all().find(|f| f.name() == name).expect("one of ours");
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut exprs: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for (index, data_type) in columns.iter().enumerate() {
        fields.push(Arc::new(Field::new(format!("c{index}"), data_type.clone(), true)));
        exprs.push(Arc::new(Column::new(&format!("c{index}"), index)));
    }
    for literal in literals {
        fields.push(Arc::new(Field::new("l", literal.data_type(), true)));
        exprs.push(Arc::new(Literal::new(literal.clone())));
    }
    Called { udaf, fields, exprs }
}

impl Called {
    fn with<T>(&self, make: impl FnOnce(AccumulatorArgs<'_>) -> T) -> T {
        let schema = Schema::new(self.fields.clone());
        make(AccumulatorArgs {
            return_field: self.udaf.return_field(&self.fields).expect("a field"),
            schema: &schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: "x",
            is_distinct: false,
            exprs: &self.exprs,
            expr_fields: &self.fields,
        })
    }

    fn groups(&self) -> Box<dyn GroupsAccumulator> {
        self.with(|args| self.udaf.create_groups_accumulator(args)).expect("an accumulator")
    }

    fn single(&self) -> Box<dyn Accumulator> {
        self.with(|args| self.udaf.accumulator(args)).expect("an accumulator")
    }

    /// The columns of some rows with the literals as DataFusion hands them over.
    fn values(&self, columns: &[ArrayRef], from: usize, rows: usize) -> Vec<ArrayRef> {
        let literals = self.exprs[columns.len()..].iter().map(|expr| {
            let literal = expr.downcast_ref::<Literal>().expect("a literal").value();
            literal.to_array_of_size(rows).expect("an array")
        });
        columns.iter().map(|c| c.slice(from, rows)).chain(literals).collect()
    }

    /// All rows in one pass.
    fn whole(&self, columns: &[ArrayRef], groups: &[usize], filter: &BooleanArray, count: usize) -> ArrayRef {
        let mut all = self.groups();
        all.update_batch(&self.values(columns, 0, groups.len()), groups, Some(filter), count).expect("fits");
        all.evaluate(EmitTo::All).expect("a result")
    }

    /// Pieces on their own, each as a table of groups or row by row, their states joined, given out in two parts.
    fn split(
        &self,
        columns: &[ArrayRef],
        groups: &[usize],
        filter: &BooleanArray,
        count: usize,
        cuts: &[usize],
    ) -> ArrayRef {
        let mut joined = self.groups();
        let mut from = 0;
        for (index, to) in cuts.iter().copied().chain([groups.len()]).enumerate() {
            let (rows, groups) = (to - from, &groups[from..to]);
            let (values, filter) = (self.values(columns, from, rows), filter.slice(from, rows));
            if index % 3 == 2 {
                let states = joined.convert_to_state(&values, Some(&filter)).expect("states");
                joined.merge_batch(&states, groups, count).expect("merges");
            } else {
                let mut part = self.groups();
                part.update_batch(&values, groups, Some(&filter), count).expect("fits");
                assert!(part.size() > 0);
                let first = part.state(EmitTo::First(count / 2)).expect("states");
                let rest = part.state(EmitTo::All).expect("states");
                let to_first: Vec<usize> = (0..count / 2).collect();
                let to_rest: Vec<usize> = (count / 2..count).collect();
                joined.merge_batch(&rest, &to_rest, count).expect("merges");
                joined.merge_batch(&first, &to_first, count).expect("merges");
            }
            from = to;
        }
        let first = joined.evaluate(EmitTo::First(count / 3)).expect("a result");
        let rest = joined.evaluate(EmitTo::All).expect("a result");
        arrow::compute::concat(&[&first, &rest]).expect("one type")
    }
}

/// Rows: group, time, value, fraction, text, whether the filter takes it.
type Row = (usize, Option<i64>, Option<i64>, Option<i32>, Option<String>, bool);

const GROUPS: usize = 5;

fn some_rows() -> impl Strategy<Value = (Vec<Row>, Vec<usize>)> {
    let row = (
        0..GROUPS,
        proptest::option::weighted(0.9, 0_i64..6),
        proptest::option::weighted(0.8, -3_i64..9),
        proptest::option::weighted(0.8, -40_i32..40),
        proptest::option::weighted(0.8, "[aAé日]{0,3}"),
        proptest::bool::weighted(0.8),
    );
    proptest::collection::vec(row, 0..120).prop_flat_map(|rows| {
        let cuts = proptest::collection::vec(0..=rows.len(), 0..5).prop_map(|mut cuts| {
            cuts.sort_unstable();
            cuts
        });
        (Just(rows), cuts)
    })
}

struct Columns {
    groups: Vec<usize>,
    filter: BooleanArray,
    times: ArrayRef,
    longs: ArrayRef,
    doubles: ArrayRef,
    texts: ArrayRef,
}

fn columns_of(rows: &[Row]) -> Columns {
    let times: Int64Array = rows.iter().map(|r| r.1).collect();
    Columns {
        groups: rows.iter().map(|r| r.0).collect(),
        filter: rows.iter().map(|r| Some(r.5)).collect(),
        times: arrow::compute::cast(&times, &timestamp_type()).expect("times"),
        longs: Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>()),
        doubles: Arc::new(rows.iter().map(|r| r.3.map(|x| f64::from(x) / 8.0)).collect::<Float64Array>()),
        texts: Arc::new(rows.iter().map(|r| r.4.as_deref()).collect::<StringViewArray>()),
    }
}

fn texts(array: &ArrayRef) -> Vec<Option<String>> {
    array.as_string_view().iter().map(|t| t.map(str::to_owned)).collect()
}

fn cut(text: &str, bytes: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() + c.len_utf8() > bytes {
            break;
        }
        out.push(c);
    }
    out
}

/// The rows that count, by group.
fn kept(rows: &[Row]) -> Vec<Vec<&Row>> {
    (0..GROUPS).map(|g| rows.iter().filter(|r| r.0 == g && r.5).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn earliest_and_latest_equal_a_naive_model((rows, cuts) in some_rows()) {
        let c = columns_of(&rows);
        let limit = ScalarValue::Int64(Some(4));
        for (name, latest) in [("__earliest", false), ("__latest", true)] {
            let call = called(name, &[DataType::Utf8View, timestamp_type()], std::slice::from_ref(&limit));
            let columns = [Arc::clone(&c.texts), Arc::clone(&c.times)];
            let expected: Vec<Option<String>> = kept(&rows).iter().map(|rows| {
                let timed = rows.iter().filter_map(|r| Some((r.1?, r.4.as_ref().map(|t| cut(t, 4)))));
                let best = if latest { timed.max() } else { timed.min() };
                best.and_then(|(_, text)| text)
            }).collect();
            prop_assert_eq!(texts(&call.whole(&columns, &c.groups, &c.filter, GROUPS)), expected.clone());
            prop_assert_eq!(texts(&call.split(&columns, &c.groups, &c.filter, GROUPS, &cuts)), expected);
        }
        let call = called("__any_value", &[DataType::Int64], &[]);
        let expected: Vec<Option<i64>> = kept(&rows).iter().map(|rows| rows.iter().filter_map(|r| r.2).min()).collect();
        let got = call.split(&[Arc::clone(&c.longs)], &c.groups, &c.filter, GROUPS, &cuts);
        prop_assert_eq!(got.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn lists_equal_a_naive_model((rows, cuts) in some_rows()) {
        let c = columns_of(&rows);
        let literals = |options: &str| [
            ScalarValue::Int64(Some(1 << 20)), ScalarValue::Utf8(Some(options.to_owned())), ScalarValue::Utf8(Some("+".to_owned())),
        ];
        let call = called("__array_agg", &[DataType::Int64], &literals("d"));
        let expected: Vec<Option<Vec<Option<i64>>>> = kept(&rows).iter().map(|rows| {
            (!rows.is_empty()).then(|| rows.iter().map(|r| r.2).collect::<BTreeSet<_>>().into_iter().collect())
        }).collect();
        for got in [
            call.whole(&[Arc::clone(&c.longs)], &c.groups, &c.filter, GROUPS),
            call.split(&[Arc::clone(&c.longs)], &c.groups, &c.filter, GROUPS, &cuts),
        ] {
            let got: Vec<_> = got.as_list::<i32>().iter()
                .map(|list| list.map(|l| l.as_primitive::<Int64Type>().iter().collect::<Vec<_>>())).collect();
            prop_assert_eq!(got, expected.clone());
        }
        // With keys, which are columns behind the literals: text by time, descending, nulls last.
        let mut call = called("__string_agg", &[DataType::Utf8View, timestamp_type()], &literals("-dl"));
        let key = (call.fields.remove(1), call.exprs.remove(1));
        call.fields.push(key.0);
        call.exprs.push(key.1);
        let expected: Vec<Option<String>> = kept(&rows).iter().map(|rows| {
            let mut texts: Vec<_> = rows.iter().filter_map(|r| Some((std::cmp::Reverse(r.1), r.4.as_ref()?))).collect();
            texts.sort();
            let texts: Vec<&str> = texts.into_iter().map(|(_, t)| t.as_str()).collect();
            (!texts.is_empty()).then(|| texts.join("+"))
        }).collect();
        let mut part = call.groups();
        let mut joined = call.groups();
        for (index, row) in rows.iter().enumerate() {
            let into = if index % 2 == 0 { &mut part } else { &mut joined };
            let mut values = vec![c.texts.slice(index, 1)];
            values.extend(literals("-dl").iter().map(|l| l.to_array_of_size(1).expect("an array")));
            values.push(c.times.slice(index, 1));
            into.update_batch(&values, &[row.0], Some(&c.filter.slice(index, 1)), GROUPS).expect("fits");
        }
        let empty = vec![
            c.texts.slice(0, 0), Arc::new(Int64Array::new_null(0)) as ArrayRef, Arc::new(arrow::array::StringArray::new_null(0)),
            Arc::new(arrow::array::StringArray::new_null(0)), c.times.slice(0, 0),
        ];
        part.update_batch(&empty, &[], None, GROUPS).expect("nothing fits");
        joined.merge_batch(&part.state(EmitTo::All).expect("states"), &(0..GROUPS).collect::<Vec<_>>(), GROUPS).expect("merges");
        prop_assert_eq!(texts(&joined.evaluate(EmitTo::All).expect("a result")), expected);
    }

    #[test]
    fn variance_equals_a_naive_model((rows, cuts) in some_rows()) {
        let c = columns_of(&rows);
        let call = called("__var_samp", &[DataType::Float64], &[]);
        let got = call.split(&[Arc::clone(&c.doubles)], &c.groups, &c.filter, GROUPS, &cuts);
        let mut single = call.single();
        for (group, rows) in kept(&rows).iter().enumerate() {
            let values: Vec<f64> = rows.iter().filter_map(|r| r.3.map(|x| f64::from(x) / 8.0)).collect();
            let count = f64::from(u32::try_from(values.len()).expect("few"));
            let mean = values.iter().sum::<f64>() / count;
            let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
            let got = got.as_primitive::<Float64Type>();
            match values.len() {
                0 => prop_assert!(got.is_null(group)),
                1 => prop_assert_eq!(got.value(group), 0.0),
                _ => prop_assert!((got.value(group) - squares / (count - 1.0)).abs() < 1e-9, "{} {:?}", got.value(group), values),
            }
        }
        // What a window takes in and out again leaves what is between.
        let all: Vec<f64> = (0..10).map(f64::from).collect();
        single.update_batch(&[Arc::new(Float64Array::from(all.clone()))]).expect("fits");
        single.retract_batch(&[Arc::new(Float64Array::from(all[..7].to_vec()))]).expect("forgets");
        let ScalarValue::Float64(Some(left)) = single.evaluate().expect("a result") else { panic!("a number") };
        prop_assert!((left - 1.0).abs() < 1e-9, "{left}");
    }

    #[test]
    fn distinct_counts_of_few_are_exact_in_any_split((rows, cuts) in some_rows()) {
        let c = columns_of(&rows);
        for name in ["approx_count_distinct", "approx_count_distinct_ds_hll", "approx_count_distinct_ds_theta"] {
            let call = called(name, &[DataType::Utf8View], &[]);
            let expected: Vec<i64> = kept(&rows).iter()
                .map(|rows| rows.iter().filter_map(|r| r.4.as_ref()).collect::<BTreeSet<_>>().len().try_into().expect("few")).collect();
            let got = call.split(&[Arc::clone(&c.texts)], &c.groups, &c.filter, GROUPS, &cuts);
            prop_assert_eq!(got.as_primitive::<Int64Type>().values().to_vec(), expected);
        }
    }
}

/// Sketches of parts, joined, answer like one over all: within four standard errors of the truth.
#[test]
fn joined_sketches_stay_within_their_bounds() {
    const VALUES: i64 = 60_000;
    // Each value twice, spread over the groups, so that every part holds much that others hold too.
    let values: Vec<i64> = (0..2 * VALUES).map(|n| (n * 7919) % VALUES).collect();
    let groups: Vec<usize> = values.iter().map(|v| if v % 10 == 0 { 1 } else { 0 }).collect();
    let filter = BooleanArray::from(vec![true; values.len()]);
    let longs: ArrayRef = Arc::new(Int64Array::from(values.clone()));
    let cuts = [100, 50_000, 50_000, 70_123];
    for (name, error) in [
        ("approx_count_distinct", 0.0115),
        ("approx_count_distinct_ds_hll", 0.0163),
        ("approx_count_distinct_ds_theta", 0.0079),
    ] {
        let call = called(name, &[DataType::Int64], &[]);
        for got in [
            call.whole(std::slice::from_ref(&longs), &groups, &filter, 2),
            call.split(std::slice::from_ref(&longs), &groups, &filter, 2, &cuts),
        ] {
            for (got, truth) in got.as_primitive::<Int64Type>().values().iter().zip([54_000.0, 6_000.0]) {
                let off = *got as f64 / truth - 1.0;
                assert!(off.abs() < 4.0 * error, "{name}: {got} of {truth}");
            }
        }
    }
    let doubles: ArrayRef = Arc::new(values.iter().map(|v| Some(*v as f64)).collect::<Float64Array>());
    for fraction in [0.01, 0.5, 0.95] {
        let literal = ScalarValue::Float64(Some(fraction));
        for name in ["approx_quantile_ds", "approx_quantile", "tdigest_quantile"] {
            let call = called(name, &[DataType::Float64], std::slice::from_ref(&literal));
            for got in [
                call.whole(std::slice::from_ref(&doubles), &groups, &filter, 2),
                call.split(std::slice::from_ref(&doubles), &groups, &filter, 2, &cuts),
            ] {
                for got in got.as_primitive::<Float64Type>().values() {
                    let off = got / VALUES as f64 - fraction;
                    assert!(off.abs() < 0.04, "{name} at {fraction}: {got}");
                }
            }
        }
    }
}

/// What a table of groups says it holds is near what it holds, and nothing once it gave everything away.
#[test]
fn held_bytes_are_counted() {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
    let groups: Vec<usize> = (0..100_000).map(|n| n % 10).collect();
    let call = called("approx_count_distinct", &[DataType::Int64], &[]);
    let mut many = call.groups();
    many.update_batch(&[values], &groups, None, 10).expect("fits");
    // Ten sketches of 8,192 registers of a byte.
    assert!((80_000..200_000).contains(&many.size()), "{}", many.size());
    let _states = many.state(EmitTo::All).expect("states");
    assert!(many.size() < 10_000, "{}", many.size());

    let text = "x".repeat(1000);
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..1000).map(|n| format!("{n}{text}"))));
    let literals = [
        ScalarValue::Int64(Some(1 << 30)),
        ScalarValue::Utf8(Some("-".into())),
        ScalarValue::Utf8(Some(String::new())),
    ];
    let call = called("__array_agg", &[DataType::Utf8View], &literals);
    let mut many = call.groups();
    many.update_batch(&call.values(&[texts], 0, 1000), &vec![0; 1000], None, 1).expect("fits");
    assert!((1_000_000..2_000_000).contains(&many.size()), "{}", many.size());
}

/// An engine with so much memory for queries.
fn small_engine(rows: i64, memory_bytes_max: usize, threads: usize) -> Arc<Engine> {
    let clock = Arc::new(SystemClock::new());
    let timeline = numbers(rows);
    Engine::new(EngineOptions { timeline, clock, memory_bytes_max, threads, system: None }).expect("an engine")
}

#[test]
fn a_state_too_large_ends_the_query_and_not_the_process() {
    let request = QueryRequest::new("q", "SELECT ARRAY_LENGTH(ARRAY_AGG(n, 1000000000)) FROM numbers");
    let error = answer(&small_engine(300_000, 8 << 20, 2), request).expect_err("24 MB do not fit into 8");
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
}

/// Where groups have to be written to disk and read back, states are read as they were.
#[test]
fn groups_beyond_memory_give_the_same_answer() {
    let request = QueryRequest::new(
        "q",
        "SELECT COUNT(*), SUM(e), MIN(l), SUM(l) FROM (SELECT MOD(n, 1000) AS g, THETA_SKETCH_ESTIMATE(DS_THETA(n)) AS e, \
          LATEST(n) AS l FROM numbers GROUP BY 1)",
    );
    let answer = answer(&small_engine(200_000, 6 << 20, 1), request).expect("an answer");
    // The last of each group are 199,000 to 199,999.
    assert_eq!(answer.rows, ["1000|200000.0|199000|199499500"]);
}

/// Bytes that are no state of ours are refused and read no further.
#[test]
fn damaged_states_are_refused() {
    let all: BTreeMap<&str, Vec<DataType>> = BTreeMap::from([
        ("approx_count_distinct", vec![DataType::Int64]),
        ("ds_theta", vec![DataType::Int64]),
        ("ds_quantiles_sketch", vec![DataType::Float64]),
        ("tdigest_generate_sketch", vec![DataType::Float64]),
        ("__latest", vec![DataType::Utf8View, timestamp_type()]),
        ("__array_agg", vec![DataType::Utf8View]),
        ("__var_pop", vec![DataType::Float64]),
    ]);
    for (name, columns) in all {
        let call = called(name, &columns, &[]);
        let mut joined = call.groups();
        let bad: ArrayRef = Arc::new(arrow::array::BinaryArray::from_vec(vec![b"\x01\x07nothing"]));
        assert!(joined.merge_batch(&[bad], &[0], 1).is_err(), "{name}");
        let wrong: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(joined.merge_batch(&[wrong], &[0], 1).is_err(), "{name}");
    }
}
