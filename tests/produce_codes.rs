//! One table of produced batches, good and faulty, with the code that Apache Kafka 4.3.1 answers,
//! held against the judge. The same table can be asked of any broker that is running:
//! `ORACLE=HOST:PORT cargo test --test produce_codes -- --ignored --nocapture`.

mod support;

use bytes::Bytes;
use klamm::log::validate::{BatchRules, CompressionRule, validate};
use klamm::wire::batch::{CRC_START, HEADER_BYTES, TimestampType};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::{Codec, Codecs};

const HOUR_MS: i64 = 3_600_000;

const NONE: i16 = 0;
const UNKNOWN: i16 = -1;
const CORRUPT: i16 = 2;
const TOO_LARGE: i16 = 10;
const TIMESTAMP: i16 = 32;
const COMPRESSION: i16 = 76;
const INVALID: i16 = 87;

/// What the topic of a case is like; otherwise it has the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Plain,
    Compacted,
    AppendTime,
    /// No timestamp more than an hour behind.
    Recent,
    /// `compression.type=zstd`.
    Zstd,
}

struct Case {
    name: &'static str,
    topic: Topic,
    version: i16,
    records: Bytes,
    /// Kafka's answer.
    code: i16,
    /// Ours, where it differs on purpose, and why.
    ours: Option<(i16, &'static str)>,
}

/// The smallest record: nothing but its frame.
const EMPTY_RECORD: [u8; 7] = [12, 0, 0, 0, 1, 1, 0];

/// A batch of records at these times, all with a key.
fn batch(codec: Codec, timestamps_ms: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec, None);
    for timestamp_ms in timestamps_ms {
        builder.push(*timestamp_ms, Some(b"key"), Some(b"value"), [].into_iter());
    }
    builder.build().expect("a small batch").into()
}

/// A batch of one record whose body, before compression, is these bytes.
fn body(codec: Codec, now_ms: i64, body: &[u8]) -> Vec<u8> {
    let mut packed = batch(Codec::None, &[now_ms]);
    packed.truncate(HEADER_BYTES);
    packed[22] = codec.id() as u8;
    Codecs::of_thread(|codecs| codecs.compress(codec, None, body, &mut packed)).expect("packs");
    signed(packed)
}

/// Overwrites bytes, and makes length and CRC right again.
fn with(mut batch: Vec<u8>, position: usize, bytes: &[u8]) -> Vec<u8> {
    batch[position..position + bytes.len()].copy_from_slice(bytes);
    signed(batch)
}

