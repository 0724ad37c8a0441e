//! The machine of one partition's delayed records: what is pending, and up to which key W all is
//! out (delivered, expired or cancelled).
//!
//! It changes only by [`State::apply`] and [`State::note`], with what is in the journal: on the
//! live path after the append succeeded, and at start for every batch from the manifest's offset
//! on ([`State::replay`], `replay.rs`). Entries of unsealed journal segments are in windows, all
//! others in runs on disk, of which only the count and the cancelled tickets are kept here.
//! What a new record does to pending ones is decided before it is appended (`decide.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use roaring::RoaringTreemap;
use smallvec::SmallVec;

use super::copies::{Copies, Maker, Origin};
use super::decide::Decision;
use super::key::Key;
use super::note::{Mark, Note, Totals};
use super::victim::Taken;
use super::window::{After, Found, Slot, Snapshot, Window};
use crate::base::ids::TopicPartition;

/// Outcomes of cancels that are remembered.
pub const MOST_OUTCOMES: usize = 10_000;

/// What a cancel achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was pending and will not be delivered.
    Cancelled,
    /// It had been released, or passed as expired. Said also of one that was cancelled before and
    /// whose time has come since.
    TooLate,
    /// Nothing pending has that id or ticket, and nothing of late.
    Unknown,
}

/// The state below an offset of the journal, for the manifest. All of it is durable once the
/// journal is up to there.
#[derive(Clone, Debug, PartialEq)]
pub struct AtSeal {
    /// S: a replay goes on here.
    pub below: i64,
    pub w: Key,
    pub pending: Totals,
    /// Tickets below the window's that are out although their key may be above W.
    pub cancelled: RoaringTreemap,
    /// Origins of the copies that the partition has, or had.
    pub copies: Arc<Copies>,
    /// The newest time that the journal tells of, epoch ms.
    pub clock_ms: i64,
}

/// A closed window that is to become a run, and the state behind it.
#[derive(Clone, Debug)]
pub struct Sealing {
    pub at: AtSeal,
    pub window: Snapshot,
}

/// A delayed record that was appended to the journal.
#[derive(Clone, Copy, Debug)]
pub struct Put {
    /// As asked, epoch ms.
    pub due_ms: i64,
    /// Time of append, epoch ms.
    pub accepted_ms: i64,
    /// Of its batch.
    pub base_timestamp_ms: i64,
    /// `i64::MAX` for never.
    pub expires_at_ms: i64,
    /// In its journal segment, of the record's length field.
    pub position: u32,
    /// The record with its length field.
    pub bytes: u32,
    /// [`super::ids::hash64`] of its id.
    pub id_hash: Option<u64>,
}

/// What became of records, counted since the machine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub accepted: u64,
    pub released: u64,
    pub expired: u64,
    /// Taken out by a cancel.
    pub cancelled: u64,
    /// Taken out by a record that replaces it.
    pub replaced: u64,
    /// Second records with a pending id and the same content.
    pub repeated: u64,
    pub too_late: u64,
    pub unknown: u64,
    /// Nacks, whose copies are elsewhere.
    pub nacked: u64,
}

/// See the module's head.
#[derive(Debug)]
pub struct State {
    w: Key,
    pending: Totals,
    clock_ms: i64,
    /// By segment. The last one takes new entries, the others are closed.
    windows: VecDeque<Window>,
    /// One for each closed window.
    seals: VecDeque<Arc<Sealing>>,
    cancelled: RoaringTreemap,
    /// Shared with what is to be sealed until it changes.
    copies: Arc<Copies>,
    /// By ticket of the command.
    outcomes: VecDeque<(i64, Outcome)>,
    /// Tickets of the last cancels and replaces that found nothing here, rising.
    unmet: VecDeque<i64>,
    tally: Tally,
}

