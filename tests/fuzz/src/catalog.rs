//! Copies of a catalog of any content: `flags u8 | lines`. Unless flag 1 says otherwise the hash of each line that is one is made
//! to match, and so is the count at the end.

use freshet_segment::ErrorKind;
use freshet_segment::catalog::Catalog;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::Target;
use crate::catalog_source::{copy, empty, next_table, runtime, state};

/// The target.
pub const TARGET: Target = Target { run, seeds, memory: (64 << 20, 4096), foreign_panics: false };

fn run(data: &[u8]) {
    let Some((flags, lines)) = data.split_first() else { return };
    let copy = if flags & 1 == 0 { match_sums(lines) } else { lines.to_vec() };
    runtime().block_on(async {
        let catalog = empty();
        if let Err(refused) = catalog.rebuild(&copy).await {
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
            assert_eq!(catalog.last_commit().await.expect("readable"), 0, "what is refused leaves nothing");
            assert_eq!(state(&catalog).await.expect("readable"), state(&empty()).await.expect("readable"));
            return;
        }
        assert_eq!(catalog.check().await.expect("readable"), Vec::<String>::new());
        let rebuilt = state(&catalog).await.expect("what passes its check can be read");
        // A copy of the copy is the same again.
        let again = empty();
        again.rebuild(&catalog.export().await.expect("sound")).await.expect("its own copy");
        assert_eq!(state(&again).await.expect("readable"), rebuilt);
        // It can be written to, unless its numbers are used up.
        let tables = catalog.tables().await.expect("readable");
        match next_table(&catalog).await {
            Ok(next) => assert!(tables.iter().all(|table| table.id < next), "a table's number is given twice"),
            Err(failed) => {
                assert!(matches!(failed.kind(), ErrorKind::Conflict | ErrorKind::Exhausted), "{failed}");
            }
        }
        assert_eq!(catalog.check().await.expect("readable"), Vec::<String>::new());
    });
}

/// Gives every line the hash, and the end the count, that it should have.
fn match_sums(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rows = 0u64;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(mut json) = serde_json::from_slice::<Json>(line) else {
            out.extend(line);
            out.push(b'\n');
            continue;
        };
        if let Some(sum) = json.get("row").and_then(sum_of) {
            json["sum"] = json!(sum);
            rows += 1;
        } else if let (Some(seq), Some(log)) = (json.get("log").and_then(Json::as_u64), json.get("rows")) {
            json["sum"] = json!(first_8(&Sha256::digest(format!("{seq} {log}"))));
        } else if json.get("end").is_some() {
            json["end"] = json!(rows);
        }
        out.extend(json.to_string().bytes());
        out.push(b'\n');
    }
    out
}

fn sum_of(row: &Json) -> Option<u64> {
    let (name, values) = row.as_array()?.split_first()?;
    let mut hash = Sha256::new();
    hash.update(name.as_str()?);
    for value in values {
        match value {
            Json::Null => hash.update([0]),
            Json::Number(number) => {
                hash.update([1]);
                hash.update(number.as_i64()?.to_le_bytes());
            }
            Json::String(text) => {
                hash.update([2]);
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            _ => return None,
        }
    }
    Some(first_8(&hash.finalize()))
}

fn first_8(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let copy = runtime().block_on(copy());
    let input = |flags: u8, copy: &[u8]| [&[flags], copy].concat();
    vec![
        ("night", input(0, &copy.with_log(0))),
        ("night_and_log", input(0, &copy.with_log(9))),
        ("as_it_is", input(1, &copy.with_log(9))),
        ("log", input(0, &copy.log.concat())),
        ("empty", input(0, b"{\"freshet_catalog\":1}\n{\"end\":0}\n")),
    ]
}
