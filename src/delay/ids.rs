//! From a caller's id to the window entries that may have it.
//!
//! Ids themselves are in the records on disk; memory keeps 32 bits of their hash, so a hit is
//! only a candidate and its record is read to know. Removed entries stay in the table until it
//! would grow, and then are swept out.
//! Rejected: a map of full hashes, which takes twice as much for hits that are read anyway.

use hashbrown::HashTable;
use twox_hash::XxHash3_64;

/// The hash by which ids are looked up, in memory and in run files alike.
#[must_use]
pub fn hash64(id: &[u8]) -> u64 {
    XxHash3_64::oneshot(id)
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mark: u32,
    slot: u32,
}

/// Hash marks of one window's ids.
#[derive(Debug, Default)]
pub struct Ids {
    table: HashTable<Entry>,
}

impl Ids {
    /// Adds a slot. `live` says of a slot whether it is still worth keeping; asked only when the
    /// table is full.
    pub fn insert(&mut self, hash: u64, slot: u32, live: impl Fn(u32) -> bool) {
        if self.table.len() == self.table.capacity() {
            self.table.retain(|entry| live(entry.slot));
        }
        let mark = mark(hash);
        self.table.insert_unique(spread(mark), Entry { mark, slot }, |entry| spread(entry.mark));
    }

    /// Slots whose id may have this hash, in no order.
    pub fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let mark = mark(hash);
        self.table.iter_hash(spread(mark)).filter(move |entry| entry.mark == mark).map(|e| e.slot)
    }

    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.table.allocation_size()
    }
}

/// The upper half: the lower one chooses the block of a run's filter.
const fn mark(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The table wants 64 bits that differ at both ends.
const fn spread(mark: u32) -> u64 {
    (mark as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_found_by_its_hash_and_dead_ones_do_not_make_it_grow() {
        let mut ids = Ids::default();
        for slot in 0..50_000_u32 {
            ids.insert(hash64(&slot.to_be_bytes()), slot, |slot_| slot_ + 100 > slot);
        }
        for slot in 49_900..50_000_u32 {
            assert!(ids.candidates(hash64(&slot.to_be_bytes())).any(|found| found == slot));
        }
        assert!(ids.memory_bytes() < 16 << 10, "{}", ids.memory_bytes());
    }

    #[test]
    fn slots_of_one_hash_are_all_offered() {
        let mut ids = Ids::default();
        (0..100).for_each(|slot| ids.insert(7 << 32, slot, |_| true));
        let mut found: Vec<u32> = ids.candidates(7 << 32).collect();
        found.sort_unstable();
        assert_eq!(found, (0..100).collect::<Vec<_>>());
        assert_eq!(ids.candidates(8 << 32).count(), 0);
    }
}
