//! Topics of retries and dead letters over the wire: made by asking for their names, read-only in
//! what they are, as large as their source, begun at offset 0 by their group, and all of that
//! still so after a broker's sudden end.

mod support;

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    FindCoordinatorRequest, GroupId, IncrementalAlterConfigsRequest, ListOffsetsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use klamm::base::fault::Code;
use klamm::base::ids::base64_id;
use klamm::wire::compression::Codec;
use support::broker::Broker;
use support::client::Client;
use support::topics::{batch, create, produce};
use uuid::Uuid;

/// How often a question is asked again while a coordinator begins its work.
const ASKS: usize = 100_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn named(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Asks for a topic as a consumer does that may create it: its code, id and partitions.
fn ask_for(client: &mut Client, name: &str) -> (i16, Uuid, usize) {
    let topic = MetadataRequestTopic::default().with_name(Some(named(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    let topic = client.call(12, &request).topics.remove(0);
    (topic.error_code, topic.topic_id, topic.partitions.len())
}

fn create_topic(client: &mut Client, name: &str, partitions: i32, config: Option<&str>) -> i16 {
    let config = config.map(|key| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text("retry")))
    });
    let topic = CreatableTopic::default()
        .with_name(named(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(config.into_iter().collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(9_000);
    client.call(5, &request).topics[0].error_code
}

fn grow(client: &mut Client, name: &str, count: i32) -> i16 {
    let topic = CreatePartitionsTopic::default()
        .with_name(named(name))
        .with_count(count)
        .with_assignments(None);
    let request =
        CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(9_000);
    client.call(3, &request).results[0].error_code
}

fn delete(client: &mut Client, name: &str) {
    let topic = DeleteTopicState::default().with_name(Some(named(name)));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]);
    assert_eq!(client.call(6, &request).responses[0].error_code, 0);
}

/// A topic's configs that somebody has set, with whether they are read-only.
fn configs(client: &mut Client, name: &str) -> BTreeMap<String, (String, bool)> {
    let resource =
        DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text(name));
    let resource = resource.with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let result = client.call(4, &request).results.remove(0);
    assert_eq!(result.error_code, 0, "{name}");
    let own = result.configs.into_iter().filter(|config| config.config_source == 1);
    let value = |config: &Option<StrBytes>| config.as_deref().expect("a value").to_owned();
    own.map(|c| (c.name.to_string(), (value(&c.value), c.read_only))).collect()
}

/// Changes a topic's config: 0 sets, 1 deletes.
fn alter(client: &mut Client, name: &str, key: &str, operation: i8) -> i16 {
    let config = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(operation)
        .with_value(Some(text("dlq")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.call(1, &request).responses[0].error_code
}

/// Waits until somebody coordinates the group, and gives its committed offsets.
fn offsets(client: &mut Client, group: &str) -> Vec<(String, i32, i64)> {
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
    client.call(4, &find);
    let one = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group)));
    let request = OffsetFetchRequest::default().with_groups(vec![one.with_topics(None)]);
    for _ in 0..ASKS {
        let response = client.call(8, &request);
        let found = &response.groups[0];
        if found.error_code != 0 {
            continue;
        }
        let of_topic = found.topics.iter().flat_map(|topic| {
            let of = topic.partitions.iter();
            of.map(|p| (topic.name.to_string(), p.partition_index, p.committed_offset))
        });
        return of_topic.collect();
    }
    panic!("{group} has no coordinator");
}

/// Commits an offset of partition 0.
fn commit(client: &mut Client, group: &str, topic: &str, offset: i64) {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(named(topic))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let done = (0..ASKS).any(|_| client.call(8, &request).topics[0].partitions[0].error_code == 0);
    assert!(done, "{group} has no coordinator");
}

