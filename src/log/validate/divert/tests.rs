use super::*;
use crate::base::settings::{BrokerConfig, DelaySettings, Overrides};
use crate::log::validate::{CompressionRule, Moment, judge, validate};
use crate::wire::batch::BatchHeader;
use crate::wire::crc;
use crate::wire::records::Header;
use bytes::Bytes;
use proptest::prelude::*;

const NOW_MS: i64 = 1_800_000_000_000;

fn rules() -> BatchRules {
    BatchRules {
        max_message_bytes: 1 << 20,
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

fn delay_rules(configs: &[(&str, &str)]) -> DelayRules {
    let configs: Overrides =
        configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    DelayRules::of(&DelaySettings::resolve(&configs, &BrokerConfig::default()))
}

/// A record as a test makes it: its headers, and whether it has a value.
type Made<'a> = (&'a [(&'a str, &'a str)], bool);

const PLAIN: Made<'_> = (&[("trace", "1")], true);
const DELAYED: Made<'_> = (&[("trace", "1"), ("klamm.delay", "5s")], true);
const CANCEL: Made<'_> = (&[("klamm.delay.cancel", "o-1")], false);

fn push(builder: &mut BatchBuilder, n: usize, (headers, valued): Made<'_>) {
    let headers: Vec<_> = headers
        .iter()
        .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) })
        .collect();
    let value = vec![b'v'; n];
    builder.push(
        NOW_MS + n as i64,
        Some(n.to_string().as_bytes()),
        valued.then_some(&value),
        headers.into_iter(),
    );
}

