//! Tables about tables, what Druid's services say of themselves, and the console's own queries (contract 1.9, 1.11, 1.12, 2.6).

use freshet_tests::cluster::{Server, Setup, shared, unique};
use serde_json::{Value, json};

/// A server of its own, so that its tables are known: `a` with two days, one of them sealed, and `b`, all growing.
fn server() -> Server {
    let server = Setup::default().start();
    let day = |day: u32, n: i64| json!({"ts": format!("2026-01-0{day}T05:00:00Z"), "n": n, "t": "x", "x": 0.5, "j": {"k": n}});
    server.push("a", &[day(1, 1), day(1, 2)]);
    server.publish("a");
    server.push("a", &[day(2, 3)]);
    server.push("b", &[day(3, 4)]);
    server
}

fn columns(server: &Server, schema: &str, table: &str) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = '{schema}' AND TABLE_NAME = '{table}' \
         ORDER BY ORDINAL_POSITION"
    );
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    server.sql(&sql).iter().map(|row| (text(&row[0]), text(&row[1]))).collect()
}

/// Names as in section 1.12; those in capitals here are numbers.
const TABLES: [(&str, &str); 5] = [
    (
        "segments",
        "segment_id datasource start end SIZE version PARTITION_NUM NUM_REPLICAS NUM_ROWS IS_ACTIVE IS_PUBLISHED IS_AVAILABLE \
         IS_REALTIME IS_OVERSHADOWED shard_spec dimensions metrics projections last_compaction_state REPLICATION_FACTOR",
    ),
    (
        "servers",
        "server host PLAINTEXT_PORT TLS_PORT server_type tier CURR_SIZE MAX_SIZE STORAGE_SIZE IS_LEADER start_time version \
         build_revision labels AVAILABLE_PROCESSORS TOTAL_MEMORY",
    ),
    ("server_segments", "server segment_id"),
    (
        "tasks",
        "task_id group_id type datasource created_time queue_insertion_time status runner_status DURATION location host \
         PLAINTEXT_PORT TLS_PORT error_msg",
    ),
    ("supervisors", "supervisor_id datasource state detailed_state HEALTHY type source SUSPENDED spec"),
];

#[test]
fn system_tables_have_druids_columns() {
    for (table, names) in TABLES {
        let expected: Vec<(String, String)> = names
            .split_whitespace()
            .map(|name| {
                let kind = if name.chars().any(|c| c.is_ascii_uppercase()) { "BIGINT" } else { "VARCHAR" };
                (name.to_lowercase(), kind.to_owned())
            })
            .collect();
        assert_eq!(columns(shared(), "sys", table), expected, "{table}");
        let answer = shared().sql_request(&json!({"query": format!("SELECT * FROM sys.{table} WHERE 1 = 0"), "resultFormat": "csv", "header": true, "sqlTypesHeader": true}));
        let names: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let kinds: Vec<&str> = expected.iter().map(|(_, kind)| kind.as_str()).collect();
        assert_eq!(answer.text(), format!("{}\n{}\n\n", names.join(","), kinds.join(",")), "{table}");
    }
}

