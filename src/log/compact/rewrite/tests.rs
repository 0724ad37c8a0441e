use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::wire::compression::Codec;
use crate::wire::crc;
use crate::wire::records::Header;

const NOW_MS: i64 = 1_800_000_000_000;
const RETENTION_MS: i64 = 60_000;

/// A record as a test writes and reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn record() -> impl Strategy<Value = Plain> {
    let key = prop::option::weighted(0.9, prop::collection::vec(b'a'..=b'c', 1..2));
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..20));
    let header = (prop::collection::vec(b'x'..=b'y', 0..2), prop::option::of(any::<[u8; 2]>()));
    let headers = prop::collection::vec(header, 0..4);
    (key, value, headers, 0..5_000_i64).prop_map(|(key, value, headers, time)| Plain {
        offset: 0,
        timestamp_ms: NOW_MS + time,
        key,
        value,
        headers: headers.into_iter().map(|(k, v)| (k, v.map(|v| v.to_vec()))).collect(),
    })
}

/// A batch at `base_offset` as the log has it.
fn batch(codec: Codec, base_offset: i64, records: &[Plain]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec, None).producer(7, 1, 40);
    for record in records {
        let header = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| (key.to_owned(), value.to_owned());
        let headers: Vec<_> = record.headers.iter().map(header).collect();
        let headers = headers.iter().map(|(key, value)| Header { key, value: value.as_deref() });
        builder.push(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers);
    }
    let mut bytes = builder.build().unwrap().to_vec();
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes
}

/// Checks a batch as a reader would and gives its records.
fn opened(batch: &[u8]) -> (BatchHeader, Vec<Plain>) {
    let header = BatchHeader::parse(batch).unwrap();
    assert_eq!(header.total_bytes(), batch.len());
    assert_eq!(header.crc, crc::crc32c(&batch[21..]));
    let mut records = Vec::new();
    each(&header, &batch[HEADER_BYTES..], |_, record| {
        let owned = |header: Header<'_>| (header.key.to_vec(), header.value.map(<[u8]>::to_vec));
        records.push(Plain {
            offset: offset_of(&header, record),
            timestamp_ms: header.base_timestamp_ms + record.timestamp_delta_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(owned).collect(),
        });
    })
    .unwrap();
    (header, records)
}

fn placed(records: &[Plain], base_offset: i64) -> Vec<Plain> {
    let at = |(n, record): (i64, &Plain)| Plain { offset: base_offset + n, ..record.clone() };
    (0..).zip(records).map(at).collect()
}

fn rules(map: &OffsetMap, now_ms: i64) -> Rules<'_> {
    Rules { map, now_ms, delete_retention_ms: RETENTION_MS }
}

fn left(batch: &[u8], rewritten: Rewritten) -> Option<Vec<u8>> {
    match rewritten {
        Rewritten::Unchanged => Some(batch.to_vec()),
        Rewritten::Replaced(bytes) => Some(bytes),
        Rewritten::Removed => None,
    }
}

