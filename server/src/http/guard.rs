//! What every request passes before a handler sees it.
//!
//! ```text
//! request id, log line, metrics, error bodies → panics → odd paths → Host → Origin → content type → draining → router
//! ```
//!
//! The Host check stops DNS rebinding: a page of a foreign site can make the browser resolve its own name to 127.0.0.1, but it
//! cannot make the browser send a loopback name. Origin and content type stop foreign pages from sending state-changing requests
//! with the user's browser: a form can post, but only as a form. There is no CORS, so foreign pages never read an answer. Paths
//! that different programs read differently (`;`, encoded slashes and dots, `..`, `//`, NUL) are refused rather than normalised.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::reply::Problem;
use crate::node::Node;

/// Request headers together; B1.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// Name of the header that carries the request's id back.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, in its extensions.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// Outermost: gives the request its id, writes the log line and counts, and gives every [`Problem`] its body.
pub async fn request(State(node): State<Arc<Node>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id: Arc<str> = uuid::Uuid::new_v4().to_string().into();
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let headers = std::mem::take(response.headers_mut());
        response = axum::Json(problem.body(&id)).into_response();
        *response.status_mut() = problem.status;
        for (name, value) in &headers {
            if name != header::CONTENT_LENGTH {
                response.headers_mut().insert(name, value.clone());
            }
        }
        let status = problem.status.as_u16();
        if problem.status.is_server_error() {
            tracing::warn!(%method, path, status, request = %id, reason = problem.message, "failed");
        } else {
            // The reason may hold values of rows, which are nobody's business in a log that is always on.
            tracing::info!(%method, path, status, request = %id, "refused");
            tracing::debug!(request = %id, reason = problem.message, "why");
        }
    } else {
        tracing::debug!(%method, path, status = response.status().as_u16(), request = %id, ms = started.elapsed().as_millis() as u64, "answered");
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    node.telemetry.http(response.status(), started.elapsed());
    response
}

/// A panic of a handler becomes a 500; the panic hook has counted and logged it.
pub fn panicked(_: Box<dyn Any + Send>) -> Response {
    Problem::internal("the server failed on this request; the log says where")
        .hint("this is a defect of Freshet: please report it with the request's id")
        .into_response()
}

/// Refuses what no honest client sends, and new work while the server stops.
pub async fn check(State(node): State<Arc<Node>>, request: Request, next: Next) -> Result<Response, Problem> {
    let uri = request.uri();
    check_path(uri.path())?;
    check_headers(request.headers())?;
    let host = match request.headers().get(header::HOST) {
        Some(host) => host.to_str().unwrap_or_default().to_owned(),
        None => uri.authority().map(ToString::to_string).unwrap_or_default(),
    };
    check_host(&host)?;
    let upgrade =
        request.headers().get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes || upgrade {
        check_origin(request.headers(), &host)?;
    }
    if changes {
        check_content_type(request.method(), uri.path(), request.headers())?;
    }
    let watching = uri.path().starts_with("/health/") || uri.path().starts_with("/status") || uri.path() == "/metrics";
    if node.stopping.is_cancelled() && !watching {
        return Err(
            Problem::unavailable("the server is shutting down").hint("send the request again once the server is back")
        );
    }
    Ok(next.run(request).await)
}

fn check_path(path: &str) -> Result<(), Problem> {
    let lower = path.to_ascii_lowercase();
    let odd = ["//", ";", "\\", "\0", "%2f", "%5c", "%2e", "%00", "%3b"].into_iter().find(|part| lower.contains(part));
    let dots = path.split('/').any(|part| part == ".." || part == ".");
    match odd {
        Some(part) => Err(Problem::invalid(format!("the path contains {part:?}")).hint(
            "write each part of the path once, without encoded slashes or dots; encode other odd characters with %",
        )),
        None if dots => {
            Err(Problem::invalid("the path contains a part of dots only").hint("write the path without . and .. parts"))
        }
        None => Ok(()),
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(Problem::too_large(format!(
            "the headers take {bytes} bytes, and at most {HEADER_BYTES_MAX} are read"
        ))
        .status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    Ok(())
}

/// The server listens on loopback only, so only loopback names are its own.
fn check_host(host: &str) -> Result<(), Problem> {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if loopback {
        return Ok(());
    }
    let shown: String = host.chars().take(100).collect();
    Err(Problem::forbidden(format!("Host {shown:?} is not a name of this server"))
        .hint("use http://localhost or http://127.0.0.1 with the server's port"))
}

fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let own = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(|rest| rest.eq_ignore_ascii_case(host));
        if !own {
            let shown: String = origin.chars().take(100).collect();
            return Err(Problem::forbidden(format!(
                "Origin {shown:?} is not this server's, and pages of other sites may not change or follow anything here"
            ))
            .hint("open the page of this server itself, or call it from a program rather than from another page"));
        }
    } else if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return Err(
            Problem::forbidden("a page of another site sent this request").hint("open the page of this server itself")
        );
    }
    Ok(())
}

