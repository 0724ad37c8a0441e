//! What is asked of consumer groups, and the answers, as plain data. Request versions stop in
//! `api/`: what an old version lacks is filled in there.

use std::sync::Arc;

use super::assignor::{Assignor, Partitions};
use super::state::GroupState;
use crate::base::fault::Fault;
use crate::base::ids::Uuid;
use crate::coord::group;

#[derive(Clone, Debug)]
pub enum Command {
    Heartbeat(Box<Heartbeat>),
    /// Describes one group.
    Describe(Arc<str>),
}

/// A member joins, reports or leaves. Its fields have been checked for what the request alone can
/// say.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub group: Arc<str>,
    /// Empty for a member that wants its id from the broker.
    pub member_id: Arc<str>,
    pub epoch: MemberEpoch,
    pub client_id: Arc<str>,
    /// As Kafka writes an address: `/10.0.0.1`.
    pub client_host: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    /// What is `None` here and below did not change since the last heartbeat.
    pub rebalance_timeout_ms: Option<i32>,
    pub topics: Option<Vec<Arc<str>>>,
    /// An empty pattern takes the subscription back.
    pub regex: Option<Arc<str>>,
    pub assignor: Option<Assignor>,
    /// What the member has.
    pub owned: Option<Partitions>,
}

/// The epoch field of a heartbeat, which also says what the heartbeat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberEpoch {
    /// 0: it joins, or joins again without partitions.
    Join,
    /// -1
    Leave,
    /// -2: a static member that will be back.
    LeaveForNow,
    /// Above 0.
    At(i32),
}

#[derive(Clone, Debug)]
pub enum Reply {
    Heartbeat(Result<Beat, Fault>),
    Describe(Result<Description, Fault>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    pub member_id: Arc<str>,
    pub epoch: i32,
    /// 0 in the answer to one that left.
    pub heartbeat_interval_ms: i32,
    /// All that it has now; `None` if it knows.
    pub assignment: Option<Partitions>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub state: GroupState,
    pub epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: Assignor,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    pub epoch: i32,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub topics: Vec<Arc<str>>,
    /// Empty without one.
    pub regex: Arc<str>,
    /// What it has, with what it has yet to let go of.
    pub assigned: Vec<DescribedTopic>,
    pub target: Vec<DescribedTopic>,
    pub speaks_classic: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTopic {
    pub id: Uuid,
    pub name: Arc<str>,
    pub partitions: Vec<i32>,
}

impl From<Command> for group::Command {
    fn from(command: Command) -> Self {
        Self::Consumer(command)
    }
}

impl From<Reply> for group::Reply {
    fn from(reply: Reply) -> Self {
        Self::Consumer(reply)
    }
}
