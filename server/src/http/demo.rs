//! `/api/v1/demo`: starts, changes and stops the demo stream.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, Request, State};
use serde::Deserialize;

use super::body;
use super::reply::Problem;
use crate::demo::{self, RATE_MAX};
use crate::node::Node;

/// Body of the POST; an empty one counts as `{}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    rate: Option<u32>,
    seed: Option<u64>,
}

/// Parameters of the DELETE.
#[derive(Debug, Deserialize)]
pub struct Ending {
    #[serde(default)]
    drop: bool,
}

/// `GET /api/v1/demo`.
pub async fn state(State(node): State<Arc<Node>>) -> Json<demo::State> {
    Json(node.demo.state())
}

/// `POST /api/v1/demo`.
pub async fn start(State(node): State<Arc<Node>>, request: Request) -> Result<Json<demo::State>, Problem> {
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, body::SPEC_BYTES_MAX).await?;
    let wanted: Wanted = if bytes.is_empty() { Wanted::default() } else { body::json(&bytes)? };
    if let Some(rate) = wanted.rate
        && rate > RATE_MAX
    {
        return Err(
            Problem::invalid(format!("rate is {rate}, but at most {RATE_MAX} events a second are made")).at("/rate")
        );
    }
    Ok(Json(node.demo.start(wanted.rate, wanted.seed).await))
}

/// `DELETE /api/v1/demo`.
pub async fn stop(State(node): State<Arc<Node>>, Query(ending): Query<Ending>) -> Result<Json<demo::State>, Problem> {
    let state = node.demo.stop().await;
    if ending.drop && node.timeline.table(demo::TABLE).is_some() {
        super::tables::drop_now(&node, demo::TABLE).await?;
    }
    Ok(Json(state))
}
