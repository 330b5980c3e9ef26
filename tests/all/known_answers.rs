//! The known answers of the tutorial's Wikipedia edits, asked of a real server over HTTP: with the rows growing, sealed and half of
//! each, and all of them again after a kill.
//!
//! The numbers are those of the table of known answers: some are printed in Druid's public tutorial, all were computed with DuckDB
//! 2.0.0. The bounds of the quantiles are the exact ones two ranks in a hundred below and above, computed the same way. A number
//! without an entry here is a failure.

use std::collections::BTreeSet;
use std::io::Read;

use freshet_tests::cluster::{Server, Setup, unique};
use freshet_tests::services;
use serde_json::{Map, Value, json};

const NUMBERS: u32 = 35;
/// Lines of one push.
const PUSH_LINES: usize = 6_000;
/// Leaves what is not published in memory and in the journal.
const SEAL_NEVER: [&str; 6] =
    ["--seal-rows-max", "1000000000", "--seal-age-ms-max", "86400000", "--seal-bytes-max", "100000000000"];
const LOS_ANGELES: &str = "America/Los_Angeles";

/// How an answer has to agree.
enum Answer {
    /// These rows in this order; doubles may differ in their last digits, by the order of a sum.
    Rows(Value),
    /// These first rows, and each row after them has this in its last column.
    Leaders(Value, i64),
    /// One row of numbers, each within so many hundredths.
    Within(f64, Value),
    /// One row of numbers, each between two.
    Between(Vec<(f64, f64)>),
}
use Answer::{Between, Leaders, Rows, Within};

struct Known {
    number: u32,
    sql: &'static str,
    context: Value,
    answer: Answer,
}

fn known(number: u32, sql: &'static str, answer: Answer) -> Known {
    Known { number, sql, context: json!({}), answer }
}

fn known_in(number: u32, context: Value, sql: &'static str, answer: Answer) -> Known {
    Known { number, sql, context, answer }
}

/// One column of numbers.
fn column(numbers: &str) -> Value {
    numbers.split_whitespace().map(|n| json!([n.parse::<i64>().unwrap()])).collect()
}

fn counts_and_times() -> Vec<Known> {
    let hours = "1761 16208 14543 13101 12040 6399 9036 11409 11616 17509 19406 16284 18672 30520 18025 26399 24759 19634 17345 \
                 19305 22265 16394 16379 15289";
    let edits = "268 1144 1102 815 824 1260 2120 2237 1622 1704 1792 1624 1709 2073 1873 1965 1959 2300 2170 2013 1832 1766 1590 1482";
    let bounds = json!([["2015-09-12T00:46:58.771Z", "2015-09-12T23:59:59.200Z"]]);
    vec![
        known(1, "SELECT COUNT(*) FROM wikipedia", Rows(json!([[39_244]]))),
        known(2, "SELECT MIN(__time), MAX(__time) FROM wikipedia", Rows(bounds.clone())),
        known(
            3,
            "SELECT SUM(added), SUM(deleted), SUM(delta) FROM wikipedia",
            Rows(json!([[9_385_573, 394_298, 8_991_275]])),
        ),
        known(
            6,
            "SELECT SUM(deleted) FROM wikipedia GROUP BY FLOOR(__time TO HOUR) ORDER BY FLOOR(__time TO HOUR)",
            Rows(column(hours)),
        ),
        known(
            7,
            "SELECT COUNT(*) FROM wikipedia GROUP BY EXTRACT(HOUR FROM __time) ORDER BY EXTRACT(HOUR FROM __time)",
            Rows(column(edits)),
        ),
        known(
            25,
            "SELECT COUNT(*) FROM wikipedia WHERE __time >= TIMESTAMP '2015-09-12 12:00:00' AND __time < TIMESTAMP '2015-09-12 13:00:00'",
            Rows(json!([[1_709]])),
        ),
        known_in(
            26,
            json!({"sqlTimeZone": LOS_ANGELES}),
            "SELECT FLOOR(__time TO DAY), COUNT(*) FROM wikipedia GROUP BY 1 ORDER BY 1",
            Rows(json!([["2015-09-11T00:00:00.000-07:00", 7_533], ["2015-09-12T00:00:00.000-07:00", 31_711]])),
        ),
        known(
            27,
            "SELECT DISTINCT FLOOR(__time TO WEEK), FLOOR(__time TO MONTH), TIME_FLOOR(CAST(__time AS TIMESTAMP), 'P3M'), \
             TIME_SHIFT(TIME_FLOOR(TIME_SHIFT(CAST(__time AS TIMESTAMP), 'P1D', 1), 'P1W'), 'P1D', 5), \
             TIME_SHIFT(TIME_FLOOR(TIME_SHIFT(CAST(__time AS TIMESTAMP), 'P1D', 1), 'P1W'), 'P1D', -1) FROM wikipedia",
            Rows(json!([[
                "2015-09-07T00:00:00.000Z",
                "2015-09-01T00:00:00.000Z",
                "2015-07-01T00:00:00.000Z",
                "2015-09-12T00:00:00.000Z",
                "2015-09-06T00:00:00.000Z"
            ]])),
        ),
        known(28, "SELECT EXTRACT(DOW FROM __time), COUNT(*) FROM wikipedia GROUP BY 1", Rows(json!([[6, 39_244]]))),
        known(35, "SELECT MIN(__time) AS minTime, MAX(__time) AS maxTime FROM wikipedia", Rows(bounds)),
    ]
}

