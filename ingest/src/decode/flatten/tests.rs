use freshet_segment::schema::ColumnType;

use super::*;
use crate::decode::testing::{Table, declared, discovered};

fn decoder(discovery: bool, fields: Vec<FlattenField>) -> FlattenDecoder {
    FlattenDecoder::new(FlattenSpec::new(discovery, fields).expect("a spec"))
}

fn path(name: &str, path: &str) -> FlattenField {
    FlattenField::path(name, path).expect("a path")
}

const ROW: &str =
    r#"{"ts":1,"a":{"b":[{"c":7},{"c":8}],"x y":"z"},"tags":["p","q"],"n":3,"b":"root","dotted.name":true}"#;

#[test]
fn each_sort_of_field_finds_its_value() {
    let fields = vec![
        path("first", "$.a.b[0].c"),
        path("all", "$.a.b[*].c"),
        path("deep", "$..c"),
        path("quoted", "$.a['x y']"),
        path("none", "$.a.nope"),
        path("no_list", "$.a.nope[*]"),
        FlattenField::root("root", "dotted.name"),
        FlattenField::tree("tree", vec!["a".to_owned(), "x y".to_owned()]),
        path("b", "$.n"),
    ];
    let table = Table::read(&mut decoder(false, fields), &discovered(), &[ROW]);
    assert_eq!(table.rejected(), Vec::<String>::new());
    assert_eq!(table.column("first"), ["7"]);
    assert_eq!(table.column("all"), ["[7,8]"]);
    assert_eq!(table.column("deep"), ["[7,8]"]);
    assert_eq!(table.column("quoted"), ["z"]);
    assert_eq!(table.column("tree"), ["z"]);
    assert_eq!(table.column("root"), ["1"]);
    assert_eq!(table.column("b"), ["3"], "a named field comes before a root field of that name");
    assert_eq!(table.names(), ["all", "b", "deep", "first", "quoted", "root", "tree"]);
}

#[test]
fn discovery_takes_root_scalars_and_lists_and_nested_values_only_where_listed() {
    let fields = || vec![path("c", "$.a.b[1].c"), FlattenField::root("ts", "ts")];
    let table = Table::read(&mut decoder(true, fields()), &discovered(), &[ROW]);
    assert_eq!(table.names(), ["b", "c", "dotted.name", "n", "tags"]);
    let mut listed = declared(&[("a", ColumnType::Json)]);
    listed.include_all = true;
    let table = Table::read(&mut decoder(true, fields()), &listed, &[ROW]);
    assert_eq!(table.column("a"), [r#"{"b":[{"c":7},{"c":8}],"x y":"z"}"#]);
}

#[test]
fn a_bad_row_costs_itself_and_broken_syntax_the_rest() {
    let records = ["{\"ts\":1,\"n\":1} [5] {\"ts\":2,\"n\":2} {\"ts\":", "", "{\"ts\":3,\"n\":3}"];
    let fields = vec![path("ts", "$.ts"), path("m", "$.n")];
    let table = Table::read(&mut decoder(false, fields), &discovered(), &records);
    assert_eq!(table.column("m"), ["1", "2", "3"]);
    let rejected = table.rejected();
    assert_eq!(rejected.len(), 3, "{rejected:?}");
    assert!(rejected[0].contains("found an array"), "{rejected:?}");
    assert!(rejected[1].contains("not valid JSON"), "{rejected:?}");
    assert!(rejected[2].contains("empty"), "{rejected:?}");
}

#[test]
fn a_path_is_single_when_it_cannot_find_more() {
    for (text, single) in [
        ("$", true),
        ("$.a.b[0]", true),
        ("$['a*?,']", true),
        ("$[-1]", true),
        ("$.a[*]", false),
        ("$..a", false),
        ("$.a[0,1]", false),
        ("$.a[0:2]", false),
        ("$.a[?@.b == 1].c", false),
    ] {
        let Place::Path { single: found, .. } = path("x", text).place else { panic!("no path: {text}") };
        assert_eq!(found, single, "{text}");
    }
}

#[test]
fn specs_that_cannot_be_meant_are_refused() {
    assert!(FlattenField::path("x", "a.b").is_err());
    assert!(FlattenField::path("x", "$.a[").is_err());
    assert!(FlattenSpec::new(false, vec![]).is_err());
    assert!(FlattenSpec::new(true, vec![path("x", "$.a"), path("x", "$.b")]).is_err());
    assert!(FlattenSpec::new(true, vec![path("", "$.a")]).is_err());
    assert!(FlattenSpec::new(true, vec![]).is_ok_and(|spec| spec.is_plain()));
}
