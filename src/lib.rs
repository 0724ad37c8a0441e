//! Klamm: a message broker that speaks Kafka's wire protocol and adds delayed delivery, retries
//! and dead letters. `ARCHITECTURE.md` is the map; folders are ranked and import only downwards.

// Helpers of integration tests may unwrap; the broker may not.
#![deny(clippy::unwrap_used)]

pub mod api;
pub mod base;
pub mod broker;
pub mod catalog;
pub mod cli;
pub mod coord;
pub mod delay;
pub mod log;
pub mod ops;
pub mod retry;
pub mod server;
pub mod shard;
pub mod sim;
pub mod store;
pub mod wire;
