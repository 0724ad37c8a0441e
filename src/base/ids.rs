//! Identities that several layers share.
//!
//! A topic's UUID is its storage identity; names live in the catalog only, so a topic that is
//! deleted and created again under one name can never meet the old one's files.

use std::fmt;

pub use uuid::Uuid;

/// One partition of one topic, by storage identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's UUID, never nil.
    pub topic_id: Uuid,
    /// 0-based partition index.
    pub partition: i32,
}

impl TopicPartition {
    #[must_use]
    pub const fn new(topic_id: Uuid, partition: i32) -> Self {
        Self { topic_id, partition }
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

/// Idempotent producers below this id are reserved for the broker itself; ids handed out on the
/// wire start here.
pub const FIRST_CLIENT_PRODUCER_ID: i64 = 1_000;
