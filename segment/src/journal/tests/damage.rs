//! Flipped bits and cut files: found, or without effect. Never another record, never fewer in silence.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::power::cases;
use super::*;
use crate::disk::SimulatedDisk;
use crate::journal::repair::{examine, repair};

/// A closed journal of some files, and what is in it.
fn whole(random: &mut StdRng) -> (SimulatedDisk, Disk, PathBuf, Vec<(i64, String)>) {
    let simulated = SimulatedDisk::new();
    let (disk, folder) = (Disk::Simulated(simulated.clone()), PathBuf::from("/data/push"));
    let (journal, _) = open_at(&disk, &folder, 0).unwrap();
    let mut kept = Vec::new();
    for _ in 0..random.random_range(1..10) {
        let count = random.random_range(1..5);
        let texts = (0..count).map(|at| format!("{}:{}", kept.len() + at, "x".repeat(random.random_range(0..1_800))));
        let texts: Vec<String> = texts.collect();
        let tickets = journal.append_all(texts.iter().map(|text| record(text)).collect()).unwrap();
        for (ticket, text) in tickets.into_iter().zip(texts) {
            kept.push((ticket.number(), text));
            ticket.wait().unwrap();
        }
    }
    journal.close().unwrap();
    (simulated, disk, folder, kept)
}

/// Damages one file at random: a bit, or its end.
fn hurt(simulated: &SimulatedDisk, disk: &Disk, folder: &Path, random: &mut StdRng) -> String {
    let files = scan::file_numbers(disk, folder).unwrap();
    let path = scan::file_path(folder, files[random.random_range(0..files.len())]);
    let mut told = String::new();
    simulated
        .damage(&path, |bytes| {
            if random.random_bool(0.2) {
                let to = random.random_range(0..bytes.len());
                bytes.truncate(to);
                told = format!("{} cut to {to}", path.display());
            } else {
                // Most of a file may be hole: flips go where something is, three times of four.
                let used = bytes.iter().rposition(|b| *b != 0).unwrap_or(0) + 1;
                let end = if random.random_bool(0.75) { used } else { bytes.len() };
                let (at, bit) = (random.random_range(0..end), random.random_range(0..8));
                bytes[at] ^= 1 << bit;
                told = format!("{} bit {bit} of byte {at}", path.display());
            }
        })
        .unwrap();
    told
}

