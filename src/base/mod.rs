//! Rank 0: what every layer may use. Ids, the only door to clock and entropy, the settings
//! table, error kinds, names of headers and topics, and the declared metrics.

pub mod crash_point;
pub mod env;
pub mod fault;
pub mod headers;
pub mod ids;
pub mod metrics;
pub mod role;
pub mod settings;
pub mod text;
pub mod topic_name;