fn signed(mut batch: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(batch.len() - 12).expect("a small batch");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

struct Table {
    now_ms: i64,
    cases: Vec<Case>,
}

impl Table {
    fn add(&mut self, name: &'static str, records: Vec<u8>, code: i16) -> &mut Case {
        let records = records.into();
        let case = Case { name, topic: Topic::Plain, version: 8, records, code, ours: None };
        self.cases.push(case);
        self.cases.last_mut().expect("just pushed")
    }

    fn framing(&mut self) {
        let good = batch(Codec::None, &[self.now_ms; 3]);
        self.add("a good batch", good.clone(), NONE);
        self.add("no bytes", vec![], INVALID);
        self.add("16 bytes", good[..16].to_vec(), INVALID);
        self.add("a batch cut short", good[..good.len() - 1].to_vec(), INVALID);
        self.add("two batches", [&good[..], &good].concat(), INVALID);
        self.add("a batch and half of one", [&good[..], &good[..70]].concat(), NONE);
        self.add("a batch and 10 bytes", [&good[..], &[7; 10]].concat(), NONE);
        self.add("a batch and noise", [&good[..], &[7; 30]].concat(), CORRUPT);
        self.add("a batch and zeros", [&good[..], &[0; 30]].concat(), CORRUPT);
        for (name, magic, code) in [
            ("magic 0", 0, INVALID),
            ("magic 1", 1, INVALID),
            ("magic 3", 3, CORRUPT),
            ("magic -1", 0xff, CORRUPT),
        ] {
            self.add(name, with(good.clone(), 16, &[magic]), code);
        }
        for (name, length) in [("length 0", 0), ("length -1", -1), ("length 13", 13)] {
            let mut batch = good.clone();
            batch[8..12].copy_from_slice(&i32::to_be_bytes(length));
            self.add(name, batch, CORRUPT);
        }
        self.add("60 bytes of header", signed(good[..60].to_vec()), CORRUPT);
        let mut damaged = good.clone();
        *damaged.last_mut().expect("bytes") ^= 1;
        self.add("a wrong CRC", damaged, CORRUPT);
        let huge = vec![b'x'; 1_048_576];
        let mut builder = BatchBuilder::new(Codec::None, None);
        builder.push(self.now_ms, None, Some(&huge), [].into_iter());
        self.add("too large", builder.build().expect("fits").into(), TOO_LARGE);
        self.add("zstd", batch(Codec::Zstd, &[self.now_ms]), NONE);
        self.add("zstd in v6", batch(Codec::Zstd, &[self.now_ms]), COMPRESSION).version = 6;
        self.add("lz4 in v3", batch(Codec::Lz4, &[self.now_ms]), NONE).version = 3;
    }

    fn header(&mut self) {
        let good = batch(Codec::None, &[self.now_ms; 3]);
        let ones = i32::to_be_bytes(-1);
        self.add("base offset 1", with(good.clone(), 0, &1_i64.to_be_bytes()), INVALID);
        self.add("last offset delta -1", with(good.clone(), 23, &ones), INVALID);
        self.add("last offset delta +1", with(good.clone(), 23, &3_i32.to_be_bytes()), INVALID);
        self.add("count 0", with(good.clone(), 57, &[0; 4]), INVALID);
        self.add("count -1", with(good.clone(), 57, &ones), INVALID);
        self.add("a control batch", with(good.clone(), 21, &[0, 0x20]), INVALID);
        self.add("delete horizon", with(good.clone(), 21, &[0, 0x40]), NONE);
        for (name, codec) in [("codec 5", 5), ("codec 7", 7)] {
            let why = "Kafka stumbles over a codec it does not know";
            self.add(name, with(good.clone(), 21, &[0, codec]), UNKNOWN).ours =
                Some((INVALID, why));
        }
        let signed_by = |sequence| {
            let mut builder = BatchBuilder::new(Codec::None, None).producer(9_000, 0, sequence);
            builder.push(0, None, None, [].into_iter());
            builder.build().expect("fits").to_vec()
        };
        self.add("sequence -1", signed_by(-1), INVALID);
        self.add("sequence -2", signed_by(-2), INVALID);
        self.add("sequence 0", signed_by(0), NONE);
        self.add("a leader epoch", with(good.clone(), 12, &7_i32.to_be_bytes()), NONE);
        self.add("max timestamp unset", with(good.clone(), 35, &[0xff; 8]), NONE);
        self.add("max timestamp 0", with(good, 35, &[0; 8]), NONE);
    }

    fn records(&mut self, codec: Codec) {
        let damage: [(&str, &[u8], i16); 12] = [
            ("a small record", &EMPTY_RECORD, NONE),
            ("no records", &[], INVALID),
            ("a record cut off", &EMPTY_RECORD[..6], INVALID),
            ("bytes behind the records", &[12, 0, 0, 0, 1, 1, 0, 0], INVALID),
            ("bytes left in a record", &[14, 0, 0, 0, 1, 1, 0, 0], INVALID),
            ("a key too long", &[12, 0, 0, 0, 8, 1, 0], INVALID),
            ("a value too long", &[12, 0, 0, 0, 1, 8, 0], INVALID),
            ("header count -1", &[12, 0, 0, 0, 1, 1, 1], INVALID),
            ("header count 1 in 0 bytes", &[12, 0, 0, 0, 1, 1, 2], INVALID),
            ("a null header key", &[16, 0, 0, 0, 1, 1, 2, 1, 1], INVALID),
            (
                "an endless number",
                &[24, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
                INVALID,
            ),
            ("key length -3", &[12, 0, 0, 0, 5, 1, 0], NONE),
        ];
        for (name, bytes, code) in damage {
            self.add(name, body(codec, self.now_ms, bytes), code);
        }
        let packed = codec != Codec::None;
        for (name, bytes) in [
            ("a negative record size", [11, 0, 0, 0, 1, 1, 0]),
            ("a record size too large", [14, 0, 0, 0, 1, 1, 0]),
        ] {
            let case = self.add(name, body(codec, self.now_ms, &bytes), INVALID);
            if packed {
                case.code = NONE;
                case.ours = Some((INVALID, "Kafka's own consumer then stops at the record"));
            }
        }
        let skipping = [12, 0, 0, 10, 1, 1, 0];
        let case = self.add("offset delta 5 first", body(codec, self.now_ms, &skipping), NONE);
        if packed {
            case.code = UNKNOWN;
            case.ours = Some((NONE, "Kafka means to rebuild such a batch, and stumbles"));
        }
    }

    fn packing(&mut self) {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            self.add("codec's good", batch(codec, &[self.now_ms; 50]), NONE);
            let plain = batch(Codec::None, &[self.now_ms; 50]);
            let claimed = with(plain, 21, &[0, codec.id() as u8]);
            let packed = batch(codec, &[self.now_ms; 50]);
            let cut = signed(packed[..packed.len() - 12].to_vec());
            for (name, batch) in [("not packed at all", claimed), ("packed, cut short", cut)] {
                let why = "the client is to blame, and is told so";
                self.add(name, batch, UNKNOWN).ours = Some((INVALID, why));
            }
        }
    }

    fn timestamps(&mut self) {
        let now_ms = self.now_ms;
        let on = |topic: Topic, case: &mut Case| case.topic = topic;
        let at = |timestamps_ms: &[i64]| batch(Codec::None, timestamps_ms);
        let flagged = |timestamp_ms| with(at(&[timestamp_ms]), 21, &[0, 8]);
        self.add("no timestamp", at(&[-1]), NONE);
        self.add("timestamp 0", at(&[0]), NONE);
        self.add("timestamp -5", at(&[-5]), NONE);
        self.add("the earliest timestamp", at(&[i64::MIN]), TIMESTAMP);
        self.add("the latest timestamp", at(&[i64::MAX]), TIMESTAMP);
        self.add("half an hour ahead", at(&[now_ms + HOUR_MS / 2]), NONE);
        self.add("two hours ahead", at(&[now_ms, now_ms + 2 * HOUR_MS]), TIMESTAMP);
        on(Topic::Recent, self.add("two hours behind", at(&[now_ms - 2 * HOUR_MS]), TIMESTAMP));
        on(Topic::Recent, self.add("not that far behind", at(&[now_ms - 1_000]), NONE));
        on(Topic::Recent, self.add("behind, but none", at(&[-1]), NONE));
        self.add("flagged LogAppendTime", flagged(now_ms), NONE);
        self.add("flagged, far ahead", flagged(now_ms + 2 * HOUR_MS), TIMESTAMP);
        self.add("flagged, no time", flagged(-1), TIMESTAMP);
        on(Topic::AppendTime, self.add("append time", at(&[now_ms, 0, i64::MAX]), NONE));
        on(Topic::AppendTime, self.add("append time, flagged", flagged(now_ms), TIMESTAMP));
        for codec in Codec::ALL {
            let ahead = batch(codec, &[now_ms, now_ms + 2 * HOUR_MS]);
            self.add("packed, two hours ahead", ahead, TIMESTAMP);
        }
    }

    fn topics(&mut self) {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(codec, None);
            builder.push(self.now_ms, Some(b"key"), None, [].into_iter());
            builder.push(self.now_ms, None, Some(b"no key"), [].into_iter());
            let keyless = builder.build().expect("fits").to_vec();
            self.add("a record without key", keyless.clone(), NONE);
            self.add("no key, compacted", keyless, INVALID).topic = Topic::Compacted;
            let keyed = batch(codec, &[self.now_ms; 2]);
            self.add("keys, compacted", keyed.clone(), NONE).topic = Topic::Compacted;
            self.add("recompressed", keyed, NONE).topic = Topic::Zstd;
        }
        let mut builder = BatchBuilder::new(Codec::None, None);
        builder.push(self.now_ms + 2 * HOUR_MS, Some(b"key"), None, [].into_iter());
        builder.push(self.now_ms, None, None, [].into_iter());
        let both = builder.build().expect("fits").to_vec();
        self.add("key and timestamp faults", both, TIMESTAMP).topic = Topic::Compacted;
    }
}