fn build(builder: BatchBuilder, records: &[Made<'_>]) -> Bytes {
    let mut builder = builder;
    records.iter().enumerate().for_each(|(n, made)| push(&mut builder, n, *made));
    builder.build().unwrap()
}

fn batch(codec: Codec, records: &[Made<'_>]) -> Bytes {
    build(BatchBuilder::new(codec, None).producer(7_000, 1, 40), records)
}

fn ask_of(sent: Bytes, rules: &BatchRules, configs: &[(&str, &str)]) -> Result<Judged, Refusal> {
    let now = Moment { wall_ms: NOW_MS, release_ms: NOW_MS };
    judge(sent, 9, rules, &delay_rules(configs), now)
}

fn ask(codec: Codec, records: &[Made<'_>]) -> Result<Judged, Refusal> {
    ask_of(batch(codec, records), &rules(), &[])
}

/// A record as it is stored: offset delta, time, key, value, headers.
type Stored = (i32, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, String)>);

fn stored(batch: &ValidBatch) -> Vec<Stored> {
    let header = batch.header();
    let crc = crc::append(crc::crc32c(&batch.header_bytes()[21..]), batch.records());
    assert_eq!((header.crc, header.write()), (crc, *batch.header_bytes()));
    assert_eq!(header.total_bytes(), batch.size_bytes());
    let mut found = Vec::new();
    let (codec, count) = (header.codec().unwrap(), header.record_count);
    records::for_each(codec, batch.records(), count, 1 << 30, |record| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = record.headers.iter().map(|h| (text(h.key), text(h.value.unwrap())));
        found.push((
            record.offset_delta,
            header.base_timestamp_ms + record.timestamp_delta_ms,
            record.key.map(<[u8]>::to_vec),
            record.value.map(<[u8]>::to_vec),
            headers.collect(),
        ));
    })
    .unwrap();
    found
}

fn offsets(batch: &ValidBatch) -> Vec<i32> {
    stored(batch).iter().map(|record| record.0).collect()
}

#[test]
fn a_live_batch_is_what_it_is_without_delays() {
    for codec in Codec::ALL {
        let sent = batch(codec, &[PLAIN, (&[], false), (&[("klamm.delay", "0")], true)]);
        let judged = ask_of(sent.clone(), &rules(), &[]).unwrap();
        assert!(judged.diverted.is_none());
        let live = judged.live.unwrap();
        assert_eq!([&live.header_bytes()[..], live.records()].concat(), sent[..]);
        let plain = validate(sent.clone(), 9, &rules(), NOW_MS).unwrap();
        assert_eq!(live.header_bytes(), plain.header_bytes());
        assert_eq!(live.records().as_ptr(), sent[HEADER_BYTES..].as_ptr(), "not copied");
    }
}

#[test]
fn a_wholly_delayed_batch_keeps_its_bytes() {
    let sent = batch(Codec::None, &[DELAYED, CANCEL, DELAYED]);
    let judged = ask_of(sent.clone(), &rules(), &[]).unwrap();
    assert!(judged.live.is_none());
    let Diverted { mut batch, entries } = *judged.diverted.unwrap();
    assert_eq!(batch.records().as_ptr(), sent[HEADER_BYTES..].as_ptr(), "not copied");
    assert_eq!(batch.header_bytes()[..], sent[..HEADER_BYTES]);
    assert_eq!(entries.iter().map(|entry| entry.delta).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    batch.stamp(900, 3, Some(NOW_MS + 9));
    let header = BatchHeader::parse(batch.header_bytes()).unwrap();
    assert_eq!((header.base_offset, header.max_timestamp_ms), (900, NOW_MS + 9));
    assert_eq!(stored(&batch)[2].1, NOW_MS + 2, "records keep their own times");
}

#[test]
fn a_mixed_batch_is_parted_under_its_offsets() {
    let sent = [PLAIN, DELAYED, PLAIN, CANCEL, DELAYED];
    for codec in Codec::ALL {
        let before = validate(batch(codec, &sent), 9, &rules(), NOW_MS).unwrap();
        let all = stored(&before);
        let judged = ask(codec, &sent).unwrap();
        let (live, diverted) = (judged.live.unwrap(), judged.diverted.unwrap());
        assert_eq!(stored(&live), [all[0].clone(), all[2].clone()], "{codec:?}");
        let taken = [all[1].clone(), all[3].clone(), all[4].clone()];
        assert_eq!(stored(&diverted.batch), taken, "{codec:?}");

        let (live, aside) = (live.header(), diverted.batch.header());
        assert_eq!((live.codec(), aside.codec()), (Some(codec), Some(Codec::None)));
        assert_eq!((live.last_offset_delta, aside.last_offset_delta), (2, 4), "ends at its last");
        assert_eq!(live.max_timestamp_ms, NOW_MS + 2);
        for header in [live, aside] {
            let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
            assert_eq!(producer, (7_000, 1, 40));
            assert!(!header.is_paired() && header.timestamp_type() == TimestampType::CreateTime);
        }
    }
}

#[test]
fn compressed_delayed_records_are_kept_uncompressed() {
    let judged = ask(Codec::Zstd, &[DELAYED, DELAYED]).unwrap();
    assert!(judged.live.is_none());
    let diverted = judged.diverted.unwrap();
    assert_eq!(diverted.batch.header().codec(), Some(Codec::None));
    assert_eq!(offsets(&diverted.batch), [0, 1]);
}

#[test]
fn the_live_part_goes_into_the_topics_codec() {
    let compression = CompressionRule::To { codec: Codec::Lz4, level: None };
    let rules = BatchRules { compression, ..rules() };
    let judged = ask_of(batch(Codec::Zstd, &[PLAIN, DELAYED]), &rules, &[]).unwrap();
    assert_eq!(judged.live.unwrap().header().codec(), Some(Codec::Lz4));
}

#[test]
fn entries_say_what_lies_where() {
    let at = ("klamm.deliver.at", "1800000090000");
    let id = ("klamm.delay.id", "order-7");
    let replace = ("klamm.delay.replace", "true");
    let expires = ("klamm.expires.at", "1800000099000");
    let sent: [Made<'_>; 5] = [
        PLAIN,
        (&[at, id, replace, expires], true),
        CANCEL,
        (&[("klamm.delay.cancel", "@2:77"), ("klamm.delay.cancel.strict", "true")], false),
        DELAYED,
    ];
    for records in [&sent[..], &sent[1..]] {
        let judged = ask(Codec::None, records).unwrap();
        let Diverted { batch, entries } = *judged.diverted.unwrap();
        let body = batch.records();
        let text = |range: &Range<u32>| {
            std::str::from_utf8(&body[range.start as usize..range.end as usize]).unwrap()
        };
        let [put, by_id, by_ticket, plain] = &entries[..] else { panic!("{entries:?}") };
        let What::Put { due, expires_at_ms, id, replace } = &put.what else { panic!("{put:?}") };
        assert_eq!(
            (*due, *expires_at_ms, *replace),
            (Due::At(1_800_000_090_000), 1_800_000_099_000, true)
        );
        assert_eq!(text(id), "order-7");
        let What::CancelId { id, strict: false } = &by_id.what else { panic!("{by_id:?}") };
        assert_eq!(text(id), "o-1");
        let ticket = What::CancelTicket { partition: Some(2), offset: 77, strict: true };
        assert_eq!(by_ticket.what, ticket);
        let due = Due::After(5_000);
        let expected = What::Put { due, expires_at_ms: i64::MAX, id: 0..0, replace: false };
        assert_eq!(plain.what, expected);
        let mut at = 0;
        for (entry, record) in entries.iter().zip(stored(&batch)) {
            assert_eq!((entry.at, entry.delta), (at, record.0));
            at += entry.bytes;
        }
        assert_eq!(at as usize, body.len());
    }
}

#[test]
fn aliases_are_stored_under_the_names_they_stand_for() {
    let configs = [("delay.header.aliases", "x-delay=klamm.delay, x-id = klamm.delay.id")];
    let foreign: Made<'_> = (&[("x-delay", "5000"), ("x-id", "a"), ("x", "y")], true);
    let judged = ask_of(batch(Codec::None, &[foreign]), &rules(), &configs).unwrap();
    let headers = stored(&judged.diverted.unwrap().batch)[0].4.clone();
    let expected = [("klamm.delay", "5000"), ("klamm.delay.id", "a"), ("x", "y")];
    assert_eq!(headers, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));

    let live: Made<'_> = (&[("x-delay", "0"), ("x-id", "a")], true);
    let sent = batch(Codec::None, &[live]);
    let judged = ask_of(sent.clone(), &rules(), &configs).unwrap();
    assert_eq!(
        judged.live.unwrap().records()[..],
        sent[HEADER_BYTES..],
        "live records are as sent"
    );
}

#[test]
fn one_wrong_header_refuses_the_batch_and_is_named() {
    for codec in Codec::ALL {
        let wrong: Made<'_> = (&[("klamm.delay", "soon")], true);
        let refusal = ask(codec, &[PLAIN, DELAYED, wrong, PLAIN, wrong]).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidRecord);
        let at: Vec<_> = refusal.records.iter().map(|fault| fault.index).collect();
        assert_eq!(at, [2, 4]);
        assert!(refusal.records[0].message.starts_with("header klamm.delay='soon': "));
        assert!(
            refusal.message.starts_with("2 of 5 records refused, the first at index 2: header")
        );
    }
}

