//! Value ↔ code of one text column of one growing segment; append only.
//!
//! Code 0 is null; values count from 1 in the order they were first seen, so the dictionary is unsorted and a range
//! filter becomes a set of codes. Each value is kept once, as an Arrow string view: up to 12 bytes inside the view,
//! longer ones in blocks of bytes. Reading a column is therefore a gather of 16-byte views, with no text touched.

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanBufferBuilder, StringViewArray, make_view};
use arrow::buffer::{Buffer, NullBuffer};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::buffer::{AppendBuffer, Slice, inline_bytes, string_views};
use crate::error::{Result, SegmentError};

use std::hash::BuildHasher;

/// Bytes of a full block; a longer value gets a block of its own.
const BLOCK_BYTES: usize = 1 << 20;
/// Bytes of a first block: most dictionaries are small.
const FIRST_BLOCK_BYTES: usize = 1 << 10;
/// Longest value kept inside its view.
const INLINE_BYTES: usize = 12;

/// The writer's dictionary.
pub(crate) struct Dictionary {
    views: AppendBuffer<u128>,
    blocks: Vec<AppendBuffer<u8>>,
    codes: HashTable<u32>,
    hasher: FixedState,
    /// Code of the value seen last: events repeat themselves.
    last: u32,
    text_bytes: usize,
}

impl Dictionary {
    pub(crate) fn new() -> Self {
        let mut views = AppendBuffer::with_capacity(16);
        views.push(0); // code 0, null: the view of an empty string
        Self {
            views,
            blocks: Vec::new(),
            codes: HashTable::new(),
            hasher: FixedState::default(),
            last: 0,
            text_bytes: 0,
        }
    }

    /// Bytes of memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(AppendBuffer::bytes).sum();
        self.views.bytes() + blocks + self.codes.capacity() * 5
    }

    /// The code of `value`, which is added when it is new.
    ///
    /// # Errors
    /// `Full` when 2^32 - 1 values are there.
    pub(crate) fn code(&mut self, value: &str) -> Result<u32> {
        if self.last != 0 && text(&self.views, &self.blocks, self.last) == value.as_bytes() {
            return Ok(self.last);
        }
        let hash = self.hasher.hash_one(value);
        let found = self.codes.find(hash, |code| text(&self.views, &self.blocks, *code) == value.as_bytes());
        self.last = match found {
            Some(code) => *code,
            None => self.add(value, hash)?,
        };
        Ok(self.last)
    }

    fn add(&mut self, value: &str, hash: u64) -> Result<u32> {
        let full = || SegmentError::Full {
            what: "dictionary",
            limit: u64::from(u32::MAX),
            cure: "use a finer segmentGranularity, so that fewer values meet in one segment",
        };
        let code = u32::try_from(self.views.len()).ok().filter(|c| *c < u32::MAX).ok_or_else(full)?;
        let view = if value.len() <= INLINE_BYTES {
            make_view(value.as_bytes(), 0, 0)
        } else {
            let (block, offset) = self.store(value.as_bytes()).ok_or_else(full)?;
            make_view(value.as_bytes(), block, offset)
        };
        self.text_bytes += value.len();
        self.views.push(view);
        let Self { codes, views, blocks, hasher, .. } = self;
        codes.insert_unique(hash, code, |code| hasher.hash_one(text_str(views, blocks, *code)));
        Ok(code)
    }

    fn store(&mut self, bytes: &[u8]) -> Option<(u32, u32)> {
        let fits = self.blocks.last().is_some_and(|b| b.len() + bytes.len() <= BLOCK_BYTES);
        if !fits {
            let first = if self.blocks.is_empty() { FIRST_BLOCK_BYTES } else { BLOCK_BYTES / 4 };
            self.blocks.push(AppendBuffer::with_capacity(first.max(bytes.len())));
        }
        let index = self.blocks.len() - 1;
        let block = &mut self.blocks[index];
        block.reserve(bytes.len(), BLOCK_BYTES);
        let offset = block.len();
        block.extend_from_slice(bytes);
        Some((u32::try_from(index).ok()?, u32::try_from(offset).ok()?))
    }

    /// What is there now, for readers.
    pub(crate) fn snapshot(&self) -> DictionaryView {
        DictionaryView {
            views: self.views.slice(),
            blocks: self.blocks.iter().map(|b| b.slice().to_buffer()).collect(),
            text_bytes: self.text_bytes,
        }
    }

    /// How many codes there are, null included.
    pub(crate) fn len(&self) -> usize {
        self.views.len()
    }
}

/// Length, and then the bytes inline or (prefix, block, offset): Arrow's string view.
fn parts(view: u128) -> (usize, usize, usize) {
    #[expect(clippy::cast_possible_truncation, reason = "the fields of a view are 32 bits each")]
    let (len, block, offset) = (view as u32, (view >> 64) as u32, (view >> 96) as u32);
    (len as usize, block as usize, offset as usize)
}

fn text<'a>(views: &'a [u128], blocks: &'a [AppendBuffer<u8>], code: u32) -> &'a [u8] {
    let view = &views[code as usize];
    let (len, block, offset) = parts(*view);
    if len <= INLINE_BYTES { inline_bytes(view, len) } else { &blocks[block][offset..offset + len] }
}

fn text_str<'a>(views: &'a [u128], blocks: &'a [AppendBuffer<u8>], code: u32) -> &'a str {
    std::str::from_utf8(text(views, blocks, code)).expect("values are added as text and never change")
}

