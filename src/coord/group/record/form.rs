//! Kafka's primitives as stored records use them: every length is checked against the bytes that
//! are there, and nothing is reserved on a count's word.
//!
//! One reader and one writer serve both encodings of a struct: in the compact one lengths are
//! variable-length numbers, one up, and every struct ends with tagged fields.

use bytes::{BufMut, Bytes};

use super::Unreadable;
use crate::base::ids::Uuid;
use crate::wire::cursor::{Cursor, Short};

/// Kafka's longest string.
const MAX_TEXT_BYTES: usize = i16::MAX as usize;

impl From<Short> for Unreadable {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

/// Reads fields in their order.
pub(super) struct Reader<'a> {
    cursor: Cursor<'a>,
    compact: bool,
}

impl<'a> Reader<'a> {
    /// A reader of the classic encoding, which keys and versions always have.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(bytes), compact: false }
    }

    /// Reads the version that a value begins with, and goes on in that version's encoding.
    pub(super) fn version(
        &mut self,
        what: &'static str,
        newest: i16,
        first_compact: i16,
    ) -> Result<i16, Unreadable> {
        let version = self.cursor.i16()?;
        if !(0..=newest).contains(&version) {
            return Err(Unreadable::Version { what, version });
        }
        self.compact = version >= first_compact;
        Ok(version)
    }

    pub(super) fn i8(&mut self) -> Result<i8, Unreadable> {
        Ok(self.cursor.i8()?)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Unreadable> {
        Ok(self.cursor.i16()?)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Unreadable> {
        Ok(self.cursor.i32()?)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Unreadable> {
        Ok(self.cursor.i64()?)
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, Unreadable> {
        Uuid::from_slice(self.cursor.take(16)?).map_err(|_| Unreadable::Short)
    }

    /// The length of what follows; `None` is null.
    fn length(&mut self, wide: bool) -> Result<Option<usize>, Unreadable> {
        let length = match (self.compact, wide) {
            (true, _) => i64::from(self.cursor.uvarint()?) - 1,
            (false, true) => i64::from(self.cursor.i32()?),
            (false, false) => i64::from(self.cursor.i16()?),
        };
        if length == -1 {
            return Ok(None);
        }
        usize::try_from(length).map(Some).map_err(|_| Unreadable::Short)
    }

    pub(super) fn text_or_null<T: From<&'a str>>(&mut self) -> Result<Option<T>, Unreadable> {
        let Some(bytes) = self.length(false)? else { return Ok(None) };
        let text = std::str::from_utf8(self.cursor.take(bytes)?).map_err(|_| Unreadable::Text)?;
        Ok(Some(text.into()))
    }

    pub(super) fn text<T: From<&'a str>>(&mut self) -> Result<T, Unreadable> {
        self.text_or_null()?.ok_or(Unreadable::Null)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Unreadable> {
        let length = self.length(true)?.ok_or(Unreadable::Null)?;
        Ok(Bytes::copy_from_slice(self.cursor.take(length)?))
    }

    pub(super) fn list_or_null<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Unreadable>,
    ) -> Result<Option<Vec<T>>, Unreadable> {
        let Some(count) = self.length(true)? else { return Ok(None) };
        // No element takes less than a byte: a count that lies ends with the bytes.
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(Some(list))
    }

    pub(super) fn list<T>(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, Unreadable> {
        self.list_or_null(element)?.ok_or(Unreadable::Null)
    }

    /// The end of a struct. `known` reads a tagged field and says whether it knew the tag.
    pub(super) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        if !self.compact {
            return Ok(());
        }
        for _ in 0..self.cursor.uvarint()? {
            let tag = self.cursor.uvarint()?;
            let bytes = self.cursor.uvarint()? as usize;
            let field = self.cursor.take(bytes)?;
            known(tag, &mut Self { cursor: Cursor::new(field), compact: true })?;
        }
        Ok(())
    }

    /// The end of a struct that has no tagged fields so far.
    pub(super) fn no_tags(&mut self) -> Result<(), Unreadable> {
        self.tags(|_, _| Ok(()))
    }
}

/// Writes fields in their order.
pub(super) struct Writer {
    bytes: Vec<u8>,
    compact: bool,
}

impl Writer {
    /// A key of a type.
    pub(super) fn key(kind: i16) -> Self {
        Self { bytes: kind.to_be_bytes().to_vec(), compact: false }
    }

    /// A value of a version.
    pub(super) fn value(version: i16, compact: bool) -> Self {
        Self { bytes: version.to_be_bytes().to_vec(), compact }
    }

    pub(super) fn done(self) -> Bytes {
        self.bytes.into()
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.bytes.put_i8(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.put_i64(value);
    }

    pub(super) fn uuid(&mut self, id: Uuid) {
        self.bytes.put_slice(id.as_bytes());
    }

    fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// The length of what follows; `None` is null. Nothing in memory is longer than an `i32`
    /// holds: what is stored came in requests.
    fn length(&mut self, length: Option<usize>) {
        let length = length.map_or(-1, |bytes| i32::try_from(bytes).unwrap_or(i32::MAX));
        if self.compact {
            self.uvarint((length + 1).cast_unsigned());
        } else {
            self.i32(length);
        }
    }

    /// A text. One longer than Kafka's longest is cut, which only a client id that fills a
    /// request's longest string can bring about in what is derived from it.
    pub(super) fn text_or_null(&mut self, text: Option<&str>) {
        let text = text.map(|text| &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]);
        if self.compact {
            self.length(text.map(str::len));
        } else {
            self.bytes.put_i16(text.map_or(-1, |text| text.len() as i16));
        }
        self.bytes.put_slice(text.unwrap_or("").as_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.text_or_null(Some(text));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.length(Some(bytes.len()));
        self.bytes.put_slice(bytes);
    }

    pub(super) fn list<T>(&mut self, list: &[T], mut element: impl FnMut(&mut Self, &T)) {
        self.length(Some(list.len()));
        for item in list {
            element(self, item);
        }
    }

    /// The end of a struct without tagged fields.
    pub(super) fn no_tags(&mut self) {
        if self.compact {
            self.bytes.push(0);
        }
    }

    /// The end of a struct with the one tagged field that our structs have at most: tag 0.
    pub(super) fn tag_0(&mut self, field: Option<impl FnOnce(&mut Self)>) {
        let Some(write) = field else { return self.no_tags() };
        let mut field = Self { bytes: Vec::new(), compact: true };
        write(&mut field);
        self.bytes.put_slice(&[1, 0]);
        self.uvarint(field.bytes.len() as u32);
        self.bytes.append(&mut field.bytes);
    }
}
