//! What the group coordinators are given: their settings out of the broker's, and their host's
//! neighbours.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::base::env::Env;
use crate::base::metrics::Metrics;
use crate::base::settings::{BrokerConfig, CompressionType, GroupCoordinatorSettings, Settings};
use crate::catalog::Catalog;
use crate::coord::group::Groups;
use crate::coord::group::roster::Roster;
use crate::coord::group::settings::{GroupSettings, Migration};
use crate::shard::coordinator::Hosting;
use crate::shard::coordinator::cluster::Snapshot;
use crate::shard::registry::Registry;
use crate::wire::compression::Codec;

/// What the coordinators of all shards share.
pub struct Around {
    pub metrics: Arc<Metrics>,
    pub catalog: Arc<ArcSwap<Catalog>>,
    pub registry: Arc<Registry>,
    pub roster: Arc<Roster>,
}

/// What a shard needs to coordinate groups.
pub fn hosting(
    settings: &Settings,
    config: &BrokerConfig,
    env: &Env,
    around: &Around,
) -> Hosting<Groups> {
    let Around { metrics, catalog, registry, roster } = around;
    let roster = Arc::clone(roster);
    let groups = Arc::new(group_settings(&settings.groups));
    Hosting {
        env: env.clone(),
        metrics: Arc::clone(metrics),
        cluster: Snapshot::of(Arc::clone(catalog), Arc::clone(registry), config.clone()),
        codec: match settings.groups.offsets.topic_compression {
            CompressionType::Producer | CompressionType::Uncompressed => Codec::None,
            CompressionType::Gzip => Codec::Gzip,
            CompressionType::Snappy => Codec::Snappy,
            CompressionType::Lz4 => Codec::Lz4,
            CompressionType::Zstd => Codec::Zstd,
        },
        make: Box::new(move |tp| Groups::listed(Arc::clone(&groups), roster.pen(tp.partition))),
    }
}

fn group_settings(settings: &GroupCoordinatorSettings) -> GroupSettings {
    let GroupCoordinatorSettings { classic, consumer, offsets } = settings;
    GroupSettings {
        min_session: millis(classic.min_session_timeout_ms),
        max_session: millis(classic.max_session_timeout_ms),
        initial_rebalance_delay: millis(classic.initial_rebalance_delay_ms),
        max_size: classic.max_size,
        consumer_regex_refresh: millis(consumer.regex_refresh_interval_ms),
        consumer_max_size: consumer.max_size,
        consumer_assignors: consumer.assignors.clone(),
        migration: match (consumer.migration.upgrade, consumer.migration.downgrade) {
            (false, false) => Migration::Disabled,
            (true, false) => Migration::Upgrade,
            (false, true) => Migration::Downgrade,
            (true, true) => Migration::Bidirectional,
        },
        offset_metadata_max_bytes: offsets.metadata_max_bytes,
        offsets_retention: millis(offsets.retention_ms),
        offsets_retention_check: millis(offsets.retention_check_interval_ms),
    }
}

fn millis(ms: impl Into<i64>) -> Duration {
    Duration::from_millis(u64::try_from(ms.into()).unwrap_or(0))
}
