//! Why the server does not start or stop well. Failures of single requests are [`crate::http::reply::Problem`]s.

use std::io;
use std::path::PathBuf;

use freshet_segment::error::{ErrorKind, SegmentError};

/// A failure of the process as a whole, or of a subcommand.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A flag, key or variable that is unknown or has a value that does not do.
    #[error("{0}")]
    Config(String),
    /// Something of the operating system that was refused: a folder, a lock, an address.
    #[error("{what} {path}", path = path.display())]
    Path {
        /// What was tried.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another process holds the data directory.
    #[error("{path} is in use by another freshet{by}: stop that one first, or give this one its own folder with --data-dir", path = path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// ` (process 123)` where known.
        by: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address asked for.
        address: String,
        /// Why not, and what helps.
        reason: String,
    },
    /// A request of a subcommand that the server refused, or that did not reach it.
    #[error("{0}")]
    Client(String),
    /// The catalog, deep storage or a journal that cannot be used.
    #[error("{what}")]
    Storage {
        /// Which, and what was done with it.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: SegmentError,
    },
    /// A part that could not be started.
    #[error("{what}: {reason}")]
    Start {
        /// The part.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

impl ServerError {
    /// The kind a caller can act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::Client(_) => ErrorKind::Invalid,
            Self::Path { .. } | Self::Listen { .. } => ErrorKind::Unavailable,
            Self::Locked { .. } => ErrorKind::Conflict,
            Self::Storage { source, .. } => source.kind(),
            Self::Start { .. } => ErrorKind::Internal,
        }
    }

    /// The text with all causes, for the terminal.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
