//! Scrub: every byte of every segment that answers queries is read again within seven days and compared with what was
//! written.
//!
//! A few segments at a time, the longest unread first; what was read is forgotten with the process, so a restart begins
//! again. Damage is named and counted here; queries of the segment fail by themselves, because no byte is decoded before its
//! checksum matched.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use freshet_segment::error::{ErrorKind, SegmentError};
use freshet_segment::id::{SegmentId, TableId};
use freshet_segment::sealed::SealedSegment;
use freshet_segment::time::Timestamp;
use serde_json::{Value, json};

use super::settle::sealed_of;
use super::{Coordinator, Duty, Report, Result, chain};

/// Segments of a run, at least.
const SEGMENTS_MIN: usize = 4;
/// Damaged segments listed; all are counted.
const LISTED_MAX: usize = 100;

/// A segment, among all tables.
type Key = (TableId, SegmentId);

/// What the scrub remembers between its runs.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// When each segment was last read whole (monotonic).
    read: HashMap<Key, Duration>,
    damaged: BTreeMap<Key, Damage>,
}

#[derive(Debug)]
struct Damage {
    found: Timestamp,
    reason: String,
}

impl Coordinator {
    /// Verifies the segments whose turn it is, or `all`.
    pub(super) fn scrub(&self, all: bool) -> Result<Report> {
        let shown = self.shown();
        let now = self.parts.clock.monotonic();
        let within = self.parts.settings.scrub_within;
        let mut due: Vec<(Option<Duration>, Key)> = {
            let mut known = self.scrubbing.lock();
            known.read.retain(|key, _| shown.contains_key(key));
            known.damaged.retain(|key, _| shown.contains_key(key));
            let last = |key: &Key| known.read.get(key).copied();
            let is_due = |at: &Option<Duration>| all || at.is_none_or(|at| now.saturating_sub(at) >= within / 2);
            shown.keys().map(|key| (last(key), key.clone())).filter(|(at, _)| is_due(at)).collect()
        };
        due.sort();
        if !all {
            due.truncate(share(shown.len(), within));
        }
        let (mut good, mut bytes, mut away) = (0u64, 0u64, None);
        for (_, key) in due {
            if self.is_stopping() {
                break;
            }
            let Some(segment) = shown.get(&key) else { continue };
            let began = self.parts.clock.monotonic();
            match self.verify(&key, segment) {
                Ok(()) => good += 1,
                Err(error) => away = Some(error),
            }
            bytes += segment.stored_bytes();
            self.rest(self.parts.clock.monotonic().saturating_sub(began), all);
        }
        if let Some(error) = away {
            return Err(error);
        }
        let report = Report::default().with("read", good).with("bytes", bytes);
        Ok(report.with("segments", shown.len()).with("damaged", self.damaged_count()))
    }

    fn shown(&self) -> BTreeMap<Key, Arc<SealedSegment>> {
        let views = self.parts.timeline.tables().into_iter().map(|table| table.view());
        views.flat_map(|view| sealed_of(&view).into_iter().map(move |s| ((view.table_id, s.id), s.segment))).collect()
    }

    /// Reads a segment and notes what was found. Fails only when it could not be read for a reason outside.
    fn verify(&self, key: &Key, segment: &SealedSegment) -> Result<()> {
        let verified = segment.verify();
        let mut known = self.scrubbing.lock();
        match verified {
            Ok(()) => {
                known.damaged.remove(key);
            }
            Err(error) if is_damage(&error) => {
                let reason = chain(&error);
                tracing::error!(segment = %key.1, reason, "a segment is damaged: queries that need it fail");
                let found = self.parts.clock.now();
                known.damaged.entry(key.clone()).or_insert(Damage { found, reason });
            }
            Err(error) => return Err(error),
        }
        known.read.insert(key.clone(), self.parts.clock.monotonic());
        Ok(())
    }

    /// How many segments are damaged, as far as is known.
    pub(super) fn damaged_count(&self) -> u64 {
        self.scrubbing.lock().damaged.len() as u64
    }

    /// The damaged segments.
    pub(super) fn damaged(&self) -> Vec<Value> {
        let known = self.scrubbing.lock();
        known
            .damaged
            .iter()
            .take(LISTED_MAX)
            .map(|((_, id), damage)| {
                json!({
                    "table": id.table.as_str(),
                    "segment": id.to_string(),
                    "foundAt": damage.found.to_iso(),
                    "reason": damage.reason,
                })
            })
            .collect()
    }
}

/// Bytes that are wrong or gone; anything else may be well again later.
fn is_damage(error: &SegmentError) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::Internal)
}

/// How many segments a run takes so that all have their turn in half the time.
fn share(segments: usize, within: Duration) -> usize {
    let runs = (within / 2).as_secs() / Duty::Scrub.period().as_secs().max(1);
    segments.div_ceil(usize::try_from(runs.max(1)).unwrap_or(usize::MAX)).max(SEGMENTS_MIN)
}
