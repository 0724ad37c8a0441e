//! A partition log as its one owner has it: appending, rolling, and what a checkpoint needs.
//!
//! An append is judged by producer state, gets its offsets and its stamp, and goes to the
//! segment's end with one vectored write; memory changes only after the write succeeded, so a
//! full disk leaves the log as it was. The log end moves here, the visible end does not: that is
//! [`PartitionView::advance`], once the append is durable.
//!
//! A partition with delayed records has two logs, which share one space of offsets: this one and
//! its journal, which is a log too. Each has holes where the other has batches. The `end` here is
//! the log's own, and [`PartitionLog::set_floor`] tells it how far the other has come. What both
//! must hold or neither is a pair of batches (see [`PartitionLog::ready`], [`super::pairs`]).

mod append;
mod durable;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashSet;

pub(crate) use append::sequenced;
pub use append::{Appended, Replayed};

use super::active::Active;
use super::cache::LogStore;
use super::dir::Identity;
use super::epochs::LeaderEpochs;
use super::pairs::Tail;
use super::producers::Producers;
use super::segment::SegmentView;
use super::settings::LogSettings;
use super::view::{End, PartitionView};

/// Kafka's name of the leader-epoch file.
pub(crate) const EPOCHS_FILE: &str = "leader-epoch-checkpoint";

/// Producers that are remembered as refused by the disk.
const MOST_UNWRITTEN: usize = 1_000;
/// See the module's head.
pub struct PartitionLog {
    pub(crate) store: LogStore,
    pub(crate) identity: Identity,
    pub(crate) dir: Arc<Path>,
    pub(crate) settings: LogSettings,
    pub(crate) view: Arc<PartitionView>,
    pub(crate) producers: Producers,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) leader_epoch: i32,
    /// The log's own end: behind its last batch.
    pub(crate) end: i64,
    /// No batch may begin below this: the journal's end, or of a journal, its log's.
    pub(crate) floor: i64,
    /// Where half a pair lies that the other log was not yet said to have.
    pub(crate) half: Option<i64>,
    /// Of the recovery, until the first checkpoint.
    pub(crate) tail: Tail,
    pub(crate) active: Option<Active>,
    pub(crate) dir_made: bool,
    /// Everything below was synced, by the checkpoint before the last or before opening.
    pub(crate) synced_below: i64,
    /// The recovery point of the last checkpoint, whose syncs may not be done yet.
    pub(crate) handed_out: i64,
    /// The last segment ends below the log's end: it is not appended to.
    pub(crate) fresh_segment: bool,
    /// Offsets of the producer snapshots there are, rising.
    pub(crate) snapshots: Vec<i64>,
    /// The active segment's name is on stable storage.
    pub(crate) named: bool,
    /// Producers whose last batch the disk refused, at most [`MOST_UNWRITTEN`].
    pub(crate) unwritten: FxHashSet<i64>,
    pub(crate) dirty: Dirty,
    /// Renamed files and when they may be unlinked.
    pub(crate) condemned: VecDeque<(i64, PathBuf)>,
    /// Wall time of the last append, or of the opening: the age of segments without timestamps.
    pub(crate) last_append_ms: i64,
}

/// What has to be synced before the next checkpoint, besides the active segment.
#[derive(Default)]
pub(crate) struct Dirty {
    pub(crate) paths: Vec<PathBuf>,
    /// Entries were added to or renamed in the partition's directory.
    pub(crate) dir: bool,
    /// The partition's directory is new in its parent.
    pub(crate) parent: bool,
    pub(crate) epochs: bool,
}
impl PartitionLog {
    #[must_use]
    pub const fn view(&self) -> &Arc<PartitionView> {
        &self.view
    }

    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    #[must_use]
    pub const fn settings(&self) -> &LogSettings {
        &self.settings
    }

    /// The log's own end as it is now, where it becomes visible.
    #[must_use]
    pub fn end(&self) -> End {
        match &self.active {
            Some(active) => End {
                segment: Some(active.view.clone()),
                position: active.position,
                offset: self.end,
            },
            None => {
                let segment = self.view.segments.load().last().cloned();
                let position = segment.as_ref().map_or(0, |segment| segment.size_bytes());
                End { segment, position, offset: self.end }
            }
        }
    }

    /// Idempotent producers that are remembered.
    #[must_use]
    pub const fn producers(&self) -> &Producers {
        &self.producers
    }

    /// New batches are stamped with this epoch. It never falls.
    pub fn set_leader_epoch(&mut self, epoch: i32) {
        self.leader_epoch = self.leader_epoch.max(epoch);
        self.view.set_leader_epoch(self.leader_epoch);
    }

    pub fn apply_settings(&mut self, settings: LogSettings) {
        self.producers.set_max(settings.max_producers);
        self.settings = settings;
    }
    /// The next append's base offset.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.end.max(self.floor)
    }

    /// Tells how far the other log of the partition has come: its [`PartitionLog::end`]. After
    /// every append to the other one, before the next to this one; and once both are open. Never
    /// falls.
    pub fn set_floor(&mut self, next_offset: i64) {
        self.floor = self.floor.max(next_offset);
        self.half = self.half.filter(|half| *half >= self.floor);
        self.view.set_log_end(self.next_offset());
    }

    /// [`PartitionLog::set_floor`] of a log and its journal.
    pub fn level(&mut self, journal: &mut Self) {
        self.set_floor(journal.end);
        journal.set_floor(self.end);
    }

    /// What is above the recovery point, for [`super::pairs::cut`], once the commit log is replayed
    /// and before the first checkpoint.
    #[must_use]
    pub const fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Takes over what the journal knows of producers, in which each log knows its own batches
    /// only: once both are open and replayed, before the first checkpoint.
    pub fn merge_producers(&mut self, journal: &Self) {
        self.producers.merge(&journal.producers);
    }

    /// Fills the buffer from a position in the segment with that base offset: records of which
    /// an index has the place. On the owner's thread only, where no segment can go meanwhile.
    ///
    /// # Errors
    /// `NotFound` for a segment that is gone, `UnexpectedEof` beyond its end, or the disk's own.
    pub fn read_at(&self, segment: i64, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let segments = self.view.segments.load();
        let at = segments.binary_search_by_key(&segment, |segment| segment.base_offset());
        let at = at.map_err(|_| io::ErrorKind::NotFound)?;
        match segments[at].file()?.read_at(buffer, position)? {
            read if read == buffer.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Once the commit log is replayed: what was deleted stays deleted, even where a crash has
    /// taken the records themselves, so the log goes on at its start.
    pub(crate) fn settle(&mut self) {
        let log_start = self.view.log_start();
        if self.end < log_start {
            self.end = log_start;
            self.fresh_segment = true;
            self.view.set_log_end(self.next_offset());
        }
    }
    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> Arc<Vec<Arc<SegmentView>>> {
        self.view.segments.load_full()
    }
}
