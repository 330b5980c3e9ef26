//! Text columns in the index file: sorted dictionaries, and the rows of each value in each unit.
//!
//! A dictionary is front-coded: each value is the length it shares with the one before, and the rest. Postings of a unit
//! name every value that occurs in it with its count, and its rows only where it is rare: rows of a frequent one cost as
//! much as the codes themselves, and a scan finds them as fast. A list of rows is distances in varints: for short lists that
//! is half the size of a bitmap with its headers. Null is code 0, values count from 1 in sorted order.
//!
//! Near-unique columns get neither; their number of distinct values is counted by hash.

use std::collections::HashSet;

use arrow::array::{Array, StringViewArray};
use bytes::Bytes;

use super::content::hash_bytes;
use super::format::{Cursor, damaged, push_varint};
use crate::error::Result;
use crate::growing::{CodeSet, Dictionary};

/// A value in more than one of so many rows of its unit is frequent.
const FREQUENT: u32 = 30;
/// A column with more distinct values than one in so many rows is near-unique.
const ROWS_PER_VALUE_MIN: u64 = 4;
/// So few values are never too many.
const VALUES_FEW: u64 = 256;

/// Gathers one text column while the units go by.
pub(super) struct TextBuilder {
    values_max: u64,
    state: State,
}

enum State {
    Coded {
        dictionary: Dictionary,
        units: Vec<UnitPostings>,
    },
    /// Too many values: only their number is wanted.
    Counted(HashSet<u64>),
}

/// Postings of one unit, codes as the builder's dictionary has them.
#[derive(Default)]
struct UnitPostings {
    /// Code, number of rows, and where the encoded rows are; nowhere for a frequent value.
    entries: Vec<(u32, u32, std::ops::Range<usize>)>,
    rows: Vec<u8>,
}

