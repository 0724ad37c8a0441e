use proptest::prelude::*;

use super::filter::{Filter, HeaderIs};
use super::*;
use crate::wire::batch::{BatchHeader, HEADER_BYTES};
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;
use crate::wire::records::{Header, Records};

const NOW_MS: i64 = 1_000;

fn plan() -> Plan {
    Plan {
        source: TopicRef { name: "dlq.g.orders".into(), id: Uuid::from_u128(1) },
        target: Target::Retry,
        filter: Filter::default(),
        rate: 0,
        dry_run: false,
        redrive_limit: REDRIVE_LIMIT,
        again: false,
    }
}

fn job() -> Job {
    Job::new(Uuid::from_u128(9), plan(), [(0, 5, 10), (1, 0, 0), (2, 0, 3)], "ann", NOW_MS)
}

/// Hands one record with these headers to a judge.
fn with_record<T>(
    key: Option<&str>,
    headers: &[(&str, &str)],
    judge: impl FnOnce(&Record<'_>) -> T,
) -> T {
    let mut builder = BatchBuilder::new(Codec::None, None);
    let headers: Vec<_> = headers
        .iter()
        .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) })
        .collect();
    builder.push(NOW_MS, key.map(str::as_bytes), Some(b"value"), headers.into_iter());
    let batch = builder.build().unwrap();
    assert!(BatchHeader::parse(&batch).is_ok());
    let record = Records::new(&batch[HEADER_BYTES..], 1).next().unwrap().unwrap();
    judge(&record)
}

fn judged(plan: &Plan, offset: i64, headers: &[(&str, &str)]) -> Verdict {
    with_record(Some("k1"), headers, |record| plan.judge(offset, NOW_MS, record, false))
}

#[test]
fn a_job_goes_from_partition_to_partition_up_to_its_ends() {
    let mut job = job();
    let at = |job: &Job| job.next().map(|progress| (progress.partition, progress.position));
    assert_eq!(at(&job), Some((0, 5)));
    let counts = Counts { copied: 3, known: 1, filtered: 1, parked: 1, redriven: 1 };
    job.advance(0, 10, counts);
    assert_eq!(at(&job), Some((2, 0)), "an empty partition is passed");
    job.advance(2, 2, Counts { copied: 2, ..Counts::default() });
    job.advance(2, 3, Counts::default());
    assert_eq!(at(&job), None);
    assert_eq!(job.counts(), Counts { copied: 5, ..counts });
}

