//! The rows of consumer groups: broker keys of the group coordinator and of its offsets topic,
//! and the configs that a group may have of its own.
//!
//! Ranges are Kafka's; those that hold between keys are checked in `group`. Where Kafka takes a
//! negative session time-out or delay, which means nothing, the range here begins at zero.

use super::retry_keys;
use super::spec::{Spec, same};

/// Kafka takes these in any case; a value is kept as it was written.
pub(super) const MIGRATION_POLICIES: &[&str] = &[
    "bidirectional",
    "upgrade",
    "downgrade",
    "disabled",
    "BIDIRECTIONAL",
    "UPGRADE",
    "DOWNGRADE",
    "DISABLED",
];
pub(super) const ASSIGNORS: &[&str] = &["uniform", "range"];
pub(super) const PROTOCOLS: &[&str] = &["consumer", "classic", "share", "streams"];

pub(super) const COORDINATOR_KEYS: &[Spec] = &[
    Spec::int(
        "group.consumer.assignment.interval.ms",
        0,
        "1000",
        "Milliseconds between two new assignments of a consumer group.",
    )
    .dynamic(),
    Spec::list(
        "group.consumer.assignors",
        "uniform,range",
        "Assignors that consumer groups may use; the first is taken by members that name none.",
    )
    .entries_of(ASSIGNORS),
    Spec::int(
        "group.consumer.heartbeat.interval.ms",
        1,
        "5000",
        "Default of `consumer.heartbeat.interval.ms` for groups.",
    ),
    Spec::int(
        "group.consumer.max.assignment.interval.ms",
        0,
        "15000",
        "Largest `consumer.assignment.interval.ms` that a group may have.",
    ),
    Spec::int(
        "group.consumer.max.heartbeat.interval.ms",
        1,
        "15000",
        "Largest `consumer.heartbeat.interval.ms` that a group may have.",
    ),
    Spec::int(
        "group.consumer.max.session.timeout.ms",
        1,
        "60000",
        "Largest `consumer.session.timeout.ms` that a group may have.",
    ),
    Spec::int(
        "group.consumer.max.size",
        1,
        "2147483647",
        "Most members of a group of the consumer protocol.",
    ),
    Spec::words(
        "group.consumer.migration.policy",
        MIGRATION_POLICIES,
        "bidirectional",
        "Which way a group with members may change between the classic and the consumer \
         protocol.",
    ),
    Spec::int(
        "group.consumer.min.assignment.interval.ms",
        0,
        "0",
        "Smallest `consumer.assignment.interval.ms` that a group may have.",
    ),
    Spec::int(
        "group.consumer.min.heartbeat.interval.ms",
        1,
        "5000",
        "Smallest `consumer.heartbeat.interval.ms` that a group may have.",
    ),
    Spec::int(
        "group.consumer.min.session.timeout.ms",
        1,
        "45000",
        "Smallest `consumer.session.timeout.ms` that a group may have.",
    ),
    Spec::int(
        "group.consumer.regex.refresh.interval.ms",
        10_000,
        "600000",
        "Milliseconds after which the topics that a pattern matches are looked up again.",
    )
    .low(),
    Spec::int(
        "group.consumer.session.timeout.ms",
        1,
        "45000",
        "Default of `consumer.session.timeout.ms` for groups.",
    ),
    Spec::list(
        "group.coordinator.rebalance.protocols",
        "classic,consumer",
        "Protocols that groups may use; `classic` can not be left out. `share` and `streams` \
         are taken for files written for Kafka and not served.",
    )
    .entries_of(PROTOCOLS),
    Spec::int(
        "group.initial.rebalance.delay.ms",
        0,
        "3000",
        "Milliseconds that an empty classic group waits for more members before its first \
         rebalance.",
    ),
    Spec::int(
        "group.max.session.timeout.ms",
        0,
        "1800000",
        "Largest session time-out that a member of a classic group may ask for.",
    ),
    Spec::int("group.max.size", 1, "2147483647", "Most members of a classic group."),
    Spec::int(
        "group.min.session.timeout.ms",
        0,
        "6000",
        "Smallest session time-out that a member of a classic group may ask for.",
    ),
    Spec::int(
        "offset.metadata.max.bytes",
        0,
        "4096",
        "Longest metadata string of a committed offset, in bytes.",
    )
    .high(),
    Spec::long(
        "offsets.retention.check.interval.ms",
        1,
        "600000",
        "Milliseconds between two looks for committed offsets that have expired.",
    )
    .high(),
    Spec::int(
        "offsets.retention.minutes",
        1,
        "10080",
        "Minutes for which committed offsets are kept once their group is empty or no longer \
         subscribed to the topic.",
    )
    .high(),
    Spec::int(
        "offsets.topic.compression.codec",
        0,
        "0",
        "Codec of batches of the offsets topic: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.",
    )
    .at_most(4)
    .high(),
    Spec::int(
        "offsets.topic.num.partitions",
        1,
        "50",
        "Partitions of the offsets topic, when it is created. A group's partition follows from \
         this number: it must not change afterwards.",
    )
    .high(),
    Spec::int(
        "offsets.topic.replication.factor",
        1,
        "1",
        "Replicas of the offsets topic. No effect: one broker holds one replica.",
    )
    .at_most(i16::MAX as i64)
    .high(),
    Spec::int(
        "offsets.topic.segment.bytes",
        1,
        "104857600",
        "Size at which a new segment of the offsets topic begins, in bytes.",
    )
    .high(),
];

pub(super) const GROUP_KEYS: &[Spec] = &[
    Spec::int(
        "consumer.assignment.interval.ms",
        0,
        "1000",
        "Milliseconds between two new assignments of the group.",
    )
    .from(&[same("group.consumer.assignment.interval.ms")]),
    Spec::int(
        "consumer.heartbeat.interval.ms",
        1,
        "5000",
        "Milliseconds between two heartbeats, as members of the group are told.",
    )
    .from(&[same("group.consumer.heartbeat.interval.ms")]),
    Spec::int(
        "consumer.session.timeout.ms",
        1,
        "45000",
        "Milliseconds without a heartbeat after which a member is taken out of the group.",
    )
    .from(&[same("group.consumer.session.timeout.ms")]),
    retry_keys::GROUP_COPY,
    retry_keys::GROUP_TOPIC,
    retry_keys::GROUP_INITIAL,
    retry_keys::GROUP_JITTER,
    retry_keys::GROUP_MAX,
    retry_keys::GROUP_MULTIPLIER,
    retry_keys::GROUP_MAX_ATTEMPTS,
];
