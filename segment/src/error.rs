//! What can go wrong in this crate, and the few kinds a caller can act on.

use std::fmt;

/// The kinds of failure that every Freshet crate shares. A door maps them, once, to its own status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request or the bytes break a rule; asking again unchanged will not help.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// The thing exists already, or changed under the caller.
    Conflict,
    /// A part is away for now; asking again later may help.
    Unavailable,
    /// A limit is reached: memory, rows, places.
    Exhausted,
    /// Someone asked for the end: a cancel, a deadline, a closed connection.
    Cancelled,
    /// Bytes that were once right are no longer right.
    Corrupt,
    /// A defect of Freshet.
    Internal,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Failures of segments, catalog and timeline.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// A text, value or schema that breaks a rule of this crate.
    #[error("{what}: {reason}")]
    Invalid {
        /// What was being read or built.
        what: &'static str,
        /// Why it is refused, and what is accepted.
        reason: String,
    },
    /// A table, supervisor or segment that is not there.
    #[error("{what} `{name}` does not exist")]
    NotFound {
        /// The sort of thing.
        what: &'static str,
        /// Its name as asked for.
        name: String,
    },
    /// A name that is taken.
    #[error("{what} `{name}` exists already")]
    Exists {
        /// The sort of thing.
        what: &'static str,
        /// The taken name.
        name: String,
    },
    /// A growing segment, dictionary or numbering that has reached its bound.
    #[error("{what} is full at {limit}: {cure}")]
    Full {
        /// What is full.
        what: &'static str,
        /// The bound.
        limit: u64,
        /// What helps.
        cure: &'static str,
    },
    /// Bytes or rows that were once right and are no longer.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// What is damaged, by name.
        what: String,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A sealed segment whose files could not be read: an answer without it would be partial.
    #[error("segment {segment} cannot be read: {reason}")]
    Unreadable {
        /// The segment's id.
        segment: String,
        /// `Unavailable`, `Exhausted` or `Corrupt`.
        kind: ErrorKind,
        /// What went wrong, and where.
        reason: String,
    },
    /// A file call that failed.
    #[error("{doing} `{path}`")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder, below the data folder.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A store or database that does not answer, or not in time.
    #[error("{what} is away: {reason}")]
    Unavailable {
        /// What is away.
        what: String,
        /// What it said last.
        reason: String,
        /// Whether what was asked may have been done nevertheless: look before asking again.
        outcome_unknown: bool,
    },
    /// A writer whose lease was taken over.
    #[error("`{group}` was taken over: epoch {held} is older than {current}")]
    Fenced {
        /// The group whose lease it is.
        group: String,
        /// The epoch of the refused writer.
        held: u64,
        /// The epoch now.
        current: u64,
    },
    /// A checkpoint that does not stand where the writer believes.
    #[error("the checkpoint of {stream} is at {}, not at {wanted}", found.map_or_else(|| "no offset".to_owned(), |at| at.to_string()))]
    Moved {
        /// The stream partition.
        stream: String,
        /// Where the writer believes it stands.
        wanted: i64,
        /// Where it stands; nothing when there is none, or when it is of another topic.
        found: Option<i64>,
    },
    /// Something named by a request was changed by another one meanwhile.
    #[error("{what} `{name}` was changed meanwhile: {cure}")]
    Changed {
        /// The sort of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What helps.
        cure: &'static str,
    },
    /// A failure below, in Arrow's kernels.
    #[error("column `{column}`")]
    Arrow {
        /// The column being read or written.
        column: String,
        /// What Arrow says.
        #[source]
        source: arrow::error::ArrowError,
    },
}

impl SegmentError {
    /// The kind a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. } => ErrorKind::Conflict,
            Self::Full { .. } => ErrorKind::Exhausted,
            Self::Arrow { .. } => ErrorKind::Internal,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Unreadable { kind, .. } => *kind,
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
                _ => ErrorKind::Unavailable,
            },
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Fenced { .. } | Self::Moved { .. } | Self::Changed { .. } => ErrorKind::Conflict,
        }
    }

    /// Damage, with what is damaged and how.
    pub fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.into() }
    }

    /// A store or database that does not answer; nothing was done.
    pub fn unavailable(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), reason: reason.into(), outcome_unknown: false }
    }

    /// A sealed segment that cannot be read, for whatever `cause`, in the cause's kind. One that says so already stays.
    pub fn unreadable(segment: &crate::id::SegmentId, cause: Self) -> Self {
        if let Self::Unreadable { .. } = cause {
            return cause;
        }
        let mut reason = cause.to_string();
        let mut source = std::error::Error::source(&cause);
        while let Some(deeper) = source {
            reason.push_str(": ");
            reason.push_str(&deeper.to_string());
            source = deeper.source();
        }
        Self::Unreadable { segment: segment.to_string(), kind: cause.kind(), reason }
    }

    /// A refusal with its reason.
    pub fn invalid(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { what, reason: reason.into() }
    }
}

/// An error with its causes, as one line: for logs, and for states that people read.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// Result of this crate.
pub type Result<T, E = SegmentError> = std::result::Result<T, E>;