#[test]
fn system_tables_tell_this_server_and_join() {
    let server = server();
    let address = server.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    let port: i64 = port.parse().unwrap();
    assert_eq!(
        server.rows("SELECT server, host, plaintext_port, tls_port, server_type, tier, is_leader, version, curr_size > 0, max_size FROM sys.servers"),
        json!([[address, host, port, -1, "historical", "_default_tier", 1, "33.0.0", true, 0]])
    );
    assert_eq!(
        server.rows(
            "SELECT COUNT(segments.segment_id) FROM sys.segments AS segments \
             INNER JOIN sys.server_segments AS held ON segments.segment_id = held.segment_id \
             INNER JOIN sys.servers AS servers ON servers.server = held.server WHERE segments.datasource = 'a' GROUP BY servers.server"
        ),
        json!([[2]]),
        "each segment once"
    );
    assert_eq!(
        server.rows(
            "SELECT datasource, \"start\", \"end\", \"size\" > 0, num_rows, is_active, is_published, is_available, is_realtime, is_overshadowed \
             FROM sys.segments ORDER BY \"start\""
        ),
        json!([
            ["a", "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z", true, 2, 1, 1, 1, 0, 0],
            ["a", "2026-01-02T00:00:00.000Z", "2026-01-03T00:00:00.000Z", false, 1, 1, 0, 1, 1, 0],
            ["b", "2026-01-03T00:00:00.000Z", "2026-01-04T00:00:00.000Z", false, 1, 1, 0, 1, 1, 0]
        ])
    );
    assert_eq!(
        server.rows("SELECT task_id, group_id, \"type\", datasource, status, runner_status, duration, location, host, plaintext_port, tls_port, error_msg FROM sys.tasks ORDER BY 1"),
        json!([
            ["push_a", "push_a", "push", "a", "RUNNING", "RUNNING", 0, address, host, port, -1, null],
            ["push_b", "push_b", "push", "b", "RUNNING", "RUNNING", 0, address, host, port, -1, null]
        ])
    );
    let created = server.rows("SELECT COUNT(*) FROM sys.tasks WHERE created_time LIKE '20__-__-__T__:__:__.___Z'");
    assert_eq!(created, json!([[2]]));
    let lists = server.sql("SELECT shard_spec, dimensions, metrics FROM sys.segments");
    for row in lists {
        let read = |cell: &Value| serde_json::from_str::<Value>(cell.as_str().unwrap()).unwrap();
        assert_eq!(
            (read(&row[0])["type"].clone(), read(&row[1]), read(&row[2])),
            (json!("numbered"), json!(["n", "t", "x", "j"]), json!([]))
        );
    }
}

#[test]
fn supervisors_are_rows_without_their_secrets() {
    let server = Setup::default().start();
    // Nobody listens there: the supervisor exists all the same.
    let spec = json!({"type": "kafka", "suspended": false, "spec": {
        "dataSchema": {"dataSource": "w", "timestampSpec": {"column": "ts", "format": "iso"}, "granularitySpec": {"rollup": false}},
        "ioConfig": {"topic": "the_topic", "inputFormat": {"type": "json"},
            "consumerProperties": {"bootstrap.servers": "127.0.0.1:9", "sasl.password": "canary"}}}});
    let _ = server.post("/druid/indexer/v1/supervisor", &spec).expect(200);
    let rows = server.sql("SELECT supervisor_id, datasource, \"type\", source, suspended, spec FROM sys.supervisors");
    assert_eq!(rows.len(), 1);
    assert_eq!(json!(rows[0][..5]), json!(["w", "w", "kafka", "the_topic", 0]));
    let shown = rows[0][5].as_str().unwrap();
    assert!(!shown.contains("canary"), "{shown}");
    assert_eq!(serde_json::from_str::<Value>(shown).unwrap()["spec"]["ioConfig"]["topic"], "the_topic");
    let _ = server.post("/druid/indexer/v1/supervisor/w/suspend", &json!({})).expect(200);
    assert_eq!(
        server.rows(
            "WITH s AS (SELECT \"supervisor_id\", \"type\", \"source\", \
             CASE WHEN \"suspended\" = 0 THEN \"detailed_state\" ELSE 'SUSPENDED' END AS \"detailed_state\", \"spec\", \
             \"suspended\" = 1 AS \"suspended\" FROM \"sys\".\"supervisors\") \
             SELECT \"supervisor_id\", \"detailed_state\", \"suspended\" FROM s ORDER BY \"supervisor_id\" ASC LIMIT 50"
        ),
        json!([["w", "SUSPENDED", true]])
    );
}

