//! Counts of rows, dead letters, and what is remembered of pushes.

use super::super::accounting::{AccountRow, Accounting, Counts, DeadLetter, DeadLetters};
use super::super::books::{Books, Scan};
use super::super::entries::{AccountEntry, Cell, LetterEntry, LetterSumEntry, PushTimeEntry};
use super::{Ledger, table_key};
use crate::error::{Result, SegmentError};
use crate::id::TableId;

/// Letters that are looked at in one step when the oldest go; bounds memory, not the work.
const TRIM_STEP: usize = 256;

fn size(entry: &LetterEntry) -> u64 {
    u64::try_from(DeadLetter::from(entry.clone()).bytes()).unwrap_or(u64::MAX)
}

impl<B: Books> Ledger<B> {
    pub(super) async fn accounts(&mut self, table: TableId) -> Result<Vec<AccountRow>> {
        let all: Vec<AccountEntry> = self.book(Some(table_key(table))).await?;
        Ok(all.into_iter().map(AccountRow::from).collect())
    }

    /// Adds what a publication says of its rows.
    pub(super) async fn account(&mut self, table: TableId, accounting: Accounting) -> Result<()> {
        for row in &accounting.counts {
            if !row.counts.is_balanced() {
                let reason = format!("rows of {}[{}] are unaccounted for: {:?}", row.stream, row.partition, row.counts);
                return Err(SegmentError::invalid("publication", reason));
            }
            if row.counts == Counts::default() {
                continue;
            }
            let key = [table_key(table), row.stream.to_value(), row.partition.to_value()];
            let old: Option<AccountEntry> = self.get(&key).await?;
            let mut sum = row.clone();
            if let Some(old) = old {
                sum.counts += AccountRow::from(old).counts;
            }
            self.put(&AccountEntry::new(table, sum)).await?;
        }
        self.put_letters(table, accounting).await
    }

    async fn put_letters(&mut self, table: TableId, accounting: Accounting) -> Result<()> {
        let Accounting { letters, letters_unlisted, letters_max, letters_bytes_max, .. } = accounting;
        if letters.is_empty() && letters_unlisted == 0 {
            return Ok(());
        }
        let old: Option<LetterSumEntry> = self.get(&[table_key(table)]).await?;
        let mut sums = old.unwrap_or(LetterSumEntry { table, total: 0, kept: 0, bytes: 0 });
        sums.total = sums.total.saturating_add(letters_unlisted);
        let surplus = letters.len().saturating_sub(letters_max);
        let mut entries = Vec::with_capacity(letters.len() - surplus);
        for (at, letter) in letters.into_iter().enumerate() {
            sums.total = sums.total.saturating_add(1);
            if at >= surplus {
                let entry = LetterEntry::new(table, sums.total, letter);
                sums.kept += 1;
                sums.bytes = sums.bytes.saturating_add(size(&entry));
                entries.push(entry);
            }
        }
        self.put_all(entries.into_iter()).await?;
        let (kept_max, bytes_max) = (letters_max as u64, letters_bytes_max as u64);
        while sums.kept > kept_max || sums.bytes > bytes_max {
            let scan = Scan { limit: Some(TRIM_STEP), ..Scan::of(vec![table_key(table)]) };
            let oldest: Vec<LetterEntry> = self.scan(scan).await?;
            if oldest.is_empty() {
                // Rows were lost by a damaged page: the sums begin anew with what is there.
                (sums.kept, sums.bytes) = (0, 0);
            }
            for entry in oldest {
                if sums.kept <= kept_max && sums.bytes <= bytes_max {
                    break;
                }
                sums.kept = sums.kept.saturating_sub(1);
                sums.bytes = sums.bytes.saturating_sub(size(&entry));
                self.remove::<LetterEntry>(&[table_key(table), entry.number.to_value()]).await?;
            }
        }
        self.put(&sums).await
    }

    pub(super) async fn dead_letters(&mut self, table: TableId, limit: usize) -> Result<DeadLetters> {
        let sums: Option<LetterSumEntry> = self.get_sure(&[table_key(table)]).await?;
        let Some(LetterSumEntry { total, kept, .. }) = sums else { return Ok(DeadLetters::default()) };
        let newest = Scan { limit: Some(limit), reverse: true, ..Scan::of(vec![table_key(table)]) };
        let letters: Vec<LetterEntry> = self.scan(newest).await?;
        if u64::try_from(letters.len()) != Ok(kept.min(u64::try_from(limit).unwrap_or(u64::MAX))) {
            let reason = format!("{kept} were kept, {} of the newest {limit} are there", letters.len());
            return Err(SegmentError::corrupt(format!("the catalog's dead letters of table {table}"), reason));
        }
        Ok(DeadLetters { total, kept, letters: letters.into_iter().map(DeadLetter::from).collect() })
    }

    pub(super) async fn push_time(&mut self, table: TableId) -> Result<Option<String>> {
        let all: Vec<PushTimeEntry> = self.book(None).await?;
        Ok(all.into_iter().find(|entry| entry.table == table).map(|entry| entry.field))
    }

    pub(super) async fn set_push_time(&mut self, table: TableId, field: &str) -> Result<String> {
        self.live_table(table).await?;
        if let Some(standing) = self.push_time(table).await? {
            return Ok(standing);
        }
        self.put(&PushTimeEntry { table, field: field.to_owned() }).await?;
        Ok(field.to_owned())
    }

    /// Removes what is remembered of a table's rows.
    pub(super) async fn forget_accounts(&mut self, table: TableId) -> Result<()> {
        let prefix = [table_key(table)];
        self.remove::<AccountEntry>(&prefix).await?;
        self.remove::<LetterSumEntry>(&prefix).await?;
        self.remove::<LetterEntry>(&prefix).await?;
        self.remove::<PushTimeEntry>(&prefix).await
    }

    /// After a copy, which holds no letters: those that were kept count as dropped.
    pub(super) async fn settle_letters(&mut self) -> Result<()> {
        for sums in self.book::<LetterSumEntry>(None).await? {
            self.put(&LetterSumEntry { kept: 0, bytes: 0, ..sums }).await?;
        }
        Ok(())
    }

    pub(super) async fn check_accounts(&mut self, findings: &mut Vec<String>) -> Result<()> {
        for entry in self.scan::<AccountEntry>(Scan::default()).await? {
            let (table, row) = (entry.table, AccountRow::from(entry));
            if !row.counts.is_balanced() {
                let name = format!("account of {}[{}] of table {table}", row.stream, row.partition);
                findings.push(format!("{name}: rows are unaccounted for"));
            }
        }
        let mut kept = std::collections::BTreeMap::<TableId, (u64, u64)>::new();
        for entry in self.scan::<LetterEntry>(Scan::default()).await? {
            let (count, bytes) = kept.entry(entry.table).or_default();
            *count += 1;
            *bytes += size(&entry);
        }
        for sums in self.scan::<LetterSumEntry>(Scan::default()).await? {
            if kept.remove(&sums.table).unwrap_or_default() != (sums.kept, sums.bytes) || sums.kept > sums.total {
                findings.push(format!("dead letters of table {}: they are not as many as were kept", sums.table));
            }
        }
        findings.extend(kept.keys().map(|table| format!("dead letters of table {table}: nothing counts them")));
        Ok(())
    }
}
