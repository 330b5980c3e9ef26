//! Filters that an index can answer.
//!
//! A [`Predicate`] says which rows are TRUE under SQL's three-valued logic; rows for which SQL says UNKNOWN are not
//! selected. There is no `Not` node: negation is pushed into the leaves by [`Predicate::negate`], which keeps UNKNOWN
//! unselected on both sides. So an index needs to know nothing of three-valued logic beyond "null never matches".

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Result, SegmentError};
use crate::schema::TIME_COLUMN;
use crate::time::{Interval, Timestamp};

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// 64-bit integer.
    Long(i64),
    /// 64-bit floating point.
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// Instant.
    Timestamp(Timestamp),
}

/// Order of two values of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl CompareOp {
    /// Whether values in this order satisfy the comparison.
    pub fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
        }
    }

    /// The comparison that is true exactly where this one is false.
    pub fn negate(self) -> Self {
        match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Lt => Self::Ge,
            Self::Le => Self::Gt,
            Self::Gt => Self::Le,
            Self::Ge => Self::Lt,
        }
    }
}

/// A pattern over whole strings, compiled once.
#[derive(Debug, Clone)]
pub struct StringPattern {
    text: Arc<str>,
    regex: regex::Regex,
}

impl StringPattern {
    /// SQL LIKE: `%` is any run, `_` any one character; `escape` makes the next character ordinary.
    ///
    /// # Errors
    /// `Invalid` when the pattern ends in its escape character or is too large to compile.
    pub fn like(pattern: &str, escape: Option<char>, ignore_case: bool) -> Result<Self> {
        let mut regex = String::from(if ignore_case { "(?si)^" } else { "(?s)^" });
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if Some(c) == escape {
                let next = chars.next().ok_or_else(|| {
                    SegmentError::invalid("LIKE pattern", format!("`{pattern}` ends in its escape character"))
                })?;
                regex.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
            } else {
                match c {
                    '%' => regex.push_str(".*"),
                    '_' => regex.push('.'),
                    c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
                }
            }
        }
        regex.push('$');
        let regex = regex::Regex::new(&regex)
            .map_err(|e| SegmentError::invalid("LIKE pattern", format!("`{pattern}` cannot be compiled: {e}")))?;
        Ok(Self { text: Arc::from(pattern), regex })
    }

    /// Whether the whole of `value` fits.
    pub fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Which rows are wanted.
#[derive(Debug, Clone)]
pub enum Predicate {
    /// Every row.
    True,
    /// No row.
    False,
    /// Rows whose value is not null and stands in this order to the literal.
    Compare {
        /// The column.
        column: Arc<str>,
        /// The order.
        op: CompareOp,
        /// The literal; of the column's kind (number with number, text with text, time with time).
        value: Value,
    },
    /// Rows whose value is not null and is, or is not, one of the literals.
    In {
        /// The column.
        column: Arc<str>,
        /// The literals; none of them null.
        values: Vec<Value>,
        /// Whether the value must be none of them.
        negated: bool,
    },
    /// Rows without a value, or with one.
    IsNull {
        /// The column.
        column: Arc<str>,
        /// Whether a value must be there.
        negated: bool,
    },
    /// Rows of a text column whose value is not null and fits, or does not fit, the pattern.
    Matches {
        /// The column.
        column: Arc<str>,
        /// The pattern.
        pattern: StringPattern,
        /// Whether it must not fit.
        negated: bool,
    },
    /// Rows that all of these want.
    And(Vec<Predicate>),
    /// Rows that one of these wants.
    Or(Vec<Predicate>),
}

