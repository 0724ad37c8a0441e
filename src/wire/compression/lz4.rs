//! The lz4 frame format as far as Kafka goes: independent blocks only, since Java's consumer
//! reads no others; a content checksum is skipped, and what follows the first frame ignored, as
//! there. The frame decoder of `lz4_flex` reads more than that and can not be used again.
//!
//! ```text
//! u32le magic   u8 FLG (6-7 version, 5 independent, 4 block checksums, 3 content size,
//!               2 content checksum, 0 dictionary)   u8 BD (4-6 largest block)
//! [u64le content size]   u8 second byte of the header's xxHash32
//! blocks: u32le size (bit 31: stored as is), data, [u32le checksum]; size 0 ends the frame
//! ```

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use std::io::Write;
use twox_hash::XxHash32;

use super::{Codec, CompressionError, Window};

const MAGIC: u32 = 0x184d_2204;
const STORED_BIT: u32 = 1 << 31;

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const RESERVED_OR_DICTIONARY: u8 = 0b11;

/// No match token yields more than 255 bytes for each of its own.
const MOST_EXPANSION: usize = 256;

pub(super) struct Stream<'a> {
    input: &'a [u8],
    block_checksums: bool,
    largest_block_bytes: usize,
    ended: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn open(input: &'a [u8]) -> Result<Self, CompressionError> {
        let (magic, described) = input.split_first_chunk().ok_or_else(truncated)?;
        if u32::from_le_bytes(*magic) != MAGIC {
            return Err(corrupt("magic"));
        }
        let [flags, sizes, ..] = *described else { return Err(truncated()) };
        if flags & VERSION_MASK != VERSION || flags & RESERVED_OR_DICTIONARY != 0 {
            return Err(corrupt("flags"));
        }
        if flags & INDEPENDENT == 0 {
            return Err(corrupt("blocks depend on each other, which Kafka does not read"));
        }
        let largest_block_bytes = match sizes {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(corrupt("block size")),
        };
        let descriptor_bytes = if flags & CONTENT_SIZE == 0 { 2 } else { 10 };
        let (descriptor, rest) =
            described.split_at_checked(descriptor_bytes).ok_or_else(truncated)?;
        let (check, input) = rest.split_first().ok_or_else(truncated)?;
        if XxHash32::oneshot(0, descriptor).to_be_bytes()[2] != *check {
            return Err(corrupt("header checksum"));
        }
        let block_checksums = flags & BLOCK_CHECKSUMS != 0;
        Ok(Self { input, block_checksums, largest_block_bytes, ended: false })
    }

    pub(super) fn produce(&mut self, window: &mut Window) -> Result<usize, CompressionError> {
        while !self.ended {
            let size = self.take_u32()?;
            if size == 0 {
                self.ended = true;
                break;
            }
            let bytes = (size & !STORED_BIT) as usize;
            if bytes > self.largest_block_bytes {
                return Err(corrupt("block larger than announced"));
            }
            let (block, rest) = self.input.split_at_checked(bytes).ok_or_else(truncated)?;
            self.input = rest;
            if self.block_checksums && self.take_u32()? != XxHash32::oneshot(0, block) {
                return Err(corrupt("block checksum"));
            }
            let written = if size & STORED_BIT == 0 {
                let most = bytes.saturating_mul(MOST_EXPANSION).min(self.largest_block_bytes);
                lz4_flex::block::decompress_into(block, window.room(most))
                    .map_err(|_| corrupt("block"))?
            } else {
                window.room(bytes).copy_from_slice(block);
                bytes
            };
            window.advance(written);
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }

    fn take_u32(&mut self) -> Result<u32, CompressionError> {
        let (number, rest) = self.input.split_first_chunk().ok_or_else(truncated)?;
        self.input = rest;
        Ok(u32::from_le_bytes(*number))
    }
}

/// One frame with blocks of 64 KiB, as Java's producer writes it.
pub(super) fn compress(input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressionError> {
    let shape = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut frame = FrameEncoder::with_frame_info(shape, output);
    let written = frame.write_all(input).is_ok() && frame.finish().is_ok();
    if written { Ok(()) } else { Err(CompressionError::Library { codec: Codec::Lz4 }) }
}

fn corrupt(detail: &'static str) -> CompressionError {
    CompressionError::Corrupt { codec: Codec::Lz4, detail }
}

fn truncated() -> CompressionError {
    CompressionError::Truncated { codec: Codec::Lz4 }
}
