//! Compaction: of each key the latest record stays, under its old offset.
//!
//! A round ([`round`]) reads what is new since the last one into a map from key to latest offset
//! ([`map`]), then writes the segments up to there anew without what is superseded ([`rewrite`]),
//! and the log's owner swaps them in ([`swap`]). Which log and how far is decided by [`select`].
//! Rules are Kafka's (4.3: `Cleaner`, `LogCleanerManager`, `MemoryRecords.filterTo`; KIP-534 for
//! tombstones). One thing is stricter: every segment keeps its last batch, empty if need be, so
//! that segments stay seamless and recovery can tell a hole of compaction from a lost tail.
//!
//! Records of aborted transactions are not known here yet: whoever serves transactions must keep
//! them out of the map.

mod batches;
mod cleaned;
pub mod map;
pub mod progress;
pub mod rewrite;
pub mod round;
pub mod select;
pub mod swap;

use std::io;

use rewrite::RewriteError;

/// A round ended early. What it had swapped in until then stays, which is right at any point.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The log can not be compacted before somebody repairs it.
    #[error("segment {segment} is damaged at byte {position}: {why}")]
    Damaged { segment: i64, position: u64, why: String },
    #[error("the log cannot be read or written: {0}")]
    Storage(#[from] io::Error),
    /// Final for the data directory, as every failed sync: nothing tells what else it lost.
    #[error("a sync failed: {0}")]
    Sync(io::Error),
    /// Segments that were being compacted are gone, or the broker stops.
    #[error("given up, as the log has changed or the broker stops")]
    Interrupted,
}

impl CompactError {
    fn damaged(segment: i64, position: u64, why: impl ToString) -> Self {
        Self::Damaged { segment, position, why: why.to_string() }
    }

    fn unwritable(segment: i64, position: u64, error: &RewriteError) -> Self {
        Self::damaged(segment, position, error)
    }
}
