//! Rank 2: retries, dead letters and their redrive, as pure decisions.

pub mod moves;
pub mod redrive;
pub mod view;
