//! What groups and their coordinator work by, as typed data, and the check of a group's configs.
//!
//! [`GroupCoordinatorSettings`] is read once, at start. What may differ from group to group or
//! change at run time is a [`GroupSettings`], resolved anew when it is asked for. A value that was
//! admitted once and lies outside the broker's limits today is brought back to the nearest limit,
//! as Kafka does, so that tightening a limit never stops a group.

#[cfg(test)]
mod tests;

use super::layers::{BrokerConfig, Overrides, Reader};
use super::topic::CompressionType;
use super::{SettingsError, closest, group_key, group_keys, shown};

/// What the coordinator works by, the same for every group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCoordinatorSettings {
    pub classic: ClassicGroupSettings,
    pub consumer: ConsumerGroupSettings,
    pub offsets: OffsetsSettings,
}

/// Groups of the classic protocol (JoinGroup, SyncGroup).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicGroupSettings {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: members, at least 1.
    pub max_size: usize,
}

/// Groups of the consumer protocol (KIP-848).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// `group.coordinator.rebalance.protocols` names it.
    pub enabled: bool,
    /// `group.consumer.max.size`: members, at least 1.
    pub max_size: usize,
    /// `group.consumer.assignors`: at least one, the first is the default.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`
    pub migration: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`
    pub regex_refresh_interval_ms: i32,
}

/// An assignor that runs in the broker, by Kafka's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    Uniform,
    Range,
}

/// How a group with members may change its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// From classic to consumer.
    pub upgrade: bool,
    /// From consumer to classic.
    pub downgrade: bool,
}

/// Committed offsets and the topic that holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetsSettings {
    /// `offset.metadata.max.bytes`
    pub metadata_max_bytes: usize,
    /// `offsets.retention.minutes`
    pub retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: i64,
    /// `offsets.topic.num.partitions`, when the topic is created.
    pub topic_partitions: i32,
    /// `offsets.topic.segment.bytes`
    pub topic_segment_bytes: u32,
    /// `offsets.topic.compression.codec`; never `Producer`.
    pub topic_compression: CompressionType,
}

impl GroupCoordinatorSettings {
    /// # Errors
    /// Values that do not fit together, such as a session time-out below its own minimum; one
    /// line.
    pub fn resolve(config: &BrokerConfig) -> Result<Self, SettingsError> {
        let read = Reader::broker(config);
        for limited in &LIMITED {
            limited.check_broker(&read)?;
        }
        check_heartbeat(
            read.int("group.consumer.heartbeat.interval.ms"),
            read.int("group.consumer.session.timeout.ms"),
            "group.",
        )?;
        Ok(Self {
            classic: ClassicGroupSettings::resolve(&read)?,
            consumer: ConsumerGroupSettings {
                enabled: consumer_enabled(&read)?,
                max_size: read.size("group.consumer.max.size"),
                assignors: assignors(&read)?,
                migration: MigrationPolicy::of(&read.text("group.consumer.migration.policy")),
                regex_refresh_interval_ms: read.int("group.consumer.regex.refresh.interval.ms"),
            },
            offsets: OffsetsSettings {
                metadata_max_bytes: read.size("offset.metadata.max.bytes"),
                retention_ms: read.long("offsets.retention.minutes").saturating_mul(60_000),
                retention_check_interval_ms: read.long("offsets.retention.check.interval.ms"),
                topic_partitions: read.int("offsets.topic.num.partitions"),
                topic_segment_bytes: read.count("offsets.topic.segment.bytes"),
                topic_compression: match read.int("offsets.topic.compression.codec") {
                    1 => CompressionType::Gzip,
                    2 => CompressionType::Snappy,
                    3 => CompressionType::Lz4,
                    4 => CompressionType::Zstd,
                    _ => CompressionType::Uncompressed,
                },
            },
        })
    }
}

impl ClassicGroupSettings {
    fn resolve(read: &Reader) -> Result<Self, SettingsError> {
        let (min, max) = ("group.min.session.timeout.ms", "group.max.session.timeout.ms");
        check_order(read, min, max)?;
        Ok(Self {
            min_session_timeout_ms: read.int(min),
            max_session_timeout_ms: read.int(max),
            initial_rebalance_delay_ms: read.int("group.initial.rebalance.delay.ms"),
            max_size: read.size("group.max.size"),
        })
    }
}

impl Assignor {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }
}

impl MigrationPolicy {
    fn of(word: &str) -> Self {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let both = is("bidirectional");
        Self { upgrade: both || is("upgrade"), downgrade: both || is("downgrade") }
    }
}

fn assignors(read: &Reader) -> Result<Vec<Assignor>, SettingsError> {
    let named = read.list("group.consumer.assignors");
    let assignors: Vec<_> = named.iter().filter_map(|name| Assignor::named(name)).collect();
    let twice = assignors.iter().enumerate().any(|(n, of)| assignors[..n].contains(of));
    if assignors.is_empty() || twice {
        let message = "group.consumer.assignors must name at least one assignor, and each once";
        return Err(SettingsError::Refused(message.into()));
    }
    Ok(assignors)
}

fn consumer_enabled(read: &Reader) -> Result<bool, SettingsError> {
    let protocols = read.list("group.coordinator.rebalance.protocols");
    if !protocols.iter().any(|protocol| protocol == "classic") {
        let message = "group.coordinator.rebalance.protocols must name classic";
        return Err(SettingsError::Refused(message.into()));
    }
    Ok(protocols.iter().any(|protocol| protocol == "consumer"))
}

/// What is in force for one group of the consumer protocol: its own configs over the broker's
/// defaults, within the broker's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: i32,
    pub assignment_interval_ms: i32,
}

impl GroupSettings {
    #[must_use]
    pub fn resolve(configs: &Overrides, broker: &BrokerConfig) -> Self {
        let read = Reader::group(broker, configs);
        let [assignment_interval_ms, heartbeat_interval_ms, session_timeout_ms] =
            LIMITED.each_ref().map(|limited| limited.in_force(&read, &Reader::broker(broker)));
        Self { session_timeout_ms, heartbeat_interval_ms, assignment_interval_ms }
    }
}

/// A group's key and the broker keys that default and limit it.
struct Limited {
    key: &'static str,
    broker: &'static str,
    min: &'static str,
    max: &'static str,
}

/// In the order of [`group_keys`].
const LIMITED: [Limited; 3] = [
    Limited {
        key: "consumer.assignment.interval.ms",
        broker: "group.consumer.assignment.interval.ms",
        min: "group.consumer.min.assignment.interval.ms",
        max: "group.consumer.max.assignment.interval.ms",
    },
    Limited {
        key: "consumer.heartbeat.interval.ms",
        broker: "group.consumer.heartbeat.interval.ms",
        min: "group.consumer.min.heartbeat.interval.ms",
        max: "group.consumer.max.heartbeat.interval.ms",
    },
    Limited {
        key: "consumer.session.timeout.ms",
        broker: "group.consumer.session.timeout.ms",
        min: "group.consumer.min.session.timeout.ms",
        max: "group.consumer.max.session.timeout.ms",
    },
];

impl Limited {
    fn limits(&self, broker: &Reader) -> (i32, i32) {
        (broker.int(self.min), broker.int(self.max))
    }

    fn check(&self, name: &str, value: i32, broker: &Reader) -> Result<(), SettingsError> {
        let (min, max) = self.limits(broker);
        let refused = |relation: &str, limit: i32, key: &str| {
            let message = format!("{name} of {value} must be {relation} {key} ({limit})");
            Err(SettingsError::Refused(message))
        };
        if value < min {
            return refused("at least", min, self.min);
        }
        if value > max {
            return refused("at most", max, self.max);
        }
        Ok(())
    }

    fn check_broker(&self, read: &Reader) -> Result<(), SettingsError> {
        check_order(read, self.min, self.max)?;
        self.check(self.broker, read.int(self.broker), read)
    }

    fn in_force(&self, group: &Reader, broker: &Reader) -> i32 {
        let (min, max) = self.limits(broker);
        group.int(self.key).min(max).max(min)
    }
}

fn check_order(read: &Reader, min: &str, max: &str) -> Result<(), SettingsError> {
    let (least, most) = (read.int(min), read.int(max));
    if least <= most {
        return Ok(());
    }
    Err(SettingsError::Refused(format!("{min} of {least} is above {max} of {most}")))
}

/// A member that is heard of less often than its time-out would be taken out again and again.
fn check_heartbeat(heartbeat: i32, session: i32, prefix: &str) -> Result<(), SettingsError> {
    if heartbeat < session {
        return Ok(());
    }
    Err(SettingsError::Refused(format!(
        "{prefix}consumer.heartbeat.interval.ms of {heartbeat} must be below \
         {prefix}consumer.session.timeout.ms of {session}"
    )))
}

/// Checks all of a group's configs: each by itself, against the broker's limits, and together.
///
/// # Errors
/// An unknown key, or a value that its key, the broker's limits or the other values do not admit
/// (Kafka: INVALID_CONFIG).
pub fn validate_group_configs(
    configs: &Overrides,
    broker: &BrokerConfig,
) -> Result<(), SettingsError> {
    let read = Reader::broker(broker);
    for (name, value) in configs {
        let Some(spec) = group_key(name) else {
            return Err(SettingsError::Unknown {
                what: "group config",
                name: shown(name),
                value: shown(value),
                closest: closest(name, group_keys().iter().map(|spec| spec.name)).into(),
            });
        };
        spec.check(value)?;
    }
    let own = Reader::group(broker, configs);
    for limited in LIMITED.iter().filter(|limited| configs.contains_key(limited.key)) {
        limited.check(limited.key, own.int(limited.key), &read)?;
    }
    let settings = GroupSettings::resolve(configs, broker);
    check_heartbeat(settings.heartbeat_interval_ms, settings.session_timeout_ms, "")
}