#[test]
fn on_a_compacted_topic_a_cancel_needs_no_key_and_what_is_delivered_does() {
    let rules = BatchRules { compacted: true, ..rules() };
    let header = |key: &'static str, value: &'static str| {
        [Header { key: key.as_bytes(), value: Some(value.as_bytes()) }].into_iter()
    };
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(NOW_MS, None, None, header("klamm.delay.cancel", "a"));
    assert!(ask_of(builder.build().unwrap(), &rules, &[]).is_ok());
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(NOW_MS, None, Some(b"v"), header("klamm.delay", "1s"));
    let refusal = ask_of(builder.build().unwrap(), &rules, &[]).unwrap_err();
    assert!(refusal.message.contains("without a key"), "{refusal}");
}

#[test]
fn without_delays_only_what_is_open_is_looked_through() {
    let off = [("delay.enable", "false")];
    let closed = BatchRules { open_compressed: false, ..rules() };
    let refusal = ask_of(batch(Codec::None, &[PLAIN, DELAYED]), &closed, &off).unwrap_err();
    assert!(refusal.message.contains("delay.enable=false"), "{refusal}");
    let sent = batch(Codec::Gzip, &[DELAYED]);
    let judged = ask_of(sent.clone(), &closed, &off).unwrap();
    assert_eq!(judged.live.unwrap().records()[..], sent[HEADER_BYTES..], "as it came");
    // Batches that must be opened for another reason are looked through as well.
    let compacted = BatchRules { compacted: true, ..closed };
    assert!(ask_of(sent, &compacted, &off).is_err());
}

