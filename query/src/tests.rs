//! The whole walk from a text to its rows, over growing tables.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_segment::clock::ManualClock;
use freshet_segment::error::{ErrorKind, SegmentError};
use freshet_segment::time::{Timestamp, Zone};
use futures::StreamExt;

use crate::testing::{answer, engine, failure, numbers, rows, timeline};
use crate::{Parameter, ParameterValue, QueryError, QueryOptions, QueryRequest};

#[test]
fn filters_groups_sorts_and_limits() {
    assert_eq!(rows("SELECT COUNT(*) FROM wiki"), ["8"]);
    assert_eq!(
        rows(
            "SELECT page, SUM(added) AS a, COUNT(*) FROM wiki WHERE city = 'Rome' GROUP BY page ORDER BY a DESC LIMIT 2"
        ),
        ["null|40|1", "Oz|10|1"],
        "ties of the sum come in ascending order of the page"
    );
    assert_eq!(
        rows("SELECT city FROM wiki WHERE city <> 'Rome' ORDER BY 1"),
        ["", "Oslo", "rome"],
        "nulls are not unequal"
    );
    assert_eq!(
        rows("SELECT DISTINCT city FROM wiki ORDER BY city LIMIT 2"),
        ["null", ""],
        "nulls come first ascending"
    );
    assert_eq!(rows("SELECT added FROM wiki ORDER BY added DESC, __time LIMIT 3 OFFSET 1"), ["10", "10", "10"]);
    assert_eq!(rows("SELECT added FROM wiki ORDER BY added DESC OFFSET 6 ROWS FETCH NEXT 5 ROWS ONLY"), ["-5", "null"]);
    assert_eq!(rows("SELECT COUNT(*), SUM(added), MIN(page), AVG(score) FROM empty"), ["0|null|null|null"]);
    assert_eq!(rows("SELECT page, COUNT(*) FROM empty GROUP BY page"), Vec::<String>::new());
}

#[test]
fn numbers_behave_as_in_druid() {
    assert_eq!(rows("SELECT SUM(added) / COUNT(*), 7 / 2, -7 / 2, 7 / 2.0, MOD(7, 4) FROM wiki"), ["9|3|-3|3.5|3"]);
    assert_eq!(
        rows("SELECT SAFE_DIVIDE(1, 0), 1.0 / 0, CAST('foo' AS BIGINT), CAST('12.7' AS BIGINT)"),
        ["null|inf|null|12"]
    );
    let error = failure("SELECT added / (added - added) FROM wiki WHERE added = 10");
    assert!(error.to_string().contains("division by zero"), "{error:?}");
}

#[test]
fn functions_that_dashboards_use_are_there() {
    for call in [
        "ABS(-1)",
        "CEIL(1.5)",
        "FLOOR(1.5)",
        "EXP(1)",
        "LN(2)",
        "LOG10(10)",
        "POWER(2, 3)",
        "SQRT(4)",
        "ROUND(1.25, 1)",
        "TRUNC(1.25, 1)",
        "SIN(1)",
        "COT(1)",
        "ATAN2(1, 2)",
        "DEGREES(1)",
        "RADIANS(1)",
        "PI()",
        "LOWER('A')",
        "UPPER('a')",
        "CHAR_LENGTH('a')",
        "STRLEN('a')",
        "TRIM(BOTH 'x' FROM 'xax')",
        "BTRIM('a')",
        "LTRIM('a')",
        "RTRIM('a')",
        "REPLACE('a', 'a', 'b')",
        "POSITION('a' IN 'ba')",
        "STRPOS('ba', 'a')",
        "LEFT('ab', 1)",
        "RIGHT('ab', 1)",
        "LPAD('a', 2)",
        "RPAD('a', 2, 'x')",
        "REPEAT('a', 2)",
        "REVERSE('ab')",
        "TEXTCAT('a', 'b')",
        "REGEXP_LIKE('a', 'a')",
        "COALESCE(NULL, 1)",
        "NVL(NULL, 1)",
        "NULLIF(1, 1)",
        "GREATEST(1, 2)",
        "LEAST(1, 2)",
        "CASE WHEN 1 = 1 THEN 2 ELSE 3 END",
        "BITWISE_AND(1, 3)",
        "BITWISE_SHIFT_LEFT(1, 3)",
        "1 IS DISTINCT FROM NULL",
        "SUBSTRING('abc' FROM 2 FOR 1)",
        "CAST(CAST(TIMESTAMP '2015-09-12 01:00:00' AS DATE) AS VARCHAR)",
        "ARRAY[1, 2]",
        "CAST(1 AS BOOLEAN)",
        "CAST('1.5' AS FLOAT)",
    ] {
        assert_eq!(rows(&format!("SELECT {call}")).len(), 1, "{call}");
    }
    for call in [
        "STDDEV(added)",
        "STDDEV_SAMP(added)",
        "STDDEV_POP(added)",
        "VARIANCE(added)",
        "VAR_SAMP(added)",
        "VAR_POP(added)",
        "BIT_AND(added)",
        "ARRAY_AGG(page, 100)",
        "STRING_AGG(page, ',', 1024)",
        "LISTAGG(page, ',')",
        "ANY_VALUE(page)",
        "APPROX_QUANTILE_DS(added, 0.5)",
        "APPROX_COUNT_DISTINCT_DS_HLL(page, 12)",
        "LATEST_BY(page, __time)",
        "SUM(added) FILTER (WHERE added > 0)",
    ] {
        assert_eq!(rows(&format!("SELECT {call} FROM wiki")).len(), 1, "{call}");
    }
    for call in
        ["ROW_NUMBER() OVER (ORDER BY __time)", "LAG(page) OVER (PARTITION BY city ORDER BY __time)", "RANK() OVER w"]
    {
        assert_eq!(rows(&format!("SELECT {call} FROM wiki WINDOW w AS (ORDER BY added)")).len(), 8, "{call}");
    }
}

