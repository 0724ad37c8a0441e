//! Redrive jobs on stable storage. Blocks: for the blocking pool, and for the broker's start.

use std::io;
use std::sync::Arc;

use crate::base::ids::Uuid;
use crate::retry::redrive::{Job, codec};
use crate::shard::failed::Failed;
use crate::store::{Meta, MetaWrite};

/// The keys of jobs in the metadata store. Nobody else writes them.
pub(super) struct JobStore {
    meta: Arc<dyn Meta>,
    failed: Failed,
}

impl JobStore {
    pub(super) const fn new(meta: Arc<dyn Meta>, failed: Failed) -> Self {
        Self { meta, failed }
    }

    /// All jobs. What a newer release wrote is left alone, and so not run.
    pub(super) fn load(&self) -> io::Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for (key, stored) in self.meta.scan(codec::PREFIX)? {
            match codec::decode(&stored.value) {
                Ok(job) => jobs.push(job),
                Err(error) => tracing::error!("metadata key {key}: {error}; it is left alone"),
            }
        }
        Ok(jobs)
    }

    /// Makes jobs durable, and forgets others.
    pub(super) fn write(&self, put: &[Job], delete: &[Uuid]) -> io::Result<()> {
        let put = put.iter().map(|job| MetaWrite::Put(codec::key(job.id), codec::encode(job)));
        let delete = delete.iter().map(|id| MetaWrite::Delete(codec::key(*id)));
        let written = self.meta.transact(&[], &put.chain(delete).collect::<Vec<_>>());
        written.map(drop).inspect_err(|error| {
            // A full disk passes. After any other error what was written may be lost.
            if error.kind() != io::ErrorKind::StorageFull {
                self.failed.set(&format!("meta.redb: {error}"));
            }
        })
    }
}
