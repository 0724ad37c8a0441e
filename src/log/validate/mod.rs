//! The only judge of produced bytes: what the wire calls a partition's records becomes a
//! [`ValidBatch`] or a [`Refusal`] with Kafka's code.
//!
//! One pass for the CRC and one over the records, hopping by lengths; nothing is copied unless
//! the batch has to be rebuilt. Who needs to see records implements [`Inspect`] and rides on the
//! second pass, as [`judge`] does for delayed delivery (`divert`). Producer state, ISR and offsets are not judged here.
//!
//! Order and codes are those of Kafka 4.3 (`ProduceRequest`, `UnifiedLog`, `LogValidator`), so
//! that a batch with several faults gets the same answer. Stricter in two places, both of which
//! would let one producer break other consumers: a record inside a compressed batch must end
//! where it says, and offsets that skip are rebuilt in uncompressed batches too.

mod batch;
pub mod divert;
mod pass;
mod refusal;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use batch::{Producer, ValidBatch};
pub use divert::{Diverted, Judged};
pub use pass::{Fate, Inspect};
pub use refusal::{RecordFault, Refusal};

use crate::base::fault::Code;
use crate::delay::rules::DelayRules;
use crate::wire::batch::{BatchHeader, CRC_START, HEADER_BYTES, MAGIC, TimestampType};
use crate::wire::compression::Codec;
use crate::wire::crc;
use divert::Sorting;
use pass::Pass;

/// Kafka's `compression.type` of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionRule {
    /// What the producer chose is kept.
    Producer,
    /// Batches of another codec are rebuilt in this one, at this level or the codec's default.
    To { codec: Codec, level: Option<i32> },
}

/// What a topic asks of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRules {
    /// `max.message.bytes`: largest batch, header included.
    pub max_message_bytes: usize,
    /// `segment.bytes`: largest append.
    pub segment_bytes: usize,
    /// Every record needs a key (`cleanup.policy` has `compact`).
    pub compacted: bool,
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a record's time may lie behind the broker's.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far it may lie ahead.
    pub timestamp_after_max_ms: i64,
    pub compression: CompressionRule,
    /// What one batch may become when decompressed. Ours: Kafka has no such limit.
    pub max_decompressed_bytes: usize,
    /// Compressed batches are opened and their records judged, as Kafka does. Without it only
    /// those that must be: whose max timestamp can not be right, on compacted topics, and for
    /// recompression.
    pub open_compressed: bool,
}

/// Judges the records field of one partition of a produce request of version `produce_version`,
/// whatever its records command.
///
/// # Errors
/// The first fault that Kafka would find, with its code.
pub fn validate(
    records: Bytes,
    produce_version: i16,
    rules: &BatchRules,
    now_ms: i64,
) -> Result<ValidBatch, Refusal> {
    validate_with(records, produce_version, rules, now_ms, &mut ())
}

/// As [`validate`], and shows every record to `inspector` in the same pass.
///
/// # Errors
/// As [`validate`]; a record that the inspector refuses is INVALID_RECORD.
pub fn validate_with(
    records: Bytes,
    produce_version: i16,
    rules: &BatchRules,
    now_ms: i64,
    inspector: &mut impl Inspect,
) -> Result<ValidBatch, Refusal> {
    Sound::check(records, produce_version, rules, now_ms, inspector)?.store(rules)
}

/// The broker's clocks when a batch is judged, in epoch milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall time: producers' timestamps are held against it.
    pub wall_ms: i64,
    /// The clock of release: due times are held against it.
    pub release_ms: i64,
}

