//! Produce: every version, codec and `acks`, batches that break each rule, limits.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::TransactionalId;
use kafka_protocol::messages::produce_request::ProduceRequest;
use klamm::wire::batch::{BatchHeader, CRC_START, HEADER_BYTES};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;
use uuid::Uuid;

use super::{Cases, Draw, MADE_AT_MS, batch, create, id_of, produce, text};
use crate::talk::Talk;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

pub const CASES: Cases = &[
    ("produce: versions and codecs", versions_and_codecs),
    ("produce: unknown targets", unknown_targets),
    ("produce: acks and transactional ids", acks_and_transactions),
    ("produce: damaged batches", damaged),
    ("produce: header fields out of range", headers),
    ("produce: timestamps", timestamps),
    ("produce: sizes", sizes),
    ("produce: several batches and partitions", several),
    ("produce: compacted topics need keys", keys),
];

fn versions_and_codecs(talk: &mut Talk, _: &mut Draw) {
    create(talk, "produce-codecs", 1, &[]);
    let id = id_of(talk, "produce-codecs");
    for version in 3..=13 {
        for codec in CODECS {
            talk.ask(version, &produce(version, ("produce-codecs", id), 0, batch(codec, 3, 10)));
        }
    }
}

fn unknown_targets(talk: &mut Talk, _: &mut Draw) {
    create(talk, "produce-known", 2, &[]);
    let id = id_of(talk, "produce-known");
    let stranger = Uuid::from_u128(77);
    for version in 3..=13 {
        for (name, id) in [("produce-known", id), ("no/name", stranger), ("", Uuid::nil())] {
            for partition in [0, 2, -1, i32::MAX] {
                let records = batch(Codec::None, 1, 1);
                talk.ask(version, &produce(version, (name, id), partition, records));
            }
        }
    }
}

fn acks_and_transactions(talk: &mut Talk, _: &mut Draw) {
    create(talk, "produce-acks", 1, &[]);
    let id = id_of(talk, "produce-acks");
    for version in [3, 7, 9, 11] {
        for acks in [-1, 1, 2, -2, i16::MAX] {
            let request = produce(version, ("produce-acks", id), 0, batch(Codec::None, 1, 1));
            talk.ask(version, &request.with_acks(acks));
        }
    }
    talk.ask(9, &ProduceRequest::default().with_acks(-1).with_timeout_ms(9_000));
    let none = ProduceRequest::default().with_acks(3).with_timeout_ms(-1);
    talk.ask(9, &none.with_transactional_id(Some(TransactionalId(text("")))));
}

/// Changes a batch's bytes and, if asked, makes the CRC right again.
fn altered(good: &Bytes, crc: bool, alter: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::from(&good[..]);
    alter(&mut bytes);
    if crc && bytes.len() >= HEADER_BYTES {
        let sum = crc32c::crc32c(&bytes[CRC_START..]);
        bytes[17..21].copy_from_slice(&sum.to_be_bytes());
    }
    bytes.freeze()
}

fn damaged(talk: &mut Talk, draw: &mut Draw) {
    create(talk, "produce-damaged", 1, &[]);
    let id = id_of(talk, "produce-damaged");
    let good = batch(Codec::None, 3, 20);
    let mut batches = vec![
        Bytes::new(),
        good.slice(..16),
        good.slice(..HEADER_BYTES),
        good.slice(..good.len() - 1),
        altered(&good, false, |b| b.put_u8(0)),
        altered(&good, false, |b| b[20] ^= 1),
        altered(&good, false, |b| b[16] = 0),
        altered(&good, false, |b| b[16] = 1),
        altered(&good, false, |b| b[16] = 3),
        altered(&good, true, |b| b[HEADER_BYTES] = 0),
        altered(&good, true, |b| b[HEADER_BYTES] = 0xFF),
    ];
    for _ in 0..12 {
        let at = draw.pick(&[61, 62, 63, 64, 65, 66, 70, 80, 90]);
        let value = draw.pick(&[0, 1, 2, 0x7F, 0x80, 0xFF]);
        batches.push(altered(&good, true, |b| b[at] = value));
    }
    for version in [3, 8, 11] {
        for damaged in &batches {
            let request = produce(version, ("produce-damaged", id), 0, damaged.clone());
            talk.ask(version, &request);
        }
    }
}

