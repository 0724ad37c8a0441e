//! The topic keys of the settings table: every topic config of Kafka 4.3, and Klamm's own
//! (`delay.*`), in alphabetical order.
//!
//! Keys that have nothing to act on here (tiered storage, replication throttles, replicas) are
//! kept and described all the same: tools set and compare them.

use super::delay_keys::{DEFAULT_MAX_MS, EXPIRED_POLICIES, LONGEST_MAX_MS, UNKNOWN_HEADERS};
use super::log_keys::{CLEANUP_POLICIES, COMPRESSION_TYPES, TIMESTAMP_TYPES};
use super::spec::{Spec, same, times};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

pub(super) const TOPIC_KEYS: &[Spec] = &[
    Spec::list(
        "cleanup.policy",
        "delete",
        "What becomes of old segments: `delete` removes them by age and size, `compact` keeps \
         the newest record of each key, and both may be named; an empty list keeps all. With \
         `compact` records must have keys.",
    )
    .entries_of(CLEANUP_POLICIES)
    .from(&[same("log.cleanup.policy")]),
    Spec::int(
        "compression.gzip.level",
        1,
        "-1",
        "Level of gzip where the broker compresses; -1 is the codec's own default.",
    )
    .at_most(9)
    .or(-1)
    .from(&[same("compression.gzip.level")]),
    Spec::int(
        "compression.lz4.level",
        1,
        "9",
        "Level of lz4 where the broker compresses. No effect: the codec has one level here.",
    )
    .at_most(17)
    .from(&[same("compression.lz4.level")]),
    Spec::words(
        "compression.type",
        COMPRESSION_TYPES,
        "producer",
        "Codec of stored batches. `producer` keeps what the client chose; any other makes the \
         broker compress anew what arrives differently.",
    )
    .from(&[same("compression.type")]),
    Spec::int(
        "compression.zstd.level",
        -131_072,
        "3",
        "Level of zstd where the broker compresses.",
    )
    .at_most(22)
    .from(&[same("compression.zstd.level")]),
    Spec::boolean(
        "delay.enable",
        "true",
        "Whether records may ask for delayed delivery. With `false` a record that asks for it is \
         refused, compressed batches are stored without being opened, and what is pending is \
         still delivered.",
    )
    .from(&[same("delay.enable")]),
    Spec::words(
        "delay.expired.policy",
        EXPIRED_POLICIES,
        "drop",
        "What becomes of a delayed record that is not delivered by its `klamm.expires.at`: \
         `drop` drops and counts it, `deadletter` also makes it a dead letter of its group, if \
         it is a retry, or of its topic.",
    )
    .from(&[same("delay.expired.policy")]),
    Spec::aliases(
        "delay.header.aliases",
        "Names of other systems' headers that are read as Klamm's own, `foreign=klamm.name`, \
         such as `x-delay=klamm.delay`. Values are read as the header's own.",
    )
    .from(&[same("delay.header.aliases")]),
    Spec::long(
        "delay.max.ms",
        1,
        DEFAULT_MAX_MS,
        "How far ahead a record's delivery may be asked for, in milliseconds.",
    )
    .at_most(LONGEST_MAX_MS)
    .from(&[same("delay.max.ms")]),
    Spec::long(
        "delay.max.pending.bytes",
        0,
        "-1",
        "Most bytes of delayed records that may be pending in one partition; -1 is no limit but \
         the disk. From nine tenths of it on producers are throttled.",
    )
    .or(-1)
    .from(&[same("delay.max.pending.bytes")]),
    Spec::long(
        "delay.max.pending.records",
        0,
        "-1",
        "Most delayed records that may be pending in one partition; -1 is no limit but the disk. \
         From nine tenths of it on producers are throttled.",
    )
    .or(-1)
    .from(&[same("delay.max.pending.records")]),
    Spec::long(
        "delay.release.max.bytes.per.second",
        1,
        "-1",
        "Most bytes of delayed records delivered in a second, of the topic's partitions \
         together; -1 is no limit but the broker's.",
    )
    .or(-1),
    Spec::long(
        "delay.release.max.records.per.second",
        1,
        "-1",
        "Most delayed records delivered in a second, of the topic's partitions together; -1 is \
         no limit but the broker's.",
    )
    .or(-1),
    Spec::words(
        "delay.unknown.headers",
        UNKNOWN_HEADERS,
        "reject",
        "What becomes of a record with a header that begins with `klamm.` and is not known: \
         `reject` refuses it, since it may be a misspelt command, `ignore` stores it.",
    )
    .from(&[same("delay.unknown.headers")]),
    Spec::long(
        "delete.retention.ms",
        0,
        "86400000",
        "How long compaction keeps tombstones (records without value), in milliseconds.",
    )
    .from(&[same("log.cleaner.delete.retention.ms")]),
    Spec::long(
        "file.delete.delay.ms",
        0,
        "60000",
        "How long a removed segment's file stays on disk, in milliseconds.",
    )
    .from(&[same("log.segment.delete.delay.ms")]),
    Spec::long(
        "flush.messages",
        1,
        "9223372036854775807",
        "Records after which a log is synced. No effect: `durability` decides what is synced.",
    )
    .from(&[same("log.flush.interval.messages")]),
    Spec::long(
        "flush.ms",
        0,
        "9223372036854775807",
        "Milliseconds after which a log is synced. No effect: `durability` decides what is \
         synced.",
    )
    .from(&[same("log.flush.interval.ms")]),
    Spec::throttle(
        "follower.replication.throttled.replicas",
        "Replicas whose replication is throttled on the follower's side. No effect without \
         replication.",
    ),
    Spec::int(
        "index.interval.bytes",
        0,
        "4096",
        "Bytes of log between two entries of the offset index.",
    )
    .from(&[same("log.index.interval.bytes")]),
    Spec::throttle(
        "leader.replication.throttled.replicas",
        "Replicas whose replication is throttled on the leader's side. No effect without \
         replication.",
    ),
    Spec::long(
        "local.retention.bytes",
        -2,
        "-2",
        "Bytes kept locally of a topic with tiered storage; -2 is the value of \
         `retention.bytes`. No effect without tiered storage.",
    )
    .from(&[same("log.local.retention.bytes")]),
    Spec::long(
        "local.retention.ms",
        -2,
        "-2",
        "Milliseconds kept locally of a topic with tiered storage; -2 is the value of \
         `retention.ms`. No effect without tiered storage.",
    )
    .from(&[same("log.local.retention.ms")]),
    Spec::long(
        "max.compaction.lag.ms",
        1,
        "9223372036854775807",
        "Milliseconds after which a record is due for compaction at the latest.",
    )
    .from(&[same("log.cleaner.max.compaction.lag.ms")]),
    Spec::int(
        "max.message.bytes",
        0,
        "1048588",
        "Largest record batch accepted, in bytes as stored (compressed, with its header).",
    )
    .from(&[same("message.max.bytes")]),
    Spec::long(
        "message.timestamp.after.max.ms",
        0,
        "3600000",
        "How far a record's own timestamp may lie ahead of the broker's clock, in \
         milliseconds. Not checked with LogAppendTime.",
    )
    .from(&[same("log.message.timestamp.after.max.ms")]),
    Spec::long(
        "message.timestamp.before.max.ms",
        0,
        "9223372036854775807",
        "How far a record's own timestamp may lie behind the broker's clock, in milliseconds. \
         Not checked with LogAppendTime.",
    )
    .from(&[same("log.message.timestamp.before.max.ms")]),
    Spec::words(
        "message.timestamp.type",
        TIMESTAMP_TYPES,
        "CreateTime",
        "Whose clock stamps records: the producer's (CreateTime) or the broker's at append \
         (LogAppendTime).",
    )
    .from(&[same("log.message.timestamp.type")]),
    Spec::ratio(
        "min.cleanable.dirty.ratio",
        "0.5",
        "Share of a log that must be uncompacted before compaction looks at it.",
    )
    .from(&[same("log.cleaner.min.cleanable.ratio")]),
    Spec::long(
        "min.compaction.lag.ms",
        0,
        "0",
        "Milliseconds for which a record is safe from compaction.",
    )
    .from(&[same("log.cleaner.min.compaction.lag.ms")]),
    Spec::int(
        "min.insync.replicas",
        1,
        "1",
        "In-sync replicas needed for a write with acks=all. One broker holds one replica: a \
         higher value refuses such writes.",
    )
    .from(&[same("min.insync.replicas")]),
    Spec::boolean(
        "preallocate",
        "false",
        "Reserve a segment's whole length on disk when it is created.",
    )
    .from(&[same("log.preallocate")]),
    Spec::boolean(
        "remote.log.copy.disable",
        "false",
        "Stop copying to tiered storage. No effect without tiered storage.",
    ),
    Spec::boolean(
        "remote.log.delete.on.disable",
        "false",
        "Delete what tiered storage holds when it is disabled. No effect without tiered \
         storage.",
    ),
    Spec::boolean(
        "remote.storage.enable",
        "false",
        "Tiered storage for this topic; not served, so `true` is refused.",
    ),
    Spec::long(
        "retention.bytes",
        i64::MIN,
        "-1",
        "Bytes a partition may hold before its oldest segments are deleted; -1 is no limit.",
    )
    .from(&[same("log.retention.bytes")]),
    Spec::long(
        "retention.ms",
        -1,
        "604800000",
        "Milliseconds a record is kept at least; -1 keeps it for ever.",
    )
    .from(&[
        same("log.retention.ms"),
        times("log.retention.minutes", MINUTE_MS),
        times("log.retention.hours", HOUR_MS),
    ]),
    Spec::int(
        "segment.bytes",
        1_048_576,
        "1073741824",
        "Size at which a new segment begins, in bytes. Deletion and compaction work by whole \
         segments.",
    )
    .from(&[same("log.segment.bytes")]),
    Spec::int(
        "segment.index.bytes",
        4,
        "10485760",
        "Largest size of a segment's index, in bytes; a full index begins a new segment.",
    )
    .from(&[same("log.index.size.max.bytes")]),
    Spec::long(
        "segment.jitter.ms",
        0,
        "0",
        "Most milliseconds by which `segment.ms` is shortened at random, so that not all \
         partitions roll at once.",
    )
    .from(&[same("log.roll.jitter.ms"), times("log.roll.jitter.hours", HOUR_MS)]),
    Spec::long(
        "segment.ms",
        1,
        "604800000",
        "Age at which a new segment begins, in milliseconds, even if the old one is not full.",
    )
    .from(&[same("log.roll.ms"), times("log.roll.hours", HOUR_MS)]),
    Spec::boolean(
        "unclean.leader.election.enable",
        "false",
        "Whether a replica that is not in sync may lead. No effect on one broker.",
    )
    .from(&[same("unclean.leader.election.enable")]),
];
