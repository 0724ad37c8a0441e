//! Rank 6: what an operator sees. The HTTP endpoint, logs, the process itself, signals, and the
//! lines printed at start.
//!
//! Nothing here knows the broker: it is handed closures that answer "ready?" and "what are the
//! numbers?", so it can be up while recovery still runs.

pub mod banner;
mod capped;
pub mod http;
pub mod logs;
pub mod process;
pub mod signals;
