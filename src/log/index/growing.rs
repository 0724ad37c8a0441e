//! The index of the segment being written: append-only lists that one thread extends and any
//! thread reads, without locks.
//!
//! Buckets double in size and never move, so a reader's slot stays valid while the writer grows
//! the list. A vector behind a lock would be shorter, but every fetch of a busy partition would
//! contend with its appends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::disk::Written;
use super::{OffsetEntry, TimeEntry};

/// Entries of the first bucket; each further bucket holds twice as many.
const FIRST_BUCKET: usize = 32;
/// Room for 32 * (2^20 - 1) entries, above what a 2 GiB segment can have at one per 64 bytes.
const BUCKETS: usize = 20;

type Slot = [AtomicU64; 2];

/// A list of pairs.
#[derive(Default)]
struct Growing {
    len: AtomicUsize,
    buckets: [OnceLock<Box<[Slot]>>; BUCKETS],
}

/// Bucket and place in it of the `n`th entry.
const fn locate(n: usize) -> (usize, usize) {
    let bucket = (n / FIRST_BUCKET + 1).ilog2() as usize;
    (bucket, n - FIRST_BUCKET * ((1 << bucket) - 1))
}

impl Growing {
    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// One thread only. Beyond the last bucket entries are dropped: an index may be sparser.
    fn push(&self, pair: [u64; 2]) {
        let n = self.len.load(Ordering::Relaxed);
        let (bucket, place) = locate(n);
        let Some(cell) = self.buckets.get(bucket) else { return };
        let slots =
            cell.get_or_init(|| (0..FIRST_BUCKET << bucket).map(|_| Slot::default()).collect());
        slots[place][0].store(pair[0], Ordering::Relaxed);
        slots[place][1].store(pair[1], Ordering::Relaxed);
        self.len.store(n + 1, Ordering::Release);
    }

    /// `n` must be below a length seen before.
    fn get(&self, n: usize) -> [u64; 2] {
        let (bucket, place) = locate(n);
        let slots = self.buckets[bucket].get().expect("entries below the length are in place");
        [slots[place][0].load(Ordering::Relaxed), slots[place][1].load(Ordering::Relaxed)]
    }

    /// The last entry for which `before` holds; it must hold for a prefix of the list.
    fn floor(&self, before: impl Fn([u64; 2]) -> bool) -> Option<[u64; 2]> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if before(self.get(middle)) { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).map(|n| self.get(n))
    }
}

/// Offset and time index of one segment in memory.
#[derive(Default)]
pub struct MemoryIndex {
    offsets: Growing,
    times: Growing,
}

impl MemoryIndex {
    /// Owner only; offsets and positions must rise.
    pub fn push_offset(&self, entry: OffsetEntry) {
        self.offsets.push(pack_offset(entry));
    }

    /// Owner only. An entry that is not above the last in both parts is no news and is left out,
    /// as Kafka leaves it out.
    pub fn push_time(&self, entry: TimeEntry) {
        let rises = self.last_time().is_none_or(|last| {
            entry.timestamp_ms > last.timestamp_ms && entry.last_offset > last.last_offset
        });
        if rises && entry.timestamp_ms >= 0 {
            self.times.push(pack_time(entry));
        }
    }

    /// How many entries there are of each kind.
    #[must_use]
    pub fn written(&self) -> Written {
        Written { offsets: self.offsets.len(), times: self.times.len() }
    }

    #[must_use]
    pub fn offset_entries(&self) -> usize {
        self.offsets.len()
    }

    #[must_use]
    pub fn time_entries(&self) -> usize {
        self.times.len()
    }

    #[must_use]
    pub fn offset_entry(&self, n: usize) -> OffsetEntry {
        unpack_offset(self.offsets.get(n))
    }

    #[must_use]
    pub fn time_entry(&self, n: usize) -> TimeEntry {
        unpack_time(self.times.get(n))
    }

    #[must_use]
    pub fn last_time(&self) -> Option<TimeEntry> {
        self.times.len().checked_sub(1).map(|n| self.time_entry(n))
    }