/// The shapes that the console sends (contract 2.6), over known segments.
#[test]
fn the_consoles_queries_are_answered() {
    let server = server();
    assert_eq!(server.rows("SELECT datasource FROM sys.segments GROUP BY 1 ORDER BY 1"), json!([["a"], ["b"]]));
    let aligned = |unit: &str, tail: &str| {
        format!(
            "COUNT(*) FILTER (WHERE is_active = 1 AND \"start\" LIKE '%{tail}' AND \"end\" LIKE '%{tail}') AS {unit}_aligned_segments"
        )
    };
    let sized = |name: &str, of: &str| format!("{of} FILTER (WHERE is_active = 1) AS {name}");
    let datasources = format!(
        "SELECT datasource, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, \
         COUNT(DISTINCT \"start\" || '/' || \"end\") FILTER (WHERE is_active = 1) AS intervals, \
         CASE WHEN SUM(num_rows) FILTER (WHERE is_published = 1) <> 0 \
           THEN SUM(\"size\") FILTER (WHERE is_published = 1) / SUM(num_rows) FILTER (WHERE is_published = 1) ELSE 0 END > 0 AS has_row_size, \
         SUM(\"size\" * \"num_replicas\") FILTER (WHERE is_active = 1) > 0 AS has_files \
         FROM sys.segments GROUP BY datasource ORDER BY datasource",
        sized("num_segments", "COUNT(*)"),
        "COUNT(*) FILTER (WHERE is_published = 1 AND is_overshadowed = 0 AND replication_factor = 0) AS num_zero_replica_segments",
        "COUNT(*) FILTER (WHERE is_published = 1 AND is_overshadowed = 0 AND is_available = 0 AND replication_factor > 0) AS num_segments_to_load",
        "COUNT(*) FILTER (WHERE is_available = 1 AND is_active = 0) AS num_segments_to_drop",
        "COUNT(*) FILTER (WHERE is_realtime = 1) AS num_realtime",
        aligned("minute", ":00.000Z"),
        aligned("hour", ":00:00.000Z"),
        aligned("day", "T00:00:00.000Z"),
        aligned("month", "-01T00:00:00.000Z"),
        aligned("year", "-01-01T00:00:00.000Z"),
        sized("total_rows", "SUM(num_rows)"),
        sized("min_segment_rows", "MIN(num_rows)"),
        sized("avg_segment_rows", "AVG(num_rows)"),
        sized("max_segment_rows", "MAX(num_rows)"),
        sized("smallest", "MIN(\"size\")"),
    );
    assert_eq!(
        server.rows(&datasources),
        json!([
            ["a", 2, 0, 0, 0, 1, 2, 2, 2, 0, 0, 3, 1, 1.5, 2, 0, 2, true, true],
            ["b", 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1.0, 1, 0, 1, false, false]
        ])
    );
    let segments = "WITH s AS (SELECT \"segment_id\", \"datasource\", \"start\", \"end\", \"version\", \
         CASE WHEN \"start\" LIKE '%T00:00:00.000Z' AND \"end\" LIKE '%T00:00:00.000Z' THEN 'Day' ELSE 'Other' END AS \"time_span\", \
         \"shard_spec\", \"partition_num\", \"size\", \"num_rows\", \"num_replicas\", \"is_available\", \"is_active\", \"is_realtime\", \
         \"is_published\", \"is_overshadowed\" FROM sys.segments) ";
    assert_eq!(
        server.rows(&format!(
            "{segments}SELECT \"datasource\", \"start\", \"time_span\", \"num_rows\" FROM s WHERE \"datasource\" = 'a' AND \"is_active\" = 1 \
             ORDER BY \"start\" DESC, \"segment_id\" ASC LIMIT 1 OFFSET 1"
        )),
        json!([["a", "2026-01-01T00:00:00.000Z", "Day", 2]])
    );
    assert_eq!(
        server.rows(
            "SELECT \"start\" || '/' || \"end\" AS \"interval\", COUNT(*) FROM sys.segments WHERE \"start\" || '/' || \"end\" IN \
             ('2026-01-01T00:00:00.000Z/2026-01-02T00:00:00.000Z', '2026-01-03T00:00:00.000Z/2026-01-04T00:00:00.000Z') GROUP BY 1 ORDER BY 1 DESC"
        ),
        json!([["2026-01-03T00:00:00.000Z/2026-01-04T00:00:00.000Z", 1], ["2026-01-01T00:00:00.000Z/2026-01-02T00:00:00.000Z", 1]])
    );
    assert_eq!(
        server.rows(
            "WITH tasks AS (SELECT \"task_id\", \"group_id\", \"type\", \"datasource\", \"created_time\", \"location\", \"duration\", \"error_msg\", \
             CASE WHEN \"error_msg\" IS NOT NULL AND \"error_msg\" LIKE 'Cancel%' THEN 'CANCELED' WHEN \"status\" = 'RUNNING' THEN \"runner_status\" ELSE \"status\" END AS \"status\" \
             FROM sys.tasks) SELECT \"task_id\", \"status\" FROM tasks \
             ORDER BY (CASE \"status\" WHEN 'RUNNING' THEN 4 WHEN 'PENDING' THEN 3 WHEN 'WAITING' THEN 2 ELSE 1 END) DESC, \"created_time\" DESC, \"task_id\" DESC"
        ),
        json!([["push_b", "RUNNING"], ["push_a", "RUNNING"]])
    );
    assert_eq!(server.rows("SELECT status, COUNT(*) FROM sys.tasks GROUP BY 1"), json!([["RUNNING", 2]]));
    assert_eq!(
        server.rows(
            "SELECT \"server_type\", \"tier\", \"plaintext_port\" > 0 FROM sys.servers \
             ORDER BY (CASE \"server_type\" WHEN 'coordinator' THEN 8 WHEN 'overlord' THEN 7 WHEN 'router' THEN 6 WHEN 'broker' THEN 5 \
             WHEN 'historical' THEN 4 WHEN 'indexer' THEN 3 WHEN 'middle_manager' THEN 2 WHEN 'peon' THEN 1 ELSE 0 END) DESC, \"server\" DESC"
        ),
        json!([["historical", "_default_tier", true]])
    );
    assert_eq!(server.rows("SELECT server_type, COUNT(*) FROM sys.servers GROUP BY 1"), json!([["historical", 1]]));
    let query = json!({"query": "SELECT ARRAY[1] AS a FROM b", "resultFormat": "array", "header": true, "typesHeader": true, "sqlTypesHeader": true,
        "context": {"sqlOuterLimit": 1001, "sqlQueryId": unique("console"), "sqlStringifyArrays": false}});
    assert_eq!(server.sql_request(&query).text(), "[[\"a\"],[\"ARRAY<LONG>\"],[\"ARRAY\"],[[1]]]\n");
    let answer =
        server.post("/druid/v2/sql?capabilities", &json!({"query": "SELECT 1337", "context": {"timeout": 15_000}}));
    assert_eq!((answer.status, answer.text().as_str()), (200, "[{\"EXPR$0\":1337}]\n"));
}

