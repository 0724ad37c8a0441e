//! Rank 6: what an operator sees. The HTTP endpoint, logs, the process itself, signals, and the
//! lines printed at start.
//!
//! Nothing here knows the broker: it is handed what answers "ready?", "what are the numbers?",
//! "what is delayed?" and "what is dead?", so it can be up while recovery still runs.

pub mod banner;
mod capped;
pub mod delays;
pub mod dlq;
pub mod http;
pub mod logs;
pub mod process;
pub mod signals;
