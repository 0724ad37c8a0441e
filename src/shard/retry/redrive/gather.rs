//! One step of a job, read and judged: the next dead letters of a partition, at most so many and
//! so large. Blocks on the disk.

use crate::log::read::ReadHint;
use crate::log::view::PartitionView;
use crate::retry::letter;
use crate::retry::redrive::provenance::Provenance;
use crate::retry::redrive::{Counts, Plan, Target, Verdict};
use crate::shard::retry::reader::{Stretch, Unreadable};
use crate::wire::owned::OwnedRecord;

/// Bytes of batches that are read at once.
const READ_BYTES: u64 = 1 << 20;
/// Records and bytes of one step: a batch may become much more than it was on disk.
const STEP_BYTES: usize = 4 << 20;

/// A dead letter on its way.
pub(super) struct Outgoing {
    pub(super) offset: i64,
    pub(super) record: OwnedRecord,
    pub(super) from: Where,
}

/// What of its provenance says where it may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Where {
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
    pub(super) group: Option<String>,
}

impl Where {
    fn of(provenance: &Provenance<'_>) -> Self {
        Self {
            topic: provenance.topic.map(str::to_owned),
            partition: provenance.partition,
            group: provenance.group.map(str::to_owned),
        }
    }
}

/// What a step has found.
pub(super) struct Gathered {
    pub(super) letters: Vec<Outgoing>,
    /// Of those that are not copied.
    pub(super) counts: Counts,
    /// Everything below has been looked at.
    pub(super) position: i64,
    pub(super) hint: Option<ReadHint>,
}

/// What a step may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) records: usize,
    pub(super) inflated_bytes: usize,
}

/// Reads from `position` on, and below `end`.
pub(super) fn gather(
    view: &PartitionView,
    plan: &Plan,
    (position, end): (i64, i64),
    hint: Option<ReadHint>,
    limits: Limits,
    is_redriven: impl Fn(i64) -> bool,
) -> Result<Gathered, Unreadable> {
    let stretch = Stretch::read(view, position, hint, READ_BYTES, limits.inflated_bytes)?;
    let counts = Counts::default();
    let mut found = Gathered { letters: Vec::new(), counts, position, hint: stretch.hint() };
    let mut bytes = 0;
    let mut is_full = false;
    stretch.for_each(|placed| {
        if is_full || placed.offset >= end {
            return;
        }
        is_full = found.letters.len() >= limits.records || bytes >= STEP_BYTES;
        if is_full {
            return;
        }
        found.position = placed.offset + 1;
        let is_redriven = is_redriven(placed.offset);
        match plan.judge(placed.offset, placed.timestamp_ms, placed.record, is_redriven) {
            Verdict::Filtered => found.counts.filtered += 1,
            Verdict::Redriven => found.counts.redriven += 1,
            Verdict::Parked => found.counts.parked += 1,
            Verdict::Copy => {
                let from = Where::of(&Provenance::of(placed.record.headers.iter()));
                let mut record = OwnedRecord::of(placed.record, placed.timestamp_ms);
                let to_retry = plan.target == Target::Retry && from.group.is_some();
                record.headers = match to_retry {
                    true => letter::redriven_to_retry(&record.headers),
                    false => letter::redriven(&record.headers),
                };
                bytes += record.size_bytes();
                found.letters.push(Outgoing { offset: placed.offset, record, from });
            }
        }
    })?;
    if !is_full {
        found.position = stretch.next_offset().unwrap_or(end).min(end).max(position);
    }
    Ok(found)
}
