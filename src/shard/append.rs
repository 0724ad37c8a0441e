//! What a connection asks of the shards when it produces.

use std::sync::Arc;

use smallvec::SmallVec;

use super::retry::copy::Riding;
use super::tally::Tally;
use crate::base::ids::TopicPartition;
use crate::log::validate::Judged;

/// When a producer wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// `acks=0`: never.
    None,
    /// `acks=1`: the batch is in the page cache.
    Leader,
    /// `acks=all`: the batch is on stable storage (with `durability=fsync`).
    All,
}

impl Acks {
    /// `None` if the value is not one of Kafka's.
    #[must_use]
    pub fn from_wire(acks: i16) -> Option<Self> {
        match acks {
            0 => Some(Self::None),
            1 => Some(Self::Leader),
            -1 => Some(Self::All),
            _ => None,
        }
    }
}

/// One batch for one partition; `slot` is its place in the request's tally.
pub struct Append {
    pub partition: TopicPartition,
    pub batch: Judged,
    /// What the batch's nacks ask for, for partitions of the same shard: made with the batch, or
    /// not at all if it is refused.
    pub copies: Riding,
    /// Deltas of strict commands whose target waits in another partition of the topic.
    pub elsewhere: SmallVec<[i32; 2]>,
    pub slot: u32,
}

/// The batches of one request. Each partition is answered on its own: a request is no
/// transaction.
pub struct AppendSet {
    pub tally: Arc<Tally>,
    pub acks: Acks,
    pub appends: SmallVec<[Append; 1]>,
}

impl AppendSet {
    #[must_use]
    pub fn new(tally: Arc<Tally>, acks: Acks) -> Self {
        Self { tally, acks, appends: SmallVec::new() }
    }

    pub fn push(&mut self, append: Append) {
        self.appends.push(append);
    }
}
