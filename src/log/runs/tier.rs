//! Merges runs of one tier into a run of the next, leaving out what is over.
//!
//! An entry is written once when its segment is sealed, and once per tier after that: with a
//! fan-in of 16, twice more for a backlog of 16 GiB. The tables are merged row by row, without
//! looking at entries. Memory is a block per input.
//!
//! A run with damage is not merged: its loss would be forgotten before delivery could tell of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roaring::RoaringTreemap;

use super::error::RunError;
use super::merge::Merge;
use super::meta::{RunId, RunMeta, ids_name, tickets_name};
use super::run::Run;
use super::table::{Kind, Row, TableRows, TableWriter};
use super::write::SliceWriter;
use crate::base::crash_point;
use crate::delay::key::Key;
use crate::store::Files;

/// Runs of a tier that are merged into one.
pub const FAN_IN: usize = 16;
/// The greatest key there is.
const LAST: Key = Key { due_ms: i64::MAX, ticket: i64::MAX };
/// Rows written between two looks at the abort flag.
const ROWS_PER_LOOK: u64 = 1 << 16;

/// What needs no room in a merged run. Both must be durable: a crash must not bring back what a
/// merge left out.
#[derive(Clone, Copy, Debug)]
pub struct Over<'a> {
    /// The release position: what is at or below it was delivered, or is over otherwise.
    pub released: Key,
    pub cancelled: &'a RoaringTreemap,
}

impl Over<'_> {
    fn has(&self, key: Key) -> bool {
        key <= self.released || self.cancelled.contains(key.ticket.cast_unsigned())
    }
}

/// What came of a merge.
#[derive(Debug)]
pub struct Merged {
    /// Durable, and to be named by the next manifest instead of the inputs; `None` if nothing was
    /// left.
    pub run: Option<RunMeta>,
    /// Cancelled tickets that were left out, and are in no run any more.
    pub dropped: RoaringTreemap,
}

/// The runs to merge next: the oldest sixteen of the lowest tier that has as many. Runs with
/// numbers in `damaged` stay as they are.
#[must_use]
pub fn due_for_merge(runs: &[RunMeta], damaged: &[RunId]) -> Option<Vec<RunId>> {
    let sound = || runs.iter().filter(|run| !damaged.contains(&run.id));
    let mut tiers: Vec<u8> = sound().map(|run| run.tier).collect();
    tiers.sort_unstable();
    let tier = tiers.chunk_by(|a, b| a == b).find(|tier| tier.len() >= FAN_IN)?[0];
    let mut of_tier: Vec<&RunMeta> = sound().filter(|run| run.tier == tier).collect();
    // Neighbours in tickets, so that a ticket is looked for in few runs.
    of_tier.sort_unstable_by_key(|run| run.first_ticket);
    Some(of_tier[..FAN_IN].iter().map(|run| run.id).collect())
}

/// Writes the run `id` from what is left of `inputs`.
///
/// # Errors
/// The disk's own, damage in an input, or [`RunError::Aborted`]; what was written is then removed.
pub fn merge(
    files: &dyn Files,
    delay_dir: &Path,
    id: RunId,
    inputs: &[Arc<Run>],
    over: Over<'_>,
    abort: &AtomicBool,
) -> Result<Merged, RunError> {
    let job = Job { files, id, inputs, over, abort };
    super::job(files, delay_dir, id, |dir| job.write(dir))
}

struct Job<'a> {
    files: &'a dyn Files,
    id: RunId,
    inputs: &'a [Arc<Run>],
    over: Over<'a>,
    abort: &'a AtomicBool,
}

impl Job<'_> {
    fn write(&self, dir: &Path) -> Result<Merged, RunError> {
        let mut slices = SliceWriter::new(self.files, dir, self.id);
        let mut dropped = RoaringTreemap::new();
        let mut entries = Merge::new(self.inputs.iter().cloned(), self.over.released);
        while let Some(key) = entries.peek(LAST)? {
            if self.over.has(key) {
                dropped.insert(key.ticket.cast_unsigned());
            } else if let Some(entry) = entries.entry()
                && slices.push(&entry)?
            {
                self.look()?;
            }
            entries.advance();
        }
        if let Some(lost) = entries.take_lost().first() {
            return Err(RunError::Damaged { run: lost.run, what: "a block" });
        }
        crash_point::pass("merge");
        let slices = slices.finish()?;
        if slices.is_empty() {
            return Ok(Merged { run: None, dropped });
        }
        let run = RunMeta { slices, ..self.write_tables(dir)? };
        Ok(Merged { run: Some(run), dropped })
    }

    /// The merged run but for its slices.
    fn write_tables(&self, dir: &Path) -> Result<RunMeta, RunError> {
        let all =
            |count: fn(&RunMeta) -> u64| self.inputs.iter().map(|run| count(run.meta())).sum();
        let rows = self.inputs.iter().map(|run| run.ticket_rows()).collect::<Result<_, _>>()?;
        let path = dir.join(tickets_name(self.id));
        let (mut first, mut last) = (None, i64::MIN);
        let tickets =
            self.write_table(&path, Kind::Tickets, all(|meta| meta.tickets), rows, |row| {
                first.get_or_insert(row[0].cast_signed());
                last = row[0].cast_signed();
                Key { due_ms: row[1].cast_signed(), ticket: row[0].cast_signed() }
            })?;
        let rows = self.inputs.iter().filter_map(|run| run.id_rows().transpose());
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let path = dir.join(ids_name(self.id));
        let ids = match rows.is_empty() {
            true => 0,
            false => self.write_table(&path, Kind::Ids, all(|meta| meta.ids), rows, |row| Key {
                due_ms: row[1].cast_signed(),
                ticket: row[2].cast_signed(),
            })?,
        };
        if ids == 0 {
            self.files.remove(&path)?;
        }
        let tiers = self.inputs.iter().map(|run| run.meta().tier);
        Ok(RunMeta {
            id: self.id,
            tier: tiers.max().unwrap_or(0).saturating_add(1),
            ids,
            tickets,
            first_ticket: first.unwrap_or(i64::MIN),
            last_ticket: last,
            slices: Vec::new(),
        })
    }

    /// Merges rows whose keys are not over; returns how many.
    fn write_table(
        &self,
        path: &Path,
        kind: Kind,
        capacity: u64,
        mut inputs: Vec<TableRows<'_>>,
        mut key_of: impl FnMut(&Row) -> Key,
    ) -> Result<u64, RunError> {
        let mut table = TableWriter::create(self.files, path, self.id, kind, capacity)?;
        let mut heap = BinaryHeap::new();
        for (number, input) in inputs.iter_mut().enumerate() {
            heap.extend(input.next()?.map(|row| Reverse((row, number))));
        }
        let mut passed = 0_u64;
        while let Some(Reverse((row, number))) = heap.pop() {
            if !self.over.has(key_of(&row)) {
                table.push(&row)?;
            }
            heap.extend(inputs[number].next()?.map(|row| Reverse((row, number))));
            passed += 1;
            if passed.is_multiple_of(ROWS_PER_LOOK) {
                self.look()?;
            }
        }
        Ok(table.finish()?)
    }

    fn look(&self) -> Result<(), RunError> {
        if self.abort.load(Ordering::Relaxed) { Err(RunError::Aborted) } else { Ok(()) }
    }
}
