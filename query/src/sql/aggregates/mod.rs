//! Druid's aggregates that DataFusion has not, or has otherwise.
//!
//! Each is one row of [`DEFINITIONS`]: names, types, and what builds it. How states grow and merge is in the modules;
//! `groups` drives them. Nothing here looks at the order rows come in, so every split of the work gives one answer,
//! within the bounds of the sketches.

mod by_time;
mod distinct;
mod groups;
mod input;
mod lists;
mod quantiles;
mod rewrite;
mod sketches;
mod statistics;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

use self::groups::Aggregator;
use self::input::Call;
use crate::columns::SketchKind;

pub(crate) use self::rewrite::{rewrite, takes_plain};
pub(crate) use self::sketches::all as sketch_functions;

/// What an aggregate gives.
#[derive(Debug, Clone, Copy)]
enum Gives {
    /// This type.
    Type(fn() -> DataType),
    /// The type of its first argument.
    First,
    /// A list of it.
    List,
    /// A sketch.
    Sketch(SketchKind),
}

/// One aggregate.
#[derive(Debug)]
struct Definition {
    /// Its name in a plan. Two underscores mean that the dialect writes it in the place of what users call.
    name: &'static str,
    /// The name users know.
    shown: &'static str,
    /// The argument types it works on, given those it was called with.
    coerce: fn(&str, &[DataType]) -> DfResult<Vec<DataType>>,
    gives: Gives,
    /// Whether no rows give 0 and not null.
    counts: bool,
    build: fn(&Call<'_>) -> DfResult<Box<dyn Aggregator>>,
}

const fn count(
    name: &'static str,
    shown: &'static str,
    build: fn(&Call<'_>) -> DfResult<Box<dyn Aggregator>>,
) -> Definition {
    let gives = Gives::Type(|| DataType::Int64);
    Definition { name, shown, coerce: distinct::coerce, gives, counts: true, build }
}

const fn other(
    name: &'static str,
    shown: &'static str,
    coerce: fn(&str, &[DataType]) -> DfResult<Vec<DataType>>,
    gives: Gives,
    build: fn(&Call<'_>) -> DfResult<Box<dyn Aggregator>>,
) -> Definition {
    Definition { name, shown, coerce, gives, counts: false, build }
}

const DOUBLE: Gives = Gives::Type(|| DataType::Float64);
const TEXT: Gives = Gives::Type(|| DataType::Utf8View);

static DEFINITIONS: &[Definition] = &[
    count("approx_count_distinct", "APPROX_COUNT_DISTINCT", distinct::plain_count),
    count("approx_count_distinct_builtin", "APPROX_COUNT_DISTINCT_BUILTIN", distinct::plain_count),
    count("approx_count_distinct_ds_hll", "APPROX_COUNT_DISTINCT_DS_HLL", distinct::hll_count),
    count("approx_count_distinct_ds_theta", "APPROX_COUNT_DISTINCT_DS_THETA", distinct::theta_count),
    other("ds_hll", "DS_HLL", distinct::coerce, Gives::Sketch(SketchKind::Hll), distinct::hll_sketch),
    other("ds_theta", "DS_THETA", distinct::coerce, Gives::Sketch(SketchKind::Theta), distinct::theta_sketch),
    other("approx_quantile_ds", "APPROX_QUANTILE_DS", quantiles::coerce_quantile, DOUBLE, quantiles::kll_quantile),
    other("approx_quantile", "APPROX_QUANTILE", quantiles::coerce_quantile, DOUBLE, quantiles::plain_quantile),
    other(
        "approx_quantile_fixed_buckets",
        "APPROX_QUANTILE_FIXED_BUCKETS",
        quantiles::coerce_buckets,
        DOUBLE,
        quantiles::buckets_quantile,
    ),
    other(
        "ds_quantiles_sketch",
        "DS_QUANTILES_SKETCH",
        quantiles::coerce_sketch,
        Gives::Sketch(SketchKind::Quantiles),
        quantiles::kll_sketch,
    ),
    other("tdigest_quantile", "TDIGEST_QUANTILE", quantiles::coerce_quantile, DOUBLE, quantiles::digest_quantile),
    other(
        "tdigest_generate_sketch",
        "TDIGEST_GENERATE_SKETCH",
        quantiles::coerce_sketch,
        Gives::Sketch(SketchKind::TDigest),
        quantiles::digest_sketch,
    ),
    other("__earliest", "EARLIEST", by_time::coerce_by_time, Gives::First, by_time::earliest),
    other("__latest", "LATEST", by_time::coerce_by_time, Gives::First, by_time::latest),
    other("__any_value", "ANY_VALUE", by_time::coerce_any, Gives::First, by_time::any),
    other("__array_agg", "ARRAY_AGG", lists::coerce_array, Gives::List, lists::array),
    other("__array_concat_agg", "ARRAY_CONCAT_AGG", lists::coerce_concat, Gives::First, lists::concat),
    other("__string_agg", "STRING_AGG", lists::coerce_string, TEXT, lists::string),
    other("__stddev_samp", "STDDEV_SAMP", statistics::coerce, DOUBLE, statistics::deviation_sample),
    other("__stddev_pop", "STDDEV_POP", statistics::coerce, DOUBLE, statistics::deviation_population),
    other("__var_samp", "VAR_SAMP", statistics::coerce, DOUBLE, statistics::variance_sample),
    other("__var_pop", "VAR_POP", statistics::coerce, DOUBLE, statistics::variance_population),
];

/// All of them, for a session.
pub(crate) fn all() -> impl Iterator<Item = Arc<AggregateUDF>> {
    DEFINITIONS.iter().map(|definition| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(DruidAggregate { definition, signature }))
    })
}

/// A message with the names that users know in the place of the plan's.
pub(crate) fn with_shown_names(message: &str) -> String {
    let hidden = DEFINITIONS.iter().filter(|d| d.name.starts_with("__"));
    hidden.fold(message.to_owned(), |text, d| text.replace(d.name, d.shown))
}

struct DruidAggregate {
    definition: &'static Definition,
    signature: Signature,
}

impl std::fmt::Debug for DruidAggregate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.definition.name)
    }
}

