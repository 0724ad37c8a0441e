//! The commit log's on-disk frame: all that one commit writes, accepted whole or not at all.
//!
//! Version 1, little-endian. A frame starts at a multiple of 4096 bytes and is padded with zeros
//! to one.
//!
//! ```text
//!  0 u32 magic 0x434d4c4b ("KLMC")    4 u32 CRC-32C of 8..end of table
//!  8 u64 sequence                    16 u64 run
//! 24 u32 rows                        28 u16 version = 1     30 u16 zero
//! 32 u64 payload bytes
//! 40 rows, 44 bytes each:
//!    0 16  topic id      16 i32 partition         20 i64 base offset
//!   28 u32 batch bytes   32 i32 leader epoch      36 u32 the batch's own CRC-32C
//!   40 u32 flags: bit 0 = the batch is in its segment already and has no payload here
//! 40 + 44 * rows: the batches without that flag, in order, nothing between them
//! ```
//!
//! A row's CRC is the one in the batch's header, summed when the batch was validated: it covers
//! the batch from byte 21 on, and the row covers what lies before. So a byte is not summed again
//! on its way to disk, and replay still checks each. Rejected: a CRC of our own over the payload,
//! 0.2 s of processor per GB.
//!
//! The run is a random number that each start of the broker chooses. It tells a frame from what
//! an earlier run left in a recycled file, and from a forged one inside a client's record.

use bytes::Bytes;

use super::Row;
use crate::base::ids::{TopicPartition, Uuid};
use crate::store::DIRECT_ALIGN_BYTES;
use crate::wire::batch::HEADER_BYTES;

const MAGIC: u32 = u32::from_le_bytes(*b"KLMC");
const VERSION: u16 = 1;
pub(super) const HEAD_BYTES: usize = 40;
const ROW_BYTES: usize = 44;
const IN_SEGMENT: u32 = 1;
/// Where a batch's own CRC starts to count.
const CRC_FROM: usize = 21;

/// A frame's place in the order of all commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Random, chosen at each start of the broker.
    pub run: u64,
    /// Rises by one with every commit, across runs.
    pub sequence: u64,
}

impl Mark {
    pub(super) const fn next(self) -> Self {
        Self { run: self.run, sequence: self.sequence.saturating_add(1) }
    }
}

/// The size of a frame, known before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameSize {
    rows: usize,
    payload_bytes: usize,
}

impl FrameSize {
    pub(super) fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Self {
        let mut size = Self { rows: 0, payload_bytes: 0 };
        for row in rows {
            size.rows += 1;
            size.payload_bytes += if row.in_segment { 0 } else { row.size_bytes() };
        }
        size
    }

    const fn table_end(self) -> usize {
        HEAD_BYTES + self.rows * ROW_BYTES
    }

    /// Bytes on disk, padding included.
    pub(super) const fn padded_bytes(self) -> usize {
        (self.table_end() + self.payload_bytes).next_multiple_of(DIRECT_ALIGN_BYTES)
    }
}

