use std::future::Future;
use std::path::PathBuf;
use std::task::{Context, Waker};

use super::*;
use crate::ErrorKind;
use crate::clock::ManualClock;

mod damage;
#[cfg(any(feature = "failpoints", debug_assertions))]
mod kill;
mod power;

pub(super) fn options() -> JournalOptions {
    JournalOptions { file_bytes: 8 << 10, group_bytes: 2 << 10, salt: 7, ..JournalOptions::default() }
}

pub(super) fn open_at(disk: &Disk, folder: &Path, checkpoint: i64) -> Result<(Journal, Opened)> {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    Journal::open(disk.clone(), folder, "push", JournalOptions { checkpoint, ..options() }, clock)
}

pub(super) fn record(text: &str) -> NewRecord {
    let key = Some(RecordKey { key: format!("key-{text}").into(), body_sha256: [3; 32] });
    NewRecord { payload: Bytes::copy_from_slice(text.as_bytes()), key, answer: format!("{{\"of\":\"{text}\"}}") }
}

pub(super) fn try_texts(journal: &Journal, from: i64) -> Result<Vec<(i64, String)>> {
    let text = |record: Record| (record.number, String::from_utf8(record.payload.to_vec()).unwrap());
    journal.replay(from)?.map(|record| record.map(text)).collect()
}

pub(super) fn texts(journal: &Journal, from: i64) -> Vec<(i64, String)> {
    try_texts(journal, from).unwrap()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("push");
    (temp, folder)
}

#[test]
fn what_is_appended_is_replayed_after_a_start() {
    let (_temp, folder) = folder();
    let (journal, opened) = open_at(&Disk::Real, &folder, 0).unwrap();
    assert_eq!((opened.next, opened.records, opened.torn_bytes), (0, 0, 0));
    let tickets: Vec<Ticket> = ["a", "b", "c"].map(|text| journal.append(record(text)).unwrap()).into();
    assert_eq!(tickets.iter().map(Ticket::number).collect::<Vec<_>>(), [0, 1, 2]);
    tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
    assert_eq!(journal.status().synced, 3);
    journal.close().unwrap();
    assert_eq!(journal.append(record("d")).unwrap_err().kind(), ErrorKind::Unavailable);
    drop(journal);

    let (journal, opened) = open_at(&Disk::Real, &folder, 1).unwrap();
    assert_eq!((opened.next, opened.records, opened.torn_bytes), (3, 2, 0));
    let back: Vec<Record> = journal.replay(1).unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(back.len(), 2);
    assert_eq!(back[0].number, 1);
    assert_eq!(back[0].at, Timestamp::from_millis(1_000));
    assert_eq!(
        (&back[0].payload[..], &back[0].key, &back[0].answer),
        (&b"b"[..], &record("b").key, &record("b").answer)
    );
    let ticket = journal.append(record("d")).unwrap();
    assert_eq!(ticket.number(), 3);
    ticket.wait().unwrap();
    assert_eq!(journal.status().files, 1, "a folder at rest goes on in its file");
}

