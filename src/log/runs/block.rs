//! Blocks of a slice: entries under one checksum, the unit in which a run is read and lost.
//!
//! Little-endian:
//!
//! ```text
//!  0 u32 CRC-32C of 4..length    4 u32 length, this head included
//!  8 u32 entries                12 u32 length of their records
//! 16 i64 first due, ms          24 i64 first ticket
//! 32 entries (entry.rs)
//! ```
//!
//! An entry lies in one block. Blocks end at 64 KiB; only a larger entry makes a larger one.

use std::io;
use std::ops::Range;

use bytes::{Buf, BufMut};

use super::entry::{self, EntryRef};
use crate::delay::key::Key;
use crate::store::File;

/// What a block grows to.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
pub(super) const HEAD_BYTES: usize = 32;

/// A block as its slice's index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first: Key,
    /// In the file.
    pub(super) position: u32,
    pub(super) entries: u32,
    pub(super) record_bytes: u32,
}

/// What the head of the block at `position` says, or `None` if these bytes are not a whole block.
pub(super) fn checked(bytes: &[u8], position: u32) -> Option<Block> {
    let mut head = bytes.get(..HEAD_BYTES)?;
    let (crc, length) = (head.get_u32_le(), head.get_u32_le());
    if length as usize != bytes.len() || crc != crc32c::crc32c(&bytes[4..]) {
        return None;
    }
    let (entries, record_bytes) = (head.get_u32_le(), head.get_u32_le());
    let first = Key { due_ms: head.get_i64_le(), ticket: head.get_i64_le() };
    Some(Block { first, position, entries, record_bytes })
}

/// Gathers the entries of one block.
#[derive(Default)]
pub(super) struct BlockBuilder {
    bytes: Vec<u8>,
    entries: u32,
    record_bytes: usize,
    first: Option<Key>,
    last: Option<Key>,
}

impl BlockBuilder {
    /// Whether an entry with a record of this length has to go into the next block.
    pub(super) fn is_full_for(&self, record_bytes: usize) -> bool {
        /// What the numbers of an entry take at most.
        const NUMBERS: usize = 66;
        self.entries > 0 && self.bytes.len() + record_bytes + NUMBERS > BLOCK_BYTES
    }

    /// Adds an entry, whose key is above that of the last.
    pub(super) fn push(&mut self, entry: &EntryRef<'_>) {
        if self.first.is_none() {
            self.first = Some(entry.key);
            self.bytes.resize(HEAD_BYTES, 0);
        }
        entry.encode(self.last.unwrap_or(entry.key), &mut self.bytes);
        self.last = Some(entry.key);
        self.entries += 1;
        self.record_bytes += entry.record.len();
    }

    /// Appends the finished block to `output`; it will lie at `position` of the file. The builder
    /// is empty again. `None` if it was.
    pub(super) fn finish(&mut self, position: u32, output: &mut Vec<u8>) -> Option<Block> {
        const FITS: &str = "a block has 64 KiB, or one record, whose length is an i32";
        let first = self.first.take()?;
        let block = Block {
            first,
            position,
            entries: self.entries,
            record_bytes: u32::try_from(self.record_bytes).expect(FITS),
        };
        let length = u32::try_from(self.bytes.len()).expect(FITS);
        let mut head = &mut self.bytes[4..HEAD_BYTES];
        head.put_u32_le(length);
        head.put_u32_le(block.entries);
        head.put_u32_le(block.record_bytes);
        head.put_i64_le(first.due_ms);
        head.put_i64_le(first.ticket);
        let crc = crc32c::crc32c(&self.bytes[4..]);
        self.bytes[..4].copy_from_slice(&crc.to_le_bytes());
        output.extend_from_slice(&self.bytes);
        *self = Self { bytes: std::mem::take(&mut self.bytes), ..Self::default() };
        self.bytes.clear();
        Some(block)
    }
}

/// An entry whose record is a range of its block's bytes.
pub(super) type Located = entry::Entry<Range<usize>>;

/// A block in memory, read entry by entry. Its memory is used again for the next one.
pub(super) struct BlockReader {
    bytes: Vec<u8>,
    /// Where the next entry begins.
    at: usize,
    /// Entries that were not taken yet, and the length of their records.
    left: u32,
    left_record_bytes: u64,
    /// Key of the entry taken last; before that, of the block's first.
    before: Key,
    begun: bool,
}

impl BlockReader {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            at: 0,
            left: 0,
            left_record_bytes: 0,
            before: Key::MIN,
            begun: false,
        }
    }

    /// Reads a block of so many bytes; says whether it is what the index says.
    ///
    /// # Errors
    /// The disk's own.
    pub(super) fn load(
        &mut self,
        file: &dyn File,
        block: &Block,
        bytes: usize,
    ) -> io::Result<bool> {
        self.left = 0;
        self.bytes.resize(bytes, 0);
        let read = file.read_at(&mut self.bytes, u64::from(block.position))?;
        let whole = checked(&self.bytes[..read], block.position).as_ref() == Some(block);
        if whole {
            (self.at, self.left) = (HEAD_BYTES, block.entries);
            self.left_record_bytes = block.record_bytes.into();
            (self.before, self.begun) = (block.first, false);
        }
        Ok(whole)
    }

    /// Gives up what can not be taken, if anything: how many entries, and their records' length.
    pub(super) fn take_rest(&mut self) -> Option<(u64, u64)> {
        let left = std::mem::take(&mut self.left);
        (left > 0).then_some((left.into(), self.left_record_bytes))
    }

    /// The next entry. `None` at the end, and where the bytes are no entry above the one before:
    /// then some are left.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Located> {
        if self.left == 0 {
            return None;
        }
        let mut input = &self.bytes[self.at..];
        let taken = entry::take(self.before, &mut input)?;
        if self.begun && taken.key <= self.before {
            return None;
        }
        let end = self.bytes.len() - input.len();
        let located = taken.with(end - taken.record.len()..end);
        (self.at, self.before, self.begun) = (end, located.key, true);
        self.left -= 1;
        self.left_record_bytes = self.left_record_bytes.saturating_sub(located.record.len() as u64);
        Some(located)
    }

    /// The entry with its record; only of the block that was loaded last.
    #[inline]
    pub(super) fn borrow(&self, entry: &Located) -> EntryRef<'_> {
        entry.with(&self.bytes[entry.record.clone()])
    }
}
