//! Real data with known answers: the 39,244 Wikipedia edits of the public tutorial, loaded as it loads them.
//!
//! The expected values were printed by Druid's tutorial or computed with another engine; none comes from this crate.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int64Array, StringArray};
use freshet_segment::schema::{Column, ColumnType, TableSchema};
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::Timeline;
use serde_json::Value;

use crate::testing::{FORMS, Form, answer, batch, engine, publish, seal};
use crate::{Engine, QueryOptions, QueryRequest};

const TEXTS: [&str; 16] = [
    "channel",
    "cityName",
    "comment",
    "countryIsoCode",
    "countryName",
    "isAnonymous",
    "isMinor",
    "isNew",
    "isRobot",
    "isUnpatrolled",
    "metroCode",
    "namespace",
    "page",
    "regionIsoCode",
    "regionName",
    "user",
];
const LONGS: [&str; 3] = ["added", "deleted", "delta"];

/// The table with its segments growing, sealed, and some of each; the files live as long as the process.
fn wikipedia(form: Form) -> Arc<Engine> {
    static TIMELINES: [OnceLock<Arc<Timeline>>; 3] = [const { OnceLock::new() }; 3];
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let index = FORMS.iter().position(|f| *f == form).expect("one of them");
    engine(Arc::clone(TIMELINES[index].get_or_init(|| {
        let timeline = load();
        let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder"));
        seal(&timeline, "wikipedia", form, &folder.path().join(format!("{form:?}")));
        timeline
    })))
}

fn load() -> Arc<Timeline> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/wikiticker-2015-09-12-sampled.json.gz");
    let mut json = String::new();
    let file = std::fs::File::open(path).expect("the fixture");
    flate2::read::GzDecoder::new(file).read_to_string(&mut json).expect("gzip of UTF-8");
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    let time = |row: &Value| Timestamp::parse(row["time"].as_str().expect("a time")).expect("a time").as_millis();
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let mut columns = Vec::new();
    let mut schema = Vec::new();
    for name in TEXTS {
        schema.push(Column::dimension(name, ColumnType::String));
        columns.push((name, Arc::new(rows.iter().map(|r| text(&r[name])).collect::<StringArray>()) as ArrayRef));
    }
    for name in LONGS {
        schema.push(Column::dimension(name, ColumnType::Long));
        columns.push((name, Arc::new(rows.iter().map(|r| r[name].as_i64()).collect::<Int64Array>()) as ArrayRef));
    }
    let all = batch(&rows.iter().map(time).collect::<Vec<_>>(), &columns);
    let timeline = Timeline::new();
    // Several segments of uneven size, so that merging is part of every answer.
    let parts: Vec<_> = [(0, 1), (1, 9_999), (10_000, 29_244)].map(|(from, rows)| all.slice(from, rows)).to_vec();
    publish(&timeline, "wikipedia", 1, Arc::new(TableSchema::new(schema).expect("a schema")), &parts);
    Arc::new(timeline)
}

fn rows(sql: &str) -> Vec<String> {
    rows_in("UTC", sql)
}

fn rows_in(zone: &str, sql: &str) -> Vec<String> {
    let options = QueryOptions { zone: zone.parse().expect("a zone"), ..Default::default() };
    let of = |form| {
        let request = QueryRequest { options: options.clone(), ..QueryRequest::new("q", sql) };
        match answer(&wikipedia(form), request) {
            Ok(answer) => answer.rows,
            Err(error) => panic!("{sql} on {form:?}: {error:?}"),
        }
    };
    let growing = of(Form::Growing);
    for form in [Form::Sealed, Form::Mixed] {
        assert!(same(of(form), growing.clone(), sql.contains("ORDER BY")), "{sql} on {form:?}: {:?}", of(form));
    }
    growing
}

/// Whether both are the same rows; floating point may differ by what the order of a sum makes of it.
fn same(mut a: Vec<String>, mut b: Vec<String>, ordered: bool) -> bool {
    if !ordered {
        a.sort();
        b.sort();
    }
    let near = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-12 * a.abs().max(b.abs()),
        _ => false,
    };
    let cells = |a: &str, b: &str| {
        a.split('|').count() == b.split('|').count()
            && a.split('|').zip(b.split('|')).all(|(a, b)| a == b || (a.contains('.') && near(a, b)))
    };
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| cells(a, b))
}

