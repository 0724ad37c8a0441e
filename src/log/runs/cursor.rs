//! Reads one run in key order from a key on.
//!
//! A cursor knows a bound of what comes next without touching a file, so runs that are not due
//! cost nothing: it opens a slice when its bound is the least of all, reads a block at a time, and
//! closes the slice behind its last block. Memory is one block, and none while it is parked.
//!
//! Damage is passed and noted ([`Lost`]), so that nothing blocks what is due behind it; an error
//! of the disk leaves the cursor where it is, to be asked again.

use std::io;
use std::sync::Arc;

use super::block::{BlockReader, Located};
use super::entry::EntryRef;
use super::error::Lost;
use super::index::Index;
use super::meta::SliceMeta;
use super::run::Run;
use crate::delay::key::Key;
use crate::store::File;

/// See the module's head.
pub(super) struct Cursor {
    run: Arc<Run>,
    /// Only what is above this is given.
    after: Key,
    slice: usize,
    /// The next block of the slice, once it is open.
    next_block: usize,
    file: Option<Arc<dyn File>>,
    block: BlockReader,
    current: Option<Located>,
    lost: Vec<Lost>,
}

impl Cursor {
    /// A cursor strictly above `after`. Touches no file.
    pub(super) fn new(run: Arc<Run>, after: Key) -> Self {
        let slice = run.meta().slices.partition_point(|slice| slice.last <= after);
        Self {
            run,
            after,
            slice,
            next_block: 0,
            file: None,
            block: BlockReader::new(),
            current: None,
            lost: Vec::new(),
        }
    }

    /// No entry is left below this key; it is the next entry's own once [`Cursor::settle`] was
    /// called. `None` at the end.
    pub(super) fn bound(&self) -> Option<Key> {
        if let Some(current) = &self.current {
            return Some(current.key);
        }
        let slice = self.run.meta().slices.get(self.slice)?;
        Some(slice.first.max(successor(self.after)))
    }

    /// Whether the next entry is in memory: [`Cursor::entry`] gives it.
    pub(super) fn is_settled(&self) -> bool {
        self.current.is_some()
    }

    /// The next entry, once settled.
    #[inline]
    pub(super) fn entry(&self) -> Option<EntryRef<'_>> {
        self.current.as_ref().map(|current| self.block.borrow(current))
    }

    /// Its key.
    #[inline]
    pub(super) fn entry_key(&self) -> Option<Key> {
        self.current.as_ref().map(|current| current.key)
    }

    /// Passes the next entry.
    #[inline]
    pub(super) fn advance(&mut self) {
        if let Some(passed) = self.current.take() {
            self.after = passed.key;
            self.current = self.block.next();
        }
    }

    /// Forgets the block in memory and closes the slice; both are read again when the next entry,
    /// whose key stays known, is wanted.
    pub(super) fn park(&mut self) {
        if let Some(next) = self.current.take() {
            let Key { due_ms, ticket } = next.key;
            // All below it was given or noted as lost.
            self.after = Key { due_ms, ticket: ticket.saturating_sub(1) };
            self.block = BlockReader::new();
            self.file = None;
            self.next_block = 0;
        }
    }

    /// What damage took since this was last asked.
    pub(super) fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    /// Reads up to the next entry, if it is not in memory; says whether there is one.
    ///
    /// # Errors
    /// The disk's own; the cursor is as before.
    pub(super) fn settle(&mut self) -> io::Result<bool> {
        let run = Arc::clone(&self.run);
        loop {
            while let Some(entry) = self.current.take().or_else(|| self.block.next()) {
                if entry.key > self.after {
                    self.current = Some(entry);
                    return Ok(true);
                }
            }
            let Some(slice) = run.meta().slices.get(self.slice) else { return Ok(false) };
            let index = run.index(self.slice)?;
            if let Some((entries, record_bytes)) = self.block.take_rest() {
                // The checksum held, yet the bytes are no entries.
                let below = below(slice, index, self.next_block);
                self.note(slice, self.after, below, entries, record_bytes);
            }
            if self.file.is_none() && self.next_block == 0 {
                // What ends at or below `after` is of no use.
                self.next_block = index.block_of(successor(self.after)).unwrap_or(0);
            }
            if self.next_block < index.blocks.len() {
                self.read_block(&run, slice, index)?;
            } else {
                self.finish_slice(slice, index);
            }
        }
    }

    fn read_block(&mut self, run: &Run, slice: &SliceMeta, index: &Index) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(run.open_slice(self.slice)?),
        };
        let block = &index.blocks[self.next_block];
        let whole = self.block.load(&**file, block, index.length(self.next_block))?;
        self.next_block += 1;
        if !whole {
            let below = below(slice, index, self.next_block);
            self.note(slice, block.first, below, block.entries.into(), block.record_bytes.into());
        }
        Ok(())
    }

    fn finish_slice(&mut self, slice: &SliceMeta, index: &Index) {
        if let Some((entries, record_bytes)) = index.missing(slice) {
            self.note(slice, self.after, successor(slice.last), entries, record_bytes);
        }
        self.slice += 1;
        self.next_block = 0;
        self.file = None;
        self.block = BlockReader::new();
    }

    fn note(&mut self, slice: &SliceMeta, from: Key, below: Key, entries: u64, record_bytes: u64) {
        let from = from.max(slice.first).max(successor(self.after));
        let (run, slice) = (self.run.meta().id, slice.number);
        self.lost.push(Lost { run, slice, from, below, entries, record_bytes });
    }
}

/// What keys of the blocks before `next` are below.
fn below(slice: &SliceMeta, index: &Index, next: usize) -> Key {
    index.blocks.get(next).map_or(successor(slice.last), |next| next.first)
}

/// The least key above this one.
fn successor(key: Key) -> Key {
    Key { due_ms: key.due_ms, ticket: key.ticket.saturating_add(1) }
}
