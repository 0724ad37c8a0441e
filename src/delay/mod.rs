//! Delayed delivery as pure machines: what records ask for, and in which order they come due.
//!
//! Nothing here reads a clock or a file: moments come in with the call. Files, journals and
//! threads are `log/` and `shard/`.

pub mod clock;
pub mod command;
pub mod copies;
pub mod decide;
pub mod ids;
pub mod key;
pub mod nack;
pub mod note;
pub mod query;
pub mod rate;
pub mod release;
pub mod replay;
pub mod rules;
pub mod state;
pub mod victim;
pub mod window;

pub use crate::base::headers;
pub use crate::base::headers::value;