#[test]
fn information_schema_is_whole() {
    let server = server();
    assert_eq!(
        server.rows("SELECT * FROM INFORMATION_SCHEMA.SCHEMATA"),
        json!(
            ["INFORMATION_SCHEMA", "druid", "lookup", "sys"]
                .map(|name| json!(["druid", name, null, null, null, null, null]))
        )
    );
    assert_eq!(
        server.rows("SELECT * FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA IN ('druid', 'sys') AND TABLE_NAME NOT IN ('data_gaps', 'dead_letters') ORDER BY 2, 3"),
        json!([
            ["druid", "druid", "a", "TABLE", "NO", "NO"],
            ["druid", "druid", "b", "TABLE", "NO", "NO"],
            ["druid", "sys", "segments", "SYSTEM_TABLE", "NO", "NO"],
            ["druid", "sys", "server_segments", "SYSTEM_TABLE", "NO", "NO"],
            ["druid", "sys", "servers", "SYSTEM_TABLE", "NO", "NO"],
            ["druid", "sys", "supervisors", "SYSTEM_TABLE", "NO", "NO"],
            ["druid", "sys", "tasks", "SYSTEM_TABLE", "NO", "NO"]
        ])
    );
    assert_eq!(
        server.rows("SELECT TABLE_NAME, TABLE_TYPE FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'INFORMATION_SCHEMA' ORDER BY 1"),
        json!(["COLUMNS", "ROUTINES", "SCHEMATA", "TABLES"].map(|name| json!([name, "SYSTEM_TABLE"])))
    );
    let text = |jdbc: i64| {
        json!(["", "YES", "VARCHAR", null, null, null, null, null, null, "UTF-16LE", "UTF-16LE$en_US$primary", jdbc])
    };
    let row = |name: &str, position: i64, rest: Value| {
        let mut row = vec![json!("druid"), json!("druid"), json!("a"), json!(name), json!(position)];
        row.extend(rest.as_array().unwrap().clone());
        json!(row)
    };
    let no_scale = i64::from(i32::MIN);
    assert_eq!(
        server.rows("SELECT * FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'a' ORDER BY ORDINAL_POSITION"),
        json!([
            row("__time", 1, json!(["", "NO", "TIMESTAMP", null, null, null, null, null, 3, null, null, 93])),
            row("n", 2, json!(["", "YES", "BIGINT", null, null, 19, 10, 0, null, null, null, -5])),
            row("t", 3, text(12)),
            row("x", 4, json!(["", "YES", "DOUBLE", null, null, 15, 10, no_scale, null, null, null, 8])),
            row("j", 5, json!(["", "YES", "COMPLEX<json>", null, null, null, null, null, null, null, null, 1111]))
        ])
    );
    let names: Vec<String> =
        columns(&server, "INFORMATION_SCHEMA", "COLUMNS").into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names.join(" "),
        "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME ORDINAL_POSITION COLUMN_DEFAULT IS_NULLABLE DATA_TYPE CHARACTER_MAXIMUM_LENGTH \
         CHARACTER_OCTET_LENGTH NUMERIC_PRECISION NUMERIC_PRECISION_RADIX NUMERIC_SCALE DATETIME_PRECISION CHARACTER_SET_NAME COLLATION_NAME JDBC_TYPE"
    );
    // The newest console fills its completion from here.
    let routines = server.rows(
        "SELECT \"ROUTINE_NAME\", \"ROUTINE_CATALOG\", \"ROUTINE_SCHEMA\", \"ROUTINE_TYPE\", \"IS_AGGREGATOR\" FROM \"INFORMATION_SCHEMA\".\"ROUTINES\" \
         WHERE \"SIGNATURES\" IS NOT NULL AND \"ROUTINE_NAME\" IN ('TIME_FLOOR', 'SUM') ORDER BY 1",
    );
    assert_eq!(
        routines,
        json!([
            ["SUM", "druid", "INFORMATION_SCHEMA", "FUNCTION", "YES"],
            ["TIME_FLOOR", "druid", "INFORMATION_SCHEMA", "FUNCTION", "NO"]
        ])
    );
    for wrong in ["information_schema.TABLES", "INFORMATION_SCHEMA.tables", "SYS.segments", "sys.SEGMENTS"] {
        let message = server.sql_request(&json!({"query": format!("SELECT 1 FROM {wrong}")})).expect_error(400);
        assert!(message.contains("not found"), "{wrong}: {message}");
    }
}

