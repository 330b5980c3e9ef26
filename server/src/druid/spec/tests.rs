use serde_json::{Value, json};

use freshet_ingest::decode::text::DelimitedFormat;
use freshet_ingest::spec::DecoderSpec;

use super::*;

/// The spec of the public tutorial, with Kafka as its source.
fn tutorial() -> Value {
    let strings = [
        "channel",
        "cityName",
        "comment",
        "countryIsoCode",
        "countryName",
        "isAnonymous",
        "isMinor",
        "isNew",
        "isRobot",
        "isUnpatrolled",
        "metroCode",
        "namespace",
        "page",
        "regionIsoCode",
        "regionName",
        "user",
    ];
    let mut dimensions: Vec<Value> = strings.into_iter().map(|name| json!(name)).collect();
    dimensions.extend(["added", "deleted", "delta"].map(|name| json!({"name": name, "type": "long"})));
    json!({
        "type": "kafka",
        "spec": {
            "dataSchema": {
                "dataSource": "wikipedia",
                "timestampSpec": {"column": "time", "format": "iso"},
                "dimensionsSpec": {"dimensions": dimensions},
                "granularitySpec": {
                    "type": "uniform", "segmentGranularity": "DAY", "queryGranularity": "NONE", "rollup": false
                },
            },
            "ioConfig": {
                "type": "kafka",
                "topic": "wikipedia",
                "inputFormat": {"type": "json"},
                "replicas": 2,
                "taskCount": 3,
                "taskDuration": "PT30M",
                "consumerProperties": {"bootstrap.servers": "localhost:9092"},
                "useEarliestOffset": true,
            },
            "tuningConfig": {"type": "kafka", "maxRowsPerSegment": 5_000_000, "maxRowsInMemory": 25_000},
        },
    })
}

fn read(spec: &Value) -> Result<SupervisorSpec, Problem> {
    parse(spec.to_string().as_bytes())
}

/// `(at, message, hint)` of the refusal of the tutorial's spec with `value` at `pointer`.
fn refusal(pointer: &str, value: Value) -> (String, String, String) {
    let mut spec = tutorial();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
    let problem = read(&spec).expect_err(pointer);
    assert_eq!(problem.status.as_u16(), 400, "{pointer}");
    (problem.at.clone().unwrap_or_default(), problem.message.clone(), problem.hint.clone().unwrap_or_default())
}

#[test]
fn the_tutorials_spec_is_understood() {
    let spec = read(&tutorial()).unwrap();
    assert_eq!((spec.id.as_str(), spec.table.as_str(), spec.suspended), ("wikipedia", "wikipedia", false));
    let SourceSpec::Kafka(kafka) = &spec.source;
    assert_eq!((kafka.topic.as_str(), kafka.task_count, kafka.use_earliest_offset), ("wikipedia", 3, true));
    assert_eq!(kafka.task_duration, Duration::from_secs(1800));
    assert_eq!(kafka.properties["bootstrap.servers"], "localhost:9092");
    assert_eq!(spec.time, TimeSpec { column: "time".to_owned(), format: TimeFormat::Iso, missing_value: None });
    assert_eq!((spec.dimensions.declared.len(), spec.dimensions.discovery), (19, Discovery::Listed));
    assert_eq!(spec.dimensions.declared[18].column_type, ColumnType::Long);
    assert_eq!(spec.granularity, GranularitySpec::default());
    assert_eq!(spec.tuning.max_rows_per_segment, Some(5_000_000));
    assert_eq!(spec.without_effect, ["/spec/ioConfig/replicas", "/spec/tuningConfig/maxRowsInMemory"]);
    assert_eq!(&*spec.document, tutorial().to_string());
}

#[test]
fn the_old_flat_form_is_understood() {
    let mut old = tutorial()["spec"].clone();
    old["type"] = json!("kafka");
    old["id"] = json!("w2");
    old["suspended"] = json!(true);
    let spec = read(&old).unwrap();
    assert_eq!((spec.id.as_str(), spec.suspended), ("w2", true));
}

