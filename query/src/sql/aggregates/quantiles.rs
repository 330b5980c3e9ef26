//! Quantiles: KLL sketches under Druid's names of its quantiles sketch, t-digests, and buckets of one width.
//!
//! Druid's own quantiles sketch has no Rust form. A KLL sketch of twice the asked `k` is at least as exact: at the
//! default of 128 the rank of an answer is within 1.1 % of the asked one.
//! A sketch that is full drops every other value, by the toss of a coin: over many values answers vary within that bound.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array};
use arrow::datatypes::DataType;
use datafusion::common::{Result as DfResult, exec_err, plan_err};
use datasketches::common::SearchCriteria;
use datasketches::kll::{KllFloat, KllSketch};
use datasketches::tdigest::TDigestMut;

use super::distinct::unreadable;
use super::groups::{Aggregator, Gather, Rows, binary};
use super::input::{Call, Column, check_kind, is_number};
use crate::columns::{SketchKind, type_name};

/// Druid's default `k` of a quantiles sketch.
const K: i64 = 128;
/// Default compression of a t-digest.
const COMPRESSION: i64 = 100;

pub(super) type Quantiles = KllSketch<KllFloat<f64>>;

/// A column of numbers or sketches, then as many literals as the list has.
fn coerce(name: &str, types: &[DataType], least: usize, literals: &[DataType]) -> DfResult<Vec<DataType>> {
    if !(1 + least..=1 + literals.len()).contains(&types.len()) {
        return plan_err!(
            "{name} takes {} to {} arguments and was given {}",
            1 + least,
            1 + literals.len(),
            types.len()
        );
    }
    let value = match &types[0] {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Null => DataType::Null,
        number if is_number(number) => DataType::Float64,
        other => return plan_err!("{name} takes numbers or sketches of them, not {}", type_name(other)),
    };
    Ok([vec![value], literals[..types.len() - 1].to_vec()].concat())
}

/// `(x, probability [, k])`.
pub(super) fn coerce_quantile(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    coerce(name, types, 1, &[DataType::Float64, DataType::Int64])
}

/// `(x [, k])`.
pub(super) fn coerce_sketch(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    coerce(name, types, 0, &[DataType::Int64])
}

/// `(x, probability, buckets, low, high [, outliers])`.
pub(super) fn coerce_buckets(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let literals = [DataType::Float64, DataType::Int64, DataType::Float64, DataType::Float64, DataType::Utf8];
    let types = coerce(name, types, 4, &literals)?;
    if types[0] == DataType::Binary { plan_err!("{name} takes numbers") } else { Ok(types) }
}

/// What comes out of a sketch.
#[derive(Debug, Clone, Copy)]
enum Give {
    Quantile(f64),
    Sketch,
}

/// APPROX_QUANTILE_DS.
pub(super) fn kll_quantile(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    let give = Give::Quantile(call.fraction(1)?);
    kll(call, give, 2)
}

/// APPROX_QUANTILE: its third argument counts centroids, which a KLL sketch has not.
pub(super) fn plain_quantile(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    call.integer(2, K, 2..=i64::from(i32::MAX), "the resolution")?;
    Ok(Box::new(Kll { k: kll_k(K), give: Give::Quantile(call.fraction(1)?) }))
}

/// DS_QUANTILES_SKETCH.
pub(super) fn kll_sketch(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    kll(call, Give::Sketch, 1)
}

fn kll(call: &Call<'_>, give: Give, k_at: usize) -> DfResult<Box<dyn Aggregator>> {
    check_kind(call.name, call.field(0)?, SketchKind::Quantiles)?;
    let k = call.integer(k_at, K, 2..=32_768, "k")?;
    if k.count_ones() != 1 {
        return plan_err!("k of {} must be a power of two and not {k}", call.name);
    }
    Ok(Box::new(Kll { k: kll_k(k), give }))
}

/// The `k` of a KLL sketch that is as exact as Druid's sketch of this `k`.
fn kll_k(k: i64) -> u16 {
    u16::try_from(2 * k.max(4)).unwrap_or(u16::MAX)
}

pub(super) fn digest_quantile(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    let give = Give::Quantile(call.fraction(1)?);
    digest(call, give, 2)
}

pub(super) fn digest_sketch(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    digest(call, Give::Sketch, 1)
}

