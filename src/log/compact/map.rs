//! From key to the latest offset it has, in bounded memory.
//!
//! Keys are known by a hash of 16 bytes, as in Kafka: two keys of one hash would be taken for
//! one, which is less likely than any fault of a disk. The table is open-addressed and doubles
//! until it reaches its budget; then the round ends with what is in the map. Rejected: the keys
//! themselves, whose length only the producers bound.

use twox_hash::XxHash3_128;

/// Bytes of one slot: hash and offset.
const SLOT_BYTES: usize = 24;
/// Slots of a map that was just made.
const FIRST_SLOTS: usize = 1 << 10;

#[derive(Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    /// -1: empty.
    offset: i64,
}

const EMPTY: Slot = Slot { hash: [0; 2], offset: -1 };

/// The map's budget is used up: the key was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// See the module's head.
pub struct OffsetMap {
    slots: Vec<Slot>,
    /// Keys in it.
    len: usize,
    most_keys: usize,
    most_slots: usize,
    /// All records up to here are in the map; -1: none.
    latest: i64,
}

impl OffsetMap {
    /// A map of at most `budget_bytes`, filled up to `load_factor` of its slots at most. It can
    /// always hold one key.
    #[must_use]
    pub fn new(budget_bytes: usize, load_factor: f64) -> Self {
        let most_slots = (budget_bytes / SLOT_BYTES).max(2);
        let most_keys = (most_slots as f64 * load_factor.clamp(0.0, 1.0)) as usize;
        let most_keys = most_keys.clamp(1, most_slots - 1);
        Self { slots: Vec::new(), len: 0, most_keys, most_slots, latest: -1 }
    }

    /// Keys in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Up to here, inclusive, the map knows the log; -1: of nothing.
    #[must_use]
    pub const fn latest(&self) -> i64 {
        self.latest
    }

    /// Notes that everything up to `offset` was looked at.
    pub fn reach(&mut self, offset: i64) {
        self.latest = self.latest.max(offset);
    }

    /// Takes a record's key. Offsets must rise from call to call.
    ///
    /// # Errors
    /// [`Full`] if the key is new and there is no room.
    pub fn put(&mut self, key: &[u8], offset: i64) -> Result<(), Full> {
        if self.len == self.most_keys && self.get(key).is_none() {
            return Err(Full);
        }
        self.grow();
        let hash = hash(key);
        let at = find(&self.slots, hash);
        self.len += usize::from(self.slots[at].offset < 0);
        self.slots[at] = Slot { hash, offset };
        self.reach(offset);
        Ok(())
    }

    /// The latest offset of a key, as far as the map knows the log.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        if self.slots.is_empty() {
            return None;
        }
        let offset = self.slots[find(&self.slots, hash(key))].offset;
        (offset >= 0).then_some(offset)
    }

    /// Makes room for one more key: at most three quarters of the slots are used, but for a map
    /// that has its whole budget.
    fn grow(&mut self) {
        let slots = self.slots.len();
        if slots == self.most_slots || (self.len + 1) * 4 <= slots * 3 {
            return;
        }
        let more = (slots * 2).max(FIRST_SLOTS).min(self.most_slots);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; more]);
        for slot in old.into_iter().filter(|slot| slot.offset >= 0) {
            let at = find(&self.slots, slot.hash);
            self.slots[at] = slot;
        }
    }
}

fn hash(key: &[u8]) -> [u64; 2] {
    let hash = XxHash3_128::oneshot(key);
    [(hash >> 64) as u64, hash as u64]
}

/// Where a hash is, or would be: at least one slot is always empty.
fn find(slots: &[Slot], hash: [u64; 2]) -> usize {
    // The product's upper half spreads the hash over any number of slots without a division.
    let scaled = (u128::from(hash[0]) * slots.len() as u128) >> 64;
    let mut at = usize::try_from(scaled).unwrap_or(0);
    while slots[at].offset >= 0 && slots[at].hash != hash {
        at = if at + 1 == slots.len() { 0 } else { at + 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_until_it_is_full(
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3), 0..4000),
            budget in 0_usize..100_000,
        ) {
            let mut map = OffsetMap::new(budget, 0.9);
            let mut model: HashMap<Vec<u8>, i64> = HashMap::new();
            for (offset, key) in (0..).zip(keys) {
                let known = model.len();
                match map.put(&key, offset) {
                    Ok(()) => drop(model.insert(key, offset)),
                    Err(Full) => {
                        prop_assert!(!model.contains_key(&key));
                        prop_assert_eq!(known, map.most_keys);
                        break;
                    }
                }
                prop_assert_eq!(map.latest(), offset);
            }
            prop_assert_eq!(map.len(), model.len());
            prop_assert!(map.slots.len() * SLOT_BYTES <= budget.max(2 * SLOT_BYTES));
            for (key, offset) in &model {
                prop_assert_eq!(map.get(key), Some(*offset));
            }
            prop_assert_eq!(map.get(b"absent"), None);
        }
    }

    #[test]
    fn a_small_map_takes_little_memory_of_a_large_budget() {
        let mut map = OffsetMap::new(128 << 20, 0.9);
        assert!(map.slots.is_empty());
        map.put(b"key", 0).unwrap();
        assert_eq!(map.slots.len(), FIRST_SLOTS);
    }

    #[test]
    fn a_full_map_still_takes_keys_it_knows() {
        let mut map = OffsetMap::new(0, 0.9);
        assert_eq!(map.put(b"a", 0), Ok(()));
        assert_eq!(map.put(b"b", 1), Err(Full));
        assert_eq!(map.put(b"a", 2), Ok(()));
        assert_eq!((map.get(b"a"), map.latest()), (Some(2), 2));
    }
}
