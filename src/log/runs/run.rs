//! One run as its readers hold it: what is opened and read of it, and when.
//!
//! Nothing is open between calls; opening a file costs less than what is then read of it, and
//! thousands of partitions with dozens of runs each would exhaust the descriptors. In memory are
//! the indexes of slices that were read (32 bytes per 64 KiB), and of the tables what a look-up
//! needs to touch the disk seldom. Files are read at positions and not mapped: a sector that
//! cannot be read is then an error and not the end of the process, and what was read long ago
//! does not count as memory in use.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use twox_hash::XxHash3_64;

use super::block::BlockReader;
use super::entry::OwnedEntry;
use super::error::RunError;
use super::index::Index;
use super::meta::{RunMeta, ids_name, runs_dir, slice_name, tickets_name};
use super::table::{Kind, Row, Table, TableRows};
use crate::delay::key::Key;
use crate::store::{File, Files, OpenMode};

/// See the module's head.
pub struct Run {
    meta: RunMeta,
    files: Arc<dyn Files>,
    dir: PathBuf,
    indexes: Vec<OnceLock<Index>>,
    ids: Option<Table>,
    tickets: Table,
}

/// An entry as the table of tickets has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub key: Key,
    pub record_bytes: u64,
}

impl From<Row> for Ticket {
    fn from([ticket, due_ms, record_bytes]: Row) -> Self {
        let key = Key { due_ms: due_ms.cast_signed(), ticket: ticket.cast_signed() };
        Self { key, record_bytes }
    }
}

/// What the table of ids has instead of an id.
pub(super) fn hash(id: &[u8]) -> u64 {
    XxHash3_64::oneshot(id)
}