fn earliest(client: &mut Client, topic: &str, partition: i32) -> i64 {
    let partition =
        ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(-2);
    let topic =
        ListOffsetsTopic::default().with_name(named(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    client.call(7, &request).topics[0].partitions[0].offset
}

fn started() -> (Broker, Client, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let client = broker.connect();
    (broker, client, scratch)
}

#[test]
fn who_asks_for_the_name_gets_the_topic() {
    let (broker, mut client, _scratch) = started();
    create(&mut client, &named("orders"), 3);
    let (_, orders, _) = ask_for(&mut client, "orders");
    let (code, _, partitions) = ask_for(&mut client, "retry.billing.orders");
    assert_eq!((code, partitions), (0, 3), "as many partitions as its source");
    let told = configs(&mut client, "retry.billing.orders");
    let expected = [
        ("cleanup.policy", "delete".to_owned(), false),
        ("delay.enable", "true".to_owned(), false),
        ("klamm.group", "billing".to_owned(), true),
        ("klamm.role", "retry".to_owned(), true),
        ("klamm.source.topic", format!("orders:{}", base64_id(orders)), true),
        ("retention.bytes", "-1".to_owned(), false),
        ("retention.ms", "-1".to_owned(), false),
    ];
    let expected = expected.map(|(key, value, read_only)| (key.to_owned(), (value, read_only)));
    assert_eq!(told, BTreeMap::from(expected));

    assert_eq!(create_topic(&mut client, "dlq.billing.orders", -1, None), 0);
    assert_eq!(configs(&mut client, "dlq.billing.orders")["klamm.role"].0, "dlq");
    let expired = ask_for(&mut client, "dlq.orders");
    assert_eq!((expired.0, expired.2), (0, 3));
    assert!(!configs(&mut client, "dlq.orders").contains_key("klamm.group"));
    assert!(broker.stop().success());
}

#[test]
fn other_names_are_ordinary_topics() {
    let (broker, mut client, _scratch) = started();
    create(&mut client, &named("orders"), 3);
    create(&mut client, &named("eu.orders"), 3);
    for name in ["retry.billing.payments", "retry.billing.eu.orders"] {
        let (code, _, partitions) = ask_for(&mut client, name);
        assert_eq!((code, partitions), (0, 1), "{name} has no reading, or more than one");
        assert!(!configs(&mut client, name).contains_key("klamm.role"), "{name}");
    }
    assert!(broker.stop().success());
}

#[test]
fn what_a_topic_is_cannot_be_set() {
    let (broker, mut client, _scratch) = started();
    create(&mut client, &named("orders"), 3);
    ask_for(&mut client, "retry.g.orders");
    let invalid = Code::InvalidConfig.code();
    for key in ["klamm.role", "klamm.source.topic", "klamm.group"] {
        for operation in [0, 1] {
            assert_eq!(alter(&mut client, "retry.g.orders", key, operation), invalid, "{key}");
        }
        assert_eq!(create_topic(&mut client, "mine", 1, Some(key)), invalid, "{key}");
    }
    assert_eq!(configs(&mut client, "retry.g.orders")["klamm.role"].0, "retry");
    let wrong = create_topic(&mut client, "dlq.g.orders", 2, None);
    assert_eq!(wrong, Code::InvalidPartitions.code(), "not as many as its source");
    assert_eq!(create_topic(&mut client, "dlq.g.orders", 3, None), 0);
    assert!(broker.stop().success());
}

#[test]
fn topics_grow_with_their_source_and_stay_beside_it_over_a_kill() {
    let (broker, mut client, scratch) = started();
    create(&mut client, &named("orders"), 2);
    ask_for(&mut client, "retry.g.orders");
    assert_eq!(grow(&mut client, "retry.g.orders", 5), Code::InvalidPartitions.code());
    assert_eq!(grow(&mut client, "orders", 5), 0);
    let (_, id, partitions) = ask_for(&mut client, "retry.g.orders");
    assert_eq!(partitions, 5);
    for partition in 0..5 {
        let one = batch(Codec::None, &[1_700_000_000_000]);
        assert_eq!(produce(&mut client, &named("retry.g.orders"), partition, one), (0, 0));
    }
    drop(broker);

    // With another number of shards each partition is found by its source's place all the same.
    let broker = Broker::start_with(scratch.path(), &["shards=3"]);
    let mut client = broker.connect();
    assert_eq!(ask_for(&mut client, "retry.g.orders"), (0, id, 5));
    assert_eq!(configs(&mut client, "retry.g.orders")["klamm.group"].0, "g");
    for partition in 0..5 {
        let one = batch(Codec::None, &[1_700_000_000_000]);
        assert_eq!(produce(&mut client, &named("retry.g.orders"), partition, one), (0, 1));
    }
    assert_eq!(grow(&mut client, "orders", 6), 0);
    assert_eq!(ask_for(&mut client, "retry.g.orders").2, 6);
    assert!(broker.stop().success());
}

#[test]
fn a_group_has_offset_zero_in_its_retry_topic() {
    let (broker, mut client, _scratch) = started();
    create(&mut client, &named("orders"), 2);
    ask_for(&mut client, "retry.g.orders");
    ask_for(&mut client, "dlq.g.orders");
    let zero = |partition| ("retry.g.orders".to_owned(), partition, 0);
    assert_eq!(offsets(&mut client, "g"), [zero(0), zero(1)]);
    assert_eq!(grow(&mut client, "orders", 3), 0);
    assert_eq!(offsets(&mut client, "g"), [zero(0), zero(1), zero(2)]);
    assert_eq!(offsets(&mut client, "h"), []);
    assert!(broker.stop().success());
}

#[test]
fn retries_behind_their_groups_committed_offset_are_deleted() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start_with(scratch.path(), &["log.retention.check.interval.ms=20"]);
    let mut client = broker.connect();
    create(&mut client, &named("orders"), 2);
    ask_for(&mut client, "retry.g.orders");
    let five = batch(Codec::None, &[1_700_000_000_000; 5]);
    for partition in [0, 1] {
        assert_eq!(produce(&mut client, &named("retry.g.orders"), partition, five.clone()), (0, 0));
    }
    offsets(&mut client, "g");
    commit(&mut client, "g", "retry.g.orders", 3);
    commit(&mut client, "another", "retry.g.orders", 5);
    let trimmed = (0..ASKS).any(|_| earliest(&mut client, "retry.g.orders", 0) == 3);
    assert!(trimmed, "the log begins at {}", earliest(&mut client, "retry.g.orders", 0));
    assert_eq!(earliest(&mut client, "retry.g.orders", 1), 0);
    drop(broker);
    let broker = Broker::start(scratch.path());
    assert_eq!(earliest(&mut broker.connect(), "retry.g.orders", 0), 3);
    assert!(broker.stop().success());
}

#[test]
fn dead_letters_outlive_their_source_and_are_not_its_successors() {
    let (broker, mut client, _scratch) = started();
    create(&mut client, &named("orders"), 2);
    let (_, old, _) = ask_for(&mut client, "dlq.g.orders");
    let letter = batch(Codec::None, &[1_700_000_000_000]);
    assert_eq!(produce(&mut client, &named("dlq.g.orders"), 1, letter.clone()), (0, 0));
    let source = configs(&mut client, "dlq.g.orders").remove("klamm.source.topic");
    delete(&mut client, "orders");
    assert_eq!(ask_for(&mut client, "dlq.g.orders"), (0, old, 2));
    assert_eq!(produce(&mut client, &named("dlq.g.orders"), 1, letter), (0, 1));

    create(&mut client, &named("orders"), 4);
    assert_eq!(ask_for(&mut client, "dlq.g.orders"), (0, old, 2), "it is the old topic's");
    assert_eq!(configs(&mut client, "dlq.g.orders").remove("klamm.source.topic"), source);
    assert_eq!(grow(&mut client, "orders", 5), 0);
    assert_eq!(ask_for(&mut client, "dlq.g.orders").2, 2);
    assert!(broker.stop().success());
}
