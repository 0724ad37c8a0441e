//! What is asked about committed offsets, and the answers, as plain data. Request versions stop
//! in `api/`: what an old version lacks is filled in there.

use std::sync::Arc;

use crate::base::fault::Code;
use crate::base::ids::TopicPartition;
use crate::coord::cluster::TopicInfo;
use crate::coord::group;

/// Something about each partition of each topic, in the order of the request.
pub type ByTopic<T> = Vec<(Arc<str>, Vec<T>)>;

/// A partition and how it fared.
pub type Outcome = (i32, Result<(), Code>);

#[derive(Clone, Debug)]
pub enum Command {
    Commit(Commit),
    Fetch(Fetch),
    /// Deletes offsets of a group: OffsetDelete.
    Delete(Delete),
    /// Deletes a whole group.
    DeleteGroup {
        group: String,
        /// Only to know whether it would be.
        dry_run: bool,
    },
    /// From the host: these topics are no more, and nor are offsets in them.
    TopicsDeleted(Arc<[TopicInfo]>),
    /// Moves one offset on, past a record that an operator took out of the way.
    Move(Move),
    /// All committed offsets of all groups, for lag.
    List,
}

#[derive(Clone, Debug)]
pub enum Reply {
    Commit(ByTopic<Outcome>),
    /// Nothing was stored: the group would be moved back, and what it has failed on is to be
    /// forgotten first.
    MovesBack(Box<MovesBack>),
    Fetch(Result<ByTopic<Fetched>, Code>),
    Delete(Result<ByTopic<Outcome>, Code>),
    DeleteGroup(Result<(), Code>),
    TopicsDeleted,
    Move(Result<Moved, Code>),
    List(Vec<Listed>),
}

/// A commit that is not stored yet.
#[derive(Clone, Debug)]
pub struct MovesBack {
    pub commit: Commit,
    /// Where the group is going to read again what it has read.
    pub moved_back: Vec<MovedBack>,
}

/// A committed offset that goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedBack {
    pub tp: TopicPartition,
    /// Where it goes.
    pub offset: i64,
}

/// Offsets to be stored.
#[derive(Clone, Debug)]
pub struct Commit {
    pub group: String,
    /// Empty, with generation -1, for who is outside the group's management: simple consumers and
    /// administrators.
    pub member_id: String,
    pub instance_id: Option<String>,
    /// A member epoch in the consumer protocol.
    pub generation: i32,
    /// The client knows member epochs (since v9); without, a member of the consumer protocol
    /// cannot commit.
    pub knows_epochs: bool,
    /// Of requests before v5: how long the offsets are to be kept.
    pub retention_ms: Option<i64>,
    /// Stored even where it moves the group back; else it is given back.
    pub may_move_back: bool,
    pub topics: ByTopic<CommitPartition>,
}

#[derive(Clone, Debug)]
pub struct CommitPartition {
    pub partition: i32,
    pub offset: i64,
    /// -1 if the client does not say.
    pub leader_epoch: i32,
    pub metadata: Box<str>,
}

#[derive(Clone, Debug)]
pub struct Fetch {
    pub group: String,
    /// Of a member of the consumer protocol (since v9).
    pub member_id: Option<String>,
    /// -1 if the client does not say.
    pub member_epoch: i32,
    /// `None` for every offset of the group.
    pub topics: Option<ByTopic<i32>>,
}

/// The committed offset of a partition, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub partition: i32,
    pub committed: Option<Committed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// -1 if unknown.
    pub leader_epoch: i32,
    pub metadata: Box<str>,
}

#[derive(Clone, Debug)]
pub struct Delete {
    pub group: String,
    /// Only to know what would be deleted.
    pub dry_run: bool,
    pub topics: ByTopic<i32>,
}

/// One committed offset, and where it is to be.
#[derive(Clone, Debug)]
pub struct Move {
    pub group: String,
    pub topic: Arc<str>,
    pub partition: i32,
    /// Where it must be now.
    pub from: i64,
    pub to: i64,
}

/// What became of a [`Move`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    Done,
    /// The group has members, who would not see it.
    NotYet,
    /// The offset is not where it was.
    Elsewhere,
}

/// The committed offsets of one group, by partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub group: Arc<str>,
    pub topics: ByTopic<(i32, i64)>,
}

impl From<Command> for group::Command {
    fn from(command: Command) -> Self {
        Self::Offsets(command)
    }
}

impl From<Reply> for group::Reply {
    fn from(reply: Reply) -> Self {
        Self::Offsets(reply)
    }
}
