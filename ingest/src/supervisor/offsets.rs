//! How far each stream partition has been read.

use std::collections::BTreeMap;
use std::sync::Arc;

use freshet_segment::id::TableName;
use parking_lot::Mutex;

use crate::source::{Offset, StreamPartition};

/// The next offset of each stream partition of a topic; outlives supervisors.
#[derive(Debug)]
pub(crate) struct KeptOffsets {
    pub(crate) topic: String,
    pub(crate) table: TableName,
    /// The name of the stream in the catalog.
    pub(crate) stream: Arc<str>,
    next: Mutex<BTreeMap<StreamPartition, Offset>>,
    /// Where the stream partitions stood before the last start.
    awaited: Mutex<BTreeMap<StreamPartition, Offset>>,
}

impl KeptOffsets {
    pub(crate) fn new(id: &str, topic: String, table: TableName) -> Self {
        let stream = stream_name(id, &topic);
        Self { topic, table, stream, next: Mutex::default(), awaited: Mutex::default() }
    }

    pub(crate) fn all(&self) -> BTreeMap<StreamPartition, Offset> {
        self.next.lock().clone()
    }

    pub(crate) fn of(&self, partitions: &[StreamPartition]) -> Vec<(StreamPartition, Offset)> {
        let next = self.next.lock();
        partitions.iter().filter_map(|p| next.get(p).map(|offset| (*p, *offset))).collect()
    }

    /// A batch is stored: its offsets move together.
    pub(crate) fn advance(&self, to: &BTreeMap<StreamPartition, Offset>) {
        let mut next = self.next.lock();
        for (partition, offset) in to {
            let at = next.entry(*partition).or_insert(*offset);
            debug_assert!(*at <= *offset, "{partition} went back from {at} to {offset}");
            *at = *offset;
        }
    }

    pub(crate) fn begin(&self, at: impl IntoIterator<Item = (StreamPartition, Offset)>) {
        let mut next = self.next.lock();
        for (partition, offset) in at {
            next.entry(partition).or_insert(offset);
        }
    }

    pub(crate) fn forget(&self) {
        self.next.lock().clear();
    }

    /// The table is not ready before these positions are reached.
    pub(crate) fn wait_for(&self, positions: BTreeMap<StreamPartition, Offset>) {
        *self.awaited.lock() = positions;
    }

    /// Whether everything that was read before the last start has been read again.
    pub(crate) fn is_back(&self) -> bool {
        let awaited = self.awaited.lock();
        let next = self.next.lock();
        awaited.iter().all(|(partition, offset)| next.get(partition).is_some_and(|at| at >= offset))
    }
}

/// The name of a supervisor's stream in the catalog.
pub(crate) fn stream_name(id: &str, topic: &str) -> Arc<str> {
    Arc::from(format!("kafka:{id}:{topic}"))
}

/// The group whose lease a supervisor's tasks write under.
pub(crate) fn supervisor_group(id: &str) -> Arc<str> {
    Arc::from(format!("supervisor/{id}"))
}
