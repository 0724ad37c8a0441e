//! What is asked of both brokers. A case is a conversation in a few steps; it makes its own
//! topics, so that cases do not see each other, and draws what varies from the seed.

mod configs;
mod consumer_groups;
mod epochs;
mod fetch;
mod groups;
mod offsets;
mod produce;
mod producers;
mod topics;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use uuid::Uuid;

use crate::talk::Talk;

/// When the records of all cases were made: a fixed moment of the recent past, so that answers
/// with timestamps are comparable and no check of clocks is met.
pub const MADE_AT_MS: i64 = 1_760_000_000_000;

/// A conversation.
pub struct Case {
    pub name: &'static str,
    pub run: fn(&mut Talk, &mut Draw),
}

/// Every case, in the order in which they are run.
pub fn all() -> Vec<Case> {
    // The brokers make the topic of groups, before a case of topics tries to.
    let parts = [
        groups::CASES,
        consumer_groups::CASES,
        produce::CASES,
        fetch::CASES,
        offsets::CASES,
        epochs::CASES,
        topics::CASES,
        configs::CASES,
        producers::CASES,
    ];
    let case = |(name, run): &(&'static str, fn(&mut Talk, &mut Draw))| Case { name, run: *run };
    parts.iter().flat_map(|part| part.iter().map(case)).collect()
}

/// A part's cases.
type Cases = &'static [(&'static str, fn(&mut Talk, &mut Draw))];

/// What varies, drawn from a seed: the same draws for both brokers (xorshift64*).
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let index = self.next() % from.len() as u64;
        from[usize::try_from(index).expect("an index")].clone()
    }
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Creates a topic and waits until its partitions are served.
pub fn create(talk: &mut Talk, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let mut all = vec![("retention.ms", "-1")];
    all.extend(configs);
    let config = |(key, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(all.iter().map(config).collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(9_000);
    let created = talk.ask(5, &request).expect("an answer");
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    let asked = (0..partitions)
        .map(|p| ListOffsetsPartition::default().with_partition_index(p).with_timestamp(-1));
    let asked =
        ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(asked.collect());
    let latest =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
    talk.ask_until(1, &latest, |answer| {
        answer.topics[0].partitions.iter().all(|partition| partition.error_code == 0)
    });
}

/// The id that the broker gave a topic.
pub fn id_of(talk: &mut Talk, name: &str) -> Uuid {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    talk.ask(12, &request).expect("an answer").topics[0].topic_id
}

/// A batch of records with values of `value_bytes` and rising times.
pub fn batch(codec: Codec, records: i64, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(codec, None);
    for n in 0..records {
        let value = vec![b'v'; value_bytes];
        builder.push(MADE_AT_MS + n * 1_000, Some(b"key"), Some(&value), [].into_iter());
    }
    builder.build().expect("a small batch")
}

/// A request that produces one batch to one partition, by name or, from version 13 on, by id.
pub fn produce(version: i16, topic: (&str, Uuid), partition: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let data = TopicProduceData::default().with_partition_data(vec![data]);
    let data = match version >= 13 {
        true => data.with_topic_id(topic.1),
        false => data.with_name(topic_name(topic.0)),
    };
    ProduceRequest::default().with_acks(-1).with_timeout_ms(9_000).with_topic_data(vec![data])
}
