//! The shards as the metadata worker and the checkpointer know them.
//!
//! Both are threads of their own that may wait; the shards answer between two rounds.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::Shards;
use super::checkpointer::{Collected, Sources};
use super::control::{Control, Opening};
use super::coordinator::cluster::info;
use super::delay::limits::DelayLimits;
use super::metadata::{self, PartitionHost};
use super::registry::{Partition, TopicRules};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::settings::{BrokerConfig, CompressionType, RetrySettings, TopicSettings};
use crate::catalog::{BrokerScope, Catalog, Topic};
use crate::coord::cluster::TopicInfo;
use crate::coord::group::{GROUPS_TOPIC, offsets};
use crate::delay::rules::DelayRules;
use crate::log::cache::LogStore;
use crate::log::checkpoint::PartitionCheckpoint;
use crate::log::settings::LogSettings;
use crate::log::validate::{BatchRules, CompressionRule};
use crate::wire::batch::TimestampType;
use crate::wire::compression::Codec;

/// What of the broker's settings shapes every partition.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Values given at start; dynamic ones come from the catalog.
    pub config: BrokerConfig,
    pub max_decompressed_bytes: usize,
}

impl Defaults {
    /// The broker's configs with those that were set at run time.
    #[must_use]
    pub fn current(&self, catalog: &Catalog) -> BrokerConfig {
        current(&self.config, catalog)
    }

    /// What is in force for a group's retries.
    #[must_use]
    pub fn retries(&self, catalog: &Catalog, group: &str) -> RetrySettings {
        let own = catalog.group_configs(group).cloned().unwrap_or_default();
        RetrySettings::resolve(&own, &self.current(catalog))
    }

    /// What each partition of a topic needs to be served. `config` is [`Defaults::current`].
    #[must_use]
    pub fn opening(&self, catalog: &Catalog, topic: &Topic, config: &BrokerConfig) -> Opening {
        let settings = TopicSettings::resolve(&topic.configs, config);
        Opening {
            tp: TopicPartition::new(topic.id, 0),
            topic_name: topic.name.to_string(),
            placed_as: topic.placed_as(),
            role: topic.role.clone(),
            leader_epoch: catalog.leader_epoch(topic),
            rules: self.rules(&settings),
            settings: log_settings(&settings, config),
            segment_jitter_ms: settings.segment_jitter_ms,
        }
    }

    fn rules(&self, topic: &TopicSettings) -> TopicRules {
        let batch = self.batch_rules(topic);
        let delay = DelayRules::of(&topic.delay);
        let delay_limits = DelayLimits::of(&topic.delay);
        let min_insync_replicas = topic.min_insync_replicas;
        let bury_expired = topic.delay.bury_expired;
        TopicRules { batch, delay, delay_limits, bury_expired, min_insync_replicas }
    }

    fn batch_rules(&self, topic: &TopicSettings) -> BatchRules {
        let to = |codec| CompressionRule::To { codec, level: topic.compression_level };
        BatchRules {
            max_message_bytes: topic.max_message_bytes as usize,
            segment_bytes: topic.segment_bytes as usize,
            compacted: topic.cleanup_compact,
            timestamp_type: match topic.log_append_time {
                true => TimestampType::LogAppendTime,
                false => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
            timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
            compression: match topic.compression_type {
                CompressionType::Producer => CompressionRule::Producer,
                CompressionType::Uncompressed => to(Codec::None),
                CompressionType::Gzip => to(Codec::Gzip),
                CompressionType::Snappy => to(Codec::Snappy),
                CompressionType::Lz4 => to(Codec::Lz4),
                CompressionType::Zstd => to(Codec::Zstd),
            },
            max_decompressed_bytes: self.max_decompressed_bytes,
            open_compressed: topic.delay.enable,
        }
    }
}

/// See [`Defaults::current`].
pub(super) fn current(given: &BrokerConfig, catalog: &Catalog) -> BrokerConfig {
    let set = |scope| catalog.broker_configs(scope).cloned().unwrap_or_default();
    BrokerConfig {
        statics: given.statics.clone(),
        dynamic_default: set(BrokerScope::Cluster),
        dynamic_broker: set(BrokerScope::Node(catalog.node_id())),
    }
}

fn log_settings(topic: &TopicSettings, config: &BrokerConfig) -> LogSettings {
    let defaults = LogSettings::default();
    // So that what waits for compaction is sealed in time, as Kafka does it.
    let compact_by_ms = if topic.cleanup_compact { topic.max_compaction_lag_ms } else { i64::MAX };
    LogSettings {
        segment_bytes: topic.segment_bytes,
        segment_ms: topic.segment_ms.min(compact_by_ms),
        segment_index_bytes: topic.segment_index_bytes,
        index_interval_bytes: topic.index_interval_bytes,
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        cleanup_delete: topic.cleanup_delete,
        cleanup_compact: topic.cleanup_compact,
        delete_retention_ms: topic.delete_retention_ms,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        min_cleanable_dirty_ratio: topic.min_cleanable_dirty_ratio,
        log_append_time: topic.log_append_time,
        producer_expiry_ms: config.producer_id_expiration_ms(),
        reserve_bytes: if topic.preallocate { topic.segment_bytes } else { defaults.reserve_bytes },
        ..defaults
    }
}

/// Carries out the metadata worker's decisions on the shards.
pub struct Host {
    pub shards: Arc<Shards>,
    pub store: LogStore,
    pub data_dir: PathBuf,
    pub defaults: Defaults,
}

fn stopped() -> Fault {
    Fault::with(Code::KafkaStorageError, "the broker is stopping")
}

impl Host {
    /// Sends one control message for each partition, then waits for all answers.
    fn each<T>(
        &self,
        opening: &Opening,
        partitions: Range<i32>,
        message: impl Fn(Opening, oneshot::Sender<T>) -> Control,
    ) -> Vec<Result<T, Fault>> {
        let ask = |partition| {
            let tp = TopicPartition::new(opening.tp.topic_id, partition);
            let one = opening.of(tp);
            let shard = self.shards.place(opening.placed_as, partition);
            self.shards.control(shard, |done| message(one, done))
        };
        let asked: Vec<_> = partitions.map(ask).collect();
        asked.into_iter().map(|answer| answer.blocking_recv().map_err(|_| stopped())).collect()
    }

