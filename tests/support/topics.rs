//! Topics and records of tests, made over the wire.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;

use super::client::Client;

/// How often a broker is asked whether a topic is there.
const ASKS: usize = 10_000;

/// A topic's name, which no other run of the tests uses on the same broker.
pub fn name(stem: &str) -> TopicName {
    TopicName(StrBytes::from_string(format!("{stem}-{}", std::process::id())))
}

/// Creates a topic that keeps its records, and waits until its partitions have leaders.
pub fn create(client: &mut Client, topic: &TopicName, partitions: i32) {
    create_with(client, topic, partitions, &[("retention.ms", "-1")]);
}

/// As [`create`], with these configs.
pub fn create_with(
    client: &mut Client,
    topic: &TopicName,
    partitions: i32,
    configs: &[(&'static str, &'static str)],
) {
    let config = |(name, value): &(&'static str, &'static str)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_static_str(value)))
    };
    let creatable = CreatableTopic::default()
        .with_name(topic.clone())
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    let request =
        CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(9_000);
    let created = client.call(5, &request);
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    let served = (0..ASKS).any(|_| (0..partitions).all(|p| is_led(client, topic, p)));
    assert!(served, "{} has no leaders", topic.0);
}

/// Whether the broker answers as the partition's leader.
fn is_led(client: &mut Client, topic: &TopicName, partition: i32) -> bool {
    let latest = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(topic.clone()).with_partitions(vec![latest]);
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    client.call(1, &request).topics[0].partitions[0].error_code == 0
}

/// A batch of records with these timestamps.
pub fn batch(codec: Codec, timestamps_ms: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(codec, None);
    for timestamp_ms in timestamps_ms {
        builder.push(*timestamp_ms, Some(b"key"), Some(b"value"), [].into_iter());
    }
    builder.build().expect("a small batch")
}

/// Produces one batch with `acks=all` and returns the error code and the base offset.
pub fn produce(client: &mut Client, topic: &TopicName, partition: i32, batch: Bytes) -> (i16, i64) {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topic =
        TopicProduceData::default().with_name(topic.clone()).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(9_000).with_topic_data(vec![topic]);
    let produced = client.call(9, &request);
    let partition = &produced.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// Sets one config of a topic.
pub fn alter(client: &mut Client, topic: &TopicName, name: &'static str, value: &'static str) {
    alter_resource(client, 2, topic.0.clone(), name, value);
}

/// Sets one config of all brokers.
pub fn alter_broker(client: &mut Client, name: &'static str, value: &'static str) {
    alter_resource(client, 4, StrBytes::from_static_str(""), name, value);
}

fn alter_resource(
    client: &mut Client,
    kind: i8,
    resource: StrBytes,
    name: &'static str,
    value: &'static str,
) {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str(name))
        .with_config_operation(0)
        .with_value(Some(StrBytes::from_static_str(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(resource)
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let altered = client.call(1, &request);
    assert_eq!(altered.responses[0].error_code, 0, "{altered:?}");
}
