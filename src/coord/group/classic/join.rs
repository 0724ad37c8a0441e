//! JoinGroup: who may come in, under which id, and what that means for the group.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::command::{Join, JoinRefused, Joined, Reply};
use super::member::{Member, Protocol, Wait};
use super::state::{Classic, State};
use super::turn::Turn;
use super::{NEW_MEMBER_JOIN_TIMEOUT, Timer};
use crate::base::fault::Code;
use crate::coord::group::record::{ClassicRecord, Record};
use crate::coord::group::settings::GroupSettings;
use crate::coord::group::{Cx, GroupMap, Kind, consumer};
use crate::coord::machine::Caller;

/// The longest client or instance id that a member id is made of; with what is added to it the
/// member id is still no longer than Kafka's strings may be.
const MAX_STEM_BYTES: usize = 32_000;

/// A member joins, for the first time or again.
pub(super) fn join(groups: &mut GroupMap, cx: &mut Cx<'_>, caller: Caller, mut request: Join) {
    keep_first_of_each(&mut request.protocols);
    let checked = check(cx.settings, &request);
    if checked.is_ok()
        && let Some(joined) = consumer::classic_join(groups, cx, &request)
    {
        return cx.effects.reply(caller, Reply::Join(joined));
    }
    let opened = checked.and_then(|()| open(groups, cx, &request));
    match (opened, Turn::of(groups, cx, &request.group)) {
        (Ok(()), Some(mut turn)) => turn.join(caller, request),
        (Ok(()), None) => unreachable!("a group that was opened is a classic one"),
        (Err(code), _) => {
            let refused = JoinRefused { code, member_id: request.member_id.into() };
            cx.effects.reply(caller, Reply::Join(Err(refused)));
        }
    }
}

fn check(settings: &GroupSettings, request: &Join) -> Result<(), Code> {
    if request.group.is_empty() {
        return Err(Code::InvalidGroupId);
    }
    let sessions = settings.min_session..=settings.max_session;
    if !sessions.contains(&request.session_timeout) {
        return Err(Code::InvalidSessionTimeout);
    }
    Ok(())
}

/// A protocol that is named twice counts once, or votes would not add up.
fn keep_first_of_each(protocols: &mut Vec<Protocol>) {
    let mut seen = BTreeSet::new();
    protocols.retain(|protocol| seen.insert(Arc::clone(&protocol.name)));
}

/// Makes sure that there is a classic group to join. One that was not there is stored, so that
/// it outlives a restart like any other.
fn open(groups: &mut GroupMap, cx: &mut Cx<'_>, request: &Join) -> Result<(), Code> {
    let since_ms = cx.moment.wall_ms;
    match groups.get_mut(&request.group).map(|group| &mut group.kind) {
        Some(Kind::Classic(_)) => Ok(()),
        Some(kind @ Kind::Simple) => {
            *kind = Kind::Classic(Box::new(Classic::new(since_ms)));
            Ok(())
        }
        _ if !request.member_id.is_empty() => Err(Code::UnknownMemberId),
        _ => {
            let group = Arc::from(request.group.as_str());
            let value = Some(Classic::new(since_ms).stored());
            cx.store(groups, Record::Classic(ClassicRecord { group, value }));
            Ok(())
        }
    }
}

impl Turn<'_, '_> {
    fn join(&mut self, caller: Caller, request: Join) {
        let member_id: Arc<str> = Arc::from(request.member_id.as_str());
        let max_size = self.cx.settings.max_size;
        if !self.group().has_room_for(&member_id, max_size) {
            self.turn_away(&member_id);
            return self.refuse_join(caller, Code::GroupMaxSizeReached, Arc::default());
        }
        if !self.group().suits(&request.protocol_type, &request.protocols) {
            return self.refuse_join(caller, Code::InconsistentGroupProtocol, member_id);
        }
        if member_id.is_empty() {
            return self.join_without_id(caller, request);
        }
        if self.group().is_pending(&member_id) && request.instance_id.is_none() {
            return self.admit(caller, request, member_id);
        }
        match self.group().authenticate(&member_id, request.instance_id.as_deref()) {
            Ok(member_id) => self.join_again(caller, request, member_id),
            Err(code) => self.refuse_join(caller, code, member_id),
        }
    }

    /// One for whom there is no room is no member any more.
    fn turn_away(&mut self, member_id: &Arc<str>) {
        let was_pending = self.group().forget_pending(member_id);
        if was_pending || self.group().member(member_id).is_some() {
            self.drop_member(member_id);
            self.maybe_complete_join();
        }
    }

    fn join_without_id(&mut self, caller: Caller, request: Join) {
        let stem = request.instance_id.as_deref().unwrap_or(&request.client_id);
        let stem = &stem[..stem.floor_char_boundary(MAX_STEM_BYTES)];
        let fresh: Arc<str> = format!("{stem}-{}", self.cx.moment.ids.fresh().hyphenated()).into();
        if let Some(instance_id) = &request.instance_id {
            let before = self.group().static_id(instance_id).cloned();
            return match before {
                Some(before) => self.replace(caller, request, &before, fresh),
                None => self.admit(caller, request, fresh),
            };
        }
        if !request.needs_known_id {
            return self.admit(caller, request, fresh);
        }
        self.group().expect_member(Arc::clone(&fresh));
        self.set_timer(Timer::Session(Arc::clone(&fresh)), request.session_timeout);
        self.refuse_join(caller, Code::MemberIdRequired, fresh);
    }

