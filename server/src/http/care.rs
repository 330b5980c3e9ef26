//! The care of what is stored, as an operator asks for it: duties and their results, a run now, rows dropped and taken back.
//!
//! What changes rows runs in a task of its own, so that a client that goes away leaves nothing half done.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use freshet_segment::catalog::{Commit, PublishId};
use freshet_segment::error::{ErrorKind, SegmentError};
use freshet_segment::time::{Interval, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::reply::Problem;
use super::tables;
use crate::coordinator::{Dropped, Duty};
use crate::nearest::did_you_mean;
use crate::node::Node;

/// How long a request waits for a duty when it does not say, and at most.
const WAIT_DEFAULT: Duration = Duration::from_secs(50);
const WAIT_MAX: Duration = Duration::from_secs(600);
/// How long a table's tasks may take to publish what they hold.
const PUBLISH_WAIT: Duration = Duration::from_secs(60);
/// How often a drop starts again when segments are replaced under it.
const ATTEMPTS_MAX: u32 = 5;
/// How long a commit can be taken back.
const UNDO_MS: i64 = 24 * 60 * 60 * 1_000;

/// Parameters as they came. A mistyped `interval` must not drop the table.
pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

pub(super) fn understood<T>(asked: Asked<T>) -> Result<T, Problem> {
    asked.map(|Query(asked)| asked).map_err(|refused| {
        Problem::invalid(refused.body_text())
            .hint("leave it out, or correct it: a parameter that is not known changes nothing by itself")
    })
}

/// `GET /api/v1/duties`.
pub async fn list(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(node.coordinator.describe())
}

/// Parameters of a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// How long to wait.
    #[serde(rename = "timeoutMs")]
    timeout_ms: Option<u64>,
}

/// `POST /api/v1/duties/{name}/run`: all that there is to do, now. 202 when it takes longer than the client waits.
pub async fn run(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    asked: Asked<Waiting>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = understood(asked)?;
    skip_body(request).await?;
    let duty = Duty::named(&name).ok_or_else(|| {
        let shown: String = name.chars().take(100).collect();
        let near = did_you_mean(&shown, Duty::ALL.iter().map(|duty| duty.name()));
        Problem::not_found(format!("duty `{shown}` does not exist{near}")).hint("GET /api/v1/duties lists them")
    })?;
    let wait = asked.timeout_ms.map_or(WAIT_DEFAULT, Duration::from_millis).min(WAIT_MAX);
    let answer = node.coordinator.run_now(duty);
    match tokio::time::timeout(wait, answer).await {
        Ok(Ok(run)) => {
            let mut body = run.json();
            body["name"] = json!(duty.name());
            Ok(Json(body).into_response())
        }
        Ok(Err(_)) => Err(Problem::unavailable("the server is stopping")),
        Err(_) => Ok((StatusCode::ACCEPTED, Json(json!({"name": duty.name(), "running": true}))).into_response()),
    }
}

/// Parameters of a drop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Only this interval.
    interval: Option<String>,
}

/// `DELETE /api/v1/tables/{t}`: the table, or with `?interval=start/end` the rows of an interval.
pub async fn drop(
    State(node): State<Arc<Node>>,
    Path(table): Path<String>,
    which: Asked<Which>,
) -> Result<Json<Value>, Problem> {
    let Some(interval) = understood(which)?.interval else { return tables::drop(node, &table).await };
    let interval: Interval = interval.parse().map_err(|error| {
        let form = "write start/end in UTC, the end excluded, such as 2026-01-01/2026-02-01 or with times as in 2026-01-01T06:00Z";
        Problem::from_segment(error).at("interval").hint(form)
    })?;
    find_ready(&node, &table)?;
    let task = {
        let (node, table) = (Arc::clone(&node), table.clone());
        async move { drop_interval(&node, &table, interval).await }
    };
    let dropped = node.work.spawn(task).await;
    let Dropped { commit, rows } = dropped.map_err(|_| Problem::internal("the drop failed; the log says where"))??;
    let mut answer = json!({"table": table, "interval": interval.to_string(), "dropped": true, "rows": rows});
    describe(&mut answer, commit.as_ref());
    Ok(Json(answer))
}

/// What the tasks hold is published first, so that it is among what is dropped. A segment that is replaced meanwhile makes
/// it begin again with a new look.
async fn drop_interval(node: &Node, table: &str, interval: Interval) -> Result<Dropped, Problem> {
    let mut attempt = 1;
    loop {
        node.ingest.publish(table, PUBLISH_WAIT).await?;
        match node.coordinator.drop_interval(table, interval).await {
            Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS_MAX => {
                tracing::info!(table, %interval, %error, "a drop starts again");
                attempt += 1;
            }
            done => return Ok(done?),
        }
    }
}

/// Body of an undo.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Undo {
    /// The commit to take back, as the answer to it named it.
    publish: String,
}

/// `POST /api/v1/tables/{t}/undo`.
pub async fn undo(
    State(node): State<Arc<Node>>,
    Path(table): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, body::SPEC_BYTES_MAX).await?;
    let asked: Undo = body::json(&bytes)?;
    let id: PublishId = asked.publish.parse().map_err(|error: SegmentError| {
        let source = "take `publish` from the answer to the drop; only what was done within a day can be taken back";
        Problem::from(error).at("/publish").hint(source)
    })?;
    find_ready(&node, &table)?;
    let task = {
        let (node, table) = (Arc::clone(&node), table.clone());
        async move { node.coordinator.undo(&table, id).await }
    };
    let undone = node.work.spawn(task).await;
    let commit = undone.map_err(|_| Problem::internal("the undo failed; the log says where"))??;
    let mut answer = json!({"table": table, "undone": id.to_string(), "opened": commit.opened.len()});
    describe(&mut answer, Some(&commit));
    Ok(Json(answer))
}

/// How a commit is named, and until when it can be taken back.
fn describe(answer: &mut Value, commit: Option<&Commit>) {
    answer["commitSeq"] = json!(commit.map(|commit| commit.seq));
    answer["publish"] = json!(commit.map(|commit| commit.publish.to_string()));
    answer["segments"] = json!(commit.map_or(0, |commit| commit.closed.len()));
    let until = |commit: &Commit| Timestamp::from_millis(commit.at.as_millis().saturating_add(UNDO_MS)).to_iso();
    answer["undoUntil"] = json!(commit.map(until));
}

/// A table all of whose rows are back: what a journal still holds could not be dropped.
fn find_ready(node: &Node, table: &str) -> Result<(), Problem> {
    let view = tables::find(node, table)?;
    let Some(unready) = &view.unready else { return Ok(()) };
    let message = format!("table `{table}` does not show all its rows: {}", unready.why);
    if !unready.passes {
        return Err(Problem::conflict(message).hint("what is wrong with the table has to be put right first"));
    }
    let mut problem = Problem::unavailable(message).hint("ask again in a moment; /health/ready says when");
    problem.code = "RECOVERING";
    Err(problem)
}

/// There is nothing to say in it; unread it would end the connection.
async fn skip_body(request: Request) -> Result<(), Problem> {
    let (parts, content) = request.into_parts();
    body::read(&parts.headers, content, body::SPEC_BYTES_MAX).await.map(|_| ())
}
