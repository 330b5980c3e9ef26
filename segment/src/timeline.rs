//! Which segments answer for an interval, and the readings that queries take of it.
//!
//! This is the one place where ingestion and queries meet. A task publishes snapshots of its growing segments; the swap of
//! one pointer makes them visible. A query takes one [`Reading`] and sees, of each table, exactly what was there when
//! it first looked: later appends do not touch it, and no lock is held while it reads.
//!
//! ```text
//! task ──publish──▶ TableTimeline ──ArcSwap──▶ TableView ◀── Reading (pins one view a table) ◀── query
//! ```
//! Visibility is a pair of commit numbers an entry; a reading at `s` sees `from <= s < until`. Growing segments are there
//! from the commit at which they were first published on; when one is sealed, [`TableTimeline::hand_over`] puts the files in
//! its place in one swap, so a row is answered by one copy at every moment.

mod visible;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::freshness::Freshness;
use crate::growing::GrowingSnapshot;
use crate::id::{SegmentId, TableId, TableName};
use crate::schema::TableSchema;
use crate::sealed::SealedSegment;
use crate::time::{Interval, Timestamp};

pub use visible::{Unit, VisibleSegment, may_hold};

/// Visible for ever, as far as anyone knows.
pub const VISIBLE_FOREVER: u64 = u64::MAX;
/// Changes remembered one by one; older ones are merged pairwise, which only makes the answer more careful.
const CHANGES_MAX: usize = 128;

/// A segment of a view.
#[derive(Debug, Clone)]
pub struct SegmentEntry {
    /// Its identity.
    pub id: SegmentId,
    /// First commit at which it is seen.
    pub visible_from: u64,
    /// First commit at which it is no longer seen.
    pub visible_until: u64,
    /// Its rows.
    pub segment: VisibleSegment,
}

/// What changed between two looks at a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Nothing.
    Nothing,
    /// Rows came; none of them has an event time before this.
    From(Timestamp),
    /// Anything may have changed.
    Everything,
}

/// Why a table does not show all its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unready {
    /// What it waits for, or what is wrong.
    pub why: Arc<str>,
    /// Whether it passes by itself; else somebody has to do something.
    pub passes: bool,
}

/// A table at one moment; immutable.
#[derive(Debug, Clone)]
pub struct TableView {
    /// The table's number.
    pub table_id: TableId,
    /// Its name.
    pub name: TableName,
    /// Its schema; at least as wide as any of its segments'.
    pub schema: Arc<TableSchema>,
    /// Commit number at which the entries are to be read.
    pub commit_seq: u64,
    /// Grows with each visible change.
    pub seq: u64,
    /// When the newest record among the visible rows was produced or received.
    pub produced_max: Option<Timestamp>,
    /// Why the visible rows are fewer than were shown before the last start; nothing once they are all back.
    pub unready: Option<Unready>,
    segments: Arc<[SegmentEntry]>,
    /// `(seq, earliest event time that came with it or after the entry before)`, rising.
    changes: Arc<[(u64, Timestamp)]>,
}

impl TableView {
    /// All entries visible at `commit_seq`.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentEntry> {
        self.segments.iter().filter(|e| e.visible_from <= self.commit_seq && self.commit_seq < e.visible_until)
    }

    /// The visible entries that may hold rows of `interval`.
    pub fn visible(&self, interval: Interval) -> impl Iterator<Item = &SegmentEntry> {
        self.segments().filter(move |entry| may_hold(entry.segment.time_range(), interval))
    }

    /// How many rows are visible.
    pub fn rows(&self) -> u64 {
        self.segments().map(|e| e.segment.rows() as u64).sum()
    }

    /// Bytes in deep storage of the visible segments.
    pub fn stored_bytes(&self) -> u64 {
        self.segments().map(|e| e.segment.stored_bytes()).sum()
    }

    /// Bytes of memory of the visible segments.
    pub fn bytes(&self) -> u64 {
        self.segments().map(|e| e.segment.bytes() as u64).sum()
    }

    /// First and last event time; `None` without rows.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        self.segments().filter_map(|e| e.segment.time_range()).reduce(|(a, b), (min, max)| (a.min(min), b.max(max)))
    }

    /// What came after the view whose `seq` was `seq`. Never too little.
    pub fn changed_since(&self, seq: u64) -> Changed {
        if seq >= self.seq {
            return if seq == self.seq { Changed::Nothing } else { Changed::Everything };
        }
        self.changes
            .iter()
            .filter(|(at, _)| *at > seq)
            .map(|(_, from)| *from)
            .min()
            .map_or(Changed::Everything, Changed::From)
    }
}

