//! How often the slow tests do what they do, and with which seed.
//!
//! `FRESHET_TEST_SCALE`: absent or `ci` takes the small counts that `make test` has time for; a number multiplies them; `soak` takes the
//! counts of a release. `FRESHET_TEST_SEED` repeats a run: every test prints the seed it used. Without it the small counts always run
//! with the same seeds, so that a red CI can be looked into, and the others with new ones, so that each run proves something more.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::events::Random;

/// The count of something in this run; says so in the test's output.
///
/// # Panics
/// When `FRESHET_TEST_SCALE` is none of what it may be.
#[must_use]
pub fn count(what: &str, ci: u64, release: u64) -> u64 {
    let scale = std::env::var("FRESHET_TEST_SCALE").unwrap_or_default();
    let count = counted(&scale, ci, release)
        .unwrap_or_else(|| panic!("FRESHET_TEST_SCALE is {scale:?}; it may be ci, soak or a number"));
    println!("{what}: {count} (release: {release})");
    count
}

fn counted(scale: &str, ci: u64, release: u64) -> Option<u64> {
    match scale {
        "" | "ci" => Some(ci),
        "soak" => Some(release),
        factor => factor.parse::<u64>().ok().filter(|&factor| factor > 0).map(|factor| ci * factor),
    }
}

/// The seed of a test; says so in the test's output.
///
/// # Panics
/// When `FRESHET_TEST_SEED` is not a number.
#[must_use]
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("FRESHET_TEST_SEED") {
        Ok(text) if !text.is_empty() => {
            text.parse().unwrap_or_else(|error| panic!("FRESHET_TEST_SEED={text} is no seed: {error}"))
        }
        _ if matches!(std::env::var("FRESHET_TEST_SCALE").as_deref(), Err(_) | Ok("" | "ci")) => {
            // The tests differ from each other, and each run is like the one before.
            test.bytes().fold(0, |seed, byte| Random::new(seed ^ u64::from(byte)).next_u64() >> 16)
        }
        _ => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
            Random::new(u64::try_from(now.as_nanos() & u128::from(u64::MAX)).expect("cut to 64 bits")).next_u64() >> 16
        }
    };
    println!("{test}: FRESHET_TEST_SEED={seed}");
    seed
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn a_scale_is_a_word_or_a_factor() {
        assert_eq!(counted("", 5, 100), Some(5));
        assert_eq!(counted("ci", 5, 100), Some(5));
        assert_eq!(counted("soak", 5, 100), Some(100));
        assert_eq!(counted("3", 5, 100), Some(15));
        assert_eq!(counted("0", 5, 100), None);
        assert_eq!(counted("much", 5, 100), None);
    }
}
