//! Committed offsets that are to move past a record which was taken out of the way, in the
//! metadata store until they have.
//!
//! | key | value, version 1 |
//! |---|---|
//! | `moves/<topic id>/<partition>/<group>` | JSON: `version`, `topic`, `from`, `to` |
//!
//! The group comes last in the key, as it may hold anything.

use serde::{Deserialize, Serialize};

use crate::base::ids::{TopicPartition, Uuid};

/// Prefix of all keys.
pub const PREFIX: &str = "moves/";

const VERSION: u32 = 1;

/// A move that waits until its group has no members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMove {
    pub group: String,
    pub topic: String,
    pub tp: TopicPartition,
    /// The committed offset; if it is another one, somebody was faster.
    pub from: i64,
    pub to: i64,
}

#[derive(Serialize, Deserialize)]
struct Value {
    version: u32,
    topic: String,
    from: i64,
    to: i64,
}

impl PendingMove {
    #[must_use]
    pub fn key(&self) -> String {
        format!("{PREFIX}{}/{}/{}", self.tp.topic_id, self.tp.partition, self.group)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { topic, from, to, .. } = self;
        let value = Value { version: VERSION, topic: topic.clone(), from: *from, to: *to };
        serde_json::to_vec(&value).expect("string keys and plain values are JSON")
    }

    /// `None` if it can't be read, or a newer release wrote it.
    #[must_use]
    pub fn decode(key: &str, value: &[u8]) -> Option<Self> {
        let mut parts = key.strip_prefix(PREFIX)?.splitn(3, '/');
        let topic_id = Uuid::try_parse(parts.next()?).ok()?;
        let tp = TopicPartition::new(topic_id, parts.next()?.parse().ok()?);
        let group = parts.next()?.to_owned();
        let Value { version, topic, from, to } = serde_json::from_slice(value).ok()?;
        (version <= VERSION).then_some(Self { group, topic, tp, from, to })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_move_is_read_back(
            group in "\\PC{0,40}", id: u128, partition in 0..i32::MAX, from: i64, to: i64,
        ) {
            let tp = TopicPartition::new(Uuid::from_u128(id), partition);
            let made = PendingMove { group, topic: "orders".to_owned(), tp, from, to };
            prop_assert_eq!(PendingMove::decode(&made.key(), &made.encode()), Some(made));
        }

        #[test]
        fn anything_else_is_not(key in "(moves/)?\\PC{0,60}", value in "\\PC{0,60}") {
            prop_assert_eq!(PendingMove::decode(&key, value.as_bytes()), None);
        }
    }
}
