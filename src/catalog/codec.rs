//! What the metadata store holds, and what each change writes there.
//!
//! Keys are text, values JSON objects with a `version`; a reader refuses versions above its own.
//! Ids are lower-case hyphenated UUIDs.
//!
//! | key | value, version 1 |
//! |---|---|
//! | `catalog` | nothing more: its revision fences writers, every change rewrites it |
//! | `topics/<id>` | `name`, `partitions`, `created_at_start`, `configs` (object of strings); with a role also `role`: `kind` (`retry`, `dlq`), `source_id`, `source`, and `group` unless it has none |
//! | `deleted/<id>` | the same, of a topic whose files are not swept yet |
//! | `broker-configs/cluster`, `broker-configs/<node id>` | `configs` |
//! | `group-configs/<group id>` | `configs` |
//! | `starts` | `value`: how often this node has started |
//! | `cluster` | `value`: cluster id |
//! | `log-starts/<id>/<partition>` | `offset`: log start set by DeleteRecords |

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{BrokerScope, Catalog, Change, Configs, Topic};
use crate::base::ids::{TopicPartition, Uuid};
use crate::base::role::{Role, RoleKind};
use crate::store::{MetaWrite, Versioned};

/// The key whose revision fences catalog writers.
pub const FENCE_KEY: &str = "catalog";
/// Prefixes of what [`load`] wants to see.
pub const PREFIXES: [&str; 4] = [TOPICS, DELETED, BROKER_CONFIGS, GROUP_CONFIGS];

const TOPICS: &str = "topics/";
const DELETED: &str = "deleted/";
const BROKER_CONFIGS: &str = "broker-configs/";
const GROUP_CONFIGS: &str = "group-configs/";
const LOG_STARTS: &str = "log-starts/";

const VERSION: u32 = 1;

/// A key or value of the metadata store that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("metadata key {key}: {why}")]
pub struct Unreadable {
    key: String,
    why: String,
}

impl From<Unreadable> for io::Error {
    fn from(error: Unreadable) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// A value with the version that it was written in.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize, Deserialize)]
struct Nothing {}

#[derive(Serialize, Deserialize)]
struct TopicBody {
    name: String,
    partitions: i32,
    created_at_start: u32,
    configs: Configs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<RoleBody>,
}

#[derive(Serialize, Deserialize)]
struct RoleBody {
    kind: String,
    source_id: String,
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
}

impl RoleBody {
    fn of(role: &Role) -> Self {
        Self {
            kind: role.kind.name().to_owned(),
            source_id: role.source_id.to_string(),
            source: role.source_name.to_string(),
            group: role.group.as_deref().map(str::to_owned),
        }
    }

