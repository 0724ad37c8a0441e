//! Replies out to a socket.
//!
//! Chunks in memory are gathered into one system call; file chunks go from the page cache to the
//! socket by sendfile, without passing through the process. Only what is in the page cache is
//! sent from a worker thread; the rest is read on the blocking pool first, a window at a time,
//! so that a reader of old data never holds up the connections beside it. Small file chunks are
//! copied into the gathered call: below 16 KiB the extra call costs more than the copy.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rustix::io::ReadWriteFlags;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::pool::Pool;
use crate::api::reply::{Chunk, Reply};
use crate::store::File;

/// Chunks gathered into one system call.
const GATHERED: usize = 32;

/// File chunks up to this size are copied and gathered.
const COPIED_BYTES: u64 = 16 << 10;

/// No more is copied while so much waits in memory: clients that don't read hold it.
const COPIED_TOTAL_BYTES: usize = 64 << 10;

/// How much of a file is looked up, and read in advance where it is cold, at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// Distance of the pages that are probed: the kernel reads ahead in runs of this size.
const PROBE_BYTES: u64 = 128 << 10;

/// Most bytes sent before other connections of the worker thread get their turn.
const TURN_BYTES: u64 = 4 << 20;

/// The replies of one connection that are not out yet.
pub(super) struct Writer {
    queue: VecDeque<Chunk>,
    /// Bytes of the chunks in memory.
    memory_bytes: usize,
    window: Window,
}

/// What is known about the file chunk at the front.
enum Window {
    Unknown,
    /// So many bytes from its position on are in the page cache.
    Cached(u64),
    Reading(JoinHandle<io::Result<Read>>),
}

