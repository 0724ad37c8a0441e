//! A compacted segment takes the place of those it came from, in the log of its owner and, after
//! a crash, when the log is opened.
//!
//! Its files are whole and synced under `.cleaned`. Then, in this order: they become `.swap`, the
//! log file last, from which moment on the swap will happen; the old files become `.deleted`; the
//! new ones get their names, the log file last. Renames within a directory reach the disk in
//! order, as on journaling file systems, so no sync lies between and the owner never waits for
//! one. Opening a log throws `.cleaned` away and completes a `.swap`. As Kafka 4.3 does it
//! (`LocalLog.replaceSegments`, `LogLoader`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cleaned::{CLEANED_SUFFIX, KINDS, path_with};
use crate::base::crash_point;
use crate::log::cache::{FileKind, LogStore};
use crate::log::partition::PartitionLog;
use crate::log::recover::condemn;
use crate::log::scan::{Depth, Scanner, Step};
use crate::log::segment::{SegmentView, file_name};
use crate::store::{DirEntry, Files, OpenMode};

/// Suffix of files that take the place of others.
const SWAP_SUFFIX: &str = ".swap";

/// Segments and their successor, whose files are written.
pub struct Replacement {
    /// Neighbours; their readers do not depend on their names any more.
    pub(crate) old: Vec<Arc<SegmentView>>,
    pub(crate) new: Arc<SegmentView>,
}

impl PartitionLog {
    /// Puts the successor in place, for readers too. `false`, and nothing has happened, if the
    /// old ones are not all there and sealed.
    ///
    /// # Errors
    /// The disk's own. The log goes on with the old segments, whose files stay open; the next
    /// opening finds the swap done or not.
    pub fn replace(&mut self, replacement: &Replacement, now_ms: i64) -> io::Result<bool> {
        let Replacement { old, new } = replacement;
        let segments = self.segments();
        let same = |window: &[Arc<SegmentView>]| {
            window.iter().zip(old).all(|(here, old)| Arc::ptr_eq(here, old))
        };
        let sealed = &segments[..segments.len().saturating_sub(1)];
        let Some(at) = sealed.windows(old.len()).position(same) else { return Ok(false) };
        let (files, due_ms) =
            (self.store.files(), now_ms.saturating_add(self.settings.file_delete_delay_ms));
        let named = |kind, suffix| path_with(new, kind, suffix);
        for kind in KINDS {
            files.rename(&named(kind, CLEANED_SUFFIX), &named(kind, SWAP_SUFFIX))?;
        }
        crash_point::pass("swap");
        for segment in old {
            condemn(&self.store, segment, due_ms, &mut self.condemned)?;
        }
        for kind in KINDS {
            files.rename(&named(kind, SWAP_SUFFIX), &new.path(kind))?;
        }
        self.dirty.dir = true;
        let mut list = segments.as_ref().clone();
        list.splice(at..at + old.len(), [Arc::clone(new)]);
        self.view.set_segments(list);
        Ok(true)
    }

    /// Begins a new segment if the last one has records that wait for compaction longer than
    /// `max.compaction.lag.ms`: only sealed segments are compacted. Returns whether it did.
    ///
    /// # Errors
    /// The disk's own.
    pub fn roll_for_compaction(&mut self, now_ms: i64) -> io::Result<bool> {
        let lag_ms = self.settings.max_compaction_lag_ms;
        let segments = self.segments();
        let Some(last) = segments.last().filter(|last| last.base_offset() < self.end) else {
            return Ok(false);
        };
        if lag_ms == i64::MAX {
            return Ok(false);
        }
        let first_ms = last.first_header()?.map_or(-1, |header| header.max_timestamp_ms);
        if first_ms < 0 || first_ms >= now_ms.saturating_sub(lag_ms) {
            return Ok(false);
        }
        self.roll()?;
        Ok(true)
    }
}

/// Completes the swaps that a crash has interrupted in a partition's directory. Returns whether
/// there were any, so that `entries` are no longer what is there.
pub(crate) fn complete(store: &LogStore, dir: &Path, entries: &[DirEntry]) -> io::Result<bool> {
    let is_swap = |entry: &&DirEntry| entry.name.ends_with(SWAP_SUFFIX);
    if !entries.iter().any(|entry| is_swap(&entry)) {
        return Ok(false);
    }
    for entry in entries.iter().filter(is_swap) {
        let Some(base_offset) = log_base(&entry.name, ".log.swap") else { continue };
        let Some(end) = whole_end(store.files(), &dir.join(&entry.name), base_offset)? else {
            // Only a disk that broke its word on a sync leaves this; the old files are the better.
            tracing::error!(dir = %dir.display(), base_offset,
                "a compacted segment is not whole on disk; it is thrown away");
            continue;
        };
        let superseded = |entry: &&DirEntry| {
            let base = log_base(&entry.name, ".log");
            base.is_some_and(|base| base_offset < base && base < end)
        };
        for old in entries.iter().filter(superseded) {
            let base = log_base(&old.name, ".log").unwrap_or(base_offset);
            for kind in KINDS {
                store.files().remove(&dir.join(file_name(base, kind)))?;
            }
        }
        for kind in KINDS {
            let to = dir.join(file_name(base_offset, kind));
            let from = swap_path(dir, base_offset, kind);
            match store.files().rename(&from, &to) {
                // The indexes were renamed before the crash.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        store.files().sync_dir(dir)?;
    }
    Ok(true)
}

fn swap_path(dir: &Path, base_offset: i64, kind: FileKind) -> PathBuf {
    dir.join(file_name(base_offset, kind) + SWAP_SUFFIX)
}

fn log_base(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// Where a segment's file ends; `None` if not all of it is whole.
fn whole_end(files: &dyn Files, path: &Path, base_offset: i64) -> io::Result<Option<i64>> {
    let file = files.open(path, OpenMode::Read)?;
    let range = (0, file.len_bytes()?);
    let mut scanner = Scanner::new(&*file, Depth::Checksums, range, base_offset);
    loop {
        match scanner.step()? {
            Step::Batch(_) => {}
            Step::End => return Ok(Some(scanner.next_offset())),
            Step::Flaw(_) => return Ok(None),
        }
    }
}
