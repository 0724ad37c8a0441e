//! The header in front of every request body.
//!
//! ```text
//! v1: i16 API key, i16 API version, i32 correlation id, nullable string client id
//! v2: the same (the client id keeps its 2-byte length, KIP-482), then tagged fields
//! ```
//!
//! Flexible versions have header v2. The version is not judged here but for being able to tell
//! the header's shape: ApiVersions answers versions it does not know, every other API closes.

use bytes::{Buf, Bytes};
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;

use super::bounds::{self, Malformed};
use super::cursor::{Cursor, Short};
use super::schema::{self, Api};

/// A request's header. Its strings are slices of the frame.
#[derive(Clone, Debug)]
pub struct Header {
    pub api: &'static Api,
    pub version: i16,
    pub correlation_id: i32,
    /// Null and empty are the same to Kafka; so here.
    pub client_id: StrBytes,
}

/// Why a header can not be read. The connection is closed without an answer, as Kafka does:
/// without a header there is nothing an answer could be matched with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadHeader {
    #[error("the request ends inside its header")]
    Truncated,
    #[error("API key {0} is not served")]
    UnknownApi(i16),
    #[error("header: {0}")]
    Tags(#[from] Malformed),
}

impl From<Short> for BadHeader {
    fn from(_: Short) -> Self {
        Self::Truncated
    }
}

/// Splits a frame (without its size) into header and body.
///
/// # Errors
/// If the frame ends early or names an API that is not served.
pub fn parse(mut frame: Bytes) -> Result<(Header, Bytes), BadHeader> {
    let mut cursor = Cursor::new(&frame);
    let key = cursor.i16()?;
    let version = cursor.i16()?;
    let correlation_id = cursor.i32()?;
    let api = schema::api(key).ok_or(BadHeader::UnknownApi(key))?;
    let client_id_bytes = match cursor.i16()? {
        -1 => 0,
        length => usize::try_from(length).map_err(|_| BadHeader::Truncated)?,
    };
    let client_id_at = frame.len() - cursor.left();
    cursor.take(client_id_bytes)?;
    let tags_at = client_id_at + client_id_bytes;
    let tags_bytes = if api.is_flexible(version) { bounds::tags(&frame[tags_at..])? } else { 0 };
    let client_id = text(frame.slice(client_id_at..tags_at));
    frame.advance(tags_at + tags_bytes);
    Ok((Header { api, version, correlation_id, client_id }, frame))
}

/// Text as Kafka reads it: what is not UTF-8 becomes replacement characters.
fn text(bytes: Bytes) -> StrBytes {
    StrBytes::from_utf8(bytes.clone())
        .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_slice(frame: &[u8]) -> Result<(Header, Bytes), BadHeader> {
        parse(Bytes::copy_from_slice(frame))
    }

    #[test]
    fn header_v1_leaves_the_body() {
        let frame = [0, 3, 0, 1, 0, 0, 0, 9, 0, 2, b'm', b'e', 0xaa, 0xbb];
        let (header, body) = parse_slice(&frame).unwrap();
        assert_eq!((header.api.name, header.version), ("Metadata", 1));
        assert_eq!((header.correlation_id, &*header.client_id), (9, "me"));
        assert_eq!(&body[..], [0xaa, 0xbb]);
    }

    #[test]
    fn a_flexible_header_with_a_null_client_id_still_has_its_tag_byte() {
        let frame = [0, 3, 0, 9, 0, 0, 0, 9, 0xff, 0xff, 0, 0xaa];
        let (header, body) = parse_slice(&frame).unwrap();
        assert_eq!(&*header.client_id, "");
        assert_eq!(&body[..], [0xaa]);
    }

    #[test]
    fn unknown_header_tags_are_skipped() {
        let frame = [0, 3, 0, 9, 0, 0, 0, 9, 0, 0, 2, 0, 1, 0xcc, 7, 0, 0xaa];
        let (_, body) = parse_slice(&frame).unwrap();
        assert_eq!(&body[..], [0xaa]);
    }

    #[test]
    fn api_versions_of_the_future_has_a_flexible_header() {
        let frame = [0, 18, 0, 99, 0, 0, 0, 9, 0, 0, 0, 0xaa];
        let (header, body) = parse_slice(&frame).unwrap();
        assert_eq!(header.version, 99);
        assert_eq!(&body[..], [0xaa]);
    }

    #[test]
    fn every_proper_prefix_of_a_header_is_refused() {
        let frame = [0, 3, 0, 9, 0, 0, 0, 9, 0, 2, b'm', b'e', 1, 5, 1, 0xcc];
        assert!(parse_slice(&frame).is_ok());
        for end in 0..frame.len() {
            assert!(parse_slice(&frame[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let unknown = parse_slice(&[0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(unknown, BadHeader::UnknownApi(0x7f00));
        let (header, _) = parse_slice(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0xff]).unwrap();
        assert_eq!(&*header.client_id, "\u{fffd}");
        let negative = parse_slice(&[0, 3, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0]).unwrap_err();
        assert_eq!(negative, BadHeader::Truncated);
    }
}
