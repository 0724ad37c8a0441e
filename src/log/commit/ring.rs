//! The ring: files of one size that are written from front to back and then used again.
//!
//! A file's blocks are reserved when it is made, and written with zeros a stretch ahead of the
//! first lap, because a synced write into blocks that were written before costs a third of one
//! into fresh ones. (All at once would hold commits up for as long, and the broker's first
//! start.) Where the file
//! system takes it, writes bypass the page cache (`O_DIRECT` and `O_DSYNC`: one call per commit);
//! else a plain write and a sync. A commit larger than a file gets a file of its own, which is
//! removed instead of used again. A file that is no longer needed is never cut or cleared: what
//! it holds is recognised as old by its mark.
//!
//! A failed write or sync is final. The kernel reports a lost write once and the next sync
//! succeeds, so nothing is tried again.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Row;
use super::buffer::AlignedBuffer;
use super::frame::{self, FrameSize, Mark};
use super::replay::Replay;
use crate::base::crash_point;
use crate::store::{DIRECT_ALIGN_BYTES, File, Files, OpenMode, Resize};

/// What a new run leaves out of the sequence: more than the frames of one file, of which only the
/// first was looked at.
const RUN_GAP: u64 = 1 << 32;
/// How far ahead a new file's blocks are written.
const PREPARED_BYTES: u64 = 1 << 20;
const ZEROS_BYTES: usize = 64 << 10;

/// How the commit log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitSettings {
    /// Length of one file of the ring; a multiple of [`DIRECT_ALIGN_BYTES`].
    pub file_bytes: u64,
    /// Length of all files together. Past it, commits wait for a release.
    pub max_bytes: u64,
    /// Whether a commit is on stable storage when [`CommitLog::write`] returns, or in the page
    /// cache (`durability=page-cache`).
    pub durable: bool,
}

impl Default for CommitSettings {
    fn default() -> Self {
        Self { file_bytes: 16 << 20, max_bytes: 512 << 20, durable: true }
    }
}

/// Why a commit was not written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written; the same commit may be tried again after a release.
    #[error("the commit log is full until the next checkpoint")]
    Full,
    /// The commit may or may not be on disk. Final: every later write fails too.
    #[error("the commit log failed: {0}")]
    Failed(#[source] Arc<io::Error>),
}

struct RingFile {
    number: u32,
    file: Arc<dyn File>,
    /// Bytes that may be written into it.
    room_bytes: u64,
    /// Up to here its blocks were written before.
    prepared_bytes: u64,
    /// The last sequence in it, once it is full.
    last_sequence: u64,
}

/// The writing side of the commit log; owned by one thread.
pub struct CommitLog {
    files: Arc<dyn Files>,
    dir: PathBuf,
    settings: CommitSettings,
    mode: OpenMode,
    active: Option<RingFile>,
    position: u64,
    full: VecDeque<RingFile>,
    free: Vec<RingFile>,
    last: Mark,
    buffer: AlignedBuffer,
    /// Frames of an earlier run were not released yet.
    unreplayed: bool,
    failure: Option<Arc<io::Error>>,
}

