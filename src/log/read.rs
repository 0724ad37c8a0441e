//! Reading: from an offset to a stretch of a segment file, in whole batches.
//!
//! A slice begins with the batch that contains the offset and ends before the visible end or the
//! limit, at a batch's edge; where one ends is where a sequential reader's next one begins, which
//! the hint says, so that it needs no search. Edges come from the index (one entry per 4 KiB);
//! headers are walked only where that is too coarse. No record byte is touched here, but for the
//! first read of bytes that an earlier process wrote, whose checksums are verified.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::error::ReadError;
use super::index::OffsetEntry;
use super::scan::{Depth, Scanner, Step};
use super::segment::{CachedOnly, SegmentView};
use super::view::PartitionView;
use crate::store::File;

/// Where a reader's next batch begins. Right as long as the segment exists; checked before use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadHint {
    /// The segment's number: compaction puts another under the same base offset.
    segment: u64,
    offset: i64,
    position: u64,
}

/// A stretch of one segment file: whole batches, or nothing.
#[derive(Clone)]
pub struct Slice {
    /// `None` if there is nothing to read now.
    pub file: Option<Arc<dyn File>>,
    pub position: u64,
    pub len: u64,
    /// For the read that follows this one.
    pub next_hint: Option<ReadHint>,
}

impl Slice {
    const fn empty(next_hint: Option<ReadHint>) -> Self {
        Self { file: None, position: 0, len: 0, next_hint }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub offset: i64,
    pub max_bytes: u64,
    /// The first batch comes whole even if it is larger than `max_bytes`.
    pub whole_first_batch: bool,
    /// From the slice before, if this read goes on where that ended.
    pub hint: Option<ReadHint>,
}

/// May a read wait for the disk?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Cached,
    Blocking,
}

impl PartitionView {
    /// Reads; may wait for the disk, so never from an async thread.
    ///
    /// # Errors
    /// See [`ReadError`]. An offset between the high watermark and the log end yields an empty
    /// slice.
    pub fn read(&self, wanted: Wanted) -> Result<Slice, ReadError> {
        match self.slice(wanted, Access::Blocking) {
            // A segment deleted under the reader: its offsets are below the log start now.
            Err(ReadError::Storage(error)) if error.kind() == ErrorKind::NotFound => {
                self.slice(wanted, Access::Blocking)
            }
            other => other,
        }
    }

    /// Reads what needs no wait: hints, indexes in memory, cached pages. `None`: ask
    /// [`PartitionView::read`] on a thread that may block.
    ///
    /// # Errors
    /// As [`PartitionView::read`].
    pub fn read_hot(&self, wanted: Wanted) -> Option<Result<Slice, ReadError>> {
        match self.slice(wanted, Access::Cached) {
            Err(ReadError::Storage(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotFound) =>
            {
                None
            }
            other => Some(other),
        }
    }

    fn slice(&self, wanted: Wanted, access: Access) -> Result<Slice, ReadError> {
        let Wanted { offset, .. } = wanted;
        let segments = self.segments.load_full();
        let (log_start, log_end) = (self.log_start(), self.log_end());
        if offset < log_start || offset > log_end {
            return Err(ReadError::OutOfRange { offset, log_start, log_end });
        }
        let first = segments.partition_point(|segment| segment.base_offset() <= offset);
        for at in first.saturating_sub(1)..segments.len() {
            let segment = &segments[at];
            let (end_offset, end) = self.visible_end(&segments, at);
            let all_seen = at + 1 < segments.len() && end == segment.size_bytes();
            if all_seen && (offset >= end_offset || end == 0) {
                continue;
            }
            let tail = ReadHint { segment: segment.number(), offset: end_offset, position: end };
            if offset >= end_offset {
                let at_tail = offset == end_offset;
                return Ok(Slice::empty(at_tail.then_some(tail)));
            }
            let reader = SegmentRead { segment, access, end, tail };
            if let Some(slice) = reader.slice(wanted)? {
                return Ok(slice);
            }
        }
        Ok(Slice::empty(None))
    }
}

/// One read within one segment.
struct SegmentRead<'a> {
    segment: &'a Arc<SegmentView>,
    access: Access,
    /// Visible end of the segment.
    end: u64,
    /// The hint for a read that begins there.
    tail: ReadHint,
}

