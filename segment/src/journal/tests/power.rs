//! Power loss, failed syncs, a full disk and ended processes, on the simulated disk, against a model that is a map.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::disk::SimulatedDisk;

/// How many cases a random test runs: modest by default, more by `FRESHET_CASES`.
pub(super) fn cases(default: u64) -> u64 {
    std::env::var("FRESHET_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn simulated() -> (SimulatedDisk, Disk, PathBuf) {
    let simulated = SimulatedDisk::new();
    (simulated.clone(), Disk::Simulated(simulated), PathBuf::from("/data/push"))
}

/// What the outside knows: what must be there, and what may be.
#[derive(Default)]
struct Model {
    /// Acknowledged, or shown by a replay.
    kept: BTreeMap<i64, String>,
    /// Refused with an unknown outcome before the process ended.
    unknown: BTreeSet<(i64, String)>,
    checkpoint: i64,
    texts: u64,
}

impl Model {
    fn next(&self) -> i64 {
        self.kept.last_key_value().map_or(self.checkpoint, |(number, _)| (number + 1).max(self.checkpoint))
    }

    fn new_text(&mut self, random: &mut StdRng) -> String {
        self.texts += 1;
        let bytes = [0, 10, 600, 3_000][random.random_range(0..4)];
        format!("{}:{}", self.texts, "x".repeat(bytes))
    }

    /// After a start: all that was kept is there, once; what is there besides was on its way.
    fn check(&mut self, opened: &Opened, found: &[(i64, String)]) {
        assert_eq!(opened.damage, None, "power loss is taken for damage");
        let numbers: Vec<i64> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (self.checkpoint..opened.next).collect::<Vec<_>>(), "numbers are not dense");
        assert_eq!(opened.records, found.len() as u64);
        let found: BTreeMap<i64, String> = found.iter().cloned().collect();
        for (number, text) in self.kept.range(self.checkpoint..) {
            assert_eq!(found.get(number), Some(text), "record {number} was acknowledged");
        }
        for (number, text) in &found {
            let known = self.kept.contains_key(number) || self.unknown.contains(&(*number, text.clone()));
            assert!(known, "record {number} was never sent, or was refused for good");
        }
        self.kept = found;
        self.unknown.clear();
    }

    fn append(&mut self, journal: &Journal, random: &mut StdRng) {
        let texts: Vec<String> = (0..random.random_range(1..6)).map(|_| self.new_text(random)).collect();
        let first = self.next();
        let Ok(tickets) = journal.append_all(texts.iter().map(|text| record(text)).collect()) else {
            // Refused before it got a number: it is nowhere.
            assert!(journal.status().poisoned.is_some());
            if random.random_bool(0.5) && journal.reopen().is_ok() {
                self.unknown.clear();
            }
            return;
        };
        let mut failed = false;
        for (at, (ticket, text)) in tickets.into_iter().zip(texts).enumerate() {
            assert_eq!(ticket.number(), first + at as i64);
            let number = ticket.number();
            match ticket.wait() {
                Ok(()) => {
                    assert!(!failed, "a later record is kept, an earlier one is not");
                    self.kept.insert(number, text);
                }
                Err(e) => {
                    failed = true;
                    // Also after a full disk: the half-written group is taken out only as well as can be.
                    assert!(matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Exhausted));
                    self.unknown.insert((number, text));
                }
            }
        }
        journal.shared.quiesce();
    }
}

/// One life of a journal: from a start to power loss or an ended process.
fn live(simulated: &SimulatedDisk, disk: &Disk, folder: &Path, model: &mut Model, random: &mut StdRng) {
    let Ok((journal, opened)) = open_at(disk, folder, model.checkpoint) else { return };
    // A fault that was asked for in an earlier life may strike between the start and the replay.
    let found = match try_texts(&journal, model.checkpoint) {
        Ok(found) => found,
        Err(failed) => {
            assert!(disk.list(folder).is_err(), "a replay fails while power is there: {failed:?} after {opened:?}");
            return;
        }
    };
    model.check(&opened, &found);
    journal.shared.quiesce();
    match random.random_range(0..6) {
        0 | 1 => simulated.fail_after(random.random_range(0..60)),
        2 | 3 => simulated.fail_sync_after(random.random_range(0..12)),
        4 => simulated.set_capacity(Some(simulated.used_bytes() + random.random_range(0..9_000))),
        _ => {}
    }
    for _ in 0..random.random_range(0..14) {
        match random.random_range(0..10) {
            0 => {
                let checkpoint = random.random_range(model.checkpoint..=model.next());
                model.checkpoint = checkpoint;
                let _ = journal.cut(checkpoint);
            }
            1 => simulated.set_capacity(None),
            _ => model.append(&journal, random),
        }
    }
    simulated.set_capacity(None);
    match random.random_range(0..4) {
        0 => drop(journal),
        1 => {
            // The process ends without a last word; what it wrote is there.
            simulated.fail_after(0);
            drop(journal);
            simulated.end_process();
        }
        _ => {
            simulated.fail_after(0);
            drop(journal);
            simulated.lose_power(random.random());
        }
    }
}

