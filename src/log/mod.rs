//! Rank 3: one partition's log over the storage seams.

mod active;
pub mod cache;
pub mod checkpoint;
pub mod checkpoint_file;
pub mod commit;
pub mod compact;
pub mod dir;
pub mod epochs;
pub mod error;
pub mod index;
pub mod journal;
pub mod pairs;
pub mod partition;
pub mod producers;
pub mod read;
pub mod recover;
pub mod retain;
pub mod runs;
pub mod scan;
pub mod segment;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod times;
pub mod validate;
pub mod view;
