//! Every function a query can call, in words: what the dialect knows, INFORMATION_SCHEMA.ROUTINES lists and `docs/sql.md` shows.
//!
//! A function that has no row here cannot be called, whatever the planner below knows. Each example is run by a test and must give
//! its answer; another test compares the committed page with these rows.

mod aggregates;
mod arrays;
mod json;
mod network;
mod numbers;
mod sketches;
mod text;
mod time;
mod windows;

/// What a function is about; a section of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// Instants, periods, calendars.
    Time,
    /// Arithmetic and bits.
    Number,
    /// Strings and patterns.
    Text,
    /// Nulls and choices.
    Condition,
    /// Lists of values.
    Array,
    /// Texts that hold several values.
    MultiValue,
    /// Nested values.
    Json,
    /// IP addresses.
    Network,
    /// One row for many.
    Aggregate,
    /// Small summaries of many values, which merge.
    Sketch,
    /// Functions OVER a window.
    Window,
}

#[cfg(test)]
impl Family {
    fn title(self) -> &'static str {
        match self {
            Self::Time => "Time",
            Self::Number => "Numbers",
            Self::Text => "Text",
            Self::Condition => "Choices and casts",
            Self::Array => "Arrays",
            Self::MultiValue => "Multi-value texts",
            Self::Json => "JSON",
            Self::Network => "IP addresses",
            Self::Aggregate => "Aggregates",
            Self::Sketch => "Sketches",
            Self::Window => "Windows",
        }
    }
}

/// One function. Quotes are plain, so that consoles can read the signature.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "the page and the check of its examples are made by tests"))]
pub(crate) struct FunctionDoc {
    /// Upper-case name.
    pub(crate) name: &'static str,
    /// Whether it makes one value of many rows.
    pub(crate) aggregator: bool,
    /// Its section.
    pub(crate) family: Family,
    /// `NAME(argument, .. [, optional])`; one form a line.
    pub(crate) signature: &'static str,
    /// One sentence.
    pub(crate) meaning: &'static str,
    /// An expression: `SELECT example` answers it, for aggregates and windows `SELECT example FROM t` (see `SAMPLE`). A text
    /// that begins with `SELECT` is a whole query.
    pub(crate) example: &'static str,
    /// The JSON value that the example gives; several rows are separated by `, `.
    pub(crate) answer: &'static str,
}

impl FunctionDoc {
    /// A function of one row.
    pub(crate) const fn scalar(
        family: Family,
        name: &'static str,
        signature: &'static str,
        meaning: &'static str,
        example: &'static str,
        answer: &'static str,
    ) -> Self {
        Self { name, aggregator: false, family, signature, meaning, example, answer }
    }

    /// An aggregate.
    pub(crate) const fn aggregate(
        name: &'static str,
        signature: &'static str,
        meaning: &'static str,
        example: &'static str,
        answer: &'static str,
    ) -> Self {
        Self { name, aggregator: true, family: Family::Aggregate, signature, meaning, example, answer }
    }

    /// A function that needs OVER.
    pub(crate) const fn window(
        name: &'static str,
        signature: &'static str,
        meaning: &'static str,
        example: &'static str,
        answer: &'static str,
    ) -> Self {
        Self { name, aggregator: true, family: Family::Window, signature, meaning, example, answer }
    }
}

/// The rows of `t`, the table of the examples: `__time`, `city`, `n`, `x`.
#[cfg(test)]
pub(crate) const SAMPLE: [(&str, Option<&str>, Option<i64>, f64); 5] = [
    ("2026-01-01T00:00:00.000Z", Some("Bern"), Some(10), 1.5),
    ("2026-01-01T00:30:00.000Z", Some("Oslo"), Some(20), 2.5),
    ("2026-01-01T01:00:00.000Z", Some("Bern"), None, 4.0),
    ("2026-01-02T00:00:00.000Z", None, Some(5), -1.0),
    ("2026-01-02T12:00:00.000Z", Some("Oslo"), Some(20), 0.5),
];

/// The sections, in the order of the page.
const SECTIONS: &[&[FunctionDoc]] = &[
    time::ROWS,
    numbers::ROWS,
    text::ROWS,
    text::CONDITIONS,
    arrays::ROWS,
    arrays::MULTI_VALUE,
    json::ROWS,
    network::ROWS,
    aggregates::ROWS,
    sketches::ROWS,
    windows::ROWS,
];

/// All functions, section by section.
pub(crate) fn all() -> impl Iterator<Item = &'static FunctionDoc> {
    SECTIONS.iter().flat_map(|rows| rows.iter())
}

/// The function of this name, in any case.
pub(crate) fn find(name: &str) -> Option<&'static FunctionDoc> {
    all().find(|doc| doc.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
