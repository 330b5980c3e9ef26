//! Values and headers of Druid's SQL endpoint, whole bodies as bytes (contract 1.2 to 1.4).

use std::sync::OnceLock;

use freshet_tests::cluster::{Answer, shared, unique};
use serde_json::{Value, json};

fn ask(body: &Value) -> Answer {
    shared().sql_request(body)
}

/// The body of an answer with 200. `extra` are fields of the request.
#[track_caller]
fn text(query: &str, extra: Value) -> String {
    let mut body = json!({"query": query});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let answer = ask(&body);
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.text()
}

/// The only row, in `array` format.
#[track_caller]
fn row(query: &str, context: Value) -> String {
    text(query, json!({"resultFormat": "array", "context": context}))
}

fn parameter(sql_type: &str, value: Value) -> Value {
    json!({"type": sql_type, "value": value})
}

/// Native and SQL types of one column.
#[track_caller]
fn types(query: &str, parameters: Value) -> (String, String) {
    let body = json!({"resultFormat": "array", "header": true, "typesHeader": true, "sqlTypesHeader": true, "parameters": parameters});
    let rows: Value = serde_json::from_str(&text(query, body)).unwrap();
    (rows[1][0].as_str().unwrap().to_owned(), rows[2][0].as_str().unwrap().to_owned())
}

/// Three rows, `id` 1 to 3.
fn table() -> &'static str {
    static TABLE: OnceLock<String> = OnceLock::new();
    TABLE.get_or_init(|| {
        let table = unique("values");
        let row = |id: i64, name: &str| json!({"ts": "2026-01-01T00:00:00Z", "id": id, "name": name});
        shared().push(&table, &[row(1, "a"), row(2, "b\\"), row(3, "é\"😀")]);
        table
    })
}