#[test]
fn commands_move_a_job_until_it_is_over() {
    let mut job = job();
    job.command(Command::Resume, "ann", 2).unwrap();
    assert_eq!(job.events.len(), 1, "it ran already");
    job.command(Command::Pause, "ann", 3).unwrap();
    assert_eq!(job.state, State::Paused);
    job.command(Command::Resume, "bob", 4).unwrap();
    job.command(Command::Cancel, "bob", 5).unwrap();
    job.command(Command::Cancel, "bob", 6).unwrap();
    for command in [Command::Pause, Command::Resume] {
        assert_eq!(job.command(command, "bob", 7), Err(Over(State::Cancelled)));
    }
    job.fail("too late", 8);
    job.finish(9);
    assert_eq!(job.state, State::Cancelled);
    let events: Vec<_> = job.events.iter().map(|e| (e.at_ms, &*e.by, &*e.what)).collect();
    let expected = [
        (NOW_MS, "ann", "started"),
        (3, "ann", "paused"),
        (4, "bob", "running"),
        (5, "bob", "cancelled"),
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_long_audit_keeps_its_beginning_and_its_end() {
    let mut job = job();
    for at_ms in 0..500 {
        let command = if at_ms % 2 == 0 { Command::Pause } else { Command::Resume };
        job.command(command, "ann", at_ms).unwrap();
    }
    assert_eq!(job.events.len(), MOST_EVENTS);
    assert_eq!(job.started_ms(), NOW_MS);
    assert_eq!(job.events.last().unwrap().at_ms, 499);
}

#[test]
fn a_destination_is_new_once() {
    let mut job = job();
    let topic = TopicRef { name: "retry.g.orders".into(), id: Uuid::from_u128(2) };
    assert!(job.heads_for(&topic));
    assert!(!job.heads_for(&topic));
    let again = TopicRef { id: Uuid::from_u128(3), ..topic };
    assert!(job.heads_for(&again), "another topic under the old name");
}

#[test]
fn what_was_redriven_too_often_is_parked() {
    let plan = plan();
    let count = |count: &'static str| [("__dlq.errors.redrive.count", count)];
    assert_eq!(judged(&plan, 0, &[]), Verdict::Copy);
    assert_eq!(judged(&plan, 0, &count("2")), Verdict::Copy);
    assert_eq!(judged(&plan, 0, &count("3")), Verdict::Parked);
    assert_eq!(judged(&plan, 0, &count("many")), Verdict::Copy);
    let patient = Plan { redrive_limit: 10, ..plan };
    assert_eq!(judged(&patient, 0, &count("3")), Verdict::Copy);
}

#[test]
fn a_letter_without_its_record_is_parked() {
    let mut builder = BatchBuilder::new(Codec::None, None);
    let story = Header { key: b"__dlq.errors.reason", value: Some(b"source-gone") };
    let own = Header { key: b"trace", value: None };
    builder.push(NOW_MS, None, None, [story].into_iter());
    builder.push(NOW_MS, None, None, [story, own].into_iter());
    builder.push(NOW_MS, Some(b"k"), None, [story].into_iter());
    let batch = builder.build().unwrap();
    let records = Records::new(&batch[HEADER_BYTES..], 3);
    let verdicts = records.map(|record| plan().judge(0, NOW_MS, &record.unwrap(), false));
    assert_eq!(verdicts.collect::<Vec<_>>(), [Verdict::Parked, Verdict::Copy, Verdict::Copy]);
}

#[test]
fn what_an_earlier_job_put_back_is_passed_over_unless_it_is_meant_again() {
    let judged = |again: bool, headers: &[(&str, &str)]| {
        let plan = Plan { again, ..plan() };
        with_record(None, headers, |record| plan.judge(0, NOW_MS, record, true))
    };
    assert_eq!(judged(false, &[]), Verdict::Redriven);
    assert_eq!(judged(true, &[]), Verdict::Copy);
    assert_eq!(judged(true, &[("__dlq.errors.redrive.count", "3")]), Verdict::Parked);
}

#[test]
fn every_condition_of_a_filter_must_hold() {
    let headers = [
        ("tenant", "a"),
        ("tenant", "b"),
        ("__dlq.errors.reason", "delivery-limit"),
        ("__dlq.errors.group", "billing"),
    ];
    let header = |name: &str, value: Option<&str>| {
        let value = value.map(str::to_owned);
        Filter { headers: vec![HeaderIs { name: name.into(), value }], ..Filter::default() }
    };
    let text = |text: &str| Some(text.to_owned());
    let any = Filter::default();
    for (filter, meant) in [
        (any.clone(), true),
        (header("tenant", Some("a")), true),
        (header("tenant", Some("b")), true),
        (header("tenant", None), true),
        (header("tenant", Some("c")), false),
        (header("owner", None), false),
        (Filter { key: text("k1"), ..any.clone() }, true),
        (Filter { key: text("k2"), ..any.clone() }, false),
        (Filter { group: text("billing"), ..any.clone() }, true),
        (Filter { group: text("mail"), ..any.clone() }, false),
        (Filter { reasons: vec!["expired".into(), "delivery-limit".into()], ..any.clone() }, true),
        (Filter { reasons: vec!["expired".into()], ..any.clone() }, false),
        (Filter { since_ms: Some(NOW_MS), ..any.clone() }, true),
        (Filter { since_ms: Some(NOW_MS + 1), ..any.clone() }, false),
        (Filter { until_ms: Some(NOW_MS), ..any.clone() }, false),
        (Filter { from_offset: Some(7), to_offset: Some(8), ..any.clone() }, true),
        (Filter { from_offset: Some(8), ..any.clone() }, false),
        (Filter { to_offset: Some(7), ..any.clone() }, false),
        (Filter { key: text("k2"), ..header("tenant", None) }, false),
    ] {
        let expected = if meant { Verdict::Copy } else { Verdict::Filtered };
        let plan = Plan { filter, ..plan() };
        assert_eq!(judged(&plan, 7, &headers), expected, "{:?}", plan.filter);
    }
}

#[test]
fn a_filter_by_place_shortens_the_way() {
    let filter = Filter {
        partition: Some(1),
        from_offset: Some(3),
        to_offset: Some(8),
        ..Filter::default()
    };
    assert_eq!(filter.stretch(0, 0, 10), None);
    assert_eq!(filter.stretch(1, 0, 10), Some((3, 8)));
    assert_eq!(filter.stretch(1, 5, 7), Some((5, 7)));
    assert_eq!(filter.stretch(1, 9, 12), Some((9, 9)), "nothing is left");
}

#[test]
fn provenance_is_read_as_far_as_it_makes_sense() {
    let headers = [
        ("__dlq.errors.topic", "orders"),
        ("__dlq.errors.partition", "3"),
        ("__dlq.errors.offset", "x"),
        ("__dlq.errors.offset", "42"),
        ("__dlq.errors.delivery.count", "-1"),
        ("__dlq.errors.unheard.of", "y"),
        ("topic", "other"),
    ];
    let expected = Provenance {
        topic: Some("orders"),
        partition: Some(3),
        offset: Some(42),
        ..Provenance::default()
    };
    with_record(None, &headers, |record| {
        assert_eq!(Provenance::of(record.headers.iter()), expected);
    });
}

#[test]
fn a_newer_version_is_refused() {
    let text = String::from_utf8(codec::encode(&job())).unwrap();
    let newer = text.replace("\"version\":1", "\"version\":2");
    assert!(matches!(codec::decode(newer.as_bytes()), Err(codec::Unreadable::Newer(2))));
    assert!(matches!(codec::decode(b"{}"), Err(codec::Unreadable::Json(_))));
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let header =
        (".{0,9}", prop::option::of(".{0,9}")).prop_map(|(name, value)| HeaderIs { name, value });
    (
        prop::collection::vec(header, 0..3),
        prop::option::of(".{0,9}"),
        prop::collection::vec("[a-z-]{1,9}", 0..3),
        any::<(Option<i64>, Option<i64>, Option<i32>, Option<i64>)>(),
    )
        .prop_map(|(headers, key, reasons, (since_ms, until_ms, partition, from_offset))| {
            Filter {
                headers,
                key,
                reasons,
                since_ms,
                until_ms,
                partition,
                from_offset,
                ..Filter::default()
            }
        })
}

fn any_state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Running),
        Just(State::Paused),
        Just(State::Cancelled),
        Just(State::Done),
        ".{0,30}".prop_map(State::Failed),
    ]
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![Just(Target::Retry), Just(Target::Origin), "[a-z.]{1,20}".prop_map(Target::Topic),]
}

