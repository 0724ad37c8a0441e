//! Compacted topics on a real broker over a real socket: only the latest of each key is left,
//! under its old offset, whatever kills the broker in between.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::{BrokerId, TopicName};
use klamm::wire::batch::{BatchHeader, HEADER_BYTES};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use klamm::wire::records;
use support::broker::Broker;
use support::client::Client;
use support::topics;

/// Timestamps of the tests' records count from here; each batch gets a second of its own.
const T: i64 = 1_700_000_000_000;

/// How often a log is read before it counts as not compacted. The broker holds each read back.
const READS: usize = 400;
const READ_WAIT_MS: i32 = 50;

/// Rounds and checkpoints follow each other closely; a log is compacted below its checkpoint.
const EAGER: &[&str] = &["log.cleaner.backoff.ms=10", "log.flush.offset.checkpoint.interval.ms=20"];

/// Every second has a segment of its own, and any dirt is enough.
const COMPACT: &[(&str, &str)] =
    &[("cleanup.policy", "compact"), ("segment.ms", "1"), ("min.cleanable.dirty.ratio", "0")];

type Value = Option<Vec<u8>>;

/// What the topic should tell: the offset and value of each key.
#[derive(Default)]
struct Updates {
    topic: TopicName,
    latest: BTreeMap<Vec<u8>, (i64, Value)>,
    end: i64,
}

impl Updates {
    fn create(client: &mut Client, stem: &str, configs: &[(&'static str, &'static str)]) -> Self {
        let topic = topics::name(stem);
        topics::create_with(client, &topic, 1, configs);
        Self { topic, ..Self::default() }
    }

    /// Batches of two records: keys come round, some with a tombstone, codecs change.
    fn produce(&mut self, client: &mut Client, batches: i64) {
        for _ in 0..batches {
            let n = self.end / 2;
            let codec = Codec::ALL[(n % 5) as usize];
            let mut builder = BatchBuilder::new(codec, None);
            for (at, key) in [n % 7, n % 3 + 20].into_iter().enumerate() {
                let key = format!("key-{key}").into_bytes();
                let value = (n % 11 != 5).then(|| vec![(n % 251) as u8; 300]);
                builder.push(T + n * 1_000, Some(&key), value.as_deref(), [].into_iter());
                self.latest.insert(key, (self.end + at as i64, value));
            }
            let batch = builder.build().expect("a small batch");
            assert_eq!(topics::produce(client, &self.topic, 0, batch), (0, self.end));
            self.end += 2;
        }
    }

    /// All records there are, by offset; waits at the end of the log.
    fn read(&self, client: &mut Client) -> BTreeMap<i64, (Vec<u8>, Value)> {
        let (mut offset, mut all) = (0, BTreeMap::new());
        while offset < self.end {
            let fetched = fetch(client, &self.topic, offset);
            assert!(!fetched.is_empty(), "nothing at offset {offset} of {}", self.end);
            offset = collect(&fetched, &mut all);
        }
        let beyond = fetch(client, &self.topic, offset);
        assert!(beyond.is_empty());
        all
    }

    /// A reader of the whole topic knows the latest value of each key, at its offset.
    fn check(&self, client: &mut Client) {
        let mut latest = BTreeMap::new();
        for (offset, (key, value)) in self.read(client) {
            latest.insert(key, (offset, value));
        }
        assert_eq!(latest, self.latest);
    }

    /// Waits until all but the segment being written is compacted.
    fn wait_until_compacted(&self, client: &mut Client) {
        let sealed_end = self.end - 2;
        let compacted = (0..READS).any(|_| {
            let all = self.read(client);
            let keys: std::collections::BTreeSet<_> =
                all.range(..sealed_end).map(|(_, (key, _))| key).collect();
            keys.len() == all.range(..sealed_end).count()
        });
        assert!(compacted, "{} is not compacted", self.topic.0.as_str());
    }
}

fn fetch(client: &mut Client, topic: &TopicName, offset: i64) -> Bytes {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic.clone()).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(READ_WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let response = client.call(11, &request);
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0, "at offset {offset}");
    partition.records.clone().unwrap_or_default()
}

/// Takes the records of whole batches; returns the offset behind them.
fn collect(fetched: &[u8], all: &mut BTreeMap<i64, (Vec<u8>, Value)>) -> i64 {
    let (mut rest, mut next) = (fetched, 0);
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest).expect("whole batches");
        let (batch, others) = rest.split_at(header.total_bytes());
        if header.record_count > 0 {
            let codec = header.codec().expect("a codec of Kafka's");
            let body = &batch[HEADER_BYTES..];
            records::for_each(codec, body, header.record_count, 1 << 20, |record| {
                let offset = header.base_offset + i64::from(record.offset_delta);
                let value = record.value.map(<[u8]>::to_vec);
                let key = record.key.expect("all records have keys").to_vec();
                assert_eq!(all.insert(offset, (key, value)), None, "offset {offset} twice");
            })
            .expect("readable records");
        }
        (rest, next) = (others, header.last_offset() + 1);
    }
    next
}