#[test]
fn strings_and_numbers_meet() {
    assert_eq!(rows("SELECT COUNT(*) FROM (SELECT '1' AS s UNION ALL SELECT '2') WHERE s = 1"), ["1"]);
    assert_eq!(rows("SELECT COUNT(*) FROM wiki WHERE added = '10'"), ["3"]);
    assert_eq!(rows("SELECT COUNT(*) FROM wiki WHERE score < 2 AND added > 0.5"), ["3"]);
}

#[test]
fn names_come_out_as_asked() {
    let engine = engine(timeline());
    let names = |sql: &str| -> Vec<String> {
        let answer = answer(&engine, QueryRequest::new("q", sql)).expect(sql);
        answer.columns.into_iter().map(|c| c.name).collect()
    };
    assert_eq!(names("SELECT page, COUNT(*), MAX(added) + 1 FROM wiki GROUP BY page"), ["page", "EXPR$1", "EXPR$2"]);
    assert_eq!(names("SELECT page, page, added AS page FROM wiki"), ["page", "page", "page"]);
    assert_eq!(names("SELECT *, page, 1 FROM wiki"), ["__time", "page", "city", "added", "score", "page", "EXPR$6"]);
    assert_eq!(names("SELECT CAST(page AS VARCHAR), CAST(page AS VARCHAR) FROM wiki"), ["EXPR$0", "EXPR$1"]);
    assert_eq!(names("SELECT w.page FROM druid.wiki w"), ["page"]);
    assert_eq!(names("SELECT * FROM (SELECT page, COUNT(*) FROM wiki GROUP BY page)"), ["page", "EXPR$1"]);
}

