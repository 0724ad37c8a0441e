//! Members of the classic protocol in a consumer group, while it changes over (KIP-848).
//!
//! To such a member the group looks like one that somebody else leads: its generation is its member
//! epoch, JoinGroup takes in its subscription and moves it a step towards its target, SyncGroup
//! tells it what it has, and Heartbeat says REBALANCE_IN_PROGRESS where it must come again.

use std::sync::Arc;

use bytes::Bytes;

use super::Timer;
use super::embedded::{self, Subscription};
use super::member::{Member, State};
use super::migrate;
use super::state::Consumer;
use super::turn::{Turn, ms};
use crate::base::fault::Code;
use crate::coord::group::classic::{
    CONSUMER_PROTOCOL_TYPE, Heartbeat, Join, JoinRefused, Joined, Leaver, Protocol, Sync, Synced,
};
use crate::coord::group::record::{ClassicMetadata, MemberMetadata, Record};
use crate::coord::group::settings::Migration;
use crate::coord::group::{Cx, GroupMap, Kind};

/// A turn of the group; `None` if it is no consumer group.
fn turn<'a, 'm>(groups: &'a mut GroupMap, cx: &'a mut Cx<'m>, group: &str) -> Option<Turn<'a, 'm>> {
    Turn::of(groups, cx, group).ok()
}

/// A classic member joins. `None` if the group is no consumer group, or is one no longer.
pub fn join(
    groups: &mut GroupMap,
    cx: &mut Cx<'_>,
    join: &Join,
) -> Option<Result<Joined, JoinRefused>> {
    make_way(groups, cx, &join.group);
    let turn = turn(groups, cx, &join.group)?;
    let joined = turn.join_classic(join);
    let member_id = |code| {
        let fresh = code == Code::MemberIdRequired;
        let fresh = fresh.then(|| Arc::from(crate::base::ids::base64_id(cx.moment.ids.fresh())));
        fresh.unwrap_or_else(|| Arc::from(join.member_id.as_str()))
    };
    Some(joined.map_err(|code| JoinRefused { code, member_id: member_id(code) }))
}

/// A classic member asks for its assignment. `None` if the group is no consumer group.
pub fn sync(groups: &mut GroupMap, cx: &mut Cx<'_>, sync: &Sync) -> Option<Result<Synced, Code>> {
    Some(turn(groups, cx, &sync.group)?.sync_classic(sync))
}

/// A classic member is alive. `None` if the group is no consumer group.
pub fn heartbeat(
    groups: &mut GroupMap,
    cx: &mut Cx<'_>,
    beat: &Heartbeat,
) -> Option<Result<(), Code>> {
    Some(turn(groups, cx, &beat.group)?.beat_classic(beat))
}

/// Members leave, by themselves or by an administrator's word. `None` if the group is no consumer
/// group.
pub fn leave(
    groups: &mut GroupMap,
    cx: &mut Cx<'_>,
    group: &str,
    leavers: &[Leaver],
) -> Option<Vec<(Leaver, Option<Code>)>> {
    Some(turn(groups, cx, group)?.leave_classic(leavers))
}

/// A consumer group without members is deleted when someone comes with the classic protocol.
fn make_way(groups: &mut GroupMap, cx: &mut Cx<'_>, group: &str) {
    let Some(group) = groups.get(group) else { return };
    if let Kind::Consumer(consumer) = &group.kind
        && consumer.is_empty()
    {
        for tombstone in consumer.tombstones(&Arc::clone(&group.id)) {
            cx.store(groups, Record::Consumer(tombstone));
        }
    }
}

