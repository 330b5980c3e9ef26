//! Configuration: one flat tree of typed values, read in layers of which the later wins: defaults, the file of `--config`,
//! `FRESHET_*` variables, flags.
//!
//! It is flat so that a setting has one name everywhere: key `data_dir` = variable `FRESHET_DATA_DIR` = flag `--data-dir`. A name
//! that is not known is refused with the nearest known one, in every layer: a setting that is silently ignored is found out too
//! late. Variables below `FRESHET_TEST_` belong to the test suites and are left alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format, Serialized, Toml};
use figment::{Figment, Provider};
use freshet_ingest::SealOptions;
use serde::{Deserialize, Serialize};

use crate::coordinator::Settings;
use crate::error::ServerError;
use crate::nearest::{did_you_mean, nearest};

mod place;

pub use place::DeepPlace;

/// Least `memory_bytes_max`: below it not even the buffers of one query fit.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;

const ENVIRONMENT_PREFIX: &str = "FRESHET_";
const ENVIRONMENT_OF_TESTS: &str = "FRESHET_TEST_";
/// Not a setting: places at which tests let the process fail, read by the segment crate itself.
const FAILPOINTS: &str = "FAILPOINTS";

/// All settings of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder that belongs to this process alone. Default `./data`.
    pub data_dir: PathBuf,
    /// Address of the HTTP listener, loopback only. Port 0 takes a free one. Default `127.0.0.1:8888`.
    pub listen: String,
    /// Start the demo stream at boot. Default false.
    pub demo: bool,
    /// Seed of the demo stream: the same seed gives the same events. Default 1.
    pub seed: u64,
    /// Events per second of the demo stream, 0 to 100,000. Default 200.
    pub demo_rate: u32,
    /// Serve the page from this folder rather than from the binary.
    pub ui_dir: Option<PathBuf>,
    /// Bytes for unsealed rows, queries, caches and the rest. Default 60 % of the cgroup's or the machine's memory.
    pub memory_bytes_max: Option<u64>,
    /// Queries that run at the same time; further ones wait, then are refused with 429. Default: twice the cores.
    pub queries_running_max: Option<usize>,
    /// Deadline of a query that names none, in milliseconds. Default 300,000.
    pub query_timeout_ms: u64,
    /// Threads that compute queries. Default: one per core.
    pub compute_threads: Option<usize>,
    /// How long a client may take nothing of its answer before its connection is closed, in milliseconds. Default 60,000.
    pub reader_stall_ms_max: u64,
    /// How long running work may take to finish after SIGTERM, in milliseconds. Default 10,000.
    pub shutdown_ms_max: u64,
    /// Folders that batch tasks may read files from; a list. Default: none.
    #[serde(deserialize_with = "one_or_many")]
    pub input_dir: Vec<PathBuf>,
    /// Where sealed segments are kept: a folder, or `s3://bucket/prefix`. Default: the folder `deep` in the data directory.
    pub deep_storage: Option<String>,
    /// Address of an S3 service other than Amazon's, such as `http://127.0.0.1:9000`.
    pub s3_endpoint: Option<String>,
    /// Region of the bucket. Default `us-east-1`. Keys come from `AWS_ACCESS_KEY_ID` and its kin.
    pub s3_region: Option<String>,
    /// Take an `s3_endpoint` without TLS that is not on this machine. Default false.
    pub s3_allow_http: bool,
    /// Rows of one task after which they are sealed. Default 3,000,000.
    pub seal_rows_max: u64,
    /// Bytes of memory of one task after which its rows are sealed. Default 536,870,912.
    pub seal_bytes_max: u64,
    /// Age of a task's oldest unsealed row after which its rows are sealed, in milliseconds. Default 600,000.
    pub seal_age_ms_max: u64,
    /// How long after the end of its interval a segment waits for late rows, in milliseconds. Default 300,000.
    pub seal_grace_ms: u64,
    /// How long files stay after the last segment that names them was replaced or dropped, in milliseconds. Taking a commit back
    /// needs them. Default 86,400,000.
    pub delete_after_ms: u64,
    /// Segments with fewer rows are merged with their neighbours; 0 leaves all as they are. Default 2,000,000.
    pub merge_rows_target: u64,
    /// Most rows of a merged segment. Default 5,000,000.
    pub merge_rows_max: u64,
    /// Disk for copies of sealed files that are in a bucket: those not asked for the longest go first, and none that a query
    /// reads. Default half of the room on the data directory's disk.
    pub local_bytes_max: Option<u64>,
    /// `text` or `json`. Default `text`.
    pub log_format: LogFormat,
    /// Which log lines are written, in the syntax of tracing's `EnvFilter`. Default `info`.
    pub log: String,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The settings that flags gave; those that are `None` leave the lower layers alone.
