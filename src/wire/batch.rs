//! The broker's own view of a record batch (magic 2): the 61-byte header, read and stamped
//! without touching the records.
//!
//! ```text
//!  0 i64 base offset            8 i32 length (bytes after this field)
//! 12 i32 leader epoch          16 i8  magic = 2
//! 17 u32 CRC-32C of 21..end    21 i16 attributes (0-2 codec, 3 timestamp type, 4 transactional,
//! 23 i32 last offset delta            5 control, 6 delete horizon, 14 paired: ours)
//! 27 i64 base timestamp        35 i64 max timestamp
//! 43 i64 producer id           51 i16 producer epoch
//! 53 i32 base sequence         57 i32 record count
//! 61 ... records, compressed as a whole if a codec is set
//! ```
//!
//! All numbers are big-endian. Source: Kafka 4.3, `DefaultRecordBatch`, which reads the low byte of
//! the attributes only and keeps what stands in the high one.

use crate::wire::compression::Codec;
use crate::wire::crc;

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;

/// Bytes of base offset and length, which `length` does not count.
pub const LENGTH_OVERHEAD_BYTES: usize = 12;

/// The only batch format that is accepted and stored.
pub const MAGIC: i8 = 2;

/// Where the bytes begin that the CRC covers.
pub const CRC_START: usize = 21;

/// "No producer id", "no epoch", "no sequence" and "no timestamp" on the wire.
pub const NONE: i8 = -1;

const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;
const PAIRED_BIT: i16 = 1 << 14;
const CODEC_MASK: i16 = 0x07;

/// Whose clock a batch's timestamps are from. Kafka's `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// Each record carries the producer's time.
    CreateTime,
    /// Every record's time is the batch's max timestamp, set by the broker at append.
    LogAppendTime,
}

/// A header that can not be one of a batch of magic 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    #[error("{0} bytes are no record batch: its header alone takes {HEADER_BYTES}")]
    Short(usize),
    /// The length field is below that of a batch without records.
    #[error("record batch length {0} is below that of an empty batch")]
    Length(i32),
    /// Another format.
    #[error("record batch has magic {0}, not {MAGIC}")]
    Magic(i8),
}

/// The header's fields, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after this field: the batch's size less [`LENGTH_OVERHEAD_BYTES`].
    pub length: i32,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which may end with it. Nothing behind the
    /// header is looked at: neither whether the batch is all there nor its CRC.
    ///
    /// # Errors
    /// If there are too few bytes, the magic is not 2, or the length is impossible.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header: &[u8; HEADER_BYTES] =
            bytes.first_chunk().ok_or(HeaderError::Short(bytes.len()))?;
        let parsed = Self::read(header);
        if parsed.magic != MAGIC {
            return Err(HeaderError::Magic(parsed.magic));
        }
        if usize::try_from(parsed.length).is_ok_and(|n| n >= HEADER_BYTES - LENGTH_OVERHEAD_BYTES) {
            return Ok(parsed);
        }
        Err(HeaderError::Length(parsed.length))
    }

    fn read(header: &[u8; HEADER_BYTES]) -> Self {
        let mut at = Fields { header, position: 0 };
        Self {
            base_offset: i64::from_be_bytes(at.next()),
            length: i32::from_be_bytes(at.next()),
            leader_epoch: i32::from_be_bytes(at.next()),
            magic: i8::from_be_bytes(at.next()),
            crc: u32::from_be_bytes(at.next()),
            attributes: i16::from_be_bytes(at.next()),
            last_offset_delta: i32::from_be_bytes(at.next()),
            base_timestamp_ms: i64::from_be_bytes(at.next()),
            max_timestamp_ms: i64::from_be_bytes(at.next()),
            producer_id: i64::from_be_bytes(at.next()),
            producer_epoch: i16::from_be_bytes(at.next()),
            base_sequence: i32::from_be_bytes(at.next()),
            record_count: i32::from_be_bytes(at.next()),
        }
    }

    /// The header's bytes; the inverse of [`BatchHeader::parse`].
    #[must_use]
    pub fn write(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        header[8..12].copy_from_slice(&self.length.to_be_bytes());
        header[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        header[16..17].copy_from_slice(&self.magic.to_be_bytes());
        header[17..21].copy_from_slice(&self.crc.to_be_bytes());
        header[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        header[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        header[27..35].copy_from_slice(&self.base_timestamp_ms.to_be_bytes());
        header[35..43].copy_from_slice(&self.max_timestamp_ms.to_be_bytes());
        header[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        header[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        header[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        header[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        header
    }

    /// Size of the whole batch, header included, as its length field says.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        usize::try_from(self.length).unwrap_or(0) + LENGTH_OVERHEAD_BYTES
    }

    /// Offset of the last record, or of the last one that was there before compaction.
    #[must_use]
    pub const fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }

    /// Sequence number of the last record: after `i32::MAX` comes 0. -1 without a sequence.
    #[must_use]
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return NONE as i32;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// The codec of the records, or nothing if the attributes name none of Kafka's.
    #[must_use]
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_id(self.attributes & CODEC_MASK)
    }

    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    #[must_use]
    pub const fn has_producer(&self) -> bool {
        self.producer_id > NONE as i64
    }

    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// From when on compaction may drop the batch's tombstones (KIP-534). The base timestamp then
    /// is this time, and the records' deltas count from it.
    #[must_use]
    pub const fn delete_horizon_ms(&self) -> Option<i64> {
        if self.attributes & DELETE_HORIZON_BIT == 0 { None } else { Some(self.base_timestamp_ms) }
    }

    /// Sets the delete horizon, whose place is the base timestamp's.
    pub const fn set_delete_horizon(&mut self, horizon_ms: i64) {
        self.attributes |= DELETE_HORIZON_BIT;
        self.base_timestamp_ms = horizon_ms;
    }

    /// What compaction leaves of a batch whose records are all gone: its offsets, its producer
    /// and its sequences. The CRC is that of no records.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let mut header = Self {
            length: (HEADER_BYTES - LENGTH_OVERHEAD_BYTES) as i32,
            attributes: self.attributes & !(CODEC_MASK | DELETE_HORIZON_BIT),
            base_timestamp_ms: i64::from(NONE),
            record_count: 0,
            ..*self
        };
        header.crc = crc::crc32c(&header.write()[CRC_START..]);
        header
    }

    /// Sets the timestamp type's bit in the attributes, and leaves the others.
    pub const fn set_timestamp_type(&mut self, timestamp_type: TimestampType) {
        match timestamp_type {
            TimestampType::CreateTime => self.attributes &= !TIMESTAMP_TYPE_BIT,
            TimestampType::LogAppendTime => self.attributes |= TIMESTAMP_TYPE_BIT,
        }
    }

    /// Sets the codec's bits in the attributes, and leaves the others.
    pub const fn set_codec(&mut self, codec: Codec) {
        self.attributes = self.attributes & !CODEC_MASK | codec.id();
    }

    /// Whether this is half of an append to a partition's log and its delay journal: the other
    /// log has the other half at the same base offset, or neither counts. Never from the wire.
    #[must_use]
    pub const fn is_paired(&self) -> bool {
        self.attributes & PAIRED_BIT != 0
    }

    /// Sets or clears the bit of [`BatchHeader::is_paired`], and leaves the others.
    pub const fn set_paired(&mut self, paired: bool) {
        self.attributes &= !PAIRED_BIT;
        if paired {
            self.attributes |= PAIRED_BIT;
        }
    }

    /// Sets the control bit in the attributes, and leaves the others.
    pub const fn set_control(&mut self) {
        self.attributes |= CONTROL_BIT;
    }

    /// Sets the transactional bit in the attributes, and leaves the others.
    pub const fn set_transactional(&mut self) {
        self.attributes |= TRANSACTIONAL_BIT;
    }
}

/// A position in the header that every read moves on; the fields add up to the header.
struct Fields<'a> {
    header: &'a [u8; HEADER_BYTES],
    position: usize,
}

