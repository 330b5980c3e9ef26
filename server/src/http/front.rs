//! What is answered before the node can answer: that the process lives, and that everything else comes in a moment.
//!
//! The listener opens before the catalog is read and the journals are opened, so a supervisor of processes sees a live one at
//! once. No table is answered for until all of them are known with all their sealed segments: a table that is not listed yet
//! would be refused as missing, and a smaller count is worse than no answer.

use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::json;
use tower::ServiceExt as _;

use super::reply::Problem;

/// The door: closed first, then the node's.
#[derive(Debug, Clone, Default)]
pub struct Front {
    router: Arc<OnceLock<Router>>,
}

impl Front {
    /// What the listener serves from its first moment on.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// From now on this answers everything. Later calls change nothing.
    pub fn open(&self, router: Router) {
        let _opened_before = self.router.set(router);
    }
}

async fn answer(State(front): State<Front>, request: Request) -> Response {
    if let Some(router) = front.router.get() {
        return match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    match request.uri().path() {
        "/health/live" => Json(json!({"live": true})).into_response(),
        "/health/ready" => {
            let body = json!({"ready": false, "reason": "the server is starting"});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
        _ => {
            let mut problem = Problem::unavailable("the server is starting and does not know its tables yet")
                .hint("ask again in a moment; /health/ready says when");
            problem.code = "RECOVERING";
            let body = problem.body(&uuid::Uuid::new_v4().to_string());
            let mut response = problem.into_response();
            *response.body_mut() = body.to_string().into();
            let json = axum::http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(axum::http::header::CONTENT_TYPE, json);
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;

    use super::*;

    async fn ask(front: &Front, path: &str) -> (u16, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = front.router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_starting_server_lives_and_asks_to_wait() {
        let front = Front::default();
        assert_eq!(ask(&front, "/health/live").await, (200, "{\"live\":true}".to_owned()));
        assert_eq!(ask(&front, "/health/ready").await.0, 503);
        let (status, body) = ask(&front, "/druid/v2/sql").await;
        assert!(status == 503 && body.contains("\"errorCode\":\"RECOVERING\""), "{status} {body}");
        front.open(Router::new().route("/x", get(|| async { "the node" })));
        assert_eq!(ask(&front, "/x").await, (200, "the node".to_owned()));
        assert_eq!(ask(&front, "/y").await.0, 404);
    }
}
