//! Checkpoints: syncs the segments behind the commit log, writes the `checkpoint` file and frees
//! the log.
//!
//! The order is what makes it right: (1) note the last commit whose completions have all run,
//! (2) collect from every shard what changed, which comes after those completions in its
//! mailbox, (3) sync, (4) write the checkpoint, (5) release the log up to the commit noted.
//!
//! Checkpoints come early and often (when a sixteenth of the log is used, or a quarter where there
//! are many files to sync), so that each has little to write and the log never fills: a prototype
//! that waited for a full log stalled commits for 112 ms. A failed sync is final, as everywhere.

pub mod syncing;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::committer::{CommitterHandle, Completion};
use crate::base::crash_point;
use crate::base::ids::TopicPartition;
use crate::log::checkpoint::{PartitionCheckpoint, Replacements, SyncWork};
use crate::log::checkpoint_file;
use crate::log::commit::Mark;
use crate::store::Files;
use syncing::Syncing;

/// What changed in the shards since they were last asked.
#[derive(Default)]
pub struct Collected {
    /// Partitions that were appended to, opened or trimmed.
    pub changed: Vec<PartitionCheckpoint>,
    /// Partitions that are no longer hosted.
    pub removed: Vec<TopicPartition>,
    /// What makes it durable. Also of a partition that gives no checkpoint because it has half a
    /// pair: what lies before that may be in the commits that are released.
    pub dirty: SyncWork,
}

impl Collected {
    /// Adds what another shard answered.
    pub fn merge(&mut self, other: Self) {
        self.changed.extend(other.changed);
        self.removed.extend(other.removed);
        self.dirty.merge(other.dirty);
    }
}

/// The shards, as the checkpointer knows them.
pub trait Sources: Send {
    /// Asks every shard and waits for the answers. Each shard answers after the completions that
    /// reached it before. `None` if the shards have stopped.
    fn collect(&mut self) -> Option<Collected>;
    /// The file on disk has these partitions now.
    fn written(&mut self, _partitions: &mut dyn Iterator<Item = &PartitionCheckpoint>) {}
}

/// How checkpoints are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// Longest time between two, if anything changed.
    pub interval: Duration,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10) }
    }
}

