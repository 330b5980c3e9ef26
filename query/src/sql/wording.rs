//! The planner's failures in the words of this dialect: one plain sentence, SQL's names of types, Druid's wording where consoles
//! know it.

use std::sync::LazyLock;

use regex::Regex;

use crate::sql::aggregates;

/// What a failure says, and what to do about it.
pub(crate) struct Wording {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

type Rule = (&'static str, &'static str, Option<&'static str>);

/// Pattern, sentence, hint. The first that matches is taken.
const RULES: &[Rule] = &[
    (r"Function '(\w+)'.*, but received String \(", "\u{1}$1\u{2} takes numbers and was given a VARCHAR", None),
    (r"min/max was called with (\d+) arguments", "MIN and MAX take 1 argument and were given $1", None),
    // A function of ours said what is wrong itself.
    (
        r"(?s)user-defined coercion failed with: (?:Error during planning: |Execution error: )?(.*?)\.? No function matches",
        "$1",
        None,
    ),
    (
        r"Function '(\w+)' expects (\d+) arguments but received (\d+)",
        "\u{1}$1\u{2} takes $2 arguments and was given $3",
        None,
    ),
    (r"(?s)argument types '(\w+)\(\)'", "\u{1}$1\u{2} takes arguments and was given none", None),
    (r"(?s)argument types 'make_array\((.*?)\)'", "the elements of an ARRAY must be of one type, not $1", None),
    (r"(?s)array_element.*argument types '\w+\((.*?)\)'", "only an ARRAY has elements: [ ] cannot follow $1", None),
    (r"(?s)argument types '(\w+)\((.*?)\)'", "\u{1}$1\u{2} does not take $2", None),
    (
        r"Cannot coerce arithmetic expression (.+) to valid types",
        "$1 cannot be calculated",
        Some("cast one side to the type of the other"),
    ),
    (
        r"Cannot infer common argument type for comparison operation (.+)",
        "$1: the two sides cannot be compared",
        Some("cast one side to the type of the other"),
    ),
    (
        r"Cannot infer common argument type for logical boolean operation (.+)",
        "$1: both sides must be BOOLEAN",
        Some("write a comparison, such as x > 0"),
    ),
    (
        r"Cannot get result type for temporal operation (.+?): Invalid",
        "$1 cannot be calculated",
        Some("add an INTERVAL to a TIMESTAMP, or use TIME_SHIFT"),
    ),
    (
        r"Cannot create filter with non-boolean predicate '(.+)' returning (\w+)",
        "WHERE takes a condition, and $1 is a $2",
        Some("write a comparison, such as x > 0"),
    ),
    (r"Unary operator 'NOT' requires a boolean expression, got (.+)", "NOT takes a BOOLEAN, not $1", None),
    (
        r"Aggregate can not be used as a sliding accumulator.*: (\w+)\(",
        "\u{1}$1\u{2} works over a window that begins with UNBOUNDED PRECEDING, and not over one that slides",
        None,
    ),
    (r"Substring without for/from", "SUBSTRING takes a text, a start, and perhaps a length", None),
    (
        r"unnest\(\) (can only be applied to|does not support)",
        "UNNEST takes an ARRAY",
        Some("MV_TO_ARRAY makes one of a multi-value text, STRING_TO_ARRAY of a text with separators"),
    ),
    (r"Invalid function '(\w+)'", "\u{1}$1\u{2} needs OVER", Some("write it as F(..) OVER (ORDER BY ..)")),
    (
        r#"column "(?:[^"]*\.)?([^".]+)" must appear in the GROUP BY clause"#,
        "Expression '$1' is not being grouped",
        Some("add it to GROUP BY, or put it into an aggregate such as MAX or ANY_VALUE"),
    ),
    (
        r"COUNT DISTINCT with multiple arguments",
        "COUNT(DISTINCT ..) takes one argument",
        Some("join the values into one text, or count the groups of a subquery"),
    ),
    (
        r"Aggregate functions are not allowed in the WHERE clause",
        "Aggregate expression is illegal in WHERE clause",
        Some("use HAVING, or FILTER (WHERE ..) within the aggregate"),
    ),
    (
        r"OuterReferenceColumn|[Oo]uter reference",
        "a subquery refers to the query around it in a way that cannot be run",
        Some("write it as a join"),
    ),
    (
        r"Cannot cast string '((?s).*)' to value of (\w+) type",
        "'$1' is no $2",
        Some("CAST gives null instead of this failure"),
    ),
];

/// Arrow's names of types, inner ones first.
const TYPES: &[(&str, &str)] = &[
    (r"\b(LargeUtf8|Utf8View|Utf8)\b", "VARCHAR"),
    (r"\bU?Int(8|16|32|64)\b", "BIGINT"),
    (r"\bFloat(16|64)\b", "DOUBLE"),
    (r"\bFloat32\b", "FLOAT"),
    (r"\bDecimal\d+\([^)]*\)", "DOUBLE"),
    (r"\bBoolean\b", "BOOLEAN"),
    (r#"\bTimestamp\((\w+)(, (Some\("[^"]*"\)|"[^"]*"|None))?\)"#, "TIMESTAMP"),
    (r"\bDate(32|64)\b", "DATE"),
    (r"\b(Interval|Duration)\(\w+\)", "INTERVAL"),
    (r"\bDictionary\(\w+, (\w+)\)", "$1"),
    (r"\b(Large)?List\([^()]*\)", "ARRAY"),
    (r"\b(Large)?List\([^()]*\)", "ARRAY"),
    (r"\bNull\b", "NULL"),
    (r"DataFusion", "Freshet"),
    (
        r"(?s)^((Error during planning|Execution error|Internal error|Schema error|Arrow error|Optimizer rule '\w+' failed|Invalid argument error|Cast error|Parser error): ?)+",
        "",
    ),
];

struct Compiled {
    types: Vec<(Regex, &'static str)>,
    rules: Vec<(Regex, &'static str, Option<&'static str>)>,
}

static COMPILED: LazyLock<Option<Compiled>> = LazyLock::new(|| {
    let types = TYPES.iter().map(|(p, w)| Regex::new(p).ok().map(|p| (p, *w))).collect::<Option<_>>()?;
    let rules = RULES.iter().map(|(p, s, h)| Regex::new(p).ok().map(|p| (p, *s, *h))).collect::<Option<_>>()?;
    Some(Compiled { types, rules })
});

/// The sentence for a failure's text.
pub(crate) fn of(text: &str) -> Wording {
    let Some(compiled) = COMPILED.as_ref() else { return Wording { message: text.to_owned(), hint: None } };
    let text = aggregates::with_shown_names(text);
    let text = compiled.types.iter().fold(text, |text, (p, word)| p.replace_all(&text, *word).into_owned());
    let Some((found, sentence, hint)) =
        compiled.rules.iter().find_map(|(p, sentence, hint)| Some((p.captures(&text)?, sentence, hint)))
    else {
        return Wording { message: text.lines().next().unwrap_or_default().to_owned(), hint: None };
    };
    let mut message = String::new();
    found.expand(sentence, &mut message);
    Wording { message: capitalized(&message), hint: hint.map(str::to_owned) }
}

/// Names of functions stand between two marks and are written in capitals.
fn capitalized(text: &str) -> String {
    let Some((before, rest)) = text.split_once('\u{1}') else { return text.to_owned() };
    let (name, after) = rest.split_once('\u{2}').unwrap_or((rest, ""));
    format!("{before}{}{after}", name.trim_start_matches("__").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rules_compile() {
        assert!(COMPILED.is_some());
    }

    #[test]
    fn failures_are_one_plain_sentence() {
        for (text, sentence) in [
            (
                "Function 'bit_and' requires Integer, but received Float64 (DataType: Float64).. No function matches the given \
                 name and argument types 'bit_and(Float64)'. You might need to add explicit type casts.",
                "BIT_AND does not take DOUBLE",
            ),
            (
                "Execution error: Function 'array_length' user-defined coercion failed with: Error during planning: argument 1 of \
                 ARRAY_LENGTH must be an ARRAY, not VARCHAR. No function matches the given name and argument types \
                 'array_length(Utf8View)'.",
                "argument 1 of ARRAY_LENGTH must be an ARRAY, not VARCHAR",
            ),
            (
                "Cannot coerce arithmetic expression Timestamp(ms, \"UTC\") + Int64 to valid types",
                "TIMESTAMP + BIGINT cannot be calculated",
            ),
            (
                "Cannot infer common argument type for comparison operation List(Utf8) = Utf8",
                "ARRAY = VARCHAR: the two sides cannot be compared",
            ),
            ("Cannot cast string 'x' to value of Int64 type", "'x' is no BIGINT"),
            (
                "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column \"t1.n\" must appear \
                 in the GROUP BY clause or must be part of an aggregate function, currently only \"x\" appears",
                "Expression 'n' is not being grouped",
            ),
            ("Error during planning: something else\nand more", "something else"),
        ] {
            assert_eq!(of(text).message, sentence);
        }
    }
}
