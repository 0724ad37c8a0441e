//! Retry and dead letter as clients see them: the real binary, real sockets, real ends of
//! processes. A nack is one record that any client can produce.
//!
//! Nothing here sleeps: a reader waits in its fetch for what is to come.

mod anew;
#[path = "../delay/kit.rs"]
mod kit;
mod nacks;
mod named;
#[path = "../support/mod.rs"]
mod support;

use kit::{Given, Reader, Seen, Signature, batch, latest, now_ms, produce, produce_raw};
use klamm::wire::compression::Codec;
use nacks::{await_topic, commit, dead, dead_of, delete_before, group, metric, nack, retries};
use support::broker::Broker;
use support::topics::{create, create_with, name};

/// Kafka's INVALID_RECORD.
const INVALID_RECORD: i16 = 87;
/// A back-off within which a broker can be killed and started again on a busy machine.
const LONG_MS: i64 = 4_000;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

/// What must be, and is not `None`.
fn header<'a>(seen: &'a Seen, name: &str) -> &'a str {
    seen.header(name).unwrap_or_else(|| panic!("no {name} in {seen:?}"))
}

#[test]
fn a_record_is_tried_again_after_its_back_off_and_in_the_end_is_a_dead_letter() {
    for durability in ["fsync", "page-cache"] {
        let scratch = scratch();
        let durable = format!("durability={durability}");
        let broker = Broker::start_with(scratch.path(), &[&durable]);
        let client = &mut broker.connect();
        let (topic, group) = (name("story"), group("billing"));
        create(client, &topic, 1);
        let order = Given::live("order-7").with("trace", "t-1").with("klamm.retry.max", 2);
        produce(client, &topic, 0, &[Given::live("other")]);
        let origin = produce(client, &topic, 0, &[order]);
        commit(client, &group, &topic, 0, 0);

        let failed_ms = now_ms();
        let hole =
            produce(client, &topic, 0, &[nack(&group, origin).with("klamm.nack.delay", 300)]);
        assert_eq!((hole, latest(client, &topic, 0)), (2, 2), "a nack is a hole");
        let (retries, dead) = (retries(&group, &topic), dead(&group, &topic));
        let mut retried = Reader::new(&retries, 0);
        retried.until(client, 1);
        let first = &retried.seen[0];
        let due_ms = failed_ms + 300;
        assert!(first.seen_ms >= due_ms && first.timestamp_ms >= due_ms, "{first:?}");
        assert_eq!((first.value.as_str(), header(first, "trace")), ("order-7", "t-1"));
        assert_eq!(header(first, "klamm.retry.attempt"), "1");
        assert_eq!(header(first, "klamm.retry.origin"), format!("{}:0:{origin}", topic.as_str()));
        assert_eq!(first.header("klamm.internal.copy"), None);
        assert!(header(first, "klamm.ticket").starts_with("0:"));

        let again = nack(&group, first.offset).with("klamm.nack.delay", 1);
        produce(client, &retries, 0, &[again]);
        retried.until(client, 2);
        let second = &retried.seen[1];
        assert_eq!(header(second, "klamm.retry.attempt"), "2");
        let last = nack(&group, second.offset)
            .with("klamm.nack.reason", "card declined")
            .with("klamm.nack.error", "java.io.IOException");
        produce(client, &retries, 0, &[last]);
        let mut letters = Reader::new(&dead, 0);
        letters.until(client, 1);
        let letter = &letters.seen[0];
        assert_eq!((letter.value.as_str(), header(letter, "trace")), ("order-7", "t-1"));
        for (name, expected) in [
            ("topic", topic.as_str()),
            ("partition", "0"),
            ("offset", "1"),
            ("group", group.as_str()),
            ("delivery.count", "3"),
            ("message", "card declined"),
            ("exception.class", "java.io.IOException"),
            ("reason", "delivery-limit"),
            ("redrive.count", "0"),
        ] {
            assert_eq!(header(letter, &format!("__dlq.errors.{name}")), expected);
        }
        let first_ms: i64 = header(letter, "__dlq.errors.first.timestamp").parse().unwrap();
        assert!((failed_ms..=now_ms()).contains(&first_ms));
        assert_eq!(letter.header("klamm.ticket"), None, "it was not delayed");
        assert_eq!(retried.rest(client).len(), 2);
        assert_eq!(latest(client, &topic, 0), 2, "other groups see nothing of it");
        for (name, expected) in [
            ("nacks_total", 3),
            ("retries_total{attempt=\"1\"}", 1),
            ("retries_total{attempt=\"2\"}", 1),
            ("dead_letters_total{reason=\"delivery-limit\"}", 1),
        ] {
            assert_eq!(metric(&broker, &format!("klamm_retry_{name}")), Some(expected), "{name}");
        }
    }
}

