//! Numbers of delayed records as JSON.

use serde::Serialize;

use crate::base::ids::TopicPartition;
use crate::delay::query::{BUCKET_BOUNDS_MS, Histogram, Summary};

/// What is pending somewhere.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Sums {
    pending_records: u64,
    pending_bytes: u64,
    /// Null if nothing is pending.
    next_due_ms: Option<i64>,
}

impl Sums {
    fn of(summary: &Summary) -> Self {
        Self {
            pending_records: summary.pending.records,
            pending_bytes: summary.pending.bytes,
            next_due_ms: summary.next_due_ms,
        }
    }

    fn add(&mut self, other: Self) {
        self.pending_records += other.pending_records;
        self.pending_bytes += other.pending_bytes;
        self.next_due_ms = self.next_due_ms.into_iter().chain(other.next_due_ms).min();
    }
}

#[derive(Debug, Serialize)]
pub(super) struct TopicShape {
    pub(super) topic: String,
    partitions: usize,
    #[serde(flatten)]
    sums: Sums,
}

impl TopicShape {
    pub(super) fn of(topic: &str, summaries: &[(TopicPartition, Summary)]) -> Self {
        let mut sums = Sums::default();
        summaries.iter().for_each(|(_, summary)| sums.add(Sums::of(summary)));
        Self { topic: topic.to_owned(), partitions: summaries.len(), sums }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct PartitionShape {
    partition: i32,
    #[serde(flatten)]
    sums: Sums,
    memory_bytes: u64,
    runs: u32,
    run_bytes: u64,
}

impl PartitionShape {
    pub(super) fn of((tp, summary): &(TopicPartition, Summary)) -> Self {
        Self {
            partition: tp.partition,
            sums: Sums::of(summary),
            memory_bytes: summary.memory_bytes,
            runs: summary.runs,
            run_bytes: summary.run_bytes,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct HistogramShape {
    /// The release clock from which the bounds count.
    clock_ms: i64,
    buckets: Vec<BucketShape>,
}

#[derive(Debug, Serialize)]
struct BucketShape {
    /// Due within so many milliseconds, and not within the bucket before; null: later than all.
    within_ms: Option<i64>,
    records: u64,
}

impl HistogramShape {
    pub(super) fn of(histogram: &Histogram) -> Self {
        let bounds = BUCKET_BOUNDS_MS.iter().copied().map(Some).chain([None]);
        let buckets = bounds.zip(histogram.records);
        let bucket = |(within_ms, records)| BucketShape { within_ms, records };
        Self { clock_ms: histogram.clock_ms, buckets: buckets.map(bucket).collect() }
    }
}
