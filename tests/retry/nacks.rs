//! Nacks, what they need to be there, and what the broker counts of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, GroupId, OffsetCommitRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::kit::Given;
use crate::support::broker::Broker;
use crate::support::client::Client;

/// How often a question is asked again while the coordinator begins its work.
const ASKS: usize = 200_000;

fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

pub fn group(stem: &str) -> GroupId {
    GroupId(text(format!("{stem}-{}", std::process::id())))
}

/// A record that says that the group has failed on that offset.
pub fn nack(group: &GroupId, offset: i64) -> Given {
    Given::live("").with("klamm.nack.group", group.as_str()).with("klamm.nack.offset", offset)
}

pub fn retries(group: &GroupId, topic: &TopicName) -> TopicName {
    TopicName(text(format!("retry.{}.{}", group.as_str(), topic.as_str())))
}

pub fn dead(group: &GroupId, topic: &TopicName) -> TopicName {
    TopicName(text(format!("dlq.{}.{}", group.as_str(), topic.as_str())))
}

/// Where records go that expire before any group sees them.
pub fn dead_of(topic: &TopicName) -> TopicName {
    TopicName(text(format!("dlq.{}", topic.as_str())))
}

/// Commits as a consumer without a group protocol does, which makes the group known.
pub fn commit(
    client: &mut Client,
    group: &GroupId,
    topic: &TopicName,
    partition: i32,
    offset: i64,
) {
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![group.0.clone()]);
    let found = (0..ASKS).any(|_| client.call(4, &find).coordinators[0].error_code == 0);
    assert!(found, "{group:?} has no coordinator");
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic.clone())
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group.clone())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let committed =
        (0..ASKS).any(|_| client.call(8, &request).topics[0].partitions[0].error_code == 0);
    assert!(committed, "{group:?} can't commit");
}

/// Waits until the broker has made a topic for itself.
pub fn await_topic(client: &mut Client, topic: &TopicName) {
    let latest = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(topic.clone()).with_partitions(vec![latest]);
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let is_there =
        (0..ASKS).any(|_| client.call(1, &request).topics[0].partitions[0].error_code == 0);
    assert!(is_there, "{request:?}");
}

/// Deletes a partition's records below an offset.
pub fn delete_before(client: &mut Client, topic: &TopicName, partition: i32, offset: i64) {
    let partition =
        DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let topic =
        DeleteRecordsTopic::default().with_name(topic.clone()).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(9_000);
    let deleted = client.call(2, &request);
    assert_eq!(deleted.topics[0].partitions[0].error_code, 0, "{deleted:?}");
}

/// The value of a metric, by its name with its labels; nothing if it is not there.
pub fn metric(broker: &Broker, name: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(broker.http()).expect("it listens");
    let ask =
        format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", broker.http());
    stream.write_all(ask.as_bytes()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers in text");
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value)
}
