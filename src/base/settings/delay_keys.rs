//! The broker keys of delayed delivery: the topics' defaults, which may be altered while the broker
//! runs, and what is the broker's own and changes by a restart.
//!
//! `delay.release.max.*` is no default of topics: the broker's is a limit for all of them
//! together, a topic's for that topic.

use super::spec::Spec;

/// `deadletter` comes with dead-letter topics: until then nothing may seem to be kept.
pub(super) const EXPIRED_POLICIES: &[&str] = &["drop", "deadletter"];
pub(super) const UNKNOWN_HEADERS: &[&str] = &["reject", "ignore"];

/// 366 days, so that a year ahead always fits.
pub(super) const DEFAULT_MAX_MS: &str = "31622400000";
/// 10 years of 366 days.
pub(super) const LONGEST_MAX_MS: i64 = 3_660 * 86_400_000;

pub(super) const DELAY_KEYS: &[Spec] = &[
    Spec::long(
        "delay.clock.max.step.ms",
        0,
        "5000",
        "Largest step of the wall clock, in milliseconds, that delivery follows while the broker \
         runs. A larger one is reported and not followed until a restart.",
    ),
    Spec::boolean("delay.enable", "true", "Default of `delay.enable` for topics.").dynamic(),
    Spec::words(
        "delay.expired.policy",
        EXPIRED_POLICIES,
        "drop",
        "Default of `delay.expired.policy` for topics.",
    )
    .dynamic(),
    Spec::aliases("delay.header.aliases", "Default of `delay.header.aliases` for topics.")
        .dynamic(),
    Spec::int(
        "delay.journal.segment.bytes",
        1 << 20,
        "67108864",
        "Size at which a partition's journal of delayed records begins a new segment, in bytes. \
         A full segment is sorted by due time and written anew.",
    ),
    Spec::long(
        "delay.journal.window.bytes",
        1 << 20,
        "268435456",
        "Most bytes of memory for delayed records that are not yet sorted on disk, by all \
         partitions together. Half of it in use makes segments be sorted early; from nine tenths of \
         it on producers are throttled.",
    ),
    Spec::long("delay.max.ms", 1, DEFAULT_MAX_MS, "Default of `delay.max.ms` for topics.")
        .at_most(LONGEST_MAX_MS)
        .dynamic(),
    Spec::long(
        "delay.max.pending.bytes",
        0,
        "-1",
        "Default of `delay.max.pending.bytes` for topics.",
    )
    .or(-1)
    .dynamic(),
    Spec::long(
        "delay.max.pending.records",
        0,
        "-1",
        "Default of `delay.max.pending.records` for topics.",
    )
    .or(-1)
    .dynamic(),
    Spec::long(
        "delay.release.max.bytes.per.second",
        1,
        "-1",
        "Most bytes of delayed records delivered in a second, of all topics together; -1 is no \
         limit.",
    )
    .or(-1),
    Spec::long(
        "delay.release.max.records.per.second",
        1,
        "-1",
        "Most delayed records delivered in a second, of all topics together; -1 is no limit.",
    )
    .or(-1),
    Spec::words(
        "delay.unknown.headers",
        UNKNOWN_HEADERS,
        "reject",
        "Default of `delay.unknown.headers` for topics.",
    )
    .dynamic(),
];
