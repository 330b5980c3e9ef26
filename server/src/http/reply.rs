//! Failures as answers: the one place where an [`ErrorKind`] becomes a status and Druid's error body.
//!
//! A handler returns a [`Problem`]. Its response carries the value itself as an extension; the outermost layer
//! ([`super::guard::request`]) writes the body, because only there the request's id is known. So every failure, also those of
//! the router and of the guards, has the same shape and the same id as the log line and the header.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use freshet_ingest::error::IngestError;
use freshet_query::error::QueryError;
use freshet_segment::error::{ErrorKind, SegmentError};
use serde_json::{Map, Value, json};

/// A refusal or failure on its way to the client. Boxed: it travels as the rare half of many results.
#[derive(Debug, Clone)]
pub struct Problem(Box<Details>);

/// What a [`Problem`] says.
#[derive(Debug, Clone)]
pub struct Details {
    /// HTTP status.
    pub status: StatusCode,
    /// Druid's `error`: `druidException`, or the old text of a runtime failure.
    pub error: Cow<'static, str>,
    /// Druid's `errorCode`.
    pub code: &'static str,
    /// Druid's `persona`: whom the text is for.
    pub persona: &'static str,
    /// Druid's `category`.
    pub category: &'static str,
    /// What failed, on what.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Where: JSON pointer, line:column, byte, row or offset.
    pub at: Option<String>,
    /// Druid's `context`; values are texts.
    pub context: Map<String, Value>,
    /// Druid's old `errorClass`, where clients look at it.
    pub class: Option<&'static str>,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u32>,
    /// On ingestion's paths Druid's `error` is the message itself.
    pub short: bool,
    /// Asking again may help although the status does not say so.
    pub retry: bool,
}

impl std::ops::Deref for Problem {
    type Target = Details;
    fn deref(&self) -> &Details {
        &self.0
    }
}

