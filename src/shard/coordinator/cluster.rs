//! The catalog as coordinators see it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::base::ids::{TopicPartition, Uuid};
use crate::base::settings::{BrokerConfig, GroupSettings, Overrides};
use crate::catalog::{Catalog, Topic};
use crate::coord::cluster::{Cluster, TopicInfo};
use crate::shard::host::current;
use crate::shard::registry::Registry;

/// The newest catalog, and how many different ones were seen.
pub struct Snapshot {
    published: Arc<ArcSwap<Catalog>>,
    /// What is served here.
    registry: Arc<Registry>,
    /// Given at start.
    config: BrokerConfig,
    seen: Arc<Catalog>,
    revision: u64,
    /// What was given at start with what the catalog has set since.
    current: BrokerConfig,
}

impl Snapshot {
    #[must_use]
    pub fn of(
        published: Arc<ArcSwap<Catalog>>,
        registry: Arc<Registry>,
        config: BrokerConfig,
    ) -> Self {
        let seen = published.load_full();
        let current = current(&config, &seen);
        Self { published, registry, config, seen, revision: 1, current }
    }

    /// Takes the catalog that is published now. The one before is held until then, so that no
    /// new one can come to lie where it lay.
    pub(super) fn refresh(&mut self) {
        let newest = self.published.load();
        if !Arc::ptr_eq(&newest, &self.seen) {
            self.revision += 1;
            self.seen = Arc::clone(&newest);
            self.current = current(&self.config, &self.seen);
        }
    }
}

/// What coordinators know of a topic.
pub(in crate::shard) fn info(topic: &Arc<Topic>) -> TopicInfo {
    TopicInfo {
        id: topic.id,
        name: Arc::clone(&topic.name),
        partitions: topic.partitions,
        role: topic.role.clone(),
    }
}

impl Cluster for Snapshot {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.seen.topic(name).map(info)
    }

    fn topic_by_id(&self, id: Uuid) -> Option<TopicInfo> {
        self.seen.topic_by_id(id).map(info)
    }

    fn each_topic(&self, visit: &mut dyn FnMut(&TopicInfo)) {
        self.seen.topics().for_each(|topic| visit(&info(topic)));
    }

    fn visible_end(&self, topic: Uuid, partition: i32) -> Option<i64> {
        let served = self.registry.get(TopicPartition::new(topic, partition))?;
        Some(served.view.high_watermark())
    }

    fn has_failed(&self, group: &str, topic: Uuid) -> bool {
        self.seen.followers(topic).any(|follower| follower.belongs_to(group))
    }

    fn each_retry_topic(&self, group: &str, visit: &mut dyn FnMut(&TopicInfo)) {
        let own = self.seen.with_roles().map(info).filter(|topic| topic.retries_for(group));
        own.for_each(|topic| visit(&topic));
    }

    fn group_settings(&self, group: &str) -> GroupSettings {
        let none = Overrides::new();
        GroupSettings::resolve(self.seen.group_configs(group).unwrap_or(&none), &self.current)
    }
}
