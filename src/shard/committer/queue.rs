//! The committer's queue, bounded by bytes, and the handle on it.
//!
//! Shards push under a short lock; the committer takes everything at once. Once the committer is
//! dead, what is pushed fails on the pusher's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Completion, Submission};
use crate::base::metrics::CommitMetrics;
use crate::log::commit::{CommitError, Mark};

pub(super) struct Queue<C> {
    state: Mutex<State<C>>,
    /// Signalled to the committer: something was submitted or released, or the handle closed.
    work: Condvar,
    /// Signalled to shards: there is room again.
    room: Condvar,
    bound_bytes: usize,
    run: u64,
    settled: AtomicU64,
    released: AtomicU64,
    light_checkpoints: AtomicBool,
    ring_used_bytes: AtomicU64,
    ring_max_bytes: u64,
}

struct State<C> {
    submissions: VecDeque<Submission<C>>,
    /// Submitted and not completed, whether still in `submissions` or not.
    bytes: usize,
    closed: bool,
    /// Why the committer is dead.
    death: Option<CommitError>,
}

impl<C: Completion> Queue<C> {
    pub(super) fn new(bound_bytes: usize, last: Mark, ring_max_bytes: u64) -> Self {
        let submissions = VecDeque::new();
        let state = State { submissions, bytes: 0, closed: false, death: None };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
            bound_bytes,
            run: last.run,
            settled: AtomicU64::new(last.sequence),
            released: AtomicU64::new(last.sequence),
            light_checkpoints: AtomicBool::new(true),
            ring_used_bytes: AtomicU64::new(0),
            ring_max_bytes,
        }
    }

    fn push(&self, submissions: impl Iterator<Item = Submission<C>>) {
        let mut state = self.state.lock();
        while state.bytes >= self.bound_bytes && state.death.is_none() {
            self.room.wait(&mut state);
        }
        if let Some(error) = state.death.clone() {
            drop(state);
            submissions.for_each(|submission| submission.completion.complete(Err(&error)));
            return;
        }
        let idle = state.submissions.is_empty();
        for submission in submissions {
            state.bytes += submission.weight_bytes();
            state.submissions.push_back(submission);
        }
        drop(state);
        if idle {
            self.work.notify_one();
        }
    }

    pub(super) fn take(&self, into: &mut VecDeque<Submission<C>>) {
        let mut state = self.state.lock();
        if into.is_empty() {
            std::mem::swap(into, &mut state.submissions);
        } else {
            into.append(&mut state.submissions);
        }
    }

    pub(super) fn give_back(&self, bytes: usize) {
        let mut state = self.state.lock();
        let was_full = state.bytes >= self.bound_bytes;
        state.bytes -= bytes;
        if was_full && state.bytes < self.bound_bytes {
            self.room.notify_all();
        }
    }

    pub(super) fn checkpoints_are_light(&self) -> bool {
        self.light_checkpoints.load(Ordering::Relaxed)
    }

    pub(super) fn released(&self) -> u64 {
        self.released.load(Ordering::Acquire)
    }

    /// Every completion up to this commit has run.
    pub(super) fn publish(&self, last: Mark, ring_used_bytes: u64) {
        self.settled.store(last.sequence, Ordering::Release);
        self.publish_fill(ring_used_bytes);
    }

    pub(super) fn publish_fill(&self, ring_used_bytes: u64) {
        self.ring_used_bytes.store(ring_used_bytes, Ordering::Relaxed);
    }

    pub(super) fn die(&self, error: CommitError) {
        self.state.lock().death = Some(error);
        self.room.notify_all();
    }

    pub(super) fn death(&self) -> Option<CommitError> {
        self.state.lock().death.clone()
    }

    /// Waits until there is something to do, which a release other than the one `seen` is too;
    /// false if there never will be.
    pub(super) fn wait_for_work(&self, seen: u64) -> bool {
        let mut state = self.state.lock();
        while state.submissions.is_empty() && self.released() == seen {
            if state.closed {
                return false;
            }
            self.work.wait(&mut state);
        }
        true
    }

    /// Waits for a release other than the one `seen`.
    pub(super) fn wait_for_release(&self, seen: u64) {
        let mut state = self.state.lock();
        while self.released() == seen {
            self.work.wait(&mut state);
        }
    }
}

/// What shards, checkpointer and metrics know of the committer.
pub struct CommitterHandle<C> {
    queue: Arc<Queue<C>>,
    stats: Arc<CommitMetrics>,
}

impl<C> Clone for CommitterHandle<C> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), stats: Arc::clone(&self.stats) }
    }
}

impl<C: Completion> CommitterHandle<C> {
    pub(super) fn new(queue: Arc<Queue<C>>, stats: Arc<CommitMetrics>) -> Self {
        Self { queue, stats }
    }

    /// Submits in order, waiting while the queue is over its bound. They may end up in one commit
    /// or in several.
    pub fn submit(&self, submissions: impl IntoIterator<Item = Submission<C>>) {
        self.queue.push(submissions.into_iter());
    }

    /// Whether [`CommitterHandle::submit`] would not wait.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.queue.state.lock();
        state.bytes < self.queue.bound_bytes || state.death.is_some()
    }

    /// Waits at most this long for [`CommitterHandle::submit`] not to have to wait.
    #[must_use]
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let has_room =
            |state: &State<C>| state.bytes < self.queue.bound_bytes || state.death.is_some();
        let mut state = self.queue.state.lock();
        if !has_room(&state) {
            self.queue.room.wait_for(&mut state, timeout);
        }
        has_room(&state)
    }

    /// The last commit whose completions have all run. What they did is not lost if segments are
    /// synced from now on and the log is released up to here.
    #[must_use]
    pub fn settled(&self) -> Mark {
        Mark { run: self.queue.run, sequence: self.queue.settled.load(Ordering::Acquire) }
    }

    /// Frees the commit log up to this sequence, once a checkpoint that covers it is durable.
    pub fn release(&self, sequence: u64) {
        let state = self.queue.state.lock();
        self.queue.released.fetch_max(sequence, Ordering::Release);
        drop(state);
        self.queue.work.notify_one();
    }

    /// Whether a checkpoint has few files to sync, as far as the last one tells.
    pub fn note_checkpoint(&self, is_light: bool) {
        self.queue.light_checkpoints.store(is_light, Ordering::Relaxed);
    }

    /// Bytes of the commit log that wait for a release, and the most there may be.
    #[must_use]
    pub fn ring_bytes(&self) -> (u64, u64) {
        (self.queue.ring_used_bytes.load(Ordering::Relaxed), self.queue.ring_max_bytes)
    }

    #[must_use]
    pub fn stats(&self) -> &Arc<CommitMetrics> {
        &self.stats
    }

    /// Why nothing is committed any more, if so.
    #[must_use]
    pub fn death(&self) -> Option<CommitError> {
        self.queue.death()
    }

    /// Lets the thread end once all that was submitted is committed. The checkpointer must still
    /// run, or a full log would never empty.
    pub fn close(&self) {
        self.queue.state.lock().closed = true;
        self.queue.work.notify_one();
    }
}
