//! The index file of a sealed segment: what answers a filter before any page of the Parquet file is read.
//!
//! | section | holds |
//! |---|---|
//! | `times` | first and last event time of each unit |
//! | `zones` | of each unit and column: nulls, smallest and largest number |
//! | `texts` | of each column: how many distinct texts it has, whether it has a dictionary |
//! | `dictionary:<column>` | its values, sorted |
//! | `postings:<column>` | of each unit: which values occur how often, and where the rare ones do |
//!
//! The first three are kept in memory while the segment is open; dictionaries and postings are read for each filter that
//! needs them, because a pass over them is cheaper than keeping them all.

use std::io::{self, Write};

use arrow::array::{Array, ArrayRef, AsArray};

use super::blocks::CheckedFile;
use super::format::{Cursor, SectionWriter, Sections, damaged};
use super::postings::{self, Found, TextBuilder};
use crate::error::{Result, SegmentError};
use crate::growing::CodeSet;
use crate::index::zones::Zone;
use crate::schema::{Column, TableSchema};
use crate::time::Timestamp;

/// What is known of one column in one unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ColumnZone {
    /// Rows without a value.
    pub(crate) nulls: u32,
    /// Range of the numbers; nothing for text.
    pub(crate) zone: Option<Zone>,
}

/// What is known of one unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnitZones {
    pub(crate) min_time: Timestamp,
    pub(crate) max_time: Timestamp,
    /// One a column of the segment's schema.
    pub(crate) columns: Vec<ColumnZone>,
}

/// Builds the index while the units go by in their order.
pub(super) struct IndexBuilder {
    units: Vec<UnitZones>,
    /// One a column; nothing for numbers.
    texts: Vec<Option<TextBuilder>>,
}

impl IndexBuilder {
    /// For so many rows in all.
    pub(super) fn new(schema: &TableSchema, rows: u64) -> Self {
        let text = |c: &Column| c.column_type.is_text().then(|| TextBuilder::new(rows));
        Self { units: Vec::new(), texts: schema.columns().iter().map(text).collect() }
    }

    /// Takes in a unit: one array a column, the time column first, in the Arrow types of the schema.
    pub(super) fn add(&mut self, times: (Timestamp, Timestamp), columns: &[ArrayRef]) -> Result<()> {
        let zones = columns.iter().map(|array| {
            Ok(ColumnZone {
                nulls: u32::try_from(array.null_count()).map_err(|_| damaged("a unit has too many rows"))?,
                zone: Zone::of_array(array),
            })
        });
        for (text, array) in self.texts.iter_mut().zip(columns) {
            if let (Some(text), Some(array)) = (text, array.as_string_view_opt()) {
                text.add(array)?;
            }
        }
        self.units.push(UnitZones { min_time: times.0, max_time: times.1, columns: zones.collect::<Result<_>>()? });
        Ok(())
    }

    pub(super) fn write<W: Write>(self, out: W) -> io::Result<W> {
        let mut sections = SectionWriter::new(out)?;
        let (mut times, mut zones) = (Vec::new(), Vec::new());
        for unit in &self.units {
            times.extend(unit.min_time.as_millis().to_le_bytes());
            times.extend(unit.max_time.as_millis().to_le_bytes());
            for column in &unit.columns {
                column.write(&mut zones);
            }
        }
        sections.section("times".to_owned(), &times)?;
        sections.section("zones".to_owned(), &zones)?;
        let texts: Vec<_> = self.texts.into_iter().map(|text| text.map(TextBuilder::finish)).collect();
        let mut told = Vec::new();
        for text in &texts {
            let coded = text.as_ref().is_some_and(|t| t.coded.is_some());
            told.extend(text.as_ref().map_or(0, |t| t.distinct).to_le_bytes());
            told.push(u8::from(coded));
        }
        sections.section("texts".to_owned(), &told)?;
        for (column, text) in texts.into_iter().enumerate() {
            let Some((dictionary, units)) = text.and_then(|t| t.coded) else { continue };
            sections.section(dictionary_name(column), &dictionary)?;
            let (mut ends, mut postings) = (Vec::new(), Vec::new());
            for unit in units {
                postings.extend(unit);
                ends.extend((postings.len() as u64).to_le_bytes());
            }
            // First where each unit's ends, then the units.
            ends.extend(postings);
            sections.section(postings_name(column), &ends)?;
        }
        sections.finish()
    }
}

