//! Real services for tests: Apache Kafka, started by the script that users run too (`tests/services/kafka.sh`), an S3 server and
//! other readers of Parquet.
//!
//! One broker serves all tests of a process, each with topics of its own; `make test` starts it and names it in
//! `FRESHET_TEST_KAFKA=host:port`, otherwise the first test that needs it starts one. A test that stops and restarts its broker takes
//! one of its own. A service that cannot be had is one loud, counted skip, and a failure under `CI=true`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use crate::proxy::Proxy;
use crate::reaper;

const ADMIN_DEADLINE: Duration = Duration::from_secs(30);
const FLUSH_DEADLINE: Duration = Duration::from_secs(60);

/// The root of the checkout.
#[must_use]
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is a folder of the checkout")
}

/// A file of `tests/fixtures`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    checkout().join("tests/fixtures").join(name)
}

/// Ends the test as skipped: says so past the capture of output, and counts it. Under `CI=true` it fails instead.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot run: {reason}");
    // Not eprintln!: the test harness would swallow it.
    let _ = writeln!(std::io::stderr(), "!! SKIPPED: {test}: {reason}");
    if let Ok(list) = std::env::var("FRESHET_TEST_SKIPS")
        && !list.is_empty()
    {
        let mut list =
            std::fs::OpenOptions::new().append(true).create(true).open(list).expect("the list can be written");
        // One write: tests run at the same time.
        list.write_all(format!("{test}: {reason}\n").as_bytes()).expect("the list can be written");
    }
}

/// A running broker.
#[derive(Debug)]
pub struct Kafka {
    address: String,
    /// Run folder of a broker that this process started.
    run: Option<PathBuf>,
    /// Port of the proxy that its second listener tells clients to come to.
    proxy_port: Option<u16>,
}

/// The broker that all tests of this process share, or `None` after a counted skip.
#[must_use]
pub fn kafka() -> Option<&'static Kafka> {
    static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| match std::env::var("FRESHET_TEST_KAFKA") {
        Ok(address) if !address.is_empty() => {
            let kafka = Kafka::at(&address);
            kafka.check().map(|()| kafka)
        }
        // `make test` sets it empty when the script failed: trying again would fail again, slowly.
        Ok(_) => Err("Kafka could not be started, see the log of tests/run.sh".to_owned()),
        Err(_) => Kafka::start("shared", None),
    });
    match shared {
        Ok(kafka) => Some(kafka),
        Err(reason) => {
            skip(reason);
            None
        }
    }
}

/// A broker for one test alone, which may kill it.
#[must_use]
pub fn own_kafka(name: &str) -> Option<Kafka> {
    own(name, None)
}

/// A broker for one test alone and a proxy before it: clients of the proxy's address stay behind the proxy, clients of the broker's
/// go past it.
#[must_use]
pub fn kafka_behind_proxy(name: &str) -> Option<(Kafka, Proxy)> {
    // The broker has to know the proxy's port, and the proxy the broker's.
    let proxy = Proxy::start("127.0.0.1:1");
    let kafka = own(name, Some(proxy.port()))?;
    let behind = kafka.script(&["behind-proxy"]).unwrap_or_else(|reason| panic!("{reason}"));
    proxy.set_target(behind.trim());
    Some((kafka, proxy))
}

fn own(name: &str, proxy_port: Option<u16>) -> Option<Kafka> {
    if std::env::var("FRESHET_TEST_KAFKA").as_deref() == Ok("") {
        skip("Kafka could not be started, see the log of tests/run.sh");
        return None;
    }
    match Kafka::start(name, proxy_port) {
        Ok(kafka) => Some(kafka),
        Err(reason) => {
            skip(&reason);
            None
        }
    }
}

impl Kafka {
    /// Starts a broker with a run folder of its own, which ends with this process at the latest. With the port of a proxy it gets a
    /// second listener for it.
    ///
    /// # Errors
    /// What the script said.
    pub fn start(name: &str, proxy_port: Option<u16>) -> Result<Self, String> {
        let run = std::env::temp_dir().join(format!("freshet-kafka-{name}-{}", std::process::id()));
        reaper::at_exit(&format!(
            "FRESHET_TEST_KAFKA_RUN='{run}' '{script}' stop; rm -rf '{run}'",
            run = run.display(),
            script = script().display()
        ));
        let mut kafka = Self { address: String::new(), run: Some(run), proxy_port };
        kafka.script(&["start"])?;
        kafka.address = kafka.script(&["address"])?.trim().to_owned();
        kafka.check()?;
        Ok(kafka)
    }

