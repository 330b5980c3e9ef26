use std::io::Write;

use super::*;
use crate::ErrorKind;

fn disks() -> Vec<(Disk, PathBuf, Option<tempfile::TempDir>)> {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("a/b");
    #[allow(unused_mut)]
    let mut all = vec![(Disk::Real, folder, Some(temp))];
    #[cfg(feature = "simulation")]
    all.push((Disk::Simulated(SimulatedDisk::new()), PathBuf::from("/a/b"), None));
    all
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
