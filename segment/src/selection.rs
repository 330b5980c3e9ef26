//! Which rows of a chunk survive so far.

use std::ops::Range;

/// Row ids of one chunk, in rising order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The first so many rows: all of them.
    All(u32),
    /// These, each below the chunk's row count, strictly rising.
    Rows(Vec<u32>),
}

impl Selection {
    /// No row.
    pub const fn none() -> Self {
        Self::Rows(Vec::new())
    }

    /// How many rows are selected.
    pub fn len(&self) -> usize {
        match self {
            Self::All(rows) => *rows as usize,
            Self::Rows(rows) => rows.len(),
        }
    }

    /// Whether no row is selected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cuts the selection into parts of at most `rows` rows: the unit a reader turns into one batch.
    pub fn parts(&self, rows: usize) -> impl Iterator<Item = Part<'_>> {
        let step = rows.max(1);
        (0..self.len()).step_by(step).map(move |from| {
            let to = (from + step).min(self.len());
            match self {
                // A chunk holds at most 65,536 rows, so positions fit.
                #[expect(clippy::cast_possible_truncation, reason = "positions are below a u32 count")]
                Self::All(_) => Part::Run(from as u32..to as u32),
                Self::Rows(rows) => Part::Rows(&rows[from..to]),
            }
        })
    }
}

/// A part of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// Neighbouring rows: read without a copy.
    Run(Range<u32>),
    /// Single rows: gathered.
    Rows(&'a [u32]),
}

impl Part<'_> {
    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Run(run) => run.len(),
            Self::Rows(rows) => rows.len(),
        }
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