/// A batch with a changed header and the right CRC for it.
fn with_header(good: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    altered(good, true, |bytes| {
        let mut header = BatchHeader::parse(bytes).expect("it was built here");
        change(&mut header);
        bytes[..HEADER_BYTES].copy_from_slice(&header.write());
    })
}

fn headers(talk: &mut Talk, _: &mut Draw) {
    create(talk, "produce-headers", 1, &[]);
    let id = id_of(talk, "produce-headers");
    let good = batch(Codec::None, 3, 20);
    let changes: [fn(&mut BatchHeader); 18] = [
        |h| h.base_offset = 1,
        |h| h.base_offset = -1,
        |h| h.leader_epoch = 7,
        |h| h.last_offset_delta = 1,
        |h| h.last_offset_delta = 3,
        |h| h.last_offset_delta = -1,
        |h| h.record_count = 2,
        |h| h.record_count = 4,
        |h| h.record_count = 0,
        |h| h.record_count = -1,
        |h| h.attributes = 0x20,
        |h| h.attributes = 0x10,
        |h| h.attributes = 0x07,
        |h| h.attributes = 0x08,
        |h| h.attributes = 0x40,
        |h| h.max_timestamp_ms = -1,
        |h| h.max_timestamp_ms = 1,
        |h| (h.producer_id, h.producer_epoch, h.base_sequence) = (5_000, 0, -1),
    ];
    for version in [3, 8, 12] {
        for change in changes {
            let request = produce(version, ("produce-headers", id), 0, with_header(&good, change));
            talk.ask(version, &request);
        }
    }
}

fn timestamps(talk: &mut Talk, _: &mut Draw) {
    let bounded =
        [("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "1000")];
    create(talk, "produce-bounded", 1, &bounded);
    create(talk, "produce-appended", 1, &[("message.timestamp.type", "LogAppendTime")]);
    for topic in ["produce-bounded", "produce-appended"] {
        let id = id_of(talk, topic);
        for time_ms in [MADE_AT_MS, 0, -1, -2, i64::MAX] {
            let mut builder = BatchBuilder::new(Codec::None, None);
            builder.push(time_ms, Some(b"key"), Some(b"value"), [].into_iter());
            let records = builder.build().expect("a small batch");
            talk.ask(8, &produce(8, (topic, id), 0, records.clone()));
            talk.ask(13, &produce(13, (topic, id), 0, records));
        }
    }
}

fn sizes(talk: &mut Talk, _: &mut Draw) {
    create(talk, "produce-small", 1, &[("max.message.bytes", "1000")]);
    create(
        talk,
        "produce-segment",
        1,
        &[("segment.bytes", "1048576"), ("max.message.bytes", "4000000")],
    );
    for topic in ["produce-small", "produce-segment"] {
        let id = id_of(talk, topic);
        for value_bytes in [900, 1_100, 1_000_000, 1_100_000] {
            for codec in [Codec::None, Codec::Gzip] {
                let records = batch(codec, 1, value_bytes);
                talk.ask(9, &produce(9, (topic, id), 0, records));
            }
        }
    }
}

fn several(talk: &mut Talk, _: &mut Draw) {
    create(talk, "produce-several", 3, &[]);
    let id = id_of(talk, "produce-several");
    let one = batch(Codec::None, 2, 5);
    let two = Bytes::from([&one[..], &one[..]].concat());
    for version in [3, 9, 13] {
        talk.ask(version, &produce(version, ("produce-several", id), 0, two.clone()));
        let mut request = produce(version, ("produce-several", id), 0, one.clone());
        for partition in [1, 2, 3] {
            let more = produce(version, ("produce-several", id), partition, one.clone());
            request.topic_data[0].partition_data.extend(more.topic_data[0].partition_data.clone());
        }
        talk.ask(version, &request);
    }
}

fn keys(talk: &mut Talk, _: &mut Draw) {
    create(talk, "produce-compacted", 1, &[("cleanup.policy", "compact")]);
    let id = id_of(talk, "produce-compacted");
    for version in [3, 8, 13] {
        for codec in [Codec::None, Codec::Lz4] {
            let mut builder = BatchBuilder::new(codec, None);
            for key in [Some(&b"key"[..]), None, Some(&b""[..]), None] {
                builder.push(MADE_AT_MS, key, Some(b"value"), [].into_iter());
            }
            let records = builder.build().expect("a small batch");
            talk.ask(version, &produce(version, ("produce-compacted", id), 0, records));
        }
    }
}