proptest! {
    #[test]
    fn a_job_is_read_back_as_it_was_written(
        (id, topic_id, rate, dry_run, forgotten) in any::<(u128, u128, u32, bool, bool)>(),
        (filter, state, target) in (any_filter(), any_state(), any_target()),
        places in prop::collection::vec(any::<(i32, i64, i64, u64, u64)>(), 0..5),
        by in ".{0,20}",
    ) {
        let topic = TopicRef { name: "t".into(), id: Uuid::from_u128(topic_id) };
        let plan = Plan { filter, target, rate, dry_run, ..plan() };
        let mut job = Job::new(Uuid::from_u128(id), plan, [], &by, NOW_MS);
        job.heads_for(&topic);
        job.state = state;
        job.forgotten = forgotten;
        job.progress = places
            .into_iter()
            .map(|(partition, position, end, copied, filtered)| Progress {
                partition,
                position,
                end,
                counts: Counts { copied, filtered, ..Counts::default() },
            })
            .collect();
        prop_assert_eq!(codec::decode(&codec::encode(&job)).unwrap(), job);
    }

    #[test]
    fn any_bytes_are_a_job_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = codec::decode(&bytes);
    }

    #[test]
    fn positions_never_go_back(moves in prop::collection::vec((0..3_i32, 0..20_i64), 0..30)) {
        let mut job = job();
        for (partition, position) in moves {
            let before = job.progress.clone();
            job.advance(partition, position, Counts::default());
            let rises = before.iter().zip(&job.progress).all(|(a, b)| a.position <= b.position);
            prop_assert!(rises);
        }
    }
}
