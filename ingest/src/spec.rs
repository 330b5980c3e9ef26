//! What a supervisor is asked to do: source, decoder, time column, dimensions, granularities.
//!
//! These are plain inner values. The JSON that Druid's users post is converted into them by the server, so a change of
//! that wire shape stays at the edge, and a task never meets an option it does not understand.
//!
//! Client options of Kafka are an allow-list by name: some of librdkafka's options load libraries, run commands or
//! read files of this machine, and a spec comes from the network.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use freshet_segment::id::TableName;
use freshet_segment::schema::{ColumnRole, ColumnType, Observed};
use freshet_segment::time::{Granularity, Period, Timestamp, Zone};

use crate::decode::Decoder;
use crate::decode::flatten::{FlattenDecoder, FlattenSpec};
use crate::decode::json::JsonDecoder;
use crate::decode::text::{DelimitedDecoder, DelimitedFormat, LineDecoder, RegexDecoder, RegexFormat};
use crate::error::{IngestError, Result};

/// Everything a supervisor needs to keep one table filled from one source.
#[derive(Debug, Clone)]
pub struct SupervisorSpec {
    /// Name of the supervisor; by default the table's.
    pub id: String,
    /// The table it writes.
    pub table: TableName,
    /// Where records come from.
    pub source: SourceSpec,
    /// How their bytes become rows.
    pub decoder: DecoderSpec,
    /// Where a row's time stands.
    pub time: TimeSpec,
    /// Which fields become columns, and of which type.
    pub dimensions: DimensionsSpec,
    /// Size of time buckets.
    pub granularity: GranularitySpec,
    /// Which times are taken.
    pub accepted: AcceptedTime,
    /// What happens on bad rows.
    pub tuning: TuningSpec,
    /// Whether it is created without running.
    pub suspended: bool,
    /// The spec as it was posted, JSON; given back as it came.
    pub document: Arc<str>,
    /// Keys that were accepted and change nothing here.
    pub without_effect: Vec<String>,
}

/// Where records come from.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSpec {
    /// A topic of Apache Kafka.
    Kafka(KafkaSpec),
}

/// A Kafka topic and how to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaSpec {
    /// The topic.
    pub topic: String,
    /// Client options, librdkafka's names, each allowed by [`check_property`]. `bootstrap.servers` is required.
    pub properties: BTreeMap<String, String>,
    /// Where a stream partition begins when no offset is known: its earliest record, or only records yet to come.
    /// A stream partition that appears later always begins at its earliest record.
    pub use_earliest_offset: bool,
    /// Into how many tasks the stream partitions are divided: partition p goes to task p mod `task_count`.
    pub task_count: usize,
    /// Longest time that rows wait before they are published.
    pub task_duration: Duration,
    /// How often the supervisor looks for new stream partitions and at its tasks; at most 30 s counts.
    pub period: Duration,
    /// How long one poll waits for the first record.
    pub poll_timeout: Duration,
    /// What happens when the stream no longer holds the records that come next.
    pub on_data_loss: OnDataLoss,
}

/// What happens when the stream no longer holds the records that come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDataLoss {
    /// The stream partition rests until somebody decides.
    #[default]
    Stop,
    /// The lost range is noted, and reading goes on behind it.
    Skip,
}

impl KafkaSpec {
    /// A topic read from its earliest record by one task.
    pub fn new(topic: impl Into<String>, bootstrap_servers: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            properties: BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap_servers.into())]),
            use_earliest_offset: true,
            task_count: 1,
            task_duration: Duration::from_secs(3600),
            period: Duration::from_secs(30),
            poll_timeout: Duration::from_millis(100),
            on_data_loss: OnDataLoss::Stop,
        }
    }
}

/// How bytes become rows.
#[derive(Debug, Clone, PartialEq)]
pub enum DecoderSpec {
    /// JSON objects; one record may hold several.
    Json,
    /// JSON objects with columns picked out of nested values.
    Flatten(FlattenSpec),
    /// Lines of separated fields.
    Delimited(DelimitedFormat),
    /// Lines that a pattern takes apart.
    Regex(RegexFormat),
    /// Lines that are one column, `line`.
    Lines,
}

impl DecoderSpec {
    /// The decoder.
    pub(crate) fn decoder(&self) -> Box<dyn Decoder> {
        match self {
            Self::Json => Box::new(JsonDecoder::default()),
            Self::Flatten(spec) => FlattenDecoder::boxed(Some(spec.clone())),
            Self::Delimited(format) => Box::new(DelimitedDecoder::new(format.clone())),
            Self::Regex(format) => Box::new(RegexDecoder::new(format.clone())),
            Self::Lines => Box::new(LineDecoder::default()),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Delimited(format) => format.check(),
            Self::Json | Self::Flatten(_) | Self::Regex(_) | Self::Lines => Ok(()),
        }
    }
}

