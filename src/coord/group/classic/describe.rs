//! What is told of groups: descriptions, listings, the topics that members subscribe to.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::command::{DescribedMember, Description, List, Listed};
use super::member::Member;
use super::state::{Classic, State};
use crate::coord::group::{Group, GroupMap, Kind};
use crate::wire::cursor::{Cursor, Short};

/// The protocol type of consumers, whose metadata begins with the topics they subscribe to.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Describes a group that is known here, with committed offsets alone or with members.
pub(super) fn describe(groups: &GroupMap, group: &str) -> Option<Description> {
    match &groups.get(group)?.kind {
        Kind::Simple => Some(Classic::new(-1).description()),
        Kind::Classic(classic) => Some(classic.description()),
        Kind::Consumer(_) => None,
    }
}

impl Classic {
    /// Metadata is told of a stable group alone: in a rebalance it belongs to no protocol yet.
    fn description(&self) -> Description {
        let selected = self.protocol.as_ref().filter(|_| self.state == State::Stable);
        let described = |(id, member): (&Arc<str>, &Member)| DescribedMember {
            member_id: Arc::clone(id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: selected.map(|name| member.metadata(name)).unwrap_or_default(),
            assignment: member.assignment.clone(),
        };
        Description {
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: selected.cloned().unwrap_or_default(),
            members: self.members().map(described).collect(),
        }
    }

    /// The topics that the group's consumers subscribe to; `None` if that cannot be told: its
    /// members are no consumers, or their metadata is not a consumer's.
    #[must_use]
    pub fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type() != Some(CONSUMER_PROTOCOL_TYPE) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for (_, member) in self.members() {
            let metadata = member.metadata(self.protocol()?);
            topics.extend(topics_of_subscription(&metadata).ok()?);
        }
        Some(topics)
    }
}

/// The topics at the head of a consumer's subscription: every version begins with a 2-byte
/// version and an array of names (Kafka's `ConsumerProtocolSubscription`).
fn topics_of_subscription(metadata: &Bytes) -> Result<Vec<String>, Short> {
    let mut cursor = Cursor::new(metadata);
    cursor.i16()?;
    let mut topics = Vec::new();
    for _ in 0..cursor.i32()? {
        let bytes = usize::try_from(cursor.i16()?).map_err(|_| Short)?;
        let name = std::str::from_utf8(cursor.take(bytes)?).map_err(|_| Short)?;
        topics.push(name.to_owned());
    }
    Ok(topics)
}

/// Lists what passes the filters, in no order.
pub(in crate::coord::group) fn list(groups: &GroupMap, filter: &List) -> Vec<Listed> {
    let passes = |names: &[String], name: &str| {
        names.is_empty() || names.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
    };
    let listed = groups.iter().map(listed);
    listed.filter(|g| passes(&filter.states, g.state) && passes(&filter.types, g.kind)).collect()
}

fn listed(group: &Group) -> Listed {
    let (protocol_type, state, kind) = match &group.kind {
        Kind::Simple => (Arc::default(), State::Empty.name(), "classic"),
        Kind::Classic(classic) => {
            (classic.protocol_type.clone().unwrap_or_default(), classic.state.name(), "classic")
        }
        Kind::Consumer(consumer) => {
            (Arc::from(CONSUMER_PROTOCOL_TYPE), consumer.state().name(), "consumer")
        }
    };
    Listed { group: Arc::clone(&group.id), protocol_type, state, kind }
}