impl CommitLog {
    /// Opens the ring in `dir`, creating it if missing, and finds the commits after the last
    /// checkpoint's mark; `None` if there is no checkpoint to believe, which replays whatever the
    /// ring still holds. `run` is this start's random number.
    ///
    /// # Errors
    /// The disk's own.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        settings: CommitSettings,
        after: Option<Mark>,
        run: u64,
    ) -> io::Result<(Self, Replay)> {
        files.create_dir(dir)?;
        let replay = Replay::open(Arc::clone(&files), dir, after)?;
        let last = Mark { run, sequence: replay.newest_sequence() + RUN_GAP };
        let mut log = Self {
            mode: OpenMode::Write,
            files,
            dir: dir.to_owned(),
            settings,
            active: None,
            position: 0,
            full: VecDeque::new(),
            free: Vec::new(),
            last,
            buffer: AlignedBuffer::default(),
            unreplayed: true,
            failure: None,
        };
        for (number, len_bytes) in ring_files(&*log.files, dir)? {
            let file = log.open_file(number)?;
            let room_bytes = log.settings.file_bytes.max(len_bytes);
            let prepared_bytes = len_bytes / DIRECT_ALIGN_BYTES as u64 * DIRECT_ALIGN_BYTES as u64;
            let last_sequence = log.last.sequence;
            log.full.push_back(RingFile {
                number,
                file,
                room_bytes,
                prepared_bytes,
                last_sequence,
            });
        }
        if log.full.is_empty() {
            let first = log.create_file(log.settings.file_bytes)?;
            log.free.push(first);
        } else {
            // A crash may have come between the making of a file and the sync of its name.
            log.files.sync_dir(dir)?;
        }
        tracing::info!(
            dir = %dir.display(),
            direct = log.mode == OpenMode::Direct,
            durable = log.settings.durable,
            "commit log open"
        );
        Ok((log, replay))
    }

    /// The mark of the last commit, or the one before the first of this run.
    #[must_use]
    pub const fn last(&self) -> Mark {
        self.last
    }

    /// Bytes of the ring that wait for a release.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.position + self.full.iter().map(|file| file.room_bytes).sum::<u64>()
    }

    #[must_use]
    pub const fn settings(&self) -> &CommitSettings {
        &self.settings
    }

    /// Writes one commit with all these rows and returns its sequence. It is then on stable
    /// storage (in the page cache, if the log is not durable).
    ///
    /// # Errors
    /// [`CommitError::Full`] before anything was written, or [`CommitError::Failed`] for good.
    pub fn write<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a Row> + Clone,
    ) -> Result<u64, CommitError> {
        if let Some(failure) = &self.failure {
            return Err(CommitError::Failed(Arc::clone(failure)));
        }
        assert!(!self.unreplayed, "what was replayed is released before the first write");
        let size = FrameSize::of(rows.clone());
        let len = size.padded_bytes();
        let written = self.make_room(len as u64).and_then(|room| {
            if room { self.write_frame(size, len, rows).map(Some) } else { Ok(None) }
        });
        match written {
            Ok(Some(sequence)) => Ok(sequence),
            Ok(None) => Err(CommitError::Full),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Ends the log: it, or a segment that its next commit relies on, could not be synced.
    #[must_use]
    pub fn fail(&mut self, error: io::Error) -> CommitError {
        let failure = Arc::clone(self.failure.get_or_insert_with(|| Arc::new(error)));
        CommitError::Failed(failure)
    }

    fn write_frame<'a>(
        &mut self,
        size: FrameSize,
        len: usize,
        rows: impl Iterator<Item = &'a Row>,
    ) -> io::Result<u64> {
        let mark = self.last.next();
        let frame = self.buffer.slice(len);
        frame::encode(mark, size, rows, frame);
        let active = self.active.as_ref().expect("there is room, so there is a file");
        active.file.write_at(&[IoSlice::new(frame)], self.position)?;
        crash_point::pass("commit-unsynced");
        if self.settings.durable && self.mode == OpenMode::Write {
            active.file.sync()?;
        }
        self.position += len as u64;
        self.last = mark;
        Ok(mark.sequence)
    }

    /// Frees every file whose commits are all at or below `sequence`: their batches are on stable
    /// storage in their segments, and a checkpoint that says so is too.
    pub fn release(&mut self, sequence: u64) {
        while self.full.front().is_some_and(|file| file.last_sequence <= sequence) {
            let Some(file) = self.full.pop_front() else { break };
            self.recycle(file);
        }
        self.unreplayed = !self.full.is_empty() && self.unreplayed;
        if self.position > 0 && self.last.sequence <= sequence {
            self.position = 0;
            if let Some(active) = self.active.take() {
                self.recycle(active);
            }
        }
    }

    fn recycle(&mut self, file: RingFile) {
        crash_point::pass("recycle");
        let others = self.full.len() + self.free.len() + usize::from(self.active.is_some());
        let kept_bytes = (others as u64 + 1) * self.settings.file_bytes;
        let regular = file.room_bytes == self.settings.file_bytes;
        if regular && (others == 0 || kept_bytes <= self.settings.max_bytes) {
            self.free.push(file);
        } else if let Err(error) = self.files.remove(&path_of(&self.dir, file.number)) {
            tracing::warn!(file = file.number, %error, "a commit file could not be removed");
        }
    }

    /// Makes the active file one with `len` bytes of room that were written before; false if there
    /// are none to be had now.
    fn make_room(&mut self, len: u64) -> io::Result<bool> {
        let fits = |file: &RingFile| self.position + len <= file.room_bytes;
        if !self.active.as_ref().is_some_and(fits) {
            let Some(next) = self.next_file(len)? else { return Ok(false) };
            crash_point::pass("commit-next-file");
            if let Some(mut last) = self.active.replace(next) {
                last.last_sequence = self.last.sequence;
                self.full.push_back(last);
            }
            self.position = 0;
        }
        Ok(self.unless_full(Self::prepare, len)?.is_some())
    }

    fn next_file(&mut self, len: u64) -> io::Result<Option<RingFile>> {
        if len <= self.settings.file_bytes
            && let Some(file) = self.free.pop()
        {
            return Ok(Some(file));
        }
        let room_bytes = self.settings.file_bytes.max(len);
        if self.in_use() && self.used_bytes() + room_bytes > self.settings.max_bytes {
            return Ok(None);
        }
        self.unless_full(Self::create_file, room_bytes)
    }

    fn in_use(&self) -> bool {
        !self.full.is_empty() || self.position > 0
    }

    /// `None` where the disk is full, but what the ring holds will be released.
    fn unless_full<T>(
        &mut self,
        grow: impl FnOnce(&mut Self, u64) -> io::Result<T>,
        len: u64,
    ) -> io::Result<Option<T>> {
        match grow(self, len) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.in_use() => Ok(None),
            other => other.map(Some),
        }
    }

    fn create_file(&mut self, room_bytes: u64) -> io::Result<RingFile> {
        let all = self.full.iter().chain(&self.free).chain(&self.active);
        let number = all.map(|file| file.number + 1).max().unwrap_or(0);
        let file = self.open_file(number)?;
        let reserved = file.resize(Resize::Reserve(room_bytes));
        if let Err(error) = reserved.and_then(|()| self.files.sync_dir(&self.dir)) {
            drop(self.files.remove(&path_of(&self.dir, number)));
            return Err(error);
        }
        Ok(RingFile { number, file, room_bytes, prepared_bytes: 0, last_sequence: 0 })
    }

    /// Sees to it that the next `len` bytes of the active file were written before.
    fn prepare(&mut self, len: u64) -> io::Result<()> {
        let end = self.position + len;
        let active = self.active.as_mut().expect("there is room, so there is a file");
        if !self.settings.durable || end <= active.prepared_bytes {
            return Ok(());
        }
        let goal = (end + PREPARED_BYTES).min(active.room_bytes);
        let missing = usize::try_from(goal - active.prepared_bytes).map_err(io::Error::other)?;
        let mut zeros = AlignedBuffer::default();
        let zeros = &*zeros.slice(ZEROS_BYTES);
        let slices: Vec<_> = (0..missing)
            .step_by(ZEROS_BYTES)
            .map(|from| IoSlice::new(&zeros[..ZEROS_BYTES.min(missing - from)]))
            .collect();
        active.file.write_at(&slices, active.prepared_bytes)?;
        active.prepared_bytes = goal;
        Ok(())
    }

    /// Opens a file of the ring, past the page cache if that is wanted and possible.
    fn open_file(&mut self, number: u32) -> io::Result<Arc<dyn File>> {
        let path = path_of(&self.dir, number);
        if self.settings.durable {
            match self.files.open(&path, OpenMode::Direct) {
                Ok(file) => {
                    self.mode = OpenMode::Direct;
                    return Ok(file);
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.mode = OpenMode::Write;
                }
                Err(error) => return Err(error),
            }
        }
        self.files.open(&path, OpenMode::Write)
    }
}

pub(super) fn path_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(number.to_string())
}

/// Number and length of every file of the ring; other names are not ours and left alone.
pub(super) fn ring_files(files: &dyn Files, dir: &Path) -> io::Result<Vec<(u32, u64)>> {
    let entries = files.list(dir)?;
    let numbered = entries.iter().filter_map(|entry| {
        let number = entry.name.parse::<u32>().ok().filter(|n| n.to_string() == entry.name)?;
        (!entry.is_dir).then_some((number, entry.len_bytes))
    });
    Ok(numbered.collect())
}
