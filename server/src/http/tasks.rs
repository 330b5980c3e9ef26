//! `/druid/indexer/v1/task`: Druid's task endpoints (contract 5.7).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, Request, State as Of};
use freshet_ingest::counts::Counts;
use serde_json::{Value, json};

use super::body;
use super::reply::Problem;
use crate::druid::task;
use crate::node::Node;
use crate::tasks::{State, Task, submit};

/// A spec may hold its data.
const TASK_BYTES_MAX: usize = 16 << 20;

/// `POST /druid/indexer/v1/task`.
pub async fn post(Of(node): Of<Arc<Node>>, request: Request) -> Result<Json<Value>, Problem> {
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, TASK_BYTES_MAX).await?;
    let bytes = body::unpack(body::encoding(&parts.headers).as_deref(), bytes, TASK_BYTES_MAX)?;
    let folders = node.config.input_dir.clone();
    // Looking for files waits for the disk.
    let spec = tokio::task::spawn_blocking(move || task::parse(&bytes, &folders)).await;
    let spec = spec.map_err(|_| Problem::internal("the spec could not be read; the log says why"))??;
    let without_effect = spec.without_effect.clone();
    let task = submit(&node, spec)?;
    let mut answer = json!({"task": task.id});
    if !without_effect.is_empty() {
        answer["withoutEffect"] = json!(without_effect);
    }
    Ok(Json(answer))
}

fn find(node: &Node, id: &str) -> Result<Arc<Task>, Problem> {
    node.tasks.get(id).ok_or_else(|| Problem::not_found(format!("task [{id}] is not known")))
}

/// `GET .../task/{id}`.
pub async fn one(Of(node): Of<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let task = find(&node, &id)?;
    let payload: Value = serde_json::from_str(&task.spec.document).unwrap_or(Value::Null);
    Ok(Json(json!({"task": id, "payload": payload})))
}

/// `GET .../task/{id}/status`.
pub async fn status(Of(node): Of<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let task = find(&node, &id)?;
    Ok(Json(json!({"task": id, "status": describe(&node, &task)})))
}

/// `GET .../task/{id}/reports`.
pub async fn reports(Of(node): Of<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let task = find(&node, &id)?;
    let state = task.state();
    let counts = totals(&task.progress.counts());
    let rows =
        if state.is_ended() { json!({"buildSegments": counts}) } else { json!({"totals": {"buildSegments": counts}}) };
    let unparseable: Vec<Value> = task
        .progress
        .letters()
        .iter()
        .map(|letter| {
            json!({
                "timeOfExceptionMillis": letter.time.as_millis(),
                "input": String::from_utf8_lossy(&letter.raw),
                "errorType": "unparseable",
                "details": [letter.reason],
                "at": letter.at,
                "hint": letter.hint,
            })
        })
        .collect();
    let payload = json!({
        "ingestionState": if state.is_ended() { "COMPLETED" } else { "BUILD_SEGMENTS" },
        "unparseableEvents": {"buildSegments": unparseable},
        "rowStats": rows,
        "errorMsg": error(&state),
        "segmentAvailabilityConfirmed": state == State::Success,
        "segmentAvailabilityWaitTimeMs": 0,
    });
    let report = json!({"type": "ingestionStatsAndErrors", "taskId": id, "payload": payload});
    Ok(Json(json!({"ingestionStatsAndErrors": report})))
}

/// `GET .../task/{id}/log`: what there is to say of it.
pub async fn log(Of(node): Of<Arc<Node>>, Path(id): Path<String>) -> Result<String, Problem> {
    let task = find(&node, &id)?;
    let counts = task.progress.counts();
    let mut text = format!(
        "{} {id} was posted\n{} rows read, {} stored, {} rejected, {} outside the intervals\n",
        task.created.to_iso(),
        counts.read,
        counts.stored,
        counts.rejected,
        counts.late
    );
    for letter in task.progress.letters() {
        text.push_str(&format!("{}: {}\n", letter.at.unwrap_or_default(), letter.reason));
    }
    text.push_str(&format!(
        "{}{}\n",
        task.state().code(),
        error(&task.state()).map_or(String::new(), |e| format!(": {e}"))
    ));
    Ok(text)
}

