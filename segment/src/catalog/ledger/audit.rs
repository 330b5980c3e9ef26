//! The check of everything: what must be true between rows, beyond each row's own hash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::books::{Books, Guard, Scan};
use super::super::entries::{
    AccountEntry, CheckpointEntry, ClosedEntry, CommitEntry, Counter, DedupEntry, DedupOrderEntry, Entry, FileEntry,
    GapEntry, GuardRow, LeaseEntry, LetterEntry, LetterSumEntry, OutboxEntry, PublicationEntry, PushTimeEntry,
    RELATIONS, RangeEntry, SegmentEntry, SupervisorEntry, TableEntry,
};
use super::tables::table_row;
use super::{COMMIT, GUARD, Ledger, scope_of, typed};
use crate::error::Result;
use crate::id::{SegmentId, TableId};

impl<B: Books> Ledger<B> {
    pub(super) async fn check(&mut self) -> Result<Vec<String>> {
        let mut findings = self.books.audit(RELATIONS).await?;
        if findings.is_empty() {
            self.check_values(&mut findings).await?;
        }
        if findings.is_empty() {
            // With damaged rows below, nothing can be said about what lies between them.
            self.check_guards(&mut findings).await?;
            self.check_commits(&mut findings).await?;
            self.check_ranges(&mut findings).await?;
            self.check_segments(&mut findings).await?;
            self.check_keys(&mut findings).await?;
            self.check_accounts(&mut findings).await?;
        }
        Ok(findings)
    }

    async fn all<E: Entry>(&mut self) -> Result<Vec<E>> {
        self.scan(Scan::default()).await
    }

    /// Every value is of the sort its column holds: a hash says that a row is what was written, and not that it means something.
    async fn check_values(&mut self, findings: &mut Vec<String>) -> Result<()> {
        self.check_sorts::<Counter>(findings).await?;
        self.check_sorts::<GuardRow>(findings).await?;
        self.check_sorts::<SupervisorEntry>(findings).await?;
        self.check_sorts::<LeaseEntry>(findings).await?;
        self.check_sorts::<CheckpointEntry>(findings).await?;
        self.check_sorts::<RangeEntry>(findings).await?;
        self.check_sorts::<CommitEntry>(findings).await?;
        self.check_sorts::<PublicationEntry>(findings).await?;
        self.check_sorts::<SegmentEntry>(findings).await?;
        self.check_sorts::<FileEntry>(findings).await?;
        self.check_sorts::<ClosedEntry>(findings).await?;
        self.check_sorts::<DedupEntry>(findings).await?;
        self.check_sorts::<DedupOrderEntry>(findings).await?;
        self.check_sorts::<GapEntry>(findings).await?;
        self.check_sorts::<AccountEntry>(findings).await?;
        self.check_sorts::<LetterSumEntry>(findings).await?;
        self.check_sorts::<LetterEntry>(findings).await?;
        self.check_sorts::<PushTimeEntry>(findings).await?;
        self.check_sorts::<OutboxEntry>(findings).await?;
        let schema = |table: TableEntry| table_row(table).err();
        let tables = self.check_sorts::<TableEntry>(findings).await?;
        findings.extend(tables.into_iter().filter_map(schema).map(|error| error.to_string()));
        Ok(())
    }

    /// The rows of a relation; those that are none are findings.
    async fn check_sorts<E: Entry>(&mut self, findings: &mut Vec<String>) -> Result<Vec<E>> {
        let mut entries = Vec::new();
        for record in self.books.scan(E::RELATION, Scan::default()).await? {
            match typed(record) {
                Ok(entry) => entries.push(entry),
                Err(error) => findings.push(error.to_string()),
            }
        }
        Ok(entries)
    }

    async fn check_guards(&mut self, findings: &mut Vec<String>) -> Result<()> {
        let mut guards: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        for guard in self.all::<GuardRow>().await? {
            guards.insert((guard.relation, guard.scope), (guard.rows, guard.sum));
        }
        if self.guard_total().await? != self.counter(GUARD).await? {
            findings.push("guards: one is gone or from another time".to_owned());
        }
        for relation in RELATIONS.iter().copied().filter(|relation| relation.guard != Guard::None) {
            let mut found: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
            for record in self.books.scan(relation, Scan::default()).await? {
                let scope = scope_of(relation, &record.values).unwrap_or_default();
                let (rows, sum) = found.entry((relation.name.to_owned(), scope)).or_default();
                *rows += 1;
                *sum = sum.wrapping_add(record.sum);
            }
            guards.retain(|scope, guard| {
                let same = found.get(scope).copied().unwrap_or_default() == *guard;
                if scope.0 == relation.name && !same {
                    findings.push(format!("{} {}: rows are lost, or from another time", scope.0, scope.1));
                }
                found.remove(scope);
                scope.0 != relation.name
            });
            findings.extend(found.keys().map(|scope| format!("{} {}: rows without a guard", scope.0, scope.1)));
        }
        findings.extend(guards.keys().map(|scope| format!("guard of `{}`, which is no relation", scope.0)));
        Ok(())
    }

    async fn check_commits(&mut self, findings: &mut Vec<String>) -> Result<()> {
        let (last, pruned) = (self.counter(COMMIT).await?, self.pruned().await?);
        let commits: Vec<CommitEntry> = self.all().await?;
        if !commits.iter().map(|commit| commit.seq).eq(pruned + 1..=last) {
            findings.push(format!("commits: they are not {} to {last}, each once", pruned + 1));
        }
        let made: BTreeSet<_> = commits.iter().map(|commit| (commit.publish, commit.seq)).collect();
        let known: BTreeSet<_> =
            self.all::<PublicationEntry>().await?.into_iter().map(|entry| (entry.publish, entry.seq)).collect();
        for (publish, seq) in made.symmetric_difference(&known) {
            findings.push(format!("commit {seq}, request {publish}: one does not know the other"));
        }
        Ok(())
    }

