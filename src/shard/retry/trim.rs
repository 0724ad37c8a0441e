//! Deletes retries that their group has behind it, by moving log starts up to its committed
//! offsets; what lies below goes with its segments, as after DeleteRecords.
//!
//! A nack may still be under way when the offset behind it is committed, and it needs the record.
//! So a partition is trimmed to where the group was at the look before, and no further than where
//! it is now.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::{MissedTickBehavior, interval};

use crate::base::fault::Fault;
use crate::base::ids::TopicPartition;
use crate::catalog::{Catalog, Topic};
use crate::coord::group::offsets::{Command, Fetch, Fetched, Reply};
use crate::coord::group::{GROUPS_TOPIC, Reply as GroupReply};
use crate::coord::partition::partition_of;
use crate::shard::Shards;
use crate::shard::control::Control;
use crate::shard::metadata::Metadata;

/// See the module's head.
pub struct Trimmer {
    shards: Arc<Shards>,
    metadata: Arc<Metadata>,
    /// Committed offsets at the last look.
    seen: FxHashMap<TopicPartition, i64>,
}

impl Trimmer {
    #[must_use]
    pub fn new(shards: Arc<Shards>, metadata: Arc<Metadata>) -> Self {
        Self { shards, metadata, seen: FxHashMap::default() }
    }

    /// Looks again and again, until it is dropped.
    pub async fn run(mut self, every: Duration) {
        let mut looks = interval(every.max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(fault) = self.look().await {
                // Nothing is lost by it, and the next look does it.
                tracing::debug!(%fault, "retries are not trimmed");
            }
        }
    }

    async fn look(&mut self) -> Result<(), Fault> {
        let catalog = Arc::clone(&self.metadata.catalog());
        let mut now = FxHashMap::default();
        for topic in catalog.with_roles() {
            now.extend(self.committed(&catalog, topic).await);
        }
        let before = std::mem::replace(&mut self.seen, now);
        let behind = |(tp, offset): (TopicPartition, i64)| {
            let to = offset.min(*self.seen.get(&tp)?);
            let partition = self.shards.registry().get(tp)?;
            let to = to.min(partition.view.high_watermark());
            (to > partition.view.log_start()).then_some((tp, partition.shard, to))
        };
        let moves: Vec<_> = before.into_iter().filter_map(behind).collect();
        if moves.is_empty() {
            return Ok(());
        }
        // Durable first, so that no crash brings back what a consumer was told is gone.
        let starts = moves.iter().map(|(tp, _, to)| (*tp, *to)).collect();
        self.metadata.move_log_starts(starts).wait().await?;
        for (tp, shard, before_offset) in moves {
            let delete = |done| Control::DeleteRecords { tp, before_offset, done };
            // A shard that has stopped trims nothing.
            let _ = self.shards.control(shard, delete).await;
        }
        Ok(())
    }

    /// What the topic's group has committed; nothing where its coordinator does not answer.
    async fn committed(&self, catalog: &Catalog, topic: &Topic) -> Vec<(TopicPartition, i64)> {
        let group = topic.role.as_ref().and_then(|role| role.retries_of());
        let (Some(group), Some(groups)) = (group, catalog.topic(GROUPS_TOPIC)) else {
            return Vec::new();
        };
        let at = TopicPartition::new(groups.id, partition_of(group, groups.partitions));
        let fetch = Command::Fetch(Fetch {
            group: group.to_string(),
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![(Arc::clone(&topic.name), (0..topic.partitions).collect())]),
        });
        let Ok(asked) = self.shards.coordinate(at, fetch.into()) else { return Vec::new() };
        let Ok(Ok(GroupReply::Offsets(Reply::Fetch(Ok(found))))) = asked.await else {
            return Vec::new();
        };
        let of = found.into_iter().flat_map(|(_, partitions)| partitions);
        let offset = |found: Fetched| {
            Some((TopicPartition::new(topic.id, found.partition), found.committed?.offset))
        };
        of.filter_map(offset).collect()
    }
}
