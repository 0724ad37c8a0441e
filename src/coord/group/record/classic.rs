//! A classic group: key type 2. One value holds the whole group.
//!
//! | value | new |
//! |---|---|
//! | 0 | protocol type, generation, protocol, leader, members |
//! | 1 | a rebalance time-out per member |
//! | 2 | since when the group has its state |
//! | 3 | instance ids (KIP-345). Kafka 4.3 writes this version, and so do we |
//! | 4 | the same, compact |

use std::sync::Arc;

use bytes::Bytes;

use super::form::{Reader, Writer};
use super::{LogRecord, Unreadable};

pub(super) const KEY: i16 = 2;

const WRITTEN: i16 = 3;
const NEWEST: i16 = 4;

/// A classic group as it is stored; `None` for one that is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicRecord {
    pub group: Arc<str>,
    pub value: Option<ClassicValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicValue {
    /// Empty if the group never had members.
    pub protocol_type: Arc<str>,
    pub generation: i32,
    /// The protocol that was chosen; none without members.
    pub protocol: Option<Arc<str>>,
    pub leader: Option<Arc<str>>,
    /// Wall time, milliseconds, since when the group has its state; -1 if unknown.
    pub state_since_ms: i64,
    pub members: Vec<ClassicMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    /// As Kafka writes it: a slash and the address.
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The member's metadata for the chosen protocol, opaque.
    pub subscription: Bytes,
    /// What the leader assigned, opaque.
    pub assignment: Bytes,
}

impl ClassicRecord {
    pub(super) fn encode(&self) -> LogRecord {
        let mut key = Writer::key(KEY);
        key.text(&self.group);
        LogRecord { key: key.done(), value: self.value.as_ref().map(ClassicValue::encode) }
    }

    /// `key` stands behind the key's type.
    pub(super) fn decode(key: &mut Reader<'_>, value: Option<&[u8]>) -> Result<Self, Unreadable> {
        Ok(Self { group: key.text()?, value: value.map(ClassicValue::decode).transpose()? })
    }
}

impl ClassicValue {
    fn encode(&self) -> Bytes {
        let mut value = Writer::value(WRITTEN, false);
        value.text(&self.protocol_type);
        value.i32(self.generation);
        value.text_or_null(self.protocol.as_deref());
        value.text_or_null(self.leader.as_deref());
        value.i64(self.state_since_ms);
        value.list(&self.members, |value, member| {
            value.text(&member.member_id);
            value.text_or_null(member.instance_id.as_deref());
            value.text(&member.client_id);
            value.text(&member.client_host);
            value.i32(member.rebalance_timeout_ms);
            value.i32(member.session_timeout_ms);
            value.bytes(&member.subscription);
            value.bytes(&member.assignment);
        });
        value.done()
    }

    fn decode(value: &[u8]) -> Result<Self, Unreadable> {
        let mut value = Reader::new(value);
        let version = value.version("classic group", NEWEST, NEWEST)?;
        let read = Self {
            protocol_type: value.text()?,
            generation: value.i32()?,
            protocol: value.text_or_null()?,
            leader: value.text_or_null()?,
            state_since_ms: if version >= 2 { value.i64()? } else { -1 },
            members: value.list(|value| ClassicMember::decode(value, version))?,
        };
        value.no_tags()?;
        Ok(read)
    }
}

impl ClassicMember {
    fn decode(value: &mut Reader<'_>, version: i16) -> Result<Self, Unreadable> {
        let member_id = value.text()?;
        let instance_id = if version >= 3 { value.text_or_null()? } else { None };
        let client_id = value.text()?;
        let client_host = value.text()?;
        let first_timeout_ms = value.i32()?;
        // Version 0 has one time-out for both.
        let session_timeout_ms = if version >= 1 { value.i32()? } else { first_timeout_ms };
        let read = Self {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: first_timeout_ms,
            session_timeout_ms,
            subscription: value.bytes()?,
            assignment: value.bytes()?,
        };
        value.no_tags()?;
        Ok(read)
    }
}
