//! `POST /api/v1/push/{table}`: rows from any program.
//!
//! An answer of 200 means that the next query sees the rows. Without `onError=skip` one bad row refuses the whole body and
//! nothing is stored, so that a corrected body can be sent again as it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, Request, State};
use freshet_ingest::source::push::{Acknowledge, OnError, PushRequest};
use freshet_segment::id::TableName;
use serde_json::{Value, json};

use super::body;
use super::reply::Problem;
use crate::nearest::did_you_mean;
use crate::node::Node;

/// Rejected rows listed in an answer; all of them are dead letters.
const ERRORS_LISTED_MAX: usize = 100;

/// Parameters of the query string.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    time_column: Option<String>,
    skip: bool,
}

/// `POST /api/v1/push/{table}`.
pub async fn push(
    State(node): State<Arc<Node>>,
    Path(table): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let received = node.clock.now();
    let name: TableName = table.parse()?;
    let asked = parse(request.uri().query().unwrap_or_default())?;
    let (parts, body) = request.into_parts();
    let packed = body::read(&parts.headers, body, body::PUSH_BYTES_MAX).await?;
    node.telemetry.push_bytes.fetch_add(packed.len() as u64, Ordering::Relaxed);
    let encoding = body::encoding(&parts.headers);
    // Unpacking and reading rows take long: beside the queries, not on the sockets' threads. The tracker makes a stop wait for
    // the rows of a client that has gone in the meantime.
    let task = {
        let node = Arc::clone(&node);
        async move {
            let bytes = body::unpack(encoding.as_deref(), packed, body::PUSH_BYTES_UNPACKED_MAX)?;
            let on_error = if asked.skip { OnError::Skip } else { OnError::Reject };
            let push = PushRequest {
                table: name,
                body: bytes,
                on_error,
                time_column: asked.time_column,
                received,
                key: None,
                acknowledge: Acknowledge::Journal,
            };
            node.ingest.push(push).await.map_err(Problem::from)
        }
    };
    let pushed = node.work.spawn_on(task, &node.compute).await;
    let reply = pushed.map_err(|_| Problem::internal("reading the rows failed; the log says where"))??;
    node.marks.push(&table);
    let errors: Vec<Value> = reply
        .rejected
        .iter()
        .take(ERRORS_LISTED_MAX)
        // People count rows from 1.
        .map(|row| json!({"row": row.row + 1, "at": row.at, "reason": row.reason, "hint": row.hint}))
        .collect();
    Ok(Json(json!({
        "table": table,
        "accepted": reply.accepted,
        "rejected": reply.rejected_count,
        "errors": errors,
    })))
}

fn parse(query: &str) -> Result<Asked, Problem> {
    const KNOWN: [&str; 3] = ["timestampColumn", "onError", "wait"];
    let mut asked = Asked::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_encoding::percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| Problem::invalid(format!("parameter {name} is not UTF-8 text")).at(name))?;
        match (name, &*value) {
            ("timestampColumn", "") => {
                return Err(Problem::invalid("parameter timestampColumn is empty").at(name).hint("name the field"));
            }
            ("timestampColumn", column) => asked.time_column = Some(column.to_owned()),
            ("onError", "skip") => asked.skip = true,
            ("onError", "reject") => asked.skip = false,
            ("wait", "visible") => {}
            ("onError" | "wait", other) => {
                let cure = if name == "wait" { "visible" } else { "skip or reject" };
                return Err(Problem::invalid(format!("parameter {name} is {other:?}"))
                    .at(name)
                    .hint(format!("take {cure}, or leave it out")));
            }
            (other, _) => {
                return Err(
                    Problem::invalid(format!("parameter {other} is not known{}", did_you_mean(other, KNOWN))).at(other)
                );
            }
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_or_refused_by_name() {
        let asked = parse("timestampColumn=event%20time&onError=skip&wait=visible").unwrap();
        assert_eq!(asked, Asked { time_column: Some("event time".to_owned()), skip: true });
        assert_eq!(parse("").unwrap(), Asked::default());
        for (query, part) in [
            ("onErorr=skip", "did you mean \"onError\"?"),
            ("onError=ignore", "onError is \"ignore\""),
            ("wait=published", "wait is \"published\""),
            ("timestampColumn=", "is empty"),
            ("timestampColumn=%ff", "not UTF-8"),
        ] {
            let problem = parse(query).unwrap_err();
            assert!(problem.message.contains(part), "{query}: {}", problem.message);
        }
    }
}
