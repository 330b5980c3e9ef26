//! How long a topic keeps its records: what sets the pace of sealing. Nice to know and nothing more, so a broker that does
//! not tell is no error.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

/// How long an answer is believed.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// How long nobody is asked after a failure.
const REST: Duration = Duration::from_secs(60);
/// Settings that mean nothing to a client that only asks, and which the library would complain of.
const OF_READERS: &[&str] = &["fetch.", "queued.", "max.partition."];

/// Asks for the retention of a topic, now and then.
pub(super) struct Retention {
    config: ClientConfig,
    answer: Option<Duration>,
    next: Option<Instant>,
}

impl Retention {
    /// With the settings of a client that may read the topic.
    pub(super) fn new<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut config = ClientConfig::new();
        for (name, value) in settings {
            if !OF_READERS.iter().any(|prefix| name.starts_with(prefix)) {
                config.set(name, value);
            }
        }
        Self { config, answer: None, next: None }
    }

    /// The retention as last heard; `None` when there is none or nobody told. Without a `broker` the controller is asked.
    pub(super) fn of(&mut self, topic: &str, broker: Option<i32>, timeout: Duration) -> Option<Duration> {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return self.answer;
        }
        match ask(&self.config, topic, broker, timeout) {
            Ok(answer) => {
                self.answer = answer;
                self.next = Some(now + KNOWN_FOR);
            }
            Err(why) => {
                tracing::debug!(topic, why, "the retention of a topic is not known");
                // The wait began when the question ended.
                self.next = Some(Instant::now() + REST);
            }
        }
        self.answer
    }
}

fn ask(config: &ClientConfig, topic: &str, broker: Option<i32>, timeout: Duration) -> Result<Option<Duration>, String> {
    // A client for this one question: it comes too seldom to keep connections and a thread for it.
    let client: AdminClient<DefaultClientContext> = config.create().map_err(|error| error.to_string())?;
    let options = AdminOptions::new().request_timeout(Some(timeout)).broker_id(broker);
    let what = ResourceSpecifier::Topic(topic);
    let answers = block_on(client.describe_configs([&what], &options)).map_err(|error| error.to_string())?;
    let Some(answer) = answers.into_iter().next() else { return Err("an empty answer".to_owned()) };
    let answer = answer.map_err(|code| code.to_string())?;
    let setting = |name: &str| answer.get(name).and_then(|entry| entry.value.as_deref());
    retention(setting("cleanup.policy"), setting("retention.ms"))
}

/// What these two settings of a topic say together: one that is only compacted loses nothing to age.
fn retention(policy: Option<&str>, millis: Option<&str>) -> Result<Option<Duration>, String> {
    if policy.is_some_and(|policy| !policy.split(',').any(|part| part.trim() == "delete")) {
        return Ok(None);
    }
    let Some(millis) = millis else { return Err("no retention.ms among the topic's settings".to_owned()) };
    let Ok(millis) = millis.trim().parse::<i64>() else { return Err(format!("retention.ms is `{millis}`")) };
    // -1: for ever.
    Ok(u64::try_from(millis).ok().map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_and_compaction_keep_for_ever() {
        let week = Ok(Some(Duration::from_secs(7 * 24 * 3600)));
        assert_eq!(retention(Some("delete"), Some("604800000")), week);
        assert_eq!(retention(Some("compact,delete"), Some("604800000")), week);
        assert_eq!(retention(None, Some("604800000")), week);
        assert_eq!(retention(Some("compact"), Some("604800000")), Ok(None));
        assert_eq!(retention(Some("delete"), Some("-1")), Ok(None));
        assert_eq!(retention(Some("delete"), Some("0")), Ok(Some(Duration::ZERO)));
        retention(Some("delete"), None).expect_err("not told");
        retention(Some("delete"), Some("a week")).expect_err("no number");
    }
}
