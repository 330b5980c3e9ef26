//! The page: embedded in the binary, or from a folder while someone works on it (`--ui-dir`).
//!
//! `/` and Druid's `/unified-console.html` lead to `/ui/`. Below it a known file is sent as stored (gzip, ETag), and every other
//! path is the page itself, whose routes are made in the browser; only below `assets/` a missing file is a 404, because HTML in
//! place of a script hides the cause. The page is sent with a fresh nonce each time, so it has no ETag.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use freshet_dashboards::assets;

use super::reply::Problem;
use crate::node::Node;

/// `/`, `/ui` and `/unified-console.html`.
pub async fn redirect() -> Response {
    let mut response = Redirect::to("/ui/").into_response();
    *response.status_mut() = StatusCode::FOUND;
    response
}

/// `/ui/`.
pub async fn index(State(node): State<Arc<Node>>) -> Result<Response, Problem> {
    page(&node)
}

/// `/ui/{*path}`.
pub async fn file(
    State(node): State<Arc<Node>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found(format!("there is no file {path} in the page"));
    if let Some(folder) = &node.ui {
        let found = tokio::task::block_in_place(|| folder.asset(&path))
            .map_err(|error| Problem::internal(format!("cannot read {path}: {error}")))?;
        return match found {
            Some(found) => {
                Ok(with_headers(([(header::CONTENT_TYPE, found.content_type)], found.bytes).into_response()))
            }
            None if path.starts_with("assets/") => Err(missing()),
            None => page(&node),
        };
    }
    let Some(found) = assets::asset(&path) else {
        return if path.starts_with("assets/") { Err(missing()) } else { page(&node) };
    };
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| matches_tag(tag, found.etag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else if accepts_gzip(&headers) {
        let encoded = [(header::CONTENT_ENCODING, "gzip"), (header::CONTENT_TYPE, found.content_type)];
        (encoded, found.gzip).into_response()
    } else {
        ([(header::CONTENT_TYPE, found.content_type)], found.inflate()).into_response()
    };
    let own = response.headers_mut();
    own.insert(header::ETAG, HeaderValue::from_static(found.etag));
    own.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    Ok(with_headers(response))
}

fn page(node: &Node) -> Result<Response, Problem> {
    // 122 random bits of the system, as base64.
    let nonce = base64::engine::general_purpose::STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
    let html = match &node.ui {
        Some(folder) => tokio::task::block_in_place(|| folder.index(&nonce))
            .map_err(|error| Problem::internal(format!("cannot read index.html: {error}")))?,
        None => assets::index(&nonce),
    };
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    let policy = HeaderValue::try_from(assets::content_security_policy(&nonce))
        .map_err(|_| Problem::internal("the page's policy is not a header"))?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(with_headers(response))
}

fn with_headers(mut response: Response) -> Response {
    for (name, value) in assets::HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn matches_tag(asked: &str, etag: &str) -> bool {
    let asked = asked.trim();
    asked == "*" || asked.strip_prefix("W/").unwrap_or(asked) == etag
}

/// Whether `Accept-Encoding` names gzip (or `*`) with a weight above 0.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| {
            let mut fields = part.split(';').map(str::trim);
            let name = fields.next().unwrap_or_default();
            let refused = fields.any(|field| {
                field.strip_prefix("q=").is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
            });
            (name.eq_ignore_ascii_case("gzip") || name == "*") && !refused
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_those_who_take_it() {
        let accepts = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            accepts_gzip(&headers)
        };
        assert!(accepts("gzip, deflate, br"));
        assert!(accepts("br;q=1.0, GZIP;q=0.5"));
        assert!(accepts("*"));
        assert!(!accepts("gzip;q=0, br"));
        assert!(!accepts("identity"));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn etags_match_weakly() {
        assert!(matches_tag(" W/\"a\"", "\"a\"") && matches_tag("\"a\"", "\"a\"") && matches_tag("*", "\"a\""));
        assert!(!matches_tag("\"b\"", "\"a\"") && !matches_tag("a", "\"a\""));
    }
}