#[test]
fn dimensions_decide_what_is_discovered() {
    let with = |dimensions: Value| {
        let mut spec = tutorial();
        spec["spec"]["dataSchema"]["dimensionsSpec"] = dimensions;
        read(&spec).unwrap().dimensions
    };
    assert_eq!(with(json!({})).discovery, Discovery::Strings);
    assert_eq!(with(json!({"dimensions": []})).discovery, Discovery::Strings);
    assert_eq!(with(json!({"dimensions": ["a"]})).discovery, Discovery::Listed);
    let typed = with(json!({"dimensions": ["a"], "useSchemaDiscovery": true, "dimensionExclusions": ["b"]}));
    assert_eq!((typed.discovery, typed.exclusions.as_slice()), (Discovery::Typed, &["b".to_owned()][..]));
    assert!(with(json!({"dimensions": ["a"], "includeAllDimensions": true})).include_all);
}

#[test]
fn unknown_keys_are_refused_where_they_stand_with_the_nearest() {
    for (pointer, near) in [
        ("/spec/ioConfig/useEarliestOfset", "useEarliestOffset"),
        ("/spec/dataSchema/timestampspec", "timestampSpec"),
        ("/spec/dataSchema/granularitySpec/segmentgranularity", "segmentGranularity"),
        ("/spec/tuningConfig/maxRowsPerSegmet", "maxRowsPerSegment"),
        ("/spec/tunningConfig", "tuningConfig"),
        ("/suspend", "suspended"),
    ] {
        let (at, message, _) = refusal(pointer, json!(true));
        let key = pointer.rsplit('/').next().unwrap();
        assert_eq!(
            (at.as_str(), message),
            (pointer, format!("key \"{key}\" is not known here; did you mean \"{near}\"?"))
        );
    }
}

#[test]
fn features_that_are_not_there_are_refused_by_name_with_the_cure() {
    for (pointer, value, part, cure) in [
        ("/type", json!("kinesis"), "type \"kinesis\"", "kafka"),
        (
            "/spec/dataSchema/metricsSpec",
            json!([{"type": "count", "name": "count"}]),
            "metricsSpec",
            "\"rollup\": false",
        ),
        ("/spec/dataSchema/granularitySpec/rollup", json!(true), "rollup is not supported", "\"rollup\": false"),
        ("/spec/dataSchema/granularitySpec/rollup", Value::Null, "Druid's default, true", "\"rollup\": false"),
        ("/spec/dataSchema/transformSpec", json!({"filter": {"type": "selector"}}), "transformSpec", "in the query"),
        ("/spec/ioConfig/inputFormat", json!({"type": "avro_stream"}), "\"avro_stream\"", "json, csv"),
        ("/spec/ioConfig/topicPattern", json!("w.*"), "topicPattern", "one topic"),
        ("/spec/tuningConfig/resetOffsetAutomatically", json!(true), "resetOffsetAutomatically", "leave it out"),
        ("/spec/dataSchema/timestampSpec/format", json!("yyyy-MM-dd"), "\"yyyy-MM-dd\"", "Joda"),
    ] {
        let (_, message, hint) = refusal(pointer, value);
        assert!(message.contains(part) && hint.contains(cure), "{pointer}: {message}; {hint}");
    }
}

