//! What can go wrong in a partition log, and what Kafka calls it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::producers::SequenceError;
use crate::base::fault::{Code, Fault};
use crate::base::ids::Uuid;

/// A partition cannot be opened; others can.
#[derive(Debug, Error)]
pub enum LogError {
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} belongs to topic {found}, not {expected}", path = path.display())]
    OtherTopic { path: PathBuf, expected: Uuid, found: Uuid },
    /// The partition had records, and its directory has no segment.
    #[error("{path} has no segments, but should reach offset {end}", path = path.display())]
    Missing { path: PathBuf, end: i64 },
    #[error("{path} is too large for a segment: {bytes} bytes", path = path.display())]
    OversizeSegment { path: PathBuf, bytes: u64 },
}

/// An append did not happen: the log is as before.
#[derive(Debug, Error)]
pub enum AppendError {
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The disk is full, or a file could not be made; the client may retry.
    #[error("the log cannot be written: {0}")]
    Storage(#[from] io::Error),
    /// A write failed, and not for want of room: what else the disk has lost is not known. Final
    /// for the data directory, as a failed sync is.
    #[error("the log cannot be written: {0}")]
    Failed(#[source] io::Error),
}

impl AppendError {
    /// What the failure of a write to a segment means.
    pub(crate) fn of_write(error: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Storage(error),
            _ => Self::Failed(error),
        }
    }

    /// What the failure of a pair's second half means, once the first is written: the directory
    /// holds half a pair, which only recovery can take back.
    #[must_use]
    pub fn of_second_half(self) -> Self {
        match self {
            Self::Storage(error) => Self::Failed(error),
            other => other,
        }
    }
}

impl From<AppendError> for Fault {
    fn from(error: AppendError) -> Self {
        let code = match &error {
            AppendError::Sequence(SequenceError::Fenced { .. }) => Code::InvalidProducerEpoch,
            AppendError::Sequence(SequenceError::OutOfOrder { .. }) => {
                Code::OutOfOrderSequenceNumber
            }
            AppendError::Storage(_) | AppendError::Failed(_) => Code::KafkaStorageError,
        };
        Self::with(code, error.to_string())
    }
}

/// A row of the commit log cannot be put back into its log.
#[derive(Debug, Error)]
pub enum ReplayError {
    #[error("not a whole batch")]
    Malformed,
    /// What was written before the row is gone: the log was damaged below its durable end.
    #[error("the log ends at {log_end}, the row begins at {base_offset}")]
    Gap { log_end: i64, base_offset: i64 },
    #[error("the log cannot be written: {0}")]
    Storage(#[from] io::Error),
}

impl From<AppendError> for ReplayError {
    /// A replay asks no producer.
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Storage(error) | AppendError::Failed(error) => Self::Storage(error),
            AppendError::Sequence(error) => Self::Storage(io::Error::other(error)),
        }
    }
}

/// A read that yields nothing.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("offset {offset} is outside of {log_start} to {log_end}")]
    OutOfRange { offset: i64, log_start: i64, log_end: i64 },
    #[error("the batch at byte {position} of segment {segment} is damaged")]
    Corrupt { segment: i64, position: u64 },
    #[error("the log cannot be read: {0}")]
    Storage(#[from] io::Error),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        let code = match &error {
            ReadError::OutOfRange { .. } => Code::OffsetOutOfRange,
            ReadError::Corrupt { .. } => Code::CorruptMessage,
            ReadError::Storage(_) => Code::KafkaStorageError,
        };
        Self::with(code, error.to_string())
    }
}

/// An offset beyond what may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("offset {offset} is beyond the high watermark {high_watermark}")]
pub struct BeyondHighWatermark {
    pub offset: i64,
    pub high_watermark: i64,
}