#[test]
fn what_was_acknowledged_survives_power_loss() {
    let first: u64 = std::env::var("FRESHET_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in first..first + cases(300) {
        let ended = std::panic::catch_unwind(|| {
            let (simulated, disk, folder) = simulated();
            let mut random = StdRng::seed_from_u64(seed);
            let mut model = Model::default();
            for _ in 0..8 {
                live(&simulated, &disk, &folder, &mut model, &mut random);
            }
            // Whatever was going on, a last start without faults works.
            simulated.lose_power(seed);
            let (journal, opened) = open_at(&disk, &folder, model.checkpoint).unwrap();
            model.check(&opened, &texts(&journal, model.checkpoint));
        });
        assert!(ended.is_ok(), "FRESHET_SEED={seed} FRESHET_CASES=1 shows it again");
    }
}

/// What the property rests on: faults do happen in it.
#[test]
fn each_call_of_a_life_can_be_the_last() {
    // The life ends in power loss, or the process ends and another one goes on, until the power is lost.
    let run = |calls: Option<u64>, second_life: bool| {
        let (simulated, disk, folder) = simulated();
        if let Some(calls) = calls {
            simulated.fail_after(calls);
        }
        let mut kept = Vec::new();
        if let Ok((journal, _)) = open_at(&disk, &folder, 0) {
            for number in 0..14 {
                let text = format!("{number} {}", "x".repeat(900));
                let Ok(ticket) = journal.append(record(&text)) else { break };
                let number = ticket.number();
                if ticket.wait().is_ok() {
                    kept.push((number, text));
                }
                journal.shared.quiesce();
            }
            if !second_life {
                let _ = journal.cut(3);
            }
        }
        let calls = simulated.calls();
        if second_life {
            simulated.end_process();
            let (journal, opened) = open_at(&disk, &folder, 0).unwrap();
            assert_eq!(texts(&journal, 0)[..kept.len()], kept[..]);
            kept = texts(&journal, 0);
            for number in opened.next..opened.next + 3 {
                journal.append(record(&number.to_string())).unwrap().wait().unwrap();
                kept.push((number, number.to_string()));
            }
        }
        simulated.lose_power(calls);
        let checkpoint = if second_life { 0 } else { 3 };
        let (journal, opened) = open_at(&disk, &folder, checkpoint).unwrap();
        assert_eq!(opened.damage, None);
        kept.retain(|(number, _)| *number >= checkpoint);
        assert_eq!(texts(&journal, checkpoint)[..kept.len()], kept[..]);
        (calls, kept.len())
    };
    let (all, kept) = run(None, false);
    assert_eq!(kept, 11);
    assert!(all > 40, "{all} calls");
    let counts: BTreeSet<usize> = (0..all).map(|calls| run(Some(calls), false).1).collect();
    assert_eq!(counts, (0..=11).collect(), "each number of kept records is met");
    (0..all).for_each(|calls| assert!(run(Some(calls), true).1 >= 3));
}

#[test]
fn after_a_failed_sync_appends_wait_for_a_new_file() {
    let (simulated, disk, folder) = simulated();
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    journal.append(record("a")).unwrap().wait().unwrap();
    simulated.fail_sync_after(0);
    let failed = journal.append(record("lost")).unwrap().wait().unwrap_err();
    assert!(matches!(failed, SegmentError::Unavailable { outcome_unknown: true, .. }), "{failed:?}");
    assert!(journal.status().poisoned.unwrap().contains("input/output error"));
    let refused = journal.append(record("b")).unwrap_err();
    assert!(matches!(refused, SegmentError::Unavailable { outcome_unknown: false, .. }), "{refused:?}");
    assert_eq!(texts(&journal, 0), [(0, "a".to_owned())], "reads go on");

    journal.reopen().unwrap();
    assert_eq!(journal.status().poisoned, None);
    let ticket = journal.append(record("c")).unwrap();
    assert_eq!(ticket.number(), 1);
    ticket.wait().unwrap();
    assert_eq!(journal.status().files, 2);
    let expected = [(0, "a".to_owned()), (1, "c".to_owned())];
    assert_eq!(texts(&journal, 0), expected);
    simulated.lose_power(3);
    drop(journal);
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    assert_eq!(texts(&journal, 0), expected);
}

