//! `/druid/indexer/v1/supervisor`: Druid's supervisor endpoints (contract 5.1, 5.2).
//!
//! Secrets of a spec go in and never come back: wherever a spec is answered, their values are `***`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use freshet_ingest::error::IngestError;
use freshet_ingest::spec::SourceSpec;
use freshet_ingest::supervisor::{SupervisorStatus, SupervisorView};
use freshet_segment::error::ErrorKind;
use freshet_segment::time::Timestamp;
use serde_json::{Value, json};

use super::body;
use super::reply::Problem;
use super::tables::counts_json;
use crate::druid::{shown, spec};
use crate::node::{Node, Stranded};

/// Druid's ingestion endpoints hold the text of a failure in `error` itself.
pub async fn short_errors(mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().get_mut::<Problem>() {
        problem.short = true;
    }
    response
}

/// `POST /druid/indexer/v1/supervisor`.
pub async fn submit(
    State(node): State<Arc<Node>>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, body::SPEC_BYTES_MAX).await?;
    let bytes = body::unpack(body::encoding(&parts.headers).as_deref(), bytes, body::SPEC_BYTES_MAX)?;
    let spec = spec::parse(&bytes)?;
    let id = spec.id.clone();
    let without_effect = spec.without_effect.clone();
    let skip = query.get("skipRestartIfUnmodified").is_some_and(|value| value == "true");
    let unmodified = skip && node.ingest.supervisor(&id).is_ok_and(|running| running.spec.document == spec.document);
    if !unmodified {
        node.ingest.submit(spec).await?;
        node.stranded.lock().remove(&id);
    }
    let mut answer = json!({"id": id});
    if !without_effect.is_empty() {
        answer["withoutEffect"] = json!(without_effect);
    }
    Ok(Json(answer))
}

/// `GET /druid/indexer/v1/supervisor`, also `?full`, `?state=true`, `?system`.
pub async fn list(
    State(node): State<Arc<Node>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    let asked = |key: &str| query.get(key).is_some_and(|value| value != "false");
    let stranded = node.stranded.lock().clone();
    let mut ids = node.ingest.supervisor_ids();
    ids.extend(stranded.keys().filter(|id| node.ingest.supervisor(id).is_err()).cloned().collect::<Vec<_>>());
    ids.sort_unstable();
    let (full, state, system) = (asked("full"), asked("state"), asked("system"));
    if !(full || state || system) {
        return Ok(Json(json!(ids)));
    }
    // One that ends between the two looks is not in the list.
    let list: Vec<Value> = ids
        .iter()
        .filter_map(|id| {
            let Ok(view) = node.ingest.supervisor(id) else {
                return stranded.get(id).map(|stranded| describe_stranded(stranded, full || system));
            };
            let mut one = json!({
                "id": view.spec.id,
                "state": view.state.name(),
                "detailedState": view.detailed_state.name(),
                "healthy": view.healthy,
                "suspended": view.suspended,
            });
            if full || system {
                one["spec"] = shown::spec(&view);
            }
            if system {
                one["type"] = json!("kafka");
                one["source"] = json!(shown::source(&view));
            }
            Some(one)
        })
        .collect();
    Ok(Json(json!(list)))
}

/// `GET /druid/indexer/v1/supervisor/{id}`.
pub async fn spec(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    if let Some(stranded) = stranded(&node, &id) {
        return Ok(Json(describe_stranded(&stranded, true)["spec"].take()));
    }
    Ok(Json(shown::spec(&node.ingest.supervisor(&id)?)))
}

/// `GET .../{id}/status`.
pub async fn status(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    if let Some(stranded) = stranded(&node, &id) {
        let mut payload = describe_stranded(&stranded, false);
        payload["dataSource"] = json!(stranded.row.table.as_str());
        payload["cause"] = json!(stranded.reason);
        let now = node.clock.now().to_iso();
        return Ok(Json(json!({"id": id, "generationTime": now, "payload": payload})));
    }
    let view = node.ingest.supervisor(&id)?;
    let status = node.ingest.status(&id)?;
    Ok(Json(describe(&view, &status, node.clock.now())))
}

/// `GET .../{id}/health`.
pub async fn health(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let healthy = stranded(&node, &id).is_none() && node.ingest.supervisor(&id)?.healthy;
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(json!({"healthy": healthy}))).into_response())
}

