//! A partition log as its one owner has it: appending, rolling, and what a checkpoint needs.
//!
//! An append is judged by producer state, gets its offsets and its stamp, and goes to the
//! segment's end with one vectored write; memory changes only after the write succeeded, so a
//! full disk leaves the log as it was. The log end moves here, the visible end does not: that is
//! [`PartitionView::advance`], once the append is durable.
//!
//! Appends that must be atomic with others are staged (offset and disk blocks taken, nothing
//! written) and written after their commit-log entry is durable. A crash in between leaves zeros
//! in the segment, at which recovery cuts and which the commit log's replay fills.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::active::Active;
use super::cache::{FileKind, LogStore};
use super::checkpoint::{PartitionCheckpoint, SyncWork};
use super::dir::{self, Identity};
use super::epochs::LeaderEpochs;
use super::error::{AppendError, ReplayError};
use super::producers::{Producers, SequenceError, Sequenced, Verdict};
use super::recover::write_snapshot;
use super::segment::SegmentView;
use super::settings::{LogSettings, MAX_SEGMENT_BYTES};
use super::validate::ValidBatch;
use super::view::{End, PartitionView};
use crate::base::crash_point;
use crate::store::File;
use crate::wire::batch::{BatchHeader, HEADER_BYTES, TimestampType};

/// Kafka's name of the leader-epoch file.
pub(crate) const EPOCHS_FILE: &str = "leader-epoch-checkpoint";

/// Producers that are remembered as refused by the disk.
const MOST_UNWRITTEN: usize = 1_000;

/// What an append did.
#[derive(Clone)]
pub struct Appended {
    pub base_offset: i64,
    pub last_offset: i64,
    /// -1 on topics that keep the producer's timestamps.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    /// A retry: nothing was written, the offsets are those of the first time.
    pub duplicate: bool,
    /// The log's end after it. It may be acknowledged, and shown, once all up to there is
    /// durable.
    pub end: End,
}

/// A batch with its place, not written yet.
pub struct Staged {
    file: Arc<dyn File>,
    position: u64,
    header: [u8; HEADER_BYTES],
    records: Bytes,
    appended: Appended,
}

impl Staged {
    /// What the append will have done. Of a duplicate nothing is to be committed or written.
    #[must_use]
    pub const fn appended(&self) -> &Appended {
        &self.appended
    }

    /// The stamped header, for the commit log.
    #[must_use]
    pub const fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    #[must_use]
    pub const fn records(&self) -> &Bytes {
        &self.records
    }
}

/// Replay's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    Appended,
    AlreadyThere,
}

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
    /// The next offset.
    pub(crate) end: i64,
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
    /// Batches staged and not yet written.
    pub(crate) staged: usize,
    pub(crate) dirty: Dirty,
    /// Renamed files and when they may be unlinked.
    pub(crate) condemned: VecDeque<(i64, PathBuf)>,
    /// Wall time of the last append, or of the opening: the age of segments without timestamps.
    pub(crate) last_append_ms: i64,
}

/// What has to be synced before the next checkpoint, besides the active segment.
#[derive(Default)]
pub(crate) struct Dirty {
    /// Files that staged batches were written to.
    pub(crate) staged: Vec<Arc<dyn File>>,
    pub(crate) paths: Vec<PathBuf>,
    /// Entries were added to or renamed in the partition's directory.
    pub(crate) dir: bool,
    /// The partition's directory is new in its parent.
    pub(crate) parent: bool,
    pub(crate) epochs: bool,
}

