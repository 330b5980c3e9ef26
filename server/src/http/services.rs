//! What Druid's services say of themselves (contract 1.9): this process is all of them, so each answers for the whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Router, http};
use serde_json::{Map, Value, json};

use super::reply::Problem;
use super::status;
use crate::node::{Node, ROLES};

/// The paths of this module.
pub fn routes() -> Router<Arc<Node>> {
    let mut routes = Router::new()
        .route("/status/properties", get(properties))
        .route("/status/selfDiscovered", get(discovered))
        .route("/status/selfDiscovered/status", get(self_discovered))
        .route("/proxy/enabled", get(enabled))
        .route("/druid/broker/v1/loadstatus", get(inventory))
        .route("/druid/broker/v1/readiness", get(ready))
        .route("/druid/historical/v1/loadstatus", get(cache))
        .route("/druid/historical/v1/readiness", get(ready))
        .route("/druid/v2/sql/engines", get(engines))
        // Tasks that write by SQL do not exist here; a console that asks goes on without.
        .route("/druid/v2/sql/task/enabled", any(no_engine))
        .route("/druid/v2/sql/dart/enabled", any(no_engine));
    for service in ["coordinator", "indexer"] {
        routes = routes
            .route(&format!("/druid/{service}/v1/isLeader"), get(is_leader))
            .route(&format!("/druid/{service}/v1/leader"), get(leader));
    }
    for service in ["coordinator", "overlord"] {
        routes = routes
            .route(&format!("/proxy/{service}/status"), get(status::status))
            .route(&format!("/proxy/{service}/status/properties"), get(properties))
            .route(&format!("/proxy/{service}/properties"), get(properties));
    }
    routes
}

/// `GET /status/properties`: settings as texts, none of them a secret.
async fn properties(State(node): State<Arc<Node>>) -> Json<Value> {
    let config = &node.config;
    let mut all = Map::new();
    let mut put = |key: &str, value: String| {
        all.insert(key.to_owned(), json!(value));
    };
    put("druid.host", node.address.ip().to_string());
    put("druid.plaintextPort", node.address.port().to_string());
    put("druid.service", "freshet".to_owned());
    put("file.encoding", "UTF-8".to_owned());
    put("user.timezone", "UTC".to_owned());
    put("freshet.version", env!("CARGO_PKG_VERSION").to_owned());
    put("freshet.roles", ROLES.join(","));
    put("freshet.deepStorage", node.deep_place.to_string());
    put("freshet.memoryBytesMax", node.memory.total.to_string());
    put("freshet.computeThreads", config.threads().to_string());
    put("freshet.queriesRunningMax", config.queries_running_max().to_string());
    put("freshet.queryTimeoutMs", config.query_timeout_ms.to_string());
    Json(Value::Object(all))
}

async fn discovered() -> StatusCode {
    StatusCode::OK
}

async fn self_discovered() -> Json<Value> {
    Json(json!({"selfDiscovered": true}))
}

async fn enabled() -> Json<Value> {
    Json(json!({"enabled": true}))
}

async fn is_leader() -> Json<Value> {
    Json(json!({"leader": true}))
}

async fn leader(State(node): State<Arc<Node>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], format!("http://{}", node.address)).into_response()
}

async fn inventory() -> Json<Value> {
    Json(json!({"inventoryInitialized": true}))
}

async fn cache() -> Json<Value> {
    Json(json!({"cacheInitialized": true}))
}

/// 200 once every table shows all its rows, as `/health/ready`; Druid has no body here.
async fn ready(State(node): State<Arc<Node>>) -> StatusCode {
    let recovering = node.timeline.reading().tables().iter().any(|view| view.unready.is_some());
    if recovering || node.stopping.is_cancelled() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn engines() -> Json<Value> {
    Json(json!({"engines": [{"name": "native"}]}))
}

async fn no_engine(uri: http::Uri) -> Problem {
    Problem::not_found(format!("there is no {}: rows cannot be written by SQL", uri.path()))
        .hint("rows come in through a supervisor or POST /api/v1/push/{table}")
}
