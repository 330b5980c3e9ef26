//! What the tables of `sys` tell beyond a reading: lost ranges from the catalog, rejected rows from ingestion.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use freshet_ingest::Ingest;
use freshet_ingest::dead_letter::{DeadLetter, Origin};
use freshet_ingest::spec::SourceSpec;
use freshet_query::{DataGapRow, DeadLetterRow, SystemSource};
use freshet_segment::catalog::Catalog;
use freshet_segment::error::SegmentError;
use freshet_segment::timeline::Timeline;

/// The parts that know.
pub struct System {
    /// Lost ranges, and the names of tables.
    pub catalog: Arc<dyn Catalog>,
    /// Which tables there are.
    pub timeline: Arc<Timeline>,
    /// Rejected rows.
    pub ingest: Arc<Ingest>,
}

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

    fn dead_letters(&self) -> Vec<DeadLetterRow> {
        let reading = self.timeline.reading();
        let mut rows = Vec::new();
        for name in reading.table_names() {
            let streams = supervisors_of(&self.ingest, name.as_str());
            let letters = self.ingest.dead_letters(name.as_str(), usize::MAX).letters;
            rows.extend(letters.into_iter().map(|letter| {
                let (source, position) = place(&letter, streams.first());
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
        rows
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

/// Who sent a letter's record, and where it stands there. The row's place in its record matters where a record holds several.
#[must_use]
pub fn place(letter: &DeadLetter, supervisor: Option<&(String, String)>) -> (String, String) {
    match (&letter.origin, supervisor) {
        (Origin::Push, _) => ("push".to_owned(), format!("row {}", letter.row + 1)),
        (Origin::Stream { partition, offset }, Some((id, topic))) => {
            (format!("kafka:{id}"), format!("{topic}:{partition}@{offset}"))
        }
        (Origin::Stream { partition, offset }, None) => ("kafka".to_owned(), format!("{partition}@{offset}")),
    }
}