#[test]
fn types_come_out_in_druids_words() {
    let engine = engine(timeline());
    let sql = "SELECT __time, page, added, score, COUNT(*) OVER (), added > 1, 1, 'x', NULL, CAST(__time AS DATE), \
               FLOOR(__time TO DAY) AS d FROM wiki";
    let answer = answer(&engine, QueryRequest::new("q", sql)).expect("an answer");
    insta::assert_snapshot!(answer.types().join("\n"), @r"
    __time:LONG/TIMESTAMP
    page:STRING/VARCHAR
    added:LONG/BIGINT
    score:DOUBLE/DOUBLE
    EXPR$4:LONG/BIGINT
    EXPR$5:LONG/BOOLEAN
    EXPR$6:LONG/INTEGER
    EXPR$7:STRING/CHAR
    EXPR$8:STRING/NULL
    EXPR$9:LONG/DATE
    d:LONG/TIMESTAMP
    ");
}

#[test]
fn time_is_understood_in_the_querys_zone() {
    assert_eq!(
        rows("SELECT FLOOR(__time TO HOUR), COUNT(*) FROM wiki GROUP BY 1 ORDER BY 1 LIMIT 2"),
        ["2015-09-12T00:00:00Z|2", "2015-09-12T01:00:00Z|1"]
    );
    let engine = engine(timeline());
    let options = QueryOptions { zone: "America/Los_Angeles".parse::<Zone>().expect("a zone"), ..Default::default() };
    let there = |sql: &str| {
        let request = QueryRequest { options: options.clone(), ..QueryRequest::new("q", sql) };
        answer(&engine, request).expect(sql).rows
    };
    assert_eq!(
        there("SELECT TIME_FLOOR(__time, 'P1D') AS d, COUNT(*) FROM wiki GROUP BY d ORDER BY d"),
        ["2015-09-11T07:00:00Z|3", "2015-09-12T07:00:00Z|4", "2015-09-13T07:00:00Z|1"]
    );
    assert_eq!(there("SELECT COUNT(*) FROM wiki WHERE __time >= TIMESTAMP '2015-09-12 00:00:00'"), ["5"]);
    assert_eq!(there("SELECT COUNT(*) FROM wiki WHERE __time >= '2015-09-12'"), ["5"]);
    assert_eq!(
        there("SELECT COUNT(*) FROM wiki WHERE __time BETWEEN DATE '2015-09-11' AND '2015-09-12T07:00:00Z'"),
        ["3"]
    );
    assert_eq!(
        there(
            "SELECT CURRENT_TIMESTAMP, CURRENT_DATE, EXTRACT(HOUR FROM TIMESTAMP '2015-09-12 05:00:00'), \
               CAST(TIMESTAMP '2015-09-12 05:00:00' AS VARCHAR), CAST(CURRENT_TIMESTAMP AS BIGINT)"
        ),
        ["2015-09-14T00:00:00Z|2015-09-13T07:00:00Z|5|2015-09-12 05:00:00|1442188800000"]
    );
    assert_eq!(
        rows("SET sqlTimeZone = 'Asia/Kolkata'; SELECT DATE_TRUNC('day', TIMESTAMP '2015-09-12 03:00:00')"),
        ["2015-09-11T18:30:00Z"]
    );
}

#[test]
fn time_arithmetic_follows_the_calendar() {
    assert_eq!(
        rows(
            "SELECT TIMESTAMP '2015-01-31 00:00:00' + INTERVAL '1' MONTH, TIMESTAMPADD(DAY, -1, DATE '2015-03-01'), \
              TIMESTAMPDIFF(MONTH, TIMESTAMP '2015-01-31 00:00:00', TIMESTAMP '2015-03-30 00:00:00'), \
              TIMESTAMP '2015-03-01 00:00:00' - INTERVAL '1 02:03' DAY TO MINUTE"
        ),
        ["2015-02-28T00:00:00Z|2015-02-28T00:00:00Z|1|2015-02-27T21:57:00Z"]
    );
    assert_eq!(
        rows(
            "SELECT TIME_SHIFT(TIMESTAMP '2015-01-01 00:00:00', 'P1Y', -3), TIME_PARSE('12/09/2015', 'dd/MM/yyyy'), \
              TIME_PARSE('no'), TIME_FORMAT(TIMESTAMP '2015-09-12 01:02:03', 'yyyy-MM'), \
              TIME_CEIL(TIMESTAMP '2015-09-12 01:02:03', 'PT1H'), TIME_EXTRACT(TIMESTAMP '2015-09-12 01:02:03', 'DOW')"
        ),
        ["2012-01-01T00:00:00Z|2015-09-12T00:00:00Z|null|2015-09|2015-09-12T02:00:00Z|6"]
    );
    assert_eq!(
        rows(
            "SELECT COUNT(*) FROM wiki WHERE __time >= CURRENT_TIMESTAMP - INTERVAL '1' DAY AND TIME_IN_INTERVAL(__time, '2015-09-13/2015-09-14')"
        ),
        ["3"]
    );
    assert_eq!(
        rows("SELECT MILLIS_TO_TIMESTAMP(-100000000000000), TIMESTAMP_TO_MILLIS(TIMESTAMP '-1199-01-01 00:00:00') < 0"),
        ["-1199-02-15T14:13:20Z|true"]
    );
}

#[test]
fn text_behaves_as_in_druid() {
    assert_eq!(
        rows("SELECT page FROM wiki WHERE page LIKE '%\\%' ORDER BY page"),
        ["100%_a\\b"],
        "a backslash is a character"
    );
    assert_eq!(rows("SELECT page FROM wiki WHERE page LIKE '%a\\b'"), ["100%_a\\b"]);
    assert_eq!(rows("SELECT page FROM wiki WHERE page LIKE '100!%!_%' ESCAPE '!'"), ["100%_a\\b"]);
    assert_eq!(
        rows("SELECT CONCAT('a', 1, 'b'), CONCAT('a', NULL), 'x' || NULL, LENGTH('日本'), SUBSTRING('abc', 2, 1)"),
        ["a1b|null|null|2|b"]
    );
    assert_eq!(
        rows(
            "SELECT REGEXP_EXTRACT('ab12', '([a-z]+)(\\d+)', 2), REGEXP_REPLACE('aXbX', 'X', '$0y'), CONTAINS_STRING('abc', 'B'), \
              ICONTAINS_STRING('abc', 'B'), PARSE_LONG('ff', 16), DECODE_BASE64_UTF8('aGVsbG8=')"
        ),
        ["12|aXybXy|false|true|255|hello"]
    );
    assert_eq!(rows("SELECT U&'\\00F6', 'it''s', \"page\" FROM wiki WHERE \"page\" = 'Ärger'"), ["ö|it's|Ärger"]);
}

#[test]
fn joins_subqueries_and_unions_work() {
    assert_eq!(
        rows(
            "WITH top AS (SELECT city, COUNT(*) AS c FROM wiki WHERE city IS NOT NULL GROUP BY city ORDER BY c DESC LIMIT 1) \
              SELECT w.page, top.c FROM wiki w JOIN top ON w.city = top.city ORDER BY w.__time LIMIT 1"
        ),
        ["Talk:Oz|3"]
    );
    assert_eq!(rows("SELECT COUNT(*) FROM wiki WHERE page IN (SELECT page FROM wiki WHERE added < 0)"), ["3"]);
    assert_eq!(rows("SELECT * FROM (SELECT 1 AS n UNION ALL SELECT 2) ORDER BY n"), ["1", "2"]);
    assert_eq!(
        rows(
            "SELECT city, GROUPING(city), COUNT(*) FROM wiki WHERE added = 10 GROUP BY GROUPING SETS ((city), ()) ORDER BY 2, 3 DESC"
        ),
        ["Rome|0|2", "null|0|1", "null|1|3"]
    );
    assert_eq!(
        rows(
            "SELECT APPROX_COUNT_DISTINCT(city), COUNT(DISTINCT page) FILTER (WHERE added > 0), LATEST(city), EARLIEST(page) FROM wiki"
        ),
        ["4|4|null|Talk:Oz"]
    );
    assert_eq!(rows("SELECT user FROM (SELECT page AS user FROM wiki) WHERE user = 'Ärger'"), ["Ärger"]);
    assert_eq!(rows("SELECT STDDEV_SAMP(added), VAR_POP(added) IS NULL, ROUND(VARIANCE(added), 3) FROM wiki WHERE added IN (0, 10)").len(), 1);
}

#[test]
fn parameters_are_bound_in_the_order_of_the_text() {
    let engine = engine(timeline());
    let parameter = |sql_type: &str, value| Parameter { sql_type: sql_type.to_owned(), value };
    let run = |sql: &str, parameters: Vec<Parameter>| {
        answer(&engine, QueryRequest { parameters, ..QueryRequest::new("q", sql) }).map(|a| a.rows)
    };
    let given = vec![
        parameter("VARCHAR", ParameterValue::String("it's ?".into())),
        parameter("BIGINT", ParameterValue::Long(10)),
        parameter("TIMESTAMP", ParameterValue::String("2015-09-13 00:00:00".into())),
    ];
    let sql = "SELECT ?, COUNT(*) FROM wiki WHERE added = ? AND __time >= ?";
    assert_eq!(run(sql, given).expect("an answer"), ["it's ?|2"]);
    let error = run(sql, vec![]).expect_err("none given");
    assert!(error.to_string().contains("3 parameters and 0 values"), "{error}");
    let error = run("SELECT ?", vec![parameter("BIGINT", ParameterValue::String("x".into()))]).expect_err("no number");
    assert!(error.to_string().contains("parameter 1 is not a BIGINT"), "{error}");
}

#[test]
fn an_outer_limit_bounds_the_answer() {
    let engine = engine(timeline());
    let run = |sql: &str, outer_limit| {
        let options = QueryOptions { outer_limit: Some(outer_limit), ..Default::default() };
        answer(&engine, QueryRequest { options, ..QueryRequest::new("q", sql) }).expect(sql).rows
    };
    assert_eq!(run("SELECT page FROM wiki ORDER BY __time LIMIT 5", 2), ["Talk:Oz", "Oz"]);
    assert_eq!(run("SELECT page FROM wiki ORDER BY __time LIMIT 1", 3), ["Talk:Oz"]);
    assert_eq!(run("SELECT page FROM wiki", 0), Vec::<String>::new());
}

#[test]
fn a_limit_without_an_order_gives_exactly_so_many_rows() {
    for limit in [0, 1, 3, 7, 8, 100] {
        let expected = limit.min(8);
        assert_eq!(rows(&format!("SELECT * FROM wiki LIMIT {limit}")).len(), expected, "LIMIT {limit}");
        assert_eq!(
            rows(&format!("SELECT COUNT(*) FROM (SELECT page FROM wiki LIMIT {limit})")),
            [expected.to_string()],
            "a limit below an aggregate"
        );
    }
    assert_eq!(rows("SELECT page FROM wiki WHERE city = 'Rome' LIMIT 2").len(), 2, "of three");
    assert_eq!(
        rows("SELECT page FROM wiki WHERE UPPER(city) = 'ROME' LIMIT 3").len(),
        3,
        "of four, by a residual filter"
    );
    assert_eq!(rows("SELECT page FROM wiki LIMIT 5 OFFSET 6").len(), 2);
    assert_eq!(rows("SELECT a.page FROM wiki a, wiki b LIMIT 11").len(), 11);
}

#[test]
fn errors_say_where_and_what_was_meant() {
    let check = |sql: &str, position: (u64, u64, u64, u64), message: &str, hint: &str| {
        let error = failure(sql);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}");
        assert_eq!(error.position(), Some(position), "{sql}: {error:?}");
        assert!(error.to_string().contains(message), "{sql}: {error}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{sql}: {error:?}");
    };
    check(
        "SELECT nope FROM wiki",
        (1, 8, 1, 11),
        "Column 'nope' not found in any table (line [1], column [8])",
        "page",
    );
    check(
        "SELECT\n  w.paeg\nFROM wiki w",
        (2, 3, 2, 8),
        "Column 'paeg' not found in table 'w'",
        "did you mean \"page\"?",
    );
    check("SELECT Page FROM wiki", (1, 8, 1, 11), "Column 'Page' not found", "did you mean \"page\"?");
    check(
        "SELECT * FROM wikki",
        (1, 15, 1, 19),
        "Object 'wikki' not found (line [1], column [15])",
        "did you mean \"wiki\"?",
    );
    check(
        "SELECT * FROM sys.segment",
        (1, 15, 1, 25),
        "Object 'segment' not found within 'sys'",
        "did you mean \"segments\"?",
    );
    check("SELECT COUTN(*) FROM wiki", (1, 8, 1, 12), "No match found for function COUTN", "did you mean COUNT?");
    check(
        "SELECT page FRM wiki LIMIT",
        (1, 17, 1, 20),
        "Received an unexpected token [wiki] (line [1], column [17])",
        "",
    );
    check("SELECT 'open", (1, 8, 1, 8), "Lexical error at line 1, column 8", "quote");
    check("DROP TABLE wiki", (1, 1, 1, 4), "DROP statements are not supported", "first rows");
    check("INSERT INTO wiki SELECT 1", (1, 1, 1, 6), "INSERT statements are not supported", "push");
    check("SELECT 1; DROP TABLE wiki", (1, 9, 1, 9), "only one statement", "");
    check("SELECT TIMESTAMP 'yesterday'", (1, 18, 1, 28), "Illegal TIMESTAMP literal", "2015-09-12");
    check("SELECT added FROM wiki WHERE __time > 'soon'", (1, 39, 1, 44), "Illegal TIMESTAMP literal", "");
    check("SELECT * FROM TABLE(EXTERN('a','b','c'))", (1, 21, 1, 38), "Table function 'EXTERN' is not supported", "");
    check("SELECT TIME_FLOOR(__time, 'P1X') FROM wiki", (1, 27, 1, 31), "P1X", "");
    check("SELECT TIME_FORMAT(__time, 'yyyy', 'Mars') FROM wiki", (1, 36, 1, 41), "Mars", "");
    check("SELECT page FROM wiki GROUP BY added", (1, 8, 1, 11), "page", "");
    for sql in [
        "",
        ";",
        "SELECT",
        "EXPLAIN SELECT 1",
        "SET x = ;SELECT 1",
        "COPY wiki TO 'x'",
        "SELECT __to_date(__time) FROM wiki",
    ] {
        assert_eq!(failure(sql).kind(), ErrorKind::Invalid, "{sql}");
    }
}

