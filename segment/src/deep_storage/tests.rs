use super::*;
use crate::error::ErrorKind;
use crate::sealed::sha256_of;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// What every place owes; run over each of them.
fn suite(storage: &Arc<DeepStorage>, handle: &Handle) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |path: &str, text: &str| {
        std::fs::write(folder.path().join("up"), text).expect("written");
        StoredFile { path: path.to_owned(), bytes: text.len() as u64, sha256: sha256_of(text.as_bytes()) }
    };
    let put = |path: &str, text: &str| {
        let file = file(path, text);
        handle.block_on(storage.put_file(&folder.path().join("up"), &file))
    };
    let paths = ["a%20b/day=2015-09-12/x-1.idx", "a%20b/day=all/y-2.json", "b/day=all/z.json"];
    for path in paths {
        put(path, path).expect("stored");
    }
    put(paths[0], paths[0]).expect("the same upload again");
    let other = put(paths[0], "other").expect_err("create-only");
    assert_eq!(other.kind(), ErrorKind::Conflict, "{other}");

    let listed = |prefix: &str| -> Vec<String> {
        handle.block_on(storage.list(prefix)).expect("listed").into_iter().map(|meta| meta.path).collect()
    };
    assert_eq!(listed(""), paths);
    assert_eq!(listed("a%20b"), paths[..2]);
    assert_eq!(listed("nosuch"), [""; 0]);
    let head = handle.block_on(storage.head(paths[1])).expect("asked").expect("there");
    assert_eq!((head.bytes, &*head.path), (paths[1].len() as u64, paths[1]));
    let bytes = |path: &str| handle.block_on(storage.fetch(path));
    assert_eq!(bytes(paths[0]).expect("there"), paths[0].as_bytes());
    assert_eq!(handle.block_on(storage.get_range(paths[0], 2, 3)).expect("there"), &paths[0].as_bytes()[2..5]);
    assert!(handle.block_on(storage.get_range(paths[0], 10, 1_000)).is_err(), "no short answer");
    assert_eq!(storage.wait(async { Ok(7) }).expect("done"), 7);

    handle.block_on(storage.delete(paths[0])).expect("deleted");
    handle.block_on(storage.delete(paths[0])).expect("gone already");
    assert_eq!(handle.block_on(storage.head(paths[0])).expect("asked"), None);
    assert_eq!(bytes(paths[0]).expect_err("gone").kind(), ErrorKind::NotFound);
    for path in &paths[1..] {
        handle.block_on(storage.delete(path)).expect("deleted");
    }

    let create = |text: &'static str| handle.block_on(storage.create("_own/log/7.json", Bytes::from(text)));
    create("seven").expect("made");
    create("seven").expect("the same request again");
    assert_eq!(create("eight").expect_err("taken").kind(), ErrorKind::Conflict);
    assert_eq!(bytes("_own/log/7.json").expect("there"), "seven");
    let cache = folder.path().join("cache");
    let seven = file("_own/log/7.json", "seven");
    storage.check(&seven, &cache).expect("what was written");
    let changed = StoredFile { sha256: sha256_of(b"sevem"), ..seven.clone() };
    assert_eq!(storage.check(&changed, &cache).expect_err("another hash").kind(), ErrorKind::Corrupt);
    handle.block_on(storage.delete("_own/log/7.json")).expect("deleted");
    assert_eq!(storage.check(&seven, &cache).expect_err("gone").kind(), ErrorKind::NotFound);
}

#[test]
fn a_check_of_what_is_elsewhere_gives_a_damaged_copy_up() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().expect("a folder"));
    let storage = DeepStorage::memory(runtime.handle().clone());
    runtime.block_on(storage.create("t/x.idx", Bytes::from("right"))).expect("made");
    let file = StoredFile { path: "t/x.idx".to_owned(), bytes: 5, sha256: sha256_of(b"right") };
    let copy = storage.local(&file, folder.path()).expect("fetched");
    storage.check(&file, folder.path()).expect("right");
    assert!(copy.exists(), "a good copy stays");
    std::fs::write(&copy, "wrong").expect("damaged");
    storage.check(&file, folder.path()).expect("the file itself is right");
    assert!(!copy.exists(), "{}", copy.display());
    assert_eq!(std::fs::read(storage.local(&file, folder.path()).expect("fetched")).expect("read"), b"right");
}

