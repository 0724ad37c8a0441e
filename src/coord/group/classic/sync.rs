//! SyncGroup: the leader brings the assignments, everyone takes theirs. What is assigned is
//! stored with the group before anyone hears of it; the bytes are never looked into.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Timer;
use super::command::{Reply, Sync};
use super::state::{Classic, State};
use super::turn::Turn;
use crate::base::fault::Code;
use crate::coord::group::{Cx, GroupMap, consumer};
use crate::coord::machine::Caller;

/// A member asks for its assignment.
pub(super) fn sync(groups: &mut GroupMap, cx: &mut Cx<'_>, caller: Caller, request: Sync) {
    if let Some(synced) = consumer::classic_sync(groups, cx, &request) {
        return cx.effects.reply(caller, Reply::Sync(synced));
    }
    match Turn::of(groups, cx, &request.group) {
        Some(mut turn) => turn.sync(caller, request),
        None => cx.effects.reply(caller, Reply::Sync(Err(super::no_group(&request.group)))),
    }
}

impl Turn<'_, '_> {
    fn sync(&mut self, caller: Caller, request: Sync) {
        match self.group().check_sync(&request) {
            Err(code) => self.reply(caller, Reply::Sync(Err(code))),
            Ok(member_id) => {
                self.note_sync(&member_id);
                self.sync_member(caller, member_id, request.assignments);
            }
        }
    }

    fn note_sync(&mut self, member_id: &Arc<str>) {
        let group = self.group();
        group.waits(member_id, |wait| wait.owes_sync = false);
        if group.all_synced() {
            self.cancel_timer(Timer::Sync);
        }
    }

    fn sync_member(
        &mut self,
        caller: Caller,
        member_id: Arc<str>,
        assignments: Vec<(String, Bytes)>,
    ) {
        if self.group().state == State::Stable {
            let synced = self.group().synced(&member_id);
            return self.reply(caller, Reply::Sync(Ok(synced)));
        }
        let before = self.group().waits(&member_id, |wait| wait.sync.replace(caller)).flatten();
        if let Some(before) = before {
            self.reply(before, Reply::Sync(Err(Code::RebalanceInProgress)));
        }
        if self.group().is_leader(&member_id) {
            self.assign(assignments);
        }
    }

    /// Stores the leader's assignments, which makes the group stable, and gives each member that
    /// waits its own. Who was left out gets none. What is too large to be stored is refused as
    /// Kafka refuses it, and the group tries again.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>) {
        let mut assignments: HashMap<String, Bytes> = assignments.into_iter().collect();
        let mut value = self.group().stored();
        value.state_since_ms = self.cx.moment.wall_ms;
        for member in &mut value.members {
            member.assignment = assignments.remove(&*member.member_id).unwrap_or_default();
        }
        if !value.is_storable() {
            self.fail_syncs(Code::UnknownServerError);
            return self.prepare_rebalance();
        }
        let callers = self.group().take_sync_callers();
        self.store(value);
        for (member_id, caller) in callers {
            let synced = self.group().synced(&member_id);
            self.reply(caller, Reply::Sync(Ok(synced)));
            self.extend_session(&member_id);
        }
    }
}

impl Classic {
    fn check_sync(&self, request: &Sync) -> Result<Arc<str>, Code> {
        let member_id = self.authenticate(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(Code::IllegalGeneration);
        }
        let differs = |asked: &Option<String>, own: &Option<Arc<str>>| match (asked, own) {
            (Some(asked), Some(own)) => asked.as_str() != &**own,
            _ => false,
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(Code::InconsistentGroupProtocol);
        }
        match self.state {
            State::PreparingRebalance(_) => Err(Code::RebalanceInProgress),
            State::Empty => Err(Code::UnknownMemberId),
            State::CompletingRebalance | State::Stable => Ok(member_id),
        }
    }
}
