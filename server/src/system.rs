//! What the tables of `sys` tell beyond a reading: lost ranges from the catalog; rejected rows, tasks and supervisors from
//! ingestion; this process itself.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use freshet_ingest::dead_letter::DeadLetter;
use freshet_ingest::spec::SourceSpec;
use freshet_ingest::{Ingest, IngestError};
use freshet_query::{DataGapRow, DeadLetterRow, ServerRow, SupervisorRow, SystemSource, TaskRow};
use freshet_segment::catalog::Catalog;
use freshet_segment::error::SegmentError;
use freshet_segment::time::Timestamp;
use freshet_segment::timeline::Timeline;
use parking_lot::Mutex;

use crate::druid::shown;
use crate::node::Stranded;

/// The parts that know.
pub struct System {
    /// Lost ranges, and the names of tables.
    pub catalog: Arc<dyn Catalog>,
    /// Which tables there are.
    pub timeline: Arc<Timeline>,
    /// Rejected rows.
    pub ingest: Arc<Ingest>,
    /// Supervisors that did not come back.
    pub stranded: Arc<Mutex<BTreeMap<String, Stranded>>>,
    /// Where this process listens.
    pub address: SocketAddr,
    /// When it started.
    pub started: Timestamp,
    /// Threads that compute queries.
    pub processors: usize,
    /// The memory it was given.
    pub memory_bytes: u64,
}

/// The Druid version whose contract is spoken; clients look at it.
pub const DRUID_VERSION: &str = "33.0.0";
/// Druid's name of a process that holds segments. This one does everything else as well; it is one row, because a join with
/// what it holds would count each thing once a row.
const SERVER_TYPE: &str = "historical";
/// Druid's name of the only tier.
const TIER: &str = "_default_tier";

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("System")
    }
}

