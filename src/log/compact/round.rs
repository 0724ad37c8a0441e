//! One round over one log: reads what is dirty into the map, writes segments anew from the head
//! on, and has the owner swap each in before it begins the next.
//!
//! From the head on, because a tombstone may only go after all that it covers. The segments are
//! sealed and never change, so the owner is not disturbed while a round reads; time and pace come
//! in from outside.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::CompactError;
use super::batches::{Batch, Batches};
use super::cleaned::{Cleaned, discard};
use super::map::OffsetMap;
use super::rewrite::{Rewritten, Rules, each, offset_of};
use super::select::{Facts, Lags, Limits, groups};
use super::swap::Replacement;
use crate::log::cache::LogStore;
use crate::log::segment::SegmentView;
use crate::log::settings::LogSettings;
use crate::wire::batch::{BatchHeader, HEADER_BYTES};

/// Most segments that become one at a time: until the last reader has left them, the files of
/// those that were replaced are open.
const GROUP_SEGMENTS: usize = 256;

/// Bytes of an entry of an offset index.
const INDEX_ENTRY_BYTES: u64 = 8;

/// What a round needs of its surroundings.
pub trait Surroundings {
    /// So much was read or written. May wait; `false` ends the round.
    fn pace(&mut self, bytes: usize) -> bool;
    /// Has the log's owner put the successor in place; `false` if it would not.
    ///
    /// # Errors
    /// The disk's own.
    fn swap(&mut self, replacement: Replacement) -> std::io::Result<bool>;
}

/// What is to be done.
pub struct Task<'a> {
    pub store: &'a LogStore,
    /// Where the last of them ends: the next segment's base offset.
    pub end: i64,
    /// The first offset that no round has seen.
    pub first_dirty: i64,
    /// Last offset of each producer that is remembered: that batch carries its last sequence.
    pub last_offsets: FxHashMap<i64, i64>,
    pub settings: &'a LogSettings,
    /// The time of the round.
    pub now_ms: i64,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Everything below was compared: the next round's first dirty offset.
    pub cleaned_to: i64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub removed_records: u64,
    /// The map was full before all that is dirty was in it.
    pub is_partial: bool,
}

/// Facts of segments for [`super::select`]; asks for times only where a lag needs them.
///
/// # Errors
/// The disk's own.
pub fn facts(segments: &[Arc<SegmentView>], lags: &Lags) -> std::io::Result<Vec<Facts>> {
    let sealed = segments.len().saturating_sub(1);
    let facts = |(at, segment): (usize, &Arc<SegmentView>)| {
        let (first, newest) = (lags.max_ms < i64::MAX, lags.min_ms > 0);
        let first = if first && at < sealed { segment.first_header()? } else { None };
        let newest = if newest && at < sealed { segment.newest_indexed()? } else { None };
        Ok(Facts {
            base_offset: segment.base_offset(),
            bytes: segment.size_bytes(),
            index_bytes: 0,
            first_ms: first.map(|header| header.max_timestamp_ms).filter(|ms| *ms >= 0),
            newest_ms: newest.map(|entry| entry.timestamp_ms),
        })
    };
    segments.iter().enumerate().map(facts).collect()
}

/// Does it. `segments` take part, from the log's head on; all of them are sealed. They are given
/// away, as those that were replaced keep files open. `map` must be empty.
///
/// # Errors
/// See [`CompactError`]. What was swapped in until then stays.
pub fn run(
    task: &Task<'_>,
    segments: Vec<Arc<SegmentView>>,
    map: OffsetMap,
    around: &mut dyn Surroundings,
) -> Result<Done, CompactError> {
    let mut round = Round { task, map, around, done: Done::default() };
    // What earlier rounds have seen is compared too: its tombstones may be due.
    round.map.reach(task.first_dirty - 1);
    round.read_dirty(&segments)?;
    let cleaned_to = round.map.latest() + 1;
    round.done.cleaned_to = cleaned_to;
    round.done.is_partial = cleaned_to < task.end;
    let count = segments.partition_point(|segment| segment.base_offset() < cleaned_to);
    let groups = round.groups(&segments, count)?;
    let mut segments = segments.into_iter();
    for group in groups {
        let segments: Vec<_> = segments.by_ref().take(group.len()).collect();
        if let Err(error) = round.write_group(&segments) {
            discard(task.store, &segments[0]);
            return Err(error);
        }
    }
    Ok(round.done)
}

struct Round<'a> {
    task: &'a Task<'a>,
    map: OffsetMap,
    around: &'a mut dyn Surroundings,
    done: Done,
}

