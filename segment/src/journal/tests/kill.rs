//! A process that appends is ended at each failpoint of the journal, as `kill -9` would; what it was told to be stored is there,
//! once.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::*;
use crate::failpoint::NAMES;

const FOLDER: &str = "FRESHET_TEST_KILL_FOLDER";
const RUN: &str = "FRESHET_TEST_KILL_RUN";

/// What outlives the process: what was acknowledged, and how far was published. A line is one write, which a kill does not tear.
#[derive(Debug, Default)]
struct Told {
    acked: BTreeMap<i64, String>,
    checkpoint: i64,
}

fn told(folder: &Path) -> Told {
    let mut told = Told::default();
    for line in std::fs::read_to_string(folder.join("told")).unwrap_or_default().lines() {
        let (number, text) = line.split_once(' ').unwrap();
        match text {
            "published" => told.checkpoint = number.parse().unwrap(),
            text => {
                assert_eq!(told.acked.insert(number.parse().unwrap(), text.to_owned()), None, "{number} is given twice")
            }
        }
    }
    told
}

/// The process to be ended; nothing when it is run as a test among others.
#[test]
fn child() {
    let (Ok(folder), Ok(run)) = (std::env::var(FOLDER), std::env::var(RUN)) else { return };
    let folder = PathBuf::from(folder);
    let mut told_file = OpenOptions::new().append(true).create(true).open(folder.join("told")).unwrap();
    let (journal, opened) = open_at(&Disk::Real, &folder.join("push"), told(&folder).checkpoint).unwrap();
    assert_eq!(opened.damage, None);
    for turn in 0..12 {
        // Two at once share a group; three groups fill a file.
        let texts = [0, 1].map(|at| format!("{run}/{turn}/{at}:{}", "x".repeat(400)));
        let tickets = journal.append_all(texts.iter().map(|text| record(text)).collect()).unwrap();
        // The one append that passes the failpoint of a single one.
        let single = (turn % 4 == 0).then(|| journal.append(record(&format!("{run}/{turn}/one"))).unwrap());
        let texts = texts.into_iter().chain([format!("{run}/{turn}/one")]);
        for (ticket, text) in tickets.into_iter().chain(single).zip(texts) {
            let number = ticket.number();
            ticket.wait().unwrap();
            told_file.write_all(format!("{number} {text}\n").as_bytes()).unwrap();
            if number % 5 == 4 {
                told_file.write_all(format!("{} published\n", number - 3).as_bytes()).unwrap();
                journal.cut(number - 3).unwrap();
            }
        }
    }
    journal.close().unwrap();
}

fn run_child(folder: &Path, run: usize, failpoints: &str) -> std::process::ExitStatus {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", "journal::tests::kill::child", "--test-threads", "1"]);
    command.env(FOLDER, folder).env(RUN, run.to_string()).env("FRESHET_FAILPOINTS", failpoints);
    command.stdout(Stdio::null()).status().unwrap()
}

fn check(folder: &Path, what: &str) -> usize {
    let told = told(folder);
    let (journal, opened) = open_at(&Disk::Real, &folder.join("push"), told.checkpoint).unwrap();
    assert_eq!(opened.damage, None, "{what}");
    let found = texts(&journal, told.checkpoint);
    let numbers: Vec<i64> = found.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (told.checkpoint..opened.next).collect::<Vec<_>>(), "{what}");
    let found: BTreeMap<i64, String> = found.into_iter().collect();
    let different: std::collections::BTreeSet<&String> = found.values().collect();
    assert_eq!(different.len(), found.len(), "a record is there twice: {what}");
    for (number, text) in told.acked.range(told.checkpoint..) {
        assert_eq!(found.get(number), Some(text), "{what}");
    }
    told.acked.len()
}

#[test]
fn what_was_acknowledged_survives_an_end_at_each_failpoint() {
    let temp = tempfile::tempdir().unwrap();
    let mut run = 0;
    for name in NAMES.iter().filter(|name| name.starts_with("journal.")) {
        // The journal is opened once in a life.
        for nth in if *name == "journal.opened" { 1..2 } else { 1..4 } {
            run += 1;
            let what = format!("{name}=exit@{nth}");
            let ended = run_child(temp.path(), run, &what);
            assert_eq!(ended.signal(), Some(9), "{what} was not passed: {ended}");
            check(temp.path(), &what);
        }
    }
    let before = check(temp.path(), "before the last run");
    assert!(run_child(temp.path(), run + 1, "").success());
    assert_eq!(check(temp.path(), "a life without an end"), before + 12 * 2 + 3);
}
