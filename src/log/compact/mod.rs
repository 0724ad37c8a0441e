//! Compaction: of each key the latest record stays, under its old offset.
//!
//! A round reads what is new since the last one into a map from key to latest offset ([`map`]),
//! then writes the segments up to there anew without what is superseded ([`rewrite`]). Rules are
//! Kafka's (4.3: `Cleaner`, `LogCleanerManager`, `MemoryRecords.filterTo`; KIP-534 for
//! tombstones). One thing is stricter: every segment keeps its last batch, empty if need be, so
//! that segments stay seamless and recovery can tell a hole of compaction from a lost tail.

pub mod map;
pub mod rewrite;
