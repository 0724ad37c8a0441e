//! A delayed record as a run holds it, and how it lies in a block.
//!
//! Numbers are variable-length and relative, so that a record of 100 bytes costs about 15 more:
//!
//! ```text
//! varlong effective due - that of the entry before   varlong ticket - that of the entry before
//! varlong effective due - due as asked               varlong effective due - accept time
//! varlong accept time - base timestamp               u8 flags: bit 0 = expires
//! varlong expiry - effective due, if it expires      varint record length, record
//! ```
//!
//! The entry before a block's first is the key in the block's head. Arithmetic wraps, so every
//! number comes back. The record is as it lay in its batch in the journal, its own length first.

use bytes::Bytes;

use crate::delay::key::Key;
use crate::wire::varint::{put_i32, put_i64, take_i32, take_i64};

/// `expires_at_ms` of a record that does not expire.
pub const NEVER_MS: i64 = i64::MAX;

const EXPIRES: u8 = 1;

/// A delayed record with what its delivery needs. Times are epoch milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<R> {
    pub key: Key,
    /// Due time as its producer asked for; the key has the effective one.
    pub asked_due_ms: i64,
    /// [`NEVER_MS`]: it does not expire.
    pub expires_at_ms: i64,
    /// When the broker took it.
    pub accepted_ms: i64,
    /// Base timestamp of its batch in the journal: the record's delta counts from here.
    pub base_timestamp_ms: i64,
    /// The record as in a batch's body: its length, then itself.
    pub record: R,
}

/// An entry whose record is borrowed from a block.
pub type EntryRef<'a> = Entry<&'a [u8]>;
/// An entry on its own.
pub type OwnedEntry = Entry<Bytes>;

impl EntryRef<'_> {
    #[must_use]
    pub fn to_owned(&self) -> OwnedEntry {
        self.with(Bytes::copy_from_slice(self.record))
    }

    /// Appends the entry behind that of key `before`.
    pub(super) fn encode(&self, before: Key, output: &mut Vec<u8>) {
        let due_ms = self.key.due_ms;
        put_i64(output, due_ms.wrapping_sub(before.due_ms));
        put_i64(output, self.key.ticket.wrapping_sub(before.ticket));
        put_i64(output, due_ms.wrapping_sub(self.asked_due_ms));
        put_i64(output, due_ms.wrapping_sub(self.accepted_ms));
        put_i64(output, self.accepted_ms.wrapping_sub(self.base_timestamp_ms));
        if self.expires_at_ms == NEVER_MS {
            output.push(0);
        } else {
            output.push(EXPIRES);
            put_i64(output, self.expires_at_ms.wrapping_sub(due_ms));
        }
        put_i32(output, i32::try_from(self.record.len()).expect("a record's length is an i32"));
        output.extend_from_slice(self.record);
    }
}

impl<R> Entry<R> {
    /// The same entry with its record held otherwise.
    pub(super) fn with<S>(&self, record: S) -> Entry<S> {
        Entry {
            key: self.key,
            asked_due_ms: self.asked_due_ms,
            expires_at_ms: self.expires_at_ms,
            accepted_ms: self.accepted_ms,
            base_timestamp_ms: self.base_timestamp_ms,
            record,
        }
    }
}

/// Takes the entry behind that of key `before` from the front of `input`; `None` if it is none.
#[inline]
pub(super) fn take<'a>(before: Key, input: &mut &'a [u8]) -> Option<EntryRef<'a>> {
    let mut next = || take_i64(input).ok();
    let due_ms = before.due_ms.wrapping_add(next()?);
    let ticket = before.ticket.wrapping_add(next()?);
    let asked_due_ms = due_ms.wrapping_sub(next()?);
    let accepted_ms = due_ms.wrapping_sub(next()?);
    let base_timestamp_ms = accepted_ms.wrapping_sub(next()?);
    let (flags, rest) = input.split_first()?;
    *input = rest;
    let expires_at_ms = match *flags {
        0 => NEVER_MS,
        EXPIRES => due_ms.wrapping_add(take_i64(input).ok()?),
        _ => return None,
    };
    let length = usize::try_from(take_i32(input).ok()?).ok()?;
    let (record, rest) = input.split_at_checked(length)?;
    *input = rest;
    let key = Key { due_ms, ticket };
    Some(Entry { key, asked_due_ms, expires_at_ms, accepted_ms, base_timestamp_ms, record })
}