    /// One that somebody else runs, such as librdkafka's mock cluster: a stand-in for faults that no real broker makes on demand.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned(), run: None, proxy_port: None }
    }

    /// `host:port`, as a client's `bootstrap.servers`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn script(&self, arguments: &[&str]) -> Result<String, String> {
        let run = self.run.as_ref().ok_or("this broker was not started here")?;
        let mut command = Command::new(script());
        command.args(arguments).env("FRESHET_TEST_KAFKA_RUN", run).env("FRESHET_TEST_KAFKA_PORT", "0");
        if let Some(port) = self.proxy_port {
            command.env("FRESHET_TEST_KAFKA_PROXY", port.to_string());
        }
        output_of(&mut command)
    }

    /// Ends the broker at once; its data stays. Only for a broker of one's own.
    pub fn kill(&self) {
        self.script(&["kill"]).unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Starts a killed broker again, on its port and data.
    pub fn restart(&self) {
        self.script(&["start"]).unwrap_or_else(|reason| panic!("{reason}"));
    }

    fn check(&self) -> Result<(), String> {
        let client: BaseConsumer = self.config().create().map_err(|error| error.to_string())?;
        client
            .fetch_metadata(None, ADMIN_DEADLINE)
            .map(|_| ())
            .map_err(|error| format!("Kafka at {} does not answer: {error}", self.address))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client needs no more than the address")
    }

    /// Creates a topic; its name must be new.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        let options = AdminOptions::new().operation_timeout(Some(ADMIN_DEADLINE));
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let results = block_on(self.admin().create_topics([&new], &options)).expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, code)| panic!("topic {topic} was not created: {code}"));
        }
    }

    /// Grows a topic to `total` partitions.
    pub fn add_partitions(&self, topic: &str, total: usize) {
        let options = AdminOptions::new().operation_timeout(Some(ADMIN_DEADLINE));
        let new = NewPartitions::new(topic, total);
        let results = block_on(self.admin().create_partitions([&new], &options)).expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, code)| panic!("topic {topic} got no partitions: {code}"));
        }
    }

    /// A producer whose records are acknowledged by the broker before [`Topic::send`] returns.
    #[must_use]
    pub fn topic(&self, topic: &str) -> Topic {
        let producer = self
            .config()
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("message.max.bytes", "20000000")
            .set("queue.buffering.max.messages", "1000000")
            .create()
            .expect("a producer needs no more than the address");
        Topic { producer, name: topic.to_owned() }
    }

    /// Writes the records in one transaction, and commits or aborts it.
    pub fn send_in_transaction(&self, topic: &str, partition: i32, records: &[String], commit: bool) {
        self.transactional_topic(topic, &format!("{topic}-{commit}-{}", records.len()))
            .send_in_transaction(partition, records, commit);
    }

    /// A producer of transactions; one id has one producer at a time.
    #[must_use]
    pub fn transactional_topic(&self, topic: &str, id: &str) -> Topic {
        let producer: BaseProducer = self
            .config()
            .set("transactional.id", id)
            .set("linger.ms", "1")
            .create()
            .expect("a producer needs no more than the address and its id");
        producer.init_transactions(ADMIN_DEADLINE).expect("the broker has a transaction coordinator");
        Topic { producer, name: topic.to_owned() }
    }

    /// Next offset of each partition: the number of records in it, because nothing is ever deleted here.
    #[must_use]
    pub fn end_offsets(&self, topic: &str) -> BTreeMap<i32, i64> {
        let client: BaseConsumer = self.config().create().expect("a consumer needs no more than the address");
        let metadata = client.fetch_metadata(Some(topic), ADMIN_DEADLINE).expect("the broker answers");
        let partitions = metadata.topics().first().expect("the topic was asked for").partitions();
        partitions
            .iter()
            .map(|partition| {
                let (_, high) =
                    client.fetch_watermarks(topic, partition.id(), ADMIN_DEADLINE).expect("the broker answers");
                (partition.id(), high)
            })
            .collect()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if self.run.is_some() {
            let _ = self.script(&["stop"]);
        }
    }
}

fn script() -> PathBuf {
    service("kafka.sh")
}