impl Fields<'_> {
    #[inline]
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.header[self.position..self.position + N]);
        self.position += N;
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = BatchHeader> {
        let places = (any::<i64>(), 49..i32::MAX, any::<i32>(), any::<u32>());
        let marks = (any::<i16>(), any::<i32>(), any::<i64>(), any::<i64>());
        let producer = (any::<i64>(), any::<i16>(), any::<i32>(), any::<i32>());
        (places, marks, producer).prop_map(|(places, marks, producer)| BatchHeader {
            base_offset: places.0,
            length: places.1,
            leader_epoch: places.2,
            magic: MAGIC,
            crc: places.3,
            attributes: marks.0,
            last_offset_delta: marks.1,
            base_timestamp_ms: marks.2,
            max_timestamp_ms: marks.3,
            producer_id: producer.0,
            producer_epoch: producer.1,
            base_sequence: producer.2,
            record_count: producer.3,
        })
    }

    proptest! {
        #[test]
        fn write_then_parse_gives_the_same_header(header in header()) {
            prop_assert_eq!(BatchHeader::parse(&header.write()), Ok(header));
        }

        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            match BatchHeader::parse(&bytes) {
                Ok(header) => prop_assert_eq!(&header.write()[..], &bytes[..HEADER_BYTES]),
                Err(HeaderError::Short(n)) => prop_assert!(n == bytes.len() && n < HEADER_BYTES),
                Err(_) => prop_assert!(bytes.len() >= HEADER_BYTES),
            }
        }
    }

    #[test]
    fn refusals_name_the_field() {
        let mut bytes = [0; HEADER_BYTES];
        assert_eq!(BatchHeader::parse(&bytes[..60]), Err(HeaderError::Short(60)));
        bytes[16] = 1;
        assert_eq!(BatchHeader::parse(&bytes), Err(HeaderError::Magic(1)));
        bytes[16] = 2;
        bytes[11] = 48;
        assert_eq!(BatchHeader::parse(&bytes), Err(HeaderError::Length(48)));
        bytes[8] = 0xff;
        assert!(matches!(BatchHeader::parse(&bytes), Err(HeaderError::Length(n)) if n < 0));
    }

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        let mut header = BatchHeader::read(&[0; HEADER_BYTES]);
        for (base, delta, last) in [
            (0, 4, 4),
            (i32::MAX, 0, i32::MAX),
            (i32::MAX, 1, 0),
            (i32::MAX - 1, 3, 1),
            (-1, 5, -1),
        ] {
            header.base_sequence = base;
            header.last_offset_delta = delta;
            assert_eq!(header.last_sequence(), last, "{base} + {delta}");
        }
    }

    #[test]
    fn attribute_bits_do_not_touch_each_other() {
        let mut header = BatchHeader::read(&[0; HEADER_BYTES]);
        header.set_transactional();
        header.set_codec(Codec::Zstd);
        header.set_timestamp_type(TimestampType::LogAppendTime);
        assert_eq!(header.attributes, 0b1_1100);
        header.set_codec(Codec::Gzip);
        header.set_timestamp_type(TimestampType::CreateTime);
        assert!(header.is_transactional() && !header.is_control());
        assert_eq!(header.codec(), Some(Codec::Gzip));
        header.set_paired(true);
        assert!(header.is_paired() && header.is_transactional());
        header.set_paired(false);
        assert_eq!((header.is_paired(), header.attributes), (false, 0b1_0001));
        header.attributes |= 0x07;
        assert_eq!(header.codec(), None);
    }
}
