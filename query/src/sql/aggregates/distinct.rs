//! Counting distinct values with HLL and theta sketches.
//!
//! Values are hashed as Druid's writers of these sketches hash them: whole numbers and times as eight bytes, fractions
//! with one NaN and one zero, texts as UTF-16 (HLL) or UTF-8 (theta). An empty text counts as a value, a null does not.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result as DfResult, exec_err, plan_err};
use datasketches::hash::value::{canonical_float, raw_bytes};
use datasketches::hll::{HllSketch, HllType, HllUnion};
use datasketches::theta::{CompactThetaSketch, ThetaSketch, ThetaSketchBuilder, ThetaUnion, ThetaUnionBuilder};

use super::groups::{Aggregator, Gather, Rows, binary};
use super::input::{Call, Column, check_kind, plain};
use crate::columns::{SketchKind, type_name};

/// Registers of the plain approximate count, as a power of two: a standard error of 1.2 %.
const PLAIN_LG_K: u8 = 13;
/// Registers of DS_HLL: a standard error of 1.6 %.
pub(super) const HLL_LG_K: i64 = 12;
/// Values that a theta sketch keeps.
pub(super) const THETA_SIZE: i64 = 16_384;

/// Argument types of a distinct count: a value or a sketch, then literals.
pub(super) fn coerce(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let Some(first) = types.first() else { return plan_err!("{name} takes a column") };
    let value = match first {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => match plain(other) {
            Some(plain) => plain,
            None => return plan_err!("{name} takes numbers, texts, times and sketches, not {}", type_name(other)),
        },
    };
    let literals = match types.len() {
        1 => Vec::new(),
        2 => vec![DataType::Int64],
        3 => vec![DataType::Int64, DataType::Utf8],
        more => return plan_err!("{name} takes 1 to 3 arguments and was given {more}"),
    };
    Ok([vec![value], literals].concat())
}

/// Whether the result is the number of values or the sketch itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Give {
    Count,
    Sketch,
}

pub(super) fn plain_count(_: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    Ok(Box::new(Hll { lg_k: PLAIN_LG_K, target: HllType::Hll8, give: Give::Count }))
}

pub(super) fn hll_count(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    hll(call, Give::Count)
}

pub(super) fn hll_sketch(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    hll(call, Give::Sketch)
}

fn hll(call: &Call<'_>, give: Give) -> DfResult<Box<dyn Aggregator>> {
    check_kind(call.name, call.field(0)?, SketchKind::Hll)?;
    let lg_k = lg_k(call.integer(1, HLL_LG_K, 4..=21, "lgK")?);
    let target = hll_type(call.name, call.text(2)?.as_deref())?;
    Ok(Box::new(Hll { lg_k, target, give }))
}

pub(super) fn theta_count(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    theta(call, Give::Count)
}

pub(super) fn theta_sketch(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    theta(call, Give::Sketch)
}

fn theta(call: &Call<'_>, give: Give) -> DfResult<Box<dyn Aggregator>> {
    check_kind(call.name, call.field(0)?, SketchKind::Theta)?;
    let lg_k = theta_lg_k(call.name, call.integer(1, THETA_SIZE, 32..=1 << 26, "the size")?)?;
    Ok(Box::new(Theta { lg_k, give }))
}

fn lg_k(checked: i64) -> u8 {
    u8::try_from(checked).expect("the range was checked")
}

/// The power of two that a size is.
pub(super) fn theta_lg_k(name: &str, size: i64) -> DfResult<u8> {
    if size > 0 && size.count_ones() == 1 {
        return Ok(lg_k(i64::from(size.trailing_zeros())));
    }
    plan_err!("the size of {name} must be a power of two and not {size}")
}

/// How an HLL sketch keeps its registers.
pub(super) fn hll_type(name: &str, text: Option<&str>) -> DfResult<HllType> {
    match text.map(str::to_ascii_uppercase).as_deref() {
        None | Some("HLL_4") => Ok(HllType::Hll4),
        Some("HLL_6") => Ok(HllType::Hll6),
        Some("HLL_8") => Ok(HllType::Hll8),
        Some(other) => plan_err!("the type of {name} must be HLL_4, HLL_6 or HLL_8 and not {other}"),
    }
}

