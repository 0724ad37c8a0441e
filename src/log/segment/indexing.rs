//! A segment's indexes: searched, checked before first use, made again from the log.

use std::io;
use std::sync::Arc;

use super::{Live, SegmentView};
use crate::log::cache::FileKind;
use crate::log::index::disk::{self, Loaded, Written};
use crate::log::index::growing::MemoryIndex;
use crate::log::index::{OffsetEntry, TimeEntry};
use crate::log::scan::{Depth, Placed, Scanner, Step};
use crate::store::OpenMode;

/// Where a segment's index is.
enum Indexed {
    Memory(Arc<Live>),
    /// In files that were checked, with so many entries.
    Files(Written),
}

impl SegmentView {
    /// A position at which a batch begins and before which no batch reaches `offset`. Blocks
    /// unless the segment is live.
    pub(crate) fn position_before(&self, offset: i64) -> io::Result<u64> {
        let relative = self.relative(offset);
        let found = match self.indexed()? {
            Indexed::Memory(live) => live.index.floor_offset(relative),
            Indexed::Files(Written { offsets, .. }) => {
                disk::floor_offset(&*self.sealed_file(FileKind::OffsetIndex)?, offsets, relative)?
            }
        };
        Ok(found.map_or(0, |entry| u64::from(entry.position)))
    }

    /// The last indexed batch that begins at or before `position`. Blocks unless live.
    pub(crate) fn entry_before(&self, position: u64) -> io::Result<Option<OffsetEntry>> {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        match self.indexed()? {
            Indexed::Memory(live) => Ok(live.index.floor_position(position)),
            Indexed::Files(Written { offsets, .. }) => {
                disk::floor_position(&*self.sealed_file(FileKind::OffsetIndex)?, offsets, position)
            }
        }
    }

    /// The last time-index entry below `timestamp_ms`; all batches before its batch are older.
    pub(crate) fn time_before(&self, timestamp_ms: i64) -> io::Result<Option<TimeEntry>> {
        match self.indexed()? {
            Indexed::Memory(live) => Ok(live.index.floor_time(timestamp_ms)),
            Indexed::Files(Written { times, .. }) => {
                disk::floor_time(&*self.sealed_file(FileKind::TimeIndex)?, times, timestamp_ms)
            }
        }
    }

    /// The newest timestamp that the time index knows. For a sealed segment that is the newest
    /// of all; `None` if no batch has a timestamp.
    pub(crate) fn newest_indexed(&self) -> io::Result<Option<TimeEntry>> {
        match &*self.live.load() {
            Some(live) => Ok(live.index.last_time()),
            None => self.time_before(i64::MAX),
        }
    }

    /// Entries of the offset index. Blocks unless the segment is live.
    pub(crate) fn index_entries(&self) -> io::Result<usize> {
        Ok(match self.indexed()? {
            Indexed::Memory(live) => live.index.offset_entries(),
            Indexed::Files(written) => written.offsets,
        })
    }

    /// Finds an index that can be believed: in memory, or in files that are made anew if they
    /// are missing or odd. If the disk has no room for them, memory has to do.
    fn indexed(&self) -> io::Result<Indexed> {
        if let Some(live) = self.live.load_full() {
            return Ok(Indexed::Memory(live));
        }
        if let Some(written) = self.checked.get() {
            return Ok(Indexed::Files(*written));
        }
        let _mending = self.mending.lock();
        if let Some(written) = self.checked.get() {
            return Ok(Indexed::Files(*written));
        }
        if let Some(loaded) = self.load_index()? {
            return Ok(Indexed::Files(*self.checked.get_or_init(|| loaded.written())));
        }
        tracing::warn!(log = %self.path(FileKind::Log).display(),
            "index missing or damaged: made again from the log");
        let (index, builder) = self.index_from(None, DEFAULT_INTERVAL_BYTES)?;
        builder.finish(&index);
        match self.write_index(&index, Written::default()) {
            Ok(written) => Ok(Indexed::Files(*self.checked.get_or_init(|| written))),
            Err(error) => {
                tracing::warn!(%error, "the index is kept in memory");
                let live = Arc::new(Live { file: self.file()?, index });
                // Unless the owner has taken the segment up for writing meanwhile.
                self.live.compare_and_swap(&None::<Arc<Live>>, Some(Arc::clone(&live)));
                Ok(Indexed::Memory(live))
            }
        }
    }

    /// Brings the index files in line with the log, of which they are known to be right below
    /// `position` only.
    pub(crate) fn mend_index(
        &self,
        loaded: Option<Loaded>,
        position: u64,
        interval_bytes: u64,
    ) -> io::Result<()> {
        let before = loaded.as_ref().map(Loaded::written);
        let kept = loaded.map(|loaded| loaded.below(position));
        let whole = before.is_some() && before == kept.as_ref().map(Loaded::written);
        let (index, builder) = self.index_from(kept, interval_bytes)?;
        builder.finish(&index);
        let now = index.written();
        if !whole || before != Some(now) {
            self.write_index(&index, Written::default())?;
        }
        self.set_checked(now);
        Ok(())
    }

