use freshet_segment::schema::ColumnType;

use super::*;
use crate::decode::testing::{Table, declared, discovered};

fn csv(columns: &[&str]) -> DelimitedFormat {
    DelimitedFormat::csv(Some(columns.iter().map(|name| (*name).to_owned()).collect()))
}

fn read<R: AsRef<[u8]>>(format: DelimitedFormat, records: &[R]) -> Table {
    format.check().expect("a format");
    Table::read(&mut DelimitedDecoder::new(format), &discovered(), records)
}

#[test]
fn quotes_delimiters_and_line_breaks_are_rfc_4180s() {
    let record = "1,plain,\"with, comma\"\r\n2,\"two\r\nlines\",\"a \"\"quote\"\"\"\n\n3,,\"\"\n";
    let table = read(csv(&["ts", "a", "b"]), &[record]);
    assert_eq!(table.rejected(), Vec::<String>::new());
    assert_eq!(table.column("a"), ["plain", "two\r\nlines", "null"]);
    assert_eq!(table.column("b"), ["with, comma", "a \"quote\"", ""], "empty in quotes is text");
}

#[test]
fn a_record_may_hold_lines_short_and_long_of_them() {
    let table = read(csv(&["ts", "a", "b"]), &["1,x", "2,y,z,too,many\n3,,w"]);
    assert_eq!(table.rejected(), Vec::<String>::new());
    assert_eq!(table.column("a"), ["x", "y", "null"]);
    assert_eq!(table.column("b"), ["null", "z", "w"]);
}

#[test]
fn a_header_names_the_fields_of_its_record() {
    let format = || DelimitedFormat { skip_rows: 1, ..DelimitedFormat::csv(None) };
    let table = read(format(), &["# made today\n\u{feff}ts,a,,b\n1,x,y,z\n", "#\nb,ts\nw,2", "#\nb,ts", "#"]);
    assert_eq!(table.rejected(), Vec::<String>::new());
    assert_eq!(table.column("a"), ["x", "null"]);
    assert_eq!(table.column("b"), ["z", "w"]);
    assert_eq!(table.column("column_3"), ["y", "null"]);
    let table = read(format(), &["#\nts,a,a\n1,x,y\n"]);
    assert_eq!(table.rejected(), ["line 2, column 1: the header names `a` twice"]);
}

#[test]
fn lists_and_numbers_are_told_apart_on_demand() {
    let format = DelimitedFormat { list_delimiter: "|".to_owned(), numbers: true, ..csv(&["ts", "l", "n", "s"]) };
    let record = "1,a|b,007,\"7\"\n2,c,-1.5e3,x\n3,,9223372036854775807,inf";
    let table = read(format, &[record]);
    assert_eq!(table.column("l"), ["[\"a\",\"b\"]", "c", "null"]);
    assert_eq!(table.column("n"), ["7.0", "-1500.0", "9.223372036854776e18"]);
    assert_eq!(table.column("s"), ["7", "x", "inf"]);
    let texts = read(csv(&["ts", "n"]), &["1,007"]);
    assert_eq!(texts.column("n"), ["007"], "text stays text");
}

#[test]
fn declared_types_coerce_and_an_empty_field_is_null() {
    let dimensions = declared(&[("n", ColumnType::Long), ("x", ColumnType::Double)]);
    let mut decoder = DelimitedDecoder::new(csv(&["ts", "n", "x"]));
    let table = Table::read(&mut decoder, &dimensions, &["1,5,2\n2,,\n3,no,1.5"]);
    assert_eq!(table.column("n"), ["5", "null", "null"]);
    assert_eq!(table.column("x"), ["2.0", "null", "1.5"]);
}

#[test]
fn what_is_wrong_costs_one_line_and_names_it() {
    let mut record = b"1,a\n,no time\n2,".to_vec();
    record.extend_from_slice(b"\xff\n3,c\n4,\"open\n5,gone");
    let table = read(csv(&["ts", "a"]), &[record.as_slice(), b"\n\n".as_slice()]);
    assert_eq!(table.column("a"), ["a", "c"]);
    let rejected = table.rejected();
    assert_eq!(rejected.len(), 4, "{rejected:?}");
    assert!(rejected[0].contains("the row has no time"), "{rejected:?}");
    assert_eq!(rejected[1], "line 3, column 1: the line is not UTF-8 text");
    assert_eq!(rejected[2], "line 5, column 1: a quote is opened and never closed");
    assert!(rejected[3].contains("empty"), "{rejected:?}");
}

