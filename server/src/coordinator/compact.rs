//! Compaction: small and late segments of one interval become one segment with the same rows.
//!
//! ```text
//! view ─▶ plan ─▶ read, sort, write, read back ─▶ same rows? ─▶ store ─▶ commit (rows and sums compared) ─▶ one swap
//! ```
//! Only segments that the timeline shows as sealed are taken: those are published and handed over. If another commit closes
//! one of them meanwhile the attempt is dropped, and its files are left to the cleanup.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use freshet_segment::catalog::{CommitCause, PublishId, Replacement};
use freshet_segment::error::{ErrorKind, SegmentError};
use freshet_segment::failpoint;
use freshet_segment::id::{SegmentId, TableId, Version};
use freshet_segment::schema::TableSchema;
use freshet_segment::sealed::{AttemptId, Layout, Sealed, SealedSegment, Sealing};
use freshet_segment::timeline::{Changed, TableTimeline, TableView, VisibleSegment};

use super::plan::{Candidate, choose};
use super::settle::{Shown, sealed_of};
use super::{Coordinator, REST, REST_MAX, Report, Result};

/// How long a merge that did not work is left alone.
const REFUSED_FOR: Duration = Duration::from_secs(3_600);
/// Least rest after a merge.
const REST_MIN: Duration = Duration::from_millis(200);

/// What compaction remembers between its runs.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Schemas by table and version; a version never changes.
    schemas: HashMap<(TableId, u64), Arc<TableSchema>>,
    /// Segments whose merge failed for a reason of their own, until when (monotonic).
    refused: HashMap<SegmentId, Duration>,
    /// Segments that went into merges.
    pub(super) merged: u64,
}

/// A merge that is worth it.
pub(super) struct Merge {
    table: Arc<TableTimeline>,
    sources: Vec<Shown>,
    schema: Arc<TableSchema>,
}

