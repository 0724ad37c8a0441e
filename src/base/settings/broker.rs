//! The broker's settings as typed data.

use std::path::PathBuf;

use super::delay::DelayStoreSettings;
use super::group::GroupCoordinatorSettings;
use super::layers::{BrokerConfig, Reader};
use super::listeners::{self, Address, Listener};
use super::spec::Update;
use super::{SettingsError, broker_key, shown};

/// What `acks=all` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On stable storage.
    Fsync,
    /// In the page cache: survives the process, not the machine.
    PageCache,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// What the broker is composed from. Field names are the keys' (`log.` and units kept); values
/// are within the table's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// At least one, names unique.
    pub listeners: Vec<Listener>,
    /// Empty: no HTTP server.
    pub http_listeners: Vec<Address>,
    pub node_id: i32,
    pub broker_rack: Option<String>,
    /// The one entry of `log.dirs` or `log.dir`.
    pub data_dir: PathBuf,
    pub durability: Durability,
    /// `None`: as many as processors.
    pub shards: Option<u32>,
    pub commit_log_file_bytes: u64,
    pub commit_log_max_bytes: u64,
    pub checkpoint_interval_ms: i64,
    pub retention_check_interval_ms: i64,
    pub num_partitions: i32,
    pub default_replication_factor: i32,
    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,
    pub fetch_max_bytes: u32,
    pub fetch_session_cache_slots: u32,
    pub max_partitions: u32,
    pub max_partitions_per_topic: i32,
    pub max_request_partition_size_limit: i32,
    pub max_decompressed_message_bytes: u64,
    pub connections_max_idle_ms: u64,
    /// `None`: no limit.
    pub queued_max_request_bytes: Option<u64>,
    pub socket_request_max_bytes: u32,
    pub socket_listen_backlog_size: u32,
    pub groups: GroupCoordinatorSettings,
    pub delay: DelayStoreSettings,
    pub logging_format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub logging_level: String,
}

impl Settings {
    /// # Errors
    /// Values that do not fit together, such as two data directories; one line.
    pub fn resolve(config: &BrokerConfig) -> Result<Self, SettingsError> {
        let read = Reader::broker(config);
        let large = |name| u64::try_from(read.long(name)).ok();
        let size = |name| large(name).expect("the key's range is not negative");
        Ok(Self {
            listeners: listeners::kafka(&read)?,
            http_listeners: listeners::http(&read)?,
            node_id: node_id(config, &read)?,
            broker_rack: Some(read.text("broker.rack")).filter(|rack| !rack.is_empty()),
            data_dir: data_dir(&read)?,
            durability: match read.text("durability").as_str() {
                "page-cache" => Durability::PageCache,
                _ => Durability::Fsync,
            },
            shards: Some(read.count("shards")).filter(|shards| *shards > 0),
            commit_log_file_bytes: size("commit.log.file.bytes"),
            commit_log_max_bytes: commit_log_max_bytes(&read)?,
            checkpoint_interval_ms: read.long("log.flush.offset.checkpoint.interval.ms"),
            retention_check_interval_ms: read.long("log.retention.check.interval.ms"),
            num_partitions: read.int("num.partitions"),
            default_replication_factor: read.int("default.replication.factor"),
            auto_create_topics_enable: read.boolean("auto.create.topics.enable"),
            delete_topic_enable: read.boolean("delete.topic.enable"),
            fetch_max_bytes: read.count("fetch.max.bytes"),
            fetch_session_cache_slots: read.count("max.incremental.fetch.session.cache.slots"),
            max_partitions: read.count("max.partitions"),
            max_partitions_per_topic: read.int("max.partitions.per.topic"),
            max_request_partition_size_limit: read.int("max.request.partition.size.limit"),
            max_decompressed_message_bytes: size("max.decompressed.message.bytes"),
            connections_max_idle_ms: size("connections.max.idle.ms"),
            queued_max_request_bytes: large("queued.max.request.bytes"),
            socket_request_max_bytes: read.count("socket.request.max.bytes"),
            socket_listen_backlog_size: read.count("socket.listen.backlog.size"),
            groups: GroupCoordinatorSettings::resolve(config)?,
            delay: DelayStoreSettings::resolve(config),
            logging_format: match read.text("logging.format").as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            logging_level: read.text("logging.level"),
        })
    }
}

/// `node.id`, or `broker.id` as older files call it; both only if they agree.
fn node_id(config: &BrokerConfig, read: &Reader) -> Result<i32, SettingsError> {
    let node = read.int("node.id");
    let Some(broker) = read.integer_if_set("broker.id").filter(|id| *id >= 0) else {
        return Ok(node);
    };
    if config.statics.contains_key("node.id") && broker != i64::from(node) {
        let message = format!("node.id is {node} but broker.id is {broker}: they must be the same");
        return Err(SettingsError::Refused(message));
    }
    Ok(i32::try_from(broker).expect("the key's range fits an int"))
}

fn data_dir(read: &Reader) -> Result<PathBuf, SettingsError> {
    let named = read.list("log.dirs");
    let (key, dirs) =
        if named.is_empty() { ("log.dir", read.list("log.dir")) } else { ("log.dirs", named) };
    match &dirs[..] {
        [only] => Ok(PathBuf::from(only)),
        [] => Err(SettingsError::Refused("log.dir: a data directory is needed".into())),
        several => Err(SettingsError::Refused(format!(
            "{key} has {} entries ('{}'): one data directory is served",
            several.len(),
            shown(&several.join(","))
        ))),
    }
}

fn commit_log_max_bytes(read: &Reader) -> Result<u64, SettingsError> {
    let (file, max) = (read.long("commit.log.file.bytes"), read.long("commit.log.max.bytes"));
    if max / 4 < file {
        return Err(SettingsError::Refused(format!(
            "commit.log.max.bytes of {max} must be at least four times commit.log.file.bytes ({file})"
        )));
    }
    Ok(u64::try_from(max).expect("the key's range is not negative"))
}

/// Checks one value for a broker key that is to change while the broker runs.
///
/// # Errors
/// An unknown key, one that changes only by a restart, or a value that the key does not admit.
pub fn validate_dynamic_config(name: &str, value: &str) -> Result<(), SettingsError> {
    let Some(spec) = broker_key(name) else {
        return Err(SettingsError::unknown_broker_key(name, value));
    };
    if spec.update == Update::ReadOnly {
        return Err(SettingsError::Refused(format!("{name} can be changed only by a restart")));
    }
    spec.check(value)?;
    Ok(())
}
