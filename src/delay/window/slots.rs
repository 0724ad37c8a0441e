//! A window's entries in the order of their tickets, and which of them are out.

use rustc_hash::FxHashMap;

use super::Slot;
use super::order::Due;
use crate::delay::key::Key;

/// Slots of one block.
pub(super) const BLOCK_SLOTS: u32 = 1_024;

/// A slot in 36 bytes. A segment's offsets span less than 2^31, as its index demands, and its
/// file is smaller than 4 GiB.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Packed {
    due_ms: i64,
    accepted_ms: i64,
    /// Base timestamp above the time of acceptance, unless it is in the table beside.
    base_after_ms: i32,
    /// Ticket above the segment's base.
    ticket: u32,
    position: u32,
    bytes: u32,
    /// How much later than asked the entry is due.
    late_ms: u32,
}

const _: () = assert!(size_of::<Packed>() == 36);

/// Slots by number: 0 and up, with rising tickets.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    base: i64,
    count: u32,
    /// The last slot's ticket, above the base.
    last: u32,
    /// Freed ones are empty.
    blocks: Vec<Vec<Packed>>,
    /// The first ticket of each block, above the base.
    firsts: Vec<u32>,
    /// What few records have: by number, time of expiry, and base timestamps far off.
    expires_at_ms: FxHashMap<u32, i64>,
    far_base_ms: FxHashMap<u32, i64>,
    block_bytes: usize,
}

impl Slots {
    pub(super) fn new(base: i64) -> Self {
        Self {
            base,
            count: 0,
            last: 0,
            blocks: Vec::new(),
            firsts: Vec::new(),
            expires_at_ms: FxHashMap::default(),
            far_base_ms: FxHashMap::default(),
            block_bytes: 0,
        }
    }

    pub(super) const fn base(&self) -> i64 {
        self.base
    }

    pub(super) fn push(&mut self, slot: &Slot) -> u32 {
        let ticket = u32::try_from(slot.key.ticket - self.base).unwrap_or(u32::MAX);
        let late_ms = slot.key.due_ms.saturating_sub(slot.asked_due_ms);
        let base_after_ms = slot.base_timestamp_ms.checked_sub(slot.accepted_ms);
        let base_after_ms = base_after_ms.and_then(|after| i32::try_from(after).ok());
        let number = self.count;
        if number.is_multiple_of(BLOCK_SLOTS) {
            self.blocks.push(Vec::new());
            self.firsts.push(ticket);
        }
        let block = self.blocks.last_mut().expect("the first slot began a block");
        let before = block.capacity();
        block.push(Packed {
            due_ms: slot.key.due_ms,
            accepted_ms: slot.accepted_ms,
            base_after_ms: base_after_ms.unwrap_or(0),
            ticket,
            position: slot.position,
            bytes: slot.bytes,
            late_ms: u32::try_from(late_ms).unwrap_or(u32::MAX),
        });
        self.block_bytes += (block.capacity() - before) * size_of::<Packed>();
        if slot.expires_at_ms != i64::MAX {
            self.expires_at_ms.insert(number, slot.expires_at_ms);
        }
        if base_after_ms.is_none() {
            self.far_base_ms.insert(number, slot.base_timestamp_ms);
        }
        (self.count, self.last) = (self.count + 1, ticket);
        number
    }

    /// The slot, unless its block is freed.
    pub(super) fn get(&self, number: u32) -> Option<Slot> {
        let block = self.blocks.get((number / BLOCK_SLOTS) as usize)?;
        block.get((number % BLOCK_SLOTS) as usize).map(|packed| self.unpack(number, packed))
    }

    fn unpack(&self, number: u32, packed: &Packed) -> Slot {
        let far_base_ms = self.far_base_ms.get(&number).copied();
        let near_base_ms = packed.accepted_ms.saturating_add(i64::from(packed.base_after_ms));
        Slot {
            key: Key::new(packed.due_ms, self.base + i64::from(packed.ticket)),
            asked_due_ms: packed.due_ms.saturating_sub(i64::from(packed.late_ms)),
            accepted_ms: packed.accepted_ms,
            base_timestamp_ms: far_base_ms.unwrap_or(near_base_ms),
            expires_at_ms: self.expires_at_ms.get(&number).copied().unwrap_or(i64::MAX),
            position: packed.position,
            bytes: packed.bytes,
        }
    }