#[test]
fn texts_beyond_the_limits_are_refused_and_those_below_run() {
    let too_long = format!("SELECT '{}'", "x".repeat(1 << 20));
    assert!(failure(&too_long).to_string().contains("bytes"));
    assert!(failure(&format!("SELECT 1{}", ",1".repeat(100_000))).to_string().contains("words and signs"));
    for deep in [
        format!("SELECT 1{}", "+1".repeat(500)),
        format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500)),
        format!("SELECT {} true", "NOT ".repeat(500)),
        format!("SELECT {}1{}", "ABS(".repeat(300), ")".repeat(300)),
        format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(500)),
        format!("SELECT {} 1", "CASE WHEN true THEN ".repeat(500)),
    ] {
        assert_eq!(failure(&deep).kind(), ErrorKind::Invalid, "{}", &deep[..60]);
    }
    let doubling: String = (1..20).map(|i| format!(", t{i} AS (SELECT a.page FROM t{0} a, t{0} b)", i - 1)).collect();
    let error = failure(&format!("WITH t0 AS (SELECT page FROM wiki){doubling} SELECT COUNT(*) FROM t19"));
    assert!(error.to_string().contains("tables once WITH is written out"), "{error}");

    assert_eq!(rows(&format!("SELECT added{} FROM wiki LIMIT 1", "+1".repeat(390))).len(), 1);
    let any: Vec<String> = (0..4000).map(|i| format!("(added = {i} AND page <> 'x{i}')")).collect();
    assert_eq!(rows(&format!("SELECT COUNT(*) FROM wiki WHERE {}", any.join(" OR "))), ["5"]);
    let list: Vec<String> = (0..50_000).map(|i| i.to_string()).collect();
    assert_eq!(rows(&format!("SELECT COUNT(*) FROM wiki WHERE added IN ({})", list.join(","))), ["6"]);
}