#[test]
fn the_same_nack_makes_one_retry_whoever_sends_it_again_and_whenever() {
    let scratch = scratch();
    let (topic, group) = (name("again"), group("g"));
    let nacks = |delay_ms: i64| {
        let nack = |offset| nack(&group, offset).with("klamm.nack.delay", delay_ms);
        [nack(0), nack(1), nack(0), nack(2)]
    };
    {
        let broker = Broker::start(scratch.path());
        let client = &mut broker.connect();
        create(client, &topic, 1);
        produce(client, &topic, 0, &["a", "b", "c"].map(Given::live));
        commit(client, &group, &topic, 0, 0);
        produce(client, &topic, 0, &nacks(LONG_MS));
        produce(client, &topic, 0, &nacks(1));
        // Dropped as by `kill -9`.
    }
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    // On, not back: that would be another matter.
    commit(client, &group, &topic, 0, 3);
    produce(client, &topic, 0, &nacks(1));
    let dead_too = nack(&group, 1).with("klamm.nack.dead", "true");
    produce(client, &topic, 0, &[dead_too]);
    let mut retried = Reader::new(&retries(&group, &topic), 0);
    retried.until(client, 3);
    produce(client, &topic, 0, &nacks(1));
    // What comes behind all of them, in the order of delivery.
    let sentinel = produce(client, &topic, 0, &[Given::live("d")]);
    produce(client, &topic, 0, &[nack(&group, sentinel).with("klamm.nack.delay", 100)]);
    retried.until(client, 4);
    assert_eq!(retried.values(), ["a", "b", "c", "d"]);
}

#[test]
fn a_retry_of_an_idempotent_producer_makes_nothing_new() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let (topic, group) = (name("idempotent"), group("g"));
    create(client, &topic, 1);
    produce(client, &topic, 0, &["a", "b"].map(Given::live));
    commit(client, &group, &topic, 0, 2);
    let signed = |sequence, offset| {
        let signature = Signature { producer_id: 5_000, base_sequence: sequence };
        let given = [nack(&group, offset).with("klamm.nack.delay", 1)];
        batch(Codec::None, Some(signature), &given)
    };
    let first = produce_raw(client, &topic, 0, -1, signed(0, 0));
    let again = produce_raw(client, &topic, 0, -1, signed(0, 0));
    assert_eq!((first.error_code, again.error_code), (0, 0), "{first:?} {again:?}");
    assert_eq!(first.base_offset, again.base_offset);
    // The group goes back: what it fails on again is new, what a producer repeats is not.
    commit(client, &group, &topic, 0, 0);
    let repeated = produce_raw(client, &topic, 0, -1, signed(0, 0));
    assert_eq!(repeated.base_offset, first.base_offset);
    produce_raw(client, &topic, 0, -1, signed(1, 1));
    let mut retried = Reader::new(&retries(&group, &topic), 0);
    retried.until(client, 2);
    assert_eq!(retried.values(), ["a", "b"]);
}

#[test]
fn a_group_that_goes_back_may_fail_on_a_record_again() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let (topic, group) = (name("back"), group("g"));
    create(client, &topic, 1);
    produce(client, &topic, 0, &["a", "b"].map(Given::live));
    let nacks = [0, 1].map(|offset| nack(&group, offset).with("klamm.nack.delay", 1));
    commit(client, &group, &topic, 0, 0);
    produce(client, &topic, 0, &nacks);
    commit(client, &group, &topic, 0, 2);
    let mut retried = Reader::new(&retries(&group, &topic), 0);
    retried.until(client, 2);
    commit(client, &group, &topic, 0, 1);
    produce(client, &topic, 0, &nacks);
    retried.until(client, 3);
    let sentinel = produce(client, &topic, 0, &[Given::live("c")]);
    produce(client, &topic, 0, &[nack(&group, sentinel).with("klamm.nack.delay", 100)]);
    retried.until(client, 4);
    assert_eq!(retried.values(), ["a", "b", "b", "c"]);
}

