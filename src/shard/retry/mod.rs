//! Retry and dead letter at work: their topics, and copies of records in the journals of other
//! partitions.

pub mod copy;
pub mod steward;
pub mod trim;
