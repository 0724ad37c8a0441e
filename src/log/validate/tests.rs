//! The judge by examples with exact codes, and by properties.

use super::*;
use crate::wire::batch::NONE;
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codecs;
use crate::wire::records::{Header, Record, for_each};
use proptest::prelude::*;

const NOW_MS: i64 = 1_700_000_000_000;
const LATEST_VERSION: i16 = 13;

fn rules() -> BatchRules {
    BatchRules {
        max_message_bytes: 1_048_588,
        segment_bytes: 1 << 30,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compression: CompressionRule::Producer,
        max_decompressed_bytes: 64 << 20,
        open_compressed: true,
    }
}

fn builder(codec: Codec, records: i32) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec, None);
    for n in 0..records {
        let key = n.to_be_bytes();
        builder.push(NOW_MS + i64::from(n), Some(&key), Some(b"value"), [].into_iter());
    }
    builder
}

fn batch(codec: Codec, records: i32) -> Bytes {
    builder(codec, records).build().unwrap()
}

/// Sets bytes of a batch and makes its CRC right again.
fn with(batch: &Bytes, position: usize, bytes: &[u8]) -> Bytes {
    let mut changed = batch.to_vec();
    changed[position..position + bytes.len()].copy_from_slice(bytes);
    signed(changed)
}

/// Makes length and CRC right.
fn signed(mut batch: Vec<u8>) -> Bytes {
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

/// A batch whose body is these bytes.
fn raw(codec: Codec, records: i32, body: &[u8]) -> Bytes {
    let mut head = batch(Codec::None, records).to_vec();
    head.truncate(HEADER_BYTES);
    head[22] = codec.id() as u8;
    let mut packed = head;
    Codecs::of_thread(|codecs| codecs.compress(codec, None, body, &mut packed)).unwrap();
    signed(packed)
}

fn judge(batch: Bytes) -> Result<ValidBatch, Refusal> {
    validate(batch, LATEST_VERSION, &rules(), NOW_MS)
}

fn code(batch: Bytes) -> Option<Code> {
    judge(batch).err().map(|refusal| refusal.code)
}

fn stored(batch: &ValidBatch) -> Vec<u8> {
    [&batch.header_bytes()[..], batch.records()].concat()
}

fn assert_crc_is_right(batch: &ValidBatch) {
    let bytes = stored(batch);
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(header, *batch.header());
    assert_eq!(header.crc, crc::crc32c(&bytes[CRC_START..]));
    assert_eq!(header.total_bytes(), bytes.len());
}

/// One record's offset delta, timestamp, and then key and value, and each header's.
type Seen = (i32, i64, Vec<Vec<Option<Vec<u8>>>>);

/// Everything of a batch's records that a consumer sees.
fn contents(header: &BatchHeader, records: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let read = |record: &Record<'_>| {
        let mut parts = vec![vec![owned(record.key), owned(record.value)]];
        for Header { key, value } in record.headers {
            parts.push(vec![owned(Some(key)), owned(value)]);
        }
        let timestamp_ms = header.base_timestamp_ms + record.timestamp_delta_ms;
        seen.push((record.offset_delta, timestamp_ms, parts));
    };
    for_each(header.codec().unwrap(), records, header.record_count, 64 << 20, read).unwrap();
    seen
}

#[test]
fn of_bits_without_meaning_only_our_own_is_taken_off() {
    let sent = with(&batch(Codec::Lz4, 3), 21, &[0b0100_0010]);
    let valid = judge(sent.clone()).unwrap();
    assert!(BatchHeader::parse(&sent).unwrap().is_paired() && !valid.header().is_paired());
    assert_eq!(stored(&valid), with(&sent, 21, &[0b0000_0010]));
    assert_crc_is_right(&valid);
    let mut half = valid;
    half.set_paired(true);
    half.stamp(7, 1, Some(NOW_MS));
    assert!(half.header().is_paired());
    assert_crc_is_right(&half);
}

#[test]
fn what_is_accepted_stays_byte_for_byte() {
    for codec in Codec::ALL {
        let sent = batch(codec, 50);
        let mut valid = judge(sent.clone()).unwrap();
        assert_eq!(stored(&valid), sent);
        assert_eq!(valid.records().as_ptr(), sent[HEADER_BYTES..].as_ptr(), "no copy");
        valid.stamp(123_456, 7, None);
        assert_crc_is_right(&valid);
        assert_eq!(stored(&valid)[16..], sent[16..], "only offset and epoch change");
        assert_eq!((valid.header().base_offset, valid.header().leader_epoch), (123_456, 7));
        assert_eq!(valid.header().last_offset(), 123_505);
    }
}