/// What the index keeps of a text column.
pub(super) struct TextIndex {
    pub(super) distinct: u64,
    /// The dictionary, and the postings of each unit.
    pub(super) coded: Option<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl TextBuilder {
    /// For a column of so many rows in all.
    pub(super) fn new(rows: u64) -> Self {
        let state = State::Coded { dictionary: Dictionary::new(), units: Vec::new() };
        Self { values_max: (rows / ROWS_PER_VALUE_MIN).max(VALUES_FEW), state }
    }

    /// Takes in the next unit.
    pub(super) fn add(&mut self, array: &StringViewArray) -> Result<()> {
        let mut codes = Vec::with_capacity(array.len());
        if let State::Coded { dictionary, .. } = &mut self.state {
            for text in array {
                codes.push(text.map_or(Ok(0), |text| dictionary.code(text))?);
            }
            if dictionary.len() as u64 - 1 > self.values_max {
                let view = dictionary.snapshot();
                let hashes = (1..view.len()).filter_map(|code| view.value(u32::try_from(code).ok()?)).map(hash);
                self.state = State::Counted(hashes.collect());
            }
        }
        match &mut self.state {
            State::Coded { units, .. } => units.push(UnitPostings::of(&codes)),
            State::Counted(hashes) => hashes.extend(array.iter().flatten().map(hash)),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> TextIndex {
        let (dictionary, units) = match self.state {
            State::Counted(hashes) => return TextIndex { distinct: hashes.len() as u64, coded: None },
            State::Coded { dictionary, units } => (dictionary.snapshot(), units),
        };
        let count = u32::try_from(dictionary.len()).expect("codes are u32");
        let value = |code: u32| dictionary.value(code).unwrap_or_default();
        let mut sorted: Vec<u32> = (1..count).collect();
        sorted.sort_unstable_by(|a, b| value(*a).cmp(value(*b)));
        let mut rank = vec![0u32; count as usize];
        let mut encoded = (count - 1).to_le_bytes().to_vec();
        let mut before = "";
        for (at, code) in (1..).zip(&sorted) {
            rank[*code as usize] = at;
            push_value(&mut encoded, before, value(*code));
            before = value(*code);
        }
        let units = units.iter().map(|unit| unit.encode(&rank)).collect();
        TextIndex { distinct: u64::from(count) - 1, coded: Some((encoded, units)) }
    }
}

fn hash(text: &str) -> u64 {
    hash_bytes(text.as_bytes(), 1)
}

impl UnitPostings {
    fn of(codes: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..).take(codes.len()).collect();
        order.sort_unstable_by_key(|row| (codes[*row as usize], *row));
        let rare_max = codes.len() / FREQUENT as usize;
        let mut postings = Self::default();
        for run in order.chunk_by(|a, b| codes[*a as usize] == codes[*b as usize]) {
            let from = postings.rows.len();
            if run.len() <= rare_max.max(1) {
                let mut next = 0;
                for row in run {
                    push_varint(&mut postings.rows, row - next);
                    next = row + 1;
                }
            }
            let count = u32::try_from(run.len()).expect("a unit has at most 65,536 rows");
            postings.entries.push((codes[run[0] as usize], count, from..postings.rows.len()));
        }
        postings
    }

    fn encode(&self, rank: &[u32]) -> Vec<u8> {
        let mut entries: Vec<_> =
            self.entries.iter().map(|(code, count, rows)| (rank[*code as usize], *count, rows.clone())).collect();
        entries.sort_unstable_by_key(|(code, ..)| *code);
        let mut out = Vec::new();
        push_varint(&mut out, u32::try_from(entries.len()).expect("a unit has at most 65,536 rows"));
        let mut next = 0;
        for (code, count, rows) in entries {
            push_varint(&mut out, code - next);
            push_varint(&mut out, count);
            push_varint(&mut out, u32::try_from(rows.len()).expect("a rare value has few rows"));
            out.extend(&self.rows[rows]);
            next = code + 1;
        }
        out
    }
}

fn push_value(out: &mut Vec<u8>, before: &str, value: &str) {
    let shared = before.bytes().zip(value.bytes()).take_while(|(a, b)| a == b).count();
    let rest = &value.as_bytes()[shared..];
    for length in [shared, rest.len()] {
        push_varint(out, u32::try_from(length).expect("values are shorter than 4 GiB"));
    }
    out.extend(rest);
}

/// The codes of a stored dictionary whose values are wanted.
pub(super) fn matching(dictionary: Bytes, wanted: &dyn Fn(&str) -> bool) -> Result<CodeSet> {
    let mut from = Cursor::new(dictionary);
    let count = from.u32()?;
    let mut value = Vec::new();
    let mut codes = Vec::new();
    for code in 1..=u64::from(count) {
        let (shared, rest) = (from.length()?, from.length()?);
        if shared > value.len() {
            return Err(damaged("a value shares more than there is"));
        }
        value.truncate(shared);
        value.extend_from_slice(&from.take(rest)?);
        let text = std::str::from_utf8(&value).map_err(|_| damaged("a value is not UTF-8"))?;
        if wanted(text) {
            codes.push(u32::try_from(code).map_err(|_| damaged("it has too many values"))?);
        }
    }
    if !from.is_empty() {
        return Err(damaged("a dictionary is longer than it says"));
    }
    Ok(CodeSet::of(count as usize + 1, &codes))
}

/// What a unit's postings say of a set of codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// No row holds one of them.
    None,
    /// Every row does.
    All,
    /// These rows do, rising within each value.
    Rows(Vec<u32>),
    /// All rows but these do.
    AllBut(Vec<u32>),
    /// Some rows do: look at the values.
    Some,
}

/// Looks a set of codes up in the postings of a unit of so many rows.
pub(super) fn find(postings: Bytes, codes: &CodeSet, rows: u32) -> Result<Found> {
    let mut from = Cursor::new(postings);
    let (mut inside, mut outside) = (Side::default(), Side::default());
    let mut code = 0u32;
    for _ in 0..from.varint()? {
        code = code.checked_add(from.varint()?).ok_or_else(|| damaged("a code is too large"))?;
        let (count, length) = (from.varint()?, from.length()?);
        let encoded = from.take(length)?;
        if codes.contains(code) {
            inside.add(count, encoded)?
        } else {
            outside.add(count, encoded)?
        }
        code = code.checked_add(1).ok_or_else(|| damaged("a code is too large"))?;
    }
    if !from.is_empty() || inside.count.checked_add(outside.count) != Some(rows) {
        return Err(damaged("postings are of another number of rows than their unit"));
    }
    Ok(match (inside.count, outside.count) {
        (0, _) => Found::None,
        (_, 0) => Found::All,
        _ if inside.known => Found::Rows(inside.rows(rows)?),
        _ if outside.known => Found::AllBut(outside.rows(rows)?),
        _ => Found::Some,
    })
}

/// The entries inside or outside of a set; rows are decoded only when they are the answer.
struct Side {
    count: u32,
    known: bool,
    lists: Vec<(u32, Bytes)>,
}

impl Default for Side {
    fn default() -> Self {
        Self { count: 0, known: true, lists: Vec::new() }
    }
}

impl Side {
    fn add(&mut self, count: u32, encoded: Bytes) -> Result<()> {
        self.count = self.count.checked_add(count).ok_or_else(|| damaged("a value has too many rows"))?;
        self.known &= !encoded.is_empty();
        if self.known {
            self.lists.push((count, encoded));
        } else {
            self.lists.clear();
        }
        Ok(())
    }

