//! A group changes its protocol while it has members (KIP-848, online migration).
//!
//! Up, when the first member of the consumer protocol joins a group of consumers of the classic
//! one: they stay, with what their leader assigned last, and go on in the classic protocol, which
//! `classic_member` serves. Down, when the last member of the consumer protocol goes: those who
//! stay are told to rebalance, and one of them leads again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::assignor::Partitions;
use super::embedded::{self, Named};
use super::member::{self, Current};
use super::state::Consumer;
use super::turn::{Turn, not_found};
use crate::base::fault::Fault;
use crate::base::ids::Uuid;
use crate::coord::cluster::Cluster;
use crate::coord::group::classic::{self, CONSUMER_PROTOCOL_TYPE, Classic, Protocol};
use crate::coord::group::record::{
    ClassicMetadata, ClassicRecord, ConsumerEntry, GroupEpoch, MemberMetadata, Record, TargetEpoch,
};
use crate::coord::group::settings::Migration;
use crate::coord::group::{Cx, GroupMap, Kind};

/// A classic member as a member of a consumer group.
struct Arrival {
    id: Arc<str>,
    asked: MemberMetadata,
    assigned: Partitions,
}

/// Whether a classic group may become a consumer group.
///
/// # Errors
/// GROUP_ID_NOT_FOUND, as Kafka tells a member of the consumer protocol that it cannot be in this
/// group.
pub(super) fn may_upgrade(classic: &Classic, cx: &Cx<'_>, group: &str) -> Result<(), Fault> {
    if classic.is_empty() {
        return Ok(());
    }
    let refused = |why: &str| {
        Err(not_found(format!("Cannot upgrade classic group {group} to consumer group: {why}.")))
    };
    if !matches!(cx.settings.migration, Migration::Upgrade | Migration::Bidirectional) {
        return refused("online upgrade is disabled");
    }
    if classic.protocol_type() != Some(CONSUMER_PROTOCOL_TYPE) {
        return refused("its members are not consumers");
    }
    if classic.len() > cx.settings.consumer_max_size {
        return refused("it is larger than consumer groups may be");
    }
    match arrivals(classic, cx.moment.cluster) {
        Ok(_) => Ok(()),
        Err(why) => refused(why),
    }
}

/// Makes the group a consumer group, if it is not one yet. A classic one has passed
/// [`may_upgrade`].
pub(super) fn open(groups: &mut GroupMap, cx: &mut Cx<'_>, id: &Arc<str>) {
    let group = groups.entry(id);
    let classic = match &group.kind {
        Kind::Consumer(_) => return,
        Kind::Simple => {
            group.kind = Kind::Consumer(Box::default());
            return;
        }
        Kind::Classic(classic) => classic,
    };
    let generation = classic.generation();
    let arrivals = arrivals(classic, cx.moment.cluster).unwrap_or_default();
    classic::give_up(groups, cx, id);
    let tombstone = ClassicRecord { group: Arc::clone(id), value: None };
    cx.store(groups, Record::Classic(tombstone));
    groups.entry(id).kind = Kind::Consumer(Box::default());
    if let Ok(mut turn) = Turn::of(groups, cx, id)
        && !arrivals.is_empty()
    {
        turn.admit(generation, arrivals);
    }
}

/// The members of a classic group, with what they were assigned last.
fn arrivals(classic: &Classic, cluster: &dyn Cluster) -> Result<Vec<Arrival>, &'static str> {
    let mut taken = BTreeSet::new();
    let arrivals = classic.members().map(|(id, member)| {
        let chosen = classic
            .protocol()
            .and_then(|name| member.protocols.iter().find(|protocol| *protocol.name == *name));
        let chosen = chosen.or(member.protocols.first());
        let subscription = chosen.and_then(|chosen| embedded::subscription(&chosen.metadata));
        let assignment = embedded::assignment(&member.assignment);
        let (Some(subscription), Some(assignment)) = (subscription, assignment) else {
            return Err("the embedded consumer protocol is malformed");
        };
        if assignment.has_user_data {
            return Err("an assignor of its own is in use, whose data would be lost");
        }
        let mut assigned = partitions(&assignment.partitions, cluster);
        // A leader that gives a partition to two is wrong; then the first keeps it.
        assigned.retain(|topic, of| {
            of.retain(|partition| taken.insert((*topic, *partition)));
            !of.is_empty()
        });
        let mut subscribed_topics = subscription.topics;
        subscribed_topics.sort_unstable();
        subscribed_topics.dedup();
        let protocols = member.protocols.iter();
        let asked = MemberMetadata {
            instance_id: member.instance_id.clone(),
            rack_id: subscription.rack_id,
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            subscribed_topics,
            subscribed_regex: None,
            rebalance_timeout_ms: to_ms(member.rebalance_timeout),
            server_assignor: None,
            classic: Some(ClassicMetadata {
                session_timeout_ms: to_ms(member.session_timeout),
                protocols: protocols.map(|p| (Arc::clone(&p.name), p.metadata.clone())).collect(),
            }),
        };
        Ok(Arrival { id: Arc::clone(id), asked, assigned })
    });
    arrivals.collect()
}

/// By id; a topic that is gone is left out.
pub(super) fn partitions(named: &Named, cluster: &dyn Cluster) -> Partitions {
    let mut partitions = Partitions::new();
    for (name, of) in named.iter().filter(|(_, of)| !of.is_empty()) {
        if let Some(topic) = cluster.topic(name) {
            partitions.entry(topic.id).or_default().extend(of);
        }
    }
    partitions
}