fn cases(now_ms: i64) -> Vec<Case> {
    let mut table = Table { now_ms, cases: Vec::new() };
    table.framing();
    table.header();
    for codec in Codec::ALL {
        table.records(codec);
    }
    table.packing();
    table.timestamps();
    table.topics();
    table.cases
}

fn rules(topic: Topic) -> BatchRules {
    BatchRules {
        max_message_bytes: 1_048_588,
        segment_bytes: 1 << 30,
        compacted: topic == Topic::Compacted,
        timestamp_type: match topic {
            Topic::AppendTime => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: if topic == Topic::Recent { HOUR_MS } else { i64::MAX },
        timestamp_after_max_ms: HOUR_MS,
        compression: match topic {
            Topic::Zstd => CompressionRule::To { codec: Codec::Zstd, level: None },
            _ => CompressionRule::Producer,
        },
        max_decompressed_bytes: 16 << 20,
        open_compressed: true,
    }
}

#[test]
fn the_judge_answers_as_kafka_does() {
    let now_ms = 1_800_000_000_000;
    let mut wrong = Vec::new();
    for case in cases(now_ms) {
        let answer = validate(case.records, case.version, &rules(case.topic), now_ms);
        let code = answer.as_ref().map_or_else(|refusal| refusal.code.code(), |_| NONE);
        let expected = case.ours.map_or(case.code, |(code, _)| code);
        if code != expected {
            wrong.push(format!("{}: {code}, not {expected}: {answer:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "asks the broker at $ORACLE"]
fn a_running_broker_answers_as_the_table_says() {
    use kafka_protocol::messages::create_topics_request::{
        CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    };
    use kafka_protocol::messages::produce_request::{
        PartitionProduceData, ProduceRequest, TopicProduceData,
    };
    use kafka_protocol::protocol::StrBytes;

    let oracle = std::env::var("ORACLE").expect("ORACLE=HOST:PORT");
    let mut client = support::client::Client::connect(oracle.parse().expect("an address"));
    let since_epoch = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    let now_ms = i64::try_from(since_epoch.as_millis()).expect("not that late");
    let name = |topic: Topic| StrBytes::from_string(format!("codes-{topic:?}"));
    for (topic, config) in [
        (Topic::Plain, None),
        (Topic::Compacted, Some(("cleanup.policy", "compact"))),
        (Topic::AppendTime, Some(("message.timestamp.type", "LogAppendTime"))),
        (Topic::Recent, Some(("message.timestamp.before.max.ms", "3600000"))),
        (Topic::Zstd, Some(("compression.type", "zstd"))),
    ] {
        let configs = config.map(|(key, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(key))
                .with_value(Some(StrBytes::from_static_str(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(name(topic).into())
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(configs.into_iter().collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let made = client.call(4, &request);
        assert!([0, 36].contains(&made.topics[0].error_code), "{made:?}");
    }
    let mut wrong = Vec::new();
    for case in cases(now_ms) {
        let partition =
            PartitionProduceData::default().with_index(0).with_records(Some(case.records));
        let topic = TopicProduceData::default()
            .with_name(name(case.topic).into())
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        let reply = client.call(case.version, &request);
        let answer = &reply.responses[0].partition_responses[0];
        if answer.error_code != case.code {
            wrong.push(format!("{}: {}, not {}", case.name, answer.error_code, case.code));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
