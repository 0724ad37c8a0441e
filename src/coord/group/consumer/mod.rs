//! Groups of the consumer protocol: the broker assigns, each member moves to its target on its own
//! (KIP-848), in Kafka 4.3's way.
//!
//! The group's epoch rises with every change that may call for another assignment; the target is
//! made for a group epoch; a member's epoch says which target it has reached. `reconcile` is the
//! rule by which a member moves, `assignor/` makes targets, `pattern` resolves subscriptions by
//! regular expression. `state` holds the members, `turn` what a decision works with; `heartbeat`
//! and `fence` are how members come, report and go; `describe` is what is told. `migrate`,
//! `classic_member` and `embedded` let a group with members change its protocol.

pub mod assignor;
mod classic_member;
mod command;
mod describe;
mod embedded;
mod fence;
mod heartbeat;
mod member;
mod migrate;
mod pattern;
mod reconcile;
mod state;
#[cfg(test)]
mod tests;
mod topics;
mod turn;

use std::sync::Arc;

pub use classic_member::{heartbeat as classic_heartbeat, join as classic_join};
pub use classic_member::{leave as classic_leave, sync as classic_sync};
pub use command::{
    Beat, Command, DescribedMember, DescribedTopic, Description, Heartbeat, MemberEpoch, Reply,
};
use member::{Current, State, from_target_topics};
pub use state::{Consumer, GroupState};
use turn::{Turn, ms};

use super::record::{ConsumerEntry, ConsumerRecord, GroupEpoch, TargetEpoch};
use super::{Cx, GroupMap, Kind};
use crate::coord::machine::Caller;

/// What a deadline of a group is for; each is of one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// Its session.
    Session(Arc<str>),
    /// Its time to let go of partitions.
    Rebalance(Arc<str>),
    /// A classic member's time to join again.
    Join(Arc<str>),
    /// A classic member's time to ask for its assignment.
    Sync(Arc<str>),
}

/// Decides a command.
pub fn handle(groups: &mut GroupMap, cx: &mut Cx<'_>, caller: Caller, command: Command) {
    let reply = match command {
        Command::Heartbeat(beat) => Reply::Heartbeat(heartbeat::heartbeat(groups, cx, &beat)),
        Command::Describe(group) => Reply::Describe(describe::describe(groups, cx, &group)),
    };
    cx.effects.reply(caller, reply);
}

/// Takes in what is stored.
pub fn replay(groups: &mut GroupMap, record: ConsumerRecord) {
    let ConsumerRecord { group: id, entry } = record;
    let deletes = entry.deletes();
    if deletes && !matches!(groups.get(&id).map(|group| &group.kind), Some(Kind::Consumer(_))) {
        return;
    }
    let group = groups.entry(&id);
    if !matches!(group.kind, Kind::Consumer(_)) {
        group.kind = Kind::Consumer(Box::default());
    }
    let Kind::Consumer(consumer) = &mut group.kind else { return };
    match entry {
        ConsumerEntry::Group(None) => group.kind = Kind::Simple,
        entry => consumer.apply(entry),
    }
}

impl ConsumerEntry {
    const fn deletes(&self) -> bool {
        matches!(
            self,
            Self::Group(None)
                | Self::SubscriptionMetadata(false)
                | Self::Member(_, None)
                | Self::Target(None)
                | Self::MemberTarget(_, None)
                | Self::MemberCurrent(_, None)
                | Self::Regex(_, None)
        )
    }
}

impl Consumer {
    fn apply(&mut self, entry: ConsumerEntry) {
        match entry {
            ConsumerEntry::Group(epoch) => {
                self.epoch = epoch.unwrap_or(GroupEpoch { epoch: 1, metadata_hash: 0 });
            }
            ConsumerEntry::SubscriptionMetadata(stored) => self.old_subscription_metadata = stored,
            ConsumerEntry::Member(id, Some(asked)) => self.put_member(&id, asked),
            ConsumerEntry::Member(id, None) => self.remove_member(&id),
            ConsumerEntry::Target(epoch) => {
                self.target_epoch = epoch.unwrap_or(TargetEpoch { epoch: -1, made_ms: 0 });
            }
            ConsumerEntry::MemberTarget(id, Some(target)) => {
                self.targets.insert(id, Arc::new(from_target_topics(&target)));
            }
            ConsumerEntry::MemberTarget(id, None) => {
                self.targets.remove(&id);
            }
            ConsumerEntry::MemberCurrent(id, Some(current)) => {
                self.put_current(&id, Current::from_record(&current));
            }
            ConsumerEntry::MemberCurrent(id, None) => {
                if self.members.contains_key(&id) {
                    self.put_current(&id, Current::default());
                }
            }
            ConsumerEntry::Regex(pattern, resolved) => self.put_resolved(pattern, resolved),
        }
    }
}

/// Starts the clocks of the members that replay found.
pub fn resume(groups: &mut GroupMap, cx: &mut Cx<'_>) {
    let consumers = groups.iter().filter(|group| matches!(group.kind, Kind::Consumer(_)));
    let ids: Vec<Arc<str>> = consumers.map(|group| Arc::clone(&group.id)).collect();
    for id in ids {
        let Ok(mut turn) = Turn::of(groups, cx, &id) else { continue };
        let members: Vec<_> =
            turn.group().members.iter().map(|(id, m)| (Arc::clone(id), m.clone())).collect();
        for (id, member) in members {
            turn.renew_session(&id);
            if member.current.state == State::UnrevokedPartitions && !member.speaks_classic() {
                turn.set_timer(Timer::Rebalance(id), ms(member.asked.rebalance_timeout_ms));
            }
        }
    }
}

/// Does what was due: whatever a member did not do in time, it is out of the group for.
pub fn wake(groups: &mut GroupMap, cx: &mut Cx<'_>, group: &Arc<str>, timer: Timer) {
    let Ok(turn) = Turn::of(groups, cx, group) else { return };
    let (Timer::Session(member)
    | Timer::Rebalance(member)
    | Timer::Join(member)
    | Timer::Sync(member)) = timer;
    if turn.group().members.contains_key(&member) {
        turn.fence(&[member]);
    }
}

/// Invariants.
///
/// # Errors
/// The one that does not hold.
pub fn check(groups: &GroupMap) -> Result<(), String> {
    groups.iter().try_for_each(|group| match &group.kind {
        Kind::Consumer(consumer) => {
            consumer.check().map_err(|rule| format!("{}: {rule}", group.id))
        }
        Kind::Simple | Kind::Classic(_) => Ok(()),
    })
}
