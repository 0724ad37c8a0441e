//! One group's turn: the group that is decided upon, and all that a decision needs.
//!
//! The group is looked up anew for each step, since storing a record needs the whole map.

use std::sync::Arc;
use std::time::Duration;

use super::command::{JoinRefused, Joined, JoinedMember, Reply, Synced};
use super::state::Classic;
use super::{Timer, member::Member};
use crate::base::fault::Code;
use crate::coord::group::record::{ClassicRecord, ClassicValue, Record};
use crate::coord::group::{Cx, GroupMap, Kind, Timer as GroupTimer};
use crate::coord::machine::Caller;

pub(super) struct Turn<'a, 'c> {
    pub(super) groups: &'a mut GroupMap,
    pub(super) cx: &'a mut Cx<'c>,
    id: Arc<str>,
}

impl<'a, 'c> Turn<'a, 'c> {
    /// The turn of a classic group; `None` for any other.
    pub(super) fn of(groups: &'a mut GroupMap, cx: &'a mut Cx<'c>, group: &str) -> Option<Self> {
        let group = groups.get(group)?;
        let id = Arc::clone(&group.id);
        matches!(group.kind, Kind::Classic(_)).then_some(Self { groups, cx, id })
    }

    pub(super) fn group(&mut self) -> &mut Classic {
        match self.groups.get_mut(&self.id).map(|group| &mut group.kind) {
            Some(Kind::Classic(classic)) => classic,
            _ => unreachable!("a turn is a classic group's, and no turn deletes its group"),
        }
    }

    pub(super) fn store(&mut self, value: ClassicValue) {
        let group = Arc::clone(&self.id);
        let record = ClassicRecord { group, value: Some(value) };
        self.cx.store(self.groups, Record::Classic(record));
    }

    pub(super) fn set_timer(&mut self, timer: Timer, after: Duration) {
        let key = GroupTimer::Classic(Arc::clone(&self.id), timer);
        self.cx.timers.set(key, self.cx.moment.now.saturating_add(after));
    }

    pub(super) fn cancel_timer(&mut self, timer: Timer) {
        self.cx.timers.cancel(&GroupTimer::Classic(Arc::clone(&self.id), timer));
    }

    /// A member was heard of: its session begins anew.
    pub(super) fn extend_session(&mut self, member_id: &Arc<str>) {
        if let Some(timeout) = self.group().member(member_id).map(|m| m.session_timeout) {
            self.set_timer(Timer::Session(Arc::clone(member_id)), timeout);
        }
    }

    pub(super) fn refuse_join(&mut self, caller: Caller, code: Code, member_id: Arc<str>) {
        self.reply(caller, Reply::Join(Err(JoinRefused { code, member_id })));
    }

    pub(super) fn reply(&mut self, caller: Caller, reply: Reply) {
        self.cx.effects.reply(caller, reply);
    }

    /// Takes a member out of the group and tells whoever waits in its name.
    pub(super) fn remove_member(&mut self, member_id: &Arc<str>, join: JoinRefused, sync: Code) {
        self.cancel_timer(Timer::Session(Arc::clone(member_id)));
        let removed = self.group().remove(member_id);
        if let Some(Member { wait, .. }) = removed {
            if let Some(caller) = wait.join {
                self.reply(caller, Reply::Join(Err(join)));
            }
            if let Some(caller) = wait.sync {
                self.reply(caller, Reply::Sync(Err(sync)));
            }
        }
    }

    /// As [`Self::remove_member`], for one that may join again as someone new.
    pub(super) fn drop_member(&mut self, member_id: &Arc<str>) {
        let refused = JoinRefused { code: Code::UnknownMemberId, member_id: Arc::default() };
        self.remove_member(member_id, refused, Code::UnknownMemberId);
    }
}

impl Classic {
    /// What a member is told of the current generation; the leader is told of all members.
    pub(super) fn joined(&self, member_id: &Arc<str>) -> Joined {
        let members = if self.is_leader(member_id) { self.joined_members() } else { Vec::new() };
        Joined {
            member_id: Arc::clone(member_id),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol().unwrap_or_default();
        let told = |(id, member): (&Arc<str>, &Member)| JoinedMember {
            member_id: Arc::clone(id),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members().map(told).collect()
    }

    /// What a member is told of its assignment.
    pub(super) fn synced(&self, member_id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.member(member_id).map(|m| m.assignment.clone()).unwrap_or_default(),
        }
    }

    /// That a request comes from a member, and that a static one's instance id still stands for
    /// it (KIP-345).
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, or `FENCED_INSTANCE_ID` where another has taken the instance's place.
    pub(super) fn authenticate(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<Arc<str>, Code> {
        if let Some(instance_id) = instance_id {
            let current = self.static_id(instance_id).ok_or(Code::UnknownMemberId)?;
            if **current != *member_id {
                return Err(Code::FencedInstanceId);
            }
        }
        self.key(member_id).ok_or(Code::UnknownMemberId)
    }
}
