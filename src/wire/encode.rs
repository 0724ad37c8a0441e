//! Responses as frames: whole ones from kafka-protocol's structs, and the primitives for those
//! that are framed by hand around bytes that stay where they are (Fetch).
//!
//! A response header is v0 (correlation id) or, in flexible versions, v1 (with tagged fields).
//! ApiVersions always answers with v0, so that a client that guessed a version too high can read
//! the reply (KIP-511).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use thiserror::Error;

use super::frame::SIZE_BYTES;

/// Bytes of the largest response header, size included.
const HEADER_BYTES: usize = SIZE_BYTES + 5;

/// A response that can not be put on the wire: a defect of its maker.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unencodable {
    #[error("a field does not fit version {version}: {reason}")]
    Field { version: i16, reason: String },
    #[error("a response of {bytes} bytes is over the protocol's limit of 2 GiB")]
    TooLarge { bytes: u64 },
}

/// Encodes a response as one frame: size, header of the right version, body.
///
/// # Errors
/// If a field is set that the version does not have, or the frame is over 2 GiB.
pub fn response<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Bytes, Unencodable> {
    let misfit = |error| Unencodable::Field { version, reason: format!("{error}") };
    let body_bytes = response.compute_size(version).map_err(misfit)?;
    let mut frame = Frame::with_capacity(body_bytes);
    frame.header(correlation_id, R::header_version(version) >= 1);
    response.encode(&mut frame.buffer, version).map_err(misfit)?;
    frame.finish(0)
}

/// A response frame in the making. Multi-byte numbers are big-endian; `compact` lengths are
/// variable-length numbers, one up.
#[derive(Debug, Default)]
pub struct Frame {
    buffer: BytesMut,
}

impl Frame {
    /// A frame whose size is not known yet, with room for a header and `body_bytes`.
    #[must_use]
    pub fn with_capacity(body_bytes: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(HEADER_BYTES + body_bytes);
        buffer.put_u32(0);
        Self { buffer }
    }

    /// The response header; `flexible` ones (v1) end with tagged fields.
    pub fn header(&mut self, correlation_id: i32, flexible: bool) {
        self.i32(correlation_id);
        if flexible {
            self.no_tags();
        }
    }

    pub fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    /// Raw bytes without a length: UUIDs, fields that are encoded already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// An unsigned number in groups of seven bits, the lowest first.
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// The length of an array, of bytes or of records that follow; `None` is null.
    ///
    /// # Panics
    /// If the length is over what an `i32` holds, which no caller's memory does.
    pub fn length(&mut self, length: Option<usize>, compact: bool) {
        let length = length.map(|l| i32::try_from(l).expect("lengths are below 2 GiB"));
        match (length, compact) {
            (Some(length), true) => self.uvarint(length.unsigned_abs() + 1),
            (None, true) => self.uvarint(0),
            (length, false) => self.i32(length.unwrap_or(-1)),
        }
    }

    /// A string; `None` is null.
    ///
    /// # Panics
    /// If the string is longer than Kafka's 32,767 bytes.
    pub fn string(&mut self, text: Option<&str>, compact: bool) {
        let length = text.map(|t| i16::try_from(t.len()).expect("strings are below 32 KiB"));
        match (length, compact) {
            (Some(length), true) => self.uvarint(u32::from(length.unsigned_abs()) + 1),
            (None, true) => self.uvarint(0),
            (length, false) => self.i16(length.unwrap_or(-1)),
        }
        self.raw(text.unwrap_or("").as_bytes());
    }

    /// The end of a flexible struct without tagged fields.
    pub fn no_tags(&mut self) {
        self.buffer.put_u8(0);
    }