/// As [`validate`], and takes out what is not for the log, or not yet: delayed records and
/// commands.
///
/// # Errors
/// As [`validate`]; a record that commands wrongly is INVALID_RECORD.
pub fn judge(
    records: Bytes,
    produce_version: i16,
    rules: &BatchRules,
    delay: &DelayRules,
    now: Moment,
) -> Result<Judged, Refusal> {
    let mut sorting = Sorting::new(delay, now.release_ms);
    let sound = Sound::check(records, produce_version, rules, now.wall_ms, &mut sorting)?;
    if sorting.is_all_live() {
        return Ok(Judged { live: Some(sound.store(rules)?), diverted: None });
    }
    let judged = sorting.divert(&sound, rules)?;
    judged.live.as_ref().map_or(Ok(()), |live| check_size(live.size_bytes(), rules))?;
    Ok(judged)
}

/// A batch without a fault, and what the pass over it found.
struct Sound {
    header: BatchHeader,
    codec: Codec,
    batch: Bytes,
    max_timestamp_ms: i64,
    consecutive: bool,
}

impl Sound {
    fn check(
        records: Bytes,
        produce_version: i16,
        rules: &BatchRules,
        now_ms: i64,
        inspector: &mut impl Inspect,
    ) -> Result<Self, Refusal> {
        let batch = only_batch(records, produce_version)?;
        let header = BatchHeader::parse(&batch)
            .map_err(|error| Refusal::new(Code::CorruptMessage, error.to_string()))?;
        let codec = check_as_stored(&header, &batch, rules)?;
        check_as_sent(&header)?;

        let mut pass = Pass::new(&header, rules, now_ms);
        if codec == Codec::None || rules.open_compressed || must_open(&header, codec, rules) {
            pass.run(codec, &batch[HEADER_BYTES..], inspector)?;
        } else {
            pass.trust_header()?;
        }
        let (max_timestamp_ms, consecutive) =
            (pass.max_timestamp_ms(), pass.offsets_are_consecutive());
        Ok(Self { header, codec, batch, max_timestamp_ms, consecutive })
    }

    /// The records as they came over the wire.
    fn body(&self) -> &[u8] {
        &self.batch[HEADER_BYTES..]
    }

    /// Codec and level in which the topic wants them.
    fn target(&self, rules: &BatchRules) -> (Codec, Option<i32>) {
        match rules.compression {
            CompressionRule::Producer => (self.codec, None),
            CompressionRule::To { codec, level } => (codec, level),
        }
    }

    /// The whole batch, for the log.
    fn store(self, rules: &BatchRules) -> Result<ValidBatch, Refusal> {
        let target = self.target(rules);
        let valid = if target.0 == self.codec && self.consecutive {
            let records = self.batch.slice(HEADER_BYTES..);
            ValidBatch::as_sent(self.header, records, self.max_timestamp_ms, rules)
        } else {
            pass::rebuild(&self.header, self.codec, self.body(), target, rules)?
        };
        check_size(valid.size_bytes(), rules)?;
        Ok(valid)
    }
}

/// Checks of the request as a whole: one batch per partition, of magic 2. An incomplete batch
/// behind it is cut off, as Kafka does.
fn only_batch(records: Bytes, produce_version: i16) -> Result<Bytes, Refusal> {
    const NO_BATCH: &str = "a produce request needs one record batch for each partition";
    let invalid = |message: String| Refusal::new(Code::InvalidRecord, message);
    let Some(size) = batch_size(&records)? else { return Err(invalid(NO_BATCH.to_owned())) };
    let magic = i8::from_be_bytes([records[MAGIC_AT]]);
    if magic != MAGIC {
        return Err(invalid(format!("record batch has magic {magic}, only {MAGIC} is accepted")));
    }
    let codec = records.get(CRC_START + 1).map(|attributes| i16::from(attributes & 0x07));
    if produce_version < 7 && codec == Some(Codec::Zstd.id()) {
        let message = format!("zstd needs Produce version 7, this is {produce_version}");
        return Err(Refusal::new(Code::UnsupportedCompressionType, message));
    }
    if batch_size(&records[size..])?.is_some() {
        return Err(invalid("a produce request takes one record batch for each partition".into()));
    }
    Ok(records.slice(..size))
}

