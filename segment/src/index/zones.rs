//! Zones: smallest and largest number of a column in a closed chunk, and whether it has nulls.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{ArrowNativeType, DataType, Float32Type, Float64Type, Int64Type, TimestampMillisecondType};

use crate::growing::{ChunkColumn, Numbers, Plain};
use crate::predicate::{CompareOp, Value, compare_doubles, compare_long_double};

/// Range of the values of one numeric column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Zone {
    /// No value at all.
    Empty,
    /// Integers or times.
    Long { min: i64, max: i64, nulls: bool },
    /// Floating point; NaN counts as the largest.
    Double { min: f64, max: f64, nulls: bool },
}

/// What a zone says of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No row fits.
    None,
    /// Every row fits.
    All,
    /// Look at the rows.
    Some,
}

impl Zone {
    /// The zone of a column; `None` for text, whose dictionary answers instead.
    pub(crate) fn of(column: &ChunkColumn) -> Option<Self> {
        match column {
            ChunkColumn::Absent | ChunkColumn::Text { .. } => None,
            ChunkColumn::Long(numbers) => {
                let values = || valid(numbers);
                let nulls = values().count() < numbers.values.len();
                Some(match (values().min(), values().max()) {
                    (Some(min), Some(max)) => Self::Long { min, max, nulls },
                    _ => Self::Empty,
                })
            }
            ChunkColumn::Double(numbers) => Some(Self::of_doubles(valid(numbers), numbers.values.len())),
            ChunkColumn::Float(numbers) => Some(Self::of_doubles(valid(numbers).map(f64::from), numbers.values.len())),
        }
    }

    /// As [`of`](Self::of), of an array in the Arrow type of its column.
    pub(crate) fn of_array(array: &ArrayRef) -> Option<Self> {
        let (rows, nulls) = (array.len(), array.null_count() > 0);
        let longs = |mut values: &mut dyn Iterator<Item = i64>| {
            let range =
                values.next().map(|first| (&mut values).fold((first, first), |(min, max), v| (min.min(v), max.max(v))));
            range.map_or(Self::Empty, |(min, max)| Self::Long { min, max, nulls })
        };
        match array.data_type() {
            DataType::Int64 => Some(longs(&mut array.as_primitive::<Int64Type>().iter().flatten())),
            DataType::Timestamp(..) => {
                Some(longs(&mut array.as_primitive::<TimestampMillisecondType>().iter().flatten()))
            }
            DataType::Float64 => Some(Self::of_doubles(array.as_primitive::<Float64Type>().iter().flatten(), rows)),
            DataType::Float32 => {
                Some(Self::of_doubles(array.as_primitive::<Float32Type>().iter().flatten().map(f64::from), rows))
            }
            _ => None,
        }
    }

    fn of_doubles(values: impl Iterator<Item = f64>, rows: usize) -> Self {
        let mut count = 0;
        let mut range: Option<(f64, f64)> = None;
        for v in values {
            count += 1;
            let (min, max) = range.unwrap_or((v, v));
            range = Some((
                if compare_doubles(v, min).is_lt() { v } else { min },
                if compare_doubles(v, max).is_gt() { v } else { max },
            ));
        }
        match range {
            Some((min, max)) => Self::Double { min, max, nulls: count < rows },
            None => Self::Empty,
        }
    }

    /// What is known of `column op value` without looking at a row.
    pub(crate) fn verdict(&self, op: CompareOp, value: &Value) -> Verdict {
        let (low, high, nulls) = match (self, value) {
            (Self::Empty, _) => return Verdict::None,
            (Self::Long { min, max, nulls }, Value::Long(v)) => (min.cmp(v), max.cmp(v), *nulls),
            (Self::Long { min, max, nulls }, Value::Timestamp(t)) => {
                (min.cmp(&t.as_millis()), max.cmp(&t.as_millis()), *nulls)
            }
            (Self::Long { min, max, nulls }, Value::Double(v)) => {
                (compare_long_double(*min, *v), compare_long_double(*max, *v), *nulls)
            }
            (Self::Double { min, max, nulls }, Value::Double(v)) => {
                (compare_doubles(*min, *v), compare_doubles(*max, *v), *nulls)
            }
            (Self::Double { min, max, nulls }, Value::Long(v)) => {
                (compare_long_double(*v, *min).reverse(), compare_long_double(*v, *max).reverse(), *nulls)
            }
            _ => return Verdict::Some,
        };
        // Between the order of the smallest and of the largest value every order in between may occur.
        let possible: Vec<bool> = [std::cmp::Ordering::Less, std::cmp::Ordering::Equal, std::cmp::Ordering::Greater]
            .into_iter()
            .filter(|o| low <= *o && *o <= high)
            .map(|o| op.accepts(o))
            .collect();
        if !possible.contains(&true) {
            Verdict::None
        } else if !nulls && !possible.contains(&false) {
            Verdict::All
        } else {
            Verdict::Some
        }
    }
}

fn valid<T: Plain + ArrowNativeType>(numbers: &Numbers<T>) -> impl Iterator<Item = T> + '_ {
    numbers.values.iter().enumerate().filter(|(row, _)| numbers.is_valid(*row)).map(|(_, v)| *v)
}
