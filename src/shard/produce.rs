//! Producers' batches, from a request to the committer's round.

use std::io;
use std::sync::Arc;

use smallvec::smallvec;

use super::append::{Acks, Append, AppendSet};
use super::committer::{Submission, Submitted};
use super::delay::Delayed;
use super::landing::{Landing, Parked};
use super::registry::Partition;
use super::tally::{Accepted, Ack, AppendResult, Refused};
use super::worker::{Hosted, Shard, ShardDeps};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::settings::Durability;
use crate::log::commit::Row;
use crate::log::error::AppendError;
use crate::log::partition::Appended;
use crate::log::validate::{Judged, ValidBatch};

impl Shard {
    pub(super) fn append_all(&mut self, set: AppendSet) {
        for append in set.appends {
            let ack = Ack::new(Arc::clone(&set.tally), append.slot);
            self.append(append, set.acks, ack);
        }
    }

    fn append(&mut self, append: Append, acks: Acks, ack: Ack) {
        let Append { partition: tp, batch, copies, elsewhere, .. } = append;
        match batch {
            Judged { live: Some(batch), diverted: None } => self.append_live(tp, batch, acks, ack),
            Judged { live, diverted: Some(diverted) } => {
                let batch = Delayed { live, diverted, copies, elsewhere };
                self.append_delayed(tp, batch, acks, ack);
            }
            Judged { live: None, diverted: None } => {
                ack.complete(Err(Fault::new(Code::InvalidRecord).into()));
            }
        }
    }

    fn append_live(&mut self, tp: TopicPartition, mut batch: ValidBatch, acks: Acks, ack: Ack) {
        let Some(hosted) = self.hosted.get_mut(&tp) else {
            return ack.complete(Err(Fault::new(Code::NotLeaderOrFollower).into()));
        };
        let appended = match append_to(&self.deps, hosted, &mut batch) {
            Ok(appended) => appended,
            Err(error) => {
                let refused = Refused::from(Fault::from(error));
                return ack.complete(Err(refused.by_log(hosted.log.view().log_start())));
            }
        };
        let result: AppendResult = Ok(Accepted {
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start_offset,
        });
        if !appended.duplicate {
            let header = batch.header();
            self.deps.metrics.produce_bytes.add(batch.size_bytes() as u64);
            self.deps.metrics.produce_records.add(u64::from(header.record_count.unsigned_abs()));
        }
        if self.deps.durability == Durability::PageCache {
            hosted.partition.view.advance(&appended.end);
            return ack.complete(result);
        }
        let parked = match acks {
            Acks::All => Parked::Produced(ack, result),
            Acks::Leader | Acks::None => {
                ack.complete(result);
                Parked::Nothing
            }
        };
        self.round.push(submission(&self.deps, hosted, &batch, appended, parked));
    }
}

/// Appends to a log's segment. A directory that has failed takes nothing more.
pub(super) fn append_to(
    deps: &ShardDeps,
    hosted: &mut Hosted,
    batch: &mut ValidBatch,
) -> Result<Appended, AppendError> {
    if deps.failed.is_set() {
        return Err(AppendError::Failed(io::Error::other("the data directory has failed")));
    }
    hosted.changed = true;
    let appended = hosted.log.append(batch, deps.env.wall_ms());
    if let Err(AppendError::Failed(error)) = &appended {
        let Partition { topic_name, tp, .. } = &*hosted.partition;
        deps.failed.set(&format!("writing to {topic_name}-{}: {error}", tp.partition));
    }
    appended
}

/// What makes a written batch durable. A retry brings no batch: its answer waits until everything
/// before it is durable, the first try included.
pub(super) fn submission(
    deps: &ShardDeps,
    hosted: &mut Hosted,
    batch: &ValidBatch,
    appended: Appended,
    parked: Parked,
) -> Submission<Landing> {
    let view = Arc::clone(&hosted.partition.view);
    let mut batches = smallvec![];
    if !appended.duplicate {
        let bulk = batch.size_bytes() >= deps.bulk_bytes;
        let segment = if bulk { hosted.log.syncable_segment() } else { Ok(None) };
        let segment = segment.unwrap_or_else(|error| {
            // A failed sync is final, whatever a later one says.
            deps.failed.set(&format!("syncing a new segment's name: {error}"));
            None
        });
        batches.push(Submitted { row: row(hosted.partition.tp, batch), segment });
    }
    Submission { batches, completion: Landing { view, end: appended.end, journal: None, parked } }
}

/// The commit log's row of a batch that was appended.
pub(super) fn row(tp: TopicPartition, batch: &ValidBatch) -> Row {
    let (header, records) = (*batch.header_bytes(), batch.records().clone());
    Row { tp, header, records, in_segment: false }
}
