//! Committed offsets: commit, fetch, deletion, expiry.

use super::record::OffsetRecord;
use super::{Cx, GroupMap};
use crate::coord::machine::Caller;

/// The committed offsets of a group.
#[derive(Debug, Default)]
pub struct Offsets {}

#[derive(Clone, Debug)]
pub enum Command {}

#[derive(Clone, Debug)]
pub enum Reply {}

/// Decides a command.
pub fn handle(_groups: &mut GroupMap, _cx: &mut Cx<'_>, _caller: Caller, command: Command) {
    match command {}
}

/// Takes in what is stored.
pub fn replay(_groups: &mut GroupMap, _record: OffsetRecord) {}

/// Sets the clock of expiry.
pub fn resume(_groups: &mut GroupMap, _cx: &mut Cx<'_>) {}

/// Deletes what has expired.
pub fn expire(_groups: &mut GroupMap, _cx: &mut Cx<'_>) {}

/// Invariants.
///
/// # Errors
/// The one that does not hold.
pub fn check(_groups: &GroupMap) -> Result<(), String> {
    Ok(())
}
