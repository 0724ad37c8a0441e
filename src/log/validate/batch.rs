//! A batch that has been judged and can be appended.

use bytes::Bytes;

use super::BatchRules;
use crate::wire::batch::{BatchHeader, CRC_START, HEADER_BYTES, TimestampType};
use crate::wire::builder::{BatchBuilder, BuildError};
use crate::wire::crc;

/// The idempotent producer that signed a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
    pub last_sequence: i32,
    pub transactional: bool,
}

/// A judged batch: the records as they came over the wire, and the header to store.
///
/// The header's bytes, its parsed form and its CRC agree at all times.
#[derive(Clone, Debug)]
pub struct ValidBatch {
    header: BatchHeader,
    header_bytes: [u8; HEADER_BYTES],
    records: Bytes,
    timestamp_type: TimestampType,
}

impl ValidBatch {
    /// A batch of the broker's own, with the times of its records: what it writes itself needs no
    /// judge.
    ///
    /// # Errors
    /// The records do not fit a batch, or the codec failed.
    pub fn own(builder: BatchBuilder) -> Result<Self, BuildError> {
        let (header, records) = builder.build_parts()?;
        let header_bytes = header.write();
        Ok(Self { header, header_bytes, records, timestamp_type: TimestampType::CreateTime })
    }

    /// As on a topic with LogAppendTime: its time is that of its append.
    #[must_use]
    pub const fn timed_by_append(mut self) -> Self {
        self.timestamp_type = TimestampType::LogAppendTime;
        self
    }

    /// Keeps the records; of what the CRC covers only timestamp type and max timestamp change.
    pub(super) fn as_sent(
        header: BatchHeader,
        records: Bytes,
        max_timestamp_ms: i64,
        rules: &BatchRules,
    ) -> Self {
        let header_bytes = header.write();
        let timestamp_type = rules.timestamp_type;
        let mut batch = Self { header, header_bytes, records, timestamp_type };
        if header.is_paired() {
            // Means something on disk, and nothing from a client: no other bit is its own either.
            batch.set_paired(false);
        }
        // On a LogAppendTime topic the stamp sets both; as sent they are as good as any.
        if timestamp_type == TimestampType::CreateTime {
            batch.restamp(|header| {
                header.set_timestamp_type(TimestampType::CreateTime);
                header.max_timestamp_ms = max_timestamp_ms;
            });
        }
        batch
    }

    /// The header as it will be stored, once stamped.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The header's bytes as they will be stored, once stamped.
    #[must_use]
    pub const fn header_bytes(&self) -> &[u8; HEADER_BYTES] {
        &self.header_bytes
    }

    /// What follows the header, as the producer sent it or as it was rebuilt.
    #[must_use]
    pub const fn records(&self) -> &Bytes {
        &self.records
    }

    /// Size of the batch, header included.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// What the topic's timestamps are, at the time of judging. With `LogAppendTime`,
    /// [`ValidBatch::stamp`] is to be given the time of append.
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// The idempotent producer, if one signed the batch.
    #[must_use]
    pub fn producer(&self) -> Option<Producer> {
        let header = &self.header;
        header.has_producer().then(|| Producer {
            id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            transactional: header.is_transactional(),
        })
    }

    /// Says whether the batch is half of a pair ([`BatchHeader::is_paired`]); in constant time, and
    /// kept by [`ValidBatch::stamp`].
    pub fn set_paired(&mut self, paired: bool) {
        self.restamp(|header| header.set_paired(paired));
    }

    /// Places the batch in its log, in constant time: base offset and leader epoch, which the
    /// CRC does not cover, and with `append_time_ms` the timestamp type LogAppendTime and that
    /// time as max timestamp, for which the CRC is adjusted without reading the records. May be
    /// called again.
    pub fn stamp(&mut self, base_offset: i64, leader_epoch: i32, append_time_ms: Option<i64>) {
        self.restamp(|header| {
            header.base_offset = base_offset;
            header.leader_epoch = leader_epoch;
            if let Some(append_time_ms) = append_time_ms {
                header.set_timestamp_type(TimestampType::LogAppendTime);
                header.max_timestamp_ms = append_time_ms;
            }
        });
    }

    fn restamp(&mut self, change: impl FnOnce(&mut BatchHeader)) {
        let before = self.header_bytes;
        change(&mut self.header);
        self.header_bytes = self.header.write();
        let (before, after) = (&before[CRC_START..], &self.header_bytes[CRC_START..]);
        if before != after {
            self.header.crc =
                crc::replace_front(self.header.crc, before, after, self.records.len());
            self.header_bytes = self.header.write();
        }
    }
}