fn digest(call: &Call<'_>, give: Give, compression_at: usize) -> DfResult<Box<dyn Aggregator>> {
    check_kind(call.name, call.field(0)?, SketchKind::TDigest)?;
    let k = call.integer(compression_at, COMPRESSION, 10..=i64::from(u16::MAX), "the compression")?;
    Ok(Box::new(Digest { k: u16::try_from(k).expect("the range was checked"), give }))
}

pub(super) fn buckets_quantile(call: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    let fraction = call.fraction(1)?;
    let count = call.integer(2, 0, 1..=1 << 16, "the number of buckets")?;
    let (low, high) = (call.number(3, "the lower limit")?, call.number(4, "the upper limit")?);
    let beyond = match call.text(5)?.unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "ignore" => Beyond::Ignore,
        "clip" => Beyond::Clip,
        // Values beyond the limits are counted apart and do not move a quantile.
        "overflow" => Beyond::Ignore,
        other => return plan_err!("outliers of {} are ignore, overflow or clip and not {other}", call.name),
    };
    if low >= high {
        return plan_err!("the lower limit of {} must be below the upper one", call.name);
    }
    let count = usize::try_from(count).expect("the range was checked");
    if count == 0 {
        return plan_err!("{} needs a number of buckets", call.name);
    }
    Ok(Box::new(Buckets { count, low, high, beyond, fraction }))
}

pub(super) fn read_quantiles(bytes: &[u8]) -> DfResult<Quantiles> {
    Quantiles::deserialize(bytes).map_err(|e| unreadable("quantiles sketch", &e))
}

pub(super) fn read_digest(bytes: &[u8]) -> DfResult<TDigestMut> {
    TDigestMut::deserialize(bytes).map_err(|e| unreadable("t-digest", &e))
}

/// The quantile of a sketch; nothing of an empty one.
pub(super) fn quantile_of(sketch: &Quantiles, fraction: f64) -> DfResult<Option<f64>> {
    match sketch.quantile(fraction, SearchCriteria::Inclusive) {
        Ok(value) => Ok(value.map(KllFloat::into_inner)),
        Err(error) => exec_err!("{}", error.message()),
    }
}

#[derive(Debug)]
struct Kll {
    k: u16,
    give: Give,
}

impl Gather for Kll {
    type State = Quantiles;

    fn empty(&self) -> Quantiles {
        Quantiles::new(self.k).expect("the range of k was checked")
    }

    fn update(&self, states: &mut [Quantiles], values: &[ArrayRef], rows: Rows<'_>) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        match Column::new(values)? {
            Column::Double(values) => rows.each(|row, group| {
                // What is not a number has no rank.
                if values.is_valid(row)
                    && let Ok(value) = KllFloat::<f64>::new(values.value(row))
                {
                    states[group].update(value);
                }
                Ok(())
            }),
            Column::Sketch(values) => {
                rows.each(
                    |row, group| {
                        if values.is_valid(row) { self.merge(&mut states[group], values.value(row)) } else { Ok(()) }
                    },
                )
            }
            _ => Ok(()),
        }
    }

    fn merge(&self, state: &mut Quantiles, other: &[u8]) -> DfResult<()> {
        state.merge(&read_quantiles(other)?).map_err(|e| unreadable("quantiles sketch to join", &e))
    }

    fn encode(&self, state: &Quantiles, out: &mut Vec<u8>) -> DfResult<()> {
        out.extend(state.serialize());
        Ok(())
    }

    fn evaluate(&self, states: &[Quantiles]) -> DfResult<ArrayRef> {
        match self.give {
            Give::Sketch => binary(states.iter().map(|s| Ok(Some(s.serialize())))),
            Give::Quantile(fraction) => {
                let values: DfResult<Float64Array> = states.iter().map(|s| quantile_of(s, fraction)).collect();
                Ok(Arc::new(values?))
            }
        }
    }

    fn heap_bytes(&self, state: &Quantiles) -> usize {
        // Levels grow by doubling; each is a vector of its own.
        2 * state.num_retained() * size_of::<f64>() + 8 * size_of::<Vec<f64>>()
    }
}

#[derive(Debug)]
struct Digest {
    k: u16,
    give: Give,
}

impl Gather for Digest {
    type State = TDigestMut;

    fn empty(&self) -> TDigestMut {
        TDigestMut::new(self.k).expect("the range of the compression was checked")
    }

