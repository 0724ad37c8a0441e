//! Klamm's headers on produced records, on a real broker over a real socket: what is refused, and
//! how a producer is told; what is stored as it was sent; how topics' configs decide.

mod support;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use klamm::wire::batch::CRC_START;
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use klamm::wire::records::Header;
use support::broker::Broker;
use support::client::Client;
use support::topics;

const NONE: i16 = 0;
const INVALID_CONFIG: i16 = 40;
const INVALID_RECORD: i16 = 87;
/// 2023-11-14: records are older than the broker's clock, as clients' are.
const THEN_MS: i64 = 1_700_000_000_000;

/// Headers of one record.
type Headers<'a> = &'a [(&'a str, &'a str)];

fn push(builder: &mut BatchBuilder, value: Option<&[u8]>, headers: Headers<'_>) {
    let headers: Vec<_> = headers
        .iter()
        .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) })
        .collect();
    builder.push(THEN_MS, Some(b"key"), value, headers.into_iter());
}

fn batch(builder: BatchBuilder, records: &[Headers<'_>]) -> Bytes {
    let mut builder = builder;
    records.iter().for_each(|headers| push(&mut builder, Some(b"value"), headers));
    builder.build().expect("a small batch")
}

fn plain(codec: Codec) -> BatchBuilder {
    BatchBuilder::new(codec, None)
}

fn produce(client: &mut Client, topic: &TopicName, batch: Bytes) -> PartitionProduceResponse {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let topic =
        TopicProduceData::default().with_name(topic.clone()).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(9_000).with_topic_data(vec![topic]);
    client.call(9, &request).responses[0].partition_responses[0].clone()
}

/// Everything that is in the topic, as it is stored.
fn read(client: &mut Client, topic: &TopicName) -> Bytes {
    let partition =
        FetchPartition::default().with_fetch_offset(0).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic.clone()).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let partition = client.call(11, &request).responses[0].partitions[0].clone();
    assert_eq!(partition.error_code, NONE);
    partition.records.unwrap_or_default()
}

fn start(stem: &str, configs: &[(&'static str, &'static str)]) -> (Broker, Client, TopicName) {
    let scratch = tempfile::tempdir().unwrap();
    let broker = Broker::start(scratch.path());
    let mut client = broker.connect();
    let topic = topics::name(stem);
    topics::create_with(&mut client, &topic, 1, &[&[("retention.ms", "-1")], configs].concat());
    (broker, client, topic)
}

#[test]
fn a_wrong_header_refuses_the_batch_by_index_header_value_and_limit() {
    let (_broker, mut client, topic) = start("wrong-headers", &[("delay.max.ms", "3600000")]);
    let wrong: [(Headers<'_>, &str); 9] = [
        (&[("klamm.delay", "1 hour")], "header klamm.delay='1 hour': a delay is milliseconds"),
        (&[("klamm.delay", "2h")], "header klamm.delay='2h': delay.max.ms=3600000 is the longest"),
        (&[("klamm.deliver.at", "1700000000")], "are these seconds, not milliseconds?"),
        (&[("klamm.delay", "1s"), ("klamm.deliver.at", "2030-01-01T00:00:00Z")], "one of the two"),
        (&[("klamm.delay", "1s"), ("klamm.delay.replace", "true")], "it needs klamm.delay.id"),
        (&[("klamm.delay.cancel", "order-7")], "must have a null value"),
        (&[("klamm.dleay", "1s")], "the closest one is klamm.delay"),
        (&[("klamm.internal.victim", "none")], "the name is the broker's own"),
        (&[("klamm.nack.group", "g"), ("klamm.nack.offset", "1")], "must have a null value"),
    ];
    let delayed: Headers<'_> = &[("klamm.delay", "1m")];
    for codec in [Codec::None, Codec::Zstd] {
        for (headers, told) in wrong {
            let sent = batch(plain(codec), &[&[], delayed, headers, &[]]);
            let response = produce(&mut client, &topic, sent);
            assert_eq!((response.error_code, response.base_offset), (INVALID_RECORD, -1));
            let [fault] = &response.record_errors[..] else { panic!("{response:?}") };
            assert_eq!(fault.batch_index, 2);
            let message = fault.batch_index_error_message.as_ref().unwrap().as_str();
            assert!(message.contains(told), "{message}");
            let summary = response.error_message.unwrap();
            assert!(summary.ends_with(message), "{summary}");
            assert!(summary.starts_with("1 of 4 records refused, the first at index 2"));
        }
    }
    assert!(read(&mut client, &topic).is_empty(), "nothing of it is stored");
    let accepted = produce(&mut client, &topic, batch(plain(Codec::None), &[&[]]));
    assert_eq!((accepted.error_code, accepted.base_offset), (NONE, 0), "and no offset is taken");
}

#[test]
fn a_refused_batch_advances_no_sequence() {
    let (_broker, mut client, topic) = start("refused-sequences", &[]);
    let signed = |sequence| plain(Codec::None).producer(5_000, 0, sequence);
    for (sequence, headers, code) in [
        (0, &[][..], NONE),
        (1, &[("klamm.delay", "soon")], INVALID_RECORD),
        (1, &[], NONE),
        (2, &[("klamm.delay.id", "not of a command")], NONE),
    ] {
        let response = produce(&mut client, &topic, batch(signed(sequence), &[headers]));
        assert_eq!(response.error_code, code, "{response:?}");
    }
}

#[test]
fn live_records_are_stored_as_sent_whatever_their_headers_say() {
    let (_broker, mut client, topic) = start("live-headers", &[]);
    let forwarded: Headers<'_> = &[
        ("klamm.due", "1700000000000"),
        ("klamm.accepted", "1699999999999"),
        ("klamm.ticket", "0:7"),
        ("klamm.delay.id", "order-7"),
        ("klamm.expires.at", "not an instant"),
        ("klamm.retry.attempt", "2"),
        ("klamm.retry.schedule", "?"),
        ("x-delay", "5000"),
    ];
    let due: Headers<'_> = &[("klamm.delay", "0"), ("klamm.delay.id", "order-7")];
    let past: Headers<'_> = &[("klamm.deliver.at", "2023-11-14T22:13:20Z"), ("trace", "1")];
    let mut stored = Vec::new();
    for codec in Codec::ALL {
        let sent = batch(plain(codec), &[forwarded, due, past, &[]]);
        let response = produce(&mut client, &topic, sent.clone());
        assert_eq!(response.error_code, NONE, "{response:?}");
        stored.extend_from_slice(&sent[CRC_START..]);
    }
    let mut rest = read(&mut client, &topic);
    let mut read = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(*rest[8..12].first_chunk().unwrap()) as usize;
        read.extend_from_slice(&rest.split_to(12 + length)[CRC_START..]);
    }
    assert_eq!(read, stored);
}