fn leaders() -> Vec<Known> {
    let day = "SELECT page, COUNT(*) AS Edits FROM wikipedia WHERE __time >= TIMESTAMP '2015-09-12 00:00:00' \
               AND __time < TIMESTAMP '2015-09-13 00:00:00' GROUP BY page ORDER BY Edits DESC LIMIT 10";
    vec![
        known(
            4,
            day,
            Rows(json!([
                ["Wikipedia:Vandalismusmeldung", 33],
                ["User:Cyde/List of candidates for speedy deletion/Subpage", 28],
                ["Jeremy Corbyn", 27],
                ["Wikipedia:Administrators' noticeboard/Incidents", 21],
                ["Flavia Pennetta", 20],
                ["Total Drama Presents: The Ridonculous Race", 18],
                ["User talk:Dudeperson176123", 18],
                ["Wikipédia:Le Bistro/12 septembre 2015", 18],
                ["Wikipedia:In the news/Candidates", 17],
                ["Wikipedia:Requests for page protection", 17]
            ])),
        ),
        known(
            5,
            "SELECT page, COUNT(*) AS Edits FROM wikipedia GROUP BY page ORDER BY Edits DESC LIMIT 2 OFFSET 10",
            Rows(json!([
                ["Utente:Giulio Mainardi/Sandbox", 16],
                ["Wikipedia:Administrator intervention against vandalism", 16]
            ])),
        ),
        known(
            8,
            "SELECT channel, page, SUM(added) FROM wikipedia GROUP BY channel, page ORDER BY SUM(added) DESC LIMIT 5",
            Rows(json!([
                ["#en.wikipedia", "User:QuackGuru/Electronic cigarettes 1", 199_818],
                ["#ru.wikipedia", "Обсуждение участника:पाणिनि/Архив-5", 102_719],
                ["#es.wikipedia", "Campeche", 94_187],
                ["#fr.wikipedia", "Équipe de Pologne de football à la Coupe du monde 1986", 92_182],
                ["#ru.wikipedia", "Адвокат", 89_385]
            ])),
        ),
        known(
            9,
            "SELECT page, countryName, COUNT(*) AS c FROM wikipedia WHERE countryName IS NOT NULL GROUP BY 1, 2 ORDER BY c DESC LIMIT 6",
            Leaders(
                json!([
                    ["Constructive vote of no confidence", "Croatia", 10],
                    ["The Naked Brothers Band (TV series)", "United States", 10],
                    ["Radio Galega", "Germany", 7]
                ]),
                6,
            ),
        ),
        known(
            10,
            "SELECT channel, COUNT(*) FROM wikipedia GROUP BY channel ORDER BY COUNT(*) DESC LIMIT 6",
            Rows(json!([
                ["#en.wikipedia", 11_549],
                ["#vi.wikipedia", 9_747],
                ["#de.wikipedia", 2_523],
                ["#fr.wikipedia", 2_099],
                ["#ru.wikipedia", 1_386],
                ["#it.wikipedia", 1_383]
            ])),
        ),
        known(
            11,
            "SELECT channel, SUM(added) FROM wikipedia GROUP BY channel ORDER BY SUM(added) DESC LIMIT 5",
            Rows(json!([
                ["#en.wikipedia", 3_045_299],
                ["#it.wikipedia", 711_011],
                ["#fr.wikipedia", 642_555],
                ["#ru.wikipedia", 640_698],
                ["#es.wikipedia", 634_670]
            ])),
        ),
        known(
            16,
            "SELECT user, COUNT(*) FROM wikipedia GROUP BY user ORDER BY COUNT(*) DESC LIMIT 3",
            Rows(json!([["TuanminhBot", 3_385], ["ThitxongkhoiAWB", 2_036], ["TuanUt-Bot!", 1_792]])),
        ),
        known(
            17,
            "SELECT namespace, COUNT(*) FROM wikipedia GROUP BY namespace ORDER BY COUNT(*) DESC LIMIT 5",
            Rows(json!([["Main", 31_548], ["Wikipedia", 1_153], ["User talk", 1_064], ["User", 837], ["Talk", 587]])),
        ),
        known(
            18,
            "SELECT countryName, COUNT(*) AS c FROM wikipedia WHERE countryName IS NOT NULL GROUP BY countryName HAVING COUNT(*) > 190 \
             ORDER BY c DESC",
            Rows(json!([
                ["United States", 528],
                ["Italy", 256],
                ["United Kingdom", 234],
                ["France", 205],
                ["Russia", 194]
            ])),
        ),
        known(
            19,
            "SELECT cityName, COUNT(*) FROM wikipedia GROUP BY cityName ORDER BY COUNT(*) DESC LIMIT 5",
            Rows(json!([[null, 37_091], ["Central District", 45], ["Tokyo", 45], ["Taipei", 37], ["Moscow", 35]])),
        ),
        known(
            20,
            "SELECT cityName FROM wikipedia GROUP BY cityName ORDER BY cityName ASC LIMIT 4",
            Rows(json!([[null], ["A Coruña"], ["Aarhus"], ["Aberdare"]])),
        ),
    ]
}

