//! What is stored in `__consumer_offsets`, in Kafka's own formats, so that lag tools can read it
//! and a log of Kafka's can be taken over.
//!
//! A key begins with a 2-byte type; the value with a 2-byte version; no value deletes the key.
//! All numbers are big-endian. The formats stand at the top of `offset`, `classic`, `consumer`;
//! each file reads every version there is and writes what Kafka 4.3 writes.
//!
//! Rejected: Kafka's schemas through a generator, for ten values of which most have one version.

mod classic;
mod consumer;
mod form;
mod offset;
#[cfg(test)]
mod tests;

use form::Reader;

use crate::coord::machine::LogRecord;

pub use classic::{ClassicMember, ClassicRecord, ClassicValue};
pub use consumer::{
    ClassicMetadata, ConsumerEntry, ConsumerRecord, CurrentAssignment, GroupEpoch, MemberMetadata,
    OwnedTopic, ResolvedRegex, TargetEpoch, TargetTopic,
};
pub use offset::{OffsetRecord, OffsetValue};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Offset(OffsetRecord),
    Classic(ClassicRecord),
    Consumer(ConsumerRecord),
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the record ends too early")]
    Short,
    #[error("a text is not UTF-8")]
    Text,
    #[error("a field that must be there is null")]
    Null,
    #[error("the {what} has version {version}, from a newer broker")]
    Version { what: &'static str, version: i16 },
}

impl Record {
    #[must_use]
    pub fn encode(&self) -> LogRecord {
        match self {
            Self::Offset(record) => record.encode(),
            Self::Classic(record) => record.encode(),
            Self::Consumer(record) => record.encode(),
        }
    }

    /// `None` for a key type that is not of these groups: other coordinators' and future ones.
    ///
    /// # Errors
    /// The record is damaged or of a future version.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, Unreadable> {
        let mut key = Reader::new(key);
        Ok(Some(match key.i16()? {
            0 | offset::KEY => Self::Offset(OffsetRecord::decode(&mut key, value)?),
            classic::KEY => Self::Classic(ClassicRecord::decode(&mut key, value)?),
            kind if ConsumerRecord::is_key(kind) => {
                Self::Consumer(ConsumerRecord::decode(kind, &mut key, value)?)
            }
            _ => return Ok(None),
        }))
    }
}
