use super::*;
use crate::base::ids::{TopicPartition, Uuid};
use crate::delay::copies::{CopyMark, Maker, Origin};
use crate::delay::key::Key;
use crate::delay::victim::Taken;
use crate::wire::batch::BatchHeader;
use proptest::prelude::*;

type Pair = (Vec<u8>, Option<Vec<u8>>);

/// A journal's batch with these records, all at timestamp 1,000 and later by their place.
fn journaled(records: &[Vec<Pair>]) -> (BatchHeader, Vec<u8>) {
    let mut batch = BatchBuilder::new(Codec::None, None);
    for (at, headers) in records.iter().enumerate() {
        let headers = headers
            .iter()
            .map(|(key, value)| Header { key: key.as_slice(), value: value.as_deref() });
        batch.push(1_000 + at as i64, Some(b"key"), Some(&[at as u8; 9]), headers);
    }
    let (header, records) = batch.build_parts().unwrap();
    (header, records.to_vec())
}

fn pair(key: &str, value: &str) -> Pair {
    (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec()))
}

fn delivered(record: &[u8]) -> Delivered<'_> {
    Delivered { ticket: 42, asked_due_ms: 2_000, base_timestamp_ms: 1_000, record }
}

fn pairs(record: &Record<'_>) -> Vec<Pair> {
    let owned = |header: Header<'_>| (header.key.to_vec(), header.value.map(<[u8]>::to_vec));
    record.headers.iter().map(owned).collect()
}

fn released(headers: Vec<Pair>) -> (BatchHeader, Vec<Pair>) {
    let (_, record) = journaled(&[headers]);
    let mut release = Release::new(3, 9_999, 1 << 20, Codec::None, None);
    assert_eq!(release.push(&delivered(&record)), Ok(true));
    let (header, records) = release.into_batch().build_parts().unwrap();
    let out = Records::new(&records, 1).next().unwrap().unwrap();
    assert_eq!((out.key, out.value), (Some(&b"key"[..]), Some(&[0; 9][..])));
    (header, pairs(&out))
}

fn told() -> Vec<Pair> {
    vec![pair("klamm.due", "2000"), pair("klamm.accepted", "1000"), pair("klamm.ticket", "3:42")]
}

#[test]
fn commands_go_and_what_happened_comes() {
    let sent = vec![
        pair("a", "1"),
        pair("klamm.delay", "1s"),
        pair("klamm.delay.id", "order-7"),
        pair("klamm.ticket", "0:1"),
        pair("klamm.expires.at", "5000"),
        pair("klamm.delay.replace", "true"),
        (b"a".to_vec(), None),
        pair("klamm.internal.victim", "1:2:3"),
        pair("klamm.due", "5"),
        pair("klamm.retry.attempt", "2"),
    ];
    let kept = [0, 2, 4, 6, 9].map(|at| sent[at].clone());
    let (header, headers) = released(sent);
    assert_eq!(headers, [kept.to_vec(), told()].concat());
    assert_eq!((header.base_timestamp_ms, header.max_timestamp_ms), (9_999, 9_999));
    assert!(!header.has_producer() && header.base_offset == 0);
}

proptest! {
    #[test]
    fn an_application_s_headers_stay_byte_for_byte(
        own in prop::collection::vec(
            ("[a-jl-z]{0,9}", prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..12,
        ),
    ) {
        let own: Vec<Pair> =
            own.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
        let mut sent = own.clone();
        sent.insert(own.len() / 2, pair("klamm.delay", "7d"));
        prop_assert_eq!(released(sent).1, [own, told()].concat());
    }

    #[test]
    fn a_batch_keeps_to_its_size(lengths in prop::collection::vec(0_usize..600, 1..60)) {
        let mut release = Release::new(0, 5, 2_000, Codec::None, None);
        let mut taken = 0;
        for length in &lengths {
            let (_, record) = journaled(&[vec![pair("x", &"y".repeat(*length))]]);
            if !release.push(&delivered(&record)).unwrap() {
                break;
            }
            taken += 1;
        }
        prop_assert!(taken > 0 && release.record_count() == taken);
        prop_assert!(release.body_bytes() <= 2_000);
        if (taken as usize) < lengths.len() {
            prop_assert!(release.body_bytes() + lengths[taken as usize] + 300 > 2_000);
        }
    }
}

#[test]
fn a_record_larger_than_the_bound_goes_alone() {
    let (_, large) = journaled(&[vec![pair("x", &"y".repeat(5_000))]]);
    let mut release = Release::new(0, 5, 2_000, Codec::None, None);
    assert_eq!(release.push(&delivered(&large)), Ok(true));
    assert_eq!(release.push(&delivered(&large)), Ok(false));
}

#[test]
fn damaged_bytes_are_refused_and_leave_the_batch_as_it_was() {
    let (_, record) = journaled(&[vec![]]);
    let mut release = Release::new(0, 5, 2_000, Codec::None, None);
    assert!(release.push(&delivered(&record[..record.len() - 1])).is_err());
    assert!(release.push(&delivered(&[])).is_err());
    assert_eq!((release.record_count(), release.body_bytes()), (0, 0));
}

#[test]
fn notes_stand_beside_their_records_and_all_else_stays() {
    let sent = [vec![pair("a", "1")], vec![], vec![pair("b", "2")]];
    let (header, records) = journaled(&sent);
    let taken = Taken { key: Key::new(5, 6), bytes: 7 };
    let decisions = [Decision::Put, Decision::Replace(taken), Decision::Unknown];
    let batch = with_notes(&header, &records, &decisions).unwrap();
    let (noted, body) = batch.build_parts().unwrap();
    assert_eq!(noted.last_offset_delta, header.last_offset_delta);
    let read: Vec<Record<'_>> = Records::new(&body, 3).map(Result::unwrap).collect();
    for (at, record) in read.iter().enumerate() {
        assert_eq!(record.offset_delta, at as i32);
        assert_eq!(noted.base_timestamp_ms + record.timestamp_delta_ms, 1_000 + at as i64);
    }
    let victim = |value| pair("klamm.internal.victim", value);
    assert_eq!(pairs(&read[0]), sent[0]);
    assert_eq!(pairs(&read[1]), [victim("5:6:7")]);
    assert_eq!(pairs(&read[2]), [pair("b", "2"), victim("none")]);
}

fn mark(plain: bool) -> Pair {
    let tp = TopicPartition::new(Uuid::from_u128(7), 3);
    let origin = Origin { maker: Maker::Nack("billing".into()), tp, offset: 5 };
    let value = CopyMark { origin, due_ms: 2_000, plain }.encode();
    (b"klamm.internal.copy".to_vec(), Some(value))
}

#[test]
fn a_plain_copy_keeps_its_headers_and_is_told_nothing() {
    let own = vec![pair("a", "1"), pair("klamm.due", "5"), pair("klamm.expires.at", "6")];
    let (_, headers) = released([&own[..], &[mark(true)]].concat());
    assert_eq!(headers, own);
}

#[test]
fn a_retry_is_told_of_as_any_delayed_record_and_not_of_its_mark() {
    let (_, headers) = released(vec![pair("a", "1"), pair("klamm.due", "5"), mark(false)]);
    assert_eq!(headers, [vec![pair("a", "1")], told()].concat());
}