fn service(name: &str) -> PathBuf {
    checkout().join("tests/services").join(name)
}

/// What a script prints, or what it complains about.
fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?} cannot be run: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// One topic, for writing.
pub struct Topic {
    producer: BaseProducer,
    name: String,
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Topic {
    /// Writes the records into a partition, in order, and waits until the broker has them all.
    pub fn send<P: AsRef<[u8]>>(&self, partition: i32, records: impl IntoIterator<Item = P>) {
        for payload in records {
            self.queue(BaseRecord::<(), [u8]>::to(&self.name).partition(partition).payload(payload.as_ref()));
        }
        self.flush();
    }

    /// Writes the records in one transaction, and commits or aborts it. Only for a [`Kafka::transactional_topic`].
    pub fn send_in_transaction<P: AsRef<[u8]>>(
        &self,
        partition: i32,
        records: impl IntoIterator<Item = P>,
        commit: bool,
    ) {
        self.producer.begin_transaction().expect("no transaction is open");
        self.send(partition, records);
        if commit {
            self.producer.commit_transaction(ADMIN_DEADLINE).expect("the transaction commits");
        } else {
            self.producer.abort_transaction(ADMIN_DEADLINE).expect("the transaction aborts");
        }
    }

    /// Writes one record without a value, as compacted topics mark a deletion.
    pub fn send_tombstone(&self, partition: i32, key: &str) {
        self.queue(BaseRecord::<str, [u8]>::to(&self.name).partition(partition).key(key));
        self.flush();
    }

    fn queue<K: rdkafka::message::ToBytes + ?Sized>(&self, record: BaseRecord<'_, K, [u8]>) {
        let mut record = record;
        loop {
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => panic!("a record for {} was refused: {error}", self.name),
            }
        }
    }

    fn flush(&self) {
        self.producer
            .flush(FLUSH_DEADLINE)
            .unwrap_or_else(|error| panic!("{} did not take all records: {error}", self.name));
        assert_eq!(self.producer.in_flight_count(), 0, "all records are acknowledged");
    }
}

/// A running S3 server.
#[derive(Debug)]
pub struct S3 {
    address: String,
    bucket: String,
}

/// The S3 server that all tests of this process share, or `None` after a counted skip.
#[must_use]
pub fn s3() -> Option<&'static S3> {
    static SHARED: OnceLock<Result<S3, String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| match std::env::var("FRESHET_TEST_S3") {
        Ok(address) if !address.is_empty() => S3::at(address),
        // As for Kafka: it was tried.
        Ok(_) => Err("the S3 server could not be started, see the log of tests/run.sh".to_owned()),
        Err(_) => S3::start(),
    });
    match shared {
        Ok(s3) => Some(s3),
        Err(reason) => {
            skip(reason);
            None
        }
    }
}

impl S3 {
    fn start() -> Result<Self, String> {
        let (run, script) = (std::env::temp_dir().join(format!("freshet-s3-{}", std::process::id())), service("s3.sh"));
        reaper::at_exit(&format!(
            "FRESHET_TEST_S3_RUN='{run}' '{script}' stop; rm -rf '{run}'",
            run = run.display(),
            script = script.display()
        ));
        let call = |word: &str| {
            output_of(Command::new(&script).arg(word).env("FRESHET_TEST_S3_RUN", &run).env("FRESHET_TEST_S3_PORT", "0"))
        };
        call("start")?;
        Self::at(call("address")?.trim().to_owned())
    }

    fn at(address: String) -> Result<Self, String> {
        let bucket = output_of(Command::new(service("s3.sh")).arg("bucket"))?.trim().to_owned();
        Ok(Self { address, bucket })
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The bucket that is there.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }
}

/// A Python with DuckDB, pyarrow and pydruid, or `None` after a counted skip.
#[must_use]
pub fn python() -> Option<PathBuf> {
    static SHARED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| match std::env::var("FRESHET_TEST_PYTHON") {
        Ok(path) if !path.is_empty() => Ok(path.into()),
        Ok(_) => Err("DuckDB, pyarrow and pydruid could not be installed, see the log of tests/run.sh".to_owned()),
        Err(_) => output_of(&mut Command::new(service("python.sh"))).map(|path| path.trim().into()),
    });
    match shared {
        Ok(path) => Some(path.clone()),
        Err(reason) => {
            skip(reason);
            None
        }
    }
}
