//! Sparse indexes of a segment, in Kafka's layout on disk.
//!
//! ```text
//! .index      8 bytes an entry:  i32 last offset of a batch, i32 position at which it begins
//! .timeindex 12 bytes an entry:  i64 largest timestamp so far, i32 last offset of its batch
//! ```
//!
//! Offsets are relative to the segment's base; both parts of both indexes rise strictly. There is
//! no checksum, so an index is a cache: it is checked against the log before its first use in a
//! process, and made again from the log if anything is odd. While a segment is written its index
//! is in memory ([`growing`]); files appear when it is sealed, checkpointed or closed ([`disk`]).

pub mod disk;
pub mod growing;

/// Where a batch is in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Relative offset of the batch's first record. Not in Kafka's file: 0 if read from there.
    pub base_offset: u32,
    /// Relative offset of the batch's last record.
    pub last_offset: u32,
    /// Byte at which the batch begins.
    pub position: u32,
}

/// The largest timestamp up to a point of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp_ms: i64,
    /// Relative offset of the last record of the batch that has it.
    pub last_offset: u32,
}

/// Bytes of one `.index` entry.
pub const OFFSET_ENTRY_BYTES: usize = 8;
/// Bytes of one `.timeindex` entry.
pub const TIME_ENTRY_BYTES: usize = 12;
