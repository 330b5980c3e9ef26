//! `POST /api/v1/tables/{t}/publish`: seal and publish what a table holds now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use freshet_segment::catalog::CommitCause;
use freshet_segment::id::{SegmentId, TableId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::care;
use super::reply::Problem;
use super::tables;
use crate::node::Node;

/// How long a request waits when it does not say, and at most.
const WAIT_DEFAULT: Duration = Duration::from_secs(50);
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Commits looked through at a time.
const COMMITS_AT_ONCE: usize = 1_000;

/// Parameters of the query string.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// How long to wait.
    #[serde(rename = "timeoutMs")]
    timeout_ms: Option<u64>,
}

/// Answers with what was published meanwhile, by this request or beside it; 503 when it takes longer, and goes on.
pub async fn publish(
    State(node): State<Arc<Node>>,
    Path(table): Path<String>,
    asked: care::Asked<Asked>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let asked = care::understood(asked)?;
    // There is nothing to say in it; unread it would end the connection.
    let (parts, content) = request.into_parts();
    body::read(&parts.headers, content, body::SPEC_BYTES_MAX).await?;
    let view = tables::find(&node, &table)?;
    let wait = asked.timeout_ms.map_or(WAIT_DEFAULT, Duration::from_millis).min(WAIT_MAX);
    let before = node.catalog.last_commit().await?;
    let task = {
        let (node, table) = (Arc::clone(&node), table.clone());
        async move { node.ingest.publish(&table, wait).await }
    };
    // The tracker makes a stop wait for it.
    let done = node.work.spawn(task).await;
    done.map_err(|_| Problem::internal("publishing failed; the log says where"))??;
    let opened = opened_since(&node, view.table_id, before).await?;
    let rows: HashMap<SegmentId, u64> = node
        .catalog
        .reading(view.table_id)
        .await?
        .segments
        .into_iter()
        .map(|row| (row.segment.id, row.segment.rows))
        .collect();
    let published: Vec<Value> = opened
        .iter()
        .map(|(seq, id)| json!({"segment": id.to_string(), "rows": rows.get(id), "commitSeq": seq}))
        .collect();
    let total: u64 = opened.iter().filter_map(|(_, id)| rows.get(id)).sum();
    Ok(Json(json!({
        "table": table,
        "commitSeq": node.catalog.last_commit().await?,
        "rows": total,
        "published": published,
    })))
}

/// Segments of a table that commits after `seq` have opened.
async fn opened_since(node: &Node, table: TableId, mut seq: u64) -> Result<Vec<(u64, SegmentId)>, Problem> {
    let mut opened = Vec::new();
    loop {
        let commits = node.catalog.commits_since(seq, COMMITS_AT_ONCE).await?;
        let full = commits.len() == COMMITS_AT_ONCE;
        for commit in commits {
            seq = seq.max(commit.seq);
            if commit.table == table && commit.cause == CommitCause::Publish {
                opened.extend(commit.opened.into_iter().map(|id| (commit.seq, id)));
            }
        }
        if !full {
            return Ok(opened);
        }
    }
}
