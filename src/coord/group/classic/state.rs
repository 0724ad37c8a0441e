//! A classic group's members and what is counted over them.
//!
//! Joining and heartbeats cost nothing that grows with the group: how many members wait in the
//! rebalance, how many owe a sync and how many offer each protocol are counters, which
//! [`Classic::check`] compares with the members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::member::{Member, Protocol, Wait};
use crate::coord::group::pulse::{Pulse, Watch};
use crate::coord::machine::Caller;

/// Where a group stands. Kafka's `Dead` is a group that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No members.
    Empty,
    /// Members are to join again. `Some` while a group that was empty gathers its first members.
    PreparingRebalance(Option<Gathering>),
    /// A generation is made, its leader is to assign.
    CompletingRebalance,
    Stable,
}

/// The initial rebalance delay of a group that was empty (KIP-134).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// The step that is running.
    pub(super) delay: Duration,
    /// How much longer the delay may be extended.
    pub(super) remaining: Duration,
    /// Someone came since the step began: reason for another.
    pub(super) someone_came: bool,
}

impl State {
    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance(_) => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }

    pub(super) const fn is_preparing(self) -> bool {
        matches!(self, Self::PreparingRebalance(_))
    }
}

/// A group's state in the classic protocol.
#[derive(Debug)]
pub struct Classic {
    pub(super) state: State,
    /// Wall time at which `state` began, milliseconds since the Unix epoch; -1 if unknown.
    pub(super) since_ms: i64,
    /// Rises when a rebalance completes, and only then.
    pub(super) generation: i32,
    /// `consumer`, `connect` and the like; `None` before the first member.
    pub(super) protocol_type: Option<Arc<str>>,
    /// The protocol of this generation.
    pub(super) protocol: Option<Arc<str>>,
    pub(super) leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Member ids by instance id.
    statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out, whose owners have yet to join with them (KIP-394).
    pending: BTreeSet<Arc<str>>,
    /// How many members offer a protocol; never 0.
    offers: BTreeMap<Arc<str>, usize>,
    awaiting_join: usize,
    owing_sync: usize,
    /// Members of a stable group whose heartbeats come by their pulse; closed ones, of a group
    /// that is stable no longer, tell when such a member was last heard.
    pulses: BTreeMap<Arc<str>, Watch>,
}

impl Classic {
    /// A group without members.
    #[must_use]
    pub const fn new(since_ms: i64) -> Self {
        Self {
            state: State::Empty,
            since_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeSet::new(),
            offers: BTreeMap::new(),
            awaiting_join: 0,
            owing_sync: 0,
            pulses: BTreeMap::new(),
        }
    }

    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    #[must_use]
    pub const fn generation(&self) -> i32 {
        self.generation
    }

    #[must_use]
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    #[must_use]
    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// Since when the group has had no members, wall milliseconds; `None` if it has some, or if
    /// it is not known.
    #[must_use]
    pub fn empty_since_ms(&self) -> Option<i64> {
        (self.state == State::Empty && self.since_ms >= 0).then_some(self.since_ms)
    }

    #[must_use]
    pub fn member(&self, member_id: &str) -> Option<&Member> {
        self.members.get(member_id)
    }

