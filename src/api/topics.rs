//! From what a client calls a partition to the partition that is served here.

use std::sync::Arc;

use uuid::Uuid;

use super::Services;
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::metrics::Metrics;
use crate::base::text::Escaped;
use crate::shard::registry::Partition;

/// Resolves a name and an index.
///
/// # Errors
/// `UNKNOWN_TOPIC_OR_PARTITION`, `NOT_LEADER_OR_FOLLOWER`, or `KAFKA_STORAGE_ERROR` for a
/// partition whose log could not be opened.
pub fn by_name(services: &Services, name: &str, index: i32) -> Result<Arc<Partition>, Fault> {
    let catalog = services.metadata.catalog();
    let topic = catalog.topic(name).ok_or(Code::UnknownTopicOrPartition)?;
    served(services, catalog.led_here(topic, index)?)
}

/// Resolves a topic id and an index.
///
/// # Errors
/// `UNKNOWN_TOPIC_ID` instead of an unknown name; else as [`by_name`].
pub fn by_id(services: &Services, id: Uuid, index: i32) -> Result<Arc<Partition>, Fault> {
    let catalog = services.metadata.catalog();
    let topic = catalog.topic_by_id(id).ok_or(Code::UnknownTopicId)?;
    served(services, catalog.led_here(topic, index)?)
}

fn served(services: &Services, tp: TopicPartition) -> Result<Arc<Partition>, Fault> {
    services.shards.registry().get(tp).ok_or_else(|| {
        Fault::with(
            Code::KafkaStorageError,
            "the partition's log is not open; see the broker's log",
        )
    })
}

/// Checks what a client believes the leader epoch to be (KIP-320); -1 believes nothing.
///
/// # Errors
/// `FENCED_LEADER_EPOCH` if the client is behind, `UNKNOWN_LEADER_EPOCH` if it is ahead.
pub fn check_epoch(claimed: i32, current: i32) -> Result<(), Code> {
    match claimed {
        epoch if epoch == -1 || epoch == current => Ok(()),
        epoch if epoch < current => Err(Code::FencedLeaderEpoch),
        _ => Err(Code::UnknownLeaderEpoch),
    }
}

/// The answer to a transactional id until transactions are served: fatal at once in every client,
/// instead of a time-out in each. Logged ever more rarely: a client that keeps asking must not fill
/// the log.
#[must_use]
pub fn refuse_transactional(metrics: &Metrics, transactional_id: &str) -> Fault {
    let id = Escaped(transactional_id);
    metrics.transactional_refused.add(1);
    let total = metrics.transactional_refused.get();
    if total.is_power_of_two() {
        tracing::warn!(
            transactional_id = %id,
            total,
            "a client asked for a transactional id; transactions are not served yet"
        );
    }
    Fault::with(
        Code::TransactionalIdAuthorizationFailed,
        format!("transactional id '{id}': transactions are not served yet"),
    )
}
