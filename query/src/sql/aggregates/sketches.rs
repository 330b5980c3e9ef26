//! Functions of one row that read and join sketches.
//!
//! They take what the aggregates of this query gave; bytes of another kind are refused when the query is planned, where
//! the column is marked, and else when they are read. A null sketch gives null, and adds nothing to a union.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Float64Builder, ListBuilder, StringViewArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result as DfResult, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datasketches::common::{NumStdDev, SearchCriteria};
use datasketches::hll::{HllSketch, HllType};
use datasketches::kll::KllFloat;
use datasketches::theta::{CompactThetaSketch, ThetaANotB, ThetaIntersection};

use super::distinct::{
    HLL_LG_K, THETA_SIZE, hll_type, hll_union, read_hll, read_theta, theta_lg_k, theta_union, unreadable,
};
use super::groups::binary;
use super::input::check_kind;
use super::quantiles::{Quantiles, quantile_of, read_quantiles};
use crate::columns::{SketchKind, json_field, type_name};

/// What a function gives.
#[derive(Debug, Clone, Copy)]
enum Gives {
    Double,
    Doubles,
    Text,
    Json,
    Sketch,
}

/// What stands in a call besides sketches.
#[derive(Debug, Clone, Copy)]
enum Literals {
    /// One sketch, then so many of this type at the least and at the most.
    After(fn() -> DataType, usize, usize),
    /// These or none of them in front, then two sketches or more.
    Before(&'static [DataType]),
}

#[derive(Debug)]
struct Definition {
    name: &'static str,
    kind: SketchKind,
    literals: Literals,
    gives: Gives,
    invoke: fn(&Args<'_>) -> DfResult<ArrayRef>,
}

const NONE: Literals = Literals::After(|| DataType::Null, 0, 0);
const DEVIATIONS: Literals = Literals::After(|| DataType::Int64, 0, 1);

const fn define(
    name: &'static str,
    kind: SketchKind,
    literals: Literals,
    gives: Gives,
    invoke: fn(&Args<'_>) -> DfResult<ArrayRef>,
) -> Definition {
    Definition { name, kind, literals, gives, invoke }
}

static DEFINITIONS: &[Definition] = &[
    define(
        "HLL_SKETCH_ESTIMATE",
        SketchKind::Hll,
        Literals::After(|| DataType::Boolean, 0, 1),
        Gives::Double,
        hll_estimate,
    ),
    define("HLL_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS", SketchKind::Hll, DEVIATIONS, Gives::Doubles, hll_bounds),
    define(
        "HLL_SKETCH_UNION",
        SketchKind::Hll,
        Literals::Before(&[DataType::Int64, DataType::Utf8]),
        Gives::Sketch,
        hll_join,
    ),
    define("HLL_SKETCH_TO_STRING", SketchKind::Hll, NONE, Gives::Text, hll_summary),
    define("THETA_SKETCH_ESTIMATE", SketchKind::Theta, NONE, Gives::Double, theta_estimate),
    define("THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS", SketchKind::Theta, DEVIATIONS, Gives::Json, theta_bounds),
    define("THETA_SKETCH_UNION", SketchKind::Theta, Literals::Before(&[DataType::Int64]), Gives::Sketch, theta_join),
    define(
        "THETA_SKETCH_INTERSECT",
        SketchKind::Theta,
        Literals::Before(&[DataType::Int64]),
        Gives::Sketch,
        theta_intersect,
    ),
    define("THETA_SKETCH_NOT", SketchKind::Theta, Literals::Before(&[DataType::Int64]), Gives::Sketch, theta_not),
    define(
        "DS_GET_QUANTILE",
        SketchKind::Quantiles,
        Literals::After(|| DataType::Float64, 1, 1),
        Gives::Double,
        get_quantile,
    ),
    define(
        "DS_GET_QUANTILES",
        SketchKind::Quantiles,
        Literals::After(|| DataType::Float64, 1, usize::MAX),
        Gives::Doubles,
        get_quantiles,
    ),
    define("DS_RANK", SketchKind::Quantiles, Literals::After(|| DataType::Float64, 1, 1), Gives::Double, rank),
    define("DS_CDF", SketchKind::Quantiles, Literals::After(|| DataType::Float64, 1, usize::MAX), Gives::Doubles, cdf),
    define(
        "DS_HISTOGRAM",
        SketchKind::Quantiles,
        Literals::After(|| DataType::Float64, 1, usize::MAX),
        Gives::Doubles,
        histogram,
    ),
    define("DS_QUANTILE_SUMMARY", SketchKind::Quantiles, NONE, Gives::Text, quantile_summary),
];

/// All of them, for a session.
pub(crate) fn all() -> impl Iterator<Item = Arc<ScalarUDF>> {
    DEFINITIONS.iter().map(|definition| {
        let signature = Signature::user_defined(Volatility::Immutable);
        let name = definition.name.to_ascii_lowercase();
        Arc::new(ScalarUDF::new_from_impl(SketchFunction { definition, name, signature }))
    })
}

#[derive(Debug)]
struct SketchFunction {
    definition: &'static Definition,
    name: String,
    signature: Signature,
}

impl PartialEq for SketchFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for SketchFunction {}

impl Hash for SketchFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

fn is_sketch(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Null)
}

impl ScalarUDFImpl for SketchFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let Definition { name, kind, literals, .. } = self.definition;
        let (front, sketches, back) = match *literals {
            Literals::After(of, least, most) => {
                let back = types.len().saturating_sub(1);
                if types.is_empty() || back < least || back > most {
                    return plan_err!(
                        "{name} takes a sketch and {least} or more literals; it was given {}",
                        types.len()
                    );
                }
                (Vec::new(), 1, vec![of(); back])
            }
            Literals::Before(of) => {
                let front = if types.first().is_some_and(is_sketch) { &[][..] } else { of };
                let sketches = types.len().saturating_sub(front.len());
                if sketches < 2 {
                    return plan_err!("{name} takes two sketches or more");
                }
                (front.to_vec(), sketches, Vec::new())
            }
        };
        for given in types.iter().skip(front.len()).take(sketches) {
            if !is_sketch(given) {
                return plan_err!("{name} takes sketches of type {}, not {}", kind.type_name(), type_name(given));
            }
        }
        Ok([front, vec![DataType::Binary; sketches], back].concat())
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        internal_err!("the result of {} depends on fields", self.definition.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        for field in args.arg_fields {
            check_kind(self.definition.name, field, self.definition.kind)?;
        }
        Ok(Arc::new(match self.definition.gives {
            Gives::Double => Field::new(&self.name, DataType::Float64, true),
            Gives::Doubles => Field::new(&self.name, DataType::new_list(DataType::Float64, true), true),
            Gives::Text => Field::new(&self.name, DataType::Utf8View, true),
            Gives::Json => json_field(&self.name),
            Gives::Sketch => self.definition.kind.field(&self.name),
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let array = (self.definition.invoke)(&Args { name: self.definition.name, args: &args.args, rows })?;
        if scalar {
            ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar)
        } else {
            Ok(ColumnarValue::Array(array))
        }
    }
}

/// The arguments of one call over a batch.
struct Args<'a> {
    name: &'static str,
    args: &'a [ColumnarValue],
    rows: usize,
}

impl Args<'_> {
    fn array(&self, index: usize, wanted: &DataType) -> DfResult<ArrayRef> {
        let Some(arg) = self.args.get(index) else { return internal_err!("{} lacks an argument", self.name) };
        Ok(arrow::compute::cast(&arg.clone().into_array(self.rows)?, wanted)?)
    }

