//! Each aggregate fed in one pass and in pieces of every size, against a naive model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use proptest::prelude::*;

use crate::sql::functions::timestamp_type;

/// A call of one of ours: columns of these types, then literals.
struct Called {
    udaf: Arc<AggregateUDF>,
    fields: Vec<FieldRef>,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

fn called(name: &str, columns: &[DataType], literals: &[ScalarValue]) -> Called {
    let udaf = crate::sql::aggregates::all().find(|f| f.name() == name).expect("one of ours");
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut exprs: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for (index, data_type) in columns.iter().enumerate() {
        fields.push(Arc::new(Field::new(format!("c{index}"), data_type.clone(), true)));
        exprs.push(Arc::new(Column::new(&format!("c{index}"), index)));
    }
    for literal in literals {
        fields.push(Arc::new(Field::new("l", literal.data_type(), true)));
        exprs.push(Arc::new(Literal::new(literal.clone())));
    }
    Called { udaf, fields, exprs }
}

impl Called {
    fn with<T>(&self, make: impl FnOnce(AccumulatorArgs<'_>) -> T) -> T {
        let schema = Schema::new(self.fields.clone());
        make(AccumulatorArgs {
            return_field: self.udaf.return_field(&self.fields).expect("a field"),
            schema: &schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: "x",
            is_distinct: false,
            exprs: &self.exprs,
            expr_fields: &self.fields,
        })
    }

    fn groups(&self) -> Box<dyn GroupsAccumulator> {
        self.with(|args| self.udaf.create_groups_accumulator(args)).expect("an accumulator")
    }

    fn single(&self) -> Box<dyn Accumulator> {
        self.with(|args| self.udaf.accumulator(args)).expect("an accumulator")
    }

    /// The columns of some rows with the literals as DataFusion hands them over.
    fn values(&self, columns: &[ArrayRef], from: usize, rows: usize) -> Vec<ArrayRef> {
        let literals = self.exprs[columns.len()..].iter().map(|expr| {
            let literal = expr.downcast_ref::<Literal>().expect("a literal").value();
            literal.to_array_of_size(rows).expect("an array")
        });
        columns.iter().map(|c| c.slice(from, rows)).chain(literals).collect()
    }

    /// All rows in one pass.
    fn whole(&self, columns: &[ArrayRef], groups: &[usize], filter: &BooleanArray, count: usize) -> ArrayRef {
        let mut all = self.groups();
        all.update_batch(&self.values(columns, 0, groups.len()), groups, Some(filter), count).expect("fits");
        all.evaluate(EmitTo::All).expect("a result")
    }

    /// Pieces on their own, each as a table of groups or row by row, their states joined, given out in two parts.
    fn split(
        &self,
        columns: &[ArrayRef],
        groups: &[usize],
        filter: &BooleanArray,
        count: usize,
        cuts: &[usize],
    ) -> ArrayRef {
        let mut joined = self.groups();
        let mut from = 0;
        for (index, to) in cuts.iter().copied().chain([groups.len()]).enumerate() {
            let (rows, groups) = (to - from, &groups[from..to]);
            let (values, filter) = (self.values(columns, from, rows), filter.slice(from, rows));
            if index % 3 == 2 {
                let states = joined.convert_to_state(&values, Some(&filter)).expect("states");
                joined.merge_batch(&states, groups, count).expect("merges");
            } else {
                let mut part = self.groups();
                part.update_batch(&values, groups, Some(&filter), count).expect("fits");
                assert!(part.size() > 0);
                let first = part.state(EmitTo::First(count / 2)).expect("states");
                let rest = part.state(EmitTo::All).expect("states");
                let to_first: Vec<usize> = (0..count / 2).collect();
                let to_rest: Vec<usize> = (count / 2..count).collect();
                joined.merge_batch(&rest, &to_rest, count).expect("merges");
                joined.merge_batch(&first, &to_first, count).expect("merges");
            }
            from = to;
        }
        let first = joined.evaluate(EmitTo::First(count / 3)).expect("a result");
        let rest = joined.evaluate(EmitTo::All).expect("a result");
        arrow::compute::concat(&[&first, &rest]).expect("one type")
    }
}

/// Rows: group, time, value, fraction, text, whether the filter takes it.
type Row = (usize, Option<i64>, Option<i64>, Option<i32>, Option<String>, bool);

const GROUPS: usize = 5;

fn some_rows() -> impl Strategy<Value = (Vec<Row>, Vec<usize>)> {
    let row = (
        0..GROUPS,
        proptest::option::weighted(0.9, 0_i64..6),
        proptest::option::weighted(0.8, -3_i64..9),
        proptest::option::weighted(0.8, -40_i32..40),
        proptest::option::weighted(0.8, "[aAé日]{0,3}"),
        proptest::bool::weighted(0.8),
    );
    proptest::collection::vec(row, 0..120).prop_flat_map(|rows| {
        let cuts = proptest::collection::vec(0..=rows.len(), 0..5).prop_map(|mut cuts| {
            cuts.sort_unstable();
            cuts
        });
        (Just(rows), cuts)
    })
}

struct Columns {
    groups: Vec<usize>,
    filter: BooleanArray,
    times: ArrayRef,
    longs: ArrayRef,
    doubles: ArrayRef,
    texts: ArrayRef,
}

fn columns_of(rows: &[Row]) -> Columns {
    let times: Int64Array = rows.iter().map(|r| r.1).collect();
    Columns {
        groups: rows.iter().map(|r| r.0).collect(),
        filter: rows.iter().map(|r| Some(r.5)).collect(),
        times: arrow::compute::cast(&times, &timestamp_type()).expect("times"),
        longs: Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>()),
        doubles: Arc::new(rows.iter().map(|r| r.3.map(|x| f64::from(x) / 8.0)).collect::<Float64Array>()),
        texts: Arc::new(rows.iter().map(|r| r.4.as_deref()).collect::<StringViewArray>()),
    }
}

fn texts(array: &ArrayRef) -> Vec<Option<String>> {
    array.as_string_view().iter().map(|t| t.map(str::to_owned)).collect()
}

fn cut(text: &str, bytes: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() + c.len_utf8() > bytes {
            break;
        }
        out.push(c);
    }
    out
}