    fn rows(self, rows: u32) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        for (count, encoded) in self.lists {
            let mut from = Cursor::new(encoded);
            let mut next = 0u32;
            for _ in 0..count {
                let row = next.checked_add(from.varint()?).filter(|row| *row < rows);
                let row = row.ok_or_else(|| damaged("a row lies behind its unit"))?;
                all.push(row);
                next = row + 1;
            }
            if !from.is_empty() {
                return Err(damaged("a value has more rows than it says"));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn built(rows: &[Option<String>], unit: usize) -> TextIndex {
        let mut builder = TextBuilder::new(rows.len() as u64);
        for part in rows.chunks(unit) {
            builder.add(&part.iter().map(|v| v.as_deref()).collect()).expect("room");
        }
        builder.finish()
    }

    fn rows_of(found: Found, rows: u32) -> Option<Vec<u32>> {
        let mut out = match found {
            Found::None => Vec::new(),
            Found::All => (0..rows).collect(),
            Found::Rows(rows) => rows,
            Found::AllBut(but) => (0..rows).filter(|row| !but.contains(row)).collect(),
            Found::Some => return None,
        };
        out.sort_unstable();
        Some(out)
    }

    proptest! {
        #[test]
        fn a_lookup_finds_the_rows_that_a_scan_finds(
            rows in prop::collection::vec(prop::option::weighted(0.9, "[ab]{0,3}ä?"), 1..300),
            unit in 1usize..100, least in "[ab]{0,3}",
        ) {
            let index = built(&rows, unit);
            let (dictionary, units) = index.coded.expect("few values");
            let distinct: std::collections::BTreeSet<_> = rows.iter().flatten().collect();
            prop_assert_eq!(index.distinct, distinct.len() as u64);
            let codes = matching(Bytes::from(dictionary), &|v| v >= least.as_str()).expect("sound");
            let expected: Vec<u32> = (1..).zip(&distinct).filter(|(_, v)| **v >= &least).map(|(c, _)| c).collect();
            prop_assert_eq!(codes.iter().collect::<Vec<_>>(), expected, "codes are in sorted order");
            for (part, postings) in rows.chunks(unit).zip(units) {
                let count = u32::try_from(part.len()).expect("few");
                let expected: Vec<u32> =
                    (0..count).filter(|r| part[*r as usize].as_ref().is_some_and(|v| *v >= least)).collect();
                let found = find(Bytes::from(postings), &codes, count).expect("sound");
                if let Some(found) = rows_of(found, count) {
                    prop_assert_eq!(found, expected);
                }
            }
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), rows in 0u32..300) {
            let codes = CodeSet::of(5, &[1, 3]);
            let _ = find(Bytes::from(bytes.clone()), &codes, rows);
            let _ = matching(Bytes::from(bytes), &|_| true);
        }
    }

    #[test]
    fn rare_values_have_rows_and_frequent_ones_their_count() {
        let rows: Vec<_> = (0..300).map(|i| Some(if i % 100 == 7 { "rare" } else { "often" }.to_owned())).collect();
        let (dictionary, units) = built(&rows, 300).coded.expect("few values");
        let look = |wanted: &str| {
            let codes = matching(Bytes::from(dictionary.clone()), &|v| v == wanted).expect("sound");
            find(Bytes::from(units[0].clone()), &codes, 300).expect("sound")
        };
        assert_eq!(look("rare"), Found::Rows(vec![7, 107, 207]));
        assert_eq!(look("often"), Found::AllBut(vec![7, 107, 207]));
        assert_eq!(look("never"), Found::None);
        assert!(units[0].len() < 20, "{} bytes", units[0].len());
    }

    #[test]
    fn a_near_unique_column_is_only_counted() {
        let rows: Vec<_> = (0..2_000).map(|i| Some(format!("value {}", i % 1_900))).collect();
        let index = built(&rows, 500);
        assert_eq!((index.distinct, index.coded.is_none()), (1_900, true));
    }
}
