//! Functions that Druid has and DataFusion has not, or has otherwise.
//!
//! Each is one row of a table: name, signature for people, types and a function over Arrow arrays. Times are always
//! Timestamp(ms, UTC); zone, period and pattern are literals by the time a function runs, put there by the dialect.

mod arrays;
mod bits;
pub(crate) mod catalogue;
mod choices;
mod format;
mod joda;
mod json;
mod multi_value;
mod network;
mod numbers;
mod text;
mod time;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::columns::{SQL_TYPE_KEY, type_name};

/// The type of every time in SQL.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))
}

/// The argument types that a function works on, given those it was called with.
type Coerce = fn(&str, &[DataType]) -> DfResult<Vec<DataType>>;
/// The work; arguments are all arrays of the same length, or scalars.
type Invoke = fn(&str, &[ColumnarValue], usize) -> DfResult<ArrayRef>;

/// One function.
struct Definition {
    /// Upper-case name.
    name: &'static str,
    coerce: Coerce,
    /// What it gives for argument types.
    returns: Returns,
    /// What the result is beyond its Arrow type.
    shown: Shown,
    /// Whether it changes nothing when its first argument already has the result's type.
    identity: bool,
    work: Work,
}

enum Returns {
    Always(fn() -> DataType),
    Of(fn(&[DataType]) -> DataType),
}

/// What Arrow's type does not tell of a result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Plain,
    /// A time that stands for a day.
    Date,
    /// A text that is JSON.
    Json,
    /// A list of texts that are JSON.
    JsonItems,
}

enum Work {
    Plain(Invoke),
    /// For functions that ask which of their arguments are JSON.
    OfFields(fn(&Call<'_>) -> DfResult<ArrayRef>),
}

/// A call of a function over one batch.
struct Call<'a> {
    name: &'a str,
    args: &'a [ColumnarValue],
    fields: &'a [FieldRef],
    rows: usize,
}

impl Definition {
    const fn new(name: &'static str, coerce: Coerce, returns: fn() -> DataType, invoke: Invoke) -> Self {
        let (returns, work) = (Returns::Always(returns), Work::Plain(invoke));
        Self { name, coerce, returns, shown: Shown::Plain, identity: false, work }
    }

    /// One whose result has a type that depends on those of its arguments.
    const fn generic(name: &'static str, coerce: Coerce, returns: fn(&[DataType]) -> DataType, invoke: Invoke) -> Self {
        let (returns, work) = (Returns::Of(returns), Work::Plain(invoke));
        Self { name, coerce, returns, shown: Shown::Plain, identity: false, work }
    }

    /// One that asks which of its arguments are JSON.
    const fn of_fields(
        name: &'static str,
        coerce: Coerce,
        returns: fn() -> DataType,
        work: fn(&Call<'_>) -> DfResult<ArrayRef>,
    ) -> Self {
        let (returns, work) = (Returns::Always(returns), Work::OfFields(work));
        Self { name, coerce, returns, shown: Shown::Plain, identity: false, work }
    }

    const fn shown(mut self, shown: Shown) -> Self {
        self.shown = shown;
        self
    }

    const fn identity(mut self) -> Self {
        self.identity = true;
        self
    }

    fn return_type(&self, types: &[DataType]) -> DataType {
        match self.returns {
            Returns::Always(returns) => returns(),
            Returns::Of(returns) => returns(types),
        }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    [
        time::DEFINITIONS,
        text::DEFINITIONS,
        bits::DEFINITIONS,
        format::DEFINITIONS,
        network::DEFINITIONS,
        numbers::DEFINITIONS,
        arrays::DEFINITIONS,
        multi_value::DEFINITIONS,
        json::DEFINITIONS,
    ]
    .into_iter()
    .flatten()
    .map(|definition| {
        let signature = Signature::user_defined(Volatility::Immutable);
        let name = definition.name.to_ascii_lowercase();
        Arc::new(ScalarUDF::new_from_impl(DruidFunction { definition, name, signature }))
    })
    .chain([choices::coalesce()])
    .collect()
}

/// Whether a date-time pattern has a meaning.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    joda::Pattern::new(pattern).map(|_| ())
}

/// Whether a path into JSON has a meaning.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    json::check_path(path)
}

/// Whether a format of STRING_FORMAT has a meaning.
pub(crate) fn check_format(format: &str) -> Result<(), String> {
    format::check(format)
}

/// Whether a regular expression has a meaning.
pub(crate) fn check_regex(pattern: &str) -> Result<(), String> {
    compiled(pattern).map(|_| ())
}

/// Whether a subnet of `name`, IPV4_MATCH or IPV6_MATCH, has a meaning.
pub(crate) fn check_subnet(name: &str, subnet: &str) -> Result<(), String> {
    network::subnet(name, subnet).map(|_| ())
}

/// A regular expression; the message says what is wrong with it in one line.
fn compiled(pattern: &str) -> Result<regex::Regex, String> {
    regex::Regex::new(pattern).map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("`{pattern}` is not a regular expression: {why}")
    })
}

