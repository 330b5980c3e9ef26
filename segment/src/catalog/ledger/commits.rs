//! Commits: what opens and closes segments.
//!
//! The order inside `publish` is that of the reliability rules: lease, checkpoint, ranges, segments, keys, counts, log. A request
//! is known by its id and a hash of what it asks for, without the lease: who lost a lease after a commit whose outcome
//! was unknown may still learn that it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::books::{Books, Record, Scan, Value};
use super::super::entries::{
    Cell, ClosedEntry, CommitEntry, Entry, FileEntry, PublicationEntry, RangeEntry, SegmentEntry, TableEntry, hex,
};
use super::super::rows::{
    Commit, CommitCause, LeaseRef, NewSegment, Publication, PublishId, Replacement, SegmentRow, StreamRange,
    TableReading,
};
use super::{COMMIT, Ledger, table_key, typed};
use crate::error::{Result, SegmentError};
use crate::id::{SegmentId, TableId};
use crate::time::Interval;

/// How long a commit can be undone.
pub(super) const UNDO_WITHIN_MS: i64 = 24 * 60 * 60 * 1_000;

/// A request as the log knows it: its id, and a hash of what it asks for.
pub(super) struct Request {
    id: PublishId,
    content: [u8; 32],
}

impl<B: Books> Ledger<B> {
    pub(super) async fn publish(&mut self, publication: Publication) -> Result<Commit> {
        let request = publication.request();
        if let Some(commit) = self.earlier(&request).await? {
            return Ok(commit);
        }
        let Publication { id, table, lease, ranges, segments, dedup, accounting } = publication;
        let entry = self.live_table(table).await?;
        self.fence(&lease).await?;
        if ranges.is_empty() && segments.is_empty() {
            return Err(SegmentError::invalid("publication", "it has neither a range nor a segment"));
        }
        let mut seen = BTreeSet::new();
        for range in &ranges {
            if range.from < 0 || range.from > range.to || !seen.insert((Arc::clone(&range.stream), range.partition)) {
                let of = format!("{}[{}]", range.stream, range.partition);
                let reason = format!("[{}, {}) of {of} is no range, or {of} comes twice", range.from, range.to);
                return Err(SegmentError::invalid("publication", reason));
            }
            let generation = self.advance(table, range).await?;
            if range.from < range.to {
                self.put_range(table, generation, range, id).await?;
            }
        }
        let seq = self.counter(COMMIT).await? + 1;
        for segment in &segments {
            self.open_new(&entry, segment, id, seq).await?;
        }
        self.put_keys(table, dedup).await?;
        self.account(table, accounting).await?;
        self.touch_lease(&lease).await?;
        let opened: Vec<SegmentId> = segments.into_iter().map(|segment| segment.id).collect();
        self.commit(Some(request), table, CommitCause::Publish, &opened, Vec::new()).await
    }

    async fn put_range(
        &mut self,
        table: TableId,
        generation: u64,
        range: &StreamRange,
        publish: PublishId,
    ) -> Result<()> {
        let entry = RangeEntry {
            table,
            stream: Arc::clone(&range.stream),
            partition: range.partition,
            generation,
            from: range.from,
            to: range.to,
            topic_id: Arc::clone(&range.topic_id),
            publish,
        };
        let values = entry.values();
        let key = values.get(..RangeEntry::RELATION.key).unwrap_or(&values);
        if self.get::<RangeEntry>(key).await?.is_some() {
            let what = format!("the checkpoint of {}[{}]", range.stream, range.partition);
            return Err(SegmentError::corrupt(what, format!("a range from {} is published already", range.from)));
        }
        self.put(&entry).await
    }

    pub(super) async fn replace(&mut self, replacement: Replacement) -> Result<Commit> {
        let request = replacement.request();
        if let Some(commit) = self.earlier(&request).await? {
            return Ok(commit);
        }
        let Replacement { id, table, lease, close, open, cause } = replacement;
        if !matches!(cause, CommitCause::Compact | CommitCause::Replace | CommitCause::Drop) {
            let reason = format!("`{}` is not a cause of its own", cause.name());
            return Err(SegmentError::invalid("replacement", reason));
        }
        if close.is_empty() && open.is_empty() {
            return Err(SegmentError::invalid("replacement", "it closes nothing and opens nothing"));
        }
        let entry = self.live_table(table).await?;
        if let Some(lease) = &lease {
            self.fence(lease).await?;
            self.touch_lease(lease).await?;
        }
        let closing = self.open_named(table, &close).await?;
        if cause == CommitCause::Compact {
            same_rows(&closing, &open)?;
        }
        let seq = self.counter(COMMIT).await? + 1;
        for segment in &open {
            self.open_new(&entry, segment, id, seq).await?;
        }
        let opened: Vec<SegmentId> = open.into_iter().map(|segment| segment.id).collect();
        self.commit(Some(request), table, cause, &opened, closing).await
    }