    /// Bytes written so far, the size's own four included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Writes the size and gives the frame. `elsewhere_bytes` of it are not in this buffer: the
    /// caller sends them from where they are, in the places it left for them.
    ///
    /// # Errors
    /// If the frame is over 2 GiB.
    pub fn finish(mut self, elsewhere_bytes: u64) -> Result<Bytes, Unencodable> {
        let bytes = (self.buffer.len() - SIZE_BYTES) as u64 + elsewhere_bytes;
        let size = i32::try_from(bytes).map_err(|_| Unencodable::TooLarge { bytes })?;
        self.buffer[..SIZE_BYTES].copy_from_slice(&size.to_be_bytes());
        Ok(self.buffer.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{
        ApiVersionsResponse, MetadataResponse, ResponseHeader, TopicName,
    };
    use kafka_protocol::protocol::{Decodable, StrBytes};

    fn decoded<R: Decodable>(mut frame: Bytes, header: i16, version: i16) -> (i32, R, usize) {
        let size = i32::from_be_bytes(frame.split_to(4)[..].try_into().unwrap());
        assert_eq!(size as usize, frame.len());
        let id = ResponseHeader::decode(&mut frame, header).unwrap().correlation_id;
        (id, R::decode(&mut frame, version).unwrap(), frame.len())
    }

    #[test]
    fn flexible_responses_have_header_v1_and_api_versions_never() {
        let metadata = MetadataResponse::default().with_controller_id(7.into());
        for (version, header) in [(8, 0), (9, 1), (12, 1)] {
            let frame = response(5, version, &metadata).unwrap();
            assert_eq!(decoded(frame, header, version), (5, metadata.clone(), 0));
        }
        let versions = ApiVersionsResponse::default().with_error_code(35);
        for version in 0..=4 {
            let frame = response(6, version, &versions).unwrap();
            assert_eq!(decoded(frame, 0, version), (6, versions.clone(), 0));
        }
    }

    #[test]
    fn a_field_the_version_lacks_is_an_error_not_a_panic() {
        let metadata = MetadataResponse::default().with_cluster_authorized_operations(1);
        assert!(matches!(response(1, 12, &metadata), Err(Unencodable::Field { version: 12, .. })));
    }

    #[test]
    fn primitives_written_by_hand_are_what_the_decoder_reads() {
        use kafka_protocol::messages::fetch_request::FetchTopic;
        for (version, compact) in [(11, false), (12, true)] {
            let mut frame = Frame::with_capacity(0);
            frame.string(Some("orders"), compact);
            frame.length(Some(0), compact);
            if compact {
                frame.no_tags();
            }
            let mut bytes = frame.finish(0).unwrap().slice(4..);
            let read = FetchTopic::decode(&mut bytes, version).unwrap();
            assert_eq!(read.topic, TopicName(StrBytes::from_static_str("orders")));
            assert!(read.partitions.is_empty() && bytes.is_empty());
        }
    }

    #[test]
    fn lengths_and_nulls_in_both_encodings() {
        let written = |write: fn(&mut Frame)| {
            let mut frame = Frame::with_capacity(0);
            write(&mut frame);
            frame.finish(0).unwrap().slice(4..).to_vec()
        };
        assert_eq!(written(|f| f.length(None, false)), [0xff; 4]);
        assert_eq!(written(|f| f.length(None, true)), [0]);
        assert_eq!(written(|f| f.length(Some(300), true)), [0xad, 0x02]);
        assert_eq!(written(|f| f.string(None, false)), [0xff; 2]);
        assert_eq!(written(|f| f.string(None, true)), [0]);
        assert_eq!(written(|f| f.string(Some("a"), false)), [0, 1, b'a']);
        assert_eq!(written(|f| f.uvarint(u32::MAX)), [0xff, 0xff, 0xff, 0xff, 0x0f]);
    }

    #[test]
    fn the_size_counts_bytes_that_are_sent_from_elsewhere() {
        let mut frame = Frame::with_capacity(4);
        frame.i32(1);
        assert_eq!(frame.finish(1_000).unwrap()[..4], 1_004_u32.to_be_bytes());
        let refused = Frame::with_capacity(0).finish(1 << 31);
        assert_eq!(refused, Err(Unencodable::TooLarge { bytes: 1 << 31 }));
    }
}