/// What a task says with the snapshots it publishes.
#[derive(Debug, Clone)]
pub struct Visible {
    /// The table's schema after the append.
    pub schema: Arc<TableSchema>,
    /// Earliest event time among the new rows.
    pub min_changed: Timestamp,
    /// When the newest of the new records was produced or received.
    pub produced_max: Option<Timestamp>,
}

/// The timeline of one table.
#[derive(Debug)]
pub struct TableTimeline {
    view: ArcSwap<TableView>,
    /// Writers take turns; readers never wait.
    writer: Mutex<()>,
    /// Sealed segments that are no longer shown; views that are still read may hold them.
    closed: Mutex<Closed>,
    freshness: Freshness,
}

impl TableTimeline {
    fn new(table_id: TableId, name: TableName, schema: Arc<TableSchema>, commit_seq: u64) -> Self {
        let view = TableView {
            table_id,
            name,
            schema,
            commit_seq,
            seq: 0,
            produced_max: None,
            unready: None,
            segments: Arc::from([]),
            changes: Arc::from([]),
        };
        Self {
            view: ArcSwap::from_pointee(view),
            writer: Mutex::new(()),
            closed: Mutex::default(),
            freshness: Freshness::new(),
        }
    }

    /// The table now.
    pub fn view(&self) -> Arc<TableView> {
        self.view.load_full()
    }

    /// How long records take from being produced to being queryable.
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Marks the table as one that does not show all its rows yet, and why; or as one that does.
    pub fn set_unready(&self, why: Option<Unready>) {
        let _turn = self.writer.lock();
        let view = TableView { unready: why, ..TableView::clone(&self.view.load()) };
        self.view.store(Arc::new(view));
    }

    /// Makes all these snapshots visible in one step; each replaces the one of the same segment id. The schema only
    /// widens: an older one than the view has is ignored.
    pub fn publish(&self, snapshots: Vec<Arc<GrowingSnapshot>>, visible: Visible) {
        let _turn = self.writer.lock();
        let old = self.view.load();
        let mut segments = old.segments.to_vec();
        for snapshot in snapshots {
            let id = snapshot.id().clone();
            let segment = VisibleSegment::Growing(snapshot);
            match segments.iter_mut().find(|e| e.id == id) {
                Some(entry) => entry.segment = segment,
                None => segments.push(SegmentEntry {
                    id,
                    visible_from: old.commit_seq,
                    visible_until: VISIBLE_FOREVER,
                    segment,
                }),
            }
        }
        let seq = old.seq + 1;
        let changes = remember(&old.changes, seq, visible.min_changed);
        let wider = visible.schema.version() > old.schema.version();
        self.view.store(Arc::new(TableView {
            table_id: old.table_id,
            name: old.name.clone(),
            schema: if wider { visible.schema } else { Arc::clone(&old.schema) },
            commit_seq: old.commit_seq,
            seq,
            produced_max: old.produced_max.max(visible.produced_max),
            unready: old.unready.clone(),
            segments: segments.into(),
            changes,
        }));
    }

    /// Takes segments out of sight and puts others there, in one step: what a commit did. An opened segment that is there
    /// under the same id, as the growing one it was sealed from is, is replaced in its place; the rest follow.
    ///
    /// Readings taken before keep what they saw. A closed segment that is not there is passed over: it was never seen here.
    pub fn hand_over(&self, hand_over: HandOver) {
        let _turn = self.writer.lock();
        let old = self.view.load();
        let HandOver { close, open, commit_seq, schema, changed } = hand_over;
        let mut segments: Vec<SegmentEntry> = Vec::with_capacity(old.segments.len() + open.len());
        let mut opened: HashMap<SegmentId, SegmentEntry> = HashMap::with_capacity(open.len());
        let mut order = Vec::with_capacity(open.len());
        for entry in open {
            order.push(entry.id.clone());
            opened.insert(entry.id.clone(), entry);
        }
        let closed: HashSet<SegmentId> = close.into_iter().collect();
        let mut gone = Vec::new();
        for entry in old.segments.iter() {
            match opened.remove(&entry.id) {
                Some(new) => segments.push(new),
                None if closed.contains(&entry.id) => gone.push(entry),
                None => segments.push(entry.clone()),
            }
        }
        self.closed.lock().add(gone);
        segments.extend(order.into_iter().filter_map(|id| opened.remove(&id)));
        let from = match changed {
            Changed::Nothing => None,
            Changed::From(from) => Some(from),
            Changed::Everything => Some(Timestamp::from_millis(i64::MIN)),
        };
        let seq = old.seq + u64::from(from.is_some());
        let schema = schema.filter(|s| s.version() > old.schema.version());
        self.view.store(Arc::new(TableView {
            table_id: old.table_id,
            name: old.name.clone(),
            schema: schema.unwrap_or_else(|| Arc::clone(&old.schema)),
            commit_seq: old.commit_seq.max(commit_seq),
            seq,
            produced_max: old.produced_max,
            segments: segments.into(),
            unready: old.unready.clone(),
            changes: from.map_or_else(|| Arc::clone(&old.changes), |from| remember(&old.changes, seq, from)),
        }));
    }

