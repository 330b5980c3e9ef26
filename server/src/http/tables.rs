//! Tables as the page and scripts see them: size, time range, freshness, columns, rejected rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use freshet_ingest::counts::Counts;
use freshet_segment::schema::{Column, ColumnRole, ColumnType};
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::{SegmentEntry, TableView};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::Problem;
use crate::demo;
use crate::nearest::did_you_mean;
use crate::node::Node;
use crate::system::{self, supervisors_of};

/// Dead letters given when the request names no number, and at most.
const LETTERS_DEFAULT: usize = 100;
const LETTERS_MAX: usize = 10_000;

/// `GET /api/v1/tables`.
pub async fn list(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(describe_all(&node))
}

/// `GET /druid/v2/datasources`.
pub async fn names(State(node): State<Arc<Node>>) -> Json<Vec<String>> {
    let mut names: Vec<String> =
        node.timeline.reading().tables().iter().map(|view| view.name.as_str().to_owned()).collect();
    names.sort_unstable();
    Json(names)
}

/// `GET /druid/v2/datasources/{t}`: names of the columns, without the time.
pub async fn names_of_columns(
    State(node): State<Arc<Node>>,
    Path(table): Path<String>,
) -> Result<Json<Value>, Problem> {
    let view = find(&node, &table)?;
    let of = |role| names_of(&view, role);
    Ok(Json(json!({"dimensions": of(ColumnRole::Dimension), "metrics": of(ColumnRole::Metric)})))
}

/// `GET /druid/v2/datasources/{t}/dimensions`.
pub async fn dimensions(
    State(node): State<Arc<Node>>,
    Path(table): Path<String>,
) -> Result<Json<Vec<String>>, Problem> {
    let view = find(&node, &table)?;
    Ok(Json(names_of(&view, ColumnRole::Dimension)))
}

/// `GET /druid/v2/datasources/{t}/metrics`.
pub async fn metrics(State(node): State<Arc<Node>>, Path(table): Path<String>) -> Result<Json<Vec<String>>, Problem> {
    let view = find(&node, &table)?;
    Ok(Json(names_of(&view, ColumnRole::Metric)))
}

fn names_of(view: &TableView, role: ColumnRole) -> Vec<String> {
    view.schema.columns().iter().filter(|column| column.role == role).map(|column| column.name.to_string()).collect()
}

/// `GET /api/v1/tables/{t}`.
pub async fn one(State(node): State<Arc<Node>>, Path(table): Path<String>) -> Result<Json<Value>, Problem> {
    let view = find(&node, &table)?;
    Ok(Json(describe(&node, &view)))
}

/// Drops a table, as a client asked. The demo's table takes the demo with it, because the stream would make it again at once.
///
/// # Errors
/// 404; 409 while a supervisor writes it.
pub async fn drop(node: Arc<Node>, table: &str) -> Result<Json<Value>, Problem> {
    find(&node, table)?;
    if table == demo::TABLE {
        node.demo.stop().await;
    }
    drop_now(&node, table).await?;
    Ok(Json(json!({"table": table, "dropped": true})))
}

/// Drops a table and what is remembered of it.
///
/// # Errors
/// 409 while a supervisor writes it.
pub async fn drop_now(node: &Node, table: &str) -> Result<(), Problem> {
    node.ingest.drop_table(table).await?;
    node.marks.forget(table);
    Ok(())
}

/// `GET /api/v1/tables/{t}/columns`.
pub async fn columns(State(node): State<Arc<Node>>, Path(table): Path<String>) -> Result<Json<Value>, Problem> {
    let view = find(&node, &table)?;
    // Counting opens sealed segments.
    let columns = tokio::task::spawn_blocking(move || describe_columns(&view)).await;
    let columns = columns.map_err(|_| Problem::internal("columns could not be counted"))?;
    Ok(Json(json!({"columns": columns})))
}

fn describe_columns(view: &TableView) -> Vec<Value> {
    view.schema
        .columns()
        .iter()
        .map(|column| {
            json!({
                "name": &*column.name,
                "type": column.column_type.name(),
                "sqlType": sql_type(column.column_type),
                "role": match column.role {
                    ColumnRole::Time => "time",
                    ColumnRole::Dimension => "dimension",
                    ColumnRole::Metric => "metric",
                },
                "cardinality": cardinality(view, column),
                "multiValue": column.multi_value,
            })
        })
        .collect()
}

/// Parameters of the dead letters.
#[derive(Debug, Deserialize)]
pub struct Letters {
    limit: Option<usize>,
}

