//! A delayed record as it is delivered, and as it is journaled.
//!
//! On delivery key, value and the application's headers stay byte for byte and in order; headers
//! that commanded go, `klamm.due`, `klamm.accepted` and `klamm.ticket` come behind the others
//! (forwarded ones of an earlier delivery go too), and the timestamp is the moment of release. A
//! plain copy is told nothing about and keeps all headers but the broker's mark.
//! Nothing is allocated for a record.

use std::fmt::{self, Write};

use super::copies;
use super::decide::{Decision, parse};
use super::headers::{self, Name};
use crate::wire::batch::BatchHeader;
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;
use crate::wire::records::{Header, HeaderIter, Record, RecordError, Records};

/// What the out headers and larger varints add to a record at most.
const GROWTH_BYTES: usize = 128;

/// What delivery tells of a record.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    pub ticket: i64,
    /// As asked, epoch ms.
    pub asked_due_ms: i64,
    /// Of the record's batch in the journal.
    pub base_timestamp_ms: i64,
    /// As journaled, with its length field.
    pub record: &'a [u8],
}

/// A batch of records that are due.
#[derive(Debug)]
pub struct Release {
    batch: BatchBuilder,
    partition: i32,
    now_ms: i64,
    most_bytes: usize,
}

impl Release {
    /// Of records that leave at `now_ms`, the release clock. `most_bytes` bounds them before
    /// compression; one record alone may be larger. `level` as for the codec.
    #[must_use]
    pub fn new(
        partition: i32,
        now_ms: i64,
        most_bytes: usize,
        codec: Codec,
        level: Option<i32>,
    ) -> Self {
        Self { batch: BatchBuilder::new(codec, level), partition, now_ms, most_bytes }
    }

    /// Adds a record; `false` if there is no room for it.
    ///
    /// # Errors
    /// The stored bytes are no record.
    pub fn push(&mut self, delivered: &Delivered<'_>) -> Result<bool, RecordError> {
        let grown = self.batch.body_bytes() + delivered.record.len() + GROWTH_BYTES;
        if grown > self.most_bytes && self.batch.record_count() > 0 {
            return Ok(false);
        }
        let record = parse(delivered.record)?;
        if copies::is_plain(&record) {
            let kept = |header: &Header<'_>| headers::name(header.key) != Some(Name::Internal);
            let headers = OutHeaders::new(&record, kept, []);
            self.batch.push(self.now_ms, record.key, record.value, headers);
            return Ok(true);
        }
        let accepted_ms = delivered.base_timestamp_ms.wrapping_add(record.timestamp_delta_ms);
        let (due, accepted) = (Text::of(delivered.asked_due_ms), Text::of(accepted_ms));
        let ticket = Text::of(format_args!("{}:{}", self.partition, delivered.ticket));
        let told = [
            told(headers::DUE, &due),
            told(headers::ACCEPTED, &accepted),
            told(headers::TICKET, &ticket),
        ];
        self.batch.push(
            self.now_ms,
            record.key,
            record.value,
            OutHeaders::new(&record, is_delivered, told),
        );
        Ok(true)
    }

    #[must_use]
    pub const fn record_count(&self) -> i32 {
        self.batch.record_count()
    }

    /// Before compression.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        self.batch.body_bytes()
    }

    /// The batch, to be built.
    #[must_use]
    pub fn into_batch(self) -> BatchBuilder {
        self.batch
    }
}

fn told<'a>(name: &'static str, text: &'a Text) -> Header<'a> {
    Header { key: name.as_bytes(), value: Some(text.bytes()) }
}

/// Whether a header of a delayed record is delivered.
fn is_delivered(header: &Header<'_>) -> bool {
    match headers::name(header.key) {
        Some(
            Name::Delay
            | Name::DeliverAt
            | Name::Replace
            | Name::Cancel
            | Name::CancelStrict
            | Name::Internal,
        ) => false,
        Some(Name::Out) => {
            let told = [headers::DUE, headers::ACCEPTED, headers::TICKET];
            !told.iter().any(|name| name.as_bytes() == header.key)
        }
        _ => true,
    }
}

/// The headers of a delivered record; how many is known before they are written.
struct OutHeaders<'a, const N: usize> {
    sent: HeaderIter<'a>,
    kept: fn(&Header<'_>) -> bool,
    told: std::array::IntoIter<Header<'a>, N>,
    left: usize,
}

impl<'a, const N: usize> OutHeaders<'a, N> {
    fn new(record: &Record<'a>, kept: fn(&Header<'_>) -> bool, told: [Header<'a>; N]) -> Self {
        let left = record.headers.iter().filter(kept).count() + N;
        Self { sent: record.headers.iter(), kept, told: told.into_iter(), left }
    }
}

impl<'a, const N: usize> Iterator for OutHeaders<'a, N> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let kept = self.kept;
        let header = self.sent.find(kept).or_else(|| self.told.next())?;
        self.left -= 1;
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<const N: usize> ExactSizeIterator for OutHeaders<'_, N> {}

/// A short text without an allocation: two numbers and what is between them.
#[derive(Default)]
struct Text {
    bytes: [u8; 32],
    length: usize,
}

impl Text {
    fn of(value: impl fmt::Display) -> Self {
        let mut text = Self::default();
        write!(text, "{value}").expect("two numbers fit");
        text
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// A diverted batch with what was decided on its records written beside them.
///
/// # Errors
/// The bytes are not the records that the header announces.
pub fn with_notes(
    header: &BatchHeader,
    records: &[u8],
    decisions: &[Decision],
) -> Result<BatchBuilder, RecordError> {
    let mut batch = BatchBuilder::thinning(header, None);
    for (record, decision) in Records::new(records, header.record_count).zip(decisions) {
        let record = record?;
        let timestamp_ms = header.base_timestamp_ms.wrapping_add(record.timestamp_delta_ms);
        match decision.victim() {
            None => batch.keep_record(timestamp_ms, &record),
            Some(victim) => {
                let value = victim.encode();
                let note = Header { key: headers::VICTIM.as_bytes(), value: Some(&value) };
                batch.keep_record_with(timestamp_ms, &record, note);
            }
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests;
