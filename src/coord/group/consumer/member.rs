//! A member of a consumer group: what it asked for, and how far it has come towards its target.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assignor::Partitions;
use crate::base::ids::Uuid;
use crate::coord::group::record::{CurrentAssignment, MemberMetadata, OwnedTopic, TargetTopic};

/// The epoch at which a static member is stored that left and may come back (KIP-848).
pub const LEFT_FOR_NOW: i32 = -2;

/// Partitions by topic, each with the epoch at which it was assigned (KIP-1251). No topic stands
/// here without a partition.
pub type Owned = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// Where a member stands on the way to its target. Kafka's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It has what its epoch's target gave it.
    #[default]
    Stable,
    /// It must let go of partitions before it may move on.
    UnrevokedPartitions,
    /// It waits for partitions that others have not let go of.
    UnreleasedPartitions,
    /// Written by a newer broker.
    Unknown,
}

/// A member. The parts are shared, so that a step that changes nothing copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub asked: Arc<MemberMetadata>,
    pub current: Arc<Current>,
}

/// The assignment of a member as both sides know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    /// The epoch before; -1 for a new member.
    pub previous_epoch: i32,
    pub state: State,
    pub assigned: Owned,
    /// What it was told to let go of and may still read.
    pub revoking: Owned,
}

impl Default for Current {
    fn default() -> Self {
        Self {
            epoch: 0,
            previous_epoch: -1,
            state: State::Stable,
            assigned: Owned::new(),
            revoking: Owned::new(),
        }
    }
}

impl Default for Member {
    fn default() -> Self {
        Self { asked: Arc::new(unsubscribed()), current: Arc::default() }
    }
}

impl Member {
    #[must_use]
    pub fn speaks_classic(&self) -> bool {
        self.asked.classic.is_some()
    }

    /// Its topic pattern, if it has one.
    #[must_use]
    pub fn pattern(&self) -> Option<&Arc<str>> {
        self.asked.subscribed_regex.as_ref().filter(|regex| !regex.is_empty())
    }
}

/// What a member is taken to want before anything of it is known.
fn unsubscribed() -> MemberMetadata {
    MemberMetadata {
        instance_id: None,
        rack_id: None,
        client_id: Arc::from(""),
        client_host: Arc::from(""),
        subscribed_topics: Vec::new(),
        subscribed_regex: None,
        rebalance_timeout_ms: -1,
        server_assignor: None,
        classic: None,
    }
}

impl Current {
    #[must_use]
    pub fn is_at(&self, target_epoch: i32) -> bool {
        self.state == State::Stable && self.epoch == target_epoch
    }

    /// All that no other member may have.
    pub fn held(&self) -> impl Iterator<Item = (Uuid, i32)> + '_ {
        each(&self.assigned).chain(each(&self.revoking))
    }

    /// The epoch at which it got a partition that it holds.
    #[must_use]
    pub fn assigned_at(&self, topic: Uuid, partition: i32) -> Option<i32> {
        let at = |owned: &Owned| owned.get(&topic)?.get(&partition).copied();
        at(&self.assigned).or_else(|| at(&self.revoking))
    }

    /// What is stored of it.
    #[must_use]
    pub fn record(&self) -> CurrentAssignment {
        CurrentAssignment {
            epoch: self.epoch,
            previous_epoch: self.previous_epoch,
            state: match self.state {
                State::Stable => 0,
                State::UnrevokedPartitions => 1,
                State::UnreleasedPartitions => 2,
                State::Unknown => 127,
            },
            assigned: owned_topics(&self.assigned),
            pending_revocation: owned_topics(&self.revoking),
        }
    }

    #[must_use]
    pub fn from_record(record: &CurrentAssignment) -> Self {
        Self {
            epoch: record.epoch,
            previous_epoch: record.previous_epoch,
            state: match record.state {
                0 => State::Stable,
                1 => State::UnrevokedPartitions,
                2 => State::UnreleasedPartitions,
                _ => State::Unknown,
            },
            assigned: from_owned_topics(&record.assigned, record.epoch),
            revoking: from_owned_topics(&record.pending_revocation, record.epoch),
        }
    }
}

fn each(owned: &Owned) -> impl Iterator<Item = (Uuid, i32)> + '_ {
    owned.iter().flat_map(|(topic, of)| of.keys().map(|partition| (*topic, *partition)))
}

/// The same partitions, all assigned at one epoch.
#[must_use]
pub fn since(partitions: &Partitions, epoch: i32) -> Owned {
    let topics = partitions.iter();
    topics.map(|(id, of)| (*id, of.iter().map(|partition| (*partition, epoch)).collect())).collect()
}

fn owned_topics(owned: &Owned) -> Vec<OwnedTopic> {
    let topics = owned.iter().map(|(topic_id, of)| OwnedTopic {
        topic_id: *topic_id,
        partitions: of.keys().copied().collect(),
        epochs: Some(of.values().copied().collect()),
    });
    topics.collect()
}

/// Before 4.3 no epochs were stored: the member's own stands for them.
fn from_owned_topics(topics: &[OwnedTopic], epoch: i32) -> Owned {
    let mut owned = Owned::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let epochs = topic.epochs.iter().flatten().copied();
        let epochs = epochs.chain(std::iter::repeat(epoch));
        let partitions = topic.partitions.iter().copied().zip(epochs);
        owned.entry(topic.topic_id).or_default().extend(partitions);
    }
    owned
}

/// A target as it is stored.
#[must_use]
pub fn target_topics(target: &Partitions) -> Vec<TargetTopic> {
    let topics = target.iter().map(|(topic_id, of)| TargetTopic {
        topic_id: *topic_id,
        partitions: of.iter().copied().collect(),
    });
    topics.collect()
}

#[must_use]
pub fn from_target_topics(topics: &[TargetTopic]) -> Partitions {
    let mut target = Partitions::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        target.entry(topic.topic_id).or_default().extend(topic.partitions.iter().copied());
    }
    target
}