impl PartialEq for DruidAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name
    }
}

impl Eq for DruidAggregate {}

impl Hash for DruidAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

impl DruidAggregate {
    fn build(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Aggregator>> {
        if args.is_distinct {
            return internal_err!("DISTINCT of {} was not written out", self.definition.shown);
        }
        (self.definition.build)(&Call { name: self.definition.shown, args })
    }
}

impl AggregateUDFImpl for DruidAggregate {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DfResult<Vec<DataType>> {
        (self.definition.coerce)(self.definition.shown, arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        let fields: Vec<FieldRef> = arg_types.iter().map(|t| Arc::new(Field::new("x", t.clone(), true))).collect();
        Ok(self.return_field(&fields)?.data_type().clone())
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> DfResult<FieldRef> {
        let name = self.definition.name;
        let first = || arg_fields.first().map_or(DataType::Null, |f| f.data_type().clone());
        let field = match self.definition.gives {
            Gives::Type(of) => Field::new(name, of(), !self.definition.counts),
            // A date is a time with a mark, and stays one.
            Gives::First => Field::new(name, first(), true)
                .with_metadata(arg_fields.first().map(|f| f.metadata().clone()).unwrap_or_default()),
            Gives::List => Field::new(name, lists::returns_list(arg_fields), true),
            Gives::Sketch(kind) => kind.field(name),
        };
        Ok(Arc::new(field))
    }

    fn is_nullable(&self) -> bool {
        !self.definition.counts
    }

    fn default_value(&self, data_type: &DataType) -> DfResult<ScalarValue> {
        if self.definition.counts { Ok(ScalarValue::Int64(Some(0))) } else { ScalarValue::try_from(data_type) }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        Ok(self.build(args)?.single())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "state"), DataType::Binary, true))])
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn GroupsAccumulator>> {
        Ok(self.build(args)?.groups())
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[cfg(test)]
mod tests;
