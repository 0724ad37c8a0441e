//! Batches of real clients, one for each codec: librdkafka 2.16.1, kafka-python 3.0.12 and Java's
//! producer 4.3.1 sent them to Apache Kafka 4.3.1, out of whose log they were cut. All hold the
//! same three records, with headers whose keys repeat.

use std::borrow::Cow;

use bytes::Bytes;
use klamm::log::validate::{BatchRules, CompressionRule, validate};
use klamm::wire::batch::{BatchHeader, HEADER_BYTES, TimestampType};
use klamm::wire::compression::Codec;
use klamm::wire::records::for_each;

const FIRST_MS: i64 = 1_700_000_000_000;

const RULES: BatchRules = BatchRules {
    max_message_bytes: 1_048_588,
    segment_bytes: 1 << 30,
    compacted: false,
    timestamp_type: TimestampType::CreateTime,
    timestamp_before_max_ms: i64::MAX,
    timestamp_after_max_ms: 3_600_000,
    compression: CompressionRule::Producer,
    max_decompressed_bytes: 1 << 20,
    open_compressed: true,
};

fn fixture(client: &str, codec: Codec) -> Bytes {
    let name = format!("tests/fixtures/batches/{client}-{}", codec.name());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read(path).expect("the fixture is part of the repository").into()
}

fn text(bytes: Option<&[u8]>) -> Cow<'_, str> {
    bytes.map_or("-".into(), String::from_utf8_lossy)
}

/// Every record as one line of text.
fn contents(header: &BatchHeader, records: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let codec = header.codec().expect("a codec");
    for_each(codec, records, header.record_count, 1 << 20, |record| {
        let timestamp_ms = header.base_timestamp_ms + record.timestamp_delta_ms - FIRST_MS;
        let mut line = format!(
            "{} +{timestamp_ms} {}={}",
            record.offset_delta,
            text(record.key),
            text(record.value)
        );
        for header in record.headers {
            let key = String::from_utf8_lossy(header.key);
            line += &format!(" {key}:{}", text(header.value));
        }
        lines.push(line);
    })
    .expect("the records can be read");
    lines
}

fn check(client: &str, null_header: &str) {
    for codec in Codec::ALL {
        let batch = fixture(client, codec);
        let valid = validate(batch.clone(), 9, &RULES, FIRST_MS).expect("a real client's batch");
        let header = valid.header();
        assert_eq!(header.codec(), Some(codec), "{client}");
        assert_eq!(header.max_timestamp_ms, FIRST_MS + 5, "{client} {codec:?}");
        let stored = [&valid.header_bytes()[..], valid.records()].concat();
        assert_eq!(stored, batch, "{client} {codec:?}: nothing changes");

        let headers = format!("a:1 b:{null_header} a:2");
        let records = contents(header, &batch[HEADER_BYTES..]);
        let expected = [
            format!("0 +0 key={} {headers}", "value ".repeat(20)),
            format!("1 +5 -=value of two {headers}"),
            format!("2 +3 key=- {headers}"),
        ];
        assert_eq!(records, expected, "{client} {codec:?}");

        for target in Codec::ALL {
            let compression = CompressionRule::To { codec: target, level: None };
            let rules = BatchRules { compression, ..RULES };
            let rebuilt = validate(batch.clone(), 9, &rules, FIRST_MS).expect("can be rebuilt");
            assert_eq!(rebuilt.header().codec(), Some(target));
            assert_eq!(contents(rebuilt.header(), rebuilt.records()), expected);
        }
    }
}

#[test]
fn of_librdkafka() {
    check("librdkafka", "-");
}

#[test]
fn of_java() {
    check("java", "-");
}

#[test]
fn of_kafka_python_which_has_no_null_headers() {
    check("kafka-python", "");
}
