//! Rank 4: owner threads. Each shard owns its partitions' logs by value; connections reach it
//! through a mailbox and read through the shared views.

pub mod checkpointer;
pub mod committer;
pub mod identity;
pub mod metadata;
pub mod producer_ids;