#[test]
fn requests_hold_one_batch_of_magic_2() {
    let good = batch(Codec::None, 3);
    assert_eq!(code(Bytes::new()), Some(Code::InvalidRecord));
    assert_eq!(code(good.slice(..good.len() - 1)), Some(Code::InvalidRecord), "incomplete");
    assert_eq!(code([&good[..], &good].concat().into()), Some(Code::InvalidRecord), "two");
    assert_eq!(code(with(&good, 16, &[1])), Some(Code::InvalidRecord), "magic 1");
    assert_eq!(code(with(&good, 16, &[3])), Some(Code::CorruptMessage), "magic 3");
    assert_eq!(code(with(&good, 16, &[0xff])), Some(Code::CorruptMessage), "magic -1");
    let mut short = good.to_vec();
    short[8..12].copy_from_slice(&13_i32.to_be_bytes());
    assert_eq!(code(short.into()), Some(Code::CorruptMessage), "length");
    assert_eq!(code(signed(good[..60].to_vec())), Some(Code::CorruptMessage), "cut header");
}

#[test]
fn an_incomplete_second_batch_is_cut_off() {
    let good = batch(Codec::None, 3);
    let sent = [&good[..], &good[..good.len() - 1]].concat();
    assert_eq!(stored(&judge(sent.into()).unwrap()), good);
}

#[test]
fn zstd_needs_produce_7() {
    let zstd = batch(Codec::Zstd, 3);
    let refusal = validate(zstd.clone(), 6, &rules(), NOW_MS).unwrap_err();
    assert_eq!(refusal.code, Code::UnsupportedCompressionType);
    assert!(validate(zstd, 7, &rules(), NOW_MS).is_ok());
    assert!(validate(batch(Codec::Lz4, 3), 3, &rules(), NOW_MS).is_ok());
}

#[test]
fn headers_that_clients_must_not_send() {
    let good = batch(Codec::None, 3);
    let signed_by = |sequence| builder(Codec::None, 3).producer(9, 0, sequence).build().unwrap();
    assert_eq!(code(with(&good, 0, &1_i64.to_be_bytes())), Some(Code::InvalidRecord));
    assert_eq!(code(with(&good, 23, &(-1_i32).to_be_bytes())), Some(Code::InvalidRecord));
    assert_eq!(code(with(&good, 23, &3_i32.to_be_bytes())), Some(Code::InvalidRecord));
    assert_eq!(code(with(&good, 57, &0_i32.to_be_bytes())), Some(Code::InvalidRecord));
    assert_eq!(code(with(&good, 57, &i32::MIN.to_be_bytes())), Some(Code::InvalidRecord));
    assert_eq!(code(with(&good, 21, &[0, 1 << 5])), Some(Code::InvalidRecord), "control");
    assert_eq!(code(with(&good, 21, &[0, 5])), Some(Code::InvalidRecord), "codec 5");
    assert_eq!(code(signed_by(-1)), Some(Code::InvalidRecord));
    assert_eq!(code(signed_by(0)), None);
    let mut damaged = good.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(code(damaged.into()), Some(Code::CorruptMessage));
}

#[test]
fn sizes_have_limits() {
    let good = batch(Codec::None, 3);
    let size = good.len();
    let judge = |max_message_bytes, segment_bytes| {
        let rules = BatchRules { max_message_bytes, segment_bytes, ..rules() };
        validate(good.clone(), 9, &rules, NOW_MS).err().map(|refusal| refusal.code)
    };
    assert_eq!(judge(size, size), None);
    assert_eq!(judge(size - 1, size), Some(Code::MessageTooLarge));
    assert_eq!(judge(size, size - 1), Some(Code::RecordListTooLarge));
}

