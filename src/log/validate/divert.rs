//! The part of a batch that does not go to the log: delayed records and commands.

use std::ops::Range;

use super::ValidBatch;
use crate::delay::command::Due;

/// What a batch became. At least one is there; both if it was mixed: then they are to be written
/// as a pair at one base offset.
#[derive(Clone, Debug)]
pub struct Judged {
    /// For the visible log: the batch as sent, or its live records under their offsets, ending at
    /// the last of them.
    pub live: Option<ValidBatch>,
    /// For the delay journal.
    pub diverted: Option<Diverted>,
}

/// Delayed records and commands of a batch, uncompressed, under their offsets and with canonical
/// header names; last offset and producer are the batch's.
#[derive(Clone, Debug)]
pub struct Diverted {
    pub batch: ValidBatch,
    /// One for each record, in order.
    pub entries: Vec<Entry>,
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
}
