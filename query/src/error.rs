//! What can go wrong between a SQL text and its answer.
//!
//! A failure that the writer of the text can mend is [`QueryError::Invalid`]: it says where in the text (1-based
//! line and column) and, when something near it exists, what was probably meant. A deadline and a cancel have the same
//! kind but are two variants, because protocols answer them differently.

use std::time::Duration;

use datafusion::error::DataFusionError;
use freshet_segment::error::{ErrorKind, SegmentError};

/// A place in the SQL text: 1-based, the end included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line of the first character.
    pub line: u64,
    /// Column of the first character.
    pub column: u64,
    /// Line of the last character.
    pub end_line: u64,
    /// Column of the last character.
    pub end_column: u64,
}

/// Failures of planning and running a query.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text, a parameter or an option is wrong, or asks for what Freshet does not do.
    #[error("{message}")]
    Invalid {
        /// What is wrong, on what.
        message: String,
        /// Where in the text, when known.
        position: Option<Position>,
        /// What to do about it, when known.
        hint: Option<String>,
    },
    /// The deadline passed.
    #[error("query did not finish within {} ms: narrow its time range, or raise `timeout`", after.as_millis())]
    Timeout {
        /// The time it was given.
        after: Duration,
    },
    /// Somebody asked for the end.
    #[error("query was cancelled")]
    Cancelled,
    /// A limit of memory or size was reached.
    #[error("{message}")]
    Exhausted {
        /// Which limit, and what helps.
        message: String,
    },
    /// A segment could not be read; the answer would be partial.
    #[error("table data could not be read")]
    Segment(#[source] SegmentError),
    /// A table that does not show all its rows yet: a smaller number is worse than no answer.
    #[error("table `{table}` is being recovered and does not show all its rows yet")]
    Recovering {
        /// The table.
        table: String,
        /// What it waits for, and what helps.
        hint: String,
    },
    /// A table that cannot show all its rows, which does not pass by itself.
    #[error("table `{table}` cannot show all its rows")]
    Incomplete {
        /// The table.
        table: String,
        /// What is wrong, and what helps.
        hint: String,
    },
    /// The values met at run time do not allow the asked operation, such as a division by zero.
    #[error("{message}")]
    Runtime {
        /// What happened.
        message: String,
    },
    /// A defect of Freshet.
    #[error("internal error: {message}")]
    Internal {
        /// What happened, for a report.
        message: String,
    },
}

impl QueryError {
    /// The kind a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::Runtime { .. } => ErrorKind::Invalid,
            Self::Timeout { .. } | Self::Cancelled => ErrorKind::Cancelled,
            Self::Exhausted { .. } => ErrorKind::Exhausted,
            Self::Segment(source) => source.kind(),
            Self::Recovering { .. } => ErrorKind::Unavailable,
            Self::Incomplete { .. } => ErrorKind::Corrupt,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the deadline, and not a person, ended the query.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Line, column, end line and end column, all 1-based, end included.
    pub fn position(&self) -> Option<(u64, u64, u64, u64)> {
        match self {
            Self::Invalid { position, .. } => position.map(|p| (p.line, p.column, p.end_line, p.end_column)),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Invalid { hint, .. } => hint.as_deref(),
            Self::Recovering { hint, .. } | Self::Incomplete { hint, .. } => Some(hint),
            _ => None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), position: None, hint: None }
    }

    /// As [`invalid`](Self::invalid), at a place; the text names the place too, as Druid's does.
    pub(crate) fn at(message: impl AsRef<str>, position: Option<Position>) -> Self {
        let message = match position {
            Some(p) => format!("{} (line [{}], column [{}])", message.as_ref(), p.line, p.column),
            None => message.as_ref().to_owned(),
        };
        Self::Invalid { message, position, hint: None }
    }

    pub(crate) fn with_hint(mut self, text: Option<String>) -> Self {
        if let Self::Invalid { hint, .. } = &mut self {
            *hint = text;
        }
        self
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::Internal { message: message.into() }
    }

    /// Wraps itself so that it passes through DataFusion's operators and comes out as it went in.
    pub(crate) fn into_datafusion(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }

    /// What a failure of DataFusion means to the caller. Failures of our own that passed through it come out again.
    pub(crate) fn from_datafusion(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => match other.downcast::<SegmentError>() {
                    Ok(segment) => Self::Segment(*segment),
                    Err(other) => Self::internal(other.to_string()),
                },
            },
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Self::from_datafusion(*inner),
            DataFusionError::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
                Ok(inner) => Self::from_datafusion(inner),
                Err(shared) => Self::from_shared(&shared),
            },
            DataFusionError::ArrowError(error, _) => Self::from_arrow(*error),
            DataFusionError::ResourcesExhausted(text) => Self::Exhausted {
                message: format!(
                    "query needs more memory than its share ({}): group or sort fewer rows",
                    first_line(&text)
                ),
            },
            DataFusionError::Plan(text)
            | DataFusionError::NotImplemented(text)
            | DataFusionError::Configuration(text) => Self::invalid(text),
            DataFusionError::SchemaError(error, _) => Self::invalid(error.to_string()),
            DataFusionError::SQL(error, _) => Self::invalid(error.to_string()),
            DataFusionError::Execution(text) => Self::Runtime { message: crate::sql::wording::of(&text).message },
            other => Self::internal(other.strip_backtrace()),
        }
    }

    fn from_shared(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::External(inner) => match inner.downcast_ref::<Self>() {
                Some(Self::Timeout { after }) => Self::Timeout { after: *after },
                Some(Self::Cancelled) => Self::Cancelled,
                _ => Self::internal(error.strip_backtrace()),
            },
            DataFusionError::ResourcesExhausted(text) => Self::Exhausted { message: first_line(text).to_owned() },
            DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
                Self::Runtime { message: error.find_root().strip_backtrace() }
            }
            _ => Self::internal(error.strip_backtrace()),
        }
    }

    fn from_arrow(error: datafusion::arrow::error::ArrowError) -> Self {
        use datafusion::arrow::error::ArrowError;
        match error {
            ArrowError::DivideByZero => Self::Runtime {
                message: "division by zero: integers have no infinity; use SAFE_DIVIDE or NULLIF".to_owned(),
            },
            ArrowError::ExternalError(inner) => match inner.downcast::<DataFusionError>() {
                Ok(inner) => Self::from_datafusion(*inner),
                Err(other) => match other.downcast::<Self>() {
                    Ok(own) => *own,
                    Err(other) => Self::internal(other.to_string()),
                },
            },
            ArrowError::ArithmeticOverflow(text)
            | ArrowError::ComputeError(text)
            | ArrowError::CastError(text)
            | ArrowError::ParseError(text)
            | ArrowError::InvalidArgumentError(text) => {
                Self::Runtime { message: crate::sql::wording::of(&text).message }
            }
            other => Self::internal(other.to_string()),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Result of this crate.
pub type Result<T, E = QueryError> = std::result::Result<T, E>;
