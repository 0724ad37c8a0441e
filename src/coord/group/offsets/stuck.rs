//! Committed offsets that a group comes back to: generation after generation asks for its offsets
//! and is given the same one, though there is something to read behind it. Most often the record
//! there ends every consumer that meets it ("poison").
//!
//! A fetch of records carries no group, so this is what a broker can see of it. It is not stored:
//! a group that is stuck will be seen to be so again.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Generations from which on an offset counts as stuck.
pub const STUCK_GENERATIONS: u32 = 3;

/// How often a committed offset was the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    offset: i64,
    /// The last one that began with it.
    generation: i32,
    pub generations: u32,
    /// Wall time of the first, epoch milliseconds.
    pub since_ms: i64,
}

/// The beginnings of a group's partitions that have something to read, by topic and partition.
#[derive(Debug, Default)]
pub struct Beginnings(BTreeMap<(Arc<str>, i32), Beginning>);

impl Beginnings {
    /// A generation is told this offset, behind which there are records.
    pub(super) fn note(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        offset: i64,
        generation: i32,
        now_ms: i64,
    ) {
        let fresh = Beginning { offset, generation, generations: 1, since_ms: now_ms };
        let known = self.0.entry((Arc::clone(topic), partition)).or_insert(fresh);
        if known.offset != offset {
            *known = fresh;
        } else if known.generation != generation {
            known.generation = generation;
            known.generations = known.generations.saturating_add(1);
        }
    }

    /// The partition has this committed offset now, or none.
    pub(super) fn moved(&mut self, topic: &Arc<str>, partition: i32, offset: Option<i64>) {
        // Almost always there is nothing to look for.
        if self.0.is_empty() {
            return;
        }
        let key = (Arc::clone(topic), partition);
        if self.0.get(&key).is_some_and(|known| Some(known.offset) != offset) {
            self.0.remove(&key);
        }
    }

    /// Those that are stuck.
    pub fn stuck(&self) -> impl Iterator<Item = (&Arc<str>, i32, i64, &Beginning)> {
        let stuck = self.0.iter().filter(|(_, known)| known.generations >= STUCK_GENERATIONS);
        stuck.map(|((topic, partition), known)| (topic, *partition, known.offset, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(beginnings: &Beginnings) -> Vec<(String, i32, i64, u32, i64)> {
        let shown = |(topic, partition, offset, known): (&Arc<str>, i32, i64, &Beginning)| {
            (topic.to_string(), partition, offset, known.generations, known.since_ms)
        };
        beginnings.stuck().map(shown).collect()
    }

    #[test]
    fn an_offset_is_stuck_when_generations_come_back_to_it() {
        let topic: Arc<str> = "orders".into();
        let mut beginnings = Beginnings::default();
        for (generation, now_ms) in [(1, 10), (1, 11), (1, 12), (2, 20)] {
            beginnings.note(&topic, 0, 7, generation, now_ms);
        }
        assert_eq!(shown(&beginnings), [], "one generation may ask often");
        beginnings.note(&topic, 0, 7, 5, 30);
        beginnings.note(&topic, 1, 7, 5, 30);
        assert_eq!(shown(&beginnings), [("orders".to_owned(), 0, 7, 3, 10)]);
        beginnings.moved(&topic, 0, Some(7));
        assert_eq!(shown(&beginnings).len(), 1, "it was committed where it was");
        beginnings.moved(&topic, 0, Some(8));
        assert_eq!(shown(&beginnings), []);
    }

    #[test]
    fn a_group_that_gets_on_begins_to_count_anew() {
        let topic: Arc<str> = "orders".into();
        let mut beginnings = Beginnings::default();
        for generation in 0..9 {
            beginnings.note(&topic, 0, i64::from(generation / 2), generation, 0);
        }
        assert_eq!(shown(&beginnings), []);
        beginnings.note(&topic, 0, 4, 10, 0);
        beginnings.note(&topic, 0, 4, 11, 0);
        assert_eq!(shown(&beginnings).len(), 1);
        beginnings.moved(&topic, 0, None);
        assert_eq!(shown(&beginnings), []);
    }
}