/// `POST .../{id}/suspend`.
pub async fn suspend(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    node.ingest.suspend(&id).await.map_err(refused)?;
    Ok(Json(shown::spec(&node.ingest.supervisor(&id)?)))
}

/// `POST .../{id}/resume`.
pub async fn resume(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    node.ingest.resume(&id).await.map_err(refused)?;
    Ok(Json(shown::spec(&node.ingest.supervisor(&id)?)))
}

/// `POST .../{id}/reset`: forgets the offsets; reading begins again as the spec says. What was read is published first.
pub async fn reset(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    node.ingest.reset(&id).await?;
    Ok(Json(json!({"id": id})))
}

/// `POST .../{id}/terminate` and the older `shutdown`.
pub async fn terminate(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    if stranded(&node, &id).is_some() {
        node.catalog.delete_supervisor(&id).await?;
        node.stranded.lock().remove(&id);
        return Ok(Json(json!({"id": id})));
    }
    node.ingest.terminate(&id).await.map_err(refused)?;
    Ok(Json(json!({"id": id})))
}

/// Druid answers a change that is no change with 400.
fn refused(error: IngestError) -> Problem {
    let conflict = error.kind() == ErrorKind::Conflict;
    let problem = Problem::from(error);
    if conflict { problem.status(StatusCode::BAD_REQUEST) } else { problem }
}

/// A supervisor that the catalog keeps and that did not come back at the last start.
fn stranded(node: &Node, id: &str) -> Option<Stranded> {
    let stranded = node.stranded.lock().get(id).cloned()?;
    // Posted anew it runs, whatever became of it before.
    node.ingest.supervisor(id).is_err().then_some(stranded)
}

fn describe_stranded(stranded: &Stranded, spec: bool) -> Value {
    let mut one = json!({
        "id": stranded.row.id,
        "state": Stranded::STATE,
        "detailedState": Stranded::DETAILED_STATE,
        "healthy": false,
        "suspended": stranded.row.suspended,
        "cause": stranded.reason,
    });
    if spec {
        one["spec"] = shown::kept(&stranded.row.spec);
    }
    one
}

