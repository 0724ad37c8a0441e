//! The segment being written, as its owner has it: where it ends, its index in the making, and
//! what it has yet to put on disk.

use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::cache::{FileKind, LogStore};
use super::index::disk::Written;
use super::index::growing::MemoryIndex;
use super::scan::Placed;
use super::segment::{IndexBuilder, Live, SegmentView};
use super::settings::{LogSettings, MAX_SEGMENT_BYTES};
use crate::store::{File, OpenMode, Resize};
use crate::wire::batch::BatchHeader;

/// A segment below this size has not shown that it sees volume: no blocks are reserved for it.
const RESERVE_FROM_BYTES: u64 = 1 << 20;

/// Entries that may be missing in the index on disk: recovery walks the headers of the batches they
/// stand for, some 256 KiB. With many partitions that each grow a little between two checkpoints,
/// writing every entry at once would cost more than all else in a checkpoint.
const INDEX_LAG_ENTRIES: usize = 64;

/// See the module's head.
pub(crate) struct Active {
    pub(crate) view: Arc<SegmentView>,
    live: Arc<Live>,
    /// Bytes written.
    pub(crate) position: u64,
    builder: IndexBuilder,
    /// Largest timestamp of the first batch: what the roll by time counts from.
    first_timestamp_ms: Option<i64>,
    index_on_disk: Written,
    reserved: u64,
    /// A write failed and what it left could not be cut away yet.
    torn: bool,
    /// Written to since the last sync was handed out.
    pub(crate) dirty: bool,
}

impl Active {
    /// Creates the file of a new segment.
    pub(crate) fn create(store: &LogStore, dir: &Arc<Path>, base_offset: i64) -> io::Result<Self> {
        let view = SegmentView::new(store, dir.clone(), base_offset, 0, 0);
        let path = view.path(FileKind::Log);
        let file = store.files().open(&path, OpenMode::Write)?;
        // A leftover of a roll that failed half-way: nothing in it was ever published.
        if let Err(error) = file.resize(Resize::Cut(0)) {
            // Nothing goes on in it: recovery must not find it. If it does, it sees that it is
            // behind what the segment before holds by then.
            let _ = store.files().remove(&path);
            return Err(error);
        }
        let live = Arc::new(Live { file, index: MemoryIndex::default() });
        view.set_live(Some(live.clone()));
        Ok(Self {
            view,
            live,
            position: 0,
            builder: IndexBuilder::default(),
            first_timestamp_ms: None,
            index_on_disk: Written::default(),
            reserved: 0,
            torn: false,
            dirty: true,
        })
    }

    /// Takes up writing at the end of an existing segment, with its index brought into memory.
    pub(crate) fn resume(
        store: &LogStore,
        view: &Arc<SegmentView>,
        interval_bytes: u64,
    ) -> io::Result<Self> {
        let size = view.size_bytes();
        let (index, builder, index_on_disk) = view.index_in_memory(interval_bytes)?;
        let first_timestamp_ms = view.first_header()?.map(|header| header.max_timestamp_ms);
        let file = store.files().open(&view.path(FileKind::Log), OpenMode::Write)?;
        // Beyond are at most blocks or bytes that no recovery accepted.
        file.resize(Resize::Cut(size))?;
        let live = Arc::new(Live { file, index });
        view.set_live(Some(live.clone()));
        view.forget_files();
        Ok(Self {
            view: view.clone(),
            live,
            position: size,
            first_timestamp_ms: first_timestamp_ms.filter(|first| *first >= 0),
            builder,
            index_on_disk,
            reserved: 0,
            torn: false,
            dirty: false,
        })
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.live.file
    }

    /// Must a new segment be begun for this batch? As Kafka decides it.
    pub(crate) fn is_full_for(
        &self,
        header: &BatchHeader,
        last_offset: i64,
        size: u64,
        settings: &LogSettings,
    ) -> bool {
        let limit = u64::from(settings.segment_bytes.min(MAX_SEGMENT_BYTES));
        let span = last_offset.saturating_sub(self.view.base_offset());
        if self.position == 0 {
            return span > i64::from(i32::MAX);
        }
        let aged = self.first_timestamp_ms.is_some_and(|first| {
            header.max_timestamp_ms.saturating_sub(first) > settings.segment_ms
        });
        let index_entries = settings.segment_index_bytes as usize / 8;
        let time_entries = settings.segment_index_bytes as usize / 12;
        aged || self.position + size > limit
            || self.live.index.offset_entries() >= index_entries
            || self.live.index.time_entries() + 1 >= time_entries
            || span > i64::from(i32::MAX)
    }

