//! A classic group as it is stored, and back.
//!
//! One record holds the whole group, but only what a finished rebalance fixed: of each member's
//! protocols the selected one, and no state between Empty and Stable. So a group that was
//! rebalancing when the broker stopped comes back as its last generation (Kafka's too), and its
//! members find out by their next heartbeat that they must join again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::member::{Member, Protocol, Wait};
use super::state::{Classic, State};
use crate::coord::group::record::{ClassicMember, ClassicValue};

/// Most bytes of a stored group: half of what the host takes at once, and several times what
/// Kafka does. A group beyond it would take all others of its partition down with it.
const MAX_STORED_BYTES: usize = 8 << 20;

impl Classic {
    /// A stable group of these members, for one that changes over from the consumer protocol.
    /// The first by id leads it.
    #[must_use]
    pub fn from_members(
        generation: i32,
        protocol_type: &str,
        members: impl IntoIterator<Item = (Arc<str>, Member)>,
        since_ms: i64,
    ) -> Self {
        let mut classic = Self::new(since_ms);
        classic.generation = generation;
        classic.protocol_type = Some(Arc::from(protocol_type));
        let by_id: BTreeMap<_, _> = members.into_iter().collect();
        for (id, member) in by_id {
            classic.insert(id, member);
        }
        classic.protocol = classic.elect_protocol();
        if !classic.is_empty() {
            classic.state = State::Stable;
        }
        classic
    }

    /// What is stored of the group as it is.
    #[must_use]
    pub fn stored(&self) -> ClassicValue {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        ClassicValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since_ms: self.since_ms,
            members: self.members().map(|(id, m)| stored_member(id, m, protocol)).collect(),
        }
    }

    /// Makes the group what is stored. A member that is in both keeps who waits for it, and what
    /// it offers beside the selected protocol.
    pub(super) fn restore(&mut self, value: ClassicValue) {
        let selected = value.protocol.clone().unwrap_or_default();
        let mut gone: BTreeSet<Arc<str>> = self.members().map(|(id, _)| Arc::clone(id)).collect();
        for stored in value.members {
            gone.remove(&stored.member_id);
            let (id, member) = self.restored_member(stored, &selected);
            self.insert(id, member);
        }
        for id in gone {
            self.remove(&id);
        }
        self.generation = value.generation;
        self.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty());
        self.protocol = value.protocol;
        let known = value.leader.filter(|id| self.member(id).is_some());
        self.leader = known.or_else(|| self.members().next().map(|(id, _)| Arc::clone(id)));
        let state = if self.is_empty() { State::Empty } else { State::Stable };
        self.enter(state, value.state_since_ms);
    }

    fn restored_member(&self, stored: ClassicMember, selected: &Arc<str>) -> (Arc<str>, Member) {
        let (protocols, wait) = match self.member(&stored.member_id) {
            Some(member) if member.metadata(selected) == stored.subscription => {
                (member.protocols.clone(), member.wait)
            }
            present => {
                let name = Arc::clone(selected);
                let only = Protocol { name, metadata: stored.subscription };
                (vec![only], present.map_or(Wait::default(), |member| member.wait))
            }
        };
        let member = Member {
            instance_id: stored.instance_id,
            client_id: stored.client_id,
            client_host: stored.client_host,
            rebalance_timeout: from_ms(stored.rebalance_timeout_ms),
            session_timeout: from_ms(stored.session_timeout_ms),
            protocols,
            assignment: stored.assignment,
            wait,
        };
        (stored.member_id, member)
    }
}

impl ClassicValue {
    /// Whether the group is small enough for one record.
    pub(super) fn is_storable(&self) -> bool {
        let size = |m: &ClassicMember| {
            m.member_id.len() + m.client_id.len() + m.subscription.len() + m.assignment.len()
        };
        self.members.iter().map(size).sum::<usize>() <= MAX_STORED_BYTES
    }
}

fn stored_member(id: &Arc<str>, member: &Member, protocol: &str) -> ClassicMember {
    ClassicMember {
        member_id: Arc::clone(id),
        instance_id: member.instance_id.clone(),
        client_id: Arc::clone(&member.client_id),
        client_host: Arc::clone(&member.client_host),
        rebalance_timeout_ms: to_ms(member.rebalance_timeout),
        session_timeout_ms: to_ms(member.session_timeout),
        subscription: member.metadata(protocol),
        assignment: member.assignment.clone(),
    }
}

/// Stored time-outs are milliseconds; below zero is none.
fn from_ms(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs().into())
}

fn to_ms(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
