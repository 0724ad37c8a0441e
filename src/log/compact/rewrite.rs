//! One batch without the records that compaction drops: bytes in, bytes out.
//!
//! What stays of a batch keeps its base offset, last offset, producer and sequences, so that
//! offsets are never renumbered and a producer's retries are still recognised. A batch of which
//! nothing is dropped stays as it is, byte for byte, unless a tombstone in it gets its delete
//! horizon now. Control batches have keys of their own kind, which mean nothing here: they stay.
//! Source: Kafka 4.3, `MemoryRecords.filterTo`, `Cleaner.shouldRetainRecord`; KIP-534.

use super::map::OffsetMap;
use crate::wire::batch::{BatchHeader, HEADER_BYTES, TimestampType};
use crate::wire::builder::{BatchBuilder, BuildError};
use crate::wire::records::{self, BodyError, Record};

/// Most bytes that a batch may decompress to, as for a reader.
const MAX_OPENED_BYTES: usize = 1 << 31;

/// Why a batch can not be rewritten: its log can not be compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    #[error("its codec is not known")]
    Codec,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What is known when a round begins.
pub struct Rules<'a> {
    pub map: &'a OffsetMap,
    /// The time of the round.
    pub now_ms: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    Unchanged,
    Replaced(Vec<u8>),
    Removed,
}

impl Rules<'_> {
    /// The batch as compaction leaves it. `batch` is whole and its checksum right; with
    /// `keep_empty` something of it stays in any case.
    ///
    /// # Errors
    /// If the records can not be read or written.
    pub fn rewrite(&self, batch: &[u8], keep_empty: bool) -> Result<Rewritten, RewriteError> {
        let header = BatchHeader::parse(batch).map_err(|_| RewriteError::Codec)?;
        if header.is_control() {
            return Ok(Rewritten::Unchanged);
        }
        let body = &batch[HEADER_BYTES..];
        let survey = self.survey(&header, body)?;
        if survey.kept.is_empty() {
            return Ok(match keep_empty {
                false => Rewritten::Removed,
                true if header.record_count == 0 => Rewritten::Unchanged,
                true => Rewritten::Replaced(header.emptied().write().to_vec()),
            });
        }
        let whole = usize::try_from(header.record_count) == Ok(survey.kept.len());
        let new_horizon = survey.tombstones && header.delete_horizon_ms().is_none();
        if whole && !new_horizon {
            return Ok(Rewritten::Unchanged);
        }
        let horizon_ms = match new_horizon {
            true => Some(self.now_ms.saturating_add(self.delete_retention_ms)),
            false => header.delete_horizon_ms(),
        };
        Ok(Rewritten::Replaced(thin(&header, body, &survey.kept, horizon_ms)?))
    }

    /// Looks at all records and builds nothing: most batches stay as they are.
    fn survey(&self, header: &BatchHeader, body: &[u8]) -> Result<Survey, RewriteError> {
        let mut survey = Survey::default();
        each(header, body, |place, record| {
            if self.keeps(header, record) {
                survey.kept.push(place);
                survey.tombstones |= record.value.is_none();
            }
        })?;
        Ok(survey)
    }

    fn keeps(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        let offset = offset_of(header, record);
        if offset > self.map.latest() {
            return true;
        }
        // A record without key can not be superseded; Kafka too drops it from compacted logs.
        let Some(key) = record.key else { return false };
        let is_latest = self.map.get(key).is_none_or(|latest| offset >= latest);
        let is_due = header.delete_horizon_ms().is_some_and(|horizon| self.now_ms >= horizon);
        is_latest && (record.value.is_some() || !is_due)
    }
}

/// What of a batch stays.
#[derive(Default)]
struct Survey {
    /// Places of the records within the batch, rising.
    kept: Vec<u32>,
    /// There are tombstones among them.
    tombstones: bool,
}

/// A record's offset in the log.
pub(super) fn offset_of(header: &BatchHeader, record: &Record<'_>) -> i64 {
    header.base_offset.saturating_add(i64::from(record.offset_delta))
}

/// Hands over all records of a batch, each with its place.
pub(super) fn each(
    header: &BatchHeader,
    body: &[u8],
    mut see: impl FnMut(u32, &Record<'_>),
) -> Result<(), RewriteError> {
    let codec = header.codec().ok_or(RewriteError::Codec)?;
    if header.record_count == 0 {
        return Ok(());
    }
    let mut place = 0;
    records::for_each(codec, body, header.record_count, MAX_OPENED_BYTES, |record| {
        see(place, record);
        place += 1;
    })?;
    Ok(())
}

/// The batch with the records at these places.
fn thin(
    header: &BatchHeader,
    body: &[u8],
    kept: &[u32],
    delete_horizon_ms: Option<i64>,
) -> Result<Vec<u8>, RewriteError> {
    let appended = header.timestamp_type() == TimestampType::LogAppendTime;
    let mut builder = BatchBuilder::thinning(header, delete_horizon_ms);
    let mut kept = kept.iter().peekable();
    each(header, body, |place, record| {
        if kept.next_if_eq(&&place).is_some() {
            let created = header.base_timestamp_ms.saturating_add(record.timestamp_delta_ms);
            // Of a batch stamped at append every record's time is the batch's.
            builder.keep_record(if appended { header.max_timestamp_ms } else { created }, record);
        }
    })?;
    let (header, records) = builder.build_parts()?;
    Ok([&header.write()[..], &records].concat())
}

#[cfg(test)]
mod tests;
