use super::*;

fn load(file: Option<&str>, environment: &[(&str, &str)], flags: &Flags) -> Result<Config, String> {
    let folder = std::env::temp_dir().join(format!("freshet-config-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("freshet.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let result = Config::load(file.map(|_| path.as_path()), environment, flags);
    std::fs::remove_dir_all(&folder).unwrap();
    result.map_err(|error| error.to_string().replace(&*path.to_string_lossy(), "freshet.toml"))
}

#[test]
fn later_layers_win() {
    let file = "seed = 2\nlisten = \"127.0.0.1:1000\"\ndemo_rate = 5";
    let environment = [("FRESHET_SEED", "3"), ("FRESHET_DEMO_RATE", "6"), ("HOME", "/x"), ("FRESHET_TEST_KAFKA", "y")];
    let flags = Flags { demo_rate: Some(7), ..Flags::default() };
    let config = load(Some(file), &environment, &flags).unwrap();
    assert_eq!((config.listen.as_str(), config.seed, config.demo_rate, config.demo), ("127.0.0.1:1000", 3, 7, false));
    assert_eq!(config.data_dir, Path::new("./data"));
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let none = Flags::default();
    assert_eq!(
        load(Some("datadir = \"x\""), &[], &none).unwrap_err(),
        "freshet.toml: unknown key datadir; did you mean \"data_dir\"?"
    );
    assert_eq!(
        load(None, &[("FRESHET_LISTN", "x")], &none).unwrap_err(),
        "unknown variable FRESHET_LISTN in the environment; did you mean FRESHET_LISTEN?"
    );
}

#[test]
fn wrong_values_name_their_key() {
    let none = Flags::default();
    let error = load(Some("seed = \"many\""), &[], &none).unwrap_err();
    assert!(error.starts_with("seed: invalid type: found string \"many\""), "{error}");
    let error = load(None, &[("FRESHET_DEMO_RATE", "200000")], &none).unwrap_err();
    assert_eq!(error, "demo_rate is 200000, but at most 100000 events a second are made");
    let error = load(Some("listen = \"here\""), &[], &none).unwrap_err();
    assert_eq!(error, "listen is \"here\", which is not an address and port such as 127.0.0.1:8888 or [::1]:8888");
    let error = load(Some("seed = "), &[], &none).unwrap_err();
    assert!(error.starts_with("freshet.toml: "), "{error}");
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_the_cure() {
    for listen in ["0.0.0.0:8888", "192.168.1.4:8888", "[::]:8888"] {
        let flags = Flags { listen: Some(listen.to_owned()), ..Flags::default() };
        let error = load(None, &[], &flags).unwrap_err();
        assert!(error.contains("no login yet") && error.contains("ssh -L 8888"), "{error}");
    }
    for listen in ["localhost:0", "[::1]:1", "127.0.0.2:1"] {
        let flags = Flags { listen: Some(listen.to_owned()), ..Flags::default() };
        assert!(load(None, &[], &flags).is_ok(), "{listen}");
    }
}

#[test]
fn memory_is_shared_out_and_never_more_than_the_whole() {
    let flags = Flags { memory_bytes_max: Some(800 << 20), ..Flags::default() };
    let shares = load(None, &[], &flags).unwrap().memory();
    assert_eq!((shares.unsealed >> 20, shares.queries >> 20, shares.caches >> 20), (400, 200, 100));
    let default = Config::default().memory();
    assert!(default.unsealed + default.queries + default.caches <= default.total);
    assert!(default.total >= MEMORY_BYTES_MIN);
}

#[test]
fn deep_storage_is_a_folder_or_a_bucket() {
    let place = |flags: &Flags| load(None, &[], flags).map(|config| config.deep_place().unwrap());
    let flags = |deep: &str| Flags { deep_storage: Some(deep.to_owned()), ..Flags::default() };
    let default = place(&Flags { data_dir: Some("/x/data".into()), ..Flags::default() }).unwrap();
    assert_eq!(default, DeepPlace::Folder("/x/data/deep".into()));
    assert_eq!(default.location("t/a.parquet"), "/x/data/deep/t/a.parquet");
    assert_eq!(place(&flags("/mnt/deep")).unwrap(), DeepPlace::Folder("/mnt/deep".into()));
    let bucket = place(&flags("s3://events/a/b/")).unwrap();
    assert_eq!(bucket.location("t/a.parquet"), "s3://events/a/b/t/a.parquet");
    assert_eq!(bucket.to_string(), "s3://events/a/b");
    assert_eq!(place(&flags("s3://events")).unwrap().location("t/a"), "s3://events/t/a");
    for wrong in ["", "s3://", "s3:///a", "s3://b/../c", "gs://bucket"] {
        assert!(place(&flags(wrong)).unwrap_err().starts_with("deep_storage is "), "{wrong}");
    }
    let lost = place(&Flags { s3_endpoint: Some("http://127.0.0.1:1".to_owned()), ..Flags::default() }).unwrap_err();
    assert!(lost.contains("deep_storage is not s3://"), "{lost}");
}

#[test]
fn an_endpoint_without_tls_is_on_this_machine_or_allowed() {
    let with = |endpoint: &str, s3_allow_http| {
        let deep_storage = Some("s3://b".to_owned());
        let flags = Flags { deep_storage, s3_endpoint: Some(endpoint.to_owned()), s3_allow_http, ..Flags::default() };
        load(None, &[], &flags).map(|config| match config.deep_place().unwrap() {
            DeepPlace::S3 { http, .. } => http,
            DeepPlace::Folder(folder) => panic!("{folder:?}"),
        })
    };
    for local in ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"] {
        assert_eq!(with(local, false), Ok(true), "{local}");
    }
    assert_eq!(with("https://s3.example.org", false), Ok(false));
    assert!(with("http://10.0.0.7:9000", false).unwrap_err().contains("s3_allow_http"));
    assert_eq!(with("http://10.0.0.7:9000", true), Ok(true));
    for wrong in ["10.0.0.7:9000", "ftp://h", "http://"] {
        assert!(with(wrong, true).unwrap_err().starts_with("s3_endpoint is "), "{wrong}");
    }
}

#[test]
fn seals_have_their_settings() {
    let environment = [("FRESHET_SEAL_ROWS_MAX", "2000"), ("FRESHET_SEAL_AGE_MS_MAX", "300")];
    let flags = Flags { seal_bytes_max: Some(7), seal_grace_ms: Some(0), ..Flags::default() };
    let seal = load(None, &environment, &flags).unwrap().seal();
    assert_eq!((seal.rows_max, seal.bytes_max), (2000, 7));
    assert_eq!((seal.age_max, seal.grace), (Duration::from_millis(300), Duration::ZERO));
    assert_eq!(Config::default().seal(), freshet_ingest::SealOptions::default());
    let error = load(None, &[("FRESHET_SEAL_ROWS_MAX", "0")], &Flags::default()).unwrap_err();
    assert_eq!(error, "seal_rows_max is 0, but at least 1 is needed");
}

#[test]
fn failpoints_are_obeyed_or_refused() {
    let loaded = load(None, &[("FRESHET_FAILPOINTS", "journal.synced=exit")], &Flags::default());
    assert_eq!(loaded.is_ok(), freshet_segment::failpoint::COMPILED_IN);
    if let Err(error) = loaded {
        assert!(error.starts_with("FRESHET_FAILPOINTS is set") && error.contains("--features failpoints"), "{error}");
    }
}
