//! Bytes from a socket into frames.
//!
//! A connection that has nothing half-read holds no buffer. Small reads are copied out of the
//! read buffer into an allocation of their own size, so that a request that waits pins a few
//! hundred bytes and not 64 KiB; larger ones are split where they lie. A frame above 64 KiB is
//! received into one buffer of its size class, which is taken only when part of it has arrived.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::pool::{Buffer, Pool, READ_BYTES};
use crate::wire::frame::{self, BadFrame, SIZE_BYTES};

/// Up to here the bytes of a read are copied rather than keeping the read buffer.
const COPY_BYTES: usize = 8 << 10;

/// Up to here the begin of a frame waits for its rest in memory of its own size.
const STASH_BYTES: usize = 16 << 10;

/// Most bytes taken from a socket by one read.
const STEP_BYTES: usize = 256 << 10;

/// Splits the incoming bytes of one connection into frames.
pub(super) struct Reader {
    /// Whole frames that have not been taken yet, their sizes included.
    whole: Bytes,
    part: Part,
    max_frame_bytes: usize,
}

/// The begin of a frame, size included.
enum Part {
    None,
    Stash(Vec<u8>),
    /// Receives one frame of `end` bytes and nothing behind it.
    Buffer {
        buffer: Buffer,
        end: usize,
    },
}

/// Why reading can't go on.
#[derive(Debug)]
pub(super) enum ReadError {
    Socket(io::Error),
    Frame(BadFrame),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// What one read brought.
pub(super) enum Received {
    Bytes(usize),
    /// The client sends no more.
    End,
}

impl Reader {
    pub(super) fn new(max_frame_bytes: usize) -> Self {
        Self { whole: Bytes::new(), part: Part::None, max_frame_bytes }
    }

    /// Bytes received and not yet taken as a frame.
    pub(super) fn held_bytes(&self) -> usize {
        self.whole.len() + self.part_bytes()
    }

    /// Bytes of the frame that has begun and is not whole.
    pub(super) fn part_bytes(&self) -> usize {
        match &self.part {
            Part::None => 0,
            Part::Stash(bytes) => bytes.len(),
            Part::Buffer { buffer, .. } => buffer.filled().len(),
        }
    }

    /// The next whole frame, without its size.
    pub(super) fn next_frame(&mut self) -> Option<Bytes> {
        if self.whole.is_empty() {
            return None;
        }
        let end = frame_end(&self.whole, self.max_frame_bytes)
            .ok()
            .flatten()
            .expect("only whole frames of a good size get here");
        let frame = if end == self.whole.len() {
            std::mem::take(&mut self.whole)
        } else {
            self.whole.split_to(end)
        };
        Some(frame.slice(SIZE_BYTES..))
    }