const MAGIC_AT: usize = 16;

/// Size of the batch at the front of `bytes`, or nothing if it is not all there. Like Kafka's
/// log reader, it looks no further than the magic byte, and takes it for any format.
fn batch_size(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    const SMALLEST_LENGTH: i32 = 14;
    let corrupt = |message: String| Refusal::new(Code::CorruptMessage, message);
    let Some(length) = bytes.get(8..12).and_then(|field| field.first_chunk()) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    if length < SMALLEST_LENGTH {
        return Err(corrupt(format!("record batch length {length} is below {SMALLEST_LENGTH}")));
    }
    let Some(magic) = bytes.get(MAGIC_AT) else { return Ok(None) };
    if *magic > MAGIC.cast_unsigned() {
        return Err(corrupt(format!("record batch has magic {}", magic.cast_signed())));
    }
    let size = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(12);
    Ok((size <= bytes.len()).then_some(size))
}

/// What any log append asks: base offset, size, checksum, a codec that exists.
fn check_as_stored(
    header: &BatchHeader,
    batch: &[u8],
    rules: &BatchRules,
) -> Result<Codec, Refusal> {
    if header.base_offset != 0 {
        let message = format!("base offset of a produced batch is {}, not 0", header.base_offset);
        return Err(Refusal::new(Code::InvalidRecord, message));
    }
    check_message_size(batch.len(), rules)?;
    let computed = crc::crc32c(&batch[CRC_START..]);
    if computed != header.crc {
        let message = format!("record batch has CRC {:08x}, not {computed:08x}", header.crc);
        return Err(Refusal::new(Code::CorruptMessage, message));
    }
    header.codec().ok_or_else(|| {
        let message = format!("attributes {:#06x} name no codec", header.attributes);
        Refusal::new(Code::InvalidRecord, message)
    })
}

/// What a client's header must say.
fn check_as_sent(header: &BatchHeader) -> Result<(), Refusal> {
    let BatchHeader { last_offset_delta, record_count, producer_id, base_sequence, .. } = *header;
    let fault = if last_offset_delta < 0 {
        format!("last offset delta {last_offset_delta} is negative")
    } else if record_count <= 0 {
        format!("record count {record_count} is not positive")
    } else if record_count - 1 != last_offset_delta {
        format!("record count {record_count} differs from last offset delta {last_offset_delta}")
    } else if header.is_control() {
        "control batches are the broker's own".to_owned()
    } else if header.has_producer() && base_sequence < 0 {
        format!("base sequence {base_sequence} of producer {producer_id} is negative")
    } else {
        return Ok(());
    };
    Err(Refusal::new(Code::InvalidRecord, fault))
}

/// Whether a compressed batch can not be accepted by its header alone.
fn must_open(header: &BatchHeader, codec: Codec, rules: &BatchRules) -> bool {
    let recompress =
        matches!(rules.compression, CompressionRule::To { codec: target, .. } if target != codec);
    let unset = header.max_timestamp_ms < header.base_timestamp_ms.max(0);
    recompress || rules.compacted || unset
}

fn check_size(size_bytes: usize, rules: &BatchRules) -> Result<(), Refusal> {
    check_message_size(size_bytes, rules)?;
    if size_bytes > rules.segment_bytes {
        let limit = rules.segment_bytes;
        let message = format!("record batch of {size_bytes} bytes exceeds segment.bytes={limit}");
        return Err(Refusal::new(Code::RecordListTooLarge, message));
    }
    Ok(())
}

fn check_message_size(size_bytes: usize, rules: &BatchRules) -> Result<(), Refusal> {
    if size_bytes > rules.max_message_bytes {
        let limit = rules.max_message_bytes;
        let message =
            format!("record batch of {size_bytes} bytes exceeds max.message.bytes={limit}");
        return Err(Refusal::new(Code::MessageTooLarge, message));
    }
    Ok(())
}