#[test]
fn explain_has_three_texts() {
    let server = server();
    for sql in ["SELECT COUNT(*) AS c FROM a WHERE t = 'x'", "SELECT a.n FROM a JOIN b ON a.n = b.n", "SELECT 1"] {
        let rows: Value = serde_json::from_str(
            &server
                .sql_request(&json!({"query": format!("EXPLAIN PLAN FOR {sql}"), "context": {"sqlOuterLimit": 1001}}))
                .text(),
        )
        .unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{sql}: {rows}");
        let names: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
        assert_eq!(names, ["PLAN", "RESOURCES", "ATTRIBUTES"], "{sql}");
        let read = |name: &str| serde_json::from_str::<Value>(rows[0][name].as_str().expect("a text")).unwrap();
        let plan = read("PLAN");
        assert!(plan[0]["query"]["queryType"].is_string() && plan[0]["query"]["dataSource"].is_object(), "{plan}");
        assert!(
            plan[0]["signature"][0]["name"].is_string() && plan[0]["columnMappings"][0]["outputColumn"].is_string(),
            "{plan}"
        );
        assert_eq!(read("ATTRIBUTES"), json!({"statementType": "SELECT"}));
        let resources = read("RESOURCES");
        let tables: Vec<&str> = resources.as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(
            tables,
            ["a", "b"]
                .into_iter()
                .filter(|t| sql.contains(&format!("FROM {t}")) || sql.contains(&format!("JOIN {t}")))
                .collect::<Vec<_>>()
        );
        assert!(resources.as_array().unwrap().iter().all(|r| r["type"] == "DATASOURCE"));
    }
}

