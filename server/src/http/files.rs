//! `GET /api/v1/tables/{t}/files`: the sealed segments of a table as files that other programs read.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use freshet_segment::catalog::SegmentRow;
use serde_json::{Value, json};

use super::reply::Problem;
use super::tables;
use crate::node::Node;

/// The Parquet files of the segments that are official now, all of one commit.
pub async fn files(State(node): State<Arc<Node>>, Path(table): Path<String>) -> Result<Json<Value>, Problem> {
    let view = tables::find(&node, &table)?;
    let reading = node.catalog.reading(view.table_id).await?;
    let files: Vec<Value> = reading.segments.iter().map(|row| describe(&node, row)).collect();
    Ok(Json(json!({"table": table, "commitSeq": reading.commit_seq, "files": files})))
}

fn describe(node: &Node, row: &SegmentRow) -> Value {
    let (segment, file) = (&row.segment, &row.segment.files.parquet);
    let interval = &segment.id.interval;
    json!({
        "segment": segment.id.to_string(),
        "path": node.deep_place.location(&file.path),
        "rows": segment.rows,
        "bytes": file.bytes,
        "interval": format!("{}/{}", interval.start().to_iso(), interval.end().to_iso()),
        "minTime": segment.time_range.0.to_iso(),
        "maxTime": segment.time_range.1.to_iso(),
        "sha256": hex(&file.sha256),
    })
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_written_as_other_programs_write_them() {
        assert_eq!(super::hex(&[0, 0x0f, 0xa0, 0xff]), "000fa0ff");
    }
}
