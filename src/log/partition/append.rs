//! Appending: producer state judges, the batch gets its offsets and its stamp, one vectored write
//! puts it at the segment's end, and memory follows.

use std::io::{self, IoSlice};

use bytes::Bytes;

use super::{MOST_UNWRITTEN, PartitionLog};
use crate::base::crash_point;
use crate::log::active::Active;
use crate::log::dir;
use crate::log::error::{AppendError, ReplayError};
use crate::log::producers::{SequenceError, Sequenced, Verdict};
use crate::log::recover::write_snapshot;
use crate::log::settings::{MAX_HOLE, MAX_SEGMENT_BYTES};
use crate::log::validate::ValidBatch;
use crate::log::view::End;
use crate::wire::batch::{BatchHeader, TimestampType};

/// What an append did.
#[derive(Clone)]
pub struct Appended {
    pub base_offset: i64,
    pub last_offset: i64,
    /// -1 on topics that keep the producer's timestamps.
    pub log_append_time_ms: i64,
    /// The largest timestamp of the batch as it was stored the first time; of one in the journal
    /// when it was accepted.
    pub first_ms: i64,
    pub log_start_offset: i64,
    /// A retry: nothing was written, the offsets are those of the first time.
    pub duplicate: bool,
    /// The log's end after it. It may be acknowledged, and shown, once all up to there is
    /// durable. A batch that was written ends at its position.
    pub end: End,
}