fn values_and_filters() -> Vec<Known> {
    let distinct = json!([35_143, 10_531, 51, 1_005, 113, 265, 92]);
    vec![
        known_in(
            12,
            json!({"useApproximateCountDistinct": false}),
            "SELECT COUNT(DISTINCT page), COUNT(DISTINCT \"user\"), COUNT(DISTINCT channel), COUNT(DISTINCT cityName), \
             COUNT(DISTINCT countryName), COUNT(DISTINCT namespace), COUNT(DISTINCT metroCode) FROM wikipedia",
            Rows(json!([distinct])),
        ),
        known(
            12,
            "SELECT COUNT(DISTINCT page), COUNT(DISTINCT \"user\"), COUNT(DISTINCT channel), COUNT(DISTINCT cityName), \
             COUNT(DISTINCT countryName), COUNT(DISTINCT namespace), COUNT(DISTINCT metroCode) FROM wikipedia",
            Within(5.0, distinct.clone()),
        ),
        known(
            12,
            "SELECT APPROX_COUNT_DISTINCT(page), APPROX_COUNT_DISTINCT(\"user\"), APPROX_COUNT_DISTINCT(channel), \
             APPROX_COUNT_DISTINCT(cityName), APPROX_COUNT_DISTINCT(countryName), APPROX_COUNT_DISTINCT(namespace), \
             APPROX_COUNT_DISTINCT(metroCode) FROM wikipedia",
            Within(5.0, distinct),
        ),
        known(
            13,
            "SELECT COUNT(*) - COUNT(cityName), COUNT(*) FILTER (WHERE countryName IS NULL), SUM(CASE WHEN metroCode IS NULL THEN 1 ELSE 0 \
             END), COUNT(*) - COUNT(regionName), COUNT(*) - COUNT(regionIsoCode) FROM wikipedia",
            Rows(json!([[37_091, 35_445, 38_817, 37_144, 37_207]])),
        ),
        known(14, "SELECT COUNT(*) FROM wikipedia WHERE cityName = 'Rome'", Rows(json!([[9]]))),
        known(14, "SELECT COUNT(*) FROM wikipedia WHERE cityName <> 'Rome'", Rows(json!([[2_144]]))),
        known(14, "SELECT COUNT(*) FROM wikipedia WHERE cityName IS DISTINCT FROM 'Rome'", Rows(json!([[39_235]]))),
        known(
            15,
            "SELECT isRobot, COUNT(*), SUM(added) FILTER (WHERE isRobot = 'true') FROM wikipedia GROUP BY isRobot ORDER BY isRobot",
            Rows(json!([["false", 23_824, null], ["true", 15_420, 1_756_126]])),
        ),
        known(
            21,
            "SELECT AVG(added), SUM(added)/COUNT(*) FROM wikipedia",
            Rows(json!([[239.159_438_385_485_69, 239]])),
        ),
        known(
            22,
            "SELECT MIN(added), MAX(added), MIN(delta), MAX(delta), MAX(deleted) FROM wikipedia",
            Rows(json!([[0, 199_818, -500, 199_818, 500]])),
        ),
        known(23, "SELECT COUNT(*) FROM wikipedia WHERE page LIKE '%Talk%'", Rows(json!([[591]]))),
        known(23, "SELECT COUNT(*) FROM wikipedia WHERE LOWER(page) LIKE '%talk%'", Rows(json!([[1_891]]))),
        known(
            24,
            "SELECT COUNT(*) FROM wikipedia WHERE channel IN ('#en.wikipedia','#fr.wikipedia')",
            Rows(json!([[13_648]])),
        ),
        known(
            29,
            "SELECT APPROX_QUANTILE_DS(added, 0.5), APPROX_QUANTILE_DS(added, 0.95), APPROX_QUANTILE_DS(added, 0.99) FROM wikipedia",
            // The exact ones are 18, 934 and 3807.84.
            Between(vec![(18.0, 18.0), (626.0, 1_531.0), (1_531.0, 199_818.0)]),
        ),
        known(
            30,
            "SELECT STDDEV_SAMP(added), VAR_POP(deleted) FROM wikipedia",
            Rows(json!([[1_975.492_856_331_263_3, 2_022.013_251_282_492_3]])),
        ),
        known(
            31,
            "SELECT COUNT(*) FROM (SELECT channel, page FROM wikipedia GROUP BY channel, page)",
            Rows(json!([[35_278]])),
        ),
        known(
            31,
            "SELECT COUNT(*) FROM (SELECT 1 FROM wikipedia GROUP BY FLOOR(__time TO HOUR), channel, namespace, isRobot)",
            Rows(json!([[3_282]])),
        ),
        known(
            32,
            "SELECT channel, isRobot, COUNT(*), GROUPING(channel, isRobot) FROM wikipedia WHERE channel IN ('#en.wikipedia', \
             '#vi.wikipedia') GROUP BY GROUPING SETS ((channel, isRobot), (channel), ()) ORDER BY 4, 1, 2",
            Rows(json!([
                ["#en.wikipedia", "false", 10_467, 0],
                ["#en.wikipedia", "true", 1_082, 0],
                ["#vi.wikipedia", "false", 89, 0],
                ["#vi.wikipedia", "true", 9_658, 0],
                ["#en.wikipedia", null, 11_549, 1],
                ["#vi.wikipedia", null, 9_747, 1],
                [null, null, 21_296, 3]
            ])),
        ),
        known(
            33,
            "SELECT __time, channel, page, added, deleted, isMinor FROM wikipedia WHERE user = 'BlueMoon2662'",
            Rows(json!([[
                "2015-09-12T00:47:53.259Z",
                "#ja.wikipedia",
                "アルビレックス新潟の年度別成績一覧",
                14,
                0,
                "true"
            ]])),
        ),
        known_in(
            33,
            json!({"sqlTimeZone": LOS_ANGELES}),
            "SELECT __time FROM wikipedia WHERE user = 'BlueMoon2662'",
            Rows(json!([["2015-09-11T17:47:53.259-07:00"]])),
        ),
        known(34, "SELECT MAX(LENGTH(page)) FROM wikipedia", Rows(json!([[180]]))),
    ]
}

