//! [`Files`] on the machine's own file system, by positioned system calls.
//!
//! Reads and writes loop over interruptions and short counts, so callers see all or an error. A
//! sync is never retried: the kernel reports a lost write once and forgets it. Descriptors close
//! on exec. The alternative of one cursor per file behind a lock was not taken: readers and the
//! writer share a descriptor without any lock.

use std::fs;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustix::fs::{FallocateFlags, FsWord, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use smallvec::SmallVec;

use super::{DirEntry, File, Files, OpenMode, Resize, mapped};

/// The kernel takes at most this many slices in one vectored write (`IOV_MAX`).
const SLICES_PER_WRITE: usize = 1024;

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalFiles;

impl Files for LocalFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let flags = match mode {
            OpenMode::Read | OpenMode::Map => OFlags::RDONLY,
            OpenMode::Write => OFlags::RDWR | OFlags::CREATE,
            OpenMode::Direct => OFlags::RDWR | OFlags::CREATE | OFlags::DIRECT | OFlags::DSYNC,
        };
        let opened = loop {
            match rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644)) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        match opened {
            Ok(descriptor) if mode == OpenMode::Map => Ok(match mapped::map(&descriptor)? {
                Some(map) => Arc::new(map),
                None => Arc::new(LocalFile(descriptor)),
            }),
            Ok(descriptor) => Ok(Arc::new(LocalFile(descriptor))),
            Err(Errno::INVAL) if mode == OpenMode::Direct => Err(ErrorKind::Unsupported.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            // An entry may vanish between the listing and the look at it.
            let Ok(metadata) = entry.metadata() else { continue };
            let is_dir = metadata.is_dir();
            listed.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_dir,
                len_bytes: if is_dir { 0 } else { metadata.len() },
            });
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::fsync(rustix::fs::open(dir, flags, Mode::empty())?)?)
    }
}

struct LocalFile(OwnedFd);

impl File for LocalFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match rustix::io::pread(&self.0, &mut buffer[done..], position + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut position = position;
        for group in slices.chunks(SLICES_PER_WRITE) {
            let total: usize = group.iter().map(|slice| slice.len()).sum();
            let count = write_some(&self.0, group, position)?;
            if count < total {
                write_rest(&self.0, group, count, position)?;
            }
            position += total as u64;
        }
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(u64::try_from(rustix::fs::fstat(&self.0)?.st_size).unwrap_or(0))
    }

    fn resize(&self, change: Resize) -> io::Result<()> {
        match change {
            Resize::Cut(len_bytes) => Ok(rustix::fs::ftruncate(&self.0, len_bytes)?),
            Resize::Reserve(len_bytes) => {
                let from = self.len_bytes()?;
                if len_bytes <= from {
                    return Ok(());
                }
                let keep = FallocateFlags::KEEP_SIZE;
                match rustix::fs::fallocate(&self.0, keep, from, len_bytes - from) {
                    Err(Errno::OPNOTSUPP) => Ok(()),
                    other => Ok(other?),
                }
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn sync_volume(&self) -> io::Result<()> {
        if !reports_lost_writes(rustix::fs::fstatfs(&self.0)?.f_type) {
            return Err(ErrorKind::Unsupported.into());
        }
        Ok(rustix::fs::syncfs(&self.0)?)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// Whether `syncfs` fails if a write of this kind of file system was lost since the descriptor
/// was opened: since Linux 5.8, where the file system is one on a disk of its own.
fn reports_lost_writes(file_system: FsWord) -> bool {
    const EXT4: FsWord = 0xef53;
    const XFS: FsWord = 0x5846_5342;
    const BTRFS: FsWord = 0x9123_683e;
    static KERNEL: LazyLock<bool> = LazyLock::new(|| {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let (major, minor) = (numbers.next(), numbers.next());
        matches!((major, minor), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 8))
    });
    *KERNEL && [EXT4, XFS, BTRFS].contains(&file_system)
}

/// One vectored write; at least one byte, unless there is none to write.
fn write_some(file: &OwnedFd, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
    loop {
        match rustix::io::pwritev(file, slices, position) {
            Ok(0) if slices.iter().any(|slice| !slice.is_empty()) => {
                return Err(ErrorKind::WriteZero.into());
            }
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Goes on after a short write of `done` bytes.
fn write_rest(
    file: &OwnedFd,
    slices: &[IoSlice<'_>],
    done: usize,
    position: u64,
) -> io::Result<()> {
    let mut rest: SmallVec<[IoSlice<'_>; 8]> = slices.iter().copied().collect();
    let mut rest = rest.as_mut_slice();
    let mut position = position + done as u64;
    IoSlice::advance_slices(&mut rest, done);
    while !rest.is_empty() {
        let count = write_some(file, rest, position)?;
        IoSlice::advance_slices(&mut rest, count);
        position += count as u64;
    }
    Ok(())
}

/// Fills `buffer` from the page cache alone: `None` if that would wait for the disk, so an async
/// caller can try it in place and go to a blocking thread if need be. A file without a
/// descriptor (simulated) never waits. A short count, as at the end of the file, is an
/// `UnexpectedEof`.
pub fn read_cached(file: &dyn File, buffer: &mut [u8], position: u64) -> Option<io::Result<()>> {
    let wanted = buffer.len();
    let count = match file.descriptor() {
        None => file.read_at(buffer, position),
        Some(descriptor) => {
            let slices = &mut [IoSliceMut::new(buffer)];
            match rustix::io::preadv2(descriptor, slices, position, ReadWriteFlags::NOWAIT) {
                // Partly cached, or a file system that cannot say: let a blocking read decide.
                Ok(count) if count < wanted => return None,
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR | Errno::NOSYS) => return None,
                other => other.map_err(io::Error::from),
            }
        }
    };
    Some(count.and_then(|count| {
        if count == wanted { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }))
}

/// Room of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// What an ordinary process may still fill.
    pub usable_bytes: u64,
}

/// Room of the volume that holds `path`.
///
/// # Errors
/// The file system's own.
pub fn space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { total_bytes: bytes(stat.f_blocks), usable_bytes: bytes(stat.f_bavail) })
}

/// Lets the page cache forget what it holds of a file from `position` on and need not write, so
/// that the next read is of the disk: after a failed sync the cache shows bytes that were never
/// written. Best effort.
pub fn forget_cached(file: &dyn File, position: u64) {
    if let Some(descriptor) = file.descriptor() {
        // Advice: a refusal changes nothing but what is read.
        let _ = rustix::fs::fadvise(descriptor, position, None, rustix::fs::Advice::DontNeed);
    }
}
