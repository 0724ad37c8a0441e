//! Reading without waiting: the page cache or nothing.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;

use crate::store::local::read_cached;
use crate::store::{File, Resize};

/// A file that reads from the page cache or not at all: `WouldBlock` stands for "ask again on a
/// thread that may wait".
pub(crate) struct CachedOnly<'a>(pub(crate) &'a dyn File);

impl File for CachedOnly<'_> {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        match read_cached(self.0, buffer, position) {
            Some(read) => read.map(|()| buffer.len()),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Err(ErrorKind::Unsupported.into())
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
