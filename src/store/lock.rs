//! The lock of a data directory: one broker at a time.
//!
//! An advisory `flock` on `<data dir>/.lock`, held as long as the value lives and released by the
//! kernel however the process ends, so a crash leaves nothing to clean up. The file holds the
//! owner's process id for the message that a second broker prints.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

const FILE_NAME: &str = ".lock";

/// A data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "the data directory {} is in use by process {owner}; stop that broker, or give this one its own with --data-dir DIR",
        dir.display()
    )]
    Held { dir: PathBuf, owner: String },
    #[error("the data directory {} can't be locked: {source}", dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

/// Holds a data directory until dropped.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Locks the directory, which is created if missing.
    ///
    /// # Errors
    /// If another process holds it, or the file system fails.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { dir: dir.into(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(FILE_NAME))
            .map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::Held { dir: dir.into(), owner: owner(&mut file) });
            }
            Err(error) => return Err(failed(error.into())),
        }
        write_owner(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The process id in the file, as long as it is one.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(20).read_to_string(&mut text);
    let pid = text.trim();
    match read {
        Ok(_) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => pid.into(),
        _ => "unknown".into(),
    }
}

fn write_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_broker_is_told_who_has_the_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("data");
        let held = DirLock::acquire(&dir).unwrap();
        // A lock belongs to the opened file, so a second one in this process is refused as well.
        let error = DirLock::acquire(&dir).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, LockError::Held { .. }));
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(text.contains(dir.to_str().unwrap()) && !text.contains('\n'), "{text}");
        drop(held);
        DirLock::acquire(&dir).unwrap();
    }

    #[test]
    fn what_a_crash_left_in_the_file_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "999999999\nand more").unwrap();
        let _held = DirLock::acquire(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
    }
}