#[derive(Debug, Clone, Default, Serialize, clap::Args)]
pub struct Flags {
    /// Folder that belongs to this process alone [default: ./data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Address of the HTTP listener, loopback only; port 0 takes a free one [default: 127.0.0.1:8888]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Start the demo stream at boot
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub demo: bool,
    /// Seed of the demo stream [default: 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Events per second of the demo stream, 0 to 100000 [default: 200]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demo_rate: Option<u32>,
    /// Serve the page from this folder rather than from the binary
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ui_dir: Option<PathBuf>,
    /// Memory for rows, queries and caches [default: 60 % of the machine's]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<u64>,
    /// Queries that run at the same time [default: twice the cores]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries_running_max: Option<usize>,
    /// Deadline of a query that names none [default: 300000]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_timeout_ms: Option<u64>,
    /// Threads that compute queries [default: one per core]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_threads: Option<usize>,
    /// How long a client may take nothing of its answer before its connection is closed [default: 60000]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader_stall_ms_max: Option<u64>,
    /// How long running work may take to finish at the end [default: 10000]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_ms_max: Option<u64>,
    /// Folder that batch tasks may read files from; may be given several times
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input_dir: Vec<PathBuf>,
    /// Where sealed segments are kept: a folder, or s3://bucket/prefix [default: deep in the data directory]
    #[arg(long, value_name = "PLACE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deep_storage: Option<String>,
    /// Address of an S3 service other than Amazon's
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket [default: us-east-1]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_region: Option<String>,
    /// Take an S3 endpoint without TLS that is not on this machine
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub s3_allow_http: bool,
    /// Rows of one task after which they are sealed [default: 3000000]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_rows_max: Option<u64>,
    /// Memory of one task after which its rows are sealed [default: 536870912]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_bytes_max: Option<u64>,
    /// Age of a task's oldest unsealed row after which its rows are sealed [default: 600000]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_age_ms_max: Option<u64>,
    /// How long after the end of its interval a segment waits for late rows [default: 300000]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_grace_ms: Option<u64>,
    /// How long files stay after the last segment that names them was replaced or dropped [default: 86400000]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_after_ms: Option<u64>,
    /// Segments with fewer rows are merged with their neighbours; 0 leaves all as they are [default: 2000000]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_rows_target: Option<u64>,
    /// Most rows of a merged segment [default: 5000000]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_rows_max: Option<u64>,
    /// Disk for copies of sealed files that are in a bucket [default: half of the room on the disk]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_bytes_max: Option<u64>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,
    /// Which log lines are written, such as info or freshet_ingest=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// A variable of the environment holds one folder, a file may list several.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(PathBuf),
        Many(Vec<PathBuf>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(folder) => vec![folder],
        OneOrMany::Many(folders) => folders,
    })
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            listen: "127.0.0.1:8888".to_owned(),
            demo: false,
            seed: 1,
            demo_rate: 200,
            ui_dir: None,
            memory_bytes_max: None,
            queries_running_max: None,
            query_timeout_ms: 300_000,
            compute_threads: None,
            reader_stall_ms_max: 60_000,
            shutdown_ms_max: 10_000,
            input_dir: Vec::new(),
            deep_storage: None,
            s3_endpoint: None,
            s3_region: None,
            s3_allow_http: false,
            seal_rows_max: 3_000_000,
            seal_bytes_max: 512 << 20,
            seal_age_ms_max: 600_000,
            seal_grace_ms: 300_000,
            delete_after_ms: 86_400_000,
            merge_rows_target: 2_000_000,
            merge_rows_max: 5_000_000,
            local_bytes_max: None,
            log_format: LogFormat::Text,
            log: "info".to_owned(),
        }
    }
}

