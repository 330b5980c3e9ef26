//! What can go wrong on the way in.
//!
//! One variant per thing a caller would do differently; the texts say what failed, on what, and what to do. A row of a
//! stream that cannot be read is not an error here: it becomes a dead letter and the stream goes on.

use std::time::Duration;

pub use freshet_segment::error::ErrorKind;
use freshet_segment::error::SegmentError;

use crate::dead_letter::RejectedRow;

/// Failures of sources, decoders, supervisors and tasks.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A spec, body or request that breaks a rule.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// Where: a JSON pointer, a line and column, a row.
        at: Option<String>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A push of which rows were refused and which therefore stored nothing.
    #[error("{rejected} of {read} rows were refused, so nothing was stored; first: {}", first_reason(.rows))]
    RowsRejected {
        /// Rows in the body.
        read: u64,
        /// How many were refused.
        rejected: u64,
        /// The first of them.
        rows: Vec<RejectedRow>,
    },
    /// No supervisor has this id.
    #[error("[{id}] does not exist")]
    SupervisorNotFound {
        /// The id asked for.
        id: String,
    },
    /// No table has this name.
    #[error("table `{table}` does not exist")]
    TableNotFound {
        /// The name asked for.
        table: String,
    },
    /// The state of a supervisor or table does not allow the request.
    #[error("{what}")]
    Conflict {
        /// What stands in the way.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A key that was used for another body.
    #[error("idempotency key `{key}` was used for another body")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// A key whose first push has not been answered yet.
    #[error("a push with idempotency key `{key}` is still under way")]
    KeyRunning {
        /// The key.
        key: String,
    },
    /// The memory for unsealed rows is used up.
    #[error("memory for new rows is used up: {used} of {max} bytes")]
    MemoryExhausted {
        /// Bytes in use.
        used: usize,
        /// The budget.
        max: usize,
    },
    /// A part is away; asking again later may help.
    #[error("{what}")]
    Unavailable {
        /// What is away, and since when or why.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A defect: a thread that ended without its answer, a batch that does not fit its own schema.
    #[error("{what}")]
    Internal {
        /// What happened.
        what: String,
    },
    /// A failure of segments, catalog or timeline.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// Result of this crate.
pub type Result<T, E = IngestError> = std::result::Result<T, E>;

fn first_reason(rows: &[RejectedRow]) -> String {
    rows.first().map_or_else(|| "no row was kept to show".to_owned(), |row| format!("row {}: {}", row.row, row.reason))
}

impl IngestError {
    /// The kind a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::RowsRejected { .. } => ErrorKind::Invalid,
            Self::SupervisorNotFound { .. } | Self::TableNotFound { .. } => ErrorKind::NotFound,
            Self::Conflict { .. } | Self::KeyRunning { .. } => ErrorKind::Conflict,
            Self::KeyReused { .. } => ErrorKind::Invalid,
            Self::MemoryExhausted { .. } => ErrorKind::Exhausted,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Internal { .. } => ErrorKind::Internal,
            Self::Segment(error) => error.kind(),
        }
    }

    /// Where it is, when known: a JSON pointer, a line and column, a row.
    pub fn at(&self) -> Option<String> {
        match self {
            Self::Invalid { at, .. } => at.clone(),
            Self::RowsRejected { rows, .. } => rows.first().map(|row| match &row.at {
                Some(at) => format!("row {}, {at}", row.row),
                None => format!("row {}", row.row),
            }),
            _ => None,
        }
    }

    /// What to do about it, when known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { hint, .. } | Self::Conflict { hint, .. } | Self::Unavailable { hint, .. } => hint.clone(),
            Self::RowsRejected { rows, .. } => Some(match rows.first().and_then(|row| row.hint.clone()) {
                Some(hint) => format!("{hint}; or send onError=skip to store the other rows"),
                None => "correct the rows, or send onError=skip to store the others".to_owned(),
            }),
            Self::KeyReused { .. } => Some("take a new key for each body".to_owned()),
            Self::KeyRunning { .. } => {
                Some("send it again in a moment: the answer of the first one is given then".to_owned())
            }
            Self::MemoryExhausted { .. } => Some(
                "send it again in a moment; if it stays so, deep storage may be away, or memory_bytes_max too small"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// How long to wait before asking again, for the kinds where asking again may help.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::KeyRunning { .. } = self {
            return Some(Duration::from_secs(1));
        }
        match self.kind() {
            ErrorKind::Exhausted => Some(Duration::from_secs(5)),
            ErrorKind::Unavailable => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    pub(crate) fn invalid_with(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), at: None, hint: Some(hint.into()) }
    }

    pub(crate) fn key_reused(key: &str) -> Self {
        Self::KeyReused { key: shorten(key) }
    }

    pub(crate) fn conflict(what: impl Into<String>) -> Self {
        Self::Conflict { what: what.into(), hint: None }
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }
}

/// A value as an error quotes it: its first characters.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