#[test]
fn totals_and_extremes() {
    assert_eq!(
        rows("SELECT COUNT(*), MIN(__time), MAX(__time), SUM(added), SUM(deleted), SUM(delta) FROM wikipedia"),
        ["39244|2015-09-12T00:46:58.771Z|2015-09-12T23:59:59.200Z|9385573|394298|8991275"]
    );
    assert_eq!(rows("SELECT AVG(added), SUM(added)/COUNT(*) FROM wikipedia"), ["239.15943838548569|239"]);
    assert_eq!(
        rows("SELECT MIN(added), MAX(added), MIN(delta), MAX(delta), MAX(deleted), MAX(LENGTH(page)) FROM wikipedia"),
        ["0|199818|-500|199818|500|180"]
    );
    assert_eq!(
        rows(
            "SELECT COUNT(DISTINCT page), COUNT(DISTINCT \"user\"), COUNT(DISTINCT channel), COUNT(DISTINCT cityName), \
              COUNT(DISTINCT countryName), COUNT(DISTINCT namespace), COUNT(DISTINCT metroCode) FROM wikipedia"
        ),
        ["35143|10531|51|1005|113|265|92"]
    );
}

/// 1975.4928563312633 and 2022.0132512824923, to the digits that the order of additions leaves.
#[test]
fn deviation_and_variance() {
    let deviation = rows("SELECT STDDEV_SAMP(added), VAR_POP(deleted) FROM wikipedia");
    assert!(deviation[0].starts_with("1975.492856331") && deviation[0].contains("|2022.013251282"), "{deviation:?}");
}

/// Numbers of the answers of one row, on each form of the table.
fn numbers_of(sql: &str) -> Vec<Vec<f64>> {
    let of = |form| {
        let answer = answer(&wikipedia(form), QueryRequest::new("q", sql)).expect("an answer");
        answer.rows[0].split('|').map(|cell| cell.parse().expect("a number")).collect()
    };
    FORMS.map(of).to_vec()
}

#[test]
fn approximate_distinct_counts_are_near() {
    let sql = "SELECT APPROX_COUNT_DISTINCT(page), APPROX_COUNT_DISTINCT(\"user\"), APPROX_COUNT_DISTINCT_DS_HLL(page), \
               APPROX_COUNT_DISTINCT_DS_THETA(page), APPROX_COUNT_DISTINCT_BUILTIN(cityName), \
               HLL_SKETCH_ESTIMATE(DS_HLL(\"user\")), THETA_SKETCH_ESTIMATE(DS_THETA(page, 4096)) FROM wikipedia";
    for counts in numbers_of(sql) {
        for (count, truth) in counts.iter().zip([35143.0, 10531.0, 35143.0, 35143.0, 1005.0, 10531.0, 35143.0]) {
            assert!((count / truth - 1.0).abs() < 0.05, "{count} of {truth}");
        }
    }
}

/// Exact, interpolated, are 18, 934 and 3807.84. A sketch may give the value of a rank up to 2 % away: the bounds are the
/// exact values of those ranks, computed with another engine.
#[test]
fn quantiles_are_within_their_rank_error() {
    let sql = "SELECT APPROX_QUANTILE_DS(added, 0.5), APPROX_QUANTILE_DS(added, 0.95), APPROX_QUANTILE_DS(added, 0.99), \
               DS_GET_QUANTILE(DS_QUANTILES_SKETCH(added, 256), 0.5), TDIGEST_QUANTILE(added, 0.95) FROM wikipedia";
    let p50 = (18.0, 18.0);
    let bounds = [p50, (626.0, 1530.0), (1530.0, 199_818.0), p50, (626.0, 1530.0)];
    for quantiles in numbers_of(sql) {
        for (value, (low, high)) in quantiles.iter().zip(bounds) {
            assert!((low..=high).contains(value), "{value} is not between {low} and {high}");
        }
    }
}

#[test]
fn leaders_and_their_ties() {
    assert_eq!(
        rows(
            "SELECT page, COUNT(*) AS Edits FROM wikipedia WHERE __time >= TIMESTAMP '2015-09-12 00:00:00' \
              AND __time < TIMESTAMP '2015-09-13 00:00:00' GROUP BY page ORDER BY Edits DESC LIMIT 12"
        ),
        [
            "Wikipedia:Vandalismusmeldung|33",
            "User:Cyde/List of candidates for speedy deletion/Subpage|28",
            "Jeremy Corbyn|27",
            "Wikipedia:Administrators' noticeboard/Incidents|21",
            "Flavia Pennetta|20",
            "Total Drama Presents: The Ridonculous Race|18",
            "User talk:Dudeperson176123|18",
            "Wikipédia:Le Bistro/12 septembre 2015|18",
            "Wikipedia:In the news/Candidates|17",
            "Wikipedia:Requests for page protection|17",
            "Utente:Giulio Mainardi/Sandbox|16",
            "Wikipedia:Administrator intervention against vandalism|16",
        ]
    );
    assert_eq!(
        rows("SELECT channel, SUM(added) FROM wikipedia GROUP BY channel ORDER BY SUM(added) DESC LIMIT 5"),
        [
            "#en.wikipedia|3045299",
            "#it.wikipedia|711011",
            "#fr.wikipedia|642555",
            "#ru.wikipedia|640698",
            "#es.wikipedia|634670"
        ]
    );
    assert_eq!(
        rows("SELECT cityName, COUNT(*) FROM wikipedia GROUP BY 1 ORDER BY 2 DESC LIMIT 5"),
        ["null|37091", "Central District|45", "Tokyo|45", "Taipei|37", "Moscow|35"]
    );
    assert_eq!(
        rows("SELECT cityName FROM wikipedia GROUP BY cityName ORDER BY cityName LIMIT 4"),
        ["null", "A Coruña", "Aarhus", "Aberdare"]
    );
    assert_eq!(
        rows(
            "SELECT countryName, COUNT(*) AS c FROM wikipedia WHERE countryName IS NOT NULL GROUP BY countryName HAVING c > 190 ORDER BY c DESC"
        ),
        ["United States|528", "Italy|256", "United Kingdom|234", "France|205", "Russia|194"]
    );
    assert_eq!(
        rows("SELECT user, COUNT(*) FROM wikipedia GROUP BY user ORDER BY 2 DESC LIMIT 3"),
        ["TuanminhBot|3385", "ThitxongkhoiAWB|2036", "TuanUt-Bot!|1792"]
    );
}

