//! Rejected rows, with the reason, the position and what to do.
//!
//! A poison row costs itself and nothing else, so it must be findable afterwards: each table keeps its newest letters,
//! at most 100,000 or 64 MiB, the oldest leaving first. What left is counted, so `total` stays the truth even when the
//! list is short. Letters become official with the rows around them (`counts` says how) and are kept in the catalog.

use bytes::Bytes;
pub use freshet_segment::catalog::{DeadLetter, DeadLetters, LETTERS_BYTES_MAX, LETTERS_MAX};
use serde::{Deserialize, Serialize};

/// How much of a record a letter quotes.
pub const RAW_BYTES_MAX: usize = 4 << 10;

/// A row of a push that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Its number in the body, from 0.
    pub row: u64,
    /// Where in the row: a field, or a line and column.
    pub at: Option<String>,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The row as it came, cut at 4 KiB.
    pub raw: String,
}

/// The first bytes of a record, copied: a letter must not keep a whole batch alive.
pub(crate) fn quote(raw: &[u8]) -> Bytes {
    Bytes::copy_from_slice(raw.get(..RAW_BYTES_MAX).unwrap_or(raw))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_record_is_cut() {
        assert_eq!(super::quote(&[b'y'; 10_000]).len(), super::RAW_BYTES_MAX);
        assert_eq!(&super::quote(b"short")[..], b"short");
    }
}