    async fn check_ranges(&mut self, findings: &mut Vec<String>) -> Result<()> {
        let mut ends = BTreeMap::new();
        let ranges: Vec<RangeEntry> = self.all().await?;
        for (at, range) in ranges.iter().enumerate() {
            let of = |range: &RangeEntry| (range.table, Arc::clone(&range.stream), range.partition, range.generation);
            let before = at.checked_sub(1).and_then(|at| ranges.get(at)).filter(|before| of(before) == of(range));
            let name = format!("range [{}, {}) of {}[{}]", range.from, range.to, range.stream, range.partition);
            if range.from >= range.to {
                findings.push(format!("{name}: it is empty"));
            }
            if let Some(before) = before
                && before.to != range.from
            {
                let how = if before.to > range.from { "overlaps" } else { "leaves a hole after" };
                findings.push(format!("{name}: it {how} the one before, which ends at {}", before.to));
            }
            ends.insert(of(range), range.to);
        }
        let checkpoints: Vec<CheckpointEntry> = self.all().await?;
        for (at, end) in &ends {
            let checkpoint = checkpoints.iter().find(|c| (c.table, &c.stream, c.partition) == (at.0, &at.1, at.2));
            let name = format!("checkpoint of {}[{}] of table {}", at.1, at.2, at.0);
            match checkpoint {
                None => findings.push(format!("{name}: it is gone, ranges end at {end}")),
                Some(checkpoint) if checkpoint.generation < at.3 => {
                    findings.push(format!("{name}: it is older than a range"));
                }
                Some(checkpoint) if checkpoint.generation == at.3 && checkpoint.next != Some(*end) => {
                    findings.push(format!("{name}: it is at {:?}, ranges end at {end}", checkpoint.next));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    async fn check_segments(&mut self, findings: &mut Vec<String>) -> Result<()> {
        let mut opened: BTreeMap<(TableId, SegmentId), u64> = BTreeMap::new();
        let mut closed = opened.clone();
        for commit in self.all::<CommitEntry>().await? {
            for (ids, into) in [(commit.opened, &mut opened), (commit.closed, &mut closed)] {
                for id in ids {
                    if into.insert((commit.table, id.clone()), commit.seq).is_some() {
                        findings.push(format!("segment {id}: opened or closed twice, again by commit {}", commit.seq));
                    }
                }
            }
        }
        let dropped = self.dropped_tables().await?;
        // What a forgotten commit did is no longer known.
        let pruned = self.pruned().await?;
        let known = |seq: &u64| *seq > pruned;
        let mut files: BTreeSet<_> =
            self.all::<FileEntry>().await?.into_iter().map(|file| (file.path, file.table, file.number)).collect();
        let mut closings: BTreeSet<_> =
            self.all::<ClosedEntry>().await?.into_iter().map(|c| (c.table, c.number, c.closed_at)).collect();
        let mut open_files = BTreeSet::new();
        for entry in self.all::<SegmentEntry>().await? {
            let mut wrong = |what: &str| findings.push(format!("segment {}: {what}", entry.id));
            let key = (entry.table, entry.id.clone());
            if opened.remove(&key) != Some(entry.visible_from).filter(known) {
                wrong("no commit, or another one, opened it");
            }
            if closed.remove(&key) != entry.visible_until.filter(known) {
                wrong("no commit, or another one, closed it");
            }
            if entry.visible_until.is_some_and(|until| until <= entry.visible_from) || entry.id.number != entry.number {
                wrong("it is closed before it is opened, or its number is another");
            }
            if entry.closed_at.is_some() != entry.visible_until.is_some()
                || entry.closed_at.is_some_and(|at| !closings.remove(&(entry.table, entry.number, at)))
            {
                wrong("it is closed and not listed as closed");
            }
            if entry.visible_until.is_none() && dropped.contains(&entry.table) {
                wrong("it is open, its table was dropped");
            }
            for path in entry.paths() {
                if !files.remove(&(path.clone(), entry.table, entry.number)) {
                    wrong("one of its files is not listed");
                }
                if entry.visible_until.is_none() && !open_files.insert(path.clone()) {
                    wrong("another open segment names the same file");
                }
            }
        }
        findings.extend(files.iter().map(|(path, ..)| format!("file {path}: no segment names it")));
        findings.extend(closings.iter().map(|(t, n, _)| format!("segment {n} of table {t}: listed as closed, is not")));
        // A segment whose files were deleted is in the log alone; it must have been closed.
        opened.retain(|key, _| !closed.contains_key(key));
        findings.extend(opened.keys().map(|(_, id)| format!("segment {id}: opened, never closed, and gone")));
        Ok(())
    }

    async fn check_keys(&mut self, findings: &mut Vec<String>) -> Result<()> {
        let order: BTreeSet<_> =
            self.all::<DedupOrderEntry>().await?.into_iter().map(|entry| (entry.table, entry.key, entry.at)).collect();
        let mut known = BTreeSet::new();
        for entry in self.all::<DedupEntry>().await? {
            known.insert((entry.table, Arc::clone(&entry.key)));
            if !order.contains(&(entry.table, Arc::clone(&entry.key), entry.at)) {
                findings.push(format!("idempotency key {} of table {}: not in order", entry.key, entry.table));
            }
        }
        let lost = order.iter().filter(|(table, key, _)| !known.contains(&(*table, Arc::clone(key))));
        findings.extend(lost.map(|(table, key, _)| format!("idempotency key {key} of table {table}: it is gone")));
        Ok(())
    }
}
