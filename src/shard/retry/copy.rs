//! The shard's side of copies: made once for each origin, in the journal of their destination.
//!
//! A copy and the memory of it are one append (`delay/copies.rs`), so whoever asks for copies may
//! ask again after a crash, or after an answer that was lost.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::base::fault::{Code, Fault};
use crate::base::headers;
use crate::base::ids::TopicPartition;
use crate::base::metrics::Metrics;
use crate::delay::command::Due;
use crate::delay::copies::{Maker, Origin};
use crate::delay::note::Note;
use crate::log::validate::ValidBatch;
use crate::retry::letter;
use crate::shard::Shards;
use crate::shard::worker::{Hosted, Message, Shard};
use crate::wire::owned::OwnedRecord;

/// A copy that is to be made.
#[derive(Clone, Debug)]
pub struct NewCopy {
    pub origin: Origin,
    /// From the moment at which it is taken.
    pub due: Due,
    /// Delivered with just these headers, and whether it expires or not.
    pub plain: bool,
    pub record: OwnedRecord,
}

impl NewCopy {
    /// Counts it by what its headers tell; what is put back is counted by its job.
    fn count(&self, metrics: &Metrics) {
        let told = |name| letter::text(&self.record.headers, name);
        match self.origin.maker {
            Maker::Redrive(_) => {}
            // It is put again, and will become a dead letter.
            Maker::Expired if !self.plain => {}
            _ if self.plain => {
                metrics.retry_dead_letters.of(told(letter::REASON).unwrap_or("")).add(1)
            }
            _ => {
                let attempt = told(headers::RETRY_ATTEMPT).and_then(|text| text.parse().ok());
                metrics.retry_retries.of(attempt.unwrap_or(0)).add(1);
            }
        }
    }
}

/// Copies for one partition; about 1 MiB, so that nobody waits long behind them.
#[derive(Clone, Debug)]
pub struct CopySet {
    pub dest: TopicPartition,
    /// Another partition where a copy would be as good: a group's dead letter and its retry of one
    /// record exclude each other. It counts if it is on the same shard.
    pub also: Option<TopicPartition>,
    pub copies: Vec<NewCopy>,
}

/// Copies that go with a batch, and its request's share of the room that there is for such: they
/// take more memory than the request that asked for them.
#[derive(Debug, Default)]
pub struct Riding {
    pub sets: Vec<CopySet>,
    pub room: Option<Arc<OwnedSemaphorePermit>>,
}

/// What became of the copies of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub made: u32,
    /// There was one of the same origin.
    pub known: u32,
}

/// What is asked of a destination.
pub enum Task {
    Make(CopySet),
    /// Records of this source from this offset on may be copied again.
    Clear {
        dest: TopicPartition,
        maker: Maker,
        source: TopicPartition,
        from: i64,
    },
    /// The maker makes no more copies.
    Forget {
        dest: TopicPartition,
        maker: Maker,
    },
}

impl Task {
    const fn dest(&self) -> TopicPartition {
        match self {
            Self::Make(CopySet { dest, .. })
            | Self::Clear { dest, .. }
            | Self::Forget { dest, .. } => *dest,
        }
    }
}

/// A task, and who is told when it is done and durable.
pub struct CopyAsk {
    task: Task,
    done: oneshot::Sender<Result<Copied, Fault>>,
}

impl Shards {
    /// Makes copies; those that there are already are not made again. The receiver is told when
    /// all are durable, and fails if the shard has stopped. Never waits.
    #[must_use]
    pub fn copy(&self, set: CopySet) -> oneshot::Receiver<Result<Copied, Fault>> {
        self.ask_copies(Task::Make(set))
    }

    /// As [`Shards::copy`], whatever is to be done about copies.
    #[must_use]
    pub fn ask_copies(&self, task: Task) -> oneshot::Receiver<Result<Copied, Fault>> {
        let (done, reply) = oneshot::channel();
        match self.registry.get(task.dest()) {
            Some(partition) => {
                // A closed mailbox drops the message and with it the sender.
                let ask = Box::new(CopyAsk { task, done });
                let _ = self.mailboxes[partition.shard].send(Message::Copies(ask));
            }
            None => drop(done.send(Err(gone()))),
        }
        reply
    }
}

