//! Delayed delivery as clients see it: the real binary, real sockets, real ends of processes.
//!
//! Nothing here sleeps: a reader waits in its fetch for what is to come.

mod kit;
mod seen;
#[path = "../support/mod.rs"]
mod support;

use kafka_protocol::messages::TopicName;
use kit::{
    Given, Reader, Signature, batch, latest, now_ms, produce, produce_raw, produce_response,
};
use klamm::wire::compression::Codec;
use support::broker::Broker;
use support::client::Client;
use support::topics::{create, create_with, name};

/// A delay within which a broker can be killed and started again on a busy machine.
const LONG_MS: i64 = 4_000;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

#[test]
fn a_delayed_record_arrives_once_when_due_and_says_what_it_was() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let topic = name("due");
    create(client, &topic, 1);
    let due_ms = now_ms() + 300;
    let given = Given::at(due_ms, "later").with("trace", "t-1");
    let ticket = produce(client, &topic, 0, &[given]);
    assert_eq!(latest(client, &topic, 0), 0, "nothing is visible yet");
    let live = produce(client, &topic, 0, &[Given::live("now")]);
    assert!(live > ticket, "a ticket is an offset of its own");

    let mut reader = Reader::new(&topic, 0);
    reader.until(client, 2);
    assert_eq!(reader.values(), ["now", "later"]);
    let delivered = &reader.seen[1];
    assert!(delivered.seen_ms >= due_ms && delivered.timestamp_ms >= due_ms, "{delivered:?}");
    assert_eq!(delivered.header("trace"), Some("t-1"));
    assert_eq!(delivered.header("klamm.due"), Some(due_ms.to_string().as_str()));
    assert_eq!(delivered.header("klamm.ticket"), Some(format!("0:{ticket}").as_str()));
    assert_eq!(delivered.header("klamm.deliver.at"), None);
    assert_eq!(latest(client, &topic, 0), delivered.offset + 1);
}