impl SegmentRead<'_> {
    /// `None` if no batch of this segment reaches the offset.
    fn slice(&self, wanted: Wanted) -> Result<Option<Slice>, ReadError> {
        let file = self.file()?;
        let Some(from) = self.position(&*file, wanted)? else { return Ok(None) };
        let (to, next_hint) = self.cut(&*file, from, wanted)?;
        let (to, next_hint) = self.verified(&*file, from, to, next_hint)?;
        let len = to - from;
        let file = (len > 0).then_some(file);
        Ok(Some(Slice { file, position: from, len, next_hint: Some(next_hint) }))
    }

    fn file(&self) -> io::Result<Arc<dyn File>> {
        match self.access {
            Access::Blocking => self.segment.file(),
            Access::Cached => self.segment.opened().ok_or(ErrorKind::WouldBlock.into()),
        }
    }

    /// Index files are read by blocking reads only.
    fn may_search(&self) -> io::Result<()> {
        if self.access == Access::Blocking || self.segment.live().is_some() {
            return Ok(());
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Where the batch that contains the offset begins.
    fn position(&self, file: &dyn File, wanted: Wanted) -> Result<Option<u64>, ReadError> {
        let base_offset = self.segment.base_offset();
        if wanted.offset <= base_offset {
            return Ok(Some(0));
        }
        if let Some(hint) = wanted.hint
            && hint.segment == self.segment.number()
            && hint.offset == wanted.offset
            && hint.position <= self.end
        {
            return Ok((hint.position < self.end).then_some(hint.position));
        }
        self.may_search()?;
        let from = self.segment.position_before(wanted.offset)?;
        let range = (from, self.end);
        let found = match self.access {
            Access::Blocking => self.segment.find(file, wanted.offset, range)?,
            Access::Cached => self.segment.find(&CachedOnly(file), wanted.offset, range)?,
        };
        match found {
            Ok(placed) => Ok(placed.map(|placed| placed.position)),
            Err(_) => Err(self.corrupt(from)),
        }
    }

    /// Where the slice ends, at a batch's edge, and the hint for what follows.
    fn cut(
        &self,
        file: &dyn File,
        from: u64,
        wanted: Wanted,
    ) -> Result<(u64, ReadHint), ReadError> {
        let limit = from.saturating_add(wanted.max_bytes);
        if limit >= self.end {
            return Ok((self.end, self.tail));
        }
        self.may_search()?;
        match self.segment.entry_before(limit)? {
            Some(entry) if u64::from(entry.position) > from => {
                let position = u64::from(entry.position);
                let offset = self.first_offset(file, entry)?;
                Ok((position, ReadHint { offset, position, ..self.tail }))
            }
            _ => match self.access {
                Access::Blocking => self.cut_by_walking(file, from, limit, wanted),
                Access::Cached => self.cut_by_walking(&CachedOnly(file), from, limit, wanted),
            },
        }
    }

    /// The first offset of an indexed batch. Entries from files do not have it; the batch does.
    fn first_offset(&self, file: &dyn File, entry: OffsetEntry) -> io::Result<i64> {
        let base_offset = self.segment.base_offset();
        if entry.base_offset > 0 {
            return Ok(base_offset + i64::from(entry.base_offset));
        }
        let mut bytes = [0; size_of::<i64>()];
        let position = u64::from(entry.position);
        match self.access {
            Access::Blocking => file.read_at(&mut bytes, position)?,
            Access::Cached => CachedOnly(file).read_at(&mut bytes, position)?,
        };
        Ok(i64::from_be_bytes(bytes))
    }

    /// The limit is within an index interval, or within the first batch.
    fn cut_by_walking(
        &self,
        file: &dyn File,
        from: u64,
        limit: u64,
        wanted: Wanted,
    ) -> Result<(u64, ReadHint), ReadError> {
        let base_offset = self.segment.base_offset();
        let mut scanner = Scanner::new(file, Depth::Headers, (from, self.end), base_offset);
        let mut to = from;
        let mut next_offset = wanted.offset;
        loop {
            match scanner.step()? {
                Step::Batch(placed)
                    if placed.end() <= limit || (to == from && wanted.whole_first_batch) =>
                {
                    (to, next_offset) = (placed.end(), placed.header.last_offset() + 1);
                }
                Step::Flaw(_) if to == from => return Err(self.corrupt(from)),
                Step::Batch(_) | Step::End | Step::Flaw(_) => break,
            }
        }
        Ok((to, ReadHint { offset: next_offset, position: to, ..self.tail }))
    }

    /// Ends the slice before the first damaged batch; an error if that is the first one.
    fn verified(
        &self,
        file: &dyn File,
        from: u64,
        to: u64,
        next_hint: ReadHint,
    ) -> Result<(u64, ReadHint), ReadError> {
        if self.segment.is_verified(from, to) {
            return Ok((to, next_hint));
        }
        if self.access == Access::Cached {
            return Err(io::Error::from(ErrorKind::WouldBlock).into());
        }
        match self.segment.verify(file, from, to)? {
            None => Ok((to, next_hint)),
            Some(bad) if bad == from => Err(self.corrupt(from)),
            // The hint's offset is not known here: the next read searches.
            Some(bad) => Ok((bad, ReadHint { offset: -1, ..next_hint })),
        }
    }

    fn corrupt(&self, position: u64) -> ReadError {
        ReadError::Corrupt { segment: self.segment.base_offset(), position }
    }
}
