//! Copies on their way to the shards: gathered by destination, and never more than a little.

use super::copy::{CopySet, NewCopy};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::shard::Shards;

/// Bytes of copies that are gathered, but for a record that is larger.
pub const MOST_BYTES: usize = 1 << 20;
/// What a copy takes beside its record.
const COPY_BYTES: usize = 256;

/// Copies that are gathered for a batch of one shard.
pub struct Outbox<'a> {
    shards: &'a Shards,
    shard: usize,
    sets: Vec<CopySet>,
    bytes: usize,
}

impl<'a> Outbox<'a> {
    #[must_use]
    pub const fn new(shards: &'a Shards, shard: usize) -> Self {
        Self { shards, shard, sets: Vec::new(), bytes: 0 }
    }

    /// Adds a copy. If that is too much, all so far are made; blocks until they are durable.
    ///
    /// # Errors
    /// They could not be made.
    pub fn push(
        &mut self,
        dest: TopicPartition,
        also: Option<TopicPartition>,
        copy: NewCopy,
    ) -> Result<(), Fault> {
        self.bytes += copy.record.size_bytes() + COPY_BYTES;
        match self.sets.iter_mut().find(|set| set.dest == dest && set.also == also) {
            Some(set) => set.copies.push(copy),
            None => self.sets.push(CopySet { dest, also, copies: vec![copy] }),
        }
        if self.bytes < MOST_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        let sets = std::mem::take(&mut self.sets);
        self.send(sets)
    }

    /// What can go with the batch. All else is made; blocks until it is durable.
    ///
    /// # Errors
    /// As [`Outbox::push`].
    pub fn into_riding(mut self) -> Result<Vec<CopySet>, Fault> {
        let sets = std::mem::take(&mut self.sets);
        let is_near = |set: &CopySet| {
            let dest = self.shards.registry().get(set.dest);
            dest.is_some_and(|dest| dest.shard == self.shard)
        };
        let (near, far) = sets.into_iter().partition(is_near);
        self.send(far)?;
        Ok(near)
    }

    fn send(&self, sets: Vec<CopySet>) -> Result<(), Fault> {
        let sent: Vec<_> = sets.into_iter().map(|set| self.shards.copy(set)).collect();
        for answer in sent {
            let stopped = |_| Fault::with(Code::KafkaStorageError, "the broker is stopping");
            answer.blocking_recv().map_err(stopped)??;
        }
        Ok(())
    }
}
