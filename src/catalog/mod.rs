//! Rank 2: the cluster's metadata as an immutable snapshot, and every decision that changes it.
//!
//! [`decide`] judges a [`Command`] against a [`Catalog`] and gives a [`Change`] or Kafka's code;
//! [`Catalog::apply`] is total; [`codec`] says what a change writes into the metadata store.
//! Nothing here reads a clock, a file or entropy: ids come with the command. The metadata worker
//! (`shard::metadata`) is the only writer.
//!
//! Invariants: name and id are each unique; a topic has at least one partition, and partitions
//! are never taken away; a deleted topic is remembered until its files are swept, so that a crash
//! in between leaves nothing behind. Rejected: names as storage identity, which lets a topic
//! created again meet the old one's files.

pub mod codec;
mod decide;
mod edit;
mod names;
mod roles;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::base::fault::{Code, Fault};
use crate::base::ids::{TopicPartition, Uuid};
use crate::base::role::Role;

pub use crate::base::topic_name::{check_topic_name, is_internal};
pub use decide::{CheckConfigs, Command, NewPartitions, NewTopic, Policy, TopicKey, decide};
pub use edit::{ConfigEdit, KeyEdit, ListEdit};

/// Configs that differ from their defaults, by Kafka's key.
pub type Configs = BTreeMap<String, String>;

/// The leader of a partition that nobody serves.
pub const NO_LEADER: i32 = -1;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    /// Storage identity, never nil.
    pub id: Uuid,
    /// Partitions 0 to `partitions - 1` exist; at least 1.
    pub partitions: i32,
    /// The broker start in which the topic was created: the origin of its leader epochs.
    pub created_at_start: u32,
    pub configs: Configs,
    /// What it is for another topic. Never changes.
    pub role: Option<Arc<Role>>,
}

impl Topic {
    /// The topic by which its partitions are placed: its source, if it has a role.
    #[must_use]
    pub fn placed_as(&self) -> Uuid {
        self.role.as_ref().map_or(self.id, |role| role.source_id)
    }

    /// Whether clients may not write to it, by its name alone as in Kafka.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// Whether it has a role for this group.
    #[must_use]
    pub fn belongs_to(&self, group: &str) -> bool {
        self.role.as_ref().is_some_and(|role| role.group.as_deref() == Some(group))
    }

    #[must_use]
    pub fn has_partition(&self, partition: i32) -> bool {
        (0..self.partitions).contains(&partition)
    }
}

/// Whose dynamic configs: the whole cluster's defaults or one node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BrokerScope {
    Cluster,
    Node(i32),
}

/// What a decision changes. Topics are given as they are afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    TopicCreated(Arc<Topic>),
    /// The topic is gone from sight; its files are not yet.
    TopicDeleted(Arc<Topic>),
    /// Nothing is left of a deleted topic.
    TopicSwept(Uuid),
    /// First the topic that was asked for, then those that grow with it.
    PartitionsAdded(Vec<Grown>),
    TopicConfigured(Arc<Topic>),
    BrokerConfigured {
        scope: BrokerScope,
        configs: Configs,
    },
    GroupConfigured {
        group: String,
        configs: Configs,
    },
}

/// A topic that has got more partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    pub topic: Arc<Topic>,
    /// Partitions from this one on are new.
    pub first_new: i32,
}

/// Everything that is known about topics, owners and dynamic configs at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    node_id: i32,
    start: u32,
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: FxHashMap<Uuid, Arc<Topic>>,
    /// Names by [`names::folded`], of those that could collide.
    folded: FxHashMap<Arc<str>, Arc<str>>,
    by_role: BTreeMap<Arc<Role>, Arc<Topic>>,
    partition_count: u64,
    deleted: BTreeMap<Uuid, Arc<Topic>>,
    broker_configs: BTreeMap<BrokerScope, Configs>,
    /// By group id; a group need not exist to have configs.
    group_configs: BTreeMap<String, Configs>,
    /// Partitions that another node owns or none; this node owns the rest.
    elsewhere: BTreeMap<TopicPartition, i32>,
}

impl Catalog {
    /// A catalog without topics, of node `node_id` in its `start`th start.
    #[must_use]
    pub fn empty(node_id: i32, start: u32) -> Self {
        Self {
            node_id,
            start,
            by_name: BTreeMap::new(),
            by_id: FxHashMap::default(),
            folded: FxHashMap::default(),
            by_role: BTreeMap::new(),
            partition_count: 0,
            deleted: BTreeMap::new(),
            broker_configs: BTreeMap::new(),
            group_configs: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    #[must_use]
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// The topic with a role.
    #[must_use]
    pub fn of_role(&self, role: &Role) -> Option<&Arc<Topic>> {
        self.by_role.get(role)
    }

    /// The topics that have a role for any.
    pub fn with_roles(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.by_role.values()
    }

    /// The topics that have a role for this one, which need not exist any more.
    pub fn followers(&self, source_id: Uuid) -> impl Iterator<Item = &Arc<Topic>> {
        let first = Role::least(source_id);
        let from = self.by_role.range::<Role, _>((Bound::Included(&first), Bound::Unbounded));
        from.take_while(move |(role, _)| role.source_id == source_id).map(|(_, topic)| topic)
    }

    /// By which topic a topic's partitions are placed; see [`Topic::placed_as`].
    #[must_use]
    pub fn placed_as(&self, topic_id: Uuid) -> Uuid {
        self.topic_by_id(topic_id).map_or(topic_id, |topic| topic.placed_as())
    }

    /// All topics by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Topics whose name is `first` or sorts after it, by name.
    pub fn topics_from<'a>(&'a self, first: &str) -> impl Iterator<Item = &'a Arc<Topic>> {
        let bounds = (Bound::Included(first), Bound::Unbounded);
        self.by_name.range::<str, _>(bounds).map(|(_, topic)| topic)
    }

