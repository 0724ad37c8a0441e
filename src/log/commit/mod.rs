//! The commit log: one sequential, synced write per commit, whatever partitions it touches.
//!
//! A commit is a set of [`Row`]s, one per appended batch, that is on disk whole or not at all
//! ([`frame`]). Frames go to a ring of preallocated files ([`ring`]) and are read back after an
//! unclean stop ([`replay`]); replay is logical, so a row that its partition has already is
//! recognised by its base offset. The ring is freed behind checkpoints of the segments.
//!
//! One owner writes; nothing here locks or waits. Order of use:
//! [`CommitLog::open`] with the last checkpoint's mark, apply the [`Replay`], sync what it
//! touched, make a checkpoint with [`CommitLog::last`] durable, [`CommitLog::release`] that
//! sequence, and only then [`CommitLog::write`]: a run's frames are found through a checkpoint of
//! that run only.

mod buffer;
mod frame;
mod replay;
mod ring;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::base::ids::TopicPartition;
use crate::wire::batch::HEADER_BYTES;

pub use frame::{Mark, NotAFrame, ReplayedRow};
pub use replay::{Replay, ReplayEnd, ReplayedCommit};
pub use ring::{CommitError, CommitLog, CommitSettings};

/// One batch of a commit, stamped with its offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub tp: TopicPartition,
    /// The batch's header as it is stored.
    pub header: [u8; HEADER_BYTES],
    /// The batch's bytes after the header.
    pub records: Bytes,
    /// The batch is on stable storage in its segment, so the log keeps only what recognises it.
    pub in_segment: bool,
}

impl Row {
    /// Length of the whole batch.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    #[must_use]
    pub fn base_offset(&self) -> i64 {
        let mut field = [0; 8];
        field.copy_from_slice(&self.header[..8]);
        i64::from_be_bytes(field)
    }
}
