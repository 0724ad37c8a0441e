//! What a coordinator sees of the cluster. The catalog stands behind it; tests put a map there.

use std::sync::Arc;

use crate::base::ids::Uuid;
use crate::base::role::Role;
use crate::base::settings::GroupSettings;

/// A topic as a coordinator needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub id: Uuid,
    pub name: Arc<str>,
    /// Partitions 0 to `partitions - 1` exist.
    pub partitions: i32,
    /// What it is for another topic.
    pub role: Option<Arc<Role>>,
}

impl TopicInfo {
    /// Whether it holds this group's retries.
    #[must_use]
    pub fn retries_for(&self, group: &str) -> bool {
        self.role.as_ref().and_then(|role| role.retries_of()).is_some_and(|of| **of == *group)
    }
}

/// Topics and configs at one moment.
pub trait Cluster {
    /// Rises with every change of topics or configs, so that what was derived can be kept.
    fn revision(&self) -> u64;
    fn topic(&self, name: &str) -> Option<TopicInfo>;
    fn topic_by_id(&self, id: Uuid) -> Option<TopicInfo>;
    /// All topics, by name.
    fn each_topic(&self, visit: &mut dyn FnMut(&TopicInfo));
    /// The offset behind the last record of a partition that consumers can read; `None` if the
    /// partition is not served here.
    fn visible_end(&self, topic: Uuid, partition: i32) -> Option<i64>;
    /// Whether a topic has another one for this group's retries or dead letters.
    fn has_failed(&self, group: &str, topic: Uuid) -> bool;
    /// The topics that hold this group's retries.
    fn each_retry_topic(&self, group: &str, visit: &mut dyn FnMut(&TopicInfo));
    /// What is in force for a group of the consumer protocol.
    fn group_settings(&self, group: &str) -> GroupSettings;
}