proptest! {
    #[test]
    fn what_is_left_is_the_latest_of_each_key(
        batches in prop::collection::vec((0..5_usize, prop::collection::vec(record(), 1..6)), 1..8),
        keep_empty: bool,
    ) {
        let mut map = OffsetMap::new(1 << 20, 0.9);
        let mut latest: HashMap<Vec<u8>, i64> = HashMap::new();
        let mut stored = Vec::new();
        let mut next = 100;
        for (codec, records) in &batches {
            let records = placed(records, next);
            for record in &records {
                let Some(key) = &record.key else { continue };
                map.put(key, record.offset).unwrap();
                latest.insert(key.clone(), record.offset);
            }
            stored.push((batch(Codec::ALL[*codec], next, &records), records.clone()));
            next += records.len() as i64;
        }
        map.reach(next - 1);
        for (bytes, records) in &stored {
            let is_latest = |r: &&Plain| r.key.as_ref().is_some_and(|k| latest[k] == r.offset);
            let expected: Vec<Plain> = records.iter().filter(is_latest).cloned().collect();
            let rewritten = rules(&map, NOW_MS).rewrite(bytes, keep_empty).unwrap();
            let Some(after) = left(bytes, rewritten.clone()) else {
                prop_assert!(expected.is_empty() && !keep_empty);
                continue;
            };
            let (before, _) = opened(bytes);
            let (header, found) = opened(&after);
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(header.base_offset, before.base_offset);
            prop_assert_eq!(header.last_offset(), before.last_offset());
            prop_assert_eq!(header.last_sequence(), before.last_sequence());
            prop_assert_eq!((header.producer_id, header.producer_epoch), (7, 1));
            let newest = expected.iter().map(|record| record.timestamp_ms).max();
            prop_assert_eq!(header.max_timestamp_ms, newest.unwrap_or(before.max_timestamp_ms));
            let tombstones = expected.iter().any(|record| record.value.is_none());
            let horizon = tombstones.then_some(NOW_MS + RETENTION_MS);
            prop_assert_eq!(header.delete_horizon_ms(), horizon);
            if !expected.is_empty() {
                prop_assert_eq!(header.codec(), before.codec());
            }
            let untouched = expected.len() == records.len() && !tombstones;
            prop_assert_eq!(rewritten == Rewritten::Unchanged, untouched);
            // A second round at once finds nothing to do, one after the horizon the tombstones.
            let again = rules(&map, NOW_MS + 1).rewrite(&after, keep_empty).unwrap();
            prop_assert_eq!(again, Rewritten::Unchanged);
            let later = rules(&map, NOW_MS + RETENTION_MS).rewrite(&after, true).unwrap();
            let (later_header, values) = opened(&left(&after, later).unwrap());
            let with_value = |r: &&Plain| r.value.is_some();
            let expected: Vec<Plain> = expected.iter().filter(with_value).cloned().collect();
            prop_assert_eq!(&values, &expected);
            if !values.is_empty() {
                prop_assert_eq!(later_header.delete_horizon_ms(), horizon);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 61..200)) {
        bytes[16] = 2;
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let map = OffsetMap::new(1 << 10, 0.9);
        let _ = rules(&map, NOW_MS).rewrite(&bytes, true);
    }
}

fn plain(key: &[u8], value: Option<&[u8]>) -> Plain {
    let (key, value) = (Some(key.to_vec()), value.map(<[u8]>::to_vec));
    Plain { offset: 0, timestamp_ms: NOW_MS, key, value, headers: Vec::new() }
}

#[test]
fn records_beyond_what_the_map_knows_stay() {
    let bytes = batch(Codec::Lz4, 10, &[plain(b"a", Some(b"1")), plain(b"a", Some(b"2"))]);
    let mut map = OffsetMap::new(1 << 10, 0.9);
    map.put(b"a", 9).unwrap();
    assert_eq!(rules(&map, NOW_MS).rewrite(&bytes, false).unwrap(), Rewritten::Unchanged);
    map.put(b"a", 11).unwrap();
    let after = left(&bytes, rules(&map, NOW_MS).rewrite(&bytes, false).unwrap()).unwrap();
    assert_eq!(opened(&after).1, [Plain { offset: 11, ..plain(b"a", Some(b"2")) }]);
}

#[test]
fn keys_of_control_batches_are_not_compared() {
    let marker = |base| {
        let mut bytes = batch(Codec::None, base, &[plain(&[0, 0, 0, 1], Some(b"commit"))]);
        bytes[22] |= 0b11_0000;
        let crc = crc::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    };
    let mut map = OffsetMap::new(1 << 10, 0.9);
    map.put(&[0, 0, 0, 1], 8).unwrap();
    assert_eq!(rules(&map, NOW_MS).rewrite(&marker(5), false).unwrap(), Rewritten::Unchanged);
}

#[test]
fn the_time_of_append_survives_the_loss_of_the_newest_record() {
    let records = [plain(b"a", Some(b"1")), plain(b"b", Some(b"2"))];
    let mut bytes = batch(Codec::Gzip, 5, &records);
    let mut header = BatchHeader::parse(&bytes).unwrap();
    header.set_timestamp_type(TimestampType::LogAppendTime);
    header.max_timestamp_ms = NOW_MS + 777;
    bytes[..HEADER_BYTES].copy_from_slice(&header.write());
    let mut map = OffsetMap::new(1 << 10, 0.9);
    map.put(b"a", 5).unwrap();
    map.put(b"b", 9).unwrap();
    let after = left(&bytes, rules(&map, NOW_MS).rewrite(&bytes, false).unwrap()).unwrap();
    let (header, found) = opened(&after);
    assert_eq!(header.max_timestamp_ms, NOW_MS + 777);
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(found.len(), 1);
}

#[test]
fn an_emptied_batch_keeps_offsets_and_sequences_and_goes_when_it_may() {
    let bytes = batch(Codec::Zstd, 5, &[plain(b"a", Some(b"1")), plain(b"a", Some(b"2"))]);
    let mut map = OffsetMap::new(1 << 10, 0.9);
    map.put(b"a", 90).unwrap();
    let rules = rules(&map, NOW_MS);
    let after = left(&bytes, rules.rewrite(&bytes, true).unwrap()).unwrap();
    let (header, found) = opened(&after);
    assert_eq!((after.len(), header.record_count, found.len()), (HEADER_BYTES, 0, 0));
    assert_eq!((header.base_offset, header.last_offset(), header.last_sequence()), (5, 6, 41));
    assert_eq!(rules.rewrite(&after, true).unwrap(), Rewritten::Unchanged);
    assert_eq!(rules.rewrite(&after, false).unwrap(), Rewritten::Removed);
    assert_eq!(rules.rewrite(&bytes, false).unwrap(), Rewritten::Removed);
}

#[test]
fn a_damaged_body_is_an_error() {
    let mut bytes = batch(Codec::Zstd, 5, &[plain(b"a", Some(&[7; 50]))]);
    let map = OffsetMap::new(1 << 10, 0.9);
    let last = bytes.len() - 1;
    bytes[HEADER_BYTES..last].fill(0xff);
    assert!(rules(&map, NOW_MS).rewrite(&bytes, false).is_err());
}