    /// The last entry whose batch ends at or before relative offset `last_offset`.
    #[must_use]
    pub fn floor_offset(&self, last_offset: u32) -> Option<OffsetEntry> {
        self.offsets.floor(|pair| unpack_offset(pair).last_offset <= last_offset).map(unpack_offset)
    }

    /// The last entry whose batch begins at or before `position`.
    #[must_use]
    pub fn floor_position(&self, position: u32) -> Option<OffsetEntry> {
        self.offsets.floor(|pair| unpack_offset(pair).position <= position).map(unpack_offset)
    }

    /// The last entry with a timestamp below `timestamp_ms`.
    #[must_use]
    pub fn floor_time(&self, timestamp_ms: i64) -> Option<TimeEntry> {
        self.times.floor(|pair| unpack_time(pair).timestamp_ms < timestamp_ms).map(unpack_time)
    }
}

fn pack_offset(entry: OffsetEntry) -> [u64; 2] {
    [u64::from(entry.base_offset) << 32 | u64::from(entry.last_offset), u64::from(entry.position)]
}

#[expect(clippy::cast_possible_truncation, reason = "the inverse of pack_offset")]
const fn unpack_offset(pair: [u64; 2]) -> OffsetEntry {
    OffsetEntry {
        base_offset: (pair[0] >> 32) as u32,
        last_offset: pair[0] as u32,
        position: pair[1] as u32,
    }
}

const fn pack_time(entry: TimeEntry) -> [u64; 2] {
    [entry.timestamp_ms.cast_unsigned(), entry.last_offset as u64]
}

#[expect(clippy::cast_possible_truncation, reason = "the inverse of pack_time")]
const fn unpack_time(pair: [u64; 2]) -> TimeEntry {
    TimeEntry { timestamp_ms: pair[0].cast_signed(), last_offset: pair[1] as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_where_they_were_put() {
        let index = MemoryIndex::default();
        for n in 0..1000_u32 {
            let entry =
                OffsetEntry { base_offset: 10 * n, last_offset: 10 * n + 9, position: 50 * n };
            index.push_offset(entry);
            assert_eq!(index.offset_entry(n as usize), entry);
        }
        assert_eq!(index.floor_offset(8), None);
        assert_eq!(index.floor_offset(9).map(|entry| entry.position), Some(0));
        assert_eq!(index.floor_offset(5_678).map(|entry| entry.base_offset), Some(5_660));
        assert_eq!(index.floor_position(149).map(|entry| entry.base_offset), Some(20));
        assert_eq!(index.floor_position(150).map(|entry| entry.base_offset), Some(30));
        assert_eq!(index.floor_offset(u32::MAX).map(|entry| entry.position), Some(49_950));
    }

    #[test]
    fn times_only_rise() {
        let index = MemoryIndex::default();
        for (timestamp_ms, last_offset) in [(-1, 0), (5, 1), (5, 2), (4, 3), (9, 1), (9, 4)] {
            index.push_time(TimeEntry { timestamp_ms, last_offset });
        }
        let kept: Vec<(i64, u32)> = (0..index.time_entries())
            .map(|n| (index.time_entry(n).timestamp_ms, index.time_entry(n).last_offset))
            .collect();
        assert_eq!(kept, [(5, 1), (9, 4)]);
        assert_eq!(index.floor_time(5), None);
        assert_eq!(index.floor_time(9).map(|entry| entry.last_offset), Some(1));
    }

    #[test]
    fn a_reader_sees_whole_entries_while_the_writer_goes_on() {
        let index = MemoryIndex::default();
        let entry = |n: u32| OffsetEntry { base_offset: n, last_offset: n, position: n };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|n| index.push_offset(entry(n))));
            scope.spawn(|| {
                while index.offset_entries() < 20_000 {
                    if let Some(last) = index.floor_position(u32::MAX) {
                        assert_eq!(last, entry(last.position));
                    }
                }
            });
        });
    }
}