    fn update(&self, states: &mut [TDigestMut], values: &[ArrayRef], rows: Rows<'_>) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        match Column::new(values)? {
            Column::Double(values) => rows.each(|row, group| {
                if values.is_valid(row) {
                    states[group].update(values.value(row));
                }
                Ok(())
            }),
            Column::Sketch(values) => {
                rows.each(
                    |row, group| {
                        if values.is_valid(row) { self.merge(&mut states[group], values.value(row)) } else { Ok(()) }
                    },
                )
            }
            _ => Ok(()),
        }
    }

    fn merge(&self, state: &mut TDigestMut, other: &[u8]) -> DfResult<()> {
        state.merge(&read_digest(other)?);
        Ok(())
    }

    fn encode(&self, state: &TDigestMut, out: &mut Vec<u8>) -> DfResult<()> {
        out.extend(state.clone().serialize());
        Ok(())
    }

    fn evaluate(&self, states: &[TDigestMut]) -> DfResult<ArrayRef> {
        match self.give {
            Give::Sketch => binary(states.iter().map(|s| Ok(Some(s.clone().serialize())))),
            Give::Quantile(fraction) => {
                let values: DfResult<Float64Array> = states
                    .iter()
                    .map(|s| match s.clone().quantile(fraction) {
                        Ok(value) => Ok(value),
                        Err(error) => exec_err!("{}", error.message()),
                    })
                    .collect();
                Ok(Arc::new(values?))
            }
        }
    }

    fn heap_bytes(&self, state: &TDigestMut) -> usize {
        state.estimated_size()
    }
}

/// What happens to values outside the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    Ignore,
    Clip,
}

/// A histogram of buckets of one width; values are taken to lie evenly within theirs.
#[derive(Debug)]
struct Buckets {
    count: usize,
    low: f64,
    high: f64,
    beyond: Beyond,
    fraction: f64,
}

impl Buckets {
    fn width(&self) -> f64 {
        (self.high - self.low) / as_f64(self.count as u64)
    }

    fn bucket(&self, value: f64) -> Option<usize> {
        let inside = value >= self.low && value <= self.high;
        match self.beyond {
            _ if value.is_nan() => None,
            Beyond::Ignore if !inside => None,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and count")]
            _ => Some((((value.clamp(self.low, self.high) - self.low) / self.width()) as usize).min(self.count - 1)),
        }
    }

    fn quantile(&self, counts: &[u64]) -> Option<f64> {
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        let wanted = self.fraction * as_f64(total);
        let mut before = 0;
        for (index, &count) in counts.iter().enumerate() {
            if count > 0 && as_f64(before + count) >= wanted {
                let within = (wanted - as_f64(before)) / as_f64(count);
                return Some(self.low + (as_f64(index as u64) + within) * self.width());
            }
            before += count;
        }
        Some(self.high)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of rows needs no more digits")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

impl Gather for Buckets {
    type State = Vec<u64>;

    fn empty(&self) -> Vec<u64> {
        Vec::new()
    }

    fn update(&self, states: &mut [Vec<u64>], values: &[ArrayRef], rows: Rows<'_>) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        let Column::Double(values) = Column::new(values)? else { return Ok(()) };
        rows.each(|row, group| {
            if values.is_valid(row)
                && let Some(bucket) = self.bucket(values.value(row))
            {
                states[group].resize(self.count, 0);
                states[group][bucket] += 1;
            }
            Ok(())
        })
    }

    fn merge(&self, state: &mut Vec<u64>, other: &[u8]) -> DfResult<()> {
        if other.is_empty() {
            return Ok(());
        }
        let (counts, rest) = other.as_chunks::<8>();
        if counts.len() != self.count || !rest.is_empty() {
            return exec_err!("a histogram of {} buckets came with {} bytes", self.count, other.len());
        }
        state.resize(self.count, 0);
        for (own, other) in state.iter_mut().zip(counts) {
            *own = own.saturating_add(u64::from_le_bytes(*other));
        }
        Ok(())
    }

    fn encode(&self, state: &Vec<u64>, out: &mut Vec<u8>) -> DfResult<()> {
        out.extend(state.iter().flat_map(|count| count.to_le_bytes()));
        Ok(())
    }

    fn evaluate(&self, states: &[Vec<u64>]) -> DfResult<ArrayRef> {
        Ok(Arc::new(states.iter().map(|counts| self.quantile(counts)).collect::<Float64Array>()))
    }

    fn heap_bytes(&self, state: &Vec<u64>) -> usize {
        state.capacity() * size_of::<u64>()
    }
}
