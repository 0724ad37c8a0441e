//! Looking up offsets by time. Blocking: for threads that may wait.
//!
//! The time index leads near the batch, headers lead to it, and only that one batch is opened to
//! find the record in it. On batches stamped at append every record's time is the batch's max
//! timestamp.

use std::io;
use std::sync::Arc;

use super::error::ReadError;
use super::scan::{Depth, Placed, Scanner, Step};
use super::segment::SegmentView;
use super::view::PartitionView;
use crate::store::File;
use crate::wire::batch::{HEADER_BYTES, TimestampType};
use crate::wire::compression::Codec;
use crate::wire::records;

/// A record found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOffset {
    pub timestamp_ms: i64,
    pub offset: i64,
    pub leader_epoch: i32,
}

/// What a stored batch may decompress to while one record in it is looked for.
const MAX_OPENED_BYTES: usize = 1 << 31;

impl PartitionView {
    /// The first visible record, by offset, that is at least as new as `timestamp_ms`.
    ///
    /// # Errors
    /// The disk's, or damage on the way.
    pub fn offset_for_time(&self, timestamp_ms: i64) -> Result<Option<TimedOffset>, ReadError> {
        let segments = self.segments.load_full();
        let log_start = self.log_start();
        for (at, segment) in segments.iter().enumerate() {
            let (end_offset, end) = self.visible_end(&segments, at);
            if end_offset <= log_start || end == 0 || is_older(segment, timestamp_ms)? {
                continue;
            }
            let before = segment.time_before(timestamp_ms)?;
            let near = before.map_or(segment.base_offset(), |entry| {
                segment.base_offset() + i64::from(entry.last_offset)
            });
            let from = segment.position_before(near.max(log_start))?;
            let walk = Walk { segment, file: segment.file()?, from, end };
            let found = walk.first(|placed| {
                let header = &placed.header;
                if header.max_timestamp_ms < timestamp_ms || header.last_offset() < log_start {
                    return Ok(None);
                }
                let fits = |time: i64, offset: i64| time >= timestamp_ms && offset >= log_start;
                walk.first_record(placed, fits)
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first visible record among those with the newest timestamp; none if no record has a
    /// timestamp.
    ///
    /// # Errors
    /// As [`PartitionView::offset_for_time`].
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimedOffset>, ReadError> {
        let segments = self.segments.load_full();
        let log_start = self.log_start();
        let mut newest: Option<(Walk<'_>, Placed)> = None;
        for (at, segment) in segments.iter().enumerate() {
            let (end_offset, end) = self.visible_end(&segments, at);
            if end_offset <= log_start || end == 0 {
                continue;
            }
            let known = newest.as_ref().map_or(-1, |(_, placed)| placed.header.max_timestamp_ms);
            if is_older(segment, known.saturating_add(1))? {
                continue;
            }
            let indexed = segment.newest_indexed()?;
            let near = indexed.map(|entry| segment.base_offset() + i64::from(entry.last_offset));
            let near = near.filter(|offset| *offset < end_offset).unwrap_or(log_start);
            let from = segment.position_before(near)?;
            let mut walk = Walk { segment, file: segment.file()?, from, end };
            let mut placed = walk.newest(log_start, known)?;
            let found_ms = placed.map_or(-1, |placed| placed.header.max_timestamp_ms);
            if indexed.is_some_and(|entry| found_ms < entry.timestamp_ms) {
                // The batch that the index names has no record that counts any more.
                walk.from = segment.position_before(log_start)?;
                placed = walk.newest(log_start, known)?;
            }
            if let Some(placed) = placed {
                newest = Some((walk, placed));
            }
        }
        let Some((walk, placed)) = newest else { return Ok(None) };
        let newest_ms = placed.header.max_timestamp_ms;
        walk.first_record(&placed, |time, offset| time >= newest_ms && offset >= log_start)
    }
}

/// True if a sealed segment's index says that nothing in it is as new.
fn is_older(segment: &SegmentView, timestamp_ms: i64) -> io::Result<bool> {
    if segment.live().is_some() {
        return Ok(false);
    }
    Ok(segment.newest_indexed()?.is_none_or(|newest| newest.timestamp_ms < timestamp_ms))
}

/// The batches of one segment between two positions.
struct Walk<'a> {
    segment: &'a Arc<SegmentView>,
    file: Arc<dyn File>,
    from: u64,
    end: u64,
}

impl Walk<'_> {
    /// The first batch that yields something.
    fn first<T>(
        &self,
        mut yields: impl FnMut(&Placed) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let range = (self.from, self.end);
        let base_offset = self.segment.base_offset();
        let mut scanner = Scanner::new(&*self.file, Depth::Headers, range, base_offset);
        loop {
            match scanner.step()? {
                Step::Batch(placed) => {
                    if let Some(found) = yields(&placed)? {
                        return Ok(Some(found));
                    }
                }
                Step::End => return Ok(None),
                Step::Flaw(_) => return Err(self.corrupt(scanner.position())),
            }
        }
    }

    /// The first batch with the newest timestamp of all, if that is above `known_ms`.
    fn newest(&self, log_start: i64, known_ms: i64) -> Result<Option<Placed>, ReadError> {
        let mut newest: Option<Placed> = None;
        let mut newest_ms = known_ms;
        self.first(|placed| {
            let header = &placed.header;
            // What compaction has emptied keeps its time, but has no record to name.
            let counts = header.record_count > 0 && header.last_offset() >= log_start;
            if counts && header.max_timestamp_ms > newest_ms {
                newest_ms = header.max_timestamp_ms;
                newest = Some(*placed);
            }
            Ok(None::<()>)
        })?;
        Ok(newest)
    }

    /// The first record of a batch whose time and offset fit.
    fn first_record(
        &self,
        placed: &Placed,
        fits: impl Fn(i64, i64) -> bool,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let header = &placed.header;
        let appended = header.timestamp_type() == TimestampType::LogAppendTime;
        let mut bytes = vec![0; usize::try_from(placed.size).unwrap_or(0)];
        if self.file.read_at(&mut bytes, placed.position)? < bytes.len() {
            return Err(self.corrupt(placed.position));
        }
        let mut found = None;
        let codec = header.codec().unwrap_or(Codec::None);
        let body = &bytes[HEADER_BYTES..];
        let read =
            records::for_each(codec, body, header.record_count, MAX_OPENED_BYTES, |record| {
                let created = header.base_timestamp_ms.saturating_add(record.timestamp_delta_ms);
                let timestamp_ms = if appended { header.max_timestamp_ms } else { created };
                let offset = header.base_offset.saturating_add(i64::from(record.offset_delta));
                if found.is_none() && fits(timestamp_ms, offset) {
                    let leader_epoch = header.leader_epoch;
                    found = Some(TimedOffset { timestamp_ms, offset, leader_epoch });
                }
            });
        read.map_err(|_| self.corrupt(placed.position))?;
        Ok(found)
    }

    fn corrupt(&self, position: u64) -> ReadError {
        ReadError::Corrupt { segment: self.segment.base_offset(), position }
    }
}
