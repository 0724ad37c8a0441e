//! One decision about one group: what every part of this folder works with.
//!
//! All refusals come before the first record: what is stored takes effect at once.

use std::sync::Arc;
use std::time::Duration;

use super::Timer;
use super::assignor::{Partitions, Subscriber, Subscribers, assign};
use super::member::{Current, Member, State, target_topics};
use super::pattern;
use super::reconcile::{self, Goal};
use super::state::{Consumer, Limits};
use crate::base::fault::{Code, Fault};
use crate::base::ids::Uuid;
use crate::coord::group::record::{
    ConsumerEntry, ConsumerRecord, GroupEpoch, MemberMetadata, Record, ResolvedRegex, TargetEpoch,
};
use crate::coord::group::{self, Cx, Group, GroupMap, Kind};

/// At least this much lies between two resolutions of a group's patterns, as in Kafka: they scan
/// all topics.
const PATTERN_REFRESH_MIN_MS: i64 = 10_000;

/// A decision in the making.
pub(super) struct Turn<'a, 'm> {
    pub(super) groups: &'a mut GroupMap,
    pub(super) cx: &'a mut Cx<'m>,
    pub(super) id: Arc<str>,
}

/// What a change of a member's subscription means for the group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Subscribed {
    /// The member wants other topics than before.
    pub(super) changed: bool,
    /// The target must be made anew.
    pub(super) bump: bool,
}

impl<'a, 'm> Turn<'a, 'm> {
    /// A turn of a group that is a consumer group.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND.
    pub(super) fn of(
        groups: &'a mut GroupMap,
        cx: &'a mut Cx<'m>,
        id: &str,
    ) -> Result<Self, Fault> {
        match groups.get(id) {
            Some(Group { id, kind: Kind::Consumer(_), .. }) => {
                let id = Arc::clone(id);
                Ok(Self { groups, cx, id })
            }
            Some(_) => Err(not_found(format!("Group {id} is not a consumer group."))),
            None => Err(not_found(format!("Group {id} not found."))),
        }
    }

    pub(super) fn group(&self) -> &Consumer {
        match self.groups.get(&self.id) {
            Some(Group { kind: Kind::Consumer(consumer), .. }) => consumer,
            _ => unreachable!("a turn is of a consumer group"),
        }
    }

    fn group_mut(&mut self) -> &mut Consumer {
        match self.groups.get_mut(&self.id) {
            Some(Group { kind: Kind::Consumer(consumer), .. }) => consumer,
            _ => unreachable!("a turn is of a consumer group"),
        }
    }

    pub(super) fn store(&mut self, entry: ConsumerEntry) {
        let group = Arc::clone(&self.id);
        self.cx.store(self.groups, Record::Consumer(ConsumerRecord { group, entry }));
    }

    pub(super) fn set_timer(&mut self, timer: Timer, after: Duration) {
        let at = self.cx.moment.now + after;
        self.cx.timers.set(group::Timer::Consumer(Arc::clone(&self.id), timer), at);
    }

    pub(super) fn cancel_timer(&mut self, timer: Timer) {
        self.cx.timers.cancel(&group::Timer::Consumer(Arc::clone(&self.id), timer));
    }

    pub(super) fn has_timer(&self, timer: Timer) -> bool {
        self.cx.timers.get(&group::Timer::Consumer(Arc::clone(&self.id), timer)).is_some()
    }

    pub(super) fn cancel_timers(&mut self, member: &Arc<str>) {
        let of = [Timer::Session, Timer::Rebalance, Timer::Join, Timer::Sync];
        of.into_iter().for_each(|timer| self.cancel_timer(timer(Arc::clone(member))));
    }

    /// The group's configs, looked up anew when the cluster has changed.
    pub(super) fn limits(&mut self) -> Limits {
        let revision = self.cx.moment.cluster.revision();
        if self.group().seen.revision != Some(revision) {
            self.group_mut().seen.limits =
                Limits::of(self.cx.moment.cluster.group_settings(&self.id));
        }
        self.group().seen.limits
    }

    /// Starts the member's session anew.
    pub(super) fn renew_session(&mut self, id: &Arc<str>) {
        let classic =
            self.group().members.get(id).and_then(|m| {
                m.asked.classic.as_ref().map(|classic| ms(classic.session_timeout_ms))
            });
        let session = classic.unwrap_or_else(|| self.limits().session);
        self.set_timer(Timer::Session(Arc::clone(id)), session);
    }