/// By name; a topic that is gone is left out.
pub(super) fn named<'a>(
    topics: impl Iterator<Item = (Uuid, Vec<i32>)> + 'a,
    cluster: &'a dyn Cluster,
) -> Named {
    topics.filter_map(|(id, of)| Some((cluster.topic_by_id(id)?.name, of))).collect()
}

impl Turn<'_, '_> {
    /// The generation becomes the epoch of the group, of its target and of all members.
    fn admit(&mut self, generation: i32, arrivals: Vec<Arrival>) {
        for arrival in &arrivals {
            let asked = Some(arrival.asked.clone());
            self.store(ConsumerEntry::Member(Arc::clone(&arrival.id), asked));
        }
        let metadata_hash = self.group().metadata_hash(self.cx.moment.cluster);
        let epoch = GroupEpoch { epoch: generation, metadata_hash };
        self.store(ConsumerEntry::Group(Some(epoch)));
        for arrival in &arrivals {
            let target = member::target_topics(&arrival.assigned);
            self.store(ConsumerEntry::MemberTarget(Arc::clone(&arrival.id), Some(target)));
        }
        let target = TargetEpoch { epoch: generation, made_ms: 0 };
        self.store(ConsumerEntry::Target(Some(target)));
        for arrival in arrivals {
            let current = Current {
                epoch: generation,
                previous_epoch: generation,
                assigned: member::since(&arrival.assigned, generation),
                ..Current::default()
            };
            let record = Some(current.record());
            self.store(ConsumerEntry::MemberCurrent(Arc::clone(&arrival.id), record));
            self.renew_session(&arrival.id);
        }
    }

    /// Whether the group would be one of classic members alone without these, and may then become
    /// a classic group.
    pub(super) fn may_downgrade_without(&self, leaving: &[Arc<str>]) -> bool {
        let stay = || self.group().members.iter().filter(|(id, _)| !leaving.contains(id));
        let count = stay().count();
        matches!(self.cx.settings.migration, Migration::Downgrade | Migration::Bidirectional)
            && (1..=self.cx.settings.max_size).contains(&count)
            && stay().all(|(_, member)| member.speaks_classic())
    }

    /// Makes the group a classic one of those that stay, and has them rebalance.
    pub(super) fn downgrade_without(self, leaving: &[Arc<str>]) {
        let (classic, tombstones) = (self.as_classic(leaving), self.group().tombstones(&self.id));
        let members: Vec<_> = self.group().members.keys().cloned().collect();
        let mut turn = self;
        members.iter().for_each(|id| turn.cancel_timers(id));
        let Self { groups, cx, id } = turn;
        for tombstone in tombstones {
            cx.store(groups, Record::Consumer(tombstone));
        }
        let value = Some(classic.stored());
        groups.entry(&id).kind = Kind::Classic(Box::new(classic));
        cx.store(groups, Record::Classic(ClassicRecord { group: Arc::clone(&id), value }));
        classic::take_over(groups, cx, &id);
    }

    fn as_classic(&self, leaving: &[Arc<str>]) -> Classic {
        let cluster = self.cx.moment.cluster;
        let group = self.group();
        let stay = group.members.iter().filter(|(id, _)| !leaving.contains(id));
        let members = stay.filter_map(|(id, member)| {
            let classic = member.asked.classic.as_ref()?;
            // What it may still read, not what it was to get: should the group change over again
            // before it has joined, nobody else may be given that.
            let mut held = Partitions::new();
            for (topic, of) in member.current.assigned.iter().chain(&member.current.revoking) {
                held.entry(*topic).or_default().extend(of.keys());
            }
            let held = held.into_iter().map(|(topic, of)| (topic, of.into_iter().collect()));
            let protocols = classic.protocols.iter().map(|(name, metadata)| Protocol {
                name: Arc::clone(name),
                metadata: metadata.clone(),
            });
            let converted = classic::Member {
                instance_id: member.asked.instance_id.clone(),
                client_id: Arc::clone(&member.asked.client_id),
                client_host: Arc::clone(&member.asked.client_host),
                rebalance_timeout: super::turn::ms(member.asked.rebalance_timeout_ms),
                session_timeout: super::turn::ms(classic.session_timeout_ms),
                protocols: protocols.collect(),
                assignment: embedded::encode_assignment(
                    subscription_version(classic),
                    &named(held, cluster),
                ),
                wait: classic::Wait::default(),
            };
            Some((Arc::clone(id), converted))
        });
        let since_ms = self.cx.moment.wall_ms;
        Classic::from_members(group.epoch.epoch, CONSUMER_PROTOCOL_TYPE, members, since_ms)
    }
}

/// The version in which a classic member understands its assignment.
pub(super) fn subscription_version(classic: &ClassicMetadata) -> i16 {
    let first = classic.protocols.first();
    let read = first.and_then(|(_, metadata)| embedded::subscription(metadata));
    read.map_or(0, |subscription| subscription.version)
}

impl Consumer {
    /// Whether a classic member that offers these could be in the group: all who are there offer
    /// one of them.
    pub(super) fn supports(&self, protocols: &[Protocol]) -> bool {
        let classic = || self.members.values().filter_map(|member| member.asked.classic.as_ref());
        protocols.iter().any(|protocol| {
            classic()
                .all(|classic| classic.protocols.iter().any(|(name, _)| *name == protocol.name))
        })
    }
}

fn to_ms(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
