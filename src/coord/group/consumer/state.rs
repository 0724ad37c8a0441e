//! The state of a consumer group, as its records make it, and what is derived from that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use twox_hash::XxHash3_64;

use super::assignor::{Assignor, Partitions};
use super::member::{Current, Member};
use super::turn::ms;
use crate::base::ids::Uuid;
use crate::base::settings::GroupSettings;
use crate::coord::cluster::{Cluster, TopicInfo};
use crate::coord::group::record::{GroupEpoch, MemberMetadata, ResolvedRegex, TargetEpoch};

/// A group whose partitions the broker assigns (KIP-848).
#[derive(Debug)]
pub struct Consumer {
    /// Rises whenever the target may have to change.
    pub(super) epoch: GroupEpoch,
    /// The group epoch that the targets were made for, and when.
    pub(super) target_epoch: TargetEpoch,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    pub(super) targets: FxHashMap<Arc<str>, Arc<Partitions>>,
    /// What patterns were resolved to last.
    pub(super) resolved: BTreeMap<Arc<str>, ResolvedRegex>,
    /// A record of brokers before 4.1 stands in the log that is of no use any more.
    pub(super) old_subscription_metadata: bool,
    derived: Derived,
    pub(super) seen: Seen,
}

/// Follows from the members and the resolved patterns.
#[derive(Debug, Default)]
struct Derived {
    /// Which member holds a partition. No other may get it.
    holders: FxHashMap<(Uuid, i32), Arc<str>>,
    /// Member by instance id.
    statics: FxHashMap<Arc<str>, Arc<str>>,
    /// How many members and patterns name a topic.
    topics: Tally,
    /// How many members use a pattern.
    patterns: Tally,
    classic_members: usize,
}

/// What the group has looked at in the cluster; forgotten at a restart.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The cluster's revision when subscribed topics were looked at last.
    pub(super) revision: Option<u64>,
    /// The same of the patterns.
    pub(super) patterns_revision: Option<u64>,
    /// The group's configs as of [`Self::revision`].
    pub(super) limits: Limits,
}

/// What is in force for one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub session: Duration,
    pub heartbeat: Duration,
    /// Least time between two targets.
    pub assignment_interval: Duration,
}

impl Limits {
    pub(super) fn of(settings: GroupSettings) -> Self {
        Self {
            session: ms(settings.session_timeout_ms),
            heartbeat: ms(settings.heartbeat_interval_ms),
            assignment_interval: ms(settings.assignment_interval_ms),
        }
    }
}

/// Kafka's names of a group's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    Assigning,
    Reconciling,
    Stable,
}

impl GroupState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

impl Default for Consumer {
    /// Kafka 4.3 counts from 1, so that a member never stays in the epoch with which it joined.
    fn default() -> Self {
        Self {
            epoch: GroupEpoch { epoch: 1, metadata_hash: 0 },
            target_epoch: TargetEpoch { epoch: 1, made_ms: 0 },
            members: BTreeMap::new(),
            targets: FxHashMap::default(),
            resolved: BTreeMap::new(),
            old_subscription_metadata: false,
            derived: Derived::default(),
            seen: Seen::default(),
        }
    }
}

impl Consumer {
    #[must_use]
    pub fn state(&self) -> GroupState {
        let target = self.target_epoch.epoch;
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch.epoch > target {
            GroupState::Assigning
        } else if self.members.values().all(|member| member.current.is_at(target)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// The group's epoch: it rises with every change of members or what they subscribe to.
    #[must_use]
    pub const fn epoch(&self) -> i32 {
        self.epoch.epoch
    }

    /// Members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member that has this instance id.
    pub(super) fn holder_of(&self, instance_id: &str) -> Option<(&Arc<str>, &Member)> {
        let id = self.derived.statics.get(instance_id)?;
        self.members.get_key_value(id)
    }

    /// Who has a partition, or had it and has not confirmed that it let go.
    pub(super) fn holder(&self, topic: Uuid, partition: i32) -> Option<&Arc<str>> {
        self.derived.holders.get(&(topic, partition))
    }

    pub(super) fn target(&self, member: &str) -> Option<&Arc<Partitions>> {
        self.targets.get(member)
    }

    /// Every topic that a member names or a pattern matched.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.derived.topics.0.keys()
    }

    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.derived.topics.0.contains_key(topic)
    }

