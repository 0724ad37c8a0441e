//! zstd frames, one or several in a row.
//!
//! The library's own window may be announced as up to 128 MiB; it is not zeroed, so that memory
//! is touched only as output is produced, which is capped. Contexts that grew are not kept.

use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, compress_bound,
};

use super::{Codec, CompressionError, Window};

const CHUNK_BYTES: usize = 64 * 1024;
const KEPT_CONTEXT_BYTES: usize = 4 << 20;
const LIBRARY: CompressionError = CompressionError::Library { codec: Codec::Zstd };

#[derive(Default)]
pub(super) struct Context {
    decoder: Option<DCtx<'static>>,
    encoder: Option<CCtx<'static>>,
}

impl Context {
    pub(super) fn compress(
        &mut self,
        level: Option<i32>,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            slot => slot.insert(CCtx::try_create().ok_or(LIBRARY)?),
        };
        encoder.set_parameter(CParameter::CompressionLevel(level)).map_err(|_| LIBRARY)?;
        let start = output.len();
        output.resize(start + compress_bound(input.len()), 0);
        let written = encoder.compress2(&mut output[start..], input).map_err(|_| LIBRARY)?;
        output.truncate(start + written);
        Ok(())
    }

    pub(super) fn shrink(&mut self) {
        self.decoder.take_if(|decoder| decoder.sizeof() > KEPT_CONTEXT_BYTES);
        self.encoder.take_if(|encoder| encoder.sizeof() > KEPT_CONTEXT_BYTES);
    }
}

pub(super) struct Stream<'a> {
    decoder: &'a mut DCtx<'static>,
    input: InBuffer<'a>,
    /// Between two frames, or before the first.
    at_frame: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn open(
        context: &'a mut Context,
        input: &'a [u8],
    ) -> Result<Self, CompressionError> {
        let decoder = match &mut context.decoder {
            Some(decoder) => decoder,
            slot => slot.insert(DCtx::try_create().ok_or(LIBRARY)?),
        };
        decoder.reset(ResetDirective::SessionOnly).map_err(|_| LIBRARY)?;
        Ok(Self { decoder, input: InBuffer::around(input), at_frame: true })
    }

    pub(super) fn produce(&mut self, window: &mut Window) -> Result<usize, CompressionError> {
        loop {
            let input_left = self.input.src.len() - self.input.pos();
            if input_left == 0 && self.at_frame {
                return Ok(0);
            }
            let room = window.room(CHUNK_BYTES);
            let mut output = OutBuffer::around(room);
            let wanted = self
                .decoder
                .decompress_stream(&mut output, &mut self.input)
                .map_err(|_| CompressionError::Corrupt { codec: Codec::Zstd, detail: "frame" })?;
            let written = output.pos();
            window.advance(written);
            self.at_frame = wanted == 0;
            if written > 0 {
                return Ok(written);
            }
            if input_left == 0 {
                return Err(CompressionError::Truncated { codec: Codec::Zstd });
            }
        }
    }
}
