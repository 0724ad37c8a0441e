//! A compacted segment while it is written: log and indexes under names that no recovery takes
//! for a segment's, synced before anybody else hears of them.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use super::CompactError;
use crate::log::cache::{FileKind, LogStore};
use crate::log::index::disk::{self, Written};
use crate::log::index::growing::MemoryIndex;
use crate::log::scan::Placed;
use crate::log::segment::{IndexBuilder, SegmentView};
use crate::log::settings::MAX_SEGMENT_BYTES;
use crate::store::{File, OpenMode, Resize};
use crate::wire::batch::BatchHeader;

/// Suffix of files that are being written.
pub(super) const CLEANED_SUFFIX: &str = ".cleaned";
/// The three files of a segment, the log last: its name is what makes the others count.
pub(super) const KINDS: [FileKind; 3] = [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::Log];

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 1 << 20;

/// One of a segment's files under a name with this suffix.
pub(super) fn path_with(view: &SegmentView, kind: FileKind, suffix: &str) -> PathBuf {
    let mut path = view.path(kind).into_os_string();
    path.push(suffix);
    path.into()
}

/// See the module's head.
pub(super) struct Cleaned {
    view: Arc<SegmentView>,
    file: Arc<dyn File>,
    index: MemoryIndex,
    builder: IndexBuilder,
    interval_bytes: u64,
    buffer: Vec<u8>,
    /// Bytes taken, those in the buffer included.
    position: u64,
}

impl Cleaned {
    /// Begins the successor of the segments that begin with `first`.
    pub(super) fn create(
        store: &LogStore,
        first: &SegmentView,
        interval_bytes: u32,
    ) -> io::Result<Self> {
        let view = SegmentView::new(store, Arc::clone(first.dir()), first.base_offset(), 0, 0);
        let file = open_new(store, &view, FileKind::Log)?;
        Ok(Self {
            view,
            file,
            index: MemoryIndex::default(),
            builder: IndexBuilder::default(),
            interval_bytes: u64::from(interval_bytes),
            buffer: Vec::new(),
            position: 0,
        })
    }

    /// Appends a whole batch.
    pub(super) fn append(&mut self, batch: &[u8]) -> Result<(), CompactError> {
        let (segment, position) = (self.view.base_offset(), self.position);
        let header = BatchHeader::parse(batch);
        let header = header.map_err(|error| CompactError::damaged(segment, position, error))?;
        let placed = Placed { header, position, size: batch.len() as u64 };
        if placed.end() > u64::from(MAX_SEGMENT_BYTES) {
            // Only if batches grew by being compressed anew.
            let why = "its compacted form is larger than a segment may be";
            return Err(CompactError::damaged(segment, position, why));
        }
        self.builder.note(&self.view, &self.index, &placed, self.interval_bytes);
        self.position = placed.end();
        self.buffer.extend_from_slice(batch);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let from = self.position - self.buffer.len() as u64;
            self.file.write_at(&[IoSlice::new(&self.buffer)], from)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Completes all three files, durably. The view reads them under their final names.
    pub(super) fn finish(mut self, store: &LogStore) -> Result<Arc<SegmentView>, CompactError> {
        self.flush()?;
        self.builder.finish(&self.index);
        let offsets = open_new(store, &self.view, FileKind::OffsetIndex)?;
        let times = open_new(store, &self.view, FileKind::TimeIndex)?;
        let written = disk::extend(&*offsets, &*times, &self.index, Written::default())?;
        for file in [&offsets, &times, &self.file] {
            file.sync().map_err(CompactError::Sync)?;
        }
        store.files().sync_dir(self.view.dir()).map_err(CompactError::Sync)?;
        self.view.set_size_bytes(self.position);
        self.view.set_checked(written);
        Ok(self.view)
    }
}

fn open_new(store: &LogStore, view: &SegmentView, kind: FileKind) -> io::Result<Arc<dyn File>> {
    let file = store.files().open(&path_with(view, kind, CLEANED_SUFFIX), OpenMode::Write)?;
    // A leftover of a round that failed.
    file.resize(Resize::Cut(0))?;
    Ok(file)
}

/// Takes away what was written for a successor that is not wanted. What is left is overwritten by
/// the next round or removed when the log is opened.
pub(super) fn discard(store: &LogStore, first: &SegmentView) {
    for kind in KINDS {
        let _ = store.files().remove(&path_with(first, kind, CLEANED_SUFFIX));
    }
}
