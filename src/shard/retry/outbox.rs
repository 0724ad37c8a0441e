//! Copies on their way to the shards: gathered by destination, and never more than a little.

use super::copy::{CopySet, NewCopy};
use crate::base::fault::{Code, Fault};
use crate::base::ids::TopicPartition;
use crate::log::validate::Diverted;
use crate::shard::Shards;
use crate::shard::registry::Partition;
use crate::shard::tally::Refused;

/// Bytes of copies that go with all batches of a request together, but for a record that is larger.
pub const MOST_RIDING_BYTES: usize = 4 << 20;
/// Bytes of one set, but for a record that is larger: nobody waits long behind it.
const SET_BYTES: usize = 1 << 20;
/// Copies are not made in smaller parts than this, unless there are no more.
const PART_BYTES: usize = 256 << 10;
/// What a copy takes beside its record.
const COPY_BYTES: usize = 256;

/// Copies that are gathered for a batch.
pub struct Outbox<'a> {
    shards: &'a Shards,
    source: &'a Partition,
    batch: &'a Diverted,
    /// What may go with the batch.
    room_bytes: usize,
    sets: Vec<CopySet>,
    /// Of each set.
    set_bytes: Vec<usize>,
    bytes: usize,
    /// Whether the batch is none that its shard has already, once that was asked.
    is_new: Option<bool>,
}

impl<'a> Outbox<'a> {
    #[must_use]
    pub fn new(
        shards: &'a Shards,
        source: &'a Partition,
        batch: &'a Diverted,
        room_bytes: usize,
    ) -> Self {
        let (sets, set_bytes) = (Vec::new(), Vec::new());
        Self { shards, source, batch, room_bytes, sets, set_bytes, bytes: 0, is_new: None }
    }

    /// Adds a copy. If that is too much, all so far are made; blocks until they are durable.
    ///
    /// # Errors
    /// They could not be made, or the batch is going to be refused.
    pub fn push(
        &mut self,
        dest: TopicPartition,
        also: Option<TopicPartition>,
        copy: NewCopy,
    ) -> Result<(), Refused> {
        let bytes = copy.record.size_bytes() + COPY_BYTES;
        self.bytes += bytes;
        let fits = |set: &CopySet| set.dest == dest && set.also == also;
        match self.sets.iter().rposition(fits).filter(|at| self.set_bytes[*at] < SET_BYTES) {
            Some(at) => {
                self.sets[at].copies.push(copy);
                self.set_bytes[at] += bytes;
            }
            None => {
                self.sets.push(CopySet { dest, also, copies: vec![copy] });
                self.set_bytes.push(bytes);
            }
        }
        match self.bytes < self.room_bytes.max(PART_BYTES) {
            true => Ok(()),
            false => self.flush(|_| true),
        }
    }

    /// What can go with the batch, and its bytes. All else is made; blocks until it is durable.
    ///
    /// # Errors
    /// As [`Outbox::push`].
    pub fn into_riding(mut self) -> Result<(Vec<CopySet>, usize), Refused> {
        let (shards, shard) = (self.shards, self.source.shard);
        let is_far =
            |set: &CopySet| shards.registry().get(set.dest).is_none_or(|dest| dest.shard != shard);
        let is_too_much = self.bytes > self.room_bytes;
        self.flush(|set| is_too_much || is_far(set))?;
        Ok((self.sets, self.bytes))
    }

    /// Makes the copies of some sets. A batch that its shard has already brings none: who sends it
    /// again might have gone back since.
    fn flush(&mut self, which: impl Fn(&CopySet) -> bool) -> Result<(), Refused> {
        let (leaving, staying): (Vec<_>, _) = self.sets.drain(..).partition(which);
        // Nothing is added to what stays: that is the end.
        self.sets = staying;
        self.set_bytes.clear();
        if self.sets.is_empty() {
            self.bytes = 0;
        }
        if leaving.is_empty() || !self.is_new()? {
            return Ok(());
        }
        let sent: Vec<_> = leaving.into_iter().map(|set| self.shards.copy(set)).collect();
        for answer in sent {
            answer.blocking_recv().map_err(|_| stopped())??;
        }
        Ok(())
    }

    fn is_new(&mut self) -> Result<bool, Refused> {
        if let Some(known) = self.is_new {
            return Ok(known);
        }
        let asked = self.shards.would_accept(self.source, self.batch.clone());
        let is_new = asked.blocking_recv().map_err(|_| stopped())??;
        self.is_new = Some(is_new);
        Ok(is_new)
    }
}

fn stopped() -> Fault {
    Fault::with(Code::KafkaStorageError, "the broker is stopping")
}
