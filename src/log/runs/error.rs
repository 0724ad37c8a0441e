//! What can go wrong with runs.

use std::io;

use super::meta::RunId;
use crate::delay::key::Key;

/// A run could not be read, written or merged.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The disk's own: a full one, or one that cannot be read now. The call may be repeated,
    /// unless it was a sync that failed.
    #[error("delay run: {0}")]
    Io(#[from] io::Error),
    /// Bytes are not what was written.
    #[error("delay run {run}: {what} is damaged")]
    Damaged { run: RunId, what: &'static str },
    /// The flag was raised.
    #[error("delay run: abandoned")]
    Aborted,
}

/// Entries that damage took: passed by a cursor, for its owner to count and to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub run: RunId,
    pub slice: u32,
    /// Their keys are at or above this one.
    pub from: Key,
    /// Their keys are below this one.
    pub below: Key,
    /// How many, and the length of their records. Those that were cancelled, or passed before
    /// the cursor began, are counted too; [`super::Run::keys_within`] tells them apart.
    pub entries: u64,
    pub record_bytes: u64,
}