    /// The newest timestamp so far; `None` if no batch has one.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.builder.newest().map(|newest| newest.timestamp_ms)
    }

    /// Reserves disk blocks up to `bytes` at least; with `ahead`, in chunks of that size once the
    /// segment has grown enough to be worth it.
    pub(crate) fn reserve(&mut self, bytes: u64, ahead: u64, limit: u64) -> io::Result<()> {
        let busy = ahead > 0 && self.position >= RESERVE_FROM_BYTES;
        if bytes <= self.reserved || !busy {
            return Ok(());
        }
        let goal = (bytes + ahead).min(limit.max(bytes));
        match self.live.file.resize(Resize::Reserve(goal)) {
            // No room to run ahead, but perhaps for the batch: what was taken is given back.
            Err(error) if error.kind() == ErrorKind::StorageFull => self.cut_torn(),
            reserved => {
                reserved?;
                self.reserved = goal;
                Ok(())
            }
        }
    }

    /// Reserves the blocks of the batch that is written next.
    pub(crate) fn reserve_now(&mut self, size: u64) -> io::Result<()> {
        let goal = self.position + size;
        if goal > self.reserved {
            self.live.file.resize(Resize::Reserve(goal))?;
            self.reserved = goal;
        }
        Ok(())
    }

    /// As [`Active::reserve_now`], and leaves `spare` bytes of reserved blocks behind the batch. If
    /// there is no room for both, it does what it can for the spare ones.
    pub(crate) fn reserve_leaving(&mut self, size: u64, spare: u64) -> io::Result<()> {
        if self.position + size + spare <= self.reserved {
            return Ok(());
        }
        // Twice as much, so that small batches do not pay for a system call each.
        let reserved = self.reserve_now(size + 2 * spare);
        if reserved.is_err() {
            self.cut_torn()?;
            // The error that counts is told already.
            let _ = self.reserve_now(spare);
        }
        reserved
    }

    /// Writes at the end. After an error the file is as before, or will be before the next write.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        if self.torn {
            self.cut_torn()?;
        }
        self.dirty = true;
        let written = self.live.file.write_at(slices, self.position);
        if written.is_err() {
            self.torn = true;
            // If even this fails, the next write tries again first.
            let _ = self.cut_torn();
        }
        written
    }

    fn cut_torn(&mut self) -> io::Result<()> {
        self.live.file.resize(Resize::Cut(self.position))?;
        self.reserved = 0;
        self.torn = false;
        Ok(())
    }

    /// Takes a batch into account that was written at the end.
    pub(crate) fn note(&mut self, header: &BatchHeader, size: u64, interval_bytes: u64) {
        let placed = Placed { header: *header, position: self.position, size };
        self.builder.note(&self.view, &self.live.index, &placed, interval_bytes);
        if self.first_timestamp_ms.is_none() && header.max_timestamp_ms >= 0 {
            self.first_timestamp_ms = Some(header.max_timestamp_ms);
        }
        self.position += size;
        self.view.set_size_bytes(self.position);
        self.dirty = true;
    }

    /// Whether the index on disk is so far behind that recovery would have much to walk.
    pub(crate) fn index_lags(&self) -> bool {
        self.live.index.offset_entries() >= self.index_on_disk.offsets + INDEX_LAG_ENTRIES
    }

    /// Puts what the index has gained onto disk.
    pub(crate) fn flush_index(&mut self) -> io::Result<()> {
        self.index_on_disk = self.view.write_index(&self.live.index, self.index_on_disk)?;
        Ok(())
    }

    /// Completes the index with the segment's last entry and gives reserved blocks back.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if self.torn || self.reserved > self.position {
            self.cut_torn()?;
        }
        self.builder.finish(&self.live.index);
        self.flush_index()
    }

    /// Ends writing for good: from here on the segment is read through its index files, which
    /// [`Active::finish`] has written.
    pub(crate) fn seal(self) -> Arc<SegmentView> {
        self.view.set_checked(self.index_on_disk);
        self.view.set_live(None);
        self.view
    }
}
