//! Group commit: one thread writes what all shards submitted to the commit log, in one synced
//! write, and completes it.
//!
//! There is no linger: a commit starts when the previous one ends, and takes what has gathered.
//! A round is [`Committer::step`], which never waits, so that the simulator can run it inline;
//! [`spawn`] puts a thread around it. A failed write or sync ends the data directory: everything
//! pending fails, and so does everything submitted later.
//!
//! A large batch that is in its segment already is not written twice: its segment is synced in
//! the same commit, before the log's row says that it is there. Only where few segments are
//! touched, because each costs a sync.

mod queue;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use smallvec::SmallVec;

use crate::base::crash_point;
use crate::base::env::Env;
use crate::base::metrics::CommitMetrics;
use crate::log::commit::{CommitError, CommitLog, Row};
use crate::store::File;
pub use queue::CommitterHandle;
use queue::Queue;

/// What is done when a submission's fate is known. Runs on the committer's thread and delays
/// every commit after it: it must not block, and must never wait for a shard.
pub trait Completion: Send {
    /// `Ok`: the rows are in the commit log, as durable as the log is. `Err`: they may or may not
    /// be, and nothing will be committed any more.
    fn complete(self, outcome: Result<(), &CommitError>);
}

impl<F: FnOnce(Result<(), &CommitError>) + Send> Completion for F {
    fn complete(self, outcome: Result<(), &CommitError>) {
        self(outcome);
    }
}

/// A batch to commit.
pub struct Submitted {
    pub row: Row,
    /// The segment that holds the batch already, for a batch that may be made durable there. Only
    /// if recovery would find it there: the file's name is durable in its directory.
    pub segment: Option<Arc<dyn File>>,
}

/// Batches that are committed together or not at all, and what to do then. With no batch it
/// completes when all that was submitted before is committed.
pub struct Submission<C> {
    pub batches: SmallVec<[Submitted; 1]>,
    pub completion: C,
}

impl<C> Submission<C> {
    /// What it counts for in the queue's bound.
    fn weight_bytes(&self) -> usize {
        let batch = |batch: &Submitted| batch.row.size_bytes() + size_of::<Submitted>();
        self.batches.iter().map(batch).sum()
    }
}

/// How the committer works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitterSettings {
    /// Bytes that may be submitted and not committed; past it, shards wait.
    pub queue_bytes: usize,
    /// Bytes of one write to the commit log, unless a single submission is larger.
    pub commit_bytes: usize,
    /// From this size on a batch is synced in its segment instead of written to the log too.
    pub bulk_bytes: usize,
    /// Segments synced in one commit, at most.
    pub bulk_segments: usize,
    /// How full the commit log may be before a checkpoint is asked for. Early, so that it never
    /// fills while the segments are synced.
    pub checkpoint_percent: u64,
    /// The same as long as checkpoints have few files to sync: those cost little, and what one
    /// writes at once is what commits wait behind meanwhile.
    pub light_checkpoint_percent: u64,
}

impl Default for CommitterSettings {
    fn default() -> Self {
        Self {
            queue_bytes: 64 << 20,
            commit_bytes: 4 << 20,
            bulk_bytes: 256 << 10,
            bulk_segments: 4,
            checkpoint_percent: 25,
            light_checkpoint_percent: 6,
        }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is submitted.
    Idle,
    /// One commit was written and completed.
    Committed,
    /// The commit log has no room until a checkpoint releases some.
    Full,
    /// The commit log failed. The next step fails everything submitted.
    Dead,
}

/// The only writer of a commit log.
pub struct Committer<C> {
    log: CommitLog,
    queue: Arc<Queue<C>>,
    settings: CommitterSettings,
    env: Env,
    /// Taken from the queue and not committed yet.
    taken: VecDeque<Submission<C>>,
    stats: Arc<CommitMetrics>,
    /// The last release that the log was told of.
    released: u64,
    /// Called when the log fills to where a checkpoint is due, once until a release.
    on_pressure: Box<dyn Fn() + Send>,
    pressed: bool,
    dead: Option<CommitError>,
}

impl<C: Completion> Committer<C> {
    /// The committer and the handle that submits to it. The log must be ready to write.
    /// `on_pressure` is called on the committer's thread when a checkpoint is due.
    #[must_use]
    pub fn new(
        log: CommitLog,
        settings: CommitterSettings,
        env: Env,
        on_pressure: impl Fn() + Send + 'static,
    ) -> (Self, CommitterHandle<C>) {
        let stats = Arc::new(CommitMetrics::default());
        let last = log.last();
        let queue = Queue::new(settings.queue_bytes, last, log.settings().max_bytes);
        let queue = Arc::new(queue);
        let handle = CommitterHandle::new(Arc::clone(&queue), Arc::clone(&stats));
        let committer = Self {
            log,
            queue,
            settings,
            env,
            taken: VecDeque::new(),
            stats,
            released: last.sequence,
            on_pressure: Box::new(on_pressure),
            pressed: false,
            dead: None,
        };
        (committer, handle)
    }

