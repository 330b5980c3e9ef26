use std::collections::BTreeMap;

use proptest::prelude::*;

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

/// What the window should do, without an order kept: each forgotten key is searched for.
#[derive(Debug, Default)]
struct Naive {
    running: BTreeMap<u8, (u8, i64)>,
    stored: BTreeMap<u8, (u8, String, i64, usize)>,
    turns: usize,
}

impl Naive {
    fn store(&mut self, key: u8, body: u8, answer: &str, at: i64) {
        self.turns += 1;
        self.stored.insert(key, (body, answer.to_owned(), at, self.turns));
    }

    fn forget(&mut self, now: i64, keys_min: usize) {
        while self.stored.len() > keys_min {
            let oldest =
                self.stored.iter().min_by_key(|(_, (_, _, at, turn))| (*at, *turn)).map(|(key, held)| (*key, held.2));
            let Some((key, _)) = oldest.filter(|(_, at)| *at < now - 100) else { return };
            self.stored.remove(&key);
        }
    }
}

#[derive(Debug, Clone)]
enum Deed {
    Begin(u8, u8),
    Done(u8),
    Drop(u8),
    Restore(Vec<(u8, u8, i64)>),
    Wait(i64),
}

fn deeds() -> impl Strategy<Value = Deed> {
    let key = 0..8u8;
    prop_oneof![
        6 => (key.clone(), 0..2u8).prop_map(|(key, body)| Deed::Begin(key, body)),
        4 => key.clone().prop_map(Deed::Done),
        2 => key.clone().prop_map(Deed::Drop),
        1 => prop::collection::vec((key, 0..2u8, 0..400i64), 0..4).prop_map(Deed::Restore),
        2 => (0..150i64).prop_map(Deed::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_window_does_what_a_naive_one_does(deeds in prop::collection::vec(deeds(), 1..80), keys_min in 0..5usize) {
        let (window, mut naive, mut claims, mut now) = (small(keys_min), Naive::default(), BTreeMap::new(), 0);
        for deed in deeds {
            match deed {
                Deed::Wait(ms) => now += ms,
                Deed::Begin(key, body) => {
                    let known = naive.running.get(&key).map(|(body, _)| (*body, None));
                    let known = known.or_else(|| naive.stored.get(&key).map(|held| (held.0, Some(held.1.clone()))));
                    match (window.begin(&format!("k{key}"), [body; 32], at(now)).unwrap(), known) {
                        (Begin::Fresh(claim), None) => {
                            naive.forget(now, keys_min);
                            naive.running.insert(key, (body, now));
                            claims.insert(key, claim);
                        }
                        (Begin::KeyReused, Some((held, _))) => prop_assert_ne!(held, body),
                        (Begin::Running, Some((held, None))) => prop_assert_eq!(held, body),
                        (Begin::Stored(answer), Some((held, Some(first)))) => {
                            prop_assert_eq!((held, &*answer), (body, first.as_str()));
                        }
                        (begin, known) => prop_assert!(false, "{begin:?}, but {known:?}"),
                    }
                }
                Deed::Done(key) => if let (Some(claim), Some((body, begun))) = (claims.remove(&key), naive.running.remove(&key)) {
                    let answer = format!("answer of {key} at {begun}");
                    claim.done(answer.as_str());
                    naive.store(key, body, &answer, begun);
                },
                Deed::Drop(key) => {
                    claims.remove(&key);
                    naive.running.remove(&key);
                }
                Deed::Restore(mut keys) => {
                    let stored = keys.iter().map(|(key, body, ms)| {
                        StoredKey { key: format!("k{key}").into(), body_sha256: [*body; 32], answer: format!("old {ms}"), at: at(*ms) }
                    });
                    window.restore(stored.collect::<Vec<_>>());
                    keys.sort_by_key(|(_, _, ms)| *ms);
                    for (key, body, ms) in keys {
                        if !naive.running.contains_key(&key) && !naive.stored.contains_key(&key) {
                            naive.store(key, body, &format!("old {ms}"), ms);
                        }
                    }
                }
            }
            prop_assert_eq!(window.len(), naive.running.len() + naive.stored.len());
        }
    }
}
