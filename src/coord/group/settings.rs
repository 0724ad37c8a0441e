//! What groups are allowed, as plain data. Kafka's keys and defaults.

use std::time::Duration;

use crate::base::settings::Assignor;

/// Broker-wide settings of the group coordinator. What may differ from group to group comes with
/// the cluster ([`super::super::cluster::Cluster::group_settings`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`
    pub min_session: Duration,
    /// `group.max.session.timeout.ms`
    pub max_session: Duration,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`
    pub max_size: usize,
    /// `group.consumer.max.size`
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`, the first is the default.
    pub consumer_assignors: Vec<Assignor>,
    /// `group.consumer.regex.refresh.interval.ms`
    pub consumer_regex_refresh: Duration,
    /// `group.consumer.migration.policy`
    pub migration: Migration,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check: Duration,
}

/// Which way groups may move between the protocols while they have members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    Disabled,
    /// From classic to consumer.
    Upgrade,
    /// From consumer to classic.
    Downgrade,
    Bidirectional,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            min_session: Duration::from_secs(6),
            max_session: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            max_size: i32::MAX as usize,
            consumer_max_size: i32::MAX as usize,
            consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            consumer_regex_refresh: Duration::from_secs(10 * 60),
            migration: Migration::Bidirectional,
            offset_metadata_max_bytes: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check: Duration::from_secs(10 * 60),
        }
    }
}
