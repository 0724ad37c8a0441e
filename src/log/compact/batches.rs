//! The batches of a sealed segment in order, whole and with their checksums verified, through one
//! buffer that grows to the largest batch.

use std::io;

use super::CompactError;
use crate::store::File;
use crate::wire::batch::{BatchHeader, CRC_START, HEADER_BYTES};
use crate::wire::crc;

/// Bytes read at a time. Kafka's `log.cleaner.io.buffer.size`.
const READ_BYTES: usize = 512 << 10;

/// One batch.
pub(super) struct Batch<'a> {
    pub(super) header: BatchHeader,
    pub(super) bytes: &'a [u8],
    pub(super) position: u64,
}

/// See the module's head.
pub(super) struct Batches<'a> {
    file: &'a dyn File,
    segment: i64,
    /// Where in the file the next batch begins.
    position: u64,
    end: u64,
    /// No batch may begin below.
    next_offset: i64,
    buffer: Vec<u8>,
    /// What of the buffer was handed over.
    used: usize,
}

impl<'a> Batches<'a> {
    /// The batches in the bytes `range` of a segment.
    pub(super) fn new(file: &'a dyn File, segment: i64, range: (u64, u64)) -> Self {
        let (position, end) = range;
        let buffer = Vec::new();
        Self { file, segment, position, end, next_offset: segment, buffer, used: 0 }
    }

    /// The next batch; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Batch<'_>>, CompactError> {
        if self.position >= self.end {
            return Ok(None);
        }
        self.fill(HEADER_BYTES)?;
        let header = BatchHeader::parse(&self.buffer[self.used..]).map_err(|e| self.damaged(e))?;
        if header.base_offset < self.next_offset || header.last_offset_delta < 0 {
            return Err(self.damaged("its offsets do not follow"));
        }
        let size = header.total_bytes();
        self.fill(size)?;
        let (position, start) = (self.position, self.used);
        if crc::crc32c(&self.buffer[start + CRC_START..start + size]) != header.crc {
            return Err(self.damaged("its checksum does not match"));
        }
        self.position += size as u64;
        self.used += size;
        self.next_offset = header.last_offset() + 1;
        Ok(Some(Batch { header, bytes: &self.buffer[start..start + size], position }))
    }

    /// Makes the buffer hold this many bytes of the next batch.
    fn fill(&mut self, bytes: usize) -> Result<(), CompactError> {
        let held = self.buffer.len() - self.used;
        if held >= bytes {
            return Ok(());
        }
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        if bytes > left {
            return Err(self.damaged("it is cut short"));
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.resize(bytes.max(READ_BYTES).min(left), 0);
        let count = self.file.read_at(&mut self.buffer[held..], self.position + held as u64)?;
        self.buffer.truncate(held + count);
        if self.buffer.len() < bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    fn damaged(&self, why: impl ToString) -> CompactError {
        CompactError::damaged(self.segment, self.position, why)
    }
}
