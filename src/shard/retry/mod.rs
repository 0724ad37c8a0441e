//! Retry and dead letter at work: copies of records in the journals of other partitions.

pub mod copy;
