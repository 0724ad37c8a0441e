//! A group of the consumer protocol (KIP-848): key types 3 to 8 and 16. Every value is version 0,
//! compact; newer fields are tagged.
//!
//! | key | of | value |
//! |---|---|---|
//! | 3 | group | epoch; tag 0: hash of the subscribed topics' metadata (4.1) |
//! | 4 | group | metadata of subscribed topics: up to 4.0; since then only deleted |
//! | 5 | member | what it asked for; tag 0: its classic protocols, if it speaks that |
//! | 6 | group | epoch of the target assignment; tag 0: when it was made (4.3) |
//! | 7 | member | its target |
//! | 8 | member | epochs, state, partitions; tag 0 of a topic: epochs of assignment (4.3) |
//! | 16 | regular expression | topics it resolved to, metadata revision, when |

use std::sync::Arc;

use bytes::Bytes;

use super::form::{Reader, Writer};
use super::{LogRecord, Unreadable};
use crate::base::ids::Uuid;

const GROUP: i16 = 3;
const TOPICS: i16 = 4;
const MEMBER: i16 = 5;
const TARGET: i16 = 6;
const MEMBER_TARGET: i16 = 7;
const MEMBER_CURRENT: i16 = 8;
const REGEX: i16 = 16;

/// Versions of all values of this file.
const NEWEST: i16 = 0;

/// One record of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub group: Arc<str>,
    pub entry: ConsumerEntry,
}