impl State {
    /// Of a partition whose journal is to be replayed from `at.below` on.
    #[must_use]
    pub fn at(at: AtSeal) -> Self {
        Self {
            w: at.w,
            pending: at.pending,
            clock_ms: at.clock_ms,
            windows: VecDeque::new(),
            seals: VecDeque::new(),
            cancelled: at.cancelled,
            copies: at.copies,
            outcomes: VecDeque::new(),
            unmet: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Of a partition without delayed records, whose journal begins at offset `below`.
    #[must_use]
    pub fn empty(below: i64) -> Self {
        let (w, pending, cancelled) = (Key::MIN, Totals::default(), RoaringTreemap::new());
        Self::at(AtSeal { below, w, pending, cancelled, copies: Arc::default(), clock_ms: 0 })
    }

    /// W: everything up to this key is out.
    #[must_use]
    pub const fn w(&self) -> Key {
        self.w
    }

    /// What waits, in memory and in runs. Exact.
    #[must_use]
    pub const fn pending(&self) -> Totals {
        self.pending
    }

    /// The newest time that the journal tells of, epoch ms: below it the clock never goes.
    #[must_use]
    pub const fn clock_ms(&self) -> i64 {
        self.clock_ms
    }

    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What the cancel at this offset achieved, if it is among the last [`MOST_OUTCOMES`].
    #[must_use]
    pub fn outcome(&self, ticket: i64) -> Option<Outcome> {
        let at = self.outcomes.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        Some(self.outcomes[at].1)
    }

    /// Whether the command with this ticket found nothing in this partition. False of those that are
    /// not among the last [`MOST_OUTCOMES`].
    #[must_use]
    pub fn is_unmet(&self, ticket: i64) -> bool {
        self.unmet.binary_search(&ticket).is_ok()
    }

    pub(super) fn note_unmet(&mut self, ticket: i64) {
        if self.unmet.len() == MOST_OUTCOMES {
            self.unmet.pop_front();
        }
        self.unmet.push_back(ticket);
    }

    /// The journal goes on in the segment that begins at offset `base`. To be called before
    /// anything of that segment is applied, and for the first one too.
    pub fn roll(&mut self, base: i64) {
        if let Some(last) = self.windows.back() {
            if last.base() == base {
                return;
            }
            let at = AtSeal {
                below: base,
                w: self.w,
                pending: self.pending,
                cancelled: self.cancelled.clone(),
                copies: Arc::clone(&self.copies),
                clock_ms: self.clock_ms,
            };
            self.seals.push_back(Arc::new(Sealing { at, window: last.snapshot() }));
        }
        self.windows.push_back(Window::new(base));
    }

    /// The oldest closed window, to be sealed next.
    #[must_use]
    pub fn sealing(&self) -> Option<&Arc<Sealing>> {
        self.seals.front()
    }

    /// A durable manifest stands for everything below `below`: windows of segments below are
    /// dropped, their entries are in runs now.
    pub fn adopt(&mut self, below: i64) {
        while self.seals.front().is_some_and(|sealing| sealing.at.below <= below) {
            self.seals.pop_front();
            self.windows.pop_front();
        }
    }

    /// No run has entries of these tickets any more.
    pub fn forget_cancelled(&mut self, tickets: &RoaringTreemap) {
        self.cancelled -= tickets;
    }

    /// No run has tickets below this one any more.
    pub fn forget_cancelled_below(&mut self, ticket: i64) {
        if let Ok(ticket) = u64::try_from(ticket) {
            self.cancelled.remove_range(..ticket);
        }
    }

    /// Whether an entry of a run has been cancelled or replaced.
    #[must_use]
    pub fn is_cancelled(&self, ticket: i64) -> bool {
        u64::try_from(ticket).is_ok_and(|ticket| self.cancelled.contains(ticket))
    }

    /// Tickets of entries in runs that were cancelled or replaced.
    #[must_use]
    pub const fn cancelled(&self) -> &RoaringTreemap {
        &self.cancelled
    }

    /// Origins of the copies that the partition has, or had.
    #[must_use]
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// A copy is in the journal.
    pub(super) fn remember_copy(&mut self, origin: &Origin) {
        Arc::make_mut(&mut self.copies).insert(origin);
    }

    /// As [`Copies::trim`].
    pub fn trim_copies(&mut self, begins_at: impl Fn(&Maker, TopicPartition) -> Option<i64>) {
        if !self.copies.is_empty() {
            Arc::make_mut(&mut self.copies).trim(begins_at);
        }
    }

    /// The key that an entry appended now gets.
    #[must_use]
    pub fn key_of(&self, due_ms: i64, ticket: i64) -> Key {
        Key::new(due_ms.max(self.w.due_ms), ticket)
    }

    /// Takes in a command that is in the journal under this ticket: `put` unless it is a cancel.
    pub fn apply(&mut self, ticket: i64, put: Option<&Put>, decision: Decision) {
        match (decision, put) {
            (Decision::Put, Some(put)) => self.accept(ticket, put),
            (Decision::Replace(taken), Some(put)) => {
                self.take_out(taken);
                self.tally.replaced += 1;
                self.accept(ticket, put);
            }
            (Decision::Same, Some(_)) => self.tally.repeated += 1,
            (Decision::Cancelled(taken), _) => {
                self.take_out(taken);
                self.tally.cancelled += 1;
                self.remember(ticket, Outcome::Cancelled);
            }
            (Decision::Nacked, _) => self.tally.nacked += 1,
            (Decision::TooLate, _) => {
                self.tally.too_late += 1;
                self.remember(ticket, Outcome::TooLate);
            }
            (Decision::Unknown | Decision::Put | Decision::Replace(_) | Decision::Same, _) => {
                self.tally.unknown += 1;
                self.remember(ticket, Outcome::Unknown);
            }
        }
    }

    fn accept(&mut self, ticket: i64, put: &Put) {
        if self.windows.is_empty() {
            self.roll(ticket);
        }
        let slot = Slot {
            key: self.key_of(put.due_ms, ticket),
            asked_due_ms: put.due_ms,
            accepted_ms: put.accepted_ms,
            base_timestamp_ms: put.base_timestamp_ms,
            expires_at_ms: put.expires_at_ms,
            position: put.position,
            bytes: put.bytes,
        };
        let window = self.windows.back_mut().expect("there is one now");
        window.push(&slot, put.id_hash);
        self.pending.add(put.bytes);
        self.clock_ms = self.clock_ms.max(put.accepted_ms);
        self.tally.accepted += 1;
    }

    /// Takes in a note that is in the journal.
    pub fn note(&mut self, note: &Note) {
        match note {
            Note::Mark(mark) => self.mark(mark),
            Note::Cancel(taken) => {
                self.take_out(*taken);
                self.tally.cancelled += 1;
            }
            Note::Cleared { maker, tp, from } => {
                Arc::make_mut(&mut self.copies).clear_from(maker, *tp, *from);
            }
            Note::Forgotten(maker) => Arc::make_mut(&mut self.copies).forget(maker),
        }
    }

    fn mark(&mut self, mark: &Mark) {
        debug_assert!(mark.w >= self.w, "W went back from {:?} to {:?}", self.w, mark.w);
        self.w = self.w.max(mark.w);
        self.clock_ms = self.clock_ms.max(mark.clock_ms);
        for totals in [mark.released, mark.expired] {
            self.uncount(totals);
        }
        self.tally.released += mark.released.records;
        self.tally.expired += mark.expired.records;
        for window in &mut self.windows {
            window.pass(mark.w);
        }
    }

    fn take_out(&mut self, taken: Taken) {
        let Taken { key, bytes } = taken;
        let last = self.windows.len().saturating_sub(1);
        let at = self.windows.iter().rposition(|window| window.base() <= key.ticket);
        let slot = at.and_then(|at| self.windows[at].remove(key.ticket));
        // A record of the same batch may have grown by its own note after this one was written.
        let bytes = u64::from(slot.map_or(bytes, |slot| slot.bytes));
        self.uncount(Totals { records: 1, bytes });
        // What is closed is in a run, or will be: its snapshot was taken.
        if (self.windows.is_empty() || at != Some(last))
            && let Ok(ticket) = u64::try_from(key.ticket)
        {
            self.cancelled.insert(ticket);
        }
    }

    fn uncount(&mut self, totals: Totals) {
        debug_assert!(totals.records <= self.pending.records && totals.bytes <= self.pending.bytes);
        self.pending.records = self.pending.records.saturating_sub(totals.records);
        self.pending.bytes = self.pending.bytes.saturating_sub(totals.bytes);
    }

    fn remember(&mut self, ticket: i64, outcome: Outcome) {
        if self.outcomes.len() == MOST_OUTCOMES {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((ticket, outcome));
    }

    /// The key of the entry in a window that is due first.
    pub fn first(&mut self) -> Option<Key> {
        self.windows.iter_mut().filter_map(Window::first).min()
    }

    /// Pending entries of windows behind `key`, in order of delivery, each with the offset at
    /// which its journal segment begins.
    pub fn after(&mut self, key: Key) -> Waiting<'_> {
        let windows = self.windows.iter_mut();
        let sources = windows.filter_map(|window| {
            let base = window.base();
            let mut rest = window.after(key);
            rest.next().map(|next| Source { base, next, rest })
        });
        Waiting { sources: sources.collect() }
    }

    /// Pending entries of windows, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = Slot> + '_ {
        self.windows.iter().flat_map(Window::iter)
    }

    /// The pending entry of a window with this ticket, and the offset at which its journal
    /// segment begins.
    #[must_use]
    pub fn entry(&self, ticket: i64) -> Option<(i64, Slot)> {
        let window = self.windows.iter().rev().find(|window| window.base() <= ticket)?;
        match window.find(ticket)? {
            Found::Pending(slot) => Some((window.base(), slot)),
            Found::Out(_) => None,
        }
    }

    /// As [`State::after`] W, and beside it the tickets of entries in runs that are out.
    pub fn upcoming(&mut self) -> (Waiting<'_>, &RoaringTreemap) {
        let w = self.w;
        let sources = self.windows.iter_mut().filter_map(|window| {
            let base = window.base();
            let mut rest = window.after(w);
            rest.next().map(|next| Source { base, next, rest })
        });
        (Waiting { sources: sources.collect() }, &self.cancelled)
    }

    /// Windows by segment; the last one takes new entries.
    pub(super) const fn windows(&self) -> &VecDeque<Window> {
        &self.windows
    }

    /// Bytes of memory that the windows take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.windows.iter().map(Window::memory_bytes).sum()
    }

