//! Recycled read buffers.
//!
//! The first touch of a fresh page is the dearest part of receiving a large request (a fault in
//! the host of a virtual machine: about 3 s/GB against 0.4), so buffers of 64 KiB and more go
//! around. What is kept while unused is bounded in bytes. A buffer's memory is touched only as
//! far as data arrives: a client that claims 2 GiB and sends nothing costs nothing.
//! Rejected: one slab of equal buffers, which makes frames above its size pay a copy.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Bytes asked from a socket at once when no frame's size is known yet.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Capacities that are recycled. The two largest leave room for a record batch of exactly one or
/// two MiB plus the request around it.
const CLASS_BYTES: [usize; 4] =
    [READ_BYTES, 256 << 10, (1 << 20) + (64 << 10), (2 << 20) + (64 << 10)];

/// Buffers by size class, shared by all connections.
pub(super) struct Pool {
    /// Bound on the capacity of the buffers kept here.
    max_bytes: usize,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    bytes: usize,
    classes: [Vec<Vec<u8>>; CLASS_BYTES.len()],
}

impl Pool {
    pub(super) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { max_bytes, free: Mutex::default() })
    }

    /// A buffer that can grow to `bytes` without moving.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Buffer {
        let class = CLASS_BYTES.iter().position(|class| *class >= bytes);
        let recycled = class.and_then(|class| {
            let mut free = self.free.lock();
            let data = free.classes[class].pop()?;
            free.bytes -= CLASS_BYTES[class];
            Some(data)
        });
        let capacity = class.map_or(bytes, |class| CLASS_BYTES[class]);
        let data = recycled.unwrap_or_else(|| Vec::with_capacity(capacity));
        Buffer { data, filled: 0, class, pool: Arc::clone(self) }
    }

    fn put(&self, class: usize, data: Vec<u8>) {
        let mut free = self.free.lock();
        if free.bytes + CLASS_BYTES[class] <= self.max_bytes {
            free.bytes += CLASS_BYTES[class];
            free.classes[class].push(data);
        }
    }

    #[cfg(test)]
    fn kept_bytes(&self) -> usize {
        self.free.lock().bytes
    }
}

/// Memory that goes back to its pool when dropped, also as [`Bytes`].
pub(super) struct Buffer {
    /// Its length is what has been initialised so far, by this user or an earlier one.
    data: Vec<u8>,
    filled: usize,
    class: Option<usize>,
    pool: Arc<Pool>,
}

impl Buffer {
    pub(super) fn filled(&self) -> &[u8] {
        &self.data[..self.filled]
    }

    /// The next `bytes` behind the filled part, to be read into; whatever they hold is stale.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.filled + bytes;
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        &mut self.data[self.filled..end]
    }

    /// Counts `bytes` of the room as filled.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
        assert!(self.filled <= self.data.len(), "only room that was handed out can be filled");
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// The filled part, shared; the memory returns to the pool with the last reference.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.filled()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(class) = self.class {
            self.pool.put(class, std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_returns_with_the_last_reference() {
        let pool = Pool::new(1 << 20);
        let mut buffer = pool.take(100);
        buffer.extend(b"frame");
        let frame = buffer.freeze();
        let part = frame.slice(1..3);
        drop(frame);
        assert_eq!(pool.kept_bytes(), 0);
        assert_eq!(&part[..], b"ra");
        drop(part);
        assert_eq!(pool.kept_bytes(), READ_BYTES);
        assert!(pool.take(100).filled().is_empty(), "a recycled buffer starts empty");
    }

    #[test]
    fn keeps_no_more_than_its_bound() {
        let pool = Pool::new(2 * READ_BYTES);
        let taken: Vec<_> = (0..5).map(|_| pool.take(READ_BYTES)).collect();
        drop(taken);
        assert_eq!(pool.kept_bytes(), 2 * READ_BYTES);
        drop(pool.take(64 << 20));
        assert_eq!(pool.kept_bytes(), 2 * READ_BYTES, "giants are not kept");
    }
}
