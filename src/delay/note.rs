//! Notes: what the broker itself writes into a delay journal, as control batches of one record.
//!
//! ```text
//! key    i16be version = 0   i16be type (a control record's key in Kafka): 100 MARK, 101 CANCEL,
//!        102 CLEARED, 103 FORGOTTEN
//! MARK   u8 version = 1   7 zero bytes   i64 due, i64 ticket of W   i64 clock ms
//!        u64 released records, u64 bytes   u64 expired records, u64 bytes          (64 bytes)
//! CANCEL u8 version = 1   3 zero bytes   u32 bytes   i64 due, i64 ticket           (24 bytes)
//! CLEARED   u8 version = 1   3 zero bytes   i32 source partition   16 bytes topic id
//!           i64 from offset   maker of copies (`copies.rs`) to the end             (33 bytes up)
//! FORGOTTEN u8 version = 1   7 zero bytes   maker of copies to the end              (9 bytes up)
//! ```
//!
//! Values are little-endian. MARK tells that everything up to W is out, how much of it was
//! pending until then, and the release clock at that moment; CANCEL that an operator took an
//! entry out; CLEARED that copies of a source's records from an offset on may be made again, as
//! the group went back; FORGOTTEN that a maker has ended. Types below 100 are Kafka's; a journal is
//! never seen by a client.

use super::copies::{Maker, get_tp, put_tp};
use super::key::Key;
use super::victim::Taken;
use crate::base::ids::TopicPartition;
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;

const KEY_VERSION: i16 = 0;
const MARK_TYPE: i16 = 100;
const CANCEL_TYPE: i16 = 101;
const CLEARED_TYPE: i16 = 102;
const FORGOTTEN_TYPE: i16 = 103;
const VERSION: u8 = 1;
const MARK_BYTES: usize = 64;
const CANCEL_BYTES: usize = 24;
/// Without the maker.
const CLEARED_BYTES: usize = 32;
const FORGOTTEN_BYTES: usize = 8;

/// Records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub records: u64,
    pub bytes: u64,
}

impl Totals {
    pub fn add(&mut self, bytes: u32) {
        self.records += 1;
        self.bytes += u64::from(bytes);
    }

    /// The inverse of [`Totals::add`].
    pub fn take(&mut self, bytes: u32) {
        self.records -= 1;
        self.bytes -= u64::from(bytes);
    }
}

/// The release position has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// W: every entry up to and with this key is out.
    pub w: Key,
    /// What went into the visible log with it.
    pub released: Totals,
    /// What was passed because it had expired.
    pub expired: Totals,
    /// The release clock, epoch ms.
    pub clock_ms: i64,
}

/// A record of the broker's own in a delay journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Mark(Mark),
    Cancel(Taken),
    /// The maker may copy the source's records from this offset on again.
    Cleared {
        maker: Maker,
        tp: TopicPartition,
        from: i64,
    },
    /// The maker makes no more copies.
    Forgotten(Maker),
}

/// Bytes that are no note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("a note's key has {0} bytes, not 4")]
    Key(usize),
    #[error("a note of key version {0} and type {1} is unknown")]
    Type(i16, i16),
    #[error("a note's value has {0} bytes, not {1}")]
    Length(usize, usize),
    #[error("a note names no maker of copies")]
    Maker,
    #[error("a note's value has version {0}, not {VERSION}")]
    Version(u8),
    #[error("bytes of a note's value that must be zero are not")]
    Padding,
}

impl Note {
    /// A control batch with this note alone.
    #[must_use]
    pub fn batch(&self, now_ms: i64) -> BatchBuilder {
        let mut batch = BatchBuilder::new(Codec::None, None).control();
        let (key, value) = self.encode();
        batch.push(now_ms, Some(&key), Some(&value), [].into_iter());
        batch
    }

    /// Key and value of the note's record.
    #[must_use]
    pub fn encode(&self) -> ([u8; 4], Vec<u8>) {
        let mut value = Vec::with_capacity(MARK_BYTES);
        value.push(VERSION);
        let kind = match self {
            Self::Mark(mark) => {
                value.extend_from_slice(&[0; 7]);
                put_key(&mut value, mark.w);
                value.extend_from_slice(&mark.clock_ms.to_le_bytes());
                for totals in [mark.released, mark.expired] {
                    value.extend_from_slice(&totals.records.to_le_bytes());
                    value.extend_from_slice(&totals.bytes.to_le_bytes());
                }
                MARK_TYPE
            }
            Self::Cancel(taken) => {
                value.extend_from_slice(&[0; 3]);
                value.extend_from_slice(&taken.bytes.to_le_bytes());
                put_key(&mut value, taken.key);
                CANCEL_TYPE
            }
            Self::Cleared { maker, tp, from } => {
                value.extend_from_slice(&[0; 3]);
                put_tp(&mut value, *tp);
                value.extend_from_slice(&from.to_le_bytes());
                maker.encode(&mut value);
                CLEARED_TYPE
            }
            Self::Forgotten(maker) => {
                value.extend_from_slice(&[0; 7]);
                maker.encode(&mut value);
                FORGOTTEN_TYPE
            }
        };
        let [a, b] = KEY_VERSION.to_be_bytes();
        let [c, d] = kind.to_be_bytes();
        ([a, b, c, d], value)
    }

