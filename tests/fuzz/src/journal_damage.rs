//! A known journal with a damaged file: `file u8 | steps of damage`.

use std::sync::LazyLock;

use freshet_segment::ErrorKind;
use freshet_segment::disk::{Disk, SimulatedDisk};
use freshet_segment::journal::Record;
use freshet_segment::journal::repair::{examine, repair};

use crate::Target;
use crate::edits::{self, Damage};
use crate::journal::{folder, open, path_of, place, replayed, written};

/// The target.
pub const TARGET: Target = Target { run, seeds, memory: (64 << 20, 64), foreign_panics: false };

struct Source {
    files: Vec<(i64, Vec<u8>)>,
    records: Vec<Record>,
}

static SOURCE: LazyLock<Source> = LazyLock::new(|| {
    let files = written(&[2, 3, 1, 2, 3], 600);
    assert!(files.len() > 2, "a journal of several files");
    let disk = disk_of(&files);
    let (journal, _) = open(&disk, 0).expect("whole");
    let (records, failed) = replayed(&journal, 0);
    assert!(failed.is_none() && records.len() == 11, "the source itself");
    Source { files, records }
});

fn disk_of(files: &[(i64, Vec<u8>)]) -> Disk {
    let disk = Disk::Simulated(SimulatedDisk::new());
    disk.create_dir_all(&folder()).expect("a folder");
    for (first, bytes) in files {
        place(&disk, &path_of(*first), bytes, bytes.len() as u64);
    }
    disk.sync_folder(&folder()).expect("a disk without faults");
    disk
}

fn run(data: &[u8]) {
    let Some((file, program)) = data.split_first() else { return };
    let Source { files, records: kept } = &*SOURCE;
    let mut files = files.clone();
    let count = files.len();
    let (_, bytes) = &mut files[usize::from(*file) % count];
    // Most of a file is a hole: the damage falls where something is.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let hole = bytes.split_off(used);
    let damage = edits::apply(program, bytes);
    bytes.extend(hole);

    let disk = disk_of(&files);
    let examined = match examine(&disk, &folder(), 0) {
        Ok(examined) => examined,
        // Two good headers of another version would have to come out of it.
        Err(failed) => unreachable!("damage is no newer format: {failed}"),
    };
    let (journal, opened) = open(&disk, 0).expect("damage is no error");
    let (records, failed) = replayed(&journal, 0);
    assert_eq!(kept.get(..records.len()), Some(&*records), "another record than was written");
    assert_eq!(failed.is_some(), opened.damage.is_some(), "{failed:?}");
    assert_eq!(examined.damage.first(), opened.damage.as_ref());
    if opened.damage.is_none() {
        assert!(damage == Damage::Much || records.len() == kept.len(), "a changed byte took a record in silence");
        return;
    }
    drop(journal);

    let last = files.last().map(|(first, _)| *first);
    let report = match repair(&disk, &folder(), "push", 0, 7) {
        Ok(report) => report,
        Err(failed) => {
            assert_eq!(failed.kind(), ErrorKind::Corrupt, "{failed}");
            assert!(opened.damage.is_some_and(|damage| Some(damage.number) == last || damage.at > 0), "{failed}");
            return;
        }
    };
    let (journal, again) = open(&disk, 0).expect("repaired");
    assert_eq!((&again.damage, &again.gaps), (&None, &report.lost));
    let (left, failed) = replayed(&journal, 0);
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(left.get(..records.len()), Some(&*records), "a repair loses nothing that could be read");
    for record in &left {
        assert!(kept.contains(record), "a repair made record {} up", record.number);
    }
    let is_lost = |number: i64| report.lost.iter().any(|gap| (gap.from..gap.to).contains(&number));
    for record in kept.iter().filter(|record| record.number < again.next) {
        assert!(left.contains(record) != is_lost(record.number), "record {} is lost and not told", record.number);
    }
    if damage == Damage::Byte {
        assert!(left.len() + 1 >= kept.len(), "one byte costs {} records", kept.len() - left.len());
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", vec![0]),
        ("byte_of_a_header", vec![0, 0, 20, 0, 1, 0]),
        ("byte_of_a_record", vec![1, 0, 80, 4, 1, 0]),
        ("byte_of_the_last_file", vec![9, 0, 40, 4, 1, 0]),
        ("cut", vec![2, 3, 0, 5, 0, 0]),
        ("zeros", vec![1, 5, 16, 4, 0, 200]),
        ("shifted", vec![1, 4, 16, 4, 0, 3, 7, 80, 5, 9, 9]),
        ("copied", vec![0, 6, 0, 6, 160, 255]),
    ]
}
