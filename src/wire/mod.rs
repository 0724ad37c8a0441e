//! Rank 1: bytes on the wire. Frames, request bounds, the record-batch view, codecs.

pub mod batch;
