//! Waiting for a condition with a deadline. Tests never sleep and hope.

use std::time::{Duration, Instant};

/// How long a test waits before it gives up. Generous: it is only spent by tests that fail, and CI machines have slow moments.
pub const DEADLINE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks until `attempt` gives a value, and returns it.
///
/// # Panics
/// After [`DEADLINE`], with `what` was awaited and what the last attempt saw.
pub fn until<T>(what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
    until_within(DEADLINE, what, attempt)
}

/// [`until`] with another deadline.
pub fn until_within<T>(deadline: Duration, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(seen) if began.elapsed() > deadline => {
                panic!("waited {deadline:?} for {what}; the last attempt saw: {seen}")
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Asks until `attempt` gives `expected`.
pub fn until_equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, mut attempt: impl FnMut() -> T) {
    until(what, || {
        let seen = attempt();
        if seen == *expected { Ok(()) } else { Err(format!("{seen:?}, not {expected:?}")) }
    });
}
