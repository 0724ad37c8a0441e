//! What a record asks for by its headers.
//!
//! A record *commands* if it is delayed (`klamm.delay` or `klamm.deliver.at`) or cancels
//! (`klamm.delay.cancel`). Other headers of the family count only beside those: alone they are
//! stored as sent. Of duplicates the last counts. Every refusal names header, value and limit:
//! it is all that a producer gets to see.
//!
//! Due now or past is no command, unless the record replaces another: that other one must not be
//! delivered as well.

use super::rules::DelayRules;
use crate::wire::records::Record;

/// Longest `klamm.delay.id`.
pub const MAX_ID_BYTES: usize = 255;

/// When a record is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Milliseconds after acceptance.
    After(i64),
    /// Epoch milliseconds.
    At(i64),
}

impl Due {
    /// Epoch milliseconds, for a record that was accepted at this moment.
    #[must_use]
    pub const fn at_ms(self, accepted_ms: i64) -> i64 {
        match self {
            Self::After(delay_ms) => accepted_ms.saturating_add(delay_ms),
            Self::At(due_ms) => due_ms,
        }
    }
}

/// A record that is not for the log, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Delivered when due.
    Put {
        due: Due,
        id: Option<&'a [u8]>,
        /// Takes the place of the pending record with that id.
        replace: bool,
        /// Not delivered after this instant, in epoch milliseconds.
        expires_at_ms: Option<i64>,
    },
    /// Never delivered itself.
    Cancel {
        target: Target<'a>,
        /// The batch is refused if nothing is cancelled.
        strict: bool,
    },
}

/// Which pending record a cancel means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Id(&'a [u8]),
    /// By the offset that its producer was told; without a partition, in the command's own.
    Ticket {
        partition: Option<i32>,
        offset: i64,
    },
}

/// Reads what a produced record commands; `None` if it is to be stored as sent.
///
/// # Errors
/// A header that commands wrongly: what the producer is told.
pub fn read<'a>(
    record: &Record<'a>,
    rules: &DelayRules,
    now_ms: i64,
) -> Result<Option<Command<'a>>, String> {
    if record.headers.count() == 0 {
        return Ok(None);
    }
    let _ = (rules, now_ms);
    Ok(None)
}
