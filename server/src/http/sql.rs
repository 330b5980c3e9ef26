//! `POST /druid/v2/sql`: Druid's SQL over HTTP (contract 1.2 to 1.8), and `resultFormat: arrow`, which is ours.
//!
//! Unknown fields and context keys are ignored, because clients of other versions send some; a known one with a value that
//! cannot be meant is refused. Leading `SET` statements of the text are context keys that win. The answer streams: its status is decided by the first batch, and what fails later cuts the body
//! short, which every format makes visible.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use freshet_query::{Parameter, ParameterValue, QueryOptions, QueryRequest};
use freshet_segment::time::Zone;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::body;
use super::encode::{Format, Shape};
use super::guard::RequestId;
use super::partial;
use super::reply::Problem;
use crate::nearest::did_you_mean;
use crate::node::Node;
use crate::queries;

const SQL_QUERY_ID: HeaderName = HeaderName::from_static("x-druid-sql-query-id");
const QUERY_ID: HeaderName = HeaderName::from_static("x-druid-query-id");
const HEADER_INCLUDED: HeaderName = HeaderName::from_static("x-druid-sql-header-included");
/// Longest id that a client may choose.
const QUERY_ID_CHARS_MAX: usize = 200;
/// Arrays in arrays of a parameter.
const ARRAY_DEPTH_MAX: usize = 8;

/// The body as clients write it. `null` counts as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SqlBody {
    query: Option<String>,
    context: Option<Map<String, Value>>,
    header: Option<bool>,
    result_format: Option<String>,
    types_header: Option<bool>,
    sql_types_header: Option<bool>,
    parameters: Option<Vec<Option<SqlParameter>>>,
}

#[derive(Debug, Deserialize)]
struct SqlParameter {
    #[serde(rename = "type")]
    sql_type: String,
    #[serde(default)]
    value: Value,
}

/// `POST /druid/v2/sql`.
pub async fn run(State(node): State<Arc<Node>>, request: Request) -> Response {
    let request_id = request.extensions().get::<RequestId>().map(|id| Arc::clone(&id.0));
    let mut query_id = request_id.as_deref().unwrap_or_default().to_owned();
    let answered = answer(&node, request, &mut query_id).await;
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    if let Ok(value) = HeaderValue::from_str(&query_id) {
        response.headers_mut().insert(SQL_QUERY_ID, value.clone());
        response.headers_mut().insert(QUERY_ID, value);
    }
    response
}

async fn answer(node: &Arc<Node>, request: Request, query_id: &mut String) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&parts.headers, body, body::SQL_BYTES_MAX).await?;
    let bytes = body::unpack(body::encoding(&parts.headers).as_deref(), bytes, body::SQL_BYTES_MAX)?;
    let body = parse(&parts.headers, &bytes)?;
    let (query, shape) = understand(body, query_id, node.config.query_timeout())?;
    let header = shape.header;
    let format = shape.format;
    let answer = queries::open(node, query, shape).await?;
    let missing = answer.missing.clone();
    let pieces = answer.into_stream().map(|piece| {
        piece.map_err(|problem| {
            tracing::info!(reason = problem.message, "an answer was cut short");
            std::io::Error::other(problem.message.clone())
        })
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    if header {
        headers.insert(HEADER_INCLUDED, HeaderValue::from_static("yes"));
    }
    partial::mark(headers, &missing);
    Ok(response)
}

/// `DELETE /druid/v2/sql/{id}`: 202 when something was cancelled, 404 when nothing has the id.
pub async fn cancel(State(node): State<Arc<Node>>, Path(id): Path<String>) -> StatusCode {
    if queries::cancel(&node, &id) > 0 { StatusCode::ACCEPTED } else { StatusCode::NOT_FOUND }
}

fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<SqlBody, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let kind = content_type.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let text = || {
        std::str::from_utf8(bytes).map_err(|error| {
            Problem::invalid("the query is not UTF-8 text").at(format!("byte {}", error.valid_up_to()))
        })
    };
    let query = if kind.eq_ignore_ascii_case("text/plain") {
        text()?.to_owned()
    } else if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let plus = text()?.replace('+', " ");
        percent_encoding::percent_decode_str(&plus)
            .decode_utf8()
            .map_err(|_| Problem::invalid("the query is not UTF-8 text once its % escapes are undone"))?
            .into_owned()
    } else {
        return body::json(bytes);
    };
    Ok(SqlBody { query: Some(query), ..SqlBody::default() })
}

