//! Rank 2: retries, dead letters and their redrive, as pure decisions. What a group's topics are
//! called, whether a record that failed is tried again and when, what its copy tells, and what a
//! redrive does.
//!
//! Nothing here reads a clock, draws entropy or knows a log: moments and dice come in with the
//! call. Who owns a topic's role is `catalog/`; copies are made by `shard/retry/`.

pub mod letter;
pub mod moves;
pub mod names;
pub mod policy;
pub mod redrive;
pub mod redriven;
pub mod view;
