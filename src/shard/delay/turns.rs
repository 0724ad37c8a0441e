//! Which partitions of a shard have something due, and whose turn it is.
//!
//! One ordered structure over all of them tells how long the shard may sleep. Those that are due
//! take turns by topic and within a topic by partition, so that a flood in one topic holds up no
//! other, however many partitions it has.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};
use uuid::Uuid;

use crate::base::ids::TopicPartition;

/// See the module's head.
#[derive(Default)]
pub(super) struct Turns {
    by_due: BTreeSet<(i64, TopicPartition)>,
    /// What `by_due` has of each.
    armed: FxHashMap<TopicPartition, i64>,
    /// Topics with something due, the next one first.
    topics: VecDeque<Uuid>,
    /// Their partitions, the next one first; none is empty.
    partitions: FxHashMap<Uuid, VecDeque<TopicPartition>>,
    in_line: FxHashSet<TopicPartition>,
}

impl Turns {
    /// The partition has nothing to do before `due_ms`; `None`: nothing at all. Nothing
    /// changes for one that is in line: it is to be armed when its turn has come.
    pub(super) fn arm(&mut self, tp: TopicPartition, due_ms: Option<i64>) {
        if self.in_line.contains(&tp) {
            return;
        }
        let before = match due_ms {
            Some(due_ms) => self.armed.insert(tp, due_ms),
            None => self.armed.remove(&tp),
        };
        if before == due_ms {
            return;
        }
        if let Some(before) = before {
            self.by_due.remove(&(before, tp));
        }
        if let Some(due_ms) = due_ms {
            self.by_due.insert((due_ms, tp));
        }
    }

    /// The moment at which something is due; `i64::MIN` if somebody waits for a turn.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        match self.topics.is_empty() {
            true => self.by_due.first().map(|(due_ms, _)| *due_ms),
            false => Some(i64::MIN),
        }
    }

    /// The partition whose turn it is, of those that are due. It is armed no longer.
    pub(super) fn next(&mut self, now_ms: i64) -> Option<TopicPartition> {
        while let Some((due_ms, tp)) = self.by_due.first().copied()
            && due_ms <= now_ms
        {
            self.arm(tp, None);
            self.line_up(tp);
        }
        let topic = self.topics.pop_front()?;
        let partitions = self.partitions.get_mut(&topic).expect("a topic in line has partitions");
        let tp = partitions.pop_front().expect("none is empty");
        self.in_line.remove(&tp);
        if partitions.is_empty() {
            self.partitions.remove(&topic);
        } else {
            self.topics.push_back(topic);
        }
        Some(tp)
    }

    fn line_up(&mut self, tp: TopicPartition) {
        let partitions = self.partitions.entry(tp.topic_id).or_default();
        if partitions.is_empty() {
            self.topics.push_back(tp.topic_id);
        }
        partitions.push_back(tp);
        self.in_line.insert(tp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tp(topic: u128, partition: i32) -> TopicPartition {
        TopicPartition::new(Uuid::from_u128(topic), partition)
    }

    #[test]
    fn nothing_has_its_turn_before_it_is_due() {
        let mut turns = Turns::default();
        turns.arm(tp(1, 0), Some(20));
        turns.arm(tp(2, 0), Some(10));
        turns.arm(tp(2, 0), Some(15));
        assert_eq!((turns.next_due_ms(), turns.next(14)), (Some(15), None));
        assert_eq!((turns.next(15), turns.next(15)), (Some(tp(2, 0)), None));
        turns.arm(tp(1, 0), None);
        assert_eq!((turns.next_due_ms(), turns.next(99)), (None, None));
    }

    #[test]
    fn topics_take_turns_however_many_partitions_they_have() {
        let mut turns = Turns::default();
        (0..3).for_each(|partition| turns.arm(tp(1, partition), Some(0)));
        turns.arm(tp(2, 0), Some(1));
        let mut order = Vec::new();
        while let Some(tp) = turns.next(1).filter(|_| order.len() < 8) {
            order.push((tp.topic_id.as_u128(), tp.partition));
            assert_eq!(turns.next_due_ms(), Some(i64::MIN));
            turns.arm(tp, Some(0));
        }
        let of_two = order.iter().filter(|(topic, _)| *topic == 2).count();
        assert_eq!(of_two, 4, "{order:?}");
        assert!((0..3).all(|partition| order.contains(&(1, partition))), "{order:?}");
    }
}
