//! What is told of a group, and what offsets ask it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::{DescribedMember, DescribedTopic, Description};
use super::member::Member;
use super::state::Consumer;
use super::turn::not_found;
use crate::base::fault::{Code, Fault};
use crate::base::ids::Uuid;
use crate::coord::cluster::Cluster;
use crate::coord::group::{Cx, GroupMap, Kind};

pub(super) fn describe(groups: &GroupMap, cx: &Cx<'_>, group: &str) -> Result<Description, Fault> {
    let consumer = match groups.get(group).map(|group| &group.kind) {
        Some(Kind::Consumer(consumer)) => consumer,
        Some(_) => return Err(not_found(format!("Group {group} is not a consumer group."))),
        None => return Err(not_found(format!("Group {group} not found."))),
    };
    let cluster = cx.moment.cluster;
    let members = consumer.members.iter();
    Ok(Description {
        state: consumer.state(),
        epoch: consumer.epoch.epoch,
        assignment_epoch: consumer.target_epoch.epoch,
        assignor: consumer.assignor(&cx.settings.consumer_assignors),
        members: members.map(|(id, member)| described(consumer, id, member, cluster)).collect(),
    })
}

fn described(
    consumer: &Consumer,
    id: &Arc<str>,
    member: &Member,
    cluster: &dyn Cluster,
) -> DescribedMember {
    let Member { asked, current } = member;
    let target = consumer.target(id);
    let target = target.into_iter().flat_map(|target| target.iter());
    DescribedMember {
        member_id: Arc::clone(id),
        instance_id: asked.instance_id.clone(),
        rack_id: asked.rack_id.clone(),
        epoch: current.epoch,
        client_id: Arc::clone(&asked.client_id),
        client_host: Arc::clone(&asked.client_host),
        topics: asked.subscribed_topics.clone(),
        regex: asked.subscribed_regex.clone().unwrap_or_default(),
        assigned: topics(current.held(), cluster),
        target: topics(target.flat_map(|(id, of)| of.iter().map(|p| (*id, *p))), cluster),
        speaks_classic: member.speaks_classic(),
    }
}

/// Topics that are gone have no name and are left out.
fn topics(
    partitions: impl Iterator<Item = (Uuid, i32)>,
    cluster: &dyn Cluster,
) -> Vec<DescribedTopic> {
    let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        by_topic.entry(topic).or_default().push(partition);
    }
    let named = by_topic.into_iter().filter_map(|(id, mut partitions)| {
        partitions.sort_unstable();
        Some(DescribedTopic { id, name: cluster.topic_by_id(id)?.name, partitions })
    });
    named.collect()
}

impl Consumer {
    /// Whether a member reads a topic.
    #[must_use]
    pub fn subscribes(&self, topic: &str) -> bool {
        self.is_subscribed_to(topic)
    }

    /// Whether a member at this epoch may commit for these partitions. A commit that was on its way
    /// when the member moved on is good for what it has had since that epoch (KIP-1251). It stands or
    /// falls as a whole: Kafka 4.3 judges partitions one by one in commits of transactions only.
    ///
    /// `knows_epochs`: the request's version has a member epoch (since v9).
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, of a classic member ILLEGAL_GENERATION, and
    /// UNSUPPORTED_VERSION of a request that is too old for this protocol.
    pub fn check_commit(
        &self,
        member_id: &str,
        epoch: i32,
        knows_epochs: bool,
        partitions: &[(Uuid, i32)],
    ) -> Result<(), Code> {
        if epoch < 0 && self.is_empty() {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(Code::UnknownMemberId)?;
        if !knows_epochs && !member.speaks_classic() {
            return Err(Code::UnsupportedVersion);
        }
        let current = &member.current;
        let had = |(topic, partition): &(Uuid, i32)| {
            current.assigned_at(*topic, *partition).is_some_and(|since| since <= epoch)
        };
        if epoch == current.epoch || (epoch < current.epoch && partitions.iter().all(had)) {
            return Ok(());
        }
        Err(member.stale())
    }

    /// Whether a member at this epoch may fetch offsets. One that names neither is let through.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, of a classic member ILLEGAL_GENERATION.
    pub fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), Code> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = member_id.and_then(|id| self.members.get(id)).ok_or(Code::UnknownMemberId)?;
        if member.current.epoch == epoch { Ok(()) } else { Err(member.stale()) }
    }
}

impl Member {
    fn stale(&self) -> Code {
        if self.speaks_classic() { Code::IllegalGeneration } else { Code::StaleMemberEpoch }
    }
}