#[async_trait]
impl SystemSource for System {
    async fn data_gaps(&self) -> Result<Vec<DataGapRow>, SegmentError> {
        let tables = self.catalog.tables().await?;
        let names: HashMap<_, _> = tables.iter().map(|row| (row.id, row.name.as_str())).collect();
        let gaps = self.catalog.data_gaps(None).await?;
        let row = |gap: freshet_segment::catalog::DataGap| DataGapRow {
            table: names.get(&gap.table).map_or_else(|| gap.table.to_string(), |name| (*name).to_owned()),
            stream: gap.stream.to_string(),
            partition: gap.partition,
            from: gap.from,
            to: gap.to,
            reason: gap.reason,
            at: gap.at,
        };
        Ok(gaps.into_iter().map(row).collect())
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetterRow>, SegmentError> {
        let reading = self.timeline.reading();
        let mut rows = Vec::new();
        for name in reading.table_names() {
            let kept = self.ingest.dead_letters(name.as_str(), usize::MAX).await.map_err(refused)?;
            rows.extend(kept.letters.into_iter().map(|letter| {
                let (source, position) = place(&letter);
                DeadLetterRow {
                    table: name.to_string(),
                    at: letter.time,
                    source,
                    position,
                    raw: letter.raw_text(),
                    place: letter.at,
                    reason: letter.reason,
                    hint: letter.hint,
                    row_stored: letter.row_stored,
                }
            }));
        }
        Ok(rows)
    }

    fn servers(&self) -> Vec<ServerRow> {
        let reading = self.timeline.reading();
        vec![ServerRow {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            server_type: SERVER_TYPE.to_owned(),
            tier: TIER.to_owned(),
            used_bytes: reading.tables().iter().map(|view| view.stored_bytes()).sum(),
            bytes_max: 0,
            is_leader: Some(true),
            started: self.started,
            version: DRUID_VERSION.to_owned(),
            processors: u64::try_from(self.processors).unwrap_or(u64::MAX),
            memory_bytes: self.memory_bytes,
        }]
    }

    fn tasks(&self) -> Vec<TaskRow> {
        let row = |id: String, group: String, kind: &str, table: &str, created| TaskRow {
            id,
            group,
            kind: kind.to_owned(),
            table: table.to_owned(),
            created,
            host: self.address.ip().to_string(),
            port: self.address.port(),
        };
        let mut rows = Vec::new();
        for id in self.ingest.supervisor_ids() {
            // One that ends in this moment is left out.
            let Ok(status) = self.ingest.status(&id) else { continue };
            rows.extend(status.tasks.into_iter().map(|task| {
                row(task.id, format!("index_kafka_{id}"), "index_kafka", status.table.as_str(), task.started)
            }));
        }
        rows.extend(self.ingest.push_tasks().into_iter().map(|task| {
            let id = format!("push_{}", task.table);
            row(id.clone(), id, "push", task.table.as_str(), task.started)
        }));
        rows
    }

    fn supervisors(&self) -> Vec<SupervisorRow> {
        let mut rows = Vec::new();
        for id in self.ingest.supervisor_ids() {
            let Ok(view) = self.ingest.supervisor(&id) else { continue };
            rows.push(SupervisorRow {
                id,
                table: view.spec.table.to_string(),
                state: view.state.name().to_owned(),
                detailed_state: view.detailed_state.name().to_owned(),
                healthy: view.healthy,
                kind: "kafka".to_owned(),
                source: shown::source(&view).to_owned(),
                suspended: view.suspended,
                spec: shown::spec(&view).to_string(),
            });
        }
        let stranded = self.stranded.lock().clone();
        for (id, stranded) in stranded {
            // Posted anew it runs, whatever became of it before.
            if rows.iter().any(|row| row.id == id) {
                continue;
            }
            rows.push(SupervisorRow {
                id,
                table: stranded.row.table.to_string(),
                state: Stranded::STATE.to_owned(),
                detailed_state: Stranded::DETAILED_STATE.to_owned(),
                healthy: false,
                kind: "kafka".to_owned(),
                source: String::new(),
                suspended: stranded.row.suspended,
                spec: shown::kept(&stranded.row.spec).to_string(),
            });
        }
        rows
    }
}

fn refused(error: IngestError) -> SegmentError {
    match error {
        IngestError::Segment(error) => error,
        other => SegmentError::unavailable("the list of rejected rows", other.to_string()),
    }
}

/// Id and topic of the supervisors that write a table.
#[must_use]
pub fn supervisors_of(ingest: &Ingest, table: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for id in ingest.supervisor_ids() {
        // One that ends in this moment is left out.
        if let Ok(view) = ingest.supervisor(&id)
            && view.spec.table.as_str() == table
        {
            let SourceSpec::Kafka(kafka) = &view.spec.source;
            found.push((id, kafka.topic.clone()));
        }
    }
    found
}

/// Who sent a letter's record, and where it stands there: in a topic, or in the push that the journal had under this number. The
/// row's place in its record matters where a record holds several.
#[must_use]
pub fn place(letter: &DeadLetter) -> (String, String) {
    let DeadLetter { stream, partition, offset, row, .. } = letter;
    match stream.strip_prefix("kafka:").and_then(|stream| stream.rsplit_once(':')) {
        Some((id, topic)) => (format!("kafka:{id}"), format!("{topic}:{partition}@{offset}")),
        None => ("push".to_owned(), format!("push {offset}, row {}", row + 1)),
    }
}

#[cfg(test)]
mod tests {
    use freshet_segment::time::Timestamp;

    use super::*;

    #[test]
    fn a_letter_says_where_its_record_stands() {
        let letter = |stream: &str| DeadLetter {
            time: Timestamp::from_millis(0),
            stream: stream.into(),
            partition: 3,
            offset: 17,
            row: 1,
            at: None,
            reason: String::new(),
            hint: None,
            row_stored: false,
            raw: Default::default(),
        };
        let shown = |stream: &str| {
            let (source, position) = place(&letter(stream));
            format!("{source} | {position}")
        };
        assert_eq!(shown("kafka:a:b:topic"), "kafka:a:b | topic:3@17", "a topic has no colon");
        assert_eq!(shown("push/0123"), "push | push 17, row 2");
    }
}
