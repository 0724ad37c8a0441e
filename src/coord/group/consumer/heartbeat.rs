//! `ConsumerGroupHeartbeat`: join, report, leave (KIP-848).

use std::sync::Arc;
use std::time::Duration;

use super::command::{Beat, Heartbeat, MemberEpoch};
use super::member::{Current, LEFT_FOR_NOW, Member, Owned, State};
use super::turn::Turn;
use super::{Timer, migrate, pattern};
use crate::base::fault::{Code, Fault};
use crate::coord::group::record::{ConsumerEntry, MemberMetadata};
use crate::coord::group::{Cx, GroupMap, Kind};

/// How soon a member is to come back that waits for partitions.
const HEARTBEAT_OF_WAITING: Duration = Duration::from_secs(1);

pub(super) fn heartbeat(
    groups: &mut GroupMap,
    cx: &mut Cx<'_>,
    beat: &Heartbeat,
) -> Result<Beat, Fault> {
    match beat.epoch {
        MemberEpoch::Leave | MemberEpoch::LeaveForNow => {
            Turn::of(groups, cx, &beat.group)?.leave(beat)
        }
        MemberEpoch::At(epoch) => {
            let mut turn = Turn::of(groups, cx, &beat.group)?;
            let id = turn.reporting_member(beat, epoch)?;
            turn.report(&id, beat)
        }
        MemberEpoch::Join => {
            let id = if beat.member_id.is_empty() {
                Arc::from(crate::base::ids::base64_id(cx.moment.ids.fresh()))
            } else {
                Arc::clone(&beat.member_id)
            };
            may_join(groups, cx, beat, &id)?;
            migrate::open(groups, cx, &beat.group);
            let mut turn = Turn::of(groups, cx, &beat.group)?;
            if let Some(instance_id) = &beat.instance_id {
                turn.take_over(instance_id, &id);
            }
            turn.report(&id, beat)
        }
    }
}

/// All that can be said against a join, before anything changes.
fn may_join(groups: &GroupMap, cx: &Cx<'_>, beat: &Heartbeat, id: &str) -> Result<(), Fault> {
    let kind = groups.get(&beat.group).map(|group| &group.kind);
    let consumer = match kind {
        None | Some(Kind::Simple | Kind::Classic(_)) => None,
        Some(Kind::Consumer(consumer)) => Some(consumer),
    };
    let (size, known) = match kind {
        Some(Kind::Classic(classic)) => {
            migrate::may_upgrade(classic, cx, &beat.group)?;
            (classic.len(), classic.member(id).is_some())
        }
        _ => consumer.map_or((0, false), |c| (c.members.len(), c.members.contains_key(id))),
    };
    let max = cx.settings.consumer_max_size;
    if size >= max && !known {
        let message = format!("The consumer group has reached its maximum of {max} members.");
        return Err(Fault::with(Code::GroupMaxSizeReached, message));
    }
    let holder = beat.instance_id.as_ref().and_then(|id| consumer?.holder_of(id));
    if let Some((holder, member)) = holder
        && !member.speaks_classic()
        && member.current.epoch != LEFT_FOR_NOW
    {
        let message =
            format!("Static member {id} cannot join: its instance id is owned by member {holder}.");
        return Err(Fault::with(Code::UnreleasedInstanceId, message));
    }
    let in_use = |regex: &Arc<str>| consumer.is_some_and(|consumer| consumer.uses_pattern(regex));
    check_pattern(beat.regex.as_ref().is_some_and(in_use), beat)
}

/// A pattern that a member uses already needs no check.
fn check_pattern(in_use: bool, beat: &Heartbeat) -> Result<(), Fault> {
    match &beat.regex {
        Some(regex) if !regex.is_empty() && !in_use => {
            pattern::compile(regex).map(|_| ()).map_err(|error| {
                let message = format!(
                    "SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}."
                );
                Fault::with(Code::InvalidRegularExpression, message)
            })
        }
        _ => Ok(()),
    }
}

impl Turn<'_, '_> {
    /// The member that sent this heartbeat, if it may.
    fn reporting_member(&self, beat: &Heartbeat, epoch: i32) -> Result<Arc<str>, Fault> {
        let (id, member) = self.member(&beat.member_id, beat.instance_id.as_deref())?;
        check_epoch(member, beat, epoch)?;
        let in_use = beat.regex.as_ref().is_some_and(|regex| self.group().uses_pattern(regex));
        check_pattern(in_use, beat)?;
        Ok(Arc::clone(id))
    }

    /// The member of this id, and of this instance id if it has one.
    pub(super) fn member(
        &self,
        id: &str,
        instance_id: Option<&str>,
    ) -> Result<(&Arc<str>, &Member), Fault> {
        let group = self.group();
        let Some(instance_id) = instance_id else {
            return group.members.get_key_value(id).ok_or_else(|| {
                let message = format!("Member {id} is not a member of group {}.", self.id);
                Fault::with(Code::UnknownMemberId, message)
            });
        };
        let (holder, member) = group.holder_of(instance_id).ok_or_else(|| {
            Fault::with(Code::UnknownMemberId, format!("Instance id {instance_id} is unknown."))
        })?;
        if **holder != *id {
            let message = format!(
                "Static member {id} with instance id {instance_id} was fenced by {holder}."
            );
            return Err(Fault::with(Code::FencedInstanceId, message));
        }
        Ok((holder, member))
    }

