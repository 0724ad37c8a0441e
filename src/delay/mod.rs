//! Delayed delivery as pure machines: what records ask for, and in which order they come due.
//!
//! Nothing here reads a clock or a file: moments come in with the call. Files, journals and
//! threads are `log/` and `shard/`.

pub mod key;
