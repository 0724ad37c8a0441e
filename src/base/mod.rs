//! Rank 0: what every layer may use. Ids, the only door to clock and entropy, the settings
//! table, error kinds and the declared metrics.

pub mod crash_point;
pub mod env;
pub mod fault;
pub mod ids;
pub mod metrics;
pub mod settings;
pub mod text;
