//! Sketches, and the functions that read and join them.

use super::{Family, FunctionDoc};

const fn made(
    name: &'static str,
    signature: &'static str,
    meaning: &'static str,
    example: &'static str,
    answer: &'static str,
) -> FunctionDoc {
    FunctionDoc { name, aggregator: true, family: Family::Sketch, signature, meaning, example, answer }
}

const fn read(
    name: &'static str,
    signature: &'static str,
    meaning: &'static str,
    example: &'static str,
    answer: &'static str,
) -> FunctionDoc {
    FunctionDoc::scalar(Family::Sketch, name, signature, meaning, example, answer)
}

pub(super) const ROWS: &[FunctionDoc] = &[
    made(
        "DS_HLL",
        "DS_HLL(x [, lgK [, type]])",
        "An HLL sketch of the values, or of the sketches joined; the type is HLL_4, HLL_6 or HLL_8.",
        "SELECT HLL_SKETCH_ESTIMATE(DS_HLL(city), TRUE) FROM t",
        "2.0",
    ),
    read(
        "HLL_SKETCH_ESTIMATE",
        "HLL_SKETCH_ESTIMATE(sketch [, round])",
        "How many different values the sketch has seen.",
        "SELECT HLL_SKETCH_ESTIMATE(DS_HLL(n), TRUE) FROM t",
        "3.0",
    ),
    read(
        "HLL_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS",
        "HLL_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS(sketch [, deviations])",
        "The estimate, and the bounds it lies between at 1, 2 or 3 standard deviations, as an array.",
        "SELECT HLL_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS(DS_HLL(city), 1) FROM t",
        "[2.000000004967054,2.0,2.000099863468538]",
    ),
    read(
        "HLL_SKETCH_UNION",
        "HLL_SKETCH_UNION([lgK, type,] sketch, sketch, ..)",
        "One sketch of all values that any of them has seen.",
        "SELECT HLL_SKETCH_ESTIMATE(HLL_SKETCH_UNION(a, b), TRUE) FROM (SELECT DS_HLL(n) FILTER (WHERE city = 'Bern') AS a, DS_HLL(n) FILTER (WHERE n >= 10) AS b FROM t)",
        "2.0",
    ),
    read(
        "HLL_SKETCH_TO_STRING",
        "HLL_SKETCH_TO_STRING(sketch)",
        "A text for people about a sketch.",
        "SELECT SUBSTRING(HLL_SKETCH_TO_STRING(DS_HLL(city)), 1, 23) FROM t",
        "\"### HLL SKETCH SUMMARY:\"",
    ),
    made(
        "DS_THETA",
        "DS_THETA(x [, size])",
        "A theta sketch of the values, or of the sketches joined.",
        "SELECT THETA_SKETCH_ESTIMATE(DS_THETA(city)) FROM t",
        "2.0",
    ),
    read(
        "THETA_SKETCH_ESTIMATE",
        "THETA_SKETCH_ESTIMATE(sketch)",
        "How many different values the sketch has seen.",
        "SELECT THETA_SKETCH_ESTIMATE(DS_THETA(n, 4096)) FROM t",
        "3.0",
    ),
    read(
        "THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS",
        "THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS(sketch [, deviations])",
        "The estimate and its bounds as JSON.",
        "SELECT THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS(DS_THETA(city), 1) FROM t",
        "{\"estimate\":2.0,\"highBound\":2.0,\"lowBound\":2.0,\"numStdDev\":1}",
    ),
    read(
        "THETA_SKETCH_UNION",
        "THETA_SKETCH_UNION([size,] sketch, sketch, ..)",
        "One sketch of all values that any of them has seen.",
        "SELECT THETA_SKETCH_ESTIMATE(THETA_SKETCH_UNION(a, b)) FROM (SELECT DS_THETA(n) FILTER (WHERE city = 'Bern') AS a, DS_THETA(n) FILTER (WHERE n >= 10) AS b FROM t)",
        "2.0",
    ),
    read(
        "THETA_SKETCH_INTERSECT",
        "THETA_SKETCH_INTERSECT([size,] sketch, sketch, ..)",
        "One sketch of the values that all of them have seen.",
        "SELECT THETA_SKETCH_ESTIMATE(THETA_SKETCH_INTERSECT(a, b)) FROM (SELECT DS_THETA(n) FILTER (WHERE city = 'Bern') AS a, DS_THETA(n) FILTER (WHERE n >= 10) AS b FROM t)",
        "1.0",
    ),
    read(
        "THETA_SKETCH_NOT",
        "THETA_SKETCH_NOT([size,] sketch, sketch, ..)",
        "One sketch of the values that the first has seen and no other has.",
        "SELECT THETA_SKETCH_ESTIMATE(THETA_SKETCH_NOT(b, a)) FROM (SELECT DS_THETA(n) FILTER (WHERE city = 'Bern') AS a, DS_THETA(n) FILTER (WHERE n >= 10) AS b FROM t)",
        "1.0",
    ),
    made(
        "DS_QUANTILES_SKETCH",
        "DS_QUANTILES_SKETCH(x [, k])",
        "A quantiles sketch of the values, or of the sketches joined.",
        "SELECT DS_GET_QUANTILE(DS_QUANTILES_SKETCH(x), 0.5) FROM t",
        "1.5",
    ),
    read(
        "DS_GET_QUANTILE",
        "DS_GET_QUANTILE(sketch, fraction)",
        "The value at or below which this share of the values lies.",
        "SELECT DS_GET_QUANTILE(DS_QUANTILES_SKETCH(x), 0.2) FROM t",
        "-1.0",
    ),
    read(
        "DS_GET_QUANTILES",
        "DS_GET_QUANTILES(sketch, fraction, ..)",
        "The same for several shares, as an array.",
        "SELECT DS_GET_QUANTILES(DS_QUANTILES_SKETCH(x), 0, 0.4, 1) FROM t",
        "[-1.0,0.5,4.0]",
    ),
    read(
        "DS_RANK",
        "DS_RANK(sketch, value)",
        "The share of the values at or below this one.",
        "SELECT DS_RANK(DS_QUANTILES_SKETCH(x), 0.5) FROM t",
        "0.4",
    ),
    read(
        "DS_CDF",
        "DS_CDF(sketch, split, ..)",
        "The share of the values at or below each split point, and 1, as an array.",
        "SELECT DS_CDF(DS_QUANTILES_SKETCH(x), 0, 2) FROM t",
        "[0.2,0.6,1.0]",
    ),
    read(
        "DS_HISTOGRAM",
        "DS_HISTOGRAM(sketch, split, ..)",
        "How many values lie between the split points, as an array.",
        "SELECT DS_HISTOGRAM(DS_QUANTILES_SKETCH(n), 10, 15) FROM t",
        "[2.0,0.0,2.0]",
    ),
    read(
        "DS_QUANTILE_SUMMARY",
        "DS_QUANTILE_SUMMARY(sketch)",
        "A text for people about a sketch.",
        "SELECT SUBSTRING(DS_QUANTILE_SUMMARY(DS_QUANTILES_SKETCH(x)), 1, 34) FROM t",
        "\"### QUANTILES SKETCH SUMMARY (KLL)\"",
    ),
    made(
        "TDIGEST_GENERATE_SKETCH",
        "TDIGEST_GENERATE_SKETCH(x [, compression])",
        "A t-digest of the values, or of the sketches joined.",
        "SELECT TDIGEST_QUANTILE(s, 0.5) FROM (SELECT TDIGEST_GENERATE_SKETCH(x) AS s FROM t)",
        "1.5",
    ),
];