#[test]
fn what_is_pending_survives_kill_and_restart() {
    let scratch = scratch();
    let (topic, first, due_ms) = {
        let broker = Broker::start(scratch.path());
        let client = &mut broker.connect();
        let topic = name("survives");
        create(client, &topic, 1);
        let due_ms = now_ms() + LONG_MS;
        let given: Vec<_> = (0..50).map(|n| Given::at(due_ms + n, format!("v{n}"))).collect();
        let first = produce(client, &topic, 0, &given);
        (topic, first, due_ms)
        // Dropped as by `kill -9`.
    };
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    assert_eq!(produce(client, &topic, 0, &[Given::live("live")]), first + 50);
    let mut reader = Reader::new(&topic, 0);
    reader.until(client, 51);
    let expected: Vec<_> = (0..50).map(|n| format!("v{n}")).collect();
    let delayed: Vec<_> = reader.seen.iter().filter(|seen| seen.value != "live").collect();
    assert_eq!(
        delayed.iter().map(|seen| &seen.value).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    for (n, seen) in (0..).zip(&delayed) {
        assert!(seen.seen_ms >= due_ms + n, "early: {seen:?}");
    }
}

#[test]
fn what_was_delivered_is_not_delivered_again_after_a_kill() {
    let scratch = scratch();
    let topic = name("once");
    let (given, total) = (40, 80);
    {
        let broker = Broker::start(scratch.path());
        let client = &mut broker.connect();
        create(client, &topic, 1);
        let soon: Vec<_> = (0..given).map(|n| Given::after(n, format!("soon{n}"))).collect();
        produce(client, &topic, 0, &soon);
        let late: Vec<_> = (0..given).map(|n| Given::after(LONG_MS, format!("late{n}"))).collect();
        produce(client, &topic, 0, &late);
        Reader::new(&topic, 0).until(client, given);
    }
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let mut reader = Reader::new(&topic, 0);
    reader.until(client, total);
    reader.rest(client);
    let mut values = reader.values();
    values.sort_unstable();
    values.dedup();
    assert_eq!((values.len(), reader.seen.len()), (total, total));
}

#[test]
fn a_mixed_batch_keeps_the_offsets_of_its_live_records() {
    for codec in [Codec::None, Codec::Zstd] {
        let scratch = scratch();
        let broker = Broker::start(scratch.path());
        let client = &mut broker.connect();
        let topic = name("mixed");
        create(client, &topic, 1);
        let given = [
            Given::after(100, "d0"),
            Given::live("l1"),
            Given::after(50, "d2"),
            Given::live("l3"),
            Given::after(10, "d4"),
        ];
        let answer = produce_raw(client, &topic, 0, -1, batch(codec, None, &given));
        assert_eq!(answer.error_code, 0, "{answer:?}");
        let next = produce(client, &topic, 0, &[Given::live("next")]);
        assert!(next >= answer.base_offset + 5, "no offset is given twice");
        let mut reader = Reader::new(&topic, 0);
        reader.until(client, 6);
        let live: Vec<_> = reader
            .seen
            .iter()
            .filter(|seen| seen.header("klamm.ticket").is_none())
            .map(|seen| (seen.value.as_str(), seen.offset - answer.base_offset))
            .collect();
        assert_eq!(live[..2], [("l1", 1), ("l3", 3)], "{codec:?}");
        let delayed: Vec<_> = reader
            .seen
            .iter()
            .filter(|seen| seen.header("klamm.ticket").is_some())
            .map(|seen| seen.value.as_str())
            .collect();
        assert_eq!(delayed, ["d4", "d2", "d0"], "{codec:?}");
    }
}

#[test]
fn a_retry_of_a_delayed_batch_gets_its_first_offsets_and_makes_nothing() {
    let scratch = scratch();
    let topic = name("retry");
    let given = [Given::after(200, "a"), Given::live("b"), Given::after(LONG_MS, "c")];
    let signed = |base_sequence| {
        batch(Codec::None, Some(Signature { producer_id: 4_711, base_sequence }), &given)
    };
    let first = {
        let broker = Broker::start(scratch.path());
        let client = &mut broker.connect();
        create(client, &topic, 1);
        let first = produce_raw(client, &topic, 0, -1, signed(0));
        let again = produce_raw(client, &topic, 0, -1, signed(0));
        assert_eq!((first.error_code, again.error_code), (0, 0), "{first:?} {again:?}");
        assert_eq!(again.base_offset, first.base_offset);
        assert_eq!(again.log_append_time_ms, first.log_append_time_ms);
        let mut reader = Reader::new(&topic, 0);
        reader.until(client, 2);
        // What it held is released: still the same batch.
        let late = produce_raw(client, &topic, 0, -1, signed(0));
        assert_eq!((late.error_code, late.base_offset), (0, first.base_offset));
        let gap = produce_raw(client, &topic, 0, -1, signed(7));
        assert_ne!(gap.error_code, 0, "sequences count across log and journal");
        first
    };
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let again = produce_raw(client, &topic, 0, -1, signed(0));
    assert_eq!((again.error_code, again.base_offset), (0, first.base_offset));
    let next = produce_raw(client, &topic, 0, -1, signed(3));
    assert_eq!(next.error_code, 0, "{next:?}");
    let mut reader = Reader::new(&topic, 0);
    reader.until(client, 6);
    reader.rest(client);
    assert_eq!(reader.seen.len(), 6, "{:?}", reader.values());
}

/// Settings with which journals roll after a few hundred records of a kilobyte. No checkpoint comes
/// by: what is to be done with runs is done without a wake-up for something else.
const SMALL_SEGMENTS: &[&str] =
    &["delay.journal.segment.bytes=1048576", "log.flush.offset.checkpoint.interval.ms=3600000"];

/// Produces `count` records of a kilobyte, whose values begin with their numbers.
fn produce_numbered(
    client: &mut Client,
    topic: &TopicName,
    count: i64,
    given: impl Fn(i64, String) -> Given,
) {
    let value = "x".repeat(1_000);
    for first in (0..count).step_by(100) {
        let batch = (first..first + 100).map(|n| given(n, format!("{n} {value}")));
        produce(client, topic, 0, &batch.collect::<Vec<_>>());
    }
}

/// Run files of a partition that there are now.
fn runs(scratch: &std::path::Path, topic: &str) -> usize {
    let dir = scratch.join(format!("data/{topic}-0/delay/runs"));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "run")).count()
}

/// Asks the broker for something until a condition holds, which that does not hasten.
fn until(client: &mut Client, topic: &TopicName, what: &str, is_so: impl Fn() -> bool) {
    let deadline_ms = now_ms() + 60_000;
    while !is_so() {
        assert!(now_ms() < deadline_ms, "not within a minute: {what}");
        latest(client, topic, 0);
    }
}

