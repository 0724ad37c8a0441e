//! snappy, in both forms that clients send: one raw block, or the frames of Java's
//! `SnappyOutputStream`, called xerial after its author.
//!
//! ```text
//! 0 8 bytes 82 'SNAPPY' 00    8 i32 version    12 i32 oldest compatible version
//! 16 ... frames: i32 length, then as many bytes of one raw block
//! ```

use super::{Codec, CompressionError, Window};

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const HEAD_BYTES: usize = 16;
const BLOCK_BYTES: usize = 32 * 1024;

/// No copy element of three bytes yields more than 64; more is a lie about the length.
const MOST_EXPANSION: usize = 22;

#[derive(Default)]
pub(super) struct Context {
    decoder: snap::raw::Decoder,
    encoder: Option<snap::raw::Encoder>,
}

impl Context {
    /// Frames, as a Java broker writes when it recompresses.
    pub(super) fn compress(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        let encoder = self.encoder.get_or_insert_with(snap::raw::Encoder::new);
        output.extend_from_slice(&MAGIC);
        output.extend_from_slice(&1_i32.to_be_bytes());
        output.extend_from_slice(&1_i32.to_be_bytes());
        for block in input.chunks(BLOCK_BYTES) {
            let length_at = output.len();
            let start = length_at + size_of::<i32>();
            output.resize(start + snap::raw::max_compress_len(block.len()), 0);
            let length = encoder
                .compress(block, &mut output[start..])
                .map_err(|_| CompressionError::Library { codec: Codec::Snappy })?;
            output.truncate(start + length);
            output[length_at..start].copy_from_slice(&(length as u32).to_be_bytes());
        }
        Ok(())
    }
}

pub(super) struct Stream<'a> {
    decoder: &'a mut snap::raw::Decoder,
    framed: bool,
    input: &'a [u8],
}

impl<'a> Stream<'a> {
    pub(super) fn open(
        context: &'a mut Context,
        input: &'a [u8],
    ) -> Result<Self, CompressionError> {
        let framed = input.starts_with(&MAGIC);
        let input = if framed { input.get(HEAD_BYTES..).ok_or_else(truncated)? } else { input };
        Ok(Self { decoder: &mut context.decoder, framed, input })
    }

    /// Decompresses the next block, or nothing if it says that it takes more than `left_bytes`.
    pub(super) fn produce(
        &mut self,
        window: &mut Window,
        left_bytes: usize,
    ) -> Result<Option<usize>, CompressionError> {
        while let Some(block) = self.next_block()? {
            let length = snap::raw::decompress_len(block).map_err(|_| corrupt("length"))?;
            if length > block.len().saturating_mul(MOST_EXPANSION) {
                return Err(corrupt("length"));
            }
            if length > left_bytes {
                return Ok(None);
            }
            self.decoder.decompress(block, window.room(length)).map_err(|_| corrupt("block"))?;
            window.advance(length);
            if length > 0 {
                return Ok(Some(length));
            }
        }
        Ok(Some(0))
    }

    fn next_block(&mut self) -> Result<Option<&'a [u8]>, CompressionError> {
        if self.input.is_empty() {
            return Ok(None);
        }
        if !self.framed {
            return Ok(Some(std::mem::take(&mut self.input)));
        }
        let (length, rest) = self.input.split_first_chunk().ok_or_else(truncated)?;
        let length =
            usize::try_from(i32::from_be_bytes(*length)).map_err(|_| corrupt("frame length"))?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(truncated)?;
        self.input = rest;
        Ok(Some(block))
    }
}

fn corrupt(detail: &'static str) -> CompressionError {
    CompressionError::Corrupt { codec: Codec::Snappy, detail }
}

fn truncated() -> CompressionError {
    CompressionError::Truncated { codec: Codec::Snappy }
}
