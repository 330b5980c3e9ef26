//! Functions that Druid has and DataFusion has not, or has otherwise.
//!
//! Each is one row of a table: name, signature for people, types and a function over Arrow arrays. Times are always
//! Timestamp(ms, UTC); zone, period and pattern are literals by the time a function runs, put there by the dialect.

pub(crate) mod catalogue;
mod joda;
mod text;
mod time;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result as DfResult, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::columns::SQL_TYPE_KEY;

/// The type of every time in SQL.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))
}

/// One function.
struct Definition {
    /// Upper-case name.
    name: &'static str,
    /// The argument types it works on, given those it was called with.
    coerce: fn(&str, &[DataType]) -> DfResult<Vec<DataType>>,
    /// What it gives.
    returns: fn() -> DataType,
    /// Whether the result is a date, which is held as a time.
    date: bool,
    /// Whether it changes nothing when its first argument already has the result's type.
    identity: bool,
    /// The work; arguments are all arrays of the same length, or scalars.
    invoke: fn(&str, &[ColumnarValue], usize) -> DfResult<ArrayRef>,
}

/// All of them.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    time::DEFINITIONS
        .iter()
        .chain(text::DEFINITIONS)
        .map(|definition| {
            let signature = Signature::user_defined(Volatility::Immutable);
            let name = definition.name.to_ascii_lowercase();
            Arc::new(ScalarUDF::new_from_impl(DruidFunction { definition, name, signature }))
        })
        .collect()
}

/// Whether a date-time pattern has a meaning.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    joda::Pattern::new(pattern).map(|_| ())
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

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok((self.definition.returns)())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        let mut field = Field::new(&self.name, (self.definition.returns)(), true);
        if self.definition.date {
            field = field.with_metadata([(SQL_TYPE_KEY.to_owned(), "DATE".to_owned())].into());
        }
        Ok(Arc::new(field))
    }

    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        if self.definition.identity
            && let Some(first) = args.first()
            && info.get_data_type(first)? == (self.definition.returns)()
        {
            return Ok(ExprSimplifyResult::Simplified(args.remove(0)));
        }
        Ok(ExprSimplifyResult::Original(args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let array = (self.definition.invoke)(self.definition.name, &args.args, rows)?;
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
