//! Groups of the consumer protocol.

pub mod assignor;

use std::sync::Arc;

use super::record::ConsumerRecord;
use super::{Cx, GroupMap};
use crate::coord::machine::Caller;

/// A group's state in the consumer protocol.
#[derive(Debug, Default)]
pub struct Consumer {}

#[derive(Clone, Debug)]
pub enum Command {}

#[derive(Clone, Debug)]
pub enum Reply {}

/// What a deadline of a group is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// The session of this member.
    Session(Arc<str>),
}

/// Decides a command.
pub fn handle(_groups: &mut GroupMap, _cx: &mut Cx<'_>, _caller: Caller, command: Command) {
    match command {}
}

/// Takes in what is stored. A record that says what is so already changes nothing: parked
/// callers stay.
pub fn replay(_groups: &mut GroupMap, _record: ConsumerRecord) {}

/// Starts the clocks of the members that replay found.
pub fn resume(_groups: &mut GroupMap, _cx: &mut Cx<'_>) {}

/// Does what was due.
pub fn wake(_groups: &mut GroupMap, _cx: &mut Cx<'_>, _group: &Arc<str>, _timer: Timer) {}

/// Invariants.
///
/// # Errors
/// The one that does not hold.
pub fn check(_groups: &GroupMap) -> Result<(), String> {
    Ok(())
}