fn all() -> Vec<Known> {
    let all: Vec<Known> = counts_and_times().into_iter().chain(leaders()).chain(values_and_filters()).collect();
    let numbers: BTreeSet<u32> = all.iter().map(|known| known.number).collect();
    assert_eq!(numbers, (1..=NUMBERS).collect(), "every number has an entry");
    all
}

/// The edits as the tutorial stores them: JSON's booleans and the metro code are texts.
pub(crate) fn edits() -> Vec<String> {
    let file = std::fs::File::open(services::fixture("wikiticker-2015-09-12-sampled.json.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let stored = |line: &str| {
        let mut row: Map<String, Value> = serde_json::from_str(line).unwrap();
        for (name, value) in &mut row {
            if value.is_boolean() || (name == "metroCode" && value.is_number()) {
                *value = Value::String(value.to_string());
            }
        }
        Value::Object(row).to_string()
    };
    text.lines().map(stored).collect()
}

/// Loads the edits, of which so many are sealed.
pub(crate) fn load(server: &Server, edits: &[String], sealed: usize) -> String {
    let table = unique("known");
    let push = |lines: &[String]| {
        for part in lines.chunks(PUSH_LINES) {
            server.push_lines(&table, part.join("\n"));
        }
    };
    push(&edits[..sealed]);
    if sealed > 0 {
        server.publish(&table);
    }
    push(&edits[sealed..]);
    let shown = server.get(&format!("/api/v1/tables/{table}")).expect(200);
    assert_eq!((&shown["sealedRows"], &shown["rows"]), (&json!(sealed), &json!(edits.len())), "{shown}");
    table
}

fn near(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b)),
        _ => a == b,
    }
}

