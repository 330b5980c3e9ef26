//! Crashes: the process is killed at any moment, at every named place of the write path and on a full disk, and afterwards the ledger
//! has to agree with the tables, row by row.
//!
//! How often is said by `FRESHET_TEST_SCALE` and with which seed by `FRESHET_TEST_SEED` (`freshet_tests::scale`); `make soak` runs the
//! same tests with the counts of a release. docs/soak.md keeps what was run.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use freshet_segment::failpoint;
use freshet_tests::cluster::{self, Server, Setup, unique};
use freshet_tests::events::Random;
use freshet_tests::ledger::{Ledger, Pairs, Pusher, pushers, while_pushing};
use freshet_tests::{reaper, scale, services, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::care::CARE;
use crate::steps::STEPS;

/// Seals so often that a kill finds every step of one.
const SEAL_OFTEN: [&str; 4] = ["--seal-rows-max", "2000", "--seal-age-ms-max", "300"];
/// Leaves everything in memory and in the journal.
const SEAL_NEVER: [&str; 6] =
    ["--seal-rows-max", "1000000000", "--seal-age-ms-max", "86400000", "--seal-bytes-max", "100000000000"];

fn pause(random: &mut Random, from_ms: u64, to_ms: u64) {
    // Not a wait for something: the moment of a fault is the random input of these tests.
    std::thread::sleep(Duration::from_millis(from_ms + random.below(to_ms - from_ms)));
}

// --- T1: kills ---------------------------------------------------------------------------------------------------------------------

#[test]
fn kills_at_random_moments_lose_and_double_nothing() {
    let kills = scale::count("random kills", 30, 1000);
    let seed = scale::seed("kills_at_random_moments");
    let mut random = Random::new(seed);
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let (table, ledger) = (unique("kills"), Ledger::new());
    let mut sources = pushers(&ledger, &server.address(), &table, 4, seed, 0);
    // The table has to be there for the first question.
    sources[0].push();
    while_pushing(&mut sources, || {
        for kill in 0..kills {
            pause(&mut random, 20, 900);
            server.kill();
            // Now and then it is killed again while it recovers.
            while random.below(4) == 0 {
                server.spawn_again(&[]);
                pause(&mut random, 0, 400);
                server.kill();
            }
            server.restart();
            ledger.check(&server, &table);
            if kill % 100 == 99 {
                println!("{} kills, {} rows", kill + 1, ledger.rows());
            }
        }
    });
    ledger.check_whole(&server, &table);
    // A start after a clean end finds the same, and so does the one after that.
    for _ in 0..2 {
        server.terminate();
        server.restart();
        ledger.check_whole(&server, &table);
    }
    server.assert_no_panics();
}

/// Places that only a stream passes, walked with a broker.
const STREAMS: &str = "stream.";

/// The places that pushes pass on their way into sealed files.
fn places_of_push() -> impl Iterator<Item = &'static str> {
    // Those of the care and of an operator's steps are reached by asking for them.
    let others = |name: &&str| CARE.iter().chain(&STEPS).chain([&STREAMS]).any(|room| name.starts_with(room));
    failpoint::names().iter().copied().filter(move |name| !others(name))
}

/// At which passes the process ends in a first round: the catalog is written by a start, by a lease and by a publication, so its
/// places mean something else each time.
fn passes(name: &str) -> &'static [u64] {
    match name {
        "catalog.statement" => &[1, 6, 12, 18, 24, 30],
        _ if name.starts_with("catalog.") => &[1, 3, 5],
        _ => &[1],
    }
}

/// What has to happen for a place to be passed at all: a second file of the journal is begun when one is full, or when a sync failed.
fn way_to(name: &str) -> &'static str {
    match name {
        "journal.rolled" | "journal.cut_one" => "journal.before_sync=error@2;",
        _ => "",
    }
}

