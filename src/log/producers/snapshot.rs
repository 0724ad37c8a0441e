//! Kafka's producer snapshot, `<20-digit offset>.snapshot`: state as of that offset.
//!
//! ```text
//! 0 i16 version = 1     2 u32 CRC-32C of 6..end     6 i32 count, then per producer 46 bytes:
//! i64 producer id, i16 epoch, i32 last sequence, i64 last offset, i32 offset delta,
//! i64 timestamp, i32 coordinator epoch, i64 first offset of the open transaction (-1: none)
//! ```
//!
//! It holds one batch per producer, so a broker that starts from it alone knows one retry, not
//! five; the checkpoint holds them all, and this file is the fallback and what Kafka's tools
//! read. Source: Kafka 4.3, `ProducerSnapshot.json`.

use bytes::{Buf, BufMut};
use smallvec::smallvec;
use thiserror::Error;

use super::{BatchTrace, ProducerState};

const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;

/// Why a snapshot is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    #[error("version {0} is not known")]
    Version(i16),
    #[error("length {0} does not fit its content")]
    Length(usize),
    #[error("checksum does not match")]
    Checksum,
}

/// Writes the states in the given order.
#[must_use]
pub fn encode(states: &[ProducerState]) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + states.len() * ENTRY_BYTES);
    body.put_i32(i32::try_from(states.len()).expect("producers are capped far below this"));
    for state in states {
        let last = state.batches.last();
        body.put_i64(state.producer_id);
        body.put_i16(state.epoch);
        body.put_i32(state.last_sequence());
        body.put_i64(last.map_or(-1, |batch| batch.last_offset));
        body.put_i32(last.map_or(0, sequence_span));
        body.put_i64(last.map_or(state.last_seen_ms, |batch| batch.timestamp_ms));
        body.put_i32(-1);
        body.put_i64(-1);
    }
    let mut bytes = Vec::with_capacity(6 + body.len());
    bytes.put_i16(VERSION);
    bytes.put_u32(crc32c::crc32c(&body));
    bytes.extend_from_slice(&body);
    bytes
}

/// Reads what [`encode`] or Kafka wrote; every producer counts as heard of at `now_ms`.
///
/// # Errors
/// See [`SnapshotError`].
pub fn decode(bytes: &[u8], now_ms: i64) -> Result<Vec<ProducerState>, SnapshotError> {
    if bytes.len() < HEADER_BYTES || !(bytes.len() - HEADER_BYTES).is_multiple_of(ENTRY_BYTES) {
        return Err(SnapshotError::Length(bytes.len()));
    }
    let mut rest = bytes;
    let version = rest.get_i16();
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    if rest.get_u32() != crc32c::crc32c(rest) {
        return Err(SnapshotError::Checksum);
    }
    let count = rest.get_i32();
    if usize::try_from(count) != Ok(rest.len() / ENTRY_BYTES) {
        return Err(SnapshotError::Length(bytes.len()));
    }
    Ok(rest.chunks_exact(ENTRY_BYTES).map(|entry| decode_entry(entry, now_ms)).collect())
}

fn decode_entry(mut entry: &[u8], now_ms: i64) -> ProducerState {
    let (producer_id, epoch) = (entry.get_i64(), entry.get_i16());
    let (last_sequence, last_offset) = (entry.get_i32(), entry.get_i64());
    let (delta, timestamp_ms) = (entry.get_i32().max(0), entry.get_i64());
    let mut state =
        ProducerState { producer_id, epoch, last_seen_ms: now_ms, batches: smallvec![] };
    if last_sequence >= 0 && last_offset >= 0 {
        state.batches.push(BatchTrace {
            first_sequence: sequence_minus(last_sequence, delta),
            last_sequence,
            base_offset: last_offset.saturating_sub(i64::from(delta)),
            last_offset,
            timestamp_ms,
        });
    }
    state
}

/// Kafka derives the first sequence from the offset delta, so it is the sequence span that is
/// written where the two differ.
fn sequence_span(batch: &BatchTrace) -> i32 {
    let span = batch.last_sequence.wrapping_sub(batch.first_sequence);
    if span >= 0 { span } else { span.wrapping_add(i32::MAX).wrapping_add(1) }
}

fn sequence_minus(sequence: i32, count: i32) -> i32 {
    if sequence >= count { sequence - count } else { i32::MAX - (count - sequence) + 1 }
}
