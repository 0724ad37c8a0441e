//! What is stored in `__consumer_offsets`, in Kafka's own formats, so that lag tools can read it.
//!
//! A key begins with a 2-byte type; the value with a 2-byte version; no value deletes the key.

use crate::coord::machine::LogRecord;

/// One record.
#[derive(Clone, Debug)]
pub enum Record {
    Offset(OffsetRecord),
    Classic(ClassicRecord),
    Consumer(ConsumerRecord),
}

/// A committed offset, key types 0 and 1.
#[derive(Clone, Debug)]
pub enum OffsetRecord {}

/// A classic group, key type 2.
#[derive(Clone, Debug)]
pub enum ClassicRecord {}

/// Of a KIP-848 group, key types 3 to 8 and 16.
#[derive(Clone, Debug)]
pub enum ConsumerRecord {}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the record ends too early")]
    Short,
}

impl Record {
    #[must_use]
    pub fn encode(&self) -> LogRecord {
        match self {
            Self::Offset(record) => match *record {},
            Self::Classic(record) => match *record {},
            Self::Consumer(record) => match *record {},
        }
    }

    /// `None` for a key type that is not a group's.
    ///
    /// # Errors
    /// The record is damaged or of a future version.
    pub fn decode(_key: &[u8], _value: Option<&[u8]>) -> Result<Option<Self>, Unreadable> {
        Ok(None)
    }
}
