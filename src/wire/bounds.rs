//! Proves a request body safe to decode, before anything is allocated for it.
//!
//! The decoder (crate kafka-protocol) reserves memory for as many elements as an array claims to
//! have; four bytes can ask it for 300 GB, and the process aborts. So the body is walked first,
//! by its [`schema`]: after [`check`] every count, length and tag is known to be backed by bytes
//! that are there, and the decoded request to fit a budget of a small multiple of its size.
//!
//! Rejected: comparing each count with the bytes left, which still lets one byte become 70 to
//! 400; a fork of the decoder, which would have to be kept in step.
//!
//! Bytes after the last field are left alone, as Kafka does.

use thiserror::Error;

use super::cursor::{Cursor, Short};
use super::schema::{self, Element, ElementKind, Field, Kind};

/// Decoded bytes that any request may take: some unknown tags and short names in a small one.
const FREE_DECODED_BYTES: u64 = 8 * 1024;
/// Decoded bytes per byte of the body. Real requests need up to 12: lists of short topic names.
const DECODED_PER_BODY_BYTE: u64 = 16;
/// Decoded bytes of one request, whatever its size: 190,000 partitions of a fetch.
const MAX_DECODED_BYTES: u64 = 16 * 1024 * 1024;
/// Tagged fields of one struct. Kafka 4.3 knows three at most.
const MAX_TAGS: u32 = 64;
/// Decoded bytes of an unknown tagged field: a tree's first leaf in the struct's map of them.
const TAG_DECODED_BYTES: u64 = 416;
/// Kafka's longest string.
const MAX_STRING_BYTES: usize = i16::MAX as usize;

