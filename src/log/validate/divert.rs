//! The part of a batch that does not go to the log: delayed records and commands.
//!
//! They are found in the pass that judges the batch, without an allocation as long as there are
//! none. A batch that is wholly delayed and uncompressed stays as it was sent; any other is parted
//! in a second pass. What its entries are is then read from the batch as it will lie in the
//! journal, so that positions and ids are those of what is written.

use std::ops::Range;

use super::pass::{Fate, Inspect, timestamp_ms, unbuilt, unreadable};
use super::{BatchRules, Refusal, Sound, ValidBatch};
use crate::base::fault::Code;
use crate::delay::command::{self, Command, Due, Target};
use crate::delay::rules::DelayRules;
use crate::wire::batch::{HEADER_BYTES, TimestampType};
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;
use crate::wire::records::{self, Record, Records};

/// What a batch became. At least one is there; both if it was mixed: then they are to be written
/// as a pair at one base offset.
#[derive(Clone, Debug)]
pub struct Judged {
    /// For the visible log: the batch as sent, or its live records under their offsets, ending at
    /// the last of them.
    pub live: Option<ValidBatch>,
    /// For the delay journal.
    pub diverted: Option<Box<Diverted>>,
}

impl Judged {
    /// One of its parts: both have the producer and the sequences of the whole.
    #[must_use]
    pub fn either(&self) -> &ValidBatch {
        let diverted = self.diverted.as_ref().map(|diverted| &diverted.batch);
        self.live.as_ref().or(diverted).expect("one part is there")
    }
}

/// Delayed records and commands of a batch, uncompressed, under their offsets and with canonical
/// header names; last offset and producer are the batch's.
#[derive(Clone, Debug)]
pub struct Diverted {
    pub batch: ValidBatch,
    /// One for each record, in order.
    pub entries: Vec<Entry>,
}

impl Diverted {
    /// The record of an entry, with its length field.
    #[must_use]
    pub fn record(&self, entry: &Entry) -> &[u8] {
        &self.batch.records()[entry.at as usize..(entry.at + entry.bytes) as usize]
    }
}

/// One diverted record, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Offset less the batch's base offset.
    pub delta: i32,
    /// Position of the record's length field in the batch's records.
    pub at: u32,
    /// Of the record, its length field included.
    pub bytes: u32,
    pub what: What,
}

/// What a diverted record asks for. Ranges are positions in the batch's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Put {
        due: Due,
        /// `i64::MAX`: never.
        expires_at_ms: i64,
        /// Empty: none.
        id: Range<u32>,
        replace: bool,
    },
    CancelId {
        id: Range<u32>,
        strict: bool,
    },
    CancelTicket {
        /// Nothing: that of the command.
        partition: Option<i32>,
        offset: i64,
        strict: bool,
    },
    /// To be read again by whoever makes the copy.
    Nack,
}

/// Rides on the pass over a batch and finds what is not for the log.
pub(super) struct Sorting<'r> {
    rules: &'r DelayRules,
    now_ms: i64,
    /// Indexes of diverted records, rising.
    diverted: Vec<i32>,
    /// One of them has an alias for a header.
    aliased: bool,
}

impl Inspect for Sorting<'_> {
    #[inline]
    fn record(&mut self, index: i32, record: &Record<'_>) -> Result<Fate, String> {
        match command::may_command(record, self.rules) {
            true => self.sort(index, record),
            false => Ok(Fate::Delivered),
        }
    }
}

impl<'r> Sorting<'r> {
    pub(super) const fn new(rules: &'r DelayRules, now_ms: i64) -> Self {
        Self { rules, now_ms, diverted: Vec::new(), aliased: false }
    }

    pub(super) const fn is_all_live(&self) -> bool {
        self.diverted.is_empty()
    }

    fn sort(&mut self, index: i32, record: &Record<'_>) -> Result<Fate, String> {
        let Some(command) = command::read(record, self.rules, self.now_ms)? else {
            return Ok(Fate::Delivered);
        };
        self.diverted.push(index);
        self.aliased |= record.headers.iter().any(|header| self.rules.is_alias(header.key));
        Ok(match command {
            Command::Put { .. } => Fate::Delivered,
            Command::Cancel { .. } | Command::Nack(_) => Fate::Consumed,
        })
    }