    pub(super) async fn drop_interval(
        &mut self,
        table: TableId,
        interval: Interval,
        lease: Option<&LeaseRef>,
    ) -> Result<Commit> {
        self.live_table(table).await?;
        if let Some(lease) = lease {
            self.fence(lease).await?;
            self.touch_lease(lease).await?;
        }
        let mut closing = self.open_entries(table).await?;
        closing.retain(|entry| entry.id.interval.overlaps(&interval));
        let inside = |entry: &SegmentEntry| entry.id.interval.intersect(&interval) == Some(entry.id.interval);
        if let Some(over) = closing.iter().find(|entry| !inside(entry)) {
            let reason = format!("segment `{}` reaches over the border of {interval}: widen the interval", over.id);
            return Err(SegmentError::invalid("interval to drop", reason));
        }
        self.commit(None, table, CommitCause::Drop, &[], closing).await
    }

    pub(super) async fn undo(&mut self, publish: PublishId, new_ids: &[(SegmentId, SegmentId)]) -> Result<Commit> {
        let undone = self.publication(publish).await?;
        let unknown = || SegmentError::NotFound { what: "publication", name: publish.to_string() };
        let undone = undone.ok_or_else(unknown)?;
        let table = self.live_table(undone.table).await?;
        let age_ms = self.clock.now().as_millis().saturating_sub(undone.at.as_millis());
        if age_ms > UNDO_WITHIN_MS {
            let reason = format!("commit {} was made at {}, more than a day ago", undone.seq, undone.at);
            return Err(SegmentError::invalid("undo", reason));
        }
        let closing = self.open_named(undone.table, &undone.opened).await?;
        let seq = self.counter(COMMIT).await? + 1;
        let id = self.made_up(CommitCause::Undo, seq);
        let mut new_of: BTreeMap<&SegmentId, &SegmentId> = new_ids.iter().map(|(old, new)| (old, new)).collect();
        let mut opened = Vec::with_capacity(undone.closed.len());
        for old in &undone.closed {
            let new = new_of.remove(old).filter(|new| new.interval == old.interval).ok_or_else(|| {
                SegmentError::invalid("undo", format!("segment `{old}` needs a new id with its own interval"))
            })?;
            let entry: Option<SegmentEntry> = self.get(&segment_key(undone.table, old)).await?;
            let entry = entry.filter(|entry| entry.id == *old && entry.visible_until.is_some() && !entry.condemned);
            let row = entry.ok_or_else(|| changed(old, "its files are being deleted"))?.into_row(0);
            self.must_be_out_of_sight(&row.segment, &closing).await?;
            let segment = NewSegment { id: new.clone(), ..row.segment };
            self.put_segment(&table, &segment, id, seq).await?;
            opened.push(new.clone());
        }
        if !new_of.is_empty() || new_ids.len() != undone.closed.len() {
            let reason = format!("commit {} closed other segments than those given new ids", undone.seq);
            return Err(SegmentError::invalid("undo", reason));
        }
        self.commit(None, undone.table, CommitCause::Undo, &opened, closing).await
    }

    /// Refuses rows that are visible already under another id: a commit that opened nothing could be undone twice.
    async fn must_be_out_of_sight(&mut self, segment: &NewSegment, closing: &[SegmentEntry]) -> Result<()> {
        let path = segment.files.parquet.path.to_value();
        let named: Vec<FileEntry> = self.scan(Scan::of(vec![path])).await?;
        for file in named {
            let key = [table_key(file.table), file.number.to_value()];
            let entry: Option<SegmentEntry> = self.get(&key).await?;
            let stays = |entry: &SegmentEntry| {
                entry.visible_until.is_none() && closing.iter().all(|closed| closed.id != entry.id)
            };
            if entry.as_ref().is_some_and(stays) {
                return Err(changed(&segment.id, "its rows are visible again: it was undone before"));
            }
        }
        Ok(())
    }

    /// Opens a segment whose files were never in the catalog.
    async fn open_new(&mut self, table: &TableEntry, segment: &NewSegment, id: PublishId, seq: u64) -> Result<()> {
        for file in segment.files.each() {
            let named: Vec<FileEntry> = self.scan(Scan::of(vec![file.path.to_value()])).await?;
            if !named.is_empty() {
                return Err(SegmentError::Exists { what: "file", name: file.path.clone() });
            }
        }
        self.put_segment(table, segment, id, seq).await
    }