#[test]
fn every_service_answers_for_itself() {
    let server = server();
    for (path, expected) in [
        ("/status/health", json!(true)),
        ("/status/selfDiscovered/status", json!({"selfDiscovered": true})),
        ("/proxy/enabled", json!({"enabled": true})),
        ("/proxy/enabled?capabilities", json!({"enabled": true})),
        ("/druid/coordinator/v1/isLeader", json!({"leader": true})),
        ("/druid/indexer/v1/isLeader", json!({"leader": true})),
        ("/druid/broker/v1/loadstatus", json!({"inventoryInitialized": true})),
        ("/druid/historical/v1/loadstatus", json!({"cacheInitialized": true})),
        ("/druid/v2/sql/engines", json!({"engines": [{"name": "native"}]})),
        ("/druid/v2/sql/engines?capabilities", json!({"engines": [{"name": "native"}]})),
        ("/druid/v2/datasources", json!(["a", "b"])),
        ("/druid/v2/datasources/a", json!({"dimensions": ["n", "t", "x", "j"], "metrics": []})),
        ("/druid/v2/datasources/a/dimensions", json!(["n", "t", "x", "j"])),
        ("/druid/v2/datasources/a/metrics", json!([])),
    ] {
        assert_eq!(server.get(path).expect(200), expected, "{path}");
    }
    for path in ["/status/selfDiscovered", "/druid/broker/v1/readiness", "/druid/historical/v1/readiness"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.bytes.len()), (200, 0), "{path}");
    }
    for path in ["/druid/coordinator/v1/leader", "/druid/indexer/v1/leader"] {
        assert_eq!(server.get(path).text(), format!("http://{}", server.address()), "{path}");
    }
    for path in ["/status", "/proxy/coordinator/status", "/proxy/overlord/status"] {
        let status = server.get(path).expect(200);
        assert_eq!(status["version"], "33.0.0", "{path}");
        assert!(
            status["modules"][0]["artifact"].is_string() && status["memory"]["maxMemory"].is_i64(),
            "{path}: {status}"
        );
    }
    for path in ["/status/properties", "/proxy/coordinator/status/properties", "/proxy/overlord/properties"] {
        let all = server.get(path).expect(200);
        let all = all.as_object().unwrap();
        assert!(all.len() > 5 && all.values().all(Value::is_string), "{path}: {all:?}");
    }
    for path in ["/druid/v2/sql/task/enabled", "/druid/v2/sql/dart/enabled?capabilities", "/druid/v2/datasources/nope"]
    {
        let _ = server.get(path).expect_error(404);
    }
}
