//! Kafka: one topic, stream partitions assigned by hand, positions always ours.
//!
//! The log of Kafka is our journal, so the client is set up never to decide anything about positions: no commit, no
//! stored offset, no reset (`auto.offset.reset=error`), no group membership although the library wants a group's name.
//! Only committed records are read and their checksums are verified. These settings cannot be changed by a spec.
//!
//! The client reconnects by itself and goes on where it was; an outage shows as [`SourceError::Lost`] from time to time
//! and otherwise as silence.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use freshet_segment::time::Timestamp;

use super::{Bounds, Offset, RawBatch, Source, SourceError, StreamPartition};
use crate::spec::{KafkaSpec, is_secret_property};

/// How long one question to the brokers may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Notices taken off the queue of a client that only asks questions.
const NOTICES_MAX: usize = 1_000;

/// Settings that make offsets ours; no spec can change them.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
    ("allow.auto.create.topics", "false"),
    ("enable.partition.eof", "false"),
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

/// A client of one topic.
pub struct KafkaSource {
    consumer: BaseConsumer,
    topic: String,
    /// For people: the brokers of the spec.
    brokers: String,
    assigned: bool,
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
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS {
            config.set(*name, *value);
        }
        for (name, value) in &spec.properties {
            config.set(name, value);
        }
        config.set("group.id", format!("freshet-{id}"));
        for (name, value) in FIXED {
            config.set(*name, *value);
        }
        let consumer = config.create().map_err(|error| SourceError::Lost(config_error(&error)))?;
        let brokers = spec.properties.get("bootstrap.servers").cloned().unwrap_or_default();
        Ok(Self { consumer, topic: spec.topic.clone(), brokers, assigned: false })
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
        if !self.assigned {
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
        Ok(topic.partitions().iter().map(|partition| StreamPartition(partition.id())).collect())
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
        self.assigned = !positions.is_empty();
        Ok(())
    }

    fn poll(&mut self, batch: &mut RawBatch, timeout: Duration) -> Result<(), SourceError> {
        let mut wait = timeout;
        while !batch.is_full() {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let produced = message.timestamp().to_millis().map(Timestamp::from_millis);
                    batch.push(StreamPartition(message.partition()), message.offset(), produced, message.payload());
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    return Err(match error.rdkafka_error_code() {
                        Some(code @ (RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) => {
                            SourceError::OutOfRange(format!("topic `{}`: {code}", self.topic))
                        }
                        _ => self.lost("reading", &error),
                    });
                }
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_property_of_a_spec_reaches_the_fixed_settings_and_secrets_are_not_repeated() {
        for (name, _) in FIXED {
            assert!(crate::spec::check_property(name).is_err(), "{name}");
        }
        let mut spec = KafkaSpec::new("t", "127.0.0.1:1");
        KafkaSource::new("s", &spec).expect("all settings are known to the client");
        spec.properties.insert("security.protocol".to_owned(), "morse".to_owned());
        let error = KafkaSource::new("s", &spec).map(drop).expect_err("no such protocol");
        assert!(error.to_string().contains("`security.protocol`"), "{error}");
    }
}