#[test]
fn what_is_in_runs_is_delivered_in_order_once_and_can_be_cancelled() {
    let scratch = scratch();
    let topic = name("runs");
    let count = 3_000;
    {
        let broker = Broker::start_with(scratch.path(), SMALL_SEGMENTS);
        let client = &mut broker.connect();
        create(client, &topic, 1);
        produce_numbered(client, &topic, count, |n, value| {
            // The later produced, the earlier due.
            let given = Given::after(2 * LONG_MS + count - n, value);
            if n % 500 == 0 { given.with("klamm.delay.id", n) } else { given }
        });
        until(client, &topic, "runs", || runs(scratch.path(), &topic) > 1);
        let cancel = Given::live("").with("klamm.delay.cancel", 500);
        produce(client, &topic, 0, &[cancel.with("klamm.delay.cancel.strict", true)]);
    }
    let broker = Broker::start_with(scratch.path(), SMALL_SEGMENTS);
    let client = &mut broker.connect();
    let cancel = Given::live("").with("klamm.delay.cancel", 1_000);
    produce(client, &topic, 0, &[cancel.with("klamm.delay.cancel.strict", true)]);
    let mut reader = Reader::new(&topic, 0);
    reader.until(client, usize::try_from(count).expect("positive") - 2);
    reader.rest(client);
    let number = |seen: &kit::Seen| seen.value.split(' ').next().map(|n| n.parse::<i64>().ok());
    let seen: Vec<i64> =
        reader.seen.iter().map(|s| number(s).flatten().expect("a number")).collect();
    assert_eq!(seen.len(), usize::try_from(count).expect("positive") - 2);
    assert!(!seen.contains(&500) && !seen.contains(&1_000), "cancelled");
    let due = |seen: &kit::Seen| seen.header("klamm.due").map(|due| due.parse::<i64>().ok());
    assert!(reader.seen.is_sorted_by_key(|seen| due(seen).flatten()), "in the order of due times");
    assert!(reader.seen.iter().all(|seen| due(seen).flatten() <= Some(seen.seen_ms)), "not early");
    until(client, &topic, "all runs are passed", || runs(scratch.path(), &topic) == 0);
}

#[test]
fn a_damaged_block_of_a_run_costs_no_more_than_its_records() {
    let scratch = scratch();
    let topic = name("damaged");
    let count = 3_000;
    {
        let broker = Broker::start_with(scratch.path(), SMALL_SEGMENTS);
        let client = &mut broker.connect();
        create(client, &topic, 1);
        // Every run reaches over all due times.
        let after = |n: i64| 2 * LONG_MS + n * 7_919 % count;
        produce_numbered(client, &topic, count, |n, value| Given::after(after(n), value));
        until(client, &topic, "runs", || runs(scratch.path(), &topic) > 1);
    }
    let dir = scratch.path().join(format!("data/{}-0/delay/runs", topic.as_str()));
    let path = dir.join("0000000000-00000.run");
    let mut bytes = std::fs::read(&path).expect("the first run");
    // Where none is due before the broker is back.
    let at = bytes.len() * 9 / 10;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("written");

    let broker = Broker::start_with(scratch.path(), SMALL_SEGMENTS);
    let client = &mut broker.connect();
    let mut reader = Reader::new(&topic, 0);
    let count = usize::try_from(count).expect("positive");
    // A block has 64 KiB.
    reader.until(client, count - 64);
    until(client, &topic, "all runs are passed", || runs(scratch.path(), &topic) == 0);
    reader.rest(client);
    let mut values = reader.values();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), reader.seen.len(), "nothing twice");
    assert!((count - 64..count - 40).contains(&values.len()), "{} came", values.len());
}

#[test]
fn a_cancel_in_another_partition_finds_what_waits() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let topic = name("moved");
    create(client, &topic, 2);
    let due_ms = now_ms() + LONG_MS;
    let by_id = Given::at(due_ms, "by id").with("klamm.delay.id", "order-1");
    let ticket = produce(client, &topic, 0, &[by_id, Given::at(due_ms, "by ticket")]) + 1;
    let replaced = Given::at(due_ms, "old").with("klamm.delay.id", "order-2");
    produce(client, &topic, 0, &[replaced, Given::at(due_ms + 200, "last")]);
    let cancel = |target: String| Given::live("").with("klamm.delay.cancel", target);
    let replace = Given::at(due_ms, "new").with("klamm.delay.id", "order-2");
    let commands = [
        cancel("order-1".to_owned()),
        cancel(format!("@0:{ticket}")),
        replace.with("klamm.delay.replace", true),
    ];
    produce(client, &topic, 1, &commands);
    let mut first = Reader::new(&topic, 0);
    first.until(client, 1);
    assert_eq!(first.values(), ["last"], "the others were cancelled");
    let mut second = Reader::new(&topic, 1);
    second.until(client, 1);
    assert_eq!(second.values(), ["new"]);
}