#[test]
fn nacks_ride_in_any_batch_beside_any_record() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let scratch = scratch();
        let broker = Broker::start(scratch.path());
        let client = &mut broker.connect();
        let (topic, group) = (name("mixed"), group("g"));
        create_with(client, &topic, 1, &[("cleanup.policy", "compact")]);
        let source = batch(codec, None, &["s0", "s1", "s2"].map(Given::live));
        assert_eq!(produce_raw(client, &topic, 0, -1, source).error_code, 0);
        commit(client, &group, &topic, 0, 0);
        let given = [
            Given::live("l3"),
            nack(&group, 2).with("klamm.nack.delay", 1),
            Given::at(now_ms() + 20, "d5"),
            nack(&group, 0).with("klamm.nack.delay", 1),
            Given::live("l7"),
        ];
        let answer = produce_raw(client, &topic, 0, -1, batch(codec, None, &given));
        assert_eq!((answer.error_code, answer.base_offset), (0, 3), "{answer:?}");
        let mut reader = Reader::new(&topic, 0);
        reader.until(client, 6);
        assert_eq!(reader.values(), ["s0", "s1", "s2", "l3", "l7", "d5"]);
        let offsets: Vec<_> = reader.seen.iter().map(|seen| seen.offset).collect();
        assert_eq!(offsets[3..5], [3, 7]);
        let mut retried = Reader::new(&retries(&group, &topic), 0);
        retried.until(client, 2);
        let mut values = retried.values();
        values.sort_unstable();
        assert_eq!(values, ["s0", "s2"]);
    }
}

#[test]
fn a_record_that_is_gone_leaves_a_letter_that_says_so() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let (topic, group) = (name("gone"), group("g"));
    create(client, &topic, 1);
    produce(client, &topic, 0, &["a", "b", "c"].map(Given::live));
    produce(client, &topic, 0, &[Given::after(1, "d")]);
    Reader::new(&topic, 0).until(client, 4);
    commit(client, &group, &topic, 0, 0);
    delete_before(client, &topic, 0, 2);
    // Deleted, and a hole that a ticket has left.
    produce(client, &topic, 0, &[nack(&group, 1), nack(&group, 3)]);
    let mut letters = Reader::new(&dead(&group, &topic), 0);
    letters.until(client, 2);
    for (letter, offset) in letters.seen.iter().zip(["1", "3"]) {
        assert_eq!(header(letter, "__dlq.errors.reason"), "source-gone");
        assert_eq!((letter.value.as_str(), header(letter, "__dlq.errors.offset")), ("", offset));
    }
}

#[test]
fn a_nack_that_asks_for_what_cannot_be_is_refused_with_its_batch() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let (topic, known, other) = (name("refused"), group("g"), group("other"));
    create(client, &topic, 1);
    produce(client, &topic, 0, &["a", "b"].map(Given::live));
    commit(client, &known, &topic, 0, 0);
    commit(client, &other, &topic, 0, 0);
    let dead_too = nack(&known, 0).with("klamm.nack.dead", "true");
    produce(client, &topic, 0, &[nack(&known, 1).with("klamm.nack.delay", 1), dead_too]);
    let (retries, dead) = (retries(&known, &topic), dead(&known, &topic));
    Reader::new(&retries, 0).until(client, 1);
    Reader::new(&dead, 0).until(client, 1);
    let unknown = group("nobody");
    let with_value = Given::live("x").with("klamm.nack.group", known.as_str());
    let wrong = [
        (&topic, nack(&unknown, 0), "klamm.nack.group='"),
        (&topic, nack(&known, 4), "header klamm.nack.offset='4': the partition's visible end is 2"),
        (&topic, with_value.with("klamm.nack.offset", 0), "a nack must have a null value"),
        (&topic, nack(&known, -1), "header klamm.nack.offset='-1': an offset is a number"),
        (&topic, nack(&known, 0).with("klamm.delay", 1), "no place beside klamm.nack.group"),
        (&topic, nack(&known, 0).with("klamm.nack.delay", "soon"), "a delay is"),
        (&topic, nack(&known, 0).with("klamm.nack.dead", "perhaps"), "it is true or false"),
        (&retries, nack(&other, 0), "the topic holds retries of"),
        (&dead, nack(&known, 0), "the topic holds dead letters of"),
    ];
    for (topic, nack, told) in wrong {
        let before = latest(client, topic, 0);
        let given = batch(Codec::Zstd, None, &[Given::live("live"), nack.clone()]);
        let answer = produce_raw(client, topic, 0, -1, given);
        assert_eq!((answer.error_code, answer.base_offset), (INVALID_RECORD, -1), "{nack:?}");
        let [fault] = &answer.record_errors[..] else { panic!("{answer:?}") };
        let message = fault.batch_index_error_message.as_ref().unwrap().as_str();
        assert!(fault.batch_index == 1 && message.contains(told), "{told}: {fault:?}");
        assert_eq!(latest(client, topic, 0), before, "nothing of it is stored");
    }
}

