//! Random queries over random tables, asked of the server and of DuckDB: `tests/differential`. The generator, the translations between
//! the dialects and the comparison are Python; this test starts the server and reads the counts.

use std::process::Command;

use freshet_tests::cluster::Setup;
use freshet_tests::{scale, services};

#[test]
fn random_queries_have_duckdbs_answers() {
    let Some(python) = services::python() else { return };
    let queries = scale::count("queries", 300, 10_000);
    let seed = scale::seed("random_queries_have_duckdbs_answers");
    let server = Setup::default().start();
    let output = Command::new(python)
        .arg(services::checkout().join("tests/differential/run.py"))
        .args(["--server", &server.url("")])
        .args(["--seed", &seed.to_string(), "--queries", &queries.to_string()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    println!("{said}");
    assert!(output.status.success(), "Freshet and DuckDB differ, see above");
    // Success without work would prove nothing.
    let compared = said.lines().find_map(|line| line.strip_prefix("queries compared: ")).unwrap_or_default();
    let same: u64 = compared.split(' ').next().unwrap_or_default().parse().unwrap_or_default();
    assert!(same * 10 >= queries * 9, "{same} of {queries} were compared");
    server.assert_no_panics();
}
