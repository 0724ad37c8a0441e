//! Time-outs as one ordered structure: setting, moving and taking one out cost O(log n), and
//! nothing is ever scanned.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::Duration;

use rustc_hash::FxHashMap;

/// Deadlines by key; a key has at most one.
#[derive(Clone, Debug)]
pub struct Deadlines<K> {
    by_time: BTreeSet<(Duration, K)>,
    by_key: FxHashMap<K, Duration>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_key: FxHashMap::default() }
    }
}

impl<K: Clone + Ord + Hash> Deadlines<K> {
    /// Sets or moves a deadline.
    pub fn set(&mut self, key: K, at: Duration) {
        if let Some(before) = self.by_key.insert(key.clone(), at) {
            if before == at {
                return;
            }
            self.by_time.remove(&(before, key.clone()));
        }
        self.by_time.insert((at, key));
    }

    pub fn cancel(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    #[must_use]
    pub fn get(&self, key: &K) -> Option<Duration> {
        self.by_key.get(key).copied()
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out one key whose deadline has come, the earliest first.
    pub fn pop_due(&mut self, now: Duration) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn due_keys_come_in_order_of_time() {
        let mut deadlines = Deadlines::default();
        deadlines.set("late", at(30));
        deadlines.set("early", at(10));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.pop_due(at(50)), Some("early"));
        assert_eq!(deadlines.pop_due(at(50)), Some("late"));
        assert_eq!(deadlines.pop_due(at(50)), None);
        assert!(deadlines.is_empty());
    }

    #[test]
    fn a_key_has_one_deadline_that_moves_and_can_be_cancelled() {
        let mut deadlines = Deadlines::default();
        deadlines.set(1, at(10));
        deadlines.set(1, at(20));
        assert_eq!((deadlines.get(&1), deadlines.len()), (Some(at(20)), 1));
        assert_eq!(deadlines.pop_due(at(10)), None);
        deadlines.cancel(&1);
        assert_eq!((deadlines.pop_due(at(99)), deadlines.next()), (None, None));
    }
}