    /// Reads a note's record.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, NoteError> {
        let &[a, b, c, d] = key else { return Err(NoteError::Key(key.len())) };
        let (version, kind) = (i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]));
        match (version, kind) {
            (KEY_VERSION, MARK_TYPE) => {
                let fields = Fields::<MARK_BYTES>::of(value)?.padded(1..8)?;
                let totals = |at| Totals { records: fields.u64(at), bytes: fields.u64(at + 8) };
                Ok(Self::Mark(Mark {
                    w: fields.key(8),
                    clock_ms: fields.i64(24),
                    released: totals(32),
                    expired: totals(48),
                }))
            }
            (KEY_VERSION, CANCEL_TYPE) => {
                let fields = Fields::<CANCEL_BYTES>::of(value)?.padded(1..4)?;
                let bytes = (fields.u64(0) >> 32) as u32;
                Ok(Self::Cancel(Taken { key: fields.key(8), bytes }))
            }
            (KEY_VERSION, CLEARED_TYPE) => {
                let (fields, maker) = with_maker::<CLEARED_BYTES>(value)?;
                let fields = fields.padded(1..4)?;
                let (tp, from) = (get_tp(&mut &fields.0[4..24]), fields.i64(24));
                Ok(Self::Cleared { maker, tp, from })
            }
            (KEY_VERSION, FORGOTTEN_TYPE) => {
                let (fields, maker) = with_maker::<FORGOTTEN_BYTES>(value)?;
                fields.padded(1..8)?;
                Ok(Self::Forgotten(maker))
            }
            _ => Err(NoteError::Type(version, kind)),
        }
    }
}

/// Fields with a maker behind them.
fn with_maker<const N: usize>(value: &[u8]) -> Result<(Fields<'_, N>, Maker), NoteError> {
    let (fields, maker) = value.split_at_checked(N).ok_or(NoteError::Length(value.len(), N))?;
    Ok((Fields::of(fields)?, Maker::decode(maker).ok_or(NoteError::Maker)?))
}

fn put_key(value: &mut Vec<u8>, key: Key) {
    value.extend_from_slice(&key.due_ms.to_le_bytes());
    value.extend_from_slice(&key.ticket.to_le_bytes());
}

/// A value of the right size and version.
struct Fields<'a, const N: usize>(&'a [u8; N]);

impl<'a, const N: usize> Fields<'a, N> {
    fn of(value: &'a [u8]) -> Result<Self, NoteError> {
        let fields = value.try_into().map_err(|_| NoteError::Length(value.len(), N))?;
        if value[0] == VERSION { Ok(Self(fields)) } else { Err(NoteError::Version(value[0])) }
    }

    fn padded(self, zero: std::ops::Range<usize>) -> Result<Self, NoteError> {
        if self.0[zero].iter().all(|byte| *byte == 0) { Ok(self) } else { Err(NoteError::Padding) }
    }

    fn u64(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    fn i64(&self, at: usize) -> i64 {
        self.u64(at).cast_signed()
    }

    fn key(&self, at: usize) -> Key {
        Key::new(self.i64(at), self.i64(at + 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Uuid;
    use crate::wire::records::Records;
    use proptest::prelude::*;

    fn totals() -> impl Strategy<Value = Totals> {
        any::<(u64, u64)>().prop_map(|(records, bytes)| Totals { records, bytes })
    }

    fn note() -> impl Strategy<Value = Note> {
        let key = any::<(i64, i64)>().prop_map(|(due_ms, ticket)| Key::new(due_ms, ticket));
        let mark = (key.clone(), totals(), totals(), any::<i64>()).prop_map(
            |(w, released, expired, clock_ms)| Note::Mark(Mark { w, released, expired, clock_ms }),
        );
        let cancel =
            (key, any::<u32>()).prop_map(|(key, bytes)| Note::Cancel(Taken { key, bytes }));
        let maker = prop_oneof![
            "[a-zß]{1,9}".prop_map(|group| Maker::Nack(group.into())),
            any::<u128>().prop_map(|job| Maker::Redrive(Uuid::from_u128(job))),
            Just(Maker::Expired),
        ];
        let cleared = (maker.clone(), any::<(u128, i32, i64)>()).prop_map(
            |(maker, (topic, partition, from))| {
                let tp = TopicPartition::new(Uuid::from_u128(topic), partition);
                Note::Cleared { maker, tp, from }
            },
        );
        prop_oneof![mark, cancel, cleared, maker.prop_map(Note::Forgotten)]
    }

    proptest! {
        #[test]
        fn notes_survive_their_batch(note in note(), now_ms in 0..i64::MAX) {
            let (header, records) = note.batch(now_ms).build_parts().unwrap();
            prop_assert!(header.is_control() && header.record_count == 1);
            prop_assert_eq!(header.max_timestamp_ms, now_ms);
            let record = Records::new(&records, 1).next().unwrap().unwrap();
            let read = Note::decode(record.key.unwrap(), record.value.unwrap());
            prop_assert_eq!(read, Ok(note));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            kind in 98_i16..104, value in prop::collection::vec(0_u8..3, 0..70),
        ) {
            let key = [0, 0, 0, kind as u8];
            if let Ok(note) = Note::decode(&key, &value) {
                prop_assert_eq!(note.encode(), (key, value));
            }
        }
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let (key, mut value) = Note::Cancel(Taken { key: Key::new(1, 2), bytes: 3 }).encode();
        assert_eq!(Note::decode(&key[..3], &value), Err(NoteError::Key(3)));
        assert_eq!(Note::decode(&[0, 1, 0, 100], &value), Err(NoteError::Type(1, 100)));
        assert_eq!(Note::decode(&[0, 0, 0, 1], &value), Err(NoteError::Type(0, 1)));
        assert_eq!(Note::decode(&key, &value[1..]), Err(NoteError::Length(23, 24)));
        value[2] = 1;
        assert_eq!(Note::decode(&key, &value), Err(NoteError::Padding));
        value[0] = 2;
        assert_eq!(Note::decode(&key, &value), Err(NoteError::Version(2)));
    }
}