fn ask_to_publish(server: &Server, table: &str) {
    // Without a long wait: the sources go on meanwhile.
    let path = server.url(&format!("/api/v1/tables/{table}/publish?timeoutMs=500"));
    let _ = server.try_send(server.client().post(path).json(&json!({})));
}

/// One run that ends at `name=exit@N` while sources push, and the run after it.
fn die_at(server: &Server, sources: &mut [Pusher<'_>], ledger: &Ledger, table: &str, point: &str) -> bool {
    server.kill();
    let mut reached = false;
    while_pushing(sources, || {
        // A place on the way up ends the process before it answers.
        reached = server.try_restart(&[("FRESHET_FAILPOINTS", point)]).is_err();
        let began = Instant::now();
        while !reached && began.elapsed() < Duration::from_secs(8) {
            if server.ended().is_some() {
                reached = true;
            } else {
                ask_to_publish(server, table);
            }
        }
        server.kill();
        server.restart();
        ledger.check(server, table);
    });
    ledger.check_whole(server, table);
    reached
}

#[test]
fn a_kill_at_every_named_place_loses_and_doubles_nothing() {
    let rounds = scale::count("kills at each failpoint", 1, 5);
    let seed = scale::seed("a_kill_at_every_named_place");
    let mut random = Random::new(seed);
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let (table, ledger) = (unique("failpoints"), Ledger::new());
    let mut sources = pushers(&ledger, &server.address(), &table, 2, seed, 0);
    sources[0].push();
    let (mut missed, mut kills) = (Vec::new(), 0);
    for round in 0..rounds {
        for name in places_of_push() {
            for &pass in passes(name) {
                let pass = if round == 0 { pass } else { 1 + random.below(2 * pass + 3) };
                let point = format!("{}{name}=exit@{pass}", way_to(name));
                println!("{point}");
                if die_at(&server, &mut sources, &ledger, &table, &point) {
                    kills += 1;
                } else if round == 0 {
                    missed.push(point);
                }
            }
        }
    }
    println!("{kills} kills");
    assert!(missed.is_empty(), "named places that this test does not reach: {missed:?}");
    assert!(kills >= 40 * rounds / 2, "{kills} kills");
}

#[test]
fn an_error_at_every_named_place_loses_and_doubles_nothing() {
    one_fault_at_every_named_place("error", "errors", places_of_push());
}

/// A defect costs the work it was met in, which is taken up again; it is counted, and the process goes on.
#[test]
fn a_panic_at_every_named_place_loses_and_doubles_nothing() {
    one_fault_at_every_named_place("panic", "panics", places_of_push());
}

fn one_fault_at_every_named_place(deed: &str, table: &str, places: impl Iterator<Item = &'static str>) {
    let seed = scale::seed(&format!("{deed}_at_every_named_place"));
    let mut random = Random::new(seed);
    let (table, ledger) = (unique(table), Ledger::new());
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let mut sources = pushers(&ledger, &server.address(), &table, 2, seed, 0);
    sources[0].push();
    for name in places {
        let point = format!("{}{name}={deed}@{}", way_to(name), 1 + random.below(3));
        println!("{point}");
        server.kill();
        // One on the way up may refuse the start, never lose a row.
        if let Err(reason) = server.try_restart(&[("FRESHET_FAILPOINTS", &point)]) {
            println!("{point} refused the start: {}", reason.lines().last().unwrap_or_default());
            server.restart();
        }
        while_pushing(&mut sources, || {
            pause(&mut random, 100, 400);
            ledger.check(&server, &table);
        });
        // It was one: the same process goes on, and all sources get their acknowledgements.
        ledger.check_whole(&server, &table);
        // So does what publishes: one that stands still fills the memory.
        wait::until("what was pushed to be published", || {
            let answer = server.post(&format!("/api/v1/tables/{table}/publish?timeoutMs=5000"), &json!({}));
            if answer.status == 200 { Ok(()) } else { Err(format!("{point}: {}", answer.text())) }
        });
        ledger.check_whole(&server, &table);
    }
    server.kill();
    server.restart();
    ledger.check_whole(&server, &table);
}

// --- T1: kills at system calls, T3: a disk that fails --------------------------------------------------------------------------------

/// An `strace` that holds a running server and injects a fault into its system calls; detaches when dropped.
struct Strace(Child);

impl Strace {
    /// `None` after a counted skip.
    fn attach(server: &Server, inject: &str) -> Option<Self> {
        let calls = inject.split(':').next().unwrap();
        let started = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &format!("inject={inject}")])
            .args(["-p", &server.pid().to_string()])
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            services::skip("strace is not installed");
            return None;
        };
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        // It says so once it holds all threads; an end without that is a refusal.
        while !said.contains("attached") {
            if lines.read_line(&mut said).unwrap() == 0 {
                let _ = child.wait();
                services::skip(&format!("strace cannot attach: {said}"));
                return None;
            }
        }
        // It goes on writing: a pipe that nobody reads would stop it.
        std::thread::spawn(move || lines.lines().count());
        Some(Self(child))
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        // A process that was killed between two of its calls may leave it waiting for ever; its own end lets the other one go.
        let asked = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && asked.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The system calls that change what is on disk.