    async fn put_segment(&mut self, table: &TableEntry, segment: &NewSegment, id: PublishId, seq: u64) -> Result<()> {
        if segment.id.table != table.name || segment.time_range.0 > segment.time_range.1 {
            let reason = format!("`{}` is not of table `{}`, or its times are turned round", segment.id, table.name);
            return Err(SegmentError::invalid("segment", reason));
        }
        if self.get::<SegmentEntry>(&segment_key(table.id, &segment.id)).await?.is_some() {
            return Err(SegmentError::Exists { what: "segment", name: segment.id.to_string() });
        }
        self.put(&SegmentEntry::new(segment, table.id, id, seq)).await?;
        for file in segment.files.each() {
            self.put(&FileEntry { path: file.path.clone(), table: table.id, number: segment.id.number }).await?;
        }
        Ok(())
    }

    /// The named segments, all open and each named once.
    async fn open_named(&mut self, table: TableId, ids: &[SegmentId]) -> Result<Vec<SegmentEntry>> {
        let mut named = Vec::with_capacity(ids.len());
        let mut seen = BTreeSet::new();
        for id in ids {
            if !seen.insert(id) {
                return Err(SegmentError::invalid("segments to close", format!("`{id}` comes twice")));
            }
            let entry: Option<SegmentEntry> = self.get(&segment_key(table, id)).await?;
            let entry = entry.filter(|entry| entry.id == *id && entry.visible_until.is_none());
            named.push(entry.ok_or_else(|| changed(id, "it is no longer open: read the table again"))?);
        }
        Ok(named)
    }

    /// Ends every request: closes, numbers, and notes what was done.
    pub(super) async fn commit(
        &mut self,
        request: Option<Request>,
        table: TableId,
        cause: CommitCause,
        opened: &[SegmentId],
        closing: Vec<SegmentEntry>,
    ) -> Result<Commit> {
        let seq = self.counter(COMMIT).await? + 1;
        let at = self.clock.now();
        let request = request.unwrap_or_else(|| Request { id: self.made_up(cause, seq), content: [0; 32] });
        let mut closed = Vec::with_capacity(closing.len());
        for mut entry in closing {
            entry.visible_until = Some(seq);
            entry.closed_at = Some(at);
            self.put(&entry).await?;
            self.put(&ClosedEntry { closed_at: at, table, number: entry.number }).await?;
            closed.push(entry.id);
        }
        let commit = Commit { seq, publish: request.id, table, at, cause, opened: opened.to_vec(), closed };
        self.put(&CommitEntry::from(commit.clone())).await?;
        self.put(&PublicationEntry { publish: request.id, seq, content: request.content }).await?;
        self.set_counter(COMMIT, seq).await?;
        self.write_log(seq, table).await?;
        Ok(commit)
    }

    /// The id of a commit that nobody named: its number is given once, so this is.
    fn made_up(&self, cause: CommitCause, seq: u64) -> PublishId {
        let hash = Sha256::digest(format!("{}/{seq}", cause.name()));
        PublishId(hash.iter().take(16).fold(0, |id, byte| id << 8 | u128::from(*byte)))
    }

    /// The commit a request became earlier.
    async fn earlier(&mut self, request: &Request) -> Result<Option<Commit>> {
        let Some(entry) = self.get::<PublicationEntry>(&[request.id.to_value()]).await? else { return Ok(None) };
        if entry.content != request.content {
            let reason = format!("`{}` was used for another request, commit {}", request.id, entry.seq);
            return Err(SegmentError::invalid("publish id", reason));
        }
        self.publication(request.id).await
    }

    /// As `publication`, for who decides by it whether to ask again.
    pub(super) async fn publication_sure(&mut self, id: PublishId) -> Result<Option<Commit>> {
        self.get_sure::<PublicationEntry>(&[id.to_value()]).await?;
        self.publication(id).await
    }

    pub(super) async fn publication(&mut self, id: PublishId) -> Result<Option<Commit>> {
        let Some(entry) = self.get::<PublicationEntry>(&[id.to_value()]).await? else { return Ok(None) };
        let commit: Option<CommitEntry> = self.get(&[entry.seq.to_value()]).await?;
        let lost = || SegmentError::corrupt(format!("commit {} in the catalog", entry.seq), "it is gone");
        commit.map(Commit::from).ok_or_else(lost).map(Some)
    }

    pub(super) async fn commits_since(&mut self, seq: u64, limit: usize) -> Result<Vec<Commit>> {
        let pruned = self.pruned().await?;
        if seq < pruned {
            let name = format!("{}: commits up to {pruned} were forgotten", seq.saturating_add(1));
            return Err(SegmentError::NotFound { what: "commit", name });
        }
        let first = seq.saturating_add(1);
        let scan = Scan { from: Some(first.to_value()), limit: Some(limit), ..Scan::default() };
        let commits: Vec<CommitEntry> = self.scan(scan).await?;
        let last = self.counter(COMMIT).await?;
        let wanted = u64::try_from(limit).unwrap_or(u64::MAX).min(last.saturating_sub(seq));
        let whole = commits.iter().zip(first..).all(|(commit, seq)| commit.seq == seq);
        if !whole || u64::try_from(commits.len()) != Ok(wanted) {
            return Err(SegmentError::corrupt("the catalog's log of commits", format!("one after {seq} is gone")));
        }
        Ok(commits.into_iter().map(Commit::from).collect())
    }