impl Predicate {
    /// The rows for which SQL's `NOT (…)` is true: exact, because it is pushed into the leaves and null never matches.
    pub fn negate(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Compare { column, op, value } => Self::Compare { column, op: op.negate(), value },
            Self::In { column, values, negated } => Self::In { column, values, negated: !negated },
            Self::IsNull { column, negated } => Self::IsNull { column, negated: !negated },
            Self::Matches { column, pattern, negated } => Self::Matches { column, pattern, negated: !negated },
            Self::And(parts) => Self::Or(parts.into_iter().map(Self::negate).collect()),
            Self::Or(parts) => Self::And(parts.into_iter().map(Self::negate).collect()),
        }
    }

    /// Both at once, without needless nesting.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, p) | (p, Self::True) => p,
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::And(mut a), Self::And(b)) => {
                a.extend(b);
                Self::And(a)
            }
            (Self::And(mut a), b) => {
                a.push(b);
                Self::And(a)
            }
            (a, b) => Self::And(vec![a, b]),
        }
    }

    /// Names of the columns it reads, each once, in order of name.
    pub fn columns(&self) -> BTreeSet<Arc<str>> {
        let mut names = BTreeSet::new();
        self.collect_columns(&mut names);
        names
    }

    fn collect_columns(&self, names: &mut BTreeSet<Arc<str>>) {
        match self {
            Self::True | Self::False => {}
            Self::Compare { column, .. }
            | Self::In { column, .. }
            | Self::IsNull { column, .. }
            | Self::Matches { column, .. } => {
                names.insert(Arc::clone(column));
            }
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|p| p.collect_columns(names)),
        }
    }

    /// An interval outside of which no row can be wanted; `None` when no row at all can be. Never too small.
    pub fn time_bounds(&self) -> Option<Interval> {
        // Widest bounds that an i64 of milliseconds can take, because stored times may lie beyond what text can name.
        let all = (i64::MIN, i64::MAX);
        let (start, end) = self.time_hull(all)?;
        Interval::new(Timestamp::from_millis(start), Timestamp::from_millis(end)).ok()
    }

    /// Half-open hull; `i64::MAX` as an end stands for "no bound".
    fn time_hull(&self, all: (i64, i64)) -> Option<(i64, i64)> {
        match self {
            Self::False => None,
            Self::Compare { column, op, value: Value::Timestamp(t) } if &**column == TIME_COLUMN => {
                let t = t.as_millis();
                let after = t.checked_add(1);
                match op {
                    CompareOp::Eq => Some((t, after.unwrap_or(i64::MAX))),
                    CompareOp::Ne => Some(all),
                    CompareOp::Lt => (t > all.0).then_some((all.0, t)),
                    CompareOp::Le => Some((all.0, after.unwrap_or(i64::MAX))),
                    CompareOp::Gt => after.map(|a| (a, all.1)),
                    CompareOp::Ge => Some((t, all.1)),
                }
            }
            Self::In { column, values, negated: false } if &**column == TIME_COLUMN => {
                let times = || {
                    values.iter().map(|v| match v {
                        Value::Timestamp(t) => Some(t.as_millis()),
                        _ => None,
                    })
                };
                if times().any(|t| t.is_none()) {
                    return Some(all);
                }
                let min = times().flatten().min()?;
                let max = times().flatten().max()?;
                Some((min, max.saturating_add(1)))
            }
            Self::And(parts) => parts.iter().try_fold(all, |(start, end), part| {
                let (s, e) = part.time_hull(all)?;
                let both = (start.max(s), end.min(e));
                (both.0 < both.1).then_some(both)
            }),
            Self::Or(parts) => parts
                .iter()
                .filter_map(|part| part.time_hull(all))
                .reduce(|(start, end), (s, e)| (start.min(s), end.max(e))),
            _ => Some(all),
        }
    }
}

/// Order of an integer and a floating-point number as real numbers, exact over the whole range. NaN is above all.
pub fn compare_long_double(a: i64, b: f64) -> Ordering {
    if b.is_nan() {
        return Ordering::Less;
    }
    // 2^63 is a double; every double in [-2^63, 2^63) truncates into an i64 without loss.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if b >= LIMIT {
        return Ordering::Less;
    }
    if b < -LIMIT {
        return Ordering::Greater;
    }
    let whole = b.trunc();
    #[expect(clippy::cast_possible_truncation, reason = "whole is within i64, checked above")]
    let order = a.cmp(&(whole as i64));
    order.then_with(|| 0.0f64.partial_cmp(&(b - whole)).unwrap_or(Ordering::Equal))
}

/// Order of two doubles in which all NaN are equal and above infinity, and both zeros are equal.
pub fn compare_doubles(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    }
}

pub mod reference {
    //! The plainest possible meaning of a predicate: one row at a time. Slow on purpose; what indexes are tested against.