/// An immutable view of a dictionary: codes `0..len()`.
#[derive(Clone)]
pub struct DictionaryView {
    views: Slice<u128>,
    blocks: Arc<[Buffer]>,
    text_bytes: usize,
}

impl fmt::Debug for DictionaryView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DictionaryView({} codes)", self.len())
    }
}

impl DictionaryView {
    /// How many codes there are; code 0 is null, so a dictionary of one value has two.
    pub fn len(&self) -> usize {
        self.views.len()
    }

    /// Whether it holds no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// Bytes of text of all values.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// The value behind a code; `None` for code 0.
    ///
    /// # Panics
    /// When the code is not below `len()`.
    pub fn value(&self, code: u32) -> Option<&str> {
        if code == 0 {
            return None;
        }
        let view = &self.views[code as usize];
        let (len, block, offset) = parts(*view);
        let bytes =
            if len <= INLINE_BYTES { inline_bytes(view, len) } else { &self.blocks[block][offset..offset + len] };
        Some(std::str::from_utf8(bytes).expect("values are added as text and never change"))
    }

    /// For each code whether its value is wanted, as bits; null never is.
    pub(crate) fn matching(&self, wanted: impl Fn(&str) -> bool) -> CodeSet {
        let mut set = CodeSet { bits: vec![0; self.len().div_ceil(64)], count: 0 };
        for code in 1..self.len() {
            #[expect(clippy::cast_possible_truncation, reason = "codes are u32")]
            if self.value(code as u32).is_some_and(&wanted) {
                set.bits[code / 64] |= 1 << (code % 64);
                set.count += 1;
            }
        }
        set
    }

    /// The texts of these codes, null for code 0.
    pub(crate) fn gather(&self, codes: impl ExactSizeIterator<Item = u32>) -> StringViewArray {
        let mut any_null = false;
        let mut valid = BooleanBufferBuilder::new(codes.len());
        let views: Vec<u128> = codes
            .map(|code| {
                any_null |= code == 0;
                valid.append(code != 0);
                self.views[code as usize]
            })
            .collect();
        let nulls = any_null.then(|| NullBuffer::new(valid.finish()));
        string_views(views, Arc::clone(&self.blocks), nulls)
    }
}

/// A set of codes of one dictionary.
#[derive(Debug, Clone)]
pub(crate) struct CodeSet {
    bits: Vec<u64>,
    count: usize,
}

impl CodeSet {
    /// These of the codes `0..len`.
    pub(crate) fn of(len: usize, codes: &[u32]) -> Self {
        let mut set = Self { bits: vec![0; len.div_ceil(64)], count: 0 };
        for code in codes {
            if let Some(word) = set.bits.get_mut(*code as usize / 64) {
                *word |= 1 << (code % 64);
            }
        }
        set.count = set.bits.iter().map(|word| word.count_ones() as usize).sum();
        set
    }

    /// Whether the code is in the set; a code that came after the set was made is not.
    pub(crate) fn contains(&self, code: u32) -> bool {
        self.bits.get(code as usize / 64).is_some_and(|word| word >> (code % 64) & 1 == 1)
    }

    /// How many codes it holds.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Its codes, rising.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bits.iter().enumerate().flat_map(|(word, bits)| {
            #[expect(clippy::cast_possible_truncation, reason = "codes are u32")]
            let base = (word * 64) as u32;
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| base + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_value_has_one_code_and_reads_back(values in prop::collection::vec("\\PC{0,40}", 0..200)) {
            let mut dictionary = Dictionary::new();
            let codes: Vec<u32> = values.iter().map(|v| dictionary.code(v).expect("room")).collect();
            let view = dictionary.snapshot();
            for (value, code) in values.iter().zip(&codes) {
                prop_assert_eq!(view.value(*code), Some(value.as_str()));
                prop_assert_eq!(dictionary.code(value).expect("room"), *code);
            }
            let distinct: std::collections::HashSet<_> = values.iter().collect();
            prop_assert_eq!(view.len(), distinct.len() + 1);
            let array = view.gather(codes.iter().copied());
            prop_assert!(array.iter().eq(values.iter().map(|v| Some(v.as_str()))));
            array.to_data().validate_full().expect("a sound array");
        }
    }

    #[test]
    fn null_is_code_zero_and_not_the_empty_string() {
        let mut dictionary = Dictionary::new();
        let empty = dictionary.code("").expect("room");
        let view = dictionary.snapshot();
        let array = view.gather([0, empty, 0].into_iter());
        assert_eq!(array.iter().collect::<Vec<_>>(), vec![None, Some(""), None]);
    }

    #[test]
    fn blocks_grow_and_split_and_old_views_stay() {
        let mut dictionary = Dictionary::new();
        let long = |i: usize| format!("{i:05}{}", "x".repeat(i * 37 % 3000));
        let first = dictionary.code(&long(1)).expect("room");
        let early = dictionary.snapshot();
        let codes: Vec<u32> = (0..3000).map(|i| dictionary.code(&long(i)).expect("room")).collect();
        let huge = dictionary.code(&"y".repeat(3 << 20)).expect("room");
        let view = dictionary.snapshot();
        assert!(view.blocks.len() > 3, "more than one block was needed");
        assert!(codes.iter().enumerate().all(|(i, code)| view.value(*code) == Some(long(i).as_str())));
        assert_eq!(view.value(huge).map(str::len), Some(3 << 20));
        assert_eq!(early.value(first), Some(long(1).as_str()));
        assert_eq!(early.len(), 2);
    }
}
