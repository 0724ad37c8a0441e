//! Groups of the classic protocol: members join, their leader assigns, the group hands out what
//! it assigned (KIP-62, and 134, 345, 394, 814 on top of it).
//!
//! `state` holds the members, `rebalance` the phases, `turn` what a decision works with; `join`,
//! `sync` and `session` are the requests, `stored` is the record, `describe` what is told.
//! Cooperative rebalancing (KIP-429) needs nothing here: a member that joins again with other
//! metadata begins a rebalance, and heartbeats go on meanwhile.

mod command;
mod describe;
mod join;
mod member;
mod rebalance;
mod session;
mod state;
mod stored;
mod sync;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::Arc;
use std::time::Duration;

pub use command::{
    Command, DescribedMember, Description, Heartbeat, Join, JoinRefused, Joined, JoinedMember,
    Leave, Leaver, List, Listed, Reply, Sync, Synced,
};
pub use describe::CONSUMER_PROTOCOL_TYPE;
pub(super) use describe::list;
pub(in crate::coord::group) use member::Wait;
pub use member::{Member, Protocol};
pub use session::check_commit;
pub use state::{Classic, Gathering, State};
use turn::Turn;

use super::record::ClassicRecord;
use super::{Cx, GroupMap, Kind};
use crate::base::fault::Code;
use crate::coord::machine::Caller;

/// How long a new member is kept that waits in a rebalance: it has no id to send heartbeats
/// with, so its session cannot tell. Kafka's constant; clients ask again before.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What a deadline of a group is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// The session of this member, or of one that is to become a member.
    Session(Arc<str>),
    /// The members' time to join a rebalance.
    Join,
    /// The members' time to ask for their assignments.
    Sync,
}

/// Decides a command.
pub fn handle(groups: &mut GroupMap, cx: &mut Cx<'_>, caller: Caller, command: Command) {
    match command {
        Command::Join(request) => join::join(groups, cx, caller, *request),
        Command::Sync(request) => sync::sync(groups, cx, caller, request),
        Command::Heartbeat(request) => session::heartbeat(groups, cx, caller, &request),
        Command::Leave(request) => session::leave(groups, cx, caller, request),
        Command::Describe(group) => {
            cx.effects.reply(caller, Reply::Describe(describe::describe(groups, &group)));
        }
        Command::List(filter) => {
            cx.effects.reply(caller, Reply::List(describe::list(groups, &filter)));
        }
    }
}

/// The answer to a member of a group that is not there.
fn no_group(group: &str) -> Code {
    if group.is_empty() { Code::InvalidGroupId } else { Code::UnknownMemberId }
}

/// Takes in what is stored. A record that says what is so already changes nothing: parked
/// callers stay.
pub fn replay(groups: &mut GroupMap, record: ClassicRecord) {
    let Some(value) = record.value else {
        if let Some(group) = groups.get_mut(&record.group)
            && matches!(group.kind, Kind::Classic(_))
        {
            group.kind = Kind::Simple;
        }
        return;
    };
    let group = groups.entry(&record.group);
    if !matches!(group.kind, Kind::Classic(_)) {
        group.kind = Kind::Classic(Box::new(Classic::new(value.state_since_ms)));
    }
    if let Kind::Classic(classic) = &mut group.kind {
        classic.restore(value);
    }
}

/// Starts the clocks of the members that replay found. A group that is over a limit that was
/// lowered rebalances, which turns the last members away.
pub fn resume(groups: &mut GroupMap, cx: &mut Cx<'_>) {
    let populated = groups
        .iter()
        .filter(|group| matches!(&group.kind, Kind::Classic(classic) if !classic.is_empty()));
    let ids: Vec<_> = populated.map(|group| Arc::clone(&group.id)).collect();
    for id in ids {
        start_clocks(groups, cx, &id);
    }
}

fn start_clocks(groups: &mut GroupMap, cx: &mut Cx<'_>, group: &Arc<str>) {
    let Some(mut turn) = Turn::of(groups, cx, group) else { return };
    for member_id in turn.group().ids() {
        turn.extend_session(&member_id);
    }
    if turn.group().len() > turn.cx.settings.max_size {
        turn.prepare_rebalance();
    }
}

/// Does what was due.
pub fn wake(groups: &mut GroupMap, cx: &mut Cx<'_>, group: &Arc<str>, timer: Timer) {
    let Some(mut turn) = Turn::of(groups, cx, group) else { return };
    match timer {
        Timer::Session(member_id) => turn.session_is_over(&member_id),
        Timer::Join => turn.join_time_is_up(),
        Timer::Sync => turn.sync_time_is_up(),
    }
}

/// Begins the first rebalance of a group that [`Classic::from_members`] has made in place of one
/// of the consumer protocol, with the sessions of its members.
pub fn take_over(groups: &mut GroupMap, cx: &mut Cx<'_>, group: &Arc<str>) {
    start_clocks(groups, cx, group);
    if let Some(mut turn) = Turn::of(groups, cx, group)
        && turn.group().state() == State::Stable
    {
        turn.prepare_rebalance();
    }
}

/// Ends a classic group's life as one, before it changes over to the consumer protocol: whoever
/// waits is told to join again, and no deadline is left. The caller replaces the kind.
pub fn give_up(groups: &mut GroupMap, cx: &mut Cx<'_>, group: &Arc<str>) {
    if let Some(mut turn) = Turn::of(groups, cx, group) {
        turn.give_up();
    }
}

/// Invariants.
///
/// # Errors
/// The one that does not hold.
pub fn check(groups: &GroupMap) -> Result<(), String> {
    groups.iter().try_for_each(|group| match &group.kind {
        Kind::Classic(classic) => classic.check().map_err(|rule| format!("{}: {rule}", group.id)),
        Kind::Simple | Kind::Consumer(_) => Ok(()),
    })
}
