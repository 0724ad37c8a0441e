//! Rank 2: coordinators. Each is a machine whose durable state is one partition of an internal
//! topic: what it writes there is all that survives, and replaying it is how it starts.
//!
//! Nothing here reads a clock, a file or entropy, and nothing knows Kafka's request versions. The
//! host (`shard::coordinator`) appends what a machine records, holds its replies until that is
//! durable, and builds the machine anew from the log when an append fails.

pub mod cluster;
pub mod deadlines;
pub mod group;
pub mod machine;
pub mod partition;