/// Replay's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    Appended,
    AlreadyThere,
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
    /// Appends one batch, or recognises it as a retry.
    ///
    /// # Errors
    /// The log is then as before. After [`AppendError::Storage`] it goes on as soon as the disk
    /// does.
    pub fn append(&mut self, batch: &mut ValidBatch, now_ms: i64) -> Result<Appended, AppendError> {
        self.settle();
        match self.judge(batch.header())? {
            Some(duplicate) => Ok(duplicate),
            None => self.append_judged(batch, now_ms),
        }
    }

    /// Asks the producer state alone: a retry's first answer, or `None` for what may be written.
    /// Of a batch that is divided between a log and its journal the header with the full range of
    /// sequences is to be shown, and to the log, which knows the producers of both.
    ///
    /// # Errors
    /// [`AppendError::Sequence`]; [`AppendError::Storage`] behind a batch that the disk refused.
    pub fn judge(&self, header: &BatchHeader) -> Result<Option<Appended>, AppendError> {
        let Some(producer) = sequenced(header) else { return Ok(None) };
        let first = match self.producers.judge(producer) {
            Ok(Verdict::Append) => return Ok(None),
            Ok(Verdict::Duplicate(first)) => first,
            Err(error) => return Err(self.unless_unwritten(producer, error)),
        };
        Ok(Some(Appended {
            base_offset: first.base_offset,
            last_offset: first.last_offset,
            log_append_time_ms: if self.settings.log_append_time { first.timestamp_ms } else { -1 },
            first_ms: first.timestamp_ms,
            log_start_offset: self.view.log_start(),
            duplicate: true,
            end: self.end(),
        }))
    }

    /// A gap behind a batch that the disk refused is the disk's doing: called out of order, a
    /// producer would begin a new epoch and send again, under new sequences, what is stored.
    fn unless_unwritten(&self, producer: Sequenced, error: SequenceError) -> AppendError {
        let gap = matches!(error, SequenceError::OutOfOrder { .. });
        if gap && self.unwritten.contains(&producer.producer_id) {
            let message = "an earlier batch of this producer could not be written";
            return AppendError::Storage(io::Error::other(message));
        }
        error.into()
    }

    /// Appends a batch that [`PartitionLog::judge`] let pass, here or in the log of this journal.
    ///
    /// # Errors
    /// As [`PartitionLog::append`], but for the producer.
    pub fn append_judged(
        &mut self,
        batch: &mut ValidBatch,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.settle();
        match self.write(batch, now_ms) {
            Ok(size) => {
                let header = batch.header();
                self.half = header.is_paired().then_some(header.base_offset).or(self.half);
                Ok(self.note(header, size, now_ms))
            }
            Err(error) => {
                self.note_unwritten(batch.header());
                Err(error)
            }
        }
    }

    /// Takes note that a batch of this partition was written to its journal, wholly or in part,
    /// with the header as it lies there: its full range of sequences counts.
    pub fn note_elsewhere(&mut self, header: &BatchHeader, now_ms: i64) {
        if let Some(producer) = sequenced(header) {
            self.unwritten.remove(&producer.producer_id);
            self.record(producer, header, now_ms);
        }
    }

    /// Takes note that the disk refused a batch, here or in the journal: what its producer sends
    /// behind it is refused as a matter of the disk and not of sequences.
    pub fn note_unwritten(&mut self, header: &BatchHeader) {
        if let Some(producer) = sequenced(header)
            && self.unwritten.len() < MOST_UNWRITTEN
        {
            self.unwritten.insert(producer.producer_id);
        }
    }

    /// Takes the disk space of a batch, so that appending it next does not fail for want of room.
    /// For a pair, whose halves are written one right after the other:
    ///
    /// 1. [`PartitionLog::judge`] by the log;
    /// 2. `ready` in both: a full disk refuses the pair whole;
    /// 3. [`PartitionLog::append_judged`] in both, with the bit of [`BatchHeader::is_paired`] in
    ///    both headers, and no [`PartitionLog::set_floor`] in between, so that both get one base
    ///    offset. An error of the second is final: the data directory holds half a pair, and the
    ///    log gives no checkpoint any more, so that recovery will find it;
    /// 4. [`PartitionLog::note_elsewhere`] in the log, then `set_floor` in both;
    /// 5. both as one commit.
    ///
    /// # Errors
    /// As [`PartitionLog::append_judged`]; nothing has changed.
    pub fn ready(&mut self, batch: &ValidBatch) -> Result<(), AppendError> {
        self.settle();
        let size = batch.size_bytes() as u64;
        self.place(batch.header(), self.next_offset(), size)?;
        let active = self.active.as_mut().expect("a place was just made");
        active.reserve_now(size).map_err(AppendError::of_write)
    }

    /// As [`PartitionLog::ready`], for a batch that has to leave disk space to those that may not
    /// fail: so many bytes stay reserved behind it.
    ///
    /// # Errors
    /// As [`PartitionLog::append_judged`]; nothing has changed.
    pub fn ready_leaving(
        &mut self,
        batch: &ValidBatch,
        spare_bytes: u64,
    ) -> Result<(), AppendError> {
        self.settle();
        let size = batch.size_bytes() as u64;
        self.place(batch.header(), self.next_offset(), size)?;
        let active = self.active.as_mut().expect("a place was just made");
        active.reserve_leaving(size, spare_bytes).map_err(AppendError::of_write)
    }

    /// Puts a row of the commit log back, unless it is there: a whole stamped batch. It may lie
    /// behind offsets that the journal took, or of the journal's, the log: before each row
    /// [`PartitionLog::set_floor`] has to tell of those.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn append_replayed(&mut self, batch: &Bytes, now_ms: i64) -> Result<Replayed, ReplayError> {
        let header = BatchHeader::parse(batch).map_err(|_| ReplayError::Malformed)?;
        let base_offset = header.base_offset;
        self.tail.note_committed(&header);
        if header.last_offset() < self.end {
            // Its segment may be deleted since, and with it what it told of its producer.
            if let Some(producer) = sequenced(&header) {
                self.record(producer, &header, now_ms);
            }
            return Ok(Replayed::AlreadyThere);
        }
        if !(self.end..=self.next_offset()).contains(&base_offset) {
            return Err(ReplayError::Gap { log_end: self.next_offset(), base_offset });
        }
        let size = batch.len() as u64;
        self.place(&header, base_offset, size)?;
        let active = self.active.as_mut().expect("a place was just made");
        active.write(&[IoSlice::new(batch)])?;
        self.note(&header, size, now_ms);
        Ok(Replayed::Appended)
    }

    fn write(&mut self, batch: &mut ValidBatch, now_ms: i64) -> Result<u64, AppendError> {
        let size = self.stamp_and_place(batch, now_ms)?;
        let active = self.active.as_mut().expect("a place was just made");
        let slices = [IoSlice::new(batch.header_bytes()), IoSlice::new(batch.records())];
        active.write(&slices).map_err(AppendError::of_write)?;
        Ok(size)
    }

    fn stamp_and_place(&mut self, batch: &mut ValidBatch, now_ms: i64) -> Result<u64, AppendError> {
        let base_offset = self.next_offset();
        let appended = batch.timestamp_type() == TimestampType::LogAppendTime;
        batch.stamp(base_offset, self.leader_epoch, appended.then_some(now_ms));
        let size = batch.size_bytes() as u64;
        self.place(batch.header(), base_offset, size)?;
        Ok(size)
    }

    /// Makes sure that the active segment can take this batch at its end.
    fn place(
        &mut self,
        header: &BatchHeader,
        base_offset: i64,
        size: u64,
    ) -> Result<(), AppendError> {
        self.make_active()?;
        let active = self.active.as_ref().expect("made in the line before");
        let last_offset = base_offset.saturating_add(i64::from(header.last_offset_delta));
        if active.is_full_for(header, last_offset, size, &self.settings) {
            self.roll_for(base_offset)?;
        } else if active.position + size > u64::from(MAX_SEGMENT_BYTES) {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
        }
        let limit = u64::from(self.settings.segment_bytes.min(MAX_SEGMENT_BYTES));
        let ahead = u64::from(self.settings.reserve_bytes);
        let active = self.active.as_mut().expect("rolling leaves one");
        Ok(active.reserve(active.position + size, ahead, limit)?)
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

    /// Begins the segment for a batch at `base_offset`. Its name is the log's own end, also where
    /// the batch lies behind a hole, so that segments are seamless and a gap between two of them
    /// is a loss. Only a hole that no segment can span is left between two; what lies before it
    /// is made durable first, so that a loss can not look like one.
    fn roll_for(&mut self, base_offset: i64) -> Result<(), AppendError> {
        if base_offset - self.end <= MAX_HOLE {
            return Ok(self.roll()?);
        }
        if let Some(segment) = self.syncable_segment().map_err(AppendError::Failed)? {
            segment.sync().map_err(AppendError::Failed)?;
        }
        Ok(self.roll_at(base_offset)?)
    }

    /// Seals the active segment and begins a new one at the log's own end.
    pub(crate) fn roll(&mut self) -> io::Result<()> {
        self.roll_at(self.end)
    }

    fn roll_at(&mut self, base_offset: i64) -> io::Result<()> {
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
        let next = Active::create(&self.store, &self.dir, base_offset)?;
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

    /// Seals the active segment on demand, unless nothing is in it. Returns whether it did.
    ///
    /// # Errors
    /// The disk's own; the segment then goes on.
    pub fn seal(&mut self) -> io::Result<bool> {
        self.settle();
        self.make_active()?;
        let is_empty = self.active.as_ref().is_none_or(|active| active.position == 0);
        if !is_empty {
            self.roll()?;
        }
        Ok(!is_empty)
    }

    /// Memory follows the disk: the batch is at the end of the active segment.
    fn note(&mut self, header: &BatchHeader, size: u64, now_ms: i64) -> Appended {
        let active = self.active.as_mut().expect("a batch was placed in it");
        active.note(header, size, u64::from(self.settings.index_interval_bytes));
        let (base_offset, last_offset) = (header.base_offset, header.last_offset());
        if let Some(producer) = sequenced(header) {
            self.record(producer, header, now_ms);
            if !self.unwritten.is_empty() {
                self.unwritten.remove(&producer.producer_id);
            }
        }
        if self.epochs.assign(header.leader_epoch, base_offset) {
            self.view.set_epochs(self.epochs.clone());
            self.dirty.epochs = true;
        }
        self.end = last_offset + 1;
        self.last_append_ms = now_ms;
        self.view.set_log_end(self.next_offset());
        let appended = header.timestamp_type() == TimestampType::LogAppendTime;
        Appended {
            base_offset,
            last_offset,
            log_append_time_ms: if appended { header.max_timestamp_ms } else { -1 },
            first_ms: header.max_timestamp_ms,
            log_start_offset: self.view.log_start(),
            duplicate: false,
            end: self.end(),
        }
    }

    fn record(&mut self, producer: Sequenced, header: &BatchHeader, now_ms: i64) {
        let offsets = (header.base_offset, header.last_offset());
        self.producers.record(producer, offsets, header.max_timestamp_ms, now_ms);
    }
}
