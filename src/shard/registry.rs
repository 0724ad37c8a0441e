//! Which partitions are served here: the read side that connections share with the shards.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::delay::limits::DelayLimits;
use crate::base::ids::{TopicPartition, Uuid};
use crate::base::role::Role;
use crate::catalog::Catalog;
use crate::delay::rules::DelayRules;
use crate::log::validate::BatchRules;
use crate::log::view::PartitionView;

/// One partition as connections see it.
pub struct Partition {
    pub tp: TopicPartition,
    pub topic_name: String,
    /// What the topic is for another one.
    pub role: Option<Arc<Role>>,
    /// The shard that owns its log.
    pub shard: usize,
    pub view: Arc<PartitionView>,
    /// The delay journal's view, for the broker itself: no client reads it.
    pub journal: ArcSwapOption<PartitionView>,
    /// Replaced when the topic's configs change.
    pub rules: ArcSwap<TopicRules>,
}

/// What a topic's configs demand of a write.
#[derive(Clone, Debug)]
pub struct TopicRules {
    pub batch: BatchRules,
    pub delay: DelayRules,
    pub delay_limits: DelayLimits,
    /// Expired records become dead letters.
    pub bury_expired: bool,
    /// Of the replicas that `acks=all` waits for there is one, so a higher number refuses it
    /// (`min.insync.replicas`).
    pub min_insync_replicas: i32,
}

/// All partitions that are served. Only shards write.
#[derive(Default)]
pub struct Registry {
    partitions: RwLock<FxHashMap<TopicPartition, Arc<Partition>>>,
    /// Set once the broker serves.
    topics: OnceLock<Arc<ArcSwap<Catalog>>>,
}

impl Registry {
    #[must_use]
    pub fn get(&self, tp: TopicPartition) -> Option<Arc<Partition>> {
        self.partitions.read().get(&tp).cloned()
    }

    pub fn insert(&self, partition: Arc<Partition>) {
        self.partitions.write().insert(partition.tp, partition);
    }

    pub fn remove(&self, tp: TopicPartition) -> Option<Arc<Partition>> {
        self.partitions.write().remove(&tp)
    }

    /// Where all topics are known, also those of which nothing is served.
    pub fn follow(&self, topics: Arc<ArcSwap<Catalog>>) {
        // A registry belongs to one data directory: the first is the only one.
        let _ = self.topics.set(topics);
    }

    /// Whether a topic is deleted. Its id is given to no other.
    #[must_use]
    pub fn is_gone(&self, topic_id: Uuid) -> bool {
        self.topics.get().is_some_and(|topics| topics.load().topic_by_id(topic_id).is_none())
    }

    /// Everything that is served, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().values().cloned().collect()
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.partitions.read().len()
    }
}
