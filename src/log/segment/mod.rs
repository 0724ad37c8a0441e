//! One segment as its readers see it: how far it reaches, how far it may be read, where in it an
//! offset or a time is.
//!
//! The owner writes bytes first and publishes them after, so a reader never meets half a batch.
//! The segment being written ("live") has its file and index in memory; a sealed one is opened
//! through the bounded cache, and its index files are checked before they are used for the first
//! time, and made again from the log if they are missing or odd. Sealed bytes never change.
//!
//! Bytes that this process did not write are not trusted: their checksums are verified when they
//! are first read, so that a flipped bit becomes an error and not a record.

mod cached;
mod indexing;
mod replaced;

pub(crate) use cached::CachedOnly;
pub(crate) use indexing::IndexBuilder;
use replaced::Kept;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::cache::{FileKind, LogStore};
use super::index::disk::Written;
use super::index::growing::MemoryIndex;
use super::scan::{Depth, Flaw, Placed, Scanner, Step};
use crate::store::File;
use crate::wire::batch::BatchHeader;

/// Verified stretches remembered per segment; sequential readers need one.
const VERIFIED_RANGES: usize = 32;

/// File and index of a segment that is being written, or whose index files could not be.
pub(crate) struct Live {
    pub(crate) file: Arc<dyn File>,
    pub(crate) index: MemoryIndex,
}

/// See the module's head.
pub struct SegmentView {
    store: LogStore,
    number: u64,
    dir: Arc<Path>,
    base_offset: i64,
    /// Bytes of whole batches in the file.
    written: AtomicU64,
    /// Relative offset (high half) and position (low half) up to which readers may see.
    visible: AtomicU64,
    live: ArcSwapOption<Live>,
    /// Entries of the index files, once these are checked.
    checked: OnceLock<Written>,
    /// Held while the index files are made again.
    mending: Mutex<()>,
    /// Its own files, once their names may be another segment's.
    kept: OnceLock<Kept>,
    /// From this position on the bytes were written or verified by this process.
    trusted_from: AtomicU64,
    /// Further bytes found whole, as ranges that do not touch.
    verified: Mutex<Vec<(u64, u64)>>,
}

/// The name of one of a segment's files.
#[must_use]
pub fn file_name(base_offset: i64, kind: FileKind) -> String {
    let suffix = match kind {
        FileKind::Log => "log",
        FileKind::OffsetIndex => "index",
        FileKind::TimeIndex => "timeindex",
    };
    format!("{base_offset:020}.{suffix}")
}

