//! All runs of a partition as one sequence in key order: what delivery and merging read.
//!
//! A heap of cursors by their bounds. A cursor reads only when its bound is the least, so of runs
//! that are not due yet no file is opened, and one whose next entry is far off lets go of its
//! block: thousands of partitions with a dozen runs each would hold gigabytes. Two runs never share
//! a key; should a crash of old have left a copy, it is passed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::sync::Arc;

use super::cursor::Cursor;
use super::entry::EntryRef;
use super::error::Lost;
use super::run::Run;
use crate::delay::key::Key;

/// How far beyond the limit a cursor's next entry is due for its block to be let go: often enough
/// for memory, and seldom enough for a block to be read again.
const PARK_MS: i64 = 10_000;

/// See the module's head.
pub struct Merge {
    cursors: Vec<Cursor>,
    /// Bounds of the cursors that are not at their end, with their places in `cursors`.
    heap: BinaryHeap<Reverse<(Key, usize)>>,
    after: Key,
    /// As last asked for.
    limit: Key,
    lost: Vec<Lost>,
}

impl Merge {
    /// All entries of these runs with keys strictly above `after`. Touches no file.
    #[must_use]
    pub fn new(runs: impl IntoIterator<Item = Arc<Run>>, after: Key) -> Self {
        let mut merge = Self {
            cursors: Vec::new(),
            heap: BinaryHeap::new(),
            after,
            limit: after,
            lost: Vec::new(),
        };
        for run in runs {
            merge.add(run);
        }
        merge
    }

    /// Takes in one more run, from the entry passed last on. What is to leave the sequence (inputs
    /// of a merge, runs that were passed) leaves it by making it anew ([`super::Runs::after`]).
    pub fn add(&mut self, run: Arc<Run>) {
        let cursor = Cursor::new(run, self.after);
        if let Some(bound) = cursor.bound() {
            self.heap.push(Reverse((bound, self.cursors.len())));
            self.cursors.push(cursor);
        }
    }

    /// The key of the next entry, if it is at most `limit`; [`Merge::entry`] then gives it.
    ///
    /// # Errors
    /// The disk's own: nothing was passed, and the call may be repeated.
    pub fn peek(&mut self, limit: Key) -> io::Result<Option<Key>> {
        self.limit = limit;
        while let Some(mut top) = self.heap.peek_mut() {
            let Reverse((bound, number)) = *top;
            if bound > limit {
                return Ok(None);
            }
            let cursor = &mut self.cursors[number];
            if cursor.is_settled() && bound > self.after {
                return Ok(Some(bound));
            }
            if cursor.is_settled() {
                cursor.advance();
            } else {
                let settled = cursor.settle();
                self.lost.append(&mut cursor.take_lost());
                settled?;
            }
            park_if_far(cursor, limit);
            match cursor.bound() {
                Some(bound) => *top = Reverse((bound, number)),
                None => drop(PeekMut::pop(top)),
            }
        }
        Ok(None)
    }

    /// No entry is left below this key; `None` if none is left at all. Touches no file. Above the
    /// limit of a [`Merge::peek`] that found nothing.
    #[must_use]
    pub fn bound(&self) -> Option<Key> {
        self.heap.peek().map(|Reverse((bound, _))| *bound)
    }

    /// The entry that [`Merge::peek`] told of.
    #[must_use]
    #[inline]
    pub fn entry(&self) -> Option<EntryRef<'_>> {
        let Reverse((_, number)) = self.heap.peek()?;
        self.cursors[*number].entry()
    }

    /// Passes the entry that [`Merge::peek`] told of.
    #[inline]
    pub fn advance(&mut self) {
        let Some(mut top) = self.heap.peek_mut() else { return };
        let Reverse((key, number)) = *top;
        let cursor = &mut self.cursors[number];
        if !cursor.is_settled() {
            return;
        }
        self.after = key;
        cursor.advance();
        park_if_far(cursor, self.limit);
        match cursor.bound() {
            Some(bound) => *top = Reverse((bound, number)),
            None => drop(PeekMut::pop(top)),
        }
    }

    /// What damage took since this was last asked.
    pub fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }
}

#[inline]
fn park_if_far(cursor: &mut Cursor, limit: Key) {
    let far = limit.due_ms.saturating_add(PARK_MS);
    if cursor.entry_key().is_some_and(|next| next.due_ms > far) {
        cursor.park();
    }
}
