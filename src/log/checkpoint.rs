//! What a partition gives to a checkpoint, and the syncs that must come before it counts.
//!
//! The owner collects, another thread syncs: no owner thread waits for a disk's flush. A
//! checkpoint may be written once its [`SyncWork`] has run without error; from then on recovery
//! scans this partition only from the recovery point.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::producers::ProducerState;
use crate::base::ids::TopicPartition;
use crate::store::{File, Files, OpenMode, Resize};

/// One partition's part of the checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCheckpoint {
    pub tp: TopicPartition,
    /// Below this offset everything is on stable storage: the log end at that moment.
    pub recovery_point: i64,
    pub log_start: i64,
    /// All producers as of the recovery point, by rising id.
    pub producers: Vec<ProducerState>,
}

/// Small files that are to be replaced whole, with their new text.
pub type Replacements = BTreeMap<PathBuf, String>;

/// Syncs to be done before what was written so far counts as durable. Whoever takes it must run
/// it, as the log does not hand the same work out again, and must treat an error as final.
#[must_use]
#[derive(Default)]
pub struct SyncWork {
    pub(crate) files: Vec<Arc<dyn File>>,
    /// Files that are not open; one that is gone by then was deleted and needs no sync.
    pub(crate) paths: Vec<PathBuf>,
    /// Directories with new or renamed entries.
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) replace: Replacements,
}

/// Something to be made durable.
pub enum Target {
    File(Arc<dyn File>),
    /// A file, or nothing if it is gone.
    Path(PathBuf),
    /// A directory's entries, or nothing if it is gone.
    Dir(PathBuf),
}

impl Target {
    /// # Errors
    /// The disk's own; final.
    pub fn sync(&self, files: &dyn Files) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync(),
            Self::Path(path) => {
                unless_gone(files.open(path, OpenMode::Read).and_then(|file| file.sync())).map(drop)
            }
            Self::Dir(dir) => unless_gone(files.sync_dir(dir)).map(drop),
        }
    }
}

impl SyncWork {
    /// The sync of one open file.
    pub fn of(file: Arc<dyn File>) -> Self {
        Self { files: vec![file], ..Self::default() }
    }

    /// What an earlier [`SyncWork::run_by`] had no room for.
    pub fn owing(replace: Replacements) -> Self {
        Self { replace, ..Self::default() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.paths.is_empty()
            && self.dirs.is_empty()
            && self.replace.is_empty()
    }

    /// Files and directories in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.len() + self.paths.len() + self.dirs.len() + self.replace.len()
    }

    /// Adds the work of another log, or newer work of the same.
    pub fn merge(&mut self, other: Self) {
        self.files.extend(other.files);
        self.paths.extend(other.paths);
        self.dirs.extend(other.dirs);
        self.replace.extend(other.replace);
    }

    /// Does it all, one after the other; blocks for as long as the disk takes.
    ///
    /// # Errors
    /// The first failed call. Nothing may be assumed durable then.
    pub fn run(self, files: &dyn Files) -> io::Result<()> {
        let unwritten =
            self.run_by(files, |targets| targets.iter().try_for_each(|target| target.sync(files)))?;
        if unwritten.is_empty() { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
    }

    /// As [`SyncWork::run`], by a way of syncing many targets. Returns the files for which the
    /// disk had no room: they stand as they were, and all else is durable.
    ///
    /// # Errors
    /// As [`SyncWork::run`].
    pub fn run_by(
        self,
        files: &dyn Files,
        sync: impl Fn(Vec<Target>) -> io::Result<()>,
    ) -> io::Result<Replacements> {
        let mut unwritten = Replacements::new();
        let mut written = Vec::new();
        let mut targets: Vec<_> = self.files.into_iter().map(Target::File).collect();
        for (path, text) in self.replace {
            match unless_gone(write_sibling(files, &path, &text)) {
                Ok(Some(file)) => {
                    targets.push(Target::File(file));
                    written.push((path, text));
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    unwritten.insert(path, text);
                }
                Err(error) => return Err(error),
            }
        }
        targets.extend(self.paths.into_iter().map(Target::Path));
        let mut dirs = self.dirs;
        if written.is_empty() {
            targets.extend(unique(dirs).map(Target::Dir));
            sync(targets)?;
            return Ok(unwritten);
        }
        sync(targets)?;
        for (path, text) in written {
            match unless_gone(files.rename(&sibling(&path), &path)) {
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    unwritten.insert(path, text);
                }
                renamed => {
                    renamed?;
                    dirs.extend(path.parent().map(Path::to_path_buf));
                }
            }
        }
        sync(unique(dirs).map(Target::Dir).collect())?;
        Ok(unwritten)
    }
}

fn unique(mut dirs: Vec<PathBuf>) -> impl Iterator<Item = PathBuf> {
    // Inner ones first.
    dirs.sort_unstable_by(|a, b| b.cmp(a));
    dirs.dedup();
    dirs.into_iter()
}

/// `None` if what was to be worked on is gone: it was deleted.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn sibling(path: &Path) -> PathBuf {
    let mut sibling = path.as_os_str().to_owned();
    sibling.push(".tmp");
    sibling.into()
}

/// Writes what will take a small file's place, so that a crash leaves the old or the new: it is
/// synced before it is renamed, and the directory after.
fn write_sibling(files: &dyn Files, path: &Path, text: &str) -> io::Result<Arc<dyn File>> {
    let file = files.open(&sibling(path), OpenMode::Write)?;
    file.resize(Resize::Cut(0))?;
    file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
    Ok(file)
}