/// What the blocking pool did with a cold range.
enum Read {
    /// So many bytes are in the page cache now.
    Cached(u64),
    /// A file without a descriptor: the bytes themselves.
    Bytes(Bytes),
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new(), memory_bytes: 0, window: Window::Unknown }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of unsent replies in memory; file chunks hold none.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn push(&mut self, reply: Reply) {
        for chunk in reply.chunks {
            if chunk.len_bytes() == 0 {
                continue;
            }
            if let Chunk::Bytes(bytes) = &chunk {
                self.memory_bytes += bytes.len();
            }
            self.queue.push_back(chunk);
        }
    }

    /// Sends what the socket takes. Ready when everything is out; `sent` counts the bytes.
    pub(super) fn poll_send(
        &mut self,
        socket: &TcpStream,
        pool: &Arc<Pool>,
        sent: &mut u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let turn_end = *sent + TURN_BYTES;
        while !self.queue.is_empty() {
            if *sent >= turn_end {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            *sent += ready!(self.poll_front(socket, pool, cx))?;
        }
        if self.queue.capacity() > GATHERED {
            self.queue = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_front(
        &mut self,
        socket: &TcpStream,
        pool: &Arc<Pool>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<u64>> {
        self.copy_small_files();
        match &self.queue[0] {
            Chunk::Bytes(_) => {
                let count = ready!(poll_io(socket, cx, || self.send_gathered(socket)))?;
                self.advance_bytes(count);
                Poll::Ready(Ok(count as u64))
            }
            Chunk::File { file, position, len } => {
                let (file, position, len_bytes) = (Arc::clone(file), *position, *len);
                let cached = match ready!(self.poll_window(&file, position, len_bytes, pool, cx))? {
                    Read::Cached(cached) => cached.min(len_bytes),
                    Read::Bytes(bytes) => {
                        self.advance_file(bytes.len() as u64);
                        self.memory_bytes += bytes.len();
                        self.queue.push_front(Chunk::Bytes(bytes));
                        return Poll::Ready(Ok(0));
                    }
                };
                let count =
                    ready!(poll_io(socket, cx, || send_file(socket, &*file, position, cached)))?;
                self.advance_file(count as u64);
                Poll::Ready(Ok(count as u64))
            }
        }
    }

    /// Replaces small cached file chunks among those about to be gathered by their bytes.
    fn copy_small_files(&mut self) {
        for chunk in self.queue.iter_mut().take(GATHERED) {
            if let Chunk::File { file, position, len } = chunk {
                let small = *len <= COPIED_BYTES && self.memory_bytes < COPIED_TOTAL_BYTES;
                let Some(bytes) = small.then(|| read_cached(&**file, *position, *len)).flatten()
                else {
                    return;
                };
                self.memory_bytes += bytes.len();
                *chunk = Chunk::Bytes(bytes);
            }
        }
    }

    fn send_gathered(&self, socket: &TcpStream) -> io::Result<usize> {
        let mut slices = SmallVec::<[IoSlice<'_>; 8]>::new();
        let mut more = SendFlags::empty();
        for chunk in self.queue.iter().take(GATHERED) {
            match chunk {
                Chunk::Bytes(bytes) => slices.push(IoSlice::new(bytes)),
                Chunk::File { .. } => {
                    // What follows at once may share a segment with this.
                    more = SendFlags::MORE;
                    break;
                }
            }
        }
        let flags = SendFlags::NOSIGNAL | more;
        if let [one] = &slices[..] {
            return Ok(rustix::net::send(socket, one, flags)?);
        }
        Ok(rustix::net::sendmsg(socket, &slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn advance_bytes(&mut self, mut count: usize) {
        self.memory_bytes -= count;
        while let Some(Chunk::Bytes(bytes)) = self.queue.front_mut() {
            if bytes.len() > count {
                bytes.advance(count);
                return;
            }
            count -= bytes.len();
            self.queue.pop_front();
        }
    }

    fn advance_file(&mut self, count: u64) {
        let Some(Chunk::File { position, len, .. }) = self.queue.front_mut() else {
            unreachable!("a file chunk is at the front");
        };
        *position += count;
        *len -= count;
        let done = *len == 0;
        self.window = match self.window {
            Window::Cached(cached) if cached > count && !done => Window::Cached(cached - count),
            _ => Window::Unknown,
        };
        if done {
            self.queue.pop_front();
        }
    }

    /// How much of the front file chunk can be sent without waiting for a disk.
    fn poll_window(
        &mut self,
        file: &Arc<dyn File>,
        position: u64,
        len_bytes: u64,
        pool: &Arc<Pool>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Read>> {
        if matches!(self.window, Window::Unknown) {
            let window = len_bytes.min(WINDOW_BYTES);
            self.window = if is_cached(&**file, position, window) {
                Window::Cached(window)
            } else {
                let (file, pool) = (Arc::clone(file), Arc::clone(pool));
                let work = move || read_cold(&*file, position, window, &pool);
                Window::Reading(tokio::task::spawn_blocking(work))
            };
        }
        let read = match &mut self.window {
            Window::Unknown => unreachable!("decided above"),
            Window::Cached(cached) => return Poll::Ready(Ok(Read::Cached(*cached))),
            Window::Reading(work) => ready!(Pin::new(work).poll(cx)),
        };
        self.window = Window::Unknown;
        let read = read.map_err(io::Error::other)??;
        if let Read::Cached(cached) = read {
            self.window = Window::Cached(cached);
        }
        Poll::Ready(Ok(read))
    }
}

/// Runs a non-blocking write until it does something, an error, or a socket that is full.
fn poll_io(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    mut write: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        match socket.try_io(Interest::WRITABLE, &mut write) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(socket.poll_write_ready(cx))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

fn send_file(
    socket: &TcpStream,
    file: &dyn File,
    mut position: u64,
    bytes: u64,
) -> io::Result<usize> {
    let descriptor = file.descriptor().ok_or(io::ErrorKind::Unsupported)?;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    match rustix::fs::sendfile(socket, descriptor, Some(&mut position), bytes)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// The bytes if all of them are in the page cache.
fn read_cached(file: &dyn File, position: u64, len_bytes: u64) -> Option<Bytes> {
    let mut bytes = vec![0; usize::try_from(len_bytes).ok()?];
    fill_cached(file, position, &mut bytes).then(|| bytes.into())
}

fn fill_cached(file: &dyn File, position: u64, bytes: &mut [u8]) -> bool {
    let len = bytes.len();
    let into = &mut [IoSliceMut::new(bytes)];
    file.descriptor().is_some_and(|descriptor| {
        rustix::io::preadv2(descriptor, into, position, ReadWriteFlags::NOWAIT) == Ok(len)
    })
}

/// Probes a page of each read-ahead run, and the last one.
fn is_cached(file: &dyn File, position: u64, len_bytes: u64) -> bool {
    let last = position + len_bytes - 1;
    let step = usize::try_from(PROBE_BYTES).expect("a small constant");
    (position..last).step_by(step).chain([last]).all(|at| fill_cached(file, at, &mut [0]))
}

/// Brings a range into the page cache by reading it; blocks.
fn read_cold(file: &dyn File, position: u64, len_bytes: u64, pool: &Arc<Pool>) -> io::Result<Read> {
    let len = usize::try_from(len_bytes).map_err(io::Error::other)?;
    let mut buffer = pool.take(len);
    if file.read_at(buffer.room(len), position)? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    buffer.advance(len);
    Ok(match file.descriptor() {
        Some(_) => Read::Cached(len_bytes),
        None => Read::Bytes(buffer.freeze()),
    })
}
