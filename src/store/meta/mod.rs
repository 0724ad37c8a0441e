//! The two stores behind [`super::Meta`]: [`RedbMeta`] keeps one file, [`MemoryMeta`] serves
//! tests. What both must do is written once, in `tests.rs`, and run against each.

mod memory;
mod redb;
#[cfg(test)]
mod tests;

pub use memory::MemoryMeta;
pub use redb::RedbMeta;
