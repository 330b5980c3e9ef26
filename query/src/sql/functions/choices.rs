//! COALESCE: the first value that is not null.
//!
//! Its values meet as in Druid: a text and a number are texts. It becomes a CASE, so what is not needed is not calculated.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as DfResult, internal_err, plan_err};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{is_text, timestamp_type};
use crate::columns::type_name;

pub(super) fn coalesce() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Coalesce { signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Coalesce {
    signature: Signature,
}

/// The one type of all values.
fn common(types: &[DataType]) -> DfResult<DataType> {
    let mut given = types.iter().filter(|t| !t.is_null());
    let Some(first) = given.next() else { return Ok(DataType::Null) };
    given.try_fold(first.clone(), |sum, next| {
        Ok(match (&sum, next) {
            (a, b) if is_text(a) && is_text(b) => DataType::Utf8View,
            (a, b) if (is_text(a) && b.is_numeric()) || (a.is_numeric() && is_text(b)) => DataType::Utf8View,
            (a, b) if a == b => sum,
            (a, b) if a.is_integer() && b.is_integer() => DataType::Int64,
            (a, b) if a.is_numeric() && b.is_numeric() => DataType::Float64,
            (DataType::Timestamp(..), DataType::Timestamp(..)) => timestamp_type(),
            (DataType::List(a), DataType::List(b)) => {
                let item = common(&[a.data_type().clone(), b.data_type().clone()])?;
                DataType::List(Arc::new(Field::new_list_field(item, true)))
            }
            (a, b) => return plan_err!("COALESCE: a {} and a {} have no common type", type_name(a), type_name(b)),
        })
    })
}

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &'static str {
        "coalesce"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        if types.is_empty() {
            return plan_err!("COALESCE takes at least one value");
        }
        let common = common(types)?;
        Ok(types.iter().map(|_| common.clone()).collect())
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        common(types)
    }

    /// What all values are beyond their type, a date or JSON, the first one is too.
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let given: Vec<_> = args.arg_fields.iter().filter(|f| !f.data_type().is_null()).collect();
        let field = Field::new("coalesce", common(&types)?, args.arg_fields.iter().all(|f| f.is_nullable()));
        let same = given.windows(2).all(|pair| pair[0].metadata() == pair[1].metadata());
        Ok(Arc::new(match given.first() {
            Some(first) if same => field.with_metadata(first.metadata().clone()),
            _ => field,
        }))
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        let Some(last) = args.pop() else { return internal_err!("COALESCE without a value") };
        if args.is_empty() {
            return Ok(ExprSimplifyResult::Simplified(last));
        }
        let choices = args.into_iter().map(|a| (Box::new(a.clone().is_not_null()), Box::new(a))).collect();
        Ok(ExprSimplifyResult::Simplified(Expr::Case(Case::new(None, choices, Some(Box::new(last))))))
    }

    fn short_circuits(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        internal_err!("COALESCE is planned as CASE")
    }
}
