//! What a log owes to stable storage: what must be synced, what a checkpoint may say, the last
//! one at its end.

use std::io;
use std::sync::Arc;

use super::{EPOCHS_FILE, PartitionLog};
use crate::log::cache::FileKind;
use crate::log::checkpoint::{PartitionCheckpoint, SyncWork};
use crate::log::dir;
use crate::log::recover::write_snapshot;
use crate::store::File;

impl PartitionLog {
    /// The file that holds what was appended last, for a commit that makes a batch durable by
    /// syncing its segment. Recovery will find the batch there: the names are durable, and so
    /// are the segments before it, of which a torn one would take the later ones with it.
    ///
    /// # Errors
    /// The disk's own, from what is synced after a roll; final, as every failed sync.
    pub fn syncable_segment(&mut self) -> io::Result<Option<Arc<dyn File>>> {
        if !self.named {
            let mut work = SyncWork::default();
            let segments = self.segments();
            for pair in segments.windows(2).filter(|pair| pair[1].base_offset() > self.synced_below)
            {
                work.paths.push(pair[0].path(FileKind::Log));
            }
            work.paths.push(self.dir.join(dir::METADATA_FILE));
            work.dirs.push(self.dir.to_path_buf());
            work.dirs.extend(self.identity.parents());
            work.run(self.store.files())?;
            self.named = true;
        }
        Ok(self.active.as_ref().map(|active| active.file().clone()))
    }

    /// What makes all that was written so far durable. For a commit that syncs the segment
    /// itself, and part of every checkpoint.
    pub fn take_sync_work(&mut self) -> SyncWork {
        let mut work = SyncWork::default();
        if let Some(active) = self.active.as_mut()
            && active.dirty
        {
            active.dirty = false;
            work.files.push(active.file().clone());
        }
        let dirty = std::mem::take(&mut self.dirty);
        work.paths = dirty.paths;
        if dirty.epochs {
            work.replace.insert(self.dir.join(EPOCHS_FILE), self.epochs.encode());
        }
        if dirty.dir {
            work.dirs.push(self.dir.to_path_buf());
        }
        if dirty.parent {
            work.dirs.extend(self.identity.parents());
        }
        work
    }

    /// The partition's part of a checkpoint, and what must be synced before that counts. `None`
    /// while it has half a pair: recovery may not believe that.
    pub fn checkpoint(&mut self) -> Option<(PartitionCheckpoint, SyncWork)> {
        if self.half.is_some() {
            return None;
        }
        self.settle();
        if let Some(active) = self.active.as_mut()
            && active.index_lags()
            && let Err(error) = active.flush_index()
        {
            // Recovery makes the index again; what must not wait for room is the sync.
            tracing::debug!(dir = %self.dir.display(), %error, "the index is not on disk yet");
        }
        let checkpoint = PartitionCheckpoint {
            tp: self.identity.tp,
            recovery_point: self.end,
            log_start: self.view.log_start(),
            producers: self.producers.to_checkpoint(),
        };
        self.tail.forget();
        // One checkpoint is asked for after the other: what the last one handed out is synced.
        self.synced_below = std::mem::replace(&mut self.handed_out, self.end);
        Some((checkpoint, self.take_sync_work()))
    }

    /// Ends writing: completes the index files, gives reserved blocks back, leaves a snapshot.
    /// With what is returned synced and checkpointed as a clean stop, opening reads no log byte.
    ///
    /// # Errors
    /// The disk's own; the stop is then not a clean one.
    pub fn close(mut self) -> io::Result<(PartitionCheckpoint, SyncWork)> {
        let dirty = self.active.as_ref().is_some_and(|active| active.dirty);
        if let Some(active) = self.active.as_mut() {
            active.finish()?;
            self.dirty.paths.extend(active.view.paths());
        }
        if dirty {
            write_snapshot(&mut self)?;
        }
        self.checkpoint().ok_or_else(|| io::Error::other("it ends with half a pair"))
    }
}