impl Round<'_> {
    /// Where a segment ends.
    fn end_of(&self, segments: &[Arc<SegmentView>], at: usize) -> i64 {
        segments.get(at + 1).map_or(self.task.end, |next| next.base_offset())
    }

    fn pace(&mut self, bytes: usize) -> Result<(), CompactError> {
        if self.around.pace(bytes) { Ok(()) } else { Err(CompactError::Interrupted) }
    }

    /// Fills the map, until all that is dirty is in it or it is full.
    fn read_dirty(&mut self, segments: &[Arc<SegmentView>]) -> Result<(), CompactError> {
        for (at, segment) in segments.iter().enumerate() {
            let end = self.end_of(segments, at);
            if end <= self.task.first_dirty {
                continue;
            }
            if !self.read_segment(segment)? {
                return Ok(());
            }
            self.map.reach(end - 1);
        }
        Ok(())
    }

    /// False once the map is full.
    fn read_segment(&mut self, segment: &SegmentView) -> Result<bool, CompactError> {
        let from = segment.position_before(self.task.first_dirty)?;
        let file = segment.file()?;
        let range = (from, segment.size_bytes());
        let mut batches = Batches::new(&*file, segment.base_offset(), range);
        while let Some(batch) = batches.next()? {
            self.done.read_bytes += batch.bytes.len() as u64;
            self.pace(batch.bytes.len())?;
            if !self.note_keys(segment, &batch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn note_keys(
        &mut self,
        segment: &SegmentView,
        batch: &Batch<'_>,
    ) -> Result<bool, CompactError> {
        let Batch { header, bytes, position } = batch;
        let first_dirty = self.task.first_dirty;
        // The keys of control batches are of another kind.
        if header.last_offset() < first_dirty || header.is_control() {
            return Ok(true);
        }
        let mut full = false;
        each(header, &bytes[HEADER_BYTES..], |_, record| {
            let offset = offset_of(header, record);
            if let Some(key) = record.key.filter(|_| !full && offset >= first_dirty) {
                full = self.map.put(key, offset).is_err();
            }
        })
        .map_err(|e| CompactError::unwritable(segment.base_offset(), *position, &e))?;
        if !full {
            self.map.reach(header.last_offset());
        }
        Ok(!full)
    }

    /// Which of the first `count` segments become one.
    fn groups(
        &self,
        segments: &[Arc<SegmentView>],
        count: usize,
    ) -> Result<Vec<Range<usize>>, CompactError> {
        let Some(last) = count.checked_sub(1) else { return Ok(Vec::new()) };
        let weigh = |segment: &Arc<SegmentView>| {
            Ok(Facts {
                base_offset: segment.base_offset(),
                bytes: segment.size_bytes(),
                index_bytes: segment.index_entries()? as u64 * INDEX_ENTRY_BYTES,
                first_ms: None,
                newest_ms: None,
            })
        };
        let facts: std::io::Result<Vec<Facts>> = segments[..count].iter().map(weigh).collect();
        let limits = Limits {
            segment_bytes: u64::from(self.task.settings.segment_bytes),
            index_bytes: u64::from(self.task.settings.segment_index_bytes),
            segments: GROUP_SEGMENTS,
        };
        Ok(groups(&facts?, self.end_of(segments, last), limits))
    }

    /// Writes the successor of some segments and has it swapped in, unless it would be the same.
    fn write_group(&mut self, segments: &[Arc<SegmentView>]) -> Result<(), CompactError> {
        let Task { store, settings, .. } = *self.task;
        let mut cleaned = Cleaned::create(store, &segments[0], settings.index_interval_bytes)?;
        let mut changed = segments.len() > 1;
        for (at, segment) in segments.iter().enumerate() {
            changed |= self.copy(segment, at + 1 == segments.len(), &mut cleaned)?;
        }
        if !changed {
            discard(store, &segments[0]);
            return Ok(());
        }
        let new = cleaned.finish(store)?;
        for segment in segments {
            segment.keep_open()?;
        }
        let replacement = Replacement { old: segments.to_vec(), new };
        if self.around.swap(replacement)? { Ok(()) } else { Err(CompactError::Interrupted) }
    }

    /// Copies what stays of a segment; says whether that is less than all. The `last` segment of
    /// a group keeps its last batch.
    fn copy(
        &mut self,
        segment: &SegmentView,
        last: bool,
        to: &mut Cleaned,
    ) -> Result<bool, CompactError> {
        let file = segment.file()?;
        let base_offset = segment.base_offset();
        let mut batches = Batches::new(&*file, base_offset, (0, segment.size_bytes()));
        let mut changed = false;
        while let Some(batch) = batches.next()? {
            let rules = Rules {
                map: &self.map,
                now_ms: self.task.now_ms,
                delete_retention_ms: self.task.settings.delete_retention_ms,
            };
            let batch_end = batch.position + batch.bytes.len() as u64;
            let must_stay = (last && batch_end == segment.size_bytes())
                || self.is_last_of_producer(&batch.header);
            let rewritten = rules
                .rewrite(batch.bytes, must_stay)
                .map_err(|e| CompactError::unwritable(base_offset, batch.position, &e))?;
            changed |= rewritten != Rewritten::Unchanged;
            let stays = match &rewritten {
                Rewritten::Unchanged => batch.bytes,
                Rewritten::Replaced(bytes) => bytes,
                Rewritten::Removed => &[],
            };
            if !stays.is_empty() {
                to.append(stays)?;
            }
            let count = |bytes: &[u8]| BatchHeader::parse(bytes).map_or(0, |h| h.record_count);
            let removed = batch.header.record_count - count(stays);
            self.done.removed_records += u64::try_from(removed).unwrap_or(0);
            self.done.read_bytes += batch.bytes.len() as u64;
            self.done.written_bytes += stays.len() as u64;
            let moved = batch.bytes.len() + stays.len();
            self.pace(moved)?;
        }
        Ok(changed)
    }

    /// Whether a batch carries its producer's last sequence.
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let last_offset = self.task.last_offsets.get(&header.producer_id);
        header.has_producer() && last_offset == Some(&header.last_offset())
    }
}