#[test]
fn input_formats_are_read_and_what_cannot_be_meant_is_placed() {
    let decoder = |format: Value| {
        let mut spec = tutorial();
        spec["spec"]["ioConfig"]["inputFormat"] = format;
        let spec = read(&spec)?;
        spec.check()?;
        Ok::<_, Problem>(spec.decoder)
    };
    let names = || Some(vec!["time".to_owned(), "page".to_owned()]);
    let csv = json!({"type": "csv", "columns": ["time", "page"], "listDelimiter": "|", "tryParseNumbers": true});
    let mut wanted = DelimitedFormat::csv(names());
    wanted.list_delimiter = "|".to_owned();
    wanted.numbers = true;
    assert_eq!(decoder(csv).unwrap(), DecoderSpec::Delimited(wanted));
    let tsv = json!({"type": "tsv", "delimiter": ";", "findColumnsFromHeader": true, "skipHeaderRows": 2});
    let wanted = DelimitedFormat { delimiter: ";".to_owned(), skip_rows: 2, ..DelimitedFormat::tsv(None) };
    assert_eq!(decoder(tsv).unwrap(), DecoderSpec::Delimited(wanted));
    let both = json!({"type": "csv", "columns": ["time", "page"], "findColumnsFromHeader": true});
    let wanted = DelimitedFormat { skip_rows: 1, ..DelimitedFormat::csv(names()) };
    assert_eq!(decoder(both).unwrap(), DecoderSpec::Delimited(wanted), "the header's names are not taken");
    let pattern = json!({"type": "regex", "pattern": "^(\\S+) (.*)$", "columns": ["time", "page"]});
    assert!(matches!(decoder(pattern).unwrap(), DecoderSpec::Regex(_)));
    assert_eq!(decoder(json!({"type": "lines"})).unwrap(), DecoderSpec::Lines);
    let fields = json!([
        "page", {"type": "root", "name": "a"}, {"type": "path", "name": "b", "expr": "$.user.city"},
        {"type": "tree", "name": "c", "nodes": ["user", "city"]},
    ]);
    let flatten = json!({"type": "json", "flattenSpec": {"useFieldDiscovery": false, "fields": fields}});
    assert!(matches!(decoder(flatten).unwrap(), DecoderSpec::Flatten(_)));

    let field = |field: Value| json!({"type": "json", "flattenSpec": {"fields": [field]}});
    for (format, place) in [
        (json!({"type": "csv"}), "/columns"),
        (json!({"type": "csv", "columns": ["a", "a"]}), "/columns"),
        (json!({"type": "csv", "columns": ["a", 5]}), "/columns/1"),
        (json!({"type": "tsv", "columns": ["a"], "delimiter": ""}), "/delimiter"),
        (json!({"type": "csv", "columns": ["a"], "delimiter": ";"}), "/delimiter"),
        (json!({"type": "regex", "pattern": "("}), "/pattern"),
        (json!({"type": "xml"}), "/type"),
        (json!({"type": "json", "flattenSpec": {"useFieldDiscovery": false}}), "/flattenSpec/fields"),
        (field(json!({"type": "path", "name": "a", "expr": "a.b"})), "/flattenSpec/fields/0/expr"),
        (field(json!({"type": "jq", "name": "a", "expr": ".a"})), "/flattenSpec/fields/0/type"),
        (field(json!({"type": "tree", "name": "a"})), "/flattenSpec/fields/0/nodes"),
    ] {
        let problem = decoder(format.clone()).expect_err(&format.to_string());
        assert_eq!(problem.at.as_deref(), Some(format!("/spec/ioConfig/inputFormat{place}").as_str()), "{format}");
    }
}

#[test]
fn features_that_ask_for_nothing_pass() {
    let mut spec = tutorial();
    spec["spec"]["dataSchema"]["metricsSpec"] = json!([]);
    spec["spec"]["dataSchema"]["transformSpec"] = json!({});
    spec["spec"]["ioConfig"]["inputFormat"]["flattenSpec"] = json!({"useFieldDiscovery": true, "fields": []});
    spec["spec"]["tuningConfig"]["resetOffsetAutomatically"] = json!(false);
    read(&spec).unwrap();
}

