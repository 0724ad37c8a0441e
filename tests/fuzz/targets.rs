//! What the fuzz targets do with their input. Also compiled into the test that replays the
//! corpus, so that every input ever found is tried by an ordinary `cargo test`.
//!
//! A target panics when the broker would do something it must never do; malformed input
//! itself is no failure.

#![allow(dead_code, reason = "each fuzz binary uses one of the targets")]

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiKey, RequestKind};
use klamm::base::settings::{BrokerConfig, DelaySettings, Overrides};
use klamm::coord::group::record::Record;
use klamm::delay::rules::DelayRules;
use klamm::log::validate::{BatchRules, CompressionRule, Diverted, Moment, ValidBatch, judge};
use klamm::wire::batch::{BatchHeader, CRC_START, HEADER_BYTES, TimestampType};
use klamm::wire::compression::Codec;
use klamm::wire::schema::APIS;
use klamm::wire::{bounds, frame, records, request};

/// `socket.request.max.bytes` of the fuzzed connection.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// A byte stream as a connection reads it: size, header, body, and the next frame.
pub fn frame(input: &[u8]) {
    let mut stream = Bytes::copy_from_slice(input);
    while stream.len() >= frame::SIZE_BYTES {
        let prefix = [stream.get_u8(), stream.get_u8(), stream.get_u8(), stream.get_u8()];
        let Ok(bytes) = frame::size(prefix, MAX_FRAME_BYTES) else { return };
        if bytes > stream.len() {
            return;
        }
        let Ok((header, body)) = request::parse(stream.split_to(bytes)) else { return };
        decode_if_safe(header.api.key, header.version, body);
    }
}

/// A request body of any API and version: the first two bytes choose them.
pub fn request(input: &[u8]) {
    let [api, version, body @ ..] = input else { return };
    let api = APIS[usize::from(*api) % APIS.len()];
    let versions = api.versions.1 - api.versions.0 + 1;
    let version = api.versions.0 + i16::from(*version) % versions;
    decode_if_safe(api.key, version, Bytes::copy_from_slice(body));
}

/// What passes the bounds check must decode without an abort, and if it does decode, take
/// exactly the bytes that the check walked.
fn decode_if_safe(key: i16, version: i16, mut body: Bytes) {
    let Ok(bounds) = bounds::check(key, version, &body) else { return };
    let bytes = body.len();
    let key = ApiKey::try_from(key).expect("every API of the tables has a key");
    if let Ok(request) = RequestKind::decode(key, &mut body, version) {
        assert_eq!(bytes - body.len(), bounds.used_bytes, "{request:?}");
    }
}

/// Wall time of the fuzzed broker: 2023-11-14.
const NOW_MS: i64 = 1_700_000_000_000;
/// Cap on what a compressed batch may become.
const MAX_DECOMPRESSED_BYTES: usize = 1 << 20;

/// The records field of one partition of a produce request. The first byte chooses the rules;
/// half of the inputs get their length and CRC put right, or none would come further than that.
pub fn batch(input: &[u8]) {
    let [choice, batch @ ..] = input else { return };
    let mut batch = batch.to_vec();
    if choice & 1 == 0 && batch.len() >= HEADER_BYTES {
        let length = (batch.len() - 12) as u32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_START..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let rules = rules(*choice);
    let produce_version = if choice & 0x80 == 0 { 9 } else { 3 };
    let now = Moment { wall_ms: NOW_MS, release_ms: NOW_MS };
    let delay = delay_rules(&rules);
    let Ok(judged) = judge(batch.into(), produce_version, &rules, &delay, now) else { return };
    let parts = (judged.live.is_some(), judged.diverted.is_some());
    assert_ne!(parts, (false, false), "what is accepted goes somewhere");
    if let Some(mut live) = judged.live {
        live.stamp(1_000, 3, Some(NOW_MS));
        assert_stored_batch_is_sound(&live);
    }
    if let Some(diverted) = judged.diverted {
        let Diverted { mut batch, entries } = *diverted;
        batch.stamp(1_000, 3, Some(NOW_MS));
        assert_stored_batch_is_sound(&batch);
        let bytes = entries.iter().map(|entry| entry.bytes as usize).sum::<usize>();
        assert_eq!(bytes, batch.records().len(), "entries are all of it");
        assert!(entries.is_sorted_by(|a, b| a.delta < b.delta && a.at < b.at));
    }
}

/// Delays are on where compressed batches are opened.
fn delay_rules(rules: &BatchRules) -> DelayRules {
    let config = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let configs = Overrides::from([
        config(("delay.enable", if rules.open_compressed { "true" } else { "false" })),
        config(("delay.header.aliases", "d=klamm.delay,i=klamm.delay.id,c=klamm.delay.cancel")),
    ]);
    DelayRules::of(&DelaySettings::resolve(&configs, &BrokerConfig::default()))
}

fn rules(choice: u8) -> BatchRules {
    let rebuilt_as = Codec::from_id(i16::from(choice >> 1 & 7));
    BatchRules {
        max_message_bytes: 1 << 20,
        segment_bytes: 1 << 24,
        compacted: choice & 0x10 != 0,
        timestamp_type: match choice & 0x20 {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compression: match rebuilt_as {
            Some(codec) => CompressionRule::To { codec, level: None },
            None => CompressionRule::Producer,
        },
        max_decompressed_bytes: MAX_DECOMPRESSED_BYTES,
        open_compressed: choice & 0x40 == 0,
    }
}

/// What goes into a segment reads back: header, checksum, and every record if they were opened.
fn assert_stored_batch_is_sound(valid: &ValidBatch) {
    let stored = [&valid.header_bytes()[..], valid.records()].concat();
    let header = BatchHeader::parse(&stored).expect("a stored header reads back");
    assert_eq!(header.total_bytes(), stored.len());
    assert_eq!(header.crc, crc32c::crc32c(&stored[CRC_START..]));
    assert_eq!((header.base_offset, header.leader_epoch), (1_000, 3));
    let codec = header.codec().expect("a stored batch has a codec");
    let mut seen = 0;
    let body = &stored[HEADER_BYTES..];
    let read =
        records::for_each(codec, body, header.record_count, MAX_DECOMPRESSED_BYTES, |record| {
            seen += 1;
            record.headers.iter().for_each(drop);
        });
    if read.is_ok() {
        assert_eq!(seen, header.record_count);
    }
}

/// A stored record of the group coordinator: the first byte is the key's length; without bytes
/// behind the key it is a tombstone. What was understood is what is written again.
pub fn group_record(input: &[u8]) {
    let [key_bytes, rest @ ..] = input else { return };
    let Some((key, value)) = rest.split_at_checked(usize::from(*key_bytes)) else { return };
    let value = (!value.is_empty()).then_some(value);
    if let Ok(Some(record)) = Record::decode(key, value) {
        let stored = record.encode();
        let again = Record::decode(&stored.key, stored.value.as_deref());
        assert_eq!(again, Ok(Some(record)));
    }
}
