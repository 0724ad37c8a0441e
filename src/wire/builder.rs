//! Builds record batches: for recompression, for what the broker itself appends, for tests and
//! for the load generator.
//!
//! Record attributes are written as zero, which is all that magic 2 has. Headers are copied as
//! they stand, so that duplicates, their order and keys that are not UTF-8 survive.

use bytes::Bytes;

use crate::wire::batch::{
    BatchHeader, CRC_START, HEADER_BYTES, LENGTH_OVERHEAD_BYTES, MAGIC, NONE,
};
use crate::wire::compression::{Codec, Codecs, CompressionError};
use crate::wire::crc;
use crate::wire::records::{Header, Record};
use crate::wire::varint::{put_i32, put_i64};

/// Why a batch can not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The length field could not hold it.
    #[error("the records take more bytes than a batch can hold")]
    TooLarge,
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// Takes records one by one and becomes a batch at base offset 0.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    level: Option<i32>,
    body: Vec<u8>,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// A batch without producer. `level` as for [`Codecs::compress`].
    #[must_use]
    pub fn new(codec: Codec, level: Option<i32>) -> Self {
        let mut header = BatchHeader {
            base_offset: 0,
            length: 0,
            leader_epoch: i32::from(NONE),
            magic: MAGIC,
            crc: 0,
            attributes: 0,
            last_offset_delta: -1,
            base_timestamp_ms: i64::from(NONE),
            max_timestamp_ms: i64::from(NONE),
            producer_id: i64::from(NONE),
            producer_epoch: i16::from(NONE),
            base_sequence: i32::from(NONE),
            record_count: 0,
        };
        header.set_codec(codec);
        Self { header, level, body: Vec::new(), scratch: Vec::new() }
    }

    /// A batch with some of another's records, under their offsets: base and last offset,
    /// producer, sequence and codec are the other's. With a delete horizon, that is its base
    /// timestamp. Filled by [`BatchBuilder::keep_record`].
    #[must_use]
    pub const fn thinning(original: &BatchHeader, delete_horizon_ms: Option<i64>) -> Self {
        let mut header = *original;
        header.record_count = 0;
        header.max_timestamp_ms = NONE as i64;
        if let Some(horizon_ms) = delete_horizon_ms {
            header.set_delete_horizon(horizon_ms);
        }
        Self { header, level: None, body: Vec::new(), scratch: Vec::new() }
    }

    /// Puts the records into another codec. `level` as for [`Codecs::compress`].
    #[must_use]
    pub const fn packed(mut self, codec: Codec, level: Option<i32>) -> Self {
        self.header.set_codec(codec);
        self.level = level;
        self
    }

    /// Ends the batch at this offset, which its last record has or had.
    #[must_use]
    pub const fn ending_at(mut self, last_offset_delta: i32) -> Self {
        self.header.last_offset_delta = last_offset_delta;
        self
    }

    /// Signs the batch as an idempotent producer's.
    #[must_use]
    pub const fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub const fn transactional(mut self) -> Self {
        self.header.set_transactional();
        self
    }

    /// Marks the batch as the broker's own: its records are no one's data.
    #[must_use]
    pub const fn control(mut self) -> Self {
        self.header.set_control();
        self
    }

    /// Records so far.
    #[must_use]
    pub const fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Bytes of the records so far, before compression.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Appends a record. `headers` are in order and may repeat.
    pub fn push<'h>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = Header<'h>>,
    ) {
        self.begin(timestamp_ms, key, value);
        put_length(&mut self.scratch, headers.len());
        for header in headers {
            put_nullable(&mut self.scratch, Some(header.key));
            put_nullable(&mut self.scratch, header.value);
        }
        self.end();
    }

    /// Appends a record of another batch, its headers byte for byte.
    pub fn push_record(&mut self, timestamp_ms: i64, record: &Record<'_>) {
        self.begin(timestamp_ms, record.key, record.value);
        self.copy_headers(record);
    }

    /// As [`BatchBuilder::push_record`], under the record's own offset, which must be within
    /// those of the batch that is thinned.
    pub fn keep_record(&mut self, timestamp_ms: i64, record: &Record<'_>) {
        self.begin_at(record.offset_delta, timestamp_ms, record.key, record.value);
        self.copy_headers(record);
    }

    /// As [`BatchBuilder::keep_record`], with other headers in the place of its own.
    pub fn keep_record_under<'h>(
        &mut self,
        timestamp_ms: i64,
        record: &Record<'_>,
        headers: impl Iterator<Item = Header<'h>>,
    ) {
        self.begin_at(record.offset_delta, timestamp_ms, record.key, record.value);
        put_i32(&mut self.scratch, record.headers.count());
        for header in headers {
            put_nullable(&mut self.scratch, Some(header.key));
            put_nullable(&mut self.scratch, header.value);
        }
        self.end();
    }

    /// As [`BatchBuilder::keep_record`], with one header more behind the record's own.
    pub fn keep_record_with(&mut self, timestamp_ms: i64, record: &Record<'_>, last: Header<'_>) {
        self.begin_at(record.offset_delta, timestamp_ms, record.key, record.value);
        put_i32(&mut self.scratch, record.headers.count().saturating_add(1));
        self.scratch.extend_from_slice(record.headers.bytes());
        put_nullable(&mut self.scratch, Some(last.key));
        put_nullable(&mut self.scratch, last.value);
        self.end();
    }

    fn copy_headers(&mut self, record: &Record<'_>) {
        put_i32(&mut self.scratch, record.headers.count());
        self.scratch.extend_from_slice(record.headers.bytes());
        self.end();
    }

    fn begin(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.header.last_offset_delta += 1;
        self.begin_at(self.header.last_offset_delta, timestamp_ms, key, value);
    }

    fn begin_at(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let header = &mut self.header;
        if header.record_count == 0 && header.delete_horizon_ms().is_none() {
            header.base_timestamp_ms = timestamp_ms;
        }
        header.max_timestamp_ms = header.max_timestamp_ms.max(timestamp_ms);
        header.record_count += 1;

        self.scratch.clear();
        self.scratch.push(0);
        put_i64(&mut self.scratch, timestamp_ms.wrapping_sub(header.base_timestamp_ms));
        put_i32(&mut self.scratch, offset_delta);
        put_nullable(&mut self.scratch, key);
        put_nullable(&mut self.scratch, value);
    }

    fn end(&mut self) {
        put_length(&mut self.body, self.scratch.len());
        self.body.extend_from_slice(&self.scratch);
    }

    /// The batch in two parts: its header, with length and CRC, and its records.
    ///
    /// # Errors
    /// If the records do not fit a batch, or the codec fails.
    pub fn build_parts(mut self) -> Result<(BatchHeader, Bytes), BuildError> {
        let records = match self.header.codec() {
            Some(codec) if codec != Codec::None => {
                let mut compressed = Vec::new();
                Codecs::of_thread(|codecs| {
                    codecs.compress(codec, self.level, &self.body, &mut compressed)
                })?;
                compressed
            }
            _ => self.body,
        };
        let length = HEADER_BYTES - LENGTH_OVERHEAD_BYTES + records.len();
        self.header.length = i32::try_from(length).map_err(|_| BuildError::TooLarge)?;
        self.header.crc = crc::append(crc::crc32c(&self.header.write()[CRC_START..]), &records);
        Ok((self.header, records.into()))
    }

    /// The batch as it goes over the wire.
    ///
    /// # Errors
    /// As [`BatchBuilder::build_parts`].
    pub fn build(self) -> Result<Bytes, BuildError> {
        let (header, records) = self.build_parts()?;
        Ok([&header.write()[..], &records].concat().into())
    }
}

fn put_nullable(output: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_length(output, bytes.len());
            output.extend_from_slice(bytes);
        }
        None => put_i32(output, -1),
    }
}

/// A length beyond `i32` saturates: the whole is then too large to become a batch.
fn put_length(output: &mut Vec<u8>, length: usize) {
    put_i32(output, i32::try_from(length).unwrap_or(i32::MAX));
}