impl std::ops::DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, category: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            status,
            error: Cow::Borrowed("druidException"),
            code,
            persona: if status.is_server_error() { "OPERATOR" } else { "USER" },
            category,
            message: message.into(),
            hint: None,
            at: None,
            context: Map::new(),
            class: None,
            retry_after_s: None,
            short: false,
            retry: false,
        }))
    }

    /// 400: the request breaks a rule.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalidInput", "INVALID_INPUT", message)
    }

    /// 400 for a body that is not the JSON it should be.
    pub fn json(message: impl Into<String>, at: Option<String>) -> Self {
        let mut problem = Self::invalid(message);
        problem.error = Cow::Borrowed("Json parse failed");
        problem.at = at;
        problem
    }

    /// 403: the request comes from where it must not come.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "FORBIDDEN", message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "notFound", "NOT_FOUND", message)
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "CONFLICT", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "tooLarge", "INVALID_INPUT", message)
    }

    /// 415.
    pub fn media_type(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupportedMediaType", "INVALID_INPUT", message)
    }

    /// 429: more than the server takes at once.
    pub fn busy(message: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "legacyQueryException", "CAPACITY_EXCEEDED", message);
        let mut problem = problem.legacy(
            "Query capacity exceeded",
            "org.apache.druid.query.QueryCapacityExceededException",
            "CAPACITY_EXCEEDED",
        );
        problem.retry_after_s = Some(1);
        problem
    }

    /// 400 for a key of a query's context with a value that it cannot have.
    pub fn context(message: impl Into<String>, key: &str) -> Self {
        Self::invalid(message).at(format!("/context/{key}")).legacy(
            "Query context parse failed",
            "org.apache.druid.query.BadQueryContextException",
            "INVALID_INPUT",
        )
    }

    /// With Druid's old fields, which clients match on.
    #[must_use]
    fn legacy(mut self, error: &'static str, class: &'static str, category: &'static str) -> Self {
        self.error = Cow::Borrowed(error);
        self.code = "legacyQueryException";
        self.persona = "OPERATOR";
        self.category = category;
        self.class = Some(class);
        self.context.insert("errorClass".to_owned(), json!(class));
        self.context.insert("legacyErrorCode".to_owned(), json!(error));
        self
    }

    /// 503: not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "UNAVAILABLE", message);
        problem.retry_after_s = Some(1);
        problem
    }

    /// 500: a defect. The cause goes to the log, not to the client.
    pub fn internal(message: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "general", "RUNTIME_FAILURE", message);
        problem.error = Cow::Borrowed("Unknown exception");
        problem
    }

    /// Another status than the constructor's.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// What to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Where.
    #[must_use]
    pub fn at(mut self, at: impl Into<String>) -> Self {
        self.at = Some(at.into());
        self
    }

    /// With the message in `error` too, as Druid's ingestion endpoints have it.
    #[must_use]
    pub fn short(mut self) -> Self {
        self.short = true;
        self
    }

    /// A value of the request that the lower crates refuse.
    #[must_use]
    pub fn from_segment(error: SegmentError) -> Self {
        Self::from(error)
    }

    /// Whether asking again later, unchanged, may help.
    #[must_use]
    pub fn retry(&self) -> bool {
        self.retry
            || matches!(
                self.status,
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::GATEWAY_TIMEOUT
            )
    }

    /// The body, with the id of the request.
    #[must_use]
    pub fn body(&self, request_id: &str) -> Value {
        let mut body = Map::new();
        let error = if self.short { self.message.as_str() } else { &*self.error };
        body.insert("error".to_owned(), json!(error));
        if let Some(class) = self.class {
            body.insert("errorClass".to_owned(), json!(class));
        }
        body.insert("errorCode".to_owned(), json!(self.code));
        body.insert("persona".to_owned(), json!(self.persona));
        body.insert("category".to_owned(), json!(self.category));
        body.insert("errorMessage".to_owned(), json!(self.message));
        body.insert("context".to_owned(), Value::Object(self.context.clone()));
        if let Some(hint) = &self.hint {
            body.insert("hint".to_owned(), json!(hint));
        }
        if let Some(at) = &self.at {
            body.insert("at".to_owned(), json!(at));
        }
        body.insert("requestId".to_owned(), json!(request_id));
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is not read, so this connection cannot carry another request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The text of an error and of its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

/// The answer to a failure of `kind`, for everything that is not a query.
fn of_kind(kind: ErrorKind, message: String) -> Problem {
    match kind {
        ErrorKind::Invalid => Problem::invalid(message),
        ErrorKind::NotFound => Problem::not_found(message),
        ErrorKind::Conflict => Problem::conflict(message),
        ErrorKind::Unavailable | ErrorKind::Exhausted | ErrorKind::Cancelled => Problem::unavailable(message),
        ErrorKind::Corrupt | ErrorKind::Internal => {
            tracing::error!(error = message, "a request failed");
            Problem::internal(message)
        }
    }
}

/// What people are told of a failure below: never a path or another service's words (those go to the log).
fn told(error: &SegmentError) -> String {
    let text = match error {
        SegmentError::Unreadable { segment, kind: ErrorKind::Corrupt, .. } => {
            format!("segment {segment} cannot be read: its files are damaged")
        }
        SegmentError::Unreadable { segment, .. } => {
            format!("segment {segment} cannot be read: its files cannot be reached")
        }
        SegmentError::Corrupt { .. } => "stored data is damaged; the log says where".to_owned(),
        SegmentError::Io { .. } if error.kind() == ErrorKind::Exhausted => "the disk is full".to_owned(),
        SegmentError::Io { .. } => "a file call failed; the log says which".to_owned(),
        SegmentError::Unavailable { what, .. } => format!("{what} is away; the log says why"),
        other => return chain(other),
    };
    tracing::warn!(error = chain(error), "a request failed");
    text
}

/// What can be done about a failure below that may pass.
fn cure(error: &SegmentError) -> Option<String> {
    match error.kind() {
        ErrorKind::Exhausted if matches!(error, SegmentError::Io { .. }) => {
            Some("make room on the disk; what was refused can be sent again, work goes on by itself".to_owned())
        }
        ErrorKind::Unavailable | ErrorKind::Exhausted => Some("try again later".to_owned()),
        _ => None,
    }
}

impl From<SegmentError> for Problem {
    fn from(error: SegmentError) -> Self {
        let mut problem = of_kind(error.kind(), told(&error));
        problem.hint = cure(&error);
        problem
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let message = match &error {
            IngestError::Segment(inner) => told(inner),
            other => chain(other),
        };
        let mut problem = of_kind(error.kind(), message);
        if let IngestError::KeyReused { .. } = &error {
            problem.status = StatusCode::UNPROCESSABLE_ENTITY;
        }
        problem.at = error.at();
        problem.hint = error.hint().or_else(|| match &error {
            IngestError::Segment(inner) => cure(inner),
            _ => None,
        });
        if let Some(after) = error.retry_after() {
            problem.retry_after_s = Some(u32::try_from(after.as_secs()).unwrap_or(u32::MAX).max(1));
        }
        // People count rows from 1.
        if let IngestError::RowsRejected { read, rejected, rows } = &error
            && let Some(first) = rows.first()
        {
            let number = first.row + 1;
            problem.message = format!(
                "{rejected} of {read} rows were refused, so nothing was stored; first: row {number}: {}",
                first.reason
            );
            problem.at = Some(match &first.at {
                Some(at) => format!("row {number}, {at}"),
                None => format!("row {number}"),
            });
        }
        problem
    }
}

impl From<QueryError> for Problem {
    /// Contract 1.7. Runtime failures keep Druid's old fields, which clients match on.
    fn from(error: QueryError) -> Self {
        let message = match &error {
            QueryError::Segment(inner) => told(inner),
            other => chain(other),
        };
        let mut problem = match error.kind() {
            ErrorKind::Cancelled if error.is_timeout() => Self::internal(message)
                .status(StatusCode::GATEWAY_TIMEOUT)
                .legacy("Query timeout", "org.apache.druid.query.QueryTimeoutException", "TIMEOUT"),
            ErrorKind::Cancelled => Self::internal(message).legacy(
                "Query cancelled",
                "org.apache.druid.query.QueryInterruptedException",
                "CANCELED",
            ),
            ErrorKind::Exhausted => Self::invalid(message).legacy(
                "Resource limit exceeded",
                "org.apache.druid.query.ResourceLimitExceededException",
                "INVALID_INPUT",
            ),
            // A table that is not there is a mistake in the text, and Druid answers it as one.
            ErrorKind::Invalid | ErrorKind::NotFound => Self::invalid(message),
            kind => of_kind(kind, message),
        };
        match &error {
            QueryError::Recovering { .. } => problem.code = "RECOVERING",
            QueryError::Incomplete { .. } => problem.code = "TABLE_INCOMPLETE",
            QueryError::Segment(SegmentError::Unreadable { .. }) => {
                problem.code = "SEGMENT_UNREADABLE";
                problem.hint = Some("set allowPartial to true for an answer without it, which is marked so".to_owned());
            }
            _ => {}
        }
        if let Some((line, column, end_line, end_column)) = error.position() {
            problem.at = Some(format!("{line}:{column}"));
            problem.context.insert("sourceType".to_owned(), json!("sql"));
            for (key, value) in [("line", line), ("column", column), ("endLine", end_line), ("endColumn", end_column)] {
                problem.context.insert(key.to_owned(), json!(value.to_string()));
            }
        }
        if let Some(hint) = error.hint() {
            problem.hint = Some(hint.to_owned());
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use freshet_query::error::Position;

    use super::*;

    #[test]
    fn a_mistake_in_sql_is_druids_body_with_its_place() {
        let error = QueryError::Invalid {
            message: "Column 'nope' not found in any table (line [1], column [8])".to_owned(),
            position: Some(Position { line: 1, column: 8, end_line: 1, end_column: 11 }),
            hint: Some("did you mean \"note\"?".to_owned()),
        };
        let problem = Problem::from(error);
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            problem.body("r1").to_string(),
            "{\"error\":\"druidException\",\"errorCode\":\"invalidInput\",\"persona\":\"USER\",\"category\":\"INVALID_INPUT\",\
             \"errorMessage\":\"Column 'nope' not found in any table (line [1], column [8])\",\
             \"context\":{\"sourceType\":\"sql\",\"line\":\"1\",\"column\":\"8\",\"endLine\":\"1\",\"endColumn\":\"11\"},\
             \"hint\":\"did you mean \\\"note\\\"?\",\"at\":\"1:8\",\"requestId\":\"r1\"}"
        );
    }

    #[test]
    fn ends_by_time_and_by_hand_are_told_apart() {
        let timeout = Problem::from(QueryError::Timeout { after: Duration::from_millis(5) });
        assert_eq!((timeout.status.as_u16(), &*timeout.error, timeout.category), (504, "Query timeout", "TIMEOUT"));
        let cancel = Problem::from(QueryError::Cancelled);
        assert_eq!((cancel.status.as_u16(), &*cancel.error, cancel.category), (500, "Query cancelled", "CANCELED"));
        let memory = Problem::from(QueryError::Exhausted { message: "too much".to_owned() });
        assert_eq!((memory.status.as_u16(), &*memory.error), (400, "Resource limit exceeded"));
    }

    #[test]
    fn memory_pressure_asks_to_come_again() {
        let problem = Problem::from(IngestError::MemoryExhausted { used: 2, max: 1 });
        assert_eq!((problem.status.as_u16(), problem.retry()), (503, true));
        let response = problem.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    }

    #[test]
    fn a_table_that_is_recovered_asks_to_come_again() {
        let hint = "pushed rows are read back from the journal".to_owned();
        let problem = Problem::from(QueryError::Recovering { table: "t".to_owned(), hint: hint.clone() });
        assert_eq!((problem.status.as_u16(), problem.code, problem.hint.as_deref()), (503, "RECOVERING", Some(&*hint)));
        assert!(problem.message.contains("`t`"), "{}", problem.message);
        assert!(problem.into_response().headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn a_segment_that_cannot_be_read_is_named_without_paths() {
        for (kind, status) in [(ErrorKind::Unavailable, 503), (ErrorKind::Corrupt, 500)] {
            let reason = "opening `/srv/deep/t/x.parquet`: No such file".to_owned();
            let error = SegmentError::Unreadable { segment: "t_1_2_3_4".to_owned(), kind, reason };
            let problem = Problem::from(QueryError::Segment(error));
            assert_eq!((problem.status.as_u16(), problem.code), (status, "SEGMENT_UNREADABLE"));
            let body = problem.body("r").to_string();
            assert!(body.contains("segment t_1_2_3_4") && body.contains("allowPartial"), "{body}");
            assert!(!body.contains("parquet") && !body.contains("No such file"), "{body}");
        }
    }

    #[test]
    fn keys_used_twice_are_told_apart() {
        let reused = Problem::from(IngestError::KeyReused { key: "k".to_owned() });
        assert_eq!((reused.status.as_u16(), reused.retry_after_s), (422, None));
        let running = Problem::from(IngestError::KeyRunning { key: "k".to_owned() });
        assert_eq!((running.status.as_u16(), running.retry_after_s), (409, Some(1)));
    }

    #[test]
    fn ingestion_has_the_text_in_error_too() {
        let body = Problem::not_found("[x] does not exist").short().body("r");
        assert_eq!(
            (&body["error"], &body["errorMessage"]),
            (&json!("[x] does not exist"), &json!("[x] does not exist"))
        );
    }
}