    use super::{CompareOp, Predicate, Value, compare_doubles, compare_long_double};
    use std::cmp::Ordering;

    /// Whether the row is wanted; `get` gives the row's value of a column, `None` for null or a missing column.
    pub fn wants(predicate: &Predicate, get: &dyn Fn(&str) -> Option<Value>) -> bool {
        match predicate {
            Predicate::True => true,
            Predicate::False => false,
            Predicate::Compare { column, op, value } => {
                get(column).is_some_and(|v| order(&v, value).is_some_and(|o| op.accepts(o)))
            }
            Predicate::In { column, values, negated } => get(column).is_some_and(|v| {
                values.iter().any(|w| order(&v, w).is_some_and(|o| CompareOp::Eq.accepts(o))) != *negated
            }),
            Predicate::IsNull { column, negated } => get(column).is_none() != *negated,
            Predicate::Matches { column, pattern, negated } => match get(column) {
                Some(Value::String(s)) => pattern.matches(&s) != *negated,
                _ => false,
            },
            Predicate::And(parts) => parts.iter().all(|p| wants(p, get)),
            Predicate::Or(parts) => parts.iter().any(|p| wants(p, get)),
        }
    }

    fn order(a: &Value, b: &Value) -> Option<Ordering> {
        Some(match (a, b) {
            (Value::Long(a), Value::Long(b)) => a.cmp(b),
            (Value::Long(a), Value::Double(b)) => compare_long_double(*a, *b),
            (Value::Double(a), Value::Long(b)) => compare_long_double(*b, *a).reverse(),
            (Value::Double(a), Value::Double(b)) => compare_doubles(*a, *b),
            (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(op: CompareOp, t: i64) -> Predicate {
        Predicate::Compare { column: Arc::from(TIME_COLUMN), op, value: Value::Timestamp(Timestamp::from_millis(t)) }
    }

    fn bounds(p: &Predicate) -> Option<(i64, i64)> {
        p.time_bounds().map(|i| (i.start().as_millis(), i.end().as_millis()))
    }

    #[test]
    fn time_bounds_are_never_too_small() {
        let within = time(CompareOp::Ge, 10).and(time(CompareOp::Lt, 20));
        assert_eq!(bounds(&within), Some((10, 20)));
        assert_eq!(bounds(&within.clone().and(time(CompareOp::Gt, 30))), None);
        assert_eq!(bounds(&Predicate::Or(vec![within.clone(), time(CompareOp::Eq, 50)])), Some((10, 51)));
        assert_eq!(bounds(&Predicate::Or(vec![within, Predicate::True])), Some((i64::MIN, i64::MAX)));
        assert_eq!(bounds(&Predicate::Or(vec![])), None);
    }

    #[test]
    fn like_takes_wildcards_escapes_and_line_breaks() {
        let fits = |p: &str, s: &str| StringPattern::like(p, Some('\\'), false).expect(p).matches(s);
        assert!(fits("%Talk%", "User Talk:x") && !fits("%talk%", "User Talk:x"));
        assert!(fits("a_c", "aßc") && !fits("a_c", "ac"));
        assert!(fits("100\\%", "100%") && !fits("100\\%", "100x"));
        assert!(fits("a%b", "a\nb") && fits("a.c", "a.c") && !fits("a.c", "abc"));
        assert!(StringPattern::like("x\\", Some('\\'), false).is_err());
        assert!(StringPattern::like("ÄB%", None, true).expect("a pattern").matches("äbc"));
    }

    #[test]
    fn integers_and_doubles_compare_as_numbers() {
        let big = 9_007_199_254_740_993i64; // 2^53 + 1 has no double of its own
        assert_eq!(compare_long_double(big, 9_007_199_254_740_992.0), Ordering::Greater);
        assert_eq!(compare_long_double(i64::MAX, 9_223_372_036_854_775_808.0), Ordering::Less);
        assert_eq!(compare_long_double(i64::MIN, -9_223_372_036_854_775_808.0), Ordering::Equal);
        assert_eq!(compare_long_double(-3, -3.5), Ordering::Greater);
        assert_eq!(compare_long_double(3, 3.5), Ordering::Less);
        assert_eq!(compare_long_double(0, f64::NAN), Ordering::Less);
    }
}
