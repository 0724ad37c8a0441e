//! Producer ids and what a partition knows of its producers, on a real broker over a real socket.

mod support;

use std::collections::HashSet;

use kafka_protocol::messages::describe_producers_request::{
    DescribeProducersRequest, TopicRequest,
};
use kafka_protocol::messages::describe_producers_response::PartitionResponse;
use kafka_protocol::messages::{InitProducerIdRequest, ProducerId, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use klamm::base::ids::FIRST_CLIENT_PRODUCER_ID;
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use support::broker::{Asked, Broker};
use support::client::Client;
use support::topics;

const NONE: i16 = 0;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_REQUEST: i16 = 42;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

/// Asks for a producer id; answers error code, id and epoch.
fn init(client: &mut Client, version: i16, request: &InitProducerIdRequest) -> (i16, i64, i16) {
    let response = client.call(version, request);
    (response.error_code, response.producer_id.0, response.producer_epoch)
}

/// The request of an idempotent producer that has no id yet.
fn newcomer() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1_000)
}

fn returning(id: i64, epoch: i16) -> InitProducerIdRequest {
    newcomer().with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
}

#[test]
fn every_producer_gets_an_id_of_its_own_at_epoch_0() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    let mut given = HashSet::new();
    for version in 0..=5 {
        let (error_code, id, epoch) = init(&mut client, version, &newcomer());
        assert_eq!((error_code, epoch), (NONE, 0), "v{version}");
        assert!(given.insert(id), "{id} again");
    }
    for version in 3..=5 {
        let (error_code, id, epoch) = init(&mut client, version, &returning(5_000, 3));
        assert_eq!((error_code, epoch), (NONE, 0), "v{version}");
        assert!(given.insert(id), "{id} again");
    }
}

#[test]
fn id_and_epoch_must_come_together() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    for half in [returning(5_000, -1), returning(-1, 0)] {
        assert_eq!(init(&mut client, 4, &half), (INVALID_REQUEST, -1, -1));
    }
}

#[test]
fn a_transactional_id_is_refused_for_good() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    let id = TransactionalId(StrBytes::from_static_str("payments"));
    for version in 0..=5 {
        let request = newcomer().with_transactional_id(Some(id.clone()));
        let answer = init(&mut client, version, &request);
        assert_eq!(answer, (TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1, -1), "v{version}");
    }
    let log = std::fs::read_to_string(scratch.path().join("broker.log")).unwrap();
    assert!(log.contains("payments") && log.contains("transactions are not served"), "{log}");
}

#[test]
fn ids_are_not_given_again_after_a_kill() {
    let scratch = tempfile::tempdir().unwrap();
    let mut given = HashSet::new();
    for _ in 0..3 {
        let broker = Broker::start(scratch.path());
        let mut client = broker.connect();
        for _ in 0..3 {
            let (error_code, id, _) = init(&mut client, 4, &newcomer());
            assert_eq!(error_code, NONE);
            assert!(id >= FIRST_CLIENT_PRODUCER_ID, "{id} is the broker's own");
            assert!(given.insert(id), "{id} again");
        }
    }
}

#[test]
fn nobody_poses_as_the_broker_itself() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    let topic = topics::name("posing");
    topics::create(&mut client, &topic, 1);
    for id in [0, FIRST_CLIENT_PRODUCER_ID - 1] {
        let refused = produce(&mut client, &topic, (id, 0, 0), 1);
        assert_eq!(refused, (INVALID_PRODUCER_ID_MAPPING, -1), "{id}");
    }
    let granted = produce(&mut client, &topic, (FIRST_CLIENT_PRODUCER_ID, 0, 0), 1);
    assert_eq!(granted, (NONE, 0));
}

/// A batch of `records` records from a producer.
fn produce(
    client: &mut Client,
    topic: &TopicName,
    (id, epoch, base_sequence): (i64, i16, i32),
    records: i32,
) -> (i16, i64) {
    let mut builder = BatchBuilder::new(Codec::None, None).producer(id, epoch, base_sequence);
    for _ in 0..records {
        builder.push(1_700_000_000_000, None, Some(b"value"), [].into_iter());
    }
    topics::produce(client, topic, 0, builder.build().expect("a small batch"))
}

fn describe(client: &mut Client, topic: &TopicName, partitions: &[i32]) -> Vec<PartitionResponse> {
    let topic = TopicRequest::default()
        .with_name(topic.clone())
        .with_partition_indexes(partitions.to_vec());
    let response = client.call(0, &DescribeProducersRequest::default().with_topics(vec![topic]));
    response.topics[0].partitions.clone()
}

#[test]
fn a_retry_writes_nothing_and_a_gap_or_an_old_epoch_is_refused() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    let topic = topics::name("sequences");
    topics::create(&mut client, &topic, 1);
    let (_, id, _) = init(&mut client, 4, &newcomer());
    assert_eq!(produce(&mut client, &topic, (id, 1, 0), 3), (NONE, 0));
    assert_eq!(produce(&mut client, &topic, (id, 1, 3), 2), (NONE, 3));
    assert_eq!(produce(&mut client, &topic, (id, 1, 0), 3), (NONE, 0), "a retry");
    let gap = produce(&mut client, &topic, (id, 1, 9), 1);
    assert_eq!(gap, (OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    let old = produce(&mut client, &topic, (id, 0, 5), 1);
    assert_eq!(old, (INVALID_PRODUCER_EPOCH, -1));
    assert_eq!(produce(&mut client, &topic, (id, 1, 5), 1), (NONE, 5), "nothing else was written");
}

#[test]
fn a_partition_tells_of_its_producers() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    let topic = topics::name("described");
    topics::create(&mut client, &topic, 2);
    let (_, id, _) = init(&mut client, 4, &newcomer());
    assert_eq!(produce(&mut client, &topic, (id, 2, 0), 3), (NONE, 0));

    let described = describe(&mut client, &topic, &[0, 1, 7]);
    let codes: Vec<i16> = described.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [NONE, NONE, UNKNOWN_TOPIC_OR_PARTITION]);
    let [producer] = &described[0].active_producers[..] else { panic!("{described:?}") };
    assert_eq!((producer.producer_id.0, producer.producer_epoch), (id, 2));
    assert_eq!((producer.last_sequence, producer.last_timestamp), (2, 1_700_000_000_000));
    assert_eq!((producer.coordinator_epoch, producer.current_txn_start_offset), (-1, -1));
    assert!(described[1].active_producers.is_empty());
}

#[test]
fn a_partition_named_twice_is_told_of_once() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    let topic = topics::name("twice");
    topics::create(&mut client, &topic, 1);
    let codes = describe(&mut client, &topic, &[0, 0]).into_iter().map(|p| p.error_code);
    assert_eq!(codes.collect::<Vec<i16>>(), [NONE, INVALID_REQUEST]);
}