/// Body → request and shape. `query_id` becomes the client's, where it names one.
fn understand(body: SqlBody, query_id: &mut String, timeout: Duration) -> Result<(QueryRequest, Shape), Problem> {
    let mut context = body.context.unwrap_or_default();
    name_query(&context, query_id)?;
    let Some(sql) = body.query.filter(|query| !query.trim().is_empty()) else {
        return Err(Problem::invalid("the request has no query").at("/query").hint("send {\"query\": \"SELECT ...\"}"));
    };
    context.extend(freshet_query::settings(&sql)?.into_iter().map(|(key, value)| (key, Value::String(value))));
    name_query(&context, query_id)?;
    let format = match body.result_format.as_deref() {
        None => Format::Object,
        Some(name) => Format::parse(name).ok_or_else(|| {
            let names = Format::NAMES.map(|(name, _)| name);
            Problem::json(
                format!("result format {name:?} is not known{}", did_you_mean(name, names)),
                Some("/resultFormat".to_owned()),
            )
            .hint(format!("take one of {}", names.join(", ")))
        })?,
    };
    let header = body.header.unwrap_or(false);
    for (given, name) in [(body.types_header, "typesHeader"), (body.sql_types_header, "sqlTypesHeader")] {
        if given == Some(true) && !header {
            return Err(Problem::invalid(format!("{name} is true without header"))
                .at(format!("/{name}"))
                .hint("set header to true as well"));
        }
    }
    let zone = match context.get("sqlTimeZone") {
        None | Some(Value::Null) => Zone::Utc,
        Some(Value::String(name)) => name.parse().map_err(|error| {
            Problem::context(format!("context key sqlTimeZone is {name:?}: {error}"), "sqlTimeZone")
                .hint("take a name such as Europe/Zurich, or an offset such as +02:00")
        })?,
        Some(other) => return Err(bad_context("sqlTimeZone", other, "a text such as \"Europe/Zurich\"")),
    };
    let timeout = match unsigned(&context, "timeout")? {
        None => Some(timeout),
        Some(0) => None,
        Some(millis) => Some(Duration::from_millis(millis)),
    };
    // 0 means no limit to Druid's console.
    let outer_limit = unsigned(&context, "sqlOuterLimit")?.filter(|limit| *limit > 0);
    let stringify_arrays = flag(&context, "sqlStringifyArrays", true)?;
    for hint in ["useApproximateCountDistinct", "useApproximateTopN"] {
        flag(&context, hint, true)?;
    }
    let allow_partial = flag(&context, "allowPartial", false)?;
    let parameters = body
        .parameters
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(index, parameter)| match parameter {
            Some(parameter) => read_parameter(&parameter.sql_type, parameter.value, &format!("/parameters/{index}")),
            None => Err(Problem::invalid(format!("parameter {} is null", index + 1))
                .at(format!("/parameters/{index}"))
                .hint("send {\"type\": \"VARCHAR\", \"value\": null} for a null")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = QueryOptions { zone, timeout, outer_limit, allow_partial, ..QueryOptions::default() };
    let shape = Shape {
        header,
        types: body.types_header.unwrap_or(false),
        sql_types: body.sql_types_header.unwrap_or(false),
        zone,
        stringify_arrays,
        produced: format == Format::Arrow,
        ..Shape::plain(format)
    };
    Ok((QueryRequest { query_id: query_id.clone(), sql, parameters, options }, shape))
}

/// Takes the client's name of the query.
fn name_query(context: &Map<String, Value>, query_id: &mut String) -> Result<(), Problem> {
    let Some(id) = context.get("sqlQueryId").filter(|id| !id.is_null()) else { return Ok(()) };
    let id = id.as_str().ok_or_else(|| bad_context("sqlQueryId", id, "a text"))?;
    if id.is_empty() || id.chars().count() > QUERY_ID_CHARS_MAX || id.chars().any(char::is_control) {
        let message = "context key sqlQueryId is empty, too long, or has control characters";
        return Err(Problem::context(message, "sqlQueryId"));
    }
    id.clone_into(query_id);
    Ok(())
}

/// One parameter, for SQL and for live subscriptions.
///
/// # Errors
/// 400 when the value is an object, an array of another type than `ARRAY` or nested too deep, or a number that no type holds.
pub fn read_parameter(sql_type: &str, value: Value, at: &str) -> Result<Parameter, Problem> {
    if value.is_array() && !sql_type.eq_ignore_ascii_case("ARRAY") {
        return Err(Problem::invalid(format!("a parameter of type {sql_type} is a single value, not an array"))
            .at(format!("{at}/value"))
            .hint("write one ? for each value, or give the type ARRAY"));
    }
    Ok(Parameter { sql_type: sql_type.to_owned(), value: parameter_value(value, &format!("{at}/value"), 0)? })
}

fn parameter_value(value: Value, at: &str, depth: usize) -> Result<ParameterValue, Problem> {
    Ok(match value {
        Value::Null => ParameterValue::Null,
        Value::Bool(value) => ParameterValue::Bool(value),
        Value::String(value) => ParameterValue::String(value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => ParameterValue::Long(value),
            (None, Some(value)) if !number.is_u64() => ParameterValue::Double(value),
            _ => {
                return Err(Problem::invalid(format!("{number} does not fit into 64 bits")).at(at));
            }
        },
        Value::Array(items) if depth < ARRAY_DEPTH_MAX => ParameterValue::Array(
            items
                .into_iter()
                .enumerate()
                .map(|(index, item)| parameter_value(item, &format!("{at}/{index}"), depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Value::Array(_) => {
            return Err(
                Problem::invalid(format!("a parameter's arrays are nested more than {ARRAY_DEPTH_MAX} deep")).at(at)
            );
        }
        Value::Object(_) => {
            return Err(Problem::invalid("a parameter is a value or an array of values, not an object")
                .at(at)
                .hint("write one ? for each value"));
        }
    })
}

/// A whole number that some clients send as text.
fn unsigned(context: &Map<String, Value>, key: &'static str) -> Result<Option<u64>, Problem> {
    match context.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) if number.as_u64().is_some() => Ok(number.as_u64()),
        // `1000.0` is the same number; some JSON writers know no others.
        Some(Value::Number(number)) if number.as_f64().and_then(whole).is_some() => Ok(number.as_f64().and_then(whole)),
        Some(Value::String(text)) if text.parse::<u64>().is_ok() => Ok(text.parse().ok()),
        Some(other) => Err(bad_context(key, other, "a whole number, 0 or more")),
    }
}

/// A double that is a whole number and small enough to be exact.
fn whole(number: f64) -> Option<u64> {
    let exact = number.fract() == 0.0 && (0.0..9.0e15).contains(&number);
    exact.then(|| format!("{number:.0}").parse().ok()).flatten()
}

/// True or false, which some clients send as text.
fn flag(context: &Map<String, Value>, key: &'static str, default: bool) -> Result<bool, Problem> {
    match context.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(bad_context(key, other, "true or false")),
    }
}

fn bad_context(key: &str, value: &Value, wanted: &str) -> Problem {
    let shown: String = value.to_string().chars().take(100).collect();
    Problem::context(format!("context key {key} is {shown}, but {wanted} is needed"), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(QueryRequest, Shape), Problem> {
        let mut id = "made".to_owned();
        understand(body::json(json.as_bytes())?, &mut id, Duration::from_secs(300))
    }

    #[test]
    fn the_contracts_fields_are_read() {
        let (query, shape) = read(
            r#"{"query":"SELECT ?","header":true,"typesHeader":true,"resultFormat":"ARRAYLINES","unknown":[1],
                "parameters":[{"type":"BIGINT","value":7},{"type":"VARCHAR","value":null},{"type":"DOUBLE","value":1.5}],
                "context":{"sqlQueryId":"q1","sqlTimeZone":"America/Los_Angeles","timeout":"1500","sqlOuterLimit":1001,
                           "sqlStringifyArrays":false,"somethingNew":{}}}"#,
        )
        .unwrap();
        assert_eq!((query.query_id.as_str(), query.sql.as_str()), ("q1", "SELECT ?"));
        let values: Vec<_> = query.parameters.iter().map(|parameter| parameter.value.clone()).collect();
        assert_eq!(values, [ParameterValue::Long(7), ParameterValue::Null, ParameterValue::Double(1.5)]);
        assert_eq!(query.options.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(query.options.outer_limit, Some(1001));
        assert!(!query.options.zone.is_utc());
        assert_eq!((shape.format, shape.header, shape.types, shape.sql_types), (Format::ArrayLines, true, true, false));
        assert!(!shape.stringify_arrays);
    }

    #[test]
    fn defaults_and_zero() {
        let (query, shape) = read(r#"{"query":"SELECT 1","context":null,"header":null}"#).unwrap();
        assert_eq!((query.query_id.as_str(), shape.format, shape.stringify_arrays), ("made", Format::Object, true));
        assert_eq!(query.options.timeout, Some(Duration::from_secs(300)));
        let (query, _) = read(r#"{"query":"SELECT 1","context":{"timeout":0,"sqlOuterLimit":0}}"#).unwrap();
        assert_eq!((query.options.timeout, query.options.outer_limit), (None, None));
        assert!(!query.options.allow_partial);
        let (query, _) = read(r#"{"query":"SELECT 1","context":{"allowPartial":true}}"#).unwrap();
        assert!(query.options.allow_partial);
    }

    #[test]
    fn set_statements_are_context_keys_that_win() {
        let (query, shape) = read(
            r#"{"query":"/* x */ SET sqlTimeZone = '+09:00'; SET sqlStringifyArrays = FALSE; SET sqlQueryId = 'mine';\n SET timeout = 9; SET sqlOuterLimit = 3; SET other = 1; SELECT 1",
                "context":{"sqlTimeZone":"UTC","sqlStringifyArrays":true,"sqlQueryId":"yours","timeout":1000.0,"sqlOuterLimit":5}}"#,
        )
        .unwrap();
        assert_eq!((query.query_id.as_str(), shape.stringify_arrays), ("mine", false));
        assert_eq!(
            (query.options.zone.to_string(), shape.zone.to_string()),
            ("+09:00".to_owned(), "+09:00".to_owned())
        );
        assert_eq!((query.options.timeout, query.options.outer_limit), (Some(Duration::from_millis(9)), Some(3)));
        let problem = read(r#"{"query":"SET timeout = 'soon'; SELECT 1"}"#).unwrap_err();
        assert_eq!((&*problem.error, problem.class.is_some()), ("Query context parse failed", true));
        let problem = read(r#"{"query":"SET timeout 5"}"#).unwrap_err();
        assert_eq!(problem.at.as_deref(), Some("1:1"));
    }

    #[test]
    fn bad_requests_say_where() {
        for (json, at, part) in [
            ("{}", "/query", "no query"),
            (r#"{"query":"  "}"#, "/query", "no query"),
            (r#"{"query":"SELECT 1","resultFormat":"arow"}"#, "/resultFormat", "did you mean \"arrow\"?"),
            (r#"{"query":"SELECT 1","typesHeader":true}"#, "/typesHeader", "without header"),
            (r#"{"query":"SELECT 1","parameters":[null]}"#, "/parameters/0", "parameter 1 is null"),
            (
                r#"{"query":"SELECT 1","parameters":[{"type":"ARRAY","value":[1,{}]}]}"#,
                "/parameters/0/value/1",
                "not an object",
            ),
            (
                r#"{"query":"SELECT 1","parameters":[{"type":"BIGINT","value":18446744073709551615}]}"#,
                "/parameters/0/value",
                "64 bits",
            ),
            (r#"{"query":"SELECT 1","context":{"timeout":-1}}"#, "/context/timeout", "0 or more"),
            (r#"{"query":"SELECT 1","context":{"sqlTimeZone":"Mars/Base"}}"#, "/context/sqlTimeZone", "Mars/Base"),
            (r#"{"query":"SELECT 1","context":{"allowPartial":1}}"#, "/context/allowPartial", "true or false"),
            (r#"{"query":1}"#, "1:10", "invalid type: integer"),
            (r#"{"query":"#, "1:9", "EOF"),
        ] {
            let problem = read(json).unwrap_err();
            assert_eq!((problem.status, problem.at.as_deref()), (StatusCode::BAD_REQUEST, Some(at)), "{json}");
            assert!(problem.message.contains(part), "{json}: {}", problem.message);
        }
    }

    #[test]
    fn text_and_form_bodies_are_sql() {
        let of = |kind: &'static str, text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            parse(&headers, text.as_bytes()).unwrap().query.unwrap()
        };
        assert_eq!(of("text/plain; charset=utf-8", "SELECT '+%41'"), "SELECT '+%41'");
        assert_eq!(of("application/x-www-form-urlencoded", "SELECT+%2741%27"), "SELECT '41'");
    }
}