    /// A new member.
    fn admit(&mut self, caller: Caller, request: Join, member_id: Arc<str>) {
        let group = self.group();
        if group.is_empty() {
            group.protocol_type = Some(Arc::from(request.protocol_type.as_str()));
        }
        if let State::PreparingRebalance(Some(gathering)) = &mut group.state {
            gathering.someone_came = true;
        }
        let wait = Wait { join: Some(caller), is_new: true, ..Wait::default() };
        group.insert(Arc::clone(&member_id), new_member(request, wait));
        self.set_timer(Timer::Session(member_id), NEW_MEMBER_JOIN_TIMEOUT);
        self.rebalance();
    }

    /// A member that the group knows.
    fn join_again(&mut self, caller: Caller, request: Join, member_id: Arc<str>) {
        let group = self.group();
        let changed = group.member(&member_id).is_none_or(|m| m.protocols != request.protocols);
        let leads = group.is_leader(&member_id);
        match group.state {
            // A leader that joins a stable group wants a rebalance, for reasons that only it
            // sees, such as partitions that were added.
            State::Stable if leads || changed => {}
            State::CompletingRebalance if changed => {}
            State::PreparingRebalance(_) => {}
            // It may not have received the answer to its last join.
            State::Stable | State::CompletingRebalance => {
                let joined = group.joined(&member_id);
                return self.reply(caller, Reply::Join(Ok(joined)));
            }
            State::Empty => return self.refuse_join(caller, Code::UnknownMemberId, member_id),
        }
        self.renew(&member_id, request);
        self.park_join(&member_id, caller);
        self.rebalance();
    }

    fn renew(&mut self, member_id: &Arc<str>, request: Join) {
        let Join { protocols, session_timeout, rebalance_timeout, .. } = request;
        self.group().renew(member_id, protocols, session_timeout, rebalance_timeout);
    }

    /// Lets a caller wait for the rebalance. One that waits for the same member already has
    /// been given up by its client; it is answered all the same.
    fn park_join(&mut self, member_id: &Arc<str>, caller: Caller) {
        let before = self.group().waits(member_id, |wait| wait.join.replace(caller)).flatten();
        if let Some(before) = before {
            self.refuse_join(before, Code::RebalanceInProgress, Arc::clone(member_id));
        }
    }

    /// A static member has restarted: a new id takes the place of the old one, which is fenced.
    /// A stable group needs no rebalance for that unless its protocol changes.
    fn replace(&mut self, caller: Caller, request: Join, before: &Arc<str>, fresh: Arc<str>) {
        let old_leader = self.group().leader.clone().unwrap_or_default();
        let can_skip_assignment = request.can_skip_assignment;
        self.supplant(request, before, Arc::clone(&fresh));
        let group = self.group();
        match group.state {
            State::Stable if group.keeps_protocol() && group.stored().is_storable() => {
                let joined = if can_skip_assignment {
                    Joined { skip_assignment: group.is_leader(&fresh), ..group.joined(&fresh) }
                } else {
                    // Were it told that it leads, it would assign, and only a rebalance can
                    // bring that to the others.
                    Joined { leader: old_leader, members: Vec::new(), ..group.joined(&fresh) }
                };
                let value = group.stored();
                self.store(value);
                self.reply(caller, Reply::Join(Ok(joined)));
            }
            State::PreparingRebalance(_) => {
                self.park_join(&fresh, caller);
                self.maybe_complete_join();
            }
            // The leader may have been told of the old id already.
            _ => {
                self.park_join(&fresh, caller);
                self.prepare_rebalance();
            }
        }
    }

    /// Puts a new member in the place of the one with the same instance id: it leads if that one
    /// led, and has its assignment.
    fn supplant(&mut self, request: Join, before: &Arc<str>, fresh: Arc<str>) {
        let group = self.group();
        let led = group.is_leader(before);
        let Some(old) = group.member(before) else { return };
        let assignment = old.assignment.clone();
        let wait = Wait { owes_sync: old.wait.owes_sync, ..Wait::default() };
        let fenced = JoinRefused { code: Code::FencedInstanceId, member_id: Arc::clone(before) };
        self.remove_member(before, fenced, Code::FencedInstanceId);
        let group = self.group();
        let member = Member { assignment, ..new_member(request, wait) };
        group.insert(Arc::clone(&fresh), member);
        if led {
            group.leader = Some(Arc::clone(&fresh));
        }
        self.extend_session(&fresh);
    }
}

impl Classic {
    /// Whether a member may come in. While members join again those count that have, so that the
    /// last ones are turned away should the limit have been lowered.
    fn has_room_for(&self, member_id: &str, max_size: usize) -> bool {
        let member = self.member(member_id);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance(_) => {
                member.is_some_and(|m| m.wait.join.is_some()) || self.awaiting_join() < max_size
            }
            State::CompletingRebalance | State::Stable => member.is_some() || self.len() < max_size,
        }
    }
}

fn new_member(request: Join, wait: Wait) -> Member {
    Member {
        instance_id: request.instance_id.map(Arc::from),
        client_id: request.client_id.into(),
        client_host: request.client_host.into(),
        rebalance_timeout: request.rebalance_timeout,
        session_timeout: request.session_timeout,
        protocols: request.protocols,
        assignment: Bytes::new(),
        wait,
    }
}
