//! Variance and standard deviation, by count, mean and sum of squared distances.
//!
//! As in Druid a single row deviates by 0, of the sample as of the population; no row gives null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result as DfResult, exec_err, plan_err};

use super::groups::{Aggregator, Gather, Rows};
use super::input::{Call, is_number};
use crate::columns::type_name;

pub(super) fn coerce(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    match types {
        [DataType::Null] => Ok(vec![DataType::Float64]),
        [number] if is_number(number) => Ok(vec![DataType::Float64]),
        [other] => plan_err!("{name} takes numbers, not {}", type_name(other)),
        _ => plan_err!("{name} takes 1 argument and was given {}", types.len()),
    }
}

pub(super) fn variance_sample(_: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    Ok(Box::new(Spread { sample: true, root: false }))
}

pub(super) fn variance_population(_: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    Ok(Box::new(Spread { sample: false, root: false }))
}

pub(super) fn deviation_sample(_: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    Ok(Box::new(Spread { sample: true, root: true }))
}

pub(super) fn deviation_population(_: &Call<'_>) -> DfResult<Box<dyn Aggregator>> {
    Ok(Box::new(Spread { sample: false, root: true }))
}

#[derive(Debug)]
struct Spread {
    sample: bool,
    root: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    count: u64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 rows the last digits of a mean are lost")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / as_f64(self.count);
        self.squares += distance * (value - self.mean);
    }

    fn remove(&mut self, value: f64) {
        if self.count <= 1 {
            *self = Self::default();
            return;
        }
        self.count -= 1;
        let distance = value - self.mean;
        self.mean -= distance / as_f64(self.count);
        // What rounding leaves below nothing is nothing; NaN stays.
        self.squares -= distance * (value - self.mean);
        if self.squares < 0.0 {
            self.squares = 0.0;
        }
    }

    fn join(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        let share = as_f64(other.count) / as_f64(count);
        self.squares += other.squares + distance * distance * as_f64(self.count) * share;
        self.mean += distance * share;
        self.count = count;
    }
}

impl Spread {
    fn of(&self, moments: &Moments) -> Option<f64> {
        let variance = match moments.count {
            0 => return None,
            // NaN and the infinities deviate by no number, alone too.
            1 => moments.squares,
            count if self.sample => moments.squares / as_f64(count - 1),
            count => moments.squares / as_f64(count),
        };
        Some(if self.root { variance.sqrt() } else { variance })
    }
}

impl Gather for Spread {
    type State = Moments;

    fn empty(&self) -> Moments {
        Moments::default()
    }

    fn update(&self, states: &mut [Moments], values: &[ArrayRef], rows: Rows<'_>) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        let values: &Float64Array = values.as_primitive::<Float64Type>();
        rows.each(|row, group| {
            if values.is_valid(row) {
                states[group].add(values.value(row));
            }
            Ok(())
        })
    }

    fn merge(&self, state: &mut Moments, other: &[u8]) -> DfResult<()> {
        let ([count, mean, squares], []) = other.as_chunks::<8>() else {
            return exec_err!("moments of {} bytes", other.len());
        };
        state.join(Moments {
            count: u64::from_le_bytes(*count),
            mean: f64::from_le_bytes(*mean),
            squares: f64::from_le_bytes(*squares),
        });
        Ok(())
    }

    fn encode(&self, state: &Moments, out: &mut Vec<u8>) -> DfResult<()> {
        out.extend(state.count.to_le_bytes());
        out.extend(state.mean.to_le_bytes());
        out.extend(state.squares.to_le_bytes());
        Ok(())
    }

    fn evaluate(&self, states: &[Moments]) -> DfResult<ArrayRef> {
        Ok(Arc::new(states.iter().map(|moments| self.of(moments)).collect::<Float64Array>()))
    }

    fn heap_bytes(&self, _: &Moments) -> usize {
        0
    }

    fn retract(&self, state: &mut Moments, values: &[ArrayRef]) -> DfResult<bool> {
        if let Some(values) = values.first() {
            values.as_primitive::<Float64Type>().iter().flatten().for_each(|value| state.remove(value));
        }
        Ok(true)
    }

    fn retracts(&self) -> bool {
        true
    }
}
