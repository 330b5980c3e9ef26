//! Expression → [`Predicate`], exactly or not at all.
//!
//! What translates is answered by the segments' indexes and vanishes from the plan; the rest stays in DataFusion's
//! filter above. "Exactly" means: for every row, the predicate selects it when and only when SQL says TRUE, and so does
//! the negated predicate for NOT. Whatever could differ in a corner is left alone: a null among literals, a cast around
//! the column, and zero compared with floating point (Arrow tells -0.0 from 0.0).

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, BinaryExpr, InList, Like};
use datafusion::logical_expr::{Expr, Operator};
use freshet_segment::predicate::{CompareOp, Predicate, StringPattern, Value};
use freshet_segment::schema::{Column, ColumnType, TableSchema};
use freshet_segment::time::Timestamp;

/// The predicate that means the same as `expr` on a table of this schema; nothing when there is none.
pub(crate) fn translate(expr: &Expr, schema: &TableSchema) -> Option<Predicate> {
    match expr {
        Expr::Literal(ScalarValue::Boolean(Some(wanted)), _) => {
            Some(if *wanted { Predicate::True } else { Predicate::False })
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => Some(translate(left, schema)?.and(translate(right, schema)?)),
            Operator::Or => Some(or(translate(left, schema)?, translate(right, schema)?)),
            Operator::IsDistinctFrom => distinct(left, right, schema),
            Operator::IsNotDistinctFrom => distinct(left, right, schema).map(Predicate::negate),
            _ => compare(left, *op, right, schema),
        },
        Expr::Not(inner) => translate(inner, schema).map(Predicate::negate),
        Expr::IsNull(inner) => is_null(inner, schema, false),
        Expr::IsNotNull(inner) => is_null(inner, schema, true),
        Expr::Between(Between { expr, negated, low, high }) => {
            let within = compare(expr, Operator::GtEq, low, schema)?.and(compare(expr, Operator::LtEq, high, schema)?);
            Some(if *negated { within.negate() } else { within })
        }
        Expr::InList(InList { expr, list, negated }) => {
            let column = column(expr, schema)?;
            let values = list.iter().map(|item| value(literal(item)?, column)).collect::<Option<Vec<_>>>()?;
            Some(Predicate::In { column: Arc::clone(&column.name), values, negated: *negated })
        }
        Expr::Like(like) => matches(like, schema),
        _ => None,
    }
}

fn or(left: Predicate, right: Predicate) -> Predicate {
    match (left, right) {
        (Predicate::Or(mut parts), Predicate::Or(more)) => {
            parts.extend(more);
            Predicate::Or(parts)
        }
        (Predicate::Or(mut parts), other) => {
            parts.push(other);
            Predicate::Or(parts)
        }
        (one, other) => Predicate::Or(vec![one, other]),
    }
}

fn column<'a>(expr: &Expr, schema: &'a TableSchema) -> Option<&'a Column> {
    match expr {
        Expr::Column(column) => schema.column(&column.name),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

/// A literal of exactly the column's type.
fn value(literal: &ScalarValue, column: &Column) -> Option<Value> {
    match (column.column_type, literal) {
        (ColumnType::Long, ScalarValue::Int64(Some(n))) => Some(Value::Long(*n)),
        (ColumnType::Double, ScalarValue::Float64(Some(n))) if n.is_finite() && *n != 0.0 => Some(Value::Double(*n)),
        (ColumnType::Float, ScalarValue::Float32(Some(n))) if n.is_finite() && *n != 0.0 => {
            Some(Value::Double(f64::from(*n)))
        }
        (ColumnType::String | ColumnType::Json, _) => text(literal).map(|t| Value::String(Arc::from(t))),
        (ColumnType::Timestamp, ScalarValue::TimestampMillisecond(Some(ms), _)) => {
            Some(Value::Timestamp(Timestamp::from_millis(*ms)))
        }
        _ => None,
    }
}

fn text(literal: &ScalarValue) -> Option<&str> {
    match literal {
        ScalarValue::Utf8(t) | ScalarValue::Utf8View(t) | ScalarValue::LargeUtf8(t) => t.as_deref(),
        _ => None,
    }
}

fn compare(left: &Expr, op: Operator, right: &Expr, schema: &TableSchema) -> Option<Predicate> {
    let op = match op {
        Operator::Eq => CompareOp::Eq,
        Operator::NotEq => CompareOp::Ne,
        Operator::Lt => CompareOp::Lt,
        Operator::LtEq => CompareOp::Le,
        Operator::Gt => CompareOp::Gt,
        Operator::GtEq => CompareOp::Ge,
        _ => return None,
    };
    let (column, op, literal) = match (column(left, schema), column(right, schema)) {
        (Some(column), None) => (column, op, literal(right)?),
        (None, Some(column)) => (column, swapped(op), literal(left)?),
        _ => return None,
    };
    Some(Predicate::Compare { column: Arc::clone(&column.name), op, value: value(literal, column)? })
}

/// `a < b` is `b > a`.
fn swapped(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
        same => same,
    }
}

/// IS DISTINCT FROM is never unknown: the null row is distinct from every literal, and not distinct from null.
fn distinct(left: &Expr, right: &Expr, schema: &TableSchema) -> Option<Predicate> {
    let (name, literal) = match (column(left, schema), column(right, schema)) {
        (Some(_), None) => (left, literal(right)?),
        (None, Some(_)) => (right, literal(left)?),
        _ => return None,
    };
    if literal.is_null() {
        return is_null(name, schema, true);
    }
    let column = column(name, schema)?;
    let differs =
        Predicate::Compare { column: Arc::clone(&column.name), op: CompareOp::Ne, value: value(literal, column)? };
    Some(or(is_null(name, schema, false)?, differs))
}

fn is_null(expr: &Expr, schema: &TableSchema, negated: bool) -> Option<Predicate> {
    let column = column(expr, schema)?;
    Some(Predicate::IsNull { column: Arc::clone(&column.name), negated })
}

fn matches(like: &Like, schema: &TableSchema) -> Option<Predicate> {
    let column = column(&like.expr, schema)?;
    let pattern = text(literal(&like.pattern)?)?;
    if !column.column_type.is_text() || like.escape_char.is_some_and(|c| c != '\\') {
        return None;
    }
    // A pattern that ends in its escape is refused here and a plain backslash to Arrow.
    let pattern = StringPattern::like(pattern, Some('\\'), like.case_insensitive).ok()?;
    Some(Predicate::Matches { column: Arc::clone(&column.name), pattern, negated: like.negated })
}
