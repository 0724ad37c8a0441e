//! What the committer counts, read by the metrics page while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Values by their power of two: bucket `n` counts those below `2^n` and not below `2^(n-1)`.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Self::BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    pub const BUCKETS: usize = 32;

    pub(super) fn record(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts per bucket, not cumulated.
    #[must_use]
    pub fn buckets(&self) -> [u64; Self::BUCKETS] {
        std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed))
    }

    /// Sum of all values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// Counters of one committer.
#[derive(Debug, Default)]
pub struct CommitStats {
    pub submissions: Counter,
    pub batches: Counter,
    /// Batches that were made durable in their segment.
    pub bulk_batches: Counter,
    /// Time of one commit's writes and syncs; its count is the number of commits.
    pub commit_micros: Histogram,
    /// Batches in one commit.
    pub commit_batches: Histogram,
    /// Bytes of the batches in one commit.
    pub commit_bytes: Histogram,
}
