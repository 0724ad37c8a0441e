//! Taking in a batch of the journal: at start all above the manifest's offset, on the live path
//! those that were rebuilt with notes.

use super::copies::{CopyMark, is_copy};
use super::decide::{Decision, parse};
use super::headers;
use super::ids::hash64;
use super::note::{Note, NoteError};
use super::state::{Put, State};
use super::value;
use super::victim::Victim;
use crate::wire::batch::BatchHeader;
use crate::wire::compression::Codec;
use crate::wire::records::{Header, Record, RecordError};
use crate::wire::varint;

/// A batch that no journal of ours holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("journal batch at offset {0} is compressed")]
    Compressed(i64),
    #[error("journal batch at offset {offset}: {error}")]
    Record { offset: i64, error: RecordError },
    #[error("journal record {ticket}: header {header} can't be read")]
    Header { ticket: i64, header: &'static str },
    #[error("journal note at offset {offset}: {error}")]
    Note { offset: i64, error: NoteError },
    #[error("journal record {0} lies beyond 4 GiB of its segment")]
    Position(i64),
}

/// What a journaled record says, its headers' limits aside: they were judged when it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said<'a> {
    /// Nothing: a cancel.
    due_ms: Option<i64>,
    expires_at_ms: Option<i64>,
    id: Option<&'a [u8]>,
    replaces: bool,
    victim: Option<Victim>,
    is_nack: bool,
}

impl<'a> Said<'a> {
    /// Of duplicates the last counts. `Err` names the header.
    fn read(record: &Record<'a>, accepted_ms: i64) -> Result<Self, &'static str> {
        let mut said = Self::default();
        for header in record.headers {
            let text = header.value.and_then(|value| std::str::from_utf8(value).ok());
            let value = header.value.unwrap_or_default();
            let instant = |name| text.and_then(value::instant_ms).ok_or(name);
            match header.key {
                key if key == headers::DELAY.as_bytes() => {
                    let delay_ms = text.and_then(value::duration_ms).ok_or(headers::DELAY)?;
                    said.due_ms = Some(accepted_ms.saturating_add(delay_ms));
                }
                key if key == headers::DELIVER_AT.as_bytes() => {
                    said.due_ms = Some(instant(headers::DELIVER_AT)?);
                }
                key if key == headers::EXPIRES_AT.as_bytes() => {
                    said.expires_at_ms = Some(instant(headers::EXPIRES_AT)?);
                }
                key if key == headers::ID.as_bytes() => said.id = Some(value),
                key if key == headers::REPLACE.as_bytes() => said.replaces = value == b"true",
                key if key == headers::VICTIM.as_bytes() => {
                    said.victim = Some(Victim::parse(value).ok_or(headers::VICTIM)?);
                }
                key if key == headers::NACK_OFFSET.as_bytes() => said.is_nack = true,
                _ => {}
            }
        }
        Ok(said)
    }

    /// Of a copy only the mark counts, and the time at which the record expires: other headers of
    /// the family are what was delivered once.
    fn of_copy(mark: &CopyMark, record: &Record<'a>) -> Self {
        let expires_at = |header: Header<'a>| std::str::from_utf8(header.value?).ok();
        let named = record.headers.iter().filter(|h| h.key == headers::EXPIRES_AT.as_bytes());
        let expires_at_ms = named.last().and_then(expires_at).and_then(value::instant_ms);
        Self {
            due_ms: Some(mark.due_ms),
            expires_at_ms: expires_at_ms.filter(|_| !mark.plain),
            ..Self::default()
        }
    }
}

impl State {
    /// Takes in a batch: its header, and its records, which begin at `position` in their
    /// segment's file. [`State::roll`] has been called for the segment.
    ///
    /// # Errors
    /// The batch is damaged or of a future version; what came before its fault was taken in.
    pub fn replay(
        &mut self,
        header: &BatchHeader,
        records: &[u8],
        position: u64,
    ) -> Result<(), JournalError> {
        let offset = header.base_offset;
        if header.codec() != Some(Codec::None) {
            return Err(JournalError::Compressed(offset));
        }
        let damaged = |error| JournalError::Record { offset, error };
        let mut rest = records;
        while !rest.is_empty() {
            let bytes = record_bytes(rest).map_err(damaged)?;
            let (record, behind) = rest.split_at(bytes);
            let at = position + (records.len() - rest.len()) as u64;
            rest = behind;
            let parsed = parse(record).map_err(damaged)?;
            if header.is_control() {
                self.replay_note(offset, &parsed)?;
            } else {
                self.replay_record(header, &parsed, at, bytes)?;
            }
        }
        Ok(())
    }

    fn replay_record(
        &mut self,
        header: &BatchHeader,
        record: &Record<'_>,
        position: u64,
        bytes: usize,
    ) -> Result<(), JournalError> {
        let ticket = header.base_offset.saturating_add(i64::from(record.offset_delta));
        let accepted_ms = header.max_timestamp_ms;
        let unread = |header| JournalError::Header { ticket, header };
        let copy = match is_copy(record) {
            true => Some(CopyMark::of(record).ok_or_else(|| unread(headers::COPY))?),
            false => None,
        };
        let said = match &copy {
            Some(mark) => Said::of_copy(mark, record),
            None => Said::read(record, accepted_ms).map_err(unread)?,
        };
        let position = u32::try_from(position).map_err(|_| JournalError::Position(ticket))?;
        let put = said.due_ms.map(|due_ms| Put {
            due_ms,
            accepted_ms,
            base_timestamp_ms: header.base_timestamp_ms,
            expires_at_ms: said.expires_at_ms.unwrap_or(i64::MAX),
            position,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            id_hash: said.id.map(hash64),
        });
        let decision = match said.is_nack {
            true => Decision::Nacked,
            false => Decision::noted(put.is_some(), said.victim),
        };
        self.apply(ticket, put.as_ref(), decision);
        if let Some(mark) = &copy {
            self.remember_copy(&mark.origin);
        }
        if decision == Decision::Unknown || (said.replaces && decision == Decision::Put) {
            self.note_unmet(ticket);
        }
        Ok(())
    }

    fn replay_note(&mut self, offset: i64, record: &Record<'_>) -> Result<(), JournalError> {
        let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
        let note =
            Note::decode(key, value).map_err(|error| JournalError::Note { offset, error })?;
        self.note(&note);
        Ok(())
    }
}

/// Bytes of the record at the front, its length field included.
pub(super) fn record_bytes(records: &[u8]) -> Result<usize, RecordError> {
    let mut rest = records;
    let length = varint::take_i32(&mut rest)?;
    let length = usize::try_from(length).map_err(|_| RecordError::Length(length))?;
    let bytes = records.len() - rest.len() + length;
    if bytes <= records.len() { Ok(bytes) } else { Err(RecordError::Truncated(length)) }
}