impl Turn<'_, '_> {
    fn join_classic(mut self, join: &Join) -> Result<Joined, Code> {
        let subscription = self.may_join_classic(join)?;
        let id = self.classic_id(join)?;
        if let Some(instance_id) = join.instance_id.as_deref().filter(|_| join.member_id.is_empty())
        {
            self.take_over(instance_id, &id);
        }
        let changed = self.subscribe(&id, asked(join, &subscription));
        let owned = migrate::partitions(&subscription.owned, self.cx.moment.cluster);
        self.retarget();
        // It cannot be in a state of a newer broker and have partitions, or it would have been
        // refused.
        self.reconcile(&id, changed, Some(&owned)).map_err(|fault| fault.kind())?;

        self.cancel_timer(Timer::Join(Arc::clone(&id)));
        self.renew_session(&id);
        self.set_timer(Timer::Sync(Arc::clone(&id)), join.rebalance_timeout);
        let epoch = self.group().members.get(&id).map_or(0, |member| member.current.epoch);
        if self.may_downgrade_without(&[]) {
            self.downgrade_without(&[]);
        }
        Ok(Joined {
            member_id: id,
            generation: epoch,
            protocol_type: Some(Arc::from(CONSUMER_PROTOCOL_TYPE)),
            protocol: join.protocols.first().map(|protocol| Arc::clone(&protocol.name)),
            // The broker leads: no member is told that it does.
            leader: Arc::default(),
            skip_assignment: false,
            members: Vec::new(),
        })
    }

    /// All that can be said against a join, before anything changes.
    fn may_join_classic(&self, join: &Join) -> Result<Subscription, Code> {
        let group = self.group();
        if self.cx.settings.migration == Migration::Disabled {
            return Err(Code::InconsistentGroupProtocol);
        }
        let known = group.members.contains_key(&*join.member_id);
        if group.members.len() >= self.cx.settings.consumer_max_size && !known {
            return Err(Code::GroupMaxSizeReached);
        }
        if join.protocol_type != CONSUMER_PROTOCOL_TYPE || !group.supports(&join.protocols) {
            return Err(Code::InconsistentGroupProtocol);
        }
        if join.needs_known_id && join.member_id.is_empty() && join.instance_id.is_none() {
            return Err(Code::MemberIdRequired);
        }
        let first = join.protocols.first().ok_or(Code::InconsistentGroupProtocol)?;
        embedded::subscription(&first.metadata).ok_or(Code::InconsistentGroupProtocol)
    }

    /// The id under which it joins: its own, or a new one. A static member that comes with an id
    /// must still hold its instance.
    fn classic_id(&self, join: &Join) -> Result<Arc<str>, Code> {
        if join.member_id.is_empty() {
            return Ok(Arc::from(crate::base::ids::base64_id(self.cx.moment.ids.fresh())));
        }
        match &join.instance_id {
            Some(instance_id) => {
                let (id, _) = self
                    .member(&join.member_id, Some(instance_id))
                    .map_err(|fault| fault.kind())?;
                Ok(Arc::clone(id))
            }
            None => Ok(Arc::from(join.member_id.as_str())),
        }
    }

    fn sync_classic(&mut self, sync: &Sync) -> Result<Synced, Code> {
        let (id, member) =
            self.classic_member(&sync.member_id, sync.instance_id.as_deref(), sync.generation)?;
        let first = member.asked.classic.as_ref().and_then(|classic| classic.protocols.first());
        let name = first.map(|(name, _)| &**name);
        let differs =
            |told: &Option<String>, ours| told.as_deref().is_some_and(|t| Some(t) != ours);
        if differs(&sync.protocol_type, Some(CONSUMER_PROTOCOL_TYPE))
            || differs(&sync.protocol, name)
        {
            return Err(Code::InconsistentGroupProtocol);
        }
        // One that must let go of partitions has come again already.
        if self.group().target_epoch.epoch > member.current.epoch
            && member.current.state != State::UnrevokedPartitions
        {
            self.expect_join(&id, &member);
            return Err(Code::RebalanceInProgress);
        }
        self.cancel_timer(Timer::Sync(Arc::clone(&id)));
        self.renew_session(&id);
        Ok(Synced {
            protocol_type: sync.protocol_type.as_deref().map(Arc::from),
            protocol: sync.protocol.as_deref().map(Arc::from),
            assignment: self.assignment_of(&member),
        })
    }

    fn assignment_of(&self, member: &Member) -> Bytes {
        let version = member.asked.classic.as_ref().map_or(0, migrate::subscription_version);
        let assigned = member.current.assigned.iter();
        let topics = assigned.map(|(topic, of)| (*topic, of.keys().copied().collect()));
        embedded::encode_assignment(version, &migrate::named(topics, self.cx.moment.cluster))
    }