/// The producer's part of a header; `None` if the batch has no producer.
pub(crate) fn sequenced(header: &BatchHeader) -> Option<Sequenced> {
    let idempotent = header.has_producer() && header.base_sequence >= 0;
    idempotent.then(|| Sequenced {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        first_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
    })
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

    /// The log's end as it is now.
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

    /// Appends one batch, or recognises it as a retry.
    ///
    /// # Errors
    /// The log is then as before. After [`AppendError::Storage`] it goes on as soon as the disk
    /// does.
    pub fn append(&mut self, batch: &mut ValidBatch, now_ms: i64) -> Result<Appended, AppendError> {
        self.settle();
        let producer = sequenced(batch.header());
        match self.duplicate(producer) {
            Ok(Some(duplicate)) => return Ok(duplicate),
            Ok(None) => {}
            Err(error) => return Err(self.unless_unwritten(producer, error)),
        }
        match self.write_whole(batch, now_ms) {
            Ok(size) => {
                if let (Some(producer), false) = (producer, self.unwritten.is_empty()) {
                    self.unwritten.remove(&producer.producer_id);
                }
                Ok(self.note(batch.header(), producer, size, now_ms))
            }
            Err(error) => {
                if let Some(producer) = producer.filter(|_| self.unwritten.len() < MOST_UNWRITTEN) {
                    self.unwritten.insert(producer.producer_id);
                }
                Err(error)
            }
        }
    }

    fn write_whole(&mut self, batch: &mut ValidBatch, now_ms: i64) -> Result<u64, AppendError> {
        let size = self.stamp_and_place(batch, now_ms)?;
        let active = self.active.as_mut().expect("a place was just made");
        let slices = [IoSlice::new(batch.header_bytes()), IoSlice::new(batch.records())];
        active.write(&slices).map_err(AppendError::of_write)?;
        Ok(size)
    }

    /// A gap behind a batch that the disk refused is the disk's doing: called out of order, a
    /// producer would begin a new epoch and send again, under new sequences, what is stored.
    fn unless_unwritten(&self, producer: Option<Sequenced>, error: AppendError) -> AppendError {
        let gap = matches!(error, AppendError::Sequence(SequenceError::OutOfOrder { .. }));
        match producer {
            Some(producer) if gap && self.unwritten.contains(&producer.producer_id) => {
                let message = "an earlier batch of this producer could not be written";
                AppendError::Storage(io::Error::other(message))
            }
            _ => error,
        }
    }

    /// Makes ready for [`PartitionLog::stage`]: judges the batch and takes its disk space, so
    /// that staging it next can not fail. Of an append to several partitions all are made ready
    /// before the first is staged: what is staged can not be taken back.
    ///
    /// # Errors
    /// As [`PartitionLog::append`]; nothing has changed.
    pub fn ready(&mut self, batch: &ValidBatch) -> Result<(), AppendError> {
        self.settle();
        if self.duplicate(sequenced(batch.header()))?.is_none() {
            let last_offset = self.end + i64::from(batch.header().last_offset_delta);
            self.place(batch.header(), last_offset, batch.size_bytes() as u64)?;
        } else {
            // A retry in a log that nothing was appended to since it was opened.
            self.make_active()?;
        }
        let size = batch.size_bytes() as u64;
        Ok(self.active.as_mut().expect("made in either case").reserve_staged(size)?)
    }

    /// Takes offset and place for a batch that is written by [`PartitionLog::write_staged`].
    /// Batches appended after it come to lie behind it.
    ///
    /// # Errors
    /// As [`PartitionLog::ready`], which it repeats.
    pub fn stage(&mut self, batch: &mut ValidBatch, now_ms: i64) -> Result<Staged, AppendError> {
        self.ready(batch)?;
        let producer = sequenced(batch.header());
        let active = self.active.as_ref().expect("made ready");
        let (file, position) = (active.file().clone(), active.position);
        let appended = match self.duplicate(producer)? {
            Some(appended) => appended,
            None => {
                let size = self.stamp_and_place(batch, now_ms)?;
                self.staged += 1;
                self.note(batch.header(), producer, size, now_ms)
            }
        };
        let (header, records) = (*batch.header_bytes(), batch.records().clone());
        Ok(Staged { file, position, header, records, appended })
    }

    /// Writes a staged batch to its place. Each staged batch must come here exactly once.
    ///
    /// # Errors
    /// The disk's own. The batch is in the commit log, whose replay would write it: the owner
    /// must stop and recover.
    pub fn write_staged(&mut self, staged: Staged) -> io::Result<Appended> {
        if !staged.appended.duplicate {
            let slices = [IoSlice::new(&staged.header), IoSlice::new(&staged.records)];
            staged.file.write_at(&slices, staged.position)?;
            self.staged -= 1;
            // Its segment may have been synced, or sealed, since the place was taken.
            if !self.dirty.staged.iter().any(|file| Arc::ptr_eq(file, &staged.file)) {
                self.dirty.staged.push(staged.file);
            }
        }
        Ok(staged.appended)
    }

    /// Puts a row of the commit log back, unless it is there: a whole stamped batch.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn append_replayed(&mut self, batch: &Bytes, now_ms: i64) -> Result<Replayed, ReplayError> {
        let header = BatchHeader::parse(batch).map_err(|_| ReplayError::Malformed)?;
        if header.last_offset() < self.end {
            // Its segment may be deleted since, and with it what it told of its producer.
            if let Some(producer) = sequenced(&header) {
                self.record(producer, &header, now_ms);
            }
            return Ok(Replayed::AlreadyThere);
        }
        let (log_end, base_offset) = (self.end, header.base_offset);
        if base_offset != log_end {
            return Err(ReplayError::Gap { log_end, base_offset });
        }
        let size = batch.len() as u64;
        self.place(&header, header.last_offset(), size)?;
        let active = self.active.as_mut().expect("a place was just made");
        active.write(&[IoSlice::new(batch)])?;
        self.note(&header, sequenced(&header), size, now_ms);
        Ok(Replayed::Appended)
    }

    /// Once the commit log is replayed: what was deleted stays deleted, even where a crash has
    /// taken the records themselves, so the log goes on at its start.
    pub(crate) fn settle(&mut self) {
        let log_start = self.view.log_start();
        if self.end < log_start {
            self.end = log_start;
            self.fresh_segment = true;
            self.view.set_log_end(log_start);
        }
    }

    fn record(&mut self, producer: Sequenced, header: &BatchHeader, now_ms: i64) {
        let offsets = (header.base_offset, header.last_offset());
        self.producers.record(producer, offsets, header.max_timestamp_ms, now_ms);
    }

    fn duplicate(&self, producer: Option<Sequenced>) -> Result<Option<Appended>, AppendError> {
        let Some(producer) = producer else { return Ok(None) };
        let Verdict::Duplicate(first) = self.producers.judge(producer)? else { return Ok(None) };
        Ok(Some(Appended {
            base_offset: first.base_offset,
            last_offset: first.last_offset,
            log_append_time_ms: if self.settings.log_append_time { first.timestamp_ms } else { -1 },
            log_start_offset: self.view.log_start(),
            duplicate: true,
            end: self.end(),
        }))
    }

    fn stamp_and_place(&mut self, batch: &mut ValidBatch, now_ms: i64) -> Result<u64, AppendError> {
        let appended = batch.timestamp_type() == TimestampType::LogAppendTime;
        let append_time_ms = appended.then_some(now_ms);
        batch.stamp(self.end, self.leader_epoch, append_time_ms);
        let size = batch.size_bytes() as u64;
        self.place(batch.header(), batch.header().last_offset(), size)?;
        Ok(size)
    }

    /// Makes sure that the active segment can take this batch at its end.
    fn place(&mut self, header: &BatchHeader, last_offset: i64, size: u64) -> io::Result<()> {
        self.make_active()?;
        let active = self.active.as_ref().expect("made in the line before");
        // Staged batches are holes until they are written: recovery sees a hole by what lies
        // behind it in the same file, so none may be the last in a segment.
        if self.staged == 0 && active.is_full_for(header, last_offset, size, &self.settings) {
            self.roll()?;
        } else if active.position + size > u64::from(MAX_SEGMENT_BYTES) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let limit = u64::from(self.settings.segment_bytes.min(MAX_SEGMENT_BYTES));
        let ahead = u64::from(self.settings.reserve_bytes);
        let active = self.active.as_mut().expect("rolling leaves one");
        active.reserve(active.position + size, ahead, limit)
    }

    /// Opens the last segment for writing, or begins the first one.
    fn make_active(&mut self) -> io::Result<()> {
        if self.fresh_segment {
            return self.roll();
        }
        if self.active.is_some() {
            return Ok(());
        }
        let last = self.view.segments.load().last().cloned();
        match last {
            Some(last) => {
                let interval_bytes = u64::from(self.settings.index_interval_bytes);
                self.active = Some(Active::resume(&self.store, &last, interval_bytes)?);
            }
            None => self.roll()?,
        }
        Ok(())
    }

    /// Seals the active segment and begins a new one at the log's end.
    pub(crate) fn roll(&mut self) -> io::Result<()> {
        if !self.dir_made {
            dir::create(self.store.files(), &self.identity)?;
            self.dir_made = true;
            self.dirty.parent = true;
            self.dirty.paths.push(self.dir.join(dir::METADATA_FILE));
        }
        if let Some(active) = self.active.as_mut() {
            // May fail on a full disk, and then be tried again: nothing is given up before.
            active.finish()?;
        }
        let next = Active::create(&self.store, &self.dir, self.end)?;
        crash_point::pass("roll");
        self.dirty.dir = true;
        if let Some(active) = self.active.take() {
            let sealed = active.seal();
            self.dirty.paths.extend(sealed.paths());
            if let Err(error) = write_snapshot(self) {
                // The checkpoint knows more; this is for when it is lost.
                tracing::debug!(dir = %self.dir.display(), %error, "no producer snapshot");
            }
        }
        let mut segments = self.view.segments.load().as_ref().clone();
        segments.push(next.view.clone());
        self.view.set_segments(segments);
        self.active = Some(next);
        self.fresh_segment = false;
        self.named = false;
        Ok(())
    }

    /// Memory follows the disk: the batch is at the end of the active segment.
    fn note(
        &mut self,
        header: &BatchHeader,
        producer: Option<Sequenced>,
        size: u64,
        now_ms: i64,
    ) -> Appended {
        let active = self.active.as_mut().expect("a batch was placed in it");
        active.note(header, size, u64::from(self.settings.index_interval_bytes));
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        if let Some(producer) = producer {
            self.record(producer, header, now_ms);
        }
        if self.epochs.assign(header.leader_epoch, base_offset) {
            self.view.set_epochs(self.epochs.clone());
            self.dirty.epochs = true;
        }
        self.end = last_offset + 1;
        self.last_append_ms = now_ms;
        self.view.set_log_end(self.end);
        let appended = header.timestamp_type() == TimestampType::LogAppendTime;
        Appended {
            base_offset,
            last_offset,
            log_append_time_ms: if appended { header.max_timestamp_ms } else { -1 },
            log_start_offset: self.view.log_start(),
            duplicate: false,
            end: self.end(),
        }
    }

    /// The file that holds what was appended last, for a commit that makes a batch durable by
    /// syncing its segment. Recovery will find the batch there: the names are durable, and so
    /// are the segments before it, of which a torn one would take the later ones with it. `None`
    /// while staged batches before it wait to be written.
    ///
    /// # Errors
    /// The disk's own, from what is synced after a roll; final, as every failed sync.
    pub fn syncable_segment(&mut self) -> io::Result<Option<Arc<dyn File>>> {
        if self.staged > 0 {
            return Ok(None);
        }
        if !self.named {
            let mut work = SyncWork::default();
            let segments = self.segments();
            for pair in segments.windows(2).filter(|pair| pair[1].base_offset() > self.synced_below)
            {
                work.paths.push(pair[0].path(FileKind::Log));
            }
            work.paths.push(self.dir.join(dir::METADATA_FILE));
            work.dirs.push(self.dir.to_path_buf());
            work.dirs.extend(self.dir.parent().map(Path::to_path_buf));
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
        work.files.extend(dirty.staged);
        work.paths = dirty.paths;
        if dirty.epochs {
            work.replace.insert(self.dir.join(EPOCHS_FILE), self.epochs.encode());
        }
        if dirty.dir {
            work.dirs.push(self.dir.to_path_buf());
        }
        if dirty.parent {
            work.dirs.extend(self.dir.parent().map(Path::to_path_buf));
        }
        work
    }

    /// The partition's part of a checkpoint, and what must be synced before that counts. `None`
    /// while staged batches wait to be written: their state may not outlive them.
    pub fn checkpoint(&mut self) -> Option<(PartitionCheckpoint, SyncWork)> {
        if self.staged > 0 {
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
        assert_eq!(self.staged, 0, "staged batches are written before a log is closed");
        let dirty = self.active.as_ref().is_some_and(|active| active.dirty);
        if let Some(active) = self.active.as_mut() {
            active.finish()?;
            self.dirty.paths.extend(active.view.paths());
        }
        if dirty {
            write_snapshot(&mut self)?;
        }
        let (checkpoint, work) = self.checkpoint().expect("nothing is staged");
        Ok((checkpoint, work))
    }

    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> Arc<Vec<Arc<SegmentView>>> {
        self.view.segments.load_full()
    }
}
