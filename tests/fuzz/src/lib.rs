//! Fuzz targets: everything that reads bytes it did not just write, fed by libFuzzer.
//!
//! | target | reads | what must hold, besides that nothing panics |
//! |---|---|---|
//! | [`journal`] | journal files, their checksums made to match | what opens is replayed whole; what repair keeps can be read, and written behind |
//! | [`journal_damage`] | a known journal, damaged | no other record, ever; one changed byte is found or harmless |
//! | [`sealed_index`], [`sealed_meta`], [`sealed_parquet`] | one file of a known segment, damaged, then with checksums that match | damage is found or harmless; below the checksums as many rows as the catalog says, or `Corrupt` |
//! | [`catalog`] | copies of a catalog, their hashes made to match | what is rebuilt passes its check, can be read, copied again and written to; what is refused leaves nothing |
//! | [`catalog_damage`] | a known copy, damaged | a state the catalog really was in, or `Corrupt` |
//! | [`push`] | bodies of pushes, and their records in the journal | rows and values as another reader of JSON has them; replay finds the same |
//! | [`records`] | records of a topic, under a spec | each record's rows are the same alone as in a batch |
//!
//! Memory is bounded for all of them ([`memory`]). A target is a function over bytes and a list of seeds: valid inputs, from which
//! the committed corpus is made.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

pub mod catalog;
pub mod catalog_damage;
mod catalog_source;
mod edits;
pub mod journal;
pub mod journal_damage;
mod json;
pub mod memory;
pub mod push;
pub mod records;
mod sealed;
pub mod sealed_index;
pub mod sealed_meta;
pub mod sealed_parquet;

/// A fuzz target.
#[derive(Debug)]
pub struct Target {
    /// Reads one input; a panic is a finding.
    pub run: fn(&[u8]),
    /// Valid inputs, with names.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
    /// Bytes that a run may hold at once: so many, and so many for each byte of the input.
    pub memory: (usize, usize),
    /// Whether readers of other people may panic below the border that makes `Corrupt` of it.
    pub foreign_panics: bool,
}

/// The program of a target: `target!(journal);`.
#[macro_export]
macro_rules! target {
    ($module:ident) => {
        #[global_allocator]
        static MEMORY: $crate::memory::Bounded = $crate::memory::Bounded;
        libfuzzer_sys::fuzz_target!(init: $crate::begin(&$crate::$module::TARGET), |data: &[u8]| {
            $crate::run(&$crate::$module::TARGET, data);
        });
    };
}

/// What a panic that is not ours said, should it leave the target after all.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Called once by the program of a target. With `FRESHET_FUZZ_SEEDS` it writes the seeds into that folder and ends.
pub fn begin(target: &'static Target) {
    // libFuzzer's own hook: shows the panic and aborts.
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if target.foreign_panics && !is_ours(panic) {
            *LAST_PANIC.lock().unwrap_or_else(|held| held.into_inner()) = panic.to_string();
        } else {
            abort(panic);
        }
    }));
    if let Some(folder) = std::env::var_os("FRESHET_FUZZ_SEEDS") {
        let folder = Path::new(&folder);
        std::fs::create_dir_all(folder).expect("the folder of the corpus can be made");
        for (name, bytes) in (target.seeds)() {
            std::fs::write(folder.join(name), bytes).expect("a seed can be written");
        }
        std::process::exit(0);
    }
}

fn is_ours(panic: &PanicHookInfo<'_>) -> bool {
    let file = panic.location().map_or("", |place| place.file());
    ["segment/src/", "ingest/src/", "fuzz/src/"].iter().any(|ours| file.contains(ours)) || file.starts_with("src/")
}

/// One run.
pub fn run(target: &Target, data: &[u8]) {
    let (base, each) = target.memory;
    let bound = memory::bound(base + each * data.len());
    if catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_err() {
        eprintln!("{}", LAST_PANIC.lock().unwrap_or_else(|held| held.into_inner()));
        std::process::abort();
    }
    drop(bound);
}
