//! The records of a batch (magic 2), read in place.
//!
//! ```text
//! varint length (bytes after it)   i8 attributes (unused)   varlong timestamp delta
//! varint offset delta              varint key length, key   varint value length, value
//! varint header count, then each:  varint key length, key, varint value length, value
//! ```
//!
//! A negative length is null, for keys of headers an error. Reading one record checks all of it:
//! every length against what is left, the header count, and that the record ends where it says.
//! Nothing is allocated or copied; keys of headers are bytes, since Java too stores what is not
//! UTF-8. Source: Kafka 4.3, `DefaultRecord`.

use crate::wire::compression::{Codec, Codecs, CompressionError, Inflate};
use crate::wire::varint::{BadVarint, take_i32, take_i64};

/// Longest form of a record's length.
const LENGTH_BYTES: usize = 5;

/// A record, or the list of them, that is not as its lengths and counts say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a variable-length number has no end or too many bits")]
    Varint,
    #[error("record length {0} is negative")]
    Length(i32),
    #[error("the records end inside a record of {0} bytes")]
    Truncated(usize),
    #[error("a field takes {field_bytes} bytes where {left_bytes} are left in its record")]
    Field { field_bytes: usize, left_bytes: usize },
    #[error("header count {count} is impossible in {left_bytes} bytes")]
    HeaderCount { count: i32, left_bytes: usize },
    #[error("header key length {0} is negative")]
    HeaderKey(i32),
    #[error("{0} bytes are left over inside a record")]
    LeftInRecord(usize),
    #[error("{0} bytes are left over behind the last record")]
    LeftBehind(usize),
}

impl From<BadVarint> for RecordError {
    fn from(_: BadVarint) -> Self {
        Self::Varint
    }
}

/// Why a batch's records can not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// One record. Timestamp and offset are relative to the batch's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub timestamp_delta_ms: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// Reads a record behind its length field: `body` is all of it and nothing else.
    #[inline]
    fn read(mut body: &'a [u8]) -> Result<Self, RecordError> {
        let input = &mut body;
        take(input, 1)?;
        let timestamp_delta_ms = take_i64(input)?;
        let offset_delta = take_i32(input)?;
        let key = take_nullable(input)?;
        let value = take_nullable(input)?;
        let headers = Headers::read(input)?;
        if !input.is_empty() {
            return Err(RecordError::LeftInRecord(input.len()));
        }
        Ok(Self { timestamp_delta_ms, offset_delta, key, value, headers })
    }
}

/// A record's headers: duplicates and their order are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    count: i32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> i32 {
        self.count
    }

    /// The encoded headers, without their count.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[must_use]
    pub const fn iter(&self) -> HeaderIter<'a> {
        HeaderIter { left: self.count, bytes: self.bytes }
    }

    #[inline]
    fn read(input: &mut &'a [u8]) -> Result<Self, RecordError> {
        let count = take_i32(input)?;
        if usize::try_from(count).is_ok_and(|count| count <= input.len()) {
            let bytes = *input;
            for _ in 0..count {
                Header::take(input)?;
            }
            return Ok(Self { count, bytes: &bytes[..bytes.len() - input.len()] });
        }
        Err(RecordError::HeaderCount { count, left_bytes: input.len() })
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    #[inline]
    fn take(input: &mut &'a [u8]) -> Result<Self, RecordError> {
        let length = take_i32(input)?;
        let length = usize::try_from(length).map_err(|_| RecordError::HeaderKey(length))?;
        Ok(Self { key: take(input, length)?, value: take_nullable(input)? })
    }
}

/// The headers of one record, in order.
#[derive(Clone, Debug)]
pub struct HeaderIter<'a> {
    left: i32,
    bytes: &'a [u8],
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1).filter(|left| *left >= 0)?;
        Some(Header::take(&mut self.bytes).expect("headers are checked when their record is read"))
    }
}

/// The records of an uncompressed body, one after the other, without an allocation. Ends after
/// the declared count, or after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    body: &'a [u8],
    left: i32,
}

impl<'a> Records<'a> {
    /// `count` is the header's record count.
    #[must_use]
    pub const fn new(body: &'a [u8], count: i32) -> Self {
        Self { body, left: count }
    }

    /// Bytes behind the last record that was given.
    #[must_use]
    pub const fn left_bytes(&self) -> usize {
        self.body.len()
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, RecordError> {
        let length = take_length(&mut self.body)?;
        let (record, rest) =
            self.body.split_at_checked(length).ok_or(RecordError::Truncated(length))?;
        self.body = rest;
        self.left -= 1;
        if self.left == 0 && !rest.is_empty() {
            return Err(RecordError::LeftBehind(rest.len()));
        }
        Record::read(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

/// Hands every record of a body, whatever its codec, to `each`, in order and in one pass.
/// `limit_bytes` caps what a compressed body may become in all, not what is held of it: that is
/// the largest record.
///
/// # Errors
/// At the first record that can not be read; the ones before have been handed over.
#[inline]
pub fn for_each(
    codec: Codec,
    body: &[u8],
    count: i32,
    limit_bytes: usize,
    mut each: impl FnMut(&Record<'_>),
) -> Result<(), BodyError> {
    if codec == Codec::None {
        for record in Records::new(body, count) {
            each(&record?);
        }
        return Ok(());
    }
    Codecs::of_thread(|codecs| {
        let mut inflate = codecs.open(codec, body, limit_bytes)?;
        for _ in 0..count {
            let (start, end) = next_extent(&mut inflate)?;
            each(&Record::read(&inflate.ready()[start..end])?);
            inflate.consume(end);
        }
        if inflate.ready().is_empty() {
            inflate.more()?;
        }
        match inflate.ready().len() {
            0 => Ok(()),
            left => Err(RecordError::LeftBehind(left).into()),
        }
    })
}

/// Where the next record begins and ends in what is ready, which is made to hold it.
fn next_extent(inflate: &mut Inflate<'_>) -> Result<(usize, usize), BodyError> {
    while inflate.ready().len() < LENGTH_BYTES && inflate.more()? {}
    let ready = inflate.ready();
    let mut rest = ready;
    let length = take_length(&mut rest)?;
    let start = ready.len() - rest.len();
    let end = start + length;
    while inflate.ready().len() < end {
        if !inflate.more()? {
            return Err(RecordError::Truncated(length).into());
        }
    }
    Ok((start, end))
}

#[inline]
fn take_length(input: &mut &[u8]) -> Result<usize, RecordError> {
    if input.is_empty() {
        return Err(RecordError::Truncated(0));
    }
    let length = take_i32(input)?;
    usize::try_from(length).map_err(|_| RecordError::Length(length))
}

#[inline]
fn take<'a>(input: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], RecordError> {
    let (taken, rest) = input
        .split_at_checked(bytes)
        .ok_or(RecordError::Field { field_bytes: bytes, left_bytes: input.len() })?;
    *input = rest;
    Ok(taken)
}

#[inline]
fn take_nullable<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordError> {
    match usize::try_from(take_i32(input)?) {
        Ok(bytes) => take(input, bytes).map(Some),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
