//! All runs of a partition, for its owner: sequence, look-ups, counts.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::OwnedEntry;
use super::error::RunError;
use super::manifest::{Manifest, sweep};
use super::merge::Merge;
use super::meta::{RunId, RunMeta, runs_dir, slice_name};
use super::run::{Run, Ticket};
use crate::delay::decide::id_of;
use crate::delay::key::Key;
use crate::store::Files;

/// See the module's head. Cheap to make: nothing is read before it is asked for.
pub struct Runs {
    files: Arc<dyn Files>,
    delay_dir: PathBuf,
    /// Newest last.
    runs: Vec<Arc<Run>>,
}

impl Runs {
    /// The runs that a manifest names; leftovers beside them are removed. A slice whose file is
    /// missing counts as lost when delivery comes to it.
    ///
    /// # Errors
    /// The disk's own.
    pub fn open(files: Arc<dyn Files>, delay_dir: &Path, manifest: &Manifest) -> io::Result<Self> {
        sweep(&*files, delay_dir, manifest)?;
        let mut runs = Self { files, delay_dir: delay_dir.to_owned(), runs: Vec::new() };
        let listed = runs.files.list(&runs_dir(delay_dir))?;
        let found: HashMap<_, _> =
            listed.into_iter().map(|entry| (entry.name, entry.len_bytes)).collect();
        for meta in &manifest.runs {
            let run = runs.adopt(meta.clone());
            for (number, slice) in meta.slices.iter().enumerate() {
                if !found.contains_key(&slice_name(meta.id, slice.number)) {
                    run.set_missing(number);
                }
            }
        }
        Ok(runs)
    }

    /// Takes in a run that was sealed or merged and is durable. Returns it, to be added to the
    /// sequence that delivery reads.
    pub fn adopt(&mut self, meta: RunMeta) -> Arc<Run> {
        let run = Arc::new(Run::new(Arc::clone(&self.files), &self.delay_dir, meta));
        self.runs.push(Arc::clone(&run));
        run
    }

    /// Lets go of runs: inputs of a merge that was adopted, or what was passed. A sequence that
    /// reads them must be made anew before their files are swept.
    pub fn forget(&mut self, ids: &[RunId]) {
        self.runs.retain(|run| !ids.contains(&run.meta().id));
    }

    #[must_use]
    pub fn all(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// All entries strictly above a key, in order; those that were cancelled among them. For
    /// delivery from the release position, and for pages of what is pending.
    #[must_use]
    pub fn after(&self, key: Key) -> Merge {
        Merge::new(self.runs.iter().cloned(), key)
    }

    /// The newest entry with this id that is `pending`, by whoever knows what was passed and
    /// cancelled.
    ///
    /// # Errors
    /// The disk's own, or damage where it would be.
    pub fn find_id(
        &self,
        id: &[u8],
        mut pending: impl FnMut(Key) -> bool,
    ) -> Result<Option<OwnedEntry>, RunError> {
        let mut found: Option<OwnedEntry> = None;
        for run in self.runs.iter().rev() {
            let mut keys = Vec::new();
            run.with_id(id, |key| keys.push(key))?;
            for key in keys {
                let newer = found.as_ref().is_none_or(|found| found.key.ticket < key.ticket);
                if newer
                    && pending(key)
                    && let Some(entry) = run.get(key)?
                    && id_of(&entry.record) == Some(id)
                {
                    found = Some(entry);
                }
            }
        }
        Ok(found)
    }

    /// Key and size of the entry with this ticket, cancelled or passed ones included.
    ///
    /// # Errors
    /// The disk's own, or damage of a table.
    pub fn find_ticket(&self, ticket: i64) -> Result<Option<Ticket>, RunError> {
        for run in self.runs.iter().rev() {
            if let Some(found) = run.ticket(ticket)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The entry of this key.
    ///
    /// # Errors
    /// The disk's own, or damage where it would be.
    pub fn get(&self, key: Key) -> Result<Option<OwnedEntry>, RunError> {
        for run in self.runs.iter().rev() {
            let meta = run.meta();
            if (meta.first_ticket..=meta.last_ticket).contains(&key.ticket)
                && let Some(found) = run.get(key)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Entries with a due time below `due_ms` that are still in files, passed and cancelled ones
    /// included: differences of two give a histogram. Exact but for a block per run, without
    /// reading entries.
    ///
    /// # Errors
    /// The disk's own.
    pub fn count_below(&self, due_ms: i64) -> io::Result<u64> {
        self.runs.iter().map(|run| run.count_below(due_ms)).sum()
    }
}