#[test]
fn a_flood_of_large_failures_is_made_in_parts_and_whole() {
    let scratch = scratch();
    let (topic, group) = (name("large"), group("g"));
    let large = "x".repeat(200_000);
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    create(client, &topic, 1);
    for n in 0..30 {
        produce(client, &topic, 0, &[Given::live(format!("{n}{large}"))]);
    }
    commit(client, &group, &topic, 0, 0);
    let nacks: Vec<_> =
        (0..30).rev().map(|offset| nack(&group, offset).with("klamm.nack.delay", 1)).collect();
    produce(client, &topic, 0, &nacks);
    let mut retried = Reader::new(&retries(&group, &topic), 0);
    retried.until(client, 30);
    let mut lengths: Vec<_> = retried.values().iter().map(|value| value.len()).collect();
    lengths.sort_unstable();
    assert_eq!((lengths[0], lengths[29]), (200_001, 200_002));
    assert_eq!(retried.rest(client).len(), 30);
}

#[test]
fn a_copy_is_known_when_its_journal_is_sealed_and_gone() {
    let scratch = scratch();
    let (topic, group) = (name("sealed"), group("g"));
    let settings = ["delay.journal.segment.bytes=1048576"];
    let large = "x".repeat(100_000);
    let nacks: Vec<_> =
        (0..40).map(|offset| nack(&group, offset).with("klamm.nack.delay", "1h")).collect();
    {
        let broker = Broker::start_with(scratch.path(), &settings);
        let client = &mut broker.connect();
        create(client, &topic, 1);
        for n in 0..40 {
            produce(client, &topic, 0, &[Given::live(format!("{n}{large}"))]);
        }
        commit(client, &group, &topic, 0, 0);
        produce(client, &topic, 0, &nacks);
        let retries = retries(&group, &topic);
        let manifest = scratch.path().join(format!("data/{}-0/delay/manifest", retries.as_str()));
        let is_sealed = (0..100_000).any(|_| {
            latest(client, &retries, 0);
            manifest.exists()
        });
        assert!(is_sealed, "no run was written");
        // Dropped as by `kill -9`.
    }
    let broker = Broker::start_with(scratch.path(), &settings);
    let client = &mut broker.connect();
    commit(client, &group, &topic, 0, 40);
    produce(client, &topic, 0, &nacks);
    assert_eq!(metric(&broker, "klamm_retry_nacks_total"), Some(40));
    assert_eq!(metric(&broker, "klamm_retry_retries_total{attempt=\"1\"}"), None);
}

