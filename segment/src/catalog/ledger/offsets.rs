//! Checkpoints and lost ranges.

use std::sync::Arc;

use super::super::books::Books;
use super::super::entries::{Cell, CheckpointEntry, GapEntry};
use super::super::rows::{Checkpoint, DataGap, LeaseRef, StreamRange};
use super::{Ledger, table_key};
use crate::error::{Result, SegmentError};
use crate::id::TableId;

impl CheckpointEntry {
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.next.map(|next| Checkpoint {
            stream: Arc::clone(&self.stream),
            partition: self.partition,
            topic_id: Arc::clone(&self.topic_id),
            next,
            generation: self.generation,
        })
    }
}

impl<B: Books> Ledger<B> {
    /// All checkpoints of a stream, also removed ones. A lost row would start a stream partition from its beginning, so
    /// they are compared with the guard.
    async fn stream_entries(&mut self, table: TableId, stream: &str) -> Result<Vec<CheckpointEntry>> {
        let mut all: Vec<CheckpointEntry> = self.book(Some(table_key(table))).await?;
        all.retain(|entry| &*entry.stream == stream);
        Ok(all)
    }

    pub(super) async fn start_checkpoints(
        &mut self,
        table: TableId,
        lease: &LeaseRef,
        at: &[StreamRange],
    ) -> Result<Vec<Checkpoint>> {
        self.live_table(table).await?;
        self.fence(lease).await?;
        let mut named = Vec::with_capacity(at.len());
        for start in at {
            if start.from != start.to || start.from < 0 {
                let reason = format!("a checkpoint starts at one offset, not at [{}, {})", start.from, start.to);
                return Err(SegmentError::invalid("checkpoint", reason));
            }
            let old = self.stream_entries(table, &start.stream).await?;
            let mut entry = old.into_iter().find(|old| old.partition == start.partition).unwrap_or(CheckpointEntry {
                table,
                stream: Arc::clone(&start.stream),
                partition: start.partition,
                topic_id: Arc::clone(&start.topic_id),
                next: None,
                generation: 0,
            });
            if entry.next.is_none() {
                entry.next = Some(start.from);
                entry.topic_id = Arc::clone(&start.topic_id);
                self.put(&entry).await?;
            }
            named.extend(entry.checkpoint());
        }
        Ok(named)
    }

    pub(super) async fn checkpoints(&mut self, table: TableId, stream: &str) -> Result<Vec<Checkpoint>> {
        Ok(self.stream_entries(table, stream).await?.iter().filter_map(CheckpointEntry::checkpoint).collect())
    }

    pub(super) async fn reset_offsets(
        &mut self,
        table: TableId,
        stream: &str,
        lease: &LeaseRef,
        to: Option<&[(i32, i64)]>,
    ) -> Result<()> {
        self.live_table(table).await?;
        self.fence(lease).await?;
        let old = self.stream_entries(table, stream).await?;
        let wanted: Vec<(i32, Option<i64>)> = match to {
            None => old.iter().filter(|entry| entry.next.is_some()).map(|entry| (entry.partition, None)).collect(),
            Some(to) => to.iter().map(|(partition, next)| (*partition, Some(*next))).collect(),
        };
        for (at, (partition, next)) in wanted.iter().enumerate() {
            let twice = wanted.iter().skip(at + 1).any(|(other, _)| other == partition);
            if twice || next.is_some_and(|next| next < 0) {
                let reason = format!("partition {partition} of `{stream}` is named twice, or its offset is below 0");
                return Err(SegmentError::invalid("reset of offsets", reason));
            }
            let generation = old.iter().find(|e| e.partition == *partition).map_or(0, |e| e.generation + 1);
            let (stream, topic_id) = (stream.into(), "".into());
            let (partition, next) = (*partition, *next);
            self.put(&CheckpointEntry { table, stream, partition, topic_id, next, generation }).await?;
        }
        Ok(())
    }

    /// Moves a checkpoint over a range, or says where it stands. Gives the generation.
    pub(super) async fn advance(&mut self, table: TableId, range: &StreamRange) -> Result<u64> {
        let key = [table_key(table), range.stream.to_value(), range.partition.to_value()];
        let entry: Option<CheckpointEntry> = self.get(&key).await?;
        let moved = |found| SegmentError::Moved {
            stream: format!("{}[{}]", range.stream, range.partition),
            wanted: range.from,
            found,
        };
        let Some(entry) = entry else { return Err(moved(None)) };
        let other_topic = !entry.topic_id.is_empty() && !range.topic_id.is_empty() && entry.topic_id != range.topic_id;
        if other_topic {
            return Err(moved(None));
        }
        if entry.next != Some(range.from) {
            return Err(moved(entry.next));
        }
        let topic_id =
            if entry.topic_id.is_empty() { Arc::clone(&range.topic_id) } else { Arc::clone(&entry.topic_id) };
        let generation = entry.generation;
        self.put(&CheckpointEntry { next: Some(range.to), topic_id, ..entry }).await?;
        Ok(generation)
    }

    pub(super) async fn record_gap(&mut self, gap: DataGap) -> Result<()> {
        self.live_table(gap.table).await?;
        if gap.from >= gap.to {
            let reason = format!("[{}, {}) of {}[{}] is empty", gap.from, gap.to, gap.stream, gap.partition);
            return Err(SegmentError::invalid("lost range", reason));
        }
        self.put(&GapEntry::from(gap)).await
    }

    pub(super) async fn data_gaps(&mut self, table: Option<TableId>) -> Result<Vec<DataGap>> {
        let all: Vec<GapEntry> = self.book(None).await?;
        Ok(all.into_iter().filter(|gap| table.is_none_or(|table| table == gap.table)).map(DataGap::from).collect())
    }
}