#[test]
fn a_topic_decides_on_delays_aliases_and_unknown_names() {
    let (_broker, mut client, topic) = start("header-configs", &[]);
    let delayed: Headers<'_> = &[("klamm.delay", "1m")];
    topics::alter(&mut client, &topic, "delay.enable", "false");
    let refused = produce(&mut client, &topic, batch(plain(Codec::None), &[delayed]));
    assert_eq!(refused.error_code, INVALID_RECORD);
    assert!(refused.error_message.unwrap().contains("the topic has delay.enable=false"));
    let unopened = produce(&mut client, &topic, batch(plain(Codec::Lz4), &[delayed]));
    assert_eq!((unopened.error_code, unopened.base_offset), (NONE, 0), "stored as it is");
    topics::alter(&mut client, &topic, "delay.enable", "true");

    let misspelt: Headers<'_> = &[("klamm.dleay", "1m")];
    topics::alter(&mut client, &topic, "delay.unknown.headers", "ignore");
    let ignored = produce(&mut client, &topic, batch(plain(Codec::None), &[misspelt]));
    assert_eq!((ignored.error_code, ignored.base_offset), (NONE, 1));

    let foreign: Headers<'_> = &[("x-delay", "never")];
    let own = produce(&mut client, &topic, batch(plain(Codec::None), &[foreign]));
    assert_eq!((own.error_code, own.base_offset), (NONE, 2), "the application's own");
    topics::alter(&mut client, &topic, "delay.header.aliases", "x-delay=klamm.delay");
    let read = produce(&mut client, &topic, batch(plain(Codec::None), &[foreign]));
    assert_eq!(read.error_code, INVALID_RECORD);
    assert!(read.error_message.unwrap().contains("header x-delay='never': a delay is"));
}

#[test]
fn configs_that_could_not_work_are_refused() {
    let (_broker, mut client, topic) = start("delay-configs", &[]);
    for (name, value) in [
        ("delay.enable", "yes"),
        ("delay.max.ms", "0"),
        ("delay.max.ms", "316224000001"),
        ("delay.header.aliases", "x-delay"),
        ("delay.header.aliases", "x-delay=klamm.due"),
        ("delay.header.aliases", "klamm.delay=klamm.deliver.at"),
        ("delay.unknown.headers", "accept"),
        ("delay.expired.policy", "bury"),
        ("delay.max.pending.records", "-2"),
        ("delay.release.max.records.per.second", "0"),
    ] {
        let config = AlterableConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_config_operation(0)
            .with_value(Some(StrBytes::from_static_str(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(topic.0.clone())
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let response = &client.call(1, &request).responses[0];
        assert_eq!(response.error_code, INVALID_CONFIG, "{name}={value}");
        let message = response.error_message.as_ref().unwrap().as_str();
        assert!(message.contains(name) && message.contains(value), "{message}");
    }
}
