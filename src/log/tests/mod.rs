//! The partition log through its public interface, over files in memory and on disk.

mod append;
mod compaction;
mod holes;
mod kit;
mod model;
mod recovery;
mod retention;
mod times;