    /// All members, by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Member)> {
        self.members.iter()
    }

    /// The id of a static member.
    #[must_use]
    pub fn static_id(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.statics.get(instance_id)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member id as it is kept.
    pub(super) fn key(&self, member_id: &str) -> Option<Arc<str>> {
        self.members.get_key_value(member_id).map(|(id, _)| Arc::clone(id))
    }

    pub(super) fn ids(&self) -> Vec<Arc<str>> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn is_pending(&self, member_id: &str) -> bool {
        self.pending.contains(member_id)
    }

    pub(super) fn expect_member(&mut self, member_id: Arc<str>) {
        self.pending.insert(member_id);
    }

    pub(super) fn forget_pending(&mut self, member_id: &str) -> bool {
        self.pending.remove(member_id)
    }

    pub(super) fn take_pending(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.pending)
    }

    /// How many members have joined the rebalance.
    pub(super) const fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    pub(super) fn all_joined(&self) -> bool {
        self.awaiting_join == self.members.len() && self.pending.is_empty()
    }

    pub(super) const fn all_synced(&self) -> bool {
        self.owing_sync == 0
    }

    /// Adds a member, or puts another in the place of the one with this id. The first member
    /// makes the group's protocol type; whoever joins a group without a leader leads it.
    pub(super) fn insert(&mut self, member_id: Arc<str>, member: Member) {
        self.discard(&member_id);
        if let Some(instance) = &member.instance_id {
            self.statics.insert(Arc::clone(instance), Arc::clone(&member_id));
        }
        for protocol in &member.protocols {
            *self.offers.entry(Arc::clone(&protocol.name)).or_default() += 1;
        }
        self.awaiting_join += usize::from(member.wait.join.is_some());
        self.owing_sync += usize::from(member.wait.owes_sync);
        self.pending.remove(&member_id);
        self.leader.get_or_insert_with(|| Arc::clone(&member_id));
        self.members.insert(member_id, member);
    }

    /// Takes a member out; if it led, another one does. Its callers are in what is returned.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let member = self.discard(member_id)?;
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    fn discard(&mut self, member_id: &str) -> Option<Member> {
        let member = self.members.remove(member_id)?;
        self.pulses.remove(member_id);
        if let Some(instance) = &member.instance_id
            && self.statics.get(instance).is_some_and(|id| **id == *member_id)
        {
            self.statics.remove(instance);
        }
        for protocol in &member.protocols {
            self.retract(&protocol.name);
        }
        self.awaiting_join -= usize::from(member.wait.join.is_some());
        self.owing_sync -= usize::from(member.wait.owes_sync);
        Some(member)
    }

    fn retract(&mut self, protocol: &Arc<str>) {
        if let Some(count) = self.offers.get_mut(protocol) {
            *count -= 1;
            if *count == 0 {
                self.offers.remove(protocol);
            }
        }
    }

    /// Moves on. Members must ask where the group stands from now on.
    pub(super) fn enter(&mut self, state: State, since_ms: i64) {
        self.state = state;
        self.since_ms = since_ms;
        self.pulses.values_mut().for_each(Watch::close);
    }

    /// Takes a member's further heartbeats by its pulse, if nothing is to be told by them.
    pub(super) fn watch(&mut self, member_id: &Arc<str>, pulse: &Arc<Pulse>, now: Duration) {
        if self.state == State::Stable && self.members.contains_key(member_id) {
            self.pulses.insert(Arc::clone(member_id), Watch::open(pulse, now));
        }
    }

    /// When a member's pulse lets its session end; `None` if it has, or had no pulse.
    pub(super) fn session_end(&self, member_id: &str, now: Duration) -> Option<Duration> {
        let timeout = self.member(member_id)?.session_timeout;
        let heard = self.pulses.get(member_id)?.end(now.saturating_sub(timeout)).err()?;
        Some(heard.saturating_add(timeout))
    }

    /// Changes what a member waits for and what is waited for from it.
    pub(super) fn waits<T>(
        &mut self,
        member_id: &str,
        change: impl FnOnce(&mut Wait) -> T,
    ) -> Option<T> {
        let wait = &mut self.members.get_mut(member_id)?.wait;
        let before = *wait;
        let out = change(wait);
        let after = *wait;
        self.awaiting_join += usize::from(after.join.is_some());
        self.awaiting_join -= usize::from(before.join.is_some());
        self.owing_sync += usize::from(after.owes_sync);
        self.owing_sync -= usize::from(before.owes_sync);
        Some(out)
    }

    /// Takes all who wait for a sync.
    pub(super) fn take_sync_callers(&mut self) -> Vec<(Arc<str>, Caller)> {
        let take = |(id, member): (&Arc<str>, &mut Member)| {
            member.wait.sync.take().map(|caller| (Arc::clone(id), caller))
        };
        self.members.iter_mut().filter_map(take).collect()
    }

    /// Nobody owes a sync any more.
    pub(super) fn forgive_syncs(&mut self) {
        if self.owing_sync > 0 {
            self.members.values_mut().for_each(|member| member.wait.owes_sync = false);
            self.owing_sync = 0;
        }
    }

    pub(super) fn clear_assignments(&mut self) {
        self.members.values_mut().for_each(|member| member.assignment.clear());
    }

    /// Takes over what a member that joins again says of itself.
    pub(super) fn renew(
        &mut self,
        member_id: &str,
        protocols: Vec<Protocol>,
        session_timeout: Duration,
        rebalance_timeout: Duration,
    ) {
        if let Some(mut member) = self.discard(member_id) {
            member.protocols = protocols;
            member.session_timeout = session_timeout;
            member.rebalance_timeout = rebalance_timeout;
            self.insert(Arc::from(member_id), member);
        }
    }

    /// The longest time that a member asks for to join again.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|m| m.rebalance_timeout).max().unwrap_or_default()
    }

    /// Whether someone with these protocols could be a member.
    pub(super) fn suits(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let is_common = |p: &Protocol| {
            self.offers.get(&p.name).copied().unwrap_or_default() == self.members.len()
        };
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(is_common)
    }

    /// The protocol that most members like best among those that all of them offer; of equals
    /// the first by name.
    pub(super) fn elect_protocol(&self) -> Option<Arc<str>> {
        let all = self.members.len();
        let mut votes = BTreeMap::<&Arc<str>, usize>::new();
        for member in self.members.values() {
            let is_common = |p: &&Protocol| self.offers.get(&p.name) == Some(&all);
            if let Some(choice) = member.protocols.iter().find(is_common) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let best = votes.into_iter().rev().max_by_key(|(_, count)| *count);
        best.map(|(name, _)| Arc::clone(name))
    }

    /// Whether the next generation would have the protocol of this one.
    pub(super) fn keeps_protocol(&self) -> bool {
        self.elect_protocol() == self.protocol
    }

    /// Makes sure that the leader is one who joined the rebalance.
    ///
    /// Returns false if nobody can lead.
    pub(super) fn elect_leader(&mut self) -> bool {
        let joined = |member: &Member| member.wait.join.is_some();
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        match leader {
            None => false,
            Some(leader) if joined(leader) => true,
            Some(_) => {
                let mut others = self.members.iter().filter(|(_, member)| joined(member));
                let Some((id, _)) = others.next() else { return false };
                self.leader = Some(Arc::clone(id));
                true
            }
        }
    }

    /// Invariants.
    ///
    /// # Errors
    /// The one that does not hold.
    pub fn check(&self) -> Result<(), String> {
        let count = |of: fn(&Member) -> bool| self.members.values().filter(|m| of(m)).count();
        let mut offers = BTreeMap::new();
        for protocol in self.members.values().flat_map(|m| &m.protocols) {
            *offers.entry(Arc::clone(&protocol.name)).or_insert(0_usize) += 1;
        }
        let statics = self.members.iter().filter_map(|(id, member)| {
            member.instance_id.as_ref().map(|instance| (Arc::clone(instance), Arc::clone(id)))
        });
        let waits_for_sync = count(|m| m.wait.sync.is_some()) > 0;
        let rules = [
            (self.awaiting_join == count(|m| m.wait.join.is_some()), "count of joined members"),
            (self.owing_sync == count(|m| m.wait.owes_sync), "count of syncs that are owed"),
            (self.offers == offers, "count of protocols"),
            (self.statics == statics.collect(), "ids of static members"),
            (
                self.pending.iter().all(|id| !self.members.contains_key(id)),
                "a pending member is no member",
            ),
            (
                self.leader.as_ref().is_none_or(|id| self.members.contains_key(id)),
                "the leader is a member",
            ),
            (self.is_empty() || self.leader.is_some(), "members have a leader"),
            (self.is_empty() || self.elect_protocol().is_some(), "members share a protocol"),
            (self.state != State::Empty || self.is_empty(), "an empty group has no members"),
            (
                !self.is_empty()
                    || matches!(self.state, State::Empty | State::PreparingRebalance(_)),
                "a generation has members",
            ),
            (self.awaiting_join == 0 || self.state.is_preparing(), "joins wait in a rebalance"),
            (
                self.pulses.iter().all(|(id, watch)| {
                    self.members.contains_key(id)
                        && (self.state == State::Stable || !watch.is_open())
                }),
                "a pulse is of a member, an open one of a stable group",
            ),
            (
                !waits_for_sync || self.state == State::CompletingRebalance,
                "syncs wait for the leader",
            ),
        ];
        let broken = rules.iter().find(|(holds, _)| !holds);
        broken
            .map_or(Ok(()), |(_, rule)| Err(format!("in {}: {rule}: {self:?}", self.state.name())))
    }
}