    /// Partitions of all topics together.
    #[must_use]
    pub fn partition_count(&self) -> u64 {
        self.partition_count
    }

    /// Topics that are deleted and whose files may still be there.
    pub fn deleted(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.deleted.values()
    }

    /// Dynamic configs of one scope; a node's own win over the cluster's.
    #[must_use]
    pub fn broker_configs(&self, scope: BrokerScope) -> Option<&Configs> {
        self.broker_configs.get(&scope)
    }

    /// A group's own configs.
    #[must_use]
    pub fn group_configs(&self, group: &str) -> Option<&Configs> {
        self.group_configs.get(group)
    }

    /// Groups that have configs of their own, by id.
    pub fn configured_groups(&self) -> impl Iterator<Item = &str> {
        self.group_configs.keys().map(String::as_str)
    }

    /// The leader epoch of a topic's partitions: 0 in the start that created the topic, and one
    /// more at every start since.
    #[must_use]
    pub fn leader_epoch(&self, topic: &Topic) -> i32 {
        i32::try_from(self.start.saturating_sub(topic.created_at_start)).unwrap_or(i32::MAX)
    }

    /// The node that leads a partition, [`NO_LEADER`] if none does.
    #[must_use]
    pub fn leader(&self, partition: TopicPartition) -> i32 {
        self.elsewhere.get(&partition).copied().unwrap_or(self.node_id)
    }

    /// The same catalog with one partition led by another node, as in a cluster, or by none: its
    /// log could not be opened.
    #[must_use]
    pub fn with_leader(mut self, partition: TopicPartition, node_id: i32) -> Self {
        self.elsewhere.insert(partition, node_id);
        self
    }

    /// One partition of a topic, if this node leads it.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER if another node leads it, or
    /// KAFKA_STORAGE_ERROR if none does.
    pub fn led_here(&self, topic: &Topic, partition: i32) -> Result<TopicPartition, Fault> {
        if !topic.has_partition(partition) {
            return Err(Code::UnknownTopicOrPartition.into());
        }
        let partition = TopicPartition::new(topic.id, partition);
        // The map is empty on a sound single node: no look-up on the way of every produce.
        if self.elsewhere.is_empty() {
            return Ok(partition);
        }
        match self.leader(partition) {
            node if node == self.node_id => Ok(partition),
            NO_LEADER => Err(Code::KafkaStorageError.into()),
            _ => Err(Code::NotLeaderOrFollower.into()),
        }
    }

    /// Takes a change in. Total: whatever [`decide`] gives or the store holds can be applied.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::TopicCreated(topic) | Change::TopicConfigured(topic) => self.put(topic),
            Change::PartitionsAdded(grown) => grown.iter().for_each(|one| self.put(&one.topic)),
            Change::TopicDeleted(topic) => {
                self.take(topic.id);
                self.deleted.insert(topic.id, Arc::clone(topic));
            }
            Change::TopicSwept(id) => {
                self.deleted.remove(id);
            }
            Change::BrokerConfigured { scope, configs } if configs.is_empty() => {
                self.broker_configs.remove(scope);
            }
            Change::BrokerConfigured { scope, configs } => {
                self.broker_configs.insert(*scope, configs.clone());
            }
            Change::GroupConfigured { group, configs } if configs.is_empty() => {
                self.group_configs.remove(group);
            }
            Change::GroupConfigured { group, configs } => {
                self.group_configs.insert(group.clone(), configs.clone());
            }
        }
    }

    fn put(&mut self, topic: &Arc<Topic>) {
        self.take(topic.id);
        self.by_name.insert(Arc::clone(&topic.name), Arc::clone(topic));
        self.by_id.insert(topic.id, Arc::clone(topic));
        if let Some(folded) = names::folded(&topic.name) {
            self.folded.insert(folded, Arc::clone(&topic.name));
        }
        if let Some(role) = &topic.role {
            self.by_role.insert(Arc::clone(role), Arc::clone(topic));
        }
        self.partition_count += u64::from(topic.partitions.unsigned_abs());
    }

    fn take(&mut self, id: Uuid) {
        let Some(topic) = self.by_id.remove(&id) else { return };
        self.by_name.remove(&topic.name);
        if let Some(folded) = names::folded(&topic.name) {
            self.folded.remove(&folded);
        }
        if let Some(role) = &topic.role {
            self.by_role.remove(role);
        }
        self.partition_count -= u64::from(topic.partitions.unsigned_abs());
    }

    /// An existing topic whose name differs from `name` in `.` and `_` alone.
    fn colliding(&self, name: &str) -> Option<&Arc<str>> {
        names::folded(name).and_then(|folded| self.folded.get(&folded))
    }
}