/// Five formats, no, one and three rows, without a header and with its four combinations of flags: 75 bodies, each made here from the rules of
/// section 1.3 alone.
#[test]
fn every_format_with_every_header_and_any_number_of_rows() {
    let names = ["id", "name"];
    let kinds = [["LONG", "STRING"], ["BIGINT", "VARCHAR"]];
    // As JSON in arrays, in objects, and as csv.
    let all = [
        ["1", "\"a\"", "\"a\"", "a"],
        ["2", "\"b\\\\\"", "\"b\\u005c\"", "b\\"],
        ["3", "\"é\\\"😀\"", "\"é\\\"😀\"", "\"é\"\"😀\""],
    ];
    let mut checked = 0;
    for count in [0_usize, 1, 3] {
        let sql = format!("SELECT id, name FROM {} WHERE id <= {count} ORDER BY id", table());
        for (types, sql_types) in [(false, false), (true, false), (false, true), (true, true)] {
            for header in [false, true] {
                if !header && (types || sql_types) {
                    continue;
                }
                let wanted: Vec<usize> =
                    [(types, 0), (sql_types, 1)].iter().filter(|(on, _)| *on).map(|(_, i)| *i).collect();
                let mut lines: Vec<[String; 3]> = Vec::new();
                if header {
                    let cell = |column: usize| {
                        let pairs: Vec<String> = wanted
                            .iter()
                            .map(|kind| format!("\"{}\":\"{}\"", ["type", "sqlType"][*kind], kinds[*kind][column]))
                            .collect();
                        if pairs.is_empty() { "null".to_owned() } else { format!("{{{}}}", pairs.join(",")) }
                    };
                    let object = format!("{{\"id\":{},\"name\":{}}}", cell(0), cell(1));
                    lines.push([object, format!("[\"{}\",\"{}\"]", names[0], names[1]), names.join(",")]);
                    for kind in &wanted {
                        let [a, b] = kinds[*kind];
                        lines.push([String::new(), format!("[\"{a}\",\"{b}\"]"), format!("{a},{b}")]);
                    }
                }
                for [id, array, object, csv] in &all[..count] {
                    lines.push([
                        format!("{{\"id\":{id},\"name\":{object}}}"),
                        format!("[{id},{array}]"),
                        format!("{id},{csv}"),
                    ]);
                }
                let of = |form: usize| {
                    lines.iter().map(|line| line[form].as_str()).filter(|l| !l.is_empty()).collect::<Vec<_>>()
                };
                let joined = |form: usize| format!("[{}]\n", of(form).join(","));
                let lined = |form: usize, none: &str| {
                    if of(form).is_empty() { none.to_owned() } else { format!("{}\n\n", of(form).join("\n")) }
                };
                for (format, expected) in [
                    ("object", joined(0)),
                    ("array", joined(1)),
                    ("objectLines", lined(0, "\n\n")),
                    ("arrayLines", lined(1, "\n\n")),
                    ("csv", lined(2, "\n")),
                ] {
                    for name in [format.to_owned(), format.to_uppercase(), format.to_lowercase()] {
                        let extra = json!({"resultFormat": name, "header": header, "typesHeader": types, "sqlTypesHeader": sql_types});
                        assert_eq!(text(&sql, extra), expected, "{name}, {count} rows, {header} {types} {sql_types}");
                    }
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 3 * 5 * 5);
}

#[test]
fn numbers_are_javas() {
    assert_eq!(
        row("SELECT 9223372036854775807, -9223372036854775808, 9007199254740993, 0, -1", json!({})),
        "[[9223372036854775807,-9223372036854775808,9007199254740993,0,-1]]\n"
    );
    let doubles = "1e0, 1.0E10, 1.0E-5, 1e7, 9999999.0, 0.001, 0.00099, 100.0, 0.1, 123456.789e3, 1.7976931348623157E308, 5e-324, 2.5E-323";
    assert_eq!(
        row(&format!("SELECT {doubles}"), json!({})),
        "[[1.0,1.0E10,1.0E-5,1.0E7,9999999.0,0.001,9.9E-4,100.0,0.1,1.23456789E8,1.7976931348623157E308,4.9E-324,2.5E-323]]\n"
    );
    assert_eq!(
        row(
            "SELECT CAST(0.1 AS FLOAT), CAST(16777217 AS FLOAT), CAST(1 AS FLOAT), CAST(3.4028235E38 AS FLOAT), CAST(1.4E-45 AS FLOAT)",
            json!({})
        ),
        "[[0.1,1.6777216E7,1.0,3.4028235E38,1.4E-45]]\n"
    );
    assert_eq!(row("SELECT CAST('-0.0' AS DOUBLE), 0e0, -5.5", json!({})), "[[-0.0,0.0,-5.5]]\n");
    assert_eq!(
        row("SELECT 1e0 / 0, -1e0 / 0, CAST('NaN' AS DOUBLE), ARRAY[1e0 / 0]", json!({"sqlStringifyArrays": false})),
        "[[\"Infinity\",\"-Infinity\",\"NaN\",[\"Infinity\"]]]\n"
    );
    assert_eq!(
        text("SELECT 1e0 / 0, CAST('NaN' AS DOUBLE), 1.0E10, TRUE, NULL, ''", json!({"resultFormat": "csv"})),
        "Infinity,NaN,1.0E10,true,,\n\n"
    );
}

#[test]
fn comparisons_are_booleans() {
    let t = table();
    assert_eq!(
        text(
            &format!("SELECT COUNT(*) > 0 AS a, COUNT(*) = 7 AS b, NULL = 1 AS c, NOT (1 = 1) AS d FROM {t}"),
            json!({})
        ),
        "[{\"a\":true,\"b\":false,\"c\":null,\"d\":false}]\n"
    );
}

#[test]
fn times_are_written_in_the_zone_with_its_offset_of_that_moment() {
    let in_zone = |zone: &str, sql: &str| row(sql, json!({"sqlTimeZone": zone}));
    let moment = "SELECT MILLIS_TO_TIMESTAMP(1442018818771)";
    assert_eq!(in_zone("UTC", moment), "[[\"2015-09-12T00:46:58.771Z\"]]\n");
    assert_eq!(in_zone("Etc/UTC", moment), "[[\"2015-09-12T00:46:58.771Z\"]]\n");
    assert_eq!(in_zone("America/Los_Angeles", moment), "[[\"2015-09-11T17:46:58.771-07:00\"]]\n");
    assert_eq!(in_zone("Asia/Kolkata", moment), "[[\"2015-09-12T06:16:58.771+05:30\"]]\n");
    assert_eq!(in_zone("+05:30", moment), "[[\"2015-09-12T06:16:58.771+05:30\"]]\n");
    assert_eq!(in_zone("-03:30", moment), "[[\"2015-09-11T21:16:58.771-03:30\"]]\n");
    // The night of 29 March 2026: 01:59:59.999+01:00 is followed by 03:00:00.000+02:00; on 25 October an hour comes twice.
    assert_eq!(
        in_zone("Europe/Zurich", "SELECT MILLIS_TO_TIMESTAMP(1774745999999), MILLIS_TO_TIMESTAMP(1774746000000)"),
        "[[\"2026-03-29T01:59:59.999+01:00\",\"2026-03-29T03:00:00.000+02:00\"]]\n"
    );
    assert_eq!(
        in_zone("Europe/Zurich", "SELECT MILLIS_TO_TIMESTAMP(1792886400000), MILLIS_TO_TIMESTAMP(1792890000000)"),
        "[[\"2026-10-25T02:00:00.000+02:00\",\"2026-10-25T02:00:00.000+01:00\"]]\n"
    );
    // Before 1853 Zürich had its own time, to the second.
    assert_eq!(
        in_zone("Europe/Zurich", "SELECT TIMESTAMP '1800-01-01 00:00:00'"),
        "[[\"1800-01-01T00:00:00.000+00:34:08\"]]\n"
    );
    assert_eq!(
        row(
            "SELECT TIMESTAMP '0999-12-31 23:59:59.999', TIMESTAMP '0001-01-01', MILLIS_TO_TIMESTAMP(253402300800000), MILLIS_TO_TIMESTAMP(-62198755200000)",
            json!({})
        ),
        "[[\"0999-12-31T23:59:59.999Z\",\"0001-01-01T00:00:00.000Z\",\"10000-01-01T00:00:00.000Z\",\"-0001-01-01T00:00:00.000Z\"]]\n"
    );
    assert_eq!(
        in_zone("America/Los_Angeles", "SELECT DATE '2015-09-12', CAST(MILLIS_TO_TIMESTAMP(1442018818771) AS DATE)"),
        "[[\"2015-09-12T00:00:00.000-07:00\",\"2015-09-11T00:00:00.000-07:00\"]]\n"
    );
    assert_eq!(
        text("SELECT MILLIS_TO_TIMESTAMP(0)", json!({"resultFormat": "csv", "context": {"sqlTimeZone": "Asia/Tokyo"}})),
        "1970-01-01T09:00:00.000+09:00\n\n"
    );
}

#[test]
fn arrays_are_one_string_or_arrays() {
    let sql = "SELECT ARRAY[1,2,NULL] AS a, ARRAY['x\"','\\'] AS b, ARRAY[1.5,2] AS c, ARRAY[ARRAY[1],ARRAY[2,3]] AS d, ARRAY[TRUE] AS e";
    assert_eq!(
        text(sql, json!({})),
        "[{\"a\":\"[1,2,null]\",\"b\":\"[\\\"x\\u005c\\\"\\\",\\\"\\u005c\\u005c\\\"]\",\"c\":\"[1.5,2.0]\",\"d\":\"[[1],[2,3]]\",\"e\":\"[true]\"}]\n"
    );
    assert_eq!(
        text(sql, json!({"resultFormat": "array"})),
        "[[\"[1,2,null]\",\"[\\\"x\\\\\\\"\\\",\\\"\\\\\\\\\\\"]\",\"[1.5,2.0]\",\"[[1],[2,3]]\",\"[true]\"]]\n"
    );
    let open = json!({"sqlStringifyArrays": false});
    assert_eq!(row(sql, open.clone()), "[[[1,2,null],[\"x\\\"\",\"\\\\\"],[1.5,2.0],[[1],[2,3]],[true]]]\n");
    assert_eq!(
        text(sql, json!({"context": open})),
        "[{\"a\":[1,2,null],\"b\":[\"x\\\"\",\"\\u005c\"],\"c\":[1.5,2.0],\"d\":[[1],[2,3]],\"e\":[true]}]\n"
    );
    assert_eq!(
        text("SELECT ARRAY[1,2], ARRAY['a\"']", json!({"resultFormat": "csv"})),
        "\"[1,2]\",\"[\"\"a\\\"\"\"\"]\"\n\n"
    );
    assert_eq!(types("SELECT ARRAY[1]", json!([])), ("ARRAY<LONG>".to_owned(), "ARRAY".to_owned()));
    assert_eq!(types("SELECT ARRAY['a']", json!([])), ("ARRAY<STRING>".to_owned(), "ARRAY".to_owned()));
    assert_eq!(types("SELECT ARRAY[1.5]", json!([])), ("ARRAY<DOUBLE>".to_owned(), "ARRAY".to_owned()));
}

/// Nested JSON is a column of its own type, and its text in an answer.
#[test]
fn json_columns_are_their_text() {
    let table = unique("nested");
    shared().push(&table, &[json!({"ts": 1, "j": {"a": [1, {"b": "x\\"}]}})]);
    let sql = format!("SELECT j FROM {table}");
    assert_eq!(types(&sql, json!([])), ("COMPLEX<json>".to_owned(), "OTHER".to_owned()));
    let body: Value = serde_json::from_str(&text(&sql, json!({}))).unwrap();
    let inner: Value = serde_json::from_str(body[0]["j"].as_str().expect("a string that holds JSON")).unwrap();
    assert_eq!(inner, json!({"a": [1, {"b": "x\\"}]}));
}

#[test]
fn types_of_literals_and_parameters() {
    let of = |sql: &str, native: &str, sql_type: &str| {
        assert_eq!(types(&format!("SELECT {sql}"), json!([])), (native.to_owned(), sql_type.to_owned()), "{sql}");
    };
    of("1", "LONG", "INTEGER");
    of("-1", "LONG", "INTEGER");
    of("5000000000", "LONG", "BIGINT");
    of("1.5", "DOUBLE", "DECIMAL");
    of("1e3", "DOUBLE", "DOUBLE");
    of("'x'", "STRING", "CHAR");
    of("NULL", "STRING", "NULL");
    of("TRUE", "LONG", "BOOLEAN");
    of("1 = 1", "LONG", "BOOLEAN");
    of("COUNT(*)", "LONG", "BIGINT");
    of("CAST(1 AS INTEGER)", "LONG", "INTEGER");
    of("CAST(1 AS DOUBLE)", "DOUBLE", "DOUBLE");
    of("CAST(1 AS FLOAT)", "FLOAT", "FLOAT");
    of("CAST(1 AS VARCHAR)", "STRING", "VARCHAR");
    of("TIMESTAMP '2020-01-01'", "LONG", "TIMESTAMP");
    of("DATE '2020-01-01'", "LONG", "DATE");
    for (sql_type, native) in [
        ("VARCHAR", "STRING"),
        ("BIGINT", "LONG"),
        ("INTEGER", "LONG"),
        ("DOUBLE", "DOUBLE"),
        ("BOOLEAN", "LONG"),
        ("TIMESTAMP", "LONG"),
        ("DATE", "LONG"),
    ] {
        let nothing = json!([parameter(sql_type, Value::Null)]);
        assert_eq!(types("SELECT ?", nothing.clone()), (native.to_owned(), sql_type.to_owned()), "null {sql_type}");
        assert_eq!(text("SELECT ? AS a", json!({ "parameters": nothing })), "[{\"a\":null}]\n", "{sql_type}");
    }
}

#[test]
fn parameters_of_every_type() {
    let bound = |sql_type: &str, value: Value| {
        text(
            "SELECT ? AS a",
            json!({"resultFormat": "array", "parameters": [parameter(sql_type, value)], "context": {"sqlTimeZone": "Asia/Tokyo"}}),
        )
    };
    assert_eq!(bound("VARCHAR", json!("it's ? \\ é")), "[[\"it's ? \\\\ é\"]]\n");
    assert_eq!(bound("varchar", json!(5)), "[[\"5\"]]\n");
    assert_eq!(bound("BIGINT", json!(i64::MAX)), "[[9223372036854775807]]\n");
    assert_eq!(bound("BIGINT", json!(i64::MIN)), "[[-9223372036854775808]]\n");
    assert_eq!(bound("BIGINT", json!("12")), "[[12]]\n");
    assert_eq!(bound("INTEGER", json!(-3)), "[[-3]]\n");
    assert_eq!(bound("DOUBLE", json!(1)), "[[1.0]]\n");
    assert_eq!(bound("DOUBLE", json!(-1e300)), "[[-1.0E300]]\n");
    assert_eq!(bound("BOOLEAN", json!(true)), "[[true]]\n");
    assert_eq!(bound("BOOLEAN", json!("FALSE")), "[[false]]\n");
    // Three spellings of an instant; a text without zone is in sqlTimeZone.
    for value in [
        json!(1_442_018_818_771_i64),
        json!("2015-09-12T00:46:58.771Z"),
        json!("2015-09-12 09:46:58.771"),
        json!("2015-09-12T09:46:58.771"),
    ] {
        assert_eq!(bound("TIMESTAMP", value.clone()), "[[\"2015-09-12T09:46:58.771+09:00\"]]\n", "{value}");
    }
    assert_eq!(bound("DATE", json!("2015-09-12")), "[[\"2015-09-12T00:00:00.000+09:00\"]]\n");
    assert_eq!(bound("ARRAY", json!(["a", null, "b\""])), "[[\"[\\\"a\\\",null,\\\"b\\\\\\\"\\\"]\"]]\n");
    assert_eq!(bound("ARRAY", json!([1, -2])), "[[\"[1,-2]\"]]\n");
    assert_eq!(bound("ARRAY", json!([-1.5, 1e10])), "[[\"[-1.5,1.0E10]\"]]\n");
    for (sql_type, value) in [
        ("BIGINT", json!(1.5)),
        ("BIGINT", json!("x")),
        ("BOOLEAN", json!(1)),
        ("TIMESTAMP", json!("yesterday")),
        ("TIMESTAMP", json!(true)),
        ("DOUBLE", json!("one")),
        ("ARRAY", json!(1)),
        ("VARCHAR", json!([1])),
        ("VARCHAR", json!({"a": 1})),
        ("POINT", json!(1)),
    ] {
        let answer = ask(&json!({"query": "SELECT ?", "parameters": [parameter(sql_type, value.clone())]}));
        assert!(answer.expect_error(400).contains("parameter"), "{sql_type} {value}: {}", answer.text());
    }
}

/// The texts of Metabase's JDBC driver, a date-time sent as text included (contract 2.5).
#[test]
fn what_metabase_sends_is_answered() {
    let t = table();
    assert_eq!(text(&format!("SELECT TRUE AS \"_\" FROM \"druid\".\"{t}\" WHERE 1 <> 1 LIMIT 0"), json!({})), "[]\n");
    assert_eq!(
        text(&format!("SELECT * FROM \"druid\".\"{t}\" WHERE 1 <> 1 LIMIT 0"), json!({"header": true})),
        "[{\"__time\":null,\"id\":null,\"name\":null}]\n"
    );
    assert_eq!(
        text(
            &format!(
                "SELECT \"id\", substring(\"name\", 1, 1234) AS \"substring2\" FROM \"druid\".\"{t}\" ORDER BY \"id\" ASC LIMIT 1"
            ),
            json!({})
        ),
        "[{\"id\":1,\"substring2\":\"a\"}]\n"
    );
    let count = |value: &str| {
        text(
            &format!("SELECT COUNT(*) AS \"count\" FROM \"druid\".\"{t}\" WHERE \"druid\".\"{t}\".\"__time\" >= ?"),
            json!({"parameters": [parameter("VARCHAR", json!(value))]}),
        )
    };
    assert_eq!(
        (count("2026-01-01 00:00:00"), count("2026-01-01 00:00:01")),
        ("[{\"count\":3}]\n".to_owned(), "[{\"count\":0}]\n".to_owned())
    );
    assert_eq!(
        text(
            "SELECT TIMESTAMPADD(day, CAST(-30 AS integer), TIMESTAMP '2015-09-12 00:00:00') AS a, TIMESTAMPADD(\"day\", 1, TIMESTAMP '2015-09-12 00:00:00') AS b",
            json!({})
        ),
        "[{\"a\":\"2015-08-13T00:00:00.000Z\",\"b\":\"2015-09-13T00:00:00.000Z\"}]\n"
    );
    assert_eq!(
        text(
            &format!(
                "SELECT DATE_TRUNC('month', \"druid\".\"{t}\".\"__time\") AS \"__time\", COUNT(*) AS \"count\" FROM \"druid\".\"{t}\" GROUP BY DATE_TRUNC('month', \"druid\".\"{t}\".\"__time\") ORDER BY DATE_TRUNC('month', \"druid\".\"{t}\".\"__time\") ASC"
            ),
            json!({})
        ),
        "[{\"__time\":\"2026-01-01T00:00:00.000Z\",\"count\":3}]\n"
    );
    assert_eq!(
        text(
            &format!(
                "SELECT SUM(CASE WHEN \"source\".\"id\" > 1 THEN 1 ELSE 0.0 END) AS \"n\" FROM (SELECT * FROM \"druid\".\"{t}\") AS \"source\""
            ),
            json!({})
        ),
        "[{\"n\":2.0}]\n"
    );
}

#[test]
fn what_no_format_can_hold_is_refused_before_the_first_byte() {
    for sql in
        ["SELECT MAP('a', 1) AS m", "SELECT STRUCT(1, 2)", "SELECT INTERVAL '1' DAY", "SELECT ARRAY[INTERVAL '1' DAY]"]
    {
        for format in ["object", "array", "objectLines", "arrayLines", "csv", "arrow"] {
            let answer = ask(&json!({"query": sql, "resultFormat": format}));
            // A function may be unknown; what matters is that no answer breaks off.
            let said = answer.expect_error(400);
            assert!(said.contains("which cannot be shown") || said.contains("No match found"), "{sql}: {said}");
        }
    }
}
