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