/// Why a body is refused. The connection is closed without an answer, as Kafka does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    #[error("API key {key} version {version} is not served")]
    NotServed { key: i16, version: i16 },
    #[error("the request ends inside {field}")]
    Truncated { field: &'static str },
    #[error("{field} may not be null")]
    Null { field: &'static str },
    #[error("{field} has a length of {length}")]
    Length { field: &'static str, length: i64 },
    #[error("{count} tagged fields in one struct, at most {MAX_TAGS} are read")]
    TooManyTags { count: u32 },
    #[error("tagged field {tag} differs in size from what it holds")]
    TagSize { tag: u32 },
    #[error("decoded, the request would take over {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
}

/// What [`check`] found out about a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the body that the request's fields take.
    pub used_bytes: usize,
    /// Bytes that decoding will allocate at most.
    pub decoded_bytes: u64,
}

/// Walks the body of a request.
///
/// # Errors
/// If the version is not in the schema or the body does not keep to it.
pub fn check(key: i16, version: i16, body: &[u8]) -> Result<Bounds, Malformed> {
    let api = schema::api(key)
        .filter(|api| api.serves(version))
        .ok_or(Malformed::NotServed { key, version })?;
    let limit_bytes = (body.len() as u64)
        .saturating_mul(DECODED_PER_BODY_BYTE)
        .saturating_add(FREE_DECODED_BYTES)
        .min(MAX_DECODED_BYTES);
    let flexible = api.is_flexible(version);
    let mut walk =
        Walk { cursor: Cursor::new(body), version, flexible, decoded_bytes: 0, limit_bytes };
    walk.fields(api.fields)?;
    let used_bytes = body.len() - walk.cursor.left();
    Ok(Bounds { used_bytes, decoded_bytes: walk.decoded_bytes })
}

/// Walks tagged fields of which none is known or will be decoded, and returns the bytes they take.
pub(super) fn tags(bytes: &[u8]) -> Result<usize, Malformed> {
    let mut walk = Walk {
        cursor: Cursor::new(bytes),
        version: 0,
        flexible: true,
        decoded_bytes: 0,
        limit_bytes: u64::MAX,
    };
    walk.tags(&[])?;
    Ok(bytes.len() - walk.cursor.left())
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    version: i16,
    flexible: bool,
    decoded_bytes: u64,
    limit_bytes: u64,
}

impl<'a> Walk<'a> {
    fn fields(&mut self, fields: &[Field]) -> Result<(), Malformed> {
        for field in fields {
            if field.is_plain(self.version) {
                self.field(field)?;
            }
        }
        if self.flexible { self.tags(fields) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field) -> Result<(), Malformed> {
        let nullable = field.may_be_null(self.version);
        match &field.kind {
            Kind::Fixed(bytes) => self.skip(*bytes, field.name),
            Kind::String => self.string(field.name, nullable),
            Kind::Bytes => self.bytes(field.name, nullable),
            Kind::Array(element) => self.array(element, field.name, nullable),
            Kind::Struct(fields) if nullable => match self.read(field.name, Cursor::i8)? {
                -1 => Ok(()),
                1 => self.fields(fields),
                other => Err(Malformed::Length { field: field.name, length: other.into() }),
            },
            Kind::Struct(fields) => self.fields(fields),
        }
    }

    fn string(&mut self, field: &'static str, nullable: bool) -> Result<(), Malformed> {
        let length = if self.flexible {
            self.compact_length(field)?
        } else {
            i64::from(self.read(field, Cursor::i16)?)
        };
        match length_or_null(field, length, nullable)? {
            Some(bytes) if bytes > MAX_STRING_BYTES => Err(Malformed::Length { field, length }),
            bytes => self.skip(bytes.unwrap_or(0), field),
        }
    }

    fn bytes(&mut self, field: &'static str, nullable: bool) -> Result<(), Malformed> {
        let length = self.length(field)?;
        let bytes = length_or_null(field, length, nullable)?;
        self.skip(bytes.unwrap_or(0), field)
    }

    fn array(
        &mut self,
        element: &Element,
        field: &'static str,
        nullable: bool,
    ) -> Result<(), Malformed> {
        let length = self.length(field)?;
        let Some(count) = length_or_null(field, length, nullable)? else { return Ok(()) };
        self.charge((count as u64).saturating_mul(element.memory_bytes as u64))?;
        match &element.kind {
            ElementKind::Fixed(width) => self.skip(count.saturating_mul(*width), field),
            ElementKind::String => (0..count).try_for_each(|_| self.string(field, false)),
            ElementKind::Struct(fields) => (0..count).try_for_each(|_| self.fields(fields)),
        }
    }

    fn tags(&mut self, known: &[Field]) -> Result<(), Malformed> {
        let count = self.read("tagged fields", Cursor::uvarint)?;
        if count > MAX_TAGS {
            return Err(Malformed::TooManyTags { count });
        }
        for _ in 0..count {
            let tag = self.read("tagged fields", Cursor::uvarint)?;
            let bytes = self.read("tagged fields", Cursor::uvarint)? as usize;
            let field = known.iter().find(|f| f.tag == Some(tag) && f.exists(self.version));
            let Some(field) = field else {
                self.charge(TAG_DECODED_BYTES)?;
                self.skip(bytes, "tagged fields")?;
                continue;
            };
            let left = self.cursor.left();
            self.field(field)?;
            if left - self.cursor.left() != bytes {
                return Err(Malformed::TagSize { tag });
            }
        }
        Ok(())
    }

    /// The length of bytes or of an array; -1 is null.
    fn length(&mut self, field: &'static str) -> Result<i64, Malformed> {
        if self.flexible {
            self.compact_length(field)
        } else {
            self.read(field, Cursor::i32).map(i64::from)
        }
    }

    /// Compact lengths are stored one up, so that null is 0.
    fn compact_length(&mut self, field: &'static str) -> Result<i64, Malformed> {
        self.read(field, Cursor::uvarint).map(|stored| i64::from(stored) - 1)
    }

    fn skip(&mut self, bytes: usize, field: &'static str) -> Result<(), Malformed> {
        self.read(field, |cursor| cursor.take(bytes).map(drop))
    }

    fn read<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Cursor<'a>) -> Result<T, Short>,
    ) -> Result<T, Malformed> {
        read(&mut self.cursor).map_err(|Short| Malformed::Truncated { field })
    }

    fn charge(&mut self, bytes: u64) -> Result<(), Malformed> {
        self.decoded_bytes = self.decoded_bytes.saturating_add(bytes);
        if self.decoded_bytes > self.limit_bytes {
            return Err(Malformed::TooLarge { limit_bytes: self.limit_bytes });
        }
        Ok(())
    }
}

fn length_or_null(
    field: &'static str,
    length: i64,
    nullable: bool,
) -> Result<Option<usize>, Malformed> {
    match usize::try_from(length) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(_) if length == -1 && nullable => Ok(None),
        Err(_) if length == -1 => Err(Malformed::Null { field }),
        Err(_) => Err(Malformed::Length { field, length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCE: i16 = 0;
    const METADATA: i16 = 3;
    const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;
    const FETCH: i16 = 1;

    /// Fetch v12 up to its tagged fields: no topics, none forgotten, no rack.
    const FETCH_V12: [u8; 28] =
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1];

    #[test]
    fn four_bytes_can_not_claim_two_billion_topics() {
        let refused = check(METADATA, 1, &[0x7f, 0xff, 0xff, 0xff]).unwrap_err();
        assert!(matches!(refused, Malformed::TooLarge { .. }), "{refused:?}");
        let refused = check(METADATA, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f]).unwrap_err();
        assert!(matches!(refused, Malformed::TooLarge { .. }), "{refused:?}");
    }

    #[test]
    fn an_honest_count_over_missing_bytes_is_truncated() {
        let body = [0, 0, 0, 2, 0, 1, b't'];
        assert_eq!(check(METADATA, 1, &body), Err(Malformed::Truncated { field: "Name" }));
    }

    #[test]
    fn null_only_where_kafka_allows_it() {
        let null = [0xff; 4];
        assert_eq!(check(METADATA, 0, &null), Err(Malformed::Null { field: "Topics" }));
        assert!(check(METADATA, 1, &null).is_ok());
        let length_minus_two = [0xff, 0xff, 0xff, 0xfe];
        let refused = Malformed::Length { field: "Topics", length: -2 };
        assert_eq!(check(METADATA, 1, &length_minus_two), Err(refused));
    }

    #[test]
    fn empty_names_can_not_outgrow_the_budget() {
        let mut body = 1_000_000_i32.to_be_bytes().to_vec();
        body.resize(body.len() + 2_000_000, 0);
        let refused = check(METADATA, 1, &body).unwrap_err();
        assert!(matches!(refused, Malformed::TooLarge { .. }), "{refused:?}");
    }

    #[test]
    fn bytes_after_the_request_are_left_alone() {
        let bounds = check(METADATA, 1, &[0xff, 0xff, 0xff, 0xff, 1, 2, 3]).unwrap();
        assert_eq!(bounds, Bounds { used_bytes: 4, decoded_bytes: 0 });
    }

    #[test]
    fn a_nullable_struct_is_absent_present_or_malformed() {
        let request = |cursor: &[u8]| {
            let mut body = vec![1, 0, 0, 0, 1];
            body.extend_from_slice(cursor);
            body.push(0);
            check(DESCRIBE_TOPIC_PARTITIONS, 0, &body)
        };
        assert!(request(&[0xff]).is_ok());
        assert!(request(&[1, 2, b't', 0, 0, 0, 1, 0]).is_ok());
        let refused = Malformed::Length { field: "Cursor", length: 2 };
        assert_eq!(request(&[2, 2, b't', 0, 0, 0, 1, 0]), Err(refused));
    }

    #[test]
    fn tagged_fields_are_counted_and_measured() {
        let request = |tags: &[u8]| check(FETCH, 12, &[&FETCH_V12, tags].concat());
        let cluster_id = [1, 0, 3, 3, b'i', b'd'];
        assert!(request(&[0]).is_ok());
        assert!(request(&cluster_id).is_ok());
        let one_byte_more = [1, 0, 4, 3, b'i', b'd', 0];
        assert_eq!(request(&one_byte_more), Err(Malformed::TagSize { tag: 0 }));
        let unknown = [1, 40, 2, 0xaa, 0xbb];
        assert_eq!(request(&unknown).unwrap().decoded_bytes, TAG_DECODED_BYTES);
        assert_eq!(request(&[65]), Err(Malformed::TooManyTags { count: 65 }));
        assert_eq!(
            request(&[1, 40, 3, 0xaa]),
            Err(Malformed::Truncated { field: "tagged fields" })
        );
    }

    #[test]
    fn versions_outside_the_schema_are_not_walked() {
        for (key, version) in [(PRODUCE, 2), (PRODUCE, 14), (METADATA, -1), (4, 0), (-1, 0)] {
            assert_eq!(check(key, version, &[]), Err(Malformed::NotServed { key, version }));
        }
    }
}
