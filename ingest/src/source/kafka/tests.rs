//! The client against librdkafka's mock brokers.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaApiKey;

use super::*;

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock(brokers: i32) -> Mock {
    let cluster = MockCluster::new(brokers).expect("mock brokers");
    cluster.create_topic("events", 2, 1).expect("a topic");
    cluster
}

fn produce(cluster: &Mock, partition: i32, count: usize) {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("a producer");
    for n in 0..count {
        let payload = n.to_string();
        producer.send(BaseRecord::<str, str>::to("events").payload(&payload).partition(partition)).expect("queued");
    }
    producer.flush(Duration::from_secs(30)).expect("delivered");
}

fn source(cluster: &Mock) -> KafkaSource {
    KafkaSource::new("s", &KafkaSpec::new("events", cluster.bootstrap_servers())).expect("a client")
}

/// Polls until `done` is, or an error comes.
fn poll_until(
    source: &mut KafkaSource,
    batch: &mut RawBatch,
    done: impl Fn(&RawBatch) -> bool,
) -> Result<(), SourceError> {
    let start = Instant::now();
    while !done(batch) {
        assert!(start.elapsed() < Duration::from_secs(30), "never came: {batch:?}");
        source.poll(batch, Duration::from_millis(50))?;
    }
    Ok(())
}

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

#[test]
fn the_end_of_a_stream_partition_is_reached_after_its_records_and_anew_after_an_assignment() {
    let cluster = mock(1);
    produce(&cluster, 0, 10);
    produce(&cluster, 1, 3);
    let (first, second) = (StreamPartition(0), StreamPartition(1));
    let mut source = source(&cluster);
    source.assign(&[(first, 4), (second, 0)]).expect("assigned");
    let mut batch = RawBatch::default();
    poll_until(&mut source, &mut batch, |batch| {
        batch.reached().contains(&(first, 10)) && batch.reached().contains(&(second, 3))
    })
    .expect("no trouble");
    let of = |batch: &RawBatch, partition| -> Vec<Offset> {
        batch.records().iter().filter(|r| r.partition == partition).map(|r| r.offset).collect()
    };
    assert_eq!(of(&batch, first), [4, 5, 6, 7, 8, 9]);
    assert_eq!(of(&batch, second), [0, 1, 2]);
    // Only positions with their records before them, ever.
    assert!(batch.reached().iter().all(|at| [(first, 10), (second, 3)].contains(at)), "{batch:?}");
    batch.clear();
    assert!(batch.reached().is_empty());

    source.assign(&[(first, 0)]).expect("assigned");
    poll_until(&mut source, &mut batch, |batch| !batch.reached().is_empty()).expect("no trouble");
    assert_eq!(of(&batch, first), (0..10).collect::<Vec<_>>(), "the position of before is forgotten");
    assert_eq!(batch.reached(), [(first, 10)]);

    // At the end already: there is nothing to tell.
    batch.clear();
    source.assign(&[(first, 10)]).expect("assigned");
    for _ in 0..10 {
        source.poll(&mut batch, Duration::from_millis(50)).expect("no trouble");
    }
    assert!(batch.reached().iter().all(|at| *at == (first, 10)), "{batch:?}");
    produce(&cluster, 0, 1);
    poll_until(&mut source, &mut batch, |batch| batch.reached().contains(&(first, 11))).expect("no trouble");
    assert_eq!(of(&batch, first), [10]);
}

#[test]
fn a_position_that_is_not_there_is_named() {
    let cluster = mock(1);
    produce(&cluster, 0, 10);
    produce(&cluster, 1, 3);
    let mut source = source(&cluster);
    let mut batch = RawBatch::default();
    source.assign(&[(StreamPartition(0), 0), (StreamPartition(1), 1_000)]).expect("assigned");
    let error = poll_until(&mut source, &mut batch, |_| false).expect_err("there is no offset 1000");
    let SourceError::OutOfRange(why) = error else { panic!("{error}") };
    assert_eq!(why, "topic `events`: offset 1000 of stream partition 1 does not exist, its end is 3");
}

#[test]
fn an_id_is_told_by_brokers_that_have_them_and_the_others_cost_no_time() {
    let cluster = mock(1);
    let id = source(&cluster).stream_id().expect("told").expect("mock brokers have ids");
    assert_eq!(id.len(), 22, "{id}");
    let mut other = source(&cluster);
    assert_eq!(other.partitions().map(|found| found.len()), Ok(2));
    assert_eq!(other.stream_id(), Ok(Some(id)), "asked of the leader, by another client");

    // Metadata got topic ids with version 10.
    let old = mock(1);
    old.apiversion(RDKafkaApiKey::Metadata, Some(0), Some(9)).expect("an older broker");
    let mut source = source(&old);
    assert_eq!(source.partitions().map(|found| found.len()), Ok(2));
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(source.stream_id(), Ok(None));
    }
    assert!(start.elapsed() < ANSWER_TIMEOUT, "{:?}", start.elapsed());
}

#[test]
fn a_question_for_the_id_that_is_not_answered_is_not_asked_again_at_once() {
    let cluster = mock(2);
    cluster.partition_leader("events", 0, Some(1)).expect("moved");
    cluster.partition_leader("events", 1, Some(2)).expect("moved");
    let mut source = source(&cluster);
    // Asked of a broker that never was, the others answer.
    source.leader = Some(77);
    let start = Instant::now();
    assert_eq!(source.stream_id(), Ok(None));
    let first = start.elapsed();
    assert!(first < 2 * ANSWER_TIMEOUT, "{first:?}");
    let start = Instant::now();
    assert_eq!(source.stream_id(), Ok(None));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());

    // Brokers that told it once and now say nothing are away.
    source.id_rests_until = None;
    source.leader = Some(1);
    assert!(matches!(source.stream_id(), Ok(Some(_))));
    cluster.broker_down(-1).expect("down");
    for _ in 0..2 {
        assert!(matches!(source.stream_id(), Err(SourceError::Lost(_))));
    }
}

#[test]
fn an_unknown_topic_has_no_id() {
    let cluster = mock(1);
    cluster.topic_error("gone", rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).expect("set");
    let spec = KafkaSpec::new("gone", cluster.bootstrap_servers());
    let mut source = KafkaSource::new("s", &spec).expect("a client");
    let error = source.stream_id().expect_err("there is no such topic");
    assert!(error.to_string().contains("topic `gone`"), "{error}");
}

#[test]
fn brokers_that_do_not_tell_the_retention_are_asked_once() {
    // Mock brokers do not know the question.
    let cluster = mock(1);
    let mut source = source(&cluster);
    source.partitions().expect("told");
    let start = Instant::now();
    assert_eq!(source.retention(), Ok(None));
    assert!(start.elapsed() < ANSWER_TIMEOUT + Duration::from_secs(2), "{:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(source.retention(), Ok(None));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}
