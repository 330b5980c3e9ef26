//! What the arguments of an aggregate are: their types, their literals, and a column downcast once a batch.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array, PrimitiveArray, RecordBatch, StringViewArray,
};
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type, Schema, TimeUnit, TimestampMillisecondType};
use datafusion::common::{Result as DfResult, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::logical_expr::function::AccumulatorArgs;

use crate::columns::SketchKind;
use crate::sql::functions::timestamp_type;

/// A call of an aggregate.
pub(super) struct Call<'a> {
    /// As users write it.
    pub(super) name: &'static str,
    pub(super) args: AccumulatorArgs<'a>,
}

impl Call<'_> {
    /// The field of argument `index`.
    pub(super) fn field(&self, index: usize) -> DfResult<&FieldRef> {
        match self.args.expr_fields.get(index) {
            Some(field) => Ok(field),
            None => internal_err!("{} was planned without argument {}", self.name, index + 1),
        }
    }

    /// The literal at `index`; `None` when it is left out or null.
    fn literal(&self, index: usize) -> DfResult<Option<ScalarValue>> {
        let Some(expr) = self.args.exprs.get(index) else { return Ok(None) };
        // A literal needs no row to have a value; a column does.
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        match expr.evaluate(&nothing) {
            Ok(ColumnarValue::Scalar(scalar)) if scalar.is_null() => Ok(None),
            Ok(ColumnarValue::Scalar(scalar)) => Ok(Some(scalar)),
            _ => plan_err!("argument {} of {} must be a literal", index + 1, self.name),
        }
    }

    /// A whole number at `index`.
    pub(super) fn integer(&self, index: usize, or: i64, range: RangeInclusive<i64>, what: &str) -> DfResult<i64> {
        let Some(literal) = self.literal(index)? else { return Ok(or) };
        match literal.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(value))) if range.contains(&value) => Ok(value),
            _ => plan_err!(
                "argument {} of {}, {what}, must be between {} and {} and not {literal}",
                index + 1,
                self.name,
                range.start(),
                range.end()
            ),
        }
    }

    /// A number at `index`.
    pub(super) fn number(&self, index: usize, what: &str) -> DfResult<f64> {
        match self.literal(index)?.map(|literal| literal.cast_to(&DataType::Float64)) {
            Some(Ok(ScalarValue::Float64(Some(value)))) if value.is_finite() => Ok(value),
            _ => plan_err!("argument {} of {}, {what}, must be a number", index + 1, self.name),
        }
    }

    /// A share of one at `index`.
    pub(super) fn fraction(&self, index: usize) -> DfResult<f64> {
        let value = self.number(index, "the probability")?;
        if (0.0..=1.0).contains(&value) {
            return Ok(value);
        }
        plan_err!("argument {} of {}, the probability, must be between 0 and 1 and not {value}", index + 1, self.name)
    }

    /// A text at `index`.
    pub(super) fn text(&self, index: usize) -> DfResult<Option<String>> {
        match self.literal(index)?.map(|literal| literal.cast_to(&DataType::Utf8)) {
            None => Ok(None),
            Some(Ok(ScalarValue::Utf8(text))) => Ok(text),
            Some(_) => plan_err!("argument {} of {} must be a text", index + 1, self.name),
        }
    }
}

/// A column of values.
pub(super) enum Column {
    /// Whole numbers, and times in milliseconds.
    Long(Int64Array),
    Double(Float64Array),
    Text(StringViewArray),
    /// Sketches in their bytes.
    Sketch(BinaryArray),
    /// Nothing but null.
    Null,
}

impl Column {
    pub(super) fn new(array: &ArrayRef) -> DfResult<Self> {
        Ok(match array.data_type() {
            DataType::Int64 => Self::Long(array.as_primitive::<Int64Type>().clone()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Self::Long(millis(array)),
            DataType::Float64 => Self::Double(array.as_primitive::<Float64Type>().clone()),
            DataType::Utf8View => Self::Text(array.as_string_view().clone()),
            DataType::Binary => Self::Sketch(array.as_binary().clone()),
            DataType::Null => Self::Null,
            other => return internal_err!("an aggregate was planned over {other}"),
        })
    }
}

/// Times as their milliseconds.
pub(super) fn millis(array: &ArrayRef) -> PrimitiveArray<Int64Type> {
    array.as_primitive::<TimestampMillisecondType>().reinterpret_cast()
}

/// Whether the type is a number.
pub(super) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

/// The type that a value of this type is gathered as: BIGINT, DOUBLE, VARCHAR or a time. `None` for what is none of them.
pub(super) fn plain(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            DataType::Float64
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
        DataType::Dictionary(_, value) => return plain(value),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => timestamp_type(),
        DataType::Null => DataType::Null,
        other if other.is_integer() || *other == DataType::Boolean => DataType::Int64,
        _ => return None,
    })
}

/// Refuses a sketch of another kind. A column without a mark is looked at when its bytes are read.
pub(super) fn check_kind(name: &str, field: &FieldRef, kind: SketchKind) -> DfResult<()> {
    match SketchKind::of(field) {
        Some(other) if other != kind => {
            plan_err!("{name} takes sketches of type {} and was given {}", kind.type_name(), other.type_name())
        }
        _ => Ok(()),
    }
}