    /// Parts the batch that was passed.
    pub(super) fn divert(&self, sound: &Sound, rules: &BatchRules) -> Result<Judged, Refusal> {
        let wholly = self.diverted.len() == sound.header.record_count.unsigned_abs() as usize;
        let as_it_is = wholly
            && sound.codec == Codec::None
            && sound.consecutive
            && !self.aliased
            && sound.header.timestamp_type() == TimestampType::CreateTime;
        if as_it_is {
            let records = sound.batch.slice(HEADER_BYTES..);
            let batch = ValidBatch::as_sent(sound.header, records, sound.max_timestamp_ms, rules);
            return Ok(Judged { live: None, diverted: Some(Box::new(self.index(batch)?)) });
        }
        let (live, diverted) = self.part(sound, rules)?;
        let diverted = ValidBatch::own(diverted).map_err(unbuilt)?;
        let live = match live.record_count() {
            0 => None,
            _ => {
                let (header, records) = live.build_parts().map_err(unbuilt)?;
                Some(ValidBatch::as_sent(header, records, header.max_timestamp_ms, rules))
            }
        };
        Ok(Judged { live, diverted: Some(Box::new(self.index(diverted)?)) })
    }

    /// Live records and diverted ones, each under its offset.
    fn part(
        &self,
        sound: &Sound,
        rules: &BatchRules,
    ) -> Result<(BatchBuilder, BatchBuilder), Refusal> {
        let mut header = sound.header;
        header.set_timestamp_type(TimestampType::CreateTime);
        header.set_paired(false);
        let (codec, level) = sound.target(rules);
        let mut live = BatchBuilder::thinning(&header, None).packed(codec, level);
        let mut diverted = BatchBuilder::thinning(&header, None).packed(Codec::None, None);
        let mut next = self.diverted.iter().copied().peekable();
        let (mut index, mut last_live) = (0, 0);
        let (count, limit_bytes) = (header.record_count, rules.max_decompressed_bytes);
        records::for_each(sound.codec, sound.body(), count, limit_bytes, |record| {
            let timestamp_ms = timestamp_ms(&sound.header, record);
            // Where offsets skip they are taken from the order, as in any batch.
            let record = Record { offset_delta: index, ..*record };
            if next.next_if_eq(&index).is_some() {
                let headers = record.headers.iter().map(|header| self.rules.canonical(header));
                diverted.keep_record_under(timestamp_ms, &record, headers);
            } else {
                live.keep_record(timestamp_ms, &record);
                last_live = index;
            }
            index += 1;
        })
        .map_err(|error| unreadable(error, index))?;
        Ok((live.ending_at(last_live), diverted))
    }

    /// Says what each record of the batch asks for and where it lies.
    fn index(&self, batch: ValidBatch) -> Result<Diverted, Refusal> {
        let lost = || Refusal::new(Code::UnknownServerError, "a command is not what it was".into());
        let body: &[u8] = batch.records();
        let mut records = Records::new(body, batch.header().record_count);
        let mut entries = Vec::with_capacity(self.diverted.len());
        let mut at = 0;
        while let Some(Ok(record)) = records.next() {
            let end = body.len() - records.left_bytes();
            let command = command::read(&record, self.rules, self.now_ms).ok().flatten();
            let what = What::of(command.ok_or_else(lost)?, body);
            entries.push(Entry {
                delta: record.offset_delta,
                at: position(at),
                bytes: position(end - at),
                what,
            });
            at = end;
        }
        if entries.len() != self.diverted.len() {
            return Err(lost());
        }
        Ok(Diverted { batch: batch.timed_by_append(), entries })
    }
}

impl What {
    /// Whether the record waits; commands do not.
    #[must_use]
    pub const fn is_put(&self) -> bool {
        matches!(self, Self::Put { .. })
    }

    fn of(command: Command<'_>, body: &[u8]) -> Self {
        // Ids are slices of the body.
        let place = |id: &[u8]| {
            let start = id.as_ptr().addr() - body.as_ptr().addr();
            position(start)..position(start + id.len())
        };
        match command {
            Command::Put { due, id, replace, expires_at_ms } => Self::Put {
                due,
                expires_at_ms: expires_at_ms.unwrap_or(i64::MAX),
                id: id.map_or(0..0, place),
                replace,
            },
            Command::Cancel { target: Target::Id(id), strict } => {
                Self::CancelId { id: place(id), strict }
            }
            Command::Cancel { target: Target::Ticket { partition, offset }, strict } => {
                Self::CancelTicket { partition, offset, strict }
            }
            Command::Nack(_) => Self::Nack,
        }
    }
}

/// In a batch, whose length is 31-bit.
fn position(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a batch is below 2 GiB")
}

#[cfg(test)]
mod tests;
