//! What queries answer in odd cases: mixed types, strange numbers, UNNEST, and the words of failures.
//!
//! Expectations are worked out by hand from Druid's documentation and, where it is silent, from Java's arithmetic.

use crate::testing::{failure, rows};

/// Each expression and its answer.
fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(expression, answer)| {
            let found = rows(&format!("SELECT {expression}")).join(" / ");
            (found != *answer).then(|| format!("{expression}: {found}, not {answer}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn texts_and_numbers_compare_without_failing() {
    check(&[
        ("'1' = 1, 'x' = 1, '01' = 1, 1.5 = '1.5'", "true|null|true|true"),
        ("'a' IN (1, 2), 1 IN ('1', 'x')", "null|true"),
        ("1 BETWEEN 'a' AND 2", "null"),
        ("COALESCE('x', 0), COALESCE(NULL, 0), NVL(NULL, 'y'), COALESCE(NULL, NULL)", "x|0|y|null"),
    ]);
    // Cities are no numbers, which ends no query.
    assert_eq!(rows("SELECT COUNT(*) FROM wiki WHERE city = 1"), ["0"]);
    assert_eq!(rows("SELECT COUNT(*) FROM wiki WHERE city > 5 OR added = '10'"), ["3"]);
    assert_eq!(rows("SELECT COUNT(*) FROM wiki WHERE COALESCE(city, 0) = '0'"), ["2"]);
}

#[test]
fn numbers_are_javas() {
    check(&[
        (
            "ROUND(CAST('NaN' AS DOUBLE)), ROUND(2.675, 2), ROUND(-2.5), ROUND(15, -1), ROUND(2, -1)",
            "0.0|2.68|-3.0|20|0",
        ),
        ("TRUNCATE(1234.567, -2), TRUNC(-1259, -2), TRUNC(2.57, 1)", "1200.0|-1200|2.5"),
        ("CEIL(5), FLOOR(-5), CEIL(1.2), FLOOR(-1.2)", "5|-5|2.0|-2.0"),
        ("SQRT(-1), LN(0), LN(-1), LOG10(0), ASIN(2), EXP(1000)", "NaN|-inf|NaN|-inf|NaN|inf"),
        (
            "ABS(-9223372036854775807 - 1), 9223372036854775807 + 1, 9223372036854775807 * 2",
            "-9223372036854775808|-9223372036854775808|-2",
        ),
        ("CAST(1e20 AS VARCHAR), CAST(0.1 AS VARCHAR), CAST(1e7 AS VARCHAR), 1.5 || 'x'", "1.0E20|0.1|1.0E7|1.5x"),
        ("POWER(2, 0.5) > 1.41, POWER(0, 0), 1 || 2, 'a' || NULL", "true|1.0|12|null"),
        ("LPAD('😀', 3, 'xy'), RPAD('abc', 2), LPAD('a', 3, ''), REPEAT('ab', -1)", "xy😀|ab|a|"),
    ]);
}

#[test]
fn texts_out_of_nothing_are_bounded() {
    for sql in [
        "SELECT REPEAT('abc', 1000000000)",
        "SELECT LPAD('a', 9223372036854775807, 'x')",
        "SELECT REPEAT(page, 100000000) FROM wiki",
    ] {
        assert!(failure(sql).to_string().contains("longer than 1048576 bytes"), "{sql}");
    }
}

#[test]
fn lists_of_a_row_stand_beside_it() {
    assert_eq!(
        rows(
            "SELECT w.added, u.part FROM wiki AS w CROSS JOIN UNNEST(STRING_TO_ARRAY(w.page, ':')) AS u(part) WHERE w.score = 0.5 ORDER BY w.__time, u.part"
        ),
        ["10|Oz", "10|Talk", "10|Oz"]
    );
    assert_eq!(
        rows(
            "SELECT part, COUNT(*) FROM wiki, UNNEST(STRING_TO_ARRAY(page, ':')) AS u(part) GROUP BY part ORDER BY 2 DESC, 1 LIMIT 1"
        ),
        ["Oz|4"]
    );
    assert_eq!(
        rows("SELECT COUNT(*), COUNT(part) FROM wiki LEFT JOIN UNNEST(STRING_TO_ARRAY(page, ':')) AS u(part) ON TRUE"),
        ["9|8"]
    );
    assert_eq!(rows("SELECT x FROM UNNEST(ARRAY[3, NULL, 1]) AS u(x)"), ["3", "null", "1"]);
    assert_eq!(
        rows("SELECT x FROM wiki AS w, UNNEST(ARRAY[w.added, 5]) AS u(x) WHERE w.score = 3.25 ORDER BY x"),
        ["5", "7"]
    );
}

#[test]
fn failures_of_types_are_plain_sentences_with_a_place() {
    for (sql, message, hint) in [
        ("SELECT ABS(ARRAY[1])", "argument 1 of ABS must be a number, not BIGINT ARRAY (line [1], column [8])", None),
        ("SELECT LOWER(1)", "LOWER does not take BIGINT (line [1], column [8])", None),
        (
            "SELECT ARRAY_LENGTH(city) FROM wiki",
            "argument 1 of ARRAY_LENGTH must be an ARRAY, not VARCHAR (line [1], column [8])",
            None,
        ),
        ("SELECT ROW(1, 2)", "No match found for function ROW (line [1], column [8])", None),
        ("SELECT MD5('a')", "No match found for function MD5 (line [1], column [8])", None),
        (
            "SELECT LOOKUP(city, 'names') FROM wiki",
            "Lookup [names] not found (line [1], column [8])",
            Some("no lookups"),
        ),
        (
            "SELECT INTERVAL '1' DAY AS d",
            "column \"d\" of the answer is of type INTERVAL, which cannot be shown",
            Some("add it to a TIMESTAMP"),
        ),
        (
            "SELECT __time - __time AS d FROM wiki",
            "column \"d\" of the answer is of type INTERVAL, which cannot be shown",
            Some("TIMESTAMPDIFF"),
        ),
        (
            "SELECT * FROM wiki, wiki",
            "two tables in FROM are called 'wiki' (line [1], column [21])",
            Some("wiki AS other"),
        ),
        (
            "SELECT * FROM wiki AS a NATURAL JOIN wiki AS b",
            "NATURAL JOIN is not supported (line [1], column [38])",
            Some("USING"),
        ),
        ("SELECT page, COUNT(*) FROM wiki", "Expression 'page' is not being grouped", Some("GROUP BY")),
        (
            "SELECT JSON_VALUE(page, 'a') FROM wiki",
            "JSON_VALUE: `a` is not a path: write $, $.name, $['name'] or $.list[0] (line [1], column [25])",
            None,
        ),
        ("SELECT EXTRACT(FORTNIGHT FROM __time) FROM wiki", "EXTRACT: `FORTNIGHT` is none of", None),
        ("SELECT x FROM wiki CROSS JOIN UNNEST(page) AS u(x)", "UNNEST takes an ARRAY", Some("MV_TO_ARRAY")),
    ] {
        let error = failure(sql);
        assert!(error.to_string().starts_with(message), "{sql}: {error}");
        if let Some(hint) = hint {
            assert!(error.hint().is_some_and(|h| h.contains(hint)), "{sql}: {:?}", error.hint());
        }
    }
}