#[test]
fn files_roll_and_are_cut_whole() {
    let (_temp, folder) = folder();
    let (journal, _) = open_at(&Disk::Real, &folder, 0).unwrap();
    let long = "x".repeat(1_000);
    for number in 0..40 {
        let ticket = journal.append(record(&format!("{number} {long}"))).unwrap();
        ticket.wait().unwrap();
    }
    let files = scan::file_numbers(&Disk::Real, &folder).unwrap();
    assert!(files.len() > 4, "{files:?}");
    assert_eq!(journal.status().files, files.len());
    journal.cut(files[2] + 1).unwrap();
    assert_eq!(scan::file_numbers(&Disk::Real, &folder).unwrap(), files[2..]);
    assert_eq!(journal.status().files, files.len() - 2);
    assert_eq!(texts(&journal, files[2]).len() as i64, 40 - files[2]);
    assert_eq!(journal.replay(0).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(journal.replay(40).unwrap().next().is_none());
    drop(journal);

    // A record that is longer than a file has one to itself.
    let (journal, opened) = open_at(&Disk::Real, &folder, files[3]).unwrap();
    assert_eq!(opened.records as i64, 40 - files[3]);
    journal.append(record(&"y".repeat(50_000))).unwrap().wait().unwrap();
    journal.append(record("z")).unwrap().wait().unwrap();
    assert_eq!(texts(&journal, 41), [(41, "z".to_owned())]);
    assert_eq!(texts(&journal, 40)[0].1.len(), 50_000);
}

#[test]
fn a_journal_below_its_checkpoint_goes_on_at_the_checkpoint() {
    let (_temp, folder) = folder();
    let (journal, _) = open_at(&Disk::Real, &folder, 0).unwrap();
    journal.append(record("a")).unwrap().wait().unwrap();
    drop(journal);
    let (journal, opened) = open_at(&Disk::Real, &folder, 10).unwrap();
    assert_eq!((opened.next, opened.records), (10, 0));
    journal.append(record("b")).unwrap().wait().unwrap();
    drop(journal);
    let (journal, opened) = open_at(&Disk::Real, &folder, 10).unwrap();
    assert_eq!((opened.next, opened.records), (11, 1));
    assert_eq!(texts(&journal, 10), [(10, "b".to_owned())]);
}

#[test]
fn a_folder_without_the_records_of_the_checkpoint_is_damaged() {
    let (_temp, folder) = folder();
    let (journal, _) = open_at(&Disk::Real, &folder, 5).unwrap();
    journal.append(record("a")).unwrap().wait().unwrap();
    drop(journal);
    let (journal, opened) = open_at(&Disk::Real, &folder, 2).unwrap();
    assert_eq!(opened.damage.unwrap().number, 2);
    assert_eq!(journal.append(record("b")).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn another_streams_folder_is_refused() {
    let (_temp, folder) = folder();
    drop(open_at(&Disk::Real, &folder, 0).unwrap());
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let (journal, opened) = Journal::open(Disk::Real, &folder, "other", options(), clock).unwrap();
    assert!(opened.damage.unwrap().reason.contains("another stream"));
    assert_eq!(journal.append(record("a")).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn records_that_cannot_be_read_back_are_refused() {
    let (_temp, folder) = folder();
    let (journal, _) = open_at(&Disk::Real, &folder, 0).unwrap();
    for key in [String::new(), "k".repeat(70_000)] {
        let key = Some(RecordKey { key: key.into(), body_sha256: [0; 32] });
        let refused = journal.append(NewRecord { payload: Bytes::new(), key, answer: String::new() });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let empty = NewRecord { payload: Bytes::new(), key: None, answer: String::new() };
    journal.append(empty).unwrap().wait().unwrap();
    assert_eq!(texts(&journal, 0), [(0, String::new())]);
}

#[test]
fn many_threads_share_syncs_and_get_dense_numbers() {
    let (_temp, folder) = folder();
    let (journal, _) = open_at(&Disk::Real, &folder, 0).unwrap();
    let numbers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (journal, numbers) = (&journal, &numbers);
            scope.spawn(move || {
                for turn in 0..50 {
                    let ticket = journal.append(record(&format!("{thread}/{turn}"))).unwrap();
                    let number = ticket.number();
                    ticket.wait().unwrap();
                    numbers.lock().push((number, format!("{thread}/{turn}")));
                }
            });
        }
    });
    let mut numbers = numbers.into_inner();
    numbers.sort();
    assert_eq!(texts(&journal, 0), numbers);
    assert_eq!(numbers.last().unwrap().0, 399);
    let groups = journal.status().groups;
    assert!(groups < 400, "{groups} syncs for 400 records");
}

#[test]
fn a_ticket_is_a_future() {
    let (_temp, folder) = folder();
    let (journal, _) = open_at(&Disk::Real, &folder, 0).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ticket = journal.append(record("a")).unwrap();
    runtime.block_on(ticket).unwrap();
    let mut ticket = std::pin::pin!(journal.append(record("b")).unwrap());
    let mut context = Context::from_waker(Waker::noop());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while ticket.as_mut().poll(&mut context).is_pending() {
        assert!(std::time::Instant::now() < deadline, "the ticket is never kept");
        std::thread::yield_now();
    }
    assert_eq!(texts(&journal, 0).len(), 2);
}

#[test]
fn behind_the_last_number_a_record_is_refused() {
    let (_temp, folder) = folder();
    for _ in 0..2 {
        let (journal, opened) = open_at(&Disk::Real, &folder, i64::MAX).unwrap();
        assert_eq!((opened.next, opened.damage), (i64::MAX, None));
        let error = journal.append(record("a")).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("checkpoint"), "{error}");
        assert_eq!(journal.status().next, i64::MAX);
    }
}
