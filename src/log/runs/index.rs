//! The sparse index at the end of a slice `<id>-<slice>.run`, behind its blocks.
//!
//! Little-endian:
//!
//! ```text
//! blocks (block.rs), one after the other
//! index, 28 bytes per block:
//!    0 i64 first due, ms           8 i64 first ticket
//!   16 u32 position in the file   20 u32 entries           24 u32 length of their records
//! footer, 32 bytes:
//!    0 u32 magic 0x53524c4b ("KLRS")   4 u16 version = 1    6 u16 0
//!    8 u64 run   16 u32 slice   20 u32 blocks   24 u32 CRC of the index   28 u32 CRC of 0..28
//! ```
//!
//! The index is derived: if it is damaged it is made again from the blocks, so that a flipped bit
//! never costs more than the block it is in.

use std::io;

use bytes::{Buf, BufMut};

use super::block::{self, Block};
use super::meta::{RunId, SliceMeta};
use crate::delay::key::Key;
use crate::store::File;

/// A slice takes no further block once it is this long.
pub(super) const SLICE_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: usize = 28;
const FOOTER_BYTES: usize = 32;
const MAGIC: u32 = u32::from_le_bytes(*b"KLRS");
const VERSION: u16 = 1;

/// The blocks of a slice: 32 bytes of memory for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) blocks: Vec<Block>,
    /// Where the last block ends.
    pub(super) end: u32,
}

impl Index {
    /// Bytes of block `number` in the file.
    pub(super) fn length(&self, number: usize) -> usize {
        let end = self.blocks.get(number + 1).map_or(self.end, |next| next.position);
        (end - self.blocks[number].position) as usize
    }

    /// The block that holds `key`, if this slice does.
    pub(super) fn block_of(&self, key: Key) -> Option<usize> {
        self.blocks.partition_point(|block| block.first <= key).checked_sub(1)
    }

    /// What the slice had and the index has not: entries, and the length of their records. An
    /// index made again ends where the blocks are damaged.
    pub(super) fn missing(&self, slice: &SliceMeta) -> Option<(u64, u64)> {
        let (mut entries, mut record_bytes) = (u64::from(slice.entries), slice.record_bytes);
        for block in &self.blocks {
            entries = entries.saturating_sub(block.entries.into());
            record_bytes = record_bytes.saturating_sub(block.record_bytes.into());
        }
        (entries > 0).then_some((entries, record_bytes))
    }

    /// Index and footer as they follow the blocks.
    pub(super) fn encode(&self, run: RunId, slice: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.blocks.len() * BLOCK_BYTES + FOOTER_BYTES);
        for block in &self.blocks {
            bytes.put_i64_le(block.first.due_ms);
            bytes.put_i64_le(block.first.ticket);
            bytes.put_u32_le(block.position);
            bytes.put_u32_le(block.entries);
            bytes.put_u32_le(block.record_bytes);
        }
        let index_crc = crc32c::crc32c(&bytes);
        let footer = bytes.len();
        bytes.put_u32_le(MAGIC);
        bytes.put_u16_le(VERSION);
        bytes.put_u16_le(0);
        bytes.put_u64_le(run);
        bytes.put_u32_le(slice);
        bytes.put_u32_le(u32::try_from(self.blocks.len()).expect("positions are u32"));
        bytes.put_u32_le(index_crc);
        let crc = crc32c::crc32c(&bytes[footer..]);
        bytes.put_u32_le(crc);
        bytes
    }

    /// Reads the index of a slice, or makes it again from the blocks up to the first that is not
    /// whole.
    ///
    /// # Errors
    /// The disk's own; damage is none.
    pub(super) fn load(file: &dyn File, run: RunId, slice: &SliceMeta) -> io::Result<Self> {
        match Self::read(file, run, slice)? {
            Some(index) => Ok(index),
            None => Self::gather(file),
        }
    }

    /// `None` if it is damaged.
    fn read(file: &dyn File, run: RunId, slice: &SliceMeta) -> io::Result<Option<Self>> {
        let mut footer = [0; FOOTER_BYTES];
        let Some(footer_at) = slice.file_bytes.checked_sub(FOOTER_BYTES as u64) else {
            return Ok(None);
        };
        if file.read_at(&mut footer, footer_at)? < FOOTER_BYTES {
            return Ok(None);
        }
        let Some((blocks, index_crc)) = check_footer(&footer, run, slice.number) else {
            return Ok(None);
        };
        // The file's length, not the count alone, bounds what is reserved.
        let end = footer_at.checked_sub(u64::from(blocks) * BLOCK_BYTES as u64);
        let Some(end) = end.and_then(|end| u32::try_from(end).ok()) else { return Ok(None) };
        let mut bytes = vec![0; blocks as usize * BLOCK_BYTES];
        let read = file.read_at(&mut bytes, u64::from(end))?;
        if read < bytes.len() || crc32c::crc32c(&bytes) != index_crc {
            return Ok(None);
        }
        let mut rest = &bytes[..];
        let blocks = (0..blocks).map(|_| take_block(&mut rest)).collect();
        let index = Self { blocks, end };
        Ok(index.is_sound().then_some(index))
    }

    /// Keys and positions rise, and every block has room for its head.
    fn is_sound(&self) -> bool {
        let room = |from: u32, to: u32| {
            to.checked_sub(from).is_some_and(|bytes| bytes as usize >= block::HEAD_BYTES)
        };
        let follows = |pair: &[Block]| {
            pair[0].first < pair[1].first && room(pair[0].position, pair[1].position)
        };
        self.blocks.windows(2).all(follows)
            && self.blocks.last().is_none_or(|last| room(last.position, self.end))
    }

    fn gather(file: &dyn File) -> io::Result<Self> {
        let mut index = Self::default();
        let file_bytes = file.len_bytes()?;
        let mut bytes = Vec::new();
        loop {
            let mut lengths = [0; 8];
            file.read_at(&mut lengths, u64::from(index.end))?;
            let length = u32::from_le_bytes([lengths[4], lengths[5], lengths[6], lengths[7]]);
            let end = index.end.checked_add(length).filter(|end| u64::from(*end) <= file_bytes);
            let Some(end) = end else { return Ok(index) };
            bytes.resize(length as usize, 0);
            let read = file.read_at(&mut bytes, u64::from(index.end))?;
            let Some(block) = block::checked(&bytes[..read], index.end) else { return Ok(index) };
            index.blocks.push(block);
            index.end = end;
        }
    }
}

/// Count of blocks and CRC of the index, if this is the footer of that slice.
fn check_footer(footer: &[u8; FOOTER_BYTES], run: RunId, slice: u32) -> Option<(u32, u32)> {
    let mut rest = &footer[..];
    let (magic, version) = (rest.get_u32_le(), rest.get_u16_le());
    rest.advance(2);
    let names = (rest.get_u64_le(), rest.get_u32_le());
    let found = (rest.get_u32_le(), rest.get_u32_le());
    let crc = crc32c::crc32c(&footer[..FOOTER_BYTES - 4]);
    let ours = (magic, version) == (MAGIC, VERSION) && names == (run, slice);
    (ours && rest.get_u32_le() == crc).then_some(found)
}

fn take_block(rest: &mut &[u8]) -> Block {
    Block {
        first: Key { due_ms: rest.get_i64_le(), ticket: rest.get_i64_le() },
        position: rest.get_u32_le(),
        entries: rest.get_u32_le(),
        record_bytes: rest.get_u32_le(),
    }
}
