//! Ends what this test process started, even when the process is killed.
//!
//! Servers shared by all tests live in statics, which Rust never drops, and a killed test runner drops nothing at all. So one
//! shell per test process holds a list of commands; it reads them from a pipe, and the pipe closes when the test process
//! is gone, however that happened. Then the shell runs the list.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

static REAPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

const SCRIPT: &str = r#"
todo=
while IFS= read -r line; do todo="$todo$line
"; done
eval "$todo"
"#;

/// Has the shell command run when this process is gone. One line, and harmless when its target ended before.
pub fn at_exit(command: &str) {
    assert!(!command.contains('\n'), "one line at a time");
    // Nobody waits for the shell: it ends after this process.
    #[allow(clippy::zombie_processes)]
    let reaper = REAPER.get_or_init(|| {
        // A group of its own: Ctrl-C at the terminal ends the tests, and the reaper has to outlive them.
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        Mutex::new(shell.stdin.take().expect("stdin is piped"))
    });
    let mut pipe = reaper.lock().expect("nothing panics while holding the pipe");
    writeln!(pipe, "{command}").expect("the reaper reads until this process ends");
    pipe.flush().expect("the reaper reads until this process ends");
}

/// Kills process `pid` when this process is gone, if it still is the one whose command line holds `mark`.
pub fn kill_at_exit(pid: u32, mark: &str) {
    assert!(mark.chars().all(|c| c.is_ascii_alphanumeric() || "/._-:".contains(c)), "{mark:?} needs no quotes");
    at_exit(&format!(
        "if tr '\\0' ' ' </proc/{pid}/cmdline 2>/dev/null | grep -qF -e '{mark}'; then kill -9 {pid}; fi"
    ));
}