    /// Gives all that a static member left behind to the one that comes with its instance id.
    pub(super) fn take_over(&mut self, instance_id: &str, id: &Arc<str>) {
        let Some((old, member)) = self.group().holder_of(instance_id) else { return };
        let (old, member) = (Arc::clone(old), member.clone());
        let target = self.group().target(&old).cloned().unwrap_or_default();
        let current = Current { epoch: 0, previous_epoch: 0, ..(*member.current).clone() };
        self.remove_member(&old);
        let target = super::member::target_topics(&target);
        self.store(ConsumerEntry::Member(Arc::clone(id), Some((*member.asked).clone())));
        self.store(ConsumerEntry::MemberTarget(Arc::clone(id), Some(target)));
        self.store(ConsumerEntry::MemberCurrent(Arc::clone(id), Some(current.record())));
    }

    /// The common part of joins and reports: what the member wants, the target, the next step.
    fn report(&mut self, id: &Arc<str>, beat: &Heartbeat) -> Result<Beat, Fault> {
        let before = self.group().members.get(id).cloned().unwrap_or_default();
        let changed = self.subscribe(id, asked(&before.asked, beat));
        self.retarget();
        self.reconcile(id, changed, beat.owned.as_ref())?;
        self.renew_session(id);

        let after = self.group().members.get(id).cloned().unwrap_or_default();
        let full = beat.rebalance_timeout_ms.is_some()
            && (beat.topics.is_some() || beat.regex.is_some())
            && beat.owned.is_some();
        let tell = beat.epoch == MemberEpoch::Join
            || full
            || before.current.assigned != after.current.assigned;
        let assignment = tell.then(|| {
            let topics = after.current.assigned.iter();
            topics.map(|(topic, of)| (*topic, of.keys().copied().collect())).collect()
        });
        let interval_ms = self.next_heartbeat(&after).as_millis();
        Ok(Beat {
            member_id: Arc::clone(id),
            epoch: after.current.epoch,
            heartbeat_interval_ms: i32::try_from(interval_ms).unwrap_or(i32::MAX),
            assignment,
        })
    }

    /// When the member shall report again: sooner while it waits for a target or for partitions that
    /// others let go of. Kafka always says the group's interval, and a large group then takes two of
    /// them to form.
    fn next_heartbeat(&mut self, member: &Member) -> Duration {
        let interval = self.limits().heartbeat;
        let group = self.group();
        let waits = group.epoch.epoch > group.target_epoch.epoch
            || member.current.state == State::UnreleasedPartitions;
        if waits { interval.min(HEARTBEAT_OF_WAITING) } else { interval }
    }

    fn leave(mut self, beat: &Heartbeat) -> Result<Beat, Fault> {
        let (id, member) = self.member(&beat.member_id, beat.instance_id.as_deref())?;
        let (id, current) = (Arc::clone(id), Arc::clone(&member.current));
        let for_now = beat.epoch == MemberEpoch::LeaveForNow;
        if for_now {
            self.leave_for_now(&id, &current);
        } else {
            self.fence(&[Arc::clone(&id)]);
        }
        Ok(Beat {
            member_id: id,
            epoch: if for_now { LEFT_FOR_NOW } else { -1 },
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }

    /// A static member keeps its partitions until its session ends or it is back. Whoever comes
    /// back has them from epoch 0 on: commits under the old id are fenced.
    fn leave_for_now(&mut self, id: &Arc<str>, current: &Current) {
        let mut assigned = current.assigned.clone();
        assigned.values_mut().flat_map(|of| of.values_mut()).for_each(|epoch| *epoch = 0);
        let left =
            Current { epoch: LEFT_FOR_NOW, assigned, revoking: Owned::new(), ..current.clone() };
        self.store(ConsumerEntry::MemberCurrent(Arc::clone(id), Some(left.record())));
        self.cancel_timer(Timer::Rebalance(Arc::clone(id)));
    }
}

/// A member may come with its epoch or, when the answer that gave it this epoch was lost, with
/// the one before, as long as it has no more than it was given since.
fn check_epoch(member: &Member, beat: &Heartbeat, epoch: i32) -> Result<(), Fault> {
    let current = &member.current;
    let within = |owned: &super::assignor::Partitions| {
        owned.iter().all(|(topic, of)| {
            let assigned = current.assigned.get(topic);
            assigned.is_some_and(|assigned| of.iter().all(|p| assigned.contains_key(p)))
        })
    };
    let answer_was_lost =
        epoch == current.previous_epoch && beat.owned.as_ref().is_some_and(within);
    if epoch == current.epoch || (epoch < current.epoch && answer_was_lost) {
        return Ok(());
    }
    let than = if epoch > current.epoch { "greater" } else { "smaller" };
    let message = format!(
        "The member has epoch {epoch}, {than} than the {} known here: it must let go of all \
         partitions and rejoin.",
        current.epoch
    );
    Err(Fault::with(Code::FencedMemberEpoch, message))
}

/// What the member asks for now: what it says over what it said before.
fn asked(before: &MemberMetadata, beat: &Heartbeat) -> MemberMetadata {
    let mut topics = beat.topics.clone().unwrap_or_else(|| before.subscribed_topics.clone());
    topics.sort_unstable();
    topics.dedup();
    let or = |new: &Option<Arc<str>>, old: &Option<Arc<str>>| new.clone().or_else(|| old.clone());
    MemberMetadata {
        instance_id: or(&beat.instance_id, &before.instance_id),
        rack_id: or(&beat.rack_id, &before.rack_id),
        client_id: Arc::clone(&beat.client_id),
        client_host: Arc::clone(&beat.client_host),
        subscribed_topics: topics,
        subscribed_regex: or(&beat.regex, &before.subscribed_regex),
        rebalance_timeout_ms: beat.rebalance_timeout_ms.unwrap_or(before.rebalance_timeout_ms),
        server_assignor: beat
            .assignor
            .map(|assignor| Arc::from(assignor.name()))
            .or_else(|| before.server_assignor.clone()),
        classic: None,
    }
}