#[test]
fn filters_of_every_kind() {
    for (filter, expected) in [
        ("cityName = 'Rome'", 9),
        ("cityName <> 'Rome'", 2144),
        ("cityName IS DISTINCT FROM 'Rome'", 39235),
        ("cityName IS NULL", 37091),
        ("regionIsoCode IS NULL", 37207),
        ("isRobot = 'true'", 15420),
        ("page LIKE '%Talk%'", 591),
        ("LOWER(page) LIKE '%talk%'", 1891),
        ("channel IN ('#en.wikipedia', '#fr.wikipedia')", 13648),
        ("__time >= '2015-09-12T12:00:00' AND __time < '2015-09-12T13:00:00'", 1709),
        ("EXTRACT(DOW FROM __time) = 6", 39244),
        ("\"user\" = 'BlueMoon2662'", 1),
    ] {
        assert_eq!(rows(&format!("SELECT COUNT(*) FROM wikipedia WHERE {filter}")), [expected.to_string()], "{filter}");
    }
}

#[test]
fn hours_days_and_other_buckets() {
    let hours = "1761 16208 14543 13101 12040 6399 9036 11409 11616 17509 19406 16284 18672 30520 18025 26399 24759 19634 \
                 17345 19305 22265 16394 16379 15289";
    assert_eq!(
        rows("SELECT SUM(deleted) FROM wikipedia GROUP BY FLOOR(__time TO HOUR) ORDER BY FLOOR(__time TO HOUR)"),
        hours.split_whitespace().collect::<Vec<_>>()
    );
    assert_eq!(
        rows_in("America/Los_Angeles", "SELECT FLOOR(__time TO DAY), COUNT(*) FROM wikipedia GROUP BY 1 ORDER BY 1"),
        ["2015-09-11T07:00:00Z|7533", "2015-09-12T07:00:00Z|31711"]
    );
    assert_eq!(
        rows(
            "SELECT DISTINCT FLOOR(__time TO WEEK), TIME_FLOOR(__time, 'P1M'), FLOOR(__time TO QUARTER), \
              TIME_SHIFT(TIME_FLOOR(TIME_SHIFT(__time, 'P1D', 1), 'P1W'), 'P1D', -1), \
              TIME_SHIFT(TIME_FLOOR(TIME_SHIFT(__time, 'P1D', 1), 'P1W'), 'P1D', 5) FROM wikipedia"
        ),
        ["2015-09-07T00:00:00Z|2015-09-01T00:00:00Z|2015-07-01T00:00:00Z|2015-09-06T00:00:00Z|2015-09-12T00:00:00Z"]
    );
}

#[test]
fn many_groups_and_grouping_sets() {
    assert_eq!(rows("SELECT COUNT(*) FROM (SELECT channel, page FROM wikipedia GROUP BY channel, page)"), ["35278"]);
    assert_eq!(
        rows(
            "SELECT COUNT(*) FROM (SELECT 1 FROM wikipedia GROUP BY FLOOR(__time TO HOUR), channel, namespace, isRobot)"
        ),
        ["3282"]
    );
    assert_eq!(
        rows(
            "SELECT channel, isRobot, COUNT(*), GROUPING(channel, isRobot) FROM wikipedia \
              WHERE channel IN ('#en.wikipedia', '#vi.wikipedia') \
              GROUP BY GROUPING SETS ((channel, isRobot), (channel), ()) ORDER BY 4, 1, 2"
        ),
        [
            "#en.wikipedia|false|10467|0",
            "#en.wikipedia|true|1082|0",
            "#vi.wikipedia|false|89|0",
            "#vi.wikipedia|true|9658|0",
            "#en.wikipedia|null|11549|1",
            "#vi.wikipedia|null|9747|1",
            "null|null|21296|3",
        ]
    );
}