    fn role(self) -> Option<Role> {
        Some(Role {
            source_id: Uuid::try_parse(&self.source_id).ok()?,
            kind: RoleKind::named(&self.kind)?,
            group: self.group.map(Arc::from),
            source_name: self.source.into(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct ConfigsBody {
    configs: Configs,
}

#[derive(Serialize, Deserialize)]
struct SingleBody<T> {
    value: T,
}

#[derive(Serialize, Deserialize)]
struct LogStartBody {
    offset: i64,
}

fn put<T: Serialize>(key: String, body: T) -> MetaWrite {
    let envelope = Envelope { version: VERSION, body };
    let value = serde_json::to_vec(&envelope).expect("string keys and plain values are JSON");
    MetaWrite::Put(key, value)
}

fn get<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, Unreadable> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let unreadable = |why: String| Unreadable { key: key.to_owned(), why };
    let parse = |e: serde_json::Error| unreadable(e.to_string());
    let Version { version } = serde_json::from_slice(value).map_err(parse)?;
    if version > VERSION {
        let why = format!("written by a newer release (version {version}, known are {VERSION})");
        return Err(unreadable(why));
    }
    let envelope: Envelope<T> = serde_json::from_slice(value).map_err(parse)?;
    Ok(envelope.body)
}

/// What a change writes. Changes in order give writes in order.
#[must_use]
pub fn writes(change: &Change) -> Vec<MetaWrite> {
    match change {
        Change::TopicCreated(topic) | Change::TopicConfigured(topic) => {
            vec![put_topic(TOPICS, topic)]
        }
        Change::PartitionsAdded(grown) => {
            grown.iter().map(|one| put_topic(TOPICS, &one.topic)).collect()
        }
        Change::TopicDeleted(topic) => {
            vec![MetaWrite::Delete(topic_key(TOPICS, topic.id)), put_topic(DELETED, topic)]
        }
        Change::TopicSwept(id) => vec![MetaWrite::Delete(topic_key(DELETED, *id))],
        Change::BrokerConfigured { scope, configs } => {
            vec![put_configs(scope_key(*scope), configs)]
        }
        Change::GroupConfigured { group, configs } => {
            vec![put_configs(format!("{GROUP_CONFIGS}{group}"), configs)]
        }
    }
}

/// Rewrites the fence, so that a writer that has not seen this change conflicts.
#[must_use]
pub fn fence() -> MetaWrite {
    put(FENCE_KEY.to_owned(), Nothing {})
}

/// The catalog that a store's pairs add up to.
///
/// # Errors
/// If a pair cannot be read.
pub fn load(
    node_id: i32,
    start: u32,
    pairs: impl IntoIterator<Item = (String, Versioned)>,
) -> Result<Catalog, Unreadable> {
    let mut catalog = Catalog::empty(node_id, start);
    for (key, Versioned { value, .. }) in pairs {
        let change = pair_change(&key, &value)?;
        if let Change::TopicCreated(topic) = &change
            && let Some(other) = catalog.topic(&topic.name)
        {
            let why = format!("topic {} is also {}", topic.name, other.id);
            return Err(Unreadable { key, why });
        }
        catalog.apply(&change);
    }
    Ok(catalog)
}

fn pair_change(key: &str, value: &[u8]) -> Result<Change, Unreadable> {
    if let Some(id) = key.strip_prefix(TOPICS) {
        return Ok(Change::TopicCreated(Arc::new(get_topic(key, id, value)?)));
    }
    if let Some(id) = key.strip_prefix(DELETED) {
        return Ok(Change::TopicDeleted(Arc::new(get_topic(key, id, value)?)));
    }
    if let Some(group) = key.strip_prefix(GROUP_CONFIGS) {
        let ConfigsBody { configs } = get(key, value)?;
        return Ok(Change::GroupConfigured { group: group.to_owned(), configs });
    }
    let scope = match key.strip_prefix(BROKER_CONFIGS) {
        Some("cluster") => Some(BrokerScope::Cluster),
        Some(node) => node.parse().ok().map(BrokerScope::Node),
        None => None,
    };
    let Some(scope) = scope else {
        return Err(Unreadable { key: key.to_owned(), why: "unknown key".to_owned() });
    };
    let ConfigsBody { configs } = get(key, value)?;
    Ok(Change::BrokerConfigured { scope, configs })
}

fn topic_key(prefix: &str, id: Uuid) -> String {
    format!("{prefix}{id}")
}

fn put_topic(prefix: &str, topic: &Topic) -> MetaWrite {
    let body = TopicBody {
        name: topic.name.to_string(),
        partitions: topic.partitions,
        created_at_start: topic.created_at_start,
        configs: topic.configs.clone(),
        role: topic.role.as_deref().map(RoleBody::of),
    };
    put(topic_key(prefix, topic.id), body)
}

fn get_topic(key: &str, id: &str, value: &[u8]) -> Result<Topic, Unreadable> {
    let unreadable = |why: String| Unreadable { key: key.to_owned(), why };
    let id = Uuid::try_parse(id).map_err(|e| unreadable(e.to_string()))?;
    let body: TopicBody = get(key, value)?;
    super::check_topic_name(&body.name).map_err(|fault| unreadable(fault.to_string()))?;
    if id.is_nil() || body.partitions < 1 {
        return Err(unreadable(format!("{} partitions", body.partitions)));
    }
    let role = body.role.map(|role| role.role().ok_or_else(|| unreadable("its role".to_owned())));
    let role = role.transpose()?.map(Arc::new);
    Ok(Topic {
        name: body.name.into(),
        id,
        partitions: body.partitions,
        created_at_start: body.created_at_start,
        configs: body.configs,
        role,
    })
}

/// A resource without configs leaves nothing behind.
fn put_configs(key: String, configs: &Configs) -> MetaWrite {
    if configs.is_empty() {
        return MetaWrite::Delete(key);
    }
    put(key, ConfigsBody { configs: configs.clone() })
}

fn scope_key(scope: BrokerScope) -> String {
    match scope {
        BrokerScope::Cluster => format!("{BROKER_CONFIGS}cluster"),
        BrokerScope::Node(id) => format!("{BROKER_CONFIGS}{id}"),
    }
}

/// A key that holds one value.
pub struct Single<T> {
    pub key: &'static str,
    value: PhantomData<T>,
}

/// How often this node has started.
pub const STARTS: Single<u32> = Single::at("starts");
/// The id of the cluster whose metadata this is.
pub const CLUSTER: Single<String> = Single::at("cluster");

impl<T: Serialize + DeserializeOwned> Single<T> {
    const fn at(key: &'static str) -> Self {
        Self { key, value: PhantomData }
    }

    #[must_use]
    pub fn write(&self, value: T) -> MetaWrite {
        put(self.key.to_owned(), SingleBody { value })
    }

    /// # Errors
    /// If the value cannot be read.
    pub fn read(&self, value: &[u8]) -> Result<T, Unreadable> {
        get::<SingleBody<T>>(self.key, value).map(|body| body.value)
    }
}

/// Log start offsets that DeleteRecords set.
pub mod log_starts {
    use super::{LOG_STARTS, LogStartBody, MetaWrite, TopicPartition, Unreadable, Uuid, get, put};

    /// Prefix of all keys.
    pub const PREFIX: &str = LOG_STARTS;

    fn key(partition: TopicPartition) -> String {
        format!("{LOG_STARTS}{}/{}", partition.topic_id, partition.partition)
    }

    #[must_use]
    pub fn write(partition: TopicPartition, offset: i64) -> MetaWrite {
        put(key(partition), LogStartBody { offset })
    }

    #[must_use]
    pub fn delete(partition: TopicPartition) -> MetaWrite {
        MetaWrite::Delete(key(partition))
    }

    /// # Errors
    /// If key or value cannot be read.
    pub fn read(key: &str, value: &[u8]) -> Result<(TopicPartition, i64), Unreadable> {
        let LogStartBody { offset } = get(key, value)?;
        let parsed = key.strip_prefix(LOG_STARTS).and_then(|rest| rest.split_once('/'));
        let parsed = parsed.and_then(|(id, partition)| {
            Some(TopicPartition::new(Uuid::try_parse(id).ok()?, partition.parse().ok()?))
        });
        let unknown = || Unreadable { key: key.to_owned(), why: "unknown key".to_owned() };
        Ok((parsed.ok_or_else(unknown)?, offset))
    }
}
