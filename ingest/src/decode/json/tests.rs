use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimestampMillisecondType};
use freshet_segment::schema::{COLUMN_COUNT_MAX, Column, ColumnType, TIME_COLUMN, TableSchema};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::decode::{BadField, DEPTH_MAX, DecodeRules};
use crate::spec::{DimensionSpec, DimensionsSpec, Discovery, GranularitySpec, TimeSpec};
use crate::transform::TimeColumn;

fn rules(dimensions: &DimensionsSpec, bad_field: BadField) -> DecodeRules {
    let time = TimeSpec::auto("ts");
    DecodeRules::new(dimensions, &time, TimeColumn::new(&time, &GranularitySpec::default()), bad_field)
}

fn declared(columns: &[(&str, ColumnType)]) -> DimensionsSpec {
    DimensionsSpec {
        declared: columns.iter().map(|(name, t)| DimensionSpec { name: (*name).to_owned(), column_type: *t }).collect(),
        discovery: Discovery::Listed,
        include_all: false,
        exclusions: Vec::new(),
    }
}

fn empty_schema() -> Arc<TableSchema> {
    Arc::new(TableSchema::new(vec![]).expect("a schema"))
}

fn decode_into(rows: &mut Rows, schema: &Arc<TableSchema>, records: &[&[u8]]) {
    let mut decoder = JsonDecoder::default();
    rows.begin(schema);
    for (index, record) in records.iter().enumerate() {
        decoder.decode(index as u32, record, rows);
    }
}

fn decode(dimensions: &DimensionsSpec, records: &[&str]) -> Rows {
    let mut rows = Rows::new(rules(dimensions, BadField::Null));
    let records: Vec<&[u8]> = records.iter().map(|r| r.as_bytes()).collect();
    decode_into(&mut rows, &empty_schema(), &records);
    rows
}

/// Name → type and values as text, of all rows.
fn columns_of(rows: &Rows, schema: &TableSchema) -> BTreeMap<String, (String, Vec<Option<String>>)> {
    let schema = schema.widen(&rows.observed()).expect("widens").unwrap_or_else(|| schema.clone());
    let batch = rows.batch(&schema, 0..rows.len()).expect("a batch");
    assert_eq!(batch.schema().field(0).name(), TIME_COLUMN);
    let mut out = BTreeMap::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()).skip(1) {
        let values = (0..array.len())
            .map(|row| {
                (!array.is_null(row)).then(|| match array.data_type() {
                    DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
                    DataType::Float64 => format!("{:?}", array.as_primitive::<Float64Type>().value(row)),
                    DataType::Float32 => format!("{:?}", array.as_primitive::<Float32Type>().value(row)),
                    DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
                    DataType::Timestamp(..) => array.as_primitive::<TimestampMillisecondType>().value(row).to_string(),
                    other => panic!("unexpected {other}"),
                })
            })
            .collect();
        let multi = if field.metadata().get("freshet.multi").is_some() { "*" } else { "" };
        out.insert(field.name().clone(), (format!("{}{multi}", field.metadata()["freshet.type"]), values));
    }
    out
}

fn texts(values: &[Option<&str>]) -> Vec<Option<String>> {
    values.iter().map(|v| v.map(str::to_owned)).collect()
}

#[track_caller]
fn assert_column(rows: &Rows, name: &str, column_type: &str, values: &[Option<&str>]) {
    let columns = columns_of(rows, &empty_schema());
    assert_eq!(columns.get(name), Some(&(column_type.to_owned(), texts(values))), "{name} of {columns:?}");
}

