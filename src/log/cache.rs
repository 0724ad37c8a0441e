//! Open files of sealed segments, bounded: 10,000 partitions must not exhaust the descriptors.
//!
//! The lock is held to look up and to note, never across a file call. A file that is evicted
//! while a reader has it stays open until that reader lets go.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::store::{File, Files, OpenMode};

/// A segment's number in this process, and which of its files.
pub type FileKey = (u64, FileKind);

/// The files of a segment that are read after it is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    Log,
    OffsetIndex,
    TimeIndex,
}

/// What every partition log of a data directory shares: the file system and the open files.
#[derive(Clone)]
pub struct LogStore {
    files: Arc<dyn Files>,
    open: Arc<OpenFiles>,
}

struct OpenFiles {
    limit: usize,
    clock: AtomicU64,
    segments: AtomicU64,
    by_key: Mutex<FxHashMap<FileKey, Opened>>,
}

struct Opened {
    file: Arc<dyn File>,
    used: u64,
}

impl LogStore {
    /// Keeps at most `max_open_files` (at least 8) files of sealed segments open.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, max_open_files: usize) -> Self {
        let open = OpenFiles {
            limit: max_open_files.max(8),
            clock: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            by_key: Mutex::default(),
        };
        Self { files, open: Arc::new(open) }
    }

    /// The file system, for whoever keeps it.
    #[must_use]
    pub fn files_shared(&self) -> Arc<dyn Files> {
        Arc::clone(&self.files)
    }

    #[must_use]
    pub fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// A number no other segment of this process has.
    pub(crate) fn next_segment(&self) -> u64 {
        self.open.segments.fetch_add(1, Ordering::Relaxed)
    }

    /// The file, if it is open already. Never blocks on a disk.
    pub(crate) fn opened(&self, key: FileKey) -> Option<Arc<dyn File>> {
        let mut by_key = self.open.by_key.lock();
        let opened = by_key.get_mut(&key)?;
        opened.used = self.open.clock.fetch_add(1, Ordering::Relaxed);
        Some(opened.file.clone())
    }

    /// The file, opened for reading if need be.
    pub(crate) fn read_file(
        &self,
        key: FileKey,
        path: impl FnOnce() -> std::path::PathBuf,
    ) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.opened(key) {
            return Ok(file);
        }
        let mode = match key.1 {
            FileKind::Log => OpenMode::Read,
            // Of a sealed segment it is searched in many small reads, and never cut.
            FileKind::OffsetIndex | FileKind::TimeIndex => OpenMode::Map,
        };
        let file = self.files.open(&path(), mode)?;
        self.keep(key, file.clone());
        Ok(file)
    }

    fn keep(&self, key: FileKey, file: Arc<dyn File>) {
        let used = self.open.clock.fetch_add(1, Ordering::Relaxed);
        let mut evicted = Vec::new();
        let mut by_key = self.open.by_key.lock();
        if by_key.len() >= self.open.limit {
            // An eighth at once, so that finding the least used stays cheap per file opened.
            let mut ages: Vec<(u64, FileKey)> =
                by_key.iter().map(|(key, opened)| (opened.used, *key)).collect();
            let count = (self.open.limit / 8).max(1);
            ages.select_nth_unstable_by_key(count - 1, |(used, _)| *used);
            evicted.extend(ages[..count].iter().filter_map(|(_, key)| by_key.remove(key)));
        }
        by_key.insert(key, Opened { file, used });
        drop(by_key);
        // Closing is a system call: outside the lock.
        drop(evicted);
    }

    /// Lets go of a segment's files, as before they are renamed.
    pub(crate) fn forget(&self, segment: u64) {
        let mut by_key = self.open.by_key.lock();
        let kinds = [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex];
        let gone: Vec<_> =
            kinds.into_iter().filter_map(|kind| by_key.remove(&(segment, kind))).collect();
        drop(by_key);
        drop(gone);
    }

    /// How many files of sealed segments are open now.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.open.by_key.lock().len()
    }

    /// Reads a small file whole; `None` if there is none.
    pub(crate) fn read_small(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match self.files.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; usize::try_from(file.len_bytes()?).unwrap_or(0)];
        let count = file.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryFiles;

    #[test]
    fn the_number_of_open_files_is_bounded_and_the_busy_stay() {
        let files = MemoryFiles::new();
        for n in 0..40 {
            files.put(Path::new(&format!("/d/{n}.log")), vec![n]);
        }
        let store = LogStore::new(Arc::new(files), 16);
        let open = |n: u64| {
            let path = || format!("/d/{n}.log").into();
            store.read_file((n, FileKind::Log), path).unwrap()
        };
        for n in 0..40 {
            open(n);
            open(0);
            assert!(store.open_files() <= 16);
        }
        assert!(store.opened((0, FileKind::Log)).is_some());
        assert!(store.opened((1, FileKind::Log)).is_none());
        store.forget(0);
        assert!(store.opened((0, FileKind::Log)).is_none());
    }
}