    /// The slot with this ticket; of a freed block any ticket in its range.
    pub(super) fn number_of(&self, ticket: i64) -> Option<u32> {
        let number = self.lower_bound(ticket);
        let block = self.blocks.get((number / BLOCK_SLOTS) as usize)?;
        if block.is_empty() {
            return (ticket >= self.base && number < self.count).then_some(number);
        }
        let packed = block.get((number % BLOCK_SLOTS) as usize)?;
        (self.base + i64::from(packed.ticket) == ticket).then_some(number)
    }

    /// The first slot whose ticket is not below this one; in a freed block, the block's first.
    fn lower_bound(&self, ticket: i64) -> u32 {
        let Some(above) = ticket.checked_sub(self.base).filter(|above| *above >= 0) else {
            return 0;
        };
        let above = u32::try_from(above).ok().filter(|above| *above <= self.last);
        let Some(above) = above else { return self.count };
        let Some(at) = self.firsts.partition_point(|first| *first <= above).checked_sub(1) else {
            return 0;
        };
        let block = &self.blocks[at];
        let inside = block.partition_point(|packed| packed.ticket < above);
        at as u32 * BLOCK_SLOTS + inside as u32
    }

    /// The least place in the order of delivery that lies behind `key`.
    pub(super) fn due_after(&self, key: Key) -> Due {
        Due::new(key.due_ms, self.lower_bound(key.ticket.saturating_add(1)))
    }

    pub(super) fn free_block_of(&mut self, number: u32) {
        let block = &mut self.blocks[(number / BLOCK_SLOTS) as usize];
        self.block_bytes -= block.capacity() * size_of::<Packed>();
        *block = Vec::new();
        let first = number - number % BLOCK_SLOTS;
        for table in [&mut self.expires_at_ms, &mut self.far_base_ms] {
            if !table.is_empty() {
                (first..first + BLOCK_SLOTS).for_each(|number| {
                    table.remove(&number);
                });
            }
        }
    }

    /// Slots that are not freed.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Slot)> + '_ {
        self.blocks.iter().enumerate().flat_map(move |(at, block)| {
            let first = at as u32 * BLOCK_SLOTS;
            (first..).zip(block).map(|(number, packed)| (number, self.unpack(number, packed)))
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let beside = self.expires_at_ms.capacity() + self.far_base_ms.capacity();
        self.block_bytes
            + self.blocks.capacity() * size_of::<Vec<Packed>>()
            + self.firsts.capacity() * size_of::<u32>()
            + beside * (size_of::<(u32, i64)>() + 1)
    }
}

/// A bit for each slot that is out.
#[derive(Clone, Debug, Default)]
pub(super) struct Dead {
    bits: Vec<u64>,
    /// Slots of each block that are not out. Of the last block also those to come.
    left: Vec<u16>,
}

impl Dead {
    /// Makes place for the next slot.
    pub(super) fn push(&mut self, number: u32) {
        if number.is_multiple_of(u64::BITS) {
            self.bits.push(0);
        }
        if number.is_multiple_of(BLOCK_SLOTS) {
            self.left.push(BLOCK_SLOTS as u16);
        }
    }

    pub(super) fn is(&self, number: u32) -> bool {
        let word = self.bits.get((number / u64::BITS) as usize);
        word.is_none_or(|word| word >> (number % u64::BITS) & 1 == 1)
    }

    /// True if that was the last slot of a whole block. The slot must not be out already.
    pub(super) fn bury(&mut self, number: u32) -> bool {
        self.bits[(number / u64::BITS) as usize] |= 1 << (number % u64::BITS);
        let left = &mut self.left[(number / BLOCK_SLOTS) as usize];
        *left -= 1;
        *left == 0
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bits.capacity() * size_of::<u64>() + self.left.capacity() * size_of::<u16>()
    }
}