    /// Takes in what a member asks for, and makes a new target if it or the cluster calls for one.
    /// Returns whether the member wants other topics than before.
    pub(super) fn subscribe(&mut self, id: &Arc<str>, asked: MemberMetadata) -> bool {
        let Subscribed { changed, bump } = self.take_in(id, asked);
        self.note_cluster(bump);
        changed
    }

    fn take_in(&mut self, id: &Arc<str>, asked: MemberMetadata) -> Subscribed {
        let before = self.group().members.get(id).cloned().unwrap_or_default();
        if *before.asked != asked || !self.group().members.contains_key(id) {
            self.store(ConsumerEntry::Member(Arc::clone(id), Some(asked)));
        }
        let after = self.group().members.get(id).cloned().unwrap_or_default();
        let names = before.asked.subscribed_topics != after.asked.subscribed_topics;
        let patterns = self.update_patterns(&before, &after);
        Subscribed { changed: names || patterns.changed, bump: names || patterns.bump }
    }

    /// Drops the pattern that nobody uses any more and resolves what must be resolved.
    fn update_patterns(&mut self, before: &Member, after: &Member) -> Subscribed {
        let changed = before.pattern() != after.pattern();
        // Without a new pattern to be resolved later, the change counts now.
        let known = after.pattern().is_none_or(|p| self.group().resolved.contains_key(p));
        let mut bump = changed && known;
        if changed && let Some(old) = before.pattern() {
            self.forget_unused_pattern(old);
        }
        if self.patterns_are_due() {
            bump |= self.resolve_patterns();
        }
        Subscribed { changed, bump }
    }

    pub(super) fn forget_unused_pattern(&mut self, pattern: &Arc<str>) {
        if !self.group().uses_pattern(pattern) && self.group().resolved.contains_key(pattern) {
            self.store(ConsumerEntry::Regex(Arc::clone(pattern), None));
        }
    }

    fn patterns_are_due(&self) -> bool {
        let group = self.group();
        if group.patterns().next().is_none() {
            return false;
        }
        // They are resolved together, so that one change of topics means one new target.
        let last = group.resolved.values().map(|resolved| resolved.resolved_ms).min();
        let since_ms = last.map_or(i64::MAX, |last| self.cx.moment.wall_ms.saturating_sub(last));
        let refresh_ms = i64::try_from(self.cx.settings.consumer_regex_refresh.as_millis());
        let unresolved = group.patterns().any(|pattern| !group.resolved.contains_key(pattern));
        let cluster_changed =
            group.seen.patterns_revision != Some(self.cx.moment.cluster.revision());
        since_ms > PATTERN_REFRESH_MIN_MS
            && (unresolved || cluster_changed || since_ms > refresh_ms.unwrap_or(i64::MAX))
    }

    /// Resolves the group's patterns; whether one stands for other topics than before.
    ///
    /// This runs in the request: matching is linear in the names (0.4 ms for 10,000 topics and a
    /// pattern, measured), and the interval between two resolutions bounds what a group can cost.
    /// Kafka does it aside and tells the member one heartbeat later.
    fn resolve_patterns(&mut self) -> bool {
        let revision = self.cx.moment.cluster.revision();
        let resolved = pattern::resolve(self.group().patterns(), self.cx.moment.cluster);
        let mut changed = false;
        for (pattern, topics) in resolved {
            let before = self.group().resolved.get(&pattern);
            changed |= before.is_none_or(|before| before.topics != topics);
            let version = i64::try_from(revision).unwrap_or(i64::MAX);
            let resolved_ms = self.cx.moment.wall_ms;
            let resolved = ResolvedRegex { topics, version, resolved_ms };
            self.store(ConsumerEntry::Regex(pattern, Some(resolved)));
        }
        self.group_mut().seen.patterns_revision = Some(revision);
        changed
    }

    /// Moves the group's epoch if asked to, or if subscribed topics are not what they were.
    pub(super) fn note_cluster(&mut self, bump: bool) {
        let revision = self.cx.moment.cluster.revision();
        if !bump && self.group().seen.revision == Some(revision) {
            return;
        }
        let metadata_hash = self.group().metadata_hash(self.cx.moment.cluster);
        if bump || metadata_hash != self.group().epoch.metadata_hash {
            let epoch = self.group().epoch.epoch.saturating_add(1);
            self.store(ConsumerEntry::Group(Some(GroupEpoch { epoch, metadata_hash })));
        }
        let limits = Limits::of(self.cx.moment.cluster.group_settings(&self.id));
        let seen = &mut self.group_mut().seen;
        (seen.revision, seen.limits) = (Some(revision), limits);
        if self.group().old_subscription_metadata {
            self.store(ConsumerEntry::SubscriptionMetadata(false));
        }
    }