    fn beat_classic(&mut self, beat: &Heartbeat) -> Result<(), Code> {
        let (id, member) =
            self.classic_member(&beat.member_id, beat.instance_id.as_deref(), beat.generation)?;
        self.renew_session(&id);
        let group = self.group();
        let must_join = match member.current.state {
            _ if member.current.epoch < group.target_epoch.epoch => true,
            State::UnrevokedPartitions => true,
            State::UnreleasedPartitions => !group.waits_for_others(&id, &member),
            State::Stable | State::Unknown => false,
        };
        if must_join {
            self.expect_join(&id, &member);
            return Err(Code::RebalanceInProgress);
        }
        Ok(())
    }

    /// Someone who must join again has its rebalance time-out to do so.
    fn expect_join(&mut self, id: &Arc<str>, member: &Member) {
        let timer = Timer::Join(Arc::clone(id));
        if !self.has_timer(timer.clone()) {
            self.set_timer(timer, ms(member.asked.rebalance_timeout_ms));
        }
    }

    /// The classic member of this id and generation.
    fn classic_member(
        &self,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(Arc<str>, Member), Code> {
        let (id, member) = self.member(id, instance_id).map_err(|fault| fault.kind())?;
        if !member.speaks_classic() {
            return Err(Code::UnknownMemberId);
        }
        if member.current.epoch != generation {
            return Err(Code::IllegalGeneration);
        }
        Ok((Arc::clone(id), member.clone()))
    }

    fn leave_classic(self, leavers: &[Leaver]) -> Vec<(Leaver, Option<Code>)> {
        let mut leaving = Vec::new();
        let mut outcomes = Vec::with_capacity(leavers.len());
        for leaver in leavers {
            let found = self.leaving(leaver);
            outcomes.push((leaver.clone(), found.as_ref().err().copied()));
            leaving.extend(found);
        }
        leaving.sort_unstable();
        leaving.dedup();
        if !leaving.is_empty() {
            self.fence(&leaving);
        }
        outcomes
    }

    fn leaving(&self, leaver: &Leaver) -> Result<Arc<str>, Code> {
        match leaver.instance_id.as_deref() {
            // An administrator knows the instance alone.
            Some(instance_id) if leaver.member_id.is_empty() => {
                let holder = self.group().holder_of(instance_id).ok_or(Code::UnknownMemberId)?;
                Ok(Arc::clone(holder.0))
            }
            instance_id => {
                let member = self.member(&leaver.member_id, instance_id);
                member.map(|(id, _)| Arc::clone(id)).map_err(|fault| fault.kind())
            }
        }
    }
}

impl Consumer {
    /// Whether something that the member shall have is still held by another.
    fn waits_for_others(&self, id: &Arc<str>, member: &Member) -> bool {
        let target = self.target(id).into_iter().flat_map(|target| target.iter());
        let mut target = target.flat_map(|(topic, of)| of.iter().map(|p| (*topic, *p)));
        target.any(|(topic, partition)| {
            let has =
                member.current.assigned.get(&topic).is_some_and(|of| of.contains_key(&partition));
            !has && self.holder(topic, partition).is_some_and(|holder| holder != id)
        })
    }
}

/// What a classic member asks for.
fn asked(join: &Join, subscription: &Subscription) -> MemberMetadata {
    let mut subscribed_topics = subscription.topics.clone();
    subscribed_topics.sort_unstable();
    subscribed_topics.dedup();
    let to_ms = |time: std::time::Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    let offered = |protocol: &Protocol| (Arc::clone(&protocol.name), protocol.metadata.clone());
    MemberMetadata {
        instance_id: join.instance_id.as_deref().map(Arc::from),
        rack_id: subscription.rack_id.clone(),
        client_id: Arc::from(join.client_id.as_str()),
        client_host: Arc::from(join.client_host.as_str()),
        subscribed_topics,
        subscribed_regex: None,
        rebalance_timeout_ms: to_ms(join.rebalance_timeout),
        server_assignor: None,
        classic: Some(ClassicMetadata {
            session_timeout_ms: to_ms(join.session_timeout),
            protocols: join.protocols.iter().map(offered).collect(),
        }),
    }
}