#[test]
fn malformed_records_are_invalid_in_every_codec() {
    // length, attributes, timestamp, offset, key length, value length, header count
    for (name, body) in [
        ("good", &[12, 0, 0, 0, 1, 1, 0][..]),
        ("cut off", &[12, 0, 0, 0, 1, 1]),
        ("bytes left over", &[14, 0, 0, 0, 1, 1, 0, 0]),
        ("bytes behind", &[12, 0, 0, 0, 1, 1, 0, 0]),
        ("negative size", &[11, 0, 0, 0, 1, 1, 0]),
        ("size too large", &[14, 0, 0, 0, 1, 1, 0]),
        ("key too long", &[12, 0, 0, 0, 8, 1, 0]),
        ("value too long", &[12, 0, 0, 0, 1, 8, 0]),
        ("negative header count", &[12, 0, 0, 0, 1, 1, 1]),
        ("more headers than bytes", &[12, 0, 0, 0, 1, 1, 2]),
        ("null header key", &[16, 0, 0, 0, 1, 1, 2, 1, 1]),
        ("endless number", &[20, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]),
        ("nothing", &[]),
    ] {
        for codec in Codec::ALL {
            let expected = (name != "good").then_some(Code::InvalidRecord);
            assert_eq!(code(raw(codec, 1, body)), expected, "{name}, {codec:?}");
        }
    }
}

#[test]
fn compacted_topics_need_keys_and_list_the_records_without() {
    let rules = BatchRules { compacted: true, open_compressed: false, ..rules() };
    for codec in Codec::ALL {
        let mut builder = builder(codec, 3);
        builder.push(NOW_MS, None, Some(b"no key"), [].into_iter());
        builder.push(NOW_MS, Some(b"k"), None, [].into_iter());
        builder.push(NOW_MS, None, None, [].into_iter());
        let refusal = validate(builder.build().unwrap(), 9, &rules, NOW_MS).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidRecord);
        let indexes: Vec<_> = refusal.records.iter().map(|fault| fault.index).collect();
        assert_eq!(indexes, [3, 5]);
    }
}

#[test]
fn lists_of_records_are_bounded() {
    let mut builder = BatchBuilder::new(Codec::None, None);
    for _ in 0..5_000 {
        builder.push(NOW_MS, None, None, [].into_iter());
    }
    let rules = BatchRules { compacted: true, ..rules() };
    let refusal = validate(builder.build().unwrap(), 9, &rules, NOW_MS).unwrap_err();
    assert_eq!(refusal.records.len(), 100);
    assert!(refusal.message.starts_with("5000 of 5000"), "{}", refusal.message);
}

#[test]
fn create_times_lie_within_limits() {
    let rules =
        BatchRules { timestamp_before_max_ms: 1_000, timestamp_after_max_ms: 500, ..rules() };
    let judge = |timestamps: &[i64]| {
        let mut builder = BatchBuilder::new(Codec::None, None);
        for timestamp_ms in timestamps {
            builder.push(*timestamp_ms, None, None, [].into_iter());
        }
        validate(builder.build().unwrap(), 9, &rules, NOW_MS)
    };
    assert!(judge(&[NOW_MS - 1_000, NOW_MS + 500, -1]).is_ok(), "limits included, -1 exempt");
    let refusal = judge(&[NOW_MS, NOW_MS - 1_001, NOW_MS + 501, 0]).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidTimestamp);
    let indexes: Vec<_> = refusal.records.iter().map(|fault| fault.index).collect();
    assert_eq!(indexes, [1, 2, 3]);
}

#[test]
fn a_timestamp_fault_names_the_refusal() {
    let rules = BatchRules { compacted: true, timestamp_after_max_ms: 0, ..rules() };
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(NOW_MS, None, None, [].into_iter());
    builder.push(NOW_MS + 1, Some(b"k"), None, [].into_iter());
    let refusal = validate(builder.build().unwrap(), 9, &rules, NOW_MS).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidTimestamp);
    assert_eq!(refusal.records.len(), 2);
}

#[test]
fn log_append_time_is_the_brokers_to_set() {
    let append_time = BatchRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let flagged = with(&batch(Codec::None, 2), 21, &[0, 1 << 3]);
    let refusal = validate(flagged.clone(), 9, &append_time, NOW_MS).unwrap_err();
    assert_eq!((refusal.code, refusal.records.len()), (Code::InvalidTimestamp, 2));

    let untimed = with(&flagged, 35, &(-1_i64).to_be_bytes());
    assert_eq!(code(untimed), Some(Code::InvalidTimestamp), "no time of their own");

    let valid = judge(flagged).unwrap();
    assert_eq!(valid.header().timestamp_type(), TimestampType::CreateTime, "the flag goes");
    assert_crc_is_right(&valid);
}

