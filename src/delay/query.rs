//! What operators ask a partition about its delayed records, and what it answers: plain data
//! between the HTTP server and the shard that owns the partition.

use bytes::Bytes;

use super::key::Key;
use super::note::Totals;
use super::state::Outcome;

/// A question to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Summary,
    Histogram,
    Pending(PageAsk),
    /// What the produced cancel with this offset achieved.
    Outcome {
        offset: i64,
    },
    /// Takes out the entry with this ticket.
    Cancel {
        ticket: i64,
    },
    /// Whether this one is pending.
    Waits(Named),
}

/// A pending record as a command names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    Id(Bytes),
    Ticket(i64),
}

/// Which pending entries, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAsk {
    /// Only those behind this key, [`Key::MIN`] for all.
    pub after: Key,
    /// Only the one with this id.
    pub id: Option<Bytes>,
    /// At most so many, of [`MOST_LISTED`] at most.
    pub limit: usize,
}

/// Longest page.
pub const MOST_LISTED: usize = 1_000;

/// The answer to an [`Ask`] of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Summary(Summary),
    Histogram(Histogram),
    Pending(Page),
    /// Nothing: no cancel has this offset, or it is too long ago.
    Outcome(Option<Outcome>),
    Cancel(Outcome),
    Waits(bool),
    /// Not now: the partition is being loaded, or its files can't be read. For people.
    Unavailable(String),
}

/// A partition's delayed records in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub pending: Totals,
    /// Effective due time of the entry that is next, epoch ms.
    pub next_due_ms: Option<i64>,
    /// In-memory index and caches.
    pub memory_bytes: u64,
    /// Run files' bytes on disk.
    pub run_bytes: u64,
    pub runs: u32,
}

/// Bounds of a [`Histogram`]'s buckets: how long until due. The first holds what is due within a
/// second or overdue, the last all beyond.
pub const BUCKET_BOUNDS_MS: [i64; 14] = [
    1_000,
    10_000,
    60_000,
    300_000,
    900_000,
    3_600_000,
    4 * 3_600_000,
    12 * 3_600_000,
    24 * 3_600_000,
    3 * 86_400_000,
    7 * 86_400_000,
    30 * 86_400_000,
    90 * 86_400_000,
    366 * 86_400_000,
];

/// Pending entries by time until due. Entries in run files are counted by block, so a bucket's
/// bound may be off by a block of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// The release clock when it was taken, epoch ms.
    pub clock_ms: i64,
    /// One for each of [`BUCKET_BOUNDS_MS`], and one beyond.
    pub records: [u64; BUCKET_BOUNDS_MS.len() + 1],
}

impl Histogram {
    /// Of nothing, at this time.
    #[must_use]
    pub fn at(clock_ms: i64) -> Self {
        Self { clock_ms, ..Self::default() }
    }

    /// Counts entries that are due then.
    pub fn add(&mut self, due_ms: i64, records: u64) {
        let left_ms = due_ms.saturating_sub(self.clock_ms);
        self.records[BUCKET_BOUNDS_MS.partition_point(|bound| *bound < left_ms)] += records;
    }

    /// Adds another partition's.
    pub fn merge(&mut self, other: &Self) {
        for (own, others) in self.records.iter_mut().zip(other.records) {
            *own += others;
        }
    }
}

/// Pending entries in their order of delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Pending>,
    /// There are more: ask again after the last entry's key.
    pub more: bool,
}

/// One entry that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub key: Key,
    /// As asked, epoch ms.
    pub asked_due_ms: i64,
    /// When the broker took it, epoch ms.
    pub accepted_ms: i64,
    pub expires_at_ms: Option<i64>,
    pub id: Option<Bytes>,
    /// The record's key.
    pub record_key: Option<Bytes>,
    pub bytes: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fall_into_the_bucket_that_ends_at_their_time() {
        assert!(BUCKET_BOUNDS_MS.is_sorted());
        let mut histogram = Histogram::at(5_000);
        for (due_ms, bucket) in [(0, 0), (6_000, 0), (6_001, 1), (15_000, 1), (i64::MAX, 14)] {
            let before = histogram.records[bucket];
            histogram.add(due_ms, 3);
            assert_eq!(histogram.records[bucket], before + 3, "{due_ms}");
        }
        let mut sum = histogram;
        sum.merge(&histogram);
        assert_eq!(sum.records.iter().sum::<u64>(), 30);
    }
}