    /// The whole index in memory, what is needed to go on with it, and how much the files have.
    pub(crate) fn index_in_memory(
        &self,
        interval_bytes: u64,
    ) -> io::Result<(MemoryIndex, IndexBuilder, Written)> {
        let loaded = self.load_index()?;
        let on_disk = loaded.as_ref().map(Loaded::written).unwrap_or_default();
        let (index, builder) = self.index_from(loaded, interval_bytes)?;
        Ok((index, builder, on_disk))
    }

    /// Takes entries over and walks the headers of what they do not cover, which is little if
    /// the entries are good and the whole log if there are none. A flaw ends the walk.
    fn index_from(
        &self,
        kept: Option<Loaded>,
        interval_bytes: u64,
    ) -> io::Result<(MemoryIndex, IndexBuilder)> {
        let kept = kept.unwrap_or_default();
        let index = MemoryIndex::default();
        kept.offsets.iter().for_each(|entry| index.push_offset(*entry));
        kept.times.iter().for_each(|entry| index.push_time(*entry));
        let mut builder = IndexBuilder { since_entry: 0, newest: index.last_time() };
        let from = kept.offsets.last().map_or(0, |entry| u64::from(entry.position));
        let file = self.file()?;
        let range = (from, self.size_bytes());
        let mut scanner = Scanner::new(&*file, Depth::Headers, range, self.base_offset);
        while let Step::Batch(placed) = scanner.step()? {
            builder.note(self, &index, &placed, interval_bytes);
        }
        Ok((index, builder))
    }

    /// Writes what memory has beyond `written` to the index files.
    pub(crate) fn write_index(&self, index: &MemoryIndex, written: Written) -> io::Result<Written> {
        let open = |kind| self.store.files().open(&self.path(kind), OpenMode::Write);
        let (offsets, times) = (open(FileKind::OffsetIndex)?, open(FileKind::TimeIndex)?);
        disk::extend(&*offsets, &*times, index, written)
    }

    /// The index files' entries if they are whole and agree with the log.
    pub(crate) fn load_index(&self) -> io::Result<Option<Loaded>> {
        let read = |kind| self.store.read_small(&self.path(kind));
        let (offsets, times) = (read(FileKind::OffsetIndex)?, read(FileKind::TimeIndex)?);
        let (Some(offsets), Some(times)) = (offsets, times) else { return Ok(None) };
        match disk::decode(&offsets, &times) {
            Some(loaded) if self.agrees(&loaded)? => Ok(Some(loaded)),
            _ => Ok(None),
        }
    }

    /// The last entries of both indexes are batches of the log. A log with timestamps has a time
    /// index, since sealing and closing write its last entry.
    fn agrees(&self, loaded: &Loaded) -> io::Result<bool> {
        let size = self.size_bytes();
        let file = self.file()?;
        if let Some(last) = loaded.offsets.last() {
            let range = (u64::from(last.position), size);
            let mut scanner = Scanner::new(&*file, Depth::Headers, range, self.base_offset);
            let Step::Batch(placed) = scanner.step()? else { return Ok(false) };
            if self.relative(placed.header.last_offset()) != last.last_offset {
                return Ok(false);
            }
        }
        let Some(newest) = loaded.times.last() else { return Ok(size == 0) };
        let before = loaded.offsets.iter().rev();
        let before = before.into_iter().find(|entry| entry.last_offset <= newest.last_offset);
        let range = (before.map_or(0, |entry| u64::from(entry.position)), size);
        let mut scanner = Scanner::new(&*file, Depth::Headers, range, self.base_offset);
        while let Step::Batch(placed) = scanner.step()? {
            let relative = self.relative(placed.header.last_offset());
            if relative >= newest.last_offset {
                return Ok(relative == newest.last_offset
                    && placed.header.max_timestamp_ms == newest.timestamp_ms);
            }
        }
        Ok(false)
    }
}

/// Entry interval of an index made again by a reader, who does not know the topic's own.
const DEFAULT_INTERVAL_BYTES: u64 = 4096;

/// Decides which batches get index entries: the first one more than an interval after the last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IndexBuilder {
    since_entry: u64,
    newest: Option<TimeEntry>,
}

impl IndexBuilder {
    /// Takes the next batch of the segment into account.
    pub(crate) fn note(
        &mut self,
        segment: &SegmentView,
        index: &MemoryIndex,
        placed: &Placed,
        interval_bytes: u64,
    ) {
        let header = &placed.header;
        let last_offset = segment.relative(header.last_offset());
        let timestamp_ms = header.max_timestamp_ms;
        if timestamp_ms >= 0 && self.newest.is_none_or(|newest| timestamp_ms > newest.timestamp_ms)
        {
            self.newest = Some(TimeEntry { timestamp_ms, last_offset });
        }
        if self.since_entry > interval_bytes {
            index.push_offset(OffsetEntry {
                base_offset: segment.relative(header.base_offset),
                last_offset,
                position: u32::try_from(placed.position).unwrap_or(u32::MAX),
            });
            self.finish(index);
            self.since_entry = 0;
        }
        self.since_entry += placed.size;
    }

    /// Puts the newest timestamp into the time index, as at the end of a segment.
    pub(crate) fn finish(&self, index: &MemoryIndex) {
        if let Some(newest) = self.newest {
            index.push_time(newest);
        }
    }

    pub(crate) const fn newest(&self) -> Option<TimeEntry> {
        self.newest
    }
}
