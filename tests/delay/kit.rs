//! Delayed records over the wire: what a producer sends and a plain reader sees.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{BrokerId, ProduceResponse, TopicName};
use klamm::base::env::Env;
use klamm::wire::batch::{BatchHeader, HEADER_BYTES, TimestampType};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use klamm::wire::records::{self, Header};

use crate::support::client::Client;

/// How long a fetch may wait in the broker for more; the next one asks again.
const FETCH_WAIT_MS: i32 = 500;
/// Fetches without news until a test has waited too long: half a minute.
const FETCHES: usize = 60;

/// Wall time in epoch milliseconds.
pub fn now_ms() -> i64 {
    Env::system().wall_ms()
}

/// A record as a producer gives it.
#[derive(Clone, Debug)]
pub struct Given {
    pub value: String,
    pub headers: Vec<(String, String)>,
}

impl Given {
    pub fn live(value: impl Into<String>) -> Self {
        Self { value: value.into(), headers: Vec::new() }
    }

    /// To be delivered after this delay, in the form of `klamm.delay`.
    pub fn after(delay: impl ToString, value: impl Into<String>) -> Self {
        Self::live(value).with("klamm.delay", delay)
    }

    /// To be delivered at this moment, in epoch milliseconds.
    pub fn at(due_ms: i64, value: impl Into<String>) -> Self {
        Self::live(value).with("klamm.deliver.at", due_ms)
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

/// Signs batches as an idempotent producer does.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    pub producer_id: i64,
    pub base_sequence: i32,
}

/// The batch that a client would send. The key of every record is `key`.
pub fn batch(codec: Codec, signature: Option<Signature>, given: &[Given]) -> Bytes {
    let mut builder = BatchBuilder::new(codec, None);
    if let Some(Signature { producer_id, base_sequence }) = signature {
        builder = builder.producer(producer_id, 0, base_sequence);
    }
    for one in given {
        let headers = one
            .headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) });
        let commands = ["klamm.delay.cancel", "klamm.nack.group"];
        let is_command = one.headers.iter().any(|(key, _)| commands.contains(&key.as_str()));
        let value = (!is_command || !one.value.is_empty()).then_some(one.value.as_bytes());
        builder.push(now_ms(), Some(b"key"), value, headers);
    }
    builder.build().expect("a small batch")
}

/// Produces one batch and gives the partition's answer.
pub fn produce_raw(
    client: &mut Client,
    topic: &TopicName,
    partition: i32,
    acks: i16,
    batch: Bytes,
) -> PartitionProduceResponse {
    let mut response = produce_response(client, topic, partition, acks, batch);
    response.responses.remove(0).partition_responses.remove(0)
}

/// As [`produce_raw`], the whole answer.
pub fn produce_response(
    client: &mut Client,
    topic: &TopicName,
    partition: i32,
    acks: i16,
    batch: Bytes,
) -> ProduceResponse {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topic =
        TopicProduceData::default().with_name(topic.clone()).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(9_000)
        .with_topic_data(vec![topic]);
    client.call(9, &request)
}

/// Produces with `acks=all`, which must be taken, and gives the base offset.
pub fn produce(client: &mut Client, topic: &TopicName, partition: i32, given: &[Given]) -> i64 {
    let batch = batch(Codec::None, None, given);
    let answer = produce_raw(client, topic, partition, -1, batch);
    assert_eq!(answer.error_code, 0, "{answer:?}");
    answer.base_offset
}

/// A record as a reader sees it, and when it had it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub value: String,
    pub headers: Vec<(String, String)>,
    pub seen_ms: i64,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A plain reader of one partition, from the beginning on.
pub struct Reader {
    topic: TopicName,
    partition: i32,
    next: i64,
    pub seen: Vec<Seen>,
}

impl Reader {
    pub fn new(topic: &TopicName, partition: i32) -> Self {
        Self { topic: topic.clone(), partition, next: 0, seen: Vec::new() }
    }

    /// Reads until so many records were seen in all.
    pub fn until(&mut self, client: &mut Client, count: usize) -> &[Seen] {
        let mut idle = 0;
        while self.seen.len() < count {
            let before = self.seen.len();
            self.fetch(client, FETCH_WAIT_MS);
            idle = if self.seen.len() == before { idle + 1 } else { 0 };
            assert!(idle < FETCHES, "only {} of {count} records were seen", self.seen.len());
        }
        &self.seen
    }

    /// Reads up to what is visible now.
    pub fn rest(&mut self, client: &mut Client) -> &[Seen] {
        let end = latest(client, &self.topic, self.partition);
        while self.next < end {
            self.fetch(client, 0);
        }
        &self.seen
    }

    pub fn values(&self) -> Vec<&str> {
        self.seen.iter().map(|seen| seen.value.as_str()).collect()
    }

    fn fetch(&mut self, client: &mut Client, wait_ms: i32) {
        let partition = FetchPartition::default()
            .with_partition(self.partition)
            .with_fetch_offset(self.next)
            .with_partition_max_bytes(16 << 20);
        let topic =
            FetchTopic::default().with_topic(self.topic.clone()).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(16 << 20)
            .with_topics(vec![topic]);
        let response = client.call(11, &request);
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, 0, "at offset {}", self.next);
        let seen_ms = now_ms();
        let mut rest = &partition.records.clone().unwrap_or_default()[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).expect("whole batches");
            let (batch, others) = rest.split_at(header.total_bytes());
            assert!(!header.is_control(), "only ordinary batches: {header:?}");
            assert!(header.record_count > 0, "no empty batch: {header:?}");
            self.take(&header, &batch[HEADER_BYTES..], seen_ms);
            (rest, self.next) = (others, header.last_offset() + 1);
        }
    }

    fn take(&mut self, header: &BatchHeader, body: &[u8], seen_ms: i64) {
        let codec = header.codec().expect("a codec of Kafka's");
        records::for_each(codec, body, header.record_count, 64 << 20, |record| {
            let offset = header.base_offset + i64::from(record.offset_delta);
            if offset < self.next {
                return;
            }
            let last = self.seen.last().map_or(-1, |last| last.offset);
            assert!(offset > last, "offsets rise: {offset} after {last}");
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            let headers = record.headers.iter();
            self.seen.push(Seen {
                offset,
                timestamp_ms: match header.timestamp_type() {
                    TimestampType::LogAppendTime => header.max_timestamp_ms,
                    TimestampType::CreateTime => {
                        header.base_timestamp_ms + record.timestamp_delta_ms
                    }
                },
                value: text(record.value.unwrap_or_default()),
                headers: headers
                    .map(|header| (text(header.key), text(header.value.unwrap_or_default())))
                    .collect(),
                seen_ms,
            });
        })
        .expect("readable records");
    }
}

/// What ListOffsets says of the end.
pub fn latest(client: &mut Client, topic: &TopicName, partition: i32) -> i64 {
    let latest = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(topic.clone()).with_partitions(vec![latest]);
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer = client.call(1, &request).topics.remove(0).partitions.remove(0);
    assert_eq!(answer.error_code, 0, "{answer:?}");
    answer.offset
}