#[test]
fn stamping_append_time_keeps_the_crc_right() {
    let rules = BatchRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    for codec in Codec::ALL {
        let sent = batch(codec, 20);
        let mut valid = validate(sent.clone(), 9, &rules, NOW_MS).unwrap();
        assert_eq!(valid.timestamp_type(), TimestampType::LogAppendTime);
        for append_time_ms in [NOW_MS + 77, NOW_MS] {
            valid.stamp(5, 1, Some(append_time_ms));
            assert_crc_is_right(&valid);
            assert_eq!(valid.header().max_timestamp_ms, append_time_ms);
            assert_eq!(valid.header().timestamp_type(), TimestampType::LogAppendTime);
            assert_eq!(valid.header().base_timestamp_ms, NOW_MS, "records keep their own times");
        }
        assert_eq!(valid.records()[..], sent[HEADER_BYTES..]);
    }
}

#[test]
fn an_unset_or_wrong_max_timestamp_is_set_from_the_records() {
    let unset = i64::from(NONE);
    for open_compressed in [true, false] {
        let rules = BatchRules { open_compressed, ..rules() };
        for codec in Codec::ALL {
            for claimed in [unset, NOW_MS - 5] {
                let sent = with(&batch(codec, 9), 35, &claimed.to_be_bytes());
                let valid = validate(sent, 9, &rules, NOW_MS).unwrap();
                assert_eq!(valid.header().max_timestamp_ms, NOW_MS + 8, "{codec:?} {claimed}");
                assert_crc_is_right(&valid);
            }
        }
    }
}

#[test]
fn unopened_batches_are_judged_by_their_header() {
    let closed = BatchRules { open_compressed: false, ..rules() };
    let damaged = raw(Codec::Gzip, 1, b"no records");
    assert_eq!(code(damaged.clone()), Some(Code::InvalidRecord));
    assert!(validate(damaged, 9, &closed, NOW_MS).is_ok());
    let sent = with(&batch(Codec::Gzip, 2), 35, &(NOW_MS + 3_600_001).to_be_bytes());
    let refusal = validate(sent, 9, &closed, NOW_MS).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidTimestamp);
}

#[test]
fn decompression_is_capped() {
    let rules = BatchRules { max_decompressed_bytes: 100_000, ..rules() };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new(codec, None);
        builder.push(NOW_MS, None, Some(&vec![0; 1_000_000]), [].into_iter());
        let refusal = validate(builder.build().unwrap(), 9, &rules, NOW_MS).unwrap_err();
        assert_eq!(refusal.code, Code::MessageTooLarge, "{codec:?}");
    }
}

#[test]
fn another_compression_type_rebuilds_and_keeps_headers_as_they_are() {
    let headers = [
        Header { key: b"a", value: Some(b"1") },
        Header { key: b"\xff\xfe", value: None },
        Header { key: b"a", value: Some(b"2") },
    ];
    for from in Codec::ALL {
        let mut builder =
            BatchBuilder::new(from, None).producer(7_000, 2, i32::MAX - 1).transactional();
        builder.push(NOW_MS + 3, Some(b"k"), None, headers.into_iter());
        builder.push(NOW_MS, None, Some(b"v"), headers.into_iter().rev());
        let sent = builder.build().unwrap();
        let before = BatchHeader::parse(&sent).unwrap();
        for to in Codec::ALL {
            let compression = CompressionRule::To { codec: to, level: None };
            let rules = BatchRules { compression, open_compressed: false, ..rules() };
            let mut valid = validate(sent.clone(), 9, &rules, NOW_MS).unwrap();
            valid.stamp(100, 1, None);
            assert_crc_is_right(&valid);
            assert_eq!(valid.header().codec(), Some(to));
            let expected = Producer {
                id: 7_000,
                epoch: 2,
                base_sequence: i32::MAX - 1,
                last_sequence: i32::MAX,
                transactional: true,
            };
            assert_eq!(valid.producer(), Some(expected));
            assert_eq!(
                contents(valid.header(), valid.records()),
                contents(&before, &sent[HEADER_BYTES..])
            );
        }
    }
}

#[test]
fn a_batch_that_grows_when_rebuilt_is_measured_again() {
    let mut builder = BatchBuilder::new(Codec::Zstd, None);
    builder.push(NOW_MS, None, Some(&[b'x'; 10_000]), [].into_iter());
    let compression = CompressionRule::To { codec: Codec::None, level: None };
    let rules = BatchRules { compression, max_message_bytes: 5_000, ..rules() };
    let refusal = validate(builder.build().unwrap(), 9, &rules, NOW_MS).unwrap_err();
    assert_eq!(refusal.code, Code::MessageTooLarge);
}