    /// All segment rows of a table with their hashes, compared with the guard.
    async fn segment_records(&mut self, table: TableId) -> Result<Vec<(SegmentEntry, u64)>> {
        let records: Vec<Record> = self.guarded(SegmentEntry::RELATION, Some(table_key(table))).await?;
        records
            .into_iter()
            .map(|record| {
                let sum = record.sum;
                Ok((typed(record)?, sum))
            })
            .collect()
    }

    pub(super) async fn open_entries(&mut self, table: TableId) -> Result<Vec<SegmentEntry>> {
        let all = self.segment_records(table).await?;
        Ok(all.into_iter().map(|(entry, _)| entry).filter(|entry| entry.visible_until.is_none()).collect())
    }

    pub(super) async fn reading(&mut self, table: TableId) -> Result<TableReading> {
        self.live_table(table).await?;
        let mut segments = self.segments(table, None).await?;
        segments.retain(SegmentRow::is_open);
        Ok(TableReading { commit_seq: self.counter(COMMIT).await?, segments })
    }

    pub(super) async fn segments(&mut self, table: TableId, at: Option<u64>) -> Result<Vec<SegmentRow>> {
        let all = self.segment_records(table).await?;
        let rows = all.into_iter().map(|(entry, sum)| entry.into_row(sum));
        Ok(rows.filter(|row| at.is_none_or(|seq| row.is_visible(seq))).collect())
    }
}

/// The key of a segment's row.
pub(super) fn segment_key(table: TableId, id: &SegmentId) -> [Value; 2] {
    [table_key(table), id.number.to_value()]
}

fn changed(id: &SegmentId, cure: &'static str) -> SegmentError {
    SegmentError::Changed { what: "segment", name: id.to_string(), cure }
}

/// Refuses a compaction that loses, doubles or changes a row.
fn same_rows(closing: &[SegmentEntry], open: &[NewSegment]) -> Result<()> {
    let before = closing.iter().fold((0_u64, 0_u64), |(rows, sum), entry| {
        (rows.saturating_add(entry.rows), sum.wrapping_add(entry.content_sum))
    });
    let after = open.iter().fold((0_u64, 0_u64), |(rows, sum), segment| {
        (rows.saturating_add(segment.rows), sum.wrapping_add(segment.content_sum))
    });
    if before == after {
        return Ok(());
    }
    let reason = format!("{} rows with sum {:x} became {} with sum {:x}", before.0, before.1, after.0, after.1);
    Err(SegmentError::corrupt("a compaction's result", reason))
}

fn describe(text: &mut String, segment: &NewSegment) {
    let NewSegment { id, rows, time_range, schema_version, format, files, content_sum } = segment;
    let times = (time_range.0.as_millis(), time_range.1.as_millis());
    let _ = write!(text, "\nsegment {id} {rows} {} {} {schema_version} {format} {content_sum}", times.0, times.1);
    for file in files.each() {
        let _ = write!(text, " {:?} {} {}", file.path, file.bytes, hex(&file.sha256));
    }
}

impl Publication {
    fn request(&self) -> Request {
        let mut text = format!("publish {}", self.table);
        for range in &self.ranges {
            let StreamRange { stream, partition, topic_id, from, to } = range;
            let _ = write!(text, "\nrange {stream:?} {partition} {topic_id:?} {from} {to}");
        }
        for segment in &self.segments {
            describe(&mut text, segment);
        }
        for key in &self.dedup {
            let _ = write!(text, "\nkey {:?} {} {:?} {}", key.key, hex(&key.body_sha256), key.answer, key.at);
        }
        for row in &self.accounting.counts {
            let _ = write!(text, "\naccount {:?} {} {:?}", row.stream, row.partition, row.counts);
        }
        let letters = (self.accounting.letters.len(), self.accounting.letters_unlisted);
        let _ = write!(text, "\nletters {} {}", letters.0, letters.1);
        Request { id: self.id, content: Sha256::digest(text).into() }
    }
}

impl Replacement {
    fn request(&self) -> Request {
        let mut text = format!("{} {}", self.cause.name(), self.table);
        for id in &self.close {
            let _ = write!(text, "\nclose {id}");
        }
        for segment in &self.open {
            describe(&mut text, segment);
        }
        Request { id: self.id, content: Sha256::digest(text).into() }
    }
}
