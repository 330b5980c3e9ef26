//! What the dialect makes of Druid's forms, before DataFusion sees them.

use freshet_segment::time::{Timestamp, Zone};

use super::{dialect, prepare, resolve::Scope};
use crate::request::{Parameter, ParameterValue};

fn rewrite(sql: &str) -> String {
    let tables = ["t".to_owned()];
    let scope = Scope { tables: &tables, functions: &|_| true, function_names: &Vec::new };
    let zone: Zone = "America/Los_Angeles".parse().expect("a zone");
    let now = Timestamp::parse("2015-09-12").expect("a time");
    let parsed = dialect::parse(sql).expect(sql);
    let parameters = vec![Parameter { sql_type: "BIGINT".into(), value: ParameterValue::Long(-7) }; parsed.parameters];
    match prepare(parsed, &scope, &zone, now, &parameters) {
        Ok(prepared) => prepared.query.to_string(),
        Err(error) => format!("{error} {:?}", error.hint()),
    }
}

#[test]
fn druids_forms_become_datafusions() {
    let statements = [
        "SELECT FLOOR(__time TO HOUR), COUNT(*) FROM t GROUP BY FLOOR(__time TO HOUR) ORDER BY COUNT(*) DESC LIMIT 5",
        "SELECT a, b, SUM(x) AS s FROM t GROUP BY a, 2 ORDER BY s DESC",
        "SELECT CEIL(x), CEIL(__time TO WEEK), EXTRACT(DOW FROM __time), DATE_TRUNC('month', __time) FROM t",
        "SELECT CAST(a AS BIGINT), CAST(a AS DOUBLE), CAST(a AS TIMESTAMP), CAST(a AS DATE), CAST(a AS VARCHAR) FROM t",
        "SELECT * FROM t WHERE __time >= '2015-09-12' AND __time < TIMESTAMP '2015-09-13 00:00:00'",
        "SELECT __time + INTERVAL '1' DAY, __time - INTERVAL '1-2' YEAR TO MONTH, TIMESTAMPADD(QUARTER, 2, __time) FROM t",
        "SELECT TIME_FLOOR(__time, 'PT5M'), TIME_SHIFT(__time, 'P1D', -1, 'UTC'), TIMESTAMPDIFF(DAY, a, b) FROM t",
        "SELECT CURRENT_TIMESTAMP, CURRENT_DATE, user, \"user\" FROM t",
        "SELECT APPROX_COUNT_DISTINCT(a) FILTER (WHERE b = 1), LATEST(a), ANY_VALUE(a, 10), APPROX_QUANTILE_DS(x, 0.5, 128) FROM t",
        "SELECT MOD(a + 1, b), SAFE_DIVIDE(a, b), DIV(a, b), CONCAT(a, 'x'), TRUNCATE(x, 1) FROM t",
        "SELECT a FROM t WHERE a LIKE '50!%%' ESCAPE '!' OR a LIKE 'c:\\%' OR b = ? OFFSET 3 ROWS FETCH NEXT 2 ROWS ONLY",
        "SELECT a, a, t.a AS b FROM (SELECT COUNT(*), a, a FROM t) t",
    ];
    let shown: Vec<String> = statements.iter().map(|s| rewrite(s)).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn long_chains_become_shallow_trees() {
    let chain: Vec<String> = (0..1000).map(|i| format!("a = {i}")).collect();
    let text = rewrite(&format!("SELECT 1 FROM t WHERE {}", chain.join(" OR ")));
    assert_eq!(text.matches(" OR ").count(), 999);
    let parsed = dialect::parse(&format!("SELECT 1 FROM t WHERE {}", chain[..40].join(" AND "))).expect("parses");
    assert_eq!(parsed.parameters, 0);
}

#[test]
fn misused_functions_say_their_form() {
    for (sql, hint) in [
        ("SELECT TIME_FLOOR(__time) FROM t", "TIME_FLOOR(timestamp, period"),
        ("SELECT TIMESTAMPADD(FORTNIGHT, 1, __time) FROM t", "QUARTER"),
        ("SELECT FLOOR(__time TO CENTURY2) FROM t", "SECOND, MINUTE"),
        ("SELECT FLOOR(x, 2) FROM t", "TRUNCATE"),
    ] {
        let shown = rewrite(sql);
        assert!(shown.contains(hint), "{sql}: {shown}");
    }
}
