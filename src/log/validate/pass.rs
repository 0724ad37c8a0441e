//! The pass over a batch's records: judges each, finds the max timestamp, shows records to an
//! inspector; and the rebuild of batches that can not stay as they were sent.

use super::refusal::{MOST_LISTED, RecordFault};
use super::{BatchRules, Refusal, ValidBatch};
use crate::base::fault::Code;
use crate::wire::batch::{BatchHeader, NONE, TimestampType};
use crate::wire::builder::{BatchBuilder, BuildError};
use crate::wire::compression::{Codec, CompressionError};
use crate::wire::records::{self, BodyError, Record};

const NO_TIMESTAMP: i64 = NONE as i64;

/// Whether a record is ever read by consumers of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Now or later.
    Delivered,
    /// It was for the broker.
    Consumed,
}

/// Sees every record of a batch while it is judged.
pub trait Inspect {
    /// `index` is 0-based. An error refuses the batch, and is the message for that record.
    ///
    /// # Errors
    /// What is wrong with the record, for people.
    fn record(&mut self, index: i32, record: &Record<'_>) -> Result<Fate, String>;
}

/// Looks at nothing.
impl Inspect for () {
    #[inline]
    fn record(&mut self, _index: i32, _record: &Record<'_>) -> Result<Fate, String> {
        Ok(Fate::Delivered)
    }
}

/// What one pass gathers.
pub(super) struct Pass<'a> {
    header: &'a BatchHeader,
    rules: &'a BatchRules,
    now_ms: i64,
    index: i32,
    max_timestamp_ms: i64,
    consecutive: bool,
    faults: Vec<RecordFault>,
    fault_count: usize,
    timestamp_fault: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn new(header: &'a BatchHeader, rules: &'a BatchRules, now_ms: i64) -> Self {
        Self {
            header,
            rules,
            now_ms,
            index: 0,
            max_timestamp_ms: NO_TIMESTAMP,
            consecutive: true,
            faults: Vec::new(),
            fault_count: 0,
            timestamp_fault: false,
        }
    }

    pub(super) fn run(
        &mut self,
        codec: Codec,
        body: &[u8],
        inspector: &mut impl Inspect,
    ) -> Result<(), Refusal> {
        let limit_bytes = self.rules.max_decompressed_bytes;
        let count = self.header.record_count;
        records::for_each(codec, body, count, limit_bytes, |record| self.judge(record, inspector))
            .map_err(|error| unreadable(error, self.index))?;
        self.verdict()
    }

    /// Takes the header's word for what it says of the records' timestamps.
    pub(super) fn trust_header(&mut self) -> Result<(), Refusal> {
        for timestamp_ms in [self.header.base_timestamp_ms, self.header.max_timestamp_ms] {
            if !self.accepts_timestamp(timestamp_ms) {
                let message = self.timestamp_message(timestamp_ms);
                return Err(Refusal::new(Code::InvalidTimestamp, message));
            }
        }
        self.max_timestamp_ms = self.header.max_timestamp_ms;
        Ok(())
    }

    /// Of the records, in producer time.
    pub(super) const fn max_timestamp_ms(&self) -> i64 {
        self.max_timestamp_ms
    }

    pub(super) const fn offsets_are_consecutive(&self) -> bool {
        self.consecutive
    }

    #[inline]
    fn judge(&mut self, record: &Record<'_>, inspector: &mut impl Inspect) {
        let timestamp_ms = timestamp_ms(self.header, record);
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        self.consecutive &= record.offset_delta == self.index;
        let fate = inspector.record(self.index, record);
        if self.rules.compacted && record.key.is_none() && fate != Ok(Fate::Consumed) {
            self.fault("a compacted topic takes no record without a key".to_owned());
        } else if !self.accepts_timestamp(timestamp_ms) {
            self.timestamp_fault = true;
            self.fault(self.timestamp_message(timestamp_ms));
        } else if let Err(message) = fate {
            self.fault(message);
        }
        self.index += 1;
    }