/// `GET /api/v1/tables/{t}/dead-letters`. A table that rejected every row so far may not exist yet; its letters do.
pub async fn dead_letters(
    State(node): State<Arc<Node>>,
    Path(table): Path<String>,
    Query(asked): Query<Letters>,
) -> Result<Json<Value>, Problem> {
    let limit = asked.limit.unwrap_or(LETTERS_DEFAULT);
    if limit > LETTERS_MAX {
        return Err(Problem::invalid(format!("limit is {limit}, and at most {LETTERS_MAX} are given")).at("limit"));
    }
    let letters = node.ingest.dead_letters(&table, limit).await?;
    if letters.total == 0 {
        find(&node, &table)?;
    }
    let list: Vec<Value> = letters
        .letters
        .iter()
        .map(|letter| {
            let (source, position) = system::place(letter);
            json!({
                "at": letter.time.to_iso(),
                "source": source,
                "position": position,
                "place": letter.at,
                "reason": letter.reason,
                "hint": letter.hint,
                "rowStored": letter.row_stored,
                "raw": letter.raw_text(),
            })
        })
        .collect();
    Ok(Json(json!({"total": letters.total, "kept": letters.kept, "letters": list})))
}

/// The body of `GET /api/v1/tables`, also for live subscriptions.
#[must_use]
pub fn describe_all(node: &Node) -> Value {
    let mut views = node.timeline.reading().tables();
    views.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    let tables: Vec<Value> = views.iter().map(|view| describe(node, view)).collect();
    json!({"tables": tables})
}

fn describe(node: &Node, view: &TableView) -> Value {
    let name = view.name.as_str();
    let range = view.time_range();
    let sealed = view.segments().filter(|entry| entry.segment.is_sealed());
    let (sealed_segments, sealed_rows) =
        sealed.fold((0_u64, 0_u64), |(count, rows), entry| (count + 1, rows + entry.segment.rows() as u64));
    let monotonic = node.clock.monotonic();
    let timeline = node.timeline.table(name);
    let summary = timeline.as_ref().map(|timeline| timeline.freshness().summary(monotonic));
    let measured = summary.filter(|summary| summary.count > 0);
    let last_visible = timeline.and_then(|timeline| timeline.freshness().last_visible());
    let counts = node.ingest.table_counts(name);
    let mut sources: Vec<String> =
        supervisors_of(&node.ingest, name).into_iter().map(|(id, _)| format!("kafka:{id}")).collect();
    let mark = node.marks.look(name, counts.stored, monotonic);
    let push = node.ingest.push_status(name);
    if mark.pushed || push.is_some() {
        sources.push("push".to_owned());
    }
    let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
    json!({
        "name": name,
        "rows": view.rows(),
        "sealedRows": sealed_rows,
        "growingRows": view.rows() - sealed_rows,
        "bytes": view.bytes(),
        "storedBytes": view.stored_bytes(),
        "segments": view.segments().count(),
        "sealedSegments": sealed_segments,
        "recovering": view.unready.as_ref().map(|unready| &*unready.why),
        "minTime": range.map(|(min, _)| min.to_iso()),
        "maxTime": range.map(|(_, max)| max.to_iso()),
        "rowsPerSecond": mark.rows_per_second,
        "freshness": {
            "p50Ms": measured.map(|summary| summary.p50_ms),
            "p99Ms": measured.map(|summary| summary.p99_ms),
            "count": measured.map_or(0, |summary| summary.count),
            "lastVisibleAt": millis(last_visible),
            "lastProducedAt": millis(view.produced_max),
        },
        "sources": sources,
        "rejected": counts.rejected,
        "counts": counts_json(&counts),
        "push": push.map(|push| json!({
            "counts": counts_json(&push.counts),
            "unpublished": counts_json(&push.unpublished),
            "timeColumn": push.time_column,
            "cause": push.cause,
        })),
        "seq": view.seq,
    })
}

/// What became of rows: `read` is the sum of the five after it.
#[must_use]
pub fn counts_json(counts: &Counts) -> Value {
    json!({
        "read": counts.read,
        "stored": counts.stored,
        "filtered": counts.filtered,
        "rejected": counts.rejected,
        "late": counts.late,
        "duplicate": counts.duplicate,
        "processedWithError": counts.processed_with_error,
        "bytes": counts.bytes,
    })
}

/// The view of a table.
///
/// # Errors
/// 404 with the nearest name.
pub fn find(node: &Node, table: &str) -> Result<Arc<TableView>, Problem> {
    let reading = node.timeline.reading();
    if let Some(view) = reading.table(table) {
        return Ok(view);
    }
    let known = reading.tables();
    let shown: String = table.chars().take(200).collect();
    let near = did_you_mean(table, known.iter().map(|view| view.name.as_str()));
    Err(Problem::not_found(format!("table `{shown}` does not exist{near}"))
        .hint("GET /api/v1/tables lists the tables; a push makes a new one"))
}

