//! Where two logs of one partition have to be cut after a crash: at the first offset from which on
//! something is missing.
//!
//! A crash can lose the end of either log, in the page cache or on disk, and keep more of the
//! other: half a pair, or a batch behind one that is gone, whose producer could never send that
//! again. The two share one space of offsets, in which each append takes what follows, so what is
//! missing shows. The commit log has all that was committed, in order, and its replay comes first:
//! what is missing then was never committed, nor was anything behind it, in either log, and all of
//! it goes. Writing halves of pairs only after their commit would need a second way to append,
//! and a wait.

use std::ops::Range;

use crate::wire::batch::BatchHeader;

/// What recovery knows of the end of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Below this offset nothing is to be asked: it was durable when the last checkpoint was made,
    /// or is deleted, or in the commit log.
    pub known_below: i64,
    /// Offsets of the batches that were scanned, rising; ranges that touch are one.
    pub covered: Vec<Range<i64>>,
    /// Base offsets of those that are halves of pairs.
    pub pairs: Vec<i64>,
}

impl Tail {
    /// The next batch that is there.
    pub(crate) fn note(&mut self, header: &BatchHeader) {
        let range = header.base_offset..header.last_offset() + 1;
        match self.covered.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.covered.push(range),
        }
        if header.is_paired() {
            self.pairs.push(header.base_offset);
        }
    }

    /// A batch of the commit log, and with it all before, is there or was reported.
    pub(crate) fn note_committed(&mut self, header: &BatchHeader) {
        self.known_below = self.known_below.max(header.last_offset() + 1);
    }

    /// The checkpoint that is being made covers it all.
    pub(crate) fn forget(&mut self) {
        (self.covered, self.pairs) = (Vec::new(), Vec::new());
    }
}

/// The offset from which on nothing of the two logs may stay; `None` if nothing is missing. Both
/// are then to be opened again with this [`super::recover::OpenHint::limit`].
#[must_use]
pub fn cut(one: &Tail, other: &Tail) -> Option<i64> {
    let known = one.known_below.max(other.known_below);
    let halves = [first_alone(one, other, known), first_alone(other, one, known)];
    let missing = [first_missing(one, other, known), halves[0], halves[1]];
    missing.into_iter().flatten().min()
}

/// The first half that the other log has no half to.
fn first_alone(one: &Tail, other: &Tail, known: i64) -> Option<i64> {
    let mut asked = one.pairs.iter().copied().filter(|base_offset| *base_offset >= known);
    asked.find(|base_offset| other.pairs.binary_search(base_offset).is_err())
}

/// The first offset that neither log has, while one has more behind it.
fn first_missing(one: &Tail, other: &Tail, known: i64) -> Option<i64> {
    let mut covered: Vec<&Range<i64>> = one.covered.iter().chain(&other.covered).collect();
    covered.sort_unstable_by_key(|range| range.start);
    let mut reach = known;
    for range in covered {
        if range.start > reach {
            return Some(reach);
        }
        reach = reach.max(range.end);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail(known_below: i64, covered: &[(i64, i64)], pairs: &[i64]) -> Tail {
        let covered = covered.iter().map(|(start, end)| *start..*end).collect();
        Tail { known_below, covered, pairs: pairs.to_vec() }
    }

    #[test]
    fn whole_pairs_stay_and_the_first_half_ends_both_logs() {
        let whole = tail(0, &[(0, 9)], &[3, 7]);
        assert_eq!(cut(&Tail::default(), &Tail::default()), None);
        assert_eq!(cut(&whole, &tail(0, &[(3, 5), (7, 8)], &[3, 7])), None);
        assert_eq!(cut(&whole, &tail(0, &[(3, 5)], &[3])), Some(7));
    }

    #[test]
    fn what_lies_behind_a_lost_batch_goes_too() {
        assert_eq!(cut(&tail(0, &[(0, 3), (6, 9)], &[]), &tail(0, &[(3, 6)], &[])), None);
        assert_eq!(cut(&tail(0, &[(0, 3), (6, 9)], &[]), &tail(0, &[(3, 5)], &[])), Some(5));
        assert_eq!(cut(&tail(0, &[(0, 3)], &[]), &tail(0, &[(7, 9)], &[])), Some(3));
    }

    #[test]
    fn below_a_checkpoint_a_deletion_or_the_commit_log_nothing_is_missed() {
        assert_eq!(cut(&tail(0, &[(0, 3), (6, 9)], &[6]), &tail(7, &[], &[])), None);
        assert_eq!(cut(&tail(7, &[(0, 3), (6, 9)], &[6]), &tail(0, &[], &[])), None);
        assert_eq!(cut(&tail(6, &[(6, 9)], &[6]), &tail(0, &[], &[])), Some(6));
    }

    proptest! {
        /// One history of appends to the first log, the second or both; each log keeps what was
        /// durable, and of the rest as many batches as chance will have.
        #[test]
        fn what_stays_is_the_longest_beginning_of_which_nothing_is_missing(
            appends in proptest::collection::vec((1..4_u8, 1..5_i64), 0..30),
            durable in 0..31_usize,
            kept in (0..31_usize, 0..31_usize),
        ) {
            let mut next_offset = 0;
            let history: Vec<(u8, Range<i64>)> = appends
                .into_iter()
                .map(|(logs, count)| {
                    next_offset += count;
                    (logs, next_offset - count..next_offset)
                })
                .collect();
            let durable = durable.min(history.len());
            let known_below = history[..durable].last().map_or(0, |(_, range)| range.end);
            let left = |log: u8, kept: usize| {
                let own = history.iter().enumerate().filter(move |(_, (logs, _))| logs & log != 0);
                own.enumerate().filter(move |(nth, (at, _))| *at < durable || *nth < kept)
            };
            let tail = |log: u8, kept: usize| {
                let mut tail = Tail { known_below, ..Tail::default() };
                for (_, (_, (logs, range))) in left(log, kept) {
                    tail.covered.push(range.clone());
                    tail.pairs.extend((*logs == 3).then_some(range.start));
                }
                tail
            };
            let (one, other) = (tail(1, kept.0), tail(2, kept.1));
            let limit = cut(&one, &other);
            prop_assert_eq!(limit, cut(&other, &one));
            let has = |tail: &Tail, range: &Range<i64>| tail.covered.contains(range);
            let is_whole = |(logs, range): &&(u8, Range<i64>)| {
                (logs & 1 == 0 || has(&one, range)) && (logs & 2 == 0 || has(&other, range))
            };
            let whole = history.iter().take_while(is_whole).last().map_or(0, |(_, r)| r.end);
            let more = one.covered.iter().chain(&other.covered).any(|range| range.start >= whole);
            prop_assert_eq!(limit, more.then_some(whole));
        }
    }
}