impl SegmentView {
    /// A segment whose file has `written` bytes, of which those from `trusted_from` on need no
    /// further look.
    pub(crate) fn new(
        store: &LogStore,
        dir: Arc<Path>,
        base_offset: i64,
        written: u64,
        trusted_from: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            number: store.next_segment(),
            store: store.clone(),
            dir,
            base_offset,
            written: AtomicU64::new(written),
            visible: AtomicU64::new(0),
            live: ArcSwapOption::empty(),
            checked: OnceLock::new(),
            mending: Mutex::default(),
            kept: OnceLock::new(),
            trusted_from: AtomicU64::new(trusted_from),
            verified: Mutex::default(),
        })
    }

    /// No other segment of this process has it, not even one that takes this one's name.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The partition's directory.
    pub(crate) const fn dir(&self) -> &Arc<Path> {
        &self.dir
    }

    #[must_use]
    pub const fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Bytes of whole batches.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn set_size_bytes(&self, bytes: u64) {
        self.written.store(bytes, Ordering::Release);
    }

    pub(crate) fn trust_from(&self, position: u64) {
        self.trusted_from.store(position, Ordering::Release);
    }

    /// Next offset and position up to which readers may see, if they may see into this segment
    /// but not beyond it.
    #[must_use]
    pub fn visible(&self) -> (i64, u64) {
        let packed = self.visible.load(Ordering::Acquire);
        (self.base_offset + (packed >> 32).cast_signed(), packed & u64::from(u32::MAX))
    }

    /// Moves the visible end forward; never back.
    pub(crate) fn show(&self, next_offset: i64, position: u64) {
        let relative = next_offset.saturating_sub(self.base_offset).clamp(0, i64::from(u32::MAX));
        let packed = relative.cast_unsigned() << 32 | position.min(u64::from(u32::MAX));
        self.visible.fetch_max(packed, Ordering::AcqRel);
    }

    /// The log file and its indexes.
    pub(crate) fn paths(&self) -> [PathBuf; 3] {
        [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex].map(|kind| self.path(kind))
    }

    pub(crate) fn path(&self, kind: FileKind) -> PathBuf {
        self.dir.join(file_name(self.base_offset, kind))
    }

    pub(crate) fn live(&self) -> arc_swap::Guard<Option<Arc<Live>>> {
        self.live.load()
    }

    pub(crate) fn set_live(&self, live: Option<Arc<Live>>) {
        self.live.store(live);
    }

    /// The index files are as this process wrote them.
    pub(crate) fn set_checked(&self, written: Written) {
        // Already set: they were checked or written before, to the same content.
        let _ = self.checked.set(written);
    }

    /// Closes what is open of it, before its files are renamed.
    pub(crate) fn forget_files(&self) {
        self.store.forget(self.number);
    }

    /// The log file, if it is open; never blocks.
    #[must_use]
    pub fn opened(&self) -> Option<Arc<dyn File>> {
        if let Some(live) = &*self.live.load() {
            return Some(live.file.clone());
        }
        if let Some(kept) = self.kept(FileKind::Log) {
            return kept.ok();
        }
        self.store.opened((self.number, FileKind::Log))
    }

    /// The log file; may block to open it.
    ///
    /// # Errors
    /// `NotFound` if the segment was deleted meanwhile, or the disk's own.
    pub fn file(&self) -> io::Result<Arc<dyn File>> {
        if let Some(live) = &*self.live.load() {
            return Ok(live.file.clone());
        }
        self.sealed_file(FileKind::Log)
    }

    fn sealed_file(&self, kind: FileKind) -> io::Result<Arc<dyn File>> {
        if let Some(kept) = self.kept(kind) {
            return kept;
        }
        let file = self.store.read_file((self.number, kind), || self.path(kind));
        // Compaction may have given the name away meanwhile; it keeps the file before it does.
        self.kept(kind).unwrap_or(file)
    }

    /// The offset as an index stores it.
    pub(crate) fn relative(&self, offset: i64) -> u32 {
        let relative = offset.saturating_sub(self.base_offset).clamp(0, i64::from(u32::MAX));
        u32::try_from(relative).unwrap_or(u32::MAX)
    }

    /// The first batch's header; `None` if the segment is empty or does not begin with a batch.
    pub(crate) fn first_header(&self) -> io::Result<Option<BatchHeader>> {
        let file = self.file()?;
        let range = (0, self.size_bytes());
        match Scanner::new(&*file, Depth::Headers, range, self.base_offset).step()? {
            Step::Batch(placed) => Ok(Some(placed.header)),
            Step::End | Step::Flaw(_) => Ok(None),
        }
    }

    /// True if all of `[from, to)` was written or verified by this process.
    #[must_use]
    pub fn is_verified(&self, from: u64, to: u64) -> bool {
        let to = to.min(self.trusted_from.load(Ordering::Acquire));
        if from >= to {
            return true;
        }
        self.verified.lock().iter().any(|range| range.0 <= from && to <= range.1)
    }

    /// Verifies the whole batches of `[from, to)` and returns where the first bad one begins.
    pub(crate) fn verify(&self, file: &dyn File, from: u64, to: u64) -> io::Result<Option<u64>> {
        let mut scanner = Scanner::new(file, Depth::Checksums, (from, to), self.base_offset);
        loop {
            match scanner.step()? {
                Step::Batch(_) => {}
                Step::End => break,
                Step::Flaw(_) => return Ok(Some(scanner.position())),
            }
        }
        note_range(&mut self.verified.lock(), (from, to));
        Ok(None)
    }

    /// Walks to the batch that contains `offset`, or the first one beyond it, from a position
    /// that `position_before` gave.
    pub(crate) fn find(
        &self,
        file: &dyn File,
        offset: i64,
        range: (u64, u64),
    ) -> io::Result<Result<Option<Placed>, Flaw>> {
        let mut scanner = Scanner::new(file, Depth::Headers, range, self.base_offset);
        loop {
            match scanner.step()? {
                Step::Batch(placed) if placed.header.last_offset() < offset => {}
                Step::Batch(placed) => return Ok(Ok(Some(placed))),
                Step::End => return Ok(Ok(None)),
                Step::Flaw(flaw) => return Ok(Err(flaw)),
            }
        }
    }
}

/// Adds a range to a list, merging what touches; a full list forgets its shortest.
fn note_range(ranges: &mut Vec<(u64, u64)>, new: (u64, u64)) {
    let touching = |range: &(u64, u64)| range.0 <= new.1 && new.0 <= range.1;
    let merged = ranges
        .iter()
        .filter(|range| touching(range))
        .fold(new, |all, range| (all.0.min(range.0), all.1.max(range.1)));
    ranges.retain(|range| !touching(range));
    if ranges.len() == VERIFIED_RANGES {
        let shortest = ranges.iter().enumerate().min_by_key(|(_, range)| range.1 - range.0);
        let shortest = shortest.map_or(0, |(at, _)| at);
        ranges.swap_remove(shortest);
    }
    ranges.push(merged);
}