#[test]
fn a_strict_cancel_looks_into_all_partitions_and_is_done_when_it_is_acknowledged() {
    let scratch = scratch();
    let topic = name("strict");
    let strict = |target: &str| {
        let cancel = Given::live("").with("klamm.delay.cancel", target);
        cancel.with("klamm.delay.cancel.strict", true)
    };
    {
        let broker = Broker::start(scratch.path());
        let client = &mut broker.connect();
        create(client, &topic, 3);
        let due_ms = now_ms() + LONG_MS;
        let given = ["by id", "by ticket", "last"].map(|value| {
            let given = Given::at(due_ms, value);
            if value == "by id" { given.with("klamm.delay.id", "order-1") } else { given }
        });
        let first = produce(client, &topic, 0, &given);
        for nowhere in ["order-2", "@0:99", "@2:0", "@7:0"] {
            let batch = batch(Codec::None, None, &[strict(nowhere)]);
            let answer = produce_raw(client, &topic, 1, -1, batch);
            assert_eq!(answer.error_code, 87, "INVALID_RECORD: {nowhere} {answer:?}");
        }
        produce(client, &topic, 1, &[strict("order-1"), strict(&format!("@0:{}", first + 1))]);
        // Dropped as by `kill -9`.
    }
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let mut reader = Reader::new(&topic, 0);
    reader.until(client, 1);
    assert_eq!(reader.values(), ["last"]);
}

#[test]
fn a_cancel_that_is_sent_again_asks_the_other_partitions_again() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let topic = name("again");
    create(client, &topic, 2);
    let replace = Given::after("1h", "new").with("klamm.delay.id", "b");
    let commands = [
        Given::live("").with("klamm.delay.cancel", "a"),
        replace.with("klamm.delay.replace", true),
    ];
    let send = |client: &mut Client| {
        let signature = Signature { producer_id: 4_712, base_sequence: 0 };
        let batch = batch(Codec::None, Some(signature), &commands);
        let answer = produce_raw(client, &topic, 1, -1, batch);
        assert_eq!(answer.error_code, 0, "{answer:?}");
    };
    send(client);
    // As if a crash had come before the other partition heard of it.
    let due_ms = now_ms() + 500;
    let waiting = ["a", "b"].map(|id| Given::at(due_ms, id).with("klamm.delay.id", id));
    produce(client, &topic, 0, &waiting);
    send(client);
    produce(client, &topic, 0, &[Given::at(due_ms + 1, "last")]);
    let mut reader = Reader::new(&topic, 0);
    reader.until(client, 1);
    assert_eq!(reader.values(), ["last"]);
}

#[test]
fn a_topic_pays_no_more_than_its_caps_allow_and_is_released_at_its_rate() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let topic = name("limits");
    let configs =
        [("delay.max.pending.records", "100"), ("delay.release.max.records.per.second", "50")];
    create_with(client, &topic, 1, &configs);
    let due_ms = now_ms() + 1_000;
    let given: Vec<_> = (0..100).map(|n| Given::at(due_ms, format!("v{n}"))).collect();
    produce(client, &topic, 0, &given);
    let over = batch(Codec::None, None, &[Given::at(due_ms, "over")]);
    // The first producer has to pause.
    let answer = produce_raw(&mut broker.connect(), &topic, 0, -1, over);
    assert_eq!(answer.error_code, 44, "POLICY_VIOLATION: {answer:?}");
    let cancel = Given::live("").with("klamm.delay.cancel", "nobody");
    produce(&mut broker.connect(), &topic, 0, &[cancel]);
    let mut reader = Reader::new(&topic, 0);
    reader.until(client, 100);
    let last = reader.seen.last().expect("a hundred").seen_ms;
    assert!(last - due_ms >= 1_500, "100 records at 50 a second took {} ms", last - due_ms);
}

#[test]
fn near_a_cap_a_producer_is_told_to_wait_and_kept_waiting() {
    let scratch = scratch();
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let topic = name("near");
    create_with(client, &topic, 1, &[("delay.max.pending.records", "100")]);
    let given = |count: usize| batch(Codec::None, None, &vec![Given::after("1h", "v"); count]);
    let mut throttle_ms = |count| {
        let response = produce_response(client, &topic, 0, -1, given(count));
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0, "{response:?}");
        response.throttle_time_ms
    };
    assert_eq!(throttle_ms(90), 0);
    let sent_ms = now_ms();
    assert_eq!(throttle_ms(5), 500);
    assert_eq!(throttle_ms(1), 600);
    let kept_ms = now_ms() - sent_ms;
    assert!(kept_ms >= 500, "its next request was answered after {kept_ms} ms");
}