#[test]
fn due_times_are_held_against_the_clock_of_release() {
    let sent: Made<'_> = (&[("klamm.deliver.at", "1800000000500")], true);
    let behind = Moment { wall_ms: NOW_MS + 1_000, release_ms: NOW_MS };
    let ahead = Moment { wall_ms: NOW_MS, release_ms: NOW_MS + 1_000 };
    let diverts = |now| {
        let sent = batch(Codec::None, &[sent]);
        judge(sent, 9, &rules(), &delay_rules(&[]), now).unwrap().diverted.is_some()
    };
    assert_eq!((diverts(behind), diverts(ahead)), (true, false));
}

#[test]
fn decompression_is_capped_for_delayed_records_too() {
    let rules = BatchRules { max_decompressed_bytes: 100_000, ..rules() };
    let mut builder = BatchBuilder::new(Codec::Zstd, None);
    let delay = Header { key: b"klamm.delay", value: Some(b"1h") };
    builder.push(NOW_MS, None, Some(&vec![0; 1_000_000]), [delay].into_iter());
    let refusal = ask_of(builder.build().unwrap(), &rules, &[]).unwrap_err();
    assert_eq!(refusal.code, Code::MessageTooLarge);
}

proptest! {
    /// Both parts together are the batch, whatever is delayed in it.
    #[test]
    fn nothing_is_lost_or_doubled(
        kinds in prop::collection::vec(0..4_usize, 1..40),
        codec in prop::sample::select(&Codec::ALL[..]),
        aliased: bool,
    ) {
        let foreign: Made<'_> = (&[("x-delay", "7")], true);
        let made: Vec<Made<'_>> =
            kinds.iter().map(|kind| [PLAIN, DELAYED, CANCEL, foreign][*kind]).collect();
        let sent = batch(codec, &made);
        let all = stored(&validate(sent.clone(), 9, &rules(), NOW_MS).unwrap());
        let configs = [("delay.header.aliases", "x-delay=klamm.delay")];
        let configs = if aliased { &configs[..] } else { &[] };
        let Judged { live, diverted } = ask_of(sent, &rules(), configs).unwrap();

        let mut parts: Vec<Stored> = live.iter().flat_map(stored).collect();
        let is_aside = |kind: usize| [1, 2].contains(&kind) || aliased && kind == 3;
        prop_assert!(parts.iter().all(|record| !is_aside(kinds[record.0 as usize])));
        if let Some(live) = &live {
            prop_assert_eq!(live.header().last_offset_delta, parts.last().unwrap().0);
        }
        if let Some(Diverted { batch, entries }) = diverted.as_deref() {
            let aside = stored(batch);
            prop_assert_eq!(batch.header().last_offset_delta as usize, kinds.len() - 1);
            let deltas: Vec<_> = entries.iter().map(|entry| entry.delta).collect();
            prop_assert_eq!(deltas, aside.iter().map(|record| record.0).collect::<Vec<_>>());
            parts.extend(aside);
        }
        parts.sort_by_key(|record| record.0);
        for record in &mut parts {
            for (key, _) in &mut record.4 {
                if aliased && kinds[record.0 as usize] == 3 {
                    *key = key.replace("klamm.delay", "x-delay");
                }
            }
        }
        prop_assert_eq!(parts, all);
    }
}
