//! The broker keys that set topics' defaults (`log.*` and their kin), and those of the log's
//! own housekeeping. Each row that a topic key names as its synonym takes effect at once when
//! it is altered.

use super::spec::Spec;

pub(super) const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
pub(super) const COMPRESSION_TYPES: &[&str] =
    &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub(super) const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];

pub(super) const LOG_KEYS: &[Spec] = &[
    Spec::int("compression.gzip.level", 1, "-1", "Default of `compression.gzip.level` for topics.")
        .at_most(9)
        .or(-1)
        .dynamic(),
    Spec::int("compression.lz4.level", 1, "9", "Default of `compression.lz4.level` for topics.")
        .at_most(17)
        .dynamic(),
    Spec::words(
        "compression.type",
        COMPRESSION_TYPES,
        "producer",
        "Default of `compression.type` for topics.",
    )
    .high()
    .dynamic(),
    Spec::int(
        "compression.zstd.level",
        -131_072,
        "3",
        "Default of `compression.zstd.level` for topics.",
    )
    .at_most(22)
    .dynamic(),
    Spec::long(
        "log.cleaner.backoff.ms",
        0,
        "15000",
        "Milliseconds that a thread of compaction waits when no log needs it.",
    )
    .dynamic(),
    Spec::long(
        "log.cleaner.dedupe.buffer.size",
        1 << 20,
        "134217728",
        "Most bytes that compaction uses to remember keys, by all threads together; taken as \
         needed. What does not fit is left to the next round.",
    )
    .dynamic(),
    Spec::long(
        "log.cleaner.delete.retention.ms",
        0,
        "86400000",
        "Default of `delete.retention.ms` for topics.",
    )
    .dynamic(),
    Spec::boolean(
        "log.cleaner.enable",
        "true",
        "Compact the topics whose `cleanup.policy` says so.",
    ),
    Spec::ratio(
        "log.cleaner.io.buffer.load.factor",
        "0.9",
        "Share of `log.cleaner.dedupe.buffer.size` that may be in use.",
    )
    .dynamic(),
    Spec::double(
        "log.cleaner.io.max.bytes.per.second",
        1.0,
        "1.7976931348623157E308",
        "Most bytes that compaction reads and writes per second, by all threads together.",
    )
    .dynamic(),
    Spec::long(
        "log.cleaner.max.compaction.lag.ms",
        1,
        "9223372036854775807",
        "Default of `max.compaction.lag.ms` for topics.",
    )
    .dynamic(),
    Spec::ratio(
        "log.cleaner.min.cleanable.ratio",
        "0.5",
        "Default of `min.cleanable.dirty.ratio` for topics.",
    )
    .dynamic(),
    Spec::long(
        "log.cleaner.min.compaction.lag.ms",
        0,
        "0",
        "Default of `min.compaction.lag.ms` for topics.",
    )
    .dynamic(),
    Spec::int("log.cleaner.threads", 1, "1", "Threads that compact logs.").dynamic(),
    Spec::list("log.cleanup.policy", "delete", "Default of `cleanup.policy` for topics.")
        .entries_of(CLEANUP_POLICIES)
        .dynamic(),
    Spec::long(
        "log.flush.interval.messages",
        1,
        "9223372036854775807",
        "Default of `flush.messages` for topics.",
    )
    .high()
    .dynamic(),
    Spec::long("log.flush.interval.ms", 0, "", "Default of `flush.ms` for topics.")
        .unset()
        .high()
        .dynamic(),
    Spec::int(
        "log.flush.offset.checkpoint.interval.ms",
        1,
        "60000",
        "Milliseconds between two checkpoints of recovery points. A checkpoint also begins \
         when the commit log needs room.",
    )
    .high(),
    Spec::int(
        "log.index.interval.bytes",
        0,
        "4096",
        "Default of `index.interval.bytes` for topics.",
    )
    .dynamic(),
    Spec::int(
        "log.index.size.max.bytes",
        4,
        "10485760",
        "Default of `segment.index.bytes` for topics.",
    )
    .dynamic(),
    Spec::long(
        "log.local.retention.bytes",
        -2,
        "-2",
        "Default of `local.retention.bytes` for topics.",
    )
    .dynamic(),
    Spec::long("log.local.retention.ms", -2, "-2", "Default of `local.retention.ms` for topics.")
        .dynamic(),
    Spec::long(
        "log.message.timestamp.after.max.ms",
        0,
        "3600000",
        "Default of `message.timestamp.after.max.ms` for topics.",
    )
    .dynamic(),
    Spec::long(
        "log.message.timestamp.before.max.ms",
        0,
        "9223372036854775807",
        "Default of `message.timestamp.before.max.ms` for topics.",
    )
    .dynamic(),
    Spec::words(
        "log.message.timestamp.type",
        TIMESTAMP_TYPES,
        "CreateTime",
        "Default of `message.timestamp.type` for topics.",
    )
    .dynamic(),
    Spec::boolean("log.preallocate", "false", "Default of `preallocate` for topics.").dynamic(),
    Spec::long(
        "log.retention.bytes",
        i64::MIN,
        "-1",
        "Default of `retention.bytes` for topics: a limit for each partition, not for the \
         topic.",
    )
    .high()
    .dynamic(),
    Spec::long(
        "log.retention.check.interval.ms",
        1,
        "300000",
        "Milliseconds between two looks for segments that retention may delete.",
    ),
    Spec::int(
        "log.retention.hours",
        i32::MIN,
        "168",
        "Default of `retention.ms` in hours, where neither `log.retention.ms` nor \
         `log.retention.minutes` is set.",
    )
    .high(),
    Spec::int(
        "log.retention.minutes",
        i32::MIN,
        "",
        "Default of `retention.ms` in minutes, where `log.retention.ms` is not set.",
    )
    .unset()
    .high(),
    Spec::long("log.retention.ms", -1, "", "Default of `retention.ms` for topics; -1 is no limit.")
        .unset()
        .high()
        .dynamic(),
    Spec::int(
        "log.roll.hours",
        1,
        "168",
        "Default of `segment.ms` in hours, where `log.roll.ms` is not set.",
    )
    .high(),
    Spec::int(
        "log.roll.jitter.hours",
        0,
        "0",
        "Default of `segment.jitter.ms` in hours, where `log.roll.jitter.ms` is not set.",
    )
    .high(),
    Spec::long("log.roll.jitter.ms", 0, "", "Default of `segment.jitter.ms` for topics.")
        .unset()
        .high()
        .dynamic(),
    Spec::long("log.roll.ms", 1, "", "Default of `segment.ms` for topics.")
        .unset()
        .high()
        .dynamic(),
    Spec::int(
        "log.segment.bytes",
        1_048_576,
        "1073741824",
        "Default of `segment.bytes` for topics.",
    )
    .high()
    .dynamic(),
    Spec::long(
        "log.segment.delete.delay.ms",
        0,
        "60000",
        "Default of `file.delete.delay.ms` for topics.",
    )
    .high()
    .dynamic(),
    Spec::int("message.max.bytes", 0, "1048588", "Default of `max.message.bytes` for topics.")
        .high()
        .dynamic(),
    Spec::int("min.insync.replicas", 1, "1", "Default of `min.insync.replicas` for topics.")
        .high()
        .dynamic(),
    Spec::int(
        "producer.id.expiration.ms",
        1,
        "86400000",
        "Milliseconds after its last write for which an idempotent producer is remembered.",
    )
    .low()
    .dynamic(),
    Spec::boolean(
        "unclean.leader.election.enable",
        "false",
        "Default of `unclean.leader.election.enable` for topics.",
    )
    .high()
    .dynamic(),
];
