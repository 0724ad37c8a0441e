//! Pending delayed records once they leave memory: immutable files sorted by order of delivery.
//!
//! When a segment of a partition's delay journal is sealed, what is still pending of it is written
//! as one *run*: slices `<id>-<slice>.run` of at most 64 MiB in key order, records included, and
//! tables from id and from ticket to key. Sixteen runs of a tier merge into one of the next.
//! Delivery then reads every slice once, from front to back; reading records from where they were
//! journaled costs 40 times more. The manifest says which runs there are.
//!
//! All of it is plain functions over [`crate::store::Files`], without threads: the caller has one
//! job at a time per partition, and readers hold runs by `Arc`.

pub mod entry;
pub mod error;
pub mod manifest;
pub mod meta;

/// Directory of a partition's delayed records, in the partition's own.
pub const DELAY_DIR: &str = "delay";
