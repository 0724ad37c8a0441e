//! What is asked of classic groups, and the answers, as plain data. Request versions stop in
//! `api/`: what an old version lacks is filled in there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::member::Protocol;
use crate::base::fault::Code;
use crate::coord::group;
use crate::coord::group::pulse::Pulse;

#[derive(Clone, Debug)]
pub enum Command {
    Join(Box<Join>),
    Sync(Sync),
    Heartbeat(Heartbeat),
    Leave(Leave),
    /// Describes one group.
    Describe(String),
    List(List),
}

/// A member joins or joins again.
#[derive(Clone, Debug)]
pub struct Join {
    pub group: String,
    /// Empty for a member that has no id yet.
    pub member_id: String,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance_id: Option<String>,
    pub client_id: String,
    /// As Kafka writes an address: `/10.0.0.1`.
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// A member without an id gets one and must come again with it (KIP-394, since v4).
    pub needs_known_id: bool,
    /// The client understands that it leads but need not assign (KIP-814, since v9).
    pub can_skip_assignment: bool,
}

/// A member asks for its assignment; the leader brings everyone's.
#[derive(Clone, Debug)]
pub struct Sync {
    pub group: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Compared with the group's if the client sends it (since v5).
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Member id and what it gets. The bytes are the client's own business.
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub group: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Fresh with each request; open from the answer on if later ones may go without.
    pub pulse: Arc<Pulse>,
}

#[derive(Clone, Debug)]
pub struct Leave {
    pub group: String,
    pub members: Vec<Leaver>,
}

/// One member that leaves, or that an administrator removes by its instance id alone.
#[derive(Clone, Debug)]
pub struct Leaver {
    /// Empty if only the instance id is known.
    pub member_id: String,
    pub instance_id: Option<String>,
}

/// Lists the groups of the partition. An empty filter lets all pass; names compare without case.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum Reply {
    Join(Result<Joined, JoinRefused>),
    Sync(Result<Synced, Code>),
    Heartbeat(Result<(), Code>),
    /// How each leaver fared, in the order of the request.
    Leave(Result<Vec<(Leaver, Option<Code>)>, Code>),
    /// `None` if no classic group has this id.
    Describe(Option<Description>),
    List(Vec<Listed>),
}

/// A rebalance is complete for this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub member_id: Arc<str>,
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub leader: Arc<str>,
    /// The leader is told to keep the assignment as it is.
    pub skip_assignment: bool,
    /// All members, for the leader alone.
    pub members: Vec<JoinedMember>,
}

/// What the leader is told of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub metadata: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    pub code: Code,
    /// The id to come again with, or the one that was refused.
    pub member_id: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub assignment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub state: &'static str,
    /// Empty for a group that never had members.
    pub protocol_type: Arc<str>,
    /// Empty unless the group is stable.
    pub protocol: Arc<str>,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Empty unless the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub group: Arc<str>,
    /// Empty for a group that never had members.
    pub protocol_type: Arc<str>,
    pub state: &'static str,
    /// `classic` or `consumer`.
    pub kind: &'static str,
}

impl From<Command> for group::Command {
    fn from(command: Command) -> Self {
        Self::Classic(command)
    }
}

impl From<Reply> for group::Reply {
    fn from(reply: Reply) -> Self {
        Self::Classic(reply)
    }
}
