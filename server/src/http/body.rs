//! Request bodies, with every limit checked before the memory is taken.
//!
//! A body that names its length is refused by it; one that does not is counted while it comes. A gzip body is unpacked in steps
//! and refused as soon as it grows past 20 times what was sent or past 256 MiB: a few kilobytes can unpack to gigabytes.

use std::io::Read as _;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use super::reply::Problem;

/// Largest body of a push, as received.
pub const PUSH_BYTES_MAX: usize = 64 << 20;
/// Largest body of a push, unpacked.
pub const PUSH_BYTES_UNPACKED_MAX: usize = 256 << 20;
/// Largest SQL request.
pub const SQL_BYTES_MAX: usize = 1 << 20;
/// Largest spec and other JSON.
pub const SPEC_BYTES_MAX: usize = 1 << 20;
/// How many times larger than received a body may become.
const UNPACKED_RATIO_MAX: usize = 20;
/// Small bodies may unpack to this much whatever the ratio.
const UNPACKED_ALWAYS: usize = 64 << 10;
const STEP: usize = 64 << 10;

/// Reads a body whole.
///
/// # Errors
/// 413 past the limit, 400 when the client stops in the middle.
pub async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    let too_large = |bytes: String| {
        Problem::too_large(format!("the body takes {bytes} bytes, and at most {bytes_max} are read"))
            .hint("send it in several smaller requests")
    };
    if let Some(length) = length
        && length > bytes_max
    {
        return Err(too_large(length.to_string()));
    }
    let mut all = BytesMut::with_capacity(length.unwrap_or(0));
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        let piece =
            piece.map_err(|error| Problem::invalid(format!("the body ended after {} bytes: {error}", all.len())))?;
        if all.len() + piece.len() > bytes_max {
            return Err(too_large(format!("more than {bytes_max}")));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// Undoes `Content-Encoding`. Call it where a few hundred milliseconds of work disturb nobody.
///
/// # Errors
/// 415 for another encoding than gzip, 413 past a limit, 400 for bytes that are not gzip.
pub fn unpack(encoding: Option<&str>, packed: Bytes, bytes_max: usize) -> Result<Bytes, Problem> {
    match encoding.map(str::trim) {
        None | Some("" | "identity") => return Ok(packed),
        Some(name) if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {}
        Some(other) => {
            return Err(Problem::media_type(format!("Content-Encoding {other:?} is not taken here"))
                .hint("send the body as it is, or gzip"));
        }
    }
    let by_ratio = packed.len().saturating_mul(UNPACKED_RATIO_MAX).max(UNPACKED_ALWAYS);
    let limit = by_ratio.min(bytes_max);
    let mut decoder = MultiGzDecoder::new(packed.as_ref());
    let mut plain = Vec::new();
    let mut step = vec![0_u8; STEP];
    loop {
        let read = decoder.read(&mut step).map_err(|error| {
            Problem::invalid(format!("the body is not sound gzip: {error}"))
                .at(format!("byte {} of the unpacked body", plain.len()))
                .hint("send the whole gzip file, or the body without Content-Encoding")
        })?;
        if read == 0 {
            return Ok(plain.into());
        }
        if plain.len() + read > limit {
            let why = if limit < bytes_max {
                format!("more than {UNPACKED_RATIO_MAX} times the {} bytes sent", packed.len())
            } else {
                format!("more than {bytes_max} bytes")
            };
            return Err(Problem::too_large(format!("the body unpacks to {why}"))
                .hint("send it in several smaller requests, or without compression"));
        }
        plain.extend_from_slice(step.get(..read).unwrap_or_default());
    }
}

/// The value of `Content-Encoding`.
#[must_use]
pub fn encoding(headers: &HeaderMap) -> Option<String> {
    headers.get(header::CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Reads JSON of a known type.
///
/// # Errors
/// 400 with line and column.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| json_problem(&error))
}

/// What a JSON error means to the sender.
#[must_use]
pub fn json_problem(error: &serde_json::Error) -> Problem {
    let at = (error.line() > 0).then(|| format!("{}:{}", error.line(), error.column()));
    let text = error.to_string();
    // serde_json ends its text with the place, which has its own field.
    let text = text.split(" at line ").next().unwrap_or(&text).to_owned();
    Problem::json(format!("the body cannot be read as JSON: {text}"), at)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use axum::http::StatusCode;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(plain: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn gzip_is_undone_and_other_encodings_are_refused() {
        let plain = b"{\"a\":1}\n".repeat(1_000);
        assert_eq!(unpack(Some("gzip"), gzip(&plain), 1 << 20).unwrap(), plain);
        assert_eq!(unpack(None, Bytes::from_static(b"x"), 1).unwrap(), "x");
        let error = unpack(Some("br"), Bytes::new(), 1).unwrap_err();
        assert_eq!(error.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let error = unpack(Some("gzip"), Bytes::from_static(b"{\"a\":1}"), 1 << 20).unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        let mut cut = gzip(&plain).to_vec();
        cut.truncate(cut.len() - 5);
        assert_eq!(unpack(Some("gzip"), cut.into(), 1 << 20).unwrap_err().status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_bomb_is_refused_while_it_unpacks() {
        let bomb = gzip(&vec![b' '; 8 << 20]);
        let error = unpack(Some("gzip"), bomb.clone(), 256 << 20).unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(error.message.contains("20 times"), "{}", error.message);
        let error = unpack(Some("gzip"), bomb, 50_000).unwrap_err();
        assert!(error.message.contains("more than 50000 bytes"), "{}", error.message);
    }

    #[tokio::test]
    async fn a_body_is_measured_before_and_while_it_is_read() {
        let error = read(&HeaderMap::new(), Body::from("12345"), 4).await.unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 5.into());
        let error = read(&headers, Body::empty(), 4).await.unwrap_err();
        assert!(error.message.contains("takes 5 bytes"), "{}", error.message);
        assert_eq!(read(&HeaderMap::new(), Body::from("1234"), 4).await.unwrap(), "1234");
    }

    #[test]
    fn a_json_error_has_its_place() {
        let problem = json::<serde_json::Value>(b"{\n  \"a\": tru\n}").unwrap_err();
        assert_eq!(problem.at.as_deref(), Some("3:0"));
        assert_eq!(problem.message, "the body cannot be read as JSON: expected ident");
    }
}
