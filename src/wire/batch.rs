//! The broker's own view of a record batch (magic 2): the 61-byte header, read and stamped
//! without touching the records.
//!
//! ```text
//!  0 i64 base offset            8 i32 length (bytes after this field)
//! 12 i32 leader epoch          16 i8  magic = 2
//! 17 u32 CRC-32C of 21..end    21 i16 attributes (0-2 codec, 3 timestamp type, 4 transactional,
//! 23 i32 last offset delta            5 control, 6 delete horizon)
//! 27 i64 base timestamp        35 i64 max timestamp
//! 43 i64 producer id           51 i16 producer epoch
//! 53 i32 base sequence         57 i32 record count
//! 61 ... records, compressed as a whole if a codec is set
//! ```

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
