//! Where two logs of one partition have to be cut after a crash: at the first pair of which only
//! one half is left.
//!
//! The halves of a pair are two writes to two files. A crash can leave either alone, in the page
//! cache or on disk; the commit log holds both or none, and its replay comes first. So half a pair
//! was never committed, and nothing behind it was, in either log: all of it goes. Writing halves
//! only after their commit would need no cut, but a second way to append, and a wait.

/// What recovery knows of the end of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Below this offset nothing is to be asked: it was durable when the last checkpoint was made,
    /// or is deleted.
    pub known_below: i64,
    /// Base offsets of paired batches from there on, rising.
    pub pairs: Vec<i64>,
}

impl Tail {
    /// Whether a half at this offset is, or once was, in the log.
    fn has(&self, base_offset: i64) -> bool {
        base_offset < self.known_below || self.pairs.binary_search(&base_offset).is_ok()
    }

    /// The first half that the other log has no half to.
    fn first_alone(&self, other: &Self) -> Option<i64> {
        self.pairs.iter().copied().find(|base_offset| !other.has(*base_offset))
    }

    /// The checkpoint that is being made covers it all.
    pub(crate) fn forget(&mut self) {
        self.pairs = Vec::new();
    }
}

/// The offset from which on nothing of the two logs may stay; `None` if every pair is whole. Both
/// are then to be opened again with this [`super::recover::OpenHint::limit`].
#[must_use]
pub fn cut(one: &Tail, other: &Tail) -> Option<i64> {
    let alone = [one.first_alone(other), other.first_alone(one)];
    alone.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn tail(known_below: i64, pairs: &[i64]) -> Tail {
        Tail { known_below, pairs: pairs.to_vec() }
    }

    #[test]
    fn whole_pairs_stay_and_the_first_half_ends_both_logs() {
        assert_eq!(cut(&tail(0, &[]), &tail(0, &[])), None);
        assert_eq!(cut(&tail(0, &[3, 9]), &tail(0, &[3, 9])), None);
        assert_eq!(cut(&tail(0, &[3, 9]), &tail(0, &[3])), Some(9));
        assert_eq!(cut(&tail(0, &[3, 12]), &tail(0, &[3, 9])), Some(9));
    }

    #[test]
    fn what_a_checkpoint_covered_or_was_deleted_is_not_missed() {
        assert_eq!(cut(&tail(0, &[3, 9]), &tail(9, &[9])), None);
        assert_eq!(cut(&tail(0, &[3, 9]), &tail(10, &[])), None);
        assert_eq!(cut(&tail(0, &[3, 9]), &tail(4, &[])), Some(9));
    }

    proptest! {
        /// Any two prefixes of one history of pairs end where the shorter one does.
        #[test]
        fn two_prefixes_agree_on_the_shorter(
            offsets in proptest::collection::btree_set(0..1_000_i64, 0..40),
            lengths in (0..41_usize, 0..41_usize),
            known in (0..1_000_i64, 0..1_000_i64),
        ) {
            let offsets: Vec<i64> = offsets.into_iter().collect();
            let at_least = |known: i64| offsets.partition_point(|offset| *offset < known);
            // What was durable is not lost.
            let prefix = |length: usize, known: i64| {
                let end = length.min(offsets.len()).max(at_least(known));
                tail(known, &offsets[at_least(known)..end])
            };
            let one = prefix(lengths.0, known.0);
            let other = prefix(lengths.1, known.1);
            let limit = cut(&one, &other);
            prop_assert_eq!(limit, cut(&other, &one));
            let below = |tail: &Tail| -> BTreeSet<i64> {
                let kept = tail.pairs.iter().copied();
                kept.filter(|offset| limit.is_none_or(|limit| *offset < limit)).collect()
            };
            let both = |offset: &i64| *offset >= one.known_below.max(other.known_below);
            let halves = (below(&one), below(&other));
            prop_assert!(halves.0.iter().filter(|o| both(o)).eq(halves.1.iter().filter(|o| both(o))));
            if let Some(limit) = limit {
                prop_assert!(one.pairs.contains(&limit) != other.pairs.contains(&limit));
            }
        }
    }
}