#[test]
fn offsets_that_skip_are_rebuilt() {
    // Two records, both at offset delta 5.
    let body = [12, 0, 0, 10, 1, 1, 0, 12, 0, 2, 10, 1, 1, 0];
    for codec in Codec::ALL {
        let valid = judge(raw(codec, 2, &body)).unwrap();
        assert_crc_is_right(&valid);
        let seen = contents(valid.header(), valid.records());
        let offsets: Vec<_> = seen.iter().map(|record| (record.0, record.1)).collect();
        assert_eq!(offsets, [(0, NOW_MS), (1, NOW_MS + 1)]);
    }
}

#[test]
fn inspectors_see_every_record_and_may_refuse() {
    struct Picky(Vec<i32>);
    impl Inspect for Picky {
        fn record(&mut self, index: i32, record: &Record<'_>) -> Result<Fate, String> {
            self.0.push(index);
            match record.key == Some(&2_i32.to_be_bytes()) {
                true => Err("not two".into()),
                false => Ok(Fate::Delivered),
            }
        }
    }
    for codec in Codec::ALL {
        let mut picky = Picky(Vec::new());
        let refusal = validate_with(batch(codec, 4), 9, &rules(), NOW_MS, &mut picky).unwrap_err();
        assert_eq!(picky.0, [0, 1, 2, 3]);
        assert_eq!(refusal.code, Code::InvalidRecord);
        assert_eq!(refusal.records, [RecordFault { index: 2, message: "not two".into() }]);
    }
}

/// A record as a test makes it: timestamp delta, key, value, headers.
type Made = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn made() -> impl Strategy<Value = Made> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    let headers = proptest::collection::vec((bytes(), proptest::option::of(bytes())), 0..4);
    (-1_000..1_000_i64, proptest::option::of(bytes()), proptest::option::of(bytes()), headers)
}

fn build(codec: Codec, records: &[Made]) -> Bytes {
    let mut builder = BatchBuilder::new(codec, None);
    for (delta, key, value, headers) in records {
        let headers = headers.iter().map(|(key, value)| Header { key, value: value.as_deref() });
        builder.push(NOW_MS + delta, key.as_deref(), value.as_deref(), headers);
    }
    builder.build().unwrap()
}

proptest! {
    #[test]
    fn what_is_built_is_accepted_unchanged(
        records in proptest::collection::vec(made(), 1..40),
        codec in proptest::sample::select(&Codec::ALL[..]),
    ) {
        let sent = build(codec, &records);
        let valid = judge(sent.clone()).unwrap();
        prop_assert_eq!(stored(&valid), &sent[..]);
        let seen = contents(valid.header(), valid.records());
        prop_assert_eq!(seen.len(), records.len());
        for (n, (seen, made)) in seen.iter().zip(&records).enumerate() {
            prop_assert_eq!((seen.0 as usize, seen.1), (n, NOW_MS + made.0));
            prop_assert_eq!(&seen.2[0], &vec![made.1.clone(), made.2.clone()]);
            let headers: Vec<_> =
                made.3.iter().map(|(key, value)| vec![Some(key.clone()), value.clone()]).collect();
            prop_assert_eq!(&seen.2[1..], &headers);
        }
    }

    #[test]
    fn mutations_are_refused_or_leave_a_sound_batch(
        records in proptest::collection::vec(made(), 1..10),
        codec in proptest::sample::select(&Codec::ALL[..]),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = build(codec, &records).to_vec();
        for (position, byte) in &changes {
            let position = position.index(bytes.len());
            bytes[position] = *byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        // As it is: nearly always stopped by the CRC.
        let _ = judge(bytes.clone().into());
        // Signed anew: what gets through must be readable.
        if bytes.len() > HEADER_BYTES
            && let Ok(mut valid) = judge(signed(bytes))
        {
            valid.stamp(i64::MAX, i32::MAX, Some(i64::MIN));
            assert_crc_is_right(&valid);
            let count = valid.header().record_count;
            let codec = valid.header().codec().unwrap();
            let mut read = 0;
            for_each(codec, valid.records(), count, 64 << 20, |_| read += 1).unwrap();
            prop_assert_eq!(read, count);
        }
    }
}
