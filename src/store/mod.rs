//! Rank 1: bytes at rest. Two seams of a few methods each, so that tests and the simulator can
//! implement them to fail, tear, reorder and count.
//!
//! [`Files`] and [`File`] are the file system; [`Meta`] is a small revisioned key-value store
//! with compare-and-transact (an embedded store on one node, etcd in a cluster).

pub mod local;
pub mod lock;
mod mapped;
pub mod memory;
pub mod meta;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; reads only. A directory can be opened too, for [`File::sync_volume`].
    Read,
    /// As `Read`, mapped into memory where that can be: for many small reads of a file that nobody
    /// cuts or overwrites while it is open.
    Map,
    /// Created if missing; reads and writes through the page cache.
    Write,
    /// Created if missing; every write bypasses the page cache and is on stable storage when it
    /// returns (`O_DIRECT` and `O_DSYNC`). Positions, lengths and buffers must be multiples of
    /// [`DIRECT_ALIGN_BYTES`]. Fails with `Unsupported` where the file system refuses it.
    Direct,
}

/// Alignment of positions, lengths and memory for [`OpenMode::Direct`].
pub const DIRECT_ALIGN_BYTES: usize = 4096;

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    /// File length in bytes, 0 for directories.
    pub len_bytes: u64,
}

/// A file system, rooted wherever the caller's paths point.
pub trait Files: Send + Sync {
    /// # Errors
    /// `NotFound` in [`OpenMode::Read`], `Unsupported` in [`OpenMode::Direct`], or the disk's own.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Entries of a directory, sorted by name; empty if the directory does not exist.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Creates a directory and its parents; fine if it exists.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Atomically gives a file or directory another name, replacing a file of that name. Durable
    /// only after [`Files::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, or a directory with everything in it; fine if it does not exist.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in this directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// What [`File::resize`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Sets the length, cutting what lies beyond.
    Cut(u64),
    /// Reserves disk blocks up to this length without changing the file's length, so that a full
    /// disk shows here and not in a later write. Best effort where unsupported.
    Reserve(u64),
}

/// An open file. All methods take a position; there is no cursor to share.
pub trait File: Send + Sync {
    /// Reads until the buffer is full or the file ends; returns the bytes read.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all slices, one after the other, from `position` on.
    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len_bytes(&self) -> io::Result<u64>;
    fn resize(&self, change: Resize) -> io::Result<()>;
    /// Makes the file's bytes and length durable (fdatasync). After an error nothing may be
    /// assumed about what was written since the last success, and the call must not be retried.
    fn sync(&self) -> io::Result<()>;
    /// As [`File::sync`], of everything that was done so far in the file system that holds this
    /// file, names and other programs' files included: what costs least where many files wait.
    /// `Unsupported` where it might not report each write that was lost since this was opened.
    fn sync_volume(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The descriptor, for system calls that move bytes without a copy; `None` in a simulation.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// One key's value and the revision at which it was last written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    pub value: Vec<u8>,
    pub revision: u64,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaWrite {
    Put(String, Vec<u8>),
    Delete(String),
}

/// A condition of a transaction: the key's revision now (`None`: the key must not exist).
pub type MetaExpect = (String, Option<u64>);

/// Outcome of [`Meta::transact`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transacted {
    /// All writes are durable at this revision.
    Done(u64),
    /// An expectation did not hold; nothing was written.
    Conflict,
}

/// Cluster metadata: topics, configs, producer-id blocks, log start offsets. Blocking calls:
/// never from an async thread.
pub trait Meta: Send + Sync {
    fn get(&self, key: &str) -> io::Result<Option<Versioned>>;
    /// All pairs whose key begins with `prefix`, in key order.
    fn scan(&self, prefix: &str) -> io::Result<Vec<(String, Versioned)>>;
    /// Applies all writes, durably and at one revision, if every expectation holds.
    fn transact(&self, expect: &[MetaExpect], writes: &[MetaWrite]) -> io::Result<Transacted>;
}