    fn open_topic(&self, opening: &Opening, partitions: Range<i32>) -> Result<(), Fault> {
        let open = |one, done| Control::Open(Box::new(one), done);
        let opened = self.each(opening, partitions.clone(), open);
        let failed = opened.into_iter().find_map(|outcome| outcome.and_then(|o| o).err());
        let Some(fault) = failed else { return Ok(()) };
        // All or none: a topic must not be usable in part.
        self.take_away(opening, partitions)?;
        Err(fault)
    }

    fn take_away(&self, opening: &Opening, partitions: Range<i32>) -> Result<(), Fault> {
        let answers = self
            .each(opening, partitions.clone(), |one, done| Control::Remove(Box::new(one), done));
        for answer in answers {
            let Some(marked) = answer?.map_err(|error| {
                Fault::with(Code::KafkaStorageError, format!("cannot delete: {error}"))
            })?
            else {
                continue;
            };
            // Out of sight already; unlinking large files takes long, so it happens here and not
            // on the shard.
            self.store.files().remove(&marked).map_err(|error| {
                Fault::with(Code::KafkaStorageError, format!("{}: {error}", marked.display()))
            })?;
        }
        Ok(())
    }
}

impl PartitionHost for Host {
    fn open(&self, catalog: &Catalog, openings: &[metadata::Opening]) -> Vec<Result<(), Fault>> {
        let config = self.defaults.current(catalog);
        let opening = |topic: &Arc<Topic>| self.defaults.opening(catalog, topic, &config);
        let open_all = |together: &metadata::Opening| {
            for (at, (topic, partitions)) in together.iter().enumerate() {
                if let Err(fault) = self.open_topic(&opening(topic), partitions.clone()) {
                    for (topic, partitions) in &together[..at] {
                        self.take_away(&opening(topic), partitions.clone())?;
                    }
                    return Err(fault);
                }
            }
            Ok(())
        };
        openings.iter().map(open_all).collect()
    }

    fn remove(&self, topic: &Topic) -> Result<(), Fault> {
        let catalog = Catalog::empty(0, topic.created_at_start);
        let opening = self.defaults.opening(&catalog, topic, &self.defaults.config);
        self.take_away(&opening, 0..topic.partitions)
    }

    fn forget(&self, topics: &[Arc<Topic>]) {
        let gone: Arc<[TopicInfo]> = topics.iter().map(info).collect();
        let mut coordinators = self.shards.registry().all();
        coordinators.retain(|partition| partition.topic_name == GROUPS_TOPIC);
        let ask = |partition: Arc<Partition>| {
            let command = offsets::Command::TopicsDeleted(Arc::clone(&gone));
            self.shards.coordinate(partition.tp, command.into()).ok()
        };
        let asked: Vec<_> = coordinators.into_iter().filter_map(ask).collect();
        for answer in asked {
            // One that is being built looks for topics that are gone once it is ready.
            let _ = answer.blocking_recv();
        }
    }

    fn configure(&self, catalog: &Catalog, topic: &Topic) {
        let config = self.defaults.current(catalog);
        let opening = self.defaults.opening(catalog, topic, &config);
        let configure = |one, done| Control::Configure(Box::new(one), done);
        // A shard that has stopped needs no configs.
        let _ = self.each(&opening, 0..topic.partitions, configure);
    }

    fn reconfigure(&self, catalog: &Catalog) {
        for topic in catalog.topics() {
            self.configure(catalog, topic);
        }
    }
}

/// The shards' side of a checkpoint.
pub struct ShardSources {
    pub shards: Arc<Shards>,
    /// The broker stops: logs are closed, the checkpoint is the last.
    pub closing: Arc<AtomicBool>,
}

impl Sources for ShardSources {
    fn collect(&mut self) -> Option<Collected> {
        let closing = self.closing.load(Ordering::Acquire);
        let ask = |shard| match closing {
            true => self.shards.control(shard, Control::Close),
            // A shard that waits for the committer, which may wait for this checkpoint, answers.
            false => self.shards.control_urgently(shard, Control::Checkpoint),
        };
        let asked: Vec<_> = (0..self.shards.count()).map(ask).collect();
        let mut all = Collected::default();
        for answer in asked {
            all.merge(answer.blocking_recv().ok()?);
        }
        Some(all)
    }
    fn written(&mut self, partitions: &mut dyn Iterator<Item = &PartitionCheckpoint>) {
        for known in partitions {
            let Some(partition) = self.shards.registry().get(known.tp.source()) else { continue };
            if !known.tp.is_journal() {
                partition.view.note_checkpoint(known.recovery_point);
            } else if let Some(journal) = &*partition.journal.load() {
                journal.note_checkpoint(known.recovery_point);
            }
        }
    }
}