/// Names of all keys, as in the file.
const KEYS: &[&str] = &[
    "data_dir",
    "listen",
    "demo",
    "seed",
    "demo_rate",
    "ui_dir",
    "memory_bytes_max",
    "queries_running_max",
    "query_timeout_ms",
    "compute_threads",
    "reader_stall_ms_max",
    "shutdown_ms_max",
    "input_dir",
    "deep_storage",
    "s3_endpoint",
    "s3_region",
    "s3_allow_http",
    "seal_rows_max",
    "seal_bytes_max",
    "seal_age_ms_max",
    "seal_grace_ms",
    "delete_after_ms",
    "merge_rows_target",
    "merge_rows_max",
    "local_bytes_max",
    "log_format",
    "log",
];

impl Config {
    /// Reads all layers and checks every value.
    ///
    /// # Errors
    /// [`ServerError::Config`] with the layer, the name and the cure; [`ServerError::Path`] when the file cannot be read.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, ServerError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|source| ServerError::Path {
                what: "cannot read the configuration file",
                path: path.to_owned(),
                source,
            })?;
            check_file_keys(path, &text)?;
            figment = figment.merge(Toml::string(&text));
        }
        let mut variables = figment::value::Dict::new();
        for (name, value) in environment {
            let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            // The file is named by variable or flag, and is not a setting of its own.
            if name.starts_with(ENVIRONMENT_OF_TESTS) || key == "CONFIG" {
                continue;
            }
            if key == FAILPOINTS {
                check_failpoints()?;
                continue;
            }
            let key = key.to_ascii_lowercase();
            if !KEYS.contains(&key.as_str()) {
                let near = nearest(&key, KEYS.iter().copied()).map_or_else(String::new, |key| {
                    format!("; did you mean {ENVIRONMENT_PREFIX}{}?", key.to_ascii_uppercase())
                });
                return Err(ServerError::Config(format!("unknown variable {name} in the environment{near}")));
            }
            variables.insert(key, parse_variable(&value));
        }
        figment = figment.merge(Serialized::defaults(variables)).merge(Serialized::defaults(flags));
        let config: Self = figment.extract().map_err(|error| describe(&error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ServerError> {
        self.address()?;
        if self.demo_rate > crate::demo::RATE_MAX {
            return Err(ServerError::Config(format!(
                "demo_rate is {}, but at most {} events a second are made",
                self.demo_rate,
                crate::demo::RATE_MAX
            )));
        }
        if let Some(bytes) = self.memory_bytes_max
            && bytes < MEMORY_BYTES_MIN
        {
            return Err(ServerError::Config(format!(
                "memory_bytes_max is {bytes}, but at least {MEMORY_BYTES_MIN} (64 MiB) are needed"
            )));
        }
        for (name, value) in
            [("compute_threads", self.compute_threads), ("queries_running_max", self.queries_running_max)]
        {
            if value == Some(0) {
                return Err(ServerError::Config(format!("{name} is 0, but at least 1 is needed")));
            }
        }
        self.deep_place()?;
        if let Some(folder) = self.input_dir.iter().find(|folder| !folder.is_dir()) {
            return Err(ServerError::Config(format!("input_dir {} is not a folder", folder.display())));
        }
        for (name, value) in [
            ("seal_rows_max", self.seal_rows_max),
            ("seal_bytes_max", self.seal_bytes_max),
            ("seal_age_ms_max", self.seal_age_ms_max),
        ] {
            if value == 0 {
                return Err(ServerError::Config(format!("{name} is 0, but at least 1 is needed")));
            }
        }
        if self.query_timeout_ms == 0 {
            return Err(ServerError::Config(
                "query_timeout_ms is 0, but every query has a deadline: give a number of milliseconds above 0"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The address to listen on.
    ///
    /// # Errors
    /// [`ServerError::Config`] when it is not an address and port, or when others than this machine could reach it.
    pub fn address(&self) -> Result<SocketAddr, ServerError> {
        let text = match self.listen.strip_prefix("localhost:") {
            Some(port) => format!("{}:{port}", IpAddr::V4(Ipv4Addr::LOCALHOST)),
            None => self.listen.clone(),
        };
        let address: SocketAddr = text.parse().map_err(|_| {
            ServerError::Config(format!(
                "listen is \"{}\", which is not an address and port such as 127.0.0.1:8888 or [::1]:8888",
                self.listen
            ))
        })?;
        if !address.ip().is_loopback() {
            return Err(ServerError::Config(format!(
                "listen is {address}, which is not a loopback address: other machines can reach it, and this version has no login \
                 yet, so anyone there could read, change and drop every table; listen on 127.0.0.1:{port}, and reach it from elsewhere through a tunnel, for \
                 example `ssh -L {port}:127.0.0.1:{port} this-machine`",
                port = address.port()
            )));
        }
        Ok(address)
    }

    /// When rows are sealed.
    #[must_use]
    pub fn seal(&self) -> SealOptions {
        SealOptions {
            rows_max: self.seal_rows_max,
            bytes_max: usize::try_from(self.seal_bytes_max).unwrap_or(usize::MAX),
            age_max: Duration::from_millis(self.seal_age_ms_max),
            grace: Duration::from_millis(self.seal_grace_ms),
        }
    }

    /// How what is stored is taken care of.
    #[must_use]
    pub fn care(&self) -> Settings {
        Settings {
            delete_after: Duration::from_millis(self.delete_after_ms),
            merge_rows_target: self.merge_rows_target,
            merge_rows_max: self.merge_rows_max,
            ..Settings::default()
        }
    }

    /// Bytes each part may take.
    #[must_use]
    pub fn memory(&self) -> MemoryShares {
        let total = self.memory_bytes_max.unwrap_or_else(|| (machine_memory() / 100 * 60).max(MEMORY_BYTES_MIN));
        MemoryShares::split(total)
    }

    /// How long a client may take nothing of its answer.
    #[must_use]
    pub fn reader_stall(&self) -> Duration {
        Duration::from_millis(self.reader_stall_ms_max)
    }

    /// Threads of the compute runtime.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.compute_threads.unwrap_or_else(cores)
    }

    /// Queries that run at the same time.
    #[must_use]
    pub fn queries_running_max(&self) -> usize {
        self.queries_running_max.unwrap_or_else(|| 2 * cores())
    }

    /// Deadline of a query that names none.
    #[must_use]
    pub fn query_timeout(&self) -> Duration {
        Duration::from_millis(self.query_timeout_ms)
    }
}

/// How `memory_bytes_max` is shared out: half to unsealed rows, a quarter to queries, an eighth to caches, an eighth to the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryShares {
    /// All of it.
    pub total: u64,
    /// Rows that are not in files yet.
    pub unsealed: u64,
    /// Memory pool of all queries together.
    pub queries: u64,
    /// Caches.
    pub caches: u64,
}

impl MemoryShares {
    fn split(total: u64) -> Self {
        Self { total, unsealed: total / 2, queries: total / 4, caches: total / 8 }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Memory of the cgroup if it has a limit, else of the machine; 2 GiB where neither can be read.
fn machine_memory() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(2 << 30, |kib| kib.saturating_mul(1024));
    let cgroup = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    cgroup.map_or(machine, |limit| limit.min(machine))
}

/// Numbers and booleans as such, all else as text: a folder named `1` is the one thing this cannot say.
fn parse_variable(value: &str) -> figment::value::Value {
    if let Ok(number) = value.parse::<u64>() {
        return number.into();
    }
    match value {
        "true" => true.into(),
        "false" => false.into(),
        text => text.into(),
    }
}

/// A build that has no failpoints must not look as if it obeyed them.
fn check_failpoints() -> Result<(), ServerError> {
    if freshet_segment::failpoint::COMPILED_IN {
        return Ok(());
    }
    Err(ServerError::Config(format!(
        "{ENVIRONMENT_PREFIX}{FAILPOINTS} is set, but this build has no failpoints: unset it, or build with --features failpoints"
    )))
}

fn check_file_keys(path: &Path, text: &str) -> Result<(), ServerError> {
    let figment = Figment::from(Toml::string(text));
    let profile = figment.data().map_err(|error| ServerError::Config(format!("{}: {error}", path.display())))?;
    for key in profile.values().flat_map(figment::value::Dict::keys) {
        if !KEYS.contains(&key.as_str()) {
            return Err(ServerError::Config(format!(
                "{}: unknown key {key}{}",
                path.display(),
                did_you_mean(key, KEYS.iter().copied())
            )));
        }
    }
    Ok(())
}

fn describe(error: &figment::Error) -> ServerError {
    let first = error.clone().into_iter().next();
    let (name, kind) = first.map_or((String::new(), error.kind.clone()), |one| (one.path.join("."), one.kind));
    ServerError::Config(format!("{name}: {kind}"))
}

/// The variables of the process, with those that are not text left out.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests;