/// Contract 5.2, and below it what Druid keeps elsewhere: the cause, the counts, the keys without effect.
fn describe(view: &SupervisorView, status: &SupervisorStatus, now: Timestamp) -> Value {
    let SourceSpec::Kafka(kafka) = &view.spec.source;
    let tasks: Vec<Value> = status
        .tasks
        .iter()
        .map(|task| {
            let ran_ms = now.as_millis().saturating_sub(task.started.as_millis());
            let duration_ms = i64::try_from(status.task_duration.as_millis()).unwrap_or(i64::MAX);
            json!({
                "id": task.id,
                "startingOffsets": task.starting_offsets,
                "startTime": task.started.to_iso(),
                "remainingSeconds": duration_ms.saturating_sub(ran_ms).max(0) / 1_000,
                "type": "ACTIVE",
                "currentOffsets": task.current_offsets,
                "lag": task.lag,
                "counts": counts_json(&task.counts),
            })
        })
        .collect();
    let errors: Vec<Value> = status
        .recent_errors
        .iter()
        .map(|error| {
            json!({
                "timestamp": error.time.to_iso(),
                // Druid's clients show a Java class here; the kind is the nearest honest thing.
                "exceptionClass": if error.stream { "StreamException" } else { "IngestException" },
                "message": error.message,
                "streamException": error.stream,
            })
        })
        .collect();
    json!({
        "id": status.id,
        "generationTime": now.to_iso(),
        "payload": {
            "dataSource": status.table.as_str(),
            "stream": status.stream,
            "partitions": status.partitions,
            "replicas": 1,
            "durationSeconds": status.task_duration.as_secs(),
            "activeTasks": tasks,
            "publishingTasks": [],
            "latestOffsets": status.latest_offsets,
            "minimumLag": status.lag,
            "aggregateLag": status.aggregate_lag,
            "offsetsLastUpdated": status.offsets_last_updated.map(Timestamp::to_iso),
            "suspended": status.suspended,
            "healthy": status.healthy,
            "state": status.state.name(),
            "detailedState": status.detailed_state.name(),
            "recentErrors": errors,
            "currentOffsets": status.current_offsets,
            "cause": status.cause,
            "nextRetry": status.next_retry.map(Timestamp::to_iso),
            "taskCount": kafka.task_count,
            "counts": counts_json(&status.counts),
            "warnings": status.warnings,
            "withoutEffect": view.spec.without_effect,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;
    use std::time::Duration;

    use freshet_ingest::counts::Counts;
    use freshet_ingest::supervisor::{DetailedState, RecentError, State as Running, TaskStatus};

    use super::*;

    fn view() -> SupervisorView {
        let text = r#"{"type":"kafka","spec":{"dataSchema":{"dataSource":"w","granularitySpec":{"rollup":false}},
            "ioConfig":{"topic":"w","inputFormat":{"type":"json"},
            "consumerProperties":{"bootstrap.servers":"a:1","sasl.password":"canary","ssl.key.pem":"canary"}}}}"#;
        let spec = spec::parse(text.as_bytes()).unwrap();
        SupervisorView {
            spec: Arc::new(spec),
            state: Running::Running,
            detailed_state: DetailedState::ConnectingToStream,
            healthy: true,
            suspended: true,
        }
    }

    #[test]
    fn secrets_never_come_back() {
        let shown = shown::spec(&view());
        assert!(!shown.to_string().contains("canary"), "{shown}");
        assert_eq!(shown["spec"]["ioConfig"]["consumerProperties"]["sasl.password"], shown::HIDDEN);
        assert_eq!((&shown["id"], &shown["suspended"]), (&json!("w"), &json!(true)));
    }

    #[test]
    fn a_supervisor_that_did_not_come_back_is_shown_without_its_secrets() {
        let spec = r#"{"type":"kafka","spec":{"ioConfig":{"consumerProperties":{"sasl.password":"canary"}}}}"#;
        let row = freshet_segment::catalog::SupervisorRow {
            id: "w".to_owned(),
            table: "w".parse().unwrap(),
            spec: spec.to_owned(),
            suspended: false,
        };
        let mut stranded = Stranded { row, reason: "dataSchema is missing".to_owned() };
        let shown = describe_stranded(&stranded, true);
        assert!(!shown.to_string().contains("canary"), "{shown}");
        assert_eq!((&shown["healthy"], &shown["cause"]), (&json!(false), &json!("dataSchema is missing")));
        stranded.row.spec = "canary".to_owned();
        assert!(!describe_stranded(&stranded, true).to_string().contains("canary"));
    }

    #[test]
    fn a_status_is_druids_with_the_lag_of_each_partition() {
        let at = Timestamp::from_millis(100_000);
        let offsets = |value| Map::from([(0, value), (11, 7)]);
        let status = SupervisorStatus {
            id: "w".to_owned(),
            table: "w".parse().unwrap(),
            stream: "w".to_owned(),
            state: Running::Running,
            detailed_state: DetailedState::Plain(Running::Running),
            cause: None,
            next_retry: None,
            healthy: true,
            suspended: false,
            partitions: 2,
            task_duration: Duration::from_secs(3600),
            tasks: vec![TaskStatus {
                id: "w_0".to_owned(),
                started: at,
                starting_offsets: offsets(0),
                current_offsets: offsets(5),
                lag: offsets(3),
                paused: false,
                counts: Counts { read: 5, stored: 4, rejected: 1, ..Counts::default() },
            }],
            current_offsets: offsets(5),
            latest_offsets: offsets(8),
            lag: offsets(3),
            aggregate_lag: 10,
            offsets_last_updated: Some(at),
            recent_errors: vec![RecentError { time: at, message: "away".to_owned(), stream: true }],
            counts: Counts::default(),
            warnings: vec!["no id".to_owned()],
        };
        let shown = describe(&view(), &status, Timestamp::from_millis(160_000));
        let payload = &shown["payload"];
        assert_eq!(payload["latestOffsets"], json!({"0": 8, "11": 7}));
        assert_eq!((&payload["aggregateLag"], &payload["partitions"]), (&json!(10), &json!(2)));
        assert_eq!(payload["activeTasks"][0]["remainingSeconds"], json!(3540));
        assert_eq!(payload["activeTasks"][0]["startTime"], "1970-01-01T00:01:40.000Z");
        assert_eq!(payload["activeTasks"][0]["counts"]["rejected"], json!(1));
        assert_eq!(payload["warnings"], json!(["no id"]));
        assert_eq!(payload["recentErrors"][0]["streamException"], json!(true));
    }
}