    /// Reads once. Only called when [`Reader::next_frame`] has nothing.
    pub(super) fn poll_read(
        &mut self,
        source: &mut (impl AsyncRead + Unpin),
        pool: &Arc<Pool>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received, ReadError>> {
        debug_assert!(self.whole.is_empty(), "frames are taken before more is read");
        if let Part::Buffer { buffer, end } = &mut self.part {
            let missing = *end - buffer.filled().len();
            // The room grows with what has arrived, so that claims cost no memory.
            let room = buffer.filled().len().clamp(READ_BYTES, STEP_BYTES).min(missing);
            let count = ready!(poll_into(source, buffer, room, cx))?;
            if count == missing {
                self.finish_buffer();
            }
            return Poll::Ready(Ok(received(count)));
        }
        let mut buffer = pool.take(READ_BYTES);
        if let Part::Stash(stash) = &self.part {
            buffer.extend(stash);
        }
        let room = READ_BYTES - buffer.filled().len();
        let count = ready!(poll_into(source, &mut buffer, room, cx))?;
        if count > 0 {
            self.split(buffer, pool).map_err(ReadError::Frame)?;
        }
        Poll::Ready(Ok(received(count)))
    }

    fn finish_buffer(&mut self) {
        if let Part::Buffer { buffer, .. } = std::mem::replace(&mut self.part, Part::None) {
            self.whole = buffer.freeze();
        }
    }

    /// Sorts a read into whole frames and the begin of the next one.
    fn split(&mut self, buffer: Buffer, pool: &Arc<Pool>) -> Result<(), BadFrame> {
        let bytes = buffer.filled();
        let mut whole = 0;
        let mut next_end = None;
        while let Some(end) = frame_end(&bytes[whole..], self.max_frame_bytes)? {
            if end > bytes.len() - whole {
                next_end = Some(end);
                break;
            }
            whole += end;
        }
        let rest = &bytes[whole..];
        self.part = match next_end {
            _ if rest.is_empty() => Part::None,
            Some(end) if rest.len() > STASH_BYTES => {
                if whole == 0 && end <= READ_BYTES {
                    self.part = Part::Buffer { buffer, end };
                    return Ok(());
                }
                let mut larger = pool.take(end);
                larger.extend(rest);
                Part::Buffer { buffer: larger, end }
            }
            _ => Part::Stash(rest.to_vec()),
        };
        self.whole = if whole <= COPY_BYTES {
            Bytes::copy_from_slice(&bytes[..whole])
        } else {
            buffer.freeze().slice(..whole)
        };
        Ok(())
    }
}

fn received(count: usize) -> Received {
    if count == 0 { Received::End } else { Received::Bytes(count) }
}

fn poll_into(
    source: &mut (impl AsyncRead + Unpin),
    buffer: &mut Buffer,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut into = ReadBuf::new(buffer.room(room));
    ready!(Pin::new(source).poll_read(cx, &mut into))?;
    let count = into.filled().len();
    buffer.advance(count);
    Poll::Ready(Ok(count))
}

/// Where the frame at the front ends, as soon as its size is there.
fn frame_end(bytes: &[u8], max_frame_bytes: usize) -> Result<Option<usize>, BadFrame> {
    let Some(size) = bytes.first_chunk::<SIZE_BYTES>() else {
        return Ok(None);
    };
    frame::size(*size, max_frame_bytes).map(|len| Some(SIZE_BYTES + len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    /// A socket that hands out its bytes in given pieces.
    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        sizes: Vec<usize>,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let piece = self.sizes.pop().unwrap_or(usize::MAX);
            let count = piece.min(into.remaining()).min(self.bytes.len() - self.at);
            into.put_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
            Poll::Ready(Ok(()))
        }
    }

    fn frames_of(bytes: Vec<u8>, sizes: Vec<usize>) -> Result<Vec<Bytes>, ReadError> {
        let pool = Pool::new(1 << 20);
        let mut reader = Reader::new(1 << 20);
        let mut source = Pieces { bytes, at: 0, sizes };
        let mut frames = Vec::new();
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            match reader.poll_read(&mut source, &pool, &mut cx) {
                Poll::Ready(Ok(Received::Bytes(_))) => {
                    frames.extend(std::iter::from_fn(|| reader.next_frame()))
                }
                Poll::Ready(Ok(Received::End)) => return Ok(frames),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => panic!("the source is always ready"),
            }
        }
    }

    fn on_wire(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend(i32::try_from(frame.len()).unwrap().to_be_bytes());
            bytes.extend(frame);
        }
        bytes
    }

    fn frame(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|at| ((at * 31 + seed) % 251) as u8).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_arrive_whole_however_they_are_cut(
            lens in proptest::collection::vec(prop_oneof![8..400_usize, 8..40_000_usize, 60_000..300_000_usize], 1..12),
            sizes in proptest::collection::vec(prop_oneof![1..9_usize, 1..100_000_usize], 0..60),
        ) {
            let sent: Vec<_> = lens.iter().enumerate().map(|(seed, len)| frame(*len, seed)).collect();
            let got = frames_of(on_wire(&sent), sizes).unwrap();
            prop_assert_eq!(got.len(), sent.len());
            for (got, sent) in got.iter().zip(&sent) {
                prop_assert!(got[..] == sent[..]);
            }
        }
    }

    #[test]
    fn refuses_sizes_no_request_has() {
        for size in [-1_i32, i32::MIN, (1 << 20) + 1, i32::MAX] {
            let refused = frames_of(size.to_be_bytes().to_vec(), vec![]);
            assert!(matches!(refused, Err(ReadError::Frame(_))), "{size}");
        }
    }

    #[test]
    fn a_begun_frame_holds_little_until_much_of_it_arrived() {
        let pool = Pool::new(1 << 20);
        let mut reader = Reader::new(100 << 20);
        let mut bytes = (90_i32 << 20).to_be_bytes().to_vec();
        bytes.extend(vec![7; 1000]);
        let mut source = Pieces { bytes, at: 0, sizes: vec![] };
        let mut cx = Context::from_waker(Waker::noop());
        assert!(reader.poll_read(&mut source, &pool, &mut cx).is_ready());
        assert_eq!(reader.part_bytes(), 1004);
        assert!(matches!(&reader.part, Part::Stash(bytes) if bytes.capacity() < 2048));
    }
}