    /// Bytes of memory of the window that takes new entries.
    #[must_use]
    pub fn open_window_bytes(&self) -> usize {
        self.windows.back().map_or(0, Window::memory_bytes)
    }

    /// What must hold at all times, for tests and the simulator.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        let bases: Vec<i64> = self.windows.iter().map(Window::base).collect();
        let mut live = Totals::default();
        for window in &self.windows {
            if let Some(slot) = window.iter().find(|slot| slot.key <= self.w) {
                return Err(format!("{:?} is pending below W {:?}", slot.key, self.w));
            }
            live.records += window.live().records;
            live.bytes += window.live().bytes;
        }
        let open_from = bases.last().map_or(u64::MAX, |base| base.unsigned_abs());
        let rules = [
            (bases.is_sorted_by(|a, b| a < b), "windows are not in order"),
            (self.seals.len() == bases.len().saturating_sub(1), "a closed window has no seal"),
            (live.records <= self.pending.records, "windows hold more records than are pending"),
            (live.bytes <= self.pending.bytes, "windows hold more bytes than are pending"),
            (self.cancelled.max() < Some(open_from), "a ticket of the open window is in the set"),
        ];
        let broken = rules.iter().find(|(holds, _)| !holds);
        broken.map_or(Ok(()), |(_, what)| Err((*what).to_owned()))
    }
}

#[derive(Clone, Debug)]
struct Source<'a> {
    base: i64,
    next: Slot,
    rest: After<'a>,
}

/// See [`State::after`].
#[derive(Clone, Debug)]
pub struct Waiting<'a> {
    sources: SmallVec<[Source<'a>; 2]>,
}

impl Waiting<'_> {
    /// The key of the next entry, which is left where it is.
    #[must_use]
    pub fn peek(&self) -> Option<Key> {
        self.sources.iter().map(|source| source.next.key).min()
    }
}

impl Waiting<'_> {
    /// The next entry, which is left where it is, and where its journal segment begins.
    #[must_use]
    pub fn front(&self) -> Option<(i64, Slot)> {
        let next = self.sources.iter().min_by_key(|source| source.next.key)?;
        Some((next.base, next.next))
    }
}

impl Iterator for Waiting<'_> {
    type Item = (i64, Slot);

    fn next(&mut self) -> Option<(i64, Slot)> {
        let sources = self.sources.iter_mut().enumerate();
        let (at, source) = sources.min_by_key(|(_, source)| source.next.key)?;
        let entry = (source.base, source.next);
        match source.rest.next() {
            Some(next) => source.next = next,
            None => drop(self.sources.swap_remove(at)),
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests;
