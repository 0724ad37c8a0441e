//! Pending delayed records once they leave memory: immutable files sorted by order of delivery.
//!
//! When a segment of a partition's delay journal is sealed, what is still pending of it is written
//! as one *run*: slices `<id>-<slice>.run` of at most 64 MiB in key order, records included, and
//! tables from id and from ticket to key. Sixteen runs of a tier merge into one of the next.
//! Delivery then reads every slice once, from front to back; reading records from where they were
//! journaled costs 40 times more. The manifest says which runs there are.
//!
//! All of it is plain functions over [`Files`], without threads. A job ([`seal()`], [`merge()`])
//! writes a run and makes it durable; [`Manifest::write`] makes it count; the owner adopts it
//! ([`Runs::adopt`], [`Merge::add`]) and lets go of what it replaces; then [`sweep`] removes the
//! files. One job at a time per partition.

mod block;
mod cursor;
pub mod entry;
mod error;
mod filter;
mod index;
mod manifest;
mod merge;
mod meta;
mod run;
mod seal;
mod set;
mod table;
#[cfg(test)]
mod tests;
mod tier;
mod write;

pub use entry::{Entry, EntryRef, NEVER_MS, OwnedEntry};
pub use error::{Lost, RunError};
pub use manifest::{Manifest, ManifestError, sweep};
pub use merge::Merge;
pub use meta::{RunId, RunMeta, SliceMeta};
pub use run::{Run, Ticket};
pub use seal::{Sealed, Source, seal};
pub use set::Runs;
pub use tier::{FAN_IN, Merged, Over, due_for_merge, merge};

use std::path::Path;

use crate::store::Files;

/// Directory of a partition's delayed records, in the partition's own.
pub const DELAY_DIR: &str = "delay";

/// Runs a job that writes the files of run `id` into the directory it is given; makes their names
/// durable, or removes them if it failed.
fn job<T>(
    files: &dyn Files,
    delay_dir: &Path,
    id: RunId,
    write: impl FnOnce(&Path) -> Result<T, RunError>,
) -> Result<T, RunError> {
    let dir = meta::runs_dir(delay_dir);
    files.create_dir(&dir)?;
    let done = write(&dir).and_then(|done| {
        files.sync_dir(&dir)?;
        Ok(done)
    });
    if done.is_err() {
        // Best effort, for the room they take: the next sweep removes what is left.
        for entry in files.list(&dir).unwrap_or_default() {
            if meta::is_of(&entry.name, id) {
                drop(files.remove(&dir.join(entry.name)));
            }
        }
    }
    done
}
