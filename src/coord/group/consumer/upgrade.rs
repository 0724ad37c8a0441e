//! A group changes its protocol while it has members (KIP-848, online migration).

use std::sync::Arc;

use super::turn::not_found;
use crate::base::fault::Fault;
use crate::coord::group::{Cx, GroupMap, Kind};

/// Makes the group a consumer group, if it is not one yet.
pub(super) fn open(groups: &mut GroupMap, _cx: &mut Cx<'_>, id: &Arc<str>) -> Result<(), Fault> {
    let group = groups.entry(id);
    match &group.kind {
        Kind::Consumer(_) => {}
        Kind::Simple => group.kind = Kind::Consumer(Box::default()),
        Kind::Classic(_) => return Err(not_found(format!("Group {id} is a classic group."))),
    }
    Ok(())
}
