//! The codecs of record batches: gzip, snappy, lz4 and zstd as Kafka's clients write them.
//!
//! Decompression is a stream into a sliding [`Window`]: what is held at once is one chunk and
//! what the reader has not consumed, never what a length field claims, and the total is capped.
//! Contexts and buffers belong to the thread and are used again, since on small batches setting
//! them up costs as much as the work. Decompressing whole batches into one buffer was rejected:
//! a megabyte of gzip may hold a gigabyte, and the window stays in the processor's cache.

mod gzip;
mod lz4;
mod snappy;
mod window;
mod zstd;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::ops::RangeInclusive;

pub use window::Window;

/// What a batch's records are compressed with. Numbers and names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// Every codec, by its number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of a batch's attribute bits 0-2.
    #[must_use]
    pub fn from_id(id: i16) -> Option<Self> {
        usize::try_from(id).ok().and_then(|id| Self::ALL.get(id)).copied()
    }

    #[must_use]
    pub const fn id(self) -> i16 {
        self as i16
    }

    /// The name in `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The levels that `compression.<codec>.level` takes. gzip also takes -1, its default.
    #[must_use]
    pub const fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::None | Self::Snappy => None,
            Self::Gzip => Some(1..=9),
            Self::Lz4 => Some(1..=17),
            Self::Zstd => Some(-131_072..=22),
        }
    }
}

/// Why records can not be read or written through a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error("{} data is damaged: {detail}", codec.name())]
    Corrupt { codec: Codec, detail: &'static str },
    #[error("{} data ends too early", codec.name())]
    Truncated { codec: Codec },
    #[error("records take more than {limit_bytes} bytes when decompressed")]
    TooLarge { limit_bytes: usize },
    #[error("the {} library failed", codec.name())]
    Library { codec: Codec },
}

/// One thread's contexts and buffers, made when first needed.
#[derive(Default)]
pub struct Codecs {
    gzip: gzip::Context,
    snappy: snappy::Context,
    zstd: zstd::Context,
    window: Window,
}

thread_local! {
    static CODECS: Cell<Option<Box<Codecs>>> = const { Cell::new(None) };
}

impl Codecs {
    /// Runs `work` with this thread's codecs. A nested call works, with codecs of its own.
    pub fn of_thread<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        let mut codecs = CODECS.take().unwrap_or_default();
        let result = work(&mut codecs);
        codecs.window.shrink();
        codecs.zstd.shrink();
        CODECS.set(Some(codecs));
        result
    }

    /// Begins to decompress `input`, to at most `limit_bytes` in all.
    ///
    /// # Errors
    /// If the codec's own header is damaged.
    pub fn open<'a>(
        &'a mut self,
        codec: Codec,
        input: &'a [u8],
        limit_bytes: usize,
    ) -> Result<Inflate<'a>, CompressionError> {
        let Self { gzip, snappy, zstd, window } = self;
        let source = match codec {
            Codec::None => Source::Plain(input),
            Codec::Gzip => Source::Gzip(gzip::Stream::open(gzip, input)?),
            Codec::Snappy => Source::Snappy(snappy::Stream::open(snappy, input)?),
            Codec::Lz4 => Source::Lz4(lz4::Stream::open(input)?),
            Codec::Zstd => Source::Zstd(zstd::Stream::open(zstd, input)?),
        };
        window.clear();
        Ok(Inflate { source, window, limit_bytes, left_bytes: limit_bytes })
    }

    /// Appends `input`, compressed, to `output`. `level` is of [`Codec::levels`]; what the codec
    /// does not know is clamped, and lz4 and snappy have one level only.
    ///
    /// # Errors
    /// If the library fails, as when memory is short.
    pub fn compress(
        &mut self,
        codec: Codec,
        level: Option<i32>,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        match codec {
            Codec::None => output.extend_from_slice(input),
            Codec::Gzip => self.gzip.compress(level, input, output)?,
            Codec::Snappy => self.snappy.compress(input, output)?,
            Codec::Lz4 => lz4::compress(input, output)?,
            Codec::Zstd => self.zstd.compress(level, input, output)?,
        }
        Ok(())
    }
}

enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(gzip::Stream<'a>),
    Snappy(snappy::Stream<'a>),
    Lz4(lz4::Stream<'a>),
    Zstd(zstd::Stream<'a>),
}

/// Records on their way out of a codec.
pub struct Inflate<'a> {
    source: Source<'a>,
    window: &'a mut Window,
    limit_bytes: usize,
    left_bytes: usize,
}

impl Inflate<'_> {
    /// Decompressed and not consumed yet.
    #[must_use]
    pub fn ready(&self) -> &[u8] {
        self.window.filled()
    }

    /// Gives up the first `bytes` of [`Inflate::ready`].
    pub fn consume(&mut self, bytes: usize) {
        self.window.consume(bytes);
    }

    /// Decompresses on, by at least a byte. False at the end.
    ///
    /// # Errors
    /// If the data is damaged, ends early, or passes the limit.
    pub fn more(&mut self) -> Result<bool, CompressionError> {
        let too_large = CompressionError::TooLarge { limit_bytes: self.limit_bytes };
        let window = &mut *self.window;
        let produced = match &mut self.source {
            Source::Plain(input) => {
                window.extend(input);
                std::mem::take(input).len()
            }
            Source::Gzip(stream) => stream.produce(window)?,
            Source::Snappy(stream) => stream.produce(window, self.left_bytes)?.ok_or(too_large)?,
            Source::Lz4(stream) => stream.produce(window)?,
            Source::Zstd(stream) => stream.produce(window)?,
        };
        self.left_bytes = self.left_bytes.checked_sub(produced).ok_or(too_large)?;
        Ok(produced > 0)
    }
}
