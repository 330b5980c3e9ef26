//! Named places of the write path at which a test lets the process fail or end.
//!
//! `failpoint!("journal.synced")?` marks a place between two steps of which the order matters. In a release build it is
//! `Ok(())` and nothing else; in a dev build, and with the feature `failpoints`, it asks a registry, filled once from the
//! environment variable `FRESHET_FAILPOINTS`, what shall happen there. Not by the feature alone: a build of the workspace
//! that the tests ask for it would put it into every binary of that build, the one people run included.
//!
//! ```text
//! FRESHET_FAILPOINTS=journal.synced=exit@3;upload.meta=error      several are parted by `;`
//!
//! error      the place answers an error                    sleep(20)  it waits 20 ms, then goes on
//! panic      the place panics                              @3         only the third time it is passed, else each time
//! exit       the process ends at once, like `kill -9`: no destructor, no buffer written
//! ```
//!
//! All names stand in one list, so that a crash test can walk them; a name that is not in the list does not compile, and a
//! test looks for each name of the list in the code. The check of the feature is in a function of this crate, not in the
//! macro, so other crates use the macro without a feature of their own.

use crate::error::Result;

/// Every failpoint. A new one is one more line here.
pub const NAMES: &[&str] = &[
    "journal.append",
    "journal.write",
    "journal.before_sync",
    "journal.synced",
    "journal.rolled",
    "journal.before_cut",
    "journal.cut_one",
    "journal.opened",
    "catalog.begun",
    "catalog.statement",
    "catalog.before_commit",
    "catalog.committed",
    "seal.sorted",
    "seal.parquet_written",
    "seal.index_written",
    "seal.meta_written",
    "seal.files_synced",
    "seal.folder_synced",
    "seal.verified",
    "upload.begin",
    "upload.parquet",
    "upload.index",
    "upload.meta",
    "upload.headed",
    "push.time_chosen",
    "push.before_journal",
    "push.journaled",
    "push.applied",
    "push.freeze",
    "stream.begun",
    "stream.assigned",
    "stream.polled",
    "stream.stored",
    "stream.freeze",
    "publish.begin",
    "publish.sealed",
    "publish.stored",
    "publish.committed",
    "publish.handed_over",
    "publish.cut",
    "copies.fetched",
    "copies.evict",
    "compact.begin",
    "compact.written",
    "compact.stored",
    "compact.handed_over",
    "drop.begin",
    "drop.committed",
    "undo.begin",
    "undo.committed",
    "cleanup.begin",
    "cleanup.deleted",
    "cleanup.forgotten",
    "cleanup.orphan",
    "copy.entry",
    "copy.stored",
    "copy.export",
    "copy.exported",
    "copy.pruned",
    "table.made",
    "table.drop",
    "table.dropped",
    "table.unpublished",
    "spec.declared",
    "spec.stored",
    "spec.suspended",
    "spec.resumed",
    "spec.terminated",
    "reset.published",
    "reset.done",
    "recovery.leased",
    "recovery.table",
    "repair.kept",
    "repair.placed",
    "rebuild.filled",
    "rebuild.aside",
    "rebuild.placed",
];

/// Whether this build asks `FRESHET_FAILPOINTS`.
pub const COMPILED_IN: bool = cfg!(any(feature = "failpoints", debug_assertions));

/// Every failpoint, for tests that walk them.
pub fn names() -> &'static [&'static str] {
    NAMES
}

/// A named place: `failpoint!("journal.synced")?`. The name has to stand in [`NAMES`], else it does not compile.
///
/// The value is a `Result<(), SegmentError>`; the error is of the kind `Unavailable`.
///
/// ```compile_fail
/// fn step() -> freshet_segment::Result<()> {
///     freshet_segment::failpoint!("journal.no_such_place")
/// }
/// ```
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{
        const { assert!($crate::failpoint::is_known($name), "this name is not in failpoint::NAMES") }
        $crate::failpoint::pass($name)
    }};
}

