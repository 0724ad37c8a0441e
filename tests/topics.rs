//! The life of a topic over the wire, and what of it survives a broker's sudden end.

mod support;

use std::path::Path;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, ListOffsetsRequest,
    MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use klamm::base::fault::Code;
use klamm::wire::compression::Codec;
use support::broker::Broker;
use support::client::Client;
use support::topics::{self, create, name};

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

fn delete(client: &mut Client, topic: &TopicName) -> i16 {
    let topic = DeleteTopicState::default().with_name(Some(topic.clone()));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]);
    client.call(6, &request).responses[0].error_code
}

fn metadata(client: &mut Client, topic: &TopicName) -> MetadataResponseTopic {
    let topic = MetadataRequestTopic::default().with_name(Some(topic.clone()));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false);
    client.call(12, &request).topics.remove(0)
}

/// Produces one batch of so many records, and gives code and base offset.
fn produce(client: &mut Client, topic: &TopicName, partition: i32, records: usize) -> (i16, i64) {
    let batch = topics::batch(Codec::None, &vec![1_700_000_000_000; records]);
    topics::produce(client, topic, partition, batch)
}

fn offset(client: &mut Client, topic: &TopicName, partition: i32, timestamp: i64) -> i64 {
    let partition =
        ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    let topic =
        ListOffsetsTopic::default().with_name(topic.clone()).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    client.call(7, &request).topics[0].partitions[0].offset
}

/// Deletes records, and gives code and low watermark by partition.
fn delete_records(client: &mut Client, topic: &TopicName, to: &[(i32, i64)]) -> Vec<(i16, i64)> {
    let partition = |(index, offset): &(i32, i64)| {
        DeleteRecordsPartition::default().with_partition_index(*index).with_offset(*offset)
    };
    let topic = DeleteRecordsTopic::default()
        .with_name(topic.clone())
        .with_partitions(to.iter().map(partition).collect());
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let response = client.call(2, &request);
    let told = response.topics[0].partitions.iter();
    told.map(|partition| (partition.error_code, partition.low_watermark)).collect()
}

/// A running broker and a client of it.
fn start(scratch: &Path) -> (Broker, Client) {
    let broker = Broker::start(scratch);
    let client = broker.connect();
    (broker, client)
}

#[test]
fn a_topic_is_usable_at_once_and_survives_a_kill_with_a_higher_epoch() {
    let scratch = tempfile::tempdir().unwrap();
    let topic = name("orders");
    let (broker, mut client) = start(scratch.path());
    create(&mut client, &topic, 3);
    assert_eq!(produce(&mut client, &topic, 2, 5), (0, 0));
    let before = metadata(&mut client, &topic);
    assert_eq!(before.partitions.len(), 3);
    assert!(before.partitions.iter().all(|p| p.leader_epoch == 0 && p.leader_id.0 == 1));
    drop(broker);

    let (broker, mut client) = start(scratch.path());
    let after = metadata(&mut client, &topic);
    assert_eq!(after.topic_id, before.topic_id);
    assert!(after.partitions.iter().all(|p| p.leader_epoch == 1));
    assert_eq!(produce(&mut client, &topic, 2, 1), (0, 5));
    assert!(broker.stop().success());
}

#[test]
fn a_topic_created_again_meets_nothing_of_the_old_one() {
    let scratch = tempfile::tempdir().unwrap();
    let topic = name("again");
    let (broker, mut client) = start(scratch.path());
    create(&mut client, &topic, 1);
    assert_eq!(produce(&mut client, &topic, 0, 7), (0, 0));
    let old = metadata(&mut client, &topic).topic_id;
    assert_eq!(delete(&mut client, &topic), 0);
    let unknown = Code::UnknownTopicOrPartition.code();
    assert_eq!(metadata(&mut client, &topic).error_code, unknown);
    assert_eq!(produce(&mut client, &topic, 0, 1).0, unknown);

    create(&mut client, &topic, 1);
    assert_ne!(metadata(&mut client, &topic).topic_id, old);
    assert_eq!(produce(&mut client, &topic, 0, 1), (0, 0));
    drop(broker);

    let (broker, mut client) = start(scratch.path());
    assert_eq!(offset(&mut client, &topic, 0, LATEST), 1);
    assert_eq!(delete(&mut client, &topic), 0);
    assert!(broker.stop().success());
    let left = std::fs::read_dir(scratch.path().join("data")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let of_topic = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with(&topic.0[..]);
    assert!(left.iter().find(of_topic).is_none(), "{left:?}");
}

#[test]
fn deleted_records_do_not_come_back_after_a_kill() {
    let scratch = tempfile::tempdir().unwrap();
    let topic = name("trimmed");
    let (broker, mut client) = start(scratch.path());
    create(&mut client, &topic, 2);
    assert_eq!(produce(&mut client, &topic, 0, 10), (0, 0));
    assert_eq!(produce(&mut client, &topic, 1, 4), (0, 0));
    // Up to an offset or the high watermark; then at or below the log start, which is nothing.
    assert_eq!(delete_records(&mut client, &topic, &[(0, 6), (1, -1)]), [(0, 6), (0, 4)]);
    assert_eq!(delete_records(&mut client, &topic, &[(0, 3), (1, 4)]), [(0, 6), (0, 4)]);
    let out_of_range = (Code::OffsetOutOfRange.code(), -1);
    assert_eq!(delete_records(&mut client, &topic, &[(0, 11), (1, -2)]), [out_of_range; 2]);
    let unknown = (Code::UnknownTopicOrPartition.code(), -1);
    assert_eq!(delete_records(&mut client, &topic, &[(9, 0)]), [unknown]);
    drop(broker);

    let (_broker, mut client) = start(scratch.path());
    let offsets = [(0, EARLIEST), (0, LATEST), (1, EARLIEST), (1, LATEST)]
        .map(|(partition, timestamp)| offset(&mut client, &topic, partition, timestamp));
    assert_eq!(offsets, [6, 10, 4, 4]);
    assert_eq!(produce(&mut client, &topic, 1, 1), (0, 4));
}

#[test]
fn records_of_internal_and_compacted_topics_are_not_deleted() {
    let scratch = tempfile::tempdir().unwrap();
    let (_broker, mut client) = start(scratch.path());
    let compact = CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("cleanup.policy"))
        .with_value(Some(StrBytes::from_static_str("compact")));
    let table = CreatableTopic::default()
        .with_name(name("table"))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(vec![compact]);
    let created = client.call(7, &CreateTopicsRequest::default().with_topics(vec![table]));
    assert_eq!(created.topics[0].error_code, 0);
    let policy = (Code::PolicyViolation.code(), -1);
    assert_eq!(delete_records(&mut client, &name("table"), &[(0, 0)]), [policy]);
    let internal = TopicName(StrBytes::from_static_str("__consumer_offsets"));
    let invalid = (Code::InvalidTopicException.code(), -1);
    assert_eq!(delete_records(&mut client, &internal, &[(0, 0)]), [invalid]);
}

#[test]
fn a_directory_of_another_node_is_refused_with_the_remedy() {
    let scratch = tempfile::tempdir().unwrap();
    assert!(Broker::start(scratch.path()).stop().success());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(["serve", "--listen", "127.0.0.1:0", "--override", "node.id=2", "--data-dir"])
        .arg(scratch.path().join("data"))
        .env_clear()
        .output()
        .expect("the binary starts");
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("set node.id=1"), "{complaint}");
}