/// Where a row's time stands, and what to do without it.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSpec {
    /// The field.
    pub column: String,
    /// How it is written.
    pub format: TimeFormat,
    /// The time of rows that have none; without it such a row is refused.
    pub missing_value: Option<Timestamp>,
}

impl TimeSpec {
    /// The field `column` in the automatic format.
    pub fn auto(column: impl Into<String>) -> Self {
        Self { column: column.into(), format: TimeFormat::Auto, missing_value: None }
    }
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// ISO 8601 text (with `T` or a space), or milliseconds as a number or as digits.
    Auto,
    /// ISO 8601 text.
    Iso,
    /// Seconds since the epoch, fractions allowed.
    Posix,
    /// Milliseconds since the epoch.
    Millis,
    /// Microseconds since the epoch.
    Micro,
    /// Nanoseconds since the epoch.
    Nano,
}

impl TimeFormat {
    /// The name used in specs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Iso => "iso",
            Self::Posix => "posix",
            Self::Millis => "millis",
            Self::Micro => "micro",
            Self::Nano => "nano",
        }
    }
}

/// Which fields become columns.
#[derive(Debug, Clone, PartialEq)]
pub struct DimensionsSpec {
    /// Columns with a given type.
    pub declared: Vec<DimensionSpec>,
    /// What happens to fields that are not declared.
    pub discovery: Discovery,
    /// Whether undeclared fields are kept although dimensions are listed.
    pub include_all: bool,
    /// Fields that never become columns.
    pub exclusions: Vec<String>,
}

impl DimensionsSpec {
    /// Every field becomes a column of the type its values show.
    pub fn discovered() -> Self {
        Self { declared: Vec::new(), discovery: Discovery::Typed, include_all: true, exclusions: Vec::new() }
    }

    /// The listed columns, as a schema takes them.
    pub(crate) fn declared_columns(&self) -> Vec<Observed> {
        self.declared
            .iter()
            .map(|dimension| Observed {
                name: Arc::from(dimension.name.as_str()),
                column_type: dimension.column_type,
                role: ColumnRole::Dimension,
                multi_value: false,
            })
            .collect()
    }

    /// What an undeclared field becomes: `include_all` keeps it, as text unless types are discovered.
    pub(crate) fn undeclared(&self) -> Discovery {
        match self.discovery {
            Discovery::Listed if self.include_all => Discovery::Strings,
            other => other,
        }
    }
}

/// A column with a given type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimensionSpec {
    /// Its name, which is also the field it is read from.
    pub name: String,
    /// What it holds.
    pub column_type: ColumnType,
}

/// What happens to fields that are not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discovery {
    /// They are dropped.
    Listed,
    /// They become STRING columns.
    Strings,
    /// They become columns of the type their values show, which widens when the values do.
    Typed,
}

/// Size of time buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct GranularitySpec {
    /// How time is cut into segments.
    pub segment: Granularity,
    /// To what the time column is floored.
    pub query: Granularity,
}

impl Default for GranularitySpec {
    fn default() -> Self {
        Self {
            segment: Granularity::Period(Period { months: 0, days: 1, millis: 0 }, Zone::Utc),
            query: Granularity::None,
        }
    }
}

/// Which times are taken; rows outside are left out and counted as late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AcceptedTime {
    /// How far before the moment of reading a row may lie.
    pub late_by: Option<Duration>,
    /// How far after the moment of reading a row may lie.
    pub early_by: Option<Duration>,
    /// The earliest time.
    pub from: Option<Timestamp>,
}

impl AcceptedTime {
    /// The milliseconds taken at a moment; nothing when all are.
    pub fn at(&self, now: Timestamp) -> Option<Range<i64>> {
        if *self == Self::default() {
            return None;
        }
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let late = self.late_by.map(|d| now.as_millis().saturating_sub(millis(d)));
        let start = late.into_iter().chain(self.from.map(Timestamp::as_millis)).max().unwrap_or(i64::MIN);
        let early = |d| now.as_millis().saturating_add(millis(d)).saturating_add(1);
        Some(start..self.early_by.map_or(i64::MAX, early))
    }
}

/// What happens on bad rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TuningSpec {
    /// How many refused rows a task bears before it stops; without it, any number.
    pub max_parse_exceptions: Option<u64>,
    /// Whether the first refused row or field stops the task.
    pub report_parse_exceptions: bool,
    /// Rows of one segment before the next is opened; without it, five million.
    pub max_rows_per_segment: Option<u32>,
}