/// `POST .../task/{id}/shutdown`.
pub async fn shutdown(Of(node): Of<Arc<Node>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    find(&node, &id)?.progress.stop();
    Ok(Json(json!({"task": id})))
}

/// `POST /druid/indexer/v1/datasources/{ds}/shutdownAllTasks`.
pub async fn shutdown_all(Of(node): Of<Arc<Node>>, Path(table): Path<String>) -> Json<Value> {
    let of_table = |task: &Arc<Task>| task.spec.batch.table.as_str() == table;
    node.tasks.list().iter().filter(|task| of_table(task)).for_each(|task| task.progress.stop());
    Json(json!({"dataSource": table}))
}

/// `POST /druid/indexer/v1/taskStatus`: a list of ids.
pub async fn statuses(Of(node): Of<Arc<Node>>, request: Request) -> Result<Json<Value>, Problem> {
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, body::SPEC_BYTES_MAX).await?;
    let ids: Vec<String> = body::json(&bytes)?;
    let known = ids.into_iter().filter_map(|id| node.tasks.get(&id).map(|task| (id, describe(&node, &task))));
    Ok(Json(Value::Object(known.collect())))
}

/// `GET /druid/indexer/v1/tasks`, with `state`, `datasource`, `type`, `max`.
pub async fn list(
    Of(node): Of<Arc<Node>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    let state = query.get("state").map(String::as_str);
    match state {
        None | Some("running" | "complete" | "waiting" | "pending") => Ok(Json(select(&node, state, &query))),
        Some(other) => Err(Problem::invalid(format!("state \"{other}\" is not known"))
            .at("state")
            .hint("take running, complete, waiting or pending")),
    }
}

/// `GET /druid/indexer/v1/{completeTasks,runningTasks,pendingTasks,waitingTasks}`.
pub async fn of_state(
    state: &'static str,
    Of(node): Of<Arc<Node>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    Json(select(&node, Some(state), &query))
}

fn select(node: &Node, state: Option<&str>, query: &BTreeMap<String, String>) -> Value {
    let is = |key: &str, value: &str| query.get(key).is_none_or(|wanted| wanted == value);
    let most = query.get("max").and_then(|max| max.parse().ok()).unwrap_or(usize::MAX);
    let in_state = |task: &Task| match (state, task.state()) {
        (None, _) | (Some("running"), State::Running) | (Some("pending"), State::Pending) => true,
        (Some("complete"), state) => state.is_ended(),
        _ => false,
    };
    let tasks = node.tasks.list();
    let chosen = tasks
        .iter()
        .filter(|task| in_state(task))
        .filter(|task| is("datasource", task.spec.batch.table.as_str()) && is("type", task.spec.kind));
    chosen.take(most).map(|task| describe(node, task)).collect()
}

fn describe(node: &Node, task: &Task) -> Value {
    let state = task.state();
    let runner = match state {
        State::Pending => "PENDING",
        State::Running => "RUNNING",
        State::Success | State::Failed(_) => "NONE",
    };
    json!({
        "id": task.id,
        "groupId": task.id,
        "type": task.spec.kind,
        "createdTime": task.created.to_iso(),
        "queueInsertionTime": task.created.to_iso(),
        "statusCode": state.code(),
        "status": state.code(),
        "runnerStatusCode": runner,
        "duration": task.duration_ms(),
        "location": {"host": node.address.ip().to_string(), "port": node.address.port(), "tlsPort": -1},
        "dataSource": task.spec.batch.table.as_str(),
        "errorMsg": error(&state),
    })
}

fn error(state: &State) -> Option<&str> {
    match state {
        State::Failed(reason) => Some(reason),
        _ => None,
    }
}

fn totals(counts: &Counts) -> Value {
    json!({
        "processed": counts.stored - counts.processed_with_error.min(counts.stored),
        "processedBytes": counts.bytes,
        "processedWithError": counts.processed_with_error,
        "thrownAway": counts.late + counts.filtered,
        "unparseable": counts.rejected,
    })
}
