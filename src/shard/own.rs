//! Appends of the broker's own: what the coordinators of a shard record.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::smallvec;

use super::committer::Submission;
use super::coordinator::Logs;
use super::landing::{Held, Landing, Parked};
use super::produce::{append_to, submission};
use super::worker::{Hosted, ShardDeps};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::base::settings::Durability;
use crate::log::validate::ValidBatch;
use crate::log::view::PartitionView;

/// A shard's logs, lent to its coordinators.
pub(super) struct OwnLogs<'a> {
    pub(super) deps: &'a ShardDeps,
    pub(super) hosted: &'a mut FxHashMap<TopicPartition, Hosted>,
    pub(super) round: &'a mut Vec<Submission<Landing>>,
}

impl Logs for OwnLogs<'_> {
    fn view(&self, tp: TopicPartition) -> Option<Arc<PartitionView>> {
        self.hosted.get(&tp).map(|hosted| Arc::clone(&hosted.partition.view))
    }

    fn append(
        &mut self,
        tp: TopicPartition,
        mut batch: ValidBatch,
        held: Held,
    ) -> Result<(), Fault> {
        let Some(hosted) = self.hosted.get_mut(&tp) else {
            let fault = Fault::new(Code::NotCoordinator);
            held(Err(fault.clone()));
            return Err(fault);
        };
        let appended = match append_to(self.deps, hosted, &mut batch) {
            Ok(appended) => appended,
            Err(error) => {
                // What Kafka makes of a storage error for a coordinator's client.
                let fault = Fault::with(Code::NotCoordinator, error.to_string());
                held(Err(fault.clone()));
                return Err(fault);
            }
        };
        if self.deps.durability == Durability::PageCache {
            hosted.partition.view.advance(&appended.end);
            held(Ok(()));
        } else {
            let parked = Parked::Held(held);
            self.round.push(submission(self.deps, hosted, &batch, appended, parked));
        }
        Ok(())
    }

    fn when_durable(&mut self, tp: TopicPartition, held: Held) {
        let Some(hosted) = self.hosted.get(&tp) else {
            return held(Err(Fault::new(Code::NotCoordinator)));
        };
        let (view, end) = (Arc::clone(&hosted.partition.view), hosted.log.end());
        if view.high_watermark() >= end.offset {
            return held(Ok(()));
        }
        // Without a batch it completes behind all that was submitted before.
        let completion = Landing { view, end, journal: None, parked: Parked::Held(held) };
        self.round.push(Submission { batches: smallvec![], completion });
    }
}