    /// Takes what was submitted, makes one commit of it and completes that. Never waits, but for
    /// the disk.
    pub fn step(&mut self) -> Step {
        self.release();
        if self.taken.is_empty() {
            self.queue.take(&mut self.taken);
        }
        if let Some(error) = self.dead.clone() {
            return self.fail_all(&error);
        }
        if self.taken.is_empty() {
            return Step::Idle;
        }
        let begun = self.env.monotonic();
        match self.commit() {
            Ok(count) => {
                self.stats.write_seconds.record_time(self.env.monotonic() - begun);
                self.complete(count);
                self.press(match self.queue.checkpoints_are_light() {
                    true => self.settings.light_checkpoint_percent,
                    false => self.settings.checkpoint_percent,
                });
                Step::Committed
            }
            Err(CommitError::Full) => {
                self.press(0);
                Step::Full
            }
            Err(error) => self.die(error),
        }
    }

    fn release(&mut self) {
        let released = self.queue.released();
        if released != self.released {
            self.released = released;
            self.log.release(released);
            self.queue.publish_fill(self.log.used_bytes());
            self.pressed = false;
        }
    }

    /// Asks for a checkpoint if the log is this full and none was asked for since the last.
    fn press(&mut self, percent: u64) {
        let full = self.log.used_bytes() * 100 >= self.log.settings().max_bytes * percent;
        if full && !self.pressed {
            self.pressed = true;
            (self.on_pressure)();
        }
    }

    /// Writes as many submissions as make one commit; returns their number.
    fn commit(&mut self) -> Result<usize, CommitError> {
        let (count, bulk) = self.choose();
        for segment in &bulk {
            let begun = self.env.monotonic();
            segment.sync().map_err(|error| self.log.fail(error))?;
            self.stats.sync_seconds.record_time(self.env.monotonic() - begun);
        }
        let batches = self.taken.iter().take(count).flat_map(|submission| &submission.batches);
        let rows = batches.map(|batch| &batch.row);
        // Retries only wait for what came before them.
        if rows.clone().next().is_some() {
            crash_point::pass("commit-before");
            self.log.write(rows)?;
            crash_point::pass("commit-after");
        }
        Ok(count)
    }

    /// Chooses the submissions of the next commit and the segments to sync for it, and marks the
    /// rows that those segments hold.
    fn choose(&mut self) -> (usize, SmallVec<[Arc<dyn File>; 4]>) {
        let mut bulk = SmallVec::<[Arc<dyn File>; 4]>::new();
        let mut log_bytes = 0;
        let mut count = 0;
        for submission in &mut self.taken {
            let known = bulk.len();
            let mut bytes = 0;
            for batch in &mut submission.batches {
                batch.row.in_segment = self.settings.takes_bulk(batch, &mut bulk);
                bytes += if batch.row.in_segment { 0 } else { batch.row.size_bytes() };
            }
            if count > 0 && log_bytes + bytes > self.settings.commit_bytes {
                bulk.truncate(known);
                break;
            }
            log_bytes += bytes;
            count += 1;
        }
        (count, bulk)
    }

    fn complete(&mut self, count: usize) {
        let mut weight_bytes = 0;
        let mut rows = 0;
        for submission in self.taken.drain(..count) {
            weight_bytes += submission.weight_bytes();
            rows += submission.batches.len();
            let bulk = submission.batches.iter().filter(|batch| batch.row.in_segment);
            self.stats.bulk_batches.add(bulk.count() as u64);
            submission.completion.complete(Ok(()));
        }
        self.stats.submissions.add(count as u64);
        self.stats.batches.add(rows as u64);
        self.stats.write_batches.record(rows as u64);
        self.stats.write_bytes.record(weight_bytes as u64);
        self.queue.give_back(weight_bytes);
        self.queue.publish(self.log.last(), self.log.used_bytes());
    }

    fn die(&mut self, error: CommitError) -> Step {
        tracing::error!(%error, "no more records can be made durable");
        self.queue.die(error.clone());
        self.dead = Some(error);
        Step::Dead
    }

    fn fail_all(&mut self, error: &CommitError) -> Step {
        self.queue.take(&mut self.taken);
        for submission in self.taken.drain(..) {
            submission.completion.complete(Err(error));
        }
        Step::Dead
    }
}

impl CommitterSettings {
    /// Whether a batch is to be made durable in its segment; then that is one of `segments`.
    fn takes_bulk(&self, batch: &Submitted, segments: &mut SmallVec<[Arc<dyn File>; 4]>) -> bool {
        let Some(segment) = &batch.segment else { return false };
        if batch.row.size_bytes() < self.bulk_bytes {
            return false;
        }
        if segments.iter().any(|known| Arc::ptr_eq(known, segment)) {
            return true;
        }
        let room = segments.len() < self.bulk_segments;
        if room {
            segments.push(Arc::clone(segment));
        }
        room
    }
}

/// Runs a committer on a thread of its own until its handle closes it or the log fails;
/// `on_death` is called in the second case, with the reason.
///
/// # Errors
/// If the thread cannot be started.
pub fn spawn<C: Completion + 'static>(
    mut committer: Committer<C>,
    on_death: impl FnOnce(&str) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let run = move || {
        let queue = Arc::clone(&committer.queue);
        loop {
            match committer.step() {
                Step::Committed => {}
                Step::Idle if !queue.wait_for_work(committer.released) => break,
                Step::Idle => {}
                Step::Full => queue.wait_for_release(committer.released),
                Step::Dead => {
                    // First, so that whoever is told that a commit failed finds nothing accepted
                    // any more.
                    on_death(&queue.death().map_or_else(String::new, |error| error.to_string()));
                    committer.step();
                    break;
                }
            }
        }
    };
    std::thread::Builder::new().name("commit".to_owned()).spawn(run)
}
