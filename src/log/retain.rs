//! Deleting from the head of a log: by age, by size, by request.
//!
//! Segments go whole, oldest first, never beyond the visible end nor, if there are producers, the
//! recovery point on disk, and in two steps: renamed now, unlinked after a delay, so that readers
//! who are at it can finish. Age is judged by an index that was checked against the log, never by
//! one as found: zeros in a time index once made a broker delete live data (KAFKA-10207).

use std::io;
use std::sync::Arc;

use super::error::BeyondHighWatermark;
use super::partition::PartitionLog;
use super::recover::condemn;
use super::segment::SegmentView;

/// A segment that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub base_offset: i64,
    pub bytes: u64,
}

impl PartitionLog {
    /// Makes everything below `before_offset` invisible at once (-1: up to the high watermark);
    /// its segments go with the next [`PartitionLog::retain`]. Returns the new log start, which
    /// the caller persists before it answers. At or below the log start nothing happens.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE for what is beyond the high watermark.
    pub fn delete_records(&mut self, before_offset: i64) -> Result<i64, BeyondHighWatermark> {
        let high_watermark = self.view.high_watermark();
        let before_offset = if before_offset == -1 { high_watermark } else { before_offset };
        if before_offset > high_watermark || before_offset < 0 {
            return Err(BeyondHighWatermark { offset: before_offset, high_watermark });
        }
        self.raise_log_start(before_offset);
        Ok(self.view.log_start())
    }

    fn raise_log_start(&mut self, offset: i64) {
        if offset <= self.view.log_start() {
            return;
        }
        self.view.raise_log_start(offset);
        if self.epochs.cut_head(offset) {
            self.view.set_epochs(self.epochs.clone());
            self.dirty.epochs = true;
        }
    }

    /// Deletes what settings and log start no longer keep, unlinks what was deleted long enough
    /// ago, and forgets silent producers. Where segments were deleted the log start has moved.
    ///
    /// # Errors
    /// The disk's own; what was not done is done by a later call.
    pub fn retain(&mut self, now_ms: i64) -> io::Result<Vec<Deleted>> {
        self.unlink_condemned(now_ms)?;
        self.producers.expire(now_ms, self.settings.producer_expiry_ms);
        let segments = self.segments();
        let count = self.deletable(&segments, now_ms)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        if count == segments.len() {
            // The log's end has to live on in the name of a segment, durably, before the last
            // one that tells of it is gone.
            self.roll()?;
            self.store.files().sync_dir(&self.dir)?;
        }
        let (gone, kept) = self.split(count);
        self.raise_log_start(kept[0].base_offset());
        self.view.set_segments(kept);
        let due_ms = now_ms.saturating_add(self.settings.file_delete_delay_ms);
        self.dirty.dir = true;
        let mut deleted = Vec::with_capacity(count);
        for segment in gone {
            condemn(&self.store, &segment, due_ms, &mut self.condemned)?;
            let (base_offset, bytes) = (segment.base_offset(), segment.size_bytes());
            deleted.push(Deleted { base_offset, bytes });
        }
        Ok(deleted)
    }

    fn split(&self, count: usize) -> (Vec<Arc<SegmentView>>, Vec<Arc<SegmentView>>) {
        let mut gone = self.segments().as_ref().clone();
        let kept = gone.split_off(count);
        (gone, kept)
    }

    fn unlink_condemned(&mut self, now_ms: i64) -> io::Result<()> {
        while let Some((due_ms, path)) = self.condemned.front() {
            if *due_ms > now_ms {
                break;
            }
            self.store.files().remove(path)?;
            self.condemned.pop_front();
        }
        Ok(())
    }

    /// How many segments at the head may go.
    fn deletable(&self, segments: &[Arc<SegmentView>], now_ms: i64) -> io::Result<usize> {
        let log_start = self.view.log_start();
        // What a producer's last sequence can be learned from stays until a checkpoint knows it:
        // one that had to leave this log out may have freed its rows in the commit log already.
        let told = if self.producers.is_empty() { i64::MAX } else { self.view.checkpointed() };
        let limit = self.view.high_watermark().min(told);
        let mut left: u64 = segments.iter().map(|segment| segment.size_bytes()).sum();
        for (at, segment) in segments.iter().enumerate() {
            let next = segments.get(at + 1).map(|next| next.base_offset());
            let bytes = segment.size_bytes();
            let is_last_and_empty = next.is_none() && bytes == 0;
            if is_last_and_empty || next.unwrap_or(self.end) > limit {
                return Ok(at);
            }
            left -= bytes;
            let below_start = next.is_some_and(|next| next <= log_start);
            if !below_start && !self.is_oversize(left) && !self.is_aged(segment, now_ms)? {
                return Ok(at);
            }
        }
        Ok(segments.len())
    }

    /// Is the limit kept even with this much left?
    fn is_oversize(&self, left: u64) -> bool {
        let limit = u64::try_from(self.settings.retention_bytes);
        self.settings.cleanup_delete && limit.is_ok_and(|limit| left >= limit)
    }

    fn is_aged(&self, segment: &SegmentView, now_ms: i64) -> io::Result<bool> {
        if !self.settings.cleanup_delete || self.settings.retention_ms < 0 {
            return Ok(false);
        }
        let active = self
            .active
            .as_ref()
            .filter(|active| std::ptr::eq(Arc::as_ptr(&active.view), std::ptr::from_ref(segment)));
        let newest = match active {
            Some(active) => active.newest_ms(),
            None => segment.newest_indexed()?.map(|newest| newest.timestamp_ms),
        };
        let newest_ms = newest.unwrap_or(self.last_append_ms);
        Ok(now_ms.saturating_sub(newest_ms) > self.settings.retention_ms)
    }
}