/// The sketch library's error about bytes that came in.
pub(super) fn unreadable(name: &str, error: &datasketches::error::Error) -> DataFusionError {
    DataFusionError::Execution(format!("these bytes are no {name}: {}", error.message()))
}

pub(super) fn read_hll(bytes: &[u8]) -> DfResult<HllSketch> {
    HllSketch::deserialize(bytes).map_err(|e| unreadable("HLL sketch", &e))
}

pub(super) fn read_theta(bytes: &[u8]) -> DfResult<CompactThetaSketch> {
    CompactThetaSketch::deserialize(bytes).map_err(|e| unreadable("theta sketch", &e))
}

pub(super) fn hll_union(lg_k: u8) -> HllUnion {
    HllUnion::new(lg_k).expect("the range of lgK was checked")
}

pub(super) fn theta_union(lg_k: u8) -> ThetaUnion {
    ThetaUnionBuilder::default().lg_k(lg_k).build().expect("the range of the size was checked")
}

/// An estimate as a count.
#[expect(clippy::cast_possible_truncation, reason = "no count of distinct values comes near 2^63")]
fn rounded(estimate: f64) -> i64 {
    estimate.round() as i64
}

/// A sketch that was filled in one go remembers in which order and is a little nearer for it; one that was joined is not. Joined
/// with itself it forgets, so that an answer does not depend on which thread had which rows.
fn settled(union: &HllUnion) -> HllUnion {
    let mut settled = union.clone();
    settled.update(&union.to_sketch(HllType::Hll8));
    settled
}

#[derive(Debug)]
struct Hll {
    lg_k: u8,
    target: HllType,
    give: Give,
}

impl Gather for Hll {
    type State = HllUnion;

    fn empty(&self) -> HllUnion {
        hll_union(self.lg_k)
    }

    fn update(&self, states: &mut [HllUnion], values: &[ArrayRef], rows: Rows<'_>) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        match Column::new(values)? {
            Column::Null => Ok(()),
            Column::Long(values) => rows.each(|row, group| {
                if values.is_valid(row) {
                    states[group].update_value(values.value(row));
                }
                Ok(())
            }),
            Column::Double(values) => rows.each(|row, group| {
                if values.is_valid(row) {
                    states[group].update_value(canonical_float::from_f64(values.value(row)));
                }
                Ok(())
            }),
            Column::Text(values) => {
                let mut wide = Vec::new();
                rows.each(|row, group| {
                    if values.is_valid(row) {
                        wide.clear();
                        wide.extend(values.value(row).encode_utf16().flat_map(u16::to_le_bytes));
                        states[group].update_value(raw_bytes::from_slice(&wide));
                    }
                    Ok(())
                })
            }
            Column::Sketch(values) => rows.each(|row, group| {
                if values.is_valid(row) {
                    states[group].update(&read_hll(values.value(row))?);
                }
                Ok(())
            }),
        }
    }

    fn merge(&self, state: &mut HllUnion, other: &[u8]) -> DfResult<()> {
        state.update(&read_hll(other)?);
        Ok(())
    }

    fn encode(&self, state: &HllUnion, out: &mut Vec<u8>) -> DfResult<()> {
        out.extend(state.to_sketch(HllType::Hll8).serialize());
        Ok(())
    }

    fn evaluate(&self, states: &[HllUnion]) -> DfResult<ArrayRef> {
        match self.give {
            // From the registers alone, not from the order in which they came to be.
            Give::Count => {
                let counts = states.iter().map(|s| Some(rounded(s.composite_estimate())));
                Ok(Arc::new(counts.collect::<Int64Array>()))
            }
            Give::Sketch => binary(states.iter().map(|s| Ok(Some(settled(s).to_sketch(self.target).serialize())))),
        }
    }

    fn heap_bytes(&self, state: &HllUnion) -> usize {
        state.estimated_size()
    }
}

