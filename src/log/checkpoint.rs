//! What a partition gives to a checkpoint, and the syncs that must come before it counts.
//!
//! The owner collects, another thread syncs: no owner thread waits for a disk's flush. A
//! checkpoint may be written once its [`SyncWork`] has run without error; from then on recovery
//! scans this partition only from the recovery point.

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

/// Syncs to be done before what was written so far counts as durable. Whoever takes it must run
/// it, as the log does not hand the same work out again, and must treat an error as final.
#[must_use]
#[derive(Default)]
pub struct SyncWork {
    pub(crate) files: Vec<Arc<dyn File>>,
    /// Files that are not open; one that is gone by then was deleted and needs no sync.
    pub(crate) paths: Vec<PathBuf>,
    /// Directories with new or renamed entries, inner ones first.
    pub(crate) dirs: Vec<PathBuf>,
    /// Small files to be replaced whole.
    pub(crate) replace: Vec<(PathBuf, String)>,
}

impl SyncWork {
    /// The sync of one open file.
    pub fn of(file: Arc<dyn File>) -> Self {
        Self { files: vec![file], ..Self::default() }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.paths.is_empty()
            && self.dirs.is_empty()
            && self.replace.is_empty()
    }

    /// Adds the work of another log.
    pub fn merge(&mut self, other: Self) {
        self.files.extend(other.files);
        self.paths.extend(other.paths);
        self.dirs.extend(other.dirs);
        self.replace.extend(other.replace);
    }

    /// Does it all; blocks for as long as the disk takes.
    ///
    /// # Errors
    /// The first failed call. Nothing may be assumed durable then.
    pub fn run(mut self, files: &dyn Files) -> io::Result<()> {
        for file in &self.files {
            file.sync()?;
        }
        for path in &self.paths {
            unless_gone(files.open(path, OpenMode::Read).and_then(|file| file.sync()))?;
        }
        for (path, text) in &self.replace {
            unless_gone(replace_whole(files, path, text.as_bytes()))?;
            self.dirs.extend(path.parent().map(Path::to_path_buf));
        }
        self.dirs.sort_unstable_by(|a, b| b.cmp(a));
        self.dirs.dedup();
        for dir in &self.dirs {
            unless_gone(files.sync_dir(dir))?;
        }
        Ok(())
    }
}

fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Replaces a small file by way of a synced sibling, so that a crash leaves the old or the new.
/// The directory is still to be synced.
fn replace_whole(files: &dyn Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut sibling = path.as_os_str().to_owned();
    sibling.push(".tmp");
    let sibling = PathBuf::from(sibling);
    let file = files.open(&sibling, OpenMode::Write)?;
    file.resize(Resize::Cut(0))?;
    file.write_at(&[IoSlice::new(bytes)], 0)?;
    file.sync()?;
    files.rename(&sibling, path)
}