fn gone() -> Fault {
    Fault::with(Code::NotLeaderOrFollower, "the partition that copies go to is not served here")
}

impl Shard {
    pub(in crate::shard) fn do_copies(&mut self, ask: CopyAsk) {
        let CopyAsk { task, done } = ask;
        let dest = task.dest();
        let written = match &task {
            Task::Make(set) => self.make_copies(set),
            Task::Clear { maker, source, from, .. } => self.note_copies(dest, |hosted| {
                let copies = hosted.delay.as_ref()?.copies()?;
                let (maker, tp, from) = (maker.clone(), *source, *from);
                copies.has_from(&maker, tp, from).then_some(Note::Cleared { maker, tp, from })
            }),
            Task::Forget { maker, .. } => self.note_copies(dest, |hosted| {
                let copies = hosted.delay.as_ref()?.copies()?;
                copies.has(maker).then(|| Note::Forgotten(maker.clone()))
            }),
        };
        // A receiver that is gone has lost interest.
        match written {
            Ok((copied, batch)) => {
                let told = move |durable: Result<(), _>| {
                    drop(done.send(durable.map(|()| copied)));
                };
                self.land_in_journal(dest, batch.as_ref(), Box::new(told));
            }
            Err(fault) => drop(done.send(Err(fault))),
        }
    }

    /// Makes copies that a nack asks for; the nack is to be appended right behind them.
    ///
    /// # Errors
    /// Those of this set were not made.
    pub(in crate::shard) fn copy_with_nack(&mut self, set: &CopySet) -> Result<(), Fault> {
        let (_, batch) = self.make_copies(set)?;
        // Whoever waits, waits for the nack, which the committer gets behind this.
        self.land_in_journal(set.dest, batch.as_ref(), Box::new(drop));
        Ok(())
    }

    fn make_copies(&mut self, set: &CopySet) -> Result<(Copied, Option<ValidBatch>), Fault> {
        let dest = self.hosted.get(&set.dest).ok_or_else(gone)?;
        let also = set.also.and_then(|also| self.hosted.get(&also));
        let mut seen = FxHashSet::default();
        let mut fresh = Vec::with_capacity(set.copies.len());
        for copy in &set.copies {
            let mut is_known = !seen.insert(&copy.origin);
            for hosted in [Some(dest), also].into_iter().flatten() {
                is_known |= hosted.has_copy_of(&copy.origin)?;
            }
            if !is_known {
                fresh.push(copy);
            }
        }
        let count = |copies: usize| u32::try_from(copies).unwrap_or(u32::MAX);
        let known = count(set.copies.len() - fresh.len());
        let copied = Copied { made: count(fresh.len()), known };
        if fresh.is_empty() {
            return Ok((copied, None));
        }
        let dest = self.hosted.get_mut(&set.dest).ok_or_else(gone)?;
        let batch = dest.append_copies(&self.deps, &fresh)?;
        fresh.iter().for_each(|copy| copy.count(&self.deps.metrics));
        Ok((copied, Some(batch)))
    }

    /// Writes a note about what the destination remembers, if there is one to write.
    fn note_copies(
        &mut self,
        dest: TopicPartition,
        note: impl FnOnce(&Hosted) -> Option<Note>,
    ) -> Result<(Copied, Option<ValidBatch>), Fault> {
        let hosted = self.hosted.get_mut(&dest).ok_or_else(gone)?;
        let Some(note) = note(hosted) else { return Ok((Copied::default(), None)) };
        let batch = hosted.append_note(&self.deps, &note)?;
        Ok((Copied::default(), Some(batch)))
    }
}

#[cfg(test)]
mod tests {
    use crate::base::metrics::REASONS;
    use crate::retry::policy::Reason;

    #[test]
    fn every_reason_is_counted_by_itself() {
        let names = Reason::ALL.map(Reason::name);
        assert_eq!(REASONS[..names.len()], names);
        assert_eq!(REASONS.len(), names.len() + 1);
    }
}