    /// Takes growing segments out of sight whose rows were given up and will be read again.
    pub fn remove(&self, ids: &[SegmentId]) {
        let view = self.view();
        let from = view
            .segments
            .iter()
            .filter(|e| ids.contains(&e.id))
            .filter_map(|e| e.segment.time_range())
            .map(|(min, _)| min)
            .min();
        self.hand_over(HandOver {
            close: ids.to_vec(),
            open: Vec::new(),
            commit_seq: view.commit_seq,
            schema: None,
            changed: from.map_or(Changed::Nothing, Changed::From),
        });
    }
}

/// Sealed segments that are no longer shown, as long as a view that is still read holds them.
#[derive(Debug, Default)]
struct Closed {
    segments: Vec<Weak<SealedSegment>>,
}

impl Closed {
    fn add<'a>(&mut self, entries: impl IntoIterator<Item = &'a SegmentEntry>) {
        self.segments.retain(|segment| segment.strong_count() > 0);
        self.segments.extend(entries.into_iter().filter_map(|entry| match &entry.segment {
            VisibleSegment::Sealed(segment) => Some(Arc::downgrade(segment)),
            VisibleSegment::Growing(_) => None,
        }));
    }

    fn held(&self) -> Vec<Arc<SealedSegment>> {
        self.segments.iter().filter_map(Weak::upgrade).collect()
    }
}

/// What a commit did to a table, as its timeline is told.
#[derive(Debug, Clone)]
pub struct HandOver {
    /// Segments that are no longer seen.
    pub close: Vec<SegmentId>,
    /// Segments that are seen from now on; one with the id of a growing segment takes its place.
    pub open: Vec<SegmentEntry>,
    /// The commit's number.
    pub commit_seq: u64,
    /// The table's schema, where the commit's segments are wider than the last one known.
    pub schema: Option<Arc<TableSchema>>,
    /// What changed for those who ask again: [`Changed::Nothing`] when the same rows are there in another form.
    pub changed: Changed,
}

/// The changes with one more.
fn remember(old: &[(u64, Timestamp)], seq: u64, from: Timestamp) -> Arc<[(u64, Timestamp)]> {
    let mut changes = old.to_vec();
    changes.push((seq, from));
    if changes.len() > CHANGES_MAX {
        let (early, late) = changes.split_at(CHANGES_MAX / 2);
        let merged = early.chunks(2).filter_map(|pair| {
            let (at, _) = pair.last()?;
            pair.iter().map(|(_, from)| *from).min().map(|from| (*at, from))
        });
        changes = merged.chain(late.iter().copied()).collect();
    }
    changes.into()
}

type Directory = BTreeMap<TableName, Arc<TableTimeline>>;

/// All tables of this node.
#[derive(Debug)]
pub struct Timeline {
    directory: ArcSwap<Directory>,
    writer: Mutex<()>,
    /// Segments of tables that are no longer shown.
    closed: Mutex<Closed>,
    commit_seq: AtomicU64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

impl Timeline {
    /// A timeline without tables.
    pub fn new() -> Self {
        Self {
            directory: ArcSwap::default(),
            writer: Mutex::new(()),
            closed: Mutex::default(),
            commit_seq: AtomicU64::new(0),
        }
    }

