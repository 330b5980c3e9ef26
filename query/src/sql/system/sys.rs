//! `sys`: segments, servers, tasks, supervisors, lost ranges and rejected rows as tables.
//!
//! `sys.segments` is what the query's own reading shows, so it fits the tables it is joined with. The others are values that
//! the server hands in when a query asks for them ([`SystemSource`]): this crate knows neither catalog nor ingestion.

use freshet_segment::schema::{ColumnRole, TableSchema};
use freshet_segment::timeline::{Reading, SegmentEntry, TableView};
use serde_json::json;

use super::source::{DataGapRow, DeadLetterRow, ServerRow, SupervisorRow, SystemSource, TaskRow};
use super::{Cell, Rows};
use crate::error::{QueryError, Result};

/// The schema of these tables.
pub(crate) const SYS: &str = "sys";
/// Their names.
pub(crate) const SYS_NAMES: [&str; 7] =
    ["data_gaps", "dead_letters", "segments", "server_segments", "servers", "supervisors", "tasks"];

/// Columns of a table and those of them that hold numbers.
pub(super) fn shape(table: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match table {
        "data_gaps" => (DATA_GAPS, DATA_GAPS_LONGS),
        "dead_letters" => (DEAD_LETTERS, DEAD_LETTERS_LONGS),
        "segments" => (SEGMENTS, SEGMENTS_LONGS),
        "server_segments" => (SERVER_SEGMENTS, &[]),
        "servers" => (SERVERS, SERVERS_LONGS),
        "supervisors" => (SUPERVISORS, SUPERVISORS_LONGS),
        "tasks" => (TASKS, TASKS_LONGS),
        _ => (&[], &[]),
    }
}

/// The rows of a table; `None` when there is none of this name. Without a source only segments are known.
///
/// # Errors
/// Of whoever keeps the rows.
pub(super) async fn rows(table: &str, reading: &Reading, source: Option<&dyn SystemSource>) -> Result<Option<Rows>> {
    let cells = match (table, source) {
        ("segments", _) => segments(reading),
        (_, None) if SYS_NAMES.contains(&table) => Vec::new(),
        ("data_gaps", Some(source)) => {
            source.data_gaps().await.map_err(QueryError::Segment)?.into_iter().map(data_gap).collect()
        }
        ("dead_letters", Some(source)) => {
            source.dead_letters().await.map_err(QueryError::Segment)?.into_iter().map(dead_letter).collect()
        }
        ("server_segments", Some(source)) => server_segments(reading, &source.servers()),
        ("servers", Some(source)) => source.servers().into_iter().map(server).collect(),
        ("supervisors", Some(source)) => source.supervisors().into_iter().map(supervisor).collect(),
        ("tasks", Some(source)) => source.tasks().into_iter().map(task).collect(),
        _ => return Ok(None),
    };
    let (names, longs) = shape(table);
    Ok(Some(Rows { names, longs, cells }))
}

const SEGMENTS: &[&str] = &[
    "segment_id",
    "datasource",
    "start",
    "end",
    "size",
    "version",
    "partition_num",
    "num_replicas",
    "num_rows",
    "is_active",
    "is_published",
    "is_available",
    "is_realtime",
    "is_overshadowed",
    "shard_spec",
    "dimensions",
    "metrics",
    "projections",
    "last_compaction_state",
    "replication_factor",
];
const SEGMENTS_LONGS: &[&str] = &[
    "size",
    "partition_num",
    "num_replicas",
    "num_rows",
    "is_active",
    "is_published",
    "is_available",
    "is_realtime",
    "is_overshadowed",
    "replication_factor",
];
const DATA_GAPS: &[&str] = &["datasource", "stream", "partition", "from_offset", "to_offset", "reason", "found_at"];
const DATA_GAPS_LONGS: &[&str] = &["partition", "from_offset", "to_offset"];
const DEAD_LETTERS: &[&str] =
    &["datasource", "refused_at", "source", "position", "place", "reason", "hint", "row_stored", "raw"];
const DEAD_LETTERS_LONGS: &[&str] = &["row_stored"];
const SERVER_SEGMENTS: &[&str] = &["server", "segment_id"];
const SERVERS: &[&str] = &[
    "server",
    "host",
    "plaintext_port",
    "tls_port",
    "server_type",
    "tier",
    "curr_size",
    "max_size",
    "storage_size",
    "is_leader",
    "start_time",
    "version",
    "build_revision",
    "labels",
    "available_processors",
    "total_memory",
];
const SERVERS_LONGS: &[&str] = &[
    "plaintext_port",
    "tls_port",
    "curr_size",
    "max_size",
    "storage_size",
    "is_leader",
    "available_processors",
    "total_memory",
];
const SUPERVISORS: &[&str] =
    &["supervisor_id", "datasource", "state", "detailed_state", "healthy", "type", "source", "suspended", "spec"];
const SUPERVISORS_LONGS: &[&str] = &["healthy", "suspended"];
const TASKS: &[&str] = &[
    "task_id",
    "group_id",
    "type",
    "datasource",
    "created_time",
    "queue_insertion_time",
    "status",
    "runner_status",
    "duration",
    "location",
    "host",
    "plaintext_port",
    "tls_port",
    "error_msg",
];
const TASKS_LONGS: &[&str] = &["duration", "plaintext_port", "tls_port"];

