//! The mark of a partial answer: headers that say what it lacks.
//!
//! `X-Freshet-Partial` lists all of it. `X-Druid-Response-Context` has the missing segments as Druid writes them, for its clients.
//! Headers hold ASCII only and are bounded by what proxies take, so a long list is cut and says how much is not in it.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use freshet_query::Missing;
use serde_json::{Map, Value, json};

const PARTIAL: HeaderName = HeaderName::from_static("x-freshet-partial");
const CONTEXT: HeaderName = HeaderName::from_static("x-druid-response-context");
/// Bytes of a list in a header.
const LIST_BYTES_MAX: usize = 3_000;

/// Marks an answer that lacks something.
pub fn mark(headers: &mut HeaderMap, missing: &[Missing]) {
    if missing.is_empty() {
        return;
    }
    let mut tables = Vec::new();
    let mut segments = Vec::new();
    let mut descriptors = Vec::new();
    for one in missing {
        match one {
            Missing::Rows { table, reason } => tables.push(json!({"table": table, "reason": reason})),
            Missing::Segment(id) => {
                segments.push(json!(id.to_string()));
                let interval = format!("{}/{}", id.interval.start().to_iso(), id.interval.end().to_iso());
                descriptors.push(json!({"itvl": interval, "ver": id.version.as_str(), "part": id.number}));
            }
        }
    }
    let mut list = Map::new();
    list.insert("tables".to_owned(), bounded(&tables, &mut 0));
    let mut cut = 0;
    list.insert("segments".to_owned(), bounded(&segments, &mut cut));
    if cut > 0 {
        list.insert("segmentsNotListed".to_owned(), json!(cut));
    }
    put(headers, PARTIAL, &Value::Object(list));
    if !descriptors.is_empty() {
        put(headers, CONTEXT, &json!({"missingSegments": bounded(&descriptors, &mut 0)}));
    }
}

fn bounded(list: &[Value], cut: &mut usize) -> Value {
    let mut bytes = 0;
    let fitting = list.iter().take_while(|one| {
        bytes += ascii(one).len() + 1;
        bytes <= LIST_BYTES_MAX
    });
    let kept: Vec<Value> = fitting.cloned().collect();
    *cut = list.len() - kept.len();
    Value::Array(kept)
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &Value) {
    if let Ok(value) = HeaderValue::from_str(&ascii(value)) {
        headers.insert(name, value);
    }
}

/// JSON in ASCII.
fn ascii(value: &Value) -> String {
    let mut text = String::new();
    let mut units = [0; 2];
    for one in value.to_string().chars() {
        if one.is_ascii() && !one.is_ascii_control() {
            text.push(one);
        } else {
            for unit in one.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use freshet_segment::id::SegmentId;

    use super::*;

    fn segment(number: u32) -> Missing {
        let text = format!("wörld_2015-09-12T00:00:00.000Z_2015-09-13T00:00:00.000Z_2026-11-20T10:00:00.000Z_{number}");
        Missing::Segment(text.parse::<SegmentId>().unwrap())
    }

    fn read(headers: &HeaderMap, name: HeaderName) -> Value {
        serde_json::from_str(headers.get(name).unwrap().to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_whole_answer_has_no_mark() {
        let mut headers = HeaderMap::new();
        mark(&mut headers, &[]);
        assert!(headers.is_empty());
    }

    #[test]
    fn what_is_missing_is_listed_for_us_and_for_druid() {
        let mut headers = HeaderMap::new();
        mark(&mut headers, &[Missing::Rows { table: "ü".to_owned(), reason: "journal".to_owned() }, segment(7)]);
        let list = read(&headers, PARTIAL);
        assert_eq!(list["tables"], json!([{"table": "ü", "reason": "journal"}]));
        assert!(list["segments"][0].as_str().unwrap().starts_with("wörld_2015-09-12"), "{list}");
        assert_eq!(
            read(&headers, CONTEXT),
            json!({"missingSegments": [{
                "itvl": "2015-09-12T00:00:00.000Z/2015-09-13T00:00:00.000Z", "ver": "2026-11-20T10:00:00.000Z", "part": 7
            }]})
        );
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let missing: Vec<Missing> = (1..=500).map(segment).collect();
        let mut headers = HeaderMap::new();
        mark(&mut headers, &missing);
        let list = read(&headers, PARTIAL);
        let listed = list["segments"].as_array().unwrap().len() as u64;
        assert!(listed > 10 && listed + list["segmentsNotListed"].as_u64().unwrap() == 500, "{listed}");
        assert!(headers.values().all(|value| value.len() < 4_000));
    }
}
