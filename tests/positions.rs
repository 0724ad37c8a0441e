//! Where offsets are: by time and by leader epoch, on a real broker over a real socket. What
//! Kafka 4.3.1 answers too can be asked of it: `ORACLE=HOST:PORT cargo test --test positions`.

mod support;

use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use klamm::wire::compression::Codec;
use support::broker::{Asked, Broker};
use support::client::Client;
use support::topics;

const NONE: i16 = 0;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// Timestamps of the tests' records count from here.
const T: i64 = 1_700_000_000_000;

/// Error code, timestamp and offset.
type Position = (i16, i64, i64);

struct Question<'a> {
    topic: &'a TopicName,
    partition: i32,
    timestamp: i64,
    current_epoch: i32,
}

impl<'a> Question<'a> {
    fn new(topic: &'a TopicName, timestamp: i64) -> Self {
        Self { topic, partition: 0, timestamp, current_epoch: -1 }
    }

    fn request(&self, version: i16) -> ListOffsetsRequest {
        let mut partition = ListOffsetsPartition::default()
            .with_partition_index(self.partition)
            .with_timestamp(self.timestamp);
        if version >= 4 {
            partition.current_leader_epoch = self.current_epoch;
        }
        let topic = ListOffsetsTopic::default()
            .with_name(self.topic.clone())
            .with_partitions(vec![partition]);
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
    }

    fn ask(&self, client: &mut Client, version: i16) -> Position {
        let response = client.call(version, &self.request(version));
        let topic = &response.topics[0];
        assert_eq!(&topic.name, self.topic);
        let found = &topic.partitions[0];
        assert_eq!(found.partition_index, self.partition);
        (found.error_code, found.timestamp, found.offset)
    }
}

/// Partition 0 gets records at T+1000, T+2000 | T+5000 | T+3000; partition 1 gets none.
fn topic_with_records(client: &mut Client, stem: &str, codec: Codec) -> TopicName {
    let topic = topics::name(stem);
    topics::create(client, &topic, 2);
    let batches = [(&[T + 1_000, T + 2_000][..], 0), (&[T + 5_000], 2), (&[T + 3_000], 3)];
    for (timestamps_ms, base_offset) in batches {
        let batch = topics::batch(codec, timestamps_ms);
        assert_eq!(topics::produce(client, &topic, 0, batch), (NONE, base_offset));
    }
    topic
}

#[test]
fn offsets_are_found_by_time_in_every_version() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    for codec in [Codec::None, Codec::Zstd] {
        let topic = topic_with_records(&mut client, &format!("times-{}", codec.name()), codec);
        let unsupported = (UNSUPPORTED_VERSION, -1, -1);
        for (timestamp, since, expected) in [
            (LATEST, 1, (NONE, -1, 4)),
            (EARLIEST, 1, (NONE, -1, 0)),
            (MAX_TIMESTAMP, 7, (NONE, T + 5_000, 2)),
            (EARLIEST_LOCAL, 8, (NONE, -1, 0)),
            (LATEST_TIERED, 9, (NONE, -1, -1)),
            (-6, 11, unsupported),
            (0, 1, (NONE, T + 1_000, 0)),
            (T + 1_000, 1, (NONE, T + 1_000, 0)),
            (T + 1_001, 1, (NONE, T + 2_000, 1)),
            (T + 2_001, 1, (NONE, T + 5_000, 2)),
            (T + 5_000, 1, (NONE, T + 5_000, 2)),
            (T + 5_001, 1, (NONE, -1, -1)),
        ] {
            for version in 1..=10 {
                let answer = Question::new(&topic, timestamp).ask(&mut client, version);
                let expected = if version >= since { expected } else { unsupported };
                assert_eq!(answer, expected, "{timestamp} in v{version}, {codec:?}");
            }
        }
    }
}

#[test]
fn an_empty_partition_has_a_beginning_and_an_end_but_no_times() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    let topic = topic_with_records(&mut client, "empty", Codec::None);
    for (timestamp, expected) in [
        (LATEST, (NONE, -1, 0)),
        (EARLIEST, (NONE, -1, 0)),
        (MAX_TIMESTAMP, (NONE, -1, -1)),
        (0, (NONE, -1, -1)),
    ] {
        let question = Question { partition: 1, ..Question::new(&topic, timestamp) };
        assert_eq!(question.ask(&mut client, 7), expected, "{timestamp}");
    }
}