const CALLS: [&str; 11] = [
    "fsync",
    "fdatasync",
    "rename",
    "renameat2",
    "linkat",
    "unlink",
    "mkdir",
    "ftruncate",
    "openat",
    "pwrite64",
    "write",
];

#[test]
fn a_kill_at_every_system_call_of_a_seal_loses_and_doubles_nothing() {
    // Each n in turn costs minutes; the small count takes every call at n = 1, 2, 4, 8, and so on.
    let every = scale::count("every n-th call, 1 is yes", 0, 1) > 0;
    let seed = scale::seed("a_kill_at_every_system_call");
    let server = Setup::default().flags(&SEAL_NEVER).start();
    let (table, ledger) = (unique("calls"), Ledger::new());
    let mut source = Pusher::new(&ledger, Pairs::new("s", seed), &server.address(), &table);
    source.push();
    let mut kills = 0;
    for call in CALLS {
        let mut n = 1;
        loop {
            for _ in 0..3 {
                source.push();
            }
            let Some(strace) = Strace::attach(&server, &format!("{call}:signal=KILL:when={n}")) else { return };
            let publish = server.client().post(server.url(&format!("/api/v1/tables/{table}/publish"))).json(&json!({}));
            let answer = server.try_send(publish);
            drop(strace);
            if let Ok(answer) = answer {
                assert_eq!(answer.status, 200, "{call} {n}: {}", answer.text());
                // The call that ends it may come right behind the answer.
                if server.try_send(server.client().get(server.url("/health/live"))).is_ok() {
                    println!("{call}: a seal has fewer than {n} of one thread");
                    break;
                }
            }
            let _ = server.wait_for_end();
            kills += 1;
            server.restart();
            ledger.check_whole(&server, &table);
            n = if every { n + 1 } else { n * 2 };
        }
    }
    assert!(kills >= 5, "only {kills} kills: a seal syncs, creates and writes files");
    println!("{kills} kills");
    let _ = server.post(&format!("/api/v1/tables/{table}/publish"), &json!({})).expect(200);
    ledger.check_whole(&server, &table);
}

