use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::ipc::reader::StreamReader;
use freshet_query::ReadingInfo;
use freshet_query::{NativeType, OutputColumn, SketchKind, SqlType};
use freshet_segment::time::Timestamp;

use super::*;

fn info() -> ReadingInfo {
    ReadingInfo { at: Timestamp::from_millis(5), produced_max: Some(Timestamp::from_millis(3)), tables: Vec::new() }
}

fn column(name: &str, native_type: NativeType, sql_type: SqlType) -> OutputColumn {
    OutputColumn { name: name.to_owned(), native_type, sql_type }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn encode(shape: Shape, columns: &[OutputColumn], batches: &[RecordBatch]) -> String {
    let mut encoder = Encoder::new(shape, columns, &info()).unwrap();
    let mut all = Vec::new();
    for batch in batches {
        encoder.push(batch).unwrap();
        all.extend_from_slice(&encoder.take());
    }
    encoder.finish().unwrap();
    all.extend_from_slice(&encoder.take());
    String::from_utf8(all).unwrap()
}

/// The whole table of contract 1.3: empty, one row, and every combination of header flags.
#[test]
fn framing_is_druids() {
    let columns = [column("a", NativeType::Long, SqlType::Bigint)];
    let one = batch(vec![("a", Arc::new(Int64Array::from(vec![1])))]);
    let shape = |format, header, types, sql_types| Shape { header, types, sql_types, ..Shape::plain(format) };
    let cases = [
        (Format::Object, "[]\n", "[{\"a\":1}]\n"),
        (Format::Array, "[]\n", "[[1]]\n"),
        (Format::ObjectLines, "\n\n", "{\"a\":1}\n\n"),
        (Format::ArrayLines, "\n\n", "[1]\n\n"),
        (Format::Csv, "\n", "1\n\n"),
    ];
    for (format, empty, row) in cases {
        assert_eq!(encode(shape(format, false, false, false), &columns, &[]), empty, "{format:?}");
        assert_eq!(encode(shape(format, false, false, false), &columns, std::slice::from_ref(&one)), row, "{format:?}");
    }
    let headers = [
        (Format::Object, true, true, "[{\"a\":{\"type\":\"LONG\",\"sqlType\":\"BIGINT\"}},{\"a\":1}]\n"),
        (Format::Object, false, false, "[{\"a\":null},{\"a\":1}]\n"),
        (Format::Object, true, false, "[{\"a\":{\"type\":\"LONG\"}},{\"a\":1}]\n"),
        (Format::Object, false, true, "[{\"a\":{\"sqlType\":\"BIGINT\"}},{\"a\":1}]\n"),
        (Format::Array, true, true, "[[\"a\"],[\"LONG\"],[\"BIGINT\"],[1]]\n"),
        (Format::Array, false, false, "[[\"a\"],[1]]\n"),
        (Format::ObjectLines, true, true, "{\"a\":{\"type\":\"LONG\",\"sqlType\":\"BIGINT\"}}\n{\"a\":1}\n\n"),
        (Format::ObjectLines, false, false, "{\"a\":null}\n{\"a\":1}\n\n"),
        (Format::ArrayLines, true, true, "[\"a\"]\n[\"LONG\"]\n[\"BIGINT\"]\n[1]\n\n"),
        (Format::ArrayLines, false, true, "[\"a\"]\n[\"BIGINT\"]\n[1]\n\n"),
        (Format::Csv, true, true, "a\nLONG\nBIGINT\n1\n\n"),
        (Format::Csv, true, false, "a\nLONG\n1\n\n"),
    ];
    for (format, types, sql_types, text) in headers {
        assert_eq!(encode(shape(format, true, types, sql_types), &columns, std::slice::from_ref(&one)), text);
    }
    assert_eq!(encode(shape(Format::Object, true, false, false), &columns, &[]), "[{\"a\":null}]\n");
    assert_eq!(encode(shape(Format::Csv, true, false, false), &columns, &[]), "a\n\n");
    assert_eq!(encode(shape(Format::ArrayLines, true, false, false), &columns, &[]), "[\"a\"]\n\n");
}

#[test]
fn several_batches_are_one_result() {
    let columns = [column("a", NativeType::Long, SqlType::Bigint)];
    let part = |values: Vec<i64>| batch(vec![("a", Arc::new(Int64Array::from(values)))]);
    let parts = [part(vec![1, 2]), part(vec![]), part(vec![i64::MIN])];
    assert_eq!(encode(Shape::plain(Format::Array), &columns, &parts), "[[1],[2],[-9223372036854775808]]\n");
}

fn everything() -> (Vec<OutputColumn>, RecordBatch) {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let columns = vec![
        column("s", NativeType::String, SqlType::Varchar),
        column("d", NativeType::Double, SqlType::Double),
        column("f", NativeType::Float, SqlType::Float),
        column("b", NativeType::Long, SqlType::Boolean),
        column("t", NativeType::Long, SqlType::Timestamp),
        column("l", NativeType::ArrayLong, SqlType::Array),
    ];
    let batch = batch(vec![
        ("s", Arc::new(StringViewArray::from(vec![Some("a\"b\\\n\u{1}é,"), None]))),
        ("d", Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN)]))),
        ("f", Arc::new(Float32Array::from(vec![0.1, f32::NEG_INFINITY]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("t", Arc::new(TimestampMillisecondArray::from(vec![Some(1_442_018_818_771), Some(-1)]).with_timezone("UTC"))),
        ("l", Arc::new(list)),
    ]);
    (columns, batch)
}