#[test]
fn damage_is_found_or_harmless_and_repaired() {
    let (mut found, mut lost_records) = (0, 0);
    let cases = cases(400);
    for seed in 1..=cases {
        let mut random = StdRng::seed_from_u64(seed);
        let (simulated, disk, folder, kept) = whole(&mut random);
        let what = format!("seed {seed}: {}", hurt(&simulated, &disk, &folder, &mut random));
        let examined = examine(&disk, &folder, 0).unwrap();
        let (journal, opened) = open_at(&disk, &folder, 0).unwrap();
        let Some(damage) = opened.damage else {
            assert_eq!(texts(&journal, 0), kept, "{what}");
            assert!(examined.damage.is_empty(), "{what}");
            continue;
        };
        found += 1;
        assert_eq!(examined.damage.first(), Some(&damage), "{what}");
        assert_eq!(journal.append(record("more")).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(journal.cut(1).unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(journal.status().damaged.unwrap().contains(&format!("byte {}", damage.at)));
        let replayed: Vec<Result<Record>> = journal.replay(0).unwrap().collect();
        let good = usize::try_from(damage.number).unwrap();
        assert_eq!(replayed.len(), good + 1, "{what}");
        assert_eq!(replayed.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
        for (found, kept) in replayed.iter().take(good).zip(&kept) {
            assert_eq!(found.as_ref().unwrap().payload, kept.1.as_bytes(), "{what}");
        }
        drop(journal);

        let files_before = scan::file_numbers(&disk, &folder).unwrap();
        let Ok(report) = repair(&disk, &folder, "push", 0, seed) else {
            assert!(damage.at == 0 && damage.number == *files_before.last().unwrap(), "{what}");
            continue;
        };
        assert!(disk.list(&folder).unwrap().iter().any(|entry| entry.name.ends_with(".damaged")), "{what}");
        let (journal, opened) = open_at(&disk, &folder, 0).unwrap();
        assert_eq!(opened.damage, None, "{what}");
        assert_eq!(opened.gaps, report.lost, "{what}");
        let in_gap = |number: i64| report.lost.iter().any(|gap| (gap.from..gap.to).contains(&number));
        // How much a cut file lost at its end nobody can say when it was the last one.
        let end = if damage.reason.contains("was cut") { opened.next } else { kept.len() as i64 };
        let left = kept.iter().filter(|(number, _)| !in_gap(*number) && *number < end);
        let left: Vec<_> = left.cloned().collect();
        assert_eq!(texts(&journal, 0), left, "{what}");
        let lost = kept.len() - left.len();
        lost_records += lost;
        assert!(lost <= 1 || what.contains("cut"), "one bit costs {lost} records: {what}");
        let ticket = journal.append(record("more")).unwrap();
        assert!(ticket.number() >= damage.number);
        ticket.wait().unwrap();
        drop(journal);
        simulated.lose_power(seed);
        assert_eq!(open_at(&disk, &folder, 0).unwrap().1.damage, None, "{what}");
    }
    assert!(found * 2 > cases, "only {found} of {cases} were found");
    assert!(lost_records > 0);
}

#[test]
fn damage_before_the_checkpoint_is_not_passed_over_either() {
    for records in [6, 3] {
        let simulated = SimulatedDisk::new();
        let (disk, folder) = (Disk::Simulated(simulated.clone()), PathBuf::from("/data/push"));
        let (journal, _) = open_at(&disk, &folder, 0).unwrap();
        for number in 0..records {
            journal.append(record(&format!("{number}:{}", "x".repeat(100)))).unwrap().wait().unwrap();
        }
        journal.close().unwrap();
        // In record 0 or 1, both published; behind it stand acknowledged ones, or none that anybody knows of.
        simulated.damage(&scan::file_path(&folder, 0), |bytes| bytes[frame::DATA_START + 150] ^= 1).unwrap();
        let (journal, opened) = open_at(&disk, &folder, 3).unwrap();
        assert!(opened.damage.is_some_and(|damage| damage.number < 3));
        let replayed: Vec<Result<Record>> = journal.replay(3).unwrap().collect();
        assert_eq!(replayed.len(), 1, "{replayed:?}");
        assert_eq!(replayed[0].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
        drop(journal);
        assert_eq!(repair(&disk, &folder, "push", 3, 1).unwrap().lost, [], "what is lost was published");
        let (journal, opened) = open_at(&disk, &folder, 3).unwrap();
        assert_eq!(opened.damage, None);
        assert_eq!(texts(&journal, 3).len(), records - 3);
    }
}

#[test]
fn a_sound_journal_is_examined_and_left_alone() {
    let (_, disk, folder, kept) = whole(&mut StdRng::seed_from_u64(5));
    let before = disk.list(&folder).unwrap();
    let report = repair(&disk, &folder, "push", 0, 1).unwrap();
    assert_eq!(report.files.iter().map(|file| file.records).sum::<u64>(), kept.len() as u64);
    assert!(report.damage.is_empty() && report.lost.is_empty());
    assert_eq!(disk.list(&folder).unwrap(), before);
}

#[test]
fn a_missing_file_is_found_and_can_be_given_up() {
    let (_temp, folder) = folder();
    let (journal, _) = open_at(&Disk::Real, &folder, 0).unwrap();
    for _ in 0..30 {
        journal.append(record(&"x".repeat(1_500))).unwrap().wait().unwrap();
    }
    drop(journal);
    for missing in [1, 0] {
        let files = scan::file_numbers(&Disk::Real, &folder).unwrap();
        Disk::Real.remove(&scan::file_path(&folder, files[missing])).unwrap();
        let (journal, opened) = open_at(&Disk::Real, &folder, 0).unwrap();
        assert_eq!(opened.damage.unwrap().number, files[missing]);
        drop(journal);
        let report = repair(&Disk::Real, &folder, "push", 0, 1).unwrap();
        assert!(report.lost.contains(&Gap { from: files[missing], to: files[missing + 1] }), "{report:?}");
        let (journal, opened) = open_at(&Disk::Real, &folder, 0).unwrap();
        assert_eq!((opened.damage, opened.gaps), (None, report.lost));
        assert_eq!(texts(&journal, 0).last().unwrap().0, 29);
    }
    // Below the checkpoint nothing is lost.
    assert!(examine(&Disk::Real, &folder, 30).unwrap().lost.is_empty());
}

#[test]
fn a_payload_cannot_pass_for_a_mark() {
    let (simulated, disk, folder, _) = whole(&mut StdRng::seed_from_u64(9));
    let (journal, opened) = open_at(&disk, &folder, 0).unwrap();
    // A frame as an attacker would write it, who does not know the salt of the file.
    let mut forged = Vec::new();
    for salt in [0, 1, 7] {
        frame::put_mark(&mut forged, salt, opened.next + 100);
    }
    let text = NewRecord { payload: Bytes::from(forged), key: None, answer: String::new() };
    simulated.fail_sync_after(0);
    assert!(journal.append(text).unwrap().wait().is_err());
    drop(journal);
    simulated.end_process();
    let last = *scan::file_numbers(&disk, &folder).unwrap().last().unwrap();
    simulated
        .damage(&scan::file_path(&folder, last), |bytes| {
            let end = bytes.iter().rposition(|b| *b != 0).unwrap();
            bytes[end] ^= 1;
        })
        .unwrap();
    let (_, again) = open_at(&disk, &folder, 0).unwrap();
    assert_eq!((again.damage, again.next), (None, opened.next), "a torn tail, not damage");
    assert!(again.torn_bytes > 0);
}
