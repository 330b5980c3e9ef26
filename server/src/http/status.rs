//! Who this is, whether it is well, and what it counts.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use freshet_segment::freshness::BUCKETS_MS;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::node::{Node, ROLES};
use crate::system::DRUID_VERSION;
use crate::telemetry::{counter, gauge, label, resident_bytes};

/// `GET /status`.
pub async fn status(State(node): State<Arc<Node>>) -> Json<Value> {
    let used = resident_bytes().unwrap_or(0);
    let total = node.memory.total;
    Json(json!({
        "version": DRUID_VERSION,
        "modules": [{"name": "freshet", "artifact": "freshet", "version": env!("CARGO_PKG_VERSION")}],
        "memory": {
            "maxMemory": total,
            "totalMemory": total,
            "freeMemory": total.saturating_sub(used),
            "usedMemory": used,
            "directMemory": 0,
        },
    }))
}

/// `GET /status/health`.
pub async fn health() -> Json<bool> {
    Json(true)
}

/// `GET /health/live`: the process answers.
pub async fn live() -> Json<Value> {
    Json(json!({"live": true}))
}

/// Parameters of `/health/ready`.
#[derive(Debug, Deserialize)]
pub struct Readiness {
    table: Option<String>,
}

/// `GET /health/ready`: it takes work, and no table is being recovered. With `?table=` one table counts only; tables become ready
/// one by one.
pub async fn ready(State(node): State<Arc<Node>>, Query(asked): Query<Readiness>) -> Response {
    let views = node.timeline.reading().tables();
    let recovering: Map<String, Value> = views
        .iter()
        .filter(|view| asked.table.as_deref().is_none_or(|table| table == view.name.as_str()))
        .filter_map(|view| Some((view.name.to_string(), json!(&*view.unready.as_ref()?.why))))
        .collect();
    let ready = recovering.is_empty() && !node.stopping.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({"ready": ready});
    if !recovering.is_empty() {
        body["recovering"] = Value::Object(recovering);
    }
    (status, Json(body)).into_response()
}

/// `GET /api/v1/capabilities`: what the page may show.
pub async fn capabilities(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({
        "product": "freshet",
        "version": env!("CARGO_PKG_VERSION"),
        "roles": ROLES,
        "dataDir": node.config.data_dir,
        "listen": node.address.to_string(),
        "deepStorage": node.deep_place.to_string(),
        "durable": true,
        "notices": [],
        "features": {
            "demo": true,
            "push": true,
            "kafka": true,
            "live": true,
            "mqtt": false,
            "boards": false,
            "sqlPage": true,
            "ingestPages": false,
        },
    }))
}

/// `GET /metrics`, in Prometheus' text format 0.0.4.
pub async fn metrics(State(node): State<Arc<Node>>) -> Response {
    let mut out = String::new();
    node.telemetry.render(&mut out);
    gauge(&mut out, "freshet_memory_bytes_max", "The configured total.", node.memory.total);
    gauge(&mut out, "freshet_memory_resident_bytes", "Memory of the process.", resident_bytes().unwrap_or(0));
    let unsealed = node.ingest.memory();
    gauge(&mut out, "freshet_unsealed_bytes", "Memory of rows not in files yet.", unsealed.used as u64);
    gauge(&mut out, "freshet_unsealed_bytes_max", "Its budget.", unsealed.max as u64);
    gauge(&mut out, "freshet_queries_running", "Queries running now.", node.engine.running().len() as u64);
    tables(&node, &mut out);
    node.coordinator.render(&mut out);
    counter(&mut out, "freshet_demo_events_total", "Events sent by the demo stream.", node.demo.state().sent);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out).into_response()
}

/// Rows and freshness of each table.
fn tables(node: &Node, out: &mut String) {
    let reading = node.timeline.reading();
    let views = reading.tables();
    let names: Vec<String> = views.iter().map(|view| label(view.name.as_str())).collect();
    let counts: Vec<_> = views.iter().map(|view| node.ingest.table_counts(view.name.as_str())).collect();
    let mut family = |name: &str, kind: &str, help: &str, values: &mut dyn Iterator<Item = u64>| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (table, value) in names.iter().zip(values) {
            let _ = writeln!(out, "{name}{{table=\"{table}\"}} {value}");
        }
    };
    let rows = &mut views.iter().map(|view| view.rows());
    family("freshet_table_rows", "gauge", "Rows a query sees.", rows);
    let bytes = &mut views.iter().map(|view| view.bytes());
    family("freshet_table_bytes", "gauge", "Memory of these rows.", bytes);
    let stored = &mut views.iter().map(|view| view.stored_bytes());
    family("freshet_table_stored_bytes", "gauge", "Bytes of the table's files in deep storage.", stored);
    let recovering = &mut views.iter().map(|view| u64::from(view.unready.is_some()));
    family("freshet_table_recovering", "gauge", "Whether queries are refused until all rows are back.", recovering);
    let segments = &mut views.iter().map(|view| view.segments().count() as u64);
    family("freshet_table_segments", "gauge", "Segments a query sees.", segments);
    for (name, help, of) in [
        ("freshet_rows_read_total", "Rows read since the table was made; the sum of the five below.", 0),
        ("freshet_rows_stored_total", "Rows stored.", 1),
        ("freshet_rows_filtered_total", "Rows left out by the spec.", 2),
        ("freshet_rows_rejected_total", "Rows that could not be read; kept as dead letters.", 3),
        ("freshet_rows_late_total", "Rows behind the watermark that were left out.", 4),
        ("freshet_rows_duplicate_total", "Rows that were there already.", 5),
    ] {
        let values = &mut counts.iter().map(|counts| {
            [counts.read, counts.stored, counts.filtered, counts.rejected, counts.late, counts.duplicate][of]
        });
        family(name, "counter", help, values);
    }
    let name = "freshet_freshness_seconds";
    let _ = writeln!(
        out,
        "# HELP {name} Time from a row's production, or its receipt, until queries see it.\n# TYPE {name} histogram"
    );
    for (view, table) in views.iter().zip(&names) {
        let Some(timeline) = node.timeline.table(view.name.as_str()) else { continue };
        let histogram = timeline.freshness().totals();
        for (bound_ms, count) in BUCKETS_MS.iter().zip(&histogram.buckets) {
            let seconds = *bound_ms as f64 / 1_000.0;
            let _ = writeln!(out, "{name}_bucket{{table=\"{table}\",le=\"{seconds}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_bucket{{table=\"{table}\",le=\"+Inf\"}} {}", histogram.count);
        let _ = writeln!(out, "{name}_sum{{table=\"{table}\"}} {}", histogram.sum_ms as f64 / 1_000.0);
        let _ = writeln!(out, "{name}_count{{table=\"{table}\"}} {}", histogram.count);
    }
}
