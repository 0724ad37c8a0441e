//! What an API hands back to its connection: bytes and file slices, framed and in order.
//!
//! Record bytes never pass through a reply buffer: a fetch names a range of a segment file and
//! the connection sends it with sendfile. Rejected: one contiguous buffer per reply, which copies
//! every record once more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::store::File;

/// One piece of a reply.
#[derive(Clone)]
pub enum Chunk {
    Bytes(Bytes),
    /// `len` bytes of a file from `position` on; the file holds at least that much.
    File {
        file: Arc<dyn File>,
        position: u64,
        len: u64,
    },
}

impl Chunk {
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }
}

/// A whole response frame: 4-byte size, header and body, in pieces.
#[derive(Clone, Default)]
pub struct Reply {
    pub chunks: SmallVec<[Chunk; 2]>,
    /// How long nothing more is read from the client once this is on its way (KIP-219): the reply
    /// tells it, and older clients do not keep to it.
    pub pause: Duration,
}

impl Reply {
    /// A reply whose frame is already complete in one buffer.
    #[must_use]
    pub fn whole(frame: Bytes) -> Self {
        Self { chunks: SmallVec::from_iter([Chunk::Bytes(frame)]), pause: Duration::ZERO }
    }

    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.chunks.iter().map(Chunk::len_bytes).sum()
    }
}

/// A reply that is not ready yet.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Ending> + Send>>;

/// How a request ends.
pub enum Ending {
    Reply(Reply),
    /// Nothing is sent (`acks=0`).
    Silent,
    /// The connection is closed without a reply, as Kafka does; the reason goes to the log.
    Close(String),
}

/// What beginning a request gives. The work has started: only the answer may come later, so the
/// connection polls nothing but the oldest request.
pub enum Outcome {
    Now(Ending),
    Later(ReplyFuture),
}

impl Outcome {
    #[must_use]
    pub fn reply(reply: Reply) -> Self {
        Self::Now(Ending::Reply(reply))
    }

    #[must_use]
    pub fn close(reason: impl Into<String>) -> Self {
        Self::Now(Ending::Close(reason.into()))
    }
}