#[test]
fn wrong_values_say_where_and_what_is_needed() {
    for (pointer, value, part) in [
        ("/spec/ioConfig/taskCount", json!("3"), "taskCount is a string, but a whole number from 1 to 128 is needed"),
        ("/spec/ioConfig/taskCount", json!(0), "taskCount is 0, but a whole number from 1 to 128 is needed"),
        (
            "/spec/ioConfig/useEarliestOffset",
            json!("yes"),
            "useEarliestOffset is a string, but true or false is needed",
        ),
        ("/spec/ioConfig/taskDuration", json!("1 hour"), "1 hour"),
        ("/spec/ioConfig/taskDuration", json!("PT0S"), "above zero"),
        ("/spec/dataSchema/dataSource", json!("a/b"), "a/b"),
        ("/spec/dataSchema/granularitySpec/segmentGranularity", json!("fortnight"), "fortnight"),
        ("/spec/dataSchema", json!([]), "dataSchema is an array, but an object is needed"),
    ] {
        let (at, message, _) = refusal(pointer, value);
        assert_eq!(at, pointer);
        assert!(message.contains(part), "{pointer}: {message}");
    }
}

#[test]
fn what_happens_to_a_lost_range_is_said() {
    let of = |value: Value| {
        let mut spec = tutorial();
        spec["spec"]["ioConfig"]["onDataLoss"] = value;
        let SourceSpec::Kafka(kafka) = read(&spec).unwrap().source;
        kafka.on_data_loss
    };
    assert_eq!(of(Value::Null), OnDataLoss::Stop);
    assert_eq!(of(json!("stop")), OnDataLoss::Stop);
    assert_eq!(of(json!("skip")), OnDataLoss::Skip);
    let (at, message, hint) = refusal("/spec/ioConfig/onDataLoss", json!("ignore"));
    assert_eq!(at, "/spec/ioConfig/onDataLoss");
    assert!(message.contains("\"ignore\"") && hint.contains("sys.data_gaps"), "{message}; {hint}");
}

#[test]
fn client_options_pass_the_allow_list() {
    let (at, message, hint) = refusal(
        "/spec/ioConfig/consumerProperties",
        json!({"bootstrap.servers": "a:1", "ssl.ca.location": "/etc/passwd"}),
    );
    assert_eq!(at, "/spec/ioConfig/consumerProperties/ssl.ca.location");
    assert!(message.contains("ssl.ca.location") && hint.contains("ssl.ca.pem"), "{message}; {hint}");
    let (at, ..) = refusal("/spec/ioConfig/consumerProperties", json!({}));
    assert_eq!(at, "/spec/ioConfig/consumerProperties/bootstrap.servers");
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let text =
        tutorial().to_string().replacen("\"topic\":\"wikipedia\"", "\"topic\":\"wikipedia\",\"topic\":\"other\"", 1);
    let problem = parse(text.as_bytes()).unwrap_err();
    assert_eq!(problem.at.as_deref(), Some("/spec/ioConfig/topic"));
    assert_eq!(problem.message, "key \"topic\" stands twice in one object");
}

#[test]
fn garbage_has_a_place() {
    let problem = parse(b"{\"type\": \"kafka\",").unwrap_err();
    assert_eq!(problem.at.as_deref(), Some("1:17"));
    let deep = format!("{{\"type\":\"kafka\",\"context\":{}{}}}", "[".repeat(100), "]".repeat(100));
    assert!(parse(deep.as_bytes()).unwrap_err().message.contains("deeper than 64"));
    assert_eq!(parse(b"[]").unwrap_err().message, "the document is an array, but an object is needed");
}

#[test]
fn periods_of_rejection_are_read() {
    let mut spec = tutorial();
    spec["spec"]["ioConfig"]["lateMessageRejectionPeriod"] = json!("PT1H");
    spec["spec"]["ioConfig"]["earlyMessageRejectionPeriod"] = json!("PT10M");
    let hour = Duration::from_secs(3600);
    let wanted = AcceptedTime { late_by: Some(hour), early_by: Some(hour / 6), from: None };
    assert_eq!(read(&spec).unwrap().accepted, wanted);
    let (at, ..) = refusal("/spec/ioConfig/lateMessageRejectionStartDateTime", json!("yesterday"));
    assert_eq!(at, "/spec/ioConfig/lateMessageRejectionStartDateTime");
    spec["spec"]["ioConfig"]["lateMessageRejectionStartDateTime"] = json!("2015-09-12T00:00:00Z");
    assert!(read(&spec).unwrap_err().message.contains("exclude each other"));
}
