//! Aggregates in queries over the small tables, with answers worked out by hand.

mod splits;

use std::sync::Arc;

use freshet_segment::clock::SystemClock;
use freshet_segment::error::ErrorKind;

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
        let text = error.to_string();
        // With the call's place behind it, where the planner knows which call it was.
        assert!(text == message || text == format!("{message} (line [1], column [8])"), "{call}: {text}");
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