/// The literal regular expression of argument `index`; nothing when it is null.
fn regex_argument(name: &str, args: &[ColumnarValue], index: usize) -> DfResult<Option<regex::Regex>> {
    literal(name, args, index)?
        .map(|p| compiled(&p).map_err(|e| DataFusionError::Execution(format!("{name}: {e}"))))
        .transpose()
}

/// Whether a unit of TIME_EXTRACT has a meaning.
pub(crate) fn check_unit(unit: &str) -> Result<(), String> {
    time::extractor(unit).map(|_| ())
}

struct DruidFunction {
    definition: &'static Definition,
    name: String,
    signature: Signature,
}

impl std::fmt::Debug for DruidFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for DruidFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for DruidFunction {}

impl Hash for DruidFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for DruidFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DfResult<Vec<DataType>> {
        (self.definition.coerce)(self.definition.name, arg_types)
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(self.definition.return_type(types))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let field = Field::new(&self.name, self.definition.return_type(&types), true);
        Ok(Arc::new(match self.definition.shown {
            Shown::Plain => field,
            Shown::Date => field.with_metadata([(SQL_TYPE_KEY.to_owned(), "DATE".to_owned())].into()),
            Shown::Json => field.with_metadata(json::mark()),
            Shown::JsonItems => field.with_metadata(json::items_mark()),
        }))
    }

    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        if self.definition.identity
            && let Some(first) = args.first()
            && info.get_data_type(first)? == self.definition.return_type(&[])
        {
            return Ok(ExprSimplifyResult::Simplified(args.remove(0)));
        }
        Ok(ExprSimplifyResult::Original(args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let name = self.definition.name;
        let array = match self.definition.work {
            Work::Plain(invoke) => invoke(name, &args.args, rows)?,
            Work::OfFields(work) => work(&Call { name, args: &args.args, fields: &args.arg_fields, rows })?,
        };
        if scalar {
            ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar)
        } else {
            Ok(ColumnarValue::Array(array))
        }
    }
}

/// The literal text of argument `index`; `None` when it is null or missing.
fn literal(name: &str, args: &[ColumnarValue], index: usize) -> DfResult<Option<String>> {
    match args.get(index) {
        None => Ok(None),
        Some(ColumnarValue::Scalar(scalar)) => match scalar {
            ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => Ok(text.clone()),
            ScalarValue::Null => Ok(None),
            other => exec_err!("argument {} of {name} must be a text, not {other}", index + 1),
        },
        Some(ColumnarValue::Array(_)) => exec_err!("argument {} of {name} must be a literal", index + 1),
    }
}

/// Argument `index` as an array of texts.
fn texts(args: &[ColumnarValue], index: usize, rows: usize) -> DfResult<StringViewArray> {
    let Some(arg) = args.get(index) else { return exec_err!("argument {} is missing", index + 1) };
    let array = arg.clone().into_array(rows)?;
    Ok(arrow::compute::cast(&array, &DataType::Utf8View)?.as_string_view().clone())
}

fn count_between(name: &str, types: &[DataType], least: usize, most: usize) -> DfResult<()> {
    if (least..=most).contains(&types.len()) {
        return Ok(());
    }
    let count = if least == most { least.to_string() } else { format!("{least} to {most}") };
    plan_err!("{name} takes {count} arguments and was given {}", types.len())
}

fn text_type() -> DataType {
    DataType::Utf8View
}

fn boolean_type() -> DataType {
    DataType::Boolean
}

fn long_type() -> DataType {
    DataType::Int64
}

/// Argument `index` as an array of whole numbers.
fn longs(args: &[ColumnarValue], index: usize, rows: usize) -> DfResult<Int64Array> {
    let Some(arg) = args.get(index) else { return exec_err!("argument {} is missing", index + 1) };
    let array = arg.clone().into_array(rows)?;
    Ok(arrow::compute::cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// A failure of types, in SQL's words.
fn mistyped<T>(name: &str, argument: usize, wanted: &str, given: &DataType) -> DfResult<T> {
    plan_err!("argument {argument} of {name} must be {wanted}, not {}", type_name(given))
}

/// Refuses what is no text; numbers and times are not taken as text by accident.
fn text_argument(name: &str, types: &[DataType], index: usize) -> DfResult<DataType> {
    match types.get(index) {
        Some(given) if is_text(given) || given.is_null() => Ok(DataType::Utf8View),
        Some(given) => mistyped(name, index + 1, "a VARCHAR", given),
        None => plan_err!("argument {} of {name} is missing", index + 1),
    }
}

/// A whole number; fractions are cut off, texts are read.
fn long_argument(name: &str, types: &[DataType], index: usize) -> DfResult<DataType> {
    match types.get(index) {
        Some(given) if given.is_numeric() || given.is_null() => Ok(DataType::Int64),
        Some(given) => mistyped(name, index + 1, "a number", given),
        None => plan_err!("argument {} of {name} is missing", index + 1),
    }
}
