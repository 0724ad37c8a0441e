//! Rank 3: one partition's log over the storage seams.

pub mod commit;
pub mod validate;
