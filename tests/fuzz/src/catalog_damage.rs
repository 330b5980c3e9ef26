//! A known copy of a catalog, damaged: `log entries u8 | steps of damage`.

use std::sync::LazyLock;

use freshet_segment::ErrorKind;
use freshet_segment::catalog::Catalog;

use crate::Target;
use crate::catalog_source::{Copy, copy, empty, runtime, state};
use crate::edits;

/// The target.
pub const TARGET: Target = Target { run, seeds, memory: (64 << 20, 4096), foreign_panics: false };

struct Source {
    copy: Copy,
    /// After the night, and after each log entry.
    states: Vec<String>,
}

static SOURCE: LazyLock<Source> = LazyLock::new(|| {
    runtime().block_on(async {
        let copy = copy().await;
        let mut states = Vec::new();
        for entries in 0..=copy.log.len() {
            let catalog = empty();
            catalog.rebuild(&copy.with_log(entries)).await.expect("the source itself");
            states.push(state(&catalog).await.expect("readable"));
        }
        // A copy of which every line was taken away is no copy.
        states.push(state(&empty()).await.expect("readable"));
        Source { copy, states }
    })
});

fn run(data: &[u8]) {
    let Some((entries, program)) = data.split_first() else { return };
    let mut bytes = SOURCE.copy.with_log(usize::from(*entries) % (SOURCE.copy.log.len() + 1));
    edits::apply(program, &mut bytes);
    runtime().block_on(async {
        let catalog = empty();
        match catalog.rebuild(&bytes).await {
            Ok(()) => {
                let state = state(&catalog).await.expect("readable");
                assert!(SOURCE.states.contains(&state), "a state that never was");
            }
            Err(refused) => assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}"),
        }
    });
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", vec![0]),
        ("nothing_of_all", vec![3]),
        ("byte", vec![3, 0, 200, 3, 1, 0]),
        ("cut", vec![3, 3, 0, 9, 0, 0]),
        ("taken_out", vec![2, 4, 30, 1, 0, 90]),
        ("copied", vec![1, 6, 0, 2, 90, 120]),
    ]
}