fn progress(scratch: &Path) -> String {
    std::fs::read_to_string(scratch.join("data/cleaner-offset-checkpoint")).unwrap_or_default()
}

#[test]
fn only_the_latest_of_each_key_stays_through_restarts() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = Broker::start_with(scratch.path(), EAGER);
    let mut client = broker.connect();
    let mut updates = Updates::create(&mut client, "compacted", COMPACT);
    updates.produce(&mut client, 150);
    updates.wait_until_compacted(&mut client);
    updates.check(&mut client);
    assert!(broker.stop().success());
    assert!(progress(scratch.path()).contains(updates.topic.0.as_str()));
    let broker = Broker::start_with(scratch.path(), EAGER);
    let mut client = broker.connect();
    updates.check(&mut client);
    updates.produce(&mut client, 50);
    updates.wait_until_compacted(&mut client);
    updates.check(&mut client);
}

#[test]
fn nothing_is_lost_when_the_broker_is_killed_while_it_compacts() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut broker = Broker::start_with(scratch.path(), EAGER);
    let mut client = broker.connect();
    let mut updates = Updates::create(&mut client, "killed", COMPACT);
    for round in 0..8 {
        updates.produce(&mut client, 30 + round);
        drop(broker);
        broker = Broker::start_with(scratch.path(), EAGER);
        client = broker.connect();
        updates.check(&mut client);
    }
    updates.produce(&mut client, 20);
    updates.wait_until_compacted(&mut client);
    updates.check(&mut client);
}

#[test]
fn a_topic_is_compacted_from_the_moment_its_config_says_so() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = Broker::start_with(scratch.path(), EAGER);
    let mut client = broker.connect();
    let plain = [("retention.ms", "-1"), ("segment.ms", "1"), ("min.cleanable.dirty.ratio", "0")];
    let mut updates = Updates::create(&mut client, "switched", &plain);
    updates.produce(&mut client, 40);
    assert_eq!(updates.read(&mut client).len(), 80);
    topics::alter(&mut client, &updates.topic, "cleanup.policy", "compact");
    updates.wait_until_compacted(&mut client);
    updates.check(&mut client);
}

/// A sample of `/metrics` without labels.
fn metric(broker: &Broker, name: &str) -> u64 {
    let mut socket = TcpStream::connect(broker.http()).expect("the endpoint accepts");
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("a whole answer");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[test]
fn a_damaged_partition_is_left_alone_and_the_others_go_on() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let calm = ["log.cleaner.enable=false"];
    let broker = Broker::start_with(scratch.path(), &calm);
    let mut client = broker.connect();
    let mut damaged = Updates::create(&mut client, "damaged", COMPACT);
    let mut whole = Updates::create(&mut client, "whole", COMPACT);
    damaged.produce(&mut client, 10);
    whole.produce(&mut client, 30);
    assert!(broker.stop().success());
    let name = format!("data/{}-0/{:020}.log", damaged.topic.0.as_str(), 4);
    let path = scratch.path().join(name);
    let mut bytes = std::fs::read(&path).expect("the third segment");
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).expect("damage");
    let broker = Broker::start_with(scratch.path(), EAGER);
    let mut client = broker.connect();
    whole.wait_until_compacted(&mut client);
    whole.check(&mut client);
    let told = (0..READS).any(|_| {
        // Held back by the broker, as nothing comes.
        fetch(&mut client, &whole.topic, whole.end);
        metric(&broker, "klamm_compaction_uncleanable_partitions") == 1
    });
    assert!(told && metric(&broker, "klamm_compaction_removed_records_total") > 0);
    let log = std::fs::read_to_string(scratch.path().join("broker.log")).expect("the log");
    let lines = log.lines().filter(|line| line.contains("is not compacted until the next start"));
    assert_eq!(lines.count(), 1, "{log}");
}

/// Names of a process' threads.
fn threads(process: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("a running broker");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        let path = task.expect("a task").path().join("comm");
        // A thread may end between the listing and the look at it.
        std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
    };
    tasks.map(name).collect()
}

#[test]
fn as_many_threads_compact_as_the_setting_says_at_run_time() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = Broker::start_with(scratch.path(), EAGER);
    let mut client = broker.connect();
    let mut updates = Updates::create(&mut client, "threads", COMPACT);
    let mut counts = |wanted: usize| {
        (0..READS).any(|_| {
            fetch(&mut client, &updates.topic, 0);
            let names = threads(broker.process_id());
            names.iter().filter(|name| name.starts_with("cleaner-")).count() == wanted
        })
    };
    assert!(counts(1));
    topics::alter_broker(&mut broker.connect(), "log.cleaner.threads", "3");
    assert!(counts(3));
    topics::alter_broker(&mut broker.connect(), "log.cleaner.threads", "2");
    assert!(counts(2));
    let mut client = broker.connect();
    updates.produce(&mut client, 30);
    updates.wait_until_compacted(&mut client);
    updates.check(&mut client);
    assert!(broker.stop().success());
}
