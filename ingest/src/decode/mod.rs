//! From bytes to columns.
//!
//! A [`Decoder`] reads one record after the other into [`Rows`], which hold a batch column by column. Between reading
//! and building a batch stands the table's schema: first the whole batch is read, then the schema is widened by what
//! was seen ([`Rows::observed`]), and only then the values take their final type ([`Rows::batch`]). A value is
//! therefore never cast twice, and a batch always has the types of one schema.
//!
//! ```text
//! record ──Decoder──▶ Rows ──observed──▶ catalog widens the schema
//!                      │ ◀──────────────────────┘
//!                      └──batch(schema)──▶ RecordBatch
//! ```

mod columns;
pub mod flatten;
pub mod json;
mod nested;
mod rows;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
mod values;

pub use rows::{At, BadField, DecodeRules, FieldError, Rejection, Rows};

/// Deepest nesting of a record, the row itself counted.
pub const DEPTH_MAX: usize = 64;
/// Longest record.
pub const RECORD_BYTES_MAX: usize = 10 << 20;

/// One format. Every implementation owes:
/// - each row of the record is either finished or refused in `rows`, and nothing else happens to them;
/// - a refused row leaves no value behind and costs no other row that can still be told apart from it;
/// - no input makes it panic, recurse deeper than [`DEPTH_MAX`], or hold more than a small multiple of the record.
pub trait Decoder: Send {
    /// Reads all rows of the record numbered `record` in this batch.
    fn decode(&mut self, record: u32, payload: &[u8], rows: &mut Rows);

    /// The next record goes on where the last one ended: what its first lines said still counts.
    fn resume(&mut self) {}
}
