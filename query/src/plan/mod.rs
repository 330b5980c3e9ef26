//! From a logical plan's scan of a table to a fragment: which segments, which columns, which rows.

pub(crate) mod grouping_sets;
pub(crate) mod interrupt;
pub(crate) mod lenient;
pub(crate) mod one_zero;
pub(crate) mod order_check;
pub(crate) mod prune;
pub(crate) mod pushdown;
pub(crate) mod table;
pub(crate) mod unnest;

#[cfg(test)]
mod tests;