#[test]
fn the_information_schema_is_made_of_ordinary_tables() {
    assert_eq!(
        rows("SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'druid'"),
        ["druid|empty|TABLE", "druid|wiki|TABLE"]
    );
    assert_eq!(
        rows(
            "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE, JDBC_TYPE, COLUMN_DEFAULT = '' FROM INFORMATION_SCHEMA.COLUMNS \
              WHERE TABLE_NAME = 'wiki' ORDER BY ORDINAL_POSITION LIMIT 3"
        ),
        ["__time|TIMESTAMP|NO|93|true", "page|VARCHAR|YES|12|true", "city|VARCHAR|YES|12|true"]
    );
    assert_eq!(
        rows(
            "SELECT t.TABLE_NAME, COUNT(*) FROM INFORMATION_SCHEMA.TABLES t JOIN INFORMATION_SCHEMA.COLUMNS c \
              ON t.TABLE_NAME = c.TABLE_NAME AND t.TABLE_SCHEMA = c.TABLE_SCHEMA GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
        ),
        ["segments|20"]
    );
    assert_eq!(
        rows("SELECT SCHEMA_NAME FROM INFORMATION_SCHEMA.SCHEMATA ORDER BY 1"),
        ["INFORMATION_SCHEMA", "druid", "lookup", "sys"]
    );
    assert_eq!(
        rows(
            "SELECT ROUTINE_NAME, IS_AGGREGATOR FROM INFORMATION_SCHEMA.ROUTINES WHERE ROUTINE_NAME IN ('TIME_FLOOR', 'SUM', '__TO_DATE') ORDER BY 1"
        ),
        ["SUM|YES", "TIME_FLOOR|NO"]
    );
}