    #[inline]
    fn accepts_timestamp(&self, timestamp_ms: i64) -> bool {
        if self.rules.timestamp_type == TimestampType::CreateTime && timestamp_ms != NO_TIMESTAMP {
            let behind_ms = self.now_ms.wrapping_sub(timestamp_ms);
            behind_ms <= self.rules.timestamp_before_max_ms
                && behind_ms.wrapping_neg() <= self.rules.timestamp_after_max_ms
        } else {
            self.header.timestamp_type() == TimestampType::CreateTime
        }
    }

    /// Why a timestamp is not accepted.
    #[cold]
    fn timestamp_message(&self, timestamp_ms: i64) -> String {
        if self.rules.timestamp_type != TimestampType::CreateTime || timestamp_ms == NO_TIMESTAMP {
            return "only the broker sets the timestamp type LogAppendTime".to_owned();
        }
        let earliest_ms = self.now_ms.saturating_sub(self.rules.timestamp_before_max_ms);
        let latest_ms = self.now_ms.saturating_add(self.rules.timestamp_after_max_ms);
        format!("timestamp {timestamp_ms} is outside {earliest_ms}..={latest_ms}")
    }

    #[cold]
    fn fault(&mut self, message: String) {
        self.fault_count += 1;
        if self.faults.len() < MOST_LISTED {
            self.faults.push(RecordFault { index: self.index, message });
        }
    }

    /// A single timestamp at fault makes the whole refusal one of timestamps, as in Kafka.
    fn verdict(&mut self) -> Result<(), Refusal> {
        let Some(first) = self.faults.first() else { return Ok(()) };
        let code = if self.timestamp_fault { Code::InvalidTimestamp } else { Code::InvalidRecord };
        let message = format!(
            "{} of {} records refused, the first at index {}: {}",
            self.fault_count, self.index, first.index, first.message
        );
        Err(Refusal { code, message, records: std::mem::take(&mut self.faults) })
    }
}

/// The record's time as clients see it.
#[inline]
pub(super) fn timestamp_ms(header: &BatchHeader, record: &Record<'_>) -> i64 {
    match header.timestamp_type() {
        TimestampType::CreateTime => {
            header.base_timestamp_ms.wrapping_add(record.timestamp_delta_ms)
        }
        TimestampType::LogAppendTime => header.max_timestamp_ms,
    }
}

/// The batch anew, its records in order at consecutive offsets, in the target's codec and level.
pub(super) fn rebuild(
    header: &BatchHeader,
    codec: Codec,
    body: &[u8],
    target: (Codec, Option<i32>),
    rules: &BatchRules,
) -> Result<ValidBatch, Refusal> {
    let mut builder = BatchBuilder::new(target.0, target.1);
    if header.has_producer() {
        let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = *header;
        builder = builder.producer(producer_id, producer_epoch, base_sequence);
    }
    if header.is_transactional() {
        builder = builder.transactional();
    }
    let limit_bytes = rules.max_decompressed_bytes;
    records::for_each(codec, body, header.record_count, limit_bytes, |record| {
        builder.push_record(timestamp_ms(header, record), record);
    })
    .map_err(|error| unreadable(error, builder.record_count()))?;
    let (rebuilt, records) = builder.build_parts().map_err(unbuilt)?;
    Ok(ValidBatch::as_sent(rebuilt, records, rebuilt.max_timestamp_ms, rules))
}

#[cold]
pub(super) fn unreadable(error: BodyError, index: i32) -> Refusal {
    let code = match error {
        BodyError::Compression(CompressionError::TooLarge { .. }) => Code::MessageTooLarge,
        BodyError::Compression(CompressionError::Library { .. }) => Code::UnknownServerError,
        _ => Code::InvalidRecord,
    };
    Refusal::new(code, format!("record {index}: {error}"))
}

#[cold]
pub(super) fn unbuilt(error: BuildError) -> Refusal {
    let code = match error {
        BuildError::TooLarge => Code::MessageTooLarge,
        BuildError::Compression(_) => Code::UnknownServerError,
    };
    Refusal::new(code, error.to_string())
}