fn long(value: u64) -> Cell {
    Cell::Long(i64::try_from(value).ok())
}

fn flag(value: bool) -> Cell {
    Cell::Long(Some(i64::from(value)))
}

fn text(value: String) -> Cell {
    Cell::Text(Some(value))
}

/// Druid's port where nothing listens.
const NO_PORT: Cell = Cell::Long(Some(-1));

/// One row a visible segment. A growing segment has no file yet, so its size is 0, as in Druid.
fn segments(reading: &Reading) -> Vec<Vec<Cell>> {
    let mut cells = Vec::new();
    for view in reading.tables() {
        let names = |wanted: ColumnRole| names(&view.schema, wanted);
        let (dimensions, metrics) = (names(ColumnRole::Dimension), names(ColumnRole::Metric));
        cells.extend(view.segments().map(|entry| segment(&view, entry, &dimensions, &metrics)));
    }
    cells
}

fn segment(view: &TableView, entry: &SegmentEntry, dimensions: &str, metrics: &str) -> Vec<Cell> {
    let sealed = entry.segment.is_sealed();
    vec![
        Cell::Text(Some(entry.id.to_string())),
        view.name.as_str().into(),
        Cell::Text(Some(entry.id.interval.start().to_iso())),
        Cell::Text(Some(entry.id.interval.end().to_iso())),
        long(entry.segment.stored_bytes()),
        entry.id.version.as_str().into(),
        long(u64::from(entry.id.number)),
        long(1),
        long(entry.segment.rows() as u64),
        flag(true),
        flag(sealed),
        flag(true),
        flag(!sealed),
        flag(false),
        text(json!({"type": "numbered", "partitionNum": entry.id.number, "partitions": 0}).to_string()),
        dimensions.into(),
        metrics.into(),
        Cell::Text(None),
        Cell::Text(None),
        long(1),
    ]
}

/// Names of the columns of a role, as a JSON array.
fn names(schema: &TableSchema, role: ColumnRole) -> String {
    let names: Vec<&str> = schema.columns().iter().filter(|c| c.role == role).map(|c| &*c.name).collect();
    serde_json::Value::from(names).to_string()
}

fn data_gap(gap: DataGapRow) -> Vec<Cell> {
    vec![
        text(gap.table),
        text(gap.stream),
        Cell::Long(Some(i64::from(gap.partition))),
        Cell::Long(Some(gap.from)),
        Cell::Long(Some(gap.to)),
        text(gap.reason),
        text(gap.at.to_iso()),
    ]
}

fn dead_letter(letter: DeadLetterRow) -> Vec<Cell> {
    vec![
        text(letter.table),
        text(letter.at.to_iso()),
        text(letter.source),
        text(letter.position),
        Cell::Text(letter.place),
        text(letter.reason),
        Cell::Text(letter.hint),
        flag(letter.row_stored),
        text(letter.raw),
    ]
}

/// Every visible segment is on every server: there is one.
fn server_segments(reading: &Reading, servers: &[ServerRow]) -> Vec<Vec<Cell>> {
    let segments: Vec<String> = reading
        .tables()
        .iter()
        .flat_map(|view| view.segments().map(|entry| entry.id.to_string()).collect::<Vec<_>>())
        .collect();
    let of = |server: &ServerRow| {
        let name = server.name();
        segments.iter().map(move |segment| vec![text(name.clone()), text(segment.clone())]).collect::<Vec<_>>()
    };
    servers.iter().flat_map(of).collect()
}

fn server(server: ServerRow) -> Vec<Cell> {
    vec![
        text(server.name()),
        text(server.host),
        long(u64::from(server.port)),
        NO_PORT,
        text(server.server_type),
        text(server.tier),
        long(server.used_bytes),
        long(server.bytes_max),
        long(server.used_bytes),
        Cell::Long(server.is_leader.map(i64::from)),
        text(server.started.to_iso()),
        text(server.version),
        Cell::Text(None),
        Cell::Text(None),
        long(server.processors),
        long(server.memory_bytes),
    ]
}

fn supervisor(supervisor: SupervisorRow) -> Vec<Cell> {
    vec![
        text(supervisor.id),
        text(supervisor.table),
        text(supervisor.state),
        text(supervisor.detailed_state),
        flag(supervisor.healthy),
        text(supervisor.kind),
        text(supervisor.source),
        flag(supervisor.suspended),
        text(supervisor.spec),
    ]
}

/// Only running tasks are listed, so there is no time that they took and no error.
fn task(task: TaskRow) -> Vec<Cell> {
    vec![
        text(task.id),
        text(task.group),
        text(task.kind),
        text(task.table),
        text(task.created.to_iso()),
        text(task.created.to_iso()),
        "RUNNING".into(),
        "RUNNING".into(),
        long(0),
        text(format!("{}:{}", task.host, task.port)),
        text(task.host),
        long(u64::from(task.port)),
        NO_PORT,
        Cell::Text(None),
    ]
}