#[test]
fn the_system_tables_are_ordinary_tables_that_join() {
    assert_eq!(
        rows(
            "SELECT datasource, partition_num, num_rows, is_published, is_realtime, is_active, size FROM sys.segments \
             ORDER BY partition_num"
        ),
        ["wiki|1|5|0|1|1|0", "wiki|2|3|0|1|1|0"]
    );
    assert_eq!(
        rows(
            "SELECT t.TABLE_NAME, SUM(s.num_rows) FROM INFORMATION_SCHEMA.TABLES t JOIN sys.segments s \
             ON t.TABLE_NAME = s.datasource WHERE t.TABLE_SCHEMA = 'druid' GROUP BY 1"
        ),
        ["wiki|8"]
    );
    // Nobody has handed anything in.
    assert_eq!(rows("SELECT COUNT(*) FROM sys.data_gaps"), ["0"]);
    assert_eq!(rows("SELECT COUNT(*) FROM sys.dead_letters"), ["0"]);
}

/// Hands in one row of each kind.
#[derive(Debug)]
struct Handed;

#[async_trait::async_trait]
impl crate::SystemSource for Handed {
    async fn data_gaps(&self) -> Result<Vec<crate::DataGapRow>, SegmentError> {
        Ok(vec![crate::DataGapRow {
            table: "wiki".to_owned(),
            stream: "kafka:s:wiki".to_owned(),
            partition: 3,
            from: 10,
            to: 25,
            reason: "retention".to_owned(),
            at: Timestamp::from_millis(0),
        }])
    }

    async fn dead_letters(&self) -> Result<Vec<crate::DeadLetterRow>, SegmentError> {
        Ok(vec![crate::DeadLetterRow {
            table: "wiki".to_owned(),
            at: Timestamp::from_millis(0),
            source: "push".to_owned(),
            position: "row 2".to_owned(),
            place: None,
            reason: "no time".to_owned(),
            hint: Some("send one".to_owned()),
            row_stored: false,
            raw: "{}".to_owned(),
        }])
    }

    fn servers(&self) -> Vec<crate::ServerRow> {
        vec![crate::ServerRow {
            host: "h".to_owned(),
            port: 8,
            server_type: "historical".to_owned(),
            tier: "t".to_owned(),
            used_bytes: 5,
            bytes_max: 0,
            is_leader: Some(true),
            started: Timestamp::from_millis(0),
            version: "1".to_owned(),
            processors: 2,
            memory_bytes: 9,
        }]
    }