/// The sum over segments: an upper bound, exact when there is one. Known for text only.
fn cardinality(view: &TableView, column: &Column) -> Option<usize> {
    if !matches!(column.column_type, ColumnType::String | ColumnType::Json) {
        return None;
    }
    let of_segment = |entry: &SegmentEntry| match entry.segment.cardinality(&column.name) {
        // Files that cannot be read now: the number is not known.
        None if entry.segment.is_sealed() => None,
        // A segment without the column has no value of it.
        known => Some(known.unwrap_or(0)),
    };
    view.segments().map(of_segment).sum()
}

fn sql_type(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Long => "BIGINT",
        ColumnType::Double => "DOUBLE",
        ColumnType::Float => "FLOAT",
        ColumnType::String => "VARCHAR",
        ColumnType::Timestamp => "TIMESTAMP",
        ColumnType::Json => "OTHER",
    }
}

/// What looks at tables remember between them: the rate of the last seconds, and who pushed.
///
/// A look adds a sample when the last one is old enough; the rate is the slope from the oldest sample kept. Nobody looking costs
/// nothing.
#[derive(Debug, Default)]
pub struct Marks {
    tables: Mutex<HashMap<String, Mark>>,
    pushed: Mutex<HashSet<String>>,
}

#[derive(Debug, Default)]
struct Mark {
    samples: Vec<(Duration, u64)>,
}

struct Look {
    rows_per_second: f64,
    pushed: bool,
}

impl Marks {
    /// How far back a rate looks.
    const WINDOW: Duration = Duration::from_secs(5);
    /// Least time between two samples.
    const STEP: Duration = Duration::from_millis(500);

    /// Remembers that rows of a table were pushed.
    pub fn push(&self, table: &str) {
        let mut pushed = self.pushed.lock();
        if !pushed.contains(table) {
            pushed.insert(table.to_owned());
        }
    }

    fn look(&self, table: &str, stored: u64, monotonic: Duration) -> Look {
        let pushed = self.pushed.lock().contains(table);
        let mut tables = self.tables.lock();
        let mark = tables.entry(table.to_owned()).or_default();
        Look { rows_per_second: mark.rate(stored, monotonic), pushed }
    }

    fn forget(&self, table: &str) {
        self.tables.lock().remove(table);
        self.pushed.lock().remove(table);
    }
}

impl Mark {
    fn rate(&mut self, stored: u64, now: Duration) -> f64 {
        let samples = &mut self.samples;
        let last = samples.last().copied();
        if last.is_some_and(|(_, before)| before > stored) {
            // Dropped and made again.
            samples.clear();
        }
        if samples.last().is_none_or(|(at, _)| now.saturating_sub(*at) >= Marks::STEP) {
            samples.push((now, stored));
        }
        // One sample older than the window stays, so that there is always a span to divide by.
        while samples.len() > 2 && samples.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= Marks::WINDOW) {
            samples.remove(0);
        }
        let Some((at, before)) = samples.first().copied() else { return 0.0 };
        let span = now.saturating_sub(at).as_secs_f64();
        if span < Marks::STEP.as_secs_f64() / 2.0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = stored.saturating_sub(before) as f64 / span;
        (rate * 10.0).round() / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_slope_of_the_last_seconds() {
        let mut mark = Mark::default();
        let at = Duration::from_millis;
        assert!(mark.rate(1_000, at(0)).abs() < f64::EPSILON);
        for second in 1..=20 {
            let rate = mark.rate(1_000 + 200 * second, at(1_000 * second));
            assert!((rate - 200.0).abs() < 0.1, "{rate}");
        }
        let mut last = 200.0;
        for second in 21..=30 {
            let rate = mark.rate(5_000, at(1_000 * second));
            assert!(rate <= last, "{rate}");
            last = rate;
        }
        assert!(last.abs() < f64::EPSILON, "{last}");
        assert!(mark.rate(10, at(31_000)).abs() < f64::EPSILON, "a new table of the same name begins at nothing");
    }

    #[test]
    fn who_pushed_is_known_until_the_table_is_dropped() {
        let marks = Marks::default();
        assert!(!marks.look("t", 0, Duration::ZERO).pushed);
        marks.push("t");
        assert!(marks.look("t", 0, Duration::ZERO).pushed);
        marks.forget("t");
        assert!(!marks.look("t", 0, Duration::ZERO).pushed);
    }
}
