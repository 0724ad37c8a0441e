//! Expired records of topics with `delay.expired.policy=deadletter`: their dead letters, made before
//! the release passes them.
//!
//! The shard hands over what has expired and goes on without that partition; it is told when the
//! letters are durable. A crash in between finds them known. A few tasks do it for all shards: what
//! expires is no hot path, and topics may have to be made. What can't be buried is put again, a
//! minute later, and under a ticket of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::copy::{CopySet, NewCopy};
use super::failed::{Cause, Failed};
use super::place::Wanted;
use super::steward::Steward;
use crate::base::env::Env;
use crate::base::fault::{Code, Fault};
use crate::base::headers;
use crate::base::ids::TopicPartition;
use crate::base::role::RoleKind;
use crate::delay::command::Due;
use crate::delay::copies::{Maker, Origin};
use crate::retry::letter;
use crate::retry::policy::Reason;
use crate::shard::Shards;
use crate::shard::host::Defaults;
use crate::shard::metadata::Metadata;
use crate::wire::owned::{OwnedHeader, OwnedRecord};

/// Partitions whose expired records are buried at the same time.
const MOST_AT_WORK: usize = 8;
/// How long a dead-letter topic may take to be made.
const MOST_WAIT: Duration = Duration::from_secs(5);
/// How long records wait that could not be buried, in milliseconds.
const AGAIN_MS: i64 = 60_000;

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
        let (undertaker, mut at_work) = (Arc::new(self), JoinSet::new());
        while let Some(job) = jobs.recv().await {
            if at_work.len() >= MOST_AT_WORK {
                at_work.join_next().await;
            }
            let undertaker = Arc::clone(&undertaker);
            at_work.spawn(async move { undertaker.serve(job).await });
        }
    }

    async fn serve(&self, Expired { tp, records }: Expired) {
        let tickets = records.iter().map(|(ticket, _)| *ticket).collect();
        let mut done = self.bury(tp, &records).await;
        if let Err(fault) = &done {
            tracing::warn!(partition = ?tp, %fault, "expired records wait for their dead letters");
            done = self.put_again(tp, records).await;
        }
        self.shards.buried(tp, tickets, done.is_ok());
    }

    /// Lets records wait on behind all that is due: what can't be buried now must not hold up what
    /// is behind it. Each is a copy of itself, so that a crash before it is passed makes no second.
    async fn put_again(
        &self,
        tp: TopicPartition,
        records: Vec<(i64, OwnedRecord)>,
    ) -> Result<(), Fault> {
        let now_ms = self.env.wall_ms();
        let copies = records.into_iter().map(|(ticket, mut record)| {
            // It may have said so under another name; a copy has no aliases.
            if letter::text(&record.headers, headers::EXPIRES_AT).is_none() {
                record.headers.push(OwnedHeader::new(headers::EXPIRES_AT, now_ms.to_string()));
            }
            let origin = Origin { maker: Maker::Expired, tp, offset: ticket };
            NewCopy { origin, due: Due::After(AGAIN_MS), plain: false, record }
        });
        self.copy(CopySet { dest: tp, also: None, copies: copies.collect() }).await
    }

    async fn copy(&self, set: CopySet) -> Result<(), Fault> {
        let stopped = |_| Fault::with(Code::KafkaStorageError, "the broker is stopping");
        self.shards.copy(set).await.map_err(stopped)?.map(drop)
    }

    async fn bury(&self, tp: TopicPartition, records: &[(i64, OwnedRecord)]) -> Result<(), Fault> {
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
        let letters = wanted.ensure(&self.env, &self.metadata, &self.steward);
        let letters = tokio::time::timeout(MOST_WAIT, letters).await;
        let letters = letters.map_err(|_| Fault::new(Code::RequestTimedOut))??;
        let cause = Cause {
            reason: Reason::Expired,
            group: group.map(|group| &**group),
            message: None,
            exception_class: None,
            deliveries: 0,
            now_ms: self.env.wall_ms(),
        };
        let copies = records.iter().map(|(ticket, record)| {
            let ticket = *ticket;
            let failed = Failed::at(topic, tp.partition, ticket, Some(record.clone()));
            NewCopy {
                origin: Origin { maker: Maker::Expired, tp, offset: ticket },
                due: Due::After(0),
                plain: true,
                record: failed.into_letter(&cause, settings.dead_letter_has_record),
            }
        });
        let dest = TopicPartition::new(letters.id, tp.partition % letters.partitions);
        // What was put again before a crash is buried as that.
        self.copy(CopySet { dest, also: Some(tp), copies: copies.collect() }).await
    }
}
