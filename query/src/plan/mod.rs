//! From a logical plan's scan of a table to a fragment: which segments, which columns, which rows.

pub(crate) mod prune;
pub(crate) mod pushdown;
pub(crate) mod table;
