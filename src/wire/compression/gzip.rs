//! gzip (RFC 1952) around raw deflate, so that the inflate state can be used again.
//!
//! Members may follow each other, as Java's reader has it; bytes behind the last one that begin
//! no member are ignored, as there.

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Codec, CompressionError, Window};

const CHUNK_BYTES: usize = 32 * 1024;
const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const HEAD_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;

const HAS_HEADER_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

#[derive(Default)]
pub(super) struct Context {
    inflate: Option<Decompress>,
    deflate: Option<(u32, Compress)>,
}

impl Context {
    pub(super) fn compress(
        &mut self,
        level: Option<i32>,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        let level = match level {
            Some(level @ 0..) => level.unsigned_abs().min(9),
            _ => Compression::default().level(),
        };
        let deflate = match &mut self.deflate {
            Some((made_for, deflate)) if *made_for == level => {
                deflate.reset();
                deflate
            }
            slot => &mut slot.insert((level, Compress::new(Compression::new(level), false))).1,
        };
        output.extend_from_slice(&[MAGIC[0], MAGIC[1], DEFLATE, 0, 0, 0, 0, 0, 0, 0xff]);
        loop {
            output.reserve(CHUNK_BYTES);
            let read = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
            let rest = input.get(read..).unwrap_or_default();
            match deflate.compress_vec(rest, output, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => break,
                Ok(Status::Ok | Status::BufError) => {}
                Err(_) => return Err(CompressionError::Library { codec: Codec::Gzip }),
            }
        }
        let mut crc = Crc::new();
        crc.update(input);
        output.extend_from_slice(&crc.sum().to_le_bytes());
        output.extend_from_slice(&crc.amount().to_le_bytes());
        Ok(())
    }
}

pub(super) struct Stream<'a> {
    inflate: &'a mut Decompress,
    input: &'a [u8],
    /// Of the member's output so far.
    crc: Crc,
    in_member: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn open(
        context: &'a mut Context,
        input: &'a [u8],
    ) -> Result<Self, CompressionError> {
        let inflate = context.inflate.get_or_insert_with(|| Decompress::new(false));
        inflate.reset(false);
        Ok(Self { inflate, input: after_head(input)?, crc: Crc::new(), in_member: true })
    }

    pub(super) fn produce(&mut self, window: &mut Window) -> Result<usize, CompressionError> {
        while self.in_member {
            let room = window.room(CHUNK_BYTES);
            let (read_before, written_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(self.input, room, FlushDecompress::None)
                .map_err(|_| corrupt("deflate"))?;
            let read = (self.inflate.total_in() - read_before) as usize;
            let written = (self.inflate.total_out() - written_before) as usize;
            self.crc.update(&room[..written]);
            self.input = &self.input[read..];
            window.advance(written);
            if status == Status::StreamEnd {
                self.end_member()?;
            } else if read + written == 0 {
                return Err(truncated());
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }

    fn end_member(&mut self) -> Result<(), CompressionError> {
        let (trailer, rest) =
            self.input.split_first_chunk::<TRAILER_BYTES>().ok_or_else(truncated)?;
        let [a, b, c, d, e, f, g, h] = *trailer;
        if u32::from_le_bytes([a, b, c, d]) != self.crc.sum() {
            return Err(corrupt("CRC"));
        }
        if u32::from_le_bytes([e, f, g, h]) != self.crc.amount() {
            return Err(corrupt("size"));
        }
        self.in_member = rest.starts_with(&MAGIC);
        if self.in_member {
            self.input = after_head(rest)?;
            self.inflate.reset(false);
            self.crc.reset();
        }
        Ok(())
    }
}

/// The deflate data behind a member's header.
fn after_head(input: &[u8]) -> Result<&[u8], CompressionError> {
    let (head, mut rest) = input.split_first_chunk::<HEAD_BYTES>().ok_or_else(truncated)?;
    let flags = head[3];
    if !head.starts_with(&MAGIC) || head[2] != DEFLATE || flags & RESERVED != 0 {
        return Err(corrupt("header"));
    }
    if flags & HAS_EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk().ok_or_else(truncated)?;
        let length = usize::from(u16::from_le_bytes(*length));
        rest = behind.get(length..).ok_or_else(truncated)?;
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(truncated)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & HAS_HEADER_CRC != 0 {
        rest = rest.get(2..).ok_or_else(truncated)?;
    }
    Ok(rest)
}

fn corrupt(detail: &'static str) -> CompressionError {
    CompressionError::Corrupt { codec: Codec::Gzip, detail }
}

fn truncated() -> CompressionError {
    CompressionError::Truncated { codec: Codec::Gzip }
}