#[test]
fn values_are_druids() {
    let (columns, batch) = everything();
    let batch = [batch];
    assert_eq!(
        encode(Shape::plain(Format::ObjectLines), &columns, &batch),
        "{\"s\":\"a\\\"b\\u005c\\n\\u0001é,\",\"d\":1.0,\"f\":0.1,\"b\":true,\"t\":\"2015-09-12T00:46:58.771Z\",\"l\":\"[1,null]\"}\n\
         {\"s\":null,\"d\":\"NaN\",\"f\":\"-Infinity\",\"b\":null,\"t\":\"1969-12-31T23:59:59.999Z\",\"l\":null}\n\n"
    );
    let real = Shape {
        stringify_arrays: false,
        zone: "America/Los_Angeles".parse().unwrap(),
        ..Shape::plain(Format::ArrayLines)
    };
    assert_eq!(
        encode(real, &columns, &batch),
        "[\"a\\\"b\\\\\\n\\u0001é,\",1.0,0.1,true,\"2015-09-11T17:46:58.771-07:00\",[1,null]]\n\
         [null,\"NaN\",\"-Infinity\",null,\"1969-12-31T15:59:59.999-08:00\",null]\n\n"
    );
    assert_eq!(
        encode(Shape::plain(Format::Csv), &columns, &batch),
        "\"a\"\"b\\\n\u{1}é,\",1.0,0.1,true,2015-09-12T00:46:58.771Z,\"[1,null]\"\n\
         ,NaN,-Infinity,,1969-12-31T23:59:59.999Z,\n\n"
    );
}

#[test]
fn a_csv_row_of_nothing_is_not_the_end() {
    let columns = [column("s", NativeType::String, SqlType::Varchar)];
    let batch = batch(vec![("s", Arc::new(StringArray::from(vec![Some(""), None, Some("x")])))]);
    assert_eq!(encode(Shape::plain(Format::Csv), &columns, &[batch]), "\"\"\n\"\"\nx\n\n");
}