    fn tasks(&self) -> Vec<crate::TaskRow> {
        vec![crate::TaskRow {
            id: "t1".to_owned(),
            group: "g".to_owned(),
            kind: "push".to_owned(),
            table: "wiki".to_owned(),
            created: Timestamp::from_millis(0),
            host: "h".to_owned(),
            port: 8,
        }]
    }

    fn supervisors(&self) -> Vec<crate::SupervisorRow> {
        vec![crate::SupervisorRow {
            id: "s".to_owned(),
            table: "wiki".to_owned(),
            state: "RUNNING".to_owned(),
            detailed_state: "CONNECTING_TO_STREAM".to_owned(),
            healthy: true,
            kind: "kafka".to_owned(),
            source: "topic".to_owned(),
            suspended: false,
            spec: "{}".to_owned(),
        }]
    }
}

#[test]
fn what_the_server_hands_in_is_in_the_system_tables() {
    let clock = Arc::new(ManualClock::new(Timestamp::parse(crate::testing::NOW).expect("a time")));
    let options = crate::EngineOptions {
        timeline: timeline(),
        clock,
        memory_bytes_max: 64 << 20,
        threads: 2,
        system: Some(Arc::new(Handed)),
    };
    let engine = crate::Engine::new(options).expect("an engine");
    let rows = |sql: &str| answer(&engine, QueryRequest::new("q", sql)).expect(sql).rows;
    assert_eq!(
        rows("SELECT datasource, stream, to_offset - from_offset, reason, found_at FROM sys.data_gaps"),
        ["wiki|kafka:s:wiki|15|retention|1970-01-01T00:00:00.000Z"]
    );
    assert_eq!(
        rows("SELECT source, position, place, reason, hint, row_stored, raw FROM sys.dead_letters"),
        ["push|row 2|null|no time|send one|0|{}"]
    );
    assert_eq!(
        rows(
            "SELECT s.server, COUNT(*), MAX(curr_size) FROM sys.servers s JOIN sys.server_segments g ON s.server = g.server GROUP BY 1"
        ),
        ["h:8|2|5"]
    );
    assert_eq!(
        rows(
            "SELECT task_id, group_id, \"type\", datasource, created_time, status, runner_status, location, tls_port, error_msg FROM sys.tasks"
        ),
        ["t1|g|push|wiki|1970-01-01T00:00:00.000Z|RUNNING|RUNNING|h:8|-1|null"]
    );
    assert_eq!(
        rows("SELECT supervisor_id, state, detailed_state, healthy, \"type\", source, suspended FROM sys.supervisors"),
        ["s|RUNNING|CONNECTING_TO_STREAM|1|kafka|topic|0"]
    );
}