/// Writes a frame of this size over `out`, which is as long as its padded size.
pub(super) fn encode<'a>(
    mark: Mark,
    size: FrameSize,
    rows: impl Iterator<Item = &'a Row>,
    out: &mut [u8],
) {
    assert_eq!(out.len(), size.padded_bytes(), "the buffer is the frame");
    let (table, payload) = out.split_at_mut(size.table_end());
    let mut payload_end = 0;
    for (row, cells) in rows.zip(table[HEAD_BYTES..].chunks_exact_mut(ROW_BYTES)) {
        encode_row(row, cells);
        if !row.in_segment {
            for part in [&row.header[..], &row.records[..]] {
                payload[payload_end..payload_end + part.len()].copy_from_slice(part);
                payload_end += part.len();
            }
        }
    }
    assert_eq!(payload_end, size.payload_bytes, "the rows are those that were sized");
    payload[payload_end..].fill(0);
    let rows = u32::try_from(size.rows).expect("a commit's rows are far below 2^32");
    table[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    table[8..16].copy_from_slice(&mark.sequence.to_le_bytes());
    table[16..24].copy_from_slice(&mark.run.to_le_bytes());
    table[24..28].copy_from_slice(&rows.to_le_bytes());
    table[28..30].copy_from_slice(&VERSION.to_le_bytes());
    table[30..32].fill(0);
    table[32..40].copy_from_slice(&(size.payload_bytes as u64).to_le_bytes());
    let crc = crc32c::crc32c(&table[8..]);
    table[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn encode_row(row: &Row, cells: &mut [u8]) {
    let size = u32::try_from(row.size_bytes()).expect("a batch's length fits its 32-bit field");
    cells[0..16].copy_from_slice(row.tp.topic_id.as_bytes());
    cells[16..20].copy_from_slice(&row.tp.partition.to_le_bytes());
    cells[20..28].copy_from_slice(&row.base_offset().to_le_bytes());
    cells[28..32].copy_from_slice(&size.to_le_bytes());
    cells[32..36].copy_from_slice(&i32_at(&row.header, 12).to_le_bytes());
    cells[36..40].copy_from_slice(&crc_field(&row.header).to_le_bytes());
    let flags = if row.in_segment { IN_SEGMENT } else { 0 };
    cells[40..44].copy_from_slice(&flags.to_le_bytes());
}

/// One row of a commit, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedRow {
    pub tp: TopicPartition,
    pub base_offset: i64,
    /// Length of the whole batch.
    pub size_bytes: u32,
    pub leader_epoch: i32,
    /// The CRC field of the batch's header.
    pub crc: u32,
    /// The batch, its CRC checked; `None` if it is in its segment, where the caller finds it by
    /// its base offset and checks it against length, epoch and CRC.
    pub batch: Option<Bytes>,
}

/// Why bytes are not the frame that was expected there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAFrame {
    #[error("no frame")]
    Nothing,
    /// Left over from before the file was recycled, or from an earlier run.
    #[error("an older frame")]
    Stale,
    #[error("the frame's table is damaged")]
    Table,
    #[error("format version {0}")]
    Version(u16),
    #[error("the file ends within the frame")]
    Cut,
    #[error("batch {row} of the frame is damaged")]
    Batch { row: u32 },
}

/// The mark that a frame at the head of `bytes` claims, without any check of the rest.
pub(super) fn claimed(bytes: &[u8]) -> Option<Mark> {
    (bytes.len() >= HEAD_BYTES && u32_at(bytes, 0) == MAGIC)
        .then(|| Mark { sequence: u64_at(bytes, 8), run: u64_at(bytes, 16) })
}

/// Reads the frame at `bytes[at..]`, which must have this mark; returns its rows and its padded
/// length. Never panics, and allocates no more than the bytes given allow.
pub(super) fn parse(
    bytes: &Bytes,
    at: usize,
    expected: Mark,
) -> Result<(Vec<ReplayedRow>, usize), NotAFrame> {
    let rest = bytes.get(at..).ok_or(NotAFrame::Nothing)?;
    let mark = claimed(rest).ok_or(NotAFrame::Nothing)?;
    if mark != expected {
        return Err(NotAFrame::Stale);
    }
    let rows = u32_at(rest, 24) as usize;
    let table_end = rows.checked_mul(ROW_BYTES).and_then(|table| table.checked_add(HEAD_BYTES));
    let payload_at = table_end.filter(|end| *end <= rest.len()).ok_or(NotAFrame::Cut)?;
    if crc32c::crc32c(&rest[8..payload_at]) != u32_at(rest, 4) {
        return Err(NotAFrame::Table);
    }
    match u16::from_le_bytes(array(rest, 28)) {
        VERSION => {}
        newer => return Err(NotAFrame::Version(newer)),
    }
    let payload_bytes = usize::try_from(u64_at(rest, 32)).map_err(|_| NotAFrame::Cut)?;
    let end = payload_at.checked_add(payload_bytes).filter(|end| *end <= rest.len());
    let end = end.ok_or(NotAFrame::Cut)?;
    let payload = bytes.slice(at + payload_at..at + end);
    let rows = parse_rows(&rest[HEAD_BYTES..payload_at], &payload)?;
    Ok((rows, end.next_multiple_of(DIRECT_ALIGN_BYTES)))
}

fn parse_rows(table: &[u8], payload: &Bytes) -> Result<Vec<ReplayedRow>, NotAFrame> {
    let mut rows = Vec::with_capacity(table.len() / ROW_BYTES);
    let mut payload_end = 0_usize;
    for (index, cells) in (0_u32..).zip(table.chunks_exact(ROW_BYTES)) {
        let mut row = parse_row(cells);
        if u32_at(cells, 40) & IN_SEGMENT == 0 {
            let damaged = NotAFrame::Batch { row: index };
            let end = payload_end.checked_add(row.size_bytes as usize);
            let end = end.filter(|end| *end <= payload.len()).ok_or(damaged)?;
            let batch = payload.slice(payload_end..end);
            if !row.matches(&batch) {
                return Err(damaged);
            }
            row.batch = Some(batch);
            payload_end = end;
        }
        rows.push(row);
    }
    Ok(rows)
}

fn parse_row(cells: &[u8]) -> ReplayedRow {
    let topic_id = Uuid::from_slice(&cells[..16]).expect("16 bytes are a UUID");
    ReplayedRow {
        tp: TopicPartition::new(topic_id, i32_at_le(cells, 16)),
        base_offset: i64::from_le_bytes(array(cells, 20)),
        size_bytes: u32_at(cells, 28),
        leader_epoch: i32_at_le(cells, 32),
        crc: u32_at(cells, 36),
        batch: None,
    }
}

impl ReplayedRow {
    /// Whether these bytes are the row's batch, every one of them.
    #[must_use]
    pub fn matches(&self, batch: &[u8]) -> bool {
        batch.len() == self.size_bytes as usize
            && batch.len() >= HEADER_BYTES
            && i64::from_be_bytes(array(batch, 0)) == self.base_offset
            && i64::from(i32_at(batch, 8)) + 12 == i64::from(self.size_bytes)
            && i32_at(batch, 12) == self.leader_epoch
            && batch[16] == 2
            && crc_field(batch) == self.crc
            && crc32c::crc32c(&batch[CRC_FROM..]) == self.crc
    }
}

/// The CRC of a batch's header, big-endian as all of it.
fn crc_field(batch: &[u8]) -> u32 {
    u32::from_be_bytes(array(batch, 17))
}

/// An i32 of a batch's header.
fn i32_at(batch: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array(batch, at))
}

fn i32_at_le(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// `N` bytes at a place the caller has checked.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