/// Values of our own go into the sketch, sketches of others into the union: a sketch cannot take another in.
#[derive(Debug, Default)]
struct ThetaState {
    own: Option<ThetaSketch>,
    others: Option<ThetaUnion>,
}

#[derive(Debug)]
struct Theta {
    lg_k: u8,
    give: Give,
}

impl Theta {
    fn own<'s>(&self, state: &'s mut ThetaState) -> &'s mut ThetaSketch {
        state.own.get_or_insert_with(|| {
            ThetaSketchBuilder::default().lg_k(self.lg_k).build().expect("the range of the size was checked")
        })
    }

    fn join(&self, state: &mut ThetaState, bytes: &[u8]) -> DfResult<()> {
        let sketch = read_theta(bytes)?;
        let union = state.others.get_or_insert_with(|| theta_union(self.lg_k));
        union.update(&sketch).map_err(|e| unreadable("theta sketch of ours", &e))
    }

    fn compact(&self, state: &ThetaState) -> DfResult<CompactThetaSketch> {
        Ok(match (&state.own, &state.others) {
            (Some(own), None) if !own.is_estimation_mode() => own.compact(true),
            // A sketch may hold more values than its size just now; a union never gives more.
            (Some(own), None) => {
                let mut trimmed = theta_union(self.lg_k);
                trimmed.update(own).map_err(|e| unreadable("theta sketch of ours", &e))?;
                trimmed.to_sketch(true)
            }
            (None, Some(others)) => others.to_sketch(true),
            (None, None) => theta_union(self.lg_k).to_sketch(true),
            (Some(own), Some(others)) => {
                let mut both = theta_union(self.lg_k);
                let joined = both.update(own).and_then(|()| both.update(&others.to_sketch(true)));
                if let Err(error) = joined {
                    return exec_err!("two theta sketches of one group do not join: {error}");
                }
                both.to_sketch(true)
            }
        })
    }
}

impl Gather for Theta {
    type State = ThetaState;

    fn empty(&self) -> ThetaState {
        ThetaState::default()
    }

    fn update(&self, states: &mut [ThetaState], values: &[ArrayRef], rows: Rows<'_>) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        match Column::new(values)? {
            Column::Null => Ok(()),
            Column::Long(values) => rows.each(|row, group| {
                if values.is_valid(row) {
                    self.own(&mut states[group]).update(values.value(row));
                }
                Ok(())
            }),
            Column::Double(values) => rows.each(|row, group| {
                if values.is_valid(row) {
                    self.own(&mut states[group]).update(canonical_float::from_f64(values.value(row)));
                }
                Ok(())
            }),
            Column::Text(values) => rows.each(|row, group| {
                if values.is_valid(row) {
                    self.own(&mut states[group]).update(raw_bytes::from_str(values.value(row)));
                }
                Ok(())
            }),
            Column::Sketch(values) => {
                rows.each(
                    |row, group| {
                        if values.is_valid(row) { self.join(&mut states[group], values.value(row)) } else { Ok(()) }
                    },
                )
            }
        }
    }

    fn merge(&self, state: &mut ThetaState, other: &[u8]) -> DfResult<()> {
        self.join(state, other)
    }

    fn encode(&self, state: &ThetaState, out: &mut Vec<u8>) -> DfResult<()> {
        out.extend(self.compact(state)?.serialize());
        Ok(())
    }

    fn evaluate(&self, states: &[ThetaState]) -> DfResult<ArrayRef> {
        match self.give {
            Give::Count => {
                let counts: DfResult<Vec<i64>> =
                    states.iter().map(|s| Ok(rounded(self.compact(s)?.estimate()))).collect();
                Ok(Arc::new(Int64Array::from(counts?)))
            }
            Give::Sketch => binary(states.iter().map(|s| Ok(Some(self.compact(s)?.serialize())))),
        }
    }

    fn heap_bytes(&self, state: &ThetaState) -> usize {
        state.own.as_ref().map_or(0, ThetaSketch::estimated_size)
            + state.others.as_ref().map_or(0, ThetaUnion::estimated_size)
    }
}