    /// Makes a new target if the group's epoch has moved and the last one is old enough.
    pub(super) fn retarget(&mut self) {
        let interval = self.limits().assignment_interval;
        let group = self.group();
        let TargetEpoch { epoch, made_ms } = group.target_epoch;
        if epoch >= group.epoch.epoch {
            return;
        }
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let next_ms = made_ms.saturating_add(interval_ms);
        let wall_ms = self.cx.moment.wall_ms;
        // A clock that was set back must not hold targets up for as long as it was set back.
        if made_ms != 0 && interval_ms != 0 && (made_ms..next_ms).contains(&wall_ms) {
            return;
        }
        for (id, target) in self.new_targets() {
            let target = target_topics(&target);
            self.store(ConsumerEntry::MemberTarget(id, Some(target)));
        }
        let epoch = self.group().epoch.epoch;
        self.store(ConsumerEntry::Target(Some(TargetEpoch { epoch, made_ms: wall_ms })));
    }

    /// The targets that differ from the present ones.
    fn new_targets(&self) -> Vec<(Arc<str>, Partitions)> {
        let group = self.group();
        let nothing = Partitions::new();
        let mut subscribers = Subscribers::default();
        let mut topics = super::topics::Resolver::new(group, self.cx.moment.cluster);
        for (id, member) in &group.members {
            subscribers.members.push(Subscriber {
                id,
                instance_id: member.asked.instance_id.as_deref(),
                topics: topics.of(member),
                current: group.target(id).map_or(&nothing, |target| target),
            });
        }
        subscribers.partitions = topics.partitions();
        let assignor = group.assignor(&self.cx.settings.consumer_assignors);
        let assigned = assign(assignor, &subscribers);
        let members = group.members.keys().zip(assigned);
        let new = members.filter(|(id, new)| group.target(id).is_none_or(|old| **old != *new));
        new.map(|(id, new)| (Arc::clone(id), new)).collect()
    }

    /// Moves a member towards its target.
    ///
    /// # Errors
    /// FENCED_MEMBER_EPOCH if it is in a state of a newer broker and still has partitions.
    pub(super) fn reconcile(
        &mut self,
        id: &Arc<str>,
        subscription_changed: bool,
        owned: Option<&Partitions>,
    ) -> Result<(), Fault> {
        let Some(next) = self.next(id, subscription_changed, owned)? else { return Ok(()) };
        let (state, record) = (next.state, next.record());
        self.store(ConsumerEntry::MemberCurrent(Arc::clone(id), Some(record)));
        let asked = self.group().members.get(id).map(|member| Arc::clone(&member.asked));
        // A classic member that does not come again has time-outs of its own.
        if let Some(asked) = asked.filter(|asked| asked.classic.is_none()) {
            let timer = Timer::Rebalance(Arc::clone(id));
            if state == State::UnrevokedPartitions {
                self.set_timer(timer, ms(asked.rebalance_timeout_ms));
            } else {
                self.cancel_timer(timer);
            }
        }
        Ok(())
    }

    fn next(
        &self,
        id: &Arc<str>,
        subscription_changed: bool,
        owned: Option<&Partitions>,
    ) -> Result<Option<Current>, Fault> {
        let group = self.group();
        let Some(member) = group.members.get(id) else { return Ok(None) };
        let target_epoch = group.target_epoch.epoch;
        if !subscription_changed && member.current.is_at(target_epoch) {
            return Ok(None);
        }
        let cluster = self.cx.moment.cluster;
        let wants = |topic: Uuid| {
            cluster.topic_by_id(topic).is_some_and(|topic| group.wants(member, &topic.name))
        };
        let held_by_other = |topic: Uuid, partition: i32| {
            group.holder(topic, partition).is_some_and(|holder| holder != id)
        };
        let nothing = Partitions::new();
        let goal = Goal {
            target_epoch,
            target: group.target(id).map_or(&nothing, |target| target),
            wants: &wants,
            held_by_other: &held_by_other,
            owned,
            subscription_changed,
        };
        let next = reconcile::next(&member.current, &goal).map_err(|_| {
            Fault::with(
                Code::FencedMemberEpoch,
                "The member is in an unknown state: it must let go of all partitions and rejoin.",
            )
        })?;
        Ok((next != *member.current).then_some(next))
    }
}

pub(super) fn ms(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

pub(super) fn not_found(message: String) -> Fault {
    Fault::with(Code::GroupIdNotFound, message)
}
