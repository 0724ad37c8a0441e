//! Expired records of topics with `delay.expired.policy=deadletter`: their dead letters, made before
//! the release passes them.
//!
//! The shard hands over what has expired and goes on without that partition; it is told when the
//! letters are durable. A crash in between finds them known. One task does it for all shards: what
//! expires is no hot path, and topics may have to be made.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use super::copy::{CopySet, NewCopy};
use super::failed::{Cause, Failed};
use super::place::Wanted;
use super::steward::Steward;
use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::role::RoleKind;
use crate::delay::command::Due;
use crate::delay::copies::{Maker, Origin};
use crate::retry::policy::Reason;
use crate::shard::Shards;
use crate::shard::host::Defaults;
use crate::shard::metadata::Metadata;
use crate::wire::owned::OwnedRecord;

/// Expired records of one partition.
pub struct Expired {
    pub(in crate::shard) tp: TopicPartition,
    /// With their tickets; about 1 MiB.
    pub(in crate::shard) records: Vec<(i64, OwnedRecord)>,
}

/// Makes the dead letters.
pub struct Undertaker {
    pub env: Env,
    pub shards: Arc<Shards>,
    pub metadata: Arc<Metadata>,
    pub steward: Arc<Steward>,
    pub defaults: Defaults,
}

impl Undertaker {
    /// Serves the shards until it is dropped.
    pub async fn run(self, mut jobs: Receiver<Expired>) {
        while let Some(Expired { tp, records }) = jobs.recv().await {
            let tickets = records.iter().map(|(ticket, _)| *ticket).collect();
            let buried = self.bury(tp, records).await;
            if let Err(fault) = &buried {
                tracing::warn!(partition = ?tp, %fault, "expired records wait for their dead letters");
            }
            self.shards.buried(tp, tickets, buried.is_ok());
        }
    }

    async fn bury(
        &self,
        tp: TopicPartition,
        records: Vec<(i64, OwnedRecord)>,
    ) -> Result<(), Fault> {
        let catalog = Arc::clone(&self.metadata.catalog());
        let gone = || Fault::new(Code::UnknownTopicOrPartition);
        let topic = catalog.topic_by_id(tp.topic_id).ok_or_else(gone)?;
        let group = match &topic.role {
            // A dead letter that was delayed has no dead letter.
            Some(role) if role.kind == RoleKind::Dlq => return Ok(()),
            role => role.as_ref().and_then(|role| role.retries_of()),
        };
        let settings = self.defaults.retries(&catalog, group.map_or("", |group| group));
        let wanted = Wanted::of(RoleKind::Dlq, group, &settings, topic);
        let letters = wanted.ensure(&self.env, &self.metadata, &self.steward).await?;
        let cause = Cause {
            reason: Reason::Expired,
            group: group.map(|group| &**group),
            message: None,
            exception_class: None,
            deliveries: 0,
            now_ms: self.env.wall_ms(),
        };
        let copies = records.into_iter().map(|(ticket, record)| {
            let failed = Failed::at(topic, tp.partition, ticket, Some(record));
            NewCopy {
                origin: Origin { maker: Maker::Expired, tp, offset: ticket },
                due: Due::After(0),
                plain: true,
                record: failed.into_letter(&cause, settings.dead_letter_has_record),
            }
        });
        let dest = TopicPartition::new(letters.id, tp.partition % letters.partitions);
        let set = CopySet { dest, also: None, copies: copies.collect() };
        let stopped = |_| Fault::with(Code::KafkaStorageError, "the broker is stopping");
        self.shards.copy(set).await.map_err(stopped)??;
        Ok(())
    }
}
