//! What keeps a member in its group and what takes it out: heartbeats, commits, leaving.

use std::sync::Arc;

use super::Timer;
use super::command::{Heartbeat, Leave, Leaver, Reply};
use super::state::{Classic, State};
use super::turn::Turn;
use crate::base::fault::Code;
use crate::coord::group::{Cx, Group, GroupMap, Kind, Timer as GroupTimer, consumer};
use crate::coord::machine::Caller;

/// A member is alive.
pub(super) fn heartbeat(
    groups: &mut GroupMap,
    cx: &mut Cx<'_>,
    caller: Caller,
    request: &Heartbeat,
) {
    let result =
        consumer::classic_heartbeat(groups, cx, request).unwrap_or_else(|| {
            match Turn::of(groups, cx, &request.group) {
                Some(mut turn) => turn.heartbeat(request),
                None => Err(super::no_group(&request.group)),
            }
        });
    cx.effects.reply(caller, Reply::Heartbeat(result));
}

/// Members go.
pub(super) fn leave(groups: &mut GroupMap, cx: &mut Cx<'_>, caller: Caller, request: Leave) {
    if let Some(left) = consumer::classic_leave(groups, cx, &request.group, &request.members) {
        return cx.effects.reply(caller, Reply::Leave(Ok(left)));
    }
    let result = match Turn::of(groups, cx, &request.group) {
        Some(mut turn) => Ok(turn.leave(request.members)),
        None if request.group.is_empty() => Err(Code::InvalidGroupId),
        None => {
            let unknown = |leaver| (leaver, Some(Code::UnknownMemberId));
            Ok(request.members.into_iter().map(unknown).collect())
        }
    };
    cx.effects.reply(caller, Reply::Leave(result));
}

impl Turn<'_, '_> {
    fn heartbeat(&mut self, request: &Heartbeat) -> Result<(), Code> {
        let group = self.group();
        let member_id = group.authenticate(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != group.generation {
            return Err(Code::IllegalGeneration);
        }
        let rebalances = group.state.is_preparing();
        self.extend_session(&member_id);
        let now = self.cx.moment.now;
        self.group().watch(&member_id, &request.pulse, now);
        if rebalances { Err(Code::RebalanceInProgress) } else { Ok(()) }
    }

    fn leave(&mut self, leavers: Vec<Leaver>) -> Vec<(Leaver, Option<Code>)> {
        let mut outcomes = Vec::with_capacity(leavers.len());
        for leaver in leavers {
            let outcome = self.leave_one(&leaver).err();
            outcomes.push((leaver, outcome));
        }
        let any_left = outcomes.iter().any(|(_, outcome)| outcome.is_none());
        if any_left && self.group().state != State::Empty {
            self.rebalance();
        }
        outcomes
    }

    fn leave_one(&mut self, leaver: &Leaver) -> Result<(), Code> {
        let instance_id = leaver.instance_id.as_deref();
        let group = self.group();
        let member_id = if leaver.member_id.is_empty() {
            // An administrator removes a static member.
            let by_instance = instance_id.and_then(|instance| group.static_id(instance));
            Arc::clone(by_instance.ok_or(Code::UnknownMemberId)?)
        } else if group.forget_pending(&leaver.member_id) {
            self.cancel_timer(Timer::Session(Arc::from(leaver.member_id.as_str())));
            return Ok(());
        } else {
            group.authenticate(&leaver.member_id, instance_id)?
        };
        self.drop_member(&member_id);
        Ok(())
    }
}

/// Judges an offset commit by who sends it, and takes it for a heartbeat.
///
/// # Errors
/// `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `ILLEGAL_GENERATION`, or `REBALANCE_IN_PROGRESS`
/// between a new generation and its assignments.
pub fn check_commit(
    group: &mut Group,
    cx: &mut Cx<'_>,
    member_id: &str,
    instance_id: Option<&str>,
    generation: i32,
) -> Result<(), Code> {
    let classic = match &group.kind {
        Kind::Classic(classic) => classic,
        Kind::Simple if generation < 0 => return Ok(()),
        Kind::Simple | Kind::Consumer(_) => return Err(Code::UnknownMemberId),
    };
    let Some(member_id) = classic.committer(member_id, instance_id, generation)? else {
        return Ok(());
    };
    if let Some(timeout) = classic.member(&member_id).map(|member| member.session_timeout) {
        let key = GroupTimer::Classic(Arc::clone(&group.id), Timer::Session(member_id));
        cx.timers.set(key, cx.moment.now.saturating_add(timeout));
    }
    Ok(())
}

impl Classic {
    /// The member that commits; `None` for someone outside the group's management, who may
    /// commit while the group is empty.
    fn committer(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<Option<Arc<str>>, Code> {
        if generation < 0 && self.state == State::Empty {
            return Ok(None);
        }
        let member_id = self.authenticate(member_id, instance_id)?;
        if generation != self.generation {
            return Err(Code::IllegalGeneration);
        }
        if self.state == State::CompletingRebalance {
            return Err(Code::RebalanceInProgress);
        }
        Ok(Some(member_id))
    }
}