/// JSON for all that changes something; push takes its own types, SQL also text and what plain `curl --data` sends. A request
/// without a body needs no type, unless a browser could have sent it as a simple request: a POST.
fn check_content_type(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
        && !headers.contains_key(header::TRANSFER_ENCODING);
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| {
        let text = value.to_str().unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    });
    let push = path.starts_with("/api/v1/push/");
    let sql = path == "/druid/v2/sql" || path == "/druid/v2/sql/";
    match content_type.as_deref() {
        Some("application/json") => Ok(()),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/json-lines")
            if push =>
        {
            Ok(())
        }
        Some("text/plain" | "application/x-www-form-urlencoded") if sql => Ok(()),
        None if empty && (method != Method::POST || !is_browser(headers)) => Ok(()),
        other => {
            let said = other.map_or("no Content-Type".to_owned(), |name| format!("Content-Type {name:?}"));
            let cure = if push {
                "send application/json (one object, an array of objects, or objects one after another) or application/x-ndjson"
            } else if sql {
                "send application/json with a \"query\", or the SQL itself as text/plain"
            } else {
                "send Content-Type: application/json"
            };
            Err(Problem::media_type(format!("{said} is not taken here")).hint(cure))
        }
    }
}

fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// The answer to a path that does not exist.
pub async fn unknown_path(request: Request<Body>) -> Problem {
    let shown: String = request.uri().path().chars().take(200).collect();
    Problem::not_found(format!("there is no {shown}"))
        .hint("the page is at /ui/, SQL at POST /druid/v2/sql, push at POST /api/v1/push/{table}")
}

/// The answer to a method that a path does not have.
pub async fn unknown_method(request: Request<Body>) -> Problem {
    let shown: String = request.uri().path().chars().take(200).collect();
    Problem::invalid(format!("{shown} has no {}", request.method())).status(StatusCode::METHOD_NOT_ALLOWED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_refused() {
        for path in ["/a//b", "/a;b", "/a/../b", "/a/./b", "/a%2Fb", "/a%2e%2e/b", "/a%00", "/a\\b", "/a%5Cb", "/.."] {
            assert_eq!(check_path(path).unwrap_err().status, StatusCode::BAD_REQUEST, "{path}");
        }
        for path in ["/", "/ui/assets/index.js", "/api/v1/tables/a%20b", "/druid/v2/sql/", "/a..b"] {
            assert!(check_path(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn only_loopback_names_are_hosts() {
        for host in ["localhost", "localhost:8888", "127.0.0.1:8888", "[::1]:8888", "LOCALHOST:1", "127.3.4.5"] {
            assert!(check_host(host).is_ok(), "{host}");
        }
        for host in
            ["", "example.com", "127.0.0.1.example.com:8888", "localhost.example.com", "10.0.0.1", "[::2]:1", "0.0.0.0"]
        {
            assert_eq!(check_host(host).unwrap_err().status, StatusCode::FORBIDDEN, "{host}");
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn foreign_origins_are_refused() {
        let host = "127.0.0.1:8888";
        for good in [
            &[][..],
            &[("origin", "http://127.0.0.1:8888")],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(check_origin(&headers(good), host).is_ok(), "{good:?}");
        }
        for bad in [
            &[("origin", "http://127.0.0.1:9999")][..],
            &[("origin", "http://example.com")],
            &[("origin", "null")],
            &[("origin", "http://localhost:8888")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(check_origin(&headers(bad), host).unwrap_err().status, StatusCode::FORBIDDEN, "{bad:?}");
        }
    }

    #[test]
    fn simple_requests_of_foreign_forms_do_not_pass() {
        let check = |method: Method, path: &str, pairs: &[(&'static str, &'static str)]| {
            check_content_type(&method, path, &headers(pairs)).map_err(|problem| problem.status)
        };
        let unsupported = Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let demo = "/api/v1/demo";
        assert_eq!(check(Method::POST, demo, &[("content-type", "application/json; charset=utf-8")]), Ok(()));
        assert_eq!(check(Method::POST, demo, &[("content-type", "text/plain"), ("content-length", "3")]), unsupported);
        assert_eq!(check(Method::POST, demo, &[("content-type", "multipart/form-data; boundary=x")]), unsupported);
        assert_eq!(check(Method::POST, demo, &[("content-length", "3")]), unsupported);
        assert_eq!(check(Method::POST, demo, &[("transfer-encoding", "chunked")]), unsupported);
        assert_eq!(check(Method::POST, "/druid/indexer/v1/supervisor/x/suspend", &[]), Ok(()));
        assert_eq!(check(Method::POST, demo, &[("sec-fetch-site", "same-origin")]), unsupported);
        assert_eq!(check(Method::DELETE, demo, &[]), Ok(()));
        let push = "/api/v1/push/t";
        assert_eq!(check(Method::POST, push, &[("content-type", "application/x-ndjson")]), Ok(()));
        assert_eq!(check(Method::POST, push, &[("content-type", "text/csv")]), unsupported);
        assert_eq!(check(Method::POST, "/druid/v2/sql", &[("content-type", "text/plain")]), Ok(()));
    }
}