#[test]
fn what_can_not_be_answered_has_its_code() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    let topic = topic_with_records(&mut client, "refused", Codec::None);
    let question = || Question::new(&topic, LATEST);

    let elsewhere = Question { partition: 9, ..question() };
    assert_eq!(elsewhere.ask(&mut client, 9), (UNKNOWN_TOPIC_OR_PARTITION, -1, -1));
    let nowhere = topics::name("nowhere");
    let unknown = Question::new(&nowhere, LATEST);
    assert_eq!(unknown.ask(&mut client, 9), (UNKNOWN_TOPIC_OR_PARTITION, -1, -1));

    let ahead = Question { current_epoch: 5, ..question() };
    assert_eq!(ahead.ask(&mut client, 9), (UNKNOWN_LEADER_EPOCH, -1, -1));
    let behind = Question { current_epoch: -2, ..question() };
    assert_eq!(behind.ask(&mut client, 9), (FENCED_LEADER_EPOCH, -1, -1));

    let mut twice = question().request(9);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    let refused = client.call(9, &twice);
    let codes = refused.topics[0].partitions.iter().map(|p| p.error_code);
    assert!(codes.clone().count() > 0 && codes.clone().all(|code| code == INVALID_REQUEST));
}

/// Asks for the end of `epoch`; answers error code, epoch and end offset.
fn end_of_epoch(
    client: &mut Client,
    version: i16,
    topic: &TopicName,
    (partition, current_epoch, epoch): (i32, i32, i32),
) -> (i16, i32, i64) {
    let asked = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(current_epoch)
        .with_leader_epoch(epoch);
    let topic =
        OffsetForLeaderTopic::default().with_topic(topic.clone()).with_partitions(vec![asked]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let response = client.call(version, &request);
    let end = &response.topics[0].partitions[0];
    assert_eq!(end.partition, partition);
    (end.error_code, end.leader_epoch, end.end_offset)
}

#[test]
fn the_end_of_an_epoch_is_told_or_that_none_is_known() {
    let broker = Asked::broker();
    let mut client = broker.connect();
    let topic = topic_with_records(&mut client, "epochs", Codec::None);
    for version in 2..=4 {
        for (asked, expected) in [
            ((0, -1, 0), (NONE, 0, 4)),
            ((0, 0, 0), (NONE, 0, 4)),
            ((0, -1, 7), (NONE, -1, -1)),
            ((0, -1, -1), (NONE, -1, -1)),
            ((1, -1, 0), (NONE, 0, 0)),
            ((0, 9, 0), (UNKNOWN_LEADER_EPOCH, -1, -1)),
            ((0, -2, 0), (FENCED_LEADER_EPOCH, -1, -1)),
            ((9, -1, 0), (UNKNOWN_TOPIC_OR_PARTITION, -1, -1)),
        ] {
            let answer = end_of_epoch(&mut client, version, &topic, asked);
            assert_eq!(answer, expected, "{asked:?} in v{version}");
        }
    }
}

#[test]
fn leader_epochs_rise_at_each_start_and_old_ones_keep_their_ends() {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let topic = topic_with_records(&mut broker.connect(), "restarted", Codec::None);
    drop(broker);
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    let batch = topics::batch(Codec::None, &[T + 9_000]);
    assert_eq!(topics::produce(&mut client, &topic, 0, batch), (NONE, 4));

    let epoch_of = |client: &mut Client, timestamp| {
        let response = client.call(9, &Question::new(&topic, timestamp).request(9));
        response.topics[0].partitions[0].leader_epoch
    };
    assert_eq!(epoch_of(&mut client, LATEST), 1);
    assert_eq!(epoch_of(&mut client, T + 9_000), 1);
    assert_eq!(epoch_of(&mut client, EARLIEST), 0);
    assert_eq!(epoch_of(&mut client, MAX_TIMESTAMP), 1);
    assert_eq!(epoch_of(&mut client, T), 0);

    assert_eq!(end_of_epoch(&mut client, 4, &topic, (0, 1, 0)), (NONE, 0, 4));
    assert_eq!(end_of_epoch(&mut client, 4, &topic, (0, 1, 1)), (NONE, 1, 5));
    let stale = Question { current_epoch: 0, ..Question::new(&topic, LATEST) };
    assert_eq!(stale.ask(&mut client, 9), (FENCED_LEADER_EPOCH, -1, -1));
}