/// The trap of a failed sync: the next process reads the record from the system's cache, and the disk does not hold it.
#[test]
fn what_a_start_shows_is_durable_even_after_a_failed_sync() {
    let (simulated, disk, folder) = simulated();
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    journal.append(record("a")).unwrap().wait().unwrap();
    simulated.fail_sync_after(0);
    assert!(journal.append(record("b")).unwrap().wait().is_err());
    drop(journal);
    simulated.end_process();
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    let shown = texts(&journal, 0);
    assert_eq!(shown.len(), 2, "the cache still has it");
    drop(journal);
    for seed in 0..20 {
        simulated.lose_power(seed);
        assert_eq!(texts(&open_at(&disk, &folder, 0).unwrap().0, 0), shown);
    }
}

/// The same trap for a mark: it is only in the cache, and records behind it are synced by another process.
#[test]
fn a_mark_that_a_failed_sync_dropped_is_written_again() {
    let (simulated, disk, folder) = simulated();
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    journal.append(record("a")).unwrap().wait().unwrap();
    journal.shared.quiesce();
    simulated.fail_sync_after(0);
    assert!(journal.close().is_err());
    drop(journal);
    simulated.end_process();
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    journal.append(record(&"x".repeat(1_500))).unwrap().wait().unwrap();
    journal.append(record("c")).unwrap().wait().unwrap();
    journal.shared.quiesce();
    drop(journal);
    simulated.lose_power(4);
    let (journal, opened) = open_at(&disk, &folder, 0).unwrap();
    assert_eq!((opened.damage, opened.next), (None, 3));
    assert_eq!(texts(&journal, 2), [(2, "c".to_owned())]);
}

#[test]
fn a_full_disk_refuses_and_room_alone_helps() {
    let (simulated, disk, folder) = simulated();
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    let long = "x".repeat(1_500);
    let mut kept = Vec::new();
    for round in 0..6 {
        simulated.set_capacity(Some(simulated.used_bytes() + 2_048));
        let mut refused = 0;
        for turn in 0..5 {
            let text = format!("{round}/{turn} {long}");
            let ticket = journal.append(record(&text)).unwrap();
            let number = ticket.number();
            match ticket.wait() {
                Ok(()) => kept.push((number, text)),
                Err(failed) => {
                    assert_eq!(failed.kind(), ErrorKind::Exhausted, "{failed}");
                    refused += 1;
                }
            }
        }
        assert!(refused >= 2, "the disk is not full in round {round}");
        assert_eq!(texts(&journal, 0), kept);
        simulated.set_capacity(None);
        let text = format!("{round} has room {long}");
        let ticket = journal.append(record(&text)).unwrap();
        assert_eq!(ticket.number(), kept.len() as i64);
        kept.push((ticket.number(), text));
        ticket.wait().unwrap();
    }
    simulated.end_process();
    drop(journal);
    let (journal, opened) = open_at(&disk, &folder, 0).unwrap();
    assert_eq!(opened.damage, None);
    assert_eq!(texts(&journal, 0), kept);
}

/// Whatever is done about a full disk, an end in the midst of it leaves no file that looks damaged.
#[test]
fn an_end_while_the_disk_is_full_is_no_damage() {
    for calls in 0..12 {
        let (simulated, disk, folder) = simulated();
        let (journal, _) = open_at(&disk, &folder, 0).unwrap();
        journal.append(record("a")).unwrap().wait().unwrap();
        journal.shared.quiesce();
        simulated.set_capacity(Some(simulated.used_bytes() + 1_024));
        simulated.fail_after(calls);
        for _ in 0..3 {
            let Ok(ticket) = journal.append(record(&"x".repeat(500))) else { break };
            assert!(ticket.wait().is_err());
            journal.shared.quiesce();
        }
        simulated.fail_after(0);
        drop(journal);
        simulated.end_process();
        simulated.set_capacity(None);
        let (journal, opened) = open_at(&disk, &folder, 0).unwrap();
        assert_eq!(opened.damage, None, "{calls} calls");
        assert_eq!(texts(&journal, 0)[0], (0, "a".to_owned()));
        assert_eq!(journal.append(record("b")).unwrap().number(), opened.next);
    }
}

#[test]
fn a_refused_record_does_not_come_back_after_a_full_disk() {
    let (simulated, disk, folder) = simulated();
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    journal.append(record("a")).unwrap().wait().unwrap();
    journal.shared.quiesce();
    simulated.set_capacity(Some(simulated.used_bytes() + 1_024));
    // The first of the two fits on the disk, whole.
    let tickets = journal.append_all(vec![record("b"), record(&"x".repeat(500))]).unwrap();
    tickets.into_iter().for_each(|ticket| assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Exhausted));
    journal.shared.quiesce();
    simulated.end_process();
    drop(journal);
    simulated.set_capacity(None);
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    assert_eq!(texts(&journal, 0), [(0, "a".to_owned())]);
}
