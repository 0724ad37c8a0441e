//! What the fuzz targets do with their input. Also compiled into the test that replays the
//! corpus, so that every input ever found is tried by an ordinary `cargo test`.
//!
//! Each function panics when the broker would do something it must never do; malformed input
//! itself is no failure.

#![allow(dead_code, reason = "each fuzz binary uses one of the targets")]

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiKey, RequestKind};
use klamm::wire::schema::APIS;
use klamm::wire::{bounds, frame, request};

/// `socket.request.max.bytes` of the fuzzed connection.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// A byte stream as a connection reads it: size, header, body, and the next frame.
pub fn frame(input: &[u8]) {
    let mut stream = Bytes::copy_from_slice(input);
    while stream.len() >= frame::SIZE_BYTES {
        let prefix = [stream.get_u8(), stream.get_u8(), stream.get_u8(), stream.get_u8()];
        let Ok(bytes) = frame::size(prefix, MAX_FRAME_BYTES) else { return };
        if bytes > stream.len() {
            return;
        }
        let Ok((header, body)) = request::parse(stream.split_to(bytes)) else { return };
        decode_if_safe(header.api.key, header.version, body);
    }
}

/// A request body of any API and version: the first two bytes choose them.
pub fn request(input: &[u8]) {
    let [api, version, body @ ..] = input else { return };
    let api = APIS[usize::from(*api) % APIS.len()];
    let versions = api.versions.1 - api.versions.0 + 1;
    let version = api.versions.0 + i16::from(*version) % versions;
    decode_if_safe(api.key, version, Bytes::copy_from_slice(body));
}

/// What passes the bounds check must decode without an abort, and if it does decode, take
/// exactly the bytes that the check walked.
fn decode_if_safe(key: i16, version: i16, mut body: Bytes) {
    let Ok(bounds) = bounds::check(key, version, &body) else { return };
    let bytes = body.len();
    let key = ApiKey::try_from(key).expect("every API of the tables has a key");
    if let Ok(request) = RequestKind::decode(key, &mut body, version) {
        assert_eq!(bytes - body.len(), bounds.used_bytes, "{request:?}");
    }
}
