use serde_json::{Value, json};

use super::*;

/// The spec of the public tutorial.
fn tutorial(source: Value) -> Value {
    json!({
        "type": "index_parallel",
        "spec": {
            "dataSchema": {
                "dataSource": "wikipedia",
                "timestampSpec": {"column": "time", "format": "iso"},
                "dimensionsSpec": {"dimensions": ["channel", {"name": "added", "type": "long"}]},
                "metricsSpec": [],
                "granularitySpec": {
                    "type": "uniform", "segmentGranularity": "day", "queryGranularity": "none",
                    "intervals": ["2015-09-12/2015-09-13"], "rollup": false
                },
            },
            "ioConfig": {
                "type": "index_parallel", "inputSource": source, "inputFormat": {"type": "json"}, "appendToExisting": false
            },
            "tuningConfig": {
                "type": "index_parallel", "partitionsSpec": {"type": "dynamic", "maxRowsPerSegment": 7},
                "maxRowsInMemory": 25_000
            },
        },
    })
}

fn inline() -> Value {
    json!({"type": "inline", "data": "{}"})
}

fn read(spec: &Value, folders: &[PathBuf]) -> Result<TaskSpec, Problem> {
    parse(spec.to_string().as_bytes(), folders)
}

#[test]
fn the_tutorials_spec_is_understood() {
    let spec = read(&tutorial(inline()), &[]).unwrap();
    assert_eq!((spec.kind, spec.batch.table.as_str(), spec.append), ("index_parallel", "wikipedia", false));
    assert_eq!(spec.batch.inputs, [BatchInput::Inline(Bytes::from_static(b"{}"))]);
    assert_eq!(spec.batch.intervals, ["2015-09-12/2015-09-13".parse::<Interval>().unwrap()]);
    assert_eq!(spec.batch.tuning.max_rows_per_segment, Some(7));
    assert_eq!(spec.without_effect, ["/spec/tuningConfig/maxRowsInMemory"]);
    assert!(spec.drop.is_empty());
    let mut dropping = tutorial(inline());
    dropping["spec"]["ioConfig"]["dropExisting"] = json!(true);
    assert_eq!(read(&dropping, &[]).unwrap().drop, spec.batch.intervals);
}

#[test]
fn files_are_found_below_the_folders_and_nowhere_else() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("in");
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    for name in ["in/a.json", "in/b.csv", "in/deep/c.json", "outside.json"] {
        std::fs::write(root.path().join(name), "").unwrap();
    }
    std::os::unix::fs::symlink(root.path().join("outside.json"), folder.join("link.json")).unwrap();
    let folders = [folder.clone()];
    let names = |source: Value, folders: &[PathBuf]| {
        read(&tutorial(source), folders).map(|spec| {
            let name = |input: &BatchInput| match input {
                BatchInput::File(path) => path.file_name().unwrap().to_string_lossy().into_owned(),
                BatchInput::Inline(_) => panic!("a file was asked for"),
            };
            spec.batch.inputs.iter().map(name).collect::<Vec<_>>()
        })
    };
    let base = |filter: &str| json!({"type": "local", "baseDir": folder, "filter": filter});
    assert_eq!(names(base("?.json"), &folders).unwrap(), ["a.json", "c.json"]);
    assert_eq!(names(base("*.csv"), &folders).unwrap(), ["b.csv"]);
    let files = |path: &str| json!({"type": "local", "files": [root.path().join(path)]});
    assert_eq!(names(files("in/a.json"), &folders).unwrap(), ["a.json"]);
    for (source, folders, what) in [
        (base("*.json"), &folders[..], "a link that leads out"),
        (files("outside.json"), &folders, "a file outside"),
        (files("in/../outside.json"), &folders, "a way out"),
        (files("in/none.json"), &folders, "no file"),
        (base("*.none"), &folders, "no match"),
        (json!({"type": "local", "baseDir": root.path()}), &folders, "a base outside"),
        (base("*"), &[], "no folder is allowed"),
    ] {
        let problem = names(source, folders).expect_err(what);
        assert_eq!(problem.status.as_u16(), 400, "{what}");
        assert!(problem.hint.is_some() && problem.at.is_some(), "{what}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    let change = |pointer: &str, value: Value| {
        let mut spec = tutorial(inline());
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
        read(&spec, &[]).expect_err(pointer)
    };
    for (pointer, value, at) in [
        ("/type", json!("compact"), "/type"),
        ("/id", json!("a/b"), "/id"),
        ("/id", json!(""), "/id"),
        ("/spec/ioConfig/inputSource", json!({"type": "hdfs"}), "/spec/ioConfig/inputSource/type"),
        ("/spec/ioConfig/inputSource", json!({"type": "inline"}), "/spec/ioConfig/inputSource/data"),
        ("/spec/ioConfig/appendToExistin", json!(true), "/spec/ioConfig/appendToExistin"),
        (
            "/spec/dataSchema/granularitySpec/intervals",
            json!(["never"]),
            "/spec/dataSchema/granularitySpec/intervals/0",
        ),
        ("/spec/dataSchema/granularitySpec/rollup", json!(true), "/spec/dataSchema/granularitySpec/rollup"),
        ("/spec/tuningConfig/partitionsSpec", json!({"type": "round"}), "/spec/tuningConfig/partitionsSpec/type"),
    ] {
        assert_eq!(change(pointer, value).at.as_deref(), Some(at), "{pointer}");
    }
    let mut both = tutorial(inline());
    both["spec"]["ioConfig"]["appendToExisting"] = json!(true);
    both["spec"]["ioConfig"]["dropExisting"] = json!(true);
    assert!(read(&both, &[]).unwrap_err().message.contains("dropExisting"));
}

#[test]
fn every_spec_of_the_documentation_is_understood() {
    let text = include_str!("../../../../docs/ingestion.md");
    let blocks: Vec<&str> =
        text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(blocks.len() >= 3, "{}", blocks.len());
    for block in blocks {
        let kind = serde_json::from_str::<Value>(block).unwrap()["type"].clone();
        match kind.as_str() {
            Some("kafka") => drop(super::super::spec::parse(block.as_bytes()).unwrap()),
            _ => drop(parse(block.as_bytes(), &[]).unwrap()),
        }
    }
}