#[test]
fn a_folder_does_what_is_owed() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().expect("a folder"));
    let deep = folder.path().join("data/deep");
    suite(&DeepStorage::folder(&deep, runtime.handle().clone()).expect("a folder"), runtime.handle());
}

#[test]
fn an_object_store_does_what_is_owed() {
    let runtime = runtime();
    suite(&DeepStorage::memory(runtime.handle().clone()), runtime.handle());
    let store = Arc::new(InMemory::new());
    suite(
        &DeepStorage::object_store(store, "some/folder", runtime.handle().clone()).expect("a path"),
        runtime.handle(),
    );
}

/// Runs where `FRESHET_TEST_S3` names a server with a bucket `freshet`, as `127.0.0.1:9000`; keys are `test` and `test`.
#[test]
fn an_s3_server_does_what_is_owed() {
    let Ok(address) = std::env::var("FRESHET_TEST_S3") else {
        eprintln!("SKIPPED: FRESHET_TEST_S3 names no S3 server");
        return;
    };
    let runtime = runtime();
    let config = S3Config {
        endpoint: Some(format!("http://{address}")),
        bucket: "freshet".to_owned(),
        prefix: format!("tests/{}", std::process::id()),
        region: "us-east-1".to_owned(),
        allow_http: true,
        credentials: Some(("test".to_owned(), "test".to_owned())),
    };
    let storage = DeepStorage::s3(&config, runtime.handle().clone()).expect("a client");
    suite(&storage, runtime.handle());
    a_file_of_several_parts_arrives_whole(&storage, runtime.handle());
}

/// Longer than one request takes, and not by whole parts.
fn a_file_of_several_parts_arrives_whole(storage: &Arc<DeepStorage>, handle: &Handle) {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes: Vec<u8> =
        (0_u32..((64 << 20) + 12_345) / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let from = folder.path().join("large");
    std::fs::write(&from, &bytes).expect("written");
    let (path, sha256) = ("large/day=all/x-1.parquet".to_owned(), sha256_of(&bytes));
    let file = StoredFile { path, bytes: bytes.len() as u64, sha256 };
    assert!(file.bytes > 64 << 20 && !file.bytes.is_multiple_of(1 << 20));
    handle.block_on(storage.put_file(&from, &file)).expect("stored");
    let head = handle.block_on(storage.head(&file.path)).expect("asked").expect("there");
    assert_eq!(head.bytes, file.bytes);
    let copy = storage.local(&file, &folder.path().join("cache")).expect("fetched, and its hash compared");
    assert!(std::fs::read(copy).expect("a copy") == bytes, "every byte, in its place");
    let end = handle.block_on(storage.get_range(&file.path, file.bytes - 7, 7)).expect("there");
    assert_eq!(end, bytes[bytes.len() - 7..]);
    // An upload that ends half way leaves nothing under the name.
    let missing = StoredFile { path: "large/day=all/x-2.parquet".to_owned(), ..file.clone() };
    assert!(handle.block_on(storage.put_file(&folder.path().join("nothing"), &missing)).is_err());
    assert_eq!(handle.block_on(storage.head(&missing.path)).expect("asked"), None);
    handle.block_on(storage.delete(&file.path)).expect("deleted");
}

#[test]
fn waiting_on_the_only_worker_of_the_storages_own_runtime_does_not_hang() {
    let runtime = runtime();
    let storage = DeepStorage::memory(runtime.handle().clone());
    let waiting = Arc::clone(&storage);
    let answer = runtime.spawn(async move { waiting.wait(async { Ok(tokio::task::spawn(async { 5 }).await) }) });
    let limited = async { tokio::time::timeout(Duration::from_secs(20), answer).await };
    let found = runtime.block_on(limited).expect("in time").expect("joined").expect("done");
    assert_eq!(found.expect("joined"), 5);
}