/// Why no checkpoint was made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointFailed {
    /// Final: what was written since the last sync may be lost.
    #[error("segments could not be synced: {0}")]
    Sync(#[source] io::Error),
    /// The old checkpoint stands; the next attempt may succeed.
    #[error("the checkpoint could not be written: {0}")]
    Write(#[source] io::Error),
    #[error("the shards have stopped")]
    Stopped,
}

/// The owner of the `checkpoint` file.
pub struct Checkpointer<S, C> {
    files: Arc<dyn Files>,
    data_dir: PathBuf,
    settings: CheckpointSettings,
    syncing: Syncing,
    sources: S,
    commits: CommitterHandle<C>,
    /// Files that are to be replaced as soon as the disk has room; no checkpoint before that.
    owed: Replacements,
    known: BTreeMap<TopicPartition, PartitionCheckpoint>,
    /// What the file on disk covers, and whether it says clean.
    written: (Mark, bool),
    /// Something changed that the file on disk does not have.
    behind: bool,
}

impl<S: Sources, C: Completion> Checkpointer<S, C> {
    /// `recovered` are the partitions as recovery left them, which the file on disk has already,
    /// at the mark that the commit log started from.
    #[must_use]
    pub fn new(
        files: Arc<dyn Files>,
        data_dir: PathBuf,
        settings: CheckpointSettings,
        mut sources: S,
        commits: CommitterHandle<C>,
        recovered: Vec<PartitionCheckpoint>,
    ) -> Self {
        sources.written(&mut recovered.iter());
        let known = recovered.into_iter().map(|partition| (partition.tp, partition)).collect();
        let written = (commits.settled(), false);
        let syncing = Syncing::new(Arc::clone(&files), &data_dir);
        let owed = Replacements::new();
        Self {
            files,
            data_dir,
            settings,
            syncing,
            sources,
            commits,
            owed,
            known,
            written,
            behind: false,
        }
    }

    /// Makes one checkpoint. Nothing is written if nothing changed. `clean` promises that nothing
    /// will be appended after it.
    ///
    /// # Errors
    /// See [`CheckpointFailed`].
    pub fn step(&mut self, clean: bool) -> Result<(), CheckpointFailed> {
        let mark = self.commits.settled();
        let Collected { changed, removed, dirty } =
            self.sources.collect().ok_or(CheckpointFailed::Stopped)?;
        self.behind |= !(changed.is_empty() && removed.is_empty());
        // What is owed goes first: newer text for the same file comes to lie over it.
        let mut work = SyncWork::owing(std::mem::take(&mut self.owed));
        work.merge(dirty);
        self.commits.note_checkpoint(work.count() <= syncing::EACH_MOST);
        self.owed = self.syncing.run(work).map_err(CheckpointFailed::Sync)?;
        crash_point::pass("checkpoint-synced");
        for partition in changed {
            self.known.insert(partition.tp, partition);
        }
        for tp in removed {
            self.known.remove(&tp);
        }
        if !self.owed.is_empty() {
            return Err(CheckpointFailed::Write(io::ErrorKind::StorageFull.into()));
        }
        if self.behind || self.written != (mark, clean) {
            checkpoint_file::write(&*self.files, &self.data_dir, mark, clean, self.known.values())
                .map_err(CheckpointFailed::Write)?;
            crash_point::pass("checkpoint-written");
            self.sources.written(&mut self.known.values());
            self.behind = false;
            self.written = (mark, clean);
            self.commits.release(mark.sequence);
        }
        Ok(())
    }
}

/// Wakes the checkpointer's thread. Cheap to clone; ringing never waits.
#[derive(Clone, Default)]
pub struct Bell(Arc<(Mutex<Wanted>, Condvar)>);

#[derive(Clone, Copy, Default)]
struct Wanted {
    checkpoint: bool,
    stop: Option<Stop>,
}

/// How the checkpointer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// With a last checkpoint that says clean. The committer is closed and empty, and nothing is
    /// appended any more.
    Clean,
    /// With a last checkpoint that promises nothing: some partition was not served, so what is
    /// on disk beyond its recovery point is not known.
    Unsure,
    /// At once.
    Abrupt,
}

impl Bell {
    /// Asks for a checkpoint soon.
    pub fn ring(&self) {
        self.0.0.lock().checkpoint = true;
        self.0.1.notify_one();
    }

    /// Ends the thread.
    pub fn stop(&self, stop: Stop) {
        self.0.0.lock().stop = Some(stop);
        self.0.1.notify_one();
    }

    /// Waits until it is rung or the time is over.
    fn wait(&self, timeout: Duration) -> Wanted {
        let (wanted, rung) = &*self.0;
        let mut wanted = wanted.lock();
        if !wanted.checkpoint && wanted.stop.is_none() {
            rung.wait_for(&mut wanted, timeout);
        }
        let taken = *wanted;
        wanted.checkpoint = false;
        taken
    }
}

/// Runs a checkpointer on a thread of its own until the bell stops it or a sync fails; `on_death`
/// is called in the second case, with the reason. The thread ends with the outcome of its last
/// checkpoint.
///
/// # Errors
/// If the thread cannot be started.
pub fn spawn<S, C>(
    mut checkpointer: Checkpointer<S, C>,
    bell: Bell,
    on_death: impl FnOnce(&str) + Send + 'static,
) -> io::Result<JoinHandle<Result<(), CheckpointFailed>>>
where
    S: Sources + 'static,
    C: Completion + 'static,
{
    let run = move || {
        loop {
            let stop = bell.wait(checkpointer.settings.interval).stop;
            if stop == Some(Stop::Abrupt) {
                return Ok(());
            }
            let outcome = checkpointer.step(stop == Some(Stop::Clean));
            match &outcome {
                Err(error @ CheckpointFailed::Sync(_)) => {
                    tracing::error!(%error, "no more records can be made durable");
                    on_death(&error.to_string());
                    return outcome;
                }
                Err(CheckpointFailed::Stopped) => return outcome,
                Err(error @ CheckpointFailed::Write(_)) => tracing::warn!(%error, "to be retried"),
                Ok(()) => {}
            }
            if stop.is_some() {
                return outcome;
            }
        }
    };
    std::thread::Builder::new().name("checkpoint".to_owned()).spawn(run)
}
