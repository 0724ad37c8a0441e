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
    /// 0-based partition index; negative for a [journal](Self::journal).
    pub partition: i32,
}

impl TopicPartition {
    #[must_use]
    pub const fn new(topic_id: Uuid, partition: i32) -> Self {
        Self { topic_id, partition }
    }

    /// The partition's delay journal: a log of its own under an index that no client can name.
    #[must_use]
    pub const fn journal(self) -> Self {
        Self { topic_id: self.topic_id, partition: !self.source().partition }
    }

    #[must_use]
    pub const fn is_journal(self) -> bool {
        self.partition < 0
    }

    /// The partition that a journal belongs to; of any other partition, itself.
    #[must_use]
    pub const fn source(self) -> Self {
        let partition = if self.is_journal() { !self.partition } else { self.partition };
        Self { topic_id: self.topic_id, partition }
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

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A UUID as Kafka prints it: 22 characters of URL-safe base64 without padding.
#[must_use]
pub fn base64_id(id: Uuid) -> String {
    // 128 bits are 21 characters of 6 bits and one of 2, whose low 4 bits are zero.
    let bits = id.as_u128();
    let character = |n: u32| {
        let shifted = if n == 21 { bits << 4 } else { bits >> (122 - 6 * n) };
        char::from(BASE64URL[(shifted & 0x3F) as usize])
    };
    (0..22).map(character).collect()
}

/// The inverse of [`base64_id`]; `None` for anything that it does not print.
#[must_use]
pub fn parse_base64_id(text: &str) -> Option<Uuid> {
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    for (n, byte) in text.bytes().enumerate() {
        let value = BASE64URL.iter().position(|b| *b == byte)? as u128;
        if n < 21 {
            bits = bits << 6 | value;
        } else if value & 0xF == 0 {
            bits = bits << 2 | value >> 4;
        } else {
            return None;
        }
    }
    Some(Uuid::from_u128(bits))
}

#[cfg(test)]
mod tests {
    use super::{TopicPartition, Uuid, base64_id, parse_base64_id};
    use proptest::prelude::{any, proptest};

    #[test]
    fn ids_print_as_kafka_prints_them() {
        let id = Uuid::from_bytes(*b"2E78EA57052D436B");
        assert_eq!(base64_id(id), "MkU3OEVBNTcwNTJENDM2Qg");
        assert_eq!(base64_id(Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn a_journal_is_its_partitions_own() {
        let partition = TopicPartition::new(Uuid::from_u128(1), 0);
        let journal = partition.journal();
        assert!(journal.is_journal() && !partition.is_journal());
        assert_eq!((journal.source(), partition.source()), (partition, partition));
        assert_eq!(journal.journal(), journal);
    }

    #[test]
    fn what_kafka_would_not_print_is_not_read() {
        for text in
            ["", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAA+A"]
        {
            assert_eq!(parse_base64_id(text), None, "{text}");
        }
    }

    #[test]
    fn a_journal_has_its_partitions_number_below_zero() {
        for partition in [0, 1, 41, i32::MAX] {
            let source = TopicPartition::new(Uuid::from_u128(7), partition);
            let journal = source.journal();
            assert!(journal.is_journal() && !source.is_journal());
            assert_eq!((journal.source(), journal.journal()), (source, journal));
            assert_eq!(source.source(), source);
            assert!(journal.partition < 0);
        }
    }

    proptest! {
        #[test]
        fn ids_survive_printing(bits in any::<u128>()) {
            let id = Uuid::from_u128(bits);
            assert_eq!(parse_base64_id(&base64_id(id)), Some(id));
        }
    }
}
