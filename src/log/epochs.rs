//! Which leader epoch starts at which offset, and Kafka's text file of it.
//!
//! ```text
//! 0                 version
//! 2                 count
//! 0 0               epoch and its first offset
//! 3 1200
//! ```
//!
//! Consumers ask "where does epoch e end?" after a broker's restart to learn whether what they
//! read still exists. Source: Kafka 4.3, `LeaderEpochFileCache`, `CheckpointFile`.

use std::fmt::Write as _;

/// One leader epoch and the first offset written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: i32,
    pub start_offset: i64,
}

/// The epoch and offset in a reply that knows neither.
pub const UNDEFINED: (i32, i64) = (-1, -1);

/// Epochs of one log; epochs and offsets both rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs(Vec<EpochStart>);

impl LeaderEpochs {
    /// Notes that `epoch` writes from `start_offset` on. True if that is news; an epoch that is
    /// not above the latest is not.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || self.0.last().is_some_and(|last| epoch <= last.epoch) {
            return false;
        }
        // An epoch in which nothing was written leaves no trace.
        self.0.retain(|known| known.start_offset < start_offset);
        self.0.push(EpochStart { epoch, start_offset });
        true
    }

    #[must_use]
    pub fn latest(&self) -> Option<EpochStart> {
        self.0.last().copied()
    }

    #[must_use]
    pub fn entries(&self) -> &[EpochStart] {
        &self.0
    }

    /// The largest known epoch not above the asked one, and the offset at which it ended;
    /// [`UNDEFINED`] if the asked one is above all known, or no epoch (-1).
    #[must_use]
    pub fn end_offset_for(&self, epoch: i32, log_end: i64) -> (i32, i64) {
        if epoch < 0 {
            return UNDEFINED;
        }
        let above = self.0.partition_point(|known| known.epoch <= epoch);
        let found = above.checked_sub(1).map(|at| self.0[at].epoch);
        match (found, self.0.get(above)) {
            (Some(found), Some(next)) => (found, next.start_offset),
            (Some(found), None) if found == epoch => (epoch, log_end),
            // Older than all that is known: it ended where the first known one starts.
            (None, Some(next)) => (epoch, next.start_offset),
            (Some(_) | None, None) => UNDEFINED,
        }
    }

    /// The epoch in which the record at `offset` was written; `None` if it lies before the first.
    #[must_use]
    pub fn epoch_of(&self, offset: i64) -> Option<i32> {
        let after = self.0.partition_point(|known| known.start_offset <= offset);
        after.checked_sub(1).map(|at| self.0[at].epoch)
    }

    /// Forgets what starts at or after `log_end`. True if anything changed.
    pub fn cut_tail(&mut self, log_end: i64) -> bool {
        let before = self.0.len();
        self.0.retain(|known| known.start_offset < log_end);
        self.0.len() != before
    }

    /// Forgets epochs that ended before `log_start`; the one in force there starts there.
    pub fn cut_head(&mut self, log_start: i64) -> bool {
        let in_force = self.0.partition_point(|known| known.start_offset <= log_start);
        let Some(first) = in_force.checked_sub(1) else { return false };
        let changed = first > 0 || self.0[first].start_offset < log_start;
        self.0.drain(..first);
        self.0[0].start_offset = log_start;
        changed
    }

    /// Kafka's text form.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("0\n{}\n", self.0.len());
        for entry in &self.0 {
            writeln!(text, "{} {}", entry.epoch, entry.start_offset)
                .expect("writing to a string does not fail");
        }
        text
    }

    /// Reads [`LeaderEpochs::encode`]'s or Kafka's text; `None` if it is not whole and rising.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()?.trim() != "0" {
            return None;
        }
        let count: usize = lines.next()?.trim().parse().ok()?;
        let mut entries: Vec<EpochStart> = Vec::new();
        for line in lines {
            let (epoch, start_offset) = line.trim().split_once(' ')?;
            let entry =
                EpochStart { epoch: epoch.parse().ok()?, start_offset: start_offset.parse().ok()? };
            let rises = entries.last().is_none_or(|last| {
                last.epoch < entry.epoch && last.start_offset < entry.start_offset
            });
            if !rises || entry.epoch < 0 || entry.start_offset < 0 {
                return None;
            }
            entries.push(entry);
        }
        (entries.len() == count).then_some(Self(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start_offset) in entries {
            assert!(epochs.assign(*epoch, *start_offset));
        }
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_known_one_starts() {
        let epochs = epochs(&[(2, 0), (4, 11), (7, 30)]);
        assert_eq!(epochs.end_offset_for(2, 50), (2, 11));
        assert_eq!(epochs.end_offset_for(4, 50), (4, 30));
        assert_eq!(epochs.end_offset_for(7, 50), (7, 50));
        // Never written in: the one before answers.
        assert_eq!(epochs.end_offset_for(3, 50), (2, 11));
        assert_eq!(epochs.end_offset_for(6, 50), (4, 30));
        // Before all, and after all that is known.
        assert_eq!(epochs.end_offset_for(1, 50), (1, 0));
        assert_eq!(epochs.end_offset_for(8, 50), UNDEFINED);
        assert_eq!(epochs.end_offset_for(-1, 50), UNDEFINED);
        assert_eq!(LeaderEpochs::default().end_offset_for(0, 50), UNDEFINED);
    }

    #[test]
    fn a_record_belongs_to_the_last_epoch_that_started_at_or_before_it() {
        let epochs = epochs(&[(2, 5), (4, 11)]);
        let of = |offset| epochs.epoch_of(offset);
        assert_eq!((of(4), of(5), of(10)), (None, Some(2), Some(2)));
        assert_eq!((of(11), of(900)), (Some(4), Some(4)));
    }

    #[test]
    fn only_a_higher_epoch_is_news_and_an_empty_one_leaves_no_trace() {
        let mut epochs = epochs(&[(2, 0), (4, 11)]);
        assert!(!epochs.assign(4, 20));
        assert!(!epochs.assign(3, 20));
        assert!(epochs.assign(5, 11));
        assert_eq!(
            epochs.entries(),
            [EpochStart { epoch: 2, start_offset: 0 }, EpochStart { epoch: 5, start_offset: 11 }]
        );
    }

    #[test]
    fn cuts_keep_the_epoch_in_force() {
        let mut epochs = epochs(&[(2, 0), (4, 11), (7, 30)]);
        assert!(!epochs.cut_tail(31));
        assert!(epochs.cut_tail(30));
        assert_eq!(epochs.latest().map(|last| last.epoch), Some(4));
        assert!(epochs.cut_head(15));
        assert!(!epochs.cut_head(15));
        assert_eq!(epochs.entries(), [EpochStart { epoch: 4, start_offset: 15 }]);
    }

    #[test]
    fn the_text_is_kafkas_and_comes_back() {
        let epochs = epochs(&[(0, 0), (3, 1200)]);
        assert_eq!(epochs.encode(), "0\n2\n0 0\n3 1200\n");
        assert_eq!(LeaderEpochs::decode(&epochs.encode()), Some(epochs));
    }

    #[test]
    fn damaged_text_is_not_believed() {
        for text in ["", "1\n0\n", "0\n2\n0 0\n", "0\n1\n0\n", "0\n2\n3 5\n1 9\n", "0\n1\n0 x\n"] {
            assert_eq!(LeaderEpochs::decode(text), None, "{text:?}");
        }
    }
}
