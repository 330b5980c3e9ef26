//! `POST /api/v1/push/{table}`: rows from any program.
//!
//! An answer of 200 means that the rows survive a crash and that the next query sees them. `wait=published` waits until they are in
//! sealed files; `ack=memory` does not wait for the disk, and a crash within some milliseconds loses what was answered so.
//! Without `onError=skip` one bad row refuses the whole body and nothing is stored, so that a corrected body can be sent again as
//! it is. A body sent again with the same `Idempotency-Key` is stored once and gets the first answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName};
use freshet_ingest::source::push::{Acknowledge, KEY_BYTES_MAX, OnError, PushRequest};
use freshet_segment::id::TableName;
use serde_json::{Value, json};

use super::body;
use super::reply::Problem;
use crate::nearest::did_you_mean;
use crate::node::Node;

/// Rejected rows listed in an answer; all of them are dead letters.
const ERRORS_LISTED_MAX: usize = 100;

/// Names a push among retries of it.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Parameters of the query string.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    time_column: Option<String>,
    skip: bool,
    memory: bool,
    published: bool,
}

impl Asked {
    fn acknowledge(&self) -> Result<Acknowledge, Problem> {
        match (self.memory, self.published) {
            (true, true) => Err(Problem::invalid("ack=memory and wait=published contradict each other")
                .at("ack")
                .hint("leave one of them out: published rows are in files")),
            (true, false) => Ok(Acknowledge::Memory),
            (false, true) => Ok(Acknowledge::Published),
            (false, false) => Ok(Acknowledge::Journal),
        }
    }
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
    let acknowledge = asked.acknowledge()?;
    let (parts, body) = request.into_parts();
    let key = key(&parts.headers)?;
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
            let time_column = asked.time_column;
            let push = PushRequest { table: name, body: bytes, on_error, time_column, received, key, acknowledge };
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

/// The name of this push among retries of it.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let refused = |why: String| Problem::invalid(why).at("Idempotency-Key").hint("send a random text, such as a UUID");
    if headers.get_all(IDEMPOTENCY_KEY).iter().count() > 1 {
        return Err(refused("Idempotency-Key is sent more than once".to_owned()));
    }
    let text = value.to_str().map_err(|_| refused("Idempotency-Key is not plain ASCII text".to_owned()))?.trim();
    match text.len() {
        0 => Err(refused("Idempotency-Key is empty".to_owned())),
        1..=KEY_BYTES_MAX => Ok(Some(text.to_owned())),
        bytes => Err(refused(format!("Idempotency-Key has {bytes} bytes, and at most {KEY_BYTES_MAX} are taken"))),
    }
}

fn parse(query: &str) -> Result<Asked, Problem> {
    const KNOWN: [&str; 4] = ["timestampColumn", "onError", "ack", "wait"];
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
            ("wait", "visible") => asked.published = false,
            ("wait", "published") => asked.published = true,
            ("ack", "journal") => asked.memory = false,
            ("ack", "memory") => asked.memory = true,
            ("onError" | "wait" | "ack", other) => {
                let cure = match name {
                    "wait" => "visible or published",
                    "ack" => "journal or memory",
                    _ => "skip or reject",
                };
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
        assert_eq!(
            asked,
            Asked { time_column: Some("event time".to_owned()), skip: true, memory: false, published: false }
        );
        assert_eq!(parse("").unwrap(), Asked::default());
        for (query, part) in [
            ("onErorr=skip", "did you mean \"onError\"?"),
            ("onError=ignore", "onError is \"ignore\""),
            ("wait=durable", "wait is \"durable\""),
            ("ack=disk", "ack is \"disk\""),
            ("timestampColumn=", "is empty"),
            ("timestampColumn=%ff", "not UTF-8"),
        ] {
            let problem = parse(query).unwrap_err();
            assert!(problem.message.contains(part), "{query}: {}", problem.message);
        }
    }

    #[test]
    fn the_moment_of_the_answer_is_chosen() {
        let of = |query: &str| parse(query).and_then(|asked| asked.acknowledge());
        for (query, expected) in [
            ("", Acknowledge::Journal),
            ("ack=journal&wait=visible", Acknowledge::Journal),
            ("ack=memory", Acknowledge::Memory),
            ("wait=published", Acknowledge::Published),
            ("ack=journal&wait=published", Acknowledge::Published),
        ] {
            assert_eq!(of(query).unwrap(), expected, "{query}");
        }
        assert!(of("ack=memory&wait=published").unwrap_err().message.contains("contradict"));
    }

    #[test]
    fn a_key_is_a_short_text() {
        let of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, axum::http::HeaderValue::from_bytes(value).unwrap());
            }
            key(&headers)
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[b" a-1 "]).unwrap().as_deref(), Some("a-1"));
        assert_eq!(of(&[&[b'x'; 255]]).unwrap().map(|key| key.len()), Some(255));
        for bad in [&[&b""[..]][..], &[b"\xff"], &[&[b'x'; 256]], &[b"a", b"b"]] {
            assert_eq!(of(bad).unwrap_err().at.as_deref(), Some("Idempotency-Key"), "{bad:?}");
        }
    }
}