fn numbers(rows: &Value) -> Vec<f64> {
    rows[0].as_array().unwrap().iter().map(|cell| cell.as_f64().unwrap()).collect()
}

/// What is wrong with an answer.
fn fault(known: &Known, rows: &Value) -> Option<String> {
    let right = match &known.answer {
        Rows(expected) => near(rows, expected),
        Leaders(expected, rest) => {
            let (given, expected) = (rows.as_array().unwrap(), expected.as_array().unwrap());
            given.len() > expected.len()
                && given.starts_with(expected)
                && given[expected.len()..].iter().all(|row| row.as_array().unwrap().last() == Some(&json!(rest)))
        }
        Within(hundredths, expected) => {
            let expected: Vec<f64> = expected.as_array().unwrap().iter().map(|cell| cell.as_f64().unwrap()).collect();
            let given = numbers(rows);
            given.len() == expected.len()
                && given.iter().zip(&expected).all(|(g, e)| (g - e).abs() <= e * hundredths / 100.0)
        }
        Between(bounds) => {
            let given = numbers(rows);
            given.len() == bounds.len() && given.iter().zip(bounds).all(|(g, (low, high))| (low..=high).contains(&g))
        }
    };
    (!right).then(|| format!("{rows}"))
}

/// Asks everything of every table, so that one failure does not hide the others.
fn check(server: &Server, tables: &[(&str, String)], when: &str) {
    let mut faults = Vec::new();
    for (form, table) in tables {
        for known in all() {
            let sql = known.sql.replace("FROM wikipedia", &format!("FROM \"{table}\""));
            let answer = server.sql_request(&json!({"query": sql, "resultFormat": "array", "context": known.context}));
            let fault = match answer.status {
                200 => fault(&known, &answer.json()),
                status => Some(format!("{status} {}", answer.text())),
            };
            if let Some(seen) = fault {
                faults.push(format!("number {} ({form}, {when}): {}\n  {seen}", known.number, known.sql));
            }
        }
    }
    assert!(faults.is_empty(), "{} wrong answers\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn all_known_answers_hold_in_every_form_and_after_a_restart() {
    let server = Setup::default().flags(&SEAL_NEVER).start();
    let edits = edits();
    let forms = [("growing", 0), ("sealed", edits.len()), ("mixed", edits.len() / 2)];
    let tables = forms.map(|(form, sealed)| (form, load(&server, &edits, sealed)));
    check(&server, &tables, "before the restart");
    server.kill();
    server.restart();
    server.wait_until_ready();
    check(&server, &tables, "after the restart");
    server.assert_no_panics();
}
