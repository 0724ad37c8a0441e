//! Walks the batches of a segment file from a position to an end, and says where and why a walk
//! stops short.
//!
//! Two depths: headers alone (what a read needs to find its batch), or with the checksum over
//! the whole batch (what recovery needs). Reads go through one window, so small batches cost no
//! call each and a batch larger than the window is not held in memory.

use std::io;

use crate::store::File;
use crate::wire::batch::{BatchHeader, HEADER_BYTES};

/// Bytes read at a time when whole batches are read.
const WINDOW_BYTES: usize = 256 << 10;
/// Bytes of a batch before what its length field counts.
const LENGTH_PREFIX_BYTES: u64 = 12;
/// First byte that the checksum covers.
const CHECKED_FROM: usize = 21;

/// How much of each batch is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The header only: is it a batch, in order?
    Headers,
    /// The checksum of the whole batch too.
    Checksums,
}

/// A batch in place.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub header: BatchHeader,
    pub position: u64,
    /// Size in bytes, header included.
    pub size: u64,
}

impl Placed {
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.position + self.size
    }
}

/// Why the bytes at a position are not the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("zeros where a batch should begin")]
    Zeros,
    #[error("the batch is cut short")]
    Short,
    #[error("not a batch header")]
    Header,
    #[error("the batch's offsets do not follow")]
    Offsets,
    #[error("the batch's checksum does not match")]
    Checksum,
    #[error("what is missing before it, here or in the journal, was never committed")]
    Uncommitted,
}

/// One step of a walk.
#[derive(Debug)]
pub enum Step {
    Batch(Placed),
    /// The end was reached with the last batch.
    End,
    Flaw(Flaw),
}

/// A walk over the bytes `[position, end)` of one segment.
pub struct Scanner<'a> {
    file: &'a dyn File,
    depth: Depth,
    position: u64,
    end: u64,
    /// No batch may begin below this offset.
    next_offset: i64,
    /// The checksum does not cover the base offset; a segment's span bounds it at least.
    last_possible: i64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Scanner<'a> {
    /// `next_offset` is the lowest offset the first batch may have; none may be further from it
    /// than a segment spans.
    #[must_use]
    pub fn new(file: &'a dyn File, depth: Depth, range: (u64, u64), next_offset: i64) -> Self {
        let (position, end) = range;
        let last_possible = next_offset.saturating_add(i64::from(i32::MAX));
        let window = Vec::new();
        Self { file, depth, position, end, next_offset, last_possible, window, window_at: 0 }
    }

    /// Where the next batch begins, or the flaw is.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The lowest offset the next batch may have.
    #[must_use]
    pub const fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Takes one step. After a flaw the walk stays where it is.
    ///
    /// # Errors
    /// Those of the disk only.
    pub fn step(&mut self) -> io::Result<Step> {
        let left = self.end.saturating_sub(self.position);
        if left == 0 {
            return Ok(Step::End);
        }
        let mut bytes = [0; HEADER_BYTES];
        let count = HEADER_BYTES.min(usize::try_from(left).unwrap_or(HEADER_BYTES));
        if !self.copy(&mut bytes[..count], self.position)? {
            return Ok(Step::Flaw(Flaw::Short));
        }
        let placed = match self.judge(&bytes, left) {
            Ok(placed) => placed,
            Err(flaw) => return Ok(Step::Flaw(flaw)),
        };
        if self.depth == Depth::Checksums {
            match self.checksum(&bytes, &placed)? {
                None => return Ok(Step::Flaw(Flaw::Short)),
                Some(crc) if crc != placed.header.crc => return Ok(Step::Flaw(Flaw::Checksum)),
                Some(_) => {}
            }
        }
        self.position = placed.end();
        self.next_offset = placed.header.last_offset() + 1;
        Ok(Step::Batch(placed))
    }

    /// `bytes` may end in zeros beyond `left`.
    fn judge(&self, bytes: &[u8; HEADER_BYTES], left: u64) -> Result<Placed, Flaw> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Flaw::Zeros);
        }
        if left < HEADER_BYTES as u64 {
            return Err(Flaw::Short);
        }
        let header = BatchHeader::parse(bytes).map_err(|_| Flaw::Header)?;
        let length = u64::try_from(header.length).map_err(|_| Flaw::Header)?;
        let size = length + LENGTH_PREFIX_BYTES;
        if header.magic != 2 || size < HEADER_BYTES as u64 || header.last_offset_delta < 0 {
            return Err(Flaw::Header);
        }
        if header.base_offset < self.next_offset || header.last_offset() > self.last_possible {
            return Err(Flaw::Offsets);
        }
        if size > left {
            return Err(Flaw::Short);
        }
        Ok(Placed { header, position: self.position, size })
    }

    /// CRC-32C of the batch's checked part; `None` if the file ends within it.
    fn checksum(
        &mut self,
        header: &[u8; HEADER_BYTES],
        placed: &Placed,
    ) -> io::Result<Option<u32>> {
        let mut crc = crc32c::crc32c(&header[CHECKED_FROM..]);
        let mut at = placed.position + HEADER_BYTES as u64;
        while at < placed.end() {
            let piece = self.window(at)?;
            let wanted = usize::try_from(placed.end() - at).unwrap_or(usize::MAX);
            let piece = &piece[..piece.len().min(wanted)];
            if piece.is_empty() {
                return Ok(None);
            }
            crc = crc32c::crc32c_append(crc, piece);
            at += piece.len() as u64;
        }
        Ok(Some(crc))
    }

    /// Fills the buffer from `at`; false if the file ends before.
    fn copy(&mut self, buffer: &mut [u8], at: u64) -> io::Result<bool> {
        if self.depth == Depth::Headers {
            return Ok(self.file.read_at(buffer, at)? == buffer.len());
        }
        let mut done = 0;
        while done < buffer.len() {
            let piece = self.window(at + done as u64)?;
            let count = piece.len().min(buffer.len() - done);
            if count == 0 {
                return Ok(false);
            }
            buffer[done..done + count].copy_from_slice(&piece[..count]);
            done += count;
        }
        Ok(true)
    }

    /// At least one byte from `at` on, unless the walk's range or the file ends there.
    fn window(&mut self, at: u64) -> io::Result<&[u8]> {
        let inside = at >= self.window_at && at < self.window_at + self.window.len() as u64;
        if !inside {
            let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
            self.window.resize(WINDOW_BYTES.min(left), 0);
            self.window_at = at;
            let count = self.file.read_at(&mut self.window, at)?;
            self.window.truncate(count);
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(from..).unwrap_or_default())
    }
}