#[test]
fn doubles_are_javas() {
    for (value, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (239.159_438_385_485_69, "239.15943838548569"),
        (1e10, "1.0E10"),
        (1.5e7, "1.5E7"),
        (9_999_999.0, "9999999.0"),
        (123_456.75, "123456.75"),
        (0.001, "0.001"),
        (0.000_999, "9.99E-4"),
        (-2.5e-300, "-2.5E-300"),
        (f64::MAX, "1.7976931348623157E308"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        let mut out = Vec::new();
        super::super::cells::write_double(&mut out, value);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

#[test]
fn times_reach_over_all_years() {
    for text in [
        "-0044-03-15T00:00:00.000Z",
        "0000-02-29T12:00:00.000Z",
        "2024-02-29T23:59:59.999Z",
        "4999-12-31T00:00:00.001Z",
    ] {
        let at = Timestamp::parse(text).unwrap();
        let mut out = Vec::new();
        super::super::cells::write_time(&mut out, at.as_millis(), &Zone::Utc);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

#[test]
fn arrow_has_portable_types_and_metadata_even_without_rows() {
    let (columns, full) = everything();
    for batches in [vec![], vec![full]] {
        let shape = Shape {
            metadata: vec![("from".to_owned(), "7".to_owned())],
            produced: true,
            ..Shape::plain(Format::Arrow)
        };
        let mut encoder = Encoder::new(shape, &columns, &info()).unwrap();
        for batch in &batches {
            encoder.push(batch).unwrap();
        }
        encoder.finish().unwrap();
        let bytes = encoder.take();
        let reader = StreamReader::try_new(bytes.as_ref(), None).unwrap();
        let schema = reader.schema();
        assert_eq!(schema.metadata().get("from").map(String::as_str), Some("7"));
        assert_eq!(schema.metadata().get("produced").map(String::as_str), Some("3"));
        let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
        assert_eq!(types[0], &DataType::Utf8);
        assert_eq!(types[2], &DataType::Float64);
        assert_eq!(types[5], &DataType::Utf8);
        let read: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 2 * batches.len());
        if let Some(batch) = read.first() {
            let lists: &StringArray = batch.column(5).as_any().downcast_ref().unwrap();
            assert_eq!((lists.value(0), lists.is_null(1)), ("[1,null]", true));
        }
    }
}

#[test]
fn formats_are_named_in_any_case() {
    assert_eq!(Format::parse("OBJECTLINES"), Some(Format::ObjectLines));
    assert_eq!(Format::parse("arraylines"), Some(Format::ArrayLines));
    assert_eq!(Format::parse("xml"), None);
}

/// Contract 1.4: the JSON text of a sketch is its base64 between quotes, and the cell holds that text.
#[test]
fn a_sketch_is_quoted_base64_in_every_format() {
    let columns = [column("h", NativeType::Sketch(SketchKind::Hll), SqlType::Other)];
    let bytes: [Option<&[u8]>; 2] = [Some(b"\x02\x01\x07\xff"), None];
    let rows = batch(vec![("h", Arc::new(BinaryArray::from(bytes.to_vec())))]);
    let shape = |format| Shape { header: true, types: true, sql_types: true, ..Shape::plain(format) };
    let text = |format| encode(shape(format), &columns, std::slice::from_ref(&rows));
    assert_eq!(text(Format::Array), "[[\"h\"],[\"COMPLEX<HLLSketch>\"],[\"OTHER\"],[\"\\\"AgEH/w==\\\"\"],[null]]\n");
    assert_eq!(text(Format::Csv), "h\nCOMPLEX<HLLSketch>\nOTHER\n\"\"\"AgEH/w==\"\"\"\n\"\"\n\n");
    let mut stream = ArrowStream::new(&Shape::plain(Format::Arrow), &columns, &info()).unwrap();
    stream.push(&rows).unwrap();
    stream.finish().unwrap();
    let bytes = stream.take();
    let read: Vec<_> = StreamReader::try_new(bytes.as_ref(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read[0].column(0).as_string::<i32>().value(0), "\"AgEH/w==\"");
}
