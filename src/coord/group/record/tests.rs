//! Round trips, records that Kafka itself wrote, and bytes that nobody wrote.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::base::ids::Uuid;

const WRITTEN_BY_KAFKA: &str =
    include_str!("../../../../tests/fixtures/consumer_offsets/kafka-4.3.1.txt");
const ALL_VERSIONS: &str = include_str!("../../../../tests/fixtures/consumer_offsets/versions.txt");

fn hex(text: &str) -> Bytes {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

fn key_and_value(key: &str, value: &str) -> LogRecord {
    LogRecord { key: hex(key), value: (value != "-").then(|| hex(value)) }
}

fn decoded(record: &LogRecord) -> Result<Option<Record>, Unreadable> {
    Record::decode(&record.key, record.value.as_deref())
}

fn lines(fixture: &'static str) -> impl Iterator<Item = &'static str> {
    fixture.lines().filter(|line| !line.starts_with('#'))
}

/// The record that Kafka's classes wrote under this name.
fn version(name: &str) -> LogRecord {
    let line = lines(ALL_VERSIONS).find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let (key, value) = line.unwrap().split_once(' ').unwrap();
    key_and_value(key, value)
}

#[test]
fn what_kafka_wrote_is_read_and_written_again_byte_for_byte() {
    let mut kinds = [0; 17];
    for line in lines(WRITTEN_BY_KAFKA) {
        let (key, value) = line.split_once(' ').unwrap();
        let stored = key_and_value(key, value);
        let record = decoded(&stored).unwrap().unwrap();
        assert_eq!(record.encode(), stored, "{record:?}");
        kinds[usize::from(stored.key[1])] += 1;
    }
    for kind in [1, 2, 3, 4, 5, 6, 7, 8, 16] {
        assert!(kinds[kind] > 0, "no record of key type {kind}");
    }
}

#[test]
fn a_consumer_group_of_kafka_is_read_as_it_was() {
    let records: Vec<_> = lines(WRITTEN_BY_KAFKA)
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(key, value)| decoded(&key_and_value(key, value)).unwrap())
        .collect();
    let classic_member = records.iter().find_map(|record| match record {
        Record::Consumer(ConsumerRecord {
            entry: ConsumerEntry::Member(_, Some(member)), ..
        }) => Some((member, member.classic.as_ref()?)),
        _ => None,
    });
    let (member, classic) = classic_member.unwrap();
    assert_eq!((&*member.client_id, &*member.client_host), ("m3", "/127.0.0.1"));
    assert_eq!(member.subscribed_topics, [Arc::from("gold")]);
    assert_eq!(classic.session_timeout_ms, 45_000);
    assert_eq!(&*classic.protocols[0].0, "cooperative-sticky");

    let regex = records.iter().find_map(|record| match record {
        Record::Consumer(ConsumerRecord { entry: ConsumerEntry::Regex(regex, value), .. }) => {
            Some((regex, value.as_ref()?))
        }
        _ => None,
    });
    let (regex, resolved) = regex.unwrap();
    assert_eq!(&**regex, "gold.*");
    assert_eq!(resolved.topics, [Arc::from("gold"), Arc::from("gold-two")]);

    let owned = records.iter().find_map(|record| match record {
        Record::Consumer(ConsumerRecord {
            entry: ConsumerEntry::MemberCurrent(_, Some(current)),
            ..
        }) => Some(current),
        _ => None,
    });
    let owned = owned.unwrap();
    assert_eq!((owned.epoch, owned.previous_epoch, owned.state), (2, 0, 0));
    assert_eq!(owned.assigned[0].partitions, [0, 1, 2]);
    assert_eq!(owned.assigned[0].epochs, Some(vec![2, 2, 2]));
}

#[test]
fn every_version_of_a_committed_offset_is_read() {
    for number in 0..=4 {
        let record = decoded(&version(&format!("offset-v{number}"))).unwrap();
        let expected = OffsetRecord {
            group: "old".into(),
            topic: "gold".into(),
            partition: 2,
            value: Some(OffsetValue {
                offset: 77,
                leader_epoch: if number >= 3 { 9 } else { -1 },
                metadata: "note".into(),
                committed_ms: 1_700_000_000_000,
                expires_ms: (number == 1).then_some(1_700_000_086_400),
                topic_id: Uuid::nil(),
            }),
        };
        assert_eq!(record, Some(Record::Offset(expected)), "version {number}");
    }
}

#[test]
fn every_version_of_a_classic_group_is_read() {
    for number in 0..=4 {
        let Ok(Some(Record::Classic(record))) = decoded(&version(&format!("classic-v{number}")))
        else {
            panic!("version {number} cannot be read");
        };
        let group = record.value.unwrap();
        assert_eq!((&*record.group, group.generation), ("old", 3));
        assert_eq!(group.state_since_ms, if number >= 2 { 1_700_000_000_000 } else { -1 });
        let [member] = &group.members[..] else { panic!("one member") };
        let rebalance_timeout_ms = if number >= 1 { 300_000 } else { 45_000 };
        assert_eq!(member.rebalance_timeout_ms, rebalance_timeout_ms);
        assert_eq!(member.session_timeout_ms, 45_000);
        assert_eq!(member.instance_id, (number >= 3).then(|| "i".into()));
        assert_eq!(
            (&member.subscription[..], &member.assignment[..]),
            (&[1, 2, 3][..], &[4, 5][..])
        );
    }
}

#[test]
fn records_of_others_are_passed_by() {
    assert_eq!(decoded(&version("share")), Ok(None));
    for kind in [9_u8, 10, 15, 17, 99] {
        assert_eq!(Record::decode(&[0, kind], None), Ok(None), "{kind}");
    }
    assert_eq!(Record::decode(&[0xff, 0xff, 1], Some(&[])), Ok(None));
}

#[test]
fn metadata_of_subscribed_topics_is_only_noted() {
    let entry = ConsumerEntry::SubscriptionMetadata(true);
    let expected = Record::Consumer(ConsumerRecord { group: "old".into(), entry });
    assert_eq!(decoded(&version("topics")), Ok(Some(expected)));
}

#[test]
fn a_future_version_is_refused_and_an_unknown_tag_is_not() {
    let stored = version("offset-v4");
    let mut value = stored.value.unwrap().to_vec();
    value[1] = 5;
    let refused = Unreadable::Version { what: "committed offset", version: 5 };
    assert_eq!(Record::decode(&stored.key, Some(&value)), Err(refused));
    value[1] = 4;
    value.pop();
    value.extend([1, 9, 2, 0xab, 0xcd]);
    assert_eq!(Record::decode(&stored.key, Some(&value)), decoded(&version("offset-v4")));
}

#[test]
fn a_count_that_lies_allocates_nothing() {
    let key = version("classic-v3").key;
    let value = hex("0003000000000000ffffffff00000000000000007fffffff");
    assert_eq!(Record::decode(&key, Some(&value)), Err(Unreadable::Short));
}

fn text() -> impl Strategy<Value = Arc<str>> {
    "\\PC{0,9}".prop_map(Arc::from)
}

fn maybe_text() -> impl Strategy<Value = Option<Arc<str>>> {
    option::of(text())
}

fn blob() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

prop_compose! {
    fn offset_value()(
        offset in any::<i64>(),
        epoch in any::<i32>(),
        metadata in "\\PC{0,20}",
        committed_ms in any::<i64>(),
        expires_ms in option::of(0_i64..),
        topic_id in id(),
    ) -> OffsetValue {
        let own_expiry = expires_ms.is_some();
        OffsetValue {
            offset,
            leader_epoch: if own_expiry { -1 } else { epoch },
            metadata: metadata.into(),
            committed_ms,
            expires_ms,
            topic_id: if own_expiry { Uuid::nil() } else { topic_id },
        }
    }
}

prop_compose! {
    fn classic_member()(
        (member_id, instance_id) in (text(), maybe_text()),
        (client_id, client_host) in (text(), text()),
        (rebalance_timeout_ms, session_timeout_ms) in any::<(i32, i32)>(),
        (subscription, assignment) in (blob(), blob()),
    ) -> ClassicMember {
        ClassicMember {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        }
    }
}

prop_compose! {
    fn classic_value()(
        protocol_type in text(),
        (generation, state_since_ms) in any::<(i32, i64)>(),
        (protocol, leader) in (maybe_text(), maybe_text()),
        members in vec(classic_member(), 0..4),
    ) -> ClassicValue {
        ClassicValue { protocol_type, generation, protocol, leader, state_since_ms, members }
    }
}

prop_compose! {
    fn member_metadata()(
        (instance_id, rack_id) in (maybe_text(), maybe_text()),
        (client_id, client_host) in (text(), text()),
        subscribed_topics in vec(text(), 0..4),
        (subscribed_regex, server_assignor) in (maybe_text(), maybe_text()),
        rebalance_timeout_ms in any::<i32>(),
        classic in option::of((any::<i32>(), vec((text(), blob()), 0..3))),
    ) -> MemberMetadata {
        MemberMetadata {
            instance_id,
            rack_id,
            client_id,
            client_host,
            subscribed_topics,
            subscribed_regex,
            rebalance_timeout_ms,
            server_assignor,
            classic: classic.map(|(session_timeout_ms, protocols)| {
                ClassicMetadata { session_timeout_ms, protocols }
            }),
        }
    }
}

fn owned() -> impl Strategy<Value = Vec<OwnedTopic>> {
    let topic = (id(), vec(any::<i32>(), 0..5), option::of(vec(any::<i32>(), 0..5)));
    let topic = topic.prop_map(|(topic_id, partitions, epochs)| OwnedTopic {
        topic_id,
        partitions,
        epochs,
    });
    vec(topic, 0..4)
}

fn current() -> impl Strategy<Value = CurrentAssignment> {
    (any::<(i32, i32, i8)>(), owned(), owned()).prop_map(|(numbers, assigned, revoked)| {
        let (epoch, previous_epoch, state) = numbers;
        CurrentAssignment { epoch, previous_epoch, state, assigned, pending_revocation: revoked }
    })
}

fn target() -> impl Strategy<Value = Vec<TargetTopic>> {
    let topic = (id(), vec(any::<i32>(), 0..5));
    vec(topic.prop_map(|(topic_id, partitions)| TargetTopic { topic_id, partitions }), 0..4)
}

fn entry() -> impl Strategy<Value = ConsumerEntry> {
    use ConsumerEntry as E;
    let group =
        any::<(i32, i64)>().prop_map(|(epoch, metadata_hash)| GroupEpoch { epoch, metadata_hash });
    let made = any::<(i32, i64)>().prop_map(|(epoch, made_ms)| TargetEpoch { epoch, made_ms });
    let regex = (vec(text(), 0..4), any::<(i64, i64)>()).prop_map(|(topics, numbers)| {
        ResolvedRegex { topics, version: numbers.0, resolved_ms: numbers.1 }
    });
    prop_oneof![
        option::of(group).prop_map(E::Group),
        any::<bool>().prop_map(E::SubscriptionMetadata),
        (text(), option::of(member_metadata())).prop_map(|(id, value)| E::Member(id, value)),
        option::of(made).prop_map(E::Target),
        (text(), option::of(target())).prop_map(|(id, value)| E::MemberTarget(id, value)),
        (text(), option::of(current())).prop_map(|(id, value)| E::MemberCurrent(id, value)),
        (text(), option::of(regex)).prop_map(|(regex, value)| E::Regex(regex, value)),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let offset = (text(), text(), any::<i32>(), option::of(offset_value()));
    prop_oneof![
        offset.prop_map(|(group, topic, partition, value)| {
            Record::Offset(OffsetRecord { group, topic, partition, value })
        }),
        (text(), option::of(classic_value()))
            .prop_map(|(group, value)| Record::Classic(ClassicRecord { group, value })),
        (text(), entry())
            .prop_map(|(group, entry)| Record::Consumer(ConsumerRecord { group, entry })),
    ]
}

proptest! {
    #[test]
    fn every_record_comes_back(record in record()) {
        prop_assert_eq!(decoded(&record.encode()), Ok(Some(record)));
    }

    #[test]
    fn a_record_cut_anywhere_is_refused(record in record(), cut in any::<prop::sample::Index>()) {
        let stored = record.encode();
        let key = &stored.key[..cut.index(stored.key.len())];
        prop_assert!(Record::decode(key, stored.value.as_deref()).is_err());
        if let Some(value) = &stored.value
            && !matches!(&record, Record::Consumer(ConsumerRecord {
                entry: ConsumerEntry::SubscriptionMetadata(_), ..
            }))
        {
            prop_assert!(Record::decode(&stored.key, Some(&value[..cut.index(value.len())])).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        kind in 0_u8..20,
        key in vec(any::<u8>(), 0..60),
        version in 0_u8..6,
        value in vec(any::<u8>(), 0..200),
    ) {
        let key = [&[0, kind], &key[..]].concat();
        let value = [&[0, version], &value[..]].concat();
        if let Ok(Some(record)) = Record::decode(&key, Some(&value)) {
            // What was understood is what is written.
            prop_assert_eq!(decoded(&record.encode()), Ok(Some(record)));
        }
    }
}
