//! Kafka: one topic, stream partitions assigned by hand, positions always ours.
//!
//! The log of Kafka is our journal, so the client is set up never to decide anything about positions: no commit, no
//! stored offset, no reset (`auto.offset.reset=error`), no group membership although the library wants a group's name.
//! Only committed records are read and their checksums are verified. These settings cannot be changed by a spec.
//!
//! The client reconnects by itself and goes on where it was; an outage shows as [`SourceError::Lost`] from time to time
//! and otherwise as silence.
//!
//! The last offsets of a stream partition may belong to no record: the mark that ends a transaction takes one. At the end
//! of a stream partition the client says so, and then its position, which counts the marks, is handed on.

mod retention;
mod topic_id;

use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::metadata::MetadataPartition;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use freshet_segment::time::Timestamp;

use super::{Bounds, Offset, RawBatch, Source, SourceError, StreamPartition};
use crate::spec::{KafkaSpec, is_secret_property};
use retention::Retention;
use topic_id::NoAnswer;

/// How long one question to the brokers may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Notices taken off the queue of a client that only asks questions.
const NOTICES_MAX: usize = 1_000;
/// How long the topic's id is not asked for after brokers that answer everything else did not answer that.
const ID_REST: Duration = Duration::from_secs(60);

/// Settings that make offsets ours; no spec can change them.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
    ("allow.auto.create.topics", "false"),
    ("enable.partition.eof", "true"),
];

/// Settings that a spec may change.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "freshet"),
    // Fetched and not yet polled, a client: bounds what a paused task holds.
    ("queued.max.messages.kbytes", "16384"),
    // The library's second is a stall for a consumer that empties its queue within milliseconds.
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.wait.max.ms", "100"),
    ("reconnect.backoff.max.ms", "5000"),
    ("socket.keepalive.enable", "true"),
];

/// What the library says goes to our log; that a partition was read to its end is no trouble.
struct Logged;

impl ClientContext for Logged {
    fn error(&self, error: KafkaError, reason: &str) {
        if !matches!(error, KafkaError::PartitionEOF(_))
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF)
        {
            tracing::warn!(%error, reason, "the Kafka client has trouble");
        }
    }
}

impl ConsumerContext for Logged {}

/// A client of one topic.
pub struct KafkaSource {
    consumer: BaseConsumer<Logged>,
    topic: String,
    /// For people: the brokers of the spec.
    brokers: String,
    /// Where reading began, since the last assignment.
    assigned: Vec<(StreamPartition, Offset)>,
    /// A broker that leads a stream partition: the one to ask about the topic.
    leader: Option<i32>,
    /// Whether the brokers ever told the topic's id.
    told_id: bool,
    /// Until when they are not asked for it.
    id_rests_until: Option<Instant>,
    retention: Retention,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl KafkaSource {
    /// A client for the supervisor `id`. It connects on its own time.
    ///
    /// # Errors
    /// `Lost` when the client cannot be made of these properties.
    pub fn new(id: &str, spec: &KafkaSpec) -> Result<Self, SourceError> {
        let of_spec = spec.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings = || DEFAULTS.iter().copied().chain(of_spec.clone());
        let mut config = ClientConfig::new();
        for (name, value) in settings() {
            config.set(name, value);
        }
        config.set("group.id", format!("freshet-{id}"));
        for (name, value) in FIXED {
            config.set(*name, *value);
        }
        let consumer = config.create_with_context(Logged).map_err(|error| SourceError::Lost(config_error(&error)))?;
        let brokers = spec.properties.get("bootstrap.servers").cloned().unwrap_or_default();
        Ok(Self {
            consumer,
            topic: spec.topic.clone(),
            brokers,
            assigned: Vec::new(),
            leader: None,
            told_id: false,
            id_rests_until: None,
            retention: Retention::new(settings()),
        })
    }

    /// Adds what is there to the batch. Says which stream partitions were read to their end meanwhile.
    fn take(
        &self,
        batch: &mut RawBatch,
        timeout: Duration,
        ended: &mut Vec<StreamPartition>,
    ) -> Result<(), KafkaError> {
        let mut wait = timeout;
        while !batch.is_full() {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let produced = message.timestamp().to_millis().map(Timestamp::from_millis);
                    batch.push(StreamPartition(message.partition()), message.offset(), produced, message.payload());
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => ended.push(StreamPartition(partition)),
                Some(Err(error)) => return Err(error),
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// One past the last record handed out, or mark passed over, of each assigned stream partition that has had one.
    fn positions(&self) -> Vec<(StreamPartition, Offset)> {
        // Fails only when the client is closed; then there is nothing to tell.
        let Ok(list) = self.consumer.position() else { return Vec::new() };
        let of = |partition: StreamPartition, begin: Offset| {
            let found = list.find_partition(&self.topic, partition.0)?;
            match found.offset() {
                KafkaOffset::Offset(at) if at >= begin => Some((partition, at)),
                _ => None,
            }
        };
        self.assigned.iter().filter_map(|(partition, begin)| of(*partition, *begin)).collect()
    }

    /// Some position is not there: the client does not say which, so each is compared with what its stream partition holds.
    fn out_of_range(&self, code: RDKafkaErrorCode) -> SourceError {
        let read = self.positions();
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut lost = Vec::new();
        for (partition, begin) in &self.assigned {
            let wanted = read.iter().find(|(of, _)| of == partition).map_or(*begin, |(_, at)| *at);
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((low, high)) = self.consumer.fetch_watermarks(&self.topic, partition.0, left) else { break };
            if wanted < low {
                lost.push(format!("offset {wanted} of {partition} is gone, the oldest kept is {low}"));
            } else if wanted > high {
                lost.push(format!("offset {wanted} of {partition} does not exist, its end is {high}"));
            }
        }
        if lost.is_empty() {
            // The brokers are away again, or a leader that was behind has caught up.
            lost.push(code.to_string());
        }
        SourceError::OutOfRange(format!("topic `{}`: {}", self.topic, lost.join("; ")))
    }

    fn lost(&self, doing: &str, error: &KafkaError) -> SourceError {
        let cause = match error.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => error.to_string(),
        };
        SourceError::Lost(format!("topic `{}` cannot be reached at {} ({doing}): {cause}", self.topic, self.brokers))
    }
}

/// A refused property by its name, without its value where that is a secret.
fn config_error(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, name, _) if is_secret_property(name) => {
            format!("the client refuses the value of consumer property `{name}`")
        }
        KafkaError::ClientConfig(_, why, name, _) => format!("the client refuses consumer property `{name}`: {why}"),
        other => format!("the client cannot be made: {other}"),
    }
}

