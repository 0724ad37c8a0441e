//! A record on its own: for what the broker writes itself out of records that it has read.

use bytes::Bytes;

use super::records::{Header, Record};

/// A header of an [`OwnedRecord`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedHeader {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

impl OwnedHeader {
    #[must_use]
    pub fn new(key: &'static str, value: impl Into<Bytes>) -> Self {
        Self { key: Bytes::from_static(key.as_bytes()), value: Some(value.into()) }
    }

    /// A copy of a header.
    #[must_use]
    pub fn of(header: Header<'_>) -> Self {
        Self {
            key: Bytes::copy_from_slice(header.key),
            value: header.value.map(Bytes::copy_from_slice),
        }
    }

    /// The header in the form of one that was read.
    #[must_use]
    pub fn borrowed(&self) -> Header<'_> {
        Header { key: &self.key, value: self.value.as_deref() }
    }
}

/// A record apart from its batch. Headers keep their order and may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Epoch ms.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<OwnedHeader>,
}

impl OwnedRecord {
    /// A copy of a record that has this time.
    #[must_use]
    pub fn of(record: &Record<'_>, timestamp_ms: i64) -> Self {
        Self {
            timestamp_ms,
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            headers: record.headers.iter().map(OwnedHeader::of).collect(),
        }
    }

    /// What it takes in a batch, but for the lengths and what they are rounded to.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|header| header.key.len() + length(&header.value));
        length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}