    fn sketches(&self, index: usize) -> DfResult<BinaryArray> {
        Ok(self.array(index, &DataType::Binary)?.as_binary().clone())
    }

    fn doubles(&self, index: usize) -> DfResult<Float64Array> {
        Ok(self.array(index, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
    }

    /// A literal whole number in front or behind, else `or`.
    fn integer(&self, index: usize, or: i64) -> DfResult<i64> {
        match self.args.get(index) {
            None => Ok(or),
            Some(ColumnarValue::Scalar(scalar)) if scalar.is_null() => Ok(or),
            Some(ColumnarValue::Scalar(_)) => {
                Ok(self.array(index, &DataType::Int64)?.as_primitive::<Int64Type>().value(0))
            }
            Some(ColumnarValue::Array(_)) => plan_err!("argument {} of {} must be a literal", index + 1, self.name),
        }
    }

    fn deviations(&self) -> DfResult<NumStdDev> {
        match self.integer(1, 2)? {
            1 => Ok(NumStdDev::One),
            2 => Ok(NumStdDev::Two),
            3 => Ok(NumStdDev::Three),
            other => plan_err!("{} takes 1, 2 or 3 standard deviations and not {other}", self.name),
        }
    }

    /// The first column of sketches, read, one by one.
    fn each<S, T>(
        &self,
        read: fn(&[u8]) -> DfResult<S>,
        give: impl Fn(usize, S) -> DfResult<T>,
    ) -> DfResult<Vec<Option<T>>> {
        let sketches = self.sketches(0)?;
        sketches.iter().enumerate().map(|(row, bytes)| bytes.map(|b| give(row, read(b)?)).transpose()).collect()
    }
}

fn doubles(values: Vec<Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

fn texts(values: Vec<Option<String>>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(values))
}

fn lists(values: Vec<Option<Vec<f64>>>) -> ArrayRef {
    let mut builder = ListBuilder::new(Float64Builder::new());
    for value in values {
        match value {
            Some(value) => builder.append_value(value.into_iter().map(Some)),
            None => builder.append(false),
        }
    }
    Arc::new(builder.finish())
}

fn hll_estimate(args: &Args<'_>) -> DfResult<ArrayRef> {
    let round: Option<BooleanArray> = match args.args.get(1) {
        Some(_) => Some(args.array(1, &DataType::Boolean)?.as_boolean().clone()),
        None => None,
    };
    let give = |row: usize, sketch: HllSketch| {
        let round = round.as_ref().is_some_and(|r| r.is_valid(row) && r.value(row));
        Ok(if round { sketch.estimate().round() } else { sketch.estimate() })
    };
    args.each(read_hll, give).map(doubles)
}

fn hll_bounds(args: &Args<'_>) -> DfResult<ArrayRef> {
    let deviations = args.deviations()?;
    let give = |_, s: HllSketch| Ok(vec![s.estimate(), s.lower_bound(deviations), s.upper_bound(deviations)]);
    args.each(read_hll, give).map(lists)
}

fn hll_summary(args: &Args<'_>) -> DfResult<ArrayRef> {
    let give = |_, s: HllSketch| {
        let target = match s.target_type() {
            HllType::Hll4 => "HLL_4",
            HllType::Hll6 => "HLL_6",
            HllType::Hll8 => "HLL_8",
        };
        let mut text = String::from("### HLL SKETCH SUMMARY:\n");
        let bounds = (s.lower_bound(NumStdDev::One), s.upper_bound(NumStdDev::One));
        // A String takes every text.
        let _never = write!(
            text,
            "  Log Config K : {}\n  Hll Target   : {target}\n  LB           : {:?}\n  Estimate     : {:?}\n  UB           : {:?}\n",
            s.lg_config_k(),
            bounds.0,
            s.estimate(),
            bounds.1
        );
        Ok(text)
    };
    args.each(read_hll, give).map(texts)
}

/// The columns of sketches, after the literals if there are any, and the index of the first one.
fn joined(args: &Args<'_>, literals: usize) -> DfResult<(Vec<BinaryArray>, bool)> {
    let first = args.args.first().is_some_and(|a| is_sketch(&a.data_type()));
    let from = if first { 0 } else { literals };
    let columns = (from..args.args.len()).map(|index| args.sketches(index)).collect::<DfResult<_>>()?;
    Ok((columns, !first))
}

/// One row's sketches that are not null.
fn row_of(columns: &[BinaryArray], row: usize) -> impl Iterator<Item = &[u8]> {
    columns.iter().filter(move |c| c.is_valid(row)).map(move |c| c.value(row))
}

fn hll_join(args: &Args<'_>) -> DfResult<ArrayRef> {
    let (columns, literals) = joined(args, 2)?;
    let (mut lg_k, mut target) = (HLL_LG_K, HllType::Hll4);
    if literals {
        lg_k = args.integer(0, HLL_LG_K)?;
        let text = args.array(1, &DataType::Utf8)?;
        target = hll_type(args.name, text.as_string::<i32>().iter().next().flatten())?;
    }
    let lg_k = match u8::try_from(lg_k) {
        Ok(lg_k @ 4..=21) => lg_k,
        _ => return plan_err!("lgK of {} must be between 4 and 21 and not {lg_k}", args.name),
    };
    binary((0..args.rows).map(|row| {
        let mut union = hll_union(lg_k);
        row_of(&columns, row).try_for_each(|bytes| read_hll(bytes).map(|s| union.update(&s)))?;
        Ok(Some(union.to_sketch(target).serialize()))
    }))
}

fn theta_estimate(args: &Args<'_>) -> DfResult<ArrayRef> {
    args.each(read_theta, |_, sketch| Ok(sketch.estimate())).map(doubles)
}

fn theta_bounds(args: &Args<'_>) -> DfResult<ArrayRef> {
    let deviations = args.deviations()?;
    let give = |_, s: CompactThetaSketch| {
        Ok(serde_json::json!({
            "estimate": s.estimate(),
            "highBound": s.upper_bound(deviations),
            "lowBound": s.lower_bound(deviations),
            "numStdDev": deviations.as_u8(),
        })
        .to_string())
    };
    args.each(read_theta, give).map(texts)
}

/// Columns, and the checked size as a power of two.
fn theta_columns(args: &Args<'_>) -> DfResult<(Vec<BinaryArray>, u8)> {
    let (columns, literals) = joined(args, 1)?;
    let size = if literals { args.integer(0, THETA_SIZE)? } else { THETA_SIZE };
    if !(32..=1 << 26).contains(&size) {
        return plan_err!("the size of {} must be between 32 and {} and not {size}", args.name, 1 << 26);
    }
    Ok((columns, theta_lg_k(args.name, size)?))
}

fn theta_rows(
    args: &Args<'_>,
    columns: &[BinaryArray],
    join: impl Fn(Vec<CompactThetaSketch>) -> Result<CompactThetaSketch, datasketches::error::Error>,
) -> DfResult<ArrayRef> {
    binary((0..args.rows).map(|row| {
        let sketches = row_of(columns, row).map(read_theta).collect::<DfResult<Vec<_>>>()?;
        let sketch = join(sketches).map_err(|e| unreadable("theta sketch to join", &e))?;
        Ok(Some(sketch.serialize()))
    }))
}

fn theta_join(args: &Args<'_>) -> DfResult<ArrayRef> {
    let (columns, lg_k) = theta_columns(args)?;
    theta_rows(args, &columns, |sketches| {
        let mut union = theta_union(lg_k);
        sketches.iter().try_for_each(|sketch| union.update(sketch))?;
        Ok(union.to_sketch(true))
    })
}

fn theta_intersect(args: &Args<'_>) -> DfResult<ArrayRef> {
    let (columns, lg_k) = theta_columns(args)?;
    // A null is the set of nothing here: what is in all of them is in none.
    let whole = columns.len();
    theta_rows(args, &columns, |sketches| {
        let empty = || theta_union(lg_k).to_sketch(true);
        if sketches.len() < whole {
            return Ok(empty());
        }
        let mut intersection = ThetaIntersection::default();
        sketches.iter().try_for_each(|sketch| intersection.update(sketch))?;
        Ok(intersection.to_sketch(true).unwrap_or_else(empty))
    })
}

fn theta_not(args: &Args<'_>) -> DfResult<ArrayRef> {
    let (columns, lg_k) = theta_columns(args)?;
    let Some((first, others)) = columns.split_first() else { return internal_err!("no sketch") };
    binary((0..args.rows).map(|row| {
        let mut left = match row_of(std::slice::from_ref(first), row).next() {
            Some(bytes) => read_theta(bytes)?,
            None => theta_union(lg_k).to_sketch(true),
        };
        for bytes in row_of(others, row) {
            let right = read_theta(bytes)?;
            left = ThetaANotB::default()
                .compute(&left, &right, true)
                .map_err(|e| unreadable("theta sketch to join", &e))?;
        }
        Ok(Some(left.serialize()))
    }))
}

fn get_quantile(args: &Args<'_>) -> DfResult<ArrayRef> {
    let fractions = args.doubles(1)?;
    let give = |row: usize, sketch: Quantiles| {
        if fractions.is_null(row) {
            return Ok(None);
        }
        let fraction = fractions.value(row);
        if !(0.0..=1.0).contains(&fraction) {
            return exec_err!("the fraction of {} must be between 0 and 1 and not {fraction}", args.name);
        }
        quantile_of(&sketch, fraction)
    };
    Ok(doubles(args.each(read_quantiles, give)?.into_iter().map(Option::flatten).collect()))
}

/// The numbers after the sketch, row by row; nulls among them are left out.
fn points(args: &Args<'_>) -> DfResult<Vec<Float64Array>> {
    (1..args.args.len()).map(|index| args.doubles(index)).collect()
}

fn points_of(columns: &[Float64Array], row: usize) -> Vec<f64> {
    columns.iter().filter(|c| c.is_valid(row)).map(|c| c.value(row)).collect()
}

fn get_quantiles(args: &Args<'_>) -> DfResult<ArrayRef> {
    let fractions = points(args)?;
    let give = |row: usize, sketch: Quantiles| match sketch
        .quantiles(&points_of(&fractions, row), SearchCriteria::Inclusive)
    {
        Ok(values) => Ok(values.map(|v| v.into_iter().map(KllFloat::into_inner).collect())),
        Err(_) => exec_err!("the fractions of {} must be between 0 and 1", args.name),
    };
    Ok(lists(args.each(read_quantiles, give)?.into_iter().map(Option::flatten).collect()))
}

fn rank(args: &Args<'_>) -> DfResult<ArrayRef> {
    let values = args.doubles(1)?;
    let give = |row: usize, sketch: Quantiles| {
        let value = values.is_valid(row).then(|| KllFloat::<f64>::new(values.value(row)).ok()).flatten();
        Ok(value.and_then(|value| sketch.rank(&value, SearchCriteria::Inclusive)))
    };
    Ok(doubles(args.each(read_quantiles, give)?.into_iter().map(Option::flatten).collect()))
}

/// The share of values up to each split point, or between them.
fn shares(args: &Args<'_>, between: bool) -> DfResult<Vec<Option<Vec<f64>>>> {
    let splits = points(args)?;
    let give = |row: usize, sketch: Quantiles| {
        let splits: Result<Vec<_>, _> = points_of(&splits, row).into_iter().map(KllFloat::<f64>::new).collect();
        let shares = splits.and_then(|splits| {
            let of = SearchCriteria::Inclusive;
            let shares = if between { sketch.pmf(&splits, of) } else { sketch.cdf(&splits, of) }?;
            Ok(shares.map(|mut shares| {
                #[expect(clippy::cast_precision_loss, reason = "a share of rows needs no more digits")]
                let rows = if between { sketch.n() as f64 } else { 1.0 };
                shares.iter_mut().for_each(|share| *share *= rows);
                shares
            }))
        });
        match shares {
            Ok(shares) => Ok(shares),
            Err(_) => exec_err!("the split points of {} must be numbers that grow", args.name),
        }
    };
    Ok(args.each(read_quantiles, give)?.into_iter().map(Option::flatten).collect())
}

fn cdf(args: &Args<'_>) -> DfResult<ArrayRef> {
    shares(args, false).map(lists)
}

fn histogram(args: &Args<'_>) -> DfResult<ArrayRef> {
    shares(args, true).map(lists)
}

fn quantile_summary(args: &Args<'_>) -> DfResult<ArrayRef> {
    let give = |_, s: Quantiles| {
        let end = |item: Option<&KllFloat<f64>>| item.map_or("none".to_owned(), |v| format!("{:?}", v.into_inner()));
        Ok(format!(
            "### QUANTILES SKETCH SUMMARY (KLL):\n  K              : {}\n  N              : {}\n  Retained Items : {}\n  \
             Rank Error     : {:?}\n  Min Value      : {}\n  Max Value      : {}\n",
            s.k(),
            s.n(),
            s.num_retained(),
            s.normalized_rank_error(),
            end(s.min_item()),
            end(s.max_item())
        ))
    };
    args.each(read_quantiles, give).map(texts)
}