impl Run {
    /// A run that the manifest in `delay_dir` names. Touches no file.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, delay_dir: &Path, meta: RunMeta) -> Self {
        let dir = runs_dir(delay_dir);
        let table = |name, kind| Table::new(Arc::clone(&files), dir.join(name), meta.id, kind);
        let ids = (meta.ids > 0).then(|| table(ids_name(meta.id), Kind::Ids));
        let tickets = table(tickets_name(meta.id), Kind::Tickets);
        let indexes = meta.slices.iter().map(|_| OnceLock::new()).collect();
        Self { meta, files, dir, indexes, ids, tickets }
    }

    #[must_use]
    pub fn meta(&self) -> &RunMeta {
        &self.meta
    }

    /// Counts slice `number` (in [`RunMeta::slices`]) as lost: its file is gone.
    pub(super) fn set_missing(&self, number: usize) {
        // A file that vanished after it was read serves on by its index, and fails when read.
        let _ = self.indexes[number].set(Index::default());
    }

    /// Opens slice `number` for reading.
    pub(super) fn open_slice(&self, number: usize) -> io::Result<Arc<dyn File>> {
        let name = slice_name(self.meta.id, self.meta.slices[number].number);
        self.files.open(&self.dir.join(name), OpenMode::Read)
    }

    /// The index of slice `number`, read once.
    pub(super) fn index(&self, number: usize) -> io::Result<&Index> {
        if let Some(index) = self.indexes[number].get() {
            return Ok(index);
        }
        let file = self.open_slice(number)?;
        let index = Index::load(&*file, self.meta.id, &self.meta.slices[number])?;
        Ok(self.indexes[number].get_or_init(|| index))
    }

    /// The entry of this key, if the run has it.
    ///
    /// # Errors
    /// The disk's own, or damage where it would be.
    pub fn get(&self, key: Key) -> Result<Option<OwnedEntry>, RunError> {
        let number = self.meta.slices.partition_point(|slice| slice.last < key);
        let Some(slice) = self.meta.slices.get(number).filter(|slice| slice.first <= key) else {
            return Ok(None);
        };
        let index = self.index(number)?;
        let mut whole = index.missing(slice).is_none();
        if let Some(at) = index.block_of(key) {
            let mut block = BlockReader::new();
            let file = self.open_slice(number)?;
            whole &= block.load(&*file, &index.blocks[at], index.length(at))?;
            while let Some(entry) = block.next() {
                if entry.key == key {
                    return Ok(Some(block.borrow(&entry).to_owned()));
                }
            }
            whole &= block.take_rest().is_none();
        }
        let damaged = RunError::Damaged { run: self.meta.id, what: "a slice" };
        if whole { Ok(None) } else { Err(damaged) }
    }

    /// The entry with this ticket, if the run has it.
    ///
    /// # Errors
    /// The disk's own, or damage of the table.
    pub fn ticket(&self, ticket: i64) -> Result<Option<Ticket>, RunError> {
        let mut found = None;
        if (self.meta.first_ticket..=self.meta.last_ticket).contains(&ticket) {
            self.tickets.find(ticket.cast_unsigned(), |row| {
                found = Some(Ticket::from(*row));
                true
            })?;
        }
        Ok(found)
    }

    /// Keys of entries whose id may be this one: all that have it, and seldom another.
    ///
    /// # Errors
    /// The disk's own, or damage of the table.
    pub fn with_id(&self, id: &[u8], mut each: impl FnMut(Key)) -> Result<(), RunError> {
        let Some(ids) = &self.ids else { return Ok(()) };
        ids.find(hash(id), |[_, due_ms, ticket]| {
            each(Key { due_ms: due_ms.cast_signed(), ticket: ticket.cast_signed() });
            false
        })
    }

    /// All entries with keys from `from` on and below `below`, in the order of their tickets:
    /// what a [`super::Lost`] took. Reads the whole table.
    ///
    /// # Errors
    /// The disk's own, or damage of the table.
    pub fn keys_within(&self, from: Key, below: Key) -> Result<Vec<Ticket>, RunError> {
        let mut found = Vec::new();
        let mut rows = self.tickets.rows()?;
        while let Some(row) = rows.next()? {
            let ticket = Ticket::from(row);
            if ticket.key >= from && ticket.key < below {
                found.push(ticket);
            }
        }
        Ok(found)
    }

    /// Reads into memory what look-ups by id need, as the first of them would: for the thread
    /// that wrote the run, so that the one that asks does not wait.
    ///
    /// # Errors
    /// The disk's own, or damage of a table.
    pub fn warm(&self) -> Result<(), RunError> {
        self.tickets.warm()?;
        self.ids.as_ref().map_or(Ok(()), Table::warm)
    }

    /// Entries with a due time below `due_ms`, but those of slices that were let go: exact but for
    /// one block, in which they are taken to be spread evenly.
    ///
    /// # Errors
    /// The disk's own.
    pub fn count_below(&self, due_ms: i64) -> io::Result<u64> {
        let bound = Key { due_ms, ticket: i64::MIN };
        let mut count = 0;
        for (number, slice) in self.meta.slices.iter().enumerate() {
            if slice.first >= bound {
                break;
            }
            count += if slice.last < bound {
                u64::from(slice.entries)
            } else {
                count_in(self.index(number)?, slice.last, bound)
            };
        }
        Ok(count)
    }

    pub(super) fn ticket_rows(&self) -> Result<TableRows<'_>, RunError> {
        self.tickets.rows()
    }

    pub(super) fn id_rows(&self) -> Result<Option<TableRows<'_>>, RunError> {
        self.ids.as_ref().map(Table::rows).transpose()
    }
}

fn count_in(index: &Index, last: Key, bound: Key) -> u64 {
    let Some(at) = index.block_of(bound) else { return 0 };
    let before: u64 = index.blocks[..at].iter().map(|block| u64::from(block.entries)).sum();
    let block = &index.blocks[at];
    let end = index.blocks.get(at + 1).map_or(last, |next| next.first);
    let width = i128::from(end.due_ms) - i128::from(block.first.due_ms);
    let passed = i128::from(bound.due_ms) - i128::from(block.first.due_ms);
    let part = (i128::from(block.entries) * passed).checked_div(width).unwrap_or(0);
    before + u64::try_from(part).unwrap_or(0).min(u64::from(block.entries))
}