    /// The timeline of a table, made when it is not there. A table of the same name and another id is replaced: it was
    /// dropped and made again.
    pub fn create_table(&self, id: TableId, name: &TableName, schema: Arc<TableSchema>) -> Arc<TableTimeline> {
        let _turn = self.writer.lock();
        let old = self.directory.load();
        if let Some(table) = old.get(name)
            && table.view().table_id == id
        {
            return Arc::clone(table);
        }
        let commit_seq = self.commit_seq.load(Ordering::Acquire);
        let table = Arc::new(TableTimeline::new(id, name.clone(), schema, commit_seq));
        let mut directory = Directory::clone(&old);
        self.let_go(directory.insert(name.clone(), Arc::clone(&table)));
        self.directory.store(Arc::new(directory));
        table
    }

    /// Takes a table out of sight. Readings that hold it keep it. Says whether it was there.
    pub fn drop_table(&self, name: &TableName) -> bool {
        let _turn = self.writer.lock();
        let mut directory = Directory::clone(&self.directory.load());
        let dropped = directory.remove(name);
        let was_there = dropped.is_some();
        self.let_go(dropped);
        self.directory.store(Arc::new(directory));
        was_there
    }

    /// Remembers what a table shows that is about to go.
    fn let_go(&self, table: Option<Arc<TableTimeline>>) {
        if let Some(table) = table {
            // A commit that is shown after this is seen by those readings alone that hold the table already.
            let _turn = table.writer.lock();
            let mut closed = self.closed.lock();
            closed.add(table.view.load().segments.iter());
            closed.segments.append(&mut table.closed.lock().segments);
        }
    }

    /// Sealed segments that are shown, or that someone still holds who saw them: files of others may be deleted. A segment
    /// that is in no view now comes into none later, unless a commit opens it.
    pub fn sealed_in_use(&self) -> Vec<Arc<SealedSegment>> {
        // Closed ones second: what leaves a view in between is found there.
        let mut in_use = Vec::new();
        let tables = self.tables();
        for table in &tables {
            for entry in table.view.load().segments.iter() {
                if let VisibleSegment::Sealed(segment) = &entry.segment {
                    in_use.push(Arc::clone(segment));
                }
            }
            in_use.extend(table.closed.lock().held());
        }
        in_use.extend(self.closed.lock().held());
        in_use
    }

    /// A table by name.
    pub fn table(&self, name: &str) -> Option<Arc<TableTimeline>> {
        let name: TableName = name.parse().ok()?;
        self.directory.load().get(&name).cloned()
    }

    /// All tables, by name.
    pub fn tables(&self) -> Vec<Arc<TableTimeline>> {
        self.directory.load().values().cloned().collect()
    }

    /// Says that all commits up to this number are known; never goes back.
    pub fn advance(&self, commit_seq: u64) {
        self.commit_seq.fetch_max(commit_seq, Ordering::AcqRel);
    }

    /// The commit number that readings taken now carry.
    pub fn commit_seq(&self) -> u64 {
        self.commit_seq.load(Ordering::Acquire)
    }

    /// What a query may see from now on.
    pub fn reading(&self) -> Reading {
        Reading {
            inner: Arc::new(Pinned {
                directory: self.directory.load_full(),
                commit_seq: self.commit_seq.load(Ordering::Acquire),
                views: Mutex::new(HashMap::new()),
            }),
        }
    }
}

#[derive(Debug)]
struct Pinned {
    directory: Arc<Directory>,
    commit_seq: u64,
    views: Mutex<HashMap<TableName, Arc<TableView>>>,
}

/// What one query sees: one view of each table, fixed when the query first looks at it. Clones are the same reading.
#[derive(Debug, Clone)]
pub struct Reading {
    inner: Arc<Pinned>,
}

impl Reading {
    /// The commit number it reads at.
    pub fn commit_seq(&self) -> u64 {
        self.inner.commit_seq
    }

    /// A table as this reading sees it.
    pub fn table(&self, name: &str) -> Option<Arc<TableView>> {
        let name: TableName = name.parse().ok()?;
        let table = self.inner.directory.get(&name)?;
        let mut views = self.inner.views.lock();
        Some(Arc::clone(views.entry(name).or_insert_with(|| table.view())))
    }

    /// Names of all tables, sorted.
    pub fn table_names(&self) -> impl Iterator<Item = &TableName> {
        self.inner.directory.keys()
    }

    /// All tables as this reading sees them, by name.
    pub fn tables(&self) -> Vec<Arc<TableView>> {
        self.inner.directory.keys().filter_map(|name| self.table(name.as_str())).collect()
    }

    /// The views fixed so far.
    pub fn pinned(&self) -> Vec<Arc<TableView>> {
        self.inner.views.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
