use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn small(keys_min: usize) -> IdempotencyWindow {
    IdempotencyWindow::new(WindowLimits { keep: Duration::from_millis(100), keys_min, bytes_max: 1 << 20 })
}

fn fresh(window: &IdempotencyWindow, key: &str, now: i64) -> Claim {
    match window.begin(key, [1; 32], at(now)).unwrap() {
        Begin::Fresh(claim) => claim,
        other => panic!("{key} is {other:?}"),
    }
}

#[test]
fn a_push_is_stored_once() {
    let window = small(10);
    let claim = fresh(&window, "a", 0);
    assert!(matches!(window.begin("a", [1; 32], at(1)).unwrap(), Begin::Running));
    assert!(matches!(window.begin("a", [2; 32], at(1)).unwrap(), Begin::KeyReused));
    claim.done("one");
    assert!(matches!(window.begin("a", [1; 32], at(2)).unwrap(), Begin::Stored(answer) if &*answer == "one"));
    assert!(matches!(window.begin("a", [2; 32], at(2)).unwrap(), Begin::KeyReused));
    drop(fresh(&window, "b", 3));
    drop(fresh(&window, "b", 4));
    assert_eq!(window.len(), 1);
}

#[test]
fn only_old_keys_beyond_the_least_number_are_forgotten() {
    let window = small(2);
    for (now, key) in [(0, "a"), (1, "b"), (2, "c")] {
        fresh(&window, key, now).done(key);
    }
    drop(fresh(&window, "x", 100));
    assert_eq!(window.len(), 3, "none is older than 100 ms");
    drop(fresh(&window, "x", 5_000));
    assert_eq!(window.len(), 2, "two are kept however old");
    drop(fresh(&window, "a", 5_001));
}

#[test]
fn a_window_full_of_young_keys_refuses() {
    let window = IdempotencyWindow::new(WindowLimits { keep: Duration::from_millis(100), keys_min: 0, bytes_max: 300 });
    fresh(&window, "a", 0).done("one");
    fresh(&window, "b", 0).done("two");
    assert_eq!(window.begin("c", [1; 32], at(5)).unwrap_err().kind(), crate::ErrorKind::Exhausted);
    fresh(&window, "c", 500).done("three");
}
