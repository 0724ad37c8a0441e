//! A file as memory: small reads of it cost no system call.
//!
//! Only for files that are complete: an index of a sealed segment is written once, replaced by
//! rename and removed, never cut. The reads of a binary search cost 0.2 us each by system calls
//! and next to nothing here. Nothing is written through a map: on a full disk that ends the
//! process.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};

use memmap2::Mmap;

use super::{File, Resize};

/// A file's bytes as they were when it was opened.
pub(super) struct MappedFile(Mmap);

/// Maps a whole file; `None` if it is empty, which can't be mapped.
#[expect(unsafe_code, reason = "the only map of files; see SAFETY")]
pub(super) fn map(file: &OwnedFd) -> io::Result<Option<MappedFile>> {
    if rustix::fs::fstat(file)?.st_size == 0 {
        return Ok(None);
    }
    // SAFETY: the bytes are only read, and by copies (`read_at`), so no reference into the map
    // outlives a call. Nobody cuts or overwrites a file that is opened this way (`OpenMode::Map`):
    // such files are replaced by rename, which leaves this one whole.
    let map = unsafe { Mmap::map(file) }?;
    Ok(Some(MappedFile(map)))
}

impl File for MappedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let from = usize::try_from(position).unwrap_or(usize::MAX);
        let rest = self.0.get(from..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn resize(&self, _: Resize) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