    /// Patterns of members.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &Arc<str>> {
        self.derived.patterns.0.keys()
    }

    pub(super) fn uses_pattern(&self, pattern: &str) -> bool {
        self.derived.patterns.0.contains_key(pattern)
    }

    /// Whether a member wants a topic, by name or by what its pattern was resolved to.
    pub(super) fn wants(&self, member: &Member, topic: &str) -> bool {
        let within = |topics: &[Arc<str>]| topics.binary_search_by(|t| (**t).cmp(topic)).is_ok();
        let resolved = member.pattern().and_then(|pattern| self.resolved.get(pattern));
        within(&member.asked.subscribed_topics) || resolved.is_some_and(|r| within(&r.topics))
    }

    /// The assignor that most members ask for; of equals the one that the broker names first, which
    /// also serves a group that asks for none.
    pub(super) fn assignor(&self, offered: &[Assignor]) -> Assignor {
        let asked = |assignor: &Assignor| {
            let name = assignor.name();
            let names = self.members.values().map(|m| m.asked.server_assignor.as_deref());
            names.filter(|asked| *asked == Some(name)).count()
        };
        let first = offered.first().copied().unwrap_or(Assignor::Uniform);
        offered.iter().rev().max_by_key(|assignor| asked(assignor)).copied().unwrap_or(first)
    }

    /// A hash of all that an assignment depends on in the subscribed topics. It is stored, so that
    /// after a restart a change is noticed; Kafka 4.1's function.
    pub(super) fn metadata_hash(&self, cluster: &dyn Cluster) -> i64 {
        let mut hashes = Vec::new();
        for topic in self.topics().filter_map(|name| cluster.topic(name)) {
            hashes.extend_from_slice(&topic_hash(&topic).to_le_bytes());
        }
        if hashes.is_empty() {
            return 0;
        }
        XxHash3_64::oneshot(&hashes).cast_signed()
    }

    pub(super) fn put_member(&mut self, id: &Arc<str>, asked: MemberMetadata) {
        let member = self.members.entry(Arc::clone(id)).or_default();
        if *member.asked == asked {
            return;
        }
        let before = std::mem::replace(&mut member.asked, Arc::new(asked));
        let after = Arc::clone(&member.asked);
        self.derived.forget(id, &before);
        self.derived.note(id, &after);
    }

    pub(super) fn put_current(&mut self, id: &Arc<str>, current: Current) {
        let member = self.members.entry(Arc::clone(id)).or_default();
        let before = std::mem::replace(&mut member.current, Arc::new(current));
        let after = Arc::clone(&member.current);
        self.derived.release(id, &before);
        for partition in after.held() {
            self.derived.holders.insert(partition, Arc::clone(id));
        }
    }

    pub(super) fn remove_member(&mut self, id: &str) {
        if let Some(member) = self.members.remove(id) {
            self.derived.forget(id, &member.asked);
            self.derived.release(id, &member.current);
        }
    }

    pub(super) fn put_resolved(&mut self, pattern: Arc<str>, resolved: Option<ResolvedRegex>) {
        if let Some(before) = self.resolved.remove(&pattern) {
            before.topics.iter().for_each(|topic| self.derived.topics.take(topic));
        }
        if let Some(resolved) = resolved {
            resolved.topics.iter().for_each(|topic| self.derived.topics.add(topic));
            self.resolved.insert(pattern, resolved);
        }
    }

    /// What is derived is what it would be if it were made anew.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut anew = Self::default();
        for (id, member) in &self.members {
            for (topic, partition) in member.current.held() {
                if let Some(other) = anew.holder(topic, partition) {
                    return Err(format!("{topic}-{partition} is held by {other} and {id}"));
                }
                anew.derived.holders.insert((topic, partition), Arc::clone(id));
            }
            anew.put_member(id, (*member.asked).clone());
            if member.current.epoch > self.target_epoch.epoch {
                return Err(format!("{id} is ahead of the target"));
            }
        }
        for (pattern, resolved) in &self.resolved {
            anew.put_resolved(Arc::clone(pattern), Some(resolved.clone()));
        }
        if self.target_epoch.epoch > self.epoch.epoch {
            return Err("the target is ahead of the group".into());
        }
        let same = anew.derived.holders == self.derived.holders
            && anew.derived.topics == self.derived.topics
            && anew.derived.patterns == self.derived.patterns
            && anew.derived.classic_members == self.derived.classic_members;
        if same { Ok(()) } else { Err("what is derived from the members is out of date".into()) }
    }
}

