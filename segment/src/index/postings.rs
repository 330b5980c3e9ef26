//! Postings: for each dictionary code, the row ids of a closed chunk that hold it.
//!
//! Bitmaps cost about as much as the codes, so they are built only where they pay: for columns in which a code is rare
//! enough that its bitmap beats a scan, and common enough that there are not as many bitmaps as rows.
//! Invariant: each row id is in exactly one posting, null (code 0) included; checked when they are built.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use crate::growing::ChunkColumn;

/// Below so many distinct values a scan of the codes is as fast as any bitmap.
const CODES_MIN: usize = 8;
/// A bitmap for fewer rows than this on average costs more than it saves.
const ROWS_PER_CODE_MIN: usize = 4;

/// Row ids by code.
#[derive(Debug)]
pub(crate) struct Postings {
    by_code: HashMap<u32, RoaringBitmap>,
    bytes: usize,
}

impl Postings {
    /// The postings of a text column, where the policy says that they pay.
    pub(crate) fn of(column: &ChunkColumn) -> Option<Self> {
        let ChunkColumn::Text { codes, .. } = column else { return None };
        let mut order: Vec<u32> = (0..u32::try_from(codes.len()).ok()?).collect();
        order.sort_unstable_by_key(|row| (codes[*row as usize], *row));
        let runs = || order.chunk_by(|a, b| codes[*a as usize] == codes[*b as usize]);
        let distinct = runs().count();
        if distinct < CODES_MIN || distinct * ROWS_PER_CODE_MIN > codes.len() {
            return None;
        }
        let mut by_code = HashMap::with_capacity(distinct);
        let (mut bytes, mut rows) = (0, 0u64);
        for run in runs() {
            let bitmap = RoaringBitmap::from_sorted_iter(run.iter().copied()).ok()?;
            rows += bitmap.len();
            // Key, map slot and container header beside the bits.
            bytes += bitmap.serialized_size() + 64;
            by_code.insert(codes[run[0] as usize], bitmap);
        }
        assert_eq!(rows, codes.len() as u64, "each row is in exactly one posting");
        Some(Self { by_code, bytes })
    }

    /// How many rows hold the code.
    pub(crate) fn count(&self, code: u32) -> u64 {
        self.by_code.get(&code).map_or(0, RoaringBitmap::len)
    }

    /// The rows that hold one of the codes.
    pub(crate) fn union(&self, codes: impl Iterator<Item = u32>) -> RoaringBitmap {
        codes.filter_map(|code| self.by_code.get(&code)).fold(RoaringBitmap::new(), |mut all, rows| {
            all |= rows;
            all
        })
    }

    /// Bytes of memory, by estimate.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