#[test]
fn a_sync_that_fails_stops_acknowledgements_and_loses_nothing() {
    let times = scale::count("failed syncs", 8, 500);
    let seed = scale::seed("a_sync_that_fails");
    let mut random = Random::new(seed);
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let (table, ledger) = (unique("eio"), Ledger::new());
    let mut sources = pushers(&ledger, &server.address(), &table, 2, seed, 0);
    sources[0].push();
    while_pushing(&mut sources, || {
        for time in 0..times {
            let call = ["fdatasync", "fsync"][usize::try_from(random.below(2)).unwrap()];
            let when = 1 + random.below(20);
            let Some(strace) = Strace::attach(&server, &format!("{call}:error=EIO:when={when}")) else { return };
            pause(&mut random, 200, 1500);
            drop(strace);
            ledger.check(&server, &table);
            // What was not synced must not come back as if it were.
            if time % 3 == 2 {
                server.kill();
                server.restart();
                ledger.check(&server, &table);
            }
        }
    });
    ledger.check_whole(&server, &table);
    server.kill();
    server.restart();
    ledger.check_whole(&server, &table);
}

/// A process that is stopped for longer than any lease and goes on is harmless.
#[test]
fn a_process_that_stood_still_goes_on() {
    let times = scale::count("stops", 3, 50);
    let seed = scale::seed("a_process_that_stood_still");
    let mut random = Random::new(seed);
    let server = Setup::default().flags(&SEAL_OFTEN).start();
    let (table, ledger) = (unique("stops"), Ledger::new());
    let mut sources = pushers(&ledger, &server.address(), &table, 2, seed, 0);
    sources[0].push();
    while_pushing(&mut sources, || {
        for _ in 0..times {
            pause(&mut random, 50, 500);
            server.pause();
            pause(&mut random, 200, 4000);
            server.resume();
            ledger.check(&server, &table);
        }
    });
    ledger.check_whole(&server, &table);
}

// --- T2: how fast it comes back --------------------------------------------------------------------------------------------------

/// What an answer during recovery was.
#[derive(Debug, Default)]
struct Recovery {
    recovering: u64,
    served_after: Option<Duration>,
}

