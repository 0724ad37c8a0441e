//! Committed offsets: key types 0 and 1.
//!
//! | value | fields |
//! |---|---|
//! | 0, 2 | offset, metadata, commit timestamp |
//! | 1 | and the moment it expires (set by requests before v5 that named a retention time) |
//! | 3 | offset, leader epoch, metadata, commit timestamp |
//! | 4 | as 3, compact; tag 0 is the topic's id |
//!
//! As Kafka 4.3 does, version 1 is written of an offset with its own expiry, 4 of all others.

use std::sync::Arc;

use bytes::Bytes;

use super::form::{Reader, Writer};
use super::{LogRecord, Unreadable};
use crate::base::ids::Uuid;

/// Key type of committed offsets. Type 0 is read as the same.
pub(super) const KEY: i16 = 1;

const NEWEST: i16 = 4;
const WITH_EXPIRY: i16 = 1;

/// A committed offset of one partition; `None` for one that is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRecord {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: i32,
    pub value: Option<OffsetValue>,
}

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetValue {
    pub offset: i64,
    /// Leader epoch of the last record that was consumed; -1 if unknown. Not stored beside an
    /// expiry: the requests that can set one cannot set the other.
    pub leader_epoch: i32,
    /// Whatever the client attached.
    pub metadata: Box<str>,
    /// Wall time, milliseconds.
    pub committed_ms: i64,
    /// Wall time, milliseconds, when it expires by the client's own wish.
    pub expires_ms: Option<i64>,
    /// Id of the topic when it was committed; nil if unknown.
    pub topic_id: Uuid,
}

impl OffsetRecord {
    pub(super) fn encode(&self) -> LogRecord {
        let mut key = Writer::key(KEY);
        key.text(&self.group);
        key.text(&self.topic);
        key.i32(self.partition);
        LogRecord { key: key.done(), value: self.value.as_ref().map(OffsetValue::encode) }
    }

    /// `key` stands behind the key's type.
    pub(super) fn decode(key: &mut Reader<'_>, value: Option<&[u8]>) -> Result<Self, Unreadable> {
        Ok(Self {
            group: key.text()?,
            topic: key.text()?,
            partition: key.i32()?,
            value: value.map(OffsetValue::decode).transpose()?,
        })
    }
}

impl OffsetValue {
    fn encode(&self) -> Bytes {
        let version = if self.expires_ms.is_some() { WITH_EXPIRY } else { NEWEST };
        let mut value = Writer::value(version, version == NEWEST);
        value.i64(self.offset);
        if version == NEWEST {
            value.i32(self.leader_epoch);
        }
        value.text(&self.metadata);
        value.i64(self.committed_ms);
        if let Some(expires_ms) = self.expires_ms {
            value.i64(expires_ms);
        }
        let known = (!self.topic_id.is_nil()).then_some(self.topic_id);
        if version == NEWEST {
            value.tag_0(known.map(|id| move |field: &mut Writer| field.uuid(id)));
        }
        value.done()
    }

    fn decode(value: &[u8]) -> Result<Self, Unreadable> {
        let mut value = Reader::new(value);
        let version = value.version("committed offset", NEWEST, NEWEST)?;
        let mut read = Self {
            offset: value.i64()?,
            leader_epoch: if version >= 3 { value.i32()? } else { -1 },
            metadata: value.text()?,
            committed_ms: value.i64()?,
            expires_ms: None,
            topic_id: Uuid::nil(),
        };
        if version == WITH_EXPIRY {
            // Kafka's mark for none.
            read.expires_ms = Some(value.i64()?).filter(|ms| *ms != -1);
        }
        value.tags(|tag, field| {
            if tag == 0 {
                read.topic_id = field.uuid()?;
            }
            Ok(())
        })?;
        Ok(read)
    }
}
