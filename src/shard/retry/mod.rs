//! Retry and dead letter at work: their topics, copies of records in the journals of other
//! partitions, what operators see of dead letters, and the jobs that put them back.

pub mod back;
pub mod copy;
pub mod dead_letters;
pub mod expired;
mod failed;
pub mod nack;
mod outbox;
mod place;
pub mod poison;
pub mod reader;
pub mod redrive;
pub mod steward;
pub mod trim;
