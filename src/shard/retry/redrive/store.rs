//! Redrive jobs on stable storage. Blocks: for the blocking pool, and for the broker's start.

use std::io;
use std::sync::Arc;

use crate::base::ids::Uuid;
use crate::retry::redrive::{Job, codec};
use crate::retry::redriven::{self, Chunk, Redriven};
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

    /// What was put back, of topics that there are; of others it is forgotten.
    pub(super) fn load_redriven(&self, is_there: impl Fn(Uuid) -> bool) -> io::Result<Redriven> {
        let mut known = Redriven::default();
        let mut gone = Vec::new();
        for (key, stored) in self.meta.scan(redriven::PREFIX)? {
            let chunk = Chunk::parse(&key);
            if chunk.is_some_and(|chunk| !is_there(chunk.tp.topic_id)) {
                gone.push(MetaWrite::Delete(key));
            } else if chunk.and_then(|chunk| known.load(chunk, &stored.value)).is_none() {
                tracing::error!("metadata key {key} can't be read; it is left alone");
            }
        }
        if !gone.is_empty() {
            self.transact(&gone)?;
        }
        Ok(known)
    }

    /// Makes a job durable, and what was put back as far as it says.
    pub(super) fn put(&self, job: &Job, redriven: &[(Chunk, Vec<u8>)]) -> io::Result<()> {
        let put = MetaWrite::Put(codec::key(job.id), codec::encode(job));
        let chunks = redriven.iter().map(|(chunk, value)| (chunk.key(), value.clone()));
        let chunks = chunks.map(|(key, value)| MetaWrite::Put(key, value));
        self.transact(&std::iter::once(put).chain(chunks).collect::<Vec<_>>())
    }

    /// Forgets jobs.
    pub(super) fn delete(&self, ids: &[Uuid]) -> io::Result<()> {
        let delete = ids.iter().map(|id| MetaWrite::Delete(codec::key(*id)));
        self.transact(&delete.collect::<Vec<_>>())
    }

    fn transact(&self, writes: &[MetaWrite]) -> io::Result<()> {
        let written = self.meta.transact(&[], writes);
        written.map(drop).inspect_err(|error| {
            // A full disk passes. After any other error what was written may be lost.
            if error.kind() != io::ErrorKind::StorageFull {
                self.failed.set(&format!("meta.redb: {error}"));
            }
        })
    }
}
