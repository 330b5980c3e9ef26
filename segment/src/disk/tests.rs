use std::io::Write;

use super::*;
use crate::ErrorKind;

fn disks() -> Vec<(Disk, PathBuf, Option<tempfile::TempDir>)> {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("a/b");
    let simulated = (Disk::Simulated(SimulatedDisk::new()), PathBuf::from("/a/b"), None);
    vec![(Disk::Real, folder, Some(temp)), simulated]
}

#[test]
fn files_do_what_files_do() {
    for (disk, folder, _temp) in disks() {
        disk.create_dir_all(&folder).unwrap();
        disk.create_dir_all(&folder).unwrap();
        let one = folder.join("one");
        let mut file = disk.create_new(&one).unwrap();
        assert_eq!(file.append(b"hello").unwrap(), 0);
        file.write_all(b" world").unwrap();
        file.write_at(b"J", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_folder(&folder).unwrap();
        assert_eq!(&disk.read(&one).unwrap()[..], b"Jello world");
        assert_eq!(disk.create_new(&one).unwrap_err().kind(), ErrorKind::Unavailable);

        file.set_len(4).unwrap();
        file.set_len(6).unwrap();
        assert_eq!(&disk.read(&one).unwrap()[..], b"Jell\0\0");
        let mut into = [0; 3];
        disk.open(&one).unwrap().read_at(&mut into, 1).unwrap();
        assert_eq!(&into, b"ell");
        assert!(disk.open(&one).unwrap().read_at(&mut into, 4).is_err());

        let again = disk.open_write(&one).unwrap();
        assert_eq!(again.append(b"!").unwrap(), 6);
        disk.create_new(&folder.join("two")).unwrap();
        disk.rename(&one, &folder.join("two")).unwrap();
        let listed: Vec<_> = disk.list(&folder).unwrap().into_iter().map(|e| (e.name, e.bytes, e.folder)).collect();
        assert_eq!(listed, [("two".to_owned(), 7, false)]);
        assert!(!disk.exists(&one).unwrap());
        disk.remove(&folder.join("two")).unwrap();
        assert!(disk.list(&folder).unwrap().is_empty());
        assert!(disk.available_bytes(&folder).unwrap() > 0);
    }
}

#[test]
fn errors_name_two_parts_of_the_path() {
    let failed = Disk::Real.read(Path::new("/no/such/place/here")).unwrap_err();
    assert_eq!(failed.to_string(), "reading `place/here`");
}

#[test]
fn holes_are_skipped() {
    let temp = tempfile::tempdir().unwrap();
    let file = Disk::Real.create_new(&temp.path().join("holes")).unwrap();
    file.set_len(1 << 20).unwrap();
    file.write_at(b"x", 1 << 19).unwrap();
    let found = file.next_data(0).unwrap().unwrap();
    assert!(found <= 1 << 19);
    assert_eq!(file.next_data(1 << 20).unwrap(), None);
}

/// One file with synced bytes, bytes that are not, and a name that is not.
fn half_synced() -> (SimulatedDisk, DiskFile) {
    let simulated = SimulatedDisk::new();
    let disk = Disk::Simulated(simulated.clone());
    disk.create_dir_all(Path::new("/a")).unwrap();
    let file = disk.create_new(Path::new("/a/one")).unwrap();
    file.write_at(&[1; 2048], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_folder(Path::new("/a")).unwrap();
    file.write_at(&[2; 1024], 0).unwrap();
    disk.create_new(Path::new("/a/two")).unwrap();
    (simulated, file)
}

#[test]
fn power_loss_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (simulated, file) = half_synced();
        simulated.lose_power(seed);
        assert!(file.len().is_err(), "a handle outlives the power");
        let disk = Disk::Simulated(simulated);
        let bytes = disk.read(Path::new("/a/one")).unwrap();
        assert_eq!(bytes[1024..], [1; 1024]);
        for block in bytes.chunks(512) {
            assert!(block.iter().all(|b| b == &block[0]), "seed {seed} tears within a block");
        }
        seen.insert((bytes[0], bytes[512], disk.exists(Path::new("/a/two")).unwrap()));
    }
    assert_eq!(seen.len(), 8, "each part is sometimes kept and sometimes not: {seen:?}");
}

#[test]
fn what_a_failed_sync_dropped_is_shown_and_not_kept() {
    let (simulated, file) = half_synced();
    simulated.fail_sync_after(0);
    assert!(file.sync_data().is_err());
    assert!(file.sync_data().is_err(), "a failed sync is final for the file");
    assert!(file.write_at(&[3], 0).is_err());
    let disk = Disk::Simulated(simulated.clone());
    let again = disk.open_write(Path::new("/a/one")).unwrap();
    again.sync_data().unwrap();
    assert_eq!(disk.read(Path::new("/a/one")).unwrap()[0], 2);
    simulated.lose_power(1);
    assert_eq!(disk.read(Path::new("/a/one")).unwrap()[0], 1);
}

#[test]
fn a_full_disk_ends_a_write_half_way() {
    let (simulated, file) = half_synced();
    simulated.set_capacity(Some(simulated.used_bytes() + 512));
    let failed = file.write_at(&[7; 2048], 2048).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Exhausted);
    assert_eq!(file.len().unwrap(), 2048 + 512);
    simulated.set_capacity(None);
    file.write_at(&[7; 2048], 2048).unwrap();
}
