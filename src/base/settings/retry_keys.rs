//! The rows of retries and dead letters. A group has each key for itself; the broker's key of the
//! same name is what groups without one go by, and may be altered while the broker runs.

use super::delay_keys::LONGEST_MAX_MS;
use super::spec::{Spec, same};

const MAX_ATTEMPTS: Spec = Spec::int(
    "retry.max.attempts",
    0,
    "16",
    "How often a record that a group failed on is delivered to it again before it becomes a dead \
     letter. A record's own `klamm.retry.max` or `klamm.retry.schedule` wins.",
);
const INITIAL: Spec = Spec::long(
    "retry.backoff.initial.ms",
    0,
    "10000",
    "Milliseconds before the first retry of a record.",
)
.at_most(LONGEST_MAX_MS);
const MULTIPLIER: Spec = Spec::double(
    "retry.backoff.multiplier",
    1.0,
    "2",
    "What the wait grows by from one retry of a record to the next.",
);
const MAX: Spec = Spec::long(
    "retry.backoff.max.ms",
    0,
    "7200000",
    "Longest wait between two retries of a record, in milliseconds.",
)
.at_most(LONGEST_MAX_MS);
const JITTER: Spec = Spec::ratio(
    "retry.backoff.jitter",
    "0.1",
    "Share by which a wait is lengthened or shortened at random, so that records which failed \
     together do not all come back together.",
);
const TOPIC: Spec = Spec::topic_name(
    "errors.deadletterqueue.topic.name",
    "",
    "The topic that gets dead letters; empty is `dlq.<group>.<topic>`, which is made when it is \
     needed.",
);
const COPY: Spec = Spec::boolean(
    "errors.deadletterqueue.copy.record.enable",
    "true",
    "Whether a dead letter has the key and the value of the record that failed, or only tells of \
     it.",
);

/// Of the broker.
pub(super) const RETRY_KEYS: &[Spec] = &[
    COPY.dynamic(),
    TOPIC.dynamic(),
    INITIAL.dynamic(),
    JITTER.dynamic(),
    MAX.dynamic(),
    MULTIPLIER.dynamic(),
    MAX_ATTEMPTS.dynamic(),
];

/// Of a group, in alphabetical order; part of the table in `group_keys`.
pub(super) const GROUP_COPY: Spec = COPY.from(&[same("errors.deadletterqueue.copy.record.enable")]);
pub(super) const GROUP_TOPIC: Spec = TOPIC.from(&[same("errors.deadletterqueue.topic.name")]);
pub(super) const GROUP_INITIAL: Spec = INITIAL.from(&[same("retry.backoff.initial.ms")]);
pub(super) const GROUP_JITTER: Spec = JITTER.from(&[same("retry.backoff.jitter")]);
pub(super) const GROUP_MAX: Spec = MAX.from(&[same("retry.backoff.max.ms")]);
pub(super) const GROUP_MULTIPLIER: Spec = MULTIPLIER.from(&[same("retry.backoff.multiplier")]);
pub(super) const GROUP_MAX_ATTEMPTS: Spec = MAX_ATTEMPTS.from(&[same("retry.max.attempts")]);
