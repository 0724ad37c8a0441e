//! Rank 7: a seeded simulator of the durable path, over the storage seam alone.
//!
//! One thread, one seed, no clock: [`world`] drives partition logs, commit log and checkpoints as
//! the broker does, [`disk`] forgets, tears and fails under them, and [`ledger`] judges after
//! every recovery what is there against what was promised. The same seed gives the same run to
//! the last byte.

pub mod disk;
pub mod ledger;
pub mod offsets;
pub mod random;
pub mod runs;
pub mod world;
