//! A topic's settings as typed data, and the check of a topic's configs.

use super::delay::DelaySettings;
use super::layers::{BrokerConfig, Overrides, Reader};
use super::value::BadValue;
use super::{SettingsError, closest, role_keys, shown, topic_key, topic_keys};

/// Codec of stored batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// What is in force for one topic: its own configs over the broker's defaults. Field names are
/// the keys'.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicSettings {
    pub cleanup_delete: bool,
    pub cleanup_compact: bool,
    pub compression_type: CompressionType,
    /// Level of that codec; `None` where it has none or its own default is meant.
    pub compression_level: Option<i32>,
    pub delay: DelaySettings,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub index_interval_bytes: u32,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: u32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.type=LogAppendTime`
    pub log_append_time: bool,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    pub preallocate: bool,
    /// Negative: no limit.
    pub retention_bytes: i64,
    /// -1: no limit.
    pub retention_ms: i64,
    pub segment_bytes: u32,
    pub segment_index_bytes: u32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
}

impl TopicSettings {
    /// Resolves a topic's configs. Values that do not pass their check are passed over.
    #[must_use]
    pub fn resolve(overrides: &Overrides, broker: &BrokerConfig) -> Self {
        let read = Reader::topic(broker, overrides);
        let cleanup = read.list("cleanup.policy");
        let (compression_type, compression_level) = compression(&read);
        Self {
            cleanup_delete: cleanup.iter().any(|policy| policy == "delete"),
            cleanup_compact: cleanup.iter().any(|policy| policy == "compact"),
            compression_type,
            compression_level,
            delay: DelaySettings::resolve(overrides, broker),
            delete_retention_ms: read.long("delete.retention.ms"),
            file_delete_delay_ms: read.long("file.delete.delay.ms"),
            index_interval_bytes: read.count("index.interval.bytes"),
            max_compaction_lag_ms: read.long("max.compaction.lag.ms"),
            max_message_bytes: read.count("max.message.bytes"),
            message_timestamp_after_max_ms: read.long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: read.long("message.timestamp.before.max.ms"),
            log_append_time: read.text("message.timestamp.type") == "LogAppendTime",
            min_cleanable_dirty_ratio: read.double("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: read.long("min.compaction.lag.ms"),
            min_insync_replicas: read.int("min.insync.replicas"),
            preallocate: read.boolean("preallocate"),
            retention_bytes: read.long("retention.bytes"),
            retention_ms: read.long("retention.ms"),
            segment_bytes: read.count("segment.bytes"),
            segment_index_bytes: read.count("segment.index.bytes"),
            segment_jitter_ms: read.long("segment.jitter.ms"),
            segment_ms: read.long("segment.ms"),
        }
    }
}

fn compression(read: &Reader) -> (CompressionType, Option<i32>) {
    match read.text("compression.type").as_str() {
        "gzip" => {
            let level = read.int("compression.gzip.level");
            (CompressionType::Gzip, (level != -1).then_some(level))
        }
        "lz4" => (CompressionType::Lz4, Some(read.int("compression.lz4.level"))),
        "zstd" => (CompressionType::Zstd, Some(read.int("compression.zstd.level"))),
        "snappy" => (CompressionType::Snappy, None),
        "uncompressed" => (CompressionType::Uncompressed, None),
        _ => (CompressionType::Producer, None),
    }
}

/// Checks one topic config by itself.
///
/// # Errors
/// An unknown key, one that only the broker sets, or a value that its key does not admit (Kafka:
/// INVALID_CONFIG).
pub fn validate_topic_config(name: &str, value: &str) -> Result<(), SettingsError> {
    if role_keys().iter().any(|spec| spec.name == name) {
        return Err(SettingsError::Refused(format!("{name} is set by the broker alone")));
    }
    let Some(spec) = topic_key(name) else {
        return Err(SettingsError::Unknown {
            what: "topic config",
            name: shown(name),
            value: shown(value),
            closest: closest(name, topic_keys().iter().map(|spec| spec.name)).into(),
        });
    };
    let value = spec.check(value)?;
    if name == "remote.storage.enable" && value == super::Value::Boolean(true) {
        let expected = "false: tiered storage is not served".into();
        return Err(BadValue { key: spec.name, value: "true".into(), expected }.into());
    }
    Ok(())
}

/// Checks all of a topic's configs: each by itself, and that they fit together and with the
/// broker's defaults.
///
/// # Errors
/// As [`validate_topic_config`]; also a compaction lag whose minimum is above its maximum.
pub fn validate_topic_configs(
    overrides: &Overrides,
    broker: &BrokerConfig,
) -> Result<(), SettingsError> {
    for (name, value) in overrides {
        validate_topic_config(name, value)?;
    }
    let settings = TopicSettings::resolve(overrides, broker);
    let (min, max) = (settings.min_compaction_lag_ms, settings.max_compaction_lag_ms);
    if min > max {
        return Err(SettingsError::Refused(format!(
            "min.compaction.lag.ms of {min} is above max.compaction.lag.ms of {max}"
        )));
    }
    Ok(())
}