/// The rows that count, by group.
fn kept(rows: &[Row]) -> Vec<Vec<&Row>> {
    (0..GROUPS).map(|g| rows.iter().filter(|r| r.0 == g && r.5).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn earliest_and_latest_equal_a_naive_model((rows, cuts) in some_rows()) {
        let c = columns_of(&rows);
        let limit = ScalarValue::Int64(Some(4));
        for (name, latest) in [("__earliest", false), ("__latest", true)] {
            let call = called(name, &[DataType::Utf8View, timestamp_type()], std::slice::from_ref(&limit));
            let columns = [Arc::clone(&c.texts), Arc::clone(&c.times)];
            let expected: Vec<Option<String>> = kept(&rows).iter().map(|rows| {
                let timed = rows.iter().filter_map(|r| Some((r.1?, r.4.as_ref().map(|t| cut(t, 4)))));
                let best = if latest { timed.max() } else { timed.min() };
                best.and_then(|(_, text)| text)
            }).collect();
            prop_assert_eq!(texts(&call.whole(&columns, &c.groups, &c.filter, GROUPS)), expected.clone());
            prop_assert_eq!(texts(&call.split(&columns, &c.groups, &c.filter, GROUPS, &cuts)), expected);
        }
        let call = called("__any_value", &[DataType::Int64], &[]);
        let expected: Vec<Option<i64>> = kept(&rows).iter().map(|rows| rows.iter().filter_map(|r| r.2).min()).collect();
        let got = call.split(&[Arc::clone(&c.longs)], &c.groups, &c.filter, GROUPS, &cuts);
        prop_assert_eq!(got.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn lists_equal_a_naive_model((rows, cuts) in some_rows()) {
        let c = columns_of(&rows);
        let literals = |options: &str| [
            ScalarValue::Int64(Some(1 << 20)), ScalarValue::Utf8(Some(options.to_owned())), ScalarValue::Utf8(Some("+".to_owned())),
        ];
        let call = called("__array_agg", &[DataType::Int64], &literals("d"));
        let expected: Vec<Option<Vec<Option<i64>>>> = kept(&rows).iter().map(|rows| {
            (!rows.is_empty()).then(|| rows.iter().map(|r| r.2).collect::<BTreeSet<_>>().into_iter().collect())
        }).collect();
        for got in [
            call.whole(&[Arc::clone(&c.longs)], &c.groups, &c.filter, GROUPS),
            call.split(&[Arc::clone(&c.longs)], &c.groups, &c.filter, GROUPS, &cuts),
        ] {
            let got: Vec<_> = got.as_list::<i32>().iter()
                .map(|list| list.map(|l| l.as_primitive::<Int64Type>().iter().collect::<Vec<_>>())).collect();
            prop_assert_eq!(got, expected.clone());
        }
        // With keys, which are columns behind the literals: text by time, descending, nulls last.
        let mut call = called("__string_agg", &[DataType::Utf8View, timestamp_type()], &literals("-dl"));
        let key = (call.fields.remove(1), call.exprs.remove(1));
        call.fields.push(key.0);
        call.exprs.push(key.1);
        let expected: Vec<Option<String>> = kept(&rows).iter().map(|rows| {
            let mut texts: Vec<_> = rows.iter().filter_map(|r| Some((std::cmp::Reverse(r.1), r.4.as_ref()?))).collect();
            texts.sort();
            let texts: Vec<&str> = texts.into_iter().map(|(_, t)| t.as_str()).collect();
            (!texts.is_empty()).then(|| texts.join("+"))
        }).collect();
        let mut part = call.groups();
        let mut joined = call.groups();
        for (index, row) in rows.iter().enumerate() {
            let into = if index % 2 == 0 { &mut part } else { &mut joined };
            let mut values = vec![c.texts.slice(index, 1)];
            values.extend(literals("-dl").iter().map(|l| l.to_array_of_size(1).expect("an array")));
            values.push(c.times.slice(index, 1));
            into.update_batch(&values, &[row.0], Some(&c.filter.slice(index, 1)), GROUPS).expect("fits");
        }
        let empty = vec![
            c.texts.slice(0, 0), Arc::new(Int64Array::new_null(0)) as ArrayRef, Arc::new(arrow::array::StringArray::new_null(0)),
            Arc::new(arrow::array::StringArray::new_null(0)), c.times.slice(0, 0),
        ];
        part.update_batch(&empty, &[], None, GROUPS).expect("nothing fits");
        joined.merge_batch(&part.state(EmitTo::All).expect("states"), &(0..GROUPS).collect::<Vec<_>>(), GROUPS).expect("merges");
        prop_assert_eq!(texts(&joined.evaluate(EmitTo::All).expect("a result")), expected);
    }

    #[test]
    fn variance_equals_a_naive_model((rows, cuts) in some_rows()) {
        let c = columns_of(&rows);
        let call = called("__var_samp", &[DataType::Float64], &[]);
        let got = call.split(&[Arc::clone(&c.doubles)], &c.groups, &c.filter, GROUPS, &cuts);
        let mut single = call.single();
        for (group, rows) in kept(&rows).iter().enumerate() {
            let values: Vec<f64> = rows.iter().filter_map(|r| r.3.map(|x| f64::from(x) / 8.0)).collect();
            let count = f64::from(u32::try_from(values.len()).expect("few"));
            let mean = values.iter().sum::<f64>() / count;
            let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
            let got = got.as_primitive::<Float64Type>();
            match values.len() {
                0 => prop_assert!(got.is_null(group)),
                1 => prop_assert_eq!(got.value(group), 0.0),
                _ => prop_assert!((got.value(group) - squares / (count - 1.0)).abs() < 1e-9, "{} {:?}", got.value(group), values),
            }
        }
        // What a window takes in and out again leaves what is between.
        let all: Vec<f64> = (0..10).map(f64::from).collect();
        single.update_batch(&[Arc::new(Float64Array::from(all.clone()))]).expect("fits");
        single.retract_batch(&[Arc::new(Float64Array::from(all[..7].to_vec()))]).expect("forgets");
        let ScalarValue::Float64(Some(left)) = single.evaluate().expect("a result") else { panic!("a number") };
        prop_assert!((left - 1.0).abs() < 1e-9, "{left}");
    }

    #[test]
    fn distinct_counts_of_few_are_exact_in_any_split((rows, cuts) in some_rows()) {
        let c = columns_of(&rows);
        for name in ["approx_count_distinct", "approx_count_distinct_ds_hll", "approx_count_distinct_ds_theta"] {
            let call = called(name, &[DataType::Utf8View], &[]);
            let expected: Vec<i64> = kept(&rows).iter()
                .map(|rows| rows.iter().filter_map(|r| r.4.as_ref()).collect::<BTreeSet<_>>().len().try_into().expect("few")).collect();
            let got = call.split(&[Arc::clone(&c.texts)], &c.groups, &c.filter, GROUPS, &cuts);
            prop_assert_eq!(got.as_primitive::<Int64Type>().values().to_vec(), expected);
        }
    }
}

/// Sketches of parts, joined, answer like one over all: within four standard errors of the truth.
#[test]
fn joined_sketches_stay_within_their_bounds() {
    const VALUES: i64 = 60_000;
    // Each value twice, spread over the groups, so that every part holds much that others hold too.
    let values: Vec<i64> = (0..2 * VALUES).map(|n| (n * 7919) % VALUES).collect();
    let groups: Vec<usize> = values.iter().map(|v| if v % 10 == 0 { 1 } else { 0 }).collect();
    let filter = BooleanArray::from(vec![true; values.len()]);
    let longs: ArrayRef = Arc::new(Int64Array::from(values.clone()));
    let cuts = [100, 50_000, 50_000, 70_123];
    for (name, error) in [
        ("approx_count_distinct", 0.0115),
        ("approx_count_distinct_ds_hll", 0.0163),
        ("approx_count_distinct_ds_theta", 0.0079),
    ] {
        let call = called(name, &[DataType::Int64], &[]);
        let whole = call.whole(std::slice::from_ref(&longs), &groups, &filter, 2);
        for (got, truth) in whole.as_primitive::<Int64Type>().values().iter().zip([54_000.0, 6_000.0]) {
            let off = *got as f64 / truth - 1.0;
            assert!(off.abs() < 4.0 * error, "{name}: {got} of {truth}");
        }
        // And the split does not show at all.
        assert_eq!(&call.split(std::slice::from_ref(&longs), &groups, &filter, 2, &cuts), &whole, "{name}");
    }
    for name in ["ds_hll", "ds_theta"] {
        let call = called(name, &[DataType::Int64], &[]);
        let whole = call.whole(std::slice::from_ref(&longs), &groups, &filter, 2);
        assert_eq!(&call.split(std::slice::from_ref(&longs), &groups, &filter, 2, &cuts), &whole, "{name}");
    }
    let doubles: ArrayRef = Arc::new(values.iter().map(|v| Some(*v as f64)).collect::<Float64Array>());
    for fraction in [0.01, 0.5, 0.95] {
        let literal = ScalarValue::Float64(Some(fraction));
        for name in ["approx_quantile_ds", "approx_quantile", "tdigest_quantile"] {
            let call = called(name, &[DataType::Float64], std::slice::from_ref(&literal));
            for got in [
                call.whole(std::slice::from_ref(&doubles), &groups, &filter, 2),
                call.split(std::slice::from_ref(&doubles), &groups, &filter, 2, &cuts),
            ] {
                for got in got.as_primitive::<Float64Type>().values() {
                    let off = got / VALUES as f64 - fraction;
                    assert!(off.abs() < 0.04, "{name} at {fraction}: {got}");
                }
            }
        }
    }
}

/// What a table of groups says it holds is near what it holds, and nothing once it gave everything away.
#[test]
fn held_bytes_are_counted() {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
    let groups: Vec<usize> = (0..100_000).map(|n| n % 10).collect();
    let call = called("approx_count_distinct", &[DataType::Int64], &[]);
    let mut many = call.groups();
    many.update_batch(&[values], &groups, None, 10).expect("fits");
    // Ten sketches of 8,192 registers of a byte.
    assert!((80_000..200_000).contains(&many.size()), "{}", many.size());
    let _states = many.state(EmitTo::All).expect("states");
    assert!(many.size() < 10_000, "{}", many.size());

    let text = "x".repeat(1000);
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..1000).map(|n| format!("{n}{text}"))));
    let literals = [
        ScalarValue::Int64(Some(1 << 30)),
        ScalarValue::Utf8(Some("-".into())),
        ScalarValue::Utf8(Some(String::new())),
    ];
    let call = called("__array_agg", &[DataType::Utf8View], &literals);
    let mut many = call.groups();
    many.update_batch(&call.values(&[texts], 0, 1000), &vec![0; 1000], None, 1).expect("fits");
    assert!((1_000_000..2_000_000).contains(&many.size()), "{}", many.size());
}

/// Bytes that are no state of ours are refused and read no further.
#[test]
fn damaged_states_are_refused() {
    let all: BTreeMap<&str, Vec<DataType>> = BTreeMap::from([
        ("approx_count_distinct", vec![DataType::Int64]),
        ("ds_theta", vec![DataType::Int64]),
        ("ds_quantiles_sketch", vec![DataType::Float64]),
        ("tdigest_generate_sketch", vec![DataType::Float64]),
        ("__latest", vec![DataType::Utf8View, timestamp_type()]),
        ("__array_agg", vec![DataType::Utf8View]),
        ("__var_pop", vec![DataType::Float64]),
    ]);
    for (name, columns) in all {
        let call = called(name, &columns, &[]);
        let mut joined = call.groups();
        let bad: ArrayRef = Arc::new(arrow::array::BinaryArray::from_vec(vec![b"\x01\x07nothing"]));
        assert!(joined.merge_batch(&[bad], &[0], 1).is_err(), "{name}");
        let wrong: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(joined.merge_batch(&[wrong], &[0], 1).is_err(), "{name}");
    }
}