impl Source for KafkaSource {
    fn partitions(&mut self) -> Result<Vec<StreamPartition>, SourceError> {
        if self.assigned.is_empty() {
            // Nobody polls a client that only asks; its notices must not pile up.
            for _ in 0..NOTICES_MAX {
                if self.consumer.poll(Duration::ZERO).is_none() {
                    break;
                }
            }
        }
        let metadata = self
            .consumer
            .fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT)
            .map_err(|error| self.lost("asking for its partitions", &error))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let missing = |why: String| SourceError::Lost(format!("topic `{}` cannot be read: {why}", self.topic));
        let Some(topic) = topic else {
            return Err(missing("the brokers do not know it; create it, or correct its name".to_owned()));
        };
        if let Some(error) = topic.error() {
            let code = RDKafkaErrorCode::from(error);
            return Err(missing(format!("{code}; create it, correct its name, or allow this client to read it")));
        }
        if topic.partitions().is_empty() {
            return Err(missing("it has no partitions".to_owned()));
        }
        self.leader = topic.partitions().iter().map(MetadataPartition::leader).find(|leader| *leader >= 0);
        Ok(topic.partitions().iter().map(|partition| StreamPartition(partition.id())).collect())
    }

    fn stream_id(&mut self) -> Result<Option<String>, SourceError> {
        if self.id_rests_until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        // Not whoever the library would ask, the cluster's controller: reading does not need that one.
        if self.leader.is_none() {
            self.partitions()?;
        }
        match topic_id::ask(self.consumer.client(), &self.topic, self.leader, ANSWER_TIMEOUT) {
            Ok(id) => {
                self.told_id |= id.is_some();
                Ok(id)
            }
            Err(NoAnswer::Unsupported) => Ok(None),
            Err(NoAnswer::Refused(why)) => {
                Err(SourceError::Lost(format!("the brokers do not tell the id of topic `{}`: {why}", self.topic)))
            }
            Err(NoAnswer::TimedOut) => {
                // Perhaps that broker is no more.
                self.leader = None;
                let asked = "asking for its id";
                let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
                if self.told_id {
                    return Err(self.lost(asked, &timed_out));
                }
                // An outage, or brokers that do not answer this of all questions?
                let metadata = self.consumer.fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT);
                metadata.map_err(|error| self.lost(asked, &error))?;
                self.id_rests_until = Some(Instant::now() + ID_REST);
                Ok(None)
            }
        }
    }

    fn retention(&mut self) -> Result<Option<Duration>, SourceError> {
        Ok(self.retention.of(&self.topic, self.leader, ANSWER_TIMEOUT))
    }

    fn bounds(&mut self, partition: StreamPartition) -> Result<Bounds, SourceError> {
        let (low, high) = self
            .consumer
            .fetch_watermarks(&self.topic, partition.0, ANSWER_TIMEOUT)
            .map_err(|error| self.lost(&format!("asking for the ends of {partition}"), &error))?;
        Ok(Bounds { low, high })
    }

    fn assign(&mut self, positions: &[(StreamPartition, Offset)]) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, offset) in positions {
            list.add_partition_offset(&self.topic, partition.0, KafkaOffset::Offset(*offset))
                .map_err(|error| self.lost("assigning partitions", &error))?;
        }
        let done = if positions.is_empty() { self.consumer.unassign() } else { self.consumer.assign(&list) };
        done.map_err(|error| self.lost("assigning partitions", &error))?;
        self.assigned = positions.to_vec();
        Ok(())
    }

    fn poll(&mut self, batch: &mut RawBatch, timeout: Duration) -> Result<(), SourceError> {
        let mut ended = Vec::new();
        let taken = self.take(batch, timeout, &mut ended);
        if !ended.is_empty() {
            // Now and not at each end: nothing is fetched between here and the last record, so all of these hold.
            for (partition, at) in self.positions() {
                if ended.contains(&partition) {
                    batch.reach(partition, at);
                }
            }
        }
        taken.map_err(|error| match error.rdkafka_error_code() {
            Some(
                code @ (RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation),
            ) => self.out_of_range(code),
            _ => self.lost("reading", &error),
        })
    }
}

#[cfg(test)]
mod tests;