#[test]
fn discovery_types_each_field_by_its_values() {
    let rows = decode(
        &DimensionsSpec::discovered(),
        &[
            r#"{"ts":1,"l":1,"d":1.5,"s":"a","b":true,"o":{"y":1, "x":[1]},"m":["a","b"],"n":[1,2],"e":"","z":null}"#,
            r#"{"ts":2,"l":-9223372036854775808,"d":2,"s":"é\n","b":false,"m":"c","mixed":5}"#,
            r#"{"ts":3,"l":9223372036854775807,"d":-1e-7,"m":[],"mixed":"five"}"#,
            r#"{"ts":4,"m":["one"],"mixed":2.50}"#,
        ],
    );
    assert_eq!((rows.len(), rows.refused()), (4, 0));
    assert_eq!(rows.times(), [1, 2, 3, 4]);
    assert_column(&rows, "l", "LONG", &[Some("1"), Some("-9223372036854775808"), Some("9223372036854775807"), None]);
    assert_column(&rows, "d", "DOUBLE", &[Some("1.5"), Some("2.0"), Some("-1e-7"), None]);
    assert_column(&rows, "s", "STRING", &[Some("a"), Some("é\n"), None, None]);
    assert_column(&rows, "b", "LONG", &[Some("1"), Some("0"), None, None]);
    assert_column(&rows, "o", "JSON", &[Some(r#"{"y":1,"x":[1]}"#), None, None, None]);
    assert_column(&rows, "m", "STRING*", &[Some(r#"["a","b"]"#), Some("c"), Some("[]"), Some("one")]);
    assert_column(&rows, "n", "JSON", &[Some("[1,2]"), None, None, None]);
    assert_column(&rows, "e", "STRING", &[Some(""), None, None, None]);
    assert_column(&rows, "mixed", "STRING", &[None, Some("5"), Some("five"), Some("2.5")]);
    let columns = columns_of(&rows, &empty_schema());
    assert!(!columns.contains_key("z") && !columns.contains_key("ts"), "nulls and the time make no column");
}

#[test]
fn whole_numbers_beyond_64_bits_are_doubles_and_keep_their_digits_as_text() {
    let big = "123456789012345678901234567890";
    let record = format!(r#"{{"ts":1,"n":{big}}}"#);
    let rows = decode(&DimensionsSpec::discovered(), &[&record]);
    assert_column(&rows, "n", "DOUBLE", &[Some("1.2345678901234568e29")]);
    let rows = decode(&DimensionsSpec::discovered(), &[&record, r#"{"ts":2,"n":"x"}"#]);
    assert_column(&rows, "n", "STRING", &[Some(big), Some("x")]);
    let rows = decode(&declared(&[("n", ColumnType::String)]), &[&record]);
    assert_column(&rows, "n", "STRING", &[Some(big)]);
    let rows = decode(&DimensionsSpec::discovered(), &[&record, r#"{"ts":2,"n":{}}"#]);
    assert_column(&rows, "n", "JSON", &[Some(big), Some("{}")]);
    let rows = decode(&DimensionsSpec::discovered(), &[r#"{"ts":1,"n":18446744073709551615,"m":9223372036854775808}"#]);
    assert_column(&rows, "n", "DOUBLE", &[Some("1.8446744073709552e19")]);
    assert_column(&rows, "m", "DOUBLE", &[Some("9.223372036854776e18")]);
    let rows = decode(&DimensionsSpec::discovered(), &[r#"{"ts":1,"n":1e999,"s":1}"#]);
    assert_eq!((rows.len(), rows.rows_with_errors()), (1, 1), "no infinity, and not in silence");
    assert!(rows.field_errors()[0].reason.contains("1e999"));
}

#[test]
fn an_object_makes_the_whole_column_json() {
    let rows = decode(
        &DimensionsSpec::discovered(),
        &[
            r#"{"ts":1,"v":1}"#,
            r#"{"ts":2,"v":"a\"b"}"#,
            r#"{"ts":3,"v":["x","y"]}"#,
            r#"{"ts":4,"v":{"k":[ ]}}"#,
            r#"{"ts":5,"v":["x"]}"#,
        ],
    );
    let expected = [Some("1"), Some(r#""a\"b""#), Some(r#"["x","y"]"#), Some(r#"{"k":[]}"#), Some(r#"["x"]"#)];
    assert_column(&rows, "v", "JSON", &expected);
}

#[test]
fn declared_columns_coerce_as_druid_does() {
    let dimensions = declared(&[
        ("s", ColumnType::String),
        ("l", ColumnType::Long),
        ("d", ColumnType::Double),
        ("f", ColumnType::Float),
        ("j", ColumnType::Json),
        ("t", ColumnType::Timestamp),
    ]);
    let rows = decode(
        &dimensions,
        &[
            r#"{"ts":1,"s":50,"l":"12","d":"1.5","f":1,"j":"x","t":"2015-09-12","unlisted":1}"#,
            r#"{"ts":2,"s":true,"l":12.9,"d":3,"f":"2.5","j":1.50,"t":0}"#,
            r#"{"ts":3,"s":{"a": 1},"l":"13.0","d":true,"f":null,"j":{"a" : null}}"#,
            r#"{"ts":4,"s":[1,"b",true,null,{"x" :1}],"l":true,"j":[1, 2]}"#,
            r#"{"ts":5,"s":"","l":-1.9,"j":null}"#,
            r#"{"ts":6,"s":1.50,"l":null}"#,
            r#"{"ts":7,"s":[7]}"#,
            r#"{"ts":8,"s":[null]}"#,
        ],
    );
    assert_eq!((rows.len(), rows.rows_with_errors()), (8, 0), "{:?}", rows.field_errors());
    let mixed = r#"["1","b","true",null,"{\"x\":1}"]"#;
    assert_column(
        &rows,
        "s",
        "STRING*",
        &[Some("50"), Some("true"), Some(r#"{"a":1}"#), Some(mixed), Some(""), Some("1.5"), Some("7"), None],
    );
    assert_column(&rows, "l", "LONG", &[Some("12"), Some("12"), Some("13"), Some("1"), Some("-1"), None, None, None]);
    assert_column(&rows, "d", "DOUBLE", &[Some("1.5"), Some("3.0"), Some("1.0"), None, None, None, None, None]);
    assert_column(&rows, "f", "FLOAT", &[Some("1.0"), Some("2.5"), None, None, None, None, None, None]);
    assert_column(
        &rows,
        "j",
        "JSON",
        &[Some("\"x\""), Some("1.50"), Some(r#"{"a":null}"#), Some("[1,2]"), None, None, None, None],
    );
    assert_column(&rows, "t", "TIMESTAMP", &[Some("1442016000000"), Some("0"), None, None, None, None, None, None]);
    assert!(!columns_of(&rows, &empty_schema()).contains_key("unlisted"));
}

#[test]
fn a_value_that_does_not_fit_its_declared_type_is_null_and_listed_or_refuses_its_row() {
    let dimensions = declared(&[("l", ColumnType::Long), ("d", ColumnType::Double)]);
    let records = [
        r#"{"ts":1,"l":"twelve","d":"x"}"#,
        r#"{"ts":2,"l":[1]}"#,
        r#"{"ts":3,"l":1}"#,
        r#"{"ts":4,"l":1e19}"#,
        r#"{"ts":5,"l":"12.5"}"#,
        r#"{"ts":6,"l":""}"#,
        r#"{"l":"no time either"}"#,
    ];
    let rows = decode(&dimensions, &records);
    assert_eq!((rows.len(), rows.refused(), rows.rows_with_errors()), (6, 1, 5));
    let listed: Vec<_> = rows.field_errors().iter().map(|e| (e.record, e.row, e.field.as_str())).collect();
    assert_eq!(listed, [(0, 0, "l"), (0, 0, "d"), (1, 1, "l"), (3, 3, "l"), (4, 4, "l"), (5, 5, "l")]);
    assert_column(&rows, "l", "LONG", &[None, None, Some("1"), None, None, None]);

    let mut strict = Rows::new(rules(&dimensions, BadField::RejectRow));
    decode_into(&mut strict, &empty_schema(), &records.map(str::as_bytes));
    assert_eq!((strict.len(), strict.refused(), strict.times()), (1, 6, &[3][..]));
    assert_eq!(strict.rejections()[1].at, At::Field("l".to_owned()));
    assert!(strict.rejections()[1].reason.contains("expected LONG, found an array"));
}

#[test]
fn of_equal_keys_only_the_last_can_be_what_is_wrong() {
    let dimensions = declared(&[("l", ColumnType::Long), ("d", ColumnType::Double), ("m", ColumnType::Long)]);
    let records = [
        r#"{"ts":1,"l":"x","d":"x","m":"x","l":1,"d":null}"#,
        r#"{"ts":2,"l":"x","d":"x","l":"y","m":1,"m":[]}"#,
        r#"{"ts":3,"m":"x","l":"x","m":2,"l":3,"l":"z","m":4}"#,
    ];
    let rows = decode(&dimensions, &records);
    let mut listed: Vec<_> = rows.field_errors().iter().map(|e| (e.row, e.field.as_str())).collect();
    listed.sort_unstable();
    assert_eq!(listed, [(0, "m"), (1, "d"), (1, "l"), (1, "m"), (2, "l")]);
    let of_l: Vec<_> = rows.field_errors().iter().filter(|e| e.field == "l").map(|e| e.reason.as_str()).collect();
    assert!(of_l[0].contains("\"y\"") && of_l[1].contains("\"z\""), "{of_l:?}");
    assert_eq!(rows.rows_with_errors(), 3);
    assert_column(&rows, "l", "LONG", &[Some("1"), None, None]);
    assert_column(&rows, "m", "LONG", &[None, None, Some("4")]);
}

#[test]
fn string_discovery_keeps_everything_as_text() {
    let dimensions = DimensionsSpec {
        discovery: Discovery::Strings,
        exclusions: vec!["skip".to_owned()],
        ..DimensionsSpec::discovered()
    };
    let rows = decode(&dimensions, &[r#"{"ts":1,"a":1,"b":false,"c":1e10,"skip":1}"#]);
    assert_column(&rows, "a", "STRING", &[Some("1")]);
    assert_column(&rows, "b", "STRING", &[Some("false")]);
    assert_column(&rows, "c", "STRING", &[Some("1.0E10")]);
    assert_eq!(columns_of(&rows, &empty_schema()).len(), 3);
}

#[test]
fn a_poison_record_costs_itself_and_leaves_no_trace() {
    let deep = format!(r#"{{"ts":1,"fresh":1,"v":{}1{}}}"#, "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    let poison: Vec<(&[u8], &str)> = vec![
        (br#"{"ts":1,"v":"wider","fresh":1"#, "EOF"),
        (br#"{"ts":1,"v":{"x":1},}"#, "not valid JSON"),
        (b"{\"ts\":1,\"v\":\"\xff\xfe\"}", "not valid JSON"),
        (b"{\"ts\":1,\"\xff\":1}", "not valid JSON"),
        (br#"{"ts":1,"v":"\ud800"}"#, "surrogate"),
        (br#"{"ts":1,"v":01}"#, "not valid JSON"),
        (
            br#"{"ts":1,"v":"a
b"}"#,
            "control character",
        ),
        (br#"{"v":"no time"}"#, "has no time"),
        (br#"{"ts":"soon","v":"text","fresh":2}"#, "\"soon\" is not a time"),
        (br#"{"ts":[1],"v":1.5}"#, "array"),
        (br#"[{"ts":1}]"#, "found an array"),
        (br#""text""#, "found a string"),
        (b"17", "found a number"),
        (b"null", "found null"),
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"\x00\x00\x00\x00\x01{}", "not valid JSON"),
        (br#"{"ts":1,"":1}"#, "no name"),
        (deep.as_bytes(), "deeper than 64"),
    ];
    let good = br#"{"ts":7,"v":7}"#;
    for (bytes, reason) in poison {
        let mut rows = Rows::new(rules(&DimensionsSpec::discovered(), BadField::Null));
        decode_into(&mut rows, &empty_schema(), &[good, bytes, good]);
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!((rows.len(), rows.refused()), (2, 1), "{shown}");
        let rejection = &rows.rejections()[0];
        assert_eq!((rejection.record, rejection.row), (1, 1));
        assert!(rejection.reason.contains(reason), "{shown}: {rejection:?}");
        assert!(rejection.hint.is_some(), "{shown}");
        assert_eq!(
            columns_of(&rows, &empty_schema()),
            BTreeMap::from([("v".to_owned(), ("LONG".to_owned(), texts(&[Some("7"), Some("7")])))]),
            "{shown}"
        );
    }
}

#[test]
fn one_record_may_hold_several_objects() {
    let rows = decode(&DimensionsSpec::discovered(), &["{\"ts\":1}{\"ts\":2}\n {\"ts\":3}\n", "{\"ts\":4}"]);
    assert_eq!((rows.times(), rows.records()), (&[1, 2, 3, 4][..], &[0, 0, 0, 1][..]));
    // Well-formed but useless: only that one is refused. Broken: what follows it in the record is lost with it.
    let rows = decode(
        &DimensionsSpec::discovered(),
        &[r#"{"ts":1} 5 {"ts":"x"} {"ts":2}"#, r#"{"ts":3} {"ts":4,} {"ts":5}"#, r#"{"ts":6}"#],
    );
    assert_eq!(rows.times(), [1, 2, 3, 6]);
    let refused: Vec<_> = rows.rejections().iter().map(|r| (r.record, r.row)).collect();
    assert_eq!(refused, [(0, 1), (0, 2), (1, 5)]);
    assert_eq!(rows.rejections()[2].at, At::Position { line: 1, column: 18 });
}

#[test]
fn the_last_of_equal_keys_counts() {
    let rows = decode(
        &DimensionsSpec::discovered(),
        &[r#"{"ts":9,"a":"long text","a":1,"ts":1,"b":2,"b":null}"#, r#"{"ts":"bad","ts":2,"a":{"x":1},"\u0061":3}"#],
    );
    assert_eq!((rows.times(), rows.refused()), (&[1, 2][..], 0));
    assert_column(&rows, "a", "LONG", &[Some("1"), Some("3")]);
    let rows_of_long =
        decode(&declared(&[("a", ColumnType::Long)]), &[r#"{"ts":1,"a":"bad","a":2}"#, r#"{"ts":2,"a":2,"a":"bad"}"#]);
    assert_eq!((rows_of_long.rows_with_errors(), rows_of_long.field_errors()[0].row), (1, 1));
    assert_column(&rows_of_long, "a", "LONG", &[Some("2"), None]);
    assert!(!columns_of(&rows, &empty_schema()).contains_key("b"));
}

#[test]
fn a_record_beyond_ten_mebibytes_is_refused_unread() {
    let mut record = br#"{"ts":1,"v":""#.to_vec();
    record.resize(RECORD_BYTES_MAX, b'x');
    record.extend_from_slice(br#""}"#);
    let mut rows = Rows::new(rules(&DimensionsSpec::discovered(), BadField::Null));
    decode_into(&mut rows, &empty_schema(), &[&record, br#"{"ts":1}"#]);
    assert_eq!((rows.len(), rows.refused()), (1, 1));
    assert!(rows.rejections()[0].reason.contains("10485760"));
}

#[test]
fn a_table_has_at_most_ten_thousand_columns_and_refused_rows_do_not_use_them_up() {
    let table: Vec<Column> =
        (0..COLUMN_COUNT_MAX - 3).map(|n| Column::dimension(&format!("c{n}"), ColumnType::Long)).collect();
    let schema = Arc::new(TableSchema::new(table).expect("a schema"));
    let mut rows = Rows::new(rules(&DimensionsSpec::discovered(), BadField::Null));
    let records: [&[u8]; 4] = [
        br#"{"ts":1,"c0":1,"c9000":2}"#,
        br#"{"ts":2,"new1":1,"new2":1}"#,
        br#"{"ts":3,"new3":1}"#,
        br#"{"ts":4,"new1":2}"#,
    ];
    decode_into(&mut rows, &schema, &records);
    assert_eq!((rows.times(), rows.refused()), (&[1, 2, 4][..], 1));
    assert!(rows.rejections()[0].reason.contains("`new3`"));
    let wide = schema.widen(&rows.observed()).expect("just fits").expect("wider");
    assert_eq!(wide.columns().len(), COLUMN_COUNT_MAX);

    let mut rows = Rows::new(rules(&DimensionsSpec::discovered(), BadField::Null));
    for round in 0..30 {
        let garbage: Vec<String> = (0..500).map(|n| format!(r#"{{"ts":"bad","g{round}_{n}":1}}"#)).collect();
        let garbage: Vec<&[u8]> = garbage.iter().map(|g| g.as_bytes()).collect();
        decode_into(&mut rows, &empty_schema(), &garbage);
    }
    decode_into(&mut rows, &empty_schema(), &[br#"{"ts":1,"good":1}"#]);
    assert_eq!(rows.len(), 1, "{:?}", rows.rejections());
}

#[test]
fn a_batch_can_be_built_in_slices() {
    let records: Vec<String> = (0..10)
        .map(|n| if n % 3 == 0 { format!(r#"{{"ts":{n},"a":"v{n}","n":{n}}}"#) } else { format!(r#"{{"ts":{n}}}"#) })
        .collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let rows = decode(&DimensionsSpec::discovered(), &records);
    let schema = empty_schema().widen(&rows.observed()).expect("widens").expect("wider");
    let whole = rows.batch(&schema, 0..10).expect("a batch");
    for range in [0..4, 4..6, 6..10] {
        let slice = rows.batch(&schema, range.clone()).expect("a batch");
        for field in slice.schema().fields() {
            let cut = whole.column_by_name(field.name()).expect("there").slice(range.start, range.len());
            assert_eq!(slice.column_by_name(field.name()).expect("there"), &cut, "{range:?} {}", field.name());
        }
    }
    assert_eq!(rows.batch(&schema, 4..6).expect("a batch").num_columns(), 1, "columns without a value are left out");
}

#[test]
fn values_take_the_wider_type_of_the_table() {
    let schema = Arc::new(
        TableSchema::new(vec![
            Column::dimension("n", ColumnType::String),
            Column::dimension("d", ColumnType::Double),
            Column::dimension("j", ColumnType::Json),
        ])
        .expect("a schema"),
    );
    let mut rows = Rows::new(rules(&DimensionsSpec::discovered(), BadField::Null));
    decode_into(&mut rows, &schema, &[br#"{"ts":1,"n":1,"d":1,"j":"x"}"#]);
    assert!(schema.widen(&rows.observed()).expect("fits").is_none());
    let columns = columns_of(&rows, &schema);
    assert_eq!(columns["n"], ("STRING".to_owned(), texts(&[Some("1")])));
    assert_eq!(columns["d"], ("DOUBLE".to_owned(), texts(&[Some("1.0")])));
    assert_eq!(columns["j"], ("JSON".to_owned(), texts(&[Some("\"x\"")])));
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000i64..1000).prop_map(Value::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| json!(n)),
        ".{0,6}".prop_map(Value::from),
        "[\\[\\]{}\",:\\\\ \n]{0,6}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => scalar(),
        1 => prop::collection::vec(".{0,3}".prop_map(Value::from), 0..3).prop_map(Value::from),
        2 => scalar().prop_recursive(3, 12, 4, |inner| prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
        ]),
    ]
}

#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Width {
    Long,
    Double,
    Text,
    Json,
}

fn strings_only(items: &[Value]) -> bool {
    items.iter().all(|item| item.is_string() || item.is_null())
}

fn width(value: &Value) -> Option<Width> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => Width::Long,
        Value::Number(n) if n.is_i64() => Width::Long,
        Value::Number(_) => Width::Double,
        Value::String(_) => Width::Text,
        Value::Array(items) if strings_only(items) => Width::Text,
        _ => Width::Json,
    })
}

fn double_text(n: f64) -> String {
    let mut out = String::new();
    freshet_segment::number::write_double(n, &mut out);
    out
}

/// What a cell of a column of this width must hold, from serde_json's tree alone.
fn expected(value: &Value, width: &Width) -> Option<String> {
    Some(match (value, width) {
        (Value::Null, _) => return None,
        (Value::Bool(b), Width::Double) => format!("{:?}", f64::from(u8::from(*b))),
        (Value::Bool(b), _) => u8::from(*b).to_string(),
        (Value::Number(n), Width::Double) => format!("{:?}", n.as_f64().expect("finite")),
        (Value::Number(n), _) if n.is_i64() => n.to_string(),
        (Value::Number(n), Width::Text) => double_text(n.as_f64().expect("finite")),
        (Value::Number(n), _) => double_text(n.as_f64().expect("finite")),
        (Value::String(s), Width::Text) => s.clone(),
        (Value::Array(items), Width::Text) if items.len() == 1 => return items[0].as_str().map(str::to_owned),
        (other, _) => other.to_string(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_rows_decode_as_serde_json_reads_them(
        rows in prop::collection::vec((any::<Option<u16>>(), prop::collection::btree_map("[abc]", value(), 0..4)), 0..20),
        pretty in any::<bool>(),
    ) {
        let records: Vec<String> = rows.iter().map(|(ts, fields)| {
            let mut object = json!(fields);
            if let Some(ts) = ts {
                object["ts"] = json!(ts);
            }
            if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.expect("JSON")
        }).collect();
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let decoded = decode(&DimensionsSpec::discovered(), &records);

        let kept: Vec<_> = rows.iter().filter_map(|(ts, fields)| ts.map(|ts| (ts, fields))).collect();
        prop_assert_eq!(decoded.len(), kept.len());
        prop_assert_eq!(decoded.refused() as usize, rows.len() - kept.len());
        prop_assert_eq!(decoded.times().to_vec(), kept.iter().map(|(ts, _)| i64::from(*ts)).collect::<Vec<_>>());
        let columns = columns_of(&decoded, &empty_schema());
        for name in ["a", "b", "c"] {
            let values: Vec<&Value> = kept.iter().map(|(_, fields)| fields.get(name).unwrap_or(&Value::Null)).collect();
            let widest = values.iter().filter_map(|v| width(v)).fold(None, |widest: Option<Width>, w| {
                Some(match widest { Some(x) if x >= w => x, _ => w })
            });
            match widest {
                None => prop_assert!(!columns.contains_key(name)),
                Some(widest) => {
                    let (_, actual) = &columns[name];
                    let reals = widest == Width::Json;
                    for (value, actual) in values.iter().zip(actual) {
                        // Numbers inside nested values and in JSON columns keep the digits they were sent with.
                        if reals && value.is_f64() {
                            let actual: f64 = actual.as_deref().expect("there").parse().expect("a number");
                            prop_assert_eq!(actual, value.as_f64().expect("finite"));
                        } else {
                            prop_assert_eq!(actual, &expected(value, &widest), "{} {:?}", name, widest);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn garbage_never_panics_and_every_record_is_accounted_for(
        records in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            "[\\[\\]{}\",:\\\\a0-9tfn.eE+ -]{0,60}".prop_map(String::into_bytes),
            "\\{\"ts\":1,\"a\":[\\[\\]{}\",:\\\\a0-9tfn.eE+ -]{0,20}\\}".prop_map(String::into_bytes),
        ], 1..20),
    ) {
        let mut rows = Rows::new(rules(&DimensionsSpec::discovered(), BadField::Null));
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        decode_into(&mut rows, &empty_schema(), &slices);
        let mut seen: Vec<u32> = rows.records().iter().copied().chain(rows.rejections().iter().map(|r| r.record)).collect();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), records.len(), "a record left neither a row nor a rejection");
        prop_assert_eq!(rows.rejections().len() as u64, rows.refused());
        columns_of(&rows, &empty_schema());
    }
}
