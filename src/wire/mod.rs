//! Rank 1: bytes on the wire. Frames, request bounds, the record-batch view, codecs.
//!
//! The way of a request: [`frame`] measures it, [`request`] reads its header, [`bounds`] proves
//! the body safe against its [`schema`], and only then is it decoded. [`encode`] frames replies.

pub mod batch;
pub mod bounds;
pub mod builder;
pub mod compression;
pub mod crc;
pub mod cursor;
pub mod encode;
pub mod frame;
pub mod owned;
pub mod records;
pub mod request;
pub mod schema;
pub mod varint;