#[test]
fn what_expires_is_a_dead_letter_before_it_is_passed() {
    let scratch = scratch();
    let (topic, group) = (name("expired"), group("g"));
    let settings = ["delay.expired.policy=deadletter"];
    let own_dead = dead_of(&topic);
    {
        let broker = Broker::start_with(scratch.path(), &settings);
        let client = &mut broker.connect();
        create(client, &topic, 1);
        let due_ms = now_ms() + 200;
        // At its due time it has expired.
        let late = |n: i64| Given::at(due_ms + n, format!("late{n}"));
        let late = |n: i64| late(n).with("klamm.expires.at", due_ms + n).with("trace", n);
        let given = [late(0), Given::at(due_ms + 1, "good"), late(2), late(3)];
        produce(client, &topic, 0, &given);
        let mut reader = Reader::new(&topic, 0);
        reader.until(client, 1);
        assert_eq!(reader.values(), ["good"]);
        await_topic(client, &own_dead);
        let mut letters = Reader::new(&own_dead, 0);
        letters.until(client, 3);
        for (letter, n) in letters.seen.iter().zip(["0", "2", "3"]) {
            assert_eq!(letter.value, format!("late{n}"));
            assert_eq!(header(letter, "trace"), n);
            assert_eq!(header(letter, "__dlq.errors.reason"), "expired");
            assert_eq!(header(letter, "__dlq.errors.offset"), n, "its ticket");
            assert_eq!(header(letter, "__dlq.errors.delivery.count"), "0");
            assert_eq!(letter.header("__dlq.errors.group"), None);
        }
        // A retry that comes too late is its group's.
        commit(client, &group, &topic, 0, 0);
        let offset = reader.seen[0].offset;
        let nack = nack(&group, offset).with("klamm.nack.delay", 1);
        produce(client, &topic, 0, &[nack.with("klamm.expires.at", due_ms)]);
        await_topic(client, &dead(&group, &topic));
        let mut letters = Reader::new(&dead(&group, &topic), 0);
        letters.until(client, 1);
        let letter = &letters.seen[0];
        assert_eq!(
            (letter.value.as_str(), header(letter, "__dlq.errors.reason")),
            ("good", "expired")
        );
        assert_eq!(header(letter, "__dlq.errors.delivery.count"), "1");
        assert_eq!(latest(client, &retries(&group, &topic), 0), 0);
        assert_eq!(metric(&broker, "klamm_retry_dead_letters_total{reason=\"expired\"}"), Some(4));
        // Dropped as by `kill -9`.
    }
    let broker = Broker::start_with(scratch.path(), &settings);
    let client = &mut broker.connect();
    produce(client, &topic, 0, &[Given::after(1, "end")]);
    Reader::new(&topic, 0).until(client, 2);
    assert_eq!(Reader::new(&own_dead, 0).rest(client).len(), 3);
}

#[test]
fn a_large_batch_that_comes_again_makes_nothing_new_though_the_group_went_back() {
    let scratch = scratch();
    let (topic, group) = (name("large-again"), group("g"));
    let large = "x".repeat(300_000);
    let broker = Broker::start_with(scratch.path(), &["shards=2"]);
    let client = &mut broker.connect();
    create(client, &topic, 1);
    for n in 0..20 {
        produce(client, &topic, 0, &[Given::live(format!("{n}{large}"))]);
    }
    commit(client, &group, &topic, 0, 20);
    let nacks: Vec<_> =
        (0..20).map(|offset| nack(&group, offset).with("klamm.nack.delay", 1)).collect();
    let signature = Signature { producer_id: 5_000, base_sequence: 0 };
    let signed = || batch(Codec::None, Some(signature), &nacks);
    let first = produce_raw(client, &topic, 0, -1, signed());
    assert_eq!(first.error_code, 0, "{first:?}");
    commit(client, &group, &topic, 0, 0);
    let again = produce_raw(client, &topic, 0, -1, signed());
    assert_eq!((again.error_code, again.base_offset), (0, first.base_offset));
    let mut retried = Reader::new(&retries(&group, &topic), 0);
    retried.until(client, 20);
    // What comes behind all of them.
    let end = produce(client, &topic, 0, &[Given::live("end")]);
    produce(client, &topic, 0, &[nack(&group, end).with("klamm.nack.delay", 100)]);
    retried.until(client, 21);
    assert_eq!(retried.seen[20].value, "end");
}

#[test]
fn what_expired_and_can_not_be_buried_waits_behind_the_others() {
    let scratch = scratch();
    let topic = name("unburied");
    // There is no room for a dead-letter topic.
    let settings = ["delay.expired.policy=deadletter", "max.partitions=1"];
    let broker = Broker::start_with(scratch.path(), &settings);
    let client = &mut broker.connect();
    create(client, &topic, 1);
    let due_ms = now_ms() + 200;
    let late = Given::at(due_ms, "late").with("klamm.expires.at", due_ms);
    produce(client, &topic, 0, &[late, Given::at(due_ms + 1, "good")]);
    let mut reader = Reader::new(&topic, 0);
    reader.until(client, 1);
    assert_eq!(reader.values(), ["good"]);
    let pending =
        format!("klamm_delay_pending_records{{topic=\"{}\",partition=\"0\"}}", topic.as_str());
    assert_eq!(metric(&broker, &pending), Some(1), "it waits for its dead letter");
}
