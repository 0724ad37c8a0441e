//! Which dead letters were put back, by whatever job: what the next job passes over, and what does
//! not wait for an operator any more.
//!
//! Kept as compressed bitmaps of offsets, and stored in chunks of 2^20 offsets, so that what a job
//! does in a second rewrites little. In the metadata store:
//!
//! | key | value |
//! |---|---|
//! | `redriven/<topic id>/<partition>/<chunk>` | `u8` version = 1, then a 32-bit roaring bitmap of offsets within the chunk, in its portable form |

use std::collections::BTreeSet;

use roaring::{RoaringBitmap, RoaringTreemap};
use rustc_hash::FxHashMap;

use crate::base::ids::{TopicPartition, Uuid};

/// Prefix of all keys.
pub const PREFIX: &str = "redriven/";

const VERSION: u8 = 1;
const CHUNK_BITS: u32 = 20;

/// A stretch of a partition's offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chunk {
    pub tp: TopicPartition,
    number: u64,
}

impl Chunk {
    fn of(tp: TopicPartition, offset: u64) -> Self {
        Self { tp, number: offset >> CHUNK_BITS }
    }

    #[must_use]
    pub fn key(&self) -> String {
        format!("{PREFIX}{}/{}/{}", self.tp.topic_id, self.tp.partition, self.number)
    }

    /// The inverse of [`Chunk::key`]; `None` for anything that it does not print.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix(PREFIX)?.split('/');
        let topic_id = Uuid::try_parse(parts.next()?).ok()?;
        let tp = TopicPartition::new(topic_id, parts.next()?.parse().ok()?);
        let number =
            parts.next()?.parse().ok().filter(|number| *number <= u64::MAX >> CHUNK_BITS)?;
        parts.next().is_none().then_some(Self { tp, number })
    }

    const fn begin(&self) -> u64 {
        self.number << CHUNK_BITS
    }
}

/// All that was put back.
#[derive(Clone, Debug, Default)]
pub struct Redriven {
    offsets: FxHashMap<TopicPartition, RoaringTreemap>,
    /// Not stored as they are.
    changed: BTreeSet<Chunk>,
}

impl Redriven {
    #[must_use]
    pub fn contains(&self, tp: TopicPartition, offset: i64) -> bool {
        let offsets = self.offsets.get(&tp);
        offsets.zip(u64::try_from(offset).ok()).is_some_and(|(known, at)| known.contains(at))
    }

    /// How many there are in a partition from an offset on.
    #[must_use]
    pub fn count_from(&self, tp: TopicPartition, from: i64) -> u64 {
        let Some(offsets) = self.offsets.get(&tp) else { return 0 };
        match u64::try_from(from).ok().and_then(|from| from.checked_sub(1)) {
            Some(below) => offsets.len() - offsets.rank(below),
            None => offsets.len(),
        }
    }

    /// These were put back.
    pub fn note(&mut self, tp: TopicPartition, offsets: impl IntoIterator<Item = i64>) {
        let known = self.offsets.entry(tp).or_default();
        for offset in offsets {
            if let Ok(offset) = u64::try_from(offset)
                && known.insert(offset)
            {
                self.changed.insert(Chunk::of(tp, offset));
            }
        }
    }

    /// Chunks that are to be stored, with what they hold.
    pub fn take_changes(&mut self) -> Vec<(Chunk, Vec<u8>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|chunk| (chunk, self.encode(chunk))).collect()
    }

    /// They could not be stored.
    pub fn put_back(&mut self, chunks: impl IntoIterator<Item = Chunk>) {
        self.changed.extend(chunks);
    }

    fn encode(&self, chunk: Chunk) -> Vec<u8> {
        let begin = chunk.begin();
        let end = begin + (1 << CHUNK_BITS);
        let mut own = RoaringBitmap::new();
        if let Some(offsets) = self.offsets.get(&chunk.tp) {
            let mut within = offsets.iter();
            within.advance_to(begin);
            let within = within.take_while(|offset| *offset < end);
            own.extend(within.map(|offset| u32::try_from(offset - begin).unwrap_or(u32::MAX)));
        }
        own.optimize();
        let mut value = vec![VERSION];
        own.serialize_into(&mut value).expect("memory takes what is written");
        value
    }

    /// Takes a stored chunk in; `None` if it can't be read.
    pub fn load(&mut self, chunk: Chunk, value: &[u8]) -> Option<()> {
        let (VERSION, bitmap) = value.split_first().map(|(version, rest)| (*version, rest))? else {
            return None;
        };
        let own = RoaringBitmap::deserialize_from(bitmap).ok()?;
        if own.max().is_some_and(|last| last >= 1 << CHUNK_BITS) {
            return None;
        }
        let known = self.offsets.entry(chunk.tp).or_default();
        known.extend(own.iter().map(|at| chunk.begin() + u64::from(at)));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet as Set;

    use proptest::prelude::*;

    use super::*;

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new(Uuid::from_u128(7), partition)
    }

    proptest! {
        #[test]
        fn what_was_stored_is_loaded_again(
            steps in prop::collection::vec((0..2_i32, 0..5_000_000_i64, 1..50_i64), 0..20),
        ) {
            let (mut lived, mut loaded) = (Redriven::default(), Redriven::default());
            let mut model: [Set<i64>; 2] = Default::default();
            let mut stored = std::collections::BTreeMap::new();
            for (partition, from, count) in steps {
                lived.note(tp(partition), from..from + count);
                model[partition as usize].extend(from..from + count);
                stored.extend(lived.take_changes().into_iter().map(|(c, value)| (c.key(), value)));
            }
            prop_assert!(lived.take_changes().is_empty());
            for (key, value) in &stored {
                prop_assert!(loaded.load(Chunk::parse(key).unwrap(), value).is_some());
            }
            for (partition, known) in (0..).zip(&model) {
                for redriven in [&lived, &loaded] {
                    prop_assert!(known.iter().all(|at| redriven.contains(tp(partition), *at)));
                    for from in [0, 1 << 20, 2_500_000] {
                        let expected = known.range(from..).count() as u64;
                        prop_assert_eq!(redriven.count_from(tp(partition), from), expected);
                    }
                }
            }
        }

        #[test]
        fn any_bytes_are_a_chunk_or_none(key in "(redriven/)?\\PC{0,60}", value: Vec<u8>) {
            prop_assert_eq!(Chunk::parse(&key), None);
            let _ = Redriven::default().load(Chunk::of(tp(0), 0), &value);
        }
    }

    #[test]
    fn what_could_not_be_stored_is_tried_again() {
        let mut redriven = Redriven::default();
        redriven.note(tp(0), [1, 2]);
        redriven.note(tp(0), [-1]);
        let changes = redriven.take_changes();
        assert_eq!(changes.len(), 1);
        redriven.note(tp(0), [1]);
        assert_eq!(redriven.take_changes(), [], "nothing is new");
        redriven.put_back(changes.iter().map(|(chunk, _)| *chunk));
        assert_eq!(redriven.take_changes(), changes);
        assert!(!redriven.contains(tp(0), -1) && redriven.contains(tp(0), 2));
    }
}
