//! What is known of a run without opening it: part of the manifest.

use std::path::{Path, PathBuf};

use crate::delay::key::Key;

/// Number of a run, unique in its partition for ever.
pub type RunId = u64;

/// One run: files of sorted entries that never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMeta {
    pub id: RunId,
    /// How often its entries were merged: 0 from a journal segment.
    pub tier: u8,
    /// Rows of its table of ids: how many entries had one when the run was written.
    pub ids: u64,
    /// Rows of its table of tickets: how many entries it had when it was written.
    pub tickets: u64,
    /// The least and the greatest ticket in it.
    pub first_ticket: i64,
    pub last_ticket: i64,
    /// In key order; those that were wholly passed may be missing.
    pub slices: Vec<SliceMeta>,
}

/// One file of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceMeta {
    pub number: u32,
    pub entries: u32,
    /// Length of all its records together.
    pub record_bytes: u64,
    /// Length of the file.
    pub file_bytes: u64,
    pub first: Key,
    pub last: Key,
}

impl RunMeta {
    /// Entries in the slices that are left.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.slices.iter().map(|slice| u64::from(slice.entries)).sum()
    }

    /// The key of its last entry; [`Key::MIN`] if it has none.
    #[must_use]
    pub fn last(&self) -> Key {
        self.slices.last().map_or(Key::MIN, |slice| slice.last)
    }
}

/// Directory of the runs in a partition's `delay` directory.
pub(super) fn runs_dir(delay_dir: &Path) -> PathBuf {
    delay_dir.join("runs")
}

pub(super) fn slice_name(run: RunId, slice: u32) -> String {
    format!("{run:010}-{slice:05}.run")
}

pub(super) fn ids_name(run: RunId) -> String {
    format!("{run:010}.ids")
}

pub(super) fn tickets_name(run: RunId) -> String {
    format!("{run:010}.tickets")
}

/// Whether a file of this name belongs to the run.
pub(super) fn is_of(name: &str, run: RunId) -> bool {
    name.strip_prefix(&format!("{run:010}")).is_some_and(|rest| rest.starts_with(['-', '.']))
}