/// Longest client option value; a PEM chain fits.
const PROPERTY_VALUE_BYTES_MAX: usize = 64 * 1024;
/// More tasks than this on one topic are a mistake: each has a thread and a client.
const TASK_COUNT_MAX: usize = 128;

impl SupervisorSpec {
    /// Whether the parts fit together.
    ///
    /// # Errors
    /// `Invalid`, with the place in the posted document.
    pub fn check(&self) -> Result<()> {
        let refuse = |at: &str, what: String, hint: &str| {
            Err(IngestError::Invalid { what, at: Some(at.to_owned()), hint: Some(hint.to_owned()) })
        };
        if self.id.is_empty() || self.id.contains('/') || self.id.chars().any(char::is_control) {
            return refuse(
                "/id",
                format!("supervisor id {:?} cannot be used", self.id),
                "take a name without slashes and control characters",
            );
        }
        if self.time.column.is_empty() {
            return refuse(
                "/spec/dataSchema/timestampSpec/column",
                "the time column has no name".to_owned(),
                "name the field",
            );
        }
        for (index, dimension) in self.dimensions.declared.iter().enumerate() {
            let at = format!("/spec/dataSchema/dimensionsSpec/dimensions/{index}");
            if dimension.name.is_empty() || dimension.name == freshet_segment::schema::TIME_COLUMN {
                return refuse(
                    &at,
                    format!("dimension {:?} cannot be used", dimension.name),
                    "`__time` is the time column itself",
                );
            }
            if self.dimensions.declared[..index].iter().any(|earlier| earlier.name == dimension.name) {
                return refuse(
                    &at,
                    format!("dimension `{}` is listed twice", dimension.name),
                    "list each dimension once",
                );
            }
        }
        if self.granularity.segment == Granularity::None {
            return refuse(
                "/spec/dataSchema/granularitySpec/segmentGranularity",
                "segmentGranularity `none` would make a segment of each millisecond".to_owned(),
                "take hour, day or month; queryGranularity may be none",
            );
        }
        self.decoder.check()?;
        let SourceSpec::Kafka(kafka) = &self.source;
        kafka.check()
    }
}

impl KafkaSpec {
    fn check(&self) -> Result<()> {
        let at = |key: &str| Some(format!("/spec/ioConfig/{key}"));
        if self.topic.is_empty() || self.topic.len() > 249 {
            return Err(IngestError::Invalid {
                what: format!("topic {:?} cannot be used", self.topic),
                at: at("topic"),
                hint: Some("a topic's name has 1 to 249 characters".to_owned()),
            });
        }
        if self.task_count == 0 || self.task_count > TASK_COUNT_MAX {
            return Err(IngestError::Invalid {
                what: format!("taskCount {} is not within 1 to {TASK_COUNT_MAX}", self.task_count),
                at: at("taskCount"),
                hint: Some("one task per core is plenty".to_owned()),
            });
        }
        for (name, value) in &self.properties {
            check_property(name)?;
            if value.len() > PROPERTY_VALUE_BYTES_MAX || value.contains('\0') {
                return Err(IngestError::Invalid {
                    what: format!("the value of consumer property `{name}` is too long or holds a zero byte"),
                    at: at(&format!("consumerProperties/{name}")),
                    hint: None,
                });
            }
        }
        if self.properties.get("bootstrap.servers").is_none_or(|servers| servers.trim().is_empty()) {
            return Err(IngestError::Invalid {
                what: "consumer property `bootstrap.servers` is missing".to_owned(),
                at: at("consumerProperties"),
                hint: Some("name the brokers: \"bootstrap.servers\": \"host:9092\"".to_owned()),
            });
        }
        Ok(())
    }
}

/// Client options a spec may set.
const ALLOWED: &[&str] = &[
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "max.in.flight",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.sigalgs.list",
    "topic.metadata.refresh.interval.ms",
];