#[test]
fn tabs_separate_and_quotes_are_text() {
    let format = DelimitedFormat::tsv(Some(vec!["ts".to_owned(), "a".to_owned(), "b".to_owned()]));
    let table = read(format, &["1\t\"q\t\r\n2\t\tb\n"]);
    assert_eq!(table.column("a"), ["\"q", "null"]);
    assert_eq!(table.column("b"), ["null", "b"]);
    let wide = DelimitedFormat { delimiter: "::".to_owned(), quotes: false, ..csv(&["ts", "a", "b"]) };
    assert_eq!(read(wide, &["1::x:y::z"]).column("a"), ["x:y"]);
}

#[test]
fn a_pattern_takes_lines_apart() {
    let pattern = r"^(?<ts>\d+) \[(\w*)\] (?<text>.*)$";
    let format = RegexFormat::new(pattern, None, None).expect("a pattern");
    let table = Table::read(&mut RegexDecoder::new(format), &discovered(), &["1 [x] hello\nno\r\n2 [] w", ""]);
    assert_eq!(table.column("column_2"), ["x", ""]);
    assert_eq!(table.column("text"), ["hello", "w"]);
    assert_eq!(table.rejected()[0], "line 2, column 1: \"no\" does not match the pattern");
    for (bad, columns) in [("(", None), ("a", None), ("(a)", Some(vec!["x".to_owned(), "y".to_owned()]))] {
        assert!(RegexFormat::new(bad, columns, None).is_err(), "{bad}");
    }
}

#[test]
fn lines_are_one_column() {
    let dimensions = discovered();
    let time = crate::spec::TimeSpec {
        missing_value: Some(freshet_segment::time::Timestamp::from_millis(5)),
        ..crate::spec::TimeSpec::auto("ts")
    };
    let column = crate::transform::TimeColumn::new(&time, &crate::spec::GranularitySpec::default());
    let rules = crate::decode::DecodeRules::new(&dimensions, &time, column, crate::decode::BadField::Null);
    let mut rows = Rows::new(rules);
    rows.begin(&Arc::new(freshet_segment::schema::TableSchema::new(vec![]).expect("a schema")));
    LineDecoder::default().decode(0, b"a \"b\"\r\n\nc", &mut rows);
    assert_eq!((rows.len(), rows.refused()), (2, 0));
}

#[test]
fn formats_that_cannot_be_meant_are_refused() {
    let columns = |names: &[&str]| csv(names).check();
    assert!(columns(&["a", "a"]).is_err());
    assert!(columns(&[""]).is_err());
    assert!(columns(&[]).is_err());
    assert!(DelimitedFormat { delimiter: String::new(), ..csv(&["a"]) }.check().is_err());
    assert!(DelimitedFormat { delimiter: "ab".to_owned(), ..csv(&["a"]) }.check().is_err());
    assert!(DelimitedFormat { list_delimiter: ",".to_owned(), ..csv(&["a"]) }.check().is_err());
}

#[test]
fn rows_outside_the_accepted_time_are_counted_and_leave_nothing_behind() {
    let time = crate::spec::TimeSpec::auto("ts");
    let column = crate::transform::TimeColumn::new(&time, &crate::spec::GranularitySpec::default());
    let rules = crate::decode::DecodeRules::new(&discovered(), &time, column, crate::decode::BadField::Null);
    let mut rows = Rows::new(rules);
    rows.begin(&Arc::new(freshet_segment::schema::TableSchema::new(vec![]).expect("a schema")));
    let accepted = crate::spec::AcceptedTime {
        late_by: Some(std::time::Duration::from_millis(10)),
        early_by: Some(std::time::Duration::from_millis(5)),
        from: None,
    };
    rows.accept(accepted.at(freshet_segment::time::Timestamp::from_millis(100)));
    let mut decoder = DelimitedDecoder::new(csv(&["ts", "a"]));
    decoder.decode(0, b"89,old\n90,a\n105,b\nx,bad\n106,new\n", &mut rows);
    assert_eq!((rows.times(), rows.late(), rows.refused()), ([90, 105].as_slice(), 2, 1));
    assert_eq!(rows.rejections()[0].row, 3, "late rows are rows");
    let schema = freshet_segment::schema::TableSchema::new(vec![]).expect("a schema");
    let schema = schema.widen(&rows.observed()).expect("widens").expect("wider");
    let batch = rows.batch(&schema, 0..2).expect("a batch");
    let texts = arrow::array::AsArray::as_string::<i32>(batch.column(1)).iter().flatten().collect::<Vec<_>>();
    assert_eq!(texts, ["a", "b"]);
}