/// Whether a name stands in [`NAMES`]; asked while compiling.
#[doc(hidden)]
pub const fn is_known(name: &str) -> bool {
    let mut at = 0;
    while at < NAMES.len() {
        if same(NAMES[at].as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    a.len() == b.len()
}

/// What the macro calls; nothing in a release build.
///
/// # Errors
/// None in a plain build.
#[cfg(not(any(feature = "failpoints", debug_assertions)))]
#[doc(hidden)]
#[inline(always)]
pub const fn pass(_name: &'static str) -> Result<()> {
    Ok(())
}

#[cfg(any(feature = "failpoints", debug_assertions))]
pub use armed::{arm, pass};

#[cfg(any(feature = "failpoints", debug_assertions))]
mod armed {
    use std::collections::HashMap;
    use std::sync::LazyLock;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::{NAMES, Result};
    use crate::error::SegmentError;

    const VARIABLE: &str = "FRESHET_FAILPOINTS";

    #[derive(Debug, Clone, Copy, PartialEq)]
    pub(super) enum Deed {
        Error,
        Exit,
        Panic,
        Sleep(Duration),
    }

    #[derive(Debug, PartialEq)]
    pub(super) struct Armed {
        pub(super) deed: Deed,
        /// Which pass it is for; nothing means each.
        pub(super) nth: Option<u64>,
        pub(super) passed: u64,
    }

    // A text that cannot be read ends the process: a crash test whose failpoint is misspelt would pass for the wrong reason.
    static REGISTRY: LazyLock<Mutex<HashMap<&'static str, Armed>>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        Mutex::new(parse(&text).expect("FRESHET_FAILPOINTS is written by a test, as the module says"))
    });

    /// Replaces what is armed, in the whole process: tests that call it take turns, or have a process of their own.
    ///
    /// # Errors
    /// `Invalid` for an unknown name or deed.
    pub fn arm(text: &str) -> Result<()> {
        *REGISTRY.lock() = parse(text)?;
        Ok(())
    }

    /// What the macro calls.
    ///
    /// # Errors
    /// `Unavailable` when this place is armed with `error`.
    #[doc(hidden)]
    #[expect(clippy::panic, reason = "a test asked for it")]
    pub fn pass(name: &'static str) -> Result<()> {
        let deed = {
            let mut registry = REGISTRY.lock();
            let Some(armed) = registry.get_mut(name) else { return Ok(()) };
            armed.passed += 1;
            if armed.nth.is_some_and(|nth| nth != armed.passed) {
                return Ok(());
            }
            armed.deed
        };
        match deed {
            Deed::Error => {
                let source = std::io::Error::other("the failpoint is armed");
                Err(SegmentError::Io { doing: "passing failpoint", path: name.to_owned(), source })
            }
            Deed::Exit => {
                // The signal is delivered before the call returns; a system that refused it must not go on either.
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                std::process::abort()
            }
            Deed::Panic => panic!("failpoint {name}"),
            Deed::Sleep(time) => {
                std::thread::sleep(time);
                Ok(())
            }
        }
    }

    pub(super) fn parse(text: &str) -> Result<HashMap<&'static str, Armed>> {
        let mut all = HashMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let refused =
                || SegmentError::invalid("failpoint", format!("`{part}` is not name=error|exit|panic|sleep(ms)[@N]"));
            let (name, deed) = part.split_once('=').ok_or_else(refused)?;
            let name = NAMES.iter().find(|known| **known == name).ok_or_else(refused)?;
            let (deed, nth) = match deed.split_once('@') {
                Some((deed, nth)) => (deed, Some(nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(refused)?)),
                None => (deed, None),
            };
            let deed = match deed {
                "error" => Deed::Error,
                "exit" => Deed::Exit,
                "panic" => Deed::Panic,
                other => {
                    let ms =
                        other.strip_prefix("sleep(").and_then(|rest| rest.strip_suffix(')')).ok_or_else(refused)?;
                    Deed::Sleep(Duration::from_millis(ms.parse().map_err(|_| refused())?))
                }
            };
            all.insert(*name, Armed { deed, nth, passed: 0 });
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn sources(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("failpoint.rs") {
                into.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// A room that is not built yet uses none of its names; one that is uses all of them.
    #[test]
    fn each_name_is_a_place_in_the_code() {
        let mut code = String::new();
        for member in ["segment", "ingest", "server"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(member).join("src"), &mut code);
        }
        let room = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let used = |name: &str| code.contains(&format!("failpoint!(\"{name}\")"));
        for name in NAMES {
            let built = room(name) == "journal" || NAMES.iter().any(|other| room(other) == room(name) && used(other));
            assert!(!built || used(name), "failpoint {name} stands nowhere");
        }
    }

    #[test]
    fn names_are_unique_and_known() {
        let unique: std::collections::HashSet<_> = names().iter().collect();
        assert_eq!(unique.len(), names().len());
        assert!(is_known("journal.synced"));
        assert!(!is_known("journal.sync"));
        assert!(!is_known("journal.synced2"));
    }

    #[cfg(any(feature = "failpoints", debug_assertions))]
    #[test]
    fn texts_are_read_or_refused() {
        use super::armed::{Armed, Deed, parse};
        let armed = parse("journal.synced=exit@3; upload.meta=sleep(20);seal.sorted=error").unwrap();
        assert_eq!(armed.len(), 3);
        assert_eq!(armed["journal.synced"], Armed { deed: Deed::Exit, nth: Some(3), passed: 0 });
        assert_eq!(armed["upload.meta"].deed, Deed::Sleep(std::time::Duration::from_millis(20)));
        assert_eq!(armed["seal.sorted"].nth, None);
        for bad in [
            "journal.synced",
            "journal.sync=exit",
            "journal.synced=stop",
            "journal.synced=exit@0",
            "journal.synced=sleep(x)",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