/// Names that people bring along, and what stands in their place.
const REPLACED: &[(&str, &str)] = &[
    ("auto.offset.reset", "say where to begin with useEarliestOffset; a lost offset is never skipped by itself"),
    ("check.crcs", "it is always on"),
    ("enable.auto.commit", "leave it out: progress is kept with the rows, not in the consumer group"),
    ("enable.auto.offset.store", "leave it out: progress is kept with the rows, not in the consumer group"),
    ("fetch.max.wait.ms", "use fetch.wait.max.ms"),
    ("group.id", "leave it out: stream partitions are assigned by the supervisor"),
    ("group.instance.id", "leave it out: stream partitions are assigned by the supervisor"),
    ("isolation.level", "it is always read_committed"),
    ("key.deserializer", "leave it out: it names a Java class"),
    ("max.poll.records", "leave it out: batches are cut by this server"),
    ("sasl.jaas.config", "use sasl.username and sasl.password"),
    ("sasl.oauthbearer.token.endpoint.url", "token endpoints cannot be named in a spec; use SASL PLAIN or SCRAM"),
    ("ssl.ca.location", "use ssl.ca.pem with the certificate's text"),
    ("ssl.certificate.location", "use ssl.certificate.pem with the certificate's text"),
    ("ssl.key.location", "use ssl.key.pem with the key's text"),
    ("ssl.keystore.location", "use ssl.certificate.pem and ssl.key.pem with their text"),
    ("ssl.keystore.password", "use ssl.key.password together with ssl.key.pem"),
    ("ssl.truststore.location", "use ssl.ca.pem with the certificate's text"),
    ("ssl.truststore.password", "use ssl.ca.pem, which needs no password"),
    ("value.deserializer", "leave it out: the decoder reads the bytes"),
];

/// Whether a spec may set this client option. Everything that is not on the list is refused: options that load
/// libraries, run commands, or read files of this machine must never come from a spec.
///
/// # Errors
/// `Invalid`, naming what to use in its place.
pub fn check_property(name: &str) -> Result<()> {
    if ALLOWED.contains(&name) {
        return Ok(());
    }
    let hint = if let Some((_, cure)) = REPLACED.iter().find(|(replaced, _)| *replaced == name) {
        (*cure).to_owned()
    } else if name.ends_with(".location")
        || name.ends_with(".file")
        || name.ends_with(".path")
        || name.ends_with(".paths")
    {
        "files of the server cannot be named in a spec; give certificates and keys as text: ssl.ca.pem, ssl.certificate.pem, \
         ssl.key.pem"
            .to_owned()
    } else {
        let nearest = ALLOWED
            .iter()
            .map(|allowed| (strsim::osa_distance(allowed, name), *allowed))
            .min()
            .filter(|(distance, _)| *distance <= 4);
        match nearest {
            Some((_, near)) => format!("did you mean `{near}`?"),
            None => "leave it out; the documentation lists the options a spec may set".to_owned(),
        }
    };
    Err(IngestError::Invalid {
        what: format!("consumer property `{name}` is not allowed"),
        at: Some(format!("/spec/ioConfig/consumerProperties/{name}")),
        hint: Some(hint),
    })
}

/// Whether an option's value is a secret that must not be shown again.
pub fn is_secret_property(name: &str) -> bool {
    matches!(name, "sasl.password" | "ssl.key.pem" | "ssl.key.password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_reach_into_the_machine_are_refused_with_their_replacement() {
        for (name, cure) in [
            ("plugin.library.paths", "ssl.ca.pem"),
            ("ssl.ca.location", "ssl.ca.pem"),
            ("ssl.crl.location", "ssl.ca.pem"),
            ("sasl.kerberos.kinit.cmd", "leave it out"),
            ("sasl.kerberos.keytab", "leave it out"),
            ("ssl.engine.id", "leave it out"),
            ("ssl.providers", "leave it out"),
            ("sasl.oauthbearer.token.endpoint.url", "token endpoints"),
            ("ssl.truststore.location", "ssl.ca.pem"),
            ("sasl.jaas.config", "sasl.username"),
            ("bootstrap.server", "`bootstrap.servers`"),
            ("isolation.level", "read_committed"),
        ] {
            let error = check_property(name).expect_err(name);
            let hint = error.hint().unwrap_or_default();
            assert!(error.to_string().contains(name) && hint.contains(cure), "{name}: {error}; {hint}");
        }
        for name in ALLOWED {
            check_property(name).expect(name);
            let reaches_out = ["location", "path", ".cmd", ".url", "engine", "providers", "plugin", "keytab"];
            assert!(!reaches_out.iter().any(|part| name.contains(part)), "{name}");
        }
    }

    #[test]
    fn a_spec_without_brokers_is_refused_where_they_belong() {
        let mut kafka = KafkaSpec::new("t", " ");
        assert_eq!(kafka.check().expect_err("no brokers").at().as_deref(), Some("/spec/ioConfig/consumerProperties"));
        kafka.properties.insert("bootstrap.servers".to_owned(), "localhost:9092".to_owned());
        kafka.check().expect("complete");
        kafka.task_count = 0;
        assert_eq!(kafka.check().expect_err("no task").at().as_deref(), Some("/spec/ioConfig/taskCount"));
    }
}