#[test]
fn a_table_that_is_being_recovered_gives_no_answer_or_one_that_says_so() {
    let timeline = timeline();
    let waits = "pushed rows are read back from the journal";
    let unready = |passes| Some(freshet_segment::timeline::Unready { why: Arc::from(waits), passes });
    timeline.table("wiki").expect("there").set_unready(unready(true));
    let engine = engine(Arc::clone(&timeline));
    let ask = |sql: &str, allow_partial: bool| {
        let options = QueryOptions { allow_partial, ..QueryOptions::default() };
        answer(&engine, QueryRequest { options, ..QueryRequest::new("q", sql) })
    };
    for sql in ["SELECT COUNT(*) FROM wiki", "SELECT 1 FROM empty WHERE (SELECT COUNT(*) FROM wiki) > 0"] {
        let error = ask(sql, false).expect_err(sql);
        assert!(matches!(&error, QueryError::Recovering { table, .. } if table == "wiki"), "{sql}: {error:?}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.hint().is_some_and(|hint| hint.contains(waits)), "{error:?}");
    }
    assert_eq!(ask("SELECT COUNT(*) FROM empty", false).expect("another table").rows, ["0"]);
    for partial in
        [ask("SELECT COUNT(*) FROM wiki", true), ask("SET allowPartial = true; SELECT COUNT(*) FROM wiki", false)]
    {
        let partial = partial.expect("what is there");
        assert_eq!(partial.rows, ["8"]);
        assert_eq!(partial.missing, [crate::Missing::Rows { table: "wiki".to_owned(), reason: waits.to_owned() }]);
    }
    timeline.table("wiki").expect("there").set_unready(unready(false));
    let error = ask("SELECT COUNT(*) FROM wiki", false).expect_err("rows are gone for good");
    assert!(matches!(error, QueryError::Incomplete { .. }) && error.kind() == ErrorKind::Corrupt, "{error:?}");
    assert_eq!(ask("SELECT COUNT(*) FROM wiki", true).expect("what is there").missing.len(), 1);
    timeline.table("wiki").expect("there").set_unready(None);
    let whole = ask("SELECT COUNT(*) FROM wiki", true).expect("all of it");
    assert_eq!((whole.rows, whole.missing), (vec!["8".to_owned()], Vec::new()));
}

#[test]
fn a_plan_is_explained_in_three_texts() {
    let engine = engine(timeline());
    let sql = "EXPLAIN PLAN FOR SELECT page FROM wiki WHERE city = 'Rome' AND LENGTH(page) > 3";
    let answer = answer(&engine, QueryRequest::new("q", sql)).expect("an answer");
    assert_eq!(answer.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["PLAN", "RESOURCES", "ATTRIBUTES"]);
    let row = &answer.rows[0];
    assert!(row.contains("predicate=city = 'Rome'") && row.contains("FilterExec"), "{row}");
    assert!(
        row.contains(r#"[{"name":"wiki","type":"DATASOURCE"}]"#) && row.ends_with(r#"{"statementType":"SELECT"}"#),
        "{row}"
    );
}

/// A nested-loop join that never gives a row.
const ENDLESS: &str = "SELECT COUNT(*) FROM numbers a, numbers b, numbers c WHERE a.n + b.n + c.n < -1";
/// Joins that give rows for ever.
const OVERFLOWING: &str = "SELECT MAX(a.n % 7 + b.n % 11 + c.n % 13) FROM numbers a, numbers b, numbers c";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn a_query_out_of_time_says_so_and_stops() {
    let engine = engine(numbers(50_000));
    let options = QueryOptions { timeout: Some(Duration::from_millis(300)), ..Default::default() };
    let started = Instant::now();
    for sql in [ENDLESS, OVERFLOWING] {
        let request = QueryRequest { options: options.clone(), ..QueryRequest::new("q", sql) };
        let error = answer(&engine, request).expect_err("too long");
        assert!(error.is_timeout() && error.kind() == ErrorKind::Cancelled, "{error:?}");
    }
    // Ending the runtime waits for its tasks, so this bounds the work that went on as well.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let error = answer(&engine, QueryRequest::new("q", format!("SET timeout = 200; {ENDLESS}"))).expect_err("too long");
    assert!(error.is_timeout(), "{error:?}");
    assert!(engine.running().is_empty());
}

#[test]
fn a_query_can_be_cancelled_by_its_id() {
    let engine = engine(numbers(50_000));
    runtime().block_on(async {
        let mut stream = engine.run(QueryRequest::new("mine", ENDLESS)).await.expect("started");
        assert_eq!(engine.running().iter().map(|q| q.query_id.as_str()).collect::<Vec<_>>(), ["mine"]);
        assert_eq!(engine.cancel("other"), 0);
        assert_eq!(engine.cancel("mine"), 1);
        let end = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("soon");
        assert!(matches!(end, Some(Err(QueryError::Cancelled))), "{end:?}");
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn a_dropped_stream_ends_its_query() {
    let engine = engine(numbers(50_000));
    runtime().block_on(async {
        drop(engine.run(QueryRequest::new("mine", ENDLESS)).await.expect("started"));
        let mut stream = engine.run(QueryRequest::new("read", "SELECT n FROM numbers")).await.expect("started");
        assert!(matches!(stream.next().await, Some(Ok(_))));
        drop(stream);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !engine.running().is_empty() {
            assert!(Instant::now() < deadline, "{:?}", engine.running());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn rows_are_read_once_by_several_threads() {
    let engine = engine(numbers(300_000));
    let run = |sql: &str| answer(&engine, QueryRequest::new("q", sql)).expect(sql).rows;
    assert_eq!(run("SELECT COUNT(n), SUM(n) FROM numbers"), ["300000|44999850000"]);
    assert_eq!(run("SELECT COUNT(n), SUM(n) FROM numbers WHERE n >= 100000 AND n < 200000"), ["100000|14999950000"]);
    assert_eq!(run("SELECT COUNT(*) FROM (SELECT n FROM numbers LIMIT 70000)"), ["70000"]);
    assert_eq!(run("SELECT COUNT(*) FROM numbers a JOIN numbers b ON a.n = b.n"), ["300000"]);
    assert_eq!(run("SELECT n FROM numbers WHERE __time >= MILLIS_TO_TIMESTAMP(299999000)"), ["299999"]);
}

#[test]
fn memory_is_bounded() {
    let error = answer(
        &{
            let clock = std::sync::Arc::new(freshet_segment::clock::SystemClock::new());
            let options = crate::EngineOptions {
                timeline: numbers(300_000),
                clock,
                memory_bytes_max: 100_000,
                threads: 2,
                system: None,
            };
            crate::Engine::new(options).expect("an engine")
        },
        QueryRequest::new("q", "SELECT COUNT(*) FROM numbers a JOIN numbers b ON a.n = b.n"),
    )
    .expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
}