impl Derived {
    fn note(&mut self, id: &Arc<str>, asked: &MemberMetadata) {
        asked.subscribed_topics.iter().for_each(|topic| self.topics.add(topic));
        asked.subscribed_regex.iter().filter(|p| !p.is_empty()).for_each(|p| self.patterns.add(p));
        if let Some(instance_id) = &asked.instance_id {
            self.statics.insert(Arc::clone(instance_id), Arc::clone(id));
        }
        self.classic_members += usize::from(asked.classic.is_some());
    }

    fn forget(&mut self, id: &str, asked: &MemberMetadata) {
        asked.subscribed_topics.iter().for_each(|topic| self.topics.take(topic));
        asked.subscribed_regex.iter().for_each(|pattern| self.patterns.take(pattern));
        if let Some(instance_id) = &asked.instance_id
            && self.statics.get(instance_id).is_some_and(|holder| **holder == *id)
        {
            self.statics.remove(instance_id);
        }
        self.classic_members -= usize::from(asked.classic.is_some());
    }

    /// While a compacted log is read, a later owner may come before the record by which the
    /// earlier one let go.
    fn release(&mut self, id: &str, current: &Current) {
        for partition in current.held() {
            if self.holders.get(&partition).is_some_and(|holder| **holder == *id) {
                self.holders.remove(&partition);
            }
        }
    }
}

/// How often each name is used; unused names are not in it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally(BTreeMap<Arc<str>, usize>);

impl Tally {
    fn add(&mut self, name: &Arc<str>) {
        *self.0.entry(Arc::clone(name)).or_default() += 1;
    }

    fn take(&mut self, name: &str) {
        if let Some(count) = self.0.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(name);
            }
        }
    }
}

/// Id, name and partitions, in the layout that Kafka's hash function reads: little-endian numbers,
/// text as UTF-16 with its length behind it. There are no racks here to be added.
fn topic_hash(topic: &TopicInfo) -> u64 {
    const VERSION: u8 = 0;
    let mut bytes = vec![VERSION];
    let (most, least) = topic.id.as_u64_pair();
    bytes.extend_from_slice(&most.to_le_bytes());
    bytes.extend_from_slice(&least.to_le_bytes());
    let mut length: i32 = 0;
    for unit in topic.name.encode_utf16() {
        bytes.extend_from_slice(&unit.to_le_bytes());
        length += 1;
    }
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&topic.partitions.to_le_bytes());
    for partition in 0..topic.partitions {
        bytes.extend_from_slice(&partition.to_le_bytes());
    }
    XxHash3_64::oneshot(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::parse_base64_id;
    use crate::coord::group::kit::FakeCluster;

    /// What Kafka 4.3.1 stored for a group of one topic.
    #[test]
    fn metadata_is_hashed_as_kafka_does() {
        let topic = TopicInfo {
            id: parse_base64_id("U7cLu5JESVeoXMoAZrpmcw").unwrap(),
            name: Arc::from("moves-7162"),
            partitions: 4,
            role: None,
        };
        let hash = XxHash3_64::oneshot(&topic_hash(&topic).to_le_bytes());
        assert_eq!(hash, 4_079_903_262_419_488_217);
        assert_eq!(Consumer::default().metadata_hash(&FakeCluster::default()), 0);
    }
}