/// What the record is of; `None` deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerEntry {
    Group(Option<GroupEpoch>),
    /// Metadata of subscribed topics, which brokers kept up to 4.0: whether some is stored.
    SubscriptionMetadata(bool),
    Member(Arc<str>, Option<MemberMetadata>),
    Target(Option<TargetEpoch>),
    MemberTarget(Arc<str>, Option<Vec<TargetTopic>>),
    MemberCurrent(Arc<str>, Option<CurrentAssignment>),
    /// By the expression.
    Regex(Arc<str>, Option<ResolvedRegex>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEpoch {
    pub epoch: i32,
    /// Of the metadata of the subscribed topics; 0 if there are none.
    pub metadata_hash: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    /// As Kafka writes it: a slash and the address.
    pub client_host: Arc<str>,
    /// Sorted.
    pub subscribed_topics: Vec<Arc<str>>,
    pub subscribed_regex: Option<Arc<str>>,
    /// -1 if unknown.
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<Arc<str>>,
    /// Of a member that speaks the classic protocol.
    pub classic: Option<ClassicMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMetadata {
    pub session_timeout_ms: i32,
    /// Names and metadata of the protocols it can, as it sent them.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetEpoch {
    pub epoch: i32,
    /// Wall time, milliseconds, when the target was made; 0 if unknown.
    pub made_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAssignment {
    pub epoch: i32,
    pub previous_epoch: i32,
    /// Kafka's number of the member's state.
    pub state: i8,
    pub assigned: Vec<OwnedTopic>,
    pub pending_revocation: Vec<OwnedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
    /// At which epoch each partition was assigned, in the order of `partitions` (KIP-1251);
    /// none if an older broker wrote it.
    pub epochs: Option<Vec<i32>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRegex {
    /// Sorted.
    pub topics: Vec<Arc<str>>,
    /// Revision of the metadata that it was resolved against.
    pub version: i64,
    /// Wall time, milliseconds.
    pub resolved_ms: i64,
}

impl ConsumerRecord {
    pub(super) const fn is_key(kind: i16) -> bool {
        matches!(kind, GROUP..=MEMBER_CURRENT | REGEX)
    }

    pub(super) fn encode(&self) -> LogRecord {
        use ConsumerEntry as E;
        let (kind, part, value) = match &self.entry {
            E::Group(value) => (GROUP, None, value.map(GroupEpoch::encode)),
            E::SubscriptionMetadata(stored) => (TOPICS, None, stored.then(no_topics)),
            E::Member(id, value) => (MEMBER, Some(id), value.as_ref().map(MemberMetadata::encode)),
            E::Target(value) => (TARGET, None, value.map(TargetEpoch::encode)),
            E::MemberTarget(id, value) => {
                (MEMBER_TARGET, Some(id), value.as_deref().map(encode_target))
            }
            E::MemberCurrent(id, value) => {
                (MEMBER_CURRENT, Some(id), value.as_ref().map(CurrentAssignment::encode))
            }
            E::Regex(regex, value) => {
                (REGEX, Some(regex), value.as_ref().map(ResolvedRegex::encode))
            }
        };
        let mut key = Writer::key(kind);
        key.text(&self.group);
        if let Some(part) = part {
            key.text(part);
        }
        LogRecord { key: key.done(), value }
    }

    /// `key` stands behind the key's type, of which [`Self::is_key`] is true.
    pub(super) fn decode(
        kind: i16,
        key: &mut Reader<'_>,
        value: Option<&[u8]>,
    ) -> Result<Self, Unreadable> {
        use ConsumerEntry as E;
        let group = key.text()?;
        let mut value = value.map(Reader::new);
        if let Some(value) = &mut value {
            value.version("consumer group", NEWEST, 0)?;
        }
        let value = value.as_mut();
        let entry = match kind {
            GROUP => E::Group(value.map(GroupEpoch::decode).transpose()?),
            TOPICS => E::SubscriptionMetadata(value.is_some()),
            MEMBER => E::Member(key.text()?, value.map(MemberMetadata::decode).transpose()?),
            TARGET => E::Target(value.map(TargetEpoch::decode).transpose()?),
            MEMBER_TARGET => E::MemberTarget(key.text()?, value.map(decode_target).transpose()?),
            MEMBER_CURRENT => {
                E::MemberCurrent(key.text()?, value.map(CurrentAssignment::decode).transpose()?)
            }
            _ => E::Regex(key.text()?, value.map(ResolvedRegex::decode).transpose()?),
        };
        Ok(Self { group, entry })
    }
}

fn value() -> Writer {
    Writer::value(NEWEST, true)
}

/// Subscription metadata without topics.
fn no_topics() -> Bytes {
    let mut value = value();
    value.list::<()>(&[], |_, ()| ());
    value.no_tags();
    value.done()
}

impl GroupEpoch {
    fn encode(self) -> Bytes {
        let mut value = value();
        value.i32(self.epoch);
        let hash = (self.metadata_hash != 0).then_some(self.metadata_hash);
        value.tag_0(hash.map(|hash| move |field: &mut Writer| field.i64(hash)));
        value.done()
    }

    fn decode(value: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut read = Self { epoch: value.i32()?, metadata_hash: 0 };
        value.tags(|tag, field| {
            if tag == 0 {
                read.metadata_hash = field.i64()?;
            }
            Ok(())
        })?;
        Ok(read)
    }
}

impl MemberMetadata {
    fn encode(&self) -> Bytes {
        let mut value = value();
        value.text_or_null(self.instance_id.as_deref());
        value.text_or_null(self.rack_id.as_deref());
        value.text(&self.client_id);
        value.text(&self.client_host);
        value.list(&self.subscribed_topics, |value, topic| value.text(topic));
        value.text_or_null(self.subscribed_regex.as_deref());
        value.i32(self.rebalance_timeout_ms);
        value.text_or_null(self.server_assignor.as_deref());
        value
            .tag_0(Some(|field: &mut Writer| ClassicMetadata::write(self.classic.as_ref(), field)));
        value.done()
    }

    fn decode(value: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut read = Self {
            instance_id: value.text_or_null()?,
            rack_id: value.text_or_null()?,
            client_id: value.text()?,
            client_host: value.text()?,
            subscribed_topics: value.list(Reader::text)?,
            subscribed_regex: value.text_or_null()?,
            rebalance_timeout_ms: value.i32()?,
            server_assignor: value.text_or_null()?,
            classic: None,
        };
        value.tags(|tag, field| {
            if tag == 0 {
                read.classic = ClassicMetadata::read(field)?;
            }
            Ok(())
        })?;
        Ok(read)
    }
}

impl ClassicMetadata {
    /// A nullable struct is 1 and its fields, or a lone 0, which Kafka writes as well.
    fn write(metadata: Option<&Self>, field: &mut Writer) {
        let Some(metadata) = metadata else { return field.i8(0) };
        field.i8(1);
        field.i32(metadata.session_timeout_ms);
        field.list(&metadata.protocols, |field, (name, metadata)| {
            field.text(name);
            field.bytes(metadata);
            field.no_tags();
        });
        field.no_tags();
    }

    fn read(field: &mut Reader<'_>) -> Result<Option<Self>, Unreadable> {
        if field.i8()? != 1 {
            return Ok(None);
        }
        let session_timeout_ms = field.i32()?;
        let protocols = field.list(|field| {
            let protocol = (field.text()?, field.bytes()?);
            field.no_tags()?;
            Ok(protocol)
        })?;
        field.no_tags()?;
        Ok(Some(Self { session_timeout_ms, protocols }))
    }
}

impl TargetEpoch {
    fn encode(self) -> Bytes {
        let mut value = value();
        value.i32(self.epoch);
        let made_ms = (self.made_ms != 0).then_some(self.made_ms);
        value.tag_0(made_ms.map(|ms| move |field: &mut Writer| field.i64(ms)));
        value.done()
    }

    fn decode(value: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut read = Self { epoch: value.i32()?, made_ms: 0 };
        value.tags(|tag, field| {
            if tag == 0 {
                read.made_ms = field.i64()?;
            }
            Ok(())
        })?;
        Ok(read)
    }
}

fn encode_target(topics: &[TargetTopic]) -> Bytes {
    let mut value = value();
    value.list(topics, |value, topic| {
        value.uuid(topic.topic_id);
        value.list(&topic.partitions, |value, partition| value.i32(*partition));
        value.no_tags();
    });
    value.no_tags();
    value.done()
}

fn decode_target(value: &mut Reader<'_>) -> Result<Vec<TargetTopic>, Unreadable> {
    let topics = value.list(|value| {
        let topic = TargetTopic { topic_id: value.uuid()?, partitions: value.list(Reader::i32)? };
        value.no_tags()?;
        Ok(topic)
    })?;
    value.no_tags()?;
    Ok(topics)
}

impl CurrentAssignment {
    fn encode(&self) -> Bytes {
        let mut value = value();
        value.i32(self.epoch);
        value.i32(self.previous_epoch);
        value.i8(self.state);
        value.list(&self.assigned, OwnedTopic::write);
        value.list(&self.pending_revocation, OwnedTopic::write);
        value.no_tags();
        value.done()
    }

    fn decode(value: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let read = Self {
            epoch: value.i32()?,
            previous_epoch: value.i32()?,
            state: value.i8()?,
            assigned: value.list(OwnedTopic::read)?,
            pending_revocation: value.list(OwnedTopic::read)?,
        };
        value.no_tags()?;
        Ok(read)
    }
}

impl OwnedTopic {
    fn write(value: &mut Writer, topic: &Self) {
        value.uuid(topic.topic_id);
        value.list(&topic.partitions, |value, partition| value.i32(*partition));
        value.tag_0(topic.epochs.as_ref().map(|epochs| {
            |field: &mut Writer| field.list(epochs, |field, epoch| field.i32(*epoch))
        }));
    }

    fn read(value: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut read =
            Self { topic_id: value.uuid()?, partitions: value.list(Reader::i32)?, epochs: None };
        value.tags(|tag, field| {
            if tag == 0 {
                read.epochs = field.list_or_null(Reader::i32)?;
            }
            Ok(())
        })?;
        Ok(read)
    }
}

impl ResolvedRegex {
    fn encode(&self) -> Bytes {
        let mut value = value();
        value.list(&self.topics, |value, topic| value.text(topic));
        value.i64(self.version);
        value.i64(self.resolved_ms);
        value.no_tags();
        value.done()
    }

    fn decode(value: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let read = Self {
            topics: value.list(Reader::text)?,
            version: value.i64()?,
            resolved_ms: value.i64()?,
        };
        value.no_tags()?;
        Ok(read)
    }
}