impl Coordinator {
    /// One merge, or `all` there are.
    pub(super) fn compact(&self, all: bool) -> Result<Report> {
        let (mut merges, mut segments, mut rows, mut dropped) = (0u64, 0u64, 0u64, 0u64);
        let began = self.parts.clock.monotonic();
        while let Some(merge) = self.next_merge() {
            match self.merge(&merge) {
                Ok(()) => {
                    merges += 1;
                    segments += merge.sources.len() as u64;
                    rows += merge.sources.iter().map(|s| s.segment.rows() as u64).sum::<u64>();
                    self.compaction.lock().merged += merge.sources.len() as u64;
                }
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                    tracing::info!(%error, "segments were replaced while they were merged; the merge is dropped");
                    dropped += 1;
                }
                Err(error) => {
                    if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Internal) {
                        self.refuse(&merge.sources);
                    }
                    return Err(error);
                }
            }
            if !all || self.is_stopping() {
                break;
            }
            self.rest(Duration::ZERO, all);
        }
        let took = self.parts.clock.monotonic().saturating_sub(began);
        let report = Report::default().with("merges", merges).with("segments", segments).with("rows", rows);
        let again_after = (merges + dropped > 0).then(|| (took * REST).clamp(REST_MIN, REST_MAX));
        Ok(Report { again_after, ..report.with("dropped", dropped) })
    }

    fn refuse(&self, sources: &[Shown]) {
        let until = self.parts.clock.monotonic() + REFUSED_FOR;
        self.compaction.lock().refused.extend(sources.iter().map(|source| (source.id.clone(), until)));
    }

    /// The best merge of the first table that has one.
    pub(super) fn next_merge(&self) -> Option<Merge> {
        let now = self.parts.clock.monotonic();
        self.compaction.lock().refused.retain(|_, until| *until > now);
        self.parts.timeline.tables().into_iter().find_map(|table| {
            let view = table.view();
            let shown = sealed_of(&view);
            let (candidates, sources) = self.candidates(&view, shown);
            let places = choose(&candidates, &self.parts.settings, self.parts.clock.now())?;
            let sources: Vec<Shown> = places.iter().filter_map(|place| sources.get(*place).cloned()).collect();
            // The newest of the versions holds all columns of the others.
            let newest = sources.iter().map(|s| s.segment.row().schema_version).max()?;
            let schema = self.compaction.lock().schemas.get(&(view.table_id, newest)).cloned()?;
            Some(Merge { table, sources, schema })
        })
    }

    /// What of a table could be merged. A segment that cannot be read is left to the scrub.
    fn candidates(&self, view: &TableView, shown: Vec<Shown>) -> (Vec<Candidate>, Vec<Shown>) {
        let settings = &self.parts.settings;
        let refused: BTreeSet<SegmentId> = self.compaction.lock().refused.keys().cloned().collect();
        let mut sources: Vec<Shown> = shown
            .into_iter()
            .filter(|s| (s.segment.rows() as u64) < settings.merge_rows_target && !refused.contains(&s.id))
            .collect();
        let classes = self.classes(view.table_id, &sources);
        sources.retain(|source| classes.contains_key(&source.segment.row().schema_version));
        let candidate = |source: &Shown| Candidate {
            interval: source.id.interval,
            class: classes.get(&source.segment.row().schema_version).copied().unwrap_or_default(),
            rows: source.segment.rows() as u64,
            bytes: source.segment.stored_bytes(),
        };
        (sources.iter().map(candidate).collect(), sources)
    }

    /// A class for each version of the schema: versions of one class give their common columns the same types. A merge over
    /// two classes would write other values than were there, so it could not be compared with its sources.
    fn classes(&self, table: TableId, sources: &[Shown]) -> HashMap<u64, usize> {
        let versions: BTreeSet<u64> = sources.iter().map(|source| source.segment.row().schema_version).collect();
        let mut classes = HashMap::new();
        let mut before: Option<Arc<TableSchema>> = None;
        let mut class = 0;
        for version in versions {
            let Some(schema) = self.schema(table, version, sources) else { continue };
            if before.as_ref().is_some_and(|before| !same_types(before, &schema)) {
                class += 1;
            }
            classes.insert(version, class);
            before = Some(schema);
        }
        classes
    }

    fn schema(&self, table: TableId, version: u64, sources: &[Shown]) -> Option<Arc<TableSchema>> {
        if let Some(schema) = self.compaction.lock().schemas.get(&(table, version)) {
            return Some(Arc::clone(schema));
        }
        let of_version = |source: &&Shown| source.segment.row().schema_version == version;
        let schema = sources.iter().filter(of_version).find_map(|source| match source.segment.schema() {
            Ok(schema) => Some(Arc::new(schema)),
            Err(error) => {
                tracing::debug!(%error, "a segment is not merged");
                None
            }
        })?;
        self.compaction.lock().schemas.insert((table, version), Arc::clone(&schema));
        Some(schema)
    }

    pub(super) fn merge(&self, merge: &Merge) -> Result<()> {
        failpoint!("compact.begin")?;
        let view = merge.table.view();
        let Some(first) = merge.sources.first() else { return Ok(()) };
        let numbers = self.block_on(self.parts.catalog.lease_numbers(view.table_id, 1))?;
        let id = SegmentId {
            table: view.name.clone(),
            interval: first.id.interval,
            version: Version::at(self.parts.clock.now()),
            number: numbers.start,
        };
        let sources: Vec<VisibleSegment> =
            merge.sources.iter().map(|s| VisibleSegment::Sealed(Arc::clone(&s.segment))).collect();
        let sealing = Sealing {
            id,
            sources: &sources,
            schema: Arc::clone(&merge.schema),
            cluster_by: Vec::new(),
            attempt: AttemptId(rand::random()),
            layout: Layout::default(),
        };
        std::fs::create_dir_all(&self.parts.staging).map_err(|source| SegmentError::Io {
            doing: "make folder",
            path: "staging".to_owned(),
            source,
        })?;
        let sealed = sealing.write(&self.parts.staging)?;
        let stored = same_rows(&merge.sources, &sealed).and_then(|()| {
            failpoint!("compact.written")?;
            self.block_on(self.parts.storage.put(&sealed))
        });
        for file in &sealed.files {
            // One that stays is found by the cleanup.
            let _left = std::fs::remove_file(&file.path);
        }
        let stored = stored?;
        failpoint!("compact.stored")?;
        let replacement = Replacement {
            id: PublishId(rand::random()),
            table: view.table_id,
            lease: None,
            close: merge.sources.iter().map(|source| source.id.clone()).collect(),
            open: vec![stored.new_segment().clone()],
            cause: CommitCause::Compact,
        };
        let commit = self.block_on(self.replace(&merge.table, replacement, Changed::Nothing))?;
        failpoint!("compact.handed_over")?;
        tracing::info!(
            table = %view.name, segments = merge.sources.len(), rows = sealed.rows, commit = commit.seq, "compacted"
        );
        Ok(())
    }
}

/// Whether the columns that both have are of the same types.
fn same_types(a: &TableSchema, b: &TableSchema) -> bool {
    a.columns().iter().all(|column| b.column(&column.name).is_none_or(|other| other.column_type == column.column_type))
}

/// Refuses a merge with other rows than its sources, before anything is stored. The catalog compares once more.
fn same_rows(sources: &[Shown], sealed: &Sealed) -> Result<()> {
    let of = |source: &Arc<SealedSegment>| (source.row().rows, source.row().content_sum);
    let (rows, sum) = sources
        .iter()
        .map(|source| of(&source.segment))
        .fold((0u64, 0u64), |all, one| (all.0.saturating_add(one.0), all.1.wrapping_add(one.1)));
    if (rows, sum) == (sealed.rows, sealed.content_sum) {
        return Ok(());
    }
    let reason = format!("{rows} rows with sum {sum:x} became {} with sum {:x}", sealed.rows, sealed.content_sum);
    Err(SegmentError::corrupt(format!("the merge of {} segments into {}", sources.len(), sealed.id), reason))
}