impl ColumnZone {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.nulls.to_le_bytes());
        match self.zone {
            None => out.push(0),
            Some(Zone::Empty) => out.push(1),
            Some(Zone::Long { min, max, .. }) => {
                out.push(2);
                out.extend(min.to_le_bytes());
                out.extend(max.to_le_bytes());
            }
            Some(Zone::Double { min, max, .. }) => {
                out.push(3);
                out.extend(min.to_bits().to_le_bytes());
                out.extend(max.to_bits().to_le_bytes());
            }
        }
    }

    fn read(from: &mut Cursor) -> Result<Self> {
        let nulls = from.u32()?;
        let some = nulls > 0;
        let zone = match from.u8()? {
            0 => None,
            1 => Some(Zone::Empty),
            2 => Some(Zone::Long { min: from.i64()?, max: from.i64()?, nulls: some }),
            3 => Some(Zone::Double { min: f64::from_bits(from.u64()?), max: f64::from_bits(from.u64()?), nulls: some }),
            _ => return Err(damaged("a zone has an unknown kind")),
        };
        Ok(Self { nulls, zone })
    }
}

fn dictionary_name(column: usize) -> String {
    format!("dictionary:{column}")
}

fn postings_name(column: usize) -> String {
    format!("postings:{column}")
}

/// The index of an open segment.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    pub(crate) units: Vec<UnitZones>,
    /// One a column: distinct texts, and whether there is a dictionary.
    texts: Vec<(u64, bool)>,
    sections: Sections,
    file: CheckedFile,
}

impl SegmentIndex {
    /// Reads what every query needs.
    pub(super) fn open(file: CheckedFile, schema: &TableSchema, units: usize) -> Result<Self> {
        let sections = Sections::open(&file)?;
        let section = |name: &str| match sections.read(&file, name)? {
            Some(bytes) => Ok(Cursor::new(bytes)),
            None => {
                Err(SegmentError::corrupt(format!("file `{}`", file.name()), format!("it has no section `{name}`")))
            }
        };
        let (mut times, mut zones, mut told) = (section("times")?, section("zones")?, section("texts")?);
        let mut all = Vec::new();
        for _ in 0..units {
            let (min, max) = (times.i64()?, times.i64()?);
            let columns = schema.columns().iter().map(|_| ColumnZone::read(&mut zones)).collect::<Result<_>>()?;
            let time = Timestamp::from_millis;
            all.push(UnitZones { min_time: time(min), max_time: time(max), columns });
        }
        let texts: Vec<_> =
            schema.columns().iter().map(|_| Ok((told.u64()?, told.u8()? == 1))).collect::<Result<_>>()?;
        if !times.is_empty() || !zones.is_empty() || !told.is_empty() {
            return Err(damaged("it has more units or columns than the segment has"));
        }
        Ok(Self { units: all, texts, sections, file })
    }

    /// Number of distinct texts of a column.
    pub(super) fn distinct(&self, column: usize) -> Option<usize> {
        usize::try_from(self.texts.get(column)?.0).ok()
    }

    /// The codes whose values are wanted; `None` where the column has no dictionary.
    pub(super) fn matching(&self, column: usize, wanted: &dyn Fn(&str) -> bool) -> Result<Option<CodeSet>> {
        if self.texts.get(column).is_none_or(|(_, coded)| !coded) {
            return Ok(None);
        }
        let dictionary = self.sections.read(&self.file, &dictionary_name(column))?;
        dictionary.map(|bytes| postings::matching(bytes, wanted)).transpose()
    }

    /// What the postings of a unit say of these codes.
    pub(super) fn find(&self, column: usize, unit: usize, codes: &CodeSet, rows: u32) -> Result<Found> {
        let name = postings_name(column);
        let ends = self.units.len() as u64 * 8;
        let first = (unit as u64).saturating_sub(1) * 8;
        let part = |start, length| match self.sections.range(&self.file, &name, start, length)? {
            Some(bytes) => Ok(bytes),
            None => Err(damaged("a dictionary has no postings")),
        };
        let mut bounds = Cursor::new(part(first, if unit == 0 { 8 } else { 16 })?);
        let (from, to) = if unit == 0 { (0, bounds.u64()?) } else { (bounds.u64()?, bounds.u64()?) };
        let length = to.checked_sub(from).and_then(|n| usize::try_from(n).ok());
        let (Some(start), Some(length)) = (ends.checked_add(from), length) else {
            return Err(damaged("postings end before they begin"));
        };
        postings::find(part(start, length)?, codes, rows)
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let columns: usize = self.units.iter().map(|u| u.columns.len()).sum();
        columns * size_of::<ColumnZone>()
            + self.units.len() * size_of::<UnitZones>()
            + self.texts.len() * 16
            + self.sections.bytes()
    }
}