#[test]
fn a_table_that_is_replayed_says_so_and_others_are_served_at_once() {
    let mib = scale::count("MiB of journal", 48, 1024);
    let seed = scale::seed("a_table_that_is_replayed");
    // The promise is for release builds on a quiet machine.
    let slack = if cluster::binary().components().any(|part| part.as_os_str() == "release") { 1 } else { 10 };
    let server = Setup::default().flags(&SEAL_NEVER).start();
    let (replayed, sealed) = (unique("replayed"), unique("sealed"));

    let small = Ledger::new();
    let mut source = Pusher::new(&small, Pairs::new("s", seed), &server.address(), &sealed);
    for _ in 0..20 {
        source.push();
    }
    let _ = server.post(&format!("/api/v1/tables/{sealed}/publish"), &json!({})).expect(200);

    let big = Ledger::new();
    let mut pairs = Pairs::new("s", seed).with_text(2000);
    let mut bytes = 0;
    {
        let mut source = Pusher::new(&big, Pairs::new("unused", 0), &server.address(), &replayed);
        while bytes < mib << 20 {
            let batch = pairs.batch_of(250);
            bytes += batch.records().iter().map(|row| u64::try_from(row.len()).unwrap()).sum::<u64>();
            source.push_batch(&batch);
        }
    }
    let rows = big.rows();
    server.kill();

    let began = Instant::now();
    server.spawn_again(&[]);
    let mut seen = Recovery::default();
    let mut sealed_after = None;
    wait::until_within(Duration::from_secs(600), "both tables to be served", || {
        if sealed_after.is_none() && server.try_rows(&format!("SELECT COUNT(*) FROM \"{sealed}\"")).is_ok() {
            sealed_after = Some(began.elapsed());
        }
        let query = json!({"query": format!("SELECT COUNT(*) FROM \"{replayed}\""), "resultFormat": "array"});
        let answer = server.try_send(server.client().post(server.url("/druid/v2/sql")).json(&query))?;
        match answer.status {
            200 => {
                assert_eq!(answer.json(), json!([[rows]]), "an answer is whole or it is no answer");
                seen.served_after.get_or_insert(began.elapsed());
            }
            503 => {
                assert_eq!(answer.json()["errorCode"], "RECOVERING", "{}", answer.text());
                seen.recovering += 1;
            }
            _ => panic!("{}: {}", answer.status, answer.text()),
        }
        if seen.served_after.is_some() && sealed_after.is_some() { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let (sealed_after, served_after) = (sealed_after.unwrap(), seen.served_after.unwrap());
    println!(
        "{mib} MiB, {rows} rows: the sealed table after {sealed_after:?}, the replayed one after {served_after:?}, {} times RECOVERING",
        seen.recovering
    );
    assert!(sealed_after < Duration::from_secs(2) * slack, "nothing to replay, but {sealed_after:?}");
    let promised = Duration::from_millis(2000 + mib * 10_000 / 1024) * slack;
    assert!(served_after < promised, "{served_after:?} for {mib} MiB, {promised:?} were promised");
    big.check_whole(&server, &replayed);
    small.check_whole(&server, &sealed);
}

// --- T11: a full disk --------------------------------------------------------------------------------------------------------------

/// A small file system in memory; gone when dropped, or with the process.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// `None` after a counted skip: only root may mount.
    fn mount(mib: u64) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("freshet-disk-").tempdir().unwrap();
        let path = folder.path().to_string_lossy().into_owned();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "freshet-test", &path])
            .output()
            .unwrap();
        if !mounted.status.success() {
            let reason = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
            services::skip(&format!("a small file system cannot be mounted: {reason}"));
            return None;
        }
        reaper::at_exit(&format!("umount -l '{path}'; rmdir '{path}'"));
        Some(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Takes all the space there is.
    fn fill(&self) {
        use std::io::Write;
        let mut ballast = std::fs::File::options().create(true).append(true).open(self.ballast()).unwrap();
        for piece in [1 << 20, 4096, 1] {
            while ballast.write_all(&vec![0x5a; piece]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l".as_ref(), self.folder.path().as_os_str()]).status();
    }
}

#[test]
fn a_full_disk_pushes_back_and_the_work_goes_on_by_itself() {
    let cycles = scale::count("full disks", 5, 100);
    let seed = scale::seed("a_full_disk");
    let mut random = Random::new(seed);
    let Some(disk) = SmallDisk::mount(64) else { return };
    let server = Setup::default().data_dir(&disk.path().join("data")).flags(&SEAL_OFTEN).start();
    let (table, ledger) = (unique("full"), Ledger::new());
    let mut sources = pushers(&ledger, &server.address(), &table, 2, seed, 0);
    sources[0].push();
    let probe = |server: &Server| {
        let path = server.url("/api/v1/push/probe_of_full_disk");
        server.try_send(server.client().post(path).json(&json!([{"time": 0, "n": 1}])))
    };
    while_pushing(&mut sources, || {
        for cycle in 0..cycles {
            pause(&mut random, 100, 800);
            disk.fill();
            let refused = wait::until("a push to be refused", || match probe(&server) {
                Ok(answer) if answer.status == 503 => Ok(answer),
                // What a seal gives back may be used once more.
                other => {
                    disk.fill();
                    Err(format!("{other:?}"))
                }
            });
            assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
            assert!(refused.json()["hint"].is_string(), "{}", refused.text());
            ledger.check(&server, &table);
            // Every third time it is killed while the disk is full, and started when there is room.
            let killed = cycle % 3 == 2;
            if killed {
                server.kill();
            }
            disk.free();
            if killed {
                server.restart();
            }
            let freed = Instant::now();
            wait::until("a push to be taken", || match probe(&server) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            });
            assert!(freed.elapsed() < Duration::from_secs(30), "it took {:?}", freed.elapsed());
            ledger.check(&server, &table);
        }
    });
    ledger.check_whole(&server, &table);
    server.kill();
    server.restart();
    ledger.check_whole(&server, &table);
    let _: Value = server.get("/health/ready").expect(200);
}
