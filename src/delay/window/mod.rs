//! The in-memory index of one journal segment that is not sealed yet: which of its records are
//! pending, and in which order they come due. Payload stays in the segment.
//!
//! Slots lie in the order of their tickets (`slots.rs`), the order of delivery beside them
//! (`order.rs`). A delayed record costs 48 bytes here, and about 13 more if it has an id.
//! Nothing is removed in place: what is out is a bit, and blocks of slots are freed whole.
//! Rejected: `BTreeMap`, 90 bytes an entry where keys rise; a heap, which can't be read without
//! being taken apart, and misses the cache at every level when a flood is due.

mod order;
mod slots;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::ids::Ids;
use super::key::Key;
use super::note::Totals;
use order::{Due, Merge, Order};
use slots::{Dead, Slots};

/// An entry of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub key: Key,
    /// Due time as asked, epoch ms: at most `key.due_ms`.
    pub asked_due_ms: i64,
    /// When the broker took it, epoch ms.
    pub accepted_ms: i64,
    /// Base timestamp of its batch: the record's delta counts from here.
    pub base_timestamp_ms: i64,
    /// `i64::MAX` for never.
    pub expires_at_ms: i64,
    /// Of the record's length field, in the journal segment's file.
    pub position: u32,
    /// The record with its length field.
    pub bytes: u32,
}

/// A window's word on a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Pending(Slot),
    /// Delivered, expired or cancelled. The slot may be forgotten.
    Out(Option<Slot>),
}

/// See the module's head.
#[derive(Debug)]
pub struct Window {
    slots: Arc<Slots>,
    dead: Dead,
    order: Order,
    ids: Ids,
    live: Totals,
}

impl Window {
    /// Of the journal segment that begins at offset `base`.
    #[must_use]
    pub fn new(base: i64) -> Self {
        Self {
            slots: Arc::new(Slots::new(base)),
            dead: Dead::default(),
            order: Order::default(),
            ids: Ids::default(),
            live: Totals::default(),
        }
    }

    /// Offset at which the segment begins.
    #[must_use]
    pub fn base(&self) -> i64 {
        self.slots.base()
    }

    /// Pending entries of this window and their bytes.
    #[must_use]
    pub const fn live(&self) -> Totals {
        self.live
    }

    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let parts = [self.slots.memory_bytes(), self.order.memory_bytes(), self.ids.memory_bytes()];
        parts.iter().sum::<usize>() + self.dead.memory_bytes()
    }

    /// Adds an entry, whose ticket is above all before it. With the hash of its id, if it has one.
    pub fn push(&mut self, slot: &Slot, id_hash: Option<u64>) {
        let number = Arc::make_mut(&mut self.slots).push(slot);
        self.dead.push(number);
        self.order.insert(Due::new(slot.key.due_ms, number));
        if let Some(hash) = id_hash {
            let dead = &self.dead;
            self.ids.insert(hash, number, |number| !dead.is(number));
        }
        self.live.add(slot.bytes);
    }

    /// What is known of a ticket: nothing if no record of the segment that was delayed has it.
    #[must_use]
    pub fn find(&self, ticket: i64) -> Option<Found> {
        let number = self.slots.number_of(ticket)?;
        Some(self.found(number))
    }

    /// Entries whose id may have this hash, in no order.
    pub fn candidates(&self, hash: u64) -> impl Iterator<Item = Found> + '_ {
        self.ids.candidates(hash).map(|number| self.found(number))
    }

    fn found(&self, number: u32) -> Found {
        match self.slots.get(number) {
            Some(slot) if !self.dead.is(number) => Found::Pending(slot),
            slot => Found::Out(slot),
        }
    }

    /// Takes an entry out; nothing if it is not pending.
    pub fn remove(&mut self, ticket: i64) -> Option<Slot> {
        let number = self.slots.number_of(ticket)?;
        let slot = self.slots.get(number).filter(|_| !self.dead.is(number))?;
        self.bury(number);
        Some(slot)
    }

    /// Takes out everything up to and with `w`.
    pub fn pass(&mut self, w: Key) {
        let before = self.slots.due_after(w);
        for number in self.order.take_below(before) {
            if !self.dead.is(number) {
                self.bury(number);
            }
        }
    }

    fn bury(&mut self, number: u32) {
        if let Some(slot) = self.slots.get(number) {
            self.live.records -= 1;
            self.live.bytes -= u64::from(slot.bytes);
        }
        if self.dead.bury(number)
            && let Some(slots) = Arc::get_mut(&mut self.slots)
        {
            slots.free_block_of(number);
        }
    }

    /// The pending entry that is due first.
    pub fn first(&mut self) -> Option<Key> {
        let due = self.order.first(&self.dead)?;
        Some(Key::new(due.due_ms(), self.slots.get(due.slot())?.key.ticket))
    }

    /// Pending entries behind `key`, in order of delivery.
    pub fn after(&mut self, key: Key) -> After<'_> {
        let from = self.slots.due_after(key);
        After { merge: self.order.from(from), slots: &self.slots, dead: &self.dead }
    }

    /// Pending entries, in the order of their tickets.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().filter(|(number, _)| !self.dead.is(*number)).map(|(_, slot)| slot)
    }

    /// What is pending now, as a value of its own. Pushing afterwards would copy the window:
    /// to be called when its segment is closed.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { slots: self.slots.clone(), dead: self.dead.clone(), live: self.live }
    }
}

/// See [`Window::after`].
#[derive(Clone, Debug)]
pub struct After<'a> {
    merge: Merge<'a>,
    slots: &'a Slots,
    dead: &'a Dead,
}

impl Iterator for After<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        loop {
            let number = self.merge.next()?.slot();
            if !self.dead.is(number) {
                return self.slots.get(number);
            }
        }
    }
}

/// What was pending in a window at one moment, for the thread that seals its segment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    slots: Arc<Slots>,
    dead: Dead,
    live: Totals,
}

impl Snapshot {
    /// Offset at which the segment begins.
    #[must_use]
    pub fn base(&self) -> i64 {
        self.slots.base()
    }

    #[must_use]
    pub const fn live(&self) -> Totals {
        self.live
    }

    /// The entries in order of delivery. Sorts: not for a shard's thread.
    pub fn sorted(&self) -> impl ExactSizeIterator<Item = Slot> + '_ {
        let live = self.slots.iter().filter(|(number, _)| !self.dead.is(*number));
        let mut order: Vec<Due> =
            live.map(|(number, slot)| Due::new(slot.key.due_ms, number)).collect();
        order.sort_unstable();
        order.into_iter().map(|due| self.slots.get(due.slot()).expect("live slots are kept"))
    }
}
